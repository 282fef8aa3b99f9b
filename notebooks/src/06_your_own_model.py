# %% [markdown]
# # Lesson 6 · Your own model
#
# **How do I make my own text classifier small, and how do I know that it is still good enough?**
#
# You bring a file of labeled texts and, if you have one, a trained model. One call makes a small copy, in a folder that runs without PyTorch. The lesson starts with that call, and then explains each step.
#
# You will be able to
#
# - compress a text classifier for your own texts, in a notebook or in a terminal;
# - choose a target in megabytes or milliseconds;
# - judge whether the small model is good enough, and say so in a model card;
# - decide what to try next if it is not.
#
# **You need** nothing but this lesson. It says which lesson explains an idea in full.
#
# **Time** about 55 minutes; the computer works about 8 of them on two idle cores. The first run also trains the demonstration's large model for a few minutes.
#
# At *Predict first*, write down a guess before you read on. Two cells have a gap for your own code. The lesson runs even if you leave it empty.

# %% tags=["setup"]
# the first cell of every lesson

# %% tags=["parameters"] jupyter={"source_hidden": true}
profile = "full"

# %%
from course_lib import lessons

settings = lessons.start("lesson6", profile)  # profile: "full"; "quick" is a small trial run

import pandas as pd
import torch

from course_lib import datasets, evaluation, models
from course_lib.compression import Options, Shape, Target, compress, shapes
from course_lib.distillation import distillation_loss
from course_lib.lessons import diagrams, fill_in, plots, solutions
from course_lib.quantization import run_onnx
from course_lib.structured import gate_taylor, groups, random_score

# %% [markdown]
# ## Do it first
#
# The large model is the **teacher**, and the small copy is its **student**. In the drawing, the gray steps measure and decide, and the orange steps change the model. Along the blue line, the teacher's answers train the student in *distill*, and the last step compares the two models.

# %%
diagrams.compress_steps()

# %% [markdown]
# Our demonstration has a `.csv` with labeled sentences from movie reviews, a `.txt` with unlabeled ones, and a trained classifier.
#
# **For your own model**, change these four names and run the lesson again. The call below and sections 6 and 7 then use your files; sections 1 to 5 still use the movie reviews; only the small model that answers in section 4 is yours.
#
# `MY_MODEL` is a trained classifier: its folder, or its name on the Hugging Face Hub. It may also be an encoder such as `distilbert-base-uncased`, which `compress` first trains on your texts. Your `.csv` needs the columns `text` and `label`, and may have `split`.

# %%
demo = lessons.demonstration(settings.sentences)
MY_TEXTS = demo.texts  # "reviews.csv"
MY_MODEL = demo.model  # "my-classifier"
MY_UNLABELED = demo.unlabeled  # "more.txt", or None if you have no other text
OUT = demo.out  # "my-small-model", a new folder beside this notebook
pd.read_csv(MY_TEXTS).head(3)  # for a .jsonl: pd.read_json(MY_TEXTS, lines=True)

# %% [markdown]
# In the `Target`, `megabytes` decides how small the student becomes. `points` is the loss of accuracy that you can afford: it changes only the verdict, not the student. You may leave out `options`: these are the defaults.
#
# Before we measure, we claim three things. The student loses less than 2 points. It is at least 4 times as fast when ONNX Runtime, a library for fast prediction, runs both models. It is better than a simple linear model. <!-- not measured: the margins of the claims --> The last table has the verdicts.
#
# **Predict first.** The target is a file of at most 8 MB. The teacher takes about 91 MB. <!-- not measured: the size of MiniLM's file --> How many points of accuracy will the student lose?
#
# In step 4, the log first estimates the training time, often several times too long.

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
# The line *You guessed …* answers the question. The sentence below the table is the verdict (section 6). Section 1 explains *recall* and *F1*.
#
# The last line is a simple model for comparison: **TF-IDF** is a weighted count of words and word pairs, from which a linear classifier learns. If your teacher is hardly better, use the simple model.
#
# In the next picture, the area of a square is the size of the file, and below it stands the validation accuracy. Where does the accuracy fall, and where does it come back?

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
# Add texts of your own: a mistake on an easy text can show that something is wrong. The first sentence is hard, because it begins with criticism. If the student is wrong here, is the teacher wrong, too? Section 4 asks the teacher.
#
# The folder also holds a **model card**. The card says where the model comes from, how good it is, and where it should not be used (Mitchell et al. 2019, section 4). The card, printed below, counts a few more tokens than the log, because special tokens and single characters always stay.

