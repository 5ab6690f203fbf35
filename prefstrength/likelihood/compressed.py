"""Compressed choices as the data of a likelihood, with a certificate of their own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from typing import Any

import numpy as np

from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.kernel import log_probability
from prefstrength.choice.mixing.base import Mixing
from prefstrength.data.choices import Choices
from prefstrength.data.compressed import panels
from prefstrength.data.compressed.grid import Binned, gauss_rule, lobatto_rule
from prefstrength.data.compressed.sums_of_pairs import CompressedChoices
from prefstrength.likelihood.certificate import exact_units
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.grid import Grid
from prefstrength.likelihood.laws import Blend
from prefstrength.likelihood.sources import Reading
from prefstrength.likelihood.strength import StrengthLikelihood

__all__ = ["CompressedData"]

# Bins for which the error of binning is looked at, and points that are compared with nodes.
_MOST_ENTRIES, _MOST_POINTS = 20_000, 60_000
# Least strength, over one over the scale, of which a log is taken.
_SMALLEST = 1e-12


@dataclass(frozen=True)
class CompressedData(LikelihoodData):
    """Data of which only sums are left.

    The situations of its base are the points that stand for the pairs, with their weights; with
    choosers there are no situations, and ``unit``, ``cell`` and ``weight`` are those of the
    tables' rows, one for each chooser and cell.
    """

    compressed: CompressedChoices
    cell_of: np.ndarray  # the model's cell of each cell of the compressed choices

    @classmethod
    def of_compressed(cls, choices: CompressedChoices, cell: np.ndarray) -> "CompressedData":
        """Data of a model whose groups put each row of the choices into a cell."""
        cell_of = np.zeros(len(choices.cells), np.int64)
        cell_of[choices.row_codes] = cell
        if choices.binned is None:
            assert choices.row_chooser is not None
            unit, units, size = choices.row_chooser, choices.n_choosers, 0
            x, weight = np.zeros(0), np.asarray(choices.weights)
        else:
            binned = choices.binned.recoded(cell_of)
            x, weight, entry = gauss_rule(binned)
            unit, units, size = np.arange(len(x)), len(x), len(x)
            cell = binned.cell[entry]
        plain = LikelihoodData.of_pairs(x, unit[:size], np.asarray(cell)[:size], weight[:size])
        fields = {field.name: getattr(plain, field.name) for field in dataclass_fields(plain)}
        fields |= {
            "weight": weight,
            "cell": np.asarray(cell),
            "unit": unit,
            "units": units,
            "panel": choices.binned is None,
            "unit_weight": np.ones(units),
            "scales": (choices.scale(choices.columns.attribute),),
        }
        return cls(**fields, compressed=choices, cell_of=cell_of)

    # -- what a fit shows ----------------------------------------------------------------------

    def cells_of_units(self) -> tuple[np.ndarray, np.ndarray]:
        """Chooser and cell (2, row) of all that occur together, and their situations (row,)."""
        assert self.compressed.state is not None
        keys, row = np.unique(np.stack([self.unit, self.cell]), axis=1, return_inverse=True)
        return keys, np.bincount(row.reshape(-1), panels.moment(self.compressed.state, "rows"))

    def shown(self, families: Iterable[str]) -> tuple[Choices, LikelihoodData]:
        """The sampled situations, as choices and as data of the same model."""
        choices = self.compressed.sample_choices
        cell = self.cell_of[self.compressed.sample_cells]
        return choices, LikelihoodData.of(choices, tuple(families), cell)

    def counts(self) -> dict[str, Any]:
        """How many situations there really are: variables beside those of the sample."""
        choices = self.compressed
        cells = int(self.cell_of.max()) + 1
        rows = np.bincount(self.cell_of, choices.cell_rows, cells).astype(np.int64)
        out: dict[str, Any] = {"cell_situations": ("cell", rows)}
        if self.panel:
            keys, counts = self.cells_of_units()
            out |= {
                "row_chooser": ("row", keys[0]),
                "row_cell": ("row", keys[1]),
                "row_situations": ("row", counts.astype(np.int64)),
            }
        return out

    def note(self) -> dict[str, Any]:
        """What a fit says about the sample it shows."""
        left_out = {} if self.panel else {"log_likelihood": "pairs were summed, not kept"}
        return {"sampled": len(self.compressed.sample_cells), "left_out": left_out}

    # -- likelihood ----------------------------------------------------------------------------

    def likelihood(self, reading: Reading, positive: bool) -> StrengthLikelihood:
        """Tables of choosers from the sums that were kept of them; with choosers alone."""
        choices = self.compressed
        assert choices.state is not None
        assert choices.scale_of_tables is not None
        cells = int(self.cell.max()) + 1
        keys, row = np.unique(self.unit * cells + self.cell, return_inverse=True)
        state = choices.state
        if len(keys) < len(state):  # cells that the model does not tell apart
            state = np.zeros((len(keys), state.shape[1]))
            np.add.at(state, row, choices.state)
        scale = choices.scale_of_tables
        source = CompressedSource(
            panels.coefficients_of(state, scale, positive), scale, positive, reading
        )
        times = np.ones(self.units)
        return StrengthLikelihood(
            source, Grid(scale, positive), keys // cells, keys % cells, times, {}, True
        )

    def certified_error(self, likelihood: StrengthLikelihood, blends: Sequence[Blend]) -> float:
        """Error of the total log-likelihood in nats, the worst of the given points.

        Notes
        -----
        Without choosers three parts are added: what the bins may hide (:func:`lobatto_rule`),
        the nodes against the points they replace, and sampled pairs, binned alike, against
        direct evaluation. With choosers: those of whom every row was kept against direct
        evaluation, their mean error standing for all.
        """
        if self.panel:
            return self._panel_error(likelihood, blends)
        choices = self.compressed
        assert choices.binned is not None
        hidden = _Hidden.of(choices.binned.recoded(self.cell_of))
        sampled, found = _Sampled.of(self), likelihood.by_cell(blends)
        at_points = _AtPoints.of(self)
        worst = 0.0
        for m in range(blends[0].size):
            laws = [blend.take(np.array([m])).mixing(0) for blend in blends]
            own = hidden.error(laws) + at_points.error(found[m], laws) + sampled.error(laws)
            worst = max(worst, own)
        return worst

    def _panel_error(self, likelihood: StrengthLikelihood, blends: Sequence[Blend]) -> float:
        rows = self.compressed.whole
        whole, unit = np.unique(rows["chooser"], return_inverse=True)
        if not len(whole):
            return 0.0
        part = replace(
            LikelihoodData.of_pairs(rows["x"], unit, self.cell_of[rows["cell"]], rows["weight"]),
            scales=self.scales,
        )
        exact = exact_units(part, likelihood.reading, blends, {}, np.arange(len(whole)))
        found = likelihood.by_unit(blends)[:, whole]
        return float((np.abs(found - exact).mean(axis=1) * self.units).max())


@dataclass(frozen=True)
class CompressedSource:
    """Log-likelihoods of choosers from sums over their situations.

    Parameters
    ----------
    series : numpy.ndarray, shape (row, coefficient)
        See :func:`prefstrength.data.compressed.panels.coefficients_of`.
    scale : float
    positive : bool
    reading : Reading
        Plain.
    """

    series: np.ndarray
    scale: float
    positive: bool
    reading: Reading

    def __call__(
        self, strength: np.ndarray, shared: Mapping[str, Any], rows: np.ndarray | None
    ) -> np.ndarray:
        """Log-likelihood of some rows, or all, at strengths; shape (row, strength)."""
        series = self.series if rows is None else self.series[rows]
        # The series are in the log of a positive strength.
        at = np.maximum(strength, _SMALLEST / self.scale) if self.positive else strength
        return panels.evaluate(series, self.scale, self.positive, at)


def _log_p(x: np.ndarray, cell: np.ndarray, laws: Sequence[Mixing]) -> np.ndarray:
    out = np.empty(len(x))
    for c, law in enumerate(laws):
        mine = cell == c
        out[mine] = log_probability(NUMPY, x[mine], law)
    return out


@dataclass(frozen=True)
class _Hidden:
    """How far the Gauss rules of the bins can be from the data; of many bins, a random sample."""

    x: np.ndarray
    weight: np.ndarray  # Gauss positive, Lobatto negative
    cell: np.ndarray
    entry: np.ndarray
    factor: float

    @classmethod
    def of(cls, binned: Binned) -> "_Hidden":
        factor = 1.0
        if len(binned.bin) > _MOST_ENTRIES:
            rng = np.random.default_rng(0)
            keep = np.sort(rng.choice(len(binned.bin), _MOST_ENTRIES, replace=False))
            factor = len(binned.bin) / len(keep)
            binned = Binned(binned.cell[keep], binned.bin[keep], binned.sums[keep], binned.bits)
        (x, w, entry), (y, v, other) = gauss_rule(binned), lobatto_rule(binned)
        entry = np.concatenate([entry, other])
        return cls(np.r_[x, y], np.r_[w, -v], binned.cell[entry], entry, factor)

    def error(self, laws: Sequence[Mixing]) -> float:
        each = np.bincount(self.entry, self.weight * _log_p(self.x, self.cell, laws))
        return self.factor * float(np.abs(each).sum())


@dataclass(frozen=True)
class _AtPoints:
    """The points that the nodes replace, in some of the cells where they are many."""

    x: np.ndarray
    weight: np.ndarray
    cell: np.ndarray
    cells: np.ndarray
    factor: float

    @classmethod
    def of(cls, data: LikelihoodData) -> "_AtPoints":
        cells, counts = np.unique(data.cell, return_counts=True)
        order = np.random.default_rng(0).permutation(len(cells))
        fits = max(1, int(np.sum(np.cumsum(counts[order]) <= _MOST_POINTS)))
        chosen = np.sort(cells[order[:fits]])
        mine = np.isin(data.cell, chosen)
        x = data.values[mine, 0, 0]
        return cls(x, data.weight[mine], data.cell[mine], chosen, len(cells) / len(chosen))

    def error(self, found: np.ndarray, laws: Sequence[Mixing]) -> float:
        """Of what was found for every cell (cell,)."""
        direct = np.bincount(self.cell, self.weight * _log_p(self.x, self.cell, laws), len(laws))
        difference = (found - direct)[self.cells]
        if self.factor == 1:
            return abs(float(difference.sum()))
        return self.factor * float(np.abs(difference).sum())


@dataclass(frozen=True)
class _Sampled:
    """Sampled pairs, binned as all the data were."""

    x: np.ndarray
    weight: np.ndarray
    cell: np.ndarray
    points: tuple[np.ndarray, np.ndarray, np.ndarray]
    factor: float

    @classmethod
    def of(cls, data: CompressedData) -> "_Sampled":
        rows = data.compressed.sample
        cell = data.cell_of[rows["cell"]]
        cells, bits = int(data.cell_of.max()) + 1, data.compressed.bits
        sides = np.ascontiguousarray(rows["x"]), np.zeros(len(rows))
        weight = np.ascontiguousarray(rows["weight"])
        binned, _ = Binned.of(*sides, weight, cell, cells, bits)
        x, own, entry = gauss_rule(binned)
        factor = data.weight.sum() / rows["weight"].sum()
        return cls(rows["x"], rows["weight"], cell, (x, own, binned.cell[entry]), float(factor))

    def error(self, laws: Sequence[Mixing]) -> float:
        x, weight, cell = self.points
        direct = self.weight @ _log_p(self.x, self.cell, laws)
        return self.factor * abs(float(weight @ _log_p(x, cell, laws) - direct))
