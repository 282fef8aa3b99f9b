"""The losses against formulas written out here, and the loop on tiny synthetic data."""

from __future__ import annotations

import copy
import functools
import math

import datasets
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.utils.data import Dataset, TensorDataset
from transformers.modeling_outputs import SequenceClassifierOutput

from course_lib.batching import loader
from course_lib.distillation import (
    _taught,
    attention_transfer_loss,
    distill,
    distillation_loss,
    hidden_cosine_loss,
    hidden_mse_loss,
    soft_loss,
    soften,
)
from course_lib.training import Recipe, evaluate, predict


def draw(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, dtype=torch.float64, generator=generator)


def closed_form(student: list, teacher: list, labels: list, T: float, alpha: float) -> float:
    """The loss in plain Python: sums of exp and log, one example after the other."""

    def p(logits, t):
        total = sum(math.exp(z / t) for z in logits)
        return [math.exp(z / t) / total for z in logits]

    kl, ce, labelled = 0.0, 0.0, 0
    for s, t, label in zip(student, teacher, labels, strict=True):
        kl += sum(a * math.log(a / b) for a, b in zip(p(t, T), p(s, T), strict=True))
        if label != -100:
            ce -= math.log(p(s, 1.0)[label])
            labelled += 1
    return alpha * kl / len(student) * T**2 + (1 - alpha) * (ce / labelled if labelled else 0.0)


def gradient(loss, student: Tensor, *rest, **options) -> Tensor:
    student = student.detach().clone().requires_grad_()
    loss(student, *rest, **options).backward()
    assert student.grad is not None
    return student.grad


# --- the value --------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [0.5, 1.0, 2.0, 4.0, 20.0])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("labels", [[0, 4, 2, 1, 3, 0], [0, -100, 2, -100, 3, 0], [-100] * 6])
def test_equals_the_closed_form(T, alpha, labels):
    student, teacher = draw(6, 5), draw(6, 5, seed=1)
    loss = distillation_loss(student, teacher, torch.tensor(labels), T, alpha)
    expected = closed_form(student.tolist(), teacher.tolist(), labels, T, alpha)
    assert loss.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_sequences_equal_the_closed_form_over_their_valid_tokens():
    student, teacher = draw(2, 3, 5), draw(2, 3, 5, seed=1)
    labels = torch.tensor([[0, 1, -100], [4, -100, 2]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    keep = mask.bool()
    expected = closed_form(
        student[keep].tolist(), teacher[keep].tolist(), labels[keep].tolist(), 2.0, 0.4
    )
    loss = distillation_loss(student, teacher, labels, 2.0, 0.4, mask)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_agrees_with_torch_kl_div_batchmean(T):
    student, teacher = draw(7, 10), draw(7, 10, seed=1)
    expected = F.kl_div(
        F.log_softmax(student / T, -1), F.softmax(teacher / T, -1), reduction="batchmean"
    )
    torch.testing.assert_close(soft_loss(student, teacher, T), expected * T**2)


def test_defaults_and_alpha_one_without_labels():
    student, teacher, labels = draw(4, 3), draw(4, 3, seed=1), torch.tensor([0, 1, 2, 0])
    assert torch.equal(
        distillation_loss(student, teacher, labels),
        distillation_loss(student, teacher, labels, 4.0, 0.5, torch.ones(4)),
    )
    alone = distillation_loss(student, teacher, None, alpha=1)
    assert torch.equal(alone, soft_loss(student, teacher, 4.0))
    assert torch.equal(alone, distillation_loss(student, teacher, labels, alpha=1.0))


def test_alpha_zero_is_cross_entropy_and_both_ends_are_continuous():
    student, teacher, labels = draw(4, 3), draw(4, 3, seed=1), torch.tensor([0, 1, 2, 0])
    loss = functools.partial(distillation_loss, true_labels=labels)
    torch.testing.assert_close(loss(student, teacher, alpha=0), F.cross_entropy(student, labels))
    for end, near in [(0.0, 1e-7), (1.0, 1 - 1e-7)]:
        torch.testing.assert_close(
            loss(student, teacher, alpha=end), loss(student, teacher, alpha=near), rtol=1e-5, atol=0
        )
        torch.testing.assert_close(
            gradient(loss, student, teacher, alpha=end),
            gradient(loss, student, teacher, alpha=near),
            rtol=1e-4,
            atol=1e-6,
        )


def test_unlabelled_examples_leave_the_cross_entropy_alone():
    student, teacher = draw(8, 3), draw(8, 3, seed=1)
    labels = torch.tensor([0, 1, 2, 0, -100, -100, -100, -100])
    hard = distillation_loss(student, teacher, labels, alpha=0.0)
    torch.testing.assert_close(hard, F.cross_entropy(student[:4], labels[:4]))
    grad = gradient(distillation_loss, student, teacher, labels, alpha=0.0)
    assert grad[4:].abs().max() == 0


bounded = st.floats(-20, 20, allow_nan=False, width=32)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(bounded, bounded), min_size=2, max_size=8), st.floats(0.3, 30), bounded)
def test_kl_is_not_negative_and_zero_where_logits_differ_by_a_constant(pairs, T, shift):
    student, teacher = torch.tensor(pairs, dtype=torch.float64).T.unsqueeze(1)
    assert soft_loss(student, teacher, T).item() >= -1e-10
    assert soft_loss(teacher + shift, teacher, T).item() == pytest.approx(0, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8), st.floats(1, 30), st.floats(0.5, 10))
