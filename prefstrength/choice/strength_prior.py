r"""The bridge from analysis to training: what the data say about how strength varies.

A strength prior is a small record in plain JSON, so that who analyses and who trains need
neither the same machine nor the same libraries. It describes a mixing distribution in two
numbers that any family has, each with its uncertainty:

- ``location``, the log of the mean strength;
- ``dispersion``, the log of the spread: :math:`\log \sigma` for LogNormal (the sd of log
  strength), :math:`\log \mathrm{cv}` for Gamma, InverseGaussian and Normal, with cv = sd/mean.

Where a share of choosers does not weigh the reward at all, it is a third number, ``zero_share``,
and the two are of those who do.

The dispersion is free of the scale of the rewards, the location is not: ``mean_strength``
anchors it to the β of DPO. Cut points of grades and the weight of a tie are in log odds, the unit
of strength times difference, and stay what they are whatever strength multiplies.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from prefstrength._shared.files import atomic_write_text
from prefstrength._shared.records import (
    MOST_LOG,
    as_json,
    build_record,
    check_number,
    read_json,
    to_json,
)
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.families import family_named
from prefstrength.choice.mixing.zero_mass import with_zero_share
from prefstrength.choice.prior_from_rivals import AveragedAnswer, prior_fields
from prefstrength.choice.responses.named import KnownResponse
from prefstrength.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StrengthPrior"]

SCHEMA = "prefstrength/strength-prior/1"
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


# -- the record ------------------------------------------------------------------------------


@dataclass(frozen=True)
class StrengthPrior:
    r"""Prior on the mixing distribution, for MixDPO: shape from the data, scale from DPO's β.

    .. math::
        \log E[\beta] \sim N(\text{location}, \text{location\_sd}^2), \qquad
        \text{dispersion} \sim N(\text{dispersion}, \text{dispersion\_sd}^2)

    Parameters
    ----------
    family : {"PointMass", "Normal", "LogNormal", "Gamma", "InverseGaussian"}
        Mixing distribution.
    location, location_sd : float
        Log of the mean strength of those who weigh the reward, and how far training may move it
        (sd of the log, > 0).
    dispersion, dispersion_sd : float or None
        Log of the spread, and its uncertainty (> 0): :math:`\log\sigma` for LogNormal,
        :math:`\log\mathrm{cv}` for Gamma, InverseGaussian and Normal; ``None`` for PointMass.
        Of a fit: the Normal with the posterior's 5 % and 95 % quantiles.
    mean_strength : float, optional
        The number that anchors the scale, per nat of log-ratio: the mean over all choosers, those
        at zero too; (1 - zero_share) exp(location) when left out.
    source : dict, optional
        Where the numbers come from, in words and versions; JSON types only.
    groups : dict, optional
        Label of a group to its ``dispersion``, ``dispersion_sd`` and, where it is known, its
        ``relative_mean``.
    response : dict, optional
        Where answers were grades or ties, their kind and the numbers that all choosers share:
        ``{"name": "Graded", "settings": {"answers": [...]}, "shared": {"cut_1": 0.8}}``.
    zero_share : float, optional
        Share of choosers at or near strength zero, from 0 to below 1; training holds it, and
        learns the mixing distribution of the others.

    Raises
    ------
    InputError
        If a number is not finite, a spread is not positive, a share is no part of the whole, or the
        family is unknown.

    Notes
    -----
    Strength and the scale of the rewards are identified only as a product, so the analysis can
    tell the dispersion but not which mean suits a log-ratio difference: the mean is a choice,
    usually the β that one would give to DPO, and so is how far training may move it. How sure the
    data are of strength per unit of reward, ``source["fitted_mean_log_sd"]``, says nothing of β per
    nat. That the dispersion carries over at all assumes Δ = c·Δr with one c and no error, which
    :func:`prefstrength.check_transfer` looks at after training.

    The law of :meth:`mixing` is *plug-in*: its parameters are at the centre. The *predictive* law
    averages over their uncertainty and is wider; :meth:`summary` holds both.

    Examples
    --------
    >>> prior = StrengthPrior("Gamma", math.log(0.1), 0.2, math.log(0.5), 0.3)
    >>> prior.mixing()
    Gamma(shape=4, rate=40)
    >>> round(prior.mean_strength, 6), round(prior.mixing().cv(), 6)
    (0.1, 0.5)
    >>> StrengthPrior("PointMass", math.log(0.1), 0.2, zero_share=0.2).mixing()
    ZeroMass(PointMass(value=0.1), share=0.2)
    """

    family: str
    location: float
    location_sd: float
    dispersion: float | None = None
    dispersion_sd: float | None = None
    mean_strength: float | None = None
    source: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, dict[str, float]] = field(default_factory=dict)
    response: dict[str, Any] = field(default_factory=dict)
    zero_share: float = 0.0

    def __post_init__(self) -> None:
        family = family_named(self.family)
        numbers_: dict[str, Any] = {"location": self.location, "location_sd": self.location_sd}
        spread = {"dispersion": self.dispersion, "dispersion_sd": self.dispersion_sd}
        if not family.varies:
            given = [name for name, value in spread.items() if value is not None]
            if given:
                raise InputError(
                    f"A {self.family} prior has no dispersion; got {', '.join(given)}. "
                    "Leave it out, or name a family with spread."
                )
        else:
            numbers_ |= spread
        for name, value in numbers_.items():
            check_number(name, value, positive=name.endswith("_sd"), most=MOST_LOG)
            object.__setattr__(self, name, float(value))
        check_number("zero_share", self.zero_share)
        if not 0 <= self.zero_share < 1:
            raise InputError(
                f"Expected zero_share from 0 to below 1; got {self.zero_share}. It is the part of "
                "the choosers who do not weigh the reward: 0.05 for 5 %."
            )
        object.__setattr__(self, "zero_share", float(self.zero_share))
        mean = self.mean_over_all if self.mean_strength is None else self.mean_strength
        check_number("mean_strength", mean, positive=True)
        object.__setattr__(self, "mean_strength", float(mean))
        for name in ("source", "groups", "response"):
            object.__setattr__(self, name, as_json(name, getattr(self, name)))
        self.answers()
        self._check_mixing()
        for label, group in self.groups.items():
            if not isinstance(group, Mapping):
                raise TypeError(f"Expected group {label!r} as a mapping; got {group!r}.")
            for name, value in group.items():
                if value is not None:
                    check_number(f"{name} of group {label!r}", value)

    def _check_mixing(self) -> None:
        """Stop where numbers that are finite each make no mixing distribution together."""
        try:
            with np.errstate(all="ignore"):
                mean = float(self.mixing().mean())
        except (ArithmeticError, ValueError):
            mean = math.nan
        if not math.isfinite(mean):
            raise InputError(
                f"Expected a location and a dispersion that make a {self.family} distribution; "
                f"got {self.location:g} and {self.dispersion}. Fit again, or give others by hand."
            )

    @classmethod
    def from_fit(
        cls,
        fit: Any,
        mean_strength: float = 0.1,
        group: str | None = None,
        mean_strength_sd: float = 0.1,
        attribute: str | None = None,
    ) -> Self:
        """Strength prior that a fit supports, its model taken for true.

        What else explains the same choices is in :meth:`from_rivals`.

        Parameters
        ----------
        fit : Fit
            Fitted model with a strength.
        mean_strength : float, default 0.1
            Mean strength to give to the trainer, per nat of log-ratio: DPO's β.
        group : str, optional
            Level of a factor to describe; the whole population when left out.
        mean_strength_sd : float, default 0.1
            How far training may move the mean, as the sd of its log: 0.1 is a tenth up or down. A
            choice like the mean itself.
        attribute : str, optional
            Attribute whose coefficient is the strength; may be left out where there is one, or
            where one varies. It stands in ``source``.

        Returns
        -------
        StrengthPrior

        Raises
        ------
        InputError
            If the mean strength is not positive, or the attribute has to be named.
        """
        return cls(**fit.strength_prior_fields(mean_strength, group, mean_strength_sd, attribute))

    @classmethod
    def from_rivals(
        cls,
        rivals: AveragedAnswer,
        mean_strength: float = 0.1,
        *,
        group: str | None = None,
        force: bool = False,
        mean_strength_sd: float = 0.1,
    ) -> Self:
        r"""Strength prior that all explanations of the same choices support together.

        ======================= ===============================================================
        verdict                 prior
        ======================= ===============================================================
        heterogeneous           LogNormal; :math:`\log\sigma` has the 5, 50 and 95 % quantiles of
                                the posterior of σ averaged over all explanations
        differ in kind          PointMass where the others do not differ, else LogNormal as above
        homogeneous             PointMass; the upper 95 % of σ in ``source``
        differ, cannot tell     LogNormal, wide: centred on the mean of σ, one strength for all
                                included, with its 95 % quantile
        single choices          none without ``force``
        ======================= ===============================================================

        A class of choosers at zero that is sure to be there (95 %) is the prior's ``zero_share``.

        Parameters
        ----------
        rivals : Rivals
            From ``ps.rivals(choices)``.
        mean_strength : float, default 0.1
            Mean strength over all choosers to give to the trainer, per nat of log-ratio: DPO's β.
        group : str, optional
            Level of a factor to describe, as ``factor=level``; the whole population when left out.
        force : bool, default False
            A prior from single choices, as wide as what they leave open; or one of the others
            where some prefer the lower reward. Both warn.
        mean_strength_sd : float, default 0.1
            How far training may move the mean, as the sd of its log; a choice like the mean itself.

        Returns
        -------
        StrengthPrior
            Its ``source`` holds the verdict, the probabilities, every part with its interval, and
            what the prior says in ``words``.

        Raises
        ------
        InputError
            If the choices are single ones, or some choosers prefer the lower reward (95 %), without
            ``force``; if there is no such group, or a number is not positive.

        Warns
        -----
        DataWarning
            Where ``force`` was needed, with both ends of what the choices leave open.

        Notes
        -----
        Levels of the groups that the rivals were asked for have their own spread in ``groups``, and
        the common mean and share at zero. That the spread carries over to training assumes
        Δ = c·Δr with one c and no error.

        Examples
        --------
        >>> import prefstrength as ps
        >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.9), choosers=100, situations=20)
        >>> prior = StrengthPrior.from_rivals(ps.rivals(choices))
        >>> prior.family, round(math.exp(prior.dispersion), 1)
        ('LogNormal', 0.9)
        """
        return cls(**prior_fields(rivals, mean_strength, mean_strength_sd, group, force))

    def mixing(self) -> Mixing:
        """Mixing distribution at the centre of the prior (plug-in), with known parameters."""
        law = family_named(self.family).from_log_mean_spread(self.location, self.dispersion)
        return with_zero_share(law, self.zero_share)

    @property
    def mean_over_all(self) -> float:
        """Mean strength at the centre of the prior, of those at zero too: DPO's β."""
        return (1 - self.zero_share) * math.exp(self.location)

    def summary(self) -> "pd.DataFrame":
        """Quantiles of strength: plug-in, with parameters at the centre, and predictive.

        Returns
        -------
        pandas.DataFrame
            Rows plug-in and predictive (averaged over the uncertainty of location and dispersion);
            columns 5%, 25%, 50%, 75%, 95%, of strength per nat of log-ratio.

        Examples
        --------
        >>> prior = StrengthPrior("LogNormal", math.log(0.1), 0.1, math.log(0.5), 0.5)
        >>> prior.summary().round(3)["95%"].tolist()
        [0.201, 0.209]
        """
        import pandas as pd
        from scipy import optimize

        family, z = family_named(self.family), _NODES
        mean, spread = self.location + self.location_sd * z[:, None], None
        if self.dispersion is not None and self.dispersion_sd is not None:
            spread = self.dispersion + self.dispersion_sd * z
            mean = np.broadcast_to(mean, (len(z), len(z)))
        laws = family.from_log_mean_spread(mean, spread)
        weights = _WEIGHTS[:, None] * (_WEIGHTS if spread is not None else 1.0)
        centre = self.mixing()
        rows: dict[str, list[float]] = {"plug-in": [], "predictive": []}
        for level in _QUANTILES:
            # Below the share at zero strength is 0, and above it that of the others.
            q = (level - self.zero_share) / (1 - self.zero_share)
            if q <= 0:
                rows["plug-in"].append(0.0)
                rows["predictive"].append(0.0)
                continue
            at = laws.quantile(q)
            low, high = at.min(), at.max()

            def above(strength: float, q: float = q) -> float:
                with np.errstate(all="ignore"):  # of spreads so wide that their median is 0
                    return float((weights * laws.cdf(strength)).sum()) - q

            rows["plug-in"].append(float(centre.quantile(level)))
            rows["predictive"].append(float(optimize.brentq(above, low, high, xtol=1e-9 * high)))
        names = [f"{q:.0%}" for q in _QUANTILES]
        return pd.DataFrame.from_dict(rows, orient="index", columns=names)

    def answers(self) -> KnownResponse | None:
        """What the answers were, with the numbers that all choosers share; None for choices."""
        return KnownResponse.from_dict(self.response) if self.response else None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as it is written, JSON types only."""
        record = {"schema": SCHEMA, **asdict(self)}
        for name in ("response", "zero_share"):  # records without them stay what they were
            if not record[name]:
                del record[name]
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], where: str = "a strength prior") -> Self:
        """Strength prior of a record such as :meth:`to_dict` gives; ``where`` is for errors."""
        return build_record(cls, record, SCHEMA, where)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the prior as JSON.

        Examples
        --------
        >>> import tempfile
        >>> prior = StrengthPrior("PointMass", math.log(0.1), 0.2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     StrengthPrior.load(prior.save(Path(folder) / "strength_prior.json")) == prior
        True
        """
        return atomic_write_text(path, to_json(self.to_dict()))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a prior written by :meth:`save`.

        Raises
        ------
        InputError
            If the file is missing, is not JSON, has another schema, or numbers that cannot be.
        """
        path = Path(path)
        return cls.from_dict(read_json(path, "strength prior"), where=str(path))
