"""ONNX files: the same answers at every shape, nothing of this machine in them, and a folder that a
process without PyTorch can run."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import onnx
import psutil
import pytest
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformer_zoo import batch_for, letters, tiny

from course_lib import evaluation, modules, quantization
from course_lib.datasets.tokenization import tokenize
from course_lib.evaluation.prediction import evaluate, predict
from course_lib.models.networks import LeNet300
from course_lib.models.text_classifiers import TextCNN
from course_lib.models.zoo import cached_logits
from course_lib.quantization import onnx_export, run_onnx
from course_lib.quantization.int8 import quantize
from course_lib.quantization.onnx_export import (
    EXACT_INT8,
    FILES,
    OnnxClassifier,
    export_onnx,
    save_onnx_folder,
)
from course_lib.serialization import load, save
from course_lib.structured.dependency import groups
from course_lib.structured.embeddings import factor_embeddings, shorten
from course_lib.structured.removal import remove, remove_layers
from course_lib.structured.vocabulary import prune_vocabulary

LABELS = ["negative", "positive"]


def uneven(model: Any) -> Any:
    """Another width in each group."""
    widths = enumerate(groups(model).items())
    return remove(model, {name: range(1 + i % group.units) for i, (name, group) in widths})


def everything(model: Any, tmp_path: Path) -> Any:
    small = remove_layers(uneven(model), [0, 2])
    small, _ = prune_vocabulary(small, letters(), range(10, 30))
    small = shorten(factor_embeddings(small, 5), 16)
    return load(save(small, tmp_path / "small"))


def cnn() -> TextCNN:
    torch.manual_seed(0)
    return TextCNN(torch.arange(1, 40), width=8, filters=6).eval()


MODELS: dict[str, Any] = {
    "distilbert with fewer units": lambda _: uneven(tiny("distilbert")),
    "bert, all of it smaller and loaded": lambda folder: everything(tiny("bert"), folder),
    "text cnn": lambda _: cnn(),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(tiny("bert"), tmp_path_factory.mktemp("onnx") / "bert.onnx").path


@pytest.fixture(scope="module")
def small() -> OnnxClassifier:
    """Another model, in int8."""
    return quantize(cnn())


def sentences(n: int = 12) -> Dataset:
    texts = ["a good film", "not a good film, is it?", "dull"] * (n // 3)
    return Dataset.from_dict({"text": texts, "label": [1, 0, 0] * (n // 3)})


# --- export -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_file_answers_as_the_model_at_every_shape(name, tmp_path):
    model = MODELS[name](tmp_path).train()
    exported = export_onnx(model, tmp_path / "model.onnx")
    assert all(module.training for module in model.modules())
    assert exported.difference < 1e-5
    assert exported.bytes == exported.path.stat().st_size
    assert f"{exported.bytes:,} bytes (differs from the model by at most" in repr(exported)
    reader = OnnxClassifier(exported.path)
    model.eval()
    words = getattr(model, "config", None) and model.config.vocab_size
    for n, length in ((1, 1), (1, 2), (2, 1), (7, 15)):
        ids = torch.randint(2, words or 40, (n, length))
        mask = torch.ones_like(ids)
        mask[-1, 1:] = 0  # as much padding as there can be
        batch = {"input_ids": ids * mask, "attention_mask": mask}
        with torch.inference_mode():
            answers = model(**batch)
        wanted = answers if isinstance(answers, Tensor) else answers.logits
        torch.testing.assert_close(reader(**batch).logits, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "padding", "longest"), [("gpt2-classifier", 39, 32), ("roberta", 1, 30)]
)
def test_a_padding_id_of_the_models_own_is_in_the_file(name, padding, longest, tmp_path):
    """GPT-2 looks for the last token that is no padding, by its id; batches are padded with 0."""
    model = tiny(name)
    model.config.pad_token_id = padding
    assert onnx_export._input_limits(model) == (40, longest)
    reader = OnnxClassifier(export_onnx(model, tmp_path / "padded.onnx").path)
    batch = batch_for(model)
    batch["input_ids"] *= batch["attention_mask"]
    alone = {key: value[1:2, :6] for key, value in batch.items()}
    with torch.inference_mode():
        torch.testing.assert_close(reader(**batch).logits[1:2], model(**alone).logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_at_once(dtype, tmp_path):
    model = cnn().to(dtype)
    for export in (
        lambda: export_onnx(model, tmp_path / "half.onnx"),
        lambda: quantize(model),
        lambda: quantize(model, backend="torch"),
        lambda: quantize(model, backend="embeddings"),
    ):
        with pytest.raises(
            ValueError, match=rf"TextCNN are {dtype}; expected float32.*\.float\(\)"
        ):
            export()


def test_the_file_is_whole_and_says_nothing_of_this_machine(file):
    content = file.read_bytes()
    assert not re.search(rb"\.py\b|transformers|Traceback|/(home|root|work|tmp|Users)/", content)
    assert [path.name for path in file.parent.iterdir()] == [file.name]  # no data beside it
    proto = onnx.load(file, load_external_data=False)
    onnx.checker.check_model(proto)
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)
    shapes = [
        [axis.dim_param or axis.dim_value for axis in entry.type.tensor_type.shape.dim]
        for entry in (*proto.graph.input, *proto.graph.output)
    ]
    assert shapes == [["batch", "length"], ["batch", "length"], ["batch", 2]]


def test_it_is_quiet_and_leaves_logging_as_it_was(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(logging, "warning", None)  # that function would set up logging
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantize(export_onnx(cnn(), tmp_path / "cnn.onnx").path)
    answers = capfd.readouterr()
    assert answers.out == answers.err == ""
    assert logging.root.manager.disable == logging.NOTSET


class Counts(nn.Module):
    """Its answer depends on how long the batch is, in Python: a trace cannot see that."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 2)
        self.calls = 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.calls += 1
        return self.words(input_ids).sum(1) * self.calls


