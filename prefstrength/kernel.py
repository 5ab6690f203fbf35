r"""The mixed choice probability, written once for every array library.

.. math:: p(x) = E_{\beta \sim F}[\sigma(\beta x)]

is the likelihood of a choice in the analysis and, with :math:`x = \Delta`, the MixDPO loss
:math:`-\log p(\Delta)`. Here it is written over a :class:`Library`, so that JAX
(:mod:`prefstrength.mixed`) and torch (:mod:`prefstrength.mixdpo`) evaluate the same lines.

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
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import special

from prefstrength.compound import FiniteMixture, Lapse, ZeroMass
from prefstrength.mixing import Gamma, InverseGaussian, LogNormal, Mixing, Normal, PointMass

__all__ = ["Library", "log_probability", "log_tails"]

Array = Any


@dataclass(frozen=True)
class Library:
    """The few things in which array libraries differ.

    Parameters
    ----------
    xp : module
        ``jax.numpy`` or ``torch``.
    hold : callable
        Returns its argument cut out of the gradient.
    constant : callable
        ``constant(values, like)``: numbers as an array of ``like``'s dtype and device.
    single : callable
        Whether an array is in single precision, for which fewer nodes are enough.
    largest : callable
        Largest value of an array, or ``None`` where it is not known while tracing.
    double : callable
        An array in double precision, or as it is where there is none.
    like : callable
        ``like(values, other)``: an array in the precision of another.
    """

    xp: Any
    hold: Callable[[Array], Array]
    constant: Callable[[Any, Array], Array]
    single: Callable[[Array], bool]
    largest: Callable[[Array], float | None]
    double: Callable[[Array], Array]
    like: Callable[[Array, Array], Array]


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
        p, q = _mixed_tails(lib, [_number(lib, w, wide) for w in law.shares], parts)
        return lib.like(p, x), lib.like(q, x)
    if isinstance(mixing, ZeroMass | Lapse):
        share = _number(lib, mixing.share, x)
        coin = 0.0 * x - math.log(2)
        return _mixed_tails(
            lib, [share, 1 - share], [(coin, coin), log_tails(lib, x, mixing.mixing)]
        )
    xp = lib.xp
    parameters = [_number(lib, value, x) for value in mixing.parameters.values()]
    if isinstance(mixing, PointMass):
        u = parameters[0] * x
        return _log_sigmoid(lib, u), _log_sigmoid(lib, -u)
    # Not abs(x): its gradient at 0 is 0, and ours is E[beta]/2.
    y = xp.where(x < 0, -x, x)
    behind = x < 0
    if isinstance(mixing, Normal):
        # beta x ~ Normal(mu x, sigma |x|); by symmetry take the side on which p <= 1/2.
        mu, sigma = parameters
        mean = mu * x
        behind = mean < 0
        low = _normal_lower_tail(lib, xp.where(behind, mean, -mean), sigma * y)
    elif isinstance(mixing, LogNormal):
        low = _lognormal_lower_tail(lib, y, *parameters)
    elif isinstance(mixing, Gamma):
        low = _gamma_lower_tail(lib, y, *parameters)
    elif isinstance(mixing, InverseGaussian):
        low = _inverse_gaussian_lower_tail(lib, y, *parameters)
    else:
        raise TypeError(f"Expected a mixing distribution; got {type(mixing).__name__}.")
    high = _log_one_minus_exp(lib, low)
    return xp.where(behind, low, high), xp.where(behind, high, low)


def _in_double(lib: Library, mixing: Mixing) -> Any:
    """The law with parameters in double precision; numbers stay as they are."""
    values = mixing.parameters.items()
    return mixing.with_parameters({k: v if _plain(v) else lib.double(v) for k, v in values})


def _plain(value: Any) -> bool:
    return isinstance(value, int | float | np.ndarray | np.generic)


def _number(lib: Library, value: Any, like: Array) -> Array:
    return lib.constant(value, like) if _plain(value) else value


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
        xp.where(ahead, _log_one_minus_exp(lib, xp.where(ahead, q, half)), p),
        xp.where(behind, _log_one_minus_exp(lib, xp.where(behind, p, half)), q),
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


def _log_sigmoid(lib: Library, u: Array) -> Array:
    xp = lib.xp
    negative = xp.where(u < 0, u, -u)
    return xp.where(u < 0, u, 0.0 * u) - xp.log1p(xp.exp(negative))


def _log_one_minus_exp(lib: Library, low: Array) -> Array:
    """log(1 - e^low) for low <= log(1/2), where log1p is the accurate branch."""
    return lib.xp.log1p(-lib.xp.exp(low))


def _logsumexp(lib: Library, values: Array) -> Array:
    xp = lib.xp
    top = lib.hold(xp.amax(values, axis=-1))
    return top + xp.log(xp.sum(xp.exp(values - top[..., None]), axis=-1))


# -- alternating series ----------------------------------------------------------------------


@cache
def _series_weights(terms: int) -> np.ndarray:
    """Weights w_k with sum_k (-1)^k a_k ~ sum_k w_k a_k, error 5.83^-terms (algorithm 1 of [1])."""
    d = (3 + math.sqrt(8)) ** terms
    d = (d + 1 / d) / 2
    b, c = -1.0, -d
    weights = np.empty(terms)
    for k in range(terms):
        c = b - c
        weights[k] = c / d
        b *= (k + terms) * (k - terms) / ((k + 0.5) * (k + 1))
    return weights


def _terms(lib: Library, x: Array) -> int:
    return 11 if lib.single(x) else 20


def _log_alternating_sum(lib: Library, log_terms: Array) -> Array:
    """Log of sum_{n>=1} (-1)^{n+1} a_n from the logs of the first terms, a_1 taken out."""
    xp = lib.xp
    weights = lib.constant(_series_weights(log_terms.shape[-1]), log_terms)
    first = log_terms[..., :1]
    return first[..., 0] + xp.log(xp.sum(weights * xp.exp(log_terms - first), axis=-1))


def _log_laplace_sum(lib: Library, first: Array, ratio: Array, step: Array) -> Array:
    """Log of q = sum_{n>=1} (-1)^{n+1} L(ny) from differences of neighbours.

    Parameters
    ----------
    first : log L(y)
    ratio : log L(ny) - log L(y), n = 1, 2, … along the last axis
    step : log L((n+1)y) - log L(ny)
    """
    xp = lib.xp
    weights = lib.constant(_series_weights(step.shape[-1]), step)
    differences = -xp.exp(ratio) * xp.expm1(step)
    return first + xp.log1p(xp.sum(weights * differences, axis=-1)) - math.log(2)


def _gamma_lower_tail(lib: Library, y: Array, shape: Array, rate: Array) -> Array:
    # log L(s) = -shape log(1 + s/rate)
    n = lib.constant(np.arange(1.0, _terms(lib, y) + 1), y)
    log1p, first = lib.xp.log1p, -shape * lib.xp.log1p(y / rate)
    y, shape, rate = y[..., None], shape[..., None], rate[..., None]
    ratio = -shape * log1p((n - 1) * (y / (rate + y)))
    step = -shape * log1p(y / (rate + n * y))
    return _log_laplace_sum(lib, first, ratio, step)


def _inverse_gaussian_lower_tail(lib: Library, y: Array, mu: Array, shape: Array) -> Array:
    # log L(s) = shape/mu (1 - r(s)), r(s) = sqrt(1 + 2 mu^2 s/shape); differences of roots as
    # quotients of sums.
    n = lib.constant(np.arange(0.0, _terms(lib, y) + 2), y)
    double = 2 * (mu * y)
    root = lib.xp.sqrt(1 + (double * (mu / shape))[..., None] * n)
    first = -double / (1 + root[..., 1])
    double = double[..., None]
    ratio = -(n[1:-1] - 1) * double / (root[..., 1:-1] + root[..., 1:2])
    step = -double / (root[..., 2:] + root[..., 1:-1])
    return _log_laplace_sum(lib, first, ratio, step)


# -- quadrature ------------------------------------------------------------------------------

# Sigma up to which the coarsest nodes give 1e-10 (a coefficient of variation of 29).
_SMALL_SIGMA = 2.6


@cache
def _trapezoid(lower: float, upper: float, step: float) -> np.ndarray:
    return np.arange(lower, upper + step / 2, step)


def _lambert(lib: Library, v: Array) -> Array:
    """Lambert's W for v >= 0, good enough to place nodes."""
    xp = lib.xp
    v = v + 1e-30
    w = xp.log1p(v)
    w = xp.where(w > 2.0, w - xp.log(w + 1e-30), w)
    for _ in range(3):
        w = w * (1 + xp.log(v / w)) / (1 + w)
    return w


