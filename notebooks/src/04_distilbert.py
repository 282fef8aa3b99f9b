# %% [markdown]
# # Lesson 4 · DistilBERT: from its recipe to its numbers
#
# **You will be able to**
#
# - use a distilled transformer in three lines, and say what it saves and where;
# - make a student out of its teacher's layers, and teach it with the three losses of DistilBERT;
# - tell what the start, the losses and the unlabelled text each add, with paired tests;
# - judge a sentence like "97 % of BERT's performance, 60 % faster".
#
# **Time** about 60 minutes; the computer works about 7 of them on two cores (and some minutes more, once, to make the
# teacher). **You need** lesson 3: soft labels, temperature, the transfer set.

# %% tags=["setup"]
# the first cell of every lesson

# %% tags=["parameters"]
profile = "full"

# %%
import tempfile
from dataclasses import replace
from functools import partial

import torch
import transformers
from IPython.display import display
from transformers import pipeline

from course_lib import encoders, measure, plots, sentences, text, training, zoo
from course_lib.claims import Claims
from course_lib.distilbert import (
    distilbert_from_bert,
    distill_hidden,
    student_from_teacher,
    triple_loss,
)
from course_lib.distillation import distill, distillation_loss, hidden_cosine_loss, soft_loss
from course_lib.profile import chosen_profile

# %%
full = chosen_profile(profile) == "full"
few = None if full else 16  # the quick profile, for tests: the same steps, on less data
teacher = zoo.teacher() if full else zoo.teacher(160, replace(zoo.TEACHER, lr=3e-4))
tokenizer = encoders.load_tokenizer()
reviews = zoo.reviews_tokenized(few)
claims = Claims()

# %% [markdown]
# ## 1 · Three lines
#
# DistilBERT (Sanh et al. 2019) is BERT with half of its layers, taught by BERT. It was so handy that `transformers` made it the
# default for **sentiment analysis**. Three lines use it:
#
# ```python
# from transformers import pipeline
# classify = pipeline("sentiment-analysis")
# classify("I love this movie!")
# ```
#
# They need the Hugging Face Hub once. If it is not reached, the cell below takes the course's own teacher, a MiniLM that was fine-tuned on movie reviews; then only the
# form of the answer is tested.

# %%
NAME = "distilbert-base-uncased-finetuned-sst-2-english"
try:
    model, its_tokenizer = encoders.load_encoder(NAME), encoders.load_tokenizer(NAME)
except ConnectionError:
    print("The Hub is not reached: here is the course's teacher instead.")
    model, its_tokenizer = teacher, tokenizer

# %%
# device: else the pipeline would take the model to a GPU, where there is one, for good.
classify = pipeline("sentiment-analysis", model=model, tokenizer=its_tokenizer, device="cpu")
answer = classify("I love this movie!")
answer

# %% [markdown]
# The score is the model's own probability for its answer. Lesson 3 showed that such a number is a *confidence*, and not yet a chance of
# being right: look at what it says to nonsense.

# %%
for line in ("I love this movie!", "I expected to love this movie.", "asdf qwer", ""):
    print(f"{line!r:35} {classify(line)[0]}")
claims.add(
    "pipeline answers [{'label': 'POSITIVE', 'score': 0.9998}]",
    source="many tutorials, for DistilBERT on SST-2",
    measured=f"{answer} by {'the course teacher: the Hub was not reached' if model is teacher else NAME}",
    holds="in part"
    if model is teacher  # another model: its form alone is tested
    else answer[0]["label"] == "POSITIVE" and answer[0]["score"] > 0.999,
)

# %% [markdown]
# ## 2 · What is smaller, and where
#
# Here are both at their true sizes, as `transformers` defines them, each with a classifier. The weights are random:
# size and speed do not depend on them.
#
# **Predict first.** Half of the layers are gone. Is half of the model gone?

# %%
my_guess_smaller = 0.5  # the share of the parameters that is gone

# %%
bert = transformers.BertForSequenceClassification(transformers.BertConfig()).eval()
distilbert = transformers.DistilBertForSequenceClassification(
    transformers.DistilBertConfig()
).eval()


def where(model):
    """Millions of parameters in the embeddings, in the layers, and in the rest."""
    count = {"embeddings": 0.0, "layers": 0.0, "the rest": 0.0}
    for name, parameter in model.named_parameters():
        part = (
            "embeddings" if "embeddings." in name else "layers" if "layer." in name else "the rest"
        )
        count[part] += parameter.numel() / 1e6
    return count


