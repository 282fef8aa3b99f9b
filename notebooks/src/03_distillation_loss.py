# %% [markdown]
# # Lesson 3 · The distillation loss: what a teacher can tell that a label cannot
#
# **You will be able to**
#
# - say what a soft label knows that a hard one does not, and what temperature does to it;
# - write the distillation loss by hand, and say why it carries a T²;
# - distil a teacher into a student, with labelled and with unlabelled data, and judge fairly whether it helped;
# - choose a temperature by measuring, not by hearsay.
#
# **Time** about 60 minutes; the computer works about 9 of them on two cores (and some minutes more, once, to make the
# teacher). **You need** lesson 1, above all its intervals and its paired test.

# %% tags=["setup"]
# the first cell of every lesson

# %% tags=["parameters"]
profile = "full"

# %%
import inspect
import math
from dataclasses import replace
from functools import partial

import torch

from course_lib import data, encoders, measure, models, plots, text, training, widgets, zoo
from course_lib.claims import Claims
from course_lib.comparison import footprint
from course_lib.distillation import distill, distillation_loss, soft_loss, soften
from course_lib.profile import chosen_profile

full = chosen_profile(profile) == "full"
seeds = range(3) if full else range(2)
mnist = data.mnist()
if not full:  # the quick profile, for tests: the same steps, on less data
    mnist["train"] = data.subset(mnist["train"], 500)

# %% [markdown]
# ## 1 · A label says "7". What else is there to say?
#
# Here are pictures that a small CNN, our **teacher** for digits, found hard. We train it first (half a minute), then
# look at the validation pictures about which it is least sure.

# %%
recipe = training.Recipe(epochs=5 if full else 2)
digit_teacher = training.fit(models.build(models.SmallCNN), mnist, recipe).model
digit_logits = training.predict(digit_teacher, mnist["validation"])
unsure = digit_logits.softmax(-1).amax(-1).argsort()[:4]
pictures, labels = (tensor[unsure] for tensor in mnist["validation"].tensors)
plots.show(
    plots.digits(torch.utils.data.TensorDataset(pictures, labels), columns=4, rows=1),
    alt="Four handwritten digits that could be read in two ways, each with its label",
)

# %% [markdown]
# **Predict first.** Which other digit would you give a chance, in each of them? The teacher's opinion:

# %%
digit_names = [str(d) for d in range(10)]
opinions = {
    f"{k + 1}: label {labels[k]}": soften(digit_logits[i], T=1) for k, i in enumerate(unsure)
}
plots.show(
    plots.class_bars(opinions, digit_names),
    alt="The teacher's probabilities for each of the four digits: mostly two candidates share them",
)

# %% [markdown]
# A **hard label** is one of ten. A **soft label** also says: *this 7 has something of a 2, and nothing of a 0*.
# Hinton, Vinyals and Dean (2015) call what is in the small probabilities *dark knowledge*.
#
# Now a teacher for text. It is MiniLM, a pretrained transformer with 22.7 million parameters, fine-tuned on
# sentences from movie reviews: positive or negative? (The first time, this cell trains it, for some minutes. After
# that it comes from the cache.)

# %%
few = None if full else 16
teacher = zoo.teacher() if full else zoo.teacher(160, replace(zoo.TEACHER, lr=3e-4))
reviews = zoo.reviews_tokenized(few)
print({part: len(dataset) for part, dataset in reviews.items()})

# %%
sentences = [
    "This movie is great!",
    "This movie is not great.",
    "Great actors, and yet a film that goes nowhere.",
    "I have seen worse.",
]
tokenizer = encoders.load_tokenizer()
batch = tokenizer(sentences, padding=True, return_tensors="pt", return_token_type_ids=False)
with torch.inference_mode():
    sentence_logits = teacher(**batch).logits  # [4, 2]
rows = {s: soften(z, T=1) for s, z in zip(sentences, sentence_logits, strict=True)}
plots.show(
    plots.class_bars(rows, ["negative", "positive"]),
    alt="The text teacher's probabilities for four sentences, from clearly positive to undecided",
)

