"""A scoring job over Parquet: its settings, parts and what is kept of them."""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from prefstrength._shared.files import write_json
from prefstrength._shared.folder import Folder
from prefstrength._shared.records import read_json
from prefstrength.data.columns import tied
from prefstrength.errors import InputError
from prefstrength.rewards.engine.cache import delete_stale, keep_provenance
from prefstrength.rewards.engine.responses import refuse_blank, texts_of
from prefstrength.rewards.engine.team import Team
from prefstrength.rewards.parquet.pairs import Pairs, Reader
from prefstrength.rewards.score import (
    Scores,
    Tally,
    about_ensemble,
    about_reward,
    mean_of,
    reward_columns,
)
from prefstrength.rewards.text import TextReward

#: Pairs that are in memory at a time, about; with their texts some 100 MB.
PART_PAIRS = 1 << 14
_SCHEMA = "prefstrength/scored-parquet/1"
#: What the folder is made from, written first; what came out, written last.
_SETTINGS, _ABOUT = "scoring.json", "reward.json"
#: Key of the metadata of our Parquet files.
KEY = b"prefstrength"
#: Counts of a run that add up over parts, and those of which the largest is told.
_SUMMED, _LARGEST = ("responses", "from_cache", "truncated"), ("longest",)


def _identity(reward: Any) -> dict[str, Any]:
    """Everything that the scores depend on."""
    if isinstance(reward, TextReward):
        raise InputError(
            "Files are scored part by part by a reward that knows its scores beforehand; got "
            "TextReward, which learns from all pairs together. Use score(read_pairs(path), "
            "TextReward()) if the pairs fit in memory, or a reward model such as HFReward(name)."
        )
    if not callable(getattr(reward, "identity", None)):
        raise InputError(
            "Files are scored by a reward that says what its scores depend on, so that parts of "
            f"two rewards are never mixed; got {type(reward).__name__} without the method "
            "identity(). Give it one that returns a dict of JSON types."
        )
    # through JSON, because it will be compared with what was read from there
    identity: dict[str, Any] = json.loads(json.dumps(reward.identity()))
    return identity


def _in_the_way(name: str) -> bool:
    """What would be taken for scored pairs, or has a name of ours."""
    return name in ("raw", _ABOUT) or name.endswith(".parquet")


def _compared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What counts: copied files and another version's parts are the same work."""
    return {
        "files": [file["fingerprint"] for file in settings["files"]],
        "reward": {str(i): each for i, each in enumerate(settings["reward"], 1)},
    }


