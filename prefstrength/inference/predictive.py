"""Predictions: answers of new choosers of the same population to the same situations."""

from collections.abc import Mapping, Sequence

import numpy as np

from prefstrength.choice.arrays import NUMPY, Array
from prefstrength.choice.responses.base import PairResponse
from prefstrength.inference.copies import Copies, copies
from prefstrength.inference.named_draws import blends_of, shared_of
from prefstrength.inference.population import Population
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.laws import Blend
from prefstrength.likelihood.sources import Reading, with_lapse

__all__ = ["agreement", "favourites", "shown_situations", "simulate_answers"]

# Situations that predictions are kept of.
_MOST_SITUATIONS = 2_000


def shown_situations(data: LikelihoodData, rng: np.random.Generator) -> Copies:
    """Situations to predict, as often as they count: those with one highest attribute."""
    attribute = np.where(data.available, data.values[:, :, 0], -np.inf)
    ordered = np.sort(attribute, axis=1)
    decided = np.flatnonzero(ordered[:, -1] > ordered[:, -2])
    return copies(data, decided, _MOST_SITUATIONS, rng)


def agreement(data: LikelihoodData, rows: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Whether answers favour the alternative with the highest (first) attribute.

    Parameters
    ----------
    answers : numpy.ndarray, shape (…, situation) or (…, situation, alternative)
        As the response takes them.

    Returns
    -------
    numpy.ndarray, shape (…, situation)
        1, 0, or half where an answer favours neither.
    """
    attribute = np.where(data.available[rows], data.values[rows][:, :, 0], -np.inf)
    best = np.argmax(attribute, axis=1)
    if data.response.answers_in == "answer":
        last = len(data.response.answers) - 1
        return np.where(2 * answers == last, 0.5, (2 * answers > last) == (best == 1))
    return (favourites(data, answers) == best).astype(np.int64)


def favourites(data: LikelihoodData, answers: np.ndarray) -> np.ndarray:
    """The alternative that was chosen, or ranked first."""
    if data.response.answers_in == "ranks":
        return np.argmin(np.where(answers > 0, answers, np.iinfo(answers.dtype).max), axis=-1)
    return answers


def simulate_answers(
    population: Population,
    reading: Reading,
    data: LikelihoodData,
    shown: Copies,
    draws: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Answers of new choosers under flat draws of the population level, (draw, copy, …)."""
    rows, unit = shown.rows, shown.unit
    shared = shared_of(population, draws)
    count = len(next(iter(draws.values())))
    values = data.values[rows][None]
    if data.truth is not None:
        # True differences given the observed ones alone: the choice is what is predicted.
        observed = data.values[rows][:, 0, 0] - data.values[rows][:, 1, 0]
        true = data.truth.draw(observed, data.cell[rows], rng, count)
        values = np.stack([true, np.zeros_like(true)], axis=2)[..., None]
    strengths = [
        draw_strengths(blends_of(population, name, draws), data.cell[rows], unit, rng)
        for name in population.kinds
    ]
    if isinstance(reading.response, PairResponse):
        return _of_pairs(reading, data, rows, values, strengths, shared, unit, rng)
    utility = rng.gumbel(size=(count, *values.shape[1:3]))
    for a, strength in enumerate(strengths):
        utility = utility + strength[:, :, None] * values[:, :, :, a]
    utility = np.where(data.available[rows], utility, -np.inf)
    if data.response.answers_in != "ranks":
        return np.argmax(utility, axis=2)
    place = np.argsort(np.argsort(-utility, axis=2), axis=2) + 1
    ranked = (data.answers[rows] > 0).sum(axis=1)[:, None]
    return np.where(place <= ranked, place, 0)


def _of_pairs(
    reading: Reading,
    data: LikelihoodData,
    rows: np.ndarray,
    values: np.ndarray,
    coefficients: Sequence[np.ndarray],
    shared: Mapping[str, np.ndarray],
    unit: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Answer codes (draw, situation)."""
    x = values[:, :, 0, 0] - values[:, :, 1, 0]
    scale = data.scales[0]
    column = {name: each[:, None] for name, each in shared.items()}
    bent = scale * reading.utility.bent(NUMPY, np.abs(x) / scale, column)
    v = coefficients[0] * np.sign(x) * bent
    for a, coefficient in enumerate(coefficients[1:], 1):
        v = v + coefficient * (values[:, :, 0, a] - values[:, :, 1, a])
    if reading.pair_effects:
        effect = rng.standard_normal((len(v), int(data.pair.max(initial=0)) + 1))
        v = v + column["pair_sd"] * effect[:, data.pair[rows]]
    if reading.position is not None:
        own = column["position"]
        if reading.position == "chooser":
            z = rng.standard_normal((len(v), int(unit.max()) + 1))[:, unit]
            own = own + column["position_sd"] * z
        v = v + own * data.shown_first[rows]
    response = reading.response
    assert isinstance(response, PairResponse)
    with np.errstate(divide="ignore"):
        found: Sequence[Array] = response.log_probabilities(NUMPY, v, column)
        if "lapse" in column:
            found = [with_lapse(NUMPY, f, column["lapse"], len(found)) for f in found]
    uniform, total = rng.random(v.shape), np.zeros(v.shape)
    answers = np.zeros(v.shape, np.int64)
    for each in found[:-1]:
        total += np.exp(each)
        answers += total < uniform
    return answers


def draw_strengths(
    blends: Sequence[Blend], cell: np.ndarray, unit: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Strengths of new choosers (draw, situation), one draw z and one kind for each unit."""
    draws, units = blends[0].size, int(unit.max(initial=0)) + 1
    z = rng.standard_normal((draws, units))
    share = np.exp(blends[0].log_share)
    kind = (np.cumsum(share, axis=0)[:-1, :, None] < rng.random((draws, units))).sum(axis=0)
    # Once for each chooser in each cell, then by situation.
    both, place = np.unique(cell * units + unit, return_inverse=True)
    cells, own = np.divmod(both, units)
    out = np.zeros((draws, len(both)))
    for c, blend in enumerate(blends):
        mine = np.flatnonzero(cells == c)
        for k, part in enumerate(blend.parts):
            if part is not None:
                here = part.at_own(z[:, own[mine]])
                out[:, mine] = np.where(kind[:, own[mine]] == k, here, out[:, mine])
    return out[:, place]
