"""Strength prior for training: what every explanation of the same choices says together.

One mixing distribution fitted alone hands its own mistakes to training: a reward that saturates, or
a tenth of careless choosers, is a spread to it. Averaged over the explanations, each weighed by how
well it explains the choices, the spread is what is left of it when the others have had their say.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from scipy import special

from prefstrength._shared.records import versions
from prefstrength._shared.words import listed, warn
from prefstrength.errors import InputError

__all__ = ["AveragedAnswer", "prior_fields"]

# Probability from which a class of choosers is named, and below which a spread is out of question.
_SURE, _OUT = 0.95, 0.05
#: Probabilities at which the prior of the log spread has the quantiles of the averaged posterior.
MATCHED = (0.05, 0.5, 0.95)
# Sd of log strength that is as good as none: strengths within five per cent. Its log, and that of
# anything below, says nothing and would rule the match.
_NONE = 0.05
# Smallest sd of the log spread, and the one of a group where there is no spread to speak of.
_LEAST_SD, _NONE_SD = 0.01, 0.5

_ASSUMES = (
    "That the spread carries over from rewards to log-ratios assumes Δ = c·Δr with one c for all "
    "pairs and no error. The mean strength is not from the data."
)


class AveragedAnswer(Protocol):
    """What is asked of :func:`prefstrength.rivals`'s answer."""

    @property
    def attribute(self) -> str:
        """Attribute whose coefficient is the strength."""

    @property
    def single(self) -> bool:
        """Whether every answer stands alone."""

    @property
    def by_level(self) -> Mapping[tuple[str, str], Any]:
        """The same of every level, by factor and level."""

    @property
    def label(self) -> str:
        """Verdict in a word or two."""

    @property
    def verdict(self) -> str:
        """Verdict in a sentence."""

    @property
    def beliefs(self) -> Any:
        """Probabilities: ``differ``, ``same``, ``spread``, and ``on`` of every part by name."""

    @property
    def parts(self) -> Any:
        """Table of the parts: part, on, mean, low, high."""

    @property
    def sigma(self) -> Any:
        """Weighted nodes: sigma, zero_share, reversed_share, weight."""


def prior_fields(
    rivals: AveragedAnswer,
    mean_strength: float,
    mean_strength_sd: float,
    group: str | None,
    force: bool,
) -> dict[str, Any]:
    """Fields of a :class:`~prefstrength.StrengthPrior` from all explanations, averaged."""
    asked = [name for name, each in vars(AveragedAnswer).items() if isinstance(each, property)]
    lacking = [name for name in asked if not hasattr(rivals, name)]
    if lacking:
        raise TypeError(
            "Expected the rivals that `ps.rivals(choices)` gives; got "
            f"{type(rivals).__name__}, without {', '.join(lacking)}. Of a fit take "
            "`StrengthPrior.from_fit(fit)`."
        )
    for name, value in (
        ("mean_strength", mean_strength),
        ("mean_strength_sd", mean_strength_sd),
    ):
        if not (np.isfinite(value) and value > 0):
            raise InputError(
                f"Expected {name} > 0, such as DPO's beta 0.1 and 0.1 for a tenth up or down; got "
                f"{value}."
            )
    chosen = rivals if group is None else _level(rivals, group)
    sigma, zero, reversed_, weight = _nodes(chosen)
    _refuse(chosen, reversed_, weight, force)

    on, share = chosen.beliefs.on, 0.0
    if _names(chosen, "zero"):
        # Of those who are trained on, which reversed ones are not.
        others = 1 - reversed_ if _names(chosen, "reversed") else np.ones_like(zero)
        share = float(weight @ (zero / others))
    none = chosen.label == "homogeneous" or (
        chosen.label == "differ in kind" and chosen.beliefs.spread <= _OUT
    )
    shape = None if none else _shape(sigma, weight)
    dispersion, dispersion_sd = shape or (None, None)
    spread = _summary(sigma, weight)
    if chosen.single:
        warn(
            "A prior from single choices is as wide as what they leave open: an sd of log strength "
            f"from {spread['low']:.2f} to {spread['high']:.2f}, none at all with probability "
            f"{spread['none']:.2f}. {chosen.verdict}"
        )
    return {
        "family": "LogNormal" if shape else "PointMass",
        "location": float(np.log(mean_strength / (1 - share))),
        "location_sd": float(mean_strength_sd),
        "dispersion": dispersion,
        "dispersion_sd": dispersion_sd,
        "mean_strength": float(mean_strength),
        "zero_share": share,
        "groups": _groups(rivals) if shape and group is None else {},
        "source": {
            "attribute": chosen.attribute,
            "group": "overall" if group is None else group,
            "label": chosen.label,
            "verdict": chosen.verdict,
            "words": _words(chosen, shape, spread, share),
            "assumes": _ASSUMES,
            "law": "plug-in",
            "probabilities": {
                **{name: float(getattr(chosen.beliefs, name)) for name in ("differ", "same")},
                "spread": float(chosen.beliefs.spread),
                "parts": {name: float(value) for name, value in on.items()},
            },
            "sigma": spread,
            "parts": {
                row["part"]: {name: float(row[name]) for name in ("on", "mean", "low", "high")}
                for row in chosen.parts.to_dict("records")
            },
            "forced": bool(force and (chosen.single or _names(chosen, "reversed"))),
            "versions": versions("prefstrength"),
        },
    }