# %% [markdown]
# The label would be "positive" or "negative" for each. The teacher tells a clear case from a doubtful one. But look at
# the first sentence: it is nearly certain there, and a probability of 0.99 holds hardly more than the label. We need a
# way to hear what it whispers.
#
# ## 2 · Temperature
#
# Divide the logits by a number T before the softmax: $p_i = e^{z_i/T} / \sum_j e^{z_j/T}$. At T = 1 it is the plain
# softmax. A larger T makes it flatter: the order stays, and the small probabilities come forward.
#
# **Predict first.** What happens to the entropy (the uncertainty, in bits) as T grows? Where does it end?

# %%
examples = {
    f"digit, label {label}, picture {k + 1}": digit_logits[i]
    for k, (i, label) in enumerate(zip(unsure, labels, strict=True))
}
sure = digit_logits.softmax(-1).amax(-1).argmax()
examples["digit, a clear case"] = digit_logits[sure]
widgets.temperature_explorer(examples, digit_names)

# %% [markdown]
# Left: what the student is shown. Right: how hard it pushes each logit of a student that knows nothing yet. Look at it
# with these questions:
#
# 1. Take "a clear case". At which T do you first see a second class?
# 2. Between which T does the push on the right class change most? And on the *wrong* classes?
# 3. At T = 20, are the ten bars on the left equal? Are the ten on the right?
#
# The same without a running kernel, for the first picture:

# %%
temperatures = {f"T = {T}": soften(digit_logits[unsure[0]], T) for T in (1, 2, 5, 20)}
plots.show(
    plots.class_bars(temperatures, digit_names),
    alt="The same soft label at temperatures 1, 2, 5 and 20: ever flatter, the order stays",
)
for T, p in temperatures.items():
    print(
        f"{T:7} entropy {torch.special.entr(p).sum() / math.log(2):.2f} of {math.log2(10):.2f} bits"
    )

# %% [markdown]
# ## 3 · How far is the student from the teacher? KL, by hand
#
# The **Kullback–Leibler divergence** sums, over the classes, the teacher's probability times the difference of the
# two logarithms: $KL(p\,\|\,q) = \sum_i p_i\,(\log p_i - \log q_i)$. Three classes fit on paper:

# %% tags=["nbval-check-output"]
p = torch.tensor([0.70, 0.20, 0.10])  # the teacher
q = torch.tensor([0.50, 0.25, 0.25])  # the student
terms = p * (p.log() - q.log())
for p_i, q_i, term in zip(p, q, terms, strict=True):
    print(f"{p_i:.2f} · (log {p_i:.2f} − log {q_i:.2f}) = {term:+.4f}")
print(f"KL = {terms.sum():.4f}")

# %% [markdown]
# It is 0 only if both are the same, and never negative. It is not symmetric: where the teacher says 0, the student's opinion
# costs nothing; where the teacher is sure and the student is not, it costs most.
#
# In code, with temperature. These are the lines that `course_lib` runs; the rest of the function checks its input:

# %%
source = inspect.getsource(soft_loss)
print(source[source.index("    student, teacher = ") :])

# %% tags=["nbval-check-output"]
by_code = soft_loss(q.log()[None], p.log()[None], T=1)  # logarithms are logits, too
print(f"by hand {terms.sum():.4f}, by code {by_code:.4f}")

# %%
claims = Claims()
claims.add(
    "The loss in the code is the KL divergence that you worked out by hand",
    source="Hinton et al. 2015, section 2",
    measured=f"by hand {terms.sum():.4f}, by code {by_code:.4f}",
    holds=bool(torch.isclose(terms.sum(), by_code)),
    must=True,
)

# %% [markdown]
# Two traps, both seen in real projects. `torch.nn.functional.kl_div` wants the *student's logarithms* first and the teacher's
# probabilities second: the other way round from the formula. And its default averages over examples **and classes**, which
# makes the loss too small by the number of classes; `batchmean` is the one you want.
#
# ## 4 · Why T²?
#
# **Predict first.** You raise T from 1 to 10. Does the gradient that reaches the student become larger, smaller, or does it
# stay as it is?

# %%
student_logits = training.predict(models.build(models.TinyNet), mnist["validation"])
steps = [1, 2, 4, 8, 16, 32, 64]


