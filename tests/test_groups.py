"""Every family has its groups, and what cannot be placed is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as t
from torch import nn
from torch.nn.utils import prune as torch_prune
from transformer_zoo import SIZES, TINY, tiny

from course_lib.groups import FAMILIES, family_of, group_of, groups, layers_of
from course_lib.models import LeNet300
from course_lib.pruning import prune as mask_weights
from course_lib.surgery import remove
from course_lib.units import Slice


def test_nothing_to_remove_and_an_unknown_group():
    with pytest.raises(
        ValueError, match=r"Sequential has nothing.* 0: the model's answer is made of"
    ):
        groups(nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(ValueError, match=r"ReLU has nothing that can be removed. It has no layers"):
        groups(nn.ReLU())
    with pytest.raises(ValueError, match="There is no group 'fc9'; there are fc1, fc2"):
        group_of(LeNet300(), "fc9")
    with pytest.raises(
        ValueError, match="'fc3' cannot be made smaller: the model's answer is made"
    ):
        group_of(LeNet300(), "fc3")


HIDDEN = {
    "ours": lambda net: mask_weights(net, 0.5),
    "torch.prune": lambda net: torch_prune.l1_unstructured(net.fc1, "weight", 0.5) and net,
    "torch.prune of a bias": lambda net: torch_prune.l1_unstructured(net.fc1, "bias", 0.5) and net,
    "weight norm": lambda net: nn.utils.weight_norm(net.fc1) and net,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN)
def test_a_masked_model_is_refused_and_told_what_to_do(hide):
    with pytest.raises(ValueError, match=r"'fc1' has a mask.*masking\.make_permanent\(model\)"):
        groups(hide(LeNet300()))


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


def test_every_family_of_the_table_is_tested():
    assert {tiny(name).config.model_type for name in TINY} == set(FAMILIES)


def test_the_slices_of_gpt2_are_three_blocks_of_one_matrix():
    group = groups(tiny("gpt2"))["layer.1.heads"]
    assert group.slices == (
        Slice("transformer.h.1.attn.c_attn", "weight", 1, spread=6, blocks=3),
        Slice("transformer.h.1.attn.c_attn", "bias", 0, spread=6, blocks=3),
        Slice("transformer.h.1.attn.c_proj", "weight", 0, spread=6, reads=True),
    )


def test_a_plain_module_is_of_no_family():
    assert family_of(LeNet300()) is None


SMALL = {"num_hidden_layers": 1, "hidden_size": 24, "num_attention_heads": 2, "vocab_size": 9}
STRANGERS = {
    "albert": (
        lambda: t.AlbertModel(t.AlbertConfig(**SMALL, embedding_size=8, intermediate_size=8)),
        "AlbertModel.*'albert'.*'encoder.albert_layer_groups'.*Known are bert, roberta",
    ),
    "mpnet": (
        lambda: t.MPNetModel(t.MPNetConfig(**SMALL, intermediate_size=8)),
        "MPNetModel.*'mpnet'.*'encoder.layer' could not be placed",
    ),
    "t5": (
        lambda: t.T5Model(t.T5Config(vocab_size=9, d_model=8, num_layers=1, d_ff=8, num_heads=2)),
        "T5Model.*'t5'.*'encoder.block' could not be placed.*FAMILIES",
    ),
    "cross-attention": (
        lambda: t.BertModel(t.BertConfig(**SIZES, add_cross_attention=True, is_decoder=True)),
        "'encoder.layer.0.crossattention.self.query' could not be placed: 'bert'.*knows att",
    ),
    "cross-attention of gpt2": (
        lambda: t.GPT2Model(
            t.GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2, add_cross_attention=True)
        ),
        "'h.0.crossattention.c_attn' could not be placed",
    ),
    "a layer of one's own": (
        lambda: with_adapter(tiny("bert")),
        "'bert.encoder.layer.1.adapter' could not be placed",
    ),
}


def with_adapter(model: Any) -> Any:
    model.bert.encoder.layer[1].adapter = nn.Linear(24, 24)
    return model


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("make", "words"), STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_is_refused_by_the_name_of_what_could_not_be_placed(make, words):
    model = make()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for ask in (groups, lambda m: group_of(m, "layer.0.heads"), lambda m: remove(m, {"x": [0]})):
        with pytest.raises(ValueError, match=words):
            ask(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_masked_transformer_is_refused():
    model = tiny("bert")
    torch_prune.random_unstructured(model.bert.encoder.layer[0].output.dense, "weight", 0.5)
    with pytest.raises(ValueError, match=r"'bert\.encoder\.layer\.0\.output\.dense' has a mask"):
        groups(model)
