"""Is a model's folder safe to read? It may come from a stranger."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from course_lib.files import quoted

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
LONGEST_JSON = 2**24  # bytes of a config; a list of BERT's whole vocabulary needs 1 % of that
LONGEST_TEXT = 2**26  # bytes of any other text; the largest tokenizers have half of that
LINES, ENTRIES = 2**20, 2**21  # of a vocabulary: lines of a .txt, commas of a .json
LABELS, LAYERS, KEYS, ADDED = 2**16, 1000, 1000, 2**14
# Keys whose number says how often something is built, and keys whose numbers are sizes or ids: those
# need tensors in the weights, or nothing at all.
COUNTS = re.compile("(layer|group|expert|block|depth|repeat|stage)s?$|block_sizes")
PARTS = re.compile("^num_|layer|group|expert|block|depth|repeat|stage")
WIDTHS = re.compile(
    "size|dim|shape|width|channel|window|token|_ids?$|cutoff|resolution|position|length|embed|bucket"
    "|class|label|filter|feature|unit|kernel|vocab|patch|stride|ctx|grid|centroid"
)
ATTENTION = ("eager", "sdpa")  # the others come from packages or from repositories
NEW_NUMBERS = 2**24  # that a new classifier may add to what the weights hold


def checked_folder(folder: str | Path, stores: Collection[Path] = (), weights: bool = True) -> Path:
    """The folder, if nothing in it leads out of it, runs code, hangs, or takes memory without bound.

    Every entry is a regular file or a folder: no link, pipe or device. Weights are safetensors; an
    index of shards names such files in this folder alone. Texts, labels and layers are limited. No
    implementation in the config comes from a repository. A pickle may be there; it is never read.

    Args:
        folder: see above.
        stores: folders with regular files that links may lead to, as in the Hub's cache (default none).
        weights: check them, too (default); False where only config and tokenizer are to be read.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: names the file and what is wrong with it; or the weights are masked.
    """
    folder = Path(folder)
    try:
        _check_entries(folder, [store.resolve() for store in stores])
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"There is no folder {quoted(str(folder))}.") from error
    except OSError as error:
        raise ValueError(f"{quoted(folder.name)} cannot be read: {str(error)[:200]}.") from error
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            f"{folder.name!r} holds an adapter, which names another model. Merge the two "
            "(merge_and_unload of peft) and save the result."
        )
    if weights:
        _check_masks(folder, tensors_in(folder))
    if (folder / "tokenizer_config.json").exists():
        settings = read_json(folder, "tokenizer_config.json")
        if settings.get("fast_tokenizer_files"):
            raise ValueError(
                f"tokenizer_config.json of {folder.name!r} names other files to be opened, in "
                "fast_tokenizer_files. Take that key out; tokenizer.json is read."
            )
        added = settings.get("added_tokens_decoder")
        if isinstance(added, dict) and len(added) > ADDED:
            raise ValueError(
                f"tokenizer_config.json of {folder.name!r} adds {len(added):,} tokens; at most "
                f"{ADDED:,} are accepted."
            )
    if (folder / CONFIG).exists():
        _check_config(folder, read_json(folder, CONFIG))
    return folder


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object from a file of at most 16 MiB; anything else is a `ValueError` that names it."""

    def finite(number: str) -> float:
        value = float(number)
        expect(math.isfinite(value), f"it holds {number[:20]}; a finite number was expected")
        return value

    try:
        file = (folder / name).stat()
        expect(stat.S_ISREG(file.st_mode), "it is no regular file")
        expect(
            file.st_size <= LONGEST_JSON,
            f"it has {file.st_size:,} bytes; at most {LONGEST_JSON:,} were expected",
        )
        text = (folder / name).read_text("utf-8")
        content = json.loads(text, parse_constant=finite, parse_float=finite)
        kind = type(content).__name__
        expect(isinstance(content, dict), f"it is a {kind}; a JSON object was expected")
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{name} of {folder.name!r} is damaged: {str(error)[:200]}.") from error
    return content


