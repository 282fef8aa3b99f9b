# %% [markdown]
# # Lesson 2a · Structured pruning
#
# **How do I make a network that is really smaller and really faster?**
#
# You will be able to
#
# - remove neurons and channels by hand, and show that nothing else has changed;
# - avoid the batch-norm trap, and find the layers that must be cut together;
# - explain why fewer operations may save little time, and what to do about it;
# - choose between removing neurons and zeroing single weights.
#
# **You need** [lesson 1](01_pruning_basics.ipynb). **Time** about 45 minutes; the computer works about 4 of them on two cores.

# %% tags=["setup"]
# the first cell of every lesson

# %% tags=["parameters"] jupyter={"source_hidden": true}
profile = "full"

# %%
from course_lib import lessons

settings = lessons.start("lesson2a", profile)

import copy

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import datasets, evaluation, models, pruning, structured, training
from course_lib.lessons import diagrams, fill_in, plots, sliders, solutions

# %% [markdown]
# ## The result first
#
# Lesson 1 set most weights of LeNet-300-100 to zero, and the network did not become faster. Here we remove whole neurons instead. The script
# [lesson2_granularity.py](experiments/lesson2_granularity.py) trained both kinds of networks with several seeds. We load their accuracies, build
# networks of the same shapes, and time them on your machine.

# %% jupyter={"source_hidden": true}
torch.set_num_threads(1)  # so small a network gains nothing from more threads
granularity = lessons.results("lesson2_granularity")
mnist = datasets.mnist()
test = lessons.TestSet(mnist.pop("test"))
claims = lessons.Claims(test)
images = mnist["validation"].tensors[0]
lenet = models.build(models.LeNet300)
lefts = granularity.recipe["left"]
cases = {f"{u}, {100 * n:.0f} % left": (u, n) for u in ("weights", "neurons") for n in lefts}


def runs(units, left, score="magnitude"):
    return granularity.runs(units=units, left=left, score=score)


def shaped_like(units, left):
    """A network with the shape of a stored one. Its weights do not matter for its time."""
    if units == "weights":
        return pruning.make_permanent(pruning.prune_weights(lenet, 1 - left))
    fc1, fc2 = granularity.column("widths", units=units, left=left, score="magnitude")[0]
    return structured.remove(lenet, {"fc1": range(fc1), "fc2": range(fc2)})


# %% jupyter={"source_hidden": true}
networks = {"dense": lenet} | {name: shaped_like(*case) for name, case in cases.items()}
stored = {"dense": granularity.runs(units="dense")} | {n: runs(*c) for n, c in cases.items()}
times = evaluation.latency(networks, images, settings.rounds)
took = {name: evaluation.speedup(times[name], times["dense"]) for name in networks}
smaller, zeros = "neurons, 10 % left", "weights, 10 % left"
as_fast = evaluation.speedup(times["dense"], times[smaller])
print(f"With a tenth of its parameters, LeNet is {as_fast.value:.1f} × as fast, and correct on")
print(f"{stored[smaller].value:.1%} of the validation digits (dense: {stored['dense'].value:.1%}).")
shown = ["dense", zeros, *(name for name in cases if name.startswith("neurons"))]
points = {name: (took[name], stored[name]) for name in shown}
roles = dict.fromkeys(shown, "student") | {"dense": "dense", zeros: "teacher"}
look = {"xlabel": "time for 500 images, as a share of the dense network's", "log": False}
title = "Removed neurons save time, zeros do not"
drawing = plots.scatter(points, title=title, roles=roles, **look)
drawing.figure.axes[0].set_ylabel("validation accuracy")
plots.show(drawing)

# %% [markdown]
# "10 % left" means that a network keeps a tenth of its parameters. The blue network has zeros, and it takes about as long as the dense one. The orange
# networks have lost whole neurons, and they take a fraction of the time. <!-- not measured: a name in the figure -->
#
# Every accuracy is the mean over five seeds. Each latency is compared with the dense network's *in the same round*, as in lesson 1. The intervals of the times are narrower than the dots.
#
# All networks trained for the same number of epochs. Some pruned networks look better than the dense one, and we cannot say why. All accuracies are low for MNIST because we train on
# 3,500 images.
#
# ## 1 · Why zeros did not help
#
# **Predict first.** A layer has 1,000 inputs and 1,000 outputs. In one copy, half of the weights are zero. Another copy has only 500 outputs. How many times as fast as the whole layer is each copy?

