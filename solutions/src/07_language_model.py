# %% [markdown]
# # Exercises 7 · A language model
#
# **You need** [lesson 7](../notebooks/07_language_model.ipynb). **Time** about 65 minutes; the computer works less than one of them, and some twenty more if you do the challenge with SmolLM2.
#
# Write your answer where it says `YOUR CODE HERE`, run it, then run the check below it. A check says what it tried, what
# came and what was expected. If your answer makes a known mistake, it says which one. It also says what it did *not* look
# at, so keep your own eyes open. Stuck? Open one hint at a time.
#
# A function leaves its arguments as they are. Leave `course_lib.structured` and `course_lib.distillation` aside until the challenge: you are writing parts of them.

# %% tags=["setup"]
# the first cell of every lesson

# %% nbgrader={"grade": false, "grade_id": "imports", "locked": true, "schema_version": 3, "solution": false, "task": false}
import copy

import torch
from torch.utils.data import TensorDataset

from course_lib import checks, datasets, evaluation, models, structured, training
from course_lib.distillation import distill_tokens

# %% [markdown]
# A tiny model with random weights is enough for the first four exercises. It writes nonsense, but it has all parts of a Llama.

# %% nbgrader={"grade": false, "grade_id": "tiny", "locked": true, "schema_version": 3, "solution": false, "task": false}
tiny, tokenizer = models.language_model("tiny")
ids = datasets.review_tokens(tokenizer, n=4, length=64)
print(f"{tiny.config.num_hidden_layers} layers, {tiny.config.vocab_size} tokens")

# %% [markdown]
# ## 1 · Block influence
#
# **Goal** say how much a layer changes the hidden states. **8 minutes, difficulty 1 of 3**
#
# `block_influence(before, after)`: both are hidden states `[..., hidden]`, what goes into a layer and what comes out. Give the mean over all tokens of 1 − cosine.
#
# Paper first: before (1, 0), after (1, 1). What is the cosine? And after (5, 0)?
#
# <details><summary>Hint 1</summary>The cosine of two vectors is their product, divided by both lengths.</details>
# <details><summary>Hint 2</summary>Work along the last dimension. There may be one dimension before it, or two.</details>
# <details><summary>Hint 3</summary>torch.cosine_similarity compares vectors along one dimension. One cosine is left for each token: what becomes of them at the end?</details>


# %% nbgrader={"grade": false, "grade_id": "block_influence", "locked": false, "schema_version": 3, "solution": true, "task": false}
def block_influence(before, after):
    ### BEGIN SOLUTION
    lengths = before.norm(dim=-1) * after.norm(dim=-1)
    cosine = (before * after).sum(-1) / lengths
    return (1 - cosine).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-block_influence", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.block_influence(block_influence)

# %% [markdown]
# On the tiny model, beside the library:

# %% nbgrader={"grade": false, "grade_id": "compare-influence", "locked": true, "schema_version": 3, "solution": false, "task": false}
with torch.no_grad():
    states = tiny(ids, output_hidden_states=True).hidden_states
print([f"{block_influence(states[i], states[i + 1]):.4f}" for i in range(4)])
print([f"{one:.4f}" for one in structured.block_influence(tiny, TensorDataset(ids))])

# %% [markdown]
# Why does the last number differ?
#
# <details><summary>Answer</summary>The last of `hidden_states` lies behind the model's final norm.</details>
#
# ## 2 · Wanda's mask
#
# **Goal** prune weights by what they multiply. **10 minutes, difficulty 2 of 3**
#
# `wanda_mask(weight, inputs, amount)`: `weight` is `[outputs, inputs]`, `inputs` is `[tokens, inputs]`, what the layer read on calibration text. The score of a weight is its magnitude times the L2 norm of its input over all tokens. In each row, the share `amount` with the
# lowest scores goes, rounded to whole weights with Python's `round`; no two scores of a row are equal. Give a bool mask, True where the weight stays.
#
# Paper first: a row (1, 2), and inputs (3, 1) for each of four tokens. Which weight goes at 50 %?
#
# <details><summary>Hint 1</summary>inputs.norm(dim=0) gives one norm for each input.</details>
# <details><summary>Hint 2</summary>Weights compete within their row: sort along dimension 1.</details>
# <details><summary>Hint 3</summary>argsort says which weight comes first, second, and so on. You need the opposite: for each weight its place. What does sorting that order give?</details>


# %% nbgrader={"grade": false, "grade_id": "wanda_mask", "locked": false, "schema_version": 3, "solution": true, "task": false}
def wanda_mask(weight, inputs, amount):
    ### BEGIN SOLUTION
    scores = weight.abs() * inputs.norm(dim=0)
    places = scores.argsort(1).argsort(1)  # from the lowest in each row
    return places >= round(amount * weight.shape[1])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-wanda_mask", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.wanda_mask(wanda_mask)

# %% [markdown]
# How large is the error of a layer's output? Guess first: which is smaller, with the same number of zeros?

# %% nbgrader={"grade": false, "grade_id": "output-error", "locked": true, "schema_version": 3, "solution": false, "task": false}
torch.manual_seed(0)
weight = torch.randn(64, 48)
inputs = torch.randn(256, 48) * torch.linspace(0.1, 10, 48)  # some inputs are much larger
output = inputs @ weight.T
for name, given in {"Wanda": inputs, "magnitude": torch.ones(1, 48)}.items():
    pruned = weight * wanda_mask(weight, given, 0.5)
    error = (inputs @ pruned.T - output).norm() / output.norm()
    print(f"{name:9}: relative error {error:.2f}")

