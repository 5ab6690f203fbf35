"""Interface of a Fit: what a fitted model offers to those who read it."""

from typing import Any, Protocol

import xarray as xr

from prefstrength.choice.mixing.base import Mixing

__all__ = ["Fitted"]


class Fitted(Protocol):
    """Draws with names, and where they came from: what every summary, check and figure reads.

    :class:`prefstrength.Fit` is the class that has it. Summaries take this interface rather than
    that class, because the class offers some of them as its own methods.
    """

    @property
    def tree(self) -> xr.DataTree:
        """Everything that was kept, in ArviZ's groups."""

    @property
    def spec(self) -> dict[str, Any]:
        """Model, data, method and versions, as JSON holds them."""

    @property
    def posterior(self) -> xr.DataTree:
        """Draws of the population level, dims (chain, draw, …)."""

    @property
    def method(self) -> str:
        """How the posterior was computed."""

    @property
    def attributes(self) -> list[str]:
        """Attributes that have a coefficient."""

    def mixing(self, attribute: str | None = None) -> Mixing:
        """Mixing distribution of an attribute's coefficient, as the model was given it."""

    @property
    def groups(self) -> list[str]:
        """Factors that shift the mixing distributions."""

    @property
    def errors(self) -> dict[str, dict[str, Any]]:
        """What is known of the errors of attributes that are measured with error."""

    def family(self, attribute: str | None = None) -> str:
        """Family of an attribute's mixing distribution, by name."""

    def attribute(self, attribute: str | None = None) -> str:
        """The given attribute, checked, or the one that is meant."""
