"""Starts the hub on its own config, and does over HTTP what a learner's browser does."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import requests
import websocket
from labdriver import free_port, stop

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "deploy" / "jupyterhub"
CONFIG = HERE / "jupyterhub_config.py"


class Hub(NamedTuple):
    """A running hub: where it answers, everyone's password, its log, its process."""

    url: str
    password: str
    log: Path
    process: Any = None

    def seconds(self) -> float:
        """Processor time that the hub, its proxy, the learners' servers and kernels have taken."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(sum(one.cpu_times()[:2]) for one in family)


class Learner(NamedTuple):
    """One who has logged in: the account's name, the address of its server, a token of its own."""

    name: str
    hub: str
    token: str

    @property
    def server(self) -> str:
        return f"{self.hub}/user/{self.name}"


@contextmanager
def open_doors() -> Iterator[None]:
    """Let other accounts pass through the folders above the checkout and Python, then no more.

    In root's home they could not. Passing through shows nothing of what else is in a folder.
    """
    places = [ROOT, *(Path(place).resolve() for place in (sys.prefix, sys.base_prefix))]
    above = {one for place in places for one in (place, *place.parents)}
    closed = {one: one.stat().st_mode for one in above if not one.stat().st_mode & 1}
    for place, mode in closed.items():
        place.chmod(mode | 1)
    try:
        yield
    finally:
        for place, mode in closed.items():
            place.chmod(mode)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that other accounts may enter; pytest closes its own."""
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def share_cache(folder: Path) -> Path:
    """What `fetch` has put into this user's cache, copied to where all may read it."""
    from course_lib.cache import cache_dir

    for name in ["fetched.txt", *(cache_dir() / "fetched.txt").read_text("utf-8").splitlines()[1:]]:
        for file in (cache_dir() / name, cache_dir() / f"{name}.sha256"):
            if file.is_file():
                target = folder / file.relative_to(cache_dir())
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
    return folder


@contextmanager
def accounts(*names: str) -> Iterator[dict[str, str]]:
    """Accounts of this machine, made by `add_learners.py` and taken away again: name → password."""
    groups = {one.gr_name for one in grp.getgrall()}
    try:
        command = [sys.executable, str(HERE / "add_learners.py"), "/dev/stdin"]
        done = subprocess.run(
            command, input="\n".join(names), capture_output=True, text=True, check=True
        )
        yield dict(line.split(",", 1) for line in done.stdout.splitlines())
    finally:
        for name in names:
            end_processes(name)
            subprocess.run(["userdel", "--remove", "--force", name], capture_output=True)
        for group in {"learners", "teachers"} - groups:  # which were not there before
            subprocess.run(["groupdel", group], capture_output=True)


def end_processes(name: str) -> None:
    """End whatever an account of the test still runs."""
    for process in psutil.process_iter(["username"]):
        if process.info["username"] == name:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@contextmanager
def serve(folder: Path, **settings: str) -> Iterator[Hub]:
    """Run the hub with its state below `folder`, on free ports and for a test; then stop it."""
    hub = Hub(f"http://127.0.0.1:{free_port()}", secrets.token_hex(16), folder / "hub.log")
    environment = os.environ | {
        "HUB_ADDRESS": hub.url,
        "HUB_STATE": str(folder / "state"),
        "HUB_CACHE": str(share_cache(folder / "cache")),
        "HUB_AUTHENTICATOR": "dummy",
        "HUB_TEST_PASSWORD": hub.password,
        "HUB_LIMITS": "process",  # on every machine; learners are then the hub's own processes
        **settings,
    }
    command = [sys.executable, "-m", "jupyterhub", "-f", str(CONFIG)]
    command += [f"--JupyterHub.hub_port={free_port()}"]
    command += [f"--ConfigurableHTTPProxy.api_url=http://127.0.0.1:{free_port()}"]
    with hub.log.open("wb") as out:
        process = psutil.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
    try:
        wait(lambda: requests.get(f"{hub.url}/hub/api/", timeout=5).ok, process, hub.log)
        yield hub._replace(process=process)
    finally:
        stop(process)


