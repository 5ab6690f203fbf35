"""Models, tokenizers and pairs that cannot be trained on: one sentence each, before any work."""

import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from datasets import Dataset  # noqa: E402
from peft import AutoPeftModelForCausalLM, get_peft_model  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForSequenceClassification,
    LlamaModel,
    T5Config,
    T5ForConditionalGeneration,
)

from prefstrength.choice.mixing.point_mass import PointMass  # noqa: E402
from prefstrength.errors import InputError  # noqa: E402
from prefstrength.mixdpo import evaluate_preferences  # noqa: E402
from tests.helpers.tiny_training import lora, rows, trainer_of  # noqa: E402

PAIRS = Dataset.from_list(rows(8))
LONG = Dataset.from_list([{**row, "chosen": " ".join(["w1"] * 100)} for row in rows(8)])
CHATS = Dataset.from_list(
    [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
        for row in rows(4)
    ]
)


def saved(model, folder, model_path):
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_path).save_pretrained(folder)


def reward_model(folder, model_path):
    config = AutoConfig.from_pretrained(model_path, num_labels=1)
    saved(LlamaForSequenceClassification(config), folder, model_path)


def without_head(folder, model_path):
    saved(LlamaModel(AutoConfig.from_pretrained(model_path)), folder, model_path)


def encoder(folder, model_path):
    config = T5Config(vocab_size=32, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8)
    saved(T5ForConditionalGeneration(config), folder, model_path)


def adapter(folder, model_path):
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(model_path), lora())
    saved(model, folder, model_path)


def few_positions(folder, model_path):
    config = GPT2Config(
        vocab_size=32, n_positions=16, n_embd=16, n_layer=1, n_head=2, bos_token_id=1,
        eos_token_id=1,
    )  # fmt: skip
    saved(GPT2LMHeadModel(config), folder, model_path)


def few_embeddings(folder, model_path):
    model = AutoModelForCausalLM.from_pretrained(model_path)
    model.resize_token_embeddings(20)
    saved(model, folder, model_path)


def copied(change):
    def make(folder, model_path):
        shutil.copytree(model_path, folder, dirs_exist_ok=True)
        change(folder)

    return make


def of_weights(change):
    def make(folder):
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    return copied(make)


def of_tokenizer(**tokens):
    def make(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for name, value in tokens.items():
            setattr(tokenizer, name, value)
        for path in folder.glob("*.jinja"):
            path.unlink()
        tokenizer.save_pretrained(folder)

    return copied(make)


UP = "model.layers.0.mlp.up_proj.weight"


def cut_short(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_tokenizer(folder):
    for path in folder.glob("*token*"):
        path.unlink()


def of_config(**changes):
    def make(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return copied(make)


MODELS = {
    "reward model": (reward_model, "continues texts; got a LlamaForSequenceClassification"),
    "no head": (without_head, "continues texts; got a LlamaModel"),
    "encoder and decoder": (encoder, "continues texts; got a T5ForConditionalGeneration"),
    "adapter": (adapter, "a whole model; got the adapter in"),
    "embeddings": (few_embeddings, r"tokens that the model knows, of which there are 20; got"),
    "weights missing": (of_weights(lambda s: s.pop(UP)), f"got none for 1 \\({UP}\\)"),
    "weights of other shapes": (
        of_weights(lambda s: s.update({UP: s[UP][:5].contiguous()})), "could not load"
    ),
    "weights cut short": (copied(cut_short), "could not load .*SafetensorError|incomplete"),
    "weights not finite": (
        of_weights(lambda s: s[UP].fill_(float("nan"))), "No step was taken: weights"
    ),
    "config no JSON": (copied(lambda f: (f / "config.json").write_text("{")), "could not load"),
    "no config": (copied(lambda f: (f / "config.json").unlink()), "could not load"),
    "unknown kind": (of_config(model_type="zzz"), "could not load"),
    "no tokenizer": (copied(no_tokenizer), "a tokenizer beside the model"),
    "no EOS": (of_tokenizer(eos_token=None), "a token that ends a text"),
    "neither EOS nor padding": (of_tokenizer(eos_token=None, pad_token=None), "ends a text"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
def test_a_folder_that_holds_no_policy(tmp_path, model_path, kind):
    make, text = MODELS[kind]
    (tmp_path / "model").mkdir()
    make(tmp_path / "model", model_path)
    with pytest.raises(InputError, match=text) as stopped:
        trainer_of(tmp_path / "run", str(tmp_path / "model"), PAIRS, max_steps=1).train()
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (few_positions, r"at most 16 tokens, the positions .* got 32 in train_dataset, and 8 of 8"),
        (copied(lambda folder: None), r"at most 64 tokens.*got 105 in train_dataset"),
    ],
)
def test_pairs_beyond_the_positions_of_the_model(tmp_path, model_path, make, text):
    make(tmp_path / "model", model_path)
    longest = 32 if "16" in text else None
    with pytest.raises(InputError, match=text):
        trainer_of(tmp_path / "run", str(tmp_path / "model"), LONG, max_length=longest)


def test_the_reference_computed_beforehand_is_looked_at_too(tmp_path, model_path):
    few_positions(tmp_path / "model", model_path)
    with pytest.raises(InputError, match="at most 16 tokens"):
        trainer_of(tmp_path / "run", str(tmp_path / "model"), LONG, precompute_ref_log_probs=True)


def test_conversations_want_a_template(tmp_path, model_path):
    of_tokenizer(chat_template=None)(tmp_path / "model", model_path)
    with pytest.raises(InputError, match="a chat template for pairs that are conversations"):
        trainer_of(tmp_path / "run", str(tmp_path / "model"), CHATS)
    with pytest.raises(InputError, match="a chat template for pairs that are conversations"):
        evaluate_preferences(
            str(tmp_path / "model"), model_path, CHATS, PointMass(0.1), progress=False
        )


def test_model_objects_that_are_no_policy(tmp_path, model_path):
    reward_model(tmp_path / "reward", model_path)
    adapter(tmp_path / "adapter", model_path)
    scorer = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
    with pytest.raises(InputError, match="continues texts; got a LlamaForSequence"):
        trainer_of(tmp_path / "run", scorer, PAIRS)
    frozen = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match="weights to train; .* are frozen"):
        trainer_of(tmp_path / "run", frozen, PAIRS)


@pytest.mark.parametrize(
    "kind", ["weights missing", "weights of other shapes", "weights cut short", "embeddings"]
)
def test_evaluation_takes_none_of_them_either(tmp_path, model_path, kind):
    make, text = MODELS[kind]
    make(Path(tmp_path / "model"), model_path)
    with pytest.raises(InputError, match=text):
        evaluate_preferences(
            str(tmp_path / "model"), model_path, PAIRS, PointMass(0.1), max_length=32,
            progress=False,
        )  # fmt: skip


def test_evaluation_beyond_the_positions_of_the_model(model_path):
    with pytest.raises(InputError, match=r"at most 64 tokens.*got 105 in data"):
        evaluate_preferences(model_path, model_path, LONG, PointMass(0.1), progress=False)
