"""Removing equals masking: for every structure of every family, in two precisions."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import transformers as t
from hypothesis import given
from hypothesis import strategies as st
from network_zoo import INEXACT, NETS, chain, count, images, network
from torch import Tensor, nn
from transformer_zoo import TINY, answer, batch_for, tiny
from transformers.pytorch_utils import Conv1D

from course_lib.models.encoders import load_encoder, load_tokenizer
from course_lib.models.networks import LeNet300, SmallCNN
from course_lib.serialization import load, save
from course_lib.structured.dependency import groups
from course_lib.structured.removal import (
    changes,
    masked,
    original_parameters,
    parameter_counter,
    remove,
    remove_layers,
)
from course_lib.structured.selection import choose

CLOSE = {torch.float32: 1e-5, torch.float64: 1e-12}
PRECISIONS = pytest.mark.parametrize("dtype", CLOSE, ids=["float32", "float64"])


def some(units: int, seed: int = 0) -> list[int]:
    """About half of the units, never all and never none."""
    order = torch.randperm(units, generator=torch.Generator().manual_seed(seed))
    return order[: max(1, units // 2)].tolist()


def everywhere(model: nn.Module, seed: int = 0) -> dict[str, list[int]]:
    return {g.name: some(g.units, seed + i) for i, g in enumerate(groups(model).values())}


def run(model: nn.Module, x: Any) -> Tensor:
    if isinstance(x, dict):
        return answer(model, x)
    with torch.inference_mode():
        return model(x)


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def apart(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


def assert_removed_is_masked(model: nn.Module, x: Any, keep: dict[str, list[int]]) -> None:
    full, wide, small = run(model, x), run(masked(model, keep), x), run(remove(model, keep), x)
    assert apart(full, wide) > 1e-3  # else nothing would be proven
    assert apart(wide, small) <= CLOSE[full.dtype]


# --- removing equals masking ------------------------------------------------------------------


@PRECISIONS
@pytest.mark.parametrize("name", NETS)
def test_removed_equals_masked_in_every_network(name, dtype):
    model, x = network(name, dtype), images(dtype=dtype)
    for group, kept in everywhere(model).items():
        assert_removed_is_masked(model, x, {group: kept})
    assert_removed_is_masked(model, x, everywhere(model))


@PRECISIONS
@pytest.mark.parametrize("name", TINY)
def test_removed_equals_masked_in_every_family(name, dtype):
    model = tiny(name, dtype)
    x = batch_for(model, dtype)
    keep = everywhere(model)
    for what in ("heads", "ffn"):
        assert_removed_is_masked(model, x, {f"layer.1.{what}": keep[f"layer.1.{what}"]})
        assert_removed_is_masked(model, x, {g: kept for g, kept in keep.items() if what in g})
    assert_removed_is_masked(model, x, keep)


@pytest.mark.parametrize("name", NETS)
def test_one_unit_is_enough(name):
    model = network(name)
    keep = {group.name: [group.units - 1] for group in groups(model).values()}
    assert apart(run(remove(model, keep), images()), run(masked(model, keep), images())) < 1e-5


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.data())
def test_any_chain_of_any_widths(widths, data):
    """Removed equals masked, and the parameters are those that arithmetic foretells."""
    model = chain(5, *widths, 3)
    keep = {
        g.name: data.draw(st.lists(st.integers(0, g.units - 1), min_size=1, unique=True))
        for g in groups(model).values()
    }
    x = torch.randn(4, 5)
    smaller = remove(model, keep)
    assert apart(run(smaller, x), run(masked(model, keep), x)) < 1e-5
    assert parameter_counter(model)({n: len(k) for n, k in keep.items()}) == count(smaller)


# --- the same, but with a reference made by hand, that shares no code with `masked` -----------


def logits(model: nn.Module, x: dict[str, Tensor]) -> Tensor:
    """The first answer alone: a hook on a layer may come behind the one that records its answer."""
    with torch.inference_mode():
        said = model(**x)[0]
    return said[x["attention_mask"].bool()] if said.ndim == 3 else said  # not at the padding


def gone(units: int, kept: list[int]) -> list[int]:
    return [unit for unit in range(units) if unit not in kept]


def test_channels_behind_a_flatten_by_hand():
    model, x = network("nn.Flatten"), images()
    reference: Any = copy.deepcopy(model)
    for unit in gone(6, [0, 4]):
        reference.fc1.weight.data[:, 4 * unit : 4 * unit + 4] = 0  # 2 × 2 pixels a channel
    for unit in gone(5, [1, 2]):
        reference.conv2.weight.data[:, unit] = 0
    small = remove(model, {"conv2": [0, 4], "conv1": [2, 1]})
    assert apart(run(small, x), run(reference, x)) < 1e-5
    assert apart(run(model, x), run(reference, x)) > 1e-2


def test_a_zero_channel_in_front_of_a_batch_norm_is_not_a_removed_one():
    """The trap: its shift still speaks. Zeros in the convolution itself give another answer."""
    model, x = network("nn.Flatten"), images()
    reference: Any = copy.deepcopy(model)
    for tensor in (reference.conv1.weight, reference.conv1.bias):
        tensor.data[[0, 3]] = 0
    assert apart(run(remove(model, {"conv1": [1, 2, 4]}), x), run(reference, x)) > 1e-2
    for tensor in (reference.bn1.bias, reference.bn1.running_mean):
        tensor.data[[0, 3]] = 0
    assert apart(run(remove(model, {"conv1": [1, 2, 4]}), x), run(reference, x)) < 1e-5


def test_channels_of_a_residual_sum_by_hand():
    """A hook silences the sum itself wherever it appears."""
    model, x = network("basic blocks"), images()
    reference = copy.deepcopy(model)
    silent = torch.ones(8)
    silent[gone(8, [1, 2, 6])] = 0
    for block in (reference[4], reference[5]):  # type: ignore[index]
        block.register_forward_hook(lambda _m, _x, y: y * silent[:, None, None])
    small = remove(model, {"4.conv2": [1, 2, 6]})
    assert apart(run(small, x), run(reference, x)) < 1e-5
    assert apart(run(model, x), run(reference, x)) > 1e-2


OUTPUTS = {  # the projection behind the heads; GPT-2 keeps it transposed
    "bert": "bert.encoder.layer.{}.attention.output.dense",
    "roberta": "roberta.encoder.layer.{}.attention.output.dense",
    "electra": "electra.encoder.layer.{}.attention.output.dense",
    "distilbert": "distilbert.transformer.layer.{}.attention.out_lin",
    "vit": "vit.layers.{}.attention.o_proj",
    "gpt2": "transformer.h.{}.attn.c_proj",
}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", OUTPUTS)
def test_heads_by_hand(name, attention):
    model = tiny(name)
    model.set_attn_implementation(attention)
    reference = copy.deepcopy(model)
    for layer, heads in [(0, [0, 2]), (2, [1])]:
        weight = reference.get_submodule(OUTPUTS[name].format(layer)).weight.data
        for head in heads:
            (weight.T if name == "gpt2" else weight)[:, 6 * head : 6 * head + 6] = 0
    small = remove(model, {"layer.0.heads": [1, 3], "layer.2.heads": [0, 3, 2]})
    x = batch_for(model)
    assert small.config._attn_implementation == attention
    assert apart(run(small, x), run(reference, x)) < 1e-5
    assert apart(run(model, x), run(reference, x)) > 1e-2


def test_the_real_minilm():
    model: Any = load_encoder()
    texts = ["A great film.", "I have never been so bored in my life, and I have seen many films!"]
    x = dict(load_tokenizer()(texts, padding=True, return_tensors="pt"))
    keep = {
        "layer.0.heads": [0, 5, 7],
        **{f"layer.{i}.ffn": some(1536, i) for i in range(6)},
        "layer.5.heads": [11],
    }
    small: Any = remove(model, keep)
    assert apart(answer(small, x), answer(masked(model, keep), x)) < 1e-5
    assert small.bert.encoder.layer[0].attention.self.query.out_features == 3 * 32
    layers: Any = remove_layers(small, [0, 2, 5])
    assert [layer.intermediate.dense.out_features for layer in layers.bert.encoder.layer] == [
        768
    ] * 3
    assert layers.bert.encoder.layer[2].attention.self.num_attention_heads == 1
    assert original_parameters(layers) == count(model) == 22_713_986
    reference = hand_on(small, [1, 3, 4])
    assert apart(logits(layers, x), logits(reference, x)) < 1e-5


# --- whole layers -----------------------------------------------------------------------------

LAYERS = {
    **{name: f"{name}.encoder.layer" for name in ("bert", "roberta", "electra")},
    **{"bert-mlm": "bert.encoder.layer", "bert-base-model": "encoder.layer"},
    **{"distilbert": "distilbert.transformer.layer", "vit": "vit.layers"},
    **{"gpt2": "transformer.h", "gpt2-classifier": "transformer.h"},
}


def hand_on(model: nn.Module, layers: list[int]) -> nn.Module:
    """The model in which these layers hand on what they are given."""

    def give_back(_module: Any, args: Any, kwargs: Any, output: Any) -> Any:
        given = args[0] if args else kwargs["hidden_states"]
        return (given, *output[1:]) if isinstance(output, tuple) else given

    result = copy.deepcopy(model)
    path = LAYERS[model.config.model_type]  # type: ignore[union-attr, index]
    path = path if any(name == path for name, _ in model.named_modules()) else "encoder.layer"
    for i in layers:
        layer = result.get_submodule(f"{path}.{i}")
        layer.register_forward_hook(give_back, with_kwargs=True)
    return result


@PRECISIONS
@pytest.mark.parametrize("name", TINY)
def test_without_layers_the_others_hand_on(name, dtype):
    model: Any = tiny(name, dtype)
    x = batch_for(model, dtype)
    for kept in ([0, 2], [2], [1, 0]):
        small = remove_layers(model, kept)
        reference = logits(hand_on(model, gone(3, kept)), x)
        assert apart(logits(small, x), reference) <= CLOSE[dtype]
        assert apart(logits(model, x), reference) > 1e-3
        assert small.config.num_hidden_layers == len(small.get_submodule(LAYERS[name])) == len(kept)
        sharing = remove_layers(model, kept, share_tensors=True)
        assert {id(p) for p in sharing.parameters()} <= {id(p) for p in model.parameters()}
        assert torch.equal(logits(sharing, x), logits(small, x))
    assert model.config.num_hidden_layers == 3


@pytest.mark.parametrize("name", TINY)
def test_layers_heads_and_units_together(name):
    model: Any = tiny(name)
    x = batch_for(model)
    keep = everywhere(model)
    small = remove_layers(remove(model, keep), [2, 0])  # type: ignore[arg-type]
    assert apart(logits(small, x), logits(hand_on(masked(model, keep), [1]), x)) < 1e-5
    # and the other way round: what was layer 2 is now layer 1
    moved = {g.replace("layer.2", "layer.1"): k for g, k in keep.items() if "layer.1" not in g}
    other = remove(remove_layers(model, [0, 2]), moved)
    assert apart(answer(small, x), answer(other, x)) < 1e-5


def test_gpt2_still_generates_with_its_cache():
    model: Any = tiny("gpt2")
    keep = {"layer.0.heads": [1], "layer.2.heads": [0, 3], "layer.1.ffn": [5]}
    small: Any = remove_layers(remove(model, keep), [1, 2])  # type: ignore[arg-type]
    assert [block.attn.layer_idx for block in small.transformer.h] == [0, 1]
    ids = torch.tensor([[7, 9, 11]])
    settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    said = small.generate(ids, attention_mask=torch.ones_like(ids), use_cache=True, **settings)
    by_hand = ids
    reference = hand_on(masked(model, keep), [0])
    for _ in range(8):  # the whole text anew for each token: no cache
        with torch.inference_mode():
            logits = reference(by_hand, use_cache=False).logits
        by_hand = torch.cat([by_hand, logits[:, -1:].argmax(-1)], 1)
    assert said.tolist() == by_hand.tolist()
    assert len(set(said[0].tolist())) > 3  # it says something


# --- norms across channels: not exact, and measured -------------------------------------------


@pytest.mark.parametrize("name", INEXACT)
def test_what_a_norm_across_channels_reads_goes_with_a_measured_difference(name, tmp_path):
    model, x = network(name), images()
    found, exact = groups(model, exact=False), {} if name == "GroupNorm" else groups(model)
    assert {n: g.units for n, g in found.items() if g.inexact} == INEXACT[name][1]
    assert exact == {n: g for n, g in found.items() if not g.inexact}
    keep = choose(model, 0.5, layers=list(found), per_group=True)
    inexact = next(iter(INEXACT[name][1]))
    words = rf"^'{inexact}' cannot be .*: '\w+' normalizes across .*; remove\(…, exact=False\)"
    with pytest.raises(ValueError, match=words):
        remove(model, keep)
    small: Any = remove(model, keep, exact=False, example=x)
    wide = run(masked(model, keep), x)
    gap = (run(small, x) - wide).abs().max() / wide.abs().max()
    assert small.difference == pytest.approx(gap.item())
    assert small.difference > 0.01
    assert f"by {small.difference:.1%} of the largest" in changes(model, small).lines[-1]
    assert count(small) == parameter_counter(model)({n: len(kept) for n, kept in keep.items()})
    for module in small.modules():
        if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
            assert module.normalized_shape == tuple(module.weight.shape)
        elif isinstance(module, nn.GroupNorm):
            assert (module.num_channels,) == module.weight.shape
    again = load(save(small, tmp_path / "small"), like=model)
    assert apart(run(again, x), run(small, x)) == 0
    twice: Any = remove(again, {inexact: [0]}, exact=False, example=x)
    assert groups(twice, exact=False)[inexact].units == 1
    third = load(save(twice, tmp_path / "twice"), like=model)
    assert apart(run(third, x), run(twice, x)) == 0


def test_what_goes_exactly_makes_no_difference():
    model, x = network("LayerNorm"), images()
    small: Any = remove(model, {"6": [0, 3]}, exact=False, example=x)
    assert small.difference < 1e-6
    inexact = remove(model, {"1": [0, 3]}, exact=False, example=x)
    assert not hasattr(remove(inexact, {"6": [0]}), "difference")
    small = remove(tiny("bert"), {"layer.1.heads": [0]}, exact=False)
    assert small.difference < 1e-5
    with pytest.raises(ValueError, match=r"exact=False measures a difference.* example=inputs"):
        remove(model, {"1": [0]}, exact=False)
    with pytest.raises(ValueError, match="Sequential cannot be run on the example: RuntimeError"):
        remove(model, {"1": [0]}, exact=False, example=x[:, :2])


def test_a_folder_from_before_inexact_groups_is_read(tmp_path):
    model: Any = network("LayerNorm")
    folder = save(model, tmp_path / "old")
    note = json.loads((folder / "compressed.json").read_text())
    note["widths"] = {"6": 8}
    (folder / "compressed.json").write_text(json.dumps(note))
    assert apart(run(load(folder, like=model), images()), run(model, images())) == 0


# --- modules have their true sizes -------------------------------------------------------------


@pytest.mark.parametrize("name", [*NETS, *TINY])
def test_modules_have_their_true_sizes(name):
    model = network(name) if name in NETS else tiny(name)
    for module in remove(model, everywhere(model)).modules():
        if isinstance(module, nn.Linear):
            assert (module.out_features, module.in_features) == module.weight.shape
        elif isinstance(module, Conv1D):
            assert (module.nx, module.nf) == module.weight.shape
        elif isinstance(module, (nn.Conv1d, nn.Conv2d)):
            outputs, inputs = module.weight.shape[:2]
            assert (module.out_channels, module.in_channels) == (outputs, inputs * module.groups)
            assert outputs % module.groups == 0
        elif isinstance(module, nn.ConvTranspose2d):
            assert (module.in_channels, module.out_channels) == module.weight.shape[:2]
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert module.num_features == len(module.running_mean)  # type: ignore[arg-type]


def test_an_affine_free_batch_norm_has_its_true_size():
    net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5, affine=False), nn.Linear(5, 2))
    assert remove(net, {"0": [1, 2]})[1].num_features == 2  # type: ignore[index]


COUNTS = {  # what a layer's attention notes: heads, and heads times the size of one
    **dict.fromkeys(
        ("bert", "roberta", "electra"), ("attention.self", "num_attention_heads", "all_head_size")
    ),
    "distilbert": ("attention", "n_heads", None),
    "vit": ("attention", "num_attention_heads", None),
    "gpt2": ("attn", "num_heads", "split_size"),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_heads_of_each_family_are_counted(name):
    small: Any = remove(tiny(name), {"layer.1.heads": [0, 2, 3]})
    place, heads, width = COUNTS[name]
    attention = small.get_submodule(f"{LAYERS[name]}.1.{place}")
    assert getattr(attention, heads) == 3
    assert width is None or getattr(attention, width) == 18


@pytest.mark.parametrize("name", TINY)
def test_the_config_knows_the_widest_feed_forward_layer(name):
    field = {"distilbert": "hidden_dim", "gpt2": "n_inner", "gpt2-classifier": "n_inner"}
    model = tiny(name)
    small: Any = remove(model, {f"layer.{i}.ffn": range(7) for i in range(3)})
    assert getattr(small.config, field.get(name, "intermediate_size")) == 7
    uneven: Any = remove(small, {"layer.1.ffn": range(3)})
    assert getattr(uneven.config, field.get(name, "intermediate_size")) == 7
    assert getattr(model.config, field.get(name, "intermediate_size")) != 7


def test_vit_notes_the_size_of_its_heads():
    small: Any = remove(tiny("vit"), {f"layer.{i}.heads": [0, 3] for i in range(3)})
    assert (small.config.num_attention_heads, small.config.head_dim) == (2, 6)


# --- a smaller model is a model like any other ------------------------------------------------


def models() -> dict[str, tuple[nn.Module, Any]]:
    nets = {name: (network(name), images()) for name in ("basic blocks", "depthwise")}
    families = {name: (tiny(name), batch_for(tiny(name))) for name in TINY}
    return nets | families


EVERY = pytest.mark.parametrize(("model", "x"), models().values(), ids=models())


@EVERY
def test_the_model_is_left_alone(model, x):
    before, shown = state_of(model), (repr(model), str(getattr(model, "config", "")))
    remove(model, everywhere(model))
    masked(model, everywhere(model))
    if isinstance(model, t.PreTrainedModel):
        remove_layers(model, [1])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert shown == (repr(model), str(getattr(model, "config", "")))
    assert not hasattr(model, "original_parameters")


@EVERY
def test_a_smaller_model_is_copied_and_trained(model, x):
    small = remove(model, everywhere(model)).train()
    twin = copy.deepcopy(small)
    assert apart(run(twin.eval(), x), run(small.eval(), x)) == 0
    before, original = state_of(small), state_of(model)
    optimizer = torch.optim.Adam(small.parameters(), lr=0.1)
    output = small(**x) if isinstance(x, dict) else small(x)
    (output if isinstance(output, Tensor) else output[0]).square().mean().backward()
    cut = {p.module + "." + p.tensor for g in groups(small).values() for p in g.slices}
    parameters = dict(small.named_parameters())
    assert all(parameters[name].grad.abs().sum() > 0 for name in cut & parameters.keys())
    optimizer.step()
    assert all(not torch.equal(parameters[name], before[name]) for name in cut & parameters.keys())
    # neither the copy nor the original has learned anything
    assert all(torch.equal(v, before[k]) for k, v in twin.state_dict().items())
    assert all(torch.equal(v, original[k]) for k, v in model.state_dict().items())


def test_modes_types_and_frozen_parameters_are_kept():
    model: Any = network("nn.Flatten", torch.bfloat16).train()
    model.conv2.weight.requires_grad_(False)
    small: Any = remove(model, {"conv1": [1], "conv2": [0, 2]})
    assert small.training
    assert not small.conv2.weight.requires_grad
    assert small.conv1.weight.requires_grad
    assert {p.dtype for p in small.parameters()} == {torch.bfloat16}
    assert isinstance(small.conv1.weight, nn.Parameter)
    assert "running_mean" in dict(small.bn1.named_buffers())
    assert small.state_dict().keys() == model.state_dict().keys()


def test_shared_tensors_are_those_of_the_model_where_nothing_is_cut():
    model: Any = network("nn.Flatten")
    shared: Any = remove(model, {"fc1": [0, 2]}, share_tensors=True)
    assert shared.conv1.weight is model.conv1.weight
    assert shared.fc1.weight.shape == (2, 24)
    own: Any = remove(model, {"fc1": [0, 2]})
    assert own.conv1.weight.data_ptr() != model.conv1.weight.data_ptr()
    assert apart(run(shared, images()), run(own, images())) == 0


@EVERY
def test_a_second_round_counts_from_what_is_left(model, x):
    first = {name: sorted(kept) for name, kept in everywhere(model).items()}
    once = remove(model, first)
    second = everywhere(once, seed=5)
    twice = remove(once, second)
    # the same in one step: the units of the second round, by their numbers in the model
    keep = {name: [first[name][i] for i in second[name]] for name in first}
    assert apart(run(twice, x), run(masked(model, keep), x)) < 1e-5
    assert twice.state_dict().keys() == model.state_dict().keys()
    direct = remove(model, keep).state_dict()
    assert all(torch.equal(v, direct[k]) for k, v in twice.state_dict().items())
    assert original_parameters(twice) == original_parameters(once) == count(model) > count(once)


@pytest.mark.parametrize("kind", ["network", "transformer"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_smaller_model_is_exported_to_onnx(kind, tmp_path):
    if kind == "network":
        model, x = network("basic blocks"), {"x": images()}
        small = remove(model, everywhere(model))
        names, arguments = ["input"], (x["x"],)
    else:
        model, x = tiny("bert"), batch_for(tiny("bert"))
        small = remove_layers(remove(model, everywhere(model)), [0, 2])  # type: ignore[arg-type]
        names, arguments = list(x), tuple(x.values())
    path = tmp_path / "small.onnx"
    torch.onnx.export(small, arguments, path, input_names=names, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {i.name: v.numpy() for i, v in zip(session.get_inputs(), arguments, strict=True)}
    said = torch.tensor(session.run(None, feed)[0])
    with torch.inference_mode():
        output = small(*arguments)
    assert apart(said, output if isinstance(output, Tensor) else output.logits) < 1e-5


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "error", "words"),
    [
        ({"fc9": [0]}, ValueError, "There is no group 'fc9'; there are fc1, fc2"),
        (
            {"fc3": [0]},
            ValueError,
            "'fc3' cannot be made smaller: the model's answer is made of it",
        ),
        ({"fc1": []}, ValueError, r"fc1: got 0 units.*\[\]; give at least one of 0 to 299, none"),
        (
            {"fc1": [0, 0]},
            ValueError,
            r"fc1: got 2 units to keep, such as \[0, 0\].*none of them twice",
        ),
        ({"fc1": [-1]}, ValueError, r"\[-1\]; give at least one of 0 to 299"),
        ({"fc1": [300]}, ValueError, r"\[300\]; give at least one of 0 to 299"),
        ({"fc1": [0.5]}, TypeError, r"fc1: got \[0.5\]; give the units that stay as whole numbers"),
        ({"fc1": [True]}, TypeError, "whole numbers"),
        ({"fc1": torch.ones(299, dtype=torch.bool)}, TypeError, "a mask of 300 true and false"),
        ({"fc1": torch.zeros(300, dtype=torch.bool)}, ValueError, "fc1: got 0 units to keep"),
        ({"fc1": torch.tensor([1.0])}, TypeError, "whole numbers"),
        ({"fc1": [1, 2], "fc2": [100]}, ValueError, "fc2: got 1 units"),
    ],
)
@pytest.mark.parametrize("function", [remove, masked])
def test_what_does_not_exist_cannot_be_kept(keep, error, words, function):
    with pytest.raises(error, match=words):
        function(LeNet300(), keep)


def test_indices_may_be_a_tensor_in_any_order():
    model = LeNet300()
    expected = remove(model, {"fc1": [2, 7]}).state_dict()
    mask = torch.zeros(300, dtype=torch.bool).index_fill(0, torch.tensor([2, 7]), True)
    numbers = torch.tensor([7, 2]), np.array([7, 2]), [np.int64(7), torch.tensor(2)]
    for keep in (*numbers, mask, mask.numpy(), mask.tolist()):
        found = remove(model, {"fc1": keep}).state_dict()
        assert all(torch.equal(v, found[k]) for k, v in expected.items())


def test_errors_of_layers():
    with pytest.raises(TypeError, match="Got a LeNet300; only transformers models have layers"):
        remove_layers(LeNet300(), [0])  # type: ignore[arg-type]
    model = tiny("bert")
    for kept in ([], [0, 0], [3], [-1]):
        with pytest.raises(
            ValueError, match=r"layers: got .* give at least one of 0 to 2, none of"
        ):
            remove_layers(model, kept)
    with pytest.raises(TypeError, match=r"layers: got .* whole numbers"):
        remove_layers(model, [1.0])  # type: ignore[list-item]
    config = t.GPT2Config(
        vocab_size=9, n_embd=8, n_layer=2, n_head=2, scale_attn_by_inverse_layer_idx=True
    )
    with pytest.raises(ValueError, match="cannot change its place"):
        remove_layers(t.GPT2Model(config), [0])


# --- what is reported -------------------------------------------------------------------------


def test_changes_name_every_group_that_became_smaller():
    model = SmallCNN()
    small = remove(model, {"conv1": range(8), "fc1": range(32)})
    report = changes(model, small)
    assert repr(report) == (
        "conv1: Conv2d(1 → 32)  ⇒  Conv2d(1 → 8)\n"
        "fc1: Linear(3136 → 128)  ⇒  Linear(3136 → 32)\n"
        f"421,834 ⇒ {count(small):,} parameters: {1 - count(small) / 421_834:.1%} removed"
    )
    assert report._repr_html_().startswith("<pre>conv1: Conv2d(1 → 32)")
    assert changes(model, model).lines == ()


def test_changes_of_a_transformer():
    model: Any = tiny("gpt2")
    small = remove_layers(remove(model, {"layer.0.heads": [1], "layer.0.ffn": [1, 2]}), [0, 1])  # type: ignore[arg-type]
    assert changes(model, small).lines == (
        "layers: 3  ⇒  2",
        "layer.0.heads: Conv1D(24 → 72)  ⇒  Conv1D(24 → 18)",
        "layer.0.ffn: Conv1D(24 → 20)  ⇒  Conv1D(24 → 2)",
    )


@pytest.mark.parametrize("name", [*NETS, *TINY])
def test_arithmetic_foretells_the_parameters(name):
    model = network(name) if name in NETS else tiny(name)
    parameters = parameter_counter(model)
    assert parameters({}) == count(model)
    for seed in range(3):
        keep = everywhere(model, seed)
        assert parameters({n: len(k) for n, k in keep.items()}) == count(remove(model, keep))
