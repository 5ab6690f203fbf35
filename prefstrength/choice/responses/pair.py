r"""Pair: one of two alternatives is chosen, the binary logit."""

from collections.abc import Mapping
from typing import Any

from prefstrength.choice.arrays import Array, Library, log_sigmoids
from prefstrength.choice.responses.base import PairResponse

__all__ = ["Pair"]


class Pair(PairResponse):
    r"""One of two is chosen: :math:`P(\text{first}) = \sigma(v)`.

    Examples
    --------
    >>> Pair().answers
    ('first', 'second')
    """

    answers = ("first", "second")
    answers_in = "chosen"

    def log_probabilities(
        self, lib: Library, v: Array, shared: Mapping[str, Any]
    ) -> tuple[Array, ...]:
        return log_sigmoids(lib, v)
