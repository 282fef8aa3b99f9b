"""A run resumes with the same bits, and survives what can happen to its file."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from blobs import DATA, RECIPE, SCRIPT, Scripted, blobs, net, same, ten
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import TensorDataset

from course_lib.training import checkpoint
from course_lib.training.loop import fit
from course_lib.training.recipe import Recipe

NAMED = replace(RECIPE, checkpoint="run")


def interrupt(model: nn.Module, recipe: Recipe) -> None:
    def stop_in_epoch_3(model: nn.Module, progress: float) -> None:
        if progress > 2.4 / recipe.epochs:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, DATA, recipe, after_step=stop_in_epoch_3)


def kill(model: nn.Module, recipe: Recipe) -> None:
    """As `interrupt`, but by kill -9, of a process of its own."""

    def stop_in_epoch_3(model: nn.Module, progress: float) -> None:
        if progress > 2.4 / recipe.epochs:
            os.kill(os.getpid(), signal.SIGKILL)

    process = os.fork()
    if process == 0:
        try:
            fit(model, DATA, recipe, after_step=stop_in_epoch_3)
        finally:
            os._exit(1)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL


def files(cache_folder: Path) -> list[Path]:
    return list((cache_folder / "checkpoints").iterdir())


@pytest.mark.reliability
@pytest.mark.parametrize(
    ("select_from_last", "stop"), [(None, interrupt), (1, interrupt), (None, kill)]
)
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(
    cache_folder, capsys, select_from_last, stop
):
    recipe = replace(NAMED, select_from_last=select_from_last)
    model = net()
    whole = fit(model, DATA, replace(recipe, checkpoint=""))
    stop(model, recipe)
    assert len(files(cache_folder)) == 1
    progress = []
    resumed = fit(model, DATA, recipe, after_step=lambda m, p: progress.append(p))
    assert min(progress) > 2 / 5  # epochs 1 and 2 were not trained again
    assert "resumes after epoch 2" in capsys.readouterr().out
    assert same(resumed.model, whole.model)
    assert (resumed.history, resumed.epoch) == (whole.history, whole.epoch)
    assert files(cache_folder) == []


@pytest.mark.reliability
def test_the_best_epoch_may_lie_before_the_interruption(cache_folder):
    stop = 3

    def after_step(model: nn.Module, progress: float) -> None:
        epoch = round(progress * 6)
        if epoch == stop:
            raise KeyboardInterrupt
        model.t.data.fill_(10.5 - SCRIPT[epoch - 1])

    data = {"train": ten(), "validation": ten()}
    recipe = Recipe(epochs=6, batch_size=10, checkpoint="scripted")
    with pytest.raises(KeyboardInterrupt):
        fit(Scripted(), data, recipe, after_step=after_step)
    stop = 0
    fitted = fit(Scripted(), data, recipe, after_step=after_step)
    assert (fitted.epoch, fitted.model.t.item()) == (2, 10.5 - 9)


@pytest.mark.reliability
def test_another_recipe_or_start_does_not_resume_it(cache_folder, capsys):
    model = net()
    interrupt(model, NAMED)
    other = replace(NAMED, lr=0.02)
    assert same(
        fit(model, DATA, other).model, fit(model, DATA, replace(other, checkpoint="")).model
    )
    start = net()
    start[0].weight.data.add_(0.1)
    assert same(fit(start, DATA, NAMED).model, fit(start, DATA, RECIPE).model)
    assert "resumes" not in capsys.readouterr().out
    assert len(files(cache_folder)) == 1  # the first one still waits


@pytest.mark.reliability
def test_a_run_that_had_no_validation_part_resumes_with_one(cache_folder):
    stop = iter([False] * 3 + [True])

    def after_step(model: nn.Module, progress: float) -> None:
        if next(stop, False):
            raise KeyboardInterrupt

    recipe = Recipe(epochs=3, batch_size=20, checkpoint="later")  # three steps an epoch
    with pytest.raises(KeyboardInterrupt):
        fit(net(), {"train": blobs(60)}, recipe, after_step=after_step)
    assert fit(net(), DATA, recipe).validation.n == 40


def test_a_bfloat16_model_is_checkpointed_too(cache_folder):
    data = {"train": TensorDataset(blobs(60).tensors[0].bfloat16(), blobs(60).tensors[1])}
    fit(net().bfloat16(), data, Recipe(epochs=1, checkpoint="half"))


def rewritten(path: Path, tensors=None, **header) -> None:
    """The file with other tensors, or with other fields in its header."""
    with safe_open(path, "pt") as file:
        state = json.loads(file.metadata()["state"])
    tensors, text = tensors or load_file(path), json.dumps(state | header)
    save_file(tensors, path, {"state": text, "checksum": checkpoint._checksum(text, tensors)})


def without_metadata(path: Path) -> None:
    save_file(load_file(path), path)


def of_another_model(path: Path) -> None:
    rewritten(path, {k: v for k, v in load_file(path).items() if not k.startswith("model/4")})


def of_another_optimizer(path: Path) -> None:
    rewritten(path, {k: v for k, v in load_file(path).items() if not k.endswith("exp_avg")})


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "mine.txt").write_text("a person's own")


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def changed(change):
    """Other numbers, with the shapes and the header as they were."""

    def damage(path: Path) -> None:
        with safe_open(path, "pt") as file:
            about = file.metadata()
        tensors = load_file(path)
        save_file({name: change(name, tensor) for name, tensor in tensors.items()}, path, about)

    return damage


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "one bit": one_bit,
    "NaN": changed(lambda _, tensor: tensor * torch.nan),
    "whole numbers": changed(lambda _, tensor: tensor.int()),
    "steps below zero": changed(lambda name, tensor: -tensor if "step" in name else tensor),
    "more history": lambda path: save_file(
        load_file(path), path, {"state": '{"history": [{"epoch": 1}], "best_epoch": 1}'}
    ),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "no safetensors": lambda path: path.write_text("a note" * 99),
    "without metadata": without_metadata,
    "another version": lambda path: rewritten(path, history="none"),
    "a gap": lambda path: rewritten(path, history=[{"epoch": 2}]),
    "another model": of_another_model,
    "another optimizer": of_another_optimizer,
    "folder": as_folder,
    "fifo": as_fifo,
}


@pytest.mark.reliability
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_reported_once_and_training_starts_anew(cache_folder, damage):
    model = net()
    interrupt(model, NAMED)
    (file,) = files(cache_folder)
    damage(file)
    with pytest.warns(UserWarning, match=r"damaged: training starts anew") as caught:
        interrupt(model, NAMED)
    assert len(caught) == 1
    with warnings.catch_warnings(action="error"):  # it has been replaced by a good one
        fitted = fit(model, DATA, NAMED)
    assert same(fitted.model, fit(model, DATA, RECIPE).model)
    kept = [path.read_text() for path in cache_folder.rglob("mine.txt")]
    assert kept == (["a person's own"] if damage is as_folder else [])


@pytest.mark.reliability
@pytest.mark.parametrize("first", [1, 3])
def test_a_full_disk_is_reported_and_training_goes_on(cache_folder, monkeypatch, first):
    saved = 0

    def full(tensors, path, metadata):
        nonlocal saved
        saved += 1
        if saved >= first:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path, metadata)

    monkeypatch.setattr(checkpoint, "save_file", full)
    resume = "from the beginning" if first == 1 else "after epoch 2"
    message = f"Epoch {first} was not kept .*No space left.* resumes {resume}"
    with pytest.warns(UserWarning, match=message) as caught:
        fitted = fit(net(), DATA, NAMED)
    assert len(caught) == 1
    assert same(fitted.model, fit(net(), DATA, RECIPE).model)
    assert files(cache_folder) == []  # no half file stays


@pytest.mark.reliability
def test_a_cache_that_cannot_be_made_is_reported_and_training_goes_on(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="Epoch 1 was not kept") as caught:
        fit(net(), DATA, replace(NAMED, epochs=1))
    assert len(caught) == 1


@pytest.mark.reliability
def test_four_runs_of_one_checkpoint_do_not_disturb_each_other(cache_folder):
    """Each writes the same file again and again, and must always find a whole one."""
    model = net()
    optimizer = torch.optim.AdamW(model.parameters())
    state = checkpoint.State(1, [{"epoch": 1, "loss": 1.0}], 1, model.state_dict())
    faults: list[BaseException | warnings.WarningMessage] = []

    def run() -> None:
        try:
            for _ in range(40):
                one = checkpoint.Checkpoint(model, optimizer, NAMED)
                one.save(state)
                assert not one.warned
                one.load()
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    with warnings.catch_warnings(action="error"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not faults
    assert len(files(cache_folder)) == 1
    shutil.rmtree(cache_folder)
