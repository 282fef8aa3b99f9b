# %% [markdown]
# # Lesson 6 · Your own model
#
# **How do I make my own text classifier small, and how do I know that it is still good enough?**
#
# You bring a file of labeled texts and, if you have one, a trained model. One call makes a small copy, in a folder that answers without PyTorch.
# The lesson starts with that call, and then explains each step.
#
# You will be able to
#
# - compress a text classifier for your own texts, in a notebook or in a terminal;
# - choose a target in megabytes, milliseconds, or points of accuracy;
# - judge whether the small model is good enough, and say so in a model card;
# - decide what to try next if it is not.
#
# **You need** nothing but this lesson. It shows each idea briefly and says which lesson explains it in full.
#
# **Time** about 45 minutes; the computer works about 5 of them on two idle cores, and a few more, once, to train the demonstration's large model.
#
# At *Predict first*, write down a guess before you read on. Two cells have a gap for your own code, which may stay empty.

# %% tags=["setup"]
# the first cell of every lesson

# %% tags=["parameters"] jupyter={"source_hidden": true}
profile = "full"

# %%
from course_lib import lessons

settings = lessons.start("lesson6", profile)

import pandas as pd
import torch
import torch.nn.functional as F

from course_lib import datasets, evaluation, models
from course_lib.compression import Options, Shape, Target, compress, shapes
from course_lib.distillation import distillation_loss
from course_lib.lessons import diagrams, fill_in, plots
from course_lib.quantization import run_onnx
from course_lib.structured import gate_taylor, random_score

# %% [markdown]
# ## Do it first
#
# The large model is the **teacher**, and the small copy is its **student**. The drawing shows the six steps. The labeled training texts also go into *prune* and *distill*, and the labeled test texts into the last step.

# %%
diagrams.compress_steps()

# %% [markdown]
# Our demonstration has sentences of movie reviews in a `.csv` with the columns `text` and `label`, more such sentences without labels, and a trained classifier.
#
# **For your own model** change these four names, and run the lesson again. `MY_MODEL` may be the folder of a trained classifier, its name on the Hugging Face Hub, or an encoder that is no
# classifier yet: it is then trained on your texts. `MY_UNLABELED = None` if you have no other text. `OUT = "my-small-model"` puts the folder beside this notebook.

# %%
demo = lessons.demonstration(settings.sentences)
MY_TEXTS = demo.texts  # "reviews.csv"
MY_MODEL = demo.model  # a folder or a name, such as "distilbert-base-uncased"
MY_UNLABELED = demo.unlabeled  # "more.txt", or None
OUT = demo.out  # "my-small-model"
demo

# %% [markdown]
# Megabytes in the `Target` decide how small the student becomes. `points` changes nothing in it: it is the loss that you can afford, and only the verdict uses it. You may leave out `options`: `help(Options)` lists the defaults.
#
# **Predict first.** The target is a file of at most 8 MB. The teacher takes about 91 MB. <!-- not measured: the size of MiniLM's file --> How many points of accuracy will the student lose?

# %%
my_guess = 5  # points; change it
target = Target(megabytes=8, points=2)
options = Options(reads=settings.reads, scored_on=settings.scored_on, rounds=settings.rounds)
report = compress(MY_TEXTS, MY_MODEL, OUT, target=target, unlabeled=MY_UNLABELED, options=options)
print(f"You guessed {my_guess} points.")
report

# %% [markdown]
# The sentence below the table answers the question (section 6). The last line is a simple model for comparison. **TF-IDF** is a weighted count of words and word pairs, and a linear classifier
# learns from the counts. If your large model is hardly better, use the simple one.
#
# **Do not quote the times of our stored run.** In its table, the teacher takes longer for the shorter text. A shorter text cannot be slower, so other programs disturbed the run. They also made the printed estimate of the training far too long. Run the lesson on a quiet machine before you quote a speed.
#
# The next picture shows the steps: squares for the size of the file, and below them the validation accuracy.

# %%
report.picture()

