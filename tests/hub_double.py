"""As much of the Hugging Face Hub as loading one model takes, on 127.0.0.1."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves the files of one folder as those of any model."""

    folder: Path
    status = 200  # of every file, for a Hub that is broken
    wait = 0.0  # seconds before each answer, for one that is slow

    def do_GET(self) -> None:
        time.sleep(self.wait)
        if self.path.startswith("/api/models/"):
            self.listing()
            return
        file = self.folder / self.path.partition("?")[0].rpartition("/")[-1]
        is_file = "/resolve/" in self.path
        found = is_file and file.is_file() and self.status == 200
        content = file.read_bytes() if found else b""
        if is_file and self.status != 200:
            self.send_response(self.status)
        else:
            self.send_response(200 if found or self.path == "/" else 404)
        if found:
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        elif self.path != "/":
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815

    def listing(self) -> None:
        """The commit of the branch, or the names in it."""
        files = [path for path in self.folder.iterdir() if path.is_file()]
        sha = {"id": "some/model", "sha": "0" * 40, "siblings": []}
        tree = [
            {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "0" * 40}
            for path in files
        ]
        content = json.dumps(tree if "/tree/" in self.path else sha).encode()
        self.send_response(self.status if files else 404)
        if not files:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args) -> None:
        pass


@contextmanager
def serving(folder: Path, **settings: float) -> Iterator[str]:
    """The address of a Hub that serves `folder`."""
    handler = type("ThisHub", (Hub,), {"folder": folder, **settings})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run_online(script: str, endpoint: str, home: Path) -> subprocess.CompletedProcess:
    """Run a script whose Hub is `endpoint`: a process of its own, for the Hub's client reads its
    settings when it is imported."""
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=200,
    )
