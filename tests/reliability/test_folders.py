"""A model's folder from a stranger: every reader refuses it at once, with a sentence; and a folder with
somebody's own files in it, which saving leaves alone."""

from __future__ import annotations

import json
import pickle
import resource
import shutil
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from hostile_folders import (
    CONFIG,
    FAULTS,
    NOTE,
    READERS,
    WEIGHTS,
    Bomb,
    link,
    rewrite,
    shards,
)
from safetensors.torch import load_file, save_file
from transformer_zoo import assert_same, letters, tiny
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from course_lib import folder_checks
from course_lib.files import part_beside
from course_lib.models.encoders import load_encoder, load_tokenizer
from course_lib.quantization import onnx_export
from course_lib.serialization import load, save
from course_lib.structured.removal import remove

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny("bert"), tmp_path_factory.mktemp("saved") / "small", letters())


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "small"))


@pytest.mark.parametrize(("spoil", "words"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("reader", READERS)
def test_a_hostile_folder_is_refused_at_once(folder, reader, spoil, words):
    spoil(folder)
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((ValueError, FileNotFoundError), match=words) as refusal:
        READERS[reader](folder)
    assert refusal.type in (ValueError, FileNotFoundError)  # no class made from them
    assert time.perf_counter() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB
    assert not (folder.parent / "executed").exists()


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer.json"])
def test_a_tokenizer_is_not_read_through_a_link(folder, name):
    link(folder, name)
    with pytest.raises(ValueError, match="is a link"):
        load_tokenizer(str(folder))


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", CONFIG])
@pytest.mark.parametrize(
    "content", ["", "[]", '{"a": ', "\udcff", '{"model": {"type": "BPE"}}', "1"]
)
def test_nonsense_in_a_text_is_a_value_error(folder, file, content):
    (folder / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    try:
        load_tokenizer(str(folder))
    except Exception as error:  # it may do without the file
        assert type(error) is ValueError and len(str(error)) > 60


def test_the_folder_that_the_others_spoil_is_sound(folder):
    assert_same(load(folder), tiny("bert"))
    load_encoder(str(folder))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(folder / "executed")))
    load_encoder(str(folder))
    assert len(load_tokenizer(str(folder))) == len(letters())
    assert not (folder / "executed").exists()


def test_sound_shards_are_read(folder, tmp_path):
    shards(folder, "model-00001-of-00001.safetensors")
    (folder / WEIGHTS).unlink()
    assert load_encoder(str(folder)).config.hidden_size == 24


FAMILIES = (
    "gpt_neo canine mobilebert funnel reformer led whisper swin wav2vec2 gemma3n qwen2_moe d_fine "
    "llava_next longformer convnext big_bird xlm perceiver phi4_multimodal blt"
)


@pytest.mark.parametrize("family", FAMILIES.split())
def test_no_family_s_own_config_is_refused(family):
    """Limits on counts must not meet widths, ids and resolutions."""
    written = CONFIG_MAPPING[family]().to_json_string(use_diff=False)
    folder_checks._check_config(Path(family), json.loads(written))


# --- saving beside somebody's own files


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "name", ["notes.txt", "labels.json", "chart.jinja", "other.safetensors", "data/rows.csv"]
)
def test_saving_over_an_older_model_never_deletes_somebodys_own_file(folder, name):
    own = folder / name
    own.parent.mkdir(exist_ok=True)
    own.write_text("years of work")
    before = contents(folder)
    with pytest.raises(FileExistsError, match=rf"'small' holds what save did not write: {name}\."):
        save(tiny("vit"), folder)
    assert contents(folder) == before


def test_saving_over_an_older_model_replaces_all_that_it_wrote(folder):
    save(tiny("vit"), folder)
    assert {path.name for path in folder.iterdir()} == {NOTE, WEIGHTS, CONFIG, "load_pruned.py"}
    assert_same(load(folder), tiny("vit"))