def _wider(sigma: float | None) -> int:
    """How much finer, and how much longer, the nodes of a LogNormal are than at small sigma."""
    if sigma is None or not sigma > _SMALL_SIGMA:
        return 1
    return 2 if sigma <= 2 * _SMALL_SIGMA else 4


def _lognormal_lower_tail(lib: Library, y: Array, mu: Array, sigma: Array) -> Array:
    xp = lib.xp
    wider = _wider(lib.largest(sigma))
    step = (0.25 if lib.single(y) else 0.125) / wider
    # Left of the peak the log of the integrand falls only linearly, hence the longer side.
    t = lib.constant(_trapezoid(-14.0 * wider, 9.0, step), y)
    median_utility = y * xp.exp(mu)
    w = lib.hold(_lambert(lib, sigma**2 * median_utility))
    centre, scale = -w / lib.hold(sigma), 1 / xp.sqrt(1 + w)
    z = centre[..., None] + scale[..., None] * t
    utility = median_utility[..., None] * xp.exp(sigma[..., None] * z)
    log_integrand = -(z**2) / 2 - utility - xp.log1p(xp.exp(-utility))
    return _logsumexp(lib, log_integrand) + xp.log(scale * (step / math.sqrt(2 * math.pi)))


def _normal_lower_tail(lib: Library, mean: Array, sd: Array) -> Array:
    """Log E[sigmoid(u)], u ~ Normal(mean, sd), mean <= 0."""
    xp = lib.xp
    narrow = sd <= 1
    if xp is np:
        # No gradient and nothing to trace: each branch where it is needed.
        mean, sd, narrow = np.broadcast_arrays(mean, sd, narrow)
        out = np.empty(mean.shape, dtype=mean.dtype)
        out[narrow] = _narrow_normal_lower_tail(lib, mean[narrow], sd[narrow])
        out[~narrow] = _wide_normal_lower_tail(lib, mean[~narrow], sd[~narrow])
        return out
    # Each branch sees only arguments it can digest, so that no NaN enters the gradient.
    one = lib.constant(1.0, mean)
    by_quadrature = _narrow_normal_lower_tail(lib, mean, xp.where(narrow, sd, one))
    by_series = _wide_normal_lower_tail(lib, mean, xp.where(narrow, one, sd))
    return xp.where(narrow, by_quadrature, by_series)


