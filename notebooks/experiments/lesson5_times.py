"""How long does each model of lesson 5 take? All of them in one measuring run.

One sentence of 32 tokens, one thread. The models take turns, in a new order each time, so that they
share the noise. All are measured: the teacher and BERT-base in both runtimes, the students, and each
shape of the explorer in float32 and in int8. Speed does not depend on the weights, so the shapes,
BERT-base, and the students "a quarter wide" and "three layers" have untrained ones. The other students
are the stored files.
"""

import functools
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers

from course_lib import datasets, evaluation, models, quantization, structured
from course_lib.compression import shapes
from course_lib.lessons import experiments
from course_lib.quantization import OnnxClassifier

RECIPE = {
    "rounds": 60,
    "tokens": 32,
    "layers": [6, 3, 2, 1],  # of the shapes
    "widths": [1.0, 0.5, 0.25],
    "bert": True,
    "a quarter wide": {"layers": 6, "heads": 0.25, "units": 0.25, "rank": None},
    "three layers": {"layers": 3, "heads": 0.42, "units": 0.3, "rank": 128},
}
QUICK = {"rounds": 4, "tokens": 8, "layers": [1], "widths": [0.25], "bert": False}


def cases(recipe):
    return [{"tokens": recipe["tokens"]}]


def run(case, seed, recipe, data):
    """Milliseconds of each model in each round."""
    text = {name: torch.ones(1, case["tokens"]).long() for name in ("input_ids", "attention_mask")}
    with evaluation.one_thread():
        times = evaluation.latency(everyone(recipe), text, recipe["rounds"])
    samples = torch.tensor([time.samples for time in times.values()])  # [models, rounds]
    runtimes = [time.runtime for time in times.values()]
    return {"models": list(times), "runtimes": runtimes, "threads": 1, "samples": samples}


def everyone(recipe):
    """Name → model."""
    teacher = models.load_encoder().eval()  # the teacher's shape
    found = {"teacher, PyTorch": teacher} | in_onnx("teacher", teacher)
    found["teacher, int8 layers, PyTorch"] = quantization.quantize(teacher, backend="torch")
    if recipe["bert"]:
        bert = transformers.BertForSequenceClassification(transformers.BertConfig()).eval()
        found |= {"BERT-base, PyTorch": bert}
        found |= in_onnx("BERT-base", bert, int8=False)
    for layers in recipe["layers"]:
        for width in recipe["widths"]:
            found |= in_onnx(f"{layers} layers, {width:g} wide", of_shape(teacher, layers, width))
    for name in ("a quarter wide", "three layers"):
        found[name] = in_onnx(name, untrained(teacher, recipe[name]))[f"{name}, int8"]
    return found | stored_files()


def untrained(teacher, way):
    """A student's shape."""
    model = structured.shorten(shapes.fewer_layers(teacher, way["layers"]), 64)
    model = shapes.narrower(model, way["heads"], way["units"], shapes.first_units)
    tokens = datasets.tokens_seen(models.reviews_tokenized()["train"], at_least=1)
    model, _ = structured.prune_vocabulary(model, models.load_tokenizer(), tokens)
    return model if way["rank"] is None else structured.factor_embeddings(model, way["rank"])


def of_shape(teacher, layers, width):
    model = structured.shorten(shapes.fewer_layers(teacher, layers), 64)
    return shapes.narrower(model, width, width, shapes.first_units)


def in_onnx(name, model, int8=True):
    """The model in ONNX Runtime, in float32 and in int8."""
    with TemporaryDirectory() as work:
        path = quantization.export_onnx(model, Path(work) / "model.onnx").path
        found = {f"{name}, float32": OnnxClassifier(path.read_bytes(), threads=1)}
        if int8:
            small = quantization.quantize(path).content()
            found[f"{name}, int8"] = OnnxClassifier(small, threads=1)
    return found


@functools.cache
def stored_files():
    """Student → the file of its first seed."""
    files = {
        row["student"]: OnnxClassifier(row["file"].numpy().tobytes(), threads=1)
        for row in experiments.results("lesson5_students").rows
        if "file" in row
    }
    files.pop("three layers", None)
    return files


EXPERIMENT = experiments.Experiment(
    RECIPE, models.reviews_tokenized, cases, run, seeds=1, quick=QUICK
)

if __name__ == "__main__":
    sys.exit(experiments.main(EXPERIMENT, __file__))
