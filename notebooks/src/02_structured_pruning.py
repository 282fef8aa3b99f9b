# %% [markdown]
# # Lesson 2 · Structured pruning: smaller and faster for good
#
# **You will be able to**
#
# - remove neurons, channels, attention heads, feed-forward units and layers, and prove that nothing else changed;
# - say which layers must be cut together, and why a batch norm can give you away;
# - choose what goes by importance, and ask for a speed-up instead of an amount;
# - tell when structured pruning wins, and when zeros do.
#
# **Time** about 60 minutes; the computer works about 10 of them on two cores (and some minutes more, once, to make the
# text teacher). **You need** lesson 1. Sections 6 to 9 use the fine-tuned MiniLM that lesson 3 introduces; all you need
# to know is that it tells positive from negative movie reviews.

# %% tags=["setup"]
# the first cell of every lesson

# %% tags=["parameters"]
profile = "full"

# %%
import copy
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from course_lib import (
    data,
    masking,
    measure,
    models,
    plots,
    pruning,
    structured,
    training,
    widgets,
    zoo,
)
from course_lib.claims import Claims
from course_lib.distillation import distill, distillation_loss
from course_lib.groups import groups
from course_lib.profile import chosen_profile
from course_lib.speed import speed_up
from course_lib.surgery import changes, masked, remove, remove_layers

# %%
full = chosen_profile(profile) == "full"
seeds = range(5) if full else range(2)
mnist = data.mnist()
images = mnist["validation"].tensors[0]
if not full:  # the quick profile, for tests: the same steps, on less data
    mnist = {name: data.subset(part, 320) for name, part in mnist.items()}
claims = Claims()

# %% [markdown]
# ## 1 · Why zeros did not help
#
# Lesson 1 set 97 % of a network's weights to zero and won no time. The processor multiplied them anyway. **Predict
# first:** you can have a layer of 1000 × 1000 weights with half of them zero, or one of 500 × 1000. How do their times compare
# with that of the whole layer?

# %%
my_guess_zeros, my_guess_half = 1.0, 1.0  # times faster

# %%
layer = nn.Linear(1000, 1000)
zeros = masking.make_permanent(pruning.prune(nn.Sequential(layer), 0.5))
half_layer = nn.Linear(1000, 500)
times = measure.latency(
    {"whole": layer, "half zeros": zeros, "half as many": half_layer}, torch.randn(64, 1000)
)
plots.show(
    plots.latency_bars(times),
    alt="Latency of a layer: whole, with half of it zero, and half as large",
)
for name, guess in (("half zeros", my_guess_zeros), ("half as many", my_guess_half)):
    print(f"{name}: {times[name].faster_than(times['whole'])} (your guess: {guess:g} ×)")

# %% [markdown]
# Half of the *rows* is half of the work, on any processor, without any special library. (It is half of the *time* only where the
# product is large enough to fill the processor.) So we remove whole units: neurons, channels,
# heads. That is **structured pruning**.
#
# ## 2 · A neuron goes: one row here, one column there
#
# LeNet-300-100 again. Neuron 7 of `fc1` is one row of `fc1.weight`, one number of `fc1.bias`, and one *column* of
# `fc2.weight`, which reads it. To remove neurons by hand takes five lines:

# %%
lenets = {
    seed: training.fit(
        models.build(models.LeNet300, seed), mnist, training.Recipe(15 if full else 3, seed=seed)
    ).model
    for seed in seeds
}
lenet = lenets[0]
stay = torch.arange(0, 300, 2)  # every other neuron of fc1
by_hand = copy.deepcopy(lenet)
by_hand.fc1.weight.data = lenet.fc1.weight.data[stay]
by_hand.fc1.bias.data = lenet.fc1.bias.data[stay]
by_hand.fc2.weight.data = lenet.fc2.weight.data[:, stay]
print(by_hand)

# %% [markdown]
# It runs. But look at what it prints: `out_features=300`. The tensors shrank, and the numbers beside them did not: whoever reads
# them later (an export, a summary, your next pruning) is told a lie. `remove` keeps the books as well:

# %% tags=["nbval-check-output"]
smaller = remove(lenet, {"fc1": stay})
print(smaller)
changes(lenet, smaller)

# %% [markdown]
# **Is the removed network the masked one?** This is the question to ask of every pruning tool. A masked network is as large as before,
# but nobody listens to the pruned neurons. Both must give the same answers:


# %%
def difference(model, keep, batch):
    """The largest difference between removing and masking, over all logits."""
    with torch.inference_mode():
        a, b = (
            training.logits_of(training.forward(m, batch))
            for m in (remove(model, keep), masked(model, keep))
        )
    return (a - b).abs().max().item()


