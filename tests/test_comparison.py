"""Sizes and speed of several forms of one model: what is counted, and when it warns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformer_zoo import batch_for, tiny

from course_lib import measure
from course_lib.comparison import Comparison, compare, footprint
from course_lib.embeddings import factor_embeddings
from course_lib.encoders import TextCNN
from course_lib.measure import Footprint, Latency
from course_lib.onnx_models import OnnxClassifier, export_onnx
from course_lib.quantization import quantize


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    model = tiny("bert")
    path = export_onnx(model, tmp_path_factory.mktemp("onnx") / "bert.onnx").path
    rows = quantize(model, backend="embeddings")
    return {
        "float32": model,
        "onnx": OnnxClassifier(path),
        "onnx int8": quantize(path),
        "torch": quantize(model, backend="torch"),
        "embeddings": rows,
        "both": quantize(rows, backend="torch"),
    }


def test_every_form_has_the_same_parameters(forms):
    counts = {name: footprint(model).parameters for name, model in forms.items()}
    assert set(counts.values()) == {sum(p.numel() for p in forms["float32"].parameters())}


def test_a_plain_model_weighs_what_measure_says(forms):
    plain, wanted = footprint(forms["float32"]), measure.footprint(forms["float32"])
    assert plain.bytes == pytest.approx(wanted.bytes, rel=0.02)  # the header has other names
    assert plain.embedding_share == pytest.approx(wanted.embedding_share)
    tied = footprint(tiny("bert-mlm"))
    assert tied.parameters == tiny("bert-mlm").num_parameters()


def test_bytes_are_those_of_the_file_and_shares_are_of_bytes(forms):
    sizes = {name: footprint(model) for name, model in forms.items()}
    for name in ("onnx", "onnx int8"):
        assert sizes[name].bytes == len(forms[name].content())
    words = 24 * (40 + 32 + 2)  # of all three tables
    rest = sizes["torch"].parameters - words
    assert sizes["onnx"].embedding_share == pytest.approx(words / (words + rest), rel=0.02)
    # int8 of the other layers alone leaves most bytes to the embeddings.
    assert sizes["torch"].embedding_share > 1.5 * sizes["float32"].embedding_share
    assert sizes["embeddings"].embedding_share < 0.6 * sizes["float32"].embedding_share
    matrices = sum(p.numel() for p in forms["float32"].parameters() if p.ndim > 1) - words
    saved = sizes["float32"].bytes - sizes["torch"].bytes
    assert 0.5 * 3 * matrices < saved < 3 * matrices  # the steps, and a longer header


def test_what_widens_a_factored_table_counts_with_it_before_and_after_int8():
    plain = factor_embeddings(tiny("bert"), 6)
    sizes = [footprint(form) for form in (plain, quantize(plain, backend="embeddings"))]
    wide = 4 * 6 * 24  # bytes of `widen`, which stays float32
    assert sizes[0].embedding_share == pytest.approx(measure.footprint(plain).embedding_share)
    rest = 4 * round(sizes[0].parameters * (1 - sizes[0].embedding_share))
    tables = 40 * 6 + (32 + 2) * 24 + wide
    steps = 4 * (40 + 32 + 2)
    share = tables / (tables + rest + steps)
    assert sizes[1].embedding_share == pytest.approx(share, rel=0.03)


def test_a_large_model_is_four_times_smaller():
    model = TextCNN(torch.arange(1, 4000), width=64)
    assert footprint(model).bytes > 3.5 * footprint(quantize(model)).bytes


def test_the_table_shows_every_form(forms):
    found = compare(forms, batch_for(forms["float32"]), rounds=4)
    text, page = repr(found), found._repr_html_()
    for name, size in found.footprints.items():
        assert f"{size.bytes:,}" in text
        assert f"<td>{name}</td>" in page
    assert "batch 3, 1 thread)" in text
    assert found.footprints["onnx"] == footprint(forms["onnx"])


def made_up(**milliseconds: float) -> Comparison:
    sizes = {name: Footprint(1, 8, 7, 0.5, None) for name in milliseconds}
    times = {n: Latency(m, 0.99 * m, 1.01 * m, 1, 1) for n, m in milliseconds.items()}
    return Comparison(sizes, times)


def test_what_is_slower_is_warned_of():
    found = made_up(float32=1.0, small=2.0, quick=0.5, alike=1.001)
    assert found.warnings == [
        "Warning: 'small' is 2 × slower than 'float32' on this processor; it saves bytes, not time."
    ]
    assert repr(found).endswith(found.warnings[0])
    assert "<p><b>Warning: &#x27;small&#x27; is 2 × slower" in found._repr_html_()
    assert "2 × faster" in repr(found)
    assert "no measurable difference" in repr(found)
    assert made_up(float32=1.0, quick=0.5).warnings == []


def test_other_threads_are_refused(forms):
    other = OnnxClassifier(forms["onnx"].path, threads=2)
    with pytest.raises(ValueError, match="'int8' computes with 2 threads, PyTorch with 1"):
        compare({"float32": forms["float32"], "int8": other}, batch_for(forms["float32"]))
    with pytest.raises(ValueError, match="Got 0 models"):
        compare({}, {})


def test_a_module_with_nothing_in_it_has_no_embeddings():
    assert footprint(nn.Identity()).embedding_share == 0.0
