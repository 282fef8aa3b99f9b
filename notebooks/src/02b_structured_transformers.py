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
# - bring back part of the accuracy, and say whether a teacher helps.
#
# **You need** [lesson 2a](02_structured_pruning.ipynb). You need not know transformers yet. **Time** about 50 minutes; the computer works about 4 of them on two
# cores. The first time, it also trains the text classifier for some minutes.
#
# Our example is **MiniLM**, a pretrained transformer. We trained it to tell positive from negative movie reviews (see lesson 3).

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
# We removed half of MiniLM's attention heads and two thirds of its FFN neurons. Section 1 explains both words. We call the result **model A**. Then we trained it briefly, with several seeds
# ([lesson2_recovery.py](experiments/lesson2_recovery.py)).

# %% jupyter={"source_hidden": true}
recovery = lessons.results("lesson2_recovery")
full, cut = (recovery.accuracies(way=way)[0] for way in ("teacher", "as cut"))
rows = {"before training": cut}
rows |= {way: recovery.runs(way=way) for way in ("fine-tuned", "distilled")}
print(f"MiniLM: {full.value:.1%}. Model A before training: {cut.value:.1%}.")
print(f"After one pass over {recovery.recipe['sentences']:,} sentences:", end=" ")
print(f"{rows['fine-tuned'].value:.1%} and {rows['distilled'].value:.1%}, in two ways of training.")
title = "A short training wins back more than half of the lost accuracy"
look = {"xlabel": "validation accuracy of model A", "reference": {"MiniLM, not pruned": full}}
plots.seed_panels({"": rows}, title=title, **look)

# %% [markdown]
# **Fine-tuned** means trained on the labels. **Distilled** means trained to give the same outputs as the whole model, which is then called the
# **teacher**. On average, more than half of the lost accuracy comes back.
#
# ## 1 · What a transformer layer is
#
# A text is cut into **tokens**, which are words or parts of words. A table of **embeddings** turns each token into a vector of 384 numbers. Then the vectors pass through six layers. Each
# layer has two parts.
#
# - **Attention** lets tokens exchange information. Three linear layers turn each vector into a query (Q), a key (K) and a value (V). The query of a token is compared with the keys of all tokens, which gives
#   weights. The token then gets the weighted average of all values. MiniLM does this in twelve **attention heads** side by side. Each head reads all 384 inputs. Q, K and V have 384 outputs each, and a head owns 32 of each. A linear layer O joins the outputs of all heads.
# - The **feed-forward network** (FFN) works on each token by itself: a linear layer up to 1,536 numbers, an activation function, and a linear layer down to 384. The 1,536 numbers in the middle are the **FFN neurons**.
#
# The result of each part is added to its input, as in a residual network. At the end, a small classifier reads the vector of the first token, which is called [CLS]. Each sum (+) is also normalized, which the drawing leaves out.

# %%
teacher = models.teacher(settings.sentences)  # MiniLM, trained on the movie reviews
reviews = models.reviews_tokenized(settings.sentences)
diagrams.transformer_layer()

# %% jupyter={"source_hidden": true}
test = lessons.TestSet(models.reviews_tokenized()["test"])


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
ids = {"input_ids": torch.full((8, 32), 2000)}  # any tokens do: only the time matters
pair = {"embeddings": teacher.bert.embeddings, "MiniLM": teacher}
with evaluation.one_thread():
    times = evaluation.latency(pair, ids, settings.rounds)
share = times["embeddings"].median / times["MiniLM"].median
print(f"The embeddings take {share:.1%} of MiniLM's time (batch of 8 sentences).")
plots.parts({"MiniLM": sizes}, "million parameters", title="Half of MiniLM is its embeddings")

# %% [markdown]
# Half of the parameters are embeddings, and pruning heads and neurons does not touch them. But embeddings take almost no *time* (printed line). The layers take the time, so we prune those.
#
# ## 2 · Which rows and columns belong to a head
#
# An FFN neuron is a neuron as in lesson 2a: a row and a bias of the first linear layer, "up", and a column of the second, "down". A head owns *several* rows:

# %%
diagrams.attention_head()

# %% [markdown]
# The drawing has 3 heads of size 2, and MiniLM has 12 of size 32. The drawing counts from 1, and code counts from 0. In code, head $h$ of size $d$ owns rows $hd$ to $hd + d - 1$ of Q, K and V, with their biases. It also owns the same columns of O.
#
# **Your turn (1 of 2).** Write the function that lists these rows for several heads. The check compares your function with the library's.


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
    linear.weight.data = linear.weight.data[rows]
    linear.bias.data = linear.bias.data[rows]
