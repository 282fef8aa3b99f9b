"""What the documents say to run, run."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import sys
from pathlib import Path

import pytest
import torch
import transformers
from datasets import Dataset
from lesson_budget import TIME
from nbgrader.apps import NbGraderApp
from transformer_zoo import answer, batch_for, letters, tiny
from two_processes import launch_two

import course_lib as cl
from course_lib import models
from course_lib.distillation import loop
from course_lib.grading import steps

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PRACTITIONERS = (ROOT / "docs" / "practitioners.md").read_text("utf-8")
SCALING = (ROOT / "docs" / "scaling.md").read_text("utf-8")
GUIDE = (ROOT / "docs" / "instructors.md").read_text("utf-8")
LESSONS = {path.stem: path for path in sorted((ROOT / "notebooks" / "src").glob("[!_]*.py"))}
LABS = {path.stem: path for path in sorted((ROOT / "solutions" / "src").glob("*.py"))}
SCRIPT, ESTIMATE = re.findall(r"```python\n(.*?)```", SCALING, re.DOTALL)


def test_the_library_alone_works_as_the_readme_prints_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (script,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    model = tiny("bert")
    rows = {key: value.tolist() for key, value in batch_for(model).items()}
    names = {"model": model, "tokenizer": letters()}
    names["some_training_examples"] = Dataset.from_dict(rows | {"labels": [0, 1, 0]})
    exec(script, names)
    assert cl.sparsity(names["zeros"]) == pytest.approx(0.5, abs=1e-3)
    batch = batch_for(names["smaller"])
    torch.testing.assert_close(answer(names["model"], batch), answer(names["student"], batch))
    assert not torch.equal(answer(names["smaller"], batch), answer(names["student"], batch))
    assert names["model"].num_parameters() <= 0.7 * model.num_parameters()


def test_the_practitioners_lines_work_as_the_page_prints_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (script,) = re.findall(r"```python\n(.*?)```", PRACTITIONERS, re.DOTALL)
    model = tiny("bert")
    rows = {key: value.tolist() for key, value in batch_for(model).items()}
    data = Dataset.from_dict(rows | {"labels": [0, 1, 0]})
    names = {"model": model} | dict.fromkeys(("train", "validation", "test"), data)
    exec(script, names)
    assert capsys.readouterr().out.count("n = 3") == 2
    batch = batch_for(model)
    torch.testing.assert_close(answer(cl.load("smaller"), batch), answer(names["student"], batch))
    assert names["student"].num_parameters() <= 0.7 * model.num_parameters()


def test_every_call_that_the_practitioners_page_names_is_there():
    for package, verb in re.findall(r"`(cl|distillation|pruning)\.(\w+)", PRACTITIONERS):
        home = cl if package == "cl" else importlib.import_module(f"course_lib.{package}")
        assert callable(getattr(home, verb))


def test_the_estimate_prints_what_the_page_shows():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(ESTIMATE, {})
    assert f"```\n{printed.getvalue()}```" in SCALING


@pytest.fixture
def teacher(tmp_path) -> transformers.BertForMaskedLM:
    """A small one, which lies in the folder with its tokenizer."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    teacher = transformers.BertForMaskedLM(transformers.BertConfig(num_hidden_layers=4, **sizes))
    teacher.save_pretrained(tmp_path / "teacher")
    models.load_tokenizer().save_pretrained(tmp_path / "teacher")
    return teacher


def test_another_text_or_length_has_another_checkpoint(teacher, tmp_path, monkeypatch):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("A fine film.")
    names = []

    def only_named(student, teacher, data, recipe):
        names.append(recipe.checkpoint)
        raise InterruptedError

    monkeypatch.setattr(loop, "distill_hidden", only_named)
    for text, length in (("a.txt", "16"), ("a.txt", "16"), ("b.txt", "16"), ("a.txt", "32")):
        options = ["--teacher", str(tmp_path / "teacher"), "--text", str(tmp_path / text)]
        monkeypatch.setattr(sys, "argv", ["distill.py", *options, "--length", length])
        with pytest.raises(InterruptedError):
            exec(SCRIPT, {})
    assert names[0] == names[1]
    assert len(set(names)) == 3


