"""Mixing distributions to be inferred in a few characters, and back: ``ZeroMass(LogNormal)``."""

import re

from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.compound import FiniteMixture, Lapse, ZeroMass
from prefstrength.choice.mixing.families import family_named
from prefstrength.errors import InputError

__all__ = ["expression", "mixing_of"]

_SHARES: dict[str, type[ZeroMass] | type[Lapse]] = {"ZeroMass": ZeroMass, "Lapse": Lapse}


def expression(mixing: Mixing) -> str:
    """What a mixing distribution is made of, without parameters.

    Examples
    --------
    >>> from prefstrength import LogNormal
    >>> expression(ZeroMass(LogNormal()))
    'ZeroMass(LogNormal)'
    """
    if isinstance(mixing, ZeroMass | Lapse):
        return f"{mixing.family}({expression(mixing.mixing)})"
    if isinstance(mixing, FiniteMixture):
        return f"{mixing.family}({', '.join(map(expression, mixing.components))})"
    return mixing.family


def mixing_of(text: str) -> Mixing:
    """The mixing distribution of an :func:`expression`, without parameters.

    Raises
    ------
    InputError
        If a family is not known, or the text is no expression.

    Examples
    --------
    >>> mixing_of("ZeroMass(LogNormal)")
    ZeroMass(LogNormal())
    """
    found = re.fullmatch(r"(\w+)(?:\((.+)\))?", text.strip())
    if found is None:
        raise InputError(
            f"Expected a mixing distribution such as 'ZeroMass(LogNormal)'; got {text!r}. "
            "Check the file it came from."
        )
    name, inner = found[1], found[2]
    if inner is None:
        return family_named(name)()
    parts = [mixing_of(part) for part in _split(inner)]
    if name in _SHARES:
        return _SHARES[name](parts[0])
    if name != FiniteMixture.__name__:
        family_named(name)
    return FiniteMixture(parts)


def _split(text: str) -> list[str]:
    """Parts between commas that stand in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
