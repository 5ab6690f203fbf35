"""Numbers in words: rounded to what is known, with their intervals."""

import math
from typing import Any

from prefstrength.plots.style import percent, short

__all__ = [
    "cell",
    "fixed",
    "interval",
    "label",
    "listing",
    "number",
    "probability",
    "share",
    "times",
    "with_interval",
]


def number(value: Any, digits: int = 3) -> str:
    """A number to ``digits`` significant digits, without an exponent where it can be helped.

    Examples
    --------
    >>> number(1234.5), number(0.04567), number(-2.0), number(float("nan"))
    ('1,234', '0.0457', '−2', '–')
    """
    if value is None or isinstance(value, str):
        return "–" if value is None else value
    value = float(value)
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value != 0 and (abs(value) < 1e-4 or abs(value) >= 1e7):
        return f"{value:.{digits - 1}e}".replace("-", "−")
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    if whole:
        decimals = max(digits - whole, 0)
    else:
        decimals = digits - 1 - math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:,.{min(decimals, 8)}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def fixed(value: Any, decimals: int = 2) -> str:
    """A number with so many decimals, for columns and intervals; more where it would be 0.

    Examples
    --------
    >>> fixed(1.5), fixed(0.0041), fixed(float("nan"))
    ('1.50', '0.0041', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    value = float(value)
    if abs(value) >= 1e6 or (0 < abs(value) < 5 * 10.0 ** -(decimals + 1)):
        return number(value, 2)
    return f"{value:,.{decimals}f}".replace("-", "−")


def interval(low: Any, high: Any, decimals: int = 2) -> str:
    """Two ends in words.

    Examples
    --------
    >>> interval(0.5, 1.25)
    '0.50 to 1.25'
    """
    return f"{fixed(low, decimals)} to {fixed(high, decimals)}"


def with_interval(row: Any, name: str, decimals: int = 2) -> str:
    """The middle and the interval of a quantity in a record.

    Examples
    --------
    >>> with_interval({"cv": 0.5, "cv_low": 0.4, "cv_high": 0.6}, "cv")
    '0.50 (0.40 to 0.60)'
    """
    if row[name] is None or math.isnan(row[name]):
        return "–"
    return f"{fixed(row[name], decimals)} ({interval(row[f'{name}_low'], row[f'{name}_high'])})"


def cell(row: Any, name: str, decimals: int = 2) -> str:
    """The same for a table, where there is little room.

    Examples
    --------
    >>> cell({"cv": 0.5, "cv_low": 0.4, "cv_high": 0.6}, "cv")
    '0.50 (0.40–0.60)'
    """
    text = with_interval(row, name, decimals)
    return text if "−" in text else text.replace(" to ", "–")


def probability(p: float) -> str:
    """A posterior probability; draws cannot tell 0.999 from 1.

    Examples
    --------
    >>> probability(1.0), probability(0.0), probability(0.926)
    ('above 0.99', 'below 0.01', '0.93')
    """
    if p > 0.99:
        return "above 0.99"
    return "below 0.01" if p < 0.01 else f"{p:.2f}"


def times(ratio: float) -> str:
    """A ratio, with one decimal below ten.

    Examples
    --------
    >>> times(3.14), times(27.4)
    ('3.1 times', '27 times')
    """
    return f"{ratio:.1f} times" if ratio < 10 else f"{ratio:,.0f} times"


def label(text: Any, most: int = 48) -> str:
    """Somebody's label on one line, cut where it is very long."""
    return short(text, most)


def listing(parts: list[str]) -> str:
    """Words joined as in a sentence.

    Examples
    --------
    >>> listing(["a", "b", "c"])
    'a, b and c'
    """
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def share(value: float) -> str:
    """A share as a percentage.

    Examples
    --------
    >>> share(0.0467), share(0.004)
    ('4.7%', '0.4%')
    """
    return percent(round(value, 3))
