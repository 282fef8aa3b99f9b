"""Checks for the exercises of lesson 3, the distillation loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import distillation
from course_lib.checks.checking import Check, Mistake, Seen, TroubleError, call, show, unchanged

# --- 1 · softmax with temperature -----------------------------------------------------------------


def _naive(logits: Tensor, T: float) -> Tensor:
    powers = (logits / T).exp()
    return powers / powers.sum(-1, keepdim=True)


_TWO_ROWS = torch.tensor([[2.0, 0.0, -1.0], [1.0, 1.0, 3.0]])

soften = Check(
    name="soften",
    right=lambda logits, T: torch.softmax(logits / T, -1),
    tries={
        "soften([2, 0], T=1)": call(torch.tensor([2.0, 0.0]), 1.0),
        "soften([2, 0], T=4)": call(torch.tensor([2.0, 0.0]), 4.0),
        "soften([[2, 0, -1], [1, 1, 3]], T=2)": call(_TWO_ROWS, 2.0),
        "soften([1000, 998], T=2)": call(torch.tensor([1000.0, 998.0]), 2.0),
    },
    mistakes=(
        Mistake(
            "T is forgotten",
            "At T = 1 nobody sees it. At any other T the student gets labels that are too hard.",
            lambda z, T: torch.softmax(z, -1),
        ),
        Mistake(
            "multiplied by T instead of divided",
            "A larger T then makes the distribution harder, and dark knowledge darker still.",
            lambda z, T: torch.softmax(z * T, -1),
        ),
        Mistake(
            "T comes after the softmax",
            "Probabilities divided by T no longer add up to 1. T belongs to the logits.",
            lambda z, T: torch.softmax(z, -1) / T,
        ),
        Mistake(
            "over the examples instead of the classes",
            "Each row is one example and must add up to 1. With dim=0 the columns do, and the examples "
            "of a batch compete with each other.",
            lambda z, T: torch.softmax(z / T, 0),
        ),
        Mistake(
            "large logits overflow",
            "e to the power of 500 is infinite in float32, and inf / inf is nan: one such example "
            "spoils the whole batch. Only differences between logits matter, so take the largest off.",
            _naive,
        ),
        Mistake(
            "logarithms of the probabilities",
            "log_softmax is for the loss. Probabilities are positive and add up to 1.",
            lambda z, T: torch.log_softmax(z / T, -1),
        ),
        Mistake(
            "one sum for the whole batch",
            "Each row must add up to 1, not the whole tensor: sum over the last dimension alone.",
            lambda z, T: torch.softmax((z / T).flatten(), 0).view(z.shape),
        ),
    ),
    checked="one example and a batch of two, T of 1, 2 and 4, logits of 1000",
    not_checked="T of 0 or below, half precision",
)

# --- 2 · KL by hand -------------------------------------------------------------------------------


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum()


_P, _Q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.25, 0.25])

kl = Check(
    name="kl",
    right=_kl,
    tries={
        "teacher p = [0.7, 0.2, 0.1], student q = [0.5, 0.25, 0.25]": call(_P, _Q),
        "p and q both [0.7, 0.2, 0.1]": call(_P, _P),
        "p = [0.5, 0.5, 0], q = [0.25, 0.25, 0.5]": call(
            torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.25, 0.5])
        ),
    },
    mistakes=(
        Mistake(
            "teacher and student are swapped",
            "KL is not symmetric. The teacher's probabilities weigh the terms: what it finds likely "
            "must count. Swapped, the student may ignore classes that the teacher allows.",
            lambda p, q: _kl(q, p),
        ),
        Mistake(
            "not weighted by p",
            "A class that the teacher finds impossible then counts as much as its favourite.",
            lambda p, q: (p.log() - q.log()).sum(),
        ),
        Mistake(
            "the sign is turned round",
            "KL is never negative. Turned round, the loss rewards a student for being far away.",
            lambda p, q: -_kl(p, q),
        ),
        Mistake(
            "bits instead of nats",
            "Log to base 2 is a unit of its own, larger by 1.44. Losses use the natural logarithm; "
            "otherwise alpha weighs two different units.",
            lambda p, q: _kl(p, q) / torch.log(torch.tensor(2.0)),
        ),
        Mistake(
            "0 · log 0 gives nan",
            "A class with p = 0 adds nothing, but 0 · (−inf) is nan on a computer, and nan spreads to "
            "every weight. Treat it apart.",
            lambda p, q: (p * (p.log() - q.log())).sum(),
        ),
        Mistake(
            "the mean over classes for the sum",
            "The value then depends on how many classes there are: with 1,000 the teacher would be "
            "heard 100 times less than with 10.",
            lambda p, q: _kl(p, q) / len(p),
        ),
        Mistake(
            "cross-entropy for KL",
            "−Σ p log q is KL plus the teacher's own entropy. It has the same gradient, but it is not "
            "0 when both agree.",
            lambda p, q: -torch.special.xlogy(p, q).sum(),
        ),
        Mistake(
            "one term for each class, not their sum",
            "A loss is one number: add the terms up.",
            lambda p, q: torch.special.xlogy(p, p) - torch.special.xlogy(p, q),
        ),
    ),
    checked="three classes, two equal distributions, a class that the teacher excludes",
    not_checked="batches, a class that the student excludes (there KL is infinite)",
)

# --- 3 · the distillation loss --------------------------------------------------------------------

_STUDENT = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.5]])
_TEACHER = torch.tensor([[3.0, 1.0, -2.0], [0.5, 1.0, 0.0]])
_LABELS = torch.tensor([0, 1])


def _loss(
    soft: Callable[[Tensor, Tensor], Tensor] | None = None,
    power: int = 2,
    hard_at_T: bool = False,
    swap_alpha: bool = False,
) -> Callable[..., Tensor]:
    """The loss, or one that differs in one point; `soft` takes both logits, already divided by T."""

    def loss(student: Tensor, teacher: Tensor, labels: Tensor, T: float, alpha: float) -> Tensor:
        value = (soft or _batchmean)(student / T, teacher / T) * T**power
        hard = F.cross_entropy(student / T if hard_at_T else student, labels)
        alpha = 1 - alpha if swap_alpha else alpha
        return alpha * value + (1 - alpha) * hard

    return loss


def _batchmean(z: Tensor, t: Tensor) -> Tensor:
    return F.kl_div(z.log_softmax(-1), t.softmax(-1), reduction="batchmean")


def _student_only(
    student: Tensor, teacher: Tensor, labels: Tensor, T: float, alpha: float
) -> Tensor:
    soft = _batchmean(student / T, teacher) * T**2
    return alpha * soft + (1 - alpha) * F.cross_entropy(student, labels)


_MISSING_T2 = "missing T²"
_SWAPPED = "swapped arguments"
_MEAN = "mean for batchmean"
_NO_LOG = "softmax for log_softmax"

_TRY = "student [[1, 0, -1], [0, 2, 0.5]], teacher [[3, 1, -2], [0.5, 1, 0]], labels [0, 1]"

distillation_loss = Check(
    name="distillation_loss",
    right=distillation.distillation_loss,
    tries={
        f"{_TRY}, T=1, alpha=1": call(_STUDENT, _TEACHER, _LABELS, 1.0, 1.0),
        f"{_TRY}, T=4, alpha=1 (the teacher alone)": call(_STUDENT, _TEACHER, _LABELS, 4.0, 1.0),
        f"{_TRY}, T=4, alpha=0 (the labels alone)": call(_STUDENT, _TEACHER, _LABELS, 4.0, 0.0),
        f"{_TRY}, T=2, alpha=0.3": call(_STUDENT, _TEACHER, _LABELS, 2.0, 0.3),
    },
    mistakes=(
        Mistake(
            _MISSING_T2,
            "Dividing logits by T makes the gradient about T² times smaller. Without the factor, a "
            "higher T silently hands the student over to the labels.",
            _loss(power=0),
        ),
        Mistake(
            "T for T²",
            "One factor 1/T comes from the student's logits, a second one from the two distributions "
            "becoming alike. T makes up for one of them only.",
            _loss(power=1),
        ),
        Mistake(
            _SWAPPED,
            "kl_div wants the student's logarithms first and the teacher's probabilities second. "
            "Swapped, it measures KL(student ‖ teacher), which lets the student ignore classes.",
            _loss(lambda z, t: _batchmean(t, z)),
        ),
        Mistake(
            _MEAN,
            "This reduction, the default, divides by examples times classes: the teacher's part is "
            "too small by the number of classes.",
            _loss(lambda z, t: F.kl_div(z.log_softmax(-1), t.softmax(-1), reduction="mean")),
        ),
        Mistake(
            "sum for batchmean",
            "The teacher's part grows with the batch, cross-entropy does not. Another batch size is "
            "then another alpha.",
            _loss(lambda z, t: F.kl_div(z.log_softmax(-1), t.softmax(-1), reduction="sum")),
        ),
        Mistake(
            _NO_LOG,
            "kl_div takes the student's *logarithms* and never complains. With probabilities it "
            "computes a number that means nothing, and has its smallest value in the wrong place.",
            _loss(lambda z, t: F.kl_div(z.softmax(-1), t.softmax(-1), reduction="batchmean")),
        ),
        Mistake(
            "alpha on the wrong part",
            "alpha is the teacher's share: at 1 the labels play no part. Yours weighs the other way "
            "round.",
            _loss(swap_alpha=True),
        ),
        Mistake(
            "temperature on the hard labels, too",
            "The label's part is plain cross-entropy at T = 1: that is how the student will be used.",
            _loss(hard_at_T=True),
        ),
        Mistake(
            "temperature on the student alone",
            "A soft student is then pulled to a hard teacher. Both sides need the same T.",
            _student_only,
        ),
        Mistake(
            "the teacher's part alone",
            "Where there are labels they help: 1 − alpha of the loss is theirs.",
            lambda z, t, y, T, alpha: T**2 * _batchmean(z / T, t / T),
        ),
        Mistake(
            "both parts added without weights",
            "Without alpha and 1 − alpha nobody can set the balance between the two.",
            lambda z, t, y, T, alpha: T**2 * _batchmean(z / T, t / T) + F.cross_entropy(z, y),
        ),
    ),
    checked="two examples of three classes; T of 1, 2 and 4; alpha of 0, 0.3 and 1",
    not_checked="labels of −100, token sequences, half precision, gradients into the teacher",
)

# --- 4 · T², argued by gradient -------------------------------------------------------------------


def _gradient(student: Tensor, teacher: Tensor, T: float) -> Tensor:
    """Of KL(teacher_T ‖ student_T), the mean over the batch, by the student's logits."""
    return ((student / T).softmax(-1) - (teacher / T).softmax(-1)) / (T * len(student))


