"""Sizes and speed of several forms of one model: what is counted, and when it warns."""

from __future__ import annotations

from typing import Any

import pytest
from transformer_zoo import batch_for, tiny

from course_lib.evaluation.size import Footprint, footprint
from course_lib.evaluation.timing import Latency
from course_lib.lessons.comparison import Comparison, compare
from course_lib.quantization.int8 import quantize
from course_lib.quantization.onnx_export import OnnxClassifier, export_onnx
from course_lib.structured.embeddings import factor_embeddings


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
    assert footprint(tiny("bert-mlm")).parameters == tiny("bert-mlm").num_parameters()


def test_bytes_are_those_of_the_file_and_shares_are_of_bytes(forms):
    sizes = {name: footprint(model) for name, model in forms.items()}
    for name in ("onnx", "onnx int8"):
        assert sizes[name].bytes == len(forms[name].content())
    words = 24 * (40 + 32 + 2)  # of all three tables
    rest = sizes["torch"].parameters - words
    for name in ("float32", "onnx"):
        assert sizes[name].embedding_share == pytest.approx(words / (words + rest), rel=0.02)
    # int8 of the other layers alone leaves most bytes to the embeddings.
    assert sizes["torch"].embedding_share > 1.5 * sizes["float32"].embedding_share
    assert sizes["embeddings"].embedding_share < 0.6 * sizes["float32"].embedding_share
    matrices = sum(p.numel() for p in forms["float32"].parameters() if p.ndim > 1) - words
    saved = sizes["float32"].bytes - sizes["torch"].bytes
    assert 0.5 * 3 * matrices < saved < 3 * matrices  # the scales, and a longer header


def test_what_widens_a_factored_table_counts_with_it_before_and_after_int8():
    plain = factor_embeddings(tiny("bert"), 6)
    before, after = (footprint(m) for m in (plain, quantize(plain, backend="embeddings")))
    narrow, others, wide = 40 * 6, (32 + 2) * 24, 6 * 24  # wide is `widen`, which stays float32
    share = (narrow + others + wide) / before.parameters
    assert before.embedding_share == pytest.approx(share)
    rest = 4 * round(before.parameters * (1 - share))
    tables, scales = narrow + others + 4 * wide, 4 * (40 + 32 + 2)
    assert after.embedding_share == pytest.approx(tables / (tables + rest + scales), rel=0.03)


def test_the_table_shows_every_form(forms):
    comparison = compare(forms, batch_for(forms["float32"]), rounds=4)
    text, page = repr(comparison), comparison._repr_html_()
    for name, size in comparison.footprints.items():
        assert f"{size.bytes:,}" in text
        assert f">{name}</td>" in page
    assert "PyTorch, batch 3, 1 thread)" in text and "ONNX Runtime, batch 3" in text
    assert comparison.footprints["onnx"] == footprint(forms["onnx"], zipped=False)
    assert comparison.speedups["onnx"].runtime == "PyTorch → ONNX Runtime"


def made_up(**milliseconds: float) -> Comparison:
    sizes = {name: Footprint(1, 8, 7, 0.5, None) for name in milliseconds}
    noise = [1.0, 1.1, 0.9, 1.05, 1.0]
    times = {"float32": Latency(tuple(noise), 1, 1)}
    for name, m in milliseconds.items():
        times[name] = Latency(tuple(m * n for n in reversed(noise)), 1, 1)
    return Comparison(sizes | {"float32": sizes["small"]}, times)


def test_what_is_slower_is_warned_of():
    comparison = made_up(small=2.0, quick=0.5, equal=1.001)
    assert comparison.warnings == [
        "Warning: 'small' is 2 × slower than 'float32' on this processor; it saves bytes, not time."
    ]
    assert repr(comparison).endswith(comparison.warnings[0])
    assert "<p><b>Warning: &#x27;small&#x27; is 2 × slower" in comparison._repr_html_()
    assert "2 × faster" in repr(comparison)
    assert "cannot tell" in repr(comparison)


def test_other_threads_are_refused(forms):
    other = OnnxClassifier(forms["onnx"].path, threads=2)
    with pytest.raises(ValueError, match="'int8' computes with 2 threads, PyTorch with 1"):
        compare({"float32": forms["float32"], "int8": other}, batch_for(forms["float32"]))
    with pytest.raises(ValueError, match="Got 0 models"):
        compare({}, {})
