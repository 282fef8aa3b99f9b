"""The layout: which package may import which, how large they grow, what `import course_lib` does."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import course_lib

HOUSE = Path(course_lib.__file__).parent
# From the bottom up; a package imports only from those before its own line, and from itself.
FLOORS = (
    {"modules", "files"},
    {"cache", "folder_checks"},
    {"batching"},
    {"evaluation"},
    {"training"},
    {"pruning", "structured", "quantization"},  # techniques do not know each other
    {"distillation", "serialization"},
    {"cached_files"},
    {"datasets"},
    {"models"},
    {"lessons"},
    {"compression"},
    {"checks"},
    {"grading"},
    {"cli"},
    {"__main__"},
)
LIBRARY = set().union(*FLOORS[:7])
# The program that travels in a folder with a model. It stands alone, so it is counted alone.
SHIPPED = HOUSE / "quantization" / "run_onnx.py"
# Lines, docstrings included: what each room has, why, and what it may grow by unseen. Who adds more
# says here what for.
ROOMS = {
    "library": {
        "structured": 2_690,  # speed-ups; roles 450, joins 140, refusals 130, norms 75
        "evaluation": 1_144,  # ratios with intervals; perplexity and two speeds 300
        "distillation": 873,  # transfer sets; no probabilities, padded rows 31; tokens 120
        "pruning": 777,  # masks per output row, tied weights 200
        "quantization": 621,  # int8 of a row, ONNX; half precision, padding ids; not run_onnx
        "training": 533,  # resuming to the bit, streams
        "serialization, folder_checks": 600,  # hostile folders 263; masked and pruned ones 24
        "batching, modules, files, cache": 593,  # left-overs, kills, read-only 118; labels
        "the door": 42,
        "margin": 150,
    },
    "shipped": {"run_onnx": 126},  # limits of its own
    "course": {
        "lessons: diagrams": 2_130,  # thirty-one, a function each
        "lessons: plots": 2_000,  # one style, alt text from the numbers
        "lessons: sliders": 1_965,  # on a chart library, stored for the site
        "lessons: all else": 2_255,  # claims, experiments, settings, test sets; fill-in cells
        "compression": 1_345,  # one call from a file of texts to a folder; F1
        "datasets": 1_250,  # a learner's file; tables, lines, two labels; reviews as tokens
        "models": 1_123,  # students; swapped classes; a language model of four bits
        "cli": 685,  # the doctor; compress
        "cached_files, __main__": 151,  # made once, with checksums
        "margin": 150,
    },
    "checks": {
        "lessons": 4_840,  # mistakes as edits; many numbers at once; settings and modes of layers
        "slips that recur, facts": 520,  # what no check lists is named, too
        "naming and the rest": 1_117,
        "margin": 60,
    },
    "grading": {  # a class's answers, run in a sandbox and judged from outside
        "wire": 628,  # modules, gradients and functions travel on it, so no check was written anew
        "sandbox": 608,  # with namespaces, without them, limits; what fails is said; groups of memory
        "judge, worker, nbgrader's steps": 530,  # what is computed, crowds, links, half messages
        "margin": 36,
    },
    "tests": {  # every .py below tests/; the learners' answers, which are text, are not counted
        "lessons": 4_546,
        "structured": 2_985,  # families and networks in zoos; inexact, ONNX of all 125
        "reliability": 2_804,
        "grading": 1_070,  # sixteen learners; each check through the wire; liars; the sandbox
        "deploy": 844,  # the hub, with two learners and a teacher; values for Kubernetes
        "checks": 1_720,  # without 2,630 lines of learners' answers
        "browser, notebooks": 1_594,  # in JupyterLab and on the site
        "other rooms": 7_218,  # as many lines as the rooms that they test
        "files of their own": 3_715,  # site, links, README; grading; a bundle for three systems 550
        "what they share": 1_440,
        "margin": 470,
    },
}
LIMITS = {part: sum(rooms.values()) for part, rooms in ROOMS.items()}


def package(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """The modules of course_lib that a file imports, wherever in the file that stands.

    What only a type checker reads is left out: it is never imported.
    """
    tree = ast.parse(path.read_text("utf-8"))
    for block in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if ast.unparse(block.test) == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("course_lib."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("course_lib"):
            for name in node.names:
                yield f"{node.module}.{name.name}"


def edges() -> Iterator[tuple[str, str, Path]]:
    for path in sorted(HOUSE.rglob("*.py")):
        if path != HOUSE / "__init__.py":
            for target in imports(path):
                yield package(path), target.split(".")[1], path


def floor(name: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if name in names)


def test_every_package_has_its_floor():
    names = {package(path) for path in HOUSE.rglob("*.py")} - {"__init__"}
    assert names <= set().union(*FLOORS)


def test_no_import_runs_upward_or_sideways():
    wrong = {
        f"{path.relative_to(HOUSE)} imports {target}"
        for source, target, path in edges()
        if source != target and floor(source) <= floor(target)
    }
    assert not wrong


def test_no_two_modules_import_each_other_in_a_circle():
    from graphlib import TopologicalSorter

    def module(name: str) -> str:
        """``course_lib.pruning.masks`` for that module and for the names in it."""
        parts = name.split(".")
        while not (HOUSE.parent / Path(*parts)).with_suffix(".py").exists() and len(parts) > 2:
            parts.pop()
        return ".".join(parts)

    graph = {
        ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts): {
            module(name) for name in imports(path)
        }
        for path in HOUSE.rglob("*.py")
    }
    TopologicalSorter({k: v - {k} for k, v in graph.items()}).prepare()  # raises CycleError


def test_no_public_function_is_named_like_a_module_beside_it():
    for path in HOUSE.rglob("*.py"):
        beside = {p.stem for p in path.parent.glob("*.py")} | {
            p.name for p in path.parent.iterdir() if p.is_dir()
        }
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                assert node.name not in beside - {"main"}, f"{path.name}: {node.name}"


def lines(files: Iterable[Path]) -> int:
    return sum(len(path.read_text("utf-8").splitlines()) for path in files)


@pytest.mark.parametrize("part", LIMITS)
def test_nothing_grows_unseen(part):
    modules = set(HOUSE.rglob("*.py")) - {SHIPPED}
    in_library = {path for path in modules if package(path) in LIBRARY | {"__init__"}}
    in_grading = {path for path in modules if package(path) == "grading"}
    in_course = {
        path for path in modules - in_library if package(path) not in ("checks", "grading")
    }
    files = {
        "library": in_library,
        "shipped": [SHIPPED],
        "course": in_course,
        "checks": modules - in_library - in_course - in_grading,
        "grading": in_grading,
        "tests": Path(__file__).parent.rglob("*.py"),
    }
    assert lines(files[part]) <= LIMITS[part]


def fresh(code: str, *options: str) -> str:
    """What a new Python prints."""
    result = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, check=True
    )
    return result.stdout + result.stderr


def test_importing_the_package_does_nothing_else():
    code = """
