# %% [markdown]
# # Lesson 2b · Structured pruning of transformers
#
# **Which parts of a transformer can I remove, and how do I make it twice as fast?**
#
# You will be able to
#
# - say which rows and columns belong to an attention head, and remove heads by hand;
# - compute the Taylor importance of attention heads in a few lines;
# - ask for a speed-up instead of an amount;
# - bring the accuracy back after the cut, and say whether a teacher helps.
#
# **You need** [lesson 2a](02_structured_pruning.ipynb). You need not know transformers yet. **Time** about 50 minutes; the computer works about 4 of them on two
# cores, and some minutes more the first time, when it trains the text classifier.
#
# Our running example is **MiniLM**, a pretrained transformer. We trained it to tell positive from negative movie reviews. Lesson 3 shows how.

# %% tags=["setup"]
# the first cell of every lesson

# %% tags=["parameters"] jupyter={"source_hidden": true}
profile = "full"

# %%
from course_lib import lessons

settings = lessons.start("lesson2b", profile)

import copy
from functools import partial

import pandas as pd
import torch

import course_lib
from course_lib import cache, evaluation, models, structured, training
from course_lib.batching import batches
from course_lib.distillation import distill, distillation_loss
from course_lib.lessons import diagrams, fill_in, plots, tables

# %% [markdown]
# ## The result first
#
# We took half of the attention heads and two thirds of the FFN neurons out of MiniLM. (Section 1 explains both words.) We call the result **model A**. Then we trained it for a short time. The script
# [lesson2_recovery.py](experiments/lesson2_recovery.py) did this with several seeds, and the next cell loads what it stored.

# %% jupyter={"source_hidden": true}
recovery = lessons.results("lesson2_recovery")
not_cut, as_cut = (recovery.accuracies(way=way)[0] for way in ("teacher", "as cut"))
rows = {"as cut": as_cut} | {way: recovery.runs(way=way) for way in ("fine-tuned", "distilled")}
print(f"MiniLM: {not_cut.value:.1%}. As cut: {as_cut.value:.1%}.")
print(f"After one pass over {recovery.recipe['sentences']:,} sentences:", end=" ")
print(f"{rows['fine-tuned'].value:.1%} and {rows['distilled'].value:.1%}, in two ways of training.")
title = "A short training wins back more than half of the lost accuracy"
look = {"xlabel": "validation accuracy", "reference": {"MiniLM, not cut": not_cut}}
plots.seed_panels({"": rows}, title=title, **look)

# %% [markdown]
# **As cut** means without any training after the cut. **Fine-tuned** means trained on the labels. **Distilled** means trained to give the same outputs as the whole model, which is then called the
# **teacher**. On average, more than half of the lost accuracy comes back.
#
# ## 1 · What a transformer layer is
#
# A text is cut into **tokens**, which are words or parts of words. A table of **embeddings** turns each token into a vector of 384 numbers. Then the vectors pass through six layers of the same kind. Each
# layer has two parts.
#
# - **Attention** lets tokens exchange information. Three linear layers turn each vector into a query (Q), a key (K) and a value (V). A token compares its query with the keys of all tokens, and takes
#   a weighted average of their values. MiniLM does this twelve times side by side, in twelve **attention heads**. Each head reads all 384 inputs. Q, K and V have 384 outputs each; of each 384, one head owns 32. A linear layer O joins the outputs of all heads.
# - The **feed-forward network** (FFN) works on each token by itself: a linear layer up to 1,536 numbers, an activation function, and a linear layer down to 384. The 1,536 numbers in the middle are the **FFN neurons**.
#
# The result of each part is added to its input, as in a residual network. (Each sum is then normalized, which the drawing leaves out.) At the end, a small classifier reads the vector of the first token, a special one called [CLS].

# %%
teacher = models.teacher(settings.sentences)  # MiniLM, trained on the movie reviews
reviews = models.reviews_tokenized(settings.sentences)
diagrams.transformer_layer()

