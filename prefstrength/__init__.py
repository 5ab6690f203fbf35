"""Bayesian discrete choice for preference data of language models.

>>> import prefstrength as ps
>>> ps.LogNormal(mu=0.0, sigma=0.7)
LogNormal(mu=0, sigma=0.7)
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefstrength.calibration import Calibration, Coverage, calibrate, coverage
    from prefstrength.checks import Checks, check, compare
    from prefstrength.choices import Choices
    from prefstrength.comparison import StrengthComparison, compare_strength
    from prefstrength.compound import FiniteMixture, Lapse, ZeroMass
    from prefstrength.errors import DataWarning, InputError, SamplingWarning
    from prefstrength.fit import Fit, load_fit
    from prefstrength.learned import LearnedStrength
    from prefstrength.measurement import RewardError, attenuation, measurement_error
    from prefstrength.mixed import choice_score, log_choice_probability
    from prefstrength.mixing import Gamma, InverseGaussian, LogNormal, Normal, PointMass
    from prefstrength.models import MixedLogit
    from prefstrength.other_rewards import length_corrected, sensitivity
    from prefstrength.planning import Plan, plan
    from prefstrength.plots import (
        plot_calibration,
        plot_choice_curve,
        plot_choosers,
        plot_comparison,
        plot_data,
        plot_groups,
        plot_plan,
        plot_prior_posterior,
        plot_sensitivity,
        plot_strength,
        plot_trajectory,
    )
    from prefstrength.prior import StrengthPrior
    from prefstrength.reading import pairs_from_votes, read_choices, read_pairs
    from prefstrength.report import write_report
    from prefstrength.rewards import (
        ColumnReward,
        HFReward,
        ImplicitReward,
        JudgeReward,
        TextReward,
        registered_rewards,
        score,
        score_parquet,
    )
    from prefstrength.simulation import simulate
    from prefstrength.sources import load_pairs
    from prefstrength.streaming import CompressedChoices, compress_choices, load_compressed
    from prefstrength.strength import (
        choice_curve,
        chooser_strengths,
        heterogeneity,
        strength_density,
    )

# Where each public name lives: loaded on first use, so that `import prefstrength` stays light.
_HOMES = {
    "calibration": ("Calibration", "Coverage", "calibrate", "coverage"),
    "checks": ("Checks", "check", "compare"),
    "choices": ("Choices",),
    "comparison": ("StrengthComparison", "compare_strength"),
    "compound": ("FiniteMixture", "Lapse", "ZeroMass"),
    "errors": ("DataWarning", "InputError", "SamplingWarning"),
    "fit": ("Fit", "load_fit"),
    "learned": ("LearnedStrength",),
    "measurement": ("RewardError", "attenuation", "measurement_error"),
    "mixed": ("choice_score", "log_choice_probability"),
    "mixing": ("Gamma", "InverseGaussian", "LogNormal", "Normal", "PointMass"),
    "models": ("MixedLogit",),
    "other_rewards": ("length_corrected", "sensitivity"),
    "planning": ("Plan", "plan"),
    "plots": (
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
    ),
    "prior": ("StrengthPrior",),
    "reading": ("pairs_from_votes", "read_choices", "read_pairs"),
    "report": ("write_report",),
    "rewards": (
        "ColumnReward",
        "HFReward",
        "ImplicitReward",
        "JudgeReward",
        "TextReward",
        "registered_rewards",
        "score",
        "score_parquet",
    ),
    "simulation": ("simulate",),
    "sources": ("load_pairs",),
    "streaming": ("CompressedChoices", "compress_choices", "load_compressed"),
    "strength": ("choice_curve", "chooser_strengths", "heterogeneity", "strength_density"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
_SUBMODULES = ("mixdpo", "plots", "report")

__version__ = version("prefstrength")
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"prefstrength.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'prefstrength' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"prefstrength.{_HOME[name]}"), name)
    globals()[name] = value  # a submodule of the same name must not hide it
    return value


def __dir__() -> list[str]:
    return sorted([*_HOME, *_SUBMODULES, "__version__"])
