"""Prior against posterior of the population level: what is data, what was assumed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from prefstrength.plots.observed import cell_weights, check_factor
from prefstrength.plots.style import (
    GREY,
    POSTERIOR,
    PRIOR,
    TRUTH,
    grid_of_panels,
    points,
    shared_labels,
    short,
    style,
)
from prefstrength.plots.truth import Truth
from prefstrength.posterior.fit import Fit

__all__ = ["plot_prior_posterior"]

#: A variable, and the kind of choosers where there are several.
Shown = tuple[str, int | None]


def plot_prior_posterior(
    fit: Fit,
    *,
    by: str | None = None,
    attribute: str | None = None,
    prob: float = 0.9,
    axes: Sequence[Axes] | None = None,
    truth: Any = None,
) -> np.ndarray:
    """Draw the prior (grey) and the posterior of location, dispersion and group differences.

    Where the two are alike, the data said nothing: the answer there is the assumption.

    Parameters
    ----------
    fit : Fit
    by : str, optional
        A factor: location and dispersion, and how far its levels lie apart. All by default.
    attribute : str, optional
        The only one, or the only one that varies, by default.
    prob : float
        Probability of the posterior intervals, drawn as bars under the curves.
    axes : sequence of Axes, optional
        Where to draw, one for each variable; a new figure by default.
    truth : Mixing, dict or DataFrame, optional
        A mixing distribution for all; drawn where the fit has no groups (else there is no one true
        value).

    Returns
    -------
    numpy.ndarray of Axes, shape (variable,)

    Raises
    ------
    InputError
        If there is no such factor or attribute.

    Notes
    -----
    ArviZ's own figure of this name joins prior and posterior along a dimension called
    ``group``, the name that our groups have, so this one is drawn here.

    Examples
    --------
    >>> import prefstrength as ps
    >>> from matplotlib.figure import Figure
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=40, situations=10)
    >>> fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    >>> axes = ps.plot_prior_posterior(fit, axes=Figure().subplots(1, 2))
    >>> [ax.get_title("left") for ax in axes]
    ['mean of log β', 'sd of log β']
    """
    attribute = fit.attribute(attribute)
    if by is not None:
        check_factor(by, fit.groups)
    titles = _variables(fit, attribute, [by] if by is not None else fit.groups)
    true = {} if truth is None or fit.groups else _true(fit, attribute, truth)
    with style():
        drawn = grid_of_panels(len(titles), axes)
        for ax, (shown, title) in zip(drawn, titles.items(), strict=True):
            _panel(ax, fit, shown, prob)
            if shown[0] in true:
                ax.axvline(true[shown[0]], color=TRUTH, linewidth=1.0, linestyle=(0, (4, 2)))
            ax.set_title(title, fontsize=points(8), fontweight="normal")
        shared_labels(drawn, "", "", own_figure=axes is None)
    return drawn


def _variables(fit: Fit, attribute: str, factors: list[str]) -> dict[Shown, str]:
    families = fit.mixing(attribute).kinds.families
    found: dict[Shown, str] = {}
    for place, family in enumerate(families, 1):
        kind, which = (None, "") if len(families) == 1 else (place, f",\nkind {place}")
        found[f"{attribute}_location", kind] = f"{family.location_title}{which}"
        if family.varies:
            found[f"{attribute}_dispersion", kind] = f"{family.dispersion_title()}{which}"
        found[f"{attribute}_share", kind] = f"share of kind {place}"
    found[f"{attribute}_zero_share", None] = "share of strength 0"
    for factor in factors:
        name = short(factor, 16)
        found[f"{attribute}_location_sd_{factor}", None] = f"location between\nlevels of {name}"
        found[f"{attribute}_dispersion_sd_{factor}", None] = (
            f"log dispersion between\nlevels of {name}"
        )
    shared = fit.spec.get("shared", {})
    found |= {(name, None): meaning for name, meaning in shared.items()}
    return {shown: title for shown, title in found.items() if shown[0] in fit.posterior}


def _true(fit: Fit, attribute: str, truth: Any) -> dict[str, float]:
    law = Truth.of(truth, fit.groups).law(cell_weights(fit)[0][0])
    if law is None or law.family != fit.family(attribute):
        return {}
    names = (f"{attribute}_location", f"{attribute}_dispersion")
    return dict(zip(names[: 1 + law.varies], law.location_dispersion(), strict=False))


def _panel(ax: Axes, fit: Fit, shown: Shown, prob: float) -> None:
    name, kind = shown
    both = (fit.tree[group][name] for group in ("prior", "posterior"))
    one = (values if kind is None else values.sel(component=kind) for values in both)
    prior, posterior = (np.asarray(values, float).ravel() for values in one)
    positive = bool(prior.min() >= 0 and posterior.min() >= 0)
    low, high = _range(prior, posterior, positive)
    x = np.linspace(low, high, 400)
    before, after = _density(prior, x, positive), _density(posterior, x, positive)
    ax.fill_between(x, before, color=PRIOR, alpha=0.45, linewidth=0, label="prior")
    ax.plot(x, after, color=POSTERIOR, label="posterior")
    tail = (1 - prob) / 2
    ends = np.quantile(posterior, [tail, 1 - tail])
    top = max(after.max(), before.max())
    ax.plot(ends, [-0.05 * top] * 2, color=POSTERIOR, linewidth=2.2, solid_capstyle="butt")
    ax.axhline(0, color=GREY, linewidth=0.5)
    ax.set_ylim(-0.1 * top, 1.12 * top)
    ax.set_xlim(low, high)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.locator_params(axis="x", nbins=5)


def _range(prior: np.ndarray, posterior: np.ndarray, positive: bool) -> tuple[float, float]:
    """All of the posterior, and as much of the prior as leaves the posterior visible."""
    low, high = np.quantile(prior, [0.01, 0.99])
    inner = np.quantile(posterior, [0.001, 0.999])
    width = inner[1] - inner[0]
    low = min(max(low, inner[0] - 6 * width), inner[0])
    high = max(min(high, inner[1] + 6 * width), inner[1])
    return (0.0 if positive else float(low)), float(high)


def _density(draws: np.ndarray, x: np.ndarray, positive: bool) -> np.ndarray:
    """Gaussian kernel density; mirrored at 0, where a positive variable ends."""
    from scipy.stats import gaussian_kde

    if np.ptp(draws) == 0:
        return np.zeros(len(x))
    kernel = gaussian_kde(draws)
    return kernel(x) + kernel(-x) if positive else kernel(x)
