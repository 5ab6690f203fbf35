"""Shifts of groups and covariates: their priors, and how they are held to them."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from prefstrength._shared.words import listed, warn
from prefstrength.choice.learned_parts import (
    ShiftPrior,
)
from prefstrength.choice.mixing.families import family_named
from prefstrength.choice.strength_prior import StrengthPrior
from prefstrength.errors import InputError

__all__ = ["shift_priors"]

# Prior sd from which on a shift is learned in log units; below, in units of its sd over this.
_WIDE = 0.1


def shift_priors(
    levels: Sequence[str],
    column: str,
    prior: StrengthPrior | None,
    family: str,
    location_scale: float,
    dispersion_scale: float,
) -> dict[str, ShiftPrior]:
    """Priors of what sets the levels of a column apart, from the analysis where it knows them.

    Parameters
    ----------
    levels : sequence of str
        Of ``column``.
    column : str
        Where ``prior.groups`` has ``<column>=<level>``, the shifts of that level are centred on
        the log of its ``relative_mean`` and on its ``dispersion`` less that of all, and the
        latter has the sd ``dispersion_sd``.
    prior : StrengthPrior or None
    family : str
        Of the mixing distribution; PointMass has no dispersion.
    location_scale, dispersion_scale : float
        Prior sds of the shifts, the second where the prior says nothing of a level.

    Returns
    -------
    dict
        Level to :class:`~prefstrength.choice.learned_parts.ShiftPrior`.

    Warns
    -----
    DataWarning
        If the prior knows some of the levels alone.

    Examples
    --------
    >>> shift_priors(["east", "west"], "region", None, "Gamma", 0.3, 0.2)["west"]
    ShiftPrior(location=0.0, location_scale=0.3, dispersion=0.0, dispersion_scale=0.2)
    """
    common = (0.0, dispersion_scale) if family_named(family).varies else (None, None)
    known = prior.groups if prior is not None else {}
    out, lacking = {}, []
    for level in levels:
        group = known.get(f"{column}={level}")
        if group is None or prior is None:
            lacking.append(level)
            out[level] = ShiftPrior(0.0, location_scale, *common)
            continue
        relative = group.get("relative_mean", 1.0)
        if not relative > 0:
            raise InputError(
                f"Expected a positive relative_mean of group {column}={level} in the prior; got "
                f"{relative}. Higher rewards are not preferred there: leave the group's pairs out."
            )
        own = common
        if prior.dispersion is not None and group.get("dispersion") is not None:
            centre = group["dispersion"] - prior.dispersion
            own = centre, group.get("dispersion_sd", dispersion_scale)
        out[level] = ShiftPrior(math.log(relative), location_scale, *own)
    if 0 < len(lacking) < len(levels):
        warn(
            f"The strength prior knows nothing of {len(lacking)} of {len(levels)} levels of "
            f"{column} ({listed(lacking)}); they start at the common one.",
        )
    return out


def parameter(value: float | list[float], *, learned: bool) -> nn.Parameter:
    return nn.Parameter(torch.tensor(value, dtype=torch.float64), requires_grad=learned)


def vector(values: Sequence[float | None]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def unit(scale: torch.Tensor) -> torch.Tensor:
    """Prior sd of what is learned, where that of the shift is ``scale``."""
    return scale.clamp(min=_WIDE)


def held_values(free: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Shifts from what is learned of them."""
    return free * (scale / unit(scale))


def freed(shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return shift * (unit(scale) / scale)


def beside(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """On the device of ``like``, in double precision where it has it (Apple's GPUs have not)."""
    dtype = torch.float32 if like.device.type == "mps" else torch.float64
    return values.to(device=like.device, dtype=dtype)