# %%
my_guess_zeros = None  # put your numbers here
my_guess_half = None
layer = nn.Linear(1000, 1000)
# prune_weights works on a copy, so layer keeps its weights
half_zeros = pruning.make_permanent(pruning.prune_weights(nn.Sequential(layer), 0.5))
forms = {"whole": layer, "half zeros": half_zeros, "half of the outputs": nn.Linear(1000, 500)}
by_form = evaluation.latency(forms, torch.randn(64, 1000), settings.rounds)
ratios = {name: evaluation.speedup(by_form["whole"], by_form[name]) for name in list(forms)[1:]}
for name, guess in zip(ratios, (my_guess_zeros, my_guess_half), strict=True):
    fill_in.reveal(f"{name}: {ratios[name].value:.2f} × as fast", guess)

# %% [markdown]
# The processor multiplies by a zero as by any other number, so the zeros save nothing. With half of the outputs, there are half as many multiplications.
#
# **Structured pruning** removes whole units, so that the matrices themselves get smaller. A **unit** is a neuron of a linear
# layer or a channel of a convolution.
#
# ## 2 · A neuron is a row here and a column there
#
# Take two linear layers with a ReLU in between:
#
# $$h = \mathrm{ReLU}(W_1 x + b_1), \qquad y = W_2 h + b_2$$
#
# Neuron $j$ computes $h_j$ from row $j$ of $W_1$ and from $(b_1)_j$. The second layer multiplies $h_j$ by column $j$ of $W_2$. So these three go together:

# %%
diagrams.neuron_removed()

# %% [markdown]
# **Your turn (1 of 2).** Write this as a function. `keep` holds the indices of the neurons that stay.


# %%
def remove_neurons(w1, b1, w2, keep):
    """w1 [hidden, in], b1 [hidden], w2 [out, hidden] → the three without the other neurons."""
    ...


w1 = torch.arange(6.0).view(3, 2)
b1 = torch.arange(3.0)
w2 = torch.arange(6.0).view(2, 3)
examples = [(w1, b1, w2, [0, 2]), (w1, b1, w2, [1])]
remove_neurons = fill_in.check(remove_neurons, against=solutions.remove_neurons, examples=examples)

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def remove_neurons(w1, b1, w2, keep):
#     return w1[keep], b1[keep], w2[:, keep]
# ```
# </details>
#
# Now we keep every other neuron of LeNet's first layer. The folded cell at the top made `lenet`, which is not trained, and `images`, the validation images.

# %% tags=["nbval-check-output"]
every_other = list(range(0, 300, 2))
whole = lenet.fc1.weight.data, lenet.fc1.bias.data, lenet.fc2.weight.data
w1, b1, w2 = remove_neurons(*whole, every_other)
by_hand = copy.deepcopy(lenet)
by_hand.fc1.weight.data = w1
by_hand.fc1.bias.data = b1
by_hand.fc2.weight.data = w2
print("by hand:", *by_hand.children(), sep="\n  ")
by_library = structured.remove(lenet, {"fc1": every_other})
print("by the library:", *by_library.children(), sep="\n  ")
same = torch.allclose(by_hand(images), by_library(images), atol=1e-6)
print("Both networks give the same outputs:", same)

# %% [markdown]
# The network by hand computes the right outputs, but its printout still says `out_features=300` and `in_features=300`. We cut the tensors, and did not update these numbers. The library's `remove` does both.
#
# **Does removing neurons give the same outputs as masking them?** A **masked** network keeps its size but ignores the pruned neurons. Some tools evaluate the masked network and ship the removed one, so both must give the same outputs.


# %%
def removed_against_masked(network, keep):
    """The largest difference of any output, over all validation images."""
    with torch.inference_mode():
        removed, masked = structured.remove(network, keep), structured.masked(network, keep)
        return (removed(images) - masked(images)).abs().max().item()


print(f"largest difference: {removed_against_masked(lenet, {'fc1': every_other}):.0e}")

