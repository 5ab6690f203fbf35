"""``MixedLogit.fit`` on panels of one shape, one after another: the first cold, the others warm.

One job as JSON on standard input, the result on the last line of standard output.
"""

import contextlib
import json
import sys
import time


@contextlib.contextmanager
def stopwatch(module, name, into):
    """Add up the seconds spent in a function of a module."""
    function = getattr(module, name)

    def timed(*args, **options):
        start = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            into[name] = into.get(name, 0.0) + time.perf_counter() - start

    setattr(module, name, timed)
    try:
        yield
    finally:
        setattr(module, name, function)


def run(job):
    import prefstrength as ps
    from benchmarks.common import moments, panel
    from prefstrength.models import fitting as inference

    out = []
    for seed in job["seeds"]:
        choices = panel(job["choosers"], job["situations"], seed)
        model = ps.MixedLogit({"reward": ps.LogNormal()})
        parts = {}
        # Everything but the posterior itself: predictions, pointwise log-likelihood, choosers.
        with stopwatch(inference, "assemble", parts):
            start = time.perf_counter()
            fit = model.fit(choices, seed=seed, progress=False, **job["options"])
            seconds = time.perf_counter() - start
        posterior = fit.posterior
        found = {
            "seconds": seconds,
            "posterior_seconds": seconds - parts["assemble"],
            "method": fit.method,
            "reason": fit.reason,
            "draws": int(posterior.sizes["chain"] * posterior.sizes["draw"]),
            "likelihood_error": float(fit.spec["likelihood"]["error"]),
            "mu": moments(posterior["reward_mu"].values),
            "sigma": moments(posterior["reward_sigma"].values),
        }
        by_arviz = min(found["mu"]["effective"], found["sigma"]["effective"])
        # Draws resampled by weight look better to ArviZ than their weights were.
        reported = fit.spec.get("effective")
        found["reported"] = reported
        found["effective"] = by_arviz if reported is None else min(by_arviz, float(reported))
        out.append(found)
    return out


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
