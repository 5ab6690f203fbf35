"""Rivals of every kind of answer: choices among several, rankings, further attributes."""

from collections.abc import Callable
from functools import partial
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import special
from scipy.interpolate import make_interp_spline

import prefstrength as ps

Bend = Callable[[np.ndarray], np.ndarray]
#: ``log(strengths, bend, lapse)``: log-likelihoods, (strength, chooser).
LogLikelihood = Callable[[np.ndarray, Bend, float], np.ndarray]


def evidence(found: ps.Rivals) -> pd.Series:
    """Log marginal likelihoods by explanation, less the largest."""
    return found.table.set_index("explanation")["log_evidence"]


def legendre(low: float, high: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    x, weight = np.polynomial.legendre.leggauss(count)
    return low + (high - low) * (x + 1) / 2, weight * (high - low) / 2


def normal(x: np.ndarray, sd: float = 1.0) -> np.ndarray:
    return np.exp(-((x / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))


def power(x: np.ndarray, gamma: float) -> np.ndarray:
    return np.sign(x) * np.abs(x) ** gamma


def by_quadrature(log: LogLikelihood) -> dict[str, float]:
    """Log marginal likelihoods by dense quadrature; strengths in units of 1/s."""
    mu, mu_weight = legendre(-4.0, 4.0, 41)
    mu_weight = mu_weight * normal(mu)
    z, z_weight = np.polynomial.hermite_e.hermegauss(61)
    z_weight = z_weight / z_weight.sum()

    def straight(x: np.ndarray) -> np.ndarray:
        return x

    def one(bend: Bend, lapse: float) -> np.ndarray:
        return log(np.exp(mu), bend, lapse).sum(axis=1)

    def whole(each: np.ndarray, weight: np.ndarray) -> float:
        return float(special.logsumexp(each, b=weight))

    lapse, lapse_weight = legendre(0.0, 0.7, 16)
    lapse_weight = lapse_weight * 9 * (1 - lapse) ** 8
    gamma, gamma_weight = legendre(-1.2, 1.2, 16)
    gamma_weight = gamma_weight * normal(gamma, 0.3)
    sigma, sigma_weight = legendre(0.0, 4.0, 30)
    sigma_weight = sigma_weight * 2 * normal(sigma)
    place = np.linspace(-16.0, 16.0, 641)
    table = make_interp_spline(place, log(np.exp(place), straight, 0.0))
    at = np.clip(mu[:, None, None] + sigma[:, None] * z, -16.0, 16.0)
    spread = special.logsumexp(table(at), b=z_weight[:, None], axis=2).sum(axis=-1)
    powers = [one(partial(power, gamma=np.exp(g)), 0.0) for g in gamma]
    return {
        "one strength": whole(one(straight, 0.0), mu_weight),
        "one strength + random answers": whole(
            np.array([one(straight, each) for each in lapse]), np.outer(lapse_weight, mu_weight)
        ),
        "one strength + power utility": whole(np.array(powers), np.outer(gamma_weight, mu_weight)),
        "spread": whole(spread, np.outer(mu_weight, sigma_weight)),
    }


def close(found: ps.Rivals, wanted: dict[str, float], within: float = 0.01) -> None:
    seen = evidence(found)[list(wanted)]
    away = (seen - seen.iloc[0]) - (pd.Series(wanted) - next(iter(wanted.values())))
    assert away.abs().max() < within, away


def ranked_log(rows: list[tuple[int, np.ndarray, np.ndarray]], choosers: int) -> LogLikelihood:
    """Of rankings (chooser, rewards in units of s, ranks), by adding up all orders one by one."""

    def log(strengths: np.ndarray, bend: Bend, lapse: float) -> np.ndarray:
        out = np.zeros((len(strengths), choosers))
        for who, x, ranks in rows:
            level = np.where(ranks == 0, 99, ranks)
            every = np.array(list(permutations(range(len(x)))))
            orders = every[(level[every] == np.sort(level)).all(axis=1)]
            v = (strengths[:, None] * bend(x[:, None] - x).mean(axis=1))[:, orders]
            left = np.logaddexp.accumulate(v[..., ::-1], axis=-1)[..., ::-1]
            own = special.logsumexp((v - left).sum(axis=-1), axis=-1)
            with np.errstate(divide="ignore"):
                random = np.log(lapse * len(orders) / len(every))
            out[:, who] += np.logaddexp(random, np.log1p(-lapse) + own)
        return out

    return log


@pytest.fixture(scope="module")
def rankings() -> tuple[ps.Choices, LogLikelihood]:
    """Whole rankings, best and worst, the best alone, and missing alternatives."""
    rng = np.random.default_rng(4)
    choosers, each = 8, 4
    rows, ranks, available = [], [], []
    for who in range(choosers):
        for k in range(each):
            offered = np.array([True, True, True, k != 1])
            x = np.where(offered, rng.normal(0, 1.5, 4), 0.0)
            score = np.where(offered, np.exp(0.5 * who / 4) * x + rng.gumbel(size=4), -np.inf)
            rank = 1 + np.argsort(np.argsort(-score))
            if k == 2:
                rank = np.where((rank > 1) & (rank < 4), 2, np.where(rank == 4, 3, rank))
            if k == 3:
                rank = np.where(rank == 1, 1, 0)
            ranks.append(np.where(offered, rank, 0))
            available.append(offered)
            rows.append((who, x))
    choices = ps.Choices(
        np.array([x for _, x in rows])[:, :, None],
        None,
        ["reward"],
        available=available,
        chooser=[who for who, _ in rows],
        choosers=[str(who) for who in range(choosers)],
        response=ps.Ranking(),
        ranks=ranks,
    )
    scale = choices.scale("reward")
    own = [
        (who, x[offered] / scale, rank[offered])
        for (who, x), rank, offered in zip(rows, ranks, available, strict=True)
    ]
    return choices, ranked_log(own, choosers)


def test_rankings_whole_and_in_part_are_weighed_as_by_adding_up_all_their_orders(
    rankings: tuple[ps.Choices, LogLikelihood],
) -> None:
    choices, log = rankings
    found = ps.rivals(choices)
    close(found, by_quadrature(log))
    assert not found.single
    # A whole ranking of four is three choices, of three two, best and worst two, the best one.
    assert found.beliefs.answers == 3 + 2 + 2 + 1
