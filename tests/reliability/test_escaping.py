"""Names, labels and texts from outside never become HTML, whichever function shows them."""

from __future__ import annotations

import json
import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import ipywidgets
import mistune
import pytest
import torch
from datasets import ClassLabel, Dataset, Features
from torch import nn
from torch.utils.data import TensorDataset
from transformer_zoo import letters, tiny

import course_lib
from course_lib.cli import main as commands
from course_lib.compression import pipeline
from course_lib.compression.model_card import card
from course_lib.compression.report import Report
from course_lib.datasets.custom_data import listed
from course_lib.evaluation.accuracy import Accuracy
from course_lib.evaluation.timing import Latency
from course_lib.lessons import claims, sketch, sliders, style
from course_lib.lessons.sliders import static
from course_lib.lessons.sliders.attention import answers_view, attention_view
from course_lib.lessons.sliders.compression import explorer_view
from course_lib.lessons.sliders.sparsity import sparsity_view
from course_lib.lessons.sliders.temperature import temperature_view
from course_lib.lessons.test_set import TestSet
from course_lib.structured.latency_target import SpedUp
from course_lib.structured.removal import Changes

pytestmark = pytest.mark.reliability
LIBRARY = Path(course_lib.__file__).parent
EVIL = "<script>alert(1)</script>"
# Also as the end of a script, of an attribute and of a comment.
WORSE = f"\"'><!--<script>{EVIL}--><img src=x onerror=alert(1)>&lt;"
ELEMENTS = {"table", "tr", "th", "td", "b", "br", "p", "small", "span", "div", "pre"}


