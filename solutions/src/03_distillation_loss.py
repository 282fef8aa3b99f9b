# %% [markdown]
# # Exercises 3 · The distillation loss
#
# **You need** [lesson 3](../notebooks/03_distillation_loss.ipynb). **Time** about 65 minutes; the computer works a few
# seconds of them.
#
# Write your answer where it says `YOUR CODE HERE`, run that cell, and then run the check below it. The check prints what it tried, what
# came out, and what was expected. If your answer makes a known mistake, the check names it. It also prints what it does *not* test.
# If you are stuck, open one hint at a time.
#
# A function must not change its arguments, unless its name ends in `_`. Where the text asks for a number, a float and a tensor with one
# element are both fine. The check looks at gradients only where the text mentions them. Do not use `course_lib.distillation` here, because you are writing it.

# %% tags=["setup"]
# the first cell of every lesson

# %% nbgrader={"grade": false, "grade_id": "imports", "locked": true, "schema_version": 3, "solution": false, "task": false}
import torch
import torch.nn.functional as F

from course_lib import checks

# %% [markdown]
# ## 1 · Softmax with temperature
#
# **Goal** soften a distribution, for any logits. **8 minutes, difficulty 1 of 3**
#
# `soften(logits, T)` returns the probabilities $p_i = e^{z_i/T} / \sum_j e^{z_j/T}$ over the last dimension, where $z$ are the logits and T is greater than 0. The logits are
# one example `[classes]` or a batch `[batch, classes]`, and they can be as large as ±1000. The result has the same shape, and it contains no NaN.
#
# <details><summary>Hint 1</summary>Where does T stand in the formula: at the logits, or at the probabilities?</details>
# <details><summary>Hint 2</summary>If you write exp() yourself: softmax does not change when you subtract the same number from all logits of a row. Which number keeps exp() small?</details>
# <details><summary>Hint 3</summary>PyTorch has a softmax that is safe for large logits. Which dimension holds the classes, in both shapes?</details>


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
# **Goal** measure how far a student's distribution is from its teacher's. **8 minutes, difficulty 2 of 3**
#
# `kl(p, q)` returns $KL(p\,\|\,q) = \sum_i p_i\,(\log p_i - \log q_i)$ with the natural logarithm. Here p are the teacher's probabilities and q are the student's, each
# of shape `[classes]`. A class with $p_i = 0$ adds nothing, and every $q_i$ is greater than 0. The result is one number, not rounded, as a float or a tensor. No gradient is needed.
#
# First, on paper: what is it for `p = [0.7, 0.2, 0.1]` and `q = [0.5, 0.25, 0.25]`?
#
# <details><summary>The answer on paper</summary>0.7 · log 1.4 + 0.2 · log 0.8 + 0.1 · log 0.4 = 0.2355 − 0.0446 − 0.0916 = 0.0993.</details>
#
# <details><summary>Hint 1</summary>On paper, a term with p = 0 is 0. What does PyTorch compute for 0 times minus infinity?</details>
# <details><summary>Hint 2</summary>Either leave out the classes with p = 0, or replace their terms by 0. torch.where can replace them.</details>
# <details><summary>Hint 3</summary>torch.special.xlogy(a, b) is a · log b, and it is 0 where a is 0. Can you write the sum with it?</details>


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
# **Goal** write the loss of lesson 3. **15 minutes, difficulty 3 of 3**
#
# $L = \alpha \cdot T^2 \cdot KL(\text{teacher}_T\,\|\,\text{student}_T) + (1-\alpha) \cdot CE(\text{student}, \text{labels})$
#
# `distillation_loss(student_logits, teacher_logits, labels, T, alpha)` returns this loss. $CE$ is the cross-entropy without temperature. Logits are `[batch, classes]` and labels are `[batch]`, as class numbers. Both parts are means over the batch. The result is a tensor with one number, and the gradient must flow through both parts to the student's logits.
# The check does not test whether a gradient also flows to the teacher. No probability is so small that it rounds to 0.
#
# Use `F.kl_div` and `F.cross_entropy`. `F.kl_div` can be called in many wrong ways, and none of them raises an error.
#
# <details><summary>Hint 1</summary>Four questions about F.kl_div: which distribution comes first? Which one is passed as logarithms? Which reduction? Which T?</details>
# <details><summary>Hint 2</summary>PyTorch's documentation of KLDivLoss names the reduction that agrees with the mathematical definition. It is not the default.</details>
# <details><summary>Hint 3</summary>Test your call of kl_div: with equal logits it must return 0. At T = 1 it must agree with exercise 2, averaged over the batch.</details>


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
# ## 4 · Where T² comes from
#
# **Goal** compute the gradient of the soft loss, and see how it depends on T. **10 minutes, difficulty 3 of 3**
#
# `soft_gradient(student_logits, teacher_logits, T)` returns the gradient of $KL(\text{teacher}_T\,\|\,\text{student}_T)$, averaged over the batch
# and **without** T², with respect to the student's logits. It has the shape of the student's logits, `[batch, classes]`. You can use autograd, or derive a formula on paper, which is shorter. The result may or may not require a gradient itself.
# The logits that you get must not change. They must not have `requires_grad` or a `.grad` afterwards, so do not call `.backward()` on them.
#
# <details><summary>Hint 1</summary>With autograd: make a copy of the student's logits that requires a gradient, compute the divergence, and call torch.autograd.grad.</details>
# <details><summary>Hint 2</summary>On paper: the gradient of cross-entropy with respect to z is softmax(z) minus the target. Here z is the student's logits divided by T. What does the chain rule add?</details>
# <details><summary>Hint 3</summary>The gradient is 0 where both distributions agree, so it contains their difference. What is it divided by? The chain rule gives one factor, and the mean over the batch gives another.</details>


