"""What takes longer than a lesson may: scripts in ``notebooks/experiments``, and what they stored.

A script names its recipe, its data, its cases and a function that runs one case with one seed; `main`
does the rest. ``results("lesson1_recovery")`` loads in a lesson what such a script stored.
"""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from course_lib.cached_files import going_on_when_full
from course_lib.files import make_room, short_hash, sweep, write_atomically
from course_lib.lessons.settings import notebooks_folder, version_of

ROOT = Path(__file__).resolve().parents[2]
Row = dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """What a script in ``notebooks/experiments`` does, one case and one seed at a time.

    Attributes:
        recipe: all numbers that the results depend on, fit for JSON.
        data: returns the data, name → dataset.
        cases: recipe → the cases, each a small dict such as ``{"way": "gradual", "sparsity": 0.9}``.
        run: ``run(case, seed, recipe, data)`` → what was measured: values fit for JSON, and tensors.
        seeds: how many seeds each case is run with (default 3).
        quick: what ``--quick`` changes in the recipe, to try the script out.
    """

    recipe: Mapping[str, Any]
    data: Callable[[], Mapping[str, Any]]
    cases: Callable[[Mapping[str, Any]], list[Row]]
    run: Callable[[Row, int, Mapping[str, Any], Mapping[str, Any]], Row]
    seeds: int = 3
    quick: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Results:
    """What an experiment stored.

    Attributes:
        name: of the script.
        rows: one dict for each case and seed: the case, the seed, and what was measured.
        recipe, seeds: what it was run with.
        created, processor, seconds, versions: when, where, for how long and with what.
        note: what a maintainer added to the record by hand (`annotate`).
    """

    name: str
    rows: list[Row]
    recipe: Row
    seeds: int
    created: str
    processor: str
    seconds: float
    versions: dict[str, str]
    note: str = ""

    def column(self, key: str, **case: Any) -> list[Any]:
        """The values of `key` in the rows of a case, in the order of the seeds.

        Example:
            >>> rows = [{"way": "gradual", "seed": seed, "correct": 90 + seed} for seed in range(2)]
            >>> found = Results("doctest", rows, {}, 2, "2026-11-29", "a CPU", 1.0, {})
            >>> found.column("correct", way="gradual")
            [90, 91]

        Raises:
            KeyError: no row of that case has such a key; says what there is.
        """
        rows = [row for row in self.rows if all(row.get(k) == v for k, v in case.items())]
        values = [row[key] for row in rows if key in row]
        if not values:
            choices = {name: _distinct(row.get(name) for row in self.rows) for name in case}
            keys = _distinct(k for row in rows or self.rows for k in row)
            raise KeyError(
                f"No row of {self.name} with {case} has {key!r}. There are the values {choices} and "
                f"the keys {keys}."
            )
        return values

    def accuracies(self, **case: Any) -> list[Any]:
        """An `Accuracy` for each seed of a case, made of its values "correct" and "n"."""
        from course_lib.evaluation.accuracy import Accuracy

        pairs = zip(self.column("correct", **case), self.column("n", **case), strict=True)
        return [Accuracy(correct, n) for correct, n in pairs]

    def runs(self, **case: Any) -> Any:
        """The `Runs` of a case over its seeds: those `accuracies` together; of one seed, just that."""
        from course_lib.evaluation.accuracy import Runs

        found = self.accuracies(**case)
        return Runs(tuple(found)) if len(found) > 1 else found[0]

    def latencies(self, **case: Any) -> dict[str, Any]:
        """Name → `Latency`, of a row that one measuring run stored: its values "models", "runtimes",
        "threads" and "samples", milliseconds ``[models, rounds]``. All are on a batch of one."""
        from course_lib.evaluation.timing import Latency

        (samples,), (names,) = self.column("samples", **case), self.column("models", **case)
        (runtimes,), (threads,) = self.column("runtimes", **case), self.column("threads", **case)
        rows = zip(names, samples.tolist(), runtimes, strict=True)
        return {name: Latency(tuple(row), 1, threads, runtime) for name, row, runtime in rows}

    def __repr__(self) -> str:
        minutes = max(1, round(self.seconds / 60))
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        note = f"; {self.note}" if self.note else ""
        return (
            f"{self.name}: made on {self.created} in {minutes} minute{'s' * (minutes > 1)} "
            f"on {self.processor} ({seeds}{note})"
        )


