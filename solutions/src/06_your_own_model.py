# %% [markdown]
# # Exercises 6 · Your own model
#
# **You need** [lesson 6](../notebooks/06_your_own_model.ipynb). **Time** about 55 minutes; the computer works about five of them.
#
# Write your answer where it says `YOUR CODE HERE`, run it, then run the check below it. A check says what it tried, what
# came and what was expected. If your answer makes a known mistake, it says which one. It also says what it did *not* look
# at, so keep your own eyes open. Stuck? Open one hint at a time.
#
# A function leaves its arguments as they are. Leave `course_lib.compression` aside until the challenge: you are writing parts of it.

# %% tags=["setup"]
# the first cell of every lesson

# %% nbgrader={"grade": false, "grade_id": "imports", "locked": true, "schema_version": 3, "solution": false, "task": false}
from course_lib import checks, datasets, models
from course_lib.compression import Options, Target, compress
from course_lib.lessons import demonstration
from course_lib.quantization import run_onnx

# %% [markdown]
# ## 1 · Choose max_length
#
# **Goal** cut few texts, and waste no time. **8 minutes, difficulty 1 of 3**
#
# `choose_max_length(lengths, most_cut)`: `lengths` is a list of the texts' lengths in tokens, and `most_cut` is the share of the texts that may lose their end, such as 0.25. Give the
# smallest of the lengths for which at most that share is longer.
#
# Paper first: lengths 5, 9, 9, 30. Which limit cuts at most a quarter of them? And at most a half?
#
# <details><summary>Hint 1</summary>A text with exactly max_length tokens is read in full.</details>
# <details><summary>Hint 2</summary>Try the lengths themselves as limits, from small to large, and count how many texts are longer.</details>
# <details><summary>Hint 3</summary>How many texts are longer, divided by how many there are, is a share. Compare that with most_cut: a share times a number of texts is hardly ever a whole number in floats.</details>


# %% nbgrader={"grade": false, "grade_id": "choose_max_length", "locked": false, "schema_version": 3, "solution": true, "task": false}
def choose_max_length(lengths, most_cut):
    ### BEGIN SOLUTION
    for limit in sorted(lengths):
        cut = sum(length > limit for length in lengths)
        if cut / len(lengths) <= most_cut:
            return limit
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-choose_max_length", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.choose_max_length(choose_max_length)

# %% [markdown]
# Whole movie reviews are longer than sentences. Guess: which `max_length` keeps nine in ten of these whole?

# %% nbgrader={"grade": false, "grade_id": "real-lengths", "locked": true, "schema_version": 3, "solution": false, "task": false}
tokenizer = models.load_tokenizer()
sentences = list(datasets.reviews()["validation"]["text"])
joined = [
    " ".join(sentences[i : i + 1 + i % 9]) for i in range(0, len(sentences), 9)
]  # 1 to 9 each
lengths = [len(row) for row in tokenizer(joined)["input_ids"]]
for most_cut in (0.0, 0.1, 0.5):
    print(f"{most_cut:.0%} may be cut: {choose_max_length(lengths, most_cut)} tokens")

# %% [markdown]
# ## 2 · A width for a budget
#
# **Goal** know how wide a student may be before you train it. **10 minutes, difficulty 2 of 3**
#
# `width_for(megabytes, tokens, layers, hidden)` gives the share of heads and feed-forward units that fits into an int8 file, at most 1. A weight takes one byte. Count the embeddings, `tokens × hidden`, and in each
# layer four attention matrices and two feed-forward matrices. At full width an attention matrix is hidden × hidden, and a feed-forward matrix is hidden × 4 hidden. All of them shrink with the width. Leave everything else out.
# If the embeddings alone take the whole budget or more, raise `ValueError`.
#
# Paper first: hidden size 10, one layer, 100 tokens. How many bytes are the embeddings, and how many the layer at full width?
#
# <details><summary>Hint 1</summary>What do the embeddings leave of the budget?</details>
# <details><summary>Hint 2</summary>A whole layer has 4 · hidden² + 2 · 4 · hidden² weights.</details>
# <details><summary>Hint 3</summary>Two amounts of bytes make a share. Which one is divided by which, and what if there is room for more than everything?</details>


# %% nbgrader={"grade": false, "grade_id": "width_for", "locked": false, "schema_version": 3, "solution": true, "task": false}
def width_for(megabytes, tokens, layers, hidden):
    ### BEGIN SOLUTION
    left = megabytes * 1e6 - tokens * hidden
    if left <= 0:
        raise ValueError("The embeddings alone do not fit.")
    return min(1.0, left / (layers * 12 * hidden**2))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-width_for", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.width_for(width_for)

# %% [markdown]
# BERT-base has 12 layers and a hidden size of 768. How wide may its student be in 25 MB, with 12,000 tokens? With all 30,522? Guess first.

# %% nbgrader={"grade": false, "grade_id": "bert-width", "locked": true, "schema_version": 3, "solution": false, "task": false}
for tokens, layers in ((12_000, 12), (12_000, 6), (30_522, 12)):
    print(f"{tokens:,} tokens, {layers} layers: width {width_for(25, tokens, layers, 768):.2f}")

