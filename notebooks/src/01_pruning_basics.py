# %% [markdown]
# # Lesson 1 · Pruning basics
#
# **How many of a network's weights can I set to zero, and what does it buy?**
#
# You will be able to
#
# - prune a network to an exact sparsity, by hand and with the library;
# - keep the zeros at zero while you train;
# - compare importance scores and pruning schedules fairly;
# - say what zeros save in bytes and in time, and what they do not save.
#
# **You need** Python, a linear layer, and a training loop.
#
# **Time** about 60 minutes; the computer works about 3 of them on two cores.
#
# Run the cells from top to bottom. Where it says *Predict first*, write down a guess before you read on. Two cells
# have a gap for your own code. The lesson also runs if you leave them empty.
#
# ## The result first
#
# **Sparsity** is the share of weights that are zero. We pruned a network to several sparsities, several times with
# different random seeds. That takes too long for a lesson, so the script
# [lesson1_recovery.py](experiments/lesson1_recovery.py) did it once. The first cell after the imports loads what it
# stored.

# %% tags=["setup"]
# the first cell of every lesson

# %% tags=["parameters"] jupyter={"source_hidden": true}
profile = "full"

# %%
from course_lib import lessons

settings = lessons.start("lesson1", profile)

import copy

import pandas as pd
import torch
import torch.nn.functional as F
import torch.nn.utils.prune as torch_prune

from course_lib import datasets, evaluation, models, pruning, training
from course_lib.lessons import diagrams, fill_in, plots, sliders, solutions

# %% jupyter={"source_hidden": true}
recovery = lessons.results("lesson1_recovery")
ways = ["one-shot, no training", "one-shot", "iterative", "gradual"]
stored = {
    way: [(1 - s, recovery.runs(way=way, sparsity=s)) for s in recovery.recipe["sparsities"]]
    for way in ways
}
control = recovery.runs(way="dense, more epochs")
alone, trained = (recovery.runs(way=way, sparsity=0.97).value for way in (ways[0], "gradual"))
print(f"With 3 % of its weights, the network classifies {trained:.1%} of the validation digits")
print(f"correctly if it trains while it is pruned, and {alone:.1%} if it does not.")
curves = {way: stored[way] for way in (ways[0], "gradual")}
plots.pruning_curves(curves, title="Training keeps the accuracy", reference={"dense": control})

# %% [markdown]
# The dashed line is the **dense** network, which keeps all its weights. It trained for as many epochs as the pruned
# network of the upper curve, so the comparison is fair. Section 7 shows how the upper curve is made. Section 8 asks
# what the zeros buy.
#
# > **Intervals and verdicts.** We measure accuracy on a limited number of examples, so we show a 95 % **interval
# > over examples** (a thin line): the range of true accuracies that fit what we saw. Training is random, too. Where
# > we trained with several seeds, we show the **interval over seeds** (a thick bar). Each figure and table says which
# > of the two it has. <!-- not measured: what an interval is -->
# >
# > A claim names a **margin**: a limit, written down before we measured. For example, we claim that a network loses
# > less than 1 point. If the interval of its loss is 0.2 to 0.8 points, the claim *holds*. If it is 1.2 to 1.8, the
# > claim *does not hold*. If it is 0.2 to 1.5, it contains the margin, and we *cannot tell*.
#
# ## 1 · More weights than the task needs
#
# MNIST has 70,000 images of handwritten digits. We **cut it to 5,000**, so that everything here runs in minutes.
# The price is accuracy: our networks stay below 95 %, while the same network trained on the full set reaches 98 %
# (Han et al. 2015, table 1).
#
# We train on 3,500 images and make every decision on 500 **validation** images. The other 1,000 are the **test
# set**, which we use only for the table at the end. If you try many networks on the same images and keep the best
# one, its accuracy is partly luck. The test set stays honest because we choose nothing on it.
#
# The network is LeNet-300-100: three linear layers, with 300 and 100 hidden neurons. We count layers from 1, and in
# code they are called `fc1`, `fc2` and `fc3`.

# %% tags=["nbval-check-output"]
torch.set_num_threads(1)  # from here on: the network is too small to gain from more threads
mnist = datasets.mnist()
test = lessons.TestSet(mnist.pop("test"))
claims = lessons.Claims(test)
lenet = models.build(models.LeNet300)
weights = sum(layer.weight.numel() for layer in (lenet.fc1, lenet.fc2, lenet.fc3))
parameters = sum(parameter.numel() for parameter in lenet.parameters())
print(f"{weights:,} weights and {parameters - weights} biases")
print(f"{parameters / len(mnist['train']):.0f} parameters per training image")
plots.digits(torch.utils.data.TensorDataset(*mnist["train"][96:120]))

# %% [markdown]
# That is a lot of parameters per image, and not only because of our cut: with all 60,000 training images it would
# still be about four. We prune only the weights, because there are too few biases to matter.
#
# **Predict first.** We shuffle the labels of 500 images, so that nothing connects an image with its label.
# What accuracy can the network reach on these 500 images if we train on them?

