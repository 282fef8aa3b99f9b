# %% [markdown]
# # Exercises 3 · The distillation loss
#
# **You need** [lesson 3](../notebooks/03_distillation_loss.ipynb). **Time** about 65 minutes; the computer works a few
# seconds of them.
#
# Write your answer where it says `YOUR CODE HERE`, run it, then run the check below it. A check says what it tried, what
# came and what was expected. If your answer makes a known mistake, it says which one. It also says what it did *not* look
# at, so keep your own eyes open. Stuck? Open one hint at a time.
#
# A function leaves its arguments as they are, unless its name ends in `_`. Leave `course_lib.distillation` aside here: you are writing it.

# %% tags=["setup"]
# the first cell of every lesson

# %% nbgrader={"grade": false, "grade_id": "imports", "locked": true, "schema_version": 3, "solution": false, "task": false}
import torch
import torch.nn.functional as F

from course_lib import checks

# %% [markdown]
# ## 1 · Softmax with temperature
#
# **Goal** make a distribution as soft as you like, for any logits. **8 minutes, difficulty 1 of 3**
#
# `soften(logits, T)` gives the probabilities $p_i = e^{z_i/T} / \sum_j e^{z_j/T}$ over the last dimension. The logits may be
# one example `[classes]` or a batch `[batch, classes]`, and as large as ±1000. The answer has their shape.
#
# <details><summary>Hint 1</summary>Where in the formula does T stand: at the logits, or at the probabilities?</details>
# <details><summary>Hint 2</summary>If you write exp() yourself: softmax does not change when you take the same number off all logits of a row. Which number keeps exp() small?</details>
# <details><summary>Hint 3</summary>PyTorch has a softmax of its own, which is safe for large logits. Which dimension holds the classes, in both shapes?</details>


# %% nbgrader={"grade": false, "grade_id": "soften", "locked": false, "schema_version": 3, "solution": true, "task": false}
def soften(logits, T):
    ### BEGIN SOLUTION
    z = logits / T
    powers = (z - z.amax(-1, keepdim=True)).exp()  # the largest becomes 1, none overflows
    return powers / powers.sum(-1, keepdim=True)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-soften", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.soften(soften)

# %% [markdown]
# ## 2 · The Kullback–Leibler divergence by hand
#
# **Goal** measure how far a student is from its teacher. **8 minutes, difficulty 2 of 3**
#
# `kl(p, q)` is $KL(p\,\|\,q) = \sum_i p_i\,(\log p_i - \log q_i)$, with the natural logarithm; p is the teacher, q the student, each
# of shape `[classes]`. The answer is one number, not rounded. A class with $p_i = 0$ adds nothing; each $q_i$ is above 0. Work out `p = [0.7, 0.2, 0.1]`, `q = [0.5, 0.25, 0.25]` on paper.
#
# <details><summary>Hint 1</summary>What is 0 times minus infinity on paper, and what is it for PyTorch?</details>
# <details><summary>Hint 2</summary>Add up the classes with p > 0 alone, or put 0 in the place of the others with torch.where.</details>
# <details><summary>Hint 3</summary>torch.special.xlogy(a, b) is a · log b, and 0 where a is 0.</details>


# %% nbgrader={"grade": false, "grade_id": "kl", "locked": false, "schema_version": 3, "solution": true, "task": false}
def kl(p, q):
    ### BEGIN SOLUTION
    some = p > 0
    return (p[some] * (p[some].log() - q[some].log())).sum()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-kl", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.kl(kl)

# %% [markdown]
# ## 3 · The distillation loss
#
# **Goal** write the loss that all of distillation rests on. **15 minutes, difficulty 3 of 3**
#
# $L = \alpha \cdot T^2 \cdot KL(\text{teacher}_T\,\|\,\text{student}_T) + (1-\alpha) \cdot CE(\text{student}, \text{labels})$
#
# Logits are `[batch, classes]`, labels `[batch]`; no softmax of them rounds to 0. Both parts are means over the batch. The answer is a tensor of one number, through which the gradient flows to the student. Write it with `F.kl_div` and
# `F.cross_entropy`: then you have met all of `kl_div`'s traps once.
#
# <details><summary>Hint 1</summary>Four questions for F.kl_div: who comes first? Who comes as a logarithm? Which reduction? Which T?</details>
# <details><summary>Hint 2</summary>PyTorch's documentation of KLDivLoss names the reduction that agrees with the mathematics. The default is another one.</details>
# <details><summary>Hint 3</summary>Try kl_div on two equal distributions: it must be 0. Only one of the ways to call it gives that, and is right at T = 1.</details>


