"""What arguments of training mean together: strength, its scale, objective, TRL's losses."""

import math
from typing import Any

from prefstrength._shared.words import listed, warn
from prefstrength.choice.learned_parts import MODES, DeltaSettings
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.choice.strength_prior import StrengthPrior
from prefstrength.errors import InputError
from prefstrength.mixdpo.evaluation.metrics import LOWER_IS_BETTER
from prefstrength.mixdpo.objectives.base import check_one_of
from prefstrength.mixdpo.objectives.registry import OBJECTIVES

__all__ = [
    "SCHEDULES",
    "check_best",
    "check_loss_type",
    "check_mean",
    "check_objective",
    "delta_settings",
    "resolve_strength",
]

#: Schedules of the strength's learning rate: transformers' that need nothing but a warmup.
SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine", "inverse_sqrt")

#: DPO's default for β.
DEFAULT_BETA = 0.1
#: Mean strengths that can be meant for a log-ratio difference in nats; DPO's β is 0.01 to 0.5.
LEAST_MEAN, GREATEST_MEAN = 1e-4, 5.0
#: A mean above is seldom meant for sums over tokens, one below seldom for log-ratios per token.
USUAL_MEAN = 1.0
# Log-ratios divided by their length are smaller by about this.
_PER_TOKEN = 100.0

# Metrics, TRL's among them, of which more is better.
_HIGHER_IS_BETTER = ("accuracy", "accuracies", "margin", "margins")

_POSITIVE = (
    "strength_learning_rate",
    "strength_start_cv",
    "strength_num_pairs",
    "strength_group_location_scale",
    "strength_group_dispersion_scale",
    "strength_covariate_scale",
    "beta",
)


def resolve_strength(args: Any, prior: StrengthPrior | None) -> None:
    """Fill in family, mode and mean where they follow, and stop where they contradict.

    Parameters
    ----------
    args : MixDPOConfig
        Changed in place.
    prior : StrengthPrior or None
        What ``args.strength`` names.
    """
    for name, known in (
        ("strength_family", MIXINGS),
        ("strength_mode", MODES),
        ("strength_lr_scheduler", SCHEDULES),
    ):
        if getattr(args, name) is not None:
            check_one_of(name, getattr(args, name), known)
    for name in _POSITIVE:
        value = getattr(args, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(
                f"Expected {name} > 0; got {value}. To keep strength fixed, take "
                "`strength_mode='frozen'`."
            )
    if prior is not None:
        _resolve_with_prior(args, prior)
    else:
        _resolve_without_prior(args)
    _check_shifts(args, prior)


def _resolve_with_prior(args: Any, prior: StrengthPrior) -> None:
    mean = prior.mean_over_all
    # Equal is no contradiction: arguments may be built again from those of a run.
    if args.beta is not None and not math.isclose(args.beta, mean, rel_tol=1e-9):
        raise InputError(
            f"Expected either strength or beta; got a prior of mean {mean:.4g} and "
            f"`beta={args.beta}`. The prior holds the scale. Leave beta out, or build the prior "
            f"with `mean_strength={args.beta}`."
        )
    if args.strength_start_cv is not None:
        raise InputError(
            "Expected either strength or strength_start_cv; got both. Training starts at the "
            "centre of the prior. Leave strength_start_cv out."
        )
    if args.strength_family is not None and args.strength_family != prior.family:
        raise InputError(
            f"Expected a prior of the family {args.strength_family}; got one of "
            f"{prior.family}. Its dispersion means something else. Leave strength_family out, "
            f"or fit the analysis with {args.strength_family}."
        )
    if prior.zero_share and args.estimator != "exact":
        raise InputError(
            f"Expected estimator 'exact' with a prior of zero_share {prior.zero_share:.3g}; got "
            f"{args.estimator!r}, which draws strengths with gradients, and a share at zero has "
            "none. Leave estimator out."
        )
    args.beta, args.strength_family = mean, prior.family
    args.strength_mode = args.strength_mode or "joint"


def _resolve_without_prior(args: Any) -> None:
    if args.strength_family is None:
        if args.strength_mode in ("joint", "anchored") or args.strength_start_cv is not None:
            given = (
                "strength_start_cv"
                if args.strength_mode in (None, "frozen")
                else f"`strength_mode={args.strength_mode!r}`"
            )
            raise InputError(
                f"Expected strength or strength_family along with {given}; got neither. "
                "Without both, strength is a point at beta. Give a prior, or name a family."
            )
        args.strength_family, args.strength_mode = "PointMass", "frozen"
    args.strength_mode = args.strength_mode or "joint"
    args.beta = DEFAULT_BETA if args.beta is None else args.beta
    if args.strength_mode != "frozen":
        warn(
            f"Strength ({args.strength_family}) is learned without a prior. The scale of "
            "strength and of the log-ratios are confounded: as the policy separates the "
            "pairs, the mean drifts up and the spread shrinks, so that a small learned spread "
            "is no sign of homogeneity. Give `strength='strength_prior.json'` from an analysis "
            "of the data to hold them.",
            UserWarning,
        )


def _check_shifts(args: Any, prior: StrengthPrior | None) -> None:
    """Stop where strength is to depend on something, and nothing of that would be learned."""
    column, covariates = args.strength_group_column, args.strength_covariates or []
    if len(set(covariates)) < len(covariates):
        raise InputError(f"Expected each of strength_covariates once; got {covariates}.")
    if covariates and args.strength_mode != "joint":
        raise InputError(
            "Expected strength_mode 'joint' with strength_covariates, which move the mean "
            f"strength; got {args.strength_mode!r}, which holds it. Leave strength_covariates "
            "out, or give a prior or a family and learn the mean."
        )
    if column is None or args.strength_mode != "frozen":
        return
    known = prior.groups if prior is not None else {}
    if not any(label.startswith(f"{column}=") for label in known):
        raise InputError(
            f"Expected a strength that is learned, or a prior with groups of {column!r}, along "
            "with strength_group_column; got a frozen one"
            f"{' with groups ' + listed(known) if known else ''}. All groups would have "
            "one mixing distribution. Leave strength_group_column out, give a family or a prior "
            f"and learn it, or fit the analysis with `groups=[{column!r}]`."
        )


def check_mean(args: Any, mean: float, group: str | None = None) -> None:
    """Stop at a mean that cannot be meant for Δ, and warn of one that seldom is."""
    normalized = args.loss_type in ("sigmoid_norm", ["sigmoid_norm"])
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
        f"{' per token' if normalized else ''}, which is {said}."
    )


