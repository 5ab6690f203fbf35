"""Public names of prefstrength.mixdpo: the one list, loaded on first use."""

from .checkpoints import last_checkpoint as last_checkpoint
from .config import MixDPOConfig as MixDPOConfig
from .evaluation.evaluate import (
    Evaluation as Evaluation,
)
from .evaluation.evaluate import (
    evaluate_preferences as evaluate_preferences,
)
from .evaluation.metrics import (
    METRICS as METRICS,
)
from .evaluation.metrics import (
    preference_metrics as preference_metrics,
)
from .evaluation.win_rates import (
    WinRate as WinRate,
)
from .evaluation.win_rates import (
    win_rate as win_rate,
)
from .objectives.answers import (
    answer_loss as answer_loss,
)
from .objectives.answers import (
    ranking_loss as ranking_loss,
)
from .objectives.beta_dpo import (
    beta_dpo_loss as beta_dpo_loss,
)
from .objectives.beta_dpo import (
    beta_dpo_scale as beta_dpo_scale,
)
from .objectives.capo import (
    capo_loss as capo_loss,
)
from .objectives.mixdpo import (
    mixdpo_logit as mixdpo_logit,
)
from .objectives.mixdpo import (
    mixdpo_loss as mixdpo_loss,
)
from .objectives.odpo import (
    odpo_loss as odpo_loss,
)
from .objectives.probability import (
    log_choice_probability as log_choice_probability,
)
from .objectives.registry import OBJECTIVES as OBJECTIVES
from .objectives.smpo import (
    smpo_loss as smpo_loss,
)
from .strength import Strength as Strength
from .trainer import MixDPOTrainer as MixDPOTrainer

__all__: list[str]
