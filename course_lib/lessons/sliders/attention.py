"""One sentence: which word attends to which, and what each model answers."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor
from transformers import PreTrainedModel

from course_lib.lessons.sliders.charts import (
    PERCENT,
    Chart,
    State,
    category,
    chart,
    color,
    mark,
    number,
    panel,
    tooltip,
)  # fmt: skip
from course_lib.lessons.sliders.static import Control
from course_lib.lessons.sliders.wiring import Explorer, explore
from course_lib.lessons.style import BLUE, GRAY, GREEN, ORANGE, PINK
from course_lib.modules import evaluating, forward, logits_of

Maps = Sequence[Tensor]  # one [heads, words, words] a layer; each row sums to 1


def attention_maps(
    model: PreTrainedModel, tokenizer: Any, sentence: str
) -> tuple[list[str], list[Tensor]]:
    """The tokens of a sentence, and for each layer how much each one attends to each other one.

    The model is put to its plain ("eager") attention for it, for the fast kinds never form these
    numbers, and back afterward. Vaswani et al. 2017, section 3.2.1. Explained in lesson 4.

    Returns:
        The tokens, and one ``[heads, tokens, tokens]`` a layer: row = who attends, column = to whom.

    Example:
        >>> from course_lib.models import encoders
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
    """The share of their attention that two maps ``[..., words, words]`` have in common, 0 to 1.

    For each word the smaller of the two weights is added up; the mean over words. Lesson 4.

    Example:
        >>> a, b = torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[0.5, 0.5], [0.0, 1.0]])
        >>> overlap(a, b)
        0.5
    """
    return torch.minimum(a, b).sum(-1).mean().item()


def readable(token: str) -> str:
    """A token without the marks of its tokenizer; "-" stands before one that continues a word.

    Example:
        >>> [readable(token) for token in ("un", "##watch", "Ġgood", "▁fine", "[CLS]")]
        ['un', '-watch', 'good', 'fine', '[CLS]']
    """
    plain = token.lstrip("Ġ▁") or token
    return f"-{plain[2:]}" if plain.startswith("##") else plain


