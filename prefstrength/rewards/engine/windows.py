"""Windows of responses that are tokenised ahead, and the sample scored alone."""

from collections.abc import Sequence

import numpy as np

#: Responses that are scored a second time, alone and without padding: one of so many, ...
ONE_ALONE = 128
#: ... but at least and at most as many.
ALONE, MOST_ALONE = 4, 64
#: Responses that are tokenised at a time, and how many times ahead of the device.
WINDOW, AHEAD = 2048, 2


def in_windows(groups: Sequence[int], letters: Sequence[int]) -> list[list[int]]:
    """Responses in the order in which they are tokenised, so many at a time.

    The longest come first, and those of one group stay together.

    Examples
    --------
    >>> in_windows([0, 1, 0], [5, 7, 9])
    [[0, 2, 1]]
    """
    members: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    windows: list[list[int]] = []
    for together in sorted(members.values(), key=lambda each: -max(letters[i] for i in each)):
        if not windows or len(windows[-1]) + len(together) > WINDOW:
            windows.append([])
        windows[-1] += together
    return windows


def spread(count: int) -> list[int]:
    """Places of a sample among ``count``, evenly from the first to the last."""
    size = min(count, max(ALONE, min(MOST_ALONE, count // ONE_ALONE)))
    return sorted({round(place) for place in np.linspace(0, count - 1, size)})
