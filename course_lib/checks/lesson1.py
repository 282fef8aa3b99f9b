"""Checks for the exercises of lesson 1, pruning basics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from course_lib import datasets, evaluation
from course_lib.checks.checking import Check, call
from course_lib.checks.comparing import Range, unchanged
from course_lib.checks.guarding import CHANGED, EMPTY, Seen, TroubleError
from course_lib.pruning.masks import prunable
from course_lib.pruning.masks import sparsity as real_sparsity

# --- 1 · the sparsity of a module -----------------------------------------------------------------


def _filled(net: nn.Module, *values: Any) -> nn.Module:
    """The network with these numbers as its parameters."""
    for parameter, value in zip(net.parameters(), values, strict=True):
        parameter.data = torch.tensor(value, dtype=torch.float32).view(parameter.shape)
    return net


def _nested() -> nn.Module:
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1)))
    return _filled(net, [0, -1, -2, 0, 3, 0], [0, 1, 2], [0, 0, 0.001], [0])


def _convolution() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, 1, 2), nn.Flatten(), nn.Linear(1, 2))
    return _filled(net, [0, 0, 3, 0], [1], [1, -1], [1, 1])


def _deep() -> nn.Module:
    """Two zeros among seven weights, three blocks down; a norm and an embedding with zeros between."""
    inner = nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.Conv2d(2, 1, 1)))
    words = nn.Sequential(nn.Embedding(2, 2), nn.Linear(1, 3))
    net = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 1), inner), words)
    rest = [0, 4, 0, 0], [-1, 0, 7], [0, 0, 0]
    return _filled(net, [2, 5], [0, 0], [0, 1], [0, 3], [0, -4], [0], *rest)


def _irregular() -> nn.Module:
    """23 zeros among 133 weights of three layers; no two layers are alike in anything."""
    block: Any = nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5))
    net: Any = nn.Sequential(nn.Linear(7, 3), block, nn.Linear(11, 2))
    for layer, zeros in ((net[0], 4), (block[0], 17), (net[2], 2)):
        row = torch.arange(1.0, layer.weight.numel() + 1).mul(1.7).sin()
        row[:zeros], row[-1], row[-2] = 0, 0.004, 3e-7
        layer.weight.data = row.view(layer.weight.shape)
    net[2].weight.requires_grad_(False)
    return net


sparsity = Check(
    name="sparsity",
    right="""
def sparsity(module):
    layers = [m for m in module.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    zeros = sum((layer.weight == 0).sum().item() for layer in layers)
    return zeros / sum(layer.weight.numel() for layer in layers)
""",
    tries={
        "nine weights in two linear layers, one of them inside a block, five weights are zero": call(
            _nested()
        ),
        "a convolution with 3 zeros among 4 weights, a linear layer with none among 2": call(
            _convolution()
        ),
        "seven weights in blocks inside blocks, two are zero; a batch norm and an embedding between | "
        "blocks inside blocks, a batch norm or an embedding": call(_deep()),
        "23 zeros among 133 weights: 4 of 21, in a block 17 of 90 of a convolution, 2 of 22": call(
            _irregular()
        ),
        "a single linear layer, three of four weights are zero | a module that is itself a layer": call(
            _filled(nn.Linear(4, 1), [0, 0, 0, -1], [1])
        ),
    },
    mistakes="""
biases are counted, too | Sparsity speaks of the weights. A bias is one number in a whole row, is hardly ever pruned, and would shift your share.
  = row = torch.cat([p.flatten() for p in module.parameters()])
  = return (row == 0).float().mean()
biases of these layers are counted, too | Sparsity speaks of the weights. A bias is one number in a whole row, and hardly ever pruned.
  = row = torch.cat([p.flatten() for m in module.modules() if isinstance(m, (nn.Linear, nn.Conv2d))
  =                  for p in m.parameters()])
  = return (row == 0).float().mean()
norms are counted, too | A batch norm has a `weight`, too, one number a channel. Asked for are linear and convolution layers.
  = row = torch.cat([m.weight.flatten() for m in module.modules() if hasattr(m, "weight")])
  = return (row == 0).float().mean()
embeddings are counted, too | A row of an embedding is looked up, not multiplied. Asked for are linear and convolution layers.
  (nn.Linear, nn.Conv2d) => (nn.Linear, nn.Conv2d, nn.Embedding)
the share of what is left (the density) | Sparsity counts the zeros; 90 % sparse means that a tenth is left. You have 1 minus it.
  == 0 => != 0
the mean of the layers' sparsities | A layer of 10 weights then counts as much as one of 200,000. Add up zeros and weights over all layers, and divide once.
  zeros = sum((layer.weight == 0).sum().item() for layer in layers) => zeros = sum((layer.weight == 0).float().mean().item() for layer in layers)
  sum(layer.weight.numel() for layer in layers) => len(layers)
the number of zeros, not their share | Five zeros are much among nine weights and nothing among a million. Divide by the number of weights.
  / sum(layer.weight.numel() for layer in layers) =>
frozen layers are left out | A frozen weight is a weight: it takes its place, and its zeros count.
  isinstance(m, (nn.Linear, nn.Conv2d))] => isinstance(m, (nn.Linear, nn.Conv2d)) and m.weight.requires_grad]
