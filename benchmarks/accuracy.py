"""Errors as tables: the kernel against fifty digits, compression against direct evaluation.

``python -m benchmarks.accuracy [--quick] [--out FOLDER]``

A few points of what the tests check over the whole range.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import special

from benchmarks.common import RESULTS, SPREAD, machine, store, table

SIGMAS = (0.05, 0.3, 0.7, 1.5, 3.0)
#: Choices of each chooser -> choosers.
PANELS = {1: 200, 5: 200, 20: 200, 100: 50, 1_000: 10, 5_000: 4}


def kernel(quick):
    """Largest error over cv 0.01, 1, 10 and |x| from 1e-6 to 1e4, both signs, per law."""
    import jax

    from tests.choice import test_accuracy as cases

    rows = []
    cvs, sizes = ((1.0,), (0.1, 7.0)) if quick else ((0.01, 1.0, 10.0), cases.SIZES[::2])
    with jax.enable_x64(True):
        for kind, law in cases.LAWS.items():
            x, parameters, wanted, natural = cases.table(kind, cvs, sizes, (1,))
            row = {"law": kind}
            for dtype in (np.float64, np.float32):
                found = cases.by_jax(law(1.0), x.astype(dtype), parameters.astype(dtype))
                worst = cases.error(found, wanted, natural).max(axis=0)
                row[f"{dtype.__name__}: log p"] = float(worst[0])
                row[f"{dtype.__name__}: gradients"] = float(worst[1:].max())
            rows.append(row)
    return rows


def compression(quick):
    """Nats between the compressed and the direct log-likelihood of all data, LogNormal."""
    from prefstrength import LogNormal
    from prefstrength.choice.arrays import NUMPY
    from prefstrength.choice.kernel import log_probability
    from tests.helpers.reference import log_panel

    rows, rng = [], np.random.default_rng(0)
    count = 20_000 if quick else 1_000_000
    for sigma in SIGMAS:
        x, data = _data(rng, count, 1, sigma, panel=False)
        law = LogNormal(mu=np.zeros(1), sigma=np.full(1, sigma))
        direct = sum(
            float(log_probability(NUMPY, part, law).sum())
            for part in np.array_split(x, max(1, count // 20_000))
        )
        rows.append(_row("pairs", count, 1, sigma, data, direct))
    z = np.linspace(-20.0, 20.0, 8_001)
    for situations, choosers in list(PANELS.items())[: 2 if quick else None]:
        for sigma in SIGMAS:
            x, data = _data(rng, choosers, situations, sigma, panel=True)
            strength = np.exp(sigma * z)
            ones = np.ones(situations)
            direct = sum(
                log_panel(one, ones, np.broadcast_to(strength, (situations, len(z))), z)
                for one in x.reshape(choosers, situations)
            )
            rows.append(_row("panel", choosers, situations, sigma, data, direct))
    return rows


def _data(rng, choosers, situations, sigma, panel):
    """Choices under the law at which they are looked at: what a posterior can reach."""
    from tests.helpers.likelihoods import pairs

    x = rng.normal(0.0, SPREAD, (choosers, situations))
    strength = np.exp(sigma * rng.standard_normal((choosers, 1)))
    x = np.where(rng.random(x.shape) < special.expit(strength * x), x, -x).ravel()
    return x, pairs(x, unit=np.repeat(np.arange(choosers), situations) if panel else None)


def _row(kind, choosers, situations, sigma, data, direct):
    from prefstrength import LogNormal
    from tests.helpers.likelihoods import blends, error_of, likelihood_of

    likelihood, laws = likelihood_of(data, LogNormal), blends(LogNormal, 0.0, sigma)
    found = float(likelihood.totals(laws)[0])
    return {
        "data": kind,
        "choosers": choosers,
        "choices each": situations,
        "sigma": sigma,
        "log-likelihood": direct,
        "error (nats)": abs(found - direct),
        "as certified": error_of(likelihood, data, laws),
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small settings, to try the code")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    before = machine()
    laws = kernel(options.quick)
    print("Largest error relative to max(1, |log p|), gradients in natural scales\n")
    print(table(laws), flush=True)
    compressed = compression(options.quick)
    print("\nThe log-likelihood of all data, compressed, under its own law LogNormal(0, sigma)\n")
    print(table(compressed))
    store("accuracy", {"kernel": laws, "compression": compressed}, before, options.out)


if __name__ == "__main__":
    main()
