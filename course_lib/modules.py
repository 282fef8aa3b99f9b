"""Small things about modules and batches, on torch alone."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

Batch = Tensor | Mapping[str, Tensor]  # inputs without labels: a tensor, or keyword arguments


def release_memory() -> None:
    """Return free memory to the system, now and from now on for blocks above 4 MiB, which the C library
    of Linux keeps in pieces too small to use again: lesson 2 would grow to 3 GB. Up to 64 MiB stay free
    for smaller blocks, without which a CNN trains a fifth slower."""
    with contextlib.suppress(OSError, AttributeError):  # another system, another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 4 << 20)  # M_MMAP_THRESHOLD of malloc.h; by itself it rises to 32 MiB
        libc.mallopt(-1, 64 << 20)  # M_TRIM_THRESHOLD, which the line above has set to 128 KiB
        libc.malloc_trim(0)


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's parameters."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def to_device(batch: Any, device: torch.device | str) -> Any:
    """The batch with every tensor on `device`, also those inside mappings, lists and tuples."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


def logits_of(output: Any) -> Tensor:
    """The logits in a model's output: the tensor itself, or `output.logits`."""
    return output if isinstance(output, Tensor) else output.logits


def forward(model: nn.Module, batch: Any) -> Any:
    """The model's output for a labeled batch. The labels are not passed to the model."""
    if isinstance(batch, Mapping):
        # With labels, the model would compute a loss that nobody uses.
        unwanted = {"labels", "teacher_logits"}
        inner: Any = getattr(model, "module", model)  # inside the wrapper of Accelerate
        kind: Any = type(inner)
        if hasattr(inner, "config") and not _takes_segments(kind):
            unwanted.add("token_type_ids")  # BERT takes them, DistilBERT does not
        batch = _padded_as_its_own(inner, batch)
        return model(**{k: v for k, v in batch.items() if k not in unwanted})
    return model(batch[0])


def _padded_as_its_own(model: Any, batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """Batches are padded with 0; GPT-2 looks for the last token that is not its own padding id."""
    padding = getattr(getattr(model, "config", None), "pad_token_id", None)
    if (
        not isinstance(padding, int)
        or padding == 0
        or not {"input_ids", "attention_mask"} <= set(batch)
    ):
        return batch
    ids = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, padding)
    return {**batch, "input_ids": ids}


def longest_text(model: Any) -> int:
    """How many tokens a model with a config reads; a million where no table of positions limits it."""
    # In RoBERTa's kin the first position comes after the padding id of the table.
    before = [
        module.padding_idx + 1
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding)
        and "position" in name.rpartition(".")[2]
        and module.padding_idx is not None
    ]
    most = getattr(model.config, "max_position_embeddings", -1)  # XLNet's says -1: no limit
    return (most if most > 0 else 10**6) - max(before, default=0)


@functools.cache
def _takes_segments(kind: Any) -> bool:
    return "token_type_ids" in inspect.signature(kind.forward).parameters


def call(model: Any, example: Batch) -> Any:
    """The output for inputs without labels."""
    return model(example) if isinstance(example, Tensor) else model(**example)


def batch_size(example: Batch) -> int:
    """The number of examples in a batch: the first dimension of its (first) tensor."""
    return len(example if isinstance(example, Tensor) else next(iter(example.values())))


def copy_of(model: nn.Module) -> nn.Module:
    """A deep copy. `copy.deepcopy` alone refuses a model that `torch.nn.utils.prune` has masked."""
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor) and value.grad_fn is not None:
                # The product of weight and mask, with its graph; each forward computes it again.
                setattr(module, name, value.detach())
    return copy.deepcopy(model)


def make_permanent(model: nn.Module) -> nn.Module:
    """A copy whose weights are plain parameters: the zeros of masks are written into them.

    This holds for masks of `pruning` and of `torch.nn.utils.prune`, and for every other
    parametrization (`torch.nn.utils.parametrize`). Explained in lesson 1.

    Example:
        >>> layer = torch_prune.l1_unstructured(nn.Linear(4, 2), "weight", amount=0.5)
        >>> [name for name, _ in make_permanent(layer).named_parameters()]
        ['bias', 'weight']
    """
    model = copy_of(model)
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            # PyTorch deletes the weight's property from the class, which deep copies of the module
            # share: a class of its own keeps theirs whole.
            shared = type(module)
            module.__class__ = type(shared.__name__, shared.__bases__, dict(shared.__dict__))
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
        for name in [key.removesuffix("_orig") for key in module._parameters]:
            if f"{name}_mask" in module._buffers:
                torch_prune.remove(module, name)
    return model


@contextmanager
def evaluating(*models: Any) -> Iterator[None]:
    """Put the modules among `models` into eval mode, and restore each module's own mode at the end."""
    modules = [m for model in models if isinstance(model, nn.Module) for m in model.modules()]
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
