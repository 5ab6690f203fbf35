"""Stages over one folder: records of what was done, from what, with which settings.

A stage writes beside the folder's results and puts its files in place when all are whole. Its
record holds a hash of each, so that whatever lies in the folder is either known as a stage's or
left alone.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import prefstrength as ps
from prefstrength._shared.files import write_json
from prefstrength._shared.folder import Folder, differences
from prefstrength._shared.lock import alone_in
from prefstrength._shared.records import read_json
from prefstrength._shared.words import listed
from prefstrength.errors import InputError

__all__ = ["STAGES", "finished"]

#: The stages in the order in which each reads what the one before wrote.
STAGES = ("score", "fit", "train", "compare", "report")

_SCHEMA = "prefstrength/stage/1"
# What each stage writes; the last two are of the demo, which simulates its pairs.
FILES = {
    "score": ("pairs.parquet", "choices.json"),
    "fit": (
        "fit",
        "fit_point_mass",
        "models.csv",
        "heterogeneity.csv",
        "rivals.json",
        "rivals.csv",
        "attenuation.csv",
        "strength_prior.json",
    ),
    "train": ("train",),
    "compare": ("comparison.csv", "transfer.csv", "learned_strength.json"),
    "report": ("report.html", "figures", "tables", "provenance.json"),
    "demo": ("demo/pairs.parquet", "truth.json"),
    "demo_model": ("demo/model",),
}
# What else may lie in a folder of ours before any stage has finished: scores of a run that was
# stopped, sums of pairs, the truth of simulated ones.
_BESIDE = ("stages", "scores", "truth.json", "compressed")
# Folders in which somebody may keep files beside ours.
_SHARED = frozenset({"figures", "tables"})
# Cheap, made from the others, and nothing that a person would want to keep two of.
_DERIVED = frozenset({"compare", "report"})
# Of a run that is going on or was stopped: what it makes, and whose files are being replaced.
WORKSHOP = ".prefstrength"

#: Told of every stage: its name, ``"starts"``, ``"done"``, ``"kept"``, ``"skipped"``, ``"note"`` or
#: ``"choices"``, and the seconds it took, the reason, what there is to know, or the choices.
Tell = Callable[[str, str, Any], None]


def finished(out: str | os.PathLike[str], stage: str) -> bool:
    """Whether ``stage`` has finished in ``out``, and all that it read and wrote is still there.

    Examples
    --------
    >>> finished("nowhere", "fit")
    False
    """
    return _fault(Path(out), stage) is None


# -- records ---------------------------------------------------------------------------------


def perform[Result](
    out: Path,
    stage: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Path],
    work: Callable[[Path], Result],
    load: Callable[[], Result],
    force: bool,
    tell: Tell | None,
    rank: int = 0,
) -> Result:
    """Run a stage unless its record says that this very work is done.

    Of several processes that work together, the one of ``rank`` 0 writes.

    ``work`` writes into the folder that it is given. When it returns, its files take the place
    of those that the stage wrote before, and the results of all stages that follow from it go;
    when it raises or is killed, every result stays as it was.
    """
    with alone_in(out, out / WORKSHOP, takes_part=rank > 0):
        return _perform(out, stage, settings, inputs, work, load, force, tell, rank)


def _perform[Result](
    out: Path,
    stage: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Path],
    work: Callable[[Path], Result],
    load: Callable[[], Result],
    force: bool,
    tell: Tell | None,
    rank: int,
) -> Result:
    folder = _folder(out, stage, force)
    asked = {
        "settings": json.loads(json.dumps(settings, default=str)),
        "inputs": {name: _content_hash(path) for name, path in inputs.items()},
        "version": ps.__version__,
    }
    if folder.begun and not force:
        record = folder.read()
        other = _other(record, asked)
        if not other:
            gone = [name for name in record.get("outputs", {}) if not (out / name).is_file()]
            _refuse_altered(out, (stage,))
            if not gone:
                if not rank:
                    _begun(out, stage).unlink(missing_ok=True)  # stopped right after its record
                if tell is not None:
                    tell(stage, "kept", None)
                return load()
            if tell is not None:
                tell(stage, "note", f"Gone from {out}, made again: {listed(gone, 3)}.")
        elif stage not in _DERIVED:
            raise folder.differs(other)
    if not force:
        _refuse_altered(out, (stage, *_later(stage)))
    _refuse_others(out, (stage,))
    if tell is not None:
        tell(stage, "starts", None)
    began = time.monotonic()

    new = out / WORKSHOP / "new"
    if not rank:
        shutil.rmtree(new, ignore_errors=True)  # of a run that was killed, as are these
        for left in (*out.glob("stages/.*.json.*"), *out.glob(f"{WORKSHOP}/.*.json.*")):
            left.unlink()
        new.mkdir(parents=True)
    try:
        result = work(new)
        seconds = time.monotonic() - began
        if rank:
            return result
        record = {"schema": _SCHEMA, "stage": stage, **asked, "seconds": round(seconds, 3)}
        record["peak_memory_mib"] = _peak_memory()
        record["read"] = _names_in(out, inputs)
        _put_in_place(out, stage, new, record)
    finally:
        if not rank:
            shutil.rmtree(new, ignore_errors=True)
    if tell is not None:
        tell(stage, "done", seconds)
    return result


def _put_in_place(out: Path, stage: str, new: Path, record: Mapping[str, Any]) -> None:
    """Move the files of a stage into the folder, in place of those that it wrote before."""
    paths = sorted(path for path in new.rglob("*") if path.is_file())
    made = {path.relative_to(new).as_posix(): _content_hash(path) for path in paths}
    _refuse_others(out, (stage,), made)  # again, for what came meanwhile
    before = _owned(out, stage)
    # From here until the record is written these are ours, whatever is in them.
    write_json(_begun(out, stage), {"schema": _SCHEMA, "files": sorted({*before, *made})})
    withdraw(out, _later(stage))
    (out / "stages" / f"{stage}.json").unlink(missing_ok=True)
    _remove(out, before - set(made))
    for name in made:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(new / name, out / name)
    _folder(out, stage).write({**record, "outputs": made})
    _begun(out, stage).unlink()


def _later(stage: str) -> tuple[str, ...]:
    """Stages that follow from one."""
    return STAGES[STAGES.index(stage) + 1 :] if stage in STAGES else ()


def withdraw(out: Path, stages: Iterable[str]) -> None:
    """Take back what vouches for stages, and their results, so that no old table lies beside new.

    A trained model is hours of work: it stays, without a record, until another takes its place.
    """
    for stage in stages:
        owned = _owned(out, stage)
        if owned:  # still, when this is stopped half-way
            write_json(_begun(out, stage), {"schema": _SCHEMA, "files": sorted(owned)})
        (out / "stages" / f"{stage}.json").unlink(missing_ok=True)
        if stage != "train":
            _remove(out, owned)
            _begun(out, stage).unlink(missing_ok=True)


def withdraw_from(out: Path, stage: str, force: bool) -> None:
    """Take back a stage and all that follow from it, unless somebody has changed their results."""
    stages = (stage, *_later(stage))
    if not force:
        _refuse_altered(out, stages)
    withdraw(out, stages)


def _remove(out: Path, names: Iterable[str]) -> None:
    """Remove files that a stage wrote, and folders that are empty then."""
    for name in names:
        path = out / name
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == out or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()


# -- whose files -----------------------------------------------------------------------------


def _begun(out: Path, stage: str) -> Path:
    return out / WORKSHOP / f"{stage}.json"


def _owned(out: Path, stage: str) -> set[str]:
    """Files in the folder that a stage wrote, or was writing when it was stopped."""
    owned: set[str] = set()
    if _folder(out, stage).begun:
        owned.update(_folder(out, stage).read().get("outputs", {}))
    if _begun(out, stage).is_file():
        owned.update(read_json(_begun(out, stage), "record of a stage that was stopped")["files"])
    return owned


def _others(out: Path, stage: str, made: Iterable[str] = ()) -> list[str]:
    """What is in the place of a stage's files and was not written by it."""
    owned, found = _owned(out, stage), []
    for name in FILES[stage]:
        path = out / name
        if path.is_dir() and any(path.iterdir()):
            if name not in _SHARED and not any(each.startswith(f"{name}/") for each in owned):
                found.append(f"{name}/")
        elif path.exists() and not path.is_dir() and name not in owned:
            found.append(name)
    return found + [name for name in made if (out / name).exists() and name not in owned]


