"""Fit, predict and evaluate, on Hugging Face Accelerate: CPU, GPU or several processes alike."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import functools
import hashlib
import inspect
import itertools
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object, send_to_device
from datasets import IterableDataset
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from course_lib import cache
from course_lib.batching import (
    collate,
    device_of,
    labels,
    labels_of,
    lengths,
    loader,
    shuffled,
    steps_in,
)
from course_lib.measure import Accuracy, evaluating

Loss = Callable[[Any, Any], Tensor]  # (model output, batch) → scalar


@dataclass(frozen=True)
class Recipe:
    """How to train. The optimiser is AdamW (Loshchilov & Hutter 2019).

    Attributes:
        epochs: passes over the training part (default 10).
        lr: peak learning rate (default 1e-3).
        batch_size: examples a step, over all processes together (default 64).
        weight_decay: decoupled weight decay (default 0).
        warmup: share of the steps in which the learning rate rises from 0 (default 0).
        decay: whether it then falls linearly to 0 (default False).
        choose_last: how many of the last epochs compete to be the result; the best one on the
            validation part wins. None (default): all of them. 1: the last one, without a choice.
        seed: order of the examples, and dropout (default 0).
        steps: optimiser steps in an epoch, for a streamed training part, whose length nobody knows
            (default None).
        checkpoint: a name. The state is then saved behind each epoch; a run that was interrupted
            goes on there when it is started again, and ends with the same bits (default: not saved).
            Beside it only the start and the recipe tell runs apart: let it name data and loss, too.
    """

    epochs: int = 10
    lr: float = 1e-3
    batch_size: int = 64
    weight_decay: float = 0.0
    warmup: float = 0.0
    decay: bool = False
    choose_last: int | None = None
    seed: int = 0
    steps: int | None = None
    checkpoint: str = ""

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch_size < 1 or not self.lr > 0 or not 0 <= self.warmup < 1:
            raise ValueError(
                f"{self}: epochs must be ≥ 0, batch_size ≥ 1, lr > 0 and warmup in [0, 1)."
            )
        for name in ("choose_last", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more, or None.")


def settings(recipe: Recipe) -> dict[str, Any]:
    """What a recipe sets of the result, fit for JSON: part of the name of what was made with it.

    Example:
        >>> settings(Recipe(epochs=3))["epochs"]
        3
    """
    rows = asdict(replace(recipe, checkpoint="")).items()
    return {name: value for name, value in rows if value not in (None, "")}


@dataclass(frozen=True)
class Fitted:
    """What `fit` gives back.

    Attributes:
        model: the trained copy, in eval mode.
        history: one ``{"epoch", "loss", "correct", "n"}`` an epoch; correct and n are those of the
            validation part, and absent without one.
        epoch: the epoch whose weights these are, counted from 1.
    """

    model: nn.Module
    history: list[dict[str, Any]]
    epoch: int

    @property
    def validation(self) -> Accuracy | None:
        """Validation accuracy of the chosen epoch."""
        rows = [row for row in self.history if row["epoch"] == self.epoch and "n" in row]
        return Accuracy(rows[0]["correct"], rows[0]["n"]) if rows else None

    def __repr__(self) -> str:
        return f"Fitted({type(self.model).__name__}, epoch {self.epoch}, {self.validation})"


def fit(
    model: nn.Module,
    data: Mapping[str, Dataset],
    recipe: Recipe = Recipe(),
    *,
    loss: Loss | None = None,
    after_step: Callable[[nn.Module, float], None] | None = None,
) -> Fitted:
    """Train a copy of `model`; the argument stays as it is, so a cell can be run twice.

    The same seed gives the same bits on the same machine. The epoch to keep is chosen on the
    validation part alone. Explained in lesson 1.

    Args:
        model: any module that takes what the dataset yields.
        data: ``{"train": dataset}`` and, if an epoch is to be chosen, ``"validation"``. An example
            is a tuple (input, label), or a mapping of keyword arguments with ``"labels"``. The
            training part may be a stream (`datasets.IterableDataset`); shuffle it yourself, and say
            in the recipe how many steps an epoch has. It begins again when it ends.
        recipe: epochs, learning rate, …
        loss: ``loss(output, batch) → scalar``; cross-entropy with the labels by default.
        after_step: called as ``after_step(model, progress)`` behind each optimiser step, progress
            running to 1. Pruning while training hangs here.

    Returns:
        `Fitted`: the trained model, the history, the chosen epoch.

    Raises:
        FloatingPointError: the loss is not finite; says at which step and what to try.
        ValueError: there is no training part, or it is empty; a stream without `Recipe.steps`.

    On several processes or GPUs: ``accelerate launch --multi_gpu --num_processes 2 script.py``, which
    without a GPU starts CPU processes. The result is that of one process, but for rounding. Let the
    script's last line be ``PartialState().destroy_process_group()`` (of Accelerate): a process that
    ends without it may crash after its work.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> points = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
        >>> xor = TensorDataset(points, torch.tensor([0, 1, 1, 0]))
        >>> net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
        >>> fitted = fit(net, {"train": xor}, Recipe(epochs=200, lr=0.05, batch_size=4))
        >>> evaluate(fitted.model, xor).correct
        4
    """
    stream = isinstance(data.get("train"), IterableDataset)
    if "train" not in data or (not stream and len(data["train"]) == 0):  # type: ignore[arg-type]
        raise ValueError(
            f"The data has the parts {sorted(data)}; fit needs one named 'train' that is not empty."
        )
    if stream != (recipe.steps is not None):
        what = "a stream, whose length nobody knows" if stream else "no stream"
        cure = "Set Recipe(steps=…), the steps of an epoch." if stream else "Leave steps out."
        raise ValueError(
            f"The training part is {what}, and the recipe has steps={recipe.steps}. {cure}"
        )
    loss = loss or cross_entropy
    accelerator = Accelerator()
    home = device_of(model)
    model = copy_of(model).to(accelerator.device).train()
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
    )
    run = _Checkpoint(model, optimizer, recipe)
    state = run.load(accelerator.device)
    wrapped = accelerator.prepare(model)
    # Accelerate's optimizer looks for a package on the disk at every step: 15 % of the time of
    # LeNet. Only scaled gradients (fp16) and XLA devices need it.
    if accelerator.scaler is not None or accelerator.device.type == "xla":
        optimizer = accelerator.prepare(optimizer)

    many = recipe.steps or steps_in(data["train"], recipe.batch_size)
    length = [] if stream else lengths(data["train"])
    bar = tqdm(
        total=recipe.epochs * many,
        initial=state.epoch * many,
        desc="training",
        unit="step",
        leave=False,
        disable=not accelerator.is_main_process,
    )
    streamed = _stream(data["train"], recipe, state.epoch, accelerator) if stream else iter(())
    with torch.random.fork_rng():  # the caller's random numbers stay as they were
        for epoch in range(state.epoch, recipe.epochs):
            # Seeded by epoch, so that a resumed run draws what an uninterrupted one draws.
            seed = recipe.seed * 100_003 + epoch
            torch.manual_seed(seed)
            wrapped.train()
            if stream:
                loaded = itertools.islice(streamed, many)
            else:
                batches = shuffled(length, recipe.batch_size, seed)
                loaded = _load(data["train"], batches, accelerator)
            total = 0.0
            for step, batch in enumerate(loaded):
                progress = (epoch * many + step + 1) / (recipe.epochs * many)
                lr = recipe.lr * _lr_factor(recipe, progress)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                value = loss(forward(wrapped, batch), batch)
                if not torch.isfinite(value):
                    raise FloatingPointError(
                        f"The loss is {value.item()} at step {step + 1} of epoch {epoch + 1}, with "
                        f"learning rate {lr:.2g}. Try a learning rate ten times smaller, a warm-up "
                        "(Recipe(warmup=0.1)), and look for NaN in the inputs."
                    )
                optimizer.zero_grad()
                accelerator.backward(value)
                optimizer.step()
                if after_step is not None:
                    after_step(model, progress)
                total += value.item()
                bar.update()
            row: dict[str, Any] = {"epoch": epoch + 1, "loss": total / many}
            if "validation" in data:
                accuracy = evaluate(model, data["validation"])
                row |= {"correct": accuracy.correct, "n": accuracy.n}
            state = _advance(state, row, model, recipe)
            if accelerator.is_main_process:
                run.save(state)
            bar.set_postfix({k: v for k, v in row.items() if k in ("loss", "correct")})
    bar.close()
    if state.best:
        model.load_state_dict(state.best)
    run.delete()
    give_memory_back()
    # What Accelerate leaves on the model goes. Marked as prepared, a second fit would not send it to a
    # GPU; and the autocast of bf16, which cannot be exported, would stay in all copies. (Accelerate's
    # `unwrap_model` would take a transformer's own decorators off, too.)
    vars(model).pop("_is_accelerate_prepared", None)
    if vars(model).pop("_original_forward", None):
        del model.forward
    return Fitted(model.to(home).eval(), state.history, state.best_epoch)


def predict(model: nn.Module, dataset: Dataset, batch_size: int | None = None) -> Tensor:
    """Logits ``[n, classes]`` of every example, in the dataset's order, on the CPU.

    It runs in eval mode and `inference_mode`, and stays as it is and where it is: on a GPU a copy does
    the work, unless the model has a true `cpu_only`. A batch has 64 examples by default, or
    `model.batch_size`. With several processes each takes a share, and all get the whole. An empty
    dataset is a ValueError.
    """
    # 64: what a layer answers still fits into a processor's cache; 256 took a fifth more time.
    usual: int = getattr(model, "batch_size", 64)
    size = batch_size or usual
    state = PartialState()  # Accelerate's light part: processes and devices
    n = len(dataset)  # type: ignore[arg-type]
    if not n:
        raise ValueError("The dataset is empty; predict needs one example or more.")
    # Neighbours in length share a batch, so that little padding is computed.
    order = sorted(range(n), key=lengths(dataset).__getitem__)
    device = torch.device("cpu") if getattr(model, "cpu_only", False) else state.device
    if device_of(model) != device:
        model = copy_of(model).to(device)
    with state.split_between_processes(order) as mine, evaluating(model):
        batches = [mine[i : i + size] for i in range(0, len(mine), size)]
        batches.reverse()  # the longest first: what they leave free is large enough for the others
        with torch.inference_mode():
            logits = [
                logits_of(forward(model, send_to_device(batch, device))).cpu()
                for batch in loader(dataset, batches)
            ]
    logits.reverse()
    parts = gather_object(logits) if state.num_processes > 1 else logits
    together = torch.cat([part.clone() for part in parts])
    result = torch.empty_like(together)
    result[torch.tensor(order)] = together
    give_memory_back()
    return result


def give_memory_back() -> None:
    """Return free memory to the system, and blocks above 4 MiB from now on as soon as they are free.
    Linux's C library keeps them, in pieces that fit nothing: lesson 2 would grow to 3 GB. Up to 64 MiB
    stay free for smaller blocks: a CNN trains a fifth slower where each is asked for anew."""
    with contextlib.suppress(OSError, AttributeError):  # another system, another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 4 << 20)  # M_MMAP_THRESHOLD of malloc.h; else it rises to 32 MiB by itself
        libc.mallopt(-1, 64 << 20)  # M_TRIM_THRESHOLD; a choice of the first sets it to 128 KiB
        libc.malloc_trim(0)


def correct(model: nn.Module, dataset: Dataset) -> Tensor:
    """Bool ``[n]``: which examples the model answers rightly. `measure.paired_test` takes two."""
    return predict(model, dataset).argmax(-1) == labels_of(dataset).cpu()


def evaluate(model: nn.Module, dataset: Dataset) -> Accuracy:
    """Accuracy of `model` on a labelled dataset, with its interval."""
    right = correct(model, dataset)
    return Accuracy(int(right.sum()), len(right))


def cross_entropy(output: Any, batch: Any) -> Tensor:
    """The default loss of `fit`: cross-entropy between the logits and the batch's labels."""
    return F.cross_entropy(logits_of(output), labels(batch))


