"""Every lesson runs from its source, start to end, in the quick profile."""

import functools
import os
import tempfile
from pathlib import Path
from unittest import mock

import matplotlib
import pytest
from look_ups import hosts, needs_strace, recorded, reports

from course_lib import cache
from tools import notebooks as tool


@functools.cache
def quick(source):
    """The lesson, run once, in a fresh home; then what it looked up, and what it noted on its use."""
    with tempfile.TemporaryDirectory() as folder:
        home, record = Path(folder, "home"), Path(folder, "calls")
        home.mkdir()
        record.touch()
        fresh = {
            "HOME": str(home),
            "COURSE_CACHE": str(cache.cache_dir()),
            "MPLCONFIGDIR": matplotlib.get_cachedir(),  # the list of fonts is made once
        }
        watch = tool.watch
        spied = {"watch": lambda command, limit: watch(recorded(command, record), limit)}
        strace = not needs_strace.args[0]
        with (
            mock.patch.dict(os.environ, fresh),
            mock.patch.multiple(tool, **(spied if strace else {"watch": watch})),
        ):
            os.environ.pop("ORT_DISABLE_TELEMETRY", None)  # that of the tests
            result = tool.run(source, "quick", minutes=8)
        return result, hosts(record), reports(home)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("source", tool.find_sources([]), ids=lambda source: source.stem)
def test_quick_run(source):
    result = quick(source)[0]
    assert result.problems == []
    assert all(cell.execution_count for cell in tool.code_cells(result.notebook))
    assert tool.collect_claims(result.notebook), "the lesson shows no claim"


@pytest.mark.reliability
@pytest.mark.timeout(600)
@pytest.mark.parametrize("source", tool.find_sources(["05", "06"]), ids=lambda source: source.stem)
def test_a_whole_lesson_writes_no_device_id(source):
    """Those with ONNX Runtime, in a fresh home; run once for all tests of this file."""
    assert quick(source)[2] == []


@needs_strace
@pytest.mark.reliability
@pytest.mark.timeout(600)
@pytest.mark.parametrize("source", tool.find_sources([]), ids=lambda source: source.stem)
def test_a_whole_lesson_looks_up_no_host(source):
    """Neither Python nor C++, whatever it starts, from the first cell to the last."""
    assert quick(source)[1] == []