attention.output.dense.weight.data = attention.output.dense.weight.data[:, rows]
forms = {"by hand": by_hand}
for name, cut in (("removed", structured.remove), ("masked", structured.masked)):
    forms[name] = cut(teacher, {"layer.0.heads": stay})
some = reviews["validation"].select(range(32))
logits_of = {name: evaluation.predict(network, some) for name, network in forms.items()}
for name in ("by hand", "masked"):
    print(f"{name} − removed: {(logits_of[name] - logits_of['removed']).abs().max():.0e}")

# %% [markdown]
# All three give the same outputs, up to rounding.
#
# ## 3 · Importance: the Taylor gate
#
# Which heads should go? As in lesson 2a, we multiply the output $h_u$ of each unit $u$ by a **gate** $\xi_u = 1$. The gate's gradient estimates how much the loss $L$ changes if we close the gate. The
# **importance score** is the absolute value of this gradient, averaged over examples $x$ (Michel et al. 2019, equation 2):
#
# $$I_u = \mathbb{E}_x \left| \frac{\partial L(x)}{\partial \xi_u} \right|, \qquad \frac{\partial L}{\partial \xi_u} = \sum_t h_{u,t} \cdot \frac{\partial L}{\partial h_{u,t}}$$
#
# An FFN neuron is one number $h_{u,t}$ for each token $t$. A head is 32 numbers, and the dot in the formula is a dot product. All numbers of a unit share one gate. So we first add up over tokens and numbers. Then we take the absolute value, and then the mean over
# sentences. With the mean first, helping one sentence and hurting another would cancel.

# %%
diagrams.gated_units()

# %% [markdown]
# Here are the gates for the heads of layer 6, which is `layer[5]` in code. The layer O (`attention.output.dense`) reads the outputs of all heads side by side. So we multiply its input: PyTorch calls our function `gate` just before O.
#
# Each sentence has its own gates, which change only the loss of this sentence. So the gradient of the *summed* loss gives each sentence's own gradient. The model returns the mean loss, and `n` times the mean is the sum.


# %%
def gate(module, inputs):
    return (inputs[0] * wide,)  # wide: the gates of the batch, from the loop below


calibration = reviews["train"].select(range(settings.scored_on))
hook = teacher.bert.encoder.layer[5].attention.output.dense.register_forward_pre_hook(gate)
gradients = []
for batch in batches(calibration, 32):
    n = len(batch["labels"])
    gates = torch.ones(n, 1, 12, requires_grad=True)  # [sentences, 1 for all tokens, heads]
    wide = gates.repeat_interleave(32, dim=2)  # [sentences, 1, 384]: each head's gate 32 times
    (gradient,) = torch.autograd.grad(n * teacher(**batch).loss, gates)
    gradients.append(gradient[:, 0])  # [sentences, heads]
hook.remove()
layer_6 = torch.cat(gradients).abs().mean(0)  # [heads]

# %% [markdown]
# The library's `gate_taylor` does this for all units in one pass.
#
# **Predict first.** MiniLM has 72 heads. If all were equally important, 36 would hold half of the importance. How many of the most important ones do?

# %%
groups = structured.groups(teacher)
score = structured.gate_taylor(teacher, calibration)  # a function of a model and a group of units
same = torch.allclose(score(teacher, groups["layer.5.heads"]), layer_6, atol=1e-6)
print(f"{len(calibration)} sentences; the library has the same scores for layer 6: {same}")
all_heads = [name for name in groups if name.endswith("heads")]
all_ffn = [name for name in groups if name.endswith("ffn")]
importance = torch.stack([score(teacher, groups[name]) for name in all_heads])  # [layers, heads]
ordered = importance.flatten().sort(descending=True).values
shares = ordered.cumsum(0) / importance.sum()
half = int((shares < 0.5).sum()) + 1
print(f"The {half} most important of 72 heads hold half of the importance.")
title = "Two heads stand out"
plots.unit_map(importance, "layer", "head", "importance (Taylor)", title=title)

