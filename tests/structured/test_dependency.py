"""Every family has its groups, and what cannot be placed is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune
from transformer_zoo import TINY, tiny

from course_lib.models.networks import LeNet300
from course_lib.modules import make_permanent
from course_lib.pruning.unstructured import prune_weights as mask_weights
from course_lib.structured.dependency import groups, groups_of
from course_lib.structured.transformers import layers_of
from course_lib.structured.units import Slice


def test_nothing_to_remove_and_an_unknown_group():
    with pytest.raises(
        ValueError, match=r"Sequential has nothing.* 0: the model's answer is made of"
    ):
        groups(nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(ValueError, match=r"ReLU has nothing that can be removed. It has no layers"):
        groups(nn.ReLU())
    with pytest.raises(ValueError, match="There is no group 'fc9'; there are fc1, fc2"):
        groups_of(LeNet300(), ["fc9"])
    with pytest.raises(
        ValueError, match="'fc3' cannot be made smaller: the model's answer is made"
    ):
        groups_of(LeNet300(), ["fc3"])


HIDDEN = {
    "ours": lambda net: mask_weights(net, 0.5),
    "torch.prune": lambda net: torch_prune.l1_unstructured(net.fc1, "weight", 0.5) and net,
    "torch.prune of a bias": lambda net: torch_prune.l1_unstructured(net.fc1, "bias", 0.5) and net,
}


@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN)
def test_a_masked_model_is_refused_and_told_what_to_do(hide):
    with pytest.raises(ValueError, match=r"'fc1' has a mask.*pruning\.make_permanent\(model\)"):
        groups(hide(LeNet300()))


class Lora(nn.Module):
    def merge_and_unload(self) -> None: ...


class Adapted(nn.Module):
    """As in peft: what the wrapper lacks is looked up inside."""

    def __init__(self) -> None:
        super().__init__()
        self.base_model = Lora()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_model"), name)


class Hiding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.fc = tiny("bert-base-model"), nn.Linear(24, 2)


def chain_with(norm: Any) -> nn.Module:
    return nn.Sequential(norm(nn.Linear(3, 4)), nn.Linear(4, 2))


NORM = r"'0' is under weight norm.*Take the norm off first"
WRAPPED = {
    "compiled": (lambda: torch.compile(LeNet300()), r"was compiled. Cut model\._orig_mod"),
    "peft": (Adapted, r"adapters of peft.*model\.merge_and_unload\(\)"),
    "hidden": (Hiding, r"'encoder' is a BertModel inside a Hiding.*model\.encoder = remove\("),
    "weight norm": (lambda: chain_with(nn.utils.weight_norm), NORM),
    "weight norm, newer": (lambda: chain_with(nn.utils.parametrizations.weight_norm), NORM),
    "int8": (
        lambda: torch.ao.quantization.quantize_dynamic(LeNet300(), {nn.Linear}),
        r"'fc1' is quantized.*Cut the model in float32",
    ),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("make", "words"), WRAPPED.values(), ids=WRAPPED)
def test_what_hides_its_layers_is_refused_and_told_what_to_do(make, words):
    with pytest.raises(ValueError, match=words):
        groups(make())


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weight_norm_is_taken_off_as_the_refusal_says():
    newer = chain_with(nn.utils.parametrizations.weight_norm)
    parametrize.remove_parametrizations(newer[0], "weight")
    # `make_permanent` takes the newer one off, too, and leaves the older one, which is no mask
    permanent = make_permanent(chain_with(nn.utils.parametrizations.weight_norm))
    older = make_permanent(chain_with(nn.utils.weight_norm))
    with pytest.raises(ValueError, match=NORM):
        groups(older)
    nn.utils.remove_weight_norm(older[0])
    for net in (newer, permanent, older):
        assert groups(net)["0"].units == 4


# --- transformers -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", TINY)
def test_every_family_has_heads_and_feed_forward_units(name):
    model = tiny(name)
    ffn = 96 if name == "gpt2-classifier" else 20  # GPT-2's default: four times as wide
    assert {n: group.units for n, group in groups(model).items()} == {
        f"layer.{i}.{what}": units for i in range(3) for what, units in (("heads", 4), ("ffn", ffn))
    }
    assert {g.kind for g in groups(model).values()} == {"heads", "feed-forward units"}
    path, layers = layers_of(model)
    assert len(layers) == 3
    assert model.get_submodule(path) is layers


def test_the_slices_of_gpt2_are_three_blocks_of_one_matrix():
    group = groups(tiny("gpt2"))["layer.1.heads"]
    assert group.slices == (
        Slice("transformer.h.1.attn.c_attn", "weight", 1, unit_size=6, repeats=3),
        Slice("transformer.h.1.attn.c_attn", "bias", 0, unit_size=6, repeats=3),
        Slice("transformer.h.1.attn.c_proj", "weight", 0, unit_size=6, is_input=True),
    )
