# %% [markdown]
# # Exercises 2 · Structured pruning
#
# **You need** [lesson 2a](../notebooks/02_structured_pruning.ipynb) for exercises 1 to 3, and
# [lesson 2b](../notebooks/02b_structured_transformers.ipynb) from exercise 4 on. **Time** about 83 minutes; the computer works
# about a minute of them.
#
# Write your answer where it says `YOUR CODE HERE`, run that cell, and then run the check below it. The check prints what it tried, what
# came out, and what was expected. If your answer makes a known mistake, the check names it. It also prints what it does *not* test.
# If you are stuck, open one hint at a time.
#
# A function must not change its arguments, unless its name ends in `_`. The layers that it returns are copies: they share no tensor with the originals, and they can be trained like the originals.
# The check compares outputs in eval mode. Do not use `course_lib.structured` before the challenge, because you are writing it.

# %% tags=["setup"]
# the first cell of every lesson

# %% nbgrader={"grade": false, "grade_id": "imports", "locked": true, "schema_version": 3, "solution": false, "task": false}
import copy

import torch
from torch import nn

from course_lib import checks, datasets, evaluation, models, structured, training
from course_lib.structured.removal import changes, remove

# %% [markdown]
# ## 1 · A neuron of two linear layers
#
# **Goal** find everything that belongs to a neuron. **6 minutes, difficulty 1 of 3**
#
# `remove_neurons(first, second, keep)` returns smaller copies of two linear layers. The second layer reads the output of the first. `keep` lists the
# neurons of `first` that stay, in rising order. Both layers have a bias, and the weight of an `nn.Linear` has the shape `[out, in]`.
#
# The function below copies both layers and cuts the rows of the first weight. Complete it: cut whatever else belongs to a removed neuron, and correct the sizes that the layers print, `in_features` and `out_features`.
#
# <details><summary>Hint 1</summary>Print both layers and the shapes of their tensors, before and after. Which of them still have the old size?</details>
# <details><summary>Hint 2</summary>Two more tensors change: one in the first layer, and one in the second. The second weight has one column for each neuron of the first layer.</details>
# <details><summary>Hint 3</summary>PyTorch does not update out_features and in_features when you replace a tensor. Which of the four sizes have changed?</details>


# %% nbgrader={"grade": false, "grade_id": "remove_neurons", "locked": false, "schema_version": 3, "solution": true, "task": false}
def remove_neurons(first, second, keep):
    first, second = copy.deepcopy(first), copy.deepcopy(second)
    first.weight.data = first.weight.data[keep]
    ### BEGIN SOLUTION
    first.bias.data = first.bias.data[keep]
    second.weight.data = second.weight.data[:, keep]
    first.out_features = second.in_features = len(keep)
    ### END SOLUTION
    return first, second


# %% nbgrader={"grade": true, "grade_id": "check-remove_neurons", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.remove_neurons(remove_neurons)

# %% [markdown]
# ## 2 · A channel, with its batch norm
#
# **Goal** remove channels from three layers at once. **12 minutes, difficulty 2 of 3**
#
# `remove_channels(conv, bn, following, keep)` returns smaller copies of three layers, in this order: a convolution, its batch norm,
# and the next convolution. A ReLU comes between the batch norm and the next convolution. `keep` lists the channels of `conv` that stay, in rising order.
#
# Both convolutions have a bias and one group. Everything else about the layers stays as it is: kernel size, stride, padding and dilation of the convolutions, the batch norm's ε and momentum, and train or eval mode.
# In eval mode, the smaller layers must give the outputs that the large ones would give if the next convolution ignored the removed channels.
#
# Count first: how many tensors must you cut? You do not have to correct the sizes that the layers print. Exercise 6 is about them.
#
# <details><summary>Hint 1</summary>list(conv.state_dict()) names the tensors of a layer. Do this for all three layers. Which tensors have one entry for each channel of conv?</details>
# <details><summary>Hint 2</summary>A batch norm has four of them: weight and bias, which are learned, and running_mean and running_var, which are buffers.</details>
# <details><summary>Hint 3</summary>There are seven tensors in total: two, four, and one. The weight of a convolution has the shape [out, in, height, width]. Which of these dimensions belongs to the channels that a layer reads?</details>


