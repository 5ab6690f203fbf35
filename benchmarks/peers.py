"""Simulated maximum likelihood by xlogit and Biogeme, in an environment of their own.

Run by path with that environment's Python; one job as JSON on standard input, its result as
JSON on the last line of standard output. It imports nothing of prefstrength.

Both estimate ``strength = exp(mu + sigma z)`` on panels of pairs, from mu = 0 and sigma = 1.
Several panels are estimated one after another: the first time is that of a fresh process. A peer
that breaks off is reported with its message, not left out.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from importlib.metadata import version

import numpy as np


def xlogit(x: np.ndarray, draws: int, numerical_hessian: bool) -> dict:
    """Halton draws; standard errors from BFGS's inverse Hessian, or by finite differences."""
    from xlogit import MixedLogit

    choosers, situations = x.shape
    rows = x.size
    model = MixedLogit()
    start = time.perf_counter()
    model.fit(
        X=np.column_stack([x.ravel(), np.zeros(rows)]).reshape(-1, 1),
        y=np.tile([1, 0], rows),
        varnames=["reward"],
        alts=np.tile([1, 2], rows),
        ids=np.repeat(np.arange(rows), 2),
        panels=np.repeat(np.arange(choosers), 2 * situations),
        randvars={"reward": "ln"},
        # From its own start, the coefficient of the plain logit taken for mu, it may diverge.
        init_coeff=np.array([0.0, 1.0]),
        n_draws=draws,
        num_hess=numerical_hessian,
        verbose=0,
    )
    return {
        "seconds": time.perf_counter() - start,
        "mu": float(model.coeff_[0]),
        "sigma": abs(float(model.coeff_[1])),
        "mu_se": float(model.stderr[0]),
        "sigma_se": float(model.stderr[1]),
        "log_likelihood": float(model.loglikelihood),
        "converged": bool(model.convergence),
        "evaluations": int(model.total_fun_eval),
        "version": version("xlogit"),
    }


def biogeme(x: np.ndarray, draws: int, kind: str) -> dict:
    """Panel likelihood with Biogeme's draws of the given kind; Rao-Cramer standard errors."""
    import pandas as pd
    from biogeme.biogeme import BIOGEME
    from biogeme.database import Database
    from biogeme.expressions import (
        Beta,
        Draws,
        MonteCarlo,
        PanelLikelihoodTrajectory,
        Variable,
        exp,
        log,
    )
    from biogeme.models import logit

    choosers, situations = x.shape
    frame = pd.DataFrame(
        {
            "chooser": np.repeat(np.arange(choosers), situations),
            "difference": x.ravel(),
            "choice": 1,
        }
    )
    start = time.perf_counter()
    database = Database("panel", frame)
    database.panel("chooser")
    mu, sigma = Beta("mu", 0, None, None, 0), Beta("sigma", 1, None, None, 0)
    strength = exp(mu + sigma * Draws("z", kind))
    utilities = {1: strength * Variable("difference"), 2: 0}
    probability = logit(utilities, None, Variable("choice"))
    formula = log(MonteCarlo(PanelLikelihoodTrajectory(probability)))
    problem = BIOGEME(
        database,
        formula,
        number_of_draws=draws,
        seed=1,
        generate_html=False,
        generate_yaml=False,
        save_iterations=False,
    )
    problem.model_name = "panel"
    result = problem.estimate()
    seconds = time.perf_counter() - start
    errors = np.sqrt(np.diag(result.rao_cramer_variance_covariance_matrix))
    names = list(result.beta_names)
    values = result.get_beta_values()
    return {
        "seconds": seconds,
        "mu": float(values["mu"]),
        "sigma": abs(float(values["sigma"])),
        "mu_se": float(errors[names.index("mu")]),
        "sigma_se": float(errors[names.index("sigma")]),
        "log_likelihood": float(result.final_loglikelihood),
        "converged": bool(result.algorithm_has_converged),
        "version": version("biogeme"),
    }


def attempt(peer, x: list, job: dict) -> dict:
    try:
        return peer(np.array(x), job["draws"], **job["options"])
    except (ArithmeticError, ValueError, np.linalg.LinAlgError) as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def main() -> None:
    job = json.load(sys.stdin)
    peer = {"xlogit": xlogit, "biogeme": biogeme}[job["peer"]]
    # Biogeme writes files where it runs; either may print.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        os.chdir(folder)
        result = [attempt(peer, x, job) for x in job["panels"]]
        os.chdir("/")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
