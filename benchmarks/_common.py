"""What several benchmarks share."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
)

QUICK = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2}


def bert(quick: bool) -> nn.Module:
    """BERT with a classifier at its true size, or a small one, with random weights."""
    torch.manual_seed(0)
    config = BertConfig(**QUICK, num_attention_heads=2) if quick else BertConfig()
    return BertForSequenceClassification(config).eval()


def llama(quick: bool) -> nn.Module:
    """A Llama-like model with grouped queries, of 155 million parameters or small, random weights."""
    torch.manual_seed(0)
    small: Any = QUICK | {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 500}
    large: Any = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 8}
    large |= {"num_attention_heads": 16, "num_key_value_heads": 4}
    return LlamaForCausalLM(LlamaConfig(**(small if quick else large))).eval()


def peak_above_start(work: Callable[[], object]) -> tuple[float, int]:
    """Seconds that `work` takes, and the most bytes the process held above what it held before."""
    gc.collect()
    process, done = psutil.Process(), threading.Event()
    start = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = time.perf_counter()
    result = work()  # held until it is measured
    seconds = time.perf_counter() - before
    done.set()
    watcher.join()
    peak = max(peak, process.memory_info().rss)
    del result
    return seconds, peak - start


def in_a_fresh_process(
    script: str, *arguments: str, seconds: float | None = None
) -> dict[str, Any]:
    """What a script prints as JSON in its last line, run in a process of its own; `TimeoutExpired`
    (of `subprocess`) after so many seconds."""
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds)
    return json.loads(done.stdout.splitlines()[-1])
