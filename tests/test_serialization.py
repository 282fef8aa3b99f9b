"""Compressed models on disk: the same bits come back, and what does not fit is refused.

Folders that were made to do harm are in tests/reliability/test_folders.py.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from family_zoo import family, says
from network_zoo import NETS, images, network
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformer_zoo import TINY, answer, assert_same, batch_for, letters, tiny

from course_lib.models.encoders import load_encoder, load_tokenizer
from course_lib.models.networks import SmallCNN
from course_lib.serialization import load, save
from course_lib.structured.dependency import groups
from course_lib.structured.removal import original_parameters, remove, remove_layers
from course_lib.structured.selection import prune
from course_lib.structured.vocabulary import prune_vocabulary

NOTE, WEIGHTS, CONFIG = "compressed.json", "model.safetensors", "config.json"


def uneven(model: nn.Module, what: str = "") -> dict[str, list[int]]:
    """Another width in each group."""
    names = [name for name in groups(model) if what in name]
    units = {name: groups(model)[name].units for name in names}
    return {n: list(range(i % 2, units[n], 1 + i % 3))[: 1 + 2 * i] for i, n in enumerate(names)}


def even(model: nn.Module, what: str) -> dict[str, list[int]]:
    return {name: [0, 2, 3] for name in groups(model) if what in name}


def words(model: Any) -> Any:
    """Fewer words, without a tokenizer of its own: MiniLM's is beside the point here."""
    small = prune_vocabulary(model, letters(), range(10, 30))[0]
    assert small.vocabulary[:3] == [0, 1, 2]
    return small


STRUCTURES: dict[str, Callable[[Any], Any]] = {
    "heads": lambda m: remove(m, uneven(m, "heads")),
    "ffn": lambda m: remove(m, uneven(m, "ffn")),
    "layers": lambda m: remove_layers(m, [0, 2]),
    "vocabulary": lambda m: words(m) if hasattr(m.config, "vocab_size") else m,
    "all": lambda m: STRUCTURES["vocabulary"](remove_layers(remove(m, uneven(m)), [1, 2])),
}


def short(model: Any) -> dict[str, Tensor]:
    """A batch of ids that even the smallest vocabulary has."""
    x = batch_for(model, model.dtype)
    if "input_ids" in x:
        x["input_ids"] = x["input_ids"] % 10
    return x


# --- there and back ---------------------------------------------------------------------------


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("name", TINY)
def test_every_structure_of_every_family_comes_back(name, structure, tmp_path):
    model = STRUCTURES[structure](tiny(name))
    model.train()
    again = load(save(model, tmp_path / "small"))
    assert type(again) is type(model)
    assert not again.training
    assert_same(again, model)
    model.eval()
    assert torch.equal(answer(again, short(model)), answer(model, short(model)))
    assert repr(again) == repr(model)
    before, after = model.config.to_diff_dict(), again.config.to_diff_dict()
    assert before | {"dtype": 0} == {key: after[key] for key in before} | {"dtype": 0}
    assert original_parameters(again) == original_parameters(model)
    assert getattr(again, "vocabulary", None) == getattr(model, "vocabulary", None)
    assert again.original_parameters == sum(p.numel() for p in tiny(name).parameters())
    tied = [m.get_output_embeddings() for m in (model, again)]
    if tied[0] is not None:
        shared = [m.get_input_embeddings().weight for m in (model, again)]
        assert (tied[1].weight is shared[1]) == (tied[0].weight is shared[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["bert-mlm", "vit", "gpt2"])
def test_types_of_numbers_are_kept(name, dtype, tmp_path):
    model = STRUCTURES["all"](tiny(name, dtype))
    again: Any = load(save(model, tmp_path / "small"))
    assert_same(again, model)
    assert again.dtype == again.config.dtype == dtype


# With one unit, a depthwise convolution is a plain one, from one channel to one.
@pytest.mark.parametrize(
    ("dtype", "most"),
    [(torch.float32, 99), (torch.float32, 1), (torch.float64, 99), (torch.bfloat16, 99)],
)
@pytest.mark.parametrize("name", NETS)
def test_a_network_of_one_s_own_comes_back(name, dtype, most, tmp_path):
    if name == "grouped" and most == 1:
        pytest.skip("with one channel in and out of each group, it counts as depthwise")
    model, like = network(name, dtype), network(name)
    small = remove(model, {g.name: range(1, g.units, 2)[:most] for g in groups(model).values()})
    again = load(save(small, tmp_path / "small"), like=like.train())
    assert_same(again, small)
    x = images(dtype=dtype)
    assert torch.equal(again(x), small(x))
    assert repr(again) == repr(small)
    assert not again.training
    assert like.training
    assert_same(like, network(name))
    assert original_parameters(again) == sum(p.numel() for p in model.parameters())


def test_shared_weights_and_channels_last_are_no_hindrance(tmp_path):
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.fc1 = nn.Embedding(9, 6), nn.Linear(6, 5)
            self.fc2, self.last = nn.Linear(5, 6), nn.Linear(6, 9, bias=False)
            self.last.weight = self.words.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.fc2(self.fc1(self.words(x)).relu()))

    small = remove(Tied(), {"fc1": [1, 2]}).to(torch.float64)
    again: Any = load(save(small, tmp_path / "tied"), like=Tied())
    assert_same(again, small)
    assert again.last.weight is again.words.weight
    last = network("basic blocks").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save(last, tmp_path / "last")
    assert_same(load(tmp_path / "last", like=network("basic blocks")), last)


