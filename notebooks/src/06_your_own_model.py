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
# **Time** about 50 minutes; the computer works about 5 of them on two idle cores. The first run takes a few minutes more, because it trains the demonstration's large model.
#
# At *Predict first*, write down a guess before you read on. Two cells leave a gap for your own code. You may leave it empty: the lesson runs to its end either way.

# %% tags=["setup"]
# the first cell of every lesson

# %% tags=["parameters"] jupyter={"source_hidden": true}
profile = "full"

# %%
from course_lib import lessons

settings = lessons.start("lesson6", profile)

import pandas as pd
import torch

from course_lib import datasets, evaluation, models
from course_lib.compression import Options, Shape, Target, compress, shapes
from course_lib.distillation import distillation_loss
from course_lib.lessons import diagrams, fill_in, plots, solutions
from course_lib.quantization import run_onnx
from course_lib.structured import gate_taylor, random_score

# %% [markdown]
# ## Do it first
#
# The large model is the **teacher**, and the small copy is its **student**. In the drawing, the gray steps measure and decide, and the orange ones change the model. Follow the blue line: the teacher's answers train the student in *distill*, and the last step compares the two.

# %%
diagrams.compress_steps()

# %% [markdown]
# Our demonstration has a `.csv` with labeled sentences from movie reviews, a `.txt` with more such sentences without labels, and a trained classifier.
#
# **For your own model**, change these four names and run the lesson again. `MY_MODEL` may be a trained classifier: its folder, or its name on the Hugging Face Hub. It may also be an encoder such as `distilbert-base-uncased`, which is then trained on your texts. Your `.csv` needs the columns `text` and `label`, and may have `split`.

# %%
demo = lessons.demonstration(settings.sentences)
MY_TEXTS = demo.texts  # "reviews.csv"
MY_MODEL = demo.model  # "my-classifier"
MY_UNLABELED = demo.unlabeled  # "more.txt", or None if you have no other text
OUT = demo.out  # "my-small-model", a new folder beside this notebook
pd.read_csv(demo.texts).head(3)

# %% [markdown]
# In the `Target`, `megabytes` decides how small the student becomes. `points` is the loss of accuracy that you can afford. It does not change the student, only the verdict. You may leave out `options`: these are the defaults, written out to show their names (the quick profile has smaller numbers).
#
# **Predict first.** The target is a file of at most 8 MB. The teacher takes about 91 MB. <!-- not measured: the size of MiniLM's file --> How many points of accuracy will the student lose?

# %%
my_guess = 5  # points; change it
target = Target(megabytes=8, points=2)
options = Options(
    reads=settings.reads,  # 20,000: texts that the student reads
    scored_on=settings.scored_on,  # 400: training texts that decide which parts are pruned
    rounds=settings.rounds,  # 30: repetitions of each time measurement
)
report = compress(MY_TEXTS, MY_MODEL, OUT, target=target, unlabeled=MY_UNLABELED, options=options)
lost = -100 * report.change.value
print(f"You guessed {my_guess} points. The student lost {lost:.2f}.")
report

# %% [markdown]
# The printed line answers the question. The sentence below the table is the verdict (section 6). The last line is a simple model for comparison: **TF-IDF** is a weighted count of words and word pairs, from which a linear classifier learns. It reads *whole texts*, also where the models read only the beginning (section 1). If your teacher is hardly better, use the simple model.
#
# The next picture shows the steps. The area of a square is the size of the file, and below it stands the validation accuracy. Where does the accuracy fall, and where does it come back?

# %%
report.picture()

# %% [markdown]
# Pruning costs the most accuracy, because it removes most of every layer and trains nothing. Distillation brings most of it back. int8 makes the file about four times smaller <!-- not measured: one byte a weight in place of four --> and changes the accuracy little.
#
# ### Use it
#
# The folder needs onnxruntime, tokenizers, and numpy, but not PyTorch. In a terminal, run `python my-small-model/run.py "A text."`. In Python:

# %%
classify = run_onnx.load(OUT)
lines = ["A slow start, but what an ending!", "I loved every minute of it."]
lines += ["Two hours that I will never get back.", "Not bad at all."]
pd.DataFrame(classify(lines), index=lines, columns=["label", "probability"]).round(3)

