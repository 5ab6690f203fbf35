"""The pairs of a recipe: read, cleaned of what cannot be trained on, and split."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, listed, warn
from prefstrength.data.reading import read_pairs
from prefstrength.data.sources import SOURCES, load_pairs
from prefstrength.errors import InputError
from prefstrength.recipes.recipe import DataSettings

__all__ = [
    "NOT_STATED",
    "TEXTS",
    "distinct_prompts",
    "fingerprint",
    "load_data",
    "of_trained_prompts",
    "sft_texts",
    "together",
]

#: Level of a group column where the data say nothing.
NOT_STATED = "not stated"

#: Columns of every pair.
TEXTS = ("prompt", "chosen", "rejected")

# Conversations, as files and datasets have them.
_SEVERAL = (list, tuple, np.ndarray)


def load_data(
    settings: DataSettings,
    seed: int = 0,
    *,
    groups: Sequence[str] = (),
    numbers: Sequence[str] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    r"""Pairs to train on and pairs held out.

    Parameters
    ----------
    settings : DataSettings
    seed : int
        Of the split.
    groups, numbers : sequence of str
        Further columns that methods ask for, taken along where they are there; of groups, too,
        an empty cell becomes a level.

    Returns
    -------
    train, evaluation : DataFrame
        Columns ``prompt``, ``chosen``, ``rejected``, those of ``settings.groups``,
        ``settings.split_by`` where it is given, and those of ``groups`` and ``numbers`` that were
        found.

    Raises
    ------
    InputError
        If the source cannot be read, columns or texts are missing, or a side of the split is
        empty.

    Warns
    -----
    DataWarning
        If ties or pairs of two equal responses are left out.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.jsonl"
    >>> pair = {"chosen": " Hello", "rejected": " What", "region": None}
    >>> pairs = [{"prompt": f"Hi {i % 5}"} | pair for i in range(10)]
    >>> _ = path.write_text("\n".join(map(json.dumps, pairs)))
    >>> train, held_out = load_data(DataSettings(str(path), groups=("region",)))
    >>> len(train), held_out.iloc[0].to_list()  # one prompt in five, whose pairs stay together
    (8, ['Hi 2', ' Hello', ' What', 'not stated'])
    """
    frame = _cleaned(_read(settings, settings.split), settings, settings.split, groups)
    if settings.eval_split is not None:
        held = _read(settings, settings.eval_split)
        held = _cleaned(held, settings, settings.eval_split, groups)
    else:
        out = _held_out(frame, settings, seed)
        frame, held = frame[~out], frame[out]
    sides = []
    for side in (frame, held):
        further = [name for name in (*groups, *numbers) if name in side.columns]
        unit = filter(None, [settings.split_by])
        columns = list(dict.fromkeys((*TEXTS, *settings.groups, *unit, *further)))
        sides.append(side[columns].reset_index(drop=True))
    return sides[0], sides[1]


def sft_texts(pairs: pd.DataFrame) -> pd.DataFrame:
    """Prompts and preferred completions for supervised fine-tuning, each once.

    A response that was preferred to several others stands in several pairs.

    Examples
    --------
    >>> pairs = pd.DataFrame({"prompt": ["a", "a"], "chosen": ["b", "b"], "rejected": ["c", "d"]})
    >>> sft_texts(pairs).to_dict("records")
    [{'prompt': 'a', 'completion': 'b'}]
    """
    texts = pairs[["prompt", "chosen"]].rename(columns={"chosen": "completion"})
    first = ~texts.map(_key).duplicated()
    return texts[first].reset_index(drop=True)


def distinct_prompts(pairs: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Prompts of pairs with their groups, each combination once, in an order that the seed draws.

    Examples
    --------
    >>> pairs = pd.DataFrame({"prompt": ["a", "a", "b"], "chosen": "c", "rejected": "d"})
    >>> sorted(distinct_prompts(pairs)["prompt"])
    ['a', 'b']
    """
    table = pairs.drop(columns=["chosen", "rejected"])
    table = table[~table.map(_key).duplicated()]
    order = np.random.default_rng(seed).permutation(len(table))
    return table.iloc[order].reset_index(drop=True)


def of_trained_prompts(pairs: pd.DataFrame, train: pd.DataFrame) -> np.ndarray:
    """Which pairs (pair,) have a prompt that is trained on.

    Examples
    --------
    >>> of_trained_prompts(pd.DataFrame({"prompt": ["a", "b"]}), pd.DataFrame({"prompt": ["b"]}))
    array([False,  True])
    """
    return pairs["prompt"].map(_key).isin(set(train["prompt"].map(_key))).to_numpy()


def together(pairs: pd.DataFrame, settings: DataSettings) -> np.ndarray:
    """Number (pair,) of what each pair shares with others: of ``split_by``, else of its prompt.

    Pairs of which it is not known count as one.

    Examples
    --------
    >>> pairs = pd.DataFrame({"prompt": ["a", "b", "a"], "who": ["x", None, None]})
    >>> together(pairs, DataSettings("file")).tolist()
    [0, 1, 0]
    >>> together(pairs, DataSettings("file", split_by="who")).tolist()
    [0, 1, 1]
    """
    column = pairs[settings.split_by or "prompt"]
    keys = [_key(value) if isinstance(value, _SEVERAL) else value for value in column]
    return pd.factorize(np.array(keys, dtype=object), use_na_sentinel=False)[0]


