"""Experiments: run part by part, stored readably, refused when what they were made from changed."""

import json
from pathlib import Path

import pytest
import torch

from course_lib import training  # noqa: F401  a module of the library that is loaded
from course_lib.lessons import experiments, results, results_if_stored, settings
from course_lib.lessons.experiments import Experiment, main

ROOT = Path(__file__).parents[2]

SCRIPT = """
import torch
from torch.utils.data import TensorDataset
from course_lib.lessons.experiments import Experiment

RECIPE = {"factor": 2, "sizes": [1, 3]}
IMAGES = torch.ones(4)

def data():
    return {"train": TensorDataset(IMAGES, IMAGES), "checksum": "abc"}

def cases(recipe):
    return [{"size": size} for size in recipe["sizes"]]

def run(case, seed, recipe, data):
    answers = torch.arange(case["size"]) * recipe["factor"] + seed
    return {"sum": int(answers.sum()), "n": len(data["train"]), "answers": answers}

EXPERIMENT = Experiment(RECIPE, data, cases, run, seeds=2, quick={"sizes": [1]})
"""


@pytest.fixture
def script(tmp_path, monkeypatch, cache_folder) -> Path:
    """A small experiment in a notebooks folder of its own."""
    monkeypatch.setattr(settings, "NOTEBOOKS", tmp_path / "notebooks")
    folder = tmp_path / "notebooks" / "experiments"
    folder.mkdir(parents=True)
    (tmp_path / "notebooks" / "settings.toml").touch()
    path = folder / "small.py"
    path.write_text(SCRIPT)
    return path


def run_it(script: Path, *arguments: str) -> int:
    experiment = experiments._experiment_of(script)
    return main(experiment, str(script), list(arguments))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_a_script_stored_comes_back(script, capsys):
    assert run_it(script) == 0
    capsys.readouterr()
    found = results("small")
    assert [(row["size"], row["seed"], row["sum"]) for row in found.rows] == [
        (1, 0, 0),
        (3, 0, 6),
        (1, 1, 1),
        (3, 1, 9),
    ]
    assert torch.equal(found.column("answers", size=3, seed=1)[0], torch.tensor([1, 3, 5]))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("small: made on 20") and line.endswith("(2 seeds)")
    assert " in 1 minute on " in line


def test_the_record_is_readable_and_names_no_place(script, tmp_path):
    run_it(script)
    text = script.with_suffix(".json").read_text()
    assert '  {"size": 3, "seed": 1, "sum": 9, "n": 4}\n' in text  # one row a line
    record = json.loads(text)
    assert record["made_from"]["recipe"] == {"factor": 2, "sizes": [1, 3]}
    assert record["made_from"]["data"]["checksum"] == "abc"
    assert record["processor"] and record["seconds"] >= 0 and record["versions"]["torch"]
    assert str(tmp_path) not in text and str(Path.home()) not in text
    assert experiments.platform.node() not in text
    assert list(script.parent.glob("*.part")) == []


def test_a_column_that_is_not_there_says_what_is(script):
    run_it(script)
    found = results("small")
    with pytest.raises(KeyError, match=r"\{'size': \['1', '3'\]\}.*'sum'"):
        found.column("sum", size=2)
    with pytest.raises(KeyError, match="'accuracy'"):
        found.column("accuracy")


def test_accuracies_come_with_their_n(script):
    change(script, '"sum": int(answers.sum())', '"correct": seed + 1')
    run_it(script)
    assert [repr(one)[:6] for one in results("small").accuracies(size=3)] == ["25.0 %", "50.0 %"]
    assert repr(results("small").runs(size=3))[:6] == "37.5 %"


def test_the_number_of_seeds_is_free(script, capsys):
    run_it(script, "--seeds", "1")
    assert results("small").seeds == 1
    assert capsys.readouterr().out.endswith("(1 seed)\n")
    with pytest.raises(SystemExit):
        run_it(script, "--seeds", "0")


