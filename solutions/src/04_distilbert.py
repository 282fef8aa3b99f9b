# %% [markdown]
# # Exercises 4 · DistilBERT
#
# **You need** [lesson 4](../notebooks/04_distilbert.ipynb). **Time** about 87 minutes; the computer works about one
# of them.
#
# Write your answer where it says `YOUR CODE HERE`, run that cell, and then run the check below it. The check prints what it tried, what
# came out, and what was expected. If your answer makes a known mistake, the check names it. It also prints what it does *not* test.
# If you are stuck, open one hint at a time.
#
# A function must not change its arguments, unless its name ends in `_` or the text allows it. Where the text asks for a number, a float and a tensor with one element are both fine.
# The check looks at gradients only where the text mentions them. Do not use `course_lib.distillation` and `course_lib.evaluation` before the challenge, because you are writing them.

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
# `layers_to_take(of, take)` returns a list of the teacher's layers that the student copies, in rising order: integers that count from 0 and can index a list. A tensor of them will do, too. Divide the teacher's `of` layers into `take` groups of
# neighbors of equal size, and take the first layer of each group. `take` divides `of`. DistilBERT takes six of twelve layers.
#
# <details><summary>Hint 1</summary>Write down the layers for 6 of 12, and then for 2 of 6. Which is the first, and how far apart are they?</details>
# <details><summary>Hint 2</summary>How many layers are in one group? This is also the distance between two layers.</details>
# <details><summary>Hint 3</summary>list(range(2, 9, 3)) is [2, 5, 8]. What are the three numbers here?</details>


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
# **Goal** make a student that starts from its teacher's weights and is independent of the teacher. **10 minutes, difficulty 2 of 3**
#
# `student_from(teacher, layers)` takes a `BertForSequenceClassification` and a list of layer numbers in rising order, counted from 0. It returns a model of the same
# class with copies of these layers, in this order, and of the teacher's embeddings, pooler and classifier. The teacher's layers are in `teacher.bert.encoder.layer`, an
# `nn.ModuleList`.
#
# The teacher must not change, not even when the student is trained later, so the two must share no tensors and no config. The `num_hidden_layers` of the student's config must be the number of its
# layers. All parameters of both models must be trainable afterwards. The student may be in train or eval mode.
#
# <details><summary>Hint 1</summary>Which is easier: to build a small model and fill it with weights, or to copy the large model and remove layers?</details>
# <details><summary>Hint 2</summary>copy.deepcopy copies a model with its config and all its tensors. You can change the copy freely.</details>
# <details><summary>Hint 3</summary>The number of layers is in two places: the list of layers, which must be an nn.ModuleList, and the config.</details>


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
# **Goal** compare the hidden states of two models for every token, without the padding. **10 minutes, difficulty 2 of 3**
#
# `cosine_loss(student, teacher, mask)` takes the last hidden states of both models, `[batch, length, width]`, and the attention mask `[batch, length]`, integers, 1 for a
# token and 0 for padding. For each token, compute $1 - \cos(\text{student}, \text{teacher})$ of its two vectors. Return the mean over all tokens of the
# batch, as a tensor with one number.
#
# The gradient must flow to the student, but not to the teacher, even if the teacher's hidden states require a gradient. The values in the padding must not matter, even if they are NaN: neither for the loss nor for its gradient.
#
# First, on paper: what is the angle between (1, 0) and (2, 0), and between (0, 2) and (3, 3)? What is the loss of these two tokens?
#
# <details><summary>The answer on paper</summary>The angles are 0° and 45°. The losses are 0 and 1 − 0.707 = 0.293, so the mean is 0.146.</details>
#
# <details><summary>Hint 1</summary>F.cosine_similarity has an argument dim. Which dimension holds the numbers of one vector?</details>
# <details><summary>Hint 2</summary>As in exercise 6 of lesson 3, multiplying by the mask does not remove NaN. Select the tokens with a bool mask.</details>
# <details><summary>Hint 3</summary>Indexing [batch, length, width] with a bool mask [batch, length] gives [tokens, width]. And how do you keep the gradient away from the teacher?</details>


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
# **Goal** combine DistilBERT's three losses, with labels or without. **15 minutes, difficulty 3 of 3**
#
# `triple_loss(student, teacher, labels, mask)` returns $L = 5 \cdot \text{soft} + 2 \cdot \text{hard} + 1 \cdot \text{cosine}$. `student` and `teacher` are outputs of
# `transformers` models: `.logits` is `[batch, classes]`, and `.hidden_states` is a tuple of tensors `[batch, length, width]`, from the embeddings to the last
# layer. The teacher may have more layers than the student.
#
# - soft: $T^2 \cdot KL(\text{teacher}_T\,\|\,\text{student}_T)$ at T = 2, averaged over the batch;
# - hard: cross-entropy without temperature, averaged over the sentences that have a label (a label of −100 means no label). It is 0 if no sentence of the batch has one;
# - cosine: the loss of exercise 3, of the last hidden states.
#
# The result is a tensor with one number. The gradient must flow to the student, and not to the teacher.
#
# <details><summary>Hint 1</summary>Compute the three losses on three lines, and print each before you add them up.</details>
# <details><summary>Hint 2</summary>F.cross_entropy leaves −100 out by itself. What is the mean of no sentences? And the sum?</details>
# <details><summary>Hint 3</summary>The sum over no label is 0, so only the division needs care: .clamp(min=1) replaces a 0. And which two tensors come from the teacher?</details>


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
# **Goal** measure the time of a model's forward pass, and nothing else. **12 minutes, difficulty 3 of 3**
#
# `latency(models, tokenizer, line, rounds, clock)` returns a dict from model names to milliseconds for one call: the median over `rounds`. With an even number of rounds, this is the mean of the two middle values.
#
# - `models` is a dict from names to modules, which may be in training mode.
# - `tokenizer(line)` returns the batch as a dict, and `model(**batch)` is one call.
# - `clock()` returns the time in seconds, like `time.perf_counter`. The check uses an artificial clock and artificial models, so that the right result is exact.
#
# Follow the course's rules: put every model in eval mode, record no gradient, tokenize before you measure, and call each model once to warm up. Then, in each round,
# time each model once, one after the other. You may leave the models in eval mode. A model that was in eval mode must stay in it.
#
# <details><summary>Hint 1</summary>You need two nested loops. If the models take turns, which loop is the outer one: models or rounds?</details>
# <details><summary>Hint 2</summary>Everything that is not timed comes before these loops: the batch, eval(), and one call of each model.</details>
# <details><summary>Hint 3</summary>statistics.median takes a list and averages the two middle values if it must. Each model needs its own list. Which context keeps autograd from recording?</details>


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
# Now measure with a real clock: MiniLM with six layers, and a model with two of them. Guess the ratio of the two times first.