def logits_of(output: Any) -> Tensor:
    """The logits in a model's output: the tensor itself, or `output.logits`."""
    return output if isinstance(output, Tensor) else output.logits


def forward(model: nn.Module, batch: Any) -> Any:
    """The model's output for a batch, without handing it the labels."""
    if isinstance(batch, Mapping):
        # The loss is ours: labels inside would only make the model compute its own.
        unwanted = {"labels", "teacher_logits"}
        inner = getattr(model, "module", model)  # behind what Accelerate wraps around it
        kind: Any = type(inner)
        if issubclass(kind, PreTrainedModel) and not _takes_segments(kind):
            unwanted.add("token_type_ids")  # BERT reads them, DistilBERT does not
        return model(**{k: v for k, v in batch.items() if k not in unwanted})
    return model(batch[0])


@functools.cache
def _takes_segments(kind: type) -> bool:
    return "token_type_ids" in inspect.signature(kind.forward).parameters  # type: ignore[attr-defined]


def copy_of(model: nn.Module) -> nn.Module:
    """A deep copy. `copy.deepcopy` alone refuses a model that `torch.nn.utils.prune` has masked."""
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor) and value.grad_fn is not None:
                # A weight times its mask, with the graph it came from; each forward forms it anew.
                setattr(module, name, value.detach())
    return copy.deepcopy(model)


