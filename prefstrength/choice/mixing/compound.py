r"""Mixing distributions made of others: finite mixtures, people who do not care, random choices.

=============== =========================================== ===================================
made            what it says                                choice probability
=============== =========================================== ===================================
FiniteMixture   choosers come in kinds                      :math:`\sum_k w_k p_k(x)`
ZeroMass        a share of choosers has strength 0          :math:`w/2 + (1 - w) p(x)`
Lapse           a share of choices is made at random        :math:`w/2 + (1 - w) p(x)`
=============== =========================================== ===================================

ZeroMass and Lapse give single choices the same probability; repeated choices of one chooser
tell them apart, because a strength belongs to the chooser and a lapse to the choice.

The parameters of the parts appear among the parameters of the whole, under their own names in
ZeroMass and Lapse, numbered from 1 in FiniteMixture, so that gradients reach every one. What
two numbers cannot say, location and dispersion, they do not have; quantiles are NumPy's alone.
"""

import math
import numbers
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from scipy import special
from scipy.optimize import elementwise

from prefstrength.choice.arrays import NUMPY, Array, Library, log_one_minus_exp
from prefstrength.choice.mixing.base import Mixing, as_text
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.errors import InputError

__all__ = ["FiniteMixture", "Lapse", "ZeroMass"]

# Shares add up to 1 but for rounding.
_ROUNDING = 1e-12
# Log density that counts as none; in single precision its difference from another is a number.
_NOTHING = -1e30


class Compound(Mixing):
    """What mixing distributions made of others share, and what they lack."""

    def lower_tail(self, lib: Library, y: Array) -> Array:
        return self.log_tails(lib, y)[1]

    @classmethod
    def from_location_dispersion(cls, location: Any, dispersion: Any) -> Self:
        raise _no_location(cls)

    def location_dispersion(self) -> tuple[Any, Any]:
        raise _no_location(type(self))

    def log_mean_spread(self) -> tuple[Any, Any]:
        raise _no_location(type(self))

    @classmethod
    def standard(cls, lib: Library, z: Array, dispersion: Array) -> Array:
        raise _no_location(cls)

    def at(self, lib: Library, z: Array) -> Array:
        """By NumPy: quantiles of what is made of others are found, not written down."""
        if lib is not NUMPY:
            raise InputError(
                f"Expected a family of mixing distributions ({', '.join(MIXINGS)}), which has "
                f"quantiles and draws with gradients; got {self.family}, which has them in NumPy "
                "alone. Take its main part, or the exact estimator."
            )
        return self.least(special.ndtr(z))

    def quantile(self, q: Any) -> Any:
        return self._asked(lambda law, lib, q: law.least(q) if lib is NUMPY else law.at(lib, q), q)

    @abstractmethod
    def least(self, q: np.ndarray) -> np.ndarray:
        """The least strengths of enough probability, which are the quantiles."""


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
            _check_part("FiniteMixture", part, ())
        if self.shares is not None:
            object.__setattr__(self, "shares", tuple(self.shares))
            if len(self.shares) != len(self.components):
                raise InputError(
                    f"FiniteMixture expects one share for each of {len(self.components)} "
                    f"components; got {len(self.shares)}. Give one for each; they add up to 1."
                )
            for place, share in enumerate(self.shares, 1):
                _check_share("FiniteMixture", f"share_{place}", share, below=False)
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
        p, q = _mixed_tails(lib, law.weights, parts)
        return lib.like(p, x), lib.like(q, x)

    def log_density(self, lib: Library, strength: Array) -> Array:
        if not self.has_density:
            raise TypeError("A FiniteMixture with a PointMass has no density.")
        xp = lib.xp
        parts = [part.log_density(lib, strength) for part in self.components]
        parts = [xp.where(part > _NOTHING, part, _NOTHING) for part in parts]
        total = _log_share_sum(lib, [w + 0.0 * parts[0] for w in self.weights], parts)
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


