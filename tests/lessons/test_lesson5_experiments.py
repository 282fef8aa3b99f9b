"""The experiments of lesson 5, tried out on a handful of sentences and a narrow teacher."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers

from course_lib import models, training

FOLDER = Path(__file__).parents[2] / "notebooks" / "experiments"
FEW = {"sentences": 24, "validation": 16, "scored_on": 8, "batch_size": 4}


def narrow_teacher():
    """A BERT of six layers of twelve heads with MiniLM's vocabulary, and few numbers otherwise."""
    torch.manual_seed(7)
    sizes = {"hidden_size": 24, "intermediate_size": 1536, "num_hidden_layers": 6}
    config = transformers.BertConfig(**sizes, num_attention_heads=12)
    return transformers.BertForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def reviews():
    return {name: part.select(range(24)) for name, part in models.reviews_tokenized().items()}


def script(name):
    """A script whose teacher is small."""
    found = runpy.run_path(str(FOLDER / f"{name}.py"))
    teacher = narrow_teacher()
    found["run"].__globals__["teacher"] = lambda *_: teacher
    return found


def few(found):
    return found["RECIPE"] | {key: value for key, value in FEW.items() if key in found["RECIPE"]}


@pytest.fixture
def student_script():
    found = script("lesson5_students")
    space = found["run"].__globals__
    space["lines_of"] = lambda kind, *_: [f"A {kind} film number {i}." for i in range(9)]
    return found


def test_each_way_makes_a_student_of_its_shape(student_script):
    recipe = few(student_script)
    layers = {}
    for name, way in recipe["ways"].items():
        if "alone" in name:
            continue
        small = way | {"passes": 1, "rank": way.get("rank") and 8}
        student, words = student_script["train"](small, 0, recipe)
        assert len(words) < 30_522
        layers[name] = getattr(student.config, "num_hidden_layers", 0) if "layers" in way else 0
    assert layers == {
        "a quarter wide": 6, "three layers": 3, "six layers": 6, "narrow": 6, "text CNN": 0,
    }  # fmt: skip


def test_a_students_row_has_its_answers_and_the_first_seeds_file(student_script):
    recipe = few(student_script)
    way = recipe["ways"]["text CNN"] | {"width": 8, "passes": 1}
    recipe["ways"] = {"text CNN": way, "+ found, validation alone": way}
    run, case = student_script["run"], {"student": "text CNN"}
    first, second = (run(case, seed, recipe, {}) for seed in (0, 1))
    assert first["test"].shape == (24,) and first["correct"] == int(first["test"].sum())
    assert len(first["file"]) == first["bytes"] and "file" not in second
    alone = run({"student": "+ found, validation alone"}, 0, recipe, {})
    assert list(alone) == ["float"]


def test_the_teacher_is_scored_once(student_script):
    recipe, case = few(student_script), {"student": "the teacher itself"}
    assert student_script["run"](case, 1, recipe, {}) == {}
    found = student_script["run"](case, 0, recipe, {})
    assert found["int8"].shape == (24,) and found["n"] == 24


def test_the_less_text_a_cnn_has_the_more_often_it_reads_it(student_script):
    ways = student_script["RECIPE"]["ways"]
    passes = [way["passes"] for name, way in ways.items() if name.startswith("text CNN")]
    assert passes == [3, 15, 5]  # 7,241 sentences and 125,091, 19,378 or 79,378 more


def test_all_orders_take_the_same_steps_and_end_with_the_same_width(reviews, monkeypatch):
    found, seen, real = script("lesson5_orders"), [], training.fit

    def fit(model, data, recipe, **options):
        seen.append((len(data["train"]), recipe.epochs))
        return real(model, data, recipe, **options)

    monkeypatch.setattr("course_lib.distillation.loop.fit", fit)
    data, sizes = {**reviews, "unlabeled": reviews["validation"]}, {}
    for case in found["cases"](found["RECIPE"]):
        sizes[case["order"]] = found["run"](case, 0, few(found), data)["parameters"]
    assert seen == [(8, 1)] * 6 * len(sizes) and len(sizes) == 5
    assert max(sizes.values()) < 1.01 * min(sizes.values())


def test_the_grid_has_a_point_for_each_combination(reviews):
    found = script("lesson5_grid")
    data = {**reviews, "unlabeled": reviews["validation"]}
    row = found["run"]({"layers": 3, "width": 0.5}, 0, few(found), data)
    spots = {tuple(one[:3]) for one in row["variants"]}
    assert len(spots) == len(row["variants"]) == 27 and row["n"] == 16
    size = {(bits, zeros): one for tokens, bits, zeros, one, _ in row["variants"][:9]}
    assert size[32, 0.0] > size[32, 0.75] > size[8, 0.0] > size[4, 0.0] > size[4, 0.75]


def test_one_measuring_run_holds_each_model(monkeypatch):
    found = runpy.run_path(str(FOLDER / "lesson5_times.py"))
    space = found["run"].__globals__
    space["models"] = SimpleNamespace(
        load_encoder=narrow_teacher,
        load_tokenizer=models.load_tokenizer,
        reviews_tokenized=models.reviews_tokenized,
    )
    space["stored_files"] = dict
    recipe = found["RECIPE"] | found["QUICK"]
    row = found["run"]({"tokens": 8}, 0, recipe, {})
    assert row["samples"].shape == (len(row["models"]), 4) and bool((row["samples"] > 0).all())
    assert {"teacher, PyTorch", "teacher, float32", "teacher, int8", "a quarter wide"} <= set(
        row["models"]
    )
    assert row["runtimes"].count("PyTorch") == 2  # the teacher, and its int8 in linear layers


def test_a_run_of_words_that_was_held_out_is_found():
    found = script("lesson5_leaks")
    held_out = models.zoo.sentences.reviews()["test"]["text"][3]
    copied = f"And so {held_out.lower()} indeed."
    found["run"].__globals__["read"] = lambda kind, recipe: ["A new sentence.", copied]
    row = found["run"]({"text": "found"}, 0, found["RECIPE"] | {"words": 4}, {})
    assert (row["sentences"], row["sharing"], len(row["runs"])) == (2, 1, 1)