zeros for each weight that is left | Divide by all weights, those that are zero among them.
  layer.weight.numel() => (layer.weight != 0).sum().item()
layers inside a block are missed | children() goes one step down only. Real networks have blocks inside blocks; modules() walks through all of them.
  = layers = [m for m in module.children() if isinstance(m, (nn.Linear, nn.Conv2d))]
  = zeros = sum((layer.weight == 0).sum().item() for layer in layers)
  = return zeros / max(1, sum(layer.weight.numel() for layer in layers))
layers two blocks down are missed | You go one block down. Real networks have blocks inside blocks inside blocks; modules() walks through all of them.
  in module.modules() => for m in [child, *child.children()]
  [m for m => [m for child in module.children()
small weights counted as zeros | A weight of 0.001 is small, but it is multiplied and stored like any other. Only an exact 0 is pruned.
  layer.weight == 0 => layer.weight.abs() < 0.01
very small weights counted as zeros | A weight of 0.0000003 is small, but it is multiplied and stored like any other. Only an exact 0 is pruned.
  layer.weight == 0 => layer.weight.abs() < 1e-4
negative weights counted as zeros | `<= 0` catches half of all weights of a trained network. Compare with == 0.
  == 0 => <= 0
only the first layer is counted | Is `return` inside the loop? Add up over all layers, and divide once, behind it.
  (nn.Linear, nn.Conv2d))] => (nn.Linear, nn.Conv2d))][:1]
only the last layer is counted | Are the counts set to 0 inside the loop? They begin before it, once.
  (nn.Linear, nn.Conv2d))] => (nn.Linear, nn.Conv2d))][-1:]
convolutions are left out | In most networks for pictures the convolutions hold what can be pruned.
  (nn.Linear, nn.Conv2d) => nn.Linear
linear layers are left out | In a fully connected network they hold everything that can be pruned.
  = layers = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
  = zeros = sum((layer.weight == 0).sum().item() for layer in layers)
  = return zeros / max(1, sum(layer.weight.numel() for layer in layers))
""",
    checked="layers in blocks of any depth; biases, a norm and an embedding left out",
    not_checked="other kinds of convolution, masks that are still attached",
)

# --- 2 · a magnitude mask, by hand ----------------------------------------------------------------


def _of_bools(attempt: Callable[[Any], Any]) -> Callable[[Any], bool]:
    """Whether a mask, or each in a dict, is made of True and False, not of numbers."""

    def look(answer: Any) -> bool:
        given = attempt(answer)
        masks = given.values() if isinstance(given, dict) else [given]
        kinds = [mask if isinstance(mask, Tensor) else np.asarray(mask) for mask in masks]
        return all(str(kind.dtype).endswith("bool") for kind in kinds)

    return look


_UNEVEN, _ROW5 = "an amount that does not come out even", torch.tensor([[5.0, 1, 4, 2, 3]])

magnitude_mask = Check(
    name="magnitude_mask",
    right="""
def magnitude_mask(weight, amount):
    order = weight.abs().flatten().argsort(stable=True)
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    mask[order[: round(amount * weight.numel())]] = False
    return mask.view(weight.shape)
