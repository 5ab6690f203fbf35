"""Ways to the posterior; each gives the same :class:`~prefstrength.Fit`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np

from prefstrength._shared.records import versions
from prefstrength._shared.words import listed, warn
from prefstrength.choice.mixing.base import Mixing
from prefstrength.data.choices import Choices
from prefstrength.data.compressed.sums_of_pairs import CompressedChoices
from prefstrength.data.factor import Dropped
from prefstrength.data.measurement_error import RewardError
from prefstrength.data.plausibility import Direction, direction, goes_against
from prefstrength.errors import InputError
from prefstrength.inference.datatree import assemble, cell_labels
from prefstrength.inference.methods import METHODS
from prefstrength.inference.population import Population, cell_codes
from prefstrength.inference.sampled import TOLERANCE, Sampled
from prefstrength.inference.sampling import sample, scalar_likelihood
from prefstrength.likelihood.compressed import CompressedData
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.sources import Reading
from prefstrength.posterior.fit import Fit

__all__ = ["METHODS", "Model", "fit", "sample_population"]


class Model(Protocol):
    """What can be fitted: a model that knows its population level, such as MixedLogit."""

    @property
    def coefficients(self) -> Mapping[str, Mixing]:
        """Attribute to the mixing distribution of its coefficient."""

    @property
    def groups(self) -> Sequence[str]:
        """Factors that shift the mixing distributions."""

    @property
    def errors(self) -> Mapping[str, RewardError] | None:
        """Attribute to what is known of the errors it is measured with."""

    @property
    def error_sd(self) -> dict[str, float]:
        """Attribute to the sd of the errors of its differences."""

    def population(self, choices: Choices | CompressedChoices) -> Population:
        """Population level, for given data."""

    def reading(self, choices: Choices | CompressedChoices) -> Reading:
        """How the answers of given data are read."""


# Share of the variance of a cell's differences that is no error, below which the fit warns.
_LEAST_RELIABILITY = 0.05
# Single answers from which a share of a tenth can be told from none, within a few hundredths.
_FEW_SINGLES = 2_000


def fit(
    model: Model,
    choices: Choices | CompressedChoices,
    method: str = "auto",
    seed: int = 0,
    *,
    draws: int = 500,
    warmup: int = 300,
    chains: int = 4,
    progress: bool = True,
) -> Fit:
    """Infer the posterior of a mixed logit model.

    Parameters
    ----------
    model : MixedLogit
    choices : Choices or CompressedChoices
    method : {"auto", "importance", "nuts", "latent", "laplace", "svi"}
        ``"importance"``: importance sampling around the mode, for a few parameters; its Pareto
        k says whether it holds. ``"nuts"``: NUTS on the population level, the coefficients
        being integrated out. ``"latent"``: NUTS on population and choosers together, for any
        number of random attributes. ``"laplace"``: a Gaussian at the mode (MAP), a quick look.
        ``"svi"``: a Gaussian on the population level fitted by mini-batches of choosers, for
        many choosers and several random attributes.
        ``"auto"``: importance sampling where there are at most 60 parameters (24 where NUTS is
        as fast), k < 0.7 and 1000 effective draws, else NUTS; where the coefficients cannot be
        integrated out (three and more random attributes) ``"latent"``, or ``"svi"`` beyond 20,000
        draws of choosers; the fit says which and why.
    seed : int
        Same seed, same numbers.
    draws, warmup, chains : int
        Posterior draws of each chain, adaptation steps, chains.
    progress : bool
        Show progress bars.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If the model asks for what the data do not hold, or an option is out of range.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=60, situations=10)
    >>> model = ps.MixedLogit({"reward": ps.LogNormal()})
    >>> dict(model.fit(choices, seed=0, progress=False).posterior.sizes)
    {'chain': 4, 'draw': 500}
    """
    choices = counted(choices)
    work = Work.of(model, choices)
    population, data = work.population, work.data
    directions = _directions(model, choices)
    _warn_of_error_alone(population, choices, data)
    _warn_of_lapses_alone(work, choices)
    found = sample(population, data, work.reading, method, seed, draws, warmup, chains, progress)
    tree = assemble(population, work.reading, choices, data, found, seed)
    options = {"seed": seed, "draws": draws, "chains": chains}
    options["warmup"] = warmup if found.statistics else 0
    return Fit(tree, _spec(model, choices, work, found, options, directions))


def sample_population(
    model: Model,
    choices: Choices | CompressedChoices,
    method: str = "auto",
    seed: int = 0,
    *,
    draws: int = 500,
    warmup: int = 300,
    chains: int = 4,
    progress: bool = False,
) -> Sampled:
    """Draws of the population level alone: what :func:`fit` rests on, for fits by the hundred.

    Parameters are those of :func:`fit`. No predictions, no chooser level, no pointwise
    likelihood.
    """
    work = Work.of(model, counted(choices))
    return sample(
        work.population, work.data, work.reading, method, seed, draws, warmup, chains, progress
    )


def counted(choices: Choices | CompressedChoices) -> Choices | CompressedChoices:
    """The choices that have a weight; those of weight 0 are counted as left out."""
    if not isinstance(choices, Choices):
        return choices  # sums, or what the model refuses
    weight = choices.weights
    if choices.chooser_weights is not None and choices.chooser is not None:
        weight = weight * choices.chooser_weights[choices.chooser]
    without = int(np.count_nonzero(weight == 0))
    if not without:
        return choices
    dropped = (*choices.dropped, Dropped("weight 0", without))
    return replace(choices.subset(weight > 0), dropped=dropped)


@dataclass(frozen=True)
class Work:
    """A model on given data.

    Parameters
    ----------
    population : Population
    reading : Reading
    data : LikelihoodData
        Its attributes in the order of the population's.
    """

    population: Population
    reading: Reading
    data: LikelihoodData

    @classmethod
    def of(cls, model: Model, choices: Choices | CompressedChoices) -> "Work":
        """Check that they belong together, and put the data in order."""
        population, reading = model.population(choices), model.reading(choices)
        _, codes = cell_codes(choices, model.groups)
        if isinstance(choices, CompressedChoices):
            data: LikelihoodData = CompressedData.of_compressed(choices, codes)
        else:
            data = LikelihoodData.of(choices, tuple(population.kinds), codes)
        for name, sd in model.error_sd.items():
            data = data.measured_with(sd, name)
        return cls(population, reading, data)


def traced_likelihood(
    model: Model, choices: Choices | CompressedChoices, widest: float = 3.0
) -> Any:
    """Log-likelihood in JAX for :meth:`MixedLogit.numpyro_model`, from the tables of every fit.

    Parameters
    ----------
    model, choices
    widest : float
        Largest dispersion that is resolved: of log strength where strengths are positive.

    Returns
    -------
    TracedTables
        To be used where JAX computes in float64.

    Raises
    ------
    InputError
        If several coefficients differ between choosers.
    """
    from prefstrength.likelihood.traced_tables import TracedTables

    work = Work.of(model, choices)
    likelihood = scalar_likelihood(work.population, work.data, work.reading)
    if likelihood is None:
        raise InputError(
            "Tables over strength expect that one coefficient at most differs between choosers; "
            f"got {', '.join(work.population.random)}. Make the others PointMass()."
        )
    return TracedTables.of(likelihood, widest)


def _errors(model: Model, data: LikelihoodData) -> dict[str, Any]:
    """What a fit keeps of the errors in its attribute; nothing where there are none."""
    if data.truth is None:
        return {}
    (name,) = model.coefficients
    error = (model.errors or {})[name]
    kept = {
        **error.as_json(),
        "reliability_here": data.reliability,
        "shares": data.truth.shares.tolist(),
        "variances": data.truth.variances.tolist(),
    }
    return {"errors": {name: kept}}


def _directions(model: Model, choices: Choices | CompressedChoices) -> dict[str, Direction]:
    """Which way the choices go with each attribute; of compressed choices nothing is known.

    Warns
    -----
    DataWarning
        If they go against one whose coefficient the model takes for positive. Of a reward the
        choices themselves warn, when they are read.
    """
    if isinstance(choices, CompressedChoices):
        return {}
    found = {name: direction(choices, name) for name in model.coefficients}
    known = {name: each for name, each in found.items() if each is not None}
    for name, each in known.items():
        kinds = model.coefficients[name].kinds
        if each.against and kinds.random and kinds.positive and "reward" not in name.casefold():
            warn(goes_against(name, each))
    return known


def _warn_of_error_alone(
    population: Population, choices: Choices | CompressedChoices, data: LikelihoodData
) -> None:
    """Say which cells of the groups have differences that may be error and nothing else."""
    if data.truth is None:
        return
    lost = data.truth.reliability_of_cells < _LEAST_RELIABILITY
    cells = [
        " and ".join(f"{factor}={level}" for factor, level in levels.items())
        for levels, alone in zip(cell_labels(population, choices), lost, strict=True)
        if alone
    ]
    if cells:
        warn(
            f"The differences of {population.first!r} are no larger than their "
            f"errors (sd {data.truth.sd:.3g}) in {listed(cells, most=3)}: hardly anything that was "
            "chosen there counts, and its strength is that of the other levels. An error that "
            "was estimated from all pairs may be too large there. Fit these pairs alone, with an "
            "error of their own."
        )


def _warn_of_lapses_alone(work: Work, choices: Choices | CompressedChoices) -> None:
    """Say what a few answers of people who answer once leave open."""
    kinds = work.population.kinds.values()
    asked = [
        what
        for what, there in (
            ("answers at random (lapse)", work.reading.lapse),
            ("indifferent choosers (ZeroMass)", any(each.zero for each in kinds)),
        )
        if there
    ]
    repeated = work.data.panel and work.data.units < choices.n_situations
    if asked and not repeated and choices.n_situations < _FEW_SINGLES:
        warn(
            f"A share of {' and of '.join(asked)} shows in choosers who answer repeatedly; got "
            f"{choices.n_situations} situations of people who answer once, which hardly tell it "
            "from strengths that differ, so that its prior decides. Name the choosers, or leave "
            "it out."
        )


def _spec(
    model: Model,
    choices: Choices | CompressedChoices,
    work: Work,
    found: Sampled,
    options: Mapping[str, Any],
    directions: Mapping[str, Direction],
) -> dict[str, Any]:
    """Model, data, method and versions, as a fit keeps them."""
    population, data = work.population, work.data
    return {
        "coefficients": {name: each.expression for name, each in model.coefficients.items()},
        "groups": list(model.groups),
        "cells": cell_labels(population, choices),
        "priors": {name: str(prior) for name, prior in population.prior().items()},
        "scales": population.scales,
        "shared": {each.name: each.meaning for each in population.shared},
        "response": {
            "name": data.response.name,
            "answers": list(data.response.answers),
            "settings": data.response.settings,
        },
        **_errors(model, data),
        "method": found.method,
        "reason": found.reason,
        "likelihood": {"how": found.how, "error": found.error, "tolerance": TOLERANCE},
        **options,
        **found.extra,
        "data": {
            "situations": choices.n_situations,
            "choosers": choices.n_choosers,
            "alternatives": choices.n_alternatives,
            "levels": {name: list(choices.groups[name].levels) for name in model.groups},
            "dropped": [{"reason": d.reason, "count": int(d.count)} for d in choices.dropped],
            "hash": choices.content_hash(),
            "direction": {name: asdict(each) for name, each in directions.items()},
            **(data.note() if isinstance(data, CompressedData) else {}),
        },
        "versions": versions("prefstrength", "jax", "numpyro", "arviz", "numpy", "xarray"),
    }
