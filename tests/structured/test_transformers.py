"""In every family heads and FFN neurons are found, go exactly, come back from a folder, go again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
import transformers as t
from family_zoo import FAMILIES, HEADS_STAY, family, says
from torch import nn
from transformer_zoo import assert_same, tiny

from course_lib.quantization.onnx_export import export_onnx
from course_lib.serialization import load, save
from course_lib.structured.dependency import groups, groups_of
from course_lib.structured.proof import random_input
from course_lib.structured.removal import masked, original_parameters, remove, remove_layers
from course_lib.structured.transformers import layers_of


def half(model: nn.Module, kind: str = "", seed: int = 0) -> dict[str, list[int]]:
    keep = {}
    for i, group in enumerate(groups(model).values()):
        order = torch.randperm(group.units, generator=torch.Generator().manual_seed(seed + i))
        if kind in group.kind and group.units > 1:
            keep[group.name] = order[: group.units // 2].tolist()
    return keep


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / a.abs().max())


ALL_KINDS = {"heads", "feed-forward units"}


@pytest.mark.parametrize("name", FAMILIES)
def test_what_goes_goes_exactly_comes_back_and_goes_again(name, tmp_path):
    model = family(name)
    close = 1e-10 if model.dtype == torch.float64 else 1e-5
    kinds = {group.kind for group in groups(model).values()}
    assert kinds == ALL_KINDS - ({"heads"} if name in HEADS_STAY else set()) - (
        {"feed-forward units"} if name == "Qwen3 MoE" else set()
    )
    for kind in kinds:
        keep = half(model, kind)
        wide = says(masked(model, keep))
        assert apart(says(model), wide) > 1e-4
        assert apart(wide, says(remove(model, keep))) <= close
    keep = half(model)
    small = remove(model, keep)
    again = load(save(small, tmp_path / "small"))
    assert_same(again, small)
    assert torch.equal(says(again), says(small))
    more = half(again, seed=1)
    assert apart(says(masked(again, more)), says(remove(again, more))) <= close
    assert original_parameters(again) == model.num_parameters()


@pytest.mark.parametrize("name", HEADS_STAY)
def test_heads_that_must_stay_say_why(name):
    with pytest.raises(ValueError, match=rf"layer\.0\.heads' cannot be.*{HEADS_STAY[name]}"):
        groups_of(family(name), ["layer.0.heads"])


LISTED = (
    *("BERT", "RoBERTa", "XLM-RoBERTa", "CamemBERT", "DistilBERT", "ELECTRA", "DeBERTa-v2"),
    *("DeBERTa-v3", "ModernBERT", "LayoutLM", "GPT-2", "GPT-NeoX", "OPT", "ViT", "DeiT", "DINOv2"),
    *("CLIP (vision)", "Wav2Vec2", "Whisper (encoder)", "BEiT", "ESM", "GPT-J", "Falcon"),
)


@pytest.mark.parametrize("name", LISTED)
def test_every_layer_has_its_heads_and_its_neurons(name):
    found = {n: group.units for n, group in groups(family(name)).items()}
    width = {"Falcon": 128, "DINOv2": 64}.get(name, 24)
    one = {"layer.0.heads": 4, "layer.0.ffn": width, "layer.1.heads": 4, "layer.1.ffn": width}
    assert found == one


def test_the_unit_of_grouped_queries_is_a_key_value_head():
    for name in ("Llama", "Qwen2", "Qwen3", "Gemma 2", "Mistral"):
        assert groups(family(name))["layer.1.heads"].units == 2
    model = family("Llama")
    reference = family("Llama")
    attention: Any = reference.model.layers[1].self_attn
    attention.o_proj.weight.data[:, :16] = 0  # the first two queries, which share a key and value
    small = remove(model, {"layer.1.heads": [1]})
    assert apart(says(reference), says(small)) < 1e-12
    assert small.model.layers[1].self_attn.k_proj.out_features == 8


def test_an_encoder_and_a_decoder_have_names_of_their_own():
    assert set(groups(family("BART"))) == {
        f"{side}.layer.{i}.{kind}"
        for i in (0, 1)
        for side, kind in [
            *(("encoder", "heads"), ("encoder", "ffn")),
            *(("decoder", "heads"), ("decoder", "encoder_attn.heads"), ("decoder", "ffn")),
        ]
    }
    assert "vision_model.layer.0.heads" in groups(family("CLIP"))
    assert "layer.1.crossattention.heads" in groups(family("BERT decoder"))
    assert "layer.1.ffn.0.ffn" in groups(family("MobileBERT"))
    with pytest.raises(ValueError, match=r"several lists of layers, model\.encoder\.layers, mod"):
        remove_layers(family("BART"), [0])


def test_a_position_bias_that_all_layers_share_ties_their_heads():
    for name, group, bias in [
        ("MPNet", "heads", "mpnet.encoder.relative_attention_bias"),
        ("T5", "decoder.heads", "decoder.block.0.layer.0.SelfAttention.relative_attention_bias"),
    ]:
        model = family(name)
        found = groups(model)[group]
        assert found.units == 4
        assert len([piece for piece in found.slices if piece.is_input]) == 2  # both layers
        small = remove(model, {group: [0, 2]})
        assert small.get_submodule(bias).embedding_dim == 2
        assert "layer.0.heads" not in groups(model)
    assert [name for name in groups(family("T5")) if name.endswith("Attention.heads")] == [
        "decoder.EncDecAttention.heads"
    ]
    bias = "beit.layers.{}.relative_position_bias"  # each layer has its own
    small = remove(family("BEiT"), {"layer.1.heads": [1]})
    shapes = [
        small.get_submodule(bias.format(i)).relative_position_bias_table.shape for i in (0, 1)
    ]
    assert [shape[1] for shape in shapes] == [4, 1]


def test_shared_layers_are_cut_once():
    model = family("ALBERT")
    assert list(groups(model)) == ["layer.0.heads", "layer.0.ffn"]
    with pytest.raises(ValueError, match="shares 1 layer among 2 passes"):
        remove_layers(model, [0])


def test_a_positional_convolution_under_weight_norm_is_no_mask():
    model = family("Wav2Vec2")
    assert nn.utils.parametrize.is_parametrized(model.wav2vec2.encoder.pos_conv_embed.conv)
    assert len(groups(model)) == 4


def test_what_has_no_attention_or_no_linear_layers_is_refused():
    sizes: Any = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1}
    with pytest.raises(ValueError, match="MambaModel has no list of like layers with attention"):
        groups(t.MambaModel(t.MambaConfig(**sizes)))
    sizes |= {"num_attention_heads": 2, "embedding_size": 8}
    with pytest.raises(ValueError, match="no query, key and value projections were found in 'enc"):
        groups(t.SqueezeBertModel(t.SqueezeBertConfig(**sizes)))


def test_a_layer_of_one_s_own_stays_and_the_rest_is_exact():
    model: Any = tiny("bert")
    model.bert.encoder.layer[1].adapter = nn.Linear(24, 24)
    keep = half(model)
    assert apart(says(masked(model, keep)), says(remove(model, keep))) < 1e-5
    assert layers_of(model)[0] == "bert.encoder.layer"


def test_heads_that_are_mixed_behind_the_attention_are_found_out():
    model: Any = tiny("bert")

    def mix(module: Any, _inputs: Any, output: Any) -> Any:
        heads = output[0].unflatten(-1, (-1, module.attention_head_size))
        return (heads + heads.roll(1, -2)).flatten(-2), *output[1:]

    model.bert.encoder.layer[1].attention.self.register_forward_hook(mix)
    assert {group.kind for group in groups(model).values()} == {"feed-forward units"}
    dense = r"'bert\.encoder\.layer\.1\.attention\.output\.dense'"
    words = (
        rf"without some of them differs by [\d.]+ of the largest output.*, at the output of {dense}"
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=rf"'layer\.1\.heads' cannot be made smaller: .*{words}"):
        remove(model, {"layer.1.heads": [0]})
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    keep = half(model)
    assert apart(says(masked(model, keep)), says(remove(model, keep))) < 1e-5


HEADS_IN_CONFIG = {  # those with a field for the size of a head
    *("Phi", "Llama", "Qwen2", "Qwen3", "Gemma 2", "Mistral", "T5", "T5 encoder, gated", "ViT"),
    *("DeiT", "DINOv2", "BEiT", "Qwen3 MoE"),
}
NO_FFN_FIELD = {"DINOv2", "Swin", "BLOOM"}  # it is a multiple of the width
NO_FFN_FIELD |= {"DeepSeek-V3"}  # its shared experts are as wide as those that stay


@pytest.mark.parametrize("name", FAMILIES)
def test_plain_transformers_reads_what_the_config_can_say(name, tmp_path):
    model = family(name).float()
    found = groups(model).values()
    for kind in {group.kind for group in found}:
        keep = {g.name: range(g.units // 2) for g in found if g.kind == kind}
        folder = save(small := remove(model, keep), tmp_path / kind)
        if name in (NO_FFN_FIELD if kind[0] == "f" else FAMILIES.keys() - HEADS_IN_CONFIG):
            with pytest.raises(RuntimeError, match=r"size mismatch|mismatched"):
                type(model).from_pretrained(folder)
        else:
            assert_same(type(model).from_pretrained(folder), small)


EAGER = "set_attn_implementation", "eager", "Cannot view a tensor"  # with a bias of positions
BATCHED = "set_experts_implementation", "batched_mm", "No ONNX function found for .*grouped_mm"
# What torch cannot export as it is, smaller or whole: what to call first, and what it says else.
FIRST = dict.fromkeys(("T5", "T5 encoder, gated", "BEiT", "Swin"), EAGER)
FIRST |= dict.fromkeys(("DeepSeek-V3", "Qwen3 MoE"), BATCHED)


def exported(model: Any, path: Path) -> torch.Tensor:
    """What the model says as an ONNX file, without a cache, to a random input."""
    example = random_input(model, 3)
    given = {key: value for key, value in example.items() if isinstance(value, torch.Tensor)}

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return self.model(**(example | dict(zip(given, inputs, strict=True))))[0]

    names = list(given)
    torch.onnx.export(
        First(), (*given.values(),), path, input_names=names, dynamo=True, verbose=False
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {i.name: given[i.name].numpy() for i in session.get_inputs()}
    return torch.tensor(session.run(None, feed)[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_smaller_one_is_exported_to_onnx(name, tmp_path):
    model = family(name).float()
    small = remove(model, half(model))
    if name == "XLNet":  # its 1.0 - attention_mask, with whole numbers in the mask
        with pytest.raises(ValueError, match=r"cannot write the XLNetFor.* said: .*sub"):
            export_onnx(small, tmp_path / "small.onnx")
        return
    if "ForSequenceClassification" in type(model).__name__:
        assert export_onnx(small, tmp_path / "small.onnx").difference < 1e-4
        return
    if name in FIRST:
        method, value, words = FIRST[name]
        with pytest.raises(torch.onnx.OnnxExporterError, match=words):
            exported(small, tmp_path / "small.onnx")
        getattr(small, method)(value)
    assert apart(exported(small, tmp_path / "small.onnx"), says(small, 3)) < 1e-4