def _refuse_others(out: Path, stages: Iterable[str], made: Iterable[str] = ()) -> None:
    """Stop where a stage would write over what it did not write, forced or not."""
    others = list(dict.fromkeys(name for each in stages for name in _others(out, each, made)))
    if others:
        raise InputError(
            f"Expected a folder in which {listed(others, 3)} can be written; got {str(out)!r}, "
            f"which holds {'it' if len(others) == 1 else 'them'} already, and no stage wrote "
            f"{'it' if len(others) == 1 else 'them'} there. Choose another folder, or move what "
            "is yours elsewhere."
        )


def _altered(out: Path, stage: str) -> list[str]:
    """Files of a stage that are there and hold something else than it wrote."""
    folder = _folder(out, stage)
    if not folder.begun:
        return []
    kept = folder.read().get("outputs", {})
    here = [name for name in kept if (out / name).is_file()]
    return [name for name in here if _content_hash(out / name) != kept[name]]


def _refuse_altered(out: Path, stages: Iterable[str]) -> None:
    """Stop where somebody has changed what a stage wrote, or it is damaged."""
    altered = [name for stage in stages for name in _altered(out, stage)]
    if altered:
        raise InputError(
            f"Expected {str(out)!r} as its stages left it; got another content of "
            f"{listed(altered, 3)}. Somebody edited it, or it is damaged. Move it elsewhere to "
            "have it made again, or replace what is there with `force=True`."
        )


