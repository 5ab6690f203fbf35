"""Weights of a reward model: loaded whole, the head in float32, and one padded forward pass."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from prefstrength.errors import InputError


def load_classifier(
    load: Callable[..., Any], model_class: Any, *, name: str, dtype: Any, pad_token_id: int | None
) -> Any:
    """Load a sequence classifier of which every part has trained weights, ready to score.

    ``load`` is called as ``load("weights", model_class.from_pretrained, **options)`` and turns
    whatever goes wrong into one sentence.
    """
    model, report = load(
        "weights",
        model_class.from_pretrained,
        use_safetensors=True,
        dtype=dtype,
        output_loading_info=True,
    )
    if report["missing_keys"]:
        names = sorted(report["missing_keys"])
        raise InputError(
            f"HFReward expects trained weights for every part of {name!r}; got none "
            f"for {', '.join(names[:3])}. It may be a language model without a reward head, "
            "whose scores would be random numbers. Give a reward model."
        )
    # pooling reads the config, padding is ours: both follow the one token that was settled
    model.config.get_text_config().pad_token_id = pad_token_id
    model.config.use_cache = False
    return model


def head_in_float32(model: Any, name: str) -> None:
    """Keep the head of a model in half precision in float32, and hand it float32."""
    head = next(
        (getattr(model, part) for part in ("score", "classifier") if hasattr(model, part)), None
    )
    if head is None:
        raise InputError(
            f"A reward model in half precision expects a head named score or classifier, to keep "
            f"it in float32; got neither in {name!r}. Use dtype='float32'."
        )
    head.float()
    head.register_forward_pre_hook(lambda _, inputs: tuple(part.float() for part in inputs))


def padded(
    torch: Any, items: Sequence[dict[str, Any]], pad_token_id: int | None, device: Any
) -> dict[str, Any]:
    """Put items into tensors, padded on the right, with their attention mask."""
    width = max(len(item["input_ids"]) for item in items)
    shape = (len(items), width)
    ids = torch.full(shape, 0 if pad_token_id is None else pad_token_id, dtype=torch.long)
    mask = torch.zeros(shape, dtype=torch.long)
    segments = torch.zeros(shape, dtype=torch.long)
    for row, item in enumerate(items):
        length = len(item["input_ids"])
        ids[row, :length] = torch.tensor(item["input_ids"], dtype=torch.long)
        mask[row, :length] = 1
        if "token_type_ids" in item:
            segments[row, :length] = torch.tensor(item["token_type_ids"], dtype=torch.long)
    inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    if "token_type_ids" in items[0]:
        inputs["token_type_ids"] = segments.to(device)
    return inputs


def classify(torch: Any, model: Any, inputs: dict[str, Any]) -> np.ndarray:
    """Outputs of a sequence classifier in float64, shape (item, output)."""
    with torch.inference_mode():
        logits = model(**inputs).logits
    return np.asarray(logits.double().cpu().numpy())
