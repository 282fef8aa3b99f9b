"""What a large network knows, taught to a small one: the losses, and the loop.

Every loss is a plain function of tensors that returns a scalar. The teacher's tensors are targets:
no gradient flows into them. A `mask` of 1 (counts) and 0 (does not) picks positions, and the mean
is over those alone, so neither padding nor length changes it. With nothing to count a loss is 0,
and so is its gradient. Half precision is computed in float32. Explained in lessons 3 and 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from course_lib.training import Fitted, Recipe, fit, logits_of, predict

NO_LABEL = -100  # as in PyTorch's cross-entropy


def soften(logits: Tensor, T: float = 4.0) -> Tensor:
    """Softmax with temperature: 1 is the plain softmax, a larger T is flatter.

    `logits` is ``[..., classes]``, and so is the result. Hinton, Vinyals & Dean 2015, §2. Explained
    in lesson 3. Raises ValueError unless T is positive and finite, TypeError unless logits are
    floating-point.

    Example:
        >>> soften(torch.tensor([2.0, 0.0]), T=2.0)
        tensor([0.7311, 0.2689])
    """
    _check_tensors(True, logits=logits)
    _check_temperature(T)
    return torch.softmax(_wide(logits) / T, dim=-1)


def soft_loss(
    student_logits: Tensor, teacher_logits: Tensor, T: float = 4.0, mask: Tensor | None = None
) -> Tensor:
    """KL(teacher_T ‖ student_T) · T² in nats: the mean over valid examples or tokens.

    Shapes and errors are those of `distillation_loss`. T² keeps the size of the gradient when T
    changes; as T → ∞ the gradient is that of matching logits, (z_student − z_teacher) / classes for
    centred ones (Hinton, Vinyals & Dean 2015, §2.1). In float32 the value is good to about
    1e-7 · T²: for T above 100 compute in float64. Explained in lesson 3.

    Example:
        >>> soft_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]]), T=2.0)
        tensor(0.4438)
    """
    _check_logits(student_logits, teacher_logits)
    _check_temperature(T)
    student, teacher = _valid(mask, student_logits, teacher_logits.detach())
    # KL is written with both logarithms: log(p / q) of two softmaxes would be 0 / 0 for sure ones.
    log_p, log_q = F.log_softmax(teacher / T, dim=-1), F.log_softmax(student / T, dim=-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)  # [n, classes] → [n]
    return T**2 * _mean(kl)


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    true_labels: Tensor | None,
    T: float = 4.0,
    alpha: float = 0.5,
    mask: Tensor | None = None,
) -> Tensor:
    """alpha · KL(teacher_T ‖ student_T) · T² + (1 − alpha) · cross-entropy, in nats.

    Each part has its own mean: KL over all valid examples, cross-entropy over those with a label (0
    if none has). So alpha weighs the parts alike however much unlabelled data a batch holds. After
    Hinton, Vinyals & Dean 2015, §2; T = 4 is the default of later code, not theirs. Explained in
    lesson 3.

    Args:
        student_logits, teacher_logits: ``[batch, classes]`` or ``[batch, length, classes]``.
        true_labels: ``[batch]`` or ``[batch, length]``; −100 means "no label", and gives KL alone.
            May be None when alpha is 1.
        T: temperature of both (default 4). alpha: the teacher's share, 0 to 1 (default 0.5).
        mask: of the labels' shape, 1 = counts (default: all count).

    Raises:
        ValueError: logits of two shapes; labels missing, out of range or of another shape; a mask
            of another shape or other values; T not positive and finite; alpha outside [0, 1].
        TypeError: not a tensor, or not a number, of the kind that is needed.

    Example:
        >>> student, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0]])
        >>> distillation_loss(student, teacher, torch.tensor([0]), T=2.0, alpha=0.5)
        tensor(0.2093)
    """
    _check_number("alpha", alpha, 0, 1, "0 (labels alone) to 1 (teacher alone)")
    soft = soft_loss(student_logits, teacher_logits, T, mask)
    if true_labels is None:
        if alpha < 1:
            raise ValueError(
                f"true_labels is None and alpha is {alpha}, but cross-entropy needs labels. Give "
                "them (−100 where there is none), or alpha=1."
            )
        return soft
    _check_tensors(False, true_labels=true_labels)
    if true_labels.shape != student_logits.shape[:-1]:
        raise ValueError(
            f"true_labels is {list(true_labels.shape)}; for logits {list(student_logits.shape)} it "
            f"is {list(student_logits.shape[:-1])}: one class number each. One-hot: .argmax(-1)."
        )
    student, labels = _valid(mask, student_logits, true_labels)
    known = labels != NO_LABEL
    student, labels = student[known], labels[known].long()  # [n, classes], [n]
    wrong = labels[(labels < 0) | (labels >= student.shape[-1])]
    if wrong.numel():
        raise ValueError(
            f"true_labels holds {wrong[0].item()}; expected 0 to {student.shape[-1] - 1}, or −100 "
            "for no label. Do the labels count from 1, or do the logits lack a class?"
        )
    hard = _mean(F.cross_entropy(student, labels, reduction="none"))
    return alpha * soft + (1 - alpha) * hard


def hidden_cosine_loss(
    student_hidden: Tensor, teacher_hidden: Tensor, mask: Tensor | None = None
) -> Tensor:
    """1 − cos(student, teacher), 0 to 2: the mean over valid vectors. Looks at direction alone.

    Both are ``[batch, width]`` or ``[batch, length, width]`` with one width, `mask` is ``[batch]``
    or ``[batch, length]``. Sanh et al. 2019 (DistilBERT), §2. Explained in lesson 4. Raises
    ValueError for other shapes, TypeError for integers.

    Example:
        >>> hidden_cosine_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]]))
        tensor(0.2929)
    """
    _check_tensors(True, student_hidden=student_hidden, teacher_hidden=teacher_hidden)
    if student_hidden.shape != teacher_hidden.shape:
        raise ValueError(
            f"Hidden states are {list(student_hidden.shape)} (student) and "
            f"{list(teacher_hidden.shape)} (teacher); expected one shape. For two widths there is "
            "hidden_mse_loss, with a projection."
        )
    student, teacher = _valid(mask, student_hidden, teacher_hidden.detach())
    return _mean(1 - F.cosine_similarity(student, teacher, dim=-1))  # [n, width] → [n]


def hidden_mse_loss(
    student_hidden: Tensor,
    teacher_hidden: Tensor,
    projection: nn.Linear | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """(projection(student) − teacher)²: the mean over valid vectors and their elements.

    Shapes and errors as in `hidden_cosine_loss`, but with `projection`, an nn.Linear(student width,
    teacher width), the widths may differ. It is learned and it is the caller's: give its parameters
    to the optimiser, and throw it away afterwards. Romero et al. 2015 (FitNets), §2.2; Jiao et al.
    2020 (TinyBERT), §3. No lesson uses it.

    Example:
        >>> hidden_mse_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]]))
        tensor(2.)
    """
    _check_tensors(True, student_hidden=student_hidden, teacher_hidden=teacher_hidden)
    s, t = list(student_hidden.shape), list(teacher_hidden.shape)
    fits = (s[-1], s[-1]) if projection is None else tuple(reversed(projection.weight.shape))
    if s[:-1] != t[:-1] or fits != (s[-1], t[-1]):
        raise ValueError(
            f"Hidden states are {s} (student) and {t} (teacher), projection is {projection}; "
            f"expected one batch and length, and projection=nn.Linear({s[-1]}, {t[-1]})."
        )
    student, teacher = _valid(mask, student_hidden, teacher_hidden.detach())
    if projection is not None:
        student = projection(student)  # [..., student width] → [..., teacher width]
    return _mean((student - teacher).square())


def attention_transfer_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Squared distance of two attention maps, 0 to 2: the mean over pictures.

    Features are ``[batch, channels, height, width]``; the channels may differ in number. A map is
    the sum of squares over channels, scaled to length 1. Zagoruyko & Komodakis 2017, §3.1, but with
    the distance squared, so that equal maps have a gradient too. No lesson uses it. Raises
    ValueError for other shapes, TypeError for integers.

    Example:
        >>> attention_transfer_loss(torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[0.0, 5.0]]]]))
        tensor(2.)
    """
    _check_tensors(True, student_features=student_features, teacher_features=teacher_features)
    s, t = list(student_features.shape), list(teacher_features.shape)
    if len(s) != 4 or len(t) != 4 or s[:1] + s[2:] != t[:1] + t[2:]:
        raise ValueError(
            f"Features are {s} (student) and {t} (teacher); expected [batch, channels, height, "
            "width] with one batch, height and width. F.adaptive_avg_pool2d shrinks the larger one."
        )
    student, teacher = (
        F.normalize(_wide(f).square().sum(1).flatten(1), dim=-1)  # → [batch, h · w]
        for f in (student_features, teacher_features.detach())
    )
    return _mean((student - teacher).square().sum(-1))


