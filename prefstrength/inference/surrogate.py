r"""A polynomial in the place of a log-likelihood, where the posterior lies.

However many choosers there are, the log-likelihood of a model is an analytic function of a handful
of parameters. Within a ball around its mode, in coordinates in which the posterior is round, a
polynomial of moderate degree fitted to a few hundred values is that function to a thousandth of a
nat; what it misses is looked at where the posterior lies (:func:`misfit`).
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement

import numpy as np
from scipy import linalg

__all__ = ["Ball", "Surrogate", "fit_surrogate"]

#: Radius of the ball, in posterior standard deviations.
RADIUS = 5.5
# Points for each coefficient of the polynomial.
_POINTS = 2.5


@dataclass(frozen=True)
class Ball:
    """Where a surrogate is fitted: v = centre + factor u with u in a ball.

    Parameters
    ----------
    centre : numpy.ndarray, shape (parameter,)
    factor : numpy.ndarray, shape (parameter, parameter)
        Lower triangular: the first coordinates of v hang on the first of u alone.
    low, high : numpy.ndarray, shape (parameter,)
        Ends of the coordinates.
    """

    centre: np.ndarray
    factor: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def of(self, v: np.ndarray) -> np.ndarray:
        """Round coordinates (point, parameter)."""
        return np.linalg.solve(self.factor, (v - self.centre).T).T

    def v(self, u: np.ndarray) -> np.ndarray:
        """The coordinates at round ones."""
        return self.centre + u @ self.factor.T

    def holds(self, v: np.ndarray, radius: float = RADIUS) -> np.ndarray:
        """Which points (point, parameter) lie inside."""
        inside = ((v >= self.low) & (v <= self.high)).all(axis=1)
        return inside & ((self.of(v) ** 2).sum(axis=1) <= radius**2)


@cache
def _exponents(size: int, degree: int) -> np.ndarray:
    """Powers of all monomials of at most that total degree, (term, parameter)."""
    rows = [
        np.bincount(np.array(chosen, int), minlength=size)
        for total in range(degree + 1)
        for chosen in combinations_with_replacement(range(size), total)
    ]
    return np.array(rows)


def _basis(u: np.ndarray, degree: int) -> np.ndarray:
    """Products of Chebyshev polynomials of total degree, (point, term)."""
    t = u / RADIUS
    powers = np.empty((degree + 1, *t.shape))
    powers[0] = 1.0
    if degree:
        powers[1] = t
    for k in range(2, degree + 1):
        powers[k] = 2 * t * powers[k - 1] - powers[k - 2]
    out = np.ones(u.shape[:1])
    for column, exponent in enumerate(_exponents(u.shape[1], degree).T):
        out = out * powers[exponent, :, column]
    return out.T


@dataclass(frozen=True)
class Surrogate:
    """A polynomial in round coordinates.

    Parameters
    ----------
    ball : Ball
    degree : int
    coefficients : numpy.ndarray, shape (term,) or (term, value)
    """

    ball: Ball
    degree: int
    coefficients: np.ndarray

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """Values at points (point, parameter); minus infinity outside of the ball."""
        out = np.full((len(v), *self.coefficients.shape[1:]), -np.inf)
        inside = self.ball.holds(v)
        out[inside] = _basis(self.ball.of(v[inside]), self.degree) @ self.coefficients
        return out


def design(ball: Ball, degree: int, slow: int, rng: np.random.Generator) -> np.ndarray:
    """Points to evaluate, (point, parameter), in runs that share the first ``slow`` coordinates.

    A change of the first coordinates costs tables anew, one of the others next to nothing.
    """
    size = len(ball.centre)
    terms = len(_exponents(size, degree))
    wanted = int(_POINTS * terms) + 1
    runs = 1 if slow == 0 else int(_POINTS * len(_exponents(slow, degree))) + 1
    each = -(-wanted // runs) * (1 if slow == 0 else 2)
    found: list[np.ndarray] = []
    while len(found) < runs:
        # Uniform in the ball of all coordinates, of which these are the first.
        first = _in_ball(rng, 1, size)[0, :slow] * RADIUS
        left = np.sqrt(RADIUS**2 - first @ first)
        points = np.empty((0, size))
        for _ in range(40):
            rest = _in_ball(rng, each, size - slow) * left if size > slow else np.empty((each, 0))
            u = np.concatenate([np.broadcast_to(first, (each, slow)), rest], axis=1)
            v = ball.v(u)
            inside = ((v >= ball.low) & (v <= ball.high)).all(axis=1)
            points = np.concatenate([points, v[inside]])[:each]
            if len(points) == each:
                break
            if not inside.any() and slow:
                break
        if len(points):
            found.append(points)
    return np.concatenate(found)


def _in_ball(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Points in the unit ball, denser towards its rim, where a polynomial is held least."""
    direction = rng.standard_normal((count, size))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = np.sin(np.pi / 2 * rng.random((count, 1)) ** (1 / size))
    return direction * radius


def fit_surrogate(ball: Ball, degree: int, points: np.ndarray, values: np.ndarray) -> Surrogate:
    """Least squares of values (point,) or (point, value) at points."""
    basis = _basis(ball.of(points), degree)
    coefficients = linalg.lstsq(basis, values, lapack_driver="gelsy")[0]
    return Surrogate(ball, degree, coefficients)
