"""Scoring, score columns, and the cross-fitted text reward."""

import json
import weakref

import numpy as np
import pandas as pd
import pytest

from prefstrength.errors import DataWarning, InputError
from prefstrength.rewards import ColumnReward, Reward, Scores, TextReward, score
from prefstrength.rewards.engine.opened import once
from prefstrength.rewards.engine.responses import distinct_responses, flatten, messages, opening
from prefstrength.rewards.text import BradleyTerry, calibration, deal, log_loss


def make_pairs(n=600, prompts=150, words=40, sd=0.8, seed=0, ties=0.0):
    """Texts whose true quality is a sum of word weights, and choices made by it."""
    rng = np.random.default_rng(seed)
    names = np.array([f"word{i}" for i in range(words)])
    weight = rng.normal(0, sd, words)

    def response():
        held = rng.choice(words, size=rng.integers(4, 12), replace=False)
        return " ".join(names[held]), weight[held].sum()

    first, second = [response() for _ in range(n)], [response() for _ in range(n)]
    difference = np.array([a[1] - b[1] for a, b in zip(first, second, strict=True)])
    won = rng.random(n) < 1 / (1 + np.exp(-difference))
    order = [(a, b) if w else (b, a) for a, b, w in zip(first, second, won, strict=True)]
    return pd.DataFrame(
        {
            "prompt": [f"prompt {i}" for i in rng.integers(0, prompts, n)],
            "chosen": [a[0] for a, _ in order],
            "rejected": [b[0] for _, b in order],
            "tie": rng.random(n) < ties,
            "truth": [a[1] - b[1] for a, b in order],
        }
    )


def text_score(pairs, progress=False, **options):
    return score(pairs, TextReward(**options), progress=progress)


# -- score -----------------------------------------------------------------------------------


def test_unit_is_the_root_mean_square_of_all_differences():
    pairs = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [0.0, 4.0, 3.0], "tie": [False, False, True]})
    before = pairs.copy(deep=True)
    scored = score(pairs, ColumnReward("a", "b"))
    unit = np.sqrt((1**2 + 2**2 + 0**2) / 3)
    np.testing.assert_allclose(scored["reward_chosen"], pairs["a"] / unit)
    np.testing.assert_allclose(scored["reward_rejected"], pairs["b"] / unit)
    np.testing.assert_array_equal(scored["reward_raw_chosen"], pairs["a"])
    about = scored.attrs["reward"]
    assert about["unit"] == pytest.approx(unit)
    assert about["agreement"] == 0.5  # of the two pairs with a preference
    assert about["equal"] == 1
    assert about["name"] == "ColumnReward"
    pd.testing.assert_frame_equal(pairs, before)
    assert pairs.attrs == {}


def test_rewards_do_not_depend_on_the_scale_or_the_order_of_a_pair():
    pairs = pd.DataFrame({"a": [1.0, -2.0, 0.5], "b": [0.3, 4.0, 3.0]})
    difference = score(pairs, ColumnReward("a", "b")).eval("reward_chosen - reward_rejected")
    scaled = score(7 * pairs + 3, ColumnReward("a", "b")).eval("reward_chosen - reward_rejected")
    turned = score(pairs, ColumnReward("b", "a")).eval("reward_chosen - reward_rejected")
    np.testing.assert_allclose(scaled, difference)
    np.testing.assert_allclose(turned, -difference)


def test_replaced_columns_are_listed():
    pairs = pd.DataFrame({"reward_chosen": [1.0, 2.0], "reward_rejected": [0.0, 4.0]})
    scored = score(pairs, ColumnReward("reward_chosen", "reward_rejected"))
    assert scored.attrs["reward"]["replaced"] == ["reward_chosen", "reward_rejected"]
    again = score(scored, ColumnReward("reward_chosen", "reward_rejected"))
    assert again.attrs["reward"]["unit"] == pytest.approx(1.0)


