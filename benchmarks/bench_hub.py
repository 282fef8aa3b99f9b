"""How many learners who move a slider does a hub on this machine hold?

    sudo .venv/bin/python benchmarks/bench_hub.py             # adds learners until it is too slow
    sudo .venv/bin/python benchmarks/bench_hub.py --quick     # two learners, three seconds

Each learner has an account, a JupyterLab and a kernel on the hub of `deploy/jupyterhub`, and moves the
slider of lesson 1 once a second. What is timed is a move, from the request over the proxy to the
kernel's reply. The learners' side, a Python thread each, runs on the same machine. As root.

On a busy machine the times say little, and `CPU ms`, the processor time that a move takes on the hub's
side, says more: two cores have 2,000 of them a second.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "deploy"), str(TESTS / "browser"), str(TESTS)]

import hub_driver  # noqa: E402

GOAL = 1.0  # second, for 95 of 100 moves
LEARNERS = (2, 4, 8, 12, 16, 20, 24, 28, 32)  # side by side, more and more
ROOM = 4e9  # bytes that stay free; beyond, the system would end processes
BEFORE = """
import torch
torch.set_num_threads(1)
from course_lib import datasets, models
from course_lib.lessons import sliders
network, images = models.build(models.LeNet300), datasets.mnist()["validation"]
explorer = sliders.sparsity_explorer(network, images)
slider = explorer.controls[-1]
print(len(slider.options))
"""


class Learner:
    """A kernel with a slider in it, and how many positions that has."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.positions = int(hub_driver.execute(kernel, BEFORE))

    def move(self, position: int) -> float:
        """Seconds that a move takes."""
        before = time.perf_counter()
        hub_driver.execute(self.kernel, f"slider.index = {position}")
        return time.perf_counter() - before

    def play(self, seconds: float, begin: threading.Barrier, seed: int) -> list[float]:
        """Move once a second, or at once where the last move took longer; seconds of each move."""
        chance = random.Random(seed)
        begin.wait()
        time.sleep(chance.random())  # learners do not move in step
        start, taken = time.monotonic(), []
        while time.monotonic() - start < seconds:
            taken.append(self.move(chance.randrange(self.positions)))
            time.sleep(max(0.0, start + len(taken) - time.monotonic()))
        return taken


def arrive(hub: hub_driver.Hub, name: str) -> Learner:
    """Log in, start JupyterLab and a kernel."""
    learner = hub_driver.log_in(hub, name)
    hub_driver.start_server(hub, learner)
    return Learner(hub_driver.open_kernel(learner))


class Moves(NamedTuple):
    """Seconds that each move took, and of the processor's time on the hub's side for one."""

    taken: list[float]
    processor: float


def measure(hub: hub_driver.Hub, learners: list[Learner], seconds: float) -> Moves:
    """What the moves of all of them take, while they move side by side."""
    begin, before = threading.Barrier(len(learners)), hub.seconds()
    with ThreadPoolExecutor(len(learners)) as pool:
        plays = [pool.submit(one.play, seconds, begin, i) for i, one in enumerate(learners)]
        taken = [time for play in plays for time in play.result()]
    return Moves(taken, (hub.seconds() - before) / len(taken))


def report(learners: int, moves: Moves, seconds: float) -> str:
    """A line of the table."""
    middle, slow = np.percentile(moves.taken, [50, 95])
    memory = psutil.virtual_memory()
    return (
        f"{learners:8}{len(moves.taken) / seconds:9.1f}{1000 * middle:11.0f}{1000 * slow:9.0f}"
        f"{1000 * moves.processor:8.0f}{(memory.total - memory.available) / 1e9:9.1f}"
        f"{os.getloadavg()[0]:8.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    seconds, levels = (3.0, LEARNERS[:1]) if quick else (20.0, LEARNERS)
    names = [f"bench-{os.getpid()}-{i}" for i in range(levels[-1])]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # the accounts go, too
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores; load before: {load:.1f}; goal: 95 % within {GOAL:g} s")
    titles = (
        ("moves/s", 9),
        ("median ms", 11),
        ("95 % ms", 9),
        ("CPU ms", 8),
        ("GB used", 9),
        ("load", 8),
    )
    print("learners" + "".join(f"{title:>{width}}" for title, width in titles))
    held = 0
    with (
        hub_driver.open_doors(),
        hub_driver.open_folder() as folder,
        hub_driver.accounts(*names),
        hub_driver.serve(folder) as hub,
        ThreadPoolExecutor(2) as pool,
    ):
        learners: list[Learner] = []
        for level in levels:
            new = names[len(learners) : level]
            learners += pool.map(lambda name: arrive(hub, name), new)
            moves = measure(hub, learners, seconds)
            print(report(level, moves, seconds), flush=True)
            if np.percentile(moves.taken, 95) > GOAL:
                break
            held = level
            if psutil.virtual_memory().available < ROOM:
                print("There is no memory for more.")
                break
    print(f"This machine holds {held} learners.")


if __name__ == "__main__":
    main()
