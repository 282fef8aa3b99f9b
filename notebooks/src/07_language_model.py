# %% [markdown]
# # Lesson 7 · A language model
#
# **How do I make a language model smaller, and what does distillation bring back?**
#
# The model is a real one, with 135 million <!-- not measured: its name says so --> parameters, and two processor cores are enough for all of it.
#
# You will be able to
#
# - measure a language model by its perplexity, with an interval over reviews;
# - drop whole layers, FFN neurons, and single weights, each by a suitable score;
# - distill a language model token by token, and say what that adds to fine-tuning;
# - read a table of tokens per second, with reading and writing kept apart.
#
# **You need** lessons [1](01_pruning_basics.ipynb), [2b](02b_structured_transformers.ipynb), [3](03_distillation_loss.ipynb) and [5](05_combined_compression.ipynb), and 8 GB of memory. <!-- not measured: a requirement --> That is more than Binder gives. The first run fetches the model, 93 MB. <!-- not measured: the size of a file -->
# It needs the package `gguf`: `make setup EXTRAS="lab llm"`.
#
# **Time** about 60 minutes; the computer works about 10 of them on two cores.

# %% tags=["setup"]
# the first cell of every lesson

# %% tags=["parameters"] jupyter={"source_hidden": true}
profile = "full"

# %%
from course_lib import lessons

settings = lessons.start("lesson7", profile)

import time
from functools import partial
from itertools import pairwise

import pandas as pd
import torch
from torch.utils.data import TensorDataset

from course_lib import datasets, evaluation, models, pruning, quantization, structured, training
from course_lib.distillation import distill_tokens, token_kl
from course_lib.lessons import diagrams, fill_in, plots, sliders, solutions, tables

# %% [markdown]
# ## The result first
#
# We dropped nine of the thirty layers of SmolLM2, a small language model, and trained nothing. The script [lesson7_layers.py](experiments/lesson7_layers.py) chose the nine layers in three ways. This cell loads what it stored.

# %% jupyter={"source_hidden": true}
depth = lessons.results("lesson7_layers")


def dropped(n, by="block influence"):
    """A stored perplexity, and the parameters."""
    case = {"what": "dropped", "by": by, "layers": n}
    values = [depth.column(name, **case)[0] for name in ("losses", "tokens", "parameters")]
    return evaluation.Perplexity(*values[:2]), values[2]


nine = {by: dropped(9, by)[0] for by in ("left-out loss", "block influence", "random")}
for by, found in nine.items():
    print(f"nine layers dropped by {by}: {found.times(dropped(0)[0])} the whole model's perplexity")
rows = {"whole": dropped(0)[0]} | {f"without nine, {by}": found for by, found in nine.items()}
plots.perplexities(rows, title="It matters which nine of thirty layers go")

# %% [markdown]
# **Perplexity** says how well a model predicts text, and lower is better (section 1). The printed numbers compare each model with the whole one.
#
# *Left-out loss* drops the layers whose absence raises the loss least. *Block influence* drops the layers that change the hidden states least (section 3). *Random* draws them. In section 6, a few minutes of training bring back a large part of what was lost.
#
# ## 1 · Meet the model
#
# SmolLM2 is a **decoder**: it reads tokens from left to right, and predicts the next one. It was pretrained on a lot of text and then trained on conversations. Its file holds 4-bit numbers. We read them into float32, and compare everything with this float32 model.
#
# Such a model expects a **chat template**, special tokens that mark who wrote what.
#
# **Predict first.** What does the model write if you leave the template out?

# %%
model, tokenizer = models.language_model(settings.model)


def write(network, text, template=True):
    chat = [{"role": "user", "content": text}]
    marked = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(marked if template else text, return_tensors="pt")["input_ids"]
    limits = {"max_new_tokens": settings.words, "do_sample": False, "pad_token_id": 0}
    new = network.generate(ids, attention_mask=torch.ones_like(ids), **limits)
    return tokenizer.decode(new[0, ids.shape[1] :], skip_special_tokens=True)


prompt = "Write a short review of a film about a lighthouse."
print("with the template:   ", write(model, prompt))
print("without the template:", write(model, prompt, template=False))

