"""What a mixing distribution to be inferred is made of: families, shares, and the strength 0."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Kinds"]


@dataclass(frozen=True)
class Kinds:
    """Kinds of choosers.

    Parameters
    ----------
    families : tuple of subclasses of Mixing
        One for each kind whose strength is spread or a number of its own.
    zero : bool
        Whether there is a kind with strength 0 beside them.
    lapse : bool
        Whether a share of everybody's answers is given at random.
    """

    families: tuple[Any, ...]
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
