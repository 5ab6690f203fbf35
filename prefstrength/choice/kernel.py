r"""The mixed choice probability, written once for every array library.

.. math:: p(x) = E_{\beta \sim F}[\sigma(\beta x)]

is the likelihood of a choice in the analysis and, with :math:`x = \Delta`, the MixDPO loss
:math:`-\log p(\Delta)`. Here it is written over a :class:`Library`, so that JAX
(:mod:`prefstrength.likelihood.mixed`) and torch (:mod:`prefstrength.mixdpo`) evaluate the same
lines.

Every family is reduced to the *lower tail* :math:`q(y) = E[\sigma(-\beta y)]`, y = \|x\|:
for x < 0 it is the answer itself, with full relative accuracy, and for x > 0 the answer is
log1p(-q).

- *Gamma*, *InverseGaussian*: q is the alternating series
  :math:`\sum_{n \ge 1} (-1)^{n+1} L(ny)` in the Laplace transform L. Its terms are moments of
  :math:`e^{-\beta y} \in [0, 1]`, so the acceleration of Cohen, Rodriguez Villegas and Zagier
  [1]_ converges as 5.83^-n, with smooth gradients. What is summed is
  :math:`2q = L(y) + \sum_{n \ge 1} (-1)^{n+1} [L(ny) - L((n+1)y)]`, the differences in closed
  form: near y = 0, where the terms are all alike, nothing cancels in single precision either.
- *LogNormal*: trapezoid rule in z, :math:`\beta = e^{\mu + \sigma z}`, on nodes centred and
  scaled at the peak of the integrand, :math:`z_0 = -W(\sigma^2 y e^\mu)/\sigma` with Lambert's
  W, held out of the gradient. The rule converges as :math:`e^{-\pi^2/(\sigma h)}`, and left of
  the peak the integrand falls the slower the larger sigma is: above a sigma of 2.6 the step is
  halved and the reach doubled, above 5.2 once more. While tracing, when sigma is not known, they
  are those of small sigma.
- *Normal*: where sigma y <= 1 the trapezoid rule; beyond it the utility u ~ Normal(m, s) is
  split at 0 and each half expanded; the terms :math:`E[e^{nu}; u < 0]` are again moments of a
  law on [0, 1] and have a closed form in the scaled complementary error function.
- *FiniteMixture*, *ZeroMass*, *Lapse*: shares of the parts' probabilities, of both tails at
  once, so that the smaller tail keeps its digits and the larger is log1p(-it).

References
----------
.. [1] Cohen, Rodriguez Villegas, Zagier (2000), Convergence acceleration of alternating series,
   Experimental Mathematics 9(1), algorithm 1.
.. [2] arXiv:2601.06180 (MixDPO), whose Lerch form of the Gamma case is the same number.
"""

import math
from typing import Any

from prefstrength.choice.arrays import (
    Array,
    Library,
    log_one_minus_exp,
    log_sigmoid,
    number,
    plain,
)
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.compound import FiniteMixture, Lapse, ZeroMass
from prefstrength.choice.mixing.gamma import Gamma, gamma_lower_tail
from prefstrength.choice.mixing.inverse_gaussian import (
    InverseGaussian,
    inverse_gaussian_lower_tail,
)
from prefstrength.choice.mixing.log_normal import LogNormal, lognormal_lower_tail
from prefstrength.choice.mixing.normal import Normal, normal_lower_tail
from prefstrength.choice.mixing.point_mass import PointMass

__all__ = ["log_probability", "log_tails"]


def log_probability(lib: Library, x: Array, mixing: Mixing) -> Array:
    """Log of the mixed choice probability; see :func:`prefstrength.log_choice_probability`."""
    return log_tails(lib, x, mixing)[0]


def log_tails(lib: Library, x: Array, mixing: Mixing) -> tuple[Array, Array]:
    """Log p(x) and log p(-x) in one evaluation, neither by subtraction from 1 where it is small."""
    if isinstance(mixing, FiniteMixture):
        # Far out the shares of the components hang on differences of large logarithms, of which
        # single precision holds few digits.
        wide, law = lib.double(x), _in_double(lib, mixing)
        parts = [log_tails(lib, wide, part) for part in law.components]
        p, q = _mixed_tails(lib, [number(lib, w, wide) for w in law.shares], parts)
        return lib.like(p, x), lib.like(q, x)
    if isinstance(mixing, ZeroMass | Lapse):
        share = number(lib, mixing.share, x)
        coin = 0.0 * x - math.log(2)
        return _mixed_tails(
            lib, [share, 1 - share], [(coin, coin), log_tails(lib, x, mixing.mixing)]
        )
    xp = lib.xp
    parameters = [number(lib, value, x) for value in mixing.parameters.values()]
    if isinstance(mixing, PointMass):
        u = parameters[0] * x
        return log_sigmoid(lib, u), log_sigmoid(lib, -u)
    # Not abs(x): its gradient at 0 is 0, and ours is E[beta]/2.
    y = xp.where(x < 0, -x, x)
    behind = x < 0
    if isinstance(mixing, Normal):
        # beta x ~ Normal(mu x, sigma |x|); by symmetry take the side on which p <= 1/2.
        mu, sigma = parameters
        mean = mu * x
        behind = mean < 0
        low = normal_lower_tail(lib, xp.where(behind, mean, -mean), sigma * y)
    elif isinstance(mixing, LogNormal):
        low = lognormal_lower_tail(lib, y, *parameters)
    elif isinstance(mixing, Gamma):
        low = gamma_lower_tail(lib, y, *parameters)
    elif isinstance(mixing, InverseGaussian):
        low = inverse_gaussian_lower_tail(lib, y, *parameters)
    else:
        raise TypeError(f"Expected a mixing distribution; got {type(mixing).__name__}.")
    high = log_one_minus_exp(lib, low)
    return xp.where(behind, low, high), xp.where(behind, high, low)


def _in_double(lib: Library, mixing: Mixing) -> Any:
    """The law with parameters in double precision; numbers stay as they are."""
    values = mixing.parameters.items()
    return mixing.with_parameters({k: v if plain(v) else lib.double(v) for k, v in values})


def _mixed_tails(
    lib: Library, shares: list[Array], parts: list[tuple[Array, Array]]
) -> tuple[Array, Array]:
    """Both tails of a mixture, its shares divided by their sum."""
    xp = lib.xp
    total: Array = sum(shares)
    weights = [share / total for share in shares]
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
