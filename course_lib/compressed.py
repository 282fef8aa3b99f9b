"""Compressed models on disk: what `save_pretrained` writes, and their widths in a JSON beside it."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from course_lib import cache
from course_lib.embeddings import narrow_embeddings_, rank_of
from course_lib.encoders import quiet
from course_lib.groups import FAMILIES, groups
from course_lib.surgery import original_parameters, remove, widths_to_parameters

WIDTHS = "compressed.json"
WEIGHTS = "model.safetensors"
LONGEST = 2**24  # bytes of compressed.json; BERT-base with its whole vocabulary needs 1 % of that


def save_compressed(model: nn.Module, folder: str | Path, tokenizer: Any = None) -> Path:
    """Write a model, made smaller or not, so that `load_compressed` gives it back.

    A `transformers` model is written by its own `save_pretrained` (safetensors, config), any other
    as one safetensors file; ``compressed.json`` beside it holds the width of each group, the rank of
    factored embeddings and, after `vocabulary.prune_vocabulary`, which token each row was. The folder
    appears whole or not at all. Where all layers are equally wide and the embeddings are one table,
    plain `from_pretrained` reads it too; with heads removed only for ViT, because BERT's config has no
    word for the size of a head. Lesson 2.

    Args:
        model: any module that `groups` understands.
        folder: made anew; an older compressed model there is replaced.
        tokenizer: travels along (default: none).

    Raises:
        FileExistsError: the folder holds something else.
    """
    folder = Path(folder)
    foreign = _foreign(folder)
    if foreign:
        raise FileExistsError(
            f"{folder.name!r} is no older compressed model: there is {foreign!r}. Name another folder."
        )
    note = {
        "format": 1,
        "model": type(model).__name__,
        "original_parameters": original_parameters(model),
        "widths": {name: group.units for name, group in groups(model).items()},
        "vocabulary": getattr(model, "vocabulary", None),
        "embedding_rank": rank_of(model),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        part = Path(work) / "model"
        part.mkdir()
        if isinstance(model, PreTrainedModel):
            with quiet():
                model.save_pretrained(part)
        else:
            state = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
            save_file({k: v.contiguous() for k, v in state.items()}, part / WEIGHTS)
        if tokenizer is not None:
            tokenizer.save_pretrained(part)
        (part / WIDTHS).write_text(json.dumps(note))
        cache.replace_folder(part, folder)
    return folder


def load_compressed(folder: str | Path, like: nn.Module | None = None) -> nn.Module:
    """The model that `save_compressed` wrote, in eval mode. No pickle is read and no code is run.

    Everything that the folder says is checked against the header of its weights before memory is
    taken. Explained in lesson 2.

    Args:
        folder: as `save_compressed` wrote it.
        like: for a model that is not from `transformers`: one of the original architecture, such as
            ``SmallCNN()``. It is left alone.

    Raises:
        FileNotFoundError: there is no compressed model.
        ValueError: the folder is damaged or does not fit; says what came and what was expected.
    """
    folder = Path(folder)
    note = _read_note(folder)
    model = _load_transformer(folder, note) if like is None else _load_other(folder, note, like)
    if note["vocabulary"] is not None:
        model.vocabulary = note["vocabulary"]
    model.original_parameters = note["original_parameters"]
    return model.eval()


def _foreign(folder: Path) -> str:
    """What lies in the folder that is no part of a compressed model; nothing: an empty string."""
    if not folder.is_dir():
        return folder.name if folder.exists() else ""
    inside = sorted(folder.iterdir())
    if inside and not {WIDTHS, WEIGHTS} <= {path.name for path in inside}:
        return inside[0].name
    parts = (".json", ".safetensors", ".txt", ".jinja")
    return next((p.name for p in inside if p.suffix not in parts or not p.is_file()), "")


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        size = (folder / name).stat().st_size
        _expect(size <= LONGEST, f"it has {size:,} bytes; at most {LONGEST:,} were expected")
        read = json.loads((folder / name).read_text("utf-8"))
        _expect(
            isinstance(read, dict), f"it is a {type(read).__name__}; a JSON object was expected"
        )
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{name} of {folder.name!r} is damaged: {error}.") from error
    return read


def _read_note(folder: Path) -> dict[str, Any]:
    for name in (WIDTHS, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder.name!r} holds no compressed model: there is no {name}. save_compressed "
                "writes one; a plain model is read by from_pretrained."
            )
    note = _read_json(folder, WIDTHS)
    widths, vocabulary, rank = (note.get(k) for k in ("widths", "vocabulary", "embedding_rank"))
    try:
        _expect(note.get("format") == 1, "format 1 was expected")
        _expect(isinstance(note.get("model"), str), "model must be the name of a class")
        _expect(_whole(note.get("original_parameters"), 1), "original_parameters must be a number")
        whole = isinstance(widths, dict) and all(_whole(units, 1) for units in widths.values())
        _expect(whole, "widths must be whole numbers of 1 or more, one for each group")
        listed = isinstance(vocabulary, list) and all(_whole(token, 0) for token in vocabulary)
        _expect(listed or vocabulary is None, "vocabulary must be a list of whole numbers")
        _expect(rank is None or _whole(rank, 1), "embedding_rank must be a whole number")
    except ValueError as error:
        raise ValueError(f"{WIDTHS} of {folder.name!r} is damaged: {error}.") from error
    return note | {"vocabulary": vocabulary, "embedding_rank": rank}


def _load_transformer(folder: Path, note: Mapping[str, Any]) -> Any:
    kind = _kind_of(folder, note["model"])

    class Narrow(kind):  # type: ignore[misc, valid-type]
        """Made smaller before `from_pretrained` brings the weights."""

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            if note["embedding_rank"]:
                narrow_embeddings_(self, note["embedding_rank"])
            self.__dict__ = _narrowed(self, folder, note).__dict__

    Narrow.__name__ = note["model"]  # some of transformers' tables go by it
    found, tensors = _header(folder)
    try:
        config = _config_of(folder, kind)
        # Before anything is built: a loop over a number from a file should be a short one.
        layers = sum(group.endswith(".heads") for group in note["widths"])
        same = config.num_hidden_layers == layers
        _expect(same, f"it has {config.num_hidden_layers} layers, and {WIDTHS} {layers}")
        _expect(layers <= tensors, f"{layers} layers cannot be in {tensors} tensors of {WEIGHTS}")
        rows = getattr(config, "vocab_size", 0)
        listed = rows if note["vocabulary"] is None else len(note["vocabulary"])
        _expect(rows == listed, f"vocab_size is {rows}, and {WIDTHS} lists {listed} tokens")
        with torch.device("meta"):
            whole = kind(config)
            if note["embedding_rank"]:
                narrow_embeddings_(whole, note["embedding_rank"])
        _check_widths(whole, folder, note["widths"])
        cut = _numbers(whole.parameters()) - widths_to_parameters(whole)(note["widths"])
        expected = _numbers(whole.state_dict(keep_vars=True).values()) - cut
    except Exception as error:  # whatever transformers makes of a config that nobody wrote for it
        raise ValueError(f"config.json of {folder.name!r} does not fit: {error}") from error
    _expect_numbers(folder, found, expected)
    try:
        with quiet():
            # The weights are handed over: in a folder, transformers would look for more than them.
            # And copied: where a file puts them in memory is not where it is fast to read them.
            model, report = Narrow.from_pretrained(
                None,
                config=config,
                state_dict={k: v.clone() for k, v in load_file(folder / WEIGHTS).items()},
                output_loading_info=True,
            )
            if model.can_generate() and (folder / "generation_config.json").is_file():
                made = transformers.GenerationConfig
                model.generation_config = made(**_read_json(folder, "generation_config.json"))
        wrong = sorted(str(key) for keys in report.values() for key in keys)
        _expect(not wrong, ", ".join(wrong[:3]))
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{WEIGHTS} of {folder.name!r} does not fit its config and {WIDTHS}: {error}."
        ) from error
    model.__class__ = kind
    return model


def _kind_of(folder: Path, name: str) -> Any:
    """The class of that name, if it is a model of `transformers` that `groups` knows."""
    try:
        kind: Any = getattr(transformers, name, None)
    except (ImportError, RuntimeError):  # a name whose module needs what is not installed
        kind = None
    known = isinstance(kind, type) and issubclass(kind, PreTrainedModel)
    config: Any = kind.config_class if known else None
    if config is None or config.model_type not in FAMILIES:
        raise ValueError(
            f"{WIDTHS} of {folder.name!r} names a {name[:80]!r}, which is no transformers model of "
            f"the families {', '.join(FAMILIES)}. For a model of your own, pass one of the original "
            "architecture: load_compressed(folder, like=…)."
        )
    return kind


def _config_of(folder: Path, kind: Any) -> Any:
    """The config, of which only the fields of its class are read.

    Others can name code: `auto_map`, an attention kernel of the Hub. The dtype is that of the file.
    """
    written = _read_json(folder, "config.json")
    family = kind.config_class.model_type
    _expect(
        written.get("model_type") == family,
        f"model_type is {written.get('model_type')!r}; expected {family!r}",
    )
    fields = {field.name for field in dataclasses.fields(kind.config_class)} | {"head_dim"}
    read = {key: value for key, value in written.items() if key in fields - {"dtype"}}
    return kind.config_class(**read)


def _load_other(folder: Path, note: Mapping[str, Any], like: nn.Module) -> Any:
    if type(like).__name__ != note["model"]:
        raise ValueError(
            f"{folder.name!r} holds a {note['model']}, and `like` is a {type(like).__name__}."
        )
    found, _ = _header(folder)
    model = _narrowed(like, folder, note)
    _expect_numbers(folder, found, _numbers(model.state_dict().values()))
    state = load_file(folder / WEIGHTS)
    try:
        for name, tensor in model.state_dict(keep_vars=True).items():
            tensor.data = tensor.data.to(state.get(name, tensor).dtype)  # as it was saved
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{WEIGHTS} of {folder.name!r} does not fit {WIDTHS}: {error}") from error
    return model


def _check_widths(model: nn.Module, folder: Path, widths: Mapping[str, int]) -> None:
    for name, group in groups(model).items():
        if not 0 < widths.get(name, 0) <= group.units:
            raise ValueError(
                f"{WIDTHS} of {folder.name!r} has {widths.get(name, 'nothing')} for {name!r}; expected "
                f"1 to {group.units} units."
            )


def _narrowed(model: nn.Module, folder: Path, note: Mapping[str, Any]) -> nn.Module:
    widths = note["widths"]
    _check_widths(model, folder, widths)
    smaller = remove(model, {name: range(widths[name]) for name in groups(model)})
    # Asked of the smaller one: a depthwise convolution of one channel counts as a plain one.
    strange = set(widths) - set(groups(smaller))
    if strange:
        raise ValueError(
            f"{WIDTHS} of {folder.name!r} has {min(strange)!r}; there is no such group."
        )
    return smaller


def _header(folder: Path) -> tuple[int, int]:
    """How many numbers there are, and in how many tensors, before memory is taken for them."""
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            sizes = [math.prod(file.get_slice(key).get_shape()) for key in file.keys()]  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{WEIGHTS} of {folder.name!r} is damaged: {error}.") from error
    return sum(sizes), len(sizes)


def _expect_numbers(folder: Path, found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(
            f"{WEIGHTS} of {folder.name!r} holds {found:,} numbers; its config and {WIDTHS} say "
            f"{expected:,}. Save the model again."
        )


def _numbers(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in {id(t): t for t in tensors}.values())  # tied ones once


def _whole(number: Any, least: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= least


def _expect(true: bool, otherwise: str) -> None:
    if not true:
        raise ValueError(otherwise)
