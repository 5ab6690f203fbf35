"""Slow and obvious versions of what the package computes fast."""

from functools import cache

import mpmath as mp
import numpy as np

# -- the mixed choice probability, at thirty digits ----------------------------------------------


def mixed_probability(family, parameters, x):
    """E[sigmoid(beta x)] by formulas and rules that have nothing in common with the package's.

    Gamma: the Lerch form of MixDPO (arXiv:2601.06180) by Hurwitz zeta functions; for shapes
    above 3, where those lose their digits, the trapezoid rule in log strength. InverseGaussian:
    the same rule on its own density. LogNormal, Normal: the rule in z. Its error for an integrand
    analytic in a strip of half-width a is exp(-2 pi a/step), with the strip's width read off the
    poles of the sigmoid.
    """
    with mp.workdps(30):
        x = mp.mpf(x)
        first, *rest = (mp.mpf(float(p)) for p in parameters)
        if family == "PointMass":
            return 1 / (1 + mp.exp(-first * x))
        if family == "Normal":
            return _normal(first * x, rest[0] * abs(x))
        if x == 0:
            return mp.mpf("0.5")
        tail = _LOWER[family](first, rest[0], abs(x))
        return tail if x < 0 else 1 - tail


def log_probability(family, parameters, x):
    """Log of the same, both tails with full relative accuracy."""
    with mp.workdps(30):
        p = mixed_probability(family, parameters, x)
        return mp.log(p) if p < 0.5 else mp.log1p(-mixed_probability(family, parameters, -x))


def _gamma_lower(shape, rate, y):
    """z^k Phi(-1, k, z + 1) at z = rate/y, k = shape: what the Lerch form leaves to 1."""
    if shape > 3:
        return _gamma_lower_by_quadrature(shape, rate, y)
    with mp.extradps(20):
        z = rate / y
        if shape == 1:
            return z / 2 * (mp.digamma(z / 2 + 1) - mp.digamma((z + 1) / 2))
        return (z / 2) ** shape * (mp.zeta(shape, (z + 1) / 2) - mp.zeta(shape, z / 2 + 1))


def _gamma_lower_by_quadrature(shape, rate, y):
    """In t = log strength, from the peak of e^{-strength y} times the density."""
    peak, h = mp.log(shape / (rate + y)), min(mp.mpf("0.1"), 1 / (2 * mp.sqrt(shape)))
    constant = shape * mp.log(rate) - mp.loggamma(shape)

    def integrand(t):
        strength = mp.exp(t)
        return mp.exp(constant + shape * t - rate * strength) / (1 + mp.exp(y * strength))

    return _trapezoid(integrand, peak, h)


def _inverse_gaussian_lower(mu, shape, y):
    """In t = log(strength/mu), where the density falls as exp(-e^|t|), from its peak."""
    ratio, utility = shape / mu, mu * y
    peak = -mp.log1p(2 * utility / ratio) / 2
    width = 1 / mp.sqrt(ratio * mp.sqrt(1 + 2 * utility / ratio))
    h = min(mp.mpf("0.1"), width / 2)

    def integrand(t):
        density = mp.exp(-t / 2 - 2 * ratio * mp.sinh(t / 2) ** 2)
        return density / (1 + mp.exp(utility * mp.exp(t)))

    return _trapezoid(integrand, peak, h) * mp.sqrt(ratio / (2 * mp.pi))


def _trapezoid(integrand, peak, h):
    """Both ways from the peak until 45 digits no longer change."""
    total = integrand(peak)
    for side in (h, -h):
        at = peak + side
        while (term := integrand(at)) > total * mp.mpf(10) ** -45:
            total += term
            at += side
    return total * h


def _lognormal_lower(mu, sigma, y):
    median = y * mp.exp(mu)
    w = mp.lambertw(sigma**2 * median).real
    centre, scale = -w / sigma, 1 / mp.sqrt(1 + w)
    h = min(mp.mpf("0.5"), mp.mpf("0.12") / (sigma * scale))

    def integrand(z):
        return mp.exp(-z * z / 2) / (1 + mp.exp(median * mp.exp(sigma * z)))

    return _trapezoid(integrand, centre, h * scale) / mp.sqrt(2 * mp.pi)


