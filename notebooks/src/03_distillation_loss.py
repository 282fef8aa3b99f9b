# %% [markdown]
# # Lesson 3 · The distillation loss
#
# **What does a teacher's answer hold that a label does not, and when does it help?**
#
# In **distillation**, a small network, the **student**, learns from the answers of a larger one, the **teacher**. The student is cheaper to run,
# and can become better than the same network trained on labels alone. You will be able to
#
# - say what is in a teacher's answer, and what temperature does to it;
# - write the distillation loss, and use it in a training loop;
# - say where the factor T² comes from;
# - decide whether a teacher will help you, and what to use it for.
#
# **You need** lesson 1, above all its box on intervals and verdicts.
#
# **Time** about 55 minutes; the computer works about 9 of them, mostly on the teacher for text, which it trains once and stores.
#
# At *Predict first*, write down a guess. Two cells have a gap for your code, which may stay empty.
# You can skip the collapsed cells: they load results and draw figures.

# %% tags=["setup"]
# the first cell of every lesson

# %% tags=["parameters"] jupyter={"source_hidden": true}
profile = "full"

# %%
from course_lib import lessons

settings = lessons.start("lesson3", profile)

import torch
import torch.nn.functional as F
from pandas import DataFrame
from torch.utils.data import DataLoader, TensorDataset

from course_lib import datasets, distillation, evaluation, models, training
from course_lib.lessons import diagrams, fill_in, plots, sliders, tables

mnist = datasets.mnist()  # 3,500 training images, 500 for validation, 1,000 in the test set

# %% [markdown]
# ## The result first
#
# We took all images of a 3 out of the training set. Then we trained the same student three times on the rest: on the true labels, on the teacher's
# **hard answers** (its most probable digit), and on its **soft answers** (its probabilities for all ten digits).
# The teacher was trained on all digits. The experiment is from Hinton, Vinyals & Dean 2015, section 3. [A script](experiments/lesson3_never_saw_3.py) stored the results.

# %% jupyter={"source_hidden": true}
never = lessons.results("lesson3_never_saw_3")
test = lessons.TestSet(mnist.pop("test"), "test set of digits")
test_images, digits = test.dataset.tensors
first = torch.where(digits == 3)[0][:12]
students = {"true labels": ("labels", 0), "hard answers": ("hard", 0)}
students["soft answers, T = 20"] = ("soft", 20)
shown = {
    name: never.column("answers", seen="no 3", way=way, T=T)[0][first]
    for name, (way, T) in students.items()
}
title = "With soft answers, the student recognizes most of these 3s"
plots.answers(test_images[first], digits[first], shown, title=title)

# %% [markdown]
# These are the first twelve 3s of the test set. The student with soft answers learned what a 3 looks like from the teacher's answers to images of *other* digits.
# Section 2 explains the temperature T.
#
# One correction was needed, as in the paper. A student that never saw a 3 gives class 3 too low a logit. So after training we raise
# the bias of class 3, for each of these students, until the accuracy on the validation set is best. This needs labeled 3s: the validation set has fifty.
#
# The next figure has all 3s of the test set and five seeds.

# %% jupyter={"source_hidden": true}
ways = {"true labels": ("labels", 0), "hard answers": ("hard", 0)}
ways |= {f"soft answers, T = {T}": ("soft", T) for T in never.recipe["temperatures"]}
threes = {name: never.runs(seen="no 3", way=way, T=T) for name, (way, T) in ways.items()}
threes["true labels, 3s included"] = never.runs(seen="all digits")
roles = dict.fromkeys(threes, "student") | {"true labels": "labels", "hard answers": "accent"}
roles["true labels, 3s included"] = "labels"
title = "Soft answers at a high temperature teach what a 3 looks like"
xlabel = "3s of the test set recognized"
plots.show(plots.intervals(threes, title=title, xlabel=xlabel, roles=roles))
right = {}  # bool [seeds, 1000]
for seen, way, T in sorted({(row["seen"], row["way"], row["T"]) for row in never.rows}):
    answers = torch.stack(never.column("answers", seen=seen, way=way, T=T))
    called = f"{seen}, {way}, T = {T}" if T else f"{seen}, {way}"
    right[seen, way, T] = test.stored(called, answers == digits)
some = {"true labels": ("no 3", "labels", 0), "soft answers, T = 20": ("no 3", "soft", 20)}
some |= {"true labels, 3s included": ("all digits", "labels", 0)}
some |= {"soft answers, T = 20, images of 7s and 8s alone": ("7 and 8", "soft", 20)}
told = [f"{right[key].double().mean():.1%}  {name}" for name, key in some.items()]
print("right among all ten digits of the test set:", *told, sep="\n")

# %% [markdown]
# Hard answers teach next to nothing about 3s. Soft answers teach much more, above all at a high temperature.
#
# **A limit.** As in the paper, one student was shown only 7s and 8s. That student is right on far fewer digits (last printed line, with the biases of all eight unseen classes raised).
#
# ## 1 · What is in a teacher's answer
#
# Our teacher for digits is a small CNN. It was trained on the 3,500 training images and on five **altered copies** of each: turned, scaled, and moved a little (Simard et al. 2003).
#
# **Predict first.** A label names one digit. What more can the teacher's ten probabilities say about an image?