def test_kl_is_positive_where_logits_differ_by_more_than_a_constant(logits, T, change):
    teacher = torch.tensor([logits], dtype=torch.float64)
    student = teacher.clone()
    student[0, teacher.argmax()] -= change  # the likeliest class: it matters at any T
    assert soft_loss(student, teacher, T).item() > 1e-10


# --- the temperature --------------------------------------------------------------------------


def test_t_squared_keeps_the_size_of_the_gradient():
    student, teacher = draw(64, 10, scale=1.0), draw(64, 10, seed=1, scale=1.0)
    size = {T: gradient(soft_loss, student, teacher, T=T).norm().item() for T in (1, 20, 40)}
    assert 0.5 < size[1] / size[20] < 2
    assert size[20] / size[40] == pytest.approx(1, rel=0.05)
    without = {T: size[T] / T**2 for T in size}
    assert 200 < without[1] / without[20] < 800  # 20² = 400
    assert without[20] / without[40] == pytest.approx(4, rel=0.05)


def test_a_large_temperature_matches_logits():
    """Hinton et al. §2.1: (z_s − z_t) / classes for centred logits; the batch's mean adds 1 / n."""
    student, teacher = draw(6, 5), draw(6, 5, seed=1)
    student -= student.mean(-1, keepdim=True)
    teacher -= teacher.mean(-1, keepdim=True)
    expected = (student - teacher) / 5 / 6
    grad = gradient(soft_loss, student, teacher, T=1e5)
    torch.testing.assert_close(grad, expected, rtol=1e-3, atol=1e-5)
    value = soft_loss(student, teacher, T=1e4)
    torch.testing.assert_close(value, (student - teacher).square().mean() / 2, rtol=1e-3, atol=0)


def test_the_gradient_is_the_temperature_times_the_difference_of_the_soft_labels():
    student, teacher = draw(3, 4), draw(3, 4, seed=1)
    expected = 2.5 * (soften(student, 2.5) - soften(teacher, 2.5)) / 3
    torch.testing.assert_close(gradient(soft_loss, student, teacher, T=2.5), expected)


def test_soften():
    logits = draw(3, 4)
    torch.testing.assert_close(soften(logits, 1.0), logits.softmax(-1))
    torch.testing.assert_close(soften(logits, 4.0), (logits / 4).softmax(-1))
    assert soften(logits.float() * 1e4, 1e-18).sum(-1).tolist() == [1.0, 1.0, 1.0]
    uniform = torch.full((3, 4), 0.25, dtype=torch.float64)
    torch.testing.assert_close(soften(logits, 1e12), uniform)


# --- what must not matter -----------------------------------------------------------------------


