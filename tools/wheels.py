"""The wheels that the course needs on a platform, downloaded with pip: `tools/bundle.py` packs them.

On Linux x86-64 with Python 3.11 they are those of requirements.lock. Elsewhere they follow from what
each package says that it needs there: pip itself would ask what it needs on this machine.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `tools` itself is not installed

from course_lib.cached_files import sha256
from tools import setup_env, weigh

ROOT = Path(__file__).resolve().parent.parent
SHRINKS = 0.35  # a wheel's bytes for each byte installed: for the estimate of what is left, alone
GROUPS, LEAST = 8, 20e6  # calls of pip, and what each downloads at the least, in bytes
NEWEST = 99  # a bugfix release that no Python has reached: `least_python` says which one is needed


@dataclass(frozen=True)
class Platform:
    """A system that wheels are made for.

    Attributes:
        words: what a person calls it.
        system, machine: as Python's `platform` names them.
        tags: of the wheels that it takes, as pip names them.
    """

    words: str
    system: str
    machine: str
    tags: tuple[str, ...]

    def is_here(self, python: str) -> bool:
        """Whether this very Python is one of them."""
        here = (platform.system(), platform.machine(), this_python())
        return here == (self.system, self.machine, python)

    def markers(self, python: str) -> dict[str, str]:
        """What a requirement's condition (`sys_platform == "win32"`) is compared with."""
        system = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}[self.system]
        return {
            "os_name": "nt" if system == "win32" else "posix",
            "sys_platform": system,
            "platform_system": self.system,
            "platform_machine": self.machine,
            "platform_release": "",
            "platform_version": "",
            "python_version": python,
            "python_full_version": f"{python}.{NEWEST}",
        }


PLATFORMS = {
    "linux": Platform(
        "Linux (x86-64)",
        "Linux",
        "x86_64",
        (*(f"manylinux_2_{n}_x86_64" for n in range(28, 4, -1)), "manylinux2014_x86_64"),
    ),
    "macos": Platform(
        "macOS 14 or newer (Apple silicon)", "Darwin", "arm64", ("macosx_14_0_arm64",)
    ),
    "windows": Platform("Windows (x86-64)", "Windows", "AMD64", ("win_amd64",)),
}


def this_python() -> str:
    """The version of the Python that runs this, as in `3.11`."""
    return ".".join(platform.python_version_tuple()[:2])


def packages(name: str, python: str, extras: Iterable[str], folder: Path) -> list[str]:
    """pip's requirement of each package that a platform needs, as far as the wheels there tell.

    They stand in requirements.lock, with their checksums, where it is for that platform. Elsewhere they
    follow from what each package says that it needs there; versions are those of constraints.txt.
    """
    pip = f"pip=={importlib.metadata.version('pip')}"
    if (name, python) == ("linux", "3.11"):
        return [*(line.partition("  #")[0] for line in setup_env.locked(*extras, "cpu")), pip]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    start = [*setup_env.wanted(extras), *settings["build-system"]["requires"], pip]
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    tested = [Requirement(line) for line in lines if not line.startswith("#")]
    pins: dict[str, SpecifierSet] = {canonicalize_name(x.name): x.specifier for x in tested}
    found = closure(
        start, PLATFORMS[name].markers(python), functools.partial(needs, wheels_in(folder))
    )
    return [f"{key}{pins.get(key, one.specifier)}" for key, one in sorted(found.items())]


def closure(
    start: Iterable[str], markers: dict[str, str], needs: Callable[[str], list[str]]
) -> dict[str, Requirement]:
    """All packages that these requirements lead to, each with what is asked of its version.

    Args:
        start: requirements, as pip takes them.
        markers: of the platform; pip itself would take those of the machine that it runs on.
        needs: name of a package → its own requirements.

    >>> needs = {"a": ["b>1; sys_platform == 'win32'", "c; extra == 'x'"], "b": [], "c": []}.get
    >>> sorted(closure(["a[x]"], {"sys_platform": "linux"}, needs))
    ['a', 'c']
    """
    found: dict[str, Requirement] = {}
    seen: set[tuple[str, str]] = set()
    todo = [Requirement(line) for line in start]
    while todo:
        one = todo.pop()
        name = canonicalize_name(one.name)
        found.setdefault(name, one).specifier &= one.specifier
        for extra in {"", *one.extras} - {extra for key, extra in seen if key == name}:
            seen.add((name, extra))
            more = map(Requirement, needs(name))
            todo += [
                x for x in more if not x.marker or x.marker.evaluate(markers | {"extra": extra})
            ]
    return found