# %% nbgrader={"grade": false, "grade_id": "real-clock", "locked": true, "schema_version": 3, "solution": false, "task": false}
six = models.load_encoder()
both = {"six layers": six, "two layers": distillation.student_from_teacher(six, (0, 3))}
tokens = partial(models.load_tokenizer(), return_tensors="pt")
latency(both, tokens, "It starts well and goes on for far too long.", 9, time.perf_counter)

# %% [markdown]
# Is the ratio three? What could make it smaller or larger?
#
# <details><summary>Answer</summary>Smaller: both models spend the same time on the embeddings, the pooler, the classifier and Python. Larger: the
# weights of two layers fit into the processor's cache more easily. And a median alone does not say how precise it is. The course's
# `evaluation.latency` keeps the time of each round, and `faster_than` says "cannot tell" if the interval of the ratio contains 1.</details>
#
# ## 6 · A paired test
#
# **Goal** say which of two models is better on the same sentences, or that you cannot tell. **10 minutes, difficulty 2 of 3**
#
# The lessons compare two models by the paired interval of their difference. Here you compute the exact paired test (McNemar), which reads the same two counts: how many sentences only A
# gets right, and how many only B. Suppose both models are equally good. Then each of these sentences is like a coin flip. The **p value** is the probability that the flips are split as unevenly as here, or more
# unevenly, in either direction.
#
# `compare(right_a, right_b)` takes two bool tensors `[n]`: which sentences model A gets right, and which model B gets right. It returns a dict with
#
# - `"p"`: the p value as a number, not rounded. If there are no such sentences, it is 1;
# - `"verdict"`: `"A is better"` or `"B is better"` if p is less than 0.05, and otherwise `"no significant difference"`. The last one means what the lessons call *cannot tell*: it does not mean that the models are equally good.
#
# First, on paper: only A is right 6 times, and only B never. How often do six coin flips all come out the same?
#
# <details><summary>The answer on paper</summary>In 2 of 64 cases, because all six can be heads or all six tails. So p is 0.031.</details>
#
# <details><summary>Hint 1</summary>You need two counts: A right and B wrong, and B right and A wrong. The other sentences do not matter.</details>
# <details><summary>Hint 2</summary>(right_a & ~right_b).sum() is the first count. binomtest(k, n).pvalue is the probability of a split at least as uneven as k heads in n flips, in either direction.</details>
# <details><summary>Hint 3</summary>binomtest needs integers and at least one flip. The p value does not say which model is better, but the counts do.</details>


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
# Two students have p = 0.3 on 2,000 sentences. Which of these statements are right? (a) They are equally good. (b) The probability that they are equally
# good is 30 %. (c) If they were equally good, about three tests in ten would show a split as uneven as this one, or more. (d) With more sentences, a difference might
# show.
#
# <details><summary>Answer</summary>(c), which is what p means, and (d). Not (a): the test cannot tell, and the interval of the difference would show how large a difference is still possible.
# Not (b): p is computed as if the models were equal, so it cannot be the probability that they are.</details>
#
# ## 7 · Challenge: beat a student of two layers
#
# **Goal** make a better student of two layers than a given one, and show it with the paired test. **25 minutes, difficulty 3 of 3**
#
# So that a try takes seconds, this challenge uses images of digits and not sentences. A vision transformer reads each image as 16 patches, and its layers are like BERT's. The teacher, `vit`, has six layers and
# was trained on 3,500 images. `theirs` is a student by a plain recipe, and the check calls it the lesson's: layers 1 and 4
# (`(0, 3)` in code), the soft loss at T = 2, a learning rate of 2e-4, four epochs.