def _level(rivals: AveragedAnswer, group: str) -> Any:
    known = {f"{factor}={level}": each for (factor, level), each in rivals.by_level.items()}
    if group not in known:
        raise InputError(
            f"Expected group as 'factor=level', one of those that the rivals were asked for "
            f"({listed(known) or 'none'}); got {group!r}. Name its factor among the "
            "groups of the rivals."
        )
    return known[group]


def _nodes(rivals: AveragedAnswer) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    table = rivals.sigma
    sigma, zero, reversed_, weight = (
        np.asarray(table[name], dtype=float)
        for name in ("sigma", "zero_share", "reversed_share", "weight")
    )
    return sigma, zero, reversed_, weight / weight.sum()


def _names(rivals: AveragedAnswer, part: str) -> bool:
    """Whether a class of choosers is there beyond doubt."""
    return not rivals.single and rivals.beliefs.on.get(part, 0.0) >= _SURE


def _refuse(rivals: AveragedAnswer, share: np.ndarray, weight: np.ndarray, force: bool) -> None:
    """Stop where there is nothing to train on that a prior could say."""
    if rivals.single and not force:
        raise InputError(
            "Expected repeated choices of the same choosers; got single ones, in which strengths "
            "that differ and a bent reward look alike. Ask the same people four to eight times, "
            "train plain DPO, or pass `force=True` for a prior as wide as what they leave open."
        )
    if not _names(rivals, "reversed"):
        return
    low, high = _quantiles(share, weight, MATCHED[::2])
    who = f"{weight @ share:.0%} [{low:.0%}, {high:.0%}] of them"
    if not force:
        raise InputError(
            f"Expected choosers who prefer the higher reward; got {who} who prefer the lower one, "
            "whom a positive strength trains the wrong way round. Look at their answers, leave "
            "these choosers out, or pass `force=True` for a prior of the others."
        )
    warn(
        f"The prior describes the choosers who prefer the higher reward; {who} prefer the lower "
        "one, and training takes their answers for mistakes."
    )


# -- how strengths are spread ----------------------------------------------------------------------


def _quantiles(value: np.ndarray, weight: np.ndarray, at: Any) -> np.ndarray:
    """Of weighted nodes of a smooth density beside an atom at 0, from which none is drawn away."""
    atom = float(weight[value <= 0].sum())
    inside = np.argsort(value, kind="stable")
    inside = inside[value[inside] > 0]
    out = np.zeros(len(at))
    above = np.asarray(at) > atom + 1e-12
    if len(inside) and above.any():
        place = atom + np.cumsum(weight[inside]) - weight[inside] / 2
        out[above] = np.interp(np.asarray(at)[above], place, value[inside])
    return out


