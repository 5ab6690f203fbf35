"""Whole posteriors: against enumeration, against NUTS, against choosers sampled one by one."""

import numpy as np
import pytest
from scipy import stats

import prefstrength as ps
from prefstrength.models.fitting import sample_population
from tests.helpers.enumerated_posterior import Panel, moments, rule

KEEN = ps.LogNormal(mu=0.1, sigma=0.6)
DESIGN = {"choosers": 30, "situations": 12, "seed": 11}

PRIORS = {
    "cut_1": stats.halfnorm(0, 2.0),
    "tie": stats.lognorm(s=1.0),
    "lapse": stats.beta(1, 9),
    "power": stats.lognorm(s=0.3),
    "zero": stats.beta(1, 4),
}


def panel_of(choices):
    """Plain arrays, not by way of the package's likelihood."""
    name, values = choices.response.name, np.asarray(choices.values)[:, :, 0]
    if name == "Ranking":
        return "ranking", values, np.asarray(choices.ranks)
    x = values[:, 0] - values[:, 1]
    if name == "Pair":
        return "pair", x, np.asarray(choices.chosen)
    return {"Graded": "graded", "Ties": "ties"}[name], x, np.asarray(choices.answer)


def around(draws, low=-np.inf, high=np.inf, nodes=20):
    """Where the posterior lies, and well beyond."""
    sd = draws.std()
    return rule(max(draws.min() - 1.5 * sd, low), min(draws.max() + 1.5 * sd, high), nodes)


def prior_of(choices, positive):
    """Location and dispersion, on the scale of the differences."""
    s = choices.scale("reward")
    if positive:
        return stats.norm(-np.log(s), 1), stats.halfnorm(0, 1)
    return stats.norm(0, 2 / s), stats.halfnorm(0, 1 / s)


def enumerated(choices, drawn, shared=None, zero=False, positive=True):
    """Means and sds of location, dispersion, and of what is shared or the share of zeros."""
    panel = Panel(*panel_of(choices), np.asarray(choices.chooser), positive)
    names = ("mu", "sigma")
    at = {name: drawn[f"reward_{name}"].ravel() for name in names}
    location, dispersion = around(at["mu"]), around(at["sigma"], low=0.0)
    on_location, on_dispersion = prior_of(choices, positive)
    prior = on_location.logpdf(location[0])[:, None] + on_dispersion.logpdf(dispersion[0])
    last = shared or ("zero" if zero else None)
    if last is None:
        log = panel.log_marginals(location[0], dispersion[0], {}).sum(axis=2) + prior
        return moments(log, [location, dispersion])
    high = np.inf if last in ("cut_1", "tie", "power") else 1.0
    third = around(drawn["reward_zero_share" if zero else last].ravel(), 0.0, high)
    if zero:
        cares, nothing = panel.log_marginals(location[0], dispersion[0], {}), panel.at_zero({})
        tables = [
            np.logaddexp(np.log1p(-share) + cares, np.log(share) + nothing) for share in third[0]
        ]
    else:
        tables = [
            panel.log_marginals(location[0], dispersion[0], {last: value}) for value in third[0]
        ]
    log = np.stack([table.sum(axis=2) + prior for table in tables], axis=2)
    return moments(log + PRIORS[last].logpdf(third[0]), [location, dispersion, third])


def assert_same(draws, effective, mean, sd, name):
    """Mean within three Monte Carlo errors, sd within 5 %."""
    error = sd * np.sqrt(1 / effective + 1 / draws.size)
    assert abs(draws.mean() - mean) < 3 * error, name
    assert abs(draws.std() / sd - 1) < 0.05, name


CASES = {
    "plain": (ps.LogNormal(), {}, None, {}),
    "graded": (
        ps.LogNormal(), {"response": ps.Graded(3), "shared": {"cut_1": 0.6}}, "cut_1", {},
    ),
    "ties": (ps.Normal(), {"response": ps.Ties(), "shared": {"tie": 0.7}}, "tie", {}),
    "rankings": (ps.LogNormal(), {"response": ps.Ranking(), "alternatives": 3}, None, {}),
    "zeros": (ps.ZeroMass(ps.LogNormal()), {}, None, {}),
    "lapse": (ps.LogNormal(), {}, "lapse", {"lapse": True}),
    "power": (ps.LogNormal(), {}, "power", {"utility": "power"}),
}  # fmt: skip


def simulated(case):
    _, answers, _, _ = CASES[case]
    made = {
        "ties": ps.Normal(mu=0.8, sigma=0.6),
        "zeros": ps.ZeroMass(KEEN, share=0.25),
        "lapse": ps.Lapse(KEEN, share=0.15),
    }.get(case, KEEN)
    return ps.simulate(made, **DESIGN, **answers)


@pytest.mark.parametrize("case", CASES)
def test_the_posterior_is_the_enumerated_one(case):
    mixing, _, shared, options = CASES[case]
    choices = simulated(case)
    model = ps.MixedLogit({"reward": mixing}, **options)
    found = sample_population(model, choices, draws=1500, seed=2)
    assert found.method == "importance"
    drawn = found.variables
    zero = case == "zeros"
    exact = enumerated(choices, drawn, shared, zero, positive=case != "ties")
    names = ["reward_mu", "reward_sigma", shared or "reward_zero_share"][: len(exact)]
    for name, (mean, sd) in zip(names, exact, strict=True):
        assert_same(drawn[name], found.extra["effective"], mean, sd, name)