small = student_from_teacher(teacher, (0, 2, 4))
shown = {
    "BERT-base": bert,
    "DistilBERT": distilbert,
    "our teacher": teacher,
    "3 of its layers": small,
}
places = {name: where(model) for name, model in shown.items()}

# %%
plots.show(
    plots.parts(places, "million parameters"),
    alt="Parameters in the embeddings, the layers and the rest of four models",
)
sizes = {name: sum(p.numel() for p in model.parameters()) for name, model in shown.items()}
for name, size in sizes.items():
    share = places[name]["embeddings"] * 1e6 / size
    print(f"{name:16} {size:>11,} parameters, {4 * size / 1e6:5.0f} MB, {share:4.0%} embeddings")
gone = {
    "DistilBERT": 1 - sizes["DistilBERT"] / sizes["BERT-base"],
    "ours": 1 - sizes["3 of its layers"] / sizes["our teacher"],
}
print(
    f"gone: {gone['DistilBERT']:.1%} of BERT (your guess: {my_guess_smaller:.0%}), {gone['ours']:.1%} of ours"
)

# %% tags=["nbval-check-output"]
claims.add(
    "DistilBERT is 40 % smaller than BERT-base",
    source="Sanh et al. 2019, abstract and table 3 (110 against 66 million parameters)",
    measured=f"{sizes['BERT-base']:,} against {sizes['DistilBERT']:,} parameters, with a classifier each: {100 * gone['DistilBERT']:.1f} % smaller; MiniLM with half of its layers: {100 * gone['ours']:.1f} %",
    holds=gone["DistilBERT"] > 0.395 or "in part",
)

# %% [markdown]
# The paper counts the models without classifiers, and rounds; with them it is a little less than 40 %. The layers halve; the **embeddings** stay. In BERT they are a fifth of the parameters, in a small model they are most of it. Who wants a small file
# must look at the vocabulary: that is lesson 5.
#
# ### "60 % faster"
#
# The paper's table 3: 668 seconds for BERT, 410 for DistilBERT, on one CPU at batch 1. **Predict first:** is that 60 % less time?

# %% tags=["nbval-check-output"]
claims.add(
    "60 % faster means 60 % less time",
    source="a common reading of Sanh et al. 2019",
    measured=f"668 s → 410 s is {100 * (1 - 410 / 668):.0f} % less time, and {668 / 410:.2f} × the speed",
    holds=False,
)

# %% [markdown]
# Does it hold at every batch and every length? A column of the picture is a length, a row a batch size; a number says how many times
# DistilBERT is as fast as BERT-base, on your machine; the frame marks the largest.

# %%
batches, lengths = ((1, 8), (16, 64, 128)) if full else ((1,), (8, 16))
speed = {}
for batch in batches:
    for length in lengths:
        ids = torch.randint(1000, 30_000, (batch, length))
        times = measure.latency(
            {"BERT-base": bert, "DistilBERT": distilbert},
            {"input_ids": ids},
            rounds=8 if full else 4,
        )
        speed[batch, length] = times
        print(f"{batch} × {length:3}: {times['DistilBERT'].faster_than(times['BERT-base'])}")
ratio = {at: t["BERT-base"].median / t["DistilBERT"].median for at, t in speed.items()}

# %%
figure, axes = plots.heat_map(
    [[ratio[batch, length] for length in lengths] for batch in batches],
    batches,
    lengths,
    unit="times as fast",
)
axes.set(xlabel="tokens in a sentence", ylabel="batch")
plots.show(figure, alt="How many times DistilBERT is as fast as BERT-base, by batch and by length")

# %%
slowest, fastest = min(ratio.values()), max(ratio.values())
clear = all(t["DistilBERT"].q3 < t["BERT-base"].q1 for t in speed.values())  # no overlap
claims.add(
    "DistilBERT is 60 % faster than BERT-base",
    source="Sanh et al. 2019, abstract and table 3",
    measured=f"{slowest:.2f} to {fastest:.2f} × the speed over batches {batches} and lengths {lengths}, {torch.get_num_threads()} threads",
    holds=(clear and slowest >= 1.6) or ("in part" if fastest >= 1.6 else False),
)

