"""The set-up survives Ctrl-C, a second `make`, a lost network and odd folders.

pip is a stand-in: it notes what it was asked for, and answers as the test wants.
"""

from __future__ import annotations

import ast
import errno
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.reliability
ROOT = Path(__file__).parents[2]
OLD = (3, 8)

# In place of pip, in the stand-in for `python -m venv`: a Python that only notes pip's arguments.
STAND_IN = """#!{python}
import os, sys, time
folder = os.path.dirname(os.path.abspath(__file__))
words = sys.argv[1:]
if words[0] == "-c":
    sys.exit(0)
if "--help" in words:
    sys.exit(os.path.exists(folder + "/broken"))
if "ensurepip" in words and os.path.exists(folder + "/no-pip"):
    os.rename(folder + "/no-pip", folder + "/pip")
    os.unlink(folder + "/broken")
with open(folder + "/../../calls", "a") as calls:
    calls.write(" ".join(words) + chr(10))
if os.environ.get("PIP_HANGS", "nothing") in " ".join(words):
    time.sleep(60)
time.sleep(float(os.environ.get("PIP_TAKES", 0)))
failing = os.environ.get("PIP_FAILS", "nothing")
sys.exit(failing in " ".join(words))
"""


@pytest.fixture
def course(tmp_path):
    """A checkout with the set-up alone, in a folder with a space; what it is asked for is in calls."""
    folder = tmp_path / "the course"
    (folder / "tools").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    script = (ROOT / "tools" / "setup_env.py").read_text("utf-8")
    (folder / "tools" / "setup_env.py").write_text(script, "utf-8")
    (folder / "course_lib").mkdir()
    (folder / "course_lib" / "__main__.py").write_text("print('started')\n", "utf-8")
    stand_in = folder / "stand-in"
    stand_in.write_text(STAND_IN.format(python=sys.executable), "utf-8")
    stand_in.chmod(0o755)
    # `python -m venv FOLDER` makes the stand-in's environment; all else is Python itself.
    python = folder / "python"
    python.write_text(
        f"""#!{sys.executable}
import os, pathlib, runpy, shutil, subprocess, sys
run = subprocess.run
def without_venv(command, **settings):
    if command[1:3] == ["-m", "venv"]:
        bin = pathlib.Path(command[3], "bin")
        bin.mkdir(parents=True)
        bin.with_name("pyvenv.cfg").touch()
        shutil.copy({str(stand_in)!r}, bin / "python")
        with open({str(folder / "calls")!r}, "a") as calls:
            calls.write("venv" + chr(10))
        return run(["true"])
    return run(command, **settings)
subprocess.run = without_venv
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
""",
        "utf-8",
    )
    python.chmod(0o755)
    return folder


def set_up(course, venv=".venv", *extras, **environment):
    """Run the set-up; its exit code, what it said and what pip was asked for."""
    calls = course / "calls"
    calls.unlink(missing_ok=True)
    done = subprocess.run(
        [str(course / "python"), "tools/setup_env.py", str(venv), *(extras or ("lab",))],
        cwd=course,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    asked = calls.read_text().splitlines() if calls.exists() else []
    return done.returncode, done.stdout + done.stderr, asked


def test_a_first_start_makes_the_environment_and_a_second_asks_pip_for_nothing(course):
    code, said, asked = set_up(course)
    assert code == 0, said
    assert asked[0] == "venv"
    assert [("--upgrade pip" in asked[1]), asked[-1].endswith(f"-e {course}")] == [True, True]
    assert "--no-deps" in asked[-1]
    assert set_up(course) == (0, "", [])


def test_after_a_pull_a_newer_date_with_the_same_content_asks_pip_for_nothing(course):
    """Before, the date counted, and `make lab` did not start without a network."""
    set_up(course)
    for name in ("pyproject.toml", "constraints.txt", "requirements.lock"):
        os.utime(course / name, (time.time() + 100,) * 2)
    assert set_up(course, PIP_FAILS="install") == (0, "", [])


def test_other_content_without_a_network_starts_with_what_is_installed(course):
    set_up(course)
    with (course / "constraints.txt").open("a") as file:
        file.write("# something new\n")
    # pip finds no index, and finds all that pyproject.toml asks for installed.
    code, said, asked = set_up(course, PIP_FAILS="requirements.txt")
    assert code == 0, said
    assert "Going on with what is installed" in said
    assert any("--no-index" in line for line in asked)
    code, said, asked = set_up(course)
    assert code == 0 and asked, "with a network it is made up for"
    assert set_up(course)[2] == []


def test_what_is_too_old_without_a_network_is_said(course):
    set_up(course)
    with (course / "constraints.txt").open("a") as file:
        file.write("# something new\n")
    code, said, _ = set_up(course, PIP_FAILS="install")
    assert code != 0
    assert "pip could not install what the course needs" in said


@pytest.mark.parametrize("moment", ["--upgrade pip", "requirements", " -e "])
@pytest.mark.parametrize("venv", [".venv", "my venv"])
def test_ctrl_c_at_any_moment_is_healed_by_the_next_start(course, moment, venv):
    """Before, Ctrl-C while pip replaced itself broke every later `make lab`."""
    process = subprocess.Popen(
        [str(course / "python"), "tools/setup_env.py", venv, "lab"],
        cwd=course,
        env=os.environ | {"PIP_HANGS": moment},
        start_new_session=True,
    )
    wait_for(course / "calls", moment)
    os.killpg(process.pid, 9)  # harder than Ctrl-C
    process.wait(timeout=20)
    if moment == "--upgrade pip":
        (course / venv / "bin" / "broken").touch()  # pip was half-way through replacing itself
    code, said, _ = set_up(course, venv)
    assert code == 0, said
    assert not (course / venv / "bin" / "broken").exists()
    assert set_up(course, venv)[2] == []


def wait_for(calls: Path, words: str) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if calls.exists() and words in calls.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"pip was never asked for {words}")


