"""Each check of the doctor, fine and failing."""

import os
import re
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

from course_lib.cli import doctor
from course_lib.cli.doctor import Check

Version = namedtuple("Version", "major minor micro")
Memory = namedtuple("Memory", "available total")
Usage = namedtuple("Usage", "free")
Spec = namedtuple("Spec", "argv")


def raising(error):
    """A function that raises `error` whatever it is given."""

    def function(*_args, **_kwargs):
        raise error

    return function


def test_a_failure_shows_its_cure_and_a_success_does_not():
    assert "cure" not in str(Check("disk", True, "9 GiB free", "delete something"))
    assert str(Check("disk", False, "0 GiB free", "delete something")).endswith(
        "cure: delete something"
    )


@pytest.mark.parametrize(("version", "ok"), [((3, 11, 0), True), ((3, 10, 9), False)])
def test_python(monkeypatch, version, ok):
    monkeypatch.setattr(sys, "version_info", Version(*version))
    check = doctor.check_python()
    assert check.ok is ok
    assert "3.11" in check.cure


def test_an_old_python_is_reported_alone(monkeypatch):
    monkeypatch.setattr(sys, "version_info", Version(3, 9, 2))
    assert [check.name for check in doctor.all_checks()] == ["system", "python"]


def test_compute():
    check = doctor.check_compute()
    assert check.ok
    assert "threads" in check.found


def test_compute_with_a_broken_torch(monkeypatch):
    monkeypatch.setattr("torch.ones", raising(OSError("libtorch.so: cannot open\n  shared object")))
    check = doctor.attempt("compute", doctor.check_compute, "torch")
    assert not check.ok
    assert check.found == "OSError: libtorch.so: cannot open shared object"
    assert "pip install --force-reinstall --no-deps torch==" in check.cure


def test_a_missing_module_is_installed_without_touching_others():
    cure = doctor.cure_for("torch", ModuleNotFoundError("No module named 'sympy'"))
    assert "pip install torch==" in cure


def test_requirement_in_its_range():
    version = metadata.version("numpy")
    check = doctor.check_requirement("numpy>=1", {"numpy": version})
    assert (check.name, check.ok) == ("numpy", True)
    assert check.found == f"{version} (>=1 needed, as tested)"


def test_a_local_version_is_as_tested(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "2.13.0+cpu")
    assert "as tested" in doctor.check_requirement("torch>=2.6", {"torch": "2.13.0"}).found


def test_another_version_than_the_tested_one_is_fine_and_said():
    check = doctor.check_requirement("numpy>=1", {"numpy": "0.1"})
    assert check.ok
    assert "tested with 0.1" in check.found


def test_requirement_out_of_its_range():
    check = doctor.check_requirement("numpy>=999", {})
    assert not check.ok
    assert ">=999" in check.found
    assert "pip install numpy" in check.cure


def test_requirement_not_installed():
    check = doctor.check_requirement("no-such-package>=2", {})
    assert (check.ok, check.found) == (False, "not installed, >=2 needed")
    assert check.cure.endswith("pip install no-such-package")


def test_requirement_that_cannot_be_imported(monkeypatch):
    error = ImportError("numpy.core.multiarray failed to import")
    monkeypatch.setattr(doctor.importlib, "import_module", raising(error))
    check = doctor.check_requirement("scikit-learn>=1", {})
    assert not check.ok
    assert "broken: ImportError: numpy.core.multiarray" in check.found
    assert "--force-reinstall" in check.cure


def test_modules_are_found_under_their_own_name():
    assert "sklearn" in doctor._modules("scikit-learn")
    assert "PIL" in doctor._modules("Pillow")


def test_requirements_are_those_of_pyproject_each_after_those_it_needs(monkeypatch):
    monkeypatch.setattr(doctor, "check_requirement", lambda line, tested: line)
    names = [re.match(r"[\w-]+", line)[0] for line in doctor.check_requirements()]
    assert names.index("numpy") < names.index("matplotlib")
    assert names.index("pillow") < names.index("matplotlib")
    assert "jupyterlab" in names
    assert "pytest" not in names


def test_requirements_without_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "COURSE", tmp_path)
    lines = [line for line in doctor.requirements() if doctor._applies(line)]
    assert any(line.startswith("torch") for line in lines)
    assert any(line.startswith("jupyterlab") for line in lines)
    assert not any(line.startswith("pytest") for line in lines)
    assert doctor.pinned_versions() == {}


def test_requirements_that_cannot_be_read(monkeypatch):
    monkeypatch.setattr(doctor, "requirements", raising(ValueError("not TOML")))
    (check,) = doctor.check_requirements()
    assert (check.ok, check.found) == (False, "ValueError: not TOML")
    assert "pip install -e .[lab]" in check.cure


