# %% [markdown]
# # Exercises 7 · A language model
#
# **You need** [lesson 7](../notebooks/07_language_model.ipynb). **Time** about 65 minutes; the computer works less than one of them, and some twenty more if you do the challenge with SmolLM2.
#
# Write your answer where it says `YOUR CODE HERE`, run that cell, and then run the check below it. The check prints what it tried, what
# came out, and what was expected. If your answer makes a known mistake, the check names it. It also prints what it does *not* test.
# If you are stuck, open one hint at a time.
#
# A function must not change its arguments. Where the text asks for a number, a float and a tensor with one element are both fine, and no gradient is needed. Do not use `course_lib.structured` and `course_lib.distillation` before the challenge, because you are writing parts of them.

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
# **Goal** measure how much a layer changes the hidden states. **8 minutes, difficulty 1 of 3**
#
# `block_influence(before, after)` takes the hidden states before and after a layer, both `[..., hidden]`, with one or two dimensions before the last. It returns the mean over all tokens of 1 − cosine, as one number. No hidden state is zero.
#
# First, on paper: before is (1, 0) and after is (1, 1). What is the cosine? And if after is (5, 0)?
#
# <details><summary>The answer on paper</summary>The cosine is 1 / √2 = 0.707, so 1 − cosine is 0.293. For (5, 0) the cosine is 1, because only the length has changed, and 1 − cosine is 0.</details>
#
# <details><summary>Hint 1</summary>The cosine of two vectors is their dot product, divided by both lengths.</details>
# <details><summary>Hint 2</summary>Compute along the last dimension. How many dimensions are before it should not matter.</details>
# <details><summary>Hint 3</summary>torch.cosine_similarity compares vectors along one dimension, and leaves one cosine for each token.</details>


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
# Compare your function with the library's on the tiny model:

# %% nbgrader={"grade": false, "grade_id": "compare-influence", "locked": true, "schema_version": 3, "solution": false, "task": false}
with torch.no_grad():
    states = tiny(ids, output_hidden_states=True).hidden_states
print([f"{block_influence(states[i], states[i + 1]):.4f}" for i in range(4)])
print([f"{one:.4f}" for one in structured.block_influence(tiny, TensorDataset(ids))])

# %% [markdown]
# Here both lists agree. In a trained model such as SmolLM2, the last numbers differ. Why?
#
# <details><summary>Answer</summary>The last entry of `hidden_states` comes after the model's final norm, and the library looks before it. In the tiny model, the norm's learned scales are all 1, so the norm changes only the length of a vector, and the cosine ignores the length. In a trained model, the scales differ.</details>
#
# ## 2 · Wanda's mask
#
# **Goal** prune weights by their magnitude and their inputs. **10 minutes, difficulty 2 of 3**
#
# `wanda_mask(weight, inputs, amount)` returns a mask with the shape of `weight` and dtype `torch.bool`, True where a weight stays. `weight` is `[outputs, inputs]`. `inputs` is `[tokens, inputs]`, the inputs of the layer on calibration text.
#
# The score of a weight is its magnitude times the L2 norm of its input over all tokens. In each row, prune the `round(amount * n)` weights with the lowest scores, where n is the number of weights in the row and `round` is Python's. `amount` may be 0. No two scores of a row are equal.
#
# First, on paper: the row is (1, 2), and the inputs are (3, 1) for each of four tokens. Which weight is pruned at 50 %?
#
# <details><summary>The answer on paper</summary>The norms of the inputs are 6 and 2, so the scores are 1 · 6 = 6 and 2 · 2 = 4. The weight of 2 is pruned, although it is larger.</details>
#
# <details><summary>Hint 1</summary>inputs.norm(dim=0) is one norm for each input.</details>
# <details><summary>Hint 2</summary>Only weights of the same row are compared, so sort along dimension 1.</details>
# <details><summary>Hint 3</summary>argsort returns the index of the lowest score, then that of the second lowest, and so on. You need the reverse: the rank of each weight. What does argsort of that order give?</details>


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
# How large is the error in a layer's output? Both masks have the same number of zeros. Guess first: which error is smaller?

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
# `padded_kl(student, teacher, vocabulary)` returns KL(teacher ‖ student), the sum over the vocabulary and the mean over the tokens, as one number. `student` and `teacher` are logits `[tokens, n]`, where n is at least `vocabulary` and may differ between the two. Only the first `vocabulary` entries of each row are real tokens. The rest is padding, and it must not count.
#
# A logit of −∞ means that a token is impossible, and it is then −∞ in both models. Such a token adds 0 to the sum. No other probability is so small that it rounds to 0.
#
# First, on paper: the teacher's probabilities are (0.5, 0.5, 0) and the student's are (0.25, 0.75, 0). Which terms does the sum have?
#
# <details><summary>The answer on paper</summary>0.5 · log(0.5 / 0.25) + 0.5 · log(0.5 / 0.75) = 0.144. The third token adds 0.</details>
#
# <details><summary>Hint 1</summary>Should you cut the padding before the softmax, or after it?</details>
# <details><summary>Hint 2</summary>−∞ − (−∞) is NaN, and 0 · NaN is NaN. So the difference must be replaced before you multiply.</details>
# <details><summary>Hint 3</summary>torch.where(condition, a, b) takes a where the condition holds, and b elsewhere. For which tokens is the difference not needed?</details>


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
# A colleague writes this. The perplexity is as expected. But when the model generates text, it stops with an error or writes nonsense:
#
# ```python
# def drop_layers(model, keep):
#     small = copy.deepcopy(model)
#     layers = [small.model.layers[i] for i in keep]
#     small.model.layers = torch.nn.ModuleList(layers)
#     return small
# ```
#
# Write a correct `drop_layers(model, keep)`. It returns a copy of the model with only the layers in `keep`, which counts from 0 and is in rising order. The copy's layers and its config must have the right numbers. The model itself must not change.
#
# <details><summary>Hint 1</summary>The attention of each layer has a number. What is it used for?</details>
# <details><summary>Hint 2</summary>Run print([layer.self_attn.layer_idx for layer in tiny.model.layers]).</details>
# <details><summary>Hint 3</summary>The model's config also stores how many layers there are.</details>


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
# **Goal** reach a low perplexity with at most two thirds of the parameters. **25 minutes, difficulty 3 of 3**
#
# Make `my_model`, a SmolLM2 with at most two thirds of its parameters, about 90 million. Drop layers, remove FFN neurons, or do both, and then distill. The perplexity on eight test reviews may be at most **2.5 times** that of the whole model.
#
# Try your code on the tiny model first. That takes seconds, but its weights are random, so it shows only that the code runs. The check accepts it. For the real challenge, use `"SmolLM2"`, which downloads 93 MB once, and take more steps.
#
# <details><summary>Hint 1</summary>Each of the 30 layers has about 3.5 million parameters, and the embeddings have 28 million. How many layers can stay?</details>
# <details><summary>Hint 2</summary>structured.block_influence ranks the layers, structured.remove_layers keeps the layers that you list, and distill_tokens trains.</details>
# <details><summary>Hint 3</summary>Train on the reviews of the part "train", and compare variants on "validation". A few hundred steps with four reviews each help more than any other choice.</details>

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
# ## What next?
#
# - Compare your functions with [course_lib/structured/layer_influence.py](../course_lib/structured/layer_influence.py) and `token_kl`. Which inputs does that code handle that yours does not?
# - At two thirds of the parameters, are fewer layers better, or narrower layers? Compare them after the same training.
# - Let your model write some text. Does a low perplexity mean that the text is good?
