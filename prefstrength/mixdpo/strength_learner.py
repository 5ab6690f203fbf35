"""A strength that is learned beside a policy: its optimizer, its schedule, and their state."""

import math
from typing import Any

import torch
from transformers import get_scheduler

from prefstrength.errors import InputError
from prefstrength.mixdpo.strength import MOST_POINTS, Strength

__all__ = ["StrengthLearner"]

_SCHEDULE_STEP = "schedule.step"


class StrengthLearner:
    """Takes the steps of a strength, in time with a trainer's.

    Parameters
    ----------
    strength : Strength
    learning_rate : float
        Of its Adam optimizer.
    num_pairs : int, optional
        Training pairs that the prior is weighed against; ``None`` where nothing is held by one.

    Attributes
    ----------
    optimizer, scheduler
        ``None`` where nothing is learned.
    """

    def __init__(self, strength: Strength, learning_rate: float, num_pairs: int | None) -> None:
        self.strength = strength
        self.prior_weight = 0.0 if num_pairs is None else 1 / num_pairs
        named = strength.named_parameters()
        self._learned = {name: each for name, each in named if each.requires_grad}
        self.optimizer: torch.optim.Optimizer | None = None
        if self._learned:
            self.optimizer = torch.optim.Adam(self._learned.values(), lr=learning_rate)
        self.scheduler: Any = None

    def schedule(self, name: str, warmup_steps: int, steps: int) -> None:
        """Begin a schedule of the learning rate, by transformers' name."""
        if self.optimizer is not None:
            self.scheduler = get_scheduler(
                name, self.optimizer, num_warmup_steps=warmup_steps, num_training_steps=steps
            )

    def with_prior(self, loss: torch.Tensor) -> torch.Tensor:
        """Mean loss of the pairs plus the negative log prior, as one part in their number."""
        if not self.prior_weight:
            return loss
        prior = self.strength.negative_log_prior() * self.prior_weight
        return loss + prior.to(device=loss.device, dtype=loss.dtype)

    def step(self, accelerator: Any, step: int, steps: int) -> dict[str, float] | None:
        """Take a step from the mean gradient over all processes, and add it to the trajectory.

        Parameters
        ----------
        accelerator : accelerate.Accelerator
        step, steps : int
            Number of this step, from 1 on, and of the last.

        Returns
        -------
        dict or None
            What is to be logged of the step; ``None`` where it was not taken, after an overflow
            of half precision, for which the model skips its own as well.
        """
        self.strength.steps = step
        logged: dict[str, float] = {}
        if self.optimizer is not None:
            gradient = self._gradient(accelerator)
            if gradient is None:
                self.optimizer.zero_grad()
                return None
            if not torch.isfinite(gradient).all():
                raise InputError(
                    f"Expected a finite gradient of the strength; got {gradient.tolist()} at step "
                    f"{step}. Lower strength_learning_rate or learning_rate."
                )
            logged = self._descend(self.optimizer, gradient)
        # Of a long run every k-th step has a point.
        if step % max(1, math.ceil(steps / MOST_POINTS)) == 0 or step == steps:
            self.strength.record_common(step)
        if logged:
            logged["negative_log_prior"] = self.strength.negative_log_prior().item()
        return logged

    def _gradient(self, accelerator: Any) -> torch.Tensor | None:
        """Of all that is learned, in one; ``None`` where half precision overflowed."""
        gradient = torch.cat([each.grad.reshape(-1) for each in self._learned.values()])
        if accelerator.num_processes > 1:
            on_device = gradient.to(accelerator.device)
            gradient = accelerator.reduce(on_device, reduction="mean").cpu()
        scaler = getattr(accelerator, "scaler", None)
        if scaler is None:
            return gradient
        gradient = gradient / scaler.get_scale()
        return gradient if torch.isfinite(gradient).all() else None

    def _descend(
        self, optimizer: torch.optim.Optimizer, gradient: torch.Tensor
    ) -> dict[str, float]:
        sizes = [each.numel() for each in self._learned.values()]
        for each, value in zip(self._learned.values(), gradient.split(sizes), strict=True):
            each.grad = value.reshape(each.shape)
        self.strength.gradients = {
            f"gradient/{name}": self._learned[name].grad.item()
            for name in ("location", "dispersion")
            if name in self._learned
        }
        rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        self.scheduler.step()
        optimizer.zero_grad()
        norm = gradient.norm().item()
        return {**self.strength.gradients, "grad_norm": norm, "learning_rate": rate}

    # -- in checkpoints ------------------------------------------------------------------------

    def state(self) -> dict[str, torch.Tensor]:
        """Exact numbers of the strength, its optimizer and its schedule, by name."""
        state = dict(self.strength.state_dict())
        if self.optimizer is not None:
            saved = self.optimizer.state_dict()["state"]
            names = list(self._learned)
            for index, values in saved.items():
                state |= {f"{names[index]}.{key}": value for key, value in values.items()}
        if self.scheduler is not None:
            state[_SCHEDULE_STEP] = torch.tensor(self.scheduler.last_epoch)
        return state

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what :meth:`state` gave."""
        self.strength.load_state_dict({name: state[name] for name in self.strength.state_dict()})
        if self.optimizer is not None:
            record = self.optimizer.state_dict()
            record["state"] = {
                index: {
                    key.removeprefix(f"{name}."): value
                    for key, value in state.items()
                    if key.startswith(f"{name}.")
                }
                for index, name in enumerate(self._learned)
            }
            self.optimizer.load_state_dict(record)
        if self.scheduler is not None and _SCHEDULE_STEP in state:
            self._go_on_at(int(state[_SCHEDULE_STEP].item()))

    def _go_on_at(self, step: int) -> None:
        """Go on with the schedule of this run's arguments, from a step on."""
        (base,), (share,) = self.scheduler.base_lrs, self.scheduler.lr_lambdas
        (group,) = self.scheduler.optimizer.param_groups
        group["lr"] = base * share(step)
        state = {**self.scheduler.state_dict(), "last_epoch": step, "_last_lr": [group["lr"]]}
        self.scheduler.load_state_dict(state)