# %%
my_guess = None  # put your number here, in percent
calibration = datasets.subset(mnist["train"], 500)  # training images that we will need again
images, labels = calibration.tensors
shuffled = labels[torch.randperm(500, generator=torch.Generator().manual_seed(0))]
nonsense = torch.utils.data.TensorDataset(images, shuffled)
recipe = training.Recipe(epochs=settings.memorize_epochs, batch_size=50)
memorized = training.fit(lenet, {"train": nonsense}, recipe).model
reached = evaluation.evaluate(memorized, nonsense).value
fill_in.reveal(f"accuracy on shuffled labels: {reached:.0%}", my_guess)

# %% [markdown]
# It memorizes them. (Zhang et al. 2017 showed the same for large networks.) So it probably has more capacity than it
# needs to tell ten digits apart, and pruning removes that surplus.
#
# Now we train on the real labels, with several seeds, because a single network could be a lucky one.

# %%
mnist["train"] = datasets.subset(mnist["train"], settings.train_images)  # here: all 3,500
networks = []
for seed in settings.seeds:
    # select_from_last=1: take the last epoch, do not choose the best one
    recipe = training.Recipe(epochs=settings.train_epochs, seed=seed, select_from_last=1)
    networks.append(training.fit(models.build(models.LeNet300, seed), mnist, recipe).model)
model = networks[0]


def accuracy(network):
    return evaluation.evaluate(network, mnist["validation"])


dense = evaluation.Runs(tuple(map(accuracy, networks)))
dense

# %% [markdown]
# ## 2 · Prune by hand
#
# Which weights should go? The oldest answer is: the smallest ones. The **magnitude** of a weight is its absolute
# value. A weight near zero adds little to the sum that it is part of, so removing it should change little (Hanson &
# Pratt 1988; Han et al. 2015).
#
# To prune, we multiply the weight matrix $W$ entry by entry ($\odot$) with a **mask** $M$ of ones and zeros:
#
# $$W' = M \odot W, \qquad M_{ij} = \begin{cases} 1 & \text{if } |W_{ij}| > \tau \\ 0 & \text{otherwise}
# \end{cases}$$
#
# The threshold $\tau$ is the $k$-th smallest magnitude, and $k$ is the number of weights to prune. Here we prune
# half of 16 weights:

# %%
weight = torch.tensor(
    [[0.9, -0.1, 0.4, -0.7], [0.2, 0.6, -0.3, 0.1], [-0.5, 0.1, 0.8, -0.2], [0.3, -0.9, 0.2, 0.5]]
)
k = round(0.5 * weight.numel())  # 8 weights go
threshold = weight.abs().flatten().kthvalue(k).values
mask = weight.abs() > threshold
diagrams.mask_times_weights(weight, mask)

# %% [markdown]
# **Your turn (1 of 2).** Write these lines as a function for any **amount**, the fraction of the weights to prune.
# Mind the edge: `kthvalue` counts from 1, and an amount of 0 keeps every weight. The check compares your function
# with the library's. While the gap is empty, the library's function stands in for yours.


# %%
def magnitude_mask(weight, amount):
    """A mask like `weight`: True where a weight stays, False for the smallest magnitudes."""
    ...


examples = [(weight, 0.5), (weight[:2], 0.25), (weight, 0.0)]
magnitude_mask = fill_in.check(magnitude_mask, against=solutions.magnitude_mask, examples=examples)

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def magnitude_mask(weight, amount):
#     magnitudes = weight.abs()
#     k = round(amount * weight.numel())
#     if k == 0:
#         return torch.ones_like(weight, dtype=torch.bool)
#     return magnitudes > magnitudes.flatten().kthvalue(k).values
# ```
# </details>
#
# (Weights with the same magnitude as the threshold all go. Among trained weights that hardly happens, and the
# exercises treat it.)
#
# ## 3 · The sparsity slider
#
# To prune the whole network, we could give each layer its own threshold. Or we rank the weights of *all* layers and
# use one **global** threshold. Then some layers lose a larger share than others. The next cell does this by hand, with
# 90 %. The library's `prune_weights` does the same in one call and returns a new network with its masks attached. (`global_masks`
# and `layer_masks` return only the masks, with one threshold for all layers or one for each. `apply_masks` applies them to a copy.)
#
# **Predict first.** How much can you prune before the accuracy falls by more than a point: 10 %, 30 %, 50 %, or 80
# %? Then move the slider with the mouse or the arrow keys. Each move prunes the trained network with one global
# threshold and evaluates it on the validation images. Nothing is trained again.

# %%
layers = [model.fc1, model.fc2, model.fc3]
magnitudes = torch.cat([layer.weight.detach().abs().flatten() for layer in layers])
threshold = magnitudes.kthvalue(round(0.9 * len(magnitudes))).values
by_hand = copy.deepcopy(model)
for layer in (by_hand.fc1, by_hand.fc2, by_hand.fc3):
    layer.weight.data *= layer.weight.abs() > threshold
print("90 %, by hand:       ", accuracy(by_hand))
print("90 %, by the library:", accuracy(pruning.prune_weights(model, 0.9)))
curve = [accuracy(pruning.prune_weights(model, p / 100)).value for p in range(100)]
first = next(p for p in range(100) if curve[p] < curve[0] - 0.01)
print(f"The first sparsity at which more than a point (5 images) is lost: {first} %.")
sliders.sparsity_explorer(model, mnist["validation"], amount=0.9)


