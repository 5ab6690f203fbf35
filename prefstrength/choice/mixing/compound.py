r"""Laws made of laws: finite mixtures, people who do not care, choices made at random.

=============== =========================================== ===================================
law             what it says                                choice probability
=============== =========================================== ===================================
FiniteMixture   choosers come in kinds                      :math:`\sum_k w_k p_k(x)`
ZeroMass        a share of choosers has strength 0          :math:`w/2 + (1 - w) p(x)`
Lapse           a share of choices is made at random        :math:`w/2 + (1 - w) p(x)`
=============== =========================================== ===================================

ZeroMass and Lapse give single choices the same probability; repeated choices of one chooser
tell them apart, because a strength belongs to the chooser and a lapse to the choice.

The parameters of the parts appear among the parameters of the whole, under their own names in
ZeroMass and Lapse, numbered from 1 in FiniteMixture, so that gradients reach every one.
"""

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.errors import InputError

__all__ = ["FiniteMixture", "Lapse", "ZeroMass"]

# Halvings that take any bracket to the last bit of a double.
_HALVINGS = 200


def _check_share(law: str, name: str, share: Any, below: bool) -> None:
    if isinstance(share, str):
        raise TypeError(f"{law} expects a number as {name}; got {share!r}.")
    if not isinstance(share, numbers.Real):
        return  # arrays, tensors and traced values are checked by whoever made them
    if not 0 <= float(share) <= 1 or (below and share == 1):
        raise InputError(
            f"{law} expects {name} from 0 to {'below ' if below else ''}1; got {share}. "
            "A share is a part of the whole: 0.05 for 5 %."
        )


def _check_part(law: str, part: Any, allowed: tuple[type[Mixing], ...]) -> None:
    if isinstance(part, type) or not isinstance(part, Mixing):
        raise TypeError(
            f"{law} expects mixing distributions, such as `LogNormal(mu=0, sigma=0.7)`; got "
            f"{part!r}."
        )
    if not isinstance(part, allowed):
        hint = (
            " A lapse belongs to the choice, not to its strength: put it outermost, "
            "Lapse(ZeroMass(...))."
            if isinstance(part, Lapse)
            else ""
        )
        raise InputError(
            f"{law} expects {', '.join(each.__name__ for each in allowed)} as a part; "
            f"got {part.family}.{hint}"
        )


