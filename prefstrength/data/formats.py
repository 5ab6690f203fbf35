"""File formats: Parquet, JSON lines, JSON and CSV become a table, or one sentence with the line."""

import csv
import gzip
import io
import json
import re
import warnings
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import listed, nearest, shown
from prefstrength.errors import InputError

#: Endings and the format they stand for; ``.gz`` may follow all but Parquet's.
FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
}
#: What a CSV may write for a number that is missing.
_MISSING = ("NaN", "nan", "NA", "N/A", "n/a", "null", "NULL", "None", "#N/A", "-")
_ENDINGS = ".parquet, .jsonl, .csv"


def absent(path: Path) -> str:
    """Sentence on a path where there is nothing."""
    folder = path.parent
    where = f"in {folder}" if str(folder) != "." else "here"
    if not folder.is_dir():
        return (
            f"A file or folder should be at {path}; got nothing, and no folder {folder}. "
            "Check the path."
        )
    close = nearest(path.name, [p.name for p in folder.iterdir()])
    hint = f"Did you mean {close!r}?" if close else "Check the path."
    return f"A file or folder should be at {path}; got nothing of that name {where}. {hint}"


def _format(path: Path) -> tuple[str, bool]:
    name = path.name.lower()
    packed = name.endswith(".gz")
    ending = Path(name.removesuffix(".gz")).suffix
    if ending not in FORMATS:
        raise InputError(
            f"A table should end in one of {', '.join(FORMATS)}; got {path.name}. "
            f"The ending says how to read it. Save it as one of {_ENDINGS}."
        )
    if packed and FORMATS[ending] == "parquet":
        raise InputError(
            f"Parquet should not be packed again; got {path.name}. It is compressed inside. "
            "Unpack it with gunzip."
        )
    return FORMATS[ending], packed


def read_folder(path: Path) -> pd.DataFrame:
    """One table of all Parquet files of a folder."""
    inside = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    files = [p for p in inside if p.suffix in (".parquet", ".pq") and p.is_file()]
    if not files:
        names = listed([p.name for p in inside], most=3) if inside else "nothing in it"
        raise InputError(
            f"A folder should hold Parquet files; got {path.resolve().name} with {names}. Only "
            "Parquet is read from folders, and not from the folders inside. Name one file, or the "
            "folder that holds the Parquet files."
        )
    frames = [read_file(file) for file in files]
    columns = list(frames[0].columns)
    for file, frame in zip(files, frames, strict=True):
        odd = set(columns) ^ set(frame.columns)
        if odd:
            raise InputError(
                f"All files of a folder should have the same columns; got {listed(sorted(odd))} in "
                f"only one of {files[0].name} and {file.name}. They may be different tables. "
                "Name one file, or put the others elsewhere."
            )
    return pd.concat(frames, ignore_index=True)


def read_file(path: Path, names: Collection[str] = ()) -> pd.DataFrame:
    """Table of a file, by its ending; ``names`` are columns to read as they are written."""
    kind, packed = _format(path)
    if path.stat().st_size == 0:
        raise InputError(
            f"The file {path.name} should hold a table; got 0 bytes. The step that wrote it may "
            "have stopped early. Run that step again."
        )
    if kind == "parquet":
        return _read_parquet(path)
    text = _read_text(path, packed)
    if not text.strip():
        raise InputError(
            f"The file {path.name} should hold a table; got blank lines only. The step that wrote "
            "it may have stopped early. Run that step again."
        )
    if kind == "json":
        return _read_json(path, text)
    if kind == "jsonl":
        return _read_jsonl(path, text)
    return _read_csv(path, text, "\t" if kind == "tsv" else ",", names)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except PermissionError as error:
        raise InputError(_unreadable(path, error)) from error
    except Exception as error:  # pyarrow raises a class of its own for each kind of damage
        raise InputError(
            f"The file {path.name} should be a Parquet file; got {path.stat().st_size:,} bytes "
            "that cannot be read as one. A copy or download may have stopped early. "
            "Copy it again, or check the ending."
        ) from error
    labels = frame.index.names
    unnamed = any(name is None or name in frame.columns for name in labels)
    return frame.reset_index(drop=unnamed)


