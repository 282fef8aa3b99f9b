"""Your own model with your own data: loaded and checked before minutes are spent."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import ClassLabel, Dataset
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from transformers import PreTrainedModel

from course_lib import modules
from course_lib.batching import lengths
from course_lib.datasets.custom_data import listed
from course_lib.datasets.tokenization import Lengths, lengths_of, tokenize
from course_lib.evaluation.accuracy import Accuracy
from course_lib.evaluation.prediction import predict, right_answers
from course_lib.evaluation.significance import paired_test
from course_lib.files import quoted
from course_lib.models.encoders import load_encoder, load_pretrained
from course_lib.serialization import advice_on_widths
from course_lib.structured.dependency import groups

FINE_TUNE = (
    "Fine-tune it on your own rows first, as lesson 3's teacher was: training.fit("
    "load_encoder(name, num_labels=…), …, zoo.TEACHER), then save_pretrained of the result "
    "and of its tokenizer into one folder."
)


@dataclass(frozen=True)
class CustomModel:
    """A text classifier that can be compressed, and the data to do it.

    Attributes:
        model: a plain `transformers` model, float32, in eval mode.
        tokenizer: the model's tokenizer.
        parts: ``train``, ``validation`` and ``test`` as texts, labeled with the model's class numbers.
        data: the same, tokenized, as `training.fit` takes them.
        validation: the model's accuracy on the validation part. The test part has not been used.
        labels: a word for each of the model's classes, as `quantization.save_onnx_folder` takes them.
        lengths: of the training texts in tokens, uncut; `lengths.advice` says what to do about them.
    """

    model: PreTrainedModel
    tokenizer: Any
    parts: dict[str, Dataset]
    data: dict[str, Dataset]
    validation: Accuracy
    labels: tuple[str, ...]
    lengths: Lengths

    @property
    def max_length(self) -> int:
        """How many tokens of a text are read. Give it to `datasets.tokenize`, so that a student reads
        as many; `quantization.save_onnx_folder` takes it from the tokenizer."""
        return self.lengths.max_length

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {len(part):,}" for name, part in self.data.items())
        return (
            f"{type(self.model).__name__}: {' / '.join(self.labels)}; rows: {rows}; cut at "
            f"{self.max_length} tokens: {100 * self.lengths.share_cut:.1f} % of the training texts "
            f"(95th percentile {self.lengths.percentile(95)}); on the validation part {self.validation}"
        )


def load_custom_model(
    name: str | Path,
    parts: Mapping[str, Dataset],
    max_length: int = 64,
    *,
    train: Callable[[Any, Dataset], Any] | None = None,
) -> CustomModel:
    """A trained text classifier of `transformers` with your data, checked and ready to be compressed.

    Whatever would fail later, or silently give a wrong number, is an error here, where possible before
    the weights are downloaded. Only safetensors are read, and no code from outside is run. Data that
    use the model's own words in another order are renumbered. Explained in lesson 6.

    Args:
        name: a folder with model and tokenizer that `save_pretrained` wrote, or a model on the Hub.
        parts: ``train``, ``validation`` and ``test`` with the columns ``text`` and ``label``, as
            `read_examples` or `sentences.reviews` give them.
        max_length: longer texts are cut to so many tokens (default 64).
        train: for an encoder that is no classifier yet (`is_classifier`): takes it with a new
            classifier on top and the tokenized training part, and returns the trained model.

    Raises:
        ConnectionError, FileNotFoundError: as `load_encoder`.
        TypeError: the labels are no `ClassLabel`; the model is no text classifier with one class per
            text; the tokenizer is not a fast one.
        ValueError: the folder is damaged, or model, tokenizer and data do not fit together; says what
            came, what was expected and what to do.

    Example:
        >>> from course_lib.datasets import sentences
        >>> from course_lib.models.encoders import MINILM
        >>> load_custom_model(MINILM, sentences.reviews())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        TypeError: 'sentence-transformers/all-MiniLM-L6-v2' holds a BertModel; expected a trained ...
    """
    name = str(name)
    words = _label_names(parts)
    config = load_pretrained(transformers.AutoConfig, name)
    if train is None:
        _check_config(config, name)
        labels, numbers = _matched(words, config, name)
    else:
        labels, numbers = words, range(len(words))
    tokenizer = load_pretrained(transformers.AutoTokenizer, name)
    model = _classifier(name) if train is None else _with_new_classifier(name, labels)
    _check_tokenizer(tokenizer, model, max_length)
    # Before the others: the tokenizer goes on cutting where it did last.
    length = lengths_of(
        parts["train"]["text"][:], tokenizer, max_length, modules.longest_text(model)
    )
    texts, data = {}, {}
    for part in ("train", "validation", "test"):
        renumbered = [numbers[label] for label in parts[part]["label"][:]]
        texts[part] = Dataset.from_dict({"text": list(parts[part]["text"][:]), "label": renumbered})
        data[part] = tokenize(texts[part], tokenizer, max_length)
    if train is not None:
        model = train(model, data["train"])
    _check_padding(model, data["validation"])
    logits = predict(model, data["validation"])
    right = right_answers(logits, data["validation"])
    accuracy = Accuracy(int(right.sum()), len(right))
    most, count = Counter(data["validation"]["labels"]).most_common(1)[0]
    always = f"always answering {labels[most]!r} for {Accuracy(count, accuracy.n)}"
    if accuracy.interval[0] <= count / accuracy.n and train is not None:
        raise ValueError(
            f"After training on {len(data['train']):,} rows, {name!r} is right for {accuracy} of the "
            f"validation part, and {always}: it is not shown to be better. Are the labels right, and "
            "can they be told from the texts? If so, add rows."
        )
    called = (
        f"The model's id2label is {quoted(config.id2label)}, the data's labels are "
        f"{quoted(dict(enumerate(words)))}"
    )
    if train is None and (order := _other_order(logits, data["validation"], labels)):
        raise ValueError(
            f"{name!r} is right for {accuracy} of the validation part, and {order}. Are labels "
            f"swapped? {called}. Where yours are right, name the model's so in id2label of its "
            "config.json."
        )
    if accuracy.interval[0] <= count / accuracy.n:
        raise ValueError(
            f"{name!r} is right for {accuracy} of the validation part, and {always}: it is not shown "
            f"to be better. {called}. If they are right: {FINE_TUNE}"
        )
    return CustomModel(model, tokenizer, texts, data, accuracy, tuple(labels), length)


def _other_order(logits: Tensor, rows: Dataset, labels: Sequence[str]) -> str:
    """Which order of the classes fits the answers better than the given one, beyond chance, if any."""
    answers, numbers = logits.argmax(-1), torch.tensor(rows["labels"][:])
    n = logits.shape[-1]
    counts = torch.bincount(n * answers + numbers, minlength=n * n).view(n, n).double()
    # Less than one answer in favor of staying: classes without an answer keep their names.
    counts += torch.eye(n) / (n + 1)
    order = torch.tensor(linear_sum_assignment(counts.numpy(), maximize=True)[1])
    renamed = {i: labels[to] for i, to in enumerate(order.tolist()) if i != to}
    better = order[answers] == numbers
    # It was chosen by the same answers, from all that rename so many classes: Bonferroni.
    chosen_from = min(math.perm(n, len(renamed)), 10**300)
    if paired_test(better, answers == numbers).p_value >= 0.01 / chosen_from:
        return ""
    return f"with {quoted(renamed)} for {Accuracy(int(better.sum()), len(better))}"


def _label_names(parts: Mapping[str, Dataset]) -> list[str]:
    """The words of the data's labels, in the order of their numbers."""
    order = ("train", "validation", "test")
    for part in order:
        columns = parts[part].column_names if part in parts else []
        if not {"text", "label"} <= set(columns):
            raise ValueError(
                f"The data have the parts {listed(sorted(parts))}, and {part!r} the columns "
                f"{quoted(columns)}; expected train, validation and test with 'text' and 'label', as "
                "read_examples gives them."
            )
        feature = parts[part].features["label"]
        if not isinstance(feature, ClassLabel):
            raise TypeError(
                f"The labels of {part!r} are {quoted(feature)}; expected a ClassLabel, as from "
                "read_examples: part.cast_column('label', datasets.ClassLabel(names=[…]))."
            )
        if not len(parts[part]) or min(parts[part]["label"]) < 0:  # GLUE's test part has −1
            raise ValueError(f"The part {part!r} is empty or has hidden labels (−1); label it.")
    names = {part: list(parts[part].features["label"].names) for part in order}
    for part, words in names.items():
        if words != names["train"]:
            raise ValueError(
                f"Label 0, 1, … of {part!r} is called {listed(words)}, and of 'train' "
                f"{listed(names['train'])}; expected the same words in the same order: "
                "part.align_labels_with_mapping(…, 'label')."
            )
    return names["train"]


