# %% [markdown]
# # Lesson 4 · DistilBERT
#
# **What makes a distilled transformer good: its start, its losses, or its teacher?**
#
# If every sentence has a label, the start (the student's first weights) matters most, and the teacher adds little. If only a few sentences have one, the teacher adds several points, more than the better start does, because it labels the rest.
#
# You will be able to
#
# - make a student out of its teacher's layers, and train it with DistilBERT's three losses;
# - measure how much the start, each loss, and the teacher add;
# - judge a sentence like "40 % smaller, 60 % faster, 97 % of BERT".
#
# **You need** [lesson 3](03_distillation_loss.ipynb): soft and hard answers, temperature, KL divergence.
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

import torch
import torch.nn.functional as F
import transformers
from torch import nn

from course_lib import datasets, distillation, evaluation, models, training
from course_lib.lessons import diagrams, fill_in, plots, sliders, tables

reviews = models.reviews_tokenized()  # "train", "validation", "test"

# %% [markdown]
# ## The result first
#
# MiniLM is a BERT with six layers, pretrained on a lot of text. Our **teacher** is lesson 3's: MiniLM, fine-tuned on 7,241 labeled sentences to tell positive from negative movie reviews.
#
# The teacher's **students** have three layers. They differ in two ways:
#
# - in their **start**, the weights before training: three layers of MiniLM, or the same three layers of the teacher;
# - in their training: on the labels alone, or on the teacher's answers and hidden states (its layers' outputs) as well.
#
# One start is copied from the teacher. Still, "with teacher" means only its answers and hidden states during training.
#
# All students see the same 2,560 labeled sentences once. [lesson4_ablation.py](experiments/lesson4_ablation.py) trained each kind with three seeds.

# %% jupyter={"source_hidden": true}
from functools import partial

ablation = lessons.results("lesson4_ablation")
test = lessons.TestSet(reviews["test"])
new, pretrained = "new weights", "MiniLM's layers 2, 4, 6"
odd, ours = (f"teacher's layers {kept}" for kept in ("1, 3, 5", "2, 4, 6"))
scored = partial(tables.stored, ablation, test)  # bool [seeds, sentences]: which answers are right
alone = {start: scored(start=start, losses="no teacher") for start in (new, pretrained, odd, ours)}
taught = {start: scored(start=start, losses="all three") for start in alone}
teacher_right = scored(start="the teacher itself", losses="no training")[0]
rows = {s: (tables.accuracy(alone[s]), tables.accuracy(taught[s])) for s in (pretrained, ours)}
look = {"title": "The better start is worth more than the teacher", "ylabel": "test accuracy"}
look["roles"] = {pretrained: "kept", ours: "student"}
look["reference"] = {"teacher": tables.accuracy(teacher_right)}
plots.show(plots.slopes(rows, between=("labels alone", "with teacher"), **look))
compared = {f"with teacher − labels alone: {s}": (taught[s], alone[s]) for s in rows}
starts_apart = {"teacher's − MiniLM's layers: labels alone": (alone[ours], alone[pretrained])}
tables.differences(compared | starts_apart)

# %% [markdown]
# The better start adds three to four points: the distance between the lines. From MiniLM's
# layers, the teacher adds about one point: the slope of that line. From the teacher's own layers, it adds too little to tell from zero. Section 5 asks why.
#
# **How we judge.** As in lesson 3, the table has the paired interval over the test sentences, and the difference in each seed. A difference is **clear** if the interval leaves out 0 and
# all seeds have the same sign.
#
# ## 1 · Is DistilBERT 40 % smaller and 60 % faster?
#
# DistilBERT is BERT with half of its layers, trained with BERT as its teacher. By its paper's abstract (Sanh et al. 2019),
# DistilBERT is 40 % smaller and 60 % faster, and retains 97 % of BERT's language understanding. Section 6 is about the 97 %.
#
# **Predict first.** Half of the layers are gone. What share of the parameters is gone?

# %%
my_guess = 50  # percent; change it
with torch.device("meta"):  # tensors with a shape but no memory: enough to count them
    bert = transformers.BertForSequenceClassification(transformers.BertConfig())
    config = transformers.DistilBertConfig()
    distilbert = transformers.DistilBertForSequenceClassification(config)