# %%
with open(f"{OUT}/README.md", encoding="utf-8") as card:
    print(card.read())

# %% [markdown]
# In a terminal, one command does the same:
#
# ```
# python -m course_lib compress reviews.csv --model my-classifier --unlabeled more.txt --target-mb 8
# ```
#
# You may stop it with Ctrl-C. If you give the same command again, it continues where it stopped and ends with the same model.
#
# ### Does this work for my model and my data?
#
# - **Machine**: `make lab` installs everything ([other ways](../docs/install.md)). You need no GPU.
# - **Model**: an encoder of transformers such as BERT, DistilBERT, RoBERTa, or ELECTRA, stored as safetensors, with a fast tokenizer (WordPiece, BPE, or Unigram). Another model is refused, with the reason.
# - **Labeled texts**: a `.csv` or `.jsonl`, at least 200 different texts, and 10 of each class. There may be more than two classes, but each text has exactly one.
# - **Unlabeled texts**: a `.txt` with one text a line, or a `.csv` or `.jsonl` with `text`.
# - **Test texts**: a fifth of your rows. The change of the accuracy is typically known to about ±4 points with 200 test texts, and ±2 with 1,000 (section 6) <!-- not measured: the formula of section 6, with a tenth of the texts on which one model is right -->.
#
# ## 1 · Measure
#
# Look at your data first, with three questions.
#
# **Are the three parts separate?** The model learns from the *training* set. We choose on the *validation* set. The *test* set is for the final table only. `read_examples` drops repeated texts. Without a column `split`, it splits at random, with each class in the same proportion.
#
# **How many texts does each class have?** If almost all texts have one class, always giving this class has a high accuracy, but is useless. So the table also has the **recall** of each class: the share of its texts that get the right answer. *Precision* is the share of right answers among the texts that the model puts into this class. **F1** is the harmonic mean of recall and precision.
#
# **How long are the texts?** A model reads at most `max_length` tokens, and most libraries cut the rest silently. A larger `max_length` keeps more text, but takes more time. The picture sorts the training texts by length and divides them into ten equal groups. Each bar is the middle text of a group. A `max_length` of 32 cuts the gray ends.
#
# **Predict first.** `compress` took a `max_length` of 64 for the movie reviews. What share of these sentences would 32 cut?

# %%
parts = datasets.read_examples(demo.texts)
tokenizer = models.load_tokenizer(str(demo.model))
tokenized = tokenizer(list(parts["train"]["text"]))["input_ids"]
lengths = pd.Series([len(tokens) for tokens in tokenized])
for limit in (16, 32, 64, 128):
    print(f"max_length {limit:3}: {(lengths > limit).mean():.2%} of the texts are cut")
print(f"95th percentile: {lengths.quantile(0.95):.0f} tokens")
middles = [0.05 + 0.1 * group for group in range(10)]  # 0: the shortest text, 1: the longest
ten = lengths.quantile(middles).astype(int)
diagrams.texts_cut(ten.tolist(), max_length=32)

