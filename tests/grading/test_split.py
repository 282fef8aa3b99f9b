"""Each check, called from another process, says of an answer what it says in the kernel.

The other process runs harmless answers only, without a sandbox: it is about what goes to and fro.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from nbformat.v4 import new_code_cell

sys.path.insert(0, str(Path(__file__).parents[2]))  # tools/ is not installed

from course_lib import checks
from course_lib.checks import guarding
from course_lib.checks.checking import IMPORTED, Check, edited
from course_lib.checks.guarding import Seen, TooLongError
from course_lib.grading import judge, steps, wire, worker
from course_lib.pruning import sparsity
from tools import exercises, notebooks

FUNCTIONS = [
    check
    for lesson in checks.LESSONS.values()
    for check in vars(lesson).values()
    if isinstance(check, Check) and isinstance(check.right, str)
]


class Here:
    """Stands for the nursery: a worker is a fork of this process."""

    level = "namespaces"

    def start(self, files):
        mine, its = socket.socketpair()
        read, write = os.pipe()
        os.set_blocking(read, False)
        child = os.fork()
        if not child:
            mine.close()
            os.dup2(write, 1)
            os.dup2(write, 2)
            try:
                worker.serve(its)
            finally:
                os._exit(0)
        its.close()
        os.close(write)
        return child, mine, read

    def greedy(self, pid):
        return False

    def end(self, pid):
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@pytest.fixture
def session(monkeypatch):
    monkeypatch.setattr(judge.memory, "taken", lambda pid: 0)
    nursery: Any = Here()
    one = judge.Session(nursery, None, {"cell": 60, "training": 60, "notebook": 600})
    yield one
    one.stop()


def told(check, answer):
    wrong = check.find(answer)
    return wrong and (wrong.mistake, wrong.without("came"))


@pytest.mark.parametrize("check", FUNCTIONS, ids=lambda check: check.name)
def test_right_and_wrong_answers_are_told_the_same(check, session):
    names = IMPORTED | dict(check.imported or {})
    lines = [
        f"import {m.__name__} as {n}" for n, m in names.items() if type(m).__name__ == "module"
    ]
    assert session.run("\n".join([*lines, "from scipy.stats import binomtest"]), 60) == []
    wrong = [mistake for mistake in check.known if not isinstance(mistake.wrong, Seen)]
    for source in [check.right, *(edited(check.right, mistake) for mistake in wrong[:2])]:
        assert session.run(source, 20) == []
        there = told(check, session.answer(check.name))
        assert there == told(check, check.made(source)), source
    assert told(check, session.answer(check.name)) or not wrong


def test_every_graded_cell_can_be_judged_from_outside():
    for master in notebooks.find_sources([], exercises.SOURCES):
        for cell in filter(judge.is_check, notebooks.build(master).cells):
            call = judge.CALL.fullmatch(cell.source.strip())
            assert call and isinstance(getattr(checks, call[1]), Check), (
                f"{master.name}: {cell.source}"
            )


NETWORKS = """
import torch, transformers
from course_lib import models, pruning
from course_lib.checks import given
vit = transformers.ViTForImageClassification(transformers.ViTConfig(**given.VIT)).eval()
net = models.build(models.SmallCNN)
masked = pruning.apply_masks(net, pruning.global_masks(net, 0.9)).eval()
pictures = torch.rand(2, 1, 28, 28)
says = vit(pictures).logits.detach(), masked(pictures).detach()

class Own(torch.nn.Module):
    pass