# %% [markdown]
# Four sentences are no measurement, but a mistake on an easy text can show that something is wrong. The first one is hard, because it begins with criticism. If the student gets it wrong, did it learn that from the teacher? Section 4 asks the teacher. Add texts of your own.
#
# The folder also holds a **model card**. It says what kind of model it was made from, how good it is, and where it should not be used (Mitchell et al. 2019, section 4). Send it with the folder. The card counts a few more tokens than the log above, because special tokens and single characters always stay.

# %%
with open(f"{OUT}/README.md", encoding="utf-8") as card:
    print(card.read())

# %% [markdown]
# That is all you need. In a terminal, one command does the same:
#
# ```
# python -m course_lib compress reviews.csv --model my-classifier --unlabeled more.txt --target-mb 8
# ```
#
# It estimates how long each training will take, and the estimate is cautious. You may stop it with Ctrl-C. If you give the same command again, it continues where it stopped and ends with the same model.
#
# ### Does this work for my model and my data?
#
# - **Machine**: `make lab` installs everything ([other ways](../docs/install.md)). You need no GPU.
# - **Model**: an encoder of transformers such as BERT, DistilBERT, RoBERTa, or ELECTRA, stored as safetensors, with a fast tokenizer (WordPiece, BPE, or Unigram). What does not fit is refused, with the reason.
# - **Labeled texts**: a `.csv` or `.jsonl`, at least 200 different texts, and 10 of each class. There may be more than two classes, but each text has one. A model for several labels per text, or for a number, is refused.
# - **Unlabeled texts**: a `.txt` with one text a line, or a `.csv` or `.jsonl` with `text`.
# - **Test texts**: a fifth of your rows. If only one of the two models is right on one text in ten, the change in accuracy is known to about ±4 points with 200 test texts, and ±2 points with 1,000 <!-- not measured: the formula of section 6 -->.
#
# The rest of the lesson explains the steps, using the demonstration.
#
# ## 1 · Measure
#
# Look at your data first, with three questions.
#
# **Are the three parts separate?** The model learns from the *training* set. We choose on the *validation* set. The *test* set is used once, for the final table. `read_examples` drops repeated texts. If your file has a column `split`, it uses that. Otherwise it splits at random, with each class in the same proportion.
#
# **How many texts does each class have?** If ninety-five of a hundred texts have the same class, a model that always answers with this class is right on ninety-five of a hundred, but useless. So the table also has the **recall** of each class: the share of its texts that get the right answer.
#
# **How long are the texts?** A model reads at most `max_length` tokens, and most libraries cut the rest without a word. A larger `max_length` keeps more text, but takes more time. In the picture, the bars are eight lengths, from the shortest text to the longest, and a seventh of the training texts lies between two neighbors. The gray ends are what a model with a `max_length` of 32 never reads.
#
# **Predict first.** Which `max_length` would you choose for sentences from movie reviews: 16, 32, 64, or 128?

# %%
parts = datasets.read_examples(demo.texts)
tokenizer = models.load_tokenizer(str(demo.model))
tokenized = tokenizer(list(parts["train"]["text"]))["input_ids"]
lengths = pd.Series([len(tokens) for tokens in tokenized])
for limit in (16, 32, 64, 128):
    print(f"max_length {limit:3}: {(lengths > limit).mean():.2%} of the texts are cut")
print(f"95th percentile: {lengths.quantile(0.95):.0f} tokens")
eight = lengths.quantile(torch.linspace(0, 1, 8).tolist()).astype(int)  # 0 shortest, 1 longest
diagrams.texts_cut(eight.tolist(), max_length=32)