before, after = bert.num_parameters(), distilbert.num_parameters()
print(f"{before:,} → {after:,} parameters: {1 - after / before:.1%} are gone")
print(f"You guessed {my_guess} %.")
teacher = models.teacher(settings.teacher_sentences)
shown = {"BERT-base": bert, "DistilBERT": distilbert, "our teacher": teacher}
# Layers 2, 4, 6; see section 2.
shown["three of its layers"] = distillation.student_from_teacher(teacher, (1, 3, 5))
parts = {name: tables.parts_of(model) for name, model in shown.items()}
plots.parts(parts, "million parameters", title="The layers halve, the embeddings stay")

# %% [markdown]
# Less than half is gone, because only the layers halve. The paper's 40 % comes from rounded counts: 66 of 110 million parameters are left (table 3). Our counts include the classifiers. Without them, 39.4 % are gone. The **embeddings**, one vector for each token of the vocabulary, stay as they
# are. The smaller the model, the larger their share of the parameters: more than half in our teacher. If you want a small file, shrink the
# vocabulary (lesson 5).
#
# Now the time. In the paper's table 3, BERT takes 668 seconds and DistilBERT 410, on one CPU, one sentence at a time.
#
# **Predict first.** By these numbers, how many percent *faster* is DistilBERT? How many percent *less time* does it need?
#
# We also measure the speed here, with random weights, because speed does not depend on their values. A second BERT-base is the control, so its ratio should be 1. If its interval leaves out 1, the measurement may be disturbed, and we draw no conclusion from that column.
#
# **Only this section uses DistilBERT itself.** The others use students with three layers, which train in a minute.

# %% jupyter={"source_hidden": true}
import pandas as pd

kinds = {"BERT-base": bert, "a second BERT-base": bert, "DistilBERT": distilbert}
forms = {name: type(kind)(kind.config).eval() for name, kind in kinds.items()}
speed = {}
for batch, length in ((1, settings.tokens[0]), (settings.batch, settings.tokens[1])):
    example = {"input_ids": torch.randint(1000, 30_000, (batch, length))}
    times = evaluation.latency(forms, example, settings.rounds)  # all in turns
    ratios = {name: evaluation.speedup(times["BERT-base"], times[name]) for name in list(forms)[1:]}
    speed[f"batch {batch}, {length} tokens"] = ratios
del forms  # 1.1 GB
print("times as fast as BERT-base in PyTorch, with the 95 % interval over the rounds:")
pd.DataFrame(speed).map(lambda v: f"{v.value:.3f} × ({v.low:.3f} to {v.high:.3f})")

# %% [markdown]
# By the paper's numbers, DistilBERT is 668 / 410 = 1.63 times as fast, so 63 % faster. It needs 410 / 668 = 61 % of the time, so 39 % less. "60 % faster" does not mean 60 % less time.
#
# In our measurement, DistilBERT needs about half of the time, because half of the layers do about half of the work. Looking up embeddings takes almost no time. The paper's ratio is lower, probably because computer and software differ.
#
# ## 2 · Which layers should the student copy?
#
# For its start, DistilBERT takes its teacher's embeddings and every other layer (Sanh et al. 2019, section 3). A layer of the teacher fits into the student, because both have the same width.

# %%
by_hand = copy.deepcopy(teacher)  # so that training it leaves the teacher as it is
by_hand.bert.encoder.layer = nn.ModuleList([by_hand.bert.encoder.layer[i] for i in (1, 3, 5)])
by_hand.config.num_hidden_layers = 3

student = distillation.student_from_teacher(teacher, (1, 3, 5))
pairs = zip(by_hand.parameters(), student.parameters(), strict=True)
print("the library's student has the same weights:", all(torch.equal(a, b) for a, b in pairs))
diagrams.copied_layers((1, 3, 5))

# %% [markdown]
# We count layers from 1, as in the drawing. Code counts from 0, so `(1, 3, 5)` are layers 2, 4, and 6.
#
# **Predict first.** Before any training, which student is better: layers 1, 3, 5 or layers 2, 4, 6?

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
# The student from layers 2, 4, and 6 is better, because it keeps layer 6. The rows 1, 3, 5 and 1, 3, 6 differ only in the last layer, and by about twenty points. The copied pooler (a dense layer) and classifier were trained on the outputs of layer 6.
#
# **Predict first.** And after training, which is better: layers 1, 3, 5 or layers 2, 4, 6?

