"""The stage compress: pairs of any number summed up, in place of score."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import prefstrength as ps
from prefstrength._shared.folder import Folder, differences
from prefstrength._shared.lock import alone_in
from prefstrength.errors import InputError
from prefstrength.pipeline.options import Reading
from prefstrength.pipeline.stages import WORKSHOP, refuse_foreign, withdraw_from

__all__ = ["compress"]


def compress(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    reading: Reading | None = None,
    *,
    scale: float | None = None,
    backend: str | None = None,
    force: bool = False,
    progress: bool = True,
) -> "ps.CompressedChoices":
    """Sum up scored pairs in one pass and keep the sums, from which ``fit`` goes on.

    Parameters
    ----------
    files : path, str or sequence of them
        Parquet files, folders or globs, as :func:`~prefstrength.compress_choices` takes them.
    out : path
        Folder for the results; the sums are written to ``compressed/``.
    reading : Reading, optional
        Which columns say who chose, in which groups, with which weights.
    scale, backend
        As in :func:`~prefstrength.compress_choices`.
    force : bool
        Replace sums of other files or columns, and all that followed from them.
    progress : bool
        Show progress.

    Returns
    -------
    CompressedChoices
    """
    from prefstrength.data.compressed import columns_of, compress_choices
    from prefstrength.data.compressed.parquet import open_files

    out, target, reading = Path(out), Path(out) / "compressed", reading or Reading()
    if (out / "pairs.parquet").exists():
        raise InputError(
            f"Expected a folder without scored pairs; got {out}, which has pairs.parquet. The "
            "stage fit would take those. Choose another folder."
        )
    refuse_foreign(out, force)
    if target.is_dir() and not force:
        columns = columns_of(reading.chooser, reading.groups, "reward", reading.weights)
        before = ps.load_compressed(target)
        placed = before.scale_of_tables
        other = differences(
            {
                **asdict(before.columns),
                "files": sorted(file["fingerprint"] for file in before.files),
                "scale": placed,
            },
            {
                **asdict(columns),
                "files": sorted(file.fingerprint for file in open_files(files, columns)),
                "scale": placed if scale is None else scale,
            },
        )
        if not other:
            return before
        raise Folder(target, "compressed choices", forced=force).differs(other)
    with alone_in(out, out / WORKSHOP):
        parts = out / WORKSHOP / "parts"
        compressed = compress_choices(
            files,
            reading.chooser,
            reading.groups,
            weight=reading.weights,
            scale=scale,
            checkpoint=parts,
            backend=backend,
            progress=progress,
        )
        withdraw_from(out, "fit", force)
        compressed.save(target)
        shutil.rmtree(parts, ignore_errors=True)
    return compressed
