# %% [markdown]
# # Exercises 4 · DistilBERT
#
# **You need** [lesson 4](../notebooks/04_distilbert.ipynb). **Time** about 87 minutes; the computer works about one
# of them.
#
# Write your answer where it says `YOUR CODE HERE`, run it, then run the check below it. A check says what it tried, what
# came and what was expected. If your answer makes a known mistake, it says which one. It also says what it did *not* look
# at, so keep your own eyes open. Stuck? Open one hint at a time.
#
# A function leaves its arguments as they are, unless its name ends in `_`. Leave `course_lib.distillation` and `course_lib.evaluation` aside until the challenge: you are writing them.

# %% tags=["setup"]
# the first cell of every lesson

# %% nbgrader={"grade": false, "grade_id": "imports", "locked": true, "schema_version": 3, "solution": false, "task": false}
import copy
import statistics
import time
from functools import partial

import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import nn

from course_lib import checks, datasets, distillation, evaluation, models, training
from course_lib.checks import lesson4

# %% [markdown]
# ## 1 · Which layers
#
# **Goal** spread a student's layers evenly over its teacher's. **5 minutes, difficulty 1 of 3**
#
# `layers_to_take(of, take)` lists which layers to take, whole numbers that can index a list, counted from 0, in rising order: the teacher's `of` layers fall into `take` groups of
# neighbors, and the student gets the first one of each. `take` divides `of`. Six of twelve is DistilBERT.
#
# <details><summary>Hint 1</summary>Write down 6 of 12, then 2 of 6. Where do you begin, and how far apart do they lie?</details>
# <details><summary>Hint 2</summary>How many layers are in a group? That is the step.</details>
# <details><summary>Hint 3</summary>list(range(2, 9, 3)) is [2, 5, 8]. Which three numbers do you need?</details>