def is_classifier(name: str | Path) -> bool:
    """Whether a model is a trained text classifier, by its config alone; errors as `load_encoder`.

    Example:
        >>> from course_lib.models.encoders import MINILM
        >>> is_classifier(MINILM)
        False
    """
    kind = _architecture(load_pretrained(transformers.AutoConfig, str(name)))
    return kind.endswith("ForSequenceClassification")


def longest_text(config: Any) -> int:
    """How many tokens a model reads, by its config.

    Example:
        >>> longest_text(transformers.XLMRobertaConfig())  # 512 places, the first two unused
        510
    """
    with torch.device("meta"):
        return modules.longest_text(transformers.AutoModel.from_config(config))


def _architecture(config: Any) -> str:
    return str((getattr(config, "architectures", None) or [""])[0])


def _check_config(config: Any, name: str) -> None:
    kind = _architecture(config)
    if kind and not kind.endswith("ForSequenceClassification"):
        raise TypeError(
            f"{quoted(name)} holds a {kind[:80]}; expected a trained text classifier "
            "(…ForSequenceClassification)"
            f". If it reads text: {FINE_TUNE}"
        )
    several = config.problem_type == "multi_label_classification"
    if several or config.problem_type == "regression" or config.num_labels == 1:
        what = "several labels per text" if several else "a number (regression)"
        raise TypeError(
            f"{quoted(name)} predicts {what} (problem_type {config.problem_type!r}, num_labels "
            f"{config.num_labels}); expected one of two or more classes per text. {FINE_TUNE}"
        )


