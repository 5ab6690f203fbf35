"""The record of a strength: how it is written, and which one training may go on from."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from prefstrength._shared.records import versions
from prefstrength.choice.learned_parts import LearnedCovariate, LearnedGroup
from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.choice.mixing.families import family_named
from prefstrength.choice.mixing.zero_mass import with_zero_share
from prefstrength.errors import InputError

__all__ = [
    "LocationDispersion",
    "learned_covariates",
    "record_of",
    "require_same_training",
    "summary_of",
]

#: Log mean and log spread of strength; PointMass has no spread.
LocationDispersion = tuple[float, float | None]


def summary_of(family: str, law: LocationDispersion, zero_share: float) -> dict[str, float]:
    """Parameters of those who weigh the reward by name, then ``mean`` and ``cv`` over all."""
    mixing = family_named(family).from_log_mean_spread(*law)
    mean, cv = (1 - zero_share) * math.exp(law[0]), with_zero_share(mixing, zero_share).cv()
    return {**mixing.parameters, "mean": mean, "cv": cv}


def record_of(strength: Any, laws: Mapping[str, LocationDispersion]) -> LearnedStrength:
    """Record of a :class:`~prefstrength.mixdpo.Strength`, and of its groups' distributions."""
    family = family_named(strength.family)
    groups = {
        level: LearnedGroup(
            parameters=family.from_log_mean_spread(*law).parameters,
            shift=strength.groups[level],
            pairs=strength.pairs[level],
            trajectory=tuple(strength.group_trajectories.get(level, ())),
        )
        for level, law in laws.items()
    }
    return LearnedStrength(
        family=strength.family,
        parameters=strength.current().apart_from_zero[1].parameters,
        mode=strength.mode,
        prior=strength.prior,
        steps=strength.steps,
        trajectory=tuple(strength.trajectory),
        model=strength.model_name,
        versions=versions("prefstrength", "torch", "transformers", "trl"),
        group_column=strength.group_column,
        groups=groups,
        covariates=learned_covariates(strength),
        delta=strength.delta,
    )


def learned_covariates(strength: Any) -> dict[str, LearnedCovariate]:
    """Covariates with their coefficients."""
    if not strength.covariates:
        return {}
    values = strength.coefficients().tolist()
    return {
        name: replace(each, coefficient=value)
        for (name, each), value in zip(strength.covariates.items(), values, strict=True)
    }


# -- of the same training --------------------------------------------------------------------------


def require_same_training(strength: Any, learned: LearnedStrength, where: str) -> None:
    """Stop where a record is of another kind of strength, another Δ or another objective."""
    theirs = {
        "family": learned.family,
        "mode": learned.mode,
        "prior": learned.prior,
        "group_column": learned.group_column,
        "groups": {level: each.shift for level, each in learned.groups.items()},
        "covariates": {
            name: replace(each, coefficient=0.0) for name, each in learned.covariates.items()
        },
    }
    for name, found in theirs.items():
        expected = getattr(strength, name)
        if expected != found:
            plain = isinstance(expected, str | None) and isinstance(found, str | None)
            said = f" {expected!r}; got {found!r}" if plain else "; got another"
            raise InputError(
                f"Expected {where} to have been trained with the same strength {name} as "
                f"this run{said}. Give the arguments and the pairs of that run, or start anew."
            )
    _require_same_delta(strength, learned, where)
    _require_same_constants(strength, learned, where)


def _require_same_delta(strength: Any, learned: LearnedStrength, where: str) -> None:
    if strength.delta is None or learned.delta is None:
        return
    ours, theirs = (vars(each) | each.arguments for each in (strength.delta, learned.delta))
    names = ["objective", "loss_type", "truncation_mode", "max_length", "ld_alpha"]
    if learned.delta.arguments:
        names += sorted(strength.delta.arguments | learned.delta.arguments)
    for name in names:
        expected, found = ours.get(name), theirs.get(name)
        if expected != found:
            raise InputError(
                f"Expected {where} to have been trained with the same {name} as this run, "
                f"{expected!r}; got {found!r}. Give {name}={found!r}, or start anew."
            )


def _require_same_constants(strength: Any, learned: LearnedStrength, where: str) -> None:
    """What is not learned stays as the arguments have it, which must be as it was."""
    own = strength.summary()
    law = learned.mixing().apart_from_zero[1].log_mean_spread()
    found = summary_of(strength.family, law, strength.zero_share)
    kept = {"mean": strength.location, "cv": strength.dispersion}
    for (name, each), argument in zip(kept.items(), ("beta", "strength_start_cv"), strict=True):
        if each is None or each.requires_grad:
            continue
        if not math.isclose(own[name], found[name], rel_tol=1e-9):
            raise InputError(
                f"Expected {where} to have been trained with the same {name} of strength as "
                f"this run, {own[name]:.12g}; got {found[name]:.12g}, and strength_mode "
                f"{strength.mode!r} does not learn it. Give {argument}={found[name]:.12g}, or "
                "start anew."
            )
