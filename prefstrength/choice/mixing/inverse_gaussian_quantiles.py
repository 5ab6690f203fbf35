r"""The inverse Gaussian law of mean 1, in :math:`t = \log \beta`, in NumPy.

With shape :math:`\kappa = 1/\mathrm{cv}^2` and :math:`a = 2\sqrt\kappa \sinh(t/2)`,
:math:`b = 2\sqrt\kappa \cosh(t/2)` the density of t is
:math:`\sqrt{\kappa/2\pi}\, e^{-t/2 - a^2/2}` and the two tails are
:math:`\Phi(\pm a) \pm e^{2\kappa} \Phi(-b) = \tfrac12 e^{-a^2/2}
[\mathrm{erfcx}(\mp a/\sqrt2) \pm \mathrm{erfcx}(b/\sqrt2)]`, which neither overflows nor cancels.
"""

import math

import numpy as np
from scipy import special

__all__ = ["log_moments", "log_quantile"]

# Newton's method doubles the digits with each step; it needs 3 to 12.
_MOST_STEPS = 60
_NODES = 401


def log_quantile(z: np.ndarray, cv: np.ndarray) -> np.ndarray:
    """Log of the quantile at probability Phi(z) of the law of mean 1; arguments broadcast.

    Relative error of the quantile about 1e-13 for cv 0.003 to 15 and z from -32 to 32.

    Examples
    --------
    >>> float(np.round(np.exp(log_quantile(np.array(0.0), np.array(1.0))), 6))
    0.675841
    """
    z, cv = np.broadcast_arrays(np.asarray(z, dtype=float), np.asarray(cv, dtype=float))
    sign = np.where(z < 0, 1.0, -1.0)  # the tail that is smaller than 1/2
    target = special.log_ndtr(-np.abs(z))
    # The log of either tail is concave in t, and the root lies left of this start: Newton's
    # method walks to it without overshooting.
    t = 2 * np.arcsinh(z * cv / 2)
    for _ in range(_MOST_STEPS):
        a, b = 2 / cv * np.sinh(t / 2), 2 / cv * np.cosh(t / 2)
        mills = special.erfcx(-sign * a / math.sqrt(2)) + sign * special.erfcx(b / math.sqrt(2))
        value = -(a**2) / 2 + np.log(mills / 2) - target
        slope = sign * np.exp(-t / 2) / cv * math.sqrt(2 / math.pi) / mills
        step = value / slope
        t = t - step
        if np.all(np.abs(step) < 1e-11):
            break
    return t


def log_moments(cv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the log of the law of mean 1, in the shape of ``cv``.

    By the trapezoid rule in t, where the density is smooth and falls as exp(-e^|t|).
    """
    shape = np.asarray(cv, dtype=float)[..., None] ** -2.0
    t = 2 * np.arcsinh(np.sqrt(375 / shape)) * np.linspace(-1.0, 1.0, _NODES)
    weight = np.exp(-t / 2 - 2 * shape * np.sinh(t / 2) ** 2)
    weight /= weight.sum(axis=-1, keepdims=True)
    mean = (weight * t).sum(axis=-1)
    return mean, (weight * (t - mean[..., None]) ** 2).sum(axis=-1)
