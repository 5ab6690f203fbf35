"""Choices: one validated, immutable container of choice data.

Letters used in shapes: ``situation`` counts choice occasions, ``alternative`` the options of
the largest choice set, ``attribute`` the measured properties of an alternative.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import pandas as pd

from prefstrength._validate import used_levels
from prefstrength._words import listed, nearest, shown
from prefstrength.errors import InputError

__all__ = ["Choices", "Dropped", "Factor"]

#: Columns of :meth:`Choices.to_long` that no attribute or group may be called.
LONG_COLUMNS = ("situation", "alternative", "chosen", "chooser", "weight")


@dataclass(frozen=True, eq=False)
class Factor:
    """A categorical column: one code for each situation.

    Attributes
    ----------
    name : str
    codes : ndarray of int64, shape (situation,)
        Position of each situation's level in ``levels``.
    levels : tuple of str

    Examples
    --------
    >>> Factor("region", [0, 1, 1], ("north", "south")).counts()
    {'north': 1, 'south': 2}
    """

    name: str
    codes: np.ndarray
    levels: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", _frozen(self.codes, np.int64, 1, f"codes of {self.name}"))
        object.__setattr__(self, "levels", tuple(self.levels))
        _check_codes(self.codes, self.levels, f"group {self.name!r}")

    def counts(self) -> dict[str, int]:
        """Return the number of situations of each level."""
        counted = np.bincount(self.codes, minlength=len(self.levels))
        return dict(zip(self.levels, counted.tolist(), strict=True))


@dataclass(frozen=True)
class Dropped:
    """What was left out on request: why, how many rows, and the first three of them."""

    reason: str
    count: int
    rows: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Choices:
    """Choice data: in each situation one of several alternatives was chosen.

    Make one with :meth:`from_pairs`, :meth:`from_long` or
    :func:`~prefstrength.reading.read_choices`; they check a table and say what is wrong with it.
    The constructor takes arrays that are already in order, copies them and makes them read-only.

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
        values = _frozen(self.values, np.float64, 3, "values")
        n, m, _ = values.shape
        available = np.ones((n, m), bool) if self.available is None else self.available
        weights = np.ones(n) if self.weights is None else self.weights
        available = _frozen(available, np.bool_, 2, "available")
        set_ = {
            "chosen": _frozen(self.chosen, np.int64, 1, "chosen"),
            "attributes": (self.attributes,)
            if isinstance(self.attributes, str)
            else tuple(self.attributes),
            "available": available,
            "weights": _frozen(weights, np.float64, 1, "weights"),
            "choosers": tuple(self.choosers),
            "groups": MappingProxyType(dict(self.groups)),
            "situations": None if self.situations is None else tuple(self.situations),
            "dropped": tuple(self.dropped),
            "alternatives": tuple(self.alternatives) or tuple(str(j) for j in range(m)),
            "notes": tuple(self.notes),
        }
        if self.chooser is not None:
            set_["chooser"] = _frozen(self.chooser, np.int64, 1, "chooser")
        if available.shape == (n, m) and not available.all():
            values = _frozen(np.where(available[:, :, None], values, 0.0), np.float64, 3, "values")
        set_["values"] = values
        for name, value in set_.items():
            object.__setattr__(self, name, value)
        _check(self)

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
        from prefstrength._doors_pairs import pairs_fields

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
        from prefstrength._doors_long import long_fields

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
        differences around 0. Situations count by their weight.

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
        return float(np.sqrt((total * difference**2).sum() / total.sum()))

    def situation_counts(self) -> np.ndarray:
        """Return the number of situations of each chooser, shape (chooser,)."""
        if self.chooser is None:
            raise InputError(
                "Counts by chooser need choosers; got choices without any. "
                "Name their column: from_pairs(frame, chooser='...')."
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
        mask = np.asarray(mask)
        if mask.dtype != np.bool_ or mask.shape != (self.n_situations,):
            raise InputError(
                f"A mask should be true or false for each of {self.n_situations:,} situations; got "
                f"an array of {mask.dtype} with the shape {mask.shape}. Positions and labels are "
                "no mask. Compare something with something, as in choices.weights > 0."
            )
        if not mask.any():
            raise InputError(
                f"A subset should keep at least one situation; got none of {self.n_situations:,}. "
                "The condition holds nowhere. Check what was compared."
            )
        changes: dict[str, Any] = {
            name: getattr(self, name)[mask] for name in ("values", "chosen", "available", "weights")
        }
        if self.chooser is not None:
            changes["chooser"], changes["choosers"] = used_levels(self.chooser[mask], self.choosers)
        if self.situations is not None:
            changes["situations"] = [self.situations[i] for i in np.flatnonzero(mask)]
        changes["groups"] = {
            name: Factor(name, *used_levels(factor.codes[mask], factor.levels))
            for name, factor in self.groups.items()
        }
        return replace(self, **changes)

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
        wrong = self.available.sum(axis=1) != 2
        if wrong.any():
            raise InputError(
                "Pairs need two available alternatives in every situation; got another number in "
                f"{self._where(wrong)}. A choice among more is no pair. "
                "Use the choices as they are, or keep a subset."
            )
        rows = np.arange(self.n_situations)
        other = self.available.copy()
        other[rows, self.chosen] = False
        order = np.stack([self.chosen, other.argmax(axis=1)], axis=1)
        return replace(
            self,
            values=np.take_along_axis(self.values, order[:, :, None], axis=1),
            chosen=np.zeros(self.n_situations, dtype=np.int64),
            available=np.ones((self.n_situations, 2), dtype=bool),
            alternatives=("chosen", "rejected"),
        )

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
        clash = [n for n in (*self.attributes, *self.groups) if n in LONG_COLUMNS]
        clash += [n for n in self.attributes if n in self.groups]
        if clash:
            raise InputError(
                f"Attributes and groups should not be called {listed(LONG_COLUMNS)}, nor alike; "
                f"got {listed(clash)}. The long table uses these names. Rename the column."
            )
        i, j = np.nonzero(self.available)
        labels = self.situations or tuple(str(s) for s in range(self.n_situations))
        table: dict[str, Any] = {
            "situation": pd.Series(labels, dtype="str").to_numpy()[i],
            "alternative": pd.Categorical.from_codes(j, categories=list(self.alternatives)),
            "chosen": self.chosen[i] == j,
        }
        table |= {name: self.values[i, j, k] for k, name in enumerate(self.attributes)}
        if self.chooser is not None:
            table["chooser"] = pd.Categorical.from_codes(
                self.chooser[i], categories=list(self.choosers)
            )
        for name, factor in self.groups.items():
            table[name] = pd.Categorical.from_codes(factor.codes[i], categories=list(factor.levels))
        table["weight"] = self.weights[i]
        return pd.DataFrame(table)

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
            _feed(digest, part.name, value)
        return digest.hexdigest()

    # -- shown -------------------------------------------------------------------------------

    def __repr__(self) -> str:
        from prefstrength._describe import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from prefstrength._describe import as_html

        return as_html(self)

    def _where(self, mask: np.ndarray) -> str:
        at = np.flatnonzero(mask)
        labels = [self.situations[i] if self.situations else str(i) for i in at[:3]]
        return f"{len(at):,} of {self.n_situations:,} situations (first: {', '.join(labels)})"


# -- the pieces -------------------------------------------------------------------------------


def _frozen(value: Any, dtype: Any, ndim: int, name: str) -> np.ndarray:
    given = np.asarray(value)
    if given.ndim != ndim:
        raise InputError(
            f"{name} should be an array with {ndim} dimension{'s' * (ndim > 1)}; "
            f"got the shape {given.shape}. Check the order of the axes."
        )
    if np.dtype(dtype) != given.dtype and not np.can_cast(given.dtype, dtype, "same_kind"):
        raise InputError(
            f"{name} should be an array of {np.dtype(dtype).name}; got {given.dtype}. "
            "Convert it, or let from_pairs read the table."
        )
    array = np.array(given, dtype=dtype, order="C")
    if array.dtype.kind == "f":
        array += 0.0  # -0.0 and 0.0 are one number, and so have one hash
    array.flags.writeable = False
    return array


def _check_codes(codes: np.ndarray, labels: Sequence[str], name: str) -> None:
    if len(set(labels)) != len(labels):
        raise InputError(f"Labels of {name} should be unique; got {listed(labels)}. Rename some.")
    if codes.size and (codes.min() < 0 or codes.max() >= len(labels)):
        raise InputError(
            f"Codes of {name} should lie between 0 and {len(labels) - 1}, one for each label; got "
            f"{codes.min()} to {codes.max()}. Give a label to every code."
        )


def _check(choices: Choices) -> None:
    n, m, k = choices.values.shape
    if n == 0 or m < 2 or k == 0:
        raise InputError(
            "Choices need at least one situation, two alternatives and one attribute; got "
            f"{n} situations, {m} alternatives and {k} attributes. Check the shape of values."
        )
    sizes = {
        "chosen": (choices.chosen.shape, (n,)),
        "available": (choices.available.shape, (n, m)),
        "weights": (choices.weights.shape, (n,)),
        "attributes": ((len(choices.attributes),), (k,)),
        "alternatives": ((len(choices.alternatives),), (m,)),
    }
    if choices.chooser is not None:
        sizes["chooser"] = (choices.chooser.shape, (n,))
    if choices.situations is not None:
        sizes["situations"] = ((len(choices.situations),), (n,))
    for name, factor in choices.groups.items():
        if not isinstance(factor, Factor):
            raise TypeError(f"groups should map names to Factor; got {type(factor).__name__}.")
        sizes[f"group {name!r}"] = (factor.codes.shape, (n,))
    for name, (got, wanted) in sizes.items():
        if got != wanted:
            raise InputError(
                f"{name} should have the shape {wanted} that values call for; got {got}. "
                "Give one entry for each."
            )
    for name, labels in (
        ("attributes", choices.attributes),
        ("alternatives", choices.alternatives),
        ("situations", choices.situations or ()),
    ):
        if len(set(labels)) != len(labels):
            twice = Counter(labels).most_common(1)[0]
            raise InputError(
                f"Labels of {name} should be unique; got {shown(twice[0])} {twice[1]} times. "
                "Rename all but one."
            )
    if choices.chooser is not None:
        _check_codes(choices.chooser, choices.choosers, "choosers")
    elif choices.choosers:
        raise InputError(
            f"Choosers need a code for each situation; got {len(choices.choosers)} labels "
            "without codes. Give chooser, or leave choosers out."
        )
    bad = ~np.isfinite(choices.values).all(axis=(1, 2))
    if bad.any():
        raise InputError(
            f"Attributes should be finite; got NaN or infinity in {choices._where(bad)}. "
            "Correct them or leave these situations out."
        )
    bad = ~np.isfinite(choices.weights) | (choices.weights < 0)
    if bad.any() or not choices.weights.any():
        raise InputError(
            "Weights should be finite, zero or more, and not all zero; got "
            f"{choices._where(bad) if bad.any() else 'zeros only'}. Correct them."
        )
    bad = (choices.chosen < 0) | (choices.chosen >= m)
    if bad.any():
        raise InputError(
            f"chosen should be a position between 0 and {m - 1}; got another number in "
            f"{choices._where(bad)}. Positions count from 0."
        )
    bad = ~choices.available[np.arange(n), choices.chosen]
    if bad.any():
        raise InputError(
            f"The chosen alternative should be available; got one that is not in "
            f"{choices._where(bad)}. Correct available or chosen."
        )
    bad = choices.available.sum(axis=1) < 2
    if bad.any():
        raise InputError(
            "A situation should offer at least two alternatives; got fewer in "
            f"{choices._where(bad)}. Without another one nothing was chosen: leave them out."
        )


def _feed(digest: Any, name: str, value: Any) -> None:
    """Add one field; lengths and names go in, so that neighbours cannot be confused."""
    if isinstance(value, np.ndarray):
        little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
        digest.update(json.dumps([name, little.dtype.str, little.shape]).encode())
        digest.update(little.tobytes())
    elif isinstance(value, Mapping):
        digest.update(json.dumps([name, len(value)]).encode())
        for key, factor in value.items():
            _feed(digest, key, factor.codes)
            _feed(digest, key, factor.levels)
    else:
        digest.update(json.dumps([name, _plain(value)]).encode())


def _plain(value: Any) -> Any:
    if isinstance(value, Dropped):
        return [value.reason, value.count, list(value.rows)]
    if isinstance(value, Iterable) and not isinstance(value, str):
        if set(map(type, value)) == {str}:  # labels, by the million
            return list(value)
        return [_plain(part) for part in value]
    return value
