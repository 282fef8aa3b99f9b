"""Training: reproducible to the bit, resumable, and gentle with what it is given."""

from __future__ import annotations

import copy
import itertools
import json
import math
import random
import sys
from dataclasses import replace

import datasets
import numpy as np
import psutil
import pytest
import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune
from torch.utils.data import TensorDataset
from two_processes import run_on_two

from course_lib import training
from course_lib.encoders import BagOfEmbeddings
from course_lib.measure import Accuracy
from course_lib.models import LeNet300, build
from course_lib.training import Recipe, correct, evaluate, fit, forward, predict

RECIPE = Recipe(epochs=5, lr=0.01, batch_size=8, weight_decay=0.01, warmup=0.1, decay=True)


def blobs(n: int, seed: int = 0) -> TensorDataset:
    """Two overlapping clouds of points in four dimensions."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    return TensorDataset(torch.randn(n, 4, generator=generator) + labels[:, None], labels)


DATA = {"train": blobs(60), "validation": blobs(40, seed=1)}


def net() -> nn.Module:
    """Small, and with all that could make two runs differ: dropout and running statistics."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2)
    )


def same(a: nn.Module | dict[str, Tensor], b: nn.Module | dict[str, Tensor]) -> bool:
    one, two = (m.state_dict() if isinstance(m, nn.Module) else m for m in (a, b))
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


# --- fit --------------------------------------------------------------------------------------


def test_it_learns():
    assert evaluate(net(), DATA["validation"]).value < 0.7
    assert evaluate(fit(net(), DATA, RECIPE).model, DATA["validation"]).value > 0.75


