"""Mixing distributions to be inferred in a few characters, and back: ``ZeroMass(LogNormal)``."""

import re

from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.compound import Compound
from prefstrength.choice.mixing.families import family_named
from prefstrength.choice.mixing.finite_mixture import FiniteMixture
from prefstrength.choice.mixing.lapse import Lapse
from prefstrength.choice.mixing.zero_mass import ZeroMass
from prefstrength.errors import InputError

__all__ = ["mixing_of"]

_COMPOUNDS: dict[str, type[Compound]] = {
    kind.__name__: kind for kind in (FiniteMixture, ZeroMass, Lapse)
}


def mixing_of(text: str) -> Mixing:
    """The mixing distribution of an ``expression``, without parameters.

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
    if name not in _COMPOUNDS:
        family_named(name)
    return _COMPOUNDS[name].of_parts([mixing_of(part) for part in _split(inner)])


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
