"""int8: weights in one byte instead of four, by three back ends. `comparison` says what they bring."""

from __future__ import annotations

import copy
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from torch.ao import quantization as torch_ao

from course_lib.masking import make_permanent, masks_of
from course_lib.onnx_models import OnnxClassifier, export_onnx, silent, write
from course_lib.training import give_memory_back

BACKENDS = ("onnxruntime", "torch", "embeddings")


def quantize(
    model: nn.Module | str | Path,
    path: str | Path | None = None,
    *,
    backend: str = "onnxruntime",
) -> Any:
    """An int8 copy of a text classifier, which takes the same batches and scores with `evaluate`.

    What the three back ends do (Jacob et al. 2018, section 2.1, is the arithmetic):

    - ``"onnxruntime"``: embeddings, linear layers and convolutions become int8, and the products are
      computed in int8; the steps of the activations are found anew for each batch (dynamic).
    - ``"torch"``: PyTorch's own dynamic int8, of linear layers alone. Embeddings stay float32.
      PyTorch calls it deprecated. It cannot be saved here: it could only be pickled.
    - ``"embeddings"``: each row of each embedding table becomes int8, with a step of its own; all is
      computed in float32. It can be followed by ``"torch"``.

    A layer has one step for each of its outputs. The zeros of masks are written into the weights.
    Explained in lesson 5.

    Args:
        model: a classifier; for ``"onnxruntime"`` also the path of a file of `export_onnx`.
        path: where ``"onnxruntime"`` writes its file (default: it is held in memory).
        backend: one of the three (default ``"onnxruntime"``).

    Returns:
        `OnnxClassifier` for ``"onnxruntime"``, else a copy of `model`, in eval mode. Their sizes are
        told by `comparison.footprint`, their speed by `comparison.compare`.

    Raises:
        ValueError: an unknown back end; a path for one that writes no file; what `export_onnx` raises.
        TypeError: a path as `model` for a back end that needs the module.
        FileNotFoundError: there is no such file.

    Example:
        >>> from course_lib.encoders import TextCNN
        >>> cnn = TextCNN(torch.arange(1, 999))
        >>> len(quantize(cnn).content()) < sum(4 * p.numel() for p in cnn.parameters()) / 3
        True
    """
    if backend not in BACKENDS:
        raise ValueError(f"There is no back end {backend!r}; there are {', '.join(BACKENDS)}.")
    if backend == "onnxruntime":
        small = _onnx_int8(model, path)
        give_memory_back()
        return small
    if path is not None:
        raise ValueError(f"The back end {backend!r} writes no file; leave the path out.")
    if not isinstance(model, nn.Module) or isinstance(model, OnnxClassifier):
        raise TypeError(f"The back end {backend!r} needs the model itself, in PyTorch.")
    if backend == "torch":
        return _torch_int8(make_permanent(model))
    return _int8_embeddings(make_permanent(model) if masks_of(model) else model)  # which copies it