@pytest.mark.parametrize(
    "note", ["", "[]", "{}", '{"files": 1}', '{"files": "notes.txt"}', '{"files": [[1], null]}']
)
def test_a_note_that_says_nothing_permits_nothing(folder, note):
    (folder / NOTE).write_text(note)
    (folder / "notes.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        save(tiny("vit"), folder)
    assert (folder / "notes.txt").exists()


def test_a_damaged_model_can_be_saved_again(folder):
    (folder / WEIGHTS).write_bytes(b"cut")
    save(tiny("bert"), folder)
    assert_same(load(folder), tiny("bert"))


def test_a_folder_that_is_a_link_stays_one(folder, tmp_path):
    disk = tmp_path / "link"
    disk.symlink_to(folder)
    small = remove(tiny("bert"), {"layer.0.ffn": [1]})
    assert_same(load(save(small, disk)), small)
    assert disk.is_symlink()
    assert_same(load(folder), small)


def test_others_may_read_the_weights_as_they_may_read_the_config(folder):
    modes = {stat.S_IMODE((folder / name).stat().st_mode) for name in (WEIGHTS, CONFIG, NOTE)}
    assert len(modes) == 1


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A folder as `save_onnx_folder` writes it, and `compress` beside it."""
    session = SimpleNamespace(classes=2, content=lambda: b"model")
    return ship(session, tmp_path / "ship", {"README.md": b"our card"})


def ship(model: Any, folder: Path, beside: dict[str, bytes] | None = None) -> Path:
    with mock.patch.object(onnx_export, "OnnxClassifier", SimpleNamespace):
        return onnx_export.save_onnx_folder(model, folder, letters(), ["a", "b"], 64, beside)


MODEL = SimpleNamespace(classes=2, content=lambda: b"newer")


@pytest.mark.parametrize("name", ["README.md", "sizes.png", "report.json", "notes/mine.txt"])
def test_a_shipped_model_never_replaces_somebodys_own_file(tmp_path, name):
    """Before, a person's README.md went, because ours has that name, too."""
    folder = ship(MODEL, tmp_path / "ship")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("years of work")
    with pytest.raises(FileExistsError, match=rf"'ship' holds what save did not write: {name}\."):
        ship(MODEL, folder, {"README.md": b"our card"})
    assert (folder / name).read_text() == "years of work"


def test_a_shipped_model_replaces_all_that_it_wrote(shipped):
    (shipped / "__pycache__").mkdir()  # Python makes it when run.py is imported
    (shipped / "__pycache__" / "run.pyc").touch()
    ship(MODEL, shipped)
    assert (shipped / "model.onnx").read_bytes() == b"newer"
    assert {path.name for path in shipped.iterdir()} == onnx_export.FILES


def test_a_shipped_model_of_an_older_edition_is_replaced(shipped):
    rewrite(shipped / CONFIG, files=None)
    config = json.loads((shipped / CONFIG).read_text())
    (shipped / CONFIG).write_text(json.dumps({k: v for k, v in config.items() if k != "files"}))
    with pytest.raises(FileExistsError, match=r"README\.md"):
        ship(MODEL, shipped)
    (shipped / "report.json").touch()  # then `compress` wrote all of it
    assert (ship(MODEL, shipped) / "model.onnx").read_bytes() == b"newer"


def test_a_link_to_a_shipped_model_stays_one(shipped):
    link_ = shipped.with_name("link")
    link_.symlink_to(shipped)
    ship(MODEL, link_)
    assert link_.is_symlink() and (shipped / "model.onnx").read_bytes() == b"newer"


def test_a_model_whose_saving_was_killed_is_found_again(folder):
    work = part_beside(folder)
    (work / "old").mkdir(parents=True)
    folder.rename(work / "new")
    assert_same(load(folder), tiny("bert"))


# --- what a config says beyond its class


def test_data_in_the_config_come_back_and_code_does_not(tmp_path):
    model: Any = tiny("gpt2-classifier")
    model.config.id2label = {0: "bad", 1: "good"}
    model.config.label2id = {"bad": 0, "good": 1}
    model.config.task_specific_params = {"text-generation": {"do_sample": True}}
    model.config.share_att_key = True
    folder = save(model, tmp_path / "small")
    (folder / "evil.py").write_text(f"import os; os.mkdir({str(tmp_path / 'executed')!r})")
    rewrite(
        folder / CONFIG,
        auto_map=dict.fromkeys(["AutoConfig", "AutoModelForSequenceClassification"], "evil.Evil"),
        custom_pipelines={"text-classification": {"impl": "evil.Evil"}},
        architectures=["Evil"],
        attn_implementation="eager",
        _attn_implementation="eager",
        kernel_config={},
        dtype="load",
        to_dict=1,
        quantization_config={"quant_method": "evil"},
    )
    again: Any = load(folder)
    assert type(again) is type(model) and not (tmp_path / "executed").exists()
    config = again.config
    assert config.id2label == {0: "bad", 1: "good"}
    assert config.task_specific_params == {"text-generation": {"do_sample": True}}
    assert config.share_att_key is True
    written = config.to_dict()
    assert not {"auto_map", "kernel_config", "quantization_config"} & set(written)
    assert config._attn_implementation == "sdpa"


# --- places that no file can have


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "/dev/zero", "/dev/null/a", ""])
def test_a_place_where_no_model_can_be_is_said_in_few_words(name):
    for read in (load, load_tokenizer):
        with pytest.raises((FileNotFoundError, ValueError, ConnectionError)) as refusal:
            read(name)
        assert len(str(refusal.value)) < 700


def test_messages_quote_little_of_a_long_name(folder):
    save_file({**load_file(folder / WEIGHTS), "x" * 10**6: torch.zeros(1)}, folder / WEIGHTS)
    with pytest.raises(ValueError, match=r"x{80} is unexpected") as refusal:
        load(folder)
    assert len(str(refusal.value)) < 700
    rewrite(folder / CONFIG, **{"layer" * 10**5: 10**6})
    with pytest.raises(ValueError, match=r"'layerlayer.*' is 1,000,000") as refusal:
        load(folder)
    assert len(str(refusal.value)) < 400
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({k: v for k, v in config.items() if len(k) < 99}))
    rewrite(folder / CONFIG, architectures=["x" * 10**5])
    with pytest.raises(TypeError, match="holds a xxx") as refusal_of_kind:
        READERS["load_custom_model"](folder)
    assert len(str(refusal_of_kind.value)) < 700
    rewrite(folder / CONFIG, model_type="x" * 10**5)
    with pytest.raises(ValueError, match="model_type is 'xxx") as refusal:
        load(folder)
    assert len(str(refusal.value)) < 700
