"""The trainings of `compress`, all of which resume: the teacher, its answers, the student."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_lib.batching import lengths, shuffled
from course_lib.datasets.augmentation import augment, neighbors
from course_lib.datasets.sentences import normalized, normalized_texts
from course_lib.datasets.tokenization import tokens_seen
from course_lib.distillation.losses import NO_LABEL, distillation_loss
from course_lib.files import hash_of_tensors
from course_lib.models import zoo
from course_lib.modules import copy_of, logits_of
from course_lib.training.loop import fit
from course_lib.training.recipe import Loss, Recipe, recipe_fields

STAGES = 8  # how often a training is saved: after Ctrl-C at most an eighth of it is done again
CHUNK = 1000  # texts that the teacher answers before its answers are saved
LEAST_STEPS = 150  # of fine-tuning, however few rows there are
MOST_PASSES = 20
LEAST_TOKENS = 8000
SOFT = partial(distillation_loss, T=2.0, alpha=0.7)


def train_in_stages(
    model: Any, rows: Dataset, recipe: Recipe, name: str, loss: Loss | None = None
) -> dict[str, Tensor]:
    """The weights of a copy of the model after ``recipe.epochs`` passes over the rows, made once.

    The state is saved eight times on the way. Started again after Ctrl-C, the training goes on from
    there and ends with the same bits; started again when it is done, it returns what is stored.

    Args:
        model: the start; it is left alone.
        rows: tokenized examples, as for `training.fit`.
        recipe: how to train; batches are made as `fit` makes them.
        name: of the files in the cache.
        loss: as for `fit`.
    """
    size = min(recipe.batch_size, len(rows))
    tokens = lengths(rows)
    passes = (shuffled(tokens, size, recipe.seed * 100_003 + i) for i in range(recipe.epochs))
    batches = [batch for one in passes for batch in one]
    steps = max(1, len(batches) // STAGES)
    stages = len(batches) // steps
    order = [i for batch in batches[: stages * steps] for i in batch]
    made_from = {
        "start": hash_of_tensors(model.state_dict()),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "rows": zoo.fingerprint(rows),
        "recipe": recipe_fields(recipe),
        "torch": torch.__version__,
    }
    # As a stream, because `fit` saves its state after each epoch: here an epoch is a stage.
    staged = replace(
        recipe, epochs=stages, steps=steps, batch_size=size, select_from_last=1,
        checkpoint=f"{name}-{made_from['rows']}",
    )  # fmt: skip

    def make() -> Mapping[str, Tensor]:
        stream = rows.select(order).to_iterable_dataset()
        return fit(model, {"train": stream}, staged, loss=loss).model.state_dict()

    return zoo.made_once(name, made_from, make)


def fine_tuned(encoder: Any, rows: Dataset, seed: int = 0) -> Any:
    """The teacher: an encoder with a new classifier, trained on labeled rows.

    It takes two passes over the rows, and more of them where rows are few; its word embeddings stay as
    they are. The recipe is that of the course's teacher.

    Args:
        encoder: as `models.load_encoder` gives it.
        rows: tokenized and labeled.
        seed: of the order of the rows and of dropout (default 0).
    """
    model = copy_of(encoder)
    model.get_input_embeddings().requires_grad_(False)  # type: ignore[operator]
    recipe = replace(zoo.TEACHER, epochs=passes_over(len(rows)), seed=seed)
    model.load_state_dict(train_in_stages(model, rows, recipe, "compress-teacher"))
    return model.requires_grad_(True).eval()


def passes_over(rows: int) -> int:
    """How often fine-tuning goes over so many rows.

    Example:
        >>> passes_over(7241), passes_over(180)
        (2, 20)
    """
    steps = max(1, rows // zoo.TEACHER.batch_size)
    return min(MOST_PASSES, max(zoo.TEACHER.epochs, -(-LEAST_STEPS // steps)))


def text_to_read(
    parts: Mapping[str, Dataset], unlabeled: list[str] | None, model: Any, tokenizer: Any, seed: int
) -> list[str]:
    """What the student reads besides the labeled texts: your unlabeled ones, else variations of these.

    Texts of the validation and test parts are left out, and so is what is labeled already.
    """
    if unlabeled is None:
        labeled = parts["train"]["text"][:]
        ids = tokenizer(list(labeled), truncation=True, max_length=512)["input_ids"]
        seen = torch.tensor(sorted({i for row in ids for i in row}))
        try:
            near = neighbors(model, tokenizer, seen)
        except ValueError:  # too few whole words, as in languages without spaces
            near = {}
        unlabeled = augment(labeled, near, seed=seed)
    others = normalized_texts(*parts.values())
    return [text for text in unlabeled if normalized(text) not in others]


def tokens_to_keep(labeled: Dataset, more: Dataset, size: int) -> Tensor:
    """The tokens of the labeled texts; if these are few, the most frequent ones of the other text, too,
    and then the first of the vocabulary, which are those of the tokenizer's own most frequent words.

    Args:
        labeled, more: tokenized by the large model's tokenizer.
        size: of its vocabulary.

    Example:
        >>> few = Dataset.from_dict({"input_ids": [[101, 7, 102]]})
        >>> len(tokens_to_keep(few, few, size=30_522))
        8000
    """
    kept = dict.fromkeys(tokens_seen(labeled, at_least=1).tolist())
    counted = Counter(i for row in more["input_ids"][:] for i in row)
    for token in (*(token for token, _ in counted.most_common()), *range(size)):
        if len(kept) >= LEAST_TOKENS:
            break
        kept.setdefault(token)
    return torch.tensor(sorted(kept))


def answers(teacher: Any, rows: Dataset) -> Tensor:
    """The teacher's logits ``[n, classes]``, saved after each thousand texts."""
    chunks = [range(i, min(i + CHUNK, len(rows))) for i in range(0, len(rows), CHUNK)]
    shown = tqdm(chunks, desc="the teacher's answers", unit="k texts", leave=False)
    return torch.cat([zoo.cached_logits(teacher, rows.select(chunk)) for chunk in shown])


def distilled(student: Any, rows: Dataset, logits: Tensor, recipe: Recipe) -> Any:
    """The student, trained on the teacher's answers and the labels there are. Dropout is off, because
    the answers themselves keep a student from learning labels by heart.

    Args:
        student: as it was cut; it is left alone.
        rows: tokenized; a label of −100 means none.
        logits: the teacher's ``[n, classes]``, for the same rows.
        recipe: how to train.
    """
    taught = rows.add_column("teacher_logits", logits.tolist())

    def loss(output: Any, batch: Any) -> Tensor:
        return SOFT(logits_of(output), batch["teacher_logits"], batch["labels"])

    student = copy_of(student)
    for module in student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    student.load_state_dict(train_in_stages(student, taught, recipe, "compress-student", loss))
    return student.requires_grad_(True).eval()


def with_more(labeled: Dataset, others: Dataset) -> Dataset:
    """Labeled texts, then other ones with the label −100.

    Example:
        >>> rows = Dataset.from_dict({"text": ["Good."], "label": [1]})
        >>> with_more(rows, Dataset.from_dict({"text": ["A film."]}))["label"][:]
        [1, -100]
    """
    return Dataset.from_dict(
        {
            "text": [*labeled["text"][:], *others["text"][:]],
            "label": [*labeled["label"][:], *[NO_LABEL] * len(others)],
        }
    )