class NanFrom(nn.Module):
    """Its answer is NaN for texts that are longer than `first`."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(64, 2), nn.Embedding(64, 2)
        self.places.weight.data[first:] = torch.nan

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        places = self.places(torch.arange(input_ids.shape[1]))
        return (self.words(input_ids) + places).sum(1)


def test_a_file_that_answers_differently_is_refused_and_not_written(tmp_path):
    with pytest.raises(
        ValueError, match=r"answers differently from the Counts: by up to .*, and 0.0001 is"
    ):
        export_onnx(Counts(), tmp_path / "wrong.onnx")
    for first_nan in (0, 10):  # the second time in long texts alone
        with pytest.raises(ValueError, match="by up to nan"):
            export_onnx(NanFrom(first_nan), tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []


def test_other_things_are_refused(tmp_path):
    with pytest.raises(TypeError, match="Got a str; expected a model of PyTorch"):
        export_onnx("bert", tmp_path / "x.onnx")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="LeNet300 has no embeddings; only text classifiers"):
        export_onnx(LeNet300(), tmp_path / "x.onnx")


# --- a file as a model --------------------------------------------------------------------------


def test_it_is_scored_and_measured_like_the_model(file):
    model, reader = tiny("bert"), OnnxClassifier(file)
    data = tokenize(sentences(), letters(), max_length=16)
    torch.testing.assert_close(predict(reader, data), predict(model, data))
    assert evaluate(reader, data) == evaluate(model, data)
    reader.train()
    times = evaluation.latency({"torch": model, "onnx": reader}, batch_for(model), rounds=4)
    assert times["onnx"].batch == 3
    assert reader.training
    assert reader.classes == 2
    assert repr(reader) == "OnnxClassifier(bert.onnx, threads=1)"


def test_threads_are_those_of_pytorch_unless_said(file):
    assert OnnxClassifier(file).threads == torch.get_num_threads() == 1
    reader = OnnxClassifier(file, threads=2)
    options = reader.session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert reader.threads == 2


def test_int8_products_cannot_overflow_on_any_processor(file):
    """test_quantization's answers were 0.2 off on a processor without VNNI."""
    name, value = EXACT_INT8
    options = OnnxClassifier(file).session.get_session_options()
    assert options.get_session_config_entry(name) == value == "1"
    assert f'add_session_config_entry("{name}", "{value}")' in inspect.getsource(run_onnx)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc keeps what is free; others do not")
