"""Rivals of every kind of answer: choices among several, rankings, further attributes."""

from collections.abc import Callable
from functools import partial
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special
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


def close(found: ps.Rivals, wanted: dict[str, float], within: float = 0.05) -> None:
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


def test_one_of_several_is_weighed_as_by_quadrature(
    rankings: tuple[ps.Choices, LogLikelihood],
) -> None:
    whole, _ = rankings
    best = (np.asarray(whole.ranks) == 1).argmax(axis=1)
    chooser = np.asarray(whole.chooser)
    choices = ps.Choices(
        whole.values, best, ["reward"], available=whole.available, chooser=chooser,
        choosers=whole.choosers,
    )  # fmt: skip
    scale = choices.scale("reward")
    rows = [
        (who, x[offered, 0] / scale, (np.arange(4) == chosen).astype(int)[offered])
        for who, x, offered, chosen in zip(
            chooser, whole.values, np.asarray(whole.available), best, strict=True
        )
    ]
    found = ps.rivals(choices)
    close(found, by_quadrature(ranked_log(rows, len(whole.choosers))))
    assert found.beliefs.answers == 4


def test_one_choice_of_each_stands_alone_and_one_ranking_of_each_does_not() -> None:
    law = ps.LogNormal(mu=0.0, sigma=0.5)
    among = {"choosers": 15, "situations": 1, "alternatives": 3}
    assert ps.rivals(ps.simulate(law, response=ps.Multinomial(), **among)).single
    assert not ps.rivals(ps.simulate(law, response=ps.Ranking(), **among)).single


@pytest.fixture(scope="module")
def lengths() -> pd.DataFrame:
    """Pairs of 10 people that differ in reward and in length."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        rng.normal(size=(80, 4)),
        columns=["reward_a", "reward_b", "length_a", "length_b"],
    )
    v = frame["reward_a"] - frame["reward_b"] + 0.8 * (frame["length_a"] - frame["length_b"])
    first = rng.random(80) < special.expit(v)
    for name in ("reward", "length"):
        a, b = frame[f"{name}_a"], frame[f"{name}_b"]
        frame[f"{name}_chosen"], frame[f"{name}_rejected"] = a.where(first, b), b.where(first, a)
    return frame.assign(ann=np.repeat(np.arange(10), 8).astype(str), first=first)


def test_a_further_attribute_adds_to_the_utility_as_where_all_have_one_strength(
    lengths: pd.DataFrame,
) -> None:
    both = ["reward", "length"]
    choices = ps.Choices.from_pairs(lengths, chooser="ann", attributes=both)
    x, length = choices.differences("reward"), choices.differences("length")

    def loss(beta: np.ndarray) -> float:
        return float(np.logaddexp(0.0, -(beta[0] * x + beta[1] * length)).sum())

    held = optimize.minimize(loss, [0.0, 0.0]).x[1]
    who, scale = np.asarray(choices.chooser), choices.scale("reward")

    def log(strengths: np.ndarray, bend: Bend, lapse: float) -> np.ndarray:
        v = strengths[:, None] * bend(x / scale) + held * length
        with np.errstate(divide="ignore"):
            each = np.logaddexp(np.log(lapse / 2), np.log1p(-lapse) - np.logaddexp(0.0, -v))
        return each @ (who[:, None] == np.arange(10))

    found = ps.rivals(choices, attribute="reward")
    close(found, by_quadrature(log))
    (note,) = found.notes
    assert note.startswith("Coefficients as where all have one strength: length ")
    assert float(note.rstrip(".").split()[-1]) == pytest.approx(held, abs=0.003)


def test_names_of_further_attributes_are_escaped_and_kept(
    lengths: pd.DataFrame, tmp_path: Path
) -> None:
    renamed = lengths.rename(columns=lambda name: name.replace("length", "<b>"))
    choices = ps.Choices.from_pairs(renamed, chooser="ann", attributes=["reward", "<b>"])
    found = ps.rivals(choices, attribute="reward")
    assert "&lt;b&gt;" in found._repr_html_()
    assert "one strength: <b>" not in found._repr_html_()
    assert ps.Rivals.load(found.save(tmp_path / "rivals.json")).notes == found.notes


def test_sums_of_pairs_are_refused(lengths: pd.DataFrame, tmp_path: Path) -> None:
    lengths.to_parquet(tmp_path / "pairs.parquet")
    sums = ps.compress_choices(tmp_path / "pairs.parquet", progress=False)
    with pytest.raises(ps.InputError, match=r"Expected ps\.Choices; got CompressedChoices"):
        ps.rivals(sums)
