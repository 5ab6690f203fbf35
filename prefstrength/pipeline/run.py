"""The whole way: score, fit, train, compare, report."""

import os
from pathlib import Path
from typing import Any

import prefstrength as ps
from prefstrength._shared.lock import alone_in
from prefstrength.pipeline.answers import refuse_answers
from prefstrength.pipeline.compare import compare
from prefstrength.pipeline.fit import check_errors_arguments, fit, no_ensemble
from prefstrength.pipeline.options import Reading, Rewarding, Sampler, Specification, Training
from prefstrength.pipeline.reading import scored_in
from prefstrength.pipeline.report import report
from prefstrength.pipeline.score import score
from prefstrength.pipeline.stages import WORKSHOP, Tell, finished
from prefstrength.pipeline.train import check_model, train, training_pairs

__all__ = ["run"]


def run(
    pairs: str | os.PathLike[str],
    out: str | os.PathLike[str],
    reading: Reading | None = None,
    rewarding: Rewarding | None = None,
    specification: Specification | None = None,
    sampler: Sampler | None = None,
    *,
    model: str | os.PathLike[str] | None = None,
    training: Training | None = None,
    title: str | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = True,
    tell: Tell | None = None,
) -> "ps.Fit":
    """Go the whole way: score, fit, train (with a model), compare, report.

    Called again with the same arguments after an interruption, it goes on where it stopped.

    Parameters
    ----------
    pairs, out, reading, rewarding
        As in :func:`score`.
    specification, sampler
        As in :func:`fit`.
    model, training
        As in :func:`train`; without a model there is no training and no comparison.
    title : str, optional
        Title of the report.
    seed : int
        Of every stage.
    force, progress, tell
        As in :func:`score`.

    Returns
    -------
    Fit
    """
    out = Path(out)
    if specification is not None and specification.measurement_error:
        names = (rewarding or Rewarding()).reward
        if len(names) < 2:
            raise no_ensemble(f"the one reward {names[0]}")
        check_errors_arguments(reading or Reading(), sampler or Sampler())
    if model is not None:
        check_model(model)
        refuse_answers(reading or Reading())
    with alone_in(out, out / WORKSHOP):
        again: dict[str, Any] = {"force": force, "tell": tell}
        score(pairs, out, reading, rewarding, seed=seed, progress=progress, **again)
        if model is not None:
            # A prompt that is missing should not come to light after an hour of sampling.
            group = (training or Training()).strength_group_column
            training_pairs(scored_in(out), group, reading)
        fitted = fit(out, specification, sampler, seed=seed, progress=progress, **again)
        say: Tell = tell or (lambda stage, event, detail: None)
        if model is None and not finished(out, "compare"):
            say("train", "skipped", "no model given")
            say("compare", "skipped", "nothing was trained")
        elif model is not None and not (out / "strength_prior.json").is_file():
            say("train", "skipped", "the fit gives no prior for it")
            say("compare", "skipped", "nothing was trained")
        elif model is not None:
            train(out, model, training, seed=seed, progress=progress, **again)
            compare(out, **again)
        report(out, title=title, **again)
        return fitted
