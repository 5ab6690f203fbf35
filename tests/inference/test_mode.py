"""The mode from which compiled samplers start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from prefstrength.inference.mode import find_mode
from prefstrength.inference.problem import Shifts


@pytest.mark.parametrize("angle", [0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3])
def test_the_covariance_at_a_mode_can_be_factored_whatever_the_curvature(angle):
    class Steep:
        """One direction as steep as next to an overflow, one flat, askew."""

        size, start, shifts = 2, np.zeros(2), []
        spreads = np.zeros(2, dtype=bool)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        hessian = turn @ np.diag([1e30, 1e-8]) @ turn.T

        def value_and_gradient(self, flat):
            return float(flat @ self.hessian @ flat) / 2, self.hessian @ flat

        def gradients(self, flat):
            return flat @ self.hessian

    mode = find_mode(Steep())
    assert np.isfinite(np.linalg.cholesky(mode.covariance)).all()


class Shifted:
    """Gaussian means of 12 groups, with known errors: the density of their sd is known exactly."""

    size, precision, known = 13, 30.0, np.linspace(-0.5, 0.7, 12)
    spreads = np.array([True] + [False] * 12)
    start = np.r_[np.log(0.3), np.zeros(12)]

    def __init__(self, centring):
        self.c = centring
        self.shifts = [Shifts(0, np.arange(1, 13), centring)]
        self.compiled = jax.jit(jax.value_and_grad(self._of))

    def _of(self, flat):
        # sd ~ HalfNormal(0.5), in its logarithm; the known means as data
        sd, raw = jnp.exp(flat[0]), flat[1:]
        prior = (
            2 * sd**2 - flat[0] + (raw**2).sum() / 2 / sd ** (2 * self.c) + 12 * self.c * flat[0]
        )
        return prior + self.precision * ((sd ** (1 - self.c) * raw - self.known) ** 2).sum() / 2

    def value_and_gradient(self, flat):
        with jax.enable_x64(True):
            value, gradient = self.compiled(jnp.asarray(flat))
            return float(value), np.asarray(gradient)

    def gradients(self, flat):
        return np.stack([self.value_and_gradient(one)[1] for one in flat])


@pytest.mark.parametrize("centring", [0.0, 0.4, 1.0])
def test_the_mode_is_of_spreads_with_the_shifts_of_groups_integrated_out(centring):
    problem = Shifted(centring)

    def marginal(log_sd):
        variance = np.exp(2 * log_sd) + 1 / problem.precision
        held = (log_sd - problem.start[0]) ** 2 / 18
        data = ((problem.known**2 / variance) + np.log(variance)).sum() / 2
        return data + 2 * np.exp(2 * log_sd) - log_sd + held

    best = optimize.minimize_scalar(marginal, bounds=(-6, 2), method="bounded").x
    mode = find_mode(problem)
    assert mode.at[0] == pytest.approx(best, abs=1e-3)
    curvature = (marginal(best + 1e-3) - 2 * marginal(best) + marginal(best - 1e-3)) / 1e-6
    assert 0.6 < mode.covariance[0, 0] * curvature < 1.7
