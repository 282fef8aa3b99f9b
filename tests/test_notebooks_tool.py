"""The notebook tool builds, keeps and runs as it should; the first cell finds the course."""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
from nbformat.v4 import new_output

sys.path.insert(0, str(Path(__file__).parents[1]))  # tools/ is not installed

from tools import notebooks as tool

LESSON = """\
# %% [markdown]
# # A lesson

# %% tags=["setup"]
# The first cell stands in _setup.py.

# %% tags=["parameters"]
profile = "full"

# %% [markdown]
# Next comes a claim.

# %%
from course_lib.lessons.claims import Claims

print("profile:", profile)
print("0%\\r50%\\r100%")

# %%
claims = Claims()
claims.add("1 + 1 = 2", source="Principia Mathematica, *54.43", value=1 + 1, margin=1)
claims

# %%
import ipywidgets

ipywidgets.FloatSlider(description="sparsity")
"""


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A folder notebooks/src with one lesson in it; returns the lesson's source."""
    source = tmp_path / "notebooks" / "src" / "01_a lesson.py"
    source.parent.mkdir(parents=True)
    source.write_text(LESSON, "utf-8")
    return source


def add_cell(source: Path, code: str) -> None:
    source.write_text(f"{source.read_text('utf-8')}\n# %%\n{code}\n", "utf-8")


# --- building -----------------------------------------------------------------------------------


def test_two_builds_are_the_same_bytes(course):
    path = tool.notebook_of(course)
    tool.sync(course)
    first = path.read_bytes()
    path.unlink()
    tool.sync(course)
    assert path.read_bytes() == first
    tool.sync(course)
    assert path.read_bytes() == first
    assert b"jupytext" not in first
    assert [path.name for path in path.parent.iterdir() if path.is_file()] == ["01_a lesson.ipynb"]


def test_ids_and_the_first_cell_are_filled_in(course):
    notebook = tool.build(course)
    assert [cell.id for cell in notebook.cells[:2]] == ["01_a-lesson-00", "01_a-lesson-01"]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", cell.id) for cell in notebook.cells)
    assert notebook.cells[1].source == tool.setup_source()
    assert notebook.cells[1].metadata["jupyter"] == {"source_hidden": True}
    assert notebook.cells[1].metadata["cellView"] == "form"  # Colab collapses it, too
    assert notebook.metadata.kernelspec.name == "python3"


def test_sync_keeps_the_outputs_of_unchanged_cells_only(course):
    notebook = tool.build(course)
    for number, cell in enumerate(tool.code_cells(notebook), 1):
        cell.execution_count = number
        cell.outputs = [new_output("stream", text=f"output {number}")]
    tool.write(notebook, tool.notebook_of(course))
    assert tool.in_step(course)

    changed = LESSON.replace("1 + 1 = 2", "1 + 1 > 1").replace(
        "# %% [markdown]\n# Next", "# %%\n# Next"
    )
    course.write_text(changed, "utf-8")
    assert not tool.in_step(course)
    tool.sync(course)
    assert tool.in_step(course)
    outputs = [
        [o.text for o in c.outputs] for c in tool.code_cells(tool.read(tool.notebook_of(course)))
    ]
    assert outputs == [["output 1"], ["output 2"], [], ["output 3"], [], ["output 5"]]


def test_two_cells_with_one_source_keep_their_own_outputs(course):
    add_cell(course, "same()")
    add_cell(course, "same()")
    notebook = tool.build(course)
    for cell, text in zip(tool.code_cells(notebook)[-2:], "ab", strict=True):
        cell.outputs = [new_output("stream", text=text)]
    tool.write(notebook, tool.notebook_of(course))
    tool.sync(course)
    stored = tool.code_cells(tool.read(tool.notebook_of(course)))[-2:]
    assert [cell.outputs[0].text for cell in stored] == ["a", "b"]


def test_a_missing_notebook_is_out_of_step(course):
    assert not tool.in_step(course)