# %% [markdown]
# 32 would cut almost a third of the texts. 64 cuts so few that the log rounds their share to zero, and 128 gains nothing.
#
# `compress` tries 32, 64, and 128, and takes the first one that cuts at most one text in a hundred. If none does, it takes 128. If 128 cuts more than one text in twenty, `compress` warns you. It then suggests the 95th percentile, rounded up to a multiple of 8, for `Options(max_length=…)`.
#
# Teacher and student read the same cut texts. To see what the cut costs, compare the teacher's validation accuracy at this length and at a longer one.
#
# ## 2 · Choose
#
# How small should the student be? Each layer has two parts: attention, which works in several **attention heads**, and a feed-forward network (**FFN**) of many **neurons**. The **embeddings** are a table with one row of numbers for each token. Three numbers describe the **shape** of a student:
#
# - *layers*: how many layers stay;
# - *width*: which share of the heads and of the FFN neurons stays in each layer (the log says *units* for neurons);
# - *rank*: how many numbers are stored for each token; a small matrix expands them to 384 again (lesson 5, section 4).
#
# In int8, a weight takes one byte. So you can compute the size of the file before training: count the weights. A layer has four attention matrices, which shrink with the number of heads, and two FFN matrices, which shrink with the number of neurons. Only one side of each matrix shrinks.
#
# **Your turn (1 of 2).** Each token of our teacher has 384 numbers. An attention matrix is 384 × 384, and an FFN matrix is 384 × 1,536. Count the megabytes of a student from its tokens, layers, and width. A megabyte is a million bytes. Leave out the biases.


# %% tags=["nbval-check-output"]
hidden = 384  # numbers for each token of our teacher
neurons = 1536  # of each FFN


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
# A quarter of the width still leaves about two thirds of the size, because the embeddings stay. So tokens must go, too: your texts use only some of the vocabulary.
#
# `compress` has a list of shapes, the largest first, and takes the first one that fits your megabytes. If you ask for milliseconds, it also times each shape before training, because training does not change the time.
#
# Here is the list for this teacher. Its second line is our third bar, a little larger: the list also counts biases, position embeddings, and the rest of the file.

# %%
max_length = 64  # as chosen in section 1
teacher = models.load_custom_model(demo.model, parts).model
for shape in shapes.ladder(teacher):
    megabytes = shapes.int8_bytes(teacher, shape, len(tokens_kept), max_length) / 1e6
    print(f"{megabytes:5.2f} MB  {shape}")

# %% [markdown]
# Without a target you get the second shape, which has all layers but is narrow. Fewer layers and narrower layers both save time (lesson 5). To ask for a time, a shape, or a `max_length`:
#
# ```python
# Target(milliseconds=1)  # for a text of median length
# Options(shape=Shape(layers=3, width=0.375), max_length=128)
# ```
#
# ## 3 · Prune
#
# Which attention heads and FFN neurons should go? Those that the loss $L$ depends on least. Imagine that the output of each head or neuron $u$ is multiplied by a **gate** $\xi_u = 1$. Removing $u$ is the same as setting its gate to 0. The gradient of the loss with respect to the gate estimates how much the loss would change. The average magnitude of this gradient over texts $x$ is the **importance score**, a first-order Taylor estimate (Michel et al. 2019, equation 2; lesson 2b):
#
# $$I_u = \mathbb{E}_x \left| \frac{\partial L(x)}{\partial \xi_u} \right|$$
#
# The drawing shows the weight matrices of one layer, and in yellow what is removed. Each head has a few rows, with biases, in the input matrices Q, K, and V, and the matching columns in the output matrix O. An FFN neuron has a row of the matrix *up* and a column of the matrix *down*. These rows and columns go together, so that the matrices still fit.

# %%
diagrams.attention_head()

# %% [markdown]
# By hand, for one text and the FFN neurons of layer 1. The matrix *down* reads the outputs of these neurons, so a hook multiplies its input by the gates.

# %%
train = datasets.tokenize(parts["train"], tokenizer)
one = train.select([0])
batch = {name: torch.tensor(values) for name, values in one[:].items()}
gates = torch.ones(neurons, requires_grad=True)
down = teacher.bert.encoder.layer[0].output.dense  # of layer 1: code counts from 0
hook = down.register_forward_pre_hook(lambda module, inputs: (inputs[0] * gates,))
loss = teacher(**batch).loss
hook.remove()
by_hand = torch.autograd.grad(loss, gates)[0].abs()
score = gate_taylor(teacher, one)  # a function: (model, group of heads or neurons) → scores
library = score(teacher, groups(teacher)["layer.0.ffn"])
print(f"scores from {by_hand.min():.1e} to {by_hand.max():.1e}")
print("same scores as the library:", torch.allclose(by_hand, library, atol=1e-8))

