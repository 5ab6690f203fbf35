"""Slow and obvious versions of what the package computes fast."""

from functools import cache

import mpmath as mp
import numpy as np

# -- the mixed choice probability, at thirty digits ----------------------------------------------


def mixed_probability(family, parameters, x):
    """E[sigmoid(beta x)] by formulas and rules that have nothing in common with the package's.

    Gamma: the Lerch form of MixDPO (arXiv:2601.06180) by Hurwitz zeta functions. LogNormal,
    Normal: the trapezoid rule, whose error for an integrand analytic in a strip of half-width a
    is exp(-2 pi a/step), with the strip's width read off the poles of the sigmoid.
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
        lower = {"Gamma": _gamma_lower, "LogNormal": _lognormal_lower}[family]
        tail = lower(first, rest[0], abs(x))
        return tail if x < 0 else 1 - tail


def log_probability(family, parameters, x):
    """Log of the same, both tails with full relative accuracy."""
    with mp.workdps(30):
        p = mixed_probability(family, parameters, x)
        return mp.log(p) if p < 0.5 else mp.log1p(-mixed_probability(family, parameters, -x))


def _gamma_lower(shape, rate, y):
    """z^k Phi(-1, k, z + 1) at z = rate/y, k = shape: what the Lerch form leaves to 1."""
    with mp.extradps(20):
        z = rate / y
        if shape == 1:
            return z / 2 * (mp.digamma(z / 2 + 1) - mp.digamma((z + 1) / 2))
        return (z / 2) ** shape * (mp.zeta(shape, (z + 1) / 2) - mp.zeta(shape, z / 2 + 1))


def _lognormal_lower(mu, sigma, y):
    median = y * mp.exp(mu)
    w = mp.lambertw(sigma**2 * median).real
    centre, scale = -w / sigma, 1 / mp.sqrt(1 + w)
    h = min(mp.mpf("0.5"), mp.mpf("0.2") / (sigma * scale))
    total = mp.mpf(0)
    for i in range(int(-18 / h), int(12 / h) + 1):
        z = centre + scale * h * i
        total += mp.exp(-z * z / 2) / (1 + mp.exp(median * mp.exp(sigma * z)))
    return total * h * scale / mp.sqrt(2 * mp.pi)


def _normal(m, s):
    """E[sigmoid(u)], u ~ Normal(m, s)."""
    if s == 0:
        return 1 / (1 + mp.exp(-m))
    if s <= 3:
        h = min(mp.mpf("0.5"), mp.mpf("0.4") / s)
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
