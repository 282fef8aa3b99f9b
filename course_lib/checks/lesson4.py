"""Checks for the exercises of lesson 4, DistilBERT."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from scipy.stats import binomtest, chi2, fisher_exact
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from course_lib import data, distilbert, distillation, measure, training, zoo
from course_lib.checks.checking import (
    Check,
    Mistake,
    Range,
    Seen,
    TroubleError,
    call,
    observed,
    show,
    unchanged,
)
from course_lib.groups import layers_of

Tries = Mapping[str, Callable[[Any], Any]]


def _gives(answer: Any, tries: Tries, *whats: str) -> Seen:
    """What an answer of ours gives on some of the tries: for mistakes that may come with others."""
    return Seen({what: observed(tries[what], answer) for what in whats})


# --- 1 · which layers -----------------------------------------------------------------------------

layers_to_take = Check(
    name="layers_to_take",
    right=lambda of, take: list(range(0, of, of // take)),
    tries={
        "layers_to_take(of=12, take=6)": call(12, 6),
        "layers_to_take(of=6, take=2)": call(6, 2),
        "layers_to_take(of=6, take=1)": call(6, 1),
        "layers_to_take(of=4, take=4)": call(4, 4),
    },
    mistakes=(
        Mistake(
            "counted from 1",
            "People number layers from 1, Python from 0. With 1 for 0 the layer that reads the "
            "embeddings is lost, and each of yours stands one place too high.",
            lambda of, take: list(range(1, of + 1, of // take)),
        ),
        Mistake(
            "the last layers only",
            "They were trained to read what the first ones wrote, and here nobody has written it. "
            "Lesson 4's picture of the untrained students shows how badly that begins.",
            lambda of, take: list(range(of - take, of)),
        ),
        Mistake(
            "the first layers only",
            "They fit each other, but what the upper ones do is lost. DistilBERT spreads its layers "
            "evenly over the teacher's.",
            lambda of, take: list(range(take)),
        ),
        Mistake(
            "the upper one of each group, not the lower",
            "Evenly spread, but without layer 0, which alone has learned to read the embeddings.",
            lambda of, take: list(range(of // take - 1, of, of // take)),
        ),
        Mistake(
            "every other one, however many are wanted",
            "The step is 2 only where half of the layers stay. For two of six it is 3.",
            lambda of, take: list(range(0, of, 2)),
        ),
        Mistake(
            "first and last are both fixed",
            "From end to end the steps are uneven: some neighbours stay and other gaps are wide. The "
            "first layer of each group is meant.",
            lambda of, take: torch.linspace(0, of - 1, take).round().long(),
        ),
        Mistake(
            "the step for the layers",
            "How far apart they lie is half of the answer: count on from 0 in that step.",
            lambda of, take: of // take,
        ),
    ),
    checked="6 of 12, 2 of 6, 1 of 6 and all of 4",
    not_checked="numbers that do not divide; whether another choice is better after training",
)

# --- 2 · a student from its teacher's layers ------------------------------------------------------

_BERT: dict[str, Any] = {
    "vocab_size": 12,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 8,
    "num_hidden_layers": 5,
}


@functools.cache
def _bert() -> Any:
    """A tiny BERT classifier in eval mode, with weights large enough that every part matters."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = transformers.BertForSequenceClassification(transformers.BertConfig(**_BERT))
        for parameter in model.parameters():
            parameter.data.normal_(std=0.5)
    return model.eval()


def _equal(one: nn.Module, other: nn.Module) -> bool:
    return unchanged(dict(one.state_dict()), dict(other.state_dict()))


def _which(student: Any) -> str:
    theirs = _bert().bert.encoder.layer
    found = [
        next((str(i) for i, its in enumerate(theirs) if _equal(layer, its)), "new")
        for layer in student.bert.encoder.layer
    ]
    return " and ".join(found) or "none"


def _teacher_stays(teacher: Any, student: Any) -> bool:
    before = _bert()
    same = teacher.config.num_hidden_layers == 5 and len(teacher.bert.encoder.layer) == 5
    return same and _equal(before, teacher)


def _teacher_notices(teacher: Any, student: Any) -> bool:
    for parameter in student.parameters():
        parameter.data.zero_()
    return not _equal(_bert(), teacher)


def _answers(student: Any) -> Tensor:
    ids = torch.tensor([[1, 5, 7, 2], [1, 9, 2, 0]])
    with torch.no_grad():
        return student.eval()(input_ids=ids, attention_mask=(ids > 0).long()).logits


def _student(look: Callable[[Any, Any], Any], layers: tuple[int, ...] = (1, 4)) -> Any:
    def attempt(answer: Callable[..., Any]) -> Any:
        teacher = copy.deepcopy(_bert())
        return look(teacher, answer(teacher, layers))

    return attempt


def _copied(teacher: Any, layers: Iterable[int]) -> Any:
    return distilbert.student_from_teacher(teacher, layers)


_KIND = "the type of what you give"
_STAYS = "does the teacher still have its five layers, and the same weights?"
_NOTICES = "all weights of the student are set to 0: do the teacher's change, too?"
_WHICH = "layers (1, 4) of five: which of the teacher's layers the student has"
_WORDS = "are its embeddings those of the teacher?"
_HEAD = "are its pooler and its classifier those of the teacher?"
_CONFIG = "what its config says: num_hidden_layers"
_WHICH3 = "layers (0, 2, 3): which of the teacher's layers the student has"
_LOGITS = "layers (1, 4): its logits for two short sentences"
_OWN = {_KIND: "BertForSequenceClassification", _STAYS: True, _NOTICES: False}