# %% nbgrader={"grade": false, "grade_id": "remove_channels", "locked": false, "schema_version": 3, "solution": true, "task": false}
def remove_channels(conv, bn, following, keep):
    ### BEGIN SOLUTION
    conv, bn, following = copy.deepcopy((conv, bn, following))
    conv.weight.data, conv.bias.data = conv.weight.data[keep], conv.bias.data[keep]
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(bn, name).data = getattr(bn, name).data[keep]
    following.weight.data = following.weight.data[:, keep]
    return conv, bn, following
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-remove_channels", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.remove_channels(remove_channels)

# %% [markdown]
# ## 3 · Mask a channel
#
# **Goal** mask a channel so that it has no effect on the next layer. **10 minutes, difficulty 2 of 3**
#
# To find out how important a channel is, you can mask it before you remove it. `silence_channels(conv, bn, following, gone)` returns copies of the same
# three layers in the same order, as large as before. For every image, the next convolution must give the same output as if the channels in the list `gone` had been removed.
# `gone` can have any number of channels, and it can be empty. The check compares outputs in eval mode.
#
# First, on paper: a filter and its bias are zero, γ = 2, β = 0.5, the running mean is −3, and the variance is 4. What does the ReLU output?
#
# <details><summary>The answer on paper</summary>2 · (0 + 3) / √4 + 0.5 = 3.5, without the small ε. The ReLU does not change a positive number.</details>
#
# <details><summary>Hint 1</summary>In eval mode, a batch norm turns x into γ · (x − mean) / √(variance + ε) + β. What is that at x = 0?</details>
# <details><summary>Hint 2</summary>There are two places where zeros help, and neither is in the first convolution.</details>
# <details><summary>Hint 3</summary>Either the next convolution multiplies the channel by zero, or the batch norm outputs zero whatever comes in. Each is enough.</details>


# %% nbgrader={"grade": false, "grade_id": "silence_channels", "locked": false, "schema_version": 3, "solution": true, "task": false}
def silence_channels(conv, bn, following, gone):
    ### BEGIN SOLUTION
    conv, bn, following = copy.deepcopy((conv, bn, following))
    with torch.no_grad():
        following.weight[:, gone] = 0
    return conv, bn, following
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-silence_channels", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.silence_channels(silence_channels)

# %% [markdown]
# ## 4 · An attention head
#
# **Goal** find the rows and columns that belong to an attention head. **15 minutes, difficulty 3 of 3**
#
# The attention of a transformer layer has four linear layers. `remove_heads(layers, heads, keep)` takes them as a dict with the names
# "query", "key", "value" and "output". `heads` is the number of heads that these layers have now, and `keep` lists the heads that stay, in rising order. The function returns a dict with the same names and smaller
# copies. All four layers have a bias, and all heads have the same size.
#
# Query, key and value compute the numbers of head 0 first, then those of head 1, and so on. The output layer reads the outputs of the heads side by side, in the same order.
#
# Read all sizes off the weights. Query, key and value need not be square: they can have fewer rows than columns, or more. `in_features` and `out_features` may be wrong after an earlier cut, and you do not have to correct them.
#
# First, on paper: there are three heads of two numbers each, and heads 0 and 2 stay. Which rows are these?
#
# <details><summary>The answer on paper</summary>Rows 0 and 1 of head 0, and rows 4 and 5 of head 2, counted from 0.</details>
#
# <details><summary>Hint 1</summary>How many numbers does one head have? Divide the number of rows of the query weight by a number of heads. Is it the number before or after the cut?</details>
# <details><summary>Hint 2</summary>Make one list of indices. If each head has `size` numbers, then head h begins at row h · size, and its rows follow each other.</details>
# <details><summary>Hint 3</summary>All four layers need the same list. In which of them are a head's numbers computed, and in which are they read?</details>


