"""Do the students of lesson 5 read sentences that they are tested on?

No sentence of the validation or test set is among what they read. This script looks for near copies:
runs of eight words in a row that a sentence shares with a sentence that was held out. What is stored
is every shared run, so that a reader can judge.
"""

import runpy
import sys
from pathlib import Path

from course_lib import datasets, models
from course_lib.lessons import experiments

RECIPE = {"words": 8, "teacher_sentences": None, "sentences": 10**6}
QUICK = {"teacher_sentences": 160, "sentences": 64}
STUDENTS = Path(__file__).with_name("lesson5_students.py")


def cases(recipe):
    return [{"text": kind} for kind in ("labeled", "transfer", "varied", "found")]


def run(case, seed, recipe, data):
    """How many sentences share a run of words with one that was held out, and which runs."""
    written = datasets.reviews()
    held_out = {
        words
        for name in ("validation", "test")
        for line in written[name]["text"]
        for words in runs_of(line, recipe["words"])
    }
    shared = [held_out & runs_of(line, recipe["words"]) for line in read(case["text"], recipe)]
    hits = [" ".join(min(words)) for words in shared if words]
    return {"sentences": len(shared), "sharing": len(hits), "runs": hits}


def runs_of(line, words):
    """All runs of so many words in a line."""
    split = datasets.normalized(line).split()
    return {tuple(split[i : i + words]) for i in range(len(split) - words + 1)}


def read(kind, recipe):
    """The sentences of one kind that students read."""
    if kind == "labeled":
        return datasets.reviews()["train"]["text"][: recipe["sentences"]]
    script = runpy.run_path(str(STUDENTS))
    return script["lines_of"](kind, recipe["sentences"], recipe["teacher_sentences"])


EXPERIMENT = experiments.Experiment(
    RECIPE, models.reviews_tokenized, cases, run, seeds=1, quick=QUICK
)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
