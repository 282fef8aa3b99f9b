"""How wide each layer of a pruned transformer still is: its heads and its FFN neurons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.patches import Patch

from course_lib.lessons import style
from course_lib.lessons.plots_axes import axes, finish, legend
from course_lib.lessons.sketch import Drawing

KINDS = {"heads": "attention heads", "ffn": "FFN neurons"}


def layer_widths(
    widths: Mapping[str, tuple[int, int]],
    title: str = "",
    narrowest: Mapping[str, int] | None = None,
) -> Drawing:
    """How many heads and FFN neurons each layer keeps, of how many. Explained in lesson 2b.

    Args:
        widths: group → units that stay, and units before, as in ``speed_up(…).widths``. Groups are
            named as in `structured.groups`: "layer.0.heads", "layer.0.ffn".
        title: the finding, or the question.
        narrowest: the fewest units that a search tries, as a line: ``{"heads": 2, "ffn": 192}``.

    Raises:
        ValueError: a group that is neither heads nor FFN neurons of a layer.

    Example:
        >>> drawing = layer_widths({"layer.0.heads": (6, 12), "layer.0.ffn": (384, 1536)})
        >>> print(drawing.alt)  # doctest: +NORMALIZE_WHITESPACE
        Units left in each layer. Attention heads: layer 1 keeps 6 of 12. FFN neurons: layer 1 keeps
        384 of 1,536.
    """
    found: dict[str, list[tuple[int, int]]] = {kind: [] for kind in KINDS}
    for name, (kept, whole) in widths.items():
        kind = name.rpartition(".")[2]
        if kind not in found:
            raise ValueError(
                f"widths has {name!r}, expected names such as 'layer.0.heads' and 'layer.0.ffn'."
            )
        found[kind].append((kept, whole))
    shown = {kind: rows for kind, rows in found.items() if rows}
    figure, panels = axes(2.6, title, (1, len(shown)))
    sentences = ["Units left in each layer."]
    marks: list[Any] = []
    for ax, (kind, rows) in zip(panels, shown.items(), strict=True):
        layers = range(1, len(rows) + 1)
        outline: dict[str, Any] = {"edgecolor": style.COLORS["pruned"], "linestyle": "--"}
        ax.bar(layers, [whole for _, whole in rows], color="none", linewidth=1.2, **outline)
        ax.bar(layers, [kept for kept, _ in rows], color=style.COLORS["kept"])
        white: Any = {"facecolor": "white", "edgecolor": "none", "pad": 0.2}  # hides the dashes
        text: Any = {"textcoords": "offset points", "ha": "center", "va": "bottom", "bbox": white}
        for layer, (kept, _) in zip(layers, rows, strict=True):
            ax.annotate(f"{kept}", (layer, kept), (0, 2.5), **text, fontsize=style.SMALL)
        if narrowest:
            line: Any = {"color": style.INK, "linestyle": ":", "label": "narrowest width tried"}
            marks = [ax.axhline(narrowest[kind], gid="narrowest", **line)]
        ax.set(xticks=layers, xlabel="layer", ylabel=KINDS[kind])
        ax.set_ylim(0, 1.12 * max(whole for _, whole in rows))
        each = (f"layer {i} keeps {k:,} of {w:,}" for i, (k, w) in enumerate(rows, start=1))
        sentences.append(f"{KINDS[kind][:1].upper()}{KINDS[kind][1:]}: {', '.join(each)}.")
        if narrowest:
            sentences.append(f"The narrowest width tried is {narrowest[kind]:,}.")
    legend(
        figure,
        [
            Patch(color=style.COLORS["kept"], label="left"),
            Patch(facecolor="none", linewidth=1.2, label="before", **outline),
            *marks,
        ],
    )
    return finish(figure, " ".join(sentences))
