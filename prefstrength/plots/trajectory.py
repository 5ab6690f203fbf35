"""Trajectory of the learned strength during training, against its prior."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.choice.mixing.families import family_named
from prefstrength.choice.mixing.zero_mass import with_zero_share
from prefstrength.errors import InputError
from prefstrength.plots.style import DOUBLE, GREY, LEARNED, PRIOR, TRUTH, panels, percent, style
from prefstrength.plots.truth import Truth

__all__ = ["plot_trajectory"]


def plot_trajectory(
    learned: Any,
    *,
    prob: float = 0.9,
    axes: Sequence[Axes] | None = None,
    truth: Any = None,
) -> np.ndarray:
    """Draw mean and spread of the learned strength against training steps.

    Parameters
    ----------
    learned : LearnedStrength, path, or object with ``learned()``
        What training left; a path is that of ``learned_strength.json`` or its folder.
    prob : float
        Probability of the prior's interval, which is shaded.
    axes : sequence of two Axes, optional
        Where to draw; a new figure by default.
    truth : Mixing or dict, optional
        A mixing distribution for all, of which the spread is drawn; its mean is on another scale.

    Returns
    -------
    numpy.ndarray of Axes, shape (2,)
        Mean strength, coefficient of variation.

    Raises
    ------
    InputError
        If the record holds no trajectory.

    Examples
    --------
    >>> import prefstrength as ps
    >>> from matplotlib.figure import Figure
    >>> points = [{"step": s, "shape": 4.0, "rate": 40.0, "mean": 0.1, "cv": 0.5} for s in (0, 9)]
    >>> learned = ps.LearnedStrength(
    ...     "Gamma", {"shape": 4.0, "rate": 40.0}, mode="joint", steps=9, trajectory=points
    ... )
    >>> [ax.get_ylabel() for ax in ps.plot_trajectory(learned, axes=Figure().subplots(1, 2))]
    ['mean strength β (per nat)', 'sd / mean of strength']
    """
    record = as_learned(learned)
    if not record.trajectory:
        raise InputError(
            "Expected a record with a trajectory; got none. "
            "Training writes one, in learned_strength.json."
        )
    step = np.array([point["step"] for point in record.trajectory], float)
    with style():
        drawn = panels(1, 2, DOUBLE, 2.4, axes)
        for ax, quantity in zip(drawn, ("mean", "cv"), strict=True):
            value = np.array([point[quantity] for point in record.trajectory], float)
            band = _prior_band(record, quantity, prob)
            if band is not None:
                low, middle, high = band
                ax.axhspan(low, high, color=PRIOR, alpha=0.25, linewidth=0,
                           label=f"prior ({percent(prob)})")  # fmt: skip
                ax.axhline(middle, color=GREY, linewidth=0.9, linestyle="--")
            ax.plot(step, value, color=LEARNED, marker="o" if len(step) <= 40 else None,
                    markersize=3, label="learned")  # fmt: skip
            if quantity == "cv" and truth is not None:
                spread = _true_cv(truth)
                if spread is not None:
                    ax.axhline(spread, color=TRUTH, linewidth=1.0, linestyle=(0, (4, 2)),
                               label="truth")  # fmt: skip
            _limits(ax, value, band)
            ax.set_xlim(step.min(), max(step.max(), step.min() + 1))
            ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            ax.set_xlabel("training step")
        drawn[0].set_ylabel("mean strength β (per nat)")
        drawn[1].set_ylabel("sd / mean of strength")
        drawn[1].legend(loc="best")
    return drawn


def as_learned(learned: Any) -> LearnedStrength:
    """Read what training learned, from a record, a path, or a trainer's strength."""
    if isinstance(learned, str | os.PathLike):
        return LearnedStrength.load(learned)
    if hasattr(learned, "learned"):
        learned = learned.learned()
    if not isinstance(learned, LearnedStrength):
        raise TypeError(
            f"Expected a LearnedStrength, its path or a trainer's strength; got "
            f"{type(learned).__name__}."
        )
    return learned


def _prior_band(
    record: LearnedStrength, quantity: str, prob: float
) -> tuple[float, float, float] | None:
    """Quantiles of the mean, or of the cv, under the prior of training."""
    from scipy.stats import norm

    prior = record.prior
    if prior is None:
        return None
    z = norm.ppf(0.5 + prob / 2) * np.array([-1.0, 0.0, 1.0])
    if quantity == "mean":
        low, middle, high = (1 - prior.zero_share) * np.exp(prior.location + prior.location_sd * z)
    elif prior.dispersion is None or prior.dispersion_sd is None:
        return None
    else:
        family = family_named(prior.family)
        laws = family.from_log_mean_spread(0.0, prior.dispersion + prior.dispersion_sd * z)
        low, middle, high = with_zero_share(laws, prior.zero_share).cv()
    return float(low), float(middle), float(high)


def _limits(ax: Axes, value: np.ndarray, band: tuple[float, float, float] | None) -> None:
    """Room for the curve and, unless it would flatten the curve, for the whole prior."""
    low, high = float(value.min()), float(value.max())
    if band is not None:
        low, high = min(low, max(band[0], low / 3)), max(high, min(band[2], 3 * high))
    room = 0.08 * (high - low) or 0.1 * abs(high) or 0.1
    ax.set_ylim(max(low - room, 0.0) if low >= 0 else low - room, high + room)


def _true_cv(truth: Any) -> float | None:
    known = Truth.of(truth)
    return known.summary([({}, 1.0)]).get("cv")
