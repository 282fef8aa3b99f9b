"""Nothing that the course starts reports its use: no device id is written, and no host looked up."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import onnx
import pytest
from look_ups import hosts, needs_strace, recorded, reports
from onnx import TensorProto, helper

from course_lib.cli import main as commands

pytestmark = pytest.mark.reliability
ROOT = Path(__file__).parents[2]
# A lesson's way to a session, and that of a folder which stands alone.
THROUGH = {
    "onnx_export": "from course_lib.quantization.onnx_export import onnxruntime",
    "quantization": "import course_lib.quantization.int8, onnxruntime",
    "run_onnx": "import run, onnxruntime",
}
# Some nine seconds after its first session onnxruntime looks its maker's host up.
SESSION = """
import sys, time
{first}
session = onnxruntime.InferenceSession(sys.argv[1])
print(session.get_outputs()[0].name, flush=True)
time.sleep({seconds})
"""
# What reports its use in one release or another, and what lessons and the lab import of it.
OTHERS = "import datasets, huggingface_hub, transformers, accelerate, nbgrader, jupyterlab.labapp"


@pytest.fixture
def home(tmp_path):
    """A fresh home, beside a copy of `run.py` and an ONNX file."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "course_lib" / "quantization" / "run_onnx.py", tmp_path / "run.py")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", *zip(value))
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "model.onnx")
    return home


def environment(home: Path) -> dict[str, str]:
    """One in which nobody has set anything before."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(home.parent), str(ROOT)]),
        "COURSE_CACHE": str(home.parent / "cache"),
        "OMP_NUM_THREADS": "1",
    }


def start(home: Path, code: str, *before: str) -> subprocess.Popen[str]:
    command = [*before, sys.executable, "-c", code, str(home.parent / "model.onnx")]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment(home), stdout=pipe, stderr=pipe, text=True)


def written(home: Path) -> list[str]:
    """What lies in the home; fonts' and compiled code's own caches aside."""
    files = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    return [file for file in files if "matplotlib" not in file and "__pycache__" not in file]


@pytest.mark.parametrize("way", THROUGH)
def test_a_session_writes_no_device_id(home, way):
    """Before, a device id and a database with the user's name lay in the home after the import."""
    process = start(home, SESSION.format(first=THROUGH[way], seconds=0))
    said, error = process.communicate(timeout=120)
    assert said == "y\n", error
    assert written(home) == []


def test_without_the_variable_it_would(home):
    """What this file looks for is really there to be found."""
    start(home, SESSION.format(first="import onnxruntime", seconds=0)).communicate(timeout=60)
    if not written(home):
        pytest.skip("this onnxruntime writes nothing")
    assert any("deviceid" in file for file in written(home))


@needs_strace
def test_neither_a_session_nor_the_other_packages_look_up_a_host(home):
    """Telemetry is written in C++, so a patched socket.getaddrinfo would not see it."""
    codes = {way: SESSION.format(first=first, seconds=12) for way, first in THROUGH.items()}
    codes["others"] = OTHERS
    processes = {
        way: start(home, code, *recorded([], home.parent / way)) for way, code in codes.items()
    }
    for way, process in processes.items():
        _, error = process.communicate(timeout=200)
        assert process.returncode == 0, error
        assert hosts(home.parent / way) == [], way
    assert written(home) == []


@needs_strace
def test_what_is_looked_up_would_be_seen(home):
    code = "import socket; socket.getaddrinfo('example.invalid', 443)"
    start(home, code, *recorded([], home.parent / "calls")).communicate(timeout=60)
    assert hosts(home.parent / "calls") or not Path("/etc/resolv.conf").exists()


def answer(address: str) -> int:
    """The status of a page of a server that is perhaps still starting."""
    for _ in range(200):
        try:
            return urllib.request.urlopen(address, timeout=60).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server did not start")


@needs_strace
def test_the_start_of_the_lab_writes_no_device_id_and_looks_up_no_host(home):
    """With what its page asks the server for at once: news, updates and extensions."""
    cache = home.parent / "cache"
    cache.mkdir()
    (cache / "fetched.txt").write_text(commands._wanted())  # there is nothing to be fetched
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", f"--port={port}", "--IdentityProvider.token=abc"]
    lab = [sys.executable, "-m", "course_lib", "lab", *options]
    command, quiet = recorded(lab, home.parent / "calls"), subprocess.DEVNULL
    process = subprocess.Popen(
        command, env=environment(home), stderr=quiet, stdout=quiet, start_new_session=True
    )
    try:
        answers = []
        for page in ("lab", "api/news", "api/update", "api/extensions", "tree/README.md"):
            address = f"http://127.0.0.1:{port}/lab/{page}".replace("lab/lab", "lab")
            answers.append(answer(f"{address}?token=abc"))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert answers[0] == answers[-1] == 200
    assert hosts(home.parent / "calls") == []
    assert reports(home) == []


def test_the_lab_and_its_kernels_are_started_with_it_off(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    started = commands.lab_environment()
    assert started["ORT_DISABLE_TELEMETRY"] == started["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert started["COURSE_CACHE"] == str(tmp_path)  # absolute, wherever a kernel runs
    line = commands.lab_arguments([], root=False)
    assert {"--LabApp.news_url=None", "--LabApp.extension_manager=readonly"} <= set(line)
    assert "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate" in line


def test_every_import_of_onnxruntime_comes_after_the_variable():
    for file in (ROOT / "course_lib").rglob("*.py"):
        code = file.read_text("utf-8")
        found = re.search(r"^\s*(?:import|from) onnxruntime\b", code, re.MULTILINE)
        if found:
            assert 'environ.setdefault("ORT_DISABLE_TELEMETRY", "1")' in code[: found.start()], file


def test_importing_the_course_alone_sets_no_such_variable():
    code = (
        "import os; before = dict(os.environ); import course_lib; print(*{*os.environ} - {*before})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "TELEMETRY" not in done.stdout and "CACHE" not in done.stdout
