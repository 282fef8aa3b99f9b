"""The door for your own data and your own model: loaded and checked before minutes are spent."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from transformers import PreTrainedModel

from course_lib.batching import lengths
from course_lib.encoders import load_pretrained, quiet, tokenize
from course_lib.groups import FAMILIES, groups
from course_lib.measure import Accuracy
from course_lib.text import normalised
from course_lib.training import evaluate, predict

ROWS, ROWS_OF_A_CLASS = 200, 10  # the fewest that are accepted
FINE_TUNE = (
    "Fine-tune it on your own rows first, as lesson 3's teacher was: training.fit("
    "encoders.load_encoder(name, num_labels=…), …, zoo.TEACHER), then save_pretrained of the result "
    "and of its tokeniser into one folder."
)


@dataclass(frozen=True)
class Own:
    """A text classifier that can be made smaller, with the data to do it.

    Attributes:
        model: a plain `transformers` model, float32, in eval mode.
        tokenizer: its own.
        parts: ``train``, ``validation`` and ``test`` as texts, with the model's numbers as labels.
        data: the same, tokenised, as `training.fit` takes them.
        validation: the model's accuracy on the validation part. The test part was not looked at.
        labels: a word for each of the model's classes, as `onnx_models.save_onnx_folder` takes them.
    """

    model: PreTrainedModel
    tokenizer: Any
    parts: dict[str, Dataset]
    data: dict[str, Dataset]
    validation: Accuracy
    labels: tuple[str, ...]

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {len(part):,}" for name, part in self.data.items())
        return (
            f"{type(self.model).__name__}: {' / '.join(self.labels)}; rows: {rows}; "
            f"on the validation part {self.validation}"
        )


def read_examples(path: str | Path, seed: int = 0) -> DatasetDict:
    """Labelled texts from a file, in three parts: 60 % to train, 20 % to validate, 20 % to test.

    A text that came before is dropped (the same words count as the same text: `text.normalised`), so
    that no text is in two parts; how many is printed. The parts are stratified. Explained in lesson 5.

    Args:
        path: a ``.csv`` with the columns ``text`` and ``label``, or a ``.jsonl`` with these keys.
            Labels are whole numbers 0, 1, …, or words, which are numbered in alphabetical order.
        seed: of the split (default 0).

    Returns:
        ``train``, ``validation`` and ``test`` with the columns ``text`` and ``label``, a `ClassLabel`
        that knows the words.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, lacks a column, a text or a label, or has too few different
            texts, one class, a class with too few rows, labels with gaps or fractions.

    Example:
        >>> import tempfile
        >>> rows = [json.dumps({"text": f"Film {i}.", "label": "no yes".split()[i % 2]})
        ...         for i in range(300)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "mine.jsonl")
        ...     _ = file.write_text("\\n".join(rows))
        ...     parts = read_examples(file)
        mine.jsonl: 300 rows, 0 repeated ones dropped; train 180, validation 60, test 60.
        >>> parts["train"].features["label"].names
        ['no', 'yes']
    """
    path = Path(path)
    rows = _read(path)
    first: dict[str, dict[str, Any]] = {}
    for row in rows:  # signs alone, such as ":)", have no words
        first.setdefault(normalised(row["text"]) or row["text"].strip(), row)
    kept = list(first.values())
    if len(kept) < ROWS:
        n = max(5, len(kept)) // 5
        raise ValueError(
            f"{path.name} has {len(kept)} different texts; expected {ROWS} or more. A fifth of them "
            f"is the validation part, where an accuracy would be {Accuracy(round(0.8 * n), n)}: too "
            "vague to choose by."
        )
    names, numbers = _numbered([str(row["label"]).strip() for row in kept], path.name)
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    texts = [row["text"] for row in kept]
    whole = Dataset.from_dict({"text": texts, "label": numbers}, features=features)
    how: dict[str, Any] = {"stratify_by_column": "label", "seed": seed}
    most = whole.train_test_split(test_size=0.4, **how)
    rest = most["test"].train_test_split(test_size=0.5, **how)
    parts = {"train": most["train"], "validation": rest["train"], "test": rest["test"]}
    sizes = ", ".join(f"{name} {len(part):,}" for name, part in parts.items())
    dropped = len(rows) - len(kept)
    print(f"{path.name}: {len(rows):,} rows, {dropped:,} repeated ones dropped; {sizes}.")
    return DatasetDict(parts)


def own_model(name: str | Path, parts: Mapping[str, Dataset], max_length: int = 64) -> Own:
    """A trained text classifier of `transformers` and your data, ready to be measured and made smaller.

    What would fail later, or give a wrong number without a word, is refused here, as far as possible
    before the weights are fetched. Only safetensors are read, and no code from outside is run.
    Where the data's labels are the model's own words in another order, the data are renumbered.
    Explained in lesson 5.

    Args:
        name: a folder with model and tokeniser that `save_pretrained` wrote, or a model on the Hub.
        parts: ``train``, ``validation`` and ``test`` with the columns ``text`` and ``label``, as
            `read_examples` or `text.reviews` give them.
        max_length: longer texts are cut to so many tokens (default 64).

    Raises:
        ConnectionError: as `encoders.load_encoder`.
        TypeError: the labels are no `ClassLabel`; the model is no text classifier of one class a
            text, or of a family that is not in `groups.FAMILIES`; the tokeniser is not a fast one.
        ValueError: model, tokeniser and data do not fit together; says what came, what was expected
            and what to do.

    Example:
        >>> from course_lib import encoders, text
        >>> own_model(encoders.MINILM, text.reviews())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        TypeError: 'sentence-transformers/all-MiniLM-L6-v2' holds a BertModel; expected a trained ...
    """
    name = str(name)
    words = _label_names(parts)
    config = _load(transformers.AutoConfig, name)
    _check_config(config, name)
    labels, numbers = _matched(words, config, name)
    tokenizer = _load(transformers.AutoTokenizer, name)
    model = _classifier(name)
    _check_tokenizer(tokenizer, model, max_length)
    read, data = {}, {}
    for part in ("train", "validation", "test"):
        renumbered = [numbers[label] for label in parts[part]["label"][:]]
        read[part] = Dataset.from_dict({"text": list(parts[part]["text"][:]), "label": renumbered})
        data[part] = tokenize(read[part], tokenizer, max_length)
    _check_padding(model, data["validation"])
    accuracy = evaluate(model, data["validation"])
    most, count = Counter(data["validation"]["labels"]).most_common(1)[0]
    if accuracy.interval[0] <= count / accuracy.n:
        raise ValueError(
            f"{name!r} answers {accuracy} of the validation part rightly, and always answering "
            f"{labels[most]!r} {Accuracy(count, accuracy.n)}: it is not shown to be any better. Are "
            f"labels swapped? The model's id2label is {config.id2label}, the data's labels are "
            f"{dict(enumerate(words))}. If they are right: {FINE_TUNE}"
        )
    return Own(model, tokenizer, read, data, accuracy, tuple(labels))


# --- the data


def _read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, each with a text and a label."""
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {str(path)!r}; expected a .csv or .jsonl. A path that does not begin "
            "with / starts at the notebook's folder."
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # Excel begins with a BOM
            if path.suffix.lower() == ".jsonl":
                rows = [json.loads(line) for line in file if line.strip()]
            else:
                # Unlike pandas, it leaves words such as "None" alone, and hides no surplus column.
                rows = list(csv.DictReader(file, strict=True))
    except (ValueError, csv.Error, RecursionError) as error:
        raise ValueError(
            f"{path.name} cannot be read: {error}. Expected UTF-8: a .csv with commas between the "
            "columns and texts in double quotes, or a .jsonl with one JSON object a line."
        ) from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not {"text", "label"} <= set(row):
            there = ", ".join(map(repr, row)) if isinstance(row, dict) else repr(row)
            raise ValueError(
                f"Row {number} of {path.name} has {there}; expected 'text' and 'label', separated by "
                "commas in a .csv. Rename what holds them."
            )
        if None in row:
            raise ValueError(
                f"Row {number} of {path.name} has more fields than the first line names: put texts "
                "that hold a comma into double quotes."
            )
        for column, right in (("text", str), ("label", (str, int, float))):
            value = row[column]
            finite = not isinstance(value, float) or math.isfinite(value)  # JSON here knows NaN
            if not isinstance(value, right) or not str(value).strip() or not finite:
                raise ValueError(
                    f"Row {number} of {path.name} has the {column} {value!r}: fill it in, or "
                    "delete the row."
                )
    return rows


