"""Parameters, bytes and operations of a model."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from course_lib.evaluation.accuracy import Shown
from course_lib.modules import Batch, batch_size, call, device_of, evaluating, to_device


@dataclass(frozen=True, repr=False)
class Footprint(Shown):
    """The sizes of a model. None: not measured."""

    parameters: int  # tied ones once; scales, zero points and buffers do not count
    bytes: int  # of its file
    zipped: int | None  # bytes of that file through zlib, level 6
    embedding_share: float  # of the bytes of all tensors
    operations: int | None  # for one example; a multiply-add is two

    def __repr__(self) -> str:
        zipped = "" if self.zipped is None else f", {self.zipped:,} zipped"
        operations = "" if self.operations is None else f", {self.operations:,} operations"
        return (
            f"{self.parameters:,} parameters ({self.embedding_share:.0%} embeddings), "
            f"{self.bytes:,} bytes{zipped}{operations}"
        )


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a model's file; `kind` is "embedding", "weight" or "other" (no parameter)."""

    name: str
    numel: int
    nbytes: int
    kind: str


def footprint(model: Any, example: Batch | None = None, zipped: bool = True) -> Footprint:
    """The sizes of a model in any form, and its operations per example for an `example` batch.

    The file is a safetensors file of its tensors, int8 as int8 with the scales. Make masks permanent
    first, or they are in the file, too. Explained in lessons 1 and 5.

    Args:
        model: any module. One with a file of its own has two methods: ``content()``, its bytes, and
            ``stored_tensors()``, a list of `StoredTensor`. A true `is_embedding` marks an embedding.
        example: a batch, as for `latency` (default: operations are not counted).
        zipped: whether to compress, which takes seconds for a transformer (default True).

    Example:
        >>> footprint(nn.Linear(784, 300), torch.zeros(1, 784)).operations  # 2 · 784 · 300
        470400
    """
    if hasattr(model, "stored_tensors"):
        file, stored = model.content(), model.stored_tensors()
    else:
        tensors = {name: (tensor, kind) for name, tensor, kind in _tensors(model)}
        file = save({name: tensor for name, (tensor, _) in tensors.items()})
        stored = [StoredTensor(n, t.numel(), t.nbytes, kind) for n, (t, kind) in tensors.items()]
    everything = sum(tensor.nbytes for tensor in stored) or 1
    return Footprint(
        parameters=sum(tensor.numel for tensor in stored if tensor.kind != "other"),
        bytes=len(file),
        zipped=len(zlib.compress(file)) if zipped else None,
        embedding_share=sum(t.nbytes for t in stored if t.kind == "embedding") / everything,
        operations=None if example is None else operations(model, example),
    )


def operations(model: nn.Module, example: Batch) -> int:
    """Operations of one forward pass, per example of the batch; a multiply-add counts as two.

    Matrix products, convolutions and attention are counted, as in papers; element-wise work is not.
    Zeros count like any other number, so a masked model has the operations of the dense one.

    Raises:
        ValueError: nothing can be counted, because int8 kernels or ONNX Runtime do the work.
    """
    packed = any(isinstance(value, tuple) for value in model.state_dict().values())
    if packed or hasattr(model, "stored_tensors"):
        raise ValueError(
            f"The operations of this {type(model).__name__} cannot be counted: int8 kernels or another "
            "runtime do the work. Count those of the float32 model in PyTorch."
        )
    # PyTorch's counter sees neither its own fused attention nor, in inference_mode, through a mask.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            evaluating(model),
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            call(model, to_device(example, device_of(model)))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops() // batch_size(example)


def sparse_bytes(model: nn.Module) -> int:
    """Bytes of the model's file when each matrix is stored dense or sparse, whichever is smaller.

    Sparse is by rows (CSR): the nonzero values, the column of each, and where each row begins. A
    convolution kernel counts as a matrix ``[out, in · height · width]``. Column indices take two bytes
    where they fit, else four. Explained in lesson 1.
    """
    stored = {}
    for name, tensor, _ in _tensors(model):
        if tensor.ndim < 2 or tensor.dtype == torch.bool:
            stored[name] = tensor
            continue
        sparse = csr(tensor.flatten(1))
        column_type = torch.int16 if sparse.shape[1] <= 2**15 else torch.int32
        parts = {
            f"{name}.values": sparse.values(),
            f"{name}.columns": sparse.col_indices().to(column_type),
            f"{name}.rows": sparse.crow_indices().to(torch.int32),
        }
        smaller = sum(part.nbytes for part in parts.values()) < tensor.nbytes
        stored.update(parts if smaller else {name: tensor})
    return len(save(stored))


def csr(matrix: Tensor) -> Tensor:
    """A matrix in PyTorch's sparse form by rows, without the warning that this is a beta feature."""
    with warnings.catch_warnings(action="ignore"):
        return matrix.detach().to_sparse_csr()


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor, str]]:
    """Name, tensor and kind of everything in a model's file; tied tensors once."""
    parameters = {id(parameter) for parameter in model.parameters()}
    tables = {
        f"{name}." if name else "": module
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) or getattr(module, "is_embedding", False)
    }
    shared = {id(p) for module in tables.values() for p in module.parameters()}
    seen: set[tuple[int, int]] = set()
    for name, tensor, packed in _flat(model.state_dict(keep_vars=True)):
        place = (tensor.data_ptr(), tensor.numel())
        if all(place) and place in seen:  # an empty tensor has no place
            continue
        seen.add(place)
        kind = "other"
        if packed or id(tensor) in parameters or tensor.dtype == torch.int8:
            embedding = id(tensor) in shared or name.startswith(tuple(tables))
            kind = "embedding" if embedding else "weight"
        tensor = tensor.detach()
        if tensor.is_quantized:
            per_channel = tensor.qscheme() == torch.per_channel_affine
            scales = tensor.q_per_channel_scales() if per_channel else tensor.q_scale()
            yield f"{name}.scales", torch.as_tensor(scales).float(), "other"
            tensor = tensor.int_repr()
        yield name, tensor.cpu().contiguous(), kind


def _flat(state: Mapping[str, Any]) -> Iterator[tuple[str, Tensor, bool]]:
    """Each tensor of a state, and whether it is packed: PyTorch's int8 layers keep weight and bias as
    one tuple."""
    for name, value in state.items():
        if isinstance(value, Tensor):
            yield name, value, False
        elif isinstance(value, tuple):
            yield from ((f"{name}.{i}", t, True) for i, t in enumerate(value) if t is not None)