# %% [markdown]
# Fewer than 36 do. The importance is spread unevenly, so it should matter which heads go.
#
# **Your turn (2 of 2).** Half of the heads go. Rank the heads of *all* layers together, and say which stay in each layer. The check compares with the library's function, as before.


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
# The library's `choose` does the same for units of any kind, and for any fraction that goes.
#
# **Predict first.** Half of the heads and half of the FFN neurons go. Which of the six layers loses the largest share of its FFN neurons?

# %%
keep = structured.choose(teacher, 0.5, score, all_heads)
keep |= structured.choose(teacher, 0.5, score, all_ffn)
same = [keep[name] for name in all_heads] == heads_that_stay(importance)
print("the same heads as those of heads_that_stay:", same)
widths = {name: (len(units), groups[name].units) for name, units in keep.items()}
pruned = structured.remove(teacher, keep)
print(f"{1 - pruned.num_parameters() / teacher.num_parameters():.0%} of all parameters go.")
plots.layer_widths(widths, title="The last layers lose the most FFN neurons")

# %% [markdown]
# Half of these units go, but less than a quarter of all parameters, because the embeddings stay.
#
# Layer 6 loses almost all of its FFN neurons. After layer 6, the classifier reads the vector of [CLS] alone. The FFN works on each token by
# itself, so in layer 6 its results for all other tokens are not used. In the earlier
# layers they are used, because attention carries them on to [CLS]. So layer 5 needs another explanation.
#
# Do these neurons really matter little? As a test, we remove *all but one* FFN neuron from one layer at a time.


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
# With one FFN neuron left in layer 6, the accuracy hardly changes, as Taylor predicted. But compare layers 1 and 4. Taylor kept almost all neurons of layer 1, and about a quarter of those of layer 4. Yet with one neuron left, both layers cost about the same.
#
# This is the limit of Taylor. It estimates what happens when the gate of *one* unit *begins* to close, not what happens when hundreds of units go at once. If its error differs between layers, their scores cannot be compared, and each layer should be ranked by itself. Michel et al. 2019 normalize the scores of each layer, perhaps for a similar reason.
#
# ## 4 · Which score is best?
#
# We compare Taylor with two other scores: the magnitude of a unit's rows, and random numbers. Each score ranks the units in two ways: all layers together, or each layer by
# itself, so that half of every layer goes. The seed picks the sentences for Taylor and the random scores. Magnitude has no randomness, so it has one run ([lesson2_scores.py](experiments/lesson2_scores.py)).
#
# **Predict first.** Half of the heads go, without training. Order the three scores. And which way of ranking is better for Taylor?

# %% jupyter={"source_hidden": true}
scores = lessons.results("lesson2_scores")
panels, gaps = {}, {"Taylor − random": {}, "Taylor − magnitude": {}}
rankings = ("all layers together", "each layer by itself")
for units in ("heads", "FFN neurons"):
    for ranked in rankings:
        case, place = {"units": units, "ranked": ranked}, f"{units}, {ranked}"
        found = {
            name: scores.runs(**case, score=name) for name in ("Taylor", "magnitude", "random")
        }
        for difference in gaps:
            other = "random" if "random" in difference else "magnitude"
            gaps[difference][place] = str(evaluation.gap(found["Taylor"], found[other]))
        panels[place] = found | {"magnitude": scores.accuracies(**case, score="magnitude")[0]}
    together, alone = (panels[f"{units}, {way}"]["Taylor"] for way in rankings)
    print(f"{units}, Taylor, {rankings[0]} − {rankings[1]}: {evaluation.gap(together, alone)}")
title = "Half of the units go: on average, Taylor costs the least accuracy"
look = {
    "xlabel": "validation accuracy",
    "reference": {"MiniLM": scores.accuracies(units="none")[0]},
}
look["roles"] = {"magnitude": "accent", "random": "random"}
plots.show(plots.seed_panels(panels, title=title, **look))
pd.DataFrame(gaps)