# %% [markdown]
# With the template the model answers. Without it, the model wrote nothing in our run, and there was no error and no warning. A student that is trained without the template, but used with it, can fail just as silently.
#
# ### Perplexity
#
# The model gives a probability to every possible next token. We look at the probability $p$ of the token that really came. With tokens $x_1, \ldots, x_n$, the **perplexity** is the exponential of the mean loss:
#
# $$\mathrm{PPL} = \exp\left(-\frac{1}{n - 1} \sum_{t=2}^{n} \log p(x_t \mid x_1, \ldots, x_{t-1})\right)$$
#
# A perplexity of 50 <!-- not measured: an example --> means that the model is as unsure as if it chose among fifty equally likely tokens each time. Models with different tokenizers have different tokens, so compare their loss per byte of the same text instead.
#
# The drawing has an example with four tokens. **Your turn (1 of 2).** Below it, compute the perplexity of one text. The logits at position $t$ predict the token at $t + 1$.

# %%
diagrams.next_tokens()


# %% tags=["nbval-check-output"]
def perplexity_of(logits, ids):
    """logits [length, vocabulary], ids [length] → the perplexity, a float."""
    ...


logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0], [5.0, 5.0, 5.0]])
tries = [(logits, torch.tensor([0, 1, 2])), (logits[:2], torch.tensor([2, 2]))]
perplexity_of = fill_in.check(perplexity_of, against=solutions.perplexity_of, examples=tries)

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def perplexity_of(logits, ids):
#     log_p = logits[:-1].log_softmax(-1)
#     return float((-log_p[range(len(ids) - 1), ids[1:]]).mean().exp())
# ```
# </details>
#
# We measure on the first 256 tokens of movie reviews from IMDb. We train on some reviews, choose on others (*validation*), and use the *test* reviews only at the end. A few of the training reviews, the *calibration* reviews, serve to compute scores. The model may have read some reviews in its pretraining, which is the same for all our variants.


# %%
def reviews(part, n=settings.documents):
    return datasets.review_tokens(tokenizer, n, settings.length, part)


def perplexity(network):
    return evaluation.perplexity(network, reviews("validation"))


train = reviews("train", settings.steps * settings.batch)
calibration = train[: settings.calibration]
first = reviews("validation")[0]
whole = perplexity(model)
with torch.no_grad():
    print(f"the first review, by hand: {perplexity_of(model(first[None]).logits[0], first):.2f}")
print(f"by the library: {(whole.losses[0] / whole.tokens[0]).exp():.2f}; all reviews: {whole}")

# %% [markdown]
# The interval is wide, because some reviews are much easier than others. But all our models read the *same* reviews, so we can compare two models review by review. Such a comparison has a narrower interval. `a.times(b)` makes it: the perplexity of `a` as a multiple of that of `b`.
#
# ## 2 · Where the parameters are
#
# **Predict first.** Which share of the parameters is the table of token embeddings?

# %%
counts = {}
for part, word in {"embeddings": "embed", "attention": "self_attn", "FFN": "mlp"}.items():
    sizes = [p.numel() for name, p in model.named_parameters() if word in name]
    counts[part] = sum(sizes) / 1e6  # the norms are too few to see
drawn = {"SmolLM2": counts}
title = "A fifth is the vocabulary"
plots.show(plots.parts(drawn, "million parameters", title=title, shares=True))
diagrams.grouped_heads()

# %% [markdown]
# About a fifth. The model uses this table twice. At the start it turns tokens into vectors, and at the end it turns vectors into logits. Such weights are called **tied**. They are stored and counted once.
#
# SmolLM2 is built like Llama. Its FFN has three matrices: *gate* and *up* both widen the vector, their outputs are multiplied, and *down* narrows it again. One FFN neuron is a row of gate, a row of up, and a column of down.
#
# In the second drawing, three query heads share one head of keys and values. This is **grouped-query attention** (Ainslie et al. 2023). So the smallest removable unit of attention is a key–value head with its query heads. `structured.groups` finds these units, and `remove` cuts them out exactly, as in lesson 2b.
#
# ## 3 · Depth: which layers can go?
#
# If a layer's output and input point in nearly the same direction, the layer changed little. **Block influence** measures this (Men et al. 2024, equation 1), as a mean over all tokens:
#
# $$\mathrm{BI}_l = 1 - \mathbb{E}_t \cos\left(h_{l,t},\, h_{l+1,t}\right)$$
#
# $h_{l,t}$ is the hidden state of token $t$ before layer $l$, and $h_{l+1,t}$ the one after it.
#
# **Predict first.** Which layers have the least influence: the first, the middle, or the last ones?

# %%
with torch.no_grad():
    states = model.model(calibration, output_hidden_states=True).hidden_states
