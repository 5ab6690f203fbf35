r"""The bridge from analysis to training: what the data say about the law of strength.

A strength prior is a small record in plain JSON, so that who analyses and who trains need
neither the same machine nor the same libraries. It describes a mixing distribution in two
numbers that any family has, each with its uncertainty:

- ``location``, the log of the mean strength;
- ``dispersion``, the log of the spread: :math:`\log \sigma` for LogNormal (the sd of log
  strength), :math:`\log \mathrm{cv}` for Gamma, InverseGaussian and Normal, with cv = sd/mean.

The dispersion is free of the scale of the rewards, the location is not: ``mean_strength``
anchors it to the β of DPO.
"""

import json
import math
import numbers
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from prefstrength._files import atomic_write_text
from prefstrength.errors import InputError
from prefstrength.mixing import (
    MIXINGS,
    Gamma,
    InverseGaussian,
    LogNormal,
    Mixing,
    Normal,
    PointMass,
)

__all__ = ["StrengthPrior"]

SCHEMA = "prefstrength/strength-prior/1"


# -- a family by location and dispersion -----------------------------------------------------


def mixing_from(
    family: str, location: Any, dispersion: Any, exp: Callable[[Any], Any] = math.exp
) -> Mixing:
    """Mixing distribution of log mean ``location`` and log spread ``dispersion``.

    ``exp`` is the exponential of the numbers' library, such as ``torch.exp``.

    Examples
    --------
    >>> mixing_from("Gamma", math.log(0.5), math.log(0.5))
    Gamma(shape=4, rate=8)
    """
    if family == "PointMass":
        return PointMass(value=exp(location))
    if family == "Normal":
        return Normal(mu=exp(location), sigma=exp(location + dispersion))
    if family == "LogNormal":
        sigma = exp(dispersion)
        return LogNormal(mu=location - sigma * sigma / 2, sigma=sigma)
    if family == "Gamma":
        return Gamma(shape=exp(-2 * dispersion), rate=exp(-2 * dispersion - location))
    if family == "InverseGaussian":
        return InverseGaussian(mu=exp(location), shape=exp(location - 2 * dispersion))
    raise _unknown_family(family)


def location_dispersion(mixing: Mixing) -> tuple[float, float | None]:
    """Location and dispersion of a known law; the inverse of :func:`mixing_from`.

    Raises
    ------
    InputError
        If the mean strength is not positive.
    """
    parameters = {name: float(value) for name, value in mixing.parameters.items()}
    if isinstance(mixing, PointMass):
        return math.log(_positive_mean(parameters["value"])), None
    if isinstance(mixing, Normal):
        mean = _positive_mean(parameters["mu"])
        return math.log(mean), math.log(parameters["sigma"] / mean)
    if isinstance(mixing, LogNormal):
        return parameters["mu"] + parameters["sigma"] ** 2 / 2, math.log(parameters["sigma"])
    if isinstance(mixing, Gamma):
        return (
            math.log(parameters["shape"] / parameters["rate"]),
            -math.log(parameters["shape"]) / 2,
        )
    if isinstance(mixing, InverseGaussian):
        location = math.log(parameters["mu"])
        return location, (location - math.log(parameters["shape"])) / 2
    raise _unknown_family(type(mixing).__name__)


def cv_from_dispersion(family: str, dispersion: float | None) -> float:
    """Coefficient of variation (sd/mean) that belongs to a dispersion."""
    if dispersion is None:
        return 0.0
    if family == "LogNormal":
        return math.sqrt(math.expm1(math.exp(2 * dispersion)))
    return math.exp(dispersion)


def dispersion_from_cv(family: str, cv: float) -> float | None:
    """Dispersion that belongs to a coefficient of variation; ``None`` for PointMass.

    Examples
    --------
    >>> round(cv_from_dispersion("LogNormal", dispersion_from_cv("LogNormal", 0.5)), 12)
    0.5
    """
    if family == "PointMass":
        return None
    if family == "LogNormal":
        return math.log(math.log1p(cv * cv)) / 2
    return math.log(cv)


def _positive_mean(mean: float) -> float:
    if mean <= 0:
        raise InputError(
            f"Expected a positive mean strength; got {mean:.6g}. A negative mean says that "
            "choosers prefer the lower reward. Check the sign of the rewards, and which response "
            "is `chosen`."
        )
    return mean


def _unknown_family(family: object) -> InputError:
    return InputError(
        f"Expected a family of mixing distributions ({', '.join(MIXINGS)}); got {family!r}."
    )


# -- the record ------------------------------------------------------------------------------


