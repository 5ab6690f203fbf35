"""The demo's data: what the choices were drawn from can be found in them again."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefstrength.errors import InputError
from prefstrength.pipeline.demo_data import (
    DATASETS,
    REGIONS,
    make_demo_data,
    response_quality,
    word_weights,
)

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def demo():
    return make_demo_data(seed=0)


@pytest.fixture(scope="module")
def difference(demo) -> np.ndarray:
    """True quality of the chosen minus that of the rejected response."""
    words = demo.truth["words"]
    return np.array(
        [
            response_quality(a, words) - response_quality(b, words)
            for a, b in zip(demo.pairs["chosen"], demo.pairs["rejected"], strict=True)
        ]
    )


def test_shape(demo) -> None:
    assert list(demo.pairs.columns) == [
        "prompt", "chosen", "rejected", "annotator", "dataset", "region",
    ]  # fmt: skip
    assert len(demo.pairs) == 240 * 24
    assert demo.pairs["annotator"].nunique() == 240
    assert not demo.pairs.isna().any().any()
    # Balanced: a chooser is of one dataset and one region, and every cell has as many.
    cells = demo.pairs.groupby(["dataset", "region"])["annotator"].nunique()
    assert cells.tolist() == [40] * 6
    assert (demo.pairs.groupby("annotator")[["dataset", "region"]].nunique() == 1).all().all()


def test_every_choice_is_a_choice(demo, difference) -> None:
    assert (demo.pairs["chosen"] != demo.pairs["rejected"]).all()
    assert np.abs(difference).min() > 1e-9
    assert not demo.pairs.duplicated(["annotator", "prompt"]).any()


def test_the_unit_is_the_sd_of_the_differences(difference) -> None:
    assert np.sqrt(np.mean(difference**2)) == pytest.approx(1.0, abs=1e-12)


def test_the_same_seed_gives_the_same_data(demo) -> None:
    again = make_demo_data(seed=0)
    pd.testing.assert_frame_equal(again.pairs, demo.pairs)
    assert again.truth == demo.truth
    assert not make_demo_data(seed=1).pairs.equals(demo.pairs)


def test_choosers_are_drawn_from_their_cell(demo) -> None:
    """The mean and sd of log strength, within four standard errors of the cell's."""
    cell = demo.pairs.drop_duplicates("annotator").set_index("annotator")
    log = np.log(pd.Series(demo.truth["choosers"]))
    for dataset, law in DATASETS.items():
        for region, shift in REGIONS.items():
            drawn = log[cell.index[(cell["dataset"] == dataset) & (cell["region"] == region)]]
            error = law.sigma / np.sqrt(len(drawn))
            assert abs(drawn.mean() - law.mu - shift) < 4 * error
            assert abs(drawn.std() / law.sigma - 1) < 4 / np.sqrt(2 * len(drawn))


def test_choices_follow_the_logit_of_each_chooser(demo, difference) -> None:
    """Better responses are chosen as often as the choosers' own strengths say."""
    strength = demo.pairs["annotator"].map(demo.truth["choosers"]).to_numpy()
    probability = 1 / (1 + np.exp(-strength * np.abs(difference)))
    excess = (difference > 0) - probability
    error = np.sqrt((probability * (1 - probability)).sum())
    assert abs(excess.sum()) < 4 * error
    # and not only on average: near ties are near coin flips
    near = np.abs(difference) < 0.25
    error = np.sqrt((probability * (1 - probability))[near].sum())
    assert abs(excess[near].sum()) < 4 * error


def test_the_truth_of_a_dataset_is_that_of_its_choosers() -> None:
    """Closed-form summaries of the mixture over regions, against many draws of choosers."""
    data = make_demo_data(choosers=24_000, situations=1, seed=3)
    cell = data.pairs.set_index("annotator")["dataset"]
    strength = pd.Series(data.truth["choosers"])
    for dataset, truth in data.truth["datasets"].items():
        drawn = strength[cell.index[cell == dataset]]
        assert drawn.mean() == pytest.approx(truth["mean"], rel=0.03)
        assert drawn.std() / drawn.mean() == pytest.approx(truth["cv"], rel=0.1)
        assert np.log(drawn).std() == pytest.approx(truth["sd_log"], rel=0.02)


def test_words_of_the_texts_tell_the_quality(demo, difference) -> None:
    """A logistic regression on words, cross-fitted by prompt, recovers the true differences."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    chosen, rejected = demo.pairs["chosen"], demo.pairs["rejected"]
    words = CountVectorizer(binary=True).fit([*chosen, *rejected])
    x = (words.transform(chosen) - words.transform(rejected)).toarray().astype(float)
    estimate = np.empty(len(x))
    for train, test in GroupKFold(5).split(x, groups=demo.pairs["prompt"]):
        both = np.vstack([x[train], -x[train]])
        label = np.repeat([1, 0], len(train))
        model = LogisticRegression(fit_intercept=False, max_iter=500).fit(both, label)
        estimate[test] = x[test] @ model.coef_[0]
    # Either order of a pair counts alike, as in the unit of rewards.
    correlation = (estimate @ difference) / np.sqrt(
        (estimate @ estimate) * (difference @ difference)
    )
    assert correlation > 0.98


def test_every_word_stands_for_itself() -> None:
    """A word in two sentences would carry two weights."""
    from prefstrength.pipeline.demo_data import SENTENCES

    slots = [word for _, words in SENTENCES for word in words]
    assert len(slots) == len(set(slots)) == len(word_weights())
    plain = {word for sentence, _ in SENTENCES for word in sentence.lower().strip(".").split()}
    assert not plain & set(slots)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"choosers": 5}, "at least one chooser for each of the 6 cells .* got 5"),
        ({"situations": 0}, "Expected 1 to 120 situations .* got 0"),
        ({"situations": 121}, "Expected 1 to 120 situations .* got 121"),
    ],
)
def test_sizes_that_cannot_be(arguments, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        make_demo_data(**arguments)


def test_the_file_in_data_is_what_the_script_makes(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, DATA / "make_demo.py", "--out", tmp_path], check=True, capture_output=True
    )
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "demo_pairs.parquet"),
        pd.read_parquet(DATA / "demo_pairs.parquet"),
    )
    made, kept = (
        json.loads((folder / "demo_truth.json").read_text()) for folder in (tmp_path, DATA)
    )
    assert made["cells"].keys() == kept["cells"].keys()
    for cell, numbers in kept["cells"].items():
        assert made["cells"][cell] == pytest.approx(numbers, rel=1e-12)
    assert made["choosers"] == pytest.approx(kept["choosers"], rel=1e-12)
    assert (DATA / "demo_pairs.parquet").stat().st_size < 2**20