cosines = [torch.cosine_similarity(before, after, -1).mean() for before, after in pairwise(states)]
by_hand = 1 - torch.stack(cosines)
influence = structured.block_influence(model, TensorDataset(calibration))
same = torch.allclose(by_hand[:-1], influence[:-1].float(), atol=1e-4)
print("by hand, the same but for the last layer:", same)
del states  # they take much memory

# %% [markdown]
# By hand, the last layer's influence is wrong. The last entry of `hidden_states` comes after the model's final norm, not directly after the last layer. The library reads the output of each layer itself.
#
# A second ranking takes more time: leave each layer out in turn, and measure the loss. The script from the top did both.

# %% jupyter={"source_hidden": true}
ranked = {
    by: depth.column("scores", what="ranking", by=by)[0]
    for by in ("block influence", "left-out loss")
}
for by, scores in ranked.items():
    print(f"the nine lowest by {by}:", sorted(i + 1 for i in scores.argsort()[:9].tolist()))
left_out = ranked["left-out loss"].exp() / evaluation.perplexity(model, calibration).value
panels = {
    "block influence": ranked["block influence"].tolist(),
    "perplexity without the layer, × the whole model's": left_out.tolist(),
}
title = "Both measures agree about layers 1, 2, and 30, but not about 12 and 25"
plots.layer_scores(panels, title=title, marked=[12, 25])

# %% [markdown]
# Most layers with little influence lie in the middle. The first layer has by far the most, and without it the model breaks. Both measures agree about the first two layers and the last. But look at the marked ones. Layer 25 has far more influence than layer 12, yet the model needs layer 12 more. Influence says how much a layer changes the hidden states, but not how much the later layers need this change.
#
# The other layers in the middle are nearly equal, so the two measures choose different ones: compare the printed lists.
#
# Now we drop the nine layers of the lowest block influence. The left-out loss chose better, but it takes a run of the model for each layer, and block influence takes one in all. The drawing shows a smaller model, which has six layers and loses two.
#
# The kept layers keep their weights, but they must be numbered anew, because of the **cache**. It holds the keys and values of all earlier tokens, so that writing the next token does not compute them again. The number of a layer, `layer_idx`, says which part of the cache belongs to it. With an old number, writing fails or gives nonsense. Perplexity needs no cache, so it stays right. `remove_layers` numbers the layers anew. Exercise 4 of [lab 7](../exercises/07_language_model.ipynb) shows the error.
#
# **Predict first.** What will the model write without nine of its layers?

# %%
kept = sorted(influence.argsort()[settings.dropped :].tolist())
cut = structured.remove_layers(model, kept, share_tensors=True)  # copies no weights
as_cut = perplexity(cut)
gone = sorted(set(range(len(influence))) - set(kept))
print("dropped layers, counted from 1:", [i + 1 for i in gone])
print("perplexity:", as_cut, "→", as_cut.times(whole))
print(structured.changes(model, cut))
print(write(cut, prompt))
diagrams.layers_dropped()

# %% [markdown]
# The model still writes words, but not what it was asked for. The slider drops other numbers of layers, without training.

# %% jupyter={"source_hidden": true}
speeds = depth.column("decode", what="speed")[0]

grid = {
    n: sliders.Depth(dropped(n)[0], rate, dropped(n)[1])
    for n, rate in zip(depth.recipe["dropped"], speeds, strict=True)
}
sliders.depth_explorer(grid)

# %% [markdown]
# The axis of the perplexity is logarithmic. A nearly straight line there means exponential growth. The speed grows, too, but slowly at first. These speeds come from another, slower run than those in section 7, so do not compare the two.
#
# ## 4 · Width: FFN neurons and heads
#
# Instead of dropping layers, we can make each one narrower. The **activation** score is the mean size of a neuron's output on some text (Muralidharan et al. 2024, section 2.2). It needs no gradient. The **Taylor** score of lesson 2b estimates how much the loss changes. For the activation score by hand, a hook reads what enters *down*, because that is the neurons' output.


# %%
def at_down(measure):
    """What `measure` finds in the inputs of each layer's *down*: name of the FFN → result."""
    found, hooks = {}, []

    def watch(name, module, inputs):
        found[name] = measure(inputs[0].abs())  # [reviews, tokens, neurons]

    for i, layer in enumerate(model.model.layers):
        named = partial(watch, f"layer.{i}.ffn")  # a hook that has the name of its layer
        hooks.append(layer.mlp.down_proj.register_forward_pre_hook(named))
    with torch.no_grad():
        model.model(calibration)
    for hook in hooks:
        hook.remove()
    return found