@dataclass(frozen=True, eq=False, repr=False)
class FiniteMixture(Mixing):
    """Choosers of several kinds: each kind has its law and its share.

    Parameters
    ----------
    components : sequence of PointMass, Normal, LogNormal, Gamma or InverseGaussian
        Law of each kind; all known, or none.
    shares : sequence of float, or array, optional
        Share of each kind, adding up to 1. Where they are arrays or tensors nothing is checked,
        and the probability is that of the shares divided by their sum; so are its gradients.

    Notes
    -----
    Parameters are numbered from 1: ``share_1``, ``share_2``, …, ``mu_1``, ``sigma_1``, ….

    Examples
    --------
    >>> from prefstrength.choice.mixing.base import LogNormal
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
                "FiniteMixture expects a sequence of components; got a single law. "
                "Write `components=(law, other)`."
            )
        object.__setattr__(self, "components", tuple(self.components))
        if not self.components:
            raise InputError(
                "FiniteMixture expects at least one component; got none. "
                "Give `components=(LogNormal(mu=0, sigma=0.5), PointMass(value=0))`."
            )
        for part in self.components:
            _check_part("FiniteMixture", part, tuple(MIXINGS.values()))
        if self.shares is not None:
            object.__setattr__(self, "shares", tuple(self.shares))
            if len(self.shares) != len(self.components):
                raise InputError(
                    f"FiniteMixture expects one share for each of {len(self.components)} "
                    f"components; got {len(self.shares)}. Give one for each; they add up to 1."
                )
            for number, share in enumerate(self.shares, 1):
                _check_share("FiniteMixture", f"share_{number}", share, below=False)
            if all(isinstance(share, numbers.Real) for share in self.shares):
                total = math.fsum(self.shares)
                if abs(total - 1) > 1e-6:
                    raise InputError(
                        f"FiniteMixture expects shares that add up to 1; got {total:.6g}. "
                        "Divide them by their sum."
                    )
        object.__setattr__(self, "positive", all(part.positive for part in self.components))
        super().__post_init__()

    @property
    def parameters(self) -> dict[str, Any]:
        shares = self.shares or (None,) * len(self.components)
        out = {f"share_{number}": share for number, share in enumerate(shares, 1)}
        for number, part in enumerate(self.components, 1):
            out |= {f"{name}_{number}": value for name, value in part.parameters.items()}
        return out

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        parts = [
            part.with_parameters({name: values[f"{name}_{number}"] for name in part.parameters})
            for number, part in enumerate(self.components, 1)
        ]
        shares = tuple(values[f"share_{number}"] for number in range(1, len(parts) + 1))
        return type(self)(parts, shares)

    def __repr__(self) -> str:
        parts = ", ".join(map(repr, self.components))
        shares = f", shares=({', '.join(map(_shown, self.shares))})" if self.known else ""
        return f"FiniteMixture(components=({parts}){shares})"

    def _weights(self) -> np.ndarray:
        self._require_known()
        weights = np.array([float(share) for share in self.shares])
        return weights / weights.sum()

    def mean(self) -> float:
        return float(self._weights() @ [part.mean() for part in self.components])

    def sd(self) -> float:
        squares = [part.sd() ** 2 + (part.mean() - self.mean()) ** 2 for part in self.components]
        return math.sqrt(float(self._weights() @ squares))

    def median(self) -> float:
        return float(self.quantile(0.5))

    def _log_moments(self) -> tuple[float, float]:
        weights = self._weights()
        means, variances = np.array([part._log_moments() for part in self.components]).T
        mean = float(weights @ means)
        return mean, float(weights @ (variances + (means - mean) ** 2))

    def cdf(self, strength: Any) -> np.ndarray:
        weights = self._weights()
        parts = [part.cdf(strength) for part in self.components]
        return np.asarray(np.tensordot(weights, np.stack(parts), axes=1))

    def quantile(self, q: Any) -> np.ndarray:
        self._require_known()
        q = np.asarray(q, dtype=float)
        each = np.stack([part.quantile(q) for part in self.components])
        low, high = each.min(axis=0), each.max(axis=0)  # the quantile lies between the parts'
        for _ in range(_HALVINGS):
            middle = low / 2 + high / 2
            enough = self.cdf(middle) >= q
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return np.asarray(high)

    def pdf(self, strength: Any) -> np.ndarray:
        weights = self._weights()
        if any(isinstance(part, PointMass) for part in self.components):
            raise TypeError("A FiniteMixture with a PointMass has no density.")
        return np.asarray(
            sum(w * p.pdf(strength) for w, p in zip(weights, self.components, strict=True))
        )

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        kind = rng.choice(len(self.components), p=self._weights(), size=size)
        draws = np.stack([part.sample(rng, size) for part in self.components])
        return np.take_along_axis(draws, kind[None], axis=0)[0]


@dataclass(frozen=True, eq=False, repr=False)
class ZeroMass(Mixing):
    """A share of choosers with strength 0, who do not care; the others follow a law.

    Parameters
    ----------
    mixing : PointMass, Normal, LogNormal, Gamma, InverseGaussian or FiniteMixture
        Law of the strength of those who care.
    share : float, optional
        Share of those who do not, from 0 to below 1.

    Notes
    -----
    The share is the parameter ``zero_share``. There is no density at 0, hence no ``pdf``, and
    no logarithm of strength, hence ``sd_log`` is nan.

    Examples
    --------
    >>> from prefstrength.choice.mixing.base import LogNormal
    >>> law = ZeroMass(LogNormal(mu=0.0, sigma=0.7), share=0.2)
    >>> list(law.parameters), law.quantile([0.1, 0.6]).tolist()
    (['zero_share', 'mu', 'sigma'], [0.0, 1.0])
    """

    mixing: Mixing
    share: Any = None
    positive: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_part("ZeroMass", self.mixing, (*MIXINGS.values(), FiniteMixture))
        _check_share("ZeroMass", "share", self.share, below=True)
        super().__post_init__()

    @property
    def parameters(self) -> dict[str, Any]:
        return {"zero_share": self.share, **self.mixing.parameters}

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        inner = {name: value for name, value in values.items() if name != "zero_share"}
        return type(self)(self.mixing.with_parameters(inner), values["zero_share"])

    def __repr__(self) -> str:
        share = f", share={_shown(self.share)}" if self.known else ""
        return f"ZeroMass({self.mixing!r}{share})"

    def _share(self) -> float:
        self._require_known()
        return float(self.share)

    def mean(self) -> float:
        return (1 - self._share()) * self.mixing.mean()

    def sd(self) -> float:
        share, inner = self._share(), self.mixing
        return math.sqrt((1 - share) * (inner.sd() ** 2 + share * inner.mean() ** 2))

    def median(self) -> float:
        return float(self.quantile(0.5))

    def _log_moments(self) -> tuple[float, float]:
        return math.nan, math.nan

    def cdf(self, strength: Any) -> np.ndarray:
        share = self._share()
        return np.asarray(
            share * (np.asarray(strength) >= 0) + (1 - share) * self.mixing.cdf(strength)
        )

    def quantile(self, q: Any) -> np.ndarray:
        share = self._share()
        q = np.asarray(q, dtype=float)
        below = (1 - share) * float(self.mixing.cdf(0.0))  # of the law's own mass at most 0
        left, right = q <= below, q > below + share
        inner = np.where(left, q, np.where(right, q - share, below)) / (1 - share)
        values = self.mixing.quantile(np.minimum(inner, 1.0))
        return np.where(left & (values < 0) | right, values, 0.0)

    def pdf(self, strength: Any) -> np.ndarray:
        self._require_known()
        raise TypeError("ZeroMass has no density: a share of the strengths is exactly 0.")

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        cares = rng.random(size) >= self._share()
        return self.mixing.sample(rng, size) * cares


@dataclass(frozen=True, eq=False, repr=False)
class Lapse(Mixing):
    """A share of choices made at random, whatever the strength.

    Parameters
    ----------
    mixing : Mixing
        Law of the strength, known or to be inferred.
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

    mixing: Mixing
    share: Any = None

    def __post_init__(self) -> None:
        _check_part("Lapse", self.mixing, (*MIXINGS.values(), FiniteMixture, ZeroMass))
        _check_share("Lapse", "share", self.share, below=True)
        object.__setattr__(self, "positive", self.mixing.positive)
        super().__post_init__()

    @property
    def parameters(self) -> dict[str, Any]:
        return {"lapse_share": self.share, **self.mixing.parameters}

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        inner = {name: value for name, value in values.items() if name != "lapse_share"}
        return type(self)(self.mixing.with_parameters(inner), values["lapse_share"])

    def __repr__(self) -> str:
        share = f", share={_shown(self.share)}" if self.known else ""
        return f"Lapse({self.mixing!r}{share})"

    def mean(self) -> float:
        return self.mixing.mean()

    def sd(self) -> float:
        return self.mixing.sd()

    def median(self) -> float:
        return self.mixing.median()

    def sd_log(self) -> float:
        return self.mixing.sd_log()

    def _log_moments(self) -> tuple[float, float]:
        return self.mixing._log_moments()

    def cdf(self, strength: Any) -> np.ndarray:
        return self.mixing.cdf(strength)

    def quantile(self, q: Any) -> np.ndarray:
        return self.mixing.quantile(q)

    def pdf(self, strength: Any) -> np.ndarray:
        return self.mixing.pdf(strength)

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        return self.mixing.sample(rng, size)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, numbers.Real) else "<array>"