def losses_of_sequences(length: int = 3):
    """name → (loss(student, teacher, mask), student, teacher): all that take a mask."""
    student, teacher = draw(2, length, 4), draw(2, length, 4, seed=1)
    labels = torch.tensor([[0, 1, 3], [2, -100, 0]])
    projection = nn.Linear(4, 4, dtype=torch.float64).requires_grad_(False)

    def whole(s, t, mask=None):
        # A token that is repeated or padded needs a label too: 7 would be out of range.
        y = torch.full(s.shape[:2], 7)
        y[:, :length] = labels
        if mask is None or (s.shape[1] == 2 * length and mask.all()):
            y = labels.repeat(1, s.shape[1] // length)
        return distillation_loss(s, t, y, 2.0, 0.5, mask)

    return {
        "soft": (lambda s, t, mask=None: soft_loss(s, t, 2.0, mask), student, teacher),
        "whole": (whole, student, teacher),
        "cosine": (hidden_cosine_loss, student, teacher),
        "mse": (lambda s, t, mask=None: hidden_mse_loss(s, t, None, mask), student, teacher),
        "projected": (
            lambda s, t, mask=None: hidden_mse_loss(s, t, projection, mask),
            student,
            teacher,
        ),
    }


@pytest.mark.parametrize("name", losses_of_sequences())
@pytest.mark.parametrize("rubbish", [0.0, 1e4, math.nan])
def test_padding_changes_nothing(name, rubbish):
    loss, student, teacher = losses_of_sequences()[name]
    padding = torch.full((2, 2, 4), rubbish, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 0, 0]] * 2)
    padded = torch.cat([student, padding], 1), torch.cat([teacher, padding], 1)
    torch.testing.assert_close(loss(*padded, mask), loss(student, teacher))
    grad = gradient(loss, padded[0], padded[1], mask)
    torch.testing.assert_close(grad[:, :3], gradient(loss, student, teacher))
    assert grad[:, 3:].abs().max() == 0


@pytest.mark.parametrize("name", losses_of_sequences())
def test_length_changes_nothing_per_token(name):
    loss, student, teacher = losses_of_sequences()[name]
    twice = student.repeat(1, 2, 1), teacher.repeat(1, 2, 1)
    torch.testing.assert_close(loss(*twice), loss(student, teacher))
    torch.testing.assert_close(loss(*twice, torch.ones(2, 6)), loss(student, teacher))


@pytest.mark.parametrize("name", losses_of_sequences())
@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float32])
def test_an_empty_mask_gives_zero_and_a_zero_gradient(name, kind):
    loss, student, teacher = losses_of_sequences()[name]
    mask = torch.zeros(2, 3, dtype=kind)
    assert loss(student, teacher, mask).item() == 0
    assert gradient(loss, student, teacher, mask).abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("T", [1e-18, 1e-6, 0.1, 1.0, 4.0, 1000.0])
@pytest.mark.parametrize("labels", [[0, 1], [-100, -100]])
def test_extreme_logits_stay_finite(dtype, T, labels):
    student = torch.tensor([[1e4, -1e4, 0.0], [1e4, 1e4, -1e4]], dtype=dtype)
    for teacher in (student, -student, student.flip(0), torch.zeros_like(student)):
        args = teacher, torch.tensor(labels), T
        assert torch.isfinite(distillation_loss(student, *args))
        grad = gradient(distillation_loss, student, *args)
        assert torch.isfinite(grad).all()
        assert grad.dtype == dtype


def test_a_student_that_is_sure_and_wrong_keeps_its_gradient():
    """At a tiny T the soft label is one-hot: T · (0 − 1) must not be lost to an underflow."""
    student, teacher = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
    for T in (1e-3, 1.0):
        grad = gradient(soft_loss, student, teacher, T=T)
        torch.testing.assert_close(grad, torch.tensor([[T, -T]]))


def test_float32_is_close_to_float64():
    student, teacher, labels = draw(32, 10), draw(32, 10, seed=1), torch.arange(32) % 10
    for T in (0.5, 2.0, 4.0, 20.0):
        single = distillation_loss(student.float(), teacher.float(), labels, T).double()
        torch.testing.assert_close(
            single, distillation_loss(student, teacher, labels, T), rtol=1e-4, atol=1e-5
        )


def test_zeros_and_equal_tensors_have_finite_gradients():
    zero, some = torch.zeros(2, 4), torch.ones(2, 4)
    features = torch.zeros(2, 3, 2, 2), torch.ones(2, 3, 2, 2)
    for s, t in [(zero, some), (some, zero), (zero, zero), (some, some)]:
        assert torch.isfinite(gradient(hidden_cosine_loss, s, t)).all()
    for s, t in [features, features[::-1], (features[1], features[1])]:
        assert torch.isfinite(gradient(attention_transfer_loss, s, t)).all()


