"""The lessons keep their budgets; and the rules themselves can fail."""

import ast
from pathlib import Path

import pytest
from lesson_budget import problems, settings_out_of_step

from course_lib.lessons import settings

SOURCES = Path(__file__).parents[2] / "notebooks" / "src"
LESSONS = sorted(path.stem for path in SOURCES.glob("[0-9]*.py"))


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_lesson_keeps_its_budgets(lesson):
    assert problems((SOURCES / f"{lesson}.py").read_text("utf-8")) == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_lesson_uses_the_settings_of_its_table(lesson):
    assert settings_out_of_step((SOURCES / f"{lesson}.py").read_text("utf-8")) == []


def test_lesson_1_can_go_back_to_its_gaps():
    """The second gap's example is the 4 × 4 `mask`: a later cell that overwrote it broke a rerun."""
    source = (SOURCES / "01_pruning_basics.py").read_text("utf-8")
    code = "\n".join(line for line in source.splitlines() if not line.startswith("#"))
    bound = [
        node
        for statement in ast.parse(code).body
        if not isinstance(statement, ast.FunctionDef)
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and node.id == "mask" and isinstance(node.ctx, ast.Store)
    ]
    assert len(bound) == 1


# --- a good lesson, and for each rule one that breaks it and no other ---------------------------

GOOD = """# %% [markdown]
# # Lesson 1 · How small can it get?
#
# **Time** about 10 minutes; the computer works about 1 of them.

# %% tags=["setup"]
import json

json.loads("1 2".split()[0])  # the setup is collapsed: its plumbing does not count

# %% tags=["parameters"]
profile = "full"

# %%
from course_lib import lessons

settings = lessons.start("lesson1", profile)

# %%
import torch

from course_lib import data, diagrams, plots

# %% [markdown]
# ## A mask
#
# **Predict first.** How many weights are left in layer 10?

# %%
plots.show(diagrams.mask(torch.eye(4)), alt="half of the squares are dark")

# %% [markdown]
# Half of the weights are left, because the mask keeps eight of sixteen.
#
# 1. Which weights go first?
# 2. What does the next
#    layer see?
#
# <details><summary>Answers</summary>The smallest. Fewer inputs.</details>

# %% jupyter={"source_hidden": true}
test = lessons.TestSet(data.load()["test"])
right = test.stored("again", evaluation.correct(model, test.dataset))
evaluation.correct(model, test.dataset.select(written))

# %%
diagrams.rows(settings.epochs)
diagrams.heads()

# %% [markdown]
# ## Quiz
#
# **1.** Is it smaller?
# <details><summary>Answer</summary>No.</details>
#
# **2.** Is it faster?
# <details><summary>Answer</summary>No.</details>
"""

CELL = "\n# %%\n{}\n"
PROSE = "\n# %% [markdown]\n# {}\n"