# %%
digit_teacher = models.digit_teacher(settings.teacher_images, settings.teacher_copies)
print("the teacher on the validation set:", evaluation.evaluate(digit_teacher, mnist["validation"]))
validation, true = mnist["validation"].tensors
with torch.no_grad():
    logits = digit_teacher(validation)  # [500, 10]
probabilities = logits.softmax(-1)
correct = logits.argmax(-1) == true
second = probabilities.topk(2).values[:, 1]  # each image's second largest probability
unsure = torch.where(correct, second, 0).argmax()  # the largest among the correct answers
other = probabilities[unsure].topk(2).indices[1]
names = [str(digit) for digit in range(10)]
title = f"The label says: {true[unsure]}. The teacher says: {true[unsure]}, or perhaps {other}"
plots.picture_and_bars(validation[unsure], {"": probabilities[unsure]}, names, title=title)

# %% [markdown]
# The probabilities also say which other digits the image resembles. So one image teaches the student about several digits.
# (Of the teacher's correct answers we picked the least certain one.)
#
# ## 2 · Temperature
#
# **Predict first.** On how many of the 500 validation images does the teacher give more than 99 % to one digit? What can such an answer teach that the label does not?
#
# The figure shows such an answer at three temperatures. It is for an 8: of all images of an 8 with over 99.9 %, we took the one with the most probability for 3.

# %%
certain = probabilities.amax(-1) > 0.99
print(f"On {certain.float().mean():.0%} of the images, the teacher gives one digit more than 99 %.")
sure_eights = (true == 8) & (probabilities[:, 8] > 0.999)
eight = torch.where(sure_eights, probabilities[:, 3], 0).argmax()  # the most probability for 3
softened = {f"T = {T}": (logits[eight] / T).softmax(-1) for T in (1, 4, 20)}
title = "Temperature makes small probabilities visible (axis is cut)"
plots.picture_and_bars(validation[eight], softened, names, title=title, top=0.3)

# %% [markdown]
# Most answers are certain (printed line). At T = 1 a certain answer looks like the label, because the other probabilities are too small to count for much. To make them count, we divide the
# **logits**, the ten numbers before the softmax, by a **temperature** $T$:
#
# $$p_i = \frac{e^{v_i / T}}{\sum_j e^{v_j / T}}$$
#
# $v_i$ is the teacher's logit of class $i$, and $p_i$ its probability. $T = 1$ is the ordinary softmax. A larger $T$ moves all probabilities closer together.
#
# What does a student learn from this? A new student gives each digit a probability of about $1/10$. A step on our loss (section 4) moves the student's logit $i$ in proportion to the **push** $T \, (p_i - 1/10)$. It is positive if the teacher gives more than $1/10$, and negative if less. Section 5 explains the factor T.
#
# **Predict first.** Which logits does the image of the 8 raise at T = 1, and which at T = 20? Does an image of a 4 raise or lower the logit of class 3?

# %%
four = ((true == 4) & certain).int().argmax()  # the first certain 4
cases = {"the 8, T = 1": (eight, 1), "the 8, T = 20": (eight, 20), "a 4, T = 20": (four, 20)}
push = {name: T * ((logits[i] / T).softmax(-1) - 1 / 10) for name, (i, T) in cases.items()}
title = "At T = 20, the 8 raises the logit of class 3, and the 4 lowers it"
plots.show(plots.signed_bars(push, names, title=title, ylabel="push on the logit"))
examples = {"the certain one": logits[eight], "the unsure one": logits[unsure]}
sliders.temperature_explorer(examples, names, T=20.0)

# %% [markdown]
# At T = 1 the image of the 8 raises only logit 8, and lowers all others equally. A label would do the same. At T = 20 it also raises some others, mostly of digits that it resembles, such as the 3. The 4 lowers logit 3.
# Not every push is as expected: the 4 raises logit 0 more than logit 9.
# Over thousands of images, the student learns to raise logit 3 for shapes that resemble a 3, and to lower it for others.
#
# Images on which the teacher is unsure raise a second logit at any T. Probably that is why students with T = 1 found some 3s, too.
#
# **Move the slider.** Choose the certain example, set T to 1, and raise it. At which T do you first see the bar of a second digit?
#
# <details><summary>Answer</summary>
#
# At about T = 3 in our run. For the unsure example you see it at any T. The order of the bars never changes.
# </details>
#
# ## 3 · How far is the student from the teacher?
#
# The **Kullback–Leibler divergence** measures how far the student's probabilities $q$ are from the teacher's $p$:
#
# $$KL(p \,\|\, q) = \sum_i p_i \,(\log p_i - \log q_i)$$
#
# **Predict first.** Below, the student gives too little to class 1 and too much to classes 2 and 3. Which of the three terms are negative? Can the sum be negative?