@pytest.mark.parametrize("name", TINY)
def test_what_came_back_is_pruned_and_saved_again(name, tmp_path):
    model = tiny(name)
    first: Any = load(save(prune(model, 0.15), tmp_path / "small"))
    assert prune(first, 0.15).state_dict().keys() == first.state_dict().keys()
    assert_same(prune(first, 0.15), first)  # of the original: nothing more is to be done
    second = STRUCTURES["vocabulary"](remove_layers(prune(first, 0.3), [0, 2]))
    again = load(save(second, tmp_path / "small"))  # in the same place
    assert_same(again, second)
    assert original_parameters(again) == sum(p.numel() for p in model.parameters())


def test_gpt2_generates_as_before(tmp_path):
    small = STRUCTURES["all"](tiny("gpt2"))
    small.generation_config.max_new_tokens = 5
    small.generation_config.eos_token_id = None
    again: Any = load(save(small, tmp_path / "small"))
    ids = torch.tensor([[7, 8, 9]])
    said = [m.generate(ids, do_sample=False, pad_token_id=0).tolist() for m in (small, again)]
    assert said[0] == said[1]
    assert len(said[0][0]) == 8
    assert again.generation_config.max_new_tokens == 5


def test_the_real_minilm_with_its_tokenizer_in_a_pipeline(tmp_path):
    tokenizer = load_tokenizer()
    texts = ["A great film.", "I was never so bored, not even here!"]
    kept = {i for text in texts for i in tokenizer(text)["input_ids"]}
    small, fewer = prune_vocabulary(
        remove_layers(prune(load_encoder(), 0.3), [0, 1, 4, 5]),  # type: ignore[arg-type]
        *(tokenizer, kept),
    )
    folder = save(small, tmp_path / "small", fewer)
    again = load(folder)
    assert_same(again, small)
    words = t.AutoTokenizer.from_pretrained(folder)
    assert words(texts)["input_ids"] == fewer(texts)["input_ids"]
    classify = t.pipeline("text-classification", model=again, tokenizer=words, device="cpu")
    with torch.inference_mode():
        logits = small(**fewer(texts, padding=True, return_tensors="pt")).logits
    for said, row in zip(classify(texts), logits.softmax(-1), strict=True):
        assert said["score"] == pytest.approx(row.max().item(), abs=1e-5)
        assert said["label"] == f"LABEL_{row.argmax()}"


def loaded_by_its_own_file(folder: Path) -> Any:
    """The model as `load_pruned.py` in its folder reads it."""
    program = (folder / "load_pruned.py").read_text()
    assert "course_lib import" not in program
    namespace: dict[str, Any] = {
        "__name__": "load_pruned",
        "__file__": str(folder / "load_pruned.py"),
    }
    exec(compile(program, "load_pruned.py", "exec"), namespace)
    return namespace["load"]()


@pytest.mark.parametrize("name", ["bert", "bert-mlm", "gpt2", "distilbert", "vit"])
def test_a_person_without_the_library_loads_it_with_the_file_in_the_folder(name, tmp_path):
    model = (
        STRUCTURES["all"](tiny(name))
        if name != "bert-mlm"
        else remove(tiny(name), uneven(tiny(name)))
    )
    again = loaded_by_its_own_file(save(model, tmp_path / "small"))
    assert torch.equal(answer(again, short(model)), answer(model, short(model)))
    assert repr(again) == repr(model)