def results(name: str, *, verbose: bool = False) -> Results:
    """Load what ``notebooks/experiments/NAME.py`` stored, and print one line that says what it is.

    `results_if_stored` goes on without what no one has run yet.

    Args:
        name: of the script.
        verbose: for maintainers: also name the modules of the library whose code has changed since
            then. (Most such changes move code and change no result, so a lesson does not say it.)

    Raises:
        FileNotFoundError: there is no such script, or it has stored nothing yet.
        ValueError: what is stored is damaged, or was made by another script, with another recipe or
            from other data. The message holds the command that makes it anew. Where the data are not
            there they are not compared, and the line says so.
    """
    folder = notebooks_folder() / "experiments"
    script = folder / f"{name}.py"
    if not script.exists():
        names = ", ".join(sorted(path.stem for path in folder.glob("*.py"))) or "none"
        raise FileNotFoundError(f"There is no experiment {name!r}. There are: {names}.")
    experiment = _experiment_of(script)
    unknown = ""
    try:
        now = _made_from(experiment, script)
    except OSError:  # there is no cache, or not these data; the results came with the course
        now, unknown = _made_from(replace(experiment, data=dict), script), _UNKNOWN
    record = script.with_suffix(".json")
    if not record.exists():
        raise FileNotFoundError(f"{name} has stored no results yet. {_renew(script)}")
    try:
        found, note = _read(record), ""
    except _DamagedError as damage:
        if not _restored(script, now):
            raise ValueError(f"{record.name} is damaged: {damage}. {_renew(script)}") from None
        found, note = (
            _read(record),
            " · the stored file was damaged, and was made anew from its parts",
        )
    words = {key: said for key, said in _WORDS.items() if key != "data" or not unknown}
    changed = [said for key, said in words.items() if found["made_from"][key] != now[key]]
    if changed:
        raise ValueError(
            f"The results of {name} were made with {' and '.join(changed)}. {_renew(script)}"
        )
    if verbose and (modules := changed_library(record)):
        rest = len(modules) - 3
        more = f" and {rest} more module{'s' * (rest > 1)}" if rest > 0 else ""
        note += f" · changed since then: {', '.join(modules[:3])}{more}"
    here = Results(
        name=name,
        rows=found["rows"],
        recipe=found["made_from"]["recipe"],
        note=found.get("note", ""),
        **{key: found[key] for key in ("seeds", "created", "processor", "seconds", "versions")},
    )
    print(f"{here}{note}{unknown}")
    return here


def changed_library(record: Path) -> list[str]:
    """The modules of the library whose code has changed since a record was made.

    Most such changes move code and change no result: maintainers look, a lesson does not say it.
    """
    return [
        module.removeprefix("course_lib.") for module in _changed(_read_json(record)["library"])
    ]


def annotate(record: Path, note: str) -> None:
    """Add a note to a record, which `results` prints; the next run of its script drops it."""
    found = {**_read_json(record), "note": note}
    text = record.read_text("utf-8")
    old = f' "checksum": "{found["checksum"]}",\n'
    new = f' "note": {json.dumps(note)},\n "checksum": "{_checksum(found)}",\n'
    if text.count(old) != 1 or '\n "note": ' in text:
        raise ValueError(f"{record.name} has a note already, or is no record.")
    _write_text(record, text.replace(old, new))


def results_if_stored(name: str) -> Results | None:
    """`results`, or None and one printed line where the script has stored nothing yet.

    Raises:
        FileNotFoundError: there is no such script.
        ValueError: as `results`.
    """
    script = notebooks_folder() / "experiments" / f"{name}.py"
    if script.exists() and not script.with_suffix(".json").exists():
        print(f"{name} has stored no results yet: python notebooks/experiments/{name}.py")
        return None
    return results(name)


