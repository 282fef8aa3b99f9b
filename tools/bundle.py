"""Make one archive from which the course is installed, and runs, without a network.

make bundle                                        for Linux, macOS and Windows, and this Python
make bundle PLATFORMS=windows                      for this one alone; several stand in quotes
make bundle ARGS="--llm --solutions"               also lesson 7's language model; also the answers

In the archive are what is committed, without tests; the packages as wheels; the data and weights; the
site; and an installer. docs/offline.md is the guide. What was made before and still holds is used
again, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `tools` itself is not installed

from course_lib.cached_files import sha256
from course_lib.datasets import sources
from tools import wheels
from tools.wheels import PLATFORMS, this_python

ROOT = Path(__file__).resolve().parent.parent
INSTALLER = ROOT / "tools" / "offline"
TOP = "small-networks-course"  # the folder that the archive unpacks to
NO_USE_THERE = ("tests", "benchmarks", ".ci")
ANSWERS = ("solutions", "docs/instructors.md")  # a class gets them only on request
LINK = re.compile(r"( · )?(?<!!)\[([^\[\]]*)\]\(([^)\s#]+)[^)\s]*\)")
PACKED = {".whl", ".gz", ".png", ".safetensors", ".gguf"}  # compressing these gains next to nothing


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
    command = ["git", "archive", "--format=tar", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE)
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
    command = ["git", "status", "--porcelain", "--untracked-files=no"]
    changed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE).stdout.decode()
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
    targets = {name: PLATFORMS[name] for name in order.platforms}
    words = {
        "@PYTHON@": order.python,
        "@LEAST@": least,
        "@SYSTEMS@": ", ".join(target.words for target in targets.values()),
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
    systems = {name: (target.system, target.machine) for name, target in targets.items()}
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
            wheels.get_wheels(name, order.python, order.extras, work / "wheels" / name)
        wait_for_site(process, course, site)
    finally:
        if process and process.poll() is None:  # so that it takes its own program and files along
            process.send_signal(signal.SIGINT) if os.name == "posix" else process.kill()
    files = below("course", files_in(course)) | below("site", files_in(site)) | below("data", data)
    for name in order.platforms:
        files |= below(f"wheels/{name}", files_in(work / "wheels" / name))
    packages = [path for path in files.values() if path.suffix == ".whl"]
    files |= installer(order, wheels.least_python(order.python, packages), work / "installer")
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
    parser.add_argument("--platforms", nargs="+", choices=PLATFORMS, default=list(PLATFORMS))
    parser.add_argument("--python", default=this_python(), help="the version of Python there")
    parser.add_argument("--llm", action="store_true", help="with lesson 7's language model")
    parser.add_argument(
        "--solutions", action="store_true", help="for instructors: with all answers"
    )
    parser.add_argument("--out", type=Path, help="the archive (default: in dist/)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bundle")
    given = parser.parse_args(arguments)
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
