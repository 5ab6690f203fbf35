"""How well a policy ranks preference pairs, over all and by group, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from prefstrength.choice.mixing.base import Mixing
from prefstrength.errors import InputError
from prefstrength.mixdpo.evaluation.intervals import (
    between_levels,
    macro_interval,
    mean_interval,
    share_interval,
    worst_prob,
)
from prefstrength.mixdpo.evaluation.levels import check_prob, read_column, read_levels
from prefstrength.mixdpo.objectives.probability import log_choice_probability

__all__ = ["METRICS", "logged_means", "preference_metrics"]

#: Metric -> what it is; all are means over pairs but the last.
METRICS = {
    "accuracy": "share of pairs in which the chosen response leads; one half where neither does",
    "margin": "lead of the chosen response, mean strength times log-ratio difference",
    "negative_log_likelihood": "minus log of the choice probability averaged over strength, nats",
    "calibration_error": "mean distance between predicted probability and accuracy, over ten bins",
}

#: Metrics of which less is better; of the others more is.
LOWER_IS_BETTER = ("negative_log_likelihood", "calibration_error")

_BINS = 10
_MOST_AT_ONCE = 4_000_000  # resampled pairs held in memory


def preference_metrics(
    delta: Any,
    strength: Mixing,
    groups: Mapping[str, Sequence[Any]] | None = None,
    *,
    clusters: Sequence[Any] | None = None,
    prob: float = 0.9,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy, margin, mixed negative log-likelihood and calibration, overall and by group.

    Parameters
    ----------
    delta : array-like, shape (pair,)
        Log-ratio differences chosen minus rejected, in nats.
    strength : Mixing
        Mixing distribution of strength, with parameters: numbers, or arrays of shape (pair,) where
        pairs differ, as ``LearnedStrength.of_pairs`` gives them.
    groups : dict, optional
        Factor name to the level of every pair.
    clusters : sequence, optional
        What every pair belongs to, its prompt or its annotator: pairs of one cluster may be alike,
        and the intervals count clusters. By default every pair is a cluster of its own.
    prob : float
        Probability of the intervals, in (0, 1).
    draws : int
        Bootstrap samples of the calibration error, at least 100.
    seed : int
        Same seed, same intervals.

    Returns
    -------
    pandas.DataFrame
        One row for all pairs (``factor`` and ``level`` are ``"all"``), one for each level of each
        factor, and for each factor ``"macro"`` (mean over levels, each counting once) and
        ``"worst"`` (the worst of its levels, for each metric on its own). Columns ``factor``,
        ``level``, ``kind`` (micro, level, macro or worst), ``pairs``, and for each of ``METRICS``
        its value, ``<metric>_low`` and ``<metric>_high``. The calibration error is too large in
        small groups: noise alone makes a distance.

    Raises
    ------
    InputError
        If there is no pair, a number is not finite, or a factor, the clusters or a parameter have
        another length.

    Notes
    -----
    Intervals are about the pairs; levels are taken as they are. Overall and in a level, that of
    the accuracy is Wilson's, with the number of independent pairs that the clusters leave, and
    those of margin and negative log-likelihood are Student's, from the cluster-robust standard
    error and one degree of freedom less than clusters, or fewer where some clusters are much larger
    than others [2]_. Of one cluster nothing tells how it
    varies: where a level has fewer than two, all but the interval of its accuracy are missing
    (NaN), and so are those of macro and worst; merge such levels, or leave them out.

    The interval of macro is put together from the levels' [1]_, with the correlations of levels
    that share clusters: it is no surer than they are. That of worst goes from the worst of the
    levels' worse ends to the worst of their better ends at ``1 - (1 - prob) / levels``
    (Bonferroni), and holds at least ``prob`` in any case.

    The calibration error has percentiles of a bootstrap of clusters, drawn with replacement within
    each level; like the error itself they are too high in small groups.

    References
    ----------
    .. [1] Zou, Huang, Zhang (2009), Computational Statistics & Data Analysis 53, 1080-1085.
    .. [2] Bell, McCaffrey (2002), Survey Methodology 28, 169-181.

    Examples
    --------
    >>> from prefstrength import LogNormal
    >>> delta, who = [5.0, -3.0, 20.0, 8.0], ["a", "a", "b", "b"]
    >>> table = preference_metrics(delta, LogNormal(mu=-2.5, sigma=0.5), {"group": who})
    >>> table[["level", "pairs", "accuracy"]].to_dict("list")  # doctest: +NORMALIZE_WHITESPACE
    {'level': ['all', 'a', 'b', 'macro', 'worst'], 'pairs': [4, 2, 2, 4, 4],
     'accuracy': [0.75, 0.5, 1.0, 0.75, 0.5]}
    """
    values, codes = _checked(delta, groups, prob, draws)
    cluster = _clusters(clusters, len(values))
    strength = _without_gradients(strength)
    for name, value in strength.parameters.items():
        if np.shape(value) not in ((), values.shape):
            raise InputError(
                f"Expected {name} of the mixing distribution as one number, or as one for each "
                f"of {len(values)} pairs; got shape {np.shape(value)}."
            )
    each = _of_pairs(values, strength)
    rng = np.random.default_rng(seed)
    whole = _Part(each, cluster, draws, rng)
    rows = [_row("all", "all", "micro", len(values), whole.value, *whole.interval(prob))]
    for factor, (levels, code) in codes.items():
        parts = [_Part(each[code == k], cluster[code == k], draws, rng) for k in range(len(levels))]
        ends = [part.interval(prob) for part in parts]
        for level, part, (low, high) in zip(levels, parts, ends, strict=True):
            rows.append(_row(factor, level, "level", part.pairs, part.value, low, high))
        value = np.stack([part.value for part in parts])
        together = [between_levels(each[:, m], code, cluster) for m in range(3)]
        macro = _macro(parts, value, np.array(ends), together, prob)
        rows.append(_row(factor, "macro", "macro", len(values), value.mean(axis=0), *macro))
        outer = np.array([part.interval(worst_prob(prob, len(parts))) for part in parts])
        worst = _worst_interval(parts, np.array(ends), outer, prob)
        rows.append(_row(factor, "worst", "worst", len(values), _worst(value), *worst))
    return pd.DataFrame(rows)


