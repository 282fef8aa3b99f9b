"""Build, compare and run the course's notebooks, whose sources stand in notebooks/src.

python tools/notebooks.py sync             rebuild; outputs of unchanged cells stay
python tools/notebooks.py check            exit 1 where a notebook and its source differ
python tools/notebooks.py run [01 ...]     run with papermill, then store with outputs
python tools/notebooks.py claims           write the tables of claims (sync and run do, too)
"""

import argparse
import contextlib
import copy
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import psutil
from nbformat import NotebookNode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `tools` itself is not installed

from course_lib.lessons.claims import MARKS, shown_in
from course_lib.lessons.experiments import changed_library
from tools.sizing import CORES, MEASURED

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "notebooks" / "src"
VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
LARGEST_STATE = 200_000  # bytes of widgets' state that a notebook may carry
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
PLACES = [re.escape(str(p)) for p in (ROOT, Path.home(), Path(sys.prefix)) if len(p.parts) > 1]
ANYWHERE = [r"(?<!\w)/(?:work|tmp|root|home|Users|private)/", r"\b[A-Za-z]:\\+Users"]
LOCAL_PATH = re.compile("|".join(ANYWHERE + PLACES))
BINDER_MIB = 2048  # what Binder lets a session have, Jupyter's server included


@dataclass
class Run:
    """What came of running one notebook."""

    name: str
    minutes: float
    peak_mib: float
    notebook: NotebookNode
    problems: list[str] = field(default_factory=list)


def build(source: Path) -> NotebookNode:
    """Make the notebook, without outputs, from its py:percent source; always the same bytes."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    stem = re.sub(r"[^A-Za-z0-9_-]", "-", source.stem)[:60]
    for index, cell in enumerate(notebook.cells):
        cell.id = f"{stem}-{index:02d}"
        if "setup" in tags(cell):
            cell.source = setup_source()
            cell.metadata["jupyter"] = {"source_hidden": True}  # one click shows it
            cell.metadata["cellView"] = "form"  # the same in Colab
    return notebook


def setup_source() -> str:
    """The first cell of every lesson, with the project's address from pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    template = (SOURCES / "_setup.py").read_text("utf-8").rstrip()
    before, after = 'REPOSITORY = ""', f'REPOSITORY = "{settings["tool"]["course"]["repository"]}"'
    if template.count(before) != 1:
        raise ValueError(f"_setup.py needs the line {before} once: the address is filled in there")
    return template.replace(before, after)


def sync(source: Path) -> None:
    """Rebuild the notebook; a code cell whose source is unchanged keeps its outputs."""
    notebook, path = build(source), notebook_of(source)
    stored = read(path) if path.exists() else copy.deepcopy(notebook)
    for cell in code_cells(notebook):
        same = [old for old in code_cells(stored) if old.source == cell.source]
        if same:
            cell.outputs, cell.execution_count = same[0].outputs, same[0].execution_count
            same[0].source = None  # a second cell with this source gets the next one's outputs
    keep_widgets(notebook, stored)
    write(notebook, path)


def in_step(source: Path) -> bool:
    """Say whether the stored notebook, its outputs aside, is what its source builds."""
    path = notebook_of(source)
    return path.exists() and without_outputs(read(path)) == build(source)


def run(source: Path, profile: str = "full", minutes: float = 30) -> Run:
    """Execute a fresh build with papermill and gather outputs, cost and problems."""
    notebook = build(source)
    with tempfile.TemporaryDirectory() as folder:
        fresh, done = Path(folder, "in.ipynb"), Path(folder, "out.ipynb")
        write(notebook, fresh)
        papermill = [sys.executable, "-m", "papermill", str(fresh), str(done), "-k", "python3"]
        papermill += ["--log-level", "WARNING"]  # one progress bar is enough to read
        command = [*papermill, "--cwd", str(source.parent.parent), "-p", "profile", profile]
        start = time.perf_counter()
        code, peak = watch(command, 60 * minutes)
        taken = (time.perf_counter() - start) / 60
        executed = read(done) if done.exists() else notebook
    take_outputs(notebook, executed)
    result = Run(source.stem, taken, peak, notebook, scan(notebook))
    if code is None:
        waiting = [cell for cell in code_cells(notebook) if cell.execution_count is None]
        where = f" at {label(waiting[0])}" if waiting else ""
        result.problems.insert(0, f"stopped after {minutes:g} minutes{where}")
    elif code and not result.problems:
        result.problems.append(f"papermill ended with exit code {code}: see its message above")
    return result


