"""Parts of a learned strength: of what Δ it was learned, its groups and covariates."""

from dataclasses import asdict, dataclass, field

from prefstrength._shared.records import MOST_LOG, as_json, check_count, check_number
from prefstrength.errors import InputError

__all__ = ["DeltaSettings", "LearnedCovariate", "LearnedGroup", "ShiftPrior"]

#: What training may learn of the mixing distribution of strength.
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
        if length is not None:
            check_count("max_length", length)
        if length == 0:
            raise InputError(
                f"Expected max_length as a number of tokens > 0, or None; got {length!r}."
            )
        if self.ld_alpha is not None:
            check_number("ld_alpha", self.ld_alpha)
            if not 0 <= self.ld_alpha <= 1:
                raise InputError(f"Expected ld_alpha between 0 and 1; got {self.ld_alpha}.")
        if not isinstance(self.objective, str):
            raise TypeError(f"Expected objective as a name; got {self.objective!r}.")
        object.__setattr__(self, "arguments", as_json("arguments of an objective", self.arguments))


@dataclass(frozen=True)
class ShiftPrior:
    r"""Prior of what sets a group's mixing distribution apart from the common one, in logs.

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
            if value is not None or not name.startswith("dispersion"):
                positive = name.endswith("_scale")
                check_number(f"{name} of a shift", value, positive=positive, most=MOST_LOG)


@dataclass(frozen=True)
class LearnedGroup:
    """The mixing distribution of one group, and the way to it.

    Parameters
    ----------
    parameters : dict
        Its parameters by name.
    shift : ShiftPrior
        The prior of what sets it apart from the common one.
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
            check_number(f"{name} of a covariate", value, positive=name in ("sd", "scale"))