own = Own()
"""


def test_networks_come_over_whole_and_unknown_classes_do_not(session):
    assert session.run(NETWORKS, 60) == []
    pictures, says = session.answer("pictures"), session.answer("says")
    torch.testing.assert_close(session.answer("vit")(pictures).logits, says[0])
    masked = session.answer("masked")  # with its masks still attached
    torch.testing.assert_close(masked(pictures), says[1])
    assert sparsity(masked) == pytest.approx(0.9, abs=1e-3)
    own = session.answer("own")
    assert type(own).__name__ == "Own" and not isinstance(own, torch.nn.Module)


def told_by_a_liar(value):
    """What the judge makes of an answer that no worker of ours has sent."""
    mine, its = socket.socketpair()
    text = json.dumps({"id": 1, "value": value}).encode()
    blob = safetensors.torch.save({"0": torch.zeros(8, dtype=torch.uint8)})
    its.sendall(struct.pack("<II", len(text), len(blob)) + text + blob)
    return wire.Peer(mine, lambda *_: None, guest=True).request("look", "x")


@pytest.mark.parametrize("given", ["my_folder", "str(my_folder)"])
def test_a_folder_comes_over_as_a_copy(session, tmp_path, given):
    lines = [f"my_folder = Path({str(tmp_path)!r}, 'mine')", "my_folder.mkdir(exist_ok=True)"]
    lines += ["(my_folder / 'model.txt').write_text('weights')", f"answer = {given}"]
    assert session.run("\n".join(["from pathlib import Path", *lines]), 20) == []
    found = session.answer("answer")
    assert (found / "model.txt").read_text("utf-8") == "weights"
    assert found != tmp_path / "mine"


def test_who_reads_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(wire, "UNREAD", 0.2)
    mine, its = socket.socketpair()
    with pytest.raises(wire.GoneError), its:
        wire.Peer(mine, print, guest=True).request("call", torch.zeros(10**6))


STORE = {"n": 1, "k": "storage", "v": "0"}
TENSOR = {"n": 0, "k": "tensor", "storage": None, "offset": 0, "learns": False, "parameter": False}


@pytest.mark.parametrize(
    "value",
    [
        {"n": 0, "k": "function"},
        {"n": 0, "k": "remote", "training": True},
        {"n": 7},
        {"k": "eval", "v": "1"},
        TENSOR | {"as": ["load", [1], [1]], "grad": None},
        TENSOR | {"as": ["float32", [4], [1]], "grad": None, "storage": STORE},
        TENSOR | {"as": ["float32", [10**15], [1]], "grad": None},
        {"n": 0, "k": "object", "class": "torch.nn.modules.linear:Linear", "v": 3},
    ],
    ids=str,
)
def test_what_a_worker_cannot_say_is_refused(value):
    with pytest.raises(wire.GoneError):
        told_by_a_liar(value)


def test_a_path_names_nothing_outside_of_the_sandbox(session, monkeypatch, tmp_path):
    monkeypatch.setattr(session, "ask", lambda *_: {"value": str(tmp_path)})
    session.peer = wire.Peer(socket.socketpair()[0], print, guest=True)
    assert not session.answer("my_folder").exists()


@pytest.mark.parametrize("name", ["subprocess:Popen", "torch.optim.sgd:SGD", "os:path"])
def test_a_class_whose_code_is_not_known_stays_a_name(name):
    value = told_by_a_liar({"n": 0, "k": "object", "class": name, "v": []})
    assert isinstance(value, wire.Opaque) and type(value).__name__ == name.partition(":")[2]


BYTES = TENSOR | {"as": ["uint8", [10**6, 10**6], [0, 0]], "grad": None, "storage": STORE}
SELF = {"n": 0, "k": "list", "v": [{"n": 0}]}


def nested(depth):
    """A list of ten times the same list of ten times the same list, and so on."""
    inner = {"n": depth, "k": "list", "v": [0]}
    for number in reversed(range(depth)):
        inner = {"n": number, "k": "list", "v": [inner, *[{"n": number + 1}] * 9]}
    return inner


@pytest.mark.parametrize(
    "value",
    [
        BYTES,
        {"k": "tuple", "v": [nested(9)]},
        {"k": "iterator", "v": [nested(9)]},
        SELF,
        TENSOR | {"as": ["float32", [4], [1]], "grad": None},
    ],
    ids=["expanded", "nested", "iterator", "within itself", "no memory"],
)
def test_little_that_stands_for_much_is_refused(value):
    """Before, the judge walked over it without an end, or read memory that was another's."""
    with pytest.raises(wire.GoneError):
        told_by_a_liar(value)