def _fault(out: Path, stage: str, name: str | None = None) -> str | None:
    """Why what a stage wrote (or one file or folder of it) cannot be taken; ``None`` if it can."""
    folder = _folder(out, stage)
    if not folder.begun:
        return f"none that the stage {stage} finished"
    record = folder.read()
    for each, kept in record.get("outputs", {}).items():
        if name is not None and each != name and not each.startswith(f"{name}/"):
            continue
        if not (out / each).is_file():
            return f"no {each}, which the stage {stage} wrote"
        if _content_hash(out / each) != kept:
            return f"another content of {each} than the stage {stage} wrote"
    if name is not None and not (out / name).exists():
        return f"none that the stage {stage} finished"
    for source, each in record.get("read", {}).items():
        if _content_hash(out / each) != record["inputs"][source]:
            return f"what the stage {stage} made from another {each}"
        writer = next((s for s in STAGES if each.split("/")[0] in FILES[s]), None)
        if writer is not None and (fault := _fault(out, writer, each)) is not None:
            return fault
    return None


def _names_in(out: Path, inputs: Mapping[str, Path]) -> dict[str, str]:
    """Inputs that stages wrote into the folder, as they are called in it."""
    inside = {
        name: path.resolve().relative_to(out.resolve()).as_posix()
        for name, path in inputs.items()
        if path.exists() and path.resolve().is_relative_to(out.resolve())
    }
    ours = {top for stage in STAGES for top in FILES[stage]}
    return {name: each for name, each in inside.items() if each.split("/")[0] in ours}


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
    """Leave a folder alone that holds what no stage wrote, or that has it where stages write."""
    stages = [stage for stage in FILES if not stage.startswith("demo")]
    folder = Folder(out, "results", "stages", force)
    foreign = folder.foreign(ours=_BESIDE)
    if not force and not (out / "stages").is_dir():
        tops = {name.split("/")[0] for stage in FILES for name in _owned(out, stage)}
        folder.refuse([name for name in foreign if name not in tops])
    _refuse_others(out, stages)


def require(out: Path, stage: str, name: str) -> None:
    """Raise unless the stage before has finished and its file is there, as it wrote it."""
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
    fault = _fault(out, stage, name)
    if fault is not None:
        again = "" if "none that" in fault else " again, with `force=True`"
        raise InputError(
            f"Expected {name} in {out}; got {fault}. Run `prefstrength {stage}` first{again}."
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