neurons_differ = difference(lenet, {"fc1": stay}, [images])
print(f"largest difference: {neurons_differ:.1e}")

# %% [markdown]
# ## 3 · A channel goes, and its batch norm
#
# A convolution's channel is a filter. Behind it stands a batch norm, which scales each channel and **shifts** it by β.
#
# **Predict first.** You set a channel's filter to zero, as an unstructured pruner would. What comes out of the batch norm
# for this channel: nothing?

# %%
cnn = training.fit(models.build(models.SmallCNN), mnist, training.Recipe(5 if full else 1)).model
silent = copy.deepcopy(cnn)
with torch.no_grad():
    for part in (silent.conv1.weight, silent.conv1.bias):
        part[:16] = 0  # half of the channels
    answer = torch.relu(silent.bn1(silent.conv1(images[:1])))[0, :16]  # [16, 28, 28]
leaks = answer.amax((1, 2))
print(
    f"{int((leaks > 0).sum())} of 16 silenced channels still speak; the loudest says {leaks.max():.2f}"
)

# %%
keep_channels = {"conv1": range(16, 32)}
with torch.inference_mode():
    trap = (silent(images) - remove(cnn, keep_channels)(images)).abs().max().item()
channels_differ = difference(cnn, keep_channels, [images])
print(f"filters set to zero, against removed: logits differ by up to {trap:.2f}")
print(f"what reads them set to zero, against removed: {channels_differ:.1e}")

# %% [markdown]
# A zero goes into the batch norm, and out comes the constant β − γ · mean / √(variance + ε). The next layer hears it, unless ReLU cuts it
# off because it is negative: those are the channels that do not speak. A tool that silences filters, measures the accuracy, and then removes the channels has measured another
# network than the one it ships. So `masked` puts the zeros where the channel is *read*, behind its batch norm.

# %%
claims.add(
    "A channel whose filter is zero is not gone: batch norm's constant leaks through",
    source="users' reports, such as the comments on issue 2130 of NNI",
    measured=f"logits differ by up to {trap:.2f}; with the zeros where it is read by {channels_differ:.0e}",
    holds=trap > 1e-3,
    n=len(images),
)

# %% [markdown]
# ## 4 · Shortcuts couple channels
#
# A residual network *adds* the outputs of layers. Channel 5 of one output is added to channel 5 of the other. Remove it
# in one place only, and the sum has no meaning. So all layers whose answers are added up can only be cut together.
#
# Below is a small residual network: a stem (the first convolution), a basic block (two 3 × 3 convolutions, then the sum) and a bottleneck
# (1 × 1, 3 × 3, 1 × 1, then the sum) with a shortcut of its own. **Predict first:** which layers must
# go in step with `stem`?

# %%
resnet = models.build(models.SmallResNet)
plots.show(
    plots.coupling(resnet),
    alt="A chart of layers against groups of channels: stem and basic2 compute the same group; expand and shortcut another",
)

# %% [markdown]
# Each row is one **group**: filled squares compute its channels, rings read them. The first row holds two squares, because
# `basic2` is added to the stem's answer. So does the last one, where `expand` meets `shortcut`. `groups` finds this by following the
# channels through the network's graph; what it cannot follow it refuses, and says where.