# %% [markdown]
# Pruning alone costs the most accuracy, because most attention heads and FFN neurons are gone and nothing has been trained since. Distillation brings most of it back. int8 changes the accuracy little.
#
# ### Use it
#
# The folder needs onnxruntime, tokenizers, and numpy, and no PyTorch. In a terminal it is `python my-small-model/run.py "A text."`. The same program, called from Python:

# %%
classify = run_onnx.load(OUT)
lines = ["A slow start, but what an ending!", "I loved every minute of it."]
lines += ["Two hours that I will never get back.", "Not bad at all."]
pd.DataFrame(classify(lines), lines, ["label", "probability"]).round(3)

# %% [markdown]
# Four sentences are no measurement, but a mistake on an easy text may show that something is wrong. The first one is praise only after its comma: if the model calls it negative, ask the teacher, too. Add texts of your own.
#
# Beside the model lies its **model card**. It says what a model is made of, how good it is, and where it should not be used (Mitchell et al. 2019, section 4). Send it with the folder. It counts a few more tokens than the log above, because special tokens and single characters always stay.

# %%
print((OUT / "README.md").read_text("utf-8"))

# %% [markdown]
# That is all you need. If you came for the command, it is
#
# ```
# python -m course_lib compress reviews.csv --model my-classifier --unlabeled more.txt --target-mb 8
# ```
#
# It says about how long each training will take. You may stop it with Ctrl-C: the same command goes on where it was, and ends with the same model.
#
# ### Does this work for my model and my data?
#
# - **Machine**: `make lab` installs all ([other ways](../docs/install.md)). You need no GPU.
# - **Model**: an encoder of transformers such as BERT, DistilBERT, RoBERTa, or ELECTRA, stored as safetensors, with a fast tokenizer (WordPiece, BPE, or Unigram). What does not fit is refused, with the reason.
# - **Labeled texts**: a `.csv` or `.jsonl`, at least 200 different texts, and 10 of each class. There may be more than two classes, but each text has one. A model for several labels per text, or for a number, is refused.
# - **Unlabeled texts**: a `.txt` with one text a line, or a `.csv` or `.jsonl` with `text`.
# - **Test texts**: a fifth of your rows. If one text in ten gets a right answer from only one model, the interval is about ±4 points with 200 test texts, and ±2 with 1,000 <!-- not measured: the formula of section 6 -->.
# - **Rare classes**: read their *recall* in the table, not the accuracy alone.
#
# The rest of the lesson explains the steps, with the demonstration.
#
# ## 1 · Measure
#
# Look at your data first. Three questions matter.
#
# **Are the three parts separate?** The model learns from the *training* set. We choose on the *validation* set. The *test* set is used once, for the final table. `read_examples` drops repeated texts and splits your file at random, with
# the same share of each class in each part, or by its column `split`.
#
# **How many texts does each class have?** If ninety-five of a hundred texts are in one class, always answering with this class is right for ninety-five. So the table also has the **recall** of each class: the share of its texts that get the right answer.
#
# **How long are the texts?** A model reads at most `max_length` tokens, and most libraries cut the rest without a word. But a larger `max_length` costs time. The drawing has eight texts, in equal steps from the shortest to the longest of the training set (quantiles). Gray is cut.
#
# **Predict first.** Which `max_length` would you choose for sentences from movie reviews: 16, 32, 64, or 128?

# %%
parts = datasets.read_examples(demo.texts)
tokenizer = models.load_tokenizer(str(demo.model))
rows = tokenizer(list(parts["train"]["text"]))["input_ids"]
lengths = torch.tensor([len(row) for row in rows]).double()  # [texts]
for max_length in (16, 32, 64, 128):
    print(f"max_length {max_length}: {(lengths > max_length).double().mean():.1%} are cut")
print(f"95th percentile: {lengths.quantile(0.95):.0f} tokens")
few = [int(n) for n in lengths.quantile(torch.linspace(0, 1, 8).double())]
diagrams.texts_cut(few, 32)

