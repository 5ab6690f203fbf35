"""Simulation-based calibration of answers and kinds of choosers, and faults that it must find.

``benchmarks/calibration_responses.py`` runs the same designs 500 times each.
"""

from unittest import mock

import numpyro.distributions as dist
import pytest

import prefstrength as ps
from benchmarks.calibration_responses import configurations, panel
from prefstrength.choice.arrays import logsumexp, number
from prefstrength.choice.responses.graded import Graded
from prefstrength.choice.responses.ranking import Ranking
from prefstrength.likelihood import sources
from prefstrength.models.fitting import sample_population
from prefstrength.validation.calibration import calibrate

KNOWN = configurations()
SIMULATIONS = 60
OPTIONS = {"seed": 3, "cores": 1, "progress": False}


def drawn(model, choices, seed):
    """Posterior draws by the package's own way."""
    found = sample_population(model, choices, method="importance", draws=250, seed=seed)
    return {n: v.reshape(-1, *v.shape[2:]) for n, v in found.variables.items()}


# -- faults ----------------------------------------------------------------------------------------


def cuts_in_the_wrong_order(self, shared):
    """Distances added up from the outside inwards."""
    inner, outer = shared["cut_2"], shared["cut_1"] + shared["cut_2"]
    return [-outer, -inner, inner, outer]


def nobody_leaves(self, lib, utilities, answers, shared):
    """Explosion in which the chosen stay among those to choose from."""
    ranks = number(lib, answers, utilities)
    chosen = lib.xp.where((ranks > 0) & (ranks < utilities.shape[-1]), utilities, 0.0)
    many = lib.xp.sum(1.0 * (ranks > 0) * (ranks < utilities.shape[-1]), axis=-1)
    return lib.xp.sum(chosen, axis=-1) - many * logsumexp(lib, utilities)


with_lapse = sources.with_lapse


def lapse_twice(lib, log_probability, lapse, answers):
    once = with_lapse(lib, log_probability, lapse, answers)
    return with_lapse(lib, once, lapse, answers)


FAULTS = {
    "graded-LogNormal": (Graded, "cuts", cuts_in_the_wrong_order),
    "rankings-LogNormal": (Ranking, "log_likelihood", nobody_leaves),
    "lapse": (sources, "with_lapse", lapse_twice),
}
#: Twelve small differences each leave a lapse to its prior: here are lapses that can be seen.
DESIGNS = KNOWN | {
    "lapse": (
        ps.MixedLogit({"reward": ps.LogNormal()}, lapse=True, priors={"lapse": dist.Beta(3, 9)}),
        panel(situations=30, spread=4.0),
    )
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DESIGNS)
def test_ranks_are_uniform(name):
    model, design = DESIGNS[name]
    calibrate(model, design, SIMULATIONS, sampler=drawn, **OPTIONS).raise_if_failed()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_found(name):
    """The answers are right, the likelihood is not."""
    model, design = DESIGNS[name]
    what, attribute, fault = FAULTS[name]

    def faulty(model, choices, seed):
        with mock.patch.object(what, attribute, fault):
            return drawn(model, choices, seed)

    assert not calibrate(model, design, SIMULATIONS, sampler=faulty, **OPTIONS).passed()