@dataclass(frozen=True, eq=False, repr=False)
class WithShare(Compound):
    """A mixing distribution beside a share of choosers, or of choices, that it does not rule."""

    mixing: Mixing
    share: Any = None
    #: Name of the share among the parameters, and what else than a family the rest may be.
    share_name: ClassVar[str]
    allowed: ClassVar[tuple[type[Mixing], ...]]

    def __post_init__(self) -> None:
        _check_part(self.family, self.mixing, self.allowed)
        _check_share(self.family, "share", self.share, below=True)
        super().__post_init__()

    @property
    def parameters(self) -> dict[str, Any]:
        return {self.share_name: self.share, **self.mixing.parameters}

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        inner = {name: value for name, value in values.items() if name != self.share_name}
        return type(self)(self.mixing.with_parameters(inner), values[self.share_name])

    def __repr__(self) -> str:
        share = f", share={as_text(self.share)}" if self.known else ""
        return f"{self.family}({self.mixing!r}{share})"

    def log_tails(self, lib: Library, x: Array) -> tuple[Array, Array]:
        coin = 0.0 * x - math.log(2)
        shares = [self.share, 1 - self.share]
        return _mixed_tails(lib, shares, [(coin, coin), self.mixing.log_tails(lib, x)])


@dataclass(frozen=True, eq=False, repr=False)
class ZeroMass(WithShare):
    """A share of choosers with strength 0, who do not care; the others differ in strength.

    Parameters
    ----------
    mixing : PointMass, Normal, LogNormal, Gamma, InverseGaussian or FiniteMixture
        Mixing distribution of those who care.
    share : float, optional
        Share of those who do not, from 0 to below 1.

    Notes
    -----
    The share is the parameter ``zero_share``. There is no density at 0, hence no ``pdf``, and
    no logarithm of strength, hence ``sd_log`` is nan.

    Examples
    --------
    >>> from prefstrength import LogNormal
    >>> law = ZeroMass(LogNormal(mu=0.0, sigma=0.7), share=0.2)
    >>> list(law.parameters), law.quantile([0.1, 0.6]).tolist()
    (['zero_share', 'mu', 'sigma'], [0.0, 1.0])
    """

    positive: ClassVar[bool] = False
    has_density: ClassVar[bool] = False
    share_name: ClassVar[str] = "zero_share"
    allowed: ClassVar[tuple[type[Mixing], ...]] = (FiniteMixture,)

    def log_density(self, lib: Library, strength: Array) -> Array:
        raise TypeError("ZeroMass has no density: a share of the strengths is exactly 0.")

    def distribution(self, lib: Library, strength: Array) -> Array:
        at_zero = lib.xp.where(strength >= 0, self.share, 0.0 * self.share)
        return at_zero + (1 - self.share) * self.mixing.distribution(lib, strength)

    def moments(self, lib: Library) -> tuple[Array, Array]:
        mean, sd = self.mixing.moments(lib)
        square = (1 - self.share) * (sd**2 + self.share * mean**2)
        return (1 - self.share) * mean, lib.xp.sqrt(square)

    def log_moments(self, lib: Library) -> tuple[Array, Array]:
        nothing = math.nan * self.share
        return nothing, nothing

    def least(self, q: np.ndarray) -> np.ndarray:
        below = (1 - self.share) * self.mixing.cdf(0.0)  # of those who care, at most 0
        left, right = q <= below, q > below + self.share
        inner = np.where(left, q, np.where(right, q - self.share, below)) / (1 - self.share)
        values = self.mixing.quantile(np.minimum(inner, 1.0))
        return np.where(left & (values < 0) | right, values, 0.0)

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        self.require_known()
        cares = rng.random(size) >= self.share
        return self.mixing.sample(rng, size) * cares