def main(experiment: Experiment, script: str, arguments: list[str] | None = None) -> int:
    """Run the experiment from the command line: ``python notebooks/experiments/NAME.py --seeds 3``.

    Each case with each seed is kept in the cache as it is finished. An interrupted run goes on there
    when the same command is given again. Changed code, recipe or data start anew; that includes the
    modules of the library that a case loads only when it runs.

    Args:
        experiment: see there.
        script: the script's ``__file__``.
        arguments: those of the command line by default.

    Returns:
        The exit status: 0, or 130 where it was interrupted, or 1 where the results cannot be written.
    """
    parser = argparse.ArgumentParser(description=f"Run the experiment {Path(script).stem}.")
    parser.add_argument("--seeds", type=int, default=experiment.seeds, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="try it out, on smaller numbers")
    parser.add_argument("--out", type=Path, help="folder of the results (default: the script's)")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}; give 1 or more")
    if options.quick and options.out is None:
        parser.error("--quick needs --out FOLDER, so that it does not overwrite the real results")
    if options.quick:
        experiment = replace(experiment, recipe={**experiment.recipe, **(experiment.quick or {})})
    path = Path(script).resolve()
    library = _library()  # before anything else loads more modules
    experiment = replace(experiment, data=functools.cache(experiment.data))
    made_from = _made_from(experiment, path)
    parts = _parts_folder(path.stem, made_from, library)
    try:
        lost = _run(experiment, range(options.seeds), parts)
        with going_on_when_full("The note on what the parts were made from"):
            _parts_folder(path.stem, made_from, library)  # should the cache have been deleted
    except KeyboardInterrupt:
        kept = len(list(parts.glob("*.json"))) - 1  # without the note on what they were made from
        print(
            f"\nInterrupted. {kept} finished parts are kept: the same command goes on from there."
        )
        return 130
    record = (options.out or path.parent) / f"{path.stem}.json"
    if lost:
        print(f"Not kept in the cache, as the disk is full: {'; '.join(lost)}.")
    try:
        _write(record, parts, made_from, _cases(experiment, range(options.seeds)), lost)
    except (OSError, SafetensorError) as error:
        print(
            f"{record.name} cannot be written ({error}). Parts that are in the cache are kept: the "
            "same command goes on from there."
        )
        return 1
    print(f"{record.name} is written.")
    return 0


# --- running ---------------------------------------------------------------------------------------


def _run(experiment: Experiment, seeds: range, parts: Path) -> dict[str, Row]:
    """Run what is not among the finished parts yet, with a progress bar and an estimate.

    Returns:
        Label → part, for those that could not be kept because the disk is full.
    """
    from tqdm.auto import tqdm

    cases = _cases(experiment, seeds)
    missing = [
        case for case in cases if (part := _part(parts, case)) is None or _changed(part["library"])
    ]
    data = experiment.data() if missing else {}
    lost: dict[str, Row] = {}
    done = len(cases) - len(missing)
    with tqdm(total=len(cases), initial=done, unit="case", smoothing=0) as bar:
        for case in missing:
            bar.set_postfix_str(_label(case))
            began = time.perf_counter()
            plain = {key: value for key, value in case.items() if key != "seed"}
            measured = experiment.run(plain, case["seed"], experiment.recipe, data)
            if both := sorted(set(case) & set(measured)):
                raise ValueError(
                    f"The case and what was measured share the names {both}: rename one."
                )
            lost[_label(case)] = _measured(case, measured, time.perf_counter() - began)
            with going_on_when_full(_label(case)):
                _keep(parts, case, lost[_label(case)])
                del lost[_label(case)]
            bar.update()
    return lost


def _cases(experiment: Experiment, seeds: range) -> list[Row]:
    """Each case with each seed: seed by seed, so that what is interrupted has whole seeds."""
    cases = [
        {**case, "seed": seed} for seed in seeds for case in experiment.cases(experiment.recipe)
    ]
    labels = [_label(case) for case in cases]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"These cases come twice: {', '.join(twice)}.")
    return cases


def _measured(case: Row, measured: Row, seconds: float) -> Row:
    """A finished part, as `_part` reads it."""
    import torch

    tensors = {key: value for key, value in measured.items() if isinstance(value, torch.Tensor)}
    values = {key: value for key, value in measured.items() if key not in tensors}
    note = {"seconds": round(seconds, 2), "row": {**case, **values}, "tensors": tensors}
    return note | {"library": _library()}  # all that is loaded now that the case has run


def _keep(parts: Path, case: Row, part: Row) -> None:
    """Write a finished part: tensors first, so that a part with its JSON file is complete."""
    file = _part_file(parts, case)
    for place in (file, file.with_suffix(".safetensors")):
        make_room(place)
    text = json.dumps({**part, "tensors": sorted(part["tensors"])}, allow_nan=False)
    if part["tensors"]:
        _save_tensors(part["tensors"], file.with_suffix(".safetensors"))
    _write_text(file, text)


