"""Arguments of MixDPO training: TRL's for DPO, and what is known of strength."""

import inspect
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from trl import DPOConfig

from prefstrength.choice.learned_parts import MODES, LearnedCovariate
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.choice.strength_prior import StrengthPrior
from prefstrength.mixdpo.answers import Answers
from prefstrength.mixdpo.config_checks import (
    SCHEDULES,
    check_best,
    check_loss_type,
    check_mean,
    check_objective,
    resolve_strength,
)
from prefstrength.mixdpo.objectives.registry import OBJECTIVES, own_argument, takes_objectives
from prefstrength.mixdpo.shifts import shift_priors
from prefstrength.mixdpo.strength import Strength

__all__ = ["MixDPOConfig"]

#: Coefficient of variation to start from where nothing is known.
DEFAULT_START_CV = 0.5


def one_of(known: Collection[str], default: Any = None) -> Any:
    """Field for a word, with the words that a command line takes."""
    return field(default=default, metadata={"choices": known})


def documented[Config: type](config: Config) -> Config:
    """Class decorator: a command line explains each field in the words of the docstring."""
    _, _, entries = (inspect.getdoc(config) or "").partition("Parameters\n----------\n")
    known: dict[str, Any] = {each.name: each for each in fields(config)}
    for entry in re.split(r"\n(?=\S)", entries.partition("\n\n")[0]):
        head, *lines = entry.replace("``", "").replace("%", "%%").split("\n")
        for name in head.partition(" : ")[0].split(", "):
            each = known.get(name)
            if each is not None and "help" not in each.metadata:
                each.metadata = {"help": " ".join(map(str.strip, lines)), **each.metadata}
    return config


