"""Channels are followed through a network; what couples them is found, what hides them refused."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from network_zoo import NETS, images, network, widths
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from course_lib.models.networks import LeNet300, SmallCNN
from course_lib.structured.dependency import groups, groups_of
from course_lib.structured.removal import masked, remove
from course_lib.structured.units import Slice


def owners(model: nn.Module, name: str) -> set[str]:
    """What a group's units own: "module" where it is computed, "→ module" where it is read."""
    slices = groups(model)[name].slices
    return {("→ " if piece.is_input else "") + piece.module for piece in slices}


def assert_the_rest_is_exact(model: nn.Module, x: Tensor) -> None:
    """Whatever is still offered can be removed, and equals the masked model."""
    for name, group in groups(model).items():
        keep = {name: range(0, group.units, 2)}
        with torch.inference_mode():
            torch.testing.assert_close(
                remove(model, keep)(x), masked(model, keep)(x), atol=1e-5, rtol=0
            )


# --- chains, convolutions, residual connections -----------------------------------------------


def test_neurons_of_a_chain_and_not_those_of_the_answer():
    found = groups(LeNet300())
    assert [(g.name, g.kind, g.units) for g in found.values()] == [
        ("fc1", "neurons", 300),
        ("fc2", "neurons", 100),
    ]
    assert found["fc1"].slices == (
        Slice("fc1", "weight"),
        Slice("fc1", "bias"),
        Slice("fc2", "weight", 1, is_input=True),
    )


def test_channels_own_their_batch_norm_and_their_pixels_behind_a_flatten():
    found = groups(SmallCNN())
    assert widths(SmallCNN()) == {"conv1": 32, "conv2": 64, "fc1": 128}
    norm = ("weight", "bias", "running_mean", "running_var")
    assert found["conv2"].slices == (
        Slice("conv2", "weight"),
        Slice("conv2", "bias"),
        *(Slice("bn2", tensor) for tensor in norm),
        Slice("fc1", "weight", 1, unit_size=49, is_input=True),
    )


@pytest.mark.parametrize("name", ["torch.flatten", "x.flatten", "view", "reshape"])
def test_every_spelling_of_flatten_is_the_same(name):
    assert groups(network(name)) == groups(network("nn.Flatten"))


def test_a_residual_sum_couples_what_it_adds():
    model = network("basic blocks")
    assert widths(model) == {"0": 6, "3.conv1": 6, "4.conv1": 8, "4.conv2": 8, "5.conv1": 8}
    # the identity shortcut: stem and first block are one group, read by the next block twice
    assert owners(model, "0") == {
        *("0", "1", "3.conv2", "3.bn2"),
        *("→ 3.conv1", "→ 4.conv1", "→ 4.downsample.0"),
    }
    # the shortcut with a convolution is in the group of the sum
    assert owners(model, "4.conv2") == {
        *("4.conv2", "4.bn2", "4.downsample.0", "4.downsample.1", "5.conv2", "5.bn2"),
        *("→ 5.conv1", "→ 8"),
    }


def test_a_bottleneck_has_two_inner_groups():
    assert widths(network("bottlenecks")) == {
        "0": 8,
        **{"3.body.0": 4, "3.body.3": 4},
        **{"4.body.0": 3, "4.body.3": 3},
    }


def test_a_depthwise_convolution_goes_with_the_channels_that_it_filters():
    model = network("depthwise")
    assert widths(model) == {"0": 6, "6": 9}
    assert owners(model, "0") == {"0", "1", "3", "4", "→ 6"}


def test_a_product_couples_too():
    model = network("squeeze and excite")
    assert widths(model) == {"conv": 6, "squeeze": 3}
    assert owners(model, "conv") == {"conv", "excite", "→ squeeze", "→ fc"}


def test_a_layer_that_is_called_twice_is_one_group():
    assert owners(network("called twice"), "first") == {"first", "again", "→ again", "→ last"}


def test_a_module_may_be_named_like_a_method():
    layers = {"fc1": nn.Linear(8, 5), "size": nn.ReLU(), "fc2": nn.Linear(5, 2)}
    assert widths(nn.Sequential(OrderedDict(layers))) == {"fc1": 5}


