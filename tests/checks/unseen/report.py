"""What the checks say of answers that were written without a look at them: see README.md."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2]))  # the checkout's course_lib, installed or not

from course_lib import checks  # noqa: E402
from course_lib.checks import guarding, naming  # noqa: E402

GENERAL = {naming.UNKNOWN.name, naming.PARTLY.name, guarding.STOPPED.name}


@dataclass(frozen=True)
class Looked:
    """One answer: where it is from, what its author says is wrong, and what the check says."""

    name: str
    wrong: bool
    words: str
    said: str | None  # the mistake's name, None if it was accepted


def looked_at(path: Path) -> list[Looked]:
    """What the check of this name says of each answer in a file."""
    names: dict[str, Any] = {"__name__": path.stem}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), names)
    check, found = getattr(checks, path.stem), []
    for name, answer in list(names.items()):  # an answer may make globals of its own
        kind = name.partition("_")[0]
        if kind in ("right", "wrong"):
            with contextlib.redirect_stdout(io.StringIO()):
                error = check.find(answer)
            words = (getattr(answer, "__doc__", "") or "").strip().split("\n")[0]
            found.append(
                Looked(f"{path.stem}.{name}", kind == "wrong", words, error and error.mistake)
            )
    return found


def summary(found: list[Looked], misnamed: set[str]) -> list[str]:
    """Four lines with the counts that matter."""
    wrong, right = ([one for one in found if one.wrong == kind] for kind in (True, False))
    accepted = [one for one in wrong if one.said is None]
    general = [one for one in wrong if one.said in GENERAL]
    counts = {
        "right answers refused": (sum(one.said is not None for one in right), len(right)),
        "wrong answers accepted": (len(accepted), len(wrong)),
        "wrong answers with the general message": (len(general), len(wrong)),
        "wrong answers named wrongly": (sum(one.name in misnamed for one in wrong), len(wrong)),
    }
    return [f"{what}: {n} of {of} ({n / max(of, 1):.1%})" for what, (n, of) in counts.items()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=HERE)
    folder = parser.parse_args().folder
    listed = folder / "misnamed.txt"
    misnamed = set(listed.read_text("utf-8").split()) if listed.exists() else set()
    paths = [path for path in sorted(folder.glob("*.py")) if hasattr(checks, path.stem)]
    found: list[Looked] = []
    for path in paths:
        found += (here := looked_at(path))
        for one in here:
            if one.wrong:
                print(f"{one.name}: {one.words}\n    → {one.said or 'ACCEPTED'}", flush=True)
            elif one.said:
                print(f"{one.name}\n    → REFUSED: {one.said}", flush=True)
    print(*summary(found, misnamed), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