def check_objective(args: Any) -> None:
    """Stop at an unknown objective, at arguments of one that cannot be, and at a bad match."""
    check_one_of("objective", args.objective, OBJECTIVES)
    for objective in OBJECTIVES.values():
        objective.check(args)
    if args.answer_column is not None and (
        not OBJECTIVES[args.objective].takes_answers or args.estimator != "exact"
    ):
        able = [name for name, each in OBJECTIVES.items() if each.takes_answers]
        raise InputError(
            f"Expected objective {' or '.join(able)} with answer_column, and estimator 'exact'; "
            f"got {args.objective!r} and {args.estimator!r}, which know of no grades and ties. "
            "Leave answer_column out to train on the choices alone, without ties."
        )
    if OBJECTIVES[args.objective].regression and args.strength_mode != "frozen":
        raise InputError(
            f"Expected strength_mode 'frozen' with objective {args.objective!r}, which is no "
            f"likelihood of the choice and would shrink strength; got "
            f"{args.strength_mode!r}. Freeze it."
        )


def check_best(args: Any) -> None:
    """Settle which way the metric is better that the best checkpoint goes by.

    Transformers takes all for better the higher they are whose name does not end in "loss".
    """
    name = args.metric_for_best_model
    if name is None:
        return
    last = name.rpartition("/")[2].removeprefix("eval_")
    lower = any(last.endswith(each) for each in ("loss", *LOWER_IS_BETTER))
    if not lower and not last.endswith(_HIGHER_IS_BETTER):
        if args.greater_is_better is None:
            raise InputError(
                f"Expected greater_is_better with metric_for_best_model {name!r}, which may be "
                "better either way; got none. Give `greater_is_better=True` or `False`."
            )
        return
    if args.greater_is_better is None:
        args.greater_is_better = not lower
    elif args.greater_is_better is lower:
        raise InputError(
            f"Expected `greater_is_better={not lower}` with metric_for_best_model {name!r}; got "
            f"{args.greater_is_better}, which keeps the worst checkpoint. Leave it out."
        )


def check_loss_type(args: Any) -> None:
    """Stop at losses of TRL that the objective, which stands in the place of one, replaces."""
    losses = [args.loss_type] if isinstance(args.loss_type, str) else list(args.loss_type)
    if losses not in (["sigmoid"], ["sigmoid_norm"]):
        raise InputError(
            "Expected loss_type 'sigmoid', which MixDPO generalises, or 'sigmoid_norm', the "
            f"same with log-ratios divided by their length; got {losses}. "
            "Use trl.DPOTrainer for other losses."
        )
    if args.loss_weights is not None and list(args.loss_weights) != [1.0]:
        raise InputError(
            f"Expected no loss_weights with the one MixDPO loss; got {args.loss_weights}. "
            "Leave them out."
        )
    if args.f_divergence_type != "reverse_kl":
        raise InputError(
            "Expected f_divergence_type 'reverse_kl', for which the log-ratio is what strength "
            f"multiplies; got {args.f_divergence_type!r}. Leave it out."
        )
    if args.label_smoothing:
        raise InputError(
            "Expected no label_smoothing, which the MixDPO loss does not have; got "
            f"{args.label_smoothing}. Leave it out."
        )


def delta_settings(args: Any, num_pairs: int | None) -> DeltaSettings:
    """What Δ is and what its loss depends on, for the record of what was learned."""
    losses: Any = args.loss_type  # one, as the config makes sure
    arguments = OBJECTIVES[args.objective].settings(args)
    arguments |= {name: getattr(args, name) for name in ("weight_column", "use_weighting")}
    if num_pairs is not None:  # that the prior is weighed against
        arguments["strength_num_pairs"] = num_pairs
    if args.answer_column is not None:  # records of plain choices stay what they were
        arguments["answer_column"] = args.answer_column
    return DeltaSettings(
        losses if isinstance(losses, str) else losses[0],
        args.truncation_mode,
        args.max_length,
        args.ld_alpha,
        args.objective,
        arguments,
    )
