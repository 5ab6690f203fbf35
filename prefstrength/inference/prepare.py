"""From data to a posterior density that is cheap, accurate to a known error, and located."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from prefstrength._shared.words import warn
from prefstrength.choice.mixing.base import Mixing
from prefstrength.errors import SamplingWarning
from prefstrength.inference.mode import Mode, find_mode, not_ruled_out
from prefstrength.inference.population import Population
from prefstrength.inference.problem import Problem, laws_of
from prefstrength.likelihood.build import build_likelihood, likelihood_error
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.panel_summary import PairSummary, PanelSummary
from prefstrength.likelihood.summaries import Summary, summarise
from prefstrength.likelihood.surfaces import SIDE, Box, CellSurfaces

__all__ = ["TOLERANCE", "Prepared", "prepare"]

#: Error of the total log-likelihood, in nats, above which nodes are added.
TOLERANCE = 0.01
_MOST_REFINEMENTS = 4
_COARSE = 10
_MOST_ZOOMS = 6
# How far, in nats, surfaces may be off at the mode found on them, to be believed in locating it.
_BELIEVED = 1.0
# Half of a box, in posterior standard deviations.
_REACH = 7.0
# Of a box around draws, on each side, in parts of what they span.
_MARGIN = 0.8
# What no posterior under the default priors leaves, in units of the prior's scale.
_FARTHEST_LOCATION = 8.0
_LARGEST_DISPERSION = 6.0


@dataclass(frozen=True)
class Prepared:
    """A problem with its mode, the summary of the data, and how large the error is.

    Parameters
    ----------
    problem : Problem
    mode : Mode
    data : LikelihoodData
    summary : Summary or None
        ``None`` where the data cannot be compressed.
    box : Box or None
        Where the surfaces are valid, if the problem's likelihood is one of surfaces.
    error : float
        Error of the total log-likelihood in nats, of the summary against direct evaluation.
    how : str
        The likelihood in words.
    """

    problem: Problem
    mode: Mode
    data: LikelihoodData
    summary: Summary | None
    box: Box | None
    error: float
    how: str

    def suits(self, flat: np.ndarray, well: bool = False) -> tuple[bool, float]:
        """Whether draws (draw, parameter) lie inside the box, and the surfaces' error there.

        With ``well`` they must keep away from its sides: more draws may go farther. Away from
        surfaces always ``(True, 0.0)``.
        """
        if self.box is None:
            return True, 0.0
        assert self.summary is not None
        location, dispersion = _cell_values(self.problem, flat)
        box = _shrunk(self.box) if well else self.box
        inside = bool(box.holds(location, dispersion).all())
        some = np.linspace(0, len(flat) - 1, min(12, len(flat))).astype(int)
        spread = None if dispersion is None else dispersion[some]
        exact = self.summary.total(location[some], spread)
        found = self.problem.likelihood.values(location[some], spread)
        return inside, float(np.max(np.abs(found - exact)))

    def without_surfaces(self) -> "Prepared":
        """The same posterior on the summary itself: slower, for boxes that surfaces cannot fit."""
        assert self.summary is not None
        self.problem.likelihood = self.summary.likelihood()
        mode = find_mode(self.problem, self.mode.at)
        return replace(self, mode=mode, box=None, how=self.summary.how)

    def moved(self, flat: np.ndarray) -> "Prepared":
        """Surfaces on a box that holds the draws with some margin, certified there.

        A box that the draws fill in part only is cut down to them: on a wide one a surface may
        be so wrong that its draws go astray, and a wider one would be worse. Where draws come to
        a side of the old box, the penalty beyond it hides how far they want to go: there the new
        box is wider by its own width.
        """
        assert self.box is not None
        assert self.summary is not None
        location, dispersion = _finite(*_cell_values(self.problem, flat))
        box = _grown(self.box.of(location, dispersion), _shrunk(self.box))
        return _on_box(self.problem, self.data, self.summary, box, self.mode)


def prepare(
    population: Population, data: LikelihoodData, families: tuple[type[Mixing], ...]
) -> Prepared:
    """Choose the cheapest likelihood, locate the mode, and certify the error around it.

    One attribute and no chooser in several cells: surfaces. One attribute: panel tables.
    Else direct quadrature.
    """
    if data.scalar:
        summary = summarise(data, families[0])
        if summary.separable:
            return _separable(population, data, summary)
        return _crossed(population, data, families[0])
    return _direct(population, data, families)


# -- surfaces ------------------------------------------------------------------------------------


def _separable(population: Population, data: LikelihoodData, summary: Summary) -> Prepared:
    unit = 1.0 if summary.family.positive else 1.0 / data.scales[0]
    problem, mode, box = _located(population, data, summary, unit)
    return _on_box(problem, data, summary, box, mode)


def _on_box(
    problem: Problem,
    data: LikelihoodData,
    summary: Summary,
    box: Box,
    mode: Mode,
) -> Prepared:
    """Surfaces on a box, from a summary that is accurate for all of the box's dispersions."""
    unit = 1.0 if summary.family.positive else 1.0 / data.scales[0]
    error, best = np.inf, summary
    for refine in range(_MOST_REFINEMENTS + 1):
        if not isinstance(summary, PairSummary):
            largest = max(box.most, 0.3 * unit) * 1.5**refine
            summary = replace(summary, dispersion=largest)
        laws = _laws_in(problem, box, summary.family)
        finer_error = summary.error(data, laws)
        if finer_error > error / 2:
            break  # more nodes do not help
        error, best = finer_error, summary
        if error <= TOLERANCE:
            break
        summary = summarise(data, summary.family, box.most, refine + 1)
    _warn_of(error, best.how)
    return _surfaces(problem, data, best, box, mode, error)


