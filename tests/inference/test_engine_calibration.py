"""Simulation-based calibration of answers and kinds of choosers, and faults that it must find.

``benchmarks/calibration_responses.py`` runs the same designs 500 times each.
"""

from unittest import mock

import pytest

from benchmarks.calibration_responses import configurations
from prefstrength.choice.arrays import logsumexp, number
from prefstrength.choice.responses.ranking import Ranking
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


def nobody_leaves(self, lib, utilities, answers, shared):
    """Explosion in which the chosen stay among those to choose from."""
    ranks = number(lib, answers, utilities)
    chosen = lib.xp.where((ranks > 0) & (ranks < utilities.shape[-1]), utilities, 0.0)
    many = lib.xp.sum(1.0 * (ranks > 0) * (ranks < utilities.shape[-1]), axis=-1)
    return lib.xp.sum(chosen, axis=-1) - many * logsumexp(lib, utilities)


FAULTS = {"rankings-LogNormal": (Ranking, "log_likelihood", nobody_leaves)}


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_ranks_are_uniform(name):
    model, design = KNOWN[name]
    calibrate(model, design, SIMULATIONS, sampler=drawn, **OPTIONS).raise_if_failed()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_found(name):
    """The answers are right, the likelihood is not."""
    model, design = KNOWN[name]
    what, attribute, fault = FAULTS[name]

    def faulty(model, choices, seed):
        with mock.patch.object(what, attribute, fault):
            return drawn(model, choices, seed)

    assert not calibrate(model, design, SIMULATIONS, sampler=faulty, **OPTIONS).passed()