import atexit, os, sys
before, hooks = dict(os.environ), []
atexit.register = lambda *given, **more: hooks.append(given)
modules = set(sys.modules)
import course_lib
print(sorted({name.split(".")[0] for name in set(sys.modules) - modules}))
print(dict(os.environ) == before, hooks)
"""
    assert fresh(code) == "['course_lib']\nTrue []\n"


def test_importing_the_package_takes_less_than_50_milliseconds():
    code = """
import time
start = time.process_time()
import course_lib
print(1000 * (time.process_time() - start))
"""
    assert min(float(fresh(code)) for _ in range(3)) < 50


def test_the_verbs_load_and_are_those_that_an_editor_sees():
    stub = ast.parse((HOUSE / "__init__.pyi").read_text("utf-8"))
    seen = {
        alias.asname: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == course_lib._VERBS
    assert set(course_lib.__all__) == set(seen) <= set(dir(course_lib))
    for verb in course_lib.__all__:
        assert callable(getattr(course_lib, verb))
    with pytest.raises(AttributeError, match="course_lib has no 'purne'; it has distill"):
        course_lib.purne  # noqa: B018


def test_what_editors_need_is_shipped():
    stubs = {path.parent.name for path in HOUSE.rglob("__init__.pyi")}
    lazy = {p.parent.name for p in HOUSE.rglob("__init__.py") if "lazy_loader" in p.read_text()}
    assert stubs == lazy | {"course_lib"}
    assert (HOUSE / "py.typed").exists()
