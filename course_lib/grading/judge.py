"""The judge: runs a notebook's cells in the sandbox, and calls the learner's answers from outside.

The right answers and the known mistakes stay in this process. What comes out of the sandbox is data.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from nbformat import NotebookNode
from nbformat.v4 import new_output

from course_lib import checks
from course_lib.checks.guarding import (
    LEFT,
    SECONDS,
    Seen,
    TooLongError,
    TroubleError,
    on_the_clock,
)
from course_lib.grading import family, memory, sandbox, wire, worker

SHOWN = 20_000  # bytes of a cell's output that are kept
MEMORY = "it takes too much memory"
CROWDED = "it starts too many processes"
GRACE = 5.0  # seconds more than the worker gives itself: it may have been about to answer
CROWD = sandbox.LIMITS["processes"] // 2  # those that it has started and that are not gone
CALL = re.compile(r"checks\.(\w+)\((\w+)\)")


class Session:
    """One learner's notebook, in as many workers as it takes: who ends one loses that cell alone."""

    def __init__(
        self, nursery: sandbox.Nursery, files: Path | None, seconds: dict[str, float]
    ) -> None:
        self.nursery, self.files, self.seconds = nursery, files, seconds
        self.done: list[tuple[str, float]] = []
        self.places: list[tempfile.TemporaryDirectory[str]] = []
        self.pid, self.whole, self.looked = 0, True, 0.0
        self.began: float | None = None
        over = f"the {seconds['notebook']:g} seconds for the whole notebook are over"
        self.end = time.monotonic() + seconds["notebook"], over

    def ready(self) -> None:
        """See to it that there is a worker in which all cells have run that came to an end."""
        if not self.whole:
            self.stop()
        if self.pid:
            return
        self.pid, sock, self.output = self.nursery.start(self.files)
        self.peer = wire.Peer(sock, serve, guest=True)
        self.peer.wait, self.peer.also = self.wait, [self.output]
        for source, seconds in self.done:
            self.ask("run", seconds, source, seconds)

    def stop(self) -> None:
        self.whole = True
        if self.pid:
            self.nursery.end(self.pid)
            self.peer.sock.close()
            os.close(self.output)
            self.pid = 0

    def ask(self, what: str, seconds: float, *values: Any, clock: float = 0) -> Any:
        """What the worker answers within so many seconds.

        Args:
            what: is asked, of these values.
            seconds: of computing; the worker itself stops at them, a little earlier.
            clock: seconds on the clock (default: `on_the_clock` of them).
        """
        self.text = bytearray()
        self.more, self.whole, self.began = 0, False, None
        clock = clock or on_the_clock(seconds)
        took = f"it was not done within {seconds:g} seconds of computing, or {clock:g} on the clock"
        self.most = seconds + GRACE, took
        self.late = min((time.monotonic() + clock + GRACE, took), self.end)
        try:
            try:
                found = self.peer.request(what, *values)
            except (Exception, SystemExit):
                self.look_around()
                raise
            self.look_around()
        except wire.GoneError:
            self.read()
            greedy = self.nursery.greedy(self.pid)
            self.stop()
            if greedy:
                raise wire.GoneError(MEMORY) from None
            raise
        except (Exception, SystemExit):  # the learner's own, which has arrived
            self.read()
            self.whole = True
            raise
        self.read()
        self.whole = True  # else Ctrl-C or the time's end came in the middle of a message
        return found

    def wait(self) -> None:
        """Read what the worker prints, and see to it that it takes neither too long nor too much."""
        self.read()
        if time.monotonic() > self.late[0]:
            raise wire.LateError(self.late[1])
        if time.monotonic() > self.looked + 0.25:
            self.look()
            self.looked = time.monotonic()

    def look_around(self) -> set[int]:
        """The worker and its children; a crowd would take the time of all that follows."""
        everyone = family.of(self.pid)
        if len(everyone) > CROWD:
            raise wire.GoneError(CROWDED)
        return everyone

    def look(self) -> None:
        """How many they are, how long they have computed since they were asked, what they take."""
        everyone = self.look_around()
        computed = family.computed(everyone)
        if self.began is None:
            self.began = computed
        if computed > self.began + self.most[0]:
            raise wire.LateError(self.most[1])
        if memory.taken(everyone) > sandbox.LIMITS["memory"]:
            raise wire.GoneError(MEMORY)

    def read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(256):  # somebody may print faster than this reads
                some = os.read(self.output, 2**20)
                room = max(0, SHOWN - len(self.text))
                self.text += some[:room]
                self.more += max(0, len(some) - room)

    def run(self, source: str, seconds: float) -> list[NotebookNode]:
        """A cell's outputs."""
        try:
            self.ready()
            stopped = self.ask("run", seconds, source, seconds)
            self.done.append((source, seconds))
            said = str(stopped.get("name", "")), str(stopped.get("text", ""))
            lines = [str(line) for line in stopped.get("lines", [])]
        except wire.GoneError as error:
            said, lines = ("Ended", f"This cell has ended Python: {error}."), []
            stopped = {"name": "Ended"}
        except (Exception, SystemExit) as error:  # one that has left the cell: at a bad moment
            said, lines, stopped = (type(error).__name__, str(error)), [], {"name": "error"}
        outputs = []
        if self.text:
            shown = self.text.decode("utf-8", errors="ignore" if self.more else "replace")
            rest = f"\n… and {self.more:,} more bytes\n" if self.more else ""
            outputs.append(new_output("stream", name="stdout", text=shown + rest))
        if stopped:
            lines = lines or [f"{said[0]}: {said[1]}"]
            outputs.append(new_output("error", ename=said[0], evalue=said[1], traceback=lines))
        return outputs

    def answer(self, name: str) -> Any:
        """The learner's function, called from here; or the value of the variable."""
        self.ready()
        self.ask("forget", 5)
        self.peer.forget()
        said = self.ask("look", 60, name)
        if said.get("function"):
            return lambda *given, **more: self.call(name, list(given), more)
        value = said["value"]
        ours = isinstance(value, str | Path) and os.path.exists(value)
        if not ours and "files" not in said:
            return value
        self.places.append(tempfile.TemporaryDirectory(prefix="answer-"))
        return _copy(Path(self.places[-1].name), said)

    def call(self, name: str, given: list[Any], more: dict[str, Any]) -> Any:
        seed = int(torch.randint(2**31, ()))
        if not self.pid or not self.whole:  # ended by an earlier try, or in the middle of a message
            raise SystemExit
        try:
            return self.ask("call", SECONDS, name, given, more, seed, clock=worker.CLOCK)[0]
        except wire.LateError:
            raise TooLongError from None
        except wire.GoneError:
            raise SystemExit from None
        except Exception as error:
            kind = type(error).__name__
            if kind == "TooLongError":
                raise TooLongError from None
            if kind == "TroubleError":
                came = "your answer, and another grad mode or default dtype from then on"
                raise TroubleError(LEFT, came) from None
            raise