soft_gradient = Check(
    name="soft_gradient",
    right=_gradient,
    tries={
        "student [[0, 0]], teacher [[2, 0]], T=1": call(
            torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]]), 1.0
        ),
        "student [[0, 0]], teacher [[2, 0]], T=4": call(
            torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]]), 4.0
        ),
        "student [[1, 0, -1], [0, 2, 0.5]], teacher [[3, 1, -2], [0.5, 1, 0]], T=2": call(
            _STUDENT, _TEACHER, 2.0
        ),
    },
    mistakes=(
        Mistake(
            "the inner derivative 1/T is missing",
            "The student's logits are divided by T before the softmax, so the chain rule brings a 1/T. "
            "It is the first of the two that make T².",
            lambda z, t, T: T * _gradient(z, t, T),
        ),
        Mistake(
            "T² is in it already",
            "Here you look at KL alone, to see how its gradient shrinks. The factor comes after.",
            lambda z, t, T: T**2 * _gradient(z, t, T),
        ),
        Mistake(
            "the sign is turned round",
            "A step goes *against* the gradient. Where the student gives a class too little, its logit "
            "must rise, so the gradient there is negative: student minus teacher.",
            lambda z, t, T: -_gradient(z, t, T),
        ),
        Mistake(
            "the sum over the batch for the mean",
            "The loss is a mean over the examples, so each gives 1/n of the gradient.",
            lambda z, t, T: len(z) * _gradient(z, t, T),
        ),
        Mistake(
            "the gradient of the teacher's logits",
            "The teacher does not learn. Take the derivative by the student's logits.",
            lambda z, t, T: torch.func.grad(lambda one: _batchmean(z / T, one / T))(t),
        ),
        Mistake(
            "no temperature in the softmaxes",
            "Both distributions are those at T. At T = 1 nobody sees the difference.",
            lambda z, t, T: (z.softmax(-1) - t.softmax(-1)) / (T * len(z)),
        ),
        Mistake(
            "the value for its gradient",
            "The loss is one number. Its gradient has a number for each logit of the student.",
            lambda z, t, T: _batchmean(z / T, t / T),
        ),
        Mistake(
            "the length for the gradient",
            "Keep the gradient whole: one number for each logit. The next cell takes its length.",
            lambda z, t, T: _gradient(z, t, T).norm(),
        ),
    ),
    checked="one example on paper at T of 1 and 4, a batch of two at T = 2",
    not_checked="very large T, where float32 rounds both distributions to the same",
)

