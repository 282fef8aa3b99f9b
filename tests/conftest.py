"""What several test files share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cells import needed_for
from hypothesis import settings

# With several workers these files start first, in this order, so that none of them is still running on
# one worker when the other has no test left. What papermill's runs leave in the cache, others find.
LONGEST = ("test_papermill.py::", "test_grading.py::", ".ipynb::", "tests/browser/")

# Examples are the same in every run; no time limit on one example, because the machine may be busy.
settings.register_profile("course", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("course")

# No test needs the network; without this a missing model would cost 20 s of retries.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Before anything imports onnxruntime, which reports its use; for the programs that tests start, too.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# The tests' networks are tiny: threads would only wait for each other when the machine is busy. The
# second line is for the workers, and for the kernels and programs that tests start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


# What `make test-fast` leaves out of the folders that it names: these run lessons.
SLOW = ("tests/notebooks/test_fill_ins.py", "tests/notebooks/test_papermill.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
    if "PYTEST_XDIST_WORKER" in os.environ:
        left_out = set(cells_to_leave_out(items))
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
        items.sort(key=lambda item: [long not in item.nodeid for long in LONGEST])


def cells_to_leave_out(items: list[Any]) -> list[Any]:
    """What nbval need not run: papermill runs every cell, nbval those whose output it compares with
    the stored one, and what these need."""
    lessons: dict[Any, list[Any]] = {}
    for item in items:
        if hasattr(item, "cell_num"):  # nbval's
            lessons.setdefault(item.parent, []).append(item)
    left_out = []
    for cells in lessons.values():
        compared = {i for i, item in enumerate(cells) if item.options["check"]}
        needed = needed_for([item.cell.source for item in cells], compared)
        left_out += [item for i, item in enumerate(cells) if i not in needed]
    return left_out


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def empty_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip, set up for an index that is an empty folder of the test's own."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null" if sys.platform != "win32" else "nul")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index
