"""The challenge of lesson 5: what is missing, and any model that is small enough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from datasets import Dataset, DatasetDict
from torch import nn

from course_lib import checks, datasets, models, quantization
from course_lib.checks import lesson5
from course_lib.datasets import sentences
from course_lib.quantization import onnx_export
from course_lib.quantization.int8 import Int8Embedding


@pytest.mark.parametrize(("words", "width"), [(10, 4), (3, 1), (50, 12)])
def test_the_bytes_are_those_of_the_courses_int8_embedding(words, width):
    table = Int8Embedding(nn.Embedding(words, width))
    right = lesson5.int8_bytes.made(lesson5.int8_bytes.right)
    assert right(words, width) == sum(b.nbytes for b in table.buffers())


def int8_file(words: int = 30_522, width: int = 4, kind: str = "int8", beside: int = 0) -> bytes:
    """The smallest classifier there is: the mean of its words' rows; `beside` are bytes of layers."""
    rows = np.random.default_rng(0).integers(-9, 9, (words, width)).astype(kind)
    tensors = {
        "table": rows,
        "head": np.ones((width, 2), "float32"),
        "length": np.array([1]),
        "layers": np.zeros(beside, "int8"),
    }
    nodes = [
        onnx.helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        onnx.helper.make_node("Cast", ["rows"], ["wide"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("ReduceMean", ["wide", "length"], ["mean"], keepdims=0),
        onnx.helper.make_node("MatMul", ["mean", "head"], ["logits"]),
    ]
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch", "length_"])
        for name in onnx_export.INPUTS
    ]
    output = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 2])
    held = [onnx.numpy_helper.from_array(tensor, name) for name, tensor in tensors.items()]
    graph = onnx.helper.make_graph(nodes, "tiny", inputs, [output], held)
    opset = [onnx.helper.make_opsetid("", 18)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


@pytest.fixture
def shipped(tmp_path: Path) -> Callable[..., Path]:
    """Write such a classifier, with MiniLM's tokenizer, into a folder."""

    def ship(**sizes: Any) -> Path:
        model = quantization.OnnxClassifier(int8_file(**sizes))
        words = models.load_tokenizer()
        return quantization.save_onnx_folder(model, tmp_path / "mine", words, sentences.LABELS, 64)

    return ship


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """What the clock and the test part would say."""

    def say(ms: float, accuracy: float) -> None:
        monkeypatch.setattr(lesson5, "_milliseconds", lambda folder: ms)
        monkeypatch.setattr(lesson5, "_heldout", lambda folder: accuracy)

    return say


@pytest.mark.parametrize(
    ("mistake", "sizes", "ms", "accuracy"),
    [
        ("it is still float32", {"width": 40, "kind": "float32"}, 1, 0.8),
        ("it is still float32", {"width": 400, "words": 4000, "kind": "float32"}, 9, 0.5),
        ("too large, and most of it is words", {"width": 150}, 1, 0.8),
        ("too large, and most of it is words", {"width": 384}, 9, 0.8),
        ("too large, and most of it is layers", {"beside": 4_500_000}, 1, 0.8),
        ("small enough, and too slow", {}, 3.2, 0.8),
        ("small enough, and too slow", {}, 30, 0.5),
        ("the labels are turned round", {}, 1, 0.2),
        ("it guesses", {}, 1, 0.503),
        ("small, fast, and often wrong", {}, 1, 0.7),
        ("a little below the bar", {}, 1, 0.7795),
        ("a little below the bar", {}, 1, 0.7505),
    ],
)
def test_the_challenge_says_what_is_missing(shipped, looks, mistake, sizes, ms, accuracy):
    looks(ms, accuracy)
    with pytest.raises(checks.WrongAnswerError) as caught:
        checks.small_and_fast(shipped(**sizes))
    assert caught.value.mistake == mistake


@pytest.mark.parametrize(
    ("mistake", "answer"),
    [
        ("the model for its folder", lambda folder: quantization.OnnxClassifier(int8_file())),
        ("the file for its folder", lambda folder: folder / "model.onnx"),
        ("the file for its folder", lambda folder: str(folder / "tokenizer.json")),
        ("there is no such folder", lambda folder: folder / "elsewhere"),
        ("a folder of another kind", lambda folder: folder.parent),
        ("the model for its folder", lambda folder: nn.Linear(2, 2)),
        ('"dict" where "a folder" is expected', lambda folder: {"model": folder}),
    ],
)
def test_the_challenge_wants_a_folder(shipped, looks, mistake, answer):
    looks(1, 0.9)
    with pytest.raises(checks.WrongAnswerError) as caught:
        checks.small_and_fast(answer(shipped()))
    assert caught.value.mistake == mistake


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"width": 100},
        {"width": 1},
        {"words": 30_522, "width": 2, "kind": "uint8"},
        {"width": 16, "kind": "float32"},
        {"width": 60, "kind": "float16"},
        {"beside": 3_000_000},
        {"width": 64, "beside": 1_900_000},
    ],
)
def test_the_challenge_takes_any_model_that_is_small_enough(shipped, looks, sizes, capsys):
    looks(2.9, 0.78)
    checks.small_and_fast(shipped(**sizes))
    said = " ".join(capsys.readouterr().out.split())
    assert "its accuracy on 2,000 unseen reviews 0.78" in said and "one thread 2.9" in said


@pytest.mark.parametrize("kind", [str, Path, lambda folder: Path(f"{folder}/../{folder.name}")])
def test_the_challenge_takes_a_path_of_any_kind(shipped, looks, kind):
    looks(0.1, 0.9)
    checks.small_and_fast(kind(shipped()))


def test_the_challenge_really_looks(shipped, monkeypatch):
    """The real clock, and the real model on four sentences: two of them are right."""
    lines = ["a film", "a good film that goes on", "no film", "one film"]
    part = Dataset.from_dict({"text": lines, "label": [0, 0, 1, 1]})
    monkeypatch.setattr(datasets, "reviews", lambda: DatasetDict({"test": part}))
    folder = shipped()
    assert 0 < lesson5._milliseconds(folder) < 1000
    assert lesson5._heldout(folder) == 0.5  # its two logits are equal: it always says 0
