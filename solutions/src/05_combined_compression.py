# %% [markdown]
# # Exercises 5 · Combined compression
#
# **You need** [lesson 5](../notebooks/05_combined_compression.ipynb). **Time** about 88 minutes; the computer works about two
# of them.
#
# Write your answer where it says `YOUR CODE HERE`, run it, then run the check below it. A check says what it tried, what
# came and what was expected. If your answer makes a known mistake, it says which one. It also says what it did *not* look
# at, so keep your own eyes open. Stuck? Open one hint at a time.
#
# A function leaves its arguments as they are, unless its name ends in `_`. Leave `course_lib.quantization` and `course_lib.lessons` aside until the challenge: you are writing them.

# %% tags=["setup"]
# the first cell of every lesson

# %% nbgrader={"grade": false, "grade_id": "imports", "locked": true, "schema_version": 3, "solution": false, "task": false}
import torch
import transformers
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from course_lib import (
    cache,
    checks,
    datasets,
    distillation,
    evaluation,
    models,
    quantization,
    structured,
    training,
)
from course_lib.checks import lesson5
from course_lib.datasets import sentences

# %% [markdown]
# ## 1 · Bytes of an int8 embedding
#
# **Goal** say what a table weighs before you make it. **5 minutes, difficulty 1 of 3** · lesson 5, "int8"
#
# An embedding table holds `words` rows of `width` numbers. In int8 each number takes one byte, and each row has a scale of its own, a float32,
# by which its whole numbers are multiplied. `int8_bytes(words, width)` gives the bytes of both, one number.
#
# <details><summary>Hint 1</summary>How many numbers are there, and how many scales? Draw a table of 3 words and 2 numbers.</details>
# <details><summary>Hint 2</summary>A float32 has 32 bits. A byte has 8.</details>
# <details><summary>Hint 3</summary>Count the bytes of one row first. Then: how many rows?</details>


# %% nbgrader={"grade": false, "grade_id": "int8_bytes", "locked": false, "schema_version": 3, "solution": true, "task": false}
def int8_bytes(words, width):
    ### BEGIN SOLUTION
    return words * (width + 4)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-int8_bytes", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.int8_bytes(int8_bytes)

# %% [markdown]
# int8 is said to be four times smaller than float32. Is it, for MiniLM's table of 384 numbers a word, and for narrower ones? Guess first.

# %% nbgrader={"grade": false, "grade_id": "how-much-smaller", "locked": true, "schema_version": 3, "solution": false, "task": false}
for width in (384, 64, 8):
    ratio = 4 * 30_522 * width / int8_bytes(30_522, width)
    print(f"{width:3} numbers a word: {ratio:.2f} × smaller")

# %% [markdown]
# ## 2 · Round to int8 by hand
#
# **Goal** turn weights into whole numbers and scales, and know what that costs. **10 minutes, difficulty 2 of 3** · lesson 5, "int8"
#
# `to_int8(weight)` takes a tensor `[rows, columns]` and gives two: `whole`, int8, of the same shape, and `scale`, a float of shape `[rows, 1]`, so that
# `whole * scale` is near `weight`. Each row has its own scale, so large that the row's largest weight in size becomes 127 or −127; every other weight becomes the
# nearest whole number, a half either way. Padding is a row of zeros: no scale may be 0, not even that one's.
#
# Paper first: the row (2.54, −1, 0.01). What is its scale? What become of the three weights, and which of them suffers most?
#
# <details><summary>Hint 1</summary>weight.abs() knows no sign, and .amax(1, keepdim=True) gives the largest of each row, as [rows, 1].</details>
# <details><summary>Hint 2</summary>int8 cuts off what is behind the point. Which function takes the nearest whole number before?</details>
# <details><summary>Hint 3</summary>A row of zeros has no largest weight, and any scale above 0 will do for it; small rows keep their own. weight.to(torch.int8) changes the type.</details>


# %% nbgrader={"grade": false, "grade_id": "to_int8", "locked": false, "schema_version": 3, "solution": true, "task": false}
def to_int8(weight):
    ### BEGIN SOLUTION
    scale = weight.abs().amax(1, keepdim=True) / 127  # [rows, 1]
    scale[scale == 0] = 1.0
    return (weight / scale).round().to(torch.int8), scale
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-to_int8", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.to_int8(to_int8)

# %% [markdown]
# Now MiniLM's real table. By how much of its scale is a weight off at most? And how large is the error beside the weights?

# %% nbgrader={"grade": false, "grade_id": "real-table", "locked": true, "schema_version": 3, "solution": false, "task": false}
minilm = models.load_encoder()
table = minilm.get_input_embeddings().weight.detach()
whole, scale = to_int8(table)
error = whole * scale - table
print(f"at most {(error / scale).abs().max():.3f} scales")
print(f"the error's length is {error.norm() / table.norm():.1%} of the table's")

