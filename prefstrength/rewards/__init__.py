"""Rewards: a number for every response, from columns, from texts, or from a reward model.

=====================  ==========================================================  =============
reward                 what it is                                                  needs
=====================  ==========================================================  =============
:class:`ColumnReward`  two columns that are already there                          nothing
:class:`TextReward`    a cross-fitted Bradley-Terry model on words                 scikit-learn
:class:`HFReward`      a Hugging Face sequence-classification reward model         transformers
=====================  ==========================================================  =============

All three go through :func:`score`, which reports them in units of the sd of their differences.
Importing this package loads neither scikit-learn nor torch.
"""

from prefstrength.rewards.columns import ColumnReward
from prefstrength.rewards.hf import HFReward
from prefstrength.rewards.score import Reward, Scores, score
from prefstrength.rewards.text import TextReward

__all__ = ["ColumnReward", "HFReward", "Reward", "Scores", "TextReward", "score"]