# %% nbgrader={"grade": false, "grade_id": "distillation_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def distillation_loss(student_logits, teacher_logits, labels, T, alpha):
    ### BEGIN SOLUTION
    log_q = F.log_softmax(student_logits / T, dim=-1)
    p = F.softmax(teacher_logits / T, dim=-1)
    soft = T**2 * F.kl_div(log_q, p, reduction="batchmean")
    return alpha * soft + (1 - alpha) * F.cross_entropy(student_logits, labels)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-distillation_loss", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.distillation_loss(distillation_loss)

# %% [markdown]
# ## 4 · T², argued by gradient
#
# **Goal** say where T² comes from, with a gradient of your own. **10 minutes, difficulty 3 of 3**
#
# `soft_gradient(student_logits, teacher_logits, T)` is the gradient of $KL(\text{teacher}_T\,\|\,\text{student}_T)$, the mean over the batch
# and **without** T², by the student's logits. Its shape is theirs. Autograd may do it for you; on paper it is shorter. The logits that you are given stay as they are: no `requires_grad`, no `.grad`
# is left on them, because `.backward()` adds to what is there already.
#
# <details><summary>Hint 1</summary>By autograd: make a copy of the student's logits that requires a gradient, compute the divergence, ask torch.autograd.grad.</details>
# <details><summary>Hint 2</summary>On paper: the gradient of cross-entropy by z is softmax(z) minus the target. Here z is the logits divided by T, so the chain rule has its say.</details>
# <details><summary>Hint 3</summary>What is the gradient where both agree? That leaves a difference. Then count the divisions: the chain rule brings one, the mean over the batch another.</details>


# %% nbgrader={"grade": false, "grade_id": "soft_gradient", "locked": false, "schema_version": 3, "solution": true, "task": false}
def soft_gradient(student_logits, teacher_logits, T):
    ### BEGIN SOLUTION
    q, p = F.softmax(student_logits / T, -1), F.softmax(teacher_logits / T, -1)
    return (q - p) / T / len(student_logits)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-soft_gradient", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.soft_gradient(soft_gradient)

# %% [markdown]
# Now look: how long is your gradient at each T? Divide each length by the one before it.

# %% nbgrader={"grade": false, "grade_id": "lengths", "locked": true, "schema_version": 3, "solution": false, "task": false}
student = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.5]]).double()
teacher = torch.tensor([[3.0, 1.0, -2.0], [0.5, 1.0, 0.0]]).double()
for T in (1, 2, 4, 8, 16, 32, 64):
    print(f"T = {T:2}: {soft_gradient(student, teacher, T).norm():.6f}")

# %% [markdown]
# Twice the temperature, a quarter of the gradient, more and more exactly. Where do the two factors ½ come from?
#
# <details><summary>Answer</summary>One is the inner derivative 1/T. The other is in q − p: the larger T, the more alike both
# distributions are, and their difference shrinks as 1/T, too. Together 1/T², which T² makes up for.</details>
#
# ## 5 · Ask the teacher
#
# **Goal** get labels from a teacher without noise, and without teaching it. **6 minutes, difficulty 1 of 3**
#
# `ask_teacher(teacher, inputs)` gives the teacher's logits, `teacher(inputs)`. The teacher has dropout and batch norms, and
# may come in training mode. No gradient may flow into it, and nothing in it may change but its mode: it must not be left frozen, and what came
# frozen stays so. In which mode you leave it is up to you, but one that came in eval mode stays in it.
#
# <details><summary>Hint 1</summary>Two switches. One tells the layers that this is no training, the other tells autograd to keep no record.</details>
# <details><summary>Hint 2</summary>A method of the module, called with brackets and before the question; and a context: with torch.no_grad():.</details>
# <details><summary>Hint 3</summary>Why both? Think of what dropout does without the first, and of what .backward() does without the second.</details>


