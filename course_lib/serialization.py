"""Compressed models on disk: what `save_pretrained` writes, and their widths in a JSON beside it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from course_lib.files import recover, write_folder
from course_lib.folder_checks import (
    CONFIG,
    WEIGHTS,
    check_own,
    checked_folder,
    expect,
    names_inside,
    read_json,
    tensors_in,
)
from course_lib.structured import load_pruned
from course_lib.structured.cutting import cut
from course_lib.structured.dependency import counts_of, groups, widths_of
from course_lib.structured.embeddings import narrow_embeddings_, rank_of
from course_lib.structured.removal import original_parameters, record_original_size

WIDTHS = "compressed.json"
LOADER = "load_pruned.py"  # for people without this library; it is copied, never run here
# Keys of a config that choose the code that runs, or that repeat what the weights define.
CODE = re.compile(
    "_|.*implementation|use_kernels|kernel_config|.*dtype|auto_map|custom_pipelines|quantization|transformers_weights"
)


def save(model: nn.Module, folder: str | Path, tokenizer: Any = None) -> Path:
    """Write a model, compressed or not, so that `load` returns it bit by bit.

    A `transformers` model is written as `save_pretrained` does it (safetensors, config), any other as
    one safetensors file. ``compressed.json`` holds the width of each group, the rank of factored
    embeddings and, after `structured.prune_vocabulary`, the original id of each token. The folder
    appears whole or not at all. Plain `from_pretrained` reads it too if all layers are equally wide and
    the embeddings are one table. After heads were removed, it does so only where the config has a field
    for the size of a head (Llama, ViT, T5), because BERT's has none. Its ``ignore_mismatched_sizes``
    fills what does not fit with random numbers, without an error. ``load_pruned.py`` in the folder
    loads it where this library is missing. Explained in lesson 2.

    Args:
        model: any module that `groups` understands.
        folder: created if missing. If it holds an older model, the files of that one are replaced.
        tokenizer: saved in the same folder (default: none).

    Raises:
        FileExistsError: the folder holds other files; names them, and changes nothing.
    """
    folder = Path(folder)
    place = folder.resolve()  # if it is a link, the link stays
    check_own(place, lambda: read_json(place, WIDTHS).get("files"))
    write_folder(place, lambda part: _write(model, part, tokenizer))
    return folder


def load(folder: str | Path, like: nn.Module | None = None) -> nn.Module:
    """The model that `save` wrote, in eval mode. No pickle is read and no code from there is run.

    The model is built without memory (on the meta device), narrowed, compared with the header of the
    weights, and filled. Explained in lesson 2.

    Args:
        folder: as `save` wrote it.
        like: for a model that is not from `transformers`: one of the original architecture, such as
            ``SmallCNN()``. It is left alone.

    Raises:
        FileNotFoundError: there is no compressed model.
        ValueError: the folder is damaged or does not fit; says what came and what was expected.
    """
    folder = Path(folder)
    note = _read_note(folder)
    tensors = tensors_in(folder)
    units = sum(note["widths"].values())
    if units > sum(torch.Size(shape).numel() for shape, _ in tensors.values()):
        raise ValueError(f"{WEIGHTS} of {folder.name!r} is too small for {units:,} units.")
    if like is None:
        kind = _class_named(folder, note["model"])
        try:
            model = _narrowed(_original(folder, note, kind, len(tensors)), folder, note["widths"])
        except Exception as error:  # whatever transformers makes of a config nobody wrote for it
            fault = str(error)[:200]
            raise ValueError(f"{CONFIG} of {folder.name!r} does not fit: {fault}") from error
    elif (name := type(like).__name__) != note["model"]:
        raise ValueError(f"{folder.name!r} holds a {note['model'][:80]}, and `like` is a {name}.")
    else:
        model = _narrowed(like, folder, note["widths"])
    _check_tensors(model, folder, tensors)
    _fill(model, folder)
    if note["vocabulary"] is not None:
        model.vocabulary = note["vocabulary"]
    model.original_parameters = note["original_parameters"]
    return model.eval()


def advice_on_widths(folder: Path) -> str:
    """What to do with a folder whose tensors have other shapes than its config says."""
    if (folder / WIDTHS).exists():
        return f"It holds a pruned model, with its widths in {WIDTHS}: course_lib.load reads it."
    return (
        "If it was pruned: a checkpoint of Trainer does not hold the widths; "
        "course_lib.save(trainer.model, folder) writes them."
    )


def _write(model: nn.Module, folder: Path, tokenizer: Any) -> None:
    if isinstance(model, PreTrainedModel):
        with quiet():  # in today's names of the tensors, which are those of the model
            model.save_pretrained(folder, save_original_format=False)
        shutil.copyfile(load_pruned.__file__, folder / LOADER)
    else:
        # Cloned, because a safetensors file refuses two names for one memory.
        state = {k: v.cpu().contiguous().clone() for k, v in model.state_dict().items()}
        save_file(state, folder / WEIGHTS)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    note = {
        "format": 1,
        "model": type(model).__name__,
        "original_parameters": original_parameters(model),
        "widths": widths_of(model),
        "counts": counts_of(model),
        "vocabulary": getattr(model, "vocabulary", None),
        "embedding_rank": rank_of(model),
        "files": [WIDTHS, *sorted(names_inside(folder))],
    }
    (folder / WIDTHS).write_text(json.dumps(note))


def _read_note(folder: Path) -> dict[str, Any]:
    recover(folder)
    if os.path.isdir(folder):
        checked_folder(folder)
    for name in (WIDTHS, WEIGHTS):
        if not os.path.isfile(folder / name):
            raise FileNotFoundError(
                f"{folder.name[:80]!r} holds no compressed model: there is no {name}. save writes one; "
                "a plain model is read by from_pretrained. After pruning, a checkpoint of Trainer is "
                "not enough: save(trainer.model, folder)."
            )
    note = {"vocabulary": None, "embedding_rank": None} | read_json(folder, WIDTHS)
    widths, vocabulary, rank = note.get("widths"), note["vocabulary"], note["embedding_rank"]
    try:
        expect(note.get("format") == 1, "format 1 was expected")
        expect(isinstance(note.get("model"), str), "model must be the name of a class")
        expect(_whole(note.get("original_parameters"), 1), "original_parameters must be a number")
        counts = isinstance(widths, dict) and all(_whole(units, 1) for units in widths.values())
        expect(counts, "widths must be whole numbers of 1 or more, one for each group")
        listed = isinstance(vocabulary, list) and all(_whole(token, 0) for token in vocabulary)
        expect(listed or vocabulary is None, "vocabulary must be a list of whole numbers")
        expect(rank is None or _whole(rank, 1), "embedding_rank must be a whole number")
    except ValueError as error:
        raise ValueError(f"{WIDTHS} of {folder.name!r} is damaged: {error}.") from error
    return note


def _original(folder: Path, note: Mapping[str, Any], kind: Any, tensors: int) -> Any:
    """The model before units were removed, on the meta device."""
    config = _config_of(folder, kind)
    # Before anything is built: a loop over a number from a file should be a short one.
    layers = getattr(config, "num_hidden_layers", 0)
    expect(layers <= tensors, f"{layers} layers cannot be in {tensors} tensors of {WEIGHTS}")
    rows = getattr(config, "vocab_size", 0)
    listed = rows if note["vocabulary"] is None else len(note["vocabulary"])
    expect(rows == listed, f"vocab_size is {rows}, and {WIDTHS} lists {listed} tokens")
    with torch.device("meta"):
        model = kind(config)
        if note["embedding_rank"]:
            narrow_embeddings_(model, note["embedding_rank"])
    if model.can_generate() and (folder / "generation_config.json").exists():
        settings = read_json(folder, "generation_config.json")
        names = {name for name in vars(model.generation_config) if name[0] != "_"}
        settings = {name: settings[name] for name in names & set(settings)}
        model.generation_config = transformers.GenerationConfig(**settings)
    return model


def _class_named(folder: Path, name: str) -> Any:
    """The class of that name, if it is a model of `transformers`."""
    try:
        kind: Any = getattr(transformers, name, None)
    except (ImportError, RuntimeError):  # a name whose module needs what is not installed
        kind = None
    is_model = isinstance(kind, type) and issubclass(kind, PreTrainedModel)
    config: Any = kind.config_class if is_model else None
    # A model with a backbone could fetch the weights of another one.
    if config is None or any("backbone" in field.name for field in dataclasses.fields(config)):
        raise ValueError(
            f"{WIDTHS} of {folder.name!r} names a {name[:80]!r}, which is no transformers model that "
            "was saved here. For a model of your own, pass one of the original architecture: "
            "load(folder, like=…)."
        )
    return kind


def _config_of(folder: Path, kind: Any) -> Any:
    """The config with all its data, also in fields that its class does not have, but without `CODE`."""
    written = read_json(folder, CONFIG)
    family = written.get("model_type")
    expected = kind.config_class.model_type
    expect(family == expected, f"model_type is {family!r}; expected {expected!r}")
    fields = {field.name for field in dataclasses.fields(kind.config_class)}
    data = {
        key: value
        for key, value in written.items()
        # a value from a file never replaces a method or property of the class
        if not CODE.match(key) and (key in fields or not hasattr(kind.config_class, key))
    }
    return kind.config_class(**data | {"architectures": [kind.__name__]})


def _narrowed(model: nn.Module, folder: Path, widths: Mapping[str, int]) -> Any:
    found = groups(model, exact=False)
    # An older file knows nothing of those that cannot be removed exactly.
    widths = {name: group.units for name, group in found.items() if group.inexact} | dict(widths)
    for name, group in found.items():
        if not 0 < widths.get(name, 0) <= group.units:
            raise ValueError(
                f"{WIDTHS} of {folder.name!r} has {widths.get(name, 'nothing')} for {name!r}; expected "
                f"1 to {group.units} units."
            )
    chosen = [(group, torch.arange(widths[name])) for name, group in found.items()]
    smaller = cut(model, chosen, share_tensors=True)  # `_fill` exchanges all of them
    record_original_size(smaller, model)
    # Checked on the smaller model, where a depthwise convolution of one channel counts as a plain one.
    strange = set(widths) - set(groups(smaller, exact=False))
    if strange:
        raise ValueError(
            f"{WIDTHS} of {folder.name!r} has {min(strange)[:80]!r}; there is no such group."
        )
    return smaller


def _check_tensors(model: nn.Module, folder: Path, tensors: Mapping[str, Any]) -> None:
    own = model.state_dict(keep_vars=True)
    held = {id(own[name]) for name in tensors if name in own}
    wrong = [f"{name} is missing" for name, tensor in own.items() if id(tensor) not in held]
    wrong += [f"{name[:80]} is unexpected" for name in tensors if name not in own]
    for name, (shape, dtype) in tensors.items():
        if name in own and shape != own[name].shape:
            wrong.append(f"{name} is {list(shape)}, expected {list(own[name].shape)}")
        elif name in own and own[name].is_floating_point() != dtype.startswith(("F", "BF")):
            wrong.append(f"{name} holds {dtype}, expected {own[name].dtype}")
    if wrong:
        raise ValueError(
            f"{WEIGHTS} of {folder.name!r} does not fit its config and {WIDTHS}: "
            f"{'; '.join(wrong[:3])}. Save the model again."
        )


def _fill(model: Any, folder: Path) -> None:
    """Exchange the model's tensors for those in the file, in the file's types of numbers."""
    own = model.state_dict(keep_vars=True)
    new: dict[int, Tensor] = {}  # by the tensor it replaces: shared ones stay shared
    with safe_open(folder / WEIGHTS, "pt") as file:
        for name in file.keys():  # noqa: SIM118
            # Copied: where a file puts tensors in memory is not where they are fast to read.
            tensor = file.get_tensor(name).clone()
            old = own[name]
            tensor = tensor if old.is_meta else tensor.to(old.device)
            is_parameter = isinstance(old, nn.Parameter)
            new[id(old)] = nn.Parameter(tensor, old.requires_grad) if is_parameter else tensor
    model.load_state_dict({name: new[id(old)] for name, old in own.items()}, assign=True)
    if isinstance(model, PreTrainedModel):
        _compute_buffers(model)
        model.config.dtype = model.dtype


def _compute_buffers(model: PreTrainedModel) -> None:
    """What no file holds, such as the numbers of positions, computed as `from_pretrained` does it."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(module, name, torch.empty_like(buffer, device="cpu"))
    tensors: Any = {id(t): t for t in model.state_dict(keep_vars=True).values()}.values()
    for tensor in tensors:
        tensor._is_hf_initialized = True  # so that transformers leaves it as it is
    model.initialize_weights()
    for tensor in tensors:
        del tensor._is_hf_initialized


def _whole(number: Any, least: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= least


@contextmanager
def quiet() -> Iterator[None]:
    """`transformers` without its progress bar and its list of new weights."""
    log = transformers.logging
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()