# %% [markdown]
# ## 3 · How much smaller is a stack?
#
# **Goal** know when factors multiply, and when they do not. **12 minutes, difficulty 2 of 3** · lesson 5, "What each technique removes"
#
# `times_smaller(parts, steps)`: `parts` is a dict, name → megabytes, such as `{"embeddings": 4, "layers": 12}`. `steps` lists what is done, one after
# the other, as pairs: `("layers", 2)` makes what is left of the layers two times smaller. How many times smaller is the whole in the end? Give one number, not rounded.
# `parts` must stay as it is.
#
# Paper first: these parts, and the steps `("layers", 2)`, `("embeddings", 4)`, `("layers", 4)`. Is it 2 · 4 · 4?
#
# <details><summary>Hint 1</summary>Keep the megabytes of each part, and let each step change one of them. Only in the end is anything divided by anything.</details>
# <details><summary>Hint 2</summary>dict(parts) is a copy that you may change.</details>
# <details><summary>Hint 3</summary>"Four times smaller" compares two sums. Which two, and which one is divided by which?</details>


# %% nbgrader={"grade": false, "grade_id": "times_smaller", "locked": false, "schema_version": 3, "solution": true, "task": false}
def times_smaller(parts, steps):
    ### BEGIN SOLUTION
    now = dict(parts)
    for part, factor in steps:
        now[part] /= factor
    return sum(parts.values()) / sum(now.values())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-times_smaller", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.times_smaller(times_smaller)

# %% [markdown]
# "Half of the layers, and int8: that makes DistilBERT 8 × smaller than BERT." Is it? Here are BERT-base's parts. Guess both numbers.

# %% nbgrader={"grade": false, "grade_id": "real-parts", "locked": true, "schema_version": 3, "solution": false, "task": false}
with torch.device("meta"):  # sizes alone, no memory
    bert = transformers.BertForSequenceClassification(transformers.BertConfig())
named = {"embeddings": bert.bert.embeddings, "layers": bert.bert.encoder}
parts = {name: sum(4e-6 * p.numel() for p in part.parameters()) for name, part in named.items()}
print({name: f"{size:.0f} MB" for name, size in parts.items()})
distil_and_int8 = [("layers", 2), ("layers", 4)]
print(f"int8 in the layers: {times_smaller(parts, distil_and_int8):.2f} ×")
print(f"and embeddings: {times_smaller(parts, [*distil_and_int8, ('embeddings', 4)]):.2f} ×")

# %% [markdown]
# ## 4 · Which order? A fair comparison
#
# **Goal** compare three orders of pruning and distilling so that nothing but the order differs. **18 minutes, difficulty 3 of 3** · lesson 5, "Which order?"
#
# `three_orders(start, step, mask_of, steps, amount)` gives a dict of weights, a tensor `[n]` for each order:
#
# - `"prune first"`: the lowest `amount` of `start` goes; then `steps` steps of distillation, and what is gone stays gone;
# - `"distill first"`: `steps` steps of distillation; then the lowest `amount` of what came of it goes;
# - `"together"`: before step t the lowest `amount · (t + 1) / steps` goes, and stays gone in that step.
#
# You get the student's weights `start`, a tensor `[n]`, and two functions. `step(weights, t)` gives the weights after a step of distillation on batch
# t, counted from 0: new ones, and it moves zeros, too. `mask_of(weights, share)` gives a bool mask, False for the smallest `share` of all n weights;
# zeros are the smallest; with a share of 0 nothing goes. You may ask it as often as you like. So an amount always counts the original weights.
#
# What must be equal in all three, if the order is to be the only difference? Write it down before you write code.
#
# <details><summary>Hint 1</summary>The start, the batches in their order, the number of steps, the share of zeros in the end. Does step change its argument? Does your function?</details>
# <details><summary>Hint 2</summary>weights * mask is the pruned student. Behind each step the zeros have moved: multiply again, by the same mask.</details>
# <details><summary>Hint 3</summary>All three take the same steps from the same start, and differ in when they ask for the mask: once before, once after, or before each step.</details>


# %% nbgrader={"grade": false, "grade_id": "three_orders", "locked": false, "schema_version": 3, "solution": true, "task": false}
def three_orders(start, step, mask_of, steps, amount):
    ### BEGIN SOLUTION
    first, mask = start, mask_of(start, amount)
    for t in range(steps):
        first = step(first * mask, t) * mask

    last = start
    for t in range(steps):
        last = step(last, t)
    last = last * mask_of(last, amount)

    both = start
    for t in range(steps):
        mask = mask_of(both, amount * (t + 1) / steps)
        both = step(both * mask, t) * mask
    return {"prune first": first, "distill first": last, "together": both}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-three_orders", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.three_orders(three_orders)

