"""Checks for the exercises of lesson 3, the distillation loss."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks.checking import Check, call, slopes
from course_lib.checks.comparing import agree, show, unchanged
from course_lib.checks.guarding import Mistake, TroubleError

# Irregular numbers; the labels are nobody's argmax, and not the number of their row.
_STUDENT = torch.tensor([[1.2, 0.1, -0.7], [0.3, -1.1, 2.4]])
_TEACHER = torch.tensor([[2.9, 1.3, -1.8], [0.4, 1.7, -0.2]])
_LABELS = torch.tensor([2, 0])
_BOTH = "student [[1.2, 0.1, -0.7], [0.3, -1.1, 2.4]], teacher [[2.9, 1.3, -1.8], [0.4, 1.7, -0.2]]"
_MORE = (
    torch.tensor([[0.3, 1.9, -0.4, 0.8], [2.2, -0.9, 0.1, 1.4], [-1.3, 0.6, 0.7, -0.2]]),
    torch.tensor([[1.1, 0.2, 3.1, -0.5], [-0.3, 0.9, 2.0, 1.6], [0.5, 2.6, -1.2, 0.4]]),
    torch.tensor([3, 1, 0]),
)

# --- 1 · softmax with temperature -----------------------------------------------------------------

soften = Check(
    name="soften",
    right="""
def soften(logits, T):
    z = logits / T
    powers = (z - z.amax(-1, keepdim=True)).exp()  # the largest becomes 1, none overflows
    return powers / powers.sum(-1, keepdim=True)
""",
    tries={
        "soften([2, 0.3], T=1)": call(torch.tensor([2.0, 0.3]), 1.0),
        "soften([2, 0.3], T=4)": call(torch.tensor([2.0, 0.3]), 4.0),
        "soften([[2, 0, -1.5], [1, 1.2, 3]], T=2) | a batch": call(
            torch.tensor([[2.0, 0.0, -1.5], [1.0, 1.2, 3.0]]), 2.0
        ),
        "soften(three rows of two, T=0.5) | a batch, or T below 1": call(
            torch.tensor([[0.2, 0.9], [-1.0, 0.4], [2.5, 1.1]]), 0.5
        ),
        "soften([1000, 998.5, -900], T=2) | logits so large that exp() of them is infinite": call(
            torch.tensor([1000.0, 998.5, -900.0]), 2.0
        ),
        "soften([[1000, 998.5], [0.5, 1]], T=2) | one row with logits of 1000 in a batch": call(
            torch.tensor([[1000.0, 998.5], [0.5, 1.0]]), 2.0
        ),
        "soften([200, 3, -40], T=50) | logits of 200, at a large T": call(
            torch.tensor([200.0, 3.0, -40.0]), 50.0
        ),
        "soften([-1000, -999], T=1) | logits so small that exp() of them is 0": call(
            torch.tensor([-1000.0, -999.0]), 1.0
        ),
    },
    mistakes="""
T is forgotten | At T = 1 nobody sees it. At any other T the student gets labels that are too hard.
  logits / T => logits
T comes after the softmax | Probabilities divided by T no longer add up to 1. T belongs to the logits.
  logits / T => logits
  powers / powers.sum(-1, keepdim=True) => powers / powers.sum(-1, keepdim=True) / T
T only takes part above the line of the fraction | Both the powers and their sum are those of logits / T; otherwise they do not add up to 1.
  = z = logits - logits.amax(-1, keepdim=True)
  = return (z / T).exp() / z.exp().sum(-1, keepdim=True)
softened after the softmax | What the softmax has rounded to 0 stays 0, at any T. Divide the logits first.
  = p = logits.softmax(-1) ** (1 / T)
  = return p / p.sum(-1, keepdim=True)
softened after the softmax, and not divided by the sum | A power of probabilities does not add up to 1.
  = return logits.softmax(-1) ** (1 / T)
a sigmoid for the softmax | It looks at each class alone, and nothing adds up to 1.
  = return (logits / T).sigmoid()
softmax twice | A softmax of probabilities is nearly flat. T belongs to the logits.
  = return (logits.softmax(-1) / T).softmax(-1)
the largest is taken off before it is divided by T | Take it off the same numbers that go into exp(): both divided by T, or both not yet.
  z.amax(-1, keepdim=True) => logits.amax(-1, keepdim=True)
