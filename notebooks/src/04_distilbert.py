# %% [markdown]
# # Lesson 4 · DistilBERT
#
# **What makes a distilled transformer good: its start, its losses, or its teacher?**
#
# The answer in short: if every sentence has a label, the start matters more than the teacher. If labels are few, it is the other way around.
#
# You will be able to
#
# - make a student out of its teacher's layers, and train it with DistilBERT's three losses;
# - measure what the start, each loss, and the teacher add;
# - judge a sentence like "40 % smaller, 60 % faster, 97 % of BERT";
# - put the student to use in a few lines.
#
# **You need** [lesson 3](03_distillation_loss.ipynb): soft answers, temperature, KL divergence.
#
# **Time** about 45 minutes; the computer works about 6 of them on two cores, and a few more, once, to train the teacher.
#
# Collapsed cells load results and draw figures. You can skip them.

# %% tags=["setup"]
# the first cell of every lesson

# %% tags=["parameters"] jupyter={"source_hidden": true}
profile = "full"

# %%
from course_lib import lessons

settings = lessons.start("lesson4", profile)

import copy

import pandas as pd
import torch
import torch.nn.functional as F
import transformers
from torch import nn

from course_lib import datasets, distillation, evaluation, models, training
from course_lib.lessons import diagrams, fill_in, plots, sliders, tables

# %% [markdown]
# ## The result first
#
# Our **teacher** is lesson 3's: MiniLM, a BERT with six layers, pretrained on much text and then fine-tuned to tell positive from negative movie reviews. Its
# **students** have three layers. The script [lesson4_ablation.py](experiments/lesson4_ablation.py) trained them from several
# starts. Here are two: three layers of the pretrained MiniLM, and the same three layers of the fine-tuned teacher. Each was trained with the teacher's help and with labels alone.

# %% jupyter={"source_hidden": true}
ablation, reviews = lessons.results("lesson4_ablation"), models.reviews_tokenized()
test = lessons.TestSet(reviews.pop("test"))
claims = lessons.Claims(test)
new, pretrained, odd, ours = starts = ["new weights", "MiniLM's layers 2, 4, 6"] + [
    f"teacher's layers {kept}" for kept in ("1, 3, 5", "2, 4, 6")
]
ways = ["no teacher", "all three"]
rows = {s: tuple(ablation.runs(start=s, losses=way) for way in ways) for s in (pretrained, ours)}
the_teacher = ablation.accuracies(start="the teacher itself")[0]
look = {"title": "The better start is worth more than the teacher", "ylabel": "test accuracy"}
look |= {"between": ("labels alone", "with teacher"), "reference": {"teacher": the_teacher}}
plots.show(plots.slopes(rows, roles={pretrained: "baseline", ours: "student"}, **look))


def scored(start, losses):  # bool [seeds, sentences]: which answers are right
    answers = torch.stack(ablation.column("test", start=start, losses=losses))
    return test.stored(f"{start}, {losses}", answers)


alone, taught = ({start: scored(start, way) for start in starts} for way in ways)
with_teacher = {f"with teacher − labels alone: {s}": (taught[s], alone[s]) for s in rows}
starts_apart = {"teacher's − MiniLM's layers: labels alone": (alone[ours], alone[pretrained])}
tables.differences(with_teacher | starts_apart)

# %% [markdown]
# The distance of the two lines is what the better start is worth: about four points. The slope of a line is what training with the teacher adds: about one point from MiniLM's
# layers, and from the teacher's own layers too little to tell from zero. Why is it so little, and when is it more?
#
# **How we judge.** As in lesson 3, the table has the paired interval over the test sentences, with the seeds averaged, and beside it the difference of each seed. A difference is clear if the interval leaves out 0 and
# all seeds agree. In the figures, thick bars are intervals over seeds, and thin lines are intervals over sentences.
#
# All these students saw the same 2,560 labeled sentences once. That is a small budget, so their accuracies are not the best that such students can reach. We chose one
# setting, the learning rate of 4e-4, on the validation set, for a student with the teacher's layers and labels alone. If this choice favors anyone, it favors that student.
#
# ## 1 · Three numbers from an abstract
#
# DistilBERT is BERT with half of its layers, trained with BERT as its teacher (Sanh et al. 2019). The abstract of its paper says that
# it is 40 % smaller and 60 % faster than BERT, and retains 97 % of its language understanding. We look at the first two numbers
# now, and at the third in section 5.
#
# **Predict first.** Half of the layers are gone. What share of the parameters is gone?