# %% [markdown]
# Half of the layers is about half of the work, and the embeddings cost no time: they are looked up. So the time falls more than the size.
#
# ## 3 · Which layers should the student take?
#
# Our teacher has six layers; the student gets three of them, the teacher's embeddings and the teacher's classifier. Each layer was trained to
# read what the one before it wrote.
#
# **Predict first.** Before any training: is a student of layers 1, 2, 3 better, or one of 1, 3, 5, or one of 4, 5, 6? (People count
# from 1; the code below counts from 0.)

# %%
del bert, distilbert, shown  # 0.7 GB
choices = [(0, 1, 2), (0, 2, 4), (1, 3, 5), (0, 2, 5), (0, 4, 5), (3, 4, 5)]
untrained = {
    kept: training.evaluate(student_from_teacher(teacher, kept), reviews["validation"])
    for kept in choices
}
named = {kept: "layers " + ", ".join(str(i + 1) for i in kept) for kept in choices}
plots.show(
    plots.comparison(
        {named[kept]: accuracy for kept, accuracy in untrained.items()},
        title="before any training, validation",
    ),
    alt="Validation accuracy of six choices of three layers, before any training",
)

# %% [markdown]
# Look at which choices hold layer 6. The classifier was trained to read what layer 6 writes. A student without that layer gives it something else, and does hardly better
# than a coin, even where its own layers follow each other as before. But a start is not a result: training mends much of it. This lesson takes every other layer, as the
# paper says. (The script that made DistilBERT took layers 1, 3, 5, 8, 10 and 12: it kept the last one.)
#
# ## 4 · The three losses, one at a time
#
# DistilBERT learns from three things at once: what the teacher *answers*, what is *true*, and what the teacher *thinks*. Take a
# batch of two sentences, one shorter than the other. A batch must be a rectangle, so the shorter one is filled up with **padding**; the **attention mask** is 1 for
# real tokens and 0 for padding. What a layer hands on for each token, a vector, is its **hidden state**.

# %% tags=["nbval-check-output"]
student = student_from_teacher(teacher, (0, 2, 4))
lines = tokenizer(
    ["A moving film.", "It starts well and then goes on for far too long."],
    padding=True,
    return_tensors="pt",
)
mask, truth = lines["attention_mask"], torch.tensor([1, 0])
with torch.no_grad():
    told = training.forward(teacher, {**lines, "output_hidden_states": True})
    said = training.forward(student, {**lines, "output_hidden_states": True})
print(
    f"logits {tuple(said.logits.shape)}, last hidden states {tuple(said.hidden_states[-1].shape)}"
)
print(mask)

# %% [markdown]
# **1. Soft loss**: the KL divergence of lesson 3, at T = 2, with its T². **2. Hard loss**: cross-entropy with the label. (When DistilBERT itself
# was made, the "label" was the masked word.) **3. Cosine loss**: the last hidden states of student and teacher should point the same way, for each
# token:

# %%
T = 2
p, log_q = (told.logits / T).softmax(-1), (said.logits / T).log_softmax(-1)
soft = T**2 * (p * (p.log() - log_q)).sum(-1).mean()
hard = torch.nn.functional.cross_entropy(said.logits, truth)
mine, theirs = said.hidden_states[-1], told.hidden_states[-1]  # [2, words, 384]
angle = torch.cosine_similarity(mine, theirs, dim=-1)  # [2, words]
cosine = ((1 - angle) * mask).sum() / mask.sum()
print(f"soft {soft:.4f}, hard {hard:.4f}, cosine {cosine:.4f}")
print(
    f"together: {5 * soft + 2 * hard + 1 * cosine:.4f}; triple_loss: {triple_loss(said, told, truth, mask):.4f}"
)

# %%
torch.testing.assert_close(soft, soft_loss(said.logits, told.logits, T))
torch.testing.assert_close(cosine, hidden_cosine_loss(mine, theirs, mask))
together = triple_loss(said, told, truth, mask)
claims.add(
    "The triple loss is 5 · soft + 2 · hard + 1 · cosine, and padding does not count",
    source="the code that made DistilBERT (its weights); Sanh et al. 2019, section 2",
    measured=f"{together:.4f} by the library, {5 * soft + 2 * hard + cosine:.4f} by hand; with padding counted {5 * soft + 2 * hard + (1 - angle).mean():.4f}",
    holds=bool(torch.isclose(together, 5 * soft + 2 * hard + cosine)),
    must=True,
)

