r"""The law of strength while it is learned.

Training changes two numbers (one for PointMass): the location, log of the mean strength, and the
dispersion, log of the spread, as in :mod:`prefstrength.prior`. They are unconstrained, so that
any step of an optimizer leads to a law, and they say the same for every family.

With N training pairs, data term :math:`\ell_i` and prior :math:`\pi`, training minimises

.. math:: \frac1N \sum_i \ell_i(\theta, \text{strength}) - \frac1N \log \pi(\text{strength})

which is, up to the factor 1/N, the negative log posterior of the strength given the *whole*
data: its minimum is a maximum-a-posteriori estimate, and the prior weighs as much whatever the
batch size or the number of epochs.
"""

import math
from importlib import metadata
from typing import Self

import torch
from torch import nn

from prefstrength.errors import InputError
from prefstrength.learned import MODES, LearnedStrength
from prefstrength.mixing import Mixing
from prefstrength.prior import (
    StrengthPrior,
    cv_from_dispersion,
    dispersion_from_cv,
    location_dispersion,
    mixing_from,
)

__all__ = ["Strength"]


class Strength(nn.Module):
    """Law of strength with parameters that can be learned.

    Parameters
    ----------
    family : {"PointMass", "Normal", "LogNormal", "Gamma", "InverseGaussian"}
        Mixing distribution.
    location : float
        Log of the mean strength at the start.
    dispersion : float or None
        Log of the spread at the start: of sigma (LogNormal) or of the coefficient of variation
        (Gamma, InverseGaussian, Normal); ``None`` for PointMass.
    mode : {"joint", "anchored", "frozen"}
        Learn mean and dispersion, the dispersion alone, or nothing.
    prior : StrengthPrior, optional
        What holds them; without it only the data do.

    Attributes
    ----------
    trajectory : list of dict
        What :meth:`record` wrote.

    Notes
    -----
    Two numbers in float64 on the CPU, outside the model: a submodule of the policy would be cast
    to its precision, lost when the model is reloaded, and break distributed wrappers that expect
    every parameter to take part in the forward pass. Gradients reach them from any device.

    Examples
    --------
    >>> strength = Strength.from_prior(StrengthPrior("Gamma", math.log(0.1), 0.2, 0.0, 0.3))
    >>> round(strength.mean, 12), strength.cv
    (0.1, 1.0)
    >>> strength.current()
    Gamma(shape=1, rate=10)
    >>> strength.negative_log_prior().item()
    0.0
    """

    def __init__(
        self,
        family: str,
        location: float,
        dispersion: float | None,
        *,
        mode: str = "joint",
        prior: StrengthPrior | None = None,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise InputError(f"Expected a mode ({', '.join(MODES)}); got {mode!r}.")
        if mode == "anchored" and dispersion is None:
            raise InputError(
                "mode 'anchored' learns the dispersion with the mean fixed; got PointMass, which "
                "has no dispersion. Take a family that has one, or mode 'frozen'."
            )
        if prior is not None and prior.family != family:
            raise InputError(
                f"Expected a prior of the family {family}; got one of {prior.family}. Its "
                "dispersion means something else. Fit the analysis with that family, or leave "
                "the family out to train with the prior's."
            )
        if (family == "PointMass") != (dispersion is None):
            raise InputError(
                f"Expected a dispersion for every family but PointMass; got {dispersion} for "
                f"{family}. Leave it out for PointMass alone."
            )
        mixing_from(family, location, dispersion)  # an unknown family stops here
        self.family, self.mode, self.prior = family, mode, prior
        self.location = _parameter(location, learned=mode == "joint")
        self.dispersion = (
            None if dispersion is None else _parameter(dispersion, learned=mode != "frozen")
        )
        self.steps = 0
        self.model_name: str | None = None
        self.trajectory: list[dict[str, float]] = []

    @classmethod
    def from_prior(cls, prior: StrengthPrior, mode: str = "joint") -> Self:
        """Start at the centre of a prior, and be held by it."""
        return cls(prior.family, prior.location, prior.dispersion, mode=mode, prior=prior)

    @classmethod
    def from_start(cls, family: str, mean: float, cv: float, mode: str = "joint") -> Self:
        """Start at a mean and coefficient of variation, without a prior.

        Examples
        --------
        >>> Strength.from_start("LogNormal", mean=0.1, cv=0.5).current()
        LogNormal(mu=-2.41416, sigma=0.472381)
        """
        return cls(family, math.log(mean), dispersion_from_cv(family, cv), mode=mode)

    # -- the law ------------------------------------------------------------------------------

    def mixing(self) -> Mixing:
        """Law with parameters that carry gradients (float64, CPU)."""
        return mixing_from(self.family, self.location, self.dispersion, torch.exp)

    def current(self) -> Mixing:
        """Law with parameters as plain numbers."""
        return mixing_from(self.family, self.location.item(), self._dispersion())

    @property
    def mean(self) -> float:
        """Mean strength."""
        return math.exp(self.location.item())

    @property
    def cv(self) -> float:
        """Coefficient of variation, sd/mean."""
        return cv_from_dispersion(self.family, self._dispersion())

    @property
    def learns(self) -> bool:
        """Whether any parameter is learned."""
        return any(each.requires_grad for each in self.parameters())

    def negative_log_prior(self) -> torch.Tensor:
        r"""Negative log density of the prior, up to a constant: 0 at its centre.

        .. math::
            \tfrac12 \left(\frac{\text{location} - m}{s}\right)^2
            + \tfrac12 \left(\frac{\text{dispersion} - m'}{s'}\right)^2

        Only the parameters that are learned count; 0 without a prior.
        """
        total = torch.zeros((), dtype=torch.float64)
        if self.prior is None:
            return total
        if self.location.requires_grad:
            z = (self.location - self.prior.location) / self.prior.location_sd
            total = total + z**2 / 2
        if self.dispersion is not None and self.dispersion.requires_grad:
            z = (self.dispersion - self.prior.dispersion) / self.prior.dispersion_sd
            total = total + z**2 / 2
        return total

    def extra_repr(self) -> str:  # what print(strength) shows
        return f"{self.current()!r}, mean={self.mean:.6g}, cv={self.cv:.6g}, mode={self.mode!r}"

    def _dispersion(self) -> float | None:
        return None if self.dispersion is None else self.dispersion.item()

    # -- the way to it ------------------------------------------------------------------------

    def summary(self) -> dict[str, float]:
        """Return the parameters of the law by name, then ``mean`` and ``cv``."""
        return {**self.current().parameters, "mean": self.mean, "cv": self.cv}

    def record(self, step: int) -> None:
        """Add the present law to the trajectory, once for a step."""
        if not self.trajectory or self.trajectory[-1]["step"] < step:
            self.trajectory.append({"step": step, **self.summary()})

    def restart(self, step: int) -> None:
        """Begin, or begin again, at ``step``: forget what the trajectory holds from there on."""
        self.steps = step
        self.trajectory = [point for point in self.trajectory if point["step"] < step]
        self.record(step)

    def learned(self) -> LearnedStrength:
        """Return the law and the way to it as a record that can be saved and compared."""
        return LearnedStrength(
            family=self.family,
            parameters=self.current().parameters,
            mode=self.mode,
            prior=self.prior,
            steps=self.steps,
            trajectory=tuple(self.trajectory),
            model=self.model_name,
            versions=_versions(),
        )

    def restore(self, learned: LearnedStrength, where: str) -> None:
        """Take law and trajectory from a record of the same kind of training."""
        for name in ("family", "mode", "prior"):
            expected, found = getattr(self, name), getattr(learned, name)
            if expected != found:
                shown = "" if name == "prior" else f" {expected!r}; got {found!r}"
                raise InputError(
                    f"Expected {where} to have been trained with the same strength {name} as "
                    f"this run{shown or '; got another'}. Give the arguments of that run, or "
                    "start anew."
                )
        location, dispersion = location_dispersion(learned.mixing())
        with torch.no_grad():
            self.location.fill_(location)
            if self.dispersion is not None and dispersion is not None:
                self.dispersion.fill_(dispersion)
        self.steps, self.trajectory = learned.steps, [dict(each) for each in learned.trajectory]


def _parameter(value: float, *, learned: bool) -> nn.Parameter:
    return nn.Parameter(torch.tensor(value, dtype=torch.float64), requires_grad=learned)


def _versions() -> dict[str, str]:
    return {
        name: metadata.version(name)
        for name in ("prefstrength", "torch", "transformers", "trl")
        if any(metadata.distributions(name=name))
    }