def test_an_unknown_lesson_is_named(course):
    with pytest.raises(SystemExit, match=r"'07'.*01_a lesson"):
        tool.find_sources(["07"], course.parent)
    assert tool.find_sources(["01"], course.parent) == [course]


def test_the_command_line_agrees_with_the_repository():
    command = [sys.executable, str(tool.ROOT / "tools" / "notebooks.py"), "check"]
    in_step = all(map(tool.in_step, tool.find_sources([])))
    assert subprocess.run(command, cwd="/", capture_output=True).returncode == int(not in_step)


# --- running ------------------------------------------------------------------------------------


def test_a_run_stores_outputs_and_nothing_else(course, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "full")  # must not override what was asked for
    tool.sync(course)
    result = tool.run(course, "quick", minutes=2)
    assert result.problems == []
    assert result.peak_mib > 20
    assert 0 < result.minutes < 2
    assert tool.without_outputs(result.notebook) == tool.build(course)
    cells = tool.code_cells(result.notebook)
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4, 5]
    assert cells[0].outputs[0].text.startswith("course_lib ")
    assert cells[1].source == 'profile = "full"'
    assert cells[2].outputs[0].text == "profile: quick\n100%\n"
    assert [claim["measured"] for claim in tool.collect_claims(result.notebook)] == [
        "2; holds if above 1"
    ]
    assert tool.VIEW in cells[-1].outputs[0].data
    assert "sparsity" in str(result.notebook.metadata.widgets)
    tool.write(result.notebook, tool.notebook_of(course))
    assert tool.in_step(course)
    tool.sync(course)
    assert tool.read(tool.notebook_of(course)) == result.notebook


def test_an_error_names_its_cell(course):
    course.write_text('# %% tags=["parameters"]\nprofile = "full"\n\n# %%\n1 / 0\n', "utf-8")
    result = tool.run(course, "quick", minutes=1)
    assert any("1 / 0" in problem and "ZeroDivisionError" in problem for problem in result.problems)


def test_an_error_that_a_widget_swallows_is_found(course):
    """papermill itself reports success here, and sometimes hangs: the limit covers that."""
    code = "from ipywidgets import *\ninteract(lambda x: 1 / x, x=IntSlider(0));"
    course.write_text(f'# %% tags=["parameters"]\nprofile = "full"\n\n# %%\n{code}\n', "utf-8")
    problems = tool.run(course, "quick", minutes=0.5).problems
    assert any("ZeroDivisionError" in p or "stopped after" in p for p in problems), problems


SLEEP = "import time; time.sleep(600)"
PARENT = f"""
import pathlib, subprocess, sys
kernel = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(kernel.pid))
{SLEEP}
"""


def test_the_limit_ends_the_command_and_its_detached_kernel(tmp_path):
    pid = tmp_path / "pid"
    assert tool.watch([sys.executable, "-c", PARENT, str(pid)], limit=5)[0] is None
    kernel, deadline = int(pid.read_text()), time.monotonic() + 10
    while is_alive(kernel):  # a signal takes a moment to arrive on a busy machine
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # nobody may reap orphans
    except psutil.NoSuchProcess:
        return False


def test_a_stopped_lesson_names_the_cell_where_it_hung(course, monkeypatch):
    monkeypatch.setattr(tool, "watch", lambda command, limit: (None, 0.0))
    (problem,) = tool.run(course, "quick", minutes=3).problems
    assert problem.startswith("stopped after 3 minutes at cell 01_a-lesson-01, ")


def test_large_widget_state_is_left_out_and_the_text_stays(course):
    notebook, executed = tool.build(course), tool.build(course)
    view = {tool.VIEW: {"model_id": "x"}, "text/plain": "FloatSlider()"}
    for cell in (tool.code_cells(notebook)[-1], tool.code_cells(executed)[-1]):
        cell.outputs = [new_output("display_data", view)]
    executed.metadata["widgets"] = {tool.STATE: {"state": {"x": "y" * tool.LARGEST_STATE}}}
    tool.keep_widgets(notebook, executed)
    assert "widgets" not in notebook.metadata
    assert dict(tool.code_cells(notebook)[-1].outputs[0].data) == {"text/plain": "FloatSlider()"}