def test_the_argument_is_left_alone():
    model = net()
    model[0].weight.requires_grad_(False)
    model[1].eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    fitted = fit(model, DATA, RECIPE)
    assert same(model, before)
    assert [m.training for m in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(fitted.model[0].weight, model[0].weight)  # frozen stays frozen
    assert not torch.equal(fitted.model[4].weight, model[4].weight)
    assert not any(module.training for module in fitted.model.modules())


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    model = net()
    first = fit(model, DATA, RECIPE)
    torch.manual_seed(99)  # what the caller draws in between must not matter
    second = fit(model, DATA, RECIPE)
    assert same(first.model, second.model)
    assert (first.history, first.epoch) == (second.history, second.epoch)
    other = fit(model, DATA, Recipe(**(vars(RECIPE) | {"seed": 1})))
    assert not same(first.model, other.model)


@pytest.mark.parametrize(
    "work",
    [
        lambda model: fit(model, DATA, Recipe(epochs=1)),
        lambda model: predict(model, DATA["train"]),
        lambda model: evaluate(model, DATA["train"]),
    ],
    ids=["fit", "predict", "evaluate"],
)
def test_the_callers_random_numbers_are_left_alone(work):
    model = net()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    work(model)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


def test_the_history_has_a_row_for_each_epoch():
    fitted = fit(net(), DATA, RECIPE)
    assert [row["epoch"] for row in fitted.history] == [1, 2, 3, 4, 5]
    assert all(row["n"] == 40 and 0 <= row["correct"] <= 40 for row in fitted.history)
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    assert json.loads(json.dumps(fitted.history)) == fitted.history


def test_after_step_is_called_behind_every_step_with_progress_up_to_one():
    seen = []
    fit(
        net(),
        {"train": blobs(20)},
        Recipe(epochs=3, batch_size=8),
        after_step=lambda m, p: seen.append(p),
    )
    assert seen == pytest.approx([i / 6 for i in range(1, 7)])
    assert seen[-1] == 1


def test_a_loss_of_ones_own_is_minimised():
    data = {"train": TensorDataset(torch.ones(8, 1), torch.full((8, 1), 3.0))}
    fitted = fit(
        nn.Linear(1, 1),
        data,
        Recipe(epochs=200, lr=0.1),
        loss=lambda output, batch: (output - batch[1]).square().mean(),
    )
    assert fitted.model(torch.ones(1, 1)).item() == pytest.approx(3, abs=0.01)


def test_no_epoch_gives_a_copy():
    model = net()
    fitted = fit(model, DATA, Recipe(epochs=0))
    assert same(fitted.model, model)
    assert fitted.model is not model
    assert (fitted.history, fitted.epoch, fitted.validation) == ([], 0, None)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_accelerate_leaves_nothing_on_the_model(precision, monkeypatch):
    # Its mark kept a second fit from sending the model to a GPU; its autocast stayed in every copy.
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
    AcceleratorState._reset_state()
    try:
        model = fit(net(), {"train": blobs(60)}, Recipe(epochs=1)).model
    finally:
        AcceleratorState._reset_state()
    assert vars(model).keys() == vars(net()).keys()
    inputs = blobs(8).tensors[0]
    assert torch.equal(model(inputs), nn.Sequential(*model.children()).eval()(inputs))


@pytest.mark.parametrize("forward_first", [False, True])
def test_a_model_pruned_by_pytorch_can_be_trained(forward_first):
    model = net()
    torch_prune.l1_unstructured(model[0], "weight", amount=0.5)
    mask = model[0].weight_mask.clone()
    if forward_first:
        model(DATA["train"].tensors[0])
    trained = fit(model, DATA, RECIPE).model
    trained(DATA["train"].tensors[0])  # PyTorch forms the masked weight at each call
    assert torch.equal(trained[0].weight != 0, mask.bool())
    assert not torch.equal(trained[0].weight_orig, model[0].weight_orig)


class Scripted(nn.Module):
    """Answers label 1 where x > t: after_step sets t, and with it the accuracy of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.t = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x), x - self.t], dim=1)


SCRIPT = [3, 9, 5, 7, 7, 6]  # right answers of 10, epoch by epoch


def scripted(choose_last: int | None, parts: tuple[str, ...] = ("train", "validation")):
    ten = TensorDataset(torch.arange(1.0, 11)[:, None], torch.ones(10, dtype=torch.long))

    def after_step(model: nn.Module, progress: float) -> None:
        model.t.data.fill_(10.5 - SCRIPT[round(progress * 6) - 1])

    recipe = Recipe(epochs=6, batch_size=10, choose_last=choose_last)
    return fit(Scripted(), dict.fromkeys(parts, ten), recipe, after_step=after_step)


@pytest.mark.parametrize(
    ("choose_last", "epoch"), [(None, 2), (1, 6), (2, 5), (3, 4), (4, 4), (5, 2), (100, 2)]
)
def test_the_best_of_the_last_epochs_is_kept_the_first_one_of_equals(choose_last, epoch):
    fitted = scripted(choose_last)
    assert fitted.epoch == epoch
    assert fitted.validation == Accuracy(SCRIPT[epoch - 1], 10)
    assert fitted.model.t.item() == 10.5 - SCRIPT[epoch - 1]
    assert f"epoch {epoch}" in repr(fitted)


def test_without_a_validation_part_the_last_epoch_is_kept():
    fitted = scripted(None, parts=("train",))
    assert (fitted.epoch, fitted.validation) == (6, None)
    assert fitted.model.t.item() == 10.5 - SCRIPT[-1]


def test_a_test_part_is_never_looked_at():
    class Untouchable(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            raise AssertionError("fit looked at the test part")

    fit(net(), DATA | {"test": Untouchable()}, Recipe(epochs=1))


def test_the_learning_rate_rises_and_falls():
    recipe = Recipe(warmup=0.2, decay=True)
    factors = [training._lr_factor(recipe, p) for p in (0.1, 0.2, 0.6, 1.0)]
    assert factors == pytest.approx([0.5, 1, 0.5, 0], abs=2e-3)
    assert factors[-1] > 0
    assert training._lr_factor(Recipe(), 0.9) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"batch_size": 0},
        {"warmup": 1.0},
        {"choose_last": 0},
    ],
)
def test_a_recipe_that_cannot_work_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*must be"):
        Recipe(**wrong)


@pytest.mark.parametrize("data", [{"validation": blobs(4)}, {"train": []}])
def test_data_without_examples_to_train_on_is_refused(data):
    with pytest.raises(ValueError, match="fit needs one named 'train' that is not empty"):
        fit(net(), data)


def test_a_loss_that_is_not_finite_says_where_and_what_to_try():
    nans = TensorDataset(torch.full((16, 4), float("nan")), torch.zeros(16, dtype=torch.long))
    with pytest.raises(
        FloatingPointError, match=r"nan at step 1 of epoch 1.*learning rate 0\.01"
    ) as error:
        fit(net(), {"train": nans}, Recipe(lr=0.01))
    assert "ten times smaller" in str(error.value)
    assert "warm-up" in str(error.value)
    assert "NaN in the inputs" in str(error.value)


def test_a_loss_that_explodes_later_says_in_which_step_and_at_which_rate():
    steps = itertools.count(1)

    def explodes(output: Tensor, batch: list[Tensor]) -> Tensor:
        return training.cross_entropy(output, batch) * (math.inf if next(steps) == 9 else 1)

    recipe = Recipe(epochs=4, lr=0.01, batch_size=8, warmup=0.5)  # 7 steps an epoch
    with pytest.raises(FloatingPointError, match=r"inf at step 2 of epoch 2, with .* 0\.0064\."):
        fit(net(), DATA, recipe, loss=explodes)


# --- interrupted and resumed ------------------------------------------------------------------


def named(recipe: Recipe) -> Recipe:
    return replace(recipe, checkpoint="run")


def interrupted(model: nn.Module, recipe: Recipe) -> None:
    def stop_in_epoch_3(model: nn.Module, progress: float) -> None:
        if progress > 2.4 / recipe.epochs:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, DATA, named(recipe), after_step=stop_in_epoch_3)


@pytest.mark.parametrize("choose_last", [None, 1])
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(
    cache_folder, capsys, choose_last
):
    recipe = Recipe(**(vars(RECIPE) | {"choose_last": choose_last}))
    model = net()
    whole = fit(model, DATA, recipe)
    interrupted(model, recipe)
    assert len(list((cache_folder / "checkpoints").iterdir())) == 1
    epochs = []
    resumed = fit(model, DATA, named(recipe), after_step=lambda m, p: epochs.append(p))
    assert min(epochs) > 2 / 5  # epochs 1 and 2 were not trained again
    assert "behind epoch 2" in capsys.readouterr().out
    assert same(resumed.model, whole.model)
    assert (resumed.history, resumed.epoch) == (whole.history, whole.epoch)
    assert list((cache_folder / "checkpoints").iterdir()) == []


def test_the_best_epoch_may_lie_before_the_interruption(cache_folder):
    ten = TensorDataset(torch.arange(1.0, 11)[:, None], torch.ones(10, dtype=torch.long))
    stop = 3

    def after_step(model: nn.Module, progress: float) -> None:
        epoch = round(progress * 6)
        if epoch == stop:
            raise KeyboardInterrupt
        model.t.data.fill_(10.5 - SCRIPT[epoch - 1])

    def run():
        data = {"train": ten, "validation": ten}
        recipe = Recipe(epochs=6, batch_size=10, checkpoint="scripted")
        return fit(Scripted(), data, recipe, after_step=after_step)

    with pytest.raises(KeyboardInterrupt):
        run()
    stop = 0
    fitted = run()
    assert fitted.epoch == 2
    assert fitted.model.t.item() == 10.5 - 9


def test_another_recipe_or_start_does_not_continue_it(cache_folder, capsys):
    model = net()
    interrupted(model, RECIPE)
    other = Recipe(**(vars(RECIPE) | {"lr": 0.02}))
    assert same(fit(model, DATA, named(other)).model, fit(model, DATA, other).model)
    start = net()
    start[0].weight.data.add_(0.1)
    assert same(fit(start, DATA, named(RECIPE)).model, fit(start, DATA, RECIPE).model)
    assert "Going on" not in capsys.readouterr().out
    assert len(list((cache_folder / "checkpoints").iterdir())) == 1  # the first one still waits


def test_a_damaged_checkpoint_is_said_and_training_starts_anew(cache_folder):
    model = net()
    interrupted(model, RECIPE)
    (file,) = (cache_folder / "checkpoints").iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"damaged.*starts anew"):
        fitted = fit(model, DATA, named(RECIPE))
    assert same(fitted.model, fit(model, DATA, RECIPE).model)


# --- predict and evaluate ---------------------------------------------------------------------


class Summing(nn.Module):
    """Logits that tell which example it was: the sum of its tokens, and how many there are."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return torch.stack([(input_ids * attention_mask).sum(1), attention_mask.sum(1)], dim=1)


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_predictions_come_in_the_datasets_order(batch_size):
    sizes = [1 + (11 * i) % 13 for i in range(20)]
    text = datasets.Dataset.from_dict(
        {
            "input_ids": [[i + 1] * n for i, n in enumerate(sizes)],
            "attention_mask": [[1] * n for n in sizes],
            "labels": [0] * 20,
        }
    )
    logits = predict(Summing(), text, batch_size)
    assert logits.tolist() == [[(i + 1) * n, n] for i, n in enumerate(sizes)]


def test_a_model_may_say_how_many_examples_share_a_batch():
    sizes = []
    model = nn.Flatten()
    model.register_forward_hook(lambda module, given, answer: sizes.append(len(answer)))
    data = TensorDataset(torch.zeros(100, 2), torch.zeros(100))
    predict(model, data)
    model.batch_size = 30
    predict(model, data)
    predict(model, data, 50)
    assert list(map(sorted, (sizes[:2], sizes[2:6], sizes[6:]))) == [
        [36, 64],
        [10, 30, 30, 30],
        [50, 50],
    ]


def test_predict_is_in_eval_mode_and_keeps_each_modules_own():
    model = net()
    model[1].eval()  # a frozen batch norm in a model that trains
    modes, before = [m.training for m in model.modules()], copy.deepcopy(model.state_dict())
    logits = predict(model, DATA["train"])
    assert [m.training for m in model.modules()] == modes
    assert same(model, before)  # no running statistics were moved
    torch.testing.assert_close(logits, model.eval()(DATA["train"].tensors[0]).detach())
    assert not logits.requires_grad
    logits.add_(1)  # an ordinary tensor, not one of inference_mode


class OnMeta(PartialState):
    """As if Accelerate computed on another device: one that knows shapes alone."""

    device = property(lambda _self: torch.device("meta"), lambda _self, _device: None)


def test_a_copy_predicts_where_accelerate_computes_and_the_model_stays_where_it_is(monkeypatch):
    monkeypatch.setattr(training, "PartialState", OnMeta)
    model, data = net(), DATA["validation"]
    with pytest.raises(NotImplementedError, match="meta"):  # its answers cannot be fetched
        predict(model, data)
    assert training.device_of(model).type == "cpu"
    model.cpu_only = True  # type: ignore[assignment]
    assert evaluate(model, data).n == 40


def test_predict_refuses_an_empty_dataset():
    with pytest.raises(ValueError, match="dataset is empty"):
        predict(net(), TensorDataset(torch.zeros(0, 4), torch.zeros(0)))


def test_predict_keeps_the_mode_when_the_model_fails():
    model = net()
    with pytest.raises(RuntimeError):
        predict(model, TensorDataset(torch.zeros(3, 5), torch.zeros(3)))
    assert model.training
    assert all(p.device.type == "cpu" for p in model.parameters())


def test_accuracy_is_counted_by_hand():
    points = TensorDataset(torch.tensor([[1.0, 0], [0, 1], [1, 0]]), torch.tensor([0, 1, 1]))
    assert correct(nn.Identity(), points).tolist() == [True, True, False]
    assert evaluate(nn.Identity(), points) == Accuracy(2, 3)


def test_labels_are_not_handed_to_the_model():
    ids = torch.ones(2, 3, dtype=torch.long)
    batch = {"input_ids": ids, "attention_mask": ids, "labels": 1, "teacher_logits": 2}
    assert forward(Summing(), batch).tolist() == [[3, 3], [3, 3]]


# --- several processes ------------------------------------------------------------------------


def train_lenet() -> dict[str, Tensor]:
    """Weights and predictions after some steps on noise with a pattern in it."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (160,), generator=generator)
    images = torch.rand(160, 1, 28, 28, generator=generator)
    images[torch.arange(160), 0, labels] += 1  # one bright row
    data = {
        "train": TensorDataset(images, labels),
        "validation": TensorDataset(images[:51], labels[:51]),  # cannot be shared evenly
    }
    fitted = fit(build(LeNet300), data, Recipe(epochs=3, batch_size=32))
    weights = {name: tensor.clone() for name, tensor in fitted.model.state_dict().items()}
    return weights | {"predictions": predict(fitted.model, data["validation"], 20)}


@pytest.mark.timeout(240)
def test_two_processes_give_the_weights_of_one(tmp_path):
    first, second = run_on_two(train_lenet, tmp_path)
    alone = train_lenet()
    assert same(first, second)
    for name, tensor in alone.items():
        torch.testing.assert_close(first[name], tensor, rtol=0, atol=1e-5, msg=name)
    moved = alone["fc1.weight"] - build(LeNet300).fc1.weight
    assert moved.abs().max() > 1e-3  # they did train


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    class Three:
        process_index, num_processes, device = 0, 3, torch.device("cpu")

    with pytest.raises(ValueError, match=r"batch of 32 cannot be shared.*multiple of 3"):
        next(iter(training._load(blobs(64), [list(range(32))], Three())))


def test_a_bfloat16_model_is_checkpointed_too(cache_folder):
    model = net().bfloat16()
    data = {"train": TensorDataset(blobs(60).tensors[0].bfloat16(), blobs(60).tensors[1])}
    fit(model, data, Recipe(epochs=1, checkpoint="half"))


@pytest.mark.parametrize("steps", [0, -3])
def test_an_epoch_without_steps_is_refused(steps):
    with pytest.raises(ValueError, match=f"steps is {steps}; it must be 1 or more"):
        Recipe(steps=steps)


# --- streams


def streamed(n: int = 40, shards: int = 4) -> datasets.IterableDataset:
    """Sentences of seven tokens, small ones for label 0 and large ones for 1, read one by one."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (n,), generator=generator)
    ids = torch.randint(5, 22, (n, 7), generator=generator) + 17 * labels[:, None]
    rows = {
        "input_ids": ids.tolist(),
        "attention_mask": [[1] * 7] * n,
        "labels": labels.tolist(),
    }
    return datasets.Dataset.from_dict(rows).to_iterable_dataset(num_shards=shards)


def bag() -> nn.Module:
    return build(lambda: BagOfEmbeddings(torch.arange(40), dropout=0.0))


def test_a_stream_is_read_on_through_the_epochs_and_begins_again(tmp_path):
    seen = []

    def loss(output, batch):
        seen.append(batch["input_ids"][:, 0].tolist())
        return training.cross_entropy(output, batch)

    recipe = Recipe(epochs=3, steps=2, batch_size=8)
    fitted = fit(bag(), {"train": streamed()}, recipe, loss=loss)
    first = [row["input_ids"][0] for row in streamed()]
    assert [token for batch in seen for token in batch] == (first + first)[:48]
    assert [row["epoch"] for row in fitted.history] == [1, 2, 3]


def test_shards_on_disk_are_streamed_and_learned(tmp_path):
    rows = list(streamed(400))
    for i in range(2):
        datasets.Dataset.from_list(rows[i::2]).to_parquet(tmp_path / f"shard-{i}.parquet")
    stream = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "*.parquet"), split="train", streaming=True
    ).shuffle(seed=0, buffer_size=64)
    opened = 0

    class Counted(datasets.IterableDataset):
        def __iter__(self):
            nonlocal opened
            opened += 1
            return iter(stream)

    counted = Counted(stream._ex_iterable)
    recipe = Recipe(epochs=5, steps=9, batch_size=8, lr=0.05)  # 360 sentences: one pass
    fitted = fit(bag(), {"train": counted, "validation": datasets.Dataset.from_list(rows)}, recipe)
    assert fitted.validation.value > 0.9
    assert opened == 1  # read on and on: beginning again each epoch would cost ever more


