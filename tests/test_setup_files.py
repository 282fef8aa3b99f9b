"""The files at the root say the same thing as each other, and hold nothing of one machine."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import course_lib

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
REPOSITORY = PYPROJECT["tool"]["course"]["repository"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pins() -> dict[str, str]:
    lines = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


def direct() -> list[str]:
    extras = PROJECT["optional-dependencies"].values()
    return [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]


def recipes() -> dict[str, list[str]]:
    """Makefile target → the lines of its recipe."""
    found: dict[str, list[str]] = {}
    target = ""
    for line in text("Makefile").splitlines():
        if line.startswith("\t"):
            found[target].append(line)
        elif rule := re.match(r"([\w$()/.% ]+?):(?!=)", line):
            target = rule[1]
            found[target] = []
    return found


def tracked() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.mark.parametrize("line", direct())
def test_every_direct_dependency_is_pinned_within_its_range(line):
    wanted = Requirement(line)
    assert wanted.specifier.contains(pins()[canonicalize_name(wanted.name)])


def test_constraints_hold_only_public_versions():
    assert pins()["torch"] == "2.13.0"
    assert not re.search(r"[+@]|://|^-", "\n".join(f"{n}=={v}" for n, v in pins().items()))


def test_the_version_stands_the_same_everywhere():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert PROJECT["version"] == course_lib.__version__ == citation["version"]


def test_what_make_starts_keeps_what_it_compiles():
    """Without it each kernel compiled all packages again: 20 seconds more, fifty times a test run."""
    rule = f"include {ROOT / 'Makefile'}\nshow:\n\t@echo [$$PYTHONDONTWRITEBYTECODE]\n"
    command = ["make", "--no-print-directory", "-f", "-", "show"]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, input=rule, env=environment, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("target", ["lab", "test", "notebooks", "exercises", "doctor"])
def test_makefile_targets_are_short(target):
    assert 1 <= len(recipes()[target]) <= 3


def test_make_knows_every_target():
    run = subprocess.run(
        [
            "make",
            "--dry-run",
            "lab",
            "test",
            "notebooks",
            "exercises",
            "doctor",
            "PORT=9000",
            "ARGS=--no-browser",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert run.returncode == 0, run.stderr
    assert "course_lib lab --port=9000 --no-browser" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        ([], r"-n 2 --dist loadfile .*tests course_lib .*--nbval-lax .*notebooks/\*\.ipynb"),
        (["ARGS=tests/test_units.py -x"], r"tests/test_units\.py -x"),
    ],
)
def test_make_test_runs_all_on_two_workers_or_what_is_asked_for(arguments, called):
    command = ["make", "--dry-run", "test", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(
        rf"^\S+mypy & COURSE_PROFILE=quick \S+ -m pytest {called} && wait \$!$",
        run.stdout,
        re.MULTILINE,
    )


def test_ci_runs_make_test_without_asking():
    script = text(".ci/run")
    assert re.search(r"^make test$", script, re.MULTILINE)
    assert "set -euo pipefail" in script
    assert "DEBIAN_FRONTEND=noninteractive" in script


def test_environment_is_one_that_conda_and_binder_read():
    environment = yaml.safe_load(text("environment.yml"))
    # repo2docker accepts a misspelt key without a word.
    assert set(environment) == {"name", "channels", "dependencies"}
    assert environment["channels"][0] == "conda-forge"
    *conda, pip = environment["dependencies"]
    names = {Requirement(line.replace("=3", "==3", 1)).name for line in conda}
    assert names == {"python", "pip", "pytorch-cpu", "scikit-learn"}
    assert pip == {"pip": ["-e .[lab]"]}
    assert "python=3.11" in conda  # repo2docker takes 3.10 where none is pinned


@pytest.mark.parametrize("package", ["torch", "scikit-learn"])
def test_conda_asks_for_no_less_than_pip(package):
    conda = yaml.safe_load(text("environment.yml"))["dependencies"]
    wanted = next(line for line in direct() if Requirement(line).name == package)
    assert wanted.replace("torch", "pytorch-cpu") in conda


def test_binder_fetches_while_it_builds():
    assert "python -m course_lib fetch" in text("postBuild")


@pytest.mark.parametrize("script", [".ci/run", "postBuild"])
def test_scripts_are_executable(script):
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)


def test_citation_has_what_the_format_asks_for():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["authors"] == [{"name": "The course's contributors"}]
    assert " AND ".join(citation["license"]) == PROJECT["license"]


def test_the_licence_file_holds_both_texts():
    licence = text("LICENSE")
    assert "SPDX: Apache-2.0" in licence
    assert "SPDX: CC-BY-4.0" in licence
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in licence
    assert "Creative Commons Attribution 4.0 International Public License" in licence


def test_no_path_of_one_machine():
    # Ann is nobody: examples make up her home to see that it is found, and tests make up more.
    path = re.compile(r"(?<![\w.~)}<-])/(work|root|home|Users)/(?!ann/)\w")
    found = []
    for file in tracked():
        if file.is_relative_to(ROOT / "tests"):
            continue
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{file.relative_to(ROOT)}: {line[:100]}" for line in lines if path.search(line)]
    assert found == []


def test_badges_lead_to_the_repository_or_nowhere():
    readme = text("README.md")
    addresses = re.findall(r"https://(?:mybinder\.org|colab\.research\.google\.com)/\S+", readme)
    name = REPOSITORY.removeprefix("https://github.com/").removesuffix(".git")
    assert bool(addresses) is bool(REPOSITORY)
    assert all(f"/{name}/" in address for address in addresses)


def test_the_readme_names_only_files_that_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", text("README.md"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_jupyters_settings_are_json():
    folder = ROOT / "course_lib" / "jupyter"
    for path in folder.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