def _shape(sigma: np.ndarray, weight: np.ndarray) -> tuple[float, float] | None:
    """Centre and sd of the log spread; None where 95 % of the posterior are as good as no spread.

    By least squares in its log at :data:`MATCHED`. Where the posterior holds next to none possible,
    the Normal of a log cannot: then the centre is the posterior mean, none included, and the upper
    end the 95 % quantile; below, it is as wide as above, and reaches what is as good as none.
    """
    found = _quantiles(sigma, weight, MATCHED)
    z = special.ndtri(MATCHED)
    high = found[-1]
    if high < _NONE:
        return None
    if found[0] >= _NONE:
        logs = np.log(found)
        centre, sd = logs.mean(), logs @ z / (z @ z)
    else:
        centre = np.log(min(weight @ sigma, high))
        sd = (np.log(high) - centre) / z[-1]
    return float(centre), max(float(sd), _LEAST_SD)


def _summary(sigma: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """Mean and 90 % interval, how probable none is, what it is where there is one, and averaged."""
    low, _, high = _quantiles(sigma, weight, MATCHED)
    spread = sigma >= _NONE
    out: dict[str, Any] = {
        "mean": float(weight @ sigma),
        "low": float(low),
        "high": float(high),
        "none": float(weight[~spread].sum()),
        # Of log strength averaged over the posterior: what the law of the centre leaves out.
        "predictive": float(np.sqrt(weight @ sigma**2)),
    }
    if spread.any() and out["none"] > 0:
        own = weight[spread] / weight[spread].sum()
        first, _, last = _quantiles(sigma[spread], own, MATCHED)
        mean = float(own @ sigma[spread])
        out["where_spread"] = {"mean": mean, "low": float(first), "high": float(last)}
    return out


def _groups(rivals: AveragedAnswer) -> dict[str, dict[str, float]]:
    """The spread of every level from its own repeated choices; means are not compared."""
    out = {}
    for (factor, level), each in rivals.by_level.items():
        if not each.single:
            sigma, _, _, weight = _nodes(each)
            shape = _shape(sigma, weight) or (float(np.log(_NONE)), _NONE_SD)
            out[f"{factor}={level}"] = dict(
                zip(("dispersion", "dispersion_sd"), shape, strict=True)
            )
    return out


# -- in words --------------------------------------------------------------------------------------


def _words(
    rivals: AveragedAnswer,
    shape: tuple[float, float] | None,
    spread: Mapping[str, Any],
    share: float,
) -> str:
    """What the prior is, and how far the data say so."""
    found = f"{spread['mean']:.2f} [{spread['low']:.2f}, {spread['high']:.2f}]"
    start = "Averaged over every explanation of the choices: "
    who = "those who weigh the reward" if share else "all"
    if shape is None:
        text = (
            f"one strength for {who}; an sd of log strength above {spread['high']:.2f} has less "
            "than 5 % probability."
        )
    elif spread["low"] >= _NONE:
        text = f"the sd of log strength is {found} (90 %)."
    else:
        own = spread["where_spread"]
        text = (
            "the choices do not say whether strengths are spread, and this prior is wide. One "
            f"strength for {who} has probability {spread['none']:.2f}; else the sd of log strength "
            f"is {own['mean']:.2f} [{own['low']:.2f}, {own['high']:.2f}] (90 %). The prior begins "
            f"at the mean of both, {spread['mean']:.2f}."
        )
    if share:
        text += f" {share:.1%} of the choosers answer at random or hardly weigh the reward."
    if rivals.single:
        text += " It was made from single choices, which cannot tell these apart."
    elif _names(rivals, "reversed"):
        text += " Choosers who prefer the lower reward are left out of it."
    return f"{start}{text} {_ASSUMES}"
