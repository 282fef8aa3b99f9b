"""int8: weights in one byte instead of four, by three back ends."""

from __future__ import annotations

import copy
import math
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reads it once, at its import

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from torch.ao import quantization as torch_ao

from course_lib.files import write_atomically
from course_lib.modules import make_permanent, release_memory
from course_lib.quantization.onnx_export import OnnxClassifier, export_onnx, refuse_half, silent

BACKENDS = ("onnxruntime", "torch", "embeddings")


def quantize(
    model: nn.Module | str | Path, path: str | Path | None = None, *, backend: str = "onnxruntime"
) -> Any:
    """An int8 copy of a text classifier. It takes the same batches and works with `evaluate`.

    - ``"onnxruntime"``: embeddings, linear layers and convolutions become int8 and compute in int8. The
      scales of the activations are found anew for each batch (dynamic quantization).
    - ``"torch"``: PyTorch's dynamic int8 (deprecated there), of linear layers only. The result cannot
      be saved here: it could only be pickled.
    - ``"embeddings"``: each row of each embedding table becomes int8, with its own scale, and computes
      in float32. ``"torch"`` can follow.

    Each output of a layer has its own scale. Zeros of masks are written into the weights first. The
    arithmetic is that of Jacob et al. 2018, § 2.1. Explained in lesson 5.

    Args:
        model: a classifier; for ``"onnxruntime"`` also the path of a file of `export_onnx`.
        path: where ``"onnxruntime"`` writes its file (default: the file stays in memory).
        backend: one of the three (default ``"onnxruntime"``).

    Returns:
        `OnnxClassifier` for ``"onnxruntime"``, else a copy of `model`, in eval mode.
        `evaluation.footprint` measures their sizes, `evaluation.latency` their speed.

    Raises:
        ValueError: an unknown back end; a path for one that writes no file; half precision; what
            else `export_onnx` raises.
        TypeError: a path as `model` for a back end that needs the module.
        FileNotFoundError: there is no such file.

    Example:
        >>> from course_lib.models.text_classifiers import TextCNN
        >>> cnn = TextCNN(torch.arange(1, 999))
        >>> len(quantize(cnn).content()) < sum(4 * p.numel() for p in cnn.parameters()) / 3
        True
    """
    if backend not in BACKENDS:
        raise ValueError(f"There is no back end {backend!r}; there are {', '.join(BACKENDS)}.")
    if backend == "onnxruntime":
        int8 = _onnx_int8(model, path)
        release_memory()
        return int8
    if path is not None:
        raise ValueError(f"The back end {backend!r} writes no file; leave the path out.")
    if not isinstance(model, nn.Module) or isinstance(model, OnnxClassifier):
        raise TypeError(f"The back end {backend!r} needs the model itself, in PyTorch.")
    refuse_half(model)
    plain = make_permanent(model)
    return _torch_int8(plain) if backend == "torch" else _int8_embeddings(plain)


class Int8Embedding(nn.Module):
    """An embedding table in int8. Row i is ``weight[i] · scale[i]``, computed in float32.

    The matrix ``widen`` of a `structured.FactoredEmbedding` stays as it is.

    Example:
        >>> old = nn.Embedding.from_pretrained(torch.tensor([[127.0, 2.0], [0.0, 0.0]]))
        >>> Int8Embedding(old)(torch.tensor([0, 1]))
        tensor([[127.,   2.],
                [  0.,   0.]])
    """

    weight: Tensor  # [words, width], int8
    scale: Tensor  # [words, 1]
    is_embedding = True  # for `evaluation.footprint`

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        integers, scale = _to_integers(table.weight.detach().float(), bits=8)
        self.register_buffer("weight", integers.to(torch.int8))
        self.register_buffer("scale", scale)
        self.widen = copy.deepcopy(getattr(table, "widen", None))

    def forward(self, input: Tensor) -> Tensor:
        rows = self.weight[input].to(self.scale.dtype) * self.scale[input]
        return rows if self.widen is None else self.widen(rows)