def fingerprint(frame: pd.DataFrame) -> str:
    """SHA-256 of what a frame of texts, groups and numbers holds.

    Examples
    --------
    >>> fingerprint(pd.DataFrame({"prompt": ["a"]}))[:8]
    'd3160a4f'
    """
    seen = hashlib.sha256(json.dumps(list(frame.columns)).encode())
    for row in frame.itertuples(index=False):
        seen.update(json.dumps(list(row), ensure_ascii=False, default=_plain).encode())
    return seen.hexdigest()


def _read(settings: DataSettings, split: str) -> pd.DataFrame:
    if settings.source in SOURCES:
        try:
            return load_pairs(
                settings.source,
                settings.path,
                split=split,
                revision=settings.revision,
                conversational=settings.conversational,
                **settings.options,
            )
        except TypeError as error:
            if not settings.options:
                raise
            raise InputError(f"data.options cannot be taken. {error}") from error
    if settings.path is not None or settings.options or settings.conversational:
        raise InputError(
            f"Expected data.path, data.options and data.conversational with {', '.join(SOURCES)} "
            f"alone; got them with {settings.source!r}. Take them out."
        )
    if Path(settings.source).exists() or not _is_hub_name(settings.source):
        given = {name: getattr(settings, name) for name in ("eval_split", "split", "revision")}
        for name, value in given.items():
            if value != getattr(DataSettings, name):
                raise InputError(
                    f"Expected no data.{name} with the file {settings.source}; got "
                    f"{value!r}. A file has no splits and no revisions. Take it out."
                )
        return read_pairs(settings.source)
    import datasets

    try:
        found: Any = datasets.load_dataset(settings.source, split=split, revision=settings.revision)
    except Exception as error:  # a dozen kinds; the cause stays in the traceback
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"Expected data.source as a file of pairs, one of {', '.join(SOURCES)}, or a dataset "
            f"on the hub; got {settings.source!r} ({reason}). Check name and network."
        ) from error
    return pd.DataFrame(found.to_list())


def _is_hub_name(source: str) -> bool:
    return source.count("/") == 1 and not source.startswith((".", "/", "~"))


def _cleaned(
    frame: pd.DataFrame, settings: DataSettings, split: str, more_groups: Sequence[str]
) -> pd.DataFrame:
    from prefstrength.data.columns import tied

    wanted = [*TEXTS, *settings.groups, *filter(None, [settings.split_by])]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        hint = (
            "Where the prompt is part of both responses, map trl.extract_prompt over the dataset "
            "and save it."
            if "prompt" in missing
            else "Correct the recipe."
        )
        raise InputError(
            f"Expected the columns {', '.join(wanted)} in {settings.source} ({split}); got no "
            f"{' and no '.join(missing)} among {listed(frame.columns, most=20)}. {hint}"
        )
    frame = frame.reset_index(drop=True)
    rows = Rows(frame.index)
    for name in TEXTS:
        texts = frame[name].map(lambda value: isinstance(value, (str, *_SEVERAL)))
        if not texts.all():
            raise InputError(
                f"Expected {name} of every pair in {settings.source} ({split}) as a text or a "
                f"conversation; got something else in {rows.where(~texts.to_numpy(bool))}. Drop "
                "these pairs."
            )
    tie = tied(frame)
    same = frame["chosen"].map(_key).eq(frame["rejected"].map(_key)).to_numpy() & ~tie
    if tie.any() or same.any():
        warn(
            f"Of {len(frame):,} pairs of {settings.source} ({split}) are left out {tie.sum():,} "
            f"ties and {same.sum():,} of two equal responses: they express no preference."
        )
    frame = frame[~tie & ~same]
    if frame.empty:
        raise InputError(
            f"Expected pairs with a preference in {settings.source} ({split}); got ties and equal "
            "responses alone. Check how ties are marked."
        )
    groups = {
        name: frame[name].astype(object).where(frame[name].notna(), NOT_STATED).astype(str)
        for name in (*settings.groups, *more_groups)
        if name in frame.columns
    }
    return frame.assign(**groups)


def _held_out(frame: pd.DataFrame, settings: DataSettings, seed: int) -> np.ndarray:
    codes = together(frame, settings)
    levels = int(codes.max()) + 1
    number = max(1, round(settings.eval_fraction * levels))
    if number >= levels:
        raise InputError(
            f"Expected enough levels of {settings.split_by or 'prompt'} in {settings.source} to "
            f"hold some out; got {levels}. Give more data, or another data.split_by."
        )
    chosen = np.random.default_rng(seed).permutation(levels)[:number]
    return np.isin(codes, chosen)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Iterable) else str(value)


def _key(value: Any) -> str:
    """What makes two texts, or two lists of messages, the same."""
    return value if isinstance(value, str) else json.dumps(value, default=list)