def test_a_quick_run_never_overwrites_the_results(script, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_it(script, "--quick")
    assert "--quick needs --out" in capsys.readouterr().err
    run_it(script, "--quick", "--out", str(tmp_path / "out"))
    assert not script.with_suffix(".json").exists()
    rows = json.loads((tmp_path / "out" / "small.json").read_text())["rows"]
    assert [row["size"] for row in rows] == [1, 1]


# --- interrupted


def test_an_interrupted_run_goes_on_where_it_was(script, capsys):
    experiment = experiments._experiment_of(script)
    ran = []

    def run(case, seed, recipe, data):
        if len(ran) == 3:
            ran.append("interrupted")
            raise KeyboardInterrupt
        ran.append((case["size"], seed))
        return experiment.run(case, seed, recipe, data)

    watched = experiments.replace(experiment, run=run)
    assert main(watched, str(script), []) == 130
    assert "3 finished parts are kept" in capsys.readouterr().out
    assert not script.with_suffix(".json").exists()
    assert main(watched, str(script), []) == 0
    assert ran == [(1, 0), (3, 0), (1, 1), "interrupted", (3, 1)]
    assert len(results("small").rows) == 4


@pytest.mark.parametrize("damage", ["json", "safetensors"])
def test_a_damaged_part_is_run_again(script, cache_folder, damage):
    run_it(script)
    before = script.with_suffix(".json").read_text()
    for part in cache_folder.rglob(f"part-*.{damage}"):
        part.write_bytes(part.read_bytes()[:10])
    run_it(script)
    rows = [json.loads(text)["rows"] for text in (before, script.with_suffix(".json").read_text())]
    assert rows[0] == rows[1]


def test_changed_library_code_starts_anew(script, monkeypatch):
    """Else a run after a repair would store the old numbers with a new date."""
    run_it(script)
    ran = []
    experiment = experiments._experiment_of(script)

    def run(case, seed, recipe, data):
        ran.append(case)
        return experiment.run(case, seed, recipe, data)

    watched = experiments.replace(experiment, run=run)
    main(watched, str(script), [])
    assert ran == []
    monkeypatch.setattr(experiments, "_library", lambda: {"course_lib.training": "other code"})
    main(watched, str(script), [])
    assert len(ran) == 4


def test_a_module_that_a_case_loads_is_noted_and_its_change_starts_anew(
    script, monkeypatch, capsys
):
    loaded = {"course_lib.training": experiments._module_digest("course_lib.training")}
    monkeypatch.setattr(experiments, "_library", lambda: dict(loaded))
    experiment = experiments._experiment_of(script)
    ran = []

    def run(case, seed, recipe, data):
        ran.append(case)
        loaded["course_lib.method"] = digests["course_lib.method"]
        return experiment.run(case, seed, recipe, data)

    digests = {**loaded, "course_lib.method": "first"}
    monkeypatch.setattr(experiments, "_module_digest", digests.get)
    watched = experiments.replace(experiment, run=run)
    for expected in (4, 4):  # all cases, then none
        main(watched, str(script), [])
        assert len(ran) == expected
        loaded.pop("course_lib.method", None)
        assert "course_lib.method" in json.loads(script.with_suffix(".json").read_text())["library"]
    digests["course_lib.method"] = "second"
    capsys.readouterr()
    results("small", verbose=True)
    assert capsys.readouterr().out.endswith(" · changed since then: method\n")
    main(watched, str(script), [])
    assert len(ran) == 8


def test_a_note_is_printed_and_the_record_stays_whole(script, capsys):
    run_it(script)
    record = script.with_suffix(".json")
    experiments.annotate(record, "seconds estimated")
    capsys.readouterr()
    assert results("small").note == "seconds estimated"
    assert capsys.readouterr().out.endswith("(2 seeds; seconds estimated)\n")
    with pytest.raises(ValueError, match="has a note already"):
        experiments.annotate(record, "again")
    change(record, "seconds estimated", "seconds measured")
    assert results("small").note == ""  # damaged, and made anew from its parts


# --- refused


def test_there_is_no_such_experiment(script):
    with pytest.raises(FileNotFoundError, match=r"no experiment 'smal'. There are: small"):
        results("smal")


def test_nothing_was_stored_yet(script):
    with pytest.raises(FileNotFoundError, match=r"python notebooks/experiments/small.py$"):
        results("small")


def test_a_lesson_can_go_on_without_what_was_not_stored_yet(script, capsys):
    assert results_if_stored("small") is None
    assert capsys.readouterr().out.startswith("small has stored no results yet: python notebooks/")
    with pytest.raises(FileNotFoundError, match="no experiment 'smal'"):
        results_if_stored("smal")
    run_it(script)
    assert len(results_if_stored("small").rows) == len(results("small").rows) == 4


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("+ seed\n    return", "- seed\n    return", "another script"),
        ('"factor": 2', '"factor": 3', "another script and another recipe"),
        ('"abc"', '"abd"', "another script and other data"),
    ],
)
def test_a_change_is_refused_with_the_command_that_renews(script, old, new, words):
    run_it(script)
    change(script, old, new)
    with pytest.raises(ValueError, match=f"made with {words}.*small.py .it took 1 minute") as error:
        results("small")
    assert "python notebooks/experiments/small.py" in str(error.value)


