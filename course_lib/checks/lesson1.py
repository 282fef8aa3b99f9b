"""Checks for the exercises of lesson 1, pruning basics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import data, training
from course_lib.checks.checking import (
    CHANGED,
    Check,
    Mistake,
    Range,
    Seen,
    TroubleError,
    call,
)
from course_lib.masking import prunable
from course_lib.masking import sparsity as real_sparsity

# --- 1 · the sparsity of a module -----------------------------------------------------------------


def _nested() -> nn.Module:
    """Nine weights, five of them zero; four biases, two of them zero."""
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1)))
    values = [[[0, -1], [-2, 0], [3, 0]], [0, 1, 2], [[0, 0, 0.001]], [0]]
    for parameter, value in zip(net.parameters(), values, strict=True):
        parameter.data = torch.tensor(value, dtype=torch.float32)
    return net


def _convolution() -> nn.Module:
    """A convolution with three of four weights zero, a linear layer with none of two."""
    net = nn.Sequential(nn.Conv2d(1, 1, 2), nn.Flatten(), nn.Linear(1, 2))
    values = [[[[[0, 0], [3, 0]]]], [1], [[1], [-1]], [1, 1]]
    for parameter, value in zip(net.parameters(), values, strict=True):
        parameter.data = torch.tensor(value, dtype=torch.float32).view(parameter.shape)
    return net


def _weights(module: nn.Module, kinds: Any = (nn.Linear, nn.Conv2d)) -> list[Tensor]:
    return [m.weight.data for m in module.modules() if isinstance(m, kinds)]


def _zeros(tensors: list[Tensor]) -> float:
    return sum(int((t == 0).sum()) for t in tensors) / sum(t.numel() for t in tensors)


sparsity = Check(
    name="sparsity",
    right=real_sparsity,
    tries={
        "nine weights in two linear layers, one of them inside a block, five weights are zero": call(
            _nested()
        ),
        "a convolution with 3 zeros among 4 weights, a linear layer with none among 2": call(
            _convolution()
        ),
    },
    mistakes=(
        Mistake(
            "biases are counted, too",
            "Sparsity speaks of the weights. A bias is one number in a whole row, is hardly ever "
            "pruned, and would shift your share.",
            lambda module: _zeros(list(module.parameters())),
        ),
        Mistake(
            "the share of what is left (the density)",
            "Sparsity counts the zeros; 90 % sparse means that a tenth is left. You have 1 minus it.",
            lambda module: 1 - real_sparsity(module),
        ),
        Mistake(
            "the mean of the layers' sparsities",
            "A layer of 10 weights then counts as much as one of 200,000. Add up zeros and weights "
            "over all layers, and divide once.",
            lambda module: sum(_zeros([w]) for w in _weights(module)) / len(_weights(module)),
        ),
        Mistake(
            "percent for a fraction",
            "In this course an amount and a sparsity lie between 0 and 1, so that they can be "
            "compared and multiplied.",
            lambda module: 100 * real_sparsity(module),
        ),
        Mistake(
            "the number of zeros, not their share",
            "Five zeros are much among nine weights and nothing among a million. Divide by the "
            "number of weights.",
            lambda module: sum(int((w == 0).sum()) for w in _weights(module)),
        ),
        Mistake(
            "layers inside a block are missed",
            "children() goes one step down only. Real networks have blocks inside blocks; modules() "
            "walks through all of them.",
            lambda module: _zeros(
                [m.weight for m in module.children() if isinstance(m, nn.Linear | nn.Conv2d)]
            ),
        ),
        Mistake(
            "small weights counted as zeros",
            "A weight of 0.001 is small, but it is multiplied and stored like any other. Only an "
            "exact 0 is pruned.",
            lambda module: _zeros([w * (w.abs() > 0.01) for w in _weights(module)]),
        ),
        Mistake(
            "negative weights counted as zeros",
            "`<= 0` catches half of all weights of a trained network. Compare with == 0.",
            lambda module: _zeros([w.clamp(min=0) for w in _weights(module)]),
        ),
        Mistake(
            "convolutions are left out",
            "In most networks for pictures the convolutions hold what can be pruned.",
            lambda module: _zeros(_weights(module, nn.Linear)),
        ),
    ),
    checked="linear layers and a convolution, one inside a block; biases left out",
    not_checked="embeddings and norms, masks that are still attached",
)


# --- 2 · a magnitude mask, by hand ----------------------------------------------------------------


def _lowest(score: Tensor, count: int) -> Tensor:
    """A mask: False at the `count` lowest scores, of equal ones at the first."""
    mask = torch.ones(score.numel(), dtype=torch.bool)
    mask[score.flatten().argsort(stable=True)[:count]] = False
    return mask.view(score.shape)


def _magnitude_mask(weight: Tensor, amount: float) -> Tensor:
    return _lowest(weight.abs(), round(amount * weight.numel()))


def _last_ties(weight: Tensor, amount: float) -> Tensor:
    score = weight.abs().flatten().flip(0)
    return _lowest(score, round(amount * weight.numel())).flip(0).view(weight.shape)


def _threshold(weight: Tensor, amount: float) -> Tensor:
    """The largest |w| that goes; below all of them if none does."""
    count = round(amount * weight.numel())
    return weight.abs().flatten().kthvalue(count).values if count else torch.tensor(-1.0)


def _each_row(weight: Tensor, amount: float) -> Tensor:
    return torch.stack([_magnitude_mask(row, amount) for row in weight])


_TIES = torch.tensor([[0.2, -0.5, 0.2], [-0.2, 0.7, 0.2]])  # four weights of one size

magnitude_mask = Check(
    name="magnitude_mask",
    right=_magnitude_mask,
    tries={
        "weight [[0.1, -0.4, 0.3], [-0.9, -0.2, 0.8]], amount 0.5": call(
            torch.tensor([[0.1, -0.4, 0.3], [-0.9, -0.2, 0.8]]), 0.5
        ),
        "weight [[0.2, -0.5, 0.2], [-0.2, 0.7, 0.2]], amount 0.5": call(_TIES, 0.5),
        "five weights [[5, 1, 4, 2, 3]], amount 0.3": call(torch.tensor([[5.0, 1, 4, 2, 3]]), 0.3),
        "five weights [[5, 1, 4, 2, 3]], amount 0": call(torch.tensor([[5.0, 1, 4, 2, 3]]), 0.0),
    },
    mistakes=(
        Mistake(
            "at a tie all of them stay (>= with the threshold)",
            "Weights that equal the threshold are all kept, so less than `amount` goes. Networks "
            "with rounded weights have thousands of ties. Count, instead of comparing.",
            lambda w, amount: w.abs() >= _threshold(w, amount),
        ),
        Mistake(
            "at a tie all of them go (> with the threshold)",
            "Weights that equal the threshold are all pruned, so more than `amount` goes. Networks "
            "with rounded weights have thousands of ties. Count, instead of comparing.",
            lambda w, amount: w.abs() > _threshold(w, amount),
        ),
        Mistake(
            "at a tie the last ones go, not the first",
            "The number is right. But which of two equal weights goes must be agreed on, or two runs "
            "give two networks. Here the first ones go: sort with stable=True.",
            _last_ties,
        ),
        Mistake(
            "the sign is not taken off",
            "-0.9 is a large weight, though a small number. Rank by the distance from zero.",
            lambda w, amount: _lowest(w, round(amount * w.numel())),
        ),
        Mistake(
            "the mask is upside down",
            "In this course True means that the weight stays; a weight times its mask is the pruned "
            "weight. Yours keeps what should go.",
            lambda w, amount: ~_magnitude_mask(w, amount),
        ),
        Mistake(
            "the largest weights go",
            "Magnitude pruning gives up the smallest weights: they add least to the sums they go into.",
            lambda w, amount: _lowest(-w.abs(), round(amount * w.numel())),
        ),
        Mistake(
            "rounded down",
            "int() cuts 1.5 down to 1, so that you prune too little, most of all in small layers. "
            "Take the nearest number: round().",
            lambda w, amount: _lowest(w.abs(), int(amount * w.numel())),
        ),
        Mistake(
            "each row by itself",
            "The amount is meant for the whole matrix. A row of large weights should lose fewer.",
            _each_row,
        ),
        Mistake(
            "the pruned weight for the mask",
            "The mask says True or False for each weight. You have multiplied already: then nobody "
            "can tell a pruned weight from one that happened to be zero.",
            lambda w, amount: w * _magnitude_mask(w, amount),
        ),
    ),
    checked="the exact number of zeros, signs, four equal weights, an amount of 0, rounding",
    not_checked="NaN, tensors of more than two dimensions, speed",
)

# --- 3 · one threshold for the whole network ------------------------------------------------------


def _global(weights: dict[str, Tensor], amount: float, scale: bool = False) -> dict[str, Tensor]:
    scores = {k: w.abs() / (w.abs().max() if scale else 1) for k, w in weights.items()}
    together = torch.cat([score.flatten() for score in scores.values()])
    mask = _lowest(together, round(amount * together.numel()))
    parts = mask.split([w.numel() for w in weights.values()])
    return {k: part.view(weights[k].shape) for k, part in zip(weights, parts, strict=True)}


def _mean_threshold(weights: dict[str, Tensor], amount: float) -> dict[str, Tensor]:
    threshold = sum(_threshold(w, amount) for w in weights.values()) / len(weights)
    return {k: w.abs() > threshold for k, w in weights.items()}


_LAYERS = "wide [[0.1, -0.2, 0.3], [0.4, -0.5, 0.6]], narrow [[-2, 0.9]]"
_WEIGHTS = {
    "wide": torch.tensor([[0.1, -0.2, 0.3], [0.4, -0.5, 0.6]]),
    "narrow": torch.tensor([[-2.0, 0.9]]),
}

global_masks = Check(
    name="global_masks",
    right=_global,
    tries={
        f"{_LAYERS}, amount 0.5": call(_WEIGHTS, 0.5),
        f"{_LAYERS}, amount 0.75": call(_WEIGHTS, 0.75),
    },
    mistakes=(
        Mistake(
            "each layer by itself",
            "Every layer loses the same share, also the small one that cannot spare it. One threshold "
            "for all lets the layers find out for themselves who can give.",
            lambda ws, amount: {k: _magnitude_mask(w, amount) for k, w in ws.items()},
        ),
        Mistake(
            "the mean of the layers' thresholds",
            "A tiny layer moves the mean as much as a huge one, and the amount comes out wrong. Rank "
            "all weights together.",
            _mean_threshold,
        ),
        Mistake(
            "the sign is not taken off",
            "-2 is the largest weight of all here, and yours is the first to go. Rank by |w|.",
            lambda ws, amount: {
                k: w
                > torch.cat([v.flatten() for v in ws.values()])
                .sort()
                .values[round(amount * sum(v.numel() for v in ws.values())) - 1]
                for k, w in ws.items()
            },
        ),
        Mistake(
            "the masks are upside down",
            "In this course True means that the weight stays. Yours keep what should go.",
            lambda ws, amount: {k: ~mask for k, mask in _global(ws, amount).items()},
        ),
        Mistake(
            "each layer is scaled first",
            "Dividing by the layer's largest weight is a score of its own, not magnitude. It makes "
            "layers alike whose sizes differ for a reason.",
            lambda ws, amount: _global(ws, amount, scale=True),
        ),
        Mistake(
            "one mask, the layers are lost",
            "Each layer needs a mask of its own shape, under its own name. Cut the long one apart.",
            lambda ws, amount: torch.cat([m.flatten() for m in _global(ws, amount).values()]),
        ),
        Mistake(
            "the largest layer alone",
            "The other layers stay dense, and the amount refers to all weights of the network.",
            lambda ws, amount: {
                k: _magnitude_mask(w, amount) if k == "wide" else torch.ones_like(w).bool()
                for k, w in ws.items()
            },
        ),
        Mistake(
            "the pruned weights for the masks",
            "A mask says True or False for each weight. You have multiplied already.",
            lambda ws, amount: {k: ws[k] * mask for k, mask in _global(ws, amount).items()},
        ),
    ),
    checked="two layers of different size and range, at two amounts",
    not_checked="ties between layers (which of them goes first), an amount of 0 or 1",
)

# --- 4 · the cubic schedule -----------------------------------------------------------------------


def _progress(step: int, steps: int) -> float:
    return min(step / steps, 1.0)


cubic_sparsity = Check(
    name="cubic_sparsity",
    right=lambda step, steps, final: final * (1 - (1 - _progress(step, steps)) ** 3),
    tries={
        "cubic_sparsity(step=0, steps=4, final=0.8)": call(0, 4, 0.8),
        "cubic_sparsity(step=1, steps=4, final=0.8)": call(1, 4, 0.8),
        "cubic_sparsity(step=2, steps=4, final=0.8)": call(2, 4, 0.8),
        "cubic_sparsity(step=4, steps=4, final=0.8)": call(4, 4, 0.8),
        "cubic_sparsity(step=6, steps=4, final=0.8)": call(6, 4, 0.8),
    },
    mistakes=(
        Mistake(
            "a straight line",
            "Linear pruning takes as much in the end, when every weight counts, as at the start, when "
            "there is plenty. The cubic one goes fast first, then gently.",
            lambda step, steps, final: final * _progress(step, steps),
        ),
        Mistake(
            "slow first, then fast (t³)",
            "The curve is turned round: most weights go in the last steps, and no training is left "
            "to recover. It is what is *left* that shrinks with the cube.",
            lambda step, steps, final: final * _progress(step, steps) ** 3,
        ),
        Mistake(
            "it falls from `final` to 0",
            "This is the share that is still to go. Sparsity begins at 0 and ends at `final`.",
            lambda step, steps, final: final * (1 - _progress(step, steps)) ** 3,
        ),
        Mistake(
            "`final` is left out",
            "The schedule then ends at 1: a network without a single weight.",
            lambda step, steps, final: 1 - (1 - _progress(step, steps)) ** 3,
        ),
        Mistake(
            "a square for the cube",
            "It works, too, but it is another schedule: gentler at the start. Zhu & Gupta take the "
            "third power.",
            lambda step, steps, final: final * (1 - (1 - _progress(step, steps)) ** 2),
        ),
        Mistake(
            "it goes on behind the end",
            "Training goes on after the last pruning step, and sparsity must stay at `final` then. "
            "Yours leaves it.",
            lambda step, steps, final: final * (1 - (1 - step / steps) ** 3),
        ),
        Mistake(
            "one step too late",
            "The last of `steps` steps reaches `final`; with a division by steps + 1 it never does.",
            lambda step, steps, final: final * (1 - (1 - _progress(step, steps + 1)) ** 3),
        ),
    ),
    checked="start, two points between, the end, and two steps behind it",
    not_checked="a start above 0 % sparsity, negative steps",
)

# --- 5 · a mask that survives the optimiser -------------------------------------------------------


def _after(steps: int, what: str) -> Callable[[Any], Any]:
    """A try: two dense steps, so that there is momentum; then the mask; then the learner's steps."""

    def attempt(step: Callable[..., Any]) -> Any:
        layer = nn.Linear(2, 2)
        layer.weight.data = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
        layer.bias.data = torch.tensor([0.5, 0.0])
        mask = torch.tensor([[True, False], [False, True]])
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            layer(torch.eye(2)).square().mean().backward()
            optimizer.step()
        layer.weight.data *= mask
        kept = mask.clone()
        for _ in range(steps):
            step(layer, mask, optimizer, layer(torch.eye(2)).square().mean())
        if not torch.equal(kept, mask):
            raise TroubleError(CHANGED, "another mask than was given")
        return getattr(layer, what).detach().clone()

    return attempt


