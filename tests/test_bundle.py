"""A bundle installs and runs without a network, and holds what it should.

The whole of it runs where BUNDLE is set: it takes minutes and gigabytes.
"""

from __future__ import annotations

import doctest
import functools
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # tools/ is not installed

from tools import bundle, wheels  # noqa: E402

PAGE = (ROOT / "docs" / "offline.md").read_text("utf-8")
LAB = ("lab",)
NEEDED = 8e9  # bytes: the wheels, the archive, its unpacked files and an installation
# A row of the page's table of sizes: the system's name in the first cell, MB in the second.
SIZE = re.compile(r"^\| `?(all three|linux|macos|windows)`?[^|]*\| ([\d,]+) MB ", re.MULTILINE)
# A room without a network still has the loopback, over which Jupyter talks to its kernels.
ALONE = """
import fcntl, os, socket, struct, sys
with socket.socket() as one:
    fcntl.ioctl(one, 0x8914, struct.pack("16sH22x", b"lo", 0x41))  # SIOCSIFFLAGS: up, running
    try:
        one.connect(("192.0.2.1", 80))
    except OSError as error:
        assert "unreachable" in str(error), error
    else:
        sys.exit("there is a network")
os.execvp(sys.argv[1], sys.argv[1:])
"""
SERVER = """
import json, subprocess, sys, time, urllib.request
lab = [sys.executable, "-m", "course_lib", "lab", "--no-browser", "--IdentityProvider.token="]
process = subprocess.Popen([*lab, "--port=8917"])
try:
    for _ in range(120):
        time.sleep(0.5)
        try:
            with urllib.request.urlopen("http://127.0.0.1:8917/lab/tree/README.md") as page:
                print("The lab says:", "JupyterLab" in page.read().decode())
                break
        except OSError:
            continue
finally:
    process.terminate()
    process.wait()
"""


@pytest.mark.parametrize("tool", [bundle, wheels], ids=lambda tool: tool.__name__)
def test_the_examples_hold(tool):
    assert doctest.testmod(tool) == doctest.TestResults(0, doctest.testmod(tool).attempted)


# ------------------------------------------------------------------------- what goes into it


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git clone")
@pytest.mark.parametrize("solutions", [False, True])
def test_a_class_gets_no_solutions_unless_asked(tmp_path, solutions, capsys):
    bundle.stage(tmp_path / "course", solutions)
    there = set(bundle.files_in(tmp_path / "course"))
    assert {"Makefile", "requirements.lock", "exercises/01_pruning_basics.ipynb"} <= there
    assert not [name for name in there if name.startswith(("tests/", ".ci/", "build/", ".venv"))]
    assert any(name.startswith("solutions/") for name in there) is solutions
    assert ("docs/instructors.md" in there) is solutions
    readme = (tmp_path / "course" / "README.md").read_text("utf-8")
    assert ("(solutions/01_pruning_basics.ipynb)" in readme) is solutions
    assert "[exercises](exercises/01_pruning_basics.ipynb)" in readme


def test_a_persons_files_and_answers_stay_out(tmp_path, monkeypatch, capsys):
    """A teacher who has solved a lab in place would otherwise hand the answers out."""
    clone = tmp_path / "clone"
    (clone / "exercises").mkdir(parents=True)
    lab = clone / "exercises" / "01.ipynb"
    lab.write_text("empty")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(clone)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"]):
        subprocess.run([*git, *words], check=True)
    lab.write_text("solved")
    (clone / "grades.csv").write_text("Ann, 3")
    monkeypatch.setattr(bundle, "ROOT", clone)
    bundle.stage(tmp_path / "course", solutions=True)
    files = bundle.files_in(tmp_path / "course")
    assert [path.read_text() for path in files.values()] == ["empty"]
    assert "because not committed: exercises/01.ipynb" in capsys.readouterr().out


def test_outside_of_a_clone_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(SystemExit, match="from a git clone of the course"):
        bundle.stage(tmp_path / "course", solutions=False)


def test_the_lock_says_what_is_needed_where_it_holds(tmp_path):
    lines = wheels.packages("linux", "3.11", LAB, tmp_path)
    names = {wheels.package_of(line) for line in lines}
    assert {"torch", "jupyterlab", "papermill", "setuptools", "pip"} <= names
    assert not {"triton", "sphinx", "nbgrader", "mypy", "gguf"} & names
    assert [line for line in lines if "--hash=sha256:" not in line] == [
        line for line in lines if line.startswith("pip==")
    ]
    for_teachers = wheels.packages("linux", "3.11", ("lab", "grading", "llm"), tmp_path)
    more = {wheels.package_of(line) for line in for_teachers}
    assert {"nbgrader", "gguf"} <= more