@pytest.mark.parametrize("name", ["Llama", "T5"])
def test_a_person_without_the_library_loads_other_families_so(name, tmp_path):
    model = family(name)
    model = remove(model, uneven(model))  # another width in each group
    again = loaded_by_its_own_file(save(model, tmp_path / "small"))
    assert_same(again, model)
    # Another layout in memory may add in another order.
    assert torch.allclose(says(again), says(model), rtol=0, atol=1e-12)
    assert repr(again) == repr(model)


def test_fields_that_are_not_standard_and_names_of_classes_come_back(tmp_path):
    model = tiny("bert")
    fields = {"task_specific_params": {"x": 1}, "share_att_key": True, "conv_kernel_size": 3}
    fields |= {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    for name, value in fields.items():
        setattr(model.config, name, value)
    again: Any = load(save(model, tmp_path / "small"))
    assert {name: getattr(again.config, name) for name in fields} == fields


# --- plain from_pretrained --------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["ffn", "layers", "vocabulary", "heads"])
@pytest.mark.parametrize("name", TINY)
def test_plain_transformers_reads_what_is_equally_wide(name, structure, tmp_path):
    model = tiny(name)
    if structure in ("ffn", "heads"):
        small: Any = remove(model, even(model, structure))
    else:
        small = STRUCTURES[structure](model)
    folder = save(small, tmp_path / "small")
    if structure == "heads" and name != "vit":  # their configs have no word for the size of a head
        with pytest.raises(RuntimeError, match=r"size mismatch|mismatched"):
            type(model).from_pretrained(folder)
        return
    plain = type(model).from_pretrained(folder).eval()
    assert_same(plain, small)
    assert torch.equal(answer(plain, short(small)), answer(small, short(small)))


# --- the folder -------------------------------------------------------------------------------


def test_the_folder_holds_no_pickle_and_says_the_widths(tmp_path):
    folder = save(STRUCTURES["all"](tiny("bert")), tmp_path / "a" / "b")
    assert {path.name for path in folder.iterdir()} == {NOTE, WEIGHTS, CONFIG, "load_pruned.py"}
    assert list((tmp_path / "a").iterdir()) == [folder]  # no trace of the work
    note = json.loads((folder / NOTE).read_text())
    assert note["format"] == 1
    assert note["model"] == "BertForSequenceClassification"
    assert list(note["widths"])[:2] == ["layer.0.heads", "layer.0.ffn"]


def test_an_unrelated_folder_is_neither_deleted_nor_mixed(tmp_path):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.txt").write_text("years of work")
    (thesis / NOTE).write_text("{}")  # of some other program
    (thesis / "data").mkdir()
    for folder in (thesis, thesis / "chapter.txt"):
        with pytest.raises(FileExistsError, match=r"holds what save did not write: chapter\.txt"):
            save(tiny("bert"), folder)
    assert (thesis / "chapter.txt").read_text() == "years of work"
    assert len(list(thesis.iterdir())) == 3


def test_an_empty_folder_is_used(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    assert_same(load(save(tiny("vit"), folder)), tiny("vit"))


@pytest.mark.parametrize("step", ["save_pretrained", "write_text", "replace"])
def test_an_interrupted_save_leaves_the_old_model_whole(step, tmp_path, monkeypatch):
    model, other = tiny("bert"), remove(tiny("bert"), {"layer.0.ffn": [1]})
    folder = save(model, tmp_path / "small")
    moves: list[Any] = []
    replace = os.replace

    def interrupt(*arguments: Any, **_settings: Any) -> None:
        raise KeyboardInterrupt

    def second_move(source: Any, target: Any) -> None:
        moves.append(source)
        if len(moves) == 2:  # the old one is aside, the new one not yet in its place
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        if step == "save_pretrained":
            patch.setattr(t.PreTrainedModel, step, interrupt)
        elif step == "write_text":
            patch.setattr(Path, step, interrupt)
        else:
            patch.setattr(os, step, second_move)
        with pytest.raises(KeyboardInterrupt):
            save(other, folder)
        if step != "replace":
            with pytest.raises(KeyboardInterrupt):
                save(other, tmp_path / "new")
    assert list(tmp_path.iterdir()) == [folder]
    assert_same(load(folder), model)


def test_what_cannot_be_placed_is_not_saved(tmp_path):
    config = t.MambaConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1)
    with pytest.raises(ValueError, match="MambaModel has no list of like layers with attention"):
        save(t.MambaModel(config), tmp_path / "small")
    assert not (tmp_path / "small").exists()


# --- hostile folders --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "small"
    return save(STRUCTURES["all"](tiny("bert")), folder)


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "small"))