# %% [markdown]
# Taylor has the highest accuracy in all four panels. With each layer ranked by itself, half of the heads can go, and the accuracy stays close to MiniLM's.
#
# Which way of ranking is better for Taylor? We cannot tell, because both printed intervals contain zero. So try both.
#
# In the table, one interval over the seeds contains zero: heads, all layers together, against random. The three random draws differ too much there.
#
# Magnitude is no better than random. For heads, magnitude does much worse if all layers are ranked together. Probably some layers have larger weights than others, so magnitudes cannot be compared *across* layers.
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
# Of the three-layer models, the last three layers do best. Probably this is because the classifier was trained on the output of layer 6. The first three layers are right about half of the time, as a guess would be. Removing only layer 5 costs much less.
#
# After training, another choice may be better. Lesson 4 trains a student with every other layer, as DistilBERT does (Sanh et al. 2019).
#
# ## 6 · "Give me 2 ×"
#
# In practice you seldom want "40 % fewer parameters". You want the answer in half the time. `speed_up` searches for such a model. A layer's **width** is its number of heads or of FFN neurons.
#
# 1. The search measures how much time each width saves: eight widths for the heads and eight for the FFN. The narrowest layer has 192 FFN neurons, or 2 heads. <!-- not measured: an eighth of 1,536; of 12, rounded -->
# 2. For a given saving, the search picks the widths with the least total importance removed. This is a **knapsack problem**, the best choice under a limit (Shen et al. 2022).
# 3. The search builds this model and times it against the original. If the model is too slow, or more than a tenth too fast, the search tries another saving. Otherwise it returns this model.
# 4. When the tries run out, it returns the model that reached the target and lost the least importance.
#
# Here is step 2 with made-up numbers. We want to save at least four milliseconds:

# %%
from itertools import product

heads = [(0, 0.0), (2, 0.3), (3, 1.0)]  # of each width: (ms saved, importance removed)
ffn = [(0, 0.0), (2, 0.4), (4, 0.9)]
removed = {}  # heads, FFN → importance removed, where the saving is large enough
for one, other in product(heads, ffn):
    if one[0] + other[0] >= 4:
        removed[one, other] = one[1] + other[1]
        print(f"heads {one}, FFN {other}: {removed[one, other]:.1f} removed")
print("best choice:", min(removed, key=removed.get))

# %% [markdown]
# Two small cuts lose less than one large cut. But step 2 *adds up* the scores of hundreds of units, and section 3 showed the limit of that. So the sum only guides the search. We measure the accuracy of the result, which we call **model B**.
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
print(f"model B before training: {accuracy(faster.model)}; the teacher: {whole}")
for kind, names in {"heads": all_heads, "FFN neurons": all_ffn}.items():
    print(f"importance of all {kind}: {sum(score(teacher, groups[n]).sum() for n in names):.1f}")
title = "Heads go in all layers, FFN neurons in the last ones"
narrowest = {"heads": 2, "ffn": 192}
plots.layer_widths(faster.widths, title=title, narrowest=narrowest)

# %% [markdown]
# In our run only two heads are left in each layer, which is the narrowest width that the search tries. FFN neurons went mostly from the last layers, as in section 3.
#
# Why did so many *heads* go? Look at the two printed sums: all heads together have only about a tenth of the importance of all FFN neurons. Two reasons may explain this. A head's gradient is added up over 32 numbers before the absolute
# value, so positive and negative parts cancel. Also, a layer's sum has 12 terms for heads, but 1,536 for neurons. So a *sum* of scores does not prove that heads matter less.
#
# We asked for the speed-up at a batch of 8 sentences. Before measuring, we claimed at least 1.8 × at batches of 1 and 8 (section 8).
#
# **Predict first.** Is the speed-up the same for 1, 8 and 32 sentences?

# %%
pair = {"teacher": teacher, "model B": faster.model}
ratios = {}
with evaluation.one_thread():
    for n in (1, 8, 32):
        times = evaluation.latency(pair, sentences(n), settings.rounds)
        ratios[f"batch of {n}"] = evaluation.speedup(times["teacher"], times["model B"])
fewer = 1 - faster.model.num_parameters() / teacher.num_parameters()
print(f"Model B has {fewer:.0%} fewer parameters than the teacher.")
title = "One sentence alone gains less than a batch"
xlabel = "model B: × as fast as the teacher"
plots.intervals(ratios, title=title, xlabel=xlabel, margin={"1.8 × (our claim)": 1.8})

# %% [markdown]
# A single sentence gains least, and in our run 32 sentences gained a little more than 8. The probable reason is a **fixed cost**: Python and PyTorch need some time to start each layer's computation, however small it is. This cost weighs most when there is little to compute. So
# ask for a speed-up at the batch size that you will use.
#
# And measure twice, because a model may pass by a lucky measurement. Here both measurements at batch 8 agree.
#
# ## 7 · Recovery: fine-tune or distill?
#
# Now we train model B briefly on a part of the training sentences. To save time, the embeddings stay as they are. The loss compares the
# model's outputs with the teacher's, and the labels are not used. Lesson 3 explains this loss.

