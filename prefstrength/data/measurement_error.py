r"""Measurement error of rewards: that of an ensemble's mean, and what it does to strength.

Rewards are estimates. Where several reward models (or heads, or seeds) score the same pairs, they
agree on what they measure and differ by their errors. After each member's differences are put on
root mean square 1, member j is :math:`w_j = \ell_j x + e_j` with x of variance 1 (one factor); the
mean of the K members measures x with reliability

.. math:: \omega = \frac{(\sum_j \ell_j)^2}{(\sum_j \ell_j)^2 + \sum_j (1 - \ell_j^2)},

McDonald's omega. With K = 2 the loadings are not identified and are taken for equal, which makes
it Spearman and Brown's 2r/(1 + r). Differences have no orientation of their own (which response
is named first is arbitrary), so all moments are about 0.

References
----------
.. [1] McDonald (1999), Test Theory: A Unified Treatment, ch. 6.
.. [2] Fuller (1987), Measurement Error Models.
.. [3] Carroll, Ruppert, Stefanski, Crainiceanu (2006), Measurement Error in Nonlinear Models.
"""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, listed, nearest
from prefstrength.data.columns import column, is_nested, numbers
from prefstrength.data.messages import to_messages
from prefstrength.errors import InputError

if TYPE_CHECKING:
    pass

__all__ = ["RewardError", "measurement_error"]

_BOOTSTRAP = 1000
_FEWEST = 10