# %% [markdown]
# Now on digits: a student of 12,730 weights, distilled in 300 steps, nine tenths of it pruned. Which order will win, and by how much?

# %% nbgrader={"grade": false, "grade_id": "real-orders", "locked": true, "schema_version": 3, "solution": false, "task": false}
mnist = datasets.mnist()
images = mnist["train"].tensors[0]
teacher = training.fit(models.build(models.LeNet300), mnist, training.Recipe(3)).model
told = evaluation.predict(teacher, mnist["train"])
student = training.fit(models.build(models.TinyNet), mnist, training.Recipe(1)).model


def digits_step(weights, t):
    vector_to_parameters(weights, student.parameters())
    rows = torch.arange(64 * t, 64 * t + 64) % len(images)
    loss = distillation.soft_loss(student(images[rows]), told[rows], T=4)
    slope = torch.autograd.grad(loss, list(student.parameters()))
    return weights - 0.1 * parameters_to_vector(slope)


start = parameters_to_vector(student.parameters()).detach().clone()
for name, weights in three_orders(start, digits_step, lesson5.lowest, 300, 0.9).items():
    vector_to_parameters(weights, student.parameters())
    print(f"{name}: {evaluation.evaluate(student, mnist['validation'])}")

# %% [markdown]
# May you now say which order is best?
#
# <details><summary>Answer</summary>On this student, this amount, these steps, this seed. Pruned with nothing behind it, a network that has lost so
# much can hardly do well; whether the other two differ takes several seeds, a paired test, and a network that you care about. Lesson 5 has the seeds, in "Which order?".</details>
#
# ## 5 · A Pareto front
#
# **Goal** find the models that are worth having, whatever anybody prefers. **10 minutes, difficulty 2 of 3** · lesson 5, "The compression explorer"
#
# `front(models)`: `models` is a dict, name → (bytes, milliseconds, accuracy). Bytes and milliseconds should be small, accuracy large. One model *beats* another if it is
# at least as good in all three and better in at least one. Give the names of all models that no other one beats, as a list or a set, in any order.
#
# Paper first: a = (4, 2, 0.8), b = (4, 3, 0.8), c = (4, 2, 0.8). Which of them stay?
#
# <details><summary>Hint 1</summary>Write a function beats(one, other) first, and try it on a, b and c in all directions.</details>
# <details><summary>Hint 2</summary>With the accuracy's sign turned, all three should be small. Then "at least as good in all" is all(x <= y for …).</details>
# <details><summary>Hint 3</summary>If x is at least as good as y in everything, it is better in something unless the two are equal.</details>


# %% nbgrader={"grade": false, "grade_id": "front", "locked": false, "schema_version": 3, "solution": true, "task": false}
def front(models):
    ### BEGIN SOLUTION
    costs = {name: (size, ms, -accuracy) for name, (size, ms, accuracy) in models.items()}

    def beaten(mine):
        return any(
            other != mine and all(x <= y for x, y in zip(other, mine, strict=True))
            for other in costs.values()
        )

    return [name for name, mine in costs.items() if not beaten(mine)]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-front", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.front(front)

# %% [markdown]
# ## 6 · A chooser
#
# **Goal** turn a decision table into a rule that a program can follow. **8 minutes, difficulty 1 of 3** · lesson 5, "Choosing"
#
# `choose_advice(rows, answers)`: `rows` is a list of pairs, conditions and advice, read from above:
#
# ```
# [({"goal": "size", "training": "no"}, "int8"), ({"goal": "size"}, "vocabulary"), ({}, "distill")]
# ```
#
# `answers` is a dict, question → answer; a question that nobody was asked is missing. A row fits if all of its conditions are among the answers. Give the advice
# of the first row that fits. If none fits, raise `ValueError`.
#
# <details><summary>Hint 1</summary>Which row fits someone who wants it small and was asked nothing else? And someone who answered nothing at all?</details>
# <details><summary>Hint 2</summary>answers.get(question) gives None where there is no answer. all() of nothing is True.</details>
# <details><summary>Hint 3</summary>The first row that fits ends the search. What do you know when the search has come to its end by itself?</details>


# %% nbgrader={"grade": false, "grade_id": "choose_advice", "locked": false, "schema_version": 3, "solution": true, "task": false}
def choose_advice(rows, answers):
    ### BEGIN SOLUTION
    for conditions, advice in rows:
        if all(answers.get(question) == wanted for question, wanted in conditions.items()):
            return advice
    raise ValueError(f"No row fits {answers}; let the last row ask for nothing.")
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-choose_advice", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.choose_advice(choose_advice)