# %% [markdown]
# More than half of the weights can go. The left panel pools the weights of all layers and shows why: many lie near zero, so they add little. Look
# again with these questions:
#
# 1. At 90 %, which layer has lost the largest share of its weights, and which the smallest?
# 2. Does the accuracy fall suddenly or bit by bit?
# 3. The accuracy at 30 % may differ a little from the one at 0 %. Is that a real difference?
#
# <details><summary>Answers</summary>
#
# 1. Layer 1 (`fc1`) loses the largest share and layer 3 (`fc3`) the smallest. All layers share one threshold, and
#    the weights of layer 1 are smaller. PyTorch already starts them smaller, because the layer has more inputs.
# 2. Bit by bit at first, then steeply. There is no single point at which the network breaks.
# 3. No. A few tenths of a point are one or two of the 500 images. Section 10 tests such a difference.
# </details>
#
# ## 4 · What goes wrong when you train a pruned network
#
# Training should repair what pruning damaged. So we set 90 % of the weights to zero and train on.
#
# Three things could move a pruned weight: its gradient, the optimizer's momentum, and weight decay. We want to
# watch them one at a time, so we take 20 steps after the pruning in three ways:
#
# - **(a)** plain SGD;
# - **(b)** with momentum. We make one step before the pruning, and its momentum is still stored. The gradients of the
#   pruned weights are set to zero (*masked*);
# - **(c)** with weight decay, and with masked gradients again.
#
# The next cell is one step, on the 500 training images of section 1 with their true labels. If it gets `masks`, it masks the gradients.


# %%
def sgd_step(network, optimizer, masks):
    optimizer.zero_grad()
    F.cross_entropy(network(images), labels).backward()
    for layer, mask in masks.items():
        network.get_submodule(layer).weight.grad *= mask  # 0 where a weight is pruned
    optimizer.step()


# %%
def sparsity_by_step(mask_gradients, **options):
    network = copy.deepcopy(model)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, **options)
    sgd_step(network, optimizer, {})  # a step of the dense network
    masks = pruning.global_masks(network, 0.9)
    for layer, mask in masks.items():
        network.get_submodule(layer).weight.data *= mask
    seen = [100 * pruning.sparsity(network)]
    for _ in range(20):
        sgd_step(network, optimizer, masks if mask_gradients else {})
        seen.append(100 * pruning.sparsity(network))
    return seen


# %% [markdown]
# **Predict first.** In which of the three runs do pruned weights become nonzero again?

# %%
curves = {
    "(a) plain SGD": sparsity_by_step(mask_gradients=False),
    "(b) momentum left over": sparsity_by_step(mask_gradients=True, momentum=0.9),
    "(c) weight decay": sparsity_by_step(mask_gradients=True, weight_decay=0.01),
}
look = {"xlabel": "optimizer step after pruning", "ylabel": "sparsity in %"}
blank = (images == 0).all(dim=0).double().mean()
print(f"{blank:.0%} of the pixels are blank in all 500 images")
title = "Gradients and momentum undo the pruning in one step"
plots.lines({name: (range(21), seen) for name, seen in curves.items()}, title=title, **look)

# %% [markdown]
# In runs (a) and (b), most of the pruned weights are nonzero again after the first step.
#
# - **(a) The gradient** of a pruned weight is usually *not* zero. It is the weight's input times the error at its
#   output, and the weight's own value is not part of that product. So plain SGD moves the weight away from zero.
#   Many of the weights that stay at zero belong to pixels that are blank in all 500 images: their input is 0, so
#   their gradient is 0, too.
# - **(b) Momentum left over** moves pruned weights even without a new gradient, because the optimizer still remembers
#   gradients from before the pruning.
# - **(c) Weight decay alone** cannot move a zero. It shrinks each weight by a fraction of the weight's own value, and
#   a fraction of zero is zero.
#
# There are two cures. You can set the zeros again after every step, as section 7 does. Or you apply the mask at *every
# use* of the weight: you keep the original weight $W$ as the parameter and compute with $W' = M \odot W$. If momentum
# moves a pruned entry of $W$, the mask still multiplies it by 0 before anything uses it. And the chain rule masks the
# gradient of the loss $L$ as well: $\partial L / \partial W = M \odot \partial L / \partial W'$.
#
# **Your turn (2 of 2).** Write a linear layer that does this. The library's masks work the same way, with PyTorch's
# `torch.nn.utils.parametrize`. The cell after the gap trains a network with the library's masks for 20 steps. Then it computes layer 1 with your function, too.


# %%
def masked_linear(x, original, mask, bias):
    """x [n, in], original and mask [out, in], bias [out] → output [n, out]."""
    ...


examples = [(torch.eye(4), weight, mask, torch.arange(4.0))]
masked_linear = fill_in.check(masked_linear, against=solutions.masked_linear, examples=examples)

