"""Rewards from models that somebody adds: one class, and one registration for the command line."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import prefstrength as ps
from prefstrength.errors import InputError
from prefstrength.pipeline.cli import app
from prefstrength.rewards import (
    HFReward,
    ImplicitReward,
    JudgeReward,
    ModelReward,
    Scores,
    named,
    register_kind,
    score,
)

pytest.importorskip("torch")

from prefstrength.rewards.engine.cache import folder_fingerprint  # noqa: E402
from prefstrength.rewards.language_models.checkpoint import MODEL_FILES  # noqa: E402
from prefstrength.rewards.language_models.classifier import ClassifierSource  # noqa: E402
from tests.helpers.word_models import (  # noqa: E402
    ASKING,
    make_causal,
    make_model,
    make_pairs,
    make_tokenizer,
    save,
)

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Odds(ModelReward):
    """The probability that a classifier gives to its label."""

    name_or_path: str | os.PathLike[str]
    scale: float = 1.0
    max_length: int | None = None

    def source(self):
        return ClassifierSource(self, template="plain")

    def read(self, found, asked):
        reward = 1 / (1 + np.exp(-self.scale * found.values[:, 0]))
        return Scores(reward[asked.chosen], reward[asked.rejected], {"mean": float(reward.mean())})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("reward"))


@pytest.fixture
def kinds(monkeypatch):
    monkeypatch.setattr(named, "KINDS", dict(named.KINDS))


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_reward_from_a_model_is_one_class(folder, tmp_path):
    pairs = make_pairs(12)
    plain = score(pairs, HFReward(folder, template="plain"), progress=False)
    reward = Odds(folder, scale=0.5)
    scored = score(pairs, reward, cache=tmp_path, progress=False)
    for side in ("chosen", "rejected"):
        expected = 1 / (1 + np.exp(-0.5 * plain[f"reward_raw_{side}"]))
        np.testing.assert_allclose(scored[f"reward_raw_{side}"], expected, rtol=1e-6)
    about = scored.attrs["reward"]
    assert about["name"] == "Odds"
    assert about["mean"] == pytest.approx(0.5, abs=0.4)
    assert about["settings"] == {"name_or_path": str(folder), "scale": 0.5, "max_length": 128}
    for name in ("fingerprint", "template_sha256", "guards", "alone", "engine", "versions"):
        assert about.keys() >= {name}
    json.dumps(about)
    # the model's outputs are kept, so that what is read from them costs nothing
    again = score(pairs, Odds(folder, scale=2.0), cache=tmp_path, progress=False)
    assert again.attrs["reward"]["from_cache"] == again.attrs["reward"]["responses"] == 24
    assert not np.allclose(again["reward_chosen"], scored["reward_chosen"])


def test_what_is_wrong_is_said_in_its_name(folder, tmp_path):
    with pytest.raises(InputError, match="Odds expects max_length of at least 2; got 1"):
        Odds(folder, max_length=1)
    with pytest.raises(TypeError, match="Odds expects a name on the hub or a folder; got int"):
        Odds(3)
    with pytest.raises(InputError, match="Odds expects a folder with a sequence-classification"):
        Odds(tmp_path / "none").identity()


def test_a_class_without_a_source_cannot_be_made(folder):
    @dataclass(frozen=True)
    class Lacking(ModelReward):
        name_or_path: str

    with pytest.raises(TypeError, match="abstract method 'source'"):
        Lacking(folder)


def test_what_scores_are_kept_under_does_not_change(tmp_path):
    """Another identity would leave all that was kept before unread."""
    asking = make_tokenizer(ASKING)
    models = [save(tmp_path / f"m{i}", make_causal(i), asking) for i in (0, 1)]
    folder = save(tmp_path / "c", make_model(num_labels=2))
    marks = [folder_fingerprint(each, MODEL_FILES) for each in (*models, folder)]
    common = {"sanitize": True, "max_length": 128, "dtype": "float32"}
    text = {"reward": "HFReward", "scoring": 2, "model": "", "pad_token_id": 0, **common}
    assert HFReward(folder, head=1, template="trl").identity() == {
        **text,
        "fingerprint": marks[2],
        "template": "trl",
        "conversations": "chat",
        "heads": {"reward": 1},
    }
    assert HFReward(models[0], head="value").identity() == {
        **text,
        "fingerprint": marks[0],
        "template": "chat",
        "heads": "value",
    }
    judge = JudgeReward(models[0], prompt="{prompt} {first} {second}", labels=("w1", "w2"))
    assert judge.identity() == {
        "reward": "JudgeReward",
        "scoring": 1,
        "model": "",
        "fingerprint": marks[0],
        "prompt": "{prompt} {first} {second}",
        "labels": ["w1", "w2"],
        "template": "chat",
        **common,
    }
    assert ImplicitReward(*models, beta=0.5).identity() == {
        "reward": "ImplicitReward",
        "scoring": 1,
        "policy": {"model": "", "fingerprint": marks[0]},
        "reference": {"model": "", "fingerprint": marks[1]},
        "beta": 0.5,
        **common,
        "sanitize": False,  # as training reads the texts
    }


# -- the command line ------------------------------------------------------------------------------


def test_the_command_line_takes_it_by_one_registration(folder, kinds, tmp_path):
    pairs = make_pairs(12)
    pairs.to_parquet(tmp_path / "pairs.parquet")
    command = ("score", tmp_path / "pairs.parquet", "--out", tmp_path / "out", "--quiet",
               "--reward", f"odds:{folder}", "--reward-setting")  # fmt: skip
    result = call(*command, "scale=0.5")
    assert result.exit_code == 2
    assert f"got 'odds:{folder}'" in " ".join(result.stderr.split())

    register_kind("odds:NAME", Odds, "the probability that a classifier gives to its label")
    result = call(*command, "dtype=float32")
    assert result.exit_code == 2
    assert "Expected a setting of Odds: scale, max_length; got 'dtype'" in result.stderr
    result = call(*command, "scale=0.5")
    assert result.exit_code == 0, result.output
    found = pd.read_parquet(tmp_path / "out" / "pairs.parquet")
    expected = score(pairs, Odds(folder, scale=0.5), progress=False)
    np.testing.assert_allclose(found["reward_chosen"], expected["reward_chosen"])
    assert list((tmp_path / "out" / "scores").glob("*/*.parquet"))
    assert "odds:NAME: the probability that a classifier" in named.kinds_explained()


def test_a_kind_is_one_class(kinds):
    register_kind("odds:NAME", Odds, "once")
    register_kind("odds:NAME", Odds, "and again, as a cell of a notebook does")
    with pytest.raises(InputError, match="got 'hf' for Odds, which is HFReward's"):
        register_kind("hf:NAME", Odds, "another")


def test_names_are_as_many_as_the_fields_without_a_default(kinds):
    @dataclass(frozen=True)
    class Two:
        one: str
        other: str
        seed: int = 0

        def score_pairs(self, pairs, *, cache=None, progress=True): ...

    register_kind("two:ONE,OTHER", Two, "something")
    (found,) = named.named_rewards(["two:a,b,c"], [], seed=5, settings={})
    assert found.reward == Two("a", "b,c", seed=5)
    assert named.settings_types(Two) == {}
    for name in ("two", "two:", "two:a", "two:a,", "text:", "text:a", "hf", "implicit:a"):
        with pytest.raises(InputError, match=r"out of auto, columns, .*two:ONE,OTHER; got '"):
            named.named_rewards([name], [], seed=0, settings={})


def test_an_installed_package_brings_its_rewards(tmp_path):
    """By an entry point; the command is the one that everybody types."""
    (tmp_path / "lengths.py").write_text(
        textwrap.dedent(
            """
            from dataclasses import dataclass
            from prefstrength.rewards import Scores, register_kind

            @dataclass(frozen=True)
            class Lengths:
                power: float = 1.0

                def score_pairs(self, pairs, *, cache=None, progress=True):
                    letters = [pairs[side].str.len() for side in ("chosen", "rejected")]
                    return Scores(*(each.to_numpy(float) ** self.power for each in letters))

            register_kind("lengths", Lengths, "letters of the responses")
            """
        )
    )
    package = tmp_path / "lengths-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: lengths\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[prefstrength.rewards]\nlengths = lengths\n")
    pairs = make_pairs(12)
    pairs.to_parquet(tmp_path / "pairs.parquet")
    done = subprocess.run(
        [sys.executable, "-m", "prefstrength", "score", "pairs.parquet", "--out", "out", "--quiet",
         "--reward", "lengths", "--reward-setting", "power=0.5"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    scored = ps.read_pairs(tmp_path / "out" / "pairs.parquet")
    np.testing.assert_allclose(scored["reward_raw_chosen"], pairs["chosen"].str.len() ** 0.5)


# -- texts are read once ---------------------------------------------------------------------------


def test_the_texts_are_read_once_whoever_asks(folder, tmp_path, monkeypatch):
    """The choices twice, before and after, and each of two rewards from texts."""
    from prefstrength.data import from_pairs
    from prefstrength.rewards.engine import responses

    read, seen = responses.read_texts, []

    def count(frame, rows):
        seen.append(len(frame))
        return read(frame, rows)

    monkeypatch.setattr(responses, "read_texts", count)
    monkeypatch.setattr(from_pairs, "read_texts", count)
    pairs = make_pairs(40)
    pairs.to_parquet(tmp_path / "pairs.parquet")
    result = call("score", tmp_path / "pairs.parquet", "--out", tmp_path / "out", "--quiet",
                  "--reward", f"hf:{folder}", "--reward", "text")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert seen == [40]
    score(pairs, [HFReward(folder), HFReward(folder, template="plain")], progress=False)
    assert seen == [40, 40]
    pairs.loc["r0", "chosen"] = "w1 w2 w3"  # read again, because it is another table now
    assert score(pairs, HFReward(folder), progress=False).attrs["reward"]["responses"] == 80
    assert seen == [40, 40, 40]


def test_blank_texts_are_refused_or_warned_of_not_both(folder, tmp_path):
    pairs = make_pairs(40).assign(reward_chosen=1.5, reward_rejected=0.5)
    pairs.loc["r3", "chosen"] = " "
    pairs.to_parquet(tmp_path / "pairs.parquet")
    command = ("score", tmp_path / "pairs.parquet", "--out", tmp_path / "out", "--quiet")
    for reward in ("text", f"hf:{folder}"):
        result = call(*command, "--reward", reward)
        assert result.exit_code == 2
        assert "got nothing but blanks in 1 of 40 rows (first: 3)" in result.stderr
        assert "they are kept" not in result.stderr
    result = call(*command, "--reward", "columns")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("has an empty text in 1 of 40 rows (first: 3); they are kept") == 1


def test_ties_are_found_in_one_way():
    pairs = make_pairs(4).assign(a=[1.0, 2, 3, 4], b=0.0, tie=["no", "yes", "no", "no"])
    said = "should be true or false .true: a tie.; got 'no' in 4 of 4 rows .first: r0, r1, r2"
    with pytest.raises(InputError, match=said):
        score(pairs, ps.ColumnReward("a", "b"))
    with pytest.raises(InputError, match=said):
        ps.Choices.from_pairs(pairs.assign(reward_chosen=1.0, reward_rejected=0.0))
