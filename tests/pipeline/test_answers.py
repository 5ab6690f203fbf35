"""Grades, ties, rankings and who was shown first on the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import prefstrength as ps
from prefstrength import pipeline
from prefstrength.pipeline.cli import app

N = 60


def call(*arguments: object) -> Any:
    return CliRunner().invoke(
        app, [str(argument) for argument in arguments], env={"COLUMNS": "200"}
    )


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    grade = np.arange(N) % 5 - 2
    return pd.DataFrame(
        {
            "reward_chosen": rng.normal(size=N).round(4),
            "reward_rejected": rng.normal(size=N).round(4),
            "annotator": [f"w{i % 6}" for i in range(N)],
            "grade": grade,
            "verdict": np.array(["far worse", "worse", "alike", "better", "far better"])[grade + 2],
            "draw": grade == 0,
            "left": ["chosen", "rejected", None] * 20,
        }
    )


@pytest.fixture
def pairs(frame: pd.DataFrame, tmp_path: Path) -> Path:
    frame.to_csv(tmp_path / "pairs.csv", index=False)
    return tmp_path / "pairs.csv"


@pytest.mark.parametrize(
    ("options", "keywords"),
    [
        (("--grade", "grade"), {"grade": "grade"}),
        (("--grade", "grade", "--grades", "-2,-1,0,1,2"), {"grade": "grade"}),
        (
            ("--grade", "verdict", "--grades", "far worse, worse, alike, better, far better"),
            {
                "grade": "verdict",
                "grades": ["far worse", "worse", "alike", "better", "far better"],
            },
        ),
        (("--tie", "draw", "--first", "left"), {"tie": "draw", "first": "left"}),
    ],
    ids=["signs", "scale", "words", "ties"],
)
def test_pairs_keep_their_answers(frame, pairs, tmp_path, options, keywords):
    out = tmp_path / "out"
    done = call("score", pairs, "--out", out, "--chooser", "annotator", *options)
    assert done.exit_code == 0, done.output
    wanted = ps.Choices.from_pairs(frame, "annotator", **keywords)
    found = pipeline.choices(out)
    assert found.response == wanted.response
    np.testing.assert_array_equal(found.answer, wanted.answer)
    if "first" in keywords:
        np.testing.assert_array_equal(found.shown_first, wanted.shown_first)
    about = json.loads((out / "choices.json").read_text())
    assert about["answers"] == wanted.answer_counts()
    x = wanted.differences("reward") * np.where(wanted.chosen == 0, 1, -1)
    decided = 2 * wanted.answer != len(wanted.response.answers) - 1
    assert about["reward"]["agreement"] == pytest.approx((x[decided] > 0).mean())
    kept = call("score", pairs, "--out", out, "--chooser", "annotator", *options)
    assert kept.exit_code == 0
    assert "kept from before" in kept.output


def test_a_scale_as_a_number(frame, tmp_path):
    path = tmp_path / "stars.csv"
    frame.assign(grade=frame["grade"] + 3).to_csv(path, index=False)
    refused = call("score", path, "--out", tmp_path / "out", "--grade", "grade")
    assert refused.exit_code == 2
    assert "should say on which side they are" in refused.output
    done = call("score", path, "--out", tmp_path / "out", "--grade", "grade", "--grades", "5")
    assert done.exit_code == 0, done.output
    assert pipeline.choices(tmp_path / "out").response.answers == ("5", "4", "3", "2", "1")


def test_settings_without_answers_stay_what_they_were(pairs, tmp_path):
    call("score", pairs, "--out", tmp_path / "out", "--chooser", "annotator")
    (record,) = (tmp_path / "out").rglob("score.json")
    names = set(json.loads(record.read_text())["settings"])
    assert names == {
        "pairs", "reward", "seed", "chooser", "groups", "attributes", "weights", "ties",
        "identical", "duplicates",
    }  # fmt: skip
    assert "answers" not in json.loads((tmp_path / "out" / "choices.json").read_text())


@pytest.fixture
def rankings(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "task": np.repeat([f"t{i}" for i in range(30)], 3),
            "model": ["a", "b", "c"] * 30,
            "place": np.concatenate([rng.permutation(3) + 1 for _ in range(30)]),
            "reward": rng.normal(0, 5, 90).round(3),
            "annotator": np.repeat([f"w{i % 6}" for i in range(30)], 3),
        }
    )
    frame.to_json(tmp_path / "ranks.jsonl", orient="records", lines=True)
    return tmp_path / "ranks.jsonl"


LAYOUT = ("--rank", "place", "--situation", "task", "--alternative", "model")


def test_rankings_keep_their_ranks(rankings, tmp_path):
    out = tmp_path / "out"
    done = call("score", rankings, "--out", out, "--chooser", "annotator", *LAYOUT)
    assert done.exit_code == 0, done.output
    assert "Ranking (all places: 30, some places: 0, with ties: 0)" in done.output
    found = pipeline.choices(out)
    frame = pd.read_json(rankings, lines=True)
    wanted = ps.Choices.from_rankings(
        frame, situation="task", alternative="model", rank="place", chooser="annotator"
    )
    np.testing.assert_array_equal(found.ranks, wanted.ranks)
    value = wanted.values[:, :, 0]
    x = value[:, [0, 0, 1]] - value[:, [1, 2, 2]]
    unit = np.sqrt((x**2).mean())
    np.testing.assert_allclose(found.values, wanted.values / unit, rtol=1e-12)
    about = json.loads((out / "choices.json").read_text())["reward"]
    assert about["unit"] == pytest.approx(unit)
    pairs = wanted.as_pairs(reduce=True).differences("reward")
    assert about["agreement"] == pytest.approx((pairs > 0).mean())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((*LAYOUT, "--reward", "text"), "should bring the rewards of their responses"),
        ((*LAYOUT, "--tie", "place"), "got 'tie' beside rank"),
        (("--rank", "place"), "where each alternative has a row"),
    ],
)
def test_rankings_that_cannot_be_read(rankings, tmp_path, options, said):
    refused = call("score", rankings, "--out", tmp_path / "out", *options)
    assert refused.exit_code == 2
    assert said in refused.output
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("trl")
    from tests.helpers.tiny_training import make_policy

    return make_policy(tmp_path_factory.mktemp("policy"))


@pytest.mark.parametrize("kind", ["grade", "draw"])
def test_training_hears_grades_and_ties(frame, policy, tmp_path, kind):
    """From the file over the fit, whose prior has the cut points, to the trained model."""
    from prefstrength.mixdpo import evaluate_preferences
    from tests.helpers.tiny_training import rows

    out, rng = tmp_path / "out", np.random.default_rng(3)
    many = pd.concat([frame] * 5, ignore_index=True)
    lead = many["grade"] if kind == "grade" else many["grade"].abs()
    many["reward_chosen"] = lead + rng.normal(size=len(many))
    many["reward_rejected"] = rng.normal(size=len(many))
    texts = pd.DataFrame(rows(len(many)))
    many[list(texts)] = texts
    many.to_csv(tmp_path / "pairs.csv", index=False)
    reading = pipeline.Reading(chooser="annotator", **{"draw": {"tie": "draw"}}.get(
        kind, {"grade": "grade"}))  # fmt: skip
    training = pipeline.Training(
        steps=2,
        per_device_train_batch_size=4,
        more={"max_length": 32, "activation_checkpointing": False},
    )
    quiet = {"progress": False}
    pipeline.score(tmp_path / "pairs.csv", out, reading, **quiet)
    fit = pipeline.fit(out, **quiet)
    learned = pipeline.train(out, policy, training, **quiet)
    known = ps.StrengthPrior.load(out / "strength_prior.json").answers()
    assert known.response == pipeline.choices(out).response
    assert known.shared == {
        name: pytest.approx(float(fit.posterior[name].mean())) for name in known.shared
    }
    assert learned.prior.answers() == known
    assert learned.delta.arguments["answer_column"] == kind
    done = evaluate_preferences(str(out / "train"), policy, many.head(30), learned, **quiet)
    assert done.metrics.loc[0, "pairs"] == 24
    assert np.isfinite(done.pairs["answer_log_probability"]).all()


def test_training_says_that_it_does_not_take_rankings(rankings, tmp_path):
    pytest.importorskip("trl")
    refused = call("run", rankings, "--out", tmp_path / "out", *LAYOUT, "--model", "someone/model")
    assert refused.exit_code == 2
    assert "got rankings, --rank, which the trainer does not take" in refused.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("weights", "keywords"),
    [({"n": [90, 10]}, ("--weights", "n")), ({"n": [9, 1]}, ("--chooser-weights", "n"))],
    ids=["rows", "choosers"],
)
def test_agreement_counts_rows_by_their_weight(tmp_path, weights, keywords):
    """As of the rows one by one: half of these rows agree, and nine of ten choices."""
    gap = np.tile([1.0, -1.0], 10)
    frame = pd.DataFrame(
        {
            "reward_chosen": gap * np.linspace(1, 2, 20),
            "reward_rejected": 0.0,
            "annotator": [f"w{i % 2}" for i in range(20)],
            "n": np.tile(weights["n"], 10),
        }
    )
    frame.to_csv(tmp_path / "pairs.csv", index=False)
    done = call(
        "score", tmp_path / "pairs.csv", "--out", tmp_path / "out", "--chooser", "annotator",
        *keywords,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "higher for the chosen response in 90.0%" in done.output
