"""The way from preference pairs to the report, as five stages over one folder.

Each stage reads what the stage before wrote, writes its own files whole or not at all, and
leaves a small record in ``stages/``: its settings, a hash of what it read, how long it took.
A stage whose record still holds is not run again; one whose settings changed is not silently
replaced. The command line and notebooks call the same functions.

========  ==============================================  ===================================
stage     reads                                           writes
========  ==============================================  ===================================
score     a pairs file                                    ``pairs.parquet``, ``choices.json``
fit       ``pairs.parquet``                               ``fit/``, ``fit_point_mass/``,
                                                          ``models.csv``,
                                                          ``heterogeneity.csv``,
                                                          ``attenuation.csv``,
                                                          ``strength_prior.json``
train     ``pairs.parquet``, ``strength_prior.json``      ``train/``
compare   ``fit/``, ``train/learned_strength.json``       ``comparison.csv``,
                                                          ``learned_strength.json``
report    all of these                                    ``report.html``, ``figures/``,
                                                          ``tables/``, ``provenance.json``
========  ==============================================  ===================================
"""

import hashlib
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import prefstrength as ps
from prefstrength._files import atomic_write_bytes, atomic_write_text
from prefstrength.errors import DataWarning, InputError
from prefstrength.rewards._named import NamedReward, named_rewards
from prefstrength.rewards._team import ALONE_AT_WORK, launched

__all__ = [
    "FAMILIES",
    "STAGES",
    "Reading",
    "choices",
    "compare",
    "compress",
    "finished",
    "fit",
    "report",
    "run",
    "score",
    "score_parquet",
    "train",
]

#: The stages in the order in which each reads what the one before wrote.
STAGES = ("score", "fit", "train", "compare", "report")

#: Families whose strength varies, as the command line names them.
FAMILIES = {
    "lognormal": "LogNormal",
    "normal": "Normal",
    "gamma": "Gamma",
    "inversegaussian": "InverseGaussian",
}

_SCHEMA = "prefstrength/stage/1"
# What each stage writes, and what else belongs to a folder of ours. A folder with anything else in
# it and without stages/ is somebody's own, and is left alone.
_FILES = {
    "score": ("pairs.parquet", "choices.json"),
    "fit": (
        "fit",
        "fit_point_mass",
        "models.csv",
        "heterogeneity.csv",
        "attenuation.csv",
        "strength_prior.json",
    ),
    "train": ("train",),
    "compare": ("comparison.csv", "learned_strength.json"),
    "report": ("report.html", "figures", "tables", "provenance.json"),
}
_OURS = frozenset(
    {"stages", "scores", "truth.json", "demo", "compressed", "compressed.parts"}.union(
        *_FILES.values()
    )
)
# Cheap, made from the others, and nothing that a person would want to keep two of.
_DERIVED = frozenset({"compare", "report"})

#: Told of every stage: its name, ``"starts"``, ``"done"``, ``"kept"``, ``"skipped"`` or ``"note"``,
#: and the seconds it took, the reason, or what there is to know.
Tell = Callable[[str, str, Any], None]


@dataclass(frozen=True)
class Reading:
    """How a table of pairs is read as choices; the keywords of ``Choices.from_pairs``.

    Parameters
    ----------
    chooser : str, optional
        Column that says who decides.
    groups : sequence of str
        Columns whose levels may differ in strength.
    attributes : sequence of str
        Attributes besides the reward, each in two columns ``<attribute>_chosen`` and
        ``<attribute>_rejected``; their coefficients are shared by all choosers.
    weights : str, optional
        Column of non-negative weights.
    ties, identical, duplicates : str
        What to do with ties, with identical responses and with repeated rows.

    Examples
    --------
    >>> Reading(chooser="annotator", groups=["region"]).groups
    ('region',)
    """

    chooser: str | None = None
    groups: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    weights: str | None = None
    ties: str = "raise"
    identical: str = "raise"
    duplicates: str = "raise"

    def __post_init__(self) -> None:
        for name in ("groups", "attributes"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))

    def choices(self, frame: pd.DataFrame) -> Any:
        """Return the :class:`~prefstrength.choices.Choices` of ``frame``, reward first."""
        settings = asdict(self)
        settings["attributes"] = ("reward", *self.attributes)
        return ps.Choices.from_pairs(frame, **settings)


