"""How a model holds its masks: through training, files, copies, and beside PyTorch's own."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune
from transformer_zoo import batch_for, tiny

from course_lib.pruning.masks import (
    apply_masks,
    apply_masks_,
    make_permanent,
    masks_of,
    original_of,
    prunable,
    sparsity,
)
from course_lib.pruning.unstructured import global_masks, layer_masks, prune_weights


class Net(nn.Module):
    """Every kind of layer that matters here, 3 × 8 × 8 images in, three classes out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(4 * 8 * 8, 16), nn.ReLU())
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.norm(self.conv(x)).relu()))


LAYERS = ["conv", "body.1", "head"]


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert list(a) == list(b)
    for name in a:
        assert torch.equal(a[name], b[name]), name


def torch_pruned(model: Net, amount: float = 0.4) -> Net:
    for layer in LAYERS:
        torch_prune.l1_unstructured(model.get_submodule(layer), "weight", amount)
    return model


def steps(model: nn.Module, images: Tensor, optimizer: torch.optim.Optimizer, n: int = 50) -> None:
    labels = torch.arange(len(images)) % 3
    for _ in range(n):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()


# --- what can be pruned -----------------------------------------------------------------------


def test_linear_and_convolution_layers_are_prunable_and_others_by_name(net):
    weights = prunable(net)
    assert list(weights) == LAYERS
    assert weights["conv"].shape == (4, 3, 3, 3)
    assert not any(weight.requires_grad for weight in weights.values())
    embedding = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2))
    assert list(prunable(embedding)) == ["1"]
    assert list(prunable(embedding, ["0", "1"])) == ["0", "1"]


def test_a_single_layer_is_a_model_too():
    layer = nn.Linear(10, 10)
    assert sparsity(prune_weights(layer, 0.3)) == pytest.approx(0.3)
    assert list(masks_of(prune_weights(layer, 0.3))) == [""]


def test_sparsity_counts_zeros_of_the_named_layers():
    model = nn.Sequential(nn.Linear(4, 1), nn.Linear(2, 6))
    model[0].weight.data = torch.tensor([[0.0, -0.0, 1.0, 2.0]])
    assert sparsity(model) == pytest.approx(2 / 16)
    assert sparsity(model, ["0"]) == pytest.approx(2 / 4)


@pytest.mark.parametrize(
    "layers", [[], ["nothing"], ["head", "nothing"], [""], ["norm"], ["body.0"]]
)
def test_an_empty_or_unknown_name_is_refused_with_the_names_there_are(net, layers):
    with pytest.raises(ValueError, match=r"expected one or more of 'conv', 'body\.1', 'head'"):
        prunable(net, layers)


def test_a_model_without_prunable_weights_is_refused():
    with pytest.raises(ValueError, match=r"Sequential has no Linear.*layers=\[…\]"):
        prunable(nn.Sequential(nn.ReLU(), nn.Embedding(3, 2)))
    with pytest.raises(ValueError, match="one or more of none"):
        prunable(nn.ReLU(), ["0"])


def test_a_model_on_two_devices_is_refused(net):
    net.head = net.head.to("meta")
    with pytest.raises(ValueError, match=r"\['cpu', 'meta'\]; move the model to one"):
        prunable(net)
    assert list(prunable(net, ["conv", "body.1"])) == ["conv", "body.1"]


def tied() -> nn.ModuleDict:
    kinds = {"embed": nn.Embedding(5, 4), "out": nn.Linear(4, 5), "free": nn.Linear(4, 4)}
    model = nn.ModuleDict(kinds | {"twin": nn.Linear(4, 4)})
    model["out"].weight = model["embed"].weight
    model["twin"].weight = model["free"].weight
    return model


def test_weights_shared_with_an_embedding_are_left_out_unless_named():
    assert list(prunable(tied())) == ["free"]  # two linear layers with one weight count once
    assert list(prunable(tied(), ["out"])) == ["out"]
    assert list(prunable(tied(), ["out", "twin", "embed"])) == ["out", "twin"]


def test_a_mask_on_one_of_tied_layers_is_a_mask_on_all():
    model = prune_weights(tied(), 0.5, layers=["out", "twin"])
    assert sorted(masks_of(model)) == ["embed", "free", "out", "twin"]
    for one, other in (("embed", "out"), ("free", "twin")):
        assert original_of(model[one]) is original_of(model[other])
        assert torch.equal(model[one].weight, model[other].weight)
    assert sparsity(model, ["out", "twin"]) == 0.5
    again = apply_masks(tied(), masks_of(model.state_dict()))
    assert_same(masks_of(again), masks_of(model))
    permanent = make_permanent(model)
    assert permanent["embed"].weight is permanent["out"].weight
    assert sparsity(permanent, ["embed", "free"]) == 0.5


