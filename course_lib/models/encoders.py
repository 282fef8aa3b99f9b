"""A pretrained encoder and its tokenizer."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from huggingface_hub import constants as hub
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from torch import nn

from course_lib.datasets import sources
from course_lib.files import quoted
from course_lib.folder_checks import check_size, checked_folder
from course_lib.serialization import advice_on_widths, quiet

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
HUB_SECONDS = 3.0  # how long the Hub may take to answer at all


def load_encoder(name: str = MINILM, num_labels: int = 2, seed: int = 0) -> nn.Module:
    """A pretrained encoder with a new classifier on top: a plain `transformers` model, in eval mode.

    The default is MiniLM-L6 (Wang et al. 2020; BERT's architecture, 22.7 M parameters). It comes inside
    a pip package: no network is used, and its checksum is verified. No pickle is read and no code from
    outside is run. Explained in lesson 3.

    Args:
        name: `MINILM` (default), a folder that `save_pretrained` wrote, or a model on the Hub.
        num_labels: classes (default 2).
        seed: of the classifier's initial weights (default 0); the global seed stays as it was.

    Raises:
        ConnectionError: `name` is on the Hub, which cannot be reached, and is not in its cache either.
            Comes within 10 s and says how to go on offline.
        FileNotFoundError: the folder has no safetensors.
        ValueError: the packaged weights are damaged, or the folder is (`folder_checks.checked_folder`),
            or what the Hub sent.

    Example:
        >>> sum(p.numel() for p in load_encoder().parameters())
        22713986
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        auto = transformers.AutoModelForSequenceClassification
        return load_pretrained(auto, name, num_labels=num_labels, use_safetensors=True).eval()


def load_tokenizer(name: str = MINILM) -> Any:
    """The tokenizer that belongs to `load_encoder(name)`; the same names, the same errors.

    Example:
        >>> load_tokenizer().tokenize("unwatchable")
        ['un', '##watch', '##able']
    """
    tokenizer = load_pretrained(transformers.AutoTokenizer, name)
    if tokenizer.is_fast:  # a length that the file brings is not the one that texts are cut at
        tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def load_pretrained(auto: Any, name: str, **settings: Any) -> Any:
    """``auto.from_pretrained(name, **settings)`` for a folder or name that nobody vouches for.

    A folder is checked before it is read, and so is what the Hub sent. Code that comes with a model is
    never run. Without a Hub the error comes within 10 s instead of half a minute.

    Args:
        auto: a class of `transformers`, such as ``AutoConfig``.
        name: as in `load_encoder`, with the same errors.
        settings: of `from_pretrained`.

    Example:
        >>> load_pretrained(transformers.AutoConfig, MINILM).hidden_size
        384
    """
    settings["trust_remote_code"] = False  # else transformers asks, and waits for an answer
    settings["local_files_only"] = True
    if name == MINILM:  # its files have been verified
        with quiet():
            return auto.from_pretrained(str(sources.minilm()), **settings)
    is_model, is_folder = hasattr(auto, "from_config"), os.path.isdir(name)
    folder = checked_folder(name) if is_folder else _snapshot(name, is_model)
    try:
        if not is_folder:
            checked_folder(folder, _hub_stores(folder), weights=is_model)
        with quiet():
            if is_model:
                config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
                with torch.device("meta"):
                    check_size(folder, auto.from_config(config, trust_remote_code=False))
            return auto.from_pretrained(str(folder), **settings)
    except Exception as error:  # whatever transformers makes of a folder that is not meant for it
        if is_folder and isinstance(error, FileNotFoundError):
            raise
        said = str(error).replace(repr(folder.name), quoted(name))[:2000]
        if "mismatch" in said:
            said = f"{said} {advice_on_widths(folder)}"
        raise ValueError(
            f"{quoted(name)} cannot be loaded by {auto.__name__}: {said} Expected what "
            "save_pretrained of the model and of its tokenizer write: config.json, model.safetensors, "
            "tokenizer.json. Here no pickle is read and no code from outside is run."
        ) from error


def _snapshot(name: str, weights: bool) -> Path:
    """The folder in the Hub's cache that holds a model's texts, and its weights if they are wanted."""
    wanted = ["*.json", "*.txt", "*.jinja", "*.model"]
    wanted += ["model.safetensors", "model-*.safetensors"] if weights else []
    try:
        offline = not _hub_answers(name)
        return Path(
            huggingface_hub.snapshot_download(
                name, allow_patterns=wanted, ignore_patterns=["*/*"], local_files_only=offline
            )
        )
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ValueError(
            f"{quoted(name)} is neither a folder here nor a model that the Hub shows you: "
            f"{str(error)[:200]}"
        ) from error
    except Exception as error:  # the Hub's client has many, and those of its HTTP library
        if isinstance(error, OSError) and error.errno:  # of the disk
            raise
        raise ConnectionError(
            f"The Hugging Face Hub ({hub.ENDPOINT}) is not reached, and {quoted(name)} is neither a "
            "folder here nor in the Hub's cache. To go on offline, name a folder that "
            "save_pretrained wrote. Or leave the name out of load_encoder and load_tokenizer: the "
            f"default, {MINILM}, came with the course."
        ) from error


def _hub_stores(snapshot: Path) -> tuple[Path, Path]:
    """Where the links in the Hub's cache lead: the model's own files, and those of several models."""
    model = snapshot.parents[1]
    return model / "blobs", model.parent / "blobs"


def _hub_answers(name: str) -> bool:
    """Whether the Hub gives a sound answer about a model within `HUB_SECONDS`. Without this question,
    transformers waits 24 s."""
    if hub.HF_HUB_OFFLINE:
        return False
    answers: list[Any] = []

    def ask() -> None:
        try:
            config = f"{hub.ENDPOINT}/{name}/resolve/main/config.json"
            answer = huggingface_hub.get_session().head(config, timeout=HUB_SECONDS)
            if answer.status_code < 500:  # 404 and 401 are for the Hub's client to explain
                answers.append(answer)
        except Exception:  # not reached, for whatever reason
            return

    # In a thread, because the look-up of the host's name has no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * HUB_SECONDS)
    return bool(answers)
