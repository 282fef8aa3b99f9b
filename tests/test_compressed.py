"""Compressed models on disk: the same bits come back, and a hostile folder gets a refusal."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from network_zoo import NETS, images, network
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformer_zoo import SIZES, TINY, answer, batch_for, tiny

from course_lib.compressed import load_compressed, save_compressed
from course_lib.encoders import load_encoder, load_tokenizer
from course_lib.groups import groups
from course_lib.models import SmallCNN
from course_lib.structured import prune
from course_lib.surgery import original_parameters, remove, remove_layers
from course_lib.vocabulary import prune_vocabulary

NOTE, WEIGHTS, CONFIG = "compressed.json", "model.safetensors", "config.json"


def uneven(model: nn.Module, what: str = "") -> dict[str, list[int]]:
    """Another width in each group."""
    names = [name for name in groups(model) if what in name]
    units = {name: groups(model)[name].units for name in names}
    return {n: list(range(i % 2, units[n], 1 + i % 3))[: 1 + 2 * i] for i, n in enumerate(names)}


def even(model: nn.Module, what: str) -> dict[str, list[int]]:
    return {name: [0, 2, 3] for name in groups(model) if what in name}


def words(model: Any) -> Any:
    """Fewer words, without a tokeniser of its own: MiniLM's is beside the point here."""
    small = prune_vocabulary(model, letters(), range(10, 30))[0]
    assert small.vocabulary[:3] == [0, 1, 2]
    return small


def letters() -> Any:
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz.,!?-'\"()",
    ]
    return t.BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)})


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


def assert_same(a: nn.Module, b: nn.Module) -> None:
    """Names, types and bits."""
    old, new = a.state_dict(), b.state_dict()
    assert old.keys() == new.keys()
    for name in old:
        assert old[name].dtype == new[name].dtype
        assert torch.equal(old[name], new[name]), name


# --- there and back ---------------------------------------------------------------------------


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("name", TINY)
def test_every_structure_of_every_family_comes_back(name, structure, tmp_path):
    model = STRUCTURES[structure](tiny(name))
    model.train()
    again = load_compressed(save_compressed(model, tmp_path / "small"))
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
    again: Any = load_compressed(save_compressed(model, tmp_path / "small"))
    assert_same(again, model)
    assert again.dtype == again.config.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", NETS)
def test_a_network_of_one_s_own_comes_back(name, dtype, tmp_path):
    model, like = network(name, dtype), network(name)
    small = remove(model, {g.name: range(1, g.units, 2) for g in groups(model).values()})
    again = load_compressed(save_compressed(small, tmp_path / "small"), like=like.train())
    assert_same(again, small)
    x = images(dtype=dtype)
    assert torch.equal(again(x), small(x))
    assert repr(again) == repr(small)
    assert not again.training
    assert like.training
    assert_same(like, network(name))
    assert original_parameters(again) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", NETS)
def test_a_network_with_one_unit_in_each_group_comes_back(name, tmp_path):
    """A depthwise convolution is then a plain one, from one channel to one."""
    model = network(name)
    small = remove(model, {g.name: [0] for g in groups(model).values()})
    again = load_compressed(save_compressed(small, tmp_path / "small"), like=network(name))
    assert_same(again, small)
    assert torch.equal(again(images()), small(images()))


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
    again: Any = load_compressed(save_compressed(small, tmp_path / "tied"), like=Tied())
    assert_same(again, small)
    assert again.last.weight is again.words.weight
    last = network("basic blocks").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_compressed(last, tmp_path / "last")
    assert_same(load_compressed(tmp_path / "last", like=network("basic blocks")), last)


@pytest.mark.parametrize("name", TINY)
def test_what_came_back_is_pruned_and_saved_again(name, tmp_path):
    model = tiny(name)
    first: Any = load_compressed(save_compressed(prune(model, 0.15), tmp_path / "small"))
    assert prune(first, 0.15).state_dict().keys() == first.state_dict().keys()
    assert_same(prune(first, 0.15), first)  # of the original: nothing more is to be done
    second = STRUCTURES["vocabulary"](remove_layers(prune(first, 0.3), [0, 2]))
    again = load_compressed(save_compressed(second, tmp_path / "small"))  # in the same place
    assert_same(again, second)
    assert original_parameters(again) == sum(p.numel() for p in model.parameters())


