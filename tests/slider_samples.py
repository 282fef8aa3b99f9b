"""A small example of each slider, for tests, benchmarks and a look at the pictures."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from course_lib.evaluation import Accuracy, Latency
from course_lib.lessons import sliders

DIGITS = [str(digit) for digit in range(10)]
TOKENS = [
    "[CLS]",
    "the",
    "plot",
    "is",
    "thin",
    ",",
    "but",
    "the",
    "cast",
    "is",
    "un",
    "##watch",
    "##able",
    "[SEP]",
]


def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def network() -> nn.Module:
    """A trained-looking network of 784 inputs; the weights of its layers differ in size."""
    torch.manual_seed(0)
    widths = [784, 300, 100, 10]
    names = {f"fc{i}": nn.Linear(*widths[i - 1 : i + 1]) for i in (1, 2, 3)}
    for layer in names.values():
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    return nn.Sequential(
        OrderedDict(fc1=names["fc1"], a=nn.ReLU(), fc2=names["fc2"], b=nn.ReLU(), fc3=names["fc3"])
    )


def pictures(model: nn.Module, n: int = 1000) -> TensorDataset:
    """Random inputs whose labels are mostly the model's own answers, so that pruning costs accuracy."""
    inputs = torch.rand(n, 784, generator=random())
    with torch.no_grad():
        labels = model(inputs).argmax(-1)
    labels[::20] = (labels[::20] + 1) % 10
    return TensorDataset(inputs, labels)


def smaller(amount: float) -> sliders.Smaller:
    keep = 1 - amount
    return sliders.Smaller(
        {name: (max(1, round(units * keep**0.5)), units)
         for name, units in (("conv1", 32), ("conv2", 64), ("fc1", 128))},
        round(421_834 * keep), round(9.2e6 * keep),
        Latency((9.9 * keep + 1, 10 * keep + 1, 10.2 * keep + 1), 64, 2),
        Accuracy(round(970 - 800 * amount**2), 1000), Accuracy(round(975 - 60 * amount**3), 1000),
    )  # fmt: skip


def variants() -> dict[tuple, sliders.Variant]:
    found = {}
    for layers, share, bits in itertools.product((1, 2, 3, 6), (0.15, 0.25, 0.5, 1.0), (8, 32)):
        size = round((2e6 + layers * 3.2e6 * share) * bits / 8)
        right = 870 - round(60 / layers) - round(25 * (1 - share)) - (bits == 8) * 3
        name = f"{layers} layers, {100 * share:.0f} % of the units, {bits} bits"
        ms = layers * (0.4 + share) * (1 if bits == 32 else 0.6)
        found[layers, share, bits] = sliders.Variant(name, size, ms, Accuracy(right, 1000))
    return found


def marked() -> dict[str, sliders.Variant]:
    return {
        "teacher": sliders.Variant("teacher", 90_800_000, 9.1, Accuracy(870, 1000)),
        "20 × stack": sliders.Variant("20 × stack", 4_500_000, 1.62, Accuracy(860, 1000)),
        "40 × stack": sliders.Variant("40 × stack", 2_270_000, 1.08, Accuracy(852, 1000)),
        "int8 alone": sliders.Variant("int8 alone", 22_700_000, 3.6, Accuracy(868, 1000)),
    }


def maps(layers: int, heads: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    n = len(TOKENS)
    return [(3 * torch.randn(heads, n, n, generator=generator)).softmax(-1) for _ in range(layers)]


def make(name: str) -> sliders.Explorer:
    """The example of this name: "sparsity", "temperature", …"""
    return EXAMPLES[name]()


def _sparsity() -> sliders.Explorer:
    model = network()
    return sliders.sparsity_explorer(model, pictures(model))


def _temperature() -> sliders.Explorer:
    examples = {
        "a clear 7": torch.tensor([1.0, -2, 3, 2.5, -4, -1, -7, 12, -1, 4]),
        "a 4 that looks like a 9": torch.tensor([-3.0, -2, 0, -1, 8, -1, -4, 1, 0.5, 6.5]),
    }
    return sliders.temperature_explorer(examples, DIGITS)


def _attention() -> sliders.Explorer:
    models = {"teacher": maps(6, 12, 0), "student": maps(3, 12, 1)}
    pairs = [{"teacher": 2 * i, "student": i} for i in range(3)]
    return sliders.attention_explorer(TOKENS, models, pairs)


EXAMPLES: dict[str, Any] = {
    "sparsity": _sparsity,
    "temperature": _temperature,
    "amount": lambda: sliders.amount_explorer({a: smaller(a) for a in (0, 0.25, 0.5, 0.75, 0.9)}),
    "attention": _attention,
    "compression": lambda: sliders.compression_explorer(
        variants(), ["layers", "share of the units", "bits"], marked()
    ),
    "bits": lambda: sliders.bits_explorer(
        torch.linspace(-1, 1, 40) ** 3,
        {
            bits: (2.8 * bits, Accuracy(right, 800))
            for bits, right in ((32, 710), (8, 709), (4, 673), (2, 397))
        },
    ),
}
