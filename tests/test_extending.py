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


def test_mixing(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    said = run(
        "mixing",
        tmp_path,
        before="""
import numpy as np
import torch

import prefstrength as ps
from prefstrength import mixdpo
from prefstrength.plots.style import detached

import weibull

law = weibull.Weibull(scale=1.2, shape=1.5)
choices = ps.simulate(law, choosers=60, situations=12, spread=2.0, seed=1)
delta = torch.tensor([3.0, -1.0], dtype=torch.float64, requires_grad=True)
""",
        after="""
loss.sum().backward()
fixed = ps.StrengthPrior("Weibull", 0.0, 0.1, np.log(0.5), 0.1).mixing()
with detached():
    axes = ps.plot_prior_posterior(fit, truth=law)
    [curve] = ps.plot_strength(fit, truth=law)
x = np.array([-7.0, 0.0, 0.3, 40.0])
nodes = law.quantile((np.arange(200_000) + 0.5) / 200_000)
said = {
    "variables": sorted(fit.posterior.data_vars),
    "mean": [verdict["mean_low"][0], law.mean(), verdict["mean_high"][0]],
    "verdict": verdict["verdict"][0],
    "prior": [prior.family, prior.mixing().mean(), fixed.mean(), fixed.sd_log()],
    "gradient": delta.grad.tolist(),
    "titles": [ax.get_title("left") for ax in axes],
    "probability": [
        np.exp(ps.log_choice_probability(x, law)).tolist(),
        [float(np.mean(1 / (1 + np.exp(-nodes * each)))) for each in x],
    ],
}
try:
    weibull.register(type("Less", (ps.LogNormal.__base__,), {}))
except TypeError as error:
    said["refused"] = str(error)
""",
    )
    low, true, high = said["mean"]
    assert low < true < high
    assert {"reward_scale", "reward_shape"} <= set(said["variables"])
    assert said["verdict"] == "heterogeneous"
    assert said["prior"] == ["Weibull", pytest.approx(0.1), pytest.approx(1.0), pytest.approx(0.5)]
    assert all(slope < 0 for slope in said["gradient"])
    assert said["titles"] == ["log of scale of β", "sd of log β"]
    exact, brute = said["probability"]
    assert exact == pytest.approx(brute, abs=1e-5)
    assert "got Less without" in said["refused"]


def test_objective(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    said = run(
        "objective",
        tmp_path,
        before="""
import math

from datasets import Dataset
from transformers import AutoTokenizer

import prefstrength as ps
from prefstrength import mixdpo
from prefstrength.mixdpo.tiny import make_tiny_model

rows = [
    {"prompt": f"question {i} ?", "chosen": " yes it is", "rejected": " no", "sureness": i / 4}
    for i in range(8)
]
texts = [(row["prompt"], row["chosen"]) for row in rows]
model = "model"
make_tiny_model(texts, model, steps=2, hidden=16, layers=1)
tokenizer = AutoTokenizer.from_pretrained(model)
pairs = Dataset.from_list(rows)
usual = {
    "strength": ps.StrengthPrior("LogNormal", math.log(0.1), 0.1, math.log(0.5), 0.2),
    "max_steps": 2, "per_device_train_batch_size": 4, "logging_steps": 1, "learning_rate": 1e-3,
    "report_to": "none", "save_strategy": "no", "use_cpu": True, "bf16": False,
    "disable_tqdm": True,
}
""",
        after="""
gaps = [log["objective/gap"] for log in trainer.state.log_history if "objective/gap" in log]
said = {"steps": trainer.state.global_step, "gaps": gaps}
said["strength"] = trainer.strength.learned().mixing().mean()
bare = pairs.remove_columns("sureness")
for name, change in (("bound", {"lead_gap": -1.0}), ("choice", {"lead_form": "cubic"})):
    try:
        mixdpo.MixDPOConfig("run", objective="lead", **change, **usual)
    except ps.InputError as error:
        said[name] = str(error)
try:
    mixdpo.MixDPOTrainer(model, args=args, train_dataset=bare, processing_class=tokenizer)
except ps.InputError as error:
    said["column"] = str(error)
""",
    )
    assert said["steps"] == 2
    # All eight pairs are seen: the mean of 0.8 (i / 4)^2.
    assert sum(said["gaps"]) / 2 == pytest.approx(0.8 * 140 / 16 / 8)
    assert said["strength"] != pytest.approx(0.1, rel=1e-9)
    assert "lead_gap >= 0; got -1.0" in said["bound"]
    assert "one of linear, square; got 'cubic'" in said["choice"]
    assert "sureness" in said["column"]


def test_reward(tmp_path: Path) -> None:
    said = run(
        "reward",
        tmp_path,
        before="""
import pandas as pd

import prefstrength as ps

pairs = pd.DataFrame({
    "prompt": ["p", "q", "r"],
    "chosen": ["so it is", "yes", "a b c dd"],
    "rejected": ["it is so and so it is", "no no no", "dd"],
    "annotator": ["ann", "ann", "bob"],
})
""",
        after="""
from typer.testing import CliRunner

from prefstrength.pipeline.cli import app

scored.to_parquet("scored.parquet")
pairs.to_parquet("pairs.parquet")
command = ["score", "pairs.parquet", "--out", "run", "--reward", "brevity"]
done = CliRunner().invoke(app, [*command, "--reward-setting", "letters=2"])
assert done.exit_code == 0, done.output
written = pd.read_parquet("run/pairs.parquet")
said = {
    "raw": scored["reward_raw_chosen"].tolist(),
    "about": [scored.attrs["reward"][name] for name in ("name", "settings")],
    "n": choices.n_situations,
    "same": written["reward_chosen"].tolist() == scored["reward_chosen"].tolist(),
}
""",
    )
    assert said["raw"] == pytest.approx(
        [-1.3862943611198906, -0.6931471805599453, -0.6931471805599453]
    )
    assert said["about"] == ["BrevityReward", {"letters": 2}]
    assert said["n"] == 3
    assert said["same"]