def _narrow_normal_lower_tail(lib: Library, mean: Array, sd: Array) -> Array:
    step = 0.25
    t = lib.constant(_trapezoid(-10.0, 10.0, step), mean)
    # Far in the tail sigmoid(u) ~ e^u, which tilts the Normal by sd.
    z = lib.hold(sd)[..., None] + t
    u = mean[..., None] + sd[..., None] * z
    log_integrand = -(z**2) / 2 + _log_sigmoid(lib, u)
    return _logsumexp(lib, log_integrand) + math.log(step / math.sqrt(2 * math.pi))


def _wide_normal_lower_tail(lib: Library, mean: Array, sd: Array) -> Array:
    xp = lib.xp
    terms = _terms(lib, mean)
    n = np.arange(1.0, terms + 1)
    # Both halves and P(u > 0) in one call: a third of the operations to compile.
    side = lib.constant(np.r_[np.ones(terms), -np.ones(terms + 1)], mean)
    moments = _log_exponential_moment(
        lib, lib.constant(np.r_[n, n, 0.0], mean), side * mean[..., None], sd[..., None]
    )
    below = _log_alternating_sum(lib, moments[..., :terms])  # E[s(u); u < 0]
    beyond = _log_alternating_sum(lib, moments[..., terms:-1])  # E[1 - s(u); u > 0]
    positive = moments[..., -1]
    top = lib.hold(xp.where(below > positive, below, positive))
    total = xp.exp(below - top) + xp.exp(positive - top) - xp.exp(beyond - top)
    return top + xp.log(total)


def _log_exponential_moment(lib: Library, n: Array, mean: Array, sd: Array) -> Array:
    """Log E[e^{nu}; u < 0], u ~ Normal(mean, sd), n >= 0; the arguments broadcast."""
    xp = lib.xp
    shifted = (mean + n * sd**2) / sd
    tail = shifted > 0
    # P(u < 0) after the tilt is Phi(-shifted): a tail, in scaled form, or the bulk.
    log_scaled = _log_erfcx(lib, xp.where(tail, shifted, -shifted) / math.sqrt(2)) - math.log(2)
    in_tail = -(mean**2) / (2 * sd**2) + log_scaled
    in_bulk = n * mean + (n * sd) ** 2 / 2 + xp.log1p(-xp.exp(-(shifted**2) / 2 + log_scaled))
    return xp.where(tail, in_tail, in_bulk)


@cache
def _erfcx_coefficients() -> np.ndarray:
    """Chebyshev coefficients of log(erfcx(v)/t) in t = 2/(2+v) on [0, 1]."""

    def target(s: np.ndarray) -> np.ndarray:
        t = (s + 1) / 2
        return np.log(special.erfcx(2 / t - 2) / t)

    return np.polynomial.chebyshev.chebinterpolate(target, 33)


def _log_erfcx(lib: Library, v: Array) -> Array:
    """Log of e^{v^2} erfc(v) for v >= 0, by Clenshaw's recurrence."""
    xp = lib.xp
    t = 2 / (2 + v)
    s = 2 * t - 1
    b1 = b2 = 0.0 * s
    coefficients = _erfcx_coefficients()
    for c in coefficients[:0:-1]:
        b1, b2 = float(c) + 2 * s * b1 - b2, b1
    return xp.log(t) + float(coefficients[0]) + s * b1 - b2
