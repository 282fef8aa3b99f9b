"""Train a model, on Hugging Face Accelerate: on a CPU, a GPU or several processes alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from datasets import IterableDataset
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from course_lib.batching import check_dataset, collate, lengths, loader, shuffled, steps_in
from course_lib.evaluation.prediction import evaluate
from course_lib.modules import copy_of, device_of, forward, release_memory, to_device
from course_lib.training.checkpoint import Checkpoint, advance
from course_lib.training.recipe import Fitted, Loss, Recipe, cross_entropy


def fit(
    model: nn.Module,
    data: Mapping[str, Dataset],
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    *,
    loss: Loss | None = None,
    after_step: Callable[[nn.Module, float], None] | None = None,
) -> Fitted:
    """Train a copy of `model`; the argument is left alone, so a cell can run twice.

    The same seed gives the same bits on the same machine. The epoch to keep is chosen on the
    validation part alone. Explained in lesson 1.

    On several processes or GPUs, start ``accelerate launch --multi_gpu --num_processes 2 script.py``:
    the result is that of one process, up to rounding. End the script with Accelerate's
    ``PartialState().destroy_process_group()``; without it a process may crash at its end.

    Args:
        model: any module that takes what the dataset yields.
        data: ``{"train": dataset}`` and, to choose an epoch, ``"validation"``. An example is a tuple
            (input, label), or a mapping of keyword arguments with ``"labels"``. The training part
            may be a stream (`datasets.IterableDataset`) that you have shuffled: it is read on through
            the epochs, each of `recipe.steps` steps, and starts again when it ends.
        recipe: epochs, learning rate and so on (default ``Recipe()``).
        loss: ``(model output, batch) → scalar`` (default `cross_entropy`).
        after_step: called with the model and the progress in (0, 1] after every optimizer step. It may
            change weights in place: a pruning schedule belongs here (default: none).

    Raises:
        ValueError: no training examples; a stream without steps or steps without a stream; a batch
            that the processes cannot share evenly.
        FloatingPointError: the loss is not finite.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> points = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
        >>> xor = TensorDataset(points, torch.tensor([0, 1, 1, 0]))
        >>> net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
        >>> fitted = fit(net, {"train": xor}, Recipe(epochs=200, lr=0.05, batch_size=4))
        >>> evaluate(fitted.model, xor).correct
        4
    """
    _check_data(data, recipe)
    accelerator = Accelerator()
    home, model = device_of(model), copy_of(model).to(accelerator.device).train()
    optimizer = _optimizer(model, recipe)
    checkpoint = Checkpoint(model, optimizer, recipe)
    state = checkpoint.load()
    wrapped, optimizer = _prepare(model, optimizer, accelerator)
    steps = recipe.steps or steps_in(data["train"], recipe.batch_size)
    total = recipe.epochs * steps
    step = _Step(wrapped, optimizer, accelerator, recipe, loss or cross_entropy, steps)
    bar = tqdm(
        desc="training", initial=state.epoch * steps, total=total, leave=False,
        disable=not accelerator.is_main_process,
    )  # fmt: skip
    with bar, torch.random.fork_rng():  # the caller's random numbers stay as they were
        for epoch, batches in _epochs(data["train"], recipe, state.epoch, accelerator):
            wrapped.train()
            losses = 0.0
            for number, batch in enumerate(batches, start=epoch * steps + 1):
                losses += step(batch, number)
                if after_step is not None:
                    after_step(model, number / total)
                bar.update()
            row: dict[str, Any] = {"epoch": epoch + 1, "loss": losses / steps}
            if "validation" in data:
                row |= asdict(evaluate(model, data["validation"]))  # correct and n
            state = advance(state, row, model, recipe)
            if accelerator.is_main_process:
                checkpoint.save(state)
            bar.set_postfix({k: row[k] for k in ("loss", "correct") if k in row})
    if state.best:
        model.load_state_dict(state.best)
    checkpoint.delete()
    model.zero_grad()  # else the gradients of the last step stay as long as the model
    release_memory()
    return Fitted(_unprepared(model).to(home).eval(), state.history, state.best_epoch)


@dataclass
class _Step:
    """One step of training: the loss of a batch, its gradients, and the optimizer's step."""

    model: nn.Module
    optimizer: Any
    accelerator: Accelerator
    recipe: Recipe
    loss: Loss
    steps: int  # of an epoch

    def __call__(self, batch: Any, number: int) -> float:
        """Returns the loss. `number` counts the steps of all epochs from 1."""
        epoch, before = divmod(number - 1, self.steps)
        lr = _set_lr(self.optimizer, self.recipe, number / (self.recipe.epochs * self.steps))
        value = self.loss(forward(self.model, batch), batch)
        _check_loss(value, f"step {before + 1} of epoch {epoch + 1}", lr)
        self.optimizer.zero_grad()
        self.accelerator.backward(value)
        self.optimizer.step()
        return value.item()


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    weights = [p for p in model.parameters() if p.requires_grad]
    decay = recipe.weight_decay
    return torch.optim.AdamW(weights, lr=recipe.lr, weight_decay=decay, fused=True)