def _part(parts: Path, case: Row) -> Row | None:
    """A finished part, its tensors under "tensors"; None where it is missing or damaged."""
    from safetensors.torch import load_file

    file = _part_file(parts, case)
    try:
        note = _read_json(file)
        tensors = load_file(_regular(file.with_suffix(".safetensors"))) if note["tensors"] else {}
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
    return {"library": {}, **note, "tensors": tensors}


def _part_file(parts: Path, case: Row) -> Path:
    digest = hashlib.sha256(json.dumps(case, sort_keys=True).encode()).hexdigest()
    return parts / f"part-{digest[:16]}.json"


def _parts_folder(name: str, made_from: Row, library: Row) -> Path:
    """Where the finished parts of one experiment are: another folder where anything has changed."""
    from course_lib import cache

    note = json.dumps({"made_from": made_from, "library": library}, sort_keys=True, indent=1)
    digest = hashlib.sha256(note.encode()).hexdigest()[:16]
    folder = cache.cache_dir() / "experiments" / name / digest
    cache.make_folder(folder)
    for one in folder.parent.iterdir():
        sweep(one)
    make_room(folder / "made_from.json")
    _write_text(folder / "made_from.json", note)
    return folder


def _label(case: Row) -> str:
    """A case in a few words: "gradual, 0.97, seed 0"."""
    return ", ".join(f"seed {v}" if k == "seed" else str(v) for k, v in case.items())


# --- the record ------------------------------------------------------------------------------------