BAD = {
    "too many cells": (GOOD + PROSE.format("Words.") * 40, "51 cells, 50 are the most"),
    "too many code cells": (
        GOOD.replace("10 minutes", "32 minutes") + CELL.format("x = 1") * 22,
        "27 code cells, 25 are the most",
    ),
    "a long cell": (GOOD + CELL.format("x = 1\n" * 15 + "x"), "16 lines in the cell 'x = 1"),
    "too much code": (
        GOOD.replace("10 minutes", "27 minutes") + CELL.format("x = 1\n" * 14 + "x") * 17,
        "265 lines of code, 250 are the most",
    ),
    "a profile branch": (GOOD + CELL.format("n = 3 if full else 1"), "if full in the cell"),
    "a profile statement": (
        GOOD + CELL.format('if profile == "quick":\n    n = 1'),
        "if profile in the cell",
    ),
    "hashing": (GOOD + CELL.format("import hashlib"), "import hashlib in the cell"),
    "JSON": (GOOD + CELL.format("from json import loads"), "import json in the cell"),
    "patterns": (GOOD + CELL.format("import re as patterns"), "import re in the cell"),
    "a path": (GOOD + CELL.format("import os.path"), "import os in the cell"),
    "collapsed plumbing": (
        GOOD + '\n# %% jupyter={"source_hidden": true}\nimport re\n',
        "import re in the cell",
    ),
    "much collapsed": (
        GOOD + '\n# %% jupyter={"source_hidden": true}\n' + "x = 1\n" * 140,
        "143 lines in collapsed cells, 140 are the most",
    ),
    "an uncounted test set": (
        GOOD + CELL.format('evaluate(model, images["test"])'),
        "evaluate( on test data, uncounted, in the cell",
    ),
    "test data by another name": (
        GOOD
        + CELL.format("few = test.dataset.select(range(9))\np = evaluation.predict(model, few)"),
        "predict( on test data, uncounted, in the cell",
    ),
    "string parsing": (GOOD + CELL.format('x = "a b".split()'), ".split( in the cell"),
    "a verdict in words": (GOOD + CELL.format('x = "cannot tell"'), "a verdict by hand in"),
    "a verdict by keyword": (GOOD + CELL.format("claims.add(holds=True)"), "a verdict by hand in"),
    "a verdict by interval": (GOOD + CELL.format("better = gap.low > 0"), "a verdict by hand in"),
    "a verdict by p": (GOOD + CELL.format("p = test.p_value"), "a verdict by hand in"),
    "a verdict by call": (GOOD + CELL.format("x = verdict(interval, 0)"), "a verdict by hand in"),
    "an open prediction": (
        GOOD
        + PROSE.format("**Predict first.** How many?")
        + CELL.format("3")
        + PROSE.format("# Next"),
        "no answer in words within two cells of",
    ),
    "a late answer": (
        GOOD
        + PROSE.format("**Predict first.** How many?")
        + CELL.format("3")
        + CELL.format("4")
        + PROSE.format("It is three of them, as the figure says."),
        "no answer in words within two cells of",
    ),
    "an open question": (
        GOOD + PROSE.format("Look:\n#\n# 1. Which one\n#    goes first?"),
        "no <details> with an answer behind the question '1. Which one",
    ),
    "an open quiz question": (
        GOOD + "#\n# **3.** Why?\n",
        "the quiz asks 3 questions and answers 2",
    ),
    "no time": (GOOD.replace("**Time**", "Time"), 'no "**Time** about N minutes'),
    "a dishonest time": (
        GOOD.replace("10 minutes", "7 minutes"),
        "says 7 minutes, and the formula 9",
    ),
    "a time too long": (GOOD.replace("10 minutes", "12 minutes"), "says 12 minutes"),
    "layer 0 in prose": (GOOD + PROSE.format("Layers 0 to 2."), "'Layers 0' in the cell"),
    "layer 0 in a label": (
        GOOD + CELL.format('x = "accuracy of layer 0"'),
        "'layer 0' in the cell",
    ),
    "few schematics": (
        GOOD.replace("diagrams.heads()", "diagrams.rows(3)"),
        "2 different schematics, 3 are the least",
    ),
    "no start": (GOOD.replace("lessons.start(", "lessons.begin("), "comes before lessons.start"),
    "a late start": (
        GOOD.replace(
            "from course_lib import lessons", "import torch\nfrom course_lib import lessons"
        ),
        "'import torch' comes before lessons.start",
    ),
}


def test_a_good_lesson_keeps_every_rule():
    assert problems(GOOD) == []


@pytest.mark.parametrize(("lesson", "message"), BAD.values(), ids=list(BAD))
def test_each_rule_can_fail(lesson, message):
    found = problems(lesson)
    assert len(found) == 1, found
    assert message in found[0]


@pytest.mark.parametrize(
    "more",
    [
        CELL.format("%matplotlib inline\n!ls"),
        CELL.format("x = 1 if n > 3 else 2"),
        CELL.format("kept = scores.low_rank > 3"),
        CELL.format('evaluation.evaluate(model, images["validation"])'),
        CELL.format("test.accuracy('dense', model)"),
        PROSE.format("Layer 10 and layers 1 to 3; in code `layers[0]`."),
        PROSE.format("Where it says *Predict first*, write down a guess."),
        PROSE.format("1. Prune.\n# 2. Train."),
        PROSE.format("**Predict first.** What? <details><summary>Answer</summary>This.</details>"),
    ],
)
def test_what_is_allowed_is_not_found(more):
    assert problems(GOOD + more) == []


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Another settings.toml, in which lesson 1 has the one setting `epochs`."""
    monkeypatch.setattr(settings, "NOTEBOOKS", tmp_path)
    text = "[lesson1.full]\nepochs = 20\n[lesson1.quick]\nepochs = 2\n"
    (tmp_path / "settings.toml").write_text(text)


def test_the_table_is_compared_with_what_the_lesson_uses(table):
    assert settings_out_of_step(GOOD) == []
    other = GOOD.replace("settings.epochs", "settings.rounds")
    assert settings_out_of_step(other) == [
        "settings.rounds is not in the table of lesson1",
        "the table of lesson1 has epochs, never used",
    ]
    (found,) = settings_out_of_step(GOOD.replace("lessons.start(", "lessons.begin("))
    assert found.startswith("lessons.start is called 0 times")