def needs(wheels: dict[str, Path], name: str) -> list[str]:
    """The requirements of a package: those of its wheel, else of what is installed here."""
    if name in wheels:
        return metadata_of(wheels[name]).get_all("Requires-Dist") or []
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def metadata_of(wheel: Path) -> Message:
    """What a wheel says about its package."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (file,) = (name for name in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        return HeaderParser().parsestr(archive.read(file).decode("utf-8"))


def least_python(python: str, wheels: Iterable[Path]) -> str:
    """The first bugfix release of a Python that all these wheels take, as in `3.11.5`."""
    said = {metadata_of(wheel)["Requires-Python"] or "" for wheel in wheels}
    wanted = SpecifierSet(",".join(filter(None, said)))
    return next(x for n in range(NEWEST + 1) if (x := f"{python}.{n}") in wanted)


def wheels_in(folder: Path) -> dict[str, Path]:
    """Name of a package → its wheel."""
    return {parse_wheel_filename(path.name)[0]: path for path in sorted(folder.glob("*.whl"))}


def is_there(line: str, wheels: dict[str, Path]) -> bool:
    """Whether one of these wheels is what a requirement asks for, by its checksum if it has one."""
    text, _, checksum = line.partition(" --hash=sha256:")
    wanted = Requirement(text)
    wheel = wheels.get(canonicalize_name(wanted.name))
    if wheel is None:
        return False
    version = parse_wheel_filename(wheel.name)[1]
    return wanted.specifier.contains(version, prereleases=True) and (
        not checksum or sha256(wheel) == checksum.strip()
    )


def get_wheels(name: str, python: str, extras: Iterable[str], folder: Path) -> None:
    """Leave in `folder` the wheels that a platform needs for these extras, and no others."""
    folder.mkdir(parents=True, exist_ok=True)
    before: list[str] = []
    while True:
        lines, there = packages(name, python, extras, folder), wheels_in(folder)
        missing = [line for line in lines if not is_there(line, there)]
        if not missing:
            break
        if missing == before:
            sys.exit(f"For {name}, pip brought other packages than: {', '.join(missing)}")
        before = missing
        download(missing, name, python, folder)
    wanted = {package_of(line) for line in lines}
    for package, wheel in there.items():
        if package not in wanted:
            wheel.unlink()
    print(f"[OK] {len(lines)} packages for {name}", flush=True)


def download(lines: list[str], name: str, python: str, folder: Path) -> None:
    """Download wheels with pip, the heaviest first, and say what is left.

    They come in groups, so that an interrupted run keeps what it has.
    """
    installed = weigh.weights()
    usual = sum(installed.values()) / max(len(installed), 1)
    sizes = {line: SHRINKS * installed.get(package_of(line), usual) for line in lines}
    left, got, start = sum(sizes.values()), 0.0, time.monotonic()
    print(f"To download for {name}: {len(lines)} packages, about {left / 1e6:.0f} MB", flush=True)
    for group in grouped(sizes):
        with tempfile.TemporaryDirectory(dir=folder.parent) as part:
            process = start_pip(group, PLATFORMS[name], python, Path(part))
            while not is_over(process):
                now = min(bytes_in(Path(part, "pip")), sum(sizes[line] for line in group))
                print(told(got + now, left - now, time.monotonic() - start), flush=True)
            if process.returncode:
                sys.exit(why_not(Path(part, "log").read_text("utf-8", "replace"), name, python))
            there = wheels_in(folder)
            for line in group:
                there.get(package_of(line), Path(part, "none")).unlink(missing_ok=True)
            for wheel in Path(part, "wheels").iterdir():
                got += wheel.stat().st_size
                os.replace(wheel, folder / wheel.name)
        left -= sum(sizes[line] for line in group)


def package_of(line: str) -> str:
    """The name of the package that a requirement asks for."""
    return canonicalize_name(Requirement(line.partition(" --hash")[0]).name)


def grouped(sizes: dict[str, float]) -> Iterator[list[str]]:
    """The lines, the heaviest first, in groups of about the same weight.

    pip wants a checksum with each line of a call, or with none.

    >>> list(grouped({"a": 12e6, "b": 90e6, "c": 12e6, "d": 12e6}))
    [['b'], ['a', 'c'], ['d']]
    """
    limit = max(sum(sizes.values()) / GROUPS, LEAST)
    group: list[str] = []
    for line in sorted(sizes, key=lambda line: ("--hash" not in line, -sizes[line])):
        mixed = group and ("--hash" in line) != ("--hash" in group[0])
        if group and (mixed or sum(sizes[one] for one in group) >= limit):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def start_pip(
    lines: list[str], target: Platform, python: str, part: Path
) -> subprocess.Popen[bytes]:
    """Let pip download these packages' wheels to `part`, with its own files and words there, too."""
    (part / "pip").mkdir()
    (part / "wheels").mkdir()
    (part / "requirements.txt").write_text("\n".join(lines) + "\n", "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(part / "wheels"), "-r", str(part / "requirements.txt")]
    if not target.is_here(python):
        command += [f"--python-version={python}.{NEWEST}"]
        command += [f"--platform={tag}" for tag in target.tags]
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(part / "pip"))
    with (part / "log").open("wb") as log:
        return subprocess.Popen(
            command, env=os.environ | temporary, stdout=log, stderr=subprocess.STDOUT
        )


def is_over(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process ends within five seconds. It ends with this one, too."""
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return False
    except BaseException:  # Ctrl-C
        process.kill()
        raise
    return True


def bytes_in(folder: Path) -> int:
    """The bytes of the files in a folder, some of which may vanish meanwhile."""
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return found


def told(got: float, left: float, seconds: float) -> str:
    """How far a download is.

    >>> told(150e6, 450e6, 30)
    '     150 of about 600 MB, about 90 s left'
    """
    rest = f", about {left / got * seconds:.0f} s left" if got else ""
    return f"     {got / 1e6:.0f} of about {(got + left) / 1e6:.0f} MB{rest}"


def why_not(log: str, name: str, python: str) -> str:
    """What to say where pip has failed."""
    last = "\n".join(log.strip().splitlines()[-4:])
    said = f"pip could not download the packages for {name}, Python {python}. It said:\n{last}\n"
    leave = f"leave {name} out of PLATFORMS: make bundle PLATFORMS=…"
    if "Retrying" not in log and "No matching distribution" in last:
        if "+cpu" in last:
            return f"{said}docs/install.md says how pip finds the CPU build of PyTorch. Or {leave}"
        return f"{said}There is no wheel of it for that system: {leave}"
    return f"{said}What has come is kept: run it again, with a network."