# %%
generator = torch.Generator().manual_seed(0)
halves = {
    name: torch.randperm(group.units, generator=generator)[: group.units // 2]
    for name, group in groups(resnet).items()
}
residual_differ = difference(resnet, halves, [images])
print(f"half of every group removed, against masked: {residual_differ:.1e}")
changes(resnet, remove(resnet, halves))

# %% [markdown]
# One line stands for each group, with the first layer that computes it. `basic2` and `shortcut` went along.
#
# ## 5 · The amount slider
#
# Now we make the trained CNN smaller, by more and more. Two things to know:
#
# - An **amount** is a fraction of the *original parameters*. Removing half of the channels on both sides of a layer removes three quarters
#   of its weights, so a "50 % channel ratio" would say little.
# - **Which** units go? The ones with the lowest importance. Here it is first-order **Taylor**: put a gate of 1 on each unit, and ask how
#   much the loss would change if the gate were closed (Michel et al. 2019). It takes one backward pass over some hundred
#   examples.
#
# **Predict first.** With 80 % of its parameters gone, how much accuracy is left as it is cut? And after three epochs of training?

# %%
few = data.subset(mnist["train"], 512 if full else 64)
digit_score = structured.taylor(cnn, few)
amounts = [0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95] if full else [0.0, 0.5, 0.9]
cut = {a: structured.prune(cnn, a, score=digit_score) for a in amounts}
recipe = training.Recipe(3 if full else 1, seed=1)
trained = {a: training.fit(m, mnist, recipe).model for a, m in cut.items()}
rounds = 30 if full else 4
speeds = measure.latency({str(a): m for a, m in cut.items()}, images[:64], rounds)

# %%
whole = {name: group.units for name, group in groups(cnn).items()}
variants = {}
for a, m in cut.items():
    size = measure.footprint(m, images[:1])
    before, after = (training.evaluate(each, mnist["validation"]) for each in (m, trained[a]))
    now = {name: (group.units, whole[name]) for name, group in groups(m).items()}
    variants[a] = widgets.Smaller(
        now, size.parameters, size.operations, speeds[str(a)], before, after
    )
widgets.amount_explorer(variants)

# %% [markdown]
# Move it and look:
#
# 1. Which layer gives first? It holds most of the parameters; does it also do most of the operations?
# 2. Parameters, operations and latency do not shrink in step. Which of the three falls last?
# 3. Where does "as cut" break down, and where "trained"?
#
# The same as curves, for a page without a running kernel:

# %%
curves = {
    "as cut": [(a, v.before) for a, v in variants.items()],
    "after three epochs": [(a, v.after) for a, v in variants.items()],
}
plots.show(
    plots.accuracy_curves(curves, "amount of parameters removed", reference=variants[0.0].after),
    alt="Validation accuracy against the amount of parameters removed, as cut and after three epochs of training",
)
for a, v in variants.items():
    widths = ", ".join(f"{name} {now} of {units}" for name, (now, units) in v.widths.items())
    print(
        f"{a:4.0%}: {v.parameters:7,} parameters, {v.operations:9,} operations, {v.latency}; {widths}"
    )

# %% [markdown]
# Papers often report operations. Are they a good stand-in for time? We take the widths at which the CNN needs about half of
# its operations, and measure.

# %%
operations = variants[0.0].operations


def half_operations(share):
    """Every group of the CNN narrowed by a share, units in multiples of 8, and its operations."""
    smaller = remove(cnn, structured.choose(cnn, share, digit_score, round_to=8, per_group=True))
    return smaller, measure.operations(smaller, images[:1])


options = [half_operations(share / 20) for share in range(1, 16)]
halved, left = min(options, key=lambda option: abs(option[1] - operations / 2))
speed = {}
for n in (1, 64):
    rows = measure.latency({"whole": cnn, "half": halved}, images[:n], rounds=40 if full else 4)
    speed[f"CNN, batch {n}"] = rows["whole"].median / rows["half"].median
    print(
        f"batch {n:2}: {left / operations:.0%} of the operations, {rows['half'].faster_than(rows['whole'])}"
    )

# %% [markdown]
# Compare the two. Where time shrinks less than operations, one reason may be what operations leave out: batch norm, ReLU and pooling
# move a lot of data through memory, and shrink only with the channels. A transformer, whose time goes into large products, may do better: you will see
# below.

# %% [markdown]
# ## 6 · Attention heads: which of MiniLM's 72 matter?
#
# MiniLM has 6 layers with 12 attention heads each. A **head** is one of several small attentions that run side by side; the output matrix
# joins their answers. A head owns some rows of the query, key and value matrices, and some columns of the output
# matrix. Since `transformers` 5 the library itself can no longer remove heads. `remove` can, for six families of models.

# %%
teacher = zoo.teacher() if full else zoo.teacher(160, replace(zoo.TEACHER, lr=3e-4))
reviews = zoo.reviews_tokenized(None if full else 16)
calibration = reviews["train"].select(range(400 if full else 16))
score = structured.taylor(teacher, calibration)
found = groups(teacher)
heads = [name for name, group in found.items() if group.kind == "heads"]
ffn = [name for name, group in found.items() if group.kind == "feed-forward units"]

# %%
importance = torch.stack([score(teacher, found[name]) for name in heads])  # [layers, heads]
plots.show(
    plots.unit_map(importance, "layer", "head", "importance (Taylor)"),
    alt="A map of 6 layers by 12 heads, coloured by importance",
)
order = importance.flatten().argsort(descending=True)
share = importance.flatten()[order].cumsum(0) / importance.sum()
print(f"The {int((share < 0.5).sum()) + 1} most important of 72 heads hold half of all importance.")

# %% [markdown]
# If all heads were equally important, 36 of them would hold half. By default `choose` lets all layers compete, by score for each
# parameter that goes; with `per_group=True` each layer gives the same share.
#
# **Predict first.** We remove half of the heads, without any training afterwards. Three ways to choose them: by Taylor's importance, by
# the size of their weights, by chance. Order the three.


# %%
def on_validation(model):
    return training.evaluate(model, reviews["validation"])


def take(share, score, names):
    return remove(teacher, structured.choose(teacher, share, score, names))


scores = {
    "Taylor": score,
    "weight size": structured.weight_norm,
    "chance": structured.random_importance(),
}
dense = on_validation(teacher)
fewer_heads = {name: on_validation(take(0.5, s, heads)) for name, s in scores.items()}
plots.show(
    plots.comparison(
        {"all heads": dense} | {f"half, {n}": a for n, a in fewer_heads.items()}, "validation"
    ),
    alt="Validation accuracy with all heads, and with half of them chosen by Taylor, weight size or chance",
)

# %% [markdown]
# ## 7 · Feed-forward units
#
# Each layer also has 1,536 feed-forward units: neurons, as in LeNet. They hold two thirds of a layer's weights.

# %%
shares = [0.25, 0.5, 0.75] if full else [0.5]
some = reviews["validation"].select(range(400 if full else 16))  # half of it: quicker
fewer_units = {
    name: [(x, training.evaluate(take(x, s, ffn), some)) for x in shares]
    for name, s in scores.items()
}
all_units = training.evaluate(teacher, some)
plots.show(
    plots.accuracy_curves(
        {name: [(0.0, all_units), *points] for name, points in fewer_units.items()},
        "share of the feed-forward units removed",
    ),
    alt="Validation accuracy against the share of feed-forward units removed, for Taylor, weight size and chance",
)

# %% [markdown]
# Half of the heads *and* half of the units in every layer: that is half of MiniLM's operations. How much time is it?

# %%
tokens = torch.full((1, 32), 2000)
example = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}  # batch 1, 32 tokens
half = remove(
    teacher,
    structured.choose(teacher, 0.5, score, heads, per_group=True)
    | structured.choose(teacher, 0.5, score, ffn, per_group=True),
)
share_left = measure.operations(half, example) / measure.operations(teacher, example)
for n in (1, 8):
    batch = {name: tensor.expand(n, -1) for name, tensor in example.items()}
    rows = measure.latency({"whole": teacher, "half": half}, batch, rounds=15 if full else 4)
    speed[f"MiniLM, batch {n}"] = rows["whole"].median / rows["half"].median
    print(
        f"batch {n}: {share_left:.0%} of the operations, {rows['half'].faster_than(rows['whole'])}"
    )