student_from = Check(
    name="student_from",
    right=_copied,
    tries={
        _KIND: _student(lambda teacher, student: type(student).__name__),
        _STAYS: _student(_teacher_stays),
        _NOTICES: _student(_teacher_notices),
        _WHICH: _student(lambda teacher, student: _which(student)),
        _WORDS: _student(lambda teacher, one: _equal(one.bert.embeddings, _bert().bert.embeddings)),
        _HEAD: _student(
            lambda teacher, one: (
                _equal(one.classifier, _bert().classifier)
                and _equal(one.bert.pooler, _bert().bert.pooler)
            )
        ),
        _CONFIG: _student(lambda teacher, student: student.config.num_hidden_layers),
        _WHICH3: _student(lambda teacher, student: _which(student), (0, 2, 3)),
        _LOGITS: _student(lambda teacher, student: _answers(student)),
    },
    mistakes=(
        Mistake(
            "a list of layers, not a model",
            "Layers alone read no words and give no answer. Put them into a copy of the teacher.",
            Seen({_KIND: "ModuleList"}),
        ),
        Mistake(
            "the encoder without its classifier",
            "The head comes along, too: give the whole BertForSequenceClassification.",
            Seen({_KIND: "BertModel"}),
        ),
        Mistake(
            "the teacher itself is cut",
            "It is still needed, to teach. Copy first, then take layers out of the copy; a config "
            "that both share changes for both.",
            Seen({_STAYS: False}),
        ),
        Mistake(
            "the student shares tensors with its teacher",
            "They are the same tensors, not equal ones: every training step of the student also moves "
            "the teacher, and the lesson is lost while it is given.",
            Seen({_STAYS: True, _NOTICES: True}),
        ),
        Mistake(
            "all five layers are still there",
            "A config is read when a model is built. A smaller number in it takes no layer out of a "
            "model that exists.",
            Seen({**_OWN, _WHICH: "0 and 1 and 2 and 3 and 4"}),
        ),
        Mistake(
            "the layers are new",
            "A student of the right shape with random weights: it starts from nothing. Copy the "
            "teacher's weights into it.",
            Seen({**_OWN, _WHICH: "new and new"}),
        ),
        Mistake(
            "the first layers, whichever were asked for",
            "A state dict is loaded by names, and the student's layers are named 0 and 1. So they get "
            "the teacher's 0 and 1.",
            Seen({**_OWN, _WHICH: "0 and 1"}),
        ),
        Mistake(
            "counted from 1",
            "The layers are counted from 0 here, as everywhere in PyTorch. Yours are one place lower.",
            Seen({**_OWN, _WHICH: "0 and 3"}),
        ),
        Mistake(
            "the layers that should go have stayed",
            "`layers` names those that the student keeps.",
            Seen({**_OWN, _WHICH: "0 and 2 and 3"}),
        ),
        Mistake(
            "the embeddings are new",
            "The layers expect the teacher's words and find noise. The embeddings are most of what a "
            "small model knows: copy them, too.",
            Seen({**_OWN, _WHICH: "1 and 4", _WORDS: False}),
        ),
        Mistake(
            "the pooler or the classifier is new",
            "Its thoughts are the teacher's, its answers are random. The head is copied, too.",
            Seen({**_OWN, _WHICH: "1 and 4", _WORDS: True, _HEAD: False}),
        ),
        Mistake(
            "the config still says five layers",
            "It works until it is saved: from_pretrained then builds five layers, and fills three of "
            "them with noise.",
            Seen({**_OWN, _WHICH: "1 and 4", _WORDS: True, _HEAD: True, _CONFIG: 5}),
        ),
    ),
    checked="a BERT of five layers, two choices of layers; that both models are whole, and apart",
    not_checked="other architectures, train or eval mode, saving and loading",
)

# --- 3 · the cosine loss with its mask ------------------------------------------------------------


def _cosine_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    return distillation.hidden_cosine_loss(student, teacher, mask)


def _angles(student: Tensor, teacher: Tensor) -> Tensor:
    """1 − cosine of each vector with its pair: [batch, length]."""
    return 1 - F.cosine_similarity(student, teacher, dim=-1)


def _flows(to: str, arguments: Callable[[], tuple[Any, ...]], find: Callable[..., Any]) -> Any:
    """A try: does a gradient reach the student or the teacher (`find` gives the two tensors)?"""

    def attempt(answer: Callable[..., Any]) -> bool:
        given = arguments()
        tensors = dict(zip(("student", "teacher"), find(*given), strict=True))
        for tensor in tensors.values():
            tensor.requires_grad_()
        loss = answer(*given)
        if not getattr(loss, "requires_grad", False):
            return False
        loss.sum().backward()
        gradient = tensors[to].grad
        return gradient is not None and bool(gradient.abs().sum() > 0)

    return attempt


_S3 = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], [[3.0, 4.0], [5.0, 0.0], [0.0, 1.0]]])
_T3 = torch.tensor([[[2.0, 0.0], [3.0, 3.0], [-1.0, 1.0]], [[4.0, 3.0], [0.0, 1.0], [0.0, -1.0]]])
_MASK3 = torch.tensor([[1, 1, 1], [1, 0, 0]])
_NAN3 = torch.where(_MASK3[..., None] == 1, _T3, torch.nan)

_ONE_LINE = "student [[[1, 0], [0, 2]]], teacher [[[2, 0], [3, 3]]], mask [[1, 1]]"
_PADDED = "two sentences of three words and of one, the second with two places of padding"
_NAN_PADDED = "the same, with nan in the teacher's padding"
_TO_STUDENT = "does a gradient reach the student's hidden states?"
_TO_TEACHER = "does a gradient flow into the teacher's hidden states?"

_COSINE_TRIES: Tries = {
    _ONE_LINE: call(_S3[:1, :2], _T3[:1, :2], _MASK3[:1, :2]),
    _PADDED: call(_S3, _T3, _MASK3),
    _NAN_PADDED: call(_S3, _NAN3, _MASK3),
    _TO_STUDENT: _flows(
        "student", lambda: (_S3.clone(), _T3.clone(), _MASK3), lambda s, t, mask: (s, t)
    ),
    _TO_TEACHER: _flows(
        "teacher", lambda: (_S3.clone(), _T3.clone(), _MASK3), lambda s, t, mask: (s, t)
    ),
}