@dataclass(frozen=True, eq=False, repr=False)
class Lapse(WithShare):
    """A share of choices made at random, whatever the strength.

    Parameters
    ----------
    mixing : Mixing
        Mixing distribution of the strength, known or to be inferred.
    share : float, optional
        Share of choices made at random, from 0 to below 1.

    Notes
    -----
    The share is the parameter ``lapse_share``. No probability falls below half of it, so that a
    careless choice against a large difference does not pass for a weak strength. Mean, sd,
    quantiles, density and draws are those of the strength, which a lapse does not change.

    Examples
    --------
    >>> from prefstrength import LogNormal, log_choice_probability
    >>> law = Lapse(LogNormal(mu=0.0, sigma=0.7), share=0.1)
    >>> list(law.parameters), round(law.median(), 12)
    (['lapse_share', 'mu', 'sigma'], 1.0)
    >>> import math
    >>> round(math.exp(log_choice_probability(-1000.0, law)), 4)
    0.05
    """

    share_name: ClassVar[str] = "lapse_share"
    allowed: ClassVar[tuple[type[Mixing], ...]] = (FiniteMixture, ZeroMass)

    def __post_init__(self) -> None:
        super().__post_init__()
        for what in ("positive", "varies", "has_density"):
            object.__setattr__(self, what, getattr(self.mixing, what))

    @property
    def lapse_share(self) -> Any:
        return self.share

    def log_density(self, lib: Library, strength: Array) -> Array:
        return self.mixing.log_density(lib, strength)

    def distribution(self, lib: Library, strength: Array) -> Array:
        return self.mixing.distribution(lib, strength)

    def moments(self, lib: Library) -> tuple[Array, Array]:
        return self.mixing.moments(lib)

    def log_moments(self, lib: Library) -> tuple[Array, Array]:
        return self.mixing.log_moments(lib)

    def least(self, q: np.ndarray) -> np.ndarray:
        return np.asarray(self.mixing.quantile(q))

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        self.require_known()
        return self.mixing.sample(rng, size)


# -- parts and shares ----------------------------------------------------------------------------


def _no_location(kind: type[Mixing]) -> InputError:
    return InputError(
        f"Expected a family with a location and a dispersion ({', '.join(MIXINGS)}); got "
        f"{kind.__name__}, a mixing distribution made of others. Take its main part alone."
    )


def _check_share(kind: str, name: str, share: Any, below: bool) -> None:
    if isinstance(share, str):
        raise TypeError(f"{kind} expects a number as {name}; got {share!r}.")
    if not isinstance(share, numbers.Real):
        return  # arrays, tensors and traced values are checked by whoever made them
    if not 0 <= float(share) <= 1 or (below and share == 1):
        raise InputError(
            f"{kind} expects {name} from 0 to {'below ' if below else ''}1; got {share}. "
            "A share is a part of the whole: 0.05 for 5 %."
        )


def _check_part(kind: str, part: Any, allowed: tuple[type[Mixing], ...]) -> None:
    if isinstance(part, type) or not isinstance(part, Mixing):
        raise TypeError(
            f"{kind} expects mixing distributions, such as `LogNormal(mu=0, sigma=0.7)`; "
            f"got {part!r}."
        )
    if isinstance(part, Compound) and not isinstance(part, allowed):
        hint = (
            " A lapse belongs to the choice, not to its strength: put it outermost, "
            "Lapse(ZeroMass(...))."
            if isinstance(part, Lapse)
            else ""
        )
        raise InputError(
            f"{kind} expects {', '.join([*MIXINGS, *(each.__name__ for each in allowed)])} as a "
            f"part; got {part.family}.{hint}"
        )


def _mixed_tails(
    lib: Library, weights: list[Array], parts: list[tuple[Array, Array]]
) -> tuple[Array, Array]:
    """Both tails of a mixture, each a sum so that the smaller keeps its digits."""
    xp = lib.xp
    p, q = (_log_share_sum(lib, weights, [part[side] for part in parts]) for side in (0, 1))
    # Each branch sees only arguments it can digest, so that no NaN enters the gradient.
    half = -math.log(2) + 0.0 * p
    ahead, behind = q < half, p < half
    return (
        xp.where(ahead, log_one_minus_exp(lib, xp.where(ahead, q, half)), p),
        xp.where(behind, log_one_minus_exp(lib, xp.where(behind, p, half)), q),
    )


def _log_share_sum(lib: Library, weights: list[Array], logs: list[Array]) -> Array:
    """Log of sum_k w_k e^{l_k}; a weight may be 0."""
    xp = lib.xp
    top, total = None, 0.0
    for weight, value in zip(weights, logs, strict=True):
        # The largest term is taken out, not the largest part: its weight may be 0.
        counts = weight > 1e-37
        size = lib.hold(xp.where(counts, value + xp.log(xp.where(counts, weight, 1.0)), -1e30))
        top = size if top is None else xp.maximum(top, size)
    for weight, value in zip(weights, logs, strict=True):
        # What has no weight may be larger by any factor: e^80 is as much as its score can show.
        beyond = (weight <= 1e-37) & (value - top > 80.0)
        total = total + weight * xp.exp(xp.where(beyond, 80.0, value - top))
    return top + xp.log(total)
