"""What chance does not make is said: copies, values far beyond all others, sums, hidden ties."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from prefstrength.data.anomalies import exact_copies, usual
from prefstrength.data.choices import Choices
from prefstrength.data.reading import pairs_from_votes
from prefstrength.data.votes import says_neither
from prefstrength.errors import DataWarning, InputError


def table(rows: int = 400, seed: int = 0, **more: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "reward_chosen": rng.normal(0.3, 1, rows),
            "reward_rejected": rng.normal(0, 1, rows),
            "who": [f"w{i % 20}" for i in range(rows)],
            **more,
        }
    )


def said(frame: pd.DataFrame, **call: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Choices.from_pairs(frame, **call)
    return [str(each.message) for each in caught]


# -- exact copies --------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("chooser", ["who", None])
def test_every_row_twice_is_no_chance(times: int, chooser: str | None) -> None:
    frame = pd.concat([table()] * times, ignore_index=True)
    with pytest.raises(InputError, match=rf"exact copies of earlier rows in {(times - 1) * 400}"):
        Choices.from_pairs(frame, chooser)
    once = Choices.from_pairs(frame, chooser, duplicates="drop")
    assert once.n_situations == 400
    assert once.dropped[0].reason == "exact copies"
    assert Choices.from_pairs(frame, chooser, duplicates="keep").n_situations == 400 * times


def test_a_few_copies_of_measured_rows_are_no_chance() -> None:
    frame = table()
    with pytest.raises(InputError, match=r"in 3 of 403 rows \(first: 400, 401, 402\)"):
        Choices.from_pairs(pd.concat([frame, frame[5:8]], ignore_index=True), "who")


@pytest.mark.parametrize("seed", range(20))
def test_ratings_of_few_grades_repeat_by_chance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grades = {f"reward_{side}": rng.integers(1, 6, 500) for side in ("chosen", "rejected")}
    frame = pd.DataFrame({**grades, "who": [f"w{i % 20}" for i in range(500)]})
    assert Choices.from_pairs(frame, "who").n_situations == 500
    assert Choices.from_pairs(frame).n_situations == 500
    # Also these, however, if each of them stands there twice.
    with pytest.raises(InputError, match="exact copies"):
        Choices.from_pairs(pd.concat([frame, frame]), "who")


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_rounded_rewards_repeat_by_chance(digits: int) -> None:
    frame = table(20_000).round(digits).drop(columns="who")
    assert Choices.from_pairs(frame).n_situations == 20_000


def test_a_column_that_tells_rows_apart_makes_them_no_copies() -> None:
    frame = pd.concat([table()] * 2, ignore_index=True)
    assert Choices.from_pairs(frame.assign(asked=range(800)), "who").n_situations == 800


def test_copies_with_lists_in_a_column_are_found() -> None:
    frame = table(30).assign(tags=[["a", i] for i in range(30)])
    assert exact_copies(pd.concat([frame] * 2), ["reward_chosen"]).sum() == 30
    assert not exact_copies(frame, ["reward_chosen"]).any()


def test_copies_are_looked_for_among_rows_that_stay() -> None:
    frame = pd.concat([table(100), table(100)], ignore_index=True)
    frame["tie"] = [i >= 100 for i in range(200)]
    assert Choices.from_pairs(frame, "who", ties="drop").n_situations == 100


# -- values far beyond the others ----------------------------------------------------------------


def broken(rows: int, value: float, which: Any) -> pd.DataFrame:
    frame = table(rows)
    frame.loc[which, "reward_chosen"] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "rows"),
    [
        (broken(400, -999.0, [7]), "1 of 400 pairs (first: 7)"),
        (broken(2_000, -300.0, list(range(0, 2_000, 100))), "20 of 2,000 pairs (first: 0, 100,"),
        (broken(400, 500.0, [399]), "1 of 400 pairs (first: 399)"),
        (broken(20, -99.0, [3]), "1 of 20 pairs (first: 3)"),
    ],
    ids=["one placeholder", "one percent", "500 medians", "a small table"],
)
def test_scores_far_beyond_the_others_are_named(frame: pd.DataFrame, rows: str) -> None:
    (message,) = said(frame, chooser="who")
    assert rows in message
    assert message.startswith("Attribute 'reward' has differences far beyond the others in")
    assert len(message) < 420


@pytest.mark.parametrize(
    ("frame", "bound"),
    [
        (broken(400, -999.0, [7]), 1.15),
        (broken(2_000, -300.0, list(range(0, 2_000, 100))), 1.3),
        (broken(400, 500.0, [399]), 1.15),
    ],
)
def test_broken_scores_do_not_move_the_scale(frame: pd.DataFrame, bound: float) -> None:
    clean = Choices.from_pairs(table(len(frame))).scale("reward")
    with pytest.warns(DataWarning, match="far beyond"):
        assert 1 / bound < Choices.from_pairs(frame).scale("reward") / clean < bound


@pytest.mark.parametrize("law", ["normal", "logistic", "uniform", "laplace", "few", "binary"])
def test_the_scale_of_clean_data_is_the_root_mean_square(law: str) -> None:
    rng = np.random.default_rng(1)
    draw = {
        "normal": lambda n: rng.normal(size=n),
        "logistic": lambda n: rng.logistic(size=n),
        "uniform": lambda n: rng.uniform(size=n),
        "laplace": lambda n: rng.laplace(size=n),
        # Of most pairs small differences, of one in ten large ones: measured, not broken.
        "few": lambda n: np.where(rng.random(n) < 0.1, 30.0, 1.0) * rng.normal(size=n),
        "binary": lambda n: rng.integers(0, 2, n).astype(float),
    }[law]
    frame = pd.DataFrame({"reward_chosen": draw(3_000), "reward_rejected": draw(3_000)})
    difference = frame["reward_chosen"] - frame["reward_rejected"]
    assert not said(frame, duplicates="keep")
    choices = Choices.from_pairs(frame, duplicates="keep")
    assert choices.scale("reward") == pytest.approx(np.sqrt((difference**2).mean()), rel=1e-12)


def test_weights_move_the_scale_as_rows_do() -> None:
    frame = broken(200, -999.0, [7]).assign(n=np.arange(200) % 3 + 1)
    rows = frame.loc[frame.index.repeat(frame["n"])].reset_index(drop=True)
    with pytest.warns(DataWarning, match="far beyond"):
        weighted = Choices.from_pairs(frame, weights="n")
    with pytest.warns(DataWarning, match="far beyond"):
        expanded = Choices.from_pairs(rows.drop(columns="n"), duplicates="keep")
    assert weighted.scale("reward") == pytest.approx(expanded.scale("reward"), rel=1e-12)
    sizes = np.array([1.0, 2.0, 3.0, 500.0])
    weights = np.array([50.0, 50.0, 50.0, 1.0])
    assert usual(sizes, weights) == usual(np.repeat(sizes, weights.astype(int)), np.ones(151))


def test_long_tables_are_looked_at_too() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"s": s, "a": a, "cost": rng.normal(), "taken": a == s % 3}
        for s in range(100)
        for a in range(3)
    ]
    rows[4]["cost"] = -999.0
    with pytest.warns(DataWarning, match=r"in 1 of 100 situations \(first: 1\)"):
        Choices.from_long(
            pd.DataFrame(rows), situation="s", alternative="a", chosen="taken", attributes="cost"
        )


@pytest.mark.parametrize("size", [1e-200, 1e-130])
def test_differences_of_next_to_nothing_are_refused(size: float) -> None:
    frame = table()
    frame[["reward_chosen", "reward_rejected"]] *= size
    with pytest.raises(InputError, match=r"got differences of at most .* Take their logarithms"):
        Choices.from_pairs(frame)


# -- sums ----------------------------------------------------------------------------------------


def test_an_attribute_that_is_a_sum_of_others_is_named() -> None:
    frame = table()
    rng = np.random.default_rng(3)
    for side in ("chosen", "rejected"):
        frame[f"a_{side}"], frame[f"b_{side}"] = rng.normal(size=(2, 400))
        frame[f"total_{side}"] = 2 * frame[f"a_{side}"] + frame[f"b_{side}"] + 7.0
    names = ["reward", "a", "b", "total"]
    (message,) = said(frame, attributes=names)
    assert message.startswith("Attributes 'a', 'b', 'total' are not independent in all 400 pairs")
    frame["total_chosen"] += rng.normal(size=400)
    assert not said(frame, attributes=names)
    # Of two there is the sentence on proportional ones, alone.
    frame["b_chosen"], frame["b_rejected"] = 3 * frame["a_chosen"], 3 * frame["a_rejected"]
    (message,) = said(frame, attributes=names)
    assert "proportional" in message


# -- votes for neither ---------------------------------------------------------------------------

NEITHER = (
    "tie", "Tie (both good)", "tie (bothbad)", "bothbad", "both_bad", "Both are bad", "draw",
    "equal", "neither", "Neither", "NEITHER is good", "none", "none of them", "same", "the_same",
    "No preference", "no_preference", "no difference", "unsure", "not sure", "can't decide",
    "cannot tell", "undecided", "skip", "=", "don't know", "about the same",
)  # fmt: skip


@pytest.mark.parametrize("vote", NEITHER)
@pytest.mark.parametrize("column", ["winner", "vote", "verdict", "Preference"])
@pytest.mark.parametrize("categorical", [False, True])
def test_votes_for_neither_are_no_choices(vote: str, column: str, categorical: bool) -> None:
    votes = pd.Series([vote if i == 8 else "model_a" for i in range(400)])
    frame = table().assign(**{column: votes.astype("category") if categorical else votes})
    with pytest.raises(InputError, match="They would count as choices"):
        Choices.from_pairs(frame)
    frame["tie"] = frame[column].astype(str) == vote
    assert Choices.from_pairs(frame, ties="drop").n_situations == 399


def test_votes_for_one_of_two_are_choices() -> None:
    names = [
        "a",
        "model_b",
        "nonesuch-7b",
        "samesame",
        "bothell",
        "chosen",
        "1",
        "skipper-lm",
        None,
    ]
    assert not says_neither(pd.Series([n for n in names if n != "bothell"])).any()


@pytest.mark.parametrize("column", ["winner_tie", "no_preference", "both_bad", "is_draw"])
def test_ties_in_columns_of_other_names_are_not_overlooked(column: str) -> None:
    with pytest.raises(InputError, match=f"got '{column}'. It would be overlooked"):
        Choices.from_pairs(table().assign(**{column: False}))


@pytest.mark.parametrize("as_given", [list, tuple, set, None])
def test_votes_in_numbers(as_given: Any) -> None:
    votes = pd.DataFrame(
        {"reward_1": [1.0, 2.0, 3.0], "reward_2": [0.0, 5.0, 3.0], "choice": [1, 2, 3]}
    )
    tie = 3 if as_given is None else as_given([3])
    for column in (votes["choice"], votes["choice"].astype("category")):
        made = pairs_from_votes(votes.assign(choice=column), first=1, second=2, tie=tie)
        assert made["reward_chosen"].tolist() == [1.0, 5.0, 3.0]
        assert made["tie"].tolist() == [False, False, True]


def test_a_rank_is_compared_with_the_best_one() -> None:
    rows = [{"s": s, "item": i, "rank": i + 1, "cost": s * i} for s in range(20) for i in range(3)]
    names = {"situation": "s", "alternative": "item", "attributes": "cost"}
    with pytest.raises(InputError, match=r"frame\['rank'\] = frame\['rank'\] == 1\."):
        Choices.from_long(pd.DataFrame(rows), chosen="rank", **names)


# -- the prompt again in the responses -----------------------------------------------------------


def turns(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def asked(layout: str, rows: int = 20) -> pd.DataFrame:
    made: dict[str, list[Any]] = {"prompt": [], "chosen": [], "rejected": []}
    for i in range(rows):
        question = f"question {i}"
        if layout == "text before text":
            made["prompt"].append(question)
            made["chosen"].append(f"{question} good {i}")
            made["rejected"].append(f"{question} bad {i}")
            continue
        made["prompt"].append(question if layout == "text before turns" else turns(question))
        made["chosen"].append(turns(question, f"good {i}"))
        made["rejected"].append(turns(question, f"bad {i}"))
    return pd.DataFrame(made).assign(**table(rows)[["reward_chosen", "reward_rejected"]])


@pytest.mark.parametrize("layout", ["text before text", "text before turns", "turns before turns"])
def test_a_prompt_that_stands_in_the_responses_too_is_refused(layout: str) -> None:
    from prefstrength.rewards import TextReward
    from prefstrength.rewards.score import score

    for call in (Choices.from_pairs, lambda frame: score(frame, TextReward())):
        with pytest.raises(InputError, match=r"The question would be read twice") as error:
            call(asked(layout))
        assert "in 20 of 20 rows (first: 0, 1, 2)" in str(error.value)
        assert len(str(error.value)) < 420


def test_responses_that_begin_like_their_prompt_by_chance_stay() -> None:
    frame = asked("text before text")
    frame["prompt"] = [
        f"other {i}" if i % 4 else prompt for i, prompt in enumerate(frame["prompt"])
    ]
    assert Choices.from_pairs(frame).n_situations == 20
    # A conversation does not begin with all of its prompt by chance.
    frame = asked("turns before turns")
    frame["prompt"] = [turns(f"other {i}") if i else frame["prompt"][0] for i in range(20)]
    with pytest.raises(InputError, match=r"in 1 of 20 rows"):
        Choices.from_pairs(frame)


def test_texts_with_half_a_character_are_named() -> None:
    for values in (["fine"] * 399 + ["half \ud83d"], [turns("a", "half \ud83d")] * 400):
        texts = {"chosen": pd.Series(values, dtype=object), "rejected": [values[0]] * 400}
        with pytest.raises(InputError, match="'chosen' should hold whole characters"):
            Choices.from_pairs(table().assign(**texts), identical="drop")


# -- labels that no file of results can hold -----------------------------------------------------


@pytest.mark.parametrize("label", ["a\0b", "half \ud83d"])
@pytest.mark.parametrize("role", ["chooser", "groups"])
def test_labels_that_cannot_be_written_are_refused_at_the_door(label: str, role: str) -> None:
    values = pd.Series([label if i % 2 else "b" for i in range(400)], dtype=object)
    with pytest.raises(InputError, match="text that files of results can hold|whole characters"):
        Choices.from_pairs(table().assign(level=values), **{role: "level"})


@pytest.mark.parametrize("name", ["re/ward", "re\0ward"])
def test_names_that_cannot_be_written_are_refused_at_the_door(name: str) -> None:
    frame = table().rename(columns=lambda column: column.replace("reward", name))
    with pytest.raises(InputError, match="Labels of attributes should be text"):
        Choices.from_pairs(frame, attributes=[name])
    frame = table().assign(**{name: ["x", "y"] * 200})
    with pytest.raises(InputError, match="Names of groups should be text"):
        Choices.from_pairs(frame, groups=[name])


def test_situations_may_be_called_by_a_path(tmp_path: Path) -> None:
    frame = table().set_axis([f"{tmp_path}/{i}" for i in range(400)])
    assert Choices.from_pairs(frame).n_situations == 400
