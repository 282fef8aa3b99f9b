"""Files that appear whole or not at all, and short names for what is in them."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a lesson imports this before it may load PyTorch
    from torch import Tensor

DAY = 24 * 60 * 60  # seconds
_LEFT = re.compile(r"part-[0-9a-f]{32}-(.+)", re.DOTALL)  # strict: a person may own a part-00000


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
    sweep(path.parent)
    part = part_beside(path)
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
    sweep(folder.parent)
    recover(folder)
    work = part_beside(folder)
    new, old = work / "new", work / "old"
    try:
        new.mkdir(parents=True)
        write(new)
        mode = new.stat().st_mode & 0o666
        for file in filter(Path.is_file, new.rglob("*")):  # safetensors would set 0600
            file.chmod(file.stat().st_mode | mode)
        try:
            if folder.exists():
                os.replace(folder, old)
            os.replace(new, folder)
        except BaseException:
            if old.exists() and not folder.exists():
                os.replace(old, folder)
            raise
    finally:
        if folder.exists() or not old.exists():
            shutil.rmtree(work, ignore_errors=True)


def recover(folder: Path) -> None:
    """Put a folder in its place if a process was killed while `write_folder` exchanged it."""
    with contextlib.suppress(OSError, ValueError):  # a name that nothing can have
        folder = folder.resolve()
        for work in folder.parent.glob(f"part-*-{glob.escape(folder.name[-100:])}"):
            whole = _LEFT.fullmatch(work.name) and (work / "old").exists()
            if whole and not folder.exists() and (work / "new").is_dir():
                os.replace(work / "new", folder)


def part_beside(path: Path) -> Path:
    """A name beside `path` for what is not finished; `sweep` deletes what has such a name."""
    return path.with_name(f"part-{uuid.uuid4().hex}-{path.name[-100:]}")


def sweep(folder: Path) -> None:
    """Delete what killed processes left in `folder` more than a day ago."""
    found_here: list[os.DirEntry[str]] = []
    with contextlib.suppress(OSError):
        found_here = [one for one in os.scandir(folder) if _LEFT.fullmatch(one.name)]
    for left in found_here:
        with contextlib.suppress(OSError):  # another process was quicker, or it is not ours
            found = left.stat(follow_symlinks=False)
            if found.st_mtime > time.time() - DAY:
                continue
            if stat.S_ISREG(found.st_mode):
                os.unlink(left)
            elif stat.S_ISDIR(found.st_mode):
                recover(Path(left).with_name(left.name[38:]))  # else the only copy would go
                shutil.rmtree(left)


def make_room(path: Path) -> None:
    """Take away a folder or a pipe that lies where a file belongs; regular files are replaced."""
    if path.is_symlink() or path.is_file() or not path.exists():
        return
    if path.is_dir():
        put_aside(path)  # it may be a person's
    else:
        path.unlink()


def put_aside(path: Path) -> Path:
    """Rename what is in the way, and return its new name."""
    return path.rename(path.with_name(f"{path.name}.aside-{time.time_ns()}"))


def quoted(value: object) -> str:
    """Somebody's own text for an error message: at most 200 characters, shown as Python writes it.

    Example:
        >>> quoted("so " * 999)[-10:]
        'so so so …'
    """
    line = repr(value[:200] if isinstance(value, str) else value)
    return line if len(line) <= 200 else f"{line[:198]} …"


def printable(text: str) -> str:
    """The text without what would steer a terminal or turn the direction of writing.

    Example:
        >>> printable("\\x1b[31mred")
        '�[31mred'
    """
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "�", text)


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
