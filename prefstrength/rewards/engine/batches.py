"""Batches of responses: rows that share the start of their texts, sorted by length."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: Tokens of a row that holds several responses, unless one response alone has half as many.
ROW = 1024
#: Share of its tokens that a row must save, because the longer row costs more attention.
SAVED = 0.125


#: Token ids by the number of their response.
Tokens = Sequence[np.ndarray] | Mapping[int, np.ndarray]


@dataclass(frozen=True)
class Row:
    """Responses that begin with the same tokens, laid out as that beginning and then their ends.

    Attributes
    ----------
    responses : tuple of int
        Index of each response.
    shared : int
        Tokens of the common beginning; 0 for a single response.
    width : int
        Tokens of the row: the beginning once, and all ends.
    """

    responses: tuple[int, ...]
    shared: int
    width: int


def single_rows(indices: Iterable[int], tokens: Tokens) -> list[Row]:
    """One row a response."""
    return [Row((i,), 0, len(tokens[i])) for i in indices]


def shared_rows(
    indices: Iterable[int],
    tokens: Tokens,
    groups: Sequence[int],
    most: int | None = None,
) -> list[Row]:
    """Rows of the responses of one group, where that saves tokens.

    Parameters
    ----------
    indices : iterable of int
        The responses to lay out.
    tokens : sequence of ndarray, or mapping
        Token ids of every response.
    groups : sequence of int, length (response,)
        Responses to the same prompt have the same number.
    most : int, optional
        Responses a row may hold.

    Returns
    -------
    list of Row
        Every response in one row.

    Examples
    --------
    >>> texts = [np.arange(9), np.array([*range(8), 20, 21]), np.arange(5)]
    >>> shared_rows(range(3), texts, [0, 0, 1])
    [Row(responses=(0, 1), shared=8, width=11), Row(responses=(2,), shared=0, width=5)]
    """
    members: dict[int, list[int]] = {}
    for i in indices:
        members.setdefault(groups[i], []).append(i)
    rows: list[Row] = []
    for group in members.values():
        while group:
            row = _widest(group, tokens, most)
            rows.append(row)
            group = group[len(row.responses) :]
    return rows


def _widest(group: Sequence[int], tokens: Tokens, most: int | None) -> Row:
    """Row of the first response and of as many that follow as fit and save enough."""
    first = tokens[group[0]]
    row = Row((group[0],), 0, len(first))
    shared, total, longest = len(first) - 1, len(first), len(first)
    for count, i in enumerate(group[1:most], start=2):
        shared = min(shared, beginning(first, tokens[i]), len(tokens[i]) - 1)
        total += len(tokens[i])
        longest = max(longest, len(tokens[i]))
        saved = shared * (count - 1)
        if saved < SAVED * total or total - saved > max(ROW, 2 * longest):
            break
        row = Row(tuple(group[:count]), shared, total - saved)
    return row


def beginning(one: np.ndarray, other: np.ndarray) -> int:
    """Tokens with which both begin."""
    length = min(len(one), len(other))
    differ = one[:length] != other[:length]
    return int(differ.argmax()) if differ.any() else length


def computed(batch: Sequence[Row], packed: bool) -> int:
    """Tokens that a batch makes a model compute: with padding to the first row, or without."""
    return sum(row.width for row in batch) if packed else len(batch) * batch[0].width


def plan(
    rows: Iterable[Row], most_tokens: int, most: int | None = None, *, packed: bool = False
) -> list[list[Row]]:
    """Batches of rows of about the same width, the widest first.

    Memory that suffices for the first batch then suffices for all.

    Parameters
    ----------
    rows : iterable of Row
        Rows with at most ``most`` responses.
    most_tokens : int
        Tokens of a batch, padding included; a wider row stands alone.
    most : int, optional
        Responses of a batch.
    packed : bool
        Batches have no padding.

    Examples
    --------
    >>> rows = [Row((i,), 0, width) for i, width in enumerate([3, 9, 4, 4])]
    >>> [[row.width for row in batch] for batch in plan(rows, most_tokens=9)]
    [[9], [4, 4], [3]]
    >>> [[row.width for row in batch] for batch in plan(rows, most_tokens=11, packed=True)]
    [[9], [4, 4, 3]]
    """
    batches: list[list[Row]] = []
    count = tokens = 0
    for row in sorted(rows, key=lambda row: -row.width):
        # with padding, every row has the width of the first one
        more = row.width if packed or not batches else batches[-1][0].width
        full = not batches or tokens + more > most_tokens
        if full or (most is not None and count + len(row.responses) > most):
            batches.append([])
            count = tokens = 0
            more = row.width
        batches[-1].append(row)
        count += len(row.responses)
        tokens += more
    return batches