def test_a_model_that_was_never_pruned_comes_back_too(tmp_path):
    model = tiny("bert")
    assert_same(load_compressed(save_compressed(model, tmp_path / "whole")), model)


def test_gpt2_generates_as_before(tmp_path):
    small = STRUCTURES["all"](tiny("gpt2"))
    small.generation_config.max_new_tokens = 5
    small.generation_config.eos_token_id = None
    again: Any = load_compressed(save_compressed(small, tmp_path / "small"))
    ids = torch.tensor([[7, 8, 9]])
    said = [m.generate(ids, do_sample=False, pad_token_id=0).tolist() for m in (small, again)]
    assert said[0] == said[1]
    assert len(said[0][0]) == 8
    assert again.generation_config.max_new_tokens == 5


def test_labels_travel(tmp_path):
    names = {0: "bad", 1: "good", 2: "so-so"}
    model = t.BertForSequenceClassification(t.BertConfig(**SIZES, id2label=names))
    again: Any = load_compressed(save_compressed(model, tmp_path / "small"))
    assert again.config.id2label == names
    assert again.classifier.out_features == 3


def test_the_real_minilm_with_its_tokeniser_in_a_pipeline(tmp_path):
    tokenizer = load_tokenizer()
    texts = ["A great film.", "I was never so bored, not even here!"]
    kept = {i for text in texts for i in tokenizer(text)["input_ids"]}
    small, fewer = prune_vocabulary(
        remove_layers(prune(load_encoder(), 0.3), [0, 1, 4, 5]),  # type: ignore[arg-type]
        *(tokenizer, kept),
    )
    folder = save_compressed(small, tmp_path / "small", fewer)
    again = load_compressed(folder)
    assert_same(again, small)
    words = t.AutoTokenizer.from_pretrained(folder)
    assert words(texts)["input_ids"] == fewer(texts)["input_ids"]
    classify = t.pipeline("text-classification", model=again, tokenizer=words, device="cpu")
    with torch.inference_mode():
        logits = small(**fewer(texts, padding=True, return_tensors="pt")).logits
    for said, row in zip(classify(texts), logits.softmax(-1), strict=True):
        assert said["score"] == pytest.approx(row.max().item(), abs=1e-5)
        assert said["label"] == f"LABEL_{row.argmax()}"


# --- plain from_pretrained --------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["ffn", "layers", "vocabulary", "heads"])
@pytest.mark.parametrize("name", TINY)
def test_plain_transformers_reads_what_is_equally_wide(name, structure, tmp_path):
    model = tiny(name)
    if structure in ("ffn", "heads"):
        small: Any = remove(model, even(model, structure))
    else:
        small = STRUCTURES[structure](model)
    folder = save_compressed(small, tmp_path / "small")
    if structure == "heads" and name != "vit":  # their configs have no word for the size of a head
        with pytest.raises(RuntimeError, match=r"size mismatch|mismatched"):
            type(model).from_pretrained(folder)
        return
    plain = type(model).from_pretrained(folder).eval()
    assert_same(plain, small)
    assert torch.equal(answer(plain, short(small)), answer(small, short(small)))


@pytest.mark.parametrize("what", ["heads", "ffn"])
@pytest.mark.parametrize("name", TINY)
def test_plain_transformers_fails_aloud_where_layers_differ(name, what, tmp_path):
    model = tiny(name)
    folder = save_compressed(remove(model, uneven(model, what)), tmp_path / "small")
    with pytest.raises(RuntimeError, match=r"size mismatch|mismatched"):
        type(model).from_pretrained(folder)


# --- the folder -------------------------------------------------------------------------------


def test_the_folder_holds_no_pickle_and_says_the_widths(tmp_path):
    folder = save_compressed(STRUCTURES["all"](tiny("bert")), tmp_path / "a" / "b")
    assert {path.name for path in folder.iterdir()} == {NOTE, WEIGHTS, CONFIG}
    assert list((tmp_path / "a").iterdir()) == [folder]  # no trace of the work
    note = json.loads((folder / NOTE).read_text())
    assert note["format"] == 1
    assert note["model"] == "BertForSequenceClassification"
    assert list(note["widths"])[:2] == ["layer.0.heads", "layer.0.ffn"]


