"""Models ready to score: heads in float32, nothing random, and batches padded on the right."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prefstrength.errors import InputError
from prefstrength.rewards.engine.decoder import pack_on_cpu


def ready(
    torch: Any, model: Any, device: Any, name: str, compile: bool = False
) -> tuple[Any, list[str]]:
    """Put a model on its device, in evaluation mode, without a cache of keys and values.

    Its body is compiled when it is first called, if that is wanted.

    Returns
    -------
    model
        Ready to score.
    list of str
        Parts that stayed in training mode when the model was set to evaluation, as code that
        comes with a model may make them; they are in evaluation mode now.

    Raises
    ------
    InputError
        If a batch norm has no statistics of its own and takes those of the batch. Later, in a
        forward pass, if such code sets batch norm or dropout back to training mode.
    """
    model.config.use_cache = False
    model = model.to(device).eval()
    set_back = [part for part, module in model.named_modules() if module.training]
    for module in model.modules():
        module.training = False  # not by eval(), which such code may have replaced
    # transformers' own classes leave their mode alone, and hooks would cost time
    foreign = not type(model).__module__.startswith("transformers.")
    norms = torch.nn.modules.batchnorm._BatchNorm
    drops = torch.nn.modules.dropout._DropoutNd
    for part, module in model.named_modules():
        if isinstance(module, norms) and module.running_mean is None:
            raise InputError(
                "A reward model expects to score a response by itself; got the batch norm "
                f"{part!r} without statistics of its own in {name!r}, which takes those of the "
                "batch: scores would depend on the other responses. Use another model."
            )
        if foreign and isinstance(module, (norms, drops)):
            module.register_forward_pre_hook(_refuse_training(part, name))
    pack_on_cpu(model, device)
    if compile:
        # weights that are known not to change can be laid out anew for the CPU's matrix products
        options = {"freezing": True} if str(device).startswith("cpu") else None
        model.base_model.compile(dynamic=True, options=options)
    return model, set_back


@contextmanager
def as_written() -> Iterator[None]:
    """Run models inside as they were written, not as they were compiled."""
    if "torch._dynamo" not in sys.modules:  # nothing was, and to load it takes seconds
        yield
        return
    with sys.modules["torch"].compiler.set_stance("force_eager"):
        yield


def refuse_uncompiled(error: Exception) -> None:
    """Say what it means if a model could not be compiled."""
    if type(error).__module__.startswith(("torch._dynamo.", "torch._inductor.")):
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            "`compile=True` expects a model and a computer for which torch.compile works; got "
            f"{type(error).__name__}: {reason[:300]} It needs a C++ compiler on a CPU, and Triton "
            "on a GPU. Install that, or leave compile out."
        ) from error


def _refuse_training(part: str, name: str) -> Any:
    def check(module: Any, inputs: Any) -> None:
        if module.training:
            raise InputError(
                f"A reward model expects to score in evaluation mode; got {part!r} "
                f"({type(module).__name__}) of {name!r} in training mode, where scores depend on "
                "chance or on the other responses of a batch. The code that comes with the model "
                "sets it so. Correct that code, or use another model."
            )

    return check


def head_in_float32(model: Any, name: str) -> None:
    """Keep the head of a classifier in half precision in float32, and hand it float32."""
    head = next(
        (getattr(model, part) for part in ("score", "classifier") if hasattr(model, part)), None
    )
    if head is None:
        raise InputError(
            f"A reward model in half precision expects a head named score or classifier, to keep "
            f"it in float32; got neither in {name!r}. Use `dtype='float32'`."
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
            f"float32; got {type(old).__name__} in {name!r}. Use `dtype='float32'`."
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