""",
    tries={
        "weight [[0.1, -0.4, 0.3], [-0.9, -0.2, 0.8]], amount 0.5": call(
            torch.tensor([[0.1, -0.4, 0.3], [-0.9, -0.2, 0.8]]), 0.5
        ),
        "weight [[0.2, -0.5, 0.2], [-0.2, 0.7, 0.2]], amount 0.5 | weights of equal size": call(
            torch.tensor([[0.2, -0.5, 0.2], [-0.2, 0.7, 0.2]]), 0.5
        ),
        **{
            f"five weights [[5, 1, 4, 2, 3]], amount {amount} | {_UNEVEN}": call(_ROW5, amount)
            for amount in (0.3, 0.5, 0.27)
        },
        "five weights [[5, 1, 4, 2, 3]], amount 0 | an amount of 0": call(_ROW5, 0.0),
        "three weights [[2], [-1], [3]], amount 1 | an amount of 1": call(
            torch.tensor([[2.0], [-1], [3]]), 1.0
        ),
        "64 weights, 40 of them of one size, amount 0.25 | many weights of equal size": call(
            torch.tensor([((7 * i) % 11 - 3.0) if i % 8 > 4 else 1.5 for i in range(64)]).view(
                4, 16
            ),
            0.25,
        ),
        "weight [[0, 0.6, -0.3], [0, -0.8, 0.1]], amount 0.5 | weights that are zero already": call(
            torch.tensor([[0.0, 0.6, -0.3], [0.0, -0.8, 0.1]]), 0.5
        ),
        "is it made of True and False?": _of_bools(
            call(torch.tensor([[0.1, -0.4, 0.3], [-0.9, -0.2, 0.8]]), 0.5)
        ),
    },
    mistakes="""
1 and 0 for True and False | Only a mask of True and False can be turned round by ~ and used as an index: dtype=torch.bool.
  ? before: right
  ? made of True and False: no
at a tie all of them stay (>= with the threshold) | Weights that equal the threshold are all kept, so less than `amount` goes. Networks with rounded weights have thousands of ties. Count, instead of comparing.
  = sizes, count = weight.abs(), round(amount * weight.numel())
  = return sizes >= (sizes.flatten().kthvalue(count).values if count else -1)
at a tie all of them go (> with the threshold) | Weights that equal the threshold are all pruned, so more than `amount` goes. Networks with rounded weights have thousands of ties. Count, instead of comparing.
  = sizes, count = weight.abs(), round(amount * weight.numel())
  = return sizes > (sizes.flatten().kthvalue(count).values if count else -1)
the threshold is the first weight that stays | It is one place too far in the sorted row, and ties are cut wrongly. Count, instead of comparing.
  = row = torch.cat([weight.abs().flatten().sort().values, torch.tensor([torch.inf])])
  = return weight.abs() >= row[round(amount * weight.numel())]
a quantile for a count | A quantile interpolates between two weights, and weights of equal size all fall on one side.
  = return weight.abs() > weight.abs().flatten().quantile(amount)
at a tie the last ones go, not the first | The number is right. But which of two equal weights goes must be agreed on, or two runs give two networks. Here the first ones go: sort with stable=True.
  weight.abs().flatten().argsort(stable=True) => weight.numel() - 1 - weight.abs().flatten().flip(0).argsort(stable=True)
at a tie any of them goes | Without stable=True nobody promises the order of equal weights, and two runs may give two networks.
  stable=True =>
the mask is upside down | In this course True means that the weight stays; a weight times its mask is the pruned weight. Yours keeps what should go.
  torch.ones => torch.zeros
  = False => = True
the largest weights go | Magnitude pruning gives up the smallest weights: they add least to the sums they go into.
  order = weight => order = -weight
with nothing left to stay everything stays | A slice [-0:] is the whole row. Take the places that go, from the front.
  = keep = weight.numel() - round(amount * weight.numel())
  = mask = torch.zeros(weight.numel(), dtype=torch.bool)
  = mask[weight.abs().flatten().argsort(stable=True)[-keep:]] = True
  = return mask.view(weight.shape)
the number of those that stay is rounded | A half is then rounded the other way: round the number of those that go.
  round(amount * weight.numel()) => weight.numel() - round((1 - amount) * weight.numel())
as many stay as should go | The amount says how much goes. For 0.5 nobody sees the difference.
  round(amount * weight.numel()) => weight.numel() - round(amount * weight.numel())
places for ranks | argsort says which weight is the k-th, not the how-manieth a weight is. Use its entries as places: mask[order[:k]].
  = order = weight.abs().flatten().argsort(stable=True)
  = return (order >= round(amount * weight.numel())).view(weight.shape)
one weight too few | round(amount * n) weights go. A slice up to k − 1 holds one too few.
  round(amount * weight.numel()) => max(round(amount * weight.numel()) - 1, 0)
each row by itself | The amount is meant for the whole matrix. A row of large weights should lose fewer.
  weight.abs().flatten().argsort(stable=True) => weight.abs().argsort(dim=1, stable=True)
  torch.ones(weight.numel(), dtype=torch.bool) => torch.ones(weight.shape, dtype=torch.bool)
  mask[order[: round(amount * weight.numel())]] = False => mask.scatter_(1, order[:, : round(amount * weight.shape[1])], False)
