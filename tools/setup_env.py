"""Set up the virtual environment that the Makefile uses, or heal it: setup_env.py FOLDER EXTRA ...

Quick when nothing has changed. It needs the standard library alone, and Python 3.8 can still read it,
to be told that it is too old.
"""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INPUTS = ("pyproject.toml", "constraints.txt", "requirements.lock")
# Says whether the course made this folder, whether that ended, and what was installed.
STAMP = ".course.json"
PIP = ("-m", "pip", "install", "--no-compile", "--retries=2")


def main(folder, *extras):
    """Leave a virtual environment in `folder` that holds what these extras of pyproject.toml need."""
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit(
            f"Python {platform.python_version()} is too old: the course needs Python 3.11 or newer. "
            "Name another one: make lab PYTHON=python3.12"
        )
    venv = Path(os.path.abspath(folder))  # not resolved: a link to a shared one stays a link
    if is_ready(venv, extras):
        return
    try:
        with alone(venv):
            if is_ready(venv, extras):  # another one was quicker
                return
            prepare(venv)
            if install(venv, extras):
                same = stamp(venv).get("content") == content()
                before = stamp(venv).get("extras", []) if same else []
                note(venv, content=content(), extras=sorted({*before, *extras}))
    except OSError as error:  # a full or a read-only disk, no permission, a file in the way
        cure = f"Name a folder that you may write to: make lab VENV={Path.home() / 'course-venv'}"
        sys.exit(f"The virtual environment {venv} cannot be written ({error}). {cure}")


def is_ready(venv, extras):
    """Does `venv` hold what these extras need? What counts is the files' content, not their dates."""
    found = stamp(venv)
    same = found.get("content") == content() and {*extras} <= {*found.get("extras", [])}
    return same and python_of(venv).exists()


def content():
    """A hash of all that decides what is installed, and of where the course lies."""
    found = hashlib.sha256(str(ROOT).encode())
    for name in INPUTS:
        found.update((ROOT / name).read_bytes())
    return found.hexdigest()


@contextlib.contextmanager
def alone(venv):
    """Wait until no other process sets up this environment, and keep others out."""
    venv.parent.mkdir(parents=True, exist_ok=True)
    lock = venv.with_name(f"{venv.name}.lock")
    make_room(lock)
    with lock.open("a") as file:
        # The system gives such a lock back when its process ends, however that happens.
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"Another process sets up {venv}; waiting for it.", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:  # some network file systems
                print(f"{venv} cannot be locked ({error}): run one make at a time.", flush=True)
        yield


def prepare(venv):
    """Leave a virtual environment whose pip works: the one that is there, else a new one.

    What the course did not make is never wiped.
    """
    if works(venv):
        return
    ours = stamp(venv).get("made") and not venv.is_symlink()
    if os.path.lexists(str(venv)) and not ours and not is_empty(venv):
        # `uv venv` makes one without pip. A link leads to one that others use, too.
        if not venv.is_symlink() and (venv / "pyvenv.cfg").exists():
            run(venv, "-m", "ensurepip", "--upgrade", "--default-pip", quiet=True)
            if works(venv):
                return
        if venv != ROOT / ".venv" or venv.is_symlink():
            sys.exit(
                f"{venv} is no virtual environment with Python 3.11 or newer in which pip works, and "
                "the course did not make it, so it stays as it is. Perhaps this repairs it:\n"
                f'    "{python_of(venv)}" -m ensurepip --upgrade\nOr name another folder with VENV=…'
            )
        put_aside(venv)
    if venv.exists() and not is_empty(venv):
        print(f"{venv} is not complete: it is made anew.", flush=True)
        for path in venv.iterdir():
            if path.name != STAMP:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    venv.mkdir(exist_ok=True)
    note(venv, made=True, unfinished=True)
    if subprocess.run([sys.executable, "-m", "venv", str(venv)]).returncode:
        sys.exit(f"`{sys.executable} -m venv` failed; it said why above.")
    # The pip that comes with Python 3.11 takes twice as long for all that follows.
    if run(venv, *PIP, "--upgrade", "pip"):
        print("pip could not be upgraded: going on with the one that is there.", flush=True)
    note(venv, unfinished=False)


def is_empty(folder):
    """Is this a folder with nothing in it?"""
    return folder.is_dir() and not any(folder.iterdir())


def make_room(path):
    """Put a folder or a pipe aside where a file belongs: opening a pipe would wait forever."""
    if os.path.lexists(str(path)) and not path.is_file():
        put_aside(path)


