"""Every kind of reward model against the plain loop of its documentation, on tiny models."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest

from prefstrength.data.choices import Choices
from prefstrength.errors import DataWarning, InputError
from prefstrength.rewards import HFReward, ImplicitReward, JudgeReward, score

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")

from tests.helpers.word_models import (  # noqa: E402
    ASKING,
    SPECIAL,
    WORDS,
    conversations,
    make_causal,
    make_model,
    make_pairs,
    make_tokenizer,
    save,
)

SIDES = ("chosen", "rejected")


def chat(prompt, response):
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]


def chat_ids(tokenizer, prompt, response):
    text = tokenizer.apply_chat_template(chat(prompt, response), tokenize=False)
    return tokenizer(text, add_special_tokens=False, return_tensors="pt")


# -- heads -----------------------------------------------------------------------------------


def test_every_head_becomes_an_attribute(tmp_path):
    model = make_model(num_labels=3, id2label={0: "Helpfulness", 1: "Is safe?", 2: "Verbosity"})
    folder, pairs = save(tmp_path, model), make_pairs(8)
    reward = HFReward(folder, heads={"helpfulness": 0, "verbosity": 2}, batch_size=3)
    scored = score(pairs, reward, cache=tmp_path / "cache", progress=False)
    everything = score(pairs, HFReward(folder, heads="all"), progress=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for side in SIDES:
        expected = []
        for prompt, response in zip(pairs["prompt"], pairs[side], strict=True):
            with torch.no_grad():
                expected.append(loaded(**chat_ids(tokenizer, prompt, response)).logits[0].numpy())
        expected = np.array(expected)
        for name, head in (("helpfulness", 0), ("verbosity", 2)):
            np.testing.assert_allclose(scored[f"{name}_raw_{side}"], expected[:, head], atol=1e-5)
        for head, name in enumerate(["helpfulness", "is_safe", "verbosity"]):
            np.testing.assert_allclose(
                everything[f"{name}_raw_{side}"], expected[:, head], atol=1e-5
            )
    assert not [name for name in scored.columns if name.startswith(("reward", "is_safe"))]
    about = scored.attrs["reward"]
    assert set(about["attributes"]) == {"helpfulness", "verbosity"}
    assert set(about["alone"]) == {"helpfulness", "verbosity"}
    json.dumps(about)
    choices = Choices.from_pairs(scored, attributes=["helpfulness", "verbosity"])
    assert choices.attributes == ("helpfulness", "verbosity")
    difference = scored["helpfulness_chosen"] - scored["helpfulness_rejected"]
    np.testing.assert_allclose(np.mean(difference**2), 1.0)
    again = score(pairs, reward, cache=tmp_path / "cache", progress=False)
    assert again.attrs["reward"]["from_cache"] == again.attrs["reward"]["responses"]
    pd.testing.assert_frame_equal(again, scored)


@pytest.mark.parametrize(
    ("heads", "taken"),
    [
        ({"tokens": 0, "b": 1}, "'tokens'"),
        ({"a": 0, "key": 1}, "'key'"),
        ({"a": 0, "a_alone": 1}, "'a_alone'"),
        ("all", "'truncated'"),
    ],
)
def test_heads_do_not_take_the_names_of_what_is_kept_beside_them(tmp_path, heads, taken):
    folder = save(tmp_path, make_model(num_labels=2, id2label={0: "Truncated", 1: "good"}))
    with pytest.raises(InputError, match=f"mean nothing else.*got {taken} from"):
        score(make_pairs(4), HFReward(folder, heads=heads), progress=False)


def test_a_head_that_is_the_same_for_all_is_named(tmp_path):
    model = make_model(num_labels=2)
    with torch.no_grad():
        model.score.weight[1].zero_()
    folder = save(tmp_path, model)
    with pytest.raises(InputError, match="got the safety score 0 for all 8"):
        score(
            make_pairs(4), HFReward(folder, heads={"helpfulness": 0, "safety": 1}), progress=False
        )


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"heads": {}}, InputError, "such as {'helpfulness': 0"),
        ({"heads": "both"}, InputError, "got 'both'"),
        ({"heads": {"safety_raw": 0}}, InputError, "got 'safety_raw'"),
        ({"heads": {"safety": -1}}, InputError, "at least 0"),
        ({"heads": {"safety": "1"}}, TypeError, "whole number"),
        ({"heads": {"safety": 1}, "head": 0}, InputError, "head or heads"),
        ({"head": "v_head"}, TypeError, "whole number for head"),
    ],
)
def test_heads_as_arguments(options, error, says):
    with pytest.raises(error, match=says):
        HFReward("model", **options)


def test_heads_beyond_the_model(tmp_path):
    folder = save(tmp_path, make_model(num_labels=2))
    with pytest.raises(InputError, match="below 2.*got 2"):
        score(make_pairs(4), HFReward(folder, heads={"a": 0, "b": 2}), progress=False)
    same = save(tmp_path / "same", make_model(num_labels=2, id2label={0: "good", 1: "Good"}))
    with pytest.raises(InputError, match="outputs with different names"):
        score(make_pairs(4), HFReward(same, heads="all"), progress=False)


# -- value heads -----------------------------------------------------------------------------


def save_with_value_head(folder, shards=1, seed=0, **tensors):
    """The layout of TRL's AutoModelForCausalLMWithValueHead: v_head.* beside the base model."""
    model = save(folder, make_causal(seed))
    weights = safetensors.load_file(folder / "model.safetensors")
    torch.manual_seed(seed + 1)
    head = {"v_head.summary.weight": torch.randn(1, 16), "v_head.summary.bias": torch.randn(1)}
    head = {name: value for name, value in (head | tensors).items() if value is not None}
    if shards == 1:
        safetensors.save_file(
            weights | head, folder / "model.safetensors", metadata={"format": "pt"}
        )
    else:
        (folder / "model.safetensors").unlink()
        placed = {}
        for i, part in enumerate([weights, head]):
            name = f"model-{i + 1:05d}-of-00002.safetensors"
            safetensors.save_file(part, folder / name, metadata={"format": "pt"})
            placed |= dict.fromkeys(part, name)
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {"total_size": 0}, "weight_map": placed})
        )
    return model


