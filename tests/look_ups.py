"""Which hosts a program looks up or connects to, itself and whatever it starts, also from C++."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace records look-ups")


def recorded(command: list[str], record: Path) -> list[str]:
    """The command, with all that it connects to written down; nothing else slows it."""
    calls = ["-e", "trace=connect,sendto", "-e", "signal=none"]
    return ["strace", "-f", "-qq", "--seccomp-bpf", *calls, "-o", str(record), *command]


def hosts(record: Path) -> list[str]:
    """Addresses beyond this machine, and every name server, wherever it is."""
    address = re.compile(r'htons\((\d+)\).*?"([\d.:a-f]+)"')
    found = address.findall(record.read_text(errors="replace"))
    return [f"{ip}:{port}" for port, ip in found if port == "53" or ip not in ("127.0.0.1", "::1")]


def reports(home: Path) -> list[str]:
    """Files in a home with an id of the device or notes on use."""
    files = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    return [file for file in files if re.search("(?i)device|telemetry|microsoft|onnx", file)]
