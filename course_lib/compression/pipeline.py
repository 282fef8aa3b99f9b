"""`compress`: a file of labeled texts and a model go in, a small model's folder comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from torch import Tensor

from course_lib import evaluation
from course_lib.compression import measuring, shapes, teaching
from course_lib.compression.model_card import PICTURE, card
from course_lib.compression.report import FILE, Report, stored_report
from course_lib.compression.shapes import Shape, Target
from course_lib.compression.work import Options, Work, settings_of
from course_lib.datasets.custom_data import class_counts, read_examples, read_unlabeled
from course_lib.datasets.tokenization import lengths_of, tokenize
from course_lib.files import printable
from course_lib.models.custom_model import load_custom_model, longest_text
from course_lib.models.encoders import MINILM, load_pretrained, load_tokenizer
from course_lib.quantization.int8 import quantize
from course_lib.quantization.onnx_export import OnnxClassifier, check_folder, save_onnx_folder
from course_lib.structured.importance import gate_taylor
from course_lib.structured.transformers import layers_of
from course_lib.training.recipe import Recipe


def compress(
    texts: str | Path,
    model: str | Path = MINILM,
    out: str | Path = "my-small-model",
    *,
    target: Target = Target(),  # noqa: B008 - frozen
    unlabeled: str | Path | None = None,
    options: Options = Options(),  # noqa: B008 - frozen
) -> Report:
    """Make a small copy of a text classifier: measure, choose, prune, distill, int8, measure again.

    `out` becomes a folder that answers without PyTorch: ``python out/run.py "A text."``. Beside the
    model lie a card (README.md), a picture and report.json. What takes minutes is kept in the cache
    while it is made, so that the same call goes on after Ctrl-C and ends with the same model. If the
    folder was made from the same things before, its report is returned. Explained in lesson 6.

    Args:
        texts: your labeled texts, as for `datasets.read_examples`.
        model: a trained classifier, as for `models.load_custom_model`; or an encoder, as for
            `models.load_encoder`, which is then fine-tuned on your texts (default: MiniLM).
        out: a new folder, or one that was written here before: that is replaced.
        target: megabytes, milliseconds, points that you can lose (default: 2 points).
        unlabeled: more text of the same kind, as for `datasets.read_unlabeled` (default: variations of
            the labeled texts).
        options: all else.

    Raises:
        FileExistsError: the folder holds something else; before any work.
        FileNotFoundError, TypeError, ValueError: what does not fit together; says what to do.
    """
    out = Path(out)
    check_folder(out)
    more = None if unlabeled is None else read_unlabeled(unlabeled, options.text)
    parts = read_examples(texts, options.seed, text=options.text, label=options.label)
    settings = settings_of(texts, model, target, unlabeled, options)
    if (done := stored_report(out)) is not None and done.settings == settings:
        print(f"{out.name} was made from the same things before: this is its report.")
        return done
    work = Work(options, target, settings, parts)
    with work.step("measure"):
        measure(str(model), work)
    with work.step("choose"):
        rows, others = texts_to_read(more, work)
        tokens = teaching.tokens_to_keep(work.mine.data["train"], others, _tokens(work.mine.model))
        shape, base = choose_shape(tokens, work)
    with work.step("prune"):
        few = work.mine.data["train"].select(
            range(min(options.scored_on, len(work.mine.data["train"])))
        )
        score, longest = gate_taylor(base, few), work.mine.max_length
        pruned, words = shapes.cut(base, work.mine.tokenizer, shape, tokens, score, longest)
        data = {part: tokenize(rows_, words, longest) for part, rows_ in work.mine.parts.items()}
        work.note("prune", pruned, data["validation"])
    with work.step("distill"):
        student = taught(pruned, words, rows, shape, work)
        work.note("distill", student, data["validation"])
    with work.step("int8"):
        small = quantize(student)
        work.note("int8", small, data["validation"])
    with work.step("measure again"):
        compared = compare(small, data["test"], work)
    report = Report(
        folder=out.name,
        settings=settings,
        rows={name: len(part) for name, part in parts.items()},
        classes=class_counts(parts),
        lengths=_lengths(work),
        cut=_what_was_cut(work.mine.model, pruned, shape),
        stages=work.stages,
        megabytes=(work.stages["teacher"][0], work.stages["int8"][0]),
        minutes=work.minutes,
        **compared,
    )
    beside = {
        FILE: report.save(),
        PICTURE: report.picture().png(),
        "README.md": card(report).encode(),
    }
    save_onnx_folder(small, out, words, work.mine.labels, longest, beside)
    return report


def measure(model: str, work: Work) -> None:
    """Look at the texts, load the large model or train it, and measure it on the validation part."""
    counts = class_counts(work.parts)
    for name, row in counts.items():
        print(printable(f"  {name}: {', '.join(f'{part} {n:,}' for part, n in row.items())}"))
    trained = [row["train"] for row in counts.values()]
    if max(trained) >= 3 * min(trained):
        print("  The classes are uneven: look at the recall of each, not at the accuracy alone.")
    most = longest_text(load_pretrained(transformers.AutoConfig, model))
    texts = work.parts["train"]["text"][:]
    work.lengths = lengths_of(texts, load_tokenizer(model), work.options.max_length, most)
    print("\n".join(f"  {line}" for line in (work.lengths, work.lengths.advice) if str(line)))

    def train(encoder: Any, rows: Dataset) -> Any:
        passes = teaching.passes_over(len(rows))
        print(
            f"  {model} is no classifier yet: it is trained on {len(rows):,} texts, {passes} times."
        )
        _estimate(passes * len(rows), encoder, rows)
        return teaching.fine_tuned(encoder, rows, work.options.seed)

    how = {} if work.settings["classifier"] else {"train": train}
    work.mine = load_custom_model(model, work.parts, work.lengths.max_length, **how)
    work.note("teacher", work.mine.model, work.mine.validation)


def texts_to_read(more: list[str] | None, work: Work) -> tuple[Dataset, Dataset]:
    """The texts that the student reads, some with a label; and the tokens of those without one."""
    mine, options = work.mine, work.options
    found = teaching.text_to_read(work.parts, more, mine.model, mine.tokenizer, options.seed)
    labeled = mine.parts["train"].shuffle(seed=options.seed)
    others = Dataset.from_dict({"text": found}).shuffle(seed=options.seed)
    n = min(len(labeled), max(options.reads // 2, options.reads - len(others)))
    labeled = labeled.select(range(n))
    others = others.select(range(min(len(others), options.reads - n)))
    kind = "variations of them" if more is None else "unlabeled ones"
    print(f"  The student reads {len(labeled):,} labeled texts and {len(others):,} {kind}.")
    return (
        teaching.with_more(labeled, others),
        tokenize(others, mine.tokenizer, work.lengths.max_length),
    )


def choose_shape(tokens: Tensor, work: Work) -> tuple[Shape, Any]:
    """The largest shape that keeps to the target, and the large model with as many layers.

    Raises:
        ValueError: none does.
    """
    target, asked, model = work.target, work.options.shape, work.mine.model
    longest, fastest = work.lengths.max_length, float("inf")
    print(f"  {len(tokens):,} of {_tokens(model):,} tokens stay.")
    for shape in [asked] if asked else shapes.fitting(model, target, len(tokens), longest):
        base = shapes.fewer_layers(model, shape.layers)
        size = shapes.int8_bytes(model, shape, len(tokens), longest) / 1e6
        print(f"  {shape}: about {size:.1f} MB in int8", flush=True)
        if target.milliseconds is None or asked:
            return shape, base
        taken = _milliseconds(base, shape, tokens, work)
        fastest = min(taken, fastest)
        print(f"  measured with untrained weights: {taken:.2f} ms", flush=True)
        if taken <= target.milliseconds:
            return shape, base
    raise ValueError(
        f"No shape tried here needs at most {target.milliseconds:g} ms for a text of median length "
        f"on this machine; the fastest took {fastest:.2f} ms. Allow more, or give a shape with fewer "
        "layers."
    )


def taught(pruned: Any, words: Any, rows: Dataset, shape: Shape, work: Work) -> Any:
    """The pruned model after distillation.

    Args:
        pruned, words: the model as it was cut, and its tokenizer.
        rows: texts, with the label −100 where there is none.
        shape: of the pruned model.
        work: has the teacher.
    """
    longest = work.lengths.max_length
    asked = tokenize(rows, work.mine.tokenizer, longest)
    passes = min(teaching.MOST_PASSES, max(1, round(work.options.reads / len(rows))))
    print(f"  {len(rows):,} texts, read {passes} time{'s' * (passes > 1)}")
    read = tokenize(rows, words, longest)
    _estimate(passes * len(rows), pruned, read, answered=(work.mine.model, asked))
    recipe = Recipe(
        passes, lr=2e-4 / shape.width**0.5, batch_size=32, warmup=0.1, decay=True,
        seed=work.options.seed,
    )  # fmt: skip
    pruned.get_input_embeddings().requires_grad_(shape.rank is not None)
    return teaching.distilled(pruned, read, teaching.answers(work.mine.model, asked), recipe)


def compare(small: OnnxClassifier, test: Dataset, work: Work) -> dict[str, Any]:
    """Both models on the test part, and their latency: fields of a `Report`."""
    mine, lengths, truth = work.mine, work.lengths, torch.tensor(test["labels"][:])
    answers = (
        measuring.answers_of(mine.model, mine.data["test"]),
        measuring.answers_of(small, test, batch_size=1),
    )
    right = {name: a == truth for name, a in zip(("before", "after"), answers, strict=True)}
    right["TF-IDF"] = measuring.linear_baseline(work.parts)
    recalls = [measuring.recall(right[name], truth, mine.labels) for name in ("before", "after")]
    f1s = [measuring.f1(one, truth, mine.labels) for one in answers]
    at = {"median length": lengths.percentile(50), "the 95th percentile": lengths.percentile(95)}
    at = {name: max(1, min(lengths.max_length, n)) for name, n in at.items()}
    at = {f"{name} ({n} tokens)": n for name, n in at.items()}
    times = measuring.times(mine.model, small, at, work.options.rounds)
    after = right["after"]
    return {
        "test": {name: (int(one.sum()), len(one)) for name, one in right.items()},
        "differing": {
            name: (int((right[name] & ~after).sum()), int((after & ~right[name]).sum()))
            for name in ("before", "TF-IDF")
        },
        "recall": {
            label: tuple((one[label].correct, one[label].n) for one in recalls)
            for label in recalls[0]
        },
        "f1": {label: (f1s[0][label], f1s[1][label]) for label in f1s[0]},
        "milliseconds": {name: found[0] for name, found in times.items()},
        "speedups": {name: found[1] for name, found in times.items()},
    }


def _estimate(
    reads: int, model: Any, rows: Dataset, answered: tuple[Any, Dataset] | None = None
) -> None:
    """Say how long a training will take: a step costs about three times a forward pass."""
    seconds = 3 * reads * measuring.seconds_for(model, rows)
    if answered is not None:
        seconds += len(answered[1]) * measuring.seconds_for(*answered)
    print(f"  This takes about {max(0.1, seconds / 60):.1f} minutes.", flush=True)


def _milliseconds(base: Any, shape: Shape, tokens: Tensor, work: Work) -> float:
    """Latency of a shape before it is trained: it does not depend on the weights."""
    cut, _ = shapes.cut(
        base, work.mine.tokenizer, shape, tokens, shapes.first_units, work.lengths.max_length
    )
    with evaluation.one_thread():
        small = OnnxClassifier(quantize(cut).content(), threads=1)
        text = measuring.text_of(work.lengths.percentile(50))
        return evaluation.latency({"it": small}, text, rounds=10)["it"].median


def _lengths(work: Work) -> dict[str, float]:
    return {
        "median": work.lengths.percentile(50),
        "95th percentile": work.lengths.percentile(95),
        "longest": max(work.lengths.tokens),
        "share cut": work.lengths.share_cut,
        "max_length": work.lengths.max_length,
    }


def _what_was_cut(large: Any, small: Any, shape: Shape) -> dict[str, tuple[str, str]]:
    columns = large.get_input_embeddings().weight.shape[1]
    sizes: dict[str, Any] = {
        "layers": tuple(len(layers_of(m)[1]) for m in (large, small)),
        "tokens": (_tokens(large), _tokens(small)),
        "numbers stored for each token": (columns, shape.rank or columns),
        "parameters": tuple(sum(p.numel() for p in m.parameters()) for m in (large, small)),
    }
    found = {name: (f"{a:,}", f"{b:,}") for name, (a, b) in sizes.items()}
    found["architecture"] = large.config.model_type, small.config.model_type
    found["heads and feed-forward units in a layer"] = ("all", f"{100 * shape.width:.3g} %")
    return found | {"bits of a weight": ("32", "8")}


def _tokens(model: Any) -> int:
    return int(model.get_input_embeddings().num_embeddings)