def _read_text(path: Path, packed: bool) -> str:
    try:
        content = path.read_bytes()
        if packed:
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(_unreadable(path, error)) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"The file {path.name} should be UTF-8; got the byte {content[error.start]:#04x} in "
            f"line {line}. It may come from an older spreadsheet, or be no text at all. "
            "Save it again as UTF-8."
        ) from error


def _unreadable(path: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return (
        f"The file {path.name} should be readable; got an error ({reason}). It may be cut off, not "
        "packed with gzip, or closed to you. Copy it again, or change its permissions."
    )


class _RepeatedError(Exception):
    """A name that stands twice in one JSON object."""


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in record if names.count(name) > 1)
        raise _RepeatedError(f"{shown(twice)} {names.count(twice)} times")
    return record


def _too_deep(path: Path, where: str) -> str:
    return (
        f"The file {path.name} should hold rows of values; got brackets nested too deep to read"
        f"{where}. It is another kind of file, or broken. Leave that value out."
    )


def _read_jsonl(path: Path, text: str) -> pd.DataFrame:
    records = []
    lines = text.split("\n")
    for i, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=_once_each)
        except _RepeatedError as error:
            raise InputError(
                f"Every line of {path.name} should name each value once; got {error} in line {i}: "
                f"{shown(line)}. Only one of them would be read. Rename or delete one."
            ) from error
        except RecursionError as error:
            raise InputError(_too_deep(path, f" in line {i}")) from error
        except json.JSONDecodeError as error:
            if text.lstrip().startswith("["):
                raise InputError(
                    f"The file {path.name} should hold one object a line; got one JSON array over "
                    f"{len(lines):,} lines. Let its name end in .json."
                ) from error
            raise InputError(
                f"Every line of {path.name} should be a JSON object; got a broken one in line "
                f"{i}, column {error.colno} ({error.msg}): {shown(line)}. Writing may have "
                "stopped there, or two lines ran together. Correct or delete that line."
            ) from error
        if not isinstance(record, dict):
            raise InputError(
                f"Every line of {path.name} should be a JSON object; got "
                f"{type(record).__name__} in line {i}: {shown(line)}. A row needs names for its "
                'values. Write {"chosen": ..., "rejected": ...}.'
            )
        records.append(record)
    _refuse_half_characters(path, text, records)
    return pd.DataFrame(records)


def _read_json(path: Path, text: str) -> pd.DataFrame:
    try:
        records = json.loads(text, object_pairs_hook=_once_each)
    except _RepeatedError as error:
        raise InputError(
            f"Every object of {path.name} should name each value once; got {error}. Only one of "
            "them would be read. Rename or delete one."
        ) from error
    except RecursionError as error:
        raise InputError(_too_deep(path, "")) from error
    except ValueError as error:
        if "Extra data" in str(error):
            return _read_jsonl(path, text)  # one object a line under the other common ending
        raise InputError(
            f"The file {path.name} should be JSON; got something broken ({error}). Writing may "
            "have stopped there. Correct it, or write it again."
        ) from error
    if isinstance(records, dict) and not any(isinstance(v, list | dict) for v in records.values()):
        records = [records]
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise InputError(
            f"The file {path.name} should be an array of objects, one for each row; got "
            f"{type(records).__name__}. The rows may lie deeper inside. "
            'Write [{"chosen": ..., "rejected": ...}, ...].'
        )
    _refuse_half_characters(path, text, records)
    return pd.DataFrame(records)


def _refuse_half_characters(path: Path, text: str, records: list[dict[str, Any]]) -> None:
    """Refuse what JSON can write and no file in UTF-8 can hold: half of a pair of surrogates."""
    if not re.search(r"\\u[dD][89a-fA-F]", text):
        return
    for row, record in enumerate(records):
        try:
            json.dumps(record, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"Texts of {path.name} should be whole characters; got half of one, "
                f"{shown(error.object[error.start])}, in row {row}. Whoever wrote the file cut a "
                "text in the middle of a character, such as an emoji. Delete that half."
            ) from error