# %% [markdown]
# Up to rounding, they do.
#
# ## 3 · A channel, and the batch-norm trap
#
# Each output channel of a convolution is computed by one filter. A batch norm often follows. In eval mode it computes, for each channel,
#
# $$\mathrm{BN}(z) = \gamma \, \frac{z - \mu}{\sqrt{v + \varepsilon}} + \beta$$
#
# Here $z$ is the filter's output, $\mu$ and $v$ are the channel's running mean and variance, $\gamma$ and $\beta$ are learned, and $\varepsilon$ is a small constant.
#
# We train a small CNN on `mnist`, the digits from the folded cell at the top. The CNN computes
#
# ```
# x = pool(relu(bn1(conv1(images))))
# x = pool(relu(bn2(conv2(x))))
# logits = fc2(relu(fc1(x.flatten(1))))
# ```

# %%
mnist["train"] = datasets.subset(mnist["train"], settings.train_images)
recipe = training.Recipe(epochs=settings.train_epochs, select_from_last=1)  # keeps the last epoch
cnn = training.fit(models.build(models.SmallCNN), mnist, recipe).model.eval()
print(f"{len(mnist['train']):,} training images, {recipe.epochs} epochs:", cnn)

# %% [markdown]
# **Predict first.** A tool sets a channel's filter and bias to zero, so $z = 0$ for every pixel. What does the batch norm output for this channel?
#
# We do this to half of the channels of the first convolution.

# %%
zeroed = copy.deepcopy(cnn)
half = cnn.conv1.out_channels // 2
zeroed.conv1.weight.data[:half] = 0
zeroed.conv1.bias.data[:half] = 0
with torch.inference_mode():
    output = zeroed.bn1(zeroed.conv1(images[:1]))[0, :half, 0, 0]  # the same for every pixel
print("batch norm outputs", ", ".join(f"{value:.2f}" for value in output))

gamma, beta, mean = cnn.bn1.weight, cnn.bn1.bias, cnn.bn1.running_mean
root = (cnn.bn1.running_var + cnn.bn1.eps).sqrt()  # √(v + ε)
constants = (beta - gamma * mean / root)[:half]
print("β − γμ / √(v + ε) is the same:", torch.allclose(constants, output, atol=1e-5))
largest = constants.argmax()
diagrams.channel_with_batch_norm(*(one[largest].item() for one in (gamma, beta, mean, root)))

# %% [markdown]
# It outputs a constant. With $z = 0$, the formula becomes $\beta - \gamma \mu / \sqrt{v + \varepsilon}$, which is usually not zero. The ReLU turns a negative constant into zero, but
# a positive one reaches the next layer. The drawing shows the channel with the largest constant.
#
# So a channel's filter, bias and four batch-norm numbers, and the next layer's weights for it, must go together. How much does it matter?


# %%
def accuracy(network):
    return evaluation.evaluate(network, mnist["validation"])


others = {"conv1": range(half, 2 * half)}  # the channels whose filters are not zero
versions = {"whole": cnn, "filters zeroed": zeroed, "removed": structured.remove(cnn, others)}
versions["masked by the library"] = structured.masked(cnn, others)
print(f"removed against masked: {removed_against_masked(cnn, others):.0e}")
pd.DataFrame({"validation accuracy": {name: str(accuracy(v)) for name, v in versions.items()}})

# %% [markdown]
# "Filters zeroed" is less accurate here than "removed", because `conv2` still reads the constants. The library's `masked` puts the zeros
# into the next layer's weights instead. There, each constant is multiplied by zero. So the masked network equals the removed one, up to rounding.
#
# Now we remove channels by hand, this time from `conv2`. The next layer, `fc1`, is linear and reads a flattened image. Two poolings have turned 28 × 28 pixels into 7 × 7, so each
# channel of `conv2` is 49 neighboring columns of `fc1`.

# %%
stay = list(range(32, 64))  # the channels of conv2 that we keep
hand = copy.deepcopy(cnn)
hand.conv2.weight.data = cnn.conv2.weight.data[stay]  # the filters
hand.conv2.bias.data = cnn.conv2.bias.data[stay]
hand.bn2.weight.data = cnn.bn2.weight.data[stay]  # γ
hand.bn2.bias.data = cnn.bn2.bias.data[stay]  # β
hand.bn2.running_mean = cnn.bn2.running_mean[stay]
hand.bn2.running_var = cnn.bn2.running_var[stay]
columns = [49 * channel + pixel for channel in stay for pixel in range(49)]
hand.fc1.weight.data = cnn.fc1.weight.data[:, columns]
with torch.inference_mode():
    same = torch.allclose(hand(images), structured.remove(cnn, {"conv2": stay})(images), atol=1e-4)
