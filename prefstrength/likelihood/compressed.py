"""Compressed choices as the data of a likelihood, with a certificate of their own."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefstrength.choice.kernel import log_probability
from prefstrength.data.choices import Choices
from prefstrength.data.compressed import panels
from prefstrength.data.compressed.grid import Binned, gauss_rule, lobatto_rule
from prefstrength.data.compressed.sums_of_pairs import CompressedChoices
from prefstrength.likelihood.batch import NUMPY
from prefstrength.likelihood.cells import CellLaws, coefficient_at
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.exact import exact_panels
from prefstrength.likelihood.pairs import PairSketch
from prefstrength.likelihood.panels import PanelRows

__all__ = ["CompressedData"]

# Bins for which the error of binning is looked at, and points that are compared with nodes.
_MOST_ENTRIES, _MOST_POINTS = 20_000, 60_000
_SPECIAL = 4


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
        return cls(
            values=np.stack([x, np.zeros(size)], axis=1)[:, :, None],
            chosen=np.zeros(size, np.int64),
            available=np.ones((size, 2), bool),
            weight=weight,
            cell=np.asarray(cell),
            unit=unit,
            units=units,
            panel=choices.binned is None,
            scales=(choices.scale(choices.columns.attribute),),
            compressed=choices,
            cell_of=cell_of,
        )

    def panel_rows(self, positive: bool, degree: int) -> PanelRows:
        """Rows of a panel table; the degree is at most the one that was summed."""
        choices = self.compressed
        assert choices.state is not None
        assert choices.scale_of_tables is not None
        cells = int(self.cell.max()) + 1
        keys, row = np.unique(self.unit * cells + self.cell, return_inverse=True)
        state = choices.state
        if len(keys) < len(state):  # cells that the model does not tell apart
            state = np.zeros((len(keys), state.shape[1]))
            np.add.at(state, row, choices.state)
        chooser = keys // cells
        return PanelRows(
            table=panels.coefficients_of(
                state, choices.scale_of_tables, positive, min(degree, panels.DEGREE)
            ),
            chooser=chooser,
            cell=keys % cells,
            information=np.bincount(chooser, panels.moment(state, "information"), self.units),
            scale=choices.scale_of_tables,
            positive=positive,
        )

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

    # -- certificate ---------------------------------------------------------------------------

    def summary_error(self, summary: Any, laws: list[tuple[CellLaws, ...]]) -> float:
        """Error of a summary's total log-likelihood in nats, the worst of the laws.

        Parameters
        ----------
        summary : PairSummary or PanelSummary
            Made of these data.

        Notes
        -----
        Without choosers three parts are added: what the bins may hide (:func:`lobatto_rule`),
        the nodes against the points they replace, and sampled pairs, compressed alike, against
        direct evaluation. With choosers: the choosers of whom every row was kept against direct
        evaluation, their mean error standing for all; and the tables of the largest choosers on
        more nodes in double precision.
        """
        plain = [_plain(law) for (law,) in laws]
        if self.panel:
            return max(self._panel_error(summary, law) for law in plain)
        choices = self.compressed
        assert choices.binned is not None
        binned = choices.binned.recoded(self.cell_of)
        hidden, at_points = _Hidden.of(binned), _AtPoints.of(self)
        sampled = _Sampled.of(self, summary)
        return max(
            hidden.error(law) + at_points.error(summary, law) + sampled.error(law) for law in plain
        )

    def _panel_error(self, summary: Any, law: CellLaws) -> float:
        choices = self.compressed
        location = law.location[None]
        dispersion = None if law.dispersion is None else law.dispersion[None]
        found = summary.by_chooser(location, dispersion)[0]

        rows = choices.whole
        whole, unit = np.unique(rows["chooser"], return_inverse=True)
        part = LikelihoodData(
            values=np.stack([rows["x"], np.zeros(len(rows))], axis=1)[:, :, None],
            chosen=np.zeros(len(rows), np.int64),
            available=np.ones((len(rows), 2), bool),
            weight=rows["weight"],
            cell=self.cell_of[rows["cell"]],
            unit=unit,
            units=len(whole),
            panel=True,
            scales=self.scales,
        )
        error = np.abs(found[whole] - exact_panels(part, (law,)))

        counts = choices.situation_counts()
        special = np.setdiff1d(np.argsort(counts)[::-1][:_SPECIAL], whole)
        # Of the same sums, so that the rows themselves are not needed.
        finest = self.panel_rows(law.family.positive, panels.DEGREE)
        own = [abs(found[c] - _from_rows(finest, int(c), law)) for c in special]
        rest = self.units - len(special)
        return float(error.mean() * rest + np.sum(own))


def _plain(law: CellLaws) -> CellLaws:
    """The law with NumPy arrays."""
    dispersion = None if law.dispersion is None else np.asarray(law.dispersion)
    return CellLaws(law.family, np.asarray(law.location), dispersion)


def _log_p(x: np.ndarray, cell: np.ndarray, law: CellLaws) -> np.ndarray:
    return np.asarray(log_probability(NUMPY, x, law.mixing(cell)))


def _total(summary: Any, law: CellLaws) -> np.ndarray:
    """Log-likelihood of each cell."""
    dispersion = None if law.dispersion is None else np.asarray(law.dispersion)[None]
    return summary.by_cell(np.asarray(law.location)[None], dispersion)[0]


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

    def error(self, law: CellLaws) -> float:
        each = np.bincount(self.entry, self.weight * _log_p(self.x, self.cell, law))
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

    def error(self, summary: Any, law: CellLaws) -> float:
        direct = np.bincount(
            self.cell, self.weight * _log_p(self.x, self.cell, law), len(law.location)
        )
        difference = (_total(summary, law) - direct)[self.cells]
        if self.factor == 1:
            return abs(float(difference.sum()))
        return self.factor * float(np.abs(difference).sum())


@dataclass(frozen=True)
class _Sampled:
    """Sampled pairs, compressed as all the data were."""

    x: np.ndarray
    weight: np.ndarray
    cell: np.ndarray
    sketch: PairSketch
    factor: float

    @classmethod
    def of(cls, data: CompressedData, summary: Any) -> "_Sampled":
        rows = data.compressed.sample
        cell = data.cell_of[rows["cell"]]
        cells, bits = int(data.cell_of.max()) + 1, data.compressed.bits
        sides = np.ascontiguousarray(rows["x"]), np.zeros(len(rows))
        weight = np.ascontiguousarray(rows["weight"])
        binned, _ = Binned.of(*sides, weight, cell, cells, bits)
        x, weight, entry = gauss_rule(binned)
        sketch = PairSketch.build(
            x, binned.cell[entry], weight, data.scales[0], nodes=summary.nodes
        )
        factor = data.weight.sum() / rows["weight"].sum()
        return cls(rows["x"], rows["weight"], cell, sketch, float(factor))

    def error(self, law: CellLaws) -> float:
        sketch = self.sketch
        x, cell, weight = (np.asarray(v) for v in (sketch.x, sketch.cell, sketch.weight))
        direct = self.weight @ _log_p(self.x, self.cell, law)
        return self.factor * abs(float(weight @ _log_p(x, cell, law) - direct))


def _from_rows(rows: PanelRows, chooser: int, law: CellLaws) -> float:
    """Log-likelihood of one chooser from its sums, on nodes that surely are enough."""
    mine = rows.chooser == chooser
    table, cell = rows.table[mine], rows.cell[mine]

    def log_integrand(z: np.ndarray) -> np.ndarray:
        total = np.zeros(len(z))
        for row, c in zip(table, cell, strict=True):
            spread = None if law.dispersion is None else law.dispersion[c]
            beta = coefficient_at(law.family, z, law.location[c], spread)
            total += panels.evaluate(row[None], rows.scale, rows.positive, beta)[0]
        return total

    if not law.family.varies:
        return float(log_integrand(np.zeros(1))[0])
    coarse = np.arange(-36.0, 36.25, 0.25)
    values = log_integrand(coarse) - coarse**2 / 2
    there = coarse[values > values.max() - 40.0]
    spread = float(np.max(np.asarray(law.dispersion))) * (1.0 if rows.positive else rows.scale)
    step = 0.1 / np.sqrt(1 + rows.information[chooser] * spread**2)
    z = np.arange(there[0] - 0.25, there[-1] + 0.25, step)
    values = log_integrand(z) - z**2 / 2
    return float(
        values.max() + np.log(np.exp(values - values.max()).sum() * step / np.sqrt(2 * np.pi))
    )