def gradient_size(T, power):
    z = student_logits.double().requires_grad_()
    loss = soft_loss(z, digit_logits.double(), T) / T**2 * T**power
    return torch.autograd.grad(loss, z)[0].norm().item()


sizes = {power: [gradient_size(T, power) for T in steps] for power in (0, 2)}
curves = {"KL alone": (steps, sizes[0]), "KL · T²": (steps, sizes[2])}
plots.show(
    plots.lines(curves, "temperature T", "length of the gradient"),
    alt="Gradient against temperature: without T² it falls by orders of magnitude, with T² it levels off",
)

# %%
fall, kept = sizes[0][-2] / sizes[0][-1], sizes[2][-1] / sizes[2][-2]
claims.add(
    "The gradients of the soft part scale as 1/T²; multiplied by T² they keep their size",
    source="Hinton et al. 2015, section 2",
    measured=f"from T = 32 to 64: without T² {fall:.1f} × smaller, with T² {kept:.2f} × the size",
    holds=3.5 < fall < 4.5 and 0.8 < kept < 1.25,
    n=len(student_logits),
)

# %% [markdown]
# One factor 1/T comes from dividing the student's logits by T, the other from the two distributions becoming alike. Without T²,
# a change of T would silently change the weight of the teacher against the labels, and your search for the best T would be
# a search for the best learning rate. *Where this stops being true:* at small T the size does change, as the left of the
# figure shows; 1/T² is the limit.
#
# ## 5 · The whole loss
#
# $L = \alpha \cdot T^2 \cdot KL(\text{teacher}_T\,\|\,\text{student}_T) + (1-\alpha) \cdot CE(\text{student}, \text{labels})$
#
# `alpha` is the teacher's share. At 0 the student learns from labels alone, at 1 from the teacher alone, and then it needs no
# labels at all: hold on to that.

# %%
some = slice(0, 200)
z, t, y = student_logits[some], digit_logits[some], mnist["validation"].tensors[1][some]
for alpha in (0, 0.5, 1):
    print(f"alpha = {alpha}: {distillation_loss(z, t, y, T=4, alpha=alpha):.3f}")

# %% [markdown]
# ## 6 · A real student
#
# The student for digits has one hidden layer of 16 neurons, and far fewer parameters than its teacher. It gets 500
# labelled pictures. Three seeds with the teacher, and the same three **without**: same pictures, same epochs, same
# learning rate. That is the only fair comparison.
#
# **Predict first.** How many points does the teacher add?

# %%
my_guess = 5  # points; change it

# %%
lessons = {"train": data.subset(mnist["train"], 500)}
told = training.predict(digit_teacher, lessons["train"])  # once, for all students


def tiny(seed, T=4.0, alpha=0.5, parts=lessons, told=told, epochs=30 if full else 6):
    recipe = training.Recipe(epochs=epochs, lr=3e-3, batch_size=50, seed=seed)
    student, loss = models.build(models.TinyNet, seed), partial(distillation_loss, T=T, alpha=alpha)
    with measure.one_thread():  # in so small a network threads would wait for each other
        return distill(student, told, parts, recipe, loss=loss).model


def runs(students, part):
    return measure.Runs(tuple(training.evaluate(s, part) for s in students))


# %% [markdown]
# Which T, and which alpha? We try a grid, with every seed, and **choose on the validation part**. (`alpha = 0` is the student
# without a teacher.)

# %%
Ts, alphas = ([1, 2, 4, 8, 16], [0.3, 0.6, 0.9, 1.0]) if full else ([1, 4], [0.5, 1.0])
alone = [tiny(seed, alpha=0.0) for seed in seeds]
baseline = runs(alone, mnist["validation"])
grid = {
    (T, alpha): runs([tiny(seed, T, alpha) for seed in seeds], mnist["validation"])
    for T in Ts
    for alpha in alphas
}

# %%
figure, ax = plots.heat_map([[grid[T, a].value for a in alphas] for T in Ts], Ts, alphas)
ax.set(xlabel="alpha, the teacher's share", ylabel="temperature T")
ax.set_title(f"validation accuracy; without a teacher {100 * baseline.value:.1f} %", fontsize=10)
plots.show(figure, alt="Validation accuracy over T and alpha; the best cell has a frame")

