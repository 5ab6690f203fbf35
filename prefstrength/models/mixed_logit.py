"""Hierarchical mixed logit: what is random, what is pooled, over what → a NumPyro model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.choice.responses.base import PairResponse
from prefstrength.choice.responses.pair import Pair
from prefstrength.choice.utility import Linear, utility_of
from prefstrength.errors import InputError
from prefstrength.inference.distinct_names import require_distinct
from prefstrength.inference.population import Population, cell_codes
from prefstrength.inference.priors import Prior, prior_of
from prefstrength.likelihood.sources import Reading

if TYPE_CHECKING:
    import numpyro.distributions as dist
    import pandas as pd

    from prefstrength.data.choices import Choices
    from prefstrength.data.compressed.sums_of_pairs import CompressedChoices
    from prefstrength.data.measurement_error import RewardError
    from prefstrength.posterior.fit import Fit

__all__ = ["POSITIONS", "MixedLogit"]

#: Ways in which being shown first may count.
POSITIONS = ("shared", "chooser")


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
    lapse : bool
        Whether a share of everybody's answers is given at random (the psychometric function's
        lapse rate), each answer being as likely as any other then.
    utility : {"linear", "power", "capped", "spline"}
        How the utility of a reward difference grows with its size, alike for all choosers; see
        :mod:`prefstrength.choice.utility`. For pairs.
    position : {None, "shared", "chooser"}
        Whether the response that was shown first is preferred for that: by the same log odds by
        all choosers, or by each chooser's own, which are Normal over choosers. Needs choices that
        know it: ``Choices.from_pairs(..., first=...)``.
    pair_effects : bool
        Whether the two responses of a pair differ by more than the attributes say, alike to all who
        judge it: a Normal effect of each pair. Needs choices that know the pair, and samples
        choosers and pairs (``method="latent"``).

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
    sigma HalfNormal(1/s); PointMass value Normal(0, 2/s), PositivePointMass log value that of
    LogNormal's location, beside which it stands for DPO. Standard deviations of group shifts:
    HalfNormal(0.5), in units of 1/s for Normal and PointMass locations. With ``errors`` s is the
    root mean square of the true differences. Share of strength 0 (ZeroMass) Beta(1, 4), shares of
    kinds (FiniteMixture) uniform, lapse Beta(1, 9), power LogNormal(0, 0.3).

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
    priors: "Mapping[str, dist.Distribution] | None" = None
    errors: Mapping[str, "RewardError"] | None = None
    lapse: bool = False
    utility: str = "linear"
    position: str | None = None
    pair_effects: bool = False

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
            if any(family not in MIXINGS.values() for family in mixing.kinds.families):
                raise InputError(
                    f"MixedLogit infers {', '.join(MIXINGS)} and what is made of them; got "
                    f"{mixing!r} for {name!r}. A family of your own is registered first: "
                    "prefstrength.choice.mixing.families.register."
                )
            if mixing.known:
                raise InputError(
                    f"Expected a mixing distribution to be inferred for {name!r}; got "
                    f"{mixing!r}, which is known. Leave its parameters out."
                )
        if len(set(self.groups)) != len(self.groups):
            raise InputError(f"Expected each group once; got {list(self.groups)}.")
        if self.errors:
            self._check_errors()
        self._check_kinds()

    def _check_kinds(self) -> None:
        """Refuse what cannot be told, or asked, of several random coefficients."""
        utility_of(self.utility)
        if self.position not in (None, *POSITIONS):
            raise InputError(
                f"Expected position to be None, 'shared' or 'chooser'; got {self.position!r}."
            )
        kinds = {name: mixing.kinds for name, mixing in self.coefficients.items()}
        several = [name for name, each in kinds.items() if not each.simple or each.lapse]
        random = [name for name, each in kinds.items() if each.random]
        mixed = [name for name, each in kinds.items() if len(set(each.families)) > 1]
        beside = [
            name for name in self._in_order()[1:] if kinds[name].positive and name not in random
        ]
        if beside:
            raise InputError(
                "PositivePointMass() is the strength of a model in which choosers do not differ; "
                f"got it for {', '.join(beside)} besides. Make other attributes PointMass()."
            )
        if mixed and self.groups:
            raise InputError(
                "Groups shift kinds of choosers of one family; got different ones for "
                f"{', '.join(mixed)}. Make them of one family, or leave groups out."
            )
        if several and len(random) > 1:
            raise InputError(
                "Several kinds of choosers, or lapses, expect that one coefficient at most differs "
                f"between choosers; got {', '.join(random)}. Make the others PointMass()."
            )
        asked = [
            name
            for name in ("lapse", "position", "pair_effects")
            if getattr(self, name) and self.errors
        ]
        if self.errors and (asked or self.utility != "linear" or several):
            raise InputError(
                "A model with errors in the rewards expects one kind of choosers and nothing else "
                f"that bends the choice curve; got {', '.join(asked) or 'more'}. Leave one out."
            )

    @property
    def _lapses(self) -> bool:
        return self.lapse or any(mixing.kinds.lapse for mixing in self.coefficients.values())

    def reading(self, choices: "Choices | CompressedChoices") -> Reading:
        """How the answers of given choices are read: what all choosers share beside strength."""
        response = getattr(choices, "response", None) or Pair()
        pair = isinstance(response, PairResponse)
        utility = utility_of(self.utility)
        if not pair and (not isinstance(utility, Linear) or self._lapses or self.position):
            raise InputError(
                "lapse, utility and position expect answers to pairs; got "
                f"{response.name} among up to {choices.n_alternatives} alternatives. Leave them "
                "out, or make pairs."
            )
        if self.position and getattr(choices, "shown_first", None) is None:
            raise InputError(
                f"`position={self.position!r}` expects choices that know which response was shown "
                "first; got none that do. Name the column: `Choices.from_pairs(frame, first=...)`."
            )
        if self.pair_effects and getattr(choices, "pair", None) is None:
            raise InputError(
                "pair_effects expects choices that know which pair was judged; got none that do. "
                "Name the column: `Choices.from_pairs(frame, pair=...)`."
            )
        others = [name for name in self._in_order() if name != self._in_order()[0]]
        fixed = tuple(others) if not self.groups and self._one_random() else ()
        return Reading(response, utility, self._lapses, self.position, self.pair_effects, fixed)

    def _one_random(self) -> bool:
        return sum(mixing.kinds.random for mixing in self.coefficients.values()) <= 1

    def _in_order(self) -> list[str]:
        """Attributes, the first one that choosers differ in in front."""
        names = list(self.coefficients)
        random = [name for name in names if self.coefficients[name].kinds.random]
        positive = [name for name in names if self.coefficients[name].kinds.positive]
        first = (random or positive or names)[0]
        return [first, *(name for name in names if name != first)]

    def _check_errors(self) -> None:
        from prefstrength.data.measurement_error import RewardError

        assert self.errors is not None
        if not isinstance(self.errors, Mapping):
            (name, *_) = self.coefficients
            raise TypeError(
                "Expected errors by the name of their attribute; got "
                f"{type(self.errors).__name__}. Write `errors={{{name!r}: error}}`."
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
                    f"`RewardError(sd=0.5)`; got {error!r}."
                )

    @property
    def error_sd(self) -> dict[str, float]:
        """Standard deviation of the errors of each attribute that has any."""
        return {name: error.sd for name, error in (self.errors or {}).items() if error.sd > 0}

    def population(self, choices: "Choices | CompressedChoices") -> Population:
        """Population level of this model on the given data."""
        from prefstrength.data.choices import Choices
        from prefstrength.data.compressed.sums_of_pairs import CompressedChoices

        if not isinstance(choices, Choices | CompressedChoices):
            raise TypeError(
                f"Expected Choices or CompressedChoices; got {type(choices).__name__}. "
                "Make them of a table with `Choices.from_pairs(frame, chooser=...)`."
            )
        missing = [name for name in self.coefficients if name not in choices.attributes]
        if missing:
            raise InputError(
                f"Expected attributes among {list(choices.attributes)}; got {missing}. "
                "Name them when the choices are made: "
                f"`Choices.from_pairs(frame, attributes={missing})`."
            )
        absent = [name for name in self.groups if name not in choices.groups]
        if absent:
            raise InputError(
                f"Expected groups among {list(choices.groups)}; got {absent}. "
                "Name them when the choices are made: "
                f"`Choices.from_pairs(frame, groups={absent})`."
            )
        slashed = [name for name in (*self.coefficients, *self.groups) if "/" in name]
        if slashed:
            raise InputError(
                "Expected names of attributes and groups without '/', which separates the groups "
                f"of a DataTree; got {slashed}. Rename the columns."
            )
        require_distinct(
            {
                name: [each for family in mixing.kinds.families for each in family().parameters]
                for name, mixing in self.coefficients.items()
            },
            self.groups,
            [each.name for each in self.reading(choices).shared],
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
        kinds = {name: self.coefficients[name].kinds for name in self._in_order()}
        population = Population(
            kinds=kinds,
            scales=scales,
            factors=factors,
            cells=cells,
            centring={name: _centring(choices, name) for name in self.groups},
            shared=self.reading(choices).shared,
        )
        return replace(population, priors=self._own_priors(population))

    def _own_priors(self, population: Population) -> dict[str, Prior]:
        """The user's priors, by the variables that they are meant for."""
        default = population.prior()
        own = {key: population.alias(key) for key in self.priors or {}}
        unknown = [key for key, name in own.items() if name not in default]
        if unknown:
            raise InputError(
                f"Expected priors for {list(default)}; got {unknown}. Correct the names."
            )
        found = {}
        for key, given in (self.priors or {}).items():
            import numpyro.distributions as dist

            name = own[key]
            if not isinstance(given, dist.Distribution):
                raise TypeError(f"Expected a NumPyro distribution for {name}; got {given!r}.")
            if given.batch_shape or given.event_shape:
                raise InputError(
                    f"Expected a prior on a single number for {name}; got one of shape "
                    f"{given.batch_shape + given.event_shape}. Groups are pooled by the model."
                )
            positive = default[name].support != "real"
            if positive and bool(given.support(-1e-3)):
                raise InputError(
                    f"Expected a prior on positive numbers for {name}; got {prior_of(given)}. "
                    "Take for example a HalfNormal or a LogNormal."
                )
            found[name] = prior_of(given)
        return found

    def numpyro_model(self, choices: "Choices") -> Callable[[Any], None]:
        """The NumPyro model: a function of a likelihood in JAX.

        Such as ``prefstrength.models.fitting.traced_likelihood(model, choices)`` gives, from the
        same tables as every fit.
        """
        self.refuse_errors("numpyro_model")
        population = self.population(choices)

        def model(likelihood: Any) -> None:
            import numpyro

            from prefstrength.inference.population_program import sample

            numpyro.factor("choices", likelihood.total(sample(population)))

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
            {"variable": list(table), "prior": [str(prior) for prior in table.values()]}
        )

    def fit(
        self,
        choices: "Choices | CompressedChoices",
        method: str = "auto",
        seed: int = 0,
        **options: Any,
    ) -> "Fit":
        """Infer the posterior; see :func:`prefstrength.models.fitting.fit` for the options."""
        from prefstrength.models.fitting import fit

        return fit(self, choices, method=method, seed=seed, **options)


def _true_scale(choices: "Choices | CompressedChoices", name: str, sd: float) -> float:
    """Root mean square of the true differences."""
    from prefstrength.data.choices import Choices

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