# -- the stages ------------------------------------------------------------------------------


def score(
    pairs: str | os.PathLike[str],
    out: str | os.PathLike[str],
    reading: Reading | None = None,
    reward: str | Sequence[str] = "auto",
    *,
    reward_settings: Mapping[str, str] | None = None,
    divide: bool = False,
    seed: int = 0,
    force: bool = False,
    progress: bool = True,
    tell: Tell | None = None,
) -> pd.DataFrame:
    """Read the pairs, give every response a reward, check them as choices, and keep them.

    Parameters
    ----------
    pairs : path
        Parquet (a file or a folder of them), JSONL or CSV.
    out : path
        Folder for the results.
    reading : Reading, optional
        Which columns mean what.
    reward : str, or sequence of str
        ``"columns"`` (or ``"columns:NAME"`` for ``NAME_chosen`` and ``NAME_rejected``),
        ``"text"``, ``"hf:NAME_OR_PATH"``, ``"judge:NAME_OR_PATH"``,
        ``"implicit:POLICY,REFERENCE"``, or ``"auto"``: columns where ``reward_chosen`` and
        ``reward_rejected`` exist, else text. Several are an ensemble. A model that
        :func:`prefstrength.registered_rewards` lists is read with the settings there.
    reward_settings : mapping of str to str, optional
        Fields of the rewards' classes as text, such as ``{"batch_tokens": "4096"}``; each goes to
        all rewards that have it.
    divide : bool
        Divide the work of rewards from models between the processes that ``accelerate launch`` or
        ``torchrun`` has started, which all call this function. Process 0 writes.
    seed : int
        Of the folds of the text reward.
    force : bool
        Replace results of other settings, and write into a folder that holds other files.
    progress : bool
        Show progress bars.
    tell : callable, optional
        Told when the stage starts, is kept, or is done.

    Returns
    -------
    DataFrame
        The pairs with ``reward_chosen`` and ``reward_rejected`` in sd units; raw units kept.

    Raises
    ------
    InputError
        For any mistake in the file or the arguments. Nothing is written then.
    """
    out = Path(out)
    reading = Reading() if reading is None else reading
    pairs = Path(pairs)
    settings = {
        "pairs": pairs.name,
        "reward": reward if isinstance(reward, str) else _one_or_all(reward),
        "seed": seed,
        **asdict(reading),
        # The settings of runs without any stay what they were.
        **({"reward_settings": dict(reward_settings)} if reward_settings else {}),
    }
    refuse_foreign(out, force)
    us = launched() if divide else ALONE_AT_WORK

    def work(clear: Callable[[], None]) -> pd.DataFrame:
        frame = ps.read_pairs(pairs)
        rewards = _rewards(reward, frame.columns, seed, reward_settings, tell)
        if any(each.kind != "columns" for each in rewards):
            # Hours of scoring must not end in a misspelt column: the same door, with made-up
            # rewards that pass its checks of rewards.
            reading.choices(_with_made_up_rewards(frame, _attributes(rewards)))
        scored = ps.score(
            frame,
            _one_or_all([each.reward for each in rewards]),
            cache=out / "scores" if any(each.from_model for each in rewards) else None,
            progress=progress,
            divide=divide,
        )
        data = reading.choices(scored)
        if us.rank:
            return scored
        clear()
        _write_parquet(out / "pairs.parquet", scored)
        _write_json(out / "choices.json", _summary(data, scored))
        return scored

    return _perform(
        out, "score", settings, {"pairs": pairs}, work, lambda: _scored(out), force, tell, us.rank
    )


