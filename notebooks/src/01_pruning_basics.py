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
# - say what zeros save in bytes and in time.
#
# **You need** Python, a linear layer, and a training loop.
#
# **Time** about 60 minutes; the computer works about 3 of them on two cores.
#
# Run the cells from top to bottom. At *Predict first*, write down a guess before you read on. Two cells have a gap
# for your code. If you leave a gap empty, the lesson uses the library's function.
#
# ## The result first
#
# To **prune** a weight is to set it to zero. **Sparsity** is the share of the weights that are zero. At 97 % sparsity,
# 3 % of the weights are left. <!-- not measured: arithmetic -->
#
# The script [lesson1_recovery.py](experiments/lesson1_recovery.py) pruned a small network for handwritten digits to
# several sparsities, each with three random seeds.

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


def stored(way):  # [(share of the weights left, accuracy over the seeds), …]
    return [(1 - s, recovery.runs(way=way, sparsity=s)) for s in recovery.recipe["sparsities"]]


def on_test_set(way):  # bool [3 seeds, 1,000]: which test images are right
    return test.stored(way, torch.stack(recovery.column("test", way=way)))


curves = {"pruned, not trained": stored("one-shot, no training")}
curves["pruned while it trains"] = stored("gradual")
dense_longer = {"dense, same epochs": recovery.runs(way="dense, more epochs")}
look = {"reference": dense_longer, "roles": {"pruned while it trains": "baseline"}}
title = "Training repairs a network with 3 % of its weights left"
plots.pruning_curves(curves, title=title, **look)

# %% [markdown]
# The dashed line is the **dense** network, which keeps all its weights. It trained for as many epochs as the network of
# the green curve, so the comparison is fair. Markers side by side belong to the same sparsity. The thick bars are
# intervals, which section 1 explains. A bar that you cannot see is smaller than its marker.
#
# ## 1 · More weights than the task needs
#
# MNIST has 70,000 images of handwritten digits. We **use only 5,000 of them**, so that everything here runs in minutes.
# The price is accuracy: our networks stay below 95 %. On the full set, a network of the same shape reaches 98 % (Han et al.
# 2015, table 1).
#
# - We train on 3,500 images.
# - We make every decision on 500 **validation** images. All accuracy curves in this lesson are measured on them.
# - We keep 1,000 images as the **test set**, for the final table only. If you choose the best of many networks on some
#   images, its accuracy on them is partly luck. So we choose nothing on the test set.
#
# The network is LeNet-300-100. It has three linear layers, with 300 and 100 hidden neurons between them. The code and
# the slider call layer 1 `fc1`, layer 2 `fc2`, and layer 3 `fc3`.

# %% tags=["nbval-check-output"]
torch.set_num_threads(1)  # the network is too small to gain from more threads
mnist = datasets.mnist()
test = lessons.TestSet(mnist.pop("test"))  # set aside until the final table
lenet = models.build(models.LeNet300)
weights = sum(layer.weight.numel() for layer in (lenet.fc1, lenet.fc2, lenet.fc3))
parameters = sum(parameter.numel() for parameter in lenet.parameters())
print(f"{weights:,} weights and {parameters - weights} biases")
print(f"{parameters / len(mnist['train']):.0f} parameters per training image")
images, labels = mnist["train"][96:120]
plots.digits(torch.utils.data.TensorDataset(images, labels))

# %% [markdown]
# We prune only the weights, because there are few biases. There are so many parameters per image partly because we use
# few images: with all 60,000 training images of MNIST there would be about four.
#
# **Predict first.** We shuffle the labels of 500 images, so that nothing connects an image with its label. Then we
# train on these images. What accuracy can the network reach on them?

# %%
my_guess = None  # put your number here, in percent
few = datasets.subset(mnist["train"], 500)  # we will need these training images again
few_images = few.tensors[0].flatten(1)  # [500, 784]
few_labels = few.tensors[1]
shuffled = few_labels[torch.randperm(500, generator=torch.Generator().manual_seed(0))]
nonsense = torch.utils.data.TensorDataset(few_images, shuffled)
recipe = training.Recipe(epochs=settings.memorize_epochs, batch_size=50)  # here: 60 epochs
memorized = training.fit(lenet, {"train": nonsense}, recipe).model
reached = evaluation.evaluate(memorized, nonsense).value
fill_in.reveal(f"accuracy on shuffled labels: {reached:.0%}", my_guess)