# %% jupyter={"source_hidden": true}
pairs = {"with teacher": (taught[ours], taught[odd]), "labels alone": (alone[ours], alone[odd])}
tables.differences({f"layers 2, 4, 6 − layers 1, 3, 5: {way}": pair for way, pair in pairs.items()})

# %% [markdown]
# Now the student from layers 1, 3, and 5 is ahead. So the accuracy before training does not tell you
# which layers are the better start. You have to train both. We go on with layers 2, 4, and 6, because we had chosen them before we saw this. Why 1, 3, and 5 end up ahead, we do not know.
#
# ## 3 · What are the three losses?
#
# DistilBERT learns from three things at once: the teacher's answers, the labels, and the teacher's **hidden states**. A hidden state is the vector that a layer outputs for a token. We compare the hidden states of the last layer.
#
# $$L = 5 \, L_{\text{soft}} + 2 \, L_{\text{hard}} + 1 \, L_{\text{cos}}$$
#
# $$L_{\text{soft}} = T^2 \, \mathrm{KL}\left(p_T \,\|\, q_T\right) \qquad L_{\text{hard}} = -\log q(y) \qquad L_{\text{cos}} = \frac{1}{\sum_i m_i} \sum_i m_i \left(1 - \frac{s_i \cdot t_i}{\lVert s_i \rVert \, \lVert t_i \rVert}\right)$$
#
# - $p_T$ and $q_T$ are the teacher's and the student's probabilities at temperature $T = 2$. $q$ is the student's probabilities at $T = 1$, and $y$ is the label.
# - $s_i$ and $t_i$ are the last hidden states of student and teacher for token $i$. The fraction is the cosine of the angle between them.
# - $m_i$ is the **attention mask**: 1 for a real token and 0 for **padding**, which fills shorter sentences up to the length of the longest one in the batch.
#
# $L_{\text{cos}}$ is a mean over the tokens of a batch, and the other two are means over its sentences.
#
# The weights 5, 2, and 1 come from the training command in the authors' code, not from the paper. DistilBERT had to fill in left-out words, so its $y$ was a word. Our $y$ is the sentiment.

# %% tags=["nbval-check-output"]
tokenizer = models.load_tokenizer()
lines = ["A moving film.", "It starts well and then goes on for far too long."]
batch = tokenizer(lines, padding=True, return_tensors="pt")
mask = batch["attention_mask"]
labels = torch.tensor([1, 0])  # positive, negative
with torch.no_grad():
    teacher_out = teacher(**batch, output_hidden_states=True)
    student_out = student(**batch, output_hidden_states=True)
last_hidden = student_out.hidden_states[-1]
print(f"logits {list(student_out.logits.shape)}, last hidden states {list(last_hidden.shape)}")
print(mask)
diagrams.distilbert_losses(weights=(5, 2, 1))

# %% [markdown]
# **Your turn (1 of 2).** Write the cosine loss. `F.cosine_similarity(a, b, dim=-1)` computes the fraction in the formula.


# %%
def cosine_loss(student_hidden, teacher_hidden, mask):
    """Hidden states [n, length, width] of both, mask [n, length] → 1 − cosine, mean over the tokens."""
    ...


# The hidden states of one sentence with three tokens, [1, 3, 3].
one = torch.eye(3)[None]
# Token by token, the vector of `other` is equal, twice as long, and opposite.
other = torch.tensor([[[1.0, 0, 0], [0, 2, 0], [0, 0, -1]]])
examples = [(one, other, torch.tensor([[1, 1, 1]])), (one, other, torch.tensor([[1, 1, 0]]))]
# Expected: 2/3, the mean of 0, 0, and 2; and 0 where the mask leaves out the third token.
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
#
# Now all three losses, by hand and by the library:

# %%
T = 2
p = (teacher_out.logits / T).softmax(-1)  # [2, 2]: sentences, classes
log_q = (student_out.logits / T).log_softmax(-1)
soft = T**2 * (p * (p.log() - log_q)).sum(-1).mean()
hard = F.cross_entropy(student_out.logits, labels)
cosine = cosine_loss(student_out.hidden_states[-1], teacher_out.hidden_states[-1], mask)
together = distillation.triple_loss(student_out, teacher_out, labels, mask)
print(f"soft {soft:.4f}, hard {hard:.4f}, cosine {cosine:.4f}")
print(f"together, by hand {5 * soft + 2 * hard + 1 * cosine:.4f}")
print(f"by the library    {together:.4f}")

