"""The reference of a run: whether it starts there, what is kept of it, and where it has moved."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets.fingerprint import Hasher
from safetensors.torch import load_file

from prefstrength._shared.files import REFERENCE_NAME
from prefstrength._shared.words import warn
from prefstrength.errors import InputError
from prefstrength.mixdpo.hosted_strength import HostedStrength

__all__ = [
    "StartAtReference",
    "cached_by_delta",
    "check_sync",
    "load_reference",
    "reference_of",
    "save_reference",
    "start_of",
]

#: Nats by which rounding may move the log-ratio of one token, about: in single precision, and where
#: anything is computed in half of it. What it sums to grows with the root of the tokens.
_ROUNDING, _HALF_ROUNDING = 1e-3, 0.1


class StartAtReference:
    """Looks once, at the first batch, whether a policy that starts at its reference is there.

    Parameters
    ----------
    applies : bool
        Whether policy and reference are one model at the start, so that all log-ratios are 0.
    half : bool
        Whether anything is computed in half precision.
    """

    def __init__(self, applies: bool, half: bool) -> None:
        self._applies, self._rounding = applies, _HALF_ROUNDING if half else _ROUNDING

    def look(self, hosted: HostedStrength, completion_mask: torch.Tensor, step: int) -> None:
        """Look at the log-ratios of a batch.

        Warns
        -----
        DataWarning
            If it is the first one, and they are not 0.
        """
        applies, self._applies = self._applies and step == 0, False
        if not applies:
            return
        ratios = torch.cat(hosted.log_ratios).abs()
        tokens = completion_mask.sum(dim=1)
        off = ratios > self._rounding * tokens.clamp(min=1).sqrt()
        if off.any():
            warn(
                "Expected log-ratios of 0 before the first step, since the policy starts at its "
                f"reference; got {float(ratios[off].mean()):.3g} nats on average in "
                f"{int(off.sum())} of {off.numel()} responses of the first batch. The policy in "
                "memory is not the model from whose path the reference is loaded: an adapter may "
                "have been merged into it, or its weights changed. Save it and give its folder, "
                "or give the reference that is meant: `ref_model=...`."
            )


def start_of(trainer: Any, given: Any, name: str) -> StartAtReference:
    """What is to be looked at when a trainer begins.

    Parameters
    ----------
    trainer : MixDPOTrainer
    given : PreTrainedModel or None
        The reference, as the user gave it.
    name : str
        Name or path of the policy.
    """
    args, model = trainer.args, trainer.model
    half = args.bf16 or args.fp16 or args.tf32 or model.dtype.itemsize < 4
    there = given is None or (name != "" and given.config._name_or_path == name)
    # With dropout a policy is not itself.
    return StartAtReference(there and args.disable_dropout, bool(half))


@contextmanager
def cached_by_delta(trainer: Any) -> Iterator[None]:
    """Keep what is computed of the reference under all that it depends on.

    TRL's own key holds the pairs and the weights; where responses are cut and how their tokens
    count would be those of an earlier run.
    """
    before, args = trainer._precompute_model_hash, trainer.args
    depends = (args.max_length, args.truncation_mode, args.ld_alpha, args.bf16, args.fp16)
    trainer._precompute_model_hash = Hasher.hash((before, depends))
    try:
        yield
    finally:
        trainer._precompute_model_hash = before


# -- a reference that moves ------------------------------------------------------------------------


def check_sync(trainer: Any) -> None:
    """Stop where a reference that moves could not be kept beside the policy."""
    if trainer.args.sync_ref_model and (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        raise InputError(
            "Expected sync_ref_model with whole models in every process; got FSDP or DeepSpeed, "
            "where the reference lies in pieces and checkpoints could not hold it: a resumed run "
            "would be another. Leave sync_ref_model out, or train without sharding."
        )


def save_reference(trainer: Any, folder: Path) -> None:
    """Write a reference that has moved beside the policy that was trained against it."""
    if trainer.args.sync_ref_model and trainer.args.should_save:
        reference = trainer.accelerator.unwrap_model(trainer.ref_model)
        reference.save_pretrained(folder / REFERENCE_NAME)


def load_reference(trainer: Any, checkpoint: str) -> None:
    """Put a reference that moved to where it was at a checkpoint."""
    if not trainer.args.sync_ref_model:
        return
    files = sorted(Path(checkpoint, REFERENCE_NAME).glob("*.safetensors"))
    if not files:
        raise InputError(
            f"Expected the reference, which moves with sync_ref_model, in {checkpoint}/"
            f"{REFERENCE_NAME}; got none. The run would go on from another one. Resume from "
            "another checkpoint, or start anew."
        )
    state = {name: value for file in files for name, value in load_file(file).items()}
    reference = trainer.accelerator.unwrap_model(trainer.ref_model)
    # Tied weights are written once.
    unknown = reference.load_state_dict(state, strict=False).unexpected_keys
    if unknown:
        raise InputError(
            f"Expected the reference of this model in {checkpoint}/{REFERENCE_NAME}; got weights "
            f"of another ({', '.join(unknown[:3])}). Resume from another checkpoint."
        )


def reference_of(policy: Any, given: Any) -> Any:
    """The reference that a policy was trained against, where it moved and lies beside the policy.

    Parameters
    ----------
    policy, given : str, path, model or None
        The policy, and the reference that the user gave.

    Warns
    -----
    DataWarning
        If another one was given.
    """
    if not isinstance(policy, str | os.PathLike):
        return given
    moved = Path(policy, REFERENCE_NAME)
    if not (moved / "config.json").is_file():
        return given
    if given is None:
        return moved
    if not isinstance(given, str | os.PathLike) or Path(given).resolve() != moved.resolve():
        warn(
            f"{os.fspath(policy)} was trained against a reference that moved (sync_ref_model), "
            f"which lies in {moved}; got another one. The log-ratios are not those of training. "
            "Leave the reference out, or give that folder."
        )
    return given
