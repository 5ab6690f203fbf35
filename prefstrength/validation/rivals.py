"""Rivals: what else could explain the same choices, and the verdict that survives it."""

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from prefstrength._shared.files import atomic_write_text
from prefstrength._shared.records import build_record, read_json, to_json
from prefstrength._shared.words import listed
from prefstrength.data.choices import Choices
from prefstrength.data.measurement_error import RewardError
from prefstrength.errors import InputError
from prefstrength.validation.rival_weighing import Weighed, weigh
from prefstrength.validation.verdict import Beliefs, advice, label, sentence

__all__ = ["Rivals", "rivals"]

SCHEMA = "prefstrength/rivals/1"
_TABLES = ("table", "parts", "under_other_priors", "sigma", "curves", "seen")


@dataclass(frozen=True, eq=False)
class Rivals:
    """Explanations of the same choices; made by :func:`rivals`.

    Parameters
    ----------
    attribute : str
        Attribute whose coefficient is the strength.
    beliefs : Beliefs
        Probabilities that the verdict is made of.
    table : pandas.DataFrame
        Explanations, the likeliest first: every one with one part at most beside spread, and what
        else has a weight of .02 or more; the others in the last row. Columns: explanation; weight,
        its posterior probability; log_evidence, its log marginal likelihood less the largest; elpd,
        the log probability of every chooser given the others, summed; elpd_diff and dse, against
        the best, with its standard error; stacking and pseudo_bma, weights by prediction among
        these rows; differ and same, see :class:`~prefstrength.validation.verdict.Beliefs`; verdict,
        if it were the only explanation.
    parts : pandas.DataFrame
        Columns part; on, the probability that it is on; prior_on; mean, low and high of its
        parameter where it is on; meaning.
    under_other_priors : pandas.DataFrame
        The verdict under other prior probabilities that strengths are spread: columns
        prior_spread, differ, same, spread, verdict.
    sigma : pandas.DataFrame
        Posterior of how strengths are spread, averaged over all explanations, as weighted nodes:
        columns sigma (sd of log strength), zero_share, reversed_share, weight, which sum to 1.
    curves : pandas.DataFrame
        How the likeliest explanations, and ``"all"`` of them together, draw the probability that
        the higher one is chosen: columns explanation, weight, difference, probability. Empty where
        answers are more than choices between two.
    seen : pandas.DataFrame
        The same in the data, in bins: columns difference, share, low, high, count.
    notes : tuple of str
        What was held fixed or not looked at, in sentences.
    by_level : mapping of tuple to Rivals
        The same for every level of every group, by ``(group, level)``; their tables hold what has a
        weight of .02 or more, and not how well it predicts.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.PointMass(1.0), choosers=40, situations=8)
    >>> ps.rivals(choices).single
    False
    """

    attribute: str
    beliefs: Beliefs
    table: pd.DataFrame
    parts: pd.DataFrame
    under_other_priors: pd.DataFrame
    sigma: pd.DataFrame
    curves: pd.DataFrame
    seen: pd.DataFrame
    notes: tuple[str, ...] = ()
    by_level: "Mapping[tuple[str, str], Rivals]" = field(default_factory=dict)

    @property
    def single(self) -> bool:
        """Whether every answer stands alone."""
        return self.beliefs.single

    @property
    def label(self) -> str:
        """The verdict in a word: one of :data:`prefstrength.validation.verdict.VERDICTS`."""
        return label(self.beliefs)

    @property
    def verdict(self) -> str:
        """The verdict in one or two sentences."""
        return sentence(self.beliefs)

    @property
    def advice(self) -> str:
        """What would settle what is open; empty where nothing is."""
        return advice(self.beliefs)

    @cached_property
    def levels(self) -> pd.DataFrame:
        """The verdict for all, and for every level of every group.

        Returns
        -------
        pandas.DataFrame
            Columns group, level, choosers, label, differ, same, spread, zero, reversed, verdict.
            Levels share the scale of the differences and the priors, and nothing else.
        """
        found = {("overall", ""): self, **self.by_level}
        return pd.DataFrame(
            [
                {
                    "group": group,
                    "level": level,
                    "choosers": each.beliefs.choosers,
                    "label": each.label,
                    "differ": each.beliefs.differ,
                    "same": each.beliefs.same,
                    "spread": each.beliefs.spread,
                    "zero": each.beliefs.on["zero"],
                    "reversed": each.beliefs.on["reversed"],
                    "verdict": each.verdict,
                }
                for (group, level), each in found.items()
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything in JSON types."""
        return {
            "schema": SCHEMA,
            "attribute": self.attribute,
            "beliefs": self.beliefs.to_dict(),
            **{name: _columns(getattr(self, name)) for name in _TABLES},
            "notes": list(self.notes),
            "by_level": [
                {"group": group, "level": level, "rivals": each.to_dict()}
                for (group, level), each in self.by_level.items()
            ],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], where: str = "rivals") -> Self:
        """Rivals of a record such as :meth:`to_dict` gives; ``where`` is for errors.

        Raises
        ------
        InputError
            If the record is another or damaged.
        """
        try:
            read = {
                **record,
                "beliefs": Beliefs.from_dict(record["beliefs"]),
                **{name: _table(record[name]) for name in _TABLES},
                "notes": tuple(map(str, record["notes"])),
                "by_level": {
                    (str(each["group"]), str(each["level"])): cls.from_dict(each["rivals"], where)
                    for each in record["by_level"]
                },
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{where} cannot be read: {error!r}. Make it again.") from None
        return build_record(cls, read, SCHEMA, where)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything as JSON.

        Examples
        --------
        >>> import tempfile
        >>> import prefstrength as ps
        >>> found = ps.rivals(ps.simulate(ps.PointMass(1.0), choosers=20, situations=5))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ps.Rivals.load(found.save(Path(folder) / "rivals.json")).verdict == found.verdict
        True
        """
        return atomic_write_text(path, to_json(self.to_dict()))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            If the file is missing, is another or damaged.
        """
        path = Path(path)
        return cls.from_dict(read_json(path, "record of rivals"), where=str(path))

    def __repr__(self) -> str:
        wanted = ["explanation", "weight", "elpd_diff", "dse", "stacking", "verdict"]
        shown = self.table[[name for name in wanted if name in self.table]]
        table = shown.to_string(index=False, float_format=lambda v: f"{v:.3g}", na_rep="")
        texts = [self.verdict, *([self.advice] if self.advice else []), *self.notes]
        return "\n".join([*texts, "", table])

    def _repr_html_(self) -> str:
        shown = self.table.to_html(
            index=False, escape=True, float_format=lambda v: f"{v:.3g}", na_rep=""
        )
        texts = [f"<b>{html.escape(self.verdict)}</b>"]
        texts += [html.escape(text) for text in (self.advice, *self.notes)]
        return "".join(f"<p>{text}</p>" for text in texts if text) + shown


def rivals(
    choices: Choices,
    groups: str | Sequence[str] = (),
    attribute: str | None = None,
    *,
    error: float | RewardError = 0.0,
    prob: float = 0.9,
) -> Rivals:
    """Explain the same choices in every way that a referee would name, and weigh the explanations.

    Do choosers differ in how strongly they prefer, or is the utility bent, are answers given at
    random, do some not care, do some prefer the lower reward? One model holds all of these as parts
    that can be on or off; the verdict is averaged over every combination.

    Parameters
    ----------
    choices : Choices
        Pairs (chosen, graded, or with ties), choices among several, rankings.
    groups : str or sequence of str
        Groups of whose levels the verdict is wanted too, each by itself.
    attribute : str, optional
        Attribute whose coefficient is the strength; may be left out where there is one.
    error : float or RewardError
        Standard deviation of the error of a difference, in units of the attribute; it is given, and
        not inferred.
    prob : float
        Probability of the (equal-tailed) intervals.

    Returns
    -------
    Rivals
        ``.verdict`` in words, ``.table`` of explanations, ``.parts``, ``.advice``,
        ``.under_other_priors``, ``.sigma``, ``.levels``.

    Raises
    ------
    InputError
        If the choices are compressed, an attribute has to be named, there is no such group, or a
        number is out of range.

    Notes
    -----
    Weights are marginal likelihoods with a prior probability of one half that each part is off;
    power and saturation are a quarter each. Priors of parameters, where a part is on: mean of log
    strength Normal(-log s, 1), its sd HalfNormal(1), log power Normal(0, .3), log of the
    saturation Normal(.4, .7) in units of s, random answers Beta(1, 9), class at zero Beta(1, 4),
    reversed class Beta(1, 9), with s the root mean square of the differences. Stacking and
    pseudo-BMA+ stand beside them as scores of prediction.

    A random answer is any answer, or any order, that could be given. Among more than two the bend
    is of the differences to all alternatives on offer, whose mean counts, as in models of relative
    utility and of regret [4]_. Further attributes have coefficients that all choosers share, held
    where one strength for all puts them: a little too near 0 where strength is spread. Who stood
    first is left out, and so is what else the two responses of a pair differ in (where its size is
    known, give it as ``error``); ``notes`` of the result say what was.

    Where every answer stands alone (one choice of each chooser; a ranking is several) the choice
    curve is all there is, and any curve can come from spread as well as from a bend: the verdict is
    then never yes or no. For the same reason choices between two of those who chose only once are
    left out where others chose more than once.

    References
    ----------
    .. [1] Hess, Train (2017), Correlation and scale in mixed logit models, Journal of Choice
       Modelling 23.
    .. [2] Wichmann, Hill (2001), The psychometric function I, Perception & Psychophysics 63.
    .. [3] Yao, Vehtari, Simpson, Gelman (2018), Using stacking to average Bayesian predictive
       distributions, Bayesian Analysis 13.
    .. [4] Chorus (2010), A new model of random regret minimization, European Journal of Transport
       and Infrastructure Research 10.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.9), choosers=100, situations=20)
    >>> found = ps.rivals(choices)
    >>> found.label, round(float(found.parts.set_index("part").loc["spread", "mean"]), 1)
    ('heterogeneous', 0.9)
    """
    if not isinstance(choices, Choices):
        raise InputError(
            f"Expected ps.Choices; got {type(choices).__name__}. Sums of pairs cannot be bent or "
            "turned around: read the pairs, or a random part of the choosers, as choices."
        )
    attribute = _attribute(choices, attribute)
    factors = [groups] if isinstance(groups, str) else list(groups)
    unknown = [name for name in factors if name not in choices.groups]
    if unknown:
        raise InputError(
            f"Expected groups among {listed(choices.groups)}; got {listed(unknown)}. Name their "
            "columns when the choices are made."
        )
    if not 0 < prob < 1:
        raise InputError(f"Expected prob between 0 and 1; got {prob}.")
    sd = float(error.sd if isinstance(error, RewardError) else error)
    if not 0 <= sd < np.inf:
        raise InputError(f"Expected the error as a standard deviation, 0 or more; got {error}.")
    scale = choices.scale(attribute)
    if not scale > 0:
        raise InputError(
            f"Expected differences of {attribute!r} that are not all 0; got nothing else. Nothing "
            "can be learned from them."
        )
    levels = {}
    for name in factors:
        factor = choices.groups[name]
        for code, level in enumerate(factor.levels):
            rows = factor.codes == code
            if rows.any():
                levels[name, level] = choices.subset(rows)
    # Explanations run on threads of their own; threads inside products would wait for each other.
    with threadpool_limits(1, "blas"):
        by_level = {
            level: _plain(weigh(part, attribute, scale, sd, prob, part=True), attribute, {})
            for level, part in levels.items()
        }
        return _plain(weigh(choices, attribute, scale, sd, prob), attribute, by_level)


def _plain(weighed: Weighed, attribute: str, by_level: Mapping[tuple[str, str], Rivals]) -> Rivals:
    """What was weighed, as a record."""
    found = {name: getattr(weighed, name) for name in _TABLES}
    return Rivals(attribute, weighed.beliefs, **found, notes=weighed.notes, by_level=by_level)


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Columns of a table in JSON types; what is not there is null."""
    return {
        str(name): [None if pd.isna(value) else value for value in column.tolist()]
        for name, column in table.items()
    }


def _table(columns: Mapping[str, list[Any]]) -> pd.DataFrame:
    """A table of its columns; those with numbers are numbers also where all else is missing."""
    numbers = [
        name for name, values in columns.items() if any(isinstance(v, int | float) for v in values)
    ]
    return pd.DataFrame(columns).astype(dict.fromkeys(numbers, float))


def _attribute(choices: Choices, attribute: str | None) -> str:
    if attribute is None and len(choices.attributes) > 1:
        raise InputError(
            f"Expected the attribute to be named; got choices with {listed(choices.attributes)}. "
            "Name the one whose coefficient is the strength; all choosers share the others'."
        )
    name = choices.attributes[0] if attribute is None else attribute
    if name not in choices.attributes:
        raise InputError(
            f"Expected one of the attributes {listed(choices.attributes)}; got {name!r}."
        )
    return name
