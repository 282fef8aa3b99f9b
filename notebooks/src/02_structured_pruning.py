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
# **Time** about 60 minutes; the computer works about 6 of them on two cores (and some minutes more, once, to make the
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

full = chosen_profile(profile) == "full"
seeds = range(5) if full else range(2)
mnist = data.mnist()
if not full:  # the quick profile, for tests: the same steps, on less data
    mnist["train"] = data.subset(mnist["train"], 640)
images = mnist["validation"].tensors[0]
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
half = nn.Linear(1000, 500)
times = measure.latency(
    {"whole": layer, "half zeros": zeros, "half as many": half}, torch.randn(64, 1000)
)
plots.show(
    plots.latency_bars(times),
    alt="Latency of a layer: whole, with half of it zero, and half as large",
)
for name in ("half zeros", "half as many"):
    print(f"{name}: {times[name].faster_than(times['whole'])}")

# %% [markdown]
# Half of the *rows* is half of the work, on any processor, without any special library. So we remove whole units: neurons, channels,
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

# %%
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
keep = {"conv1": range(16, 32)}
with torch.inference_mode():
    trap = (silent(images) - remove(cnn, keep)(images)).abs().max().item()
channels_differ = difference(cnn, keep, [images])
print(f"filters set to zero, against removed: logits differ by up to {trap:.2f}")
print(f"what reads them set to zero, against removed: {channels_differ:.1e}")

# %% [markdown]
# A zero goes into the batch norm, which subtracts its running mean and adds β: what comes out is a constant, and the next layer
# hears it. A tool that silences filters, measures the accuracy, and then removes the channels has measured another
# network than the one it ships. So `masked` puts the zeros where the channel is *read*, behind its batch norm.

# %%
claims.add(
    "A channel whose filter is zero is not gone: batch norm's shift leaks through",
    source="users' reports, such as issue 2130 of NNI",
    measured=f"logits differ by up to {trap:.2f}; with the zeros where it is read by {channels_differ:.0e}",
    holds=trap > 1e-3,
    n=len(images),
)

# %% [markdown]
# ## 4 · Shortcuts couple channels
#
# A residual network *adds* the outputs of layers. Channel 5 of one summand meets channel 5 of the other. Remove it
# in one place only, and the sum has no meaning. So all layers whose answers are added up can only be cut together.
#
# Below is a small residual network: a stem, a basic block, a bottleneck with a shortcut of its own. **Predict first:** which layers must
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
few = data.subset(mnist["train"], 512)
digit_score = structured.taylor(cnn, few)
amounts = [0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95] if full else [0.0, 0.5, 0.9]
cut = {a: structured.prune(cnn, a, score=digit_score) for a in amounts}
recipe = training.Recipe(3 if full else 1, seed=1)
trained = {a: training.fit(m, mnist, recipe).model for a, m in cut.items()}
speeds = measure.latency({str(a): m for a, m in cut.items()}, images[:64])

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
    plots.accuracy_curves(curves, "amount of parameters removed", reference=variants[0.0].before),
    alt="Validation accuracy against the amount removed: as cut it falls, after training it stays up much longer",
)
for a, v in variants.items():
    print(f"{a:4.0%}: {v.parameters:7,} parameters, {v.operations:9,} operations, {v.latency}")

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
    rows = measure.latency({"whole": cnn, "half": halved}, images[:n], rounds=40)
    speed[f"CNN, batch {n}"] = rows["whole"].median / rows["half"].median
    print(
        f"batch {n:2}: {left / operations:.0%} of the operations, {rows['half'].faster_than(rows['whole'])}"
    )

# %% [markdown]
# Half of the operations is not half of the time here. Operations count the products of convolutions and linear layers. Batch norm,
# ReLU and pooling are not counted, but they move a lot of data through memory, and they shrink only with the channels. A transformer, whose time goes
# into large products, may do better: you will see below.

# %% [markdown]
# ## 6 · Attention heads: which of MiniLM's 72 matter?
#
# MiniLM has 6 layers with 12 attention heads each. A head owns some rows of the query, key and value matrices, and some columns of the output
# matrix. Since `transformers` 5 the library itself can no longer remove heads. `remove` can, for six families of models.

