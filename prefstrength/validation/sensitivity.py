"""Sensitivity to the reward: one model of the choices under several rewards."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from prefstrength._shared.words import Rows, listed
from prefstrength.choice.mixing.expressions import mixing_of
from prefstrength.data.choices import Choices
from prefstrength.data.columns import column, numbers
from prefstrength.data.factor import Factor
from prefstrength.errors import InputError
from prefstrength.models.mixed_logit import MixedLogit
from prefstrength.posterior.fit import Fit
from prefstrength.posterior.heterogeneity import heterogeneity

__all__ = ["choices_and_model", "length_corrected", "sensitivity"]

# How Choices.from_pairs(ties="split") labels the two situations of a pair; the second is turned.
_TIE = re.compile(r" \(tie ([12]) of 2\)$")


def sensitivity(
    fit: Fit,
    rewards: Mapping[str, Any] | pd.DataFrame,
    prob: float = 0.9,
    progress: bool = True,
) -> pd.DataFrame:
    """Refit a model with other rewards of the same pairs, and compare how much strength varies.

    Parameters
    ----------
    fit : Fit
        Of pairs, with the reward as the first attribute.
    rewards : mapping of str to Series or array, or DataFrame
        Differences of each reward, chosen minus rejected. A Series (or a DataFrame, with one
        column for each reward) is matched to the fit's situations by its labels, so that it may
        hold pairs that the fit left out, and one number for both halves of a tie that was split;
        an array has one number for each situation, in order.
        :func:`length_corrected` makes such differences.
    prob : float
        Probability of the (equal-tailed) intervals.
    progress : bool
        Show a progress bar over the rewards.

    Returns
    -------
    pandas.DataFrame
        One row for the fit's own reward and one for each other. Columns: reward; agreement (how
        often the higher reward was chosen); correlation with the fit's own differences (about 0,
        as differences have no orientation); standardised_mean, the mean strength per root mean
        square of the reward's differences, the heterogeneity index cv (sd/mean) and sd_log, each
        with ``_low`` and ``_high``; p_heterogeneous and its Monte Carlo error, p_mcse; verdict. As
        :func:`prefstrength.heterogeneity` gives them for all data.

    Raises
    ------
    InputError
        If the fit is not of pairs, has errors, priors of its own, or was made of compressed
        choices; if a reward lacks a situation or is not finite.

    Notes
    -----
    Everything but the reward stays: choosers, groups, other attributes, default priors (which go
    by the scale of each reward), numbers of draws and seed; the way to each posterior is the one
    that ``method="auto"`` takes. Rows are not independent: they share all
    choices. A verdict that changes with the reward is about the reward, not about the choosers.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.9), choosers=60, situations=10)
    >>> fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    >>> twice = 2 * choices.differences("reward")
    >>> table = ps.sensitivity(fit, {"twice the reward": twice}, progress=False)
    >>> table[["reward", "correlation"]].values.tolist()
    [['reward', 1.0], ['twice the reward', 1.0]]
    """
    own, model = choices_and_model(fit)
    attribute = fit.attribute()
    mine = own.differences(attribute)
    table = dict(rewards) if isinstance(rewards, Mapping | pd.DataFrame) else None
    if not table:
        raise InputError(
            "Expected rewards as a mapping of names to differences, or a DataFrame with a column "
            f"for each; got {type(rewards).__name__ if rewards is not None else None}."
        )
    if attribute in table:
        raise InputError(
            f"Expected other rewards than the fit's own; got one called {attribute!r} too. "
            "Rename it."
        )
    labels = [str(v) for v in np.asarray(fit.tree["constant_data"]["situation"])]
    columns = {str(name): _matched(str(name), value, labels) for name, value in table.items()}
    rows = [_row(attribute, fit, own, mine, mine, prob)]
    for name, difference in tqdm(columns.items(), desc="sensitivity", disable=not progress):
        choices = _with(own, difference)
        again = model.fit(
            choices,
            seed=int(fit.spec["seed"]),
            draws=int(fit.spec["draws"]),
            chains=int(fit.spec["chains"]),
            progress=False,
        )
        rows.append(_row(name, again, choices, difference, mine, prob))
    return pd.DataFrame(rows)


def length_corrected(
    pairs: pd.DataFrame, reward: str = "reward", length: str | None = None
) -> pd.Series:
    """Reward differences without what the lengths of the two responses explain.

    Parameters
    ----------
    pairs : pandas.DataFrame
        With columns ``<reward>_chosen`` and ``<reward>_rejected``, and the lengths.
    reward : str
    length : str, optional
        Lengths are in columns ``<length>_chosen`` and ``<length>_rejected``, all positive; when
        left out they are the numbers of words in the texts ``chosen`` and ``rejected``.

    Returns
    -------
    pandas.Series
        Residuals of the differences, chosen minus rejected, with the labels of ``pairs``: from a
        regression on the difference of log length, without intercept, so that naming the other
        response first changes nothing but the sign.

    Raises
    ------
    InputError
        If a column is missing or not finite, a length is not positive, or a text is not plain
        text.

    Notes
    -----
    The regression does not see the choice but for the orientation, to which it is blind. Length
    may be a part of what choosers want: the corrected reward is another reward, not a better one.

    Examples
    --------
    >>> pairs = pd.DataFrame({"reward_chosen": [1.0, 3.0], "reward_rejected": [0.0, 1.0],
    ...                       "words_chosen": [20, 40], "words_rejected": [10, 10]})
    >>> length_corrected(pairs, length="words").round(6).tolist()
    [0.0, 0.0]
    """
    difference = _difference(pairs, reward)
    if length is not None:
        sizes = [_column(pairs, f"{length}_{side}") for side in ("chosen", "rejected")]
    else:
        sizes = [_words(pairs, side) for side in ("chosen", "rejected")]
    wrong = ~((sizes[0] > 0) & (sizes[1] > 0) & np.isfinite(sizes[0]) & np.isfinite(sizes[1]))
    if wrong.any():
        raise InputError(
            f"Expected positive lengths; got {int(wrong.sum()):,} of {len(wrong):,} pairs with "
            f"others (first: {listed(pairs.index[wrong], 3)}). Drop pairs with an empty response."
        )
    log_ratio = np.log(sizes[0] / sizes[1])
    total = float(log_ratio @ log_ratio)
    slope = float(log_ratio @ difference) / total if total > 0 else 0.0
    return pd.Series(difference - slope * log_ratio, index=pairs.index, name=reward)


def _column(pairs: pd.DataFrame, name: str) -> np.ndarray:
    return numbers(column(pairs, name, "length_corrected"), name, Rows(pairs.index))


def _difference(pairs: pd.DataFrame, reward: str) -> np.ndarray:
    return _column(pairs, f"{reward}_chosen") - _column(pairs, f"{reward}_rejected")


def _words(pairs: pd.DataFrame, side: str) -> np.ndarray:
    if side not in pairs.columns or not all(isinstance(text, str) for text in pairs[side]):
        raise InputError(
            f"Expected plain texts in a column {side!r} to count words in; got none. Give the "
            "lengths as columns <length>_chosen and <length>_rejected, and their name as `length`."
        )
    return np.array([len(text.split()) for text in pairs[side]], dtype=float)


def choices_and_model(fit: Fit) -> tuple[Choices, MixedLogit]:
    """The choices that a fit was made of, and its model."""
    constant = fit.tree["constant_data"]
    if fit.errors:
        raise InputError(
            "Sensitivity expects a fit without errors in the rewards, as those of the other "
            "rewards are not known; got one with. Fit without errors first."
        )
    if "cell_situations" in constant:
        raise InputError(
            "Sensitivity needs the choices themselves; got a fit of compressed choices, of which "
            "sums are left. Fit Choices."
        )
    names = [f"{name}_difference" for name in fit.attributes]
    if any(name not in constant for name in names):
        raise InputError(
            "Sensitivity expects a fit of pairs; got one of choices among up to "
            f"{fit.spec['data']['alternatives']} alternatives."
        )
    differences = np.stack([np.asarray(constant[name]) for name in names], axis=1)
    cells = fit.spec["cells"]
    cell = np.asarray(constant["group_index"])
    groups = {}
    for factor in fit.groups:
        levels = tuple(fit.spec["data"]["levels"][factor])
        groups[factor] = Factor(
            name=factor,
            codes=np.array([levels.index(each[factor]) for each in cells])[cell],
            levels=levels,
        )
    panel = "chooser_index" in constant
    choices = Choices(
        np.stack([differences, np.zeros_like(differences)], axis=1),
        np.zeros(len(differences), dtype=int),
        tuple(fit.attributes),
        weights=np.asarray(constant["weight"]),
        chooser=np.asarray(constant["chooser_index"]) if panel else None,
        choosers=tuple(str(v) for v in np.asarray(constant["chooser"])) if panel else (),
        groups=groups,
        chooser_weights=np.asarray(constant["chooser_weight"])
        if "chooser_weight" in constant
        else None,
    )
    laws = {name: mixing_of(each) for name, each in fit.spec["coefficients"].items()}
    model = MixedLogit(laws, groups=fit.groups)
    if dict(model.prior_table(choices).to_numpy()) != fit.spec["priors"]:
        raise InputError(
            "Sensitivity refits with the default priors; got a fit with priors of its own. Fit "
            "without `priors`, or refit the model with each reward yourself."
        )
    return choices, model


def _matched(name: str, value: Any, labels: list[str]) -> np.ndarray:
    """Differences in the order of the fit's situations."""
    if isinstance(value, pd.Series):
        index = [str(label) for label in value.index]
        if len(set(index)) != len(index):
            raise InputError(
                f"Expected labels of {name!r} that name each pair once; got some twice. Give an "
                "array in the order of the fit's situations."
            )
        place = dict(zip(index, _floats(name, value), strict=True))
        place |= {
            label: place[pair] if tie[1] == "1" else -place[pair]
            for label in labels
            if label not in place and (tie := _TIE.search(label))
            if (pair := label[: tie.start()]) in place
        }
        missing = [label for label in labels if label not in place]
        if missing:
            raise InputError(
                f"Expected {name!r} for every situation of the fit; got none for "
                f"{len(missing):,} of {len(labels):,} (first: {listed(missing, 3)}). Keep the "
                "labels of the table that the choices were made of."
            )
        difference = np.array([place[label] for label in labels])
    else:
        difference = _floats(name, value)
        if difference.shape != (len(labels),):
            raise InputError(
                f"Expected {len(labels):,} differences of {name!r}, one for each situation of the "
                f"fit; got shape {difference.shape}. Give a Series to match by labels."
            )
    wrong = ~np.isfinite(difference)
    if wrong.any() or not np.any(difference):
        what = f"{int(wrong.sum()):,} that are not" if wrong.any() else "only differences of 0"
        raise InputError(f"Expected finite differences of {name!r} that are not all 0; got {what}.")
    return difference


