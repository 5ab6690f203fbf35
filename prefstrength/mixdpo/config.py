"""Arguments of MixDPO training: TRL's for DPO, and what is known of strength."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trl import DPOConfig

from prefstrength._shared.words import warn
from prefstrength.choice.learned_parts import MODES, LearnedCovariate, shown
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.choice.strength_prior import StrengthPrior
from prefstrength.errors import InputError
from prefstrength.mixdpo.objectives.losses import ESTIMATORS
from prefstrength.mixdpo.objectives.registry import OBJECTIVES
from prefstrength.mixdpo.shifts import shift_priors
from prefstrength.mixdpo.strength import Strength

__all__ = ["MixDPOConfig"]

#: DPO's default for β, and the coefficient of variation to start from where nothing is known.
DEFAULT_BETA, DEFAULT_START_CV = 0.1, 0.5

#: Mean strengths that can be meant for a log-ratio difference in nats; DPO's β is 0.01 to 0.5.
LEAST_MEAN, GREATEST_MEAN = 1e-4, 5.0
#: A mean above is seldom meant for sums over tokens, one below seldom for log-ratios per token.
USUAL_MEAN = 1.0
#: Schedules of the strength's learning rate: transformers' that need nothing but a warmup.
SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine", "inverse_sqrt")

# Log-ratios divided by their length are smaller by about this.
_PER_TOKEN = 100.0


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
        Column of the training pairs of which each level has a law of its own, shrunk to the common
        one: location + u, dispersion + v. With ``"joint"`` both are learned; with ``"anchored"``
        every mean stays, each group's too, and the dispersions are learned; with ``"frozen"``
        the groups are as the prior has them. Where ``strength`` tells of a level
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
        What is minimised (:mod:`prefstrength.mixdpo.objectives.losses`). ``"odpo"``, ``"smpo"`` and
        ``"capo"`` want the columns ``reward_chosen`` and ``reward_rejected``; ``"capo"`` is no
        likelihood and wants a frozen strength.
    estimator : {"exact", "monte-carlo"}, default "exact"
        Expectation over strength in training: exact, or by draws as in the MixDPO paper.
    samples : int, default 16
        Draws for each pair, > 0, with ``estimator="monte-carlo"``.
    odpo_alpha : float, default 1.0
        Scale of ODPO's offset, >= 0.
    beta_dpo_a : float, default 0.6
        How much β-DPO's strength follows the batch, >= 0.
    smpo_gamma : float, default 1.0
        Sensitivity of the smoothed preferences, > 0.
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
        practice 0.01 to 0.5 [2]_. With ``strength`` it is the prior's mean and cannot be given.

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
    The loss is by default :math:`-\log E_{\beta \sim F}[\sigma(\beta\Delta)]` [1]_, which
    replaces TRL's; its other losses, label smoothing and f-divergences are rejected.

    References
    ----------
    .. [1] arXiv:2601.06180, MixDPO.
    .. [2] arXiv:2305.18290, DPO.

    Examples
    --------
    >>> prior = StrengthPrior("LogNormal", math.log(0.1), 0.2, math.log(0.7), 0.3)
    >>> args = MixDPOConfig("runs/example", strength=prior, report_to="none", bf16=False)
    >>> args.strength_mode, round(args.beta, 6)
    ('joint', 0.1)
    """

    # None until __post_init__, so that a given beta can be told from a default one.
    beta: float = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Strength of plain DPO, or the mean strength to start from when there is no "
            "prior; > 0, in practice 0.01 to 0.5 (https://huggingface.co/papers/2305.18290). "
            "Defaults to 0.1. With `strength` the prior's mean is taken and beta cannot be given."
        },
    )

    # Parameters that say what is known of strength
    strength: StrengthPrior | str | None = field(
        default=None,
        metadata={
            "help": "Path of a strength prior (strength_prior.json), or in Python a StrengthPrior. "
            "Its centre is where training starts and its uncertainty how far the data may pull "
            "(MixDPO, https://huggingface.co/papers/2601.06180; the prior is prefstrength's)."
        },
    )
    strength_family: str | None = field(
        default=None,
        metadata={
            "help": "Mixing distribution of strength. With `strength` it must be the prior's. "
            "Without, a family is learned freely (mean drifts up and spread shrinks as the pairs "
            "become separable); without both, strength is a point at beta: plain DPO.",
            "choices": list(MIXINGS),
        },
    )
    strength_mode: str | None = field(
        default=None,
        metadata={
            "help": "joint: mean and dispersion are learned; anchored: the mean stays, the "
            "dispersion is learned; frozen: both stay. Defaults to joint, or to frozen where "
            "neither `strength` nor `strength_family` is given.",
            "choices": list(MODES),
        },
    )
    strength_start_cv: float | None = field(
        default=None,
        metadata={
            "help": "Coefficient of variation (sd/mean) of strength to start from when there is "
            "no prior, > 0. Defaults to 0.5."
        },
    )

    # Parameters that control the objective
    objective: str = field(
        default="mixdpo",
        metadata={
            "help": "What is minimised. odpo, smpo and capo want the columns reward_chosen and "
            "reward_rejected.",
            "choices": list(OBJECTIVES),
        },
    )
    estimator: str = field(
        default="exact",
        metadata={
            "help": "Expectation over strength in training: exact, or by draws as in the MixDPO "
            "paper.",
            "choices": list(ESTIMATORS),
        },
    )
    samples: int = field(
        default=16, metadata={"help": "Draws for each pair, > 0, with estimator monte-carlo."}
    )
    odpo_alpha: float = field(default=1.0, metadata={"help": "Scale of ODPO's offset, >= 0."})
    beta_dpo_a: float = field(
        default=0.6, metadata={"help": "How much beta-DPO's strength follows the batch, >= 0."}
    )
    smpo_gamma: float = field(
        default=1.0, metadata={"help": "Sensitivity of SmPO's smoothed preferences, > 0."}
    )
    weight_column: str | None = field(
        default=None,
        metadata={"help": "Column with a weight >= 0 of every pair, which multiplies its loss."},
    )

    group_columns: list[str] | None = field(
        default=None,
        metadata={"help": "Columns of the evaluation sets to report metrics by."},
    )

    # Parameters that say on what strength depends
    strength_group_column: str | None = field(
        default=None,
        metadata={
            "help": "Column of which each level has a law of strength of its own, shrunk to the "
            "common one. In mode anchored the groups' means stay, their dispersions are learned."
        },
    )
    strength_group_location_scale: float = field(
        default=0.3,
        metadata={"help": "Prior sd of a group's shift of the log mean strength, > 0."},
    )
    strength_group_dispersion_scale: float = field(
        default=0.3,
        metadata={
            "help": "Prior sd of a group's shift of the log spread, > 0, for levels of which the "
            "strength prior says nothing."
        },
    )
    strength_covariates: list[str] | None = field(
        default=None,
        metadata={
            "help": "Columns of numbers of which the log mean strength is a linear function, "
            "standardised on the training pairs. They must not tell which response was chosen."
        },
    )
    strength_covariate_scale: float = field(
        default=0.3,
        metadata={
            "help": "Prior sd of the change of the log mean strength for one sd of a covariate, "
            "> 0."
        },
    )

    # Parameters that control how strength is learned
    strength_learning_rate: float = field(
        default=1e-3,
        metadata={
            "help": "Learning rate of the Adam optimizer of the strength parameters, > 0; about "
            "the largest relative change of mean or spread in one step."
        },
    )
    strength_lr_scheduler: str = field(
        default="constant",
        metadata={
            "help": "Schedule of the strength's learning rate, with the policy's warmup_steps.",
            "choices": list(SCHEDULES),
        },
    )
    strength_num_pairs: int | None = field(
        default=None,
        metadata={
            "help": "Number of training pairs that the prior is weighed against, > 0. Defaults "
            "to the length of the training dataset; needed for streaming datasets."
        },
    )

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
        self._resolve_strength()
        self._check_objective()
        self._reject_other_losses()
        if getattr(self, "activation_checkpointing", True) is None:
            # TRL 1.16 sets its default under the old name, of which transformers >= 5.20 warns
            # users who gave neither.
            self.activation_checkpointing = self.gradient_checkpointing
        super().__post_init__()

    # -- what the arguments mean ----------------------------------------------------------------

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
            self._check_mean(mean, f"{self.strength_group_column}={level}")
        return strength

    def _check_mean(self, mean: float, group: str | None = None) -> None:
        """Stop at a mean that cannot be meant for Δ, and warn of one that seldom is."""
        normalized = self.loss_type in ("sigmoid_norm", ["sigmoid_norm"])
        greatest = GREATEST_MEAN * (_PER_TOKEN if normalized else 1.0)
        where = "" if group is None else f" in group {group}"
        if not LEAST_MEAN <= mean <= greatest:
            raise InputError(
                f"Expected a mean strength between {LEAST_MEAN:g} and {greatest:g} per nat "
                f"of log-ratio (DPO's beta is 0.01 to 0.5){where}; got {mean:.4g}. "
                + (
                    "A mean in units of a reward model cannot be meant for log-ratios: build the "
                    "prior with `StrengthPrior.from_fit(fit, mean_strength=0.1)`, which anchors "
                    "its scale."
                    if group is None
                    else "Correct the group's relative_mean in the prior, or leave its pairs out."
                )
            )
        usual = greatest / GREATEST_MEAN * USUAL_MEAN
        if normalized and mean < USUAL_MEAN:
            said = (
                "usual for sums over tokens; per token, log-ratios are 20 to 100 times smaller and "
                "strengths as much larger. Give a prior, or beta, for that scale"
            )
        elif mean > usual:
            said = (
                f"rarely above {usual:g} (DPO's beta is 0.01 to 0.5); in units of a reward model "
                "it is. If the prior was built with such units, build it with "
                "`StrengthPrior.from_fit(fit, mean_strength=0.1)`"
            )
        else:
            return
        warn(
            f"The mean strength{where} is {mean:.4g} per nat of log-ratio"
            f"{' per token' if normalized else ''}, which is {said}.",
        )

    def to_dict(self) -> dict[str, Any]:
        record = super().to_dict()
        if isinstance(self.strength, StrengthPrior):
            record["strength"] = self.strength.to_dict()
        return record

    def _resolve_strength(self) -> None:
        if isinstance(self.strength_covariates, str):
            self.strength_covariates = [self.strength_covariates]
        for name, known in (
            ("strength_family", list(MIXINGS)),
            ("strength_mode", MODES),
            ("strength_lr_scheduler", SCHEDULES),
        ):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise InputError(
                    f"Expected {name} to be one of {', '.join(known)}; got {value!r}. "
                    "Check the spelling."
                )
        for name in (
            "strength_learning_rate",
            "strength_start_cv",
            "strength_num_pairs",
            "strength_group_location_scale",
            "strength_group_dispersion_scale",
            "strength_covariate_scale",
            "beta",
        ):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(
                    f"Expected {name} > 0; got {value}. To keep strength fixed, take "
                    "`strength_mode='frozen'`."
                )
        if self._prior is not None:
            self._resolve_with_prior(self._prior)
        else:
            self._resolve_without_prior()
        self._check_shifts()
        # Building it once finds what the family and the mode do not allow.
        self._check_mean(self.build_strength().mean)

    def _resolve_with_prior(self, prior: StrengthPrior) -> None:
        mean = math.exp(prior.location)
        # Equal is no contradiction: arguments may be built again from those of a run.
        if self.beta is not None and not math.isclose(self.beta, mean, rel_tol=1e-9):
            raise InputError(
                f"Expected either strength or beta; got a prior of mean {mean:.4g} and "
                f"`beta={self.beta}`. The prior holds the scale. Leave beta out, or build the "
                f"prior with `mean_strength={self.beta}`."
            )
        if self.strength_start_cv is not None:
            raise InputError(
                "Expected either strength or strength_start_cv; got both. Training starts at the "
                "centre of the prior. Leave strength_start_cv out."
            )
        if self.strength_family is not None and self.strength_family != prior.family:
            raise InputError(
                f"Expected a prior of the family {self.strength_family}; got one of "
                f"{prior.family}. Its dispersion means something else. Leave strength_family out, "
                f"or fit the analysis with {self.strength_family}."
            )
        self.beta, self.strength_family = mean, prior.family
        self.strength_mode = self.strength_mode or "joint"

    def _resolve_without_prior(self) -> None:
        if self.strength_family is None:
            if self.strength_mode in ("joint", "anchored") or self.strength_start_cv is not None:
                given = (
                    "strength_start_cv"
                    if self.strength_mode in (None, "frozen")
                    else f"`strength_mode={self.strength_mode!r}`"
                )
                raise InputError(
                    f"Expected strength or strength_family along with {given}; got neither. "
                    "Without both, strength is a point at beta. Give a prior, or name a family."
                )
            self.strength_family, self.strength_mode = "PointMass", "frozen"
        self.strength_mode = self.strength_mode or "joint"
        self.beta = DEFAULT_BETA if self.beta is None else self.beta
        if self.strength_mode != "frozen":
            warn(
                f"Strength ({self.strength_family}) is learned without a prior. The scale of "
                "strength and of the log-ratios are confounded: as the policy separates the "
                "pairs, the mean drifts up and the spread shrinks, so that a small learned spread "
                "is no sign of homogeneity. Give `strength='strength_prior.json'` from an analysis "
                "of the data to hold them.",
                UserWarning,
            )

    def _check_shifts(self) -> None:
        """Stop where strength is to depend on something, and nothing of that would be learned."""
        column, covariates = self.strength_group_column, self.strength_covariates or []
        if len(set(covariates)) < len(covariates):
            raise InputError(f"Expected each of strength_covariates once; got {covariates}.")
        if covariates and self.strength_mode != "joint":
            raise InputError(
                "Expected strength_mode 'joint' with strength_covariates, which move the mean "
                f"strength; got {self.strength_mode!r}, which holds it. Leave strength_covariates "
                "out, or give a prior or a family and learn the mean."
            )
        if column is None or self.strength_mode != "frozen":
            return
        known = self._prior.groups if self._prior is not None else {}
        if not any(label.startswith(f"{column}=") for label in known):
            raise InputError(
                f"Expected a strength that is learned, or a prior with groups of {column!r}, along "
                "with strength_group_column; got a frozen one"
                f"{' with groups ' + shown(known) if known else ''}. All groups would have one "
                "law. Leave strength_group_column out, give a family or a prior and learn it, or "
                f"fit the analysis with `groups=[{column!r}]`."
            )

    def _check_objective(self) -> None:
        if isinstance(self.group_columns, str):
            self.group_columns = [self.group_columns]
        for name, known in (("objective", list(OBJECTIVES)), ("estimator", ESTIMATORS)):
            value = getattr(self, name)
            if value not in known:
                raise InputError(
                    f"Expected {name} to be one of {', '.join(known)}; got {value!r}. "
                    "Check the spelling."
                )
        for name, least in (("samples", 1), ("odpo_alpha", 0), ("beta_dpo_a", 0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                raise InputError(f"Expected {name} >= {least}; got {value}.")
        if not (math.isfinite(self.smpo_gamma) and self.smpo_gamma > 0):
            raise InputError(
                f"Expected smpo_gamma > 0, or nothing would be learned; got {self.smpo_gamma}."
            )
        if self.estimator != "exact":
            if self.objective != "mixdpo":
                raise InputError(
                    f"Expected estimator 'exact' with objective {self.objective!r}; got "
                    f"{self.estimator!r}, which is MixDPO's. Leave it out."
                )
            if self.strength_family == "InverseGaussian":
                raise InputError(
                    "Expected PointMass, Normal, LogNormal or Gamma with estimator 'monte-carlo'; "
                    "got InverseGaussian, of which torch has no draws with gradients. Take "
                    "estimator 'exact'."
                )
        if OBJECTIVES[self.objective].regression and self.strength_mode != "frozen":
            raise InputError(
                f"Expected strength_mode 'frozen' with objective {self.objective!r}, which is no "
                f"likelihood of the choice and would shrink strength; got "
                f"{self.strength_mode!r}. Freeze it."
            )

    def _reject_other_losses(self) -> None:
        losses = [self.loss_type] if isinstance(self.loss_type, str) else list(self.loss_type)
        if losses not in (["sigmoid"], ["sigmoid_norm"]):
            raise InputError(
                "Expected loss_type 'sigmoid', which MixDPO generalises, or 'sigmoid_norm', the "
                f"same with log-ratios divided by their length; got {losses}. "
                "Use trl.DPOTrainer for other losses."
            )
        if self.loss_weights is not None and list(self.loss_weights) != [1.0]:
            raise InputError(
                f"Expected no loss_weights with the one MixDPO loss; got {self.loss_weights}. "
                "Leave them out."
            )
        if self.f_divergence_type != "reverse_kl":
            raise InputError(
                "Expected f_divergence_type 'reverse_kl', for which the log-ratio is what strength "
                f"multiplies; got {self.f_divergence_type!r}. Leave it out."
            )
        if self.label_smoothing:
            raise InputError(
                "Expected no label_smoothing, which the MixDPO loss does not have; got "
                f"{self.label_smoothing}. Leave it out."
            )