def test_provenance_survives_parquet(tmp_path):
    scored = text_score(make_pairs(200))
    scored.to_parquet(tmp_path / "pairs.parquet")
    back = pd.read_parquet(tmp_path / "pairs.parquet")
    assert back.attrs["reward"] == json.loads(json.dumps(scored.attrs["reward"]))


def test_datasets_are_tables_too():
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"a": [1.0, 2.0], "b": [0.0, 4.0]})
    assert score(table, ColumnReward("a", "b")).shape == (2, 6)
    with pytest.raises(TypeError):
        score(datasets.DatasetDict({"train": table}), ColumnReward("a", "b"))


def test_anything_with_score_pairs_is_a_reward():
    class Length:
        def score_pairs(self, pairs, *, cache=None, progress=True):
            chosen, rejected = (pairs[s].str.len().to_numpy(float) for s in ("chosen", "rejected"))
            return Scores(chosen, rejected, {"name": "Length"})

    assert isinstance(Length(), Reward)
    scored = score(make_pairs(20), Length())
    assert scored.attrs["reward"]["name"] == "Length"


@pytest.mark.parametrize("reward", [TextReward, "text", None])
def test_what_is_no_reward(reward):
    with pytest.raises(TypeError, match="expects a reward such as"):
        score(make_pairs(5), reward)


def test_no_pairs():
    with pytest.raises(InputError, match="at least one row"):
        score(pd.DataFrame({"a": [], "b": []}), ColumnReward("a", "b"))


def test_an_ensemble_is_the_mean_of_its_members_in_one_unit():
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame(rng.normal(size=(50, 6)) * [1, 1, 5, 5, 0.1, 0.1], columns=list("abcdef"))
    rewards = [ColumnReward(*names) for names in ("ab", "cd", "ef")]
    scored = score(pairs, rewards)
    alone = [score(pairs, reward) for reward in rewards]
    for side in ("chosen", "rejected"):
        mean = np.mean([member[f"reward_{side}"] for member in alone], axis=0)
        np.testing.assert_allclose(scored[f"reward_raw_{side}"], mean)
        np.testing.assert_allclose(
            scored[f"reward_{side}"],
            scored[[f"reward_{i}_{side}" for i in (1, 2, 3)]].mean(axis=1),
        )
    difference = scored["reward_chosen"] - scored["reward_rejected"]
    assert np.mean(difference**2) == pytest.approx(1.0)
    spreads = [
        np.mean((scored[f"reward_{i}_chosen"] - scored[f"reward_{i}_rejected"]) ** 2)
        for i in (1, 2, 3)
    ]
    np.testing.assert_allclose(spreads, spreads[0])  # one unit for all
    assert spreads[0] > 1.5  # members that disagree spread wider than their mean
    about = scored.attrs["reward"]
    assert [member["unit"] for member in about["members"]] == [
        member.attrs["reward"]["unit"] for member in alone
    ]
    ones = [member["reward_chosen"] - member["reward_rejected"] for member in alone]
    np.testing.assert_allclose(about["correlation"][0][1], np.mean(ones[0] * ones[1]))
    assert about["agreement"] == np.mean(difference > 0)
    assert about["name"] == "an ensemble of ColumnReward, ColumnReward, ColumnReward"
    assert set(about["attributes"]) == {"reward_1", "reward_2", "reward_3"}
    json.dumps(about)


def test_members_that_go_against_each_other_warn():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(60, 1))
    values = true * [1, 1, -1] + 0.5 * rng.normal(size=(60, 3))
    pairs = pd.DataFrame(values, columns=list("abc")).assign(zero=0.0)
    rewards = [ColumnReward(name, "zero") for name in "abc"]
    with pytest.warns(DataWarning, match="rewards . and 3 of the ensemble .* correlation of -0"):
        score(pairs, rewards)
    score(pairs, rewards[:2])


class Weights:
    """What a model keeps in memory."""


