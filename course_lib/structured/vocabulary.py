"""Fewer tokens: rows of a transformer's embedding table are removed, and its tokenizer is cut too."""

from __future__ import annotations

import copy
import json
import string
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from course_lib.structured.removal import record_original_size

ENDS = ("pad", "bos", "eos", "cls", "sep", "mask", "unk", "decoder_start")


def prune_vocabulary(
    model: PreTrainedModel, tokenizer: Any, tokens: Iterable[int] | Tensor
) -> tuple[PreTrainedModel, Any]:
    """Copies of a model and its tokenizer that have only some tokens.

    A text whose tokens are all kept is split as before, and the output is the same. A word that lost
    its token is split into smaller pieces. Always kept are special tokens, single characters (those of
    ASCII; all of Unigram's; BPE's bytes), and what longer tokens are merged from. The ids change:
    `model.vocabulary` lists the old id of each row. Explained in lesson 2.

    Args:
        model: a `transformers` model that reads text; both arguments are left alone.
        tokenizer: its fast tokenizer (WordPiece, Unigram or BPE).
        tokens: ids to keep, as `datasets.tokens_seen` gives them.

    Returns:
        The smaller model and its tokenizer.

    Raises:
        ValueError: the model reads no text, or an id that it does not have.
        TypeError: not a `transformers` model, or a tokenizer of another kind.

    Example:
        >>> from course_lib.models.encoders import load_encoder, load_tokenizer
        >>> model, tokenizer = prune_vocabulary(load_encoder(), load_tokenizer(), [2307, 3185])
        >>> tokenizer.tokenize("great movie"), tokenizer.tokenize("fine")
        (['great', 'movie'], ['f', '##i', '##n', '##e'])
    """
    if not isinstance(model, PreTrainedModel):
        raise TypeError(
            f"Got a {type(model).__name__}; only transformers models have a vocabulary here."
        )
    old = model.get_input_embeddings()
    if not isinstance(old, nn.Embedding):
        raise ValueError(f"{type(model).__name__} reads no text: it has no vocabulary to prune.")
    tokens = tokens.flatten().tolist() if isinstance(tokens, Tensor) else tokens
    wanted = {int(token) for token in tokens}
    if wanted and not 0 <= min(wanted) <= max(wanted) < old.num_embeddings:
        raise ValueError(
            f"Got ids from {min(wanted)} to {max(wanted)}; the model has 0 to "
            f"{old.num_embeddings - 1}. Take them from this model's own tokenizer."
        )
    for config in _configs(model):
        for end in ENDS:
            wanted.update(_ids(getattr(config, f"{end}_token_id", None)))
    kept, smaller_tokenizer = _smaller_tokenizer(tokenizer, wanted, old.num_embeddings)
    return _smaller_model(model, kept), smaller_tokenizer


def _smaller_model(model: PreTrainedModel, kept: list[int]) -> PreTrainedModel:
    place = {token: row for row, token in enumerate(kept)}
    padding: Any = getattr(model.get_input_embeddings(), "padding_idx", None)
    counted = any(
        isinstance(table, nn.Embedding) and "position" in name and table.padding_idx is not None
        for name, table in model.named_modules()
    )
    if counted and place[padding] != padding:
        raise ValueError(
            f"{type(model).__name__} counts positions from its padding id, which must stay; keep all "
            "below."
        )
    rows = torch.tensor(kept, device=model.device)
    head = model.get_output_embeddings()
    tables = [model.get_input_embeddings()]
    if head is not None:
        # An untied head keeps a second bias beside the layer that predicts the words.
        tables += [head, *(m for m in model.modules() if any(c is head for c in m.children()))]
    cut: dict[int, Any] = {}  # deepcopy uses the smaller tensors in place of the old ones
    for old in (parameter for table in tables for parameter in table.parameters(recurse=False)):
        cut[id(old)] = nn.Parameter(old.detach().index_select(0, rows), old.requires_grad)
    result: Any = copy.deepcopy(model, cut)
    inputs, outputs = result.get_input_embeddings(), result.get_output_embeddings()
    inputs.num_embeddings = len(kept)
    inputs.padding_idx = None if padding is None else place[padding]
    if outputs is not None:
        outputs.out_features = len(kept)
    for config in _configs(result):
        for name in (f"{end}_token_id" for end in ENDS):
            token = getattr(config, name, None)
            new = [place[i] for i in _ids(token) if i in place]  # GPT-2's defaults may lie outside
            if new:
                setattr(config, name, new if isinstance(token, list) else new[0])
    result.config.vocab_size = len(kept)
    before = getattr(model, "vocabulary", None)
    result.vocabulary = kept if before is None else [before[token] for token in kept]
    return record_original_size(result, model)


def _configs(model: Any) -> list[Any]:
    """Where a model notes the ids of its special tokens."""
    return [model.config, getattr(model, "generation_config", None)]