def test_two_kinds_of_choosers():
    """Two LogNormals in order, all five parameters."""
    kinds = ps.FiniteMixture(
        (ps.LogNormal(mu=-1.2, sigma=0.2), ps.LogNormal(mu=1.0, sigma=0.2)), shares=(0.4, 0.6)
    )
    choices = ps.simulate(kinds, choosers=40, situations=30, seed=4)
    model = ps.MixedLogit({"reward": ps.FiniteMixture((ps.LogNormal(), ps.LogNormal()))})
    found = sample_population(model, choices, draws=1500, seed=2)
    drawn = found.variables
    panel = Panel(*panel_of(choices), np.asarray(choices.chooser))
    on_location, on_dispersion = prior_of(choices, True)
    sides = []
    for k in range(2):
        mu = around(drawn["reward_mu"][..., k].ravel(), nodes=14)
        sigma = around(drawn["reward_sigma"][..., k].ravel(), low=0.0, nodes=12)
        own = panel.log_marginals(mu[0], sigma[0], {})
        prior = on_location.logpdf(mu[0])[:, None] + on_dispersion.logpdf(sigma[0])
        sides.append((mu, sigma, own, prior))
    share = around(drawn["reward_share"][..., 0].ravel(), 0.0, 1.0, nodes=14)
    (mu_1, sigma_1, one, prior_1), (mu_2, sigma_2, two, prior_2) = sides
    order = mu_1[0][:, None, None, None] < mu_2[0][:, None]
    log = np.empty((14, 12, 14, 12, 14))
    for s, value in enumerate(share[0]):
        both = np.logaddexp(
            np.log(value) + one[:, :, None, None], np.log1p(-value) + two[None, None]
        )
        log[..., s] = both.sum(axis=4)
    log += prior_1[:, :, None, None, None] + prior_2[:, :, None]
    log = np.where(order[..., None], log, -np.inf)
    exact = moments(log, [mu_1, sigma_1, mu_2, sigma_2, share])
    names = [("reward_mu", 0), ("reward_sigma", 0), ("reward_mu", 1), ("reward_sigma", 1)]
    for (name, k), (mean, sd) in zip([*names, ("reward_share", 0)], exact, strict=True):
        assert_same(drawn[name][..., k], found.extra["effective"], mean, sd, (name, k))


# -- other ways ------------------------------------------------------------------------------------

RESPONSES = {
    "graded": (ps.LogNormal(), {"response": ps.Graded(5), "shared": {"cut_1": 0.4, "cut_2": 0.8}}),
    "graded-even": (ps.LogNormal(), {"response": ps.Graded(4), "shared": {"cut_1": 0.8}}),
    "ties": (ps.Normal(), {"response": ps.Ties(), "shared": {"tie": 0.7}}),
    "rao-kupper": (ps.Gamma(), {"response": ps.RaoKupper(), "shared": {"cut_1": 0.5}}),
    "multinomial": (ps.LogNormal(), {"response": ps.Multinomial(), "alternatives": 4}),
    "rankings": (ps.LogNormal(), {"response": ps.Ranking(), "alternatives": 4}),
    "efron": (ps.Normal(), {"response": ps.Ranking("efron"), "alternatives": 3}),
    "lapse": (ps.Lapse(ps.LogNormal()), {}),
    "zeros": (ps.ZeroMass(ps.LogNormal()), {}),
    "kinds": (ps.FiniteMixture((ps.LogNormal(), ps.LogNormal())), {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nuts", "latent"])
@pytest.mark.parametrize("kind", RESPONSES)
def test_numpyro_finds_the_same(kind, method):
    """NUTS on the tables, and NUTS with choosers, which knows no table."""
    mixing, answers = RESPONSES[kind]
    made = {
        "ties": ps.Normal(mu=0.8, sigma=0.6),
        "efron": ps.Normal(mu=0.8, sigma=0.6),
        "zeros": ps.ZeroMass(KEEN, share=0.25),
        "lapse": ps.Lapse(KEEN, share=0.15),
        "kinds": ps.FiniteMixture(
            (ps.LogNormal(mu=-1.2, sigma=0.2), ps.LogNormal(mu=1.0, sigma=0.2)), shares=(0.4, 0.6)
        ),
    }.get(kind, KEEN)
    choices = ps.simulate(made, **DESIGN, **answers)
    model = ps.MixedLogit({"reward": mixing})
    exact = sample_population(model, choices, draws=1500, seed=2)
    found = sample_population(model, choices, method=method, seed=3)
    assert found.method == method
    # Of Gamma the shape, one over the square of the dispersion, has no moments.
    names = [n for n in exact.variables if not n.endswith(("shape", "rate", "mu", "sigma"))]
    assert {"reward_location", "reward_dispersion"} <= set(names)
    for name in names:
        one = exact.variables[name].reshape(6000, -1).astype(float)
        other = found.variables[name].astype(float)
        for column in range(one.shape[1]):
            chains = other.reshape(*other.shape[:2], -1)[:, :, column]
            fewest = _effective(chains)
            sd = one[:, column].std()
            error = sd * np.sqrt(1 / fewest + 1 / exact.extra["effective"] + 1 / 6000)
            assert abs(chains.mean() - one[:, column].mean()) < 4 * error, name
            # The sd of an sd is sd/sqrt(2 n) for a Gaussian; tails are heavier here.
            assert abs(chains.std() / sd - 1) < 5 / np.sqrt(2 * fewest) + 0.03, name


def _effective(chains):
    """Effective draws from the variance between batches of each chain."""
    batches = chains.reshape(-1, 25)
    between = 25 * batches.mean(axis=1).var(ddof=1)
    return float(np.clip(chains.size * chains.var() / between, 40, chains.size))


def test_effective_draws_of_independent_ones_are_about_their_number():
    draws = np.random.default_rng(0).standard_normal((4, 500))
    assert 1200 < _effective(draws) <= 2000
    assert _effective(np.cumsum(draws, axis=1)) < 100