# %% [markdown]
# `compress` takes 32, 64, or 128, the first at which at most one text in a hundred is cut, and never more than 128 by itself. If then more than one in twenty is cut, it warns you, and names the
# `max_length` that cuts only one in twenty. You decide whether that is worth the time. The teacher reads the same cut texts, so the comparison is fair. But it does not show what the cut costs both.
#
# ## 2 · Choose
#
# How small should the student be? Three numbers describe its **shape**: how many *layers*, which share of the attention heads and of the FFN neurons stays (its *width*; the output calls both *units*), and how many numbers each token has in the embedding table (its *rank*).
#
# In int8, a weight takes one byte. So the size of the file follows from counting weights, before anything is trained. The **embeddings** are a table with one row for each token. Each layer has four attention matrices, which shrink with the number of heads, and two FFN matrices, which
# shrink with the number of FFN neurons.
#
# **Your turn (1 of 2).** Our teacher's hidden size is 384, so each attention matrix is 384 × 384, and each FFN matrix is 384 × 1,536. Count the megabytes of a student with a given number of tokens, layers, and width. Leave biases out.


# %% tags=["nbval-check-output"]
def student_megabytes(tokens, layers, width):
    """For example 12,000 tokens, 6 layers, a width of 0.25 → megabytes in int8, one byte a weight."""
    ...


def library_megabytes(tokens, layers, width):
    embeddings = tokens * 384
    layer = 4 * 384 * (384 * width) + 2 * 384 * (1536 * width)
    return (embeddings + layers * layer) / 1e6


student_megabytes = fill_in.check(
    student_megabytes, against=library_megabytes, examples=[(30_522, 6, 1.0), (12_000, 3, 0.25)]
)

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def student_megabytes(tokens, layers, width):
#     embeddings = tokens * 384
#     layer = 4 * 384 * (384 * width) + 2 * 384 * (1536 * width)
#     return (embeddings + layers * layer) / 1e6
# ```
# </details>
#
# **Predict first.** You keep all tokens and layers, and a quarter of the width. How much smaller is the model?

# %%
tokens_kept = datasets.tokens_seen(datasets.tokenize(parts["train"], tokenizer), at_least=1)
tried = {
    "all": (30_522, 6, 1.0),
    "a quarter of the width": (30_522, 6, 0.25),
    "... and fewer tokens": (len(tokens_kept), 6, 0.25),
    "... and half of the layers": (len(tokens_kept), 3, 0.25),
}
sizes = {
    name: {
        "embeddings": (total := student_megabytes(n, 0, w)),
        "layers": student_megabytes(n, k, w) - total,
    }
    for name, (n, k, w) in tried.items()
}
plots.parts(sizes, "megabytes in int8", title="The embeddings stay, until tokens go")

# %% [markdown]
# It is still about two thirds as large, because the embeddings stay as they are. So tokens must go, too: your texts use only some of the vocabulary.
#
# `compress` goes down a list of shapes and takes the first one that fits your megabytes. If you ask for milliseconds, it also measures each shape with untrained weights, because speed does not depend on the weights. Here is the list for this teacher. It also counts biases and positions, so it is a little above your numbers.

# %%
teacher = models.load_custom_model(demo.model, parts).model
for shape in shapes.ladder(teacher):
    megabytes = shapes.int8_bytes(teacher, shape, len(tokens_kept), max_length=64) / 1e6
    print(f"{megabytes:5.2f} MB  {shape}")

# %% [markdown]
# Without a target you get the second shape: all layers stay, and each becomes narrow. If you need *speed*, fewer and wider layers are better at the same size, because layers run one after
# the other (lesson 5).
#
# ## 3 · Prune
#
# Which attention heads and FFN neurons go? Those that matter least to the loss. Multiply the output of each by a gate of 1. The size of the loss's gradient with respect to the gate estimates how much the loss would change without it. This **importance score** is a first-order Taylor estimate (Michel et al. 2019,
# equation 2; lesson 2b).
#
# Then rows and columns are removed. In the drawing, yellow goes. Q, K, and V compute a head's queries, keys, and values, and O combines the heads. *Up* and *down* lead into the FFN neurons and out of them.

# %%
diagrams.attention_head()

# %% [markdown]
# **Predict first.** A quarter of the heads and FFN neurons stay, and nothing is trained yet. How much better is the Taylor score than a random choice?