def watch(command: list[str], limit: float) -> tuple[int | None, float]:
    """Run a command; return its exit code (None: stopped at the limit) and its peak MiB.

    papermill can hang for good when a widget's callback raises, hence the limit. The kernel is a
    session of its own, so that ending papermill alone would leave it behind. papermill's own memory
    counts: a learner has Jupyter's server in its place.
    """
    environment = {k: v for k, v in os.environ.items() if k != "COURSE_PROFILE"}  # -p decides
    process = psutil.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    family, peak, deadline = [process], 0.0, time.monotonic() + limit
    try:
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(psutil.Error):
                family = [*process.children(recursive=True), process]
                peak = max(peak, sum(map(kept_memory, family)) / 2**20)
            time.sleep(0.2)
        return process.poll(), peak
    finally:
        for one in family:
            with contextlib.suppress(psutil.Error):
                one.kill()
        process.wait()


def kept_memory(process: psutil.Process) -> int:
    """The bytes that the system cannot take back: what a container's limit stops for.

    Pages of mapped files (libraries, weights, tables) are left out where the system counts them: they
    can be dropped and read again, and two processes share them.
    """
    memory = process.memory_info()
    return memory.rss - getattr(memory, "shared", 0)


def take_outputs(notebook: NotebookNode, executed: NotebookNode) -> None:
    """Copy the outputs of an executed notebook, and nothing else that papermill wrote."""
    ran = [cell for cell in code_cells(executed) if "injected-parameters" not in tags(cell)]
    number = 0
    for cell, done in zip(code_cells(notebook), ran, strict=True):
        number += done.execution_count is not None
        cell.execution_count = number if done.execution_count is not None else None
        cell.outputs = [output for output in done.outputs if not is_finished_bar(output)]
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = cell.execution_count
            if output.output_type == "stream":  # of a progress bar, its last state is enough
                output.text = re.sub(r"[^\n]*\r(?!\n)", "", output.text)
    keep_widgets(notebook, executed)


def is_finished_bar(output: NotebookNode) -> bool:
    """Whether it is what tqdm leaves behind: a widget that shows nothing, or as text "0%|  |"."""
    data = output.get("data", {})
    return VIEW in data and bool(re.search(r"\d%\|", data.get("text/plain", "")))


def keep_widgets(notebook: NotebookNode, other: NotebookNode) -> None:
    """Take over the widgets' state where it is small; else let viewers show the text instead."""
    widgets = other.metadata.get("widgets")
    if widgets and len(json.dumps(widgets)) < LARGEST_STATE:
        notebook.metadata["widgets"] = widgets
        return
    for cell in code_cells(notebook):
        for output in cell.outputs:
            output.get("data", {}).pop(VIEW, None)


def scan(notebook: NotebookNode) -> list[str]:
    """Name each error, traceback, local path and picture without alt text among the outputs."""
    found = []
    for cell in code_cells(notebook):
        found += [f"{label(cell)}: {trouble}" for trouble in troubles(cell.outputs)]
    state = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    for model in state.values():
        found += [f"widget {model.get('model_name')}: {t}" for t in troubles(model.get("state"))]
    return found


def troubles(value: Any) -> Iterator[str]:
    """Walk through outputs or a widget's state, and say what must not be stored.

    >>> list(troubles({"text": "saved in /home/ann/x"}))
    ["a local path, '/home/'"]
    """
    if isinstance(value, str):
        if "Traceback (most recent call last)" in value:
            yield "a traceback"
        if match := LOCAL_PATH.search(value):
            yield f"a local path, {match.group()!r}"
    elif isinstance(value, list | tuple):
        for one in value:
            yield from troubles(one)
    elif isinstance(value, dict):
        if value.get("output_type") == "error":
            yield f"{value.get('ename')}: {value.get('evalue')}"
        for kind in [k for k in value.get("data") or {} if k.startswith("image/")]:
            if not value.get("metadata", {}).get(kind, {}).get("alt"):
                yield f"an {kind} without alt text: show it with plots.show(figure, alt=...)"
        for key, one in value.items():
            if not key.startswith("image/"):  # base64 is no text
                yield from troubles(one)