def distill(
    student: nn.Module,
    teacher: nn.Module | Tensor,
    data: Mapping[str, Dataset],
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    *,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor] = distillation_loss,
    transfer: Dataset | None = None,
) -> Fitted:
    """Train a copy of `student` on what the teacher says; neither argument is changed.

    The teacher looks at each example once, in eval mode and `inference_mode`; its logits are kept
    in memory. Hinton, Vinyals & Dean 2015, §2. Explained in lesson 3.

    Args:
        student: a classifier of single examples (logits ``[batch, classes]``), as `fit` takes it.
        teacher: another of the same classes, or its logits ``[n, classes]`` for the training part
            followed by `transfer`, as `predict` gives them: many students, one pass of the teacher.
        data: ``{"train": …}`` with labels and, to choose the epoch, ``"validation"``: as for `fit`.
        recipe: as for `fit`. An epoch passes over the training part and `transfer`.
        loss: ``loss(student_logits, teacher_logits, labels) → scalar``, a label of −100 being none.
            Another T or alpha: ``functools.partial(distillation_loss, T=2.0, alpha=0.7)``.
        transfer: more examples, of the same form. Labels may be absent, and are not looked at.

    Returns:
        `Fitted`: the trained student, the history, the chosen epoch.

    Raises:
        ValueError: no training part, or the teacher's logits are not one row an example; and what
            `fit` and `loss` raise.

    Example:
        >>> points = TensorDataset(torch.eye(2), torch.tensor([0, 1]))
        >>> student, teacher = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> distill(student, teacher, {"train": points}, Recipe(epochs=1, batch_size=2)).epoch
        1
    """
    if "train" not in data:
        raise ValueError(f"data has the parts {sorted(data)}; distill needs one named 'train'.")
    parts = [data["train"]] if transfer is None else [data["train"], transfer]
    if isinstance(teacher, Tensor):
        logits = teacher.detach().cpu()
    else:
        logits = torch.cat([predict(teacher, part) for part in parts])  # [n, classes]
    n = sum(len(part) for part in parts)  # type: ignore[arg-type, misc]
    if logits.dim() != 2 or len(logits) != n:
        raise ValueError(
            f"The teacher's logits are {list(logits.shape)}; expected [{n}, classes]: one row for "
            "each example of data['train'], then one for each of `transfer`."
        )

    def batch_loss(output: Any, batch: Any) -> Tensor:
        if isinstance(batch, Mapping):
            return loss(logits_of(output), batch["teacher_logits"], batch["labels"])
        _, teacher_logits, labels = batch
        return loss(logits_of(output), teacher_logits, labels)

    return fit(student, {**data, "train": _taught(parts, logits)}, recipe, loss=batch_loss)