# %% [markdown]
# A heat map hides how unsure its cells are. Move T and alpha, and look at the intervals over the seeds: how many of these
# cells could be the best one?

# %%
widgets.grid_explorer(grid, baseline)

# %%
T, alpha = max(grid, key=lambda key: grid[key].value)
print(f"chosen on validation: T = {T}, alpha = {alpha}: {grid[T, alpha]}")
more_seeds = range(5) if full else seeds  # the final comparison is cheap: two more seeds
helped = runs([tiny(seed, T, alpha) for seed in more_seeds], mnist["test"])
without = runs([tiny(seed, alpha=0.0) for seed in more_seeds], mnist["test"])
added = measure.gap(helped, without)
print(f"You guessed {my_guess} points. Test: {helped} with, {without} without, {added}")

# %%
claims.add(
    "The soft distribution carries more information than the label: with 500 labels the teacher helps",
    source="Hinton et al. 2015, section 1",
    measured=f"{helped} with, {without} without: {added}",
    holds=added.points > 0 and (True if added.low > 0 else "in part"),
    n=len(mnist["test"]),
)

# %% [markdown]
# "In part" would mean: the mean lies on the teacher's side, and the interval over the seeds still holds zero. Compare this gap with
# the one on the validation part, where the best of many cells was chosen. The best of many is partly the luckiest, which is
# why the number to report comes from data that had no say in the choice.
#
# ## 7 · A case where it does not help
#
# **Predict first.** The same student, but with all 3,500 labelled pictures. Does the teacher add more, or less?

# %%
everything = {"train": mnist["train"]}
told_all = training.predict(digit_teacher, mnist["train"])
settings = {"parts": everything, "told": told_all, "epochs": 12 if full else 2}
all_with = runs([tiny(s, T, alpha, **settings) for s in more_seeds], mnist["test"])
all_without = runs([tiny(s, alpha=0.0, **settings) for s in more_seeds], mnist["test"])
more = measure.gap(all_with, all_without)
print(f"with {all_with}\nwithout {all_without}\n{more}")

# %%
certain = told_all.softmax(-1).amax(-1)
plots.show(
    plots.comparison(
        {
            "500 labels, alone": without,
            "500 labels, teacher": helped,
            "3,500 labels, alone": all_without,
            "3,500 labels, teacher": all_with,
        },
        title="the student of 12,730 parameters, test",
    ),
    alt="Test accuracy of the tiny student with 500 and with 3,500 labels, with and without a teacher",
)
print(f"On its own training pictures the teacher is {certain.mean():.1%} sure, on average.")

# %%
claims.add(
    "Distillation always helps",
    source="a common belief",
    measured=f"all labels: {more}; 500 labels: {added}",
    holds=more.low > 0 and added.low > 0,
    n=len(mnist["test"]),
)

# %% [markdown]
# Three reasons why a teacher can add nothing. With many labels there is less left to say. The student is so small that its *size* is
# the limit, not what it is told. And look at the last line: the teacher knows these pictures by heart, so its opinion on
# them is close to the label itself. A teacher tells more about data that it has **not** seen.
#
# ## 8 · Data without labels: the transfer set
#
# At alpha = 1 no label is needed. So the teacher can explain sentences that nobody has labelled. Our student for text is a
# convolutional network over word embeddings (Kim 2014), nearly forty times smaller than MiniLM. First, an honest linear baseline,
# and the teacher itself:

# %%
tfidf = zoo.baseline_tfidf()
truth = training.labels_of(reviews["test"])
teacher_test = zoo.cached_logits(teacher, reviews["test"])
teacher_right = teacher_test.argmax(-1) == truth
teacher_accuracy = measure.Accuracy(int(teacher_right.sum()), len(truth))
versus_linear = measure.paired_test(teacher_right, tfidf.correct[: len(truth)])
print(tfidf)
print(f"teacher: {teacher_accuracy}; against TF-IDF: {versus_linear}")

# %%
claims.add(
    "The fine-tuned transformer beats a linear model on TF-IDF",
    source="this course",
    measured=f"{teacher_accuracy} against {tfidf.test}; {versus_linear.verdict}",
    holds=versus_linear.verdict == "the first is better",
    n=len(truth),
)