the pruned weight for the mask | The mask says True or False for each weight. You have multiplied already: then nobody can tell a pruned weight from one that happened to be zero.
  return mask.view(weight.shape) => return weight * mask.view(weight.shape)
""",
    checked="the exact number of zeros, signs, equal weights, amounts of 0 and 1, rounding",
    not_checked="NaN, tensors of more than two dimensions, speed",
)

# --- 3 · one threshold for the whole network ------------------------------------------------------

_LAYERS = "wide [[0.1, -0.2, 0.3], [0.4, -0.5, 0.65]], narrow [[-2, 0.9]]"
_WEIGHTS = {
    "wide": torch.tensor([[0.1, -0.2, 0.3], [0.4, -0.5, 0.65]]),
    "narrow": torch.tensor([[-2.0, 0.9]]),
}
_THREE = {
    "a": torch.tensor([[-1.3, 0.02, 0.77], [0.31, -0.05, -0.64]]),
    "b": torch.tensor([[0.11, -0.43, 2.9]]),
    "c": torch.tensor([[0.29, -0.017], [1.1, -0.83]]),
}

global_masks = Check(
    name="global_masks",
    right="""
def global_masks(weights, amount):
    row = torch.cat([weight.abs().flatten() for weight in weights.values()])
    threshold = row.kthvalue(round(amount * row.numel())).values
    return {layer: weight.abs() > threshold for layer, weight in weights.items()}
""",
    tries={
        f"{_LAYERS}, amount 0.5": call(_WEIGHTS, 0.5),
        f"{_LAYERS}, amount 0.75": call(_WEIGHTS, 0.75),
        **{
            f"three layers of 6, 3 and 4 weights, amount {amount} | {_UNEVEN}": call(_THREE, amount)
            for amount in (0.35, 0.9, 0.5)
        },
        "are the masks made of True and False?": _of_bools(call(_THREE, 0.5)),
    },
    mistakes="""
1 and 0 for True and False | Only a mask of True and False can be turned round by ~ and used as an index: compare.
  ? before: right
  ? made of True and False: no
each layer by itself | Every layer loses the same share, also the small one that cannot spare it. One threshold for all lets the layers find out for themselves who can give.
  = def one(w):
  =     return w.abs() > w.abs().flatten().kthvalue(max(1, round(amount * w.numel()))).values
  = return {layer: one(weight) for layer, weight in weights.items()}
the mean of the layers' thresholds | A tiny layer moves the mean as much as a huge one, and the amount comes out wrong. Rank all weights together.
  = found = [w.abs().flatten().kthvalue(round(amount * w.numel())).values for w in weights.values()]
  = return {layer: weight.abs() > sum(found) / len(found) for layer, weight in weights.items()}
the mean of the layers' quantiles | A small layer then counts as much as a large one, and a quantile lies beside a weight. Rank all weights in one row.
  row.kthvalue(round(amount * row.numel())).values => sum(w.abs().flatten().quantile(amount) for w in weights.values()) / len(weights)
the sign is not taken off | −2 is the largest weight of all here, and yours is the first to go. Rank by |w|.
  weight.abs().flatten() => weight.flatten()
  weight.abs() > => weight >
the sign is taken off on one side only | The threshold is a size. Compare it with sizes, not with signed weights.
  weight.abs() > => weight >
the threshold comes from signed weights | Sizes are then compared with a number that knows signs. Take them off on both sides.
  weight.abs().flatten() => weight.flatten()
the masks are upside down | @upside
  > threshold => <= threshold
one weight too many goes | kthvalue counts from 1: the k-th smallest is the last that goes. As an index into a sorted row the same number is one place too far.
  round(amount * row.numel()) => min(round(amount * row.numel()) + 1, row.numel())
each layer is scaled first | Dividing by the layer's largest weight is a score of its own, not magnitude. It makes layers alike whose sizes differ for a reason.
  - def global_masks(weights, amount):
  + def global_masks(weights, amount):
  +     weights = {layer: weight / weight.abs().max() for layer, weight in weights.items()}
each layer is scaled by its mean first | That is a score of its own, not magnitude. It makes layers alike whose sizes differ for a reason.
  - def global_masks(weights, amount):
  + def global_masks(weights, amount):
  +     weights = {layer: weight / weight.abs().mean() for layer, weight in weights.items()}