class _Taught(Dataset):
    """Labelled examples, then unlabelled ones, each with the teacher's logits in the middle."""

    def __init__(self, parts: list[Any], logits: Tensor) -> None:
        self.parts, self.logits = parts, logits
        if hasattr(parts[0], "column_names"):  # a Hugging Face dataset: `fit` asks for the lengths
            self.column_names = parts[0].column_names

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, str):
            return [value for part in self.parts for value in part[i][:]]
        return self.__getitems__([i])[0]

    def __getitems__(self, rows: list[int]) -> list[Any]:
        # Each part gives its rows at once: a Hugging Face dataset takes far longer one by one.
        start = len(self.parts[0])
        labelled, others = [i for i in rows if i < start], [i for i in rows if i >= start]
        found = dict(zip(labelled, _rows(self.parts[0], labelled), strict=True))
        found |= zip(others, _rows(self.parts[-1], [i - start for i in others]), strict=True)
        return [self._with_logits(i, found[i]) for i in rows]

    def _with_logits(self, i: int, example: Any) -> Any:
        labelled = i < len(self.parts[0])
        if isinstance(example, Mapping):
            label = example["labels"] if labelled else NO_LABEL
            return {**example, "teacher_logits": self.logits[i], "labels": label}
        label = torch.as_tensor(example[-1] if labelled else NO_LABEL)
        return example[0], self.logits[i], label.long()


