"""The whole way: score, fit, train, compare, report."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefstrength.pipeline.answers import refuse_answers
from prefstrength.pipeline.compare import compare
from prefstrength.pipeline.fit import (
    check_errors_arguments,
    check_model_arguments,
    fit,
    no_ensemble,
)
from prefstrength.pipeline.reading import Reading, scored_in
from prefstrength.pipeline.report import report
from prefstrength.pipeline.score import score
from prefstrength.pipeline.stages import Tell, finished
from prefstrength.pipeline.train import check_training_arguments, train, training_pairs

__all__ = ["run"]


def run(
    pairs: str | os.PathLike[str],
    out: str | os.PathLike[str],
    reading: Reading | None = None,
    *,
    reward: str | Sequence[str] = "auto",
    reward_settings: Mapping[str, str] | None = None,
    family: str = "lognormal",
    mean_strength: float = 0.1,
    measurement_error: bool = False,
    model: str | os.PathLike[str] | None = None,
    steps: int = 200,
    title: str | None = None,
    seed: int = 0,
    sampler: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    force: bool = False,
    progress: bool = True,
    tell: Tell | None = None,
) -> Any:
    """Go the whole way: score, fit, train (with a model), compare, report.

    Called again with the same arguments after an interruption, it goes on where it stopped.

    Parameters
    ----------
    pairs, out, reading, reward, reward_settings
        As in :func:`score`.
    family, mean_strength, measurement_error
        As in :func:`fit`.
    model, steps
        As in :func:`train`; without a model there is no training and no comparison.
    title : str, optional
        Title of the report.
    seed : int
        Of every stage.
    sampler : mapping, optional
        Further arguments of :func:`fit`: ``method``, ``draws``, ``warmup``, ``chains``.
    training : mapping, optional
        Further arguments of ``mixdpo.MixDPOConfig``.
    force, progress, tell
        As in :func:`score`.

    Returns
    -------
    Fit
    """
    out = Path(out)
    check_model_arguments(family, mean_strength)
    if measurement_error:
        if isinstance(reward, str) or len(reward) < 2:
            raise no_ensemble(
                "the one reward " + (reward if isinstance(reward, str) else reward[0])
            )
        check_errors_arguments(reading or Reading(), dict(sampler or {}).get("method"))
    if model is not None:
        check_training_arguments(model, steps)
        refuse_answers(reading or Reading())
    again: dict[str, Any] = {"force": force, "tell": tell}
    score(
        pairs,
        out,
        reading,
        reward,
        reward_settings=reward_settings,
        seed=seed,
        progress=progress,
        **again,
    )
    if model is not None:
        # A prompt that is missing should not come to light after an hour of sampling.
        training_pairs(scored_in(out), dict(training or {}).get("strength_group_column"))
    fitted = fit(
        out,
        family,
        mean_strength=mean_strength,
        measurement_error=measurement_error,
        seed=seed,
        progress=progress,
        **dict(sampler or {}),
        **again,
    )
    say: Tell = tell or (lambda stage, event, detail: None)
    if model is None and not finished(out, "compare"):
        say("train", "skipped", "no model given")
        say("compare", "skipped", "nothing was trained")
    elif model is not None and not (out / "strength_prior.json").is_file():
        say("train", "skipped", "the fit gives no prior for it")
        say("compare", "skipped", "nothing was trained")
    elif model is not None:
        train(out, model, steps=steps, options=training, seed=seed, progress=progress, **again)
        compare(out, **again)
    report(out, title=title, **again)
    return fitted
