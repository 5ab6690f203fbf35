"""Stages over one folder: records of what was done, from what, with which settings."""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import prefstrength as ps
from prefstrength._shared.folder import Folder, differences
from prefstrength._shared.records import read_json
from prefstrength.errors import InputError

__all__ = ["STAGES", "finished"]

#: The stages in the order in which each reads what the one before wrote.
STAGES = ("score", "fit", "train", "compare", "report")

_SCHEMA = "prefstrength/stage/1"
# What each stage writes, and what else belongs to a folder of ours. A folder with anything else in
# it and without stages/ is somebody's own, and is left alone.
_FILES = {
    "score": ("pairs.parquet", "choices.json"),
    "fit": (
        "fit",
        "fit_point_mass",
        "models.csv",
        "heterogeneity.csv",
        "attenuation.csv",
        "strength_prior.json",
    ),
    "train": ("train",),
    "compare": ("comparison.csv", "learned_strength.json"),
    "report": ("report.html", "figures", "tables", "provenance.json"),
}
_OURS = frozenset(
    {"stages", "scores", "truth.json", "demo", "compressed", "compressed.parts"}.union(
        *_FILES.values()
    )
)
# Cheap, made from the others, and nothing that a person would want to keep two of.
_DERIVED = frozenset({"compare", "report"})

#: Told of every stage: its name, ``"starts"``, ``"done"``, ``"kept"``, ``"skipped"``, ``"note"`` or
#: ``"choices"``, and the seconds it took, the reason, what there is to know, or the choices.
Tell = Callable[[str, str, Any], None]


def finished(out: str | os.PathLike[str], stage: str) -> bool:
    """Whether ``stage`` has finished in the folder ``out``.

    Examples
    --------
    >>> finished("nowhere", "fit")
    False
    """
    return _folder(Path(out), stage).begun


# -- records ---------------------------------------------------------------------------------


def perform[Result](
    out: Path,
    stage: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Path],
    work: Callable[[Callable[[], None]], Result],
    load: Callable[[], Result],
    force: bool,
    tell: Tell | None,
    rank: int = 0,
) -> Result:
    """Run a stage unless its record says that this very work is done.

    Of several processes that work together, the one of ``rank`` 0 writes.

    ``work`` calls what it is given right before it writes its first file: the results of this
    stage and of all that follow from it go then, so that a mistake found earlier leaves every
    result as it was, and an interruption later leaves no record that vouches for half a result.
    """
    folder = _folder(out, stage, force)
    asked = {
        "settings": json.loads(json.dumps(settings, default=str)),
        "inputs": {name: _content_hash(path) for name, path in inputs.items()},
        "version": ps.__version__,
    }
    if folder.begun and not force:
        other = _other(folder.read(), asked)
        if not other:
            if tell is not None:
                tell(stage, "kept", None)
            return load()
        if stage not in _DERIVED:
            raise folder.differs(other)
    if tell is not None:
        tell(stage, "starts", None)
    began = time.monotonic()

    result = work(partial(clear, out, stage))
    seconds = time.monotonic() - began
    if rank:
        return result
    record = {"schema": _SCHEMA, "stage": stage, **asked, "seconds": round(seconds, 3)}
    folder.write({**record, "peak_memory_mib": _peak_memory()})
    if tell is not None:
        tell(stage, "done", seconds)
    return result


def clear(out: Path, stage: str) -> None:
    """Take back what vouches for a stage and for all that follow, and their results."""
    for name in STAGES[STAGES.index(stage) :]:
        if finished(out, name):
            (out / "stages" / f"{name}.json").unlink()
            # A trained model is hours of work, replaced only by other training; a report
            # tidies up after itself.
            if name != "train" and name != stage:
                remove(out, name)


def remove(out: Path, stage: str) -> None:
    """Remove what a stage wrote, so that no old table lies beside a new posterior."""
    if stage == "report":
        # The folders may hold what somebody added; the report's own record names its files.
        for name in read_json(out / "provenance.json", "record of the report").get("files", ()):
            folder, _, file = str(name).rpartition("/")
            if folder in _FILES["report"]:
                (out / folder / Path(file).name).unlink(missing_ok=True)
        (out / "report.html").unlink(missing_ok=True)
        (out / "provenance.json").unlink(missing_ok=True)
        return
    for name in _FILES[stage]:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _other(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not as it was when the record was written, in words."""
    parts = ("settings", "inputs")
    found = [each for part in parts for each in differences(before.get(part, {}), now[part])]
    return found + differences({"version": before.get("version")}, {"version": now["version"]})


def _folder(out: Path, stage: str, force: bool | None = None) -> Folder:
    """A stage's part of a folder; its record is written last, when its results are whole."""
    return Folder(out, "results", f"stages/{stage}.json", force)


def settings_of(out: Path, stage: str) -> dict[str, Any]:
    """Settings with which a stage has finished."""
    settings: dict[str, Any] = _folder(out, stage).read()["settings"]
    return settings


def refuse_foreign(out: Path, force: bool) -> None:
    """Leave a folder alone that holds what no stage wrote."""
    folder = Folder(out, "results", "stages", force)
    foreign = folder.foreign(ours=_OURS)
    if not force and not (out / "stages").is_dir():
        folder.refuse(foreign)


def require(out: Path, stage: str, name: str) -> None:
    """Raise unless the stage before has finished and its file is there."""
    if not out.is_dir():
        raise InputError(
            f"Expected a folder of results; got {out}, which does not exist. "
            "Begin with `prefstrength score PAIRS --out DIR`, or go the whole way with "
            "`prefstrength run`."
        )
    if stage == "score" and (out / "compressed").is_dir() and not (out / name).exists():
        raise InputError(
            f"Expected {name} in {out}; got compressed choices alone, from which only "
            "`prefstrength fit` goes on. Score a sample of the pairs into another folder, with "
            "`prefstrength score`, for what needs the pairs themselves."
        )
    if not finished(out, stage) or not (out / name).exists():
        raise InputError(
            f"Expected {name} in {out}; got none that the stage {stage} finished. "
            f"Run `prefstrength {stage}` first."
        )


def _content_hash(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder; of its name where neither."""
    digest = hashlib.sha256()
    if path.is_dir():
        for part in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(part.relative_to(path).as_posix().encode())
            _update(digest, part)
    elif path.is_file():
        _update(digest, path)
    else:  # a name on the hub, or a file of which the reader will say that it is missing
        digest.update(str(path).encode())
    return digest.hexdigest()


def _update(digest: "hashlib._Hash", path: Path) -> None:
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)


def _peak_memory() -> float | None:
    """Most memory this process has held, in MiB, where the system tells."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
