"""What does removing half of the units gain, and how does Torch-Pruning 1.6.1 do the same?

    python benchmarks/bench_structured.py            # SmallCNN, BERT-base and a Llama, 5 min, 4 GB
    python benchmarks/bench_structured.py --quick    # SmallCNN, a small BERT and Llama, seconds
    python benchmarks/bench_structured.py --only Llama

Half of each group goes: channels and neurons, heads and feed-forward units. The weights are random
and both tools rank by the size of weights, each in its own way: quality is not compared here.

The surgery is choosing and removing, in a process of its own that has done it once on a small model.
Extra memory is the peak above what the process held before; the CNN is too small for it to be seen.
`course_lib` makes a copy, while Torch-Pruning changes the model itself. Of the removed models' outputs
the largest difference is shown from those of the dense model with the same units masked.

A model reloads if its safetensors file and its config or class give it back, with outputs equal to
1e-6: the place of a tensor in memory changes their last digits. A pickle of the whole object, which is
Torch-Pruning's own way, does not count.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch_pruning
from _common import bert, in_a_fresh_process, llama, peak_above_start
from safetensors.torch import load_file, save_file
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn
from transformers import PreTrainedModel

from course_lib import structured
from course_lib.evaluation.timing import latency
from course_lib.models.networks import SmallCNN, build
from course_lib.serialization import load, quiet, save
from course_lib.structured.dependency import groups
from course_lib.structured.removal import Keep, masked, remove
from course_lib.structured.transformers import layers_of

SHARE = 0.5
COURSE, OTHER = "course_lib", "Torch-Pruning"


def network(name: str, quick: bool) -> tuple[Any, list[Any]]:
    """A model with random weights, and the batches on which it is compared."""
    torch.manual_seed(0)
    if name == "CNN":
        return build(SmallCNN).eval(), [torch.randn(64, 1, 28, 28)]
    shapes = [(1, 32)] if quick else [(1, 32), (8, 128)]
    model: Any = bert(quick) if name == "BERT" else llama(quick)
    tokens = [torch.randint(model.config.vocab_size, shape) for shape in shapes]
    return model, [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in tokens]


def by_course(model: nn.Module, example: Any) -> tuple[nn.Module, Keep]:
    keep = structured.choose(model, SHARE, per_group=True)
    return remove(model, keep), keep


def by_torch_pruning(model: Any, example: Any) -> tuple[nn.Module, list[Any]]:
    """The same to the model itself, which has to be told where BERT has its heads; and its history."""
    options: dict[str, Any] = {"pruning_ratio": SHARE}
    attentions: list[Any] = []
    if model.__class__.__name__.startswith("Llama"):
        layers: Any = layers_of(model)[1]
        ends = [end for x in layers for end in (x.self_attn.o_proj, x.mlp.down_proj)]
        heads = {x.self_attn.q_proj: model.config.num_attention_heads for x in layers}
        shared = [p for x in layers for p in (x.self_attn.k_proj, x.self_attn.v_proj)]
        options |= {
            "ignored_layers": [model.model.embed_tokens, model.lm_head, *ends],
            "num_heads": heads | dict.fromkeys(shared, model.config.num_key_value_heads),
            "prune_num_heads": True,
            "prune_head_dims": False,
            "head_pruning_ratio": SHARE,
            "output_transform": lambda output: output.logits,
        }
        example = {**example, "use_cache": False}
    elif isinstance(model, PreTrainedModel):
        layers = layers_of(model)[1]
        attentions = [layer.attention.self for layer in layers]
        # The hidden size stays, so all that writes to it is left alone.
        ends = [end for x in layers for end in (x.attention.output.dense, x.output.dense)]
        options |= {
            "ignored_layers": [model.bert.embeddings, model.bert.pooler, model.classifier, *ends],
            "num_heads": {
                projection: attention.num_attention_heads
                for attention in attentions
                for projection in (attention.query, attention.key, attention.value)
            },
            "prune_num_heads": True,
            "prune_head_dims": False,
            "head_pruning_ratio": SHARE,
            "output_transform": lambda output: output.logits,
        }
    else:
        options["ignored_layers"] = [model.fc2]
    importance = torch_pruning.importance.MagnitudeImportance()
    pruner = torch_pruning.pruner.BasePruner(model, example, importance, **options)
    pruner.step()
    for attention in attentions:  # it cuts tensors, and does not know of these numbers
        attention.num_attention_heads = pruner.num_heads[attention.query]
        attention.all_head_size = attention.query.out_features
        attention.attention_head_size = attention.all_head_size // attention.num_attention_heads
    return model, pruner.pruning_history()


def kept(model: nn.Module, history: list[Any]) -> Keep:
    """The units that Torch-Pruning left of a model, as `remove` takes them."""
    keep = {}
    found = groups(model).values()
    for layer, computes, places in history:
        for group in found:
            for piece in group.slices:
                if piece.module == layer and piece.is_input != computes:
                    gone = {place // piece.unit_size for place in places}
                    keep[group.name] = sorted(set(range(group.units)) - gone)
    return keep


SURGERY: dict[str, Callable[..., Any]] = {COURSE: by_course, OTHER: by_torch_pruning}


def finishes(name: str, tool: str, seconds: int) -> bool:
    """Whether a tool is done with the small model within so many seconds."""
    try:
        in_a_fresh_process(__file__, "--quick", "--surgery", name, tool, seconds=seconds)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return False
    return True


def time_surgery(name: str, tool: str, quick: bool) -> dict[str, Any]:
    small, batches = network(name, quick=True)
    SURGERY[tool](small, batches[0])  # libraries load and set themselves up
    model, batches = network(name, quick)
    seconds, extra = peak_above_start(partial(SURGERY[tool], model, batches[0]))
    return {"seconds": seconds, "extra": extra}


def outputs(model: nn.Module, batches: Sequence[Any]) -> Tensor:
    with torch.inference_mode():
        found = [model(**b).logits if isinstance(b, dict) else model(b) for b in batches]
    return torch.cat([logits.flatten() for logits in found])  # language models' differ in length


def reloads(model: Any, tool: str, batches: Sequence[Any], expected: Tensor) -> str:
    """Whether the model comes back from its files and answers as expected, or else the error."""
    with tempfile.TemporaryDirectory() as place, quiet():
        folder = Path(place) / "model"
        transformer = isinstance(model, PreTrainedModel)
        try:
            if tool != OTHER:
                save(model, folder)
                again = load(folder, like=None if transformer else SmallCNN())
            elif transformer:
                model.save_pretrained(folder)
                again = type(model).from_pretrained(folder).eval()
            else:
                save_file(model.state_dict(), folder.with_suffix(".safetensors"))
                again = SmallCNN().eval()
                again.load_state_dict(load_file(folder.with_suffix(".safetensors")))
        except Exception as error:  # of whatever kind: it is the answer
            return f"no: {type(error).__name__}"
    difference = (outputs(again, batches) - expected).abs().max()
    return "yes" if difference <= 1e-6 else f"no: differs by {difference:.1e}"


def compare(name: str, quick: bool) -> None:
    """Print the table of one network."""
    dense, batches = network(name, quick)
    ours, keep = by_course(dense, batches[0])
    models = {"dense": dense, "masked": masked(dense, keep), COURSE: ours}
    wait = 20 if quick else 180
    if both := name != "Llama" or finishes(name, OTHER, wait):
        models[OTHER], history = by_torch_pruning(copy.deepcopy(dense), batches[0])
    answers = {variant: outputs(model, batches) for variant, model in models.items()}
    expected = {COURSE: answers["masked"]}
    if both:
        expected[OTHER] = outputs(masked(dense, kept(dense, history)), batches)
    inputs = [batch["input_ids"] if isinstance(batch, dict) else batch for batch in batches]
    shapes = [" × ".join(map(str, x.shape)) for x in inputs]
    # BERT-base takes seconds for 8 × 128 tokens, and a round calls each model three times.
    rounds = [4 if quick else 5 if shape == "8 × 128" else 15 for shape in shapes]
    times = [latency(models, *case) for case in zip(batches, rounds, strict=True)]
    surgery = {
        tool: time_surgery(name, tool, quick)
        if quick
        else in_a_fresh_process(__file__, "--surgery", name, tool)
        for tool in expected
    }

    titles = {"CNN": ("SmallCNN",) * 2, "BERT": ("BERT-base", "a small BERT")}
    title = (titles | {"Llama": ("a Llama of 155 M", "a small Llama")})[name][quick]
    print(f"\n{title}, {SHARE:.0%} of each group removed, {torch.get_num_threads()} threads")
    columns = {"surgery s": 10, "extra MB": 10, "parameters": 13, "bytes": 13}
    columns |= {f"ms, {shape}": 24 for shape in shapes} | {"difference": 12, "reloads": 18}
    print(" " * 14 + "".join(f"{column:>{width}}" for column, width in columns.items()))
    for variant, model in models.items():
        cells = ["–", "–"]
        if variant in surgery:
            cells = [f"{surgery[variant]['seconds']:.3f}", f"{surgery[variant]['extra'] / 1e6:.0f}"]
        # not evaluation.footprint: it zips too, which takes BERT-base a minute
        size = len(safetensors_bytes({k: v.contiguous() for k, v in model.state_dict().items()}))
        cells += [f"{sum(p.numel() for p in model.parameters()):,}", f"{size:,}"]
        cells += [
            f"{t[variant].median:.4g} ({t[variant].q1:.4g}–{t[variant].q3:.4g})" for t in times
        ]
        gap = (answers[variant] - expected.get(variant, answers[variant])).abs().max()
        cells += [f"{gap:.1e}" if variant in expected else "–"]
        cells += [reloads(model, variant, batches, answers[variant])]
        shown = (f"{cell:>{width}}" for cell, width in zip(cells, columns.values(), strict=True))
        print(f"{variant:14}" + "".join(shown))
    if not both:
        print(f"{OTHER} did not finish within {wait} s on a small model of this kind.")
    for shape, time in zip(shapes, times, strict=True):
        against = [f"{time[COURSE].faster_than(time[v])} ({v})" for v in models if v != COURSE]
        print(f"{COURSE} at {shape}: {', '.join(against)}")
    if name != "CNN":
        seconds, extra = surgery[COURSE].values()
        share = extra / sum(p.nbytes for p in dense.parameters())
        print(f"surgery on {title}, time: {seconds:.2f} s (goal: 2 s or less)")
        print(f"extra memory: {share:.2f} × the model's (goal: 1.2 or less)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small BERT instead of BERT-base")
    parser.add_argument("--only", help="one of CNN, BERT, Llama (default: all)")
    parser.add_argument("--surgery", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.surgery:
        print(json.dumps(time_surgery(*arguments.surgery, quick=arguments.quick)))
        return
    for name in [arguments.only] if arguments.only else ["CNN", "BERT", "Llama"]:
        compare(name, arguments.quick)


if __name__ == "__main__":
    main()