def test_a_large_batch_leaves_no_memory_behind(file):
    """Three students of lesson 5 kept 600 MiB after they had been scored."""
    model, process = OnnxClassifier(file), psutil.Process()
    batch = {"input_ids": torch.ones(4096, 16, dtype=torch.long)}
    batch["attention_mask"] = batch["input_ids"]
    modules.release_memory()
    before = process.memory_info().rss
    one_by_one = model(**{name: rows[:1] for name, rows in batch.items()}).logits
    torch.testing.assert_close(model(**batch).logits[:1], one_by_one, atol=1e-5, rtol=0)
    modules.release_memory()
    assert process.memory_info().rss - before < 2**24


def test_cached_logits_tell_two_files_apart(file, small, cache_folder):
    data = tokenize(sentences(3), letters())
    first, second = cached_logits(OnnxClassifier(file), data), cached_logits(small, data)
    assert not torch.equal(first, second)
    assert torch.equal(cached_logits(OnnxClassifier(file.read_bytes()), data), first)


def test_segments_are_refused_unless_they_say_nothing(file):
    reader, batch = OnnxClassifier(file), batch_for(tiny("bert"))
    zeros = torch.zeros_like(batch["input_ids"])
    assert torch.equal(reader(**batch, token_type_ids=zeros).logits, reader(**batch).logits)
    with pytest.raises(ValueError, match="token_type_ids must be 0"):
        reader(**batch, token_type_ids=zeros + 1)


def test_what_is_no_such_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        OnnxClassifier(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ValueError, match=r"text.onnx is no ONNX model that can be run"):
        OnnxClassifier(tmp_path / "text.onnx")
    images = tmp_path / "images.onnx"
    images.write_bytes(adding(["input"], "output"))
    with pytest.raises(
        ValueError, match=r"images.onnx takes \['input'\] and .*; expected \['input_"
    ):
        OnnxClassifier(images)
    with pytest.raises(
        ValueError, match=r"The model takes .* and gives \['hidden'\]; expected .*\['logits'\]"
    ):
        OnnxClassifier(adding(["input_ids", "attention_mask"], "hidden"))