# %%
claims.add(
    "Half of the operations gives at least 1.5 × the speed on this processor",
    source="this course",
    measured=", ".join(f"{name}: {ratio:.2f} ×" for name, ratio in speed.items()),
    holds=min(speed.values()) >= 1.5 or ("in part" if max(speed.values()) >= 1.5 else False),
)

# %% [markdown]
# Everything so far was validation. Now the test part, once, at one half, with the paired test:

# %%
right = training.correct(teacher, reviews["test"])
halved = {
    (kind, name): training.correct(take(0.5, s, names), reviews["test"])
    for kind, names in (("heads", heads), ("feed-forward units", ffn))
    for name, s in scores.items()
    if (kind, name) != ("heads", "Taylor")  # nothing below is said of it
}
accuracy = {key: measure.Accuracy(int(r.sum()), len(r)) for key, r in halved.items()}
tests = {key: measure.paired_test(right, r) for key, r in halved.items()}
teacher_accuracy = measure.Accuracy(int(right.sum()), len(right))
print(f"teacher: {teacher_accuracy}")
for (kind, name), test in tests.items():
    print(
        f"half of the {kind}, {name:11}: {accuracy[kind, name]}; teacher: {test.verdict}, p = {test.p_value:.3g}"
    )

# %%
kind = "feed-forward units"
no_loss = {name: tests[kind, name].verdict == "no significant difference" for name in scores}
claims.add(
    "Half of MiniLM's feed-forward units can go at once with no significant loss if Taylor chooses them, and not if weight size or chance does",
    source="this course, after Michel et al. 2019",
    measured=f"{teacher_accuracy} → "
    + ", ".join(
        f"{name} {accuracy[kind, name]} (p = {tests[kind, name].p_value:.3g})" for name in scores
    ),
    holds=no_loss == {"Taylor": True, "weight size": False, "chance": False}
    or (
        "in part"
        if accuracy[kind, "Taylor"].value > max(accuracy[kind, n].value for n in list(scores)[1:])
        else False
    ),
    n=len(right),
)

