"""What is needed of a module, on torch alone."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn
from transformer_zoo import tiny

from course_lib.modules import evaluating, forward


def test_masks_without_accelerate():
    code = (
        "import course_lib.pruning.unstructured, course_lib.training.recipe, sys; "
        "print({'accelerate', 'datasets', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_labels_are_not_passed_to_the_model():
    batch = {"x": torch.ones(2), "labels": 1, "teacher_logits": 2}
    model = nn.Module()
    model.forward = lambda x: x + 1  # type: ignore[method-assign]
    assert forward(model, batch).tolist() == [2, 2]


def test_evaluating_restores_the_modes_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with pytest.raises(KeyError), evaluating(model, lambda x: x):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [m.training for m in model.modules()] == [True, True, False]


def fresh(code: str) -> float:
    """What `code` prints in a new process, whose memory nothing else has used."""
    head = "import psutil, torch; from course_lib.modules import release_memory; release_memory()"
    done = subprocess.run(
        [sys.executable, "-c", f"{head}\n{textwrap.dedent(code)}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' C libraries do not keep memory")
def test_large_blocks_go_back_to_the_system_when_they_are_free():
    kept = fresh("""
        process = psutil.Process()
        for _ in range(2):  # what the first round frees would make malloc keep the second one's
            before = process.memory_info().rss
            blocks = [torch.ones(2**21) for _ in range(32)]  # 256 MiB
            last = blocks.pop()
            del blocks
        print(process.memory_info().rss - before)
    """)
    assert kept < 2**26


def test_small_blocks_stay_for_the_next_ones():
    """Getting each from the system, page by page, took a fifth of a CNN's time."""
    pytest.importorskip("resource")
    faults = fresh("""
        import resource
        faults = []
        for _ in range(20):
            blocks = [torch.ones(2**18) for _ in range(30)]  # 30 MiB
            del blocks
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        print(faults[-1] - faults[0])
    """)
    assert faults < 2 * 30 * 256  # the pages of two rounds; there are 19


def test_padding_has_the_models_own_id_where_a_model_looks_for_it():
    model = tiny("gpt2-classifier").eval()
    model.config.pad_token_id = 4
    rows = {"input_ids": torch.tensor([[7, 8, 9], [6, 5, 0]])}
    rows["attention_mask"] = torch.tensor([[1, 1, 1], [1, 1, 0]])
    alone = {key: value[1:, :2] for key, value in rows.items()}
    with torch.inference_mode():
        both, one = forward(model, rows).logits, forward(model, alone).logits
    torch.testing.assert_close(both[1:], one)
    assert rows["input_ids"][1, 2] == 0  # the batch is left alone