# %% [markdown]
# Without `* mask` the padding of the short sentence would count, too: the student would also be taught to imitate the teacher where there is no word.
#
# ## 5 · Distil the teacher
#
# Now for real. The student sees the labelled sentences, and as many without a label from the transfer set of lesson 3, once. Sentences
# without a label have no hard loss. The embeddings stay as they were pretrained, as with the teacher. It takes some three minutes.
#
# Mind the difference. DistilBERT was distilled *before* fine-tuning, on plain text, to predict masked words: **task-agnostic** distillation. Here the teacher is fine-tuned
# already, for its one task: **task-specific** distillation. So what you measure is no replication of the paper's tables. It asks whether their advice carries over.
#
# **Predict first.** What share of the teacher's accuracy will it keep?

# %%
my_guess_kept = 0.9

# %% [markdown]
# `taught` makes every student of this lesson: `layers` chooses the start, `loss` the losses, `transfer` the unlabelled text, `fresh` new weights.

# %%
some = text.transfer_set().shuffle(seed=0).select(range(len(reviews["train"])))
unlabelled = encoders.tokenize(some, tokenizer)
logits = torch.cat([zoo.cached_logits(teacher, part) for part in (reviews["train"], unlabelled)])
recipe = training.Recipe(1, lr=2e-4, batch_size=32, warmup=0.1, decay=True)
labelled = {"train": reviews["train"]}
again = 2  # passes over the labelled part alone: as many steps as one over both


def taught(seed=0, layers=(0, 2, 4), loss="triple", transfer=True, fresh=False):
    """A student: as many steps for each way, so without the transfer set it sees the rest more often."""
    student = student_from_teacher(teacher, layers, fresh=fresh, seed=seed)
    student.base_model.embeddings.requires_grad_(fresh)
    its = replace(recipe, seed=seed, epochs=1 if transfer else again)
    more = unlabelled if transfer else None
    if loss == "triple":
        return distill_hidden(student, teacher, labelled, its, transfer=more).model
    if loss == "labels":
        return training.fit(student, labelled, its).model
    told = logits if transfer else logits[: len(reviews["train"])]
    soft = partial(distillation_loss, T=2, alpha=1)
    return distill(student, told, labelled, its, loss=soft, transfer=more).model


# %%
made_from = {
    "recipe": training.settings(recipe),
    "train": zoo.fingerprint(reviews["train"]),
    "transfer": zoo.fingerprint(unlabelled),
    "teacher": training.settings(zoo.TEACHER),
}
weights = zoo.made_once(
    "student",
    made_from
    | {"layers": [0, 2, 4], "told": zoo.fingerprint(torch.utils.data.TensorDataset(logits))},
    lambda: taught().state_dict(),
)
student.load_state_dict(weights)
student.eval()
print(f"student {training.evaluate(student, reviews['validation'])}, on validation")
print(f"teacher {training.evaluate(teacher, reviews['validation'])}")

# %% [markdown]
# ## 6 · Three layers, two, one
#
# One run says little. The tables from here on hold three seeds of each way, on the test part. They take more than an hour, so they
# were made once (`make notebooks` makes them anew when anything they depend on changes) and are stored beside the notebook, in `stored/04_*.json`, with
# what they were made from. The next three cells only fetch them: skip those at first reading. What you need is `results[way][part]`: for each seed and each sentence,
# whether the answer was right.

# %%
electronics = encoders.tokenize(
    text.amazon_test() if full else text.amazon_test().select(range(few)), tokenizer
)
judged = {name: reviews[name] for name in ("validation", "test")} | {"electronics": electronics}
seeds = range(3) if full else (0, 0)  # quick: one training, counted twice


def answers(way):
    """For each part and seed, which sentences are answered rightly, as a line of 0 and 1."""
    lines = {}
    for seed in set(seeds):
        model = taught(seed, **way)
        lines[seed] = {
            part: "".join(str(int(r)) for r in training.correct(model, data))
            for part, data in judged.items()
        }
    return {part: [lines[seed][part] for seed in seeds] for part in judged}