def _surfaces(
    problem: Problem,
    data: LikelihoodData,
    summary: Summary,
    box: Box,
    mode: Mode,
    error: float,
) -> Prepared:
    """Surfaces on the box with as many nodes as they need where the posterior lies."""
    random = summary.family.varies
    rng = np.random.default_rng(1)
    factor = np.linalg.cholesky(mode.covariance)
    around = mode.at + 1.5 * rng.standard_normal((60, problem.size)) @ factor.T
    location, dispersion = _cell_values(problem, around)
    inside = np.flatnonzero(box.holds(location, dispersion))[:24]
    location, dispersion = location[inside], None if dispersion is None else dispersion[inside]
    exact = summary.total(location, dispersion)
    for nodes in (12, 16, 20, SIDE):
        problem.likelihood = CellSurfaces.build(summary.by_cell, box, nodes, random)
        found = problem.likelihood.values(location, dispersion)
        if np.max(np.abs(found - exact), initial=0.0) < TOLERANCE / 4:
            break
    how = f"{summary.how}; a surface for each cell of the groups"
    return Prepared(problem, find_mode(problem, mode.at), data, summary, box, error, how)


def _located(
    population: Population,
    data: LikelihoodData,
    summary: Summary,
    unit: float,
) -> tuple[Problem, Mode, Box]:
    """The box of the posterior, by zooming in from all that the priors allow."""
    family = summary.family
    random = family.varies
    cells = len(population.cells)
    middle = -np.log(data.scales[0]) if family.positive else 0.0
    widest = Box(
        np.full(cells, middle - _FARTHEST_LOCATION * unit),
        np.full(cells, middle + _FARTHEST_LOCATION * unit),
        0.0,
        _LARGEST_DISPERSION * unit,
        softness=unit**2 * 0.15 / (1.0 + summary.information),
    )
    box = replace(
        widest,
        low=np.full(cells, middle - 4 * unit),
        high=np.full(cells, middle + 4 * unit),
        most=2.0 * unit,
    )
    problem, start = None, None
    for _ in range(_MOST_ZOOMS):
        surfaces = CellSurfaces.build(summary.by_cell, box, _COARSE, random)
        if problem is None:
            problem = Problem(population, surfaces)
            start = problem.start
        problem.likelihood = surfaces
        mode = find_mode(problem, start)
        start = mode.at
        at_mode = _cell_values(problem, mode.at[None])
        if not len(_finite(*at_mode)[0]):
            break
        wanted = _within(_posterior_box(problem, mode, unit, widest), widest)
        if _similar(box, wanted, random):
            off = np.abs(surfaces.values(*at_mode) - summary.total(*at_mode))
            if off[0] > _BELIEVED:
                break
            return problem, mode, wanted
        box = _step_towards(box, wanted)
    # Where a few nodes cannot follow the surfaces, as of a Gamma law with most of its mass near
    # 0, the boxes go astray. The summary itself is slower, and does not.
    assert problem is not None
    problem.likelihood = summary.likelihood()
    mode = find_mode(problem)
    return problem, mode, _within(_posterior_box(problem, mode, unit, widest), widest)


