"""The arrays of choices, checked and immutable, and what follows from them.

Letters used in shapes: ``situation`` counts choice occasions, ``alternative`` the options of
the largest choice set, ``attribute`` the measured properties of an alternative.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import pandas as pd

from prefstrength._shared.words import listed, nearest, shown
from prefstrength.choice.responses.base import Response
from prefstrength.choice.responses.multinomial import Multinomial
from prefstrength.choice.responses.pair import Pair
from prefstrength.data.anomalies import usual
from prefstrength.data.answers import answer_counts, better_by_answer
from prefstrength.data.choices_checks import check
from prefstrength.data.content_hash import feed
from prefstrength.data.description import as_html, as_text
from prefstrength.data.factor import Dropped, Factor, frozen
from prefstrength.data.reshaping import long_table, pair_fields, subset_fields
from prefstrength.errors import InputError

__all__ = ["ChoiceArrays"]

#: Optional arrays of whole numbers, with the number of their axes.
_CODES = {"chosen": 1, "chooser": 1, "answer": 1, "ranks": 2, "shown_first": 1, "pair": 1}
#: Fields that choices did not always have: without them their hash is what it was.
_LATER = {"response", "answer", "ranks", "shown_first", "pair", "chooser_weights"}


@dataclass(frozen=True, eq=False, repr=False)
class ChoiceArrays:
    """All of :class:`prefstrength.Choices`, which documents the fields, but its doors."""

    values: np.ndarray
    chosen: np.ndarray
    attributes: tuple[str, ...]
    available: np.ndarray = None  # type: ignore[assignment]
    weights: np.ndarray = None  # type: ignore[assignment]
    chooser: np.ndarray | None = None
    choosers: tuple[str, ...] = ()
    groups: Mapping[str, Factor] = field(default_factory=dict)
    situations: tuple[str, ...] | None = None
    dropped: tuple[Dropped, ...] = ()
    alternatives: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    response: Response = None  # type: ignore[assignment]
    answer: np.ndarray | None = None
    ranks: np.ndarray | None = None
    shown_first: np.ndarray | None = None
    pair: np.ndarray | None = None
    chooser_weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        values = frozen(self.values, np.float64, 3, "values")
        n, m, _ = values.shape
        available = np.ones((n, m), bool) if self.available is None else self.available
        weights = np.ones(n) if self.weights is None else self.weights
        available = frozen(available, np.bool_, 2, "available")
        set_ = {
            "attributes": (self.attributes,)
            if isinstance(self.attributes, str)
            else tuple(self.attributes),
            "available": available,
            "weights": frozen(weights, np.float64, 1, "weights"),
            "choosers": tuple(self.choosers),
            "groups": MappingProxyType(dict(self.groups)),
            "situations": None if self.situations is None else tuple(self.situations),
            "dropped": tuple(self.dropped),
            "alternatives": tuple(self.alternatives) or tuple(str(j) for j in range(m)),
            "notes": tuple(self.notes),
        }
        if self.chooser_weights is not None:
            own = frozen(self.chooser_weights, np.float64, 1, "chooser_weights")
            alike = len(own) == len(self.choosers) and bool((own == 1).all())
            set_["chooser_weights"] = None if alike else own
        for name, axes in _CODES.items():
            if getattr(self, name) is not None:
                set_[name] = frozen(getattr(self, name), np.int64, axes, name)
        if self.chosen is None:
            best = better_by_answer(self.response, set_.get("answer"), set_.get("ranks"))
            set_["chosen"] = frozen(best, np.int64, 1, "chosen")
        if available.shape == (n, m) and not available.all():
            values = frozen(np.where(available[:, :, None], values, 0.0), np.float64, 3, "values")
        set_["values"] = values
        for name, value in set_.items():
            object.__setattr__(self, name, value)
        if self.response is None:
            pairs = m == 2 and bool(available.all()) and not self.chosen.any()
            object.__setattr__(self, "response", Pair() if pairs else Multinomial())
        check(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # A read-only mapping cannot be copied by itself; copy.deepcopy comes through here.
        parts = (getattr(self, f.name) for f in fields(self))
        return type(self), tuple(dict(p) if isinstance(p, Mapping) else p for p in parts)

    # -- what is inside ----------------------------------------------------------------------

    def __len__(self) -> int:
        return self.n_situations

    @property
    def n_situations(self) -> int:
        """Number of situations."""
        return int(self.values.shape[0])

    @property
    def n_alternatives(self) -> int:
        """Number of alternatives, available somewhere."""
        return int(self.values.shape[1])

    @property
    def n_choosers(self) -> int:
        """Number of choosers; 0 where nobody said who chose."""
        return len(self.choosers)

    @property
    def is_pairs(self) -> bool:
        """Whether every situation is a pair: alternative 0 chosen, alternative 1 rejected."""
        return (
            self.n_alternatives == 2
            and bool(self.available.all())
            and not self.chosen.any()
            and self.response.answers_in == "chosen"
        )

    def differences(self, attribute: str) -> np.ndarray:
        """Attribute of the chosen minus that of the rejected alternative, in pairs.

        Where answers are graded or tied: of the first alternative minus the second, the one that
        the answers are about.

        Parameters
        ----------
        attribute : str

        Returns
        -------
        ndarray of float64, shape (situation,)

        Raises
        ------
        InputError
            If there is no such attribute, or these are not pairs.

        Examples
        --------
        >>> from prefstrength import Choices
        >>> Choices([[[3.0], [1.0]], [[0.0], [0.5]]], [0, 0], ["reward"]).differences("reward")
        array([ 2. , -0.5])
        """
        k = self._attribute(attribute)
        if not self.is_pairs and self.answer is None:
            two = bool((self.available.sum(axis=1) == 2).all())
            raise InputError(
                "Differences need pairs, the chosen alternative first; got "
                f"{self.n_situations:,} situations with up to {self.n_alternatives} alternatives. "
                + (
                    "Each has two available: make them pairs with choices.as_pairs()."
                    if two
                    else "There is one difference for each rejected alternative. Use values."
                )
            )
        return self.values[:, 0, k] - self.values[:, 1, k]

    def scale(self, attribute: str) -> float:
        """Root mean square of chosen − other over situations and their other alternatives.

        Either order of a pair counts alike, so for pairs this is the standard deviation of the
        differences around 0. Situations count by their weight. A few differences far beyond all
        others (more than ten medians, at most 2 % of them) count as ten medians, so that no broken
        score moves the scale.

        Parameters
        ----------
        attribute : str

        Returns
        -------
        float
            In the units of the attribute.

        Examples
        --------
        >>> from prefstrength import Choices
        >>> Choices([[[3.0], [0.0]], [[0.0], [4.0]]], [0, 0], ["reward"]).scale("reward") ** 2
        12.5
        """
        x = self.values[:, :, self._attribute(attribute)]
        rows = np.arange(self.n_situations)
        other = self.available.copy()
        other[rows, self.chosen] = False
        total = self.weights[:, None] * other
        difference = x[rows, self.chosen][:, None] - x
        most = usual(np.abs(difference).ravel(), total.ravel())
        difference = np.clip(difference, -most, most)
        return float(np.sqrt((total * difference**2).sum() / total.sum()))

    def situation_counts(self) -> np.ndarray:
        """Return the number of situations of each chooser, shape (chooser,)."""
        if self.chooser is None:
            raise InputError(
                "Counts by chooser need choosers; got choices without any. "
                "Name their column: `from_pairs(frame, chooser=...)`."
            )
        return np.bincount(self.chooser, minlength=self.n_choosers)

    def answer_counts(self) -> dict[str, int]:
        """Return the number of situations with each answer.

        Returns
        -------
        dict of str to int
            By answer in words; by alternative where one was chosen; for rankings by how much of
            them is known: all places, some of them, or with ties.

        Examples
        --------
        >>> from prefstrength import Choices
        >>> Choices([[[3.0], [1.0]], [[0.0], [2.0]]], [0, 1], ["reward"],
        ...         alternatives=["left", "right"]).answer_counts()
        {'left': 1, 'right': 1}
        """
        return answer_counts(self)

    def _attribute(self, name: str) -> int:
        if name in self.attributes:
            return self.attributes.index(name)
        close = nearest(name, self.attributes) if isinstance(name, str) else None
        hint = f"Did you mean {close!r}?" if close else "Name one of them."
        raise InputError(
            f"Expected one of the attributes {listed(self.attributes)}; got {shown(name)}. {hint}"
        )

    # -- other choices from these --------------------------------------------------------------

    def subset(self, mask: Any) -> Self:
        """Return the situations where ``mask`` holds; unused choosers and levels go.

        Parameters
        ----------
        mask : array_like of bool, shape (situation,)

        Returns
        -------
        Choices

        Examples
        --------
        >>> from prefstrength import Choices
        >>> both = Choices([[[1.0], [0.0]], [[0.0], [2.0]]], [0, 0], ["reward"],
        ...                chooser=[0, 1], choosers=["ann", "ben"])
        >>> both.subset([False, True]).choosers
        ('ben',)
        """
        return replace(self, **subset_fields(self, mask))

    def as_pairs(self, reduce: bool = False) -> Self:
        """Return the same choices as pairs, the chosen alternative first.

        Parameters
        ----------
        reduce : bool
            Make pairs of graded answers, ties and rankings, too; ``notes`` and ``dropped`` say
            what is lost. Of grades it is by how much one was better; ties are left out; a ranking
            is taken apart into all pairs of which one ranks higher, which are not independent.

        Raises
        ------
        InputError
            If a situation does not have exactly two available alternatives, or answers say more
            than pairs can and ``reduce`` is not given.

        Examples
        --------
        >>> from prefstrength import Choices
        >>> Choices([[[3.0], [1.0]]], [1], ["reward"]).as_pairs().differences("reward")
        array([-2.])
        """
        if self.is_pairs:
            return self
        return replace(self, **pair_fields(self, reduce))

    def to_long(self) -> pd.DataFrame:
        """Return a table with one row for each available alternative.

        Returns
        -------
        DataFrame
            ``situation``, ``alternative``, ``chosen``, one column for each attribute,
            ``chooser`` where there are choosers, one column for each group, ``weight``;
            ``rank``, ``answer``, ``shown_first``, ``pair`` and ``chooser_weight`` where they are
            known. :meth:`from_long` makes the same choices of it, but for answers to pairs.

        Examples
        --------
        >>> from prefstrength import Choices
        >>> Choices([[[3.0], [1.0]]], [0], ["reward"]).to_long()["reward"].tolist()
        [3.0, 1.0]
        """
        return long_table(self)

    def content_hash(self) -> str:
        """Return the SHA-256 of all numbers and labels, the same on every machine.

        Examples
        --------
        >>> from prefstrength import Choices
        >>> a = Choices([[[3.0], [1.0]]], [0], ["reward"])
        >>> a.content_hash() == Choices([[[3.0], [1.0]]], [0], ["score"]).content_hash()
        False
        """
        digest = hashlib.sha256()
        for part in fields(self):
            value = getattr(self, part.name)
            plain = part.name == "response" and self.response.answers_in == "chosen"
            if not plain and (value is not None or part.name not in _LATER):
                feed(digest, part.name, value)
        return digest.hexdigest()

    # -- shown -------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def where(self, mask: np.ndarray) -> str:
        """Say how many situations a mask holds, and which come first."""
        at = np.flatnonzero(mask)
        labels = [self.situations[i] if self.situations else str(i) for i in at[:3]]
        return f"{len(at):,} of {self.n_situations:,} situations (first: {', '.join(labels)})"
