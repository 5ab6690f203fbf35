"""The stage fit: models, their comparison, verdicts and the prior for training."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import prefstrength as ps
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.errors import DataWarning, InputError
from prefstrength.pipeline.reading import Reading, choices, reading_of, scored_in
from prefstrength.pipeline.stages import Tell, perform, require, write_table

__all__ = ["FAMILIES", "fit"]

#: Families whose strength varies, as the command line names them.
FAMILIES = {name.lower(): name for name, family in MIXINGS.items() if family.varies}


def fit(
    out: str | os.PathLike[str],
    family: str = "lognormal",
    *,
    mean_strength: float = 0.1,
    measurement_error: bool = False,
    method: str = "auto",
    seed: int = 0,
    draws: int = 500,
    warmup: int = 300,
    chains: int = 4,
    force: bool = False,
    progress: bool = True,
    tell: Tell | None = None,
) -> Any:
    """Fit the mixed logit and, beside it, the model with one strength for all.

    Parameters
    ----------
    out : path
        A folder in which ``score`` has finished, or that holds ``compressed/``.
    family : {"lognormal", "normal", "gamma", "inversegaussian"}
        Law of the strength over choosers.
    mean_strength : float
        Mean strength of the prior for training, which is DPO's beta.
    measurement_error : bool
        Estimate the error of the rewards from the ensemble that scored the pairs, and integrate
        the true differences out (errors in variables); ``attenuation.csv`` says what ignoring
        the error would do.
    method : str
        Way to the posterior; see ``MixedLogit.fit``.
    seed, draws, warmup, chains : int
        Of the sampler.
    force, progress, tell
        As in :func:`score`.

    Returns
    -------
    Fit
    """
    out = Path(out)
    check_model_arguments(family, mean_strength)
    settings = {
        "family": FAMILIES[family.lower()],
        "mean_strength": mean_strength,
        "method": method,
        "seed": seed,
        "draws": draws,
        "warmup": warmup,
        "chains": chains,
        # The settings of fits without it stay what they were.
        **({"measurement_error": True} if measurement_error else {}),
    }
    packed = out / "compressed"
    compressed = packed.is_dir() and not (out / "pairs.parquet").exists()
    if not compressed:
        require(out, "score", "pairs.parquet")
    elif measurement_error:
        raise InputError(
            f"Errors in the rewards need the pairs themselves; got compressed choices in {out}, "
            "which are sums for rewards without error. Score a sample of the pairs into another "
            "folder, with `prefstrength score`, or leave measurement_error=True out."
        )

    def work(clear: Callable[[], None]) -> Any:
        others: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        if compressed:
            data = ps.load_compressed(packed)
            groups = list(data.levels)
        else:
            reading, scored = reading_of(out), scored_in(out)
            data = reading.choices(scored)
            groups = list(reading.groups)
            others = {name: ps.PointMass() for name in reading.attributes}
            if measurement_error:
                check_errors_arguments(reading, method)
                errors = {"errors": {"reward": _ensemble_error(scored, seed)}}
            elif _members(scored) and not reading.attributes and tell is not None:
                tell("fit", "note", _ERROR_IS_KNOWN)
        sampler: dict[str, Any] = {
            "method": method,
            "seed": seed,
            "draws": draws,
            "warmup": warmup,
            "chains": chains,
            "progress": progress,
        }
        law = getattr(ps, FAMILIES[family.lower()])

        def fitted(reward: Any, **errors: Any) -> Any:
            model = ps.MixedLogit({"reward": reward, **others}, groups=groups, **errors)
            return model.fit(data, **sampler)

        laws = {"MixDPO": law(), "DPO": ps.PointMass()}
        fits = {name: fitted(reward, **errors) for name, reward in laws.items()}
        heterogeneity = ps.heterogeneity(fits["MixDPO"])
        attenuation = ps.attenuation(fitted(law()), fits["MixDPO"]) if errors else None
        clear()
        fits["MixDPO"].save(out / "fit")
        fits["DPO"].save(out / "fit_point_mass")
        write_table(out / "heterogeneity.csv", heterogeneity)
        # The posterior is a result even where one of the last two cannot follow from it.
        (out / "attenuation.csv").unlink(missing_ok=True)
        (out / "models.csv").unlink(missing_ok=True)
        (out / "strength_prior.json").unlink(missing_ok=True)
        if attenuation is not None:
            write_table(out / "attenuation.csv", attenuation)
        try:
            write_table(out / "models.csv", ps.compare(fits))
        except InputError as error:
            warnings.warn(f"No comparison of the two models. {error}", DataWarning, stacklevel=2)
        try:
            prior = ps.StrengthPrior.from_fit(fits["MixDPO"], mean_strength=mean_strength)
            prior.save(out / "strength_prior.json")
        except InputError as error:
            warnings.warn(f"No prior for training. {error}", DataWarning, stacklevel=2)
        return fits["MixDPO"]

    inputs = {"compressed": packed} if compressed else {"pairs": out / "pairs.parquet"}
    return perform(
        out, "fit", settings, inputs, work, lambda: ps.load_fit(out / "fit"), force, tell
    )


def calibrate(
    out: str | os.PathLike[str],
    family: str = "lognormal",
    *,
    simulations: int = 500,
    cores: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Any:
    """Calibrate the model of the stage ``fit`` in the design of the scored pairs.

    Parameters
    ----------
    out : path
        A folder in which ``score`` has finished; simulations are kept in ``calibration/``.
    family : str
        Law of the strength.
    simulations, cores, seed, progress
        As in :func:`prefstrength.calibrate`.

    Returns
    -------
    Calibration
    """
    out = Path(out)
    check_model_arguments(family, 1.0)
    data = choices(out)
    reading = reading_of(out)
    coefficients = {
        "reward": getattr(ps, FAMILIES[family.lower()])(),
        **{name: ps.PointMass() for name in reading.attributes},
    }
    return ps.calibrate(
        ps.MixedLogit(coefficients, groups=list(reading.groups)),
        data,
        simulations,
        seed,
        directory=out / "calibration",
        cores=cores,
        progress=progress,
    )


def check_model_arguments(family: str, mean_strength: float) -> None:
    if family.lower() not in FAMILIES:
        raise InputError(
            f"Expected a family out of {', '.join(FAMILIES)}; got {family!r}. "
            "The model with one strength for all is fitted beside it in any case."
        )
    if not (np.isfinite(mean_strength) and mean_strength > 0):
        raise InputError(
            f"Expected a mean strength above 0; got {mean_strength}. "
            "It plays the part of DPO's beta; 0.1 is the usual value."
        )


_ERROR_IS_KNOWN = (
    "The reward is the mean of an ensemble, and how far its members disagree says how large its "
    "error is. This fit takes the reward for true; measurement_error=True accounts for the error."
)


def _members(scored: pd.DataFrame) -> list[str]:
    """Rewards of the ensemble that scored the pairs; none where one reward did."""
    about = scored.attrs.get("reward") or {}
    return [f"reward_{i}" for i in range(1, len(about.get("members", ())) + 1)]


def _ensemble_error(scored: pd.DataFrame, seed: int) -> Any:
    """Error of the mean of the ensemble, in the unit of the rewards: from all pairs, as that is."""
    members = _members(scored)
    if not members:
        raise no_ensemble(f"{(scored.attrs.get('reward') or {}).get('name', 'one reward')} alone")
    prompt = "prompt" if "prompt" in scored.columns else None
    return ps.measurement_error(scored, members, prompt=prompt, seed=seed)


def no_ensemble(got: str) -> InputError:
    return InputError(
        "The error of the rewards is estimated from an ensemble, by how far its members disagree; "
        f"got {got}. Score with several: --reward hf:ONE --reward hf:OTHER, or with columns that "
        "are there, --reward columns:reward_1 --reward columns:reward_2."
    )


def check_errors_arguments(reading: Reading, method: str | None) -> None:
    """Find what knows of no errors in the rewards before hours of scoring and sampling."""
    if reading.attributes:
        raise InputError(
            "Errors in the rewards are accounted for in models of the reward alone; got the "
            f"attributes {', '.join(reading.attributes)} besides. Leave them out, or leave "
            "measurement_error=True out."
        )
    if method == "svi":
        raise InputError(
            "Errors in the rewards are accounted for by every method but mini-batches; got "
            "method='svi'. Use method='auto', or leave measurement_error=True out."
        )