# %% [markdown]
# The transfer set: sentences from newspaper editorials, near-neutral ones from reviews, and halves of the training sentences.
# Nobody has labelled them for us: half a sentence often has another mood than the whole.

# %%
unlabelled = text.transfer_set()
if not full:
    unlabelled = unlabelled.select(range(16))
transfer = encoders.tokenize(unlabelled, tokenizer)
told_train = zoo.cached_logits(teacher, reviews["train"])
told_transfer = zoo.cached_logits(teacher, transfer)
print(f"{len(transfer):,} sentences without a label, for example:")
print(*(f"- {line}" for line in unlabelled["text"][:3]), sep="\n")

# %% [markdown]
# Now three students, each with every seed: **alone**, with the **teacher**, and with the teacher and the **transfer set**. All
# take the same number of steps: who sees fewer sentences sees them more often. The epoch is chosen on the validation part.
#
# **Predict first.** Order the three. Which step is larger: from no teacher to a teacher, or from there to the transfer set?

# %%
words = encoders.tokens_seen(reviews["train"])  # in at least two training sentences
labelled = {name: reviews[name] for name in ("train", "validation")}
passes = 3 if full else 1  # over everything
many = round(passes * (len(reviews["train"]) + len(transfer)) / len(reviews["train"]))
told_both = torch.cat([told_train, told_transfer])


def text_cnn(seed, told, alpha, transfer=None):
    student = models.build(lambda: encoders.TextCNN(words), seed)
    recipe = training.Recipe(many if transfer is None else passes, lr=2e-3, decay=True, seed=seed)
    loss = partial(distillation_loss, T=2, alpha=alpha)
    return distill(student, told, labelled, recipe, loss=loss, transfer=transfer).model


text_seeds = (
    range(10, 13) if full else range(10, 12)
)  # fresh ones: the recipe was settled with others
students = {
    "alone": [text_cnn(seed, told_train, 0.0) for seed in text_seeds],
    "teacher": [text_cnn(seed, told_train, 1.0) for seed in text_seeds],
    "teacher + transfer set": [text_cnn(seed, told_both, 1.0, transfer) for seed in text_seeds],
}

# %%
answers = {
    name: [training.predict(student, reviews["test"]) for student in trained]
    for name, trained in students.items()
}
right = {name: [z.argmax(-1) == truth for z in rows] for name, rows in answers.items()}
scores = {
    name: measure.Runs(tuple(measure.Accuracy(int(r.sum()), len(r)) for r in rows))
    for name, rows in right.items()
}
plots.show(
    plots.comparison(
        {"TF-IDF": tfidf.test}
        | {f"text CNN, {n}": r for n, r in scores.items()}
        | {"teacher": teacher_accuracy},
        title="movie reviews, test",
    ),
    alt="Test accuracy of TF-IDF, of the text CNN alone, with teacher, with transfer set, and of the teacher",
)

# %%
size, teacher_size = (footprint(m) for m in (students["alone"][0], teacher))
print(f"student: {size}\nteacher: {teacher_size}")
for name, runs_of_it in scores.items():
    print(f"{name:23} {runs_of_it}")

# %% [markdown]
# McNemar's test compares two networks. We have several of each kind, one for each seed. So each sentence gets the share of
# seeds that answer it rightly, with and without the teacher, and a **paired t-test** asks whether the difference is more than luck.

# %%
pairs = zip(right["teacher + transfer set"], right["alone"], strict=True)
tests = [measure.paired_test(told_student, alone_student) for told_student, alone_student in pairs]
print(*(f"seed {seed}: {test}" for seed, test in zip(text_seeds, tests, strict=True)), sep="\n")
gained = measure.gap(scores["teacher + transfer set"], scores["alone"])
together = measure.paired_test_over_seeds(
    torch.stack(right["teacher + transfer set"]), torch.stack(right["alone"])
)
print(f"over seeds: {gained}\nover sentences: {together}")

# %%
claims.add(
    "With a teacher and unlabelled text, the text CNN beats the same CNN trained alone",
    source="Hinton et al. 2015, section 1: a transfer set may be unlabelled",
    measured=f"{scores['teacher + transfer set']} against {scores['alone']}; paired over the sentences: {together}",
    holds=together.verdict == "the first is better",
    n=len(truth),
)

