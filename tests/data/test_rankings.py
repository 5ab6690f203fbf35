"""Rankings of every layout, and the answers that they become."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from prefstrength.choice.responses.multinomial import Multinomial
from prefstrength.choice.responses.ranking import Ranking
from prefstrength.data.choices import Choices
from prefstrength.errors import InputError
from tests.helpers.shared_data import require

N = 24
NAMES = ("ape", "bee", "cat", "dog")


def long(seed=0, ties=True, names=NAMES):
    """Four alternatives a ranking; some are missing, some tie, some are not ranked."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(N):
        offered = rng.permutation(len(names))[: 3 + i % 2]
        places = [(1, 2, 3, 4), (1, 1, 2, 3), (2, 1, 0, 0)][i % 3 if ties else 0]
        for j, place in zip(offered, places, strict=False):
            rows.append(
                {
                    "task": f"t{i}",
                    "name": names[j],
                    "rank": place or np.nan,
                    "reward": rng.normal(),
                    "length": float(rng.integers(100)),
                    "who": f"w{i % 5}",
                    "site": "lab" if i % 10 < 5 else "web",
                    "count": 1.0 + i % 2,
                    "person": float(i % 5),
                }
            )
    return pd.DataFrame(rows)


CALL = {
    "chooser": "who", "groups": "site", "weights": "count", "chooser_weights": "person",
}  # fmt: skip
BOTH = ["reward", "length"]


def wanted(**changes):
    return Choices.from_long(
        long(), "task", "name", attributes=BOTH, rank="rank", **CALL, **changes
    )


def lists(table):
    """The same, one row a ranking."""
    groups = table.groupby("task", sort=False)
    frame = pd.DataFrame({c: groups[c].agg(list) for c in ("name", "rank", *BOTH)})
    return frame.join(groups[["who", "site", "count", "person"]].first())


# -- one row for each alternative -----------------------------------------------------------------


def test_ranks_of_a_long_table():
    choices, table = wanted(), long()
    assert choices.response == Ranking()
    assert choices.alternatives == NAMES
    for row in table.itertuples():
        s, j = choices.situations.index(row.task), NAMES.index(row.name)
        assert choices.available[s, j]
        assert choices.ranks[s, j] == (0 if np.isnan(row.rank) else row.rank)
        assert choices.values[s, j].tolist() == [row.reward, row.length]
    assert choices.available.sum() == len(table)
    best = np.argmax(choices.ranks == 1, axis=1)
    np.testing.assert_array_equal(choices.chosen, best)
    assert choices.chooser_weights.tolist() == [0, 1, 2, 3, 4]
    assert choices.answer_counts() == {"all places": 12, "some places": 4, "with ties": 8}


def test_to_long_and_back():
    choices = wanted()
    table = choices.to_long()
    back = Choices.from_long(
        table, "situation", "alternative", attributes=BOTH, rank="rank", chooser="chooser",
        groups="site", weights="weight", chooser_weights="chooser_weight",
    )  # fmt: skip
    assert back.content_hash() == choices.content_hash()


def test_places_that_a_tie_takes_count_up():
    frame = pd.DataFrame({"s": [1] * 4, "a": list("abcd"), "reward": range(4)})
    for ranks in ([1, 1, 2, 3], [1, 1, 3, 4], [1.0, 1.0, 3.0, 4.0]):
        choices = Choices.from_long(frame.assign(rank=ranks), "s", "a", rank="rank")
        assert choices.ranks.tolist() == [[1, 1, 2, 3]]
    part = Choices.from_long(frame.assign(rank=[3, 1, 1, None]), "s", "a", rank="rank")
    assert part.ranks.tolist() == [[2, 1, 1, 0]]


@pytest.mark.parametrize("seed", range(3))
def test_rows_in_another_order(seed):
    other = Choices.from_long(
        long().sample(frac=1, random_state=seed), "task", "name",
        attributes=BOTH, rank="rank", **CALL,
    )  # fmt: skip
    choices = wanted()
    where = [other.situations.index(label) for label in choices.situations]
    for name in ("values", "ranks", "available", "chosen"):
        np.testing.assert_array_equal(getattr(choices, name), getattr(other, name)[where])


def test_ranks_of_every_type():
    table = long(ties=False)
    one = Choices.from_long(table, "task", "name", attributes=BOTH, rank="rank").content_hash()
    for dtype in ("Int64", "int8", object, "category"):
        other = table.assign(rank=table["rank"].astype(dtype))
        assert one == (
            Choices.from_long(other, "task", "name", attributes=BOTH, rank="rank").content_hash()
        )