# %% nbgrader={"grade": false, "grade_id": "layers_to_take", "locked": false, "schema_version": 3, "solution": true, "task": false}
def layers_to_take(of, take):
    ### BEGIN SOLUTION
    return list(range(0, of, of // take))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-layers_to_take", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.layers_to_take(layers_to_take)

# %% [markdown]
# ## 2 · A student from its teacher's layers
#
# **Goal** make a student that begins with what its teacher knows, and is a model of its own. **10 minutes, difficulty 2 of 3**
#
# `student_from(teacher, layers)` takes a `BertForSequenceClassification` and layer numbers, counted from 0, and gives a model of the same
# class: these layers, the teacher's embeddings, pooler and classifier. The teacher's layers are in `teacher.bert.encoder.layer`, an
# `nn.ModuleList`. Nothing of the teacher may change, not even later, when the student is trained; and the student's `config` must say
# how many layers it has. Both models can be trained afterwards; the student may be in training or in eval mode.
#
# <details><summary>Hint 1</summary>What is quicker: to build a small model and fill it with weights, or to copy the large one and take layers out?</details>
# <details><summary>Hint 2</summary>copy.deepcopy copies a model with its config and all tensors. After that you may do with the copy what you like.</details>
# <details><summary>Hint 3</summary>Two things say how many layers there are: the list of them, which PyTorch must know as modules, and the config.</details>


# %% nbgrader={"grade": false, "grade_id": "student_from", "locked": false, "schema_version": 3, "solution": true, "task": false}
def student_from(teacher, layers):
    ### BEGIN SOLUTION
    student = copy.deepcopy(teacher)
    encoder = student.bert.encoder
    encoder.layer = nn.ModuleList(encoder.layer[i] for i in layers)
    student.config.num_hidden_layers = len(layers)
    return student
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-student_from", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.student_from(student_from)

# %% [markdown]
# ## 3 · The cosine loss with its mask
#
# **Goal** compare what two models think of each word, and of words alone. **10 minutes, difficulty 2 of 3**
#
# `cosine_loss(student, teacher, mask)` takes last hidden states, `[batch, length, width]`, and the attention mask `[batch, length]`, 1 for a
# word and 0 for padding. It gives $1 - \cos(\text{student}, \text{teacher})$ of each word's two vectors, as the mean over all words of the
# batch: a tensor of one number, through which the gradient flows to the student. What stands in the padding must not matter, not even nan, neither to the loss nor to its gradient. No gradient may flow into the teacher's side, not even where its hidden
# states would let one through.
#
# Paper first: the angles between (1, 0) and (2, 0), between (0, 2) and (3, 3). What is the loss?
#
# <details><summary>Hint 1</summary>F.cosine_similarity has an argument dim. Which dimension holds the numbers of one vector?</details>
# <details><summary>Hint 2</summary>Lesson 3's exercise 6: multiplying does not take nan away. A bool mask picks.</details>
# <details><summary>Hint 3</summary>tensor[mask.bool()] of [batch, length, width] is [words, width]. And .detach() takes a tensor out of the graph.</details>


# %% nbgrader={"grade": false, "grade_id": "cosine_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cosine_loss(student, teacher, mask):
    ### BEGIN SOLUTION
    words = mask.bool()
    mine, theirs = student[words], teacher.detach()[words]  # [words, width]
    return (1 - F.cosine_similarity(mine, theirs, dim=-1)).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-cosine_loss", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.cosine_loss(cosine_loss)

# %% [markdown]
# ## 4 · The triple loss
#
# **Goal** put DistilBERT's three losses together, labels or not. **15 minutes, difficulty 3 of 3**
#
# $L = 5 \cdot \text{soft} + 2 \cdot \text{hard} + 1 \cdot \text{cosine}$, for `triple_loss(student, teacher, labels, mask)`. Student and teacher are outputs of
# `transformers` models: `.logits` is `[batch, classes]`, `.hidden_states` a tuple of `[batch, length, width]`, from the embeddings' to the last
# layer's.
#
# - soft: $T^2 \cdot KL(\text{teacher}_T\,\|\,\text{student}_T)$ at T = 2, the mean over the batch;
# - hard: cross-entropy, the mean over the sentences that have a label (−100 means: none), and 0 if no sentence of the batch has one;
# - cosine: exercise 3's, of the last hidden states.
#
# The answer is a tensor of one number, through which the gradient flows to the student; none may flow into the teacher. The teacher may have more layers than the student.
#
# <details><summary>Hint 1</summary>Write three lines, one for each loss, and print them apart before you add them up.</details>
# <details><summary>Hint 2</summary>F.cross_entropy leaves −100 out by itself. What is its mean if nothing is left? Its sum?</details>
# <details><summary>Hint 3</summary>A sum over no label is 0, and 0 may be divided by anything but 0: .clamp(min=1) sees to that. And which two things does the teacher give, into which nothing may flow back?</details>


# %% nbgrader={"grade": false, "grade_id": "triple_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def triple_loss(student, teacher, labels, mask):
    ### BEGIN SOLUTION
    T, told = 2, teacher.logits.detach()
    log_q, p = F.log_softmax(student.logits / T, -1), F.softmax(told / T, -1)
    soft = T**2 * F.kl_div(log_q, p, reduction="batchmean")

    known = (labels != -100).sum().clamp(min=1)
    hard = F.cross_entropy(student.logits, labels, reduction="sum") / known

    words = mask.bool()
    mine, theirs = student.hidden_states[-1][words], teacher.hidden_states[-1].detach()[words]
    cosine = (1 - F.cosine_similarity(mine, theirs, dim=-1)).mean()
    return 5 * soft + 2 * hard + cosine
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-triple_loss", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.triple_loss(triple_loss)

# %% [markdown]
# ## 5 · A latency, measured properly
#
# **Goal** measure what a user waits for, and nothing else. **12 minutes, difficulty 3 of 3**
#
# `latency(models, tokenizer, line, rounds, clock)` gives a dict, model name → milliseconds of one call, the median over `rounds` (of an even number, the mean of the two in the middle). `models` is a
# dict of modules, which may come in training mode, and may stay in eval mode; `tokenizer(line)` makes the batch, a dict, and `model(**batch)` answers. `clock()` gives the
# time in seconds. Outside it is `time.perf_counter`; the check gives you a made-up machine, on which every answer is exact.
#
# By the course's rules of measuring: models in eval mode, no gradient, tokenizing left out, a call of each model to warm up, and in each round
# each model is timed once, in turns.
#
# <details><summary>Hint 1</summary>Two loops, one inside the other. Which is the outer one, models or rounds, if they take turns?</details>
# <details><summary>Hint 2</summary>Everything that is not timed comes before the loops: the batch, eval(), one call of each model.</details>
# <details><summary>Hint 3</summary>statistics.median([1, 9, 2]) is 2: it takes a list. Which list belongs to which model, and which context says that nothing is to be learned?</details>


# %% nbgrader={"grade": false, "grade_id": "latency", "locked": false, "schema_version": 3, "solution": true, "task": false}
def latency(models, tokenizer, line, rounds, clock):
    ### BEGIN SOLUTION
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
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-latency", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.latency(latency)

# %% [markdown]
# Now with a real clock: MiniLM's six layers and two of them. Guess the ratio first.

# %% nbgrader={"grade": false, "grade_id": "real-clock", "locked": true, "schema_version": 3, "solution": false, "task": false}
six = models.load_encoder()
both = {"six layers": six, "two layers": distillation.student_from_teacher(six, (0, 3))}
tokens = partial(models.load_tokenizer(), return_tensors="pt")
latency(both, tokens, "It starts well and goes on for far too long.", 9, time.perf_counter)

# %% [markdown]
# Is it three times? What could make it less, or more?
#
# <details><summary>Answer</summary>Less: the embeddings, the pooler, the classifier and Python take their time in both. More: the
# weights of two layers fit better into the processor's cache. And a median alone does not say how sure it is: the course's
# `evaluation.latency` keeps the samples of each round, and `faster_than` says "cannot tell" where the interval of the ratio contains 1.</details>
#
# ## 6 · Read a paired test
#
# **Goal** say of two models on the same sentences which one is better, or that you cannot tell. **10 minutes, difficulty 2 of 3**
#
# `compare(right_a, right_b)` takes two bool tensors `[n]`: which sentences model A answers rightly, and model B. It gives a dict with
#
# - `"p"`: the p value of the exact paired test (McNemar), two-sided. If both were equally good, each sentence that just one of them gets right
#   would be a coin flip. Where no such sentence is, p is 1. It is a number, not rounded;
# - `"verdict"`: `"A is better"`, `"B is better"`, or `"no significant difference"`, at the 5 % level.
#
# Paper first: A alone is right 6 times, B alone never. How often does a coin fall on one side six times out of six?
#
# <details><summary>Hint 1</summary>Two counts are enough: A right and B wrong, B right and A wrong. On all other sentences they agree.</details>
# <details><summary>Hint 2</summary>(right_a & ~right_b).sum() is the first. binomtest(k, n).pvalue asks how odd k heads in n throws are, in both directions.</details>
# <details><summary>Hint 3</summary>binomtest wants at least one throw and whole numbers: int(…). First p, then its verdict: is p less than 0.05? If so, whose count is larger?</details>


# %% nbgrader={"grade": false, "grade_id": "compare", "locked": false, "schema_version": 3, "solution": true, "task": false}
def compare(right_a, right_b):
    ### BEGIN SOLUTION
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    differ = only_a + only_b
    p = binomtest(only_a, differ).pvalue if differ else 1.0
    winner = "A is better" if only_a > only_b else "B is better"
    return {"p": p, "verdict": winner if p < 0.05 else "no significant difference"}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-compare", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.compare(compare)

# %% [markdown]
# Two students get p = 0.3 on 2,000 sentences. Which of these may you say? (a) They are equally good. (b) With 30 % chance they are equally
# good. (c) If they were equally good, three tests in ten would show a split as uneven as this or more. (d) With more sentences there may be a
# difference.
#
# <details><summary>Answer</summary>(c), which is what p means, and (d). Not (a): nothing was found, which is not the same as nothing being there.
# Not (b): p is computed as if they were equal, so it cannot say how likely that is.</details>
#
# ## 7 · Challenge: beat a student of two layers
#
# **Goal** make a better student of two layers than a plain recipe does, and prove it. **25 minutes, difficulty 3 of 3**
#
# Here is a small world, so that an attempt takes seconds: pictures of digits, cut into 16 patches instead of sentences into words, and a vision transformer
# that was trained on 3,500 of them. Its layers are BERT's. `theirs` is its student by a plain recipe, which the check calls the lesson's: layers 1 and 4
# (`(0, 3)` in code), the soft loss at T = 2, learning rate 2e-4, in four passes.

# %% nbgrader={"grade": false, "grade_id": "small-world", "locked": true, "schema_version": 3, "solution": false, "task": false}
mnist, vit, theirs = datasets.mnist(), lesson4.vit_teacher(), lesson4.vit_student()
told = evaluation.predict(vit, mnist["train"])  # its logits: ask once, use them for many students
for name, model in {"teacher": vit, "lesson's student": theirs}.items():
    print(f"{name}: {evaluation.evaluate(model, mnist['validation'])}")

# %% [markdown]
# Give `my_student`: at most two layers, of the same width, made from the same teacher. The check compares it with `theirs` by the paired test, on 1,000 pictures
# that nobody has seen; you have to be better at the 5 % level. You may use anything in `course_lib`.
#
# **Budget** four passes over the training pictures in all. Decide on `mnist["validation"]`; run the check once you have decided, not to decide. What helps
# most: other layers, another T or alpha, larger steps? Change one thing at a time.
#
# <details><summary>Hint 1</summary>A recipe belongs to a model and its data. Which number of this one was found for 22 million parameters, and not for 20 thousand?</details>
# <details><summary>Hint 2</summary>Print `fitted.history`. If the loss still falls quickly at the end, the student was not done learning.</details>
# <details><summary>Hint 3</summary>distillation.distill(student, told, mnist, training.Recipe(…), loss=…).model, with a learning rate ten times as large, warm-up and decay. loss=partial(distillation.distillation_loss, T=…, alpha=…).</details>

# %% nbgrader={"grade": false, "grade_id": "two_layer_student", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
recipe = training.Recipe(4, lr=3e-3, batch_size=32, warmup=0.1, decay=True)
soft_and_hard = partial(distillation.distillation_loss, T=2, alpha=0.7)
start = distillation.student_from_teacher(vit, (0, 3))
fitted = distillation.distill(start, told, mnist, recipe, loss=soft_and_hard)
my_student = fitted.model
on_validation = [evaluation.correct(model, mnist["validation"]) for model in (my_student, theirs)]
print("validation:", fitted.validation)
print("against the lesson's:", evaluation.paired_test(*on_validation))
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "check-two_layer_student", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.two_layer_student(my_student)

# %% [markdown]
# ## And then
#
# - Compare your functions with [course_lib/distillation](../course_lib/distillation) and [course_lib/evaluation](../course_lib/evaluation). What do they guard
#   against that yours do not?
# - How close to the teacher does your student come? And one with a single layer?
# - Was it the teacher? Train the same two layers on the labels alone, at the same budget, and compare by the paired test.
# - On to lesson 5, where all of it comes together.