def test_an_unrelated_folder_is_neither_deleted_nor_mixed(tmp_path):
    model = tiny("bert")
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.txt").write_text("years of work")
    (thesis / NOTE).write_text("{}")  # of some other program
    for folder in (thesis, thesis / "chapter.txt"):
        with pytest.raises(
            FileExistsError, match=r"is no older compressed model: there is 'chapter\.txt'"
        ):
            save_compressed(model, folder)
    assert (thesis / "chapter.txt").read_text() == "years of work"
    assert len(list(thesis.iterdir())) == 2
    # what was put beside a compressed model is not thrown away with it
    ours = save_compressed(model, tmp_path / "ours")
    (ours / "notes.md").write_text("remember")
    with pytest.raises(FileExistsError, match=r"there is 'notes\.md'\. Name another folder"):
        save_compressed(model, ours)
    (ours / "notes.md").unlink()
    (ours / "data").mkdir()
    with pytest.raises(FileExistsError, match="there is 'data'"):
        save_compressed(model, ours)
    assert_same(load_compressed(ours), model)


def test_an_empty_folder_and_an_older_model_are_replaced(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    save_compressed(tiny("bert"), folder, letters())
    save_compressed(tiny("vit"), folder)
    assert {path.name for path in folder.iterdir()} == {NOTE, WEIGHTS, CONFIG}
    assert_same(load_compressed(folder), tiny("vit"))


@pytest.mark.parametrize("step", ["save_pretrained", "write_text", "replace"])
def test_an_interrupted_save_leaves_the_old_model_whole(step, tmp_path, monkeypatch):
    model, other = tiny("bert"), remove(tiny("bert"), {"layer.0.ffn": [1]})
    folder = save_compressed(model, tmp_path / "small")
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
            save_compressed(other, folder)
        if step != "replace":
            with pytest.raises(KeyboardInterrupt):
                save_compressed(other, tmp_path / "new")
    assert list(tmp_path.iterdir()) == [folder]
    assert_same(load_compressed(folder), model)


def test_what_cannot_be_placed_is_not_saved(tmp_path):
    config = t.MPNetConfig(vocab_size=9, hidden_size=8, num_attention_heads=2)
    with pytest.raises(ValueError, match=r"'encoder\.layer' could not be placed"):
        save_compressed(t.MPNetModel(config), tmp_path / "small")
    assert not (tmp_path / "small").exists()


# --- hostile folders --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "small"
    return save_compressed(STRUCTURES["all"](tiny("bert")), folder)


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
        load_compressed(folder)
    assert time.perf_counter() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_the_copy_that_the_others_spoil_is_sound(folder):
    load_compressed(folder)


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
    "a pickle": (lambda path: torch.save({"a": torch.ones(3)}, path), "is damaged"),
    "of another model": (
        lambda path: save_file({"x": torch.ones(7)}, path),
        r"does not fit: 2 layers cannot be in 1 tensors of model\.safetensors",
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
    "gigantic": (10**18, r"has 1000000000000000000 for 'layer\.0\.heads'; expected 1 to 4"),
    "another": (4, "holds .* numbers"),
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
        assert_refused_at_once(
            folder, r"of 'small' .*(compressed\.json 0|whole numbers of 1 or more)"
        )


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
        *("os.system", "os", "AutoModel", "T5Model", "PreTrainedModel", "BertConfig", "pipeline"),
        *("__doc__", "BertTokenizer", "", "x" * 5000, "utils", "Narrow"),
        "models.bert.modeling_bert.BertModel",
    ],
)
def test_a_model_that_is_none_of_the_families_is_refused(folder, model):
    rewrite(folder / NOTE, model=model)
    words = r"names a .{0,110} no transformers model of the families bert, roberta.*like=…"
    assert_refused_at_once(folder, words)


