"""Parameters, bytes and operations, against numbers worked out by hand and real files."""

from __future__ import annotations

import zlib

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from course_lib.evaluation.size import footprint, operations, sparse_bytes
from course_lib.models.networks import LeNet300, SmallCNN, build
from course_lib.models.text_classifiers import TextCNN
from course_lib.pruning.masks import apply_masks, make_permanent
from course_lib.quantization.int8 import quantize


def test_bytes_are_those_of_a_real_file():
    model = build(SmallCNN)
    file = save(model.state_dict())
    size = footprint(model)
    assert (size.parameters, size.bytes) == (421_834, len(file))
    assert size.zipped == len(zlib.compress(file, 6))
    assert (size.embedding_share, size.operations) == (0, None)
    assert repr(size).startswith(f"421,834 parameters (0% embeddings), {len(file):,} bytes, ")
    assert footprint(model, zipped=False).zipped is None


def test_zeros_zip_well():
    model = build(LeNet300)
    empty = apply_masks(model, {"fc1": torch.zeros(300, 784, dtype=torch.bool)})
    dense, zeros = footprint(model), footprint(make_permanent(empty))
    assert dense.bytes == zeros.bytes
    assert zeros.zipped < 0.2 * dense.zipped


class Tied(nn.Module):
    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.out = nn.Linear(8, 50, bias=False)
        self.embed = nn.Embedding(50, 8)
        if tied:
            self.out.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.embed(ids))


def test_tied_weights_are_stored_and_counted_once():
    tied, apart = footprint(Tied(True)), footprint(Tied(False))
    assert (tied.parameters, apart.parameters) == (400, 800)
    assert 1600 <= apart.bytes - tied.bytes < 1600 + 100  # 400 float32, and a name
    assert (tied.embedding_share, apart.embedding_share) == (1.0, 0.5)
    assert footprint(nn.Identity()).embedding_share == 0


def test_masked_embeddings_are_counted_each():
    model = nn.ModuleDict({str(i): nn.Embedding(10, 4) for i in range(8)})
    model["head"] = nn.Linear(4, 5)
    masks = {str(i): torch.ones(10, 4, dtype=torch.bool) for i in range(8)}
    size = footprint(apply_masks(model, masks))
    assert size.parameters == 345
    assert size.embedding_share == 4 * 320 / (4 * 345 + 320)  # the masks are in the file, too


def test_tensors_that_are_empty_or_strided_are_stored():
    model = nn.Linear(3, 4)
    model.weight = nn.Parameter(torch.arange(12.0).view(3, 4).t())
    for name in ("none", "nothing"):
        model.register_buffer(name, torch.empty(0))
    expected = {"weight": model.weight.contiguous(), "bias": model.bias, "none": torch.empty(0)}
    assert footprint(model).bytes == len(save(expected | {"nothing": torch.empty(0)}))


def test_int8_is_a_quarter_and_its_scales_are_no_parameters():
    model = nn.Sequential(nn.Linear(200, 300))
    whole, small = footprint(model), footprint(quantize(model, backend="torch"))
    assert small.parameters == whole.parameters == 60_300
    assert small.bytes == pytest.approx(60_000 + 4 * 300 + 4 * 300, abs=600)  # bias, scales, header
    cnn = TextCNN(torch.arange(1, 4000), width=64)
    assert footprint(cnn).bytes > 3.5 * footprint(quantize(cnn)).bytes


@pytest.mark.parametrize("batch", [1, 3])
def test_operations_of_a_linear_layer(batch):
    assert operations(nn.Linear(30, 7), torch.zeros(batch, 30)) == 2 * 30 * 7
    # a sequence of 5: each position counts
    assert operations(nn.Linear(30, 7), torch.zeros(batch, 5, 30)) == 5 * 2 * 30 * 7
    assert operations(nn.Linear(4, 3, device="meta"), torch.ones(batch, 4)) == 2 * 4 * 3


def test_operations_of_a_convolution():
    layer = nn.Conv2d(8, 16, (3, 5), stride=2, padding=1, groups=4)
    rows, columns = 10, 11
    expected = 2 * 16 * (8 // 4) * 3 * 5 * rows * columns
    assert operations(layer, torch.zeros(3, 8, 20, 24)) == expected


def attention_operations(length: int, width: int) -> int:
    """Four projections; then the products of all pairs of positions, twice: scores, and their sum."""
    return 4 * 2 * length * width**2 + 2 * 2 * length**2 * width


def test_operations_of_attention_and_of_a_transformer_layer_of_pytorch():
    attention = nn.MultiheadAttention(16, num_heads=4, batch_first=True)
    x = torch.zeros(3, 6, 16)
    assert operations(attention, {"query": x, "key": x, "value": x}) == attention_operations(6, 16)
    layer = nn.TransformerEncoderLayer(16, nhead=4, dim_feedforward=40, batch_first=True)
    assert operations(layer, x) == attention_operations(6, 16) + 2 * 2 * 6 * 16 * 40


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_operations_of_bert(attention):
    layers, d, ff, length = 3, 32, 48, 7
    config = BertConfig(
        vocab_size=50,
        hidden_size=d,
        intermediate_size=ff,
        num_hidden_layers=layers,
        num_attention_heads=4,
        attn_implementation=attention,
        num_labels=2,
    )
    ids = torch.ones(3, length, dtype=torch.long)
    per_layer = attention_operations(length, d) + 2 * 2 * length * d * ff
    pooler_and_classifier = 2 * d * d + 2 * d * 2
    counted = operations(
        BertForSequenceClassification(config), {"input_ids": ids, "attention_mask": ids}
    )
    assert counted == layers * per_layer + pooler_and_classifier


def test_zeros_cost_as_much_as_other_numbers():
    model = build(LeNet300)
    masks = {"fc1": torch.zeros(300, 784, dtype=torch.bool)}
    image = torch.zeros(1, 1, 28, 28)
    assert operations(apply_masks(model, masks), image) == operations(model, image)
    assert footprint(model, image).operations == 2 * (784 * 300 + 300 * 100 + 100 * 10)


def test_what_pytorch_cannot_count_is_refused():
    int8 = quantize(nn.Sequential(nn.Linear(4, 3)), backend="torch")
    with pytest.raises(ValueError, match="operations of this Sequential cannot be counted"):
        footprint(int8, torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("layer", "places", "index", "rows"),
    [
        (nn.Linear(200, 10, bias=False), [(2, slice(30)), (9, 5)], torch.int16, 11),
        (nn.Linear(2**15 + 1, 1, bias=False), [(0, slice(-3, None))], torch.int32, 2),
        (nn.Conv2d(10, 4, 3, bias=False), [(1, 2, 0, 0)], torch.int16, 5),
    ],
    ids=["matrix", "wide matrix", "kernel"],
)
def test_a_sparse_matrix_has_values_columns_and_rows(layer, places, index, rows):
    layer.weight.data.zero_()
    for place in places:
        layer.weight.data[place] = 1
    n = int(layer.weight.sum())
    stored = {
        "weight.values": torch.zeros(n),
        "weight.columns": torch.zeros(n, dtype=index),
        "weight.rows": torch.zeros(rows, dtype=torch.int32),
    }
    assert sparse_bytes(layer) == len(save(stored))


def test_what_is_smaller_dense_stays_dense():
    model = build(LeNet300)
    assert sparse_bytes(model) == footprint(model).bytes