# %% tags=["nbval-check-output"]
p = torch.tensor([0.70, 0.20, 0.10])  # the teacher
q = torch.tensor([0.50, 0.25, 0.25])  # the student
terms = p * (p.log() - q.log())
print(f"the terms: {terms}, their sum: {terms.sum():.4f}")
diagrams.kl_terms(p, q)

# %% [markdown]
# Terms 2 and 3 are negative: there the student gives more than the teacher. The sum is never negative, and it is zero only if $p = q$.
# The KL divergence is not symmetric: the *teacher's* probability weights each term. So the sum is large if the student gives little to a class that has a large teacher probability.
#
# In PyTorch, `F.kl_div(a, b)` computes $b \, (\log b - a)$ for each entry, so `a` must already be a logarithm. By default it averages over *all entries*. With
# `reduction="batchmean"` it sums over the classes and averages over the examples.
#
# **Predict first.** Which of the three calls below agrees with the formula? By what factor is the default off?

# %% tags=["nbval-check-output"]
student_logits = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])  # [examples, classes]
teacher_logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
log_q = student_logits.log_softmax(-1)
log_p = teacher_logits.log_softmax(-1)
p = log_p.exp()
q = log_q.exp()
default = F.kl_div(log_q, p, reduction="none").mean()  # as F.kl_div(log_q, p), which warns
print(f"the formula, mean over the examples {(p * (log_p - log_q)).sum(-1).mean():.4f}")
print(f"kl_div(log_q, p), its default       {default:.4f}")
print(f"kl_div(log_p, q, batchmean)         {F.kl_div(log_p, q, reduction='batchmean'):.4f}")
print(f"kl_div(log_q, p, batchmean)         {F.kl_div(log_q, p, reduction='batchmean'):.4f}")

# %% [markdown]
# The last call agrees. The one before it swaps teacher and student. The default is too small by the number of classes, 3.
#
# ## 4 · The loss and the training loop
#
# If there are labels, the student can learn from both. The weight $\alpha$ is the teacher's share:
#
# $$L = \alpha \, T^2 \, KL(p_T \,\|\, q_T) + (1 - \alpha) \, CE(q_1, y)$$
#
# $p_T$ and $q_T$ are the teacher's and the student's probabilities at temperature $T$. The cross-entropy $CE$ compares the label $y$ with the student at $T = 1$. Section 5 explains the $T^2$. The drawing has $T = 4$ and $\alpha = 0.7$ as an example.

# %% jupyter={"source_hidden": true}
diagrams.teacher_and_student(teacher_logits=(4, 2.5, -2), T=4, alpha=0.7)

# %% [markdown]
# With $\alpha = 1$ **no label is needed**. If only some examples have a label, label the others −100: `F.cross_entropy` leaves those out. For a batch without any label it returns NaN.
#
# **Your turn (1 of 2).** Write this loss.


# %%
def distillation_loss(student_logits, teacher_logits, labels, T, alpha):
    """Logits [n, classes], labels [n] (None if α = 1). Returns α T² KL + (1 − α) CE."""
    ...


true_labels = torch.tensor([0, 1])
examples = [  # the check: do yours and the library's loss agree on these?
    (student_logits, teacher_logits, true_labels, 1.0, 0.5),
    (student_logits, teacher_logits, true_labels, 4.0, 0.7),
    (student_logits, teacher_logits, None, 4.0, 1.0),  # no labels
]
library = distillation.distillation_loss
distillation_loss = fill_in.check(distillation_loss, against=library, examples=examples)

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def distillation_loss(student_logits, teacher_logits, labels, T, alpha):
#     log_q = F.log_softmax(student_logits / T, dim=-1)
#     p = F.softmax(teacher_logits / T, dim=-1)
#     soft = T**2 * F.kl_div(log_q, p, reduction="batchmean")
#     if alpha == 1:  # no label is needed
#         return soft
#     return alpha * soft + (1 - alpha) * F.cross_entropy(student_logits, labels)
# ```
# </details>
#
# Now we train the student of our first figure: LeNet-300-100 from lesson 1, with T = 20 and $\alpha$ = 1. An ordinary loop gets two additions: the teacher's answers, computed without a gradient, and
# this loss. The teacher must be in `eval()` mode, or dropout and batch norm would change its answers.

