"""A model on a GPU is pruned, trained, distilled and made int8 as one on the CPU.

CI has no GPU, so these are skipped there. Where there is one, the other tests train on it, too: there
`make test` is the whole check, and this file compares the two.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from datasets import Dataset
from torch import nn
from transformer_zoo import batch_for, tiny, without_dropout

from course_lib import evaluation, pruning, structured, training
from course_lib.distillation.loop import distill
from course_lib.distillation.losses import distillation_loss
from course_lib.evaluation.prediction import predict
from course_lib.modules import forward
from course_lib.quantization.int8 import quantize
from course_lib.quantization.onnx_export import OnnxClassifier, export_onnx
from course_lib.training.loop import fit
from course_lib.training.recipe import Recipe

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU here")

RECIPE = Recipe(epochs=2, lr=1e-3, batch_size=8)


def use(device: str) -> None:
    """From now on Accelerate computes there."""
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState(cpu=device == "cpu")


@pytest.fixture(autouse=True)
def _gpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def bert() -> Any:
    """Tame enough to train and to compare."""
    model: Any = without_dropout(tiny("bert"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    return model


def sentences(n: int = 32) -> Dataset:
    own = torch.Generator().manual_seed(3)
    lengths = torch.randint(3, 10, (n,), generator=own).tolist()
    ids = [torch.randint(5, 40, (length,), generator=own).tolist() for length in lengths]
    masks = [[1] * length for length in lengths]
    rows = {"input_ids": ids, "attention_mask": masks, "labels": [row[0] % 2 for row in ids]}
    return Dataset.from_dict(rows)


def where(model: nn.Module) -> set[str]:
    return {tensor.device.type for tensor in (*model.parameters(), *model.buffers())}


def on_both(make: Any) -> tuple[Any, Any]:
    """What comes of a model on the CPU, computed there, and of the same one on the GPU."""
    found = []
    for device in ("cpu", "cuda"):
        use(device)
        found.append(make(bert().to(device)))
    return found[0], found[1]


def trained_twice(model: nn.Module) -> list[training.Fitted]:
    first = fit(model, {"train": sentences()}, RECIPE)
    assert where(first.model) == where(model)
    return [first, fit(first.model, {"train": sentences()}, RECIPE)]


def distilled(model: nn.Module) -> list[training.Fitted]:
    told = predict(model, sentences())
    loss = partial(distillation_loss, T=2, alpha=0.7)
    student = copy.deepcopy(model)
    with torch.no_grad():
        student.classifier.weight.neg_()  # type: ignore[operator, union-attr]
    return [distill(student, told, {"train": sentences()}, RECIPE, loss=loss)]


@pytest.mark.parametrize("make", [trained_twice, distilled])
def test_training_goes_the_same_way(make):
    for cpu, gpu in zip(*on_both(make), strict=True):
        for a, b in zip(cpu.history, gpu.history, strict=True):
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-2)
        assert where(gpu.model) == {"cuda"}


def test_answers_come_to_the_cpu_and_the_model_stays():
    def answers(model: nn.Module) -> torch.Tensor:
        home = where(model)
        found = predict(model, sentences())
        assert where(model) == home
        assert found.device.type == "cpu"
        return found

    cpu, gpu = on_both(answers)
    torch.testing.assert_close(gpu, cpu, atol=1e-4, rtol=1e-3)


def test_the_same_heads_units_and_weights_go():
    def shapes(model: nn.Module) -> str:
        score = structured.gate_taylor(model, sentences())
        return repr(structured.prune(model, 0.1, score=score))

    def kept(model: nn.Module) -> dict[str, torch.Tensor]:
        return pruning.global_masks(model, 0.5, pruning.weight_taylor(model, sentences()))

    cpu, gpu = on_both(shapes)
    assert cpu == gpu != repr(bert())
    first, second = on_both(kept)
    differing = sum(int((first[name] != second[name].cpu()).sum()) for name in first)
    assert differing <= 0.001 * sum(mask.numel() for mask in first.values())  # near ties


@pytest.mark.parametrize("backend", ["onnxruntime", "torch", "embeddings"])
def test_int8_answers_the_same(backend):
    cpu, gpu = on_both(lambda model: predict(quantize(model, backend=backend), sentences()))
    torch.testing.assert_close(gpu, cpu, atol=5e-2, rtol=5e-2)


def test_the_file_answers_as_the_model(tmp_path):
    model = bert().cuda()
    assert export_onnx(model, tmp_path / "model.onnx").difference < 1e-4
    batch = {name: tensor.cuda() for name, tensor in batch_for(model).items()}
    with torch.inference_mode():
        said = forward(model, batch).logits.cpu()
    file = OnnxClassifier(tmp_path / "model.onnx")
    torch.testing.assert_close(file(**batch).logits, said, atol=1e-4, rtol=1e-3)


def test_a_latency_waits_for_the_gpu():
    wide = nn.Sequential(*(nn.Linear(4096, 4096) for _ in range(20))).cuda()
    small, large = torch.ones(1, 4096), torch.ones(4096, 4096)
    times = [evaluation.latency({"": wide}, batch, rounds=5)[""].median for batch in (small, large)]
    assert times[1] > 3 * times[0]  # what only starts the work takes the same for both
