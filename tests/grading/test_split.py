"""Each check, called from another process, says of an answer what it says in the kernel.

The other process runs harmless answers only, without a sandbox: it is about what goes to and fro.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # tools/ is not installed

from course_lib import checks
from course_lib.checks.checking import IMPORTED, Check, edited
from course_lib.checks.guarding import Seen
from course_lib.grading import judge, wire, worker
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

    def end(self, pid):
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@pytest.fixture
def session(monkeypatch):
    monkeypatch.setattr(judge.sandbox, "taken", lambda pid: 0)
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
