"""Set up nbgrader's folder for a class: its settings, the labs as assignments, and their release.

python tools/make_class.py FOLDER          what is there already stays; run twice, it changes nothing
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = '''"""nbgrader's settings for this class. Change them: `make class` leaves this file alone."""

c = get_config()  # noqa: F821

c.CourseDirectory.course_id = "compression"
# Where `nbgrader release_assignment` puts what learners fetch, and `collect` finds what they submit.
# Learners on the same machine cannot reach it here: name a folder such as /srv/exchange.
c.Exchange.root = {exchange!r}

# The learners' code runs in a sandbox, and a judge outside of it calls their functions.
c.Autograde.sanitize_preprocessors = [
    "nbgrader.preprocessors.ClearOutput",
    "nbgrader.preprocessors.DeduplicateIds",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "course_lib.grading.steps.Restore",
    "nbgrader.preprocessors.OverwriteCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Autograde.autograde_preprocessors = [
    "course_lib.grading.steps.Judge",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
'''


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="is made if it is missing")
    folder = parser.parse_args().folder.expanduser().absolute()
    make_folder(folder)
    new = []
    for lab in sorted((ROOT / "solutions").glob("*.ipynb")):
        name = f"lab{int(lab.name[:2])}"
        source = folder / "source" / name / lab.name
        if not source.exists():
            source.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(lab, source)
        if not (folder / "release" / name).exists():
            new.append(name)
    if new and not release(folder, new):
        return 1
    print(f"{folder}: released are {', '.join(new)}" if new else f"{folder}: nothing has changed")
    return 0


def make_folder(folder: Path) -> None:
    """Make nbgrader's folder, with its settings. A new one is closed to others: solutions are in it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists() or not any(folder.iterdir()):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
    exchange = folder / "exchange"
    if not exchange.exists():
        exchange.mkdir()
        exchange.chmod(0o777)  # nbgrader wants it so
    config = folder / "nbgrader_config.py"
    if not config.exists():
        config.write_text(CONFIG.format(exchange=str(exchange)), "utf-8")


def environment() -> dict[str, str]:
    """What nbgrader needs: it calls alembic by its name, and imports this course's steps."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": programs, "PYTHONPATH": str(ROOT)}


def release(folder: Path, names: list[str]) -> bool:
    """Whether nbgrader has made what learners get, and noted cells and points in its database."""
    os.environ |= environment()
    from nbgrader.apps import NbGrader, NbGraderAPI

    os.chdir(folder)
    app = NbGrader()
    app.load_config_file()
    api = NbGraderAPI(config=app.config)
    done = [api.generate_assignment(name) for name in names]
    for one in done:
        print(one["log"] if not one["success"] else "", end="")
    return all(one["success"] for one in done)


if __name__ == "__main__":
    sys.exit(main())