def score_parquet(
    files: Any,
    out: str | os.PathLike[str],
    reward: str | Sequence[str] = "auto",
    *,
    reward_settings: Mapping[str, str] | None = None,
    divide: bool = False,
    backend: str | None = None,
    workers: int | None = None,
    force: bool = False,
    progress: bool = True,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Score pairs in Parquet files of any size into a folder of Parquet files.

    Parameters
    ----------
    files : path, str or sequence of them
        Parquet files, folders or globs, as :func:`~prefstrength.score_parquet` takes them.
    out : path
        Folder for the scored pairs, from which :func:`compress` goes on.
    reward, reward_settings
        As in :func:`score`, except ``"text"``.
    divide, backend, workers, force, progress
        As in :func:`~prefstrength.score_parquet`.
    tell : callable, optional
        Told of settings that come from the registry.

    Returns
    -------
    dict
        What came out, as in ``reward.json``.
    """
    from prefstrength._parquet import look_at, parquet_files

    schema, _, _ = look_at(parquet_files(files)[0])
    rewards = _rewards(reward, schema.names, 0, reward_settings, tell)
    return ps.score_parquet(
        files,
        out,
        _one_or_all([each.reward for each in rewards]),
        divide=divide,
        backend=backend,
        workers=workers,
        force=force,
        progress=progress,
    )


def compress(
    files: Any,
    out: str | os.PathLike[str],
    *,
    chooser: str | None = None,
    groups: Sequence[str] = (),
    weights: str | None = None,
    scale: float | None = None,
    backend: str | None = None,
    force: bool = False,
    progress: bool = True,
) -> Any:
    """Sum up scored pairs in one pass and keep the sums, from which ``fit`` goes on.

    Parameters
    ----------
    files : path, str or sequence of them
        Parquet files, folders or globs, as :func:`~prefstrength.compress_choices` takes them.
    out : path
        Folder for the results; the sums are written to ``compressed/``.
    chooser, groups, weights, scale, backend
        As in :func:`~prefstrength.compress_choices`.
    force : bool
        Replace sums of other files or columns, and all that followed from them.
    progress : bool
        Show progress.

    Returns
    -------
    CompressedChoices
    """
    from prefstrength.streaming import columns_of, compress_choices
    from prefstrength.streaming.parquet import open_files

    out, target = Path(out), Path(out) / "compressed"
    if (out / "pairs.parquet").exists():
        raise InputError(
            f"Expected a folder without scored pairs; got {out}, which has pairs.parquet. The "
            "stage fit would take those. Choose another folder."
        )
    refuse_foreign(out, force)
    if target.is_dir() and not force:
        columns = columns_of(chooser, groups, "reward", weights)
        before, given = ps.load_compressed(target), open_files(files, columns)
        same = {
            "columns": before.columns == columns,
            "files": sorted(file["fingerprint"] for file in before.files)
            == sorted(file.fingerprint for file in given),
            "scale": scale in (None, before.scale_of_tables),
        }
        if all(same.values()):
            return before
        raise InputError(
            f"Expected a new folder, or what {target} was made from; got other "
            f"{' and '.join(name for name, equal in same.items() if not equal)}. Choose another "
            "folder, or replace these results with --force."
        )
    parts = out / "compressed.parts"
    compressed = compress_choices(
        files,
        chooser,
        groups,
        weight=weights,
        scale=scale,
        checkpoint=parts,
        backend=backend,
        progress=progress,
    )
    _clear(out, "fit")
    _remove(out, "fit")
    compressed.save(target)
    shutil.rmtree(parts, ignore_errors=True)
    return compressed


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
    _check_model_arguments(family, mean_strength)
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
        _require(out, "score", "pairs.parquet")
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
            reading, scored = _reading(out), _scored(out)
            data = reading.choices(scored)
            groups = list(reading.groups)
            others = {name: ps.PointMass() for name in reading.attributes}
            if measurement_error:
                _check_errors_arguments(reading, method)
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
        _write_table(out / "heterogeneity.csv", heterogeneity)
        # The posterior is a result even where one of the last two cannot follow from it.
        (out / "attenuation.csv").unlink(missing_ok=True)
        (out / "models.csv").unlink(missing_ok=True)
        (out / "strength_prior.json").unlink(missing_ok=True)
        if attenuation is not None:
            _write_table(out / "attenuation.csv", attenuation)
        try:
            _write_table(out / "models.csv", ps.compare(fits))
        except InputError as error:
            warnings.warn(f"No comparison of the two models. {error}", DataWarning, stacklevel=2)
        try:
            prior = ps.StrengthPrior.from_fit(fits["MixDPO"], mean_strength=mean_strength)
            prior.save(out / "strength_prior.json")
        except InputError as error:
            warnings.warn(f"No prior for training. {error}", DataWarning, stacklevel=2)
        return fits["MixDPO"]

    inputs = {"compressed": packed} if compressed else {"pairs": out / "pairs.parquet"}
    return _perform(
        out, "fit", settings, inputs, work, lambda: ps.load_fit(out / "fit"), force, tell
    )


def train(
    out: str | os.PathLike[str],
    model: str | os.PathLike[str],
    *,
    steps: int = 200,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = True,
    tell: Tell | None = None,
) -> Any:
    """Train a causal language model with MixDPO under the prior that ``fit`` wrote.

    Parameters
    ----------
    out : path
        A folder in which ``fit`` has finished.
    model : path or str
        A model that ``transformers`` loads: a folder, or a name on the Hugging Face hub.
    steps : int
        Optimiser steps.
    options : mapping, optional
        Further arguments of ``mixdpo.MixDPOConfig``, such as ``learning_rate``.
    seed : int
        Of the order of the pairs and of dropout.
    force, progress, tell
        As in :func:`score`.

    Returns
    -------
    LearnedStrength
    """
    out = Path(out)
    _require(out, "fit", "fit")
    _require(out, "score", "pairs.parquet")
    if not (out / "strength_prior.json").is_file():
        raise InputError(
            f"Expected strength_prior.json in {out}; got a fit that gives no prior, because its "
            "mean strength is not positive. Check the sign of the reward, or take --family "
            "lognormal."
        )
    _check_training_arguments(model, steps)
    options = dict(options or {})
    settings = {"model": str(model), "steps": steps, "seed": seed, **options}

    def work(clear: Callable[[], None]) -> Any:
        dataset = _training_pairs(_scored(out), options.get("strength_group_column"))
        mixdpo = _mixdpo()
        from prefstrength.mixdpo.session import machine_arguments, show_progress

        name = str(Path(model).expanduser() if Path(model).expanduser().is_dir() else model)
        arguments = {
            "max_steps": steps,
            "seed": seed,
            "report_to": "none",
            "save_strategy": "no",
            "disable_tqdm": not progress,
            **machine_arguments(),
            **options,
        }
        args = mixdpo.MixDPOConfig(
            str(out / "train"), strength=str(out / "strength_prior.json"), **arguments
        )
        try:
            trainer = mixdpo.MixDPOTrainer(name, args=args, train_dataset=dataset)
        except OSError as error:  # what transformers raises for a name or folder without a model
            raise InputError(
                f"Expected a causal language model; got {name!r}, which transformers could "
                f"not load ({str(error).splitlines()[0]}). Name a folder that holds config.json, "
                "the weights and the tokenizer, or a model on the hub."
            ) from error
        show_progress(trainer, progress)
        clear()
        shutil.rmtree(out / "train", ignore_errors=True)  # an earlier model's files
        trainer.train()
        trainer.save_model(str(out / "train"))
        # A pickle of the arguments, which nobody should load; they are in the record.
        (out / "train" / "training_args.bin").unlink(missing_ok=True)
        learned = trainer.strength.learned()
        learned.save(out / "train" / "learned_strength.json")
        return learned

    inputs = {
        "pairs": out / "pairs.parquet",
        "prior": out / "strength_prior.json",
        "model": Path(model).expanduser(),
    }
    return _perform(
        out,
        "train",
        settings,
        inputs,
        work,
        lambda: _learned(out / "train" / "learned_strength.json"),
        force,
        tell,
    )


def compare(
    out: str | os.PathLike[str],
    learned: str | os.PathLike[str] | None = None,
    *,
    prob: float = 0.9,
    force: bool = False,
    tell: Tell | None = None,
) -> Any:
    """Hold the strength that training learned against the posterior.

    Parameters
    ----------
    out : path
        A folder in which ``fit`` has finished.
    learned : path, optional
        A ``learned_strength.json`` from training elsewhere; that of ``train`` by default.
    prob : float
        Probability of the intervals.
    force, tell
        As in :func:`score`.

    Returns
    -------
    StrengthComparison
    """
    out = Path(out)
    _require(out, "fit", "fit")
    source = out / "train" / "learned_strength.json" if learned is None else Path(learned)
    if not source.is_file():
        raise InputError(
            f"Expected the strength that training learned; got no file {source}. "
            "Run the stage train first, or name the learned_strength.json beside your model "
            "with --learned."
        )

    def work(clear: Callable[[], None]) -> Any:
        record = _learned(source)
        comparison = ps.compare_strength(ps.load_fit(out / "fit"), record, prob=prob)
        clear()
        record.save(out / "learned_strength.json")
        _write_table(out / "comparison.csv", comparison.table)
        return comparison

    def again() -> Any:
        fitted, record = ps.load_fit(out / "fit"), _learned(out / "learned_strength.json")
        return ps.compare_strength(fitted, record, prob=prob)

    inputs = {"fit": out / "fit", "learned": source}
    return _perform(out, "compare", {"prob": prob}, inputs, work, again, force, tell)


def report(
    out: str | os.PathLike[str],
    *,
    title: str | None = None,
    force: bool = False,
    tell: Tell | None = None,
) -> Path:
    """Write the report of whatever stages have finished.

    Parameters
    ----------
    out : path
        A folder in which ``fit`` has finished. A ``truth.json`` in it (simulated data) is drawn
        into the figures.
    title : str, optional
        Title of the report.
    force, tell
        As in :func:`score`.

    Returns
    -------
    Path
        Of ``report.html``.
    """
    out = Path(out)
    _require(out, "fit", "fit")
    _require(out, "score", "pairs.parquet")
    trained = finished(out, "compare")
    truth = out / "truth.json"

    prior = out / "strength_prior.json"
    attenuation = out / "attenuation.csv"
    compared = (out / "models.csv").is_file()

    def work(clear: Callable[[], None]) -> Path:
        clear()
        fitted = ps.load_fit(out / "fit")
        both = {"MixDPO": fitted, "DPO": ps.load_fit(out / "fit_point_mass")} if compared else None
        return ps.write_report(
            out,
            fit=fitted,
            learned=_learned(out / "learned_strength.json") if trained else None,
            comparison_fits=both,
            title=title,
            truth=read_json(truth) if truth.is_file() else None,
            pairs=_scored(out),
            prior=ps.StrengthPrior.load(prior) if prior.is_file() else None,
            attenuation=pd.read_csv(attenuation) if attenuation.is_file() else None,
        )

    inputs = {"pairs": out / "pairs.parquet", "fit": out / "fit", "dpo": out / "fit_point_mass"}
    if prior.is_file():
        inputs["prior"] = prior
    if attenuation.is_file():
        inputs["attenuation"] = attenuation
    if trained:
        inputs["learned"] = out / "learned_strength.json"
    if truth.is_file():
        inputs["truth"] = truth
    return _perform(
        out, "report", {"title": title}, inputs, work, lambda: out / "report.html", force, tell
    )


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
    _check_model_arguments(family, mean_strength)
    if measurement_error:
        if isinstance(reward, str) or len(reward) < 2:
            raise _no_ensemble(
                "the one reward " + (reward if isinstance(reward, str) else reward[0])
            )
        _check_errors_arguments(reading or Reading(), dict(sampler or {}).get("method"))
    if model is not None:
        _check_training_arguments(model, steps)
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
        _training_pairs(_scored(out), dict(training or {}).get("strength_group_column"))
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


def choices(out: str | os.PathLike[str]) -> Any:
    """Read the scored pairs of a folder as choices, as its stage ``score`` did.

    Parameters
    ----------
    out : path
        A folder in which ``score`` has finished.

    Returns
    -------
    Choices
    """
    out = Path(out)
    _require(out, "score", "pairs.parquet")
    return _reading(out).choices(_scored(out))


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
    _check_model_arguments(family, 1.0)
    data = choices(out)
    reading = _reading(out)
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


def finished(out: str | os.PathLike[str], stage: str) -> bool:
    """Whether ``stage`` has finished in the folder ``out``.

    Examples
    --------
    >>> finished("nowhere", "fit")
    False
    """
    return _record_path(Path(out), stage).is_file()


# -- records ---------------------------------------------------------------------------------


def _perform[Result](
    out: Path,
    stage: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Path],
    work: Callable[[Callable[[], None]], Result],
    load: Callable[[], Result],
    force: bool,
    tell: Tell | None,
    rank: int = 0,
) -> Result:
    """Run a stage unless its record says that this very work is done.

    Of several processes that work together, the one of ``rank`` 0 writes.

    ``work`` calls what it is given right before it writes its first file: the results of this
    stage and of all that follow from it go then, so that a mistake found earlier leaves every
    result as it was, and an interruption later leaves no record that vouches for half a result.
    """
    settings = json.loads(json.dumps(settings, default=str))
    hashes = {name: _content_hash(path) for name, path in inputs.items()}
    version = ps.__version__
    if finished(out, stage) and not force:
        record = read_json(_record_path(out, stage))
        differences = _differences(record, settings, hashes, version)
        if not differences:
            if tell is not None:
                tell(stage, "kept", None)
            return load()
        if stage not in _DERIVED:
            raise InputError(
                f"Expected a new folder, or the settings that {out} was made with; got another "
                f"{stage} ({'; '.join(differences)}). Choose another folder, or replace these "
                "results with --force."
            )
    if tell is not None:
        tell(stage, "starts", None)
    began = time.monotonic()

    result = work(partial(_clear, out, stage))
    seconds = time.monotonic() - began
    if rank:
        return result
    _write_json(
        _record_path(out, stage),
        {
            "schema": _SCHEMA,
            "stage": stage,
            "settings": settings,
            "inputs": hashes,
            "version": version,
            "seconds": round(seconds, 3),
            "peak_memory_mib": _peak_memory(),
        },
    )
    if tell is not None:
        tell(stage, "done", seconds)
    return result


def _clear(out: Path, stage: str) -> None:
    """Take back what vouches for a stage and for all that follow, and their results."""
    for name in STAGES[STAGES.index(stage) :]:
        if finished(out, name):
            _record_path(out, name).unlink()
            # A trained model is hours of work, replaced only by other training; a report
            # tidies up after itself.
            if name != "train" and name != stage:
                _remove(out, name)


def _remove(out: Path, stage: str) -> None:
    """Remove what a stage wrote, so that no old table lies beside a new posterior."""
    if stage == "report":
        # The folders may hold what somebody added; the report's own record names its files.
        for name in read_json(out / "provenance.json").get("files", ()):
            folder, _, file = str(name).rpartition("/")
            if folder in _FILES["report"]:
                (out / folder / Path(file).name).unlink(missing_ok=True)
        (out / "report.html").unlink(missing_ok=True)
        (out / "provenance.json").unlink(missing_ok=True)
        return
    for name in _FILES[stage]:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _differences(
    record: Mapping[str, Any],
    settings: Mapping[str, Any],
    hashes: Mapping[str, str],
    version: str,
) -> list[str]:
    """What is not as it was when the record was written, in words."""
    before = record.get("settings", {})
    names = [*settings, *(name for name in before if name not in settings)]
    found = [
        f"{name} was {before.get(name)!r}, now {settings.get(name)!r}"
        for name in names
        if before.get(name) != settings.get(name)
    ]
    read = record.get("inputs", {})
    found += [
        f"the content of {name} changed"
        for name in sorted({*hashes, *read})
        if hashes.get(name) != read.get(name)
    ]
    if record.get("version") != version:
        found.append(f"version {record.get('version')} made it, this is {version}")
    return found


def _record_path(out: Path, stage: str) -> Path:
    return out / "stages" / f"{stage}.json"


def refuse_foreign(out: Path, force: bool) -> None:
    """Leave a folder alone that holds what no stage wrote."""
    if out.exists() and not out.is_dir():
        raise InputError(f"Expected a folder for the results; got the file {out}. Name a folder.")
    if force or not out.is_dir() or (out / "stages").is_dir():
        return
    foreign = sorted(
        entry.name
        for entry in out.iterdir()
        if entry.name not in _OURS and not entry.name.startswith(".")
    )
    if foreign:
        raise InputError(
            f"Expected an empty folder or one of an earlier run; got {out} with {len(foreign)} "
            f"other files (first: {', '.join(foreign[:3])}). Choose another folder with --out, "
            "or write into this one with --force."
        )


def _require(out: Path, stage: str, name: str) -> None:
    """Raise unless the stage before has finished and its file is there."""
    if not out.is_dir():
        raise InputError(
            f"Expected a folder of results; got {out}, which does not exist. "
            "Begin with `prefstrength score PAIRS --out DIR`, or go the whole way with "
            "`prefstrength run`."
        )
    if stage == "score" and (out / "compressed").is_dir() and not (out / name).exists():
        raise InputError(
            f"Expected {name} in {out}; got compressed choices alone, from which only "
            "`prefstrength fit` goes on. Score a sample of the pairs into another folder, with "
            "`prefstrength score`, for what needs the pairs themselves."
        )
    if not finished(out, stage) or not (out / name).exists():
        raise InputError(
            f"Expected {name} in {out}; got none that the stage {stage} finished. "
            f"Run `prefstrength {stage}` first."
        )


def _content_hash(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder; of its name where neither."""
    digest = hashlib.sha256()
    if path.is_dir():
        for part in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(part.relative_to(path).as_posix().encode())
            _update(digest, part)
    elif path.is_file():
        _update(digest, path)
    else:  # a name on the hub, or a file of which the reader will say that it is missing
        digest.update(str(path).encode())
    return digest.hexdigest()


def _update(digest: Any, path: Path) -> None:
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)


