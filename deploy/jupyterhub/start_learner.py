"""Start one learner's JupyterLab. The hub runs this as the learner, never as root.

python start_learner.py ...     what follows goes to jupyterhub-singleuser

The home is closed to others, the course is copied where it is missing, and the shared cache is linked.
A changed notebook is never overwritten. A deleted one comes back at the next start.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

COURSE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(COURSE))

from course_lib.cli.main import lab_arguments, lab_environment  # noqa: E402

COPIED = ("README.md", "CONTRIBUTING.md", "LICENSE", "docs", "exercises", "notebooks")
# What learners share. Folders of models are linked whole: their reader refuses links inside of them.
SHARED = (
    *("fetched.txt", "mnist_5k.*", "sliders/*", "sources/*", "zoo/*"),
    *(f"demonstration/*/{name}" for name in ("reviews.csv", "more.txt", "teacher")),
)


def course_files() -> Iterator[Path]:
    """The files that a learner gets, as paths below the course; nobody's answers are among them."""
    for name in COPIED:
        for folder, folders, files in os.walk(COURSE / name):
            folders[:] = sorted(one for one in folders if one != "answers" and one[0] not in "._")
            found = (Path(folder, file).relative_to(COURSE) for file in sorted(files))
            yield from (file for file in found if file != Path("docs", "instructors.md"))
        if (COURSE / name).is_file():
            yield Path(name)


def copy_course(own: Path) -> None:
    """Copy into `own` what is not there yet."""
    for file in course_files():
        if not os.path.lexists(own / file):
            (own / file).parent.mkdir(parents=True, exist_ok=True)
            part = own / f"{file}.part"  # half a copy would stay for ever
            shutil.copyfile(COURSE / file, part)
            os.replace(part, own / file)


def link_cache(shared: Path, own: Path) -> None:
    """Link into `own` what the shared cache holds, so that a learner reads it and trains it once less.

    What a learner makes anew stays in `own`. A link to what is gone is taken away.
    """
    for link in own.rglob("*"):
        if link.is_symlink() and not link.exists():
            link.unlink()
    for pattern in SHARED:
        for source in shared.glob(pattern):
            target = own / source.relative_to(shared)
            if source.suffix != ".lock" and not os.path.lexists(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)


def main() -> None:
    os.umask(0o077)
    home = Path.home()
    with contextlib.suppress(
        PermissionError
    ):  # a volume of Kubernetes, which is the learner's alone
        home.chmod(0o700)
    own = home / "small-networks"
    copy_course(own)
    os.chdir(own)  # what JupyterLab shows
    os.environ.update(lab_environment())
    if shared := os.environ.pop("HUB_CACHE", ""):
        link_cache(Path(shared), Path(os.environ["COURSE_CACHE"]))
    _, *options = lab_arguments(sys.argv[1:], root=False)  # the hub says which folder and page
    options = [one for one in options if not one.startswith("--LabApp.default_url=")]
    os.execv(sys.executable, [sys.executable, "-m", "jupyterhub.singleuser", *options])


if __name__ == "__main__":
    main()