# %% [markdown]
# `gate_taylor` does this for all heads and neurons at once, and averages over texts.
#
# **Predict first.** A quarter of the heads and FFN neurons stay, and nothing is trained yet. For the Taylor score, the log at the top shows the accuracy after *prune*. How much lower is it after a random choice?

# %%
validation = datasets.tokenize(parts["validation"], tokenizer)
taylor = gate_taylor(teacher, train.select(range(settings.scored_on)))  # the formula's I
quarter = Shape(layers=6, width=0.25)
all_tokens = torch.arange(tokenizer.vocab_size)
scores = {"random": random_score(0), "Taylor": taylor}
students = {}
accuracy = {}
for name, score in scores.items():
    students[name], _tokenizer = shapes.cut(  # a copy with three quarters removed
        teacher, tokenizer, shape=quarter, tokens=all_tokens, score=score, max_length=max_length
    )
    accuracy[name] = evaluation.evaluate(students[name], validation)
accuracy["teacher"] = evaluation.evaluate(teacher, validation)
title = "A quarter stays, untrained: Taylor is ahead of random"
plots.intervals(accuracy, title=title, xlabel="validation accuracy")

# %% [markdown]
# The random choice is far behind the Taylor score: the intervals do not overlap. Another seed gives another accuracy.
#
# With either score, a cut this deep costs a lot. The log's student, which had also lost tokens, got most of it back by training. So judge a cut only after training.
#
# Tokens that occur in no labeled training text go, too. Here is how the teacher, and then the student, reads three words:

# %%
_model, smaller = shapes.cut(
    teacher, tokenizer, shape=quarter, tokens=tokens_kept, score=taylor, max_length=max_length
)
for word in ("cinematography", "orchestra", "parliament"):
    print(f"{word:15} {tokenizer.tokenize(word)} → {smaller.tokenize(word)}")

# %% [markdown]
# Of these words, the training texts contain only *cinematography*, so its token stays. The student reads the other two words in smaller pieces. So the training texts must be like the texts that you want to classify.
#
# ## 4 · Distill
#
# The student learns from the teacher's probabilities, softened by a temperature $T$, and from the labels where there are any. That is **distillation** (Hinton, Vinyals & Dean 2015, section 2; lesson 3):
#
# $$L = \alpha \, T^2 \, \mathrm{KL}\left(p_T \,\|\, q_T\right) + (1 - \alpha) \, \mathrm{CE}(q_1, y)$$
#
# The first term is the *soft loss*. $p_T$ and $q_T$ are the probabilities of teacher and student at temperature $T$. The Kullback–Leibler divergence (KL) is 0 when they agree.
#
# The second term is the *hard loss*. $q_1$ are the student's probabilities at $T = 1$, and $y$ is the label. The cross-entropy (CE), $-\log q_1(y)$, is small when the student gives the label a high probability. For a text without a label, only the soft loss counts.
#
# $\alpha$ weights the two losses. Dividing the logits by $T$ makes the gradient of the KL about $T^2$ times smaller, and the factor $T^2$ makes up for that. `compress` uses $T = 2$ and $\alpha = 0.7$.
#
# In the drawing, KL compares the student's bars with the teacher's, and CE compares them with the label.

# %%
classes = ("neg", "pos")
diagrams.teacher_and_student((2.4, -1.1), (0.6, 0.2), T=2, alpha=0.7, classes=classes)

# %% [markdown]
# Now by hand, for two unlabeled texts and the first sentence that we tried above. The student is section 3's Taylor student: it has all tokens, so both models read the same batch.