class Reader(HTMLParser):
    """What a browser would make of it: elements, and the text that a person sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen += [tag, *(name for name, _ in attrs)]

    def handle_data(self, data: str) -> None:
        self.words += data

    def handle_comment(self, data: str) -> None:
        self.seen.append("a comment")


ATTRIBUTES = {"style", "class", "scope", "role"}


def check(html: str, evil: str) -> None:
    page = Reader(html)
    assert set(page.seen) <= ELEMENTS | ATTRIBUTES
    assert evil in page.words  # a person still sees the name as it is


def sized() -> Accuracy:
    return Accuracy(90, 100)


def sparsity(evil: str) -> str:
    net = nn.Sequential(OrderedDict([(evil.replace(".", ""), nn.Linear(3, 2))]))
    data = TensorDataset(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long))
    return sparsity_view(net, data, 0.5).readout


def answers(evil: str) -> str:
    model = tiny("bert")
    model.config.id2label = dict.fromkeys(range(9), evil)
    return answers_view({evil: model}, letters(), "a film").readout


def attention(evil: str) -> str:
    maps = [torch.eye(2)[None]]
    return attention_view([evil, evil], {evil: maps}, {evil: 0}, 0).readout


def compression(evil: str) -> str:
    better, worse = (sliders.Variant(evil, size, 1.0, sized()) for size in (10, 20))
    return explorer_view({1: better, 2: worse}, 2).readout


def the_claims(evil: str) -> str:
    one = claims.Claims(TestSet([]))
    added = one.add(evil, value=1.0, margin=0.0, unit=evil, source=evil)
    return added._repr_html_() + one._repr_html_()


def widget(evil: str) -> str:
    def view(value: str) -> sliders.State:
        if value == "broken":
            raise ValueError(evil)
        return sliders.State("fine", evil)

    shown = sliders.explore([sliders.Control(evil, evil, kind="line")], view)
    shown.controls[0].value = "broken"
    return shown.readout.value


def faster(evil: str) -> str:
    times = Latency((2.0, 2.0, 2.0), 1, 1), Latency((1.0, 1.0, 1.0), 1, 1)
    changed = Changes((), 1, 2)
    return SpedUp(nn.Identity(), 2.0, 2.0, *times, changed, {evil: (1, 2)})._repr_html_()


def compressed(evil: str) -> str:
    said = SimpleNamespace(
        table=lambda: {evil: (evil, evil)}, sentence=lambda: evil, _linear=lambda: evil
    )
    return Report._repr_html_(said)  # type: ignore[arg-type]


WAYS: dict[str, Callable[[str], str]] = {
    "compression/report.py": compressed,
    "structured/latency_target.py": faster,
    "lessons/claims.py": the_claims,
    "lessons/sliders/attention.py: answers": answers,
    "lessons/sliders/attention.py": attention,
    "lessons/sliders/compression.py": compression,
    "lessons/sliders/wiring.py": widget,
    "lessons/sliders/sparsity.py": sparsity,
    "lessons/sliders/temperature.py": lambda evil: (
        temperature_view(torch.arange(2.0), [evil, evil], 1.0).readout
    ),
    "structured/removal.py": lambda evil: Changes((evil,), 1, 2)._repr_html_(),
}
# Numbers alone: there is no text in them that comes from outside.
NUMBERS = {
    "evaluation/accuracy.py", "lessons/sliders/amount.py",
    "lessons/sliders/bits.py", "lessons/sliders/depth.py",
}  # fmt: skip
# A page with what others made, which the test below has, and what takes the tags off again.
OTHERS = {"lessons/sliders/static.py", "lessons/sliders/charts.py"}
MAKES_HTML = re.compile(r"_repr_html_|text/html|HTML\(|</(?!title)|<br>")


@pytest.mark.parametrize("evil", [EVIL, WORSE], ids=["script", "more"])
@pytest.mark.parametrize("way", WAYS)
def test_a_name_label_or_text_is_shown_and_is_no_html(way, evil):
    check(WAYS[way](evil), evil)


def test_no_file_that_makes_html_is_forgotten():
    made = {
        path.relative_to(LIBRARY).as_posix()
        for path in LIBRARY.rglob("*.py")
        if MAKES_HTML.search(path.read_text("utf-8"))
    }
    assert made == {way.partition(":")[0] for way in WAYS} | NUMBERS | OTHERS


@pytest.mark.parametrize("version", ["7.7.1", "8.1.5"])
@pytest.mark.parametrize("kind", ["slider", "menu", "line"])
def test_no_description_is_html_under_either_ipywidgets(version, kind, monkeypatch):
    """Version 7, which Colab has, takes a description as HTML, and 8 as text."""
    monkeypatch.setattr(ipywidgets, "__version__", version)
    options = {} if kind == "line" else {EVIL: 1}
    shown = sliders.explore(
        [sliders.Control(EVIL, EVIL, options, kind)], lambda _: sliders.State("fine", "fine")
    )
    description = shown.controls[0].description
    if version.startswith("7."):
        check(description, EVIL)
    else:
        assert description == EVIL


@pytest.mark.parametrize("evil", [EVIL, WORSE], ids=["script", "more"])
def test_nothing_in_a_pages_json_ends_or_hides_its_script(evil):
    """After "<!--<script>" a browser takes "</script>" for text, and the page stays empty."""
    control = sliders.Control(evil, evil, {evil: 1})
    stored = sliders.states(lambda _: sliders.State("fine", evil), [control])
    html = sliders.static_html(stored)
    text = re.fullmatch(r"<div[^>]*><script[^>]*>(.*)</script></div>", html)[1]  # type: ignore[index]
    assert "<" not in text
    assert json.loads(text) == stored
    assert f"<title>{escape(evil)}</title>" in static.page(stored, title=evil)


def test_a_drawings_text_is_text_in_its_svg():
    ax = style.canvas(1, 1)
    sketch.label(ax, (0.5, 0.5), EVIL)
    svg = sketch.finish(ax, EVIL).svg()
    assert "<script" not in svg
    assert EVIL in unescape(svg)


# --- a model card, and a terminal

MARKS = [
    EVIL,
    "<img src=http://x.invalid/a.png>",
    "![a](http://x.invalid/a.png)",
    "a | b",
    "`code` *b* _i_ \\",
    "a\n# b",
    "[a]: http://x.invalid",
]
REPORT = Report(
    folder="small",
    settings={"texts": "t.csv", "model": "m", "classifier": True, "unlabeled": "", "points": 2.0},
    rows={"train": 6, "validation": 2, "test": 10},
    classes={},
    lengths={"95th percentile": 50, "longest": 90, "share cut": 0.0, "max_length": 64},
    cut={},
    stages={},
    megabytes=(90.9, 7.8),
    test=dict.fromkeys(("before", "after", "TF-IDF"), (8, 10)),
    differing=dict.fromkeys(("before", "TF-IDF"), (1, 1)),
    recall={},
    f1={},
    milliseconds={},
    speedups={},
    minutes={},
)


@pytest.mark.parametrize("text", MARKS)
def test_in_a_model_card_nothing_of_a_label_is_markdown_or_html(text):
    """Before, a label could fetch a picture when somebody reads the card."""
    plain = replace(
        REPORT, classes={"a": {"train": 1}}, recall={"a": ((1, 2), (1, 2))}, f1={"a": (0.5, 0.5)}
    )
    settings = REPORT.settings | {"texts": text, "model": text, "unlabeled": text}
    evil = replace(
        plain, folder=text, settings=settings,
        classes={text: {"train": 1}}, recall={text: ((1, 2), (1, 2))}, f1={text: (0.5, 0.5)},
    )  # fmt: skip
    shown = Reader(mistune.html(card(evil)))  # type: ignore[arg-type]
    usual = mistune.html(
        card(replace(plain, settings=settings | {"texts": "t", "model": "m", "unlabeled": "u"}))
    )
    assert shown.seen == Reader(usual).seen  # type: ignore[arg-type]
    assert shown.words.count(" ".join(text.split())) == 9


CONTROL = "\x1b]0;owned\x07\x1b[2Jred\u202e\x9b1m"


def test_a_label_steers_no_terminal(tmp_path, capsys, monkeypatch):
    rows = Dataset.from_dict(
        {"label": [0, 0]}, features=Features({"label": ClassLabel(names=[CONTROL])})
    )
    work = SimpleNamespace(parts={"train": rows}, options=SimpleNamespace(max_length=8))
    monkeypatch.setattr(pipeline, "load_pretrained", lambda *_: sys.exit())
    with pytest.raises(SystemExit):
        pipeline.measure("m", work)  # type: ignore[arg-type]
    print(replace(REPORT, recall={CONTROL: ((1, 2), (1, 2))}, f1={CONTROL: (0.5, 0.5)}))

    def fails(*_arguments, **_settings):
        raise ValueError(f"Label {CONTROL}")

    monkeypatch.setattr("course_lib.compression.compress", fails)
    assert commands.main(["compress", "t.csv"]) == 1
    said = "".join(capsys.readouterr())
    assert said.count("red") == 4 and "owned" in said
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", said)
    assert "\x1b" not in listed([CONTROL])