# %% nbgrader={"grade": false, "grade_id": "small-world", "locked": true, "schema_version": 3, "solution": false, "task": false}
mnist, vit, theirs = datasets.mnist(), lesson4.vit_teacher(), lesson4.vit_student()
told = evaluation.predict(vit, mnist["train"])  # its logits: ask once, use them for many students
for name, model in {"teacher": vit, "lesson's student": theirs}.items():
    print(f"{name}: {evaluation.evaluate(model, mnist['validation'])}")

# %% [markdown]
# Make `my_student` from the same teacher, with at most two layers and the same width. The check compares it with `theirs` on the 1,000 test
# images. It passes if the paired test says that yours is better, with p less than 0.05. You may use anything in `course_lib`.
#
# **Budget** four epochs in total. Decide on `mnist["validation"]`, and run the check only after you have decided. What helps
# most: other layers, another T or alpha, or a larger learning rate? Change one thing at a time.
#
# <details><summary>Hint 1</summary>A recipe fits one model and its data. Which number in this one was chosen for a model of 22 million parameters, and not of 20 thousand?</details>
# <details><summary>Hint 2</summary>Print `fitted.history`. If the loss still falls quickly in the last epoch, the student has not finished learning.</details>
# <details><summary>Hint 3</summary>distillation.distill(student, told, mnist, training.Recipe(…), loss=…) returns the result. A loss with other settings is partial(distillation.distillation_loss, T=…, alpha=…). Recipe also has warmup and decay. How much larger can the learning rate be with them?</details>

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
# ## What next?
#
# - Compare your functions with [course_lib/distillation](../course_lib/distillation) and [course_lib/evaluation](../course_lib/evaluation). Which inputs does that code handle
#   that yours does not?
# - How close does your student come to the teacher? And a student with a single layer?
# - Was it the teacher that helped? Train the same two layers on the labels alone, with the same number of epochs, and compare with the paired test.
# - Go on to [lesson 5](../notebooks/05_combined_compression.ipynb), which combines all techniques.