def _load(dataset: Any, batches: list[list[int]], accelerator: Accelerator) -> Any:
    """This process's part of each batch, on its device."""
    rank, processes = accelerator.process_index, accelerator.num_processes
    _check_shares(len(batches[0]), accelerator)
    for batch in loader(dataset, [batch[rank::processes] for batch in batches]):
        yield send_to_device(batch, accelerator.device)


def _stream(dataset: Any, recipe: Recipe, epoch: int, accelerator: Accelerator) -> Iterator[Any]:
    """All batches from this epoch on: this process's part of each."""
    size = recipe.batch_size
    _check_shares(size, accelerator)
    # Skipped and counted, not remembered: a resumed run reads what an uninterrupted one reads.
    examples = itertools.islice(_again_and_again(dataset), epoch * (recipe.steps or 0) * size, None)
    while True:
        whole = list(itertools.islice(examples, size))
        mine = whole[accelerator.process_index :: accelerator.num_processes]
        yield send_to_device(collate(mine), accelerator.device)


def _again_and_again(dataset: Any) -> Iterator[Any]:
    while True:
        seen = 0
        for seen, example in enumerate(dataset, start=1):  # noqa: B007
            yield example
        if not seen:
            raise ValueError("The streamed training part is empty.")


def _check_shares(size: int, accelerator: Accelerator) -> None:
    processes = accelerator.num_processes
    if size % processes:
        raise ValueError(
            f"A batch of {size} cannot be shared evenly by {processes} processes; choose "
            f"a batch_size that is a multiple of {processes}."
        )