def _read_csv(path: Path, text: str, separator: str, names: Collection[str]) -> pd.DataFrame:
    first = text.lstrip("\n").splitlines()[0]
    header = next(csv.reader([first], delimiter=separator))
    if len(header) == 1:
        found = max(";\t|,", key=first.count)
        if first.count(found):
            names = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
            raise InputError(
                f"The columns of {path.name} should be separated by "
                f"{names[separator]}; got {names[found]} in the first line: {shown(first)}. "
                "Spreadsheets of some countries write these. Save it again, or read it with "
                f"`pandas.read_csv(path, sep={found!r})`."
            )
    names_twice = sorted({name for name in header if header.count(name) > 1})
    if names_twice:
        raise InputError(
            f"Column names of {path.name} should be unique; got {listed(names_twice)} more than "
            "once in the first line. Rename or delete one."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(text),
                sep=separator,
                index_col=False,
                keep_default_na=False,
                na_values=[""],
                low_memory=False,
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise InputError(_csv_fault(path, len(header), str(error))) from error
    kinds = {name: "names" if name in names else frame[name].dtype.kind for name in frame.columns}
    texts = _as_written(text, separator, [n for n, k in kinds.items() if k in ("names", *"iufO")])
    for name in frame.columns:
        frame[name] = _numbers_with_gaps(frame[name])
        if name in texts and _are_names(texts[name], frame[name], name in names):
            frame[name] = texts[name]
    return frame


def _as_written(text: str, separator: str, columns: list[str]) -> pd.DataFrame:
    """Columns of a CSV as they stand there; an empty cell is missing."""
    return pd.read_csv(
        io.StringIO(text),
        sep=separator,
        index_col=False,
        keep_default_na=False,
        na_values=[""],
        usecols=columns,
        dtype=str,
    )


def _are_names(written: pd.Series, read: pd.Series, named: bool) -> bool:
    """Whether cells are names that numbers would not keep apart, or not write as they stand.

    Whole numbers are, if one has a zero in front, or more digits than a float holds in a column
    that became floats, or if two of them are one number (1e3 and 1000). Columns of which somebody
    says that they hold names are, unless they are whole numbers written as numbers are.
    """
    cells = written.dropna().drop_duplicates()
    cells = cells[~cells.isin(_MISSING)]
    if named:
        return not (read.dtype.kind in "iu" and (cells == read[cells.index].astype(str)).all())
    # What is said of the two responses is measured.
    if read.dtype.kind not in "iuf" or str(written.name).endswith(("_chosen", "_rejected")):
        return False
    numbers = pd.to_numeric(cells)
    if (numbers != np.round(numbers)).any():
        return False
    digits = cells.str.strip().str.lstrip("+-")
    plain = digits.str.fullmatch(r"\d+")
    leading = plain & digits.str.len().gt(1) & digits.str.startswith("0")
    lost = plain & digits.str.len().gt(15) & (read.dtype.kind == "f")
    return bool(leading.any() or lost.any() or numbers.duplicated().any())


def _csv_fault(path: Path, cells: int, error: str) -> str:
    start = f"Every line of {path.name} should have {cells} cells, as the first one has; got "
    end = "Write the file with a CSV writer, or use JSONL."
    if found := re.search(r"Expected \d+ fields in line (\d+), saw (\d+)", error):
        line, saw = found.groups()
        return f"{start}{saw} in line {line}. A text with a comma in it needs quotes. {end}"
    if found := re.search(r"EOF inside string starting at row (\d+)", error):
        row = int(found.group(1)) + 1
        return (
            f"{start}a quote that opens in line {row} and never closes. A quote inside a text is "
            f"written twice. {end}"
        )
    return f"{start}more in some lines. The header may lack a name, such as that of an index. {end}"


def _numbers_with_gaps(values: pd.Series) -> pd.Series:
    """Read a text column as numbers where all that is not a number is a word for missing."""
    if pd.api.types.infer_dtype(values, skipna=True) != "string":
        return values
    gap = values.isna() | values.isin(_MISSING)
    if not gap.any() or gap.all():
        return values
    parsed = pd.to_numeric(values.mask(gap), errors="coerce")
    return parsed if (parsed.notna() | gap).all() else values