class Modelled:
    """A reward with a model."""

    def __init__(self, wrong=None):
        self.wrong, self.source, self.looked_at, self.beside = wrong, object(), 0, []
        self.model = lambda: None

    def look(self):
        self.looked_at += 1
        if self.wrong:
            raise InputError(self.wrong)
        return {}

    def identity(self):
        return once(self, self.look)

    def score_pairs(self, pairs, *, cache=None, progress=True):
        self.identity()
        self.in_memory = [other for other in self.beside if other.model() is not None]
        self.model = weakref.ref(once(self.source, Weights))
        return Scores(np.arange(1.0, 1 + len(pairs)), np.zeros(len(pairs)))


def test_what_is_wrong_with_a_member_is_found_before_another_works():
    pairs = pd.DataFrame({"b_chosen": [5.0, 1.0, 3.0], "b_rejected": [2.0, 0.0, 1.0]})
    for other, said in (
        (ColumnReward("c_chosen", "c_rejected"), "c_chosen"),
        (Modelled("no such model"), "no such model"),
    ):
        first = Modelled()
        with pytest.raises(InputError, match=said):
            score(pairs, [first, other])
        assert not hasattr(first, "in_memory")
    first, second = Modelled(), Modelled()
    first.beside, second.beside = [second], [first]
    scored = score(pairs, [first, ColumnReward("b_chosen", "b_rejected"), second])
    assert (first.looked_at, second.looked_at) == (1, 1)
    assert first.in_memory == second.in_memory == []
    assert first.model() is second.model() is None
    # in the order in which they were given
    for name, expected in (("reward_1", [1.0, 2.0, 3.0]), ("reward_2", [5.0, 1.0, 3.0])):
        found = scored[f"{name}_chosen"] / scored[f"{name}_chosen"].max()
        np.testing.assert_allclose(found, np.divide(expected, max(expected)), rtol=1e-12)


def test_what_is_no_ensemble():
    pairs = pd.DataFrame({"a": [1.0, 2.0], "b": [0.0, 4.0]})
    with pytest.raises(InputError, match="at least two rewards; got 1"):
        score(pairs, [ColumnReward("a", "b")])
    with pytest.raises(TypeError, match="or a list of them; got 'a'"):
        score(pairs, [ColumnReward("a", "b"), "a"])

    class Heads:
        def score_pairs(self, pairs, *, cache=None, progress=True):
            return Scores(np.ones((2, 2)), np.zeros((2, 2)), {"name": "Heads"}, ("x", "y"))

    with pytest.raises(InputError, match="one number each; got x, y from Heads"):
        score(pairs, [ColumnReward("a", "b"), Heads()])


# -- columns ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (["1.5", "2", "3"], "'a' should hold numbers.*as text.* in 3 of 3 rows .first: x, y, z"),
        ([1.0, "high", 2.0], "'a' .*mixed with text, such as 'high', in 1 of 3 rows .first: y"),
        ([1.0, np.nan, np.inf], "'a' .*finite.* in 2 of 3 rows .first: y, z"),
        ([True, False, True], "'a' should hold numbers; got true/false"),
        ([[1.0], [2.0], [3.0]], "'a' .*nested"),
    ],
)
def test_columns_that_are_no_rewards(column, says):
    pairs = pd.DataFrame({"a": column, "b": [0.0, 1.0, 2.0]}, index=["x", "y", "z"])
    with pytest.raises(InputError, match=says):
        score(pairs, ColumnReward("a", "b"))


def test_columns_that_are_absent_alike_or_equal():
    pairs = pd.DataFrame({"score_choosen": [1.0, 2.0], "score_rejected": [0.0, 1.0]})
    with pytest.raises(InputError, match="Did you mean 'score_choosen'"):
        score(pairs, ColumnReward())
    with pytest.raises(InputError, match="two columns"):
        ColumnReward("a", "a")
    same = pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0]})
    with pytest.raises(InputError, match="same reward for both in all 2 pairs"):
        score(same, ColumnReward("a", "b"))


