"""The stage report."""

import os
from pathlib import Path

import pandas as pd

import prefstrength as ps
from prefstrength._shared.records import read_json
from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.pipeline.reading import scored_in
from prefstrength.pipeline.stages import Tell, perform, require

__all__ = ["report"]


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
    require(out, "fit", "fit")
    require(out, "score", "pairs.parquet")
    trained = (out / "stages" / "compare.json").is_file()
    if trained:
        require(out, "compare", "learned_strength.json")
    truth = out / "truth.json"

    prior = out / "strength_prior.json"
    attenuation, rivals = out / "attenuation.csv", out / "rivals.json"
    compared = (out / "models.csv").is_file()

    def work(new: Path) -> Path:
        fitted = ps.load_fit(out / "fit")
        both = {"MixDPO": fitted, "DPO": ps.load_fit(out / "fit_point_mass")} if compared else None
        ps.write_report(
            new,
            fit=fitted,
            learned=LearnedStrength.load(out / "learned_strength.json") if trained else None,
            comparison_fits=both,
            title=title,
            truth=read_json(truth, "truth of simulated data") if truth.is_file() else None,
            pairs=scored_in(out),
            prior=ps.StrengthPrior.load(prior) if prior.is_file() else None,
            attenuation=pd.read_csv(attenuation) if attenuation.is_file() else None,
            rivals=ps.Rivals.load(rivals) if rivals.is_file() else None,
        )
        return out / "report.html"

    inputs = {"pairs": out / "pairs.parquet", "fit": out / "fit", "dpo": out / "fit_point_mass"}
    if prior.is_file():
        inputs["prior"] = prior
    if attenuation.is_file():
        inputs["attenuation"] = attenuation
    if rivals.is_file():
        inputs["rivals"] = rivals
    if trained:
        inputs["learned"] = out / "learned_strength.json"
    if truth.is_file():
        inputs["truth"] = truth
    return perform(
        out, "report", {"title": title}, inputs, work, lambda: out / "report.html", force, tell
    )