# %% [markdown]
# They agree. The cosine loss compares only the *direction* of two vectors, not their length, and it does not train the classifier. So a low cosine loss does not guarantee the teacher's answers.
#
# What is the mask for? **Predict first.** We pad the same two sentences to 128 tokens. Without the mask, what share of the cosine loss comes from padding?

# %%
for length in (14, 128):
    padded = tokenizer(lines, padding="max_length", max_length=length, return_tensors="pt")
    real = padded["attention_mask"]  # [2, length]
    with torch.no_grad():
        hidden = student(**padded, output_hidden_states=True).hidden_states[-1]
        target = teacher(**padded, output_hidden_states=True).hidden_states[-1]
    each = 1 - F.cosine_similarity(hidden, target, dim=-1)  # [2, length]: the loss of each token
    share = each[real == 0].sum() / each.sum()
    print(f"{length} tokens: with mask {cosine_loss(hidden, target, real):.4f},", end=" ")
    print(f"without {each.mean():.4f}, and {share:.0%} of that is padding")

# %% [markdown]
# At 128 tokens, the cosine loss without a mask is mostly about padding, which holds no word. With the mask, padding does not change the loss.
#
# ## 4 · How does the student train?
#
# A training step is lesson 3's with one more loss. Here are twenty steps on the two sentences.

# %%
learner = copy.deepcopy(student).train()  # with dropout, so the first loss differs from above
optimizer = torch.optim.AdamW(learner.parameters(), lr=2e-5)  # low: two sentences, over and over
for step in range(1, 21):
    with torch.no_grad():
        teacher_out = teacher(**batch, output_hidden_states=True)
    learner_out = learner(**batch, output_hidden_states=True)
    loss = distillation.triple_loss(learner_out, teacher_out, labels, mask)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step in (1, 10, 20):
        print(f"step {step}: loss {loss.item():.2f}")

# %% [markdown]
# `distill_hidden` repeats the step above for all batches. `fit` is lesson 1's loop, with the labels alone. Now each trains a student from layers 2, 4, and 6 on the 2,560 sentences, without changing the embeddings. We tuned the learning rate on the student with labels alone, so our choice does not favor the teacher.
#
# **Predict first.** Section 2 has the accuracy of the untrained student and of the teacher. Where will the two trained students land, and how far apart?

# %%
train = reviews["train"].select(range(settings.sentences))
validation = reviews["validation"].select(range(settings.validation))
student.base_model.embeddings.requires_grad_(False)  # they stay as they are
plan = training.Recipe(epochs=1, lr=4e-4, batch_size=32, warmup=0.1, decay=True)
# Both functions train a copy, so `student` itself stays untrained.
distilled = distillation.distill_hidden(student, teacher, {"train": train}, plan).model
untaught = training.fit(student, {"train": train}, plan).model

shown = {"student, untrained": student, "student, labels alone": untaught}
shown |= {"student with teacher": distilled, "teacher": teacher}
correct = {name: evaluation.correct(model, validation) for name, model in shown.items()}
for name, right in correct.items():  # bool [sentences]
    print(f"{name:22} {right.double().mean():.1%} on the validation set")
pair = correct["student with teacher"], correct["student, labels alone"]
tables.differences({"with teacher − labels alone": pair})

# %% [markdown]
# Both land a few points above the untrained student, and well below the teacher. The student with teacher is ahead, and the interval leaves out 0. But this is one seed, on fewer sentences.
# With three seeds, the student with teacher is slightly ahead on average, and behind in one of them (first table, second row). We trust the three seeds.
#
# ## 5 · Start, losses, or teacher?
#
# The paper's table 4 has mean scores on GLUE, a collection of nine language tasks. A start from random weights costs 3.7 points. Leaving out the soft loss costs 3 points, the cosine loss 1.5, and the hard loss 0.3.
#
# Our experiment is different. DistilBERT was distilled *before* fine-tuning, on plain text. Our students are distilled *after* it, for one task:

# %% jupyter={"source_hidden": true}
diagrams.distill_before_or_after()

# %% [markdown]
# We begin with the student that has everything: the teacher's layers 2, 4, and 6, and all three losses. Then we leave out one thing at a time.
#
# **Predict first.** What costs most if we leave it out: the fine-tuned start (MiniLM's layers take its place), the teacher during training, or one of the three losses?