def test_ties_that_are_no_booleans():
    pairs = pd.DataFrame({"a": [1.0, 2.0], "b": [0.0, 4.0], "tie": ["yes", "no"]})
    with pytest.raises(InputError, match="'tie' should be true or false"):
        score(pairs, ColumnReward("a", "b"))


# -- texts -----------------------------------------------------------------------------------


def test_responses_are_collected_once_each():
    frame = pd.DataFrame(
        {
            "prompt": ["p", "p", "q"],
            "chosen": ["a", "a", "a"],
            "rejected": ["b", "c", "b"],
        }
    )
    found = distinct_responses(frame)
    assert found.texts == ("a", "b", "c", "a", "b")
    assert found.prompts == ("p", "p", "p", "q", "q")
    assert found.chosen.tolist() == [0, 0, 3]
    assert found.rejected.tolist() == [1, 2, 4]
    assert found.rows == ("0", "0", "1", "2", "2")


def test_messages_and_texts():
    prompt = (("system", "Be brief."), ("user", "Hi  there"), ("user", "Again"))
    assert opening(prompt) == "Hi there"
    assert opening(" Hi \n there") == "Hi there"
    assert flatten("plain") == "plain"
    assert messages("Hi", "Hello") == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
    ]
    assert len(messages(prompt, (("assistant", "a"), ("user", "b"), ("assistant", "c")))) == 6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"chosen": ["good", " ", "fine"]}, "'chosen' .*blanks in 1 of 3 rows .first: 1"),
        ({"rejected": ["bad", None, "ill"]}, "'rejected' .*got nothing in 1 of 3 rows .first: 1"),
        ({"prompt": [1, 2, 3]}, "'prompt' should hold texts or .*got 1 in 3 of 3 rows"),
        (
            {"chosen": [[{"role": "user"}]] * 3},
            "'chosen' .*got a message without 'content' .* in 3",
        ),
        ({"prompt": [[]] * 3}, "'prompt' should hold lists of messages .*got an empty list in 3"),
    ],
)
def test_texts_that_are_none(change, says):
    frame = {"prompt": ["p", "q", "r"], "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"]}
    with pytest.raises(InputError, match=says):
        text_score(pd.DataFrame({**frame, **change}))


def test_text_columns_must_be_there():
    with pytest.raises(InputError, match="no prompt .*ColumnReward"):
        text_score(pd.DataFrame({"chosen": ["a"], "rejected": ["b"]}))


# -- the text reward -------------------------------------------------------------------------


def test_recovers_a_quality_that_is_a_sum_of_word_weights():
    pairs = make_pairs(3000, prompts=600)
    scored = text_score(pairs)
    difference = scored["reward_chosen"] - scored["reward_rejected"]
    assert np.corrcoef(difference, pairs["truth"])[0, 1] > 0.96
    about = scored.attrs["reward"]
    assert about["agreement"] == pytest.approx(np.mean(difference > 0))
    assert about["agreement"] > np.mean(pairs["truth"] > 0) - 0.03
    assert about["log_loss"] < 0.55
    for row in about["calibration"]:
        margin = 4 * np.sqrt(0.25 / row["pairs"])
        assert row["observed"] == pytest.approx(row["predicted"], abs=margin)


def leaky_pairs(prompts=60, each=6, seed=1):
    """Each prompt has a word of its own, in its chosen responses alone: a label, not a quality."""
    rng = np.random.default_rng(seed)
    filler = [f"f{i}" for i in range(30)]
    rows = [
        {
            "prompt": f"prompt {p}",
            "chosen": " ".join([*rng.choice(filler, 8), f"secret{p}"]),
            "rejected": " ".join([*rng.choice(filler, 8), f"other{p}"]),
        }
        for p in range(prompts)
        for _ in range(each)
    ]
    return pd.DataFrame(rows)


