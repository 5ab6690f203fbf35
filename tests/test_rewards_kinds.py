"""Every kind of reward model against the plain loop of its documentation, on tiny models."""

import json

import numpy as np
import pandas as pd
import pytest

from prefstrength.choices import Choices
from prefstrength.errors import InputError
from prefstrength.rewards import HFReward, score

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")

from tests.test_rewards_hf import (  # noqa: E402
    SPECIAL,
    WORDS,
    make_model,
    make_pairs,
    save,
)

SIDES = ("chosen", "rejected")


def make_causal(seed=0, **config):
    torch.manual_seed(seed)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(SPECIAL) + len(WORDS),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=128,
            initializer_range=0.5,
            **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **config},
        )
    )


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
