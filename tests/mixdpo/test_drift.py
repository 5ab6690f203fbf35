"""What happens to a learned strength without a prior, and that the prior is what stops it."""

import functools
import json
import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from prefstrength.choice.mixing.families import MIXINGS  # noqa: E402
from prefstrength.choice.strength_prior import StrengthPrior  # noqa: E402
from prefstrength.mixdpo import mixdpo_loss  # noqa: E402
from prefstrength.mixdpo.strength import Strength  # noqa: E402

FAMILIES = ["LogNormal", "Gamma", "InverseGaussian"]
START = {"mean": 0.1, "cv": 0.8}
PAIRS, STEPS = 200, 400


def fitted(family):
    """A prior of the size that an analysis of some thousand choices gives."""
    return StrengthPrior(
        family, math.log(START["mean"]), 0.2, MIXINGS[family].log_spread_from_cv(START["cv"]), 0.1
    )


def learned(strength):
    """Learn strength and Δ together, each pair with a Δ of its own; mean, cv and loss by step.

    As a policy that can separate whatever it is shown.
    """
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(PAIRS, generator=generator, dtype=torch.float64).requires_grad_()
    policy = torch.optim.Adam([delta], lr=0.2)
    law = torch.optim.Adam([p for p in strength.parameters() if p.requires_grad], lr=1e-2)
    way = []
    for _ in range(STEPS):
        loss = mixdpo_loss(delta, strength.mixing()).mean()
        way.append((strength.mean, strength.cv, loss.item()))
        policy.zero_grad()
        law.zero_grad()
        (loss + strength.negative_log_prior() / PAIRS).backward()
        policy.step()
        law.step()
    return way


@functools.cache
def without_a_prior(family):
    return learned(Strength.from_start(family, **START))


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_prior_the_mean_rises_and_the_spread_shrinks(family):
    way = without_a_prior(family)
    (mean, cv, loss), late = way[0], way[-1]
    assert late[0] > 4 * mean
    assert late[1] < cv / 3
    assert late[2] < loss / 100  # the pairs have been separated
    # All the way: it is a drift, with no place to come to rest.
    checked = way[20::20]
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in zip(checked, checked[1:], strict=False))


@pytest.mark.parametrize("family", FAMILIES)
def test_with_the_prior_the_spread_stays_and_the_mean_comes_back(family):
    """Pairs outvote the prior while they are being separated; then their pull dies."""
    prior = fitted(family)
    strength = Strength.from_prior(prior)
    way = learned(strength)
    assert way[-1][2] < way[0][2] / 10  # the pairs are separated all the same
    assert abs(strength.dispersion.item() - prior.dispersion) < 2.5 * prior.dispersion_sd
    most = max(mean for mean, _, _ in way)
    assert most > 2 * START["mean"]
    assert way[-1][0] < 0.85 * most
    free = without_a_prior(family)
    assert free[-1][0] > 2 * strength.mean
    assert free[-1][1] < strength.cv / 3
    # A mean that is fixed stays where it is, and the spread as it does with the prior.
    anchored = Strength.from_prior(prior, mode="anchored")
    learned(anchored)
    assert anchored.mean == pytest.approx(START["mean"], abs=1e-15)
    assert anchored.cv == pytest.approx(strength.cv, rel=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_of_separated_pairs_every_single_one_pulls_the_same_way(family):
    """At Δ > 0 σ(βΔ) rises with β and is concave in it, so that spread about the same mean costs.

    A pair on the wrong side pulls the other way: contradicted choices are all that holds the
    spread up.
    """
    for sign in (1, -1):
        for size in (0.01, 0.3, 3.0, 30.0, 300.0):
            strength = Strength.from_start(family, **START)
            delta = torch.tensor([sign * size], dtype=torch.float64)
            mixdpo_loss(delta, strength.mixing()).sum().backward()
            assert sign * strength.location.grad < 0
            assert sign * strength.dispersion.grad > 0


# -- tiny models -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_study_ranks_the_learned_spreads_and_drifts(tmp_path):
    from benchmarks.study import FULL, study

    settings = {**FULL, "choosers": 120, "steps": 60, "drift_steps": 150, "drift_seeds": 1}
    found = study(3, settings, tmp_path)
    assert found["ranked"]["MixDPO: cv"] == 3
    assert found["fits that failed a check"] == 0
    for row in found["metrics"]:
        if row["metric"] == "accuracy" and row["kind"] == "micro":
            assert row["MixDPO"] > 0.53  # it learned something
    ends = {row["arm"]: row for row in found["drift"]["ends"]}
    free, held = ends["no prior"], ends["MixDPO"]
    assert free["mean, last"] > 2 * free["mean, first"]
    assert free["sigma, last"] < 0.5 * free["sigma, first"]
    assert held["sigma, last"] > 2 * free["sigma, last"]
    assert ends["anchored"]["mean, last"] == pytest.approx(0.1)
    # What is there is not made again, and is the same.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(before) == 4
    assert json.dumps(study(3, settings, tmp_path)) == json.dumps(found)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit, match="a run with the same settings"):
        study(3, {**settings, "steps": 61}, tmp_path)