# %% nbgrader={"grade": false, "grade_id": "remove_heads", "locked": false, "schema_version": 3, "solution": true, "task": false}
def remove_heads(layers, heads, keep):
    ### BEGIN SOLUTION
    layers = copy.deepcopy(layers)
    size = len(layers["query"].weight) // heads
    places = [head * size + i for head in keep for i in range(size)]
    for layer in (layers["query"], layers["key"], layers["value"]):
        layer.weight.data, layer.bias.data = layer.weight.data[places], layer.bias.data[places]
    layers["output"].weight.data = layers["output"].weight.data[:, places]
    return layers
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-remove_heads", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.remove_heads(remove_heads)

# %% [markdown]
# ## 5 · The importance of a head
#
# **Goal** compute an importance score for each head from the loss. **10 minutes, difficulty 2 of 3**
#
# Imagine a gate of 1 on a head: a number that multiplies the head's output $a$ for all tokens of a sentence. By the chain rule, the gradient of the loss with respect to the gate is
# $\sum a \cdot \partial\text{loss}/\partial a$, summed over the tokens of the sentence and the numbers of the head. The importance of the head is the *absolute value* of this gradient, averaged over the sentences
# (Michel et al. 2019, equation 2). To rank heads of different layers in one list, divide it by the number of parameters that are removed with the head.
#
# `head_importance(answers, gradients, parameters)` returns one importance score per head, a tensor `[heads]`. `answers` holds the heads' outputs $a$ and `gradients` holds $\partial\text{loss}/\partial a$.
# Both have the shape `[sentences, tokens, heads, numbers]`. The gradients of each sentence are those of its own loss. `parameters` is the number of parameters of one head. Do not round.
#
# <details><summary>Hint 1</summary>Of the four dimensions, only the heads are left at the end. You sum over two of the others before the absolute value, and average over one after it.</details>
# <details><summary>Hint 2</summary>Each sentence and each head has one gate. Its gradient is a sum of products over tokens and numbers.</details>
# <details><summary>Hint 3</summary>Two sentences can have opposite signs. Should they cancel? And two numbers of one head?</details>


# %% nbgrader={"grade": false, "grade_id": "head_importance", "locked": false, "schema_version": 3, "solution": true, "task": false}
def head_importance(answers, gradients, parameters):
    ### BEGIN SOLUTION
    gates = (answers * gradients).sum((1, 3))  # [sentences, heads]
    return gates.abs().mean(0) / parameters
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-head_importance", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.head_importance(head_importance)

# %% [markdown]
# ## 6 · Spot the error: stale `out_channels`
#
# **Goal** keep the stored sizes right when you cut tensors. **10 minutes, difficulty 2 of 3**
#
# A colleague halves a layer twice. Eight channels should become four, and then two. There is no error message.


# %% nbgrader={"grade": false, "grade_id": "colleague", "locked": true, "schema_version": 3, "solution": false, "task": false}
def halve_(a, b):  # the colleague's
    half = a.out_channels // 2
    a.weight.data, a.bias.data = a.weight.data[:half], a.bias.data[:half]
    b.weight.data = b.weight.data[:, :half]


a, b = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 3)
for _ in range(2):
    halve_(a, b)
    print(f"{len(a.weight)} channels; it says {a}")

# %% [markdown]
# One line of `halve_` reads a number that is wrong in the second call. Which line is it, and which attribute?
#
# <details><summary>Answer</summary>The first line. It reads a.out_channels, which is still 8 after the first halving, because nobody updated it when the tensors were cut. So the second call
# keeps half of 8 channels, which is all four that are left.</details>
#
# Write `set_sizes_(module)`, which corrects these numbers in a whole network. At any depth, it sets `in_channels` and `out_channels` of each `nn.Conv2d`, `num_features` of each `nn.BatchNorm2d`,
# and `in_features` and `out_features` of each `nn.Linear` to the sizes of their tensors, as Python integers. `module` can itself be such a layer.
# The function changes the module (hence the `_` in its name) but not its tensors, and it returns nothing.
#
# The `groups` of a convolution are right, and there can be more than one. A layer may have no bias, and a batch norm may have no running statistics. Every batch norm has a weight.
#
# <details><summary>Hint 1</summary>Which tensor does every one of these layers have?</details>
# <details><summary>Hint 2</summary>module.modules() yields every module at any depth, and the module itself. isinstance distinguishes the three kinds.</details>
# <details><summary>Hint 3</summary>A weight has the shape [out, in, …]. With groups, each filter reads only the channels of its own group, so the second size is in_channels / groups.</details>