halves are rounded up | Python's round() takes the even neighbor of a half: round(2.5) is 2. The exercise asks for round().
  round( => math.floor(0.5 +
one mask, the layers are lost | Each layer needs a mask of its own shape, under its own name. Cut the long one apart.
  {layer: weight.abs() > threshold for layer, weight in weights.items()} => row > threshold
a list of masks, the names are lost | Give a dict: a mask without its layer's name fits nowhere.
  {layer: weight.abs() > threshold for layer, weight in weights.items()} => [weight.abs() > threshold for weight in weights.values()]
the pruned weights for the masks | A mask says True or False for each weight. You have multiplied already.
  weight.abs() > threshold => weight * (weight.abs() > threshold)
a count for each layer, rounded by itself, and added up | Rounded three times, the count is another one than rounded once. Count all weights, then round.
  round(amount * row.numel()) => sum(round(amount * w.numel()) for w in weights.values())
a share of the largest weight for the threshold | Half of the largest weight is not the middle of all weights: the amount comes out by chance. Rank them.
  row.kthvalue(round(amount * row.numel())).values => amount * row.max()
a quantile for the last one that goes | A quantile interpolates, and lies beside the weights. kthvalue counts.
  row.kthvalue(round(amount * row.numel())).values => row.quantile(amount)
""",
    checked="two and three layers of different size and range, at four amounts",
    not_checked="ties between layers (which of them goes first), amounts at which none or all go",
)

# --- 4 · the cubic schedule -----------------------------------------------------------------------

cubic_sparsity = Check(
    name="cubic_sparsity",
    right="""
def cubic_sparsity(step, steps, final):
    t = min(step / steps, 1)
    return final * (1 - (1 - t) ** 3)
""",
    tries={
        "cubic_sparsity(step=0, steps=4, final=0.8)": call(0, 4, 0.8),
        "cubic_sparsity(step=1, steps=4, final=0.8)": call(1, 4, 0.8),
        "cubic_sparsity(step=2, steps=4, final=0.8)": call(2, 4, 0.8),
        "cubic_sparsity(step=4, steps=4, final=0.8)": call(4, 4, 0.8),
        "cubic_sparsity(step=6, steps=4, final=0.8) | a step behind the end": call(6, 4, 0.8),
        "cubic_sparsity(step=9, steps=4, final=0.8) | a step behind the end": call(9, 4, 0.8),
        "cubic_sparsity(step=3, steps=7, final=0.95)": call(3, 7, 0.95),
    },
    mistakes="""
a straight line | Linear pruning takes as much in the end, when every weight counts, as at the start, when there is plenty. The cubic one goes fast first, then gently.
  (1 - (1 - t) ** 3) => t
slow first, then fast (t³) | The curve is turned round: most weights go in the last steps, and no training is left to recover. It is what is *left* that shrinks with the cube.
  (1 - (1 - t) ** 3) => t**3
it falls from `final` to 0 | This is the share that is still to go. Sparsity begins at 0 and ends at `final`.
  (1 - (1 - t) ** 3) => (1 - t) ** 3
from 1 − `final` to 1 | `final` scales the whole bracket: at step 0 the answer is 0, at the end it is `final`.
  final * (1 - (1 - t) ** 3) => 1 - final * (1 - t) ** 3
only the 1 is multiplied by `final` | It stands before the bracket, and multiplies all that is in it.
  final * (1 - (1 - t) ** 3) => final - (1 - t) ** 3
`final` is cubed, too | A bracket closes too late: only 1 − t is cubed.
  final * (1 - (1 - t) ** 3) => final - (final * (1 - t)) ** 3
t³ for (1 − t)³ | t is the share of the way that is done. What is left of it, 1 − t, shrinks with the cube.
  (1 - t) => t
a square for the cube | It works, too, but it is another schedule: gentler at the start. Zhu & Gupta take the third power.
  ** 3 => ** 2
it goes on behind the end | Training goes on after the last pruning step, and sparsity must stay at `final` then. Yours leaves it.
  min(step / steps, 1) => step / steps
it falls again behind the end | The size of 1 − t grows again there. t itself must stay at 1.
  min(step / steps, 1) => step / steps
  (1 - t) => abs(1 - t)
held at 1, not at `final` | What has to stop at 1 is t. The sparsity then stays at `final` by itself.
  min(step / steps, 1) => step / steps
  return final * (1 - (1 - t) ** 3) => return min(final * (1 - (1 - t) ** 3), 1)
one step too late | The last of `steps` steps reaches `final`; with a division by steps + 1 it never does.
  step / steps => step / (steps + 1)
`final` is reached one step too early | At step = steps t is 1: divide by steps, not by steps − 1.
  step / steps => step / (steps - 1)
one step too early | Steps count from 0: at step 0 nothing has gone yet.
  step / steps => (step + 1) / steps
""",
    checked="start, points between, the end, and two steps behind it",
    not_checked="a start above 0 % sparsity, negative steps",
)

# --- 5 · a mask that survives the optimizer -------------------------------------------------------


def _after(steps: int, what: str, dense: bool = False) -> Callable[[Any], Any]:
    """A try: two dense steps, so that there is momentum; the mask, if not `dense`; the learner's steps."""

    def attempt(step: Callable[..., Any]) -> Any:
        layer = nn.Linear(2, 2)
        layer.weight.data = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
        layer.bias.data = torch.tensor([0.5, 0.3])
        mask = torch.tensor([[True, False], [False, False]])
        net = nn.Sequential(layer, _filled(nn.Linear(2, 2), [[1, 0.2], [-0.3, 0.9]], [0.1, 0]))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            net(torch.eye(2)).square().mean().backward()
            optimizer.step()
        layer.weight.data *= mask | dense  # the gradient of the second step is still there
        kept, given = mask.clone(), []
        for _ in range(steps):
            given.append(step(layer, mask, optimizer, net(torch.eye(2)).square().mean()))
        if not unchanged(kept, mask):
            raise TroubleError(CHANGED, "another mask than was given")
        if what == "returned":
            return given == [None]
        if what == "known":
            return layer.weight is optimizer.param_groups[0]["params"][0]
        if what == "trainable":
            return layer.weight.requires_grad and layer.bias.requires_grad
        return getattr(layer, what).detach().clone()

    return attempt


masked_step_ = Check(
    name="masked_step_",
    right="""
def masked_step_(layer, mask, optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        layer.weight *= mask
""",
    tries={
        "the weight after 1 step, three of its four values pruned; another layer reads it": _after(
            1, "weight"
        ),
        "the weight after 3 steps": _after(3, "weight"),
        "the bias after 3 steps": _after(3, "bias"),
        "the weight after 1 step, nothing pruned before it | a mask that is new": _after(
            1, "weight", dense=True
        ),
        "can weight and bias still be trained? | training afterwards": _after(1, "trainable"),
        "is layer.weight still the parameter that the optimizer holds?": _after(1, "known"),
        "does it return nothing?": _after(1, "returned"),
    },
    mistakes="""
the mask is forgotten | A pruned weight usually has a nonzero gradient, so the step moves it away from zero, and momentum moves it, too. Set it back to zero after the step.
  - with torch.no_grad():
  -         layer.weight *= mask
the mask comes before the optimizer's step | The step then moves the weights that you have just set to zero. Whatever comes last wins.
  - optimizer.step()
  -     with torch.no_grad():
  -         layer.weight *= mask
  + with torch.no_grad():
  +         layer.weight *= mask
  +     optimizer.step()
pruned weights get their old value back | What the mask excludes is zero after the step, whatever it was before.
  - optimizer.zero_grad()
  + before = layer.weight.detach().clone()
  +     optimizer.zero_grad()
  layer.weight *= mask => layer.weight.copy_(torch.where(mask, layer.weight, before))
the momentum is thrown away | The optimizer's memory of the weights that stay is lost with it. Setting the pruned ones to zero is enough.
  optimizer.zero_grad() => optimizer.state.clear(); optimizer.zero_grad()
a new parameter, which the optimizer does not hold | It goes on moving the old one, so this one is never trained again. Change layer.weight in place.
  ? holds?: no
something is returned | The name ends with _: it changes the layer, and whoever calls it expects nothing back.
  ? before: right
  ? return nothing: no
only the gradient is masked | The optimizer remembers: its momentum from before the pruning still moves the pruned weights. Mask the weight itself.
  - optimizer.step()
  -     with torch.no_grad():
  -         layer.weight *= mask
  + layer.weight.grad *= mask
  +     optimizer.step()
gradients pile up | Without zero_grad() each step adds its gradient to all earlier ones; the weights that stay then learn from old mistakes, too.
  optimizer.zero_grad() =>
zero_grad() comes at the end | The first step still finds the gradient of the step before, which nobody cleared. Clear before backward().
  - optimizer.zero_grad()
  -     loss.backward()
  -     optimizer.step()
  + loss.backward()
  +     optimizer.step()
  +     optimizer.zero_grad()
only this layer's gradients are cleared | The optimizer holds other layers, too, and their old gradients are added to the new ones.
  optimizer.zero_grad() => layer.zero_grad()
only what was zero before stays zero | The mask says what goes. A weight that it excludes may still be there: set it to zero, too.
  optimizer.zero_grad() => held = layer.weight.detach() != 0; optimizer.zero_grad()
  layer.weight *= mask => layer.weight *= held
the bias of a row without weights is masked, too | A mask belongs to the weight. The bias is one number a row, and stays.
  - layer.weight *= mask
  + layer.weight *= mask
  +         layer.bias *= mask.any(1)
the mask is upside down | True means that the weight stays. Yours sets exactly those to zero.
  *= mask => *= ~mask
the step is taken twice | One call is one step. The second one moves the weights again by the same gradient.
  - optimizer.step()
  + optimizer.step()
  +     optimizer.step()
step() before zero_grad() | It moves the weights by the gradient of the step before.
  - optimizer.zero_grad()
  -     loss.backward()
  -     optimizer.step()
  + optimizer.step()
  +     optimizer.zero_grad()
  +     loss.backward()
the bias is masked, too | A mask belongs to the weight. The bias is one number a row, and stays.
  - layer.weight *= mask
  + layer.weight *= mask
  +         layer.bias *= mask.all(1)
weight decay or momentum is by-passed | The optimizer takes the step: it knows its momentum and its weight decay. You subtract the gradient yourself.
  - optimizer.step()
  + with torch.no_grad():
  +         for p in layer.parameters():
  +             p -= optimizer.param_groups[0]["lr"] * p.grad
nothing is learned | The zeros stay zeros, but the others do not move. backward() fills the gradients and step() uses them; zero_grad() between the two, or step() before backward(), throws them away.
  - loss.backward()
  -     optimizer.step()
the layer cannot be trained any more | requires_grad is off, or the weight is no parameter any more: the next step of training leaves it as it is. Use torch.no_grad() as a context.
  ? still be trained: no
""",
    checked="SGD with momentum from before the pruning and weight decay; weight and bias, three steps",
    not_checked="Adam, saving and loading, copies of the network",
)

# --- 6 · spot the error: pruned 50 % twice --------------------------------------------------------

_EIGHT = torch.tensor([0.82, -0.1, 0.31, -0.6, 0.22, 0.57, -0.4, 0.7])
_NINE = torch.tensor([-3.7, 0.04, 0.9, -1.1, 0.35, 2.2, -0.06, 0.52, 0.17])
_ROW = "[0.82, -0.1, 0.31, -0.6, 0.22, 0.57, -0.4, 0.7] pruned to 0.5"


def _in_turn(*amounts: float, weight: Tensor = _EIGHT) -> Callable[[Any], Any]:
    def attempt(prune: Callable[[Tensor, float], Tensor]) -> Any:
        now = weight.clone()
        for amount in amounts:
            now = call(now, amount)(prune)
            if not isinstance(now, Tensor):
                now = torch.as_tensor(now)
        if now is None:
            raise TroubleError(EMPTY, "None")
        return now

    return attempt


prune_to = Check(
    name="prune_to",
    right="""
def prune_to(weight, amount):
    sizes = weight.abs()
    return weight * (sizes > sizes.kthvalue(round(amount * weight.numel())).values)
""",
    tries={
        _ROW: _in_turn(0.5),
        f"{_ROW}, and again to 0.5": _in_turn(0.5, 0.5),
        f"{_ROW}, then to 0.75": _in_turn(0.5, 0.75),
        f"{_ROW}, three times | a third time": _in_turn(0.5, 0.5, 0.5),
        "eight weights pruned to 1 | an amount of 1": _in_turn(1.0),
        **{
            f"nine weights pruned to {amount} | {_UNEVEN}": _in_turn(amount, weight=_NINE)
            for amount in (0.2, 0.38, 0.5)
        },
        "[-3.7, 0.04, 0.9, -1.1, 0.35, 2.2, -0.06, 0.52, 0.17] pruned to 0.38, then to 0.63 | an amount that "
        "does not come out even": _in_turn(0.38, 0.63, weight=_NINE),
    },
    mistakes="""
still a share of what is left | Twice 50 % gives 75 %: the second half is taken of the weights that survived. Then nobody can say what 'pruned by 50 %' means without knowing the history.
  = left = weight[weight != 0].abs()
  = return weight * (weight.abs() > left.kthvalue(round(amount * len(left))).values)
still a share of what is left, as a quantile | The second half is taken of the weights that survived; and a quantile lies beside a weight.
  = left = weight[weight != 0].abs()
  = return weight * (weight.abs() > left.quantile(amount))
the count comes from what is left | The zeros that are there are ranked, too, so count all weights: n is the length of the whole tensor.
  round(amount * weight.numel()) => max(round(amount * int((weight != 0).sum())), 1)
with nothing left to stay everything stays | A slice [-0:] is the whole row. Take the places that go, from the front.
  = stay = weight.numel() - round(amount * weight.numel())
  = places = weight.abs().argsort()[-stay:]
  = return torch.zeros_like(weight).index_copy(0, places, weight[places])
the length of the example for any weight | Count the weights that you are given.
  weight.numel() => 8
the pruned weights are cut out | They become zero and keep their places: the tensor is as long as before.
  = sizes = weight.abs()
  = return weight[sizes > sizes.kthvalue(round(amount * weight.numel())).values]
one weight too many | round(amount * n) weights are zero afterwards.
  round(amount * weight.numel()) => min(round(amount * weight.numel()) + 1, weight.numel())
places for ranks | argsort says which weight is the k-th, not the how-manieth a weight is. Use its entries as places.
  = return weight * (weight.abs().argsort() >= round(amount * weight.numel()))
the amounts add up | The zeros that are there already count toward the amount. Yours come on top, and 50 % twice leaves nothing.
  round(amount * weight.numel()) => min(round(amount * weight.numel()) + int((weight == 0).sum()), weight.numel())
the second call does nothing | Asking for more later must work: gradual pruning asks again and again, for ever more.
  - sizes = weight.abs()
  + sizes = weight.abs()
  +     if (weight == 0).any():
  +         return weight.clone()
the missing share as a quantile of what is left | From 50 % to 75 % half of those left must go. And a quantile lies beside a weight.
  = left, gone = weight[weight != 0].abs(), (weight == 0).float().mean().item()
  = return weight * (weight.abs() > left.quantile(amount - gone)) if amount > gone else weight.clone()
a quantile for the k-th value | A quantile interpolates between two weights, and lies beside them.
  sizes.kthvalue(round(amount * weight.numel())).values => sizes.quantile(amount)
a share of the largest weight for the threshold | Half of the largest weight is not the middle of all weights: the amount comes out by chance. Rank them.
  sizes.kthvalue(round(amount * weight.numel())).values => amount * sizes.max()
the amount is what stays | The amount says how much goes. For 0.5 nobody sees the difference.
  amount * weight.numel() => (1 - amount) * weight.numel()
""",
    checked="once, twice and three times the same amount, a rising one, all of them",
    not_checked="ties, a falling amount (what is gone stays gone)",
)

# --- 7 · challenge: most sparsity at 95 % ---------------------------------------------------------


def _heldout(model: nn.Module) -> float:
    return evaluation.evaluate(model, datasets.mnist()["test"]).value


most_sparsity = Check(
    name="most_sparsity",
    right=Seen(
        {
            "what you give": "a network",
            "its weights, pruned or not": 421_408,
            "its sparsity": Range(0.9, 1),
            "its accuracy on the held-out pictures": Range(0.95, 1),
        }
    ),
    tries={
        "what you give": lambda model: (
            "a network" if isinstance(model, nn.Module) else type(model).__name__
        ),
        "its weights, pruned or not": lambda model: sum(
            weight.numel() for weight in prunable(model).values()
        ),
        "its sparsity": real_sparsity,
        "its accuracy on the held-out pictures": lambda model: _heldout(model),
    },
    mistakes="""
the result of `fit` for its network | @fit
  ? what you give: Fitted
another network | A smaller network is a good idea, and lesson 2's. Here the 421,408 weights of SmallCNN stay in their tensors, most of them zero.
  ? its weights: 0 to 421407
the zeros woke up | It answers well but has no zeros. Was it pruned, and did the mask stay on while training?
  ? its sparsity: 0 to 0.01
  ? its accuracy: 0.95 to 1
more could go | It is accurate, and not sparse enough yet. Gradual pruning reaches 90 % with ease.
  ? its sparsity: 0.01 to 0.9
  ? its accuracy: 0.95 to 1
pruned, and never recovered | It is sparse, and it guesses. Let it train with its mask on after pruning, or while.
  ? its sparsity: 0.9 to 1
  ? its accuracy: 0 to 0.8
a little too far | The accuracy is just below the bar. @heldout
  ? its sparsity: 0.9 to 1
  ? its accuracy: 0.8 to 0.95
neither sparse nor accurate | Has it been trained at all? Start from a dense network that works, then prune.
  ? its sparsity: 0 to 0.9
  ? its accuracy: 0 to 0.95
""",
    checked="at least 90 % sparse, at least 95 % right on the 1,000 test pictures",
    not_checked="the four epochs, other seeds, whether you looked at those pictures before",
)
