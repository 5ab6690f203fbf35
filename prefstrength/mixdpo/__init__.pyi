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
from .objectives.losses import (
    beta_dpo_loss as beta_dpo_loss,
)
from .objectives.losses import (
    beta_dpo_scale as beta_dpo_scale,
)
from .objectives.losses import (
    capo_loss as capo_loss,
)
from .objectives.losses import (
    log_choice_probability as log_choice_probability,
)
from .objectives.losses import (
    mixdpo_logit as mixdpo_logit,
)
from .objectives.losses import (
    mixdpo_loss as mixdpo_loss,
)
from .objectives.losses import (
    odpo_loss as odpo_loss,
)
from .objectives.losses import (
    smpo_loss as smpo_loss,
)
from .objectives.registry import OBJECTIVES as OBJECTIVES
from .strength import Strength as Strength
from .trainer import MixDPOTrainer as MixDPOTrainer

__all__: list[str]