def wait(ready: Any, process: psutil.Popen | None, log: Path, seconds: float = 120) -> None:
    """Until `ready()` is true; a hub that has ended, or takes too long, raises with its last words."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (process is None or process.poll() is None):
        try:
            if ready():
                return
        except requests.ConnectionError:  # not listening yet
            pass
        time.sleep(0.2)
    raise RuntimeError(f"not ready after {seconds} s at most:\n{log.read_text()[-4000:]}")


def log_in(hub: Hub, name: str) -> Learner:
    """Fill in the log-in page, then ask for a token, as a person may."""
    browser = requests.Session()
    browser.get(f"{hub.url}/hub/login", timeout=30).raise_for_status()
    answers = {"username": name, "password": hub.password, "_xsrf": browser.cookies["_xsrf"]}
    page = browser.post(f"{hub.url}/hub/login?next=%2Fhub%2Ftoken", data=answers, timeout=30)
    if not page.url.endswith("/hub/token"):
        raise PermissionError(f"{name} could not log in")
    mark = next(one.value for one in browser.cookies if one.name == "_xsrf" and one.path == "/hub/")
    answer = browser.post(
        f"{hub.url}/hub/api/users/{name}/tokens", headers={"X-XSRFToken": str(mark)}, timeout=30
    )
    answer.raise_for_status()
    return Learner(name, hub.url, answer.json()["token"])


def ask(learner: Learner, address: str, method: str = "GET", **more: Any) -> requests.Response:
    """A request with the learner's token."""
    headers = {"Authorization": f"token {learner.token}"}
    return requests.request(
        method, address, headers=headers, timeout=60, allow_redirects=False, **more
    )


def start_server(hub: Hub, learner: Learner) -> None:
    """Start the learner's JupyterLab, and wait until it answers."""
    address = f"{hub.url}/hub/api/users/{learner.name}"
    ask(learner, f"{address}/server", "POST").raise_for_status()
    wait(lambda: ask(learner, address).json()["servers"].get("", {}).get("ready"), None, hub.log)


def start_kernel(learner: Learner) -> str:
    """Start a kernel in the folder that JupyterLab shows; the address where it listens."""
    kernel = ask(learner, f"{learner.server}/api/kernels", "POST", json={})
    if not kernel.ok:
        raise RuntimeError(f"no kernel for {learner.name}: {kernel.status_code}, {kernel.text}")
    return f"{learner.server}/api/kernels/{kernel.json()['id']}/channels"


def connect(learner: Learner, address: str) -> websocket.WebSocket:
    """A connection to a kernel. One that nobody reads from is closed after a minute."""
    return websocket.create_connection(
        address.replace("http", "ws", 1),
        header=[f"Authorization: token {learner.token}"],
        timeout=120,
    )


def open_kernel(learner: Learner) -> websocket.WebSocket:
    """Start a kernel, and connect to it."""
    return connect(learner, start_kernel(learner))


def execute(kernel: websocket.WebSocket, code: str) -> str:
    """Run a cell; what it prints, when the kernel has replied.

    Raises:
        RuntimeError: the cell failed; holds its error.
    """
    wanted = uuid.uuid4().hex
    header = {"msg_id": wanted, "msg_type": "execute_request", "session": "test", "username": ""}
    header |= {"version": "5.3", "date": ""}
    content = {"code": code, "silent": False, "store_history": False, "stop_on_error": True}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    kernel.send(json.dumps(message | {"channel": "shell", "buffers": []}))
    printed, reply, idle = "", None, False
    while reply is None or not idle:
        found = kernel.recv()
        if isinstance(found, bytes) or not found:  # a picture of a widget
            continue
        got = json.loads(found)
        if got["parent_header"].get("msg_id") != wanted:
            continue
        kind, said = got["msg_type"], got["content"]
        printed += said["text"] if kind == "stream" and said["name"] == "stdout" else ""
        reply = said if kind == "execute_reply" else reply
        idle |= kind == "status" and said["execution_state"] == "idle"
    if reply["status"] != "ok":
        raise RuntimeError(f"{reply.get('ename')}: {reply.get('evalue')}")
    return printed