def tensors_in(folder: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name → shape and dtype of each tensor in the weights, from their headers; none: an empty dict.

    Raises:
        ValueError: a file is damaged, or an index names what is no safetensors file in this folder.
    """
    names = []
    if (folder / INDEX).exists():
        shards: Any = read_json(folder, INDEX).get("weight_map")
        whole = isinstance(shards, dict) and all(isinstance(s, str) for s in shards.values())
        names = sorted(set(shards.values())) if whole else [""]
        for name in names:
            if not re.fullmatch(r"[\w.-]+\.safetensors", name) or not (folder / name).is_file():
                raise ValueError(
                    f"{INDEX} of {folder.name!r} names {name[:80]!r}; expected .safetensors files of "
                    "this folder. Here no pickle is read."
                )
    if (folder / WEIGHTS).is_file():
        names = [WEIGHTS]  # what transformers would read, too
    return {key: of for name in names for key, of in _header(folder, name)}


def check_size(folder: Path, model: nn.Module) -> None:
    """Compare a model on the meta device, built from a folder's config, with the folder's weights.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: the model is larger than the weights by more than a new classifier.
    """
    tensors = tensors_in(folder)
    if not tensors:
        raise FileNotFoundError(
            f"{folder.name!r} holds no {WEIGHTS}. Here no pickle is read: let save_pretrained write "
            "the model."
        )
    held = sum(math.prod(shape) for shape, _ in tensors.values())
    needed = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    if needed - held > NEW_NUMBERS:
        raise ValueError(
            f"{CONFIG} of {folder.name!r} does not fit its weights: it says {needed:,} numbers, and "
            f"they hold {held:,}."
        )


def check_own(folder: Path, written: Callable[[], Any]) -> None:
    """Raise a FileExistsError, with names, unless all that lies at that place was written there before.

    Args:
        folder: see above; none, or an empty one, is fine.
        written: the list of files that a note in the folder holds; may raise a ValueError.
    """
    files: Any = []
    if folder.is_dir():
        with suppress(ValueError):
            files = written()
        files = files if isinstance(files, list) else []
        found = names_inside(folder)  # Python makes the one that is left out
        others = [n for n in sorted(found) if n not in files and not n.startswith("__pycache__")]
    else:
        others = [folder.name] if os.path.lexists(folder) else []
    if others:
        raise FileExistsError(
            f"{folder.name!r} holds what save did not write: {', '.join(others[:6])}. Move it, or "
            "name another folder."
        )


def names_inside(folder: Path) -> set[str]:
    """What lies in a folder and in the folders inside; a folder itself only if it is empty."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir() or not any(path.iterdir())
    }


def expect(true: bool, otherwise: str) -> None:
    """Raise ``ValueError(otherwise)`` unless `true`."""
    if not true:
        raise ValueError(otherwise)


def _check_entries(folder: Path, stores: Collection[Path]) -> None:
    templates = folder / "additional_chat_templates"  # the one folder in it that transformers reads
    entries = [*os.scandir(folder), *(os.scandir(templates) if templates.is_dir() else ())]
    for entry in entries:
        file = entry.stat(follow_symlinks=False)
        target = Path(entry.path).resolve()
        if target.is_file() and any(target.is_relative_to(store) for store in stores):
            file = target.stat()
        if stat.S_ISDIR(file.st_mode):
            continue
        where = f"{entry.name} of {folder.name!r}"
        if not stat.S_ISREG(file.st_mode):
            kind = "a link" if stat.S_ISLNK(file.st_mode) else "a pipe or a device"
            raise ValueError(f"{where} is {kind}; expected a regular file. Put a copy there.")
        if not entry.name.endswith((".json", ".txt", ".jinja", ".model")):
            continue
        if file.st_size > LONGEST_TEXT:
            raise ValueError(
                f"{where} has {file.st_size:,} bytes; expected at most {LONGEST_TEXT:,}."
            )
        if file.st_size > LINES:  # a smaller one cannot have so many
            text = Path(entry.path).read_bytes()
            for sign, most, what in ((b"\n", LINES, "lines"), (b",", ENTRIES, "entries")):
                wanted = entry.name.endswith(".txt") == (what == "lines")
                if wanted and text.count(sign) > most:
                    raise ValueError(
                        f"{where} has {text.count(sign):,} {what}; expected at most {most:,}."
                    )


