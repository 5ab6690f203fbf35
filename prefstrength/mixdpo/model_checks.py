"""What is looked at of a model before it is trained or asked: kind, weights, tokenizer, length."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import transformers
from datasets import Dataset
from transformers import AutoConfig, AutoProcessor, PreTrainedModel, ProcessorMixin
from transformers.utils.peft_utils import find_adapter_config_file

from prefstrength.errors import InputError
from prefstrength.mixdpo.weights import require_safetensors

__all__ = [
    "check_fits_model",
    "check_loaded",
    "check_model",
    "check_tokenizer",
    "model_name",
    "not_loaded",
    "processor_of",
    "reason",
    "whole_model",
]

#: Options of ``from_pretrained`` that say where a model lies, and what may run.
_WHERE = ("revision", "trust_remote_code", "token", "cache_dir", "local_files_only", "subfolder")


def model_name(model: Any) -> str:
    """Name or path of a model; empty where it has none."""
    if isinstance(model, str):
        return model
    if not hasattr(model, "config"):
        raise TypeError(
            f"Expected model as a name, a path or a transformers model; got {type(model).__name__}."
        )
    return getattr(model.config, "_name_or_path", "")


def check_model(model: Any, name: str, ref_model: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Find the model that cannot be a policy.

    Parameters
    ----------
    model, ref_model, args : as of MixDPOTrainer
    name : str
        Of the model.
    kwargs : dict
        What else the trainer was given.
    """
    if isinstance(model, str):
        local = model.startswith((".", "/", "~")) or model.count("/") > 1
        if local and not Path(model).is_dir():
            raise InputError(
                f"Expected a model's folder or its name on the hub; got {model!r}, where there is "
                "no folder. Check the path."
            )
        options: Any = args.model_init_kwargs or {}
        if options.get("use_safetensors", True):
            require_safetensors(model)
        code = {"trust_remote_code": args.trust_remote_code}
        whole_model(model, {**code, **options})
        return
    check_generates(type(model), model.config, name or type(model).__name__)
    if not kwargs.get("peft_config") and not any(p.requires_grad for p in model.parameters()):
        raise InputError(
            f"Expected a policy with weights to train; got a {type(model).__name__} of which all "
            "are frozen, as an adapter's are that was loaded to be used. Load it with "
            "`is_trainable=True`, or give `peft_config=...` for a new one."
        )
    reloads = isinstance(model, PreTrainedModel) and not (
        ref_model is not None or kwargs.get("peft_config") or args.precompute_ref_log_probs
    )
    if not name and (reloads or kwargs.get("processing_class") is None):
        raise InputError(
            "Expected a model that was loaded from a path, from where its "
            f"{'reference' if reloads else 'tokenizer'} is loaded too; got a "
            f"{type(model).__name__} that exists in memory alone. Save model and tokenizer with "
            "save_pretrained(folder) and give the folder."
        )
    if reloads:
        require_safetensors(name)


# -- kind and weights ------------------------------------------------------------------------------


def whole_model(name: str, options: Mapping[str, Any]) -> None:
    """Stop where a name or folder holds no causal language model with all of its weights.

    Parameters
    ----------
    name : str
    options : dict
        Of ``from_pretrained``, of which those count that say where it lies.

    Raises
    ------
    InputError
        If it is an adapter, a model of another kind, or has weights missing, of other shapes or
        cut short.
    """
    where = {key: options[key] for key in _WHERE if key in options}
    if find_adapter_config_file(name, revision=options.get("revision")) is not None:
        raise InputError(
            f"Expected a whole model; got the adapter in {name!r} (adapter_config.json). To go on "
            "training it, load it: `AutoPeftModelForCausalLM.from_pretrained(folder, "
            "is_trainable=True)`, and give that and its `processing_class`; to begin a new one, "
            "merge it (`merge_and_unload()`), save the model, and give that folder."
        )
    try:
        config = AutoConfig.from_pretrained(name, **where)
    except Exception as error:  # whatever a parser or a hub client raises
        raise not_loaded(name, error) from error
    kind = getattr(transformers, (config.architectures or [""])[0], None)
    if kind is None:
        return  # code of its own
    check_generates(kind, config, name)
    try:  # the shapes alone, without memory for the weights
        _, report = kind.from_pretrained(
            name,
            device_map="meta",
            output_loading_info=True,
            use_safetensors=options.get("use_safetensors", True),
            **where,
        )
    except Exception as error:  # of safetensors, of torch, or of transformers
        raise not_loaded(name, error) from error
    check_loaded(name, report)


