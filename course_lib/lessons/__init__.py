"""What a lesson needs besides the library: its settings, stored results, claims and checks.

Importing it does not load PyTorch, so that `start` can set what must be set before.
"""

from course_lib.lessons.claims import Claims
from course_lib.lessons.demo_files import demonstration
from course_lib.lessons.experiments import results, results_if_stored
from course_lib.lessons.settings import free_memory, start
from course_lib.lessons.test_set import TestSet

__all__ = [
    "Claims",
    "TestSet",
    "demonstration",
    "free_memory",
    "results",
    "results_if_stored",
    "start",
]