def _cosine_mistake(name: str, why: str, wrong: Callable[..., Any]) -> Mistake:
    return Mistake(name, why, _gives(wrong, _COSINE_TRIES, _ONE_LINE, _PADDED, _NAN_PADDED))


_COSINE_VALUES = _gives(_cosine_loss, _COSINE_TRIES, _ONE_LINE, _PADDED, _NAN_PADDED)

cosine_loss = Check(
    name="cosine_loss",
    right=_cosine_loss,
    tries=_COSINE_TRIES,
    mistakes=(
        _cosine_mistake(
            "the cosine itself, not 1 − cosine",
            "Training makes a loss smaller. A smaller cosine turns the student's thoughts away from "
            "the teacher's, in the end to their opposite.",
            lambda s, t, m: 1 - _cosine_loss(s, t, m),
        ),
        _cosine_mistake(
            "the mask is not used",
            "The padding counts like words. In a batch of short sentences the student mostly learns "
            "to imitate the teacher on nothing.",
            lambda s, t, m: _angles(s, t).mean(),
        ),
        _cosine_mistake(
            "divided by all positions instead of the words",
            "The padding adds nothing to the sum, but it still counts in the division: more padding, "
            "smaller loss. And 0 · nan is nan: pick what counts.",
            lambda s, t, m: (_angles(s, t) * m).mean(),
        ),
        _cosine_mistake(
            "picked, but divided by all positions",
            "The sum is right. Divide it by the number of real words: otherwise the loss falls with "
            "every place of padding.",
            lambda s, t, m: torch.where(m.bool(), _angles(s, t), 0.0).mean(),
        ),
        _cosine_mistake(
            "a mean over sentences of their means",
            "A sentence of one word then counts as much as one of thirty. Divide once, by the number "
            "of all real words.",
            lambda s, t, m: (torch.where(m.bool(), _angles(s, t), 0.0).sum(1) / m.sum(1)).mean(),
        ),
        _cosine_mistake(
            "multiplied where it should be picked",
            "Padding can hold nan, and 0 · nan is nan. Index with the mask, or use torch.where.",
            lambda s, t, m: (_angles(s, t) * m).sum() / m.sum(),
        ),
        _cosine_mistake(
            "the sum for the mean",
            "A longer batch then weighs more against the other two losses.",
            lambda s, t, m: torch.where(m.bool(), _angles(s, t), 0.0).sum(),
        ),
        _cosine_mistake(
            "along the words instead of the hidden numbers",
            "cosine_similarity takes dim=1 if you do not say otherwise, and that is the length here. "
            "The vectors of one word lie in the last dimension.",
            lambda s, t, m: 1 - F.cosine_similarity(s, t).mean(),
        ),
        _cosine_mistake(
            "not divided by the lengths of the vectors",
            "A product of two vectors also grows with their lengths. The cosine looks at the angle "
            "alone.",
            lambda s, t, m: 1 - (s * t).sum(-1)[m.bool()].mean(),
        ),
        Mistake(
            "nothing can be learned from it",
            "The value is right, but it is cut off from the student: .item(), .detach() or no_grad() "
            "on the wrong side. Then backward() moves nothing.",
            Seen({**_COSINE_VALUES, _TO_STUDENT: False}),
        ),
        Mistake(
            "the gradient flows into the teacher",
            "Both would move towards each other, and the cheapest way to agree is to think nothing. "
            "Take the teacher's side out of the graph.",
            Seen({**_COSINE_VALUES, _TO_STUDENT: True, _TO_TEACHER: True}),
        ),
    ),
    checked="angles of 0°, 45° and 90°, padding, nan in the padding, which side the gradient reaches",
    not_checked="a batch without any word, vectors of length 0, half precision",
)

# --- 4 · the triple loss --------------------------------------------------------------------------

_S4, _T4 = (
    torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.5], [0.0, 0.5, 1.0]]),
    torch.tensor([[3.0, 1.0, -2.0], [0.5, 1.0, 0.0], [1.0, -1.0, 2.0]]),
)
_MASK4 = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0]])
_H4 = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 1.0]]).expand(3, 3, 2)
_G4 = torch.tensor([[1.0, 1.0], [2.0, 0.0], [-1.0, 1.0]]).expand(3, 3, 2)
_LABELS4, _SOME4, _NONE4 = (torch.tensor(row) for row in ([0, 1, 1], [0, 1, -100], [-100] * 3))


def _output(logits: Tensor, hidden: Tensor) -> SequenceClassifierOutput:
    """What a model says: the embeddings, a layer in the middle, and the last one."""
    states = (hidden.flip(1) + 0.5, hidden.roll(1, -1), hidden.clone())
    return SequenceClassifierOutput(logits=logits.clone(), hidden_states=states)


def _loss4(
    hard: Callable[..., Tensor] | None = None,
    soft: Callable[..., Tensor] | None = None,
    cosine: Callable[..., Tensor] | None = None,
    weights: tuple[float, float, float] = (5.0, 2.0, 1.0),
) -> Callable[..., Tensor]:
    """The triple loss, or one that differs in one part."""

    def loss(student: Any, teacher: Any, labels: Tensor, mask: Tensor) -> Tensor:
        parts = (
            (soft or _soft)(student.logits, teacher.logits),
            (hard or _hard)(student.logits, labels, teacher.logits),
            (cosine or _last)(student.hidden_states, teacher.hidden_states, mask),
        )
        return sum((w * part for w, part in zip(weights, parts, strict=True)), torch.tensor(0.0))

    return loss


