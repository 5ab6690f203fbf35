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

import pandas as pd

import prefstrength as ps
from prefstrength._shared.files import atomic_write_bytes, atomic_write_text
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
    return record_path(Path(out), stage).is_file()


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
    settings = json.loads(json.dumps(settings, default=str))
    hashes = {name: _content_hash(path) for name, path in inputs.items()}
    version = ps.__version__
    if finished(out, stage) and not force:
        record = read_json(record_path(out, stage))
        differences = _differences(record, settings, hashes, version)
        if not differences:
            if tell is not None:
                tell(stage, "kept", None)
            return load()
        if stage not in _DERIVED:
            raise InputError(
                f"Expected a new folder, or the settings that {out} was made with; got another "
                f"{stage} ({'; '.join(differences)}). Choose another folder, or replace these "
                "results with --force."
            )
    if tell is not None:
        tell(stage, "starts", None)
    began = time.monotonic()

    result = work(partial(clear, out, stage))
    seconds = time.monotonic() - began
    if rank:
        return result
    write_json(
        record_path(out, stage),
        {
            "schema": _SCHEMA,
            "stage": stage,
            "settings": settings,
            "inputs": hashes,
            "version": version,
            "seconds": round(seconds, 3),
            "peak_memory_mib": _peak_memory(),
        },
    )
    if tell is not None:
        tell(stage, "done", seconds)
    return result


def clear(out: Path, stage: str) -> None:
    """Take back what vouches for a stage and for all that follow, and their results."""
    for name in STAGES[STAGES.index(stage) :]:
        if finished(out, name):
            record_path(out, name).unlink()
            # A trained model is hours of work, replaced only by other training; a report
            # tidies up after itself.
            if name != "train" and name != stage:
                remove(out, name)


def remove(out: Path, stage: str) -> None:
    """Remove what a stage wrote, so that no old table lies beside a new posterior."""
    if stage == "report":
        # The folders may hold what somebody added; the report's own record names its files.
        for name in read_json(out / "provenance.json").get("files", ()):
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


def _differences(
    record: Mapping[str, Any],
    settings: Mapping[str, Any],
    hashes: Mapping[str, str],
    version: str,
) -> list[str]:
    """What is not as it was when the record was written, in words."""
    before = record.get("settings", {})
    names = [*settings, *(name for name in before if name not in settings)]
    found = [
        f"{name} was {before.get(name)!r}, now {settings.get(name)!r}"
        for name in names
        if before.get(name) != settings.get(name)
    ]
    read = record.get("inputs", {})
    found += [
        f"the content of {name} changed"
        for name in sorted({*hashes, *read})
        if hashes.get(name) != read.get(name)
    ]
    if record.get("version") != version:
        found.append(f"version {record.get('version')} made it, this is {version}")
    return found


def record_path(out: Path, stage: str) -> Path:
    return out / "stages" / f"{stage}.json"


def refuse_foreign(out: Path, force: bool) -> None:
    """Leave a folder alone that holds what no stage wrote."""
    if out.exists() and not out.is_dir():
        raise InputError(f"Expected a folder for the results; got the file {out}. Name a folder.")
    if force or not out.is_dir() or (out / "stages").is_dir():
        return
    foreign = sorted(
        entry.name
        for entry in out.iterdir()
        if entry.name not in _OURS and not entry.name.startswith(".")
    )
    if foreign:
        raise InputError(
            f"Expected an empty folder or one of an earlier run; got {out} with {len(foreign)} "
            f"other files (first: {', '.join(foreign[:3])}). Choose another folder with --out, "
            "or write into this one with --force."
        )


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


def _update(digest: Any, path: Path) -> None:
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


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    import io

    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    atomic_write_bytes(path, buffer.getvalue())


def write_table(path: Path, frame: pd.DataFrame) -> None:
    atomic_write_text(path, frame.to_csv(index=False))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    atomic_write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"Expected a JSON object in {path}; got something else ({error}). "
            "Remove it, or run the stage that wrote it again with --force."
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"Expected a JSON object in {path}; got {type(content).__name__}. "
            "Remove it, or run the stage that wrote it again with --force."
        )
    return content
