"""int8 by three back ends: what becomes int8, what it costs in bytes, and that the answers stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from datasets import Dataset
from onnx import numpy_helper
from torch import nn
from torch.nn.utils.prune import l1_unstructured
from transformer_zoo import batch_for, letters, tiny

from course_lib.datasets.tokenization import tokenize
from course_lib.evaluation.prediction import evaluate, predict
from course_lib.evaluation.timing import latency
from course_lib.models.text_classifiers import TextCNN
from course_lib.modules import logits_of
from course_lib.pruning.masks import apply_masks, make_permanent, masks_of, prunable
from course_lib.pruning.unstructured import prune_weights
from course_lib.quantization.int8 import (
    BACKENDS,
    Int8Embedding,
    fake_quantize,
    quantize,
    quantized_bytes,
)
from course_lib.quantization.onnx_export import OnnxClassifier, export_onnx
from course_lib.structured.embeddings import factor_embeddings


def cnn() -> TextCNN:
    torch.manual_seed(0)
    return TextCNN(torch.arange(1, 4000), width=8, filters=6).eval()


def tables(small: OnnxClassifier) -> dict[str, Any]:
    """Every matrix in the file, as numbers."""
    proto = onnx.load_from_string(small.content())
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    return {name: values for name, values in found.items() if values.ndim > 1}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = factor_embeddings(tiny("bert"), 6)  # every kind of layer that a transformer has here
    return export_onnx(small, tmp_path_factory.mktemp("int8") / "bert.onnx").path


# --- ONNX Runtime -------------------------------------------------------------------------------


def test_all_matrices_of_a_transformer_are_int8_in_the_file(file, tmp_path):
    before = file.read_bytes()
    small = quantize(file, tmp_path / "deep" / "int8.onnx")
    assert small.path == tmp_path / "deep" / "int8.onnx"
    assert [path.name for path in small.path.parent.iterdir()] == ["int8.onnx"]
    assert [path.name for path in file.parent.iterdir()] == ["bert.onnx"]
    assert file.read_bytes() == before
    matrices = tables(small)
    # ONNX Runtime gives embeddings an offset, and then 0 to 255 instead of −128 to 127.
    kinds = {name: str(values.dtype) for name, values in matrices.items() if values.size > 64}
    assert set(kinds.values()) == {"int8", "uint8"}
    assert all("embeddings" in name for name, kind in kinds.items() if kind == "uint8")
    proto = onnx.load_from_string(small.content())
    looked_up = [node.input[0] for node in proto.graph.node if node.op_type == "Gather"]
    embeddings = [matrices[name] for name in looked_up if name in matrices]
    # Words, positions and segments; the words are factored.
    assert sorted(values.shape for values in embeddings) == [(2, 24), (32, 24), (40, 6)]
    assert all(values.dtype == "uint8" for values in embeddings)
    assert not proto.metadata_props
    steps = {t.name: t.dims for t in proto.graph.initializer if t.name.endswith("_scale")}
    assert any(list(dims) == [24] for dims in steps.values())  # one for each output


def test_a_text_cnn_is_int8_too_and_its_table_of_ids_takes_two_bytes():
    model = cnn()
    small = quantize(model)
    kinds = {n.removeprefix("model."): str(v.dtype) for n, v in tables(small).items()}
    assert kinds["words.embedding.weight_quantized"] == "uint8"
    assert [kinds[f"convolutions.{i}.weight_quantized"] for i in range(3)] == ["int8"] * 3
    numbers = sum(p.numel() for p in model.parameters())
    # One byte a parameter, two an id, and some kilobytes that say how to compute.
    assert len(small.content()) < numbers + 2 * len(model.words.rows) + 12_000
    ids = torch.randint(1, 5000, (4, 12))  # beyond 4,000 is unknown
    ids[0, 6:] = 0
    batch = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    with torch.inference_mode():
        torch.testing.assert_close(small(**batch).logits, model(**batch), atol=0.02, rtol=0)


def test_a_model_a_file_and_a_loaded_file_give_the_same(tmp_path):
    model = cnn()
    exported = export_onnx(model, tmp_path / "cnn.onnx")
    sources = [model, str(exported.path), OnnxClassifier(exported.path)]
    first, *others = [quantize(source).content() for source in sources]
    assert all(other == first for other in others)


# --- PyTorch, and embeddings alone --------------------------------------------------------------


def test_pytorch_makes_linear_layers_int8():
    model = tiny("bert")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = quantize(model, backend="torch")
    assert type(small) is type(model)
    assert small.cpu_only  # there are no such layers for a GPU: `predict` must not take it to one
    assert quantize(small, backend="embeddings").cpu_only
    assert not any(isinstance(module, nn.Linear) for module in small.modules())
    assert isinstance(small.get_input_embeddings(), nn.Embedding)
    weight = small.classifier.weight()
    assert weight.is_quantized
    assert weight.qscheme() == torch.per_channel_affine
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    batch = batch_for(model)
    with torch.inference_mode():
        assert (small(**batch).logits - model(**batch).logits).abs().max() < 0.1


@pytest.mark.parametrize("name", ["bert", "distilbert", "gpt2-classifier"])
def test_every_row_of_an_embedding_is_wrong_by_half_its_scale_at_most(name):
    model = tiny(name).train()
    small = quantize(model, backend="embeddings")
    assert not any(isinstance(module, nn.Embedding) for module in small.modules())
    assert not any(module.training for module in small.modules())
    assert all(module.training for module in model.modules())
    old, new = model.get_input_embeddings(), small.get_input_embeddings()
    words = torch.arange(40)
    error = (old(words) - new(words)).abs().amax(1)
    assert (error <= 0.5001 * old.weight.abs().amax(1) / 127).all()
    assert error.max() > 0
    assert new.weight.dtype == torch.int8
    batch = batch_for(model)
    model.eval()
    with torch.inference_mode():
        assert (small(**batch).logits - model(**batch).logits).abs().max() < 0.1


def test_what_stands_behind_a_factored_table_stays():
    model: Any = factor_embeddings(tiny("bert"), 6)
    small = quantize(model, backend="embeddings")
    table = small.get_input_embeddings()
    assert table.weight.shape == (40, 6)
    assert torch.equal(table.widen.weight, model.get_input_embeddings().widen.weight)
    both = quantize(small, backend="torch")
    assert not any(isinstance(m, (nn.Embedding, nn.Linear)) for m in both.modules())
    assert torch.isfinite(both(**batch_for(model)).logits).all()


def test_a_row_of_zeros_stays_one():
    assert Int8Embedding(nn.Embedding(3, 4, padding_idx=0))(torch.tensor([0])).tolist() == [
        [0.0] * 4
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_is_scored_and_measured_like_the_model(backend):
    model = cnn()
    small = quantize(model, backend=backend)
    texts = Dataset.from_dict({"text": ["a good film", "dull", "bad"] * 4, "label": [1, 0, 0] * 4})
    data = tokenize(texts, letters())
    torch.testing.assert_close(predict(small, data), predict(model, data), atol=0.05, rtol=0)
    assert evaluate(small, data).n == 12
    batch = {"input_ids": torch.ones(2, 5).long(), "attention_mask": torch.ones(2, 5).long()}
    assert set(latency({"before": model, backend: small}, batch, rounds=4)) == {"before", backend}


# --- masks --------------------------------------------------------------------------------------


@pytest.fixture
def masked() -> nn.Module:
    """The largest weights are masked, those of the embedding too, one layer's by PyTorch's own mask."""
    model = cnn()
    layers = ["words.embedding", "classifier"]
    masks = {layer: w.abs() < w.abs().max() / 2 for layer, w in prunable(model, layers).items()}
    l1_unstructured(model.convolutions[0], "weight", amount=0.5)
    return apply_masks(model, masks)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_masked_model_is_quantized_as_with_its_zeros_written_in(masked, backend):
    ids = torch.randint(1, 4000, (4, 12))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    small, wanted = quantize(masked, backend=backend), make_permanent(masked)
    assert masks_of(masked) and not masks_of(small)
    with torch.inference_mode():
        outputs = [logits_of(form(**batch)) for form in (small, wanted)]
    torch.testing.assert_close(*outputs, atol=0.02, rtol=0)


def test_a_masked_model_takes_no_more_bytes_in_its_file_than_a_plain_one():
    """Of 80,000 weights, the mask and the product stayed in the file."""
    model = TextCNN(torch.arange(1, 10_000), width=8, filters=6).eval()
    layers = ["words.embedding", "classifier"]
    masked = prune_weights(model, 0.5, layers=layers)
    plain, sizes = make_permanent(masked), []
    for form in (masked, plain):
        sizes.append(len(quantize(form).content()))
    assert sizes[0] == sizes[1]


def test_a_masked_model_is_fake_quantized_as_with_its_zeros_written_in(masked):
    plain = make_permanent(masked)
    small, wanted = fake_quantize(masked, bits=3), fake_quantize(plain, bits=3)
    assert not masks_of(small)
    for name, weight in wanted.state_dict().items():
        assert torch.equal(small.state_dict()[name], weight)
    assert quantized_bytes(masked, 4) == quantized_bytes(plain, 4)


# --- fewer bits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weights_have_as_many_values_as_the_bits_allow(bits):
    model = nn.Sequential(nn.Embedding(9, 300), nn.Linear(300, 5), nn.Conv1d(5, 4, 3))
    torch.manual_seed(0)
    before = [parameter.clone() for parameter in model.parameters()]
    small = fake_quantize(model, bits)
    for old, new, kept in zip(before, small.parameters(), model.parameters(), strict=True):
        assert torch.equal(old, kept)
        if old.ndim == 1:
            assert torch.equal(old, new)
            continue
        for was, row in zip(old.flatten(1), new.detach().flatten(1), strict=True):
            assert len(row.unique()) <= 2**bits - 1
            scale = was.abs().max() / (2 ** (bits - 1) - 1)
            assert (was - row).abs().max() <= 0.5001 * scale


def test_bytes_by_arithmetic():
    model = nn.Sequential(nn.Embedding(9, 3), nn.Linear(3, 2))
    # 27 numbers of 4 bits: 14 bytes, and 9 scales; 6 numbers: 3 bytes, 2 scales; 2 biases.
    assert quantized_bytes(model, 4) == 14 + 36 + 3 + 8 + 8
    assert quantized_bytes(model, 8) == 27 + 36 + 6 + 8 + 8


# --- errors -------------------------------------------------------------------------------------


def test_what_cannot_be_quantized_is_refused(file, tmp_path):
    with pytest.raises(ValueError, match="no back end 'tensorrt'; there are onnxruntime, torch"):
        quantize(cnn(), backend="tensorrt")
    for backend in ("torch", "embeddings"):
        with pytest.raises(ValueError, match=f"'{backend}' writes no file"):
            quantize(cnn(), tmp_path / "x", backend=backend)
        for source in (file, OnnxClassifier(file)):
            with pytest.raises(TypeError, match=f"'{backend}' needs the model itself"):
                quantize(source, backend=backend)
    with pytest.raises(FileNotFoundError):
        quantize(tmp_path / "none.onnx")
    for bits in (1, 9, 4.5):
        with pytest.raises(ValueError, match=f"Got {bits} bits; expected 2 to 8"):
            fake_quantize(cnn(), bits)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
