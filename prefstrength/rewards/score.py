"""Scoring: a reward for both responses of every pair, in units of the sd of the differences."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from prefstrength._shared.records import versions
from prefstrength._shared.words import warn
from prefstrength.data.columns import as_frame, check_frame, tied
from prefstrength.errors import InputError
from prefstrength.rewards.engine.cache import keep_provenance, load_provenance
from prefstrength.rewards.engine.opened import kept_open, opened
from prefstrength.rewards.engine.responses import read_once
from prefstrength.rewards.engine.team import ALONE_AT_WORK, divided, launched

UNIT_RULE = "root mean square over pairs of reward(chosen) - reward(rejected), ties included"
#: Members of an ensemble go against each other from so many standard errors below no correlation.
AGAINST = 3.0
ENSEMBLE_RULE = f"{UNIT_RULE}, of each member, then of their mean"


@dataclass(frozen=True, eq=False)
class Scores:
    """What a reward says about N pairs, in its own raw units.

    Attributes
    ----------
    chosen, rejected : ndarray of float64, shape (pair,) or (pair, attribute)
        Reward of the two responses of each pair, or several of them.
    provenance : dict
        Name, settings, versions and checks of the reward; JSON-serialisable.
    attributes : tuple of str
        What the columns of ``chosen`` and ``rejected`` are called.
    """

    chosen: np.ndarray
    rejected: np.ndarray
    provenance: dict[str, Any] = field(default_factory=dict)
    attributes: tuple[str, ...] = ("reward",)

    def of(self, attribute: int) -> tuple[np.ndarray, np.ndarray]:
        """Rewards of the chosen and the rejected responses by one attribute, shape (pair,)."""
        shape = (len(self.chosen), len(self.attributes))
        return self.chosen.reshape(shape)[:, attribute], self.rejected.reshape(shape)[:, attribute]


@runtime_checkable
class Reward(Protocol):
    """Anything that gives both responses of every pair a reward."""

    def score_pairs(
        self,
        pairs: pd.DataFrame,
        *,
        cache: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> Scores:
        """Score the pairs without changing them."""
        ...


def score(
    pairs: Any,
    reward: Reward | Sequence[Reward],
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = True,
    divide: bool = False,
) -> pd.DataFrame:
    """Give both responses of every pair a reward, in units of the sd of the differences.

    Strength and the scale of a reward are identified only as a product, so rewards are divided
    by the root mean square of reward(chosen) - reward(rejected): the standard deviation that
    the differences have when either order of a pair counts alike. Differences then have sd 1
    whatever the reward model, and the raw rewards stay beside them.

    A list of rewards is an ensemble: each is brought to sd 1, ``reward`` is their mean brought to
    sd 1 again, and ``reward_1``, ``reward_2`` and so on are its members in that same unit, so that
    ``reward`` is exactly their mean. How far the members disagree about a difference says how
    large the error of a reward is.

    Parameters
    ----------
    pairs : DataFrame or datasets.Dataset
        One row a pair; `ColumnReward` needs its two columns, the others ``prompt``,
        ``chosen`` and ``rejected`` (texts or lists of messages). An optional boolean column
        ``tie`` marks pairs without a preference. Never changed.
    reward : Reward, or list of Reward
        :class:`ColumnReward`, :class:`TextReward`, :class:`HFReward`, :class:`JudgeReward`,
        :class:`ImplicitReward`, or any object with their method ``score_pairs``; a list of at
        least two, each with one reward, is an ensemble.
    cache : path, optional
        Folder that keeps the scores of single responses as Parquet, so that an interrupted run
        continues and a second run costs nothing; its ``provenance.json`` says how they came
        about. Used by rewards from models; columns are cheap, and `TextReward` depends on the
        whole set, so they are computed afresh.
    progress : bool
        Show progress bars.
    divide : bool
        Divide the work of rewards from models between the processes that ``accelerate launch``
        or ``torchrun`` has started, each on a GPU of its own. All of them call this function with
        the same arguments and with a ``cache`` that all of them see, and all return the same
        table, the one that a single process would; let process 0 write it.

    Returns
    -------
    DataFrame
        A copy of ``pairs`` with ``reward_chosen`` and ``reward_rejected`` (units of the sd of
        the differences), ``reward_raw_chosen`` and ``reward_raw_rejected``, and
        ``.attrs["reward"]``: name, unit, settings, versions and checks of the reward. Columns
        of these names that were there before are replaced, and ``.attrs`` lists them.
        `HFReward` with ``heads`` writes such columns for every attribute in place of ``reward``,
        and ``.attrs["reward"]["attributes"]`` holds their units.

    Raises
    ------
    InputError
        If columns are missing or hold something else than expected, or if the reward does not
        tell any chosen response from its rejected one.
    TypeError
        If ``pairs`` is no table or ``reward`` no reward.

    Warns
    -----
    DataWarning
        If two members of an ensemble go against each other; and what the rewards warn of.

    Examples
    --------
    >>> import pandas as pd
    >>> from prefstrength.rewards import ColumnReward, score
    >>> pairs = pd.DataFrame({"judge_chosen": [5.0, 1.0], "judge_rejected": [2.0, 5.0]})
    >>> scored = score(pairs, ColumnReward("judge_chosen", "judge_rejected"))
    >>> (scored["reward_chosen"] - scored["reward_rejected"]).round(3).tolist()
    [0.849, -1.131]
    >>> round(scored.attrs["reward"]["unit"], 3)
    3.536
    """
    frame = as_frame(pairs)
    check_frame(frame)
    members = members_of(reward)
    ensemble = len(members) > 1
    if cache is not None:
        load_provenance(cache)  # it will be added to: better refused now than after the work
    us = launched() if divide else ALONE_AT_WORK
    with divided(us):
        found = _score_all(members, frame, cache, progress)
    if cache is not None and us.rank == 0:
        keep_provenance(cache, [scores.provenance for scores in found])
    scores = found[0]
    if ensemble:
        check_ensemble(found)
        members_units = [Tally.of(each).unit() for each in found]
        scores = mean_of(found, members_units)
    tally = Tally.of(scores, ~tied(frame))
    units = tally.units(ensemble)
    columns = reward_columns(scores, units)
    scored = frame.copy()
    for name, values in columns.items():
        scored[name] = values
    scored.attrs["reward"] = about_reward(
        about_ensemble([each.provenance for each in found], members_units, tally)
        if ensemble
        else scores.provenance,
        tally,
        units,
        replaced=[name for name in columns if name in frame.columns],
        ensemble=ensemble,
    )
    return scored


def _score_all(
    members: Sequence[Any],
    frame: pd.DataFrame,
    cache: str | os.PathLike[str] | None,
    progress: bool,
) -> list[Scores]:
    """Scores of every member.

    What is wrong with one should not be found after the others have worked for hours: all models
    are looked at, without their weights, before the first is loaded, and what needs none is first.
    """
    if len(members) == 1:
        return [members[0].score_pairs(frame, cache=cache, progress=progress)]
    found: dict[int, Scores] = {}
    with kept_open(opened()), read_once():
        for member in members:
            if callable(identity := getattr(member, "identity", None)):
                identity()
        for i in in_order(members):
            with kept_open(opened()):  # a copy, with which the loaded model goes
                found[i] = members[i].score_pairs(frame, cache=cache, progress=progress)
    return [found[i] for i in range(len(members))]


def in_order(members: Sequence[Any]) -> list[int]:
    """Numbers of the members in the order of their work: what needs no model first."""
    return sorted(range(len(members)), key=lambda i: getattr(members[i], "scores_responses", True))


def members_of(reward: Any) -> list[Any]:
    """Rewards of an ensemble, or the one that there is."""
    several = isinstance(reward, (list, tuple))
    members: list[Any] = list(reward) if several else [reward]
    for member in members:
        if isinstance(member, type) or not isinstance(member, Reward):
            raise TypeError(
                "score expects a reward such as TextReward(), ColumnReward(...) or HFReward(...), "
                f"or a list of them; got {member!r}. A class needs its parentheses."
            )
    if several and len(members) < 2:
        raise InputError(
            f"An ensemble expects at least two rewards; got {len(members)}. Give another, or the "
            "reward without its list."
        )
    return members


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums over pairs from which units and shares follow; those of parts of the pairs add up.

    Attributes
    ----------
    attributes : tuple of str
        What was scored.
    pairs, decided : int
        How many pairs there are, and how many of them have a preference.
    products : ndarray, shape (attribute, attribute)
        Of the differences chosen minus rejected.
    agreed, equal : ndarray, shape (attribute,)
        Decided pairs whose chosen response has the higher reward, equal rewards counting half;
        pairs with equal rewards.
    """

    attributes: tuple[str, ...]
    pairs: int
    decided: int
    products: np.ndarray
    agreed: np.ndarray
    equal: np.ndarray

    @classmethod
    def of(cls, scores: Scores, decided: np.ndarray | None = None) -> "Tally":
        """Sum up scores; all pairs are decided unless a mask says otherwise."""
        mask = np.ones(len(scores.chosen), bool) if decided is None else decided
        columns = [np.subtract(*scores.of(i)) for i in range(len(scores.attributes))]
        return cls(
            attributes=scores.attributes,
            pairs=len(mask),
            decided=int(mask.sum()),
            # sums of NumPy, not matrix products, whose last digit depends on the threads
            products=np.array([[float(np.sum(a * b)) for b in columns] for a in columns]),
            agreed=np.array([np.sum((d > 0) + 0.5 * (d == 0), where=mask) for d in columns]),
            equal=np.array([int(np.sum(d == 0)) for d in columns]),
        )

    def __add__(self, other: "Tally") -> "Tally":
        sums = ("pairs", "decided", "products", "agreed", "equal")
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in sums})

    def unit(self, index: int = 0) -> float:
        """Root mean square of the differences, which must tell some pair apart."""
        unit = math.sqrt(float(self.products[index, index]) / self.pairs)
        if not unit > 0:
            attribute = self.attributes[index]
            called = "reward" if attribute == "reward" else f"{attribute} reward"
            raise InputError(
                "A reward expects to tell chosen from rejected responses; got the same "
                f"{called} for both in all {self.pairs} pairs. The two sides may be the same "
                "column or the same text. Check the columns, or use another reward."
            )
        return unit

    def units(self, ensemble: bool) -> list[float]:
        """Unit of every attribute; members of an ensemble have that of their mean, the first."""
        if ensemble:
            return [self.unit()] * len(self.attributes)
        return [self.unit(index) for index in range(len(self.attributes))]