# %%
my_guess = 50  # percent; change it
bert = transformers.BertForSequenceClassification(transformers.BertConfig()).eval()
config = transformers.DistilBertConfig()
distilbert = transformers.DistilBertForSequenceClassification(config).eval()
before, after = bert.num_parameters(), distilbert.num_parameters()
print(f"{before:,} → {after:,} parameters: {1 - after / before:.1%} are gone")
print(f"You guessed {my_guess} %.")

# %% [markdown]
# Less than half is gone, because only the layers halve.

# %% jupyter={"source_hidden": true}
teacher = models.teacher(settings.teacher_sentences)
shown = {"BERT-base": bert, "DistilBERT": distilbert, "our teacher": teacher}
shown["3 of its layers"] = distillation.student_from_teacher(teacher, (1, 3, 5))
made_of = {}
for name, model in shown.items():
    rest = {key: p.numel() / 1e6 for key, p in model.named_parameters()}
    parts = {"embeddings": "embeddings.", "layers": "layer.", "pooler, classifier": ""}
    for part, key in parts.items():
        parts[part] = sum(rest.pop(k) for k in list(rest) if key in k)
    made_of[name] = parts
plots.parts(made_of, "million parameters", title="The layers halve, the embeddings stay")

# %% [markdown]
# The **embeddings**, one vector for each token of the vocabulary, stay as they
# are. The smaller the model, the larger their share: in our teacher it is more than half. If you want a small file, shrink the
# vocabulary (lesson 5).
#
# Now the time. The paper's table 3 has 668 seconds for BERT and 410 for DistilBERT, on one CPU, one sentence at a time. So DistilBERT is 668 / 410 = 1.63 times as fast. But it needs 410 / 668 = 61 % of the time, and saves 39 %:
# "60 % faster" is true as a statement about speed, and wrong as a statement about time.
#
# Does it hold on your machine? Here is DistilBERT itself, at its true size. Its weights are random, because speed does not depend on them.
# **Only these cells contain DistilBERT itself.** All others use students of MiniLM, which train in seconds. A copy of BERT is the control: its true ratio is 1. We compare all three in
# PyTorch, in turns, in a new order each time. If the copy's interval leaves out 1, your computer was too busy to measure, and we give no verdict.

# %% jupyter={"source_hidden": true}
forms = {"BERT-base": bert, "BERT-base, a copy": bert, "DistilBERT": distilbert}
forms = {name: copy.deepcopy(model) for name, model in forms.items()}  # all in fresh memory
speed = {}
for batch, length in ((1, settings.tokens[0]), (settings.batch, settings.tokens[1])):
    example = {"input_ids": torch.randint(1000, 30_000, (batch, length))}
    times = evaluation.latency(forms, example, settings.rounds)
    ratios = {name: evaluation.speedup(times["BERT-base"], times[name]) for name in forms}
    speed[f"batch {batch}, {length} tokens"] = ratios
del bert, distilbert, shown, forms  # 1.1 GB
print("times as fast as BERT-base, with the 95 % interval over the rounds:")
pd.DataFrame(speed).map(lambda v: f"{v.value:.2f} × ({v.low:.2f} to {v.high:.2f})")

# %% [markdown]
# Half of the layers is about half of the work, and looking up embeddings takes almost no time. So the time falls by more than the size does.
#
# ## 2 · What the student copies
#
# A student needs weights to start from. DistilBERT takes every other layer of its teacher, and the teacher's embeddings (Sanh et al. 2019, section 3). This works because the teacher and the
# student have the same width: a layer of the one fits into the other.

# %%
by_hand = copy.deepcopy(teacher)
by_hand.bert.encoder.layer = nn.ModuleList([teacher.bert.encoder.layer[i] for i in (1, 3, 5)])
by_hand.config.num_hidden_layers = 3

student = distillation.student_from_teacher(teacher, (1, 3, 5))
pairs = zip(by_hand.parameters(), student.parameters(), strict=True)
print("the library's student has the same weights:", all(torch.equal(a, b) for a, b in pairs))
diagrams.copied_layers((1, 3, 5))

# %% [markdown]
# `by_hand` uses the teacher's own layer objects, so training it would change the teacher. The library's student has copies.
#
# Which layers should it take? People and the drawing count layers from 1, code counts from 0: `(1, 3, 5)` are layers 2, 4, and 6.
#
# **Predict first.** Before any training, which student is better: one of layers 1, 3, and 5, or one of layers 2, 4, and 6?

