"""The templates of docs/extending: each adds a thing from outside by one file, and uses it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = ROOT / "docs" / "extending"


def run(name: str, folder: Path, before: str, after: str) -> Any:
    """Save a document's template, run what it does with it, and return what ``after`` says.

    In a fresh interpreter, so that what is added is gone afterwards. ``before`` makes
    what the document takes for granted; ``after`` leaves in ``said`` what the test looks at.
    """
    text = (DOCUMENTS / f"{name}.md").read_text(encoding="utf-8")
    template, use = re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    (saved,) = re.findall(r"Save this as\s+`(\w+\.py)`", text)
    (folder / saved).write_text(template, encoding="utf-8")
    script = "\n".join(("import json", before, use, after, "print(json.dumps(said))"))
    (folder / "use.py").write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "use.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_document_is_run_here() -> None:
    named = set(re.findall(r"\]\((\w+)\.md\)", (DOCUMENTS / "README.md").read_text("utf-8")))
    assert named == {path.stem for path in DOCUMENTS.glob("*.md")} - {"README"}
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert named <= tested


def test_source(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    row = {"question": "Why?", "answer_a": "Because.", "answer_b": "No.", "votes": 3}
    lines = [
        row | {"choice": "b", "reader": "ann"},
        row | {"choice": "tie", "reader": "bob"},
        row | {"choice": "a", "reader": "ann", "answer_b": " "},
        row | {"choice": "a", "reader": "ann", "votes": 1},
    ]
    folder = tmp_path / "data" / "forum"
    folder.mkdir(parents=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "test.jsonl").write_text(text, encoding="utf-8")
    said = run(
        "source",
        tmp_path,
        before="",
        after="""
choices = ps.Choices.from_pairs(
    pairs.assign(reward_chosen=1.0, reward_rejected=[0.0, 2.0]), chooser="annotator", ties="drop"
)
said = {"pairs": pairs.to_dict("list"), "source": pairs.attrs["source"], "n": choices.n_situations}
try:
    ps.load_pairs("forum", "data/forum", least=3)
except TypeError as error:
    said["refused"] = str(error)
""",
    )
    pairs, source = said["pairs"], said["source"]
    assert [chosen[0]["content"] for chosen in pairs["chosen"]] == ["No.", "Because."]
    assert pairs["tie"] == [False, True]
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in pairs["annotator"])
    assert {each["reason"]: each["count"] for each in source["dropped"]} == {
        "rows with an empty answer": 1, "rows with too few votes": 1
    }  # fmt: skip
    assert (source["licence"], source["split"], said["n"]) == ("CC-BY-4.0", "test", 1)
    assert said["refused"].endswith("no option 'least'; it has 'min_votes'.")


def test_figure(tmp_path: Path) -> None:
    said = run(
        "figure",
        tmp_path,
        before="""
import numpy as np
from matplotlib.figure import Figure

import prefstrength as ps
from prefstrength.plots.style import detached

law = ps.LogNormal(mu=0.0, sigma=0.7)
choices = ps.simulate(law, choosers=60, situations=10)
fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, draws=400, progress=False)
drawing = detached()
drawing.__enter__()
""",
        after="""
given = Figure().subplots()
[mine] = plot_share_below(fit, axes=given, truth=law)
curve, true = (line.get_ydata() for line in mine.get_lines())
said = {
    "label": ax.get_xlabel(),
    "given": mine is given,
    "legend": [text.get_text() for text in mine.get_legend().get_texts()],
    "rises": bool((np.diff(curve) >= 0).all()),
    "ends": [float(curve[0]), float(curve[-1])],
    "apart": float(np.abs(curve - true).max()),
}
try:
    plot_share_below(fit, by="region")
except ps.InputError as error:
    said["refused"] = str(error)
""",
    )
    assert said["label"] == "strength β (per unit of reward difference)"
    assert said["given"]
    assert said["rises"]
    assert said["legend"] == ["posterior", "truth"]
    assert said["ends"] == [0.0, pytest.approx(0.98, abs=0.02)]
    assert said["apart"] < 0.2
    assert "'region'" in said["refused"]
    assert (tmp_path / "share_below.pdf").stat().st_size > 1000