def adding(inputs: list[str], output: str) -> bytes:
    """An ONNX file that gives the sum of its inputs."""
    given = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in inputs
    ]
    node = onnx.helper.make_node("Sum", inputs, [output])
    graph = onnx.helper.make_graph(
        [node], "g", given, [onnx.helper.make_empty_tensor_value_info(output)]
    )
    opset = [onnx.helper.make_opsetid("", 20)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


def test_a_file_that_has_changed_since_is_not_taken_for_the_model(file, small, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(file.read_bytes())
    reader = OnnxClassifier(path)
    path.write_bytes(small.content())
    with pytest.raises(ValueError, match=r"model\.onnx has changed.*OnnxClassifier\(path\)"):
        save_onnx_folder(reader, tmp_path / "ship", letters(), LABELS, 64)
    assert not (tmp_path / "ship").exists()


# --- a folder to ship ---------------------------------------------------------------------------

WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "course_lib", "onnx", "safetensors"):
    sys.modules[name] = None  # importing it is an error from here on
sys.path.insert(0, sys.argv[1])
import json, pathlib, run
print(json.dumps(run.load(pathlib.Path(sys.argv[1]))(json.loads(sys.argv[2]))))
"""
TEXTS = ["A good film.", "not a good film, is it?", "", "dull!", "word " * 40]


def without_torch(*arguments: str) -> str:
    """What a fresh process prints, in an empty folder and with nothing of ours on its path."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-I", *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/")
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    """A model, its tokenizer and its file."""
    model, tokenizer = prune_vocabulary(tiny("bert"), letters(), range(5, 30))
    exported = export_onnx(model, tmp_path_factory.mktemp("pruned") / "model.onnx")
    return model, tokenizer, exported.path


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_a_process_without_torch_gives_the_same_answers(kind, pruned, tmp_path):
    model, tokenizer, path = pruned
    reader = OnnxClassifier(path) if kind == "float32" else quantize(path)
    tokenizer(TEXTS, truncation=True, max_length=16)  # as for the training
    folder = save_onnx_folder(reader, tmp_path / "ship", tokenizer, LABELS)
    assert json.loads((folder / "config.json").read_text())["max_length"] == 16
    assert {path.name for path in folder.iterdir()} == FILES
    answers = json.loads(without_torch("-c", WITHOUT_TORCH, str(folder), json.dumps(TEXTS)))
    with torch.inference_mode():
        batch = tokenizer(TEXTS, truncation=True, max_length=16, padding=True, return_tensors="pt")
        batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
        # int8 finds its steps in the batch at hand, so it is compared with itself.
        shares = (model if kind == "float32" else reader)(**batch).logits.softmax(-1)
    assert [label for label, _ in answers] == [LABELS[i] for i in shares.argmax(-1)]
    torch.testing.assert_close(
        torch.tensor([share for _, share in answers]), shares.amax(-1), atol=1e-5, rtol=1e-5
    )
    assert quantization.load(folder)(TEXTS) == [(label, pytest.approx(s)) for label, s in answers]


def test_the_program_in_the_folder_answers(small, tmp_path):
    folder = save_onnx_folder(small, tmp_path / "ship", letters(), LABELS, 64)
    lines = without_torch(str(folder / "run.py"), "a good film", "dull").splitlines()
    assert [bool(re.fullmatch(r"(nega|posi)tive 0\.\d{3} .+", line)) for line in lines] == [
        True
    ] * 2
    assert "python run.py" in without_torch(str(folder / "run.py"))
    assert quantization.load(folder)([]) == []


def test_an_older_folder_is_replaced_and_another_is_left_alone(file, small, tmp_path):
    first, second = OnnxClassifier(file), small
    folder = save_onnx_folder(first, tmp_path / "ship", letters(), LABELS, 64)
    (folder / "__pycache__").mkdir()  # as Python makes it when somebody imports run.py
    save_onnx_folder(second, folder, letters(), ["bad", "good"], 64)
    assert (folder / "model.onnx").read_bytes() == second.content()
    assert json.loads((folder / "config.json").read_text())["labels"] == ["bad", "good"]
    (folder / "diary.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"'ship' holds what save did not write: diary\.txt"):
        save_onnx_folder(first, folder, letters(), LABELS, 64)
    assert (folder / "diary.txt").read_text() == "mine"
    theirs = tmp_path / "theirs"  # another program's model: its files have names as ours
    theirs.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (theirs / name).write_text("theirs")
    with pytest.raises(FileExistsError, match=r"'theirs' holds .*: config\.json, tokenizer"):
        save_onnx_folder(first, theirs, letters(), LABELS, 64)
    assert (theirs / "config.json").read_text() == "theirs"
    (tmp_path / "note").write_text("mine")
    with pytest.raises(FileExistsError, match=r"'note' holds .*: note"):
        save_onnx_folder(first, tmp_path / "note", letters(), LABELS, 64)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["note", "ship", "theirs"]
    (tmp_path / "empty").mkdir()
    save_onnx_folder(first, tmp_path / "empty", letters(), LABELS, 64)


def test_a_card_may_lie_beside_the_model_and_other_files_may_not(small, tmp_path):
    card = {"README.md": b"# A card"}
    folder = save_onnx_folder(small, tmp_path / "ship", letters(), LABELS, 64, beside=card)
    assert (folder / "README.md").read_bytes() == b"# A card"
    save_onnx_folder(
        small, folder, letters(), LABELS, 64
    )  # it counts as ours, and goes with the rest
    assert not (folder / "README.md").exists()
    with pytest.raises(ValueError, match=r"\['run.sh'\]; only"):
        save_onnx_folder(small, folder, letters(), LABELS, 64, beside={"run.sh": b""})


def test_what_does_not_fit_is_not_saved(file, tmp_path):
    reader, tokenizer = OnnxClassifier(file), letters()
    with pytest.raises(TypeError, match="Got a BertForSequenceClassification; expected an Onnx"):
        save_onnx_folder(tiny("bert"), tmp_path / "x", tokenizer, LABELS)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Got str; expected a fast tokenizer"):
        save_onnx_folder(reader, tmp_path / "x", "letters", LABELS)
    with pytest.raises(ValueError, match="Got 3 labels, and the model has 2 classes"):
        save_onnx_folder(reader, tmp_path / "x", tokenizer, ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"cuts no texts.*give the one of the training texts"):
        save_onnx_folder(reader, tmp_path / "x", tokenizer, LABELS)
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="no padding token"):
        save_onnx_folder(reader, tmp_path / "x", tokenizer, LABELS)
    assert list(tmp_path.iterdir()) == []