class Int8Embedding(nn.Module):
    """An embedding table in int8: row i is ``weight[i] · scale[i]``, computed in float32.

    Example:
        >>> old = nn.Embedding.from_pretrained(torch.tensor([[127.0, 2.0], [0.0, 0.0]]))
        >>> Int8Embedding(old)(torch.tensor([0, 1]))
        tensor([[127.,   2.],
                [  0.,   0.]])
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        whole, scale = _steps(table.weight.detach().float(), bits=8)
        self.register_buffer("weight", whole.to(torch.int8))  # [words, width]
        self.register_buffer("scale", scale)  # [words, 1]

    def forward(self, input: Tensor) -> Tensor:
        return self.weight[input].to(self.scale.dtype) * self.scale[input]


class WideInt8(nn.Sequential):
    """An `Int8Embedding` and the matrix that makes its rows wide, of a `FactoredEmbedding`."""


def rounded(model: nn.Module, bits: int) -> nn.Module:
    """A copy whose weight matrices are rounded to `bits` bits: one step for each output or word.

    It computes in float32 and is as large as before: it tells what fewer bits would do to the
    accuracy, and `rounded_bytes` what they would save. The zeros of masks are written into the
    weights first. Explained in lesson 5.

    Args:
        model: any module; it is left alone.
        bits: 2 to 8.

    Raises:
        ValueError: other bits.

    Example:
        >>> net = nn.Linear(3, 1, bias=False)
        >>> net.weight.data = torch.tensor([[1.0, 0.4, -0.6]])
        >>> rounded(net, bits=2).weight.data  # one step up, one down, and 0
        tensor([[ 1.,  0., -1.]])
    """
    if bits not in range(2, 9):
        raise ValueError(f"Got {bits} bits; expected 2 to 8.")
    result = make_permanent(model)
    for parameter in _matrices(result):
        whole, scale = _steps(parameter.detach().flatten(1), bits)
        parameter.data = (whole * scale).view_as(parameter).to(parameter.dtype)
    return result


def rounded_bytes(model: nn.Module, bits: int) -> int:
    """Bytes of `rounded(model, bits)` by arithmetic: `bits` for each number of a matrix, four bytes
    for the step of each row and for every other parameter. No file here is so small below 8 bits.

    Example:
        >>> rounded_bytes(nn.Linear(16, 10), bits=4)  # 16 · 10 / 2 + 4 · 10 + 4 · 10
        160
    """
    matrices = _matrices(model)
    packed = sum(math.ceil(p.numel() * bits / 8) + 4 * len(p) for p in matrices)
    rest = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in matrices)
    return packed + 4 * rest


# --- the three back ends ------------------------------------------------------------------------


def _onnx_int8(model: nn.Module | str | Path, path: str | Path | None) -> OnnxClassifier:
    with tempfile.TemporaryDirectory() as work:
        if isinstance(model, nn.Module) and not isinstance(model, OnnxClassifier):
            model = export_onnx(model, Path(work) / "exported.onnx").path
        # Loaded first, for it says what is wrong with a file.
        reader = model if isinstance(model, OnnxClassifier) else OnnxClassifier(model, threads=1)
        proto = onnx.load_from_string(reader.content())
        # Without this note onnxruntime asks for a step that changes nothing here, and to be able to
        # ask it sets up logging for the whole process.
        helper.set_model_props(proto, {"onnx.quant.pre_process": "onnxruntime.quant"})
        file, int8 = Path(work) / "float.onnx", Path(work) / "int8.onnx"
        onnx.save(proto, file)
        del reader, proto  # a copy of all weights each
        with silent():
            quantize_dynamic(file, int8, per_channel=True, weight_type=QuantType.QInt8)
        small = onnx.load(int8)
    del small.metadata_props[:], small.graph.value_info[:]
    _narrow_tables(small.graph)
    if path is None:
        return OnnxClassifier(small.SerializeToString())
    write(small.SerializeToString(), Path(path))
    return OnnxClassifier(path)


def _narrow_tables(graph: onnx.GraphProto) -> None:
    """Long tables of whole numbers in two bytes, where they fit: `SmallVocabulary` has one."""
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
    """The model itself, changed. PyTorch computes with such layers on the CPU alone."""
    layers = {nn.Linear: torch_ao.per_channel_dynamic_qconfig}
    with silent():  # it says that it is deprecated; so do we
        small = torch_ao.quantize_dynamic(model.cpu().eval(), layers, inplace=True)
    small.cpu_only = True  # for `training.predict`
    return small


def _int8_embeddings(model: nn.Module) -> nn.Module:
    small: dict[int, Any] = {}  # deepcopy uses these in place of the tables
    for table in model.modules():
        if isinstance(table, nn.Embedding):
            behind = [copy.deepcopy(child) for child in table.children()]  # of FactoredEmbedding
            new = Int8Embedding(table)
            small[id(table)] = WideInt8(new, *behind) if behind else new
    return copy.deepcopy(model, small).eval()


def _steps(matrix: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Whole numbers ``[rows, columns]`` from −n to n and a step ``[rows, 1]``: their product is near
    the matrix, by half a step."""
    most = 2 ** (bits - 1) - 1
    scale = matrix.abs().amax(1, keepdim=True) / most
    scale[scale == 0] = 1.0  # a row of zeros, for padding
    return (matrix / scale).round(), scale


def _matrices(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.ndim > 1]
