"""The losses against formulas written out here."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck
from transformers.modeling_outputs import SequenceClassifierOutput

from course_lib.distillation.losses import (
    distillation_loss,
    hidden_cosine_loss,
    soft_loss,
    soften,
    token_kl,
    triple_loss,
)


def draw(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, dtype=torch.float64, generator=generator)


def closed_form(student: list, teacher: list, labels: list, T: float, alpha: float) -> float:
    """The loss in plain Python: sums of exp and log, one example after the other."""

    def p(logits, t):
        total = sum(math.exp(z / t) for z in logits)
        return [math.exp(z / t) / total for z in logits]

    kl, ce, labeled = 0.0, 0.0, 0
    for s, t, label in zip(student, teacher, labels, strict=True):
        kl += sum(a * math.log(a / b) for a, b in zip(p(t, T), p(s, T), strict=True))
        if label != -100:
            ce -= math.log(p(s, 1.0)[label])
            labeled += 1
    return alpha * kl / len(student) * T**2 + (1 - alpha) * (ce / labeled if labeled else 0.0)


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


def test_defaults_and_alpha_one_without_labels():
    student, teacher, labels = draw(4, 3), draw(4, 3, seed=1), torch.tensor([0, 1, 2, 0])
    assert torch.equal(
        distillation_loss(student, teacher, labels),
        distillation_loss(student, teacher, labels, 4.0, 0.5, torch.ones(4)),
    )
    alone = distillation_loss(student, teacher, None, alpha=1)
    assert torch.equal(alone, soft_loss(student, teacher, 4.0))
    assert torch.equal(alone, distillation_loss(student, teacher, labels, alpha=1.0))


bounded = st.floats(-20, 20, allow_nan=False, width=32)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(bounded, bounded), min_size=2, max_size=8), st.floats(0.3, 30), bounded)
def test_kl_is_not_negative_and_zero_where_logits_differ_by_a_constant(pairs, T, shift):
    student, teacher = torch.tensor(pairs, dtype=torch.float64).T.unsqueeze(1)
    assert soft_loss(student, teacher, T).item() >= -1e-10
    assert soft_loss(teacher + shift, teacher, T).item() == pytest.approx(0, abs=1e-9)


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
    """Hinton et al. §2.1: (z_s − z_t) / classes for centered logits; the batch's mean adds 1 / n."""
    student, teacher = draw(6, 5), draw(6, 5, seed=1)
    student -= student.mean(-1, keepdim=True)
    teacher -= teacher.mean(-1, keepdim=True)
    expected = (student - teacher) / 5 / 6
    grad = gradient(soft_loss, student, teacher, T=1e5)
    torch.testing.assert_close(grad, expected, rtol=1e-3, atol=1e-5)
    value = soft_loss(student, teacher, T=1e4)
    torch.testing.assert_close(value, (student - teacher).square().mean() / 2, rtol=1e-3, atol=0)


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
    for s, t in [(zero, some), (some, zero), (zero, zero), (some, some)]:
        assert torch.isfinite(gradient(hidden_cosine_loss, s, t)).all()


# --- gradients ----------------------------------------------------------------------------------


def test_gradcheck():
    student, teacher = draw(2, 3, 4, scale=1.0).requires_grad_(), draw(2, 3, 4, seed=1, scale=1.0)
    labels, mask = torch.tensor([[0, 1, -100], [2, 3, 0]]), torch.tensor([[1, 1, 1], [1, 0, 0]])
    for T in (0.7, 4.0):
        assert gradcheck(lambda s, T=T: soft_loss(s, teacher, T), (student,))
        assert gradcheck(
            lambda s, T=T: distillation_loss(s, teacher, labels, T, 0.3, mask), (student,)
        )
    assert gradcheck(lambda s: soften(s, 2.0), (student,))
    assert gradcheck(lambda s: hidden_cosine_loss(s, teacher, mask), (student,))


def test_no_gradient_reaches_the_teacher():
    student = draw(2, 4).requires_grad_()
    teacher = draw(2, 4, seed=1).requires_grad_()
    (
        distillation_loss(student, teacher, torch.tensor([0, 1]))
        + soft_loss(student, teacher)
        + hidden_cosine_loss(student, teacher)
    ).backward()
    assert teacher.grad is None
    assert student.grad is not None


# --- hidden states -------------------------------------------------------------------


