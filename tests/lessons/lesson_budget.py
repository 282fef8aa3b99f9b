"""What a lesson promises, read off its source: budgets and house rules.

Each rule takes the cells of a lesson and returns what breaks it, in words; `problems` has them all.

Exempt are the setup cell, the same in all lessons (from every rule), and collapsed cells, which a
learner need not read (from the numbers of code cells and lines, which have `COLLAPSED_LINES` instead,
and from the formula of minutes).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import jupytext
from nbformat import NotebookNode

from course_lib.lessons.settings import profiles_of

CELLS, CODE_CELLS, CELL_LINES, CODE_LINES = 50, 25, 15, 250
COLLAPSED_LINES = 140  # of a lesson's collapsed cells together
SCHEMATICS = 3
WORDS_A_MINUTE = 200
TOLERANCE = 0.15  # of the stated minutes
PLUMBING = {"base64", "hashlib", "importlib", "io", "json", "os", "pathlib", "pickle", "re"}
PLUMBING |= {"shutil", "subprocess", "sys", "tempfile"}
PARSING = {"split", "rsplit", "splitlines", "partition", "rpartition"}
VERDICTS = {"holds", "does not hold", "cannot tell", "holds in part", "in part"}
SCORING = {"evaluate", "correct", "predict", "perplexity"}
COUNTING = {"stored", "measured"}  # of a `TestSet`: what stands in their brackets is counted
TEST_DATA = {"test", "TestSet", "amazon_test", "short_reviews"}
# Names of test data that a lesson may score without counting, because the models are counted already.
SCORED_AGAIN = {
    "written"
}  # lesson 5: the stored files answer once more, to compare with the record
PICTURES = {"plots", "diagrams", "sliders", "widgets"}
PREDICTION = "**Predict first"
LAYER_0 = re.compile(r"\blayers?\s+0\b", re.IGNORECASE)
QUESTION = re.compile(
    r"^(?:\*\*)?\d+\.(?:\*\*)? [^\n]*(?:\n(?!\s*\n|\d+\.|\*\*\d|<)[^\n]*)*\?", re.M
)
TIME = re.compile(r"\*\*Time\*\*\D*(\d+) minutes.*?computer\D*(\d+)", re.DOTALL)

Cells = list[NotebookNode]


def problems(source: str) -> list[str]:
    """All that is wrong with a lesson, by the text of its py:percent source; [] for a good one."""
    cells = jupytext.reads(source, fmt="py:percent").cells
    rules = [budgets, plumbing, test_set, predictions, questions, minutes, layers, schematics]
    rules.append(start_first)
    return [found for rule in rules for found in rule(cells)]


def settings_out_of_step(source: str) -> list[str]:
    """Where a lesson and its table in notebooks/settings.toml differ: a name only one of them has."""
    cells = jupytext.reads(source, fmt="py:percent").cells
    nodes = [node for cell in code(cells) for node in ast.walk(parsed(cell))]
    starts = [node for node in nodes if isinstance(node, ast.Call) and ends_in(node.func, "start")]
    names = [node.args[0].value for node in starts if isinstance(node.args[0], ast.Constant)]
    if len(names) != 1:
        return [f"lessons.start is called {len(names)} times with a lesson's name, once is right"]
    used = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "settings"
    }
    table = set(profiles_of(names[0])["full"])
    return [
        *(f"settings.{name} is not in the table of {names[0]}" for name in sorted(used - table)),
        *(f"the table of {names[0]} has {name}, never used" for name in sorted(table - used)),
    ]


# --- the rules -------------------------------------------------------------------------------------


def budgets(cells: Cells) -> Iterator[str]:
    """Cells, code cells, lines of a cell, lines of code; collapsed code cells have their own limit."""
    shown = list(shown_code(cells))
    lines = [len(cell.source.splitlines()) for cell in shown]
    every = sum(len(cell.source.splitlines()) for cell in own_code(cells))
    yield from too_many("cells", len(cells), CELLS)
    yield from too_many("code cells", len(shown), CODE_CELLS)
    yield from too_many("lines of code", sum(lines), CODE_LINES)
    yield from too_many("lines in collapsed cells", every - sum(lines), COLLAPSED_LINES)
    for cell, count in zip(shown, lines, strict=True):
        yield from too_many(f"lines in the cell {label(cell)}", count, CELL_LINES)


def plumbing(cells: Cells) -> Iterator[str]:
    """Code that a learner should not have to read: not even in a collapsed cell, which opens."""
    for cell in own_code(cells):
        words = dict.fromkeys(unwanted(node) for node in ast.walk(parsed(cell)))
        yield from (f"{word} in the cell {label(cell)}" for word in words if word)


def test_set(cells: Cells) -> Iterator[str]:
    """Test data meet a model only through a `TestSet`, which counts it: ``test.accuracy(…)``."""
    known = TEST_DATA | names_of_test_data(cells)
    for cell in own_code(cells):
        nodes = list(ast.walk(parsed(cell)))
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        counting = [one for one in calls if isinstance(one.func, ast.Attribute)]
        counting = [one for one in counting if one.func.attr in COUNTING]
        counted = {id(node) for one in counting for node in ast.walk(one)}
        for call in calls:
            name = ast.unparse(call.func).rpartition(".")[2]
            given = [*call.args, *(keyword.value for keyword in call.keywords)]
            if (
                name in SCORING
                and id(call) not in counted
                and any(about(one, known) for one in given)
            ):
                yield f"{name}( on test data, uncounted, in the cell {label(cell)}"


def predictions(cells: Cells) -> Iterator[str]:
    """Each **Predict first** is answered in words at most two cells later."""
    for i, cell in enumerate(cells):
        if cell.cell_type != "markdown" or PREDICTION not in cell.source:
            continue
        folded = "<details" in cell.source.partition(PREDICTION)[2]
        if not folded and not any(map(is_answer, cells[i + 1 : i + 3])):
            yield f"no answer in words within two cells of {label(cell)}"


def questions(cells: Cells) -> Iterator[str]:
    """Each numbered list of questions has a folded answer behind it, in its cell or the next two."""
    for i, cell in enumerate(cells):
        if cell.cell_type != "markdown" or not (found := QUESTION.search(cell.source)):
            continue
        later = [one.source for one in cells[i + 1 : i + 3] if one.cell_type == "markdown"]
        if "<details" not in "\n".join([cell.source[found.end() :], *later]):
            yield f"no <details> with an answer behind the question {found.group()[:60]!r}"
        if "**1.**" in cell.source:  # a quiz: each question has an answer of its own
            asked, answered = len(QUESTION.findall(cell.source)), cell.source.count("<details")
            if answered < asked:
                yield f"the quiz asks {asked} questions and answers {answered}"


def minutes(cells: Cells) -> Iterator[str]:
    """The stated minutes are words / 200 + one a figure + one a code cell + those of the computer."""
    found = TIME.search("\n".join(cell.source for cell in cells if cell.cell_type == "markdown"))
    if not found:
        yield 'no "**Time** about N minutes; the computer works about M of them"'
        return
    stated, computed = map(int, found.groups())
    needed = minutes_needed(cells, computed)
    if abs(stated - needed) > TOLERANCE * needed:
        yield f"the lesson says {stated} minutes, and the formula {needed:.0f}"


def layers(cells: Cells) -> Iterator[str]:
    """Prose and labels count layers from 1."""
    for cell in cells:
        if cell.cell_type == "markdown":
            texts = [cell.source]
        else:
            nodes = ast.walk(parsed(cell))
            values = [node.value for node in nodes if isinstance(node, ast.Constant)]
            texts = [value for value in values if isinstance(value, str)]
        for text in texts:
            if found := LAYER_0.search(text):
                yield f"{found.group()!r} in the cell {label(cell)}: count layers from 1"


def schematics(cells: Cells) -> Iterator[str]:
    """At least three different drawings of `diagrams`."""
    drawings = {
        ast.unparse(node.func)
        for cell in code(cells)
        for node in ast.walk(parsed(cell))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("diagrams.")
    }
    if len(drawings) < SCHEMATICS:
        yield f"{len(drawings)} different schematics, {SCHEMATICS} are the least"


def start_first(cells: Cells) -> Iterator[str]:
    """`lessons.start` runs before PyTorch is loaded: it sets what PyTorch reads as it loads."""
    for cell in shown_code(cells):
        for node in parsed(cell).body:
            text = ast.unparse(node)
            if "lessons.start(" in text:
                return
            if isinstance(node, ast.Import | ast.ImportFrom) and not text.endswith(
                "import lessons"
            ):
                yield f"{text!r} comes before lessons.start"
                return
    yield "lessons.start is not called"


# --- what the rules look at ------------------------------------------------------------------------


def code(cells: Cells) -> Iterator[NotebookNode]:
    return (cell for cell in cells if cell.cell_type == "code")


def shown_code(cells: Cells) -> Iterator[NotebookNode]:
    """The code cells that a reader sees: neither the setup nor a collapsed one."""
    for cell in code(cells):
        hidden = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        if not hidden and "setup" not in cell.metadata.get("tags", []):
            yield cell


def own_code(cells: Cells) -> Iterator[NotebookNode]:
    """The code cells without the setup, which is the same in all lessons."""
    return (cell for cell in code(cells) if "setup" not in cell.metadata.get("tags", []))


def about(node: ast.AST, names: set[str]) -> bool:
    """Whether an expression reads one of these names, attributes or texts, and no allowed one."""
    words = {
        getattr(one, key)
        for one in ast.walk(node)
        for kind, key in ((ast.Name, "id"), (ast.Attribute, "attr"), (ast.Constant, "value"))
        if isinstance(one, kind)
    }
    return bool(words & names) and not words & SCORED_AGAIN


def names_of_test_data(cells: Cells) -> set[str]:
    """Names that a lesson gives to test data, or to what it makes of them."""
    names: set[str] = set()
    for cell in own_code(cells):
        for node in ast.walk(parsed(cell)):
            for target in node.targets if isinstance(node, ast.Assign) else ():
                both = [target, node.value]
                tuples = all(isinstance(side, ast.Tuple) for side in both)
                lefts, rights = ([*side.elts] if tuples else [side] for side in both)
                for left, right in zip(lefts, rights, strict=False):
                    if isinstance(left, ast.Name) and about(right, TEST_DATA | names):
                        names.add(left.id)
    return names


def parsed(cell: NotebookNode) -> ast.Module:
    """The cell's code, without Jupyter's magics and shell commands."""
    lines = cell.source.splitlines()
    return ast.parse("\n".join("" if line.startswith(("%", "!")) else line for line in lines))


def unwanted(node: ast.AST) -> str:
    """What is wrong with a piece of code, in a word or two; "" where it may stand in a lesson."""
    match node:
        case ast.Import(names=names):
            modules = {alias.name.partition(".")[0] for alias in names} & PLUMBING
            return f"import {min(modules)}" if modules else ""
        case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in PLUMBING:
            return f"import {module}"
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            names = {one.id for one in ast.walk(test) if isinstance(one, ast.Name)}
            branches = names & {"full", "quick", "profile"}
            return f"if {min(branches)}" if branches else ""
        case ast.Call(func=ast.Attribute(attr=name)) if name in PARSING:
            return f".{name}("
        case ast.Call(func=function) if ends_in(function, "verdict"):
            return "a verdict by hand"
        case ast.keyword(arg="holds") | ast.Attribute(attr="verdict" | "p_value"):
            return "a verdict by hand"
        case ast.Constant(value=str(text)) if text in VERDICTS:
            return "a verdict by hand"
        case ast.Compare():
            ends = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
            return "a verdict by hand" if ends & {"low", "high", "interval"} else ""
    return ""


def ends_in(function: ast.expr, name: str) -> bool:
    return ast.unparse(function).rpartition(".")[2] == name


def is_answer(cell: NotebookNode) -> bool:
    """Whether a cell begins with words: no heading, and no next prediction before them."""
    if cell.cell_type != "markdown" or cell.source.lstrip().startswith("#"):
        return False
    return len(re.split(rf"^#|{re.escape(PREDICTION)}", cell.source, flags=re.M)[0].split()) >= 5


def minutes_needed(cells: Cells, computed: float) -> float:
    """An honest time for a lesson, by the formula of `minutes`."""
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    figures = sum(map(figures_in, code(cells)))
    return words / WORDS_A_MINUTE + figures + len(list(shown_code(cells))) + computed


def figures_in(cell: NotebookNode) -> int:
    """Statements that show a picture: a call of plots, diagrams or sliders that nothing takes."""
    calls = [
        ast.unparse(node.value.func)
        for node in ast.walk(parsed(cell))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    return sum(call.partition(".")[0] in PICTURES for call in calls)


def too_many(what: str, count: int, most: int) -> Iterator[str]:
    if count > most:
        yield f"{count} {what}, {most} are the most"


def label(cell: NotebookNode) -> str:
    return repr(cell.source.strip()[:50])
