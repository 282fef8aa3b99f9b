# %% [markdown]
# # Exercises 6 · Your own model
#
# **You need** [lesson 6](../notebooks/06_your_own_model.ipynb). **Time** about 55 minutes; the computer works about five of them.
#
# Write your answer where it says `YOUR CODE HERE`, run that cell, and then run the check below it. The check prints what it tried, what
# came out, and what was expected. If your answer makes a known mistake, the check names it. It also prints what it does *not* test.
# If you are stuck, open one hint at a time.
#
# A function must not change its arguments. Where the text asks for a number, a float and a tensor with one element are both fine. Do not use `course_lib.compression` before the challenge, because you are writing parts of it.

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
# **Goal** choose a limit that cuts few texts and wastes little time. **8 minutes, difficulty 1 of 3**
#
# A text with more than `max_length` tokens loses its end. `choose_max_length(lengths, most_cut)` takes a list of the texts' lengths in tokens, in any order, and the share of the texts that may be cut, such as 0.25. It returns the
# smallest number in `lengths` for which at most this share of the texts is longer. Exactly this share is allowed. Rounding errors of floating-point numbers do not matter.
#
# First, on paper: for lengths 5, 9, 9, 30, which limit cuts at most a quarter of the texts? And at most a half?
#
# <details><summary>The answer on paper</summary>9 tokens in both cases. Only one of the four texts is longer. With a limit of 5 tokens, three of them are.</details>
#
# <details><summary>Hint 1</summary>A text with exactly max_length tokens is not cut.</details>
# <details><summary>Hint 2</summary>Try the lengths as limits, from the smallest to the largest, and count how many texts are longer.</details>
# <details><summary>Hint 3</summary>Turn the count into a share before you compare it.</details>


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
# Whole movie reviews are longer than single sentences. We join one to nine sentences into a text. Guess: which `max_length` cuts at most one text in ten?

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
# **Goal** compute how wide a student can be before you train it. **10 minutes, difficulty 2 of 3**
#
# `width_for(megabytes, tokens, layers, hidden)` returns the width: the share of the attention heads and FFN neurons that fits into an int8 file of this size, as a number of at most 1. A megabyte is a million bytes, and a weight takes one byte. Count
#
# - the embeddings, `tokens × hidden`, which do not shrink with the width;
# - in each layer, four attention matrices and two FFN matrices. At full width, an attention matrix is hidden × hidden and an FFN matrix is hidden × 4 hidden. At width w, each has w times as many weights.
#
# Leave out everything else. If the embeddings alone take the whole budget or more, raise `ValueError`.
#
# First, on paper: with a hidden size of 10, one layer and 100 tokens, how many bytes do the embeddings take, and how many does the layer take at full width?
#
# <details><summary>The answer on paper</summary>The embeddings take 100 · 10 = 1,000 bytes, and the layer takes 4 · 100 + 2 · 400 = 1,200 bytes.</details>
#
# <details><summary>Hint 1</summary>How many bytes do the embeddings leave for the layers?</details>
# <details><summary>Hint 2</summary>At full width, a layer has 4 · hidden² + 2 · 4 · hidden² weights.</details>
# <details><summary>Hint 3</summary>The width is a ratio of two numbers of bytes: what is left, and what all layers need at full width. What if more is left than they need?</details>


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
# BERT-base has 12 layers and a hidden size of 768. How wide can its student be in 25 MB with 12,000 tokens? And with all 30,522 tokens? Guess first.

# %% nbgrader={"grade": false, "grade_id": "bert-width", "locked": true, "schema_version": 3, "solution": false, "task": false}
for tokens, layers in ((12_000, 12), (12_000, 6), (30_522, 12)):
    print(f"{tokens:,} tokens, {layers} layers: width {width_for(25, tokens, layers, 768):.2f}")

