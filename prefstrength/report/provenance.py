"""Provenance of the report as JSON: what made its numbers, enough to make them again."""

import hashlib
import math
import platform
import subprocess
from pathlib import Path
from typing import Any

from prefstrength._shared.records import versions
from prefstrength.report.answer import answers, training_advice
from prefstrength.report.facts import Facts

__all__ = ["SCHEMA", "commit", "provenance"]

SCHEMA = "prefstrength/report/1"

_LIBRARIES = (
    "prefstrength", "numpy", "scipy", "pandas", "jax", "numpyro", "arviz", "xarray", "matplotlib",
)  # fmt: skip


def provenance(facts: Facts, title: str, files: dict[str, bytes]) -> dict[str, Any]:
    """Record of the fit, the data, the checks and the files of a report.

    Parameters
    ----------
    facts : Facts
    title : str
    files : dict
        Content by path inside the report's directory.
    """
    spec = facts.fit.spec
    learned = facts.learned
    return {
        "schema": SCHEMA,
        "title": title,
        "commit": commit(),
        "seed": spec["seed"],
        "versions": {
            "fit": spec["versions"],
            "report": {"python": platform.python_version(), **versions(*_LIBRARIES)},
            **({"training": learned.versions} if learned is not None else {}),
        },
        "data": spec["data"],
        "reward": facts.reward,
        "model": {
            **{name: spec[name] for name in ("coefficients", "groups", "priors", "scales")},
            "errors": facts.fit.errors,
        },
        "inference": {
            name: spec[name]
            for name in ("method", "reason", "likelihood", "draws", "warmup", "chains")
        },
        "options": {"attribute": facts.attribute, "prob": facts.prob, "rope": facts.rope},
        "checks": [
            {
                "check": str(row["check"]),
                "variable": str(row["variable"]),
                "seen": _number(row["seen"]),
                "predicted": _number(row["predicted"]),
                "value": float(row["value"]),
                "threshold": float(row["threshold"]),
                "passed": bool(row["passed"]),
            }
            for row in facts.checks.to_dict("records")
        ],
        "all_checks_passed": not len(facts.failed),
        "answers": {answer.question: answer.short for answer in answers(facts)},
        "rivals": None
        if facts.rivals is None
        else {
            "verdict": facts.rivals.label,
            "words": facts.rivals.verdict,
            "alone": str(facts.heterogeneity["verdict_alone"].iloc[0]),
            "parts": facts.rivals.parts[["part", "on", "mean", "low", "high"]].to_dict("records"),
            "explanations": {
                str(row["explanation"]): float(row["weight"])
                for row in facts.rivals.table.to_dict("records")
            },
        },
        "train_with": training_advice(facts) or None,
        "prior": None if facts.prior is None else facts.prior.to_dict(),
        "learned": None
        if learned is None
        else {
            "family": learned.family,
            "parameters": learned.parameters,
            "zero_share": learned.zero_share,
            "mode": learned.mode,
            "steps": learned.steps,
            "model": learned.model,
        },
        "simulated": facts.truth is not None,
        "notes": list(facts.notes),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }


def _number(value: float) -> float | None:
    """A number, or None where there is none."""
    return float(value) if math.isfinite(value) else None


def commit() -> dict[str, Any] | None:
    """Commit of the code that runs, and whether files were changed since; else ``None``.

    Only where the package's own files are tracked: one that is installed inside somebody's
    repository does not carry that repository's commit.
    """
    here = Path(__file__).resolve()
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    found = _git(here.parent, "rev-parse", "HEAD")
    if found is None:
        return None
    changed = _git(here.parent, "status", "--porcelain", "--untracked-files=no")
    return {"hash": found, "changed": None if changed is None else bool(changed)}


def _git(directory: Path, *arguments: str) -> str | None:
    """What git says, or ``None`` where there is no git, no checkout or no commit."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