# %%
ways = {
    "3 layers": {},
    "2 layers": {"layers": (0, 3)},
    "1 layer": {"layers": (0,)},
    "fresh start": {"fresh": True},
    "answers alone": {"loss": "soft"},
    "no transfer set": {"transfer": False},
    "no teacher": {"transfer": False, "loss": "labels"},
}


def results_of(name):
    """Bool [seeds, n] for each part: which sentences the students of this way answer rightly."""
    known = made_from | {"seeds": list(seeds), "way": ways[name]}
    file = "04_" + name.replace(" ", "_")
    lines = zoo.stored(file, known, lambda: answers(ways[name]))
    return {
        part: torch.tensor([[letter == "1" for letter in line] for line in rows])
        for part, rows in lines.items()
    }


# %%
results = {name: results_of(name) for name in ways}
truth_test = training.labels_of(reviews["test"])
teacher_right = zoo.cached_logits(teacher, reviews["test"]).argmax(-1) == truth_test
tfidf = zoo.baseline_tfidf()
linear_right = tfidf.correct[: len(truth_test)]  # the quick profile has fewer sentences


def runs(name, part="test"):
    """The accuracies of one way, a seed each."""
    return measure.Runs(
        tuple(measure.Accuracy(int(row.sum()), len(row)) for row in results[name][part])
    )


def accuracy(right):
    return measure.Accuracy(int(right.sum()), len(right))


# %%
layers = {"3 layers": (0, 2, 4), "2 layers": (0, 3), "1 layer": (0,)}
plots.show(
    plots.comparison(
        {"TF-IDF": accuracy(linear_right)}
        | {name: runs(name) for name in reversed(layers)}
        | {"teacher, 6 layers": accuracy(teacher_right)},
        title="movie reviews, test",
    ),
    alt="Test accuracy of TF-IDF, of students of one, two and three layers, and of the teacher",
)

# %% [markdown]
# Two shares tell how much a student keeps. The first is the one that papers print: the student's accuracy over the teacher's. The second takes away what a
# linear model gets for nothing: the share of what the teacher *gained over TF-IDF*.

# %%
shares = {}
for name in layers:
    right = results[name]["test"]
    shares[name] = measure.kept(right, teacher_right)
    gained = measure.kept(right, teacher_right, linear_right)
    print(f"{name}: {runs(name)}\n  keeps {shares[name]} of the accuracy, {gained} of the gain")
print(f"your guess for three layers: {my_guess_kept:.0%}")

# %%
students = {name: student_from_teacher(teacher, kept) for name, kept in layers.items()}
words = tokenizer(
    ["one word and another"] * 8, return_tensors="pt", padding="max_length", max_length=32
)
first = {key: value[:1] for key, value in words.items()}
for title, example in (("one sentence", first), ("eight sentences", words)):
    times = measure.latency({"teacher": teacher} | students, example, 30 if full else 4)
    print(f"{title} of 32 tokens:")
    for name, time in times.items():
        parameters = sum(p.numel() for p in (students.get(name) or teacher).parameters())
        faster = "" if name == "teacher" else time.faster_than(times["teacher"])
        print(f"  {name:9} {parameters:>11,} parameters, {time} {faster}")

# %% [markdown]
# Look at the intervals of the second share. Below zero throughout: the linear model, trained in seconds, is better. Across zero: you cannot tell the two apart. The interval is
# wide because the gain that it divides by is small.
#
# And what is DistilBERT's 97 %? The ratio of two mean *scores* over GLUE, a set of nine language tasks, and not all of them are accuracies. On RTE, with its few examples, the paper's own
# table has 69.3 % for BERT and 59.9 % for DistilBERT.
#
# ## 7 · What did it?
#
# Four things are in the recipe: the start from the teacher's weights, the three losses, the teacher, the transfer set. *Fresh start* gives up all pretrained weights, the
# embeddings too, and trains them all. *Answers alone* keeps the soft loss only. *No transfer set* sees the labelled sentences twice. *No teacher* learns from labels alone, so it
# has no transfer set either: compare it with *no transfer set*.
#
# **Predict first.** Which of them costs most, when it is gone?

# %%
plots.show(
    plots.comparison(
        {"the whole recipe": runs("3 layers")}
        | {name: runs(name) for name in list(ways)[3:]}
        | {"teacher": accuracy(teacher_right)},
        title="three layers, test",
    ),
    alt="Test accuracy of three-layer students made by five recipes, and of the teacher",
)