def test_what_is_shared_comes_over_shared():
    first, second, *_ = told_by_a_liar(nested(3))
    assert first is second and wire.weight(first) == wire.weight(second)
    assert told_by_a_liar(BYTES | {"as": ["uint8", [3, 8], [0, 1]]}).tolist() == [[0] * 8] * 3


@pytest.mark.parametrize(
    "name",
    [
        "torch.nn.modules.linear:math",
        "torch.nn.modules.module:torch.optim.SGD",
        "course_lib.models.zoo:PreTrainedModel",
        "course_lib.models.zoo:Path",
        "transformers.activations_tf:Anything",
    ],
)
def test_a_class_is_named_where_it_is_defined(name):
    """Before, all that a known module had imported was known, too."""
    value = told_by_a_liar({"n": 0, "k": "object", "class": name, "v": []})
    assert isinstance(value, wire.Opaque)


class Watched(torch.nn.Linear):
    """Such as a check makes: it sees how it is used."""


Watched.__module__ = "course_lib.checks.lesson1"


def sent(*values):
    """The judge's end of a connection, after it has sent these."""
    peer = wire.Peer(socket.socketpair()[0], print, guest=True)
    peer._packed({}, values)
    return peer


@pytest.mark.parametrize("kind", ["object", "dict", "list", "tensor"])
def test_a_checks_own_module_is_not_changed_from_there(kind):
    """Before, whoever named its number could put anything into it."""
    module = Watched(1, 1)
    node = {"n": 0, "k": kind, "class": "torch.nn.modules.linear:Linear", "v": [["bias", None]]}
    with pytest.raises(wire.GoneError):
        wire.Unpacking(sent(module), b"").value(node)
    assert "bias" not in vars(module) and module.bias is not None


def test_hooks_stay_on_a_module_that_comes_back():
    module, seen = torch.nn.Linear(1, 1), []
    module.register_forward_hook(lambda *given: seen.append(given))
    name = "torch.nn.modules.linear:Linear"
    state = [["_forward_hooks", {"n": 99, "k": "dict", "v": [], "open": False, "class": ""}]]
    node = {"n": 0, "k": "object", "class": name, "v": [["training", False], *state]}
    wire.Unpacking(sent(module), b"").value(node)
    module(torch.zeros(1))
    assert len(seen) == 1 and not module.training


def test_what_an_earlier_message_held_cannot_be_named_again():
    peer = sent([1], torch.zeros(1))
    with pytest.raises(wire.GoneError):
        wire.Unpacking(peer, b"").value({"n": 0})
    assert wire.Unpacking(peer, b"").value({"n": 1}).tolist() == [0]  # for its gradient


@pytest.mark.parametrize("error", [KeyboardInterrupt, TooLongError, SystemExit, ValueError])
@pytest.mark.parametrize("guest", [True, False])
def test_ctrl_c_and_the_times_end_stop_the_judge(error, guest):
    """Before, they were sent to the learner's side, which went on."""

    def serve(*given):
        raise error

    mine, its = socket.socketpair()
    peer = wire.Peer(mine, serve, guest=guest)
    ask = {"ask": "call", "id": 1, "grad": True, "value": {"k": "tuple", "v": []}}
    if guest and error in (KeyboardInterrupt, TooLongError):
        with pytest.raises(error):
            peer.answer(ask, b"")
    else:
        peer.answer(ask, b"")
        assert error.__name__.encode() in its.recv(1000)


