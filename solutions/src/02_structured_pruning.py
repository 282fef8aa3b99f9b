# %% [markdown]
# # Exercises 2 · Structured pruning
#
# **You need** [lesson 2a](../notebooks/02_structured_pruning.ipynb) for exercises 1 to 3, and
# [lesson 2b](../notebooks/02b_structured_transformers.ipynb) from exercise 4 on. **Time** about 83 minutes; the computer works
# about a minute of them.
#
# Write your answer where it says `YOUR CODE HERE`, run it, then run the check below it. A check says what it tried, what
# came and what was expected. If your answer makes a known mistake, it says which one. It also says what it did *not* look
# at, so keep your own eyes open. Stuck? Open one hint at a time.
#
# A function leaves its arguments as they are, unless its name ends in `_`. A smaller copy shares no tensor with its original, and can be trained as the original can. Leave `course_lib.structured` aside until the challenge: you are writing it.

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
# **Goal** find all that a neuron owns. **6 minutes, difficulty 1 of 3**
#
# `remove_neurons(first, second, keep)` gives smaller copies of two linear layers, one behind the other. `keep` is a list: the
# neurons of `first` that stay, in rising order. Both layers have a bias. A `Linear` keeps its weight as `[out, in]`. The copies are there, and the rows of the first
# weight are cut. Complete it: what else belongs to a neuron? And do the layers still tell the truth when you print them?
#
# <details><summary>Hint 1</summary>Print the two layers and the shapes of their tensors, before and after. Which still speak of the old number?</details>
# <details><summary>Hint 2</summary>Two more tensors change: one of the first layer, one of the second. What the second layer reads stands in its columns: [:, …].</details>
# <details><summary>Hint 3</summary>A Linear holds out_features and in_features beside its tensors. Nobody but you will change them.</details>


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
# **Goal** cut three layers in step. **12 minutes, difficulty 2 of 3**
#
# `remove_channels(conv, bn, following, keep)` gives smaller copies of three layers, in this order: a convolution, its batch norm,
# and the next convolution. Between batch norm and the next convolution is a ReLU. `keep` lists the channels of `conv` that stay. Both convolutions have a
# bias, one group, and any kernel, stride and padding: those stay as they are, and so does the batch norm's ε. The smaller three must say exactly what the large three would say if nobody listened to the other channels.
#
# Count first: how many tensors have to be cut? (The sizes that the layers *say* are not asked for here. Exercise 6 comes back to them.)
#
# <details><summary>Hint 1</summary>list(conv.state_dict()) names the tensors of a layer; do so for all three. In which of them does each channel have a place?</details>
# <details><summary>Hint 2</summary>A batch norm has four: two that it learns, and two that it counts, its running_mean and running_var.</details>
# <details><summary>Hint 3</summary>Seven tensors in all: two, four, and one. The weight of a convolution is [out, in, height, width]: which of these does the last layer read with?</details>


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
# ## 3 · Silence a channel
#
# **Goal** mask a channel so that it is really silent. **10 minutes, difficulty 2 of 3**
#
# Before a channel goes for good you want to know what it is worth. `silence_channels(conv, bn, following, gone)` gives copies of the same
# three layers, as large as before, in which the channels of the list `gone` have no say: for any picture, the next convolution
# answers as if they were removed. The three come back in the same order, and `gone` may name any number of channels. The check asks in eval mode.
#
# On paper first: a filter and its bias are zero, γ = 2, β = 0.5, the running mean −3, the variance 4. What does the ReLU hand on?
#
# <details><summary>Hint 1</summary>In eval mode a batch norm makes γ · (x − mean) / √(variance + ε) + β of x. What is that at x = 0?</details>
# <details><summary>Hint 2</summary>There are two good places for zeros, and neither is in the first convolution.</details>
# <details><summary>Hint 3</summary>Either where the next convolution reads the channel, at every place of its kernel. Or both of the numbers that the batch norm has learned for it.</details>


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
# ## 4 · A head
#
# **Goal** find the rows and columns of an attention head. **15 minutes, difficulty 3 of 3**
#
# The attention of a transformer layer is four linear layers. `remove_heads(layers, heads, keep)` takes them as a dict with the names
# "query", "key", "value" and "output", the number of `heads` that they hold now, and a list of the heads that stay. It gives a dict of smaller
# copies. All four have a bias. The sizes that the layers say are not asked for here.
#
# Query, key and value compute the numbers of head 0 first, then those of head 1, and so on. The output layer reads the heads' answers side by side, in the same
# order. With three heads of two numbers, of which 0 and 2 stay: which rows are these?
#
# <details><summary>Hint 1</summary>How many numbers has a head? The width of the query layer is known, and so is the number of heads. Which number of heads, the old or the new?</details>
# <details><summary>Hint 2</summary>Make one list of places: for each head that stays, its first row is head · size, and size rows follow each other.</details>
# <details><summary>Hint 3</summary>That list of places is all you need, four times: where are a head's numbers computed, and where are they read?</details>


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
# **Goal** ask the loss which heads matter. **10 minutes, difficulty 2 of 3**
#
# Put a gate of 1 on a head: its answer $a$, for all tokens of a sentence, is multiplied by it. By the chain rule the loss's gradient by the gate is
# $\sum a \cdot \partial\text{loss}/\partial a$, over the sentence's tokens and the head's numbers. The importance of the head is the *size* of this gradient, averaged over the sentences
# (Michel et al. 2019, equation 2). And so that heads of different layers can be ranked in one list: for each parameter that goes with the head.
#
# `head_importance(answers, gradients, parameters)` gives one number for each head, `[heads]`. Answers and gradients are `[sentences, tokens, heads, numbers]`;
# `parameters` is how many one head owns. Each sentence's gradient is that of its own loss.
#
# <details><summary>Hint 1</summary>Four dimensions, and only the heads are left at the end. Two of the others are added up before the absolute value, one is averaged behind it.</details>
# <details><summary>Hint 2</summary>answers * gradients, then a sum over dimensions 1 and 3: that is one gate's gradient for each sentence and head.</details>
# <details><summary>Hint 3</summary>Put absolute value, mean and division in the order in which the text names them.</details>


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
# **Goal** keep the books as well as the tensors. **10 minutes, difficulty 2 of 3**
#
# A colleague halves a layer, twice. Eight channels should become four, then two. No error is raised.


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
# Which line of `halve_` reads a number that is not true any more, and which attribute is it?
#
# <details><summary>Answer</summary>The first one. It reads a.out_channels, which still says 8 after the first halving: nobody changed it when the tensors were cut. So the second call
# halves 8 again, and nothing happens.</details>
#
# Write `set_sizes_(module)`, which makes a network honest: at any depth, each `nn.Conv2d` gets its true
# `in_channels` and `out_channels`, each `nn.BatchNorm2d` its `num_features`, each `nn.Linear` its `in_features` and `out_features`, read off their
# tensors. It changes the module (hence the `_` at the end) and returns nothing. A convolution's `groups` are right, and may be more than 1. A layer may have no
# bias, and a batch norm no running statistics; every batch norm has a weight. The sizes are whole numbers.
#
# <details><summary>Hint 1</summary>What does a layer know of itself for sure? The shape of its weight.</details>
# <details><summary>Hint 2</summary>module.modules() walks through everything, itself included; isinstance tells the three kinds apart.</details>
# <details><summary>Hint 3</summary>A weight is [out, in, …]. With groups, each filter sees the channels of its own group alone: there the second size is in_channels / groups.</details>


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
# **Goal** make a real network faster, not just smaller. **20 minutes, difficulty 3 of 3**
#
# Here is the CNN of the lesson, trained. Where are its parameters, and where is its work?

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
# Give `my_network`: `whole` made narrower, and trained again. It may need at most half of the operations of the whole one, and must
# answer at least 95 % of the pictures rightly that neither you nor the network has seen. From here on you may use anything in `course_lib`.
#
# **Budget** three epochs after the cut. Decide on `mnist["validation"]`. The check looks at the test part: run it once you have
# decided, not to decide. We count operations because they are the same on every machine; the time you measure yourself, in the last
# cell. How far do you get: 2 ×, 4 ×, 8 ×?
#
# <details><summary>Hint 1</summary>structured.prune(whole, 0.5) removes half of the parameters, not of the work. evaluation.operations(model, images[:1]) tells what became of the work.</details>
# <details><summary>Hint 2</summary>structured.choose(whole, share, score, per_group=True) narrows every layer alike, and remove(whole, keep) does it. A share of s leaves about (1 − s)² of the work between two narrowed layers.</details>
# <details><summary>Hint 3</summary>structured.gate_taylor(whole, datasets.subset(mnist["train"], 512)) is a score that asks the loss. Then training.fit; its result holds the attributes model and validation.</details>

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
# Half of the operations: is it half of the time? Measure, on your machine, one picture at a time and 64 together.

# %% nbgrader={"grade": false, "grade_id": "time", "locked": true, "schema_version": 3, "solution": false, "task": false}
print(changes(whole, my_network))
for n in (1, 64):
    times = evaluation.latency({"whole": whole, "mine": my_network}, images[:n])
    print(f"batch {n}: {times['mine'].faster_than(times['whole'])}")

# %% [markdown]
# ## And then
#
# - Compare your answers with [course_lib/structured/removal.py](../course_lib/structured/removal.py). One function removes neurons, channels and heads alike: what do they have in
#   common there?
# - Ask `course_lib.speed_up` for 2 × in time. Does it choose other widths than you did?
# - On to [lesson 3](../notebooks/03_distillation_loss.ipynb): a teacher may help a network that was cut.