# %%
draws = [
    training.correct(take(0.5, structured.random_importance(seed), heads), reviews["test"])
    for seed in range(1, 3 if full else 2)
]
draws.append(halved["heads", "chance"])
worse = [measure.paired_test(draw, halved["heads", "weight size"]) for draw in draws]
by_chance = measure.Runs(tuple(measure.Accuracy(int(r.sum()), len(r)) for r in draws))
claims.add(
    "For heads, weight size is a worse guide than chance",
    source="this course",
    measured=f"half of the heads: weight size {accuracy['heads', 'weight size']}, chance {by_chance}; "
    f"significantly below {sum(t.verdict == 'the first is better' for t in worse)} of {len(worse)} draws",
    holds=all(t.verdict == "the first is better" for t in worse)
    or ("in part" if by_chance.value > accuracy["heads", "weight size"].value else False),
    n=len(right),
)

# %% [markdown]
# (A p just beside 0.05 is no border between "loss" and "no loss". Look at the size of the difference, too.)
#
# Where weight size is a poor guide, one possible reason is this: a head with large weights can say the same thing for every sentence,
# and then the next layer has learned to ignore it. Taylor's importance looks at what a unit does to the *loss*, on real sentences. *Where this stops being true:* it is a
# first-order estimate for one unit at a time. Two heads that do the same job look dispensable, each by itself.
#
# ## 8 · Whole layers
#
# **Predict first.** Three of the six layers go. Better every other one, the first three, or the last three?

# %%
choices = {
    "every other (0, 2, 4)": [0, 2, 4],
    "the first three stay": [0, 1, 2],
    "the last three stay": [3, 4, 5],
}
if full:
    choices["five of six"] = [0, 1, 2, 3, 5]
shorter = {name: on_validation(remove_layers(teacher, kept)) for name, kept in choices.items()}
plots.show(
    plots.comparison({"all six layers": dense} | shorter, "validation, as cut"),
    alt="Validation accuracy with all six layers and with three or five of them",
)

# %% [markdown]
# Compare with your guess. (The last bar drops layer 4 alone.) Accuracy *as cut* says which layers this model can do without now. It does
# not say which student learns best: DistilBERT took every other layer, and trained it for long. Lesson 4 does so too.
#
# ## 9 · "Give me 2 ×"
#
# You seldom want "40 % fewer parameters". You want an answer in half the time. `speed_up` measures what each width of each kind of group costs *on this
# machine*, and picks the widths that reach the target with the least estimated damage. Then it measures the result.

# %%
target = 2.0 if full else 1.2
among = None if full else ffn  # None: heads and feed-forward units, all of them
faster = speed_up(teacher, example, target, score=score, names=among, tries=4 if full else 1)
print(f"{faster}\nas cut: {on_validation(faster.model)}")
faster.changes

# %% [markdown]
# `384 → 64` in a line of heads means 2 of 12: a head has 32 numbers. Which layers gave most of their units, and which kind of group pays
# best here, heads or feed-forward units? Twice as fast has its price: compare the accuracy as cut with the teacher's. Section 10 shows how training repairs
# such a cut. And does the speed-up hold at another batch size?

# %%
many = 32 if full else 4
batch = {name: tensor.expand(many, -1) for name, tensor in example.items()}
both = {"teacher": teacher, "smaller": faster.model}
latencies = {
    1: {"teacher": faster.before, "smaller": faster.after},
    many: measure.latency(both, batch, rounds=8 if full else 4),
}
spoken = {n: f"{row['smaller'].faster_than(row['teacher'])}" for n, row in latencies.items()}
for n, row in latencies.items():
    plots.show(
        plots.latency_bars(row), alt=f"Latency of the teacher and of the smaller model at batch {n}"
    )
claims.add(
    "Structured pruning is a real speed-up, on any hardware",
    source="a common statement",
    measured=", ".join(f"batch {n}: {text}" for n, text in spoken.items())
    + f"; asked for {target:g} ×, got {faster.achieved:.2f} ×; one processor only",
    holds="in part" if all("faster" in text for text in spoken.values()) else False,
)

# %% [markdown]
# It can hold "in part" at most, because it was measured on one kind of processor: yours. No special kernel was needed, and a smaller
# dense product is less work anywhere. But how *much* faster it is depends on the machine: a GPU that was not busy before gains little.
#
# ## 10 · Recovery: let it learn again
#
# Half of the heads and two thirds of the feed-forward units go, chosen by Taylor. Then one epoch of training, in one of two ways: **fine-tuning** on
# the labels, or **distillation**, in which the pruned model learns to say what the whole one says. In the code, `alpha=0` listens to the labels alone and `alpha=1` to the whole model alone; lesson
# 3 explains this loss. The embeddings stay as they are, to save time.
# **Predict first:** how much comes back, and which of the two is better?

