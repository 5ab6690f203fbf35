"""Hierarchical mixed logit: what is random, what is pooled, over what → a NumPyro model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from prefstrength.errors import InputError
from prefstrength.mixing import MIXINGS, LogNormal, Mixing, Normal, PointMass
from prefstrength.quantiles import CellLaws, parameters

if TYPE_CHECKING:
    import pandas as pd

    from prefstrength.choices import Choices
    from prefstrength.fit import Fit
    from prefstrength.measurement import RewardError
    from prefstrength.streaming.compressed import CompressedChoices

__all__ = ["MixedLogit", "Population"]

Likelihood = Any  # PairSketch, PanelTables or DirectLikelihood: .total(laws)


@dataclass(frozen=True)
class Population:
    """The population level of a model on given data: what the NumPyro model samples.

    Parameters
    ----------
    families : dict
        Family of each attribute's coefficient.
    scales : dict
        Root mean square of each attribute's differences, on which the priors are stated.
    factors : dict
        Number of levels of each factor of the groups.
    cells : numpy.ndarray, shape (cell, factor)
        Level codes of the observed cells.
    centring : dict
        For each factor, how far its shifts are centred (0: not, 1: fully), from the amount of
        data a level holds; it changes the geometry that the sampler sees, not the model.
    priors : dict
        Distributions by variable name, in place of the defaults.
    """

    families: dict[str, type[Mixing]]
    scales: dict[str, float]
    factors: dict[str, int]
    cells: np.ndarray
    centring: dict[str, float]
    priors: dict[str, dist.Distribution] = field(default_factory=dict)

    def prior(self) -> dict[str, dist.Distribution]:
        """Prior of every population-level variable that has one of its own."""
        table: dict[str, dist.Distribution] = {}
        for name, family in self.families.items():
            scale = self.scales[name]
            log_scale = family.positive
            unit = 1.0 if log_scale else 1.0 / scale
            log = jnp.log if isinstance(scale, jax.Array) else np.log  # traced, or a number
            table[f"{name}_location"] = (
                dist.Normal(-log(scale), 1.0) if log_scale else dist.Normal(0.0, 2.0 * unit)
            )
            if family is not PointMass:
                table[f"{name}_dispersion"] = dist.HalfNormal(unit)
            for factor in self.factors:
                table[f"{name}_location_sd_{factor}"] = dist.HalfNormal(0.5 * unit)
                if family is not PointMass:
                    table[f"{name}_dispersion_sd_{factor}"] = dist.HalfNormal(0.5)
        for key, prior in self.priors.items():
            table[_alias(key, self.families)] = prior
        return table

    def sample(self) -> tuple[CellLaws, ...]:
        """NumPyro statements for the population level; returns the laws in every cell."""
        prior = self.prior()
        laws = []
        for name, family in self.families.items():
            location = numpyro.sample(f"{name}_location", prior[f"{name}_location"])
            location = self._shifted(name, "location", location, prior)
            dispersion = None
            if family is not PointMass:
                base = numpyro.sample(f"{name}_dispersion", prior[f"{name}_dispersion"])
                dispersion = jnp.exp(self._shifted(name, "dispersion", jnp.log(base), prior))
            laws.append(CellLaws(family, location, dispersion))
            shown = parameters(family, location, dispersion)
            for parameter, value in shown.items():
                numpyro.deterministic(f"{name}_{parameter}", value if self.factors else value[0])
        return tuple(laws)

    def centring_of(self, factor: str, what: str) -> float:
        """How far shifts of locations or dispersions are centred; on these the data say less."""
        return self.centring[factor] * (1.0 if what == "location" else 0.5)

    def _shifted(
        self, name: str, what: str, base: jax.Array, prior: Mapping[str, dist.Distribution]
    ) -> jax.Array:
        """The base, shifted by the levels of every factor; shape (cell,)."""
        value = jnp.broadcast_to(base, (len(self.cells),))
        for column, (factor, levels) in enumerate(self.factors.items()):
            sd = numpyro.sample(f"{name}_{what}_sd_{factor}", prior[f"{name}_{what}_sd_{factor}"])
            # Partly centred: raw ~ ZeroSumNormal(sd^c), shift = sd^(1-c) raw, the same law for
            # every c. Papaspiliopoulos, Roberts, Skoeld (2007).
            c = self.centring_of(factor, what)
            raw = numpyro.sample(
                f"{name}_{what}_raw_{factor}", dist.ZeroSumNormal(sd**c, (levels,))
            )
            shift = numpyro.deterministic(f"{name}_{what}_{factor}", sd ** (1 - c) * raw)
            value = value + shift[self.cells[:, column]]
        return value


def _alias(key: str, families: Mapping[str, type[Mixing]]) -> str:
    """Variable that a prior is meant for: ``reward_mu`` is the location of a LogNormal."""
    for name, family in families.items():
        if family in (LogNormal, Normal):
            names = {f"{name}_mu": f"{name}_location", f"{name}_sigma": f"{name}_dispersion"}
            key = names.get(key, key)
        if family is PointMass and key == f"{name}_value":
            key = f"{name}_location"
    return key


@dataclass(frozen=True)
class MixedLogit:
    """A mixed logit model of choices.

    Utility of an alternative is the sum of its attributes, each times a coefficient; the
    coefficient follows a mixing distribution over choosers (over situations, where choosers
    are not known). Repeated situations of one chooser share one draw.

    Groups shift both the location and the dispersion of every mixing distribution, partially
    pooled: ``location = base + sum of the levels' shifts`` (zero-sum Normal shifts with an
    inferred sd for each factor), and the same for log dispersion.

    Parameters
    ----------
    coefficients : dict
        Attribute name to mixing distribution without parameters, such as
        ``{"reward": LogNormal()}``.
    groups : sequence of str
        Factors of the :class:`~prefstrength.Choices` that shift the distributions.
    priors : dict, optional
        NumPyro distributions by variable name, in place of the defaults that
        :meth:`prior_table` shows.
    errors : dict, optional
        Attribute name to :class:`~prefstrength.RewardError`: the attribute's differences are
        measured with error, and the true ones are integrated out (errors in variables). For
        models of pairs with one attribute.

    Raises
    ------
    InputError
        If a mixing distribution carries parameters, nothing is given, or errors are given for
        something else than the model's one attribute.

    Notes
    -----
    Default priors, with s the root mean square of the attribute's differences: LogNormal
    location (mu) Normal(-log s, 1), dispersion (sigma) HalfNormal(1); Gamma and InverseGaussian
    log mean Normal(-log s, 1), coefficient of variation HalfNormal(1); Normal mu Normal(0, 2/s),
    sigma HalfNormal(1/s); PointMass value Normal(0, 2/s). Standard deviations of group shifts:
    HalfNormal(0.5), in units of 1/s for Normal and PointMass locations. With ``errors`` s is the
    root mean square of the true differences.

    References
    ----------
    .. [1] Train (2009), Discrete Choice Methods with Simulation, ch. 6 and 12.

    Examples
    --------
    >>> from prefstrength import LogNormal, MixedLogit, simulate
    >>> choices = simulate(LogNormal(mu=0.0, sigma=0.7), choosers=50, situations=10, seed=1)
    >>> model = MixedLogit({"reward": LogNormal()})
    >>> model.prior_table(choices)["prior"].tolist()
    ['Normal(-0.34, 1)', 'HalfNormal(1)']
    """

    coefficients: Mapping[str, Mixing]
    groups: Sequence[str] = ()
    priors: Mapping[str, dist.Distribution] | None = None
    errors: Mapping[str, "RewardError"] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.groups, str):
            object.__setattr__(self, "groups", (self.groups,))
        object.__setattr__(self, "groups", tuple(self.groups))
        if not self.coefficients:
            raise InputError(
                "Expected at least one attribute with a mixing distribution; got none. "
                'Give for example {"reward": LogNormal()}.'
            )
        for name, mixing in self.coefficients.items():
            if isinstance(mixing, type) or not isinstance(mixing, Mixing):
                raise TypeError(
                    f"Expected a mixing distribution for {name!r}, such as LogNormal(); "
                    f"got {mixing!r}."
                )
            if type(mixing) not in MIXINGS.values():
                raise InputError(
                    f"MixedLogit infers {', '.join(MIXINGS)}; got {mixing!r} for {name!r}, a law "
                    "made of laws, which choice probabilities and training know but no fit. "
                    "Fit its main part alone, such as LogNormal()."
                )
            if mixing.known:
                raise InputError(
                    f"Expected a mixing distribution to be inferred for {name!r}; got "
                    f"{mixing!r}, a known law. Leave its parameters out."
                )
        if len(set(self.groups)) != len(self.groups):
            raise InputError(f"Expected each group once; got {list(self.groups)}.")
        if self.errors:
            self._check_errors()

    def _check_errors(self) -> None:
        from prefstrength.measurement import RewardError

        assert self.errors is not None
        if not isinstance(self.errors, Mapping):
            (name, *_) = self.coefficients
            raise TypeError(
                "Expected errors by the name of their attribute; got "
                f"{type(self.errors).__name__}. Write errors={{{name!r}: error}}."
            )
        if len(self.coefficients) > 1 or set(self.errors) != set(self.coefficients):
            raise InputError(
                "Expected errors of the model's one attribute; got errors of "
                f"{list(self.errors)} and attributes {list(self.coefficients)}. Leave the other "
                "attributes out, or fit without errors."
            )
        for name, error in self.errors.items():
            if not isinstance(error, RewardError):
                raise TypeError(
                    f"Expected a RewardError for {name!r}, such as measurement_error gives or "
                    f"RewardError(sd=0.5); got {error!r}."
                )

    @property
    def error_sd(self) -> dict[str, float]:
        """Standard deviation of the errors of each attribute that has any."""
        return {name: error.sd for name, error in (self.errors or {}).items() if error.sd > 0}

    def population(self, choices: "Choices | CompressedChoices") -> Population:
        """Population level of this model on the given data."""
        from prefstrength.choices import Choices
        from prefstrength.streaming.compressed import CompressedChoices

        if not isinstance(choices, Choices | CompressedChoices):
            raise TypeError(
                f"Expected Choices or CompressedChoices; got {type(choices).__name__}. "
                "Make them of a table with Choices.from_pairs(frame, chooser=...)."
            )
        missing = [name for name in self.coefficients if name not in choices.attributes]
        if missing:
            raise InputError(
                f"Expected attributes among {list(choices.attributes)}; got {missing}. "
                "Name them when the choices are made: "
                f"Choices.from_pairs(frame, attributes={missing})."
            )
        absent = [name for name in self.groups if name not in choices.groups]
        if absent:
            raise InputError(
                f"Expected groups among {list(choices.groups)}; got {absent}. "
                f"Name them when the choices are made: Choices.from_pairs(frame, groups={absent})."
            )
        slashed = [name for name in (*self.coefficients, *self.groups) if "/" in name]
        if slashed:
            raise InputError(
                "Expected names of attributes and groups without '/', which separates the groups "
                f"of a DataTree; got {slashed}. Rename the columns."
            )
        factors = {name: len(choices.groups[name].levels) for name in self.groups}
        lonely = [name for name, levels in factors.items() if levels < 2]
        if lonely:
            raise InputError(
                f"Expected groups with at least two levels; got one level in {lonely}. "
                "A group of one level explains nothing: leave it out."
            )
        scales = {name: choices.scale(name) for name in self.coefficients}
        for name, sd in self.error_sd.items():
            scales[name] = _true_scale(choices, name, sd)
        cells, _ = cell_codes(choices, self.groups)
        families = {name: type(mixing) for name, mixing in self.coefficients.items()}
        population = Population(
            families=families,
            scales=scales,
            factors=factors,
            cells=cells,
            centring={name: _centring(choices, name) for name in self.groups},
            priors=dict(self.priors or {}),
        )
        known = population.prior()
        own = {_alias(key, families): key for key in self.priors or {}}
        default = Population(**{**population.__dict__, "priors": {}}).prior()
        unknown = [key for alias, key in own.items() if alias not in default]
        if unknown:
            raise InputError(
                f"Expected priors for {list(default)}; got {unknown}. Correct the names."
            )
        for name, prior in known.items():
            if not isinstance(prior, dist.Distribution):
                raise TypeError(f"Expected a NumPyro distribution for {name}; got {prior!r}.")
            if prior.batch_shape or prior.event_shape:
                raise InputError(
                    f"Expected a prior on a single number for {name}; got one of shape "
                    f"{prior.batch_shape + prior.event_shape}. Groups are pooled by the model."
                )
            spread = name not in {f"{attribute}_location" for attribute in families}
            if spread and bool(prior.support(-1e-3)):
                raise InputError(
                    f"Expected a prior on positive numbers for {name}; got {describe(prior)}. "
                    "Take for example a HalfNormal or a LogNormal."
                )
        return population

    def numpyro_model(self, choices: "Choices") -> Callable[[Likelihood], None]:
        """The NumPyro model: a function of the likelihood (``prefstrength.likelihood``)."""
        self.refuse_errors("numpyro_model")
        population = self.population(choices)

        def model(likelihood: Likelihood) -> None:
            laws = population.sample()
            numpyro.factor("choices", likelihood.total(laws))

        return model

    def refuse_errors(self, what: str) -> None:
        """Refuse a model with errors in its attribute where they would be ignored."""
        if self.error_sd:
            raise InputError(
                f"{what} expects a model without errors in the rewards, which it would ignore; got "
                f"errors of {list(self.error_sd)}. Use fit, or leave errors out."
            )

    def prior_table(self, choices: "Choices") -> "pd.DataFrame":
        """The priors, on the scale of the given data.

        Returns
        -------
        pandas.DataFrame
            Columns variable, prior.
        """
        import pandas as pd

        table = self.population(choices).prior()
        return pd.DataFrame(
            {"variable": list(table), "prior": [describe(prior) for prior in table.values()]}
        )

    def fit(
        self,
        choices: "Choices | CompressedChoices",
        method: str = "auto",
        seed: int = 0,
        **options: Any,
    ) -> "Fit":
        """Infer the posterior; see :func:`prefstrength.inference.fit` for the options."""
        from prefstrength.inference import fit  # inference imports models, not the reverse

        return fit(self, choices, method=method, seed=seed, **options)


def _true_scale(choices: "Choices | CompressedChoices", name: str, sd: float) -> float:
    """Root mean square of the true differences."""
    from prefstrength.choices import Choices

    if not isinstance(choices, Choices):
        raise InputError(
            "Errors in the rewards need the choices themselves; got compressed choices, which are "
            "sums for rewards without error. Fit Choices.from_pairs(...)."
        )
    if choices.n_alternatives != 2 or not choices.available.all():
        raise InputError(
            "Errors in the rewards need pairs; got situations with up to "
            f"{choices.n_alternatives} alternatives. Make pairs, or leave errors out."
        )
    scale = choices.scale(name)
    if not sd < scale:
        raise InputError(
            f"Expected errors of {name!r} smaller than its differences, whose root mean square is "
            f"{scale:.4g}; got an error sd of {sd:.4g}, which leaves nothing to be true. Check "
            "that both are in the same unit: measurement_error(...).combine(pairs) gives the "
            "rewards that its sd belongs to."
        )
    return float(np.sqrt(scale**2 - sd**2))


def describe(prior: dist.Distribution) -> str:
    """A distribution in a few characters.

    Examples
    --------
    >>> import numpyro.distributions as dist
    >>> describe(dist.Normal(0.0, 2.5))
    'Normal(0, 2.5)'
    """
    shown = ", ".join(
        f"{float(getattr(prior, name)):.2g}"
        for name in prior.arg_constraints
        if np.ndim(getattr(prior, name)) == 0
    )
    return f"{type(prior).__name__}({shown})"


def cell_codes(
    choices: "Choices | CompressedChoices", groups: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Observed cells of crossed factors.

    Returns
    -------
    cells : numpy.ndarray, shape (cell, factor)
        Level codes of every observed combination.
    codes : numpy.ndarray, shape (situation,)
        Cell of every situation; of compressed choices, of every row.
    """
    if not groups:
        return np.zeros((1, 0), dtype=np.int64), np.zeros(len(choices.weights), dtype=np.int64)
    stacked = np.stack([choices.groups[name].codes for name in groups], axis=1)
    cells, codes = np.unique(stacked, axis=0, return_inverse=True)
    return cells.astype(np.int64), codes.reshape(-1).astype(np.int64)


def _centring(choices: "Choices | CompressedChoices", factor: str) -> float:
    """Share of the information on a level's shift that comes from its own data."""
    codes = choices.groups[factor].codes
    levels = len(choices.groups[factor].levels)
    situations = np.bincount(codes, weights=choices.weights, minlength=levels)
    information = 0.15 * situations  # of a choice on log strength, at strengths around 1 to 2
    if choices.chooser is not None:
        pairs = np.unique(np.stack([codes, choices.chooser]), axis=1)[0]
        choosers = np.bincount(pairs, minlength=levels)
        # Choosers differ by about 0.6 in log strength, whatever their number of choices.
        information = 1 / (1 / np.maximum(information, 1e-9) + 0.36 / np.maximum(choosers, 1))
    return float(np.median(information / (information + 1 / 0.12**2)))