# %% jupyter={"source_hidden": true}
left_out = {"without the fine-tuned start": taught[pretrained], "without the teacher": alone[ours]}
for loss in ("soft", "hard", "cosine"):
    left_out[f"without the {loss} loss"] = scored(start=ours, losses=f"without {loss}")
costs = {k: evaluation.paired_test_over_seeds(row, taught[ours]) for k, row in left_out.items()}
print("from random weights, with teacher:", tables.accuracy(taught[new]))
look = {"title": "Only the fine-tuned start makes a clear difference"}
look |= {"xlabel": "change in test accuracy, in points"}
plots.show(plots.intervals(costs, roles=dict.fromkeys(costs, "student"), **look))
tables.differences({"without the fine-tuned start": (taught[pretrained], taught[ours])})

# %% [markdown]
# Only the fine-tuned start makes a clear difference, about three points. The other intervals contain 0, so we cannot tell whether those parts help or hurt.
#
# Why does the teacher add so little? Two reasons are likely. First, the fine-tuned start has already learned from all 7,241 labels. The lesson's first table fits this: the teacher adds about one point from MiniLM's layers, and almost nothing from its own. Second, the teacher was trained on these labels, so most of its
# answers repeat them (section 7 prints how many). With so small an effect, we cannot see which loss matters, and the paper's order may be right.
#
# **Where it stops being true.** A student with random weights gives every sentence the same answer after so little training (line above the figure). So our experiment does not show what pretraining is worth. The paper's random start fares better, probably because it was distilled on all of the pretraining text.
#
# ## 6 · Is 97 % a lot?
#
# The third number of the abstract is a share: the student's score divided by the teacher's. But a simple model may reach most of that score, too. Our simple model is lesson 3's, a linear one on **TF-IDF**, weighted counts of words and word pairs.
#
# **Your turn (2 of 2).** Write the share of the *gain* that a student keeps: how far the student is above the linear model, divided by how far the teacher is. The drawing has an example.


# %%
def kept_gain(student, teacher, linear):
    """Three accuracies, 0 to 1 → the share of the teacher's gain over the linear model."""
    ...


examples = [(0.85, 0.9, 0.8), (0.75, 0.9, 0.8)]
kept_gain = fill_in.check(kept_gain, against=tables.kept_gain, examples=examples)
diagrams.share_of_gain(student=0.85, teacher=0.9, linear=0.8)

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
#
# **Predict first.** Which of these keep more than 90 % of the teacher's accuracy: our student with teacher, our student with labels alone, TF-IDF?

# %%
# From folded cells: `test` counts which models we score on the test set. Which test answers are
# right is in `taught[ours]` (student with teacher) and `alone[ours]` (labels alone), both
# bool [seeds, sentences], and in `teacher_right`, bool [sentences].
tfidf = models.baseline_tfidf()
linear = test.stored("TF-IDF", tfidf.correct)  # bool [sentences]
rows = {"student with teacher": taught[ours], "student, labels alone": alone[ours]}
student_mean = taught[ours].double().mean()
teacher_mean = teacher_right.double().mean()
linear_mean = linear.double().mean()
print(f"the teacher's test accuracy: {tables.accuracy(teacher_right)}")
share = kept_gain(student_mean, teacher_mean, linear_mean)
print(f"student with teacher, share of the gain: {share:.1%}")
tables.shares(rows | {"TF-IDF": linear}, teacher_right, floor=linear)

# %% [markdown]
# All three keep more than 90 % of the accuracy, even TF-IDF. So a share like 97 % says little without the shares of a simple model and of the same student without a teacher.
# For the *gain*, both students' intervals contain zero, so we cannot tell our students from TF-IDF. The comparison is fair: TF-IDF learned from all 7,241 labels, and so did the teacher, whose layers the students copy.
#
# The intervals of the shares come from a **bootstrap**: draw a test sentence at random, 2,000 times, so that some come twice and some never. Compute the share for the drawn ones. Do this many times, and keep the middle 95 %. <!-- not measured: what an interval is -->
#
# The paper's 97 % is a ratio of two mean scores on GLUE. On SST-2, GLUE's task on movie reviews, DistilBERT keeps 98.5 % (table 1: 91.3 of 92.7).
#
# ## 7 · What if labels are few?
#
# Suppose that you have a lot of text, but only 200 labels, and a teacher that was trained on 7,241.
# [lesson4_few_labels.py](experiments/lesson4_few_labels.py) trained students in three ways, with the same number of steps:
#
# | way | labeled sentences | unlabeled sentences | what it learns from the unlabeled ones |
# |---|---|---|---|
# | 200 labels alone | 200, over and over | none | |
# | 200 labels + hard answers | 200, once | 2,360, once | the teacher's most probable class |
# | 200 labels + three losses | 200, once | 2,360, once | the soft and the cosine loss |
#
# **Predict first.** With all labels, the teacher added one point or less. How much does it add now? And are the three losses better than hard answers?

