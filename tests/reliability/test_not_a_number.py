"""NaN is never taken for an answer: not kept, not shown, and said in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from course_lib import training
from course_lib.cli import main as commands
from course_lib.compression import measuring
from course_lib.evaluation.prediction import predict
from course_lib.lessons.sliders.sparsity import sparsity_explorer, sparsity_view
from course_lib.models import zoo
from course_lib.training.checkpoint import Checkpoint, State

pytestmark = pytest.mark.reliability


@pytest.fixture
def rows() -> TensorDataset:
    return TensorDataset(torch.ones(4, 2), torch.tensor([0, 1, 0, 1]))


@pytest.fixture
def broken() -> nn.Module:
    """A model whose bias is NaN: its weights look well."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2))
    nn.init.constant_(model[0].bias, float("nan"))  # type: ignore[arg-type]
    return model


def test_such_logits_are_not_kept(broken, rows, cache_folder):
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="answers 4 of 4 examples with NaN"):
            zoo.cached_logits(broken, rows)
    assert not list(cache_folder.rglob("*.safetensors"))


def test_such_logits_from_an_older_cache_are_said(broken, rows, cache_folder, monkeypatch):
    monkeypatch.setattr(zoo, "not_nan", lambda logits: logits)
    assert zoo.cached_logits(broken, rows).isnan().all()
    monkeypatch.undo()
    monkeypatch.setenv("COURSE_CACHE", str(cache_folder))
    with pytest.raises(FloatingPointError, match="with NaN"):
        zoo.cached_logits(broken, rows)


def test_the_sparsity_slider_shows_no_accuracy(broken, rows):
    """Before, it showed that of the first class."""
    for show in (sparsity_view, sparsity_explorer):
        with pytest.raises(FloatingPointError, match="so it has no accuracy"):
            show(broken, rows, 0.5)


def test_a_small_model_that_answers_so_has_no_accuracy(monkeypatch, rows):
    monkeypatch.setattr(measuring, "predict", lambda *_, **__: torch.full((4, 2), float("nan")))
    with pytest.raises(FloatingPointError, match="with NaN"):
        measuring.answers_of(None, rows)  # type: ignore[arg-type]


def test_a_training_that_diverges_ends_the_command_with_a_sentence(monkeypatch, capsys):
    """Before, with a traceback."""

    def diverges(*_arguments, **_settings):
        raise FloatingPointError(
            "The loss is nan at epoch 1, step 3. Try a learning rate ten times"
        )

    monkeypatch.setattr("course_lib.compression.compress", diverges)
    assert commands.main(["compress", "reviews.csv"]) == 1
    assert capsys.readouterr().err.startswith("compress stopped: The loss is nan at epoch 1")


@pytest.mark.parametrize("form", ["channels_last", "transposed"])
@pytest.mark.filterwarnings("error")
def test_a_checkpoint_takes_weights_in_any_order_of_memory(cache_folder, form, monkeypatch, capsys):
    """Before, safetensors refused them after the first epoch, and the run was lost."""

    def model() -> nn.Module:
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Flatten(), nn.Linear(4, 2))
        if form == "channels_last":
            return layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        layers[2].weight = nn.Parameter(torch.randn(4, 2).T)
        return layers

    data = TensorDataset(torch.randn(4, 3, 2, 2), torch.tensor([0, 1, 0, 1]))

    def interrupted(checkpoint: Checkpoint, state: State) -> None:
        save(checkpoint, state)
        raise KeyboardInterrupt

    save, recipe = Checkpoint.save, training.Recipe(epochs=3, lr=1e-2, checkpoint="order")
    monkeypatch.setattr(Checkpoint, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.fit(model(), {"train": data}, recipe)
    monkeypatch.setattr(Checkpoint, "save", save)
    assert len(list(Path(cache_folder, "checkpoints").glob("order-*"))) == 1
    again = training.fit(model(), {"train": data}, recipe).model
    assert "resumes after epoch 1" in capsys.readouterr().out
    whole = training.fit(model(), {"train": data}, training.Recipe(epochs=3, lr=1e-2)).model
    assert torch.equal(predict(again, data), predict(whole, data))
