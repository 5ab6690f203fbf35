"""The stage fit: models, their comparison, verdicts and the prior for training."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pandas as pd

import prefstrength as ps
from prefstrength._shared.files import write_csv
from prefstrength._shared.words import warn
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.families import without_spread
from prefstrength.errors import InputError
from prefstrength.pipeline.options import Reading, Sampler, Specification
from prefstrength.pipeline.reading import choices, reading_of, scored_in
from prefstrength.pipeline.stages import Tell, perform, require

__all__ = ["calibrate", "fit"]


def fit(
    out: str | os.PathLike[str],
    specification: Specification | None = None,
    sampler: Sampler | None = None,
    *,
    seed: int = 0,
    force: bool = False,
    progress: bool = True,
    tell: Tell | None = None,
) -> "ps.Fit":
    """Fit the mixed logit and, beside it, the model with one strength for all.

    Parameters
    ----------
    out : path
        A folder in which ``score`` has finished, or that holds ``compressed/``.
    specification : Specification, optional
        Which model, and the scale of the prior for training.
    sampler : Sampler, optional
        How the posterior is found.
    seed : int
        Of the sampler.
    force, progress, tell
        As in :func:`score`.

    Returns
    -------
    Fit
    """
    out = Path(out)
    specification, sampler = specification or Specification(), sampler or Sampler()
    settings = {
        "family": specification.mixing.expression,
        "mean_strength": specification.mean_strength,
        "seed": seed,
        **asdict(sampler),
        # The settings of fits without these stay what they were.
        **({"measurement_error": True} if specification.measurement_error else {}),
        **({"force_prior": True} if specification.force_prior else {}),
        **({"attribute": specification.attribute} if specification.attribute != "reward" else {}),
        **specification.bends(),
    }
    packed = out / "compressed"
    compressed = packed.is_dir() and not (out / "pairs.parquet").exists()
    if not compressed:
        require(out, "score", "pairs.parquet")
    elif specification.measurement_error:
        raise InputError(
            f"Errors in the rewards need the pairs themselves; got compressed choices in {out}, "
            "which are sums for rewards without error. Score a sample of the pairs into another "
            "folder, with `prefstrength score`, or leave `measurement_error=True` out."
        )

    def work(new: Path) -> "ps.Fit":
        law, error, rivals = specification.mixing, None, None
        how = specification, sampler, seed, progress
        if compressed:
            sums = ps.load_compressed(packed)
            fitted = partial(_fitted, sums, tuple(sums.levels), (), *how)
        else:
            reading, scored = reading_of(out), scored_in(out)
            error = _error(reading, scored, specification, sampler, seed, tell)
            data = reading.choices(scored)
            rivals = _rivals(data, reading.groups, specification.attribute, error)
            fitted = partial(_fitted, data, reading.groups, reading.attributes, *how)
        fits = {"MixDPO": fitted(law, error), "DPO": fitted(without_spread(law), error)}
        attribute = specification.attribute
        heterogeneity = ps.heterogeneity(fits["MixDPO"], attribute=attribute, rivals=rivals)
        attenuation = ps.attenuation(fitted(law, None), fits["MixDPO"]) if error else None
        write_csv(new / "heterogeneity.csv", heterogeneity)
        if rivals is not None:
            rivals.save(new / "rivals.json")
            write_csv(new / "rivals.csv", rivals.table)
        _write(new, fits, attenuation, rivals, specification)
        return fits["MixDPO"]

    inputs = {"compressed": packed} if compressed else {"pairs": out / "pairs.parquet"}
    return perform(
        out, "fit", settings, inputs, work, lambda: ps.load_fit(out / "fit"), force, tell
    )


def _error(
    reading: Reading,
    scored: pd.DataFrame,
    specification: Specification,
    sampler: Sampler,
    seed: int,
    tell: Tell | None,
) -> "ps.RewardError | None":
    """Error of the rewards, where it is to be accounted for; a word where it could be."""
    if specification.measurement_error:
        check_errors_arguments(reading, sampler)
        return _ensemble_error(scored, seed)
    if _members(scored) and not reading.attributes and tell is not None:
        tell("fit", "note", _ERROR_IS_KNOWN)
    return None


def _rivals(
    data: "ps.Choices", groups: Sequence[str], attribute: str, error: "ps.RewardError | None"
) -> "ps.Rivals | None":
    """What else explains the choices; a word where that cannot be said."""
    try:
        return ps.rivals(data, groups, attribute, error=0.0 if error is None else error)
    except InputError as refused:
        warn(f"No rivals, so that the verdict takes the model for true. {refused}")
        return None


def _fitted(
    data: "ps.Choices | ps.CompressedChoices",
    groups: Sequence[str],
    others: Sequence[str],
    specification: Specification,
    sampler: Sampler,
    seed: int,
    progress: bool,
    strength: Mixing,
    error: "ps.RewardError | None",
) -> "ps.Fit":
    """Fit of a model of the strength, the coefficients of other attributes shared by all."""
    coefficients = specification.coefficients(others, strength)
    options = specification.bends()
    if error is not None:
        options["errors"] = {specification.attribute: error}
    model = ps.MixedLogit(coefficients, groups=list(groups), **options)
    return model.fit(data, **asdict(sampler), seed=seed, progress=progress)


def _write(
    out: Path,
    fits: Mapping[str, "ps.Fit"],
    attenuation: pd.DataFrame | None,
    rivals: "ps.Rivals | None",
    specification: Specification,
) -> None:
    """Write the posteriors and what follows from them."""
    fits["MixDPO"].save(out / "fit")
    fits["DPO"].save(out / "fit_point_mass")
    if attenuation is not None:
        write_csv(out / "attenuation.csv", attenuation)
    # The posterior is a result even where one of these two cannot follow from it.
    try:
        write_csv(out / "models.csv", ps.compare(fits))
    except InputError as error:
        warn(f"No comparison of the two models. {error}")
    try:
        _prior(fits["MixDPO"], rivals, specification).save(out / "strength_prior.json")
    except InputError as error:
        warn(f"No prior for training. {error}")


def _prior(
    fit: "ps.Fit", rivals: "ps.Rivals | None", specification: Specification
) -> "ps.StrengthPrior":
    """Prior for training: of all explanations where they are known, else of the model."""
    mean, attribute = specification.mean_strength, specification.attribute
    if rivals is None:
        return ps.StrengthPrior.from_fit(fit, mean, attribute=attribute)
    prior = ps.StrengthPrior.from_rivals(rivals, mean, force=specification.force_prior)
    if fit.spec.get("response", {}).get("name", "Pair") == "Pair":
        return prior
    # Cut points and widths of ties that training reads answers by are in the fit.
    alone = ps.StrengthPrior.from_fit(fit, mean, attribute=attribute)
    return replace(prior, response=alone.response)


def calibrate(
    out: str | os.PathLike[str],
    specification: Specification | None = None,
    *,
    simulations: int = 500,
    cores: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> "ps.Calibration":
    """Calibrate the model of the stage ``fit`` in the design of the scored pairs.

    Parameters
    ----------
    out : path
        A folder in which ``score`` has finished; simulations are kept in ``calibration/``.
    specification : Specification, optional
        Which model.
    simulations, cores, seed, progress
        As in :func:`prefstrength.calibrate`.

    Returns
    -------
    Calibration
    """
    out = Path(out)
    data = choices(out)
    reading = reading_of(out)
    specification = specification or Specification()
    coefficients = specification.coefficients(reading.attributes, specification.mixing)
    return ps.calibrate(
        ps.MixedLogit(coefficients, groups=list(reading.groups), **specification.bends()),
        data,
        simulations,
        seed,
        directory=out / "calibration",
        cores=cores,
        progress=progress,
    )


_ERROR_IS_KNOWN = (
    "The reward is the mean of an ensemble, and how far its members disagree says how large its "
    "error is. This fit takes the reward for true; `measurement_error=True` accounts for the error."
)


def _members(scored: pd.DataFrame) -> list[str]:
    """Rewards of the ensemble that scored the pairs; none where one reward did."""
    about = scored.attrs.get("reward") or {}
    return [f"reward_{i}" for i in range(1, len(about.get("members", ())) + 1)]


def _ensemble_error(scored: pd.DataFrame, seed: int) -> "ps.RewardError":
    """Error of the mean of the ensemble, in the unit of the rewards: from all pairs, as that is."""
    members = _members(scored)
    if not members:
        raise no_ensemble(f"{(scored.attrs.get('reward') or {}).get('name', 'one reward')} alone")
    prompt = "prompt" if "prompt" in scored.columns else None
    return ps.measurement_error(scored, members, prompt=prompt, seed=seed)


def no_ensemble(got: str) -> InputError:
    return InputError(
        "The error of the rewards is estimated from an ensemble, by how far its members disagree; "
        f"got {got}. Score with several, `reward=('hf:ONE', 'hf:OTHER')`, or with columns that "
        "are there, `reward=('columns:reward_1', 'columns:reward_2')`."
    )


def check_errors_arguments(reading: Reading, sampler: Sampler) -> None:
    """Find what knows of no errors in the rewards before hours of scoring and sampling."""
    if reading.attributes:
        raise InputError(
            "Errors in the rewards are accounted for in models of the reward alone; got the "
            f"attributes {', '.join(reading.attributes)} besides. Leave them out, or leave "
            "`measurement_error=True` out."
        )
    if sampler.method == "svi":
        raise InputError(
            "Errors in the rewards are accounted for by every method but mini-batches; got "
            "method svi. Use `method='auto'`, or leave `measurement_error=True` out."
        )
