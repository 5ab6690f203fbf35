r"""The mixing distribution of strength while it is learned.

Training changes at least two numbers (one for PointMass): the location, log of the mean strength,
and the dispersion, log of the spread, as in :mod:`prefstrength.choice.strength_prior`. They are
unconstrained, so that any step of an optimizer leads to a distribution, and they say the same for
every family.

With N training pairs, data term :math:`\ell_i` and prior :math:`\pi`, training minimises

.. math:: \frac1N \sum_i \ell_i(\theta, \text{strength}) - \frac1N \log \pi(\text{strength})

which is, up to the factor 1/N, the negative log posterior of the strength given the *whole*
data: its minimum is a maximum-a-posteriori estimate, and the prior weighs as much whatever the
batch size or the number of epochs.

Groups of pairs may each have a mixing distribution of their own, shrunk to the common one, and
covariates of a pair may move the mean of its mixing distribution:

.. math::
    \text{location}_i = \text{location} + u_{g(i)} + x_i \cdot \gamma, \qquad
    \text{dispersion}_i = \text{dispersion} + v_{g(i)}

with Normal priors on u, v and γ. They are learned in log units, like the common one, so that a step
of the optimizer moves all alike; where their prior sd is below 0.1 a step moves them by as much
less, so that shifts which are held tightly stay, whatever the rate.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import nn

from prefstrength.choice.learned_parts import (
    MODES,
    DeltaSettings,
    LearnedCovariate,
    ShiftPrior,
)
from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.families import family_named
from prefstrength.choice.mixing.zero_mass import with_zero_share
from prefstrength.choice.strength_prior import StrengthPrior
from prefstrength.errors import InputError
from prefstrength.mixdpo.shifts import beside, freed, held_values, parameter, unit, vector
from prefstrength.mixdpo.strength_record import (
    LocationDispersion,
    learned_covariates,
    record_of,
    require_same_training,
    summary_of,
)

__all__ = ["MOST_FOLLOWED", "MOST_LOGGED", "MOST_POINTS", "Strength"]

#: Groups with the most pairs of which the mixing distribution is logged, and of which the
#: trajectory is kept.
MOST_LOGGED, MOST_FOLLOWED = 20, 200
#: Optimizer steps up to which each has a point in the trajectory; of more, every k-th.
MOST_POINTS = 10_000


class Strength(nn.Module):
    """Mixing distribution of strength, its parameters to be learned.

    Parameters
    ----------
    family : {"PointMass", "Normal", "LogNormal", "Gamma", "InverseGaussian"}
        Mixing distribution.
    location : float
        Log of the mean strength at the start, of those who weigh the reward.
    dispersion : float or None
        Log of the spread at the start: of sigma (LogNormal) or of the coefficient of variation
        (Gamma, InverseGaussian, Normal); ``None`` for PointMass.
    mode : {"joint", "anchored", "frozen"}
        Learn mean and dispersion, the dispersion alone, or nothing.
    prior : StrengthPrior, optional
        What holds them; without it only the data do. Its ``zero_share`` of choosers stays at
        strength zero, and what is learned is the mixing distribution of the others.
    group_column : str, optional
        Column of which each level has a mixing distribution of its own.
    groups : dict, optional
        Level to the prior of its shifts, at whose centre it starts.
    pairs : dict, optional
        Level to its number of training pairs.
    covariates : dict, optional
        Column to a :class:`~prefstrength.choice.learned_parts.LearnedCovariate`: how it is
        standardised, and the prior sd of its coefficient, which starts at 0.

    Attributes
    ----------
    trajectory : list of dict
        What :meth:`record` wrote.
    gradients : dict
        ``gradient/location`` and ``gradient/dispersion`` of the last optimizer step; the trainer
        sets them.

    Notes
    -----
    With mode ``"joint"`` the shifts and coefficients are learned along; with ``"anchored"`` every
    mean stays where it starts, that of the groups too, and the dispersions are learned, each group
    its own. Covariates move means and want ``"joint"``.

    Numbers in float64 on the CPU, outside the model: a submodule of the policy would be cast
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
        group_column: str | None = None,
        groups: Mapping[str, ShiftPrior] | None = None,
        pairs: Mapping[str, int] | None = None,
        covariates: Mapping[str, LearnedCovariate] | None = None,
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
        if family_named(family).varies == (dispersion is None):
            raise InputError(
                f"Expected a dispersion for every family but PointMass; got {dispersion} for "
                f"{family}. Leave it out for PointMass alone."
            )
        self.family, self.mode, self.prior = family, mode, prior
        self.location = parameter(location, learned=mode == "joint")
        self.dispersion = (
            None if dispersion is None else parameter(dispersion, learned=mode != "frozen")
        )
        self.group_column = group_column
        self.groups = dict(groups or {})
        self.covariates = {
            name: replace(each, coefficient=0.0) for name, each in (covariates or {}).items()
        }
        self._add_groups(pairs or {})
        self._add_covariates()
        self.steps = 0
        self.model_name: str | None = None
        self.gradients: dict[str, float] = {}
        self.delta: DeltaSettings | None = None
        self.trajectory: list[dict[str, float]] = []
        self.group_trajectories: dict[str, list[dict[str, float]]] = {
            level: [] for level in self._largest(MOST_FOLLOWED)
        }

    def _add_groups(self, pairs: Mapping[str, int]) -> None:
        if (self.group_column is None) != (not self.groups):
            raise InputError(
                "Expected a group_column along with groups; got one without the other."
            )
        self.pairs = {level: int(pairs.get(level, 0)) for level in self.groups}
        if not self.groups:
            return
        shifts = list(self.groups.values())
        self.register_buffer("location_centre", vector([each.location for each in shifts]))
        self.register_buffer("location_scale", vector([each.location_scale for each in shifts]))
        zero = [0.0] * len(shifts)
        self.location_free = parameter(zero, learned=self.mode == "joint")
        if self.dispersion is None:
            return
        spreads = [(each.dispersion, each.dispersion_scale) for each in shifts]
        if any(value is None for spread in spreads for value in spread):
            raise InputError(f"Expected a shift of the dispersion of {self.family}; got none.")
        self.register_buffer("dispersion_centre", vector([value for value, _ in spreads]))
        self.register_buffer("dispersion_scale", vector([scale for _, scale in spreads]))
        self.dispersion_free = parameter(zero, learned=self.mode != "frozen")

    def _add_covariates(self) -> None:
        if not self.covariates:
            return
        if self.mode != "joint":
            raise InputError(
                f"Expected mode 'joint' with covariates, which move the mean; got {self.mode!r}, "
                "which holds it. Leave the covariates out, or learn the mean."
            )
        each = self.covariates.values()
        self.register_buffer("covariate_mean", vector([one.mean for one in each]))
        self.register_buffer("covariate_sd", vector([one.sd for one in each]))
        self.register_buffer("coefficient_scale", vector([one.scale for one in each]))
        self.coefficient_free = parameter([0.0] * len(each), learned=True)

    @classmethod
    def from_prior(cls, prior: StrengthPrior, mode: str = "joint", **shifts: Any) -> Self:
        """Start at the centre of a prior, and be held by it; ``shifts`` as of the class."""
        return cls(prior.family, prior.location, prior.dispersion, mode=mode, prior=prior, **shifts)

    @classmethod
    def from_start(
        cls, family: str, mean: float, cv: float, mode: str = "joint", **shifts: Any
    ) -> Self:
        """Start at a mean and coefficient of variation, without a prior of the common one.

        Examples
        --------
        >>> Strength.from_start("LogNormal", mean=0.1, cv=0.5).current()
        LogNormal(mu=-2.41416, sigma=0.472381)
        """
        return cls(
            family, math.log(mean), family_named(family).log_spread_from_cv(cv), mode=mode, **shifts
        )

    # -- the mixing distribution --------------------------------------------------------------

    def mixing(
        self, group: torch.Tensor | None = None, covariates: torch.Tensor | None = None
    ) -> Mixing:
        """The mixing distribution, its parameters carrying gradients.

        Parameters
        ----------
        group : torch.Tensor, shape (pair,), optional
            Number of every pair's level among :attr:`groups`; the common mixing distribution
            without.
        covariates : torch.Tensor, shape (pair, covariate), optional
            Standardised covariates of every pair; at their means without.

        Returns
        -------
        Mixing
            Parameters in float64: on the CPU, shape (), or where the pairs are, shape (pair,).
        """
        location, dispersion = self.location, self.dispersion
        if group is not None:
            location = beside(location + self.location_shift(), group)[group]
            if dispersion is not None:
                dispersion = beside(dispersion + self.dispersion_shift(), group)[group]
        if covariates is not None:
            gamma = beside(self.coefficients(), covariates)
            location = beside(location, covariates) + covariates.to(gamma.dtype) @ gamma
            if dispersion is not None:
                dispersion = beside(dispersion, covariates).expand(location.shape)
        law = family_named(self.family).from_log_mean_spread(location, dispersion)
        return with_zero_share(law, self.zero_share)

    def location_shift(self) -> torch.Tensor:
        """Log mean of every group less that of the common one, shape (group,)."""
        return self.location_centre + held_values(self.location_free, self.location_scale)

    def dispersion_shift(self) -> torch.Tensor:
        """Log spread of every group less that of the common one, shape (group,)."""
        return self.dispersion_centre + held_values(self.dispersion_free, self.dispersion_scale)

    def coefficients(self) -> torch.Tensor:
        """Change of the log mean for one sd of each covariate, shape (covariate,)."""
        return held_values(self.coefficient_free, self.coefficient_scale)

    def current(self) -> Mixing:
        """The mixing distribution in plain numbers; the common one where groups have theirs."""
        law = self.location.item(), self._dispersion()
        return with_zero_share(
            family_named(self.family).from_log_mean_spread(*law), self.zero_share
        )

    def _of_groups(self, levels: Sequence[str]) -> dict[str, LocationDispersion]:
        """Location and dispersion of some groups."""
        if not levels:
            return {}
        with torch.no_grad():
            location = (self.location + self.location_shift()).tolist()
            dispersion: list[float | None] = [None] * len(location)
            if self.dispersion is not None:
                dispersion = (self.dispersion + self.dispersion_shift()).tolist()
        found = dict(zip(self.groups, zip(location, dispersion, strict=True), strict=True))
        return {level: found[level] for level in levels}

    def group_means(self) -> dict[str, float]:
        """Mean strength of every group."""
        laws = self._of_groups(list(self.groups))
        cares = 1 - self.zero_share
        return {level: cares * math.exp(location) for level, (location, _) in laws.items()}

    def _largest(self, most: int) -> list[str]:
        """Groups with the most pairs, in the order of all."""
        if len(self.groups) <= most:
            return list(self.groups)
        kept = set(sorted(self.groups, key=lambda level: -self.pairs[level])[:most])
        return [level for level in self.groups if level in kept]

    @property
    def zero_share(self) -> float:
        """Share of choosers at strength zero, which the prior gives and training holds."""
        return 0.0 if self.prior is None else self.prior.zero_share

    @property
    def mean(self) -> float:
        """Mean strength over all choosers."""
        return (1 - self.zero_share) * math.exp(self.location.item())

    @property
    def cv(self) -> float:
        """Coefficient of variation, sd/mean."""
        return self.current().cv()

    @property
    def held(self) -> bool:
        """Whether anything has a prior."""
        return self.prior is not None or bool(self.groups) or bool(self.covariates)

    @property
    def learns(self) -> bool:
        """Whether any parameter is learned."""
        return any(each.requires_grad for each in self.parameters())

    def negative_log_prior(self) -> torch.Tensor:
        r"""Negative log density of the prior, up to a constant: 0 at its centre.

        .. math::
            \tfrac12 \left(\frac{\text{location} - m}{s}\right)^2
            + \tfrac12 \left(\frac{\text{dispersion} - m'}{s'}\right)^2

        and the same for every shift and coefficient. Only what is learned counts; without a
        prior, location and dispersion do not.
        """
        total = torch.zeros((), dtype=torch.float64)
        for name in ("location", "dispersion", "coefficient"):
            free = getattr(self, f"{name}_free", None)
            if free is not None and free.requires_grad:
                z = free / unit(getattr(self, f"{name}_scale"))
                total = total + (z**2).sum() / 2
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
        """Return the common distribution's parameters by name, then ``mean`` and ``cv``."""
        law = self.location.item(), self._dispersion()
        return summary_of(self.family, law, self.zero_share)

    def logged(self) -> dict[str, float]:
        """Return :meth:`summary`, mean and cv of the largest groups, and the coefficients.

        And ``zero_share`` where a share of choosers is at zero.
        """
        out = self.summary()
        if self.zero_share:
            out["zero_share"] = self.zero_share
        for level, law in self._of_groups(self._largest(MOST_LOGGED)).items():
            of_group = summary_of(self.family, law, self.zero_share)
            out |= {
                f"{self.group_column}/{level}/{name}": of_group[name] for name in ("mean", "cv")
            }
        for name, covariate in learned_covariates(self).items():
            out[f"coefficient/{name}"] = covariate.coefficient
        return out

    def record(self, step: int) -> None:
        """Add the present mixing distributions to the trajectories, once for a step."""
        self.record_common(step)
        self.record_groups(step)

    def record_common(self, step: int) -> None:
        """Add the common one and its gradient to the trajectory, once for a step."""
        if not self.trajectory or self.trajectory[-1]["step"] < step:
            self.trajectory.append({"step": step, **self.summary(), **self.gradients})

    def record_groups(self, step: int) -> None:
        """Add those of the groups that are followed to their trajectories, once for a step."""
        for level, law in self._of_groups(list(self.group_trajectories)).items():
            points = self.group_trajectories[level]
            if not points or points[-1]["step"] < step:
                summary = summary_of(self.family, law, self.zero_share)
                points.append({"step": step, **summary})

    def restart(self, step: int) -> None:
        """Begin, or go on at ``step``: forget what the trajectories hold after it."""
        self.steps, self.gradients = step, {}
        last = step if step else -1  # what begins anew begins with its own mixing distribution
        self.trajectory = [point for point in self.trajectory if point["step"] <= last]
        self.group_trajectories = {
            level: [point for point in points if point["step"] <= last]
            for level, points in self.group_trajectories.items()
        }
        self.record(step)

    def learned(self) -> LearnedStrength:
        """Return the mixing distribution and the way to it as a record to save and compare."""
        return record_of(self, self._of_groups(list(self.groups)))

    def restore(self, learned: LearnedStrength, where: str) -> None:
        """Take mixing distributions and trajectories from a record of the same kind of training."""
        require_same_training(self, learned, where)
        location, dispersion = learned.mixing().apart_from_zero[1].log_mean_spread()
        with torch.no_grad():
            self.location.fill_(location)
            if self.dispersion is not None and dispersion is not None:
                self.dispersion.fill_(dispersion)
            self._restore_groups(learned)
            if self.covariates:
                values = [learned.covariates[name].coefficient for name in self.covariates]
                self.coefficient_free.copy_(freed(vector(values), self.coefficient_scale))
        self.steps, self.trajectory = learned.steps, [dict(each) for each in learned.trajectory]
        self.group_trajectories = {
            level: [dict(point) for point in learned.groups[level].trajectory]
            for level in self.group_trajectories
        }

    def _restore_groups(self, learned: LearnedStrength) -> None:
        if not self.groups:
            return
        laws = [
            family_named(self.family)(**each.parameters).log_mean_spread()
            for each in (learned.groups[level] for level in self.groups)
        ]
        shift = vector([law[0] for law in laws]) - self.location
        self.location_free.copy_(freed(shift - self.location_centre, self.location_scale))
        if self.dispersion is not None:
            shift = vector([law[1] for law in laws]) - self.dispersion
            free = freed(shift - self.dispersion_centre, self.dispersion_scale)
            self.dispersion_free.copy_(free)
