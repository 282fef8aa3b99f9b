"""The state of a training after each epoch, on disk, so that an interrupted run resumes."""

from __future__ import annotations

import contextlib
import json
import secrets
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from course_lib import cache
from course_lib.files import hash_of_tensors, short_hash, write_atomically
from course_lib.training.recipe import Recipe, recipe_fields


@dataclass(frozen=True)
class State:
    """How far a run is: epochs done, the history, and the best epoch with its weights."""

    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)


def advance(state: State, row: dict[str, Any], model: nn.Module, recipe: Recipe) -> State:
    """The state after one more epoch, with a copy of its weights if they are the best so far."""
    state = replace(state, epoch=row["epoch"], history=[*state.history, row])
    first = 1 if recipe.select_from_last is None else recipe.epochs - recipe.select_from_last + 1
    old = next((r for r in state.history if r["epoch"] == state.best_epoch), None)
    comparable = old is not None and "n" in old and "n" in row and state.best_epoch >= first
    if not comparable or row["correct"] > old["correct"]:  # type: ignore[index]
        best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        return replace(state, best_epoch=row["epoch"], best=best)
    return state


class Checkpoint:
    """The file of one run: weights, optimizer and best weights, with the history in the header.

    No fault of the file or the disk stops the training: a warning says once what is lost.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe) -> None:
        self.model, self.optimizer = model, optimizer
        self.name = _file_name(model, recipe) if recipe.checkpoint else ""
        self.saved_epoch, self.warned = 0, False

    @property
    def path(self) -> Path:
        return cache.cache_dir() / "checkpoints" / self.name

    def load(self) -> State:
        """Restore model and optimizer, and return the state to resume from."""
        if not self.name:
            return State()
        try:
            path = self.path
        except OSError:  # there is no cache: `save` will say so
            return State()
        try:
            header, parts = _read(path)
            _check(header, parts, self)
        except FileNotFoundError:
            return State()
        except Exception as error:  # whatever is wrong with the file, training can start anew
            warnings.warn(
                f"The checkpoint {self.name} is damaged: training starts anew ({error}).",
                stacklevel=3,
            )
            with contextlib.suppress(OSError):
                if path.is_dir():  # perhaps a person's: it makes room, and stays
                    path.rename(path.with_name(f"{secrets.token_hex(4)}-{path.name}"))
            return State()
        self.model.load_state_dict(parts.pop("model"))
        best = parts.pop("best")
        # In the parameters' order of memory: the fused optimizer takes numbers as they lie there.
        params = self.optimizer.param_groups[0]["params"]
        slots = {
            int(i): {
                slot: torch.empty_like(params[int(i)]).copy_(t) if t.ndim else t
                for slot, t in tensors.items()
            }
            for i, tensors in parts.items()
        }
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        self.saved_epoch = len(header["history"])
        print(f"Training resumes after epoch {self.saved_epoch}, where it was interrupted.")
        return State(self.saved_epoch, header["history"], header["best_epoch"], best)

    def save(self, state: State) -> None:
        if not self.name:
            return
        tensors = (
            {f"model/{k}": v for k, v in self.model.state_dict().items()}
            | {f"best/{k}": v for k, v in state.best.items()}
            | {
                f"{i}/{slot}": v
                for i, slots in self.optimizer.state_dict()["state"].items()
                for slot, v in slots.items()
            }
        )
        try:
            header = {"history": state.history, "best_epoch": state.best_epoch}
            # Contiguous: safetensors refuses channels_last and what was transposed.
            contents = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
            text = json.dumps(header)
            about = {"state": text, "checksum": _checksum(text, contents)}
            cache.make_folder(self.path.parent)
            write_atomically(self.path, lambda part: save_file(contents, part, about))
            self.saved_epoch = state.epoch
        except (OSError, SafetensorError) as error:
            if not self.warned:
                at = f"after epoch {self.saved_epoch}" if self.saved_epoch else "from the beginning"
                warnings.warn(
                    f"Epoch {state.epoch} was not kept in the checkpoint {self.name} ({error}). "
                    f"Training goes on; until saving works again, an interrupted run resumes {at}.",
                    stacklevel=3,
                )
            self.warned = True

    def delete(self) -> None:
        if self.name:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def _file_name(model: nn.Module, recipe: Recipe) -> str:
    """A run is resumed only with the same recipe and the same initial weights: the name has both."""
    start = json.dumps(recipe_fields(recipe)) + hash_of_tensors(model.state_dict())
    return f"{recipe.checkpoint}-{short_hash(start)}.safetensors"


def _read(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """The header, and the tensors of each part: the model, the best weights, and each parameter's."""
    if path.exists() and not path.is_file():  # opening a FIFO would wait forever
        raise ValueError("it is no regular file")
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}}
    with safe_open(path, "pt") as file:
        about = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if about.get("checksum") != _checksum(about["state"], tensors):
        raise ValueError("its checksum is another one")
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = tensor
    return json.loads(about["state"]), parts


def _checksum(text: str, tensors: dict[str, Tensor]) -> str:
    """Depends on each bit: a wrong one in the weights or the optimizer would go unnoticed."""
    return short_hash(text + hash_of_tensors(dict(sorted(tensors.items()))))


def _check(header: dict[str, Any], parts: dict[str, dict[str, Tensor]], run: Checkpoint) -> None:
    """Raise unless everything belongs to this run, because loading a part would change the model."""
    epochs = list(range(1, len(header["history"]) + 1))
    if [row["epoch"] for row in header["history"]] != epochs or header["best_epoch"] not in epochs:
        raise ValueError("its history has gaps")
    weights = {name: tensor.shape for name, tensor in run.model.state_dict().items()}
    slots = {
        f"{i}": dict.fromkeys(("exp_avg", "exp_avg_sq"), p.shape) | {"step": torch.Size()}
        for i, p in enumerate(run.optimizer.param_groups[0]["params"])
    }
    expected = slots | {"model": weights, "best": weights}
    for part, tensors in parts.items():
        if {name: tensor.shape for name, tensor in tensors.items()} != expected[part]:
            raise ValueError(f"its part {part} belongs to another run")