@pytest.mark.parametrize("tie", [True, False])
def test_gpt2_is_pruned_and_its_tie_survives_a_folder(tie, tmp_path):
    model = tiny("gpt2")
    if not tie:
        model.config.tie_word_embeddings = False
        model = type(model)(model.config)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        masked = prune_weights(model, 0.5)
        prune_weights(model, 0.5, layers=["lm_head"])  # as it was asked: nothing is left out
    words = [
        "Left out: ['lm_head'], whose weight is also an embedding's. To prune both, name"
    ] * tie
    assert [str(one.message)[: len(words[0])] for one in caught] == words
    assert sparsity(masked) == pytest.approx(0.5, abs=1e-3)
    assert ("lm_head" in masks_of(masked)) != tie
    assert "transformer.h.0.attn.c_attn" in masks_of(masked)
    make_permanent(masked).save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()
    assert (loaded.lm_head.weight is loaded.transformer.wte.weight) == tie
    assert sparsity(loaded) == sparsity(masked)
    batch = batch_for(model)
    with torch.inference_mode():
        assert torch.equal(loaded(**batch).logits, masked.eval()(**batch).logits)


def test_a_layer_that_is_used_twice_is_pruned_once():
    layer = nn.Linear(4, 4)
    assert sparsity(prune_weights(nn.Sequential(layer, nn.ReLU(), layer), 0.5)) == 0.5


def test_a_weight_that_is_also_a_parameter_of_another_name_is_left_out():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model.table = model[0].weight  # a mask would not reach it
    assert list(prunable(model)) == ["1"]
    with pytest.raises(ValueError, match="expected one or more of '1'"):
        prunable(model, ["0"])


# --- masks are attached -----------------------------------------------------------------------


def test_apply_masks_leaves_the_model_alone_and_apply_masks_in_place_does_not(net):
    before = state_of(net)
    masks = global_masks(net, 0.5)
    masked = apply_masks(net, masks)
    assert_same(state_of(net), before)
    assert sparsity(net) == 0
    assert sparsity(masked) == pytest.approx(0.5, abs=1e-3)
    assert apply_masks_(net, masks) is net
    assert sparsity(net) == sparsity(masked)
    for layer, mask in masks.items():
        assert torch.equal(masks_of(net)[layer], mask)
        assert torch.equal(net.get_submodule(layer).weight != 0, mask)


def test_masks_add_up(net):
    first = {"head": torch.ones(3, 16, dtype=torch.bool)}
    second = {"head": torch.ones(3, 16, dtype=torch.bool)}
    first["head"][0], second["head"][:, 0] = False, False
    both = apply_masks_(apply_masks(net, first), second)
    assert torch.equal(masks_of(both)["head"], first["head"] & second["head"])
    assert first["head"][1:].all()  # the caller's mask is not written to


def test_two_models_may_share_masks(net):
    masks = global_masks(net, 0.5)
    a, b = apply_masks(net, masks), apply_masks(net, masks)
    other = state_of(prune_weights(net, 0.9))
    a.load_state_dict(other)
    assert sparsity(a) == pytest.approx(0.9, abs=1e-3)
    assert sparsity(b) == pytest.approx(0.5, abs=1e-3)
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == round(total / 2)


@pytest.mark.parametrize(
    ("mask", "error", "words"),
    [
        (
            torch.ones(16, 3, dtype=torch.bool),
            ValueError,
            r"'head'.*\(16, 3\).*\(3, 16\).*this very model",
        ),
        (torch.ones(48, dtype=torch.bool), ValueError, r"shape \(48,\)"),
        (torch.ones(3, 16), TypeError, r"torch\.float32; expected torch\.bool: mask\.bool\(\)"),
        (
            torch.ones(3, 16, dtype=torch.bool, device="meta"),
            ValueError,
            r"on meta, its weight on cpu; move",
        ),
    ],
    ids=["shape", "flat", "dtype", "device"],
)
def test_a_mask_that_does_not_fit_is_refused_and_nothing_is_changed(net, mask, error, words):
    before = state_of(net)
    with pytest.raises(error, match=words):
        apply_masks_(net, {"conv": torch.ones(4, 3, 3, 3, dtype=torch.bool), "head": mask})
    assert_same(state_of(net), before)


def test_no_mask_and_masks_of_unknown_layers_are_refused(net):
    with pytest.raises(ValueError, match="expected one or more of 'conv'"):
        apply_masks_(net, {})
    with pytest.raises(ValueError, match=r"\['tail'\]; expected one or more of 'conv'"):
        apply_masks_(net, {"tail": torch.ones(3, 16, dtype=torch.bool)})


# --- masks survive ----------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
@pytest.mark.parametrize("made", ["behind the mask", "before the mask"])
def test_a_mask_survives_fifty_steps(net, images, optimizer, made):
    if made == "before the mask":
        running = optimizer(net.parameters())
        steps(net, images, running, 5)  # it has momentum already
        masked = apply_masks_(net, global_masks(net, 0.6))
    else:
        masked = prune_weights(net, 0.6)
        running = optimizer(masked.parameters())
    masks, before = masks_of(copy.deepcopy(masked)), prunable(copy.deepcopy(masked))
    steps(masked, images, running)
    for layer, weight in prunable(masked).items():
        assert torch.equal(weight != 0, masks[layer]), layer
        assert not torch.equal(weight, before[layer])  # what is left did learn