@pytest.mark.parametrize(
    ("name", "there", "not_there"),
    [
        (
            "windows",
            {"pywinpty", "colorama", "torch", "setuptools"},
            {"appnope", "pexpect", "triton"},
        ),
        (
            "macos",
            {"appnope", "pexpect", "torch", "setuptools"},
            {"pywinpty", "colorama", "triton"},
        ),
    ],
)
def test_elsewhere_conditions_are_those_of_the_platform(tmp_path, name, there, not_there):
    """pip would take those of the machine on which it runs."""
    lines = wheels.packages(name, "3.11", LAB, tmp_path)
    names = {wheels.package_of(line) for line in lines}
    assert there <= names and not not_there & names
    assert "torch==2.13.0" in lines


def test_what_packages_say_that_they_need_is_what_the_lock_has():
    """The way of the other platforms, taken for Linux."""
    start = [*wheels.setup_env.wanted(["lab"]), "setuptools", "pip"]
    needs = functools.partial(wheels.needs, {})
    found = wheels.closure(start, wheels.PLATFORMS["linux"].markers("3.11"), needs)
    lines = wheels.packages("linux", "3.11", LAB, ROOT)
    assert set(found) == {wheels.package_of(line) for line in lines}


def wheel(folder: Path, name: str, *needs: str, version: str = "99.0", python: str = "") -> Path:
    """A wheel of nothing, which says what it needs."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    notes = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        lines += [f"Requires-Python: {python}"] * bool(python)
        text = "\n".join(lines + [f"Requires-Dist: {need}" for need in needs])
        archive.writestr(f"{notes}/METADATA", text)
        archive.writestr(f"{notes}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{notes}/RECORD", "")
    return path


@pytest.fixture
def index(empty_index, monkeypatch):
    """pip finds the wheels in this folder alone, and the course needs the package `one`."""
    wheel(empty_index, "pip", version=importlib.metadata.version("pip"))
    wheel(empty_index, "setuptools")
    monkeypatch.setattr(wheels.setup_env, "wanted", lambda extras: ["one"])
    return empty_index


def test_a_wheel_for_another_platform_may_need_more_than_it_does_here(index, tmp_path, capsys):
    wheel(index, "one", "two; sys_platform == 'win32'", "three; sys_platform == 'linux'")
    wheel(index, "two")
    folder = tmp_path / "wheels" / "windows"
    wheel(folder, "old")
    wheels.get_wheels("windows", "3.11", LAB, folder)
    assert set(wheels.wheels_in(folder)) == {"one", "two", "pip", "setuptools"}
    assert list(folder.parent.iterdir()) == [folder], "nothing half-made is left"
    assert "To download for windows: 3 packages, about" in capsys.readouterr().out
    wheels.get_wheels("windows", "3.11", LAB, folder)
    assert capsys.readouterr().out == "[OK] 4 packages for windows\n"


def test_what_cannot_be_had_is_said(index, tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)for one.*leave windows out of PLATFORMS: make"):
        wheels.get_wheels("windows", "3.11", LAB, tmp_path / "wheels" / "windows")
    for cut_off in ("", "Retrying (Retry(total=1, connect=None"):
        log = f"{cut_off}\nERROR: No matching distribution found for torch==2.13.0+cpu"
        said = wheels.why_not(log, "linux", "3.11")
        assert ("docs/install.md says how" in said) is not bool(cut_off)
        assert ("with a network" in said) is bool(cut_off)


def test_a_damaged_wheel_is_downloaded_again(index, tmp_path, monkeypatch):
    good = wheel(index, "one")
    lines = [f"one==99.0 --hash=sha256:{bundle.sha256(good)}"]
    monkeypatch.setattr(wheels, "packages", lambda *given: lines)
    there = wheel(tmp_path / "linux", "one", "another")
    wheels.get_wheels("linux", "3.11", LAB, tmp_path / "linux")
    assert there.read_bytes() == good.read_bytes()


def test_a_half_made_archive_never_has_the_name_of_a_whole_one(tmp_path, monkeypatch):
    out, file = tmp_path / "dist" / "a.zip", tmp_path / "file.gz"
    sums = tmp_path / "sums"
    sums.write_text("first")
    file.write_text("some words")
    bundle.pack({"file.gz": file, "SHA256SUMS": sums}, out)
    assert bundle.is_same(out, "first") and not bundle.is_same(out, "second")
    before = out.read_bytes()
    with pytest.raises(FileNotFoundError):
        bundle.pack({"file.gz": file, "gone": tmp_path / "gone"}, out)
    assert [path.name for path in out.parent.iterdir()] == ["a.zip"] and out.read_bytes() == before
    out.write_bytes(before.replace(b"some words", b"same words"))
    assert not bundle.is_same(out, "first"), "a damaged one is not kept"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--platforms", "amiga"], "invalid choice: 'amiga'"),
        (["--python", "3.10"], "needs 3.11 or newer"),
        (["--python", "three"], "needs 3.11 or newer"),
    ],
)
def test_a_command_that_cannot_be_followed_is_refused(words, said, capsys):
    with pytest.raises(SystemExit):
        bundle.main(words)
    assert said in capsys.readouterr().err


def test_without_a_network_or_space_there_is_a_sentence(monkeypatch, tmp_path):
    def full(*_given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "make", full)
    with pytest.raises(SystemExit, match=r"No space left on device.*run it again"):
        bundle.main(["--platforms", "linux"])


def test_without_a_word_it_is_for_all_three_systems(monkeypatch):
    made = []
    monkeypatch.setattr(bundle, "make", lambda order, out, work: made.append(order.platforms))
    bundle.main([])
    assert made == [("linux", "macos", "windows")]


def test_an_archive_with_solutions_has_another_name(monkeypatch):
    made = []
    monkeypatch.setattr(bundle, "make", lambda order, out, work: made.append((order, out.name)))
    for words in ([], ["--solutions", "--llm"]):
        bundle.main(["--platforms", "linux", *words])
    (plain, name), (full, other) = made
    assert plain.extras == ("lab",) and not plain.solutions and "with-solutions" not in name
    assert full.extras == ("lab", "llm", "grading") and "with-solutions" in other


# ------------------------------------------------------------------------------ the installer


@pytest.fixture
def room(tmp_path) -> Path:
    """A small bundle, unpacked."""
    folder = tmp_path / "the stick"
    order = bundle.Order(("linux", "windows"), wheels.this_python())
    bundle.installer(order, f"{wheels.this_python()}.0", folder)
    for name in ("course/README.md", "course/docs/a.md", "site/index.html", "data/sources/x/y.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    wheel(folder / "wheels" / "linux", "one")
    wheel(folder / "wheels" / "windows", "one")
    (folder / "SHA256SUMS").write_text(bundle.sums(bundle.files_in(folder)))
    return folder


def program(room: Path) -> ModuleType:
    """install.py of a bundle, imported."""
    spec = importlib.util.spec_from_file_location("install", room / "install.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_installer_is_for_this_bundle(room):
    for path in room.iterdir():
        assert path.is_dir() or not re.search("@[A-Z]+@", path.read_text("utf-8"))
    assert f"Python {wheels.this_python()} ({wheels.this_python()}.0 or newer, 64 bit)" in (
        room / "INSTALL.txt"
    ).read_text("utf-8")
    assert b"\r\n" in (room / "install.bat").read_bytes() and os.access(
        room / "install.sh", os.X_OK
    )
    subprocess.run(["sh", "-n", str(room / "install.sh")], check=True)
    facts = json.loads((room / "bundle.json").read_text("utf-8"))
    assert facts["platforms"] == {"linux": ["Linux", "x86_64"], "windows": ["Windows", "AMD64"]}


def test_without_the_right_python_it_says_which(room, tmp_path):
    (tmp_path / "dirname").symlink_to(shutil.which("dirname") or "dirname")
    sh = shutil.which("sh") or "sh"
    command = [sh, str(room / "install.sh")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1 and f"Python {wheels.this_python()} was not found" in done.stderr


NOW = sys.version_info
PYTHONS = {"a": ">=3.9", "b": ">=3.11.5", "c": "", "d": ">=3.8,!=3.11.4"}


@pytest.mark.parametrize(
    ("system", "python"),
    [("Darwin", NOW[:3]), ("Linux", (3, 9, 9)), ("Linux", (3, 99, 9)), ("Linux", (*NOW[:2], 4))],
)
def test_another_platform_is_refused(room, monkeypatch, system, python):
    install = program(room)
    facts = json.loads((room / "bundle.json").read_text("utf-8"))
    facts["least_python"] = f"{wheels.this_python()}.5"
    monkeypatch.setattr(install.platform, "system", lambda: system)
    monkeypatch.setattr(install.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(install.sys, "version_info", python)
    with pytest.raises(SystemExit, match=r"\.5 or newer\).*Linux x86_64, Windows AMD64\. Here is"):
        install.platform_here(facts)
    monkeypatch.setattr(install.platform, "system", lambda: "Linux")
    monkeypatch.setattr(install.sys, "version_info", (*NOW[:2], 5))
    assert install.platform_here(facts) == "linux"


def test_the_least_python_is_what_the_wheels_ask_for(tmp_path):
    """Python 3.11.2 was refused by one package in a hundred and sixty."""
    packages = [wheel(tmp_path, name, python=asked) for name, asked in PYTHONS.items()]
    assert wheels.least_python("3.11", packages) == "3.11.5"
    assert wheels.least_python("3.12", packages) == "3.12.0"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda room: (room / "course" / "README.md").unlink(), r"course/README\.md is missing"),
        (lambda room: (room / "install.bat").write_text("x"), r"install\.bat is damaged"),
        (lambda room: wheel(room / "wheels" / "linux", "bad"), r"bad-99\.0\S+ does not belong"),
    ],
)
def test_a_bundle_that_is_not_whole_is_refused(room, damage, said):
    damage(room)
    with pytest.raises(SystemExit, match=f"is not whole: .*{said}.*again"):
        program(room).checked("linux")


def test_other_platforms_wheels_may_be_left_behind(room):
    """A stick may be too small for all of them."""
    shutil.rmtree(room / "wheels" / "windows")
    assert "wheels/linux/one-99.0-py3-none-any.whl" in program(room).checked("linux")


def test_what_a_learner_has_written_stays(room, tmp_path, capsys):
    install, folder = program(room), tmp_path / "my course"
    files = install.checked("linux")
    for _ in range(2):
        install.copy_course(files, folder)
        assert (folder / "site" / "index.html").read_text() == "site/index.html"
        (folder / "README.md").write_text("my notes")
    assert (folder / "README.md").read_text() == "my notes"
    assert "1 files in" in (said := capsys.readouterr().out) and "stay so: README.md" in said
    assert not (folder / "wheels").exists() and not list(folder.rglob("*.part"))


@pytest.mark.parametrize("what", ["a file", "a folder"])
def test_a_folder_that_is_not_the_courses_stays_as_it_is(room, tmp_path, what):
    there = tmp_path / "thesis"
    if what == "a folder":
        there.mkdir()
    (there / "a.txt" if what == "a folder" else there).write_text("years of work")
    install = program(room)
    with pytest.raises(SystemExit, match="holds something else, so it stays as it is"):
        install.copy_course(install.checked("linux"), there)


def test_pip_asks_nothing_but_the_bundle(room, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://example.org")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    found = program(room).offline("linux")
    assert "PIP_INDEX_URL" not in found and "PYTHONPATH" not in found
    assert found["PIP_NO_INDEX"] == "1" and " " not in found["PIP_FIND_LINKS"]


# -------------------------------------------------------------------------- the page, and all of it


def test_the_page_and_make_say_the_same():
    done = subprocess.run(
        ["make", "--dry-run", "bundle", "PLATFORMS=linux macos", "ARGS=--llm"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"tools/bundle\.py --platforms linux macos --llm$", done.stdout, re.MULTILINE)
    options = set(re.findall(r"--[a-z]+", PAGE))
    assert {"--llm", "--solutions", "--python"} <= options
    source = (ROOT / "tools" / "bundle.py").read_text("utf-8")
    assert options <= set(re.findall(r'add_argument\(\s*"(--[a-z]+)"', source))


def cut_off() -> list[str]:
    """What runs a program without a network."""
    return ["unshare", "--net"] + ([] if os.geteuid() == 0 else ["--map-root-user"])


def alone(*command: object, folder: Path, **environment: str) -> str:
    """What a program says that runs without a network, in a home of its own."""
    own = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(
        [*cut_off(), sys.executable, "-c", ALONE, *map(str, command)],
        cwd=folder,
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture
def disk(tmp_path):
    """A folder for gigabytes, which do not stay."""
    yield tmp_path
    for path in tmp_path.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def sizes(archive: zipfile.ZipFile) -> dict[str, float]:
    """MB of the archive, and of one for each system alone, by that system's name."""
    all_of_it, wheels_of = 0.0, dict.fromkeys(wheels.PLATFORMS, 0.0)
    for one in archive.infolist():
        all_of_it += one.compress_size / 1e6
        _, kind, *rest = one.filename.split("/")
        if kind == "wheels":
            wheels_of[rest[0]] += one.compress_size / 1e6
    rest = all_of_it - sum(wheels_of.values())
    return {"all three": all_of_it} | {name: rest + size for name, size in wheels_of.items()}