large logits are cut off | Those beyond the limit become alike. Only differences count: take the largest of each row off.
  logits / T => logits.clamp(-50, 50) / T
dim=1, which a single example has not | The classes are the last dimension in both shapes: −1.
  amax(-1, keepdim=True) => amax(1, keepdim=True)
  sum(-1, keepdim=True) => sum(1, keepdim=True)
over the examples instead of the classes | Each row is one example and must add up to 1. With dim=0 the columns do, and the examples of a batch compete with each other.
  amax(-1, keepdim=True) => amax(0, keepdim=True)
  sum(-1, keepdim=True) => sum(0, keepdim=True)
large logits overflow | e to the power of 500 is infinite in float32, and inf / inf is nan: one such example spoils the whole batch. Only differences between logits matter, so take the largest off.
  (z - z.amax(-1, keepdim=True)).exp() => z.exp()
nan is replaced, not avoided | inf / inf is nan, and the number that you put in its place is not the probability. Take the largest logit off before exp().
  (z - z.amax(-1, keepdim=True)).exp() => z.exp()
  return powers / powers.sum(-1, keepdim=True) => return (powers / powers.sum(-1, keepdim=True)).nan_to_num(0)
the largest of the whole batch is taken off | A row of small logits beside one of large ones then becomes 0 / 0. Take off each row's own largest.
  z.amax(-1, keepdim=True) => z.max()
logarithms of the probabilities | log_softmax is for the loss. Probabilities are positive and add up to 1.
  return powers / powers.sum(-1, keepdim=True) => return z.log_softmax(-1)
one sum for the whole batch | Each row must add up to 1, not the whole tensor: sum over the last dimension alone.
  powers.sum(-1, keepdim=True) => powers.sum()
""",
    checked="one example and batches, T of 0.5, 1, 2 and 4, logits of ±1000, alone and beside others",
    not_checked="T of 0 or below, half precision",
)

# --- 2 · KL by hand -------------------------------------------------------------------------------

_P, _Q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.25, 0.25])

kl = Check(
    name="kl",
    right="""
def kl(p, q):
    some = p > 0
    return (p[some] * (p[some].log() - q[some].log())).sum()
""",
    tries={
        "teacher p = [0.7, 0.2, 0.1], student q = [0.5, 0.25, 0.25]": call(_P, _Q),
        "p = [0.04, 0.26, 0.31, 0.39], q = [0.43, 0.2, 0.3, 0.07]": call(
            torch.tensor([0.04, 0.26, 0.31, 0.39]), torch.tensor([0.43, 0.2, 0.3, 0.07])
        ),
        "p = [0.0004, 0.0007, 0.9789, 0.02], q = [0.43, 0.2, 0.3, 0.07]": call(
            torch.tensor([0.0004, 0.0007, 0.9789, 0.02]), torch.tensor([0.43, 0.2, 0.3, 0.07])
        ),
        "p and q both [0.7, 0.2, 0.1] | equal distributions": call(_P, _P),
        "p = [0.6, 0.4, 0], q = [0.2, 0.3, 0.5] | a class that the teacher excludes": call(
            torch.tensor([0.6, 0.4, 0.0]), torch.tensor([0.2, 0.3, 0.5])
        ),
        "p = [0.6, 0.4], q = [1, 1e-12] | very small probabilities": call(
            torch.tensor([0.6, 0.4]), torch.tensor([1.0, 1e-12])
        ),
        "p = [0, 1], q = [0.2, 0.8] | a class that the teacher excludes": call(
            torch.tensor([0.0, 1.0]), torch.tensor([0.2, 0.8])
        ),
    },
    mistakes="""
teacher and student are swapped | KL is not symmetric. The teacher's probabilities weigh the terms: what it finds likely must count. Swapped, the student may ignore classes that the teacher allows.
  = return (q * (q.log() - p.log())).sum()
weighted by q instead of p | The difference of the logarithms is right. What weighs it is how likely the *teacher* finds a class.
  p[some] * => q[some] *
not weighted by p | A class that the teacher finds impossible then counts as much as its favorite.
  = return (p.log() - q.log()).sum()
not weighted by p, and without the classes that p excludes | Each class counts as much as any other. What weighs it is how likely the teacher finds it.
  p[some] * =>
the absolute value of each term | Terms may be negative: they say that the student gives a class too much. Only their sum is never below 0.
  .sum() => .abs().sum()
