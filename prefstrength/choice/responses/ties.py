r"""Ties: one of two is chosen, or neither, after Davidson (1970) or Rao and Kupper (1967)."""

from collections.abc import Mapping
from typing import Any

from prefstrength.choice.arrays import Array, Library, number, sides
from prefstrength.choice.responses.base import PairResponse, Shared
from prefstrength.choice.responses.graded import Graded

__all__ = ["RaoKupper", "Ties"]


class Ties(PairResponse):
    r"""One of two is chosen or neither, with probabilities as Davidson has them.

    .. math::
        P(\text{first}) = \frac{1}{1 + \nu e^{-v/2} + e^{-v}}, \qquad
        P(\text{tie}) = \frac{\nu}{e^{v/2} + \nu + e^{-v/2}},

    so that among decided answers the binary logit holds, and at v = 0 a share of
    :math:`\nu / (2 + \nu)` are ties.

    References
    ----------
    .. [1] R. R. Davidson (1970), On extending the Bradley-Terry model to accommodate ties in paired
       comparison experiments, JASA 65(329).

    Examples
    --------
    >>> import numpy as np
    >>> from prefstrength.choice.arrays import NUMPY
    >>> np.exp(Ties().log_probabilities(NUMPY, np.array(0.0), {"tie": 2.0})).round(2).tolist()
    [0.25, 0.5, 0.25]
    """

    answers = ("first", "tie", "second")

    @property
    def shared(self) -> tuple[Shared, ...]:
        return (Shared("tie", "LogNormal", (0.0, 1.0), 0.0, "weight of a tie (Davidson's nu)"),)

    def log_probabilities(
        self, lib: Library, v: Array, shared: Mapping[str, Any]
    ) -> tuple[Array, ...]:
        xp = lib.xp
        tie = number(lib, shared["tie"], v)
        # Divided by the larger of the two ends, so that nothing overflows.
        ahead, behind, far = sides(lib, v)
        log_total = xp.log1p(tie * xp.exp(far / 2) + xp.exp(far))
        log_tie = xp.log(tie) + far / 2
        return ahead - log_total, log_tie - log_total, behind - log_total


class RaoKupper(Graded):
    r"""One of two is chosen or neither, where the difference is too small to be seen.

    :math:`P(\text{first}) = \sigma(v - c)` with the threshold c: the ordered logit of three grades
    under another name.

    References
    ----------
    .. [1] P. V. Rao, L. L. Kupper (1967), Ties in paired-comparison experiments: a generalization
       of the Bradley-Terry model, JASA 62(317).

    Examples
    --------
    >>> RaoKupper().answers
    ('first', 'tie', 'second')
    """

    def __init__(self) -> None:
        super().__init__(("first", "tie", "second"))

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing."""
        return {}
