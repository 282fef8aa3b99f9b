"""The two speeds of a language model."""

import pytest
import torch

from course_lib import models
from course_lib.evaluation import generation_speed, speedup
from course_lib.evaluation.generation import _decode
from course_lib.structured import remove_layers


@pytest.fixture(scope="module")
def tiny():
    return models.language_model("tiny").model


PROMPT = torch.tensor([[5, 9, 20, 33]])


def test_each_model_has_both_speeds_and_two_can_be_compared(tiny):
    both = {"whole": tiny, "small": remove_layers(tiny, [1])}
    found = generation_speed(both, PROMPT, written=2, rounds=4)
    assert list(found) == ["whole", "small"]
    one = found["whole"]
    assert one.decode_rate == pytest.approx(2000 / one.decode.median)
    assert one.prefill_rate == pytest.approx(4000 / one.prefill.median)
    assert "2 written" in repr(one)
    assert speedup(one.decode, found["small"].decode).rounds == 4


def test_it_writes_what_generate_writes_and_forgets_it(tiny):
    run = _decode(tiny, 3)
    last = [run(PROMPT).item() for _ in range(2)]
    ones = torch.ones_like(PROMPT)
    written = tiny.generate(PROMPT, attention_mask=ones, max_new_tokens=4, do_sample=False)
    assert last == [written[0, -1].item()] * 2


@pytest.mark.parametrize(
    ("prompt", "written"), [(PROMPT[0], 2), (PROMPT.repeat(2, 1), 2), (PROMPT, 0)]
)
def test_another_prompt_is_refused(tiny, prompt, written):
    with pytest.raises(ValueError, match="expected token ids"):
        generation_speed({"tiny": tiny}, prompt, written)