def _lr_factor(recipe: Recipe, progress: float) -> float:
    if progress < recipe.warmup:
        return progress / recipe.warmup
    # The last step still has a learning rate: progress is 1 behind it.
    return (1 - progress) / (1 - recipe.warmup) + 1e-3 if recipe.decay else 1.0


@dataclass(frozen=True)
class _State:
    """How far a run is: epochs done, the history, and the best epoch with its weights."""

    epoch: int
    history: list[dict[str, Any]]
    best_epoch: int
    best: dict[str, Tensor]


def _advance(state: _State, row: dict[str, Any], model: nn.Module, recipe: Recipe) -> _State:
    """The state behind one more epoch: its weights are kept if they are the best so far."""
    state = replace(state, epoch=row["epoch"], history=[*state.history, row])
    first = 1 if recipe.choose_last is None else recipe.epochs - recipe.choose_last + 1
    old = next((r for r in state.history if r["epoch"] == state.best_epoch), None)
    better = old is None or state.best_epoch < first or "n" not in row
    if better or row["correct"] > old["correct"]:  # type: ignore[index]
        best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        return replace(state, best_epoch=row["epoch"], best=best)
    return state


class _Checkpoint:
    """One safetensors file a run: weights, optimiser, best weights; the history in its header."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe) -> None:
        self.model, self.optimizer = model, optimizer
        self.path: Path | None = None
        if recipe.checkpoint:
            # A checkpoint of another start or recipe must not be continued: both name the file.
            start = hashlib.sha256(json.dumps(settings(recipe)).encode())
            for key, tensor in model.state_dict().items():
                flat = tensor.detach().cpu().contiguous().flatten()
                # as bytes: numpy has no bfloat16
                start.update(key.encode() + flat.view(torch.uint8).numpy().tobytes())
            folder = cache.cache_dir() / "checkpoints"
            folder.mkdir(exist_ok=True)
            self.path = folder / f"{recipe.checkpoint}-{start.hexdigest()[:12]}.safetensors"

    def save(self, state: _State) -> None:
        if self.path is None:
            return
        optimizer = self.optimizer.state_dict()["state"]
        tensors = (
            {f"model/{k}": v for k, v in self.model.state_dict().items()}
            | {f"best/{k}": v for k, v in state.best.items()}
            | {f"optimizer/{i}/{k}": v for i, s in optimizer.items() for k, v in s.items()}
        )
        header = {"epoch": state.epoch, "history": state.history, "best_epoch": state.best_epoch}
        part = self.path.with_suffix(".part")
        save_file(
            {k: v.detach().cpu().clone() for k, v in tensors.items()},
            part,
            {"state": json.dumps(header)},
        )
        os.replace(part, self.path)

    def load(self, device: torch.device) -> _State:
        if self.path is None or not self.path.exists():
            return _State(0, [], 0, {})
        try:
            with safe_open(self.path, "pt") as file:
                header = json.loads(file.metadata()["state"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            warnings.warn(
                f"The checkpoint {self.path.name} is damaged ({error}); training starts anew.",
                stacklevel=3,
            )
            return _State(0, [], 0, {})
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
        for key, tensor in tensors.items():
            part, _, rest = key.partition("/")
            parts[part][rest] = tensor
        self.model.load_state_dict(parts["model"])
        slots: dict[int, dict[str, Tensor]] = {}
        for key, tensor in parts["optimizer"].items():
            index, _, name = key.partition("/")
            slots.setdefault(int(index), {})[name] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        print(f"Going on behind epoch {header['epoch']}, where this training was interrupted.")
        best = {k: v.to(device) for k, v in parts["best"].items()}
        return _State(header["epoch"], header["history"], header["best_epoch"], best)

    def delete(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