def test_data(monkeypatch):
    monkeypatch.setattr(
        "course_lib.datasets.sources.verify", lambda: {"digits": "", "model": "it is damaged"}
    )
    fine, damaged = doctor.check_data()
    assert (fine.name, fine.ok) == ("data, digits", True)
    assert (damaged.ok, damaged.found) == (False, "it is damaged")
    assert damaged.cure.endswith("-m course_lib fetch")


@pytest.mark.parametrize(
    ("error", "cure"),
    [(PermissionError("no"), "-m course_lib fetch"), (ImportError("no"), "pip install -e .[lab]")],
)
def test_data_that_cannot_be_verified(monkeypatch, error, cure):
    monkeypatch.setattr("course_lib.datasets.sources.verify", raising(error))
    (check,) = doctor.check_data()
    assert (check.ok, check.found) == (False, f"{type(error).__name__}: no")
    assert check.cure.endswith(cure)


@pytest.mark.parametrize(("free", "ok"), [(2.0, True), (0.5, False)])
def test_memory(monkeypatch, free, ok):
    memory = Memory(free * doctor.GIB, 8 * doctor.GIB)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    check = doctor.check_memory()
    assert check.ok is ok
    assert f"{free} of 8.0 GiB free" in check.found
    assert "Shut Down" in check.cure


@pytest.mark.parametrize(("free", "ok"), [(2.0, True), (0.5, False)])
def test_disk(monkeypatch, tmp_path, free, ok):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: Usage(free * doctor.GIB))
    check = doctor.check_disk()
    assert check.ok is ok
    assert str(tmp_path) in check.found
    assert "COURSE_CACHE" in check.cure


@pytest.mark.parametrize(
    ("program", "ok"),
    [("python", True), ("python3.11", True), (sys.executable, True), ("/elsewhere/python", False)],
)
def test_kernel(monkeypatch, program, ok):
    monkeypatch.setattr(
        "jupyter_client.kernelspec.KernelSpecManager.get_kernel_spec",
        lambda manager, name: Spec([program, "-m", "ipykernel_launcher"]),
    )
    check = doctor.check_kernel()
    assert check.ok is ok
    assert ok or program in check.found
    assert check.cure.endswith("ipykernel install --sys-prefix")


def test_another_environment_of_the_same_python_is_another_python(monkeypatch, tmp_path):
    for name in ("mine", "other"):  # as venv makes them, where the system has links
        (tmp_path / name).mkdir()
        (tmp_path / name / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "mine" / "python"))
    assert doctor._same_file(str(tmp_path / "mine" / "python"))
    assert not doctor._same_file(str(tmp_path / "other" / "python"))


def test_no_kernel(monkeypatch):
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", raising(NoSuchKernel("python3")))
    check = doctor.check_kernel()
    assert not check.ok
    assert "python3" in check.found


@pytest.mark.parametrize("end", ["/.cache/digits", "", ": no such file", "'"])
def test_the_home_folder_is_hidden(monkeypatch, end):
    monkeypatch.setenv("HOME", "/somewhere/ada")
    monkeypatch.setenv("USERPROFILE", "/somewhere/ada")
    assert doctor.hide_home(f"in /somewhere/ada{end}") == f"in ~{end}"


def test_another_folder_is_not_hidden(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere/ada")
    monkeypatch.setenv("USERPROFILE", "/somewhere/ada")
    assert doctor.hide_home("/somewhere/adapter/x") == "/somewhere/adapter/x"
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setenv("USERPROFILE", "/")
    assert doctor.hide_home("/somewhere/x") == "/somewhere/x"


def test_the_exit_code_tells_and_the_home_is_not_printed(monkeypatch, capsys):
    home = os.path.expanduser("~")
    checks = [Check("a", True, "fine"), Check("b", False, f"{home}/x is bad", f"rm {home}/x")]
    monkeypatch.setattr(doctor, "all_checks", lambda: checks)
    assert doctor.main() == 1
    printed = capsys.readouterr().out
    assert "[OK]   a: fine" in printed
    assert "[FAIL] b: ~/x is bad" in printed
    assert "cure: rm ~/x" in printed
    assert "2 checks, 1 failed." in printed
    assert home not in printed
    monkeypatch.setattr(doctor, "all_checks", lambda: checks[:1])
    assert doctor.main() == 0


def test_it_speaks_where_nothing_is_installed(tmp_path):
    course = Path(doctor.__file__).parents[2]
    # -I -S: without the folders where packages are installed.
    code = f"import sys; sys.path.insert(0, {str(course)!r}); from course_lib.cli import doctor; "
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code + "sys.exit(doctor.main())"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "COURSE_CACHE": str(tmp_path)},
    )
    assert result.returncode == 1, result.stderr
    assert "[OK]   python" in result.stdout
    assert "[FAIL]" in result.stdout
    assert "cure: " in result.stdout
    assert result.stderr == ""
