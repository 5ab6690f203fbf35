"""What a mixing distribution to be inferred is made of: families, shares, and the strength 0."""

from dataclasses import dataclass

from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.compound import FiniteMixture, Lapse, ZeroMass

__all__ = ["Kinds", "kinds_of"]


@dataclass(frozen=True)
class Kinds:
    """Kinds of choosers.

    Parameters
    ----------
    families : tuple of type
        One for each kind whose strength is spread or a number of its own.
    zero : bool
        Whether there is a kind with strength 0 beside them.
    lapse : bool
        Whether a share of everybody's answers is given at random.
    """

    families: tuple[type[Mixing], ...]
    zero: bool = False
    lapse: bool = False

    @property
    def simple(self) -> bool:
        """Whether there is one kind alone."""
        return len(self.families) == 1 and not self.zero

    @property
    def ordered(self) -> bool:
        """Whether kinds are told apart by their locations alone, which are then in order."""
        return len(self.families) > 1 and len(set(self.families)) == 1

    @property
    def random(self) -> bool:
        """Whether choosers differ at all."""
        return not self.simple or self.varies

    @property
    def varies(self) -> bool:
        """Whether strengths of some kind are spread."""
        return any(family.varies for family in self.families)

    @property
    def positive(self) -> bool:
        """Whether every strength is positive or 0."""
        return all(family.positive for family in self.families)


def kinds_of(mixing: Mixing) -> Kinds:
    """Kinds of choosers of a mixing distribution.

    Examples
    --------
    >>> from prefstrength import LogNormal, ZeroMass
    >>> kinds_of(ZeroMass(LogNormal())).zero
    True
    """
    if isinstance(mixing, ZeroMass):
        inner = kinds_of(mixing.mixing)
        return Kinds(inner.families, True, inner.lapse)
    if isinstance(mixing, Lapse):
        inner = kinds_of(mixing.mixing)
        return Kinds(inner.families, inner.zero, True)
    if isinstance(mixing, FiniteMixture):
        parts = [kinds_of(part) for part in mixing.components]
        families = tuple(family for part in parts for family in part.families)
        return Kinds(families, any(part.zero for part in parts), any(part.lapse for part in parts))
    return Kinds((type(mixing),))