@dataclass(frozen=True)
class RewardError:
    """Error of an attribute's differences, for ``MixedLogit(errors=...)``.

    Parameters
    ----------
    sd : float
        Standard deviation of the error of the difference of a pair, in units of the attribute;
        0 for none.
    reliability, reliability_low, reliability_high : float, optional
        Share of the variance of the differences that is true, where it was estimated, and its
        bootstrap interval.
    members : tuple of str
        Rewards of the ensemble that it was estimated from; ``combine`` averages them.
    units : tuple of float
        By which each member's differences are divided: its root mean square, and in common what
        gives the mean root mean square 1.
    loadings : tuple of float
        How each member, in units of its root mean square, loads on what all measure.
    pairs : int
        Pairs that it was estimated from.
    prob : float
        Probability of the interval.

    Raises
    ------
    InputError
        If ``sd`` is negative or not finite.

    Notes
    -----
    The error is taken to be normal, equally large for all pairs and to have nothing to do with
    the choice once the true difference is known. Errors that the members share are invisible:
    the reliability is an upper bound, and ``sd`` a lower one.

    Examples
    --------
    >>> RewardError(sd=0.5).sd
    0.5
    """

    sd: float
    reliability: float | None = None
    reliability_low: float | None = None
    reliability_high: float | None = None
    members: tuple[str, ...] = ()
    units: tuple[float, ...] = ()
    loadings: tuple[float, ...] = ()
    pairs: int = 0
    prob: float = 0.9

    def __post_init__(self) -> None:
        if isinstance(self.sd, bool) or not isinstance(self.sd, Real):
            raise TypeError(f"Expected the sd of an error as a number; got {self.sd!r}.")
        if not (np.isfinite(self.sd) and self.sd >= 0):
            raise InputError(
                "Expected the sd of an error as a number of at least 0, in units of the reward; "
                f"got {self.sd}."
            )
        # NumPy's numbers would stop a fit from being saved, after the work
        for name in ("sd", "reliability", "reliability_low", "reliability_high", "prob"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else float(value))
        for name in ("units", "loadings"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        object.__setattr__(self, "members", tuple(map(str, self.members)))
        object.__setattr__(self, "pairs", int(self.pairs))

    def combine(self, rewards: Any, attribute: str = "reward") -> Any:
        """The mean of the ensemble's members, brought to root mean square 1 before and after.

        This is the reward that ``sd`` belongs to, and the ``reward`` of
        :func:`~prefstrength.score` with a list of rewards.

        Parameters
        ----------
        rewards : pandas.DataFrame or array, shape (pair, member)
            A table with columns ``<member>_chosen`` and ``<member>_rejected``, or differences.
        attribute : str
            Name of the mean in the table that is returned.

        Returns
        -------
        pandas.DataFrame or numpy.ndarray, shape (pair,)
            The table with columns ``<attribute>_chosen`` and ``<attribute>_rejected`` added, or
            the differences.

        Raises
        ------
        InputError
            If this error was given and not estimated, or a member is missing.

        Examples
        --------
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> true = rng.normal(size=(500, 1))
        >>> error = measurement_error(true + rng.normal(size=(500, 2)))
        >>> error.combine(np.array([[1.5, 1.4]])).round(1).tolist()
        [1.2]
        """
        if not self.units:
            raise InputError(
                "Expected an error that measurement_error estimated from an ensemble; got one "
                "that was given, which has no members to combine."
            )
        units = np.array(self.units)
        if not isinstance(rewards, pd.DataFrame):
            differences = _array(rewards)
            if differences.ndim != 2 or differences.shape[1] != len(units):
                raise InputError(
                    f"Expected differences of shape (pair, {len(units)}), one column for each "
                    f"member; got shape {differences.shape}."
                )
            return (differences / units).mean(axis=1)
        out = rewards.copy()
        for side in ("chosen", "rejected"):
            columns = _columns(rewards, self.members, side)
            out[f"{attribute}_{side}"] = (columns / units).mean(axis=1)
        return out

    def as_json(self) -> dict[str, Any]:
        """Fields as a fit's file holds them."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def __str__(self) -> str:
        if self.reliability is None:
            return f"error of a difference: sd {self.sd:.3g}"
        return (
            f"error of a difference of the mean of {len(self.units)} rewards: sd {self.sd:.3g}; "
            f"reliability {self.reliability:.2f}, {self.prob:.0%} interval "
            f"{self.reliability_low:.2f} to {self.reliability_high:.2f}, from {self.pairs:,} "
            "pairs. Errors that the rewards share are not seen: the reliability is an upper bound."
        )


def measurement_error(
    rewards: Any,
    members: Sequence[str] | None = None,
    prompt: str | None = None,
    prob: float = 0.9,
    seed: int = 0,
) -> RewardError:
    """Error of the mean of an ensemble of rewards, from how far its members disagree.

    Parameters
    ----------
    rewards : pandas.DataFrame or array, shape (pair, member)
        A table of pairs with columns ``<member>_chosen`` and ``<member>_rejected`` for every
        member, or the differences chosen minus rejected (in any orientation, the same for all
        members). Two members at least: reward models, heads of one, or seeds of one.
    members : sequence of str, optional
        Names of the members in a table, such as ``["reward_1", "reward_2"]``.
    prompt : str, optional
        Column of the table that says which pairs share a prompt (texts, lists of messages, or
        numbers): the bootstrap then draws prompts, as pairs of one prompt are alike. Pairs are
        drawn when left out.
    prob : float
        Probability of the bootstrap interval of the reliability.
    seed : int
        Of the bootstrap.

    Returns
    -------
    RewardError
        Of the mean of the members, each brought to root mean square 1, and the mean again;
        :meth:`RewardError.combine` computes it.

    Raises
    ------
    InputError
        For fewer than two members, missing columns, numbers that are not finite, a member that
        never differs, members that have nothing in common, one that goes against the others, or
        two that are the same.

    Notes
    -----
    With three or more members each has a loading of its own (a congeneric, one-factor model,
    fitted by unweighted least squares to the correlations); with two, both are taken to be
    equally reliable, which cannot be checked.

    What cannot be known from an ensemble: errors that all members share, because they were
    trained on the same data or share a bias for length, look like truth. The reliability is an
    upper bound.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> true = rng.normal(size=(2000, 1))
    >>> error = measurement_error(true + rng.normal(size=(2000, 2)))
    >>> round(error.reliability, 1)  # 2 members of reliability 1/2
    0.7
    """
    if not 0 < prob < 1:
        raise InputError(f"Expected prob between 0 and 1; got {prob}.")
    differences, names = _differences(rewards, members)
    clusters = None
    if prompt is not None:
        if not isinstance(rewards, pd.DataFrame) or prompt not in rewards.columns:
            raise InputError(
                f"Expected the column {prompt!r} in a table of pairs; got "
                + (
                    f"columns {listed(rewards.columns)}."
                    if isinstance(rewards, pd.DataFrame)
                    else "an array. Leave `prompt` out."
                )
            )
        clusters = _clusters(column(rewards, prompt, "prompt"), prompt)
    products = differences[:, :, None] * differences[:, None, :]
    moments = products.mean(axis=0)
    loadings, reliability, variance = _of_moments(moments)
    if not reliability > 0:
        raise InputError(
            "Expected rewards that measure something in common; got correlations of their "
            f"differences of {_correlations(moments)}. Check that all score the same pairs in the "
            "same orientation, and that higher is better in each."
        )
    _refuse_copies(moments, names)
    rng = np.random.default_rng(seed)
    drawn, reliabilities, _ = _of_moments(_resampled(products, clusters, rng))
    ends = [(1 - prob) / 2, (1 + prob) / 2]
    low, high = np.quantile(reliabilities, ends)
    highest = np.quantile(drawn, ends[1], axis=0)
    against = [name for name, most in zip(names, highest, strict=True) if most < 0]
    if against:
        raise InputError(
            f"Expected rewards of which higher is better; got {listed(against)} against the "
            f"others, with loadings of {', '.join(f'{v:.2f}' for v in loadings)} for "
            f"{listed(names)}. Their mean would take away what it should gather. Turn the sign of "
            "such a reward, or leave it out."
        )
    return RewardError(
        sd=float(np.sqrt(1 - reliability)),
        reliability=float(reliability),
        reliability_low=float(low),
        reliability_high=float(high),
        members=names,
        # The mean of members of root mean square 1 has less, as they do not agree in all.
        units=tuple(float(v) for v in np.sqrt(np.diag(moments) * variance)),
        loadings=tuple(float(v) for v in loadings),
        pairs=len(differences),
        prob=prob,
    )


def _differences(rewards: Any, members: Sequence[str] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Differences (pair, member), checked, and names."""
    if isinstance(rewards, pd.DataFrame):
        if members is None or isinstance(members, str):
            raise InputError(
                "Expected the names of the rewards in the table, such as "
                f"`members=['reward_1', 'reward_2']`; got {members!r}."
            )
        names = tuple(members)
        sides = [_columns(rewards, names, side) for side in ("chosen", "rejected")]
        differences = sides[0] - sides[1]
    else:
        if members is not None:
            raise InputError("Expected `members` with a table of pairs only; got an array.")
        differences = _array(rewards)
        if differences.ndim != 2:
            raise InputError(
                f"Expected differences of shape (pair, member); got shape {differences.shape}."
            )
        names = tuple(f"reward_{j + 1}" for j in range(differences.shape[1]))
    if len(set(names)) != len(names) or len(names) < 2:
        raise InputError(
            f"Expected at least two different rewards; got {list(names)}. One reward alone does "
            "not tell its error: score again with another seed, head or model."
        )
    if len(differences) < _FEWEST:
        raise InputError(f"Expected at least {_FEWEST} pairs; got {len(differences)}.")
    wrong = ~np.isfinite(differences)
    if wrong.any():
        rows = np.flatnonzero(wrong.any(axis=1))
        raise InputError(
            f"Expected finite rewards; got {len(rows):,} of {len(differences):,} pairs with "
            f"others (first: {', '.join(map(str, rows[:3]))}). Drop them, or score them again."
        )
    flat = [name for name, d in zip(names, differences.T, strict=True) if not np.any(d)]
    if flat:
        raise InputError(
            f"Expected rewards that differ within pairs; got only differences of 0 in {flat}."
        )
    return differences, names


def _array(rewards: Any) -> np.ndarray:
    try:
        return np.asarray(rewards, dtype=float)
    except (TypeError, ValueError):
        raise InputError(
            "Expected a table of pairs, or numbers of shape (pair, member); got "
            f"{type(rewards).__name__} of something else. Make a table with pandas.DataFrame."
        ) from None


def _clusters(values: pd.Series, name: str) -> np.ndarray:
    """Code of every pair's prompt: a text, a list of messages, or a number that stands for it."""
    keys: list[Any] = []
    wrong = np.zeros(len(values), dtype=bool)
    for i, value in enumerate(values):
        messages = to_messages(value)
        if messages is not None:
            keys.append(tuple((m["role"], m["content"]) for m in messages))
            continue
        wrong[i] = is_nested(value) or bool(pd.isna(value))
        keys.append(None if wrong[i] else value)
    if wrong.any():
        raise InputError(
            f"Column {name!r} should say which prompt a pair belongs to, as a text, a number or a "
            f"list of messages; got something else in {Rows(values.index).where(wrong)}. Fill it "
            "in, or leave `prompt` out to draw pairs."
        )
    codes: dict[Any, int] = {}
    return np.array([codes.setdefault(key, len(codes)) for key in keys])


def _refuse_copies(moments: np.ndarray, names: Sequence[str]) -> None:
    """Refuse members that are the same but for their unit: they agree in their errors, too."""
    sd = np.sqrt(np.diag(moments))
    correlation = moments / np.outer(sd, sd)
    for (i, one), (j, other) in itertools.combinations(enumerate(names), 2):
        if correlation[i, j] > 1 - 1e-9:
            raise InputError(
                f"Expected rewards that were made apart from each other; got {one!r} and "
                f"{other!r}, which are the same but for their unit. Their error cannot be seen "
                "in how far they disagree. Score with another model, head or seed."
            )


def _columns(frame: pd.DataFrame, members: Sequence[str], side: str) -> np.ndarray:
    names = [f"{member}_{side}" for member in members]
    missing = [name for name in names if name not in frame.columns]
    if missing:
        close = nearest(missing[0], frame.columns)
        hint = f" Did you mean {close!r}?" if close else ""
        raise InputError(
            f"Expected columns {listed(names)}; got none called {listed(missing)}.{hint} A reward "
            "of a pair is two columns, <name>_chosen and <name>_rejected."
        )
    rows = Rows(frame.index)
    found = [numbers(column(frame, name, "members"), name, rows) for name in names]
    return np.stack(found, axis=1) if found else np.empty((len(frame), 0))


def _correlations(moments: np.ndarray) -> str:
    sd = np.sqrt(np.diag(moments))
    correlation = (moments / np.outer(sd, sd))[np.triu_indices(len(sd), 1)]
    return ", ".join(f"{value:.2f}" for value in correlation[:6])


def _of_moments(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loadings (..., member), reliability and variance of the mean of the standardised members.

    Of one matrix of second moments (member, member), or of many at once.
    """
    sd = np.sqrt(np.diagonal(moments, axis1=-2, axis2=-1))
    correlation = moments / (sd[..., :, None] * sd[..., None, :])
    count = sd.shape[-1]
    if count == 2:
        shared = np.sqrt(np.maximum(correlation[..., 0, 1], 0.0))
        loading = np.stack([shared, shared], axis=-1)
    else:
        loading = _one_factor(correlation.reshape(-1, count, count)).reshape(sd.shape)
    common = loading.sum(axis=-1) ** 2
    noise = (1 - loading**2).sum(axis=-1)
    return loading, common / (common + noise), correlation.mean(axis=(-2, -1))


def _one_factor(correlation: np.ndarray) -> np.ndarray:
    """Loadings of one factor by least squares on the correlations off the diagonal (minres).

    Of many matrices at once, (sample, member, member).
    """
    values, vectors = np.linalg.eigh(correlation)
    loading = vectors[..., -1] * np.sqrt(values[:, -1:])
    loading = np.clip(loading * _sign(loading), -1.0, 1.0)
    off = correlation * (1 - np.eye(correlation.shape[-1]))
    for _ in range(500):
        before = loading.copy()
        for j in range(loading.shape[1]):  # each given the others: a regression without intercept
            total = (loading**2).sum(axis=1) - loading[:, j] ** 2
            fitted = (off[:, j] * loading).sum(axis=1) / np.maximum(total, 1e-300)
            loading[:, j] = np.where(total > 0, np.clip(fitted, -1.0, 1.0), loading[:, j])
        if np.max(np.abs(loading - before)) < 1e-10:
            break
    return np.asarray(loading * _sign(loading))


def _sign(loading: np.ndarray) -> np.ndarray:
    """By which loadings (sample, member) are turned so that their sum is positive."""
    return np.where(loading.sum(axis=1, keepdims=True) < 0, -1.0, 1.0)


def _resampled(
    products: np.ndarray, clusters: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """Second moments of bootstrap samples of pairs or clusters, (sample, member, member)."""
    size = products.shape[1]
    flat, counts = products.reshape(len(products), -1), np.ones(len(products))
    if clusters is not None:
        counts = np.bincount(clusters).astype(float)
        flat = np.stack([np.bincount(clusters, weights=column) for column in flat.T], axis=1)
    out = np.empty((_BOOTSTRAP, size, size))
    for sample in range(_BOOTSTRAP):
        times = np.bincount(rng.integers(0, len(flat), len(flat)), minlength=len(flat))
        out[sample] = (times @ flat / (times @ counts)).reshape(size, size)
    return out
