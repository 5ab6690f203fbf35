"""Finite mixtures: choosers of several kinds, each with its mixing distribution and share."""

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import elementwise

from prefstrength.choice.arrays import NUMPY, Array, Library
from prefstrength.choice.mixing.base import Mixing, as_text
from prefstrength.choice.mixing.compound import (
    Compound,
    check_part,
    check_share,
    log_share_sum,
    mixed_tails,
)
from prefstrength.choice.mixing.kinds import Kinds
from prefstrength.errors import InputError

__all__ = ["FiniteMixture"]

# Shares add up to 1 but for rounding.
_ROUNDING = 1e-12
# Log density that counts as none; in single precision its difference from another is a number.
_NOTHING = -1e30


@dataclass(frozen=True, eq=False, repr=False)
class FiniteMixture(Compound):
    """Choosers of several kinds: each kind has its mixing distribution and its share.

    Parameters
    ----------
    components : sequence of PointMass, Normal, LogNormal, Gamma or InverseGaussian
        Mixing distribution of each kind; all known, or none.
    shares : sequence of float, or array, optional
        Share of each kind, adding up to 1. Where they are arrays or tensors nothing is checked,
        and the probability is that of the shares divided by their sum; so are its gradients.

    Notes
    -----
    Parameters are numbered from 1: ``share_1``, ``share_2``, …, ``mu_1``, ``sigma_1``, ….

    Examples
    --------
    >>> from prefstrength import LogNormal, PointMass
    >>> keen = LogNormal(mu=0.0, sigma=0.5)
    >>> law = FiniteMixture(components=(keen, PointMass(value=0.1)), shares=(0.8, 0.2))
    >>> list(law.parameters)
    ['share_1', 'share_2', 'mu_1', 'sigma_1', 'value_2']
    >>> round(law.mean(), 4)
    0.9265
    """

    components: Sequence[Mixing] = ()
    shares: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.components, Mixing):
            raise TypeError(
                "FiniteMixture expects a sequence of components; got a single one. "
                "Write `components=(one, other)`."
            )
        object.__setattr__(self, "components", tuple(self.components))
        if not self.components:
            raise InputError(
                "FiniteMixture expects at least one component; got none. "
                "Give `components=(LogNormal(mu=0, sigma=0.5), PointMass(value=0))`."
            )
        for part in self.components:
            check_part("FiniteMixture", part, ())
        if self.shares is not None:
            object.__setattr__(self, "shares", tuple(self.shares))
            if len(self.shares) != len(self.components):
                raise InputError(
                    f"FiniteMixture expects one share for each of {len(self.components)} "
                    f"components; got {len(self.shares)}. Give one for each; they add up to 1."
                )
            for place, share in enumerate(self.shares, 1):
                check_share("FiniteMixture", f"share_{place}", share, below=False)
            if all(isinstance(share, numbers.Real) for share in self.shares):
                total = math.fsum(self.shares)
                if abs(total - 1) > 1e-6:
                    raise InputError(
                        f"FiniteMixture expects shares that add up to 1; got {total:.6g}. "
                        "Divide them by their sum."
                    )
        for what in ("positive", "has_density"):
            object.__setattr__(self, what, all(getattr(part, what) for part in self.components))
        super().__post_init__()

    @classmethod
    def of_parts(cls, parts: Sequence[Mixing]) -> Self:
        return cls(parts)

    @property
    def parameters(self) -> dict[str, Any]:
        shares = self.shares or (None,) * len(self.components)
        out = {f"share_{place}": share for place, share in enumerate(shares, 1)}
        for place, part in enumerate(self.components, 1):
            out |= {f"{name}_{place}": value for name, value in part.parameters.items()}
        return out

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        parts = [
            part.with_parameters({name: values[f"{name}_{place}"] for name in part.parameters})
            for place, part in enumerate(self.components, 1)
        ]
        shares = tuple(values[f"share_{place}"] for place in range(1, len(parts) + 1))
        return type(self)(parts, shares)

    def __repr__(self) -> str:
        parts = ", ".join(map(repr, self.components))
        shares = f", shares=({', '.join(map(as_text, self.shares))})" if self.known else ""
        return f"FiniteMixture(components=({parts}){shares})"

    @property
    def kinds(self) -> Kinds:
        parts = [part.kinds for part in self.components]
        families = tuple(family for part in parts for family in part.families)
        return Kinds(families, any(part.zero for part in parts))

    @property
    def expression(self) -> str:
        return f"{self.family}({', '.join(part.expression for part in self.components)})"

    @property
    def weights(self) -> list[Any]:
        """Shares divided by their sum."""
        total = sum(self.shares)
        return [share / total for share in self.shares]

    def _mean(self, values: Sequence[Any]) -> Any:
        return sum(w * value for w, value in zip(self.weights, values, strict=True))

    def log_tails(self, lib: Library, x: Array) -> tuple[Array, Array]:
        # Far out the shares of the components hang on differences of large logarithms, of which
        # single precision holds few digits.
        wide, law = lib.double(x), self.mapped(lib.double)
        parts = [part.log_tails(lib, wide) for part in law.components]
        p, q = mixed_tails(lib, law.weights, parts)
        return lib.like(p, x), lib.like(q, x)

    def log_average(
        self, lib: Library, log_of: Callable[[Array], Array], size: Array, at_random: Array
    ) -> Array:
        parts = [part.log_average(lib, log_of, size, at_random) for part in self.components]
        return log_share_sum(lib, self.weights, parts)

    def log_density(self, lib: Library, strength: Array) -> Array:
        if not self.has_density:
            raise TypeError("A FiniteMixture with a PointMass has no density.")
        xp = lib.xp
        parts = [part.log_density(lib, strength) for part in self.components]
        parts = [xp.where(part > _NOTHING, part, _NOTHING) for part in parts]
        total = log_share_sum(lib, [w + 0.0 * parts[0] for w in self.weights], parts)
        return xp.where(total > _NOTHING / 2, total, -math.inf)

    def distribution(self, lib: Library, strength: Array) -> Array:
        return self._mean([part.distribution(lib, strength) for part in self.components])

    def moments(self, lib: Library) -> tuple[Array, Array]:
        means, sds = zip(*(part.moments(lib) for part in self.components), strict=True)
        mean = self._mean(means)
        squares = [sd**2 + (own - mean) ** 2 for own, sd in zip(means, sds, strict=True)]
        return mean, lib.xp.sqrt(self._mean(squares))

    def log_moments(self, lib: Library) -> tuple[Array, Array]:
        means, variances = zip(*(part.log_moments(lib) for part in self.components), strict=True)
        mean = self._mean(means)
        squares = [own + (each - mean) ** 2 for each, own in zip(means, variances, strict=True)]
        return mean, self._mean(squares)

    def least(self, q: np.ndarray) -> np.ndarray:
        parts = np.broadcast_arrays(q, *(part.quantile(q) for part in self.components))[1:]
        low, high = np.minimum.reduce(parts), np.maximum.reduce(parts)  # it lies between
        for part in self.components:
            if not part.varies:  # a strength with a probability of its own
                at, enough = np.asarray(part.median()), q - _ROUNDING
                before = self.distribution(NUMPY, np.nextafter(at, -math.inf))
                here = (before < enough) & (enough <= self.distribution(NUMPY, at))
                low, high = np.where(here, at, low), np.where(here, at, high)
        ends = np.isinf(low) | np.isinf(high)  # of all that there is: q is 0 or 1
        far = np.where(np.isinf(low), low, high)
        low, high = np.where(ends, 0.0, low), np.where(ends, 0.0, high)
        names = list(self.parameters)

        def above(strength: np.ndarray, q: np.ndarray, *values: np.ndarray) -> np.ndarray:
            law = self.with_parameters(dict(zip(names, values, strict=True)))
            return np.asarray(law.distribution(NUMPY, strength) - q)

        found = elementwise.find_root(
            above, (low, high), args=(q, *map(np.asarray, self.parameters.values()))
        )
        # Without a change of sign it is at one end: there are atoms there, or the parts agree.
        at_end = np.where(found.f_bracket[0] >= 0, low, high)
        return np.where(ends, far, np.where(found.success, found.x, at_end))

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        self.require_known()
        kind = rng.choice(len(self.components), p=self.weights, size=size)
        draws = np.stack([part.sample(rng, size) for part in self.components])
        return np.take_along_axis(draws, kind[None], axis=0)[0]