@dataclass(frozen=True)
class StrengthPrior:
    r"""Prior on the law of strength, for MixDPO: shape from the data, scale from DPO's β.

    .. math::
        \log E[\beta] \sim N(\text{location}, \text{location\_sd}^2), \qquad
        \text{dispersion} \sim N(\text{dispersion}, \text{dispersion\_sd}^2)

    Parameters
    ----------
    family : {"PointMass", "Normal", "LogNormal", "Gamma", "InverseGaussian"}
        Mixing distribution.
    location, location_sd : float
        Log of the mean strength, and its uncertainty (> 0).
    dispersion, dispersion_sd : float or None
        Log of the spread, and its uncertainty (> 0): :math:`\log\sigma` for LogNormal,
        :math:`\log\mathrm{cv}` for Gamma, InverseGaussian and Normal; ``None`` for PointMass.
    mean_strength : float, optional
        The number that anchors the scale, per nat of log-ratio; exp(location) when left out.
    source : dict, optional
        Where the numbers come from, in words and versions; JSON types only.
    groups : dict, optional
        Label of a group to its ``dispersion``, ``dispersion_sd`` and ``relative_mean``.

    Raises
    ------
    InputError
        If a number is not finite, a spread is not positive, or the family is unknown.

    Notes
    -----
    Strength and the scale of the rewards are identified only as a product, so the analysis can
    tell the dispersion but not which mean suits a log-ratio difference: the mean is a choice,
    usually the β that one would give to DPO.

    Examples
    --------
    >>> prior = StrengthPrior("Gamma", math.log(0.1), 0.2, math.log(0.5), 0.3)
    >>> prior.mixing()
    Gamma(shape=4, rate=40)
    >>> round(prior.mean_strength, 6), round(prior.mixing().cv(), 6)
    (0.1, 0.5)
    """

    family: str
    location: float
    location_sd: float
    dispersion: float | None = None
    dispersion_sd: float | None = None
    mean_strength: float | None = None
    source: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.family not in MIXINGS:
            raise _unknown_family(self.family)
        numbers_: dict[str, Any] = {"location": self.location, "location_sd": self.location_sd}
        spread = {"dispersion": self.dispersion, "dispersion_sd": self.dispersion_sd}
        if self.family == "PointMass":
            given = [name for name, value in spread.items() if value is not None]
            if given:
                raise InputError(
                    f"A PointMass prior has no dispersion; got {', '.join(given)}. "
                    "Leave it out, or name a family with spread."
                )
        else:
            numbers_ |= spread
        for name, value in numbers_.items():
            _check_number(name, value, positive=name.endswith("_sd"))
            object.__setattr__(self, name, float(value))
        mean = math.exp(self.location) if self.mean_strength is None else self.mean_strength
        _check_number("mean_strength", mean, positive=True)
        object.__setattr__(self, "mean_strength", float(mean))
        for name in ("source", "groups"):
            object.__setattr__(self, name, _plain(name, getattr(self, name)))
        for label, group in self.groups.items():
            for name, value in group.items():
                if value is not None:
                    _check_number(f"{name} of group {label!r}", value)

    @classmethod
    def from_fit(cls, fit: Any, mean_strength: float = 0.1, group: str | None = None) -> Self:
        """Strength prior that a fit supports.

        Parameters
        ----------
        fit : Fit
            Fitted model with a strength.
        mean_strength : float, default 0.1
            Mean strength to give to the trainer, per nat of log-ratio: DPO's β.
        group : str, optional
            Level of a factor to describe; the whole population when left out.

        Returns
        -------
        StrengthPrior
        """
        # Late, so that training imports nothing of the analysis.
        from prefstrength.strength import strength_prior_summary

        return cls(**strength_prior_summary(fit, mean_strength, group))

    def mixing(self) -> Mixing:
        """Law of strength at the centre of the prior, with known parameters."""
        return mixing_from(self.family, self.location, self.dispersion)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as it is written, JSON types only."""
        return {"schema": SCHEMA, **asdict(self)}

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


# -- reading and writing records -------------------------------------------------------------


def to_json(record: Mapping[str, Any]) -> str:
    """JSON text of a record, with full precision and without NaN."""
    return json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read one JSON object, or raise :class:`InputError` in one sentence."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"Expected a {what} at {path}; got no such file. Check the path, "
            "or write the file first."
        ) from None
    except IsADirectoryError:
        raise InputError(f"Expected a {what} at {path}; got a folder. Name the file.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"Expected a {what} as JSON in {path}; got text that is not JSON ({error}). "
            "The file is cut off or is another file. Write it again."
        ) from None
    if not isinstance(record, dict):
        raise InputError(
            f"Expected a {what} as a JSON object in {path}; got a {type(record).__name__}. "
            "This is another file."
        )
    return record


def build_record[Record](
    cls: type[Record], record: Mapping[str, Any], schema: str, where: str
) -> Record:
    """Build a dataclass from a JSON record that states its schema."""
    found = record.get("schema")
    if found != schema:
        raise InputError(
            f"Expected schema {schema!r} in {where}; got {found!r}. "
            "This is another kind of file, or was written by another version of prefstrength."
        )
    known = {each.name for each in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(record) - known - {"schema"})
    if unknown:
        raise InputError(
            f"Expected the fields {', '.join(sorted(known))} in {where}; got {len(unknown)} "
            f"unknown ({', '.join(unknown[:3])}). Remove them, or check their spelling."
        )
    try:
        return cls(**{name: value for name, value in record.items() if name != "schema"})
    except (TypeError, InputError) as error:
        raise InputError(f"{where} cannot be read: {error}") from None


def _check_number(name: str, value: Any, *, positive: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"Expected {name} as a number; got {value!r}.")
    if not math.isfinite(value) or (positive and value <= 0):
        raise InputError(
            f"Expected {name} to be finite{' and > 0' if positive else ''}; got {value}. "
            "Fit again, or give the number by hand."
        )


def _plain(name: str, value: Any) -> Any:
    """Return a copy in JSON types, so that a record equals itself after reading."""
    if not isinstance(value, Mapping):
        raise TypeError(f"Expected {name} as a dict; got {type(value).__name__}.")
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except ValueError as error:
        raise InputError(f"Expected finite numbers in {name}; got others ({error}).") from None
