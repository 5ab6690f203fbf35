"""The stage score: pairs and their rewards."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import prefstrength as ps
from prefstrength._shared.files import write_json, write_parquet
from prefstrength.data.parquet_files import require_storable
from prefstrength.data.texts import Texts, check_format
from prefstrength.errors import InputError
from prefstrength.pipeline.answers import agreement_of_answers, score_rankings
from prefstrength.pipeline.options import Reading, Rewarding
from prefstrength.pipeline.reading import scored_in, summary
from prefstrength.pipeline.stages import Tell, perform, refuse_foreign
from prefstrength.rewards.engine.responses import read_once, refuse_blank, texts_of
from prefstrength.rewards.engine.team import ALONE_AT_WORK, launched
from prefstrength.rewards.named import NamedReward, named_rewards

__all__ = ["score", "score_parquet"]


# -- the stages ------------------------------------------------------------------------------


def score(
    pairs: str | os.PathLike[str],
    out: str | os.PathLike[str],
    reading: Reading | None = None,
    rewarding: Rewarding | None = None,
    *,
    divide: bool = False,
    seed: int = 0,
    force: bool = False,
    progress: bool = True,
    tell: Tell | None = None,
) -> pd.DataFrame:
    """Read the pairs, give every response a reward, check them as choices, and keep them.

    Parameters
    ----------
    pairs : path
        Parquet (a file or a folder of them), JSONL or CSV.
    out : path
        Folder for the results.
    reading : Reading, optional
        Which columns mean what.
    rewarding : Rewarding, optional
        Rewards and their settings. A model that :func:`prefstrength.registered_rewards` lists is
        read with the settings there.
    divide : bool
        Divide the work of rewards from models between the processes that ``accelerate launch`` or
        ``torchrun`` has started, which all call this function. Process 0 writes.
    seed : int
        Of the folds of the text reward.
    force : bool
        Replace results of other settings, and write beside other files in a folder; what no stage
        wrote is never replaced.
    progress : bool
        Show progress bars.
    tell : callable, optional
        Told when the stage starts, is kept, or is done.

    Returns
    -------
    DataFrame
        The pairs with ``reward_chosen`` and ``reward_rejected`` in sd units; raw units kept.

    Raises
    ------
    InputError
        For any mistake in the file or the arguments. Nothing is written then.
    """
    out = Path(out)
    reading, rewarding = reading or Reading(), rewarding or Rewarding()
    pairs, given = Path(pairs), dict(rewarding.reward_settings)
    settings = {
        "pairs": pairs.name,
        "reward": _one_or_all(rewarding.reward),
        "seed": seed,
        **reading.settings(),
        # The settings of runs without any stay what they were.
        **({"reward_settings": given} if given else {}),
    }
    refuse_foreign(out, force)
    us = launched() if divide else ALONE_AT_WORK

    def work(new: Path) -> pd.DataFrame:
        names = (reading.chooser, reading.situation, reading.alternative, *reading.groups)
        frame = ps.read_pairs(pairs, names=[*filter(None, names)])
        require_storable(frame)
        if reading.rank is not None:
            return kept(new, *score_rankings(frame, reading, settings["reward"]))
        rewards = _rewards(rewarding, frame.columns, seed, tell)
        with read_once():
            texts = _texts(frame, rewards)
            if any(each.kind != "columns" for each in rewards):
                # Hours of scoring must not end in a misspelt column: the same door, with made-up
                # rewards that pass its checks of rewards.
                reading.choices(_with_made_up_rewards(frame, _attributes(rewards)), texts)
            scored = ps.score(
                frame,
                _one_or_all([each.reward for each in rewards]),
                cache=out / "scores" if any(each.from_model for each in rewards) else None,
                progress=progress,
                divide=divide,
            )
        data = reading.choices(scored, texts)
        weighed = data.answer is not None or bool(reading.weights or reading.chooser_weights)
        if weighed and "agreement" in scored.attrs["reward"]:
            scored.attrs["reward"]["agreement"] = agreement_of_answers(data)
        return kept(new, scored, data)

    def kept(new: Path, scored: pd.DataFrame, data: ps.Choices) -> pd.DataFrame:
        if us.rank:
            return scored
        if tell is not None:
            tell("score", "choices", data)
        write_parquet(new / "pairs.parquet", scored)
        write_json(new / "choices.json", summary(data, scored))
        return scored

    return perform(
        out, "score", settings, {"pairs": pairs}, work, lambda: scored_in(out), force, tell, us.rank
    )


def score_parquet(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    rewarding: Rewarding | None = None,
    *,
    divide: bool = False,
    backend: str | None = None,
    workers: int | None = None,
    force: bool = False,
    progress: bool = True,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Score pairs in Parquet files of any size into a folder of Parquet files.

    Parameters
    ----------
    files : path, str or sequence of them
        Parquet files, folders or globs, as :func:`~prefstrength.score_parquet` takes them.
    out : path
        Folder for the scored pairs, from which :func:`compress` goes on.
    rewarding : Rewarding, optional
        As in :func:`score`, except ``"text"``.
    divide, backend, workers, force, progress
        As in :func:`~prefstrength.score_parquet`.
    tell : callable, optional
        Told of settings that come from the registry.

    Returns
    -------
    dict
        What came out, as in ``reward.json``.
    """
    from prefstrength.data.parquet_files import look_at, parquet_files

    schema, _, _ = look_at(parquet_files(files)[0])
    rewards = _rewards(rewarding or Rewarding(), schema.names, 0, tell)
    return ps.score_parquet(
        files,
        out,
        _one_or_all([each.reward for each in rewards]),
        divide=divide,
        backend=backend,
        workers=workers,
        force=force,
        progress=progress,
    )