print("By hand and by the library, the same outputs:", same)
print(f"removed against masked: {removed_against_masked(cnn, {'conv2': stay}):.0e}")

# %% [markdown]
# ## 4 · Shortcuts couple channels
#
# A residual network adds the outputs of two layers. Our `SmallResNet` has the two kinds of blocks of He et al. 2016: a basic block of two convolutions, and a bottleneck of three. Apart from batch norms and ReLUs, it computes
#
# ```
# x = stem(images)
# x = x + basic2(basic1(x))
# x = shortcut(x) + expand(middle(reduce(x)))
# logits = classifier(x.mean((2, 3)))
# ```
#
# **Predict first.** Two tools prune 8 of the 16 channels of `stem`, and no other layer. The first removes them, the second sets them to zero. What happens at the first sum? Which layer must lose the same channels as `stem`? Which one is tied to `expand`?
#
# We do both to the output of `stem`. In the first case `basic1` still gets all 16 channels, so that only the sum can fail.

# %%
resnet = models.build(models.SmallResNet).eval()
branch = nn.Sequential(resnet.basic1, nn.ReLU(), resnet.basic2)  # both with their batch norms
with torch.inference_mode():
    of_stem = F.relu(resnet.stem(images[:1]))  # 16 channels
    shorter = of_stem[:, 8:]  # without the first 8
    try:
        shorter + branch(of_stem)
    except RuntimeError as error:
        print("8 channels removed:", error)
    with_zeros = of_stem.clone()
    with_zeros[:, :8] = 0
    added = F.relu(with_zeros + branch(with_zeros))[0, :8]  # [8, height, width]
back = int((added.amax((1, 2)) > 0).sum())  # channels with a pixel above zero
print(f"8 channels zeroed: after the sum, {back} of them are nonzero again")
diagrams.residual_groups()

# %% [markdown]
# The first sum fails. The second network runs, but after the sum its zeroed channels are nonzero again, because `basic2` adds to them. So channels that are zero only in `stem` cannot be removed.
#
# In the drawing, boxes are convolutions, and lines are channels. Lines of one color must lose the same channels: they are one **group**. The number counts its channels.
#
# A sum adds channel by channel, such as channel 5 of `stem` and channel 5 of `basic2`. So `basic2` goes with `stem`, and `shortcut` goes with `expand`. **All layers whose outputs are added must lose the same channels,** and every layer that reads these channels
# loses these inputs.
#
# **Your turn (2 of 2).** Cut a group by hand: two convolutions whose outputs are added, and the convolutions that read these channels.


# %%
def cut_sum(first, second, readers, keep):
    """first, second [channels, in, …]; readers: a list of [out, channels, …] → these three."""
    ...


def weights(network):
    """The weights of the convolutions in group A. In each layer, [0] is the convolution."""
    return [getattr(network, name)[0].weight.data for name in members]


members = ["stem", "basic2", "basic1", "reduce", "shortcut"]
first, second, *readers = weights(resnet)
examples = [(first[:3], second[:3], [readers[0][:, :3]], [0, 2])]
cut_sum = fill_in.check(cut_sum, against=solutions.cut_sum, examples=examples)

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def cut_sum(first, second, readers, keep):
#     return first[keep], second[keep], [reader[:, keep] for reader in readers]
# ```
# </details>
#
# The library's `groups` finds the groups. It follows the channels through the network, as Fang et al. 2023 do for many architectures. We print the modules of group A. Then we keep 12 of its 16 channels, by hand and with the library.

# %% tags=["nbval-check-output"]
groups = structured.groups(resnet)
print("group A:", *groups["stem.0"].modules)
keep = list(range(12))
by_library = weights(structured.remove(resnet, {"stem.0": keep}))
first_cut, second_cut, readers_cut = cut_sum(first, second, readers, keep)
by_hand = [first_cut, second_cut, *readers_cut]
for name, before, after, other in zip(members, weights(resnet), by_hand, by_library, strict=True):
    same = torch.equal(after, other)
    print(f"{name:8} {list(before.shape)} → {list(after.shape)}, same by the library: {same}")

