"""What `course_lib.checks` is in the sandbox: it says that a check comes later, and knows no answer."""

import sys
from typing import Any

from course_lib.checks import given as lesson4
from course_lib.checks import given as lesson5

__all__ = ["lesson4", "lesson5"]
for _number in (4, 5):
    sys.modules[f"{__name__}.lesson{_number}"] = lesson4


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return _later


def _later(answer: Any) -> None:
    print("The judge calls your answer from outside, after this cell.")