def _check_masks(folder: Path, names: Collection[str]) -> None:
    """`from_pretrained` knows no masks: it would make up the weights of these layers."""
    for name in names:
        older = name.endswith("_mask") and name.removesuffix("mask") + "orig" in names
        if older or re.search(r"(^|\.)parametrizations\.\w+\.\d+\.mask$", name):
            raise ValueError(
                f"The weights in {folder.name!r} are masked: they hold {name[:80]!r}. A loaded model "
                "would have random numbers there. Write the zeros into the weights, "
                "pruning.make_permanent(model), and save the result."
            )


def _check_config(folder: Path, config: dict[str, Any]) -> None:
    if len(config) > KEYS:
        raise ValueError(
            f"{CONFIG} of {folder.name!r} does not fit: it has {len(config):,} keys; at most {KEYS:,} "
            "are accepted."
        )
    entries: Counter[str] = Counter()
    for key, value, code in _fields(config):
        number = value if isinstance(value, int) else 0
        labels = len(value) if isinstance(value, (dict, list)) else number
        entries[key] += len(value) if isinstance(value, list) else 0
        short, name, shown = not WIDTHS.search(key), quoted(key[:80]), quoted(value)
        counts = COUNTS.search(key) or (short and (PARTS.search(key) or entries[key]))
        fault = ""
        if key == "__float__":
            fault = f"it holds {str(value)[:20]}; a finite number was expected"
        elif key in ("num_labels", "id2label"):
            fault = f"it has more than {LABELS:,} labels" if labels > LABELS else ""
        elif counts and number > LAYERS:
            fault = f"{name} is {value:,}; at most {LAYERS:,} are accepted"
        elif entries[key] > (most := LABELS if re.search("label|class|token", key) else LAYERS):
            fault = f"{name} lists {entries[key]:,} values; at most {most:,} are accepted"
        elif "attn_implementation" in code and isinstance(value, str) and value not in ATTENTION:
            fault = f"{quoted(code[:80])} is {shown}; expected eager or sdpa. Take it out"
        elif code and isinstance(value, str) and "/" in value:
            fault = f"{quoted(code[:80])} names a repository, {shown}. Take it out"
        elif key == "transformers_weights" and value != WEIGHTS:
            fault = f"{key} is {shown}; expected {WEIGHTS!r}. Take it out"
        if fault:
            raise ValueError(f"{CONFIG} of {folder.name!r} does not fit: {fault}.")


def _fields(config: Any) -> Iterator[tuple[str, Any, str]]:
    """Each key and value, also of objects inside, and the key over them that chooses code, if any."""
    rest = [("", config, "")]
    while rest:
        key, value, code = rest.pop()
        code = code or (key if re.search("implementation|kernel", key) else "")
        yield key, value, code
        if isinstance(value, dict):
            rest += [(inner, value[inner], code) for inner in value]
        elif isinstance(value, list):
            rest += [(key, inner, code) for inner in value]


def _header(folder: Path, name: str) -> Iterator[tuple[str, tuple[tuple[int, ...], str]]]:
    try:
        with safe_open(folder / name, "pt") as file:
            for key in file.keys():  # noqa: SIM118
                piece = file.get_slice(key)
                yield key, (tuple(piece.get_shape()), piece.get_dtype())
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{name} of {folder.name!r} is damaged: {str(error)[:200]}.") from error