# %% nbgrader={"grade": false, "grade_id": "ask_teacher", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ask_teacher(teacher, inputs):
    ### BEGIN SOLUTION
    teacher.eval()
    with torch.no_grad():
        return teacher(inputs)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-ask_teacher", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.ask_teacher(ask_teacher)

# %% [markdown]
# ## 6 · Mask the padding
#
# **Goal** average over real tokens alone. **8 minutes, difficulty 2 of 3**
#
# Sentences in a batch are padded to one length. `masked_mean(losses, mask)` takes a loss for each token, `[batch, length]`, and a
# mask of the same shape, 1 for a real token and 0 for padding, and gives the mean over all real tokens of the batch, one number. At least one token is real. What
# stands in the padding must not matter, not even nan.
#
# <details><summary>Hint 1</summary>By what do you divide: all positions, sentences, or real tokens?</details>
# <details><summary>Hint 2</summary>0 · nan is nan. So do not multiply the padding away: leave it out.</details>
# <details><summary>Hint 3</summary>A bool mask picks: tensor[mask] has the values where it is True. An integer mask would index rows instead, so turn it into bool.</details>


# %% nbgrader={"grade": false, "grade_id": "masked_mean", "locked": false, "schema_version": 3, "solution": true, "task": false}
def masked_mean(losses, mask):
    ### BEGIN SOLUTION
    return losses[mask.bool()].mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-masked_mean", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.masked_mean(masked_mean)

# %% [markdown]
# ## 7 · Spot the error, four times
#
# **Goal** recognize the four classic errors in other people's code. **10 minutes, difficulty 2 of 3**
#
# Four colleagues have written the teacher's part of the loss. It runs, it falls, and each has one error of its own:
# *missing T²* (or *missing T2*), *swapped arguments*, *mean for batchmean*, *softmax for log_softmax*.


# %% nbgrader={"grade": false, "grade_id": "colleagues", "locked": true, "schema_version": 3, "solution": false, "task": false}
def loss_a(student, teacher, T):
    return T**2 * F.kl_div(
        (student / T).log_softmax(-1), (teacher / T).softmax(-1), reduction="mean"
    )


def loss_b(student, teacher, T):
    return T**2 * F.kl_div(
        (student / T).softmax(-1), (teacher / T).softmax(-1), reduction="batchmean"
    )


def loss_c(student, teacher, T):
    return F.kl_div((student / T).log_softmax(-1), (teacher / T).softmax(-1), reduction="batchmean")


def loss_d(student, teacher, T):
    return T**2 * F.kl_div(
        (teacher / T).log_softmax(-1), (student / T).softmax(-1), reduction="batchmean"
    )


# %% [markdown]
# Give `errors`, a dict: letter → the name of its error. Don't only read: call the four at T = 1 and T = 4, with equal logits, with the
# two exchanged, and see what each one gives away.
#
# <details><summary>Hint 1</summary>Which of the four are 0 for equal logits? Which should be?</details>
# <details><summary>Hint 2</summary>Compare with your own distillation_loss at alpha = 1. At T = 1 one of them agrees with it.</details>
# <details><summary>Hint 3</summary>Write down for each line: what comes first, what comes second, which reduction, what stands before it. Three lines differ from the right one in one place, and so does the fourth.</details>

# %% nbgrader={"grade": false, "grade_id": "errors", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
errors = {
    "a": "mean for batchmean",
    "b": "softmax for log_softmax",
    "c": "missing T²",
    "d": "swapped arguments",
}
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "check-errors", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.errors(errors)

# %% [markdown]
# ## And then
#
# - Compare your loss with [course_lib/distillation](../course_lib/distillation). What does it guard against that yours does not?
# - Put your own loss into lesson 3, where it [trains a student for text](../notebooks/03_distillation_loss.ipynb#8--text-a-teacher-and-many-sentences):
#   `distill(…, loss=…)` takes any function of that form.