def test_no_pair_is_scored_by_a_model_that_saw_its_prompt(monkeypatch):
    from prefstrength.rewards import text

    pairs = leaky_pairs()
    with pytest.warns(DataWarning, match="no better than a coin"):
        scored = text_score(pairs)
    assert scored.attrs["reward"]["agreement"] < 0.5 + 3 * np.sqrt(0.25 / len(pairs))

    # the same pairs, dealt pair by pair: the leak is there, and this guard would see it
    def by_pair(group, folds, seed):
        return deal(np.arange(len(group)), folds, seed)

    monkeypatch.setattr(text, "deal", by_pair)
    assert text_score(pairs).attrs["reward"]["agreement"] > 0.99


def test_turns_of_a_conversation_share_a_fold():
    pairs = leaky_pairs()
    opening_turn = [{"role": "user", "content": "the same opening"}]
    chats = pd.concat(
        [
            pairs.assign(prompt=[[{"role": "user", "content": p}] for p in pairs["prompt"]]),
            pairs.assign(
                prompt=[
                    [
                        {"role": "user", "content": p},
                        {"role": "assistant", "content": f"answer {i}"},
                        {"role": "user", "content": f"go on {i}"},
                    ]
                    for i, p in enumerate(pairs["prompt"])
                ]
            ),
        ],
        ignore_index=True,
    )
    with pytest.warns(DataWarning, match="no better than a coin"):
        scored = text_score(chats)
    assert scored.attrs["reward"]["prompts"] == 60
    assert scored.attrs["reward"]["agreement"] < 0.5 + 3 * np.sqrt(0.25 / len(pairs))
    with pytest.raises(InputError, match="got 1 in 360 pairs"):
        text_score(pairs.assign(prompt=[opening_turn] * len(pairs)))


def test_folds_keep_prompts_whole_and_are_even():
    group = np.random.default_rng(0).integers(0, 100, 1000)
    fold = deal(group, 5, seed=3)
    assert all(len(set(fold[group == g])) == 1 for g in range(100))
    sizes = [len(set(group[fold == k])) for k in range(5)]
    assert sizes == [20] * 5
    assert not np.array_equal(fold, deal(group, 5, seed=4))
    np.testing.assert_array_equal(fold, deal(group, 5, seed=3))


def test_same_seed_same_numbers():
    pairs = make_pairs(200)
    one, two = text_score(pairs, seed=3), text_score(pairs, seed=3)
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    assert not np.allclose(one["reward_chosen"], text_score(pairs, seed=4)["reward_chosen"])


def test_conversations_equal_their_plain_texts():
    pairs = make_pairs(200)
    chats = pairs.assign(
        prompt=[np.array([{"role": "user", "content": t}]) for t in pairs["prompt"]],
        chosen=[[{"role": "assistant", "content": t}] for t in pairs["chosen"]],
        rejected=[[{"role": "assistant", "content": t}] for t in pairs["rejected"]],
    )
    np.testing.assert_array_equal(
        text_score(chats)["reward_chosen"], text_score(pairs)["reward_chosen"]
    )


def test_which_response_of_a_tie_comes_first_does_not_matter():
    pairs = make_pairs(400, ties=0.3)
    turned = pairs.copy()
    turned.loc[pairs["tie"], ["chosen", "rejected"]] = pairs.loc[
        pairs["tie"], ["rejected", "chosen"]
    ].to_numpy()
    one, two = text_score(pairs), text_score(turned)
    sign = np.where(pairs["tie"], -1.0, 1.0)
    np.testing.assert_allclose(
        two["reward_chosen"] - two["reward_rejected"],
        sign * (one["reward_chosen"] - one["reward_rejected"]),
        atol=2e-4,  # the solver stops at a tolerance
    )
    assert one.attrs["reward"]["log_loss"] == pytest.approx(two.attrs["reward"]["log_loss"])


