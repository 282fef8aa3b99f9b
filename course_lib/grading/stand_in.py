"""What `course_lib.checks` is in the sandbox: it says that a check comes later, and knows no answer."""

import importlib
import sys
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    if not name.startswith("lesson"):
        return _later
    found = importlib.import_module("course_lib.checks.given")  # what labs ask lessons for
    return sys.modules.setdefault(f"{__name__}.{name}", found)


def _later(answer: Any) -> None:
    print("The judge calls your answer from outside, after this cell.")
