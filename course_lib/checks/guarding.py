"""Run a learner's code so that nothing of it stays behind: no seed, no switch, no endless loop."""

from __future__ import annotations

import contextlib
import ctypes
import random
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = str(Path(__file__).parent)
SECONDS = 20.0  # of computing, for one try; a right answer takes far less than one
PATIENCE = 6.0  # times as many seconds on the clock: others may be busy, or the answer sleeps
WAIT = 300.0  # and at most so many seconds more than it may compute


@dataclass(frozen=True)
class Mistake:
    """One known way to go wrong.

    Attributes:
        name: in a few words, as a teacher would call it.
        why: what it does to the result and why that matters; one or two sentences, no answer in code.
        wrong: the edits of the right answer that make it; or, where none is small, what is then `Seen`.
    """

    name: str
    why: str
    wrong: Any = ()


class Seen(dict[str, Any]):
    """What the tries give, said directly: a try's description → a value or a `Range`."""


@dataclass(frozen=True)
class Trouble:
    """What came of a try that gave no value; `final` if no later try can give one."""

    mistake: Mistake = field(compare=False)
    came: str
    final: bool = False


class TroubleError(Exception):
    """Something is wrong before any value can be compared."""

    def __init__(self, mistake: Mistake, came: str) -> None:
        super().__init__(mistake.name)
        self.mistake, self.came = mistake, came


class TooLongError(BaseException):
    """Raised in a learner's code that does not end; `except Exception` must not catch it."""


UNWRITTEN = Mistake(
    "nothing is written yet",
    "Replace `raise NotImplementedError()` by your code, run that cell, then this one.",
)
EMPTY = Mistake("nothing is returned", "Does each path through your function end in `return`?")
CHANGED = Mistake(
    "the input is changed in place",
    "The caller still needs it, with its sizes, its mode and its gradients: work on a copy.",
)
STOPPED = Mistake("it stops with an error", "Call it yourself and read the last line.")
ENDLESS = Mistake(
    "it does not come to an end",
    "Is there a loop whose condition never changes? Print inside the loop what it goes by.",
)
EXITS = Mistake(
    "it leaves Python",
    "exit() and sys.exit() end the whole notebook. A function ends with `return`.",
)
LEFT = Mistake(
    "a global switch is left on",
    "Everything that runs afterwards, in any cell, is affected. Use it as a context, `with …:`, which "
    "switches back.",
)


@contextlib.contextmanager
def untouched(start: int = 0) -> Iterator[None]:
    """Seeded by `start`; random states, default dtype and grad mode are afterwards what they were."""
    states = random.getstate(), np.random.get_state()
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbgrader would take points for them
        for seed in (torch.manual_seed, random.seed, np.random.seed):
            seed(start)
        try:
            yield
            now = {"grad mode": torch.is_grad_enabled() == grad}
            now["default dtype"] = torch.get_default_dtype() == dtype
            if changed := [name for name, same in now.items() if not same]:
                raise TroubleError(LEFT, f"your answer, and another {changed[0]} from then on")
        finally:
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(grad)
            random.setstate(states[0])
            np.random.set_state(states[1])


def on_the_clock(seconds: float) -> float:
    """The seconds on the clock for so many of computing.

    Example:
        >>> on_the_clock(20), on_the_clock(900)
        (120.0, 1200.0)
    """
    return min(PATIENCE * seconds, seconds + WAIT)


@contextlib.contextmanager
def at_most(seconds: float, clock: float = 0) -> Iterator[None]:
    """Raise `TooLongError` in this thread once so much time has gone, again and again until it ends.

    Args:
        seconds: of computing.
        clock: seconds on the clock (default: `on_the_clock` of them).
    """
    thread, over, lock = ctypes.c_ulong(threading.get_ident()), threading.Event(), threading.Lock()
    error, sent = ctypes.py_object(TooLongError), list[bool]()
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    computed = time.process_time() + seconds
    end = time.monotonic() + (clock or on_the_clock(seconds))

    def watch() -> None:
        while not over.wait(min(0.2, seconds)):  # a bare `except:` may catch the first
            with lock:
                late = time.process_time() > computed or time.monotonic() > end
                if late and not over.is_set():
                    sent.append(True)
                    raise_in(thread, error)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        while True:
            try:  # the first thing here: an error may come at any line
                with lock:
                    over.set()
                if sent:  # one that is on its way would come too late: this one takes its place
                    sent.clear()
                    raise_in(thread, error)  # none at all would leave Python waiting for it
                    while True:
                        pass
                break
            except TooLongError:
                pass


def guarded(attempt: Callable[[Any], Any], answer: Any, ours: bool = False, seed: int = 0) -> Any:
    """What comes of one try, or the `Trouble` that it makes; an answer of ours may take its time, as
    PyTorch imports half of itself when it is first used."""
    try:
        with untouched(seed), contextlib.nullcontext() if ours else at_most(SECONDS):
            return attempt(answer)
    except KeyboardInterrupt:
        raise
    except TooLongError:
        clock = f"about {PATIENCE * SECONDS / 60:.1g} minutes on the clock"
        came = f"nothing within {SECONDS:g} seconds of computing, or {clock}"
        return Trouble(ENDLESS, came, final=True)
    except BaseException as error:
        return trouble(error)


def trouble(error: BaseException) -> Trouble:
    """What to say of an exception: what it is, and at which line of the learner's."""
    if isinstance(error, TroubleError):
        return Trouble(error.mistake, error.came)
    if isinstance(error, NotImplementedError) and not error.args:  # PyTorch's own ones say more
        return Trouble(UNWRITTEN, "NotImplementedError", final=True)
    if isinstance(error, SystemExit):
        return Trouble(EXITS, "SystemExit", final=True)
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith((HERE, sys.prefix, sys.base_prefix))]
    line = getattr(error, "at", own[-1].line if own else "")  # `at`: from another process
    why = f"It happens at: {line}" if line else STOPPED.why
    first = str(error).split("\n")[0]
    return Trouble(Mistake(STOPPED.name, why), f"{type(error).__name__}: {first}")
