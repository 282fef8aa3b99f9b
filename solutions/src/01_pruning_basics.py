# %% [markdown]
# # Exercises 1 · Pruning basics
#
# **You need** [lesson 1](../notebooks/01_pruning_basics.ipynb). **Time** about 75 minutes; the computer works half a
# minute of them.
#
# Write your answer where it says `YOUR CODE HERE`, run that cell, and then run the check below it. The check prints what it tried, what
# came out, and what was expected. If your answer makes a known mistake, the check names it. It also prints what it does *not* test.
# If you are stuck, open one hint at a time.
#
# A function must not change its arguments, unless its name ends in `_`. Where the text asks for a number, a float and a tensor with one
# element are both fine. The check looks at gradients only where the text mentions them. Do not use `course_lib.pruning` before the challenge, because you are writing it.

# %% tags=["setup"]
# the first cell of every lesson

# %% nbgrader={"grade": false, "grade_id": "imports", "locked": true, "schema_version": 3, "solution": false, "task": false}
import torch
from torch import nn

from course_lib import checks, datasets, models, pruning, training

# %% [markdown]
# ## 1 · The sparsity of a module
#
# **Goal** measure how sparse any network is. **5 minutes, difficulty 1 of 3**
#
# `sparsity(module)` returns the share of zeros among the weights of all `nn.Linear` and `nn.Conv2d` layers, as a number between 0 and 1. The layers can be at any
# depth in the module, and the module can itself be such a layer. Biases do not count. The weights of batch norms and embeddings do not count either.
# Every module here has at least one layer that counts, and no other kind of convolution occurs.
#
# <details><summary>Hint 1</summary>You need two numbers over all layers: how many weights are exactly zero, and how many weights there are.</details>
# <details><summary>Hint 2</summary>module.modules() yields the module itself and every module inside it, at any depth. isinstance(layer, (nn.Linear, nn.Conv2d)) selects the layers.</details>
# <details><summary>Hint 3</summary>True counts as 1 in a sum. A large layer must count more than a small one, so when do you divide?</details>


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
# **Goal** prune exactly the share of weights that was asked for, even if magnitudes are equal. **10 minutes, difficulty 2 of 3**
#
# `magnitude_mask(weight, amount)` returns a mask with the shape of `weight` and dtype `torch.bool`: True where a weight stays, False where it is pruned.
# Of the n weights in the whole tensor, prune the `round(amount * n)` with the smallest magnitudes. Here `round` is Python's, and `amount` can be any number from 0 to 1, including 0 and 1.
# If magnitudes are equal, prune the weight that comes first in `weight.flatten()`.
#
# First, on paper: take `[[0.2, -0.5, 0.2], [-0.2, 0.7, 0.2]]` and amount 0.5. Which three weights are pruned?
#
# <details><summary>The answer on paper</summary>Four weights have the magnitude 0.2, and three must be pruned. The first three in flatten() are both weights of 0.2 in the first row, and −0.2.</details>
#
# <details><summary>Hint 1</summary>A threshold cannot separate equal magnitudes, and four of the weights above have the same one. Rank the weights and count.</details>
# <details><summary>Hint 2</summary>argsort gives the indices of the values, from the smallest to the largest. With stable=True, equal values keep their order.</details>
# <details><summary>Hint 3</summary>A mask is easier to fill while it is flat; view gives it a shape afterwards. Which entries of the order belong to pruned weights?</details>


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
# **Goal** prune all layers with one threshold, so that each layer can lose a different share. **10 minutes, difficulty 2 of 3**
#
# `global_masks(weights, amount)` takes a dict from layer names to weights. It returns a dict from the same names to bool masks, each with the shape of its weight and True where a weight stays.
# Of all n weights of all layers together, prune the `round(amount * n)` with the smallest magnitudes. At least one weight is pruned and at least one stays. No two magnitudes are equal.
#
# <details><summary>Hint 1</summary>Every layer is compared with the same number. Which weights do you need to find it?</details>
# <details><summary>Hint 2</summary>torch.cat joins the flattened magnitudes of all layers. The threshold is the largest magnitude that is pruned.</details>
# <details><summary>Hint 3</summary>torch.tensor([3.0, 1.0, 2.0]).kthvalue(2).values is 2, the second smallest: k counts from 1. Does a weight at the threshold stay?</details>


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
# **Goal** compute how sparse a network should be at each step of gradual pruning. **5 minutes, difficulty 1 of 3**
#
# `cubic_sparsity(step, steps, final)` returns the sparsity $\text{final} \cdot (1 - (1 - t)^3)$ with $t$ = step / steps (Zhu & Gupta 2017, equation 1). `step` counts from 0, and `steps` is at least 1. Training may
# continue after the last pruning step. From there on, the sparsity stays at `final`. The result is one number, not rounded.
#
# Sketch the curve first. Where is it steepest?
#
# <details><summary>The answer on paper</summary>At the start, where there are still many weights that matter little. At the end it is flat.</details>
#
# <details><summary>Hint 1</summary>1 − t is the part of the schedule that is left. What is its cube at the start, and at the end?</details>
# <details><summary>Hint 2</summary>After the end, t would be greater than 1. What is the largest value it should have?</details>
# <details><summary>Hint 3</summary>Limit t rather than the result. Then the formula gives `final` after the end, too.</details>


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
# **Goal** train the weights that stay, and keep the pruned ones at zero. **10 minutes, difficulty 2 of 3**
#
# `masked_step_(layer, mask, optimizer, loss)` does one training step:
#
# - clear the old gradients of all parameters that the optimizer holds (some belong to other layers);
# - compute new gradients from `loss`, and let the optimizer take one step;
# - after that, `layer.weight` is zero wherever `mask` is False, even if it was not zero before the call.
#
# The optimizer has momentum from before the pruning. Keep that momentum for everything that is not pruned. The bias is not masked.
# Afterwards `layer.weight` is still the same parameter, and it can still be trained. The function changes the layer (hence the `_` in its name) and returns nothing.
#
# <details><summary>Hint 1</summary>Four things happen, and their order matters. Which one must come last?</details>
# <details><summary>Hint 2</summary>You know zero_grad, backward and step. The step can move a pruned weight away from zero, by its gradient or by momentum.</details>
# <details><summary>Hint 3</summary>PyTorch refuses to change a trainable parameter in place while autograd records. torch.no_grad() pauses the recording.</details>


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
# **Goal** make an amount mean the same thing in every call. **10 minutes, difficulty 2 of 3**
#
# A colleague prunes the same weight twice and asks for 50 % each time. After the second call, more than 50 % are zero.