# %% [markdown]
# Compare the lines above. A single seed can say "no significant difference" where all together are clear. The two intervals
# answer two questions: *over sentences*, would it be so on other sentences? *Over seeds*, with other random starts?
# With three seeds the second one is wide.
#
# ## 9 · Which errors does the student inherit?
#
# **Predict first.** Where the teacher is wrong, is a student that learned from it wrong more often than one that did not?

# %%
wrong = ~teacher_right
inherited = {
    name: [1 - r[wrong].float().mean().item() for r in rows] for name, rows in right.items()
}
elsewhere = {
    name: [1 - r[~wrong].float().mean().item() for r in rows] for name, rows in right.items()
}
print(f"The teacher is wrong on {int(wrong.sum())} of {len(truth):,} test sentences.")
for name in inherited:
    mine, other = (sum(v[name]) / len(text_seeds) for v in (inherited, elsewhere))
    print(f"{name:23} wrong on {mine:5.1%} of those, and on {other:5.1%} of the others")

# %%
more_errors = [
    100 * (a - b)
    for a, b in zip(inherited["teacher + transfer set"], inherited["alone"], strict=True)
]
share = sum(more_errors) / len(more_errors)
claims.add(
    "A student inherits its teacher's errors",
    source="this course",
    measured=f"where the teacher errs, the distilled student errs {share:+.1f} points more often than the one alone",
    holds=share > 0 and (True if min(more_errors) > 0 else "in part"),
    n=int(wrong.sum()),
)

# %% [markdown]
# A teacher hands on what it knows, and what it believes. If your teacher treats a group of people unfairly, expect its students
# to do so too, even with perfect labels beside it.
#
# ## 10 · Does the student know what it does not know?
#
# A model is **calibrated** if it is right in 80 % of the cases where it is 80 % sure. The *expected calibration error* (ECE) is the mean
# distance between the two (Guo et al. 2017).

# %%
calibrations = {
    name: [measure.calibration(z, truth) for z in rows] for name, rows in answers.items()
}
first = {name: rows[0] for name, rows in calibrations.items()}
first["the teacher"] = measure.calibration(teacher_test, truth)
plots.show(
    plots.reliability(first),
    alt="Accuracy against confidence for the three students and the teacher; the diagonal is perfect",
)

# %%
ece = {name: sum(c.ece for c in rows) / len(rows) for name, rows in calibrations.items()}
lower = [
    c.ece < d.ece
    for c, d in zip(calibrations["teacher + transfer set"], calibrations["alone"], strict=True)
]
claims.add(
    "A distilled student is better calibrated than one trained on hard labels",
    source="a common observation",
    measured=", ".join(f"{name}: ECE {value:.3f}" for name, value in ece.items()),
    holds=all(lower) or ("in part" if any(lower) else False),
    n=len(truth),
)

# %% [markdown]
# ## 11 · Which temperature should you use?
#
# Many pages say: "T = 4 is the default of Hinton et al.". What the paper says:
#
# | where | what they used |
# |---|---|
# | MNIST, 300 units or more a layer | T = 20; all T above 8 gave fairly similar results |
# | MNIST, 30 units a layer | T between 2.5 and 4 was clearly better than higher or lower |
# | speech recognition | tried 1, 2, 5 and 10 |
# | DistilBERT's code, PyTorch's tutorial | T = 2 |
# | RepDistiller and other later code | T = 4 |
#
# So T = 4 is a habit of later code. The paper's own finding is that the best T depends on the *size of the student*: a small one
# cannot use all that a high T tells it. And what did your grid say?

# %%
by_T = {T: max((grid[T, a].value, a) for a in alphas) for T in Ts}
for T, (value, a) in by_T.items():
    print(f"T = {T:2}: {value:.1%} on validation, at its best alpha of {a}")
entropy = {T: torch.special.entr(soften(told, T)).sum(-1).mean().item() / math.log(2) for T in Ts}
claims.add(
    "T = 4 is the default of Hinton et al. (2015)",
    source="many tutorials",
    measured="their section 3 has T = 20, and 2.5 to 4 for 30 units; section 4 has 1, 2, 5 and 10",
    holds=False,
)