# %% [markdown]
# 64 is a good choice: almost no text is longer. 32 would cut almost a third of the texts, and 128 gains nothing.
#
# `compress` tries 32, 64, and 128, and takes the first one that cuts at most one text in a hundred. If even 128 cuts more than one in twenty, it warns you and suggests a `max_length` that fits nineteen texts in twenty. It goes on with 128, unless you set `Options(max_length=…)`. The teacher reads the same cut texts, so the comparison is fair, but it cannot show what the cut costs both.
#
# ## 2 · Choose
#
# How small should the student be? Each layer of the model has two parts: attention, which works in several **attention heads**, and a feed-forward network (**FFN**) of many **neurons**. The **embeddings** are a table with one row of numbers for each token. Three numbers describe the **shape** of a student:
#
# - *layers*: how many layers stay;
# - *width*: which share of the heads and of the FFN neurons stays in each layer (the log calls these neurons *units*);
# - *rank*: how many numbers are stored for each token; a second small matrix expands them to 384 again (lesson 5, section 4).
#
# In int8, a weight takes one byte. So you can compute the size of the file before anything is trained: count the weights. A layer has four attention matrices, which shrink with the number of heads, and two FFN matrices, which shrink with the number of FFN neurons.
#
# **Your turn (1 of 2).** Each token of our teacher has 384 numbers. An attention matrix is 384 × 384, and an FFN matrix is 384 × 1,536. Count the megabytes of a student with a given number of tokens, layers, and width. Leave out the biases.


# %% tags=["nbval-check-output"]
hidden, neurons = 384, 1536  # the sizes of our teacher


def student_megabytes(tokens, layers, width):
    """For example 12,000 tokens, 6 layers, a width of 0.25 → megabytes in int8, one byte a weight."""
    ...


examples = [(30_522, 6, 1.0), (12_000, 3, 0.25)]
student_megabytes = fill_in.check(
    student_megabytes, against=solutions.student_megabytes, examples=examples
)

# %% [markdown]
# <details><summary>One answer</summary>
#
# ```python
# def student_megabytes(tokens, layers, width):
#     attention = 4 * hidden * (hidden * width)
#     ffn = 2 * hidden * (neurons * width)
#     return (tokens * hidden + layers * (attention + ffn)) / 1e6
# ```
# </details>
#
# **Predict first.** You keep all tokens and layers, and a quarter of the width. How much smaller is the model?

# %%
tokens_kept = datasets.tokens_seen(datasets.tokenize(parts["train"], tokenizer), at_least=1)
shapes_tried = {  # tokens, layers, width
    "the teacher": (tokenizer.vocab_size, 6, 1.0),
    "a quarter of the width": (tokenizer.vocab_size, 6, 0.25),
    "... and fewer tokens": (len(tokens_kept), 6, 0.25),
    "... and half of the layers": (len(tokens_kept), 3, 0.25),
}
sizes = {}
for name, (tokens, layers, width) in shapes_tried.items():
    embeddings = student_megabytes(tokens, layers=0, width=width)  # the table of tokens alone
    whole = student_megabytes(tokens, layers, width)
    sizes[name] = {"embeddings": embeddings, "layers": whole - embeddings}
unit = "megabytes in int8 (%: share of the file)"
plots.parts(sizes, unit, title="The embeddings stay, until tokens go")

# %% [markdown]
# A quarter of the width still leaves about two thirds of the size, because the embeddings stay as they are. So tokens must go, too: your texts use only some of the vocabulary.
#
# `compress` has a list of shapes, the largest first, and takes the first one that fits your megabytes. If you ask for milliseconds, it also times each shape, with untrained weights, which take as long as trained ones. Here is the list for this teacher. Its sizes are a little larger than yours, because they include biases and position embeddings.

# %%
max_length = 64  # as chosen in section 1
teacher = models.load_custom_model(demo.model, parts).model
for shape in shapes.ladder(teacher):
    megabytes = shapes.int8_bytes(teacher, shape, len(tokens_kept), max_length) / 1e6
    print(f"{megabytes:5.2f} MB  {shape}")

