"""Fewer words: rows of a transformer's embedding table are removed, and its tokeniser follows."""

from __future__ import annotations

import copy
import json
import string
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from course_lib.groups import family_of
from course_lib.surgery import remember

ENDS = ("pad", "bos", "eos", "cls", "sep", "mask", "unk", "decoder_start")


def prune_vocabulary(
    model: PreTrainedModel, tokenizer: Any, tokens: Iterable[int] | Tensor
) -> tuple[PreTrainedModel, Any]:
    """Copies of a model and its tokeniser that know only some tokens.

    A text whose tokens are all kept is split as before and gets the same answer. A word that lost
    its token is split into smaller pieces: special tokens, single characters (those of ASCII; BPE's
    bytes), and what longer tokens are merged from are always kept. The ids change; each row's old id
    is listed by `model.vocabulary`.
    Explained in lesson 2.

    Args:
        model: a `transformers` model that reads text; both arguments are left alone.
        tokenizer: its fast tokeniser (WordPiece or BPE).
        tokens: ids to keep, as `encoders.tokens_seen` gives them.

    Returns:
        The smaller model and its tokeniser.

    Raises:
        ValueError: the model reads no text, or an id that it does not have.
        TypeError: not a `transformers` model, or a tokeniser of another kind.

    Example:
        >>> from course_lib.encoders import load_encoder, load_tokenizer
        >>> model, tokenizer = prune_vocabulary(load_encoder(), load_tokenizer(), [2307, 3185])
        >>> tokenizer.tokenize("great movie"), tokenizer.tokenize("fine")
        (['great', 'movie'], ['f', '##i', '##n', '##e'])
    """
    if family_of(model) is None:
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
            f"{old.num_embeddings - 1}. Take them from this model's own tokeniser."
        )
    for config in _configs(model):
        wanted |= {
            token for end in ENDS for token in _ids(getattr(config, f"{end}_token_id", None))
        }
    kept, smaller_tokenizer = _smaller_tokenizer(tokenizer, wanted, old.num_embeddings)
    return _smaller_model(model, kept), smaller_tokenizer


def _smaller_model(model: PreTrainedModel, kept: list[int]) -> PreTrainedModel:
    place = {token: row for row, token in enumerate(kept)}
    padding: Any = getattr(model.get_input_embeddings(), "padding_idx", None)
    if model.config.model_type == "roberta" and place[padding] != padding:
        raise ValueError(
            "RoBERTa counts positions from its padding id, which must stay; keep all below."
        )
    rows = torch.tensor(kept, device=model.device)
    cut: dict[int, Any] = {}  # deepcopy uses the smaller tensors in place of the old ones
    head = model.get_output_embeddings()
    # An untied head keeps a second bias beside the layer that gives the words.
    beside = [m for m in model.modules() if any(child is head for child in m.children())]
    for table in (model.get_input_embeddings(), head, *(beside if head is not None else [])):
        for parameter in table.parameters(recurse=False) if table is not None else ():
            if id(parameter) not in cut:
                fewer = parameter.detach().index_select(0, rows)
                cut[id(parameter)] = nn.Parameter(fewer, requires_grad=parameter.requires_grad)
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
    return remember(result, model)


def _configs(model: Any) -> list[Any]:
    """Where a model notes the ids of its special tokens."""
    return [model.config, getattr(model, "generation_config", None)]


def _ids(token: Any) -> list[int]:
    """One id, several or none, as a list."""
    return [i for i in (token if isinstance(token, list) else [token]) if isinstance(i, int)]


def _smaller_tokenizer(tokenizer: Any, wanted: set[int], size: int) -> tuple[list[int], Any]:
    """The ids that stay, in order, and the tokeniser that gives their new numbers."""
    if not getattr(tokenizer, "is_fast", False):
        raise TypeError(f"Got {type(tokenizer).__name__}; expected a fast tokeniser.")
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        file = Path(folder) / "tokenizer.json"
        spec = json.loads(file.read_text("utf-8"))
        model = spec["model"]
        marked = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
        if model["type"] != "WordPiece" and (model["type"] != "BPE" or marked):
            raise TypeError(
                f"The tokeniser is a {model['type']}; expected WordPiece or byte-level BPE."
            )
        vocabulary: dict[str, int] = model["vocab"]
        beyond = [token["content"] for token in spec["added_tokens"] if token["id"] >= size]
        if beyond:
            raise ValueError(
                f"The tokeniser has added tokens such as {beyond[0]!r} beyond the model's {size:,} "
                "rows. Give the model rows for them: model.resize_token_embeddings(len(tokenizer))."
            )
        wanted = wanted | {token["id"] for token in spec["added_tokens"]}
        wanted |= set(tokenizer.all_special_ids)
        wanted |= {spec["padding"]["pad_id"]} if spec.get("padding") else set()
        if model["type"] == "WordPiece":
            letters = string.ascii_letters + string.digits + string.punctuation
            prefix = model["continuing_subword_prefix"]
            wanted |= {
                vocabulary[piece]
                for letter in letters
                for piece in (letter, prefix + letter)
                if piece in vocabulary
            }
        else:
            model["merges"] = _merges_for(model["merges"], vocabulary, wanted)
        kept = sorted(token for token in wanted if 0 <= token < size)
        place = {token: row for row, token in enumerate(kept)}
        model["vocab"] = {word: place[i] for word, i in vocabulary.items() if i in place}
        spec["added_tokens"] = [t | {"id": place[t["id"]]} for t in spec["added_tokens"]]
        _renumber(
            spec.get("post_processor"),
            model["vocab"] | {t["content"]: t["id"] for t in spec["added_tokens"]},
        )
        if spec.get("padding"):
            spec["padding"]["pad_id"] = place[spec["padding"]["pad_id"]]
        file.write_text(json.dumps(spec), "utf-8")
        settings = Path(folder) / "tokenizer_config.json"
        config = json.loads(settings.read_text("utf-8"))
        if "added_tokens_decoder" in config:
            decoder = config["added_tokens_decoder"].items()
            config["added_tokens_decoder"] = {str(place[int(i)]): token for i, token in decoder}
            settings.write_text(json.dumps(config), "utf-8")
        return kept, type(tokenizer).from_pretrained(folder)


def _merges_for(merges: list[Any], vocabulary: dict[str, int], wanted: set[int]) -> list[Any]:
    """The merges that lead to a wanted token. Adds to `wanted` what they pass through, and every
    token that nothing is merged to: the single bytes."""
    pairs = [
        tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in merges
    ]
    merged = {left + right for left, right in pairs}
    wanted |= {i for word, i in vocabulary.items() if word not in merged}
    needed = []
    # Later merges build on earlier ones, so one walk from the end finds all.
    for merge, (left, right) in zip(reversed(merges), reversed(pairs), strict=True):
        if vocabulary.get(left + right) in wanted:
            wanted |= {vocabulary[left], vocabulary[right]}
            needed.append(merge)
    return needed[::-1]


def _renumber(processor: Any, place: dict[str, int]) -> None:
    """New ids in whatever puts [CLS] and [SEP] around a text."""
    if not processor:
        return
    for inner in processor.get("processors", ()):
        _renumber(inner, place)
    for end in ("sep", "cls"):
        if isinstance(processor.get(end), list):
            processor[end][1] = place[processor[end][0]]
    for token in processor.get("special_tokens", {}).values():
        token["ids"] = [place[word] for word in token["tokens"]]
