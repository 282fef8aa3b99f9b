"""``python -m course_lib compress reviews.csv``: a small copy of your own text classifier."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from course_lib.files import printable

EXAMPLES = """\
examples:
  python -m course_lib compress reviews.csv
  python -m course_lib compress reviews.csv --model my-classifier --unlabeled more.txt --target-mb 8
  python -m course_lib compress reviews.csv --layers 3 --width 0.3 --rank 80 --out smaller

It measures, prunes, distills, quantizes to int8 and measures again. After Ctrl-C, the same
command goes on where it was. Lesson 6 explains each step.
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(
        prog="python -m course_lib compress",
        description="Make a small copy of a text classifier, for your own labeled texts.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add(
        "texts",
        help="a .csv, .tsv or .jsonl with text and label, and perhaps split (train, validation, test)",
    )
    add("--text", default="text", help="the column that holds the text (default: text)")
    add("--label", default="label", help="the column that holds the label (default: label)")
    add(
        "--model",
        help="a classifier or an encoder: a folder, or a name on the Hub (default: MiniLM)",
    )
    add("--out", default="my-small-model", help="the folder to write (default: my-small-model)")
    add(
        "--unlabeled",
        help="more text of the same kind: a .txt with one text a line, .csv or .jsonl",
    )
    add("--target-mb", type=float, help="the largest file, in megabytes")
    add(
        "--target-ms",
        type=float,
        help="the longest time for a text of median length, in milliseconds",
    )
    add(
        "--points",
        type=float,
        default=2.0,
        help="how many points of accuracy you can lose (default: 2)",
    )
    add(
        "--max-length", type=int, help="cut longer texts to so many tokens (default: 32, 64 or 128)"
    )
    add("--layers", type=int, help="how many layers stay, in place of a target")
    add("--width", type=float, help="share of the heads and units that stay, 0 to 1")
    add("--rank", type=int, help="numbers that are stored for each token")
    add("--reads", type=int, default=20_000, help="texts that the student reads (default: 20000)")
    add("--seed", type=int, default=0, help="of the split and of the training (default: 0)")
    return made


def main(arguments: list[str]) -> int:
    """Run the command; 0 when the folder is there, 1 and the reason when not, 130 after Ctrl-C.

    Raises:
        SystemExit: the arguments are not understood.
    """
    given = parser().parse_args(arguments)
    try:
        report = _compress(given)
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    except (OSError, TypeError, ValueError, ImportError, FloatingPointError) as error:
        print(f"compress stopped: {printable(str(error))}", file=sys.stderr)
        return 1
    print(f"\n{report}\n\nWhat to try next:")
    print("\n".join(f"- {line}" for line in report.advice()))
    print(f'\nTry it: python {Path(given.out) / "run.py"} "A text."')
    return 0


def _compress(given: argparse.Namespace) -> Any:
    from course_lib.lessons.settings import prepare_process

    prepare_process()  # before PyTorch is loaded
    from course_lib.compression import Options, Target, compress
    from course_lib.models.encoders import MINILM

    options = Options(
        max_length=given.max_length, shape=_shape(given), seed=given.seed, reads=given.reads,
        text=given.text, label=given.label,
    )  # fmt: skip
    return compress(
        given.texts,
        given.model or MINILM,
        given.out,
        target=Target(given.target_mb, given.target_ms, given.points),
        unlabeled=given.unlabeled,
        options=options,
    )


def _shape(given: argparse.Namespace) -> Any:
    """The shape that was asked for; None where the target decides."""
    from course_lib.compression import Shape

    asked = {name: getattr(given, name) for name in ("layers", "width", "rank")}
    if all(value is None for value in asked.values()):
        return None
    if given.target_mb is not None or given.target_ms is not None:
        raise ValueError(
            "Got a target and a shape; expected one of them. Leave out --target-mb and --target-ms, or "
            "--layers, --width and --rank."
        )
    return Shape(given.layers, 0.25 if given.width is None else given.width, given.rank)