def rewrite(path: Path, **changes: Any) -> None:
    """Other values in a JSON; None takes the key out."""
    read = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in read.items() if v is not None}))


def assert_refused_at_once(folder: Path, words: str, error: Any = ValueError) -> None:
    """With a message, in little time, and in little memory."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(error, match=words):
        load(folder)
    assert time.perf_counter() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


SPOILT_WEIGHTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (cut, "is damaged"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged"),
    "garbage": (lambda path: path.write_bytes(b"\xff" * 1000), "is damaged"),
    "an endless header": (
        lambda path: path.write_bytes((2**60).to_bytes(8, "little") + b"{}"),
        "is damaged",
    ),
    "of another model": (
        lambda path: save_file({"x": torch.ones(7)}, path),
        r"too small for 18 units",
    ),
    "another shape": (
        lambda path: reshaped(path, "bert.encoder.layer.0.intermediate.dense.weight"),
        r"does not fit its config and compressed\.json",
    ),
    "another name": (
        lambda path: renamed(path),
        r"does not fit its config.*missing|unexpected|extra",
    ),
    "whole numbers": (lambda path: integers(path), r"does not fit|floating"),
}


def reshaped(path: Path, key: str) -> None:
    tensors = load_file(path)
    save_file(tensors | {key: tensors[key].T.contiguous()}, path, {"format": "pt"})


def renamed(path: Path) -> None:
    tensors = load_file(path)
    tensors["extra"] = tensors.pop("classifier.bias")
    save_file(tensors, path, {"format": "pt"})


def integers(path: Path) -> None:
    save_file({k: v.long() for k, v in load_file(path).items()}, path, {"format": "pt"})


@pytest.mark.parametrize(("spoil", "words"), SPOILT_WEIGHTS.values(), ids=SPOILT_WEIGHTS)
def test_spoilt_weights_are_refused(folder, spoil, words):
    spoil(folder / WEIGHTS)
    assert_refused_at_once(folder, f"of 'small' .*({words})")


WIDTHS: dict[str, tuple[Any, str]] = {
    "zero": (0, "whole numbers of 1 or more"),
    "negative": (-3, "whole numbers of 1 or more"),
    "true": (True, "whole numbers of 1 or more"),
    "float": (1.0, "whole numbers of 1 or more"),
    "text": ("1", "whole numbers of 1 or more"),
    "null": ([None], "whole numbers of 1 or more"),
    "too large": (99, r"has 99 for 'layer\.0\.heads'; expected 1 to 4 units"),
    "gigantic": (10**18, "is too small for 1,0{3}.* units"),
    "another": (4, r"layer\.0\..* is \[.*\], expected \["),
}


@pytest.mark.parametrize(("units", "words"), WIDTHS.values(), ids=WIDTHS)
def test_wrong_widths_are_refused(folder, units, words):
    widths = json.loads((folder / NOTE).read_text())["widths"]
    rewrite(folder / NOTE, widths=widths | {"layer.0.heads": units})
    assert_refused_at_once(folder, rf"(compressed\.json|model\.safetensors) of 'small' .*{words}")


def test_unknown_and_missing_groups_are_refused(folder):
    widths = json.loads((folder / NOTE).read_text())["widths"]
    rewrite(folder / NOTE, widths=widths | {"layer.0.tail": 1})
    assert_refused_at_once(
        folder, r"compressed\.json of 'small' has 'layer\.0\.tail'; there is no such"
    )
    fewer = {name: units for name, units in widths.items() if name != "layer.1.ffn"}
    rewrite(folder / NOTE, widths=fewer)
    assert_refused_at_once(folder, r"has nothing for 'layer\.1\.ffn'; expected 1 to \d+ units")
    rewrite(folder / NOTE, widths=fewer | {"layer.7.ffn": 1})
    assert_refused_at_once(folder, r"has nothing for 'layer\.1\.ffn'")
    for wrong in ({}, [], "wide"):
        rewrite(folder / NOTE, widths=wrong)
        assert_refused_at_once(folder, r"of 'small' .*(has nothing for|whole numbers of 1 or more)")


DEEP = '{"format": 1, "model": ' + "[" * 200_000 + "]" * 200_000 + "}"
NO_JSON = {
    "not JSON": ("format: 1", "is damaged: Expecting value"),
    "empty": ("", "is damaged: Expecting value"),
    "no text": (b"\xff\xfe\x00\x01", "is damaged: 'utf-8' codec"),
    "deeply nested": (DEEP, "is damaged: maximum recursion depth"),
    "a list": ("[1, 2]", "is damaged: it is a list; a JSON object was expected"),
    "a number": ("1", "is damaged: it is a int; a JSON object was expected"),
    "a huge number": ('{"format": ' + "9" * 10_000 + "}", "is damaged: Exceeds the limit"),
    "huge": (" " * (2**24 + 1), "is damaged: it has 16,777,217 bytes; at most 16,777,216 were"),
}


@pytest.mark.parametrize("name", [NOTE, CONFIG])
@pytest.mark.parametrize(("text", "words"), NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_object_is_refused(folder, name, text, words):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert_refused_at_once(folder, f"{name} of 'small' (does not fit: .*)?{words}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": None}, "format 1 was expected"),
        ({"format": 2}, "format 1 was expected"),
        ({"model": None}, "model must be the name of a class"),
        ({"model": ["BertModel"]}, "model must be the name of a class"),
        ({"original_parameters": "many"}, "original_parameters must be a number"),
        ({"original_parameters": 0}, "original_parameters must be a number"),
        ({"widths": None}, "widths must be whole numbers of 1 or more, one for each group"),
        ({"vocabulary": "words"}, "vocabulary must be a list of whole numbers"),
        ({"vocabulary": [0, "1"]}, "vocabulary must be a list of whole numbers"),
        ({"vocabulary": [0, True]}, "vocabulary must be a list of whole numbers"),
        ({"vocabulary": [0, 1.5]}, "vocabulary must be a list of whole numbers"),
        ({"vocabulary": [-1]}, "vocabulary must be a list of whole numbers"),
    ],
)
def test_a_note_with_something_else_in_it_is_refused(folder, changes, words):
    rewrite(folder / NOTE, **changes)
    assert_refused_at_once(folder, rf"compressed\.json of 'small' is damaged: {words}")


def test_a_vocabulary_of_another_length_is_refused(folder):
    rewrite(folder / NOTE, vocabulary=[0, 1, 2])
    assert_refused_at_once(folder, r"vocab_size is \d+, and compressed\.json lists 3 tokens")


@pytest.mark.parametrize(
    "model",
    [
        *("os.system", "os", "AutoModel", "DetrModel", "PreTrainedModel", "BertConfig", "pipeline"),
        *("__doc__", "BertTokenizer", "", "x" * 5000, "utils", "Narrow"),
        "models.bert.modeling_bert.BertModel",
    ],
)
def test_what_is_no_model_or_could_fetch_another_is_refused(folder, model):
    rewrite(folder / NOTE, model=model)
    words = r"names a .{0,110} no transformers model that was saved here.*like=…"
    assert_refused_at_once(folder, words)


@pytest.mark.parametrize(
    "model", ["BertModel", "BertForMaskedLM", "GPT2Model", "ViTModel", "T5Model", "MambaModel"]
)
def test_another_model_than_was_saved_is_refused(folder, model):
    rewrite(folder / NOTE, model=model)
    assert_refused_at_once(folder, "of 'small' (does not fit|holds)")


def test_how_wide_the_original_was_takes_no_memory(folder):
    model: Any = load(folder)
    rewrite(folder / CONFIG, intermediate_size=10**15)
    again: Any = load(folder)
    assert_same(again, model)
    assert again.config.intermediate_size == model.config.intermediate_size < 20


def test_gigantic_widths_beside_a_gigantic_config_take_no_memory_either(folder):
    widths = json.loads((folder / NOTE).read_text())["widths"]
    rewrite(folder / CONFIG, intermediate_size=10**10)
    rewrite(folder / NOTE, widths={n: 10**10 if "ffn" in n else 1 for n in widths})
    assert_refused_at_once(folder, r"model\.safetensors of 'small' is too small for .* units")


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": "24"},
        {"hidden_size": -24},
        {"hidden_size": 0},
        {"hidden_size": 25},
        {"num_attention_heads": 0},
        {"num_hidden_layers": True},
        {"num_hidden_layers": "3"},
        {"num_hidden_layers": -1},
        {"hidden_act": "os.system"},
        {"hidden_act": ["gelu"]},
        {"id2label": [1]},
        {"id2label": {"x": "y"}},
        {"id2label": {"0": "a", "1": "b", "2": "c"}},
        {"pad_token_id": 10**9},
        {"add_cross_attention": True, "is_decoder": True},
        {"vocab_size": None},
        {"intermediate_size": 1},
        *({name: 10**12} for name in ("hidden_size", "vocab_size", "max_position_embeddings")),
        *({name: 10**9} for name in ("num_hidden_layers", "num_attention_heads")),
        {"type_vocab_size": 10**15},
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_is_refused_without_taking_memory(folder, changes):
    rewrite(folder / CONFIG, **changes)
    assert_refused_at_once(
        folder, r"(config\.json|model\.safetensors) of 'small' (does not fit|holds)"
    )


@pytest.mark.parametrize("family", ["albert", "gpt2", None, ["bert"], "../../etc"])
def test_a_config_of_another_family_is_refused(folder, family):
    rewrite(folder / CONFIG, model_type=family)
    assert_refused_at_once(folder, r"config\.json of 'small' .*model_type is .*; expected 'bert'")


def test_a_spoilt_generation_config_is_refused(tmp_path):
    folder = save(tiny("gpt2"), tmp_path / "small")
    (folder / "generation_config.json").write_text("[]")
    assert_refused_at_once(folder, r"generation_config\.json of 'small' is damaged: it is a list")


# --- what is missing, and networks of one's own -----------------------------------------------


@pytest.mark.parametrize("name", [NOTE, WEIGHTS])
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    words = rf"'small' holds no compressed model: there is no {name}\. save writes one"
    assert_refused_at_once(folder, words, FileNotFoundError)
    (folder / name).mkdir()  # a folder of that name is none either
    assert_refused_at_once(folder, words, FileNotFoundError)


def test_a_missing_config_and_a_missing_folder(folder, tmp_path):
    (folder / CONFIG).unlink()
    assert_refused_at_once(folder, r"config\.json of 'small' .*No such file")
    with pytest.raises(FileNotFoundError, match="'nowhere' holds no compressed model"):
        load(tmp_path / "nowhere")


@pytest.fixture
def cnn(tmp_path: Path) -> Path:
    return save(remove(SmallCNN(), {"conv1": [0, 1]}), tmp_path / "cnn")


def test_a_network_needs_one_of_its_architecture(cnn):
    with pytest.raises(ValueError, match=r"names a 'SmallCNN'.*load\(folder, like=…\)"):
        load(cnn)
    with pytest.raises(ValueError, match="'cnn' holds a SmallCNN, and `like` is a Sequential"):
        load(cnn, like=network("depthwise"))
    small = remove(SmallCNN(), {"conv2": [0]})
    with pytest.raises(ValueError, match=r"'cnn' has 64 for 'conv2'; expected 1 to 1 units"):
        load(cnn, like=small)


def test_spoilt_networks_are_refused(cnn):
    tensors = load_file(cnn / WEIGHTS)

    def refused(words: str, **changes: Tensor) -> None:
        save_file({k: v for k, v in (tensors | changes).items() if v is not None}, cnn / WEIGHTS)
        with pytest.raises(ValueError, match=words):
            load(cnn, like=SmallCNN())

    refused(
        r"model\.safetensors of 'cnn' .*fc2\.bias is \[13\], expected \[10\]",
        **{"fc2.bias": torch.ones(13)},
    )
    refused("does not fit its config and compressed.json", **{"fc2.weight": torch.ones(128, 10)})
    refused("does not fit its config and compressed.json", **{"fc2.bias": torch.ones(10).long()})
    rewrite(cnn / NOTE, widths={"conv1": 2, "conv2": 64, "fc1": 128, "fc2": 10})
    refused(r"compressed\.json of 'cnn' has 'fc2'; there is no such group")
    rewrite(cnn / NOTE, widths={"conv1": 2, "conv2": 64})
    refused("has nothing for 'fc1'; expected 1 to 128")
    cut(cnn / WEIGHTS)
    with pytest.raises(ValueError, match=r"model\.safetensors of 'cnn' is damaged"):
        load(cnn, like=SmallCNN())
