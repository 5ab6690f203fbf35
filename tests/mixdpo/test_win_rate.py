"""Win rates: responses that depend on nothing but model and prompt, judged, counted, by length."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("trl")

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from prefstrength.errors import DataWarning, InputError  # noqa: E402
from prefstrength.mixdpo import win_rate  # noqa: E402
from prefstrength.mixdpo.evaluation import generate, win_rates  # noqa: E402
from prefstrength.mixdpo.evaluation.win_metrics import PENALTY_SD, win_metrics  # noqa: E402
from prefstrength.mixdpo.tiny import make_tiny_model  # noqa: E402
from prefstrength.rewards import ColumnReward, HFReward, TextReward  # noqa: E402
from tests.helpers.tiny_training import lora  # noqa: E402
from tests.helpers.word_models import (  # noqa: E402
    ASKING,
    SPECIAL,
    make_causal,
    make_model,
    make_tokenizer,
    save,
)

PROMPTS = [f"w{i} w{(7 * i) % 29}" + " w5" * (i % 4) for i in range(20)]
QUIET = {"max_new_tokens": 9, "progress": False}
GOOD, BAD = "w0", "w1"


@pytest.fixture(scope="module")
def talkative(tmp_path_factory, model_path):
    """The tiny model with larger weights, which make it talkative."""
    model = AutoModelForCausalLM.from_pretrained(model_path)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(20 if weight.ndim > 1 else 1)
    folder = tmp_path_factory.mktemp("talkative")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_path).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """A reward model with random weights: it likes what it likes, but tells responses apart."""
    return HFReward(save(tmp_path_factory.mktemp("reward")), template="plain")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A reward model that looks at the last word: GOOD has the reward 1, BAD -1, others 0."""
    model = make_model()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        words = model.model.embed_tokens.weight
        words.zero_()
        words[:, 2] = 1.0
        for word, place in ((GOOD, 0), (BAD, 1)):
            words[len(SPECIAL) + int(word[1:])] = torch.eye(16)[place]
        model.score.weight.zero_()
        model.score.weight[0, 0], model.score.weight[0, 1] = 0.25, -0.25  # the norm makes e1 4 e1
    return HFReward(save(tmp_path_factory.mktemp("planted"), model), template="plain")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A model whose responses end well, and one that does so for every second prompt only."""
    prompts = [f"w{10 + i} w{20 + i}" for i in range(8)]
    ends = {"better": [GOOD] * 8, "worse": [GOOD, BAD] * 4}
    paths = {}
    for name, last in ends.items():
        texts = [
            (prompt, f"{'w2 ' * (1 + i % 3)}{end}")
            for i, (prompt, end) in enumerate(zip(prompts, last, strict=True))
        ]
        paths[name] = tmp_path_factory.mktemp(name)
        make_tiny_model(texts, paths[name], steps=150, hidden=32, layers=1)
    return str(paths["better"]), str(paths["worse"]), prompts


# -- models that answer, a model that judges -------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_against_itself_ties_every_time(talkative, judge, temperature):
    done = win_rate(talkative, talkative, PROMPTS, judge, temperature=temperature, seed=3, **QUIET)
    row = done.metrics.iloc[0]
    assert row["win_rate"] == row["length_controlled_win_rate"] == 0.5
    assert (row["wins"], row["ties"], row["losses"]) == (0, len(PROMPTS), 0)
    assert row["reward_difference"] == 0
    assert row["win_rate_low"] < 0.5 < row["win_rate_high"]  # twenty ties are no certainty
    assert done.responses["reward_a"].nunique() > 5  # the judge looked at something


def test_a_planted_better_model_wins_and_the_numbers_are_those_by_hand(two, planted):
    better, worse, prompts = two
    topic = ["x", "x", "x", "x", "x", "x", "y", "y"]
    done = win_rate(better, worse, pd.Series(prompts), planted, {"topic": topic}, **QUIET)
    responses = done.responses
    assert responses["prompt"].tolist() == prompts
    assert responses["response_a"].str.endswith(GOOD).all()
    assert [text[-2:] for text in responses["response_b"]] == [GOOD, BAD] * 4
    np.testing.assert_allclose(responses["reward_a"], 1.0, atol=1e-4)
    np.testing.assert_allclose(responses["reward_b"], [1.0, -1.0] * 4, atol=1e-4)
    assert responses["outcome"].tolist() == [0.5, 1.0] * 4
    assert responses["tokens_a"].tolist() == [2, 3, 4, 2, 3, 4, 2, 3]
    assert not responses["truncated_a"].any()
    table = done.metrics.set_index(["factor", "level"])
    columns = ["prompts", "wins", "ties", "losses", "win_rate"]
    assert table.loc[("all", "all"), columns].tolist() == [8, 4, 4, 0, 0.75]
    assert table.loc[("topic", "x"), columns].tolist() == [6, 3, 3, 0, 0.75]
    assert table.loc[("topic", "macro"), columns].tolist() == [8, 4, 4, 0, 0.75]
    assert table.loc[("all", "all"), "reward_difference"] == pytest.approx(1.0, abs=1e-4)
    assert table.loc[("all", "all"), "win_rate_low"] > 0.4
    # The other way round all of it is the other way round.
    back = win_rate(worse, better, prompts, planted, {"topic": topic}, **QUIET)
    for name in ("win_rate", "length_controlled_win_rate"):
        one, other = done.metrics[name][:3], back.metrics[name][:3]
        np.testing.assert_allclose(other, 1 - one, atol=1e-9)
    np.testing.assert_allclose(
        back.metrics["win_rate_low"][:3], 1 - done.metrics["win_rate_high"][:3], atol=1e-9
    )
    # A margin that the reward difference does not exceed makes ties of all.
    tied = win_rate(better, worse, prompts, planted, tie_margin=2.1, **QUIET)
    assert tied.metrics.loc[0, ["win_rate", "ties"]].tolist() == [0.5, 8]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_batch_does_not_matter(talkative, temperature):
    model = AutoModelForCausalLM.from_pretrained(talkative)
    tokenizer = AutoTokenizer.from_pretrained(talkative)
    decoding = generate.Decoding(9, temperature, seed=1)
    one, other = (
        generate.generate_responses(
            model, tokenizer, PROMPTS, decoding, batch_size=size, progress=False
        )
        for size in (1, 7)
    )
    pd.testing.assert_frame_equal(one, other)
    assert one["response"].nunique() > 10
    # One prompt at a time without any padding, as the library does it.
    if temperature == 0:
        for row, prompt in enumerate(PROMPTS):
            ids = tokenizer(prompt, return_tensors="pt")
            new = model.generate(**ids, max_new_tokens=9, do_sample=False)
            text = tokenizer.decode(new[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
            assert one.loc[row, "response"] == text


def test_tokens_are_drawn_from_the_distribution():
    scores = torch.tensor([[0.0, 1.0, -torch.inf, 2.0]]).repeat(4000, 1)
    decoding = generate.Decoding(3, temperature=0.5, seed=2)
    drawn = generate.Drawn([str(i) for i in range(4000)], 5, decoding)
    for step in range(3):
        chosen = drawn(torch.zeros(4000, 5 + step, dtype=torch.long), scores).argmax(dim=1)
        counts = np.bincount(chosen.numpy(), minlength=4)
        p = torch.softmax(scores[0].double() / 0.5, dim=0).numpy()
        assert counts[2] == 0
        keep = p > 0
        expected = 4000 * p[keep]
        assert stats.chisquare(counts[keep], expected).pvalue > 1e-3


def test_sampling_repeats_with_its_seed_and_differs_by_occurrence(talkative):
    model = AutoModelForCausalLM.from_pretrained(talkative)
    tokenizer = AutoTokenizer.from_pretrained(talkative)
    prompts = [PROMPTS[0]] * 6

    def texts(temperature, seed):
        return generate.generate_responses(
            model, tokenizer, prompts, generate.Decoding(9, temperature, seed), progress=False
        )["response"].tolist()

    assert len(set(texts(1.0, 0))) == 6
    assert texts(1.0, 0) == texts(1.0, 0) != texts(1.0, 1)
    assert len(set(texts(0.0, 0))) == 1


def test_an_interrupted_run_makes_only_what_is_missing(talkative, judge, tmp_path, monkeypatch):
    options = {**QUIET, "batch_size": 3, "temperature": 0.7}
    one, other = (AutoModelForCausalLM.from_pretrained(talkative) for _ in range(2))
    with torch.no_grad():
        other.lm_head.weight.mul_(-1)
    whole = win_rate(one, other, PROMPTS, judge, **options)
    made = []

    def counting(generate):
        def counted(**batch):
            if len(made) == 9:  # in the responses of the second model
                made.append(0)
                raise KeyboardInterrupt
            made.append(len(batch["input_ids"]))
            return generate(**batch)

        return counted

    for model in (one, other):
        monkeypatch.setattr(model, "generate", counting(model.generate))
    with pytest.raises(KeyboardInterrupt):
        win_rate(one, other, PROMPTS, judge, out=tmp_path / "out", **options)
    before = sum(made)
    assert before == 20 + 2 * 3
    again = win_rate(one, other, PROMPTS, judge, out=tmp_path / "out", **options)
    assert sum(made) - before == 20 - 2 * 3
    pd.testing.assert_frame_equal(again.responses, whole.responses)
    pd.testing.assert_frame_equal(again.metrics, whole.metrics)
    assert again.settings["judge"]["from_cache"] == 0
    # A third time everything is there, and another setting is another response.
    third = win_rate(one, other, PROMPTS, judge, out=tmp_path / "out", **options)
    assert sum(made) == 40
    assert third.settings["judge"]["from_cache"] == third.settings["judge"]["responses"]
    win_rate(one, other, PROMPTS[:2], judge, out=tmp_path / "out", seed=5, **options)
    assert sum(made) == 44
    for damaged in (tmp_path / "out" / "responses").glob("*/*.parquet"):
        damaged.write_bytes(b"half")
    with pytest.raises(InputError, match="cannot be read.*made again"):
        win_rate(one, other, PROMPTS, judge, out=tmp_path / "out", **options)


def test_conversations_go_through_the_template(talkative, judge):
    tokenizer = AutoTokenizer.from_pretrained(talkative)
    chats = [[{"role": "user", "content": prompt}] for prompt in PROMPTS[:3]]
    texts = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
    model = AutoModelForCausalLM.from_pretrained(talkative)
    one, other = (
        generate.generate_responses(model, tokenizer, each, generate.Decoding(5), progress=False)
        for each in (chats, texts)
    )
    pd.testing.assert_frame_equal(one, other)
    done = win_rate(model, talkative, np.array(chats, dtype=object), judge, **QUIET)
    assert done.metrics.loc[0, "ties"] == 3


def test_settings_that_came_with_a_model_do_not_count(talkative):
    tokenizer = AutoTokenizer.from_pretrained(talkative)
    plain = AutoModelForCausalLM.from_pretrained(talkative)
    own = AutoModelForCausalLM.from_pretrained(talkative).train()
    own.generation_config.repetition_penalty = 5.0
    own.generation_config.max_new_tokens = 2
    decoding = generate.Decoding(9)
    one, other = (
        generate.generate_responses(model, tokenizer, PROMPTS[:4], decoding, progress=False)
        for model in (plain, own)
    )
    pd.testing.assert_frame_equal(one, other)
    # And they are the model's own again, as is its mode.
    assert own.generation_config.repetition_penalty == 5.0
    assert own.training


def test_a_response_ends_where_tokenizer_or_template_end_it(tmp_path, talkative):
    # A base model trained on conversations still names its own end of text alone.
    tokenizer = AutoTokenizer.from_pretrained(talkative)
    model = AutoModelForCausalLM.from_pretrained(talkative)
    only = torch.zeros(32)
    only[tokenizer.eos_token_id] = 1e6  # every answer would be <eos> for ever
    model.lm_head.register_forward_hook(lambda layer, given, logits: logits + only)
    model.generation_config.eos_token_id = 5
    ends = generate.ends_of(model, tokenizer, None)
    assert ends == [tokenizer.eos_token_id, 5]
    found = generate.generate_responses(
        model, tokenizer, PROMPTS[:2], generate.Decoding(6), progress=False
    )
    assert found["tokens"].tolist() == [0, 0]
    assert not found["truncated"].any()
    words = make_tokenizer(ASKING)
    end = words.convert_tokens_to_ids("<|end|>")
    said = make_causal().eval()
    assert generate.ends_of(said, words, {}) == sorted({2, end})
    assert generate.ends_of(said, words, None) == [2]


def test_a_thinking_template_is_told_as_in_training(tmp_path, judge):
    thinking = (
        ASKING + "{% if enable_thinking is defined and not enable_thinking %}w1 w2{% endif %}"
    )
    tokenizer = make_tokenizer(thinking)
    chats = [[{"role": "user", "content": "w5"}]]
    plain, told = (
        generate.token_ids(tokenizer, chats, given)[0] for given in ({}, {"enable_thinking": False})
    )
    assert told[: len(plain)] == plain
    assert tokenizer.decode(told[len(plain) :]).split() == ["w1", "w2"]
    save(tmp_path, make_causal(), tokenizer)
    done = win_rate(
        tmp_path, tmp_path, chats, judge, chat_template_kwargs={"enable_thinking": False}, **QUIET
    )
    other = win_rate(tmp_path, tmp_path, chats, judge, **QUIET)
    assert done.settings["chat_template_kwargs"] == {"enable_thinking": False}
    assert done.responses["response_a"][0] != other.responses["response_a"][0]


def test_tool_calls_reach_the_template(tmp_path):
    template = (
        "{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }} {% if m['tool_calls'] %}"
        "{{ m['tool_calls'][0]['function']['name'] }}{% endif %} <|end|>{% endfor %}"
    )
    tokenizer = make_tokenizer(template)
    ids = []
    for name in ("w7", "w8"):
        call = {"type": "function", "function": {"name": name, "arguments": {}}}
        chat = [
            {"role": "user", "content": "w5"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ]
        ids += generate.token_ids(tokenizer, generate.read_prompts([chat]), {})
    assert ids[0] != ids[1]


def test_an_adapter_answers(talkative, judge):
    from peft import get_peft_model

    base = AutoModelForCausalLM.from_pretrained(talkative)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(talkative), lora())
    done = win_rate(
        adapted, base, PROMPTS[:4], judge, tokenizer=AutoTokenizer.from_pretrained(talkative),
        **QUIET,
    )  # fmt: skip
    assert done.metrics.loc[0, "ties"] == 4  # an adapter that has not learned anything


def test_cut_off_and_blank_responses_are_counted(talkative, two, planted, tmp_path):
    better, _, prompts = two
    short = win_rate(better, better, prompts, planted, max_new_tokens=3, progress=False)
    # "w2 w2 w2 w0" does not fit, nor is there room for the end of "w2 w2 w0".
    assert short.responses["truncated_a"].tolist() == [False, True, True] * 2 + [False, True]
    assert short.truncated == {"a": 5, "b": 5}
    mute = AutoModelForCausalLM.from_pretrained(better)
    tokenizer = AutoTokenizer.from_pretrained(better)
    mute.generation_config.eos_token_id = list(range(len(tokenizer)))  # whatever it says, it ends
    done = win_rate(better, mute, prompts, planted, {"p": ["<b>"] * 8}, **QUIET)
    assert done.blank == {"a": 0, "b": 8}
    assert done.metrics.loc[0, "win_rate"] == 1.0
    assert done.metrics.loc[0, "win_rate_low"] < 0.95
    assert done.metrics["reward_difference"].isna().all()
    both = win_rate(mute, mute, prompts, planted, **QUIET)
    assert both.metrics.loc[0, "ties"] == 8
    # What it looks like, and what is kept.
    assert "0 responses of a, 0 of b; blank: 0 and 8" in repr(done)
    assert "&lt;b&gt;" in done._repr_html_()
    assert "<b>" not in done._repr_html_()
    folder = done.save(tmp_path / "kept")
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "responses.parquet"), done.responses, check_dtype=False
    )
    assert json.loads((folder / "settings.json").read_text())["decoding"]["max_new_tokens"] == 9
    assert len(pd.read_csv(folder / "metrics.csv")) == len(done.metrics)


def test_a_save_that_is_interrupted_leaves_no_settings_of_other_numbers(tmp_path, monkeypatch):
    def of(outcome, name):
        table = pd.DataFrame({"prompt": ["w1", "w2"], "outcome": outcome})
        metrics = win_metrics(outcome, outcome, [1, -1])
        return win_rates.WinRate(table, metrics, {"model_a": name})

    of([1.0, 1.0], "first").save(tmp_path / "kept")

    def stopping(path, record):
        raise KeyboardInterrupt

    monkeypatch.setattr(win_rates, "write_json", stopping)
    with pytest.raises(KeyboardInterrupt):
        of([0.0, 0.0], "second").save(tmp_path / "kept")
    assert not (tmp_path / "kept" / "settings.json").exists()
    monkeypatch.undo()
    of([0.0, 0.0], "second").save(tmp_path / "kept")  # there is room for it
    assert json.loads((tmp_path / "kept" / "settings.json").read_text()) == {"model_a": "second"}


# -- the numbers -----------------------------------------------------------------------------------


def test_levels_by_hand():
    outcome = [1, 1, 0, 0.5, 1, 0, 0, 0]
    reward = [2.0, 1.0, -1.0, 0.0, 3.0, -2.0, -1.0, np.nan]
    level = ["a", "a", "a", "a", "b", "b", "b", "b"]
    table = win_metrics(outcome, reward, [1, 2, -1, 0, 3, 1, -4, 2], {"g": level})
    assert table["level"].tolist() == ["all", "a", "b", "macro", "worst"]
    assert table["win_rate"].tolist() == [3.5 / 8, 2.5 / 4, 1 / 4, 3.5 / 8, 1 / 4]
    np.testing.assert_allclose(table["reward_difference"], [2 / 7, 0.5, 0.0, 0.25, 0.0], atol=1e-12)
    assert table["wins"].tolist() == [3, 2, 1, 3, 3]
    assert table["losses"].tolist() == [4, 1, 3, 4, 4]
    assert table["ties"].tolist() == [1, 1, 0, 1, 1]
    for name in ("win_rate", "length_controlled_win_rate", "reward_difference"):
        assert (table[f"{name}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}_high"]).all()


def test_without_ties_the_interval_is_wilsons():
    outcome = np.repeat([1.0, 0.0], [13, 7])
    row = win_metrics(outcome, outcome, np.zeros(20), prob=0.95).iloc[0]
    want = stats.binomtest(13, 20).proportion_ci(0.95, method="wilson")
    assert (row["win_rate_low"], row["win_rate_high"]) == pytest.approx((want.low, want.high))
    # The same prompt twice with the same outcome says nothing more.
    twice = win_metrics(
        np.tile(outcome, 2), np.tile(outcome, 2), np.zeros(40), prompts=[*range(20)] * 2, prob=0.95
    ).iloc[0]
    assert twice["win_rate_low"] == pytest.approx(row["win_rate_low"], rel=0.02)
    width = [r["reward_difference_high"] - r["reward_difference_low"] for r in (row, twice)]
    assert width[1] == pytest.approx(width[0], rel=0.15)


def test_macro_and_worst_are_no_surer_than_the_levels():
    length = [1, 2, -1, 3, -2, 1, 0, 2]
    table = win_metrics([1] * 8, np.arange(8.0), length, {"g": list("aabbaabb")}).set_index("level")
    level = stats.binomtest(4, 4).proportion_ci(0.9, method="wilson").low
    for where in ("a", "worst"):
        assert table.loc[where, "win_rate_low"] == pytest.approx(level)
    assert table.loc["macro", "win_rate_low"] == pytest.approx(1 - (1 - level) / np.sqrt(2))
    assert table["win_rate_high"].tolist() == pytest.approx([1.0] * 5)
    one = win_metrics([1, 0, 1, 1], np.arange(4.0), [1, 2, 3, 0], {"g": list("aaab")})
    one = one.set_index("level")
    for name in ("length_controlled_win_rate", "reward_difference"):
        for where in ("macro", "worst"):
            assert np.isnan(one.loc[where, f"{name}_low"])
    assert one.loc["macro", "win_rate_low"] < one.loc["macro", "win_rate"] - 0.1


def test_the_length_regression_is_the_penalised_one():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    length = rng.normal(20, 60, 200)
    outcome = rng.choice([1.0, 0.5, 0.0], 200, p=[0.5, 0.2, 0.3])
    found = win_metrics(outcome, outcome, length).iloc[0]["length_controlled_win_rate"]
    # A tie is half a win and half a loss; the intercept as a column, so that it is penalised too.
    x = np.column_stack([np.ones(200), np.tanh(length / length.std())])
    model = LogisticRegression(C=PENALTY_SD**2, fit_intercept=False, tol=1e-10)
    model.fit(
        np.concatenate([x, x]),
        np.repeat([1, 0], 200),
        sample_weight=np.concatenate([outcome, 1 - outcome]),
    )
    assert found == pytest.approx(expit(model.coef_[0, 0]), abs=1e-7)


def test_a_preference_for_length_is_controlled_for():
    covered, controlled, raw = 0, [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        length = rng.normal(40, 60, 300)  # a is more verbose
        p = expit(2.0 * np.tanh(length / length.std()))
        outcome = (rng.random(300) < p).astype(float)
        row = win_metrics(outcome, outcome, length).iloc[0]
        raw.append(row["win_rate"])
        controlled.append(row["length_controlled_win_rate"])
        low, high = (row[f"length_controlled_win_rate_{end}"] for end in ("low", "high"))
        covered += low <= 0.5 <= high
    assert np.mean(raw) > 0.65
    assert np.mean(controlled) == pytest.approx(0.5, abs=0.015)
    # 90 % of 60 are 54, with a standard deviation of 2.3.
    assert 47 <= covered <= 60


@pytest.mark.parametrize(
    ("prompts", "times", "at_equal"), [(20, 1, 0.92), (10, 1, 0.82), (40, 3, 0.7)]
)
def test_few_prompts_that_one_model_mostly_wins_leave_it_as_open_as_it_is(prompts, times, at_equal):
    theta, covered, runs = np.log(at_equal / (1 - at_equal)), 0, 200
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        length = np.repeat(rng.normal(20, 60, prompts), times)
        draw = np.repeat(rng.random(prompts), times)  # the same answer, again and again
        outcome = (draw < expit(theta + np.tanh(length / 60))).astype(float)
        who = np.repeat(np.arange(prompts), times)
        row = win_metrics(outcome, outcome, length, prompts=who).iloc[0]
        low, high = (row[f"length_controlled_win_rate_{end}"] for end in ("low", "high"))
        covered += low <= at_equal <= high
    assert 0.84 <= covered / runs <= 0.97  # 0.9, with a standard deviation of 0.02


def test_the_interval_at_equal_length_is_that_of_the_profile():
    rng = np.random.default_rng(3)
    length = rng.normal(10, 40, 60)
    outcome = rng.choice([1.0, 0.0], 60, p=[0.7, 0.3])
    row = win_metrics(outcome, outcome, length, prob=0.8).iloc[0]
    x = np.tanh(length / length.std())
    theta, phi = np.meshgrid(np.linspace(-1, 3, 801), np.linspace(-3, 3, 601), indexing="ij")
    loss = (theta**2 + phi**2) / (2 * PENALTY_SD**2)
    for one, at in zip(outcome, x, strict=True):
        loss += np.logaddexp(0, theta + phi * at) - one * (theta + phi * at)
    inside = theta[loss.min(axis=1) <= loss.min() + stats.norm.ppf(0.9) ** 2 / 2, 0]
    ends = row[["length_controlled_win_rate_low", "length_controlled_win_rate_high"]]
    assert ends.tolist() == pytest.approx(expit([inside[0], inside[-1]]), abs=2e-3)


def test_a_better_model_stays_better_at_equal_length():
    rng = np.random.default_rng(1)
    length = rng.normal(-40, 60, 20_000)  # shorter, and better
    p = expit(0.8 + 2.0 * np.tanh(length / length.std()))
    outcome = (rng.random(len(length)) < p).astype(float)
    row = win_metrics(outcome, outcome, length).iloc[0]
    assert row["length_controlled_win_rate"] == pytest.approx(expit(0.8), abs=0.015)
    assert row["win_rate"] < 0.55


def test_separable_outcomes_do_not_run_away():
    length = np.linspace(-50, 60, 40)
    for outcome in (np.ones(40), (length > 0).astype(float), (length < 20).astype(float)):
        row = win_metrics(outcome, outcome, length).iloc[0]
        numbers = row.drop(["factor", "level", "kind"]).astype(float)
        assert np.isfinite(numbers).all()
    everything = win_metrics(np.ones(40), np.ones(40), length).iloc[0]
    assert everything["win_rate"] == 1.0
    assert 0.9 < everything["win_rate_low"] < 1.0
    assert 0.95 < everything["length_controlled_win_rate"] < 1.0
    low, high = (everything[f"length_controlled_win_rate_{end}"] for end in ("low", "high"))
    assert 0.9 < low < 0.97
    assert 0.999 < high <= 1.0


def test_a_length_difference_that_never_changes_is_no_length_control():
    with pytest.warns(DataWarning, match="length differences that vary.*all"):
        row = win_metrics([1, 0, 1], [1.0, -1.0, 1.0], [7, 7, 7]).iloc[0]
    assert np.isnan(row["length_controlled_win_rate"])
    assert row["win_rate"] == pytest.approx(2 / 3)
    # Responses of equal length are what is asked for.
    same = win_metrics(np.repeat([1.0, 0.0], [60, 40]), np.ones(100), np.zeros(100)).iloc[0]
    assert same["length_controlled_win_rate"] == pytest.approx(0.6, abs=1e-3)


# -- the door --------------------------------------------------------------------------------------


class Likes:
    """A judge by a function of the response."""

    def __init__(self, reward):
        self.reward = reward

    def score_pairs(self, pairs, *, cache=None, progress=True):
        sides = ([self.reward(text) for text in pairs[side]] for side in ("chosen", "rejected"))
        chosen, rejected = map(np.array, sides)
        return SimpleNamespace(chosen=chosen, rejected=rejected, provenance={})


@pytest.mark.parametrize(
    ("prompts", "options", "text"),
    [
        ([], {}, "Expected prompts; got none"),
        (["w1", "  "], {}, "not empty.*in 1 of 2 prompts \\(first: 1\\)"),
        (["w1", None], {}, "something else in 1 of 2"),
        (["w1", [{"role": "user", "content": "w1"}]], {}, "got both"),
        (["w1"], {"groups": {"g": ["a", "b"]}}, "'g' for each of 1 prompts; got 2"),
        (["w1", "w2"], {"groups": {"g": ["a", None]}}, "'g' for every prompt; got none in row 1"),
        (["w1"], {"groups": {"prompt": ["a"]}}, "got 'prompt'"),
        (["w1"], {"max_new_tokens": 0}, "max_new_tokens of at least 1"),
        (["w1"], {"max_new_tokens": 64}, "room for 64 new tokens within the 64"),
        (["w1"], {"temperature": -1.0}, "temperature of 0"),
        (["w1"], {"tie_margin": -1.0}, "tie_margin of 0 or more"),
        (["w1"], {"batch_size": 0}, "batch_size of at least 1"),
        (["w1"], {"prob": 1.0}, "prob between 0 and 1"),
    ],
)
def test_what_is_refused(talkative, prompts, options, text):
    with pytest.raises(InputError, match=text):
        win_rate(talkative, talkative, prompts, Likes(len), **{**QUIET, **options})


def test_judges_that_cannot_judge(talkative, tmp_path):
    for judge, text in (
        (HFReward, "needs its parentheses"),
        ("a model", "the method score_pairs"),
        (TextReward(), "got TextReward, whose rewards come with the very pairs"),
        (ColumnReward(), "got ColumnReward"),
    ):
        with pytest.raises(TypeError, match=text):
            win_rate(talkative, talkative, PROMPTS, judge, **QUIET)
    with pytest.raises(InputError, match="finite rewards; got NaN or infinity for .* from Likes"):
        win_rate(talkative, talkative, PROMPTS, Likes(lambda text: np.nan), **QUIET)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="folder for responses and rewards; got the file"):
        win_rate(talkative, talkative, PROMPTS, Likes(len), out=tmp_path / "file", **QUIET)
    for wrong in ("w1 w2", pd.DataFrame({"prompt": PROMPTS})):
        with pytest.raises(TypeError, match="a list or a column"):
            win_rate(talkative, talkative, wrong, Likes(len), **QUIET)
    with pytest.raises(TypeError, match="groups as a mapping"):
        win_rate(talkative, talkative, PROMPTS, Likes(len), ["topic"], **QUIET)
    bare = make_tokenizer(template=None)
    chat = [[{"role": "user", "content": "w1"}]]
    with pytest.raises(InputError, match="a chat template"):
        win_rate(talkative, talkative, chat, Likes(len), tokenizer=bare, **QUIET)
