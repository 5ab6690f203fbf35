"""A folder of work that goes on: what is in it stands in its settings; others' files stay.

Whoever works for hours into a folder asks :meth:`Folder.found_for` whether it was begun with the
same settings, else writes them by :meth:`Folder.write`, and does what is left.
"""

import json
import string
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prefstrength._shared.files import require_folder, write_json
from prefstrength._shared.records import read_json
from prefstrength._shared.words import listed, shown
from prefstrength.errors import InputError

__all__ = ["Folder", "differences"]

Settings = Mapping[str, Any]
Found = Literal["new", "same", "other"]
_HEX = set(string.hexdigits)


@dataclass(frozen=True)
class Folder:
    """A folder, and the file in it that says what it was begun with.

    Parameters
    ----------
    path : Path
    holds : str
        What is in it, in sentences: ``"scored pairs"``.
    record : str
        Where the settings are, in the folder.
    forced : bool or None
        Whether other settings replace what is there, and others' files are no hindrance; ``None``
        where whoever calls has no such choice.
    """

    path: Path
    holds: str
    record: str = "settings.json"
    forced: bool | None = None

    @property
    def begun(self) -> bool:
        """Whether it has settings."""
        return (self.path / self.record).is_file()

    def read(self) -> dict[str, Any]:
        """Return the settings that it was begun with."""
        return read_json(self.path / self.record, f"record of {self.holds}")

    def write(self, settings: Settings) -> None:
        """Write what it is begun with, before anything that comes of it."""
        write_json(self.path / self.record, settings)

    def found_for(
        self,
        settings: Settings,
        seen: Callable[[Settings], Settings] = dict,
        *,
        never: Callable[[str], bool] = lambda name: False,
    ) -> Found:
        """Whether the folder is new, or was begun with these settings or, if forced, with others.

        Parameters
        ----------
        settings : mapping
            What is asked for.
        seen : callable, optional
            What counts of settings, of those asked for and of those in the folder.
        never : callable, optional
            Names of files that are in the way even where others are no hindrance.

        Raises
        ------
        InputError
            If it was begun with other settings, or holds somebody else's files.
        """
        # Looked at before the settings, which another process may be about to write.
        foreign = self.foreign()
        if not self.begun:
            self.refuse([name for name in foreign if never(name)] if self.forced else foreign)
            return "new"
        now = json.loads(json.dumps(settings))  # as it will be when it is read again
        other = differences(seen(self.read()), seen(now))
        if other and not self.forced:
            raise self.differs(other)
        return "other" if other else "same"

    def foreign(self, ours: Collection[str] = ()) -> list[str]:
        """Names of what lies in the folder, apart from hidden files and from ``ours``."""
        require_folder(self.path, self.holds)
        there = sorted(each.name for each in self.path.iterdir()) if self.path.is_dir() else []
        return [name for name in there if name not in ours and not name.startswith(".")]

    def refuse(self, foreign: Collection[str]) -> None:
        """Stop where others' files are in the folder."""
        if foreign:
            force = self._or_force("write into this one") if not self.forced else ""
            raise InputError(
                f"Expected a new folder for {self.holds}, an empty one, or one of an earlier run; "
                f"got {str(self.path)!r}, which holds something else ({listed(foreign, 3)}). "
                f"Choose another folder{force}."
            )

    def differs(self, other: Collection[str]) -> InputError:
        """What is said where a folder was begun with other settings."""
        return InputError(
            f"Expected a new folder for {self.holds}, or the settings that {str(self.path)!r} was "
            f"begun with; got others ({'; '.join(other)}). Choose another folder"
            f"{self._or_force('replace what is there')}."
        )

    def _or_force(self, what: str) -> str:
        return "" if self.forced is None else f", or {what} with `force=True`"


def differences(before: Settings, now: Settings, within: str = "") -> list[str]:
    """What is not as it was, in words.

    Examples
    --------
    >>> differences({"seed": 0, "sampler": {"draws": 500}}, {"seed": 1, "sampler": {"draws": 50}})
    ['seed was 0, now 1', 'sampler.draws was 500, now 50']
    """
    found = []
    for name in dict.fromkeys((*now, *before)):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{within}{name}.")
        elif _is_hash(old) or _is_hash(new):
            found.append(f"the content of {within}{name} changed")
        else:
            found.append(f"{within}{name} was {shown(old)}, now {shown(new)}")
    return found


def _is_hash(value: Any) -> bool:
    """Whether a setting stands for a content: its hash, or those of several files."""
    if isinstance(value, list):
        return bool(value) and all(map(_is_hash, value))
    return isinstance(value, str) and len(value) in (32, 64) and set(value) <= _HEX
