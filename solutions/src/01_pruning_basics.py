# %% [markdown]
# # Exercises 1 · Pruning basics
#
# **You need** [lesson 1](../notebooks/01_pruning_basics.ipynb). **Time** about 75 minutes; the computer works half a
# minute of them.
#
# Write your answer where it says `YOUR CODE HERE`, run it, then run the check below it. A check says what it tried, what
# came and what was expected. If your answer makes a known mistake, it says which one. It also says what it did *not* look
# at, so keep your own eyes open. Stuck? Open one hint at a time.

# %% tags=["setup"]
# the first cell of every lesson

# %% nbgrader={"grade": false, "grade_id": "imports", "locked": true, "schema_version": 3, "solution": false, "task": false}
from torch import nn

from course_lib import checks

# %% [markdown]
# ## 1 · The sparsity of a module
#
# **Goal** say how sparse a network is, whatever it is built of. **5 minutes, difficulty 1 of 3**
#
# `sparsity(module)` is the share of zeros among all weights of the linear and convolution layers, wherever they stand in
# the module. It lies between 0 and 1. Biases do not count.
#
# <details><summary>Hint 1</summary>Two numbers, added up over all layers: how many weights are exactly zero, and how many there are.</details>
# <details><summary>Hint 2</summary>module.modules() walks through everything, at any depth. isinstance(layer, (nn.Linear, nn.Conv2d)) picks the layers.</details>
# <details><summary>Hint 3</summary>For one layer: (layer.weight == 0).sum() zeros, layer.weight.numel() weights. Divide at the very end.</details>


# %% nbgrader={"grade": false, "grade_id": "sparsity", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sparsity(module):
    ### BEGIN SOLUTION
    layers = [m for m in module.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    zeros = sum((layer.weight == 0).sum().item() for layer in layers)
    return zeros / sum(layer.weight.numel() for layer in layers)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-sparsity", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.sparsity(sparsity)
