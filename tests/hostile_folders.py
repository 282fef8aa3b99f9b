"""Folders of models that nobody should read, as a stranger could make them."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset
from safetensors.torch import load_file, save_file

from course_lib.models.custom_model import load_custom_model
from course_lib.models.encoders import load_encoder
from course_lib.serialization import load

NOTE, WEIGHTS, CONFIG = "compressed.json", "model.safetensors", "config.json"
INDEX = "model.safetensors.index.json"


def examples() -> dict[str, Dataset]:
    rows = Dataset.from_dict({"text": ["a film", "a bore"], "label": [1, 0]})
    rows = rows.cast_column("label", ClassLabel(names=["no", "yes"]))
    return dict.fromkeys(("train", "validation", "test"), rows)


READERS: dict[str, Callable[[Path], Any]] = {
    "load": load,
    "load_encoder": lambda folder: load_encoder(str(folder)),
    "load_custom_model": lambda folder: load_custom_model(folder, examples()),
}


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def link(folder: Path, name: str, content: bytes = b"{}") -> None:
    """In place of the file, a link to one outside the folder."""
    outside = folder.parent / "outside" / Path(name).name
    outside.parent.mkdir()
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    if file.exists():
        file.rename(outside)
    else:
        outside.write_bytes(content)
    file.symlink_to(outside)


def pipe(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def shards(folder: Path, name: str) -> None:
    """The weights in a file of another name, which an index names."""
    path = folder / name
    tensors = load_file(folder / WEIGHTS)
    if name.endswith("safetensors"):
        save_file(tensors, path, {"format": "pt"})
    else:
        path.write_bytes(pickle.dumps(Bomb(folder.parent / "executed")))
    (folder / WEIGHTS).unlink()
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, name)}
    (folder / INDEX).write_text(json.dumps(index))
    if folder.name == "small":  # `load` looks for it
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder / CONFIG, **changes)


def raw(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / CONFIG).read_text()
        assert old in text
        (folder / CONFIG).write_text(text.replace(old, new))

    return change


def strange_type(folder: Path) -> None:
    """A header of safetensors with a dtype that nobody knows."""
    head = json.dumps({"x": {"dtype": "F" * 3000, "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / WEIGHTS).write_bytes(len(head).to_bytes(8, "little") + head + bytes(4))


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a link for the weights": (lambda f: link(f, WEIGHTS), r"model\.safetensors .* is a link"),
    "a link for the config": (lambda f: link(f, CONFIG), r"config\.json .* is a link"),
    "a link to a device": (
        lambda f: ((f / CONFIG).unlink(), (f / CONFIG).symlink_to("/dev/zero")),
        "is a link",
    ),
    "a link for a chat template": (
        lambda f: link(f, "chat_template.jinja", b"secret"),
        r"chat_template\.jinja .* is a link",
    ),
    "a link for a further chat template": (
        lambda f: link(f, "additional_chat_templates/tools.jinja", b"secret"),
        r"tools\.jinja .* is a link",
    ),
    "a link for the folder of chat templates": (
        lambda f: (f / "additional_chat_templates").symlink_to("/etc"),
        "additional_chat_templates .* is a link",
    ),
    "a pipe for the note": (lambda f: pipe(f, NOTE), r"compressed\.json .* is a pipe"),
    "a pipe for the config": (lambda f: pipe(f, CONFIG), r"config\.json .* is a pipe"),
    "a pipe for the weights": (lambda f: pipe(f, WEIGHTS), r"model\.safetensors .* is a pipe"),
    "a pipe for the tokenizer": (lambda f: pipe(f, "tokenizer.json"), r"tokenizer\.json .* pipe"),
    "an index of pickles": (
        lambda f: shards(f, "pytorch_model.bin"),
        r"names 'pytorch_model\.bin'.*no pickle",
    ),
    "an index that leads out": (
        lambda f: shards(f, "../stolen.safetensors"),
        r"names '\.\./stolen\.safetensors'",
    ),
    "an index with an absolute path": (
        lambda f: shards(f, str(f.parent / "stolen.safetensors")),
        "names '/.*expected .safetensors files of this folder",
    ),
    "an index that is no index": (
        lambda f: (f / INDEX).write_text('{"weight_map": {"a": 1}}'),
        "names ''",
    ),
    "20,000,000 words": (config(vocab_size=20_000_000), "does not fit"),
    "a billion positions": (config(max_position_embeddings=10**9), "does not fit"),
    "a billion labels": (config(num_labels=10**9), "more than 65,536 labels"),
    "names for 100,000 labels": (
        config(id2label={str(i): "a" for i in range(10**5)}),
        "more than 65,536 labels",
    ),
    "a million layers": (
        config(num_hidden_layers=10**6),
        "num_hidden_layers' is 1,000,000; at most 1,000 are",
    ),
    "10,000,000 lines of vocabulary": (
        lambda f: (f / "vocab.txt").write_bytes(b"a\n" * 10**7),
        r"vocab\.txt .* 10,000,000 lines",
    ),
    "10,000,000 entries of a tokenizer": (
        lambda f: (f / "tokenizer.json").write_bytes(b"[" + b"1," * 10**7 + b"1]"),
        "10,000,000 entries",
    ),
    "100,000 added tokens": (
        lambda f: rewrite(
            f / "tokenizer_config.json",
            added_tokens_decoder={str(i): {"content": f"word {i}"} for i in range(10**5)},
        ),
        "adds 100,000 tokens; at most 16,384",
    ),
    "a tokenizer of 65 MiB": (
        lambda f: (f / "tokenizer.json").write_bytes(b" " * (65 << 20)),
        "68,157,440 bytes; expected at most 67,108,864",
    ),
    "attention from a repository": (
        config(_attn_implementation="evil/kernel"),
        "_attn_implementation' is 'evil/kernel'; expected eager or sdpa",
    ),
    "a kernel from a repository, inside": (
        config(task={"kernel_config": {"RMSNorm": ["evil/kernel:Norm"]}}),
        "kernel_config' names a repository",
    ),
    "attention from a package": (
        config(attn_implementation={"text": "flash_attention_2"}),
        "attn_implementation' is 'flash_attention_2'; expected eager or sdpa",
    ),
    "a billion layers of GPT-Neo": (
        config(attention_types=[[["global"], 10**9]]),
        "'attention_types' is 1,000,000,000; at most 1,000",
    ),
    "a million layers of GPT-Neo": (
        config(attention_types=[[["global"] * 10**5, 10]]),
        r"'attention_types' lists 100,0\d\d values; at most 1,000",
    ),
    "a million hash functions": (
        config(num_hash_functions=10**6),
        "'num_hash_functions' is 1,000,000",
    ),
    "a million feed-forward networks": (
        config(num_feedforward_networks=10**6),
        "'num_feedforward_networks' is 1,000,000",
    ),
    "a million blocks": (config(block_sizes=[10**6, 4]), "'block_sizes' is 1,000,000; at most"),
    "a hundred thousand layers of Reformer": (
        config(attn_layers=["lsh"] * 10**5),
        "'attn_layers' lists 100,000 values; at most 1,000",
    ),
    "a hundred thousand convolutions": (
        config(conv_dim=[4] * 10**5),
        "'conv_dim' lists 100,000 values; at most 1,000",
    ),
    "a million, in a list of another name": (config(stairs=[3, 10**6]), "'stairs' is 1,000,000"),
    "files of the tokenizer elsewhere": (
        lambda f: rewrite(
            f / "tokenizer_config.json", fast_tokenizer_files=["tokenizer.4.0.json", "../../x.json"]
        ),
        r"in fast_tokenizer_files\. Take that key out",
    ),
    "a type of numbers that has 3,000 characters": (
        lambda f: strange_type(f),
        r"model\.safetensors of '.*' is damaged: .*`F{20,200}(?!F)",
    ),
    "weights under another name": (
        config(transformers_weights="pytorch_model.bin"),
        r"transformers_weights is 'pytorch_model\.bin'",
    ),
    "an adapter": (
        lambda f: (f / "adapter_config.json").write_text("{}"),
        "holds an adapter, which names another model",
    ),
    "100,000 keys": (
        config(**{f"key {i}": i for i in range(10**5)}),
        r"it has 100,0\d\d keys; at most 1,000",
    ),
    "NaN in the config": (
        raw('"layer_norm_eps": 1e-12', '"layer_norm_eps": NaN'),
        "holds NaN; a finite number",
    ),
    "a number beyond all": (
        raw('"layer_norm_eps": 1e-12', '"layer_norm_eps": 1e999'),
        "holds 1e999; a finite",
    ),
    "NaN as transformers writes it": (
        config(layer_norm_eps={"__float__": "NaN"}),
        "holds NaN; a finite number",
    ),
    "a deep config": (
        lambda f: (f / CONFIG).write_text("[" * 10**5 + "]" * 10**5),
        r"config\.json .* is damaged",
    ),
    "a config of lists": (lambda f: (f / CONFIG).write_text("[]"), r"config\.json .* is damaged"),
    "a pickle for the weights": (
        lambda f: (f / WEIGHTS).write_bytes(pickle.dumps(Bomb(f.parent / "executed"))),
        r"model\.safetensors .* is damaged",
    ),
    "cut weights": (
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-9]),
        r"model\.safetensors .* is damaged",
    ),
}