# %% jupyter={"source_hidden": true}
few, by, rows, compared = lessons.results("lesson4_few_labels"), {}, {}, {}
ways = {"200 labels alone": "labels alone", "200 labels + hard answers": "hard answers"}
ways |= {"200 labels + three losses": "teacher"}
for start in (pretrained, ours):
    rows[start] = None  # a heading
    for way, name in ways.items():
        by[start, way] = tables.stored(few, test, start=start, way=name)
        rows[f"{start}: {way}"] = tables.accuracy(by[start, way])
    rows[f"{start}: all 2,560 labels"] = tables.accuracy(alone[start])
    labels, hard, three = (by[start, way] for way in ways)
    compared[start, "three losses − 200 labels alone"] = three, labels
    compared[start, "three losses − hard answers"] = three, hard
    compared[start, "hard answers − all 2,560 labels"] = hard, alone[start]
known = reviews["train"].select(range(settings.validation))
print("the teacher on text that it was trained on:", evaluation.evaluate(teacher, known))
look = {"title": "With 200 labels the teacher helps, and its hard answers suffice"}
simple = tables.accuracy(tables.stored(few, test, start="TF-IDF", way="labels alone"))
look |= {"xlabel": "test accuracy", "reference": {"TF-IDF, 200 labels": simple}}
colors = ("labels", "accent", "student", "labels") * 2
roles = dict(zip(filter(rows.get, rows), colors, strict=True))
plots.show(plots.intervals(rows, roles=roles, **look))
one_of_both = by[pretrained, "200 labels + three losses"], labels
compared["both", "MiniLM's, three losses − teacher's, 200 labels alone"] = one_of_both
tables.differences(compared).rename_axis(["start", "comparison"])

# %% [markdown]
# From either start, the teacher now adds six to eight points. That is more than the better start adds: the weaker start with the teacher beats the better one without (last row).
#
# But with these settings, the three losses are not better than hard answers. They even score about one point lower: barely clear for the start from the teacher's layers, not clear for MiniLM's. So the gain comes from more labeled text, and the teacher is the labeler.
#
# **Where it stops being true.** We cannot tell hard answers from 2,560 true labels. But the teacher was trained on these sentences, so most of its answers repeat their labels (line above the figure). On new text, the teacher is wrong more often, so expect a smaller gain.
#
# ## 8 · What about other text?
#
# All our models learned from sentences about movies. Here are 2,925 sentences from Amazon's reviews of cameras, phones, and music players (Hu & Liu 2004).
#
# **Predict first.** Whose accuracy falls most: the teacher's, the students', or TF-IDF's?

# %% jupyter={"source_hidden": true}
amazon = lessons.TestSet(datasets.amazon_test(), "sentences on electronics")
truth, texts = torch.tensor(amazon.dataset["label"][:]), list(amazon.dataset["text"])
tfidf_right = amazon.stored("TF-IDF", torch.from_numpy(tfidf.pipeline.predict(texts)) == truth)


def there(start, losses):  # bool [seeds, sentences on electronics]
    answers = torch.stack(ablation.column("electronics", start=start, losses=losses))
    return amazon.stored(f"{start}, {losses}", answers)


