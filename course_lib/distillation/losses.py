"""The losses of distillation, as functions of tensors."""

from __future__ import annotations

from functools import partial
from numbers import Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

NO_LABEL = -100  # as in PyTorch's cross-entropy
LARGE = 2**24  # logits in one piece
ROWS = 256  # of larger ones in a piece


def soften(logits: Tensor, T: float = 4.0) -> Tensor:
    """Softmax with temperature T: 1 is the ordinary softmax, a larger T gives a flatter one.

    `logits` are ``[..., classes]``, and so is the result. Hinton, Vinyals & Dean 2015, § 2. Explained
    in lesson 3.

    Raises:
        ValueError: T is not positive and finite.
        TypeError: the logits are not floating-point.

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

    The factor T² keeps the size of the gradient when T changes; as T → ∞ the gradient is that of
    matching logits, (z_student − z_teacher) / classes if both are centered (Hinton, Vinyals & Dean
    2015, § 2.1). The error in float32 is about 1e-7 · T²: for T above 100 use float64. Shapes and
    errors are those of `distillation_loss`. Explained in lesson 3.

    Example:
        >>> soft_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]]), T=2.0)
        tensor(0.4438)
    """
    return token_kl(student_logits, teacher_logits, mask, T=T)


def token_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    mask: Tensor | None = None,
    *,
    T: float = 1.0,
    reverse: bool = False,
    top_k: int = 0,
    vocabulary: int = 0,
) -> Tensor:
    """KL of two language models, token by token: the mean over valid tokens, in nats, times T².

    Forward KL(teacher ‖ student) asks the student to cover all that the teacher thinks possible;
    reverse KL(student ‖ teacher) asks it to write nothing that the teacher would not (Gu et al. 2024,
    *MiniLLM*, section 2). Explained in lesson 7.

    Args:
        student_logits, teacher_logits: ``[batch, length, vocabulary]``, or ``[n, vocabulary]``.
        mask: as for `distillation_loss`.
        T: temperature (default 1).
        reverse: the student's expectation in place of the teacher's (default False).
        top_k: use only the teacher's `top_k` likeliest tokens; all others are counted as one. So much
            is left where a teacher's answers were stored in short (default 0: all tokens).
        vocabulary: compare the first so many tokens. Needed where the two differ because one's rows
            are padded to a round number (default 0: all, which must be as many).

    Raises:
        ValueError: logits of two shapes; `top_k` or `vocabulary` below 0, or beyond what there is;
            what `distillation_loss` raises for a mask or T.
        TypeError: logits that are not floating-point.

    Example:
        >>> student, teacher = torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([[2.0, 0.0]])
        >>> token_kl(student, teacher, vocabulary=2)
        tensor(0.3278)
        >>> token_kl(student, teacher, vocabulary=2, reverse=True)
        tensor(0.4338)
    """
    _check_temperature(T)
    if vocabulary:
        least = min(student_logits.shape[-1], teacher_logits.shape[-1])
        _check_number("vocabulary", vocabulary, 1, least, f"1 to {least}, which both have")
        student_logits, teacher_logits = (
            logits[..., :vocabulary] for logits in (student_logits, teacher_logits)
        )
    _check_logits(student_logits, teacher_logits)
    classes = student_logits.shape[-1]
    _check_number("top_k", top_k, 0, classes, f"0 (all) to the vocabulary, {classes}")
    student, teacher = _valid(mask, student_logits, teacher_logits.detach())
    if student.numel() <= LARGE:
        return T**2 * _mean(_kl(student, teacher, T, reverse, top_k))
    # A language model's logits take hundreds of megabytes. In pieces, the loss needs little more than
    # they do. The pieces of all but the forward KL are computed again on the way back.
    flat = [logits.flatten(0, -2) for logits in (student, teacher)]
    if not reverse and top_k in (0, classes):
        return T**2 * _mean(_ForwardKL.apply(*flat, T))
    rows = (logits.split(ROWS) for logits in flat)
    again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
    pieces = [again(_kl, s, t, T, reverse, top_k) for s, t in zip(*rows, strict=True)]
    return T**2 * _mean(torch.cat(pieces))


def _kl(student: Tensor, teacher: Tensor, T: float, reverse: bool, top_k: int) -> Tensor:
    """The KL of each row of logits: [..., classes] → [...]."""
    # Both logarithms by themselves: with confident models, log(p / q) would be log(0 / 0).
    log_p, log_q = F.log_softmax(teacher / T, dim=-1), F.log_softmax(student / T, dim=-1)
    if 0 < top_k < student.shape[-1]:
        top = log_p.topk(top_k).indices
        log_p, log_q = _others_as_one(log_p, top), _others_as_one(log_q, top)
    if reverse:
        log_p, log_q = log_q, log_p
    p = log_p.exp()
    # A class that is ruled out by −inf adds nothing; −inf − (−inf) would be NaN.
    return (p * torch.where(p > 0, log_p - log_q, 0.0)).sum(-1)