def _peak_memory() -> float | None:
    """Most memory this process has held, in MiB, where the system tells."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


# -- what the stages read and write ----------------------------------------------------------


def _rewards(
    names: str | Sequence[str],
    columns: Iterable[str],
    seed: int,
    settings: Mapping[str, str] | None,
    tell: Tell | None,
) -> list[NamedReward]:
    """Rewards that are named, and a word on the settings that nobody gave."""
    several = (names,) if isinstance(names, str) else tuple(names)
    rewards = named_rewards(several, columns, seed=seed, settings=settings or {})
    for name, each in zip(several, rewards, strict=True):
        if each.registered and tell is not None:
            said = ", ".join(f"{key} {value}" for key, value in each.registered.items())
            tell("score", "note", f"{name} is read as its makers do: {said}.")
    return rewards


def _one_or_all(several: Sequence[Any]) -> Any:
    """What there is, where there is one; else a list."""
    return several[0] if len(several) == 1 else list(several)


def _attributes(rewards: Sequence[NamedReward]) -> tuple[str, ...]:
    """Attributes that the scored pairs will have, with the one that the analysis goes by."""
    if len(rewards) > 1:
        return ("reward", *(f"reward_{i}" for i in range(1, len(rewards) + 1)))
    names = rewards[0].attributes()
    if "reward" not in names:
        raise InputError(
            f"The analysis expects one of the outputs to be called reward; got {', '.join(names)}. "
            "Say which it is, heads=reward:0,safety:1, or take one alone, head=0."
        )
    return names


def _with_made_up_rewards(frame: pd.DataFrame, attributes: Sequence[str]) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    columns = [f"{name}_{side}" for name in attributes for side in ("chosen", "rejected")]
    return frame.assign(**{name: draw.standard_normal(len(frame)) for name in columns})


def _check_model_arguments(family: str, mean_strength: float) -> None:
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
        raise _no_ensemble(f"{(scored.attrs.get('reward') or {}).get('name', 'one reward')} alone")
    prompt = "prompt" if "prompt" in scored.columns else None
    return ps.measurement_error(scored, members, prompt=prompt, seed=seed)


def _no_ensemble(got: str) -> InputError:
    return InputError(
        "The error of the rewards is estimated from an ensemble, by how far its members disagree; "
        f"got {got}. Score with several: --reward hf:ONE --reward hf:OTHER, or with columns that "
        "are there, --reward columns:reward_1 --reward columns:reward_2."
    )


def _check_errors_arguments(reading: Reading, method: str | None) -> None:
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


def _check_training_arguments(model: str | os.PathLike[str], steps: int) -> None:
    """Find what can be found before hours of sampling: a missing library, a missing folder."""
    if steps < 1:
        raise InputError(f"Expected at least one training step; got {steps}. Give --steps N.")
    name = str(model)
    local = isinstance(model, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1
    if local and not (Path(name).expanduser() / "config.json").is_file():
        raise InputError(
            f"Expected a folder with a language model; got {name!r}, where there is no "
            "config.json. Check the path, or name a model on the hub."
        )
    _mixdpo()


def _training_pairs(frame: pd.DataFrame, group: str | None = None) -> Any:
    """TRL's preference columns of the pairs that prefer one of two different responses.

    With a column of groups, a level of it for each as well.
    """
    from prefstrength.rewards.score import ties

    missing = [name for name in ("prompt", "chosen", "rejected") if name not in frame.columns]
    if missing:
        raise InputError(
            f"Training expects the columns prompt, chosen and rejected; got none named "
            f"{', '.join(missing)}. Rewards alone are enough for the analysis: leave --model out, "
            "or add the texts."
        )
    if group is not None and group not in frame.columns:
        raise InputError(
            f"Expected a column {group} in the pairs, of which each level is to have a strength; "
            f"got {', '.join(map(str, frame.columns))}. Correct --strength-group."
        )
    texts = frame[["prompt", "chosen", "rejected"]]
    keep = np.array([a != b for a, b in zip(texts["chosen"], texts["rejected"], strict=True)])
    keep &= ~ties(frame)
    if not keep.any():
        raise InputError(
            f"Training expects pairs with a preference; got {len(frame)} rows that are all ties "
            "or have identical responses. Check how the file marks ties."
        )
    from datasets import Dataset

    if group is None:
        return Dataset.from_pandas(texts[keep], preserve_index=False)
    from prefstrength.mixdpo.columns import group_sizes

    # Levels as they are, where a categorical column would become numbers.
    levels = frame[group].astype(object)
    dataset = Dataset.from_pandas(texts.assign(**{group: levels})[keep], preserve_index=False)
    group_sizes(dataset, group)  # a level for every pair, or it stops here
    return dataset


def _mixdpo() -> Any:
    try:
        from prefstrength import mixdpo
    except ModuleNotFoundError as error:
        raise InputError(
            f"Training expects torch, transformers and trl; got no module named {error.name}. "
            "Install them with `pip install 'prefstrength[mixdpo]'`."
        ) from error
    return mixdpo


def _reading(out: Path) -> Reading:
    """How ``score`` read the pairs."""
    settings = read_json(_record_path(out, "score"))["settings"]
    return Reading(**{name: settings[name] for name in Reading.__dataclass_fields__})


def _scored(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "pairs.parquet")


def _learned(path: Path) -> Any:
    from prefstrength.learned import LearnedStrength

    return LearnedStrength.load(path)


def _summary(choices: Any, scored: pd.DataFrame) -> dict[str, Any]:
    """Describe the choices for people and programs that do not open the Parquet file."""
    return {
        "schema": "prefstrength/choices/1",
        "situations": choices.n_situations,
        "choosers": choices.n_choosers,
        "attributes": list(choices.attributes),
        "groups": {
            name: {level: int(count) for level, count in factor.counts().items()}
            for name, factor in choices.groups.items()
        },
        "dropped": [
            {"reason": part.reason, "count": int(part.count), "rows": list(part.rows)}
            for part in choices.dropped
        ],
        "reward": scored.attrs.get("reward"),
        "content_hash": choices.content_hash(),
    }


def _write_parquet(path: Path, frame: pd.DataFrame) -> None:
    import io

    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    atomic_write_bytes(path, buffer.getvalue())


def _write_table(path: Path, frame: pd.DataFrame) -> None:
    atomic_write_text(path, frame.to_csv(index=False))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    atomic_write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"Expected a JSON object in {path}; got something else ({error}). "
            "Remove it, or run the stage that wrote it again with --force."
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"Expected a JSON object in {path}; got {type(content).__name__}. "
            "Remove it, or run the stage that wrote it again with --force."
        )
    return content
