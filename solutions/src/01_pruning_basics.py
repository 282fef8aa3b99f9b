# %% [markdown]
# # Exercises 1 · Pruning basics
#
# **You need** [lesson 1](../notebooks/01_pruning_basics.ipynb). **Time** about 75 minutes; the computer works half a
# minute of them.
#
# Write your answer where it says `YOUR CODE HERE`, run it, then run the check below it. A check says what it tried, what
# came and what was expected. If your answer makes a known mistake, it says which one. It also says what it did *not* look
# at, so keep your own eyes open. Stuck? Open one hint at a time.
#
# A function leaves its arguments as they are, unless its name ends in `_`. Leave `course_lib.pruning` aside until the challenge: you are writing it.

# %% tags=["setup"]
# the first cell of every lesson

# %% nbgrader={"grade": false, "grade_id": "imports", "locked": true, "schema_version": 3, "solution": false, "task": false}
import torch
from torch import nn

from course_lib import checks, datasets, models, pruning, training

# %% [markdown]
# ## 1 · The sparsity of a module
#
# **Goal** say how sparse a network is, whatever it is built of. **5 minutes, difficulty 1 of 3**
#
# `sparsity(module)` is the share of zeros among all weights of the linear and convolution layers, wherever they stand in
# the module, at any depth; the module may also be a single layer. It is one number between 0 and 1 (a float, or a tensor of one number). Biases do not count, and neither do the
# weights of batch norms and embeddings.
#
# <details><summary>Hint 1</summary>Two numbers, added up over all layers: how many weights are exactly zero, and how many there are.</details>
# <details><summary>Hint 2</summary>module.modules() walks through everything, at any depth. isinstance(layer, (nn.Linear, nn.Conv2d)) picks the layers.</details>
# <details><summary>Hint 3</summary>A comparison with == gives a tensor of True and False, and True counts as 1 in a sum. Divide once, at the very end.</details>