# %% [markdown]
# `stem.0` is the convolution of `stem`, and `stem.1` its batch norm. A convolution's weight has the shape [outputs, inputs, height, width]. `stem` and `basic2` lose outputs, with their batch norms. `basic1`, `reduce` and `shortcut` read these channels, so they lose inputs.
#
# Last, we remove a random half of each group, and ask whether removed equals masked. Our ResNet is untrained, so each batch norm has $\beta = 0$ and $\mu = 0$, and turns 0 into 0. A tool
# that falls into the batch-norm trap would pass this test. So we give the batch norms random numbers first.


# %%
def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


generator = torch.Generator().manual_seed(0)
for norm in [module for module in resnet.modules() if isinstance(module, nn.BatchNorm2d)]:
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        tensor.data.uniform_(0.5, 1.5, generator=generator)
random_half = {}
for name, group in groups.items():
    random_half[name] = torch.randperm(group.units, generator=generator)[: group.units // 2]
print(f"removed against masked: {removed_against_masked(resnet, random_half):.0e}")
left = parameters(structured.remove(resnet, random_half)) / parameters(resnet)
print(f"channels left: 50%, parameters left: {left:.0%}")

# %% [markdown]
# Removed and masked agree up to rounding. Half of the channels are left, but little more than a quarter of the parameters. A weight lies between an
# input channel and an output channel. If both sides are halved, only a quarter of the weights is left. So always say whether you mean channels or parameters.
#
# The library's `prune` takes an **amount**: the fraction of the *original parameters* that goes. Our figures show what is left: the amount `0.8` is called "20 % left".
#
# ## 5 · How much can go?
#
# Which units should go? In lesson 1, Taylor's score estimated how much the loss changes when a weight is set to zero. We do the same for a unit. We multiply its output $h_j$ by a **gate** $\xi_j$, which is 1.
# Setting $\xi_j = 0$ removes the unit. To first order, this step from 1 to 0 changes the loss $L$ by $-\partial L / \partial \xi_j$. The score is the absolute value of this gradient, averaged over $n$ images $x$ (Molchanov et al. 2019, section 3). Lesson 1 took the absolute value of the *mean* gradient. Here we take it for each image first, because otherwise a rise of $L$ on one image would cancel a fall on another:
#
# $$I_j = \frac{1}{n} \sum_x \left| \frac{\partial L(x)}{\partial \xi_j} \right|$$
#
# Here it is by hand for the neurons of `fc1`. A gate multiplies what the next layer reads: a neuron after its ReLU, a channel after batch norm, ReLU and pooling. A **hook** is a function that PyTorch calls before a layer runs. Our hook multiplies the input of `fc2` by the gates. A row of gates changes only its own image's loss. So one backward pass of the summed loss gives every image's gradients.


# %%
def multiply_by_gates(layer, inputs):  # a hook gets the inputs as a tuple, and returns a tuple
    return (inputs[0] * gates,)


few = datasets.subset(mnist["train"], settings.scored_on)
x, y = few.tensors
gates = torch.ones(len(x), cnn.fc1.out_features, requires_grad=True)  # [images, neurons]
hook = cnn.fc2.register_forward_pre_hook(multiply_by_gates)
loss = F.cross_entropy(cnn(x), y, reduction="sum")  # so that each image has its own gradient
score_by_hand = torch.autograd.grad(loss, gates)[0].abs().mean(0)  # [neurons]
hook.remove()
scorer = structured.gate_taylor(cnn, few)  # the same, for the units of all layers
same = torch.allclose(score_by_hand, scorer(cnn, structured.groups(cnn)["fc1"]), atol=1e-6)
print(f"The library's scores over {len(x)} images are the same:", same)

# %% [markdown]
# We want to remove parameters, so the best unit to remove has a low score *and* many parameters. The library's `prune` divides each score by the number of parameters that go with the
# unit. It ranks the units of all layers by this ratio, and removes the lowest until the amount is reached.
#
# The table has these numbers for each layer. Then we prune the CNN to several sizes, and train each network a little.

# %%
rows = {}
for name, group in structured.groups(cnn).items():
    scores = scorer(cnn, group)
    one_less = structured.remove(cnn, {name: range(group.units - 1)})  # all units but one stay
    each = parameters(cnn) - parameters(one_less)
    per_million = f"{1e6 * scores.mean() / each:.1f}"
    zero = f"{int((scores == 0).sum())} of {group.units}"
    rows[name] = [f"{each:,}", f"{scores.mean():.4f}", per_million, zero]
columns = ["parameters per unit", "mean score", "per million parameters", "scores of 0"]
pd.DataFrame(rows, index=columns).T

# %%
cut = {a: structured.prune(cnn, a, scorer) for a in settings.amounts}
recipe = training.Recipe(epochs=settings.recover_epochs, seed=1, select_from_last=1)
trained = {a: training.fit(network, mnist, recipe).model for a, network in cut.items()}
print(f"{len(cut)} networks, {recipe.epochs} more epochs for each")

# %% [markdown]
# **Predict first.** A fifth of the parameters is left. How accurate is the CNN as it was cut, and after the training?

# %% jupyter={"source_hidden": true}
from IPython.display import display

variants = {
    a: sliders.measured(network, cnn, images[:1], accuracy(network), accuracy(trained[a]))
    for a, network in cut.items()
}
curves = {
    "after training": [(1 - a, one.after) for a, one in variants.items()],
    "as cut": [(1 - a, one.before) for a, one in variants.items()],
}
look = {"xlabel": "parameters left", "roles": {"after training": "teacher", "as cut": "accent"}}
plots.show(plots.pruning_curves(curves, title="Training brings back what the cut has lost", **look))
display(sliders.amount_table(variants))
sliders.amount_explorer(variants)

# %% [markdown]
# The deep cuts cost accuracy, and the short training brings it back. The table counts operations, which section 6 defines. Move the slider, and look for three things:
#
# 1. Which layers lose units first, and why?
# 2. Parameters and operations do not shrink together. Which shrinks less, and why?
# 3. How few parameters can be left before the network needs training?
#
# <details><summary>Answers</summary>
#
# 1. First `fc1`. Almost half of its neurons score 0, because their ReLU outputs 0 for all scored images. Then `conv2`, which has the lowest mean score per parameter. A channel of `conv1` takes few parameters with it, and its mean score is the highest, so its score *per parameter* is high. All 32 channels stay, even when 5 % of the parameters are left.
# 2. Operations. A weight of `fc1` is used once for each image, a weight of a convolution at every pixel. The parameters that went were mostly weights of `fc1`.
# 3. Between 40 % and 20 %. At 40 % left the two curves are close, at 20 % far apart.
# </details>
#
# ## 6 · Operations are not time
#
# Papers often report **operations** instead of time. One multiplication or one addition is one operation, so a multiply–add (MAC) is two. A convolution with
# $c$ input channels and $d$ filters of 3 × 3 does $2 \cdot 9 \cdot c \cdot d$ operations for each output pixel. ReLU, batch norm and pooling are usually not counted.
#
# **Predict first.** The last row of section 5's table says by which factor the operations fell. Does the time fall by the same factor? If not, what still takes time?
#
# We time the whole CNN and the smallest, and in each the **first block**: `conv1` with its batch norm, ReLU and pooling.


# %% jupyter={"source_hidden": true}
def first_block(network):
    return nn.Sequential(network.conv1, network.bn1, nn.ReLU(), nn.MaxPool2d(2))


small = cut[settings.amounts[-1]]
pair = {"the whole CNN": cnn, "the smallest CNN": small}
blocks = {f"first block of {name}": first_block(network) for name, network in pair.items()}
timed = evaluation.latency(pair | blocks, images[:16], settings.rounds)
fewer = evaluation.operations(cnn, images[:1]) / evaluation.operations(small, images[:1])
faster = evaluation.speedup(timed["the whole CNN"], timed["the smallest CNN"])
print(f"{fewer:.1f} × fewer operations, but {faster.value:.2f} × as fast", end=" ")
print(f"(95 % interval {faster.low:.2f} to {faster.high:.2f}).")
bars, rest = {}, []
for name, network in pair.items():
    block_ms, all_ms = timed[f"first block of {name}"].median, timed[name].median
    bars[name] = {"first block": block_ms, "everything else": all_ms - block_ms}
    in_block = evaluation.operations(first_block(network), images[:1])
    in_all = evaluation.operations(network, images[:1])
    print(f"First block of {name}: {in_block / in_all:.0%} of the operations,", end=" ")
    print(f"{block_ms / all_ms:.0%} of the time.")
    rest.append((in_all - in_block, all_ms - block_ms))
(many, slow), (few_left, fast) = rest
print(f"Everything else: {many / few_left:.1f} × fewer operations, {slow / fast:.1f} × as fast.")
title = "The first block takes as long as before"
plots.parts(bars, "milliseconds for 16 images", title=title, symbol="ms")

# %% [markdown]
# No, mostly because the first block takes as long as before. The pruning kept all channels of `conv1`, so this block does the same work. In both networks, its share of the time is larger than its share of the operations. A part of that time probably goes to batch norm, ReLU and pooling, whose operations are not counted. Everything else became faster, but by less than its operations fell.
#
# We asked `prune` to remove *parameters*. To save *time*, we must cut where the time is. So we keep only 8 channels of `conv1`.
#
# Unlike `prune`, `choose` takes the fraction of the *channels* that goes, and returns those that stay. `small`, from the folded cell above, is the smallest CNN as it was cut.

# %%
keep = structured.choose(small, 0.75, structured.gate_taylor(small, few), ["conv1"])
narrow = structured.remove(small, keep)
timed = evaluation.latency({"small": small, "narrow": narrow}, images[:16], settings.rounds)
ratio = evaluation.speedup(timed["small"], timed["narrow"])
print(f"{parameters(small):,} → {parameters(narrow):,} parameters", end=", ")
print(f"{ratio.value:.1f} × as fast as the smallest CNN")

# %%
# Train the narrow CNN like the others, and compare it with the smallest CNN of section 5.
tuned = {"8 channels of conv1": training.fit(narrow, mnist, recipe).model}
tuned["all 32 channels of conv1"] = trained[settings.amounts[-1]]
right = [evaluation.correct(network, mnist["validation"]) for network in tuned.values()]
low, high = evaluation.paired_test(*right).interval
print(f"accuracy, 8 − 32 channels: between {100 * low:+.1f} and {100 * high:+.1f} points")
pd.DataFrame({"validation accuracy": {name: str(accuracy(one)) for name, one in tuned.items()}})

# %% [markdown]
# This cut removes few parameters, but it saves a large share of the remaining time. The printed interval compares both networks on the same images, as in lesson 1. All of it is below zero, so the narrow network is less accurate. But each network was trained only once, so another run may differ.
#
# If you want to save time, measure the latency, on the machine and with the batch size that you will use. Lesson 2b has a search that does this for you.
#
# ## 7 · Neurons or single weights?
#
# Single weights are a fine **granularity**, whole neurons a coarse one. Mao et al. 2017 found that coarse ones cost more accuracy at the same number of parameters. For a fair comparison, everything else must be
# equal. So in the stored experiment, both kinds have the same start, score, schedule and number of epochs. It ran with magnitude, and again with Taylor scores. A neuron's magnitude is the mean magnitude of the parameters that go with it.
#
# **Predict first.** A network keeps 5 % of its parameters, either as single weights or as whole neurons. Which kind is more accurate? What share of the bytes and of the operations is left in each case?

# %% jupyter={"source_hidden": true}
gaps = {
    f"{100 * left:.0f} % left, {name}": evaluation.gap(
        *(runs(u, left, name) for u in ("weights", "neurons"))
    )
    for name in ("magnitude", "Taylor")
    for left in lefts
}
title = "Single weights or whole neurons? All six intervals contain zero"
xlabel = "validation accuracy, weights − neurons, in points (weights better →)"
plots.show(plots.intervals(gaps, title=title, xlabel=xlabel))
shares = pd.DataFrame(index=list(networks))
for what in ("bytes", "operations"):
    case = {"score": "magnitude"}
    costs = [granularity.column(what, units=u, left=n, **case)[0] for u, n in cases.values()]
    dense = granularity.column(what, units="dense")[0]
    shares[f"{what} left"] = [1.0, *(cost / dense for cost in costs)]
shares["time left, batch 500"] = [took[name].value for name in networks]
shares["accuracy, magnitude"] = [stored[name].value for name in networks]
shares.map("{:.1%}".format)

# %% [markdown]
# All intervals contain zero, so on the validation set we cannot tell which kind is more accurate. Section 8 looks again, on more images.
#
# The table shows the costs. For "bytes left", each matrix is stored densely or sparsely, whichever is smaller. A network with zeros
# does every operation of the dense one, and takes as long. At the same number of parameters, neurons also give the smaller file, because a sparse format must store the position of each weight.
#
# ## 8 · The claims
#
# We use the test set only here, for the stored networks of the magnitude runs. Each limit under "Holds if it is" was set before measuring.

# %% jupyter={"source_hidden": true}
correct = {}
for name, (units, left) in cases.items():
    answers = granularity.column("test", units=units, left=left, score="magnitude")
    correct[units, left] = test.stored(name, torch.stack(answers))
for left in lefts:
    gap = evaluation.paired_test_over_seeds(correct["weights", left], correct["neurons", left])
    said = f"Coarser granularity costs more accuracy: weights beat neurons, {100 * left:.0f} % left"
    claims.add(said, value=gap, margin=0, unit="points", source="Mao et al. 2017, section 4")
ends = {name: networks[name] for name in ("dense", smaller)}
single = evaluation.latency(ends, images[:1], settings.rounds)
for n, ratio in ((500, as_fast), (1, evaluation.speedup(*single.values()))):
    said = f"Removing neurons makes LeNet at least 1.5 × as fast: 10 % left, batch {n}"
    claims.add(said, value=ratio, margin=1.5, unit="×")
said = "Zeros in dense matrices save no time: below 1.1 × as fast, 10 % left, batch 500"
ratio = evaluation.speedup(times["dense"], times[zeros])
claims.add(said, value=ratio, margin=1.1, side="below", unit="×")
wanted = f"{fewer / 2:.0f}"
said = f"With {fewer:.0f} × fewer operations, the CNN is at least {wanted} × as fast, batch 16"
claims.add(said, value=faster, margin=round(fewer / 2), unit="×")
claims

# %% [markdown]
# With the fewest parameters left, weights beat neurons. With more left, we cannot tell. These intervals are over test images. Those of section 7, over seeds, contain zero, so other seeds may differ.
#
# The rows about time depend on your machine. With one image per batch, removed neurons save less time, probably because each call has a fixed cost. One claim fails: as section 6 showed, the CNN saves far less time than operations.
#
# **In practice**: if you need speed, remove units. If you need a small file, compare both kinds at the accuracy that you need.
#
# ## Recap
#
# - A neuron is a row, a bias and a column. A channel is a filter, its batch norm, and the next layer's weights for it.
# - A zeroed filter is not a removed channel, because batch norm outputs a constant. Check that removed equals masked.
# - Layers whose outputs are added must lose the same channels.
# - Fewer parameters or operations need not save time. Find the part that takes the time, cut there, and measure.
# - Zeros can save parameters and bytes. With dense matrices, only removed units save operations and time.
#
# ## Quiz
#
# **1.** A channel and a neuron have the same score, and the neuron has five times as many parameters. Which of them does `prune` remove first?
# <details><summary>Answer</summary>The neuron. Its score per parameter is lower, so removing it saves more parameters for the same estimated loss.</details>
#
# **2.** A tool sets filters to zero, and the accuracy falls a lot. The exported model, without these channels, is better. What may have happened?
# <details><summary>Answer</summary>Behind a zeroed filter, batch norm still outputs a constant, and the next layer reads it. The exported network has lost these constants.</details>
#
# **3.** In the ResNet of section 4, you want to remove channel 3 of `stem`. Name every layer that changes.
# <details><summary>Answer</summary>`stem` and `basic2` lose filter 3 and its batch-norm numbers, because their outputs are added. `basic1`, `reduce` and `shortcut` read this channel, so they lose input 3.</details>
#
# **4.** Your model needs half of the operations, and it is 1.1 × as fast. What do you look for?
# <details><summary>Answer</summary>A part that was not cut, or whose work is not counted, such as batch norm or pooling on large images. Measure the parts of the model.</details>
#
# **5.** A paper prunes weights gradually and neurons at once, and the weights win. What does it show about granularity?
# <details><summary>Answer</summary>Nothing, because the schedules differ, too.</details>
#
# ## Try it yourself
#
# The first three exercises of [lab 2](../exercises/02_structured_pruning.ipynb) need only this lesson.
#
# Next: [Lesson 2b · Structured pruning of transformers](02b_structured_transformers.ipynb).
#
# ## References
#
# - He, Zhang, Ren & Sun 2016, *Deep residual learning for image recognition*: figure 5, the two blocks.
# - Molchanov, Mallya, Tyree, Frosio & Kautz 2019, *Importance estimation for neural network pruning*: section 3, Taylor's score and the gate.
# - Mao et al. 2017, *Exploring the granularity of sparsity in convolutional neural networks*: sections 3 and 4.
# - Fang, Ma, Song, Mi & Wang 2023, *DepGraph: towards any structural pruning*: section 3, groups that go together.