def test_unpacking_a_shape_and_asking_for_pixels_are_harmless():
    class Old(nn.Module):
        """As in many an older ResNet."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            n, _, _, _ = x.shape
            x = F.avg_pool2d(x, x.size()[2:])
            return self.fc(x.view(n, -1))

    assert widths(Old()) == {"conv": 6}
    assert_the_rest_is_exact(Old(), images())


@pytest.mark.parametrize("name", NETS)
def test_every_layer_of_the_zoo_is_cut_somewhere(name):
    """Else a net would become smaller by less than it could."""
    model = network(name)
    layers = {
        n for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d))
    }
    assert layers <= {piece.module for group in groups(model).values() for piece in group.slices}


# --- refusals: by name, with the reason, and the rest still works -----------------------------


class Middle(nn.Module):
    """A convolution, then what a test puts there, then the rest of a network."""

    def __init__(self, middle: Any, width: int = 6, pixels: int = 36) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.middle = middle
        self.fc1, self.fc2 = nn.Linear(width * pixels, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.conv(x))
        return self.fc2(self.fc1(x.flatten(1)).relu())


REFUSED = {
    "permute": (lambda: Middle(lambda x: x.permute(0, 2, 3, 1)), "conv", "'permute' .permute."),
    "LayerNorm": (
        lambda: Middle(nn.LayerNorm([6, 6, 6])),
        "conv",
        "'middle' normalizes across channels, so without one the others change",
    ),
    "GroupNorm": (
        lambda: Middle(nn.GroupNorm(2, 6)),
        "conv",
        r"change; remove\(…, exact=False\) does it",
    ),
    "GroupNorm without weights": (
        lambda: Middle(nn.GroupNorm(2, 6, affine=False)),
        "conv",
        "normalizes across channels, so without one the others change",
    ),
    "LayerNorm over pixels": (
        lambda: Middle(nn.LayerNorm(6)),
        "conv",
        "the way its channels reach 'middle' is not known",
    ),
    "a split at fixed places": (
        lambda: Middle(lambda x: x.split(3, 1)[0], 3),
        "conv",
        "'split' cuts it at fixed places; write x.chunk",
    ),
    "uneven chunks": (lambda: Middle(lambda x: x.chunk(4, 1)[0], 2), "conv", "different sizes"),
    "beside the image": (
        lambda: Middle(lambda x: torch.cat([x, x.new_ones(5, 1, 6, 6)], 1), 7),
        "conv",
        "new_ones",
    ),
    "half of the channels": (lambda: Middle(lambda x: x[:, :3], 3), "conv", "it reaches 'getitem'"),
    "softmax": (lambda: Middle(nn.Softmax(1)), "conv", "it reaches 'middle'"),
    "x.mT": (lambda: Middle(lambda x: x.mT), "conv", "'getattr_1' uses how many channels"),
    "number of channels": (
        lambda: Middle(lambda x: x.relu() * x.size(1)),
        "conv",
        "'size' uses how many channels there are",
    ),
    "shape of the channels": (
        lambda: Middle(lambda x: x.relu() / x.shape[1]),
        "conv",
        "'getattr_1' uses how many",
    ),
    "sum with the image": (
        lambda: Middle(lambda x: x + 1 * x.new_ones(6, 1, 1)),
        "conv",
        "new_ones",
    ),
    "a constant of each channel": (
        lambda: Middle(lambda x: x + torch.arange(6.0)[:, None, None]),
        "conv",
        "'add' adds it to channels that stay",
    ),
    "transposed and grouped": (
        lambda: Middle(nn.ConvTranspose2d(6, 6, 1, groups=3)),
        "middle",
        "it is a grouped convolution",
    ),
    "Linear over pixels": (
        lambda: Middle(nn.Linear(6, 6)),
        "conv",
        "the way its channels reach 'middle' is not known",
    ),
    "another flatten": (
        lambda: Middle(lambda x: torch.flatten(x, 1, end_dim=2)),
        "conv",
        "it reaches 'flatten'",
    ),
    "a view that mixes examples and channels": (
        lambda: Middle(lambda x: x.view(x.size(0) * 6, -1).view(x.size(0), 6, 36)),
        "conv",
        "it reaches 'view'",
    ),
    "a batch norm without numbers": (
        lambda: Middle(nn.BatchNorm2d(6, affine=False, track_running_stats=False)),
        "conv",
        "'middle' has no numbers that could be cut",
    ),
}


@pytest.mark.parametrize(("make", "name", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_group_that_cannot_be_followed_is_refused_and_others_stay_exact(make, name, reason):
    torch.manual_seed(0)
    model = make().eval()
    with pytest.raises(ValueError, match=f"^'{name}' cannot be made smaller: .*{reason}"):
        groups_of(model, [name])
    assert list(groups(model)) == ["fc1"]
    assert_the_rest_is_exact(model, images())


def test_groups_side_by_side_are_read_at_their_places():
    found = groups(network("side by side"))
    offsets = {n: [s.offset for s in g.slices if s.module == "fc"] for n, g in found.items()}
    assert offsets == {"conv1": [0], "conv2": [24], "conv3": [40]}  # 4 pixels a channel
    assert [s.offset for s in found["conv2"].slices if s.module == "bn"] == [6] * 4
    assert found["conv1"].units == 6


def test_a_norm_whose_groups_hold_channels_of_several_layers_stays():
    model: Any = network("dense")
    assert "conv1" in groups(model, exact=False)
    model.norm2 = nn.GroupNorm(2, 12)
    with pytest.raises(ValueError, match=r"'conv1' cannot.*'norm2' normalizes.* others change\.$"):
        groups_of(model, ["conv1"], exact=False)


def test_halves_and_grouped_convolutions_lose_the_same_units_of_each_part():
    found = groups(network("halves"))
    assert (found["conv1"].units, found["inner"].units) == (4, 6)  # of 8 channels, in two halves
    assert Slice("conv1", "weight", 0, 1, 2) in found["conv1"].slices
    assert [s.offset for s in found["conv1"].slices if s.module == "conv2"] == [0, 4, 8]
    found = groups(network("grouped"))
    assert {name: group.units for name, group in found.items()} == {"0": 2, "3": 4, "6": 5}
    more = Middle(
        nn.Conv2d(6, 12, 1, groups=6), 12
    )  # two outputs of each input: one of them can go
    assert widths(more) == {"conv": 1, "middle": 2, "fc1": 8}
    assert_the_rest_is_exact(more.eval(), images())
    small = remove(network("grouped"), {"0": [1], "3": [0, 2, 3]})
    assert (small[3].in_channels, small[3].out_channels, small[3].groups) == (3, 9, 3)


def test_pytorchs_own_transformer_loses_neurons_but_no_heads():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(6, 2, 9, batch_first=True)
            self.inputs, self.encoder = nn.Linear(8, 6), nn.TransformerEncoder(layer, 2)
            self.outputs = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.outputs(self.encoder(self.inputs(x[:, 0])).mean(1))

    model = Net().eval()
    assert widths(model) == {f"encoder.layers.{i}.linear1": 9 for i in (0, 1)}
    assert_the_rest_is_exact(model, images())
    with pytest.raises(
        ValueError, match=r"0\.self_attn' cannot.*whole width; the same weights in a BERT"
    ):
        groups_of(model, ["encoder.layers.0.self_attn"])


def test_the_cure_for_pytorchs_heads_is_a_bert_with_the_same_weights():
    torch.manual_seed(0)
    sizes: Any = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 24}
    bert = BertModel(BertConfig(**sizes, vocab_size=9, num_hidden_layers=2, layer_norm_eps=1e-5))
    layer = nn.TransformerEncoderLayer(32, 4, 24, activation="gelu", batch_first=True)
    encoder: Any = nn.TransformerEncoder(layer, 2).eval()
    for mine, theirs in zip(bert.eval().encoder.layer, encoder.layers, strict=True):
        attention, x = mine.attention, torch.randn(2, 5, 32)
        inputs = (getattr(attention.self, name) for name in ("query", "key", "value"))
        projections = theirs.self_attn.in_proj_weight, theirs.self_attn.in_proj_bias
        for linear, weight, bias in zip(inputs, *(t.chunk(3) for t in projections), strict=True):
            linear.load_state_dict({"weight": weight, "bias": bias})
        for linear, other in [
            (attention.output.dense, theirs.self_attn.out_proj),
            (attention.output.LayerNorm, theirs.norm1),
            (mine.intermediate.dense, theirs.linear1),
            (mine.output.dense, theirs.linear2),
            (mine.output.LayerNorm, theirs.norm2),
        ]:
            linear.load_state_dict(other.state_dict())
    small = remove(bert, {"layer.0.heads": [1, 3]})
    with torch.inference_mode():
        torch.testing.assert_close(bert.encoder(x)[0], encoder(x))
        for head in (0, 2):
            encoder.layers[0].self_attn.out_proj.weight[:, 8 * head : 8 * head + 8] = 0
        torch.testing.assert_close(small.get_submodule("encoder")(x)[0], encoder(x))


def test_recurrent_layers_stay():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.rnn = nn.Linear(8, 6), nn.LSTM(6, 5, batch_first=True)
            self.fc2, self.fc3 = nn.Linear(5, 7), nn.Linear(7, 4)

        def forward(self, x: Tensor) -> Tensor:
            x, _ = self.rnn(self.fc1(x[:, 0]))
            return self.fc3(self.fc2(x[:, -1]).relu())

    for name, words in [("rnn", "its units read each other"), ("fc1", "recurrent 'rnn' reads it")]:
        with pytest.raises(ValueError, match=f"^'{name}' cannot be made smaller.*{words}"):
            groups_of(Net(), [name])
    assert widths(Net()) == {"fc2": 7}


def test_sums_of_different_shapes_are_refused():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(192, 6), nn.Linear(192, 1), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(self.a(x.flatten(1)) + self.b(x.flatten(1)))

    for name in "ab":
        with pytest.raises(ValueError, match=f"'{name}' cannot.*joins values of different shapes"):
            groups_of(Net(), [name])
    with pytest.raises(ValueError, match=r"Net has nothing that can be removed. a: 'add' joins"):
        groups(Net())


def test_a_module_that_is_called_with_different_kinds_of_channels_is_refused():
    class Net(nn.Module):
        """The norm sees the image first, which stays, and then channels."""

        def __init__(self, shared: nn.Module) -> None:
            super().__init__()
            self.shared = shared
            self.conv, self.fc1, self.fc2 = nn.Conv2d(3, 3, 1), nn.Linear(192, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.shared(self.conv(self.shared(x)))
            return self.fc2(self.fc1(x.flatten(1)).relu())

    for shared, others in [
        (nn.BatchNorm2d(3), []),
        (nn.Conv2d(3, 3, 1, groups=3), []),
        (nn.Conv2d(3, 3, 1), ["shared"]),  # what it answers can go, what it reads cannot
    ]:
        model = Net(shared).eval()
        with pytest.raises(ValueError, match="'shared' is called with different kinds of channels"):
            groups_of(model, ["conv"])
        assert list(groups(model)) == [*others, "fc1"]
        assert_the_rest_is_exact(model, images())


class Tied(nn.Module):
    """A table of words that is also the last layer; between them something to remove."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 6)
        self.fc1, self.fc2 = nn.Linear(6, 5), nn.Linear(5, 6)
        self.last = nn.Linear(6, 9, bias=False)
        self.last.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.fc2(self.fc1(self.words(x)).relu()))


