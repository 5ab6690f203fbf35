"""NumPyro NUTS with latent choosers, written as a user of NumPyro would write it.

One job as JSON on standard input, the result on the last line of standard output. Four chains on
four host devices and single precision: the fastest of float32 and float64, parallel and vectorised
chains, as measured (``python -m benchmarks.engine --ways``).
"""

import json
import os
import sys
import time


def run(job):
    if job["chain_method"] == "parallel":  # before JAX starts
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={job['chains']}"
    import jax

    jax.config.update("jax_enable_x64", job["x64"])
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS

    from benchmarks.common import differences, moments, panel

    def model(x, scale):
        mu = numpyro.sample("mu", dist.Normal(-jnp.log(scale), 1.0))
        sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
        with numpyro.plate("chooser", x.shape[0]):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        strength = jnp.exp(mu + sigma * z)
        chosen = jnp.ones(x.shape, dtype=int)
        numpyro.sample("chosen", dist.Bernoulli(logits=strength[:, None] * x), obs=chosen)

    sampler = MCMC(
        NUTS(model),
        num_warmup=job["warmup"],
        num_samples=job["draws"],
        num_chains=job["chains"],
        chain_method=job["chain_method"],
        progress_bar=False,
        jit_model_args=True,  # so that a second data set of the same shape costs less
    )
    fields = ("num_steps", "diverging")

    def sample(key, *data):
        start = time.perf_counter()
        sampler.run(key, *data, extra_fields=fields)
        jax.block_until_ready(sampler.get_samples())
        return time.perf_counter() - start

    out = []
    for seed in job["seeds"]:
        choices = panel(job["choosers"], job["situations"], seed)
        data = (jnp.asarray(differences(choices)), jnp.asarray(choices.scale("reward")))
        sampler.post_warmup_state = None
        seconds = sample(jax.random.PRNGKey(100 + seed), *data)
        draws = sampler.get_samples(group_by_chain=True)
        extra = sampler.get_extra_fields()
        found = {
            "seconds": seconds,
            "steps": float(extra["num_steps"].mean()),
            "divergences": int(extra["diverging"].sum()),
            **{name: moments(draws[name]) for name in ("mu", "sigma")},
        }
        found["effective"] = min(found["mu"]["effective"], found["sigma"]["effective"])
        # Sampling alone: going on from where it stopped, less what one draw takes, which is
        # compilation.
        seconds_of = {}
        for count in (1, job["draws"]):
            sampler.num_samples = count
            sampler.post_warmup_state = sampler.last_state
            seconds_of[count] = sample(sampler.post_warmup_state.rng_key, *data)
        found["sampling_seconds"] = seconds_of[job["draws"]] - seconds_of[1]
        found["compile_seconds"] = seconds_of[1]
        out.append(found)
    return out


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