# %% jupyter={"source_hidden": true}
test = lessons.TestSet(models.reviews_tokenized()["test"])
claims = lessons.Claims(test)


def library_rows(heads, size):
    return structured.Slice("", "", unit_size=size).indices(torch.tensor(heads), 12).tolist()


def library_heads(importance):
    order = importance.flatten().argsort(descending=True)[: importance.numel() // 2].sort().values
    layers, columns = order // importance.shape[1], order % importance.shape[1]
    return [columns[layers == i].tolist() for i in range(len(importance))]


sizes = dict.fromkeys(("embeddings", "attention", "FFN", "classifier"), 0.0)
for name, parameter in teacher.named_parameters():
    found = [part for part in ("embeddings", "attention", "pooler", "classifier") if part in name]
    part = (found or ["FFN"])[0].replace("pooler", "classifier")
    sizes[part] += parameter.numel() / 1e6
plots.parts({"MiniLM": sizes}, "million parameters", title="Half of MiniLM is its embeddings")

# %% [markdown]
# Half of the parameters are embeddings, and pruning heads and neurons does not touch them. Embeddings cost almost no *time*: they are only looked up. The time is spent in the layers, so we prune those.
#
# ## 2 · Which rows and columns belong to a head
#
# An FFN neuron is a neuron as in lesson 2a: a row and a bias of the layer "up", and a column of the layer "down". A head has 32 numbers, so it owns *several* rows:

# %%
diagrams.attention_head()

# %% [markdown]
# The drawing has 3 heads of size 2, and MiniLM has 12 of size 32. The cells beside Q, K, V and "up" are biases. The drawing counts from 1, and code counts from 0. In code, head $h$ of size $d$ owns rows $hd$ to $hd + d - 1$ of Q, K and V, with their biases, and the same columns of O.
#
# **Your turn (1 of 2).** Write the function that lists these rows for several heads.


# %% tags=["nbval-check-output"]
def rows_of_heads(heads, size):
    """The rows of Q, K and V that belong to these heads, as a list: ([0, 2], 2) → [0, 1, 4, 5]."""
    ...


rows_of_heads = fill_in.check(rows_of_heads, against=library_rows, examples=[([0, 2], 2), ([1], 4)])

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def rows_of_heads(heads, size):
#     return [head * size + i for head in heads for i in range(size)]
# ```
# </details>
#
# With it we remove every other head of layer 1 by hand, and compare with the library.

# %%
stay = [0, 2, 4, 6, 8, 10]
rows = rows_of_heads(stay, 32)
by_hand = copy.deepcopy(teacher)
attention = by_hand.bert.encoder.layer[0].attention
for linear in (attention.self.query, attention.self.key, attention.self.value):
    linear.weight.data, linear.bias.data = linear.weight.data[rows], linear.bias.data[rows]
attention.output.dense.weight.data = attention.output.dense.weight.data[:, rows]
forms = {"by hand": by_hand}
for name, cut in (("removed", structured.remove), ("masked", structured.masked)):
    forms[name] = cut(teacher, {"layer.0.heads": stay})
some = reviews["validation"].select(range(32))
logits_of = {name: evaluation.predict(network, some) for name, network in forms.items()}
for name in ("by hand", "masked"):
    print(f"{name} − removed: {(logits_of[name] - logits_of['removed']).abs().max():.0e}")

# %% [markdown]
# All three give the same outputs, up to rounding. Our copy still says `num_attention_heads = 12`. That does no harm in this model, and `remove` corrects it.
#
# ## 3 · Importance: the Taylor gate
#
# Which heads should go? As in lesson 2a, we multiply the output $h_u$ of each unit $u$ by a **gate** $\xi_u = 1$. The gate's gradient estimates how much the loss $L$ changes if we close the gate. The
# **importance score** is the absolute value of this gradient, averaged over examples $x$ (Michel et al. 2019, equation 2):
#
# $$I_u = \mathbb{E}_x \left| \frac{\partial L(x)}{\partial \xi_u} \right|, \qquad \frac{\partial L}{\partial \xi_u} = \sum_t h_{u,t} \cdot \frac{\partial L}{\partial h_{u,t}}$$
#
# An FFN neuron is one number $h_{u,t}$ for each token $t$. A head is 32 numbers, and the dot in the formula is a dot product. All numbers of a unit share one gate. So we add up over tokens and numbers, then take the absolute value, and then the mean over
# sentences. (A head that helps with one sentence and hurts with another matters for both. So the absolute value comes before the mean.)

# %%
diagrams.gated_units()

# %% [markdown]
# Here are the gates for the heads of layer 6. The layer O reads the outputs of all heads side by side, so a hook multiplies its input.

# %%
calibration = reviews["train"].select(range(settings.scored_on))
joining = teacher.bert.encoder.layer[5].attention.output.dense  # O of layer 6
gradients = []
for batch in batches(calibration, 32):
    n = len(batch["labels"])
    gates = torch.ones(n, 1, 12, requires_grad=True)  # [sentences, 1 for all tokens, heads]
    wide = gates.repeat_interleave(32, dim=2)  # [sentences, 1, 384]: each head's gate 32 times
    # wide=wide: the gates of this batch, not of whichever batch is last
    hook = joining.register_forward_pre_hook(lambda module, inputs, wide=wide: (inputs[0] * wide,))
    total = n * teacher(**batch).loss  # the sum over the sentences
    # Each sentence has its own gates, so the gradient of the sum gives each sentence's own gradient.
    gradients.append(torch.autograd.grad(total, gates)[0][:, 0])
    hook.remove()
layer_6 = torch.cat(gradients).abs().mean(0)  # [heads]

# %% [markdown]
# The library's `gate_taylor` does this for all units of all layers in one pass.
#
# **Predict first.** MiniLM has 72 heads. If all of them were equally important, 36 would hold half of the importance. How many do hold half of it?

# %%
groups = structured.groups(teacher)
score = structured.gate_taylor(teacher, calibration)
same = torch.allclose(score(teacher, groups["layer.5.heads"]), layer_6, atol=1e-6)
print(
    f"From {len(calibration)} training sentences, the library's scores for layer 6 are the same:",
    same,
)
all_heads = [name for name in groups if name.endswith("heads")]
all_ffn = [name for name in groups if name.endswith("ffn")]
importance = torch.stack([score(teacher, groups[name]) for name in all_heads])  # [layers, heads]
sums = importance.flatten().sort(descending=True).values.cumsum(0) / importance.sum()
print(f"The {int((sums < 0.5).sum()) + 1} most important of 72 heads hold half of the importance.")
title = "Two heads stand out"
plots.unit_map(importance, "layer", "head", "importance (Taylor)", title=title)

# %% [markdown]
# Fewer than 36 do. The importance is spread unevenly, both over the layers and within them. So it should matter which heads go.
#
# **Your turn (2 of 2).** Half of the heads go. Rank the heads of *all* layers together, and say which stay in each layer.


# %%
def heads_that_stay(importance):
    """importance [layers, heads] → a list for each layer: the heads of the more important half."""
    ...


examples = [(torch.tensor([[0.4, 0.1, 0.3], [0.9, 0.2, 0.8]]),), (torch.tensor([[3.0, 1.0]]),)]
heads_that_stay = fill_in.check(heads_that_stay, against=library_heads, examples=examples)

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def heads_that_stay(importance):
#     threshold = importance.flatten().kthvalue(importance.numel() // 2).values
#     return [torch.where(layer > threshold)[0].tolist() for layer in importance]
# ```
# </details>
#
# The library's `choose` does the same for units of any kind. It takes the fraction of the units that goes, and returns the units that stay.
#
# **Predict first.** Half of the heads and half of the FFN neurons go. Which of the six layers loses the largest share of its FFN neurons?

# %%
keep = structured.choose(teacher, 0.5, score, all_heads)
keep |= structured.choose(teacher, 0.5, score, all_ffn)
same = [keep[name] for name in all_heads] == heads_that_stay(importance)
print("the same heads as those of heads_that_stay:", same)
widths = {name: (len(units), groups[name].units) for name, units in keep.items()}
pruned = structured.remove(teacher, keep)
parameters = [sum(p.numel() for p in network.parameters()) for network in (teacher, pruned)]
print(f"{1 - parameters[1] / parameters[0]:.0%} of all parameters go.")
plots.layer_widths(widths, title="The last layers lose the most FFN neurons")

# %% [markdown]
# Layer 6 loses almost all of its FFN neurons. After layer 6 comes the classifier, and it reads the vector of [CLS] alone. The FFN works on each token by
# itself, so in layer 6 its results for all other tokens are thrown away. There, only the [CLS] term of the sum over $t$ is not zero. In the earlier
# layers all terms count, because attention carries every token's result on to [CLS]. So this does not explain why layer 5 loses most of its neurons, too.
#
# We test whether these neurons really matter little. We remove *all but one* FFN neuron from one layer at a time.


# %%
def accuracy(network):
    return evaluation.evaluate(network, reviews["validation"])


whole = accuracy(teacher)
right = evaluation.correct(teacher, reviews["validation"])
lost = {}
for layer in range(1, 7):
    one_left = structured.remove(teacher, {f"layer.{layer - 1}.ffn": [0]})
    answers = evaluation.correct(one_left, reviews["validation"])
    lost[f"layer {layer}"] = evaluation.paired_test(answers, right)
xlabel = "difference from the teacher on the validation set, in points"
plots.intervals(lost, title="MiniLM can do without the FFN of layer 6", xlabel=xlabel)

# %% [markdown]
# With one FFN neuron left in layer 6, the accuracy hardly changes, as its low scores predicted. But compare layers 1 and 4. The scores kept almost all neurons of layer 1, and about a quarter of those of layer 4. Yet with one neuron left, both cost about the same.
#
# This is the limit of Taylor. It estimates what happens when the gate of *one* unit *begins* to close, not what happens when hundreds of units go at once. So are scores comparable *across* layers? The next section tests it.
#
# ## 4 · Which score is best?
#
# We compare Taylor with two other scores: the magnitude of a unit's rows, and random numbers. Each score ranks the units in two ways: all layers together, or each layer by
# itself, so that every layer gives half. The script [lesson2_scores.py](experiments/lesson2_scores.py) has measured all combinations with three seeds. A seed changes Taylor's sentences and the random scores. Magnitude has no randomness, so it has one run.
#
# **Predict first.** Half of the heads go, as cut. Order the three scores.

# %% jupyter={"source_hidden": true}
scores = lessons.results("lesson2_scores")
panels, gaps = {}, {"Taylor − random": {}, "Taylor − magnitude": {}}
for units in ("heads", "FFN neurons"):
    for ranked in ("all layers together", "each layer by itself"):
        case, place = {"units": units, "ranked": ranked}, f"{units}, {ranked}"
        found = {
            name: scores.runs(**case, score=name) for name in ("Taylor", "magnitude", "random")
        }
        for difference in gaps:
            other = "random" if "random" in difference else "magnitude"
            gaps[difference][place] = str(evaluation.gap(found["Taylor"], found[other]))
        panels[place] = found | {"magnitude": scores.accuracies(**case, score="magnitude")[0]}
title = "Half of the units go: on average, Taylor costs the least accuracy"
look = {
    "xlabel": "validation accuracy",
    "reference": {"MiniLM": scores.accuracies(units="none")[0]},
}
look["roles"] = {"magnitude": "accent", "random": "random"}
plots.show(plots.seed_panels(panels, title=title, **look))
pd.DataFrame(gaps)

# %% [markdown]
# Taylor has the highest accuracy in all four panels. (Its dots hide some of the ticks.) If Taylor ranks each layer by itself, half of the heads can go without any training, and the accuracy stays close to MiniLM's.
# For FFN neurons, ranking all layers together looks a little better. We did not test which ranking is better, so try both.
#
# In the table, one interval over the seeds contains zero: heads, all layers together, against random. There, the three random draws differ too much to tell.
#
# Magnitude is no better than random. For heads, magnitude does much worse if all layers are ranked together. Probably the weights of some layers are larger in general, so magnitudes cannot be compared *across* layers. For FFN neurons we see no such damage.
#
# ## 5 · Whole layers
#
# A layer can go as a whole, because its input and its output have the same size.
#
# **Predict first.** Three of the six layers go. Which three should stay: every other one, the first three, or the last three?

# %%
choices = {"1, 3, 5": [0, 2, 4], "1, 2, 3": [0, 1, 2], "4, 5, 6": [3, 4, 5]}  # code counts from 0
choices["1, 2, 3, 4, 6"] = [0, 1, 2, 3, 5]
shorter = {"1 to 6 (all)": whole}
for name, kept in choices.items():
    shorter[name] = accuracy(structured.remove_layers(teacher, kept))
pd.DataFrame({"validation accuracy": {f"layers {n}": str(a) for n, a in shorter.items()}})

# %% [markdown]
# Of the three-layer models, the last three layers do best, and the first three do no better than guessing. (About half of the reviews are positive.) A likely reason is that the classifier has only ever read the output of layer 6. Removing layer 5, the only single layer that we tried, costs much less.
#
# This is before any training. After a long one, another choice may be better. Lesson 4 trains a student with every other layer, as DistilBERT does (Sanh et al. 2019).
#
# ## 6 · "Give me 2 ×"
#
# In practice you seldom want "40 % fewer parameters". You want the answer in half the time. `speed_up` searches for such a model on your machine. A layer's **width** is its number of heads or of FFN neurons.
#
# 1. The search tries eight widths for the heads and eight for the FFN, from an eighth of the units to all of them, and measures how much time each saves. (An eighth of 12 heads is rounded to 2.)
# 2. For a given saving, it picks the widths with the least total importance removed. This is a **knapsack problem**: the best choice under a limit (Shen et al. 2022).
# 3. It builds this model and times it against the original. If it is too slow, the search asks for a larger saving. If it is faster than asked for by more than a tenth, the search asks for a smaller saving. Otherwise it stops.
# 4. It also stops after a given number of tries. It returns the tried model that reached the target and lost the least importance.
#
# Here is step 2 with made-up numbers. Each pair stands for one width. We want to save at least four milliseconds:

# %%
from itertools import product

options = {  # widths of each part: (ms saved, importance removed)
    "heads": [(0, 0.0), (2, 0.3), (3, 1.0)],
    "FFN": [(0, 0.0), (2, 0.4), (4, 0.9)],
}
enough = [c for c in product(*options.values()) if sum(ms for ms, _ in c) >= 4]
print("best choice:", min(enough, key=lambda c: sum(lost for _, lost in c)))

# %% [markdown]
# Two small cuts lose less than one large cut. But step 2 *adds up* the scores of hundreds of units, and section 3 showed the limit of that. So the sum only guides the search, and we measure the accuracy of its result, which we call **model B**.
#
# **Predict first.** Will more heads go, or more FFN neurons? And from which layers?


# %%
def sentences(n):
    tokens = torch.full((n, 32), 2000)  # any tokens do: only the time matters
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


target = settings.target  # 2.0: twice as fast
with evaluation.one_thread():  # its times vary less
    faster = structured.speed_up(teacher, sentences(8), target, score, tries=settings.tries)
print(f"{faster}; at most {settings.tries} models were tried")
print(f"as cut: {accuracy(faster.model)}; the teacher: {whole}")
for kind, names in {"heads": all_heads, "FFN neurons": all_ffn}.items():
    print(f"importance of all {kind}: {sum(score(teacher, groups[n]).sum() for n in names):.1f}")
title, narrowest = "Heads go in all layers, FFN neurons in the last ones", {"heads": 2, "ffn": 192}
plots.layer_widths(faster.widths, title=title, narrowest=narrowest)

# %% [markdown]
# In our run the heads of all layers are at the narrowest width that the search tries. (Your machine may find other widths.) FFN neurons went mostly from the last layers, where their scores are low (section 3).
#
# Two reasons may explain why so many *heads* went. A head's gradient is added up over 32 numbers before the absolute
# value, so positive and negative parts cancel. Each of the 1,536 neurons has an absolute value of its own, so nothing cancels between them. Also, a layer has only 12 gates of heads, so fewer terms are added up. For both reasons, heads look cheap in a *sum* of scores. That does not prove that heads matter less.
#
# **Predict first.** We asked for the speed-up at a batch of 8 sentences. Is it the same for 1 sentence and for 32?

# %%
pair, ratios = {"teacher": teacher, "smaller": faster.model}, {}
with evaluation.one_thread():
    for n in (1, 8, 32):
        times = evaluation.latency(pair, sentences(n), settings.rounds)
        ratios[f"batch of {n}"] = evaluation.speedup(times["teacher"], times["smaller"])
parameters = [sum(p.numel() for p in network.parameters()) for network in pair.values()]
print(f"The smaller model has {1 - parameters[1] / parameters[0]:.0%} fewer parameters.")
title, xlabel = "One sentence alone gains less than a batch", "× as fast as the teacher"
plots.intervals(ratios, title=title, xlabel=xlabel, margin={"1.8 × (claim, section 8)": 1.8})

# %% [markdown]
# A single sentence gains least, and in our run 32 gained a little more than 8. (The intervals are hidden by the dots.) Python and PyTorch need some time to start each layer's computation, however small it is. This **fixed cost** weighs most when there is little to compute. So
# ask for a speed-up at the batch size that you will use.
#
# Then measure the result again. A model may pass because its measurement happened to be fast. In our run, the second measurement agreed.
#
# ## 7 · Recovery: fine-tune or distill?
#
# Now we repair model B with a short training on a part of the training sentences. To save time, the embeddings stay as they are. The loss compares the
# model's outputs with the teacher's. (`T` softens both outputs. `alpha=1` means that the labels are not used. Lesson 3 explains this loss.)
#
# **Predict first.** How much of the lost accuracy comes back?

# %%
train = reviews["train"].select(range(settings.recover_on))
logits = models.cached_logits(teacher, train)  # the teacher's outputs for these sentences
student = copy.deepcopy(faster.model)
student.base_model.embeddings.requires_grad_(False)
recipe = training.Recipe(epochs=1, lr=2e-4, batch_size=32, warmup=0.1, decay=True)
loss = partial(distillation_loss, T=2.0, alpha=1.0)
recovered = distill(student, logits, {"train": train}, recipe, loss=loss).model
steps = {"teacher": whole, "as cut": accuracy(faster.model), "trained": accuracy(recovered)}
print(f"trained once on {len(train):,} of {len(reviews['train']):,} training sentences")
back = (steps["trained"].value - steps["as cut"].value) / (whole.value - steps["as cut"].value)
print(f"{back:.0%} of the lost accuracy came back")
b_and_cut = recovered, faster.model
answers = [evaluation.correct(network, reviews["validation"])[None] for network in b_and_cut]
tables.differences({"model B, trained − as cut": answers})

# %% [markdown]
# Less than half of it came back in our run, after this one pass. The interval says how sure the gain is.
#
# `save` also stores the widths of all layers, and `load` reads them:

# %%
folder = course_lib.save(recovered, cache.work_folder("lesson2b"))
steps["trained, saved, and loaded"] = accuracy(course_lib.load(folder))
pd.DataFrame({"validation accuracy": {name: str(one) for name, one in steps.items()}})

# %% [markdown]
# So what does a speed-up cost? Here are three smaller models, each with its own speed at a batch of 8:
#
# - *model A* is the simple cut by Taylor of the first figure.
# - *model B* is the result of the search.
# - *layers 4, 5, 6* is MiniLM without the other three layers.
#
# **Predict first.** Which is the most accurate?

# %% jupyter={"source_hidden": true}
from IPython.display import display

two_thirds = structured.choose(teacher, 2 / 3, score, all_ffn)
first = {name: keep[name] for name in all_heads} | two_thirds  # the cut of the first figure
others = {"model A": structured.remove(teacher, first), "model B": faster.model}
others["layers 4, 5, 6"] = structured.remove_layers(teacher, [3, 4, 5])
with evaluation.one_thread():
    times = evaluation.latency({"teacher": teacher} | others, sentences(8), settings.rounds)
speed = {name: evaluation.speedup(times["teacher"], times[name]) for name in others}
cut = {"model B": steps["as cut"], "layers 4, 5, 6": shorter["4, 5, 6"]}
cut["model A"] = accuracy(others["model A"])
both = others["model A"], faster.model
a_and_b = [evaluation.correct(network, reviews["validation"])[None] for network in both]
display(tables.differences({"as cut, model A − model B": a_and_b}))
after = {"model B": steps["trained"], "model A": recovery.runs(way="distilled")}
columns = {"× as fast": {name: f"{one.value:.2f}" for name, one in speed.items()}}
for said, of in {"as cut": cut, "distilled": after}.items():
    columns[said] = {name: f"{of[name].value:.1%}" if name in of else "not tried" for name in speed}
pd.DataFrame(columns)

# %% [markdown]
# In our run the three were similarly fast. Model A is ahead of B, as cut and after training, but as cut the paired interval contains zero. Removing whole layers was the least accurate as cut. These are validation accuracies. After training, A is a mean over seeds, and B was trained once.
#
# So a search need not beat a simple cut. Perhaps the sum of scores took too many heads.
#
# Was the teacher needed? We go back to the stored experiment with model A. There, both ways of training start from the same cut, see the same sentences, and take the same number of steps.
#
# **Predict first.** Which is better, fine-tuned or distilled?

# %% jupyter={"source_hidden": true}
gap = evaluation.gap(*(recovery.runs(way=way) for way in ("distilled", "fine-tuned")))
print(f"distilled − fine-tuned, on the validation set: {gap}")
stored = {
    way: test.stored(way, torch.stack(recovery.column("test", way=way))[:runs])
    for way, runs in {"teacher": 1, "as cut": 1, "fine-tuned": None, "distilled": None}.items()
}
stored |= {way: stored[way].expand_as(stored["distilled"]) for way in ("teacher", "as cut")}
over = evaluation.paired_test_over_seeds
gaps = {way: over(stored[way], stored["teacher"]) for way in list(stored)[1:]}
shown = {f"{way} − teacher": value for way, value in gaps.items()}
shown["distilled − fine-tuned"] = over(stored["distilled"], stored["fine-tuned"])
title = "Training helps, and we cannot show that distilling is better"
plots.intervals(shown, title=title, xlabel="difference on the test set, in points")

# %% [markdown]
# "As cut" is clearly below the teacher, and both ways of training come much closer. (These intervals are over the test sentences, with the seeds averaged.)
#
# Does the teacher help? **Not that we could show.** The printed interval contains zero. On the test set (last row) fine-tuning is even a little ahead. A possible reason is that *every* sentence has a label here. Lessons 3 and 4 show when a teacher does help.
#
# ## 8 · The claims
#
# Each margin was written down first. The rows about recovery are measured on the test set, those about scores and layers on the validation set.

# %% jupyter={"source_hidden": true}
for way in ("fine-tuned", "distilled"):
    said = f"Cut to half of the heads and a third of the FFN neurons, then {way}: within 1 point"
    claims.add(said, value=gaps[way], margin=-0.01, unit="points")
said = "Distillation recovers more than fine-tuning on the same sentences"
value = over(stored["distilled"], stored["fine-tuned"])
claims.add(said, value=value, margin=0, unit="points", source="a common recommendation")
said = "With one FFN neuron left in layer 6, MiniLM loses less than 3 points"
claims.add(said, value=lost["layer 6"], margin=-0.03, unit="points")
for units in ("heads", "FFN neurons"):
    case = {"units": units, "ranked": "all layers together"}
    value = evaluation.gap(scores.runs(**case, score="Taylor"), scores.runs(**case, score="random"))
    said = f"Taylor beats random: half of the {units}, as cut, all layers together"
    claims.add(said, value=value, margin=0, unit="points")
for n in (1, 8):
    said = f"The model that was asked for {settings.target:g} × at batch 8 is at least 1.8 × as fast, batch {n}"
    claims.add(said, value=ratios[f"batch of {n}"], margin=1.8, unit="×")
claims

# %% [markdown]
# After distillation, model A is more than a point below the teacher. (Unrounded, the interval ends just below the margin.) After fine-tuning, we cannot tell. Taylor beats random for FFN neurons. For the heads of all layers, three seeds are too few.
#
# The last two rows are about model B and depend on your machine.
#
# **In practice**: start with a simple cut by Taylor, and measure its time. Use the search if you must reach a certain speed. Train both for a short time, and keep the more accurate one.
#
# ## Recap
#
# - A head is some rows of Q, K and V and the same columns of O. An FFN neuron is a row of "up" and a column of "down".
# - The Taylor gate estimates what one unit does to the loss, not what hundreds do together. Compare every score with random, on your own model.
# - Half of MiniLM's parameters are embeddings. Pruning its layers saves time, but not much of the file.
# - Ask for a speed-up instead of an amount. Measure the result again, and compare it with a simple cut.
# - A short training brings back a part of what was lost. With all labels at hand, a teacher added nothing that we could show.
#
# ## Quiz
#
# **1.** A layer has 8 heads of size 64. Which rows of Q belong to the third head?
# <details><summary>Answer</summary>Counted from 0, it is head 2, so rows 128 to 191.</details>
#
# **2.** Why does the Taylor gate take the absolute value before the mean over the examples?
# <details><summary>Answer</summary>A head that lowers the loss of one sentence and raises that of another matters for both. With the mean first, the two would cancel.</details>
#
# **3.** A model is 2 × as fast at batch 32 on your laptop. What do you know about batch 1 on a server?
# <details><summary>Answer</summary>Little. At batch 1 the fixed cost weighs more, so the gain is probably smaller, and the server has another processor. Measure there.</details>
#
# **4.** You ask `speed_up` for 2 ×, its first model is 3 × as fast, and tries are left. Does the search stop?
# <details><summary>Answer</summary>No. That is more than a tenth too fast, so the search asks for a smaller saving. A model that loses less importance may be fast enough.</details>
#
# ## Try it yourself
#
# [Lab 2](../exercises/02_structured_pruning.ipynb) belongs to lessons 2a and 2b. After it, ask `speed_up` for 2 × at batch 32. Does it choose other units than at batch 8?
#
# ## References
#
# - Vaswani et al. 2017, *Attention is all you need*: sections 3.1 to 3.3, the layer and its heads.
# - Michel, Levy & Neubig 2019, *Are sixteen heads really better than one?*: section 2 and equation 2, the gate.
# - Molchanov, Mallya, Tyree, Frosio & Kautz 2019, *Importance estimation for neural network pruning*: section 3.
# - Sanh, Debut, Chaumond & Wolf 2019, *DistilBERT*: section 3, every other layer.
# - Wang et al. 2020, *MiniLM*: the pretrained model.
# - Shen et al. 2022, *Structural pruning via latency-saliency knapsack*: section 3, widths for a latency.