class _ForwardKL(torch.autograd.Function):
    """`_kl` of large logits ``[n, vocabulary]``, in pieces.

    The gradient of a row is (q − p) / T. It is computed together with the loss, from the same p and q,
    which takes half the time of computing the loss again on the way back.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, T: float) -> Tensor:
        losses, wanted = [], ctx.needs_input_grad[0]
        gradient = torch.empty_like(student) if wanted else student.new_empty(0)
        for i, (s, t) in enumerate(zip(student.split(ROWS), teacher.split(ROWS), strict=True)):
            log_p, log_q = F.log_softmax(t / T, dim=-1), F.log_softmax(s / T, dim=-1)
            p = log_p.exp()
            losses.append((p * torch.where(p > 0, log_p - log_q, 0.0)).sum(-1))
            if wanted:
                torch.sub(log_q.exp_(), p, out=gradient[i * ROWS : i * ROWS + len(s)]).div_(T)
        ctx.save_for_backward(gradient)
        return torch.cat(losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[:, None], None, None


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    true_labels: Tensor | None,
    T: float = 4.0,
    alpha: float = 0.5,
    mask: Tensor | None = None,
) -> Tensor:
    """alpha · KL(teacher_T ‖ student_T) · T² + (1 − alpha) · cross-entropy, in nats.

    Each term has its own mean: KL over all valid examples, cross-entropy over the labeled ones (0 if
    there are none). So alpha means the same however much of a batch is unlabeled. After Hinton,
    Vinyals & Dean 2015, § 2; T = 4 is the default of later code, not theirs. Explained in lesson 3.

    Args:
        student_logits, teacher_logits: ``[batch, classes]`` or ``[batch, length, classes]``.
        true_labels: ``[batch]`` or ``[batch, length]``; −100 means "no label". None if alpha is 1.
        T: temperature of student and teacher (default 4).
        alpha: weight of the KL term, 0 to 1 (default 0.5).
        mask: of the labels' shape; 1 is valid, 0 is padding (default: all are valid).

    Raises:
        ValueError: logits of two shapes, or of a single class; labels missing, out of range or of
            another shape; a mask of another shape or other values; T not positive and finite; alpha
            outside [0, 1].
        TypeError: a tensor or a number of another type.

    Example:
        >>> student, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0]])
        >>> distillation_loss(student, teacher, torch.tensor([0]), T=2.0, alpha=0.5)
        tensor(0.2093)
    """
    _check_number("alpha", alpha, 0, 1, "0 (labels only) to 1 (teacher only)")
    soft = soft_loss(student_logits, teacher_logits, T, mask)
    if true_labels is None:
        if alpha < 1:
            raise ValueError(
                f"true_labels is None and alpha is {alpha}, but cross-entropy needs labels. Give "
                "them (−100 where there is none), or alpha=1."
            )
        return soft
    student, labels = _labeled(student_logits, true_labels, mask)
    hard = _mean(F.cross_entropy(student, labels, reduction="none"))
    return alpha * soft + (1 - alpha) * hard


def hidden_cosine_loss(
    student_hidden: Tensor, teacher_hidden: Tensor, mask: Tensor | None = None
) -> Tensor:
    """1 − cos(student, teacher), 0 to 2: the mean over valid vectors. Only their direction counts.

    Both are ``[batch, width]`` or ``[batch, length, width]``; `mask` is ``[batch]`` or ``[batch,
    length]``. Sanh et al. 2019 (DistilBERT), § 2. Explained in lesson 4.

    Raises:
        ValueError: other shapes, or two widths. TypeError: integers.

    Example:
        >>> hidden_cosine_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]]))
        tensor(0.2929)
    """
    _check_tensors(True, student_hidden=student_hidden, teacher_hidden=teacher_hidden)
    if student_hidden.shape != teacher_hidden.shape:
        raise ValueError(
            f"Hidden states are {list(student_hidden.shape)} (student) and "
            f"{list(teacher_hidden.shape)} (teacher); expected one shape. If the widths differ, "
            "project the student's first, as distill_hidden does."
        )
    student, teacher = _valid(mask, student_hidden, teacher_hidden.detach())
    return _mean(1 - F.cosine_similarity(student, teacher, dim=-1))  # [n, width] → [n]


def triple_loss(
    student: Any,
    teacher: Any,
    labels: Tensor,
    mask: Tensor | None = None,
    *,
    T: float = 2.0,
    weights: tuple[float, float, float] = (5.0, 2.0, 1.0),
) -> Tensor:
    """5 · soft loss + 2 · cross-entropy + 1 · cosine loss between the last hidden states.

    These weights and T are those of the code that trained DistilBERT, where the cross-entropy is that
    of masked words. A weight of 0 leaves a loss out. Sanh et al. 2019, § 2. Explained in lesson 4.

    Args:
        student, teacher: outputs of `transformers` models with ``logits [batch, classes]`` or
            ``[batch, length, classes]``, and ``hidden_states``.
        labels: ``[batch]`` or ``[batch, length]``; −100 means "no label".
        mask: the attention mask ``[batch, length]``; 0 is padding (default: all tokens are valid).
        T: temperature of the soft loss (default 2).
        weights: of the soft loss, the cross-entropy and the cosine loss (default 5, 2, 1).

    Raises:
        ValueError: an output without hidden states; and what the losses raise.

    Example:
        >>> from transformers.modeling_outputs import SequenceClassifierOutput
        >>> def output(*logits):
        ...     hidden = (torch.tensor([[[3.0, 4.0]]]),)
        ...     return SequenceClassifierOutput(logits=torch.tensor([logits]), hidden_states=hidden)
        >>> triple_loss(output(0.0, 0.0), output(2.0, 0.0), torch.tensor([0]))
        tensor(3.6052)
    """
    for role, output in (("student", student), ("teacher", teacher)):
        if weights[2] and not getattr(output, "hidden_states", None):
            raise ValueError(
                f"The {role}'s output has no hidden states; call the model with "
                "output_hidden_states=True, or give the cosine loss a weight of 0."
            )
    per_token = student.logits.dim() == 3
    soft = soft_loss(student.logits, teacher.logits, T, mask if per_token else None)
    labeled = labels != NO_LABEL
    hard = F.cross_entropy(student.logits[labeled], labels[labeled], reduction="sum")
    total = weights[0] * soft + weights[1] * hard / labeled.sum().clamp(min=1)
    if weights[2]:
        hidden = student.hidden_states[-1], teacher.hidden_states[-1]
        total = total + weights[2] * hidden_cosine_loss(*hidden, mask)
    return total


def _others_as_one(log_p: Tensor, top: Tensor) -> Tensor:
    """The logarithms of the classes `top` ``[n, k]``, and of all others together: ``[n, k + 1]``."""
    others = log_p.scatter(-1, top, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([log_p.gather(-1, top), others], -1)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(values.numel(), 1)


def _valid(mask: Tensor | None, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both at the valid positions. Selected, not multiplied: 0 times NaN is NaN."""
    first, second = _wide(first), _wide(second)
    if mask is None:
        return first, second
    mask, expected = torch.as_tensor(mask), first.shape[:-1]
    if mask.shape != expected or not ((mask == 0) | (mask == 1)).all():
        values = sorted(set(mask.flatten()[:1000].tolist()))[:3]
        raise ValueError(
            f"mask is {list(mask.shape)} with values such as {values}; expected {list(expected)}, "
            "1 (valid) or 0 (padding): a tokenizer's attention_mask, not an additive 0 and −inf."
        )
    keep = mask.bool()
    return first[keep], second[keep]  # [batch, length, …] → [n, …]


