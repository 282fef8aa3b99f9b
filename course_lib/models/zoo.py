"""The trained networks that lessons share: each is made once and kept in the cache."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from transformers import PreTrainedModel

from course_lib import cache, cached_files
from course_lib.datasets import sentences, sources
from course_lib.datasets.tokenization import tokenize
from course_lib.evaluation.accuracy import Accuracy
from course_lib.evaluation.prediction import not_nan, predict
from course_lib.files import hash_of_tensors, make_room, short_hash, write_atomically
from course_lib.models.encoders import load_encoder, load_tokenizer
from course_lib.training.loop import fit
from course_lib.training.recipe import Recipe, recipe_fields

TEACHER = Recipe(epochs=2, lr=1e-4, batch_size=32, warmup=0.1, decay=True, select_from_last=1)


def made_once(
    name: str, made_from: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Tensors that take long to make: made at the first call, read from the cache at every later one.

    The file's name contains a hash of `made_from`. If anything in it changes, the tensors are made
    again and the old ones stay. `made_from` is written beside the file as JSON.

    Args:
        name: for people; letters, digits and ``-``.
        made_from: everything the result depends on (data, recipe, seeds, versions), fit for JSON.
        make: makes the tensors. Keys and shapes are kept.

    Example:
        >>> made_once("doctest-pi", {"digits": 2}, lambda: {"pi": torch.tensor(3.14)})
        {'pi': tensor(3.1400)}
    """
    recipe = json.dumps(made_from, sort_keys=True, indent=1)
    file = f"zoo/{name}-{short_hash(recipe)}.safetensors"

    @functools.cache
    def tensors() -> dict[str, Tensor]:
        # Cloned: a safetensors file holds no two names of one memory.
        return {k: v.detach().cpu().contiguous().clone() for k, v in make().items()}

    def write(path: Path) -> None:
        save_file(tensors(), path)
        note = (cache.cache_dir() / file).with_suffix(".json")
        make_room(note)
        write_atomically(note, lambda part: part.write_text(recipe))

    with cached_files.going_on_when_full(name):
        return load_file(cached_files.cached_file(file, write))
    return tensors()


def reviews_tokenized(n: int | None = None) -> dict[str, Any]:
    """The reviews as MiniLM's token ids: ``train``, ``validation`` and ``test`` for `training.fit`.

    With `n`, only the first n sentences of each part, for a quick look. Explained in lesson 3.

    Example:
        >>> {name: len(part) for name, part in reviews_tokenized(n=1000).items()}
        {'train': 1000, 'validation': 800, 'test': 1000}
    """
    tokenizer = load_tokenizer()
    return {
        name: tokenize(part.select(range(min(n or len(part), len(part)))), tokenizer)
        for name, part in sentences.reviews().items()
    }


