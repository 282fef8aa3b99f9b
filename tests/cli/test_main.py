"""The three plain main."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.cli import main


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def started(monkeypatch):
    """Jupyter's command lines, in place of JupyterLab itself."""
    lines = []
    monkeypatch.setattr("jupyterlab.labapp.main", lines.append)
    # What `lab` sets must not stay set for the tests that follow.
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return lines


def test_an_unknown_command_is_named_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["labb"])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "labb" in message
    assert all(command in message for command in ["lab", "fetch", "doctor"])


def test_no_command_shows_how_it_is_used(capsys):
    with pytest.raises(SystemExit):
        main.main([])
    assert "usage: python -m course_lib" in capsys.readouterr().err


def test_only_lab_takes_arguments(capsys):
    with pytest.raises(SystemExit):
        main.main(["doctor", "--port=9000"])
    assert "doctor takes no arguments, but got: --port=9000" in capsys.readouterr().err


def test_the_persons_arguments_come_last():
    line = main.lab_arguments(["--port=9000", "--no-browser"], root=False)
    assert line[-2:] == ["--port=9000", "--no-browser"]
    assert f"--ServerApp.root_dir={main.course_folder()}" in line
    assert "--LabApp.default_url=/lab/tree/README.md" in line


@pytest.mark.parametrize("root", [True, False])
def test_root_is_allowed_only_where_it_is_root(root):
    assert ("--allow-root" in main.lab_arguments([], root=root)) is root


def test_jupyter_understands_the_line_and_asks_for_no_news():
    from jupyterlab import NeverCheckForUpdate
    from jupyterlab.labapp import LabApp

    app = LabApp()
    app.parse_command_line(main.lab_arguments([], root=False))
    assert app.news_url is None
    assert app.check_for_updates_class is NeverCheckForUpdate
    assert app.extension_manager == "readonly"


def test_kernels_find_this_python_and_jupyter_the_courses_settings(monkeypatch):
    monkeypatch.setenv("PATH", "before")
    monkeypatch.delenv("JUPYTER_CONFIG_PATH", raising=False)
    environment = main.lab_environment()
    assert environment["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}before"
    settings = Path(environment["JUPYTER_CONFIG_PATH"], "labconfig")
    assert settings.joinpath("default_setting_overrides.json").exists()


def test_jupyter_reads_the_courses_settings(monkeypatch):
    from jupyterlab_server.settings_utils import _get_overrides

    path = main.lab_environment()["JUPYTER_CONFIG_PATH"]
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", path)
    overrides, error = _get_overrides("no such folder")
    assert not error
    viewers = overrides["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]
    assert viewers["markdown"] == "Markdown Preview"


def test_fetch_notes_its_success(cache, monkeypatch):
    monkeypatch.setattr("course_lib.datasets.sources.fetch", lambda llm: None)
    monkeypatch.setattr("course_lib.datasets.sources.verify", lambda: {})
    assert not main._is_fetched()
    assert main.main(["fetch"]) == 0
    assert main._is_fetched()


@pytest.mark.parametrize("arguments", [[], ["--llm"]])
def test_the_language_model_is_fetched_where_it_is_asked_for(cache, monkeypatch, arguments):
    asked = []
    monkeypatch.setattr("course_lib.datasets.sources.fetch", asked.append)
    monkeypatch.setattr("course_lib.datasets.sources.verify", lambda: {})
    assert main.main(["fetch", *arguments]) == 0
    assert asked == [bool(arguments)]


def test_fetch_says_why_it_stopped(cache, monkeypatch, capsys):
    def fetch(llm):
        raise OSError(f"no network; {os.path.expanduser('~')}/x is missing")

    monkeypatch.setattr("course_lib.datasets.sources.fetch", fetch)
    assert main.main(["fetch"]) == 1
    message = capsys.readouterr().err
    assert "fetch stopped: no network; ~/x is missing" in message
    assert "course_lib doctor" in message
    assert not main._is_fetched()


def test_ctrl_c_is_no_fault(monkeypatch, capsys):
    def fetch(llm):
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "fetch", fetch)
    assert main.main(["fetch"]) == 130
    assert capsys.readouterr().err == ""


def test_lab_fetches_once(cache, monkeypatch, started):
    calls = []

    def run(line, check):
        calls.append(line)
        main._fetched_note().write_text(main._wanted())

    monkeypatch.setattr(subprocess, "run", run)
    assert main.main(["lab", "--port=9000"]) == 0
    assert main.main(["lab", "--port=9000"]) == 0
    assert [line[1:] for line in calls] == [["-m", "course_lib", "fetch"]]
    assert [line[-1] for line in started] == ["--port=9000"] * 2


def test_lab_fetches_again_when_other_data_is_needed(cache):
    main._fetched_note().write_text("an older list")
    assert not main._is_fetched()


def test_lab_does_not_start_without_its_data(cache, monkeypatch, started):
    def run(line, check):
        raise subprocess.CalledProcessError(1, line)

    monkeypatch.setattr(subprocess, "run", run)
    assert main.main(["lab"]) == 1
    assert started == []


def test_lab_without_jupyterlab_says_so(cache, monkeypatch, capsys):
    monkeypatch.setattr(main, "_is_fetched", lambda: True)
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", None)
    assert main.main(["lab"]) == 1
    assert "lab stopped: " in capsys.readouterr().err


def test_outside_a_checkout_the_current_folder_is_the_course(monkeypatch, tmp_path):
    assert main.course_folder().joinpath("notebooks").is_dir()
    monkeypatch.setattr(main, "__file__", str(tmp_path / "course_lib" / "cli" / "main.py"))
    monkeypatch.chdir(tmp_path)
    assert main.course_folder() == tmp_path