# %%
pairs = {
    "start from the teacher's weights": ("3 layers", "fresh start"),
    "three losses, not the answers alone": ("3 layers", "answers alone"),
    "the transfer set": ("3 layers", "no transfer set"),
    "a teacher, with labelled sentences only": ("no transfer set", "no teacher"),
    "teacher and transfer set": ("3 layers", "no teacher"),
}
tests = {
    part: measure.paired_test_over_seeds(results[a]["test"], results[b]["test"])
    for part, (a, b) in pairs.items()
}
for part, test in tests.items():
    print(f"{part}:\n  {test}")


# %%
def claim(statement, source, part):
    """A claim that one part of the recipe makes the student better."""
    test = tests[part]
    better = test.verdict == "the first is better"
    shown = claims.add(
        statement,
        source=source,
        measured=f"{runs(pairs[part][0])} against {runs(pairs[part][1])}: {test}",
        holds=better or ("in part" if test.points > 0 else False),
        n=test.n,
    )
    display(shown)


claim(
    "A student that starts from its teacher's weights beats one that starts anew",
    "Sanh et al. 2019, table 4 (a random start costs 3.7 points)",
    "start from the teacher's weights",
)
claim(
    "The three losses together beat the soft loss alone",
    "Sanh et al. 2019, table 4 (it leaves out one loss at a time)",
    "three losses, not the answers alone",
)

# %%
claim(
    "With labelled sentences alone, a teacher makes the student better",
    "Sanh et al. 2019, section 4.1 (a second step of distillation, for SQuAD)",
    "a teacher, with labelled sentences only",
)
claim(
    "Unlabelled sentences that the teacher explains make the student better",
    "a common hope; Hinton et al. 2015, section 1: a transfer set may be unlabelled",
    "the transfer set",
)

# %% [markdown]
# "In part" stands for a difference in the right direction that may be luck. Read "no significant difference" as it stands: this experiment, with its three seeds and its test sentences, cannot tell the two apart. It does not prove that
# they are equal; the interval says how large a difference may hide.
#
# Lesson 3's text CNN gained from a teacher with a transfer set, at equal steps, too. What differs here? The transfer set is smaller beside the labelled part, which gets a second
# pass without it. And the student begins with pretrained embeddings and layers, so it may have less to learn from more text. These are guesses: nothing above tests them. How
# would you test one?

# %%
halves = [name for name in ways if name not in ("2 layers", "1 layer", "no teacher")]
best = max(halves, key=lambda name: runs(name, "validation").value)
for name in halves:
    print(f"{name:16} on validation: {runs(name, 'validation')}")
share = measure.kept(results[best]["test"], teacher_right)
print(f"the best of them: {best}. On the test part it keeps {share}")
claims.add(
    "A student with half of the layers keeps 97 % of its teacher's accuracy",
    source="Sanh et al. 2019, abstract (there: scores on GLUE)",
    measured=f"{best}, chosen on validation: {runs(best)} against {accuracy(teacher_right)}, so {share}",
    holds=share.low >= 0.97 or ("in part" if share.value >= 0.97 else False),
    n=len(teacher_right),
)

# %% [markdown]
# The interval decides: where it begins below 97 %, other sentences could have said otherwise. Compare it with the whole recipe's in section 6. Then look at *no teacher* in the figure,
# and divide by the teacher's accuracy. That student was never distilled. So a kept share alone says nothing about distillation: for that you need the same student
# without a teacher, and a paired test.
#
# ## 8 · Does the student look where the teacher looks?
#
# Attention says, for each word, from which other words it takes its information. The student's three layers began as the teacher's layers 1, 3 and 5 (the sliders count from 1; the figure behind them counts from 0).
# Nobody told the student to keep their attention. Move the sliders: does it still look where its teacher looks? ([CLS] and [SEP] are the
# tokens that BERT puts at the start and the end. A head that looks at them all the time is resting.)

# %%
line = "A slow start, but then it becomes one of the most moving films of the year."
tokens, of_teacher = sentences.attention_maps(teacher, tokenizer, line)
of_student = sentences.attention_maps(student, tokenizer, line)[1]
maps = {"teacher": of_teacher, "student": of_student}
pairs_of_layers = [{"teacher": 2 * i, "student": i} for i in range(3)]
sentences.attention_explorer(tokens, maps, pairs_of_layers)