@takes_objectives
@documented
@dataclass
class MixDPOConfig(DPOConfig):
    r"""Arguments of :class:`~prefstrength.mixdpo.MixDPOTrainer`.

    All arguments of ``trl.DPOConfig`` with their defaults, and the ones below. Like it, the class
    can be read from a command line or YAML by ``transformers.HfArgumentParser`` and
    ``trl.TrlParser``.

    Parameters
    ----------
    strength : StrengthPrior or str, optional
        What is known of strength: the prior, or the path of a ``strength_prior.json``. Its centre
        is where training starts, its uncertainty how far the data may pull. Without it, see
        ``strength_family``.
    strength_family : {"PointMass", "Normal", "LogNormal", "Gamma", "InverseGaussian"}, optional
        Mixing distribution. With ``strength`` it must be the prior's own, and may be left out.
        Without ``strength``, a family is learned freely, from a mean of ``beta`` and
        ``strength_start_cv`` on, and a warning says what that means; without both, strength is a
        point at ``beta`` and training is plain DPO.
    strength_mode : {"joint", "anchored", "frozen"}, optional
        ``"joint"``: mean and dispersion are learned. ``"anchored"``: the mean stays, the
        dispersion is learned. ``"frozen"``: both stay. Default ``"joint"``, or ``"frozen"``
        where neither ``strength`` nor ``strength_family`` is given.
    strength_start_cv : float, optional
        Coefficient of variation (sd/mean) to start from, > 0, only without ``strength``;
        default 0.5.
    strength_group_column : str, optional
        Column of the training pairs of which each level has a mixing distribution of its own,
        shrunk to the common one: location + u, dispersion + v. With ``"joint"`` both are learned;
        with ``"anchored"`` every mean stays, each group's too, and the dispersions are learned;
        with ``"frozen"`` the groups are as the prior has them. Where ``strength`` tells of a level
        (``groups`` of the prior, ``<column>=<level>``), u and v start there.
    strength_group_location_scale, strength_group_dispersion_scale : float, default 0.3
        Prior sd of u and of v, > 0, in log units: 0.3 lets a group's mean, or spread, be about a
        third above or below the common one. The second holds for levels of which the prior says
        nothing; otherwise the sd is the prior's. The analysis learns these scales, under a
        HalfNormal(0.5), of which 0.34 is the median; training cannot, and takes them as given.
    strength_covariates : list of str, optional
        Columns of numbers of which the log mean strength of a pair is a linear function; they are
        standardised on the training pairs. Only with ``"joint"``. They must not tell which
        response was chosen: a difference chosen minus rejected would, its size does not.
    strength_covariate_scale : float, default 0.3
        Prior sd of their coefficients, > 0: change of the log mean for one sd of the covariate.
    strength_learning_rate : float, default 1e-3
        Learning rate of the Adam optimizer of the strength, > 0: about the largest relative
        change of mean or spread in one step, those of groups included; by as much less as a
        group's prior sd is below 0.1. Our choice.
    strength_lr_scheduler : str, default "constant"
        Schedule of that rate, by transformers' name: ``"constant"``, ``"constant_with_warmup"``,
        ``"linear"``, ``"cosine"`` or ``"inverse_sqrt"``; with the policy's ``warmup_steps``.
    strength_num_pairs : int, optional
        Number of training pairs N that the prior is weighed against, > 0; default the length of
        ``train_dataset``. Needed where the length is not known (streaming).
    objective : {"mixdpo", "odpo", "beta-dpo", "smpo", "capo"}, default "mixdpo"
        What is minimised. ``"odpo"``, ``"smpo"`` and ``"capo"`` want the columns
        ``reward_chosen`` and ``reward_rejected``; ``"capo"`` is no likelihood and wants a frozen
        strength. Others can be added: :func:`prefstrength.mixdpo.objectives.register`.
    estimator : {"exact", "monte-carlo"}, default "exact"
    samples : int, default 16
        Of ``"mixdpo"``: the expectation over strength in training is exact, or by this number of
        draws for each pair as in the MixDPO paper.
    odpo_alpha, beta_dpo_a, smpo_gamma : float, default 1.0, 0.6 and 1.0
        Of ``"odpo"`` and ``"beta-dpo"``, >= 0, and of ``"smpo"``, > 0.
    answer_column : str, optional
        Column with the answer to each pair where it is more than which response was chosen:
        grades, in whole numbers or words, or ties (true, or ``"tie"``). ``strength`` must be the
        prior of a fit of such answers: it holds their scale, and the cut points or the weight of a
        tie, which are constants of the loss.
    weight_column : str, optional
        Column with a weight >= 0 for every pair, which its loss is multiplied with.
    group_columns : list of str, optional
        Columns of the evaluation sets to report by: every evaluation logs accuracy, margin,
        negative log-likelihood and calibration error of each level, their mean (macro) and the
        worst, as ``eval_<column>/<level>/<metric>``.
    loss_type : {"sigmoid", "sigmoid_norm"}, default "sigmoid"
        Whether Δ is a sum over tokens, or each log-ratio is divided by its number of tokens: then
        strengths 20 to 100 times as large are usual, and the prior's mean is for that Δ.
    beta : float, optional
        Strength of plain DPO, or the mean to start from without ``strength``; default 0.1, in
        practice 0.01 to 0.5. With ``strength`` it is the prior's mean and cannot be given.

    Raises
    ------
    InputError
        If arguments contradict each other, the prior cannot be read, or a mean strength cannot be
        meant for Δ: below 1e-4 or above 5 (above 500 with ``"sigmoid_norm"``).

    Warns
    -----
    DataWarning
        If a mean strength is seldom meant for Δ: above 1, or with ``"sigmoid_norm"`` below 1 or
        above 100. The means of groups are held to the same bounds by the trainer.

    Notes
    -----
    The loss is by default :math:`-\log E_{\beta \sim F}[\sigma(\beta\Delta)]` [1]_, with a
    point DPO's [2]_, which replaces TRL's; its other losses, label smoothing and f-divergences are
    rejected.

    References
    ----------
    .. [1] arXiv:2601.06180, MixDPO.
    .. [2] arXiv:2305.18290, DPO.

    Examples
    --------
    >>> import math
    >>> prior = StrengthPrior("LogNormal", math.log(0.1), 0.2, math.log(0.7), 0.3)
    >>> args = MixDPOConfig("runs/example", strength=prior, report_to="none", bf16=False)
    >>> args.strength_mode, round(args.beta, 6)
    ('joint', 0.1)
    """

    # None until __post_init__, so that a given beta can be told from a default one.
    beta: float = None  # type: ignore[assignment]

    # What is known of strength
    strength: StrengthPrior | str | None = None
    strength_family: str | None = one_of(MIXINGS)
    strength_mode: str | None = one_of(MODES)
    strength_start_cv: float | None = None

    # What is minimised
    objective: str = one_of(OBJECTIVES, "mixdpo")
    estimator: str = own_argument("estimator")
    samples: int = own_argument("samples")
    odpo_alpha: float = own_argument("odpo_alpha")
    beta_dpo_a: float = own_argument("beta_dpo_a")
    smpo_gamma: float = own_argument("smpo_gamma")
    answer_column: str | None = None
    weight_column: str | None = None

    # What evaluations report by
    group_columns: list[str] | None = None

    # On what strength depends
    strength_group_column: str | None = None
    strength_group_location_scale: float = 0.3
    strength_group_dispersion_scale: float = 0.3
    strength_covariates: list[str] | None = None
    strength_covariate_scale: float = 0.3

    # How strength is learned
    strength_learning_rate: float = 1e-3
    strength_lr_scheduler: str = one_of(SCHEDULES, "constant")
    strength_num_pairs: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.strength, os.PathLike):
            self.strength = os.fspath(self.strength)
        elif isinstance(self.strength, dict):  # as to_dict writes it
            self.strength = StrengthPrior.from_dict(self.strength)
        if not isinstance(self.strength, StrengthPrior | str | None):
            raise TypeError(
                "Expected strength as a StrengthPrior or the path of one; got "
                f"{type(self.strength).__name__}."
            )
        self._prior = (
            StrengthPrior.load(self.strength) if isinstance(self.strength, str) else self.strength
        )
        for name in ("strength_covariates", "group_columns"):
            if isinstance(value := getattr(self, name), str):
                setattr(self, name, [value])
        resolve_strength(self, self._prior)
        # Building it once finds what the family and the mode do not allow.
        check_mean(self, self.build_strength().mean)
        check_objective(self)
        self._answers = (
            None if self.answer_column is None else Answers.of(self.answer_column, self._prior)
        )
        check_loss_type(self)
        check_best(self)
        if getattr(self, "activation_checkpointing", True) is None:
            # TRL 1.16 sets its default under the old name, of which transformers >= 5.20 warns
            # users who gave neither.
            self.activation_checkpointing = self.gradient_checkpointing
        super().__post_init__()

    @property
    def answers(self) -> Answers | None:
        """What the answers in ``answer_column`` mean."""
        return self._answers

    def build_strength(
        self,
        pairs: Mapping[str, int] | None = None,
        covariates: Mapping[str, LearnedCovariate] | None = None,
    ) -> Strength:
        """Build the strength to train with, at its start.

        Parameters
        ----------
        pairs : dict, optional
            Levels of ``strength_group_column`` and their numbers of training pairs.
        covariates : dict, optional
            ``strength_covariates`` with what standardises them.
        """
        mode, family = str(self.strength_mode), str(self.strength_family)
        shifts: dict[str, Any] = {"covariates": covariates}
        if pairs:
            column = str(self.strength_group_column)
            groups = shift_priors(
                list(pairs),
                column,
                self._prior,
                family,
                self.strength_group_location_scale,
                self.strength_group_dispersion_scale,
            )
            shifts |= {"group_column": column, "groups": groups, "pairs": pairs}
        if self._prior is not None:
            strength = Strength.from_prior(self._prior, mode, **shifts)
        else:
            cv = DEFAULT_START_CV if self.strength_start_cv is None else self.strength_start_cv
            strength = Strength.from_start(family, float(self.beta), cv, mode, **shifts)
        for level, mean in strength.group_means().items():
            check_mean(self, mean, f"{self.strength_group_column}={level}")
        return strength

    def to_dict(self) -> dict[str, Any]:
        record = super().to_dict()
        if isinstance(self.strength, StrengthPrior):
            record["strength"] = self.strength.to_dict()
        return record
