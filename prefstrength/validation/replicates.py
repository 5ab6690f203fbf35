"""Replicates: data sets simulated in the design of given ones, each fitted, with its truth.

Every simulation has a seed of its own, so that results do not depend on the number of processes,
an interrupted run goes on where it stopped, and more simulations continue fewer.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from prefstrength._shared.records import versions
from prefstrength.choice.mixing.base import Mixing
from prefstrength.data.choices import Choices
from prefstrength.data.factor import Factor
from prefstrength.errors import InputError, SamplingWarning
from prefstrength.inference.copies import Copies
from prefstrength.inference.datatree import cell_labels
from prefstrength.inference.named_draws import blends_of, shared_of
from prefstrength.inference.population import Population, cell_codes
from prefstrength.inference.predictive import simulate_answers
from prefstrength.inference.prior_draws import prior_draws
from prefstrength.inference.priors import Prior
from prefstrength.inference.sampling import sample, scalar_likelihood
from prefstrength.inference.several_results import log_likelihoods
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.direct import DirectLikelihood, direct_likelihood
from prefstrength.likelihood.sources import Reading
from prefstrength.likelihood.strength import StrengthLikelihood
from prefstrength.models.mixed_logit import MixedLogit

__all__ = ["LOG_LIKELIHOOD", "Replicates", "Sampler"]

#: Takes a model, choices and a seed; returns posterior draws by variable, each (draw, …).
Sampler = Callable[[MixedLogit, Choices, int], Mapping[str, np.ndarray]]

#: The name under which the log-likelihood of all data is ranked.
LOG_LIKELIHOOD = "log_likelihood"
CHUNK, _CHAINS, _WARMUP = 5, 4, 300


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
        """Population level, the same in all simulations.

        The scale of a prior depends on which of three or more alternatives was chosen; it is that
        of the design.
        """
        return self.model.population(self.choices)

    @cached_property
    def reading(self) -> Reading:
        """How answers are read."""
        return self.model.reading(self.choices)

    @cached_property
    def pinned(self) -> MixedLogit:
        """The model with its priors held at those of the design, for a sampler of the user's."""
        if self.choices.is_pairs:
            return self.model
        own = {name: prior.numpyro() for name, prior in self.population.prior().items()}
        return replace(self.model, priors=own)

    def data(self, choices: Choices) -> LikelihoodData:
        """What the likelihood needs of choices in this design."""
        _, codes = cell_codes(choices, self.model.groups)
        return LikelihoodData.of(choices, tuple(self.population.kinds), codes)

    def spec(self) -> dict[str, Any]:
        """Settings that decide the numbers, and the versions that they were made with."""
        of = ", ".join(f"{n} ~ {m.expression}" for n, m in self.model.coefficients.items())
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
        rng = np.random.default_rng([self.seed, index])
        if self.truth is None:
            drawn = prior_draws(self.population, rng, 1)
            truth = {name: value[0, 0] for name, value in drawn.items()}
        else:
            truth = self.truth
        return truth, self._choose(truth, rng)

    def _choose(self, truth: dict[str, np.ndarray], rng: np.random.Generator) -> Choices:
        """Every chooser draws coefficients, and answers as in the design."""
        choices = self.choices
        data = self.data(choices)
        all_once = Copies(np.arange(choices.n_situations), data.unit)
        one = {name: np.asarray(value)[None] for name, value in truth.items()}
        (answers,) = simulate_answers(self.population, self.reading, data, all_once, one, rng)
        if not choices.is_pairs or choices.response.answers_in != "chosen":
            field = choices.response.answers_in
            plain = {"chosen": answers} if field == "chosen" else {field: answers, "chosen": None}
            return replace(choices, **plain)
        turned = np.where(answers[:, None, None] == 0, choices.values, choices.values[:, ::-1])
        first = choices.shown_first
        if first is not None:
            first = np.where(answers == 0, first, -first)
        return replace(choices, values=turned, shown_first=first)

    def records(self, index: int) -> list[dict[str, Any]]:
        """Simulate, fit, compare: one record for each variable."""
        truth, choices = self.simulate(index)
        seed = int(np.random.default_rng([self.seed, index, 1]).integers(2**31))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SamplingWarning)  # the method of each is recorded
            if self.sampler is None:
                draws = -(-self.draws // _CHAINS)
                found = sample(
                    self.population, self.data(choices), self.reading, "auto", seed, draws,
                    _WARMUP, _CHAINS, False,
                )  # fmt: skip
                likelihood, method = found.likelihood, found.method
                drawn = {n: v.reshape(-1, *v.shape[2:]) for n, v in found.variables.items()}
            else:
                likelihood, method = None, "sampler"
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
                values = self._log_likelihood(choices, both, likelihood)
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
        population = self.population
        cells = [" | ".join(cell.values()) for cell in cell_labels(population, self.choices)]
        levels = {f"{name}_level": f.levels for name, f in self.choices.groups.items()}
        shown = {each.name: each.dims for each in population.variables() if each.name in truth}
        named = set(self._named())
        out = {}
        for name in [*(n for n in shown if n in named), *(n for n in shown if n not in named)]:
            labels = [name]
            for dim in shown[name]:
                if dim == "cell":
                    own: Sequence[str] = cells
                elif dim == "component":
                    own = [str(k + 1) for k in range(np.shape(truth[name])[0])]
                else:
                    own = levels[dim]
                labels = [f"{label}[{each}]" for label in labels for each in own]
            out[name] = labels
        return out

    def _named(self) -> list[str]:
        """Parameters of the mixing distributions, by their own names."""
        return [
            f"{name}_{parameter}"
            for name, kinds in self.population.kinds.items()
            for parameter in kinds.families[0]().parameters
        ]

    def _at_truth_and_draws(
        self, truth: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray], kept: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Values of every variable: the true ones, then those of the thinned draws."""
        missing = [name for name in self._named() if name in truth and name not in drawn]
        if missing:
            raise InputError(
                f"Expected the sampler to return draws of {self._named()}; got no {missing}."
            )
        return {
            name: np.concatenate([np.asarray(truth[name])[None], drawn[name][kept]])
            for name in truth
            if name in drawn
        }

    def _log_likelihood(
        self, choices: Choices, both: dict[str, np.ndarray], likelihood: Any
    ) -> np.ndarray:
        """Log-likelihood of all data under each draw, also those that the posterior excludes."""
        population, data = self.population, self.data(choices)
        if likelihood is None:
            likelihood = scalar_likelihood(population, data, self.reading)
        with np.errstate(over="ignore"):  # under one that the data exclude many times over
            if isinstance(likelihood, StrengthLikelihood):
                blends = blends_of(population, population.first, both)
                return likelihood.totals(blends, shared_of(population, both))
            return log_likelihoods(likelihood or self._quadrature(data), population, both).sum(1)

    def _quadrature(self, data: LikelihoodData) -> DirectLikelihood:
        families = tuple(kinds.families[0] for kinds in self.population.kinds.values())
        return direct_likelihood(data, families)


def _exactly(prior: Prior) -> str:
    """A prior with all its digits."""
    if prior.given is None:
        return f"{prior.family}({', '.join(map(repr, prior.arguments))})"
    given = prior.given
    shown = {n: np.asarray(getattr(given, n), float).tolist() for n in given.arg_constraints}
    return f"{prior.family}({', '.join(f'{n}={v!r}' for n, v in shown.items())})"


def _known(population: Population, truth: Mixing | Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A known truth as values by variable, one for each cell where there are groups."""
    kinds = population.kinds
    if not all(each.simple for each in kinds.values()) or population.shared:
        raise InputError(
            "A known truth is given for models of one kind of choosers who share nothing else; got "
            "another. Leave truth out: it is then drawn from the prior."
        )
    families = {name: each.families[0] for name, each in kinds.items()}
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
            family(*(float(v) for v in row))  # refuses what is no mixing distribution
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
    whole: dict[str, Any] = {
        name: None if (own := getattr(choices, name)) is None else own[rows]
        for name in ("answer", "ranks", "pair", "shown_first", "chooser")
    }
    design = replace(
        choices,
        **whole,
        values=choices.values[rows],
        chosen=choices.chosen[rows],
        available=choices.available[rows],
        weights=np.ones(len(rows)),
        groups={n: Factor(n, f.codes[rows], f.levels) for n, f in choices.groups.items()},
        situations=None,
        dropped=(),
        notes=(),
    )
    plain = design.response.answers_in == "chosen"
    if plain and design.n_alternatives == 2 and bool(design.available.all()):
        return design.as_pairs()
    return design
