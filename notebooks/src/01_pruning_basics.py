# %% [markdown]
# # Lesson 1 · Pruning basics: how many weights does a network need?
#
# **You will be able to**
#
# - say what sparsity is, set it exactly, and keep it through training;
# - read a weight histogram and a sensitivity scan;
# - choose between global and per-layer, one-shot and gradual pruning, from measurements of your own;
# - say what zeros buy you, and what they do not.
#
# **Time** about 45 minutes; the computer works about 6 of them on two cores.
# **You need** Python, and what a linear layer and a training loop are.
#
# Run the cells from top to bottom. Where it says *Predict first*, write down your guess before you go on: you
# will remember the answer better, above all when you were wrong.

# %% tags=["setup"]
# the first cell of every lesson

# %% tags=["parameters"]
profile = "full"

# %%
import copy

import torch
import torch.nn.utils.prune as torch_prune

from course_lib import data, masking, measure, models, plots, pruning, training, widgets
from course_lib.claims import Claims
from course_lib.profile import chosen_profile

full = chosen_profile(profile) == "full"
seeds = range(5) if full else range(2)
train_epochs, prune_epochs = (15, 20) if full else (3, 5)
mnist = data.mnist()
print({part: len(dataset) for part, dataset in mnist.items()})
pictures_to_learn_from = len(mnist["train"])
if not full:  # the quick profile, for tests: the same steps, on fewer pictures
    mnist["train"] = data.subset(mnist["train"], 640)

# %% [markdown]
# These are real handwritten digits, split into three parts. You **train** on the first, take every decision on the
# **validation** part, and look at the **test** part once, for the number that you report. Deciding on the test part
# would make that number too good.

# %%
plots.show(plots.digits(mnist["train"]), alt="24 handwritten digits with their labels")

# %% [markdown]
# ## 1 · More weights than it needs
#
# LeNet-300-100 has two hidden layers, of 300 and of 100 neurons. It is the network that papers on pruning have pruned
# first since 2015. How many weights has it for each picture that it learns from?

# %% tags=["nbval-check-output"]
lenet = models.build(models.LeNet300)
parameters = sum(p.numel() for p in lenet.parameters())
print(
    f"{parameters:,} parameters, {parameters / pictures_to_learn_from:.0f} for each training picture"
)

# %% [markdown]
# **Predict first.** We shuffle the labels of 500 pictures: a 3 is now called 7, another 3 is called 1. There is
# nothing left to learn. What training accuracy will the network reach on those 500?

# %%
my_guess = 10  # percent; change it

# %%
pictures, labels = data.subset(mnist["train"], 500).tensors
shuffled = labels[torch.randperm(500, generator=torch.Generator().manual_seed(0))]
nonsense = torch.utils.data.TensorDataset(pictures, shuffled)
recipe = training.Recipe(epochs=60 if full else 20, batch_size=50)
memorised = training.fit(lenet, {"train": nonsense}, recipe)
print(f"You guessed {my_guess} %. On 500 random labels the network reaches", end=" ")
training.evaluate(memorised.model, nonsense)

# %% [markdown]
# It learns the nonsense by heart (Zhang et al. 2017 did this with ImageNet). A network that can store noise has more
# capacity than a rule about digits asks for. That surplus is what pruning lives on. *Where this stops being true:*
# a network that is small for its task has little to give, as the smallest ones in later lessons show.
#
# Now the real labels. `fit` trains a copy, with AdamW, and keeps the epoch that did best on the validation part.

# %%
dense = {
    seed: training.fit(
        models.build(models.LeNet300, seed), mnist, training.Recipe(epochs=train_epochs, seed=seed)
    )
    for seed in seeds
}
model = dense[0].model
print("validation, seed 0:")
dense[0].validation