def attention_view(
    tokens: Sequence[str], models: Mapping[str, Maps], at: Mapping[str, int], head: int
) -> State:
    """One head's map of each model; the darker, the more the word on the left attends to that word.

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
    rows = [
        {"model": name, "from": i, "to": j, "weight": round(weight, 3)}
        for name, weights in shown.items()
        for i, row in enumerate(weights.tolist())
        for j, weight in enumerate(row)
        if weight >= 0.01
    ]
    titles = [
        {"model": name, "title": f"{name}, layer {at[name] + 1}, head {head + 1}"} for name in shown
    ]
    said = " and ".join(title["title"] for title in titles)
    common = ""
    if len(shown) == 2:
        share = f"{100 * overlap(*shown.values()):.0f} %"
        common = f"The two have {share} of their attention in common."
        titles[1]["title"] += f" ({share} in common)"
    words = " ".join(map(readable, tokens))
    return State(
        f"{escape(said)}<br><b>{common}</b>",
        f"Attention of {said}, for: {words}. {common}".strip(),
        {"cells": rows, "titles": titles},
    )


def attention_chart(tokens: Sequence[str], names: Sequence[str]) -> Chart:
    """A square for each pair of words, a panel for each model. Hovering names the words."""
    side = min(300, 26 * len(tokens))
    places = list(range(len(tokens)))
    word = "tokens[datum.value]"
    x = category("to", "attends to", places, labelExpr=word, labelAngle=-50)  # type: ignore[arg-type]
    y = category("from", "token", places, labelExpr=word)  # type: ignore[arg-type]
    shade = {
        "field": "weight", "type": "quantitative",
        "scale": {"domain": [0, 1], "range": ["#ffffff", BLUE], "type": "sqrt", "interpolate": "rgb"},
        "legend": {"title": ["attention", "(not linear;", "white: < 1 %)"],
                   "values": [0.01, 0.1, 0.5, 1], "labelExpr": PERCENT},
    }  # fmt: skip
    named = [
        {"calculate": f"tokens[datum['{end}']]", "as": f"{end} word"} for end in ("from", "to")
    ]
    hover = tooltip(
        **{"from word": "token", "to word": "attends to", "weight": "share of its attention|.1%"}
    )
    panels = [
        panel(
            "", side, side,
            mark("rect", "cells", transform=[_only(name), *named], x=x, y=y, color=shade,
                 tooltip=hover),
            mark("text", "titles", transform=[_only(name)], fontSize=13, x={"value": side / 2},
                 y={"value": -10}, text={"field": "title"}),
        )
        for name in names
    ]  # fmt: skip
    return {
        **chart(*panels),
        "params": [{"name": "tokens", "value": [readable(token) for token in tokens]}],
    }


def _only(name: str) -> Chart:
    return {"filter": {"field": "model", "equal": name}}


def attention_explorer(
    tokens: Sequence[str], models: Mapping[str, Maps], pairs: Sequence[Mapping[str, int]]
) -> Explorer:
    """Sliders for the layer and the head. `pairs` says which layers stand side by side. Lesson 4."""
    heads = min(len(layer) for maps in models.values() for layer in maps)
    layers = {" ↔ ".join(f"{n} {i + 1}" for n, i in pair.items()): pair for pair in pairs}
    controls = [
        Control("layer", list(layers)[-1], layers),
        Control("head", "1", {str(head + 1): head for head in range(heads)}),
    ]
    return explore(
        controls,
        lambda pair, head: attention_view(tokens, models, pair, head),
        attention_chart(tokens, list(models)),
        height=48,
    )


def answers_view(
    models: Mapping[str, PreTrainedModel],
    tokenizer: Any,
    sentence: str,
    truth: Mapping[str, str] | None = None,
) -> State:
    """How sure each model is of its answer to a sentence, and whether they disagree. Lesson 4.

    Args:
        models: name → classifier.
        tokenizer: of all of them.
        sentence: what they answer.
        truth: sentence → its label, where it is known; shown behind the sentence.
    """
    if not sentence.strip():
        return State("Write a sentence.", "no sentence", {"answers": [], "title": []})
    batch = dict(tokenizer([sentence], return_tensors="pt", truncation=True))
    rows = []
    for name, model in models.items():
        with torch.inference_mode(), evaluating(model):
            p = logits_of(forward(model, send_to_device(batch, model.device)))[0].softmax(-1)
        best = int(p.argmax())
        label = model.config.id2label[best]  # type: ignore[index]
        rows.append({"model": name, "answer": label, "sure": p[best].item()})
    agree = "They disagree." if len({row["answer"] for row in rows}) > 1 else "They agree."
    said = [f"{row['model']}: {row['answer']}, {100 * row['sure']:.1f} % sure" for row in rows]
    label = (truth or {}).get(sentence, "")
    label = f" (its label: {label})" if label else ""
    title = f"“{textwrap.shorten(sentence, 50, placeholder=' …')}”{label}"
    return State(
        f"<b>{agree}</b><br>{escape(' · '.join(said))}",
        f"Answers to “{sentence}”{label}: {'; '.join(said)}. {agree}",
        {"answers": rows, "title": [{"text": title}]},
    )


def answers_chart(models: Mapping[str, PreTrainedModel]) -> Chart:
    """A bar for each model: how sure it is; its color is the answer. The sentence stands above."""
    labels: dict[int, str] = next(iter(models.values())).config.id2label  # type: ignore[assignment]
    colors = dict(zip(labels.values(), (GRAY, ORANGE, GREEN, PINK, BLUE), strict=False))
    answer = color("answer", colors, {"title": "answer", "orient": "right"})
    return chart(
        panel(
            "", 420, 34 * len(models),
            mark("bar", "answers", y=category("model", None, list(models)), color=answer,
                 x=number("sure", "probability of its answer", (0, 1), percent=True),
                 tooltip=tooltip(model="model", answer="answer", sure="sure|.1%")),
            mark("text", "title", fontSize=13, align="left", x={"value": 0}, y={"value": -10},
                 text={"field": "text"}),
        )
    )  # fmt: skip


def answers_explorer(
    models: Mapping[str, PreTrainedModel],
    tokenizer: Any,
    sentence: str,
    truth: Mapping[str, str] | None = None,
) -> Explorer:
    """A line to write in, and what each model says of it once you press Enter. Lesson 4."""
    return explore(
        [Control("sentence", sentence, kind="line")],
        lambda text: answers_view(models, tokenizer, text, truth),
        answers_chart(models),
    )
