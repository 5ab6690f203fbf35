"""What training learned about strength: the record that is written next to the model."""

import math
import numbers
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from prefstrength._shared.files import atomic_write_text
from prefstrength._shared.records import (
    as_json,
    build_record,
    check_count,
    check_number,
    read_json,
    to_json,
)
from prefstrength._shared.words import listed
from prefstrength.choice.learned_parts import (
    MODES,
    DeltaSettings,
    LearnedCovariate,
    LearnedGroup,
    ShiftPrior,
)
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.families import family_named
from prefstrength.choice.mixing.zero_mass import with_zero_share
from prefstrength.choice.strength_prior import StrengthPrior
from prefstrength.errors import InputError

__all__ = ["LearnedStrength"]

SCHEMA = "prefstrength/learned-strength/1"
FILE_NAME = "learned_strength.json"


# What a point of the trajectory may hold besides.
_GRADIENTS = {"gradient/location", "gradient/dispersion"}


@dataclass(frozen=True)
class LearnedStrength:
    """Mixing distribution of strength at the end of MixDPO training, and the way to it.

    Parameters
    ----------
    family : {"PointMass", "Normal", "LogNormal", "Gamma", "InverseGaussian"}
        Mixing distribution.
    parameters : dict
        Its parameters by name, such as ``{"mu": -2.4, "sigma": 0.5}``; where the prior has a
        ``zero_share``, of those who weigh the reward.
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
        Column of the training pairs of which each level has a mixing distribution of its own;
        ``parameters`` are then those of the common one.
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
        check_count("steps", self.steps)
        for name in ("model", "group_column"):
            if not isinstance(getattr(self, name), str | None):
                raise TypeError(f"Expected {name} as text; got {getattr(self, name)!r}.")
        for name, kind in (("prior", StrengthPrior), ("delta", DeltaSettings)):
            if not isinstance(getattr(self, name), Mapping | kind | None):
                raise TypeError(f"Expected {name} as a mapping; got {getattr(self, name)!r}.")
        object.__setattr__(self, "versions", as_json("versions", self.versions))
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
            _check_mapping(f"point {number} of {where}", point)
            for name, value in point.items():
                check_number(f"{name} in point {number} of {where}", value)
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
        if not isinstance(group.shift, ShiftPrior):
            raise TypeError(f"Expected the shift of group {level!r}; got {group.shift!r}.")
        check_count(f"pairs of group {level!r}", group.pairs)
        points = self._points(group.trajectory, f"the trajectory of group {level!r}")
        return LearnedGroup(dict(group.parameters), group.shift, group.pairs, points)

    def mixing(self) -> Mixing:
        """Return what was learned, with known parameters; the common one where groups have theirs.

        See :meth:`of_group` and :meth:`of_pairs` for the others.
        """
        return with_zero_share(self._law(self.parameters), self.zero_share)

    @property
    def zero_share(self) -> float:
        """Share of choosers at strength zero, as the prior has it: training holds it."""
        return self.prior.zero_share if isinstance(self.prior, StrengthPrior) else 0.0

    def _law(self, parameters: Mapping[str, float]) -> Mixing:
        family = family_named(self.family)
        names = list(family().parameters)
        if set(parameters) != set(names):
            raise InputError(
                f"{self.family} has the parameters {', '.join(names)}; "
                f"got {', '.join(parameters) or 'none'}."
            )
        for name, value in parameters.items():
            check_number(name, value)
        return family(**parameters)

    def of_group(self, level: str) -> Self:
        """Return the record of one group: its mixing, trajectory and prior in place of the common.

        Parameters
        ----------
        level : str
            One of ``groups``.

        Returns
        -------
        LearnedStrength
            Without groups; covariates stay. Its prior is that of common mixing plus shift.

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
        """Columns of the pairs on which their mixing distribution depends."""
        group = () if self.group_column is None else (self.group_column,)
        return (*group, *self.covariates)

    def of_pairs(self, pairs: Any) -> Mixing:
        """Return the mixing distribution of every pair.

        Parameters
        ----------
        pairs : DataFrame, Dataset or mapping
            Anything with :attr:`columns` by name.

        Returns
        -------
        Mixing
            With parameters of shape (pair,), or numbers where all pairs have one.

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
        family = family_named(self.family)
        found = {name: self._column(pairs, name) for name in self.columns}
        parameters = self.parameters
        if self.group_column is not None:
            code = self._codes(found[self.group_column])
            groups = [group.parameters for group in self.groups.values()]
            parameters = {name: np.array([g[name] for g in groups])[code] for name in parameters}
        location, dispersion = family(**parameters).log_mean_spread()
        for name, covariate in self.covariates.items():
            values = _finite(name, found[name])
            location = location + covariate.coefficient * (values - covariate.mean) / covariate.sd
        law = family.from_log_mean_spread(location, dispersion)
        return with_zero_share(law, self.zero_share)

    def _column(self, pairs: Any, name: str) -> list[Any]:
        try:
            return list(pairs[name])
        except KeyError:
            raise InputError(
                f"Expected a column {name}, on which the learned strength depends; got none. "
                "Add it, or take the common mixing: strength.current()."
            ) from None

    def _codes(self, levels: list[Any]) -> np.ndarray:
        known = {level: code for code, level in enumerate(self.groups)}
        for row, level in enumerate(levels):
            if str(level) not in known:
                raise InputError(
                    f"Expected a level of {self.group_column!r} whose strength was learned "
                    f"({listed(known)}); got {level!r} in row {row}. Leave such pairs out, or take "
                    "the common mixing: strength.current()."
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
    """Prior of the sum of a common mixing's parameters and a group's shifts."""
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
        response=prior.response,
        zero_share=prior.zero_share,
    )