# %% jupyter={"source_hidden": true}
validation = reviews["validation"].select(range(settings.validation))
choices = [(0, 1, 2), (0, 2, 4), (1, 3, 5), (0, 2, 5), (0, 4, 5), (3, 4, 5)]
untrained = {}
for kept in choices:
    found = evaluation.evaluate(distillation.student_from_teacher(teacher, kept), validation)
    untrained[f"layers {', '.join(str(i + 1) for i in kept)}"] = found
look = {"title": "Before training, layer 6 matters most", "xlabel": "validation accuracy"}
look["roles"] = dict.fromkeys(untrained, "student")
plots.intervals(untrained, reference={"teacher": evaluation.evaluate(teacher, validation)}, **look)

# %% [markdown]
# The students that keep layer 6 do much better. The pooler and the classifier are copied, too, and they were trained on the outputs of layer 6. Without that layer they get inputs that they never
# saw, and the student does little better than guessing.
#
# Training may erase the difference. The stored experiment trained both:

# %% jupyter={"source_hidden": true}
teacher_right = scored("the teacher itself", "no training")[0]
pairs = {"with teacher": (taught[ours], taught[odd]), "labels alone": (alone[ours], alone[odd])}
tables.differences({f"layers 2, 4, 6 − layers 1, 3, 5: {way}": pair for way, pair in pairs.items()})

# %% [markdown]
# The order has turned. After training, the student of layers 1, 3, and 5 is ahead, although it started far behind. So the accuracy before training does not tell you
# which start is better: you have to train both. (The student of layers 2, 4, and 6 gains only about two points by training, as far as a validation set and a test set can be compared.)
#
# This lesson uses layers 2, 4, and 6, which we had fixed before we knew this result.
#
# ## 3 · Three losses
#
# DistilBERT learns from three things at once: the teacher's answers, the labels, and the teacher's **hidden states**. A hidden state is the vector that a layer outputs for a token. We
# compare those of the last layer.
#
# $$L = 5 \, L_{\text{soft}} + 2 \, L_{\text{hard}} + 1 \, L_{\text{cos}}$$
#
# $$L_{\text{soft}} = T^2 \, \mathrm{KL}\left(p_T \,\|\, q_T\right) \qquad L_{\text{hard}} = -\log q(y) \qquad L_{\text{cos}} = \frac{1}{\sum_i m_i} \sum_i m_i \left(1 - \frac{s_i \cdot t_i}{\lVert s_i \rVert \, \lVert t_i \rVert}\right)$$
#
# $p_T$ and $q_T$ are the teacher's and the student's probabilities at temperature $T = 2$, $q$ is the student's at $T = 1$, and $y$ is the label. $s_i$ and $t_i$ are the last hidden states
# of student and teacher for token $i$. $m_i$ is the **attention mask**: 1 for a real token and 0 for **padding**, which fills shorter sentences up to the longest
# one of the batch.
#
# The weights 5, 2, and 1 are not in the paper's text. They are in the training command that the authors published with their code. When DistilBERT itself was trained,
# the label $y$ was a masked word. Here it is the sentiment.

# %% tags=["nbval-check-output"]
tokenizer = models.load_tokenizer()
lines = ["A moving film.", "It starts well and then goes on for far too long."]
batch = tokenizer(lines, padding=True, return_tensors="pt")
labels, mask = torch.tensor([1, 0]), batch["attention_mask"]
with torch.no_grad():
    t = teacher(**batch, output_hidden_states=True)
    s = student(**batch, output_hidden_states=True)
print(f"logits {list(s.logits.shape)}, last hidden states {list(s.hidden_states[-1].shape)}")
print(mask)
diagrams.distilbert_losses(weights=(5, 2, 1))

# %% [markdown]
# **Your turn (1 of 2).** Write the cosine loss. `F.cosine_similarity(a, b, dim=-1)` computes the fraction in the formula.


# %%
def cosine_loss(student_hidden, teacher_hidden, mask):
    """Hidden states [n, length, width] of both, mask [n, length] → 1 − cosine, mean over the tokens."""
    ...