# %% [markdown]
# Without a target you get the second shape, which has all layers but is narrow. If you need *speed*, take fewer and wider layers of the same size, because layers run one after the other (lesson 5). To ask for a time, a shape, or a `max_length`:
#
# ```python
# Target(milliseconds=1)  # for a text of median length
# Options(shape=Shape(layers=3, width=0.375), max_length=128)
# ```
#
# ## 3 · Prune
#
# Which attention heads and FFN neurons should go? Those that the loss $L$ depends on least. Imagine that the output of each head or neuron $u$ is multiplied by a **gate** $\xi_u = 1$. Removing $u$ is the same as setting its gate to 0. The gradient at the gate estimates how much that would change the loss. Its average magnitude over texts $x$ is the **importance score**, a first-order Taylor estimate (Michel et al. 2019, equation 2; lesson 2b):
#
# $$I_u = \mathbb{E}_x \left| \frac{\partial L(x)}{\partial \xi_u} \right|$$
#
# The drawing shows the weight matrices of one layer, and in yellow what is removed. A head has a few rows in each of Q, K, and V, and the matching columns in O. The thin column beside these matrices is the bias. An FFN neuron has a row of *up* and a column of *down*. These go together, so that the matrices still fit.

# %%
diagrams.attention_head()

# %% [markdown]
# **Predict first.** A quarter of the heads and FFN neurons stay, and nothing is trained yet. How much better is the Taylor score than a random choice?

# %%
train = datasets.tokenize(parts["train"], tokenizer)
validation = datasets.tokenize(parts["validation"], tokenizer)
taylor = gate_taylor(teacher, train.select(range(settings.scored_on)))  # the formula's I
quarter, all_tokens = Shape(layers=6, width=0.25), torch.arange(tokenizer.vocab_size)
students, accuracy = {}, {}
for name, score in {"random": random_score(0), "Taylor": taylor}.items():
    students[name], _tokenizer = shapes.cut(
        teacher, tokenizer, shape=quarter, tokens=all_tokens, score=score, max_length=max_length
    )
    accuracy[name] = evaluation.evaluate(students[name], validation)
accuracy["teacher"] = evaluation.evaluate(teacher, validation)
title = "A quarter stays, untrained: Taylor is ahead of random"
plots.intervals(accuracy, title=title, xlabel="validation accuracy")

# %% [markdown]
# The Taylor score is ahead of this random choice: the intervals do not overlap. But this is one random seed, and another would have a different accuracy. So deep a cut costs a lot of accuracy with either score, and training brings much of it back. So do not judge a shape before training. (The log at the top has a slightly different accuracy after *prune*, because there the unused tokens are gone, too.)
#
# Last, the tokens. Here, those that occur in no training text go. Three words, as the teacher and then the student split them:

# %%
_model, smaller = shapes.cut(
    teacher, tokenizer, shape=quarter, tokens=tokens_kept, score=taylor, max_length=max_length
)
for word in ("cinematography", "orchestra", "parliament"):
    print(f"{word:15} {tokenizer.tokenize(word)} → {smaller.tokenize(word)}")

# %% [markdown]
# *Cinematography* occurs in the training texts, so its token stays. The other two words do not occur there, so the student reads them in smaller pieces. That is why the training texts must be like the texts that you want to classify.
#
# ## 4 · Distill
#
# The student learns from the teacher's probabilities, softened by a temperature $T$, and from the labels where there are any. That is **distillation** (Hinton, Vinyals & Dean 2015, section 2; lesson 3):
#
# $$L = \alpha \, T^2 \, \mathrm{KL}\left(p_T \,\|\, q_T\right) + (1 - \alpha) \, \mathrm{CE}(q_1, y)$$
#
# $p_T$ and $q_T$ are the teacher's and the student's probabilities at temperature $T$, $q_1$ is the student's at $T = 1$, and $y$ is the label. The first term is the *soft loss*. It contains the Kullback–Leibler divergence (KL), which is 0 when the student agrees with the teacher. The second term is the *hard loss*. It contains the cross-entropy (CE), $-\log q_1(y)$, which is small when the student gives the label a high probability. $\alpha$ weights the two. Dividing the logits by $T$ makes the gradient of the KL about $T^2$ times smaller, and the factor $T^2$ undoes that. For a text without a label, only the first one counts. `compress` uses $T = 2$ and $\alpha = 0.7$.
#
# In the drawing, follow the student's bars: they are compared with the teacher's and with the label.

# %%
diagrams.teacher_and_student((2.4, -1.1), (0.6, 0.2), label_index=0, T=2, alpha=0.7)

# %% [markdown]
# Now by hand, for two unlabeled texts and the first sentence that we tried above. The student is the pruned one of section 3.