def serve(what: str, *values: Any) -> Any:
    """What the learner's side may ask of the judge: to call a function that it was given."""
    if what == "backward":
        return wire.backward(*values)
    function, given, more = values
    if what != "call" or not callable(function):
        raise ValueError(what)
    return [function(*given, **more), given]


def _copy(place: Path, said: dict[str, Any]) -> Path:
    """A copy of what an answer names in the sandbox; its path may lead to a file of ours out here."""
    if "files" not in said:
        return place / "nothing"
    if said["files"] is None:
        place.joinpath("file").touch()
        return place / "file"
    left = wire.FILES  # the learner's side keeps to it, too, unless somebody has changed it
    for name, content in said["files"].items():
        left -= content.nbytes
        if left < 0:
            raise ValueError(f"a folder of more than {wire.FILES:,} bytes")
        place.joinpath(Path(str(name)).name).write_bytes(content.numpy().tobytes())
    return place


def grade(cells: list[NotebookNode], session: Session) -> None:
    """Run the cells, judge the checks, and write below each what came of it."""
    calls = [CALL.fullmatch(cell.source.strip()) if is_check(cell) else None for cell in cells]
    for place, cell in enumerate(cells):
        if cell.cell_type != "code":
            continue
        following = next((call[1] for call in calls[place:] if call), None)
        seconds = session.seconds["training" if trains(following) else "cell"]
        cell.execution_count = None
        if call := calls[place]:
            cell.outputs = [verdict(call[1], call[2], session)]
        else:
            cell.outputs = session.run(cell.source, seconds)


def trains(check: str | None) -> bool:
    """Whether it is a challenge, whose answers train something, or what comes after the last check."""
    return check is None or isinstance(getattr(checks, check).right, Seen)


def is_check(cell: NotebookNode) -> bool:
    return bool(cell.metadata.get("nbgrader", {}).get("grade"))


def verdict(check: str, name: str, session: Session) -> NotebookNode:
    """What a check says of an answer, without the expected values: an output, or an error."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), memory.in_memory(2 * sandbox.LIMITS["memory"]):
            getattr(checks, check)(session.answer(name))
        return new_output("stream", name="stdout", text=said.getvalue())
    except checks.WrongAnswerError as error:
        kind, lines = "WrongAnswerError", error.without("expected")
    except wire.GoneError as error:
        kind, lines = "Ended", [f"{check}: not yet", f"  Python has ended: {error}"]
    except (Exception, SystemExit, TooLongError) as error:  # the learner's can be of any kind
        kind, lines = type(error).__name__, [f"{type(error).__name__}: {error}"]
    return new_output("error", ename=kind, evalue=lines[0], traceback=lines)
