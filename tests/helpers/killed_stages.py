"""Stages killed at every file operation, one after the other, and run again.

``python -m tests.helpers.killed_stages FOLDER EVERY`` kills at every ``EVERY``-th and prints one
JSON object: at how many, and what was wrong afterwards, which should be nothing.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from prefstrength.pipeline import stages

_WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate")


def whole_run(out: Path, number: int, *, force: bool = False) -> None:
    """Every stage, with files that say which run and which input they come from."""
    before = Path("nothing")
    for stage, names in (
        ("score", ("pairs.parquet", "choices.json")),
        ("fit", ("fit/fit.json", "fit/posterior.nc", "models.csv")),
        ("train", ("train/model", "train/learned_strength.json")),
        ("compare", ("comparison.csv", "learned_strength.json")),
        ("report", ("report.html", "figures/a.png", "provenance.json")),
    ):

        def work(new: Path, stage=stage, names=names, before=before) -> None:  # type: ignore[no-untyped-def]
            for name in names:
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                source = before.read_text() if before.is_file() else ""
                (new / name).write_text(f"{source}{stage} {number}\n")

        inputs = {"before": before} if before.is_file() else {}
        stages.perform(out, stage, {"number": number}, inputs, work, lambda: None, force, None)
        before = out / names[0]


def state_of(folder: Path) -> dict[str, str]:
    """Every file by its name, without times in records."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            text = path.read_text()
            if path.parent.name == "stages" and path.suffix == ".json" and path.name[0] != ".":
                record = json.loads(text)
                text = json.dumps({k: v for k, v in record.items() if k in ("inputs", "outputs")})
            found[path.relative_to(folder).as_posix()] = text
    return found


def killed_at(point: int, out: Path, number: int, force: bool) -> int:
    """Exit code of a child that does the run and dies at a file operation; 0 if it came through."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count = 0

    def hook(event: str, arguments: tuple) -> None:  # type: ignore[type-arg]
        nonlocal count
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        if event in _WRITES or opened:
            count += 1
            if count == point:
                os._exit(9)

    sys.addaudithook(hook)
    whole_run(out, number, force=force)
    os._exit(0)


def main(folder: Path, every: int) -> None:
    wrong: list[str] = []
    points = 0
    for force in (False, True):
        wanted = folder / f"wanted-{force}"
        whole_run(wanted, 2)
        (wanted / "figures" / "mine.png").write_text("mine")
        point = 0
        while True:
            point += every
            out = Path(tempfile.mkdtemp(dir=folder)) / "out"
            if force:  # over results of other settings, with a file of the user's beside
                whole_run(out, 1)
            else:
                (out / "figures").mkdir(parents=True)
                (out / "stages").mkdir()
            before = {}
            if force:
                (out / "figures" / "mine.png").write_text("mine")
                before = state_of(out)
            code = killed_at(point, out, 2, force)
            if code == 0:
                break
            points += 1
            assert code == 9
            kept = state_of(out)
            if before and kept.get("figures/mine.png") != "mine":
                wrong.append(f"{point}: the user's file is gone")
            try:
                whole_run(out, 2, force=False)
            except stages.InputError as error:
                # Results of other settings, not yet touched: they are whole.
                if "number was 1, now 2" not in str(error):
                    wrong.append(f"{point}: {error}")
                whole_run(out, 2, force=True)
            if not force:
                (out / "figures" / "mine.png").write_text("mine")
            if state_of(out) != state_of(wanted):
                wrong.append(f"{point}: {sorted(state_of(out))}")
    print(json.dumps({"points": points, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
