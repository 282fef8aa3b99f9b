"""Files that appear whole or not at all, and short names for what is in them."""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a lesson imports this before it may load PyTorch
    from torch import Tensor


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, then move it to `path`.

    Nobody sees half a file, also when several processes write the same one at once. When `write` fails,
    an older file stays as it is. The new file gets the permissions that the user's files usually have.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = write_atomically(f"{folder}/pi.txt", lambda part: part.write_text("3.14"))
        ...     print(file.read_text(), os.listdir(folder))
        3.14 ['pi.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # `cached_files.sweep` deletes files of this name that a killed process left.
    part = path.with_name(f"part-{uuid.uuid4().hex}-{path.name[-100:]}")
    try:
        with part.open("xb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777  # safetensors would set 0600
        write(part)
        part.chmod(mode)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def write_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary folder beside `folder`, then put it in its place.

    Nobody ever sees half a folder. When anything fails, an older folder stays, or comes back.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        new, old = Path(work, "model"), Path(work, "old")
        new.mkdir()
        write(new)
        try:
            if folder.exists():
                os.replace(folder, old)
            os.replace(new, folder)
        except BaseException:
            if old.exists() and not folder.exists():
                os.replace(old, folder)
            raise


def quoted(value: object) -> str:
    """Somebody's own text for an error message: at most 200 characters, shown as Python writes it.

    Example:
        >>> quoted("so " * 999)[-10:]
        'so so so …'
    """
    line = repr(value[:200] if isinstance(value, str) else value)
    return line if len(line) <= 200 else f"{line[:198]} …"


def short_hash(text: str) -> str:
    """The first 16 hexadecimal digits of the text's SHA-256.

    Example:
        >>> short_hash("digits")
        'cc6b6bad31a0ff4d'
    """
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hash_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits that depend on each tensor's name, dtype, shape and every bit.

    Example:
        >>> import torch
        >>> hash_of_tensors({"a": torch.zeros(2)}) == hash_of_tensors({"a": torch.zeros(2, 1)})
        False
    """
    import torch

    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes())  # NumPy has no bfloat16
    return digest.hexdigest()[:16]