with_teacher, labels_alone = there(ours, "all three"), there(ours, "no teacher")
pairs = {"teacher": (teacher_right, there("the teacher itself", "no training")[0])}
pairs |= {"student with teacher": (taught[ours], with_teacher)}
pairs |= {"student, labels alone": (alone[ours], labels_alone)}
pairs |= {"TF-IDF": (linear, tfidf_right)}
rows = {name: tuple(map(tables.accuracy, pair)) for name, pair in pairs.items()}
colors = dict(zip(rows, ("teacher", "student", "labels", "baseline"), strict=True))
look = {"ylabel": "accuracy", "title": "On other text, TF-IDF loses most", "roles": colors}
positive = truth.double().mean()
print(f"electronics: {positive:.0%} positive, so always saying so has {positive:.0%}")
plots.show(plots.slopes(rows, between=("movies", "electronics"), **look))
tables.differences({"electronics: with teacher − labels alone": (with_teacher, labels_alone)})

# %% [markdown]
# The accuracy of TF-IDF falls most, to little more than that of always answering "positive". A likely reason is that cameras and movies are praised in different words. On movies, we could not tell the students from TF-IDF. On electronics, the students are
# far ahead. The teacher adds a little, but not clearly: one of three seeds disagrees.
#
# ## 9 · Look inside, and use it
#
# **Attention** weights say how much information each token takes from each other token. Every attention head in a layer has its own weights. The three losses do not compare them. How much do teacher and student still have in common?
#
# The darker a cell, the more its row's token attends to its column's token. Look at the column [CLS].

# %% jupyter={"source_hidden": true}
sentence = "A slow start, but the ending moved me."
tokens, of_teacher = sliders.attention_maps(teacher, tokenizer, sentence)
pairs = [{"teacher": 2 * i + 1, "student": i} for i in range(3)]
both = {"teacher": of_teacher, "student": sliders.attention_maps(distilled, tokenizer, sentence)[1]}
copied = sliders.attention_maps(student, tokenizer, sentence)[1]
common = sliders.overlap(of_teacher[-1][0], copied[-1][0])
print(f"the untrained copy, layer 3, head 1: {common:.0%} in common with the teacher")
sliders.attention_explorer(tokens, both, pairs)

# %% [markdown]
# In this head, most tokens attend to [CLS] more in the student than in the teacher. Move the sliders: in most other heads it is the other way around.
#
# The title on the right says how much the two have in common. In each cell we take the smaller of the two weights, sum each row, and average the rows. The untrained copy has about as much in common with the teacher (line above the figure). So the share fell short of 100 % before training already. Training did not bring the two closer; no loss asks it to.
#
# Does attention explain *why* a model answers as it does?
# Jain & Wallace 2019 doubt it. They studied mostly recurrent networks with one attention layer, so their results need not hold for the heads of a transformer. Wiegreffe & Pinter 2019 reply that it depends on what you ask of an explanation.
#
# Now use the student. It is a plain `transformers` model, so it works with `pipeline`. The score is the model's probability of its answer.
#
# **Predict first.** How sure is the student about "asdf qwer"?

# %%
classify = transformers.pipeline("sentiment-analysis", distilled, tokenizer=tokenizer, device="cpu")
for line in ("I love this movie!", "I expected to love this movie.", "asdf qwer"):
    (answer,) = classify(line)
    print(f"{line:32} {answer['label']} {answer['score']:.2f}")

# %% [markdown]
# Even this nonsense gets a high score. And the student takes "I expected to love this movie" for praise.
#
# Now compare the student with its teacher. The figure starts with the shortest validation sentence on which the two disagree. Write your own and press Enter.

# %% jupyter={"source_hidden": true}
both = {"teacher": teacher, "student": distilled}
apart = torch.where(correct["teacher"] != correct["student with teacher"])[0].tolist() or [0]
sentences = datasets.reviews()["validation"].select(apart)  # columns "text" and "label"
shortest = min(sentences, key=lambda row: len(row["text"]))
label = {shortest["text"]: teacher.config.id2label[shortest["label"]]}
sliders.answers_explorer(both, tokenizer, shortest["text"], label)

# %% [markdown]
# ## The claims
#
# Each claim has a margin that we wrote down before we measured. For a difference, we widen the interval until it contains every seed's difference. So the claim holds only if
# it holds for each seed. All rows but the first two are about the student from the teacher's layers 2, 4, and 6.

# %% jupyter={"source_hidden": true}
claims, gap = lessons.Claims(test, amazon), tables.gap
claim = partial(claims.add, unit="points")
for shape, ratios in speed.items():
    said = f"DistilBERT is 60 % faster than BERT-base ({shape}, PyTorch)"
    value = evaluation.controlled(ratios["DistilBERT"], ratios["a second BERT-base"])
    claims.add(said, value=value, margin=1.6, unit="×", source="Sanh et al. 2019, table 3")