# %% nbgrader={"grade": false, "grade_id": "soft_gradient", "locked": false, "schema_version": 3, "solution": true, "task": false}
def soft_gradient(student_logits, teacher_logits, T):
    ### BEGIN SOLUTION
    q, p = F.softmax(student_logits / T, -1), F.softmax(teacher_logits / T, -1)
    return (q - p) / T / len(student_logits)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-soft_gradient", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.soft_gradient(soft_gradient)

# %% [markdown]
# The next cell prints the length of your gradient at several T. Divide each length by the one before it.

# %% nbgrader={"grade": false, "grade_id": "lengths", "locked": true, "schema_version": 3, "solution": false, "task": false}
student = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.5]]).double()
teacher = torch.tensor([[3.0, 1.0, -2.0], [0.5, 1.0, 0.0]]).double()
for T in (1, 2, 4, 8, 16, 32, 64):
    print(f"T = {T:2}: {soft_gradient(student, teacher, T).norm():.6f}")

# %% [markdown]
# When T doubles, the gradient shrinks. The larger T is, the closer the ratio comes to a quarter. Where do the two factors of ½ come from?
#
# <details><summary>Answer</summary>One factor is the inner derivative, 1/T. The other is in q − p, the difference between the two distributions: with a larger T they become more alike, and their difference shrinks like 1/T, too.
# Together that is 1/T², so the loss is multiplied by T².</details>
#
# ## 5 · The teacher's logits
#
# **Goal** get a teacher's logits without dropout noise, and without training the teacher. **6 minutes, difficulty 1 of 3**
#
# `ask_teacher(teacher, inputs)` returns the teacher's logits, `teacher(inputs)`, computed in eval mode. The teacher has dropout and batch norms, and it may be in training mode when you get it. No gradient may flow
# from the logits into the teacher. `torch.no_grad()` and `torch.inference_mode()` are both fine.
#
# Nothing in the teacher may change except its mode. Parameters that require a gradient still do afterwards, those that do not still do not, and every `.grad` stays. You may leave the teacher in eval mode or set it back.
# A teacher that was in eval mode must stay in eval mode.
#
# <details><summary>Hint 1</summary>You need two things: the layers must not behave as in training, and autograd must not record.</details>
# <details><summary>Hint 2</summary>The first is a method of the module, which you call before you call the teacher. The second is a context, with torch.no_grad():.</details>
# <details><summary>Hint 3</summary>Why both? Without the first, dropout and batch norm behave as in training. Without the second, backward() reaches the teacher's weights.</details>


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
# **Goal** average a loss over the real tokens only. **8 minutes, difficulty 2 of 3**
#
# The sentences of a batch are padded to one length. `masked_mean(losses, mask)` takes one loss per token, `[batch, length]`, and an
# integer mask of the same shape, 1 for a real token and 0 for padding. It returns the mean over all real tokens of the batch, as one number. At least one token is real. The values in the padding must not matter, even if they are NaN or infinite.
# The check looks only at the value, so a float passes. In training it must be a tensor, because the gradient has to flow to the losses.
#
# <details><summary>Hint 1</summary>What do you divide by: the number of positions, of sentences, or of real tokens?</details>
# <details><summary>Hint 2</summary>0 · NaN is NaN, so multiplying by the mask is not enough. Leave the padding out of the sum.</details>
# <details><summary>Hint 3</summary>A bool mask as an index selects values. An integer mask as an index selects rows, so convert it first.</details>


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
# Four colleagues have written the soft part of the loss. None of the versions stops with an error message, but each has exactly one of these mistakes:
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
# Write `errors`, a dict from the letters "a", "b", "c" and "d" to the names of the errors, as written above. Do not only read the code. Call all four functions at T = 1 and T = 4, with equal logits, and with student and teacher
# exchanged.
#
# <details><summary>Hint 1</summary>Which of the four are 0 for equal logits? Which should be?</details>
# <details><summary>Hint 2</summary>Compare them with your own distillation_loss at alpha = 1. At T = 1, one of the four agrees with it.</details>
# <details><summary>Hint 3</summary>Note for each function: what is the first argument, what is the second, which reduction, and which factor? Each differs from the right one in a single point.</details>

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
# ## What next?
#
# - Compare your loss with [course_lib/distillation](../course_lib/distillation). Which inputs does that code handle that yours does not?
# - Use your own loss in lesson 3, where it [trains a student for text](../notebooks/03_distillation_loss.ipynb#8--text-a-teacher-and-many-sentences):
#   `distill(…, loss=…)` takes any function with the same arguments.
