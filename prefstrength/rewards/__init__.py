"""Rewards: a number for every response, from columns, from texts, or from a model.

======================  ==========================================================  =============
reward                  what it is                                                  needs
======================  ==========================================================  =============
:class:`ColumnReward`   two columns that are already there                          nothing
:class:`TextReward`     a cross-fitted Bradley-Terry model on words                 scikit-learn
:class:`HFReward`       a reward model: a classifier with one head or several, or   transformers
                        a language model with a value head
:class:`JudgeReward`    a language model that says which of two responses is        transformers
                        better, in both orders
:class:`ImplicitReward` a DPO-trained policy against its reference                  transformers
======================  ==========================================================  =============

A reward from another model is one subclass of :class:`ModelReward`; any object with the method
``score_pairs`` will do. :func:`register_kind` gives a class to the command line.

All go through :func:`score`, which reports them in units of the sd of their differences, or, where
the pairs are too many for memory, through :func:`score_parquet`.
Importing this package loads neither scikit-learn nor torch.
"""

from prefstrength.rewards.columns import ColumnReward
from prefstrength.rewards.hf import HFReward
from prefstrength.rewards.implicit import ImplicitReward
from prefstrength.rewards.judge import JudgeReward
from prefstrength.rewards.model_reward import ModelReward
from prefstrength.rewards.named import register_kind
from prefstrength.rewards.parquet.scoring import score_parquet
from prefstrength.rewards.registry import registered_rewards
from prefstrength.rewards.score import Reward, Scores, score
from prefstrength.rewards.text import TextReward

__all__ = [
    "ColumnReward",
    "HFReward",
    "ImplicitReward",
    "JudgeReward",
    "ModelReward",
    "Reward",
    "Scores",
    "TextReward",
    "register_kind",
    "registered_rewards",
    "score",
    "score_parquet",
]
