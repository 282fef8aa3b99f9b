"""Make one archive from which the course is installed, and runs, without a network.

make bundle                                        for this machine's system and Python
make bundle PLATFORMS="linux macos windows"        for these; on each the same version of Python
make bundle ARGS="--llm --solutions"               also lesson 7's language model; also the answers

In the archive are what is committed, without tests; the packages as wheels; the data and weights; the
site; and an installer. docs/offline.md is the guide. What was made before and still holds is used
again, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `tools` itself is not installed

from course_lib.cached_files import sha256
from course_lib.datasets import sources
from tools import setup_env, weigh

ROOT = Path(__file__).resolve().parent.parent
INSTALLER = ROOT / "tools" / "offline"
TOP = "small-networks-course"  # the folder that the archive unpacks to
NO_USE_THERE = ("tests", "benchmarks", ".ci")
ANSWERS = ("solutions", "docs/instructors.md")  # a class gets them only on request
LINK = re.compile(r"( · )?(?<!!)\[([^\[\]]*)\]\(([^)\s#]+)[^)\s]*\)")
PACKED = {".whl", ".gz", ".png", ".safetensors", ".gguf"}  # compressing these gains next to nothing
SHRINKS = 0.35  # a wheel's bytes for each byte installed: for the estimate of what is left, alone
GROUPS, LEAST = 8, 20e6  # calls of pip, and what each downloads at the least, in bytes
NEWEST = 99  # a bugfix release that no Python has reached: `least_python` says which one is needed


@dataclass(frozen=True)
class Platform:
    """A system that wheels are made for.

    Attributes:
        system, machine: as Python's `platform` names them.
        tags: of the wheels that it takes, as pip names them.
    """

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
        "Linux",
        "x86_64",
        (*(f"manylinux_2_{n}_x86_64" for n in range(28, 4, -1)), "manylinux2014_x86_64"),
    ),
    "macos": Platform("Darwin", "arm64", ("macosx_14_0_arm64",)),
    "windows": Platform("Windows", "AMD64", ("win_amd64",)),
}


def this_python() -> str:
    """The version of the Python that runs this, as in `3.11`."""
    return ".".join(platform.python_version_tuple()[:2])


@dataclass(frozen=True)
class Order:
    """What a bundle is to hold.

    Attributes:
        platforms: names of `PLATFORMS`.
        python: the version of Python in the room, as in `3.11`.
        extras: of pyproject.toml, which are installed there.
        llm, solutions: whether the language model and the answers go into it.
    """

    platforms: tuple[str, ...]
    python: str
    extras: tuple[str, ...] = ("lab",)
    llm: bool = False
    solutions: bool = False


# ------------------------------------------------------------------------------------- the course


def stage(folder: Path, solutions: bool) -> None:
    """Write the course as it is committed: neither a person's notes nor their answers to the labs."""
    git = functools.partial(subprocess.run, cwd=ROOT, stdout=subprocess.PIPE)
    done = git(["git", "archive", "--format=tar", "HEAD"])
    if done.returncode:
        sys.exit("A bundle is made from a git clone of the course: git said why above.")
    left_out = NO_USE_THERE if solutions else NO_USE_THERE + ANSWERS
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        members = [one for one in archive if not is_in(one.name, left_out)]
        archive.extractall(folder, members, filter="data")
    for page in [*folder.glob("*.md"), *folder.glob("docs/*.md")]:
        text = without_dead_links(page.read_text("utf-8"), page.relative_to(folder), left_out)
        page.write_text(text, "utf-8", newline="\n")
    changed = git(["git", "status", "--porcelain", "--untracked-files=no"], text=True).stdout
    if names := [line[3:] for line in changed.splitlines()]:
        print(f"Not in the bundle, because not committed: {', '.join(names[:5])}", end="")
        print(" …" if len(names) > 5 else "", flush=True)


