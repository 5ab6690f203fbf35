"""What a likelihood needs of choices, as plain arrays."""

from dataclasses import dataclass, field, replace

import numpy as np

from prefstrength.choice.responses.base import Response
from prefstrength.choice.responses.pair import Pair
from prefstrength.data.choices import Choices
from prefstrength.errors import InputError
from prefstrength.likelihood.counts import PairObservations
from prefstrength.likelihood.true_differences import TrueDifferences

__all__ = ["LikelihoodData", "NotIntegrableError"]


_BY_SITUATION = ("values", "chosen", "available", "cell", "answers", "shown_first")


class NotIntegrableError(InputError):
    """Several random attributes, or so many situations, that quadrature is out of reach."""


@dataclass(frozen=True)
class LikelihoodData:
    """What a likelihood needs of the choices, as plain arrays."""

    values: np.ndarray  # (situation, alternative, attribute)
    chosen: np.ndarray  # (situation,)
    available: np.ndarray  # (situation, alternative)
    weight: np.ndarray  # (situation,)
    cell: np.ndarray  # (situation,)
    unit: np.ndarray  # (situation,) chooser, or the situation itself
    units: int
    panel: bool
    scales: tuple[float, ...]
    response: Response  # what was observed
    answers: np.ndarray  # (situation, ...), as the response takes them
    shown_first: np.ndarray  # (situation,) 1 the first alternative, -1 the second, 0 not known
    unit_weight: np.ndarray  # (unit,) how often a unit counts
    pair: np.ndarray  # (situation,) which pair was judged, where that is known
    #: Where the differences are measured with error: what is known of the true ones.
    truth: TrueDifferences | None = field(default=None, kw_only=True)

    @classmethod
    def of(
        cls,
        choices: Choices,
        attributes: tuple[str, ...],
        cell: np.ndarray,
    ) -> "LikelihoodData":
        """Select the attributes of a model."""
        columns = [choices.attributes.index(name) for name in attributes]
        panel = choices.chooser is not None
        unit = choices.chooser if choices.chooser is not None else np.arange(choices.n_situations)
        units = choices.n_choosers if panel else choices.n_situations
        shown_first, own = choices.shown_first, choices.chooser_weights
        answers = getattr(choices, choices.response.answers_in)
        return cls(
            values=np.asarray(choices.values)[:, :, columns],
            chosen=np.asarray(choices.chosen),
            available=np.asarray(choices.available),
            weight=np.asarray(choices.weights),
            cell=np.asarray(cell),
            unit=np.asarray(unit),
            units=units,
            panel=panel,
            scales=tuple(choices.scale(name) for name in attributes),
            response=choices.response,
            answers=np.asarray(answers),
            shown_first=np.zeros(choices.n_situations, np.int64)
            if shown_first is None
            else np.asarray(shown_first),
            unit_weight=np.ones(units) if own is None or not panel else np.asarray(own),
            pair=np.zeros(0, np.int64) if choices.pair is None else np.asarray(choices.pair),
        )

    @classmethod
    def of_pairs(
        cls, difference: np.ndarray, unit: np.ndarray, cell: np.ndarray, weight: np.ndarray
    ) -> "LikelihoodData":
        """Plain pairs of known choosers, by differences chosen minus rejected; of scale 1."""
        size = len(difference)
        units = int(unit.max(initial=-1)) + 1
        return LikelihoodData(
            values=np.stack([difference, np.zeros(size)], axis=1)[:, :, None],
            chosen=np.zeros(size, np.int64),
            available=np.ones((size, 2), bool),
            weight=weight,
            cell=cell,
            unit=unit,
            units=units,
            panel=True,
            scales=(1.0,),
            response=Pair(),
            answers=np.zeros(size, np.int64),
            shown_first=np.zeros(size, np.int64),
            unit_weight=np.ones(units),
            pair=np.zeros(0, np.int64),
        )

    def measured_with(self, sd: float, name: str) -> "LikelihoodData":
        """The same where the differences carry errors of standard deviation ``sd``.

        The scale becomes that of the true differences.
        """
        truth = TrueDifferences.fit(self.differences(), self.weight, self.cell, sd, name)
        return replace(self, truth=truth, scales=(float(np.sqrt(self.scales[0] ** 2 - sd**2)),))

    @property
    def times(self) -> np.ndarray:
        """How often every unit counts, shape (unit,): a chooser, or a situation by itself."""
        return self.unit_weight if self.panel else self.weight * self.unit_weight

    @property
    def whole(self) -> bool:
        """Whether units are counted in whole numbers."""
        return bool((self.times == np.round(self.times)).all())

    def one_by_one(self) -> "LikelihoodData":
        """The same with each unit as often as it counts, for what gives each a draw of its own.

        Raises
        ------
        InputError
            If units are not counted in whole numbers.
        """
        if not self.whole:
            who = "choosers" if self.panel else "choices of unknown choosers"
            raise InputError(
                "Each chooser is sampled, and counts a whole number of times; got weights of "
                f"{who} such as {self.times[self.times != np.round(self.times)][0]:.4g}. Use "
                "`method='importance'` or `method='nuts'`, which integrate over choosers, or leave "
                "the weights out."
            )
        which = np.repeat(np.arange(self.units), self.times.astype(int))
        order = np.argsort(self.unit, kind="stable")
        sizes = np.bincount(self.unit, minlength=self.units)
        first = np.cumsum(sizes) - sizes
        copy = np.repeat(np.arange(len(which)), sizes[which])
        place = np.arange(len(copy)) - np.repeat(
            np.cumsum(sizes[which]) - sizes[which], sizes[which]
        )
        rows = order[first[which][copy] + place]
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in _BY_SITUATION},
            pair=self.pair[rows] if len(self.pair) else self.pair,
            unit=copy,
            units=len(which),
            weight=self.weight[rows] if self.panel else np.ones(len(rows)),
            unit_weight=np.ones(len(which)),
        )

    @property
    def scalar(self) -> bool:
        """Whether the data enter through one difference for each situation."""
        both = self.values.shape[1] == 2 and bool(self.available.all())
        return both and self.values.shape[2] == 1

    def differences(self) -> np.ndarray:
        """Chosen minus rejected, shape (situation,), for scalar data."""
        rows = np.arange(len(self.chosen))
        return self.values[rows, self.chosen, 0] - self.values[rows, 1 - self.chosen, 0]

    def pair_observations(self) -> PairObservations:
        """Answers to pairs, of the first attribute."""
        rows = np.arange(len(self.chosen))
        plain = isinstance(self.response, Pair)
        first = self.chosen if plain else np.zeros_like(self.chosen)
        column = self.values[:, :, 0]
        return PairObservations(
            difference=column[rows, first] - column[rows, 1 - first],
            answer=np.zeros_like(self.chosen) if plain else self.answers,
            answers=len(self.response.answers),
            unit=self.unit,
            cell=self.cell,
            weight=self.weight,
            shown_first=np.where(first == 0, self.shown_first, -self.shown_first),
            panel=self.panel,
        )

    @property
    def reliability(self) -> float:
        """Share of the observed differences' variance that is the true differences'."""
        if self.truth is None:
            return 1.0
        return float(self.scales[0] ** 2 / (self.scales[0] ** 2 + self.truth.sd**2))

    def refuse_errors(self) -> None:
        """Refuse where the differences are measured with error and that would be ignored."""
        if self.truth is not None:
            raise InputError(
                "Expected differences that are known; got differences measured with error, which "
                "this likelihood would ignore. Fit with the methods that know of errors: "
                '"auto", "importance", "nuts", "laplace" or "latent".'
            )

    def cells_of_units(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit and cell (2, row) of all that occur together, and their situations (row,)."""
        return np.unique(np.stack([self.unit, self.cell]), axis=1, return_counts=True)

    def shares_of_cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit and cell that occur together, and the cell's share of the unit's situations."""
        (unit, cell), counts = self.cells_of_units()
        return unit, cell, counts / np.bincount(unit, counts, minlength=self.units)[unit]

    def take(self, units: np.ndarray) -> "LikelihoodData":
        """The data of some units, renumbered in the given order."""
        place = np.full(self.units, -1)
        place[units] = np.arange(len(units))
        rows = np.flatnonzero(place[self.unit] >= 0)
        return LikelihoodData(
            values=self.values[rows],
            chosen=self.chosen[rows],
            available=self.available[rows],
            weight=self.weight[rows],
            cell=self.cell[rows],
            unit=place[self.unit[rows]],
            units=len(units),
            panel=self.panel,
            scales=self.scales,
            response=self.response,
            answers=self.answers[rows],
            shown_first=self.shown_first[rows],
            unit_weight=self.unit_weight[units],
            pair=self.pair[rows] if len(self.pair) else self.pair,
            truth=self.truth,
        )
