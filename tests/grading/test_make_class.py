"""The folder of a class, before nbgrader has made anything in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # tools/ is not installed

from tools import make_class


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_a_new_class_is_closed_to_others(tmp_path):
    """On a machine or hub that learners use, too: the solutions and the points are in it."""
    folder = tmp_path / "of a teacher" / "class"
    make_class.make_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "exchange").stat().st_mode & 0o777 == 0o777  # nbgrader wants it so
    folder.chmod(0o755)
    (folder / "nbgrader_config.py").write_text("mine")
    make_class.make_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o755, "what a teacher has set stays"
    assert (folder / "nbgrader_config.py").read_text() == "mine"