def test_the_table_counts_verdicts():
    verdicts = ["holds", "does not hold", "holds", "cannot tell"]
    assert tool.summary([{"verdict": v} for v in verdicts]) == "4: 2 hold, 1 not, 1 cannot tell"
    assert tool.summary([]) == "none"


def test_the_costs_are_summed_and_a_lesson_too_large_for_binder_is_named(course):
    runs = [
        tool.Run("01_small", 1.25, 2048.0, tool.build(course)),
        tool.Run("02_large", 2.5, 2060.0, tool.build(course)),
        tool.Run("03_broken", 3.0, 3000.0, tool.build(course), problems=["no"]),
    ]
    _, first, _, third, total, *warnings = tool.costs(runs)
    assert re.split(r"  +", first) == ["01_small", "1.2", "2048", "none"]
    assert third.endswith("FAILED, not stored")
    assert re.split(r"  +", total) == ["all 3 together", "6.8"]
    assert warnings == [
        "WARNING: 02_large needs 2,060 MiB; Binder stops at 2,048",
        "WARNING: 03_broken needs 3,000 MiB; Binder stops at 2,048",
    ]


@pytest.mark.parametrize(
    ("profile", "out", "times", "note"),
    [("full", "", 1, False), ("full", "", 1, True), ("quick", "", 0, True), ("full", "o", 0, True)],
)
def test_a_full_run_writes_the_tables_and_its_costs(course, monkeypatch, profile, out, times, note):
    written, noted = [], []
    done = tool.Run("01_a lesson", 1.0, 100.0, tool.build(course))
    monkeypatch.setattr(tool, "SOURCES", course.parent)
    monkeypatch.setattr(tool, "find_sources", lambda names: [course])
    monkeypatch.setattr(tool, "run", lambda *options: done)
    monkeypatch.setattr(tool, "write_tables", lambda: written.append(tool.notebook_of(course)))
    monkeypatch.setattr(tool, "note_costs", noted.append)
    folder = course.parent.parent / out if out else None
    options = argparse.Namespace(names=[], profile=profile, minutes=1, out=folder, note=note)
    assert tool.run_all(options) == 0
    assert written == [tool.notebook_of(course)] * times
    assert all(path.exists() for path in written)  # the lesson is stored by then
    assert noted == [[done]] * (times and note)


def test_what_a_lesson_took_on_two_cores_is_noted(course, tmp_path, monkeypatch):
    before = {"how": "so", "lessons": {"01_small": {"minutes": 3, "peak_mib": 9}, "02": {}}}
    monkeypatch.setattr(tool, "MEASURED", tmp_path / "measured.json")
    monkeypatch.setattr(tool.os, "cpu_count", lambda: 2)
    tool.MEASURED.write_text(json.dumps(before), "utf-8")
    good = tool.Run("01_small", 1.26, 2048.4, tool.build(course))
    tool.note_costs([good, tool.Run("02", 3.0, 30.0, tool.build(course), problems=["no"])])
    new = {"minutes": 1.3, "peak_mib": 2048}
    after = before | {"lessons": before["lessons"] | {"01_small": new}}
    assert json.loads(tool.MEASURED.read_text("utf-8")) == after
    monkeypatch.setattr(tool.os, "cpu_count", lambda: 8)
    with pytest.raises(SystemExit, match="machines of 2 cores"):
        tool.note_costs([good])


def test_a_run_names_results_that_other_code_of_the_library_made(tmp_path):
    source = tmp_path / "src" / "01_a.py"
    for folder in ("src", "experiments"):
        (tmp_path / folder).mkdir()
    source.write_text('lessons.results("old")\nlessons.results("new")\nlessons.results("none")\n')
    for name, library in {
        "old": dict.fromkeys(("course_lib.a", "course_lib.b"), "1"),
        "new": {},
    }.items():
        (tmp_path / "experiments" / f"{name}.json").write_text(json.dumps({"library": library}))
    assert tool.older_results(source) == ["old was made before a, b changed"]