# %%
teacher = zoo.teacher() if full else zoo.teacher(480, replace(zoo.TEACHER, epochs=1))
reviews = zoo.reviews_tokenized(None if full else 160)
calibration = reviews["train"].select(range(400 if full else 64))
score = structured.taylor(teacher, calibration)
found = groups(teacher)
heads = [name for name, group in found.items() if group.kind == "heads"]
ffn = [name for name, group in found.items() if group.kind == "feed-forward units"]

# %%
importance = torch.stack([score(teacher, found[name]) for name in heads])  # [layers, heads]
plots.show(
    plots.unit_map(importance, "layer", "head", "importance (Taylor)"),
    alt="A map of 6 layers by 12 heads: a few heads are far more important than the others",
)
order = importance.flatten().argsort(descending=True)
share = importance.flatten()[order].cumsum(0) / importance.sum()
print(f"The {int((share < 0.5).sum()) + 1} most important of 72 heads hold half of all importance.")

# %% [markdown]
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
fewer_units = {
    name: [(x, on_validation(take(x, s, ffn))) for x in shares] for name, s in scores.items()
}
plots.show(
    plots.accuracy_curves(
        {name: [(0.0, dense), *points] for name, points in fewer_units.items()},
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
    rows = measure.latency({"whole": teacher, "half": half}, batch, rounds=15)
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
worse = measure.paired_test(halved["heads", "chance"], halved["heads", "weight size"])
claims.add(
    "For heads, weight size is a worse guide than chance",
    source="this course",
    measured=f"half of the heads: weight size {accuracy['heads', 'weight size']}, chance {accuracy['heads', 'chance']}: {worse.verdict}",
    holds=worse.verdict == "the first is better",
    n=len(right),
)

# %% [markdown]
# Why is weight size so poor here? A head with large weights can say the same thing for every sentence; then the next layer has learned to
# ignore it. Taylor's importance looks at what a unit does to the *loss*, on real sentences. *Where this stops being true:* it is a
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
# A layer is the coarsest unit: it cannot be chosen finely, and without training the loss is large. Lesson 4 starts from such a
# student and *teaches* it: that is DistilBERT.
#
# ## 9 · "Give me 2 ×"
#
# You seldom want "40 % fewer parameters". You want an answer in half the time. `speed_up` measures what each width of each kind of group costs *on this
# machine*, and picks the widths that reach the target with the least estimated damage. Then it measures the result.

# %%
faster = speed_up(teacher, example, target=2.0, score=score)
print(f"{faster}\nas cut: {on_validation(faster.model)}")
faster.changes

# %%
batch = {name: tensor.expand(32, -1) for name, tensor in example.items()}
both = {"teacher": teacher, "smaller": faster.model}
latencies = {
    1: {"teacher": faster.before, "smaller": faster.after},
    32: measure.latency(both, batch, rounds=8),
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
    + f"; asked for 2 ×, got {faster.achieved:.2f} ×; one processor only",
    holds="in part" if all("faster" in text for text in spoken.values()) else False,
)

# %% [markdown]
# It can hold "in part" at most, because it was measured on one kind of processor: yours. No special kernel was needed, and a smaller
# dense product is less work anywhere. But how *much* faster it is depends on the machine: a GPU that was not busy before gains little.
#
# ## 10 · Recovery: let it learn again
#
# Half of the heads and two thirds of the feed-forward units go, chosen by Taylor. Then one epoch of training, in one of two ways: **fine-tuning** on
# the labels, or **distillation**, in which the pruned model learns to say what the whole one says. (Lesson 3 explains the loss.)
# **Predict first:** how much comes back, and which of the two is better?

# %%
keep = structured.choose(teacher, 0.5, score, heads) | structured.choose(teacher, 2 / 3, score, ffn)
pruned = remove(teacher, keep)
told = zoo.cached_logits(teacher, reviews["train"])
labelled = {name: reviews[name] for name in ("train", "validation")}
recovery = replace(zoo.TEACHER, epochs=1, lr=2e-4)


def recover(seed, alpha):
    student = copy.deepcopy(pruned)
    student.base_model.embeddings.requires_grad_(False)
    loss = partial(distillation_loss, T=2.0, alpha=alpha)
    return distill(student, told, labelled, replace(recovery, seed=seed), loss=loss).model


recovered = recover(0, alpha=1.0)
print(f"as cut {on_validation(pruned)}\none epoch later {on_validation(recovered)}")
changes(teacher, pruned)

# %% [markdown]
# One run says little. The table below holds three seeds of each way, measured on the test part. It takes some minutes, so it was made once
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
size, before = measure.footprint(pruned), measure.footprint(teacher)
claims.add(
    "Half of the heads and two thirds of the feed-forward units go, and one epoch of distillation brings the accuracy back",
    source="this course",
    measured=f"{before.parameters:,} → {size.parameters:,} parameters: {teacher_accuracy} → as cut {as_cut} → {back['distillation']}; {versus}",
    holds=versus.verdict == "no significant difference"
    or ("in part" if back["distillation"].value > as_cut.value else False),
    n=len(right),
)

# %% [markdown]
# ## 11 · Structured or unstructured: three fair comparisons
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


def over_seeds(make, left):
    networks = [make(seed, left) for seed in seeds]
    return networks[0], measure.Runs(tuple(training.evaluate(m, mnist["test"]) for m in networks))


fine = {left: over_seeds(fewer_weights, left) for left in left_over}
coarse = {left: over_seeds(fewer_neurons, left) for left in left_over}

# %%
plots.show(
    plots.accuracy_curves(
        {
            "single weights": [(left, runs) for left, (_, runs) in fine.items()],
            "whole neurons": [(left, runs) for left, (_, runs) in coarse.items()],
        },
        "parameters left",
    ),
    alt="Test accuracy against the parameters left, for single weights and for whole neurons, with intervals over the seeds",
)
gaps = {left: measure.gap(fine[left][1], coarse[left][1]) for left in left_over}
for left, g in gaps.items():
    print(
        f"{left:4.0%} of the parameters left: weights {fine[left][1]}, neurons {coarse[left][1]}: {g}"
    )

# %%
clear = [g.low > 0 for g in gaps.values()]
claims.add(
    "Coarser granularity costs more accuracy per removed parameter",
    source="Mao et al. 2017, section 4",
    measured="weights above neurons: "
    + "; ".join(f"{left:.0%} left {g}" for left, g in gaps.items()),
    holds=all(clear) or ("in part" if any(clear) else False),
    n=len(mnist["test"]),
)

# %% [markdown]
# At equal *parameters* the finer choice wins: it can keep the best weights wherever they are. Now count what the machine does. The
# network full of zeros still performs every operation, and takes its time for it.

# %%
networks = {"whole": lenet}
for left in left_over:
    networks[f"weights, {left:.0%} left"] = masking.make_permanent(fine[left][0])
    networks[f"neurons, {left:.0%} left"] = coarse[left][0]
counts = {name: measure.operations(m, images[:1]) for name, m in networks.items()}
times = {n: measure.latency(networks, images[:n]) for n in (1, 500)}
sizes = {name: measure.sparse_bytes(m) for name, m in networks.items()}
plots.show(
    plots.latency_bars(times[500]),
    alt="Latency of LeNet whole, with zeros, and with fewer neurons, at batch 500: only fewer neurons are faster",
)
for name in networks:
    speed = "; ".join(
        f"batch {n} {rows[name].faster_than(rows['whole'])}" for n, rows in times.items()
    )
    print(
        f"{name:18} {counts[name]:8,} operations, {sizes[name]:9,} bytes (sparse where smaller), {speed}"
    )

# %% [markdown]
# Now the fair comparisons. Each holds one thing equal: both kinds may use a tenth of the whole network's parameters, or of its operations, or half of
# its time. (Can a sparse product save time? Lesson 1 measured that: little, even with 3 % of the weights.) Among the networks that keep to the budget, which
# is the most accurate?

# %%
runs = {f"weights, {left:.0%} left": fine[left][1] for left in left_over}
runs |= {f"neurons, {left:.0%} left": coarse[left][1] for left in left_over}
nonzero = {
    name: sum(int(p.count_nonzero()) for p in m.parameters()) for name, m in networks.items()
}
costs = {
    "parameters that are not zero, a tenth": (nonzero, 0.105),
    "operations, a tenth": (counts, 0.105),
    "time at batch 500, a half": ({n: row.median for n, row in times[500].items()}, 0.5),
}
winners = {}
for what, (cost, budget) in costs.items():
    able = {name: r.value for name, r in runs.items() if cost[name] <= budget * cost["whole"]}
    winners[what] = max(able, key=lambda name: able[name], default="none")
    print(f"{what:38} → {winners[what]}" + (f": {runs[winners[what]]}" if able else ""))

# %%
kinds = [winner.split(",")[0] for winner in winners.values()]
claims.add(
    "Whether structured or unstructured pruning wins depends on what is held equal",
    source="this course",
    measured="; ".join(f"{what}: {winner}" for what, winner in winners.items()),
    holds=kinds == ["weights", "neurons", "neurons"]
    or ("in part" if len(set(kinds)) > 1 else False),
    n=len(mnist["test"]),
)

# %% [markdown]
# So the question "which pruning is better?" has no answer before you say what you pay for: bytes on disk, or time.
#
# ## Recap
#
# - To remove a unit: cut what computes it, its batch norm, and what reads it; shortcuts couple layers.
# - Ask of every tool: does the removed model equal the masked one? Does it reload?
# - Importance by Taylor needs one backward pass, and beats weight size where units differ in what they *do*.
# - Operations are not time. Ask for a latency, and measure it.
# - Train again afterwards; the whole model is a good teacher for the pruned one.

# %%
teacher_differ = difference(teacher, keep, {k: v[:1] for k, v in example.items()})
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
print(f"same accuracy: {on_validation(again)}")

# %% [markdown]
# ## Quiz
#
# **1.** You remove half of the channels of every layer of a network. Roughly how many of its weights are left?
# <details><summary>Answer</summary>A quarter: each weight lies between an input and an output channel, and both are halved. Only the
# first and the last layer keep half.</details>
#
# **2.** A tool reports no loss of accuracy after "pruning" channels, but the exported model is worse. What may have happened?
# <details><summary>Answer</summary>It measured a network whose filters are zero, and batch norm's shift still leaked through. The exported
# one has lost those constants. Compare removed and masked outputs.</details>
#
# **3.** `conv2` is added to the output of `conv1`. You may remove channel 3 of `conv1` if …
# <details><summary>Answer</summary>… channel 3 of `conv2` goes as well, and everything that reads the sum loses its input 3.</details>
#
# **4.** Your model needs half of the operations, and is 1.1 × faster at batch 1. Why?
# <details><summary>Answer</summary>At batch 1 a small layer is limited by fixed costs: calls, memory, threads. Measure at the batch size that you
# will use, and ask for a latency instead of operations.</details>
#
# **5.** You need the smallest download, and time does not matter. Which kind of pruning?
# <details><summary>Answer</summary>Single weights, stored sparse or zipped: for equal accuracy they need fewer parameters. (Lesson 5 adds
# int8.)</details>
#
# ## Try it yourself
#
# - Ask `speed_up` for 3 × at batch 32. Which kind of group does it take from now? Why is that another choice than at batch 1?
# - Use `structured.ablation` to remove each head of the last layer by itself. Does the order agree with Taylor's?
# - Cut the vocabulary: `vocabulary.prune_vocabulary(teacher, tokenizer, encoders.tokens_seen(reviews["train"]))`. How many parameters
#   go, and how many of the test sentences get another answer?
#
# ## References
#
# - Li, Kadav, Durdanovic, Samet & Graf 2017, *Pruning filters for efficient ConvNets*: section 3.1 (the norm of a filter), figure 2.
# - Michel, Levy & Neubig 2019, *Are sixteen heads really better than one?*: equation 2 (the gate's gradient), section 5 (speed).
# - Molchanov et al. 2019, *Importance estimation for neural network pruning*: section 3.
# - He, Zhang, Ren & Sun 2016, *Deep residual learning*: figure 5 (the two blocks).
# - Fang et al. 2023, *DepGraph: towards any structural pruning*: section 3 (groups that must be cut together).
# - Mao et al. 2017, *Exploring the granularity of sparsity in convolutional neural networks*: section 4.
# - Shen et al. 2022, *Structural pruning via latency-saliency knapsack*: section 3 (widths for a latency).