# %%
train = datasets.tokenize(parts["train"], tokenizer)
validation = datasets.tokenize(parts["validation"], tokenizer)
taylor = gate_taylor(teacher, train.select(range(settings.scored_on)))
shape, every_token = Shape(layers=6, width=0.25), range(tokenizer.vocab_size)
pruned = {}
for name, score in {"random": random_score(0), "Taylor": taylor}.items():
    small, _ = shapes.cut(teacher, tokenizer, shape, torch.tensor(every_token), score, 64)
    pruned[name] = evaluation.evaluate(small, validation)
pruned["before"] = evaluation.evaluate(teacher, validation)
look = {"title": "Pruned to a quarter, not trained yet", "xlabel": "validation accuracy"}
plots.intervals(pruned, **look)

# %% [markdown]
# The Taylor score is clearly ahead of the random baseline: the intervals do not overlap. But so deep a cut costs a lot of accuracy with either, and training brings much of it back. So do not judge a shape before training. (In the log, the pruned model has slightly another accuracy, because there tokens are gone, too.)
#
# Last, the tokens. A word whose token is gone is split into smaller pieces. Here are three words, as the teacher and then the student split them.

# %%
_, smaller = shapes.cut(teacher, tokenizer, shape, tokens_kept, taylor, 64)
for word in ("unforgettable", "cinematography", "photosynthesis"):
    print(f"{word:15} {tokenizer.tokenize(word)} → {smaller.tokenize(word)}")

# %% [markdown]
# These three words or their pieces occur in the training texts, so they kept their tokens, and nothing changes. Try a rare word of your own.
#
# ## 4 · Distill
#
# The student learns from the teacher's probabilities, softened by a temperature $T$, and from the labels where there are any. That is **distillation** (Hinton, Vinyals & Dean 2015, section 2; lesson 3):
#
# $$L = \alpha \, T^2 \, \mathrm{KL}\left(p_T \,\|\, q_T\right) + (1 - \alpha) \left(-\log q(y)\right)$$
#
# $p_T$ and $q_T$ are the teacher's and the student's probabilities at temperature $T$, $q$ is the student's at $T = 1$, and $y$ is the label. `compress` uses $T = 2$ and $\alpha = 0.7$. In the code, `small` is the last model of section 3's loop: pruned with Taylor, not trained yet.

# %%
diagrams.teacher_and_student((2.4, -1.1), (0.6, 0.2), label_index=0, T=2, alpha=0.7)

# %%
texts = datasets.read_unlabeled(demo.unlabeled)[:3]
batch = tokenizer(texts, padding=True, return_tensors="pt")
with torch.no_grad():
    t, s = teacher(**batch).logits, small(**batch).logits  # [3, 2]
T, unlabeled = 2, torch.full((3,), -100)  # a label of -100 means: none
p, log_q = (t / T).softmax(-1), (s / T).log_softmax(-1)
by_hand = 0.7 * T**2 * (p * (p.log() - log_q)).sum(-1).mean()
library = distillation_loss(s, t, unlabeled, T=2, alpha=0.7)
print(f"without labels, by hand {by_hand:.4f}, by the library {library:.4f}")
names = list(parts["train"].features["label"].names)
shown = {text[:38]: row for text, row in zip(texts, F.softmax(t, -1), strict=True)}
plots.class_bars(shown, names, title="The teacher's answers to text without labels")

# %% [markdown]
# A teacher can answer any text. So **unlabeled text** of the same kind is worth collecting: mails, tickets, reviews that nobody has labeled. On the texts it was trained on, the teacher's answers tend to repeat the labels. New text shows the student answers that it cannot get from labels. Lesson 3, section 8, measures the gain: large with few labels, small with many.
#
# If you have none, `compress` makes variations of your labeled texts, pieces and copies with some words replaced, and the teacher answers them. That is only a substitute.
#
# Texts that also stand in your validation or test set are left out. Otherwise the student would train on what it is tested on.
#
# ## 5 · int8
#
# Until now a weight takes four bytes. **int8** stores it as a whole number from −127 to 127, and each row has a **scale**, a float by which its numbers are multiplied (Jacob et al. 2018, section 2.1; lesson 5). In the code, the largest of six weights sets the scale, so none is clipped. The drawing has a fixed scale for −1 to 1, so its largest value is clipped.

