"""A folder with a program in it survives hostile files and hostile texts: a sentence, and no hang."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper, load_model_from_string

from course_lib.quantization import run_onnx

pytestmark = pytest.mark.reliability
LABELS = ["negative", "positive"]
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": None,
    "decoder": None,
    "model": {
        "type": "WordLevel",
        "vocab": {"[PAD]": 0, "[UNK]": 1, "film": 2},
        "unk_token": "[UNK]",
    },
}
FOREVER = 2**62


def model(turns: int = 1, factor: float = 1.0, output: str = "logits", width: int = 2) -> bytes:
    """Logits that are the mean of the ids times a factor, after so many turns of a loop."""
    number = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Sigmoid", ["old"], ["new"]),
        ],
        "turn",
        [
            number("turn", TensorProto.INT64, []),
            number("go", TensorProto.BOOL, []),
            number("old", TensorProto.FLOAT, [1]),
        ],
        [number("on", TensorProto.BOOL, []), number("new", TensorProto.FLOAT, [1])],
    )
    constants = [
        helper.make_tensor("turns", TensorProto.INT64, [], [turns]),
        helper.make_tensor("true", TensorProto.BOOL, [], [True]),
        helper.make_tensor("start", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor]),
    ]
    nodes = [
        helper.make_node("Loop", ["turns", "true", "start"], ["turned"], body=body),
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "kept"], ["shown"]),
        helper.make_node("ReduceMean", ["shown"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "factor"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "turned"], ["mixed"]),
        helper.make_node("Concat", ["mixed"] * width, [output], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [number(n, TensorProto.INT64, ["b", "l"]) for n in ("input_ids", "attention_mask")],
        [number(output, TensorProto.FLOAT, ["b", width])],
        constants,
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def config(labels: object = LABELS, max_length: object = 16) -> str:
    return json.dumps({"labels": labels, "max_length": max_length})


def tokenizer(**changed: object) -> str:
    return json.dumps({**TOKENIZER, **changed})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(config())
    (tmp_path / "tokenizer.json").write_text(tokenizer())
    (tmp_path / "model.onnx").write_bytes(model())
    return tmp_path


def put(folder: Path, name: str, content: str | bytes) -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def test_whatever_padding_the_tokenizer_asks_for_a_text_keeps_its_own_length(folder):
    """Padding to 10⁹ tokens took all memory."""
    pad = {"direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0}
    for strategy in ({"Fixed": 10**9}, "BatchLongest"):
        padding = {**pad, "strategy": strategy, "pad_token": "[PAD]" * 1000}
        put(folder, "tokenizer.json", tokenizer(padding=padding))
        assert run_onnx.load(folder)(["film film", "film"])[0] == ("negative", 0.5)
    put(folder, "tokenizer.json", tokenizer(padding={**padding, "pad_to_multiple_of": 10**9}))
    assert len(run_onnx.load(folder)(["film"])) == 1


def test_a_text_is_cut_before_it_is_tokenized(folder, monkeypatch):
    """A line of 100 MB took minutes and gigabytes; 16 tokens are read of it."""
    seen = []

    class Watched:
        def __init__(self, real: Any) -> None:
            self.real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def encode_batch(self, texts: list[str]) -> Any:
            seen.extend(map(len, texts))
            return self.real.encode_batch(texts)

    class Reader:
        @staticmethod
        def from_file(path: str) -> Watched:
            return Watched(tokenizers_from_file(path))

    tokenizers_from_file = run_onnx.Tokenizer.from_file
    monkeypatch.setattr(run_onnx, "Tokenizer", Reader)
    classify = run_onnx.load(folder)
    started = time.monotonic()
    assert classify(["film " * 20_000_000]) == classify(["film " * 16])
    assert time.monotonic() - started < 10
    assert seen == [1600, 80]


def test_a_folder_may_be_given_by_its_name(folder):
    """As lesson 6 says: ``OUT = "my-small-model"``. A text had no ``/``."""
    assert run_onnx.load(str(folder))(["film"]) == run_onnx.load(folder)(["film"])


def test_a_loop_without_an_end_is_ended_and_the_next_call_works(folder):
    put(folder, "model.onnx", model(turns=FOREVER))
    classify = run_onnx.load(folder, seconds=0.3)
    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(TimeoutError, match=r"ran for 0\.3 seconds and was ended"):
            classify(["film"])
        assert time.monotonic() - started < 20
    put(folder, "model.onnx", model(turns=1000))
    assert run_onnx.load(folder)(["film"]) == [("negative", 0.5)]


BAD_CONFIGS: dict[str, str | bytes] = {
    "no JSON": "{",
    "no UTF-8": b"\xff\xfe\xfa",
    "nested 100,000 times": "[" * 100_000,
    "a list": "[]",
    "empty": "{}",
    "no labels": config(labels=[]),
    "labels as text": config(labels="ab"),
    "numbers as labels": config(labels=[1, 2]),
    "a long label": config(labels=["a" * 100_000, "b"]),
    "20,000 labels": config(labels=["a"] * 20_000),
    "2 MB": " " * 2**21,
    "max_length 0": config(max_length=0),
    "max_length 10⁹": config(max_length=10**9),
    "max_length true": config(max_length=True),
    "max_length as text": config(max_length="16"),
}
BAD_TOKENIZERS: dict[str, str | bytes] = {
    "no JSON": "{",
    "no UTF-8": b"\xff\xfe\xfa",
    "another JSON": "{}",
    "a pickle": b"\x80\x04\x95",
    "no unknown word": tokenizer(model={"type": "WordLevel", "vocab": {}, "unk_token": "[UNK]"}),
    "ids beyond any integer": tokenizer(
        model={"type": "WordLevel", "vocab": {"film": 10**12}, "unk_token": "film"}
    ),
}
BAD_MODELS: dict[str, str | bytes] = {
    "empty": b"",
    "text": "hello",
    "cut in the middle": model()[:200],
    "another output": model(output="hidden"),
    "NaN": model(factor=float("nan")),
    "three classes for two labels": model(width=3),
}
BAD = [
    (name, content)
    for name, contents in (
        ("config.json", BAD_CONFIGS),
        ("tokenizer.json", BAD_TOKENIZERS),
        ("model.onnx", BAD_MODELS),
    )
    for content in contents.values()
]
KINDS = [
    f"{name}: {kind}"
    for name, kinds in (
        ("config", BAD_CONFIGS),
        ("tokenizer", BAD_TOKENIZERS),
        ("model", BAD_MODELS),
    )
    for kind in kinds
]


@pytest.mark.parametrize(("name", "content"), BAD, ids=KINDS)
def test_a_wrong_file_is_a_short_sentence_that_names_it(folder, name, content):
    put(folder, name, content)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")) as caught:
        run_onnx.load(folder)(["film"])
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "place", ["../weights", "/etc/passwd", "/dev/zero", "weights", "a/../../weights"]
)
def test_a_model_reads_no_weights_from_elsewhere(folder, place):
    """Before version 1.24, onnxruntime did."""
    (folder.parent / "weights").write_bytes(bytes(4))
    changed = load_model_from_string(model())
    (factor,) = (one for one in changed.graph.initializer if one.name == "factor")
    changed.graph.initializer.remove(factor)
    outside = TensorProto(name="factor", data_type=TensorProto.FLOAT, dims=[1], data_location=1)
    outside.external_data.add(key="location", value=place)
    changed.graph.initializer.append(outside)
    put(folder, "model.onnx", changed.SerializeToString())
    with pytest.raises(ValueError, match=r"model\.onnx cannot be used"):
        run_onnx.load(folder)


def test_a_pattern_that_tries_all_ways_to_split_a_text_is_given_up(folder, capfd):
    """The library panics, which is no Exception."""
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}
    put(folder, "tokenizer.json", tokenizer(pre_tokenizer={**split, "invert": False}))
    with pytest.raises(ValueError, match=r"tokenizer\.json cannot be used: .*retry-limit"):
        run_onnx.load(folder)(["a" * 1500 + "b"])


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def nothing(path: Path) -> None:
    pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
@pytest.mark.parametrize("kind", [Path.mkdir, a_fifo, a_device, nothing])
@pytest.mark.parametrize("name", run_onnx.MOST_BYTES)
def test_what_is_no_plain_file_is_refused_unread(folder, name, kind: Callable[[Path], object]):
    (folder / name).unlink()
    kind(folder / name)
    with pytest.raises(ValueError, match=rf"no file {name} beside"):
        run_onnx.load(folder)


@pytest.mark.parametrize("text", ["", " ", "\0", "\ud800", "film" * 10**6, "\n" * 10**6, "🙂"])
def test_any_text_gets_an_answer(folder, text):
    assert run_onnx.load(folder)([text, "film"])[1] == ("negative", 0.5)


@pytest.mark.parametrize("texts", ["film", [b"film"], [None], [["film"]]])
def test_what_is_no_list_of_texts_is_refused(folder, texts):
    with pytest.raises(TypeError, match="Expected a list of texts"):
        run_onnx.load(folder)(texts)


def run(folder: Path, *texts: str | bytes) -> subprocess.CompletedProcess:
    shutil.copy(run_onnx.__file__, folder / "run.py")
    command = [sys.executable, "-I", str(folder / "run.py"), *texts]
    return subprocess.run(command, capture_output=True, timeout=120)


def test_the_program_says_one_sentence_and_no_traceback(folder):
    put(folder, "model.onnx", "hello")
    ended = run(folder, "film")
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"model.onnx cannot be used: ")
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there, arguments are text")
def test_the_program_prints_nothing_that_steers_a_terminal(folder):
    put(folder, "config.json", config(labels=["\x1b]0;owned\x07", "b"]))
    ended = run(folder, b"film \xff\x1b[2J")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == b"?]0;owned? 0.500 film ??[2J\n"
