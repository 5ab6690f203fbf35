"""Objectives of preference training, each with a mixing distribution in the place of β."""

from prefstrength.mixdpo.objectives.base import REWARDS, Argument, Batch, Objective
from prefstrength.mixdpo.objectives.registry import OBJECTIVES, register, unregister

__all__ = ["OBJECTIVES", "REWARDS", "Argument", "Batch", "Objective", "register", "unregister"]