def test_a_pip_that_broke_later_is_healed_where_the_course_made_the_folder(course):
    set_up(course, "my venv")
    (course / "my venv" / "bin" / "broken").touch()
    with (course / "constraints.txt").open("a") as file:
        file.write("# something new\n")
    code, said, asked = set_up(course, "my venv")
    assert code == 0, said
    assert asked[0] == "venv"
    assert "made anew" in said


@pytest.mark.parametrize("pip", ["broken", "none"])
def test_a_folder_that_the_course_did_not_make_is_never_wiped(course, pip):
    (course / "mine" / "bin").mkdir(parents=True)
    (course / "mine" / "thesis.txt").write_text("three years of work")
    if pip == "broken":
        (course / "mine" / "pyvenv.cfg").touch()
        shutil.copy(course / "stand-in", course / "mine" / "bin" / "python")
        (course / "mine" / "bin" / "broken").touch()
    code, said, asked = set_up(course, "mine")
    assert code != 0
    assert ["ensurepip" in line for line in asked] == [True] * (pip == "broken")
    assert "it stays as it is" in said and "name another folder with VENV" in said
    assert (course / "mine" / "thesis.txt").read_text() == "three years of work"


@pytest.fixture
def foreign(course):
    """An environment in the usual place that the course did not make, and in which no pip works."""
    venv = course / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").touch()
    (venv / "thesis.txt").write_text("three years of work")
    shutil.copy(course / "stand-in", venv / "bin" / "python")
    (venv / "bin" / "broken").touch()
    return venv


def test_an_environment_of_uv_gets_a_pip(course, foreign):
    """Before, what `uv venv` makes, which has no pip, was wiped by `make lab`."""
    (foreign / "bin" / "no-pip").touch()
    code, said, asked = set_up(course)
    assert code == 0, said
    assert "ensurepip" in asked[0] and "venv" not in asked
    assert (foreign / "thesis.txt").exists()
    (foreign / "bin" / "broken").touch()  # later; it is still not ours
    with (course / "constraints.txt").open("a") as file:
        file.write("# something new\n")
    assert set_up(course)[0] == 0
    assert [path.read_text() for path in course.glob(".venv*/thesis.txt")] == [
        "three years of work"
    ]


@pytest.mark.parametrize("what", ["an environment", "a folder", "a file"])
def test_what_the_course_did_not_make_is_put_aside(course, foreign, what):
    if what != "an environment":
        (foreign / "pyvenv.cfg").unlink()
    if what == "a file":
        foreign.rename(course / "elsewhere")
        foreign.write_text("three years of work")
    code, said, asked = set_up(course)
    assert code == 0, said
    assert "venv" in asked and "it is now .venv.aside-" in said
    (aside,) = course.glob(".venv.aside-*")
    kept = aside if what == "a file" else aside / "thesis.txt"
    assert kept.read_text() == "three years of work"
    assert set_up(course)[2] == []