def test_what_is_not_available_has_no_rank():
    table = long().assign(open=True)
    table.loc[5, ["open", "reward", "rank"]] = [False, np.nan, np.nan]
    rest = table.drop(index=5)
    a = Choices.from_long(table, "task", "name", rank="rank", available="open")
    b = Choices.from_long(rest, "task", "name", rank="rank")
    assert a.content_hash() == b.content_hash()


def test_scores_become_rankings_with_ties():
    table = long()
    table["score"] = np.random.default_rng(1).integers(1, 5, len(table)) * 20
    choices = Choices.from_rankings(
        table, BOTH, situation="task", alternative="name", score="score", **CALL
    )
    assert choices.notes == (
        "scores of 24 situations read as rankings with ties: their size is not used",
    )
    place = table.groupby("task")["score"].rank(method="dense", ascending=False)
    by_hand = Choices.from_long(
        table.assign(place=place), "task", "name", attributes=BOTH, rank="place", **CALL
    )
    assert dataclasses.replace(choices, notes=()).content_hash() == by_hand.content_hash()
    assert choices.answer_counts()["with ties"] > 5
    assert choices.answer_counts()["some places"] == 0


def test_rankings_without_any_order_warn_of_nothing():
    frame = pd.DataFrame({"reward": [[0.1, 2.0, 1.0]] * 25, "rank": [[1, 1, 1]] * 25})
    assert Choices.from_rankings(frame, rank="rank").answer_counts()["with ties"] == 25


# -- one row for each ranking ---------------------------------------------------------------------


def test_lists_of_ranks():
    choices = Choices.from_rankings(lists(long()), BOTH, rank="rank", alternatives="name", **CALL)
    assert choices.content_hash() == wanted().content_hash()


def test_lists_in_order():
    frame = lists(long())
    order = []
    for names, ranks in zip(frame["name"], frame["rank"], strict=True):
        levels = sorted({r for r in ranks if not np.isnan(r)})
        tied = [[n for n, r in zip(names, ranks, strict=True) if r == level] for level in levels]
        order.append([one if len(one) > 1 else one[0] for one in tied])
    choices = Choices.from_rankings(
        frame.assign(order=order), BOTH, order="order", alternatives="name", **CALL
    )
    assert choices.content_hash() == wanted().content_hash()


def test_places_in_the_lists_are_names_enough():
    frame = pd.DataFrame({"reward": [[0.1, 2.0, 1.0], [0.0, 0.5]], "order": [[1, 2], [0, 1]]})
    choices = Choices.from_rankings(frame, order="order")
    assert choices.alternatives == ("0", "1", "2")
    assert choices.ranks.tolist() == [[0, 1, 2], [1, 2, 0]]
    assert choices.available.tolist() == [[True] * 3, [True, True, False]]
    assert choices.situations == ("0", "1")
    assert choices.values[1, :, 0].tolist() == [0.0, 0.5, 0.0]


def test_lists_of_scores():
    frame = pd.DataFrame({"reward": [[0.1, 2.0, 1.0]] * 2, "rated": [[90, 20, 90], [1, 2, 3]]})
    choices = Choices.from_rankings(frame, score="rated")
    assert choices.ranks.tolist() == [[1, 2, 1], [3, 2, 1]]
    assert "scores of 2 situations" in choices.notes[0]


def test_responses_with_names_of_their_own_are_numbered_in_the_order_of_the_lists():
    rng = np.random.default_rng(0)
    texts = [[f"{rng.integers(10**9)}" for _ in range(3)] for _ in range(60)]
    order = [[three[2], three[0], three[1]] for three in texts]
    rewards = rng.normal(size=(60, 3))
    frame = pd.DataFrame({"texts": texts, "order": order, "reward": rewards.tolist()})
    choices = Choices.from_rankings(frame, order="order", alternatives="texts")
    assert choices.alternatives == ("0", "1", "2")
    assert (choices.ranks == [2, 3, 1]).all()
    np.testing.assert_array_equal(choices.values[:, :, 0], rewards)


def test_lists_from_arrow():
    datasets = pytest.importorskip("datasets")
    frame = lists(long(ties=False)).drop(columns="rank")
    frame["order"] = [names[::-1] for names in frame["name"]]
    one = Choices.from_rankings(frame, BOTH, order="order", alternatives="name", **CALL)
    table = datasets.Dataset.from_pandas(frame, preserve_index=False)
    other = Choices.from_rankings(table, BOTH, order="order", alternatives="name", **CALL)
    labels = dataclasses.replace(other, situations=one.situations)
    assert labels.content_hash() == one.content_hash()


