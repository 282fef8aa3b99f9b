"""What the Hub sends is a stranger's folder, too: the same check, and no pickle is fetched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hostile_folders import FAULTS, READERS, examples, shards
from hub_double import serving
from huggingface_hub import constants
from transformer_zoo import letters, tiny

from course_lib.models.custom_model import load_custom_model
from course_lib.models.encoders import load_encoder, load_tokenizer

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(120)]
NAME = "some-organization/tiny"
# What a transfer changes: a link or a pipe never arrives, and `compressed.json` is nobody's on the Hub.
ARRIVE = [kind for kind in FAULTS if "link" not in kind and "pipe" not in kind]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "tiny"
    model: Any = tiny("bert")
    model.save_pretrained(folder)
    letters().save_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """What the Hub has of the model."""
    return Path(shutil.copytree(saved, tmp_path / "tiny"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's own cache, empty; its client is on."""
    for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def online(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    with serving(folder) as endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield endpoint


@pytest.mark.parametrize("reader", ["load_encoder", "load_custom_model"])
@pytest.mark.parametrize("kind", ARRIVE)
def test_a_hostile_model_on_the_hub_is_refused(folder, online, cache, kind, reader):
    spoil, words = FAULTS[kind]
    spoil(folder)
    with pytest.raises(ValueError, match=words) as refusal:
        READERS[reader](NAME)
    assert refusal.type is ValueError and NAME in str(refusal.value)
    assert not list(cache.rglob("*.bin")) and not (folder.parent / "executed").exists()


def test_what_is_fetched_is_what_is_read(online, cache):
    """Before, transformers fetched what it liked. Weights come when they are due."""
    load_tokenizer(NAME)
    names = {path.name for path in cache.rglob("snapshots/*/*")}
    assert "tokenizer.json" in names and "model.safetensors" not in names
    model = load_encoder(NAME)
    assert model.config.hidden_size == 24
    assert not list(cache.rglob("*.bin"))


def test_sound_shards_on_the_hub_are_read(folder, online, cache):
    shards(folder, "model-00001-of-00001.safetensors")
    (folder / "model.safetensors").unlink(missing_ok=True)
    load_tokenizer(NAME)  # the index is there, and the shards are not yet
    assert load_encoder(NAME).config.hidden_size == 24


def test_a_model_on_the_hub_without_safetensors_is_a_sentence(folder, online):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=rf"'{NAME}' holds no model\.safetensors.*no pickle"):
        load_encoder(NAME)


SHARED = "../../../blobs/ab/abc"


@pytest.mark.parametrize(
    "way", ["out", "other model", "through a blob", "nowhere", "a pipe", "sound"]
)
@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_links_in_the_hubs_cache_lead_to_its_own_files_alone(online, cache, monkeypatch, file, way):
    """Its files are links to files in the folders that it calls blobs."""
    load_encoder(NAME)
    load_tokenizer(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (path,) = cache.rglob(f"snapshots/*/{file}")
    blob = path.resolve()
    outside = cache.parent / "outside"
    shutil.copy(blob, outside)
    shared = (
        path.parent / SHARED
    )  # where newer versions of its client put what several models share
    other = cache / "models--other" / "blobs" / "abc"
    for place in (shared, other):
        place.parent.mkdir(parents=True)
        shutil.copy(blob, place)
    blob.unlink()
    if way == "a pipe":
        os.mkfifo(blob)
    elif way == "through a blob":
        blob.symlink_to(outside)
    elif way == "sound":
        blob.symlink_to(shared)
    elif way != "nowhere":
        path.unlink()
        path.symlink_to(outside if way == "out" else other)
    read = load_tokenizer if file == "tokenizer.json" else load_encoder
    if way == "sound":
        read(NAME)
    else:
        with pytest.raises(
            (ValueError, ConnectionError), match=rf"{file} .*is a (link|pipe)|cache"
        ):
            read(NAME)


def test_a_folder_here_comes_before_a_name_on_the_hub(folder, online, cache, monkeypatch):
    monkeypatch.chdir(folder.parent)
    load_encoder("tiny")
    assert not cache.exists()


@pytest.mark.parametrize(
    "name",
    ["", " ", "..", "../../etc", "a/b/c", "a b/c", "\0", "~/model", "x" * 300, "a/b?c=d", "-"],
)
def test_no_name_leads_anywhere_else(online, cache, name):
    with pytest.raises((ValueError, ConnectionError, FileNotFoundError)) as refusal:
        load_custom_model(name, examples())
    assert len(str(refusal.value)) < 3000
