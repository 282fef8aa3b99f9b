# %% [markdown]
# # Exercises 5 · Combined compression
#
# **You need** [lesson 5](../notebooks/05_combined_compression.ipynb). **Time** about 88 minutes; the computer works about two
# of them.
#
# Write your answer where it says `YOUR CODE HERE`, run that cell, and then run the check below it. The check prints what it tried, what
# came out, and what was expected. If your answer makes a known mistake, the check names it. It also prints what it does *not* test.
# If you are stuck, open one hint at a time.
#
# A function must not change its arguments, unless its name ends in `_`. Where the text asks for a number, a float and a tensor with one element are both fine.
# Do not use `course_lib.quantization` and `course_lib.lessons` before the challenge, because you are writing parts of them.

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
# **Goal** compute the size of an embedding table before you make it. **5 minutes, difficulty 1 of 3** · lesson 5, "int8"
#
# An embedding table has `words` rows of `width` numbers. In int8, each number takes one byte. Each row also has its own scale, a float32 by which the
# integers of the row are multiplied. `int8_bytes(words, width)` returns the number of bytes of the integers and the scales together.
#
# <details><summary>Hint 1</summary>How many integers are there, and how many scales? Draw a table of 3 rows with 2 numbers each.</details>
# <details><summary>Hint 2</summary>A float32 has 32 bits, and a byte has 8.</details>
# <details><summary>Hint 3</summary>Count the bytes of one row first, with its scale.</details>


# %% nbgrader={"grade": false, "grade_id": "int8_bytes", "locked": false, "schema_version": 3, "solution": true, "task": false}
def int8_bytes(words, width):
    ### BEGIN SOLUTION
    return words * (width + 4)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-int8_bytes", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.int8_bytes(int8_bytes)

# %% [markdown]
# People say that int8 is four times smaller than float32. Is it, for MiniLM's table with 384 numbers per token? And for narrower tables? Guess first.

# %% nbgrader={"grade": false, "grade_id": "how-much-smaller", "locked": true, "schema_version": 3, "solution": false, "task": false}
for width in (384, 64, 8):
    ratio = 4 * 30_522 * width / int8_bytes(30_522, width)
    print(f"{width:3} numbers a word: {ratio:.2f} × smaller")

