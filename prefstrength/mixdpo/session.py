"""What the command line sets around a trainer: arguments for this machine, and one progress bar."""

from typing import Any

import torch
from transformers import ProgressCallback, Trainer
from transformers.trainer_callback import PrinterCallback

__all__ = ["machine_arguments", "show_progress"]


def machine_arguments() -> dict[str, Any]:
    """Arguments of the config that this machine can run; TRL's own ask for bf16 everywhere.

    Returns
    -------
    dict
        ``bf16`` where the accelerator has it; ``use_cpu`` where there is none.

    Examples
    --------
    >>> "bf16" in machine_arguments()
    True
    """
    if not torch.accelerator.is_available():
        return {"use_cpu": True, "bf16": False}
    return {"bf16": not torch.cuda.is_available() or torch.cuda.is_bf16_supported()}


class _Bar(ProgressCallback):
    """Transformers' bar, with loss and strength behind it."""

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        shown = {
            name: f"{logs[key]:.3g}"
            for name, key in (("loss", "loss"), ("mean", "strength/mean"), ("cv", "strength/cv"))
            if logs and key in logs
        }
        if state.is_world_process_zero and self.training_bar is not None and shown:
            self.training_bar.set_postfix(shown)


def show_progress(trainer: Trainer, show: bool = True) -> None:
    """Let a trainer show a bar, or nothing; logs still go wherever ``report_to`` says.

    Parameters
    ----------
    trainer : Trainer
        Changed in place.
    show : bool
        Whether to show the bar.
    """
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    if show:
        trainer.add_callback(_Bar())
