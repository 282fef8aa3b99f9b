"""Small helpers that drive a real JupyterLab in a real Chromium."""

import json
import os
import re
import secrets
import shutil
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from cells import needed_for
from playwright.sync_api import Locator, Page

# As root in a container Chromium needs the first; the others keep it off the network and small.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
SETTINGS = {
    # Lab attaches only the cells in view, by default; a test wants to see them all.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
QUIET = [
    "--no-browser",
    "--allow-root",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port_retries=0",
    "--LabApp.news_url=",
    "--LabApp.extension_manager=readonly",
]
# What a person would see: the text and the drawing; and what is read out to those who cannot see.
LOOK = """root => {
    const readout = root.querySelector(".course-readout").innerText.trim();
    const svg = root.querySelector(".course-chart svg");
    if (!svg) return {readout};
    const drawing = svg.cloneNode(true);
    drawing.removeAttribute("aria-label");
    return {readout, chart: drawing.outerHTML, alt: svg.getAttribute("aria-label")};
}"""
# [*] is a cell that waits or runs, [3] one that has run, [ ] one that was never reached.
PROMPTS = """() => [...document.querySelectorAll(".jp-CodeCell .jp-InputArea-prompt")]
    .map(prompt => prompt.innerText.trim())"""
SETTLED = f"""() => {{
    const prompts = ({PROMPTS})();
    return prompts.some(one => /\\d/.test(one)) && !prompts.some(one => one.includes("*"));
}}"""


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
    """Start JupyterLab on a free port, with folders of its own below `home`; stop it afterward."""
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
            ask(lab, "status")
            return
        except OSError:  # not listening yet
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


def ask(lab: Lab, what: str, method: str = "GET") -> bytes:
    """Send one request to the server's API."""
    headers = {"Authorization": f"token {lab.token}"}
    request = urllib.request.Request(f"{lab.url}/api/{what}", headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def end_kernels(lab: Lab) -> None:
    """End every session: a lesson's kernel holds half a gigabyte."""
    for session in json.loads(ask(lab, "sessions")):
        ask(lab, f"sessions/{session['id']}", "DELETE")


def open_notebook(page: Page, lab: Lab, name: str) -> None:
    """Open the notebook and wait until its kernel can take code.

    The toolbar's indicator says "idle" before there is any kernel; the status bar tells the truth.
    A kernel that has just come up is idle, busy and idle again, hence the second look.
    """
    page.goto(f"{lab.url}/lab/tree/{name}?token={lab.token}&reset")
    idle = page.locator("#jp-main-statusbar", has_text=re.compile(r"Python 3.* \| Idle"))
    idle.wait_for(timeout=90_000)
    page.wait_for_timeout(700)
    idle.wait_for(timeout=90_000)


def run_lesson(page: Page, lab: Lab, notebook: nbformat.NotebookNode, *wanted: str) -> None:
    """Open a copy of a lesson and run the code cells that hold what is wanted, and all they need.

    The others have nothing to move; papermill runs them.
    """
    sources = [cell.source if cell.cell_type == "code" else "" for cell in notebook.cells]
    holds = {i for text in wanted for i, source in enumerate(sources) if text in source}
    needed = needed_for(sources, holds)
    notebook.cells = [cell for i, cell in enumerate(notebook.cells) if i in needed]
    copy_notebook(notebook, lab.folder / "lesson.ipynb")
    open_notebook(page, lab, "lesson.ipynb")
    run_all(page, seconds=600)


def run_all(page: Page, seconds: float = 120) -> None:
    """Choose Run → Run All Cells and wait until they are done; a cell that fails raises here."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile(r"^Run All Cells")).click()
    page.wait_for_function(SETTLED, timeout=1000 * seconds, polling=250)
    prompts = page.evaluate(PROMPTS)
    errors = page.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
    said = "\n".join(errors.all_inner_texts())
    # The cells behind one that fails never run; the last cell has none behind it.
    if "Traceback" in said or not all(re.search(r"\d", prompt) for prompt in prompts):
        raise AssertionError(f"a cell failed in the browser, prompts are {prompts}:\n{said}")


def find_cell(page: Page, text: str) -> Locator:
    """The code cell that holds this text."""
    cell = page.locator(".jp-CodeCell").filter(has=page.locator(".cm-content", has_text=text))
    cell.wait_for()
    return cell


def write_cell(cell: Locator, code: str) -> None:
    """Replace what stands in a cell, as a person would: select all, and write."""
    cell.locator(".cm-content").click()
    cell.page.keyboard.press("ControlOrMeta+a")
    cell.page.keyboard.insert_text(code)


def run_above(cell: Locator, seconds: float = 120) -> None:
    """Choose Run → Run All Above Selected Cell and wait until those are done."""
    cell.locator(".cm-content").click()
    cell.page.get_by_role("menuitem", name="Run", exact=True).click()
    cell.page.get_by_role("menuitem", name="Run All Above Selected Cell").click()
    cell.page.wait_for_function(SETTLED, timeout=1000 * seconds, polling=250)


def run_cell(cell: Locator, seconds: float = 60) -> str:
    """Run one cell by Ctrl+Enter, and return what then stands below it."""
    prompt = cell.locator(".jp-InputArea-prompt")
    before = prompt.inner_text()
    cell.locator(".cm-content").click()
    cell.page.keyboard.press("Control+Enter")
    deadline = time.monotonic() + seconds
    while (now := prompt.inner_text()) == before or not re.search(r"\d", now):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s the cell's prompt is {now!r}, as {before!r}")
        cell.page.wait_for_timeout(100)
    return "\n".join(cell.locator(".jp-OutputArea-output").all_inner_texts())


def find_control(page: Page, description: str) -> Locator:
    """The slider's handle, the menu or the line that stands behind this description."""
    label = page.locator(".widget-label", has_text=re.compile(rf"^\s*{re.escape(description)}\s*$"))
    control = page.locator(".widget-inline-hbox", has=label)
    return control.locator(".noUi-handle, select, input")


def press(control: Locator, *keys: str) -> None:
    """Move a control by keyboard: far steadier than dragging it."""
    control.scroll_into_view_if_needed()
    control.focus()
    for key in keys:
        control.press(key)


def output_of(control: Locator) -> Locator:
    """The output of the control's cell: the controls, the readout, and the chart if there is one."""
    return control.locator("xpath=ancestor::*[contains(@class, 'jp-OutputArea-output')][1]")


def look(control: Locator) -> dict[str, str]:
    """What stands below the control now: "readout", and "chart" and "alt" where there is a chart."""
    return output_of(control).evaluate(LOOK)


def wait_for_change(control: Locator, before: dict, seconds: float = 20) -> dict[str, str]:
    """Look until all differ from `before` and stand still; raise, naming those that do not.

    Standing still matters: after many key presses the kernel still works off the earlier ones.
    """
    deadline, last = time.monotonic() + seconds, before
    while True:
        now = look(control)
        same = [kind for kind in before if now[kind] in ("", before[kind])]
        if not same and now == last:
            return now
        if time.monotonic() > deadline:
            raise AssertionError(f"{seconds} s after the control was moved unchanged: {same}")
        last = now
        control.page.wait_for_timeout(400)