# --- gradients ----------------------------------------------------------------------------------


def test_gradcheck():
    student, teacher = draw(2, 3, 4, scale=1.0).requires_grad_(), draw(2, 3, 4, seed=1, scale=1.0)
    labels, mask = torch.tensor([[0, 1, -100], [2, 3, 0]]), torch.tensor([[1, 1, 1], [1, 0, 0]])
    narrow = draw(2, 3, 2, seed=2, scale=1.0).requires_grad_()
    weight = draw(4, 2, seed=3, scale=1.0).requires_grad_()
    maps = draw(2, 3, 2, 2, scale=1.0).requires_grad_(), draw(2, 5, 2, 2, seed=1, scale=1.0)

    def projected(hidden, weight):
        linear = nn.Linear(2, 4, bias=False, dtype=torch.float64)
        del linear.weight
        linear.weight = weight  # gradcheck needs the tensor itself, not a parameter
        return hidden_mse_loss(hidden, teacher, linear, mask)

    for T in (0.7, 4.0):
        assert gradcheck(lambda s, T=T: soft_loss(s, teacher, T), (student,))
        assert gradcheck(
            lambda s, T=T: distillation_loss(s, teacher, labels, T, 0.3, mask), (student,)
        )
    assert gradcheck(lambda s: soften(s, 2.0), (student,))
    assert gradcheck(lambda s: hidden_cosine_loss(s, teacher, mask), (student,))
    assert gradcheck(projected, (narrow, weight))
    assert gradcheck(lambda s: attention_transfer_loss(s, maps[1]), (maps[0],))


def test_no_gradient_reaches_the_teacher():
    student = draw(2, 4).requires_grad_()
    teacher = draw(2, 4, seed=1).requires_grad_()
    maps = draw(2, 3, 2, 2).requires_grad_(), draw(2, 3, 2, 2, seed=1).requires_grad_()
    (
        distillation_loss(student, teacher, torch.tensor([0, 1]))
        + soft_loss(student, teacher)
        + hidden_cosine_loss(student, teacher)
        + hidden_mse_loss(student, teacher)
        + attention_transfer_loss(*maps)
    ).backward()
    assert teacher.grad is None and maps[1].grad is None
    assert student.grad is not None and maps[0].grad is not None


def test_a_teacher_from_inference_mode_is_accepted():
    with torch.inference_mode():
        teacher = draw(2, 4, seed=1) * 1
    assert gradient(distillation_loss, draw(2, 4), teacher, torch.tensor([0, 1])).abs().sum() > 0


# --- hidden states and features -------------------------------------------------------------------


def test_cosine_equals_pytorchs_and_ignores_lengths():
    student, teacher = draw(2, 3, 4), draw(2, 3, 4, seed=1)
    ones = torch.ones(6)
    expected = F.cosine_embedding_loss(student.flatten(0, 1), teacher.flatten(0, 1), ones)
    torch.testing.assert_close(hidden_cosine_loss(student, teacher), expected)
    torch.testing.assert_close(hidden_cosine_loss(7 * student, teacher), expected)
    opposite = hidden_cosine_loss(student, -student).item()
    assert opposite == pytest.approx(2)


def test_mse_learns_its_projection():
    student, teacher = draw(2, 3, 2).float(), draw(2, 3, 4, seed=1).float()
    projection = nn.Linear(2, 4)
    loss = hidden_mse_loss(student, teacher, projection)
    torch.testing.assert_close(loss, F.mse_loss(projection(student), teacher))
    loss.backward()
    assert projection.weight.grad is not None and projection.weight.grad.abs().sum() > 0


def test_attention_transfer_equals_its_formula():
    student, teacher = draw(2, 3, 4, 5), draw(2, 6, 4, 5, seed=1)
    expected = 0.0
    for s, t in zip(student, teacher, strict=True):
        s, t = (f.square().sum(0) for f in (s, t))
        expected += (
            (s / s.square().sum().sqrt() - t / t.square().sum().sqrt()).square().sum().item()
        )
    assert attention_transfer_loss(student, teacher).item() == pytest.approx(expected / 2)
    scaled = attention_transfer_loss(9 * student, teacher).item()
    assert scaled == pytest.approx(expected / 2)


# --- errors -----------------------------------------------------------------------------------