def _labeled(
    student_logits: Tensor, true_labels: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Logits ``[n, classes]`` and labels ``[n]`` of the valid examples that have a label."""
    _check_tensors(False, true_labels=true_labels)
    if true_labels.shape != student_logits.shape[:-1]:
        raise ValueError(
            f"true_labels is {list(true_labels.shape)}; for logits {list(student_logits.shape)} it "
            f"is {list(student_logits.shape[:-1])}: one class number each. One-hot: .argmax(-1)."
        )
    student, labels = _valid(mask, student_logits, true_labels)
    labeled = labels != NO_LABEL
    student, labels = student[labeled], labels[labeled].long()
    wrong = labels[(labels < 0) | (labels >= student.shape[-1])]
    if wrong.numel():
        raise ValueError(
            f"true_labels holds {wrong[0].item()}; expected 0 to {student.shape[-1] - 1}, or −100 "
            "for no label. Do the labels count from 1, or do the logits lack a class?"
        )
    return student, labels


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


def padded_alike(a: int, b: int) -> bool:
    """Whether two vocabularies may be one, padded to two round numbers, such as 151,936 and 152,064.

    Example:
        >>> padded_alike(151_936, 152_064), padded_alike(30_522, 50_257)
        (True, False)
    """
    return 1000 < min(a, b) < max(a, b) < 1.02 * min(a, b)


def _check_logits(student: Tensor, teacher: Tensor) -> None:
    _check_tensors(True, student_logits=student, teacher_logits=teacher)
    s, t = list(student.shape), list(teacher.shape)
    if s[-1:] == t[-1:] == [1]:
        raise ValueError(
            f"Logits are {s} (student) and {t} (teacher): one output is a number, not classes, and the "
            "softmax of one is always 1, so that nothing would be learned. Compare the numbers: "
            "distill(…, loss=lambda student, teacher, labels: F.mse_loss(student, teacher))."
        )
    if s == t and len(s) in (2, 3) and s[-1] > 0:
        return
    advice = "Give both networks one batch, cut or padded alike; a single example: .unsqueeze(0)."
    if s[-1:] != t[-1:]:
        advice = (
            f"The student's classes (or vocabulary) are {s[-1:]}, the teacher's {t[-1:]}: soft "
            "labels need the same ones in the same order. Give the student as many outputs."
        )
        if padded_alike(s[-1], t[-1]):
            least = min(s[-1], t[-1])
            advice += f" If the last rows of one are padding, cut them: logits[..., :{least}]."
    raise ValueError(
        f"Logits are {s} (student) and {t} (teacher); expected one shape, [batch, classes] or "
        f"[batch, length, classes]. {advice}"
    )
