"""Work on two CPU processes, as a person would have it done on several GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import PartialState, debug_launcher
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from torch import Tensor


def run_on_two(make: Callable[[], dict[str, Tensor]], folder: Path) -> list[dict[str, Tensor]]:
    """What `make` gives on each of two CPU processes. They are forks: nothing is imported anew."""

    def process() -> None:
        # This process had found itself alone.
        AcceleratorState._reset_state(reset_partial_state=True)
        result = make()
        state = PartialState()
        assert state.num_processes == 2
        save_file(result, folder / f"{state.process_index}.safetensors")
        state.wait_for_everyone()
        state.destroy_process_group()

    if torch.cuda.is_initialized():
        pytest.skip("a process that used a GPU cannot be forked; test_docs.py starts two afresh")
    debug_launcher(process, num_processes=2)
    return [load_file(folder / f"{rank}.safetensors") for rank in (0, 1)]


def launch_two(file: Path, *arguments: str) -> str:
    """Start a script on two processes; what they print.

    --multi_gpu asks for several processes; without a GPU they are CPU processes on gloo. With --cpu
    accelerate starts one process only, unless MPI is there. Port 0: one that is free.
    """
    # Without it a process may crash while Python ends: "terminate called without an active exception".
    assert "destroy_process_group()" in file.read_text(), "the script leaves its process group open"
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launcher += ["--main_process_port", "0"]
    done = subprocess.run(
        [sys.executable, *launcher, str(file), *arguments],
        cwd=Path(__file__).parents[1],
        env=os.environ
        | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
