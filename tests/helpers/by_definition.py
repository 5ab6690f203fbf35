"""Marginal likelihoods of single choosers by the sums that define them, in extended precision.

Probabilities are written out as shares of exponentials, one answer after the other; strengths are
summed over by the trapezoid rule on a mixing distribution's own density. Numbers are of 64 bits of
mantissa and 15 of exponent, so that e^-5000 is a number; where ``mpmath`` numbers come in, as many
digits as it is asked for.
"""

import itertools
import math
from functools import cache

import mpmath as mp
import numpy as np

LONG = np.longdouble
PI = LONG("3.14159265358979323846264338")


# -- answers ---------------------------------------------------------------------------------------


def exp(value):
    """Of either kind of number."""
    return mp.exp(value) if isinstance(value, mp.mpf) else np.exp(value)


def share(utilities, chosen, among):
    """Multinomial logit among some alternatives, the largest utility taken out."""
    top = utilities[among[0]]
    for j in among[1:]:
        top = max(top, utilities[j]) if isinstance(top, mp.mpf) else np.maximum(top, utilities[j])
    return exp(utilities[chosen] - top) / sum(exp(utilities[j] - top) for j in among)


def above(v):
    """1 / (1 + e^-v), for any sign."""
    return share([v, 0 * v], 0, [0, 1])


def grade(v, answer, cuts):
    """P of the answer-th grade from the top, under rising cut points."""
    ends = [None, *reversed(cuts), None]
    high, low = ends[answer], ends[answer + 1]
    if high is None:
        return above(v - low)
    if low is None:
        return above(high - v)
    # P(>= low) - P(>= high), of the two smaller tails.
    if isinstance(v, mp.mpf):
        return above(v - low) - above(v - high)
    upper = above(v - low) - above(v - high)
    lower = above(high - v) - above(low - v)
    return np.where(2 * v > low + high, lower, upper)


def davidson(v, answer, tie):
    weights = [v / 2, 0 * v + (mp.log(tie) if isinstance(v, mp.mpf) else np.log(LONG(tie))), -v / 2]
    return share(weights, answer, [0, 1, 2])


def ranking(utilities, ranks, rule):
    """Exploded logit; ties of a rank by all their orders, or after Efron or Breslow."""
    there = [j for j, u in enumerate(utilities) if u is not None]
    p = 1
    for rank in range(1, max(ranks) + 1):
        tied = [j for j in there if ranks[j] == rank]
        others = [j for j in there if ranks[j] > rank or ranks[j] == 0]
        p = p * (_RULES[rule](utilities, tied, others) if tied else 1)
    return p


def _orders(utilities, tied, others):
    total = 0
    for order in itertools.permutations(tied):
        p = 1
        for k, j in enumerate(order):
            p = p * share(utilities, j, [*order[k:], *others])
        total = total + p
    return total


def _breslow(utilities, tied, others):
    return math.prod(share(utilities, j, [*tied, *others]) for j in tied)


def _efron(utilities, tied, others):
    """The g-th of d ties is among the others and a share 1 - g/d of all the tied."""
    everybody, p = [*tied, *others], 1
    among = [share(utilities, j, everybody) for j in everybody]
    for g, j in enumerate(range(len(tied))):
        gone = sum(among[: len(tied)]) * g / len(tied)
        p = p * among[j] / (1 - gone if g else 1)
    return p


_RULES = {"exact": _orders, "efron": _efron, "breslow": _breslow}