# %%
unlabeled = datasets.read_unlabeled(demo.unlabeled)
texts = [text for text in unlabeled if len(text) < 50][:2]  # short, for the picture below
texts.append(lines[0])  # "A slow start, but what an ending!"
batch = tokenizer(texts, padding=True, return_tensors="pt")
with torch.no_grad():
    teacher_logits = teacher(**batch).logits  # [3 texts, 2 classes]
    student_logits = students["Taylor"](**batch).logits
T = 2
alpha = 0.7
p = (teacher_logits / T).softmax(-1)
log_q = (student_logits / T).log_softmax(-1)
by_hand = alpha * T**2 * (p * (p.log() - log_q)).sum(-1).mean()
no_label = torch.full((len(texts),), -100)  # the library reads -100 as "no label"
library = distillation_loss(student_logits, teacher_logits, no_label, T=T, alpha=alpha)
print(f"without labels, by hand {by_hand:.4f}, by the library {library:.4f}")

# %%
names = parts["train"].features["label"].names
answers = dict(zip(texts, teacher_logits.softmax(-1), strict=True))
label, probability = classify(lines)[0]
print(f"The small model answers the last text: {label}, {probability:.2f}")
plots.class_bars(answers, names, title="The teacher answers texts that have no label")

# %% [markdown]
# Compare the last panel with the printed answer. In our run both models call this text negative, so here the student shares the teacher's mistake.
#
# A teacher can answer any text. So **unlabeled text** of the same kind is worth collecting: mails, tickets, or reviews. Lesson 3, section 8, measures the gain: it is large with few labels and small with many. Without such text, the teacher answers parts of your labeled texts, and versions with some words replaced.
#
# `compress` leaves out unlabeled texts that are also in your validation or test set: a test text must never be a training text.
#
# ## 5 · int8
#
# Until now a weight takes four bytes. **int8** stores it as a whole number from −127 to 127. Each row of a matrix has a **scale**, a float by which these integers are multiplied (Jacob et al. 2018, section 2.1; lesson 5). The scale is the largest magnitude of the row, divided by 127.
#
# The code and the drawing use four weights as if they were a whole row. In the drawing, each weight moves to the nearest integer. The int8 line has a tick for every eighth integer. The lower part enlarges the weight with the largest error.

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
# Rounding moves no weight by more than half of a scale, and needs no training. In the picture at the top, the last two accuracies show what int8 costs: a fraction of a point.
#
# ## 6 · Measure again
#
# Is the student good enough? Two accuracies alone do not answer that, because both would be different on another test set. "No significant difference" is no answer either: on a small test set, even a large difference may not be significant.
#
# Ask instead: **does it lose less than I can afford?** Before you measure, write down how many points that is. Then compute the change of the accuracy with its 95 % interval <!-- not measured: the level of the interval -->. If you can lose 2 points, the answer is *yes* when the whole interval lies above −2, and *no* when it lies below. When it crosses −2, the answer is *cannot tell* <!-- not measured: the target -->. This is called a test of **non-inferiority**.
#
# Both models answer the same $n$ test texts. Only texts on which exactly one model is right matter: the teacher alone is right on $b$ texts, and the student alone on $c$ texts. Give the $b$ texts −1, the $c$ texts +1, and all others 0. Then the change is the mean of these numbers, and the interval comes from their spread.
#
# $$\text{change} = \frac{c - b}{n} \qquad \text{interval} = \text{change} \pm \frac{1.96}{n} \sqrt{b + c - \frac{(c - b)^2}{n}}$$
# <!-- not measured: a constant of the normal distribution -->
#
# **Your turn (2 of 2).** Write it.


# %%
def change_interval(b, c, n):
    """b: only the teacher right, c: only the student right, n: all texts → (low, high), fractions."""
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
# In the picture, each bar is an interval, and the dashed line is the loss that you can afford. The first three bars are examples, one for each verdict. The last bar is your student, with a dot for the measured change.

