"""What training learned about strength: the record that is written next to the model."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from prefstrength._files import atomic_write_text
from prefstrength.errors import InputError
from prefstrength.mixing import MIXINGS, Mixing
from prefstrength.prior import StrengthPrior, _check_number, build_record, read_json, to_json

__all__ = ["LearnedStrength"]

SCHEMA = "prefstrength/learned-strength/1"
FILE_NAME = "learned_strength.json"

#: What training may learn of the law of strength.
MODES = ("joint", "anchored", "frozen")


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
        Points ``{"step", <parameters>, "mean", "cv"}`` in order of steps.
    model : str, optional
        Name or path of the model that was trained.
    versions : dict, optional
        Versions of the libraries.

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

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"Expected a mode ({', '.join(MODES)}); got {self.mode!r}.")
        law = self.mixing()
        if not law.known:
            raise InputError(
                f"Expected the parameters of {self.family}; got none. The record is incomplete."
            )
        if isinstance(self.prior, Mapping):
            object.__setattr__(self, "prior", StrengthPrior.from_dict(self.prior, "its prior"))
        object.__setattr__(self, "trajectory", tuple(dict(point) for point in self.trajectory))
        expected = {"step", "mean", "cv", *self.parameters}
        for number, point in enumerate(self.trajectory):
            if set(point) != expected:
                raise InputError(
                    f"Expected {', '.join(sorted(expected))} in each point of the trajectory; "
                    f"got {', '.join(sorted(point))} in point {number}. "
                    "The record is of another family."
                )

    def mixing(self) -> Mixing:
        """Return the learned law, with known parameters."""
        if self.family not in MIXINGS:
            raise InputError(
                f"Expected a family of mixing distributions ({', '.join(MIXINGS)}); "
                f"got {self.family!r}."
            )
        law = MIXINGS[self.family]
        names = list(law().parameters)
        if set(self.parameters) != set(names):
            raise InputError(
                f"{self.family} has the parameters {', '.join(names)}; "
                f"got {', '.join(self.parameters) or 'none'}."
            )
        for name, value in self.parameters.items():
            _check_number(name, value)
        return law(**self.parameters)

    def learned(self) -> Self:
        """Return itself, so that a record stands where a trainer's strength does."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the record as it is written, JSON types only."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        record["prior"] = None if self.prior is None else self.prior.to_dict()
        record["trajectory"] = list(self.trajectory)
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
