"""Files that appear whole or not at all, and the hashes that name them."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from course_lib.files import hash_of_tensors, write_atomically, write_folder


def test_an_interrupted_write_leaves_the_older_file_and_nothing_else(tmp_path):
    file = tmp_path / "result.json"
    file.write_text("old")

    def interrupted(part: Path) -> None:
        part.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(file, interrupted)
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_many_writers_of_one_file_leave_one_of_their_versions(tmp_path):
    file = tmp_path / "result.json"
    texts = [str(i) * 10_000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for text in texts:
            pool.submit(write_atomically, file, lambda part, text=text: part.write_text(text))
    assert file.read_text() in texts and list(tmp_path.iterdir()) == [file]


def test_others_may_read_weights_as_they_may_read_any_new_file(tmp_path):
    plain, file = tmp_path / "plain", tmp_path / "weights.safetensors"
    plain.write_text("")
    write_atomically(file, lambda part: save_file({"a": torch.zeros(2)}, part))
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_hashes_are_those_that_stored_results_were_made_with():
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.tensor(3), "c": torch.zeros(0)}
    assert hash_of_tensors(tensors) == "c3c193eb9135a3d9"


def test_a_folder_comes_back_if_it_was_interrupted_at_any_point(tmp_path, monkeypatch):
    move = os.replace
    for last in (1, 2):  # interrupted right behind the first move, or in place of the second
        folder = tmp_path / f"folder{last}"
        folder.mkdir()
        (folder / "text").write_text("old")
        moves = []

        def interrupted(source, target, last=last, moves=moves):
            moves.append(source)
            if len(moves) != last or last == 1:
                move(source, target)
            if len(moves) == last:
                raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_folder(folder, lambda part: (part / "text").write_text("new"))
        assert (folder / "text").read_text() == "old"
        monkeypatch.setattr(os, "replace", move)
        write_folder(folder, lambda part: (part / "text").write_text("new"))
        assert (folder / "text").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2  # nothing beside the folders