# %%
keep_text = structured.choose(teacher, 0.5, score, heads)
keep_text |= structured.choose(teacher, 2 / 3, score, ffn)
pruned = remove(teacher, keep_text)
told = zoo.cached_logits(teacher, reviews["train"])
labelled = {name: reviews[name] for name in ("train", "validation")}
recovery = replace(zoo.TEACHER, epochs=1, lr=2e-4)


def recover(seed, alpha, n=None, batch_size=32):
    """The pruned model after one epoch over the first n training sentences (default: all)."""
    student = copy.deepcopy(pruned)
    student.base_model.embeddings.requires_grad_(False)
    loss = partial(distillation_loss, T=2.0, alpha=alpha)
    parts = labelled | {"train": labelled["train"].select(range(n or len(told)))}
    recipe = replace(recovery, seed=seed, batch_size=batch_size)
    return distill(student, told[:n], parts, recipe, loss=loss).model


recovered = recover(0, alpha=1.0, n=len(told) // 3, batch_size=16)  # 16: half of the memory
print(f"as cut {on_validation(pruned)}\nafter a third of an epoch {on_validation(recovered)}")
changes(teacher, pruned)

# %% [markdown]
# Look at the last layer: how many of its feed-forward units did Taylor leave?
#
# You have just seen a third of an epoch, in one run, which says little. The table below holds three seeds of each way after a whole epoch, measured
# on the test part. It takes some minutes, so it was made once
# (`make notebooks` makes it anew when anything it depends on changes) and is stored beside the notebook, with its seeds.


# %%
def three_seeds():
    """For each way and seed, which test sentences are answered rightly, as a line of 0 and 1."""
    ways = {"fine-tuning": 0.0, "distillation": 1.0}
    runs = range(3 if full else 2)
    return {
        way: [
            "".join(str(int(r)) for r in training.correct(recover(s, alpha), reviews["test"]))
            for s in runs
        ]
        for way, alpha in ways.items()
    }


# %%
made_from = {
    "seeds": list(range(3 if full else 2)),
    "pruned": "half of the heads, two thirds of the feed-forward units, Taylor",
    "recipe": training.settings(recovery),
    "train": zoo.fingerprint(reviews["train"]),
}
stored = zoo.stored("02_recovery", made_from, three_seeds)
rows = {  # [seeds, n]
    way: torch.tensor([[letter == "1" for letter in line] for line in lines])
    for way, lines in stored.items()
}
back = {
    way: measure.Runs(tuple(measure.Accuracy(int(r.sum()), len(r)) for r in rights))
    for way, rights in rows.items()
}

# %%
as_cut = training.evaluate(pruned, reviews["test"])
plots.show(
    plots.comparison({"teacher": teacher_accuracy, "as cut": as_cut} | back, "test"),
    alt="Test accuracy of the teacher, of the pruned model as cut, and after fine-tuning or distillation",
)
versus = measure.paired_test_over_seeds(right.expand_as(rows["distillation"]), rows["distillation"])
ways = measure.paired_test_over_seeds(rows["distillation"], rows["fine-tuning"])
print(f"teacher against distilled: {versus}\ndistilled against fine-tuned: {ways}")

# %%
lost = teacher_accuracy.value - as_cut.value or float("nan")  # of nothing lost there is no share
regained = {way: (runs.value - as_cut.value) / lost for way, runs in back.items()}
print(
    *(f"{way} regains {share:.0%} of what the cut lost" for way, share in regained.items()),
    sep="\n",
)
claims.add(
    "Half of the heads and two thirds of the feed-forward units go, and one epoch of distillation brings the accuracy back",
    source="this course",
    measured=f"{teacher_accuracy} → as cut {as_cut} → {back['distillation']}, {100 * regained['distillation']:.0f} % of the loss regained; teacher against it: {versus}",
    holds=regained["distillation"] >= 0.9
    or ("in part" if regained["distillation"] >= 0.5 else False),
    n=len(right),
)

# %% [markdown]
# In `paired_test_over_seeds` each sentence counts with its share of right seeds; lesson 3 explains it. Where its verdict is "no significant
# difference", this experiment cannot tell the two apart. That does not prove that nothing is lost: look at the interval. And with so many labels, a teacher
# may have little to add to them.

# %% [markdown]
# ## 11 · Structured or unstructured: what do you pay for?
#
# LeNet again, five seeds. Gradual pruning sets single weights to zero (lesson 1); structured pruning removes neurons. Both train for
# as many epochs. **Predict first:** which is more accurate with a tenth of the parameters? And which in half of the *time*?

# %%
epochs = 10 if full else 2
more = {s: training.Recipe(epochs, seed=100 + s) for s in seeds}
left_over = [0.3, 0.1, 0.05] if full else [0.1]


def fewer_neurons(seed, left):
    """Neurons removed in one go, by Taylor's importance, then trained."""
    start = lenets[seed]
    smaller = structured.prune(start, 1 - left, score=structured.taylor(start, few))
    return training.fit(smaller, mnist, more[seed]).model


def fewer_weights(seed, left):
    """The same number of parameters set to zero, while training."""
    return pruning.gradual_pruning(lenets[seed], mnist, more[seed], 1 - left).model


# %%
def over_seeds(make, left):
    """The networks of all seeds, and their accuracy on validation (to choose) and test (to report)."""
    networks = [make(seed, left) for seed in seeds]
    parts = ("validation", "test")
    scores = {
        p: measure.Runs(tuple(training.evaluate(m, mnist[p]) for m in networks)) for p in parts
    }
    return networks[0], scores


fine = {left: over_seeds(fewer_weights, left) for left in left_over}
coarse = {left: over_seeds(fewer_neurons, left) for left in left_over}
_, whole_runs = over_seeds(lambda s, _: training.fit(lenets[s], mnist, more[s]).model, 1.0)

# %%
plots.show(
    plots.accuracy_curves(
        {
            "single weights": [(left, runs["test"]) for left, (_, runs) in fine.items()],
            "whole neurons": [(left, runs["test"]) for left, (_, runs) in coarse.items()],
        },
        "parameters left",
        reference=whole_runs["test"],
    ),
    alt="Test accuracy against the parameters left, for single weights and for whole neurons, with intervals over the seeds; the whole network with as many epochs as a band",
)
gaps = {left: measure.gap(fine[left][1]["test"], coarse[left][1]["test"]) for left in left_over}
for left, g in gaps.items():
    weights, neurons = fine[left][1]["test"], coarse[left][1]["test"]
    print(f"{left:4.0%} of the parameters left: weights {weights}, neurons {neurons}: {g}")

# %%
clear = [g.low > 0 for g in gaps.values()]
claims.add(
    "Coarser granularity costs more accuracy per removed parameter",
    source="Mao et al. 2017, section 4",
    measured="weights above neurons: "
    + "; ".join(f"{100 * left:.0f} % left {g}" for left, g in gaps.items()),
    holds=all(clear) or ("in part" if any(clear) else False),
    n=len(mnist["test"]),
)

# %% [markdown]
# Where the interval above lies over zero, single weights are more accurate at the same number of parameters: they can be kept wherever they
# matter. Part of it may be the schedule, for the weights were pruned gradually and the neurons at once. Now count what the machine does, and what the disk
# holds. (Can a sparse product save time? Lesson 1 measured that.)

# %%
networks = {"whole": lenet}
runs = {}
for left in left_over:
    for kind, (network, scores) in (("weights", fine[left]), ("neurons", coarse[left])):
        networks[f"{kind}, {100 * left:.0f} % left"] = masking.make_permanent(network)
        runs[f"{kind}, {100 * left:.0f} % left"] = scores
counts = {name: measure.operations(m, images[:1]) for name, m in networks.items()}
sizes = {name: measure.sparse_bytes(m) for name, m in networks.items()}
times = {n: measure.latency(networks, images[:n]) for n in (1, 500)}
plots.show(
    plots.latency_bars(times[500]),
    alt="Latency of LeNet whole, with zeros, and with fewer neurons, at batch 500",
)

# %%
for name in list(networks)[1:]:
    line = "; ".join(
        f"batch {n} {rows[name].faster_than(rows['whole'])}" for n, rows in times.items()
    )
    print(
        f"{name:18} {counts[name]:8,} operations, {sizes[name]:9,} bytes (sparse where smaller), {line}"
    )

# %% [markdown]
# Four budgets: a tenth of the whole network's parameters, file or operations, or half of its time. Among the networks that keep to the budget, the
# validation part chooses the most accurate; its test accuracy is printed. Who *can* keep to each budget?

# %%
nonzero = {n: sum(int(p.count_nonzero()) for p in m.parameters()) for n, m in networks.items()}
budgets = {
    "a tenth of the parameters": (nonzero, 0.105),
    "a tenth of the file": (sizes, 0.105),
    "a tenth of the operations": (counts, 0.105),
    "half of the time, batch 500": ({n: row.median for n, row in times[500].items()}, 0.5),
}
winners = {}
for what, (cost, budget) in budgets.items():
    able = [name for name in runs if cost[name] <= budget * cost["whole"]]
    winners[what] = max(able, key=lambda name: runs[name]["validation"].value, default="none")
    print(f"{what:28} → {winners[what]}" + (f": {runs[winners[what]]['test']}" if able else ""))

# %%
kinds = {winner.split(",")[0] for winner in winners.values()}
claims.add(
    "Whether structured or unstructured pruning wins depends on what you pay for",
    source="this course",
    measured="; ".join(f"{what}: {winner}" for what, winner in winners.items()),
    holds=kinds == {"weights", "neurons"},
    n=len(mnist["test"]),
)

# %% [markdown]
# A network full of zeros cannot keep the last two budgets at all: it does every operation of the whole one.
# So the question "which pruning is better?" has no answer before you say what you pay for.
#
# ## Recap
#
# - To remove a unit: cut what computes it, its batch norm, and what reads it; shortcuts couple layers.
# - Ask of every tool: does the removed model equal the masked one? Does it reload?
# - Importance by Taylor needs one backward pass. Compare it with weight size and with chance, on your own model.
# - Operations are not time. Ask for a latency, and measure it.
# - Train again afterwards, and measure whether a teacher adds anything to the labels.

# %%
teacher_differ = difference(teacher, keep_text, {k: v[:1] for k, v in example.items()})
claims.add(
    "Removed equals masked: neurons, channels, residual groups, heads and feed-forward units",
    source="this course",
    measured=f"largest difference {max(neurons_differ, channels_differ, residual_differ, teacher_differ):.1e}",
    holds=max(neurons_differ, channels_differ, residual_differ, teacher_differ) <= 1e-5,
    must=True,
)

# %%
claims

# %% [markdown]
# ## Take it with you
#
# A pruned transformer that cannot be loaded again is worth little. `save_compressed` writes what `save_pretrained` writes, with the widths in a
# JSON beside it; `load_compressed` reads it back. No pickle, and no code is run.

# %%
import tempfile

from course_lib.compressed import load_compressed, save_compressed

with tempfile.TemporaryDirectory() as folder:
    again = load_compressed(save_compressed(recovered, f"{folder}/smaller"))
print(f"before saving: {on_validation(recovered)}\nloaded again:  {on_validation(again)}")

# %% [markdown]
# ## Quiz
#
# **1.** You remove half of the channels of every layer of a network. Roughly how many of its weights are left?
# <details><summary>Answer</summary>A quarter: each weight lies between an input and an output channel, and both are halved. Only the
# first and the last layer keep half.</details>
#
# **2.** A tool reports no loss of accuracy after "pruning" channels, but the exported model is worse. What may have happened?
# <details><summary>Answer</summary>It measured a network whose filters are zero, and batch norm's constant still leaked through. The exported
# one has lost those constants. Compare removed and masked outputs.</details>
#
# **3.** `conv2` is added to the output of `conv1`. You may remove channel 3 of `conv1` if …
# <details><summary>Answer</summary>… channel 3 of `conv2` goes as well, and everything that reads the sum loses its input 3.</details>
#
# **4.** Your model needs half of the operations, and is 1.1 × faster at batch 1. Why?
# <details><summary>Answer</summary>At batch 1 a small layer is limited by fixed costs: calls, memory, threads. Measure at the batch size that you
# will use, and ask for a latency instead of operations.</details>
#
# **5.** You need the smallest download at an accuracy that you must keep, and time does not matter. Which kind of pruning?
# <details><summary>Answer</summary>Often single weights, stored sparse or zipped. But each of them costs its place too: at the *same* number of
# parameters the file of the neurons is smaller. Compare files of equal accuracy. (Lesson 5 adds int8.)</details>
#
# ## Try it yourself
#
# - Ask `speed_up` for 3 × at batch 32. Which kind of group does it take from now? Is it another choice than at batch 1?
# - Use `structured.ablation` to remove each head of the last layer by itself. Does the order agree with Taylor's?
# - Cut the vocabulary: `from course_lib import encoders, vocabulary`, then `vocabulary.prune_vocabulary(teacher,
#   encoders.load_tokenizer(), encoders.tokens_seen(reviews["train"]))`. How many parameters go?
#
# ## References
#
# - Li, Kadav, Durdanovic, Samet & Graf 2017, *Pruning filters for efficient ConvNets*: section 3.1 (the norm of a filter), figure 1.
# - Michel, Levy & Neubig 2019, *Are sixteen heads really better than one?*: equation 2 (the gate's gradient), section 4.3 (speed).
# - Molchanov et al. 2019, *Importance estimation for neural network pruning*: section 3.
# - He, Zhang, Ren & Sun 2016, *Deep residual learning*: figure 5 (the two blocks).
# - Fang et al. 2023, *DepGraph: towards any structural pruning*: section 3 (groups that must be cut together).
# - Mao et al. 2017, *Exploring the granularity of sparsity in convolutional neural networks*: section 4.
# - Shen et al. 2022, *Structural pruning via latency-saliency knapsack*: section 3 (widths for a latency).
