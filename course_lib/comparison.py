"""Several forms of one model beside each other: bytes, share of the embeddings, and latency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save
from torch import Tensor, nn

from course_lib.measure import Footprint, Latency, latency
from course_lib.onnx_models import OnnxClassifier
from course_lib.quantization import Int8Embedding, WideInt8


def footprint(model: nn.Module) -> Footprint:
    """The sizes of a model, int8 or not: for an `OnnxClassifier` those of its file.

    For any other those of a safetensors file with its tensors, int8 as int8. The share of the
    embeddings is one of bytes. Steps and zero points are no parameters. Nothing is zipped: it takes
    seconds, and numbers that are not zero hardly shrink. Explained in lesson 5.

    Example:
        >>> footprint(nn.Embedding(10, 4)).embedding_share
        1.0
    """
    if isinstance(model, OnnxClassifier):
        file = model.content()
        tensors = list(_onnx_tensors(onnx.load_from_string(file)))
    else:
        stored = dict(_stored(model))
        file = save({name: part.contiguous() for name, (part, _) in stored.items()})
        tensors = [(part.numel(), part.nbytes, kind) for part, kind in stored.values()]
    weights = sum(size for _, size, _ in tensors)
    embeddings = sum(size for _, size, kind in tensors if kind == "embedding")
    return Footprint(
        parameters=sum(n for n, _, kind in tensors if kind != "other"),
        bytes=len(file),
        zipped=None,
        embedding_share=embeddings / weights if weights else 0.0,
        operations=None,
    )


@dataclass(frozen=True, repr=False)
class Comparison:
    """Several forms of one model: bytes, share of the embeddings and latency; the first is the base."""

    footprints: Mapping[str, Footprint]
    latencies: Mapping[str, Latency]

    @property
    def warnings(self) -> list[str]:
        """A sentence for each form that is slower than the first."""
        (base, time), *others = self.latencies.items()
        said = {name: other.faster_than(time) for name, other in others}
        return [
            f"Warning: {name!r} is {words} than {base!r} on this processor; it saves bytes, not time."
            for name, words in said.items()
            if words.endswith("slower")
        ]

    def _rows(self) -> Iterator[tuple[str, ...]]:
        yield "", "bytes", "smaller", "embeddings", "latency", "against the first"
        first = next(iter(self.footprints.values()))
        time = next(iter(self.latencies.values()))
        for name, size in self.footprints.items():
            yield (
                name,
                f"{size.bytes:,}",
                f"{first.bytes / size.bytes:.2g} ×",
                f"{size.embedding_share:.0%}",
                repr(self.latencies[name]),
                "–" if size is first else self.latencies[name].faster_than(time),
            )

    def __repr__(self) -> str:
        rows = list(self._rows())
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, *self.warnings])

    def _repr_html_(self) -> str:
        cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in self._rows())
        table = "".join(f"<tr>{row}</tr>" for row in cells)
        warned = "".join(f"<p><b>{escape(line)}</b></p>" for line in self.warnings)
        return f"<table>{table}</table>{warned}"


def compare(
    models: Mapping[str, nn.Module], example: Mapping[str, Tensor], rounds: int = 30
) -> Comparison:
    """Size and latency of several forms of one model, measured in turns; says which are slower.

    Args:
        models: name → model; the first is what the others are compared with.
        example: the batch, as for `measure.latency`.
        rounds: of measuring (default 30).

    Raises:
        ValueError: an `OnnxClassifier` computes with another number of threads than PyTorch; what
            `measure.latency` raises.

    Example:
        >>> from course_lib.encoders import TextCNN
        >>> from course_lib.quantization import quantize
        >>> cnn, ids = TextCNN(torch.arange(1, 999)), torch.ones(1, 8).long()
        >>> forms = {"float32": cnn, "int8 rows": quantize(cnn, backend="embeddings")}
        >>> found = compare(forms, {"input_ids": ids, "attention_mask": ids}, rounds=4)
        >>> [round(size.embedding_share, 2) for size in found.footprints.values()]
        [0.56, 0.24]
    """
    threads = torch.get_num_threads()
    for name, model in models.items():
        if isinstance(model, OnnxClassifier) and model.threads != threads:
            raise ValueError(
                f"{name!r} computes with {model.threads} threads, PyTorch with {threads}; these cannot "
                "be compared. Make it again: OnnxClassifier(path)."
            )
    times = latency(models, example, rounds)
    return Comparison({name: footprint(model) for name, model in models.items()}, times)


def _stored(model: nn.Module) -> Iterator[tuple[str, tuple[Tensor, str]]]:
    """What a file of the model would hold: name → tensor, and whether it is of an embedding, another
    weight, or something else."""
    parameters = {id(parameter) for parameter in model.parameters()}
    kinds = (nn.Embedding, Int8Embedding, WideInt8)
    tables = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    seen = set()
    for name, value in model.state_dict(keep_vars=True).items():
        # PyTorch's int8 layers keep weight and bias as one tuple.
        for i, part in enumerate(value if isinstance(value, tuple) else (value,)):
            if not isinstance(part, Tensor) or id(part) in seen:
                continue
            seen.add(id(part))
            whole = part.is_quantized or part.dtype == torch.int8
            weight = whole or id(part) in parameters or isinstance(value, tuple)
            kind = "weight" if weight else "other"
            if weight and any(name.startswith(f"{table}." if table else "") for table in tables):
                kind = "embedding"
            if part.is_quantized:
                per_channel = part.qscheme() == torch.per_channel_affine
                steps = part.q_per_channel_scales() if per_channel else torch.tensor(part.q_scale())
                yield f"{name}.{i}.steps", (steps.float(), "other")
                part = part.int_repr()
            yield f"{name}.{i}", (part.detach().cpu(), kind)


def _onnx_tensors(proto: onnx.ModelProto) -> Iterator[tuple[int, int, str]]:
    """Numbers, bytes and kind of each tensor in the file."""
    looked_up = {node.input[0] for node in proto.graph.node if node.op_type == "Gather"}
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        weight = values.dtype in (np.float32, np.int8, np.uint8) and values.ndim > 0
        if not weight or tensor.name.endswith(("_scale", "_zero_point")):
            kind = "other"
        else:
            kind = "embedding" if tensor.name in looked_up else "weight"
        yield values.size, values.nbytes, kind