@pytest.mark.timeout(240)
def test_the_script_distils_a_bert_on_two_processes(teacher, tmp_path):
    lines = [
        f"Passage {i} tells of a {word} film.\n\n" for i in range(9) for word in ("dull", "fine")
    ]
    (tmp_path / "some.txt").write_text("".join(lines))
    (tmp_path / "distill.py").write_text(SCRIPT)
    options = ["--steps", "3", "--epochs", "2", "--batch", "4", "--length", "16"]
    options += ["--teacher", str(tmp_path / "teacher"), "--text", str(tmp_path / "some.txt")]
    launch_two(tmp_path / "distill.py", *options, "--out", str(tmp_path / "student"))
    student = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "student")
    assert type(student) is transformers.DistilBertForMaskedLM
    assert len(student.distilbert.transformer.layer) == 2
    start = teacher.bert.encoder.layer[2].output.dense.weight
    learned = student.distilbert.transformer.layer[1].ffn.lin2.weight
    assert 0 < (learned - start).abs().max() < 0.1  # it has learned, from the teacher's layer
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "student")("A fine film.")
    assert words["input_ids"]


# --- the instructors' guide -----------------------------------------------------------------------


@pytest.mark.parametrize("name", LESSONS)
def test_syllabus_and_readme_state_the_minutes_of_the_lesson(name):
    minutes, computer = TIME.search(LESSONS[name].read_text("utf-8")).groups()
    assert re.search(rf"/{name}\.ipynb\) \|.*\| {minutes} \| {computer} \|$", GUIDE, re.MULTILINE)
    assert re.search(rf"/{name}\.ipynb\) \|.*\| {minutes} \| \[", README)


@pytest.mark.parametrize("name", LABS)
def test_the_table_of_labs_is_right(name):
    text = LABS[name].read_text("utf-8")
    points = [int(n) for n in re.findall(r'"points": (\d+)', text)]
    minutes = sum(int(n) for n in re.findall(r"\*\*(\d+) minutes, difficulty", text))
    row = rf"/{name}\.ipynb\)[^|]*\| {len(points)} \| {sum(points)} \| {minutes} \|"
    assert re.search(row, GUIDE)


def test_each_lesson_has_run_sheets_of_50_and_90_minutes_for_all_its_sections():
    sheets = GUIDE.partition("\n### Run sheets\n")[2].partition("\n## ")[0]
    found = re.split(r"^\*\*Lesson (\w+)\.\*\*", sheets, flags=re.MULTILINE)
    sheet_of = dict(zip(found[1::2], found[2::2], strict=True))
    texts = [path.read_text("utf-8") for path in LESSONS.values()]
    assert list(sheet_of) == [re.search(r"# Lesson (\w+) ·", text)[1] for text in texts]
    for sheet, text in zip(sheet_of.values(), texts, strict=True):
        rows = re.findall(r"^\| (.+?) \|.*\| (\d+) \| (\d+) \|$", sheet, re.MULTILINE)
        assert [sum(int(row[column]) for row in rows[1:]) for column in (1, 2)] == [50, 90]
        sections = re.findall(r"^# ## (\d)+ ·", text, re.MULTILINE)
        assert re.findall(r"\d", " ".join(row[0] for row in rows)) == sections


def test_nbgrader_knows_what_the_guide_says_to_type_and_to_set():
    code = "\n".join(re.findall(r"```bash\n.*?```|`[^`\n]+`", GUIDE, re.DOTALL))
    commands = set(re.findall(r"^`?nbgrader (\w+)", code, re.MULTILINE))
    assert {"autograde", "generate_feedback", "export", "collect"} <= commands
    assert commands <= NbGraderApp.subcommands.keys()
    for name in re.findall(r"c\.Judge\.(\w+)", GUIDE):
        assert name in steps.Judge.class_trait_names()
