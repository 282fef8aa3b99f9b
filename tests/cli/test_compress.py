"""The command `compress`: its arguments, its errors, and what it says."""

from __future__ import annotations

import pytest

from course_lib.cli import compress, main
from course_lib.compression import Options, Shape, Target


@pytest.fixture
def called(monkeypatch):
    """What `compression.compress` was called with; it returns a report that says nothing."""
    calls = []

    class Nothing:
        def advice(self):
            return ["Try it."]

        def __repr__(self):
            return "a report"

    def record(*given, **named):
        calls.append((given, named))
        return Nothing()

    monkeypatch.setattr("course_lib.compression.compress", record)
    return calls


def test_the_arguments_arrive(called, capsys):
    given = ["compress", "mine.csv", "--model", "big", "--target-mb", "8", "--points", "1"]
    given += ["--unlabeled", "more.txt", "--out", "out", "--max-length", "96", "--reads", "500"]
    assert main.main(given) == 0
    options = Options(max_length=96, reads=500)
    named = {"target": Target(8, None, 1), "unlabeled": "more.txt", "options": options}
    assert called == [(("mine.csv", "big", "out"), named)]
    said = capsys.readouterr().out
    assert "a report" in said and "- Try it." in said and "run.py" in said


def test_a_shape_takes_the_place_of_a_target(called, capsys):
    assert compress.main(["mine.csv", "--layers", "3", "--rank", "80"]) == 0
    assert called[0][1]["options"].shape == Shape(3, 0.25, 80)
    assert compress.main(["mine.csv", "--width", "0.5", "--target-ms", "2"]) == 1
    assert "expected one of them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["no-such.csv"], "compress stopped: There is no file 'no-such.csv'"),
        (["x.csv", "--width", "3"], "compress stopped: Got layers None, width 3"),
        (["x.csv", "--points", "-1"], "expected numbers above 0"),
    ],
)
def test_an_error_is_one_sentence(given, words, capsys, tmp_path):
    assert compress.main([*given, "--out", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    def stop(given):
        raise KeyboardInterrupt

    monkeypatch.setattr(compress, "_compress", stop)
    assert compress.main(["mine.csv"]) == 130
    assert "The same command goes on" in capsys.readouterr().err


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as stopped:
        main.main(["compress", "--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert "--target-mb" in said and "compress reviews.csv --model" in said
