"""The learner's side: it runs the cells of one notebook, and answers what the judge asks.

It runs in the sandbox, in a copy of the course that holds no right answer.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import nn

from course_lib.checks.guarding import PATIENCE, SECONDS, at_most, untouched
from course_lib.grading import wire

# Seconds of the clock for a call: the worker gives up a sleeper before the judge's own clock ends.
CLOCK = SECONDS * (PATIENCE - 1)


def serve(sock: socket.socket) -> None:
    """Answer until the judge hangs up."""
    shell: Any = InteractiveShell.instance()
    shell.showtraceback = lambda *given, **more: None  # told to the judge instead
    shell.showsyntaxerror = shell.showtraceback
    streams: list[Any] = [sys.stdout, sys.stderr]
    for stream in streams:  # one after the other, as they were written
        stream.reconfigure(line_buffering=True)

    def answer(what: str, *values: Any) -> Any:
        try:
            if what == "call":
                return call(shell.user_ns, *values)
            if what == "run":
                return run(shell, *values)
            known: dict[str, Any] = {"backward": wire.backward, "look": look, "forget": peer.forget}
            return known[what](*values)
        finally:
            if os.getpid() != first:  # a process that the learner's code has forked
                os._exit(0)

    def look(name: str) -> Any:
        """A variable's value; of a function, that it is one."""
        value = shell.user_ns[name]
        is_function = callable(value) and not isinstance(value, nn.Module)
        return {"function": True} if is_function else {"value": value, **folder(value)}

    first = os.getpid()
    peer = wire.Peer(sock, answer, guest=False)
    peer.answer_all()


def call(names: dict[str, Any], name: str, given: Any, more: Any, seed: int) -> Any:
    """What the function gives, and its arguments, which it may have changed."""
    with untouched(seed), at_most(SECONDS, CLOCK):
        return [names[name](*given, **more), given, more]


def run(shell: InteractiveShell, source: str, seconds: float) -> dict[str, Any]:
    """What a cell stops with, if it does; what it prints goes another way."""
    with at_most(seconds):
        result = shell.run_cell(source)
    sys.stdout.flush()
    sys.stderr.flush()
    error = result.error_before_exec or result.error_in_exec
    if error is None:
        return {}
    name, text, shown = type(error).__name__, "its text cannot be shown", [""]
    with contextlib.suppress(Exception):  # a learner's class may do anything here
        text = str(error)[:2000]
        lines = shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
        shown = [line[:2000] for line in lines[-20:]]
    return {"name": name, "text": text, "lines": shown}


def folder(value: Any) -> dict[str, Any]:
    """The files of the folder that an answer names, as tensors of bytes."""
    if not isinstance(value, str | Path) or not os.path.exists(value):
        return {}
    if not os.path.isdir(value):
        return {"files": None}
    found, left = {}, wire.FILES
    for path in sorted(Path(value).iterdir()):
        if path.is_file() and path.stat().st_size <= left:
            content = bytearray(path.read_bytes() or b" ")
            found[path.name] = torch.frombuffer(content, dtype=torch.uint8)
            left -= len(content)
    return {"files": found}