def _ids(token: Any) -> list[int]:
    """One id, several or none, as a list."""
    return [i for i in (token if isinstance(token, list) else [token]) if isinstance(i, int)]


def _smaller_tokenizer(tokenizer: Any, wanted: set[int], size: int) -> tuple[list[int], Any]:
    """The ids that stay, in order, and the tokenizer that gives their new numbers."""
    if not getattr(tokenizer, "is_fast", False):
        raise TypeError(f"Got {type(tokenizer).__name__}; expected a fast tokenizer.")
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        file, settings = (Path(folder, f"tokenizer{end}.json") for end in ("", "_config"))
        spec, config = (json.loads(path.read_text("utf-8")) for path in (file, settings))
        kept = _kept_tokens(spec, wanted | set(tokenizer.all_special_ids), size)
        place = {token: row for row, token in enumerate(kept)}
        _renumber_(spec, place)
        file.write_text(json.dumps(spec), "utf-8")
        if decoder := config.get("added_tokens_decoder"):
            config["added_tokens_decoder"] = {str(place[int(i)]): t for i, t in decoder.items()}
            settings.write_text(json.dumps(config), "utf-8")
        return kept, type(tokenizer).from_pretrained(folder)


def _kept_tokens(spec: Any, wanted: set[int], size: int) -> list[int]:
    """The wanted ids and those that the tokenizer cannot do without; its merges follow."""
    model = spec["model"]
    marked = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    if model["type"] not in ("WordPiece", "Unigram") and (model["type"] != "BPE" or marked):
        raise TypeError(
            f"The tokenizer is a {model['type']}; expected WordPiece, Unigram or byte-level BPE."
        )
    beyond = [token["content"] for token in spec["added_tokens"] if token["id"] >= size]
    if beyond:
        raise ValueError(
            f"The tokenizer has added tokens such as {beyond[0]!r} beyond the model's {size:,} "
            "rows. Give the model rows for them: model.resize_token_embeddings(len(tokenizer))."
        )
    wanted = wanted | {token["id"] for token in spec["added_tokens"]}
    if spec.get("padding"):
        wanted.add(spec["padding"]["pad_id"])
    if model["type"] == "WordPiece":
        letters = string.ascii_letters + string.digits + string.punctuation
        pieces = {
            p + letter for letter in letters for p in ("", model["continuing_subword_prefix"])
        }
        wanted.update(i for piece, i in model["vocab"].items() if piece in pieces)
    elif model["type"] == "Unigram":  # its best split stays the best when other pieces go
        single = (len(p.strip("▁")) < 2 or p.startswith("<0x") for p, _ in model["vocab"])
        wanted |= {i for i, stays in enumerate(single) if stays}
        wanted |= {model["unk_id"]} - {None}
    else:
        model["merges"] = _merges_for(model["merges"], model["vocab"], wanted)
    return sorted(token for token in wanted if 0 <= token < size)


def _merges_for(merges: list[Any], vocabulary: dict[str, int], wanted: set[int]) -> list[Any]:
    """The merges that lead to a wanted token. Adds to `wanted` what they pass through, and every
    token that nothing is merged to: the single bytes."""
    pairs = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in merges]
    merged = {left + right for left, right in pairs}
    wanted |= {i for word, i in vocabulary.items() if word not in merged}
    needed = []
    # Later merges build on earlier ones, so one walk from the end finds all.
    for merge, (left, right) in zip(reversed(merges), reversed(pairs), strict=True):
        if vocabulary.get(left + right) in wanted:
            wanted |= {vocabulary[left], vocabulary[right]}
            needed.append(merge)
    return needed[::-1]


def _renumber_(spec: Any, place: dict[int, int]) -> None:
    """New ids wherever a tokenizer's file names one."""
    model = spec["model"]
    if model["type"] == "Unigram":  # a list: a piece's number is its place
        model["vocab"] = [pair for i, pair in enumerate(model["vocab"]) if i in place]
        model["unk_id"] = place.get(model["unk_id"])
        numbers = {piece: i for i, (piece, _) in enumerate(model["vocab"])}
    else:
        numbers = {word: place[i] for word, i in model["vocab"].items() if i in place}
        model["vocab"] = numbers
    spec["added_tokens"] = [t | {"id": place[t["id"]]} for t in spec["added_tokens"]]
    if spec.get("padding"):
        spec["padding"]["pad_id"] = place[spec["padding"]["pad_id"]]
    ids = numbers | {t["content"]: t["id"] for t in spec["added_tokens"]}
    for processor in _flat(spec.get("post_processor") or {}):  # puts [CLS] and [SEP] around a text
        for end in ("sep", "cls"):
            if isinstance(processor.get(end), list):
                processor[end][1] = ids[processor[end][0]]
        for token in processor.get("special_tokens", {}).values():
            token["ids"] = [ids[word] for word in token["tokens"]]


def _flat(processor: Any) -> Iterator[Any]:
    yield processor
    for inner in processor.get("processors", ()):
        yield from _flat(inner)
