r"""Sums on a grid: a fixed one of the real line, for data without choosers.

Every power of two from 2⁻⁶⁴ to 2⁶⁴ is cut into bins of the same width, 128 of them unless told,
the same for every data set and on both sides of 0: the bin of a difference is the first bits of
its floating-point representation. In each bin the sums of :math:`w, wd, wd^2, wd^3` are kept, d
being the place within the bin, so that summaries of parts of the data add up. The two-point Gauss
rule of these four moments stands for the data of a bin: it is exact for cubics, and its nodes lie
among the data.

How far it can be from the data is known without them. Among all distributions with the same four
moments on a bin, the Gauss rule and the Lobatto rule (both ends and one point between) give the
smallest and the largest integral of a function whose fourth derivative keeps its sign there [1]_;
their difference bounds the error.

References
----------
.. [1] Karlin, Studden (1966), Tchebycheff Systems: With Applications in Analysis and Statistics,
   ch. 2 and 3.
"""

from dataclasses import dataclass

import numpy as np

from prefstrength.data.compressed.compiled import compiled

__all__ = [
    "LIMIT",
    "Binned",
    "accumulate",
    "added",
    "bins_of",
    "gauss_rule",
    "lobatto_rule",
    "picked",
]

_LOWEST = -64  # exponent of the smallest bins
_OCTAVES = 128
_BIAS = 1023  # of the exponent of a float64
_MOST_DENSE = 64  # cells whose bins are all kept while summing

#: Differences must be smaller than this.
LIMIT = 2.0**64


def bins_of(bits: int) -> int:
    """Number of bins where an octave has 2 ** bits.

    The last one holds what is closer to 0 than 2⁻⁶⁴ and counts as 0.
    """
    return 2 * (_OCTAVES << bits) + 1


@compiled
def accumulate(
    chosen: np.ndarray,
    rejected: np.ndarray,
    weight: np.ndarray | None,
    cell: np.ndarray | None,
    bits: int,
    state: np.ndarray,
) -> tuple[int, int, int]:
    """Add rows to the sums of their bins.

    Parameters
    ----------
    chosen, rejected : ndarray of float, shape (row,)
    weight, cell : ndarray, shape (row,), or None
        ``None``: every weight 1, everything in cell 0. Each case is compiled apart.
    bits : int
        An octave has 2 ** bits bins.
    state : ndarray, shape (cell, bin, 4)
        The sums, changed in place.

    Returns
    -------
    tuple of int
        Rows that could not be used, lowest and highest bin used.
    """
    side = _OCTAVES << bits
    shift = 52 - bits
    mask, unit = (1 << shift) - 1, 0.5**shift
    origin = (_BIAS + _LOWEST) << bits
    wrong, least, most = 0, 2 * side + 1, -1
    block = np.empty(1024)
    pattern = block.view(np.int64)
    for first in range(0, len(chosen), 1024):
        size = min(1024, len(chosen) - first)
        for i in range(size):
            block[i] = np.float64(chosen[first + i]) - np.float64(rejected[first + i])
        for i in range(size):
            row = first + i
            w = 1.0 if weight is None else weight[row]
            c = 0 if cell is None else cell[row]
            # A comparison with NaN is false.
            if not (abs(block[i]) < LIMIT and w >= 0.0 and w < np.inf):
                wrong += 1
                continue
            raw = pattern[i]
            at = ((raw & 0x7FFFFFFFFFFFFFFF) >> shift) - origin
            if at < 0:
                at = 2 * side
                state[c, at, 0] += w
            else:
                d = np.float64(raw & mask) * unit - 0.5
                if raw < 0:
                    at += side
                wd = w * d
                wdd = wd * d
                state[c, at, 0] += w
                state[c, at, 1] += wd
                state[c, at, 2] += wdd
                state[c, at, 3] += wdd * d
            least, most = min(least, at), max(most, at)
    return wrong, least, most


