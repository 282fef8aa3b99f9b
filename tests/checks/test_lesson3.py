"""Plausible wrong answers to lesson 3's exercises, each named; and right ones in many styles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F
from styles import answers, as_float, as_numpy_scalar, other_clothes, short
from torch import nn

from course_lib import checks, distillation

WRONG, RIGHT, wrong, right = answers()


# --- 1 · soften -----------------------------------------------------------------------------------


@wrong("soften", "T is forgotten")
def _(logits, T):
    return F.softmax(logits, dim=-1)


@wrong("soften", "multiplied by T instead of divided")
def _(logits, T):
    return nn.Softmax(dim=-1)(T * logits)


@wrong("soften", "T comes after the softmax")
def _(logits, T):
    return logits.softmax(-1).div(T)


@wrong("soften", "over the examples instead of the classes")
def _(logits, T):
    return F.softmax(logits / T, dim=0)


@wrong("soften", "large logits overflow")
def _(logits, T):
    return torch.exp(logits / T) / torch.exp(logits / T).sum(dim=-1, keepdim=True)


@wrong("soften", "logarithms of the probabilities")
def _(logits, T):
    return logits / T - torch.logsumexp(logits / T, -1, keepdim=True)


@wrong("soften", "one sum for the whole batch")
def _(logits, T):
    z = (logits - logits.max()) / T
    return z.exp() / z.exp().sum()


@right("soften")
def one_line(logits, T):
    return torch.softmax(logits / T, -1)


@right("soften")
def shifted(logits, T):
    z = logits / T
    powers = (z - z.amax(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True)


@right("soften")
def by_logarithm(logits, T):
    return (logits / T).log_softmax(-1).exp()


@right("soften")
def loop_over_rows(logits, T):
    if logits.dim() == 1:
        return shifted(logits, T)
    return torch.stack([loop_over_rows(row, T) for row in logits])


@right("soften")
def pure_python(logits, T):
    def one(row):
        powers = [math.exp((z - max(row)) / T) for z in row]
        return [power / sum(powers) for power in powers]

    rows = logits.tolist()
    return one(rows) if logits.dim() == 1 else [one(row) for row in rows]


@right("soften")
def pairs(logits, T):
    # 1 / Σⱼ exp(zⱼ − zᵢ): no common factor at all
    return 1 / ((logits[..., None, :] - logits[..., :, None]) / T).exp().sum(-1)


@right("soften")
def scipys(logits, T):
    return scipy.special.softmax(logits.numpy() / T, axis=-1)


@right("soften")
def in_place_on_a_copy(logits, T):
    return logits.clone().div_(T).softmax(-1)


@right("soften")
def the_courses(logits, T):
    return distillation.soften(logits, T)


RIGHT["soften"] |= other_clothes(one_line)

# --- 2 · kl ---------------------------------------------------------------------------------------


@wrong("kl", "teacher and student are swapped")
def _(p, q):
    return torch.where(q > 0, q * (q.log() - p.log()), 0).sum()


@wrong("kl", "not weighted by p")
def _(p, q):
    return torch.log(p / q).sum()


@wrong("kl", "the sign is turned round")
def _(p, q):
    return (torch.xlogy(p, q) - torch.xlogy(p, p)).sum()


@wrong("kl", "bits instead of nats")
def _(p, q):
    some = p > 0
    return (p[some] * torch.log2(p[some] / q[some])).sum()


@wrong("kl", "0 · log 0 gives nan")
def _(p, q):
    return torch.sum(p * torch.log(p / q))


@wrong("kl", "the mean over classes for the sum")
def _(p, q):
    return F.kl_div(q.log(), p, reduction="mean")


@wrong("kl", "cross-entropy for KL")
def _(p, q):
    return -(p * q.log()).sum()


@wrong("kl", "one term for each class, not their sum")
def _(p, q):
    return F.kl_div(q.log(), p, reduction="none")


@right("kl")
def picked(p, q):
    some = p > 0
    return (p[some] * (p[some].log() - q[some].log())).sum()


@right("kl")
def a_loop(p, q):
    total = 0.0
    for p_i, q_i in zip(p, q, strict=True):
        if p_i > 0:
            total += p_i * torch.log(p_i / q_i)
    return total


@right("kl")
def einsum(p, q):
    return torch.einsum("i,i->", p, (p.clamp(min=1e-30) / q).log())


@right("kl")
def torchs(p, q):
    return F.kl_div(q.log(), p, reduction="sum")


@right("kl")
def entropies(p, q):
    return -(p * q.log()).sum() - torch.special.entr(p).sum()


@right("kl")
def where(p, q):
    return torch.where(p > 0, p * (p / q).log(), torch.zeros(())).sum()


@right("kl")
def nan_to_num(p, q):
    return (p * (p.log() - q.log())).nan_to_num(0).sum()


@right("kl")
def scipys_kl(p, q):
    return scipy.special.rel_entr(p.numpy(), q.numpy()).sum()


@right("kl")
def pure_python_kl(p, q):
    return math.fsum(a * math.log(a / b) for a, b in zip(p.tolist(), q.tolist(), strict=True) if a)


RIGHT["kl"] |= {"float": as_float(picked), "numpy scalar": as_numpy_scalar(picked)}
RIGHT["kl"] |= other_clothes(picked)

# --- 3 · distillation_loss ------------------------------------------------------------------------


def loss(soft, hard=F.cross_entropy):
    return lambda z, t, y, T, alpha: alpha * soft(z, t, T) + (1 - alpha) * hard(z, y)


@wrong("distillation_loss", "missing T²")
def _(z, t, y, T, alpha):
    p, log_q = F.softmax(t / T, dim=1), F.log_softmax(z / T, dim=1)
    return alpha * F.kl_div(log_q, p, reduction="batchmean") + (1 - alpha) * F.cross_entropy(z, y)


@wrong("distillation_loss", "T for T²")
def _(z, t, y, T, alpha):
    p, log_q = F.softmax(t / T, dim=1), F.log_softmax(z / T, dim=1)
    soft = (p * (p.log() - log_q)).sum(1).mean() * T
    return alpha * soft + (1 - alpha) * F.cross_entropy(z, y)


@wrong("distillation_loss", "swapped arguments")
def _(z, t, y, T, alpha):
    soft = nn.KLDivLoss(reduction="batchmean")(F.log_softmax(t / T, -1), F.softmax(z / T, -1))
    return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(z, y)


@wrong("distillation_loss", "mean for batchmean")
def _(z, t, y, T, alpha):
    soft = nn.KLDivLoss()(F.log_softmax(z / T, dim=-1), F.softmax(t / T, dim=-1))
    return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(z, y)


@wrong("distillation_loss", "sum for batchmean")
def _(z, t, y, T, alpha):
    p = (t / T).softmax(-1)
    soft = (p * (p.log() - (z / T).log_softmax(-1))).sum()
    return alpha * T**2 * soft + (1 - alpha) * F.cross_entropy(z, y)


@wrong("distillation_loss", "softmax for log_softmax")
def _(z, t, y, T, alpha):
    soft = F.kl_div(F.softmax(z / T, 1), F.softmax(t / T, 1), reduction="batchmean") * T**2
    return soft * alpha + F.cross_entropy(z, y) * (1.0 - alpha)


@wrong("distillation_loss", "alpha on the wrong part")
def _(z, t, y, T, alpha):
    soft = F.kl_div((z / T).log_softmax(1), (t / T).softmax(1), reduction="batchmean") * T**2
    return (1 - alpha) * soft + alpha * F.cross_entropy(z, y)


@wrong("distillation_loss", "temperature on the hard labels, too")
def _(z, t, y, T, alpha):
    z = z / T
    soft = F.kl_div(z.log_softmax(1), (t / T).softmax(1), reduction="batchmean") * T**2
    return alpha * soft + (1 - alpha) * F.cross_entropy(z, y)


@wrong("distillation_loss", "temperature on the student alone")
def _(z, t, y, T, alpha):
    soft = F.kl_div((z / T).log_softmax(1), t.softmax(1), reduction="batchmean") * T**2
    return alpha * soft + (1 - alpha) * F.cross_entropy(z, y)


@right("distillation_loss")
def torchs_loss(z, t, y, T, alpha):
    log_q, p = F.log_softmax(z / T, dim=-1), F.softmax(t / T, dim=-1)
    soft = T**2 * F.kl_div(log_q, p, reduction="batchmean")
    return alpha * soft + (1 - alpha) * F.cross_entropy(z, y)


@right("distillation_loss")
def modules(z, t, y, T, alpha):
    soft = nn.KLDivLoss(reduction="batchmean", log_target=True)
    value = soft(nn.LogSoftmax(1)(z / T), nn.LogSoftmax(1)(t / T)) * (T * T)
    return value * alpha + nn.CrossEntropyLoss()(z, y) * (1.0 - alpha)


@right("distillation_loss")
def by_hand(z, t, y, T, alpha):
    p, q = (t / T).softmax(-1), (z / T).softmax(-1)
    soft = (p * (p / q).log()).sum(-1).mean()
    hard = -z.log_softmax(-1)[torch.arange(len(y)), y].mean()
    return alpha * T**2 * soft + (1 - alpha) * hard


@right("distillation_loss")
def over_examples(z, t, y, T, alpha):
    total = 0.0
    for z_i, t_i, y_i in zip(z, t, y, strict=True):
        p, q = (t_i / T).softmax(0), (z_i / T).softmax(0)
        total = (
            total + alpha * T**2 * (p @ (p.log() - q.log())) - (1 - alpha) * z_i.log_softmax(0)[y_i]
        )
    return total / len(y)


@right("distillation_loss")
def einsum_loss(z, t, y, T, alpha):
    p, difference = (t / T).softmax(-1), (t / T).log_softmax(-1) - (z / T).log_softmax(-1)
    soft = torch.einsum("nc,nc->", p, difference) / len(z)
    return alpha * T**2 * soft + (1 - alpha) * F.nll_loss(z.log_softmax(-1), y)


@right("distillation_loss")
def cross_entropies(z, t, y, T, alpha):
    p = (t / T).softmax(-1)
    soft = F.cross_entropy(z / T, p) - torch.special.entr(p).sum(-1).mean()
    return alpha * T**2 * soft + (1 - alpha) * F.cross_entropy(z, y)


@right("distillation_loss")
def in_place_on_copies(z, t, y, T, alpha):
    return torchs_loss(z.clone().mul_(1), t.clone().sub_(t.mean()), y, T, alpha)


@right("distillation_loss")
def numpys(z, t, y, T, alpha):
    z, t, y = z.numpy(), t.numpy(), y.numpy()
    p, log_q = scipy.special.softmax(t / T, 1), scipy.special.log_softmax(z / T, 1)
    soft = (p * (np.log(p) - log_q)).sum(1).mean()
    hard = -scipy.special.log_softmax(z, 1)[np.arange(len(y)), y].mean()
    return alpha * T**2 * soft + (1 - alpha) * hard


@right("distillation_loss")
def the_courses_loss(z, t, y, T, alpha):
    return distillation.distillation_loss(z, t, y, T, alpha)


RIGHT["distillation_loss"]["float"] = as_float(torchs_loss)
RIGHT["distillation_loss"] |= other_clothes(torchs_loss)

# --- 4 · soft_gradient ----------------------------------------------------------------------------


def divergence(z, t, T):
    return F.kl_div((z / T).log_softmax(-1), (t / T).softmax(-1), reduction="batchmean")


@wrong("soft_gradient", "the inner derivative 1/T is missing")
def _(z, t, T):
    return ((z / T).softmax(-1) - (t / T).softmax(-1)) / len(z)


@wrong("soft_gradient", "T² is in it already")
def _(z, t, T):
    z = z.clone().requires_grad_()
    (T**2 * divergence(z, t, T)).backward()
    return z.grad


@wrong("soft_gradient", "the sign is turned round")
def _(z, t, T):
    return ((t / T).softmax(-1) - (z / T).softmax(-1)) / T / len(z)


@wrong("soft_gradient", "the sum over the batch for the mean")
def _(z, t, T):
    return ((z / T).softmax(-1) - (t / T).softmax(-1)) / T


@wrong("soft_gradient", "the gradient of the teacher's logits")
def _(z, t, T):
    t = t.clone().requires_grad_()
    return torch.autograd.grad(divergence(z, t, T), t)[0]


@wrong("soft_gradient", "no temperature in the softmaxes")
def _(z, t, T):
    return (z.softmax(-1) - t.softmax(-1)) / T / z.shape[0]


@wrong("soft_gradient", "the value for its gradient")
def _(z, t, T):
    return divergence(z, t, T)


@wrong("soft_gradient", "the length for the gradient")
def _(z, t, T):
    return float(torch.linalg.norm(autograd(z, t, T)))


@right("soft_gradient")
def autograd(z, t, T):
    z = z.clone().requires_grad_()
    return torch.autograd.grad(divergence(z, t, T), z)[0]


@right("soft_gradient")
def backward(z, t, T):
    z = z.detach().clone().requires_grad_(True)
    divergence(z, t, T).backward()
    return z.grad


@right("soft_gradient")
def formula(z, t, T):
    return ((z / T).softmax(-1) - (t / T).softmax(-1)) / T / len(z)


@right("soft_gradient")
def rows(z, t, T):
    return torch.stack(
        [
            ((a / T).softmax(0) - (b / T).softmax(0)) / (T * len(z))
            for a, b in zip(z, t, strict=True)
        ]
    )


@right("soft_gradient")
def functional(z, t, T):
    return torch.func.grad(divergence)(z, t, T)


@right("soft_gradient")
def jacobian(z, t, T):
    return torch.autograd.functional.jacobian(lambda one: divergence(one, t, T), z)


@right("soft_gradient")
def finite_differences(z, t, T):
    z, t, h = z.double(), t.double(), 1e-5
    found = torch.zeros_like(z)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            step = torch.zeros_like(z)
            step[i, j] = h
            found[i, j] = (divergence(z + step, t, T) - divergence(z - step, t, T)) / (2 * h)
    return found


@right("soft_gradient")
def of_cross_entropy(z, t, T):
    z = z.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(z / T, (t / T).softmax(-1)), z)[0]


RIGHT["soft_gradient"] |= other_clothes(formula)

# --- 5 · ask_teacher ------------------------------------------------------------------------------


@wrong("ask_teacher", "training mode and a gradient")
def _(teacher, inputs):
    return teacher(inputs)


@wrong("ask_teacher", "the teacher is in training mode")
def _(teacher, inputs):
    teacher.eval  # noqa: B018 - the brackets are what is missing
    with torch.no_grad():
        return teacher(inputs)


@wrong("ask_teacher", "the teacher is in training mode")
def _(teacher, inputs):
    logits = teacher(inputs).detach()
    teacher.train()
    return logits


@wrong("ask_teacher", "the batch norms still train")
def _(teacher, inputs):
    for layer in teacher:
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    with torch.no_grad():
        return teacher(inputs)


@wrong("ask_teacher", "the gradient flows into the teacher")
def _(teacher, inputs):
    return teacher.eval()(inputs)


@wrong("ask_teacher", "the teacher is left in training mode")
def _(teacher, inputs):
    teacher.eval()
    with torch.inference_mode():
        logits = teacher(inputs)
    teacher.train()
    return logits


@wrong("ask_teacher", "probabilities for logits")
def _(teacher, inputs):
    with torch.no_grad():
        return F.softmax(teacher.eval()(inputs), dim=1)


@wrong("ask_teacher", "hard labels for logits")
def _(teacher, inputs):
    with torch.no_grad():
        return teacher.eval()(inputs).max(1).indices


@right("ask_teacher")
def no_grad(teacher, inputs):
    teacher.eval()
    with torch.no_grad():
        return teacher(inputs)


@right("ask_teacher")
def inference_mode(teacher, inputs):
    with torch.inference_mode():
        return teacher.eval()(inputs)


@right("ask_teacher")
@torch.no_grad()
def decorated(teacher, inputs):
    return teacher.train(False)(inputs)


@right("ask_teacher")
def detached(teacher, inputs):
    return teacher.eval()(inputs).detach()


@right("ask_teacher")
def frozen(teacher, inputs):
    return teacher.eval().requires_grad_(False)(inputs)


@right("ask_teacher")
def restored(teacher, inputs):
    was = teacher.training
    teacher.eval()
    with torch.no_grad():
        logits = teacher(inputs)
    teacher.train(was)
    return logits


@right("ask_teacher")
def switched(teacher, inputs):
    teacher.eval()
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    logits = teacher(inputs)
    torch.set_grad_enabled(before)
    return logits


@right("ask_teacher")
def one_by_one(teacher, inputs):
    teacher.eval()
    with torch.no_grad():
        return torch.cat([teacher(one[None]) for one in inputs])


@right("ask_teacher")
def layer_by_layer(teacher, inputs):
    teacher.eval()
    for layer in teacher:
        inputs = layer(inputs).detach()
    return inputs


@right("ask_teacher")
def as_numpy(teacher, inputs):
    return no_grad(teacher, inputs).numpy()


@right("ask_teacher")
def float64(teacher, inputs):
    logits = no_grad(teacher.double(), inputs.double())
    teacher.float()
    return logits


# --- 6 · masked_mean ------------------------------------------------------------------------------


@wrong("masked_mean", "the padding counts in the mean")
def _(losses, mask):
    return torch.where(mask == 1, losses, 0.0).mean()


@wrong("masked_mean", "the padding counts in the mean, and nan gets in")
def _(losses, mask):
    return torch.mean(mask * losses)


@wrong("masked_mean", "the mask is not used")
def _(losses, mask):
    return losses.mean()


@wrong("masked_mean", "a mean of the sentences' means")
def _(losses, mask):
    kept = losses.masked_fill(mask == 0, 0)
    return (kept.sum(1) / mask.sum(1)).mean()


@wrong("masked_mean", "the mask is upside down")
def _(losses, mask):
    return losses[mask == 0].mean()


@wrong("masked_mean", "multiplied where it should be picked")
def _(losses, mask):
    return torch.einsum("bl,bl->", losses, mask.float()) / mask.sum()


@wrong("masked_mean", "the sum for the mean")
def _(losses, mask):
    return losses.masked_select(mask.bool()).sum()


@wrong("masked_mean", "divided by the number of sentences")
def _(losses, mask):
    return torch.where(mask.bool(), losses, 0).sum(1).mean()


@right("masked_mean")
def index(losses, mask):
    return losses[mask.bool()].mean()


@right("masked_mean")
def where_mean(losses, mask):
    return torch.where(mask == 1, losses, 0.0).sum() / mask.sum()


@right("masked_mean")
def loops(losses, mask):
    total = count = 0
    for row, keep in zip(losses.tolist(), mask.tolist(), strict=True):
        for value, real in zip(row, keep, strict=True):
            if real:
                total, count = total + value, count + 1
    return total / count


@right("masked_mean")
def selected(losses, mask):
    return torch.masked_select(losses, mask > 0).mean()


@right("masked_mean")
def filled(losses, mask):
    return losses.masked_fill(mask == 0, float("nan")).nanmean()


@right("masked_mean")
def weighted_sentences(losses, mask):
    means = torch.stack([row[keep == 1].mean() for row, keep in zip(losses, mask, strict=True)])
    return (means * mask.sum(1)).sum() / mask.sum()


@right("masked_mean")
def in_place_on_a_copy_mean(losses, mask):
    losses = losses.clone()
    losses[mask == 0] = 0
    return losses.sum() / mask.count_nonzero()


@right("masked_mean")
def numpys_mean(losses, mask):
    return np.ma.masked_array(losses.numpy(), mask.numpy() == 0).mean()


@right("masked_mean")
def dot_product(losses, mask):
    return losses.nan_to_num().flatten() @ mask.float().flatten() / mask.sum()


@right("masked_mean")
def einsum_mean(losses, mask):
    return torch.einsum("bl,bl->", losses.nan_to_num(0), mask.float()) / mask.sum()


RIGHT["masked_mean"] |= other_clothes(index)

# --- 7 · errors -----------------------------------------------------------------------------------

MEAN, NO_LOG = "mean for batchmean", "softmax for log_softmax"
MISSING, SWAPPED = "missing T²", "swapped arguments"


def named(*names: str) -> dict[str, str]:
    return dict(zip("abcd", names, strict=True))


WRONG += [
    ("errors", "a name that is not on the list", named("mean", NO_LOG, MISSING, SWAPPED)),
    ("errors", "one name used twice", named(MISSING, NO_LOG, MISSING, SWAPPED)),
    ("errors", "loss_a has another error", named(MISSING, NO_LOG, MEAN, SWAPPED)),
    ("errors", "loss_a has another error", named(SWAPPED, NO_LOG, MISSING, MEAN)),
    ("errors", "loss_b has another error", named(MEAN, SWAPPED, MISSING, NO_LOG)),
    ("errors", "loss_b has another error", named(MEAN, MISSING, NO_LOG, SWAPPED)),
    ("errors", "loss_c and loss_d are mixed up", named(MEAN, NO_LOG, SWAPPED, MISSING)),
    ("errors", "not one name for each of a, b, c and d", {"a": MEAN}),
    ("errors", "not one name for each of a, b, c and d", [MEAN, NO_LOG, MISSING, SWAPPED]),
]
ANSWER = named(MEAN, NO_LOG, MISSING, SWAPPED)
RIGHT["errors"] = {
    "as listed": ANSWER,
    "capitals": {letter: name.upper() for letter, name in ANSWER.items()},
    "spaces": {letter: f" {name} " for letter, name in ANSWER.items()},
    "another order": dict(reversed(ANSWER.items())),
}


# --- the tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("exercise", "mistake", "answer"), WRONG, ids=short)
def test_a_plausible_wrong_answer_is_named(exercise, mistake, answer):
    with pytest.raises(checks.WrongAnswerError) as caught:
        getattr(checks, exercise)(answer)
    assert caught.value.mistake == mistake


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        pytest.param(e, a, id=f"{e}-{name}")
        for e, found in RIGHT.items()
        for name, a in found.items()
    ],
)
def test_a_right_answer_passes_in_any_style(exercise, answer, capsys):
    getattr(checks, exercise)(answer)
    assert f"✓ {exercise}" in capsys.readouterr().out


@pytest.mark.parametrize("exercise", RIGHT)
def test_there_are_enough_of_both(exercise):
    named = {mistake for one, mistake, _ in WRONG if one == exercise}
    assert len(named) >= 5
    # `errors` is a list of names: there are not ten ways to write it.
    assert len(RIGHT[exercise]) >= (4 if exercise == "errors" else 10)
