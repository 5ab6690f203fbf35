"""What all benchmarks share: the panel, child processes, effective draws, tables, results."""

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
#: The panel that everything is compared on.
TRUTH = {"mu": 0.0, "sigma": 0.7}
SPREAD = 1.5
LIBRARIES = ("prefstrength", "jax", "jaxlib", "numpyro", "arviz", "numpy", "scipy", "pandas")


def panel(choosers, situations, seed):
    """Choices with LogNormal strengths, reward differences Normal(0, 1.5^2)."""
    import prefstrength as ps

    law = ps.LogNormal(**TRUTH)
    return ps.simulate(law, choosers=choosers, situations=situations, spread=SPREAD, seed=seed)


def differences(choices):
    """Chosen minus rejected, (chooser, situation)."""
    return choices.differences("reward").reshape(choices.n_choosers, -1)


def in_child(module, job, python=sys.executable, path=None, **environment):
    """What a module's ``main`` prints as JSON, given a job, in a process of its own.

    Every measurement that includes compilation starts this way: nothing is compiled yet.
    """
    command = [str(python), str(path)] if path else [str(python), "-m", f"benchmarks.{module}"]
    done = subprocess.run(
        command,
        input=json.dumps(job),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed with {job.keys()}:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def effective(draws):
    """Bulk effective sample size of draws (chain, draw)."""
    import arviz as az

    return float(np.asarray(az.ess(np.asarray(draws, dtype=np.float64), method="bulk")))


def moments(draws):
    """Mean, sd, effective draws and R-hat of one variable's draws (chain, draw)."""
    import arviz as az

    draws = np.asarray(draws, dtype=np.float64)
    rhat = float(np.asarray(az.rhat(draws))) if len(draws) > 1 else None
    return {
        "mean": float(draws.mean()),
        "sd": float(draws.std(ddof=1)),
        "effective": effective(draws),
        "rhat": rhat,
    }


def versions():
    """Versions of Python and of the libraries, those that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine():
    """Processor, cores, and how busy the machine was: no names, no paths."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": model, "cores": cores, "load_before": load, "system": platform.system()}


def rounded(value, digits=6):
    """Numbers to a few digits, so that the stored files stay readable."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.{digits}g}") if np.isfinite(value) else None
    return value.item() if isinstance(value, np.integer) else value


def store(name, results, before, folder):
    """Write results with the settings of the machine to ``folder/name.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"machine": before, "versions": versions(), **results}
    text = json.dumps(rounded(whole), indent=1, ensure_ascii=False) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def ratio_row(quantity, ours, theirs, target=None, more_is_better=True):
    """Row of the summary; the ratio says how many times better ours is."""
    ratio = ours / theirs if more_is_better else theirs / ours
    return {
        "quantity": quantity,
        "ours": float(f"{ours:.4g}"),
        "theirs": float(f"{theirs:.4g}"),
        "ratio": f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.2g}x",
        "target": "" if target is None else f"{target:,.0f}x",
        "met": None if target is None else bool(ratio >= target),
    }


def table(rows, columns=None):
    """Rows (dicts) as a Markdown table."""
    columns = columns or list(dict.fromkeys(key for row in rows for key in row))

    def shown(value):
        if value is None:
            return ""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, float):
            return f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    cells = [[shown(row.get(column)) for column in columns] for row in rows]
    width = [max(len(c), *(len(line[i]) for line in cells)) for i, c in enumerate(columns)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(columns, width, strict=True)) + " |"]
    lines.append("|" + "|".join("-" * (w + 2) for w in width) + "|")
    for line in cells:
        lines.append("| " + " | ".join(c.rjust(w) for c, w in zip(line, width, strict=True)) + " |")
    return "\n".join(lines)