# %%
same = torch.tensor(
    [
        [sentences.overlap(s[h], t[h]) for h in range(12)]
        for t, s in zip(of_teacher[::2], of_student, strict=True)
    ]
)
figure = plots.unit_map(
    same, "layer of the student (from 0)", "head (from 0)", "attention in common"
)
plots.show(
    figure, alt="Share of attention that student and teacher have in common, by layer and head"
)
others = sum(
    sentences.overlap(s, of_teacher[j])
    for i, s in enumerate(of_student)
    for j in range(6)
    if j != 2 * i
)
print(f"with the layer it began as: {same.mean():.0%}; with the other layers: {others / 15:.0%}")

# %% [markdown]
# Read the rows. The student's first layer reads what the teacher's first layer reads, for the embeddings were not trained. The later ones read something new, and may move. The second
# printed number is the measure for "alike": what maps of different layers share anyway. This is one sentence and one student. And attention is where
# information *may* come from: Jain & Wallace (2019) found very different attention with the same answer.
#
# ## 9 · Try your own sentence
#
# Write a sentence and press Enter. Can you find one about which teacher and student disagree? Try a "not", irony, or two moods in one sentence.

# %%
both = {"teacher": teacher, "student": student}
sentences.answers_explorer(
    both, tokenizer, "Not the masterpiece everyone talks about, but I smiled a lot."
)

# %%
at_validation = {
    name: training.predict(m, reviews["validation"]).softmax(-1) for name, m in both.items()
}
apart = (at_validation["teacher"][:, 1] - at_validation["student"][:, 1]).abs()
disagree = at_validation["teacher"].argmax(-1) != at_validation["student"].argmax(-1)
written = text.reviews()["validation"]
print(
    f"They disagree on {int(disagree.sum())} of {len(disagree)} validation sentences. The widest apart:"
)
for i in apart.argsort(descending=True)[:5].tolist():
    a, b = (at_validation[name][i, 1] for name in both)
    print(
        f"- {written[i]['text']}\n  positive: teacher {a:.0%}, student {b:.0%}; people: {text.LABELS[written[i]['label']]}"
    )

# %% [markdown]
# ## 10 · Out of its world: sentences about electronics
#
# Teacher and students learned from movies. Here are sentences from Amazon's reviews of cameras, phones and players. Nobody trained on them, and none is in
# the transfer set.
#
# **Predict first.** The student is smaller. Does it lose more than the teacher, out of its domain?

# %%
truth_abroad = training.labels_of(electronics)
teacher_abroad = zoo.cached_logits(teacher, electronics).argmax(-1) == truth_abroad
amazon = text.amazon_test()["text"][: len(electronics)]
linear_abroad = torch.tensor(tfidf.pipeline.predict(list(amazon))) == truth_abroad
abroad = {
    "TF-IDF": accuracy(linear_abroad),
    "3 layers": runs("3 layers", "electronics"),
    "no teacher": runs("no teacher", "electronics"),
    "teacher": accuracy(teacher_abroad),
}
plots.show(
    plots.comparison(abroad, title="sentences about electronics"),
    alt="Accuracy on sentences about electronics: TF-IDF, students, teacher",
)
at_home = measure.kept(results["3 layers"]["test"], teacher_right)
gained_at_home = measure.kept(results["3 layers"]["test"], teacher_right, linear_right)
keeps = measure.kept(results["3 layers"]["electronics"], teacher_abroad)
gains = measure.kept(results["3 layers"]["electronics"], teacher_abroad, linear_abroad)
print(f"of the teacher's accuracy it keeps {at_home} at home, {keeps} abroad")
print(f"of the gain over TF-IDF it keeps {gained_at_home} at home, {gains} abroad")

# %%
helped = measure.paired_test_over_seeds(
    results["3 layers"]["electronics"], results["no teacher"]["electronics"]
)
print(f"taught against untaught, abroad: {helped}")
claims.add(
    "A student keeps as much of its teacher's accuracy out of the domain as in it",
    source="this course",
    measured=f"in the domain {at_home}, out of it {keeps}",
    holds=bool(keeps.low >= at_home.value) or (False if keeps.high < at_home.low else "in part"),
    n=len(truth_abroad),
)

