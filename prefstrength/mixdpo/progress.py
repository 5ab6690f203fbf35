"""One progress bar for training, in the place of a dictionary on every log."""

from typing import Any

from transformers import ProgressCallback, Trainer
from transformers.trainer_callback import PrinterCallback

__all__ = ["show_progress"]


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
