"""Plausible wrong answers to lesson 1's exercises, each named; and right ones in many styles."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from styles import answers, as_float, as_numpy_scalar, other_clothes, short
from torch import nn
from torch.nn.utils import prune as torch_prune
from torch.utils.data import TensorDataset

from course_lib import checks, data, masking, models, pruning
from course_lib.checks import lesson1
from course_lib.training import Fitted

WRONG, RIGHT, wrong, right = answers()


# --- 1 · sparsity ---------------------------------------------------------------------------------


@wrong("sparsity", "biases are counted, too")
def _(module):
    vector = nn.utils.parameters_to_vector(module.parameters())
    return (vector == 0).float().mean()


@wrong("sparsity", "the share of what is left (the density)")
def _(module):
    weights = [p for n, p in module.named_parameters() if "weight" in n]
    return sum(w.count_nonzero() for w in weights) / sum(w.numel() for w in weights)


@wrong("sparsity", "the mean of the layers' sparsities")
def _(module):
    return np.mean([(p == 0).float().mean().item() for p in module.parameters() if p.dim() > 1])


@wrong("sparsity", "percent for a fraction")
def _(module):
    return round(100 * masking.sparsity(module), 3)


@wrong("sparsity", "layers inside a block are missed")
def _(module):
    layers = [m for m in module if hasattr(m, "weight")]
    return sum(int((m.weight == 0).sum()) for m in layers) / sum(m.weight.numel() for m in layers)


@wrong("sparsity", "small weights counted as zeros")
def _(module):
    weights = torch.cat([p.flatten() for p in module.parameters() if p.dim() > 1])
    return torch.isclose(weights, torch.zeros(()), atol=0.01).float().mean()


@wrong("sparsity", "convolutions are left out")
def _(module):
    zeros = total = 0
    for layer in module.modules():
        if type(layer) is nn.Linear:
            zeros, total = zeros + int((layer.weight == 0).sum()), total + layer.weight.numel()
    return zeros / total


@right("sparsity")
def loop(module):
    zeros = total = 0
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            for value in layer.weight.flatten().tolist():
                zeros += value == 0
                total += 1
    return zeros / total


@right("sparsity")
def names(module):
    weights = [p for name, p in module.named_parameters() if name.endswith("weight")]
    return sum((w == 0).sum() for w in weights) / sum(w.numel() for w in weights)


@right("sparsity")
def dimensions(module):
    return torch.cat([p.flatten() for p in module.parameters() if p.dim() > 1]).eq(0).float().mean()


@right("sparsity")
def state_dict(module):
    rows = [v.numpy().ravel() for k, v in module.state_dict().items() if "weight" in k]
    row = np.concatenate(rows)
    return 1 - np.count_nonzero(row) / row.size


@right("sparsity")
def recursion(module):
    def count(part):
        own = part.weight if isinstance(part, nn.Linear | nn.Conv2d) else torch.empty(0)
        pairs = [count(child) for child in part.children()]
        pairs.append((int((own == 0).sum()), own.numel()))
        return sum(zeros for zeros, _ in pairs), sum(total for _, total in pairs)

    zeros, total = count(module)
    return zeros / total


@right("sparsity")
def library(module):
    return masking.sparsity(module)


RIGHT["sparsity"]["float64"] = lambda module: masking.sparsity(copy.deepcopy(module).double())
RIGHT["sparsity"]["python float"] = as_float(names)
RIGHT["sparsity"]["numpy scalar"] = as_numpy_scalar(names)
RIGHT["sparsity"]["one-element tensor"] = lambda module: names(module).reshape(1)
RIGHT["sparsity"]["half precision"] = lambda module: names(module).half()


# --- 2 · magnitude_mask ---------------------------------------------------------------------------


@wrong("magnitude_mask", "at a tie all of them stay (>= with the threshold)")
def _(weight, amount):
    count = round(amount * weight.numel())
    if count == 0:
        return torch.ones_like(weight, dtype=torch.bool)
    return weight.abs() >= weight.abs().flatten().sort().values[count - 1]


@wrong("magnitude_mask", "at a tie all of them go (> with the threshold)")
def _(weight, amount):
    count = round(amount * weight.numel())
    return weight.abs() > ([-1.0, *sorted(weight.abs().flatten().tolist())][count])


@wrong("magnitude_mask", "at a tie the last ones go, not the first")
def _(weight, amount):
    kept = weight.numel() - round(amount * weight.numel())
    order = weight.abs().flatten().sort(descending=True, stable=True).indices
    return (
        torch.zeros(weight.numel(), dtype=torch.bool).scatter(0, order[:kept], True).view_as(weight)
    )


@wrong("magnitude_mask", "the sign is not taken off")
def _(weight, amount):
    flat = weight.flatten()
    mask = torch.ones_like(flat, dtype=torch.bool)
    mask[flat.argsort(stable=True)[: round(amount * len(flat))]] = False
    return mask.view_as(weight)


@wrong("magnitude_mask", "the mask is upside down")
def _(weight, amount):
    mask = torch.zeros(weight.shape)
    mask.view(-1)[weight.abs().flatten().argsort(stable=True)[: round(amount * mask.numel())]] = 1
    return mask


@wrong("magnitude_mask", "rounded down")
def _(weight, amount):
    flat = weight.abs().flatten()
    mask = torch.ones(len(flat), dtype=torch.bool)
    mask[flat.argsort(stable=True)[: int(len(flat) * amount)]] = False
    return mask.reshape(weight.shape)


@wrong("magnitude_mask", "the pruned weight for the mask")
def _(weight, amount):
    return weight * argsort(weight, amount)


@right("magnitude_mask")
def argsort(weight, amount):
    order = weight.abs().flatten().argsort(stable=True)
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    mask[order[: round(amount * weight.numel())]] = False
    return mask.view(weight.shape)


@right("magnitude_mask")
def python_loop(weight, amount):
    values = weight.flatten().tolist()
    gone = sorted(range(len(values)), key=lambda i: abs(values[i]))[: round(amount * len(values))]
    return torch.tensor([i not in gone for i in range(len(values))]).view(weight.shape)


@right("magnitude_mask")
def in_place_on_a_copy(weight, amount):
    sizes = weight.detach().clone().abs_().view(-1)
    mask = torch.ones_like(sizes)
    for _ in range(round(amount * len(sizes))):
        at = int(sizes.argmin())
        sizes[at], mask[at] = math.inf, 0
    return mask.view(weight.shape)


@right("magnitude_mask")
def ranks(weight, amount):
    rank = weight.abs().flatten().argsort(stable=True).argsort()
    return (rank >= round(amount * weight.numel())).view_as(weight)


@right("magnitude_mask")
def threshold_and_ties(weight, amount):
    sizes, count = weight.abs().flatten(), round(amount * weight.numel())
    if count == 0:
        return torch.ones_like(weight)
    threshold = sizes.kthvalue(count).values
    ties = (sizes == threshold) & (
        (sizes == threshold).cumsum(0) <= count - (sizes < threshold).sum()
    )
    return (~((sizes < threshold) | ties)).view(weight.shape)


@right("magnitude_mask")
def numpy(weight, amount):
    sizes = np.abs(weight.numpy())
    mask = np.ones(sizes.size, bool)
    mask[np.argsort(sizes, axis=None, kind="stable")[: round(amount * sizes.size)]] = False
    return mask.reshape(sizes.shape)


@right("magnitude_mask")
def of_the_course(weight, amount):
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data = weight.clone()
    return pruning.global_masks(layer, amount)[""]


RIGHT["magnitude_mask"] |= other_clothes(argsort)


# --- 3 · global_masks -----------------------------------------------------------------------------


@wrong("global_masks", "each layer by itself")
def _(weights, amount):
    return {k: argsort(w, amount) for k, w in weights.items()}


@wrong("global_masks", "the mean of the layers' thresholds")
def _(weights, amount):
    found = [
        w.abs().flatten().sort().values[round(amount * w.numel()) - 1] for w in weights.values()
    ]
    return {k: w.abs() > torch.stack(found).mean() for k, w in weights.items()}


@wrong("global_masks", "the sign is not taken off")
def _(weights, amount):
    row = torch.cat([w.flatten() for w in weights.values()])
    return {k: w > row.kthvalue(round(amount * len(row))).values for k, w in weights.items()}


@wrong("global_masks", "the masks are upside down")
def _(weights, amount):
    row = torch.cat([w.abs().flatten() for w in weights.values()])
    return {k: w.abs() <= row.kthvalue(round(amount * len(row))).values for k, w in weights.items()}


@wrong("global_masks", "one mask, the layers are lost")
def _(weights, amount):
    row = torch.cat([w.abs().flatten() for w in weights.values()])
    return row > row.kthvalue(round(amount * len(row))).values


@wrong("global_masks", "each layer is scaled first")
def _(weights, amount):
    return kthvalue({k: w / w.abs().max() for k, w in weights.items()}, amount)


@right("global_masks")
def kthvalue(weights, amount):
    row = torch.cat([w.abs().flatten() for w in weights.values()])
    threshold = row.kthvalue(round(amount * len(row))).values
    return {k: w.abs() > threshold for k, w in weights.items()}


@right("global_masks")
def sorted_list(weights, amount):
    sizes = sorted(abs(v) for w in weights.values() for v in w.flatten().tolist())
    threshold = sizes[round(amount * len(sizes)) - 1]
    return {
        k: [[abs(v) > threshold for v in row] for row in w.tolist()] for k, w in weights.items()
    }


@right("global_masks")
def counted_and_split(weights, amount):
    row = torch.cat([w.flatten() for w in weights.values()]).abs()
    mask = torch.ones_like(row)
    mask[row.argsort()[: round(amount * len(row))]] = 0
    parts = mask.split([w.numel() for w in weights.values()])
    return {k: part.view_as(w) for (k, w), part in zip(weights.items(), parts, strict=True)}


@right("global_masks")
def topk(weights, amount):
    row = torch.cat([w.abs().reshape(-1) for w in weights.values()])
    kept = row.topk(len(row) - round(amount * len(row))).values.min()
    return {k: w.abs() >= kept for k, w in weights.items()}


@right("global_masks")
def numpy_quantile(weights, amount):
    row = np.concatenate([np.abs(w.numpy()).ravel() for w in weights.values()])
    threshold = np.partition(row, round(amount * row.size) - 1)[round(amount * row.size) - 1]
    return {k: np.abs(w.numpy()) > threshold for k, w in weights.items()}


@right("global_masks")
def torchs_own(weights, amount):
    layers = {k: nn.Linear(w.shape[1], w.shape[0]) for k, w in weights.items()}
    for k, layer in layers.items():
        layer.weight.data = weights[k].clone()
    torch_prune.global_unstructured(
        [(layer, "weight") for layer in layers.values()], torch_prune.L1Unstructured, amount=amount
    )
    return {k: layer.weight_mask for k, layer in layers.items()}


RIGHT["global_masks"] |= other_clothes(kthvalue)


# --- 4 · cubic_sparsity ---------------------------------------------------------------------------


@wrong("cubic_sparsity", "a straight line")
def _(step, steps, final):
    return min(final, step * final / steps)


@wrong("cubic_sparsity", "slow first, then fast (t³)")
def _(step, steps, final):
    return final * min(1, step / steps) ** 3


@wrong("cubic_sparsity", "it falls from `final` to 0")
def _(step, steps, final):
    return final * max(0, 1 - step / steps) ** 3


@wrong("cubic_sparsity", "`final` is left out")
def _(step, steps, final):
    return 1 - max(0, 1 - step / steps) ** 3


@wrong("cubic_sparsity", "a square for the cube")
def _(step, steps, final):
    return final * (1 - max(0, 1 - step / steps) ** 2)


@wrong("cubic_sparsity", "it goes on behind the end")
def _(step, steps, final):
    t = step / steps
    return final - final * (1 - t) * (1 - t) * (1 - t)


@right("cubic_sparsity")
def clamped(step, steps, final):
    t = min(step / steps, 1)
    return final * (1 - (1 - t) ** 3)


@right("cubic_sparsity")
def what_is_left(step, steps, final):
    return final - final * max(0, 1 - step / steps) ** 3


@right("cubic_sparsity")
def branches(step, steps, final):
    if step >= steps:
        return final
    return final * (1 - ((steps - step) / steps) ** 3)


@right("cubic_sparsity")
def as_in_the_paper(step, steps, final):
    initial = 0
    return final + (initial - final) * (1 - min(step, steps) / steps) ** 3


@right("cubic_sparsity")
def expanded(step, steps, final):
    t = min(step, steps) / steps
    return final * (3 * t - 3 * t**2 + t**3)


@right("cubic_sparsity")
def tensor(step, steps, final):
    t = torch.tensor(step / steps).clamp(max=1)
    return final * (1 - (1 - t).pow(3))


@right("cubic_sparsity")
def a_loop(step, steps, final):
    left = 1.0
    for _ in range(3):
        left *= 1 - min(step / steps, 1)
    return final * (1 - left)


@right("cubic_sparsity")
def horner(step, steps, final):
    t = np.clip(step / steps, 0, 1)
    return final * t * (3 + t * (t - 3))


@right("cubic_sparsity")
def the_courses(step, steps, final):
    return pruning.cubic_sparsity(step / steps, final)


RIGHT["cubic_sparsity"]["float64 tensor"] = lambda *given: tensor(*given).double()
RIGHT["cubic_sparsity"]["numpy scalar"] = as_numpy_scalar(clamped)
RIGHT["cubic_sparsity"]["half precision"] = lambda *given: tensor(*given).half()


# --- 5 · masked_step_ -----------------------------------------------------------------------------


@wrong("masked_step_", "the mask is forgotten")
def _(layer, mask, optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@wrong("masked_step_", "the mask comes before the optimiser's step")
def _(layer, mask, optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    with torch.no_grad():
        layer.weight *= mask
    optimizer.step()


@wrong("masked_step_", "only the gradient is masked")
def _(layer, mask, optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    layer.weight.grad[~mask] = 0
    optimizer.step()


@wrong("masked_step_", "gradients pile up")
def _(layer, mask, optimizer, loss):
    loss.backward()
    optimizer.step()
    layer.weight.data[~mask] = 0


@wrong("masked_step_", "nothing is learned")
def _(layer, mask, optimizer, loss):
    layer.weight.data[~mask] = 0


@wrong("masked_step_", "the mask is upside down")
def _(layer, mask, optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    layer.weight.data[mask] = 0


def step_(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@right("masked_step_")
def multiply(layer, mask, optimizer, loss):
    step_(optimizer, loss)
    with torch.no_grad():
        layer.weight *= mask


@right("masked_step_")
def the_data(layer, mask, optimizer, loss):
    step_(optimizer, loss)
    layer.weight.data = layer.weight.data * mask


@right("masked_step_")
def index(layer, mask, optimizer, loss):
    step_(optimizer, loss)
    layer.weight.data[~mask] = 0.0


@right("masked_step_")
def masked_fill(layer, mask, optimizer, loss):
    step_(optimizer, loss)
    with torch.no_grad():
        layer.weight.masked_fill_(mask.logical_not(), 0)


@right("masked_step_")
def copied(layer, mask, optimizer, loss):
    step_(optimizer, loss)
    with torch.no_grad():
        layer.weight.copy_(torch.where(mask, layer.weight, 0))


@right("masked_step_")
def with_masked_gradient(layer, mask, optimizer, loss):
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    layer.weight.grad *= mask
    optimizer.step()
    layer.weight.data.mul_(mask)


@right("masked_step_")
def momentum_too(layer, mask, optimizer, loss):
    step_(optimizer, loss)
    layer.weight.data *= mask
    optimizer.state[layer.weight]["momentum_buffer"] *= mask


@right("masked_step_")
def python_loops(layer, mask, optimizer, loss):
    step_(optimizer, loss)
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            if not mask[i, j]:
                layer.weight.data[i, j] = 0


@right("masked_step_")
def cleared_afterwards(layer, mask, optimizer, loss):
    layer.zero_grad()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    layer.load_state_dict({"weight": layer.weight * mask, "bias": layer.bias})


@right("masked_step_")
def einsum(layer, mask, optimizer, loss):
    step_(optimizer, loss)
    layer.weight.data = torch.einsum("ij,ij->ij", layer.weight.data.double(), mask.double()).float()


@right("masked_step_")
def returns_the_layer(layer, mask, optimizer, loss):
    multiply(layer, mask, optimizer, loss)
    return layer


# --- 6 · prune_to ---------------------------------------------------------------------------------


@wrong("prune_to", "still a share of what is left")
def _(weight, amount):
    left = weight[weight != 0].abs()
    return weight * (weight.abs() > left.quantile(amount))


@wrong("prune_to", "the amounts add up")
def _(weight, amount):
    total = min(1.0, amount + (weight == 0).float().mean().item())
    return weight * (weight.abs() > weight.abs().kthvalue(round(total * len(weight))).values)


@wrong("prune_to", "the second call does nothing")
def _(weight, amount):
    return weight if 0 in weight else kth(weight, amount)


@wrong("prune_to", "a mask for the weight")
def _(weight, amount):
    return weight.abs() > weight.abs().kthvalue(round(amount * len(weight))).values


@wrong("prune_to", "the sign is lost")
def _(weight, amount):
    sizes = weight.abs()
    return torch.where(sizes > sizes.kthvalue(round(amount * len(weight))).values, sizes, 0)


@wrong("prune_to", "the missing share, but of what is left")
def _(weight, amount):
    left = weight[weight != 0].abs()
    more = amount - (weight == 0).float().mean()
    return weight * (weight.abs() > left.quantile(more)) if more > 0 else weight


@right("prune_to")
def kth(weight, amount):
    return weight * (weight.abs() > weight.abs().kthvalue(round(amount * len(weight))).values)


@right("prune_to")
def copy_and_overwrite(weight, amount):
    weight = weight.clone()
    weight[weight.abs().argsort()[: round(amount * len(weight))]] = 0
    return weight


@right("prune_to")
def list_of_floats(weight, amount):
    values = weight.tolist()
    gone = sorted(values, key=abs)[: round(amount * len(values))]
    return torch.tensor([0.0 if v in gone else v for v in values])


@right("prune_to")
def the_missing_ones(weight, amount):
    more = round(amount * len(weight)) - int((weight == 0).sum())
    left = weight.nonzero().flatten()
    gone = left[weight[left].abs().argsort()[: max(more, 0)]]
    return weight.index_fill(0, gone, 0)


@right("prune_to")
def largest_kept(weight, amount):
    kept = weight.abs().topk(len(weight) - round(amount * len(weight))).indices
    return torch.zeros_like(weight).scatter(0, kept, weight[kept])


@right("prune_to")
def numpys_where(weight, amount):
    sizes = np.abs(weight.numpy())
    threshold = np.sort(sizes)[round(amount * sizes.size) - 1]
    return torch.from_numpy(np.where(sizes > threshold, weight.numpy(), 0))


RIGHT["prune_to"] |= other_clothes(kth)


# --- the tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("exercise", "mistake", "answer"), WRONG, ids=short)
def test_a_plausible_wrong_answer_is_named(exercise, mistake, answer):
    with pytest.raises(checks.WrongAnswerError) as caught:
        getattr(checks, exercise)(answer)
    assert caught.value.mistake == mistake


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        pytest.param(e, a, id=f"{e}-{name}")
        for e, found in RIGHT.items()
        for name, a in found.items()
    ],
)
def test_a_right_answer_passes_in_any_style(exercise, answer, capsys):
    getattr(checks, exercise)(answer)
    assert f"✓ {exercise}" in capsys.readouterr().out


@pytest.mark.parametrize("exercise", RIGHT)
def test_there_are_enough_of_both(exercise):
    named = {mistake for one, mistake, _ in WRONG if one == exercise}
    assert len(named) >= 5
    assert len(RIGHT[exercise]) >= 10


# --- 7 · the challenge ----------------------------------------------------------------------------


def network(sparsity: float, model: nn.Module | None = None) -> nn.Module:
    return pruning.prune(model or models.build(models.SmallCNN), sparsity)


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make every network this accurate: training one would take the tests too long."""
    return lambda accuracy: monkeypatch.setattr(lesson1, "_heldout", lambda model: accuracy)


