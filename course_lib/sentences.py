"""One sentence under the lens: what each model answers, and which word looks at which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets
import torch
from accelerate.utils import send_to_device
from torch import Tensor
from transformers import PreTrainedModel

from course_lib.measure import evaluating
from course_lib.plots import BLUE, GREY, ORANGE
from course_lib.training import forward, logits_of
from course_lib.widgets import fixed_html, live

Maps = Sequence[Tensor]  # one [heads, words, words] a layer; each row sums to 1


def attention_maps(
    model: PreTrainedModel, tokenizer: Any, sentence: str
) -> tuple[list[str], list[Tensor]]:
    """The tokens of a sentence, and for each layer how much each one looks at each other one.

    The model is put to its plain ("eager") attention for it, for the fast kinds never form these
    numbers, and back afterwards. Vaswani et al. 2017, section 3.2.1. Explained in lesson 4.

    Returns:
        The tokens, and one ``[heads, tokens, tokens]`` a layer: row = who looks, column = at whom.

    Example:
        >>> from course_lib import encoders
        >>> model, tokenizer = encoders.load_encoder(), encoders.load_tokenizer()
        >>> tokens, maps = attention_maps(model, tokenizer, "So good!")
        >>> tokens, len(maps), tuple(maps[0].shape)
        (['[CLS]', 'so', 'good', '!', '[SEP]'], 6, (12, 5, 5))
    """
    batch = tokenizer([sentence], return_tensors="pt", truncation=True).to(model.device)
    usual = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode(), evaluating(model):
            output = forward(model, {**batch, "output_attentions": True})
    finally:
        model.set_attn_implementation(usual)
    tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist())
    return tokens, [layer[0].float().cpu() for layer in output.attentions]


def overlap(a: Tensor, b: Tensor) -> float:
    """The share of their attention that two maps ``[..., words, words]`` spend alike, 0 to 1.

    For each word the smaller of the two weights is added up; the mean over words. Lesson 4.

    Example:
        >>> a, b = torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[0.5, 0.5], [0.0, 1.0]])
        >>> overlap(a, b)
        0.5
    """
    return torch.minimum(a, b).sum(-1).mean().item()


def attention_view(
    tokens: Sequence[str], models: Mapping[str, Maps], at: Mapping[str, int], head: int
) -> str:
    """HTML: one head's map of each model side by side; the darker, the more a word looks there.

    Args:
        tokens: of the sentence.
        models: name → its maps, as `attention_maps` gives them.
        at: name → the layer to show, counted from 0.
        head: which one, counted from 0.

    Raises:
        ValueError: a model lacks this layer or head.
    """
    for name, maps in models.items():
        if not 0 <= at[name] < len(maps) or not 0 <= head < len(maps[at[name]]):
            heads = [len(layer) for layer in maps]
            raise ValueError(
                f"Got layer {at[name]} and head {head} for the {name}, whose {len(maps)} layers have "
                f"{heads} heads; count both from 0."
            )
    shown = {name: maps[at[name]][head] for name, maps in models.items()}
    cell = min(26.0, 270 / len(tokens))
    side = cell * len(tokens)
    panels = []
    for i, (name, weights) in enumerate(shown.items()):
        x = 78 + i * (side + 84)
        panels.append(
            f'<text x="{x + side / 2:.1f}" y="14" text-anchor="middle" font-size="13">{escape(name)}, '
            f"layer {at[name] + 1}, head {head + 1}</text>"
            f'<rect x="{x}" y="24" width="{side:.1f}" height="{side:.1f}" fill="none" stroke="{GREY}"/>'
        )
        for r, (token, row) in enumerate(zip(tokens, weights.tolist(), strict=True)):
            middle = (r + 0.5) * cell
            word = escape(token)
            panels.append(
                f'<text x="{x - 5}" y="{28 + middle:.1f}" text-anchor="end">{word}</text>'
                f'<text transform="translate({x + middle + 4:.1f} {side + 30:.1f}) rotate(-60)" '
                f'text-anchor="end">{word}</text>'
            )
            panels += [
                f'<rect x="{x + c * cell:.1f}" y="{24 + r * cell:.1f}" width="{cell:.1f}" '
                f'height="{cell:.1f}" fill="{BLUE}" fill-opacity="{weight:.2f}"><title>{word} → '
                f"{escape(tokens[c])}: {weight:.0%}</title></rect>"
                for c, weight in enumerate(row)
                if weight >= 0.01
            ]
    width, height = 78 + len(shown) * (side + 84), side + 96
    names = " and ".join(f"{name} layer {at[name] + 1}" for name in shown)
    label = f"Attention of head {head + 1}, {names}: {' '.join(tokens)}"
    picture = (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" '
        f'aria-label="{escape(label)}"><g font-size="11" fill="currentColor">{"".join(panels)}</g>'
        "</svg>"
    )
    if len(shown) != 2:
        return picture
    return f"{picture}<div>the two look at the same words: {overlap(*shown.values()):.0%}</div>"


def attention_explorer(
    tokens: Sequence[str], models: Mapping[str, Maps], pairs: Sequence[Mapping[str, int]]
) -> ipywidgets.VBox:
    """Sliders for the layer and the head. `pairs` says which layers stand side by side. Lesson 4."""
    heads = min(len(layer) for maps in models.values() for layer in maps)
    layer = ipywidgets.SelectionSlider(
        options=[(" ↔ ".join(f"{n} {i + 1}" for n, i in pair.items()), pair) for pair in pairs],
        value=pairs[-1],
        description="layer",
        layout=ipywidgets.Layout(width="520px"),
    )
    head = ipywidgets.IntSlider(
        value=1, min=1, max=heads, description="head", layout=ipywidgets.Layout(width="520px")
    )
    picture = fixed_html("course-attention", "410px")

    def update(pair: Mapping[str, int], number: int) -> None:
        picture.value = attention_view(tokens, models, pair, number - 1)

    live([layer, head], update, picture)
    return ipywidgets.VBox([layer, head, picture])


def answers_view(models: Mapping[str, PreTrainedModel], tokenizer: Any, sentence: str) -> str:
    """HTML: how sure each model is of its answer to a sentence, and whether they disagree. Lesson 4."""
    if not sentence.strip():
        return "<p>Write a sentence.</p>"
    batch = dict(tokenizer([sentence], return_tensors="pt", truncation=True))
    chosen, rows = set(), []
    for y, (name, model) in zip(range(24, 999, 34), models.items(), strict=False):
        with torch.inference_mode(), evaluating(model):
            p = logits_of(forward(model, send_to_device(batch, model.device)))[0].softmax(-1)
        best = int(p.argmax())
        label = model.config.id2label[best]  # type: ignore[index]
        chosen.add(label)
        colour = BLUE if best else ORANGE
        rows.append(
            f'<text x="0" y="{y + 5}">{escape(name)}</text><rect x="90" y="{y - 9}" width="300" '
            f'height="18" fill="none" stroke="{GREY}"/><rect x="90" y="{y - 9}" '
            f'width="{300 * p[best]:.1f}" height="18" fill="{colour}"/><text x="400" y="{y + 5}">'
            f"{escape(label)}, {p[best]:.1%} sure</text>"
        )
    said = "They disagree." if len(chosen) > 1 else "They agree."
    height = 34 * len(rows) + 10
    return (
        f'<svg viewBox="0 0 640 {height}" width="640" role="img" aria-label="Answers to: '
        f'{escape(sentence)}"><g font-size="13" fill="currentColor">{"".join(rows)}</g></svg>'
        f"<div><b>{said}</b></div>"
    )


def answers_explorer(
    models: Mapping[str, PreTrainedModel], tokenizer: Any, sentence: str
) -> ipywidgets.VBox:
    """A line to write in, and what each model says of it, once you press Enter. Lesson 4."""
    line = ipywidgets.Text(
        value=sentence,
        description="sentence",
        continuous_update=False,
        layout=ipywidgets.Layout(width="620px"),
    )
    answers = fixed_html("course-answers", f"{60 + 34 * len(models)}px")

    def update(sentence: str) -> None:
        answers.value = answers_view(models, tokenizer, sentence)

    live([line], update, answers)
    return ipywidgets.VBox([line, answers])
