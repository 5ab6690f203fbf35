"""One run at a time in a folder: a lock that the system takes back when its process ends."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prefstrength._shared.files import require_folder
from prefstrength._shared.words import warn
from prefstrength.errors import InputError

__all__ = ["alone_in"]

#: Folders that this process holds, by the thread that holds each and how often it entered.
_held: dict[Path, tuple[int, int]] = {}
_guard = threading.Lock()


@contextmanager
def alone_in(folder: Path, workshop: Path, *, takes_part: bool = False) -> Iterator[None]:
    """Hold a folder, so that no other run works in it meanwhile.

    Who holds it may enter again. The lock is one of the system on a file in ``workshop``: it
    goes with the process, however that ends, and a file that is left behind locks nothing.

    Parameters
    ----------
    folder : Path
        What is held.
    workshop : Path
        A folder in it for the file; both are made, and removed again where nothing was put there.
    takes_part : bool
        Whether this process works with one that holds the folder, and so asks for nothing.

    Raises
    ------
    InputError
        If another run holds it.
    """
    if takes_part:
        yield
        return
    require_folder(folder, "results")
    place, me = folder.resolve(), threading.get_ident()
    with _guard:
        holder, depth = _held.get(place, (me, 0))
        if holder != me:
            raise _taken(folder, os.getpid())
        if depth == 0:
            made = [each for each in (folder, *folder.parents) if not each.exists()]
            try:
                handle = _locked(folder, workshop / "lock")
            except BaseException:
                _remove_empty([workshop, *made])
                raise
        _held[place] = (me, depth + 1)
    try:
        yield
    finally:
        with _guard:
            if depth:
                _held[place] = (me, depth)
            else:
                del _held[place]
                with suppress(PermissionError):  # Windows keeps open files
                    (workshop / "lock").unlink(missing_ok=True)
                os.close(handle)
                _remove_empty([workshop, *made])


def _locked(folder: Path, path: Path) -> int:
    """Handle of the file, locked; closing it gives the lock back."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the folder went with another run that ended just now
            continue
        try:
            _lock(handle)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                warn(
                    f"{str(folder)!r} cannot be locked ({error.strerror}); nothing keeps another "
                    "run from writing there meanwhile. Let one run at a time work in it."
                )
                return handle
            said = os.read(handle, 32).decode("ascii", "replace").strip()
            os.close(handle)
            raise _taken(folder, int(said) if said.isdigit() else None) from None
        try:
            same = os.stat(path).st_ino == os.fstat(handle).st_ino
        except FileNotFoundError:
            same = False
        if same:
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode("ascii"))
            return handle
        os.close(handle)  # removed by the run that held it, between our opening and locking it


def _lock(handle: int) -> None:
    """Lock a file for this process alone, or raise OSError at once; children do not inherit it."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        # Far behind what is written, so that others can read who holds it.
        os.lseek(handle, 1 << 20, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        os.lseek(handle, 0, os.SEEK_SET)
        return
    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _taken(folder: Path, process: int | None) -> InputError:
    by = "another run" if process is None else f"another run (process {process})"
    return InputError(
        f"Expected a folder in which nothing else is running; got {str(folder)!r}, in which "
        f"{by} is at work. Both would write the same files. Wait until it ends, or choose "
        "another folder."
    )


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # something is in it, or it is gone
            return