# %%
train = reviews["train"].select(range(settings.recover_on))
logits = models.cached_logits(teacher, train)  # the teacher's outputs for these sentences
student = copy.deepcopy(faster.model)
student.base_model.embeddings.requires_grad_(False)
recipe = training.Recipe(epochs=1, lr=2e-4, batch_size=32, warmup=0.1, decay=True)
loss = partial(distillation_loss, T=2.0, alpha=1.0)
recovered = distill(student, logits, {"train": train}, recipe, loss=loss).model
print(f"trained once on {len(train):,} of {len(reviews['train']):,} training sentences")

# %% [markdown]
# **Predict first.** How much of the lost accuracy comes back?

# %%
before = accuracy(faster.model)
after = accuracy(recovered)
steps = {"teacher": whole, "before training": before, "trained": after}
back = (after.value - before.value) / (whole.value - before.value)
print(f"{back:.0%} of the lost accuracy came back")
answers = []  # of each model: [seeds, sentences]
for network in (recovered, faster.model):
    correct = evaluation.correct(network, reviews["validation"])
    answers.append(correct[None])  # one seed
tables.differences({"model B, trained − before training": answers})

# %% [markdown]
# About a third of it came back in our run. The interval of the gain contains zero, so this one run cannot show that training helped. In the first figure, model A was trained with three seeds, and more than half came back on average.
#
# `save` stores the widths of all layers, too, and `load` reads them:

# %%
folder = course_lib.save(recovered, cache.work_folder("lesson2b"))
steps["trained, saved, and loaded"] = accuracy(course_lib.load(folder))
pd.DataFrame({"validation accuracy": {name: str(one) for name, one in steps.items()}})

# %% [markdown]
# So what does a speed-up cost? We compare three smaller models at a batch of 8:
#
# - *Model A* is the simple cut of the first figure. We chose its amounts (half and two thirds) by hand, and Taylor ranked all layers together.
# - *Model B* is the result of the search. A and B had the same kind of training, on the same sentences.
# - *Layers 4, 5, 6* is MiniLM without the other three layers.
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
cut = {"model B": steps["before training"], "layers 4, 5, 6": shorter["4, 5, 6"]}
cut["model A"] = accuracy(others["model A"])
both = others["model A"], faster.model
a_and_b = [evaluation.correct(network, reviews["validation"])[None] for network in both]
display(tables.differences({"before training, model A − model B": a_and_b}))
trained = {"model B": steps["trained"], "model A": recovery.runs(way="distilled")}
columns = {"× as fast": {name: f"{one.value:.2f}" for name, one in speed.items()}}
for said, of in {"before training": cut, "distilled": trained}.items():
    columns[said] = {name: f"{of[name].value:.1%}" if name in of else "not tried" for name in speed}
pd.DataFrame(columns)

# %% [markdown]
# In our run, model A is the most accurate and even the fastest. Before training, the interval of A − B is above zero. Before training, the three-layer model is the least accurate. These are validation accuracies. After training, A is a mean over seeds, and B was trained once.
#
# So a search need not beat a simple cut. Perhaps the search removed too many heads.
#
# Was the teacher needed? We go back to the stored experiment with model A. Both ways of training use the same sentences and the same number of steps.
#
# **Predict first.** Which is better, fine-tuned or distilled?

# %% jupyter={"source_hidden": true}
gap = evaluation.gap(*(recovery.runs(way=way) for way in ("distilled", "fine-tuned")))
print(f"distilled − fine-tuned, on the validation set: {gap}")
stored = {}
for way, runs in {"teacher": 1, "as cut": 1, "fine-tuned": None, "distilled": None}.items():
    name = way.replace("as cut", "before training")
    stored[name] = test.stored(name, torch.stack(recovery.column("test", way=way))[:runs])
for name in ("teacher", "before training"):
    stored[name] = stored[name].expand_as(stored["distilled"])
over = evaluation.paired_test_over_seeds
gaps = {way: over(stored[way], stored["teacher"]) for way in list(stored)[1:]}
shown = {f"{way} − teacher": value for way, value in gaps.items()}
shown["distilled − fine-tuned"] = over(stored["distilled"], stored["fine-tuned"])
title = "Training helps, and we cannot show that distilling is better"
plots.intervals(shown, title=title, xlabel="difference on the test set, in points")