def test_an_interrupted_judge_goes_on_with_a_new_worker(session, monkeypatch):
    assert session.run("def f(x):\n    return x", 20) == []
    answer, before = session.answer("f"), session.pid
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(session, "wait", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        session.peer.wait = session.wait
        answer(1)
    with pytest.raises(SystemExit):
        answer(1)
    assert session.answer("f")(2) == 2 and session.pid != before


CANNOT_TRAVEL = """
class Broken(dict):
    def items(self):
        raise ValueError("no items")
class Silent(Exception):
    def __str__(self):
        raise ValueError("no text")
def broken(x):
    return Broken()
def silent(x):
    raise Silent(1)
def huge(x):
    return "x" * 9_000_000
"""


def test_what_cannot_travel_is_an_error_of_that_answer_alone(session):
    """Before, the worker ended; and the cells ran again."""
    assert session.run(CANNOT_TRAVEL, 20) == []
    before = session.pid
    for name, text in (("broken", "no items"), ("silent", "cannot be shown"), ("huge", "at most")):
        with pytest.raises(Exception, match=text):
            session.answer(name)(torch.zeros(1))
    (error,) = session.run("raise Silent(1)", 20)
    assert error.evalue == "its text cannot be shown"
    assert session.run("kept = [1]", 20) == [] and session.answer("kept") == [1]
    assert session.pid == before


def test_a_folder_is_limited_by_the_judge_too(tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "FILES", 10)
    files = {"../a": torch.zeros(8, dtype=torch.uint8), "b": torch.zeros(3, dtype=torch.uint8)}
    with pytest.raises(ValueError, match="more than 10 bytes"):
        judge._copy(tmp_path, {"files": files})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_message_names_the_limit_that_was_reached(session):
    session.ready()
    session.end = 0.0, "the notebook's time is over"
    (error,) = session.run("import time\ntime.sleep(9)", 60)
    assert error.evalue == "This cell has ended Python: the notebook's time is over."


ENDLESS = """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""


@pytest.mark.parametrize(("source", "patience"), [(ENDLESS, 1e4), ("time.sleep(1e9)", 6)])
def test_a_cell_that_waits_has_more_time_than_one_that_computes(
    session, monkeypatch, source, patience
):
    """Before, the judge's clock ended an honest cell whose machine was busy with others."""
    monkeypatch.setattr(judge, "GRACE", 0.2)
    assert session.run("import time", 60) == []  # the first cell also starts the shell
    monkeypatch.setattr(guarding, "PATIENCE", patience)
    assert session.run("time.sleep(1)\nkept = 1", 0.5) == []
    (error,) = session.run(source, 0.5)
    late = f"0.5 seconds of computing, or {guarding.on_the_clock(0.5):g} on the clock"
    assert error.evalue == f"This cell has ended Python: it was not done within {late}."
    assert session.answer("kept") == 1


def test_a_challenge_that_sleeps_does_not_use_up_the_notebooks_hour():
    assert guarding.on_the_clock(900) + judge.GRACE < 3600 / 2


def test_a_sleeper_is_given_up_by_its_worker_first():
    """Before, worker and judge stopped at the same second, in the middle of a message."""
    assert worker.CLOCK + judge.GRACE < guarding.SECONDS * guarding.PATIENCE
    with pytest.raises(TooLongError), guarding.at_most(60, 0.1):
        while True:
            time.sleep(0.01)


def test_a_sandbox_that_cannot_be_made_gives_no_grade(session, monkeypatch):
    """Before, a mount that failed gave everybody 0 points."""

    def start(files):
        raise judge.sandbox.SandboxError("mount: not permitted")

    monkeypatch.setattr(session.nursery, "start", start)
    for cell in (new_code_cell("1"), new_code_cell("checks.sparsity(sparsity)")):
        cell.metadata.nbgrader = {"grade": cell.source != "1"}
        with pytest.raises(judge.sandbox.SandboxError, match="not permitted"):
            judge.grade([cell], session)


def test_links_are_taken_away(tmp_path):
    """nbgrader copies what they lead to: the solution, perhaps."""
    submitted, copied = tmp_path / "submitted", tmp_path / "autograded"
    for folder in (submitted, copied):
        (folder / "sub").mkdir(parents=True)
        (folder / "data.csv").write_text("1")
    (submitted / "sub" / "stolen").symlink_to("/etc/hostname")
    (copied / "sub" / "stolen").write_text("secret")
    (submitted / "all").symlink_to("/etc")
    (copied / "all").mkdir()
    links = steps.take_away_links(submitted, copied, tmp_path / "release")
    assert sorted(links) == ["all", "sub/stolen"]
    left = sorted(str(path.relative_to(copied)) for path in copied.rglob("*"))
    assert left == ["data.csv", "sub"]