# %%
high = by_T[Ts[-1]][0] >= max(value for value, _ in by_T.values())
claims.add(
    "A higher temperature is more informative",
    source="many tutorials",
    measured=f"entropy from T = {Ts[0]} to {Ts[-1]}: {entropy[Ts[0]]:.1f} to {entropy[Ts[-1]]:.1f} bits; "
    f"validation accuracy {100 * by_T[Ts[0]][0]:.1f} % to {100 * by_T[Ts[-1]][0]:.1f} %, best at T = {max(by_T, key=lambda T: by_T[T][0])}",
    holds=True if high else "in part",
    n=len(mnist["validation"]),
)

# %%
inside = 2 <= max(by_T, key=lambda T: by_T[T][0]) <= 10
claims.add(
    "T between 2 and 10 is typical",
    source="many tutorials",
    measured=f"best on validation: T = {max(by_T, key=lambda T: by_T[T][0])} of {Ts}",
    holds=inside,
    n=len(mnist["validation"]),
)

# %% [markdown]
# A softer distribution *shows* more of the small logits. Whether the student can use it is another question, and for a very
# small student the answer is soon no. Start at 2 to 4, try two more values on the validation part, and go on to things that matter
# more: more unlabelled data, a better start, a larger student.
#
# ## Recap
#
# - A soft label says how alike the classes are for this very example. Temperature brings that forward.
# - The loss is alpha · T² · KL(teacher ‖ student) + (1 − alpha) · cross-entropy. T² keeps the balance when T changes.
# - Distillation helps most where unlabelled data lets the teacher speak about what it has not learned by heart. With many labels
#   and a tiny student it may add nothing.
# - A student inherits errors, too.
# - Compare with the same student without a teacher, with equal steps, over seeds. Choose T and alpha on validation.

# %%
claims

# %% [markdown]
# ## Quiz
#
# **1.** The loss of a colleague's student is tiny, and the teacher seems to have no influence. The code calls
# `F.kl_div(log_q, p)` with the default reduction. What happened?
# <details><summary>Answer</summary>The default averages over examples and classes, so the loss is too small by the number of
# classes. Use reduction="batchmean".</details>
#
# **2.** You raise T from 2 to 8 and leave T² out. What changes besides the softness?
# <details><summary>Answer</summary>The teacher's part of the gradient becomes about 16 times smaller, so the labels take over.</details>
#
# **3.** At which alpha can you train without a single label?
# <details><summary>Answer</summary>At 1: only the teacher speaks.</details>
#
# **4.** The teacher is in training mode while it labels. What is wrong?
# <details><summary>Answer</summary>Its dropout is on: the same picture gets another answer each time, and its batch norms move.
# Use eval mode, and no gradient.</details>
#
# **5.** The student with teacher has 83.0 %, the one without 82.4 %, one seed each, n = 2,000. Does distillation help?
# <details><summary>Answer</summary>You cannot say: the interval is about ± 1.6 points, and another seed may turn it round. Run
# more seeds, and a paired test.</details>
#
# ## Try it yourself
#
# - Give the digit student unlabelled pictures: pass the other 3,000 training pictures as `transfer`. How much of the way to the
#   3,500-label student does that go?
# - Swap the teacher of section 6 for a LeNet-300-100. Does a worse teacher make a worse student?
# - Replace the text CNN by `encoders.BagOfEmbeddings`. Does the teacher still help a model that cannot see word order?
#
# ## References
#
# - Hinton, Vinyals & Dean 2015, *Distilling the knowledge in a neural network*: section 2 (the loss, T²), 2.1 (logit matching), 3
#   (MNIST and its temperatures), 4 (speech).
# - Kim 2014, *Convolutional neural networks for sentence classification*: section 2.
# - Guo, Pleiss, Sun & Weinberger 2017, *On calibration of modern neural networks*: section 2, equation 3.
# - Hutto & Gilbert 2014, *VADER*: section 3.3 (the ratings); Pang & Lee 2005 (the sentences).
# - Wang et al. 2020, *MiniLM*; Reimers & Gurevych 2019, *Sentence-BERT* (the pretrained encoder).
# - PyTorch's documentation of `torch.nn.KLDivLoss` (the reduction).