def _soft(z: Tensor, t: Tensor, T: float = 2.0, reduction: str = "batchmean") -> Tensor:
    return T**2 * F.kl_div((z / T).log_softmax(-1), (t / T).softmax(-1), reduction=reduction)


def _hard(z: Tensor, labels: Tensor, t: Tensor) -> Tensor:
    known = labels != distillation.NO_LABEL
    return F.cross_entropy(z[known], labels[known], reduction="sum") / known.sum().clamp(min=1)


def _last(s: Any, t: Any, mask: Tensor) -> Tensor:
    return _cosine_loss(s[-1], t[-1], mask)


_HARD4 = "both say and think the same, labels [0, 1, 1]: only the hard loss is left"
_SOFT4 = "they think the same, but say different things: the hard and the soft loss"
_COSINE4 = "they say the same, but think differently: the hard and the cosine loss"
_ALL4 = "all three, labels [0, 1, −100]"
_NONE_4 = "all three, no sentence has a label (all −100)"


def _both4() -> tuple[Any, ...]:
    return _output(_S4, _H4), _output(_T4, _G4), _SOME4, _MASK4


def _tensors4(student: Any, teacher: Any, *_: Any) -> tuple[Tensor, Tensor]:
    return student.logits, teacher.logits


def _hidden4(student: Any, teacher: Any, *_: Any) -> tuple[Tensor, Tensor]:
    return student.hidden_states[-1], teacher.hidden_states[-1]


_SAYS_T4 = "does a gradient flow into the teacher's logits?"
_THINKS_T4 = "does a gradient flow into the teacher's hidden states?"
_SAYS_S4 = "does a gradient reach the student's logits and hidden states?"


def _reaches_student(answer: Callable[..., Any]) -> bool:
    return all(_flows("student", _both4, find)(answer) for find in (_tensors4, _hidden4))


_TRIPLE_TRIES: Tries = {
    _HARD4: call(_output(_S4, _H4), _output(_S4, _H4), _LABELS4, _MASK4),
    _SOFT4: call(_output(_S4, _H4), _output(_T4, _H4), _LABELS4, _MASK4),
    _COSINE4: call(_output(_S4, _H4), _output(_S4, _G4), _LABELS4, _MASK4),
    _ALL4: call(_output(_S4, _H4), _output(_T4, _G4), _SOME4, _MASK4),
    _NONE_4: call(_output(_S4, _H4), _output(_T4, _G4), _NONE4, _MASK4),
    _SAYS_S4: _reaches_student,
    _SAYS_T4: _flows("teacher", _both4, _tensors4),
    _THINKS_T4: _flows("teacher", _both4, _hidden4),
}
_VALUES4 = (_HARD4, _SOFT4, _COSINE4, _ALL4, _NONE_4)


def _wrong4(name: str, why: str, whats: Iterable[str], **wrong: Any) -> Mistake:
    """A mistake in one part; what the other parts do does not matter for it."""
    return Mistake(name, why, _gives(_loss4(**wrong), _TRIPLE_TRIES, *whats))


_RIGHT4 = _gives(distilbert.triple_loss, _TRIPLE_TRIES, *_VALUES4)