def _matched(words: list[str], config: Any, name: str) -> tuple[list[str], Sequence[int]]:
    """A word for each of the model's classes, and the model's number for each of the data's."""
    classes = [str(label) for _, label in sorted(config.id2label.items())]
    if len(classes) != len(words):
        raise ValueError(
            f"{name!r} has {len(classes)} classes ({listed(classes)}), and the data {len(words)} "
            f"({listed(words)}). Drop or join rows until they are the same. Or: {FINE_TUNE}"
        )
    lower, wanted = ([word.casefold() for word in row] for row in (classes, words))
    if sorted(lower) == sorted(wanted):
        return classes, [lower.index(word) for word in wanted]
    if set(words) == {str(number) for number in range(len(words))}:  # they are the model's numbers
        return classes, [int(word) for word in words]
    if all(re.fullmatch(r"(label_)?\d+", word) for word in lower):  # a model without words
        return words, range(len(words))
    raise ValueError(
        f"{name!r} calls its classes {listed(classes)}, and the data {listed(words)}: which is which? "
        "Use the model's words in the data, in any order, or its numbers: "
        f"{listed([f'{i} for {label}' for i, label in enumerate(classes)])}."
    )


def _classifier(name: str) -> PreTrainedModel:
    model, report = load_pretrained(
        transformers.AutoModelForSequenceClassification,
        name,
        dtype=torch.float32,  # half precision is slow on a CPU, and does not train well
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # to be named below
        output_loading_info=True,
    )
    lost = sorted([*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])])
    if lost:
        cure = FINE_TUNE
        if report["mismatched_keys"]:
            cure = f"{advice_on_widths(Path(name))} Name the model from before it was pruned."
        raise ValueError(
            f"The weights of {name!r} lack {listed(lost)}: no trained {type(model).__name__}. {cure}"
        )
    groups(model)  # refuses what was added to the layers, such as adapters
    return model.eval()


def _with_new_classifier(name: str, labels: list[str]) -> Any:
    model: Any = load_encoder(name, num_labels=len(labels))
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: i for i, label in enumerate(labels)}
    groups(model)  # refuses what was added to the layers, such as adapters
    return model


def _check_tokenizer(tokenizer: Any, model: PreTrainedModel, max_length: int) -> None:
    kind, config = type(tokenizer).__name__, model.config
    if not getattr(tokenizer, "is_fast", False):
        raise TypeError(f"The tokenizer is a {kind}; expected a fast one, with a tokenizer.json.")
    ids = set(tokenizer.get_vocab().values())
    if ids <= set(tokenizer.all_special_ids):  # transformers silently makes an empty one
        raise ValueError(
            f"The tokenizer, a {kind}, has no words. Was it saved with the model? "
            "tokenizer.save_pretrained(folder) adds it."
        )
    if tokenizer.pad_token_id is None or config.pad_token_id is None:
        raise ValueError(
            f"The pad token is {tokenizer.pad_token!r} in the tokenizer (id {tokenizer.pad_token_id}), "
            f"and has the id {config.pad_token_id} in the model's config; expected one in both. Set "
            "tokenizer.pad_token and model.config.pad_token_id, and save both again."
        )
    rows = model.get_input_embeddings().num_embeddings  # type: ignore[union-attr]
    if max(ids) >= rows:
        raise ValueError(
            f"The tokenizer has ids up to {max(ids):,}, and the model rows for {rows:,}: they do not "
            "belong together. Save the tokenizer that the model was trained with; after adding tokens, "
            "model.resize_token_embeddings(len(tokenizer)) and train."
        )
    most = modules.longest_text(model)
    if max_length > most:
        raise ValueError(
            f"max_length is {max_length}, and the model reads at most {most} tokens; "
            "give max_length that or less."
        )


def _check_padding(model: PreTrainedModel, rows: Dataset) -> None:
    """A text must get the same answer alone and in a batch with longer ones."""
    order = sorted(range(len(rows)), key=lengths(rows).__getitem__)
    few = rows.select(order[:4] + order[-4:])
    gap = float((predict(model, few) - predict(model, few, batch_size=1)).abs().max())
    if not gap <= 1e-3:
        raise ValueError(
            f"The model's answers change by {gap:.2g} when a text is padded beside longer ones, with "
            f"its own pad token (id {model.config.pad_token_id}). Models that look for the last token "
            "by its id, such as GPT-2, need the pad_token_id in their config that they were trained "
            "with, and a token that ends no text."
        )