def test_each_bad_input_is_named():
    s, t, y = torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, 2])
    sequence, labels = torch.zeros(2, 5, 3), torch.zeros(2, 5, dtype=torch.long)
    maps, linear = torch.zeros(2, 3, 4, 4), nn.Linear(2, 4)

    class Output:
        logits = s

    cases = [
        # (error, what its message says, call)
        (ValueError, r"vocabulary.*\[3\].*\[4\]", lambda: soft_loss(s, torch.zeros(2, 4))),
        (ValueError, r"\[2, 3\].*\[3, 3\].*one batch", lambda: soft_loss(s, torch.zeros(3, 3))),
        (ValueError, r"unsqueeze", lambda: soft_loss(s[0], t[0])),
        (ValueError, r"one shape", lambda: soft_loss(torch.zeros(2, 0), torch.zeros(2, 0))),
        (TypeError, r"student_logits.*int64", lambda: soft_loss(s.long(), t)),
        (TypeError, r"student_logits is Output.*\.logits", lambda: soft_loss(Output(), t)),  # type: ignore[arg-type]
        (TypeError, r"logits.*int64", lambda: soften(s.long())),
        *(
            (ValueError, r"T is .*positive", lambda T=T: distillation_loss(s, t, y, T))
            for T in (0, -1.0, math.inf, math.nan, 1e-300)
        ),
        (ValueError, r"T is 0", lambda: soften(s, 0)),
        (TypeError, r"T is a Tensor.*float\(T\)", lambda: soft_loss(s, t, torch.tensor(2.0))),  # type: ignore[arg-type]
        (TypeError, r"T is a str", lambda: soft_loss(s, t, "4")),  # type: ignore[arg-type]
        *(
            (ValueError, r"alpha is .*0 .*1", lambda a=a: distillation_loss(s, t, y, alpha=a))
            for a in (-0.1, 1.1, math.nan)
        ),
        (TypeError, r"alpha is a str", lambda: distillation_loss(s, t, y, alpha="half")),  # type: ignore[arg-type]
        (ValueError, r"None and alpha is 0.5.*alpha=1", lambda: distillation_loss(s, t, None)),
        (TypeError, r"true_labels.*float32.*long", lambda: distillation_loss(s, t, y.float())),
        (TypeError, r"true_labels is list", lambda: distillation_loss(s, t, [0, 1])),  # type: ignore[arg-type]
        (ValueError, r"true_labels.*\[2, 3\].*argmax", lambda: distillation_loss(s, t, s.long())),
        (ValueError, r"holds 3; expected 0 to 2", lambda: distillation_loss(s, t, y + 1)),
        (ValueError, r"holds -1.*−100", lambda: distillation_loss(s, t, y - 1)),
        (ValueError, r"holds 3", lambda: distillation_loss(s, t, y + 1, alpha=1.0)),
        (
            ValueError,
            r"mask is \[2\].*\[2, 5\]",
            lambda: distillation_loss(sequence, sequence, labels, mask=torch.ones(2)),
        ),
        (
            ValueError,
            r"-inf.*additive",
            lambda: soft_loss(sequence, sequence, mask=torch.full((2, 5), -math.inf)),
        ),
        (ValueError, r"mask is \[3\]", lambda: hidden_cosine_loss(s, t, torch.ones(3))),
        (ValueError, r"hidden_mse_loss", lambda: hidden_cosine_loss(s, torch.zeros(2, 4))),
        (TypeError, r"teacher_hidden", lambda: hidden_cosine_loss(s, t.long())),
        (ValueError, r"nn.Linear\(3, 4\)", lambda: hidden_mse_loss(s, torch.zeros(2, 4))),
        (ValueError, r"nn.Linear\(3, 4\)", lambda: hidden_mse_loss(s, torch.zeros(2, 4), linear)),
        (ValueError, r"one batch", lambda: hidden_mse_loss(s, torch.zeros(3, 3))),
        (ValueError, r"pool", lambda: attention_transfer_loss(maps, torch.zeros(2, 3, 2, 2))),
        (ValueError, r"channels", lambda: attention_transfer_loss(s, t)),
        (TypeError, r"student_features", lambda: attention_transfer_loss(maps.long(), maps)),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()


def test_labels_at_masked_positions_are_not_looked_at():
    logits, mask = draw(1, 3, 4), torch.tensor([[1, 1, 0]])
    loss = distillation_loss(logits, logits, torch.tensor([[0, 1, 99]]), mask=mask)
    expected = distillation_loss(logits[:, :2], logits[:, :2], torch.tensor([[0, 1]]))
    torch.testing.assert_close(loss, expected)


# --- the loop -----------------------------------------------------------------------------------


def network(hidden: int, dropout: float = 0.0, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(4, hidden), nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden, 3)
        )


