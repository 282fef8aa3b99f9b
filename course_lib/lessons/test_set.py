"""A test set that remembers which models were scored on it, so that a lesson can say how many."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from course_lib.files import hash_of_tensors


class TestSet:
    """The test part of a data set, together with the names of the models that were scored on it.

    Scoring the same model again, under its name or another one, counts once and takes no time. Models
    are the same when their layers and all their weights are equal; other functions are the same only
    if they are the same object.

    Args:
        dataset: the labeled test part, as for `evaluate`.
        name: what a lesson with several calls this one.

    Example:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> test = TestSet(TensorDataset(torch.eye(2), torch.tensor([0, 1])))
        >>> test.accuracy("identity", torch.nn.Identity()).correct
        2
        >>> test.models
        ('identity',)
    """

    __test__ = False  # pytest takes classes with this name for tests

    def __init__(self, dataset: Any, name: str = "test set") -> None:
        self.dataset = dataset
        self.name = name
        self._names: dict[str, str] = {}  # which model → under which name it was scored first
        self._answers: dict[str, Any] = {}  # which model → bool [n], which examples it gets right
        self._kept: list[Any] = []  # an object whose id is used as a key must stay alive

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the different models that were scored, in order."""
        return tuple(self._names.values())

    @property
    def summary(self) -> str:
        """How many models were scored, as a sentence, see `counted`."""
        return counted(self.models, self.name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __repr__(self) -> str:
        return (
            f"TestSet of {len(self):,} examples, models scored: {', '.join(self.models) or 'none'}"
        )

    def __getitem__(self, index: Any) -> NoReturn:
        raise TypeError(
            "A TestSet gives its examples to no other function, so that it knows which models were "
            "scored on it. Ask the set itself: test.accuracy('dense', model), test.correct('dense', "
            "model), or test.measured('dense', model, measure) for any other measure. To look at an "
            "example: test.dataset[0]."
        )

    def correct(self, name: str, model: Any) -> Any:
        """Bool ``[n]``: which test examples the model answers correctly.

        Another model under the name of an earlier one counts, too: as "name (2)".
        """
        from course_lib.evaluation.prediction import correct as correct_answers

        which = self._which(model)
        if which not in self._answers:
            self._answers[which] = correct_answers(model, self.dataset)
            self._count(name, which)
        return self._answers[which].clone()

    def accuracy(self, name: str, model: Any) -> Any:
        """The model's `Accuracy` on the test set, with its interval."""
        return _accuracy(self.correct(name, model))

    def measured(self, name: str, model: Any, measure: Callable[[Any, Any], Any]) -> Any:
        """What ``measure(model, dataset)`` returns, such as a perplexity; the model counts."""
        result = measure(model, self.dataset)
        self._count(name, self._which(model))
        return result

    def stored(self, name: str, correct: Any) -> Any:
        """Count a model that an experiment scored on this test set, and return its answers.

        Args:
            name: as for `correct`.
            correct: bool ``[n]`` as the experiment stored it, in the order of this test set; or
                ``[seeds, n]``, which counts a model for each seed.

        Raises:
            ValueError: the answers are not one for each test example.
        """
        if correct.ndim not in (1, 2) or correct.shape[-1] != len(self):
            raise ValueError(
                f"The answers of {name!r} have shape {tuple(correct.shape)}; expected [{len(self)}] or "
                f"[seeds, {len(self)}], one for each test example."
            )
        if correct.ndim == 2:
            for seed, row in enumerate(correct):
                self.stored(f"{name}, seed {seed}", row)
            return correct.clone()
        which = f"stored {name} {hash_of_tensors({'correct': correct})}"
        if which not in self._answers:
            self._count(name, which)
            self._answers[which] = correct.bool()
        return self._answers[which].clone()

    def _which(self, model: Any) -> str:
        """A key that two models share only if they are the same."""
        if hasattr(model, "state_dict"):
            state = model.state_dict()
            if all(hasattr(one, "dtype") for one in state.values()):  # not so where packed as int8
                return f"{model} {hash_of_tensors(state)}"
        if not any(model is one for one in self._kept):
            self._kept.append(model)
        return f"object {id(model)}"

    def _count(self, name: str, which: str) -> None:
        if which in self._names:
            return
        times = 1
        unique = name
        while unique in self._names.values():
            times += 1
            unique = f"{name} ({times})"
        self._names[which] = unique


def counted(models: Iterable[str], name: str = "test set") -> str:
    """How many models were scored on a test set, as a sentence that takes a model's seeds together.

    Args:
        models: their names. One that ends in ", seed 3" belongs to the model before the comma.
        name: of the test set.

    Example:
        >>> counted(["dense", "gradual, seed 0", "gradual, seed 1"])
        '3 models were scored on the test set: dense, gradual (2 seeds).'
    """
    every = list(models)
    runs = Counter(re.sub(r", seed \d+$", "", one) for one in every)
    names = [one if n == 1 else f"{one} ({n} seeds)" for one, n in runs.items()]
    number = "1 model was" if len(every) == 1 else f"{len(every)} models were"
    return f"{number} scored on the {name}{': ' if names else ''}{', '.join(names)}."


def _accuracy(correct: Any) -> Any:
    from course_lib.evaluation.accuracy import Accuracy

    return Accuracy(int(correct.sum()), len(correct))