triple_loss = Check(
    name="triple_loss",
    right=distilbert.triple_loss,
    tries=_TRIPLE_TRIES,
    mistakes=(
        _wrong4(
            "the weights are in another order: 5 for the labels",
            "5 belongs to the soft loss, 2 to the hard one. The labels say less than the teacher does.",
            _VALUES4[:2],
            weights=(2.0, 5.0, 1.0),
        ),
        _wrong4(
            "the weights are in the order 1, 2, 5",
            "5 belongs to what the teacher answers, 1 to what it thinks.",
            _VALUES4[:2],
            weights=(1.0, 2.0, 5.0),
        ),
        _wrong4(
            "the weights are missing",
            "The three losses have different sizes. DistilBERT's code weighs them 5, 2 and 1.",
            _VALUES4[:2],
            weights=(1.0, 1.0, 1.0),
        ),
        _wrong4(
            "the weights are divided by their sum",
            "It has the same minimum, but each step is an eighth as long: the learning rate no longer "
            "means what it meant.",
            _VALUES4[:2],
            weights=(5 / 8, 2 / 8, 1 / 8),
        ),
        _wrong4(
            "the hard loss asks the teacher, not the labels",
            "The teacher's argmax for the truth: its errors are then taught twice, and the labels "
            "never.",
            (_HARD4,),
            hard=lambda z, y, t: F.cross_entropy(z, t.argmax(-1)),
        ),
        _wrong4(
            "temperature on the hard loss, too",
            "Labels know no temperature: the student will be used at T = 1.",
            (_HARD4,),
            hard=lambda z, y, t: F.cross_entropy(z / 2, y),
        ),
        _wrong4(
            "the soft loss without T²",
            "At T = 2 its gradient is four times too small, so that the weights 5 and 2 stand for "
            "something else.",
            _VALUES4[:2],
            soft=lambda z, t: _soft(z, t) / 4,
        ),
        _wrong4(
            "the soft loss at T = 1",
            "Both sides are divided by T = 2 before the softmax; at 1 the teacher's doubts are hardly "
            "heard.",
            _VALUES4[:2],
            soft=lambda z, t: _soft(z, t, 1.0),
        ),
        _wrong4(
            "T² is there, but the logits are not divided by T",
            "The factor makes up for a division that did not take place: the soft loss is four times "
            "too strong, and not softer.",
            _VALUES4[:2],
            soft=lambda z, t: 4 * _soft(z, t, 1.0),
        ),
        _wrong4(
            "student and teacher are swapped in kl_div",
            "kl_div takes the student's logarithms first, the teacher's probabilities second.",
            _VALUES4[:2],
            soft=lambda z, t: _soft(t, z),
        ),
        _wrong4(
            "mean for batchmean",
            "This reduction also divides by the number of classes: with three of them the soft loss "
            "is three times too small.",
            _VALUES4[:2],
            soft=lambda z, t: _soft(z, t, reduction="mean"),
        ),
        _wrong4(
            "the first hidden state for the last",
            "hidden_states[0] is what comes out of the embeddings, which student and teacher share. "
            "The thoughts are at the end of the tuple.",
            _VALUES4[:3],
            cosine=lambda s, t, m: _cosine_loss(s[0], t[0], m),
        ),
        _wrong4(
            "the padding counts in the cosine loss",
            "The short sentences are filled up. Only where the mask is 1 is there a thought.",
            _VALUES4[:3],
            cosine=lambda s, t, m: _angles(s[-1], t[-1]).mean(),
        ),
        _wrong4(
            "the cosine itself, not 1 − cosine",
            "A loss gets smaller: yours turns the student's thoughts away from the teacher's.",
            (_HARD4, _SOFT4),
            cosine=lambda s, t, m: 1 - _last(s, t, m),
        ),
        _wrong4(
            "the hard loss is shared out to unlabelled sentences, too",
            "It is a mean over the sentences with a label. Divided by all, it fades the more "
            "unlabelled text there is.",
            _VALUES4[:4],
            hard=lambda z, y, t: F.cross_entropy(z, y, reduction="sum") / len(y),
        ),
        _wrong4(
            "−100 counts as a class",
            "It means that there is no label. Yours reads it as the first class.",
            _VALUES4[:4],
            hard=lambda z, y, t: F.cross_entropy(z, y.clamp(min=0)),
        ),
        _wrong4(
            "a batch without a label gives nan",
            "The mean over no sentence is 0 / 0, and one such batch turns every weight into nan. "
            "Without labels the hard loss is 0.",
            _VALUES4,
            hard=lambda z, y, t: F.cross_entropy(z, y),
        ),
        Mistake(
            "nothing can be learned from it",
            "The value is right, but cut off from the student: .item(), .detach() or no_grad() on the "
            "wrong side.",
            Seen({**_RIGHT4, _SAYS_S4: False}),
        ),
        Mistake(
            "the gradient flows into the teacher",
            "The teacher would learn from its pupil. Take its logits and its hidden states out of the "
            "graph.",
            Seen({**_RIGHT4, _SAYS_S4: True, _SAYS_T4: True, _THINKS_T4: True}),
        ),
        Mistake(
            "the gradient flows into the teacher's logits",
            "Its hidden states are out of the graph, its answers are not.",
            Seen({**_RIGHT4, _SAYS_S4: True, _SAYS_T4: True, _THINKS_T4: False}),
        ),
        Mistake(
            "the gradient flows into the teacher's thoughts",
            "Its answers are out of the graph, its hidden states are not.",
            Seen({**_RIGHT4, _SAYS_S4: True, _SAYS_T4: False, _THINKS_T4: True}),
        ),
    ),
    checked="each loss apart and all three, padding, some and all labels missing, gradients",
    not_checked="logits of each word (as in masked language models), two widths, other T",
)

# --- 5 · a latency, measured properly -------------------------------------------------------------


class _Machine:
    """A machine whose time only passes where something is done: so every answer is exact.

    Tokenising takes 10 ms. A model's first call takes 100 ms longer than the later ones; each fifth
    of these is held up for 7 ms by something else.
    """

    def __init__(self, delays: tuple[float, ...] = (0.0,)) -> None:
        self.now, self.looks, self.delays = 50.0, 0, delays  # seconds; ms
        self.calls: list[tuple[str, bool, bool]] = []  # model, training mode, gradient; when timed

    def clock(self) -> float:
        self.looks += 1
        return self.now

    def tokenizer(self, line: str, **_: Any) -> dict[str, Tensor]:
        self.now += 10e-3
        return {"input_ids": torch.tensor([[1, 2]])}


class _Timed(nn.Module):
    """A model that takes so many milliseconds on such a machine."""

    def __init__(self, name: str, ms: float, machine: _Machine) -> None:
        super().__init__()
        self.name, self.ms, self.machine, self.called = name, ms, machine, 0

    def forward(self, input_ids: Tensor) -> Tensor:
        machine = self.machine
        if machine.looks:
            machine.calls.append((self.name, self.training, torch.is_grad_enabled()))
        delay = machine.delays[self.called % len(machine.delays)] if self.called else 100.0
        self.called += 1
        machine.now += (self.ms + delay) / 1000
        return torch.zeros(1, 2)


def _on_machine(look: Callable[[_Machine, Any], Any], rounds: int = 5) -> Any:
    """A try: two models, or for one round a single one; `look` sees the machine and the answer."""

    def attempt(answer: Callable[..., Any]) -> Any:
        machine = _Machine((0.0, 0.2, 0.1, 7.0, 0.3) if rounds > 1 else (0.0,))
        sizes = {"small": 2.0, "large": 6.0} if rounds > 1 else {"small": 2.0}
        models = {name: _Timed(name, ms, machine).train() for name, ms in sizes.items()}
        given = answer(models, machine.tokenizer, "A moving film.", rounds, machine.clock)
        return look(machine, given)

    return attempt


def _in_turns(machine: _Machine, given: Any) -> bool:
    names = [name for name, _, _ in machine.calls]
    rounds = [set(names[i : i + 2]) for i in range(0, len(names), 2)]
    return bool(rounds) and all(len(one) == 2 for one in rounds)


def _median_ms(
    models: Mapping[str, nn.Module],
    tokenizer: Callable[..., Any],
    line: str,
    rounds: int,
    clock: Callable[[], float],
    middle: Callable[[Tensor], Tensor] = torch.median,
) -> dict[str, float]:
    batch, times = tokenizer(line), {name: [] for name in models}  # type: ignore[var-annotated]
    with torch.inference_mode():
        for model in models.values():
            model.eval()(**batch)
        for _ in range(rounds):
            for name, model in models.items():
                start = clock()
                model(**batch)
                times[name].append(1000 * (clock() - start))
    return {name: middle(torch.tensor(row)).item() for name, row in times.items()}