def test_columns_for_each_alternative():
    frame = pd.DataFrame(
        {
            "yield_a": [3.0, 2.0, 1.0],
            "yield_b": [1.0, 4.0, 2.0],
            "yield_c": [2.0, 3.0, np.nan],
            "rank_a": [1, 3, 2],
            "rank_b": [3, 1, 1],
            "rank_c": [2, 2, np.nan],
        }
    )
    choices = Choices.from_rankings(frame, "yield", rank="rank", alternatives=["a", "b", "c"])
    assert choices.alternatives == ("a", "b", "c")
    assert choices.ranks.tolist() == [[1, 3, 2], [3, 1, 2], [2, 1, 0]]
    assert choices.available.tolist()[2] == [True, True, False]
    order = frame.assign(order=[["a", "c", "b"], ["b", "c", "a"], ["b", "a"]])
    again = Choices.from_rankings(order, "yield", order="order", alternatives=["a", "b", "c"])
    assert again.content_hash() == choices.content_hash()


# -- best and worst -------------------------------------------------------------------------------


def four(**columns):
    return pd.DataFrame({"reward": [[0.1, 2.0, 1.0, 3.0], [0.0, 0.5, 0.7, 0.2]], **columns})


def test_best_and_worst_leave_the_others_tied():
    choices = Choices.from_rankings(four(top=[3, 0], bottom=[1, 2]), best="top", worst="bottom")
    assert choices.ranks.tolist() == [[2, 3, 2, 1], [1, 2, 3, 2]]
    assert choices.response == Ranking("exact")


def test_the_best_alone_and_a_worst_that_is_missing():
    alone = Choices.from_rankings(four(top=[3, 0]), best="top")
    assert alone.ranks.tolist() == [[0, 0, 0, 1], [1, 0, 0, 0]]
    some = Choices.from_rankings(four(top=[3, 0], bottom=[1, None]), best="top", worst="bottom")
    assert some.ranks.tolist() == [[2, 3, 2, 1], [1, 0, 0, 0]]


def test_best_and_worst_of_two_and_three():
    frame = pd.DataFrame({"reward": [[0.1, 2.0], [0.0, 0.5, 3.0]], "top": [1, 1], "bottom": [0, 2]})
    choices = Choices.from_rankings(frame, best="top", worst="bottom")
    assert choices.ranks.tolist() == [[2, 1, 0], [2, 1, 3]]
    assert choices.answer_counts()["all places"] == 2


# -- the call -------------------------------------------------------------------------------------


def test_a_rule_of_ties():
    assert wanted(response=Ranking("efron")).response == Ranking("efron")
    with pytest.raises(InputError, match="should be one of the answers that are there"):
        wanted(response=Multinomial())


def test_the_callers_table_is_never_changed():
    for table, call in (
        (long(), {"situation": "task", "alternative": "name", "rank": "rank"}),
        (lists(long()), {"alternatives": "name", "rank": "rank"}),
    ):
        before = table.copy(deep=True)
        Choices.from_rankings(table, BOTH, **call, **CALL)
        pd.testing.assert_frame_equal(table, before)


def test_ties_are_answers():
    with pytest.raises(InputError, match="ties should be left out where ranks"):
        wanted(ties="split")


# -- real rankings --------------------------------------------------------------------------------


@pytest.mark.realdata
def test_writers_rank_three_versions():
    table = pd.read_parquet(require("wqrm_triplets") / "rankings.parquet")
    choices = Choices.from_rankings(
        table, situation="ranking_id", alternative="alternative", rank="rank",
        groups=["genre", "llm"],
    )  # fmt: skip
    assert choices.n_situations == 280
    assert choices.answer_counts() == {"all places": 280, "some places": 0, "with ties": 0}
    assert choices.as_pairs(reduce=True).n_situations == 840


@pytest.mark.realdata
def test_farmers_name_the_best_and_the_worst_of_three():
    """Wheat in columns for each variety; yields here are made up."""
    table = pd.read_parquet(require("tricot_gosset") / "breadwheat.parquet")
    letters = {c: table[c].str.lower() for c in ("overall_best", "overall_worst")}
    table = table.assign(**letters)
    rng = np.random.default_rng(0)
    table[["reward_a", "reward_b", "reward_c"]] = rng.normal(size=(len(table), 3))
    choices = Choices.from_rankings(
        table, best="overall_best", worst="overall_worst", alternatives=["a", "b", "c"],
        groups="gender",
    )  # fmt: skip
    assert choices.n_situations == 493
    assert choices.answer_counts()["all places"] == 493
    first = table["overall_best"].map({"a": 0, "b": 1, "c": 2})
    np.testing.assert_array_equal(choices.chosen, first)