# --- 5 · the teacher: eval mode, no gradient ------------------------------------------------------


def _teacher() -> nn.Sequential:
    teacher = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    for i, parameter in enumerate(teacher.parameters()):
        parameter.data = (
            torch.linspace(-1, 2, parameter.numel()).view(parameter.shape) * (i + 1) / 3
        )
    return teacher


_INPUTS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])


def _ask(what: str, training: bool = True) -> Callable[[Any], Any]:
    def attempt(answer: Callable[[nn.Module, Tensor], Tensor]) -> Any:
        teacher = _teacher().train(training)
        before = {name: value.clone() for name, value in teacher.state_dict().items()}
        logits = answer(teacher, _INPUTS.clone())
        if what == "logits":
            return logits
        if what == "gradient":
            return bool(getattr(logits, "requires_grad", False))
        if what == "mode":
            return teacher.training
        if what == "again":
            return torch.equal(torch.as_tensor(logits), torch.as_tensor(answer(teacher, _INPUTS)))
        return unchanged(before, dict(teacher.state_dict()))

    return attempt


def _told(teacher: nn.Module, inputs: Tensor) -> Tensor:
    teacher.eval()
    with torch.no_grad():
        return teacher(inputs)


_SAME = "asked twice, does it say the same?"
_KEEPS = "are its weights and its batch norm as before?"
_FLOWS = "does a gradient flow into its answer?"
_MODE = "a teacher that came in eval mode: is it in training mode afterwards?"
_SAYS = "what it says of three inputs, a teacher with dropout and batch norm, in training mode"