# %%
texts = [*datasets.read_unlabeled(demo.unlabeled)[:2], lines[0]]
batch = tokenizer(texts, padding=True, return_tensors="pt")
with torch.no_grad():
    teacher_logits = teacher(**batch).logits  # [3 texts, 2 classes]
    student_logits = students["Taylor"](**batch).logits
T, alpha = 2, 0.7
p = (teacher_logits / T).softmax(-1)
log_q = (student_logits / T).log_softmax(-1)
by_hand = alpha * T**2 * (p * (p.log() - log_q)).sum(-1).mean()
no_label = torch.full((len(texts),), -100)  # the library reads -100 as "no label"
library = distillation_loss(student_logits, teacher_logits, no_label, T=T, alpha=alpha)
print(f"without labels, by hand {by_hand:.4f}, by the library {library:.4f}")

# %%
names = parts["train"].features["label"].names
answers = dict(zip(texts, teacher_logits.softmax(-1), strict=True))
plots.class_bars(answers, names, title="The teacher answers texts that have no label")

# %% [markdown]
# Compare the last panel with the student's answer to the same sentence above. Where the teacher is wrong, the student may learn the mistake.
#
# A teacher can answer any text. So **unlabeled text** of the same kind is worth collecting: mails, tickets, or reviews that nobody has labeled. On its own training texts, the teacher mostly repeats the labels. On new text, its answers are something new for the student. Lesson 3, section 8, measures the gain: it is large with few labels and small with many. If you have no such text, `compress` lets the teacher answer variations of your labeled texts: parts of them, and copies with some words replaced. That is only a substitute.
#
# `compress` leaves out unlabeled texts that also stand in your validation or test set. Otherwise the student would train on what it is tested on.
#
# ## 5 · int8
#
# Until now a weight takes four bytes. **int8** stores it as a whole number from −127 to 127. Each row of a matrix has a **scale**, a float by which these integers are multiplied (Jacob et al. 2018, section 2.1; lesson 5). The largest magnitude of the row becomes 127 or −127, and that sets the scale. The code and the drawing take four weights as if they were a whole row. In the drawing, each weight moves to the nearest integer. The int8 line has a tick for every eighth integer, and the lower part enlarges the weight with the largest error.

# %%
token = tokenizer.convert_tokens_to_ids("awful")
row = teacher.get_input_embeddings().weight.detach()[token, :4]
largest = row.abs().max()
scale = largest / 127
integers = (row / scale).round()
print("weights  ", [f"{weight:+.4f}" for weight in row.tolist()])
print("integers ", [f"{integer:+.0f}" for integer in integers.tolist()])
errors = (integers * scale - row).abs() / scale
print(f"largest error: {errors.max():.2f} scales")
diagrams.int8_number_line(row, limit=largest.item(), zoom=errors.argmax().item())

# %% [markdown]
# Rounding moves no weight by more than half of a scale, and it needs no training. To see what int8 costs for your model, compare the last two accuracies in the picture at the top.
#
# ## 6 · Measure again
#
# Is the student good enough? Two accuracies alone do not answer that, because both would be different on another test set. "No significant difference" does not answer it either, because on a small test set even a large difference is not significant.
#
# Ask instead: **does it lose less than I can afford?** Write down how many points that is, before you measure. Then compute the change of the accuracy with its 95 % interval <!-- not measured: the level of the interval -->. If you can lose 2 points, the answer is *yes* when the whole interval lies above −2, *no* when it lies below, and *cannot tell* when it crosses −2 <!-- not measured: the target -->. This is called a test of **non-inferiority**.
#
# Both models answer the same test texts. Where both are right, or both are wrong, the accuracy does not change. So count the others: only the teacher is right on $b$ texts, and only the student on $c$ texts, of $n$ in all.
#
# $$\text{change} = \frac{c - b}{n} \qquad \text{interval} = \text{change} \pm \frac{1.96}{n} \sqrt{b + c - \frac{(c - b)^2}{n}}$$
#
# **Your turn (2 of 2).** Write it.


# %%
def change_interval(b, c, n):
    """Texts that only the teacher, only the student gets right, and all → (low, high), fractions."""
    ...