@compiled
def picked(
    start: int, count: int, cell: np.ndarray | None, threshold: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose random priority is below the threshold of their cell.

    Parameters
    ----------
    start : int
        Key of the first row: a priority is made of a row's key ``start + i`` alone
        (splitmix64 [1]_).
    count : int
        Number of rows.
    cell : ndarray of int, shape (row,), or None
    threshold : ndarray of uint64, shape (cell,)

    Returns
    -------
    rows : ndarray of int
    priority : ndarray of uint64
        The priorities of these rows.

    References
    ----------
    .. [1] Steele, Lea, Flood (2014), Fast splittable pseudorandom number generators.
    """
    block = np.empty(1024, np.uint64)
    rows, priority, size = np.empty(1024, np.int64), np.empty(1024, np.uint64), 0
    for first in range(0, count, 1024):
        length = min(1024, count - first)
        for i in range(length):
            z = (np.uint64(start) + np.uint64(first + i)) * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            block[i] = z ^ (z >> np.uint64(31))
        if size + length > len(rows):
            rows = np.concatenate((rows, np.empty_like(rows)))
            priority = np.concatenate((priority, np.empty_like(priority)))
        for i in range(length):
            if block[i] < threshold[0 if cell is None else cell[first + i]]:
                rows[size] = first + i
                priority[size] = block[i]
                size += 1
    return rows[:size].copy(), priority[:size].copy()


@dataclass(frozen=True)
class Binned:
    """Sums of the bins that hold anything.

    Parameters
    ----------
    cell, bin : ndarray of int, shape (entry,)
        Sorted by cell, then bin; no entry twice.
    sums : ndarray, shape (entry, 4)
    bits : int
        An octave has 2 ** bits bins.
    """

    cell: np.ndarray
    bin: np.ndarray
    sums: np.ndarray
    bits: int

    @classmethod
    def of(
        cls,
        chosen: np.ndarray,
        rejected: np.ndarray,
        weight: np.ndarray | None,
        cell: np.ndarray | None,
        cells: int,
        bits: int,
    ) -> tuple["Binned", int]:
        """Sums of rows, and how many of these could not be used.

        Parameters
        ----------
        chosen, rejected, weight, cell
            As in :func:`accumulate`.
        cells : int
            Number of cells.
        """
        if cells <= _MOST_DENSE:
            state = np.zeros((cells, bins_of(bits), 4))
            wrong, low, high = accumulate(chosen, rejected, weight, cell, bits, state)
            part = state[:, low : high + 1]
            found, place = np.nonzero(part[:, :, 0])
            return cls(found, place + low, part[found, place], bits), wrong
        # A cell in thousands has few rows: sort them, rather than look through all its bins.
        assert cell is not None
        order = np.argsort(cell, kind="stable")
        edges = np.searchsorted(cell[order], np.arange(cells + 1))
        parts, wrong = [], 0
        for start in range(0, cells, _MOST_DENSE):
            stop = min(start + _MOST_DENSE, cells)
            rows = order[edges[start] : edges[stop]]
            own = None if weight is None else weight[rows]
            size = stop - start
            some, bad = cls.of(chosen[rows], rejected[rows], own, cell[rows] - start, size, bits)
            parts.append(some.relabelled(np.arange(start, stop)))
            wrong += bad
        return added(parts), wrong

    def relabelled(self, cell: np.ndarray) -> "Binned":
        """The same with code ``cell[c]`` for cell c, as it stands: see :func:`added`."""
        return Binned(cell[self.cell], self.bin, self.sums, self.bits)

    def recoded(self, cell: np.ndarray) -> "Binned":
        """The same with code ``cell[c]`` for cell c; cells that become alike are added up."""
        return added([self.relabelled(cell)])

    def moments(self, cells: int) -> np.ndarray:
        """Sums of w, wx and wx² over each cell, shape (cell, 3)."""
        start, width = self.edges()
        middle = start + width / 2
        w, wd, wdd = self.sums[:, 0], self.sums[:, 1], self.sums[:, 2]
        each = (
            w,
            middle * w + width * wd,
            middle**2 * w + 2 * middle * width * wd + width**2 * wdd,
        )
        return np.stack([np.bincount(self.cell, m, minlength=cells) for m in each], axis=1)

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Edge of each entry's bin that is nearer to 0, and the bin's signed width."""
        side, share = _OCTAVES << self.bits, 1 << self.bits
        zero = self.bin == 2 * side
        within = np.where(zero, 0, self.bin % side)
        octave = np.where(self.bin >= side, -1.0, 1.0) * 2.0 ** (_LOWEST + within // share)
        start = octave * (1 + within % share / share)
        return np.where(zero, 0.0, start), np.where(zero, 0.0, octave / share)


def added(parts: list[Binned]) -> Binned:
    """Sums of several parts together, sorted."""
    bits = parts[0].bits
    place = np.concatenate([part.bin for part in parts])
    key = np.concatenate([part.cell for part in parts]).astype(np.int64) * bins_of(bits) + place
    order = np.argsort(key, kind="stable")
    keys, starts = np.unique(key[order], return_index=True)
    sums = np.concatenate([part.sums for part in parts])[order]
    if len(keys) < len(key):
        sums = np.add.reduceat(sums, starts, axis=0)
    return Binned(*np.divmod(keys, bins_of(bits)), sums, bits)


def gauss_rule(binned: Binned) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two-point Gauss rule of every bin, leaving out points without weight.

    Returns
    -------
    x, weight : ndarray, shape (point,)
    entry : ndarray of int, shape (point,)
        Entry of the bins that a point belongs to.

    Notes
    -----
    With mean m, variance v and third central moment s of the place in the bin, the nodes are
    the roots of :math:`(d-m)^2 - (s/v)(d-m) - v`.
    """
    total, mean, variance, third = _central(binned)
    # A variance of rounding size: all the data of the bin are one number.
    spread = variance > 1e-13
    skew = np.where(spread, third / np.where(spread, variance, 1.0), 0.0) / 2
    root = np.sqrt(skew**2 + np.where(spread, variance, 0.0))
    low, high = skew - root, skew + root
    share = np.where(spread, high / np.where(spread, high - low, 1.0), 1.0)  # of the lower node
    place = np.clip(np.concatenate([mean + low, mean + high]), -0.5, 0.5)
    return _points(binned, place, np.concatenate([total * share, total * (1 - share)]))


def lobatto_rule(binned: Binned) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rule of both ends and one point of every bin; see :func:`gauss_rule`."""
    total, mean, variance, third = _central(binned)
    a, b = -0.5 - mean, 0.5 - mean  # the ends, around the mean
    # The inner node t makes E (d-a)(b-d)(d-t) vanish.
    product = np.maximum(-(variance + a * b), 0.0)  # E (d-a)(b-d)
    inside = product > 1e-13
    t = ((a + b) * variance - third) / np.where(inside, product, 1.0)
    t = np.clip(np.where(inside, t, 0.0), a + 1e-9, b - 1e-9)
    at_t = np.where(inside, product / ((t - a) * (b - t)), 0.0)
    at_b = (-a - at_t * (t - a)) / (b - a)
    place = np.concatenate([np.full_like(mean, -0.5), mean + t, np.full_like(mean, 0.5)])
    weight = np.concatenate([total * (1 - at_t - at_b), total * at_t, total * at_b])
    return _points(binned, place, weight)


def _central(binned: Binned) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    total = binned.sums[:, 0]
    raw = binned.sums[:, 1:] / total[:, None]
    mean = raw[:, 0]
    variance = np.maximum(raw[:, 1] - mean**2, 0.0)
    third = raw[:, 2] - 3 * mean * raw[:, 1] + 2 * mean**3
    return total, mean, variance, third


def _points(
    binned: Binned, place: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    entry = np.tile(np.arange(len(binned.bin)), len(place) // max(len(binned.bin), 1))
    start, width = binned.edges()
    x = start[entry] + (place + 0.5) * width[entry]
    keep = weight != 0
    return x[keep], weight[keep], entry[keep]