def collect_claims(notebook: NotebookNode) -> list[dict]:
    """The claims in the table that a lesson shows at its end."""
    return [
        {
            "statement": one.statement,
            "source": one.source,
            "measured": f"{one.measured}; holds if {one.claimed}",
            "verdict": one.verdict,
            "n": one.n,
            "counted": one.counted,
        }
        for one in shown_in(notebook)
    ]


def tables(root: Path = ROOT) -> dict[Path, str]:
    """docs/claims.md, as the executed lessons below `root` want it."""
    lessons = {path.stem: read(path) for path in sorted(root.glob("notebooks/[0-9]*.ipynb"))}
    return {root / "docs" / "claims.md": claims_page(lessons)}


def write_tables(root: Path = ROOT) -> int:
    for path, text in tables(root).items():
        path.write_text(text, encoding="utf-8", newline="\n")
    return 0


def claims_page(lessons: dict[str, NotebookNode]) -> str:
    """Every claim of every executed lesson, in order."""
    lines = [
        "# Claims, and what was measured",
        "",
        "Each number or ordering that a lesson states is checked by a cell of that lesson. This page",
        "is collected from the executed lessons by `make notebooks`: do not edit it. Times and speeds",
        "are those of one machine; run the lessons, and you have your own.",
    ]
    for name, notebook in lessons.items():
        if not (claims := collect_claims(notebook)):
            continue
        title = notebook.cells[0].source.splitlines()[0].removeprefix("# ")
        lines += ["", f"## [{title}](../notebooks/{name}.ipynb)", ""]
        lines += ["| claim | who says it | measured here | n | verdict |", "|---|---|---|---|---|"]
        for one in claims:
            cells = one["statement"], one["source"], one["measured"], counted(one), signed(one)
            lines.append(row(*cells))
    return "\n".join(lines) + "\n"


def row(*texts: str) -> str:
    """A row of a Markdown table that shows the texts as they are.

    >>> print(row("a | b", "2 * 3\\n= 6"))
    | a \\| b | 2 \\* 3 = 6 |
    """
    cells = [re.sub(r"([\\|*_<~`\[])", r"\\\1", " ".join(text.split())) for text in texts]
    return f"| {' | '.join(cells)} |"


def counted(claim: dict) -> str:
    return claim.get("counted") or ("–" if claim["n"] is None else f"{claim['n']:,}")


def signed(claim: dict) -> str:
    return f"{MARKS[claim['verdict']]} {claim['verdict']}"


def summary(claims: list[dict]) -> str:
    """Count the verdicts.

    >>> summary([{"verdict": "holds"}, {"verdict": "holds"}, {"verdict": "cannot tell"}])
    '3: 2 hold, 1 cannot tell'
    """
    words = {"holds": "hold", "does not hold": "not", "cannot tell": "cannot tell"}
    counts = Counter(claim["verdict"] for claim in claims)
    parts = [f"{counts[verdict]} {word}" for verdict, word in words.items() if counts[verdict]]
    return f"{len(claims)}: {', '.join(parts)}" if parts else "none"


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def label(cell: NotebookNode) -> str:
    return f"cell {cell.id}, {cell.source.strip()[:50]!r}"


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    bare = copy.deepcopy(notebook)
    bare.metadata.pop("widgets", None)
    for cell in code_cells(bare):
        cell.outputs, cell.execution_count = [], None
    return bare


def notebook_of(source: Path) -> Path:
    return source.parent.parent / f"{source.stem}.ipynb"


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def write(notebook: NotebookNode, path: Path) -> None:
    """Validate, then write atomically: a reader sees the old file or the new one."""
    nbformat.validate(notebook)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8", newline="\n")
    part.replace(path)


