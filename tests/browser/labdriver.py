"""Small helpers that drive a real JupyterLab in a real Chromium."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from playwright.sync_api import Locator, Page

# As root in a container Chromium needs the first; the others keep it off the network and small.
CHROMIUM_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()
SETTINGS = {
    # Lab attaches only the cells in view, by default; a test wants to see them all.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
QUIET = (
    "--no-browser --allow-root --ServerApp.ip=127.0.0.1 --ServerApp.port_retries=0 "
    "--LabApp.news_url= --LabApp.extension_manager=readonly"
).split()
# What a person would see: the text, the drawing, and the bytes of the picture. (The address of a
# widget's picture is new at every update, so that it alone would not show a change.)
LOOK = """async root => {
    const seen = {};
    for (const kind of ["readout", "histogram", "mask"]) {
        const element = root.querySelector(`.course-${kind}`);
        if (!element) { seen[kind] = null; continue; }
        const image = element.matches("img") ? element : element.querySelector("img");
        if (image) {
            const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
            seen[kind] = Array.from(bytes).join();
        } else {
            seen[kind] = (element.querySelector("svg")?.outerHTML ?? element.innerText).trim();
        }
    }
    return seen;
}"""
# Each code cell is numbered once it has run; a failed one has an error among its outputs.
FINISHED = """() => {
    const error = '[data-mime-type="application/vnd.jupyter.error"]';
    if (document.querySelector(error)) return true;
    const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputArea-prompt")];
    return prompts.length > 0 && prompts.every(one => /\\[\\d+\\]/.test(one.innerText));
}"""


@dataclass(frozen=True)
class Lab:
    """A running server: where it answers, and the folder that it shows."""

    url: str
    token: str
    folder: Path


def find_chromium() -> str | None:
    """Return the path of the installed browser, None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def copy_notebook(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write it without outputs: what the test then sees was made by the test's own kernel."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, path)


@contextmanager
def serve(home: Path) -> Iterator[Lab]:
    """Start JupyterLab on a free port, with folders of its own below `home`; stop it afterwards."""
    folder, settings = home / "course" / "notebooks", home / "settings"
    folder.mkdir(parents=True)
    for name, values in SETTINGS.items():
        path = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), "utf-8")
    own = {
        f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")
    }
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(settings), "IPYTHONDIR": str(home / "ipython")}
    own |= {"JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"), "COURSE_PROFILE": "quick"}
    lab = Lab(f"http://127.0.0.1:{free_port()}", secrets.token_hex(16), folder)
    command = [sys.executable, "-m", "jupyterlab", *QUIET]
    command += [f"--ServerApp.port={lab.url.rpartition(':')[2]}", f"--ServerApp.root_dir={folder}"]
    environment = os.environ | own | {"JUPYTER_TOKEN": lab.token}
    log = home / "jupyterlab.log"
    with log.open("wb") as out:
        server = psutil.Popen(command, cwd=home, env=environment, stdout=out, stderr=out)
    try:
        wait_for_server(lab, server, log)
        yield lab
    finally:
        stop(server)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_server(lab: Lab, server: psutil.Popen, log: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{lab.url}/api/status?token={lab.token}", timeout=5)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start in {seconds} s:\n{log.read_text()[-3000:]}")


def stop(server: psutil.Popen) -> None:
    """End the server politely, so that it ends its kernels; then whatever is left."""
    family = [*server.children(recursive=True), server]
    server.terminate()
    _, alive = psutil.wait_procs(family, timeout=10)
    for process in alive:
        process.kill()
    server.wait()


def open_notebook(page: Page, lab: Lab, name: str) -> None:
    """Open the notebook and wait until its kernel can take code."""
    page.goto(f"{lab.url}/lab/tree/{name}?token={lab.token}&reset")
    page.locator(".jp-NotebookPanel .jp-CodeCell").first.wait_for(timeout=60_000)
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=60_000)


def run_all(page: Page, seconds: float = 120) -> None:
    """Choose Run → Run All Cells and wait until every code cell is done; a failed one raises."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile(r"^Run All Cells")).click()
    page.wait_for_function(FINISHED, timeout=1000 * seconds, polling=250)
    errors = page.locator('[data-mime-type="application/vnd.jupyter.error"]').all_inner_texts()
    if errors:
        raise AssertionError(f"a cell failed in the browser:\n{errors[0]}")


def find_slider(page: Page, description: str) -> Locator:
    """The handle of the slider that stands behind this description."""
    label = page.locator(".widget-label", has_text=re.compile(rf"^\s*{re.escape(description)}\s*$"))
    return page.locator(".widget-slider", has=label).locator(".noUi-handle")


def press(slider: Locator, key: str, times: int) -> None:
    """Move a slider by keyboard: far steadier than dragging it."""
    slider.scroll_into_view_if_needed()
    slider.focus()
    for _ in range(times):
        slider.press(key)


def look(slider: Locator) -> dict[str, str | None]:
    """What the slider's output shows now: readout, histogram and mask (None: not there)."""
    output = slider.locator("xpath=ancestor::*[contains(@class, 'jp-OutputArea-output')][1]")
    return output.evaluate(LOOK)


def wait_for_change(slider: Locator, before: dict, seconds: float = 20) -> dict[str, str | None]:
    """Look until all three differ from `before`; else raise, naming those that stayed the same."""
    deadline = time.monotonic() + seconds
    while True:
        now = look(slider)
        same = [kind for kind in before if now[kind] in (None, "", before[kind])]
        if not same:
            return now
        if time.monotonic() > deadline:
            raise AssertionError(f"unchanged {seconds} s after the slider was moved: {same}")
        slider.page.wait_for_timeout(100)