# -- the work ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """Pairs, rewards, and where everything lies; goes to the workers as it is."""

    pairs: Pairs
    folder: Path
    members: tuple[Any, ...]
    parts: int
    settings: dict[str, Any]  # what is asked for, as it will be written
    begun: bool  # whether the folder was begun with that
    replaces: bool = False  # whether it was begun with something else, which will go

    @classmethod
    def open(cls, files: Any, out: Path, members: Sequence[Any], force: bool) -> "Job":
        """Look at what is asked for, and whether it is what the folder was begun with."""
        pairs = Pairs.open(files, out)
        identities = [_identity(member) for member in members]
        parts = max(1, round(pairs.rows / PART_PAIRS))
        now = {
            "schema": _SCHEMA,
            "files": [
                {"name": path.name, "rows": rows, "fingerprint": fingerprint}
                for (path, rows), fingerprint in zip(pairs.files, pairs.fingerprints, strict=True)
            ],
            "reward": identities,
            "parts": parts,
        }
        make = partial(cls, pairs, out.resolve(), tuple(members))
        folder = _folder(out, force)
        found = folder.found_for(now, _compared, never=_in_the_way)
        if found == "same":
            before = folder.read()
            return make(before["parts"], before, begun=True)
        return make(parts, now, begun=False, replaces=found == "other")

    def begin(self) -> None:
        """Take away what other work has left, and write what the folder is begun with."""
        if self.begun:
            return
        if self.replaces:  # what vouches for the rest goes first
            (self.folder / _ABOUT).unlink(missing_ok=True)
            for path in self.folder.glob("part-*.parquet"):
                path.unlink()
            # not passed over: what stays would be taken for rewards of the new work
            for path in (self.folder / "raw").glob("*.parquet"):
                path.unlink()
            shutil.rmtree(self.folder / "raw", ignore_errors=True)
        _folder(self.folder).write(self.settings)

    def bounds(self, part: int) -> tuple[int, int]:
        """First row of a part, and of the next."""
        rows = self.pairs.rows
        return rows * part // self.parts, rows * (part + 1) // self.parts

    def raw(self, member: int, part: int) -> Path:
        """Where the raw rewards of a part lie."""
        return self.folder / "raw" / f"{member}-{part:05d}.parquet"

    def shard(self, part: int) -> Path:
        """Where the scored pairs of a part lie."""
        return self.folder / f"part-{part:05d}.parquet"

    def finished(self) -> dict[str, Any] | None:
        """What came out, if all is there."""
        path = self.folder / _ABOUT
        there = (
            self.begun
            and path.is_file()
            and all(self.shard(part).is_file() for part in range(self.parts))
        )
        return read_json(path, "record of scored pairs") if there else None

    def look(self, us: Team, progress: bool) -> None:
        """Find what is wrong with a row before days are spent on those before it."""
        texts = any(getattr(member, "scores_responses", True) for member in self.members)
        left = [
            part
            for part in us.share(range(self.parts))
            if self.replaces
            or not all(self.raw(m, part).is_file() for m in range(len(self.members)))
        ]
        reader = Reader(self.pairs)
        for part in tqdm(left, desc="checking", unit="part", disable=not progress, leave=None):
            frame = reader.frame(*self.bounds(part))
            tied(frame)
            if texts and (found := texts_of(frame)) is not None:
                refuse_blank(found)

    def found(self, part: int) -> tuple[list[Scores], np.ndarray, list[list[str]]]:
        """Raw rewards of a part, which of its pairs are decided, and warnings by member."""
        read = [_read_raw(self.raw(member, part)) for member in range(len(self.members))]
        return [scores for scores, _, _ in read], read[0][1], [texts for _, _, texts in read]

    def units(self) -> tuple[list[float], list[float], Tally]:
        """Units of the members of an ensemble, units of what is written, and its sums."""
        ensemble = len(self.members) > 1
        members: list[float] = []
        if ensemble:
            each = ([Tally.of(scores) for scores in self.found(p)[0]] for p in range(self.parts))
            sums = reduce(lambda a, b: [x + y for x, y in zip(a, b, strict=True)], each)
            members = [tally.unit() for tally in sums]

        def tally(part: int) -> Tally:
            found, decided, _ = self.found(part)
            return Tally.of(mean_of(found, members) if ensemble else found[0], decided)

        whole = reduce(Tally.__add__, map(tally, range(self.parts)))
        return members, whole.units(ensemble), whole

    def finish(
        self,
        member_units: list[float],
        units: list[float],
        tally: Tally,
        cache: str | os.PathLike[str] | None,
        us: Team,
    ) -> dict[str, Any]:
        """Say what came out."""
        ensemble = len(self.members) > 1
        told: Counter[str] = Counter()
        kinds: dict[str, str] = {}

        def about_members(part: int) -> list[dict[str, Any]]:
            found, _, said = self.found(part)
            for text in (text for texts in said for text in texts):
                told[kinds.setdefault(kind(text), text)] += 1
            return [scores.provenance for scores in found]

        provenances = together(map(about_members, range(self.parts)))
        names = reward_columns(_no_scores(tally.attributes), units)
        about = {
            **about_reward(
                about_ensemble(provenances, member_units, tally) if ensemble else provenances[0],
                tally,
                units,
                replaced=[name for name in names if name in self.pairs.columns],
                ensemble=ensemble,
            ),
            "files": [path.name for path, _ in self.pairs.files],
            "parts": self.parts,
            "warnings": [{"first": text, "parts": count} for text, count in told.items()],
        }
        about = json.loads(json.dumps(about))  # the same now as when it is read again
        if us.rank == 0:
            if cache is not None:
                last, _, _ = self.found(self.parts - 1)
                keep_provenance(cache, [scores.provenance for scores in last])
            self._tidy()
            write_json(self.folder / _ABOUT, about)
        return about

    def _tidy(self) -> None:
        """Delete what killed processes have left, now that all parts are whole."""
        for folder in (self.folder, self.folder / "raw"):
            for path in folder.glob(".*.parquet.*"):
                delete_stale(path)
        for path in (self.folder / "raw").iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)


def kind(text: str) -> str:
    """A warning without its numbers, which differ between parts."""
    return re.sub(r"\d[\d.,:e+-]*", "#", text)


# -- what is written -----------------------------------------------------------------------------


def _no_scores(attributes: tuple[str, ...]) -> Scores:
    empty = np.zeros((0, len(attributes)))
    return Scores(chosen=empty, rejected=empty, attributes=attributes)


def together(parts: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What the parts say of each member: what is the same in all, and sums of what is counted."""
    whole: list[dict[str, Any]] = []
    for part in parts:
        if not whole:
            whole = [dict(about) for about in part]
            continue
        for about, more in zip(whole, part, strict=True):
            sums = {key: about[key] + more[key] for key in _SUMMED if key in about}
            most = {key: max(about[key], more[key]) for key in _LARGEST if key in about}
            same = _common({key: about[key] for key in about if key not in {*sums, *most}}, more)
            for key in set(about) - {*sums, *most, *same}:
                del about[key]
            about |= sums | most | same
    return whole


def _common(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What two dicts agree on, and the dicts in them."""
    same: dict[str, Any] = {}
    for key, value in one.items():
        if key not in other:
            continue
        if value == other[key]:
            same[key] = value
        elif isinstance(value, dict) and isinstance(other[key], dict):
            if inner := _common(value, other[key]):
                same[key] = inner
    return same


def _read_raw(path: Path) -> tuple[Scores, np.ndarray, list[str]]:
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[KEY])
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
        attributes = tuple(about["attributes"])
        sides = [
            np.column_stack([columns[f"{attribute}_{side}"] for attribute in attributes])
            for side in ("chosen", "rejected")
        ]
        scores = Scores(sides[0], sides[1], about["provenance"], attributes)
        return scores, columns["decided"], about["warnings"]
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Expected the raw rewards of a part in {str(path)!r}; got a file that cannot be "
            "read. It may have been damaged or put there by hand. Delete that file; its part is "
            "scored again."
        ) from error


def _folder(out: Path, force: bool | None = None) -> Folder:
    return Folder(out, "scored pairs", _SETTINGS, force)