def is_in(name: str, places: Iterable[str]) -> bool:
    """Whether a path is one of these, or lies in one of them."""
    return any(f"{name}/".startswith(f"{place}/") for place in places)


def without_dead_links(text: str, page: Path, left_out: tuple[str, ...]) -> str:
    """A page of Markdown whose links to what is left out are their words alone, or go after a dot.

    >>> without_dead_links("[a](b.md) · [one](../s/1.md), [c](../s/2.md#x)", Path("d/e.md"), ("s",))
    '[a](b.md), c'
    """

    def words(link: re.Match[str]) -> str:
        target = os.path.normpath(page.parent / link[3]).replace(os.sep, "/")
        if not is_in(target, left_out):
            return link[0]
        return "" if link[1] else link[2]

    return LINK.sub(words, text)


def start_site(course: Path, out: Path) -> subprocess.Popen[str] | None:
    """Build the site beside all else; None where it is still the one of this course."""
    note = out.with_name("site.sha256")
    wanted = digest(files_in(course))
    if out.is_dir() and note.is_file() and note.read_text("utf-8") == wanted:
        return None
    note.unlink(missing_ok=True)
    # The staged course builds its own; the note is written by the one who waits for it.
    command = [sys.executable, str(course / "tools" / "build_site.py"), "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(course), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def wait_for_site(process: subprocess.Popen[str] | None, course: Path, out: Path) -> None:
    """Wait until the site is built."""
    if process is None:
        return
    print("The site is built …", flush=True)
    said = process.communicate()[1]
    if process.returncode:
        sys.exit(f"The site could not be built:\n{said}")
    out.with_name("site.sha256").write_text(digest(files_in(course)), "utf-8")


def files_in(folder: Path) -> dict[str, Path]:
    """Path in the folder → file, in order."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in found}


def digest(files: dict[str, Path]) -> str:
    """A checksum of files and their names."""
    return hashlib.sha256(sums(files).encode()).hexdigest()


def sums(files: dict[str, Path]) -> str:
    """A checksum and a name on each line, as `sha256sum --check` takes them."""
    return "".join(f"{sha256(path)}  {name}\n" for name, path in sorted(files.items()))


# ----------------------------------------------------------------------------------- the packages


def packages(order: Order, name: str, folder: Path) -> list[str]:
    """pip's requirement of each package that a platform needs, as far as the wheels there tell.

    They stand in requirements.lock, with their checksums, where it is for that platform. Elsewhere they
    follow from what each package says that it needs there; versions are those of constraints.txt.
    """
    pip = f"pip=={importlib.metadata.version('pip')}"
    if (name, order.python) == ("linux", "3.11"):
        return [*(line.partition("  #")[0] for line in setup_env.locked(*order.extras, "cpu")), pip]
    markers = PLATFORMS[name].markers(order.python)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    start = [*setup_env.wanted(order.extras), *settings["build-system"]["requires"], pip]
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    tested = [Requirement(line) for line in lines if not line.startswith("#")]
    pins = {canonicalize_name(one.name): one.specifier for one in tested}
    found = closure(start, markers, functools.partial(needs, wheels_in(folder)))
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


def get_wheels(order: Order, name: str, folder: Path) -> None:
    """Leave in `folder` the wheels that a platform needs, and no others."""
    folder.mkdir(parents=True, exist_ok=True)
    before: list[str] = []
    while True:
        lines, there = packages(order, name, folder), wheels_in(folder)
        missing = [line for line in lines if not is_there(line, there)]
        if not missing:
            break
        if missing == before:
            sys.exit(f"For {name}, pip brought other packages than: {', '.join(missing)}")
        before = missing
        download(missing, order, name, folder)
    wanted = {canonicalize_name(Requirement(line.partition(" --hash")[0]).name) for line in lines}
    for package, wheel in there.items():
        if package not in wanted:
            wheel.unlink()
    print(f"[OK] {len(lines)} packages for {name}", flush=True)


def download(lines: list[str], order: Order, name: str, folder: Path) -> None:
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
            process = start_pip(group, order.python, PLATFORMS[name], Path(part))
            while not is_over(process):
                now = min(bytes_in(Path(part, "pip")), sum(sizes[line] for line in group))
                print(told(got + now, left - now, time.monotonic() - start), flush=True)
            if process.returncode:
                sys.exit(why_not(Path(part, "log").read_text("utf-8", "replace"), name, order))
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
    lines: list[str], python: str, target: Platform, part: Path
) -> subprocess.Popen[bytes]:
    """Let pip download these packages' wheels to `part`, with its own files and words there, too."""
    (part / "pip").mkdir()
    (part / "wheels").mkdir()
    (part / "requirements.txt").write_text("\n".join(lines) + "\n", "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(part / "wheels"), "-r", str(part / "requirements.txt")]
    if not target.is_here(python):
        command += [
            "--python-version",
            f"{python}.{NEWEST}",
            *(f"--platform={tag}" for tag in target.tags),
        ]
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


def why_not(log: str, name: str, order: Order) -> str:
    """What to say where pip has failed."""
    last = "\n".join(log.strip().splitlines()[-4:])
    said = (
        f"pip could not download the packages for {name}, Python {order.python}. It said:\n{last}\n"
    )
    if "+cpu" in last:
        return f"{said}docs/install.md says how pip finds the CPU build of PyTorch."
    if "No matching distribution" in last:
        return f"{said}There is no wheel of it for that system: leave {name} out of PLATFORMS."
    return f"{said}What has come is kept: run it again."


# ------------------------------------------------------------------------------------ the archive


def data_files(llm: bool) -> dict[str, Path]:
    """Path in the cache → file, for all data and weights that the lessons need; each is verified."""
    keys = [key for key, one in sources.SOURCES.items() if llm or not one.on_request]
    folders = {key: sources.source_folder(key) for key in keys}
    return {
        f"sources/{key}/{file}": folders[key] / file
        for key in keys
        for file in sources.SOURCES[key].files
    }


def installer(order: Order, least: str, folder: Path) -> dict[str, Path]:
    """Write the installer for this bundle, which asks for at least that Python: name → file."""
    folder.mkdir(parents=True, exist_ok=True)
    systems = {name: (PLATFORMS[name].system, PLATFORMS[name].machine) for name in order.platforms}
    words = {
        "@PYTHON@": order.python,
        "@LEAST@": least,
        "@SYSTEMS@": ", ".join(" ".join(found) for found in systems.values()),
    }
    for path in INSTALLER.iterdir():
        if path.is_file():
            text = path.read_text("utf-8")
            for word, value in words.items():
                text = text.replace(word, value)
            for_windows = path.suffix in (".bat", ".txt")
            (folder / path.name).write_text(text, "utf-8", newline="\r\n" if for_windows else "\n")
    (folder / "install.sh").chmod(0o755)
    fetch = ["--llm"] if order.llm else []
    facts = {"least_python": least, "platforms": systems, "extras": order.extras, "fetch": fetch}
    (folder / "bundle.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return files_in(folder)


def below(folder: str, files: dict[str, Path]) -> dict[str, Path]:
    """The same files, in a folder of the archive."""
    return {f"{folder}/{name}": path for name, path in files.items()}


def is_same(out: Path, checksums: str) -> bool:
    """Whether the archive is whole and holds what it would hold now."""
    try:
        with zipfile.ZipFile(out) as archive:
            return archive.read(f"{TOP}/SHA256SUMS") == checksums.encode() and not archive.testzip()
    except (OSError, KeyError, zipfile.BadZipFile):
        return False


def pack(files: dict[str, Path], out: Path) -> None:
    """Write the archive, which gets its name when it is complete."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f"{out.name}.part")
    try:
        with zipfile.ZipFile(part, "w", strict_timestamps=False) as archive:
            for name, path in sorted(files.items()):
                kind = zipfile.ZIP_STORED if path.suffix in PACKED else zipfile.ZIP_DEFLATED
                archive.write(path, f"{TOP}/{name}", kind)
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)


def weight_of(files: dict[str, Path]) -> str:
    """What the parts of an archive weigh, before it is packed."""
    parts: dict[str, float] = {}
    for name, path in files.items():
        folders = PurePosixPath(name).parts[:-1]
        part = " for ".join(folders[:2]) if folders[:1] == ("wheels",) else "".join(folders[:1])
        parts[part] = parts.get(part, 0) + path.stat().st_size / 1e6
    return ", ".join(f"{part} {size:.0f} MB" for part, size in sorted(parts.items()) if part)


def make(order: Order, out: Path, work: Path) -> None:
    """Make the archive `out`, with what can be used again in `work`."""
    work.mkdir(parents=True, exist_ok=True)
    course, site = work / "course", work / "site"
    stage(course, order.solutions)
    process = start_site(course, site)  # takes a minute; packages come meanwhile
    try:
        data = data_files(order.llm)
        for name in order.platforms:
            get_wheels(order, name, work / "wheels" / name)
        wait_for_site(process, course, site)
    finally:
        if process and process.poll() is None:  # so that it takes its own program and files along
            process.send_signal(signal.SIGINT) if os.name == "posix" else process.kill()
    files = below("course", files_in(course)) | below("site", files_in(site)) | below("data", data)
    for name in order.platforms:
        files |= below(f"wheels/{name}", files_in(work / "wheels" / name))
    wheels = [path for path in files.values() if path.suffix == ".whl"]
    files |= installer(order, least_python(order.python, wheels), work / "installer")
    checksums = work / "SHA256SUMS"
    checksums.write_text(sums(files), "utf-8", newline="\n")
    if is_same(out, checksums.read_text("utf-8")):
        print("Nothing has changed.")
    else:
        print("The archive is written …", flush=True)
        pack(files | {"SHA256SUMS": checksums}, out)
    print(f"{out}: {size_of(out) / 1e6:,.0f} MB ({weight_of(files)})")


def size_of(path: Path) -> int:
    """Bytes of a file."""
    return path.stat().st_size


def main(arguments: list[str] | None = None) -> None:
    """Make a bundle as the command line asks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = [name for name, one in PLATFORMS.items() if one.is_here(this_python())]
    parser.add_argument("--platforms", nargs="+", choices=PLATFORMS, default=here)
    parser.add_argument("--python", default=this_python(), help="the version of Python there")
    parser.add_argument("--llm", action="store_true", help="with lesson 7's language model")
    parser.add_argument(
        "--solutions", action="store_true", help="for instructors: with all answers"
    )
    parser.add_argument("--out", type=Path, help="the archive (default: in dist/)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bundle")
    given = parser.parse_args(arguments)
    if not given.platforms:
        parser.error(
            f"say for which platforms: PLATFORMS={next(iter(PLATFORMS))} (this is none of them)"
        )
    if not re.fullmatch(r"3\.\d+", given.python) or int(given.python[2:]) < 11:
        parser.error(
            f"--python is {given.python}: the course needs 3.11 or newer, written as 3.11."
        )
    extras = ("lab", *["llm"] * given.llm, *["grading"] * given.solutions)
    order = Order(tuple(given.platforms), given.python, extras, given.llm, given.solutions)
    kind = "with-solutions" if given.solutions else "bundle"
    out = given.out or ROOT / "dist" / f"{TOP}-{kind}.zip"
    try:
        make(order, out.absolute(), given.work.absolute())
    except (OSError, ValueError) as error:  # no network, a full disk, damaged data
        sys.exit(f"The bundle was not made: {error}. What has come is kept: run it again.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell reports Ctrl-C
