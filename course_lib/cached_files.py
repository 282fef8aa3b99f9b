"""Files in the cache: checksummed, written atomically, made again where they are damaged."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from course_lib.cache import cache_dir, make_folder
from course_lib.files import make_room, write_atomically

# "No space left" and "quota exceeded", as Python and as safetensors report them.
FULL = (errno.ENOSPC, errno.EDQUOT)


def sha256(path: Path | str) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def problem(name: str, expected: str = "") -> str:
    """What is wrong with the cached file `name`: "" when it is whole, else a sentence.

    `expected` is the checksum it must have. Without one, it must have the checksum that was noted
    when it was made.
    """
    path = cache_dir() / name
    if not path.exists():
        return "it has not been made yet"
    if not path.is_file():  # opening a FIFO would wait forever
        return "it is damaged: something that is no regular file lies in its place"
    note = _note(path)
    if not expected:
        if not note.is_file():
            return "its checksum is missing: writing it was interrupted"
        expected = note.read_text("utf-8", errors="replace").strip()
    found = sha256(path)
    if found != expected:
        return (
            f"its checksum is {found[:12]}… and should be {expected[:12]}…: "
            "it is damaged, truncated or of another version"
        )
    return ""


def cached_file(name: str, make: Callable[[Path], object], expected: str = "") -> Path:
    """Path of the cached file `name`, made by `make(path)` where it is missing or damaged.

    `make` writes to a temporary path beside the final one, which is renamed when it is complete: an
    interrupted run leaves no half file. If two notebooks need the same file at once, the second
    waits until it is made. A damaged file is reported with a warning and made again. Where
    the file is whole nothing is written, so a complete cache may be read-only.

    Args:
        name: file name in the cache folder; may hold folders, ``"mnist/images.safetensors"``.
        make: writes the file to the path that it is given.
        expected: SHA-256 the file must have; by default the one noted when it was made.

    Raises:
        ValueError: what `make` wrote does not have the expected checksum.

    Example:
        >>> path = cached_file("doctest/hello.txt", lambda path: path.write_text("hello"))
        >>> path.read_text()
        'hello'
    """
    path = cache_dir() / name
    if not problem(name, expected):
        return path
    make_folder(path.parent)
    lock = Path(f"{path}.lock")
    make_room(lock)
    with FileLock(lock):
        fault = problem(name, expected)
        if not fault:
            return path
        if path.exists():
            warnings.warn(f"{name} in the cache is made again: {fault}.", stacklevel=2)
        for place in (path, _note(path)):
            make_room(place)
        found = ""

        def checked(part: Path) -> None:
            nonlocal found
            make(part)
            found = sha256(part)
            if expected and found != expected:
                raise ValueError(
                    f"{name} was fetched with checksum {found}, but {expected} was expected. "
                    "The source has changed or the transfer was cut; try again, and report it if it "
                    "happens twice."
                )

        write_atomically(path, checked)
        # The note comes last: a file without one counts as unfinished.
        write_atomically(_note(path), lambda part: part.write_text(found))
    return path


@contextlib.contextmanager
def going_on_when_full(what: str) -> Iterator[None]:
    """Turn the error of a full disk into a warning that says what was not kept.

    For what can be used without the file that could not be written.

    Args:
        what: begins the warning, ``"The trained teacher"``.

    Example:
        >>> with warnings.catch_warnings(record=True) as said, going_on_when_full("A result"):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        >>> str(said[0].message)[:41]
        'A result was not kept: the disk is full ('
    """
    try:
        yield
    except Exception as error:  # safetensors has an exception of its own
        codes = {getattr(error, "errno", None)} | {
            code for code in FULL if f"(os error {code})" in str(error)
        }
        if not codes.intersection(FULL):
            raise
        warnings.warn(
            f"{what} was not kept: the disk is full ({error}). Free some space, or set COURSE_CACHE "
            "to a folder on a larger disk; until then it is made again each time.",
            stacklevel=3,
        )


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