def fake_quantize(model: nn.Module, bits: int) -> nn.Module:
    """A copy whose weight matrices hold only values that `bits` bits can store, as float32.

    It shows what fewer bits do to the accuracy; it is neither smaller nor faster, and
    `quantized_bytes` computes what would be saved. Each output, or word, has its own scale; the zero
    point is 0. Zeros of masks are written into the weights first. Explained in lesson 5.

    Args:
        model: any module; it is left alone.
        bits: 2 to 8.

    Raises:
        ValueError: other bits.

    Example:
        >>> net = nn.Linear(3, 1, bias=False)
        >>> net.weight.data = torch.tensor([[1.0, 0.4, -0.6]])
        >>> fake_quantize(net, bits=2).weight.data  # −1, 0 and 1 times the scale
        tensor([[ 1.,  0., -1.]])
    """
    if bits not in range(2, 9):
        raise ValueError(f"Got {bits} bits; expected 2 to 8.")
    result = make_permanent(model)
    for parameter in _matrices(result):
        integers, scale = _to_integers(parameter.detach().flatten(1), bits)
        parameter.data = (integers * scale).view_as(parameter).to(parameter.dtype)
    return result


def quantized_bytes(model: nn.Module, bits: int) -> int:
    """Bytes by arithmetic: `bits` bits for each number of a matrix, four bytes for the scale of each
    row and for each other parameter.

    Example:
        >>> quantized_bytes(nn.Linear(16, 10), bits=4)  # 16 · 10 / 2 + 4 · 10 + 4 · 10
        160
    """
    matrices = _matrices(model)
    packed = sum(math.ceil(p.numel() * bits / 8) + 4 * len(p) for p in matrices)
    others = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in matrices)
    return packed + 4 * others


def _onnx_int8(model: nn.Module | str | Path, path: str | Path | None) -> OnnxClassifier:
    with tempfile.TemporaryDirectory() as work:
        if isinstance(model, nn.Module) and not isinstance(model, OnnxClassifier):
            model = export_onnx(model, Path(work) / "exported.onnx").path
        # As a classifier first: that checks the file.
        classifier = (
            model if isinstance(model, OnnxClassifier) else OnnxClassifier(model, threads=1)
        )
        proto = onnx.load_from_string(classifier.content())
        # Without this note onnxruntime logs advice, and sets up logging for the whole process.
        helper.set_model_props(proto, {"onnx.quant.pre_process": "onnxruntime.quant"})
        source, target = Path(work) / "float.onnx", Path(work) / "int8.onnx"
        onnx.save(proto, source)
        del classifier, proto  # each holds all weights
        with silent():
            quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)
        int8 = onnx.load(target)
    del int8.metadata_props[:], int8.graph.value_info[:]
    _narrow_tables(int8.graph)
    if path is None:
        return OnnxClassifier(int8.SerializeToString())
    write_atomically(path, lambda part: part.write_bytes(int8.SerializeToString()))
    return OnnxClassifier(path)


def _narrow_tables(graph: onnx.GraphProto) -> None:
    """Store long tables of integers in two bytes where they fit: `SmallVocabulary` has one."""
    for table in list(graph.initializer):
        values = numpy_helper.to_array(table)
        whole = table.data_type in (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
        if whole and values.size > 1000 and 0 <= values.min() <= values.max() < 2**15:
            short = numpy_helper.from_array(values.astype(np.int16), f"{table.name}_short")
            cast = helper.make_node("Cast", [short.name], [table.name], to=table.data_type)
            graph.initializer.remove(table)
            graph.initializer.append(short)
            graph.node.insert(0, cast)


def _torch_int8(model: nn.Module) -> nn.Module:
    """The model itself, changed. PyTorch computes with int8 layers on the CPU only."""
    layers = {nn.Linear: torch_ao.per_channel_dynamic_qconfig}
    with silent():  # hides that it is deprecated; `quantize` says so
        int8 = torch_ao.quantize_dynamic(model.cpu().eval(), layers, inplace=True)
    int8.cpu_only = True  # for `evaluation.predict`
    return int8


def _int8_embeddings(model: nn.Module) -> nn.Module:
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    memo: dict[int, Any] = {id(table): Int8Embedding(table) for table in tables}
    return copy.deepcopy(model, memo).eval()  # deepcopy takes what is in the memo instead


def _to_integers(matrix: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Integers ``[rows, columns]`` and a scale ``[rows, 1]``: their product is near the matrix, by at
    most half a scale. The zero point is 0."""
    largest = 2 ** (bits - 1) - 1
    scale = matrix.abs().amax(1, keepdim=True) / largest
    scale[scale == 0] = 1.0  # a row of zeros, for padding
    return (matrix / scale).round(), scale


def _matrices(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.ndim > 1]
