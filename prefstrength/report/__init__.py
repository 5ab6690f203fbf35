"""The report: one page for a colleague, figures and tables for the paper, and provenance."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from prefstrength._shared.files import as_csv, atomic_directory, atomic_write_text, write_json
from prefstrength._shared.words import listed, shown
from prefstrength.choice.strength_prior import StrengthPrior
from prefstrength.errors import InputError
from prefstrength.plots.style import short
from prefstrength.plots.trajectory import as_learned
from prefstrength.posterior.fit import Fit
from prefstrength.report.facts import collect
from prefstrength.report.figures import drawings
from prefstrength.report.html import render
from prefstrength.report.provenance import SCHEMA, provenance
from prefstrength.report.tables import latex, tables
from prefstrength.validation.rivals import Rivals

__all__ = ["write_report"]

_FOLDERS = ("figures", "tables")


def write_report(
    directory: str | os.PathLike[str],
    *,
    fit: Fit,
    learned: Any = None,
    comparison_fits: Mapping[str, Fit] | None = None,
    title: str | None = None,
    truth: Any = None,
    pairs: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
    prior: StrengthPrior | None = None,
    attenuation: pd.DataFrame | None = None,
    rivals: Rivals | None = None,
    attribute: str | None = None,
    prob: float = 0.9,
    rope: float = 0.25,
) -> Path:
    """Write ``report.html``, ``figures/``, ``tables/`` and ``provenance.json``.

    The page holds everything it shows, needs no network and runs no script. It answers in plain
    language first, then shows the evidence, the training, the diagnostics, and what the data
    cannot tell.

    Parameters
    ----------
    directory : path
        Where to; made if missing. Only the report's own files are replaced: others in it, and
        in its ``figures/`` and ``tables/``, are left alone.
    fit : Fit
        The analysis.
    learned : LearnedStrength, path, or object with ``learned()``, optional
        What training learned. Without it the report says that training was skipped.
    comparison_fits : dict of str to Fit, optional
        Models to compare by PSIS-LOO over choosers, by name.
    title : str, optional
    truth : Mixing, dict or DataFrame, optional
        Mixing distributions that simulated strengths came from; drawn into the figures, and held
        against the intervals in a table.
    pairs : DataFrame, optional
        The scored pairs, for what they say of the reward and of the length of responses.
    notes : sequence of str
        Sentences to add to the answer.
    prior : StrengthPrior, optional
        The prior that was passed on to training; by default that of ``learned``, or else the
        one that the fit supports at mean strength 0.1.
    attenuation : DataFrame, optional
        What :func:`prefstrength.attenuation` says of this fit and of one that ignores the errors
        in the rewards.
    rivals : Rivals, optional
        What :func:`prefstrength.rivals` says of the same choices, with the fit's groups: what else
        could explain them. The report leads with their verdict.
    attribute : str, optional
        Attribute whose coefficient is the strength; may be left out where there is one, or where
        one varies.
    prob : float
        Probability of the intervals.
    rope : float
        Coefficient of variation below which strength counts as homogeneous.

    Returns
    -------
    pathlib.Path
        Of ``report.html``.

    Raises
    ------
    InputError
        If the directory is a file, a name stands for something else, or a file that no report
        wrote would be replaced; nothing is written then.
    TypeError
        If ``fit`` is no Fit.

    Notes
    -----
    Everything is computed and drawn before the first file is written. Each of the four parts
    then appears under a temporary name and is renamed, so none is ever half there. The same
    arguments give the same bytes.

    Examples
    --------
    >>> import tempfile
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=40, situations=10)
    >>> fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = ps.write_report(folder, fit=fit)
    ...     "Training was skipped" in page.read_text(encoding="utf-8")
    True
    """
    directory = Path(directory)
    if not isinstance(fit, Fit):
        raise TypeError(f"Expected fit as a Fit; got {type(fit).__name__}. Load it with load_fit.")
    if directory.exists() and not directory.is_dir():
        raise InputError(f"Expected a folder for the report; got the file {directory}.")
    if isinstance(notes, str):
        notes = (notes,)
    for name, other in (comparison_fits or {}).items():
        if not isinstance(other, Fit):
            raise TypeError(f"Expected comparison_fits to hold fits; got {shown(other)} as {name}.")
    if attenuation is not None and not fit.errors:
        raise InputError(
            "Expected attenuation with a fit that accounts for errors in the rewards; got a fit "
            "without. Give the corrected fit, or leave attenuation out."
        )
    facts = collect(
        fit,
        learned=None if learned is None else as_learned(learned),
        comparison_fits=dict(comparison_fits or {}),
        truth=truth,
        pairs=pairs,
        prior=prior,
        attenuation=attenuation,
        rivals=rivals,
        attribute=attribute,
        prob=prob,
        rope=rope,
        notes=tuple(str(note) for note in notes),
    )
    heading = short(title, 160) if title else "How strongly people prefer, and how much that varies"
    figures, tabled = drawings(facts), tables(facts)
    files: dict[str, bytes] = {}
    for figure in figures:
        files[f"figures/{figure.name}.png"] = figure.png
        files[f"figures/{figure.name}.pdf"] = figure.pdf
    for table in tabled.values():
        files[f"tables/{table.name}.csv"] = as_csv(table.frame).encode("utf-8")
        text = latex(table)
        if text is not None:
            files[f"tables/{table.name}.tex"] = (text + "\n").encode("utf-8")
    record = provenance(facts, heading, files)
    page = render(facts, heading, figures, tabled, record)
    _write(directory, files, page, record)
    return directory / "report.html"


def _write(directory: Path, files: dict[str, bytes], page: str, record: dict[str, Any]) -> None:
    """Put the parts in place, each whole or not at all."""
    before = _written_before(directory)
    ours = {*before, "report.html", "provenance.json"} if before is not None else set()
    theirs = [
        name
        for name in (*files, "report.html", "provenance.json")
        if (directory / name).exists() and name not in ours
    ]
    if theirs:
        raise InputError(
            f"Expected a folder in which a report can be written; got {str(directory)!r}, which "
            f"holds {listed(theirs, 3)}, and no report wrote that there. Choose another folder, "
            "or move what is yours elsewhere."
        )
    before = before or set()
    # First, so that what a killed process leaves is known as a report's.
    claimed = {**dict.fromkeys(sorted(before)), **record["files"]}
    write_json(directory / "provenance.json", {**record, "files": claimed}, default=str)
    for folder in _FOLDERS:
        with atomic_directory(directory / folder, replaces=None) as temporary:
            _keep_others(directory / folder, temporary, before, folder)
            for name, content in files.items():
                if name.startswith(f"{folder}/"):
                    (temporary / Path(name).name).write_bytes(content)
    atomic_write_text(directory / "report.html", page)
    write_json(directory / "provenance.json", record, default=str)


def _written_before(directory: Path) -> set[str] | None:
    """Files of an earlier report, by its own record; ``None`` where there is no such record."""
    try:
        record = json.loads((directory / "provenance.json").read_text(encoding="utf-8"))
        return set(record["files"]) if record.get("schema") == SCHEMA else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _keep_others(folder: Path, temporary: Path, before: set[str], name: str) -> None:
    """Carry over what somebody else put into a folder of the report."""
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir()):
        if f"{name}/{entry.name}" in before:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, temporary / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, temporary / entry.name, follow_symlinks=False)
