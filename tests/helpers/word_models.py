"""Tiny models with random weights that read words, and pairs of such words."""

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = [f"w{i}" for i in range(60)]
SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>", "<|user|>", "<|assistant|>", "<|end|>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' }} {{ m['content'] }}"
    " <|end|>{% endfor %}"
)
#: The same, and how the assistant begins to answer.
ASKING = TEMPLATE + "{% if add_generation_prompt %}<|assistant|>{% endif %}"


def make_tokenizer(template=TEMPLATE, **special):
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *WORDS])}
    model = tokenizers.models.WordLevel(vocabulary, unk_token="<unk>")
    core = tokenizers.Tokenizer(model)
    core.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    # adds a BOS of its own, as Llama's does: the template's must not become a second one
    core.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <eos> $B:1", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    names = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", **special}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        additional_special_tokens=["<|user|>", "<|assistant|>", "<|end|>"],
        model_max_length=128,
        **names,
    )
    tokenizer.chat_template = template
    return tokenizer


def make_model(seed=0, num_labels=1, **config):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **config},
        num_labels=num_labels,
        initializer_range=0.5,
    )
    return transformers.LlamaForSequenceClassification(config)


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


def save(folder, model=None, tokenizer=None):
    (model or make_model()).save_pretrained(folder)
    (tokenizer or make_tokenizer()).save_pretrained(folder)
    return folder


def make_pairs(n=20, seed=0, longest=12):
    rng = np.random.default_rng(seed)

    def text(least):
        return " ".join(rng.choice(WORDS, size=rng.integers(least, longest)))

    return pd.DataFrame(
        {
            "prompt": [text(2) for _ in range(n)],
            "chosen": [text(1) for _ in range(n)],
            "rejected": [text(1) for _ in range(n)],
        },
        index=[f"r{i}" for i in range(n)],
    )


def conversations(pairs):
    return pd.DataFrame(
        {
            "prompt": [[{"role": "user", "content": text}] for text in pairs["prompt"]],
            **{
                side: [[{"role": "assistant", "content": text}] for text in pairs[side]]
                for side in ("chosen", "rejected")
            },
        }
    )