def check_ensemble(members: Sequence[Scores]) -> None:
    """Refuse members with several numbers."""
    several = [scores for scores in members if scores.attributes != ("reward",)]
    if several:
        raise InputError(
            "An ensemble expects rewards with one number each; got "
            f"{', '.join(several[0].attributes)} from {several[0].provenance.get('name')}. Choose "
            "one output: `HFReward(name, head=0)`."
        )


def mean_of(members: Sequence[Scores], units: Sequence[float]) -> Scores:
    """Mean of the members, each with differences of sd 1, and the members themselves."""
    sides = []
    for side in (0, 1):
        scaled = [one.of(0)[side] / unit for one, unit in zip(members, units, strict=True)]
        sides.append(np.column_stack([np.mean(scaled, axis=0), *scaled]))
    return Scores(
        chosen=sides[0],
        rejected=sides[1],
        attributes=("reward", *(f"reward_{i}" for i in range(1, len(members) + 1))),
    )


def about_ensemble(
    members: Sequence[dict[str, Any]], units: Sequence[float], tally: Tally
) -> dict[str, Any]:
    """Provenance of an ensemble: that of its members, their units, and how far they agree."""
    together = tally.products[1:, 1:] / tally.pairs
    first, second = np.unravel_index(np.argmin(together), together.shape)
    if together[first, second] < -AGAINST / math.sqrt(tally.pairs):
        warn(
            f"The rewards {min(first, second) + 1} and {max(first, second) + 1} of the ensemble go "
            "against each other: their differences have a correlation of "
            f"{together[first, second]:.2f}. Where lower is better in one of them, its mean with "
            "the others says nothing. Turn its sign, or leave it out."
        )
    return {
        "name": f"an ensemble of {', '.join(str(member.get('name')) for member in members)}",
        "members": [{**member, "unit": unit} for member, unit in zip(members, units, strict=True)],
        # uncentred, as units are: the order of a pair carries no meaning
        "correlation": together.tolist(),
    }


