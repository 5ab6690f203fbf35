"""Choices: one validated, immutable container of choice data.

Letters used in shapes: ``situation`` counts choice occasions, ``alternative`` the options of
the largest choice set, ``attribute`` the measured properties of an alternative.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import pandas as pd

from prefstrength._shared.words import listed, nearest, shown
from prefstrength.data.anomalies import usual
from prefstrength.data.choices_checks import check
from prefstrength.data.content_hash import feed
from prefstrength.data.factor import Dropped, Factor, frozen
from prefstrength.data.reshaping import long_table, pair_fields, subset_fields
from prefstrength.errors import InputError

__all__ = ["Choices"]


@dataclass(frozen=True, eq=False, repr=False)
class Choices:
    """Choice data: in each situation one of several alternatives was chosen.

    Make one with :meth:`from_pairs`, :meth:`from_long` or
    :func:`~prefstrength.data.reading.read_choices`; they check a table and say what is wrong with
    it. The constructor takes arrays that are already in order, copies them and makes them
    read-only.

    Parameters
    ----------
    values : array_like, shape (situation, alternative, attribute)
        The attributes, in the units of the table; 0 where an alternative is not available.
    chosen : array_like of int, shape (situation,)
        Position of the chosen alternative; 0 in pairs (0 chosen, 1 rejected).
    attributes : sequence of str
    available : array_like of bool, shape (situation, alternative), optional
        The choice sets; everything when left out.
    weights : array_like, shape (situation,), optional
        How often each situation counts; 1 when left out.
    chooser : array_like of int, shape (situation,), optional
        Position of the chooser in ``choosers``.
    choosers : sequence of str
        Labels of the choosers.
    groups : mapping of str to Factor
        Subgroups to compare.
    situations : sequence of str, optional
        Labels of the situations: the rows of the file they came from.
    dropped : sequence of Dropped
    alternatives : sequence of str, optional
        Labels of the alternatives; their positions when left out.
    notes : sequence of str
        What was done to the table on request, other than dropping.

    Raises
    ------
    InputError
        If shapes disagree, a number is not finite, a weight is negative, a code has no label,
        or a chosen alternative is not available; names the first situations.

    Examples
    --------
    >>> import pandas as pd
    >>> pairs = pd.DataFrame({"reward_chosen": [1.0, 0.5, 2.0], "reward_rejected": [0.0, 1.0, 0.0],
    ...                       "annotator": ["ann", "ann", "ben"]})
    >>> choices = Choices.from_pairs(pairs, chooser="annotator")
    >>> choices.n_situations, choices.choosers
    (3, ('ann', 'ben'))
    >>> choices.differences("reward")
    array([ 1. , -0.5,  2. ])
    """

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

    def __post_init__(self) -> None:
        values = frozen(self.values, np.float64, 3, "values")
        n, m, _ = values.shape
        available = np.ones((n, m), bool) if self.available is None else self.available
        weights = np.ones(n) if self.weights is None else self.weights
        available = frozen(available, np.bool_, 2, "available")
        set_ = {
            "chosen": frozen(self.chosen, np.int64, 1, "chosen"),
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
        if self.chooser is not None:
            set_["chooser"] = frozen(self.chooser, np.int64, 1, "chooser")
        if available.shape == (n, m) and not available.all():
            values = frozen(np.where(available[:, :, None], values, 0.0), np.float64, 3, "values")
        set_["values"] = values
        for name, value in set_.items():
            object.__setattr__(self, name, value)
        check(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # A read-only mapping cannot be copied by itself; copy.deepcopy comes through here.
        parts = (getattr(self, f.name) for f in fields(self))
        return type(self), tuple(dict(p) if isinstance(p, Mapping) else p for p in parts)

    # -- tables in ---------------------------------------------------------------------------

    @classmethod
    def from_pairs(
        cls,
        frame: Any,
        chooser: str | None = None,
        groups: str | Sequence[str] = (),
        attributes: str | Sequence[str] = ("reward",),
        *,
        weights: str | None = None,
        ties: str = "raise",
        identical: str = "raise",
        duplicates: str = "raise",
    ) -> Self:
        """Make choices from a table of pairs, one row for each choice.

        Parameters
        ----------
        frame : DataFrame or datasets.Dataset
            Two columns for each attribute, ``<attribute>_chosen`` and ``<attribute>_rejected``.
            Optional: ``prompt``, ``chosen`` and ``rejected``, texts or TRL's lists of messages,
            which are checked and not kept; ``tie``, true where nobody was preferred.
            It is never changed.
        chooser : str, optional
            Column that says who chose.
        groups : sequence of str
            Categorical columns to compare, such as dataset or region.
        attributes : sequence of str
            Names of the attributes, without ``_chosen`` and ``_rejected``.
        weights : str, optional
            Column of weights, zero or more.
        ties : {"raise", "drop", "split"}
            Ties are refused, left out and counted, or made into two situations of half weight,
            one each way.
        identical : {"raise", "drop"}
            What to do with pairs whose two responses are the same.
        duplicates : {"raise", "drop", "keep"}
            What to do when one chooser judged the same two texts (in either order, under the
            same prompt) more than once. "drop" keeps the first. Without texts nothing is
            compared; without a chooser all rows count as one chooser's.

        Returns
        -------
        Choices
            ``situations`` are the row labels of ``frame``; positions counted from 0 where labels
            occur twice.

        Raises
        ------
        InputError
            For whatever is wrong with the table: one sentence that names column and rows.

        Warns
        -----
        DataWarning
            For what works but deserves a look, such as a group level with hardly any rows.

        Examples
        --------
        >>> import pandas as pd
        >>> pairs = pd.DataFrame({"reward_chosen": [1.0, 0.5], "reward_rejected": [0.0, 1.0],
        ...                       "tie": [False, True]})
        >>> Choices.from_pairs(pairs, ties="drop").dropped
        (Dropped(reason='ties', count=1, rows=('1',)),)
        >>> Choices.from_pairs(pairs, ties="split").weights
        array([1. , 0.5, 0.5])
        """
        from prefstrength.data.from_pairs import pairs_fields

        return cls(
            **pairs_fields(frame, chooser, groups, attributes, weights, ties, identical, duplicates)
        )

    @classmethod
    def from_long(
        cls,
        frame: Any,
        situation: str,
        alternative: str,
        chosen: str,
        attributes: str | Sequence[str],
        *,
        chooser: str | None = None,
        groups: str | Sequence[str] = (),
        available: str | None = None,
        weights: str | None = None,
        ties: str = "raise",
        duplicates: str = "raise",
    ) -> Self:
        """Make choices from a table with one row for each alternative of each situation.

        Parameters
        ----------
        frame : DataFrame or datasets.Dataset
            It is never changed.
        situation, alternative : str
            Columns that say which situation and which alternative a row describes. An
            alternative that was not on offer has no row, or ``available`` false.
        chosen : str
            Boolean column (or 0 and 1), true in one row of each situation.
        attributes : sequence of str
            Numeric columns.
        chooser, groups, weights
            As in :meth:`from_pairs`; the same in all rows of a situation.
        available : str, optional
            Boolean column; attributes of alternatives that are not available may be missing.
        ties : {"raise", "drop", "split"}
            Situations with several chosen alternatives are refused, left out and counted, or
            repeated once for each chosen one with their weight shared out.
        duplicates : {"raise", "drop"}
            What to do when an alternative occurs twice in a situation. "drop" keeps the first.

        Returns
        -------
        Choices
            Alternatives take the sorted order of their labels. With more than 100 labels (each
            response has its own) they are numbered within each situation, in that order.

        Raises
        ------
        InputError
            For whatever is wrong with the table: one sentence that names column and rows.

        Examples
        --------
        >>> import pandas as pd
        >>> trips = pd.DataFrame({
        ...     "trip": [1, 1, 1, 2, 2],
        ...     "mode": ["bus", "car", "walk", "bus", "car"],
        ...     "taken": [1, 0, 0, 0, 1],
        ...     "cost": [2.0, 5.0, 0.0, 2.0, 3.0],
        ... })
        >>> choices = Choices.from_long(trips, "trip", "mode", "taken", "cost")
        >>> choices.alternatives, choices.available.sum(axis=1)
        (('bus', 'car', 'walk'), array([3, 2]))
        """
        from prefstrength.data.from_long import long_fields

        return cls(
            **long_fields(
                frame, situation, alternative, chosen, attributes,
                chooser, groups, available, weights, ties, duplicates,
            )
        )  # fmt: skip

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
        return self.n_alternatives == 2 and bool(self.available.all()) and not self.chosen.any()

    def differences(self, attribute: str) -> np.ndarray:
        """Attribute of the chosen minus that of the rejected alternative, in pairs.

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
        >>> Choices([[[3.0], [1.0]], [[0.0], [0.5]]], [0, 0], ["reward"]).differences("reward")
        array([ 2. , -0.5])
        """
        k = self._attribute(attribute)
        if not self.is_pairs:
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
        >>> both = Choices([[[1.0], [0.0]], [[0.0], [2.0]]], [0, 0], ["reward"],
        ...                chooser=[0, 1], choosers=["ann", "ben"])
        >>> both.subset([False, True]).choosers
        ('ben',)
        """
        return replace(self, **subset_fields(self, mask))

    def as_pairs(self) -> Self:
        """Return the same choices as pairs, the chosen alternative first.

        Raises
        ------
        InputError
            If a situation does not have exactly two available alternatives.

        Examples
        --------
        >>> Choices([[[3.0], [1.0]]], [1], ["reward"]).as_pairs().differences("reward")
        array([-2.])
        """
        if self.is_pairs:
            return self
        return replace(self, **pair_fields(self))

    def to_long(self) -> pd.DataFrame:
        """Return a table with one row for each available alternative.

        Returns
        -------
        DataFrame
            ``situation``, ``alternative``, ``chosen``, one column for each attribute,
            ``chooser`` where there are choosers, one column for each group, ``weight``.
            :meth:`from_long` makes the same choices of it.

        Examples
        --------
        >>> Choices([[[3.0], [1.0]]], [0], ["reward"]).to_long()["reward"].tolist()
        [3.0, 1.0]
        """
        return long_table(self)

    def content_hash(self) -> str:
        """Return the SHA-256 of all numbers and labels, the same on every machine.

        Examples
        --------
        >>> a = Choices([[[3.0], [1.0]]], [0], ["reward"])
        >>> a.content_hash() == Choices([[[3.0], [1.0]]], [0], ["score"]).content_hash()
        False
        """
        digest = hashlib.sha256()
        for part in fields(self):
            value = getattr(self, part.name)
            feed(digest, part.name, value)
        return digest.hexdigest()

    # -- shown -------------------------------------------------------------------------------

    def __repr__(self) -> str:
        from prefstrength.data.description import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from prefstrength.data.description import as_html

        return as_html(self)

    def where(self, mask: np.ndarray) -> str:
        """Say how many situations a mask holds, and which come first."""
        at = np.flatnonzero(mask)
        labels = [self.situations[i] if self.situations else str(i) for i in at[:3]]
        return f"{len(at):,} of {self.n_situations:,} situations (first: {', '.join(labels)})"
