"""The start of a lesson: its settings for the chosen profile, and one line on what is installed.

What a lesson's two profiles differ in stands in one table, ``notebooks/settings.toml``: `full` is
what you read, `quick` is what the tests run.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import os
import sys
import tomllib
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

PROFILES = ("full", "quick")
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


class Settings:
    """The settings of one lesson, as attributes that cannot be changed.

    Example:
        >>> settings = Settings("lesson1", {"epochs": 15, "seeds": 3, "amounts": [0.5, 0.9]})
        >>> settings.epochs, settings.seeds, settings.amounts
        (15, range(0, 3), (0.5, 0.9))
    """

    def __init__(self, lesson: str, values: Mapping[str, Any]) -> None:
        vars(self).update({name: _plain(name, value) for name, value in values.items()})
        vars(self)["_lesson"] = lesson

    def __getattr__(self, name: str) -> Any:
        settings = ", ".join(key for key in vars(self) if not key.startswith("_"))
        raise AttributeError(
            f"{vars(self).get('_lesson')} has no setting {name!r}. It has {settings or 'none'}; add "
            "the new one to both of its profiles in notebooks/settings.toml."
        )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(
            f"The setting {name!r} cannot be changed here. Change it in notebooks/settings.toml, or "
            f"use a variable of your own: {name} = {value!r}."
        )

    def __repr__(self) -> str:
        shown = [f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_")]
        return f"Settings({', '.join(shown)})"


def start(lesson: str, profile: str = "full") -> Settings:
    """Begin a lesson: return its settings, and print what is installed in one line.

    Call it before anything imports PyTorch, because it also sets how PyTorch's threads wait for each
    other. Warnings lose the path of the file that gave them, because a notebook is shared. It may run
    again at any time.

    Args:
        lesson: the name of the lesson's table in ``notebooks/settings.toml``, such as "lesson1".
        profile: "full" (default) or "quick". The environment variable COURSE_PROFILE wins over it.

    Returns:
        `Settings`: ``settings.epochs`` and so on. A setting ``seeds = 3`` is ``range(3)``, a list is
        a tuple.

    Raises:
        FileNotFoundError: the course is installed without its notebooks folder.
        ValueError: an unknown lesson or profile, or two profiles with different settings.
    """
    prepare_process()
    warnings.formatwarning = _without_path
    profile = _chosen(profile)
    values = profiles_of(lesson)[profile]
    print(_versions() + (" · quick profile" if profile == "quick" else ""))
    return Settings(lesson, values)


def _without_path(message: Any, category: type[Warning], *_place: Any, **_line: Any) -> str:
    return f"{category.__name__}: {message}\n"


def prepare_process() -> None:
    """Set up the Python process for a lesson; PyTorch should not be loaded yet."""
    # A waiting thread should spin briefly and then sleep. GNU OpenMP's default is to spin for long,
    # and on a busy machine small networks then train ten times slower. PyTorch reads it as it loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # Without it, importing ONNX Runtime writes a device id, and a session looks up Microsoft's host.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # Python looks for garbage once more before it ends. With torch and transformers loaded that
    # takes two seconds, and restarting a kernel waits for it. Frozen objects are skipped.
    atexit.unregister(gc.freeze)  # so that a second call does not register it twice
    atexit.register(gc.freeze)


def free_memory() -> None:
    """Give back what nothing needs anymore, before a step that needs much.

    A masked copy of a model lives on in a cycle of PyTorch's parametrization until Python looks for
    garbage, which it does by the number of objects, not by their size. On Linux, glibc keeps what was
    freed for later; elsewhere the system decides.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def profiles_of(lesson: str) -> dict[str, dict[str, Any]]:
    """The settings of a lesson in both profiles, checked: the same names and kinds in each.

    Raises:
        FileNotFoundError, ValueError: as `start`.
    """
    try:
        table = tomllib.loads((notebooks_folder() / "settings.toml").read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"notebooks/settings.toml cannot be read: {error}.") from None
    if lesson not in table:
        raise ValueError(
            f"notebooks/settings.toml has no lesson {lesson!r}. It has {', '.join(table) or 'none'}."
        )
    profiles = table[lesson]
    tables = isinstance(profiles, dict) and all(isinstance(one, dict) for one in profiles.values())
    if not tables or set(profiles) != set(PROFILES):
        raise ValueError(
            f"notebooks/settings.toml has {str(profiles)[:200]} for {lesson}; "
            f"expected [{lesson}.full] and [{lesson}.quick]."
        )
    full, quick = (profiles[name] for name in PROFILES)
    if alone := sorted(set(full) ^ set(quick)):
        raise ValueError(
            f"In notebooks/settings.toml only one of the two profiles of {lesson} has "
            f"{', '.join(alone)}. Give the other one a value, too."
        )
    if unlike := [name for name in full if type(full[name]) is not type(quick[name])]:
        raise ValueError(
            f"In notebooks/settings.toml the two profiles of {lesson} have values of different "
            f"kinds for {', '.join(unlike)}, for example "
            f"{full[unlike[0]]!r} and {quick[unlike[0]]!r}. Write both in the same form."
        )
    return {name: profiles[name] for name in PROFILES}


def notebooks_folder() -> Path:
    """The folder of the lessons, their settings and their experiments.

    Raises:
        FileNotFoundError: the course is installed without it.
    """
    if not (NOTEBOOKS / "settings.toml").exists():
        raise FileNotFoundError(
            "The file notebooks/settings.toml is missing: course_lib is installed without the lessons' "
            "folder. Clone the project and run `pip install -e .` in it, then open the lesson there."
        )
    return NOTEBOOKS


def version_of(package: str) -> str:
    """The installed version of a package, found without importing it.

    >>> version_of("no-such-package")
    'not installed'
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _chosen(profile: str) -> str:
    """COURSE_PROFILE where it is set, else the `profile` that the lesson asks for."""
    chosen = os.environ.get("COURSE_PROFILE") or profile
    if chosen not in PROFILES:
        origin = "COURSE_PROFILE" if os.environ.get("COURSE_PROFILE") else "the lesson"
        raise ValueError(f'The profile {chosen!r} came from {origin}; expected "full" or "quick".')
    return chosen


def _plain(name: str, value: Any) -> Any:
    if name == "seeds" and isinstance(value, int):
        return range(value)
    return tuple(value) if isinstance(value, list) else value


def _versions() -> str:
    import torch  # at the latest here it is loaded: all that it reads has been set

    import course_lib

    threads = torch.get_num_threads()
    return " · ".join(
        [
            f"course {course_lib.__version__}",
            f"Python {sys.version.split()[0]}",
            f"torch {torch.__version__}",
            f"transformers {version_of('transformers')}",
            f"{threads} thread{'' if threads == 1 else 's'}",
        ]
    )