# %% [markdown]
# ## 3 · Does it lose less than you can afford?
#
# **Goal** turn counts into a verdict. **12 minutes, difficulty 2 of 3**
#
# A large and a small model answered the same `n` test texts. Only the large model is right on `only_large` of them, and only the small model on `only_small`. Use lesson 6's interval for the change of the accuracy:
#
# $$\frac{c - b}{n} \pm \frac{1.96}{n} \sqrt{b + c - \frac{(c - b)^2}{n}}$$
#
# Here $b$ is `only_large` and $c$ is `only_small`. `loses_less(only_large, only_small, n, points)` returns `"yes"` if the whole interval lies above −`points`, `"no"` if it lies below, and `"cannot tell"` otherwise. `points` is in percentage points, so 2 points are a change of 0.02.
#
# First, on paper: the counts are 10 and 10 of 1,000, and you can lose 2 points. What is the change? Does the interval cross −2 points?
#
# <details><summary>The answer on paper</summary>The change is 0. The interval is 1.96 · √20 / 1,000 = 0.009 wide on each side, or 0.9 points. It does not cross −2 points, so the verdict is yes.</details>
#
# <details><summary>Hint 1</summary>If the small model is worse, the change is negative. So the limit is −points.</details>
# <details><summary>Hint 2</summary>Which end of the interval decides about a yes, and which about a no?</details>
# <details><summary>Hint 3</summary>The formula gives fractions, but `points` are hundredths. Use one unit for both.</details>


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
# Now the same shares with more and more test texts: only the large model is right on one text in 20, and only the small model on one in 25. You can lose 2 points.

# %% nbgrader={"grade": false, "grade_id": "more-texts", "locked": true, "schema_version": 3, "solution": false, "task": false}
for n in (100, 300, 1000, 3000, 10_000):
    print(f"{n:6,} texts: {loses_less(n // 20, n // 25, n, 2)}")

# %% [markdown]
# How many test texts do you need for a yes?
#
# <details><summary>Answer</summary>The change is −1 point, so the interval may reach less than 1 point to each side. With these shares, that takes about 3,500 texts. An interval of half the width takes four times as many texts.</details>
#
# ## 4 · Which model reads which ids?
#
# **Goal** find an error that raises no exception. **10 minutes, difficulty 2 of 3**
#
# After the vocabulary is pruned, teacher and student have different tokenizers. A colleague writes this:
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
# `large(text)` returns a text's ids from the teacher's tokenizer, and `small(text)` its ids from the student's. `teacher(ids)` returns logits. `held_out` is the set of the validation and test texts.
#
# The training runs, but the student is hardly better than guessing. Find the two mistakes and correct them. The function returns a list of pairs, in the order of `texts`: the ids that the student reads, and the teacher's logits for the same text.
#
# <details><summary>Hint 1</summary>Which token has the id 2,000 for the student? And for the teacher?</details>
# <details><summary>Hint 2</summary>Should the student be trained on every text in texts?</details>
# <details><summary>Hint 3</summary>Each model reads the ids of its own tokenizer. Which tokenizer belongs to each half of a pair?</details>


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
# **Goal** compress a classifier on a data set of your choice. **15 minutes, difficulty 3 of 3**
#
# Choose a data set: your own texts, or lesson 6's demonstration. Make a small model with `compress`:
#
# - `model.onnx` takes at most **5 MB**;
# - at least **200** texts are in the test set;
# - the interval of the change of the accuracy lies above **−10 points**. Lesson 6 allows a smaller loss, because its student reads more text.
#
# The answer is `my_folder`, the folder that `compress` wrote. If you look at the test set more than once, say so when you report the result.
#
# <details><summary>Hint 1</summary>compress(texts, model, out, target=Target(megabytes=5), unlabeled=…) does it. Which of these arguments do you have?</details>
# <details><summary>Hint 2</summary>demo = demonstration(1000) returns the files of the demonstration: demo.texts, demo.model, demo.unlabeled and demo.out.</details>
# <details><summary>Hint 3</summary>If the interval reaches below −10 points, let the student read more, with options=Options(reads=40_000), or choose another shape: see compression.Shape.</details>

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
# Try your model on three sentences. This needs no PyTorch:

# %% nbgrader={"grade": false, "grade_id": "ask", "locked": true, "schema_version": 3, "solution": false, "task": false}
classify = run_onnx.load(my_folder)
classify(["A moving, funny, clever film.", "Two hours that I never get back.", "Not bad at all."])

# %% [markdown]
# ## What next?
#
# - Compare your functions with [course_lib/compression](../course_lib/compression). Which inputs does that code handle that yours does not?
# - Read the model card in your folder. Would you use this model if somebody else had made it?
# - Run `compress` with and without the unlabeled text. How much does the unlabeled text add?