def _step_(layer: nn.Linear, mask: Tensor, optimizer: Any, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    layer.weight.data *= mask


def _plain_(layer: nn.Linear, mask: Tensor, optimizer: Any, loss: Tensor) -> None:
    _step_(layer, torch.ones_like(mask), optimizer, loss)


def _before_(layer: nn.Linear, mask: Tensor, optimizer: Any, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    layer.weight.data *= mask
    optimizer.step()


def _gradient_only_(layer: nn.Linear, mask: Tensor, optimizer: Any, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    layer.weight.grad *= mask  # type: ignore[operator]
    optimizer.step()


def _piling_up_(layer: nn.Linear, mask: Tensor, optimizer: Any, loss: Tensor) -> None:
    loss.backward()
    optimizer.step()
    layer.weight.data *= mask


def _upside_down_(layer: nn.Linear, mask: Tensor, optimizer: Any, loss: Tensor) -> None:
    _step_(layer, ~mask, optimizer, loss)


def _no_training_(layer: nn.Linear, mask: Tensor, optimizer: Any, loss: Tensor) -> None:
    layer.weight.data *= mask


masked_step_ = Check(
    name="masked_step_",
    right=_step_,
    tries={
        "the weight after 1 step, two of its four values pruned": _after(1, "weight"),
        "the weight after 3 steps": _after(3, "weight"),
        "the bias after 3 steps": _after(3, "bias"),
    },
    mistakes=(
        Mistake(
            "the mask is forgotten",
            "Momentum and weight decay move every weight, also one without a gradient. The zeros wake "
            "up with the first step.",
            _plain_,
        ),
        Mistake(
            "the mask comes before the optimiser's step",
            "The step then moves the weights that you have just set to zero. Whatever comes last wins.",
            _before_,
        ),
        Mistake(
            "only the gradient is masked",
            "The optimiser remembers: its momentum from before the pruning still moves the pruned "
            "weights. Mask the weight itself.",
            _gradient_only_,
        ),
        Mistake(
            "gradients pile up",
            "Without zero_grad() each step adds its gradient to all earlier ones; the weights that "
            "stay then learn from old mistakes, too.",
            _piling_up_,
        ),
        Mistake(
            "the mask is upside down",
            "True means that the weight stays. Yours sets exactly those to zero.",
            _upside_down_,
        ),
        Mistake(
            "nothing is learned",
            "The zeros stay zeros, but the others do not move. backward() fills the gradients and "
            "step() uses them; zero_grad() between the two throws them away.",
            _no_training_,
        ),
    ),
    checked="SGD with momentum from before the pruning and weight decay; weight and bias, three steps",
    not_checked="Adam, saving and loading, copies of the network",
)

# --- 6 · spot the error: pruned 50 % twice --------------------------------------------------------


def _prune_to(weight: Tensor, amount: float) -> Tensor:
    return weight * _magnitude_mask(weight, amount)


def _of_what_is_left(weight: Tensor, amount: float) -> Tensor:
    zeros = int((weight == 0).sum())
    return weight * _lowest(weight.abs(), zeros + round(amount * (weight.numel() - zeros)))


def _on_top(weight: Tensor, amount: float) -> Tensor:
    zeros = int((weight == 0).sum())
    return weight * _lowest(
        weight.abs(), min(zeros + round(amount * weight.numel()), weight.numel())
    )


def _only_once(weight: Tensor, amount: float) -> Tensor:
    return weight.clone() if (weight == 0).any() else _prune_to(weight, amount)


def _missing_share_of_rest(weight: Tensor, amount: float) -> Tensor:
    share = (weight == 0).float().mean().item()
    return _of_what_is_left(weight, max(amount - share, 0))


_EIGHT = torch.tensor([0.8, -0.1, 0.3, -0.6, 0.2, 0.5, -0.4, 0.7])


def _in_turn(*amounts: float) -> Callable[[Any], Any]:
    def attempt(prune: Callable[[Tensor, float], Tensor]) -> Any:
        weight = _EIGHT.clone()
        for amount in amounts:
            weight = call(weight, amount)(prune)
            if not isinstance(weight, Tensor):
                weight = torch.as_tensor(weight)
        return weight

    return attempt


prune_to = Check(
    name="prune_to",
    right=_prune_to,
    tries={
        "[0.8, -0.1, 0.3, -0.6, 0.2, 0.5, -0.4, 0.7] pruned to 0.5": _in_turn(0.5),
        "[0.8, -0.1, 0.3, -0.6, 0.2, 0.5, -0.4, 0.7] pruned to 0.5, and again to 0.5": _in_turn(
            0.5, 0.5
        ),
        "[0.8, -0.1, 0.3, -0.6, 0.2, 0.5, -0.4, 0.7] pruned to 0.5, then to 0.75": _in_turn(
            0.5, 0.75
        ),
    },
    mistakes=(
        Mistake(
            "still a share of what is left",
            "Twice 50 % gives 75 %: the second half is taken of the weights that survived. Then nobody "
            "can say what 'pruned by 50 %' means without knowing the history.",
            _of_what_is_left,
        ),
        Mistake(
            "the amounts add up",
            "The zeros that are there already count towards the amount. Yours come on top, and 50 % "
            "twice leaves nothing.",
            _on_top,
        ),
        Mistake(
            "the second call does nothing",
            "Asking for more later must work: gradual pruning asks again and again, for ever more.",
            _only_once,
        ),
        Mistake(
            "the missing share, but of what is left",
            "From 50 % to 75 % a quarter of *all* weights is missing, which is half of those left.",
            _missing_share_of_rest,
        ),
        Mistake(
            "a mask for the weight",
            "The function gives the pruned weight back, so that it can be pruned again.",
            lambda w, amount: _magnitude_mask(w, amount).float(),
        ),
        Mistake(
            "the sign is lost",
            "Rank by |w|, but keep w itself: a weight of -0.6 that becomes 0.6 does the opposite.",
            lambda w, amount: _prune_to(w, amount).abs(),
        ),
    ),
    checked="once, twice the same amount, and twice with a rising one",
    not_checked="ties, a falling amount (what is gone stays gone)",
)

# --- 7 · challenge: most sparsity at 95 % ---------------------------------------------------------


def _heldout(model: nn.Module) -> float:
    return training.evaluate(model, data.mnist()["test"]).value


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
    mistakes=(
        Mistake(
            "the result of `fit` for its network",
            "fit gives the network and its history; the network is its attribute `model`.",
            Seen({"what you give": "Fitted"}),
        ),
        Mistake(
            "another network",
            "A smaller network is a good idea, and lesson 2's. Here the 421,408 weights of "
            "SmallCNN stay in their tensors, most of them zero.",
            Seen({"its weights, pruned or not": Range(0, 421_407)}),
        ),
        Mistake(
            "the zeros woke up",
            "It answers well but has no zeros. Was it pruned, and did the mask stay on while training?",
            Seen(
                {
                    "its sparsity": Range(0, 0.01),
                    "its accuracy on the held-out pictures": Range(0.95, 1),
                }
            ),
        ),
        Mistake(
            "more could go",
            "It is accurate, and not sparse enough yet. Gradual pruning reaches 90 % with ease.",
            Seen(
                {
                    "its sparsity": Range(0.01, 0.9),
                    "its accuracy on the held-out pictures": Range(0.95, 1),
                }
            ),
        ),
        Mistake(
            "pruned, and never recovered",
            "It is sparse, and it guesses. Let it train with its mask on after pruning, or while.",
            Seen(
                {
                    "its sparsity": Range(0.9, 1),
                    "its accuracy on the held-out pictures": Range(0, 0.8),
                }
            ),
        ),
        Mistake(
            "a little too far",
            "The accuracy is just below the bar. Ask for less, or train longer; decide on the "
            "validation part, with a margin: its accuracy has an interval, too.",
            Seen(
                {
                    "its sparsity": Range(0.9, 1),
                    "its accuracy on the held-out pictures": Range(0.8, 0.95),
                }
            ),
        ),
        Mistake(
            "neither sparse nor accurate",
            "Has it been trained at all? Start from a dense network that works, then prune.",
            Seen(
                {
                    "its sparsity": Range(0, 0.9),
                    "its accuracy on the held-out pictures": Range(0, 0.95),
                }
            ),
        ),
    ),
    checked="at least 90 % sparse, at least 95 % right on the 1,000 test pictures",
    not_checked="the four epochs, other seeds, whether you looked at those pictures before",
)