def put_aside(path):
    """Rename what may be a person's, and say so."""
    aside = path.with_name(f"{path.name}.aside-{time.time_ns()}")
    os.replace(str(path), str(aside))
    print(f"{path} is in the way, and perhaps yours: it is now {aside.name}.", flush=True)


def works(venv):
    """Is `venv` a finished environment, with a Python that is new enough and a pip that works?"""
    if stamp(venv).get("unfinished") or not (venv / "pyvenv.cfg").is_file():
        return False
    recent = "import sys; sys.exit(sys.version_info < (3, 11))"
    # The help imports all that an installation does.
    return not any(run(venv, *words, quiet=True) for words in (("-c", recent), (*PIP, "--help")))


def install(venv, extras):
    """Install what the extras need, and the course; False where that has to wait for a network."""
    failed = install_torch(venv) or run(venv, *PIP, *requirements(venv, extras))
    if failed and run(venv, *PIP, "--no-index", "--dry-run", *wanted(extras), quiet=True):
        sys.exit("pip could not install what the course needs; it said why above. Then: make lab")
    if not os.access(ROOT, os.W_OK):  # pip could not write its notes beside pyproject.toml
        purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
        Path(answer(venv, purelib), "course.pth").write_text(f"{ROOT}\n", "utf-8")
    elif run(venv, *PIP, "--no-deps", "--no-build-isolation", "-e", str(ROOT)) and not failed:
        sys.exit("pip could not install the course itself; it said why above.")
    if failed:
        print("Going on with what is installed: it is recent enough. Next time pip tries again.")
    return not failed


def install_torch(venv):
    """Install the tested PyTorch from the lock: the CPU build if pip finds it. 0 when it is there.

    A build for GPUs that someone put there is kept.
    """
    code = "from importlib.metadata import distributions as found; "
    version = answer(venv, code + "print(*[one.version for one in found(name='torch')])")
    if not lock_applies() or f"torch=={version.partition('+')[0]} " in "".join(locked("cuda")):
        return 0
    if not run(venv, *PIP, *requirements(venv, ["cpu"])):
        return 0
    print(
        "pip finds no CPU build of PyTorch. The other one needs some GB of CUDA packages: README.md "
        "says how to do without.",
        flush=True,
    )
    return run(venv, *PIP, *requirements(venv, ["cuda"]))


def requirements(venv, groups):
    """pip's arguments: these groups' lines of the lock, or tested versions where it does not apply."""
    if not lock_applies():
        print(
            "requirements.lock is for Linux x86-64 and Python 3.11. Here pip installs the versions of "
            "constraints.txt, and does not compare checksums.",
            flush=True,
        )
        return ["-c", str(ROOT / "constraints.txt"), "setuptools", *wanted(groups)]
    file = venv / "course-requirements.txt"
    file.write_text("\n".join(locked(*groups)) + "\n", "utf-8")
    return ["--require-hashes", "--no-deps", "-r", str(file)]


def locked(*groups):
    """The lock's lines for these groups, each named in the comment at its end."""
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    return [line for line in lines if {*groups} & {*line.partition("  # ")[2].split()}]


def lock_applies():
    """Is this the platform that the lock was made for?"""
    here = (platform.system(), platform.machine(), sys.version_info[:2])
    return here == ("Linux", "x86_64", (3, 11)) and platform.libc_ver()[0] == "glibc"


def wanted(extras):
    """The requirements in pyproject.toml: the lessons', and those of the extras."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    more = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *more]


def python_of(venv):
    """The environment's Python."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(venv, *words, quiet=False):
    """Run the environment's Python; its exit code, or 1 where it cannot be started."""
    output = subprocess.DEVNULL if quiet else None
    try:
        command = [str(python_of(venv)), *words]
        return subprocess.run(command, cwd=str(ROOT), stdout=output, stderr=output).returncode
    except OSError:
        return 1


def answer(venv, code):
    """What the environment's Python prints."""
    done = subprocess.run([str(python_of(venv)), "-c", code], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip()


def stamp(venv):
    """What was noted about this environment; empty where the course has not made one there."""
    try:
        found = json.loads((venv / STAMP).read_text("utf-8")) if (venv / STAMP).is_file() else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def note(venv, **found):
    """Replace what is noted about this environment, all at once; who made it stays."""
    found = {"made": stamp(venv).get("made", False), **found}
    part = venv / f"{STAMP}.part"
    make_room(part)
    make_room(venv / STAMP)
    part.write_text(json.dumps(found), "utf-8")
    os.replace(str(part), str(venv / STAMP))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell reports Ctrl-C
