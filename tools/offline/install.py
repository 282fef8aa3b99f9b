"""Install the course from this folder, without a network: python install.py [FOLDER]

It compares every checksum, copies the course to FOLDER (default: small-networks-course in your home),
installs the packages in a virtual environment there, and puts the data into the course's cache. Run
twice, it changes nothing. It needs the standard library alone; install.sh and install.bat call it.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Says that this folder is from a bundle, so that an interrupted installation may go on in it.
NOTE = ".bundle"


def main(arguments):
    """Install; end with a sentence where that cannot be."""
    bundle = json.loads((HERE / "bundle.json").read_text("utf-8"))
    given = arguments[0] if arguments else Path.home() / "small-networks-course"
    folder = Path(os.path.abspath(os.path.expanduser(str(given))))
    name = platform_here(bundle)
    files = checked(name)
    try:
        copy_course(files, folder)
        environment = offline(name)
        python = set_up(bundle, folder, environment)
        fill_cache(bundle, files, folder, python, environment)
    except OSError as error:  # a full or a read-only disk
        sys.exit(f"The installation stopped: {error}. What is there stays: run it again.")
    said = f'    cd "{folder}"\n    {os.path.join(*python.parts[-3:])} -m course_lib lab'
    print(f"\nReady. This opens the course, today and later:\n{said}")
    print(f"Its pages, for a browser alone: {folder / 'site' / 'index.html'}")


def platform_here(bundle):
    """The bundle's name of this platform; the program ends where it has no packages for it."""
    least = [int(part) for part in bundle["least_python"].split(".")]
    here = (platform.system(), platform.machine())
    names = [name for name, found in bundle["platforms"].items() if tuple(found) == here]
    bits = 64 if sys.maxsize > 2**32 else 32
    python = list(sys.version_info[:3])
    fits = python[:2] == least[:2] and python >= least and bits == 64
    if names and fits:
        return names[0]
    systems = ", ".join(" ".join(found) for found in bundle["platforms"].values())
    wanted = f"Python {least[0]}.{least[1]} ({bundle['least_python']} or newer)"
    sys.exit(
        f"This bundle is for {wanted}, 64 bit, on {systems}. Here is Python "
        f"{platform.python_version()}, {bits} bit, on {' '.join(here)}. Either install such a Python "
        "here, or make a bundle for this machine where there is a network: docs/offline.md in the "
        "folder course says how."
    )


def checked(name):
    """What belongs on this platform: path in the bundle → checksum; each file is compared first."""
    rows = (HERE / "SHA256SUMS").read_text("utf-8").splitlines()
    listed = {path: checksum for checksum, path in (row.split("  ", 1) for row in rows)}
    wheels = f"wheels/{name}/"
    files = {k: v for k, v in listed.items() if not k.startswith("wheels/") or k.startswith(wheels)}
    print(f"Comparing the checksums of {len(files):,} files …", flush=True)
    faults = []
    for path, checksum in files.items():
        file = HERE / path
        if not file.is_file():
            faults.append(f"{path} is missing")
        elif sha256(file) != checksum:
            faults.append(f"{path} is damaged")
    strange = {f"{wheels}{file.name}" for file in (HERE / wheels).glob("*")} - set(files)
    faults += [f"{path} does not belong here" for path in sorted(strange)]
    if faults:
        sys.exit(
            f"This copy of the bundle is not whole: {'; '.join(faults[:5])}"
            f"{' …' if len(faults) > 5 else ''}. Unpack the archive again, or copy it again."
        )
    return files


def sha256(path):
    """SHA-256 of a file, in hexadecimal digits."""
    found = hashlib.sha256()
    with open(str(path), "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            found.update(block)
    return found.hexdigest()


def copy_course(files, folder):
    """Copy the course and its site into `folder`. What is there and differs is a learner's work."""
    there = os.path.lexists(str(folder)) and not (folder / NOTE).is_file()
    if there and not (folder.is_dir() and not any(folder.iterdir())):
        sys.exit(
            f"{folder} holds something else, so it stays as it is. Name another folder: "
            "sh install.sh FOLDER (on Windows: install.bat FOLDER)."
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NOTE).touch()
    kept = []
    for path, checksum in files.items():
        room, _, rest = path.partition("/")
        if room not in ("course", "site"):
            continue
        target = folder / rest if room == "course" else folder / path
        if not os.path.lexists(str(target)):
            copy(HERE / path, target)
        elif not target.is_file() or sha256(target) != checksum:
            kept.append(str(target.relative_to(folder)))
    if kept:
        print(f"{len(kept)} files in {folder} were changed and stay so: {', '.join(kept[:5])}")


def copy(source, target):
    """Copy a file, so that half a one never lies there. The copy may be written to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    shutil.copyfile(str(source), str(part))
    os.replace(str(part), str(target))


def offline(name):
    """The environment for programs: pip takes packages from the bundle alone, whatever is set here."""
    mine = {k: v for k, v in os.environ.items() if not k.upper().startswith(("PIP_", "PYTHON"))}
    return {
        **mine,
        "PYTHONUTF8": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": (HERE / "wheels" / name).as_uri(),  # as a path, a space would end it
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def set_up(bundle, folder, environment):
    """Make the virtual environment as `make lab` does; its Python."""
    print(f"Installing packages in {folder} …", flush=True)
    script = str(folder / "tools" / "setup_env.py")
    command = [sys.executable, script, ".venv", *bundle["extras"]]
    run(command, folder, environment, "The packages were not installed; it said why above.")
    return folder / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fill_cache(bundle, files, folder, python, environment):
    """Put the data where the lessons look for them, and have the course verify them."""
    code = "from course_lib import cache; print(cache.cache_dir())"
    said = subprocess.run(
        [str(python), "-c", code], cwd=str(folder), env=environment, stdout=subprocess.PIPE
    )
    if said.returncode:
        sys.exit("The course has no folder for its data; it said why above.")
    cache = Path(said.stdout.decode("utf-8").strip())
    for path, checksum in files.items():
        target = cache / path.partition("/")[2]
        if path.startswith("data/") and not (target.is_file() and sha256(target) == checksum):
            copy(HERE / path, target)
    command = [str(python), "-m", "course_lib", "fetch", *bundle["fetch"]]
    run(command, folder, environment, "The data are not whole; it said why above.")


def run(command, folder, environment, otherwise):
    """Run a program; this one ends with a sentence where that fails."""
    if subprocess.run(command, cwd=str(folder), env=environment).returncode:
        sys.exit(otherwise)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell reports Ctrl-C