def test_an_interrupted_stream_ends_with_the_bits_of_an_uninterrupted_one(cache_folder):
    recipe = Recipe(epochs=4, steps=3, batch_size=8, lr=0.01)
    whole = fit(bag(), {"train": streamed()}, recipe)
    calls = 0

    def loss(output, batch):
        nonlocal calls
        calls += 1
        if calls == 8:  # in the third epoch
            raise KeyboardInterrupt
        return training.cross_entropy(output, batch)

    with pytest.raises(KeyboardInterrupt):
        fit(bag(), {"train": streamed()}, named(recipe), loss=loss)
    resumed = fit(bag(), {"train": streamed()}, named(recipe))
    for key, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[key]), key


def test_steps_belong_to_streams_alone():
    with pytest.raises(ValueError, match=r"a stream, whose length nobody knows.*steps=None"):
        fit(bag(), {"train": streamed()}, Recipe(epochs=1))
    with pytest.raises(ValueError, match=r"no stream, and the recipe has steps=3"):
        fit(build(LeNet300), {"train": blobs(64)}, Recipe(epochs=1, steps=3))
    with pytest.raises(ValueError, match="empty"):
        fit(bag(), {"train": streamed().take(0)}, Recipe(epochs=1, steps=1))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc keeps what is free; others do not")
def test_large_blocks_go_back_to_the_system_when_they_are_free():
    training.give_memory_back()
    process = psutil.Process()
    for _ in range(2):  # what the first round frees would make malloc keep the second one's
        before = process.memory_info().rss
        blocks = [torch.ones(2**21) for _ in range(32)]  # 256 MiB
        last = blocks.pop()
        del blocks
    assert len(last) == 2**21
    assert process.memory_info().rss - before < 2**26


def test_small_blocks_stay_for_the_next_ones():
    """Each was asked for anew, page by page: a fifth of a CNN's time went there."""
    resource = pytest.importorskip("resource")
    training.give_memory_back()
    faults = []
    for _ in range(20):
        blocks = [torch.ones(2**18) for _ in range(30)]  # 30 MiB
        del blocks
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    assert faults[-1] - faults[0] < 2 * 30 * 256  # the pages of two rounds; there are 19