# %%
images, labels = mnist["train"].tensors
no_threes = TensorDataset(images[labels != 3], labels[labels != 3])
torch.manual_seed(0)
loader = DataLoader(no_threes, batch_size=64, shuffle=True)
student = models.LeNet300()
optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
digit_teacher.eval()
for _ in range(settings.epochs):  # 20
    for batch, _ in loader:  # without the labels
        with torch.no_grad():
            answers = digit_teacher(batch)  # logits [64, 10]
        loss = distillation_loss(student(batch), answers, None, T=20, alpha=1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

# %% [markdown]
# Now we raise the bias of class 3.
#
# **Predict first.** What share of the 3s does the student recognize without the raise? What does a higher bias do to the other digits?

# %%
with torch.no_grad():
    z = student(validation)  # [500, 10]
is_three = F.one_hot(torch.tensor(3), 10)  # 1 for class 3, else 0
raises = range(13)  # + 0 to + 12
found = []  # percent of the 3s, for each raise
right_in_all = []  # percent of all digits
for raised in raises:
    correct = (z + raised * is_three).argmax(-1) == true  # bool [500]
    found.append(100 * correct[true == 3].float().mean().item())
    right_in_all.append(100 * correct.float().mean().item())
best = right_in_all.index(max(right_in_all))
print(f"3s found: {found[0]:.0f} % at + 0, {found[best]:.0f} % at + {best} (best for all digits)")
curves = {"of the 3s": (raises, found), "of all digits": (raises, right_in_all)}
look = {"xlabel": "added to the bias of class 3", "ylabel": "% right, validation set"}
plots.lines(curves, title="A higher bias finds more 3s, but too high a bias costs accuracy", **look)

# %% [markdown]
# Without the raise, the student recognizes few 3s (printed line). With a higher bias the student finds more 3s, but also takes other digits for 3s.
# So we choose the bias by the accuracy on *all* digits. That curve is almost flat from + 3 to + 8, while the share of the 3s rises steeply.
# On this flat part, a few images decide the best bias, and so the share of 3s.
#
# ## 5 · Where T² comes from
#
# **Predict first.** You raise T from 1 to 10 and leave T² out. Does the gradient of the student's logits become larger or smaller, and by how much?

# %% [markdown]
# It becomes smaller. Let $z_i$ and $v_i$ be the logits of student and teacher, and $N$ the number of classes.
#
# **The gradient at any T.** In the KL, only $-\sum_j p_j \log q_j$ depends on the student. Let $u_i = z_i / T$. Then $\log q_j = u_j - \log \sum_k e^{u_k}$. The $p_j$ sum to 1, so
#
# $$-\sum_j p_j \log q_j = -\sum_j p_j u_j + \log \sum_k e^{u_k}$$
#
# Its derivative with respect to $u_i$ is
#
# $$-p_i + \frac{e^{u_i}}{\sum_k e^{u_k}} = q_i - p_i$$
#
# The chain rule adds the factor $1/T$:
#
# $$\frac{\partial KL}{\partial z_i} = \frac{1}{T} (q_i - p_i)$$
#
# **The probabilities at large T.** Adding a constant to all logits does not change a softmax, so let both sets of logits have mean zero. If $z_i / T$ is small, $e^{z_i / T} \approx 1 + z_i / T$, and the sum over the classes is about $N$:
#
# $$q_i \approx \frac{1 + z_i / T}{N}, \qquad p_i \approx \frac{1 + v_i / T}{N}$$
#
# **Both together.** At large $T$
#
# $$\frac{\partial KL}{\partial z_i} \approx \frac{1}{T} \cdot \frac{z_i - v_i}{N T} = \frac{z_i - v_i}{N T^2}$$
#
# So at large $T$ the gradient shrinks as $1/T^2$. One factor $1/T$ is from the chain rule. The other appears because the two distributions become alike.
#
# With the factor $T^2$ the gradient is
# $T (q_i - p_i)$. With $q_i = 1/10$, its negative is the push $T (p_i - 1/10)$ of section 2. At large $T$ the gradient approaches $(z_i - v_i) / N$. So the student learns to **match the teacher's logits** (Hinton et al. 2015, section 2.1).
#
# **Your turn (2 of 2).** Write the gradient of $T^2 \cdot KL$, averaged over the examples, without autograd. The figure applies it to a new student and our teacher, and divides the gradient's size (its norm) by the size of $(z - v) / N$.


# %%
def soft_gradient(student_logits, teacher_logits, T):
    """Logits [n, classes] of both → the gradient [n, classes] of T² · mean KL."""
    ...


def by_autograd(student_logits, teacher_logits, T):
    z = student_logits.clone().requires_grad_()
    loss = distillation_loss(z, teacher_logits, None, T, alpha=1)
    return torch.autograd.grad(loss, z)[0]


examples = [(student_logits, teacher_logits, T) for T in (1.0, 20.0)]  # yours against autograd
soft_gradient = fill_in.check(soft_gradient, against=by_autograd, examples=examples)

# %% jupyter={"source_hidden": true}
z = evaluation.predict(models.build(models.LeNet300), mnist["validation"]).double()  # a new student
v, temperatures = logits.double(), [1, 2, 4, 8, 16, 32, 64, 128]
centered = v - v.mean(-1, keepdim=True)
apart = (z - z.mean(-1, keepdim=True)) - centered
limit = (apart / apart.numel()).norm()  # (z − v) / N, and the mean over the images
sizes = [(soft_gradient(z, v, T).norm() / limit).item() for T in temperatures]
law = "expected at large T"
without = {
    "measured": (temperatures, [s / T**2 for s, T in zip(sizes, temperatures, strict=True)]),
    law: (temperatures, [1 / T**2 for T in temperatures]),
}
corrected = {"measured": (temperatures, sizes), law: (temperatures, [1] * len(sizes))}
smaller = soft_gradient(z, v, 1).norm() / (soft_gradient(z, v, 10).norm() / 10**2)
print(f"From T = 1 to T = 10 the gradient without T² becomes {smaller:.0f} times smaller.")
largest, by_law = (v / 8).softmax(-1).amax(-1).mean(), (0.1 + centered / 80).amax(-1).mean()
print(f"Teacher's largest probability, mean, T = 8: {largest:.2f}; (1 + v / T) / N: {by_law:.2f}")
panels = {"without T²: should be 1 / T²": without, "with T²: should be 1": corrected}
look = {"xlabel": "temperature T", "ylabel": "size relative to (z − v) / N"}
near = [2 * T for T, size in zip(temperatures, sizes, strict=True) if abs(size - 1) > 0.1]
title = f"With T², the size is as expected (within 10 %) from T = {max(near, default=1)} on"
plots.line_panels(panels, title=title, logs=("xy", "x"), **look)

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def soft_gradient(student_logits, teacher_logits, T):
#     q, p = (student_logits / T).softmax(-1), (teacher_logits / T).softmax(-1)
#     return T * (q - p) / len(student_logits)
# ```
# </details>
#
# The law $1/T^2$ predicts a gradient a hundred times smaller. The measured one shrinks less (first printed line), because the law holds at large T only.
#
# - At T = 1 an entry $q_i - p_i$ of the gradient is at most 1, but a confident teacher's logits are so large that $(z_i - v_i) / N$ is often larger (right panel).
# - At medium T it is above: the largest probability of the teacher is above its approximation (second printed line).
#
# Without T², raising T would shift the balance from teacher to labels. With T², this balance still changes at small T, but hardly at large T.
#
# ## 6 · Which T, and which α?
#
# Code often has T = 2 or 4. The first paper has no default:
#
# | where | temperature |
# |---|---|
# | Hinton et al. 2015, MNIST, 300 or more units per layer | 20; all above 8 gave similar results |
# | Hinton et al. 2015, MNIST, 30 units per layer | best with 2.5 to 4 |
# | DistilBERT's code, PyTorch's tutorial | 2 |
# | RepDistiller, a collection of methods | 4 |
#
# On the unseen 3s, T mattered a lot. Does it matter as much where no class is missing? We tried ten settings for a student with 50 labeled images and the teacher's answers to them. "No teacher" learns from the labels alone. All are scored on the validation set.
#
# **Predict first.** How much better than "no teacher" is the best setting?

# %% jupyter={"source_hidden": true}
digit_runs = lessons.results("lesson3_labels")
few, all_images = digit_runs.recipe["labels"][0], digit_runs.recipe["labels"][-1]
no_teacher = digit_runs.runs(way="labels alone", labels=few)
Ts, alphas = digit_runs.recipe["temperatures"], digit_runs.recipe["alphas"]
grid = [[digit_runs.runs(way="map", T=T, alpha=alpha) for T in Ts] for alpha in alphas]
shown = [[evaluation.gap(runs, no_teacher) for runs in row] for row in grid]
rows, columns = ("α", [f"{alpha:g}" for alpha in alphas]), ("temperature T", Ts)
print(f"no teacher: {no_teacher}")
title = f"No setting is clearly ahead of no teacher ({few} labels)"
plots.heat_map(shown, rows, columns, title=title, unit="points ahead")

# %% [markdown]
# Each cell has the difference from "no teacher", with its interval over the seeds. The best setting is about two points ahead on average. But almost all intervals contain zero, and that of the best setting begins there. The best of ten is also partly the luckiest. So this experiment cannot choose T or α.
#
# **Where to start.** Use α = 1 if most examples have no label. Otherwise try 0.5, too. Try T = 1, 2, and 4, and compare on your validation set. If a class is missing, try T = 8 and 20, too.
#
# ## 7 · Digits: labels scarce and plentiful
#
# Suppose you are *given* a teacher. We train the same student in four ways, with the same number of steps. T = 4 and α = 1 were fixed beforehand. Hard answers are a
# control: does the gain come from soft answers, or only from more images?

# %% jupyter={"source_hidden": true}
diagrams.training_sets(few, all_images, "images")

# %% [markdown]
# **Predict first.** With 50 labels, which way is best, and which is worst? Does a teacher still help if all 3,500 images have a label?

# %% jupyter={"source_hidden": true}
ways = ["labels alone", "soft, same images", "soft, all images", "hard, all images"]
some_labels = digit_runs.recipe["labels"][:-1]
digit_rows = tables.scored(digit_runs, test, ways, some_labels, copies=0)
no_same = [ways[0], *ways[2:]]  # with all labels, the same images are all images
digit_rows |= tables.scored(digit_runs, test, no_same, [all_images], copies=0)
hard_answers = evaluation.predict(digit_teacher, mnist["train"]).argmax(-1)
print(f"hard answers that equal the label: {(hard_answers == labels).sum():,} of {len(labels):,}")
print(f"the teacher's own test accuracy: {test.accuracy('teacher', digit_teacher)}")
tables.accuracies(digit_rows)

# %% [markdown]
# The table has test accuracies, with intervals over the seeds. The ways with all images need no label, so each has the same number in all rows. With 50 labels, "all images" is far ahead, because the teacher answers the unlabeled images.
# On the *same* images, its answers add little. Hard answers are close to soft ones, so most of the gain comes from the additional images.
#
# If all images have labels, we cannot tell whether the teacher adds anything (section 9). But in our runs, a student **without any label** was about as good as one with 3,500 labels.
#
# **A caution.** This teacher was trained on these very images, *with* their labels. Its hard answers equal the labels (printed line). On new images, expect errors of the teacher.
#
# ## 8 · Text: a teacher and many sentences
#
# Here the teacher is MiniLM, a pretrained transformer. We fine-tuned it on 7,241 labeled sentences, to tell positive from negative movie reviews (Hutto & Gilbert 2014). The student is a small convolutional network
# (CNN) for text (Kim 2014). It learns from the teacher's answers to 3,000 sentences, without a label. `distill` is the loop of section 4, with its settings in a `Recipe`. T = 2 was fixed beforehand.

# %%
teacher = models.teacher(settings.teacher_sentences)  # the first time, this takes some minutes
reviews = models.reviews_tokenized()
sentences = reviews["train"].select(range(settings.sentences))
answers = models.cached_logits(teacher, sentences)  # the teacher's logits [sentences, 2]
torch.manual_seed(0)
cnn = models.TextCNN(datasets.tokens_seen(reviews["train"]))  # embeddings for these tokens only


# %%
def text_loss(student_logits, teacher_logits, labels):  # `distill` passes labels: not used here
    return distillation_loss(student_logits, teacher_logits, None, T=2, alpha=1)


recipe = training.Recipe(settings.text_epochs, lr=2e-3, decay=True)  # lr falls linearly to 0
# `answers`: computed once, in the cell above
trained = distillation.distill(cnn, answers, {"train": sentences}, recipe, loss=text_loss)
for name, model in {"teacher": teacher, "CNN, no label": trained.model}.items():
    size = sum(weight.numel() for weight in model.parameters())
    print(f"{name}: {evaluation.evaluate(model, reviews['validation'])}, {size:,} parameters")

# %% [markdown]
# The next figure has three seeds, [stored by a script](experiments/lesson3_text.py). All students make about the same number of steps. The baseline is a linear model on **TF-IDF** (weighted counts of words and word pairs).
#
# An **unlabeled transfer set** is a set of examples that only the teacher labels. Ours is mostly halves of longer training sentences. The label of a whole sentence may not fit its half, so a half gets no label. The rest are newspaper editorials and near-neutral movie sentences.
# "All sentences" are 14,482. Of these, 7,241 are from this set, and 7,241 are the teacher's training sentences, without labels.
#
# **Predict first.** One student learns from 200 labels, another from the teacher's answers to all sentences. How far apart are they?

# %% jupyter={"source_hidden": true}
text = lessons.results("lesson3_text")
text_test = lessons.TestSet(reviews["test"], "test set of reviews")
text_ways = ["labels alone", "TF-IDF, labels alone", "soft, same sentences"]
text_ways += ["soft, all sentences", "hard, all sentences"]
text_rows = tables.scored(text, text_test, text_ways, text.recipe["labels"])
teacher_right = text_test.stored("teacher", text.column("test", way="teacher")[0])
least, most = text.recipe["labels"][0], text.recipe["labels"][-1]
scarce = {way: tables.over_seeds(text_rows[way, least]) for way in text_ways}
called = text_ways[:2] + [f"{way} (no label)" for way in text_ways[2:]]
shown = dict(zip(called, scarce.values(), strict=True))
colors = ["labels", "baseline", "student", "student", "accent"]
look = {"xlabel": "test accuracy", "roles": dict(zip(shown, colors, strict=True))}
title = f"With {least} labels, the answers to all sentences make the difference"
of_teacher = evaluation.Accuracy(int(teacher_right.sum()), len(teacher_right))
plots.show(plots.intervals(shown, title=title, reference={"teacher": of_teacher}, **look))
tables.accuracies(text_rows)

# %% [markdown]
# Almost twenty points: the answers to all sentences close most of the gap to the teacher. On the *same* 200 sentences soft answers add little, so the gain comes from the additional sentences. Hard answers do about as
# well as soft ones: with two classes, a soft answer adds only how certain the teacher is.
#
# With all 7,241 labels, labels alone are about as good as the answers to all sentences (last row of the table). On average over our three runs, TF-IDF was then ahead of every CNN.
#
# The caution of section 7 applies here, too: most of the sentences are the teacher's training sentences or halves of them.
#
# ### And if nobody gives you a teacher?
#
# What if you have 200 labels and nothing else? Then you can fine-tune MiniLM on these 200, and let *this* teacher answer 3,000 sentences ([script](experiments/lesson3_text_own_teacher.py)).
#
# **Predict first.** Is the student of this teacher better than the same network trained on the 200 labels?

# %% jupyter={"source_hidden": true}
own = lessons.results("lesson3_text_own_teacher")
own_ways = ["teacher", "soft, same sentences", "soft, all sentences", "hard, all sentences"]
own_rows = tables.scored(own, text_test, own_ways, [least], who="own teacher: ")
who = [f"teacher, trained on {least} labels", f"student, soft, same {least} sentences"]
who += [f"student, {kind}, {own.recipe['sentences']:,} sentences" for kind in ("soft", "hard")]
runs = {f"student, {least} labels alone": scarce["labels alone"]}
runs |= dict(zip(who, map(tables.over_seeds, own_rows.values()), strict=True))
roles = dict(zip(runs, ["labels", "teacher", "student", "student", "accent"], strict=True))
adds = runs[who[2]].value - runs[f"student, {least} labels alone"].value
title = f"{least} labels in all: one's own teacher adds {100 * adds:.1f} points on average"
plots.intervals(runs, title=title, xlabel="test accuracy", roles=roles)

# %% [markdown]
# Yes, with each of the three seeds, but the gain differs (section 9). The teacher was pretrained on much text, and probably its answers pass some of that on.
# On average the teacher is better than its students, so use it directly if you can afford its size.
#
# ### Inherited errors
#
# **Predict first.** The given teacher is wrong on some test sentences. On *these* sentences, does a student of this teacher make more errors than a student that learned from labels?

# %%
# From folded cells, True where a test answer is right:
#   text_rows[way, labels], the students: bool [seeds, 2000]
#   teacher_right, the teacher: bool [2000]
# most = 7,241 labels. Students without a label: the same values for every number of labels.
shown = {}
for name in ("labels alone", "hard, all sentences", "soft, all sentences"):
    wrong = ~text_rows[name, most]  # [seeds, 2000]
    inherited = wrong[:, ~teacher_right].double().mean()
    elsewhere = wrong[:, teacher_right].double().mean()
    case = {"way": name, "labels": most if name == "labels alone" else 0}
    calibration = torch.tensor(text.column("ece", **case)).mean()  # see below
    shown[name] = [f"{inherited:.1%}", f"{elsewhere:.1%}", f"{calibration:.1%}"]
print(f"The teacher is wrong on {(~teacher_right).sum()} of {len(teacher_right):,} test sentences.")
columns = ["errors where the teacher is wrong", "errors elsewhere", "calibration error"]
DataFrame(shown, index=columns).T

# %% [markdown]
# Yes. Even the student with labels errs on about half of these sentences, because they are hard. So compare the rows. Where the teacher is wrong, the student with soft answers makes more errors than the student with labels. Elsewhere it made fewer, on average over our three runs. So it inherits some of its teacher's errors.
# If your teacher is worse for some group of people, check the student for that group, too.
# ### Are the probabilities right?
#
# A model is **calibrated** if it is right as often as its probabilities say. The last column is the mean gap between the two, the **expected calibration error** (Guo et al. 2017). Here the teacher's answers to all sentences give better calibrated students than the labels do, and hard answers do about as well as soft ones.
#
# ## 9 · When would you use a teacher?
#
# The table has differences in test accuracy. The interval is the paired one over the test examples (lesson 1). A difference is clear if the interval leaves out 0 and all seeds agree.
# In the last row, the student also trains on altered copies, as the teacher did.

# %% jupyter={"source_hidden": true}
alone = {n: digit_rows["labels alone", n] for n in (few, all_images)}
text_alone = {n: text_rows["labels alone", n] for n in (least, most)}
soft, hard = (digit_rows[f"{kind}, all images", all_images] for kind in ("soft", "hard"))
text_soft, text_hard = (text_rows[f"{kind}, all sentences", most] for kind in ("soft", "hard"))
many = tables.scored(digit_runs, test, ways[2:], [0], copies=5)  # with five copies of each image
compared = {
    f"{few} labeled images": (digit_rows[ways[1], few], alone[few]),
    f"{few} labeled images, {all_images - few:,} without a label": (soft, alone[few]),
    f"{all_images:,} labeled images": (soft, alone[all_images]),
    f"{least} labeled sentences": (text_rows[text_ways[2], least], text_alone[least]),
    f"{most:,} labeled sentences, as many without": (text_soft, text_alone[most]),
}
compared = {("soft answers, given teacher − labels", data): pair for data, pair in compared.items()}
data = f"{least} labeled sentences, {own.recipe['sentences'] - least:,} without"
own_soft = own_rows["soft, all sentences", least]
compared["soft answers, own teacher − labels", data] = own_soft, text_alone[least]
compared["soft − hard answers", f"{all_images:,} images"] = soft, hard
data = f"{all_images:,} images, five copies of each"
compared["soft − hard answers", data] = tuple(many.values())
tables.differences(compared).rename_axis(["comparison", "data"])

# %% [markdown]
# | your situation | what a teacher adds |
# |---|---|
# | few examples have a label, many have none | much: let it answer those without a label |
# | your examples lack a class that the teacher knows | that class, from soft answers at a high temperature (its bias needs some labels) |
# | all your examples have labels, no class is missing | little; our runs could not tell the gain from zero |
#
# Soft answers clearly beat hard ones in two cases: on the unseen 3s (claims below), and with altered copies (last row above). Without copies and on text we cannot tell. So keep the teacher's probabilities if you can.
#
# We wrote the margin of each claim down before we measured. We widen each paired interval to include every seed's difference. So a claim holds only if every seed's difference meets the margin.

# %% jupyter={"source_hidden": true}
claims, gap, points = lessons.Claims(test, text_test), tables.gap, {"unit": "points"}
t1, t4, t20 = (right["no 3", "soft", T][:, digits == 3] for T in (1, 4, 20))
by_hard = right["no 3", "hard", 0][:, digits == 3]
said = "Unseen 3s: soft answers at T = 20 find over 10 points more than hard answers"
claims.add(said, value=gap(t20, by_hard), margin=0.1, **points)
claims.add("Unseen 3s: T = 20 finds more than T = 1", value=gap(t20, t1), margin=0, **points)
said = "Unseen 3s: T = 4 is good enough: T = 20 finds at most 5 points more"
claims.add(said, value=gap(t20, t4), margin=0.05, side="below", **points)
said = "Digits: soft answers without any label are within 1 point of all 3,500 labels"
claims.add(said, value=gap(soft, alone[all_images]), margin=0.01, side="within", **points)
said = f"Text: {least} labels: a given teacher adds over 10 points"
claims.add(said, value=gap(text_soft, text_alone[least]), margin=0.1, **points)
said = f"Text: {least} labels: one's own teacher adds over 5 points"
claims.add(said, value=gap(own_soft, text_alone[least]), margin=0.05, **points)
claims.add("Text: soft answers beat hard ones", value=gap(text_soft, text_hard), margin=0, **points)
value = gap(text_alone[most][:, ~teacher_right], text_soft[:, ~teacher_right])
claims.add("Text: soft answers add errors where the teacher errs", value=value, margin=0, **points)
claims

# %% [markdown]
# T = 4, which we fixed for digits, was too low for the unseen 3s.
#
# ## Recap
#
# - A teacher's soft answer says which classes an example resembles. A higher temperature makes small probabilities count more.
# - The loss is $\alpha T^2 KL(p_T \| q_T) + (1 - \alpha) CE(q_1, y)$. The T² makes up for a gradient that shrinks as $1/T^2$ at large T.
# - With $\alpha = 1$ no label is needed. A teacher helps most by answering examples without a label.
# - Soft answers beat hard ones by far on the unseen 3s, and by little or nothing elsewhere. A student also inherits errors of its teacher.
# - Compare with the same student without a teacher, and with hard answers as a control. For text, TF-IDF is a simple baseline.
#
# ## Quiz
#
# **1.** A colleague's soft loss is ten times smaller than yours, on ten classes. The code calls `F.kl_div(log_q, p)`. What happened?
# <details><summary>Answer</summary>The default reduction divides by examples times classes. With reduction="batchmean" it divides by the examples alone.</details>
#
# **2.** With α = 0.5, you raise T from 2 to 8 and leave T² out. What changes besides the softness?
# <details><summary>Answer</summary>The teacher's part of the gradient becomes much smaller, so the labels count more.</details>
#
# **3.** How can a student learn what a 3 looks like without seeing one?
# <details><summary>Answer</summary>The teacher's answers say how much each 8, 5, or 2 resembles a 3. To give the same probabilities, the student must raise logit 3 for images that resemble a 3.</details>
#
# **4.** You have 300 labeled examples, 50,000 without a label, and a good teacher. What do you do, and what do you compare with?
# <details><summary>Answer</summary>Train the student on the teacher's soft answers to all of them. Compare with the same student on the 300 labels alone, on the teacher's hard answers, and with a simple baseline, such as TF-IDF for text.</details>
#
# ## Try it yourself
#
# In the [exercises](../exercises/03_distillation_loss.ipynb) you write every part of the loss, and find four classic errors in code.
#
# ## References
#
# - Hinton, Vinyals & Dean 2015, *Distilling the knowledge in a neural network*: section 2 (the loss), 2.1 (matching logits), 3 (MNIST, the student that never saw a 3).
# - Guo, Pleiss, Sun & Weinberger 2017, *On calibration of modern neural networks*: section 2.
# - Kim 2014, *Convolutional neural networks for sentence classification*: section 2.
# - Hutto & Gilbert 2014, *VADER*: section 3.3 (the ratings); Pang & Lee 2005 (the sentences).
# - Wang et al. 2020, *MiniLM*; Reimers & Gurevych 2019, *Sentence-BERT* (the pretrained encoder).
# - Simard, Steinkraus & Platt 2003, *Best practices for convolutional neural networks applied to visual document analysis*: section 2 (augmentation).