@pytest.mark.parametrize("model", ["BertModel", "BertForMaskedLM", "GPT2Model", "ViTModel"])
def test_another_model_than_was_saved_is_refused(folder, model):
    rewrite(folder / NOTE, model=model)
    assert_refused_at_once(folder, "of 'small' (does not fit|holds)")


def test_an_abstract_class_is_refused(folder):
    rewrite(folder / NOTE, model="BertPreTrainedModel")
    assert_refused_at_once(folder, r"config\.json of 'small' does not fit")


HUGE = {
    "hidden_size": 10**12,
    "vocab_size": 10**12,
    "num_hidden_layers": 10**9,
    "max_position_embeddings": 10**12,
    "type_vocab_size": 10**15,
    "num_attention_heads": 10**9,
}


@pytest.mark.parametrize("field", HUGE)
def test_a_gigantic_config_is_refused_without_taking_memory(folder, field):
    rewrite(folder / CONFIG, **{field: HUGE[field]})
    assert_refused_at_once(folder, "of 'small' (does not fit|holds)")


def test_how_wide_the_original_was_takes_no_memory(folder):
    model: Any = load_compressed(folder)
    rewrite(folder / CONFIG, intermediate_size=10**15)
    again: Any = load_compressed(folder)
    assert_same(again, model)
    assert again.config.intermediate_size == model.config.intermediate_size < 20


def test_gigantic_widths_beside_a_gigantic_config_take_no_memory_either(folder):
    widths = json.loads((folder / NOTE).read_text())["widths"]
    rewrite(folder / CONFIG, intermediate_size=10**10)
    rewrite(folder / NOTE, widths={n: 10**10 if "ffn" in n else 1 for n in widths})
    assert_refused_at_once(folder, "holds .* numbers; its config")


def test_more_layers_than_there_are_tensors_are_not_built(folder):
    layers = 100_000
    rewrite(folder / CONFIG, num_hidden_layers=layers)
    widths = {f"layer.{i}.{what}": 1 for i in range(layers) for what in ("heads", "ffn")}
    rewrite(folder / NOTE, widths=widths)
    assert_refused_at_once(folder, "100000 layers cannot be in")


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
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_is_refused(folder, changes):
    rewrite(folder / CONFIG, **changes)
    assert_refused_at_once(
        folder, r"(config\.json|model\.safetensors) of 'small' (does not fit|holds)"
    )


@pytest.mark.parametrize("family", ["albert", "gpt2", None, ["bert"], "../../etc"])
def test_a_config_of_another_family_is_refused(folder, family):
    rewrite(folder / CONFIG, model_type=family)
    assert_refused_at_once(folder, r"config\.json of 'small' .*model_type is .*; expected 'bert'")


# --- no pickle is read and no code is run -----------------------------------------------------


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_code_that_the_config_names_is_not_run(folder, tmp_path):
    mark = tmp_path / "executed"
    (folder / "evil.py").write_text(f"import os; os.mkdir({str(mark)!r})\nclass Evil: pass\n")
    names = ["AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoTokenizer"]
    rewrite(
        folder / CONFIG,
        auto_map=dict.fromkeys(names, "evil.Evil"),
        custom_pipelines={"text-classification": {"impl": "evil.Evil", "pt": names}},
        attn_implementation="evil/kernel",
        _attn_implementation="evil/kernel",
        architectures=["Evil"],
    )
    again: Any = load_compressed(folder)
    assert not mark.exists()
    assert type(again) is t.BertForSequenceClassification
    assert again.config._attn_implementation == "sdpa"


def test_a_pickle_beside_the_weights_is_not_read(folder, tmp_path):
    expected, mark = load_compressed(folder), tmp_path / "executed"
    for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", ".metadata"):
        (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/base"}')
    index = {"metadata": {}, "weight_map": {"classifier.bias": "pytorch_model.bin"}}
    for name in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        (folder / name).write_text(json.dumps(index))
    for name in ("pytorch_model.bin", "pytorch_model.bin.index.json", "evil.gguf"):
        rewrite(
            folder / CONFIG, transformers_weights=name, quantization_config={"quant_method": "x"}
        )
        assert_same(load_compressed(folder), expected)
    assert not mark.exists()


def test_a_pickle_instead_of_the_weights_is_not_read(folder, tmp_path):
    mark = tmp_path / "executed"
    (folder / WEIGHTS).rename(tmp_path / "elsewhere")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(mark)))
    assert_refused_at_once(
        folder, "'small' holds no compressed model: there is no model.safe", FileNotFoundError
    )
    (folder / WEIGHTS).write_bytes(pickle.dumps(Bomb(mark)))
    assert_refused_at_once(folder, r"model\.safetensors of 'small' is damaged")
    assert not mark.exists()


