"""Shapes: their sizes by arithmetic, those that keep to a target, and what is cut."""

from __future__ import annotations

import pytest
import torch
from transformer_zoo import tiny

from course_lib.compression import Shape, Target, shapes
from course_lib.models.encoders import load_encoder, load_tokenizer
from course_lib.quantization.int8 import quantize
from course_lib.structured.transformers import layers_of


@pytest.mark.parametrize("given", [(0, 0.5, None), (2, 0.0, None), (2, 1.5, None), (2, 0.5, -1)])
def test_a_shape_that_cannot_be_is_refused(given):
    with pytest.raises(ValueError, match="expected 1 or more layers, a width above 0"):
        Shape(*given)


@pytest.mark.parametrize("given", [{"megabytes": 0}, {"milliseconds": -1}, {"points": 0}])
def test_a_target_that_cannot_be_is_refused(given):
    with pytest.raises(ValueError, match="expected numbers above 0"):
        Target(**given)


def test_the_size_is_that_of_the_file():
    model, tokenizer = load_encoder(), load_tokenizer()
    shape, tokens = Shape(layers=2, width=0.25, rank=64), torch.arange(9000)
    base = shapes.fewer_layers(model, 2)
    small, words = shapes.cut(base, tokenizer, shape, tokens, shapes.first_units, 32)
    size = len(quantize(small).content())
    found = shapes.int8_bytes(model, shape, len(words.get_vocab()), 32)
    assert abs(found - size) < 0.15 * size
    assert words.tokenize("a great film") == ["a", "great", "film"]
    assert small.config.max_position_embeddings == 32


def test_the_ladder_goes_down():
    model = load_encoder()
    sizes = [shapes.int8_bytes(model, one, 12_000, 64) for one in shapes.ladder(model)]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == len(sizes)


def test_the_first_that_fits_comes_first_and_the_default_without_a_limit():
    model = load_encoder()
    ladder = shapes.ladder(model)
    assert next(shapes.fitting(model, Target(), 12_000, 64)) == ladder[1]
    assert next(shapes.fitting(model, Target(megabytes=8), 12_000, 64)) == ladder[1]
    assert next(shapes.fitting(model, Target(megabytes=50), 12_000, 64)) == ladder[0]
    assert next(shapes.fitting(model, Target(megabytes=3), 12_000, 64)).layers == 3


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_layers_are_evenly_spaced_and_the_last_stays(kind):
    model = tiny(kind)
    layers = len(layers_of(model)[1])
    few = shapes.fewer_layers(model, 1)
    last = layers_of(model)[1][-1].state_dict()
    kept = layers_of(few)[1][0].state_dict()
    assert all(torch.equal(kept[name], value) for name, value in last.items())
    assert len(layers_of(shapes.fewer_layers(model, None))[1]) == layers
    with pytest.raises(ValueError, match=f"the model has {layers}"):
        shapes.fewer_layers(model, layers + 1)