same, other = torch.eye(3)[None], torch.tensor([[[1.0, 0, 0], [0, 2, 0], [0, 0, -1]]])  # [1, 3, 3]
examples = [(same, other, torch.tensor([[1, 1, 1]])), (same, other, torch.tensor([[1, 1, 0]]))]
cosine_loss = fill_in.check(cosine_loss, against=distillation.hidden_cosine_loss, examples=examples)

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def cosine_loss(student_hidden, teacher_hidden, mask):
#     similarity = F.cosine_similarity(student_hidden, teacher_hidden, dim=-1)  # [n, length]
#     return ((1 - similarity) * mask).sum() / mask.sum()
# ```
# </details>

# %%
T = 2
p, log_q = (t.logits / T).softmax(-1), (s.logits / T).log_softmax(-1)  # [2, 2]
soft = T**2 * (p * (p.log() - log_q)).sum(-1).mean()
hard = F.cross_entropy(s.logits, labels)
cosine = cosine_loss(s.hidden_states[-1], t.hidden_states[-1], mask)
print(f"soft {soft:.4f}, hard {hard:.4f}, cosine {cosine:.4f}")
print(f"together, by hand {5 * soft + 2 * hard + 1 * cosine:.4f}")
print(f"by the library    {distillation.triple_loss(s, t, labels, mask):.4f}")
without_soft = distillation.triple_loss(s, t, labels, mask, weights=(0, 2, 1))
print(f"without the soft loss {without_soft:.4f}")

# %% [markdown]
# By hand and by the library agree. A weight of 0 leaves a loss out. The cosine loss sees only the *direction* of a vector, neither its length nor what the classifier makes of it.
#
# What is the mask for? **Predict first.** We pad the same two sentences to 128 tokens. Which share of the loss without a mask comes from padding?

# %%
for length in (14, 128):
    padded = tokenizer(lines, padding="max_length", max_length=length, return_tensors="pt")
    with torch.no_grad():
        a, b = (
            m(**padded, output_hidden_states=True).hidden_states[-1] for m in (student, teacher)
        )
    each, real = 1 - F.cosine_similarity(a, b, dim=-1), padded["attention_mask"]  # [2, length]
    print(f"{length} tokens: with mask {cosine_loss(a, b, real):.4f},", end=" ")
    print(f"without {each.mean():.4f}, of which {1 - (each * real).sum() / each.sum():.0%} padding")

# %% [markdown]
# With the mask, padding changes nothing. Without it, the loss of a sentence depends on its neighbors in the batch. With much padding, most of the loss comes from positions where there is no word, and so
# does most of what the student learns from it.
#
# ## 4 · One step, then a whole pass
#
# DistilBERT was distilled before fine-tuning, on plain text. Our student is distilled after fine-tuning, for one task. So this lesson does not
# replicate the paper's table 4, on GLUE, a mean over tasks of language understanding. There, new weights instead of the teacher's cost 3.7 points, leaving out the soft loss costs 3 points, the cosine loss 1.5, and the hard loss 0.3. Section 5 asks whether the order is the same here.

# %% jupyter={"source_hidden": true}
diagrams.distill_before_or_after()

# %% [markdown]
# A training step is lesson 3's, with one more loss. Here are twenty steps on the two sentences. (`train()` switches dropout on, so the first loss differs a little from the one above.)

# %%
teacher = models.teacher(settings.teacher_sentences)  # trained once, then stored
learner = copy.deepcopy(student).train()
optimizer = torch.optim.AdamW(learner.parameters(), lr=2e-5)  # low: two sentences, over and over
for step in range(1, 21):
    with torch.no_grad():
        t = teacher(**batch, output_hidden_states=True)
    s = learner(**batch, output_hidden_states=True)
    loss = distillation.triple_loss(s, t, labels, mask)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step in (1, 10, 20):
        print(f"step {step}: loss {loss.item():.2f}")

# %% [markdown]
# `distill_hidden` does these steps for all batches, and `fit` is lesson 1's loop, with labels alone. Both train a copy of the model that they get. Two students start from the teacher's layers 2, 4, and 6, and train by the recipe of the stored experiment (in float32; that one used
# bfloat16 to save time). The embeddings stay as they are.
#
# **Predict first.** Section 2 showed the accuracy of teacher and untrained student on the validation set. Where will the two trained students end, and how far apart?

# %%
fresh = copy.deepcopy(student)
fresh.base_model.embeddings.requires_grad_(False)
train = models.reviews_tokenized()["train"].select(range(settings.sentences))
plan = training.Recipe(epochs=1, lr=4e-4, batch_size=32, warmup=0.1, decay=True)
student = distillation.distill_hidden(fresh, teacher, {"train": train}, plan).model
untaught = training.fit(fresh, {"train": train}, plan).model
right = [evaluation.correct(model, validation) for model in (student, untaught, teacher)]
print("with teacher against labels alone:", evaluation.paired_test(*right[:2]))
names = ["student with teacher", "student, labels alone", "teacher"]
pd.DataFrame({"validation accuracy": [f"{r.double().mean():.1%}" for r in right]}, names)