# %%
masked = pruning.prune_weights(model, 0.9)
optimizer = torch.optim.SGD(masked.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
for _ in range(20):
    sgd_step(masked, optimizer, {})
layer, x, mask_1 = masked.fc1, images.flatten(1), pruning.masks_of(masked)["fc1"]
by_hand = masked_linear(x, layer.parametrizations.weight.original, mask_1, layer.bias)
print(f"sparsity after 20 steps: {pruning.sparsity(masked):.1%}")
print(f"largest difference from masked_linear: {(layer(x) - by_hand).abs().max():.0e}")

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def masked_linear(x, original, mask, bias):
#     return x @ (original * mask).T + bias
# ```
# </details>
#
# The zeros stay, and both ways to compute the layer agree.
#
# PyTorch has its own masks in `torch.nn.utils.prune`, and most tutorials use them. **Predict first.** You prune
# layer 1 with `amount=0.5` twice. How sparse is it then? And is the file of the masked network smaller or larger
# than the file of the dense one?


# %%
once, twice, removed = (copy.deepcopy(model) for _ in range(3))
for network in (once, twice, removed):
    torch_prune.l1_unstructured(network.fc1, "weight", 0.5)
torch_prune.l1_unstructured(twice.fc1, "weight", 0.5)
torch_prune.remove(removed.fc1, "weight")
ours = pruning.prune_weights(model, 0.5, layers=["fc1"])
ours = pruning.prune_weights(ours, 0.5, layers=["fc1"])
rows = {"dense": model, "PyTorch, 0.5": once, "PyTorch, 0.5 twice": twice}
rows |= {"PyTorch, 0.5, then remove": removed, "course_lib, 0.5 twice": ours}
zeros = [f"{pruning.sparsity(network, ['fc1']):.0%}" for network in rows.values()]
kilobytes = [f"{evaluation.footprint(network).bytes / 1000:,.0f} kB" for network in rows.values()]
pd.DataFrame({"zeros in layer 1": zeros, "file": kilobytes}, index=list(rows))

# %% [markdown]
# PyTorch's second 0.5 is half of *what is left*, so three quarters of the weights are zero. In this course an
# amount is always a fraction of the original weights, so asking twice for 0.5 gives half. While a mask is attached,
# the file is *larger*, because it stores the mask beside the weights: PyTorch's mask takes four bytes a weight, and
# course_lib's takes one. PyTorch's `remove` does not remove weights. It writes the zeros into the weight and drops
# the mask, so the file has its old size again.
#
# ## 5 · Which weights should go?
#
# Magnitude looks at the weight alone. An **importance score** can use more: the gradient of the loss, or the inputs of the layer. The weights with the
# lowest scores go.
#
# | score | formula | needs | from |
# |---|---|---|---|
# | magnitude | $\lvert w \rvert$ | nothing | Hanson & Pratt 1988, Han et al. 2015 |
# | Taylor | $\lvert w \cdot \partial L / \partial w \rvert$ | labeled examples | Molchanov et al. 2019 |
# | Wanda | $\lvert w \rvert \cdot \lVert x \rVert$ | examples | Sun et al. 2024 |
# | random | a random number | nothing | the baseline |
#
# Here $w$ is one weight, and $x$ holds its input for every example. Taylor is a first-order estimate of how much
# the loss changes if the weight goes: $L(0) - L(w) \approx -w \cdot \partial L / \partial w$. (Optimal brain damage, LeCun et al. 1990, used second derivatives.) Wanda
# multiplies $\lvert w \rvert$ by the length (norm) of $x$, and compares weights only **within one output row**: the weights
# that lead to one output neuron. By hand, that is `kthvalue` again, along each row:


# %%
def row_mask(scores, amount):  # scores [out, in]; the amount is above 0
    k = round(amount * scores.shape[1])
    return scores > scores.kthvalue(k, dim=1, keepdim=True).values


lengths = F.relu(model.fc1(images.flatten(1))).norm(dim=0)  # of the inputs of layer 2: [300]
by_hand = row_mask(model.fc2.weight.abs() * lengths, 0.5)
by_library = pruning.row_masks(model, 0.5, pruning.wanda(model, calibration))["fc2"]
print("the same mask for layer 2:", torch.equal(by_hand, by_library))
print("training images:", evaluation.evaluate(model, mnist["train"]))
amounts = [0.5, 0.8, 0.9, 0.95, 0.98]  # sparsities for the comparison below
scores = {}  # and what comes out

# %% [markdown]
# Wanda differs from magnitude in two ways: its score, and the group of weights that compete. To compare scores
# alone, we keep the group the same. So Taylor is compared with magnitude, and Wanda with magnitude per row.
#
# **Predict first.** Which score keeps the most accuracy with 10 % of the weights left? We measure without training,
# on the validation set, for each of our networks.


# %%
choices = {
    "magnitude": lambda net, a: pruning.global_masks(net, a),
    "Taylor": lambda net, a: pruning.global_masks(net, a, pruning.weight_taylor(net, calibration)),
    "magnitude per row": lambda net, a: pruning.row_masks(net, a),
    "Wanda per row": lambda net, a: pruning.row_masks(net, a, pruning.wanda(net, calibration)),
    "random": lambda net, a: pruning.global_masks(net, a, pruning.random_score()),
}
for name, choice in choices.items():
    scores[name] = []
    for a in amounts:
        pruned = [pruning.apply_masks(network, choice(network, a)) for network in networks]
        scores[name].append((1 - a, evaluation.Runs(tuple(map(accuracy, pruned)))))
look = {"title": "Without training, plain magnitude keeps the most", "guessing": 0.1}
look["roles"] = dict(zip(choices, ["teacher", "accent"] * 2 + ["random"], strict=True))
plots.pruning_curves(scores, reference=dense, **look)

# %% [markdown]
# Random pruning falls fastest, down to guessing (the dotted line). Dashed curves compete per row, and orange ones look at data. Plain magnitude with one global
# threshold does best here. With 10 % of the weights left, both scores that look at data have a lower average than
# magnitude in the same group. Their papers find the opposite on large models. We do not know
# why. For Taylor, one reason may be that our network already fits almost all of its training images (the printed
# accuracy), so little gradient is left.
#
# This figure cannot tell which score is best *after* training, because training may close the gaps.
#
# ## 6 · Which layer tolerates pruning?
#
# A **sensitivity scan** prunes one layer at a time and keeps the others whole (Li et al. 2017, section 3.2). **Predict first.** Which of the three layers suffers first?

# %%
scan = pruning.sensitivity(model, accuracy, amounts)
curves = {
    f"layer {number}": [(1 - a, result) for a, result in zip(amounts, results, strict=True)]
    for number, results in enumerate(scan.values(), start=1)
}
plots.pruning_curves(curves, title="The last layer suffers first", reference=accuracy(model))

# %% [markdown]
# The last layer suffers first. It has only 1,000 weights: 10 rows of 100, one row for each digit. If a twentieth of
# them is left, about five hidden neurons decide each digit, while a neuron of layer 1 still has about 39 inputs.
# Layer 1 holds almost nine tenths of all weights, so it matters most how well it tolerates pruning.
#
# So layers should lose different shares. One global threshold does that, and pruning per row does not. If a layer falls at the sparsity that you want, leave it
# out with `layers=["fc1", "fc2"]`. That may also be why magnitude per row did worse than global magnitude in section 5. The scan has a limit: it prunes one layer at a time, and pruning several can
# do more damage than the sum.
#
# ## 7 · One-shot, iterative, gradual
#
# Now we train while we prune. There are three common schedules. Here all three start from the same trained network
# and train for the same number of epochs:
#
# - **One-shot**: prune to the final sparsity at once, then train.
# - **Iterative**: prune a part, train, prune more, train again (Han et al. 2015). Here we prune five times, each time
#   half of what is left, so the sparsities are 50, 75, 88, 94 and 97 %. <!-- not measured: arithmetic -->
# - **Gradual**: raise the sparsity a little every few steps, along a cubic curve (Zhu & Gupta 2017, equation 1).
#
# $$s_t = s_f \left(1 - \left(1 - \frac{t}{t_e}\right)^3\right) \quad \text{for } t \le t_e, \qquad s_t = s_f \text{ after that}$$
#
# $s_t$ is the sparsity at time $t$, $s_f$ the final sparsity, and $t_e$ the time at which it is reached.

# %% jupyter={"source_hidden": true}
epochs, last, rounds = (recovery.recipe[key] for key in ("prune_epochs", "final_epochs", "rounds"))
final, end = 0.97, epochs - last
times = [epoch / 10 for epoch in range(10 * epochs + 1)]
cubic = [pruning.cubic_sparsity(t / epochs, final, end=end / epochs) for t in times]
done = [min(int(t * rounds / end) + 1, rounds + 1) for t in times]
iterative = [1 - (1 - final) ** (n / (rounds + 1)) for n in done]
values = {"one-shot": [final] * len(times), "iterative": iterative, "gradual": cubic}
curves = {name: (times, [100 * s for s in each]) for name, each in values.items()}
look = {"title": "The cubic schedule prunes fast, then slowly", "xlabel": "epoch"}
plots.lines(curves, **look, ylabel="sparsity in %", bold="gradual")

# %% [markdown]
# The cubic curve prunes fast while there are many unimportant weights, and slowly when each weight counts.
# Iterative and gradual pruning both spend their last 8 epochs at the final sparsity, so both have time to recover.
# One-shot pruning spends all 20 there.
#
# Here is gradual pruning by hand. It is the training loop that you know, with two additions: new masks in each
# epoch, and zeros again after each step. The new masks keep the old zeros, because a zero has the smallest magnitude.


# %%
network = copy.deepcopy(model)
optimizer = torch.optim.Adam(network.parameters())
final, end = 0.97, 0.6 * settings.prune_epochs
torch.manual_seed(0)  # for the order of the images
for epoch in range(settings.prune_epochs):
    target = final * (1 - (1 - min(1, epoch / end)) ** 3)
    masks = pruning.global_masks(network, target)
    for x, y in torch.utils.data.DataLoader(mnist["train"], batch_size=64, shuffle=True):
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
        for name, layer_mask in masks.items():
            network.get_submodule(name).weight.data *= layer_mask
print(f"{pruning.sparsity(network):.1%} sparse: {accuracy(network)}; dense: {accuracy(model)}")

# %% [markdown]
# Both networks saw the same 500 images, so these two intervals cannot tell whether pruning cost anything. Section 10 has
# a better test. The library's `pruning.gradual_pruning` does the same in smaller steps. For the other two schedules,
# only the line `target = …` changes:
#
# ```python
# target = final                                                 # one-shot
# target = 1 - (1 - final) ** (min(5, 1 + epoch // 3) / 5)       # iterative
# ```
#
# **Predict first.** Rank the three schedules at 97 %. Which of them come close to the dense network, which also trained for 20
# more epochs?

# %%
trained = {way: stored[way] for way in ways[1:]}
title = "With training, the averages stay near dense down to 3 % of the weights"
plots.show(plots.pruning_curves(trained, title=title, reference={"dense, same epochs": control}))
gaps = {way: [evaluation.gap(runs, control) for _, runs in trained[way]] for way in trained}
pd.DataFrame(gaps, index=[f"{s:.0%} sparse" for s in recovery.recipe["sparsities"]]).map(str)

# %% [markdown]
# The table shows each schedule's difference from the dense network on the validation set, with its interval over
# seeds. At 97 % all averages are close to dense. But the intervals are wide: three seeds can neither rank the
# schedules nor show that they match the dense network.
#
# One-shot pruning breaks the network only *without* training, as the first figure shows. With training it recovers
# here: the weights that are left keep their trained values, and the network has 20 epochs to adapt to the final
# sparsity. With 1 % of the weights left, gradual pruning has the best average and iterative pruning the worst, but
# the intervals overlap.
#
# ## 8 · What do zeros buy?
#
# **Predict first.** We set 97 % of the weights to zero. How many times smaller is the file in the sparse format below? And
# how many × as fast is the network if its matrices stay dense?
#
# An ordinary **dense** file stores every number, so a zero takes as much space as any other number. A **sparse**
# format stores only the nonzero values and their positions. The usual one is **compressed sparse row** (CSR). It lists the
# values and their columns row after row, and where each row starts in these lists. In the drawing, each row has a color.

# %%
my_guess_smaller = None  # put your number here
recipe = training.Recipe(epochs=settings.prune_epochs, seed=100)
# make_permanent writes the zeros into the weights and drops the masks
sparse = pruning.make_permanent(pruning.gradual_pruning(model, mnist, recipe, 0.97).model)
before, after = evaluation.footprint(model), evaluation.footprint(sparse)
sizes = {"dense": before.bytes, "dense, zipped": before.zipped, "97 % zeros": after.bytes}
sizes["97 % zeros, zipped"] = after.zipped
sizes["97 % zeros, CSR"] = evaluation.sparse_bytes(sparse)
smaller = before.bytes / sizes["97 % zeros, CSR"]
fill_in.reveal(f"the CSR file is {smaller:.1f} × smaller", my_guess_smaller)
plots.show(diagrams.sparse_storage(index_bytes=2))
plots.size_bars(sizes, title="A dense file does not shrink, zip and CSR do")

# %% [markdown]
# The dense file has not shrunk at all. Zip finds the zeros, and CSR leaves them out. But 97 % fewer weights is not
# 97 % fewer bytes: beside each value of four bytes, CSR stores its column in two more.
#
# Now the time. We compare four forms of the network, one after the other and many times over. A copy of the dense
# network is the **control**: it does exactly the same work as the dense network, so every difference between the
# two is noise. The last form computes with sparse matrices:

# %%
matrices = [evaluation.csr(layer.weight) for layer in (sparse.fc1, sparse.fc2, sparse.fc3)]


def sparse_product(images):
    x = images.flatten(1).T  # [784, n]: the sparse matrix stands on the left
    x = F.relu(matrices[0] @ x + sparse.fc1.bias[:, None])  # [300, n]
    x = F.relu(matrices[1] @ x + sparse.fc2.bias[:, None])  # [100, n]
    return (matrices[2] @ x + sparse.fc3.bias[:, None]).T  # [n, 10]


batch = mnist["validation"].tensors[0]
difference = (sparse_product(batch) - sparse(batch)).abs().max()
print(f"largest difference between sparse and dense outputs: {difference:.0e}")

# %%
my_guess_as_fast = None  # put your number here
forms = {"dense": model, "a copy": copy.deepcopy(model)}
forms |= {"97 % zeros": sparse, "97 % zeros, CSR": sparse_product}
titles = {1: "With one image, all forms take about as long", 500: "With 500 images, CSR saves time"}
speed, xlabel = {}, "× as fast as the dense network"
for n, title in titles.items():
    times = evaluation.latency(forms, batch[:n], settings.rounds)
    speed[n] = {name: evaluation.speedup(times["dense"], times[name]) for name in list(forms)[1:]}
    plots.show(plots.intervals(speed[n], title=title, xlabel=xlabel))
by_zeros = speed[500]["97 % zeros"].value
fill_in.reveal(f"97 % zeros, batch of 500: {by_zeros:.2f} × as fast", my_guess_as_fast)

# %% [markdown]
# Each row compares one form with the dense network. We divide the two times of the *same* round, so a busy moment
# slows both and cancels out. The dot is the median of these ratios over all rounds.
#
# Look at the control, "a copy", first. It does the same work as the dense network, so its distance from 1 shows which
# differences mean nothing. (Where a network lies in memory, and what other programs do, can change its time by a few
# percent.) If the control is far off, measure again.
#
# **97 % zeros** in a dense matrix save no time. The dense product multiplies every number, zero or not.
#
# **CSR** skips the zeros, but it must look up the position of each value, and processors are best at long rows of
# neighboring numbers. With one image, CSR wins nothing. With 500 images, each position that is looked up serves 500
# products, and CSR wins. How much it wins depends on the sparsity, the batch size, and the machine.
#
# GPUs are even better at dense products. Gale et al. 2020 wrote special GPU kernels for sparse matrices, and with
# them sparse Transformer and MobileNet models ran 1.2 to 2.1 × as fast on a V100.
#
# To be faster in every program and at every batch size, a network must lose whole neurons, so that its dense
# matrices shrink. That is lesson 2.
#
# ## 9 · A pattern that hardware can skip: 2:4
#
# In the **2:4 pattern**, each group of four neighboring weights in a row keeps two. The position of a kept weight
# within its group fits in two bits, and every row has the same amount of work. NVIDIA GPUs since Ampere have units
# that skip the two zeros (Mishra et al. 2021, section 3). A CPU has no such units, and there the pattern saves no
# time.

# %%
groups = model.fc1.weight.detach().view(-1, 4)
largest = groups.abs().topk(2, dim=1).indices
by_hand = torch.zeros_like(groups, dtype=torch.bool).scatter(1, largest, True).view(300, 784)
pattern = pruning.n_m_masks(model, n=2, m=4)
print("the same mask for layer 1:", torch.equal(by_hand, pattern["fc1"]))
print(f"dense: {accuracy(model)}")
print(f"2:4, without training: {accuracy(pruning.apply_masks(model, pattern))}")
half_per_row = pruning.apply_masks(model, pruning.row_masks(model, 0.5))
print(f"any half of each row: {accuracy(half_per_row)}")
print(f"any half of the weights: {accuracy(pruning.prune_weights(model, 0.5))}")
diagrams.two_of_four()

# %% [markdown]
# Half of the weights are gone in all three cases. Free choice costs hardly any accuracy, and the pattern costs the most. In a
# group of four large weights, it must still remove two. And like pruning per row, it takes half of the last layer, too. So 2:4 needs training after pruning, and that is how Mishra et al. 2021 use it.
#
# ## 10 · The final table
#
# So far we used the validation set alone. The test set comes in only here, after all decisions. The three
# schedules are those of the stored experiment, at 97 %. "Without half of them" and the rows about CSR are about one network of this lesson.
#
# How do we compare two networks on the *same* 1,000 images? On most images both are right, or both are wrong, and
# these say nothing about the difference. Only the others count. Let $a$ images be right only with the first network
# and $b$ only with the second. The difference of the accuracies is $(a - b) / n$, and its 95 % interval reaches about
# $1.96 \sqrt{a + b} / n$ to each side. (The library's formula is a little more careful with small counts.)
#
# For the table we average over the seeds. Its intervals are **over the test examples**: they tell us about these
# trained networks, and new seeds could still give another order.

# %%
names = ["dense, more epochs", *ways]
scored = {n: test.stored(n, torch.stack(recovery.column("test", way=n))) for n in names}
gradual, dense_net = scored["gradual"][0], scored["dense, more epochs"][0]  # bool [1000]
a = int((gradual & ~dense_net).sum())
b = int((~gradual & dense_net).sum())
n = len(gradual)
print(f"right only with gradual pruning: {a}, only with the dense network: {b}")
print(f"by hand: {100 * (a - b) / n:+.1f} ± {100 * 1.96 * (a + b) ** 0.5 / n:.1f} points")
low, high = evaluation.paired_test(gradual, dense_net).interval
print(f"by the library: {100 * low:+.1f} to {100 * high:+.1f} points")

# %% jupyter={"source_hidden": true}
gaps = {n: evaluation.paired_test_over_seeds(scored[n], scored[names[0]]) for n in ways[1:]}
look = {"xlabel": "At 97 %: difference from dense on the test set, in points", "margin": -0.01}
plots.show(
    plots.intervals(gaps, title="At 97 %, no schedule is shown to be within 1 point", **look)
)
print("Test accuracy:", ", ".join(f"{n} {rows.double().mean():.1%}" for n, rows in scored.items()))
half, right = pruning.prune_weights(model, 0.5), test.correct("dense", model)
gap = evaluation.paired_test(test.correct("half pruned", half), right)
said = "Many weights contribute little: without half of them, accuracy changes by less than 1 point"
claims.add(said, value=gap, margin=0.01, side="within", unit="points", source="Han et al. 2015")
for way, gap in gaps.items():
    said = f"Trained for 20 epochs, {way} pruning stays within 1 point of dense at 97 % sparsity"
    claims.add(said, value=gap, margin=-0.01, unit="points")
for n in (1, 500):
    said = f"CSR is worth the trouble: at least 1.5 × as fast as dense, batch of {n}"
    claims.add(said, value=speed[n]["97 % zeros, CSR"], margin=1.5, unit="×")
claims

# %% [markdown]
# The interval of iterative pruning lies wholly below 0, so these networks lost accuracy, though on
# the validation images their average was slightly above dense. Whether they lost more than
# a point, we cannot tell, because the interval contains the margin. "Cannot tell" does not mean that a method failed.
# It means that 1,000 test images are not enough for this margin.
#
# **With a network of your own**: train the dense network for the extra epochs, too, and measure it. Scan the
# layers. Prune with one global threshold to 80, 90 and 95 %, train, and compare on validation. One-shot pruning is the
# simplest, and we could not show that another schedule is better. Then store the winner as CSR, or zip it.
#
# ## Recap
#
# - A trained network has more weights than it needs, and the smallest ones can go first.
# - A zero stays a zero only if you enforce it: mask the weight at every use, or set it to zero again after each
#   step. Plain SGD brings pruned weights back.
# - Training is what keeps the accuracy at high sparsity. Without it, a network with 97 % zeros is broken. With it,
#   the accuracy comes close to dense, and the claims table says how close we could show it to be.
# - Layers differ in how much they tolerate, and the last layer suffers first.
# - Zeros alone save neither bytes nor time. A sparse format saves bytes, and whether it saves time depends on the sparsity, the batch, and the machine.
#
# ## Quiz
#
# **1.** You prune a layer with `torch.nn.utils.prune` and `amount=0.5`, three times. What share of the weights is zero?
# And with this course's `prune_weights`?
# <details><summary>Answer</summary>87.5 %: each call prunes half of what is left, so 1/2 · 1/2 · 1/2 = 1/8 stays. In this course an amount counts
# from the original weights, so it is 50 %.</details>
#
# **2.** You prune layer 1 and train with plain SGD. One pruned weight reads a corner pixel that is blank in every image, another one a pixel in the middle. Which of them stays zero?
# <details><summary>Answer</summary>The one of the corner. The gradient is the input times the error at the output, and the corner's input is always 0.
# In the middle, the gradient is usually not zero, so SGD moves the weight.</details>
#
# **3.** You prune *each layer* to 90 %, and lose far more accuracy than with 90 % under one global threshold. Which layer do you look at first?
# <details><summary>Answer</summary>The last one. It has few weights, so each of them matters. A global threshold
# takes a smaller share from it, because its weights are larger.</details>
#
# **4.** Two networks classify the same 1,000 images. 20 images are right only with the pruned one, 18 only with the dense one. Did pruning help?
# <details><summary>Answer</summary>The difference is 2 / 1,000, or 0.2 points. Its interval reaches 1.96 · √38 / 1,000, or 1.2 points, to each side. It contains zero, so we cannot tell.</details>
#
# **5.** Wanda per row keeps more accuracy than magnitude with one global threshold. Does this show that Wanda's score is better?
# <details><summary>Answer</summary>No. Two things differ: the score, and which weights compete. Compare Wanda per row with magnitude per row.</details>
#
# **6.** A value takes four bytes, and CSR adds two for its column. From which sparsity on is the CSR file smaller than the dense one? Ignore the row starts.
# <details><summary>Answer</summary>If the share d of the weights is left, CSR needs 6 · d bytes for each weight of the matrix, and the dense file needs 4. So d must be below 2/3: more than a third of the weights must be zero.</details>
#
# ## Try it yourself
#
# The [exercises of this lesson](../exercises/01_pruning_basics.ipynb) take you further: exact masks with ties, a global threshold, and the most sparsity at 95 %.
#
# ## References
#
# - Hanson & Pratt 1988, *Comparing biases for minimal network construction with back-propagation*: magnitude.
# - LeCun, Denker & Solla 1990, *Optimal brain damage*: section 2, pruning by the effect on the loss.
# - Han, Pool, Tran & Dally 2015, *Learning both weights and connections for efficient neural networks*: section 3, table 1, figure 5.
# - Zhu & Gupta 2017, *To prune, or not to prune*: section 3, equation 1.
# - Li, Kadav, Durdanovic, Samet & Graf 2017, *Pruning filters for efficient ConvNets*: section 3.2, sensitivity.
# - Zhang, Bengio, Hardt, Recht & Vinyals 2017, *Understanding deep learning requires rethinking generalization*: section 2.
# - Molchanov, Mallya, Tyree, Frosio & Kautz 2019, *Importance estimation for neural network pruning*: section 3.
# - Gale, Zaharia, Young & Elsen 2020, *Sparse GPU kernels for deep learning*: sections 1 and 7.
# - Mishra et al. 2021, *Accelerating sparse deep neural networks*: section 3, 2:4.
# - Sun, Liu, Bair & Kolter 2024, *A simple and effective pruning approach for large language models*: section 3, Wanda.
# - Wilson 1927 (the interval of one accuracy); Agresti & Min 2005 (the interval of a paired difference).
