r"""Ranking: alternatives are put in order, the rank-ordered ("exploded") logit, Plackett-Luce.

A ranking is a row of choices: the best of all, then the best of what is left, and so on. What is
not ranked stands below all that is, in an order that nobody asked for. Alternatives of one rank
tie: each of them stands above what follows, in an order that is not known.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from prefstrength.choice.arrays import (
    Array,
    Library,
    log_add,
    log_sigmoid,
    logsumexp,
    number,
    plain,
)
from prefstrength.choice.responses.base import SetResponse
from prefstrength.choice.responses.multinomial import OUT, finite, marked, possible
from prefstrength.errors import InputError

__all__ = ["Ranking"]

#: More alternatives of one rank than this have too many orders to be added up.
MOST_TIED = 10


class Ranking(SetResponse):
    r"""Alternatives in order: the best of all, the best of the others, and so on.

    .. math:: P(1 \succ 2 \succ \dots) = \prod_k \frac{e^{V_k}}{\sum_{j \ge k} e^{V_j}}

    Answers are ranks: 1 is the best, equal numbers tie, 0 is not ranked (below all that is). The
    k best, or the best alone, are rankings too; best and worst are ranks 1 and 3 with all others
    tied in between.

    Parameters
    ----------
    ties : {"exact", "efron", "breslow"}
        What a tie of d alternatives before a set R of others says. ``"exact"``: that they come
        before R in one of their d! orders, whose probabilities are added up. The two others
        stand for it where there are many: d choices, each from tied and R together (Breslow), or
        from R and a falling share of the tied (Efron). They are those of Stata's ``cmrologit``
        (``exactm``, ``efron``, ``breslow``).

    Raises
    ------
    InputError
        If there is no such rule.

    Notes
    -----
    The exact rule takes :math:`d\,2^d` steps and is refused above 10 tied alternatives.

    References
    ----------
    .. [1] S. Beggs, S. Cardell, J. Hausman (1981), Assessing the potential demand for electric
       cars, Journal of Econometrics 17(1).
    .. [2] P. D. Allison, N. A. Christakis (1994), Logit models for sets of ranked items,
       Sociological Methodology 24.

    Examples
    --------
    >>> import numpy as np
    >>> from prefstrength.choice.arrays import NUMPY
    >>> utilities = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    >>> Ranking().log_likelihood(NUMPY, utilities, np.array([[1, 2, 3], [1, 2, 2]]), {})
    array([-1.245, -0.551])
    """

    answers_in = "ranks"

    def __init__(self, ties: str = "exact") -> None:
        if ties not in _RULES:
            raise InputError(
                f"Ranking expects ties to be one of {', '.join(map(repr, _RULES))}; got {ties!r}. "
                "Leave it out for the exact probability."
            )
        self.ties = ties

    @property
    def settings(self) -> dict[str, Any]:
        """The rule of ties."""
        return {"ties": self.ties}

    def log_likelihood(
        self, lib: Library, utilities: Array, answers: Array, shared: Mapping[str, Any]
    ) -> Array:
        xp = lib.xp
        ranks = number(lib, answers, utilities)
        offered = finite(lib, utilities)
        # Many strengths at once come first in the shape; where they do not, the general way does.
        whole = offered.shape[offered.ndim - np.ndim(answers) :] == np.shape(answers)
        if plain(answers) and whole and not _tied(answers):
            return possible(lib, utilities, ranks > 0, _untied(lib, offered, answers))
        worst = _most(lib, answers, utilities.shape[-1])
        one, total = 0.0 * offered + 1.0, xp.sum(0.0 * offered, axis=-1)
        for rank in range(1, worst + 1):
            here = ranks == rank
            below = (ranks > rank) | (ranks == 0)
            rest = logsumexp(lib, xp.where(below, offered, OUT))
            many = xp.sum(xp.where(here, one, 0.0 * one), axis=-1)
            # Where nobody has this rank, the 0 of marked() is no utility.
            alone = log_sigmoid(lib, xp.where(many == 1, marked(lib, offered, here) - rest, 0.0))
            total = total + xp.where(many == 1, alone, 0.0)
            most = _most(lib, many, utilities.shape[-1])
            if most > 1:
                tied = _RULES[self.ties](lib, offered, here, rest, many, most)
                total = total + xp.where(many > 1, tied, 0.0)
        return possible(lib, utilities, ranks > 0, total)


def _tied(ranks: np.ndarray) -> bool:
    """Whether two alternatives of a situation have one rank."""
    ordered = np.sort(ranks, axis=-1)
    return bool(((ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] > 0)).any())


def _untied(lib: Library, offered: Array, ranks: np.ndarray) -> Array:
    """Rankings without ties, from the last up: each alternative against the sum of those below."""
    last = np.where(ranks > 0, ranks, ranks.shape[-1] + 1)
    order = np.argsort(last, axis=-1).reshape(-1, ranks.shape[-1])
    situation = np.arange(len(order))
    flat = offered.reshape(*offered.shape[: offered.ndim - ranks.ndim], *order.shape)
    rest = flat[..., situation, order[:, -1]]
    total = 0.0 * rest
    for column in order.T[-2::-1]:
        own = flat[..., situation, column]
        ranked = 1.0 * (ranks.reshape(order.shape)[situation, column] > 0)
        total = total + lib.constant(ranked, own) * log_sigmoid(lib, own - rest)
        rest = log_add(lib, own, rest)
    return total.reshape(offered.shape[:-1])


def _most(lib: Library, values: Array, otherwise: int) -> int:
    """Largest of some numbers, or what they cannot exceed where they are not known yet."""
    largest = float(values.max(initial=0)) if plain(values) else lib.largest(values)
    return otherwise if largest is None else int(largest)


def _breslow(
    lib: Library, offered: Array, here: Array, rest: Array, many: Array, most: int
) -> Array:
    """Each of the tied is chosen from all of them and the rest."""
    tied = logsumexp(lib, lib.xp.where(here, offered, OUT))
    return marked(lib, offered, here) - many * log_add(lib, tied, rest)


def _efron(lib: Library, offered: Array, here: Array, rest: Array, many: Array, most: int) -> Array:
    """From choice to choice, each of the tied counts less by the share that has been chosen."""
    xp = lib.xp
    tied = logsumexp(lib, xp.where(here, offered, OUT))
    total = marked(lib, offered, here)
    for gone in range(most):
        left = xp.where(many > gone, 1 - gone / xp.where(many > gone, many, 1.0), 1.0)
        total = total - xp.where(many > gone, log_add(lib, tied + xp.log(left), rest), 0.0)
    return total


def _exact(lib: Library, offered: Array, here: Array, rest: Array, many: Array, most: int) -> Array:
    """All orders of the tied, added up: g(S) is the probability that S comes before the rest."""
    if most > MOST_TIED:
        raise InputError(
            f"The exact probability of a tie is for at most {MOST_TIED} alternatives of one rank; "
            f"got {most}, whose orders are too many to add up. Pass Ranking('efron')."
        )
    xp = lib.xp
    one = xp.where(here, 0.0 * offered + 1.0, 0.0 * offered)
    place = one * xp.cumsum(one, axis=-1)
    # Places that a smaller tie leaves empty go first with certainty, which changes nothing.
    utility = [
        xp.where(many > k, marked(lib, offered, place == k + 1), -OUT * (k + 1))
        for k in range(most)
    ]
    weight, log_before = [rest], [0.0 * rest]
    for members in range(1, 1 << most):
        who = [k for k in range(most) if members >> k & 1]
        weight.append(log_add(lib, utility[who[0]], weight[members ^ (1 << who[0])]))
        first = [
            log_sigmoid(lib, utility[k] - weight[members ^ (1 << k)])
            + log_before[members ^ (1 << k)]
            for k in who
        ]
        log_before.append(logsumexp(lib, xp.stack(first, axis=-1)))
    return log_before[-1]


_Rule = Callable[[Library, Array, Array, Array, Array, int], Array]
_RULES: dict[str, _Rule] = {"exact": _exact, "efron": _efron, "breslow": _breslow}