0 · log 0 gives nan | A class with p = 0 adds nothing, but 0 · (−inf) is nan on a computer, and nan spreads to every weight. Treat it apart.
  = return (p * (p.log() - q.log())).sum()
a class with p = 0 still adds something | It adds nothing, whatever q is: p weighs both logarithms.
  = return (torch.special.xlogy(p, p) - torch.where(p > 0, p * q.log(), q.log())).sum()
Jensen–Shannon for KL | That compares both with their mean. Here p is compared with q itself.
  = m = (p + q) / 2
  = return sum(torch.special.xlogy(x, x / m).nansum() for x in (p, q)) / 2
F.kl_div in the order of the paper | kl_div(input, target) takes log q first, then p. It never complains.
  = return F.kl_div(p, q, reduction="sum")
softmax of probabilities | p and q add up to 1 already. Softened again, they are nearly alike.
  = p, q = p.softmax(-1), q.softmax(-1)
  = return (p * (p.log() - q.log())).sum()
the squared distance | KL compares logarithms, and each class weighs as much as p says.
  = return ((p - q) ** 2).sum()
small probabilities are left out | Only a class with p = 0 adds nothing. With 1,000 classes most of them are small.
  p > 0 => p > 0.01
a small number is added inside the logarithm | It keeps log(0) away and moves every result a little: two equal distributions may no longer be at 0.
  = return (p * ((p + 1e-2).log() - (q + 1e-2).log())).sum()
the mean over classes for the sum | The value then depends on how many classes there are: with 1,000 the teacher would be heard 100 times less than with 10.
  = return torch.where(p > 0, p * (p.log() - q.log()), 0.0).mean()
cross-entropy for KL | −Σ p log q is KL plus the teacher's own entropy. It has the same gradient, but it is not 0 when both agree.
  p[some].log() - q[some].log() => -q[some].log()
the entropy of the teacher is added, not taken off | KL is cross-entropy minus entropy. Which sign has Σ p log p?
  p[some].log() - q[some].log() => -p[some].log() - q[some].log()
""",
    checked="three classes and four, two equal distributions, a class that the teacher excludes",
    not_checked="batches, a class that the student excludes",
)

# --- 3 · the distillation loss --------------------------------------------------------------------


def _of_student(student: Tensor, *_: Any) -> dict[str, Tensor]:
    return {"student's logits": student}


_MISSING_T2 = "missing T²"
_SWAPPED = "swapped arguments"
_MEAN = "mean for batchmean"
_NO_LOG = "softmax for log_softmax"
_TRY = f"{_BOTH}, labels [2, 0]"

distillation_loss = Check(
    name="distillation_loss",
    right="""
def distillation_loss(student_logits, teacher_logits, labels, T, alpha):
    log_q = F.log_softmax(student_logits / T, dim=-1)
    p = F.softmax(teacher_logits / T, dim=-1)
    soft = T**2 * F.kl_div(log_q, p, reduction="batchmean")
    return alpha * soft + (1 - alpha) * F.cross_entropy(student_logits, labels)
""",
    tries={
        f"{_TRY}, T=1, alpha=1": call(_STUDENT, _TEACHER, _LABELS, 1.0, 1.0),
        f"{_TRY}, T=4, alpha=1 (the teacher alone)": call(_STUDENT, _TEACHER, _LABELS, 4.0, 1.0),
        f"{_TRY}, T=4, alpha=0 (the labels alone)": call(_STUDENT, _TEACHER, _LABELS, 4.0, 0.0),
        f"{_TRY}, T=2, alpha=0.3": call(_STUDENT, _TEACHER, _LABELS, 2.0, 0.3),
        "three examples of four classes, T=3, alpha=0.8 | another number of examples or classes": call(
            *_MORE, 3.0, 0.8
        ),
        "the same, T=2, alpha=0.3: its gradient | gradient": slopes(
            _of_student, _STUDENT, _TEACHER.clone().requires_grad_(), _LABELS, 2.0, 0.3
        ),
    },
    mistakes=f"""
{_MISSING_T2} | Dividing logits by T makes the gradient about T² times smaller. Without the factor, a higher T silently hands the student over to the labels.
  T**2 * =>
T for T² | One factor 1/T comes from the student's logits, a second one from the two distributions becoming alike. T makes up for one of them only.
  T**2 => T