# %%
row = teacher.get_input_embeddings().weight.detach()[2307, :6]  # of the token "great"
scale = row.abs().max() / 127
integers = (row / scale).round()
print("weights  ", [f"{w:+.4f}" for w in row.tolist()])
print("integers ", [f"{int(i):+d}" for i in integers.tolist()])
print(f"largest error: {(integers * scale - row).abs().max() / scale:.2f} scales")
diagrams.int8_number_line()

# %% [markdown]
# Without clipping, rounding moves no weight by more than half of a scale. It needs no training. To see what int8 costs for your model, compare the last two numbers in the picture at the top.
#
# ## 6 · Measure again
#
# Is the student good enough? It is not enough to compare two accuracies, because with another test set both would differ. And "no significant difference" is no answer, because with a small test set even a large difference is not significant.
#
# Ask instead: **does it lose less than I can afford?** Write down how many points that is, before you measure. Then compute the change of the accuracy with its 95 % interval <!-- not measured: the level of the interval -->. If you can lose 2 points, the answer is yes when the whole interval lies above −2 <!-- not measured: the target -->. This is called a test of **non-inferiority**.
#
# Both models answer the same test texts, so they share many errors. Only the texts that one of them alone answers correctly matter. Let $b$ be the texts that only the teacher gets right, $c$ those that only the student gets right, and $n$ all of them:
#
# $$\text{change} = \frac{c - b}{n} \qquad \text{interval} = \text{change} \pm \frac{1.96}{n} \sqrt{b + c - \frac{(c - b)^2}{n}}$$
#
# **Your turn (2 of 2).** Write it.


# %%
def change_interval(b, c, n):
    """Texts that only the teacher, only the student gets right, and all → (low, high), fractions."""
    ...


def library_interval(b, c, n):
    change = (c - b) / n
    half = 1.96 * (b + c - (c - b) ** 2 / n) ** 0.5 / n
    return change - half, change + half


change_interval = fill_in.check(
    change_interval, against=library_interval, examples=[(20, 10, 200), (90, 80, 2000)]
)

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def change_interval(b, c, n):
#     change = (c - b) / n
#     half = 1.96 * (b + c - (c - b) ** 2 / n) ** 0.5 / n
#     return change - half, change + half
# ```
# </details>

# %%
b, c = report.differing["before"]
by_hand = change_interval(b, c, report.test["after"][1])
change = report.change
print(f"only the teacher right: {b}, only the student: {c}")
print("by hand          ", [f"{100 * end:+.2f}" for end in by_hand])
print("by the library   ", [f"{100 * end:+.2f}" for end in change.interval])
yours = [100 * value for value in (change.value, *change.interval)]
diagrams.loss_verdicts(tuple(yours), report.points)

# %% [markdown]
# The library adds half a text to each of the four counts (both right, both wrong, only one right, only the other), which is better for small test sets (Agresti & Min 2005). The two are nearly equal here.
#
# *Cannot tell* is an honest answer. It often means that the test set is too small: with four times as many texts the interval is half as wide.
#
# The times in the table are measured on one thread, one text at a time, for a text of median length and for a long one. Both models run in ONNX Runtime, so the ratio shows what compression brings. If you come from PyTorch, you gain more, because the runtime alone is faster. In our stored run, these times were disturbed, too:

# %%
for runtime in ("ONNX Runtime", "PyTorch"):
    for length, ratio in report.faster(runtime).items():
        low, high = ratio.low, ratio.high
        print(f"{ratio.value:5.1f} × as fast as in {runtime} ({low:.1f} to {high:.1f}), {length}")

# %% [markdown]
# ## 7 · If it lost too much
#
# | try | expect | stop when |
# |---|---|---|
# | more unlabeled text of the same kind | most where labels are few (lesson 3) | the validation accuracy no longer rises |
# | more reading: `reads=40_000` | perhaps a little, for twice the time | the loss no longer falls |
# | a wider shape, or a larger target | back toward the teacher | the file is too large |
# | a longer `max_length`, if texts were cut | both models may gain | only one text in twenty is cut |
# | a better teacher | the student follows it | no teacher beats TF-IDF clearly |
# | more labeled test texts | no better model, but a verdict | the interval is narrow enough |
#
# Choose on the validation set. Each further look at the test set makes its number too good, because you keep what was lucky there. `report.advice()` picks what fits your numbers. It names the options of the command; in Python, `--reads` is `Options(reads=…)`.

