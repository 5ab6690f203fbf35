"""The stage compare: what training learned against what the data support."""

import os
from pathlib import Path

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

    def work(new: Path) -> "ps.StrengthComparison":
        record = LearnedStrength.load(source)
        comparison = ps.compare_strength(ps.load_fit(out / "fit"), record, prob=prob)
        record.save(new / "learned_strength.json")
        write_csv(new / "comparison.csv", comparison.table)
        return comparison

    def again() -> "ps.StrengthComparison":
        record = LearnedStrength.load(out / "learned_strength.json")
        return ps.compare_strength(ps.load_fit(out / "fit"), record, prob=prob)

    inputs = {"fit": out / "fit", "learned": source}
    return perform(out, "compare", {"prob": prob}, inputs, work, again, force, tell)