def _check_data(data: Mapping[str, Any], recipe: Recipe) -> None:
    stream = isinstance(data.get("train"), IterableDataset)
    for part in () if stream else data.values():
        check_dataset(part)
    if "train" not in data or (not stream and len(data["train"]) == 0):
        raise ValueError(
            f"The data has the parts {sorted(data)}; fit needs one named 'train' that is not empty."
        )
    if stream != (recipe.steps is not None):
        kind = "a stream, whose length is unknown" if stream else "no stream"
        cure = "Set Recipe(steps=…), the steps of an epoch." if stream else "Leave steps out."
        raise ValueError(
            f"The training part is {kind}, and the recipe has steps={recipe.steps}. {cure}"
        )


def _prepare(model: nn.Module, optimizer: Any, accelerator: Accelerator) -> tuple[nn.Module, Any]:
    """Model and optimizer inside the wrappers of Accelerate that they need."""
    # Its optimizer looks for a package on the disk at every step, 15 % of the time of LeNet. Only
    # scaled gradients (fp16) and XLA devices need it.
    wrapped = accelerator.prepare(model)
    if accelerator.scaler is not None or accelerator.device.type == "xla":
        optimizer = accelerator.prepare(optimizer)
    return wrapped, optimizer


def _unprepared(model: nn.Module) -> nn.Module:
    """The model without what Accelerate left on it: a mark that would keep a second `fit` from moving
    it to a GPU, and the autocast of bf16, which cannot be exported. (Accelerate's own `unwrap_model`
    would also remove decorators of transformers.)"""
    vars(model).pop("_is_accelerate_prepared", None)
    if vars(model).pop("_original_forward", None):
        del model.forward
    return model


def _epochs(
    data: Any, recipe: Recipe, first: int, accelerator: Accelerator
) -> Iterator[tuple[int, Iterable[Any]]]:
    """Each epoch from `first` on, counted from 0, with this process's share of its batches."""
    size = recipe.batch_size if recipe.steps else min(recipe.batch_size, len(data))
    rank, processes = accelerator.process_index, accelerator.num_processes
    if size % processes:
        raise ValueError(
            f"A batch of {size} cannot be shared evenly by {processes} processes; choose a batch_size "
            f"that is a multiple of {processes}."
        )
    # Skipped and counted, so that a resumed run reads what an uninterrupted one reads.
    examples = islice(_repeated(data), first * recipe.steps * size, None) if recipe.steps else None
    length = lengths(data) if examples is None else []
    for epoch in range(first, recipe.epochs):
        # Seeded by epoch, so that a resumed run draws what an uninterrupted one draws.
        seed = recipe.seed * 100_003 + epoch
        torch.manual_seed(seed)
        batches: Iterable[Any]
        if examples is None:
            shares = [batch[rank::processes] for batch in shuffled(length, size, seed)]
            batches = loader(data, shares)
        else:
            whole = (list(islice(examples, size)) for _ in range(recipe.steps or 0))
            batches = (collate(batch[rank::processes]) for batch in whole)
        yield epoch, (to_device(batch, accelerator.device) for batch in batches)


def _repeated(stream: Iterable[Any]) -> Iterator[Any]:
    """The examples of a stream, which starts again when it ends."""
    while True:
        empty = True
        for example in stream:
            empty = False
            yield example
        if empty:
            raise ValueError("The streamed training part is empty.")


def _set_lr(optimizer: Any, recipe: Recipe, progress: float) -> float:
    """The learning rate of a step, given to the optimizer."""
    factor = 1.0
    if progress < recipe.warmup:
        factor = progress / recipe.warmup
    elif recipe.decay:  # progress is 1 at the last step, which still learns
        factor = (1 - progress) / (1 - recipe.warmup) + 1e-3
    for group in optimizer.param_groups:
        group["lr"] = recipe.lr * factor
    return recipe.lr * factor


def _check_loss(value: Tensor, place: str, lr: float) -> None:
    if not torch.isfinite(value):
        raise FloatingPointError(
            f"The loss is {value.item()} at {place}, with learning rate {lr:.2g}. Try a learning rate "
            "ten times smaller, a warm-up (Recipe(warmup=0.1)), and look for NaN in the inputs."
        )