def test_the_peak_counts_the_command_and_its_children():
    """papermill stands for Jupyter's server, which shares a Binder session's memory."""
    hold = "x = b'x' * (100 << 20); import time; time.sleep(2)"
    alone = tool.watch([sys.executable, "-c", hold], limit=30)[1]
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    both = tool.watch([sys.executable, "-c", f"y = b'y' * (100 << 20); {child}"], limit=30)[1]
    assert 100 < alone < 180
    assert 200 < both < 280


@pytest.mark.skipif(sys.platform != "linux", reason="only there psutil tells files apart")
def test_the_pages_of_a_mapped_file_do_not_count(tmp_path):
    (tmp_path / "table").write_bytes(bytes(200 << 20))
    look = (
        f"import mmap; m = mmap.mmap(open({str(tmp_path / 'table')!r}, 'rb').fileno(), 0, prot=1)"
    )
    look += "; sum(m[:: 4096]); import time; time.sleep(2)"
    assert tool.watch([sys.executable, "-c", look], limit=30)[1] < 80


# --- the first cell of every lesson ---------------------------------------------------------------

HIDDEN = """
import importlib.machinery, importlib.util, subprocess, sys
real = importlib.util.find_spec

def find_spec(name, *rest):
    # course_lib counts as found in a clone only, as on a machine where nobody installed it
    clones = [path for path in sys.path if "clone" in path]
    lookup = importlib.machinery.PathFinder.find_spec
    return lookup(name, clones) if name == "course_lib" else real(name, *rest)

importlib.util.find_spec = find_spec
subprocess.run = lambda command, **how: print("RAN", *command, how)
"""


def first_cell(cwd: Path, *, repository: str = "", before: str = "") -> subprocess.CompletedProcess:
    code = tool.setup_source()
    code = re.sub(r'REPOSITORY = ".*?"', f'REPOSITORY = "{repository}"', code)
    code = f"{before}\nfor attempt in (1, 2):\n    exec({code!r}, globals())\nprint(sys.path)"
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8"
    )


def test_the_first_cell_runs_twice_and_says_what_it_found(tmp_path):
    ran = first_cell(tmp_path)
    assert ran.returncode == 0, ran.stderr
    first, second, _ = ran.stdout.splitlines()
    assert first == second
    assert re.fullmatch(r"course_lib \S+ · Python 3\.\S+ · torch 2\.\S+", first)
    assert not tool.LOCAL_PATH.search(first)


def test_the_first_cell_leaves_pytorch_to_the_start_of_the_lesson(tmp_path):
    """`lessons.start` sets what PyTorch reads as it loads."""
    code = f"exec({tool.setup_source()!r})\nimport sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_the_first_cell_installs_and_keeps_torch(tmp_path):
    address = "https://example.org/course.git"
    ran = first_cell(tmp_path, repository=address, before=HIDDEN)
    assert ran.returncode == 0, ran.stderr
    command = ran.stdout.splitlines()[0]
    assert command.startswith(f"RAN {sys.executable} -m pip install")
    assert f" git+{address} torch=={version('torch')} " in command
    assert "'check': True" in command


def test_the_first_cell_without_an_address_says_what_to_do(tmp_path):
    ran = first_cell(tmp_path, before=HIDDEN)
    assert ran.returncode == 1
    assert "RAN" not in ran.stdout
    assert ran.stderr.splitlines()[-1].startswith(
        "ModuleNotFoundError: course_lib not found: clone"
    )
    assert "make lab" in ran.stderr


def test_the_first_cell_finds_a_clone_that_is_not_installed(tmp_path):
    clone = tmp_path / "clone"
    (clone / "course_lib").mkdir(parents=True)
    (clone / "course_lib" / "__init__.py").write_text("")
    (clone / "notebooks").mkdir()
    ran = first_cell(clone / "notebooks", before=HIDDEN)
    assert ran.returncode == 0, ran.stderr
    assert "RAN" not in ran.stdout
    assert eval(ran.stdout.splitlines()[-1]).count(str(clone)) == 1
