"""Win rates of a recipe's methods against one of its stages, on prompts that were held out."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from prefstrength._shared.folder import Folder
from prefstrength.recipes.data import distinct_prompts, fingerprint
from prefstrength.recipes.recipe import WIN_RATE, Recipe
from prefstrength.rewards.engine.cache import folder_fingerprint

__all__ = ["judge_methods", "weights_of"]


def judge_methods(recipe: Recipe, arguments: Mapping[str, Any], pairs: pd.DataFrame) -> None:
    """Judge trained models of methods against the opponent, unless the same was done before.

    ``<output_dir>/<method>/win_rate/`` gets what :meth:`~prefstrength.mixdpo.WinRate.save`
    writes, what the recipe asked for in its settings under ``recipe``. Responses and rewards are
    kept in ``<output_dir>/win_rate/`` as they come, those of the opponent once for all methods.

    Parameters
    ----------
    recipe : Recipe
        With ``win_rate``; the opponent is trained.
    arguments : mapping
        Method to its ``MixDPOConfig``, for batch size and progress bars. The opponent is skipped.
    pairs : DataFrame
        Held-out pairs of prompts that are not trained on: ``prompt``, ``chosen``, ``rejected`` and
        the groups.

    Raises
    ------
    InputError
        As of :func:`~prefstrength.mixdpo.stages.evaluation.judge_policy`.
    """
    from prefstrength.mixdpo import stages

    settings = recipe.win_rate
    if settings is None:
        raise TypeError("Expected a recipe with win_rate; got one without.")
    judged = [name for name in arguments if name != settings.opponent]
    if not judged:
        return
    opponent = recipe.output_dir / settings.opponent
    prompts = distinct_prompts(pairs, recipe.seed)
    shared = {
        "opponent": settings.opponent,
        "opponent_sha256": weights_of(opponent),
        "judge": settings.reward.identity(),
        "prompts": settings.prompts,
        "prompts_sha256": fingerprint(prompts),
        "max_new_tokens": settings.max_new_tokens,
        "temperature": settings.temperature,
        "seed": recipe.seed,
    }
    for name in judged:
        policy = recipe.output_dir / name
        asked = {**shared, "policy_sha256": weights_of(policy)}
        folder = Folder(policy / WIN_RATE, "a win rate of a recipe")
        before = folder.read() if folder.begun else {"recipe": None}
        if "recipe" not in before:
            folder.refuse([folder.record])
        if before["recipe"] == asked:
            continue
        found = stages.judge_policy(
            policy,
            opponent,
            settings.reward,
            prompts,
            recipe.data.groups,
            most=settings.prompts,
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            seed=recipe.seed,
            out=recipe.output_dir / WIN_RATE,
            batch_size=arguments[name].per_device_eval_batch_size,
            progress=not arguments[name].disable_tqdm,
        )
        whole = dataclasses.replace(found, settings={**found.settings, "recipe": asked})
        whole.save(policy / WIN_RATE)


def weights_of(folder: Path) -> str:
    """SHA-256 of the weights that lie in a folder."""
    return folder_fingerprint(folder, ("*.safetensors",))