# %%
for line in report.advice():
    print("-", line)

# %% [markdown]
# ## Recap
#
# - One call goes all the way: measure, choose, prune, distill, int8, measure again.
# - Look at class counts and lengths first. Texts beyond `max_length` lose their end.
# - Embeddings decide how small the file gets. Remove the tokens that your texts do not use.
# - Judge a pruned model only after distillation. Collect unlabeled text, above all if labels are few.
# - Say how much you can lose before you measure. The interval gives the verdict: yes, no, or cannot tell.

# %%
claims = lessons.Claims(report)
said = "The student loses less than 2 points"
claims.add(said, value=report.change, margin=-0.02, unit="points")
for length, ratio in report.faster().items():
    said = f"It is at least 4 times as fast in the same runtime, {length}"
    claims.add(said, value=ratio, margin=4, unit="×")
said = "The student is better than a linear model on TF-IDF"
claims.add(said, value=report.against("TF-IDF"), margin=0, unit="points")
claims

# %% [markdown]
# While we wrote this lesson, the test set was used for one more model, a student that had read less unlabeled text, of other kinds. The intervals are over test texts (accuracy) or repeated timing rounds (speed), with one training seed. Neither verdict on speed can be trusted, because the run was disturbed.
#
# ## Quiz
#
# **1.** Your texts have a median of 20 tokens and a 95th percentile of 180. You compress with `max_length` 64. What do you look at before you trust the table?
# <details><summary>Answer</summary>The share of texts that is cut. Both models were measured on cut texts, so their difference is fair, but both may be worse than they could be. `compress` alone goes no further than 128. Set `Options(max_length=184)`, the 95th percentile rounded up to a multiple of 8, and compare the teacher's validation accuracy.</details>
#
# **2.** A model takes 44 MB in float32, of which 24 MB are embeddings. You keep a quarter of its width and all tokens, and quantize to int8. About how large is the file?
# <details><summary>Answer</summary>The embeddings stay 24 MB and the layers shrink to 5 MB, so 29 MB in float32 and about 7 MB in int8.</details>
#
# **3.** The change of the accuracy is −0.5 points, with an interval from −3 to +2. You can lose 2 points. What is the verdict, and what would help?
# <details><summary>Answer</summary>Cannot tell: the interval crosses −2. More test texts make it narrower. A better student may move it up, too.</details>
#
# **4.** You have 300 labeled texts and 50,000 unlabeled ones. Why is the teacher's answer to the unlabeled ones worth more than a second pass over the labeled ones?
# <details><summary>Answer</summary>The student sees new text. On the texts it was trained on, the teacher tends to repeat the labels.</details>
#
# **5.** One of your two classes has 4 % of the texts. The student has an accuracy of 96 %. Is it good?
# <details><summary>Answer</summary>You cannot tell: always giving the other class has the same accuracy. Look at the recall of the rare class.</details>
#
# ## Try it yourself
#
# - Ask for 3 MB: `Target(megabytes=3)`. Which shape does it choose, and what is the verdict?
# - Ask for 1 millisecond instead of megabytes.
# - Take your own file. Then send the folder and its card to someone who has no PyTorch.
#
# **Exercises**: [exercises/06_your_own_model.ipynb](../exercises/06_your_own_model.ipynb).
#
# ## References
#
# - Hinton, Vinyals & Dean 2015, *Distilling the knowledge in a neural network*: section 2.
# - Michel, Levy & Neubig 2019, *Are sixteen heads really better than one?*: equation 2.
# - Jacob et al. 2018, *Quantization and training of neural networks for efficient integer-arithmetic-only inference*: section 2.1.
# - Agresti & Min 2005, *Simple improved confidence intervals for comparing matched proportions*.
# - Piaggio et al. 2012, *Reporting of noninferiority and equivalence randomized trials*: figure 1, the same three verdicts.
# - Mitchell et al. 2019, *Model cards for model reporting*: section 4.