def find_sources(names: list[str], folder: Path = SOURCES) -> list[Path]:
    """The lessons' sources in order: all, or those whose names begin with one of `names`."""
    every = sorted(folder.glob("[0-9]*.py"))
    unknown = [name for name in names if not any(s.stem.startswith(name) for s in every)]
    if unknown:
        raise SystemExit(f"no lesson begins with {unknown}: there are {[s.stem for s in every]}")
    return [s for s in every if not names or s.stem.startswith(tuple(names))]


def run_all(options: argparse.Namespace) -> int:
    """Run the lessons one by one, store those without problems, and print the table."""
    runs = []
    for source in find_sources(options.names):
        print(f"{source.stem} ({options.profile})", flush=True)
        runs.append(result := run(source, options.profile, options.minutes))
        folder = options.out or (source.parent.parent if options.profile == "full" else None)
        if folder and not result.problems:
            write(result.notebook, folder / f"{source.stem}.ipynb")
        said = result.problems + older_results(source)
        print(*[f"  {one}" for one in said], sep="\n", flush=True)
    print(*costs(runs), sep="\n")
    if folder == SOURCES.parent:
        write_tables()
        if options.note:
            note_costs(runs)
    return int(any(one.problems for one in runs))


def older_results(source: Path) -> list[str]:
    """A line for each stored result of a lesson that was made with other code of the library."""
    lines = []
    for name in dict.fromkeys(re.findall(r'results\w*\("(\w+)"', source.read_text("utf-8"))):
        record = source.parent.parent / "experiments" / f"{name}.json"
        if record.exists() and (changed := changed_library(record)):
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            lines.append(f"{name} was made before {', '.join(changed[:3])}{more} changed")
    return lines


def costs(runs: list[Run]) -> list[str]:
    """A line for each lesson, their sum, and a warning for each that Binder would stop."""
    lines = [f"{'notebook':32}{'minutes':>8}{'peak MiB':>10}  claims checked"]
    for one in runs:
        claims = "FAILED, not stored" if one.problems else summary(collect_claims(one.notebook))
        lines.append(f"{one.name:32}{one.minutes:8.1f}{one.peak_mib:10.0f}  {claims}")
    lines.append(f"{f'all {len(runs)} together':32}{sum(one.minutes for one in runs):8.1f}")
    return lines + [
        f"WARNING: {one.name} needs {one.peak_mib:,.0f} MiB; Binder stops at {BINDER_MIB:,}"
        for one in runs
        if one.peak_mib > BINDER_MIB
    ]


def note_costs(runs: list[Run]) -> None:
    """Note in measured.json what each lesson took, for `tools/sizing.py`: on two quiet cores, and
    with all data and trained models in the cache."""
    if os.cpu_count() != CORES:
        raise SystemExit(f"--note is for machines of {CORES} cores; this one has {os.cpu_count()}")
    found = json.loads(MEASURED.read_text("utf-8"))
    for one in runs:
        if not one.problems:
            took = {"minutes": round(one.minutes, 1), "peak_mib": round(one.peak_mib)}
            found["lessons"][one.name] = took
    MEASURED.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("action", choices=("sync", "check", "run", "claims"))
    parser.add_argument("names", nargs="*", help="how the lessons' names begin, e.g. 01 (all)")
    parser.add_argument("--profile", choices=("full", "quick"), default="full")
    parser.add_argument("--minutes", type=float, default=30, help="the most for one lesson")
    parser.add_argument(
        "--note", action="store_true", help="note minutes and memory for docs/hub.md"
    )
    parser.add_argument("--out", type=Path, help="folder to write to; quick writes nowhere else")
    options = parser.parse_intermixed_args()
    if options.action == "run":
        return run_all(options)
    if options.action == "claims":
        return write_tables()
    sources = find_sources(options.names)
    if options.action == "sync":
        for source in sources:
            sync(source)
        write_tables()
    stale = [source.stem for source in sources if not in_step(source)]
    if stale:
        print("out of step with notebooks/src:", *stale, "\nrun: python tools/notebooks.py sync")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