def value_loop(folder, head, pairs, side):
    """TRL's recipe: last hidden states of the causal model, the head, the last token."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    values = []
    for prompt, response in zip(pairs["prompt"], pairs[side], strict=True):
        with torch.no_grad():
            ids = chat_ids(tokenizer, prompt, response)
            hidden = model(**ids, output_hidden_states=True).hidden_states[-1]
            values.append((hidden @ head[0].T + head[1])[0, -1].item())
    return np.array(values)


@pytest.mark.parametrize("shards", [1, 2])
def test_value_head_of_a_causal_model(tmp_path, shards):
    torch.manual_seed(1)
    head = torch.randn(1, 16), torch.randn(1)
    folder = save_with_value_head(
        tmp_path / "m",
        shards,
        **{"v_head.summary.weight": head[0], "v_head.summary.bias": head[1]},
    )
    pairs = make_pairs(9)
    scored = score(pairs, HFReward(folder, head="value", batch_size=4), progress=False)
    for side in SIDES:
        expected = value_loop(folder, head, pairs, side)
        np.testing.assert_allclose(scored[f"reward_raw_{side}"], expected, atol=1e-5, rtol=0)
    assert scored.attrs["reward"]["alone"]["max_difference"] < 1e-5
    half = score(pairs, HFReward(folder, head="value", dtype="bfloat16"), progress=False)
    raw = torch.tensor(half["reward_raw_chosen"].to_numpy())
    assert not torch.equal(raw, raw.bfloat16().double())  # the head is in float32


def test_value_head_that_is_not_there_or_not_asked_for(tmp_path):
    causal = save(tmp_path / "causal", make_causal())
    with pytest.raises(InputError, match=r"v_head.summary.weight' of shape.*got none"):
        score(make_pairs(4), HFReward(causal, head="value"), progress=False)
    wide = save_with_value_head(tmp_path / "w", **{"v_head.summary.weight": torch.randn(2, 16)})
    with pytest.raises(InputError, match=r"got a tensor of shape \(2, 16\)"):
        score(make_pairs(4), HFReward(wide, head="value"), progress=False)
    valued = save_with_value_head(tmp_path / "v")
    with pytest.raises(InputError, match=r"value head of a causal.*head='value'"):
        score(make_pairs(4), HFReward(valued, head=0), progress=False)


# -- judges ----------------------------------------------------------------------------------

QUESTION = "w50 {prompt} w51 {first} w52 {second} w53"


def judge(folder, **options):
    return JudgeReward(folder, prompt=QUESTION, labels=("w1", "w2"), **options)


def judge_loop(folder, pairs, labels=("w1", "w2"), **options):
    """Ask one question at a time and compare the two labels as the next token."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer.convert_tokens_to_ids(list(labels))

    def ask(prompt, first, second):
        text = f"w50 {prompt} w51 {first} w52 {second} w53"
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}],
            add_generation_prompt=True,
            tokenize=False,
            **options,
        )
        with torch.no_grad():
            inputs = tokenizer(asked, add_special_tokens=False, return_tensors="pt")
            return model(**inputs).logits[0, -1].log_softmax(-1)[ids].numpy()

    chosen = [ask(*row) for row in pairs[["prompt", "chosen", "rejected"]].itertuples(index=False)]
    rejected = [
        ask(*row) for row in pairs[["prompt", "rejected", "chosen"]].itertuples(index=False)
    ]
    return np.array(chosen), np.array(rejected)