# %% [markdown]
# The two shares may point in different directions, for the linear model suffers most, abroad. Say which share you mean before you say "it loses more".
#
# ## 11 · A genuine DistilBERT, and a larger one
#
# Our student is a BERT with three layers. If you want the class `DistilBertForSequenceClassification` itself, which every tool knows:
# `distilbert_from_bert` copies the tensors one by one. DistilBERT has no segment embeddings (`token_type_ids`, which tell the first sentence of a pair from the second), and a ReLU where BERT has a tanh: it must be trained before you use it.

# %%
genuine = distilbert_from_bert(teacher, (0, 2, 4))
with tempfile.TemporaryDirectory() as folder:
    genuine.save_pretrained(folder)
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
print(type(loaded).__name__, f"{sum(p.numel() for p in loaded.parameters()):,} parameters")
first_layer = loaded.distilbert.transformer.layer[0].attention.q_lin.weight
print(torch.equal(first_layer, teacher.bert.encoder.layer[0].attention.self.query.weight))

# %% [markdown]
# The same functions distil BERT-base on Wikipedia, on one GPU or on many: [docs/scaling.md](../docs/scaling.md) has the script, the commands, and what it costs.
#
# ## Recap
#
# - DistilBERT is BERT with half of the layers. The embeddings stay, so it is less than half smaller; they cost no time, so it is about twice as fast where layers are
#   all the work.
# - "60 % faster" is 1.6 times the speed, which is 39 % less time.
# - The start from the teacher's weights does most of the work. (Layers and embeddings were not tested apart.) What teacher, losses and transfer set add to it must be tested, and may be too small to see.
# - The triple loss: what the teacher answers, what is true, what the teacher thinks. Mask the padding.
# - "97 % of the accuracy" needs an interval, a linear baseline, and the same student without a teacher beside it.

# %%
claims

# %% [markdown]
# ## Quiz
#
# **1.** Model B takes 40 % less time than model A. How many per cent faster is it?
# <details><summary>Answer</summary>1 / 0.6 = 1.67 times the speed, so 67 % faster.</details>
#
# **2.** You halve the layers of a 12-layer model whose embeddings are 60 % of its parameters. How much smaller is it?
# <details><summary>Answer</summary>Half of the other 40 %: 20 % smaller. But about twice as fast.</details>
#
# **3.** Your student's cosine loss falls nicely, and its answers are poor. What did you compare?
# <details><summary>Answer</summary>Two suspects. Without the mask padding counts: in a batch of short sentences it can be most positions. And even a right
# cosine loss says nothing about the answers: it sees neither the length of the vectors nor the classifier. Look at the soft loss and the accuracy.</details>
#
# **4.** A student has 84 %, its teacher 87 %, a linear model 80 %. Which share does it keep?
# <details><summary>Answer</summary>97 % of the accuracy, but 4 / 7 = 57 % of what the teacher gained over the linear model.</details>
#
# **5.** The teacher is a BERT and reads `token_type_ids`; the student is a DistilBERT and does not. What happens if you leave them out for both?
# <details><summary>Answer</summary>For single sentences nothing: they are all 0. For pairs of sentences the teacher no longer knows which is which.</details>
#
# ## Try it yourself
#
# - Train a student of layers 2, 4 and 6 with the same recipe. Does the better start survive the training?
# - Beat the two-layer student: other layers, another temperature, two passes. Choose on validation.
# - Distil a *narrower* student: `structured.prune` the three-layer one first, then `distill_hidden`.
# - Give `triple_loss` the weights (5, 2, 0). Is the cosine loss worth its time?
#
# ## References
#
# - Sanh, Debut, Chaumond & Wolf 2019, *DistilBERT, a distilled version of BERT*: sections 2 and 3, tables 1 to 4.
# - Devlin et al. 2019, *BERT*: section 3.
# - Hinton, Vinyals & Dean 2015, *Distilling the knowledge in a neural network*: sections 1 and 2.
# - Vaswani et al. 2017, *Attention is all you need*: section 3.2.1; Jain & Wallace 2019, *Attention is not explanation*.
# - Efron & Tibshirani 1993, *An introduction to the bootstrap*: section 13.3.
# - Hutto & Gilbert 2014, *VADER*: section 3.3 (the ratings); Hu & Liu 2004 (the sentences about electronics).
# - Wang et al. 2020, *MiniLM*; Reimers & Gurevych 2019, *Sentence-BERT* (the pretrained encoder).