# -- what the stages read and write ----------------------------------------------------------


def _rewards(
    rewarding: Rewarding, columns: Iterable[str], seed: int, tell: Tell | None
) -> list[NamedReward]:
    """Rewards that are named, and a word on the settings that nobody gave."""
    names = rewarding.reward
    rewards = named_rewards(names, columns, seed=seed, settings=rewarding.reward_settings)
    for name, each in zip(names, rewards, strict=True):
        if each.registered and tell is not None:
            said = ", ".join(f"{key} {value}" for key, value in each.registered.items())
            tell("score", "note", f"{name} is read as its makers do: {said}.")
    return rewards


def _one_or_all[One](several: Sequence[One]) -> One | list[One]:
    """What there is, where there is one; else a list."""
    return several[0] if len(several) == 1 else list(several)


def _texts(frame: pd.DataFrame, rewards: Sequence[NamedReward]) -> Texts | None:
    """Texts of the pairs, if there are any, as all that comes may read them."""
    texts = texts_of(frame)
    if texts is not None:
        if any(each.reads_texts for each in rewards):
            refuse_blank(texts)  # where the choices alone would warn
        check_format(texts)
    return texts


def _attributes(rewards: Sequence[NamedReward]) -> tuple[str, ...]:
    """Attributes that the scored pairs will have, with the one that the analysis goes by."""
    if len(rewards) > 1:
        return ("reward", *(f"reward_{i}" for i in range(1, len(rewards) + 1)))
    names = rewards[0].attributes()
    if "reward" not in names:
        raise InputError(
            f"The analysis expects one of the outputs to be called reward; got {', '.join(names)}. "
            "Say which it is, `heads={'reward': 0, 'safety': 1}`, or take one alone, `head=0`."
        )
    return names


def _with_made_up_rewards(frame: pd.DataFrame, attributes: Sequence[str]) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    columns = [f"{name}_{side}" for name in attributes for side in ("chosen", "rejected")]
    return frame.assign(**{name: draw.standard_normal(len(frame)) for name in columns})