ask_teacher = Check(
    name="ask_teacher",
    right=_told,
    tries={
        _SAME: _ask("again"),
        _KEEPS: _ask("state"),
        _FLOWS: _ask("gradient"),
        _MODE: _ask("mode", training=False),
        _SAYS: _ask("logits"),
    },
    mistakes=(
        Mistake(
            "training mode and a gradient",
            "Both are missing: eval mode, and a context without gradients. The student would learn "
            "from noise, and the teacher from the student.",
            Seen({_SAME: False, _FLOWS: True}),
        ),
        Mistake(
            "the teacher is in training mode",
            "Its dropout is on, so it says something else each time, and its batch norms drift with "
            "every question. Is it eval(), with its brackets, and before the question?",
            Seen({_SAME: False, _FLOWS: False}),
        ),
        Mistake(
            "the batch norms still train",
            "Dropout is off, but the batch norms use this batch's statistics and change their own. "
            "eval() switches every layer.",
            Seen({_SAME: True, _KEEPS: False}),
        ),
        Mistake(
            "the gradient flows into the teacher",
            "Eval mode does not stop gradients. Its whole graph stays in memory, and an optimiser that "
            "holds its weights would move them towards the student.",
            Seen({_SAME: True, _KEEPS: True, _FLOWS: True}),
        ),
        Mistake(
            "the teacher is left in training mode",
            "It came to you in eval mode. Switching it to training at the end turns on dropout for "
            "whoever asks next.",
            Seen({_SAME: True, _KEEPS: True, _FLOWS: False, _MODE: True}),
        ),
        Mistake(
            "probabilities for logits",
            "The loss divides *logits* by T. A softmax of a softmax is nearly flat.",
            lambda teacher, inputs: _told(teacher, inputs).softmax(-1),
        ),
        Mistake(
            "hard labels for logits",
            "With argmax all dark knowledge is gone: the student hears no more than a label.",
            lambda teacher, inputs: _told(teacher, inputs).argmax(-1),
        ),
    ),
    checked="dropout, batch norm, the gradient, the mode it is left in, the logits themselves",
    not_checked="devices, transformers' output objects",
)

# --- 6 · mask the padding -------------------------------------------------------------------------


def _masked_mean(losses: Tensor, mask: Tensor) -> Tensor:
    return losses[mask.bool()].mean()


_LOSSES = torch.tensor([[1.0, 3.0, 7.0, 7.0], [2.0, 4.0, 6.0, 9.0]])
_MASK = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]])
_SPOILED = torch.tensor([[1.0, 3.0, float("nan")], [2.0, 4.0, 6.0]])