def _normal(m, s):
    """E[sigmoid(u)], u ~ Normal(m, s)."""
    if s == 0:
        return 1 / (1 + mp.exp(-m))
    if s <= 3:
        h = min(mp.mpf("0.4"), mp.mpf("0.25") / s)
        centre = max(-s, m / s) if m > 0 else min(s, -m / s)
        centre = mp.mpf(0) if m > 0 else centre
        total = mp.mpf(0)
        for i in range(int(-14 / h), int(14 / h) + 1):
            z = centre + h * i
            total += mp.exp(-z * z / 2) / (1 + mp.exp(-(m + s * z)))
        return total * h / mp.sqrt(2 * mp.pi)
    h = mp.mpf("0.3")
    if abs(m) < s * s / 2:
        # sigmoid = Phi(u/c) + an analytic remainder that falls as e^{-|u|}.
        with mp.extradps(30):
            c, total = mp.mpf("1.7"), mp.mpf(0)
            for u, rest in _sigmoid_less_normal_cdf(h, c):
                total += mp.exp(-(((u - m) / s) ** 2) / 2) * rest
            return mp.ncdf(m / mp.sqrt(s * s + c * c)) + total * h / s / mp.sqrt(2 * mp.pi)
    total = mp.mpf(0)
    centre = min(m + s * s, mp.mpf(0)) if m < 0 else m
    for i in range(int(-14 * s / h), int(14 * s / h) + 1):
        u = centre + h * i
        total += mp.exp(-(((u - m) / s) ** 2) / 2) / (1 + mp.exp(-u))
    return total * h / s / mp.sqrt(2 * mp.pi)


_LOWER = {
    "Gamma": _gamma_lower,
    "InverseGaussian": _inverse_gaussian_lower,
    "LogNormal": _lognormal_lower,
}


def tails(law, x, values=None):
    """p(x) and p(-x) of any law, each with full relative accuracy; ``values`` in place of its own.

    ``values`` are those of ``law.parameters``, in order.
    """
    values = list(law.parameters.values()) if values is None else list(values)
    values = [mp.mpf(value) for value in values]
    if law.family == "FiniteMixture":
        count = len(law.components)
        shares, rest, parts = values[:count], values[count:], []
        for part in law.components:
            parts.append(tails(part, x, rest[: len(part.parameters)]))
            rest = rest[len(part.parameters) :]
        return _shared(shares, parts)
    if law.family in ("ZeroMass", "Lapse"):
        share, *rest = values
        half = (mp.mpf("0.5"), mp.mpf("0.5"))
        return _shared([share, 1 - share], [half, tails(law.mixing, x, rest)])
    x = mp.mpf(x)
    if law.family == "PointMass":
        return 1 / (1 + mp.exp(-values[0] * x)), 1 / (1 + mp.exp(values[0] * x))
    if law.family == "Normal":
        below = _once("Normal", -abs(values[0] * x), values[1] * abs(x), mp.mp.prec)
        behind = values[0] * x < 0
    else:
        below = _once(law.family, *values, abs(x), mp.mp.prec)
        behind = x < 0
    return (below, 1 - below) if behind else (1 - below, below)


@cache
def _once(family, *arguments):
    """Parts of a mixture and mirrored laws ask for the same numbers; the precision counts too."""
    return {**_LOWER, "Normal": _normal}[family](*arguments[:-1])


def _shared(shares, parts):
    total = sum(shares)
    return tuple(
        sum(w * part[side] for w, part in zip(shares, parts, strict=True)) / total
        for side in (0, 1)
    )


def log_tails_and_slopes(law, x):
    """log p(x) and its derivatives, for x and for -x: two lists [log p, in x, in each parameter].

    The derivatives by central differences of numbers of 40 digits and more.
    """
    with mp.workdps(50):
        inputs = [mp.mpf(x), *(mp.mpf(float(value)) for value in law.parameters.values())]

        def both(moved):
            return tails(law, moved[0], moved[1:])

        p, q = both(inputs)
        found = [[_log(p, q)], [_log(q, p)]]
        for coordinate, value in enumerate(inputs):
            step = (abs(value) or 1) * mp.mpf("1e-10")
            up, down = (
                both([*inputs[:coordinate], value + by, *inputs[coordinate + 1 :]])
                for by in (step, -step)
            )
            # Of the smaller tail: 50 digits of the larger may not show how it moves.
            small = 0 if p < q else 1
            slope = (up[small] - down[small]) / (2 * step)
            found[small].append(slope / (p, q)[small])
            found[1 - small].append(-slope / (p, q)[1 - small])
        found[1][1] = -found[1][1]  # in -x
        return [[float(number) for number in side] for side in found]


def _log(p, q):
    return mp.log(p) if p < q else mp.log1p(-q)


@cache
def _sigmoid_less_normal_cdf(h, c):
    points = [h * i for i in range(-480, 481)]
    return [(u, 1 / (1 + mp.exp(-u)) - mp.ncdf(u / c)) for u in points]


# -- likelihoods, by the sum that defines them -----------------------------------------------------

#: A grid that resolves the panels of these tests: 40 standard deviations wide.
Z = np.linspace(-20.0, 20.0, 8_001)


def log_panel(x, weight, strengths, z=Z):
    """log E over z ~ Normal(0, 1) of prod_t sigmoid(beta_t(z) x_t)^w_t; pairs of one chooser.

    ``strengths`` (situation, node): the coefficient of each situation at each node.
    """
    values = -(z**2) / 2 + np.log((z[1] - z[0]) / np.sqrt(2 * np.pi))
    for difference, w, beta in zip(x, weight, strengths, strict=True):
        values = values - w * np.logaddexp(0.0, -beta * difference)
    top = values.max()
    return top + np.log(np.exp(values - top).sum())