# %% [markdown]
# Do not trust one seed, even if the test calls one student better. The test covers the choice of sentences, but training is random, too, and another seed may turn the order around. So we go back to the stored experiment, which has three seeds.
#
# ## 5 · Start, losses, or teacher?
#
# **Predict first.** We leave one thing out at a time, always from the teacher's layers 2, 4, and 6. Which of the three losses costs most? And what if the start is not MiniLM's layers, as in the first figure, but new weights?

# %% jupyter={"source_hidden": true}
left_out = {"fine-tuning of the start": taught[pretrained], "the teacher": alone[ours]}
for loss in ("soft", "hard", "cosine"):
    left_out[f"the {loss} loss"] = scored(ours, f"without {loss}")
costs = {
    name: evaluation.paired_test_over_seeds(row, taught[ours]) for name, row in left_out.items()
}
from_new = ablation.runs(start=new, losses="all three")
print(f"from new weights, with teacher: {from_new}")
xlabel = "change of the test accuracy when it is left out, in points"
roles = dict.fromkeys(costs, "student")
plots.intervals(costs, title="Leaving out the start costs most", xlabel=xlabel, roles=roles)

# %% [markdown]
# Of these five, only the start costs anything that we can measure: about three points without its fine-tuning. The other intervals contain 0, so we cannot tell whether leaving
# these parts out helps or hurts. This does not contradict the paper's order of the losses. From this start the teacher as a whole adds next to nothing, so there is nothing to divide among its losses.
#
# Why does it add so little? Two reasons are likely. First, the student without a teacher still starts from the teacher's fine-tuned layers, so it inherits from the teacher, too. Second, the teacher was trained on these very labels, so its
# answers to these sentences are nearly the labels (section 6 prints how nearly).
#
# The student with new weights only guesses (printed line; its embeddings are new, too, and are trained). That is failed training, because 80 steps are too few for it. So it does not measure what a start is worth. The paper's
# student with new weights saw all of the pretraining text during distillation.
#
# ### Is 97 % a lot?
#
# The third number of the abstract is a share: the student's score divided by the teacher's. It hides what a simple model already has, such as a linear model on **TF-IDF**, weighted counts of words and word pairs.
#
# **Your turn (2 of 2).** Write the share of the *gain* that a student keeps: how far it is above the linear model, divided by how far the teacher is.


# %%
def kept_gain(student, teacher, linear):
    """Three accuracies, 0 to 1 → the share of the teacher's gain over the linear model."""
    ...


examples = [(0.85, 0.9, 0.8), (0.75, 0.9, 0.8)]
kept_gain = fill_in.check(kept_gain, against=tables.kept_gain, examples=examples)

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def kept_gain(student, teacher, linear):
#     return (student - linear) / (teacher - linear)
# ```
#
# In the second example the student is below the linear model, so the share is negative.
# </details>


# %% jupyter={"source_hidden": true}
def accuracy(right):  # bool [sentences] or [seeds, sentences]
    found = [evaluation.Accuracy(int(row.sum()), len(row)) for row in torch.atleast_2d(right)]
    return evaluation.Runs(tuple(found)) if len(found) > 1 else found[0]


tfidf, kept = models.baseline_tfidf(), {}
linear = test.stored("TF-IDF", tfidf.correct)
table = {"teacher": [accuracy(teacher_right), "", ""], "TF-IDF": [accuracy(linear), "", ""]}
for way, right in {"with teacher": taught[ours], "labels alone": alone[ours]}.items():
    kept[way] = evaluation.retained(right, teacher_right)
    gain = kept_gain(*(accuracy(row).value for row in (right, teacher_right, linear)))
    table[f"student, {way}"] = [accuracy(right), kept[way], f"{gain:.0%}"]
names = ["accuracy", "share of the teacher's", "share of its gain over TF-IDF"]
over = evaluation.paired_test_over_seeds(taught[ours], linear.expand_as(taught[ours]))
print(f"student with teacher against TF-IDF: {over}")
pd.DataFrame(table, names).map(str).T