# %% [markdown]
# ## 7 · Challenge: 4 MB and 3 ms
#
# **Goal** take a transformer as far down as a budget asks, and ship it. **25 minutes, difficulty 3 of 3** · lesson 5, "The stack"
#
# MiniLM has never seen a movie review with its rating. Make of it, or of anything else, a model that tells good reviews from bad ones:
#
# - `model.onnx` takes at most **4 MB**;
# - a sentence of 32 tokens takes at most **3 ms**, alone, on one thread;
# - at least **78 %** of 2,000 sentences right that neither you nor the model has seen.
#
# Give `my_folder`, as `quantization.save_onnx_folder` writes it: the model as an ONNX file, and its own tokenizer. Here is what you begin with.

# %% nbgrader={"grade": false, "grade_id": "beginning", "locked": true, "schema_version": 3, "solution": false, "task": false}
minilm, tokenizer, reviews = models.load_encoder(), models.load_tokenizer(), datasets.reviews()
folder = cache.cache_dir() / "exercise-5"
print(evaluation.footprint(minilm, zipped=False))
print({name: len(part) for name, part in reviews.items()})

# %% [markdown]
# **Budget** three minutes of computing for the model that you give. Decide on `reviews["validation"]`. The check looks at the test part: run it once you have
# decided, not to decide. You may use anything in `course_lib`. The bar is lower than lesson 5's, because its teacher took longer to train than you have; if
# `models.teacher()` lies in your cache already, let it help, and set yourself a higher bar.
#
# The stack: layers → heads and units → vocabulary → a narrower table → training → int8. It pays to train once, after all cuts. What takes the bytes, and what takes the
# time? Sketch your stack with `times_smaller` first. (Most of the lesson's students keep all six layers. Three wide ones are faster.)
#
# <details><summary>Hint 1</summary>Half of MiniLM is embeddings. structured.prune_vocabulary with datasets.tokens_seen keeps the words of the reviews; structured.factor_embeddings makes their rows narrower.</details>
# <details><summary>Hint 2</summary>distillation.student_from_teacher(minilm, (0, 3)) takes two layers; structured.gate_taylor on some hundred examples says which heads and units matter, structured.choose(…, per_group=True) takes a share of them in each layer, structured.remove cuts the rest. Then training.fit: two passes, with a learning rate of 5e-4, warm-up and decay.</details>
# <details><summary>Hint 3</summary>Tokenize anew with the tokenizer that prune_vocabulary gives you, for training and for the folder. quantization.quantize(model) is int8; save_onnx_folder(int8, folder, its tokenizer, sentences.LABELS).</details>

# %% nbgrader={"grade": false, "grade_id": "small_and_fast", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
seen = datasets.tokenize(reviews["train"], tokenizer)
small = distillation.student_from_teacher(minilm, (0, 3))
score = structured.gate_taylor(small, seen.select(range(400)))
half = structured.choose(small, 0.5, score, per_group=True)  # of the heads and units of each layer
small = structured.remove(small, half)
small, words = structured.prune_vocabulary(small, tokenizer, datasets.tokens_seen(seen, at_least=2))
small = structured.factor_embeddings(structured.shorten(small, 64), rank=96)
tokens = {name: datasets.tokenize(reviews[name], words) for name in ("train", "validation")}
recipe = training.Recipe(2, lr=5e-4, batch_size=32, warmup=0.1, decay=True)
fitted = training.fit(small, tokens, recipe)
int8 = quantization.quantize(fitted.model)
print("validation, float32:", fitted.validation)
print("validation, int8:   ", evaluation.evaluate(int8, tokens["validation"]))
print(evaluation.footprint(int8, zipped=False))
my_folder = quantization.save_onnx_folder(int8, folder, words, sentences.LABELS)
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "check-small_and_fast", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.small_and_fast(my_folder)

# %% [markdown]
# It needs no PyTorch any more. Ask it something:

# %% nbgrader={"grade": false, "grade_id": "ask", "locked": true, "schema_version": 3, "solution": false, "task": false}
classify = quantization.load(my_folder)
classify(["A moving, funny, clever film.", "Two hours that I never get back.", "Not bad at all."])

# %% [markdown]
# ## And then
#
# - Compare your functions with [course_lib/quantization](../course_lib/quantization) and [course_lib/lessons](../course_lib/lessons). What do they
#   guard against that yours do not?
# - Train lesson 3's `TextCNN` on the same labels, and give it and your model to `front`. Is a transformer worth its bytes here? What would a teacher change?
# - Give the chooser two rows of your own, for a model that you care about.
# - Take a model of your own through the stack: which part holds its bytes, which one its time?
