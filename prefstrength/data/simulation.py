"""Simulated choices: choosers drawn from a known mixing distribution."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.responses.base import PairResponse, Response
from prefstrength.choice.responses.pair import Pair
from prefstrength.data.answers import better_by_answer
from prefstrength.data.choices import Choices
from prefstrength.errors import InputError

__all__ = ["simulate"]


def simulate(
    mixing: Mixing,
    choosers: int = 500,
    situations: int = 20,
    spread: float = 1.5,
    seed: int = 0,
    *,
    response: Response | None = None,
    shared: Mapping[str, float] | None = None,
    alternatives: int = 2,
    position: float | Mixing | None = None,
) -> Choices:
    """Simulate a panel of choices with one attribute, ``reward``.

    Chooser a draws one strength from ``mixing``; in each situation the reward difference of two
    alternatives is Normal(0, spread²) and the first is chosen with probability σ(strength·Δr), or
    another answer is given as ``response`` has it; under a :class:`~prefstrength.Lapse` its share
    of the answers is given at random.

    Parameters
    ----------
    mixing : Mixing
        Known mixing distribution of the strength.
    choosers : int
        Number of choosers.
    situations : int
        Situations for each chooser. With one situation each, the choices carry no chooser
        that repeats, and are treated as pairs.
    spread : float
        Standard deviation of the reward differences.
    seed : int
        Seed of NumPy's default generator.
    response : Response, optional
        What is answered; pairs of which one is chosen when left out.
    shared : mapping of str to float, optional
        Values of what all choosers share by name, such as ``{"cut_1": 0.7}``; those that
        ``response.shared`` lists.
    alternatives : int
        Number of alternatives in each situation; more than two for :class:`~prefstrength.Ranking`
        and :class:`~prefstrength.Multinomial`.
    position : float or Mixing, optional
        What being shown first adds to the utility of one of two: one number for all, or the mixing
        distribution of each chooser's own. The alternative shown first is drawn at random, and
        kept.

    Returns
    -------
    Choices
        ``choosers * situations`` situations. Of two alternatives the second has reward 0, so that
        the other's is the difference; in pairs the first is the chosen one.

    Raises
    ------
    InputError
        If the mixing distribution has no parameters, a size is not positive, or what the response
        shares is not given.

    Examples
    --------
    >>> from prefstrength import LogNormal, simulate
    >>> choices = simulate(LogNormal(mu=0.0, sigma=0.7), choosers=50, situations=4, seed=0)
    >>> choices.n_choosers, choices.n_situations
    (50, 200)
    >>> from prefstrength import Graded
    >>> graded = simulate(LogNormal(mu=0.0, sigma=0.7), response=Graded(3), shared={"cut_1": 0.5})
    >>> graded.answer_counts()
    {'+1': 4098, '0': 1700, '-1': 4202}
    """
    mixing.require_known()
    for name, size in (("choosers", choosers), ("situations", situations)):
        if size < 1:
            raise InputError(f"Expected {name} of at least 1; got {size}.")
    if not spread > 0:
        raise InputError(f"Expected spread > 0; got {spread}.")
    response = Pair() if response is None else response
    _check_response(response, shared or {}, alternatives, position)
    rng = np.random.default_rng(seed)
    strength = mixing.sample(rng, choosers)
    lapse = float(mixing.lapse_share)
    panel = _Panel(choosers, situations)
    if not isinstance(response, PairResponse):
        return _of_sets(rng, panel, strength, lapse, spread, response, alternatives)
    difference = rng.normal(0.0, spread, size=(choosers, situations))
    utility, shown_first = strength[:, None] * difference, None
    if position is not None:
        own = position.sample(rng, choosers) if isinstance(position, Mixing) else position
        shown_first = rng.choice([1, -1], size=difference.shape)
        utility = utility + np.reshape(own, (-1, 1)) * shown_first
    if isinstance(response, Pair):
        return _of_pairs(rng, panel, difference, utility, lapse, shown_first)
    log_p = response.log_probabilities(NUMPY, utility, shared or {})
    answer = _drawn(rng, np.exp(np.stack(log_p)), lapse).ravel()
    return Choices(
        np.stack([difference.ravel(), np.zeros(difference.size)], axis=1)[:, :, None],
        better_by_answer(response, answer, None),
        ("reward",),
        response=response,
        answer=answer,
        shown_first=None if shown_first is None else shown_first.ravel(),
        **panel.fields(),
    )


class _Panel:
    """Who answers which situation."""

    def __init__(self, choosers: int, situations: int) -> None:
        width = len(str(choosers))
        self.labels = [f"c{a:0{width}d}" for a in range(choosers)]
        self.repeated = situations > 1
        self.code = np.repeat(np.arange(choosers), situations)

    def fields(self) -> dict[str, Any]:
        """Choosers and situations; single situations carry no chooser that repeats."""
        fields: dict[str, Any] = {"situations": [str(i) for i in range(len(self.code))]}
        if self.repeated:
            fields |= {"chooser": self.code, "choosers": self.labels}
        return fields


def _check_response(
    response: Response,
    shared: Mapping[str, float],
    alternatives: int,
    position: float | Mixing | None,
) -> None:
    wanted = [each.name for each in response.shared]
    if sorted(shared) != sorted(wanted):
        raise InputError(
            f"Expected values of {wanted or 'nothing'} that all choosers share with "
            f"{response!r}; got {sorted(shared) or 'none'}. Pass `shared={{...: value}}`."
        )
    pairs = isinstance(response, PairResponse)
    if (pairs and alternatives != 2) or alternatives < 2:
        raise InputError(
            f"Expected {'two' if pairs else 'two or more'} alternatives with {response!r}; got "
            f"{alternatives}. Ranking() and Multinomial() are of more than two."
        )
    if position is not None and not pairs:
        raise InputError(
            f"Expected position with answers to pairs; got it with {response!r}. Leave it out."
        )
    if isinstance(position, Mixing):
        position.require_known()


def _drawn(rng: np.random.Generator, probability: np.ndarray, lapse: float) -> np.ndarray:
    """Codes of answers, by their probabilities (answer, ...); some of them at random."""
    probability = (1 - lapse) * probability + lapse / len(probability)
    above = np.cumsum(probability, axis=0)[:-1]
    return (rng.random(probability.shape[1:]) > above).sum(axis=0)


def _of_pairs(
    rng: np.random.Generator,
    panel: _Panel,
    difference: np.ndarray,
    utility: np.ndarray,
    lapse: float,
    shown_first: np.ndarray | None,
) -> Choices:
    """Pairs, the chosen alternative first."""
    first = rng.random(difference.shape) < special.expit(utility)
    if lapse:
        lapsed = rng.random(difference.shape) < lapse
        first = np.where(lapsed, rng.random(difference.shape) < 0.5, first)
    signed = np.where(first, difference, -difference).ravel()
    columns: dict[str, Any] = {
        "annotator": np.array(panel.labels)[panel.code],
        "reward_chosen": signed,
        "reward_rejected": np.zeros(signed.size),
    }
    if shown_first is not None:
        columns["first"] = (np.where(first, shown_first, -shown_first) == 1).ravel()
    return Choices.from_pairs(
        pd.DataFrame(columns),
        chooser="annotator" if panel.repeated else None,
        first=None if shown_first is None else "first",
    )


def _of_sets(
    rng: np.random.Generator,
    panel: _Panel,
    strength: np.ndarray,
    lapse: float,
    spread: float,
    response: Response,
    alternatives: int,
) -> Choices:
    """One chosen of several, or all of them in order, by utilities with Gumbel errors."""
    shape = (len(panel.code), alternatives)
    reward = rng.normal(0.0, spread / np.sqrt(2), size=shape)
    utility = strength[panel.code][:, None] * reward
    if lapse:
        utility = np.where(rng.random((len(utility), 1)) < lapse, 0.0, utility)
    order = np.argsort(-(utility + rng.gumbel(size=shape)), axis=1)
    answers: dict[str, Any] = {"chosen": order[:, 0]}
    if response.answers_in == "ranks":
        answers = {"chosen": None, "ranks": np.argsort(order, axis=1) + 1}
    return Choices(
        reward[:, :, None], attributes=("reward",), response=response, **answers, **panel.fields()
    )
