"""Names of variables are made of the names of attributes and groups: no two may be the same."""

from collections.abc import Iterable, Iterator, Mapping

from prefstrength.errors import InputError

__all__ = ["require_distinct"]

_OF_ATTRIBUTE = ("share", "share_of_others", "zero_share", "order")
_WHATS = ("location", "dispersion")


def require_distinct(
    parameters: Mapping[str, Iterable[str]], groups: Iterable[str], others: Iterable[str] = ()
) -> None:
    """Stop where two variables of a model would have one name.

    Parameters
    ----------
    parameters : mapping
        Parameters of the mixing distribution by attribute.
    groups : iterable of str
    others : iterable of str
        Variables that are of no attribute.

    Examples
    --------
    >>> require_distinct({"reward": ["mu", "sigma"]}, ["region", "sub_region"])
    """
    seen = {name: f"what all choosers share ({name})" for name in others}
    for name, meaning in _names(parameters, tuple(groups)):
        if seen.setdefault(name, meaning) != meaning:
            raise InputError(
                f"Names of attributes and groups should make different names of variables; got "
                f"{name!r} for {seen[name]} and for {meaning}. Rename one of them."
            )


def _names(
    parameters: Mapping[str, Iterable[str]], groups: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """Every name, and what it stands for."""
    for attribute, own in parameters.items():
        of = f"of attribute {attribute!r}"
        for part in (*_WHATS, *_OF_ATTRIBUTE, *own):
            yield f"{attribute}_{part}", f"the {part} {of}"
        for part in ("first", "gaps"):
            yield f"{attribute}_location_{part}", f"the {part} of locations {of}"
        for what in _WHATS:
            for group in groups:
                by = f"by group {group!r} {of}"
                yield f"{attribute}_{what}_{group}", f"the shifts of the {what} {by}"
                yield f"{attribute}_{what}_sd_{group}", f"the sd of the {what} {by}"
                yield f"{attribute}_{what}_raw_{group}", f"the coordinates of the {what} {by}"
