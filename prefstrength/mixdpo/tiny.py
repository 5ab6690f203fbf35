"""A causal language model so small that a laptop trains it in seconds: for the demo and tests."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from prefstrength._shared.files import atomic_directory, require_replaceable
from prefstrength.errors import InputError

__all__ = ["make_tiny_model", "one_thread"]

_SPECIAL = ("<pad>", "<unk>", "<eos>")

# What is written, whichever transformers writes it; the first tells it from a real model.
_FILES = (
    "tiny_model.json",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


def make_tiny_model(
    texts: Sequence[tuple[str, str]],
    path: str | os.PathLike[str],
    *,
    steps: int = 60,
    hidden: int = 48,
    layers: int = 2,
    batch: int = 32,
    learning_rate: float = 5e-3,
    seed: int = 0,
) -> float:
    """Make a word-level Llama (70,000 parameters on the demo), warm it up, and save it.

    The warm-up is ordinary next-word training on ``texts``; a model that never saw the language
    would answer preference training with noise.

    Parameters
    ----------
    texts : sequence of (prompt, response)
        What the vocabulary comes from and the warm-up reads.
    path : path
        Folder for the model and its tokenizer; replaced where it exists.
    steps : int
        Steps of the warm-up; 0 leaves the model as it was drawn.
    hidden, layers, batch : int
        Width and depth of the model, and texts in a step.
    learning_rate : float
        Of AdamW.
    seed : int
        Of the weights and the order of the texts. The caller's own random state is left alone.

    Returns
    -------
    float
        Mean cross-entropy of a word in the last step, in nats; ``nan`` without steps.

    Raises
    ------
    InputError
        If there are no texts.

    Examples
    --------
    >>> import tempfile
    >>> texts = [("Say hello.", "Hello there."), ("Say no.", "No."), ("Say yes.", "Yes.")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     loss = make_tiny_model(texts, f"{folder}/model", steps=20, hidden=16)
    >>> 0 < loss < 2
    True
    """
    if not texts:
        raise InputError("A tiny model expects texts for its vocabulary; got none. Give some.")
    require_replaceable(path, _FILES)
    tokenizer = _tokenizer(texts)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=hidden,
                intermediate_size=3 * hidden,
                num_hidden_layers=layers,
                num_attention_heads=4,
                num_key_value_heads=4,
                max_position_embeddings=256,
                tie_word_embeddings=True,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                bos_token_id=None,
            )
        )
        loss = _warm_up(model, tokenizer, texts, steps, batch, learning_rate)
    with atomic_directory(Path(path), replaces=_FILES) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        about = {"texts": len(texts), "steps": steps, "seed": seed}
        (folder / _FILES[0]).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return loss


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: sharing matrices this small costs more than it saves.

    On two busy cores the demo's training takes a sixth of the time that two threads need.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tokenizer(texts: Sequence[tuple[str, str]]) -> PreTrainedTokenizerFast:
    split = Whitespace()
    words = {word for pair in texts for text in pair for word, _ in split.pre_tokenize_str(text)}
    vocabulary = {word: index for index, word in enumerate([*_SPECIAL, *sorted(words)])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    pad, unknown, end = _SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, unk_token=unknown, eos_token=end
    )


def _warm_up(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[tuple[str, str]],
    steps: int,
    batch: int,
    learning_rate: float,
) -> float:
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    loss = float("nan")
    model.train()
    for _ in range(steps):
        chosen = torch.randint(len(texts), (batch,)).tolist()
        lines = [f"{prompt} {response}{tokenizer.eos_token}" for prompt, response in
                 (texts[index] for index in chosen)]  # fmt: skip
        encoded = tokenizer(lines, return_tensors="pt", padding=True)
        labels = encoded["input_ids"].masked_fill(encoded["attention_mask"] == 0, -100)
        output = model(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            labels=labels,
        )
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
        loss = output.loss.item()
    model.eval()
    return loss