# %% [markdown]
# ## 2 · Round to int8 by hand
#
# **Goal** turn weights into integers and scales, and measure the error. **10 minutes, difficulty 2 of 3** · lesson 5, "int8"
#
# `to_int8(weight)` takes a float tensor `[rows, columns]` and returns a pair `(whole, scale)`: `whole` has the same shape and dtype `torch.int8`, and `scale` is a float tensor `[rows, 1]`, so that
# `whole * scale` is close to `weight`.
#
# Each row has its own scale, chosen so that the weight with the largest magnitude becomes 127 or −127. Every other weight becomes the
# nearest integer; a weight halfway between two may go either way. A row of zeros, such as the row of the padding token, may have any scale greater than 0. Rows of very small weights keep their own scale.
#
# First, on paper: what is the scale of the row (2.54, −1, 0.01)? What are its three integers, and which weight has the largest relative error?
#
# <details><summary>The answer on paper</summary>The scale is 2.54 / 127 = 0.02. The integers are 127, −50, and 0 or 1, because 0.01 is half of a scale. The smallest weight has the largest relative error: it becomes 0 or 0.02.</details>
#
# <details><summary>Hint 1</summary>.amax(1, keepdim=True) returns the largest value of each row, with shape [rows, 1]. The sign of a weight must not matter here.</details>
# <details><summary>Hint 2</summary>Converting to int8 cuts off everything after the decimal point. So what comes before the conversion?</details>
# <details><summary>Hint 3</summary>Only a row of zeros has a largest magnitude of 0. What happens if you divide by its scale? weight.to(torch.int8) changes the dtype.</details>


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
# Now quantize MiniLM's real table. What is the largest error, as a multiple of the scale? And how large is the error compared with the weights?

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
# `times_smaller(parts, steps)` returns how many times smaller a model is after several steps, as one number, not rounded. `parts` is a dict from names to megabytes, such as `{"embeddings": 4, "layers": 12}`. `steps` is a list of pairs that are applied one after
# the other. For example, `("layers", 2)` makes the layers two times smaller than they are at that point. There may be no steps at all.
#
# First, on paper: take these parts and the steps `("layers", 2)`, `("embeddings", 4)`, `("layers", 4)`. Is the result 2 · 4 · 4?
#
# <details><summary>The answer on paper</summary>No. The layers shrink from 12 MB to 6 and then to 1.5 MB, and the embeddings from 4 MB to 1 MB. So 16 MB become 2.5 MB, which is 6.4 times smaller.</details>
#
# <details><summary>Hint 1</summary>Keep the current megabytes of each part. Each step changes one of them.</details>
# <details><summary>Hint 2</summary>dict(parts) is a copy that you can change.</details>
# <details><summary>Hint 3</summary>"Four times smaller" compares two sums. Which two?</details>


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
# "Half of the layers, and int8: that makes DistilBERT 8 × smaller than BERT." Is that right? Here are the parts of BERT-base. Guess both numbers.

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
# **Goal** compare three orders of pruning and distilling, where only the order differs. **18 minutes, difficulty 3 of 3** · lesson 5, "Which order?"
#
# `three_orders(start, step, mask_of, steps, amount)` returns a dict with the final weights of each order, a tensor `[n]`:
#
# - `"prune first"`: prune the lowest `amount` of `start`. Then take `steps` steps of distillation. The same weights are zero before and after every step;
# - `"distill first"`: take `steps` steps of distillation. Then prune the lowest `amount` of the resulting weights;
# - `"together"`: before step t, prune the lowest `amount · (t + 1) / steps` of the current weights. The same weights are zero after this step, too. Each step has a new mask.
#
# The arguments are
#
# - `start`: the student's weights, a tensor `[n]`;
# - `step(weights, t)`: returns new weights after one step of distillation on batch t. t counts from 0. The step can move weights that are zero;
# - `mask_of(weights, share)`: returns a bool mask that is False for the smallest `share` of all n weights by magnitude. Zeros are the smallest. With a share of 0, no weight is pruned. You can call it as often as you like.
#
# Each share is a fraction of all n weights, including those that are already zero. `steps` is at least 1. What must be equal in all three orders, so that only the order differs? Write it down before you write code.
#
# <details><summary>Hint 1</summary>The start, the batches and their order, the number of steps, and the share of zeros at the end. Does step change its argument? Does your function?</details>
# <details><summary>Hint 2</summary>weights * mask is the pruned student. After a step, pruned weights may not be zero any more.</details>
# <details><summary>Hint 3</summary>All three take the same steps from the same start. They differ in when a mask is made: once before the steps, once after them, or before each step.</details>


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
# Now compare the orders on digits: a student with 12,730 weights, 300 steps of distillation, and 90 % of the weights pruned. Which order will have the highest accuracy, and by how much?

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
# Can you say now which order is best?
#
# <details><summary>Answer</summary>Only for this student, this amount, this number of steps, and this seed. "Distill first" has no step to recover after the pruning, so it is likely to lose when so many weights are pruned.
# To compare the other two, you need several seeds, a paired interval, and the network that you care about. Lesson 5 uses several seeds, in "Which order?".</details>
#
# ## 5 · A Pareto front
#
# **Goal** find the models that are worth choosing from, whatever your preferences are. **10 minutes, difficulty 2 of 3** · lesson 5, "The compression explorer"
#
# `front(models)` takes a dict from names to (bytes, milliseconds, accuracy). Fewer bytes, fewer milliseconds and a higher accuracy are better. One model *beats* another if it is
# at least as good in all three numbers and better in at least one. Return the names of all models that no other model beats, as a list or a set, in any order.
#
# First, on paper: a = (4, 2, 0.8), b = (4, 3, 0.8), c = (4, 2, 0.8). Which of them does no other model beat?
#
# <details><summary>The answer on paper</summary>a and c. Both beat b, which is slower and otherwise equal. Neither of them beats the other, because they are equal.</details>
#
# <details><summary>Hint 1</summary>Write a function beats(one, other) first, and try it on all pairs of a, b and c.</details>
# <details><summary>Hint 2</summary>If you change the sign of the accuracy, smaller is better for all three numbers.</details>
# <details><summary>Hint 3</summary>If x is at least as good as y in everything, when is it not better in anything?</details>


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
# **Goal** turn a decision table into a program. **8 minutes, difficulty 1 of 3** · lesson 5, "Choosing"
#
# `choose_advice(rows, answers)` reads a decision table from the top. `rows` is a list of pairs (conditions, advice), such as
#
# ```
# [({"goal": "size", "training": "no"}, "int8"), ({"goal": "size"}, "vocabulary"), ({}, "distill")]
# ```
#
# `answers` is a dict from questions to answers. A question that was not answered is missing from it. A row fits if every one of its conditions is in `answers`, with the same question and the same answer. Return the advice
# of the first row that fits. If no row fits, raise `ValueError`.
#
# <details><summary>Hint 1</summary>In the table above, which row fits if only the goal was answered, with "size"? Which row fits if nothing was answered?</details>
# <details><summary>Hint 2</summary>answers.get(question) is None if the question is missing. all() of an empty list is True.</details>
# <details><summary>Hint 3</summary>The search ends at the first row that fits. What do you know if the loop ends without one?</details>


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
# **Goal** compress a transformer to fit a budget, and export it. **25 minutes, difficulty 3 of 3** · lesson 5, "The stack"
#
# MiniLM was never trained on the labels of our movie reviews. Start from it, or from anything else, and make a model that tells positive from negative reviews:
#
# - `model.onnx` takes at most **4 MB**;
# - one sentence of 32 tokens takes at most **3 ms** on one thread;
# - the accuracy on the 2,000 test sentences is at least **78 %**.
#
# The answer is `my_folder`, a folder written by `quantization.save_onnx_folder`. It has the model as an ONNX file, and the model's tokenizer. Here is your starting point.