_LOOKS = "does it look at the clock that it is given?"
_TRAINS = "is a model in training mode while it is timed?"
_GRADS = "does autograd keep a record while a model is timed?"
_ONE = "one round of one model: ms. It takes 2; the first call 100 more, the tokeniser 10"
_TURNS = "two models: do they take turns, so that each is timed once in each round?"
_FIVE = "five rounds of 2 and 6 ms, each plus 0, 0.2, 0.1, 7 (another program) and 0.3 ms: ms"
_QUIET = {_LOOKS: True, _TRAINS: False, _GRADS: False}
_FAIR = {**_QUIET, _ONE: 2.0, _TURNS: True}

_LATENCY_TRIES: Tries = {
    _LOOKS: _on_machine(lambda machine, given: machine.looks > 1),
    _TRAINS: _on_machine(lambda machine, given: any(train for _, train, _ in machine.calls)),
    _GRADS: _on_machine(lambda machine, given: any(grad for _, _, grad in machine.calls)),
    _ONE: _on_machine(
        lambda machine, given: given["small"] if isinstance(given, Mapping) else given, 1
    ),
    _TURNS: _on_machine(_in_turns),
    _FIVE: _on_machine(lambda machine, given: given),
}


def _not_median(name: str, why: str, middle: Callable[[Tensor], Tensor]) -> Mistake:
    wrong = partial(_median_ms, middle=middle)
    # Whether they took turns is another question: over many rounds at once they cannot.
    return Mistake(name, why, _gives(wrong, _LATENCY_TRIES, _ONE, _FIVE))


latency = Check(
    name="latency",
    right=_median_ms,
    tries=_LATENCY_TRIES,
    mistakes=(
        Mistake(
            "another clock than the given one",
            "Call clock() before and after each model: it gives seconds. This check gives you one that "
            "it can read; outside you give time.perf_counter.",
            Seen({_LOOKS: False}),
        ),
        Mistake(
            "the models are timed in training mode",
            "Dropout costs time and is not there in use. Is it eval(), with its brackets, and before "
            "the clock runs?",
            Seen({_LOOKS: True, _TRAINS: True}),
        ),
        Mistake(
            "autograd keeps its record meanwhile",
            "Eval mode does not switch it off. What is kept for a backward pass costs time and memory "
            "that nobody needs here.",
            Seen({_LOOKS: True, _TRAINS: False, _GRADS: True}),
        ),
        Mistake(
            "seconds for milliseconds",
            "The clock gives seconds; a thousand milliseconds are one.",
            Seen({**_QUIET, _ONE: 0.002}),
        ),
        Mistake(
            "no warm-up",
            "The first call of a model sets up memory and threads, and is much slower than any later "
            "one. Call each model once before you look at the clock.",
            Seen({**_QUIET, _ONE: Range(102, 112)}),
        ),
        Mistake(
            "tokenising is timed, too",
            "It takes the same time for every model, so that it hides how they differ. Prepare the "
            "batch first, once.",
            Seen({**_QUIET, _ONE: 12.0}),
        ),
        _not_median(
            "the mean, not the median",
            "One call that another program held up moves the mean of all. The median does not mind it.",
            torch.mean,
        ),
        _not_median(
            "the fastest, not the median",
            "The best case is what a user hardly ever sees; and it is smaller the longer you measure.",
            torch.min,
        ),
        _not_median(
            "the sum of all rounds",
            "A latency is the time of one call.",
            torch.sum,
        ),
        Mistake(
            "one model after the other, not in turns",
            "A laptop that gets warm, or another program, then hits one model alone. In turns they "
            "share the noise.",
            Seen({**_QUIET, _ONE: 2.0, _TURNS: False}),
        ),
        Mistake(
            "one number for all models",
            "Give a dict: the name of each model → its own median.",
            Seen({**_FAIR, _FIVE: Range(0, 1000)}),
        ),
    ),
    checked="eval mode, no gradient, warm-up, turns, tokenising, median: on a made-up machine",
    not_checked="quartiles, threads, batch size, GPUs (they need a synchronize before each look)",
)

# --- 6 · read a paired test -----------------------------------------------------------------------


def _pair(only_a: int, only_b: int, both: int, neither: int = 0) -> tuple[Tensor, Tensor]:
    counts = torch.tensor([only_a, only_b, both, neither])
    rows = (torch.tensor(row, dtype=torch.bool) for row in ([1, 0, 1, 0], [0, 1, 1, 0]))
    a, b = (row.repeat_interleave(counts) for row in rows)
    return a, b


def _words(p: float, only_a: int, only_b: int, level: float = 0.05) -> str:
    if p >= level:
        return "no significant difference"
    return "A is better" if only_a > only_b else "B is better"


def _compared(right_a: Tensor, right_b: Tensor) -> dict[str, Any]:
    test = measure.paired_test(right_a, right_b)
    return {"p": test.p_value, "verdict": _words(test.p_value, test.only_a, test.only_b)}


def _with_p(p: Callable[[int, int, int, int], float]) -> Callable[..., Any]:
    """The answer with another p: of only A right, only B right, both right, and of all."""

    def compare(right_a: Tensor, right_b: Tensor) -> dict[str, Any]:
        test, both = measure.paired_test(right_a, right_b), int((right_a & right_b).sum())
        value = float(p(test.only_a, test.only_b, both, test.n))
        return {"p": value, "verdict": _words(value, test.only_a, test.only_b)}

    return compare


def _with_words(words: Callable[[float, int, int], str]) -> Callable[..., Any]:
    def compare(right_a: Tensor, right_b: Tensor) -> dict[str, Any]:
        test = measure.paired_test(right_a, right_b)
        return {"p": test.p_value, "verdict": words(test.p_value, test.only_a, test.only_b)}

    return compare