@pytest.fixture(scope="module")
def judging(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    return save(folder, make_causal(), make_tokenizer(ASKING))


@pytest.mark.filterwarnings("ignore:The judge")
def test_judge_reads_both_orders(judging, tmp_path):
    pairs = make_pairs(12)
    scored = score(pairs, judge(judging, batch_size=5), cache=tmp_path, progress=False)
    forward, backward = judge_loop(judging, pairs)
    log_odds = forward[:, 0] - forward[:, 1], backward[:, 0] - backward[:, 1]
    expected = (log_odds[0] - log_odds[1]) / 2
    found = scored["reward_raw_chosen"] - scored["reward_raw_rejected"]
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(scored["reward_raw_chosen"], -scored["reward_raw_rejected"])
    about = scored.attrs["reward"]
    assert about["position_bias"] == pytest.approx(np.mean((log_odds[0] + log_odds[1]) / 2))
    assert about["consistent"] == np.mean(np.sign(log_odds[0]) != np.sign(log_odds[1]))
    assert about["responses"] == 24
    labels = np.exp(np.concatenate([forward, backward])).sum(axis=1).mean()
    assert about["label_probability"] == pytest.approx(labels, rel=1e-4)
    json.dumps(about)
    # turning a pair turns the sign, from the same questions
    turned = pairs.rename(columns={"chosen": "rejected", "rejected": "chosen"})
    again = score(turned, judge(judging, batch_size=5), cache=tmp_path, progress=False)
    assert again.attrs["reward"]["from_cache"] == 24
    np.testing.assert_array_equal(again["reward_raw_chosen"], scored["reward_raw_rejected"])


@pytest.mark.filterwarnings("ignore:The judge")
def test_judge_that_may_think_first_answers_at_once(tmp_path):
    """As of Qwen3's template: with thinking on, the next token would open the thoughts."""
    thinks = (
        "{% if enable_thinking is defined and enable_thinking is false %} w58 w59{% endif %}"
        "{% endif %}"
    )
    folder = tmp_path / "judge"
    save(folder, make_causal(), make_tokenizer(ASKING.removesuffix("{% endif %}") + thinks))
    pairs = make_pairs(6)
    scored = score(pairs, judge(folder), progress=False)
    forward, backward = judge_loop(folder, pairs, enable_thinking=False)
    expected = (forward[:, 0] - forward[:, 1] - backward[:, 0] + backward[:, 1]) / 2
    found = scored["reward_raw_chosen"] - scored["reward_raw_rejected"]
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    thoughtful, _ = judge_loop(folder, pairs)
    assert np.abs(thoughtful - forward).max() > 0.1
    assert judge(folder).identity()["enable_thinking"] is False


def test_question_that_is_too_long_is_named_by_the_pair_that_asks_it(judging):
    """Both responses of r2 stand in earlier pairs, beside short ones."""
    long, other = " ".join(WORDS[:30]), " ".join(WORDS[30:])
    pairs = pd.DataFrame(
        {
            "prompt": "w1",
            "chosen": [long, "w2", long],
            "rejected": ["w3", other, other],
        },
        index=["r0", "r1", "r2"],
    )
    with pytest.raises(InputError, match=r"2 of 6 responses \(first rows: r2, r2\)"):
        score(pairs, judge(judging, max_length=60, max_truncated=0.1), progress=False)


def test_judge_that_goes_by_place_is_found_out(judging):
    """The first label wins nearly everywhere, by two to one."""
    from prefstrength.rewards.language_models.causal import JudgeSource

    plain = JudgeSource.verdict

    def places(self, logits):
        return np.log([0.6, 0.3]) + 1e-3 * plain(self, logits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JudgeSource, "verdict", places)
        with pytest.warns(DataWarning, match="keeps its verdict in only 0% .*place: 0.69"):
            scored = score(make_pairs(8), judge(judging), progress=False)
    assert scored.attrs["reward"]["position_bias"] == pytest.approx(np.log(2), abs=0.01)


@pytest.mark.filterwarnings("ignore:The judge keeps")
def test_judge_that_would_say_something_else(judging):
    with pytest.warns(DataWarning, match="'w1' and 'w2' a probability of only"):
        score(make_pairs(6), judge(judging), progress=False)


@pytest.mark.filterwarnings("ignore:The judge", "ignore:Scores move")
def test_judge_in_half_precision_keeps_its_output_in_float32(tmp_path):
    """Though the output layer shares its weights with the embeddings."""
    model = make_causal(tie_word_embeddings=True)
    folder, pairs = save(tmp_path, model, make_tokenizer(ASKING)), make_pairs(10)
    full = score(pairs, judge(folder), progress=False)
    half = score(pairs, judge(folder, dtype="bfloat16"), progress=False)
    np.testing.assert_allclose(half["reward_raw_chosen"], full["reward_raw_chosen"], atol=0.3)
    raw = torch.tensor(half["reward_raw_chosen"].to_numpy())
    assert not torch.equal(raw, raw.bfloat16().double())


@pytest.mark.filterwarnings("ignore:The judge")
def test_texts_cannot_write_the_question(judging):

    source = judge(judging).source()
    end = SPECIAL.index("<|end|>")
    ids = source.encode("w1", (("first", "{second} <|end|>"), ("second", "w9")))["input_ids"]
    assert ids.count(end) == 1  # the template's own
    w9 = source.checkpoint.tokenizer.convert_tokens_to_ids("w9")
    assert ids.count(w9) == 1  # {second} in a text is text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"prompt": "{prompt} {first}"}, r"fields {prompt}, {first} and {second}; got {first}, "),
        ({"prompt": "{prompt} {first} {second} {x.y}"}, "got .*{x.y}"),
        ({"prompt": "{prompt} {first} {second} {"}, "braces in prompt to be doubled"),
        ({"labels": "AB"}, "two labels"),
        ({"labels": ("A", "")}, "two labels"),
        ({"template": "pair"}, "'chat', 'plain'"),
    ],
)
def test_judge_arguments(options, says):
    with pytest.raises(InputError, match=says):
        JudgeReward("model", **options)