def test_a_mask_survives_a_file(net, images, tmp_path):
    masked = prune_weights(net, 0.7)
    masked(images)  # running statistics move
    save_file(masked.state_dict(), tmp_path / "masked.safetensors")
    state = load_file(tmp_path / "masked.safetensors")
    fresh = apply_masks_(Net(), masks_of(state))
    fresh.load_state_dict(state)
    assert torch.equal(fresh.eval()(images), masked.eval()(images))
    assert sparsity(fresh) == sparsity(masked)


def test_the_mask_of_a_single_layer_survives_a_state_dict():
    masked = prune_weights(nn.Linear(6, 5), 0.5)
    state = masked.state_dict()
    fresh = apply_masks_(nn.Linear(6, 5), masks_of(state))
    fresh.load_state_dict(state)
    assert torch.equal(fresh.weight, masked.weight)
    torch_masked = torch_prune.l1_unstructured(nn.Linear(6, 5), "weight", 0.5)
    assert list(masks_of(torch_masked.state_dict())) == [""]


@pytest.mark.parametrize(
    "mask", [lambda net: prune_weights(net, 0.5), torch_pruned], ids=["ours", "torch"]
)
def test_a_copy_after_a_training_step_is_independent(net, images, mask):
    masked = mask(net)
    masked(images).sum().backward()
    twin = prune_weights(masked, 0.0) if mask is torch_pruned else copy.deepcopy(masked)
    before = sparsity(masked)
    assert sparsity(twin) == before
    original_of(twin.head).data.zero_()
    apply_masks_(twin, {"conv": torch.zeros(4, 3, 3, 3, dtype=torch.bool)})
    assert sparsity(masked) == before
    assert original_of(masked.head).abs().sum() > 0


# --- and become permanent ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "mask", [lambda net: prune_weights(net, 0.5), torch_pruned], ids=["ours", "torch"]
)
def test_permanent_zeros_give_the_outputs_of_the_mask(net, images, mask):
    names = list(net.state_dict())
    masked = mask(net)
    masked(images).sum().backward()
    permanent = make_permanent(masked)
    assert torch.equal(permanent.eval()(images), masked.eval()(images))
    assert sorted(permanent.state_dict()) == sorted(names)
    assert masks_of(permanent) == {}
    assert type(permanent.head) is nn.Linear
    assert sparsity(permanent) == sparsity(masked) > 0.3
    assert sorted(masks_of(masked)) == sorted(LAYERS)  # the argument keeps its masks
    assert all(parameter.requires_grad for parameter in permanent.parameters())


def test_every_parametrization_becomes_permanent(net):
    torch_prune.l1_unstructured(net.head, "bias", 1)
    nn.utils.parametrizations.weight_norm(net.body[1])
    wanted, plain = net.body[1].weight.detach().clone(), make_permanent(net)
    assert sorted(plain.state_dict()) == sorted(Net().state_dict())
    assert torch.equal(plain.body[1].weight, wanted)
    assert int((plain.head.bias == 0).sum()) == 1


# --- beside torch.nn.utils.prune --------------------------------------------------------------


def test_the_five_line_classic_is_thirty_percent():
    layer = torch_prune.l1_unstructured(nn.Linear(784, 300), "weight", amount=0.3)
    assert f"{sparsity(layer):.1%}" == "30.0%"
    torch_prune.remove(layer, "weight")
    assert f"{sparsity(layer):.1%}" == "30.0%"


def test_a_model_masked_there_is_pruned_further_here(net):
    by_torch = torch_pruned(net, 0.4)
    zeros = {layer: weight == 0 for layer, weight in prunable(by_torch).items()}
    originals = {layer: original_of(by_torch.get_submodule(layer)).clone() for layer in LAYERS}
    ours = apply_masks(by_torch, layer_masks(by_torch, 0.75))
    for layer, weight in prunable(ours).items():
        assert (weight[zeros[layer]] == 0).all()
        assert (weight == 0).float().mean() == pytest.approx(0.75, abs=0.01)
        # what lies behind the mask was not lost
        assert torch.equal(original_of(ours.get_submodule(layer)), originals[layer])
    assert not torch_prune.is_pruned(ours)
    assert sparsity(by_torch) == pytest.approx(0.4, abs=0.01)


def test_asking_for_the_same_amount_again_changes_nothing_whoever_masked_it(net):
    by_torch = torch_pruned(net, 0.5)
    again = apply_masks(by_torch, layer_masks(by_torch, 0.5))
    assert_same(masks_of(again), masks_of(by_torch))


def test_a_model_that_pytorch_pruned_twice_can_be_copied_and_made_permanent(net, images):
    torch_pruned(torch_pruned(net, 0.5), 0.5)
    net(images).sum().backward()
    assert sparsity(net) == pytest.approx(0.75, abs=0.01)
    assert sparsity(make_permanent(net)) == sparsity(net)
    assert sparsity(prune_weights(net, 0.75)) == pytest.approx(0.75, abs=0.01)
