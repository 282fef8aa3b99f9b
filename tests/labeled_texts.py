"""Files of labeled texts, as a learner brings them."""

from __future__ import annotations

import json
import string
from pathlib import Path


def sentences(n: int = 240) -> list[str]:
    """All different; the odd ones are great."""
    letters = string.ascii_lowercase
    return [
        f"{('dull', 'great')[i % 2]} film {'so ' * (i % 5)}{letters[i % 26]}{letters[i // 26]}"
        for i in range(n)
    ]


def written(folder: Path, labels=("no", "yes"), n: int = 240, name: str = "mine.csv") -> Path:
    """A file whose odd rows have the second label."""
    rows = [(text, labels[i % len(labels)]) for i, text in enumerate(sentences(n))]
    file = folder / name
    if name.endswith("jsonl"):
        file.write_text("\n".join(json.dumps({"text": a, "label": b}) for a, b in rows))
    else:
        file.write_text("\n".join(["text,label", *(f'"{a}",{b}' for a, b in rows)]))
    return file
