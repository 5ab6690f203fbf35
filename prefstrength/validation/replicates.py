"""Replicates: data sets simulated in the design of given ones, each fitted, with its truth.

Every simulation has a seed of its own, so that results do not depend on the number of processes,
an interrupted run goes on where it stopped, and more simulations continue fewer.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist

from prefstrength._shared.records import versions
from prefstrength.choice.mixing.base import Mixing
from prefstrength.data.choices import Choices
from prefstrength.data.factor import Factor
from prefstrength.errors import InputError, SamplingWarning
from prefstrength.inference.datatree import cell_labels, shifts_of
from prefstrength.inference.population import Population, cell_codes
from prefstrength.inference.prepare import Prepared
from prefstrength.inference.problem import laws_of
from prefstrength.likelihood.build import Likelihood, build_likelihood
from prefstrength.likelihood.cells import coefficient_at
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.panel_summary import PanelSummary
from prefstrength.likelihood.summaries import summarise
from prefstrength.models.fitting import sample_population
from prefstrength.models.mixed_logit import MixedLogit

__all__ = ["LOG_LIKELIHOOD", "Replicates", "Sampler"]

#: Takes a model, choices and a seed; returns posterior draws by variable, each (draw, …).
Sampler = Callable[[MixedLogit, Choices, int], Mapping[str, np.ndarray]]

#: The name under which the log-likelihood of all data is ranked.
LOG_LIKELIHOOD = "log_likelihood"
CHUNK, _CHAINS = 5, 4


@dataclass(frozen=True, eq=False)
class Replicates:
    """All that a process needs to make any of the simulations.

    Parameters
    ----------
    model : MixedLogit
    choices : Choices
        The design.
    seed, draws, thinned : int
        Seed; posterior draws of a fit; those among which is ranked.
    sampler : callable or None
        In place of the package's own inference.
    truth : dict or None
        Values by variable; drawn from the prior where ``None``.
    likelihood : bool
        Whether the log-likelihood of the data is ranked too.
    """

    model: MixedLogit
    choices: Choices
    seed: int
    draws: int
    thinned: int
    sampler: Sampler | None = None
    truth: dict[str, np.ndarray] | None = None
    likelihood: bool = False

    @classmethod
    def of(
        cls,
        model: MixedLogit,
        choices: Choices,
        seed: int,
        draws: int,
        thinned: int,
        sampler: Sampler | None,
        *,
        truth: Mixing | Mapping[str, Any] | None = None,
        likelihood: bool = False,
    ) -> "Replicates":
        """Check what the user gave, and make it into a design."""
        if not isinstance(model, MixedLogit):
            raise TypeError(f"Expected a MixedLogit; got {type(model).__name__}.")
        model.refuse_errors("Simulated calibration")
        # The package's own samplers want 50 draws of each chain.
        fewest = 50 * _CHAINS if sampler is None else 100
        for name, value, least in (("draws", draws, fewest), ("thinned", thinned, 9)):
            if value < least:
                raise InputError(f"Expected {name} of at least {least}; got {value}.")
        if thinned > draws:
            raise InputError(f"Expected thinned of at most draws, {draws}; got {thinned}.")
        if sampler is not None and not callable(sampler):
            raise TypeError(f"Expected a function as sampler; got {type(sampler).__name__}.")
        population = model.population(choices)
        known = None if truth is None else _known(population, truth)
        return cls(model, _design(choices), seed, draws, thinned, sampler, known, likelihood)

    @cached_property
    def population(self) -> Population:
        """Population level, the same in all simulations."""
        return self.model.population(self.choices)

    @cached_property
    def pinned(self) -> MixedLogit:
        """The model with its priors held at those of the design.

        The scale of a prior depends on which of three or more alternatives was chosen.
        """
        if self.choices.is_pairs:
            return self.model
        return replace(self.model, priors=self.population.prior())

    @cached_property
    def codes(self) -> np.ndarray:
        """Cell of every situation."""
        return cell_codes(self.choices, self.model.groups)[1]

    def spec(self) -> dict[str, Any]:
        """Settings that decide the numbers, and the versions that they were made with."""
        families = {name: family.__name__ for name, family in self.population.families.items()}
        of = ", ".join(f"{name} ~ {family}" for name, family in families.items())
        groups = f"; groups {', '.join(self.model.groups)}" if self.model.groups else ""
        choices = self.choices
        choosers = f" of {choices.n_choosers} choosers" if choices.n_choosers else ", no choosers"
        return {
            "model": f"MixedLogit({of}{groups})",
            "priors": {name: _exactly(prior) for name, prior in self.population.prior().items()},
            "design": f"{choices.n_situations} situations{choosers}",
            "data": choices.content_hash(),
            "truth": "draws from the prior"
            if self.truth is None
            else {name: value.tolist() for name, value in self.truth.items()},
            "sampler": "prefstrength"
            if self.sampler is None
            else f"{self.sampler.__module__}.{getattr(self.sampler, '__qualname__', '?')}",
            "seed": self.seed,
            "draws": self.draws,
            "thinned": self.thinned,
            "versions": versions("prefstrength", "jax", "numpyro", "numpy"),
        }

    # -- one simulation --------------------------------------------------------------------------

    def simulate(self, index: int) -> tuple[dict[str, np.ndarray], Choices]:
        """True values by variable, and choices made with them."""
        with jax.enable_x64(True):
            rng = np.random.default_rng([self.seed, index])
            key = int(rng.integers(2**31))
            truth = self._prior_draw(key) if self.truth is None else self.truth
            return truth, self._choose(truth, rng)

    @cached_property
    def _prior_draw(self) -> Callable[[int], dict[str, np.ndarray]]:
        @jax.jit
        def one(key: jax.Array) -> dict[str, jax.Array]:
            with numpyro.handlers.seed(rng_seed=key), numpyro.handlers.trace() as sites:
                self.population.sample()
            return {name: site["value"] for name, site in sites.items()}

        return lambda key: {n: np.asarray(v) for n, v in one(jax.random.PRNGKey(key)).items()}

    def _choose(self, truth: dict[str, np.ndarray], rng: np.random.Generator) -> Choices:
        """Every chooser draws coefficients, and chooses among the alternatives of the design."""
        choices, families = self.choices, self.population.families
        n = choices.n_situations
        unit = np.arange(n) if choices.chooser is None else choices.chooser
        utility = rng.gumbel(size=(n, choices.n_alternatives))
        for (name, family), law in zip(families.items(), laws_of(families, truth), strict=True):
            z = rng.standard_normal(unit.max() + 1)[unit]
            location = np.asarray(law.location)[self.codes]
            spread = None if law.dispersion is None else np.asarray(law.dispersion)[self.codes]
            values = choices.values[:, :, choices.attributes.index(name)]
            utility += coefficient_at(family, z, location, spread)[:, None] * values
        chosen = np.argmax(np.where(choices.available, utility, -np.inf), axis=1)
        if not choices.is_pairs:
            return replace(choices, chosen=chosen)
        turned = np.where(chosen[:, None, None] == 0, choices.values, choices.values[:, ::-1])
        return replace(choices, values=turned)

    def records(self, index: int) -> list[dict[str, Any]]:
        """Simulate, fit, compare: one record for each variable."""
        truth, choices = self.simulate(index)
        seed = int(np.random.default_rng([self.seed, index, 1]).integers(2**31))
        with jax.enable_x64(True), warnings.catch_warnings():
            warnings.simplefilter("ignore", SamplingWarning)  # the method of each is recorded
            if self.sampler is None:
                found = sample_population(
                    self.pinned, choices, seed=seed, draws=-(-self.draws // _CHAINS), chains=_CHAINS
                )
                prepared, method = found.prepared, found.method
                drawn = {n: v.reshape(-1, *v.shape[2:]) for n, v in found.variables.items()}
            else:
                prepared, method = None, "sampler"
                given = self.sampler(self.pinned, choices, seed)
                drawn = {n: np.asarray(v, dtype=float) for n, v in given.items()}
            count = len(next(iter(drawn.values()), ()))
            if count < self.thinned:
                raise InputError(
                    f"Expected at least {self.thinned} draws of the sampler, as many as are "
                    f"ranked among; got {count}. Let it return more, or lower `thinned`."
                )
            kept = np.linspace(0, count - 1, self.thinned).round().astype(int)
            scalars = self._scalars(truth, drawn)
            if self.likelihood:
                both = self._at_truth_and_draws(truth, drawn, kept)
                values = self._log_likelihood(choices, both, prepared)
                scalars.append((LOG_LIKELIHOOD, float(values[0]), values[1:]))
        out = []
        for variable, true, values in scalars:
            among = values if len(values) == self.thinned else values[kept]
            out.append(
                {
                    "simulation": index,
                    "variable": variable,
                    "truth": true,
                    "rank": int(np.sum(among < true)),
                    "below": float(np.mean(values < true)),
                    "mean": float(values.mean()),
                    "sd": float(values.std()),
                    "method": method,
                }
            )
        return out

    def _scalars(
        self, truth: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray]
    ) -> list[tuple[str, float, np.ndarray]]:
        """Every number of the population level: label, true value, draws."""
        out: list[tuple[str, float, np.ndarray]] = []
        for name, labels in self._labels(truth).items():
            if name not in drawn:
                continue
            draws = drawn[name].reshape(len(drawn[name]), -1)
            true = np.asarray(truth[name], dtype=float).reshape(-1)
            for column, label in enumerate(labels):
                if any(
                    np.isclose(true[column], other, rtol=1e-12, atol=0)
                    and np.allclose(draws[:, column], values, rtol=1e-9, atol=0)
                    for _, other, values in out
                ):
                    continue  # mu and location of a model without groups are one number
                out.append((label, float(true[column]), draws[:, column]))
        if not out:
            raise InputError(
                f"Expected the sampler to return draws of {list(self._labels(truth))}; "
                f"got {list(drawn)}."
            )
        return out

    def _labels(self, truth: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
        """Labels of each variable's numbers; the parameters first, then what they are made of."""
        population, groups = self.population, self.model.groups
        cells = [" | ".join(cell.values()) for cell in cell_labels(population, self.choices)]
        shown = [
            f"{name}_{parameter}"
            for name, family in population.families.items()
            for parameter in family().parameters
        ]
        out = {}
        shifts, raw = shifts_of(population), shifts_of(population, "raw_")
        for name in [*shown, *(n for n in truth if n not in shown and n not in raw)]:
            size = np.asarray(truth[name]).size
            if name in shown and groups:
                out[name] = [f"{name}[{cell}]" for cell in cells]
            elif size > 1:
                levels = self.choices.groups[shifts[name]].levels
                out[name] = [f"{name}[{level}]" for level in levels]
            else:
                out[name] = [name]
        return out

    def _at_truth_and_draws(
        self, truth: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray], kept: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Parameters of the laws (law, cell): the true ones, then those of the thinned draws."""
        names = [f"{n}_{p}" for n, f in self.population.families.items() for p in f().parameters]
        missing = [name for name in names if name not in drawn]
        if missing:
            raise InputError(f"Expected the sampler to return draws of {names}; got no {missing}.")
        return {
            name: np.concatenate(
                [truth[name].reshape(1, -1), drawn[name][kept].reshape(len(kept), -1)]
            )
            for name in names
        }

    def _log_likelihood(
        self, choices: Choices, both: dict[str, np.ndarray], prepared: Prepared | None
    ) -> np.ndarray:
        """Log-likelihood of all data under each law, also of laws that the posterior excludes."""
        families = self.population.families
        data = LikelihoodData.of(choices, tuple(self.model.coefficients), self.codes)
        if not data.scalar:
            likelihood = prepared.problem.likelihood if prepared else None
            return np.asarray(
                self._totals(both, likelihood or build_likelihood(data, tuple(families.values())))
            )
        [law] = laws_of(families, both)
        location = np.asarray(law.location)
        if law.dispersion is None:
            spread, widest = None, 1.0
        else:
            spread = np.asarray(law.dispersion)
            widest = float(spread.max())
        summary = prepared.summary if prepared else None
        if summary is None:
            summary = summarise(data, law.family, widest)
        elif isinstance(summary, PanelSummary) and widest > summary.dispersion:
            summary = replace(summary, dispersion=widest)
        with np.errstate(over="ignore"):  # under a law that the data exclude many times over
            return summary.total(location, spread)

    @cached_property
    def _totals(self) -> Callable[[dict[str, np.ndarray], Likelihood], jax.Array]:
        families = self.population.families

        @jax.jit
        def totals(laws: dict[str, jax.Array], likelihood: Likelihood) -> jax.Array:
            return jax.lax.map(lambda one: likelihood.total(laws_of(families, one)), laws)

        return totals


def _exactly(prior: dist.Distribution) -> str:
    """A prior with all its digits."""
    shown = {n: np.asarray(getattr(prior, n), float).tolist() for n in prior.arg_constraints}
    return f"{type(prior).__name__}({', '.join(f'{n}={v!r}' for n, v in shown.items())})"


def _known(population: Population, truth: Mixing | Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A known truth as values by variable, one for each cell where there are groups."""
    families = population.families
    wanted = {f"{name}_{p}": name for name, family in families.items() for p in family().parameters}
    if isinstance(truth, Mixing):
        truth.require_known()
        [name, family] = next(iter(families.items()))
        if len(families) > 1 or family is not type(truth):
            of = ", ".join(f"{n} ~ {f.__name__}" for n, f in families.items())
            raise InputError(
                f"Expected the truth of a model with {of}; got {truth!r}. "
                f"Give values by variable: {list(wanted)}."
            )
        truth = {f"{name}_{p}": value for p, value in truth.parameters.items()}
    if set(truth) != set(wanted):
        raise InputError(f"Expected a true value for each of {list(wanted)}; got {list(truth)}.")
    shape = (len(population.cells),) if population.factors else ()
    try:
        values = {n: np.broadcast_to(np.asarray(truth[n], float), shape).copy() for n in wanted}
    except ValueError as error:
        raise InputError(
            f"Expected true values that are numbers, one or {shape or 'one'} of them; got {error}."
        ) from None
    for name, family in families.items():
        own = [f"{name}_{p}" for p in family().parameters]
        for row in zip(*(values[n].reshape(-1) for n in own), strict=True):
            family(*(float(v) for v in row))  # refuses what is no law
    return values


def _design(choices: Choices) -> Choices:
    """The same alternatives without labels, and every choice a situation of its own."""
    times = np.asarray(choices.weights)
    if (times != np.round(times)).any():
        wrong = int((times != np.round(times)).sum())
        raise InputError(
            "Simulated choices need weights that are whole numbers, how many choices a situation "
            f"stands for; got {wrong} of {choices.n_situations} that are not. Split ties or "
            "other shares of a choice cannot be simulated: drop them."
        )
    if (times == 0).any():
        choices = choices.subset(times > 0)
    rows = np.repeat(np.arange(choices.n_situations), np.asarray(choices.weights).astype(int))
    design = replace(
        choices,
        values=choices.values[rows],
        chosen=choices.chosen[rows],
        available=choices.available[rows],
        weights=np.ones(len(rows)),
        chooser=None if choices.chooser is None else choices.chooser[rows],
        groups={n: Factor(n, f.codes[rows], f.levels) for n, f in choices.groups.items()},
        situations=None,
        dropped=(),
        notes=(),
    )
    if design.n_alternatives == 2 and bool(design.available.all()):
        return design.as_pairs()
    return design