# %%
b = report.only_teacher_right
c = report.only_student_right
n = report.test_texts
low, high = change_interval(b, c, n)
library_low, library_high = report.change.interval
print(f"only the teacher right: {b}, only the student: {c}, of {n:,} test texts")
print(f"by hand         {100 * low:+.2f} to {100 * high:+.2f} points")
print(f"by the library  {100 * library_low:+.2f} to {100 * library_high:+.2f} points")
yours = 100 * report.change.value, 100 * library_low, 100 * library_high
diagrams.loss_verdicts(yours, report.points)

# %% [markdown]
# The library adds half a text to each of four counts: both right, both wrong, only the teacher right, only the student right. With few test texts, this interval is better (Agresti & Min 2005). With as many as here, you see no difference.
#
# *Cannot tell* often means that the test set is too small. With four times as many texts, the interval is half as wide.
#
# What about speed? The times are for one text at a time, on one thread. In the first two lines below, both models run in ONNX Runtime, so the ratio shows what compression brings. In the last two lines, the teacher runs in PyTorch, so the ratio also includes the change of the runtime.

# %%
for runtime in ("ONNX Runtime", "PyTorch"):
    for length, ratio in report.faster(runtime).items():
        interval = f"{ratio.low:.1f} to {ratio.high:.1f}"
        print(f"{ratio.value:5.1f} × as fast as the teacher in {runtime} ({interval}), {length}")

# %% [markdown]
# ## 7 · If it lost too much
#
# | try | expect | stop when |
# |---|---|---|
# | more unlabeled text of the same kind | most where labels are few (lesson 3) | the validation accuracy no longer rises |
# | more reading: `reads=40_000` | perhaps a little, for twice the time | the validation accuracy no longer rises |
# | a wider shape, or a larger target | an accuracy closer to the teacher's | the file is too large |
# | a longer `max_length`, if texts were cut | both models may gain | at most one text in twenty is cut |
# | a better teacher | a better student | TF-IDF is almost as good as the best teacher |
# | more labeled test texts | a verdict, no better model | the interval is narrow enough |
#
# Compare these attempts by the validation accuracy of *int8* in the log, never on the test set. Give each attempt a new `OUT`. `report.advice()` picks what fits your numbers. It names the options of the command: in Python, `--reads` is `Options(reads=…)`.

# %%
for line in report.advice():
    print("-", line)

# %% [markdown]
# ## Recap
#
# - Look at class counts and lengths first. Texts beyond `max_length` lose their end.
# - Embeddings decide how small the file gets. Remove the tokens that your texts do not use.
# - Judge a pruned model only after distillation.
# - Collect unlabeled text, above all if labels are few.
# - Say how much you can lose before you measure. The interval gives the verdict: yes, no, or cannot tell.

# %%
claims = lessons.Claims(report)
said = "The student loses less than 2 points"
claims.add(said, value=report.change, margin=-0.02, unit="points")  # as fractions: −2 points
for length, ratio in report.faster().items():
    said = f"It is at least 4 times as fast when ONNX Runtime runs both, {length}"
    claims.add(said, value=ratio, margin=4, unit="×")
said = "The student is better than a linear model on TF-IDF"
claims.add(said, value=report.against("TF-IDF"), margin=0, unit="points")
claims

# %% [markdown]
# Our first verdict is *cannot tell*, because the interval just crosses −2. We wrote the margin down before we measured, so it stays.
#
# While we wrote this lesson, the test set was used for one more model, a student that had read other unlabeled text. The student has one training seed. The intervals of accuracy are over test texts, and those of speed are over repeated measurements.
#
# ## Quiz
#
# **1.** Your texts have a median of 20 tokens and a 95th percentile of 180. Which `max_length` does `compress` take, and what do you check before you trust the table?
# <details><summary>Answer</summary>128, the longest that it tries, and it warns you, because it cuts more than one text in twenty. Both models read cut texts, so both may be worse than they could be. Set the `max_length` that the warning suggests, 184, and compare the teacher's validation accuracy.</details>
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
# - Ask for 3 MB: `Target(megabytes=3)`. Which shape does it choose, and what is the validation accuracy of *int8*?
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