# %% [markdown]
# An accuracy is a measurement on some pictures, so it comes with an **interval**: a range of accuracies, over all pictures
# of this kind, that fit what we saw. Made in this way, 95 of 100 intervals hold the true value. Two networks whose
# accuracies differ by less may well be equally good.
#
# ## 2 · The weight histogram
#
# **Predict first.** Half of all weights lie between two dotted lines, around zero. In which layer are the lines
# closest together?

# %%
plots.show(
    plots.weight_histogram(model),
    alt="Three histograms, one a layer: bell shapes around zero; fc1, the largest layer, is narrowest",
)

# %% [markdown]
# Most weights are small. A weight near zero adds little to the sum it goes into. That suggests the oldest rule of
# pruning, **magnitude**: the smallest weights go first (Han et al. 2015). It is a guess about importance, no
# more: a small weight on a large input can matter more than a large weight on an input that is always zero. You will
# meet rules that know this below.
#
# ## 3 · The five-line classic
#
# PyTorch has pruning built in. These are the five lines that you find in most tutorials:

# %% tags=["nbval-check-output"]
classic = copy.deepcopy(model)
torch_prune.l1_unstructured(classic.fc1, "weight", amount=0.3)
zeros = float(torch.sum(classic.fc1.weight == 0)) / classic.fc1.weight.nelement()
print(f"Sparsity: {100 * zeros:.1f}%")
torch_prune.remove(classic.fc1, "weight")

# %% [markdown]
# **Sparsity** is the share of zeros. `prune.remove` does not remove the pruning. It removes the *mask* and writes the
# zeros into the weight.

# %%
claims = Claims()
claims.add(
    "l1_unstructured(fc1, amount=0.3) sets exactly 30.0 % of the weights to zero",
    source="PyTorch's pruning tutorial",
    measured=f"{100 * zeros:.1f} %",
    holds=round(zeros, 4) == 0.3,
    n=classic.fc1.weight.numel(),
    must=True,
)

# %% [markdown]
# Two things in PyTorch's version surprise people. Guess what each line prints before you run it.

# %% tags=["nbval-check-output"]
twice = copy.deepcopy(model)
torch_prune.l1_unstructured(twice.fc1, "weight", amount=0.5)
torch_prune.l1_unstructured(twice.fc1, "weight", amount=0.5)
print(f"PyTorch, 0.5 asked for twice: {masking.sparsity(twice, ['fc1']):.0%} zeros")
ours = pruning.prune(pruning.prune(model, 0.5), 0.5)
print(f"course_lib, 0.5 asked for twice: {masking.sparsity(ours):.0%} zeros")

dense_bytes, masked_bytes = measure.footprint(model).bytes, measure.footprint(twice).bytes
permanent_bytes = measure.footprint(masking.make_permanent(ours)).bytes
print(f"PyTorch, mask attached: {masked_bytes / dense_bytes:.2f} × the bytes of the dense file")
print(f"made permanent: {permanent_bytes / dense_bytes:.2f} × the bytes")

# %% [markdown]
# - PyTorch's second 0.5 is half *of what is left*. In this course an amount is always a fraction of the
#   **original** weights.
# - While a mask is attached, the file holds weights *and* mask, so pruning made it larger. And made permanent it is not
#   smaller either: a zero takes four bytes like any other number. Section 9 comes back to that.
#
# ## 4 · Your turn: the sparsity slider
#
# **Predict first.** How much can go before the accuracy falls by more than a point: 10 %, 30 %, 50 %, 80 %?
#
# Then move the slider (mouse, or arrow keys). Every move prunes the trained network afresh, over all layers together,
# and evaluates it on the validation pictures. Nothing is retrained.

# %%
widgets.sparsity_explorer(model, mnist["validation"])

# %% [markdown]
# Look at it again with these questions:
#
# 1. At 90 %, which layer has lost the largest share of its weights, and which the smallest? Why does one common
#    threshold treat them so differently? (Compare the histograms above.)
# 2. In the pictures of the neurons: where are the weights that go first? What do digits have there?
# 3. Where exactly does the accuracy start to fall: suddenly or bit by bit?
#
# The same as a curve, for a page without a running kernel:

# %%
amounts = [0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98]


def on_validation(model):
    return training.evaluate(model, mnist["validation"])


def curve(make_masks, amounts=amounts):
    return [(a, on_validation(masking.apply_masks(model, make_masks(a)))) for a in amounts]


one_shot = curve(lambda a: pruning.global_masks(model, a))
plots.show(
    plots.accuracy_curves({"one-shot, global": one_shot}, reference=dense[0].validation),
    alt="Accuracy against sparsity: flat at first, then it falls ever more steeply",
)

# %% [markdown]
# Can we say that half of the weights contribute little? The amount was chosen on the validation part. Now the
# test part gets its one look. Both networks answer the same pictures, so we compare them picture by picture
# (**McNemar's test**): only those on which exactly one of them is right tell them apart.

# %%
half = pruning.prune(model, 0.5)
before, after = (training.correct(m, mnist["test"]) for m in (model, half))
test = measure.paired_test(before, after)
print(test)
claims.add(
    "Many weights contribute little: the smaller half can go at once, without retraining",
    source="Han et al. 2015, section 3",
    measured=f"{training.evaluate(model, mnist['test'])} → {training.evaluate(half, mnist['test'])}; {test.verdict}",
    holds=test.verdict == "no significant difference",
    n=test.n,
)

# %% [markdown]
# ## 5 · Which layer can give, and which cannot?
#
# **Predict first.** Rank the three layers: which one hurts most when half of it goes?
#
# A **sensitivity scan** prunes one layer at a time and leaves the others whole.

# %%
scan_amounts = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99]
scan = pruning.sensitivity(model, on_validation, scan_amounts)
lines = {layer: list(zip(scan_amounts, row, strict=True)) for layer, row in scan.items()}
plots.show(
    plots.accuracy_curves(
        lines, xlabel="sparsity of this layer alone", reference=dense[0].validation
    ),
    alt="Accuracy against the sparsity of one layer alone, one line for each of fc1, fc2 and fc3",
)

# %% [markdown]
# Read it with the sizes in mind: `fc1` holds most of the weights, so what it can give decides the whole. The scan looks
# at each layer alone; errors of several pruned layers add up, and can do more than add up.
#
# ## 6 · One threshold for all, or one for each layer?
#
# **Global** pruning ranks all weights together. **Per-layer** pruning takes the same share from each. And is magnitude
# any better than chance? Two rules that look further stand beside it:
#
# | score | a weight matters when … | needs |
# |---|---|---|
# | magnitude | it is large | nothing |
# | Wanda (Sun et al. 2024) | it is large and its input is | some examples |
# | Taylor (Molchanov et al. 2019) | removing it would change the loss, to first order | examples, labels, gradients |
# | random | – | a coin |

# %%
calibration = data.subset(mnist["train"], 512)
wanda = pruning.wanda(model, calibration)
taylor = pruning.taylor(model, calibration)
chance = pruning.random_score()
curves = {
    "magnitude, global": one_shot,
    "magnitude, per layer": curve(lambda a: pruning.layer_masks(model, a)),
    "Wanda, global": curve(lambda a: pruning.global_masks(model, a, wanda)),
    "Taylor, global": curve(lambda a: pruning.global_masks(model, a, taylor)),
    "random, global": curve(lambda a: pruning.global_masks(model, a, chance)),
}
plots.show(
    plots.accuracy_curves(curves, reference=dense[0].validation),
    alt="Accuracy against sparsity for five ways to choose the weights; chance falls first",
)

# %%
at = amounts.index(0.8)
for name, points in curves.items():
    print(f"{name:22} at {amounts[at]:.0%}: {points[at][1]}")