def test_a_number_type_that_is_a_function_is_not_one(folder):
    expected = load_compressed(folder)
    for name in ("load", "float64", "nothing"):
        rewrite(folder / CONFIG, dtype=name, torch_dtype=name)
        assert_same(load_compressed(folder), expected)  # the weights themselves say what they are


def test_labels_without_end_are_not_counted_out(folder):
    rewrite(folder / CONFIG, num_labels=10**10)
    load_compressed(folder)


def test_a_spoilt_generation_config_is_refused(tmp_path):
    folder = save_compressed(tiny("gpt2"), tmp_path / "small")
    (folder / "generation_config.json").write_text("[]")
    assert_refused_at_once(folder, r"generation_config\.json of 'small' is damaged: it is a list")


# --- what is missing, and networks of one's own -----------------------------------------------


@pytest.mark.parametrize("name", [NOTE, WEIGHTS])
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    words = rf"'small' holds no compressed model: there is no {name}\. save_compressed writes one"
    assert_refused_at_once(folder, words, FileNotFoundError)
    (folder / name).mkdir()  # a folder of that name is none either
    assert_refused_at_once(folder, words, FileNotFoundError)


def test_a_missing_config_and_a_missing_folder(folder, tmp_path):
    (folder / CONFIG).unlink()
    assert_refused_at_once(folder, r"config\.json of 'small' .*No such file")
    with pytest.raises(FileNotFoundError, match="'nowhere' holds no compressed model"):
        load_compressed(tmp_path / "nowhere")


@pytest.fixture
def cnn(tmp_path: Path) -> Path:
    return save_compressed(remove(SmallCNN(), {"conv1": [0, 1]}), tmp_path / "cnn")


def test_a_network_needs_one_of_its_architecture(cnn):
    with pytest.raises(ValueError, match=r"names a 'SmallCNN'.*load_compressed\(folder, like=…\)"):
        load_compressed(cnn)
    with pytest.raises(ValueError, match="'cnn' holds a SmallCNN, and `like` is a Sequential"):
        load_compressed(cnn, like=network("depthwise"))
    small = remove(SmallCNN(), {"conv2": [0]})
    with pytest.raises(ValueError, match=r"'cnn' has 64 for 'conv2'; expected 1 to 1 units"):
        load_compressed(cnn, like=small)


def test_spoilt_networks_are_refused(cnn):
    tensors = load_file(cnn / WEIGHTS)

    def refused(words: str, **changes: Tensor) -> None:
        save_file({k: v for k, v in (tensors | changes).items() if v is not None}, cnn / WEIGHTS)
        with pytest.raises(ValueError, match=words):
            load_compressed(cnn, like=SmallCNN())

    refused(
        r"model\.safetensors of 'cnn' holds 3 numbers more|holds", **{"fc2.bias": torch.ones(13)}
    )
    refused("does not fit compressed.json", **{"fc2.weight": torch.ones(128, 10)})
    refused("does not fit compressed.json", **{"fc2.bias": torch.ones(10).long()})
    rewrite(cnn / NOTE, widths={"conv1": 2, "conv2": 64, "fc1": 128, "fc2": 10})
    refused(r"compressed\.json of 'cnn' has 'fc2'; there is no such group")
    rewrite(cnn / NOTE, widths={"conv1": 2, "conv2": 64})
    refused("has nothing for 'fc1'; expected 1 to 128")
    cut(cnn / WEIGHTS)
    with pytest.raises(ValueError, match=r"model\.safetensors of 'cnn' is damaged"):
        load_compressed(cnn, like=SmallCNN())