def teacher(n: int | None = None, recipe: Recipe = TEACHER) -> nn.Module:
    """MiniLM-L6, fine-tuned to tell positive from negative movie reviews: the course's teacher.

    Its embeddings stay as they were pretrained. Training takes some minutes on two cores, once; an
    interrupted run continues after its last full epoch. Explained in lesson 3.

    Args:
        n: use only the first n sentences of each part, which gives a different, weaker teacher in
            seconds (default: all of them).
        recipe: how to train (default `TEACHER`).

    Returns:
        A plain `BertForSequenceClassification` in eval mode; class 1 is positive.

    Raises:
        FileNotFoundError: the reviews have not been fetched.
    """
    model: Any = load_encoder()
    model.config.id2label = dict(enumerate(sentences.LABELS))
    model.config.label2id = {label: i for i, label in enumerate(sentences.LABELS)}
    parts = reviews_tokenized(n)
    train = fingerprint(parts["train"])

    def make() -> dict[str, Tensor]:
        print(f"Training the teacher on {len(parts['train']):,} reviews: once, then it is cached.")
        model.base_model.embeddings.requires_grad_(False)
        fitted = fit(
            model,
            {name: parts[name] for name in ("train", "validation")},
            # Teachers of different data start from the same weights: each has its own checkpoint.
            replace(recipe, checkpoint=f"teacher-{train}"),
        )
        return fitted.model.state_dict()

    made_from = {
        "encoder": sources.MINILM_SOURCE,
        "train": train,
        "validation": fingerprint(parts["validation"]),
        "recipe": recipe_fields(recipe),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    model.load_state_dict(made_once("teacher", made_from, make))
    return model.requires_grad_(True).eval()


def cached_logits(model: nn.Module, dataset: Any) -> Tensor:
    """`evaluation.predict` with a cache: the model's logits ``[n, classes]`` on a dataset.

    The key covers all weights, layers, settings and inputs, so a changed model or dataset is never
    mistaken for an old one. Labels do not matter. Explained in lesson 3.

    Raises:
        FloatingPointError: the model outputs NaN; nothing is kept then.
    """
    made_from = {
        "model": f"{type(model).__name__} {hash_of_tensors(model.state_dict())}",
        "layers": short_hash(f"{model} {_settings_of(model)}"),
        "dataset": fingerprint(dataset, labels=False),
        "torch": torch.__version__,
    }
    found = made_once("logits", made_from, lambda: {"logits": not_nan(predict(model, dataset))})
    return not_nan(found["logits"])


def fingerprint(dataset: Any, labels: bool = True) -> str:
    """A hash of everything in a `TensorDataset` or a Hugging Face dataset.

    With ``labels=False``, of the inputs alone.

    Example:
        >>> a, b = torch.zeros(2, 3), torch.tensor([0, 1])
        >>> fingerprint(TensorDataset(a, b)) == fingerprint(TensorDataset(a, 1 - b))
        False
        >>> fingerprint(TensorDataset(a, b), False) == fingerprint(TensorDataset(a, 1 - b), False)
        True
    """
    if isinstance(dataset, TensorDataset):
        tensors = dataset.tensors if labels else dataset.tensors[:-1]
        return hash_of_tensors({str(i): tensor for i, tensor in enumerate(tensors)})
    columns = [name for name in sorted(dataset.column_names) if labels or name != "labels"]
    return short_hash(json.dumps({name: list(dataset[name]) for name in columns}))


@dataclass(frozen=True)
class Baseline:
    """A linear model on TF-IDF: the accuracy that neural networks have to beat.

    Attributes:
        pipeline: the fitted scikit-learn pipeline; it takes a list of texts.
        C: the inverse strength of regularization that was best on the validation part.
        validation, test: accuracies; the test part was used once.
        correct: bool ``[2000]``, which test sentences are classified correctly, for a paired test.
    """

    pipeline: Pipeline
    C: float
    validation: Accuracy
    test: Accuracy
    correct: Tensor

    def __repr__(self) -> str:
        return f"TF-IDF and logistic regression, C = {self.C:g}: {self.test}"


def baseline_tfidf() -> Baseline:
    """Logistic regression on TF-IDF of words and word pairs, with C chosen on the validation part.

    Fitted again at each call, which takes a few seconds. Explained in lesson 3.
    """
    parts = sentences.reviews()
    # One-letter words ("a", "t" of "don't") count: that was better on the validation part.
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", sublinear_tf=True)
    # Computed once, for all C: words [7241, 66,000 words and pairs], sparse.
    x = {"train": words.fit_transform(parts["train"]["text"][:])}
    x |= {name: words.transform(parts[name]["text"][:]) for name in ("validation", "test")}
    y = {name: torch.tensor(part["label"][:]) for name, part in parts.items()}

    def correct(model: LogisticRegression, part: str) -> Tensor:
        return torch.from_numpy(model.predict(x[part])) == y[part]

    models = [
        LogisticRegression(C=C, max_iter=1000).fit(x["train"], y["train"].numpy())
        for C in (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
    ]
    # The first of equals has the stronger regularization.
    best = max(models, key=lambda model: int(correct(model, "validation").sum()))
    on_validation, on_test = correct(best, "validation"), correct(best, "test")
    return Baseline(
        pipeline=make_pipeline(words, best),
        C=best.C,
        validation=_accuracy(on_validation),
        test=_accuracy(on_test),
        correct=on_test,
    )


def _accuracy(correct: Tensor) -> Accuracy:
    return Accuracy(int(correct.sum()), len(correct))


def _settings_of(model: nn.Module) -> str:
    """The config of a `transformers` model without where it came from and which version wrote it."""
    if not isinstance(model, PreTrainedModel):
        return ""
    origin = ("_name_or_path", "transformers_version")
    config = {key: value for key, value in model.config.to_dict().items() if key not in origin}
    return json.dumps(config, sort_keys=True, default=str)
