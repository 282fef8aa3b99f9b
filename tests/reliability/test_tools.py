"""The maintainers' tools: CI installs what it needs, and nothing of a person's is overwritten."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # tools/ is not installed

from tools import build_site, exercises  # noqa: E402

pytestmark = pytest.mark.reliability


TESTED = [
    "make test",
    "HOSTILE_CLASS=1 BUNDLE=1 make test ARGS=-rs tests/grading/test_class.py tests/test_bundle.py",
]
SETTINGS = "${HOSTILE_CLASS:+HOSTILE_CLASS=1 }${BUNDLE:+BUNDLE=1 }"


def ci(folder: Path, there: list[str], failing: str = "") -> tuple[int, list[str]]:
    """What CI ends with, and what it calls, where these programs are there and that call fails."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("make", "apt-get", *there):
        told = f'call="{SETTINGS}{name} $*"\necho "$call" >> "{folder}/calls"'
        (programs / name).write_text(f'#!/bin/sh\n{told}\ntest "$call" != "{failing}"\n')
        (programs / name).chmod(0o755)
    for name in ("dirname", "sh"):
        (programs / name).symlink_to(shutil.which(name) or name)
    bash = shutil.which("bash") or "bash"
    done = subprocess.run([bash, str(ROOT / ".ci" / "run")], env={"PATH": str(programs)})
    return done.returncode, (folder / "calls").read_text().splitlines()


@pytest.mark.parametrize(
    ("there", "installed"),
    [
        ([], ["chromium", "fonts-dejavu-core", "strace", "nodejs", "npm"]),
        (["chromium", "npm"], ["strace"]),
        (["strace", "npm"], ["chromium", "fonts-dejavu-core"]),
        (["chromium", "strace"], ["nodejs", "npm"]),
        (["chromium", "strace", "npm"], []),
    ],
)
def test_ci_installs_what_is_missing_and_runs_every_test(tmp_path, there, installed):
    """Before, without strace the tests of look-ups were skipped where a browser was there."""
    ended, calls = ci(tmp_path, there)
    asked = [line.split()[4:] for line in calls if line.startswith("apt-get install")]
    assert asked == ([installed] if installed else [])
    assert [line for line in calls if "make test" in line] == TESTED and ended == 0


@pytest.mark.parametrize(
    "failing", ["make setup EXTRAS=lab grading hub site test", "make hub", *TESTED]
)
def test_ci_fails_where_a_step_fails(tmp_path, failing):
    ended, calls = ci(tmp_path, ["chromium", "strace", "npm"], failing)
    assert ended != 0
    later = TESTED[TESTED.index(failing) + 1 :] if failing in TESTED else TESTED
    assert not set(calls) & set(later)


@pytest.fixture
def lab(tmp_path) -> Path:
    """A lab as it is handed out."""
    name = sorted((ROOT / "exercises").glob("01*.ipynb"))[0].name
    return Path(shutil.copy(ROOT / "exercises" / name, tmp_path))


def answer(path: Path) -> None:
    lab = nbformat.read(path, as_version=4)
    cell = next(cell for cell in lab.cells if exercises.is_solution(cell))
    cell.source += "\n    # my answer"
    nbformat.write(lab, path)


@pytest.mark.parametrize("damage", [answer, lambda path: path.write_text("{")])
def test_making_the_exercises_keeps_what_somebody_answered(lab, damage, capsys):
    """Before, `make exercises` overwrote a learner's notebook."""
    exercises.keep_answers(lab)
    assert not (lab.parent / "answers").exists(), "nothing is kept of a lab as it is handed out"
    damage(lab)
    exercises.keep_answers(lab)
    (kept,) = (lab.parent / "answers").iterdir()
    assert kept.read_bytes() == lab.read_bytes() and kept.suffix == ".ipynb"
    assert f"they are kept in answers/{kept.name}" in capsys.readouterr().out


def test_a_lab_that_is_missing_holds_no_answers(tmp_path):
    exercises.keep_answers(tmp_path / "01.ipynb")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def made(tmp_path) -> Path:
    """What Sphinx has made."""
    folder = tmp_path / "made"
    (folder / "_static").mkdir(parents=True)
    for name in (".nojekyll", "index.html", "_static/sliders.js"):
        (folder / name).touch()
    return folder


def test_the_site_takes_the_place_of_an_older_one(tmp_path, made):
    for out in (tmp_path / "new", made):
        build_site.check_out(out, made)
    (tmp_path / "empty").mkdir()
    build_site.check_out(tmp_path / "empty", made)


@pytest.mark.parametrize("name", ["thesis.txt", ".git", "index.html"])
@pytest.mark.parametrize("beside", [True, False])
def test_the_site_never_wipes_a_persons_folder(tmp_path, made, name, beside):
    """Before, `make site ARGS="--out DIR"` deleted DIR, whatever was in it."""
    out = tmp_path / "out"
    if beside:
        shutil.copytree(made, out)
        name = "thesis.txt" if name == "index.html" else name
    out.mkdir(exist_ok=True)
    (out / name).write_text("years of work")
    with pytest.raises(FileExistsError, match=rf"holds what is not of the site: {name}\. Move it"):
        build_site.check_out(out, made)


def test_the_command_says_so_without_a_traceback(tmp_path, monkeypatch):
    def refuses(out):
        raise FileExistsError(f"{out} holds what is not of the site")

    monkeypatch.setattr(build_site, "build", refuses)
    monkeypatch.setattr(sys, "argv", ["build_site.py", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="holds what is not of the site"):
        build_site.main()
