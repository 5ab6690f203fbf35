"""One point of the growth curves, in a process of its own.

One job as JSON on standard input, the result on the last line of standard output: seconds of the
fit cold (the first of the process) and warm (a second data set of the same shape), of the posterior
of pairs that were compressed before, of making the tables, of the likelihood at one point in NumPy
and of its gradient in JAX, of the gradient of what they replace, and the peak of memory.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SITUATIONS, SPREAD = 20, 1.5
#: Choosers on which the number of groups grows.
GROUPED = 2_000
# Pairs above which evaluating every one of them is not worth the wait.
_MOST_DIRECT = 2_000_000


def choices_of(kind, size, seed):
    """Pairs without choosers, panels of 20, or panels in groups that differ in strength."""
    import pandas as pd

    import prefstrength as ps

    rng = np.random.default_rng(seed)
    choosers = {"pairs": size, "choosers": size, "groups": GROUPED}[kind]
    each = 1 if kind == "pairs" else SITUATIONS
    group = np.arange(choosers) % size if kind == "groups" else np.zeros(choosers, dtype=int)
    shift = 0.3 * rng.standard_normal(size if kind == "groups" else 1)
    strength = np.exp(shift[group] + 0.7 * rng.standard_normal(choosers))
    x = rng.normal(0.0, SPREAD, (choosers, each))
    first = rng.random(x.shape) < 1 / (1 + np.exp(-strength[:, None] * x))
    columns = {"reward_chosen": np.where(first, x, -x).ravel(), "reward_rejected": 0.0}
    if kind == "pairs":
        return ps.Choices.from_pairs(pd.DataFrame(columns))
    columns["annotator"] = np.repeat(np.arange(choosers), each)
    if kind == "groups" and size > 1:
        columns["group"] = np.repeat(group, each).astype(str)
        return ps.Choices.from_pairs(pd.DataFrame(columns), chooser="annotator", groups="group")
    return ps.Choices.from_pairs(pd.DataFrame(columns), chooser="annotator")


def gradient_seconds(kind, choices, model):
    """Of tables, of the likelihood on them and of its gradient in JAX, and uncompressed."""
    import jax
    import jax.numpy as jnp

    from prefstrength import LogNormal, log_choice_probability
    from prefstrength.inference.population import Level, cell_codes
    from prefstrength.inference.sampling import scalar_likelihood
    from prefstrength.likelihood.cells import CellLaws
    from prefstrength.likelihood.laws import Blend, Laws
    from prefstrength.likelihood.traced_tables import TracedTables
    from prefstrength.models.fitting import Work

    with jax.enable_x64(True):
        cells, codes = cell_codes(choices, model.groups)
        work = Work.of(model, choices)
        start = time.perf_counter()
        likelihood = scalar_likelihood(work.population, work.data, work.reading)
        likelihood.tables({})
        compression = time.perf_counter() - start
        laws = [Blend.of(Laws(LogNormal, np.zeros(1), np.full(1, 0.7))) for _ in cells]
        value = _best(likelihood.totals, laws)

        def compressed(at, tables):
            laws = (CellLaws(LogNormal, at[0], at[1]),)
            return tables.total(Level((laws,), (jnp.zeros(1),), {}))

        at = jnp.stack([jnp.zeros(len(cells)), jnp.full(len(cells), 0.7)])
        small = _best(jax.jit(jax.grad(compressed)), at, TracedTables.of(likelihood, 1.5))
        x = jnp.asarray(choices.differences("reward"))
        large = None
        if kind == "pairs" and len(x) <= _MOST_DIRECT:

            def direct(at, x):
                # In parts, or the nodes of a million pairs fill the memory.
                law = LogNormal(mu=at[0, 0], sigma=at[1, 0])
                part = jax.checkpoint(lambda part: log_choice_probability(part, law).sum())
                return jax.lax.map(part, x.reshape(-1, 1000)).sum()

            large = _best(jax.jit(jax.grad(direct)), at, x)
        elif kind != "pairs":

            def latent(at, x):
                strength = jnp.exp(at[0][cell] + at[1][cell] * at[2])
                value = jax.nn.log_sigmoid(strength[:, None] * x).sum()
                return value - (at[2] ** 2).sum() / 2

            cell = jnp.asarray(codes.reshape(choices.n_choosers, -1)[:, 0])
            z = jnp.asarray(np.random.default_rng(0).standard_normal(choices.n_choosers))
            x = x.reshape(choices.n_choosers, -1)
            large = _best(jax.jit(jax.grad(latent)), (at[0], at[1], z), x)
    return {
        "compression": compression,
        "value": value,
        "gradient": small,
        "gradient_uncompressed": large,
    }


def posterior_seconds(choices, model):
    """Of a fit of what the streaming compression left of the pairs, the second of two."""
    import pandas as pd

    import prefstrength as ps

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.parquet"
        x = choices.differences("reward")
        pd.DataFrame({"reward_chosen": x, "reward_rejected": 0.0}).to_parquet(path)
        compressed = ps.compress_choices(path, progress=False)
        for seed in (0, 1):
            start = time.perf_counter()
            model.fit(compressed, seed=seed, progress=False)
            seconds = time.perf_counter() - start
    return seconds


def _best(function, *arguments):
    """Seconds of a call, the least of as many as fit into half a second (at least three)."""
    import jax

    jax.block_until_ready(function(*arguments))
    least, spent, calls = np.inf, 0.0, 0
    while calls < 3 or (spent < 0.5 and calls < 1000):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        took = time.perf_counter() - start
        least, spent, calls = min(least, took), spent + took, calls + 1
    return least


def run(job):
    import prefstrength as ps

    kind, size = job["kind"], job["size"]
    groups = ("group",) if kind == "groups" and size > 1 else ()
    model = ps.MixedLogit({"reward": ps.LogNormal()}, groups=groups)
    found = {"kind": kind, "size": size}
    for name, seed in (("cold", 0), ("warm", 1)):
        choices = choices_of(kind, size, seed)
        start = time.perf_counter()
        fit = model.fit(choices, seed=seed, progress=False)
        found[f"fit_{name}"] = time.perf_counter() - start
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["situations"] = choices.n_situations
    found["method"], found["reason"] = fit.method, fit.reason
    found["likelihood_error"] = float(fit.spec["likelihood"]["error"])
    if kind == "pairs":
        found["posterior"] = posterior_seconds(choices, model)
    return found | gradient_seconds(kind, choices, model)


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