def _rows(part: Any, rows: list[int]) -> list[Any]:
    if rows and hasattr(part, "__getitems__"):
        return part.__getitems__(rows)
    return [part[i] for i in rows]


def _taught(parts: list[Any], logits: Tensor) -> Dataset:
    # A subclass may augment its pictures, so it is not taken apart.
    if any(type(part) is not TensorDataset for part in parts):
        return _Taught(parts, logits)
    # Tensors stay tensors: `fit` takes whole batches out of them at once.
    inputs = torch.cat([part.tensors[0] for part in parts])
    known = parts[0].tensors[-1]
    unknown = [torch.full((len(p),), NO_LABEL, device=known.device) for p in parts[1:]]
    return TensorDataset(inputs, logits, torch.cat([known, *unknown]))


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(values.numel(), 1)


def _valid(mask: Tensor | None, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both at the positions that count. Picked, not multiplied: 0 times nan is nan."""
    first, second = _wide(first), _wide(second)
    if mask is None:
        return first, second
    mask, expected = torch.as_tensor(mask), first.shape[:-1]
    if mask.shape != expected or not ((mask == 0) | (mask == 1)).all():
        values = sorted(set(mask.flatten()[:1000].tolist()))[:3]
        raise ValueError(
            f"mask is {list(mask.shape)} with values such as {values}; expected {list(expected)}, "
            "1 (counts) or 0 (does not): a tokeniser's attention_mask, not an additive 0 and −inf."
        )
    keep = mask.bool()
    return first[keep], second[keep]  # [batch, length, …] → [n, …]


def _check_tensors(floating: bool, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.is_floating_point() != floating:
            got = getattr(tensor, "dtype", type(tensor).__name__)
            need = "floating-point numbers (.float())" if floating else "class numbers (.long())"
            raise TypeError(
                f"{name} is {got}; expected a tensor of {need}. "
                "Of a transformers output, take `.logits`."
            )


def _check_number(name: str, value: float, low: float, high: float, expected: str) -> None:
    if not isinstance(value, Real):
        kind = type(value).__name__
        raise TypeError(f"{name} is a {kind}; expected a number, {expected}: try float({name}).")
    if not low <= value <= high:  # false for nan
        raise ValueError(f"{name} is {value}; choose a number that is {expected}.")


def _check_temperature(T: float) -> None:
    # In float32 T² must not become 0 or infinite, nor logits / T infinite.
    _check_number("T", T, 1e-18, 1e18, "positive and finite, between 1e-18 and 1e18")


def _check_logits(student: Tensor, teacher: Tensor) -> None:
    _check_tensors(True, student_logits=student, teacher_logits=teacher)
    s, t = list(student.shape), list(teacher.shape)
    if s == t and len(s) in (2, 3) and s[-1] > 0:
        return
    advice = "Give both networks one batch, cut or padded alike; a single example: .unsqueeze(0)."
    if s[-1:] != t[-1:]:
        advice = (
            f"The student's classes (or vocabulary) are {s[-1:]}, the teacher's {t[-1:]}: soft "
            "labels need the same ones in the same order. Give the student as many outputs."
        )
    raise ValueError(
        f"Logits are {s} (student) and {t} (teacher); expected one shape, [batch, classes] or "
        f"[batch, length, classes]. {advice}"
    )