# %% [markdown]
# The share of the accuracy looks high for both students, and one of them had no teacher. So a share like 97 % says nothing about distillation, unless the same student without a teacher
# stands beside it. The share of the gain is close to zero, because our student is about as good as TF-IDF on movie reviews (printed line). But teacher and TF-IDF learned from all 7,241 labels, and the students from 2,560.
#
# The paper's 97 % is a ratio of two mean scores over nine tasks. On SST-2, its task nearest to ours, the share is 98.5 % (table 1: 91.3 of 92.7).
#
# ## 6 · When labels are few
#
# What if you have a good teacher and much text, but only 200 labels? The script
# [lesson4_few_labels.py](experiments/lesson4_few_labels.py) trained students in three ways. Each sees 2,560 sentences in 80 steps of 32:
#
# | way | labeled sentences | unlabeled sentences | what it learns from the unlabeled ones |
# |---|---|---|---|
# | labels alone | 200, over and over | none | |
# | hard answers | 200, once | 2,360, once | the teacher's most probable class |
# | teacher | 200, once | 2,360, once | the soft and the cosine loss |
#
# The teacher is given: somebody else trained it, with 7,241 labels. "Hard answers" is the control: it shows what a class from the teacher is
# worth, and what its probabilities and hidden states add.
#
# **Predict first.** How many points does the teacher add, compared with the better start of the first figure? And does it have to give more than a class?

# %% jupyter={"source_hidden": true}
few = lessons.results("lesson4_few_labels")
few_ways, few_starts = ["labels alone", "hard answers", "teacher"], [pretrained, ours]
few_rows = {(s, way): few.runs(start=s, way=way) for s in few_starts for way in few_ways}
rows = {f"{s.removesuffix(' 2, 4, 6')}: {way}": found for (s, way), found in few_rows.items()}
look = {"title": "With 200 labels the teacher helps, and its classes suffice"}
look |= {"xlabel": "test accuracy", "reference": {"TF-IDF, 200 labels": few.runs(start="TF-IDF")}}
look |= {"roles": dict(zip(rows, ("labels", "accent", "student") * 2, strict=True))}
known = reviews["train"].select(range(settings.validation))
many = {s: f"{100 * ablation.runs(start=s, losses='no teacher').value:.1f} %" for s in few_starts}
rows_of_first = "; ".join(f"{value} from {s}" for s, value in many.items())
print(f"the teacher on text that it was trained on: {evaluation.evaluate(teacher, known)}")
print(f"labels alone, 2,560 of them: {rows_of_first}")
plots.show(plots.intervals(rows, **look))
by, compared = {}, {}
for start in few_starts:
    for way in few_ways:
        answers = torch.stack(few.column("test", start=start, way=way))
        by[start, way] = test.stored(f"{start}, {way}, 200 labels", answers)
    for way in few_ways[:2]:
        compared[f"with teacher − {way}: {start}"] = by[start, "teacher"], by[start, way]
begin = (by[ours, "labels alone"], by[pretrained, "labels alone"])
tables.differences(compared | {"teacher's − MiniLM's layers: labels alone": begin})

# %% [markdown]
# With so few labels the teacher adds six to eight points, from either start. That is more than the better start adds, so now the teacher matters most. But soft answers and hidden states are no improvement over hard answers with
# these settings: they score lower, clearly so from the teacher's layers. So the gain comes from more labeled text, with the teacher as the labeler.
#
# Hard answers come close to 2,560 true labels. The printed lines say why: the teacher was trained on this text, with its labels, so
# its answers there are nearly the true labels. On text that is new to it, it is wrong more often, so expect a smaller gain.
#
# ## 7 · Outside the domain
#
# Teacher and students learned from sentences about movies. Here are 2,925 sentences from Amazon's reviews of cameras, phones, and players (Hu & Liu 2004). Nobody trained on them.
#
# **Predict first.** Who loses most: the teacher, the students, or TF-IDF?

# %% jupyter={"source_hidden": true}
amazon = datasets.amazon_test()
guesses = torch.from_numpy(tfidf.pipeline.predict(list(amazon["text"])))
home = {"teacher": teacher_right, "student with teacher": taught[ours]}
home |= {"student, labels alone": alone[ours], "TF-IDF": linear}


def on_electronics(start, losses):
    return torch.stack(ablation.column("electronics", start=start, losses=losses))


