"""Models ready to score: heads in float32, nothing random, and batches padded on the right."""

from collections.abc import Sequence
from typing import Any

from prefstrength.errors import InputError


def ready(model: Any, device: Any) -> Any:
    """Put a model on its device, in evaluation mode, without a cache of keys and values."""
    model.config.use_cache = False
    return model.to(device).eval()


def head_in_float32(model: Any, name: str) -> None:
    """Keep the head of a classifier in half precision in float32, and hand it float32."""
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


def output_in_float32(torch: Any, model: Any, name: str) -> None:
    """Give a causal language model a float32 copy of its output layer.

    A copy, because the layer may share its weights with the embeddings, which stay as they are.
    """
    old = model.get_output_embeddings()
    if not isinstance(old, torch.nn.Linear):
        raise InputError(
            "A language model in half precision expects a linear output layer, to keep it in "
            f"float32; got {type(old).__name__} in {name!r}. Use dtype='float32'."
        )
    new = torch.nn.Linear(old.in_features, old.out_features, bias=old.bias is not None)
    new.load_state_dict({name: value.float() for name, value in old.state_dict().items()})
    new.register_forward_pre_hook(lambda _, inputs: tuple(part.float() for part in inputs))
    model.set_output_embeddings(new)


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
