"""How many learners who move a slider does a hub on this machine hold?

    sudo .venv/bin/python benchmarks/bench_hub.py             # adds learners until it is too slow
    sudo .venv/bin/python benchmarks/bench_hub.py --quick     # two learners, three seconds

Each learner has an account, a JupyterLab and a kernel on the hub of `deploy/jupyterhub`, and moves the
slider of lesson 1 once a second. What is timed is a move, from the request over the proxy to the
kernel's reply. The learners' side, a Python thread each, runs on the same machine. As root. It adds
learners until they are too slow or memory is full; then all that are there move without a pause.

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
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "deploy"), str(TESTS / "browser"), str(TESTS)]

import hub_driver  # noqa: E402

GOAL = 1.0  # second, for 95 of 100 moves
LEARNERS = (2, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64)  # side by side, more and more
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

    def __init__(self, account: hub_driver.Learner) -> None:
        self.account = account
        self.address = hub_driver.start_kernel(account)
        with closing(self.connect()) as kernel:
            self.positions = int(hub_driver.execute(kernel, BEFORE))

    def connect(self) -> Any:
        return hub_driver.connect(self.account, self.address)

    def play(self, pause: float, seconds: float, begin: threading.Barrier) -> list[float]:
        """Begin a move each `pause`, or at once where the last took longer; seconds of each move."""
        chance, taken = random.Random(self.address), []
        with closing(self.connect()) as kernel:  # the last one was closed while others arrived
            begin.wait(timeout=120)  # one that cannot connect must not hold up all others for ever
            time.sleep(pause * chance.random())  # learners do not move in step
            start = time.monotonic()
            while time.monotonic() - start < seconds:
                before = time.perf_counter()
                position = chance.randrange(self.positions)
                hub_driver.execute(kernel, f"slider.index = {position}")
                taken.append(time.perf_counter() - before)
                time.sleep(max(0.0, start + pause * len(taken) - time.monotonic()))
        return taken


def arrive(hub: hub_driver.Hub, name: str) -> Learner:
    """Log in, start JupyterLab and a kernel."""
    account = hub_driver.log_in(hub, name)
    hub_driver.start_server(hub, account)
    return Learner(account)


class Moves(NamedTuple):
    """Seconds that each move took, and of the processor's time on the hub's side for one."""

    taken: list[float]
    processor: float


def measure(
    hub: hub_driver.Hub, learners: list[Learner], seconds: float, pause: float = 1.0
) -> Moves:
    """What the moves of all of them take, while they move side by side, one each `pause`."""
    before: list[float] = []  # when all are connected
    begin = threading.Barrier(len(learners), action=lambda: before.append(hub.seconds()))
    with ThreadPoolExecutor(len(learners)) as pool:
        plays = [pool.submit(one.play, pause, seconds, begin) for one in learners]
        taken = [time for play in plays for time in play.result()]
    return Moves(taken, (hub.seconds() - before[0]) / len(taken))


def slow(moves: Moves) -> float:
    """Seconds within which 95 of 100 moves are done."""
    return float(np.percentile(moves.taken, 95))


def how_many_next(learners: int, level: int, used: float, free: float) -> int:
    """How many learners to try next: so many as the next level says, or fewer where memory ends.

    Args:
        learners: that are there, and use `used` bytes together; `free` bytes are left.
        level: that comes next.
    """
    if used <= 0:  # another program has ended meanwhile
        return level
    return min(level, learners + max(0, int((free - ROOM) * learners / used)))


def report(learners: int, moves: Moves, seconds: float) -> str:
    """A line of the table."""
    middle = np.percentile(moves.taken, 50)
    memory = psutil.virtual_memory()
    return (
        f"{learners:8}{len(moves.taken) / seconds:9.1f}{1000 * middle:11.0f}{1000 * slow(moves):9.0f}"
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
    with (
        hub_driver.open_doors(),
        hub_driver.open_folder() as folder,
        ExitStack() as accounts,
        hub_driver.serve(folder) as hub,
    ):
        print(add_learners(hub, accounts, levels, seconds))


def add_learners(
    hub: hub_driver.Hub, accounts: ExitStack, levels: tuple[int, ...], seconds: float
) -> str:
    """Print a line for each level that the machine holds, and one without pauses; the last words."""
    learners: list[Learner] = []
    held, free, why = 0, psutil.virtual_memory().available, "more were not tried"
    for level in levels:
        now = psutil.virtual_memory().available
        many = how_many_next(held, level, free - now, now) if held else level
        if many == held:
            why = "there is no memory for more"
            break
        new = [f"bench-{os.getpid()}-{i}" for i in range(held, many)]
        accounts.enter_context(hub_driver.accounts(*new))
        with ThreadPoolExecutor(2) as pool:
            learners += pool.map(lambda name: arrive(hub, name), new)
        moves = measure(hub, learners, seconds)
        print(report(many, moves, seconds), flush=True)
        if slow(moves) > GOAL:
            why = "more are too slow"
            break
        held = many
    moves = measure(hub, learners[:held], seconds, pause=0.0) if held else None
    if moves is None:
        return "This machine holds no learners."
    print(report(held, moves, seconds) + "  without a pause")
    return (
        f"This machine holds {held} learners: {why}. If all of them move without a pause, 95 % of the "
        f"moves are done within {slow(moves):.2f} s."
    )


if __name__ == "__main__":
    main()