# %% [markdown]
# The network memorizes the shuffled labels, as larger ones did in Zhang et al. 2017. So it probably has more capacity
# than it needs for ten digits. Pruning can remove that surplus.
#
# > **Intervals and verdicts.** We measure accuracy on a limited number of images. The 95 % **interval over examples**
# > (a thin line) is the range of true accuracies that fit what we measured. Training is random, too, so we often train
# > with several seeds. The **interval over seeds** (a thick bar) is the range in which the average of very many seeds
# > may lie, given our few runs. A **point** is a difference of 1 % accuracy, as between 93 % and 92 %.
# > <!-- not measured: what an interval is -->
# >
# > A claim has a **margin**: a limit that we write down before we measure. Say we claim that pruning costs less than
# > 1 point. Then the difference from dense must be above −1 point, the margin. If the interval of the difference is
# > −0.8 to −0.2 points, the claim *holds*. If it is −1.8 to −1.2, the claim *does not hold*. If it is −1.5 to −0.2, it
# > contains the margin, and we *cannot tell*.
#
# Now we train on the real labels, with five seeds. The brackets in the output hold the interval over these seeds. `n` is
# the number of images.

# %%
mnist["train"] = datasets.subset(mnist["train"], settings.train_images)  # here: all 3,500
networks = []
for seed in settings.seeds:
    # here: 15 epochs; select_from_last=1: take the last one, do not choose the best
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
# value. Removing a weight near zero should change its neuron's sum little (Hanson & Pratt 1988; Han et al. 2015).
#
# We multiply the weight matrix $W$ entry by entry ($\odot$) with a **mask** $M$ of ones and zeros:
#
# $$W' = M \odot W, \qquad M_{ij} = \begin{cases} 1 & \text{if } |W_{ij}| > \tau \\ 0 & \text{otherwise}
# \end{cases}$$
#
# The threshold $\tau$ is the $k$-th smallest magnitude, and $k$ is the number of weights to prune. Here we prune 8 of
# 16 weights:

# %%
weight = torch.tensor(
    [[0.9, -0.1, 0.4, -0.7], [0.2, 0.6, -0.3, 0.1], [-0.5, 0.1, 0.8, -0.2], [0.3, -0.9, 0.2, 0.5]]
)
k = round(0.5 * weight.numel())
threshold = weight.abs().flatten().kthvalue(k).values
mask = weight.abs() > threshold
diagrams.mask_times_weights(weight, mask)

# %% [markdown]
# **Your turn (1 of 2).** Write these lines as a function for any sparsity. In code, the sparsity that you ask for is
# called `amount`. `kthvalue` counts from 1, so an amount of 0 needs a line of its own.


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
#
# If several weights are exactly as large as the threshold, they all go. Exercise 2 treats such ties.
# </details>
#
# ## 3 · The sparsity slider
#
# To prune a whole network, we rank the weights of *all* layers together and use one **global** threshold. The next
# cell does this by hand, at 90 % sparsity. The library's `prune_weights` does the same in one call. It returns a new
# network with its masks attached. The brackets in the output hold intervals over the examples.
#
# **Predict first.** At which of these sparsities does pruning first cost more than a point of accuracy: 10 %, 30 %,
# 50 %, or 80 %? A point is 5 of the 500 images. Then run the cell and move the slider. Each move prunes the trained
# network and evaluates it, without training. The axis of the right panel is the share of weights kept, so 70 % sparsity is at 30 %.

# %%
magnitudes = [layer.weight.detach().abs() for layer in (model.fc1, model.fc2, model.fc3)]
ranked = torch.cat([layer.flatten() for layer in magnitudes])
threshold = ranked.kthvalue(round(0.9 * len(ranked))).values
by_hand = copy.deepcopy(model)
for layer in (by_hand.fc1, by_hand.fc2, by_hand.fc3):
    layer.weight.data *= layer.weight.abs() > threshold
print("90 %, by hand:", accuracy(by_hand))
for amount in (0.0, 0.1, 0.3, 0.5, 0.8, 0.9):
    print(f"{amount:.0%}, by the library:", accuracy(pruning.prune_weights(model, amount)))
medians = [f"{layer.median():.3f}" for layer in magnitudes]
print("median magnitude in layers 1, 2 and 3:", ", ".join(medians))
sliders.sparsity_explorer(model, mnist["validation"], amount=0.9)


