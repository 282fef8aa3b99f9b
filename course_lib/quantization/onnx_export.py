"""ONNX files: exported and checked, used like any other classifier, and shipped in a folder."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reads it once, at its import

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import tokenizers
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from course_lib.evaluation.accuracy import Shown
from course_lib.evaluation.size import StoredTensor
from course_lib.files import write_atomically, write_folder
from course_lib.folder_checks import check_own, read_json
from course_lib.modules import (
    device_of,
    forward,
    logits_of,
    longest_text,
    make_permanent,
    release_memory,
    to_device,
)
from course_lib.quantization import run_onnx

INPUTS, OUTPUTS = ["input_ids", "attention_mask"], ["logits"]
FILES = {"model.onnx", "tokenizer.json", "config.json", "run.py"}
BESIDE = {"README.md", "report.json", "sizes.png"}  # what may lie beside them: see lesson 6
# Processors without VNNI add int8 products in 16 bits, which can saturate without an error. With this
# setting ONNX Runtime takes a slower way there that cannot; on other processors it changes nothing.
EXACT_INT8 = "session.x64quantprecision", "1"
# After a batch of MANY examples a session returns its working memory, which may be hundreds of MiB.
# Smaller batches keep it: to allocate it anew would cost latency.
MANY = 64
GIVE_BACK = onnxruntime.RunOptions()
GIVE_BACK.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")


@dataclass(frozen=True, repr=False)
class Exported(Shown):
    """An exported ONNX file."""

    path: Path
    bytes: int
    difference: float  # the largest, of a logit from the model's, over all batches compared

    def __repr__(self) -> str:
        return (
            f"{self.path.name}: {self.bytes:,} bytes (differs from the model by at most "
            f"{self.difference:.1g})"
        )


def export_onnx(model: nn.Module, path: str | Path, tolerance: float = 1e-4) -> Exported:
    """Write a text classifier as an ONNX file that takes batches of any size and length.

    PyTorch exports it (``torch.onnx.export(dynamo=True)``); then the file is compared with the model
    on padded batches of several shapes. Zeros of masks are written into the weights. File names and
    stack traces, which the exporter notes in the file, are removed. Explained in lesson 5.

    Args:
        model: takes ``input_ids`` and ``attention_mask``, both ``[n, length]``: a `transformers`
            classifier, compressed or not, or `models.TextCNN`. It is left alone.
        path: of the file; an older one is replaced.
        tolerance: the largest difference of a logit that is accepted (default 1e-4, for float32).

    Raises:
        TypeError: not a module, or one without an embedding table.
        ValueError: PyTorch cannot export the model, the outputs differ by more, or the model has half
            precision; nothing is written.

    Example:
        >>> import tempfile
        >>> from course_lib.models.text_classifiers import TextCNN
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     exported = export_onnx(TextCNN(torch.arange(1, 99)), f"{folder}/cnn.onnx")
        >>> exported.path.name, exported.difference < 1e-4
        ('cnn.onnx', True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"Got a {type(model).__name__}; expected a model of PyTorch.")
    refuse_half(model)
    vocabulary, longest = _input_limits(model)
    batches = [
        _padded_batch(n, min(length, longest), vocabulary)
        for n, length in ((1, 1), (1, 7), (3, 16), (5, 64))
    ]
    plain, path = make_permanent(model).eval(), Path(path)
    with torch.inference_mode():
        content = _proto(plain, _padded_batch(2, min(8, longest), vocabulary)).SerializeToString()
        exported, device = OnnxClassifier(content), device_of(plain)
        differences = [
            logits_of(forward(plain, to_device(batch, device))).cpu().float()
            - exported(**batch).logits
            for batch in batches
        ]
    difference = float(torch.stack([d.abs().max() for d in differences]).max())  # NaN stays NaN
    if not difference <= tolerance:  # NaN is not ≤ either
        raise ValueError(
            f"The ONNX file answers differently from the {type(model).__name__}: by up to "
            f"{difference:.2g}, and {tolerance:.2g} is accepted. Export it in float32: model.float()."
        )
    write_atomically(path, lambda part: part.write_bytes(content))
    size = len(content)
    content = b""
    del exported, plain  # each of the three holds all weights
    release_memory()
    return Exported(path, size, difference)