# %% [markdown]
# ## 3 · Does it lose less than you can afford?
#
# **Goal** turn counts into a verdict. **12 minutes, difficulty 2 of 3**
#
# `loses_less(only_large, only_small, n, points)`: both models answered the same `n` test texts. `only_large` of them only the large model got right, `only_small` only the small one. Use lesson 6's interval for the change of the accuracy:
#
# $$\frac{c - b}{n} \pm \frac{1.96}{n} \sqrt{b + c - \frac{(c - b)^2}{n}}$$
#
# Here $b$ is `only_large` and $c$ is `only_small`. Give `"yes"` if the whole interval lies above −`points`, `"no"` if it lies below, and `"cannot tell"` otherwise. `points` counts hundredths: 2 points are a change of 0.02.
#
# Paper first: 10 and 10 of 1,000, and you can lose 2 points. What is the change? Is the interval narrower than 2 points?
#
# <details><summary>Hint 1</summary>The change is negative if the small model is worse. "Above −2" is a comparison with −points.</details>
# <details><summary>Hint 2</summary>Which end of the interval must lie above −points for a yes? Which one below it for a no?</details>
# <details><summary>Hint 3</summary>The change is a fraction, and points are hundredths. Bring both ends to points before you compare.</details>


# %% nbgrader={"grade": false, "grade_id": "loses_less", "locked": false, "schema_version": 3, "solution": true, "task": false}
def loses_less(only_large, only_small, n, points):
    ### BEGIN SOLUTION
    change = (only_small - only_large) / n
    half = 1.96 * (only_large + only_small - (only_small - only_large) ** 2 / n) ** 0.5 / n
    low, high = 100 * (change - half), 100 * (change + half)
    if low > -points:
        return "yes"
    return "no" if high < -points else "cannot tell"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-loses_less", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.loses_less(loses_less)

# %% [markdown]
# The same shares, with more and more test texts: one in twenty is right for the large model alone, one in twenty-five for the small one alone. You can lose 2 points.

# %% nbgrader={"grade": false, "grade_id": "more-texts", "locked": true, "schema_version": 3, "solution": false, "task": false}
for n in (100, 300, 1000, 3000, 10_000):
    print(f"{n:6,} texts: {loses_less(n // 20, n // 25, n, 2)}")

# %% [markdown]
# How many test texts do you need before the verdict can be a yes?
#
# <details><summary>Answer</summary>The change is −1 point, so the interval must be narrower than 1 point on each side. With these shares that takes about 3,500 texts. Halving the width takes four times as many.</details>
#
# ## 4 · Who reads which ids?
#
# **Goal** find an error that raises no error. **10 minutes, difficulty 2 of 3**
#
# After the vocabulary was pruned, teacher and student have different tokenizers. A colleague writes this:
#
# ```python
# def teaching_rows(texts, held_out, large, small, teacher):
#     rows = []
#     for text in texts:
#         ids = small(text)
#         rows.append((ids, teacher(ids)))
#     return rows
# ```
#
# `large(text)` and `small(text)` give the ids of a text by the two tokenizers, and `teacher(ids)` gives logits. The training runs, and the student is hardly better than guessing. Find two mistakes and correct them. A row is a pair: what the student
# reads, and the teacher's logits for this text. `held_out` is the set of validation and test texts.
#
# <details><summary>Hint 1</summary>Which word has the id 2,000 for the student? And for the teacher?</details>
# <details><summary>Hint 2</summary>Should the student be trained on all of texts?</details>
# <details><summary>Hint 3</summary>Each model has a tokenizer of its own: which of the two makes the first half of a row, and which one does the second half need on the way?</details>


# %% nbgrader={"grade": false, "grade_id": "teaching_rows", "locked": false, "schema_version": 3, "solution": true, "task": false}
def teaching_rows(texts, held_out, large, small, teacher):
    ### BEGIN SOLUTION
    return [(small(text), teacher(large(text))) for text in texts if text not in held_out]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check-teaching_rows", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.teaching_rows(teaching_rows)

# %% [markdown]
# ## 5 · Challenge: a budget on your own data
#
# **Goal** compress a classifier for a data set of your choice, and stand by the result. **15 minutes, difficulty 3 of 3**
#
# Choose a data set: your own texts, or lesson 6's demonstration. Make a small model with `compress`:
#
# - `model.onnx` takes at most **5 MB**;
# - at least **200** texts are in the test part;
# - the interval of the change lies above **−10 points**. Lesson 6 has less to lose, because its student reads more text.
#
# Give `my_folder`, the folder that `compress` wrote. If you look at the test part more than once, say so when you report the result.
#
# <details><summary>Hint 1</summary>compress(texts, model, out, target=Target(megabytes=5), unlabeled=…) does it. Which of these do you have?</details>
# <details><summary>Hint 2</summary>Files of the demonstration: demo = demonstration(1000), with demo.texts, demo.model, demo.unlabeled and demo.out.</details>
# <details><summary>Hint 3</summary>If the interval reaches too low, pass options=Options(reads=40_000), or a shape of your own: compression.Shape says which numbers describe it.</details>

# %% nbgrader={"grade": false, "grade_id": "own_budget", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
demo = demonstration(1000)  # a small part of the texts, so that it is done in four minutes
my_folder = demo.out.with_name("small-enough")
target = Target(megabytes=5, points=6)
options = Options(reads=8000, rounds=10)
my_report = compress(
    demo.texts, demo.model, my_folder, target=target, unlabeled=demo.unlabeled, options=options
)
print(my_report)
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "check-own_budget", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.own_budget(my_folder)

# %% [markdown]
# Ask it something, without PyTorch:

# %% nbgrader={"grade": false, "grade_id": "ask", "locked": true, "schema_version": 3, "solution": false, "task": false}
classify = run_onnx.load(my_folder)
classify(["A moving, funny, clever film.", "Two hours that I never get back.", "Not bad at all."])

# %% [markdown]
# ## And then
#
# - Compare your functions with [course_lib/compression](../course_lib/compression). What do they guard against that yours do not?
# - Read the card of your model aloud. Would you use this model, if somebody else had made it?
# - Run `compress` once with and once without the unlabeled text. What is it worth?