# %% nbgrader={"grade": false, "grade_id": "colleague", "locked": true, "schema_version": 3, "solution": false, "task": false}
def prune_again(weight, amount):  # the colleague's
    left = weight[weight != 0].abs()
    return weight * (weight.abs() > left.quantile(amount))


weight = torch.tensor([0.8, -0.1, 0.3, -0.6, 0.2, 0.5, -0.4, 0.7])
for _ in range(2):
    weight = prune_again(weight, 0.5)
    print(f"asked for 50 %, {(weight == 0).float().mean():.0%} are zero")

# %% [markdown]
# Write `prune_to(weight, amount)`, which returns a pruned copy of the flat tensor `weight`. Pruned weights become 0. All others keep their values and their places.
# Here `amount` is a fraction of all n weights, including those that are already zero. So `round(amount * n)` weights are zero afterwards: 0.5 twice gives 50 % zeros, and 0.5 followed by 0.75 gives 75 %.
# From call to call, `amount` stays the same or grows. At least one weight is pruned, perhaps all. In the original weight, no two magnitudes are equal.
#
# <details><summary>Hint 1</summary>A weight that is already zero counts toward the amount. How many more must be pruned?</details>
# <details><summary>Hint 2</summary>You do not have to count the zeros. Where are they if you rank all weights by magnitude?</details>
# <details><summary>Hint 3</summary>In exercise 3 you found a threshold by counting. quantile does not count; it interpolates between two weights.</details>


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
# **Goal** prune a real network as far as you can, and decide without looking at the test set. **25 minutes, difficulty 3 of 3**
#
# Make `my_network`, a small convolutional network (`models.SmallCNN`) that you trained and pruned. Prune weights to zero, and leave the shapes as they are. It must have
#
# - a sparsity of at least 90 %;
# - an accuracy of at least 95 % on the 1,000 test images.
#
# The first line is given. You may use anything in `course_lib`.
#
# **Budget** four epochs in total. Decide on `mnist["validation"]`. The check uses the test set, so run it only after you have decided. How sparse can your network get?
#
# <details><summary>Hint 1</summary>Lesson 1 compared one-shot, iterative and gradual pruning at the same number of epochs. Which lost the least accuracy with 1 % of the weights left?</details>
# <details><summary>Hint 2</summary>pruning.gradual_pruning can start from a fresh network. Its argument `end` says when the final sparsity is reached. The network recovers in the rest of the epochs.</details>
# <details><summary>Hint 3</summary>A recipe is training.Recipe(epochs=…, lr=…). The result has the attributes `model` and `validation`. Aim a point higher than 95 %, because with 500 validation images the interval is wide.</details>

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
# ## What next?
#
# - Compare your functions with those in `course_lib.pruning`. They are short.
# - Go on to [lesson 2a](../notebooks/02_structured_pruning.ipynb), which removes whole units instead of setting weights to zero.
