"""Where downloads, trained weights and checkpoints live: one folder."""

from __future__ import annotations

import errno
import functools
import os
import tempfile
import warnings
from pathlib import Path

import platformdirs

from course_lib.files import put_aside


def cache_dir() -> Path:
    """The cache folder, made when it is missing.

    The environment variable ``COURSE_CACHE`` names another one; the default is the user's cache
    folder of the operating system. A relative one counts from the course's folder, or from the
    current folder where the course is installed without its notebooks. It is made absolute at the
    first call, so that every process started from here uses the same folder.

    Raises:
        OSError: the folder cannot be made; says what to do.
    """
    folder = os.environ.get("COURSE_CACHE") or platformdirs.user_cache_dir("small-networks-course")
    cure = "Set the environment variable COURSE_CACHE to a folder that you may write to."
    try:
        path = Path(folder).expanduser()
    except RuntimeError:
        raise OSError(f"The cache folder {folder} names an unknown user. {cure}") from None
    if not path.is_absolute():
        checkout = Path(__file__).resolve().parents[1]
        path = (checkout if (checkout / "notebooks").is_dir() else Path.cwd()) / path
        os.environ["COURSE_CACHE"] = str(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"The cache folder {path} cannot be made ({error}). {cure}") from error
    return path


def make_folder(folder: Path) -> Path:
    """A folder inside the cache, made when it is missing.

    A file in its place is put aside, as it may be a person's, and a warning says so.
    """
    place = cache_dir()
    for name in folder.relative_to(place).parts:
        place = place / name
        if place.exists() and not place.is_dir():
            aside = put_aside(place)
            warnings.warn(f"{place} is no folder. It is now {aside.name}.", stacklevel=2)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def work_folder(name: str) -> Path:
    """The folder `name` in the cache, for what a lesson writes.

    Where the cache is read-only it is a temporary folder, which goes when Python ends.
    """
    folder = cache_dir() / name
    try:
        with tempfile.TemporaryFile(dir=make_folder(folder)):
            return folder
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return Path(_elsewhere().name, name)


@functools.cache
def _elsewhere() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="course-")
