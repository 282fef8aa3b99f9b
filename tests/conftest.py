"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Examples are the same in every run; no time limit on one example, because the machine may be busy.
settings.register_profile("course", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("course")

# No test needs the network; without this a missing model would cost 20 s of retries.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# The tests' networks are tiny: threads would only wait for each other when the machine is busy.
torch.set_num_threads(1)


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