# %% [markdown]
# What it means: any rule that looks at the weights beats the coin by far. Which rule is best depends on the network.
# Look at the intervals before you call a winner, and remember that all of this is *one-shot*: the network never
# got the chance to adapt. *Where this stops being true:* global pruning can empty a small layer completely. A network
# with an empty layer answers the same to everything.
#
# ## 7 · Let it recover: one-shot, iterative, gradual
#
# **Predict first.** At 97 % sparsity, 8,000 of 266,200 weights are left. Can training bring the accuracy back?
# Rank these, all from the same trained network and with the same number of epochs:
#
# - **one-shot**: prune once to 97 %, then train what is left;
# - **iterative**: prune a bit, train a bit, five times over (Han et al. 2015);
# - **gradual**: train, while sparsity follows a cubic curve up to 97 % (Zhu & Gupta 2017);
# - and the honest **control**: the dense network with as many extra epochs.

# %%
target = 0.97
recovery = {seed: training.Recipe(epochs=prune_epochs, seed=100 + seed) for seed in seeds}
rounds = [0.5, 0.75, 0.88, 0.94, target]
short = {s: training.Recipe(epochs=prune_epochs // 5, seed=100 + s) for s in seeds}


def over_seeds(make):
    networks = [make(seed, dense[seed].model) for seed in seeds]
    return networks[0], measure.Runs(tuple(training.evaluate(n, mnist["test"]) for n in networks))


ways = {
    "dense, more epochs": lambda s, m: training.fit(m, mnist, recovery[s]).model,
    "one-shot, no training": lambda s, m: pruning.prune(m, target),
    "one-shot": lambda s, m: training.fit(pruning.prune(m, target), mnist, recovery[s]).model,
    "iterative": lambda s, m: pruning.iterative_pruning(m, mnist, short[s], rounds).model,
    "gradual": lambda s, m: pruning.gradual_pruning(m, mnist, recovery[s], target).model,
}
networks, results = {}, {}
for name, make in ways.items():
    networks[name], results[name] = over_seeds(make)

# %%
trained = {name: runs for name, runs in results.items() if name != "one-shot, no training"}
plots.show(
    plots.comparison(trained, title=f"{100 * target:.0f} % sparse, {prune_epochs} epochs, test"),
    alt="Test accuracy of dense, one-shot, iterative and gradual pruning with intervals over the seeds",
)
for name, runs in results.items():
    print(f"{name:22} {runs}")

# %% [markdown]
# How does the mask survive the training? Not by itself. An optimiser with momentum or weight decay moves
# *every* weight, so the zeros would wake up. `course_lib` keeps the original weight and multiplies it with the mask each time
# it is used: what the optimiser does to a pruned weight never arrives.

# %% tags=["nbval-check-output"]
masked = pruning.prune(model, 0.9)
optimizer = torch.optim.SGD(masked.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
for _step in range(20):
    loss = torch.nn.functional.cross_entropy(masked(pictures), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(
    f"after 20 steps: {masking.sparsity(masked):.1%} zeros, {masking.sparsity(copy.deepcopy(masked)):.1%} in a copy"
)

# %% [markdown]
# ## 8 · How far can it go?
#
# Gradual pruning, for every target from the same trained networks. The grey band is the dense network that was trained for
# as many extra epochs. **Predict first:** at which sparsity does the curve leave the band?

# %%
targets = [0.9, 0.98, 0.99, 0.995] if full else [0.9, 0.99]
far = {target: results["gradual"]}
for amount in targets:
    _, far[amount] = over_seeds(
        lambda s, m, amount=amount: pruning.gradual_pruning(m, mnist, recovery[s], amount).model
    )
far = dict(sorted(far.items()))
sparse_net = networks["gradual"]
control = results["dense, more epochs"]
plots.show(
    plots.accuracy_curves({"gradual": list(far.items())}, reference=control),
    alt="Test accuracy of gradual pruning from 90 to 99.5 % sparsity, with intervals over the seeds",
)

# %%
for amount, runs in far.items():
    left = round((1 - amount) * 266_200)
    print(f"{amount:6.1%} sparse, {left:6,} weights left: {runs}; {measure.gap(runs, control)}")

# %%
at_97, at_99 = (measure.gap(far[amount], control) for amount in (0.97, 0.99))
claims.add(
    "Pruned gradually, LeNet-300-100 stays within 1 point of dense at 97 % sparsity",
    source="Han et al. 2015, table 1: 92 % of it pruned without loss",
    measured=f"{far[0.97]} against {control}: {at_97}",
    holds=at_97.points >= -1 and ("in part" if at_97.low < -1 else True),
    n=len(mnist["test"]),
)

# %%
claims.add(
    "… and within 5 points at 99 %",
    source="this course",
    measured=f"{far[0.99]} against {control}: {at_99}",
    holds=at_99.points >= -5 and ("in part" if at_99.low < -5 else True),
    n=len(mnist["test"]),
)

# %% [markdown]
# "In part" means: the mean is on the right side, but its interval over the seeds is not. More seeds would narrow it.
#
# Where does the network still look, when so few weights are left? Here is how many weights each pixel has kept:

# %%
plots.show(
    plots.inputs_used(sparse_net),
    alt="A 28 by 28 map: the weights that are left look at the middle, where the ink is; the border is dark",
)

# %% [markdown]
# Nobody told it that the border of these pictures is empty.
#
# Is it only this network? A small CNN, with batch norm, at 98 %:

# %%
cnn_epochs = (3, 5) if full else (1, 2)
digits = mnist if full else {name: data.subset(part, 100) for name, part in mnist.items()}
cnn_dense, cnn_control, cnn_sparse = [], [], []
for seed in seeds[:3]:  # a CNN takes ten times as long
    start = training.fit(
        models.build(models.SmallCNN, seed),
        digits,
        training.Recipe(epochs=cnn_epochs[0], seed=seed),
    ).model
    recipe = training.Recipe(epochs=cnn_epochs[1], seed=100 + seed)
    more = training.fit(start, digits, recipe).model
    sparse = pruning.gradual_pruning(start, digits, recipe, 0.98, end=0.5).model
    for runs, net in ((cnn_dense, start), (cnn_control, more), (cnn_sparse, sparse)):
        runs.append(training.evaluate(net, digits["test"]))
cnn = {
    "dense": measure.Runs(tuple(cnn_dense)),
    "dense, more epochs": measure.Runs(tuple(cnn_control)),
    "98 % sparse": measure.Runs(tuple(cnn_sparse)),
}
plots.show(
    plots.comparison(cnn, title="small CNN, test"),
    alt="Test accuracy of the CNN: dense, dense with more epochs, and 98 % sparse",
)

# %%
cnn_gap = measure.gap(cnn["98 % sparse"], cnn["dense, more epochs"])
claims.add(
    "Pruned gradually, the CNN stays within 1 point of dense at 98 % sparsity",
    source="this course",
    measured=f"{cnn['98 % sparse']} against {cnn['dense, more epochs']}: {cnn_gap}",
    holds=cnn_gap.points >= -1 and ("in part" if cnn_gap.low < -1 else True),
    n=len(mnist["test"]),
)

# %% [markdown]
# ## 9 · What zeros do *not* buy
#
# 97 % of the weights are gone. **Predict first:** how much faster is the network now? How much smaller is its file?

# %%
my_guess_faster, my_guess_smaller = 30, 30  # times

# %% [markdown]
# Five ways to run it: the dense network; a copy of it, for what differs between those two is noise; the one with zeros; the one
# whose mask is still attached; and a product with real **sparse matrices** (CSR: only the values that are not zero, with their places).

# %%
zeros = masking.make_permanent(sparse_net)
layers = [zeros.fc1, zeros.fc2, zeros.fc3]
matrices = [measure.csr(layer.weight) for layer in layers]


def csr(images):
    x = images.flatten(1).T  # [784, n]: the sparse matrix stands on the left
    for i, (matrix, layer) in enumerate(zip(matrices, layers, strict=True)):
        x = matrix @ x + layer.bias[:, None]
        x = x.relu() if i < 2 else x
    return x.T  # [n, 10]


runs = {
    "dense": model,
    "dense, a copy": copy.deepcopy(model),
    "97 % zeros": zeros,
    "97 %, mask attached": sparse_net,
    "97 %, sparse (CSR)": csr,
}
images = mnist["validation"].tensors[0]
difference = (csr(images) - zeros(images)).abs().max().item()
print(f"CSR gives the same answers: largest difference {difference:.0e}")

# %%
latencies = {n: measure.latency(runs, images[:n]) for n in (1, 500)}
for n, rows in latencies.items():
    plots.show(plots.latency_bars(rows), alt=f"Latency of the five variants at batch {n}")
    for name, row in rows.items():
        print(f"batch {n:3}  {name:20} {row}: {row.faster_than(rows['dense'])}")

# %% [markdown]
# The dense product multiplies every number, and does not ask whether it is zero. The sparse product does skip them, but it
# has to look up where each number belongs; a processor does dense blocks so well that only very high sparsity
# makes up for that. See what batch size does to it.


# %%
def against_dense(name):
    """What is said of it at each batch size. It counts only where both dense networks agree."""
    said = []
    for n, rows in latencies.items():
        words = [rows[name].faster_than(rows[it]) for it in ("dense", "dense, a copy")]
        agree = words[0].split()[-1] == words[1].split()[-1]  # "faster" or "slower"
        said.append(f"batch {n}: {words[0] if agree else 'no measurable difference'}")
    return "; ".join(said)


zero_speed, sparse_speed = against_dense("97 % zeros"), against_dense("97 %, sparse (CSR)")
print(f"You guessed {my_guess_faster} × faster.")
claims.add(
    "Zeros alone give no measurable speed-up",
    source="what users report: PyTorch's issues 32928 and 36214",
    measured=zero_speed,
    holds="faster" not in zero_speed,
)

# %%
# Faster by the medians, and measurably so.
faster = [
    rows["97 %, sparse (CSR)"].median < rows["dense"].median / 1.5 and said.endswith("faster")
    for rows, said in zip(latencies.values(), sparse_speed.split("; "), strict=True)
]
claims.add(
    "Unstructured sparse operations are hard to accelerate: even at 97 % they are not 1.5 × faster",
    source="Gale et al. 2020, section 1",
    measured=sparse_speed,
    holds=not any(faster) or (False if all(faster) else "in part"),
)

# %%
size = measure.footprint(zeros)
sizes = {
    "dense": measure.footprint(model).bytes,
    "97 % zeros": size.bytes,
    "97 %, sparse with indices": measure.sparse_bytes(zeros),
    "97 % zeros, zipped": size.zipped,
    "dense, zipped": measure.footprint(model).zipped,
}
plots.show(
    plots.size_bars(sizes, "the file"),
    alt="Bytes of the file: dense, with zeros, sparse with indices, and zipped",
)
for name, size in sizes.items():
    print(f"{sizes['dense'] / size:5.1f} × smaller: {name}")
print(f"You guessed {my_guess_smaller} × smaller.")

# %% [markdown]
# A sparse file pays for the *place* of each value too, so 97 % fewer weights is not 97 % fewer bytes. Zeros that
# nobody stores specially cost what any number costs. To be smaller *and* faster on every machine, a network must
# lose whole neurons, channels or heads, so that its matrices shrink. That is structured pruning, lesson 2.
#
# ## 10 · A pattern that some hardware can skip: 2:4
#
# NVIDIA's GPUs since Ampere have units that skip two of each four weights in a row (Mishra et al. 2021). It must be exactly
# that pattern. On a CPU like this one it buys nothing.

# %% tags=["nbval-check-output"]
pattern = pruning.n_m_masks(model, n=2, m=4, layers=["fc1", "fc2"])
groups = pattern["fc1"].view(-1, 4).sum(1)
print(f"weights left in each group of four: from {groups.min()} to {groups.max()}")

# %%
two_four = on_validation(masking.apply_masks(model, pattern))
plots.show(
    plots.mask_rows(pattern["fc1"][:8, 380:412], "2:4, a corner of fc1 (dark: kept)"),
    alt="Eight rows of 32 weights: in each group of four exactly two are dark",
)
print(f"2:4 without training: {two_four}; dense: {dense[0].validation}")

# %% [markdown]
# ## Recap
#
# - Trained networks hold more weights than they need; the surplus can be set to zero.
# - Magnitude is a good first score. One threshold for the whole network finds out by itself which layers can give.
# - Pruning *while training* reaches sparsities at which one-shot pruning breaks the network.
# - Zeros alone change neither the time nor the file. Sparse files need indices; sparse products need luck.
# - Compare with intervals, with the same epochs for all, and report the test part once.

# %%
claims

# %% [markdown]
# ## Quiz
#
# **1.** You prune 50 % with PyTorch, twice. How many weights are zero, and why?
# <details><summary>Answer</summary>75 %: the second half is taken of what was left. In this course an amount always counts
# from the original weights.</details>
#
# **2.** A colleague reports 98.1 % for the pruned network and 97.9 % for the dense one, on the same 1,000 pictures. Has
# pruning helped?
# <details><summary>Answer</summary>Two pictures in a thousand. The interval of each is about ± 1 point; a paired test on the
# pictures where they differ would almost surely say "no significant difference".</details>
#
# **3.** After an epoch with momentum your pruned network has no zeros left. What happened?
# <details><summary>Answer</summary>The optimiser moved the pruned weights: momentum and weight decay act on weights whose
# gradient is zero, too. Apply the mask at every use of the weight, not once.</details>
#
# **4.** Why did you not choose the best sparsity on the test part?
# <details><summary>Answer</summary>Because then the test part would have been part of the training, and the number that you
# report would be too good.</details>
#
# **5.** Your network is 90 % sparse and its file has the same size as before. What can you do?
# <details><summary>Answer</summary>Zip it, or store values and indices; or remove whole structures, so that the matrices
# themselves become smaller (lesson 2).</details>
#
# ## Try it yourself
#
# - Give `layer_masks` an amount for each layer, from your reading of the sensitivity scan. Do you beat the global threshold
#   at 90 %, on the validation part?
# - Write a score of your own (a function of layer name and weight) and add it to the figure of section 6.
# - Train LeNet from scratch with the mask of the 97 % network. Does it reach the same accuracy? (Frankle & Carbin 2019)
#
# ## References
#
# - Han, Pool, Tran & Dally 2015, *Learning both weights and connections for efficient neural networks*: section 3 (the
#   method), table 1 (LeNet-300-100: 12 × fewer weights).
# - Zhu & Gupta 2017, *To prune, or not to prune*: equation 1 (the cubic schedule).
# - Molchanov, Mallya, Tyree, Frosio & Kautz 2019, *Importance estimation for neural network pruning*: equation 8.
# - Sun, Liu, Bair & Kolter 2024, *A simple and effective pruning approach for large language models* (Wanda): section 3.
# - Zhang, Bengio, Hardt, Recht & Vinyals 2017, *Understanding deep learning requires rethinking generalization*: section 2.
# - Mishra et al. 2021, *Accelerating sparse deep neural networks*: section 3 (2:4).
# - Gale, Zaharia, Young & Elsen 2020, *Sparse GPU kernels for deep learning*: section 1.
# - Frankle & Carbin 2019, *The lottery ticket hypothesis*: section 2.
# - Wilson 1927, *Probable inference* (the interval); McNemar 1947 (the paired test); Dietterich 1998, section 3.1.
