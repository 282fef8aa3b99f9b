"""A script on two CPU processes, as a person would start it on several GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

END = """
PartialState().wait_for_everyone()
PartialState().destroy_process_group()
"""


def run_on_two(script: str, folder: Path) -> list[dict[str, Tensor]]:
    """What each process has saved as RANK.safetensors in the folder that is its argument.

    The script imports Accelerate's PartialState.
    """
    file = folder / "two.py"
    file.write_text(script + END)
    launch_two(file, str(folder))
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