# %% [markdown]
# ## 3 · KL over a vocabulary with padding
#
# **Goal** compare two models whose logits have different lengths. **12 minutes, difficulty 2 of 3**
#
# `padded_kl(student, teacher, vocabulary)`: logits `[tokens, at least vocabulary]`. Only the first `vocabulary` entries are tokens. The rest is padding, and each model may have a different amount of it. A logit of −∞ in both means that the token cannot come; no other probability is so small that it rounds to 0. Give KL(teacher ‖ student), the mean over the tokens.
#
# Paper first: the teacher's probabilities are (0.5, 0.5, 0), the student's (0.25, 0.75, 0). Which terms has the sum?
#
# <details><summary>Hint 1</summary>Must the padding be cut before the softmax, or after it?</details>
# <details><summary>Hint 2</summary>−∞ − (−∞) is NaN, and 0 · NaN is NaN. Put 0 in its place before you multiply.</details>
# <details><summary>Hint 3</summary>A term whose p is 0 counts nothing, whatever stands beside it. torch.where(condition, a, b) takes a where the condition holds, else b: where must a difference not be used?</details>


# %% nbgrader={"grade": false, "grade_id": "padded_kl", "locked": false, "schema_version": 3, "solution": true, "task": false}
def padded_kl(student, teacher, vocabulary):
    ### BEGIN SOLUTION
    log_q = student[:, :vocabulary].log_softmax(-1)
    log_p = teacher[:, :vocabulary].log_softmax(-1)
    ratio = torch.where(log_p > -torch.inf, log_p - log_q, 0.0)
    return (log_p.exp() * ratio).sum(-1).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-padded_kl", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.padded_kl(padded_kl)

# %% [markdown]
# ## 4 · Spot the error: old numbers
#
# **Goal** drop layers, and keep the cache right. **10 minutes, difficulty 2 of 3**
#
# A colleague writes this. The perplexity is as expected. But when the model *writes*, it stops with an error, or writes nonsense:
#
# ```python
# def drop_layers(model, keep):
#     small = copy.deepcopy(model)
#     layers = [small.model.layers[i] for i in keep]
#     small.model.layers = torch.nn.ModuleList(layers)
#     return small
# ```
#
# Find what is missing. `keep` lists the layers that stay, counted from 0, in their order.
#
# <details><summary>Hint 1</summary>Each layer's attention has a number. What is it for?</details>
# <details><summary>Hint 2</summary>print([layer.self_attn.layer_idx for layer in tiny.model.layers])</details>
# <details><summary>Hint 3</summary>The model's config also says how many layers there are.</details>


# %% nbgrader={"grade": false, "grade_id": "drop_layers", "locked": false, "schema_version": 3, "solution": true, "task": false}
def drop_layers(model, keep):
    ### BEGIN SOLUTION
    shallow = copy.deepcopy(model)
    stay = [shallow.model.layers[i] for i in keep]
    for place, layer in enumerate(stay):
        layer.self_attn.layer_idx = place
    shallow.model.layers = torch.nn.ModuleList(stay)
    shallow.config.num_hidden_layers = len(stay)
    return shallow
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-drop_layers", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.drop_layers(drop_layers)

# %% [markdown]
# ## 5 · Challenge: two thirds of the parameters
#
# **Goal** the best perplexity with at most two thirds of the parameters. **25 minutes, difficulty 3 of 3**
#
# Make SmolLM2 smaller: at most two thirds of its parameters, about 90 million. Drop layers, remove FFN neurons, or do both, and then distill. The perplexity on eight test reviews may be at most **2.5 times** that of the whole model.
#
# The cell below tries everything out on the tiny model, whose weights are random. That takes seconds, but it shows only that your code runs. For the real challenge, write `"SmolLM2"`, which is fetched once, 93 MB, and give it more steps.
#
# <details><summary>Hint 1</summary>Each of the 30 layers has about 3.5 million parameters, and the embeddings have 28 million. How many layers may stay?</details>
# <details><summary>Hint 2</summary>structured.block_influence ranks the layers, structured.remove_layers keeps those that you name, and distill_tokens trains.</details>
# <details><summary>Hint 3</summary>Train on the reviews of the part "train", and compare variants on "validation". A few hundred steps of four reviews help more than any other choice.</details>

# %% nbgrader={"grade": false, "grade_id": "two_thirds", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
name, layers, steps = "tiny", 2, 4  # "SmolLM2", 17, 200 for the real one
whole, words = models.language_model(name)
reviews = datasets.review_tokens(words, 4 * steps, 128)
influence = structured.block_influence(whole, TensorDataset(reviews[:8]))
cut = structured.remove_layers(whole, sorted(influence.argsort(descending=True)[:layers].tolist()))
recipe = training.Recipe(epochs=1, lr=3e-4, batch_size=4, warmup=0.1, decay=True)
my_model = distill_tokens(cut, whole, {"train": TensorDataset(reviews)}, recipe).model
validation = datasets.review_tokens(words, 8, 128, "validation")
print(evaluation.perplexity(whole, validation), "→", evaluation.perplexity(my_model, validation))
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "check-two_thirds", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.two_thirds(my_model)

# %% [markdown]
# ## And then
#
# - Compare your functions with [course_lib/structured/layer_influence.py](../course_lib/structured/layer_influence.py) and `token_kl`. What do they guard against that yours do not?
# - Which is better at two thirds of the parameters, fewer layers or narrower ones? Compare after the same training.
# - Let your model write. Is a low perplexity enough?
