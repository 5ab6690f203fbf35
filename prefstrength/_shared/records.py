"""Records: dataclasses as JSON with a schema, and the versions that made them."""

import json
import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from prefstrength.errors import InputError


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of some packages, without those that are not there."""
    return {name: version(name) for name in packages if any(distributions(name=name))}


# -- reading and writing records -------------------------------------------------------------


def to_json(record: Mapping[str, Any]) -> str:
    """JSON text of a record, with full precision and without NaN."""
    return json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read one JSON object, or raise :class:`InputError` in one sentence."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"Expected a {what} at {path}; got no such file. Check the path, "
            "or write the file first."
        ) from None
    except IsADirectoryError:
        raise InputError(f"Expected a {what} at {path}; got a folder. Name the file.") from None
    except (ValueError, RecursionError) as error:  # no JSON, too many digits, nested too deep
        raise InputError(
            f"Expected a {what} as JSON in {path}; got text that is not JSON ({error}). "
            "The file is cut off or is another file. Write it again."
        ) from None
    if not isinstance(record, dict):
        raise InputError(
            f"Expected a {what} as a JSON object in {path}; got a {type(record).__name__}. "
            "This is another file."
        )
    return record


def read_saved(directory: Path, names: Sequence[str], what: str, schema: str) -> dict[str, Any]:
    """Read the record of what was saved in a directory, the first of the files that are there."""
    for name in names:
        if not (directory / name).is_file():
            raise InputError(
                f"Expected {what} saved in {str(directory)!r}; got no {name} there. Check the "
                "path, or make it again."
            )
    record = read_json(directory / names[0], f"record of {what}")
    require_schema(record, schema, f"the {names[0]} of {str(directory)!r}")
    return record


def require_schema(record: Mapping[str, Any], schema: str, where: str) -> None:
    """Raise :class:`InputError` unless a record states this schema."""
    if record.get("schema") != schema:
        raise InputError(
            f"Expected schema {schema!r} in {where}; got {record.get('schema')!r}. "
            "This is another kind of file, or was written by another version of prefstrength."
        )


def build_record[Record](
    cls: type[Record], record: Mapping[str, Any], schema: str, where: str
) -> Record:
    """Build a dataclass from a JSON record that states its schema."""
    require_schema(record, schema, where)
    known = {each.name for each in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(record) - known - {"schema"})
    if unknown:
        raise InputError(
            f"Expected the fields {', '.join(sorted(known))} in {where}; got {len(unknown)} "
            f"unknown ({', '.join(unknown[:3])}). Remove them, or check their spelling."
        )
    try:
        return cls(**{name: value for name, value in record.items() if name != "schema"})
    except (
        TypeError,
        ValueError,
        ArithmeticError,
        AttributeError,
        LookupError,
    ) as error:  # whatever a damaged record leads to
        raise InputError(f"{where} cannot be read: {error}") from None


#: Logs beyond this are of no strength: e^100 is more than there are atoms in a person.
MOST_LOG = 100.0


def check_number(
    name: str, value: Any, *, positive: bool = False, most: float | None = None
) -> None:
    """Stop where a value is no finite number, or (if so asked) not positive or beyond ``most``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"Expected {name} as a number; got {value!r}.")
    if isinstance(value, int) and abs(value) > 2**63:
        raise InputError(f"Expected {name} as a number; got one of {len(str(value))} digits.")
    if most is not None and abs(float(value)) > most:
        raise InputError(
            f"Expected {name} between {-most:g} and {most:g}, for it is a log or the sd of one; "
            f"got {value:g}. Fit again, or give the number by hand."
        )
    if not math.isfinite(value) or (positive and value <= 0):
        raise InputError(
            f"Expected {name} to be finite{' and > 0' if positive else ''}; got {value}. "
            "Fit again, or give the number by hand."
        )


def check_count(name: str, value: Any) -> None:
    """Stop where a value is no whole number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 2**63:
        raise TypeError(f"Expected {name} as a whole number, 0 or more; got {value!r}.")


def as_json(name: str, value: Any) -> Any:
    """Return a copy in JSON types, so that a record equals itself after reading."""
    if not isinstance(value, Mapping):
        raise TypeError(f"Expected {name} as a dict; got {type(value).__name__}.")
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except ValueError as error:
        raise InputError(f"Expected finite numbers in {name}; got others ({error}).") from None
