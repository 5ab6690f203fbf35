"""Public names of prefstrength: the one list, for type checkers and for loading on first use."""

from . import mixdpo as mixdpo
from . import plots as plots
from . import report as report
from .choice.learned_strength import LearnedStrength as LearnedStrength
from .choice.mixing.finite_mixture import (
    FiniteMixture as FiniteMixture,
)
from .choice.mixing.gamma import Gamma as Gamma
from .choice.mixing.inverse_gaussian import InverseGaussian as InverseGaussian
from .choice.mixing.lapse import (
    Lapse as Lapse,
)
from .choice.mixing.log_normal import LogNormal as LogNormal
from .choice.mixing.normal import Normal as Normal
from .choice.mixing.point_mass import PointMass as PointMass
from .choice.mixing.positive_point_mass import PositivePointMass as PositivePointMass
from .choice.mixing.zero_mass import (
    ZeroMass as ZeroMass,
)
from .choice.responses.graded import Graded as Graded
from .choice.responses.multinomial import Multinomial as Multinomial
from .choice.responses.pair import Pair as Pair
from .choice.responses.ranking import Ranking as Ranking
from .choice.responses.ties import (
    RaoKupper as RaoKupper,
)
from .choice.responses.ties import (
    Ties as Ties,
)
from .choice.strength_prior import StrengthPrior as StrengthPrior
from .data.choices import Choices as Choices
from .data.compressed import (
    CompressedChoices as CompressedChoices,
)
from .data.compressed import (
    compress_choices as compress_choices,
)
from .data.compressed import (
    load_compressed as load_compressed,
)
from .data.measurement_error import (
    RewardError as RewardError,
)
from .data.measurement_error import (
    measurement_error as measurement_error,
)
from .data.reading import (
    pairs_from_votes as pairs_from_votes,
)
from .data.reading import (
    read_choices as read_choices,
)
from .data.reading import (
    read_pairs as read_pairs,
)
from .data.simulation import simulate as simulate
from .data.sources import load_pairs as load_pairs
from .errors import (
    DataWarning as DataWarning,
)
from .errors import (
    InputError as InputError,
)
from .errors import (
    SamplingWarning as SamplingWarning,
)
from .likelihood.mixed import (
    choice_score as choice_score,
)
from .likelihood.mixed import (
    log_choice_probability as log_choice_probability,
)
from .models.mixed_logit import MixedLogit as MixedLogit
from .plots import *
from .posterior.attenuation import attenuation as attenuation
from .posterior.checks import (
    Checks as Checks,
)
from .posterior.checks import (
    check as check,
)
from .posterior.choosers import chooser_strengths as chooser_strengths
from .posterior.compare_models import compare as compare
from .posterior.curves import (
    choice_curve as choice_curve,
)
from .posterior.curves import (
    strength_density as strength_density,
)
from .posterior.fit import (
    Fit as Fit,
)
from .posterior.fit import (
    load_fit as load_fit,
)
from .posterior.heterogeneity import heterogeneity as heterogeneity
from .report import write_report as write_report
from .rewards import (
    ColumnReward as ColumnReward,
)
from .rewards import (
    HFReward as HFReward,
)
from .rewards import (
    ImplicitReward as ImplicitReward,
)
from .rewards import (
    JudgeReward as JudgeReward,
)
from .rewards import (
    TextReward as TextReward,
)
from .rewards import (
    registered_rewards as registered_rewards,
)
from .rewards import (
    score as score,
)
from .rewards import (
    score_parquet as score_parquet,
)
from .validation.calibration import (
    Calibration as Calibration,
)
from .validation.calibration import (
    Coverage as Coverage,
)
from .validation.calibration import (
    calibrate as calibrate,
)
from .validation.calibration import (
    coverage as coverage,
)
from .validation.learned_comparison import (
    StrengthComparison as StrengthComparison,
)
from .validation.learned_comparison import (
    compare_strength as compare_strength,
)
from .validation.planning import (
    Plan as Plan,
)
from .validation.planning import (
    plan as plan,
)
from .validation.rivals import (
    Rivals as Rivals,
)
from .validation.rivals import (
    rivals as rivals,
)
from .validation.sensitivity import (
    length_corrected as length_corrected,
)
from .validation.sensitivity import (
    sensitivity as sensitivity,
)
from .validation.transfer import (
    Transfer as Transfer,
)
from .validation.transfer import (
    check_transfer as check_transfer,
)

__version__: str
__all__: list[str]