def _unpooled(a: int, b: int, both: int, n: int) -> float:
    """The z-test of two independent shares, as its equal, a chi-squared test."""
    first, second = (a + both) / n, (b + both) / n
    share = (first + second) / 2
    return chi2.sf((first - second) ** 2 / (share * (1 - share) * 2 / n), 1)


def _fisher(a: int, b: int, both: int, n: int) -> float:
    return fisher_exact([[a + both, n - a - both], [b + both, n - b - both]]).pvalue


_NO_PAIR = Mistake(
    "not a dict with p and verdict",
    'Give {"p": a number, "verdict": one of the three sentences}.',
    Seen(),
)
_PAIRS = {
    "6 only A, 0 only B, 3 both": _pair(6, 0, 3, 3),
    "5 only A, 0 only B, 3 both": _pair(5, 0, 3, 4),
    "1 only A, 9 only B, 40 both": _pair(1, 9, 40, 10),
    "3 only A, 1 only B, 8 both": _pair(3, 1, 8, 2),
    "always alike": _pair(0, 0, 8, 2),
}


def _said(answer: Callable[..., Any], pair: tuple[Tensor, Tensor], what: str) -> Any:
    given = call(*pair)(answer)
    if not isinstance(given, Mapping) or set(given) != {"p", "verdict"}:
        raise TroubleError(_NO_PAIR, show(given))
    return given[what]


def _says_equal(answer: Callable[..., Any]) -> bool:
    said = " ".join(str(_said(answer, pair, "verdict")).lower() for pair in _PAIRS.values())
    return any(word in said for word in ("equal", "the same", "no difference", "identical", "tie"))


_EQUAL = "does a verdict say that the two are equal?"
_P_OF = {name: f"p, of sentences answered rightly by: {name}" for name in _PAIRS}
_VERDICT_OF = {name: f"verdict, of sentences answered rightly by: {name}" for name in _PAIRS}
_PAIR_TRIES: Tries = {
    **{_P_OF[name]: partial(_said, pair=pair, what="p") for name, pair in _PAIRS.items()},
    _EQUAL: _says_equal,
    **{
        _VERDICT_OF[name]: partial(_said, pair=pair, what="verdict")
        for name, pair in _PAIRS.items()
    },
}


def _wrong_p(name: str, why: str, p: Callable[[int, int, int, int], float]) -> Mistake:
    whats = list(_P_OF.values())[:3]  # where nothing differs, each of these does something else
    return Mistake(name, why, _gives(_with_p(p), _PAIR_TRIES, *whats))


def _wrong_words(name: str, why: str, words: Callable[[float, int, int], str]) -> Mistake:
    whats = _VERDICT_OF.values()
    return Mistake(name, why, _gives(_with_words(words), _PAIR_TRIES, *whats))


compare = Check(
    name="compare",
    right=_compared,
    tries=_PAIR_TRIES,
    mistakes=(
        _wrong_p(
            "one-sided",
            "You did not know beforehand which one would be ahead, so a split as uneven the other way "
            "counts as well. Yours is half of p, and finds differences twice as easily.",
            lambda a, b, both, n: binomtest(max(a, b), a + b, alternative="greater").pvalue,
        ),
        _wrong_p(
            "one-sided, and A must be ahead",
            "Where B is ahead, p comes out near 1. Ask for a split this uneven in either direction.",
            lambda a, b, both, n: binomtest(a, a + b, alternative="greater").pvalue,
        ),
        _wrong_p(
            "two accuracies compared as if unpaired (z-test)",
            "Both models read the same sentences. What is hard for one is hard for the other, and that "
            "shared part is no noise: count where they differ.",
            _unpooled,
        ),
        _wrong_p(
            "two accuracies compared as if unpaired (Fisher's test)",
            "The test is exact, but its question is another one: two models, each with sentences of "
            "its own. Yours read the same ones: count where they differ.",
            _fisher,
        ),
        _wrong_p(
            "sentences that both get right are counted on both sides",
            "They say nothing about which one is better, and they dilute those that do.",
            lambda a, b, both, n: binomtest(a + both, a + b + 2 * both).pvalue,
        ),
        _wrong_p(
            "sentences on which both agree are in the total",
            "The coin is thrown only where the two differ: divide by those alone.",
            lambda a, b, both, n: binomtest(a, n).pvalue,
        ),
        _wrong_p(
            "the chi-squared approximation",
            "It is McNemar's first formula, good for many differing sentences. Here are few, so take "
            "the exact test of a coin.",
            lambda a, b, both, n: chi2.sf((a - b) ** 2 / (a + b), 1),
        ),
        _wrong_p(
            "the approximation with its correction",
            "The correction by 1 brings chi-squared closer, not home. With few differing sentences "
            "take the exact test of a coin.",
            lambda a, b, both, n: chi2.sf((abs(a - b) - 1) ** 2 / (a + b), 1),
        ),
        Mistake(
            "no significant difference, read as equal",
            "A small test finds nothing in models that differ a lot. It cannot tell them apart: that "
            "is all it says.",
            Seen({_EQUAL: True}),
        ),
        _wrong_words(
            "p is read the wrong way round",
            "p is how often equal models would split so unevenly by chance. A *small* one speaks "
            "against chance.",
            lambda p, a, b: _words(1 - p, a, b, 0.95),
        ),
        _wrong_words(
            "whoever has more wins, whatever p is",
            "Someone is nearly always ahead. The test is there to ask whether that could be luck.",
            lambda p, a, b: _words(0.0 if a != b else 1.0, a, b),
        ),
        _wrong_words(
            "a threshold of 10 %",
            "This course asks for less than 5 %, and it was agreed on before looking.",
            lambda p, a, b: _words(p, a, b, 0.1),
        ),
        _wrong_words(
            "a threshold of 1 %",
            "This course asks for less than 5 %, and it was agreed on before looking.",
            lambda p, a, b: _words(p, a, b, 0.01),
        ),
        _wrong_words(
            "A and B are swapped",
            "p is the same either way; who is better is not. Who answered rightly where the other did "
            "not?",
            lambda p, a, b: _words(p, b, a),
        ),
    ),
    checked="five pairs of models: A ahead, B ahead, ahead by too few, never a difference",
    not_checked="several seeds, several tests on one test part, how large a difference may hide",
)

