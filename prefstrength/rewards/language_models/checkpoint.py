"""A model on the hub or in a folder: config, tokenizer, device, length, and weights on request."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefstrength._shared.words import listed, warn
from prefstrength.errors import InputError
from prefstrength.rewards.engine.cache import folder_fingerprint
from prefstrength.rewards.engine.team import local_rank
from prefstrength.rewards.model_reward import ModelReward

MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py")


class Checkpoint:
    """What is light to load is loaded; the weights wait for :meth:`weights`.

    Parameters
    ----------
    reward : ModelReward
        Whose settings count, and which sentences name.
    name_or_path : str or path
        Name on the hub, or a folder.
    revision : str, optional
        Branch, tag or commit on the hub.
    what : str
        What it should be, such as "a sequence-classification model".
    """

    def __init__(
        self,
        reward: ModelReward,
        name_or_path: str | os.PathLike[str],
        revision: str | None,
        what: str,
    ) -> None:
        self.name = os.path.expanduser(os.fspath(name_or_path))
        self.what, self.owner = what, (owner := type(reward).__name__)
        self.torch, self.transformers = _import(owner)
        self._where = {"revision": revision or "main"}
        self._code = {"trust_remote_code": reward.trust_remote_code}
        folder = Path(self.name)
        self.local = folder.is_dir()
        if not self.local and _looks_local(self.name):
            raise InputError(
                f"{owner} expects a folder with {what}; got {self.name!r}, which does "
                "not exist. Check the path, or give a name on the hub such as "
                "'Skywork/Skywork-Reward-V2-Qwen3-0.6B'."
            )
        if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
            raise InputError(
                f"{owner} expects whole weights; got a PEFT adapter at {self.name!r}. Merge it "
                "into its base model and save that: model.merge_and_unload().save_pretrained()."
            )
        self.config = self._load("config", self.transformers.AutoConfig.from_pretrained)
        self.tokenizer = self._load("tokenizer", self.transformers.AutoTokenizer.from_pretrained)
        self.dtype = getattr(self.torch, reward.dtype)
        self.device = self._device(reward.device)
        self.fingerprint = (
            folder_fingerprint(folder, MODEL_FILES)
            if self.local
            else str(getattr(self.config, "_commit_hash", None) or self._where["revision"])
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Which weights these are; the same model is the same wherever its folder lies.

        And whether code that comes with them runs, which may score otherwise.
        """
        found: dict[str, Any] = {
            "model": "" if self.local else self.name,
            "fingerprint": self.fingerprint,
        }
        return {**found, "own_code": True} if self._runs_own_code() else found

    def _runs_own_code(self) -> bool:
        brought = (
            getattr(self.config, "auto_map", None),
            getattr(self.tokenizer, "init_kwargs", {}).get("auto_map"),
        )
        return self._code["trust_remote_code"] and any(brought)

    @property
    def template_sha256(self) -> str | None:
        """Hash of the tokenizer's chat template, if it has one."""
        template = self.tokenizer.chat_template
        if not template:
            return None
        text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def pad_token_id(self) -> int | None:
        """What may fill a batch of a model that takes lengths from the attention mask alone."""
        found = (self.tokenizer.pad_token_id, self.config.get_text_config().pad_token_id, 0)
        return next(int(token) for token in found if token is not None)

    def max_length(self, asked: int | None) -> int | None:
        """Tokens that a text may have: what was asked for, or what the model allows."""
        limits = (
            getattr(self.config.get_text_config(), "max_position_embeddings", None),
            self.tokenizer.model_max_length,
        )
        # tokenizers without a limit say 1e30
        known = [int(limit) for limit in limits if limit is not None and 0 < limit < 1e9]
        most = min(known, default=None)
        if asked is not None and most is not None and asked > most:
            raise InputError(
                f"{self.owner} expects max_length of at most {most}, which {self.name!r} allows; "
                f"got {asked}. Leave it out to use all the model allows."
            )
        return asked if asked is not None else most

    def weights(self, model_class: Any, besides: tuple[str, ...] = ()) -> tuple[Any, list[str]]:
        """Load a model of which every part has trained weights, and list weights left unused.

        Those whose names begin as in ``besides`` may stay unused, and are not listed.
        """
        model, report = self._load(
            "weights",
            model_class.from_pretrained,
            use_safetensors=True,
            dtype=self.dtype,
            output_loading_info=True,
        )
        if report["missing_keys"]:
            names = sorted(report["missing_keys"])
            value = any(name.startswith("v_head.") for name in report["unexpected_keys"])
            raise InputError(
                f"{self.owner} expects trained weights for every part of {self.name!r}; got none "
                f"for {', '.join(names[:3])}. "
                + (
                    "It has the value head of a causal language model. Use `head='value'`."
                    if value
                    else "It may be a language model without a reward head, "
                    "whose scores would be random numbers. Give a reward model."
                )
            )
        unused = sorted(report["unexpected_keys"])
        brings = model_class.__name__ in (getattr(self.config, "auto_map", None) or {})
        if brings and not self._code["trust_remote_code"]:
            if unused:
                raise self._own_code(f"uses the weights {', '.join(unused[:3])}, lost without it")
            warn(
                f"{self.owner}: {self.name!r} brings code of its own for {self.what}, which did "
                f"not run: {type(model).__name__} of transformers took its place. Scores may be "
                "others than its makers'. Compare one with the model's documentation, or read "
                "that code, and if you trust it, say so: `trust_remote_code=True`."
            )
        unused = [name for name in unused if not name.startswith(besides)]
        if unused:
            warn(
                f"{self.owner}: the files of {self.name!r} hold weights that the model does not "
                f"use: {listed(unused, most=3)}. It may be of another kind than its config says, "
                "and its scores others than its makers'. Compare a score with the model's "
                "documentation."
            )
        return model, unused

    def _own_code(self, why: str) -> InputError:
        return InputError(
            f"{self.owner} expects a model that runs without code of its own; got one at "
            f"{self.name!r} that brings some and {why}. That code may do anything on this "
            "computer. Read it, and if you trust it, say so: `trust_remote_code=True`."
        )

    def tensors(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Read single tensors from the safetensors files; what is not there is left out."""
        from safetensors import safe_open

        cached = self.transformers.utils.cached_file
        index = self._load(
            "an index of its weights",
            cached,
            filename="model.safetensors.index.json",
            _raise_exceptions_for_missing_entries=False,
        )
        files = {"model.safetensors": set(names)}
        if index is not None:
            with open(index, encoding="utf-8") as stream:
                placed = json.load(stream)["weight_map"]
            files = {}
            for name in set(names) & set(placed):
                files.setdefault(placed[name], set()).add(name)
        found: dict[str, Any] = {}
        for file, wanted in files.items():
            path = self._load(file, cached, filename=file)
            with safe_open(path, framework="pt") as stream:
                found |= {name: stream.get_tensor(name) for name in wanted & set(stream.keys())}
        return found

    def _load(self, what: str, from_pretrained: Callable[..., Any], **options: Any) -> Any:
        """Load one part, with one sentence for everything that can go wrong on the way."""
        code = {} if "filename" in options else self._code
        try:
            return from_pretrained(self.name, **self._where, **code, **options)
        # whatever a hub client, a parser or a missing package raises, the user's next step is
        # the same, and the cause is kept in the traceback
        except Exception as error:
            if "trust_remote_code" in str(error) and not self._code["trust_remote_code"]:
                raise self._own_code("cannot be loaded without it") from error
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"{self.owner} expects {self.what} with {what} and safetensors "
                f"weights at {self.name!r}; got {type(error).__name__}: {reason[:300]} The name "
                "may be misspelt, the network absent, or the weights pickled. Check the name, or "
                "give a local folder."
            ) from error

    def _device(self, asked: str | None) -> Any:
        cuda = self.torch.cuda
        # of several processes on one machine each takes a GPU of its own
        first = f"cuda:{local_rank() % cuda.device_count()}" if cuda.is_available() else "cpu"
        name = asked or first
        try:
            device = self.torch.device(name)
            self.torch.empty(1, device=device)
        except Exception as error:  # AssertionError, RuntimeError or more, by kind of device
            raise InputError(
                f"{self.owner} expects a device that this computer has; got {name!r}. "
                "Use `device='cpu'`, or leave it out."
            ) from error
        return device


def _import(owner: str) -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise InputError(
            f"{owner} expects torch and transformers; got none of {error.name!r}. "
            "Install them: pip install 'prefstrength[rewards]'."
        ) from error
    return torch, transformers


def _looks_local(name: str) -> bool:
    """Whether a name can only be a path: the hub knows ``name`` and ``owner/name``."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