def reward_columns(scores: Scores, units: Sequence[float]) -> dict[str, np.ndarray]:
    """Return the four columns of every attribute: both responses, in units and raw."""
    columns: dict[str, np.ndarray] = {}
    for index, (attribute, unit) in enumerate(zip(scores.attributes, units, strict=True)):
        chosen, rejected = scores.of(index)
        columns |= {
            f"{attribute}_chosen": chosen / unit,
            f"{attribute}_rejected": rejected / unit,
            f"{attribute}_raw_chosen": chosen,
            f"{attribute}_raw_rejected": rejected,
        }
    return columns


def about_reward(
    provenance: dict[str, Any],
    tally: Tally,
    units: Sequence[float],
    *,
    replaced: list[str],
    ensemble: bool,
) -> dict[str, Any]:
    """Return what ``.attrs["reward"]`` says."""
    about = {
        attribute: {
            "unit": unit,
            "agreement": float(agreed / tally.decided) if tally.decided else None,
            "equal": int(equal),
        }
        for attribute, unit, agreed, equal in zip(
            tally.attributes, units, tally.agreed, tally.equal, strict=True
        )
    }
    return {
        **provenance,
        # one reward speaks for itself; several are told apart by name
        **(about.pop("reward") if ensemble or list(about) == ["reward"] else {}),
        **({"attributes": about} if about else {}),
        "unit_rule": ENSEMBLE_RULE if ensemble else UNIT_RULE,
        "pairs": tally.pairs,
        "replaced": replaced,
        "versions": {**versions("numpy", "pandas"), **provenance.get("versions", {})},
    }