class OnnxClassifier(nn.Module):
    """A classifier in an ONNX file. It takes the same batches as the model it was made from.

    `evaluate`, `predict` and `latency` work with it as with any module. It runs on the CPU and has no
    parameters. Its one buffer is the file's checksum, by which `models.cached_logits` tells files
    apart. Explained in lesson 5.

    Args:
        model: path of a file that `export_onnx` or `quantize` wrote, or its bytes.
        threads: number of threads (default: as many as PyTorch uses now).

    Shapes: ids and mask ``[n, length]`` → an object with ``logits [n, classes]``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no ONNX model, or one with other inputs or outputs.

    Example:
        >>> import tempfile
        >>> from course_lib.models.text_classifiers import TextCNN
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     exported = export_onnx(TextCNN(torch.arange(1, 99)), f"{folder}/cnn.onnx")
        ...     model = OnnxClassifier(exported.path, threads=1)
        >>> ids = torch.tensor([[5, 7, 9], [5, 0, 0]])
        >>> model(input_ids=ids, attention_mask=(ids > 0).long()).logits.shape
        torch.Size([2, 2])
    """

    sha256: Tensor
    # Both for `predict`. An int8 output depends a little on the other examples of the batch, so stored
    # outputs are valid for one batch size only.
    batch_size = 256
    cpu_only = True
    runtime = "ONNX Runtime"

    def __init__(self, model: str | Path | bytes, threads: int | None = None) -> None:
        super().__init__()
        self.path = None if isinstance(model, bytes) else Path(model)
        self._content = model if isinstance(model, bytes) else None
        self.threads = threads or torch.get_num_threads()
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
        self.session = _session(content, self.threads, self.path.name if self.path else "The model")
        digest = bytearray(hashlib.sha256(content).digest())
        self.register_buffer("sha256", torch.frombuffer(digest, dtype=torch.uint8))

    def content(self) -> bytes:
        """The file's bytes. ValueError if the file has changed since."""
        if self._content is not None:
            return self._content
        assert self.path is not None
        content = self.path.read_bytes()
        if hashlib.sha256(content).digest() != bytes(self.sha256.tolist()):
            raise ValueError(
                f"{self.path.name} has changed since it was loaded. Load it again: "
                "OnnxClassifier(path)."
            )
        return content

    def stored_tensors(self) -> list[StoredTensor]:
        """The tensors in the file, for `evaluation.footprint`."""
        graph = onnx.load_from_string(self.content()).graph
        looked_up = {node.input[0] for node in graph.node if node.op_type == "Gather"}
        stored = []
        for tensor in graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            weight = values.dtype in (np.float32, np.int8, np.uint8) and values.ndim > 0
            kind = "embedding" if tensor.name in looked_up else "weight"
            if not weight or tensor.name.endswith(("_scale", "_zero_point")):
                kind = "other"
            stored.append(StoredTensor(tensor.name, values.size, values.nbytes, kind))
        return stored

    @property
    def classes(self) -> int:
        """The number of labels."""
        return self.session.get_outputs()[0].shape[-1]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> SequenceClassifierOutput:
        if token_type_ids is not None and token_type_ids.any():
            raise ValueError(
                "The ONNX file knows one segment: token_type_ids must be 0 or left out."
            )
        arrays = input_ids.cpu().numpy(), attention_mask.cpu().numpy()
        feed = dict(zip(INPUTS, arrays, strict=True))
        (logits,) = self.session.run(None, feed, GIVE_BACK if len(input_ids) >= MANY else None)
        return SequenceClassifierOutput(logits=torch.from_numpy(logits))  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        return f"{self.path.name if self.path else 'in memory'}, threads={self.threads}"


def save_onnx_folder(
    model: OnnxClassifier,
    folder: str | Path,
    tokenizer: Any,
    labels: Sequence[str],
    max_length: int | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> Path:
    """Write one folder with all that classifying texts needs, and a program that does it.

    ``python folder/run.py "A great film."`` needs onnxruntime, tokenizers and numpy, not PyTorch. The
    folder appears whole or not at all. Explained in lesson 6.

    Args:
        model: from `quantize` or `OnnxClassifier`.
        folder: a new one, or one that was written here before: that is replaced.
        tokenizer: the model's fast tokenizer, of `transformers`.
        labels: a word for each class, such as ``["negative", "positive"]``.
        max_length: longer texts are cut to this many tokens (default: where the tokenizer has cut last,
            as `datasets.tokenize` had it do for the training).
        beside: other files, by name: README.md, report.json, sizes.png (default: none).

    Raises:
        TypeError: another kind of model or tokenizer.
        ValueError: not one label per class; a tokenizer without a padding token, or that has cut no
            text where no max_length is given; a file that may not lie beside the model.
        FileExistsError: the folder holds other files; names them, and changes nothing.

    Example:
        >>> import tempfile
        >>> from course_lib.models.text_classifiers import TextCNN
        >>> from course_lib.models.encoders import load_tokenizer
        >>> from course_lib.quantization.int8 import quantize
        >>> cnn, tokenizer = quantize(TextCNN(torch.arange(1, 999))), load_tokenizer()
        >>> with tempfile.TemporaryDirectory() as work:
        ...     folder = save_onnx_folder(cnn, f"{work}/cnn", tokenizer, ["negative", "positive"], 64)
        ...     sorted(path.name for path in folder.iterdir())
        ['config.json', 'model.onnx', 'run.py', 'tokenizer.json']
    """
    if not isinstance(model, OnnxClassifier):
        raise TypeError(
            f"Got a {type(model).__name__}; expected an OnnxClassifier, as quantize gives it."
        )
    if not getattr(tokenizer, "is_fast", False):
        raise TypeError(f"Got {type(tokenizer).__name__}; expected a fast tokenizer.")
    if len(labels) != model.classes:
        raise ValueError(f"Got {len(labels)} labels, and the model has {model.classes} classes.")
    if tokenizer.pad_token is None:
        raise ValueError("The tokenizer has no padding token; set tokenizer.pad_token.")
    beside, folder = beside or {}, Path(folder)
    if not beside.keys() <= BESIDE:
        raise ValueError(
            f"Got the files {sorted(beside)}; only {sorted(BESIDE)} may lie beside it."
        )
    shipped = tokenizers.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    max_length = max_length or (shipped.truncation or {}).get("max_length")
    if not max_length:
        raise ValueError(
            "The tokenizer cuts no texts, and no max_length is given; give the one of the training "
            "texts: 64 tokens, unless datasets.tokenize was told another."
        )
    check_folder(folder)
    shipped.enable_truncation(max_length)
    shipped.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)

    def write(part: Path) -> None:
        (part / "model.onnx").write_bytes(model.content())
        shipped.save(str(part / "tokenizer.json"))
        config = {"labels": list(labels), "max_length": max_length}
        config["files"] = sorted(FILES | beside.keys())  # what may be replaced
        (part / "config.json").write_text(json.dumps(config))
        shutil.copy(run_onnx.__file__, part / "run.py")
        for name, content in beside.items():
            (part / name).write_bytes(content)

    write_folder(folder.resolve(), write)  # if it is a link, the link stays
    return folder


def check_folder(folder: str | Path) -> None:
    """Raise a FileExistsError, with names, unless `save_onnx_folder` may write to this folder: it is
    new, empty, or holds a model that was written here and nothing else."""
    check_own(Path(folder).resolve(), lambda: _written(Path(folder)))


def _written(folder: Path) -> list[str]:
    """What the folder's config says was written here."""
    config, names = read_json(folder, "config.json"), {path.name for path in folder.iterdir()}
    # Before there was a list: what `compress` wrote beside a model came with a report.
    older = FILES | (BESIDE if "report.json" in names else set()) if names >= FILES else set()
    return config.get("files", sorted(older))


@contextmanager
def silent() -> Iterator[None]:
    """Suppress the log messages and warnings of the exporter and the quantizer."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(disabled)


def refuse_half(model: nn.Module) -> None:
    """Raise a ValueError for float16 and bfloat16: no ONNX file or int8 is made of them."""
    found = {p.dtype for p in model.parameters()} & {torch.float16, torch.bfloat16}
    if found:
        raise ValueError(
            f"The weights of the {type(model).__name__} are {min(map(str, found))}; expected float32, "
            "from which ONNX files and int8 are made: give model.float()."
        )


def _session(content: bytes, threads: int, name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry(*EXACT_INT8)
    providers = ["CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # ONNX Runtime has a class of its own for each kind
        raise ValueError(f"{name} is no ONNX model that can be run: {error}") from error
    inputs = [entry.name for entry in session.get_inputs()]
    outputs = [entry.name for entry in session.get_outputs()]
    if sorted(inputs) != sorted(INPUTS) or outputs != OUTPUTS:
        raise ValueError(
            f"{name} takes {inputs} and gives {outputs}; expected {INPUTS} and {OUTPUTS}, as "
            "export_onnx writes it."
        )
    return session


class _Logits(nn.Module):
    """A model that returns its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        # Padded in the file with the model's own id: who runs it pads with any.
        batch = {"input_ids": input_ids, "attention_mask": attention_mask}
        return logits_of(forward(self.model, batch))


def _proto(model: nn.Module, example: dict[str, Tensor]) -> onnx.ModelProto:
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    try:
        with silent():
            program = torch.onnx.export(
                _Logits(model).eval(),
                tuple(to_device(example, device_of(model))[name] for name in INPUTS),
                input_names=INPUTS,
                output_names=OUTPUTS,
                dynamic_shapes=dict.fromkeys(INPUTS, axes),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause = " ".join(str(error.__cause__ or error).split())
        raise ValueError(
            f"PyTorch {torch.__version__} cannot write the {type(model).__name__} as ONNX; its other "
            f"forms work. Its exporter said: {cause[:200]}"
        ) from error
    assert program is not None
    proto = program.model_proto
    graph = proto.graph
    del graph.value_info[:]  # inner shapes, which quantize_dynamic would find contradictory
    for part in (proto, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]  # stack traces, with the paths of this machine
    return proto


def _input_limits(model: Any) -> tuple[int, int]:
    """The size of the vocabulary, and the longest text in tokens."""
    config = getattr(model, "config", None)
    if config is not None and hasattr(config, "vocab_size"):
        return config.vocab_size, longest_text(model)
    tables = [m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding)]
    if not tables:
        raise TypeError(
            f"{type(model).__name__} has no embeddings; only text classifiers are exported here."
        )
    return max(tables), 10**6


def _padded_batch(n: int, length: int, vocabulary: int) -> dict[str, Tensor]:
    """A batch of random tokens, each text shorter than the one before it."""
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(min(5, vocabulary - 1), vocabulary, (n, length), generator=generator)
    lengths = (length - torch.arange(n).unsqueeze(1) * length // (n + 1)).clamp(min=1)
    mask = (torch.arange(length) < lengths).long()
    return {"input_ids": ids * mask, "attention_mask": mask}
