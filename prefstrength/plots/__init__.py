"""Figures: each one function, one file, returning the Matplotlib axes it drew on."""

from prefstrength.plots.calibration import plot_calibration
from prefstrength.plots.choice_curve import plot_choice_curve
from prefstrength.plots.choosers import plot_choosers
from prefstrength.plots.comparison import plot_comparison
from prefstrength.plots.data import plot_data
from prefstrength.plots.groups import plot_groups
from prefstrength.plots.plan import plot_plan
from prefstrength.plots.prior_posterior import plot_prior_posterior
from prefstrength.plots.sensitivity import plot_sensitivity
from prefstrength.plots.strength import plot_strength
from prefstrength.plots.trajectory import plot_trajectory

__all__ = [
    "plot_calibration",
    "plot_choice_curve",
    "plot_choosers",
    "plot_comparison",
    "plot_data",
    "plot_groups",
    "plot_plan",
    "plot_prior_posterior",
    "plot_sensitivity",
    "plot_strength",
    "plot_trajectory",
]
