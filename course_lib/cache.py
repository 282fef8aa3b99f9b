"""Where downloads, trained weights and checkpoints live: one folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


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
    path = Path(folder).expanduser()
    if not path.is_absolute():
        checkout = Path(__file__).resolve().parents[1]
        path = (checkout if (checkout / "notebooks").is_dir() else Path.cwd()) / path
        os.environ["COURSE_CACHE"] = str(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        cure = "Set the environment variable COURSE_CACHE to a folder that you may write to."
        raise OSError(f"The cache folder {path} cannot be made ({error}). {cure}") from error
    return path