# %% [markdown]
# On these images, 80 % is the first of the four sparsities to cost more than a point. So at least half of the weights
# can go. The left panel shows why: many weights lie near zero. Look again:
#
# 1. Set the slider to 90 %. Which layer has the highest sparsity, and which the lowest?
# 2. The accuracy at 10 % sparsity may differ a little from the one at 0 %. Is that a real difference?
#
# <details><summary>Answers</summary>
#
# 1. Layer 1 (`fc1`) has the highest and layer 3 (`fc3`) the lowest. All layers share one threshold, and the weights of
#    layer 1 are the smallest, as the printed medians show. PyTorch already starts them smaller, because layer 1 has more
#    inputs.
# 2. We cannot tell. A few tenths of a point are one or two of the 500 images.
# </details>
#
# ## 4 · What goes wrong when you train a pruned network
#
# Training should repair what pruning damaged. So we set 90 % of the weights to zero and train for 20 steps. Three
# things could move a pruned weight. We test one at a time:
#
# - **(a) Its gradient**, with plain SGD.
# - **(b) Momentum** left over from before the pruning. To test it alone, we **mask** the gradients: those of pruned
#   weights become zero.
# - **(c) Weight decay**, also with masked gradients.
#
# The next cell is one step, on the 500 images of section 1 with their true labels.


# %%
def sgd_step(network, optimizer, masks):
    optimizer.zero_grad()
    F.cross_entropy(network(few_images), few_labels).backward()
    for layer, mask_of_layer in masks.items():
        network.get_submodule(layer).weight.grad *= mask_of_layer  # 0 where a weight is pruned
    optimizer.step()


# %%
def prune_and_train(mask_gradients, **options):
    network = copy.deepcopy(model)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, **options)
    sgd_step(network, optimizer, {})  # fills the momentum; {}: no gradient is masked
    masks = pruning.global_masks(network, 0.9)
    for layer, mask_of_layer in masks.items():
        network.get_submodule(layer).weight.data *= mask_of_layer
    sparsities = [100 * pruning.sparsity(network)]
    for _ in range(20):
        sgd_step(network, optimizer, masks if mask_gradients else {})
        sparsities.append(100 * pruning.sparsity(network))
    return sparsities, network


# %% [markdown]
# **Predict first.** In which of the three runs do pruned weights become nonzero again?

# %%
runs = {"(a) plain SGD": prune_and_train(mask_gradients=False)}
runs["(b) momentum"] = prune_and_train(mask_gradients=True, momentum=0.9)
runs["(c) weight decay"] = prune_and_train(mask_gradients=True, weight_decay=0.01)
_, network = runs["(a) plain SGD"]
zeros = (network.fc1.weight == 0).sum(dim=0)  # [784]: how many weights of each pixel are zero
blank = (few_images == 0).all(dim=0)  # [784]: True where a pixel is blank in all images
share = zeros[blank].sum() / zeros.sum()
print(f"after (a), share of the zeros in layer 1 that read a blank pixel: {share:.0%}")
curves = {name: (range(21), run[0]) for name, run in runs.items()}
title = "Do the zeros survive the training?"
plots.lines(curves, title=title, xlabel="step after the pruning", ylabel="sparsity in %")

# %% [markdown]
# In runs (a) and (b), most of the pruned weights are nonzero again after one step.
#
# - **(a) The gradient** of a pruned weight is its input times the loss's gradient at its output neuron. The weight's own
#   value is not part of that product. So the gradient is usually *not* zero, and plain SGD moves the weight. If a weight
#   reads a pixel that is blank in all images, its input is 0. Its gradient is then 0, too, and the weight stays at zero.
#   The other zeros probably feed neurons that output 0 whenever
#   that pixel has ink.
# - **(b) Momentum** remembers gradients from before the pruning, so it moves pruned weights without a new gradient.
# - **(c) Weight decay** shrinks a weight by a fraction of its value, and a fraction of zero is zero.
#
# There are two cures. You can set the zeros again after every step, as section 7 does. Or you apply the mask at *every
# use* of the weight: you train the original weight $W$ and compute with $W' = M \odot W$. Then the optimizer may move a
# pruned entry of $W$, but the mask multiplies it by 0 before every use. By the chain rule, the gradient of this entry is
# zero, too: $\partial L / \partial W = M \odot \partial L / \partial W'$, where $L$ is the loss.
#
# **Your turn (2 of 2).** Write the second cure as a linear layer. The cell then trains with the library's masks, and
# compares its layer 1 with yours.


# %%
def masked_linear(x, original, mask, bias):
    """x [n, in], original and mask [out, in], bias [out] → output [n, out]."""
    ...


