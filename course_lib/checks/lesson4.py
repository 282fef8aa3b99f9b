"""Checks for the exercises of lesson 4, DistilBERT."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from course_lib import datasets, evaluation
from course_lib.checks.checking import Check, call, calls, slopes
from course_lib.checks.comparing import Range, show, unchanged
from course_lib.checks.given import vit_student
from course_lib.checks.given import vit_teacher as vit_teacher  # the labs ask for it here
from course_lib.checks.guarding import EMPTY, Mistake, Seen, TroubleError
from course_lib.structured.transformers import layers_of

# --- 1 · which layers -----------------------------------------------------------------------------

layers_to_take = Check(
    name="layers_to_take",
    right="""
def layers_to_take(of, take):
    return list(range(0, of, of // take))
""",
    tries={
        "layers_to_take(of=12, take=6)": call(12, 6),
        "layers_to_take(of=6, take=2)": call(6, 2),
        "layers_to_take(of=6, take=1)": call(6, 1),
        "layers_to_take(of=4, take=4)": call(4, 4),
        "layers_to_take(of=15, take=3)": call(15, 3),
        "many numbers of layers": calls(
            {
                f"{take} of {of}": (of, take)
                for of, take in ((24, 3), (24, 8), (9, 3), (10, 5), (7, 1))
            }
        ),
        "can each of them index a list of layers?": lambda answer: all(
            hasattr(one, "__index__") and "." not in str(one) for one in answer(12, 6)
        ),
    },
    mistakes="""
counted from 1 | People number layers from 1, Python from 0. With 1 for 0 the layer that reads the embeddings is lost, and each of yours stands one place too high.
  range(0, of, of // take) => range(1, of + 1, of // take)
the last layers only | They were trained to read what the first ones wrote, and here nobody has written it. Lesson 4's picture of the untrained students shows how badly that begins.
  range(0, of, of // take) => range(of - take, of)
the first layers only | They fit each other, but what the upper ones do is lost. DistilBERT spreads its layers evenly over the teacher's.
  range(0, of, of // take) => range(take)
the upper one of each group, not the lower | Evenly spread, but without layer 0, which alone has learned to read the embeddings.
  range(0, of, => range(of // take - 1, of,
the middle one of each group | Evenly spread, but without layer 0, which alone has learned to read the embeddings.
  range(0, of, => range(of // take // 2, of,
every other one, however many are wanted | The step is 2 only where half of the layers stay. For two of six it is 3.
  of // take => 2
every other one, as many as are wanted | The step is 2 only where half of the layers stay. For two of six it is 3.
  range(0, of, of // take) => range(0, 2 * take, 2)
every other one, up to as many as are wanted | The step is 2 only where half of the layers stay. For two of six it is 3.
  list(range(0, of, of // take)) => list(range(0, of, 2))[:take]
steps of `take` | That many layers are wanted; they lie of // take apart.
  of // take => take
first and last are both fixed | From end to end the steps are uneven: some neighbors stay and other gaps are wide. The first layer of each group is meant.
  list(range(0, of, of // take)) => torch.linspace(0, of - 1, take).round().long()
the numbers are not whole | layers[2.0] stops with an error. // divides whole numbers into whole ones.
  ? before: right
  ? index a list of layers?: no
the first group is left out | Each group gives its first layer; that of the first group is 0.
  range(0, of, of // take) => range(of // take, of, of // take)
""",
    checked="6 of 12, 2 of 6, 1 of 6, all of 4 and 3 of 15",
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


def _teacher_stays(teacher: Any, student: Any) -> bool | str:
    if len(teacher.bert.encoder.layer) != 5 or not _equal(_bert(), teacher):
        return False
    if not teacher.training:
        return "it is in eval mode"
    said = teacher.config.num_hidden_layers
    return True if said == 5 else f"its config says {said} layers"


def _teacher_notices(teacher: Any, student: Any) -> bool:
    for parameter in student.parameters():
        parameter.data.zero_()
    return not _equal(_bert(), teacher) or student.config is teacher.config


def _answers(student: Any) -> Tensor:
    ids = torch.tensor([[1, 5, 7, 2], [1, 9, 2, 0]])
    with torch.no_grad():
        return student.eval()(input_ids=ids, attention_mask=(ids > 0).long()).logits


def _student(look: Callable[[Any, Any], Any], layers: tuple[int, ...] = (1, 4)) -> Any:
    def attempt(answer: Callable[..., Any]) -> Any:
        teacher = copy.deepcopy(_bert()).train()
        student = answer(teacher, layers)
        if student is None or student is ...:
            raise TroubleError(EMPTY, str(student))
        return look(teacher, student)

    return attempt


def _of_student(look: Callable[[Any], Any], layers: tuple[int, ...] = (1, 4)) -> Any:
    return _student(lambda teacher, student: look(student), layers)


def _trainable(model: nn.Module) -> bool:
    return all(parameter.requires_grad for parameter in model.parameters())


_KIND = "the type of what you give"
_STAYS = "does the teacher still have its five layers, the same weights, config and mode?"
_NOTICES = "all weights of the student are set to 0: do the teacher's change, too? Or is the config shared?"
_FROZEN = "can student and teacher both still be trained?"
_WHICH = "layers (1, 4) of five: which of the teacher's layers the student has"
_WORDS = "are its embeddings those of the teacher?"
_HEAD = "are its pooler and its classifier those of the teacher?"
_CONFIG = "what its config says: num_hidden_layers"
_WHICH3 = "layers (0, 2, 3): which of the teacher's layers the student has"
_FOUND = "how many tensors does parameters() find in the student?"
_OWN = f"? {_KIND}: BertForSequenceClassification\n  ? {_STAYS}: yes\n  ? {_NOTICES}: no"

student_from = Check(
    name="student_from",
    right="""
def student_from(teacher, layers):
    student = copy.deepcopy(teacher)
    encoder = student.bert.encoder
    encoder.layer = nn.ModuleList(encoder.layer[i] for i in layers)
    student.config.num_hidden_layers = len(layers)
    return student
""",
    tries={
        _KIND: _of_student(lambda student: type(student).__name__),
        _STAYS: _student(_teacher_stays),
        _NOTICES: _student(_teacher_notices),
        _WHICH: _of_student(_which),
        _WORDS: _of_student(lambda one: _equal(one.bert.embeddings, _bert().bert.embeddings)),
        _HEAD: _of_student(
            lambda one: (
                _equal(one.classifier, _bert().classifier)
                and _equal(one.bert.pooler, _bert().bert.pooler)
            )
        ),
        _CONFIG: _of_student(lambda student: student.config.num_hidden_layers),
        _FROZEN: _student(lambda teacher, student: _trainable(teacher) and _trainable(student)),
        _WHICH3: _of_student(_which, (0, 2, 3)),
        _FOUND: _of_student(lambda student: len(list(student.parameters()))),
        "layers (1, 4): its logits for two short sentences": _of_student(_answers),
    },
    mistakes=f"""
a list of layers, not a model | Layers alone read no words and give no answer. Put them into a copy of the teacher.
  ? {_KIND}: ModuleList
the encoder without its classifier | The head comes along, too: give the whole BertForSequenceClassification.
  ? {_KIND}: BertModel
the teacher itself is cut | It is still needed, to teach. Copy first, then take layers out of the copy.
  ? {_STAYS}: no
the config is shared with the teacher | It now says of the teacher, too, that it has fewer layers. The student needs a copy of its own.
  ? {_STAYS}: its config says 2 layers
the teacher is left in eval mode | Whoever goes on training it trains without dropout. A copy of it needs no switch.
  ? {_STAYS}: it is in eval mode
no layer is left | Taking one layer out of a list moves all behind it: the next number means another layer. Make a new list.
  {_OWN}
  ? {_WHICH}: none
the student shares tensors with its teacher | They are the same tensors, not equal ones: every training step of the student also moves the teacher, and the lesson is lost while it is given.
  ? {_STAYS}: yes
  ? {_NOTICES}: yes
all five layers are still there | A config is read when a model is built. A smaller number in it takes no layer out of a model that exists.
  {_OWN}
  ? {_WHICH}: 0 and 1 and 2 and 3 and 4
the layers are new | A student of the right shape with random weights: it starts from nothing. Copy the teacher's weights into it.
  {_OWN}
  ? {_WHICH}: new and new
the first layers, whichever were asked for | A state dict is loaded by names, and the student's layers are named 0 and 1. So they get the teacher's 0 and 1.
  {_OWN}
  ? {_WHICH}: 0 and 1
the last layers, whichever were asked for | `layers` names which ones the student gets, not how many.
  for i in layers => for i in range(5 - len(layers), 5)
counted from 1 | The layers are counted from 0 here, as everywhere in PyTorch. Yours are one place lower.
  {_OWN}
  ? {_WHICH}: 0 and 3
one place too high | The layers are counted from 0 here, and so are the numbers in `layers`.
  encoder.layer[i] for => encoder.layer[(i + 1) % 5] for
the same layer again and again | `layers` names one for each place: the i-th of the list for the i-th of the student.
  encoder.layer[i] for i in layers => copy.deepcopy(encoder.layer[layers[0]]) for i in layers
a plain list, in which PyTorch finds no parameters | An optimizer would not train these layers, and no file would hold them. Put them into an nn.ModuleList.
  - encoder.layer = nn.ModuleList(encoder.layer[i] for i in layers)
  + chosen = [encoder.layer[i] for i in layers]
  +     del encoder.layer
  +     encoder.layer = chosen
the layers that should go have stayed | `layers` names those that the student keeps.
  {_OWN}
  ? {_WHICH}: 0 and 2 and 3
the embeddings are new | The layers expect the teacher's words and find noise. The embeddings are most of what a small model knows: copy them, too.
  {_OWN}
  ? {_WHICH}: 1 and 4
  ? {_WORDS}: no
the pooler or the classifier is new | Its thoughts are the teacher's, its answers are random. The head is copied, too.
  {_OWN}
  ? {_WHICH}: 1 and 4
  ? {_WORDS}: yes
  ? {_HEAD}: no
the config still says five layers | It works until it is saved: from_pretrained then builds five layers, and fills three of them with noise.
  {_OWN}
  ? {_WHICH}: 1 and 4
  ? {_WORDS}: yes
  ? {_HEAD}: yes
  ? {_CONFIG}: 5
student or teacher is left frozen | requires_grad_(False) stays behind: a frozen student learns nothing, and a frozen teacher cannot be trained on.
  ? before: right
  ? {_FROZEN}: no
""",
    checked="a BERT of five layers, two choices of layers; that both models are whole, apart, trainable",
    not_checked="other architectures, train or eval mode, saving and loading",
)

# --- 3 · the cosine loss with its mask ------------------------------------------------------------

_S3 = torch.tensor([[[1.0, 0.2], [0.0, 2.0], [1.0, 1.3]], [[3.0, 4.0], [5.0, 0.0], [0.4, 1.0]]])
_T3 = torch.tensor([[[2.0, 0.0], [3.0, -1.7], [-1.0, 1.1]], [[4.0, 2.9], [0.0, 1.0], [0.0, -1.0]]])
_MASK3 = torch.tensor([[1, 1, 1], [1, 0, 1]])
_NAN3 = torch.where(_MASK3[..., None] == 1, _T3, torch.nan)

cosine_loss = Check(
    name="cosine_loss",
    right="""
def cosine_loss(student, teacher, mask):
    words = mask.bool()
    mine, theirs = student[words], teacher.detach()[words]  # [words, width]
    return (1 - F.cosine_similarity(mine, theirs, dim=-1)).mean()
""",
    tries={
        "student [[[1, 0.2], [0, 2]]], teacher [[[2, 0], [3, -1.7]]], mask [[1, 1]]": call(
            _S3[:1, :2], _T3[:1, :2], _MASK3[:1, :2]
        ),
        "two sentences of three words and of two, the second with a place of padding": call(
            _S3, _T3, _MASK3
        ),
        "the same, with nan in the teacher's padding | nan in the padding": call(
            _S3, _NAN3, _MASK3
        ),
        "with nan in the teacher's padding: its gradient | nan in the padding": slopes(
            lambda s, t, mask: {"student": s}, _S3, _NAN3, _MASK3
        ),
        "the first of these: its gradient by both sides | gradient": slopes(
            lambda s, t, mask: {"student": s, "teacher": t}, _S3, _T3, _MASK3
        ),
    },
    mistakes="""
the cosine itself, not 1 − cosine | Training makes a loss smaller. A smaller cosine turns the student's thoughts away from the teacher's, in the end to their opposite.
  1 - F => F
minus the cosine, without the 1 | It has the same gradient, but it is not 0 where both agree.
  (1 - F => (-F
the absolute value of the cosine | Vectors that point in opposite directions are then as good as equal ones.
  F.cosine_similarity(mine, theirs, dim=-1) => F.cosine_similarity(mine, theirs, dim=-1).abs()
cosine_embedding_loss is told −1 | With −1 it pushes the two apart. 1 says that they belong together.
  (1 - F.cosine_similarity(mine, theirs, dim=-1)) => F.cosine_similarity(mine, theirs, dim=-1).clamp(min=0)
one vector for each sentence | Each word has an angle of its own: average the losses of the words, not their vectors.
  = pad, n = ~mask.bool()[..., None], mask.sum(1, keepdim=True)
  = mine, theirs = (x.masked_fill(pad, 0).sum(1) / n for x in (student, teacher.detach()))
  = return (1 - F.cosine_similarity(mine, theirs, dim=-1)).mean()
the mask is an index, not a bool | An integer mask picks sentences 0 and 1 again and again. A bool mask picks where it is True.
  mask.bool() => mask.long()
the angle for its cosine | The loss is 1 − cosine; near 0 the angle has no useful gradient.
  (1 - F.cosine_similarity(mine, theirs, dim=-1)) => F.cosine_similarity(mine, theirs, dim=-1).acos()
the square of the cosine | Vectors that point in opposite directions are then as good as equal ones.
  F.cosine_similarity(mine, theirs, dim=-1) => F.cosine_similarity(mine, theirs, dim=-1).square()
negative cosines are cut off | Below 0 there is more to learn than at 0: leave the sign.
  F.cosine_similarity(mine, theirs, dim=-1) => F.cosine_similarity(mine, theirs, dim=-1).clamp(min=0)
as many places from the left as there are words | The padding need not stand at the end: the mask says where it is.
  words = mask.bool() => words = torch.arange(mask.shape[1]) < mask.sum(1, keepdim=True)
the mask is not used | The padding counts like words. In a batch of short sentences the student mostly learns to imitate the teacher on nothing.
  = return (1 - F.cosine_similarity(student, teacher.detach(), dim=-1)).mean()
divided by all positions instead of the words | The padding adds nothing to the sum, but it still counts in the division: more padding, smaller loss. And 0 · nan is nan: pick what counts.
  = return ((1 - F.cosine_similarity(student, teacher.detach(), dim=-1)) * mask).mean()
picked, but divided by all positions | The sum is right. Divide it by the number of real words: otherwise the loss falls with every place of padding.
  .mean() => .sum() / mask.numel()
a mean over sentences of their means | A sentence of one word then counts as much as one of thirty. Divide once, by the number of all real words.
  = each = 1 - F.cosine_similarity(student, teacher.detach(), dim=-1)
  = return (torch.where(mask.bool(), each, 0.0).sum(1) / mask.sum(1)).mean()
divided by the number of sentences | It is a mean over words: long sentences would make larger losses.
  .mean() => .sum() / len(mask)
multiplied where it should be picked | Padding can hold nan, and 0 · nan is nan. Index with the mask, or use torch.where.
  = each = 1 - F.cosine_similarity(student, teacher.detach(), dim=-1)
  = return (each * mask).sum() / mask.sum()
nan in the padding spoils the gradient | 0 · nan is nan backwards, too, and one such place turns every weight into nan. Pick the words before you compute, not the losses afterwards.
  = each = 1 - F.cosine_similarity(student, teacher.detach(), dim=-1)
  = return torch.where(mask.bool(), each, 0.0).sum() / mask.sum()
the vectors are multiplied by the mask | A vector of zeros has no angle, and the padding counts in the mean. And 0 · nan is nan: pick the words.
  = m = mask[..., None]
  = return (1 - F.cosine_similarity(student * m, teacher.detach() * m, dim=-1)).mean()
one vector for the whole batch | Each word has an angle of its own. The loss is the mean over the words.
  F.cosine_similarity(mine, theirs, dim=-1) => F.cosine_similarity(mine.flatten(), theirs.flatten(), dim=0)
along the words instead of the hidden numbers | cosine_similarity takes dim=1 if you do not say otherwise, and that is the length here. The vectors of one word lie in the last dimension.
  = return (1 - F.cosine_similarity(student, teacher.detach())).mean()
not divided by the lengths of the vectors | A product of two vectors also grows with their lengths. The cosine looks at the angle alone.
  F.cosine_similarity(mine, theirs, dim=-1) => (mine * theirs).sum(-1)
the wrong side is detached | The student is to learn, the teacher is to stay: take the *teacher's* side out of the graph.
  student[words], teacher.detach()[words] => student.detach()[words], teacher[words]
the mean squared error | It looks at the lengths of the vectors, too. The cosine looks at the angle alone.
  = return F.mse_loss(student[mask.bool()], teacher.detach()[mask.bool()])
the sum for the mean | A longer batch then weighs more against the other two losses.
  .mean() => .sum()
""",
    checked="angles of several sizes, one above 90°, padding, nan in it, which side the gradient reaches",
    not_checked="a batch without any word, vectors of length 0, half precision",
)

# --- 4 · the triple loss --------------------------------------------------------------------------

_S4 = torch.tensor([[1.0, 0.1, -1.0], [0.3, 2.0, 0.5], [0.2, 0.5, 1.0]])
_T4 = torch.tensor([[3.0, 1.0, -2.0], [0.5, 1.1, 0.0], [1.0, -1.0, 2.0]])
_MASK4 = torch.tensor([[1, 1, 1], [0, 1, 0], [1, 0, 1]])
_H4 = (
    torch.tensor([[1.0, 2.0], [0.1, 1.0], [3.0, 1.0]]).expand(3, 3, 2)
    + torch.eye(3)[..., None] * 0.7
)
_G4 = (
    torch.tensor([[1.0, 1.2], [2.0, 0.0], [-1.0, 1.0]]).expand(3, 3, 2)
    - torch.eye(3)[..., None] * 0.4
)
_LABELS4, _SOME4, _NONE4 = (torch.tensor(row) for row in ([2, 0, 1], [2, 0, -100], [-100] * 3))


def _output(logits: Tensor, hidden: Tensor, layers: int = 2) -> SequenceClassifierOutput:
    """What a model says: the embeddings, layers, and the last one; a teacher has more of them."""
    between = [hidden.roll(i, 1) * (1 + i / 3) - i / 7 for i in range(1, layers)]
    states = (hidden.flip(1) + 0.5, *between, hidden.clone())
    return SequenceClassifierOutput(logits=logits.clone(), hidden_states=states)


def _both4() -> tuple[Any, ...]:
    return _output(_S4, _H4), _output(_T4, _G4, 4), _SOME4, _MASK4


def _sides4(student: Any, teacher: Any, *_: Any) -> dict[str, Tensor]:
    return {
        **{"student's logits": student.logits, "student's last states": student.hidden_states[-1]},
        **{"teacher's logits": teacher.logits, "teacher's last states": teacher.hidden_states[-1]},
    }


triple_loss = Check(
    name="triple_loss",
    right="""
def triple_loss(student, teacher, labels, mask):
    T, told = 2, teacher.logits.detach()
    log_q, p = F.log_softmax(student.logits / T, -1), F.softmax(told / T, -1)
    soft = T**2 * F.kl_div(log_q, p, reduction="batchmean")

    known = (labels != -100).sum().clamp(min=1)
    hard = F.cross_entropy(student.logits, labels, reduction="sum") / known

    words = mask.bool()
    mine, theirs = student.hidden_states[-1][words], teacher.hidden_states[-1].detach()[words]
    cosine = (1 - F.cosine_similarity(mine, theirs, dim=-1)).mean()
    return 5 * soft + 2 * hard + cosine
""",
    tries={
        "both say and think the same, labels [2, 0, 1]: only the hard loss is left": call(
            _output(_S4, _H4), _output(_S4, _H4, 4), _LABELS4, _MASK4
        ),
        "they think the same, but say different things: the hard and the soft loss": call(
            _output(_S4, _H4), _output(_T4, _H4, 4), _LABELS4, _MASK4
        ),
        "they say the same, but think differently: the hard and the cosine loss": call(
            _output(_S4, _H4), _output(_S4, _G4, 4), _LABELS4, _MASK4
        ),
        "all three, labels [2, 0, −100]": call(*_both4()),
        "all three, a single sentence has a label, labels [-100, 1, -100]": call(
            *_both4()[:2], torch.tensor([-100, 1, -100]), _MASK4
        ),
        "all three, no sentence has a label (all −100) | a batch without a label": call(
            *_both4()[:2], _NONE4, _MASK4
        ),
        "all three: the gradient by both sides | gradient": slopes(_sides4, make=_both4),
    },
    mistakes="""
the weights are in another order: 5 for the labels | 5 belongs to the soft loss, 2 to the hard one. The labels say less than the teacher does.
  5 * soft + 2 * hard => 2 * soft + 5 * hard
the weights are in the order 1, 2, 5 | 5 belongs to what the teacher answers, 1 to what it thinks.
  5 * soft + 2 * hard + cosine => soft + 2 * hard + 5 * cosine
the weights are in the order 5, 1, 2 | 2 belongs to the labels, 1 to what the teacher thinks.
  2 * hard + cosine => hard + 2 * cosine
the weights are missing | The three losses have different sizes. DistilBERT's code weighs them 5, 2 and 1.
  5 * soft + 2 * hard => soft + hard
the weights are divided by their sum | It has the same minimum, but each step is an eighth as long: the learning rate no longer means what it meant.
  5 * soft + 2 * hard + cosine => (5 * soft + 2 * hard + cosine) / 8
the soft loss is missing | Three losses, each with its weight: print them apart before you add them up.
  5 * soft + =>
the hard loss is missing | Where there are labels they help: print the three losses apart before you add them up.
  + 2 * hard =>
the cosine loss is missing | Three losses, each with its weight: print them apart before you add them up.
  hard + cosine => hard
the hard loss asks the teacher, not the labels | The teacher's argmax for the truth: its errors are then taught twice, and the labels never.
  F.cross_entropy(student.logits, labels, reduction="sum") / known => F.cross_entropy(student.logits, told.argmax(-1))
the hard loss looks at the teacher's logits | Cross-entropy with the labels must teach the student.
  F.cross_entropy(student.logits => F.cross_entropy(told
temperature on the hard loss, too | Labels know no temperature: the student will be used at T = 1.
  F.cross_entropy(student.logits => F.cross_entropy(student.logits / T
the soft loss without T² | At T = 2 its gradient is four times too small, so that the weights 5 and 2 stand for something else.
  T**2 * =>
cross-entropy with the teacher for KL | It is KL plus the teacher's own entropy: the same gradient, but not 0 where both agree.
  F.kl_div(log_q, p, reduction="batchmean") => -(p * log_q).sum(-1).mean()
the soft loss at T = 1 | Both sides are divided by T = 2 before the softmax; at 1 the teacher's doubts are hardly heard.
  T, told = 2 => T, told = 1
T² is there, but the logits are not divided by T | The factor makes up for a division that did not take place: the soft loss is four times too strong, and not softer.
  student.logits / T => student.logits
  told / T => told
temperature on one side alone | Both sides need the same T.
  told / T => told
student and teacher are swapped in kl_div | kl_div takes the student's logarithms first, the teacher's probabilities second.
  student.logits / T => told / T
  F.softmax(told / T => F.softmax(student.logits / T
the first hidden state for the last | hidden_states[0] is what comes out of the embeddings, which student and teacher share. The thoughts are at the end of the tuple.
  student.hidden_states[-1] => student.hidden_states[0]
  teacher.hidden_states[-1] => teacher.hidden_states[0]
the teacher's layer is counted as the student's | The teacher has more layers: the last one of the student is number 2, that of the teacher another one. −1 is the last of each.
  teacher.hidden_states[-1] => teacher.hidden_states[len(student.hidden_states) - 1]
all hidden states, not the last alone | The loss of the text compares what comes out at the end. Student and teacher have other numbers of layers: their middle ones are no pairs.
  mine, theirs = student.hidden_states[-1][words], teacher.hidden_states[-1].detach()[words] => pairs = list(zip(student.hidden_states, teacher.hidden_states))
  cosine = (1 - F.cosine_similarity(mine, theirs, dim=-1)).mean() => cosine = sum((1 - F.cosine_similarity(a[words], b.detach()[words], dim=-1)).mean() for a, b in pairs) / len(pairs)
probabilities into cross_entropy | cross_entropy takes logits and applies the softmax itself.
  F.cross_entropy(student.logits => F.cross_entropy(student.logits.softmax(-1)
the last hidden state but one | hidden_states holds the embeddings' output, then each layer's: −1 is the last.
  student.hidden_states[-1] => student.hidden_states[-2]
  teacher.hidden_states[-1] => teacher.hidden_states[-2]
the padding counts in the cosine loss | The short sentences are filled up. Only where the mask is 1 is there a thought.
  words = mask.bool() => words = torch.ones_like(mask).bool()
the cosine loss is shared out to the padding, too | The sum is right. Divide it by the number of real words.
  dim=-1)).mean() => dim=-1)).sum() / mask.numel()
a mean over sentences in the cosine loss | Divide once, by the number of all real words.
  (1 - F.cosine_similarity(mine, theirs, dim=-1)).mean() => ((1 - F.cosine_similarity(student.hidden_states[-1], teacher.hidden_states[-1].detach(), dim=-1)) * mask).sum(1).div(mask.sum(1)).mean()
the cosine itself, not 1 − cosine | A loss gets smaller: yours turns the student's thoughts away from the teacher's.
  1 - F.cosine => F.cosine
the hard loss is shared out to unlabeled sentences, too | It is a mean over the sentences with a label. Divided by all, it fades the more unlabeled text there is.
  / known => / len(labels)
the soft loss is that of labeled sentences alone | The teacher has something to say of every sentence: that is what unlabeled text is for.
  F.kl_div(log_q, p, reduction="batchmean") => F.kl_div(log_q[labels != -100], p[labels != -100], reduction="sum") / (labels != -100).sum().clamp(min=1)
label 0 is taken for no label | −100 alone means that there is none: class 0 is a class.
  (labels != -100) => (labels > 0)
  student.logits, labels, => student.logits, torch.where(labels > 0, labels, -100),
the hard loss is left out as soon as one label is missing | The sentences that have a label still count.
  hard = F.cross_entropy => hard = 0 if (labels == -100).any() else F.cross_entropy
−100 counts as a class | It means that there is no label. Yours reads it as the first class.
  F.cross_entropy(student.logits, labels, reduction="sum") / known => F.cross_entropy(student.logits, labels.clamp(min=0))
a batch without a label gives nan | The mean over no sentence is 0 / 0, and one such batch turns every weight into nan. Without labels the hard loss is 0.
  F.cross_entropy(student.logits, labels, reduction="sum") / known => F.cross_entropy(student.logits, labels)
without a label the whole loss is 0 | Only the hard loss is 0 there: the teacher still has something to say.
  return 5 => return (labels != -100).any() * 5
the gradient flows into the teacher | The teacher would learn from its pupil. Take its logits and its hidden states out of the graph.
  teacher.logits.detach() => teacher.logits
  [-1].detach() => [-1]
the gradient flows into the teacher's logits | Its hidden states are out of the graph, its answers are not.
  teacher.logits.detach() => teacher.logits
the gradient flows into the teacher's thoughts | Its answers are out of the graph, its hidden states are not.
  [-1].detach() => [-1]
nothing is learned by the soft loss | The value is right, but this part is cut off from the student.
  F.log_softmax(student.logits / T => F.log_softmax(student.logits.detach() / T
nothing is learned by the hard loss | The value is right, but this part is cut off from the student.
  F.cross_entropy(student.logits => F.cross_entropy(student.logits.detach()
three losses instead of one | A loss is one number: add the three up, each with its weight.
  5 * soft + 2 * hard + cosine => 5 * soft, 2 * hard, cosine
mean for batchmean | This reduction also divides by the number of classes: with three of them the soft loss is three times too small.
  batchmean => mean
""",
    checked="each loss apart and all three, padding, some and all labels missing, both sides' gradients",
    not_checked="logits of each word (as in masked language models), two widths, other T",
)

# --- 5 · a latency, measured properly -------------------------------------------------------------


class _Machine:
    """A machine whose time only passes where something is done: so every answer is exact.

    Tokenizing takes 10 ms. A model's first call takes 100 ms longer than the later ones; some of
    these are held up by something else.
    """

    def __init__(self, delays: tuple[float, ...]) -> None:
        self.now, self.looks, self.delays = 50.0, 0, delays  # seconds; ms
        self.calls: list[tuple[str, bool, bool]] = []  # model, training mode, gradient; when timed
        self.trained = False  # whether a model was in training mode at any call
        self.models: dict[str, nn.Module] = {}

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
        self.dropout = nn.Dropout()

    def forward(self, input_ids: Tensor) -> Tensor:
        machine = self.machine
        machine.trained |= self.training or self.dropout.training
        if machine.looks:
            machine.calls.append((self.name, self.training, torch.is_grad_enabled()))
        delay = machine.delays[self.called % len(machine.delays)] if self.called else 100.0
        self.called += 1
        machine.now += (self.ms + delay) / 1000
        return torch.zeros(1, 2)


_HELD_UP = (0.1, 0.3, 0.0, 7.0, 0.2)


def _on_machine(
    look: Callable[[_Machine, Any], Any], rounds: int, delays: Any = _HELD_UP, mode: bool = True
) -> Any:
    """A try: two models, or for one round a single one; `look` sees the machine and the answer."""

    def attempt(answer: Callable[..., Any]) -> Any:
        machine = _Machine(delays)
        sizes = {"small": 2.0, "large": 6.0} if rounds > 1 else {"small": 2.0}
        models = {name: _Timed(name, ms, machine).train(mode) for name, ms in sizes.items()}
        machine.models.update(models)
        given = answer(models, machine.tokenizer, "A moving film.", rounds, machine.clock)
        if given is None or given is ...:
            raise TroubleError(EMPTY, str(given))
        return look(machine, given)

    return attempt


def _in_turns(machine: _Machine, given: Any) -> bool:
    names = [name for name, _, _ in machine.calls][-10:]  # before these it may have warmed up
    rounds = [set(names[i : i + 2]) for i in range(0, len(names), 2)]
    return bool(rounds) and all(len(one) == 2 for one in rounds)


_LOOKS = "does it look at the clock that it is given?"
_EVER = "is a model ever called in training mode?"
_BACK = "models that came in eval mode: is one in training mode afterwards?"
_TRAINS = "is a model in training mode while it is timed?"
_GRADS = "does autograd keep a record while a model is timed?"
_ONE = "one round of one model: ms. It takes 2; the first call 100 more, the tokenizer 10"
_TURNS = "two models: do they take turns, so that each is timed once in each round?"
_FIVE = "five rounds of 2 and 6 ms, each plus 0.3, 0, 7 (another program), 0.2 and 0.1 ms: ms"
_FOUR = "four rounds of 2 and 6 ms, each plus 1.5, 0.2, 0.9 and 0.4 ms: ms"
_QUIET = f"? {_LOOKS}: yes\n  ? {_TRAINS}: no\n  ? {_GRADS}: no"

latency = Check(
    name="latency",
    right="""
def latency(models, tokenizer, line, rounds, clock):
    batch = tokenizer(line)
    times = {name: [] for name in models}
    with torch.inference_mode():
        for model in models.values():
            model.eval()
            model(**batch)  # warm-up
        for _ in range(rounds):
            for name, model in models.items():
                start = clock()
                model(**batch)
                times[name].append(1000 * (clock() - start))
    return {name: statistics.median(row) for name, row in times.items()}
""",
    tries={
        _LOOKS: _on_machine(lambda machine, given: machine.looks > 0, 5),
        _TRAINS: _on_machine(lambda machine, given: any(train for _, train, _ in machine.calls), 5),
        _GRADS: _on_machine(lambda machine, given: any(grad for _, _, grad in machine.calls), 5),
        _EVER: _on_machine(lambda machine, given: machine.trained, 5),
        _BACK: _on_machine(
            lambda machine, given: any(m.training for m in machine.models.values()), 5, mode=False
        ),
        _ONE: _on_machine(
            lambda machine, given: given["small"] if isinstance(given, Mapping) else given,
            1,
            (0.0,),
        ),
        _TURNS: _on_machine(_in_turns, 5),
        _FIVE: _on_machine(lambda machine, given: given, 5),
        f"{_FOUR} | an even number of rounds": _on_machine(
            lambda machine, given: given, 4, (0.4, 1.5, 0.2, 0.9)
        ),
    },
    mistakes=f"""
another clock than the given one | Call clock() before and after each model: it gives seconds. This check gives you one that it can read; outside you give time.perf_counter.
  ? {_LOOKS}: no
the models are timed in training mode | Dropout costs time and is not there in use. Is it eval(), with its brackets, and before the clock runs?
  ? {_LOOKS}: yes
  ? {_TRAINS}: yes
autograd keeps its record meanwhile | Eval mode does not switch it off. What is kept for a backward pass costs time and memory that nobody needs here.
  ? {_LOOKS}: yes
  ? {_TRAINS}: no
  ? {_GRADS}: yes
what came in eval mode is left in training mode | train() at the end is no way back: dropout is then on for whoever asks next. Leave the models in eval mode, or give each its own mode back.
  ? before: right
  ? {_BACK}: yes
the warm-up is among the timed calls | It is much slower than any later one: call each model once before you look at the clock, and forget that time.
  model(**batch)  # warm-up =>
  range(rounds) => range(rounds + 1)
the clock is started once a round | The second model's time then has the first one's in it: look at the clock right before each call.
  - for name, model in models.items():
  -                 start = clock()
  + start = clock()
  +             for name, model in models.items():
one row of times for all models | Each model has a median of its own.
  row) for name, row in times.items() => sum(times.values(), [])) for name in times
no warm-up | The first call of a model sets up memory and threads, and is much slower than any later one. Call each model once before you look at the clock.
  {_QUIET}
  ? {_ONE}: 102 to 112
tokenizing is timed, too | It takes the same time for every model, so that it hides how they differ. Prepare the batch first, once.
  {_QUIET}
  ? {_ONE}: 12.0
the mean, not the median | One call that another program held up moves the mean of all. The median does not mind it.
  statistics.median(row) => statistics.mean(row)
the fastest, not the median | The best case is what a user hardly ever sees; and it is smaller the longer you measure.
  statistics.median(row) => min(row)
the slowest, not the median | The worst case is mostly another program's. The median does not mind it.
  statistics.median(row) => max(row)
the first round for all of them | Each round is measured so that one that was held up does not decide. Take the median of all.
  statistics.median(row) => row[0]
the last round for all of them | Each round is measured so that one that was held up does not decide. Take the median of all.
  statistics.median(row) => row[-1]
the warm-up is in training mode | It draws dropout and moves the batch norms' averages: another computation than the one that is timed. eval() comes before the first call.
  ? before: right
  ? {_EVER}: yes
the lower of the two middle times | For an even number of rounds the median is the mean of the two in the middle. torch.median and statistics.median_low take the lower one.
  statistics.median(row) => statistics.median_low(row)
the upper of the two middle times | For an even number of rounds the median is the mean of the two in the middle.
  statistics.median(row) => statistics.median_high(row)
not sorted before the middle is taken | The median is the middle of the *sorted* times.
  statistics.median(row) => row[len(row) // 2]
the sum of all rounds | A latency is the time of one call.
  statistics.median(row) => sum(row)
one model after the other, not in turns | A laptop that gets warm, or another program, then hits one model alone. In turns they share the noise.
  {_QUIET}
  ? {_ONE}: 2.0
  ? {_TURNS}: no
one number for all models | Give a dict: the name of each model → its own median.
  {_QUIET}
  ? {_TURNS}: yes
  ? {_FIVE}: 0 to 1000
seconds for milliseconds | The clock gives seconds; a thousand milliseconds are one.
  1000 * (clock() - start) => clock() - start
""",
    checked="eval mode, no gradient, warm-up, turns, tokenizing, rounds, median: on a made-up machine",
    not_checked="quartiles, threads, batch size, GPUs (they need a synchronize before each look)",
)

# --- 6 · read a paired test -----------------------------------------------------------------------


def _pair(only_a: int, only_b: int, both: int, neither: int = 0) -> tuple[Tensor, Tensor]:
    counts = torch.tensor([only_a, only_b, both, neither])
    rows = (torch.tensor(row, dtype=torch.bool) for row in ([1, 0, 1, 0], [0, 1, 1, 0]))
    a, b = (row.repeat_interleave(counts) for row in rows)
    return a, b


_NO_PAIR = Mistake(
    "not a dict with p and verdict",
    'Give {"p": a number, "verdict": one of the three sentences}.',
)
_PAIRS = {
    "6 only A, 0 only B, 3 both": _pair(6, 0, 3, 1),
    "5 only A, 0 only B, 3 both": _pair(5, 0, 3, 4),
    "1 only A, 9 only B, 40 both": _pair(1, 9, 40, 10),
    "3 only A, 1 only B, 8 both": _pair(3, 1, 8, 2),
    "14 only A, 3 only B, 20 both": _pair(14, 3, 20, 7),
    "2 only A, 6 only B, 9 both": _pair(2, 6, 9, 2),
    "2 only A, 2 only B, 5 both | as many on both sides": _pair(2, 2, 5, 1),
    "always alike | two models that are always alike": _pair(0, 0, 8, 2),
}


def _said(answer: Callable[..., Any], pair: tuple[Tensor, Tensor], what: str) -> Any:
    given = call(*pair)(answer)
    if not isinstance(given, Mapping) or not set(given) >= {"p", "verdict"}:
        raise TroubleError(_NO_PAIR, show(given))
    return given[what]


def _says_equal(answer: Callable[..., Any]) -> bool:
    pairs = list(_PAIRS.values())[:-1]  # that of two that are always alike has a try of its own
    said = " ".join(str(_said(answer, pair, "verdict")).lower() for pair in pairs)
    return any(word in said for word in ("equal", "the same", "no difference", "identical", "tie"))


_EQUAL = "does a verdict say that the two are equal?"

compare = Check(
    name="compare",
    right="""
def compare(right_a, right_b):
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    differ = only_a + only_b
    p = binomtest(only_a, differ).pvalue if differ else 1.0
    winner = "A is better" if only_a > only_b else "B is better"
    return {"p": p, "verdict": winner if p < 0.05 else "no significant difference"}
""",
    tries={
        **{
            f"p, of sentences answered rightly by: {name}": partial(_said, pair=pair, what="p")
            for name, pair in _PAIRS.items()
        },
        _EQUAL: _says_equal,
        **{
            f"verdict, of sentences answered rightly by: {name.partition(' | ')[0]} | the verdict, though p "
            "is right": partial(_said, pair=pair, what="verdict")
            for name, pair in _PAIRS.items()
        },
    },
    mistakes=f"""
one-sided | You did not know beforehand which one would be ahead, so a split as uneven the other way counts as well. Yours is half of p, and finds differences twice as easily.
  binomtest(only_a, differ).pvalue => binomtest(max(only_a, only_b), differ, alternative="greater").pvalue
one-sided, and A must be ahead | Where B is ahead, p comes out near 1. Ask for a split this uneven in either direction.
  binomtest(only_a, differ).pvalue => binomtest(only_a, differ, alternative="greater").pvalue
one-sided, and B must be ahead | Where A is ahead, p comes out near 1. Ask for a split this uneven in either direction.
  binomtest(only_a, differ).pvalue => binomtest(only_b, differ, alternative="greater").pvalue
p above 1 | Twice one tail counts the middle twice where both sides are alike. A probability is at most 1.
  binomtest(only_a, differ).pvalue => float(2 * stats.binom.cdf(min(only_a, only_b), differ, 0.5))
the split that came is left out | A split exactly as uneven as this one counts, too: the tail begins at the number that came.
  binomtest(only_a, differ).pvalue => min(1.0, float(2 * stats.binom.cdf(min(only_a, only_b) - 1, differ, 0.5)))
where only B is right, it counts for A | In whole numbers without a sign, 0 − 1 is 255, which is above 0. Compare bools with & and ~.
  only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum()) => only_a, only_b = int((right_a ^ right_b).sum()), 0
the mid-p | It counts the split that came only half. The exact test counts it in full.
  binomtest(only_a, differ).pvalue => binomtest(only_a, differ).pvalue - float(stats.binom.pmf(only_a, differ, 0.5))
the probability of just this split | Any split as uneven as this one or more counts, in both directions: p is a sum.
  binomtest(only_a, differ).pvalue => float(stats.binom.pmf(only_a, differ, 0.5))
the probability that it is no chance (1 − p) | p is how often chance alone splits so unevenly. Small means: not by chance.
  binomtest(only_a, differ).pvalue => 1 - binomtest(only_a, differ).pvalue
two accuracies compared as if unpaired (z-test) | Both models read the same sentences. What is hard for one is hard for the other, and that shared part is no noise: count where they differ.
  - p = binomtest(only_a, differ).pvalue if differ else 1.0
  + n, x, y = len(right_a), right_a.double().mean().item(), right_b.double().mean().item()
  +     z = (x - y) / math.sqrt((x + y) * (1 - (x + y) / 2) / n)
  +     p = math.erfc(abs(z) / math.sqrt(2)) if differ else 1.0
two accuracies compared as if unpaired (Fisher's test) | The test is exact, but its question is another one: two models, each with sentences of its own. Yours read the same ones: count where they differ.
  binomtest(only_a, differ).pvalue => stats.fisher_exact([[int(r.sum()), int((~r).sum())] for r in (right_a, right_b)])[1]
two accuracies compared as if unpaired (t-test) | Both models read the same sentences: count where they differ.
  binomtest(only_a, differ).pvalue => float(stats.ttest_ind(right_a.double(), right_b.double()).pvalue)
a paired t-test | It takes right and wrong for measured numbers, and is an approximation. Take the exact test of a coin.
  binomtest(only_a, differ).pvalue => float(stats.ttest_rel(right_a.double(), right_b.double()).pvalue)
sentences that both get right are counted on both sides | They say nothing about which one is better, and they dilute those that do.
  binomtest(only_a, differ) => binomtest(int(right_a.sum()), int(right_a.sum() + right_b.sum()))
sentences on which both agree are in the total | The coin is thrown only where the two differ: divide by those alone.
  binomtest(only_a, differ) => binomtest(only_a, len(right_a))
the chi-squared approximation | It is McNemar's first formula, good for many differing sentences. Here are few, so take the exact test of a coin.
  binomtest(only_a, differ).pvalue => float(stats.chi2.sf((only_a - only_b) ** 2 / differ, 1))
the approximation with its correction | The correction by 1 brings chi-squared closer, not home. With few differing sentences take the exact test of a coin.
  binomtest(only_a, differ).pvalue => float(stats.chi2.sf((abs(only_a - only_b) - 1) ** 2 / differ, 1))
a share for p | How much more often A is ahead is no probability: ask how often a coin falls so unevenly.
  binomtest(only_a, differ).pvalue => only_a / differ
the difference of the accuracies for p | p is a probability: ask how often a coin falls so unevenly.
  binomtest(only_a, differ).pvalue => abs(only_a - only_b) / len(right_a)
where the two never differ binomtest has no throw | It stops with an error there. Nothing speaks against equal models, so p is 1.
  p = binomtest(only_a, differ).pvalue if differ else 1.0 => p = binomtest(only_a, differ).pvalue
where the two never differ p is 0 | Nothing speaks against equal models there, so p is 1.
  else 1.0 => else 0.0
sentences that both get right are taken for A's own | A's own are those that A gets right *and B does not*: ~ turns a mask round.
  right_a & ~right_b => right_a & right_b
sentences that both get right are taken for B's own | B's own are those that B gets right *and A does not*: ~ turns a mask round.
  right_b & ~right_a => right_b & right_a
no significant difference, read as equal | A small test finds nothing in models that differ a lot. It cannot tell them apart: that is all it says.
  ? {_EQUAL}: yes
p is read the wrong way round | p is how often equal models would split so unevenly by chance. A *small* one speaks against chance.
  p < 0.05 => p > 0.05
whoever has more wins, whatever p is | Someone is nearly always ahead. The test is there to ask whether that could be luck.
  p < 0.05 => only_a != only_b
a threshold of 10 % | This course asks for less than 5 %, and it was agreed on before looking.
  0.05 => 0.1
a threshold of 50 % | The level is 5 %, which is 0.05.
  0.05 => 0.5
only A can be better | B is ahead of A in one of the pairs, by more than luck explains.
  else "B is better" => else "no significant difference"
only B can be better | A is ahead of B in some of the pairs, by more than luck explains.
  "A is better" if => "no significant difference" if
where both are level someone wins | Level is never a significant difference.
  p < 0.05 => p < 0.05 or only_a == only_b
a threshold of 1 % | This course asks for less than 5 %, and it was agreed on before looking.
  0.05 => 0.01
always the same winner | Whose count is larger?
  winner = "A is better" if only_a > only_b else "B is better" => winner = "A is better"
A and B are swapped | p is the same either way; who is better is not. Who answered rightly where the other did not?
  only_a > only_b => only_a < only_b
""",
    checked="seven pairs of models: A ahead, B ahead, ahead by too few, level, never a difference",
    not_checked="several seeds, several tests on one test part, how large a difference may hide",
)

# --- 7 · challenge: beat the lesson's two layers --------------------------------------------------


def _layers(model: Any) -> int:
    return len(layers_of(model)[1]) if isinstance(model, transformers.PreTrainedModel) else 0


def _right_on_test(model: nn.Module) -> Tensor:
    return evaluation.correct(model, datasets.mnist()["test"])


def _against_lesson(model: nn.Module) -> str:
    verdict = evaluation.paired_test(_right_on_test(model), _right_on_test(vit_student())).verdict
    return verdict.replace("the first", "yours").replace("the second", "the lesson's")


_GIVES = "what you give"
_LAYERS = "how many layers it has"
_SIZE = "its parameters"
_ACCURACY = "its accuracy on the held-out pictures"
_BEATS = "paired test against the lesson's student, on the held-out pictures"
_TWO = f"? {_GIVES}: a model\n  ? {_LAYERS}: 1 to 2\n  ? {_SIZE}: 1 to 19658"

two_layer_student = Check(
    name="two_layer_student",
    right=Seen(
        {
            **{_GIVES: "a model", _LAYERS: Range(1, 2), _SIZE: Range(1, 19_658)},
            **{_ACCURACY: Range(0, 1), _BEATS: "yours is better"},
        }
    ),
    tries={
        _GIVES: lambda model: "a model" if isinstance(model, nn.Module) else type(model).__name__,
        _LAYERS: _layers,
        _SIZE: lambda model: sum(p.numel() for p in model.parameters()),
        _ACCURACY: lambda model: _right_on_test(model).double().mean().item(),
        _BEATS: lambda model: _against_lesson(model),
    },
    mistakes=f"""
the result of `distill` for its model | distill gives the student and its history; the student is its attribute `model`.
  ? {_GIVES}: Fitted
no transformer | A small CNN reads digits well, but the question is how much two of the teacher's layers can learn.
  ? {_LAYERS}: 0
more than two layers | Is it the teacher, or was a student of more layers cheaper to get? Two are the budget.
  ? {_LAYERS}: 3 to 1000
two layers, but wider ones | It has more parameters than the lesson's student. Keep the teacher's width of 32.
  ? {_GIVES}: a model
  ? {_LAYERS}: 1 to 2
  ? {_SIZE}: 19659 to 1e12
it guesses | One in ten is chance. Was it trained, and are you giving the trained one? distill leaves its argument as it was.
  {_TWO}
  ? {_ACCURACY}: 0 to 0.2
the lesson's is better | Look at the loss of each pass: is it still falling when you stop? Then the steps are too small or too few.
  {_TWO}
  ? {_ACCURACY}: 0.2 to 1
  ? {_BEATS}: the lesson's is better
the difference could be luck | On these pictures the test cannot tell the two apart, which does not make them equal. What would change your student more than a detail?
  {_TWO}
  ? {_ACCURACY}: 0.2 to 1
  ? {_BEATS}: no significant difference
""",
    checked="at most two layers of width 32, better on 1,000 test pictures at the 5 % level",
    not_checked="the four passes, other seeds, whether you looked at those pictures before",
)
