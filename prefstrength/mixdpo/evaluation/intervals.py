"""Intervals of means over rows that come in clusters, of their macro mean and of their worst.

They hold in small samples, where a bootstrap of few rows is too sure, and of one row certain.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.special import ndtri, stdtrit

__all__ = [
    "between_levels",
    "independent_rows",
    "macro_interval",
    "mean_interval",
    "share_interval",
    "worst_prob",
]

# Variances below this share of the largest possible one are rounding.
_ROUNDING = 1e-12


def independent_rows(values: np.ndarray, cluster: np.ndarray, prob: float) -> float:
    r"""Number of independent rows that clusters leave of the rows that make up a share.

    Parameters
    ----------
    values, cluster, prob
        As of :func:`share_interval`.

    Returns
    -------
    float

    Notes
    -----
    That number is :math:`p(1-p)/V`, V the cluster-robust variance, times
    :math:`(t_{n-1}/t_f)^2` for n rows and f degrees of freedom [1]_, at most n, and f + 1 where all
    clusters agree. V and f are those of :func:`mean_interval`, V times f / (f + 1), so that where
    every row is a cluster of its own and there are no ties the number is n.

    References
    ----------
    .. [1] Korn, Graubard (1998), Survey Methodology 24, 193-201.

    Examples
    --------
    >>> independent_rows(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1]), 0.9) < 2
    True
    """
    share, rows = float(values.mean()), len(values)
    variance, freedom = _variance(values, cluster)
    most, size = share * (1 - share), freedom + 1
    variance *= freedom / size
    if freedom > 0 and variance > _ROUNDING * most / rows:
        tail = (1 + prob) / 2
        exact = stdtrit(rows - 1, tail) / stdtrit(freedom, tail)
        return float(min(rows, most / variance * exact**2))
    return float(size)


def share_interval(values: np.ndarray, cluster: np.ndarray, prob: float) -> tuple[float, float]:
    """Wilson's interval of a share, with the number of independent rows that the clusters leave.

    Parameters
    ----------
    values : ndarray, shape (row,)
        In [0, 1], such as 1, 0 and 0.5 for ties.
    cluster : ndarray, shape (row,)
        Number of the cluster of every row.
    prob : float
        Probability of the interval.

    Returns
    -------
    low, high : float

    Examples
    --------
    >>> low, high = share_interval(np.ones(4), np.arange(4), 0.9)
    >>> round(low, 3), round(high, 3)
    (0.597, 1.0)
    """
    share, size = float(values.mean()), independent_rows(values, cluster, prob)
    most = share * (1 - share)
    z = float(ndtri((1 + prob) / 2))
    middle = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    half = np.sqrt(most / size + (z / (2 * size)) ** 2) * z / (1 + z**2 / size)
    return float(min(middle - half, share)), float(max(middle + half, share))


def mean_interval(values: np.ndarray, cluster: np.ndarray, prob: float) -> tuple[float, float]:
    r"""Student's interval of a mean, from the cluster-robust variance.

    Parameters
    ----------
    values : ndarray, shape (row,)
    cluster : ndarray, shape (row,)
        Number of the cluster of every row.
    prob : float
        Probability of the interval.

    Returns
    -------
    low, high : float
        NaN for fewer than two clusters, of which nothing tells how they vary.

    Notes
    -----
    Variance and degrees of freedom are Bell and McCaffrey's [1]_ [2]_,

    .. math::
        V = \sum_g \frac{S_g^2}{n^2 (1 - w_g)}, \qquad
        \frac1f = \sum_g w_g^2 + \sum_{g \ne h} \frac{w_g^2 w_h^2}{(1 - w_g)(1 - w_h)}

    with S_g the sum over a cluster of the distances from the mean and w_g its share of the n rows:
    for G clusters of one size f = G - 1, fewer where some are much larger than others, and for rows
    on their own Student's interval. Where rows of a cluster are alike and one cluster has most of
    them, no number of degrees of freedom is exact: a 90 % interval then holds about 85 %.

    References
    ----------
    .. [1] Bell, McCaffrey (2002), Survey Methodology 28, 169-181.
    .. [2] Imbens, Kolesár (2016), Review of Economics and Statistics 98, 701-712.

    Examples
    --------
    >>> low, high = mean_interval(np.array([1.0, 3.0]), np.arange(2), 0.9)
    >>> round(low, 3), round(high, 3)
    (-4.314, 8.314)
    """
    variance, freedom = _variance(values, cluster)
    if freedom == 0:
        return np.nan, np.nan
    half = stdtrit(freedom, (1 + prob) / 2) * np.sqrt(variance)
    return float(values.mean() - half), float(values.mean() + half)


def between_levels(values: np.ndarray, code: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Correlations (level, level) of the levels' means, which come from clusters that they share.

    Parameters
    ----------
    values : ndarray, shape (row,)
    code : ndarray, shape (row,)
        Number of the level of every row, each of 0, 1, … at least once.
    cluster : ndarray, shape (row,)
        Number of the cluster of every row.

    Returns
    -------
    ndarray, shape (level, level)
        The identity where every cluster lies in one level. Levels that do not vary count as
        independent of the others.
    """
    levels = int(code.max()) + 1
    _, cluster = np.unique(cluster, return_inverse=True)
    size = np.bincount(code, minlength=levels)
    off = values - (np.bincount(code, values, minlength=levels) / size)[code]
    both, place = np.unique(cluster * levels + code, return_inverse=True)
    pull = np.bincount(place, off / size[code])  # of each cluster on each level that it is in
    if len(both) == cluster.max() + 1:
        return np.eye(levels)
    table = coo_array((pull, (both // levels, both % levels))).tocsc()
    out = (table.T @ table).toarray()
    sd = np.sqrt(np.diag(out))
    scale = np.where(sd > 0, sd, 1.0)
    out /= np.outer(scale, scale)
    np.fill_diagonal(out, 1.0)
    return out


def macro_interval(
    value: np.ndarray, low: np.ndarray, high: np.ndarray, correlation: np.ndarray
) -> tuple[float, float]:
    r"""Interval of the mean over levels, from the intervals of the levels.

    .. math:: \bar\theta - \tfrac1K \sqrt{d^\top R d}, \quad d_k = \hat\theta_k - l_k

    and above likewise [1]_. It is missing where that of a level is, and no surer than they are.

    Parameters
    ----------
    value, low, high : ndarray, shape (level,)
        Of the levels.
    correlation : ndarray, shape (level, level)
        As of :func:`between_levels`.

    Returns
    -------
    low, high : float

    References
    ----------
    .. [1] Zou, Huang, Zhang (2009), Computational Statistics & Data Analysis 53, 1080-1085;
       Zou (2007), Psychological Methods 12, 399-413.

    Examples
    --------
    >>> one = np.ones(2)
    >>> low, high = macro_interval(one, 0.6 * one, one, np.eye(2))
    >>> round(low, 3), high
    (0.717, 1.0)
    """
    # The correlations are positive semidefinite: what is below 0 is rounding.
    down, up = (
        np.sqrt(np.maximum(d @ correlation @ d, 0.0)) / len(value)
        for d in (np.maximum(value - low, 0.0), np.maximum(high - value, 0.0))
    )
    return float(value.mean() - down), float(value.mean() + up)


def worst_prob(prob: float, levels: int) -> float:
    """Probability of the levels' intervals that bound the worst level from its better side.

    The worst level is at least as bad as every level, so that the bound is the best of many and
    the error is split over them (Bonferroni). From its worse side, the intervals as they are
    suffice: the worst of their ends misses only if the worst level's own does.

    Examples
    --------
    >>> round(worst_prob(0.9, 5), 3)
    0.98
    """
    return 1 - (1 - prob) / levels


def _variance(values: np.ndarray, cluster: np.ndarray) -> tuple[float, float]:
    """Cluster-robust variance of the mean, and its degrees of freedom; 0 of one cluster."""
    _, code = np.unique(cluster, return_inverse=True)
    sums, share = np.bincount(code, values - values.mean()), np.bincount(code) / len(values)
    if len(sums) < 2:
        return 0.0, 0.0
    pull = share**2 / (1 - share)
    between = np.sum(pull) ** 2 - np.sum(pull**2)
    variance = np.sum(sums**2 / (1 - share)) / len(values) ** 2
    return float(variance), float(1 / (np.sum(share**2) + between))