def logged_means(
    batches: Sequence[Any], strength: Mixing, levels: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Metrics of all pairs and by group without intervals, for the logs of a training run.

    Parameters
    ----------
    batches : sequence of tuple
        Of every batch: log-ratio differences (pair,) in favour of the better response, which pairs
        have one, the level of every pair by factor, and the parameters of its own mixing
        distribution by name.
    strength : Mixing
        The mixing distribution of pairs without their own.
    levels : dict
        Factor to its levels; those of which no pair was seen are left out.

    Returns
    -------
    dict
        ``<metric>`` of all pairs; ``<factor>/<level>/<metric>``, also for macro and worst.
    """
    deltas, known, codes, parameters = zip(*batches, strict=True)
    decided = torch.cat(known).cpu()
    if not decided.any():
        return {}
    delta = torch.cat(deltas).cpu()[decided].double().numpy()
    if parameters[0]:
        own = {name: torch.cat([p[name] for p in parameters]).cpu() for name in parameters[0]}
        own = {name: value[decided] for name, value in own.items()}
        strength = strength.with_parameters({**strength.parameters, **own})
    each = _of_pairs(delta, strength)
    out = dict(zip(METRICS, map(float, _summary(each)), strict=True))
    for factor in codes[0]:
        code = torch.cat([c[factor] for c in codes]).cpu()[decided].numpy()
        names = levels[factor]
        seen = [k for k in range(len(names)) if np.any(code == k)]
        values = np.stack([_summary(each[code == k]) for k in seen])
        named = [(names[k], row) for k, row in zip(seen, values, strict=True)]
        for name, row in [*named, ("macro", values.mean(axis=0)), ("worst", _worst(values))]:
            for metric, value in zip(METRICS, row, strict=True):
                out[f"{factor}/{name}/{metric}"] = float(value)
    return out


def _checked(
    delta: Any, groups: Mapping[str, Sequence[Any]] | None, prob: float, draws: int
) -> tuple[np.ndarray, dict[str, tuple[list[str], np.ndarray]]]:
    if isinstance(delta, torch.Tensor):
        delta = delta.detach().cpu().double()
    values = np.array(delta, dtype=float)  # a copy: torch wants arrays that may be written to
    if values.ndim != 1 or not len(values):
        raise InputError(
            "Expected log-ratio differences of some pairs, shape (pair,); got shape "
            f"{values.shape}. Give one number for each pair."
        )
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise InputError(
            f"Expected finite log-ratio differences; got {values[wrong[0]]} in row {wrong[0]} "
            f"({len(wrong)} of {len(values)} rows). The policy may have diverged, or a response is "
            "empty. Leave these pairs out."
        )
    check_prob(prob)
    if draws < 100:
        raise InputError(f"Expected draws of at least 100; got {draws}.")
    return values, read_levels(groups, len(values), "pair")


def _clusters(clusters: Sequence[Any] | None, size: int) -> np.ndarray:
    """Number of the cluster (pair,) of every pair."""
    if clusters is None:
        return np.arange(size)
    if isinstance(clusters, str):
        raise TypeError(
            f"Expected clusters as a label for each pair; got the text {clusters!r}. Give the "
            "column itself."
        )
    column = read_column(clusters, size, "pair", "a cluster", "Give them one each")
    return pd.factorize(column)[0]


def _without_gradients(strength: Mixing) -> Mixing:
    """The mixing distribution without gradients, as it is while it is learned."""
    held = {k: v for k, v in strength.parameters.items() if isinstance(v, torch.Tensor)}
    if not held:
        return strength
    numbers = {name: value.detach().cpu().double().numpy() for name, value in held.items()}
    return strength.with_parameters({**strength.parameters, **numbers})


def _of_pairs(delta: np.ndarray, strength: Mixing) -> np.ndarray:
    """Accuracy, margin, negative log-likelihood, confidence (pair, 4)."""
    log_p = log_choice_probability(torch.as_tensor(delta), strength).numpy()
    accuracy = np.where(delta == 0, 0.5, delta > 0)
    # Of the response that the policy puts first.
    ahead = log_choice_probability(torch.as_tensor(np.abs(delta)), strength).numpy()
    return np.stack([accuracy, _means(strength) * delta, -log_p, np.exp(ahead)], axis=1)


def _means(strength: Mixing) -> Any:
    """Mean strength, one for all or one for each pair."""
    if all(np.ndim(value) == 0 for value in strength.parameters.values()):
        return strength.mean()
    parameters = {name: torch.as_tensor(value) for name, value in strength.parameters.items()}
    return strength.with_parameters(parameters).mean().numpy()


def _summary(each: np.ndarray) -> np.ndarray:
    """Metrics (metric,) of pairs, each counting once."""
    return np.append(each[:, :3].mean(axis=0), _errors(each, np.ones((1, len(each)))))


def _errors(each: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Calibration errors (sample,) of samples that hold each pair ``weight`` times."""
    # Ten bins of about equal numbers by confidence.
    rank = np.argsort(np.argsort(each[:, 3], kind="stable"), kind="stable")
    count = min(_BINS, len(each))
    gap = np.zeros((len(each), count))
    # In each bin the sum of confidence less accuracy; its size over all pairs.
    gap[np.arange(len(each)), rank * count // len(each)] = each[:, 3] - each[:, 0]
    return np.abs(weight @ gap).sum(axis=1) / weight.sum(axis=1)


class _Part:
    """The pairs of one level: accuracy, margin, likelihood and confidence (pair, 4)."""

    def __init__(
        self, each: np.ndarray, cluster: np.ndarray, draws: int, rng: np.random.Generator
    ) -> None:
        _, self.cluster = np.unique(cluster, return_inverse=True)
        self.each, self.pairs, self.value = each, len(each), _summary(each)
        self.errors = self._bootstrapped(draws, rng)

    def interval(self, prob: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (metric,)."""
        accuracy, margin, likelihood = self.each[:, :3].T
        ends = [
            share_interval(accuracy, self.cluster, prob),
            mean_interval(margin, self.cluster, prob),
            mean_interval(likelihood, self.cluster, prob),
            _percentiles(self.errors, prob),
        ]
        low, high = np.array(ends).T
        low[2] = np.maximum(low[2], 0.0)  # a likelihood of a choice is at most 1
        return low, high

    def _bootstrapped(self, draws: int, rng: np.random.Generator) -> np.ndarray:
        """Calibration errors (draw,) of samples of whole clusters; missing where there is one."""
        clusters = int(self.cluster.max()) + 1
        if clusters < 2:
            return np.full(draws, np.nan)
        at_once = max(1, _MOST_AT_ONCE // self.pairs)
        parts = []
        for start in range(0, draws, at_once):
            count = min(at_once, draws - start)
            drawn = rng.integers(clusters, size=(count, clusters))
            place = drawn + clusters * np.arange(count)[:, None]
            times = np.bincount(place.ravel(), minlength=clusters * count)
            weight = times.reshape(count, clusters)[:, self.cluster]
            parts.append(_errors(self.each, weight.astype(float)))
        return np.concatenate(parts)


def _percentiles(drawn: np.ndarray, prob: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - prob) / 2, (1 + prob) / 2])
    return float(low), float(high)


def _macro(
    parts: Sequence[_Part],
    value: np.ndarray,
    ends: np.ndarray,
    correlations: Sequence[np.ndarray],
    prob: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Ends (metric,) of the mean over levels from those of the levels (level, end, metric)."""
    out = [
        macro_interval(value[:, m], ends[:, 0, m], ends[:, 1, m], correlation)
        for m, correlation in enumerate(correlations)
    ]
    out.append(_percentiles(np.mean([part.errors for part in parts], axis=0), prob))
    low, high = np.array(out).T
    return low, high


def _worst_interval(
    parts: Sequence[_Part], ends: np.ndarray, outer: np.ndarray, prob: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends (metric,) of the worst level from those of the levels (level, end, metric).

    ``outer`` are those that hold for all levels at once.
    """
    low = np.append(ends[:, 0, :2].min(axis=0), outer[:, 0, 2:3].max(axis=0))
    high = np.append(outer[:, 1, :2].min(axis=0), ends[:, 1, 2:3].max(axis=0))
    errors = _percentiles(np.max([part.errors for part in parts], axis=0), prob)
    return np.append(low, errors[0]), np.append(high, errors[1])


def _worst(values: np.ndarray) -> np.ndarray:
    """The worst level (…, metric) of metrics (level, …, metric): low is bad in the first two."""
    return np.concatenate([values[..., :2].min(axis=0), values[..., 2:].max(axis=0)], axis=-1)


def _row(
    factor: str,
    level: str,
    kind: str,
    pairs: int,
    value: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> dict[str, Any]:
    row: dict[str, Any] = {"factor": factor, "level": level, "kind": kind, "pairs": pairs}
    for m, metric in enumerate(METRICS):
        row |= {metric: value[m], f"{metric}_low": low[m], f"{metric}_high": high[m]}
    return row