def test_words_of_the_report_are_those_with_weight():
    pairs = pd.DataFrame(
        {
            "prompt": [f"p{i}" for i in range(60)],
            "chosen": [f"kind x{i % 7}" for i in range(60)],
            "rejected": [f"rude x{i % 5}" for i in range(60)],
        }
    )
    words = text_score(pairs).attrs["reward"]["words"]
    assert words["raise"][0]["word"] == "kind"
    assert words["lower"][0]["word"] == "rude"
    assert words["raise"][0]["weight"] == pytest.approx(-words["lower"][0]["weight"], rel=1e-3)


def test_length_alone_can_carry_a_preference():
    rng = np.random.default_rng(0)
    rows = []
    for i in range(300):
        long, short = (" ".join(rng.choice(list("abcdefgh"), k)) for k in (20, 10))
        rows.append({"prompt": f"p{i}", "chosen": long, "rejected": short})
    scored = text_score(pd.DataFrame(rows), max_words=2)
    assert scored.attrs["reward"]["words"]["log_length"] > 0
    assert scored.attrs["reward"]["agreement"] > 0.9


def test_model_maximises_the_penalised_likelihood():
    """Weights against a plain Newton iteration on the formula, ties half each way."""
    from scipy import sparse

    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    tie = rng.random(50) < 0.2
    fitted = BradleyTerry(sparse.csr_matrix(x), tie).fit(C=0.7)
    w = np.zeros(3)
    for _ in range(50):
        p = 1 / (1 + np.exp(-(x @ w)))
        won = np.where(tie, 0.5, 1.0)
        gradient = x.T @ (won - p) - w / 0.7
        hessian = (x.T * (p * (1 - p))) @ x + np.eye(3) / 0.7
        w += np.linalg.solve(hessian, gradient)
    np.testing.assert_allclose(fitted, w, atol=1e-5)
    one = BradleyTerry(sparse.csr_matrix(x[:1]), np.array([False])).fit(C=1.0)
    assert np.sign(one).tolist() == np.sign(x[0]).tolist()


def test_log_loss_and_calibration_as_formulas():
    delta = np.array([2.0, -2.0, 0.0])
    tie = np.array([False, False, True])
    expected = [np.log1p(np.exp(-2)), np.log1p(np.exp(2)), np.log(2)]
    np.testing.assert_allclose(log_loss(delta, tie), expected)
    rows = calibration(delta, tie)
    assert [row["pairs"] for row in rows] == [1, 2]
    assert rows[1]["predicted"] == pytest.approx(1 / (1 + np.exp(-2)))
    assert [row["observed"] for row in rows] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("pairs", "options", "says"),
    [
        (make_pairs(30, prompts=3), {}, "at least 5 different prompts for 5 folds; got 3 in 30"),
        (make_pairs(30, prompts=2), {"folds": 2}, "at least 4 different prompts for 2 folds"),
        (make_pairs(30).assign(tie=True), {}, "got 30 ties of 30"),
        (make_pairs(30).assign(chosen="same", rejected="same"), {}, "same words on both sides"),
        (make_pairs(30).assign(chosen="!!", rejected="??"), {}, "got no word in"),
    ],
)
def test_nothing_to_learn_from(pairs, options, says):
    with pytest.raises(InputError, match=says):
        text_score(pairs, **options)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"folds": 1}, InputError, "folds of at least 2"),
        ({"folds": 2.0}, TypeError, "whole number for folds"),
        ({"seed": -1}, InputError, "seed of at least 0"),
        ({"C": ()}, InputError, "positive numbers"),
        ({"C": (0.1, -1.0)}, InputError, "positive numbers"),
    ],
)
def test_arguments(options, error, says):
    with pytest.raises(error, match=says):
        TextReward(**options)


def test_two_and_three_folds_with_the_fewest_prompts():
    for folds, prompts in ((2, 4), (3, 3)):
        pairs = make_pairs(200, prompts=1).assign(prompt=[f"p{i % prompts}" for i in range(200)])
        assert text_score(pairs, folds=folds).attrs["reward"]["prompts"] == prompts
