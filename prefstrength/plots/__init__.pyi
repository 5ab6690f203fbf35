"""Public names of prefstrength.plots: the one list, loaded on first use."""

from .calibration import plot_calibration as plot_calibration
from .choice_curve import plot_choice_curve as plot_choice_curve
from .choosers import plot_choosers as plot_choosers
from .comparison import plot_comparison as plot_comparison
from .data import plot_data as plot_data
from .groups import plot_groups as plot_groups
from .plan import plot_plan as plot_plan
from .prior_posterior import plot_prior_posterior as plot_prior_posterior
from .rivals import plot_rivals as plot_rivals
from .sensitivity import plot_sensitivity as plot_sensitivity
from .strength import plot_strength as plot_strength
from .trajectory import plot_trajectory as plot_trajectory
from .transfer import plot_transfer as plot_transfer
