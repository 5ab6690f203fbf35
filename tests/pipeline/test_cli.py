"""The command line: what it writes, what it keeps, and how it answers mistakes."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import prefstrength as ps
from prefstrength import pipeline
from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.pipeline.cli import app
from prefstrength.pipeline.demo_data import make_demo_data

COMMANDS = (
    "run", "score", "score-parquet", "compress", "fit", "train", "compare", "report", "demo",
    "plan", "calibrate",
)  # fmt: skip
STAGES_WITHOUT_TRAINING = ("score", "fit", "report")


def call(*arguments: object) -> Any:
    return CliRunner().invoke(
        app, [str(argument) for argument in arguments], env={"COLUMNS": "200"}
    )


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def frame() -> pd.DataFrame:
    """Texts, choosers, two groups and rewards that say something about the choices."""
    data = make_demo_data(choosers=12, situations=6, seed=1)
    rng = np.random.default_rng(0)
    return data.pairs.assign(
        reward_chosen=rng.normal(0.5, 1, len(data.pairs)),
        reward_rejected=rng.normal(-0.5, 1, len(data.pairs)),
    )


@pytest.fixture
def pairs(frame: pd.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    frame.to_json(path, orient="records", lines=True)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


# -- the analysis replaced by something quick, where a test is about the way between stages ------


class FakeFit:
    spec: ClassVar[dict[str, Any]] = {}

    def __init__(self, passed: bool = True) -> None:
        self.passed = passed

    def save(self, folder: Path) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "fit.json").write_text(json.dumps({"passed": self.passed}))

    def check(self) -> SimpleNamespace:
        table = pd.DataFrame(
            {
                "check": ["r_hat"],
                "variable": ["reward_mu"],
                "value": [1.2],
                "threshold": [1.01],
                "passed": [self.passed],
                "meaning": ["Chains disagree."],
                "advice": ["Draw longer: `draws=...`."],
            }
        )
        return SimpleNamespace(passed=self.passed, table=table)


@pytest.fixture(scope="module")
def few_rivals() -> ps.Rivals:
    """Real ones, of other choices."""
    return ps.rivals(ps.simulate(ps.PointMass(1.0), choosers=10, situations=4))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, few_rivals: ps.Rivals) -> SimpleNamespace:
    """Stages that write what they should within milliseconds; ``calls`` counts the fits."""
    state = SimpleNamespace(calls=0, reports=0, passed=True, raises=None, no_prior=False)

    class FakeModel:
        def __init__(self, coefficients: Any, groups: Any = (), **more: Any) -> None:
            self.coefficients = coefficients

        def fit(self, choices: Any, **options: Any) -> FakeFit:
            if state.raises is not None:
                raise state.raises
            state.calls += 1
            return FakeFit(state.passed)

    def heterogeneity(fit: Any, attribute: str, rivals: ps.Rivals) -> pd.DataFrame:
        row: dict[str, Any] = {"factor": "overall", "level": "", "verdict": "heterogeneous"}
        for name in ("mean", "cv"):
            row |= {name: 1.0, f"{name}_low": 0.5, f"{name}_high": 1.5}
        return pd.DataFrame([row])

    def write_report(folder: Path, **content: Any) -> Path:
        state.reports += 1
        (Path(folder) / "figures").mkdir(exist_ok=True)
        (Path(folder) / "figures" / "a.png").write_bytes(b"")
        (Path(folder) / "report.html").write_text("<html></html>")
        (Path(folder) / "provenance.json").write_text('{"files": {"figures/a.png": ""}}')
        return Path(folder) / "report.html"

    class FakePrior:
        def __init__(self, mean_strength: float) -> None:
            self.mean_strength = mean_strength

        @classmethod
        def from_rivals(cls, rivals: Any, mean_strength: float, force: bool) -> "FakePrior":
            if state.no_prior:
                raise ps.InputError("Expected a positive mean strength; got -1.")
            return cls(mean_strength)

        @classmethod
        def load(cls, path: Path) -> "FakePrior":
            return cls(**json.loads(Path(path).read_text()))

        def save(self, path: Path) -> None:
            Path(path).write_text(json.dumps(vars(self)))

    monkeypatch.setitem(vars(ps), "MixedLogit", FakeModel)
    monkeypatch.setitem(vars(ps), "rivals", lambda *_, **__: few_rivals)
    monkeypatch.setitem(vars(ps), "compare", lambda fits: pd.DataFrame(index=list(fits)))
    monkeypatch.setitem(vars(ps), "heterogeneity", heterogeneity)
    monkeypatch.setitem(vars(ps), "write_report", write_report)
    monkeypatch.setitem(vars(ps), "StrengthPrior", FakePrior)
    monkeypatch.setitem(vars(ps), "load_fit", lambda folder: FakeFit(state.passed))
    return state


# -- help ----------------------------------------------------------------------------------------


def test_help_teaches_the_way() -> None:
    result = call("--help")
    assert result.exit_code == 0
    for command in COMMANDS:
        assert command in result.output
    assert "Exit codes" in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: str) -> None:
    from typer.main import get_command

    assert call(command, "--help").exit_code == 0
    for parameter in get_command(app).commands[command].params:
        assert getattr(parameter, "help", None), f"{command} {parameter.name} has no help"


# -- what is written -----------------------------------------------------------------------------


def test_score_writes_pairs_and_their_summary(pairs: Path, out: Path) -> None:
    result = call("score", pairs, "--out", out, "--chooser", "annotator", "--group", "dataset")
    assert result.exit_code == 0, result.output
    assert files(out) == {"pairs.parquet", "choices.json", "stages/score.json"}
    assert "choosers      12" in result.stdout
    assert "Reward: ColumnReward" in result.stdout  # auto took the columns that are there

    scored = pd.read_parquet(out / "pairs.parquet")
    difference = scored["reward_chosen"] - scored["reward_rejected"]
    assert np.sqrt((difference**2).mean()) == pytest.approx(1)
    summary = json.loads((out / "choices.json").read_text())
    assert summary["situations"] == 72
    assert summary["choosers"] == 12
    assert summary["groups"] == {"dataset": {"howto": 36, "stories": 36}}
    assert summary["dropped"] == []
    assert summary["content_hash"] == pipeline.choices(out).content_hash()


def test_files_are_scored_and_summed_up_part_by_part(frame: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    for name, rows in (("a", slice(30)), ("b", slice(30, None))):
        frame[rows].to_parquet(tmp_path / "pairs" / f"{name}.parquet")
    scored, out = tmp_path / "scored", tmp_path / "out"
    for _ in range(2):  # the second time nothing is left to do
        result = call("score-parquet", tmp_path / "pairs" / "*.parquet", "--out", scored, "-q")
        assert result.exit_code == 0, result.output
        assert "Pairs: 72 in 1 files" in result.stdout
        assert "Reward: ColumnReward, higher for the chosen response in" in result.stdout
        assert f"prefstrength compress {scored}" in result.stdout
    expected = ps.score(frame, ps.ColumnReward("reward_chosen", "reward_rejected"))
    pd.testing.assert_frame_equal(
        pd.read_parquet(scored / "part-00000.parquet").reset_index(drop=True),
        expected.reset_index(drop=True),
    )
    result = call("compress", scored, "--out", out, "--chooser", "annotator", "-q")
    assert result.exit_code == 0, result.output
    assert ps.load_compressed(out / "compressed").n_situations == 72


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--reward", "text"], "TextReward, which learns from all pairs together"),
        (["--reward", "nonsense"], "Expected a reward out of auto, columns"),
        (["--workers", "2"], "got --workers 2 and no --ray"),
    ],
)
def test_a_mistake_in_scoring_files_is_one_sentence(
    options: list[str], said: str, frame: pd.DataFrame, tmp_path: Path
) -> None:
    frame.to_parquet(tmp_path / "pairs.parquet")
    result = call("score-parquet", tmp_path / "pairs.parquet", "--out", tmp_path / "o", *options)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "o").exists()


def test_text_reward_where_there_are_no_columns(frame: pd.DataFrame, tmp_path: Path) -> None:
    path, out = tmp_path / "texts.parquet", tmp_path / "out"
    frame.drop(columns=["reward_chosen", "reward_rejected"]).to_parquet(path)
    result = call("score", path, "--out", out, "--chooser", "annotator", "--quiet")
    assert result.exit_code == 0, result.output
    assert "Reward: TextReward" in result.stdout


def test_run_goes_the_whole_way_and_keeps_what_is_done(quick, pairs: Path, out: Path) -> None:
    command = ("run", pairs, "--out", out, "--chooser", "annotator", "--group", "region")
    first = call(*command)
    assert first.exit_code == 0, first.output
    assert {f"stages/{stage}.json" for stage in STAGES_WITHOUT_TRAINING} <= files(out)
    assert {"heterogeneity.csv", "models.csv", "strength_prior.json", "report.html"} <= files(out)
    assert "overall" in first.stdout
    assert "heterogeneous" in first.stdout
    assert "train skipped: no model given" in first.stderr
    assert quick.calls == 2  # the mixed logit and the model with one strength

    again = call(*command)
    assert again.exit_code == 0, again.output
    assert again.stderr.count("kept from before") == 3
    assert (quick.calls, quick.reports) == (2, 1)


def test_stages_one_by_one_give_what_run_gives(quick, pairs: Path, tmp_path: Path) -> None:
    one, whole = tmp_path / "one", tmp_path / "whole"
    assert call("run", pairs, "--out", whole, "--chooser", "annotator").exit_code == 0
    assert call("score", pairs, "--out", one, "--chooser", "annotator").exit_code == 0
    assert call("fit", one).exit_code == 0
    assert call("report", one).exit_code == 0
    assert files(one) == files(whole)
    for stage in STAGES_WITHOUT_TRAINING:
        records = [json.loads((f / "stages" / f"{stage}.json").read_text()) for f in (one, whole)]
        assert records[0]["settings"] == records[1]["settings"]
        assert records[0]["inputs"] == records[1]["inputs"]


def test_records_say_what_was_done(quick, pairs: Path, out: Path) -> None:
    call("run", pairs, "--out", out, "--chooser", "annotator", "--seed", "7")
    record = json.loads((out / "stages" / "fit.json").read_text())
    assert record["settings"]["seed"] == 7
    assert record["settings"]["family"] == "LogNormal"
    assert record["version"] == ps.__version__
    assert len(record["inputs"]["pairs"]) == 64
    assert record["seconds"] >= 0


# -- other settings, other files -----------------------------------------------------------------


def test_other_settings_are_refused_and_force_replaces(quick, pairs: Path, out: Path) -> None:
    assert call("run", pairs, "--out", out, "--chooser", "annotator").exit_code == 0
    before = (out / "stages" / "fit.json").read_bytes()
    result = call("run", pairs, "--out", out, "--chooser", "annotator", "--family", "gamma")
    assert result.exit_code == 2
    assert "family was 'LogNormal', now 'Gamma'" in result.stderr
    assert "--force" in result.stderr
    assert (out / "stages" / "fit.json").read_bytes() == before

    result = call(
        "run", pairs, "--out", out, "--chooser", "annotator", "--family", "gamma", "--force"
    )
    assert result.exit_code == 0, result.output
    assert json.loads((out / "stages" / "fit.json").read_text())["settings"]["family"] == "Gamma"


def test_a_changed_file_is_noticed(quick, frame: pd.DataFrame, pairs: Path, out: Path) -> None:
    assert call("score", pairs, "--out", out).exit_code == 0
    frame.iloc[:-1].to_json(pairs, orient="records", lines=True)
    result = call("score", pairs, "--out", out)
    assert result.exit_code == 2
    assert "the content of pairs changed" in result.stderr


def test_a_stage_done_again_takes_the_later_ones_with_it(quick, pairs: Path, out: Path) -> None:
    assert call("run", pairs, "--out", out, "--chooser", "annotator").exit_code == 0
    assert call("score", pairs, "--out", out, "--force").exit_code == 0
    assert files(out) == {"pairs.parquet", "choices.json", "stages/score.json"}
    result = call("report", out)
    assert result.exit_code == 2
    assert "Run `prefstrength fit` first" in result.stderr


def test_what_somebody_added_to_the_report_stays(quick, pairs: Path, out: Path) -> None:
    assert call("run", pairs, "--out", out, "--chooser", "annotator").exit_code == 0
    (out / "figures" / "mine.png").write_bytes(b"mine")
    assert call("score", pairs, "--out", out, "--force").exit_code == 0
    assert {name for name in files(out) if name.startswith("figures")} == {"figures/mine.png"}


def test_a_posterior_without_a_prior_is_still_a_result(quick, pairs: Path, out: Path) -> None:
    quick.no_prior = True
    result = call("run", pairs, "--out", out, "--chooser", "annotator")
    assert result.exit_code == 0, result.output
    assert "Note: No prior for training. Expected a positive mean" in result.stderr
    assert "Prior for training" not in result.stdout
    assert (out / "report.html").is_file()
    result = call("train", out, "--model", "some-model")
    assert result.exit_code == 2
    assert "strength_prior.json" in result.stderr


def test_a_mistake_leaves_finished_results_alone(quick, pairs: Path, out: Path) -> None:
    assert call("run", pairs, "--out", out, "--chooser", "annotator").exit_code == 0
    before = {name: (out / name).read_bytes() for name in files(out)}
    result = call("run", pairs, "--out", out, "--chooser", "anotator", "--force")
    assert result.exit_code == 2
    assert "annotator" in result.stderr
    assert {name: (out / name).read_bytes() for name in files(out)} == before


def test_somebody_elses_folder_is_left_alone(pairs: Path, out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("do not touch")
    result = call("score", pairs, "--out", out)
    assert result.exit_code == 2
    assert "thesis.tex" in result.stderr
    assert files(out) == {"thesis.tex"}

    assert call("score", pairs, "--out", out, "--force").exit_code == 0
    assert (out / "thesis.tex").read_text() == "do not touch"


# -- interruptions, failures, mistakes -----------------------------------------------------------


def test_an_interrupted_run_goes_on_where_it_stopped(quick, pairs: Path, out: Path) -> None:
    command = ("run", pairs, "--out", out, "--chooser", "annotator")
    quick.raises = KeyboardInterrupt()
    result = call(*command)
    assert result.exit_code == 130
    assert "Interrupted in the stage fit. Finished stages: score." in result.stderr
    assert not pipeline.finished(out, "fit")

    quick.raises = None
    result = call(*command)
    assert result.exit_code == 0, result.output
    assert "score kept from before" in result.stderr
    assert "fit done" in result.stderr


def test_a_failed_diagnostic_has_its_own_exit_code(quick, pairs: Path, out: Path) -> None:
    quick.passed = False
    result = call("run", pairs, "--out", out, "--chooser", "annotator")
    assert result.exit_code == 3
    assert "Diagnostic failed: r_hat of reward_mu is 1.2, threshold 1.01." in result.stderr
    assert "Draw longer: --draws." in result.stderr
    assert (out / "report.html").is_file()


def test_a_defect_is_not_passed_off_as_a_mistake(quick, pairs: Path, out: Path) -> None:
    quick.raises = KeyError("oops")
    command = ("run", pairs, "--out", out, "--chooser", "annotator")
    result = call(*command)
    assert result.exit_code == 1
    assert "Unexpected KeyError" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in call(*command, "--debug").stderr


def test_warnings_about_the_data_are_notes(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.loc[0, "region"] = "nowhere"
    path = tmp_path / "thin.parquet"
    frame.to_parquet(path)
    result = call("score", path, "--out", tmp_path / "out", "--group", "region")
    assert result.exit_code == 0, result.output
    assert "Note:" in result.stderr
    assert "nowhere" in result.stderr
    assert "DataWarning" not in result.stderr


def test_advice_is_given_in_options(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "ties.parquet"
    frame.assign(tie=[True, *[False] * (len(frame) - 1)]).to_parquet(path)
    result = call("score", path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "--ties drop" in result.stderr
    assert "ties='drop'" not in result.stderr
    assert call("score", path, "--out", tmp_path / "out", "--ties", "drop").exit_code == 0


MISTAKES = {
    "no such file": (("score", "nowhere.parquet"), "nowhere.parquet"),
    "misspelt chooser": (("score", "PAIRS", "--chooser", "anotator"), "annotator"),
    "misspelt group": (("score", "PAIRS", "--group", "regoin"), "region"),
    "no such attribute": (("score", "PAIRS", "--attribute", "length"), "length_chosen"),
    "no such reward": (("score", "PAIRS", "--reward", "gpt"), "auto, columns, columns:NAME"),
    "hf without a name": (("score", "PAIRS", "--reward", "hf:"), "hf:NAME"),
    "implicit without a reference": (
        ("score", "PAIRS", "--reward", "implicit:policy"),
        "implicit:POLICY,REFERENCE",
    ),
    "not that judge": (("score", "PAIRS", "--reward", "judge:./no/such/judge"), "no/such/judge"),
    "no such reward columns": (("score", "PAIRS", "--reward", "columns:judge"), "judge_chosen"),
    "not that reward model": (
        ("score", "PAIRS", "--reward", "hf:./no/such/model"),
        "no/such/model",
    ),
    "mean strength of zero": (("run", "PAIRS", "--mean-strength", "0"), "mean strength above 0"),
    "no training steps": (("run", "PAIRS", "--model", "x", "--steps", "0"), "--steps"),
    "too few draws": (("run", "PAIRS", "--draws", "1"), "--draws"),
    "an unknown method": (("run", "PAIRS", "--method", "magic"), "magic"),
    "no such model": (("run", "PAIRS", "--model", "./no/such/model"), "no/such/model"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_by_one_sentence(name: str, pairs: Path, out: Path) -> None:
    arguments, sentence = MISTAKES[name]
    named = [pairs if argument == "PAIRS" else argument for argument in arguments]
    result = call(*named, "--out", out)
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr
    assert "Unexpected" not in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("command", ["fit", "report", "compare", "calibrate"])
def test_a_stage_says_which_one_comes_first(command: str, tmp_path: Path) -> None:
    result = call(command, tmp_path / "nothing")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    (tmp_path / "nothing").mkdir()
    result = call(command, tmp_path / "nothing")
    assert result.exit_code == 2
    assert "first" in result.stderr


def test_training_without_texts_is_refused_before_sampling(
    quick, frame: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "rewards.parquet"
    frame.drop(columns=["prompt", "chosen", "rejected"]).to_parquet(path)
    result = call("run", path, "--out", tmp_path / "out", "--model", "some/model")
    assert result.exit_code == 2
    assert "Training expects the columns prompt, chosen and rejected" in result.stderr
    assert quick.calls == 0


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("continent", "Expected a column continent in the pairs, of which each level"),
        ("region", "a level in column region of every pair in train_dataset; got none in row 3"),
    ],
)
def test_a_group_of_strength_is_looked_at_before_sampling(
    quick, frame: pd.DataFrame, tmp_path: Path, column: str, text: str
) -> None:
    path = tmp_path / "pairs.parquet"
    frame["region"] = [None if row == 3 else "north" for row in range(len(frame))]
    frame.to_parquet(path)
    command = ["run", path, "--out", tmp_path / "out", "--model", "some/model"]
    result = call(*command, "--strength-group", column)
    assert result.exit_code == 2
    assert text in " ".join(result.stderr.split())
    assert quick.calls == 0


def test_comparison_needs_something_learned(quick, pairs: Path, out: Path) -> None:
    assert call("run", pairs, "--out", out).exit_code == 0
    result = call("compare", out)
    assert result.exit_code == 2
    assert "learned_strength.json" in result.stderr


# -- nothing replaced ----------------------------------------------------------------------------


def test_run_for_real(pairs: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    """The whole way with training; the same numbers in another folder; its stages one by one."""
    from prefstrength.mixdpo.tiny import make_tiny_model

    texts = list(zip(frame["prompt"], frame["chosen"], strict=True))
    make_tiny_model(texts, tmp_path / "model", steps=2, hidden=16, layers=1)
    out, other = tmp_path / "out", tmp_path / "other"
    command = ["run", pairs, "--chooser", "annotator", "--draws", 60, "--warmup", 60, "--quiet"]
    training = ["--model", tmp_path / "model", "--steps", 2, "--batch-size", 4]

    result = call(*command, *training, "--out", out)
    assert result.exit_code in (0, 3), result.output
    assert "Traceback" not in result.stderr
    for name in ("report.html", "comparison.csv", "learned_strength.json", "provenance.json"):
        assert (out / name).is_file(), name
    assert (out / "train" / "config.json").is_file()
    assert not list(out.rglob("*.bin")), "no pickles"

    result = call(*command, "--out", other)
    assert result.exit_code in (0, 3), result.output
    for name in ("heterogeneity.csv", "models.csv", "strength_prior.json"):
        assert (out / name).read_bytes() == (other / name).read_bytes(), name

    # What was trained elsewhere can be held against this fit, and enters its report.
    result = call("compare", other, "--learned", out / "train" / "learned_strength.json")
    assert result.exit_code == 0, result.output
    assert (other / "comparison.csv").read_bytes() == (out / "comparison.csv").read_bytes()
    # Of so few choices the prior knows more than the data do, which is a check that failed.
    result = call("report", other)
    assert result.exit_code == 3, result.output
    assert "prior_weight" in result.stderr

    # A strength for each group, which starts where the prior has it.
    sizes = frame["region"].value_counts().to_dict()
    prior = ps.StrengthPrior.load(out / "strength_prior.json")
    relative = {level: 0.8 + 0.1 * k for k, level in enumerate(sizes)}
    groups = {f"region={level}": {"relative_mean": value} for level, value in relative.items()}
    replace(prior, groups=groups).save(out / "strength_prior.json")
    result = call("train", out, *training, "--strength-group", "region", "--force", "--quiet")
    assert result.exit_code == 0, result.output
    learned = LearnedStrength.load(out / "train")
    assert {level: group.pairs for level, group in learned.groups.items()} == sizes
    for level, value in relative.items():
        assert learned.groups[level].shift.location == pytest.approx(math.log(value))
        assert f"region={level}: {learned.of_group(level).mixing()!r}" in result.stdout