@pytest.mark.parametrize(
    ("mistake", "answer", "accuracy"),
    [
        ("the result of `fit` for its network", lambda: Fitted(network(0.95), [], 1), 0.97),
        ("another network", lambda: network(0.95, models.build(models.LeNet300)), 0.97),
        ("the zeros woke up", lambda: models.build(models.SmallCNN), 0.97),
        ("more could go", lambda: network(0.8), 0.97),
        ("pruned, and never recovered", lambda: network(0.98), 0.3),
        ("a little too far", lambda: network(0.98), 0.949),
        ("neither sparse nor accurate", lambda: network(0.5), 0.1),
    ],
)
def test_the_challenge_says_what_is_missing(bar, mistake, answer, accuracy):
    bar(accuracy)
    with pytest.raises(checks.WrongAnswerError) as caught:
        checks.most_sparsity(answer())
    assert caught.value.mistake == mistake


@pytest.mark.parametrize(
    "answer",
    [
        lambda: network(0.9),
        lambda: network(0.99),
        lambda: network(0.95).train(),
        lambda: masking.make_permanent(network(0.95)),
        lambda: masking.to_torch_prune(network(0.95)),
        lambda: copy.deepcopy(network(0.95)),
        lambda: pruning.prune(network(0.5), 0.95),
        lambda: masking.apply_masks(
            fresh := models.build(models.SmallCNN), pruning.layer_masks(fresh, 0.95)
        ),
        lambda: network(0.92, models.build(models.SmallCNN, 7)),
        lambda: masking.make_permanent(network(0.95)).requires_grad_(False),
    ],
)
def test_the_challenge_takes_any_way_to_hold_zeros(bar, answer, capsys):
    bar(0.96)
    checks.most_sparsity(answer())
    assert "accuracy on the held-out pictures 0.96" in capsys.readouterr().out


def test_the_challenge_looks_at_the_test_part(monkeypatch):
    """The real look, on a few pictures: a fresh network guesses."""
    pictures = TensorDataset(torch.zeros(10, 1, 28, 28), torch.arange(10))
    monkeypatch.setattr(data, "mnist", lambda: {"test": pictures})
    with pytest.raises(checks.WrongAnswerError, match="held-out pictures") as caught:
        checks.most_sparsity(network(0.95))
    assert caught.value.mistake == "pruned, and never recovered"