look = {"margin": 0, "side": "below", "source": "Sanh et al. 2019, table 4"}
for loss in ("soft", "hard", "cosine"):
    value = gap(left_out[f"without the {loss} loss"], taught[ours])
    claim(f"Without the {loss} loss the student is worse", value=value, **look)
said = "With all 2,560 labels, the teacher changes the accuracy by less than 1 point"
claim(said, value=gap(taught[ours], alone[ours]), margin=0.01, side="within")
said = "After training, layers 2, 4, 6 are a better start than 1, 3, 5"
claim(said, value=gap(taught[ours], taught[odd]), margin=0)
said = "A student with half of the layers keeps 97 % of its teacher's accuracy"
look = {"unit": "%", "source": "Sanh et al. 2019, abstract (there: of the score on GLUE)"}
claim(said, value=evaluation.retained(taught[ours], teacher_right), margin=0.97, **look)
said = "Outside the domain, the student with teacher beats the one with labels alone"
claim(said, value=gap(with_teacher, labels_alone), margin=0)
by_labels, by_hard, by_three = (by[ours, way] for way in ways)
said = "With 200 labels, a teacher and unlabeled text add more than 2 points"
claim(said, value=gap(by_three, by_labels), margin=0.02)
said = "With 200 labels, the three losses beat the teacher's hard answers"
claim(said, value=gap(by_three, by_hard), margin=0)
claims

# %% [markdown]
# ## Recap
#
# - DistilBERT is BERT with half of its layers. That saves about half of the work, but less than half of the parameters, because the embeddings stay.
# - "60 % faster" stands for 1.63 times as fast in the paper's table, which is 39 % less time.
# - If every sentence has a label, the start matters more than the teacher. To find the better start, you have to train.
# - If you have few labels and much text, the teacher adds several points by labeling the text, and its hard answers are enough.
# - "97 % of the teacher" means something only beside a simple model and the same student without a teacher.
#
# ## Quiz
#
# **1.** You halve the layers of a model whose embeddings are 60 % of its parameters. How much smaller is it, and how much faster?
# <details><summary>Answer</summary>Half of the other 40 %, so 20 % smaller. But it is about twice as fast, because looking up embeddings takes almost no time.</details>
#
# **2.** You pad all sentences to 128 tokens and compute the cosine loss without a mask. What goes wrong?
# <details><summary>Answer</summary>Most of the loss comes from padding, so a low loss says little about the words.</details>
#
# **3.** A student has 84 %, its teacher 87 %, a linear model 80 %. What share of the accuracy, and of the gain, does the student keep? What else do you need to know before you credit the distillation?
# <details><summary>Answer</summary>97 % of the accuracy (84 / 87), but 57 % of the gain over the linear model (4 / 7). You need the accuracy of the same student without a teacher.</details>
#
# **4.** When would you expect the most from a teacher?
# <details><summary>Answer</summary>If you have few labels and a lot of unlabeled text, because the teacher can label that text. Compare with its hard answers before you credit the soft ones.</details>
#
# ## Try it yourself
#
# In the [exercises of this lesson](../exercises/04_distilbert.ipynb) you choose layers, write the losses, and beat a student of two layers. To distill BERT-base on Wikipedia, see [docs/scaling.md](../docs/scaling.md).
#
# ## References
#
# - Sanh, Debut, Chaumond & Wolf 2019, *DistilBERT, a distilled version of BERT*: sections 2 to 4, tables 1, 3 and 4.
# - Devlin et al. 2019, *BERT*: section 3; Vaswani et al. 2017, *Attention is all you need*: section 3.2.1.
# - Wang et al. 2020, *MiniLM*: section 3; Reimers & Gurevych 2019, *Sentence-BERT*: section 3 (the pretrained encoder).
# - Jain & Wallace 2019, *Attention is not explanation*: sections 4 and 5; Wiegreffe & Pinter 2019, *Attention is not not explanation*: 3 and 4.
# - Hutto & Gilbert 2014, *VADER*: section 3 (the movie reviews); Hu & Liu 2004, *Mining and summarizing customer reviews*: section 4 (electronics).
# - Efron & Tibshirani 1993, *An introduction to the bootstrap*: section 13.3.
