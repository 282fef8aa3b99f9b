"""How small the student becomes: its shape, what that weighs in int8, and the choice for a target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.structured.dependency import groups
from course_lib.structured.embeddings import factor_embeddings, shorten
from course_lib.structured.importance import Score
from course_lib.structured.removal import parameter_counter, remove, remove_layers
from course_lib.structured.selection import choose
from course_lib.structured.transformers import layers_of
from course_lib.structured.units import Group
from course_lib.structured.vocabulary import prune_vocabulary

GRAPH = 200_000  # bytes of an ONNX file that are no weights: nodes, scales, biases in float32
# Shares of the layers, of heads and units, and of the embeddings' columns; the largest first.
LADDER = (
    (1, 1 / 2, None),
    (1, 1 / 4, None),  # the default
    (1, 1 / 4, 1 / 3),
    (1 / 2, 3 / 8, 1 / 5),
    (1 / 2, 1 / 4, 1 / 6),
    (1 / 2, 1 / 8, 1 / 8),
)
DEFAULT = 1


@dataclass(frozen=True)
class Shape:
    """What stays of a model.

    Attributes:
        layers: how many of its layers; None: all of them.
        width: which share of their attention heads and feed-forward units, 0 to 1.
        rank: numbers in the embedding table for each token; None: as many as before.

    Example:
        >>> Shape(layers=6, width=0.25)
        6 layers, 25 % of the heads and units
    """

    layers: int | None
    width: float
    rank: int | None = None

    def __post_init__(self) -> None:
        counts = [one for one in (self.layers, self.rank) if one is not None]
        if any(one < 1 for one in counts) or not 0 < self.width <= 1:
            raise ValueError(
                f"Got layers {self.layers}, width {self.width:g}, rank {self.rank}; expected 1 or more "
                "layers, a width above 0 and at most 1, and a rank of 1 or more, or none."
            )

    def __repr__(self) -> str:
        narrow = "" if self.rank is None else f", {self.rank} numbers for each token"
        layers = f"{self.layers or 'all'} layer{'s' * (self.layers != 1)}"
        return f"{layers}, {100 * self.width:.3g} % of the heads and units{narrow}"


@dataclass(frozen=True)
class Target:
    """What the small model must keep to.

    Attributes:
        megabytes: the largest file (default: no limit).
        milliseconds: the longest time for a text of median length, one at a time, on one thread of this
            machine, in int8 (default: no limit).
        points: how many percentage points of accuracy you can lose (default 2).
    """

    megabytes: float | None = None
    milliseconds: float | None = None
    points: float = 2.0

    def __post_init__(self) -> None:
        values = (self.megabytes, self.milliseconds, self.points)
        if any(value is not None and not value > 0 for value in values):
            raise ValueError(
                f"{self}: expected numbers above 0. Leave a limit out if there is none."
            )


def ladder(model: Any) -> list[Shape]:
    """The shapes to choose from for a model, the largest first.

    Example:
        >>> from course_lib.models.encoders import load_encoder
        >>> ladder(load_encoder())[1:4:2]  # doctest: +NORMALIZE_WHITESPACE
        [6 layers, 25 % of the heads and units,
         3 layers, 37.5 % of the heads and units, 76 numbers for each token]
    """
    layers, columns = len(layers_of(model)[1]), _table(model).shape[1]
    return [
        Shape(max(1, round(part * layers)), width, None if rank is None else int(rank * columns))
        for part, width, rank in LADDER
    ]


def int8_bytes(model: Any, shape: Shape, tokens: int, max_length: int) -> int:
    """The size of the int8 file before it is made, by arithmetic: about a byte for each parameter.

    Args:
        model: the large model.
        shape: what stays of it.
        tokens: how many tokens the small model has.
        max_length: the longest text, in tokens.

    Example:
        >>> from course_lib.models.encoders import load_encoder
        >>> round(int8_bytes(load_encoder(), Shape(6, 0.25), tokens=12_265, max_length=64) / 1e6, 1)
        7.8
    """
    widths = {
        name: max(1, round(shape.width * group.units)) for name, group in groups(model).items()
    }
    narrow = parameter_counter(model)(widths)
    _, layers = layers_of(model)
    of_layers = (narrow - _rest(model, layers)) * (shape.layers or len(layers)) / len(layers)
    rows, columns = _table(model).shape
    table = tokens * columns if shape.rank is None else shape.rank * (tokens + columns)
    positions = getattr(model.config, "max_position_embeddings", max_length)
    others = _rest(model, layers) - rows * columns - max(0, positions - max_length) * columns
    return round(of_layers + table + others) + GRAPH


def fitting(model: Any, target: Target, tokens: int, max_length: int) -> Iterator[Shape]:
    """The shapes that keep to the megabytes, the largest first; without a limit, from the default on.

    Raises:
        ValueError: none does; says how small the smallest one is.
    """
    shapes = ladder(model)
    sizes = [int8_bytes(model, shape, tokens, max_length) / 1e6 for shape in shapes]
    if target.megabytes is None:
        yield from shapes[DEFAULT:]
        return
    fits = [s for s, size in zip(shapes, sizes, strict=True) if size <= target.megabytes]
    if not fits:
        raise ValueError(
            f"The target is {target.megabytes:g} MB, and the smallest shape tried ({shapes[-1]}) takes "
            f"about {sizes[-1]:.2f} MB: with {tokens:,} tokens, most of it may be embeddings. "
            "Allow more, give a shape with a lower rank, or start from a smaller model."
        )
    yield from fits


def cut(
    model: Any, tokenizer: Any, shape: Shape, tokens: Tensor, score: Score, max_length: int
) -> tuple[Any, Any]:
    """The pruned model, not trained yet, and its smaller tokenizer. The arguments are left alone.

    Args:
        model, tokenizer: the large ones.
        shape: what stays.
        tokens: ids of the tokens that stay.
        score: of heads and units, such as `structured.gate_taylor`; it must fit the layers that stay.
        max_length: the longest text, in tokens; later positions go.
    """
    small: Any = narrower(model, shape.width, shape.width, score)
    if getattr(small.config, "max_position_embeddings", 0) > max_length and _has_positions(small):
        small = shorten(small, max_length)
    small, words = prune_vocabulary(small, tokenizer, tokens)
    return (small if shape.rank is None else factor_embeddings(small, shape.rank)), words


def narrower(model: Any, heads: float, units: float, score: Score) -> Any:
    """A copy with the attention heads and feed-forward units of the highest score.

    Args:
        model: any transformer; it is left alone.
        heads, units: the shares that stay, above 0 and at most 1.
        score: of heads and units, such as `structured.gate_taylor`.

    Example:
        >>> from course_lib.models.encoders import load_encoder
        >>> small = narrower(load_encoder(), 0.5, 0.25, first_units)
        >>> small.bert.encoder.layer[0].intermediate.dense.out_features
        384
    """
    keep: dict[str, list[int]] = {}
    for kind, share in (("heads", heads), ("feed-forward units", units)):
        names = [name for name, group in groups(model).items() if group.kind == kind]
        if share < 1:
            keep |= choose(model, 1 - share, score, names)
    return remove(model, keep)


def fewer_layers(model: Any, count: int | None) -> Any:
    """A copy with so many layers, evenly spaced, the last one among them; counted from 0: 1, 3, 5 of 6.
    None: all of them.

    Raises:
        ValueError: more layers than the model has.
    """
    whole = len(layers_of(model)[1])
    count = whole if count is None else count
    if count > whole:
        raise ValueError(f"Asked for {count} layers; the model has {whole}. Ask for at most that.")
    return remove_layers(model, [round((i + 1) * whole / count) - 1 for i in range(count)])


def first_units(model: nn.Module, group: Group) -> Tensor:
    """A score by which the first units of each group stay, for a shape alone."""
    return torch.arange(group.units, 0, -1).float()


def _table(model: Any) -> Tensor:
    return model.get_input_embeddings().weight


def _rest(model: Any, layers: Any) -> int:
    """Parameters outside of the layers."""
    whole = sum(p.numel() for p in model.parameters())
    return whole - sum(p.numel() for layer in layers for p in layer.parameters())


def _has_positions(model: nn.Module) -> bool:
    return any(name.endswith("embeddings.position_embeddings") for name, _ in model.named_modules())