@pytest.mark.parametrize("labels", [("w1", "w1"), ("w1 w2", "w3"), ("absent", "w1")])
def test_labels_that_are_no_two_tokens(judging, labels):
    with pytest.raises(InputError, match="one token each, and not the same"):
        score(make_pairs(2), JudgeReward(judging, labels=labels), progress=False)


# -- implicit rewards ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A policy and its reference."""
    folder = tmp_path_factory.mktemp("implicit")
    tokenizer = make_tokenizer(ASKING)
    return tuple(
        save(folder / name, make_causal(seed), tokenizer)
        for seed, name in enumerate(["policy", "reference"])
    )


def implicit_loop(policy, reference, pairs, side):
    """The definition: one response at a time, plain texts that end with EOS."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(policy)
    models = [
        transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        for folder in (policy, reference)
    ]
    found = []
    for prompt, response in zip(pairs["prompt"], pairs[side], strict=True):
        start = len(tokenizer(prompt)["input_ids"])
        ids = torch.tensor([[*tokenizer(prompt + response)["input_ids"], 2]])
        sums = []
        for model in models:
            with torch.no_grad():
                each = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
            sums.append(each[start - 1 :].sum().item())
        found.append(sums[0] - sums[1])
    return np.array(found)


def test_implicit_reward_is_the_log_ratio(trained, tmp_path):
    pairs = make_pairs(10)
    for side in SIDES:
        pairs[side] = " " + pairs[side]
    reward = ImplicitReward(*trained, beta=0.1, batch_size=4)
    scored = score(pairs, reward, cache=tmp_path, progress=False)
    for side in SIDES:
        expected = 0.1 * implicit_loop(*trained, pairs, side)
        np.testing.assert_allclose(scored[f"reward_raw_{side}"], expected, atol=1e-5, rtol=0)
    assert scored.attrs["reward"]["alone"]["max_difference"] < 1e-4
    stronger = score(pairs, ImplicitReward(*trained), cache=tmp_path, progress=False)
    assert stronger.attrs["reward"]["from_cache"] == stronger.attrs["reward"]["responses"]
    np.testing.assert_allclose(10 * scored["reward_raw_chosen"], stronger["reward_raw_chosen"])
    half = score(pairs, ImplicitReward(*trained, dtype="bfloat16"), progress=False)
    spread = stronger["reward_raw_chosen"].std()
    np.testing.assert_allclose(
        half["reward_raw_chosen"], stronger["reward_raw_chosen"], atol=0.2 * spread
    )


@pytest.mark.parametrize("form", ["plain", "conversational"])
def test_implicit_reward_counts_the_tokens_that_dpo_counts(trained, form):
    """The same log-ratios as of training's own evaluation, built on TRL's trainer."""
    pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    from prefstrength.choice.mixing.point_mass import PointMass
    from prefstrength.mixdpo import evaluate_preferences

    pairs = make_pairs(8)
    if form == "plain":
        for side in SIDES:
            pairs[side] = " " + pairs[side]
        data = pairs.reset_index(drop=True)
    else:
        data = conversations(pairs)
    policy, reference = map(str, trained)
    theirs = evaluate_preferences(
        policy, reference, datasets.Dataset.from_pandas(data), PointMass(value=1.0), progress=False
    ).pairs
    ours = score(data, ImplicitReward(policy, reference, batch_size=3), progress=False)
    for side in SIDES:
        np.testing.assert_allclose(
            ours[f"reward_raw_{side}"], theirs[f"{side}_log_ratio"], atol=1e-4, rtol=1e-5
        )
    np.testing.assert_allclose(
        ours["reward_raw_chosen"] - ours["reward_raw_rejected"], theirs["delta"], atol=1e-4
    )


def test_implicit_reward_of_other_tokens(trained, tmp_path):
    other = make_tokenizer(ASKING)
    other.add_tokens(["new"])
    folder = save(tmp_path, make_causal(3), other)
    with pytest.raises(InputError, match="the same tokens.*started from"):
        score(make_pairs(2), ImplicitReward(trained[0], folder), progress=False)


def test_implicit_reward_without_room_or_with_an_adapter(trained, tmp_path):
    pairs = " " + make_pairs(3)
    pairs.loc["r1", "prompt"] = " ".join(WORDS)
    reward = ImplicitReward(*trained, max_length=40, max_truncated=1.0)
    with pytest.raises(InputError, match=r"row r1: no token of the response is left.*takes 40"):
        score(pairs, reward, progress=False)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="PEFT adapter.*merge_and_unload"):
        score(pairs, ImplicitReward(tmp_path, trained[1]), progress=False)
    with pytest.raises(InputError, match="beta above 0"):
        ImplicitReward(*trained, beta=0.0)
    with pytest.raises(TypeError, match="save_pretrained"):
        ImplicitReward(trained[0], object())


# -- half precision --------------------------------------------------------------------------


def test_half_precision_stays_within_the_reported_sensitivity(tmp_path):
    """All four responses are scored alone, too, so what is reported bounds every one of them."""
    folder, pairs = save(tmp_path / "reward", make_model()), make_pairs(2)
    scored = score(pairs, HFReward(folder, dtype="bfloat16", batch_size=4), progress=False)
    alone = scored.attrs["reward"]["alone"]
    assert alone["responses"] == 4
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.bfloat16
    ).eval()
    for side in SIDES:
        for prompt, response, found in zip(
            pairs["prompt"], pairs[side], scored[f"reward_raw_{side}"], strict=True
        ):
            with torch.no_grad():
                hidden = model.model(**chat_ids(tokenizer, prompt, response)).last_hidden_state
                expected = (hidden[0, -1].float() @ model.score.weight[0].float()).item()
            assert abs(found - expected) <= alone["max_difference"] + 1e-6


@pytest.mark.filterwarnings(
    "ignore:The judge", "ignore:ImplicitReward. the response begins", "ignore:Scores move"
)
@pytest.mark.parametrize("kind", ["value", "judge", "implicit"])
def test_half_precision_of_the_other_kinds(kind, judging, trained, tmp_path):
    folder = save_with_value_head(tmp_path)
    make = {
        "value": lambda size: HFReward(folder, head="value", dtype="bfloat16", batch_size=size),
        "judge": lambda size: judge(judging, dtype="bfloat16", batch_size=size),
        "implicit": lambda size: ImplicitReward(*trained, dtype="bfloat16", batch_size=size),
    }[kind]
    pairs = make_pairs(1 if kind == "judge" else 2)
    together, single = (score(pairs, make(size), progress=False) for size in (4, 1))
    about = together.attrs["reward"]["guards"]["alone"]
    moved = sum(each["max_difference"] for each in about.values())
    for side in SIDES:
        difference = together[f"reward_raw_{side}"] - single[f"reward_raw_{side}"]
        assert difference.abs().max() <= moved + 1e-6


# -- how it is computed --------------------------------------------------------------------------

KINDS = ("classifier", "heads", "value", "judge", "implicit")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory, judging, trained):
    """Of every kind a model, as a function of further settings."""
    value = save_with_value_head(tmp_path_factory.mktemp("value"))
    one = save(tmp_path_factory.mktemp("one"))
    two = save(tmp_path_factory.mktemp("two"), make_model(num_labels=2))
    return {
        "classifier": lambda **options: HFReward(one, **options),
        "heads": lambda **options: HFReward(two, heads={"a": 0, "b": 1}, **options),
        "value": lambda **options: HFReward(value, head="value", **options),
        "judge": lambda **options: judge(judging, **options),
        "implicit": lambda **options: ImplicitReward(*trained, **options),
    }


def raw(pairs, reward):
    """Raw rewards, and how they were computed."""
    scored = score(pairs, reward, progress=False)
    return scored.filter(like="_raw_").to_numpy(), scored.attrs["reward"]


@pytest.mark.filterwarnings("ignore:The judge", "ignore:ImplicitReward. the response begins")
@pytest.mark.parametrize("kind", KINDS)
def test_ways_to_compute_give_the_same_scores(kind, kinds, monkeypatch):
    """Packed and padded, with common beginnings once or each text by itself."""
    from prefstrength.rewards.engine import decoder as _decoder
    from prefstrength.rewards.engine import model as _model

    pairs = make_pairs(30)
    packed, about = raw(pairs, kinds[kind]())
    assert not about["engine"]["padded"]
    assert about["engine"]["shared_beginnings"]
    assert about["engine"]["computed_tokens"] < about["engine"]["text_tokens"]
    monkeypatch.setattr(_model, "pack_on_cpu", lambda model, device: None)
    padded, about = raw(pairs, kinds[kind]())
    assert about["engine"]["padded"]
    assert about["engine"]["shared_beginnings"]
    monkeypatch.setattr(_decoder.Sharing, "shares", lambda self, model: False)
    alone, about = raw(pairs, kinds[kind](batch_size=1))
    assert not about["engine"]["shared_beginnings"]
    assert about["engine"]["computed_tokens"] == about["engine"]["text_tokens"]
    assert alone.std() > 0.1
    # log-ratios are differences of sums over the tokens of a response
    close = {"atol": 3e-5 if kind == "implicit" else 1e-5, "rtol": 0}
    np.testing.assert_allclose(packed, alone, **close)
    np.testing.assert_allclose(padded, alone, **close)


def test_packed_batches_have_no_padding(tmp_path, monkeypatch):
    from prefstrength.rewards.engine import run as _run

    monkeypatch.setattr(
        _run, "shared_rows", lambda indices, ids, *_: _run.single_rows(indices, ids)
    )
    _, about = raw(make_pairs(40, longest=40), HFReward(save(tmp_path), batch_tokens=400))
    assert about["engine"]["batches"] > 3
    assert about["engine"]["computed_tokens"] == about["engine"]["text_tokens"]


needs_compiler = pytest.mark.skipif(
    not shutil.which(os.environ.get("CXX", "g++")), reason="torch.compile needs a C++ compiler"
)


@needs_compiler
def test_compiled_models_give_the_same_scores(kinds, tmp_path, monkeypatch):
    """Each shape of a batch is another one, and none of them is compiled for itself."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    pairs = make_pairs(60)
    plain, _ = raw(pairs, kinds["classifier"]())
    compiled, about = raw(pairs, kinds["classifier"](compile=True, batch_tokens=200))
    assert about["engine"]["batches"] > 5
    assert about["settings"]["compile"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] in range(1, 4)
    np.testing.assert_allclose(compiled, plain, atol=1e-5, rtol=0)


def test_a_computer_that_cannot_compile_is_told(kinds, tmp_path, monkeypatch):
    import torch._inductor.config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    with (
        inductor.patch({"cpp.cxx": (None, str(tmp_path / "none"))}),
        pytest.raises(InputError, match=r"got .*: .*compiler.* or leave compile out"),
    ):
        raw(make_pairs(4), kinds["classifier"](compile=True))


# -- on the command line ---------------------------------------------------------------------


def test_implicit_reward_from_the_command_line(trained, tmp_path):
    from prefstrength import pipeline

    pairs = " " + make_pairs(12)
    pairs.to_parquet(tmp_path / "pairs.parquet")
    name = "implicit:" + ",".join(map(str, trained))
    rewarding = pipeline.Rewarding(reward=(name,))
    scored = pipeline.score(
        tmp_path / "pairs.parquet", tmp_path / "out", rewarding=rewarding, progress=False
    )
    expected = score(pairs, ImplicitReward(*trained), progress=False)
    np.testing.assert_allclose(scored["reward_chosen"], expected["reward_chosen"])
    assert list((tmp_path / "out" / "scores").glob("*/*.parquet"))