def check_generates(kind: type, config: Any, name: str) -> None:
    """Stop at a model that gives no probabilities to the tokens of a text, one after the other."""
    if not issubclass(kind, PreTrainedModel):
        return  # an adapter, or a model of the user's own
    model: type[PreTrainedModel] = kind
    if not model.can_generate() or config.is_encoder_decoder:
        raise InputError(
            f"Expected a causal language model, which continues texts; got a {kind.__name__} in "
            f"{name!r}. It may be a reward model or an encoder. Give the model that is to answer."
        )


def check_loaded(name: str, report: Mapping[str, Any]) -> None:
    """Stop where parts of a model have no weights in its files, and would be random numbers."""
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(
            f"Expected weights for every part of {name!r}; got none for {len(missing)} "
            f"({', '.join(missing[:3])}), which would be random numbers. The files may be damaged, "
            "or of another model than config.json says. Save the model again."
        )


def not_loaded(name: str, error: Exception) -> InputError:
    """One sentence for whatever another library raised while it read a model."""
    return InputError(
        f"Expected a causal language model in safetensors; got {name!r}, which transformers could "
        f"not load ({reason(error)}). Files may be missing, damaged or of another model. Name a "
        "folder that holds config.json, the weights and the tokenizer, or a model on the hub."
    )


def reason(error: BaseException) -> str:
    """First line of what another library raised, or the name of its class."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


# -- tokenizer -------------------------------------------------------------------------------------


def processor_of(name: str, options: Mapping[str, Any]) -> Any:
    """Tokenizer or processor beside a model, as TRL loads it."""
    where = {key: options[key] for key in _WHERE if key in options}
    try:
        return AutoProcessor.from_pretrained(name, **where)
    except Exception as error:  # whatever a parser or a hub client raises
        raise InputError(
            f"Expected a tokenizer beside the model in {name!r}; got none that transformers could "
            f"load ({reason(error)}). Save it there with tokenizer.save_pretrained(folder), or "
            "give `processing_class=...`."
        ) from error


def check_tokenizer(processor: Any, first: Mapping[str, Any], owner: str = "training") -> None:
    """Stop at a tokenizer without the token or the template that the pairs need.

    Parameters
    ----------
    processor : PreTrainedTokenizerBase or ProcessorMixin
    first : dict
        First pair of the data.
    owner : str
        What needs it, for the sentence.
    """
    tokenizer = processor.tokenizer if isinstance(processor, ProcessorMixin) else processor
    if isinstance(first.get("chosen"), list):
        if not getattr(processor, "chat_template", None):
            raise InputError(
                f"Expected a chat template for pairs that are conversations; got a tokenizer "
                f"without one. Give a tokenizer with the template for {owner}, or texts."
            )
    elif tokenizer.eos_token is None:
        raise InputError(
            f"Expected a tokenizer with a token that ends a text, which {owner} puts behind every "
            "response; got none. Set it: `tokenizer.eos_token = ...`, as the model knows it."
        )
    if tokenizer.pad_token is None and tokenizer.eos_token is None:
        raise InputError(
            "Expected a tokenizer with a token that fills a batch; got neither pad_token nor "
            "eos_token. Set it: `tokenizer.pad_token = ...`."
        )


# -- length and vocabulary -------------------------------------------------------------------------


def check_fits_model(prepared: Any, label: str, model: Any, max_length: int | None) -> None:
    """Stop where pairs have tokens or positions that the model does not have.

    Parameters
    ----------
    prepared : Dataset
        Pairs as token numbers; of a stream nothing is looked at.
    label : str
        What the sentence calls it.
    model : PreTrainedModel or PeftModel
    max_length : int or None
        Tokens at which pairs are cut.
    """
    if not isinstance(prepared, Dataset) or "prompt_ids" not in prepared.column_names:
        return
    table = prepared.with_format("arrow")
    known = model.get_input_embeddings().num_embeddings
    sides: dict[str, np.ndarray] = {}
    for name in ("prompt_ids", "chosen_ids", "rejected_ids"):
        column = table[name]
        column = column if hasattr(column, "chunks") else column[:]
        most = pc.max(pc.list_flatten(column)).as_py()
        if most is not None and most >= known:
            raise InputError(
                f"Expected tokens that the model knows, of which there are {known}; got number "
                f"{most} in {label}. The tokenizer has more than the model's embeddings. Give the "
                "model's own tokenizer, or call `model.resize_token_embeddings(len(tokenizer))` "
                "and save the model."
            )
        sides[name] = pc.list_value_length(column).to_numpy()
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = sides["prompt_ids"] + np.maximum(sides["chosen_ids"], sides["rejected_ids"])
    longest = longest if max_length is None else np.minimum(longest, max_length)
    if positions is not None and (beyond := longest > positions).any():
        raise InputError(
            f"Expected pairs of at most {positions} tokens, the positions that the model has; got "
            f"{longest.max()} in {label}, and {beyond.sum()} of {len(beyond)} pairs with more. "
            f"Set `max_length={positions}` or less."
        )
