"""`compress` from its files to its folder: whole, interrupted, and with what does not fit."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from course_lib import models
from course_lib.compression import Shape, Target, compress, measuring, pipeline, teaching
from course_lib.compression.report import stored_report
from course_lib.models import zoo
from course_lib.quantization import run_onnx
from course_lib.training.recipe import Recipe

FILES = ["README.md", "config.json", "model.onnx", "report.json", "run.py", "sizes.png"]
FILES += ["tokenizer.json"]


EXACT = measuring.times


@pytest.fixture(autouse=True)
def no_stopwatch(monkeypatch):
    """Latency takes an export of the large model, which most tests need not wait for."""
    numbers = {"PyTorch": (2.0, 1.0, 3.0), "before": (2.0, 1.0, 3.0), "after": (1.0, 0.5, 1.5)}
    ratios = dict.fromkeys(("ONNX Runtime", "PyTorch"), (2.0, 1.5, 2.5))
    monkeypatch.setattr(
        measuring, "times", lambda *given: dict.fromkeys(given[2], (numbers, ratios))
    )


@pytest.fixture
def made(texts, classifier, tmp_path, quick):
    return compress(texts, classifier, tmp_path / "small", options=quick)


def test_the_folder_has_all_and_answers_without_pytorch(
    texts, classifier, tmp_path, quick, monkeypatch
):
    monkeypatch.setattr(measuring, "times", EXACT)
    folder = tmp_path / "small"
    made = compress(texts, classifier, folder, options=quick)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    code = "import sys; sys.argv = ['run.py', 'A great film.']; import runpy; "
    code += "runpy.run_path('run.py', run_name='__main__'); print('torch' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    first, second = ran.stdout.splitlines()
    assert first.split()[0] in ("no", "yes") and second == "False"
    assert json.loads((folder / "config.json").read_text())["max_length"] == 12
    for length, who in made.milliseconds.items():
        assert who.keys() == {"PyTorch", "before", "after"}
        assert made.faster()[length].low <= made.faster()[length].value


def test_the_report_is_about_the_file_and_the_texts(made, texts, classifier, tmp_path):
    folder = tmp_path / "small"
    assert made.megabytes[1] == (folder / "model.onnx").stat().st_size / 1e6
    parts = models.load_custom_model(classifier, pipeline.read_examples(texts), max_length=12).parts
    assert made.rows == {name: len(part) for name, part in parts.items()}
    answers = run_onnx.load(folder)(list(parts["test"]["text"]))
    right = sum(
        made_label == ("no", "yes")[label]
        for (made_label, _), label in zip(answers, parts["test"]["label"], strict=True)
    )
    assert abs(right - made.test["after"][0]) <= 1  # int8 in a batch may differ for one text
    only_before, only_after = made.differing["before"]
    assert made.test["before"][0] - only_before + only_after == made.test["after"][0]
    assert list(made.stages) == ["teacher", "prune", "distill", "int8"]
    assert made.cut["layers"] == ("2", "2") and made.lengths["max_length"] == 12
    assert all(minutes >= 0 for minutes in made.minutes.values()) and len(made.minutes) == 6


def test_the_same_call_again_reads_the_report(
    made, texts, classifier, tmp_path, capsys, monkeypatch, quick
):
    monkeypatch.setattr(pipeline, "measure", None)  # no step may run
    again = compress(texts, classifier, tmp_path / "small", options=quick)
    assert again.save() == made.save()
    assert "made from the same things before" in capsys.readouterr().out
    with pytest.raises(TypeError, match="NoneType"):  # another target is another model
        compress(texts, classifier, tmp_path / "small", target=Target(points=1), options=quick)


@pytest.mark.parametrize("steps", [3])
def test_after_an_interruption_the_same_call_ends_with_the_same_bytes(
    texts, classifier, tmp_path, monkeypatch, steps, quick
):
    options = replace(quick, reads=400)
    compress(texts, classifier, tmp_path / "whole", options=options)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "another cache"))
    fit, left = teaching.fit, [steps]

    def interrupted(*given, **more):
        def after_step(model, progress):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

        return fit(*given, **more, after_step=after_step)

    monkeypatch.setattr(teaching, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compress(texts, classifier, tmp_path / "small", options=options)
    assert not (tmp_path / "small").exists()
    monkeypatch.setattr(teaching, "fit", fit)
    compress(texts, classifier, tmp_path / "small", options=options)
    one, other = ((tmp_path / name / "model.onnx").read_bytes() for name in ("whole", "small"))
    assert one == other


def test_a_training_that_is_done_is_not_done_again(
    made, texts, classifier, tmp_path, monkeypatch, quick
):
    monkeypatch.setattr(teaching, "fit", None)
    compress(texts, classifier, tmp_path / "two", options=quick)
    one, two = ((tmp_path / name / "model.onnx").read_bytes() for name in ("small", "two"))
    assert one == two


def test_an_encoder_is_trained_first(texts, encoder, tmp_path, monkeypatch, capsys, quick):
    monkeypatch.setattr(zoo, "TEACHER", Recipe(epochs=10, lr=5e-3, batch_size=24))
    found = compress(texts, encoder, tmp_path / "small", options=quick)
    said = capsys.readouterr().out
    assert "is no classifier yet: it is trained on 156 texts, 20 times" in said
    assert "This takes about" in said
    assert found.stages["teacher"][1] > 0.9 * found.stages["teacher"][2]
    assert "fine-tuned on the labeled texts" in (tmp_path / "small" / "README.md").read_text()


def test_an_encoder_that_learns_nothing_is_named(texts, encoder, tmp_path, quick):
    with pytest.raises(ValueError, match=r"After training on 156 rows.*not shown to be better"):
        compress(texts, encoder, tmp_path / "small", options=quick)
    assert not (tmp_path / "small").exists()


def test_three_uneven_classes_and_long_texts(tmp_path, encoder, monkeypatch, capsys, quick):
    monkeypatch.setattr(zoo, "TEACHER", Recipe(epochs=10, lr=5e-3, batch_size=24))
    lines = ["text,label"]
    for i in range(400):
        kind, word = (("no", "dull"), ("yes", "great"), ("so so", "fine"))[i % 20 % 7 % 3]
        kind, word = ("so so", "fine") if i % 10 == 0 else (kind, word)
        kind, word = ("yes", "great") if kind == "so so" and i % 10 else (kind, word)
        end = "so " * (20 if i % 3 else 2)
        lines.append(f'"{word} film {chr(97 + i % 26)}{chr(97 + i // 26)} {end}",{kind}')
    file = tmp_path / "mine.csv"
    file.write_text("\n".join(lines))
    found = compress(file, encoder, tmp_path / "small", options=quick)
    said = capsys.readouterr().out
    assert "The classes are uneven" in said and "% of the texts lose their end" in said
    assert found.lengths["share cut"] > 0.5
    assert list(found.recall) == list(found.classes) == ["no", "so so", "yes"]
    assert sum(n for (_, n), _ in found.recall.values()) == found.rows["test"]
    text = (tmp_path / "small" / "README.md").read_text("utf-8")
    assert list(found.f1) == list(found.recall)
    assert "recall of so so" in text and "F1 of so so" in text and "cut at 12 tokens" in text
    assert any("longer" in line for line in found.advice())


def test_unlabeled_text_is_read_and_what_is_tested_on_is_not(
    texts, classifier, tmp_path, capsys, quick
):
    test = pipeline.read_examples(texts)["test"]["text"][:3]
    more = tmp_path / "more.txt"
    more.write_text("\n".join([*test, "a great so so film", "a dull so so film"]))
    found = compress(texts, classifier, tmp_path / "small", unlabeled=more, options=quick)
    assert "and 2 unlabeled ones" in capsys.readouterr().out
    assert found.settings["unlabeled"] == "more.txt"


def test_a_shape_and_a_target(texts, classifier, tmp_path, capsys, quick):
    shape = Shape(layers=1, width=0.5, rank=8)
    found = compress(texts, classifier, tmp_path / "small", options=replace(quick, shape=shape))
    assert found.cut["layers"] == ("2", "1")
    assert found.cut["numbers stored for each token"] == ("24", "8")
    fast = Target(milliseconds=1000)
    compress(texts, classifier, tmp_path / "fast", target=fast, options=quick)
    assert "measured with untrained weights" in capsys.readouterr().out
    with pytest.raises(ValueError, match="needs at most 1e-06 ms"):
        never = Target(milliseconds=1e-6)
        compress(texts, classifier, tmp_path / "never", target=never, options=quick)
    with pytest.raises(ValueError, match=r"target is 0\.01 MB, and the smallest shape"):
        tiny = Target(megabytes=0.01)
        compress(texts, classifier, tmp_path / "never", target=tiny, options=quick)


def test_a_folder_with_other_files_is_refused_before_any_work(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("all of it")
    with pytest.raises(FileExistsError, match=r"'mine' holds .*: thesis\.txt"):
        compress("no such file", out=folder)
    assert stored_report(folder) is None
