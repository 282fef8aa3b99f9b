"""How long does it take to prune BERT-base globally, and in what memory?

    python benchmarks/bench_pruning.py            # BERT-base, about a minute and 3 GB
    python benchmarks/bench_pruning.py --quick    # a small BERT, seconds

Half of all Linear and Embedding weights are pruned by `torch.nn.utils.prune.global_unstructured` and
by `course_lib.pruning`, each in a process of its own on the same random weights. Both leave a model
with masks attached. Extra memory is the peak above what the process held before, the masks included.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from _common import bert, in_a_fresh_process, peak_above_start
from torch import nn
from torch.nn.utils import prune as torch_prune

from course_lib.pruning.masks import apply_masks_, masks_of, original_of
from course_lib.pruning.unstructured import global_masks

AMOUNT = 0.5


def network(quick: bool) -> tuple[nn.Module, list[str]]:
    """The model, and the layers that are pruned."""
    model = bert(quick)
    kinds = (nn.Linear, nn.Embedding)
    return model, [name for name, module in model.named_modules() if isinstance(module, kinds)]


def prune_by_torch(model: nn.Module, layers: list[str]) -> None:
    pairs = [(model.get_submodule(layer), "weight") for layer in layers]
    torch_prune.global_unstructured(pairs, torch_prune.L1Unstructured, amount=AMOUNT)


def prune_by_course(model: nn.Module, layers: list[str]) -> None:
    apply_masks_(model, global_masks(model, AMOUNT, layers=layers))


VARIANTS = {"torch": prune_by_torch, "course_lib": prune_by_course}


def run_variant(variant: str, quick: bool) -> dict[str, Any]:
    """Prune in this process; say how long it took and which weights went."""
    model, layers = network(quick)
    seconds, extra = peak_above_start(lambda: VARIANTS[variant](model, layers))
    pruned, total, largest, highest_pruned, lowest_kept = 0, 0, 0, 0.0, float("inf")
    for layer, mask in masks_of(model).items():
        weight = original_of(model.get_submodule(layer)).detach().abs()
        pruned, total = pruned + int((~mask).sum()), total + weight.numel()
        largest = max(largest, weight.nbytes)
        highest_pruned = max([highest_pruned, *weight[~mask].amax(0, keepdim=True).tolist()])
        lowest_kept = min([lowest_kept, *weight[mask].amin(0, keepdim=True).tolist()])
    return {
        "seconds": seconds,
        "extra": extra,
        "pruned": pruned,
        "total": total,
        "largest": largest,
        # the lowest went: two such choices of one size differ only in which of equal weights go
        "lowest_went": highest_pruned <= lowest_kept,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small BERT instead of BERT-base")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        print(json.dumps(run_variant(arguments.variant, arguments.quick)))
        return

    found = {
        variant: run_variant(variant, quick=True)
        if arguments.quick
        else in_a_fresh_process(__file__, "--variant", variant)
        for variant in VARIANTS
    }
    ours, theirs = found["course_lib"], found["torch"]
    limit = 2 * ours["largest"]
    name = "a small BERT" if arguments.quick else "BERT-base"
    print(f"{name}, {ours['total']:,} weights, {AMOUNT:.0%} pruned globally")
    print(f"{'':12}{'seconds':>10}{'extra MB':>10}{'pruned':>14}  lowest went")
    for variant, row in found.items():
        print(
            f"{variant:12}{row['seconds']:>10.3f}{row['extra'] / 1e6:>10.0f}{row['pruned']:>14,}  "
            f"{'yes' if row['lowest_went'] else 'NO'}"
        )
    print(f"time: 1/{theirs['seconds'] / ours['seconds']:.1f} of torch's (goal: 1/12 or less)")
    print(
        f"extra memory: {ours['extra'] / ours['largest']:.2f} × the largest weight "
        f"(goal: 2 or less, {limit / 1e6:.0f} MB)"
    )


if __name__ == "__main__":
    main()