def _write(
    record: Path,
    parts: Path,
    made_from: Row,
    cases: list[Row],
    lost: Mapping[str, Row] | None = None,
) -> None:
    """Put the finished parts together: NAME.json, one row a line, and NAME.safetensors.

    `lost` holds what is not in the cache.
    """
    found = {_label(case): (lost or {}).get(_label(case)) or _part(parts, case) for case in cases}
    whole = [part for part in found.values() if part is not None]
    if bad := [label for label, part in found.items() if part is None]:
        raise ValueError(
            f"{len(bad)} parts in the cache are damaged; run it again: {'; '.join(bad)}."
        )
    tensors = {
        f"{i}/{key}": tensor
        for i, part in enumerate(whole)
        for key, tensor in part["tensors"].items()
    }
    file = record.with_suffix(".safetensors")
    record.parent.mkdir(parents=True, exist_ok=True)
    if tensors:
        _save_tensors(tensors, file)
    else:
        file.unlink(missing_ok=True)
    rows = [json.dumps(part["row"], ensure_ascii=False) for part in whole]
    seeds = len({case["seed"] for case in cases})
    head = {
        "made_by": f"python notebooks/experiments/{record.stem}.py --seeds {seeds}",
        "created": date.today().isoformat(),
        "processor": _processor(),
        "seconds": round(sum(part["seconds"] for part in whole), 1),
        "seeds": seeds,
        "versions": {name: version_of(name) for name in ("torch", "transformers", "numpy")}
        | {"python": platform.python_version()},
        "made_from": made_from,
        "library": _read_json(parts / "made_from.json")["library"]
        | {module: digest for part in whole for module, digest in part["library"].items()},
        "tensors": hashlib.sha256(file.read_bytes()).hexdigest() if tensors else "",
    }
    head["checksum"] = _checksum({**head, "rows": [json.loads(row) for row in rows]})
    text = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    _write_text(record, text + ',\n "rows": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n")


class _DamagedError(Exception):
    """A record is not what was written."""


def _read(record: Path) -> Row:
    """The record, its tensors in their rows again."""
    from safetensors.torch import load

    file = record.with_suffix(".safetensors")
    try:
        found = _read_json(record)
        if _checksum(found) != found["checksum"]:
            raise _DamagedError("it was changed after it was written")
        if found["tensors"]:
            content = file.read_bytes() if file.is_file() else b""
            if hashlib.sha256(content).hexdigest() != found["tensors"]:
                raise _DamagedError(f"{file.name} is missing, damaged or of another run")
            for key, tensor in load(content).items():
                index, _, name = key.partition("/")
                found["rows"][int(index)][name] = tensor
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _DamagedError(f"it cannot be read ({type(error).__name__}: {error})") from None
    return found


def _checksum(record: Row) -> str:
    """A digest of all that a record says."""
    said = {key: value for key, value in record.items() if key != "checksum"}
    return short_hash(json.dumps(said, sort_keys=True))


def _restored(script: Path, now: Row) -> bool:
    """Whether the record could be made anew from finished parts in the cache."""
    from course_lib import cache

    experiment = _experiment_of(script)
    folder = cache.cache_dir() / "experiments" / script.stem
    for note in sorted(
        folder.glob("*/made_from.json"), key=lambda path: path.stat().st_mtime, reverse=True
    ):
        try:
            if _read_json(note)["made_from"] != now:
                continue
            seeds = 0
            while all(
                _part(note.parent, case) for case in _cases(experiment, range(seeds, seeds + 1))
            ):
                seeds += 1
            if seeds:
                cases = _cases(experiment, range(seeds))
                _write(script.with_suffix(".json"), note.parent, now, cases)
                return True
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a damaged note, or a record that cannot be written
    return False


# --- what it was made from -------------------------------------------------------------------------

_WORDS = {"script": "another script", "recipe": "another recipe", "data": "other data"}
_UNKNOWN = " · the data are not there, so it was not compared whether they are the same"


def _made_from(experiment: Experiment, script: Path) -> Row:
    """All that the results depend on, but for the library: what is compared when they are loaded."""
    data = {
        name: dataset if isinstance(dataset, str) else _fingerprint(dataset)
        for name, dataset in experiment.data().items()
    }
    made_from = {
        "script": short_hash(_code(script.read_text("utf-8"))),
        "recipe": dict(experiment.recipe),
        "data": data,
    }
    return json.loads(json.dumps(made_from, allow_nan=False))  # as it will be read


def _fingerprint(dataset: Any) -> str:
    from course_lib.models import zoo

    return zoo.fingerprint(dataset)


def _experiment_of(script: Path) -> Experiment:
    """The `Experiment` that a script defines; the script is loaded, but not run.

    Python's import would take bytecode that is as old as the second in which the script was edited.
    """
    names = {"__name__": f"experiment_{script.stem}", "__file__": str(script)}
    exec(compile(script.read_text("utf-8"), str(script), "exec"), names)
    found = [value for value in names.values() if isinstance(value, Experiment)]
    if len(found) != 1:
        raise ValueError(f"{script.name} defines {len(found)} experiments; expected one.")
    return found[0]


def _library() -> dict[str, str]:
    """A digest for each module of course_lib that is loaded, without the lessons' own."""
    names = [name for name in sorted(sys.modules) if name.startswith("course_lib.")]
    library = [name for name in names if not name.startswith("course_lib.lessons")]
    return {name: _module_digest(name) for name in library}


def _changed(library: Row) -> list[str]:
    """The modules whose code is not what was noted."""
    return [module for module, old in library.items() if _module_digest(module) != old]


def _module_digest(module: str) -> str:
    """A digest of a module's code, found by its name; "" where there is no such module any more."""
    place = ROOT / Path(*module.split("."))
    files = [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.exists()]
    return _digest_without_docstrings(files[0].read_text("utf-8")) if files else ""


@functools.cache
def _digest_without_docstrings(source: str) -> str:
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            text = node.body[0]
            for number in range(text.lineno, (text.end_lineno or text.lineno) + 1):
                lines[number - 1] = ""
    return short_hash(_code("\n".join(lines)))


def _code(source: str) -> str:
    """The source without empty lines and lines of comment: rewording those changes no result."""
    lines = (line.rstrip() for line in source.splitlines())
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))


def _renew(script: Path) -> str:
    record = script.with_suffix(".json")
    minutes = ""
    try:
        took = _read_json(record)["seconds"] / 60
        minutes = f" (it took {max(1, round(took))} minutes)"
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return f"Make them anew: python notebooks/experiments/{script.name}{minutes}"


def _processor() -> str:
    """The processor's name, and the GPU's where there is one; never the machine's."""
    import torch

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = (line for line in info.read_text().splitlines() if line.startswith("model name"))
        name = next((line.partition(":")[2].strip() for line in models), name)
    return f"{name} and {torch.cuda.get_device_name()}" if torch.cuda.is_available() else name


def _distinct(values: Iterator[Any]) -> list[Any]:
    return list(dict.fromkeys(str(value) for value in values))


def _regular(path: Path) -> Path:
    """The path, if a regular file lies there: opening a FIFO would wait forever."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing or no regular file")
    return path


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_regular(path).read_text("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _save_tensors(tensors: Mapping[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    contents = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    write_atomically(path, lambda part: save_file(contents, part))


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8", newline="\n"))