def test_shared_weights_stay_and_what_lies_between_them_does_not():
    with pytest.raises(ValueError, match="'last' shares its weight with 'words'"):
        groups_of(Tied(), ["fc2"])
    assert list(groups(Tied())) == ["fc1"]
    assert_the_rest_is_exact(Tied(), torch.arange(9)[None])


def test_two_layers_with_one_weight_are_refused():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(192, 6), nn.Linear(6, 6), nn.Linear(6, 6)
            self.d, self.e = nn.Linear(6, 5), nn.Linear(5, 4)
            self.c.weight = self.b.weight

        def forward(self, x: Tensor) -> Tensor:
            x = self.c(self.b(self.a(x.flatten(1)).relu()).relu()).relu()
            return self.e(self.d(x).relu())

    for name, layer, other in [("a", "b", "c"), ("b", "[bc]", "[bc]"), ("c", "c", "b")]:
        with pytest.raises(ValueError, match=f"'{name}' cannot.*'{layer}' shares.*'{other}'"):
            groups_of(Net(), [name])
    assert list(groups(Net())) == ["d"]
    assert_the_rest_is_exact(Net(), images())


def test_a_weight_that_the_forward_uses_by_itself_stays():
    class AutoEncoder(nn.Module):
        """Its decoder is the transposed encoder."""

        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2, self.code = nn.Linear(192, 8), nn.Linear(8, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.code(self.fc2(self.fc1(x.flatten(1)).relu()))
            return F.linear(x, self.code.weight.t())

    with pytest.raises(ValueError, match="'code' shares its weight with the forward"):
        groups_of(AutoEncoder(), ["fc2"])
    assert list(groups(AutoEncoder())) == ["fc1"]
    assert_the_rest_is_exact(AutoEncoder(), images())


def test_a_forward_that_cannot_be_traced_is_refused_by_the_name_of_its_module():
    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    message = "'1.inner', a Gate, could not be traced by torch.fx: .*, at `return x if x.sum.* must"
    inner = nn.Sequential()
    inner.add_module("inner", Gate())
    with pytest.raises(ValueError, match=message):
        groups(nn.Sequential(nn.Linear(3, 4), inner, nn.Linear(4, 2)))
    with pytest.raises(ValueError, match=r"^Gate could not be traced"):
        groups(Gate())


def test_a_module_behind_one_that_was_traced_is_not_blamed():
    class Net(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            x = super().forward(x)
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match=r"^Net could not be traced"):
        groups(Net(nn.Linear(3, 4)))
