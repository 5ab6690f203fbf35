"""Forward pass of a decoder over texts that begin alike, the common beginning computed once.

A row holds the beginning and then the end of each text. A token sees the beginning and its own
end, at the positions that it has in its own text, so that every hidden state is the one that the
text alone would give.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

#: Decoders that take positions and a mask of (row, 1, token, token) as they are given.
MODEL_TYPES = ("gemma", "llama", "mistral", "qwen2", "qwen3")
#: Rotary embeddings whose angles depend on the position alone, not on the longest text.
ROPE_TYPES = ("default", "linear", "llama3", "yarn")

#: Texts that begin alike: how many tokens they share, and their items.
Shared = tuple[int, Sequence[dict[str, Any]]]


def can_share(model: Any) -> bool:
    """Whether a sequence classifier is a decoder of which all this is known to hold."""
    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    layers = getattr(config, "layer_types", None) or ["full_attention"]
    window = getattr(config, "sliding_window", None)
    return (
        # transformers' own pooling, which is done here again, and not that of a class of its own
        type(model).forward.__qualname__ == "GenericForSequenceClassification.forward"
        and config.model_type in MODEL_TYPES
        and config._attn_implementation in ("sdpa", "eager")
        and rope.get("rope_type", "default") in ROPE_TYPES
        and set(layers) == {"full_attention"}
        and (window is None or not getattr(config, "use_sliding_window", True))
    )


def classify_shared(
    torch: Any, model: Any, rows: Sequence[Shared], pad_token_id: int | None, device: Any
) -> Any:
    """Outputs of a sequence classifier, a tensor of shape (item, output), row after row."""
    width = max(n + sum(len(item["input_ids"]) - n for item in items) for n, items in rows)
    ids = np.full((len(rows), width), 0 if pad_token_id is None else pad_token_id, np.int64)
    position = np.zeros((len(rows), width), np.int64)
    # the beginning is part 0, the ends are 1, 2, ...; padding belongs to nobody
    part = np.full((len(rows), width), -1, np.int16)
    read: list[tuple[int, int]] = []
    for r, (shared, items) in enumerate(rows):
        ids[r, :shared] = np.asarray(items[0]["input_ids"])[:shared]
        position[r, :shared] = np.arange(shared)
        part[r, :shared] = 0
        at = shared
        for number, item in enumerate(items, start=1):
            tokens = np.asarray(item["input_ids"])
            end = at + len(tokens) - shared
            ids[r, at:end] = tokens[shared:]
            position[r, at:end] = np.arange(shared, len(tokens))
            part[r, at:end] = number
            last = _pooled(tokens, pad_token_id)
            read.append((r, last if last < shared else at + last - shared))
            at = end
    where = torch.tensor(part, device=device)
    sees = (where[:, :, None] == where[:, None, :]) | (where[:, None, :] == 0)
    # padding sees padding: a row of the mask with nothing in it would be NaN
    mask = (sees & torch.ones(width, width, dtype=torch.bool, device=device).tril())[:, None]
    if model.config._attn_implementation == "eager":  # adds its mask to the scores
        mask = torch.where(mask, 0.0, torch.finfo(model.dtype).min).to(model.dtype)
    with torch.inference_mode():
        hidden = getattr(model, model.base_model_prefix)(
            input_ids=torch.tensor(ids, device=device),
            attention_mask=mask,
            position_ids=torch.tensor(position, device=device),
            use_cache=False,
        ).last_hidden_state
        row, column = torch.tensor(read, device=device).T
        return model.score(hidden[row, column])


def _pooled(tokens: np.ndarray, pad_token_id: int | None) -> int:
    """Where transformers reads a score: at the last token that is not padding."""
    if pad_token_id is None:
        return len(tokens) - 1
    other = np.flatnonzero(tokens != pad_token_id)
    return int(other[-1]) if len(other) else 0
