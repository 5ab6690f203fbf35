"""A reward model with random weights that reads letters."""

from pathlib import Path

import pytest


def make_model(folder: Path, labels: int = 1) -> Path:
    """Save one, with as many outputs as labels."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    letters = {"<pad>": 0, **{chr(97 + i): i + 1 for i in range(26)}, " ": 27}
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(letters, unk_token=" "))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", model_max_length=128
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=28, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=128, pad_token_id=0,
        initializer_range=0.5, num_labels=labels,
        id2label={i: name for i, name in enumerate(("help", "safe")[:labels])},
    )  # fmt: skip
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder
