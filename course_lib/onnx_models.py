"""Models as ONNX files: written and checked, used like any other, and put into a folder to ship."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import tokenizers
import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from course_lib import cache, run_onnx
from course_lib.batching import device_of
from course_lib.measure import Shown, evaluating
from course_lib.training import give_memory_back, logits_of

INPUTS, OUTPUTS = ["input_ids", "attention_mask"], ["logits"]
FILES = {"model.onnx", "tokenizer.json", "config.json", "run.py"}
MADE = FILES | {"__pycache__"}  # Python keeps its own copy of run.py there
# Processors without VNNI add products of int8 in 16 bits, which can overflow, in silence. With this
# ONNX Runtime takes a slower way there that cannot; on others it changes nothing.
EXACT_INT8 = "session.x64quantprecision", "1"
# From so many examples on a session gives its working memory back after each batch; it would keep
# hundreds of MiB. Smaller batches run as they are: the time of taking it anew would count there.
MANY = 64
GIVE_BACK = onnxruntime.RunOptions()
GIVE_BACK.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")


@dataclass(frozen=True, repr=False)
class Exported(Shown):
    """An ONNX file, and how far its answers are from those of the model it was made from.

    Attributes:
        path: the file.
        bytes: its size.
        difference: the largest difference of two logits over all checked batches.
        shapes: of those batches, ``(examples, length)``.
    """

    path: Path
    bytes: int
    difference: float
    shapes: tuple[tuple[int, int], ...]

    def __repr__(self) -> str:
        return (
            f"{self.path.name}: {self.bytes:,} bytes (differs from the model by at most "
            f"{self.difference:.1g}, {len(self.shapes)} batches compared)"
        )


def export_onnx(model: nn.Module, path: str | Path, tolerance: float = 1e-4) -> Exported:
    """Write a text classifier as an ONNX file that takes batches of any size and length.

    PyTorch's own exporter does the work (``torch.onnx.export(dynamo=True)``). Then the file answers
    batches of several shapes, with padding, and is compared with the model. Names of your files and
    traces of the code, which the exporter notes in it, are left out. Explained in lesson 5.

    Args:
        model: takes ``input_ids`` and ``attention_mask``, both ``[n, length]``: a `transformers`
            classifier, made smaller or not, or `encoders.TextCNN`. It is left alone.
        path: of the file; an older one is replaced.
        tolerance: the largest difference that is accepted (default 1e-4, for float32).

    Returns:
        `Exported`: the path, the bytes and the difference.

    Raises:
        TypeError: not a module, or one without an embedding table.
        ValueError: the file answers differently; nothing is written then.

    Example:
        >>> from course_lib.encoders import TextCNN
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     exported = export_onnx(TextCNN(torch.arange(1, 99)), f"{folder}/cnn.onnx")
        >>> exported.path.name, exported.difference < 1e-4
        ('cnn.onnx', True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"Got a {type(model).__name__}; expected a model of PyTorch.")
    words, longest = _sizes(model)
    shapes = tuple(dict.fromkeys((n, min(length, longest)) for n, length in _SHAPES))
    with evaluating(model), torch.inference_mode():
        content = _proto(model, _padded((2, min(8, longest)), words)).SerializeToString()
        onnx_model = OnnxClassifier(content)
        batches = [_padded(shape, words) for shape in shapes]
        here = device_of(model)
        differences = [
            logits_of(model(**send_to_device(batch, here))).cpu().float()
            - onnx_model(**batch).logits
            for batch in batches
        ]
    difference = float(torch.stack([d.abs().max() for d in differences]).max())  # NaN stays NaN
    if not difference <= tolerance:  # nor is NaN
        raise ValueError(
            f"The ONNX file answers differently from the {type(model).__name__}: by up to "
            f"{difference:.2g}, and {tolerance:.2g} is accepted. Export it in float32: model.float()."
        )
    path, size = Path(path), len(content)
    write(content, path)
    del content, onnx_model  # several copies of all weights
    give_memory_back()
    return Exported(path, size, difference, shapes)


class OnnxClassifier(nn.Module):
    """A classifier in an ONNX file that takes the same batch as the model it was made from.

    `training.predict`, `training.evaluate` and `measure.latency` work with it as with any module. It
    has no parameters; its one buffer is the file's checksum, by which `zoo.cached_logits` tells one
    file from another. It computes on the CPU. Explained in lesson 5.

    Args:
        model: path of a file that `export_onnx` or `quantization.quantize` wrote, or its bytes.
        threads: how many it computes with (default: as many as PyTorch has now).

    Shapes: ids and mask ``[n, length]`` → an object with ``logits [n, classes]``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no ONNX model, or one with other inputs or outputs.

    Example:
        >>> from course_lib.encoders import TextCNN
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     exported = export_onnx(TextCNN(torch.arange(1, 99)), f"{folder}/cnn.onnx")
        ...     model = OnnxClassifier(exported.path, threads=1)
        >>> ids = torch.tensor([[5, 7, 9], [5, 0, 0]])
        >>> model(input_ids=ids, attention_mask=(ids > 0).long()).logits.shape
        torch.Size([2, 2])
    """

    sha256: Tensor
    # Both for `training.predict`. An int8 answer depends a little on who else is in the batch, so that
    # stored answers are found again only with the size that they were given with.
    batch_size = 256
    cpu_only = True

    def __init__(self, model: str | Path | bytes, threads: int | None = None) -> None:
        super().__init__()
        self.path = None if isinstance(model, bytes) else Path(model)
        self._content = model if isinstance(model, bytes) else None
        self.threads = threads or torch.get_num_threads()
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        options.add_session_config_entry(*EXACT_INT8)
        name = self.path.name if self.path else "What was given"
        try:
            self.session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime has a class of its own for each kind
            raise ValueError(f"{name} is no ONNX model that can be run: {error}") from error
        found = [entry.name for entry in self.session.get_inputs()]
        if sorted(found) != sorted(INPUTS):
            raise ValueError(f"{name} takes {found}; expected {INPUTS}, as export_onnx writes it.")
        answers = [entry.name for entry in self.session.get_outputs()]
        if answers != OUTPUTS:
            raise ValueError(
                f"{name} answers {answers}; expected {OUTPUTS}, as export_onnx writes it."
            )
        digest = bytearray(hashlib.sha256(content).digest())
        self.register_buffer("sha256", torch.frombuffer(digest, dtype=torch.uint8))

    def content(self) -> bytes:
        """The file's bytes; ValueError if another file lies there by now."""
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

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return self.session.get_outputs()[0].shape[-1]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> SequenceClassifierOutput:
        if token_type_ids is not None and token_type_ids.any():
            raise ValueError(
                "The ONNX file knows one segment: token_type_ids must be 0 or left out."
            )
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        (logits,) = self.session.run(
            None,
            {k: v.cpu().numpy() for k, v in feed.items()},
            GIVE_BACK if len(input_ids) >= MANY else None,
        )
        return SequenceClassifierOutput(logits=torch.from_numpy(logits))  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        return f"{self.path.name if self.path else 'in memory'}, threads={self.threads}"


def save_onnx_folder(
    model: OnnxClassifier,
    folder: str | Path,
    tokenizer: Any,
    labels: Sequence[str],
    max_length: int = 64,
) -> Path:
    """Write all that it takes to classify texts without PyTorch: one folder, with a program in it.

    ``python folder/run.py "A great film."`` needs onnxruntime, tokenizers and numpy. The folder
    appears whole or not at all. Explained in lesson 5.

    Args:
        model: as `OnnxClassifier` or `quantization.quantize` gives it.
        folder: made anew; one that was written here before is replaced.
        tokenizer: that of the model, a fast one, of `transformers`.
        labels: a word for each class, such as ``text.LABELS``.
        max_length: longer texts are cut to so many tokens (default 64).

    Raises:
        TypeError: another kind of model, or of tokeniser.
        ValueError: not one label a class, or a tokeniser without a padding token.
        FileExistsError: the folder holds something else.

    Example:
        >>> from course_lib.encoders import TextCNN, load_tokenizer
        >>> from course_lib.quantization import quantize
        >>> cnn, words = quantize(TextCNN(torch.arange(1, 999))), load_tokenizer()
        >>> with tempfile.TemporaryDirectory() as work:
        ...     folder = save_onnx_folder(cnn, f"{work}/cnn", words, ["negative", "positive"])
        ...     sorted(path.name for path in folder.iterdir())
        ['config.json', 'model.onnx', 'run.py', 'tokenizer.json']
    """
    if not isinstance(model, OnnxClassifier):
        raise TypeError(
            f"Got a {type(model).__name__}; expected an OnnxClassifier, as quantize gives it."
        )
    if not getattr(tokenizer, "is_fast", False):
        raise TypeError(f"Got {type(tokenizer).__name__}; expected a fast tokeniser.")
    if len(labels) != model.classes:
        raise ValueError(f"Got {len(labels)} labels, and the model has {model.classes} classes.")
    if tokenizer.pad_token is None:
        raise ValueError("The tokeniser has no padding token; set tokenizer.pad_token.")
    folder = Path(folder)
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    foreign = folder.exists() and not folder.is_dir()
    if foreign or (there and not FILES <= there <= MADE):
        raise FileExistsError(
            f"{folder.name!r} holds something else than a model from here. Name another folder."
        )
    reader = tokenizers.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    reader.enable_truncation(max_length)
    reader.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        part = Path(work) / "model"
        part.mkdir()
        (part / "model.onnx").write_bytes(model.content())
        reader.save(str(part / "tokenizer.json"))
        config = {"labels": list(labels), "max_length": max_length}
        (part / "config.json").write_text(json.dumps(config))
        shutil.copy(run_onnx.__file__, part / "run.py")
        cache.replace_folder(part, folder)
    return folder


def write(content: bytes, path: Path) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


@contextmanager
def silent() -> Iterator[None]:
    """Without the exporter's and the quantiser's remarks on their own insides."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(disabled)


_SHAPES = ((1, 1), (1, 7), (3, 16), (5, 64))


class _Logits(nn.Module):
    """A model whose answer is the logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return logits_of(self.model(input_ids=input_ids, attention_mask=attention_mask))


def _proto(model: nn.Module, example: dict[str, Tensor]) -> onnx.ModelProto:
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    here = device_of(model)
    with silent():
        program = torch.onnx.export(
            _Logits(model).eval(),
            tuple(example[name].to(here) for name in INPUTS),
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_shapes=dict.fromkeys(INPUTS, axes),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    graph = proto.graph
    # What shapes things had inside: quantize_dynamic takes them for a contradiction of its own.
    del graph.value_info[:]
    for part in (proto, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]  # stack traces, with the paths of this machine
    return proto


def _sizes(model: Any) -> tuple[int, int]:
    """How many words the model has, and how many tokens the longest text."""
    config = getattr(model, "config", None)
    if config is not None and hasattr(config, "vocab_size"):
        first = (getattr(config, "pad_token_id", None) or 0) + 1  # RoBERTa's first position
        return config.vocab_size, config.max_position_embeddings - first
    tables = [m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding)]
    if not tables:
        raise TypeError(
            f"{type(model).__name__} has no embeddings; only text classifiers are exported here."
        )
    return max(tables), 10**6


def _padded(shape: tuple[int, int], words: int) -> dict[str, Tensor]:
    """A batch of random words, each example shorter than the one before it."""
    n, length = shape
    own = torch.Generator().manual_seed(length)
    ids = torch.randint(min(5, words - 1), words, shape, generator=own)
    real = (length - torch.arange(n).unsqueeze(1) * length // (n + 1)).clamp(min=1)
    mask = (torch.arange(length) < real).long()
    return {"input_ids": ids * mask, "attention_mask": mask}
