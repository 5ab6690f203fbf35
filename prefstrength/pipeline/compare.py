"""The stage compare: what training learned against what the data support."""

import os
from pathlib import Path

import pandas as pd

import prefstrength as ps
from prefstrength._shared.files import write_csv
from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.errors import InputError
from prefstrength.pipeline.stages import Tell, perform, require

__all__ = ["compare"]


def compare(
    out: str | os.PathLike[str],
    learned: str | os.PathLike[str] | None = None,
    *,
    evaluated: str | os.PathLike[str] | None = None,
    prob: float = 0.9,
    force: bool = False,
    tell: Tell | None = None,
) -> "ps.StrengthComparison":
    """Hold the strength that training learned against the posterior.

    Parameters
    ----------
    out : path
        A folder in which ``fit`` has finished.
    learned : path, optional
        A ``learned_strength.json`` from training elsewhere; that of ``train`` by default.
    evaluated : path, optional
        A table of pairs after training with ``delta`` and the rewards ``reward_chosen`` and
        ``reward_rejected``, such as the ``evaluation/pairs.parquet`` beside a model; that of
        ``train`` by default, where there is one. What the transfer of the prior assumes is held
        against it, by :func:`prefstrength.check_transfer`, and told.
    prob : float
        Probability of the intervals.
    force, tell
        As in :func:`score`.

    Returns
    -------
    StrengthComparison
    """
    out = Path(out)
    require(out, "fit", "fit")
    source = out / "train" / "learned_strength.json" if learned is None else Path(learned)
    if learned is None and source.is_file():
        require(out, "train", "train/learned_strength.json")
    if not source.is_file():
        raise InputError(
            f"Expected the strength that training learned; got no file {source}. "
            "Run the stage train first, or name the learned_strength.json beside your model "
            "with `learned=...`."
        )

    pairs = _evaluated(out, evaluated)

    def work(new: Path) -> "ps.StrengthComparison":
        record, fit = LearnedStrength.load(source), ps.load_fit(out / "fit")
        comparison = ps.compare_strength(fit, record, prob=prob)
        record.save(new / "learned_strength.json")
        write_csv(new / "comparison.csv", comparison.table)
        if pairs is not None:
            found = _transfer(pairs, fit, prob)
            write_csv(new / "transfer.csv", found.table)
            if tell is not None:
                tell("compare", "note", " ".join(found.words))
        return comparison

    def again() -> "ps.StrengthComparison":
        record = LearnedStrength.load(out / "learned_strength.json")
        return ps.compare_strength(ps.load_fit(out / "fit"), record, prob=prob)

    inputs = {"fit": out / "fit", "learned": source}
    if pairs is not None:
        inputs["evaluated"] = pairs
    return perform(out, "compare", {"prob": prob}, inputs, work, again, force, tell)


_NEEDED = ("delta", "reward_chosen", "reward_rejected")


def _evaluated(out: Path, given: str | os.PathLike[str] | None) -> Path | None:
    """Pairs of which both differences are known: the given ones, or those beside the model."""
    if given is None:
        found = out / "train" / "evaluation" / "pairs.parquet"
        return found if found.is_file() and not _lacking(ps.read_pairs(found)) else None
    path = Path(given)
    if lacking := _lacking(ps.read_pairs(path)):
        raise InputError(
            f"Expected log-ratio differences and rewards of the same pairs in {path}; got no "
            f"{', '.join(lacking)}. Evaluate pairs that have the rewards, with "
            "`mixdpo.evaluate_preferences`, or join the two tables by the column row."
        )
    return path


def _lacking(pairs: pd.DataFrame) -> list[str]:
    return [name for name in _NEEDED if name not in pairs.columns]


def _transfer(path: Path, fit: "ps.Fit", prob: float) -> "ps.Transfer":
    """What the transfer of the prior assumes, held against evaluated pairs."""
    pairs = ps.read_pairs(path)
    reward = pairs["reward_chosen"] - pairs["reward_rejected"]
    by = pairs[fit.groups[0]] if fit.groups and fit.groups[0] in pairs.columns else None
    return ps.check_transfer(pairs["delta"], reward, by=by, fit=fit, prob=prob)
