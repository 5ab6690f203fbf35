"""What training learned about strength: the record that is written next to the model."""

import math
import numbers
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from prefstrength._files import atomic_write_text
from prefstrength.errors import InputError
from prefstrength.mixing import MIXINGS, Mixing
from prefstrength.prior import (
    StrengthPrior,
    _check_number,
    _plain,
    build_record,
    location_dispersion,
    mixing_from,
    read_json,
    to_json,
)

__all__ = ["DeltaSettings", "LearnedCovariate", "LearnedGroup", "LearnedStrength", "ShiftPrior"]

SCHEMA = "prefstrength/learned-strength/1"
FILE_NAME = "learned_strength.json"

#: What training may learn of the law of strength.
MODES = ("joint", "anchored", "frozen")

#: Whether Δ is of sums over tokens or of means; which end of a pair that is too long stays.
LOSS_TYPES, TRUNCATION_MODES = ("sigmoid", "sigmoid_norm"), ("keep_start", "keep_end")


@dataclass(frozen=True)
class DeltaSettings:
    """Which log-ratio difference Δ a strength is multiplied with, and what was minimised.

    Parameters
    ----------
    loss_type : {"sigmoid", "sigmoid_norm"}
        Log-ratios summed over tokens, or divided by their number.
    truncation_mode : {"keep_start", "keep_end"}
        Which end of prompt and response stays where they are longer than ``max_length``.
    max_length : int or None
        Tokens of prompt and response; ``None`` for any number.
    ld_alpha : float or None
        Weight, in [0, 1], of the tokens by which a response is longer than the other one (LD-DPO
        [1]_); ``None`` where all count alike.
    objective : str
        As of ``MixDPOConfig``.
    arguments : dict
        The further arguments of ``MixDPOConfig`` on which what was minimised depends, by name;
        empty in records from before they were written down.

    References
    ----------
    .. [1] Liu et al. (2024), arXiv:2409.06411.

    Examples
    --------
    >>> DeltaSettings(loss_type="sigmoid_norm").truncation_mode
    'keep_start'
    """

    loss_type: str = "sigmoid"
    truncation_mode: str = "keep_start"
    max_length: int | None = 1024
    ld_alpha: float | None = None
    objective: str = "mixdpo"
    arguments: dict[str, float | str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, known in (("loss_type", LOSS_TYPES), ("truncation_mode", TRUNCATION_MODES)):
            value = getattr(self, name)
            if value not in known:
                raise InputError(
                    f"Expected {name} to be one of {', '.join(known)}; got {value!r}. "
                    "Check the spelling."
                )
        length = self.max_length
        if length is not None and (not isinstance(length, int) or length < 1):
            raise InputError(
                f"Expected max_length as a number of tokens > 0, or None; got {length!r}."
            )
        if self.ld_alpha is not None:
            _check_number("ld_alpha", self.ld_alpha)
            if not 0 <= self.ld_alpha <= 1:
                raise InputError(f"Expected ld_alpha between 0 and 1; got {self.ld_alpha}.")
        if not isinstance(self.objective, str):
            raise TypeError(f"Expected objective as a name; got {self.objective!r}.")
        object.__setattr__(self, "arguments", _plain("arguments of an objective", self.arguments))


@dataclass(frozen=True)
class ShiftPrior:
    r"""Prior of what sets the law of a group apart from the common one, in log units.

    .. math::
        u \sim N(\text{location}, \text{location\_scale}^2), \qquad
        v \sim N(\text{dispersion}, \text{dispersion\_scale}^2)

    for a group with location + u and dispersion + v.

    Parameters
    ----------
    location, location_scale : float
        Centre and sd (> 0) of the shift of the log mean.
    dispersion, dispersion_scale : float or None
        Centre and sd (> 0) of the shift of the log spread; ``None`` for PointMass.
    """

    location: float
    location_scale: float
    dispersion: float | None = None
    dispersion_scale: float | None = None

    def __post_init__(self) -> None:
        if (self.dispersion is None) != (self.dispersion_scale is None):
            raise InputError(
                "Expected both dispersion and dispersion_scale of a shift, or neither; got one. "
                "Give both, or for PointMass none."
            )
        for name, value in asdict(self).items():
            if value is not None:
                _check_number(f"{name} of a shift", value, positive=name.endswith("_scale"))


# What a point of the trajectory may hold besides.
_GRADIENTS = {"gradient/location", "gradient/dispersion"}


@dataclass(frozen=True)
class LearnedGroup:
    """The law of one group, and the way to it.

    Parameters
    ----------
    parameters : dict
        Parameters of the law by name.
    shift : ShiftPrior
        The prior of what sets it apart from the common law.
    pairs : int
        Training pairs of the group.
    trajectory : sequence of dict
        Points ``{"step", <parameters>, "mean", "cv"}`` in order of steps; empty where there are
        too many groups to follow each.
    """

    parameters: dict[str, float]
    shift: ShiftPrior
    pairs: int = 0
    trajectory: tuple[dict[str, float], ...] = ()


@dataclass(frozen=True)
class LearnedCovariate:
    """What a covariate of the pairs does to the log mean of strength.

    Parameters
    ----------
    mean, sd : float
        Of the covariate in the training pairs, by which it is standardised; sd > 0.
    scale : float
        Prior sd of the coefficient, > 0; its centre is 0.
    coefficient : float
        Change of the log mean strength for one sd of the covariate.
    """

    mean: float
    sd: float
    scale: float
    coefficient: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            _check_number(f"{name} of a covariate", value, positive=name in ("sd", "scale"))


@dataclass(frozen=True)
class LearnedStrength:
    """Law of strength at the end of MixDPO training, and the way to it.

    Parameters
    ----------
    family : {"PointMass", "Normal", "LogNormal", "Gamma", "InverseGaussian"}
        Mixing distribution.
    parameters : dict
        Its parameters by name, such as ``{"mu": -2.4, "sigma": 0.5}``.
    mode : {"joint", "anchored", "frozen"}
        What was learned: mean and dispersion, the dispersion alone, or nothing.
    prior : StrengthPrior, optional
        The prior it was learned under; ``None`` when there was none.
    steps : int
        Optimizer steps after which ``parameters`` hold.
    trajectory : sequence of dict
        Points ``{"step", <parameters>, "mean", "cv"}`` in order of steps, those after an optimizer
        step with ``"gradient/location"`` and ``"gradient/dispersion"`` of what is learned.
    model : str, optional
        Name or path of the model that was trained.
    versions : dict, optional
        Versions of the libraries.
    group_column : str, optional
        Column of the training pairs of which each level has a law of its own; ``parameters`` are
        then those of the common law.
    groups : dict, optional
        Level to its :class:`LearnedGroup`.
    covariates : dict, optional
        Column to its :class:`LearnedCovariate`; ``parameters`` then hold where every covariate
        is at its mean.
    delta : DeltaSettings, optional
        Which Δ it is the strength of, and the objective; ``None`` in records from before this was
        written down.

    Examples
    --------
    >>> learned = LearnedStrength("Gamma", {"shape": 4.0, "rate": 40.0}, mode="joint", steps=100)
    >>> learned.mixing().mean(), learned.mixing().cv()
    (0.1, 0.5)
    """

    family: str
    parameters: dict[str, float]
    mode: str
    prior: StrengthPrior | None = None
    steps: int = 0
    trajectory: tuple[dict[str, float], ...] = ()
    model: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    group_column: str | None = None
    groups: dict[str, LearnedGroup] = field(default_factory=dict)
    covariates: dict[str, LearnedCovariate] = field(default_factory=dict)
    delta: DeltaSettings | None = None

    def __post_init__(self) -> None:
        for name in ("parameters", "versions", "groups", "covariates"):
            _check_mapping(f"{name} of a learned strength", getattr(self, name))
        if self.mode not in MODES:
            raise InputError(f"Expected a mode ({', '.join(MODES)}); got {self.mode!r}.")
        law = self.mixing()
        if not law.known:
            raise InputError(
                f"Expected the parameters of {self.family}; got none. The record is incomplete."
            )
        if isinstance(self.prior, Mapping):
            object.__setattr__(self, "prior", StrengthPrior.from_dict(self.prior, "its prior"))
        if isinstance(self.delta, Mapping):
            object.__setattr__(self, "delta", DeltaSettings(**self.delta))
        object.__setattr__(self, "trajectory", self._points(self.trajectory, "the trajectory"))
        if (self.group_column is None) != (not self.groups):
            raise InputError(
                "Expected a group_column along with groups; got one without the other. The record "
                "is incomplete."
            )
        groups = {level: self._group(level, each) for level, each in self.groups.items()}
        covariates = {name: _covariate(name, each) for name, each in self.covariates.items()}
        object.__setattr__(self, "groups", groups)
        object.__setattr__(self, "covariates", covariates)

    def _points(self, trajectory: Any, where: str) -> tuple[dict[str, float], ...]:
        expected = {"step", "mean", "cv", *self.parameters}
        for number, point in enumerate(trajectory):
            if set(point) - _GRADIENTS != expected:
                raise InputError(
                    f"Expected {', '.join(sorted(expected))} in each point of {where}; "
                    f"got {', '.join(sorted(point))} in point {number}. "
                    "The record is of another family."
                )
        return tuple(dict(point) for point in trajectory)

    def _group(self, level: str, group: Any) -> LearnedGroup:
        if isinstance(group, Mapping):
            shift = group["shift"] if "shift" in group else None
            if not isinstance(shift, Mapping):
                raise InputError(f"Expected the prior of the shift of group {level!r}; got none.")
            group = LearnedGroup(**{**group, "shift": ShiftPrior(**shift)})
        if not isinstance(group, LearnedGroup):
            raise TypeError(f"Expected group {level!r} as a mapping; got {group!r}.")
        _check_mapping(f"parameters of group {level!r}", group.parameters)
        self._law(group.parameters)
        points = self._points(group.trajectory, f"the trajectory of group {level!r}")
        return LearnedGroup(dict(group.parameters), group.shift, group.pairs, points)

    def mixing(self) -> Mixing:
        """Return the learned law, with known parameters; the common one where groups have theirs.

        See :meth:`of_group` and :meth:`of_pairs` for the others.
        """
        return self._law(self.parameters)

    def _law(self, parameters: Mapping[str, float]) -> Mixing:
        if self.family not in MIXINGS:
            raise InputError(
                f"Expected a family of mixing distributions ({', '.join(MIXINGS)}); "
                f"got {self.family!r}."
            )
        law = MIXINGS[self.family]
        names = list(law().parameters)
        if set(parameters) != set(names):
            raise InputError(
                f"{self.family} has the parameters {', '.join(names)}; "
                f"got {', '.join(parameters) or 'none'}."
            )
        for name, value in parameters.items():
            _check_number(name, value)
        return law(**parameters)

    def of_group(self, level: str) -> Self:
        """Return the record of one group: its law, trajectory and prior in place of the common.

        Parameters
        ----------
        level : str
            One of ``groups``.

        Returns
        -------
        LearnedStrength
            Without groups; covariates stay. Its prior is that of the sum of common law and shift.

        Raises
        ------
        InputError
            If there is no such group.
        """
        if level not in self.groups:
            raise InputError(
                f"Expected a group that training learned ({', '.join(self.groups) or 'none'}); "
                f"got {level!r}. Give the level without its column."
            )
        own = self.groups[level]
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return type(self)(
            **{
                **record,
                "parameters": own.parameters,
                "trajectory": own.trajectory,
                "prior": None if self.prior is None else _sum_of(self.prior, own.shift),
                "group_column": None,
                "groups": {},
            }
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the pairs on which their law depends."""
        group = () if self.group_column is None else (self.group_column,)
        return (*group, *self.covariates)

    def of_pairs(self, pairs: Any) -> Mixing:
        """Return the law of every pair.

        Parameters
        ----------
        pairs : DataFrame, Dataset or mapping
            Anything with :attr:`columns` by name.

        Returns
        -------
        Mixing
            With parameters of shape (pair,), or numbers where all pairs have one law.

        Raises
        ------
        InputError
            If a column is missing, a group unknown, or a covariate not finite.

        Examples
        --------
        >>> shift = ShiftPrior(0.0, 0.3)
        >>> groups = {"east": LearnedGroup({"value": 0.1}, shift),
        ...           "west": LearnedGroup({"value": 0.4}, shift)}
        >>> learned = LearnedStrength(
        ...     "PointMass", {"value": 0.2}, "joint", group_column="region", groups=groups
        ... )
        >>> learned.of_pairs({"region": ["west", "west", "east"]}).value
        array([0.4, 0.4, 0.1])
        """
        if not self.columns:
            return self.mixing()
        found = {name: self._column(pairs, name) for name in self.columns}
        location: Any
        dispersion: Any
        if self.group_column is None:
            location, dispersion = location_dispersion(self.mixing())
        else:
            code = self._codes(found[self.group_column])
            laws = [location_dispersion(self._law(g.parameters)) for g in self.groups.values()]
            location = np.array([law[0] for law in laws])[code]
            spreads = [law[1] for law in laws]
            dispersion = None if self.family == "PointMass" else np.array(spreads)[code]
        for name, covariate in self.covariates.items():
            values = _finite(name, found[name])
            location = location + covariate.coefficient * (values - covariate.mean) / covariate.sd
        return mixing_from(self.family, location, dispersion, np.exp)

    def _column(self, pairs: Any, name: str) -> list[Any]:
        try:
            return list(pairs[name])
        except KeyError:
            raise InputError(
                f"Expected a column {name}, on which the learned strength depends; got none. "
                "Add it, or take the common law: strength.current()."
            ) from None

    def _codes(self, levels: list[Any]) -> np.ndarray:
        known = {level: code for code, level in enumerate(self.groups)}
        for row, level in enumerate(levels):
            if str(level) not in known:
                raise InputError(
                    f"Expected a level of {self.group_column!r} whose strength was learned "
                    f"({shown(known)}); got {level!r} in row {row}. Leave such pairs out, or take "
                    "the common law: strength.current()."
                )
        return np.array([known[str(level)] for level in levels], dtype=int)

    def learned(self) -> Self:
        """Return itself, so that a record stands where a trainer's strength does."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the record as it is written, JSON types only."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        record["prior"] = None if self.prior is None else self.prior.to_dict()
        record["trajectory"] = list(self.trajectory)
        record["delta"] = None if self.delta is None else asdict(self.delta)
        for name in ("groups", "covariates"):
            record[name] = {label: asdict(each) for label, each in record[name].items()}
        return {"schema": SCHEMA, **record}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the record as JSON; a folder stands for ``learned_strength.json`` in it."""
        path = Path(path)
        path = path / FILE_NAME if path.is_dir() else path
        return atomic_write_text(path, to_json(self.to_dict()))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a record written by :meth:`save`, by its path or the folder of the model.

        Raises
        ------
        InputError
            If the file is missing, is not JSON, has another schema, or does not hold together.

        Examples
        --------
        >>> import tempfile
        >>> learned = LearnedStrength("PointMass", {"value": 0.1}, mode="frozen")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = learned.save(folder)
        ...     LearnedStrength.load(folder) == learned
        True
        """
        path = Path(path)
        path = path / FILE_NAME if path.is_dir() else path
        record = read_json(path, "learned strength")
        return build_record(cls, record, SCHEMA, str(path))


def shown(levels: Any, most: int = 8) -> str:
    """The first levels, for an error.

    Examples
    --------
    >>> shown("abc", most=2)
    'a, b and 1 more'
    """
    names = [str(level) for level in levels]
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _covariate(name: str, covariate: Any) -> LearnedCovariate:
    if isinstance(covariate, LearnedCovariate):
        return covariate
    _check_mapping(f"covariate {name!r}", covariate)
    return LearnedCovariate(**covariate)


def _check_mapping(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"Expected {name} as a mapping; got {value!r}.")


def _finite(name: str, values: list[Any]) -> np.ndarray:
    known = [v if isinstance(v, numbers.Real | np.bool_) else math.nan for v in values]
    out = np.array(known, dtype=float)
    wrong = np.flatnonzero(~np.isfinite(out))
    if len(wrong):
        raise InputError(
            f"Expected numbers in column {name}, on which the learned strength depends; got "
            f"{values[wrong[0]]!r} in row {wrong[0]} ({len(wrong)} of {len(values)} rows). "
            "Drop these pairs."
        )
    return out


def _sum_of(prior: StrengthPrior, shift: ShiftPrior) -> StrengthPrior:
    """Prior of the sum of a common law's parameters and a group's shifts."""
    dispersion = dispersion_sd = None
    if prior.dispersion is not None and prior.dispersion_sd is not None:
        dispersion = prior.dispersion + (shift.dispersion or 0.0)
        dispersion_sd = math.hypot(prior.dispersion_sd, shift.dispersion_scale or 0.0)
    return StrengthPrior(
        prior.family,
        prior.location + shift.location,
        math.hypot(prior.location_sd, shift.location_scale),
        dispersion,
        dispersion_sd,
        source=prior.source,
    )