T² on both parts | Only the teacher's part shrinks with T. The labels' part is plain cross-entropy, without any factor.
  F.cross_entropy( => T**2 * F.cross_entropy(
{_SWAPPED} | kl_div wants the student's logarithms first and the teacher's probabilities second. Swapped, it measures KL(student ‖ teacher), which lets the student ignore classes.
  student_logits / T => teacher_logits / T
  F.softmax(teacher_logits / T => F.softmax(student_logits / T
{_MEAN} | This reduction, the default, divides by examples times classes: the teacher's part is too small by the number of classes.
  "batchmean" => "mean"
{_NO_LOG} | kl_div takes the student's *logarithms* and never complains. With probabilities it computes a number that means nothing, and has its smallest value in the wrong place.
  log_softmax => softmax
cross-entropy with the teacher for KL | It is KL plus the teacher's own entropy: the same gradient, but not 0 when both agree, and each T has another floor.
  F.kl_div(log_q, p, reduction="batchmean") => -(p * log_q).sum(-1).mean()
one number for each example | Both parts are means over the batch: one number.
  F.kl_div(log_q, p, reduction="batchmean") => F.kl_div(log_q, p, reduction="none").sum(-1)
  labels) => labels, reduction="none")
the teacher's argmax for its distribution | With hard labels, all that the teacher says about the other classes is gone.
  F.softmax(teacher_logits / T, dim=-1) => F.one_hot(teacher_logits.argmax(-1), teacher_logits.shape[-1]).float()
alpha on the wrong part | alpha is the teacher's share: at 1 the labels play no part. Yours weighs the other way round.
  alpha * soft + (1 - alpha) * => (1 - alpha) * soft + alpha *
temperature on the hard labels, too | The label's part is plain cross-entropy at T = 1: that is how the student will be used.
  F.cross_entropy(student_logits, => F.cross_entropy(student_logits / T,
temperature on the student alone | A soft student is then pulled to a hard teacher. Both sides need the same T.
  teacher_logits / T => teacher_logits
the labels are not used | The labels' part compares with what the data say, not with the student's own or the teacher's guess.
  (student_logits, labels) => (student_logits, teacher_logits.argmax(-1))
the hard part looks at the teacher's logits | Cross-entropy with the labels must teach the student; the teacher does not learn.
  F.cross_entropy(student_logits, => F.cross_entropy(teacher_logits,
probabilities into cross_entropy | F.cross_entropy takes logits and does the softmax itself. A softmax of a softmax is nearly flat.
  F.cross_entropy(student_logits, => F.cross_entropy(student_logits.softmax(-1),
the hard part is a sum over the batch | Both parts are means over the batch; otherwise another batch size is another alpha.
  labels) => labels, reduction="sum")
the teacher's part alone | Where there are labels they help: 1 − alpha of the loss is theirs.
  alpha * soft + (1 - alpha) * F.cross_entropy(student_logits, labels) => soft
the labels' part is missing | Where there are labels they help: 1 − alpha of the loss is theirs.
  + (1 - alpha) * F.cross_entropy(student_logits, labels) =>
both parts added without weights | Without alpha and 1 − alpha nobody can set the balance between the two.
  alpha * soft + (1 - alpha) * => soft +
nothing is learned from the teacher | The value is right, but the teacher's part is cut off from the student: its gradient never arrives.
  F.log_softmax(student_logits / T => F.log_softmax(student_logits.detach() / T
nothing is learned from the labels | The value is right, but the labels' part is cut off from the student: its gradient never arrives.
  F.cross_entropy(student_logits, => F.cross_entropy(student_logits.detach(),
two numbers instead of one | A loss is one number: add the two parts up.
  alpha * soft + (1 - alpha) * F.cross_entropy(student_logits, labels) => alpha * soft, (1 - alpha) * F.cross_entropy(student_logits, labels)
""",
    checked="two examples of three classes and three of four; T of 1 to 4; alpha of 0 to 1; the gradient",
    not_checked="labels of −100, half precision, gradients into the teacher, a softmax that rounds to 0",
)

# --- 4 · T², argued by gradient -------------------------------------------------------------------

soft_gradient = Check(
    name="soft_gradient",
    right="""
def soft_gradient(student_logits, teacher_logits, T):
    q, p = F.softmax(student_logits / T, -1), F.softmax(teacher_logits / T, -1)
    return (q - p) / T / len(student_logits)
""",
    tries={
        "student [[0.4, 0]], teacher [[2, 0.1]], T=1": call(
            torch.tensor([[0.4, 0.0]]), torch.tensor([[2.0, 0.1]]), 1.0
        ),
        "student [[0.4, 0]], teacher [[2, 0.1]], T=4": call(
            torch.tensor([[0.4, 0.0]]), torch.tensor([[2.0, 0.1]]), 4.0
        ),
        f"{_BOTH}, T=2": call(_STUDENT, _TEACHER, 2.0),
        "three examples of four classes, T=3 | another number of examples or classes": call(
            *_MORE[:2], 3.0
        ),
    },
    mistakes="""
the inner derivative 1/T is missing | The student's logits are divided by T before the softmax, so the chain rule brings a 1/T. It is the first of the two that make T².
  (q - p) / T => (q - p)
T² is in it already | Here you look at KL alone, to see how its gradient shrinks. The factor comes after.
  (q - p) / T => (q - p) * T
the sum over the batch for the mean | The loss is a mean over the examples, so each gives 1/n of the gradient.
  / len(student_logits) =>
the batch of the example for any batch | Count the examples that you are given.
  / len(student_logits) => / 2
the limit for a very large T | There the difference of the probabilities becomes that of the logits. At any other T it is not.
  (q - p) / T / len(student_logits) => (student_logits - teacher_logits) / T**2 / student_logits.numel()
divided by all numbers, not by the examples | The loss is a mean over the examples; over the classes it is a sum.
  len(student_logits) => student_logits.numel()
the gradient of the teacher's logits | The teacher does not learn. Take the derivative by the student's logits.
  = f = lambda t: F.kl_div((student_logits / T).log_softmax(-1), (t / T).softmax(-1), reduction="batchmean")
  = return torch.func.grad(f)(teacher_logits)
student and teacher are swapped in kl_div | kl_div takes the student's logarithms first, the teacher's probabilities second.
  = t = teacher_logits
  = f = lambda z: F.kl_div((t / T).log_softmax(-1), (z / T).softmax(-1), reduction="batchmean")
  = return torch.func.grad(f)(student_logits)
no temperature in the softmaxes | Both distributions are those at T. At T = 1 nobody sees the difference.
  student_logits / T => student_logits
  teacher_logits / T => teacher_logits
the value for its gradient | The loss is one number. Its gradient has a number for each logit of the student.
  (q - p) / T / len(student_logits) => F.kl_div(q.log(), p, reduction="batchmean")
the length for the gradient | Keep the gradient whole: one number for each logit. The next cell takes its length.
  (q - p) / T / len(student_logits) => ((q - p) / T / len(student_logits)).norm()
""",
    checked="one example on paper at T of 1 and 4, a batch of two at T = 2, one of three; that the logits "
    "stay without .grad",
    not_checked="very large T, where float32 rounds both distributions to the same",
)

# --- 5 · the teacher: eval mode, no gradient ------------------------------------------------------


def _teacher() -> nn.Sequential:
    block = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5))
    teacher = nn.Sequential(nn.Linear(2, 4), block, nn.Linear(4, 3))
    for i, parameter in enumerate(teacher.parameters()):
        row = torch.linspace(-1, 2, parameter.numel()) ** 2 - 0.3
        parameter.data = row.view(parameter.shape) * (i + 1) / 3
    return teacher


_INPUTS = torch.tensor([[1.0, 0.2], [0.1, 1.3], [1.0, -1.0]])


def _ask(look: Callable[[Any, Any, Any], Any], training: bool = True) -> Callable[[Any], Any]:
    """A try: `look` sees the answer, the teacher afterwards and what it said."""

    def attempt(answer: Callable[[nn.Module, Tensor], Tensor]) -> Any:
        teacher = _teacher().train(training)
        return look(answer, teacher, call(_INPUTS)(lambda inputs: answer(teacher, inputs)))

    return attempt


def _changed(answer: Any, teacher: nn.Module, logits: Any) -> str:
    """What in the teacher is another thing than before, its mode and `requires_grad` aside."""
    other = copy.deepcopy(teacher).eval().requires_grad_(True)
    pairs = zip(_teacher().eval().modules(), other.modules(), strict=False)
    found = [
        type(one).__name__
        for one, its in list(pairs)[1:]
        if not [*one.children()] and not unchanged(one, its)
    ]
    return found[0] if found else "nothing"


def _came_frozen(answer: Any) -> str:
    """Which parameters are trainable afterwards, if the first layer's were not before."""
    teacher = _teacher()
    teacher[0].requires_grad_(False)
    call(_INPUTS)(lambda inputs: answer(teacher, inputs))
    trainable = [parameter.requires_grad for parameter in teacher.parameters()]
    kinds = {(False, False, *[True] * 4): "all but the first layer's", (True,) * 6: "all"}
    return kinds.get(tuple(trainable), "others")


def _came_with_gradients(answer: Any) -> bool:
    """Whether they are still there."""
    teacher = _teacher()
    for parameter in teacher.parameters():
        parameter.grad = torch.ones_like(parameter)
    call(_INPUTS)(lambda inputs: answer(teacher, inputs))
    return all(p.grad is not None and p.grad.any() for p in teacher.parameters())


def _flows(answer: Any, teacher: nn.Module, logits: Any) -> bool:
    return bool(getattr(logits, "requires_grad", False))


def _mixed(answer: Any, teacher: nn.Module, logits: Any) -> bool:
    return teacher.training and not all(layer.training for layer in teacher.modules())


def _twice(answer: Any, teacher: nn.Module, logits: Any) -> bool:
    return agree(answer(teacher, _INPUTS), logits)


_SAME = "asked twice, does it say the same?"
_KEEPS = "which of its layers is another one afterwards, modes aside?"
_ITSELF = "afterward, is the teacher itself in training mode, and a layer of it in eval mode?"
_STILL = "a teacher whose first layer came frozen: which parameters are trainable afterwards?"
_FROZEN = "is it still trainable, as it came?"
_FLOWS = "does a gradient flow into its answer?"
_MODE = "a teacher that came in eval mode: is it in training mode afterwards?"
_AGAIN = "a teacher that came in eval mode: can backward() go through its answer?"
_GRADS = "the teacher came with gradients of its own: are they still there?"
_SAYS = "what it says of three inputs, a teacher with dropout and batch norm, in training mode"

ask_teacher = Check(
    name="ask_teacher",
    right="""
def ask_teacher(teacher, inputs):
    teacher.eval()
    with torch.no_grad():
        return teacher(inputs)
""",
    tries={
        _SAME: _ask(_twice),
        _KEEPS: _ask(_changed),
        _FLOWS: _ask(_flows),
        _MODE: _ask(lambda answer, teacher, logits: teacher.training, training=False),
        _AGAIN: _ask(_flows, training=False),
        _FROZEN: _ask(
            lambda _, teacher, logits: all(p.requires_grad for p in teacher.parameters())
        ),
        _SAYS: _ask(lambda answer, teacher, logits: logits),
        _ITSELF: _ask(_mixed),
        _STILL: _came_frozen,
        _GRADS: _came_with_gradients,
    },
    mistakes=f"""
training mode and a gradient | Both are missing: eval mode, and a context without gradients. The student would learn from noise, and the teacher from the student.
  ? {_SAME}: no
  ? {_FLOWS}: yes
the teacher is in training mode | Its dropout is on, so it says something else each time, and its batch norms drift with every question. Is it eval(), with its brackets, and before the question?
  ? {_SAME}: no
  ? {_FLOWS}: no
the dropout is changed for good | Its p is a setting of the teacher: whoever trains it on finds no dropout. eval() switches it off for the question alone.
  ? {_KEEPS}: Dropout
the layers are in eval mode, the teacher itself is not | A model can read its own `training` in forward(). teacher.eval() switches it and all that is in it.
  ? before: right
  ? {_ITSELF}: yes
a gradient, if the teacher came in eval mode | Eval mode does not stop gradients: the context without them is needed each time.
  ? before: right
  ? {_AGAIN}: yes
the weights are changed | The teacher is asked, not trained: its weights stay.
  ? {_KEEPS}: Linear
what came frozen is trainable afterwards | requires_grad_(True) at the end does not give back what was there before. A context without gradients leaves no trace.
  ? before: right
  ? {_STILL}: all
the teacher's own gradients are deleted | Somebody may still need them: an optimizer, a score. A context without gradients leaves no trace.
  ? before: right
  ? {_GRADS}: no
the batch norms still train | Dropout is off, but the batch norms use this batch's statistics and change their own. eval() switches every layer.
  ? {_SAME}: yes
  ? {_KEEPS}: BatchNorm1d
the gradient flows into the teacher | Eval mode does not stop gradients. Its whole graph stays in memory, and an optimizer that holds its weights would move them toward the student.
  ? {_SAME}: yes
  ? {_KEEPS}: nothing
  ? {_FLOWS}: yes
the teacher is left in training mode | It came to you in eval mode. Switching it to training at the end turns on dropout for whoever asks next.
  ? {_SAME}: yes
  ? {_KEEPS}: nothing
  ? {_FLOWS}: no
  ? {_MODE}: yes
the teacher is left frozen | requires_grad_(False) stays behind: whoever wants to train it later finds that nothing moves. A context without gradients leaves no trace.
  ? {_SAME}: yes
  ? {_KEEPS}: nothing
  ? {_FLOWS}: no
  ? {_FROZEN}: no
probabilities for logits | The loss divides *logits* by T. A softmax of a softmax is nearly flat.
  return teacher(inputs) => return teacher(inputs).softmax(-1)
logarithms for logits | The loss divides *logits* by T; log_softmax comes afterwards.
  return teacher(inputs) => return teacher(inputs).log_softmax(-1)
hard labels for logits | With argmax, all that the teacher says about the other classes is gone: what is left is a label.
  return teacher(inputs) => return teacher(inputs).argmax(-1)
""",
    checked="dropout, batch norm, the gradient, the mode it is left in, the logits themselves",
    not_checked="devices, transformers' output objects",
)

# --- 6 · mask the padding -------------------------------------------------------------------------

_LOSSES = torch.tensor([[1.1, 3.0, 7.2, 7.9], [2.0, 4.3, 6.0, 9.5]])
_MASK = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]])
_SPOILED = torch.tensor([[1.1, 3.0, float("nan")], [2.0, 4.3, 6.0]])
_SHOWN = "losses [[1.1, 3, 7.2, 7.9], [2, 4.3, 6, 9.5]], mask [[1, 1, 0, 0], [1, 1, 1, 0]]"

masked_mean = Check(
    name="masked_mean",
    right="""
def masked_mean(losses, mask):
    return losses[mask.bool()].mean()
""",
    tries={
        _SHOWN: call(_LOSSES, _MASK),
        "the same, with three more places of padding | more padding": call(
            F.pad(_LOSSES, (0, 3), value=5.0), F.pad(_MASK, (0, 3))
        ),
        "losses [[1.1, 3, nan], [2, 4.3, 6]], mask [[1, 1, 0], [1, 1, 1]] | nan in the padding": call(
            _SPOILED, torch.tensor([[1, 1, 0], [1, 1, 1]])
        ),
        "losses [[2.5, inf, 9], [0, 1.5, 0.7], [4, 2, 1]], mask [[1, 0, 0], [1, 1, 1], [1, 1, 0]] | infinity "
        "in the padding, or a loss of 0": call(
            torch.tensor([[2.5, torch.inf, 9.0], [0.0, 1.5, 0.7], [4.0, 2.0, 1.0]]),
            torch.tensor([[1, 0, 0], [1, 1, 1], [1, 1, 0]]),
        ),
        "padding on the left: losses [[8, 2.2], [1.3, 5]], mask [[0, 1], [1, 1]] | padding on the left": call(
            torch.tensor([[8.0, 2.2], [1.3, 5.0]]), torch.tensor([[0, 1], [1, 1]])
        ),
    },
    mistakes="""
the padding counts in the mean | The padded losses are zero, but you still divide by all positions. The loss then falls with every token of padding, and with it the learning.
  = return torch.where(mask.bool(), losses, 0.0).mean()
the padding counts in the mean, and nan gets in | You divide by all positions, padding among them. And 0 · nan is nan: pick what counts.
  = return (losses * mask).mean()
the mask is not used | The student learns to say what the teacher says about [PAD], which is nothing.
  = return losses.mean()
only nan is left out, not the padding | nanmean() leaves nan out. The padding usually holds ordinary numbers, which must not count either.
  = return losses.nanmean()
a mean of the sentences' means | A sentence of two tokens then counts as much as one of two hundred. Divide once, by the number of all real tokens.
  = return (torch.where(mask.bool(), losses, 0.0).sum(1) / mask.sum(1)).mean()
the mean of each sentence | One number for the whole batch is asked for: the mean over all real tokens.
  = return torch.where(mask.bool(), losses, 0.0).sum(1) / mask.sum(1)
the mask is upside down | 1 marks a real token, 0 the padding: as a tokenizer's attention_mask.
  mask.bool() => ~mask.bool()
~ of whole numbers | ~0 is −1 and ~1 is −2, and both count as true. Turn the mask into bool before you turn it round.
  = return losses.masked_fill((~mask).bool(), 0).sum() / mask.sum()
the mask is an index, not a bool | An integer mask picks rows 0 and 1 again and again. A bool mask picks where it is True.
  mask.bool() => mask
multiplied where it should be picked | @nan
  = return (losses * mask).sum() / mask.sum()
losses of 0 are left out, too | A real token may have a loss of 0. Count the mask, not the losses.
  = kept = torch.where(mask.bool(), losses, 0.0)
  = return kept.sum() / (kept != 0).sum()
divided by the number of sentences | It is a mean over tokens: long sentences would make larger losses.
  .mean() => .sum() / len(losses)
divided by the length | It is a mean over all real tokens of all sentences, whatever the length of the batch.
  .mean() => .sum() / losses.shape[1]
nan becomes 0, and the padding counts | The padding usually holds ordinary numbers; and the zeros still count in the mean.
  = return losses.nan_to_num().mean()
cut to the longest sentence, no more | The shorter ones' padding still counts.
  = return losses[:, : int(mask.sum(1).max())].mean()
the mask of the first sentence for all | Each sentence has a length of its own, and a row of the mask.
  = return losses[:, mask[0].bool()].mean()
the number of real tokens, counted from the left | Padding may stand on either side: ask the mask where the tokens are.
  = return torch.cat([row[: int(m.sum())] for row, m in zip(losses, mask)]).mean()
""",
    checked="sentences of different length, more padding, padding on the left, nan and infinity in it",
    not_checked="a batch of padding alone (0 / 0), masks of other values than 0 and 1",
)

# --- 7 · spot the error, four times ---------------------------------------------------------------

_CULPRITS = {"a": _MEAN, "b": _NO_LOG, "c": _MISSING_T2, "d": _SWAPPED}
_LISTED, _ONCE = "are all four names on the list?", "is each name used once?"
_NO_DICT = Mistake(
    "not one name for each of a, b, c and d",
    "Give a dict with these four letters as keys, and names from the list as values.",
)
_NAMES = {_name.lower() for _name in _CULPRITS.values()}


def _judge(question: Callable[[dict[str, str]], bool]) -> Callable[[Any], bool]:
    def attempt(errors: Any) -> bool:
        if not isinstance(errors, dict) or not set(errors) >= set(_CULPRITS):
            raise TroubleError(_NO_DICT, show(errors))
        names = {letter: str(errors[letter]).strip().lower() for letter in _CULPRITS}
        return question({letter: name.replace("t2", "t²") for letter, name in names.items()})

    return attempt


def _rightly(letter: str) -> Callable[[Any], bool]:
    return _judge(lambda errors: errors[letter] == _CULPRITS[letter].lower())


errors = Check(
    name="errors",
    right=_CULPRITS,
    tries={
        _LISTED: _judge(lambda errors: set(errors.values()) <= _NAMES),
        _ONCE: _judge(lambda errors: len(set(errors.values())) == len(errors)),
        **{f"is loss_{letter}'s error named rightly?": _rightly(letter) for letter in _CULPRITS},
    },
    mistakes=f"""
a name that is not on the list | Take the names from the text above, letter by letter.
  ? {_LISTED}: no
one name used twice | Each of the four has an error of its own. Which two did you find alike, and at which T, or with which logits, do they differ?
  ? {_LISTED}: yes
  ? {_ONCE}: no
loss_a has another error | It is too small at T = 1 already, and by the same factor at every T. What has that size?
  ? {_LISTED}: yes
  ? {_ONCE}: yes
  ? loss_a's error: no
loss_b has another error | Give it the same logits twice. A divergence is 0 there, and this is not.
  ? {_LISTED}: yes
  ? loss_a's error: yes
  ? loss_b's error: no
loss_c and loss_d are mixed up | At T = 1 one of them is right, for any logits. The other one is right at any T if you exchange student and teacher.
  ? loss_a's error: yes
  ? loss_b's error: yes
  ? loss_c's error: no
""",
    checked="that you named each of the four errors",
    not_checked="how you found them: could you also show each with a number?",
)