def _floats(name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise InputError(
            f"Expected differences of {name!r} as numbers; got {type(value).__name__} of "
            "something else. Subtract the two columns of a reward: "
            "pairs['other_chosen'] - pairs['other_rejected']."
        ) from None


def _with(choices: Choices, difference: np.ndarray) -> Choices:
    """The same choices with another first attribute."""
    values = np.array(choices.values)
    values[:, 0, 0], values[:, 1, 0] = difference, 0.0
    return Choices(
        values,
        choices.chosen,
        choices.attributes,
        weights=choices.weights,
        chooser=choices.chooser,
        choosers=choices.choosers,
        groups=choices.groups,
    )


def _row(
    name: str,
    fit: Fit,
    choices: Choices,
    difference: np.ndarray,
    mine: np.ndarray,
    prob: float,
) -> dict[str, Any]:
    found = heterogeneity(fit, prob=prob).iloc[0]
    weight = choices.weights
    scale = choices.scale(choices.attributes[0])
    higher = (difference > 0) + 0.5 * (difference == 0)
    norm = np.sqrt((weight @ difference**2) * (weight @ mine**2))
    row: dict[str, Any] = {
        "reward": name,
        "agreement": float(np.average(higher, weights=weight)),
        "correlation": float(weight @ (difference * mine) / norm),
    }
    for end in ("", "_low", "_high"):
        row[f"standardised_mean{end}"] = float(found[f"mean{end}"]) * scale
    for quantity in ("cv", "sd_log"):
        row |= {
            f"{quantity}{end}": float(found[f"{quantity}{end}"]) for end in ("", "_low", "_high")
        }
    return row | {
        **{name: float(found[name]) for name in ("p_heterogeneous", "p_mcse")},
        "verdict": str(found["verdict"]),
    }