abroad = {
    "teacher": on_electronics("the teacher itself", "no training")[0],
    "student with teacher": on_electronics(ours, "all three"),
    "student, labels alone": on_electronics(ours, "no teacher"),
    "TF-IDF": guesses == torch.tensor(amazon["label"][:]),
}
rows = {name: (accuracy(home[name]), accuracy(abroad[name])) for name in home}
colors = dict(zip(rows, ("teacher", "student", "labels", "baseline"), strict=True))
look = {"ylabel": "accuracy", "title": "Outside the domain, TF-IDF loses most", "roles": colors}
positive = torch.tensor(amazon["label"][:]).double().mean()
print(f"electronics: {positive:.0%} positive, so always saying so has {positive:.0%}")
plots.show(plots.slopes(rows, between=("movies", "electronics"), **look))
students = abroad["student with teacher"], abroad["student, labels alone"]
tables.differences({"electronics: with teacher − labels alone": students})

# %% [markdown]
# TF-IDF loses most. A plausible reason is that the words that praise a movie are often not those that praise a camera. The networks lose less.
#
# Compare the two students, too. On movies they are about equal. On electronics the one with teacher is a little ahead, but not clearly: one of the three seeds disagrees. In the figure, the thick bar of "labels alone" is long on the right, because its seeds differ on electronics. (Teacher and TF-IDF were trained once, so they have thin lines only.)
#
# ## 8 · A look inside
#
# **Attention** weights say from which other tokens a token takes its information. Nothing in the three losses compares them. Here you can see, for one sentence, how much the student with teacher and the teacher have in common.

# %% jupyter={"source_hidden": true}
sentence = "A slow start, but the ending moved me."
tokens, of_teacher = sliders.attention_maps(teacher, tokenizer, sentence)
pairs = [{"teacher": 2 * i + 1, "student": i} for i in range(3)]
both = {"teacher": of_teacher, "student": sliders.attention_maps(student, tokenizer, sentence)[1]}
sliders.attention_explorer(tokens, both, pairs)

# %% [markdown]
# Each row is a token, and the darker a cell, the more attention (by the square root, so that small weights show). The likeness does not prove that the teacher's losses caused it, because the student's layers began as copies. Do attention weights say *why* a model answers as it does?
# Jain & Wallace 2019 doubt it, and Wiegreffe & Pinter 2019 reply that it depends on what you ask of an explanation.
#
# ## 9 · Use it
#
# A student is a plain `transformers` model. `pipeline` needs one line, and each answer one more. With the name of a model on the Hugging Face Hub it downloads it, for example
# `pipeline("sentiment-analysis", model="distilbert-base-uncased-finetuned-sst-2-english")`. We give it our own student. The score is the model's own
# probability of its answer, and nonsense gets one, too.
#
# The figure below has the shortest validation sentence about which teacher and student disagree. Then write your own and press Enter. Try a "not" or irony.

# %%
classify = transformers.pipeline("sentiment-analysis", student, tokenizer=tokenizer, device="cpu")
for line in ("I love this movie!", "I expected to love this movie.", "asdf qwer"):
    (answer,) = classify(line)
    print(f"{line:32} {answer['label']} {answer['score']:.2f}")

said = [evaluation.predict(model, validation).argmax(-1) for model in (teacher, student)]
texts = datasets.reviews()["validation"]["text"][:]
line = min((texts[i] for i in torch.where(said[0] != said[1])[0]), key=len, default=line)
sliders.answers_explorer({"teacher": teacher, "student": student}, tokenizer, line)

# %% [markdown]
# To distill BERT-base on Wikipedia, see [docs/scaling.md](../docs/scaling.md).
#
# ## 10 · The claims
#
# Each claim has a margin that we wrote down before we measured. The intervals are over the test sentences, with the seeds averaged. Where a single seed lies outside, we widen the interval to include it, so a claim holds only if
# it holds for each seed.

# %% jupyter={"source_hidden": true}
points, gap, paper = {"unit": "points"}, tables.gap, "Sanh et al. 2019, table 4"
abstract = "Sanh et al. 2019, abstract (there: of the score on GLUE)"
for shape, ratios in speed.items():
    said = f"DistilBERT is 60 % faster than BERT-base ({shape}, PyTorch)"
    faster = {"margin": 1.6, "unit": "×", "source": "Sanh et al. 2019, table 3"}
    value = evaluation.controlled(ratios["DistilBERT"], ratios["BERT-base, a copy"])
    claims.add(said, value=value, **faster)