def assert_complete(name: str, folder: Path) -> None:
    """pip finds in this folder all that the course needs on a system, and what that needs in turn."""
    there = wheels.wheels_in(folder)

    def needs(package: str) -> list[str]:
        assert package in there, f"{name} has no wheel of {package}"
        return wheels.metadata_of(there[package]).get_all("Requires-Dist") or []

    start = [*wheels.setup_env.wanted(LAB), "setuptools", "pip"]
    markers = wheels.PLATFORMS[name].markers(wheels.this_python())
    for package, wanted in wheels.closure(start, markers, needs).items():
        version = wheels.parse_wheel_filename(there[package].name)[1]
        assert wanted.specifier.contains(version, prereleases=True), f"{name}: {wanted}, {version}"


@pytest.mark.skipif("BUNDLE" not in os.environ, reason="minutes and gigabytes: set BUNDLE=1")
@pytest.mark.timeout(1200)
def test_a_bundle_installs_and_runs_without_a_network(disk):
    """A teacher's way, from `make bundle` to a lesson, on a machine that has only Python."""
    if subprocess.run([*cut_off(), "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this system lets nobody cut a program off the network (unshare --net)")
    assert shutil.disk_usage(disk).free > NEEDED, f"{disk} has less than {NEEDED / 1e9:.0f} GB"
    out = disk / "bundle.zip"
    command = [sys.executable, "tools/bundle.py", "--out", str(out), "--work", str(disk / "work")]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    size = out.stat().st_size / 1e6
    print(said.stdout)
    assert f"bundle.zip: {size:,.0f} MB (" in said.stdout

    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "Nothing has changed." in again
    assert "To download" not in again and "The site is built" not in again

    with zipfile.ZipFile(out) as archive:
        names, found = archive.namelist(), sizes(archive)
        archive.extractall(disk / "a stick")
    stated = {name: float(mb.replace(",", "")) for name, mb in SIZE.findall(PAGE)}
    assert stated == pytest.approx(found, rel=0.1), "docs/offline.md states other sizes"
    out.unlink()
    shutil.rmtree(disk / "work")
    for name in wheels.PLATFORMS:
        assert_complete(name, disk / "a stick" / bundle.TOP / "wheels" / name)
    assert not [name for name in names if re.search(r"solutions/|instructors\.", name)]
    assert f"{bundle.TOP}/site/notebooks/01_pruning_basics.html" in names

    stick, folder, home = disk / "a stick" / bundle.TOP, disk / "the course", disk / "home"
    home.mkdir()
    mine = {"HOME": str(home), "PYTHON": sys._base_executable}
    install = ("sh", stick / "install.sh", folder)
    said = alone(*install, folder=home, **mine)
    assert "Ready. This opens the course" in said
    python = folder / ".venv" / "bin" / "python"
    assert (home / ".cache/small-networks-course/sources/minilm/model.safetensors").is_file()
    said = alone(*install, folder=home, **mine)
    assert "Ready." in said and "stay so" not in said and "Collecting" not in said

    shutil.rmtree(stick)  # the course needs it no longer
    lesson = ("notebooks/01_pruning_basics.ipynb", home / "out.ipynb", "--cwd", "notebooks")
    alone(python, "-m", "papermill", *lesson, "-p", "profile", "quick", folder=folder, **mine)
    ran = nbformat.read(home / "out.ipynb", as_version=4)
    cells = [cell for cell in ran.cells if cell.cell_type == "code" and cell.source.strip()]
    assert all(cell.execution_count for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert "course_lib" in str(cells[0].outputs)
    assert "The lab says: True" in alone(python, "-c", SERVER, folder=folder, **mine)
