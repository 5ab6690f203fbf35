"""Rewards by name and settings, as the command line has them: what is made, kept and refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.main import get_command
from typer.testing import CliRunner

import prefstrength as ps
from prefstrength.errors import InputError
from prefstrength.pipeline.cli import app
from prefstrength.pipeline.cli.advice import as_options, options_of
from prefstrength.rewards import HFReward, ImplicitReward, JudgeReward, TextReward
from prefstrength.rewards.named import named_rewards, read_settings
from tests.helpers.letter_model import make_model

ROOT = Path(__file__).parents[2]
SKYWORK = "Skywork/Skywork-Reward-V2-Qwen3-0.6B"
URM = "LxzGordon/URM-LLaMa-3-8B"


def named(*names: str, **settings: str) -> list[Any]:
    return [each.reward for each in named_rewards(names, [], seed=3, settings=settings)]


def call(*arguments: object) -> Any:
    return CliRunner().invoke(
        app, [str(argument) for argument in arguments], env={"COLUMNS": "200"}
    )


# -- names and settings --------------------------------------------------------------------------


def test_settings_reach_the_fields_of_the_class_by_their_types() -> None:
    settings = {
        "batch_tokens": "4_096", "max_truncated": "0.25", "sanitize": "false", "head": "value",
        "dtype": "bfloat16", "device": "cuda:1", "revision": "main", "max_length": "none",
    }  # fmt: skip
    expected = HFReward(
        "folder", batch_tokens=4096, max_truncated=0.25, sanitize=False, head="value",
        dtype="bfloat16", device="cuda:1", revision="main", max_length=None,
    )  # fmt: skip
    assert named("hf:folder", **settings) == [expected]
    assert named("hf:a", head="2") == [HFReward("a", head=2)]
    assert named("hf:a", heads="all") == [HFReward("a", heads="all")]
    heads = HFReward("a", heads={"reward": 0, "safety": 1})
    assert named("hf:a", heads="reward:0, safety:1") == [heads]
    assert named("judge:a", labels="1,2") == [JudgeReward("a", labels=("1", "2"))]
    assert named("implicit:a,b", beta="0.5") == [ImplicitReward("a", "b", beta=0.5)]
    assert named("text", C="0.1,1", folds="4") == [TextReward(folds=4, seed=3, C=(0.1, 1.0))]


def test_a_setting_goes_to_all_rewards_that_have_it() -> None:
    first, second, third = named("hf:a", "judge:b", "text", max_length="64", folds="7")
    assert (first.max_length, second.max_length, third.folds) == (64, 64, 7)


@pytest.mark.parametrize(
    ("names", "settings", "said"),
    [
        (["hf:a"], {"batch_token": "1"}, "setting of HFReward: revision,.*Did you mean 'batch_tok"),
        (["hf:a", "text"], {"colour": "1"}, "of HFReward or TextReward: .*got 'colour'. Correct"),
        (["columns"], {"dtype": "float32"}, "of ColumnReward: there are none; got 'dtype'"),
        (["text"], {"seed": "1"}, "got 'seed'"),
        (["hf:a"], {"name_or_path": "b"}, "got 'name_or_path'"),
        (["hf:a"], {"batch_tokens": "many"}, "a whole number or none for the setting batch_t"),
        (["hf:a"], {"sanitize": "yes"}, "true or false for the setting sanitize; got 'yes'"),
        (["hf:a"], {"max_truncated": "nan"}, "a number for the setting max_truncated; got 'nan'"),
        (["hf:a"], {"max_truncated": "3"}, "as a share between 0 and 1"),
        (["hf:a"], {"head": "first"}, "a whole number for head; got 'first'"),
        (["hf:a"], {"heads": "a:x"}, "names of attributes with their outputs"),
        (["hf:a"], {"dtype": "float8"}, "dtype to be one of 'float32'"),
        (["judge:a"], {"labels": "A"}, "two labels"),
        (["hf:a", "text"], {"heads": "reward:0"}, "one number each; got heads reward:0 for 'hf:a'"),
        (["text", "auto"], {}, "different rewards; got 'auto' twice"),
        (["hf:a", "gpt"], {}, "Expected a reward out of auto, columns"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(names: list[str], settings: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        named(*names, **settings)


def test_settings_are_names_with_values() -> None:
    assert read_settings(["batch-tokens=8", "prompt=a=b"]) == {"batch_tokens": "8", "prompt": "a=b"}
    for texts, said in ((["dtype"], "NAME=VALUE; got 'dtype'"), (["a=1", "a=2"], "'1' and as '2'")):
        with pytest.raises(InputError, match=said):
            read_settings(texts)


def test_a_registered_model_is_read_as_its_makers_do() -> None:
    (found,) = named_rewards([f"hf:{SKYWORK}"], [], seed=0, settings={"batch_size": "4"})
    assert found.reward == HFReward.from_registry(SKYWORK, batch_size=4)
    assert found.registered == {"template": "chat", "dtype": "bfloat16"}
    (found,) = named_rewards([f"hf:{SKYWORK}"], [], seed=0, settings={"dtype": "float32"})
    assert (found.reward.dtype, found.registered) == ("float32", {"template": "chat"})
    with pytest.raises(InputError, match="transformers 5 can load"):
        named("hf:RLHFlow/ArmoRM-Llama3-8B-v0.1")


def test_code_of_a_model_runs_only_where_that_is_asked_for() -> None:
    with pytest.raises(InputError, match="if you trust it, say so") as refused:
        named(f"hf:{URM}")
    said = as_options(str(refused.value), options_of(get_command(app), "score"))
    assert "say so: --reward-setting trust_remote_code=true." in said
    with pytest.raises(InputError, match="if you trust it, say so"):
        named(f"hf:{URM}", trust_remote_code="false")
    assert not named("hf:a")[0].trust_remote_code
    trusted = HFReward(URM, head=0, trust_remote_code=True)
    assert named(f"hf:{URM}", trust_remote_code="true") == [trusted]
    # all outputs, in place of the registered one
    (all_heads,) = named(f"hf:{URM}", trust_remote_code="true", heads="all")
    assert (all_heads.head, all_heads.heads) == (None, "all")


# -- ensembles -----------------------------------------------------------------------------------


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame({name: rng.normal(size=40) for name in
                          ("a_chosen", "a_rejected", "b_chosen", "b_rejected")})  # fmt: skip
    for name in ("prompt", "chosen", "rejected"):
        pairs[name] = ["".join(rng.choice(list("abcdefgh"), size=9)) for _ in range(40)]
    return pairs.assign(annotator=[f"p{i % 8}" for i in range(40)])


@pytest.fixture
def pairs(frame: pd.DataFrame, tmp_path: Path) -> Path:
    frame.to_parquet(tmp_path / "pairs.parquet")
    return tmp_path / "pairs.parquet"


TWO = ("--reward", "columns:a", "--reward", "columns:b")


def test_several_rewards_are_an_ensemble(frame: pd.DataFrame, pairs: Path, tmp_path: Path) -> None:
    members = [ps.ColumnReward(f"{name}_chosen", f"{name}_rejected") for name in "ab"]
    expected = ps.score(frame, members)
    one, many = tmp_path / "one", tmp_path / "many"
    result = call("score", pairs, "--out", one, *TWO)
    assert result.exit_code == 0, result.output
    assert "Reward: an ensemble of ColumnReward, ColumnReward, higher for" in result.stdout
    pd.testing.assert_frame_equal(pd.read_parquet(one / "pairs.parquet"), expected)
    assert json.loads((one / "stages" / "score.json").read_text())["settings"]["reward"] == [
        "columns:a", "columns:b",
    ]  # fmt: skip
    assert "score kept from before" in call("score", pairs, "--out", one, *TWO).stderr
    result = call("score", pairs, "--out", one, "--reward", "columns:a")
    assert result.exit_code == 2
    assert "reward was ['columns:a', 'columns:b'], now 'columns:a'" in result.stderr

    result = call("score-parquet", pairs, "--out", many, *TWO, "-q")
    assert result.exit_code == 0, result.output
    scored = pd.read_parquet(many / "part-00000.parquet")
    pd.testing.assert_frame_equal(scored, expected, rtol=1e-13)


def test_files_scored_otherwise_are_replaced_by_force(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call("score-parquet", pairs, "--out", out, *TWO, "-q").exit_code == 0
    result = call("score-parquet", pairs, "--out", out, "--reward", "columns:a", "-q")
    assert result.exit_code == 2
    assert "replace what is there with --force" in result.stderr
    assert "reward_1_chosen" in pd.read_parquet(out / "part-00000.parquet")
    result = call("score-parquet", pairs, "--out", out, "--reward", "columns:a", "-q", "--force")
    assert result.exit_code == 0, result.output
    assert "reward_1_chosen" not in pd.read_parquet(out / "part-00000.parquet")


# -- errors in variables -------------------------------------------------------------------------

#: Draws as few as the command takes: the fits are of a few hundred pairs.
QUICK = ("--draws", "60", "--warmup", "60", "--quiet")


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """Choices by the true rewards, and two rewards with errors as large as the truth."""
    rng = np.random.default_rng(3)
    count, each = 30, 20
    strength = np.repeat(np.exp(rng.normal(0.5, 0.6, count)), each)
    true = rng.normal(size=count * each)
    true *= np.where(rng.random(true.size) < 1 / (1 + np.exp(-strength * true)), 1, -1)
    frame = pd.DataFrame({"annotator": [f"p{i // each}" for i in range(true.size)]})
    for name in "ab":
        frame[f"{name}_chosen"] = true + rng.normal(size=true.size)
        frame[f"{name}_rejected"] = 0.0
    frame.to_parquet(tmp_path / "noisy.parquet")
    return tmp_path / "noisy.parquet"


def test_the_error_of_an_ensemble_is_carried_into_the_fit(noisy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("run", noisy, "--out", out, "--chooser", "annotator", *TWO, *QUICK)
    result = call(*command, "--measurement-error")
    assert result.exit_code in (0, 3), result.output
    assert "its members disagree" not in result.stderr
    fit = ps.load_fit(out / "fit")
    scored = pd.read_parquet(out / "pairs.parquet")
    error = ps.measurement_error(scored, ["reward_1", "reward_2"])
    assert fit.errors["reward"]["sd"] == pytest.approx(error.sd)
    assert fit.errors["reward"]["reliability"] == pytest.approx(2 / 3, abs=0.08)
    assert ps.load_fit(out / "fit_point_mass").errors == fit.errors
    table = pd.read_csv(out / "attenuation.csv")
    rows = table.set_index("quantity")
    assert rows.loc["mean", "ratio"] < 0.9
    mean, before = rows.loc["mean", "corrected"], rows.loc["mean", "naive"]
    assert f"the mean strength is {mean:.2f}, not {before:.2f}" in result.stdout
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "What errors in the rewards do" in page
    assert (out / "tables" / "attenuation.tex").is_file()

    # without it, the fit says that there is an error to account for; the table goes
    result = call("fit", out, *QUICK)
    assert result.exit_code == 2
    assert "measurement_error was True, now None" in result.stderr
    result = call("fit", out, *QUICK, "--force")
    assert result.exit_code in (0, 3), result.output
    said = " ".join(result.stderr.split())
    assert "how far its members disagree says how large its error is" in said
    assert "--measurement-error accounts for the error" in said
    assert not (out / "attenuation.csv").exists()
    naive = ps.load_fit(out / "fit")
    assert not naive.errors
    pd.testing.assert_frame_equal(table, ps.attenuation(naive, fit))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--reward", "columns:a"), "got the one reward columns:a. Score with several, --reward"),
        ((), "got the one reward auto"),
        ((*TWO, "--attribute", "length"), "got the attributes length besides"),
        ((*TWO, "--method", "svi"), "got method svi. Use --method auto"),
    ],
)
def test_errors_without_an_ensemble_are_refused_before_scoring(
    options: tuple, said: str, pairs: Path, tmp_path: Path
) -> None:
    result = call("run", pairs, "--out", tmp_path / "out", "--measurement-error", *options)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_errors_in_a_fit_need_an_ensembles_pairs(pairs: Path, tmp_path: Path) -> None:
    one, sums = tmp_path / "one", tmp_path / "sums"
    assert call("score", pairs, "--out", one, "--reward", "columns:a").exit_code == 0
    result = call("fit", one, "--measurement-error", *QUICK)
    assert result.exit_code == 2
    assert "got ColumnReward alone. Score with several" in result.stderr
    assert not (one / "fit").exists()
    assert call("compress", one / "pairs.parquet", "--out", sums, "-q").exit_code == 0
    result = call("fit", sums, "--measurement-error", *QUICK)
    assert result.exit_code == 2
    assert "got compressed choices" in result.stderr


# -- several processes ---------------------------------------------------------------------------


def test_process_0_writes_and_the_others_end(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    out, files = tmp_path / "out", tmp_path / "files"
    for rank, written in (("1", False), ("0", True), ("1", True)):
        monkeypatch.setenv("RANK", rank)
        result = call("score", pairs, "--out", out, *TWO, "--divide")
        assert result.exit_code == 0, result.output
        assert bool(result.output) == (rank == "0")
        assert out.exists() == written
    alone = call("score", pairs, "--out", tmp_path / "alone", *TWO)
    assert alone.exit_code == 0
    left, right = (pd.read_parquet(tmp_path / f / "pairs.parquet") for f in ("out", "alone"))
    pd.testing.assert_frame_equal(left, right)

    for rank in ("0", "1"):  # there is one part, which is process 0's
        monkeypatch.setenv("RANK", rank)
        result = call("score-parquet", pairs, "--out", files, *TWO, "--divide")
        assert result.exit_code == 0, result.output
        assert ("Pairs: 40" in result.stdout) == (rank == "0")
    result = call("score-parquet", pairs, "--out", files, *TWO, "--divide", "--force")
    assert result.exit_code == 2
    assert "got --divide and --force" in result.stderr


# -- a model -------------------------------------------------------------------------------------


def test_a_registered_model_is_scored_and_said_to_be(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(tmp_path / SKYWORK)
    monkeypatch.chdir(tmp_path)
    command = ("score", pairs, "--out", "out", "--quiet", "--reward", f"hf:{SKYWORK}",
               "--reward-setting", "template=plain")  # fmt: skip
    result = call(*command, "--reward-setting", "max_length=6")
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "or allow more with --reward-setting max_truncated=...." in said
    assert not (tmp_path / "out" / "stages").exists()

    result = call(*command)
    assert result.exit_code == 0, result.output
    assert f"Note: hf:{SKYWORK} is read as its makers do: dtype bfloat16." in result.stderr
    about = pd.read_parquet("out/pairs.parquet").attrs["reward"]
    assert about["settings"]["dtype"] == "bfloat16"
    assert about["settings"]["template"] == "plain"
    assert (tmp_path / "out" / "scores" / "provenance.json").is_file()
    # other settings are other rewards
    assert "score kept from before" in call(*command).stderr
    result = call(*command, "--reward-setting", "dtype=float32")
    assert result.exit_code == 2
    assert "reward_settings.dtype was None, now 'float32'" in (" ".join(result.stderr.split()))


def test_outputs_of_a_model_become_attributes(pairs: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", labels=2)
    out = tmp_path / "out"
    command = ("score", pairs, "--out", out, "--quiet", "--reward", f"hf:{model}",
               "--reward-setting", "template=plain", "--reward-setting")  # fmt: skip
    for heads in ("heads=all", "heads=help:0,safe:1"):
        result = call(*command, heads)
        assert result.exit_code == 2
        assert "to be called reward; got help, safe." in " ".join(result.stderr.split())
        assert not out.exists()
    result = call(*command, "heads=reward:0,safe:1", "--attribute", "safety")
    assert result.exit_code == 2
    assert "safety_chosen" in result.stderr
    assert not out.exists()
    result = call(*command, "heads=reward:0,safe:1", "--attribute", "safe")
    assert result.exit_code == 0, result.output
    assert json.loads((out / "choices.json").read_text())["attributes"] == ["reward", "safe"]


@pytest.mark.slow
def test_launched_commands_write_what_one_does(pairs: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    launched = ["-m", "torch.distributed.run", "--nproc_per_node", "2"]
    said = {}
    for name, command in (("one", []), ("two", launched)):
        arguments = [
            *command, "-m", "prefstrength", "score", pairs, "--out", tmp_path / name,
            "--reward", f"hf:{model}", "--reward-setting", "template=plain", "--reward-setting",
            "batch_tokens=128", "--quiet", *(["--divide"] if command else []),
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        said[name] = done.stdout
    one, two = (pd.read_parquet(tmp_path / name / "pairs.parquet") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    assert two.attrs["reward"]["engine"]["processes"] == 2
    assert said["one"] == said["two"]