masked_mean = Check(
    name="masked_mean",
    right=_masked_mean,
    tries={
        "losses [[1, 3, 7, 7], [2, 4, 6, 9]], mask [[1, 1, 0, 0], [1, 1, 1, 0]]": call(
            _LOSSES, _MASK
        ),
        "losses [[1, 3, 7, 7, …], [2, 4, 6, 9, …]], same mask, with three more of padding": call(
            F.pad(_LOSSES, (0, 3), value=5.0), F.pad(_MASK, (0, 3))
        ),
        "losses [[1, 3, nan], [2, 4, 6]], mask [[1, 1, 0], [1, 1, 1]]": call(
            _SPOILED, torch.tensor([[1, 1, 0], [1, 1, 1]])
        ),
    },
    mistakes=(
        Mistake(
            "the padding counts in the mean",
            "The padded losses are zero, but you still divide by all positions. The loss then falls "
            "with every token of padding, and with it the learning.",
            lambda losses, mask: losses.nan_to_num(0).mul(mask).mean(),
        ),
        Mistake(
            "the padding counts in the mean, and nan gets in",
            "You divide by all positions, padding among them. And 0 · nan is nan: pick what counts.",
            lambda losses, mask: (losses * mask).mean(),
        ),
        Mistake(
            "the mask is not used",
            "The student learns to say what the teacher says about [PAD], which is nothing.",
            lambda losses, mask: losses.mean(),
        ),
        Mistake(
            "a mean of the sentences' means",
            "A sentence of two tokens then counts as much as one of two hundred. Divide once, by the "
            "number of all real tokens.",
            lambda losses, mask: torch.stack(
                [row[keep.bool()].mean() for row, keep in zip(losses, mask, strict=True)]
            ).mean(),
        ),
        Mistake(
            "the mask is upside down",
            "1 marks a real token, 0 the padding: as a tokeniser's attention_mask.",
            lambda losses, mask: losses[~mask.bool()].mean(),
        ),
        Mistake(
            "multiplied where it should be picked",
            "Padding can hold nan or infinity, and 0 · nan is nan. Index with the mask, or use "
            "torch.where, before you add up.",
            lambda losses, mask: (losses * mask).sum() / mask.sum(),
        ),
        Mistake(
            "the sum for the mean",
            "A longer batch then means a larger step.",
            lambda losses, mask: losses[mask.bool()].sum(),
        ),
        Mistake(
            "divided by the number of sentences",
            "It is a mean over tokens: long sentences would make larger losses.",
            lambda losses, mask: losses[mask.bool()].sum() / len(losses),
        ),
    ),
    checked="two sentences of different length, more padding, nan in the padding",
    not_checked="a batch of padding alone (0 / 0), masks of other values than 0 and 1",
)

# --- 7 · spot the error, four times ---------------------------------------------------------------

_CULPRITS = {"a": _MEAN, "b": _NO_LOG, "c": _MISSING_T2, "d": _SWAPPED}
_LISTED, _ONCE = "are all four names on the list?", "is each name used once?"


def _judge(question: Callable[[dict[str, str]], bool]) -> Callable[[Any], bool]:
    def attempt(errors: Any) -> bool:
        if not isinstance(errors, dict) or set(errors) != set(_CULPRITS):
            raise TroubleError(_NO_DICT, show(errors))
        return question({letter: str(name).strip().lower() for letter, name in errors.items()})

    return attempt


def _right(letter: str) -> Callable[[Any], bool]:
    return _judge(lambda errors: errors[letter] == _CULPRITS[letter].lower())


_NO_DICT = Mistake(
    "not one name for each of a, b, c and d",
    "Give a dict with these four letters as keys, and names from the list as values.",
    Seen(),
)
_NAMES = {_name.lower() for _name in _CULPRITS.values()}

errors = Check(
    name="errors",
    right=_CULPRITS,
    tries={
        _LISTED: _judge(lambda errors: set(errors.values()) <= _NAMES),
        _ONCE: _judge(lambda errors: len(set(errors.values())) == len(errors)),
        **{f"is loss_{letter}'s error named rightly?": _right(letter) for letter in _CULPRITS},
    },
    mistakes=(
        Mistake(
            "a name that is not on the list",
            "Take the names from the text above, letter by letter.",
            Seen({_LISTED: False}),
        ),
        Mistake(
            "one name used twice",
            "Each of the four has an error of its own. Which two did you find alike, and at which T, "
            "or with which logits, do they differ?",
            Seen({_LISTED: True, _ONCE: False}),
        ),
        Mistake(
            "loss_a has another error",
            "It is too small at T = 1 already, and by the same factor at every T. What has that size?",
            Seen({_LISTED: True, _ONCE: True, "is loss_a's error named rightly?": False}),
        ),
        Mistake(
            "loss_b has another error",
            "Give it the same logits twice. A divergence is 0 there, and this is not.",
            Seen(
                {
                    _LISTED: True,
                    "is loss_a's error named rightly?": True,
                    "is loss_b's error named rightly?": False,
                }
            ),
        ),
        Mistake(
            "loss_c and loss_d are mixed up",
            "At T = 1 one of them is right, for any logits. The other one is right at any T if you "
            "exchange student and teacher.",
            Seen(
                {
                    "is loss_a's error named rightly?": True,
                    "is loss_b's error named rightly?": True,
                    "is loss_c's error named rightly?": False,
                }
            ),
        ),
    ),
    checked="that you named each of the four errors",
    not_checked="how you found them: could you also show each with a number?",
)