def _posterior_box(problem: Problem, mode: Mode, unit: float, widest: Box) -> Box:
    """Where the Gaussian at the mode puts location and dispersion, cell by cell."""
    rng = np.random.default_rng(0)
    factor = np.linalg.cholesky(mode.covariance)
    draws = np.r_[[mode.at], mode.at + rng.standard_normal((200, problem.size)) @ factor.T]
    location, dispersion = _finite(*_cell_values(problem, draws))
    centre = location[0]
    sd = _robust_sd(location) + 1e-3 * unit
    low, high = centre - _REACH * sd, centre + _REACH * sd
    if dispersion is None:
        return replace(widest, low=low, high=high)
    sd = _robust_sd(dispersion) + 1e-3 * unit
    least = float((dispersion[0] - _REACH * sd).min())
    most = float((dispersion[0] + _REACH * sd).max())
    # Close to 0 a surface is flat: do not cut it off.
    least = 0.0 if least < 0.3 * most else least
    return replace(widest, low=low, high=high, least=least, most=most)


def _robust_sd(values: np.ndarray) -> np.ndarray:
    low, high = np.quantile(values, [0.16, 0.84], axis=0)
    return (high - low) / 2


def _within(box: Box, widest: Box) -> Box:
    """The part of a box inside the widest; never empty."""
    middle = np.clip((box.low + box.high) / 2, widest.low, widest.high)
    half = (box.high - box.low) / 2
    return replace(
        box,
        low=np.maximum(middle - half, widest.low - half / 2),
        high=np.minimum(middle + half, widest.high + half / 2),
        least=min(box.least, widest.most / 2),
        most=min(box.most, widest.most),
    )


def _step_towards(box: Box, wanted: Box) -> Box:
    """The wanted box, but not smaller than an eighth of this one: its centre is not yet known."""
    middle = (wanted.low + wanted.high) / 2
    half = np.maximum((wanted.high - wanted.low) / 2, (box.high - box.low) / 16)
    spread = max(wanted.most - wanted.least, (box.most - box.least) / 8)
    centre = (wanted.most + wanted.least) / 2
    least = max(0.0, centre - spread / 2)
    most = max(wanted.most, least + spread)
    return replace(wanted, low=middle - half, high=middle + half, least=least, most=most)


def _similar(box: Box, wanted: Box, random: bool) -> bool:
    """Whether a box holds the wanted one and is not much wider: then its mode can be believed."""
    slack = 0.15 * (box.high - box.low)
    holds = np.all(wanted.low >= box.low - slack) and np.all(wanted.high <= box.high + slack)
    tight = np.all(wanted.high - wanted.low >= 0.5 * (box.high - box.low))
    if not random:
        return bool(holds and tight)
    spread = box.most - box.least
    inside = wanted.most <= box.most + 0.15 * spread and wanted.least >= box.least - 0.15 * spread
    return bool(holds and tight and inside and wanted.most - wanted.least >= 0.5 * spread)


def _shrunk(box: Box) -> Box:
    """The box without its outermost twentieths, but down to 0 where it begins there."""
    margin = 0.05 * (box.high - box.low)
    spread = 0.05 * (box.most - box.least)
    least = 0.0 if box.least == 0 else box.least + spread
    low, high = box.low + margin, box.high - margin
    return replace(box, low=low, high=high, least=least, most=box.most - spread)


def _grown(box: Box, inner: Box) -> Box:
    """A box around draws with a margin, a wide one where they leave the inner box."""

    def margin(touched: Any, width: Any) -> Any:
        return np.where(touched, 1.0, _MARGIN) * width

    width, spread = box.high - box.low, box.most - box.least
    most = box.most + float(margin(box.most > inner.most, spread))
    least = box.least - float(margin(box.least < inner.least, spread))
    return replace(
        box,
        low=box.low - margin(box.low < inner.low, width),
        high=box.high + margin(box.high > inner.high, width),
        # Close to 0 a surface is flat: do not cut it off.
        least=0.0 if least < 0.3 * most else least,
        most=most,
    )