@pytest.mark.timeout(60)  # a pipe must not be waited for
@pytest.mark.parametrize("name", [".venv.lock", ".venv/.course.json", ".venv/.course.json.part"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_folder_or_a_pipe_in_the_place_of_a_note_stops_nothing(course, name, make):
    set_up(course)
    (course / name).unlink(missing_ok=True)
    make(course / name)
    with (course / "constraints.txt").open("a") as file:
        file.write("# something new\n")
    assert set_up(course)[0] == 0
    assert set_up(course) == (0, "", [])


def test_a_link_to_another_environment_is_never_wiped(course):
    (course / "shared" / "bin").mkdir(parents=True)
    (course / ".venv").symlink_to("shared")
    code, said, _ = set_up(course)
    assert code != 0 and "it stays as it is" in said
    assert (course / "shared" / "bin").is_dir()


def test_an_environment_of_ones_own_is_used_and_kept(course):
    (course / "mine" / "bin").mkdir(parents=True)
    (course / "mine" / "pyvenv.cfg").touch()
    (course / "mine" / "thesis.txt").write_text("three years of work")
    shutil.copy(course / "stand-in", course / "mine" / "bin" / "python")
    code, said, asked = set_up(course, "mine")
    assert code == 0, said
    assert "venv" not in asked and asked[-1].endswith(f"-e {course}")
    assert (course / "mine" / "thesis.txt").exists()


def test_two_at_once_wait_for_each_other(course):
    command = [str(course / "python"), "tools/setup_env.py", ".venv", "lab"]
    settings = {"cwd": course, "env": os.environ | {"PIP_TAKES": "0.3"}, "text": True}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, **settings) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("waiting for it" in text for text in said) == 1
    assert (course / "calls").read_text().splitlines().count("venv") == 1


def test_one_that_died_holds_up_nobody(course):
    process = subprocess.Popen(
        [str(course / "python"), "tools/setup_env.py", ".venv", "lab"],
        cwd=course,
        env=os.environ | {"PIP_HANGS": "--upgrade pip"},
        start_new_session=True,
    )
    wait_for(course / "calls", "--upgrade pip")
    os.killpg(process.pid, 9)
    process.wait(timeout=20)
    assert set_up(course)[0] == 0


@pytest.mark.parametrize("venv", ["a folder/my venv", "plain"])
def test_make_takes_a_folder_with_a_space(course, venv):
    command = ["make", "lab", f"VENV={venv}", f'PYTHON="{course}/python"']
    done = subprocess.run(command, cwd=course, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (course / venv / "bin" / "python").exists()
    assert "-m course_lib lab" in ((course / venv).parent / "calls").read_text()


@pytest.fixture
def script():
    """tools/setup_env.py, imported."""
    spec = importlib.util.spec_from_file_location("setup_env", ROOT / "tools" / "setup_env.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC])
def test_a_checkout_that_cannot_be_written_says_where_to_put_the_environment(
    script, monkeypatch, tmp_path, code
):
    def read_only(_venv, **_found):
        raise OSError(code, os.strerror(code))  # EROFS and ENOSPC are no PermissionError

    monkeypatch.setattr(script, "note", read_only)
    with pytest.raises(SystemExit, match=r"cannot be written.*make lab VENV="):
        script.main(tmp_path / "venv", "lab")


def test_from_a_checkout_that_cannot_be_written_the_course_is_used_where_it_lies(
    script, monkeypatch, tmp_path
):
    """pip would write its notes beside pyproject.toml."""
    asked = []
    monkeypatch.setattr(script.os, "access", lambda path, mode: path != script.ROOT)
    monkeypatch.setattr(script, "run", lambda venv, *words, quiet=False: asked.append(words))
    monkeypatch.setattr(script, "answer", lambda venv, code: str(tmp_path))
    assert script.install(tmp_path, ["lab"])
    assert not any("-e" in words for words in asked)
    assert (tmp_path / "course.pth").read_text() == f"{ROOT}\n"


def test_elsewhere_than_on_the_tested_platform_the_tested_versions_are_asked_for(
    script, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(script.platform, "system", lambda: "Darwin")
    arguments = script.requirements(tmp_path, ["lab"])
    assert arguments[:2] == ["-c", str(ROOT / "constraints.txt")]
    assert any(line.startswith("jupyterlab") for line in arguments)
    assert "does not compare checksums" in capsys.readouterr().out


def test_the_lock_goes_first_with_hashes_and_only_what_was_asked_for(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "lock_applies", lambda: True)
    arguments = script.requirements(tmp_path, ["lab"])
    assert arguments[:3] == ["--require-hashes", "--no-deps", "-r"]
    chosen = Path(arguments[3]).read_text()
    assert "jupyterlab==" in chosen and "setuptools==" in chosen
    assert not re.search(r"^(nvidia|torch==|pytest|nbgrader)", chosen, re.MULTILINE)
    assert all("--hash=sha256:" in line for line in chosen.splitlines())


@pytest.mark.parametrize(
    ("installed", "no_cpu_build", "asked"),
    [
        ("", False, ["torch==2.13.0+cpu"]),
        ("", True, ["torch==2.13.0+cpu", "torch==2.13.0"]),
        ("2.13.0+cu130", False, []),  # someone's own build for GPUs
        ("2.12.1", False, ["torch==2.13.0+cpu"]),
    ],
)
def test_only_where_there_is_no_cpu_build_gigabytes_are_fetched(
    script, monkeypatch, tmp_path, installed, no_cpu_build, asked
):
    files = []

    def run(_venv, *words, quiet=False):
        files.append(Path(words[-1]).read_text())
        return int(no_cpu_build and "+cpu" in files[-1])

    monkeypatch.setattr(script, "run", run)
    monkeypatch.setattr(script, "lock_applies", lambda: True)
    monkeypatch.setattr(script, "answer", lambda venv, code: installed)
    assert script.install_torch(tmp_path) == 0
    assert [re.findall(r"^(torch==\S+)", text, re.MULTILINE) for text in files] == [
        [line] for line in asked
    ]
    assert all(("nvidia-nccl" in text) is ("+cpu" not in text) for text in files)


def test_the_lock_has_the_tested_versions_and_names_no_address():
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    locked = [line for line in lines if not line.startswith("#")]
    row = re.compile(r"[a-z0-9-]+==[\w.+]+ --hash=sha256:[0-9a-f]{64}  # [a-z ]+")
    assert [line for line in locked if not row.fullmatch(line)] == []
    assert "://" not in "".join(lines)
    pins = (ROOT / "constraints.txt").read_text("utf-8").lower().replace("_", "-").splitlines()
    tested = {line for line in pins if not line.startswith("#")}
    found = {line.split()[0].partition("+")[0] for line in locked if not line.endswith("# cuda")}
    assert found - tested == {line for line in found if line.startswith("setuptools==")}
    assert tested <= found


# --- an old Python


@pytest.mark.parametrize(
    "module",
    ["__init__", "__main__", "cli/__init__", "cli/main", "cli/doctor", "../tools/setup_env"],
)
def test_python_3_8_can_read_what_says_that_it_is_too_old(module):
    ast.parse((ROOT / f"course_lib/{module}.py").read_text("utf-8"), feature_version=OLD)


# What Python 3.8 lacks, of what these files once used.
AGED = """
import functools, pathlib, sys
from collections import namedtuple
sys.modules["graphlib"] = sys.modules["tomllib"] = None
del functools.cache, pathlib.PurePath.is_relative_to
sys.version_info = namedtuple("V", "major minor micro releaselevel serial")(3, 8, 10, "final", 0)
"""


def test_under_python_3_8_the_doctor_says_that_it_is_too_old():
    code = AGED + "from course_lib.cli.main import main; sys.exit(main(['doctor']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert re.search(r"\[FAIL\] python: .*too old, >=3\.11 needed", done.stdout)
    assert "cure: install Python 3.11 or newer" in done.stdout


def test_under_python_3_8_the_set_up_says_that_it_is_too_old(tmp_path):
    code = (
        AGED
        + f"""
import runpy
sys.argv = ["setup_env.py", {str(tmp_path / "venv")!r}, "lab"]
runpy.run_path("tools/setup_env.py", run_name="__main__")
"""
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is too old: the course needs Python 3.11" in done.stderr
    assert list(tmp_path.iterdir()) == []


# --- what the doctor looks at


def test_the_doctor_sees_a_broken_pip(monkeypatch, tmp_path):
    """--version of such a pip still answers."""
    from course_lib.cli import doctor

    assert doctor.check_pip().ok
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\ncase $* in *--help*) echo 'no rich' >&2; exit 1;; esac\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    check = doctor.check_pip()
    assert not check.ok
    assert "no rich" in check.found and "ensurepip" in check.cure


def test_the_doctor_sees_a_cache_that_cannot_be_written(monkeypatch, cache_folder):
    from course_lib.cli import doctor

    assert doctor.check_cache().ok

    def read_only(**_settings):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", read_only)
    check = doctor.check_cache()
    assert not check.ok
    assert "Read-only file system" in check.found and "COURSE_CACHE" in check.cure


def test_the_note_of_what_was_fetched_may_be_damaged_or_not_writable(cache_folder, monkeypatch):
    from course_lib.cli import main as commands

    monkeypatch.setattr("course_lib.datasets.sources.fetch", lambda *_: None)
    monkeypatch.setattr("course_lib.datasets.sources.verify", lambda: {"digits": ""})
    assert commands.main(["fetch"]) == 0
    assert not commands._is_fetched(), "a file that it names is gone"
    (cache_folder / "digits").touch()
    assert commands._is_fetched()
    commands._fetched_note().write_bytes(b"\xff\xfe")
    assert not commands._is_fetched()
    commands._fetched_note().unlink()
    commands._fetched_note().mkdir()  # cannot be written
    assert commands.main(["fetch"]) == 0