# %% nbgrader={"grade": false, "grade_id": "sparsity", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sparsity(module):
    ### BEGIN SOLUTION
    layers = [m for m in module.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    zeros = sum((layer.weight == 0).sum().item() for layer in layers)
    return zeros / sum(layer.weight.numel() for layer in layers)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-sparsity", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.sparsity(sparsity)

# %% [markdown]
# ## 2 · A magnitude mask by hand
#
# **Goal** choose exactly the share of weights you were asked for, ties or not. **10 minutes, difficulty 2 of 3**
#
# `magnitude_mask(weight, amount)` gives a bool mask of the weight's shape: True where a weight stays, False where it goes. An amount may be anything from 0 to 1. The
# smallest by absolute value go, over the whole tensor: exactly `round(amount * n)` of n, with Python's `round`. Of equal ones the first go, in the
# order in which `flatten()` lists them.
#
# Try it on paper first: `[[0.2, -0.5, 0.2], [-0.2, 0.7, 0.2]]`, amount 0.5. Which three go?
#
# <details><summary>Hint 1</summary>A threshold cannot cut through a tie: four of the weights above have one size. Rank them and count instead.</details>
# <details><summary>Hint 2</summary>argsort gives the places of the values from smallest to largest; stable=True keeps equal ones in order.</details>
# <details><summary>Hint 3</summary>The first places of that order are those that go. A mask is easiest to fill while it is flat; mask.view(weight.shape) gives it the weight's shape.</details>


# %% nbgrader={"grade": false, "grade_id": "magnitude_mask", "locked": false, "schema_version": 3, "solution": true, "task": false}
def magnitude_mask(weight, amount):
    ### BEGIN SOLUTION
    order = weight.abs().flatten().argsort(stable=True)
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    mask[order[: round(amount * weight.numel())]] = False
    return mask.view(weight.shape)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-magnitude_mask", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.magnitude_mask(magnitude_mask)

# %% [markdown]
# ## 3 · One threshold for the whole network
#
# **Goal** let the layers find out for themselves which can give. **10 minutes, difficulty 2 of 3**
#
# `global_masks(weights, amount)` takes a dict, layer name → weight, and gives a dict, layer name → bool mask of that weight's shape. The `round(amount * n)` lowest
# of *all* n weights together go, by absolute value. At least one weight goes, and at least one stays. No two weights are equal here, so ties are no concern.
#
# <details><summary>Hint 1</summary>Which number do all layers have to be compared with? You find it only when all weights lie in one row.</details>
# <details><summary>Hint 2</summary>torch.cat of the flattened absolute values makes the row; sort it and read off the last value that goes.</details>
# <details><summary>Hint 3</summary>torch.tensor([3.0, 1.0, 2.0]).kthvalue(2).values is 2: the k-th smallest, counted from 1. Every layer is compared with the same number.</details>


# %% nbgrader={"grade": false, "grade_id": "global_masks", "locked": false, "schema_version": 3, "solution": true, "task": false}
def global_masks(weights, amount):
    ### BEGIN SOLUTION
    row = torch.cat([weight.abs().flatten() for weight in weights.values()])
    threshold = row.kthvalue(round(amount * row.numel())).values
    return {layer: weight.abs() > threshold for layer, weight in weights.items()}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-global_masks", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.global_masks(global_masks)

# %% [markdown]
# ## 4 · The cubic schedule
#
# **Goal** say how sparse a network should be at each step of gradual pruning. **5 minutes, difficulty 1 of 3**
#
# With $t$ = step / steps, the sparsity is $\text{final} \cdot (1 - (1 - t)^3)$ (Zhu & Gupta 2017, equation 1). Training may go
# on after the last pruning step: there the sparsity stays at `final`. `step` counts from 0, `steps` is at least 1. The answer is one number, not rounded. Sketch the curve before you write it: where is it
# steep?
#
# <details><summary>Hint 1</summary>1 − t is what is left of the schedule. What is its cube at the start, and at the end?</details>
# <details><summary>Hint 2</summary>Behind the end t would be more than 1. What should it be at most?</details>
# <details><summary>Hint 3</summary>Which of Python's functions gives the smaller of two numbers?</details>


# %% nbgrader={"grade": false, "grade_id": "cubic_sparsity", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cubic_sparsity(step, steps, final):
    ### BEGIN SOLUTION
    t = min(step / steps, 1)
    return final * (1 - (1 - t) ** 3)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-cubic_sparsity", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.cubic_sparsity(cubic_sparsity)

# %% [markdown]
# ## 5 · A mask that survives the optimizer
#
# **Goal** train the weights that are left and keep the others at zero. **10 minutes, difficulty 2 of 3**
#
# `masked_step_(layer, mask, optimizer, loss)` does one whole training step: it clears all old gradients that the optimizer holds, computes new ones
# from `loss`, lets the optimizer move the weights, and sees to it that `layer.weight` is zero wherever `mask` is False, whether it was zero there before or not. It changes
# the layer (hence the `_` at the end) and returns nothing. The optimizer has momentum from the time before the pruning. The bias is not masked, and the layer can still be trained afterwards.
#
# <details><summary>Hint 1</summary>Four things happen, and their order decides. What must come last?</details>
# <details><summary>Hint 2</summary>zero_grad, backward, step: you know these three. The step can move a weight that is zero, by its gradient or by momentum. So what has to happen after it?</details>
# <details><summary>Hint 3</summary>A parameter that takes part in gradients cannot be changed in place just so: use torch.no_grad(), or its .data.</details>


# %% nbgrader={"grade": false, "grade_id": "masked_step_", "locked": false, "schema_version": 3, "solution": true, "task": false}
def masked_step_(layer, mask, optimizer, loss):
    ### BEGIN SOLUTION
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        layer.weight *= mask
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-masked_step_", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.masked_step_(masked_step_)

# %% [markdown]
# ## 6 · Spot the error: pruned 50 % twice
#
# **Goal** keep one meaning of "amount" through many prunings. **10 minutes, difficulty 2 of 3**
#
# A colleague prunes bit by bit, and wonders. In the last line 50 % were asked for.


# %% nbgrader={"grade": false, "grade_id": "colleague", "locked": true, "schema_version": 3, "solution": false, "task": false}
def prune_again(weight, amount):  # the colleague's
    left = weight[weight != 0].abs()
    return weight * (weight.abs() > left.quantile(amount))


weight = torch.tensor([0.8, -0.1, 0.3, -0.6, 0.2, 0.5, -0.4, 0.7])
for _ in range(2):
    weight = prune_again(weight, 0.5)
    print(f"asked for 50 %, {(weight == 0).float().mean():.0%} are zero")

# %% [markdown]
# Write `prune_to(weight, amount)`, which gives a pruned copy. Its amount is a fraction of the *original* weights: twice 0.5 is 0.5,
# and 0.5 followed by 0.75 is 0.75. Of n weights, `round(amount * n)` are zero afterwards; from call to call the amount only grows, and at least one weight goes, perhaps all of them. `weight` is flat, and its sizes are all different.
#
# <details><summary>Hint 1</summary>A weight that is zero already counts toward the amount. How many more must go?</details>
# <details><summary>Hint 2</summary>You need not count the zeros. Where do they stand, when all weights are ranked by size?</details>
# <details><summary>Hint 3</summary>Exercise 3 found its threshold by counting. quantile does not count: it interpolates between two weights.</details>


# %% nbgrader={"grade": false, "grade_id": "prune_to", "locked": false, "schema_version": 3, "solution": true, "task": false}
def prune_to(weight, amount):
    ### BEGIN SOLUTION
    sizes = weight.abs()
    return weight * (sizes > sizes.kthvalue(round(amount * weight.numel())).values)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-prune_to", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.prune_to(prune_to)

# %% [markdown]
# ## 7 · Challenge: the most sparsity at 95 %
#
# **Goal** use all of it on a real network, and decide without peeking. **25 minutes, difficulty 3 of 3**
#
# Give `my_network`: a small convolutional network (`models.SmallCNN`), trained and pruned by you, with as few weights as you can. On pictures that neither you nor
# the network has seen it must answer at least 95 % rightly, and at least 90 % of its weights must be zero. The first line is
# given; you may use anything in `course_lib`.
#
# **Budget** four epochs in all. Decide on `mnist["validation"]`. The check looks at the test part: run it once you
# have decided, not to decide. How far do you get: 95 %, 97 %, 98 %?
#
# <details><summary>Hint 1</summary>Lesson 1 compared one-shot, iterative and gradual pruning at the same number of epochs. Which one lost least with 1 % of the weights left?</details>
# <details><summary>Hint 2</summary>pruning.gradual_pruning may start from a fresh network. Its `end` says when the sparsity is reached; the rest of the budget is for recovery.</details>
# <details><summary>Hint 3</summary>A recipe is training.Recipe(epochs=…, lr=…). The result holds `model` and `validation`. Leave a margin of a point: on 500 pictures the interval is wide.</details>

# %% nbgrader={"grade": false, "grade_id": "most_sparsity", "locked": false, "schema_version": 3, "solution": true, "task": false}
mnist, fresh = datasets.mnist(), models.build(models.SmallCNN)
### BEGIN SOLUTION
recipe = training.Recipe(epochs=3, lr=2e-3)
fitted = pruning.gradual_pruning(fresh, mnist, recipe, final=0.95, end=0.6)
print("validation:", fitted.validation)
my_network = fitted.model
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "check-most_sparsity", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.most_sparsity(my_network)

# %% [markdown]
# ## And then
#
# - Which of your answers would `course_lib.pruning` have saved you? Read them: they are short.
# - On to [lesson 2a](../notebooks/02_structured_pruning.ipynb), where the zeros go for good.