def _cell_values(problem: Problem, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Location and dispersion (draw, cell) of the first attribute."""
    law = _stacked(problem, flat)[0]
    location = np.asarray(law.location).reshape(len(flat), -1)
    if law.dispersion is None:
        return location, None
    return location, np.asarray(law.dispersion).reshape(len(flat), -1)


def _finite(
    location: np.ndarray, dispersion: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Without the points so far out that a parameter overflows, such as a shape of 1e-320."""
    if dispersion is None:
        return location, None
    fine = (np.isfinite(location) & np.isfinite(dispersion)).all(axis=1)
    return location[fine], dispersion[fine]


def _stacked(problem: Problem, flat: np.ndarray) -> tuple[CellLaws, ...]:
    return laws_of(problem.population.families, problem.constrain(flat))


def _laws(problem: Problem, flat: np.ndarray) -> list[tuple[CellLaws, ...]]:
    """Laws in every cell at each of the points."""
    variables = problem.constrain(flat)
    return [
        laws_of(problem.population.families, {k: v[i] for k, v in variables.items()})
        for i in range(len(flat))
    ]


def _laws_in(problem: Problem, box: Box, family: type[Mixing]) -> list[tuple[CellLaws, ...]]:
    """Laws over the plausible part of a box: its middle, and points half way to its sides."""
    middle, half = (box.low + box.high) / 2, (box.high - box.low) / 4
    spreads = box.least + np.array([0.5, 0.75, 0.25]) * (box.most - box.least)
    laws: list[tuple[CellLaws, ...]] = []
    for shift, spread in zip((0.0, 1.0, -1.0), spreads, strict=True):
        dispersion: Any = None if not family.varies else np.full(len(middle), spread)
        laws.append((CellLaws(family, middle + shift * half, dispersion),))
    return laws


# -- tables and direct quadrature ----------------------------------------------------------------


def _crossed(population: Population, data: LikelihoodData, family: type[Mixing]) -> Prepared:
    """Choosers that have choices in several cells: tables, nodes for the posterior's dispersion."""
    summary = summarise(data, family)
    assert isinstance(summary, PanelSummary)
    problem = Problem(population, summary.likelihood())
    mode = find_mode(problem)
    laws = _plausible(problem, mode)
    (needed,) = _largest_dispersions(laws, data, (family,))
    # Nodes were placed for a dispersion of 1; compile again only if that was far off.
    if not 0.4 <= needed[0] <= 1.0:
        summary = replace(summary, dispersion=needed[1])
        problem.likelihood = summary.likelihood()
        mode = find_mode(problem, mode.at)
        laws = _plausible(problem, mode)
    error = summary.error(data, laws)
    for refine in range(1, _MOST_REFINEMENTS + 1):
        if error <= TOLERANCE:
            break
        (needed,) = _largest_dispersions(laws, data, (family,))
        finer = summarise(data, family, needed[1], refine)
        assert isinstance(finer, PanelSummary)
        finer_error = finer.error(data, laws)
        if finer_error > error / 2:
            break  # more nodes do not help
        summary, error = finer, finer_error
        problem.likelihood = summary.likelihood()
    _warn_of(error, summary.how)
    return Prepared(problem, mode, data, summary, None, error, summary.how)


def _direct(
    population: Population, data: LikelihoodData, families: tuple[type[Mixing], ...]
) -> Prepared:
    problem = Problem(population, build_likelihood(data, families))
    mode = find_mode(problem)
    laws = _plausible(problem, mode)
    needed = _largest_dispersions(laws, data, families)
    if not all(0.4 <= relative <= 1.0 for relative, _ in needed):
        problem.likelihood = build_likelihood(data, families, tuple(d for _, d in needed))
        mode = find_mode(problem, mode.at)
        laws = _plausible(problem, mode)
    error = likelihood_error(problem.likelihood, data, laws)
    for refine in range(1, _MOST_REFINEMENTS + 1):
        if error <= TOLERANCE:
            break
        needed = _largest_dispersions(laws, data, families)
        finer = build_likelihood(data, families, tuple(d for _, d in needed), refine)
        finer_error = likelihood_error(finer, data, laws)
        if finer_error > error / 2:
            break
        problem.likelihood, error = finer, finer_error
    how = problem.likelihood.how
    _warn_of(error, how)
    return Prepared(problem, mode, data, None, None, error, how)


def _warn_of(error: float, how: str) -> None:
    if error > TOLERANCE:
        warn(
            f"The likelihood expects an error below {TOLERANCE} nats; got {error:.2g} with the "
            f"most nodes ({how}). Look for reward differences that are far larger than the "
            "rest, or use `method='latent'`.",
            SamplingWarning,
        )


def _plausible(problem: Problem, mode: Mode) -> list[tuple[CellLaws, ...]]:
    """Laws at the mode and at points around it that the posterior does not rule out."""
    rng = np.random.default_rng(0)
    factor = np.linalg.cholesky(mode.covariance)
    candidates = mode.at + 1.3 * rng.standard_normal((30, problem.size)) @ factor.T
    kept = candidates[not_ruled_out(problem, mode, candidates)][:6]
    return _laws(problem, np.stack([mode.at, *kept]))


def _largest_dispersions(
    laws: list[tuple[CellLaws, ...]], data: LikelihoodData, families: tuple[type[Mixing], ...]
) -> list[tuple[float, float]]:
    """For each attribute the largest dispersion, relative to its unit and as it is."""
    out = []
    for a, family in enumerate(families):
        unit = 1.0 if family.positive else 1.0 / data.scales[a]
        sizes = [float(np.max(d)) / unit for law in laws if (d := law[a].dispersion) is not None]
        relative = float(np.clip(max(sizes, default=1.0), 0.3, 6.0))
        out.append((relative, relative * unit))
    return out
