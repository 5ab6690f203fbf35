"""Responses as records: their name, what they were made with, and the numbers all share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from prefstrength._shared.records import check_number
from prefstrength.choice.responses.base import Response
from prefstrength.choice.responses.graded import Graded
from prefstrength.choice.responses.multinomial import Multinomial
from prefstrength.choice.responses.pair import Pair
from prefstrength.choice.responses.ranking import Ranking
from prefstrength.choice.responses.ties import RaoKupper, Ties
from prefstrength.errors import InputError

__all__ = ["RESPONSES", "KnownResponse"]

#: Responses by name.
RESPONSES: dict[str, type[Response]] = {
    each.__name__: each for each in (Pair, Multinomial, Graded, Ties, RaoKupper, Ranking)
}


@dataclass(frozen=True)
class KnownResponse:
    """A response and the values of what all choosers share, so that answers have probabilities.

    Parameters
    ----------
    response : Response
    shared : mapping
        Values > 0 of ``response.shared`` by name: distances of cut points, the weight of a tie.

    Raises
    ------
    InputError
        If a value is missing, is no number, or is not positive.

    Examples
    --------
    >>> five = KnownResponse(Graded(5), {"cut_1": 0.5, "cut_2": 1.0})
    >>> five.to_dict()["shared"], KnownResponse.from_dict(five.to_dict()) == five
    ({'cut_1': 0.5, 'cut_2': 1.0}, True)
    """

    response: Response
    shared: Mapping[str, float]

    def __post_init__(self) -> None:
        wanted = [each.name for each in self.response.shared]
        if not isinstance(self.shared, Mapping) or sorted(self.shared) != sorted(wanted):
            raise InputError(
                f"Expected values of {', '.join(wanted) or 'nothing'}, which all choosers share, "
                f"with {self.response!r}; got {self.shared!r}. Take the prior from a fit of such "
                "answers, or name each."
            )
        for name, value in self.shared.items():
            check_number(f"{name} of {self.response.name}", value, positive=True)

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON types."""
        return {
            "name": self.response.name,
            "settings": self.response.settings,
            "shared": dict(self.shared),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Response of a record such as :meth:`to_dict` gives.

        Raises
        ------
        InputError
            If there is no such response, or the record holds something else.
        """
        name, settings = record.get("name"), record.get("settings", {})
        if name not in RESPONSES or set(record) - {"name", "settings", "shared"}:
            raise InputError(
                f"Expected a response by its name ({', '.join(RESPONSES)}), with settings and "
                f"shared; got {dict(record)}. Take the prior from a fit of such answers."
            )
        try:
            response = RESPONSES[name](**settings)
        except TypeError as error:
            raise InputError(f"Expected settings of {name}; got {settings!r} ({error}).") from None
        return cls(response, record.get("shared", {}))