# %% nbgrader={"grade": false, "grade_id": "set_sizes_", "locked": false, "schema_version": 3, "solution": true, "task": false}
def set_sizes_(module):
    ### BEGIN SOLUTION
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = layer.weight.shape
        elif isinstance(layer, nn.Conv2d):
            layer.out_channels, within_group = layer.weight.shape[:2]
            layer.in_channels = within_group * layer.groups
        elif isinstance(layer, nn.BatchNorm2d):
            layer.num_features = len(layer.weight)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-set_sizes_", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.set_sizes_(set_sizes_)

# %% [markdown]
# ## 7 · Challenge: "give me 2 ×"
#
# **Goal** make a real network do half of the work. **20 minutes, difficulty 3 of 3**
#
# The next cell trains the CNN of lesson 2a, and prints its size and its accuracy. Which layer has most of the parameters, and which needs most of the operations?

# %% nbgrader={"grade": false, "grade_id": "whole", "locked": true, "schema_version": 3, "solution": false, "task": false}
mnist = datasets.mnist()
images = mnist["validation"].tensors[0]
whole = training.fit(models.build(models.SmallCNN), mnist, training.Recipe(epochs=2)).model
print(
    evaluation.footprint(whole, images[:1]),
    evaluation.evaluate(whole, mnist["validation"]),
    sep="\n",
)

# %% [markdown]
# Make `my_network`, a narrower copy of `whole`, trained again after the cut. It may need at most half of the operations of `whole`, and it must have
# an accuracy of at least 95 % on the 1,000 test images. From here on, you may use anything in `course_lib`.
#
# **Budget** three epochs after the cut. Decide on `mnist["validation"]`. The check uses the test set, so run it only after you have
# decided. It counts operations because they are the same on every machine. In the last cell you measure the time yourself.
# Can you get to a half of the operations, to a quarter, or to an eighth?
#
# <details><summary>Hint 1</summary>structured.prune(whole, 0.5) removes half of the parameters, not half of the operations. evaluation.operations(model, images[:1]) counts the operations.</details>
# <details><summary>Hint 2</summary>structured.choose(whole, share, score, per_group=True) chooses the same share of units in every layer, and remove(whole, keep) removes them. If you remove a share s from two consecutive layers, about (1 − s)² of the operations between them are left.</details>
# <details><summary>Hint 3</summary>structured.gate_taylor(whole, datasets.subset(mnist["train"], 512)) returns importance scores that use the gradient of the loss. The result of training.fit has the attributes model and validation.</details>

# %% nbgrader={"grade": false, "grade_id": "twice_as_fast", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
score = structured.gate_taylor(whole, datasets.subset(mnist["train"], 512))
smaller = remove(whole, structured.choose(whole, 0.3, score, per_group=True))
fitted = training.fit(smaller, mnist, training.Recipe(epochs=2))
print("validation:", fitted.validation)
my_network = fitted.model
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "check-twice_as_fast", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.twice_as_fast(my_network)

# %% [markdown]
# Do half of the operations take half of the time? Measure it on your machine, with one image at a time and with 64 at once.

# %% nbgrader={"grade": false, "grade_id": "time", "locked": true, "schema_version": 3, "solution": false, "task": false}
print(changes(whole, my_network))
for n in (1, 64):
    times = evaluation.latency({"whole": whole, "mine": my_network}, images[:n])
    print(f"batch {n}: {times['mine'].faster_than(times['whole'])}")

# %% [markdown]
# ## What next?
#
# - Compare your functions with [course_lib/structured/removal.py](../course_lib/structured/removal.py). There, one function removes neurons, channels and heads. What do the three have in
#   common?
# - Use `course_lib.speed_up` to make the network 2 × as fast, measured in time. Does it choose other widths than you did?
# - Go on to [lesson 3](../notebooks/03_distillation_loss.ipynb). A teacher may help a pruned network to recover.