# %% [markdown]
# In the next cell, `size=2` means two reviews at a time, and `per_group=True` takes the same fraction from every layer. `share_tensors=True` copies only what is cut, which saves memory.
#
# **Predict first.** A quarter of the FFN neurons of each layer goes, or one of its three key–value heads. Which score is best: activation, Taylor, or random? And which costs more, the neurons or the head?


# %%
def narrowed(kind, amount, score):  # a score: (model, group) → one number for each unit
    groups = [name for name in structured.groups(model) if name.endswith(kind)]
    keep = structured.choose(model, amount, score, groups, per_group=True)
    return perplexity(structured.remove(model, keep, share_tensors=True))


activation = at_down(lambda values: values.mean((0, 1)))
short = TensorDataset(calibration[:, : settings.length // 2])
scores = {"Taylor": structured.gate_taylor(model, short, loss=training.next_token_loss, size=2)}
scores["activation"] = lambda model, group: activation[group.name]
scores["random"] = structured.random_score(0)
narrow = {f"{by}, neurons": narrowed("ffn", 0.25, score) for by, score in scores.items()}
print("Taylor ÷ activation:", narrow["Taylor, neurons"].times(narrow["activation, neurons"]))
narrow |= {f"{by}, heads": narrowed("heads", 1 / 3, scores[by]) for by in ("Taylor", "random")}
plots.perplexities(narrow, title="Neurons or heads removed, as cut", reference={"whole": whole})

# %% [markdown]
# Activation is ahead of Taylor here. But Taylor read only the first half of each calibration review, because gradients take memory. Both are far better than random.
#
# `remove` takes the neurons out of gate, up, and down at once. Key–value heads are removed in the same way, with the groups that end in `heads`. A layer has three such heads: one is a third of its attention, and has less than half as many parameters as a quarter of the FFN neurons. The last two rows of the figure show what its removal costs. A head chosen by Taylor costs about as much as the neurons chosen by activation, although fewer parameters go. A head chosen at random costs far more than one chosen by Taylor.
#
# ## 5 · Single weights: Wanda
#
# Lesson 1 set single weights to zero by magnitude. But in a language model, a few inputs of a layer are often many times as large as the others. A small weight on such an input matters, and its magnitude does not show that. **Wanda** multiplies each weight's magnitude by the norm of its input (Sun et al. 2024, section 3):
#
# $$S_{ij} = |W_{ij}| \cdot \|x_j\|_2$$
#
# $x_j$ holds input $j$ of the layer for all calibration tokens. Weights compete only with others of the same output row $i$. In the drawing, blue weights stay.
#
# **Your turn (2 of 2).** Write Wanda's mask below the drawing.

# %%
diagrams.wanda_mask()


# %% tags=["nbval-check-output"]
def wanda_mask(weight, norms, amount):
    """weight [rows, inputs], norms [inputs] → bool mask; in each row `amount` of the weights go."""
    ...


weight = torch.tensor([[0.5, -0.9, 0.2, 0.4], [-0.3, 0.1, 0.6, -0.7]])
tries = [(weight, torch.tensor([4.0, 0.5, 8.0, 1.0]), 0.5), (weight, torch.ones(4), 0.25)]
wanda_mask = fill_in.check(wanda_mask, against=solutions.wanda_mask, examples=tries)

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def wanda_mask(weight, norms, amount):
#     scores = weight.abs() * norms
#     places = scores.argsort(1).argsort(1)  # the place of each weight in its row, from the lowest
#     return places >= round(amount * weight.shape[1])
# ```
# </details>
#
# The library's `pruning.wanda` collects the norms for all layers in one pass. First we compare its mask with `wanda_mask` on one layer. Then half of all weights in the layers become zero.
#
# **Predict first.** Which score is best, and which is worst: Wanda, magnitude, or random? Which costs more, half of each row or the pattern 2:4 of lesson 1?
#
# <details><summary>What we expected</summary>Wanda is best and random is worst. The pattern 2:4 costs more, because it leaves less choice.</details>

# %%
wanda = pruning.wanda(model, TensorDataset(calibration))  # a function: layer, weight → scores
layer = "model.layers.0.mlp.down_proj"
weight = model.get_submodule(layer).weight.detach()
norms = wanda(layer, torch.ones_like(weight))[0]  # the score of a weight of 1 is its input's norm
by_hand = wanda_mask(weight, norms, 0.5)
equal = by_hand == pruning.row_masks(model, 0.5, wanda, [layer])[layer]
print(f"wanda_mask and the library agree on {equal.float().mean():.1%} of one layer's weights")


# %%
def perplexity_masked(masks):
    """The perplexity of a masked copy of the model. The copy's memory is free again after it."""
    found = perplexity(pruning.apply_masks(model, masks))
    lessons.free_memory()
    return found


sparse = {}
for name, score in {"Wanda": wanda, "magnitude": pruning.magnitude}.items():
    sparse[f"{name}, half of each row"] = perplexity_masked(pruning.row_masks(model, 0.5, score))
    sparse[f"{name}, 2:4"] = perplexity_masked(pruning.n_m_masks(model, 2, 4, score))
random = pruning.row_masks(model, 0.5, pruning.random_score(0))
print("random, half of each row:", perplexity_masked(random))
title = "Wanda is clearly better than magnitude"
plots.perplexities(sparse, title=title, reference={"whole model": whole})

# %% [markdown]
# Wanda is far ahead of magnitude, and needs only one pass over a few reviews. Random is last, far outside the figure. The pattern 2:4 costs more than a free half of each row, because it chooses within every four neighbors. In return, GPUs can compute faster with it. On our CPU these zeros save neither time nor space.
#
# ## 6 · Distillation, token by token
#
# A classifier gives one distribution per text. A language model gives one *per token*, over the whole vocabulary. With the teacher's distribution $p_t$ and the student's $q_t$, the loss is the mean over all tokens:
#
# $$L = \frac{1}{n} \sum_t \mathrm{KL}(p_t \,\|\, q_t) = \frac{1}{n} \sum_t \sum_v p_t(v) \log \frac{p_t(v)}{q_t(v)}$$
#
# This is the **forward KL**. The **reverse KL** exchanges the two, $\mathrm{KL}(q_t \,\|\, p_t)$. A student that is too small to copy the teacher learns something different from each. In the drawing, the student can have only one peak:

# %%
diagrams.two_divergences()

# %% [markdown]
# The forward KL is large where the teacher's probability is high and the student's is low. So the student covers both peaks. The reverse KL is large where the student's probability is high and the teacher's is low. So the student stays on one peak. For *writing* text, reverse KL can be better (Gu et al. 2024). Perplexity rewards a student that covers everything, so we use forward KL.
#
# Three traps:
#
# - Teacher and student may have different numbers of logits for the same tokens, because one was padded to a round number. A small Qwen2.5 gives 151,936 logits, a large one 152,064. <!-- not measured: from their configs --> Compare only the logits of real tokens, which come first (`vocabulary=`).
# - Padded or forbidden tokens may have the logit $-\infty$. Then the loss multiplies probability 0 by log-probability $-\infty$, which is NaN.
# - Sometimes only the teacher's **top-k** probabilities, its $k$ highest, are stored. Then count all other tokens together as one more class, with the rest of the probability. Otherwise the student learns that they are impossible.
#
# Here the teacher and the cut model continue a text.

# %%
ids = tokenizer("The film was", return_tensors="pt")["input_ids"]
with torch.no_grad():
    t = model(ids).logits[0, -1]
    s = cut(ids).logits[0, -1]
log_p, log_q = t.log_softmax(0), s.log_softmax(0)
by_hand = (log_p.exp() * (log_p - log_q)).sum()
print(f"forward KL by hand {by_hand:.3f}, by the library {token_kl(s[None], t[None]):.3f}")
print(f"reverse KL {token_kl(s[None], t[None], reverse=True):.3f}")
for k in (1, 10, 100):
    mass = log_p.exp().topk(k).values.sum()
    kl = token_kl(s[None], t[None], top_k=k)
    print(f"top {k:3}: {mass:4.0%} of the probability, KL {kl:.3f}")
top = t.topk(6).indices
names = [repr(tokenizer.decode([int(i)])) for i in top]
sliders.temperature_explorer({"The film was": t[top]}, names, among="of these 6", each="next token")

# %% [markdown]
# The top-k KL is smaller than the full one, because differences among all other tokens no longer count.
#
# The slider shows the six likeliest tokens, rescaled to sum to 1. In the left panel, $T$ is the temperature of **sampling**. A small $T$ nearly always picks the likeliest token, and a large $T$ picks almost at random. In the right panel, $T$ is the temperature of **distillation**. The bars show the push of lesson 3 on a student that gives all six tokens the same probability. We distill at $T = 1$, because the distributions are soft already.
#
# ### Recover
#
# The cut model is the student now. We fine-tune one copy of it and distill another. Both read the same plain reviews, without the chat template, in the same order and with the same learning rates.
#
# **Predict first.** The cut raised the loss, which is the log of the perplexity. Which share of this rise do 20 steps undo? Is distillation or fine-tuning ahead?

# %%
cut.get_input_embeddings().requires_grad_(False)  # the tied table stays fixed: saves memory
recipe = training.Recipe(epochs=1, lr=3e-4, batch_size=settings.batch, warmup=0.1, decay=True)
texts = {"train": TensorDataset(train)}
tuned = training.fit(cut, texts, recipe, loss=training.next_token_loss).model
found = {"fine-tuned": perplexity(tuned)}
del tuned  # one student at a time saves memory
lessons.free_memory()
began = time.perf_counter()
distilled = distill_tokens(cut, model, texts, recipe).model
seconds = (time.perf_counter() - began) / settings.steps
found["distilled"] = perplexity(distilled)
for way, one in found.items():
    print(f"{way}: {one}; back: {one.recovered(as_cut, whole)}")
print("fine-tuned:", found["fine-tuned"].times(found["distilled"]), "the perplexity of distilled")
print("the distilled model writes:", write(distilled, prompt))

# %% [markdown]
# A large part comes back within minutes. *Back* is measured on the log of the perplexity. On this scale, going from 200 to 100 counts as much as going from 100 to 50. <!-- not measured: an example -->
#
# Was distillation better than fine-tuning on the same text? **No.** Review by review, fine-tuning was a little ahead. This is one run, with one learning rate for both. We measure perplexity on movie reviews, and fine-tuning on movie reviews trains just that. Distillation may pay where the teacher knows more than the text shows, for example how to converse. We did not measure that.
#
# Now read the last printed line. The model writes about a film again, but no good review. The students read plain reviews, and a prompt has the chat template. We measured only reviews, which does not say how well a model answers.
#
# Twenty steps are few. The script [lesson7_recovery.py](experiments/lesson7_recovery.py) trained each student once, for longer, and measured in between. For more steps, change its `measured_after`; a thousand take hours on two cores. In its figure, compare the last points: how much is back, and which student is ahead? At step 20 its learning rate is still high, so the values differ from ours.
#
# <details><summary>Answer</summary>More steps bring back more, but ever more slowly. The fine-tuned student stays ahead, and neither reaches the four fifths that we had hoped for.</details>

# %% jupyter={"source_hidden": true}
longer = lessons.results_if_stored("lesson7_recovery")
if longer:
    curves = tables.recovery(longer)
    plots.show(plots.recovery(curves, title="How much do more steps bring back?"))

# %% [markdown]
# ## 7 · int8, and the table
#
# Last, the linear layers become int8 (lesson 5). PyTorch's dynamic int8 rounds the weights, with a scale for each output row. It also rounds the inputs of each layer, with one scale for the whole batch.
#
# A language model has two speeds. **Prefill** reads the prompt, all tokens at once, so arithmetic limits it. **Decode** writes one token after the other. For each of them, *all* weights must be read from memory, so memory limits it. int8 weights take a quarter of the space, which should help decode. int8 arithmetic is cheaper as well, which should help prefill.
#
# **Predict first.** Which row of the table writes fastest? And if int8 raises the perplexity, is it because of the weights or because of the inputs? The third cell rounds the weights alone.
#
# <details><summary>What we expected</summary>The small int8 model writes fastest, because it has the fewest bytes to read. We expected int8 to cost almost nothing, as in lesson 5.</details>

# %%
test = lessons.TestSet(reviews("test"), "test reviews")
table = {
    "whole": model,
    "nine layers dropped": cut,
    "... and distilled": distilled,
    "... and int8": quantization.quantize(distilled, backend="torch"),
    "whole in int8": quantization.quantize(model, backend="torch"),
}
speed = evaluation.generation_speed(table, reviews("validation", 1), rounds=settings.rounds)
on_test = {}
for name, network in table.items():
    on_test[name] = test.measured(name, network, evaluation.perplexity)

# %%
rows = {}
for name, network in table.items():
    size = evaluation.footprint(network, zipped=False)
    rows[name] = {
        "million parameters": f"{size.parameters / 1e6:.0f}",
        "MB": f"{size.bytes / 1e6:.0f}",
        "read / s": f"{speed[name].prefill_rate:.0f}",
        "written / s": f"{speed[name].decode_rate:.0f}",
        "perplexity": str(on_test[name]),
    }
pd.DataFrame(rows).T

# %%
rounded = quantization.fake_quantize(model, bits=8)
weights_only = test.measured("int8 weights alone", rounded, evaluation.perplexity)
print("int8 weights, float inputs:", weights_only.times(on_test["whole"]), "the whole model's")
print("int8 weights, int8 inputs: ", on_test["whole in int8"].times(on_test["whole"]))
shares = at_down(lambda values: (values < values.max() / 254).float().mean())  # half a scale
zeros = torch.stack(list(shares.values()))  # of each layer
print(f"inputs of *down* that int8 rounds to zero: {zeros.median():.0%} in a typical layer,")
print(f"{zeros.max():.0%} in the one with the most")

# %% [markdown]
# PyTorch keeps the tied table twice: in float32 to look up tokens, and in int8 to compute the logits. So the int8 models have more parameters, and more than a quarter of the bytes. But for each token, only the int8 copy is read in full.
#
# Here int8 makes writing faster than dropping layers does, and both together are fastest. But memory alone does not explain it. If it did, int8 would make writing almost four times as fast. In the table it does far less. So other work takes much of the time, for example rounding the inputs. We did not measure which.
#
# Now look at the perplexity. int8 makes it several times as high, although MiniLM lost almost nothing by int8 in lesson 5. The inputs are the reason. `fake_quantize` (lesson 5) rounds only the weights, in the same way, and computes in float. That costs almost nothing. But a few inputs are many times as large as the others (Dettmers et al. 2022, section 3). The scale is the distance between two int8 values, and the largest input lies 127 scales from zero. So all inputs below half a scale, 1/254 of the largest, become zero. In a typical layer these are about half of the inputs of *down*, and in one layer nearly all.
#
# There are three remedies. Keep the few large inputs in float, as Dettmers et al. do. Move a part of their size into the weights (Xiao et al. 2023). Or round the weights alone, as in our 4-bit file.
#
# ### The same at eight billion parameters
#
# With $N$ parameters, a forward pass takes about $2N$ operations for each token, and a training step takes $6N$. So a distillation step takes $2 N_\text{teacher} + 6 N_\text{student}$ for each token. Multiply this by the tokens in a step and divide by the seconds of the step: that is our speed.
#
# With this speed, the same formula gives the time for a larger model. Our example is from Sreenivas et al. 2024. They made a model of four billion parameters out of Llama 3.1 with eight billion, on 94 billion tokens. Training with AdamW takes 16 bytes of memory for each parameter: the weight, its gradient, and two moments, all in float32.

# %%
N_teacher = sum(p.numel() for p in model.parameters())
N_student = sum(p.numel() for p in distilled.parameters())
rate = (2 * N_teacher + 6 * N_student) * settings.batch * settings.length / seconds
print(f"one step took {seconds:.1f} s: {rate / 1e9:,.0f} billion operations per second")
needed = (2 * 8e9 + 6 * 4e9) * 94e9
print(f"8 → 4 billion parameters: {needed:.1e} operations")
print(f"on these two cores: {needed / rate / 3600 / 24 / 365:,.0f} years")
print(f"on one GPU at 4e14 per second: {needed / 4e14 / 3600:,.0f} hours")
print(f"memory: {4 * 16 + 8 * 2} GB for the student with AdamW, and the teacher in 16 bits")

# %% [markdown]
# So one GPU would be busy for months, and a hundred of them for about a day. What does that bring? On the benchmark MMLU, Sreenivas et al. 2024 report 65.3 % for the model of eight billion, 60.5 % for the one with narrower layers, and 58.7 % for the one with fewer layers.
#
# ## Recap
#
# - Perplexity is the exponential of the mean loss per token. Compare two models review by review.
# - Most layers between the ends cost little when one is left out alone. Block influence needs only one pass, but leaving out each layer in turn chose better. Number the kept layers anew.
# - For single weights, Wanda was far better than magnitude: a small weight on a large input matters.
# - A short training brought back more than half of the lost log-perplexity, distilled or fine-tuned. Look out for padding, −∞, top-k, and the chat template.
# - int8 made reading and writing faster. Rounding the weights cost almost nothing. But rounding the inputs with one scale for a whole batch cost much.

# %% jupyter={"source_hidden": true}
claims, source = lessons.Claims(test), "Sun et al. 2024, section 4"
add = partial(claims.add, unit="×")
for zeros in ("half of each row", "2:4"):
    value = sparse[f"magnitude, {zeros}"].times(sparse[f"Wanda, {zeros}"])
    said = f"Zeros in the pattern {zeros}: magnitude has at least 2 times Wanda's perplexity"
    add(said, value=value, margin=2, source=source)
said = "A quarter of the FFN neurons: random has at least 1.5 times the perplexity of activation"
add(said, value=narrow["random, neurons"].times(narrow["activation, neurons"]), margin=1.5)
said = "Nine layers: block influence chooses worse than the left-out loss"
add(said, value=nine["block influence"].times(nine["left-out loss"]), margin=1)
said = f"{settings.steps} steps of distillation bring back at least half of the lost log-perplexity (test)"
value = on_test["... and distilled"].recovered(on_test["nine layers dropped"], on_test["whole"])
claims.add(said, value=value, margin=0.5, unit="%")
if longer:
    said = f"{curves['distilled'][0][-1]} steps of distillation bring back at least 80 % of it"
    claims.add(said, value=curves["distilled"][1][-1], margin=0.8, unit="%")
said = f"After {settings.steps} steps, fine-tuning's perplexity is above distillation's"
add(said, value=found["fine-tuned"].times(found["distilled"]), margin=1)
for what, one in {"int8": on_test["whole in int8"], "int8 weights alone": weights_only}.items():
    said = f"{what} raises the perplexity by less than 3 %"
    add(said, value=one.times(on_test["whole"]), margin=1.03, side="below")
for name, least in {"... and distilled": 1.3, "whole in int8": 2}.items():
    said = f"It writes at least {least} times as fast as the whole model: {name.removeprefix('... and ')}"
    add(said, value=evaluation.speedup(speed["whole"].decode, speed[name].decode), margin=least)
claims

# %% [markdown]
# Each margin was written down first. The rows about int8, and the one with *test* in brackets, use the test reviews. All other perplexities use the validation reviews. The intervals are over the reviews, those of speed over the rounds. Each training has one seed, so chance in training is not in them.
#
# ## Quiz
#
# **1.** Model A has a perplexity of 12 and model B one of 15, with another tokenizer. Which one is better?
# <details><summary>Answer</summary>You cannot tell. A tokenizer with longer tokens makes each token harder to predict. Compare the loss per character or per byte of the same text.</details>
#
# **2.** Two perplexities are 50 (38 to 66) and 55 (41 to 73), on the same reviews. Is the difference only chance?
# <details><summary>Answer</summary>These intervals do not say it. Most of their width comes from easy and hard reviews, which are the same for both. Compare review by review.</details>
#
# **3.** After you dropped layers, the perplexity is as expected, but the model writes nonsense with the cache and good text without it. What did you forget?
# <details><summary>Answer</summary>To number the layers anew. `layer_idx` says where in the cache a layer finds its keys and values.</details>
#
# **4.** You have stored the teacher's ten likeliest tokens for each position, with 85 % of the probability. What is wrong with a KL over these ten, scaled to sum to 1?
# <details><summary>Answer</summary>It tells the student that all other tokens are impossible, although the teacher gives them 15 %. Count them as one more class.</details>
#
# **5.** Half of the weights are zero after Wanda, and the file is as large and the model as slow as before. Why?
# <details><summary>Answer</summary>A dense file stores a zero like any other number, and the processor multiplies by it. With zeros in the pattern 2:4, some GPUs are faster.</details>
#
# ## Try it yourself
#
# - Distill at `T=2`: `loss=partial(token_kl, T=2.0)`. Is the perplexity better or worse?
# - Choose the layers by the left-out loss. The folded cell of section 3 made `ranked`: drop by `ranked["left-out loss"]` instead of `influence`.
#
# **Exercises**: [exercises/07_language_model.ipynb](../exercises/07_language_model.ipynb).
#
# ## References
#
# - Ben Allal et al. 2025, *SmolLM2: When smol goes big*: the model.
# - Dettmers et al. 2022, *LLM.int8()*: section 3, large inputs.
# - Xiao et al. 2023, *SmoothQuant*: section 4.
# - Ainslie et al. 2023, *GQA*: section 2.2, grouped-query attention.
# - Men et al. 2024, *ShortGPT*: equation 1, block influence.
# - Muralidharan et al. 2024, *Compact language models via pruning and knowledge distillation* (Minitron): sections 2 and 3.
# - Sreenivas et al. 2024, *LLM pruning and distillation in practice*: the model of four billion parameters.
# - Sun et al. 2024, *A simple and effective pruning approach for large language models* (Wanda): section 3.
# - Hinton, Vinyals & Dean 2015, *Distilling the knowledge in a neural network*: section 2.
# - Gu et al. 2024, *MiniLLM*: section 2, reverse KL.