# %% [markdown]
# Before training, model A is clearly below the teacher, and both ways of training bring it much closer.
#
# Does the teacher help? **Not that we could show.** The printed interval contains zero. On the test set (last row), fine-tuning is even a little ahead. A possible reason is that *every* sentence has a label here. Lessons 3 and 4 show when a teacher helps.
#
# ## 8 · The claims
#
# Each margin was written down before the measurement. The first three rows are about the test set, and the next three about the validation set.

# %% jupyter={"source_hidden": true}
claims = lessons.Claims(test)
for way in ("fine-tuned", "distilled"):
    said = f"Model A, {way}: at most 1 point below the teacher"
    claims.add(said, value=gaps[way], margin=-0.01, unit="points")
said = "Model A: distilling recovers more than fine-tuning on the same sentences"
value = over(stored["distilled"], stored["fine-tuned"])
claims.add(said, value=value, margin=0, unit="points", source="a common recommendation")
said = "With one FFN neuron left in layer 6, MiniLM loses less than 3 points"
claims.add(said, value=lost["layer 6"], margin=-0.03, unit="points")
for units in ("heads", "FFN neurons"):
    case = {"units": units, "ranked": "all layers together"}
    value = evaluation.gap(scores.runs(**case, score="Taylor"), scores.runs(**case, score="random"))
    said = f"Taylor beats random: half of the {units} go, without training, all layers together"
    claims.add(said, value=value, margin=0, unit="points")
for n in (1, 8):
    said = f"Model B ({settings.target:g} × at batch 8) is at least 1.8 × as fast at batch {n}"
    claims.add(said, value=ratios[f"batch of {n}"], margin=1.8, unit="×")
claims

# %% [markdown]
# After distilling, the interval of model A ends just below the margin, so the claim does not hold. After fine-tuning, we cannot tell. Taylor beats random for FFN neurons. For heads ranked over all layers, three seeds are too few.
#
# The last two rows depend on your machine. On ours, the interval at batch 1 contains the margin, so we cannot tell.
#
# **In practice**: start with a simple cut by Taylor, and measure its time. In our run, that was enough. Use the search if you must reach a certain speed. Train both models briefly, and keep the more accurate one.
#
# ## Recap
#
# - A head is some rows of Q, K and V and the same columns of O. An FFN neuron is a row of "up" and a column of "down".
# - The Taylor gate estimates what one unit does to the loss, not what hundreds do together. Compare every score with random, on your own model.
# - Half of MiniLM's parameters are embeddings. So pruning its layers saves more time than parameters.
# - Ask for a speed-up instead of an amount, and compare the result with a simple cut.
# - A short training brings back a part of what was lost. With all labels at hand, we could not show that a teacher helps.
#
# ## Quiz
#
# **1.** A layer has 8 heads of size 64. Which rows of Q belong to the third head?
# <details><summary>Answer</summary>Counted from 0, it is head 2, so rows 128 to 191.</details>
#
# **2.** Why can MiniLM do almost without the FFN of layer 6?
# <details><summary>Answer</summary>A likely reason: the classifier reads [CLS] alone, so the results of this FFN for all other tokens are not used.</details>
#
# **3.** A model is 2 × as fast at batch 32 on your laptop. What do you know about batch 1 on a server?
# <details><summary>Answer</summary>Little. At batch 1 the gain is probably smaller, and the server has another processor. Measure there.</details>
#
# **4.** You have pruned a model, and all your sentences have labels. Do you need a teacher to recover the accuracy?
# <details><summary>Answer</summary>Perhaps not. In this lesson, we could not show that distilling is better. Try both, and compare on the validation set.</details>
#
# ## Try it yourself
#
# [Lab 2](../exercises/02_structured_pruning.ipynb) belongs to lessons 2a and 2b. After it, ask `speed_up` for 2 × at batch 32. Does it choose other units than at batch 8?
#
# ## References
#
# - Vaswani et al. 2017, *Attention is all you need*: sections 3.1 to 3.3, the layer and its heads.
# - Michel, Levy & Neubig 2019, *Are sixteen heads really better than one?*: section 2 and equation 2, the gate.
# - Sanh, Debut, Chaumond & Wolf 2019, *DistilBERT*: section 3, every other layer.
# - Wang et al. 2020, *MiniLM*: the pretrained model.
# - Shen et al. 2022, *Structural pruning via latency-saliency knapsack*: section 3, widths for a latency.