change_interval = fill_in.check(
    change_interval,
    against=solutions.change_interval,
    examples=[(20, 10, 200), (90, 80, 2000)],
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
#
# In the picture, each bar is an interval. The dashed line is the loss that you can afford: look at which side of it the bar lies. The first three are examples, one for each verdict. The last one is your student, with a dot for the measured change.

# %%
b, c, n = report.only_teacher_right, report.only_student_right, report.test_texts
low, high = change_interval(b, c, n)
library_low, library_high = report.change.interval
print(f"only the teacher right: {b}, only the student: {c}, of {n:,} test texts")
print(f"by hand         {100 * low:+.2f} to {100 * high:+.2f} points")
print(f"by the library  {100 * library_low:+.2f} to {100 * library_high:+.2f} points")
yours = 100 * report.change.value, 100 * library_low, 100 * library_high
diagrams.loss_verdicts(yours, report.points)

# %% [markdown]
# The library adds half a text to each of four counts: both right, both wrong, only the teacher right, only the student right. With many test texts, you hardly see the difference, but with few, its interval is better (Agresti & Min 2005).
#
# *Cannot tell* is an honest answer. It often means that the test set is too small. With four times as many texts, the interval is half as wide.
#
# What about speed? The times in the table are for one text at a time, on one thread. One text has the median length, the other one is long. In the first two lines below, both models run in ONNX Runtime, so the ratio shows what compression brings. In the last two, the teacher runs in PyTorch, so the ratio also counts the change of the runtime.

# %%
for runtime in ("ONNX Runtime", "PyTorch"):
    for length, ratio in report.faster(runtime).items():
        interval = f"{ratio.low:.1f} to {ratio.high:.1f}"
        print(f"{ratio.value:5.1f} × as fast as in {runtime} ({interval}), {length}")

# %% [markdown]
# ## 7 · If it lost too much
#
# | try | expect | stop when |
# |---|---|---|
# | more unlabeled text of the same kind | most where labels are few (lesson 3) | the validation accuracy no longer rises |
# | more reading: `reads=40_000` | perhaps a little, for twice the time | the validation accuracy no longer rises |
# | a wider shape, or a larger target | an accuracy closer to the teacher's | the file is too large |
# | a longer `max_length`, if texts were cut | both models may gain | only one text in twenty is cut |
# | a better teacher | the student follows it | no teacher beats TF-IDF clearly |
# | more labeled test texts | no better model, but a verdict | the interval is narrow enough |
#
# Compare these attempts on the validation set. If you chose by the test set, you would keep what was lucky there. `report.advice()` picks what fits your numbers. It names the options of the command: in Python, `--reads` is `Options(reads=…)`.

# %%
for line in report.advice():
    print("-", line)

# %% [markdown]
# ## Recap
#
# - One call does it all: measure, choose, prune, distill, int8, measure again.
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
# While we wrote this lesson, the test set was used for one more model, a student that had read other unlabeled text. The student was trained with one seed. The intervals of accuracy are over test texts, and those of speed are over repeated measurements.
#
# ## Quiz
#
# **1.** Your texts have a median of 20 tokens and a 95th percentile of 180. Which `max_length` does `compress` take, and what do you check before you trust the table?
# <details><summary>Answer</summary>128, the longest that it tries, and it warns you, because it cuts more than one text in twenty. Both models are measured on cut texts, so both may be worse than they could be. Set the `max_length` that the warning suggests, which is a little above 180, and compare the teacher's validation accuracy.</details>
#
# **2.** A model takes 44 MB in float32, of which 24 MB are embeddings. You keep a quarter of its width and all tokens, and quantize to int8. About how large is the file?
# <details><summary>Answer</summary>The embeddings stay 24 MB and the layers shrink to 5 MB, so 29 MB in float32 and about 7 MB in int8.</details>
#
# **3.** The change of the accuracy is −0.5 points, with an interval from −3 to +2. You can lose 2 points. What is the verdict, and what would help?
# <details><summary>Answer</summary>Cannot tell: the interval crosses −2. More test texts make it narrower. A better student may move it up, too.</details>
#
# **4.** One of your two classes has 4 % of the texts. The student has an accuracy of 96 %. Is it good?
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
