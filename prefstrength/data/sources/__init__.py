"""Public preference data as pairs: one file each, all through :func:`load_pairs`.

Which there are, with licences, citations and columns: docs/sources.md.
"""

import os
from typing import Any

import pandas as pd

from prefstrength._shared.words import listed
from prefstrength.data.columns import option
from prefstrength.data.sources import helpsteer3, hh, prism
from prefstrength.data.sources.hub import DataSource, hash_columns, locate
from prefstrength.errors import InputError

__all__ = ["SOURCES", "load_pairs", "register"]

#: Sources by name.
SOURCES: dict[str, DataSource] = {
    source.name: source for source in (prism.SOURCE, hh.SOURCE, helpsteer3.SOURCE)
}


def register(source: DataSource) -> None:
    """Make a source known by its name, to :func:`load_pairs` and to recipes.

    Raises
    ------
    InputError
        If its name is another's.
    """
    if SOURCES.setdefault(source.name, source) is not source:
        raise InputError(
            f"Expected a name that no other source has; got {source.name!r}, which is "
            f"{SOURCES[source.name].repository}. Give it another name."
        )


def load_pairs(
    name: str,
    path_or_hub: str | os.PathLike[str] | None = None,
    *,
    split: str = "train",
    revision: str | None = None,
    conversational: bool = True,
    hash_ids: bool = False,
    salt: str | None = None,
    **options: Any,
) -> pd.DataFrame:
    r"""Load a public preference dataset as a frame of pairs.

    Parameters
    ----------
    name : {"prism", "hh", "helpsteer3"}
        Which dataset.
    path_or_hub : path or str, optional
        A local folder with the files as they lie on the hub (plain or gzipped JSON lines, or
        Parquet), or another dataset on the hub of the same form. By default the original on the
        hub, downloaded once and kept in the cache of `datasets`.
    split : str
        ``"train"``; ``hh`` also has ``"test"`` and ``helpsteer3`` ``"validation"``.
    revision : str, optional
        Commit, tag or branch on the hub; give a commit for work that others should repeat.
    conversational : bool
        Texts as TRL's lists of messages (the default), or as plain texts.
    hash_ids : bool
        Replace identifiers of people and conversations by salted hashes.
    salt : str, optional
        Key of the hashes. With the same salt two loads agree; without one it is random.
    **options
        ``subset=`` for ``hh`` (one or several of its four subsets), ``empty=`` for ``prism``
        (``"drop"`` or ``"keep"`` pairs with an empty response).

    Returns
    -------
    DataFrame
        One row a pair: ``prompt``, ``chosen``, ``rejected``, ``dataset``, ``identical`` (the two
        responses are the same text), ``tie`` and ``annotator`` where the data have them, and
        columns to group by. ``.attrs["source"]``: where it came from, licence, citation, and
        what was left out and why.

    Raises
    ------
    InputError
        If the name, a folder, a file, a column or the network is missing; one sentence says
        which was expected where.

    Warns
    -----
    DataWarning
        If anything was left out.

    Examples
    --------
    >>> import gzip, json, pathlib, tempfile
    >>> from prefstrength.data.sources import load_pairs
    >>> pair = {
    ...     "chosen": "\n\nHuman: Hi!\n\nAssistant: Hello, how can I help?",
    ...     "rejected": "\n\nHuman: Hi!\n\nAssistant: What?",
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "helpful-base", "train.jsonl.gz")
    ...     file.parent.mkdir()
    ...     _ = file.write_bytes(gzip.compress(json.dumps(pair).encode()))
    ...     pairs = load_pairs("hh", folder, conversational=False)
    >>> pairs.loc[0, "chosen"], pairs.loc[0, "criterion"]
    (' Hello, how can I help?', 'helpful')
    """
    source = SOURCES[option(name, tuple(SOURCES), "name")]
    unknown = [key for key in options if key not in source.options]
    if unknown:
        raise TypeError(
            f"load_pairs({name!r}) has no option {listed(unknown)}; it has "
            f"{listed(source.options) if source.options else 'none of its own'}."
        )
    option(split, source.splits, "split")
    place = locate(
        source, path_or_hub, revision=revision, split=split, conversational=conversational
    )
    pairs = source.load(place, **options)
    return hash_columns(pairs, source.identifiers, salt) if hash_ids else pairs