def cuts_of(grades, shared):
    """Cut points: symmetric, distances from the middle outwards."""
    outer = list(itertools.accumulate(shared[f"cut_{k}"] for k in range(1, (grades + 1) // 2)))
    return [*(-c for c in reversed(outer)), *([] if grades % 2 else [0.0]), *outer]


def answer_probability(kind, x, answer, strength, shared):
    """Of one answer: ``x`` are the attributes of the alternatives, ``None`` where not offered."""
    utilities = [None if one is None else one * strength for one in x]
    there = [j for j, one in enumerate(x) if one is not None]
    if kind == "multinomial":
        p, many = share(utilities, answer, there), len(there)
    elif kind.startswith("ranking"):
        p, many = ranking(utilities, answer, kind.split()[1]), None
    else:
        v = (x[0] - x[1]) * strength
        if "power" in shared:
            size, unit = abs(x[0] - x[1]), shared["unit"]
            bent = unit * (size / unit) ** shared["power"] if size else 0 * size
            v = (bent if x[0] > x[1] else -bent) * strength
        if kind == "pair":
            p, many = above(v if answer == 0 else -v), 2
        elif kind == "davidson":
            p, many = davidson(v, answer, shared["tie"]), 3
        else:
            many = 3 if kind == "rao-kupper" else int(kind.removeprefix("graded "))
            p = grade(v, answer, cuts_of(many, shared))
    lapse = shared.get("lapse")
    return p if lapse is None else lapse / many + (1 - lapse) * p


# -- mixing distributions --------------------------------------------------------------------------


def density_in(family, location, dispersion):
    """Coordinate of one family: its range, strength, and log density with respect to it."""
    location, spread = LONG(location), LONG(dispersion)
    if family in ("Normal", "LogNormal"):
        # In z; as far out as a chooser may be who is like nobody.
        def at(z):
            strength = location + spread * z
            return np.exp(strength) if family == "LogNormal" else strength

        return (-110.0, 110.0), at, lambda z: -(z**2) / 2 - np.log(2 * PI) / 2
    # Log mean and coefficient of variation; in t = log strength, whose density is b f(b).
    mean, shape, wide = np.exp(location), 1 / spread**2, max(1.0, float(spread))
    if family == "Gamma":
        rate = shape / mean
        constant = shape * np.log(rate) - LONG(mp.nstr(mp.loggamma(mp.mpf(float(shape))), 25))
        ends = float(location) - 60 * wide**2, float(location) + 8 + 2 * np.log(wide)
        return ends, np.exp, lambda t: constant + shape * t - rate * np.exp(t)
    scale = mean * shape  # InverseGaussian of mean m and shape lambda has cv^2 = m / lambda

    def log_density(t):
        ratio = np.exp(t) / mean - 2 + mean / np.exp(t)
        return (np.log(scale) - np.log(2 * PI)) / 2 - t / 2 - scale * ratio / (2 * mean)

    away = 12 + 4 * np.log(wide)
    return (float(location) - away, float(location) + away), np.exp, log_density


def log_integral(log_integrand, low, high):
    """By the trapezoid rule, where the integrand lies, in ever smaller steps."""
    t = np.linspace(low, high, 2001).astype(LONG)
    values = log_integrand(t)
    there = np.flatnonzero(values > values.max() - 75)
    low, high = t[max(there[0] - 2, 0)], t[min(there[-1] + 2, len(t) - 1)]
    last = None
    for power in range(9, 20):
        t = low + (high - low) * np.arange(2**power + 1).astype(LONG) / 2**power
        found = log_sum(log_integrand(t)) + np.log(t[1] - t[0])
        if last is not None and abs(found - last) < 1e-13 * max(1, abs(found)):
            return found
        last = found
    raise ArithmeticError("The integral did not converge.")


def log_sum(values):
    top = values.max()
    return top + np.log(np.exp(values - top).sum())


def log_given(kind, answers, strength, shared):
    """Log-likelihood of one chooser at strengths; ``answers`` of (x, answer, weight)."""
    total = np.zeros(strength.shape, LONG)
    with np.errstate(divide="ignore"):
        for x, answer, weight in answers:
            wide = [None if one is None else LONG(one) for one in x]
            total = total + weight * np.log(
                answer_probability(kind, wide, answer, strength, shared)
            )
    return total


def log_marginal(kind, answers, parts, shared):
    """Of one chooser, where ``parts`` are (share, family, location, dispersion); family None is 0.

    ``shared`` holds what all choosers share.
    """
    answers, shared = tuple(answers), tuple(shared.items())
    own = [np.log(LONG(each[0])) + _of_family(kind, answers, *each[1:], shared) for each in parts]
    return log_sum(np.array(own))


@cache
def _of_family(kind, answers, family, location, dispersion, shared):
    shared = dict(shared)
    if family in (None, "PointMass"):
        one = np.array([0 if family is None else location], LONG)
        return log_given(kind, answers, one, shared)[0]
    ends, at, log_density = density_in(family, location, dispersion)
    return log_integral(lambda t: log_density(t) + log_given(kind, answers, at(t), shared), *ends)


def log_marginal_mp(kind, answers, parts, shared, digits=30):
    """The same in mpmath, by its own adaptive quadrature."""
    with mp.workdps(digits):
        known = {name: mp.mpf(value) for name, value in shared.items()}

        def given(strength):
            p = mp.mpf(1)
            for x, answer, weight in answers:
                wide = [None if one is None else mp.mpf(one) for one in x]
                p *= answer_probability(kind, wide, answer, strength, known) ** weight
            return p

        total = mp.mpf(0)
        for portion, family, location, dispersion in parts:
            total += mp.mpf(portion) * _average(given, family, location, dispersion)
        return mp.log(total)


def _average(given, family, location, dispersion):
    if family is None:
        return given(mp.mpf(0))
    location = mp.mpf(location)
    if family == "PointMass":
        return given(location)
    spread = mp.mpf(dispersion)
    if family in ("Normal", "LogNormal"):
        at = {"Normal": lambda z: location + spread * z,
              "LogNormal": lambda z: mp.exp(location + spread * z)}[family]  # fmt: skip
        points = [mp.mpf(k) / 2 for k in range(-26, 27)]
        return mp.quad(lambda z: given(at(z)) * mp.npdf(z), points)
    mean, shape = mp.exp(location), 1 / spread**2
    if family == "Gamma":
        rate = shape / mean
        constant = shape * mp.log(rate) - mp.loggamma(shape)

        def density(t):
            return mp.exp(constant + shape * t - rate * mp.exp(t))
    else:
        scale = mean * shape

        def density(t):
            b = mp.exp(t)
            own = scale * (b - mean) ** 2 / (2 * mean**2 * b)
            return mp.sqrt(scale / (2 * mp.pi * b)) * mp.exp(-own)

    points = [location + mp.mpf(k) for k in range(-40, 12)]
    return mp.quad(lambda t: given(mp.exp(t)) * density(t), points)