def points(n: int, seed: int) -> Tensor:
    return draw(n, 4, seed=seed, scale=1.0).float()


def sharp(seed: int = 5, dropout: float = 0.0) -> nn.Module:
    """A teacher: a random network whose logits are far enough apart to be learned."""
    teacher = network(8, dropout, seed)
    with torch.no_grad():
        teacher[-1].weight *= 6  # type: ignore[operator, index]
    return teacher


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def test_the_student_learns_what_its_teacher_says_not_the_labels():
    teacher, student = sharp(), network(16)
    x = points(256, 0)
    wrong = (predict(teacher, TensorDataset(x)).argmax(-1) + 1) % 3
    before = snapshot(student), snapshot(teacher)
    teacher.train()
    teacher[0].eval()  # type: ignore[index]
    loss = functools.partial(distillation_loss, alpha=1.0)
    recipe = Recipe(epochs=20, lr=0.03, batch_size=32)
    fitted = distill(student, teacher, {"train": TensorDataset(x, wrong)}, recipe, loss=loss)

    fresh = points(256, 1)
    says = predict(teacher, TensorDataset(fresh)).argmax(-1)
    assert evaluate(fitted.model, TensorDataset(fresh, says)).value > 0.9
    assert fitted.model is not student
    assert same(snapshot(student), before[0]) and same(snapshot(teacher), before[1])
    assert teacher.training and not teacher[0].training and teacher[2].training  # type: ignore[index]
    assert all(p.grad is None for p in teacher.parameters())


def test_the_transfer_set_is_used_and_its_labels_are_not():
    teacher, student = sharp(), network(16)
    x, more, fresh = points(4, 0), points(236, 1), points(512, 2)
    train = TensorDataset(x, predict(teacher, TensorDataset(x)).argmax(-1))
    test = TensorDataset(fresh, predict(teacher, TensorDataset(fresh)).argmax(-1))
    unlabelled, mislabelled = TensorDataset(more), TensorDataset(more, torch.full((236,), 99))

    def student_of(transfer, epochs):
        recipe = Recipe(epochs=epochs, lr=0.03, batch_size=16)
        return distill(student, teacher, {"train": train}, recipe, transfer=transfer).model

    with_it, without = student_of(unlabelled, 10), student_of(None, 150)  # 150 steps each
    assert evaluate(with_it, test).value > evaluate(without, test).value + 0.1
    assert same(snapshot(student_of(unlabelled, 1)), snapshot(student_of(mislabelled, 1)))


def test_a_dataset_that_gives_rows_at_once_is_asked_so_and_they_keep_their_logits():
    class AtOnce(datasets.Dataset):
        def __getitem__(self, key):
            assert isinstance(key, str), "one by one"
            return super().__getitem__(key)

        def __getitems__(self, keys):
            return [{"x": [float(key)], "labels": 7} for key in keys]

    parts = [AtOnce(datasets.Dataset.from_dict({"x": [[0.0]] * n}).data) for n in (3, 2)]
    together = _taught(parts, torch.arange(5.0)[:, None])
    rows = list(loader(together, [[4, 0, 2], [3, 1]]))
    logits, inputs = (torch.cat([row[key] for row in rows]) for key in ("teacher_logits", "x"))
    assert logits.flatten().tolist() == [4, 0, 2, 3, 1]
    assert inputs.flatten().tolist() == [1, 0, 2, 0, 1]
    assert torch.cat([batch["labels"] for batch in rows]).tolist() == [-100, 7, 7, -100, 7]


def test_a_teacher_with_dropout_is_deterministic_and_its_cached_logits_give_the_same_bits():
    teacher, student = sharp(dropout=0.5).train(), network(6)
    x, more = points(64, 0), points(32, 1)
    data = {"train": TensorDataset(x, torch.arange(64) % 3)}
    recipe, transfer = Recipe(epochs=2, batch_size=16), TensorDataset(more)
    cached = torch.cat([predict(teacher, data["train"]), predict(teacher, transfer)])
    results = [
        snapshot(distill(student, t, data, recipe, transfer=transfer).model)
        for t in (teacher, teacher, cached)
    ]
    assert same(results[0], results[1]) and same(results[0], results[2])


