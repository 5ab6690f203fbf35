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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from scipy import special

from prefstrength.choice.arrays import NUMPY, Array, Library, log_one_minus_exp
from prefstrength.choice.mixing.base import Mixing, as_text
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.errors import InputError

__all__ = ["Compound", "WithShare", "check_part", "check_share", "log_share_sum", "mixed_tails"]

# Shares add up to 1 but for rounding.
_ROUNDING = 1e-12
# Log density that counts as none; in single precision its difference from another is a number.
_NOTHING = -1e30


class Compound(Mixing):
    """What mixing distributions made of others share, and what they lack."""

    #: Advice where one that goes around all others is made a part of one.
    outermost: ClassVar[str] = ""

    @classmethod
    @abstractmethod
    def of_parts(cls, parts: Sequence[Mixing]) -> Self:
        """Make one to be inferred."""

    def lower_tail(self, lib: Library, y: Array) -> Array:
        return self.log_tails(lib, y)[1]

    @classmethod
    def from_location_dispersion(cls, location: Any, dispersion: Any) -> Self:
        raise no_location(cls)

    def location_dispersion(self) -> tuple[Any, Any]:
        raise no_location(type(self))

    def log_mean_spread(self) -> tuple[Any, Any]:
        raise no_location(type(self))

    @classmethod
    def standard(cls, lib: Library, z: Array, dispersion: Array) -> Array:
        raise no_location(cls)

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
class WithShare(Compound):
    """A mixing distribution beside a share of choosers, or of choices, that it does not rule."""

    mixing: Mixing
    share: Any = None
    #: Name of the share among the parameters, and what else than a family the rest may be.
    share_name: ClassVar[str]
    allowed: ClassVar[tuple[type[Mixing], ...]]

    def __post_init__(self) -> None:
        check_part(self.family, self.mixing, self.allowed)
        check_share(self.family, "share", self.share, below=True)
        super().__post_init__()

    @classmethod
    def of_parts(cls, parts: Sequence[Mixing]) -> Self:
        return cls(*parts)

    @property
    def expression(self) -> str:
        return f"{self.family}({self.mixing.expression})"

    @property
    def parameters(self) -> dict[str, Any]:
        return {self.share_name: self.share, **self.mixing.parameters}

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        inner = {name: value for name, value in values.items() if name != self.share_name}
        return type(self)(self.mixing.with_parameters(inner), values[self.share_name])

    def __repr__(self) -> str:
        share = f", share={as_text(self.share)}" if self.known else ""
        return f"{self.family}({self.mixing!r}{share})"

    def log_average(
        self, lib: Library, log_of: Callable[[Array], Array], size: Array, at_random: Array
    ) -> Array:
        others = self.mixing.log_average(lib, log_of, size, at_random)
        alone = self.alone(log_of, at_random) + 0.0 * others
        return log_share_sum(lib, [self.share, 1 - self.share], [alone, others])

    @abstractmethod
    def alone(self, log_of: Callable[[Array], Array], at_random: Array) -> Array:
        """Log-likelihood of an answer of the share."""

    def log_tails(self, lib: Library, x: Array) -> tuple[Array, Array]:
        coin = 0.0 * x - math.log(2)
        shares = [self.share, 1 - self.share]
        return mixed_tails(lib, shares, [(coin, coin), self.mixing.log_tails(lib, x)])


# -- parts and shares ----------------------------------------------------------------------------


def no_location(kind: type[Mixing]) -> InputError:
    return InputError(
        f"Expected a family with a location and a dispersion ({', '.join(MIXINGS)}); got "
        f"{kind.__name__}, a mixing distribution made of others. Take its main part alone."
    )


def check_share(kind: str, name: str, share: Any, below: bool) -> None:
    """Refuse a share that is no part of the whole."""
    if isinstance(share, str):
        raise TypeError(f"{kind} expects a number as {name}; got {share!r}.")
    if not isinstance(share, numbers.Real):
        return  # arrays, tensors and traced values are checked by whoever made them
    if not 0 <= float(share) <= 1 or (below and share == 1):
        raise InputError(
            f"{kind} expects {name} from 0 to {'below ' if below else ''}1; got {share}. "
            "A share is a part of the whole: 0.05 for 5 %."
        )


def check_part(kind: str, part: Any, allowed: tuple[type[Mixing], ...]) -> None:
    """Refuse what cannot be a part of that kind."""
    if isinstance(part, type) or not isinstance(part, Mixing):
        raise TypeError(
            f"{kind} expects mixing distributions, such as `LogNormal(mu=0, sigma=0.7)`; "
            f"got {part!r}."
        )
    if isinstance(part, Compound) and not isinstance(part, allowed):
        raise InputError(
            f"{kind} expects {', '.join([*MIXINGS, *(each.__name__ for each in allowed)])} as a "
            f"part; got {part.family}.{part.outermost}"
        )


def mixed_tails(
    lib: Library, weights: list[Array], parts: list[tuple[Array, Array]]
) -> tuple[Array, Array]:
    """Both tails of a mixture, each a sum so that the smaller keeps its digits."""
    xp = lib.xp
    p, q = (log_share_sum(lib, weights, [part[side] for part in parts]) for side in (0, 1))
    # Each branch sees only arguments it can digest, so that no NaN enters the gradient.
    half = -math.log(2) + 0.0 * p
    ahead, behind = q < half, p < half
    return (
        xp.where(ahead, log_one_minus_exp(lib, xp.where(ahead, q, half)), p),
        xp.where(behind, log_one_minus_exp(lib, xp.where(behind, p, half)), q),
    )


def log_share_sum(lib: Library, weights: list[Array], logs: list[Array]) -> Array:
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
