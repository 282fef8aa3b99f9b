"""Where downloads and trained weights live: one folder, checksummed, written atomically."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock


def cache_dir() -> Path:
    """The cache folder, made when it is missing.

    The environment variable ``COURSE_CACHE`` names another one; the default is the user's cache
    folder of the operating system.
    """
    folder = os.environ.get("COURSE_CACHE") or platformdirs.user_cache_dir("small-networks-course")
    path = Path(folder).expanduser()
    path.mkdir(parents=True, exist_ok=True)
    return path


def sha256(path: Path | str) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_folder(new: Path, folder: Path) -> None:
    """Put a new folder in the place of an older one, if there is one; it comes back if that fails.

    Both lie on one disk. Nobody ever sees half a folder; what lay in the old one is moved beside the
    new one's first place, so let that be a temporary folder.
    """
    old = new.parent / "old"
    try:
        if folder.exists():
            os.replace(folder, old)
        os.replace(new, folder)
    except BaseException:
        if old.exists() and not folder.exists():
            os.replace(old, folder)
        raise


def problem(name: str, expected: str = "") -> str:
    """What is wrong with the cached file `name`: "" when it is whole, else a sentence.

    `expected` is the checksum it must have. Without one, it must have the checksum that was noted
    when it was made.
    """
    path = cache_dir() / name
    if not path.exists():
        return "it has not been made yet"
    if not expected:
        note = _note(path)
        if not note.exists():
            return "its checksum is missing: writing it was interrupted"
        expected = note.read_text().strip()
    found = sha256(path)
    if found != expected:
        return (
            f"its checksum is {found[:12]}… and should be {expected[:12]}…: "
            "it is damaged, truncated or of another version"
        )
    return ""


def cached_file(name: str, make: Callable[[Path], None], expected: str = "") -> Path:
    """Path of the cached file `name`, made by `make(path)` where it is missing or damaged.

    `make` writes to a temporary path beside the final one, which is renamed when it is complete: an
    interrupted run leaves no half file. A lock lets two notebooks ask for the same file at once; the
    second waits and finds it made. A damaged file is reported with a warning and made again.

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
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        fault = problem(name, expected)
        if not fault:
            return path
        if path.exists():
            warnings.warn(f"{name} in the cache is made again: {fault}.", stacklevel=2)
        temporary = path.with_name(f"part-{path.name}")
        make(temporary)
        found = sha256(temporary)
        if expected and found != expected:
            temporary.unlink()
            raise ValueError(
                f"{name} was fetched with checksum {found}, but {expected} was expected. "
                "The source has changed or the transfer was cut; try again, and report it if it "
                "happens twice."
            )
        os.replace(temporary, path)
        # The note comes last: a file without one counts as unfinished.
        part = _note(temporary)
        part.write_text(found)
        os.replace(part, _note(path))
    return path


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