def test_changed_data_alone_is_refused(script, monkeypatch):
    run_it(script)
    monkeypatch.setattr(experiments, "_fingerprint", lambda dataset: "other")
    with pytest.raises(ValueError, match="made with other data"):
        results("small")


def test_a_comment_is_no_change(script):
    run_it(script)
    change(script, "RECIPE =", "# two sizes are enough\n\nRECIPE =")
    assert results("small").rows


@pytest.mark.parametrize(
    ("modules", "said"),
    [(["b", "a"], "a, b"), (["a", "b", "c", "d", "e"], "a, b, c and 2 more modules")],
)
def test_changed_library_code_is_told_to_maintainers_alone(
    script, monkeypatch, capsys, modules, said
):
    library = {f"course_lib.{name}": "old" for name in modules}
    monkeypatch.setattr(experiments, "_library", lambda: library)
    run_it(script)
    capsys.readouterr()
    assert results("small").rows
    assert capsys.readouterr().out.endswith("(2 seeds)\n")
    assert results("small", verbose=True).rows
    assert capsys.readouterr().out.endswith(f" · changed since then: {said}\n")


def test_reworded_docstrings_are_no_change():
    first = '"""One."""\ndef f():\n    """Two\n    lines."""\n    return 1\n'
    second = "# a comment\ndef f():\n    return 1\n"
    digest = experiments._digest_without_docstrings
    assert digest(first) == digest(second) != digest(second.replace("1", "2"))


def test_unchanged_library_code_is_not_mentioned(script, capsys):
    run_it(script)
    assert "course_lib.training" in json.loads(script.with_suffix(".json").read_text())["library"]
    capsys.readouterr()
    results("small")
    assert "changed" not in capsys.readouterr().out


# --- damaged


def damage_json(record: Path) -> None:
    record.write_text(record.read_text()[:-50])


def damage_row(record: Path) -> None:
    change(record, '"sum": 9', '"sum": 90')


def damage_head(record: Path) -> None:
    change(record, '"created": "20', '"created": "19')


def damage_tensors(record: Path) -> None:
    file = record.with_suffix(".safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")


def lose_tensors(record: Path) -> None:
    record.with_suffix(".safetensors").unlink()


DAMAGES = [damage_json, damage_row, damage_head, damage_tensors, lose_tensors]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_made_anew_from_its_parts(script, damage, capsys):
    run_it(script)
    rows = results("small").rows
    damage(script.with_suffix(".json"))
    again = results("small")
    assert "was damaged, and was made anew from its parts" in capsys.readouterr().out
    assert again.column("sum") == [row["sum"] for row in rows]
    assert torch.equal(again.column("answers")[3], rows[3]["answers"])


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_parts_a_damaged_record_is_refused(script, damage, cache_folder):
    run_it(script)
    damage(script.with_suffix(".json"))
    for part in cache_folder.rglob("part-*"):
        part.unlink()
    with pytest.raises(
        ValueError, match=r"small.json is damaged: .*Make them anew: python notebooks/exp"
    ):
        results("small")


# --- scripts that are not right


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[1, 3]", "[1, 1]", "These cases come twice: 1, seed 0, 1, seed 1"),
        ('"sum": int', '"size": int', r"share the names \['size'\]"),
        ("int(answers.sum())", 'float("nan")', "Out of range float values"),
        ("EXPERIMENT = ", "EXPERIMENTS = lambda: ", "defines 0 experiments; expected one"),
    ],
)
def test_a_script_that_is_not_right_is_refused(script, old, new, message):
    change(script, old, new)
    with pytest.raises(ValueError, match=message):
        run_it(script)


SCRIPTS = sorted((ROOT / "notebooks" / "experiments").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_script_defines_an_experiment_and_explains_itself(script, capsys):
    assert isinstance(experiments._experiment_of(script), Experiment)
    with pytest.raises(SystemExit, match="0"):
        run_it(script, "--help")
    assert "--seeds" in capsys.readouterr().out


def test_a_measuring_run_comes_back_as_latencies():
    row = {"models": ["a", "b"], "runtimes": ["PyTorch", "ONNX Runtime"], "threads": 1, "seed": 0}
    row["samples"] = torch.tensor([[2.0, 4.0], [1.0, 2.0]])
    found = experiments.Results("times", [row], {}, 1, "2026-11-30", "a CPU", 1.0, {}).latencies()
    assert (found["a"].median, found["b"].samples, found["b"].runtime) == (
        3,
        (1, 2),
        "ONNX Runtime",
    )
    assert found["b"].faster_than(found["a"]) == "2 × faster"