def _numbered(words: Sequence[str], file: str) -> tuple[list[str], list[int]]:
    """The names of the classes, and the number of each row's class."""
    names = sorted(set(words))
    if all(re.fullmatch(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", name, re.IGNORECASE) for name in names):
        expected = [str(number) for number in range(len(names))]
        if set(names) != set(expected):
            raise ValueError(
                f"The labels of {file} are {_some(names)}; expected whole numbers without a gap, "
                f"{_some(expected)}, or words."
            )
        names = expected
    count = Counter(words)
    if len(names) == 1:
        raise ValueError(f"Every label of {file} is {names[0]!r}; expected two classes or more.")
    if few := [f"{name!r}: {count[name]}" for name in names if count[name] < ROWS_OF_A_CLASS]:
        raise ValueError(
            f"Of {len(names)} classes in {file}, {len(few)} have too few rows ({_some(few)}); "
            f"expected {ROWS_OF_A_CLASS} or more of each. Add rows, or join or drop small classes."
        )
    number = {name: i for i, name in enumerate(names)}
    return names, [number[word] for word in words]


def _label_names(parts: Mapping[str, Dataset]) -> list[str]:
    """The words of the data's labels, in the order of their numbers."""
    order = ("train", "validation", "test")
    for part in order:
        columns = parts[part].column_names if part in parts else []
        if not {"text", "label"} <= set(columns):
            raise ValueError(
                f"The data have the parts {sorted(parts)}, and {part!r} the columns {columns}; "
                "expected train, validation and test with 'text' and 'label', as of read_examples."
            )
        feature = parts[part].features["label"]
        if not isinstance(feature, ClassLabel):
            raise TypeError(
                f"The labels of {part!r} are {feature}; expected a ClassLabel, as read_examples gives: "
                "part.cast_column('label', datasets.ClassLabel(names=[…]))."
            )
        if not len(parts[part]) or min(parts[part]["label"]) < 0:  # GLUE's test part has −1
            raise ValueError(f"The part {part!r} is empty or has hidden labels (−1); label it.")
    names = {part: list(parts[part].features["label"].names) for part in order}
    for part, found in names.items():
        if found != names["train"]:
            raise ValueError(
                f"Label 0, 1, … of {part!r} is called {_some(found)}, and of 'train' "
                f"{_some(names['train'])}; expected the same words in the same order: "
                "part.align_labels_with_mapping(…, 'label')."
            )
    return names["train"]


# --- the model


def _load(auto: Any, name: str, **settings: Any) -> Any:
    try:
        with quiet():
            return load_pretrained(auto, name, **settings)
    except ConnectionError:
        raise
    except Exception as error:  # whatever transformers makes of a folder that is not meant for it
        raise ValueError(
            f"{name!r} cannot be loaded by {auto.__name__}: {error} Expected what save_pretrained of "
            "the model and of its tokeniser write: config.json, model.safetensors, tokenizer.json. "
            "Here no pickle is read and no code from outside is run."
        ) from error


def _check_config(config: Any, name: str) -> None:
    kind = (getattr(config, "architectures", None) or [""])[0]
    if kind and not kind.endswith("ForSequenceClassification"):
        raise TypeError(
            f"{name!r} holds a {kind}; expected a trained text classifier (…ForSequenceClassification)"
            f". If it reads text: {FINE_TUNE}"
        )
    several = config.problem_type == "multi_label_classification"
    if several or config.problem_type == "regression" or config.num_labels == 1:
        what = "several labels a text" if several else "a number (regression)"
        raise TypeError(
            f"{name!r} predicts {what} (problem_type {config.problem_type!r}, num_labels "
            f"{config.num_labels}); expected one of two or more classes a text. {FINE_TUNE}"
        )
    if config.model_type not in FAMILIES:
        raise TypeError(
            f"{name!r} is of the family {config.model_type!r}, which cannot be pruned here; known are "
            f"{', '.join(FAMILIES)}. Choose one of these, or add a row to course_lib.groups.FAMILIES."
        )


def _matched(words: list[str], config: Any, name: str) -> tuple[list[str], Sequence[int]]:
    """A word for each of the model's classes, and the model's number for each of the data's."""
    theirs = [str(label) for _, label in sorted(config.id2label.items())]
    if len(theirs) != len(words):
        raise ValueError(
            f"{name!r} knows {len(theirs)} classes ({_some(theirs)}), and the data have {len(words)} "
            f"({_some(words)}). Drop or join rows until they are the same. Or: {FINE_TUNE}"
        )
    known, ours = ([word.casefold() for word in row] for row in (theirs, words))
    if sorted(known) == sorted(ours):
        return theirs, [known.index(word) for word in ours]
    if set(words) == {str(number) for number in range(len(words))}:  # they are the model's numbers
        return theirs, [int(word) for word in words]
    if all(re.fullmatch(r"(label_)?\d+", word) for word in known):  # a model without words
        return words, range(len(words))
    raise ValueError(
        f"{name!r} calls its classes {_some(theirs)}, and the data {_some(words)}: which is which? "
        "Use the model's words in the data, in any order, or its numbers: "
        f"{_some([f'{i} for {label}' for i, label in enumerate(theirs)])}."
    )


def _classifier(name: str) -> PreTrainedModel:
    model, report = _load(
        transformers.AutoModelForSequenceClassification,
        name,
        dtype=torch.float32,  # half precision is slow on a CPU, and does not train well
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # to be named below
        output_loading_info=True,
    )
    lost = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if lost:
        raise ValueError(
            f"The weights of {name!r} lack {_some(lost)}: no trained {type(model).__name__}. "
            + FINE_TUNE
        )
    groups(model)  # refuses what was added to the layers, such as adapters
    return model.eval()


def _check_tokenizer(tokenizer: Any, model: PreTrainedModel, max_length: int) -> None:
    kind, config = type(tokenizer).__name__, model.config
    if not getattr(tokenizer, "is_fast", False):
        raise TypeError(f"The tokeniser is a {kind}; expected a fast one, with a tokenizer.json.")
    ids = set(tokenizer.get_vocab().values())
    if ids <= set(tokenizer.all_special_ids):  # transformers makes an empty one without a word
        raise ValueError(
            f"The tokeniser, a {kind}, knows no words: is none saved with the model? "
            "tokenizer.save_pretrained(folder) adds it."
        )
    if tokenizer.pad_token_id is None or config.pad_token_id is None:
        raise ValueError(
            f"The pad token is {tokenizer.pad_token!r} in the tokeniser (id {tokenizer.pad_token_id}), "
            f"and has the id {config.pad_token_id} in the model's config; expected one in both. Set "
            "tokenizer.pad_token and model.config.pad_token_id, and save both again."
        )
    rows = model.get_input_embeddings().num_embeddings  # type: ignore[union-attr]
    if max(ids) >= rows:
        raise ValueError(
            f"The tokeniser has ids up to {max(ids):,}, and the model rows for {rows:,}: they do not "
            "belong together. Save the tokeniser that the model was trained with; after adding tokens, "
            "model.resize_token_embeddings(len(tokenizer)) and train."
        )
    # RoBERTa counts positions from behind its padding id.
    before = config.pad_token_id + 1 if config.model_type == "roberta" else 0
    if max_length > config.max_position_embeddings - before:
        raise ValueError(
            f"max_length is {max_length}, and the model reads at most "
            f"{config.max_position_embeddings - before} tokens; give max_length that or less."
        )


def _check_padding(model: PreTrainedModel, rows: Dataset) -> None:
    """A text alone must get the answer that it gets beside a longer one."""
    order = sorted(range(len(rows)), key=lengths(rows).__getitem__)
    few = rows.select(order[:4] + order[-4:])
    gap = float((predict(model, few) - predict(model, few, batch_size=1)).abs().max())
    if not gap <= 1e-3:
        raise ValueError(
            f"The model's answers change by {gap:.2g} when a text is padded, as batches are here, with "
            f"id 0; its own pad token has the id {model.config.pad_token_id}. Models that look for the "
            "last token by its id, such as GPT-2, need a pad token of id 0. An encoder (BERT, "
            "DistilBERT, RoBERTa, ELECTRA) does not."
        )


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:6]) + (" …" if len(words) > 6 else "")
