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
        elif rule := re.match(r"([\w$()/.% -]+?):(?!=)", line):
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


TARGETS = ["lab", "test", "test-fast", "notebooks", "exercises", "site", "doctor"]


@pytest.mark.parametrize("target", TARGETS)
def test_makefile_targets_are_short(target):
    assert 1 <= len(recipes()[target]) <= 3


def test_make_knows_every_target():
    run = subprocess.run(
        [
            "make",
            "--dry-run",
            *TARGETS,
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


def test_a_class_without_a_folder_is_refused_before_anything_is_installed():
    """Before, it took minutes to be told so."""
    environment = {"PATH": os.environ["PATH"]}
    command = ["make", "class", "PYTHON=false"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert run.returncode == 2 and "Say where: make class FOLDER=" in run.stderr


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
        rf"^\S+mypy\S* & COURSE_PROFILE=quick \S+ -m pytest {called} && wait \$!$",
        run.stdout,
        re.MULTILINE,
    )


@pytest.mark.reliability
def test_an_audit_that_gets_no_answer_fails():
    """Before, the lock's two builds of PyTorch stopped it. What it cannot find, pip-audit skips."""
    (command,) = (line for line in recipes()["audit"] if "pip_audit" in line)
    assert "--strict" in command and "--requirement constraints.txt" in command
    lines = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    assert len(pins()) == len(lines)  # it refuses a package that stands there twice


def test_ci_runs_make_test_without_asking():
    script = text(".ci/run")
    assert re.search(r"^make test$", script, re.MULTILINE)
    assert "set -euo pipefail" in script
    assert "DEBIAN_FRONTEND=noninteractive" in script


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_one_that_github_reads(path):
    """GitHub says what is wrong with it only after a push."""
    workflow = yaml.safe_load(path.read_text("utf-8"))
    workflow["on"] = workflow.pop(True)  # YAML's name for what GitHub calls on
    assert set(workflow) == {"name", "on", "permissions", "concurrency", "jobs"}
    assert set(workflow["on"]) <= {"push", "pull_request", "schedule", "workflow_dispatch"}
    assert workflow["permissions"] == {"contents": "read"}
    keys = {"needs", "runs-on", "timeout-minutes", "permissions", "environment", "steps"}
    for job in workflow["jobs"].values():
        assert {"runs-on", "timeout-minutes", "steps"} <= set(job) <= keys
        assert not job["runs-on"].endswith("latest")
        assert {job.get("needs")} <= {None, *workflow["jobs"]}
        for step in job["steps"]:
            assert len({"uses", "run"} & set(step)) == 1
            assert set(step) <= {"id", "name", "uses", "run", "with", "env"}
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step.get("uses", "a/b@v1"))
            for target in re.findall(r"make (\w[\w-]*)", step.get("run", "")):
                assert target in recipes()
    ids = {step["id"] for job in workflow["jobs"].values() for step in job["steps"] if "id" in step}
    for word in re.findall(r"\$\{\{ (.*?) \}\}", path.read_text("utf-8")):
        assert re.fullmatch(rf"vars\.[A-Z_]+|steps\.({'|'.join(ids)})\.outputs\.\w+", word)


def test_the_site_is_published_from_where_make_writes_it():
    (publish,) = [path for path in WORKFLOWS if path.name == "site.yml"]
    jobs = yaml.safe_load(publish.read_text("utf-8"))["jobs"]
    uploads = [step["with"]["path"] for step in jobs["build"]["steps"] if "upload" in str(step)]
    assert uploads == ["site"] and "/site/" in text(".gitignore").splitlines()
    assert 'default=ROOT / "site"' in text("tools/build_site.py")
    assert jobs["publish"]["permissions"] == {"pages": "write", "id-token": "write"}


def test_the_dev_container_calls_what_make_has():
    container = json.loads(text(".devcontainer/devcontainer.json"))
    for command in ("postCreateCommand", "postAttachCommand"):
        name, *targets = container[command].split()
        assert name == "make"
        assert all("=" in word or word in recipes() for word in targets)
    assert "PORT=8888" in container["postAttachCommand"] and container["forwardPorts"] == [8888]


def test_the_dockerfile_calls_what_is_there_and_is_not_binders():
    assert not (ROOT / "Dockerfile").exists()  # Binder would take it in place of environment.yml
    joined = text("deploy/Dockerfile").replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    known = {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "ENV", "EXPOSE", "CMD"}
    assert {line.split()[0] for line in lines} <= known
    assert re.fullmatch(r"FROM python:3\.11-slim", lines[0])  # the lock is for this Python
    for script in re.findall(r"python (\S+\.py)", joined):
        assert (ROOT / script).exists()
    (command,) = [json.loads(line[4:]) for line in lines if line.startswith("CMD ")]
    assert command[:4] == ["python", "-m", "course_lib", "lab"]
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users and users[-1] != "root"


def test_the_readme_clones_the_project_from_where_it_is():
    assert f"git clone {REPOSITORY or 'ADDRESS'} small-networks" in text("README.md")


def test_the_readme_starts_early_and_is_short():
    lines = text("README.md").splitlines()
    assert lines.index("## Start") < 25 and len(lines) <= 100


def test_the_readme_has_a_row_for_each_lesson_with_its_minutes():
    rows = [
        line for line in text("README.md").splitlines() if "](notebooks/" in line and line[0] == "|"
    ]
    lessons = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert len(rows) == len(lessons)
    for row, lesson in zip(rows, lessons, strict=True):
        assert f"](notebooks/{lesson.name})" in row
        said = int(re.search(r"\*\*Time\*\* about (\d+) minutes", lesson.read_text("utf-8"))[1])
        shown = int(row.split("|")[4])
        assert abs(shown - said) <= 10, f"{lesson.name} says {said} minutes, the README {shown}"


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


def test_binders_image_has_the_slider_as_a_page_that_no_commit_takes():
    assert "python tools/build_site.py --try try.html" in text("postBuild")
    assert "urlpath=files/try.html" in text("docs/install.md")
    assert "/try.html" in text(".gitignore").splitlines()


@pytest.mark.parametrize("script", [".ci/run", "postBuild"])
def test_scripts_are_executable(script):
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)


def test_citation_has_what_the_format_asks_for():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["authors"] == [{"name": "The course's contributors"}]
    assert " AND ".join(citation["license"]) == PROJECT["license"]


def test_the_license_file_holds_both_texts():
    license = text("LICENSE")
    assert "SPDX: Apache-2.0" in license
    assert "SPDX: CC-BY-4.0" in license
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in license
    assert "Creative Commons Attribution 4.0 International Public License" in license


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
    folder = ROOT / "course_lib" / "cli" / "jupyter"
    for path in folder.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