def test_the_teacher_looks_at_each_example_once():
    seen = []
    teacher = sharp()
    teacher.register_forward_hook(lambda m, args, out: seen.append((len(args[0]), m.training)))
    train = TensorDataset(points(20, 0), torch.zeros(20, dtype=torch.long))
    distill(network(4), teacher, {"train": train}, Recipe(epochs=3, batch_size=10))
    assert seen == [(20, False)]


class Listed(Dataset):
    """A plain map-style dataset, unlike TensorDataset, which is taken apart."""

    def __init__(self, dataset: TensorDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int):
        x, *label = self.dataset[i]
        return (x, *(int(y) for y in label))


def test_any_dataset_gives_what_tensors_give_and_validation_chooses():
    teacher, student = sharp(), network(6)
    x = points(48, 0)
    train, transfer = TensorDataset(x, torch.arange(48) % 3), TensorDataset(points(16, 1))
    recipe = Recipe(epochs=3, batch_size=16)
    fitted = [
        distill(student, teacher, {"train": a, "validation": train}, recipe, transfer=b)
        for a, b in [
            (train, transfer),
            (Listed(train), Listed(transfer)),
            (train, Listed(transfer)),
        ]
    ]
    assert fitted[0].history[0]["n"] == 48
    for other in fitted[1:]:
        torch.testing.assert_close(snapshot(other.model), snapshot(fitted[0].model))


class Reader(nn.Module):
    """A bag of embeddings that takes and gives what a transformers classifier does."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embedding, self.out = nn.Embedding(20, 8), nn.Linear(8, 2)
        self.lengths: list[int] = []  # how many lengths each training batch mixes

    def forward(self, input_ids: Tensor, attention_mask: Tensor):
        if self.training:
            self.lengths.append(len(attention_mask.sum(1).unique()))
        weight = attention_mask.unsqueeze(-1) / attention_mask.sum(1).view(-1, 1, 1)
        return SequenceClassifierOutput(
            logits=self.out((self.embedding(input_ids) * weight).sum(1))
        )


def sentences(n: int, labels: bool, seed: int) -> datasets.Dataset:
    generator = torch.Generator().manual_seed(seed)
    ids = [torch.randint(1, 20, (2 + i % 5,), generator=generator).tolist() for i in range(n)]
    columns: dict[str, list] = {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}
    if labels:
        columns["labels"] = [int(row[0] > 9) for row in ids]
    return datasets.Dataset.from_dict(columns).with_format("torch")


def test_text_in_mappings_keeps_its_length_buckets():
    train, transfer = sentences(40, True, 0), sentences(20, False, 1)
    teacher = Reader()
    with torch.no_grad():
        teacher.out.weight *= 10
    logits = torch.cat([predict(teacher, train), predict(teacher, transfer)])
    labels: list[Tensor] = []
    taught: list[Tensor] = []

    def loss(student_logits, teacher_logits, true_labels):
        labels.append(true_labels)
        taught.append(teacher_logits)
        return distillation_loss(student_logits, teacher_logits, true_labels)

    data = {"train": train, "validation": train}
    fitted = distill(
        Reader(), teacher, data, Recipe(epochs=1, batch_size=12), loss=loss, transfer=transfer
    )
    assert fitted.history[0]["n"] == 40
    assert sum((y == -100).sum().item() for y in labels) == 20
    torch.testing.assert_close(torch.cat(taught).cpu().sort(0).values, logits.sort(0).values)
    # Sorted, 60 examples of 5 lengths make 5 batches; at random each batch would have all 5.
    assert max(fitted.model.lengths) <= 2  # type: ignore[type-var, arg-type]


def test_distill_names_bad_input():
    train = TensorDataset(points(4, 0), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"'train'"):
        distill(network(4), sharp(), {"validation": train})
    with pytest.raises(ValueError, match=r"\[3, 3\].*\[4, classes\]"):
        distill(network(4), torch.zeros(3, 3), {"train": train})
    with pytest.raises(ValueError, match="as many outputs"):
        distill(network(4), torch.zeros(4, 5), {"train": train})
