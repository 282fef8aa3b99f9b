"""Is this installation fit for the course? One line for each check, one cure for each failure.

The lines are meant to be pasted into a bug report, so they never hold the home folder. Only the
standard library is imported at the top: the doctor must be able to speak when all else is broken,
also under a Python 3.8, to say that it is too old.
"""

from __future__ import annotations

import functools
import importlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

COURSE = Path(__file__).resolve().parents[2]
PYTHON_MINIMUM = (3, 11)
# Fine-tuning the teacher, the largest thing that the course does, stays below both.
MEMORY_GIB = 1.5
DISK_GIB = 1.0
GIB = 2**30


@dataclass(frozen=True)
class Check:
    """What was found about one thing, and what to do when that is not good enough."""

    name: str
    ok: bool
    found: str
    cure: str = ""

    def __str__(self) -> str:
        """
        Example:
            >>> print(Check("disk", False, "0.2 GiB free", "delete something"))
            [FAIL] disk: 0.2 GiB free
                   cure: delete something
        """
        if self.ok:
            return f"[OK]   {self.name}: {self.found}"
        return f"[FAIL] {self.name}: {self.found}\n       cure: {self.cure}"


def main() -> int:
    """Print every check; 0 when all are fine, else 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A Windows console may lack a character of an error message; say the rest.
        sys.stdout.reconfigure(errors="replace")
    checks = []
    for check in all_checks():
        print(hide_home(str(check)), flush=True)
        checks.append(check)
    failed = sum(not check.ok for check in checks)
    advice = " Cure the first one first: others may follow from it." if failed else ""
    print(f"\n{len(checks)} checks, {failed} failed.{advice}")
    return 1 if failed else 0


def all_checks() -> Iterator[Check]:
    """Every check, in the order in which failures cause one another."""
    yield Check("system", True, f"{platform.platform()}, {os.cpu_count()} cores")
    python = check_python()
    yield python
    if not python.ok:
        return
    yield check_pip()
    yield from check_requirements()
    yield attempt("compute", check_compute, "torch")
    yield attempt("cache", check_cache, "platformdirs")
    yield from check_data()
    yield attempt("memory", check_memory, "psutil")
    yield attempt("disk", check_disk, "platformdirs")
    yield attempt("kernel", check_kernel, "ipykernel")


def attempt(name: str, check: Callable[[], Check], package: str) -> Check:
    """The check's result, or a failed check that says why it could not be made.

    Args:
        name: of the check.
        check: makes it.
        package: to be installed anew when `check` raises.

    Example:
        >>> attempt("sum", lambda: 1 / 0, "numpy").found
        'ZeroDivisionError: division by zero'
    """
    try:
        return check()
    except Exception as error:  # broken packages raise anything: OSError, AttributeError, …
        return Check(name, False, _sentence(error), cure_for(package, error))


def check_python() -> Check:
    """Is this Python new enough?"""
    wanted = ".".join(map(str, PYTHON_MINIMUM))
    ok = sys.version_info[:2] >= PYTHON_MINIMUM
    needed = f">={wanted} needed" if ok else f"too old, >={wanted} needed"
    return Check(
        "python",
        ok,
        f"{platform.python_version()} ({needed}), {_python()}",
        f"install Python {wanted} or newer, delete the folder .venv and run: make lab",
    )


def check_pip() -> Check:
    """Can pip, which installs packages and fetches the data, start?"""
    # The help of `install` imports all that an installation does; --version does not.
    command = [sys.executable, "-m", "pip", "install", "--help"]
    done = subprocess.run(command, capture_output=True)
    said = done.stderr.decode(errors="replace").strip().splitlines()
    cure = f"{_python()} -m ensurepip --upgrade, or delete the folder .venv; then: make lab"
    found = f"broken: {said[-1] if said else 'it said nothing'}" if done.returncode else "it starts"
    return Check("pip", done.returncode == 0, found, cure)


def check_compute() -> Check:
    """Does PyTorch compute, with how many threads, and on which device?"""
    import torch

    torch.ones(2, 2) @ torch.ones(2, 2)
    device = "cpu"
    if torch.cuda.is_available():
        device = f"cuda ({torch.cuda.get_device_name()})"
    elif torch.backends.mps.is_available():
        device = "mps"
    return Check("compute", True, f"{device}, {torch.get_num_threads()} threads")


def check_requirements() -> Iterator[Check]:
    """One check for each package that the lessons need."""
    try:
        tested = pinned_versions()
        lines = _needed_first([line for line in requirements() if _applies(line)])
    except Exception as error:
        yield Check("packages", False, _sentence(error), _pip("-e .[lab]"))
        return
    for line in lines:
        yield check_requirement(line, tested)


def check_requirement(line: str, tested: dict[str, str]) -> Check:
    """Is the package of this requirement there, in its range, and can it be imported?

    Args:
        line: a requirement as in pyproject.toml, ``"numpy>=2"``.
        tested: package name → the version that the course was tested with.

    Example:
        >>> check_requirement("no-such-package>=2", {}).found
        'not installed, >=2 needed'
    """
    wanted = _requirement(line)
    name, pin = wanted.name, tested.get(_canonical(wanted.name))
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError as error:
        found = f"not installed, {wanted.specifier} needed"
        return Check(name, False, found, cure_for(name, error))
    found = f"{version} ({wanted.specifier} needed)"
    if pin:
        # torch's 2.13.0+cpu is 2.13.0.
        same = pin == version.partition("+")[0]
        found = found[:-1] + (", as tested)" if same else f", tested with {pin})")
    if not wanted.specifier.contains(version, prereleases=True):
        return Check(name, False, found, _pip(pinned(name)))
    try:
        for module in _modules(name):
            importlib.import_module(module)
    except Exception as error:
        return Check(name, False, f"{found}, broken: {_sentence(error)}", cure_for(name, error))
    return Check(name, True, found)


def check_data() -> list[Check]:
    """One check for each file of data or weights: is it there, with the right checksum?"""
    cure = f"{_python()} -m course_lib fetch"
    try:
        from course_lib.datasets import sources

        faults = sources.verify()
    except Exception as error:
        if isinstance(error, ImportError):
            cure = _pip("-e .[lab]")
        return [Check("data", False, _sentence(error), cure)]
    return [
        Check(f"data, {name}", not fault, fault or "checksum as expected", cure)
        for name, fault in faults.items()
    ]


def check_memory() -> Check:
    """Is enough memory free?"""
    import psutil

    memory = psutil.virtual_memory()
    return Check(
        "memory",
        memory.available >= MEMORY_GIB * GIB,
        f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free, {MEMORY_GIB} needed",
        "close programs, and in JupyterLab: Kernel > Shut Down All Kernels",
    )


def check_cache() -> Check:
    """Can the cache be written?"""
    from course_lib import cache

    cure = "set COURSE_CACHE to a folder that you may write to"
    try:
        folder = cache.cache_dir()
        with tempfile.TemporaryFile(dir=folder):
            return Check("cache", True, f"{folder} can be written")
    except OSError as error:
        return Check("cache", False, f"what lessons train is not kept: {_sentence(error)}", cure)


def check_disk() -> Check:
    """Is enough room on the disk that holds the cache?"""

    from course_lib import cache

    folder = cache.cache_dir()
    free = shutil.disk_usage(folder).free
    return Check(
        "disk",
        free >= DISK_GIB * GIB,
        f"{free / GIB:.1f} GiB free, {DISK_GIB} needed, in {folder}",
        "free some space, or set COURSE_CACHE to a folder on a larger disk",
    )


def check_kernel() -> Check:
    """Is there a notebook kernel, and does it run this very Python?"""
    import jupyter_client.kernelspec
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    cure = f"{_python()} -m ipykernel install --sys-prefix"
    try:
        command = KernelSpecManager().get_kernel_spec(jupyter_client.kernelspec.NATIVE_KERNEL_NAME)
    except NoSuchKernel as error:
        return Check("kernel", False, str(error), cure)
    program = command.argv[0]
    # Jupyter itself replaces a bare "python" by the Python that it runs in.
    same = re.fullmatch(r"python[\d.]*(\.exe)?", program) is not None or _same_file(program)
    found = "python3, this Python" if same else f"python3, another Python: {program}"
    return Check("kernel", same, found, cure)


def requirements() -> list[str]:
    """The lessons' requirements: pyproject.toml's in a checkout, else those noted by pip."""
    path = COURSE / "pyproject.toml"
    if not path.exists():
        return metadata.requires("small-networks-course") or []
    import tomllib

    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return project["dependencies"] + project["optional-dependencies"]["lab"]


def pinned_versions() -> dict[str, str]:
    """Package name → version in constraints.txt; empty where that file is not."""
    path = COURSE / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pins = (line.split("==") for line in lines if "==" in line)
    return {_canonical(name): version for name, version in pins}


def pinned(name: str) -> str:
    """``"numpy==2.4.6"``: the package in its tested version, or just its name.

    Example:
        >>> pinned("no-such-package")
        'no-such-package'
    """
    version = pinned_versions().get(_canonical(name))
    return f"{name}=={version}" if version else name


def cure_for(package: str, error: Exception) -> str:
    """The command that helps when `package` raised `error` while it was imported or used."""
    if isinstance(error, ModuleNotFoundError):
        # The package or one that it needs is missing; pip adds what is, and touches nothing else.
        return _pip(pinned(package))
    return _pip("--force-reinstall", "--no-deps", pinned(package))


def hide_home(text: str) -> str:
    """`text` with the home folder written as ``~``.

    Example:
        >>> hide_home(f"{os.path.expanduser('~')}{os.sep}course") == f"~{os.sep}course"
        True
    """
    home = os.path.expanduser("~")
    if len(home) < 2:  # "/" in some containers
        return text
    for path in {home, os.path.realpath(home)}:
        # An error message may hold a Windows path with its backslashes doubled, or turned round.
        for form in (path, path.replace("\\", "\\\\"), path.replace("\\", "/")):
            text = re.sub(re.escape(form) + r"(?![\w.-])", "~", text)
    return text


def _python() -> str:
    """This Python as it is typed in the current folder."""
    path = Path(sys.executable)
    if Path.cwd() in path.parents:
        path = path.relative_to(Path.cwd())
    return f'"{path}"' if " " in str(path) else str(path)


def _pip(*words: str) -> str:
    return " ".join([_python(), "-m pip install", *words])


def _same_file(program: str) -> bool:
    found = shutil.which(program)
    if found is None or not os.path.samefile(found, sys.executable):
        return False
    # A virtual environment links to the Python that made it, as does every other one made by that.
    return os.path.samefile(os.path.dirname(found), os.path.dirname(sys.executable))


def _sentence(error: Exception) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _requirement(line: str):
    try:
        from packaging.requirements import Requirement
    except ImportError:  # pip always brings one
        from pip._vendor.packaging.requirements import Requirement  # type: ignore[assignment]
    return Requirement(line)


def _applies(line: str) -> bool:
    marker = _requirement(line).marker
    return marker is None or marker.evaluate({"extra": "lab"})


def _needed_first(lines: list[str]) -> list[str]:
    """Each package after those that it needs: broken NumPy is to be reported before its users."""
    from graphlib import TopologicalSorter  # not in Python 3.8

    named = {_canonical(_requirement(line).name): line for line in lines}
    needs = {name: sorted(_needs(name) & named.keys()) for name in named}
    return [named[name] for name in TopologicalSorter(needs).static_order()]


def _needs(name: str) -> set[str]:
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return set()
    return {_canonical(_requirement(line).name) for line in lines if "extra ==" not in line}


def _modules(name: str) -> list[str]:
    """The top-level modules that a package installs: scikit-learn → sklearn."""
    return [
        module
        for module, owners in _owners().items()
        if _canonical(name) in map(_canonical, owners) and not module.startswith("_")
    ]


@functools.lru_cache(maxsize=None)  # noqa: UP033 (Python 3.8 must be able to read it)
def _owners() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()  # reads every installed package: once is enough