# %% nbgrader={"grade": false, "grade_id": "beginning", "locked": true, "schema_version": 3, "solution": false, "task": false}
minilm, tokenizer, reviews = models.load_encoder(), models.load_tokenizer(), datasets.reviews()
folder = cache.cache_dir() / "exercise-5"
print(evaluation.footprint(minilm, zipped=False))
print({name: len(part) for name, part in reviews.items()})

# %% [markdown]
# **Budget** three minutes of computing for the final model. Decide on `reviews["validation"]`. The check uses the test set, so run it only after you have
# decided. You may use anything in `course_lib`. The required accuracy is below lesson 5's because three minutes are not enough to train its teacher. If
# `models.teacher()` is in your cache already, you can distill from it and aim higher.
#
# The stack: layers → attention heads and FFN neurons → vocabulary → a narrower embedding table → training → int8. Train once, after all cuts. What takes the most bytes, and what takes the most
# time? Plan your stack with `times_smaller` first. Most of the lesson's students keep all six layers, but three wide layers are faster than six narrow ones.
#
# <details><summary>Hint 1</summary>Half of MiniLM's parameters are embeddings. structured.prune_vocabulary with datasets.tokens_seen keeps the tokens that occur in the reviews. structured.factor_embeddings makes the table narrower.</details>
# <details><summary>Hint 2</summary>distillation.student_from_teacher(minilm, (0, 3)) takes two layers. structured.gate_taylor, on a few hundred examples, returns importance scores of heads and neurons. structured.choose(…, per_group=True) chooses the same share in each layer, and structured.remove removes the rest. Then use training.fit: two epochs, a learning rate of 5e-4, warmup and decay.</details>
# <details><summary>Hint 3</summary>Tokenize again with the tokenizer that prune_vocabulary returns, for training and for the folder. quantization.quantize(model) converts to int8. save_onnx_folder takes the int8 model, the folder, its tokenizer, and sentences.LABELS.</details>

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
# This folder runs without PyTorch. Try it on three sentences:

# %% nbgrader={"grade": false, "grade_id": "ask", "locked": true, "schema_version": 3, "solution": false, "task": false}
classify = quantization.load(my_folder)
classify(["A moving, funny, clever film.", "Two hours that I never get back.", "Not bad at all."])

# %% [markdown]
# ## What next?
#
# - Compare your functions with [course_lib/quantization](../course_lib/quantization) and [course_lib/lessons](../course_lib/lessons). Which inputs does that code
#   handle that yours does not?
# - Train lesson 3's `TextCNN` on the same labels, and compare it with your model by `front`. Is the transformer worth its bytes here? What could a teacher add?
# - Add two rows to the chooser, for a model that you care about.
# - Plan a stack for a model of your own. Which part takes the most bytes, and which the most time?
