"""The course's plain commands: ``python -m course_lib lab``, ``fetch``, ``doctor`` and ``compress``.

The Makefile only adds the virtual environment. Where there is no make, these are enough.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from pathlib import Path

from course_lib.cli import compress, doctor

HELP = """\
lab       open the course in JupyterLab; what follows goes to Jupyter (--port=9000 --no-browser)
fetch     fetch and verify all that the lessons need: the only step that uses the network
          (fetch --llm also fetches the language model of lesson 7, 93 MB)
doctor    check this installation, and say how to cure what is wrong with it
compress  make a small copy of your own text classifier (compress --help says how)
"""
# What onnxruntime and the Hugging Face libraries read before they send data on their use.
SILENT = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; without `arguments`, those of the command line.

    Raises:
        SystemExit: the command is unknown, or has arguments that it does not take.
    """
    parser = argparse.ArgumentParser(
        prog="python -m course_lib",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["lab", "fetch", "doctor", "compress"])
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="for lab, compress and fetch --llm"
    )
    given = parser.parse_args(arguments)
    if given.command == "compress":
        return compress.main(given.arguments)
    llm = given.command == "fetch" and given.arguments == ["--llm"]
    if given.arguments and given.command != "lab" and not llm:
        parser.error(f"{given.command} takes no arguments, but got: {' '.join(given.arguments)}")
    try:
        if given.command == "lab":
            return lab(given.arguments)
        return doctor.main() if given.command == "doctor" else fetch(llm)
    except KeyboardInterrupt:
        return 130  # as a shell reports Ctrl-C; a traceback would look like a fault


def fetch(llm: bool = False) -> int:
    """Fetch and verify what the lessons need; 0 when all is there, 1 and the reason when not.

    `llm`: also the language model of lesson 7 (default False).
    """
    try:
        from course_lib import files
        from course_lib.datasets import sources
        from course_lib.lessons.sliders import charts

        sources.fetch(llm)
        charts.kept_bundle()  # made here, for a cache that is read-only later
        note, found = _fetched_note(), [*sources.verify(), charts.file_of_library()]
        with contextlib.suppress(OSError):  # a complete cache may be read-only
            files.make_room(note)
            text = "\n".join([_wanted(), *found])
            files.write_atomically(note, lambda part: part.write_text(text, "utf-8"))
    except (ImportError, OSError, ValueError, subprocess.CalledProcessError) as error:
        return _fail("fetch", error)
    return 0


def lab(arguments: list[str]) -> int:
    """Open the course in JupyterLab, and stay until it is stopped.

    What the lessons need is fetched first, unless that was done before: a repeated start asks
    nothing of the network and reads no data.
    """
    try:
        if not _is_fetched():
            # In a process of its own: this one turns into the server and should not hold PyTorch.
            subprocess.run([sys.executable, "-m", "course_lib", "fetch"], check=True)
        from jupyterlab.labapp import main as jupyterlab
    except subprocess.CalledProcessError as error:
        return error.returncode  # fetch has said why
    except (ImportError, OSError) as error:
        return _fail("lab", error)
    os.environ.update(lab_environment())
    jupyterlab(lab_arguments(arguments, root=_is_root()))
    return 0


def lab_arguments(arguments: list[str], root: bool) -> list[str]:
    """Jupyter's command line: the course map opens, and no news or updates are asked for.

    Args:
        arguments: what the person added; it comes last.
        root: whether the server runs as root, as it does in most containers.

    Example:
        >>> lab_arguments(["--port=9000"], root=True)[-2:]
        ['--allow-root', '--port=9000']
    """
    return [
        f"--ServerApp.root_dir={course_folder()}",
        "--LabApp.default_url=/lab/tree/README.md",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        *(["--allow-root"] if root else []),
        *arguments,
    ]


def lab_environment() -> dict[str, str]:
    """Environment variables for JupyterLab and its kernels.

    Jupyter finds the course's settings (Markdown opens rendered), and a cell's ``!pip`` is the pip
    of this Python, also where the virtual environment was not activated. All kernels share one cache
    folder, and no package reports its use to anyone.
    """
    from course_lib import cache

    before = {name: os.environ.get(name) for name in ("JUPYTER_CONFIG_PATH", "PATH")}
    ours = {
        "JUPYTER_CONFIG_PATH": str(Path(__file__).parent / "jupyter"),
        "PATH": str(Path(sys.executable).parent),
    }
    joined = {name: os.pathsep.join(filter(None, [ours[name], before[name]])) for name in ours}
    return joined | {"COURSE_CACHE": str(cache.cache_dir()), **SILENT}


def course_folder() -> Path:
    """The folder with the notebooks: the checkout that is installed, else the current folder."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


def _fetched_note() -> Path:
    from course_lib import cache

    return cache.cache_dir() / "fetched.txt"


def _wanted() -> str:
    """Changes whenever the module that lists what is to be fetched does."""
    from course_lib import cached_files

    return cached_files.sha256(Path(__file__).parents[1] / "datasets" / "sources.py")


def _is_fetched() -> bool:
    """Was all fetched before, and is it still there? Whether it is whole is seen when it is read."""
    note = _fetched_note()
    if not note.is_file():
        return False
    wanted, *files = note.read_text("utf-8", errors="replace").splitlines() or [""]
    return wanted == _wanted() and all((note.parent / file).is_file() for file in files)


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _fail(command: str, error: Exception) -> int:
    print(doctor.hide_home(f"{command} stopped: {error}"), file=sys.stderr)
    print("To find out what is wrong here: python -m course_lib doctor", file=sys.stderr)
    return 1
