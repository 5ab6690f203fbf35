"""Language models as evaluation and generation need them: loaded, recognised, without dropout."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.peft_utils import find_adapter_config_file

from prefstrength.errors import InputError
from prefstrength.mixdpo.model_checks import check_loaded, not_loaded
from prefstrength.mixdpo.weights import require_safetensors

__all__ = ["accelerator", "evaluating", "load_model", "load_tokenizer", "weights_fingerprint"]

# Under this name TRL keeps the adapter that another one is trained on from.
_REFERENCE_ADAPTER = "ref"


def accelerator() -> torch.device:
    """Return the accelerator, or the CPU where there is none."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return torch.device("cpu") if found is None else found


def load_model(model: Any, what: str, dtype: torch.dtype = torch.float32) -> Any:
    """Load a model or an adapter by its name or path; an object stays as it is.

    Parameters
    ----------
    model : str, path, PreTrainedModel or PeftModel
    what : str
        What an error calls it.
    dtype : torch.dtype
        Of a model that is loaded.

    Raises
    ------
    TypeError
        If it is no model.
    InputError
        If the weights in a folder are no safetensors, or not those of the whole model.

    Examples
    --------
    >>> import tempfile
    >>> from prefstrength.mixdpo.tiny import make_tiny_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = make_tiny_model([("Say hello.", "hello there")], folder, steps=0)
    ...     model = load_model(folder, "model")
    ...     tokenizer = load_tokenizer(model, folder)
    >>> model.dtype, tokenizer.pad_token
    (torch.float32, '<pad>')
    """
    if isinstance(model, str | os.PathLike):
        path = os.fspath(model)
        require_safetensors(path)
        if find_adapter_config_file(path) is not None:
            return _load_adapter(path, dtype)
        try:
            found, report = AutoModelForCausalLM.from_pretrained(
                path, dtype=dtype, use_safetensors=True, output_loading_info=True
            )
        except (ValueError, RuntimeError, SafetensorError) as error:
            raise not_loaded(path, error) from error
        check_loaded(path, report)
        return found
    if not hasattr(model, "config"):
        raise TypeError(
            f"Expected {what} as a name, a path or a transformers model; got "
            f"{type(model).__name__}."
        )
    return model


def _load_adapter(path: str, dtype: torch.dtype) -> Any:
    """Load an adapter with its base, and beside it the one that it was trained against, if any."""
    from peft import AutoPeftModelForCausalLM

    model = AutoPeftModelForCausalLM.from_pretrained(path, dtype=dtype, use_safetensors=True)
    if find_adapter_config_file(path, subfolder=_REFERENCE_ADAPTER) is not None:
        if Path(path).is_dir():
            require_safetensors(Path(path, _REFERENCE_ADAPTER))
        model.load_adapter(path, _REFERENCE_ADAPTER, subfolder=_REFERENCE_ADAPTER)
        model.set_adapter("default")
    return model


def load_tokenizer(policy: Any, given: Any) -> Any:
    """Load the tokenizer that lies beside a model, with a padding token.

    Parameters
    ----------
    policy : PreTrainedModel or PeftModel
        The model.
    given : str, path or model
        What it was loaded from, as the user gave it.

    Raises
    ------
    InputError
        If the model exists in memory alone.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> model = SimpleNamespace(config=SimpleNamespace(_name_or_path=""))
    >>> load_tokenizer(model, model)
    Traceback (most recent call last):
    prefstrength.errors.InputError: Expected a tokenizer, or a model that was loaded from a path...
    """
    name = os.fspath(given) if isinstance(given, str | os.PathLike) else policy.config._name_or_path
    if not name:
        raise InputError(
            "Expected a tokenizer, or a model that was loaded from a path where one lies; got a "
            f"{type(policy).__name__} that exists in memory alone. Give `tokenizer=...`."
        )
    tokenizer = AutoTokenizer.from_pretrained(name)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def weights_fingerprint(model: Any) -> str:
    """SHA-256 of the weights, wherever they came from and lie.

    Examples
    --------
    >>> weights_fingerprint(torch.nn.Linear(1, 1)) == weights_fingerprint(torch.nn.Linear(1, 1))
    False
    """
    seen = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        bits = value.detach().cpu().reshape(-1).contiguous().view(torch.uint8)
        seen.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        seen.update(bits.numpy())
    return seen.hexdigest()


@contextlib.contextmanager
def evaluating(*models: Any) -> Iterator[None]:
    """No dropout and no gradients; as before afterwards. ``None`` among the models is no model.

    Examples
    --------
    >>> layer = torch.nn.Dropout()
    >>> with evaluating(layer, None):
    ...     layer.training
    False
    >>> layer.training
    True
    """
    training = [model for model in models if model is not None and model.training]
    for model in training:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for model in training:
            model.train()