for loss in ("soft", "hard", "cosine"):
    said, value = f"Without the {loss} loss the student is worse", left_out[f"the {loss} loss"]
    value = gap(value, taught[ours])
    claims.add(said, value=value, margin=0, side="below", source=paper, **points)
said, value = (
    "The teacher changes the accuracy by less than 1 point",
    gap(taught[ours], alone[ours]),
)
claims.add(said, value=value, margin=0.01, side="within", **points)
said = "After training, layers 2, 4, 6 are a better start than 1, 3, 5"
claims.add(said, value=gap(taught[ours], taught[odd]), margin=0, **points)
said = "A student with half of the layers keeps 97 % of its teacher's accuracy"
claims.add(said, value=kept["with teacher"], margin=0.97, unit="%", source=abstract)
said = "Outside the domain, the student with teacher beats the one with labels alone"
claims.add(said, value=gap(*students), margin=0, **points)
by_labels, by_hard, by_three = (by[ours, way] for way in few_ways)
said = "With 200 labels, a teacher and unlabeled text add more than 2 points"
claims.add(said, value=gap(by_three, by_labels), margin=0.02, **points)
said = "With 200 labels, the three losses beat the teacher's hard answers"
claims.add(said, value=gap(by_three, by_hard), margin=0, **points)
claims

# %% [markdown]
# All rows but the first two are about the start from the teacher's layers 2, 4, and 6. The tables above have the other starts.
#
# ## Recap
#
# - DistilBERT is BERT with half of its layers. The embeddings stay, so less than half of the parameters go, but half of the work goes.
# - "60 % faster" means 1.6 times as fast. That is 39 % less time.
# - With a label for each sentence, the start matters more than the teacher. The accuracy before training does not tell which layers are the better start.
# - With few labels and much text, the teacher matters more than the start, and its most probable class is enough.
# - "97 % of the teacher" means something only with an interval, a simple baseline, and the same student without a teacher beside it.
#
# ## Quiz
#
# **1.** Model B takes 40 % less time than model A. How many percent faster is it?
# <details><summary>Answer</summary>1 / 0.6: it is 1.67 times as fast, so 67 % faster.</details>
#
# **2.** You halve the layers of a model whose embeddings are 60 % of its parameters. How much smaller is it, and how much faster?
# <details><summary>Answer</summary>Half of the other 40 %, so 20 % smaller. But it is about twice as fast, because looking up embeddings takes almost no time.</details>
#
# **3.** Your student's cosine loss falls nicely, and its answers are poor. What do you check?
# <details><summary>Answer</summary>First the mask: without it, padding counts, and in a batch of short sentences that can be most positions. Then the other losses: the cosine loss sees neither
# the length of a vector nor the classifier.</details>
#
# **4.** A student has 84 %, its teacher 87 %, a linear model 80 %. Which share does the student keep? Which number do you still need before you credit the distillation?
# <details><summary>Answer</summary>97 % of the accuracy (84 / 87), but 57 % of the gain over the linear model (4 / 7). You need the accuracy of the same student from the same start without a teacher.</details>
#
# **5.** When would you expect the most from a teacher?
# <details><summary>Answer</summary>If labels are few and unlabeled text is plenty. Then the teacher can label that text. Compare with its hard answers before you credit the distillation
# losses.</details>
#
# ## Try it yourself
#
# The [exercises of this lesson](../exercises/04_distilbert.ipynb) take you further: choose layers, write the losses, and beat a student of two layers.
#
# ## References
#
# - Sanh, Debut, Chaumond & Wolf 2019, *DistilBERT, a distilled version of BERT*: sections 2 to 4, tables 1, 3 and 4.
# - Devlin, Chang, Lee & Toutanova 2019, *BERT*: section 3.
# - Hinton, Vinyals & Dean 2015, *Distilling the knowledge in a neural network*: section 2.
# - Wang et al. 2020, *MiniLM*: section 3; Reimers & Gurevych 2019, *Sentence-BERT*: section 3 (the pretrained encoder).
# - Vaswani et al. 2017, *Attention is all you need*: section 3.2.1.
# - Jain & Wallace 2019, *Attention is not explanation*: sections 4 and 5; Wiegreffe & Pinter 2019, *Attention is not not explanation*: sections 3 and 4.
# - Hutto & Gilbert 2014, *VADER*: section 3 (the movie reviews and their ratings); Hu & Liu 2004, *Mining and summarizing customer reviews*: section 4 (electronics).
# - Efron & Tibshirani 1993, *An introduction to the bootstrap*: section 13.3 (the interval of a share).