def test_cosine_equals_pytorchs_and_ignores_lengths():
    student, teacher = draw(2, 3, 4), draw(2, 3, 4, seed=1)
    ones = torch.ones(6)
    expected = F.cosine_embedding_loss(student.flatten(0, 1), teacher.flatten(0, 1), ones)
    torch.testing.assert_close(hidden_cosine_loss(student, teacher), expected)
    torch.testing.assert_close(hidden_cosine_loss(7 * student, teacher), expected)
    opposite = hidden_cosine_loss(student, -student).item()
    assert opposite == pytest.approx(2)


# --- errors -----------------------------------------------------------------------------------


def test_each_bad_input_is_named():
    s, t, y = torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, 2])
    sequence, labels = torch.zeros(2, 5, 3), torch.zeros(2, 5, dtype=torch.long)

    class Output:
        logits = s

    cases = [
        # (error, what its message says, call)
        (ValueError, r"vocabulary.*\[3\].*\[4\]", lambda: soft_loss(s, torch.zeros(2, 4))),
        (ValueError, r"\[2, 3\].*\[3, 3\].*one batch", lambda: soft_loss(s, torch.zeros(3, 3))),
        (ValueError, r"unsqueeze", lambda: soft_loss(s[0], t[0])),
        (ValueError, r"one shape", lambda: soft_loss(torch.zeros(2, 0), torch.zeros(2, 0))),
        *(
            (
                ValueError,
                r"one output is a number.*mse_loss",
                lambda f=f: f(s[:, :1], t[:, :1]),
            )
            for f in (soft_loss, lambda *two: distillation_loss(*two, y, alpha=1.0))
        ),
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
        (ValueError, r"project", lambda: hidden_cosine_loss(s, torch.zeros(2, 4))),
        (TypeError, r"teacher_hidden", lambda: hidden_cosine_loss(s, t.long())),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()


def test_labels_at_masked_positions_are_not_looked_at():
    logits, mask = draw(1, 3, 4), torch.tensor([[1, 1, 0]])
    loss = distillation_loss(logits, logits, torch.tensor([[0, 1, 99]]), mask=mask)
    expected = distillation_loss(logits[:, :2], logits[:, :2], torch.tensor([[0, 1]]))
    torch.testing.assert_close(loss, expected)


# --- the triple loss ------------------------------------------------------------------------


def outputs(logits, hidden):
    return SequenceClassifierOutput(logits=logits, hidden_states=(torch.zeros(1), hidden))


def example(seed: int, n: int = 4, length: int = 5):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return outputs(logits, torch.randn(n, length, 3, generator=generator, dtype=torch.float64))


def test_it_is_the_weighted_sum_of_three_losses():
    student, teacher, labels = example(0), example(1), torch.tensor([0, 1, -100, 1])
    cosine = 1 - F.cosine_similarity(student.hidden_states[1], teacher.hidden_states[1], dim=-1)
    expected = (
        5 * soft_loss(student.logits, teacher.logits, T=2.0)
        + 2 * F.cross_entropy(student.logits, labels, ignore_index=-100)
        + cosine.mean()
    )
    torch.testing.assert_close(triple_loss(student, teacher, labels), expected)
    only_cosine = triple_loss(student, teacher, labels, weights=(0, 0, 1))
    torch.testing.assert_close(only_cosine, cosine.mean())


def test_padding_does_not_count():
    student, teacher, labels = example(0), example(1), torch.tensor([0, 1, 1, 0])
    mask = torch.tensor([[1, 1, 1, 0, 0]] * 4)
    before = triple_loss(student, teacher, labels, mask)
    student.hidden_states[1][:, 3:] = 1e9
    torch.testing.assert_close(triple_loss(student, teacher, labels, mask), before)


def test_without_a_label_the_hard_loss_is_silent():
    student, teacher = example(0), example(1)
    unlabeled = torch.full((4,), -100)
    assert triple_loss(student, teacher, unlabeled, weights=(0, 2, 0)) == 0
    assert torch.isfinite(triple_loss(student, teacher, unlabeled))


def test_missing_hidden_states_are_named():
    student, teacher, labels = example(0), example(1), torch.tensor([0, 1, 1, 0])
    bare = SequenceClassifierOutput(logits=teacher.logits)
    with pytest.raises(ValueError, match=r"teacher's output has no hidden.*output_hidden_states"):
        triple_loss(student, bare, labels)
    triple_loss(student, bare, labels, weights=(5, 2, 0))  # does not need them


def test_a_class_that_the_teacher_rules_out_adds_nothing():
    teacher = torch.tensor([[2.0, 0.0, -math.inf]])
    student = torch.tensor([[1.0, 0.0, -math.inf]], requires_grad=True)
    value = soft_loss(student, teacher, T=2.0)
    assert value.item() == pytest.approx(soft_loss(student[:, :2], teacher[:, :2], T=2.0).item())
    value.backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_padded_rows_of_a_vocabulary_are_named():
    with pytest.raises(ValueError, match=r"padding, cut them: logits\[\.\.\., :1519\]"):
        soft_loss(torch.zeros(1, 1519), torch.zeros(1, 1520))


# --- token by token -------------------------------------------------------------------------------


def test_token_kl_is_the_mean_over_valid_tokens_of_both_directions():
    s, t = draw(2, 3, 5), draw(2, 3, 5, seed=1)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    p, q = (logits[mask.bool()].softmax(-1) for logits in (t, s))
    assert torch.allclose(token_kl(s, t, mask), (p * (p / q).log()).sum(-1).mean())
    assert torch.allclose(token_kl(s, t, mask, reverse=True), (q * (q / p).log()).sum(-1).mean())
    assert torch.allclose(token_kl(s, t, T=2.0), soft_loss(s, t, T=2.0))
    assert token_kl(s, s) == token_kl(s, s, reverse=True) == 0


def test_only_the_vocabulary_is_compared():
    s, t = draw(4, 7), draw(4, 9, seed=1)
    assert torch.allclose(token_kl(s, t, vocabulary=6), token_kl(s[:, :6], t[:, :6]))
    with pytest.raises(ValueError, match="vocabulary"):
        token_kl(s, t)
    with pytest.raises(ValueError, match="1 to 7, which both have"):
        token_kl(s, t, vocabulary=8)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("top_k", [0, 2])
def test_ruled_out_tokens_give_no_nan_and_no_gradient(reverse, top_k):
    s, t = draw(3, 5), draw(3, 5, seed=1)
    s[:, 4], t[:, 4] = -torch.inf, -torch.inf
    s.requires_grad_()
    loss = token_kl(s, t, reverse=reverse, top_k=top_k)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(s.grad).all()
    assert (s.grad[:, 4] == 0).all()
    rest = token_kl(s.detach()[:, :4], t[:, :4], reverse=reverse, top_k=top_k)
    assert torch.allclose(loss, rest)


def test_top_k_counts_all_others_as_one_and_loses_a_part():
    s, t = draw(6, 8), draw(6, 8, seed=1)
    losses = [token_kl(s, t, top_k=k) for k in (1, 2, 4, 7, 8)]
    assert losses[:4] == sorted(losses[:4])  # the last two are the same, but for rounding
    assert torch.allclose(losses[-1], token_kl(s, t)) and losses[-2] == pytest.approx(losses[-1])
    p, q = t.softmax(-1), s.softmax(-1)
    first = p.argmax(-1, keepdim=True)
    a, b = p.gather(-1, first), q.gather(-1, first)
    two = a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()
    assert torch.allclose(losses[0], two.mean())
    with pytest.raises(ValueError, match="top_k is 9"):
        token_kl(s, t, top_k=9)


@pytest.mark.parametrize("reverse", [False, True])
def test_in_pieces_it_is_the_same(monkeypatch, reverse):
    s, t = draw(3, 200, 5).requires_grad_(), draw(3, 200, 5, seed=1)
    (whole,) = torch.autograd.grad(token_kl(s, t, T=2.0, reverse=reverse), s)
    monkeypatch.setattr("course_lib.distillation.losses.LARGE", 100)
    loss = token_kl(s, t, T=2.0, reverse=reverse)
    (pieces,) = torch.autograd.grad(loss, s)
    assert torch.allclose(whole, pieces)


def test_in_pieces_a_token_that_one_of_them_rules_out_is_the_same(monkeypatch):
    s, t = draw(300, 5), draw(300, 5, seed=1)
    t[:, 2] = -torch.inf  # ruled out by the teacher alone, and the next by both
    s[:, 3] = t[:, 3] = -torch.inf
    s.requires_grad_()
    loss = token_kl(s, t)
    (whole,) = torch.autograd.grad(loss, s)
    monkeypatch.setattr("course_lib.distillation.losses.LARGE", 100)
    again = token_kl(s, t)
    (pieces,) = torch.autograd.grad(3 * again, s)
    assert torch.isfinite(whole).all() and torch.allclose(loss, again)
    assert torch.allclose(3 * whole, pieces)
    assert torch.equal(token_kl(s.detach(), t), again.detach())