# --- 7 · challenge: beat the lesson's two layers --------------------------------------------------

VIT: dict[str, Any] = {
    "image_size": 28,
    "patch_size": 7,
    "num_channels": 1,
    "hidden_size": 32,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "num_labels": 10,
    "initializer_range": 0.15,  # the default, 0.02, is for widths of hundreds: it begins slowly here
}
TEACHER = training.Recipe(8, lr=3e-3, warmup=0.1, decay=True)
LESSON = training.Recipe(4, lr=2e-4, batch_size=32, warmup=0.1, decay=True)  # lr is lesson 4's


def vit_teacher() -> Any:
    """A vision transformer of six layers that reads digits: trained once, then cached.

    BERT's layers, with 16 patches of a picture for words: small enough for an exercise. It is given
    in eval mode. Explained in the exercises of lesson 4.

    Example:
        >>> vit_teacher().config.num_hidden_layers
        6
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.ViTForImageClassification(transformers.ViTConfig(**VIT))
    made_from = {"model": VIT, "recipe": training.settings(TEACHER)} | _versions()
    weights = zoo.made_once(
        "exercise-4-teacher",
        made_from,
        lambda: training.fit(model, data.mnist(), TEACHER).model.state_dict(),
    )
    model.load_state_dict(weights)
    return model.eval()


def vit_student() -> Any:
    """Its student of two layers by lesson 4's recipe: made once, then cached; in eval mode.

    Example:
        >>> vit_student().config.num_hidden_layers
        2
    """
    teacher = vit_teacher()
    start: Any = distilbert.student_from_teacher(teacher, (0, 3))
    soft = partial(distillation.distillation_loss, T=2, alpha=1)
    made_from = {"model": VIT, "teacher": training.settings(TEACHER), "layers": [0, 3]}
    weights = zoo.made_once(
        "exercise-4-student",
        made_from | {"recipe": training.settings(LESSON)} | _versions(),
        lambda: distillation.distill(
            start, teacher, data.mnist(), LESSON, loss=soft
        ).model.state_dict(),
    )
    start.load_state_dict(weights)
    return start.eval()


def _versions() -> dict[str, str]:
    return {"torch": torch.__version__, "transformers": transformers.__version__}


def _layers(model: Any) -> int:
    return len(layers_of(model)[1]) if isinstance(model, transformers.PreTrainedModel) else 0


def _right_on_test(model: nn.Module) -> Tensor:
    return training.correct(model, data.mnist()["test"])


def _against_lesson(model: nn.Module) -> str:
    verdict = measure.paired_test(_right_on_test(model), _right_on_test(vit_student())).verdict
    return verdict.replace("the first", "yours").replace("the second", "the lesson's")


_GIVES = "what you give"
_LAYERS = "how many layers it has"
_SIZE = "its parameters"
_ACCURACY = "its accuracy on the held-out pictures"
_BEATS = "paired test against the lesson's student, on the held-out pictures"
_TWO = {_GIVES: "a model", _LAYERS: Range(1, 2), _SIZE: Range(1, 19_658)}

two_layer_student = Check(
    name="two_layer_student",
    right=Seen({**_TWO, _ACCURACY: Range(0, 1), _BEATS: "yours is better"}),
    tries={
        _GIVES: lambda model: "a model" if isinstance(model, nn.Module) else type(model).__name__,
        _LAYERS: _layers,
        _SIZE: lambda model: sum(p.numel() for p in model.parameters()),
        _ACCURACY: lambda model: _right_on_test(model).double().mean().item(),
        _BEATS: lambda model: _against_lesson(model),
    },
    mistakes=(
        Mistake(
            "the result of `distill` for its model",
            "distill gives the student and its history; the student is its attribute `model`.",
            Seen({_GIVES: "Fitted"}),
        ),
        Mistake(
            "no transformer",
            "A small CNN reads digits well, but the question is how much two of the teacher's layers "
            "can learn.",
            Seen({_LAYERS: 0}),
        ),
        Mistake(
            "more than two layers",
            "Is it the teacher, or was a student of more layers cheaper to get? Two are the budget.",
            Seen({_LAYERS: Range(3, 1000)}),
        ),
        Mistake(
            "two layers, but wider ones",
            "It has more parameters than the lesson's student. Keep the teacher's width of 32.",
            Seen({_GIVES: "a model", _LAYERS: Range(1, 2), _SIZE: Range(19_659, 1e12)}),
        ),
        Mistake(
            "it guesses",
            "One in ten is chance. Was it trained, and are you giving the trained one? distill leaves "
            "its argument as it was.",
            Seen({**_TWO, _ACCURACY: Range(0, 0.2)}),
        ),
        Mistake(
            "the lesson's is better",
            "Look at the loss of each pass: is it still falling when you stop? Then the steps are too "
            "small or too few.",
            Seen({**_TWO, _ACCURACY: Range(0.2, 1), _BEATS: "the lesson's is better"}),
        ),
        Mistake(
            "the difference could be luck",
            "On these pictures the test cannot tell the two apart, which does not make them equal. "
            "What would change your student more than a detail?",
            Seen({**_TWO, _ACCURACY: Range(0.2, 1), _BEATS: "no significant difference"}),
        ),
    ),
    checked="at most two layers of width 32, better on 1,000 test pictures at the 5 % level",
    not_checked="the four passes, other seeds, whether you looked at those pictures before",
)