examples = [(torch.eye(4), weight, mask, torch.arange(4.0))]  # the 4 × 4 weights of section 2
masked_linear = fill_in.check(masked_linear, against=solutions.masked_linear, examples=examples)
masked = pruning.prune_weights(model, 0.9)
optimizer = torch.optim.SGD(masked.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
for _ in range(20):
    sgd_step(masked, optimizer, {})
print(f"sparsity after 20 steps with the library's masks: {pruning.sparsity(masked):.1%}")
original = masked.fc1.parametrizations.weight.original  # PyTorch keeps W here, not W'
output = masked_linear(few_images, original, masked.fc1.weight != 0, masked.fc1.bias)
print("the same layer 1:", torch.allclose(output, masked.fc1(few_images), atol=1e-5))

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def masked_linear(x, original, mask, bias):
#     return x @ (original * mask).T + bias
# ```
# </details>
#
# The sparsity stays at 90 %. Weight decay shrinks the pruned entries of $W$, but the mask keeps those of $W'$ at zero.
#
# Most tutorials use PyTorch's own masks, `torch.nn.utils.prune`. **Predict first.** You prune layer 1 with
# `amount=0.5` twice. What is its sparsity then? And is the file of a masked network smaller or larger than the dense
# one?


# %%
once, twice, removed = (copy.deepcopy(model) for _ in range(3))
for network in (once, twice, removed):
    torch_prune.l1_unstructured(network.fc1, "weight", 0.5)
torch_prune.l1_unstructured(twice.fc1, "weight", 0.5)
torch_prune.remove(removed.fc1, "weight")
library = pruning.prune_weights(model, 0.5, layers=["fc1"])
library = pruning.prune_weights(library, 0.5, layers=["fc1"])
rows = {"dense": model, "PyTorch, 0.5": once, "PyTorch, 0.5 twice": twice}
rows |= {"PyTorch, 0.5, then remove": removed, "course_lib, 0.5 twice": library}
sparsities = [f"{pruning.sparsity(network, ['fc1']):.0%}" for network in rows.values()]
kilobytes = [f"{evaluation.footprint(network).bytes / 1000:,.0f} kB" for network in rows.values()]
pd.DataFrame({"sparsity of layer 1": sparsities, "file": kilobytes}, index=list(rows))

# %% [markdown]
# - **PyTorch's second 0.5 is half of what is left**, so three quarters of the weights are zero. In this course, an
#   amount counts from all the weights, so asking twice for 0.5 gives half.
# - **A mask makes the file larger**, because the file stores the mask beside the weights. PyTorch's mask takes four
#   bytes per weight, and the library's takes one.
# - **`remove` removes no weights.** It writes the zeros into the weights and drops the mask.
#
# ## 5 · Which weights should go?
#
# An **importance score** says how much a weight matters. The weights with the lowest scores go.
#
# | score | formula | needs | from |
# |---|---|---|---|
# | magnitude | $\lvert w \rvert$ | nothing | Hanson & Pratt 1988, Han et al. 2015 |
# | Taylor | $\lvert w \cdot \partial L / \partial w \rvert$ | labeled examples | Molchanov et al. 2019 |
# | Wanda | $\lvert w \rvert \cdot \lVert x \rVert$ | examples | Sun et al. 2024 |
# | random | a random number | nothing | the baseline |
#
# Here $w$ is one weight, and $x$ holds its input for every example.
#
# - **Taylor** estimates how much the loss changes if the weight goes: $L(0) - L(w) \approx -w \cdot \partial L /
#   \partial w$, with $L$ as a function of this weight. The score drops the sign.
#   The idea is old: optimal brain damage (LeCun et al. 1990) estimated this change with second derivatives.
# - **Wanda** multiplies the magnitude by the norm of $x$. Weights compete only **per output row**, that is, among
#   the weights that lead to one output neuron.
#
# Wanda by hand is `kthvalue` again, along each row:


# %%
def row_mask(scores, amount):  # scores [out, in]; the amount is above 0
    k = round(amount * scores.shape[1])
    return scores > scores.kthvalue(k, dim=1, keepdim=True).values


norms = F.relu(model.fc1(few_images)).norm(dim=0)  # of the inputs of layer 2: [300]
mask_by_hand = row_mask(model.fc2.weight.abs() * norms, 0.5)
by_library = pruning.row_masks(model, 0.5, pruning.wanda(model, few))["fc2"]
print("the same mask for layer 2:", torch.equal(mask_by_hand, by_library))
amounts = [0.5, 0.8, 0.9, 0.95]  # the sparsities of the next two figures

# %% [markdown]
# Wanda differs from global magnitude in two ways: the score, and which weights compete. A fair comparison changes only
# one of them. So we compare Taylor with global magnitude, and Wanda with magnitude per row.
#
# In the code, each entry of `ways` is a function. It takes a network and an amount, and returns the masks. In the
# figure, blue is magnitude, orange the other score, and gray random. Dashed curves prune per row.
#
# **Predict first.** Which score keeps the most accuracy with 10 % of the weights left? We do not train after
# pruning.


# %%
ways = {
    "global: magnitude": pruning.global_masks,
    "global: Taylor": lambda net, a: pruning.global_masks(net, a, pruning.weight_taylor(net, few)),
    "global: random": lambda net, a: pruning.global_masks(net, a, pruning.random_score()),
    "per row: magnitude": pruning.row_masks,
    "per row: Wanda": lambda net, a: pruning.row_masks(net, a, pruning.wanda(net, few)),
}
curves = {name: [] for name in ways}
for name, masks_for in ways.items():
    for a in amounts:
        pruned = [pruning.apply_masks(net, masks_for(net, a)) for net in networks]
        curves[name].append((1 - a, evaluation.Runs(tuple(map(accuracy, pruned)))))
colors = dict(zip(ways, ["blue", "orange", "gray", "blue", "orange"], strict=True))
title = "Which score keeps the most accuracy without training?"
plots.pruning_curves(curves, title=title, guessing=0.1, reference=dense, roles=colors)

# %% [markdown]
# Global magnitude keeps the most accuracy here. With 10 % of the weights left, Taylor is below it, and Wanda is below
# magnitude per row. Taylor may lose because the network already fits the training images, so their gradients are close
# to zero. On large networks, both papers report that their score wins, so try them on your own network.
#
# ## 6 · Which layer tolerates pruning?
#
# A **sensitivity scan** prunes one layer at a time and keeps the others whole (Li et al. 2017, section 3.2).
#
# **Predict first.** Which of the three layers suffers first?

# %%
scan = pruning.sensitivity(model, accuracy, amounts)
curves = {}
for number, results in enumerate(scan.values(), start=1):
    curves[f"layer {number}"] = [(1 - a, r) for a, r in zip(amounts, results, strict=True)]
plots.pruning_curves(curves, title="Which layer suffers first?", reference=accuracy(model))

# %% [markdown]
# The last layer suffers first, probably because it is small. With a twentieth of its 1,000 weights left, each of the ten
# digits has about five. With a twentieth of layer 1 left, each of its neurons still has about 39 of 784.
#
# So layers should lose different shares. One global threshold does that. Pruning per row does not, which may be why
# it did worse in section 5. But the scan prunes only one layer at a time. Pruning several can cost more than their
# losses added up.
#
# ## 7 · One-shot, iterative, gradual
#
# Now we train while we prune. Three **schedules** are common. All start from the same trained network and train for
# 20 epochs:
#
# - **One-shot**: prune to the final sparsity at once, then train.
# - **Iterative**: prune a part, train, prune more, train again (Han et al. 2015). We prune five times, each time about
#   half of what is left, so the sparsities are 50, 75, 88, 94 and 97 %. <!-- not measured: arithmetic -->
# - **Gradual**: raise the sparsity a little every few steps, along a cubic curve (Zhu & Gupta 2017, equation 1):
#
# $$s_t = s_f \left(1 - \left(1 - \frac{t}{t_e}\right)^3\right) \quad \text{for } t \le t_e, \qquad s_t = s_f \text{ after that}$$
#
# $s_t$ is the sparsity at time $t$, $s_f$ the final sparsity, and $t_e$ the time at which it is reached. In the code,
# `t` is in epochs.

# %%
epochs = settings.prune_epochs
end = 0.6 * epochs  # when iterative and gradual pruning reach the final sparsity
steps = [0.50, 0.75, 0.88, 0.94, 0.97]  # the five prunings of the iterative schedule
schedules = {"one-shot": lambda t: 0.97}
schedules["iterative"] = lambda t: steps[min(4, int(4 * t / end))]
schedules["gradual"] = lambda t: 0.97 * (1 - (1 - min(1, t / end)) ** 3)
times = [epochs * i / 2000 for i in range(2001)]
curves = {}
for name, schedule in schedules.items():
    curves[name] = (times, [100 * schedule(t) for t in times])
title = "The cubic curve prunes fast, then slowly"
plots.lines(curves, title=title, xlabel="epoch", ylabel="sparsity in %", bold="gradual")

# %% [markdown]
# The cubic curve prunes fast while there are many unimportant weights, and slowly when every weight counts.
#
# Here is gradual pruning by hand. The training loop has two additions: new masks in each epoch, and the zeros set again
# after each step.


# %%
network = copy.deepcopy(model)
optimizer = torch.optim.Adam(network.parameters())
torch.manual_seed(0)  # for the order of the images
for epoch in range(epochs):
    masks = pruning.global_masks(network, schedules["gradual"](epoch))
    for x, y in torch.utils.data.DataLoader(mnist["train"], batch_size=64, shuffle=True):
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
        for name, layer_mask in masks.items():
            network.get_submodule(name).weight.data *= layer_mask
print(f"at {pruning.sparsity(network):.0%} sparsity: {accuracy(network)}")

# %% [markdown]
# In the next figure, the dense network also trained for 20 more epochs, so the comparison is fair. Two names come from
# the first figure's folded cell: `stored(way)` gives the curve of one way to prune, and `dense_longer` is the dashed
# line. Our claim for the final table is that each schedule loses less than one point at 97 % sparsity.
#
# **Predict first.** Which schedule keeps the most accuracy with 3 % of the weights left?

# %%
curves = {way: stored(way) for way in schedules}
title = "How far do the schedules keep up with the dense network?"
plots.pruning_curves(curves, title=title, reference=dense_longer)

# %% [markdown]
# With 3 % of the weights left, all three averages are close to dense. But the intervals are wide: three seeds can
# neither rank the schedules nor show that they match the dense network. <!-- not measured: a setting -->
#
# Without training, one-shot pruning broke the network (the blue curve of the first figure). With training, it recovers.
#
# ## 8 · What do zeros buy?
#
# An ordinary **dense** file stores every number, so a zero takes as much space as any other number. A **sparse**
# format stores only the nonzero values and their positions. The usual one is **compressed sparse row** (CSR). It
# lists the values row after row, the column of each value, and where each row starts.
#
# **Predict first.** We set 97 % of the weights to zero. How many times smaller is the CSR file?

# %%
my_guess = None  # put your number here
recipe = training.Recipe(epochs=settings.prune_epochs, seed=100)
pruned = pruning.gradual_pruning(model, mnist, recipe, 0.97).model
pruned = pruning.make_permanent(pruned)  # writes the zeros into the weights, drops the masks
before, after = evaluation.footprint(model), evaluation.footprint(pruned)
sizes = {"dense": before.bytes, "dense, zipped": before.zipped}
sizes |= {"97 % zeros": after.bytes, "97 % zeros, zipped": after.zipped}
sizes["97 % zeros, CSR"] = evaluation.sparse_bytes(pruned)
smaller = before.bytes / sizes["97 % zeros, CSR"]
fill_in.reveal(f"the CSR file is {smaller:.1f} × smaller", my_guess)
plots.show(diagrams.sparse_storage(index_bytes=2))
plots.size_bars(sizes, title="Zeros save space only in a zipped or sparse file")

# %% [markdown]
# In the drawing, each row has a color, and the final 5 marks where the last row stops. In the bars, the file with 97 %
# zeros is as large as before. Zip finds the zeros, and CSR leaves them out. But 97 % fewer weights are not 97 % fewer
# bytes, because CSR stores a column of two bytes beside each value of four bytes.
#
# Now the time. Here is the network with sparse matrices:

# %%
matrices = [evaluation.csr(layer.weight) for layer in (pruned.fc1, pruned.fc2, pruned.fc3)]


def csr_network(images):
    x = images.flatten(1).T  # [784, n]: the sparse matrix stands on the left
    x = F.relu(matrices[0] @ x + pruned.fc1.bias[:, None])  # [300, n]
    x = F.relu(matrices[1] @ x + pruned.fc2.bias[:, None])  # [100, n]
    return (matrices[2] @ x + pruned.fc3.bias[:, None]).T  # [n, 10]


batch = mnist["validation"].tensors[0]
difference = (csr_network(batch) - pruned(batch)).abs().max()
print(f"largest difference between the outputs with CSR and dense matrices: {difference:.0e}")

# %% [markdown]
# We time three forms against the dense network: CSR, the 97 % zeros in dense matrices, and a copy of the dense
# network. The copy is the **control**: its difference from the dense network is noise. In a **round**, every form
# runs once. In each round, we divide the dense network's time by the form's, so a busy moment cancels out. Our claim for
# the final table is that CSR is at least 1.5 × as fast as dense.
#
# **Predict first.** How many times as fast is the pruned network if its matrices stay dense?

# %%
forms = {"control": copy.deepcopy(model), "97 % zeros": pruned, "CSR": csr_network}
rounds = {1: 5 * settings.rounds, 500: settings.rounds}  # one image is quick, so we time it more
speed = {}
for n in rounds:
    # times[name]: the seconds of each round
    times = evaluation.latency({"dense": model, **forms}, batch[:n], rounds[n])
    for name in forms:
        speed[f"{name}, batch of {n}"] = evaluation.speedup(times["dense"], times[name])
colors = dict(zip(speed, ["gray", "blue", "orange"] * 2, strict=True))
title = "Which forms are faster than dense?"
plots.intervals(speed, title=title, xlabel="× as fast as dense", roles=colors)

# %% [markdown]
# Look at the gray controls first. If one is far from 1 or its interval is wide, measure again.
#
# - **97 % zeros** in dense matrices save hardly any time: the blue dots lie about as close to 1 as the controls. The
#   dense product multiplies every number, zero or not.
# - **CSR** skips the zeros, but it must look up the position of each value. With one image, it is slower than
#   dense. With 500 images, one look-up serves 500 products, and CSR is faster.
#
# To be faster everywhere, a network must lose whole neurons, so that its dense matrices shrink. That is lesson 2.
#
# ## 9 · A pattern that hardware can skip: 2:4
#
# In the **2:4 pattern**, each group of four neighboring weights in a row keeps two. The position of a kept weight in
# its group fits in two bits. NVIDIA GPUs since Ampere have units that skip the two zeros (Mishra et al. 2021, section
# 3). A CPU has no such units, so there the pattern saves no time.
#
# **Predict first.** Half of the weights go. Which costs the most accuracy: any half, half of each row, or 2:4?

# %%
groups = model.fc1.weight.detach().view(-1, 4)
largest = groups.abs().topk(2, dim=1).indices
mask_by_hand = torch.zeros_like(groups, dtype=torch.bool)
mask_by_hand.scatter_(1, largest, True)  # True at the two largest of each four
pattern = pruning.n_m_masks(model, n=2, m=4)
print("the same mask for layer 1:", torch.equal(mask_by_hand.view(300, 784), pattern["fc1"]))
halves = {"dense": model, "any half of the weights": pruning.prune_weights(model, 0.5)}
halves["any half of each row"] = pruning.apply_masks(model, pruning.row_masks(model, 0.5))
halves["2:4, half of each group"] = pruning.apply_masks(model, pattern)
plots.show(diagrams.two_of_four())
pd.DataFrame({"validation accuracy": {name: str(accuracy(net)) for name, net in halves.items()}})

# %% [markdown]
# Free choice costs hardly any accuracy here, and the pattern costs several points. One reason is that the pattern must
# remove two weights even from a group of four large ones. So 2:4 needs training after the pruning, as in Mishra et al.
# 2021.
#
# ## The final table
#
# How do we compare two networks on the *same* 1,000 images? Images that both get right, or both get wrong, say
# nothing about the difference. Let $a$ images be right only with the first network and $b$ only with the second. Then
# the accuracies on $n$ images differ by $(a - b) / n$. Each of the $a + b$ images adds 1 or −1 to $a - b$, like a
# coin flip. The sum of that many flips has a standard deviation of about $\sqrt{a + b}$. With 95 % probability, the sum is at most 1.96 standard
# deviations from its mean, so the interval is about ± $1.96 \sqrt{a + b} / n$.
#
# The networks are those of the first figure's experiment, at 97 % sparsity. `on_test_set(way)`, from that figure's
# folded cell, looks up which test images they get right. The next cell compares two networks of one seed. The figure after it uses all three seeds: for each image, it
# subtracts the number of dense networks that are right from the number of pruned ones. The
# intervals cover the choice of **test examples** only, so new seeds could give another order.

# %%
dense_way = "dense, more epochs"
scored = {way: on_test_set(way) for way in [dense_way, *schedules]}  # bool [3 seeds, 1,000]
gradual = scored["gradual"][0]  # the first seed
dense_net = scored[dense_way][0]
a = int((gradual & ~dense_net).sum())
b = int((~gradual & dense_net).sum())
n = len(gradual)
print(f"right only with gradual pruning: {a}, only with the dense network: {b}")
print(f"by hand: {100 * (a - b) / n:+.1f} ± {100 * 1.96 * (a + b) ** 0.5 / n:.1f} points")
low, high = evaluation.paired_test(gradual, dense_net).interval
print(f"by the library: {100 * low:+.1f} to {100 * high:+.1f} points")

# %% jupyter={"source_hidden": true}
gaps = {n: evaluation.paired_test_over_seeds(scored[n], scored[dense_way]) for n in schedules}
look = {"xlabel": "difference from dense on the test set, in points", "margin": -0.01}
title = "At 97 % sparsity, every interval contains the margin"
plots.show(plots.intervals(gaps, title=title, **look))
claims = lessons.Claims(test)
half, right = pruning.prune_weights(model, 0.5), test.correct("dense", model)
gap = evaluation.paired_test(test.correct("half pruned", half), right)
said = "Many weights contribute little: without half of them, accuracy changes by less than 1 point"
claims.add(said, value=gap, margin=0.01, side="within", unit="points", source="Han et al. 2015")
for way, gap in gaps.items():
    said = f"Trained for 20 epochs, {way} pruning stays within 1 point of dense at 97 % sparsity"
    claims.add(said, value=gap, margin=-0.01, unit="points")
for n in (1, 500):
    said = f"CSR is worth the trouble: at least 1.5 × as fast as dense, batch of {n}"
    claims.add(said, value=speed[f"CSR, batch of {n}"], margin=1.5, unit="×")
claims

# %% [markdown]
# The interval of iterative pruning lies wholly below 0, so these networks lost accuracy. On validation, their average was
# above dense. We trust the test set: it is larger, and we chose nothing on it. Whether they lost more than a point, we
# cannot tell: 1,000 images are too few for this margin. Why iterative pruning lost
# accuracy, we do not know. It trained for only 8 epochs at 97 % sparsity, but so did gradual pruning.
#
# **With a network of your own**: train the dense network for the extra epochs, too, and compare on validation. Start
# with one-shot pruning, the simplest schedule.
#
# ## Recap
#
# - How many weights can go? Without training, at least half of them: the smallest ones. With training, even 97 % cost
#   little on average, but 1,000 test images cannot tell whether it is less than a point.
# - A zero stays a zero only if you enforce it: mask the weight at every use, or set the zeros again after each step.
# - Layers differ in how much they tolerate. Here, the small last layer suffers first.
# - A fair comparison changes one thing: the dense network trains for the same number of epochs.
# - Zeros alone save neither bytes nor time. A sparse format saves bytes, and sometimes time.
#
# ## Quiz
#
# **1.** Two networks classify the same 1,000 images. 20 images are right only with the pruned one, 18 only with the
# dense one. Did pruning help?
# <details><summary>Answer</summary>We cannot tell. The difference is 2 / 1,000, or 0.2 points. Its interval reaches
# 1.96 · √38 / 1,000, or 1.2 points, to each side, so it contains zero.</details>
#
# **2.** Suppose that Wanda per row keeps more accuracy than magnitude with one global threshold. Does this show that
# Wanda's score is better?
# <details><summary>Answer</summary>No. Two things differ: the score, and which weights compete. Compare Wanda per row
# with magnitude per row.</details>
#
# **3.** A value takes four bytes, and CSR adds two for its column. From which sparsity on is the CSR file smaller
# than the dense one? Ignore the row starts.
# <details><summary>Answer</summary>If the share d of the weights is left, CSR needs 6 · d bytes per weight, and the
# dense file needs 4. So d must be below 2/3: more than a third of the weights must be zero.</details>
#
# **4.** You prune a network and mask the gradients of the pruned weights, but you keep the old optimizer, which uses
# momentum. Do the zeros stay?
# <details><summary>Answer</summary>No. Momentum still holds gradients from before the pruning, so it moves the pruned
# weights. Set the zeros again after each step, or apply the mask at every use of the weight.</details>
#
# ## Try it yourself
#
# The [exercises of this lesson](../exercises/01_pruning_basics.ipynb) take you further: exact masks with ties, a
# global threshold, and the sparsest network that is still good enough.
#
# ## References
# - Hanson & Pratt 1988, *Comparing biases for minimal network construction*.
# - LeCun, Denker & Solla 1990, *Optimal brain damage*: section 2.
# - Han et al. 2015, *Learning both weights and connections*: section 3, table 1, figure 5.
# - Zhu & Gupta 2017, *To prune, or not to prune*: section 3, equation 1.
# - Li et al. 2017, *Pruning filters for efficient ConvNets*: section 3.2.
# - Zhang et al. 2017, *Understanding deep learning requires rethinking generalization*: section 2.
# - Molchanov et al. 2019, *Importance estimation for neural network pruning*: section 3.
# - Mishra et al. 2021, *Accelerating sparse deep neural networks*: section 3.
# - Sun et al. 2024, *A simple and effective pruning approach for large language models*: section 3.
# - Wilson 1927 (the interval of one accuracy); Agresti & Min 2005 (the interval of a paired difference).
