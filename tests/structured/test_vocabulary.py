"""Fewer words: texts of kept tokens are split and answered as before, all others without a crash."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
import tokenizers as tk
import torch
import transformers as t
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformer_zoo import SIZES, answer, tiny

from course_lib.models.encoders import load_encoder, load_tokenizer
from course_lib.models.networks import LeNet300
from course_lib.serialization import load, save
from course_lib.structured.removal import original_parameters, remove, remove_layers
from course_lib.structured.vocabulary import prune_vocabulary

CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "a great film that the people of the town will love again and again",
    "not a good film: the actors were bad, and the plot was thin",
]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def byte_level(special: list[str]) -> tk.Tokenizer:
    """A byte-level BPE that has seen a few sentences."""
    tokenizer = tk.Tokenizer(tk.models.BPE())
    tokenizer.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tk.decoders.ByteLevel()
    trainer = tk.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=tk.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    return tokenizer


def gpt2_tokenizer() -> Any:
    end = "<|endoftext|>"
    tokenizer = byte_level([end])
    return t.GPT2TokenizerFast(
        tokenizer_object=tokenizer, bos_token=end, eos_token=end, unk_token=end, pad_token=end
    )


def roberta_tokenizer() -> Any:
    tokenizer = byte_level(ROBERTA)
    tokenizer.post_processor = tk.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return t.RobertaTokenizerFast(tokenizer_object=tokenizer)


def word_pieces() -> Any:
    """A tiny WordPiece tokenizer, for the families that share it."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "great", "film", "##lm", "the"]
    words += [p + letter for letter in string.ascii_lowercase for p in ("", "##")]
    return t.BertTokenizerFast(vocab={word: i for i, word in enumerate(words)})


def shaken(model: Any) -> Any:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def gpt2(tie: bool = True, size: int = 400) -> Any:
    config = t.GPT2Config(
        vocab_size=size,
        n_embd=24,
        n_layer=2,
        n_head=4,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=tie,
    )
    return shaken(t.GPT2LMHeadModel(config))


def of(kind: Any, config: Any, **settings: Any) -> Any:
    return shaken(kind(config(**SIZES | settings)))


CASES: dict[str, tuple[Any, Any]] = {
    "bert": (
        word_pieces,
        lambda n: of(t.BertForSequenceClassification, t.BertConfig, vocab_size=n),
    ),
    "distilbert": (
        word_pieces,
        lambda n: shaken(
            t.DistilBertForSequenceClassification(
                t.DistilBertConfig(vocab_size=n, dim=24, n_layers=2, n_heads=4, hidden_dim=20)
            )
        ),
    ),
    "electra": (
        word_pieces,
        lambda n: of(t.ElectraForSequenceClassification, t.ElectraConfig, vocab_size=n),
    ),
    "roberta": (
        roberta_tokenizer,
        lambda n: of(
            *(t.RobertaForSequenceClassification, t.RobertaConfig),
            **{"vocab_size": n, "max_position_embeddings": 64},
        ),
    ),
    "gpt2": (gpt2_tokenizer, lambda n: gpt2(size=n)),
}
EVERY = pytest.mark.parametrize(("tokenizer", "model"), CASES.values(), ids=CASES)


def ids(tokenizer: Any, *texts: str) -> set[int]:
    return {i for text in texts for i in tokenizer(text)["input_ids"]}


def apart(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


def batch(tokenizer: Any, texts: list[str]) -> dict[str, Tensor]:
    return dict(tokenizer(texts, padding=True, return_tensors="pt"))


# --- every family -----------------------------------------------------------------------------


@EVERY
def test_a_text_of_kept_tokens_is_split_and_answered_as_before(tokenizer, model):
    tokenizer = tokenizer()
    model = model(len(tokenizer))
    texts = ["the great film", "films", "the film the film"]
    kept = ids(tokenizer, *texts)
    small, fewer = prune_vocabulary(model, tokenizer, kept)
    assert small.config.vocab_size == len(fewer) == len(small.vocabulary) < len(tokenizer)
    assert kept <= set(small.vocabulary)
    assert [fewer.tokenize(text) for text in texts] == [tokenizer.tokenize(text) for text in texts]
    old, new = batch(tokenizer, texts), batch(fewer, texts)
    # each row of the table is the old one
    assert torch.equal(torch.tensor(small.vocabulary)[new["input_ids"]], old["input_ids"])
    assert torch.equal(new["attention_mask"], old["attention_mask"])
    with torch.inference_mode():
        said, before = small(**new).logits, model(**old).logits
    if said.ndim == 3:  # a language model: only where there is text, and only the kept columns
        real = old["attention_mask"].bool()
        said, before = said[real], before[real][:, small.vocabulary]
    assert apart(said, before) < 1e-5


@EVERY
def test_with_all_tokens_nothing_changes(tokenizer, model):
    tokenizer = tokenizer()
    model = model(len(tokenizer))
    small, same = prune_vocabulary(model, tokenizer, range(len(tokenizer)))
    texts = [CORPUS[1][:30], "xyz!", "The films"]
    assert batch(same, texts)["input_ids"].tolist() == batch(tokenizer, texts)["input_ids"].tolist()
    assert small.vocabulary == list(range(len(tokenizer)))
    assert apart(answer(small, batch(same, texts)), answer(model, batch(tokenizer, texts))) == 0


@EVERY
def test_without_any_token_a_text_is_split_into_its_letters(tokenizer, model):
    tokenizer = tokenizer()
    small, least = prune_vocabulary(model(len(tokenizer)), tokenizer, [])
    assert [piece.strip("#Ġ") for piece in least.tokenize("film")] == list("film")
    assert least.unk_token_id not in least("thefilm", add_special_tokens=False)["input_ids"]
    assert small.get_input_embeddings().num_embeddings == len(least)
    assert small(**batch(least, ["the film", "films and films"])).logits.isfinite().all()


@EVERY
def test_special_tokens_padding_and_templates_get_their_new_numbers(tokenizer, model):
    tokenizer = tokenizer()
    small, fewer = prune_vocabulary(model(len(tokenizer)), tokenizer, [])
    assert fewer.special_tokens_map == tokenizer.special_tokens_map
    for token in tokenizer.all_special_tokens:
        old, new = tokenizer.convert_tokens_to_ids(token), fewer.convert_tokens_to_ids(token)
        assert small.vocabulary[new] == old
    for text, other in (("the", None), ("the", "film")):
        old, new = tokenizer(text, other)["input_ids"], fewer(text, other)["input_ids"]
        frame = set(tokenizer.all_special_ids)
        assert [small.vocabulary[i] for i in new if small.vocabulary[i] in frame] == [
            i for i in old if i in frame
        ]
    for end in ("pad", "bos", "eos"):
        place = getattr(small.config, f"{end}_token_id")
        if place is not None and place < len(small.vocabulary):
            old = getattr(model(len(tokenizer)).config, f"{end}_token_id")
            assert small.vocabulary[place] == old
    padding = small.get_input_embeddings().padding_idx
    assert padding is None or small.vocabulary[padding] == tokenizer.pad_token_id


@EVERY
def test_pruned_twice_the_vocabulary_still_names_the_first_ids(tokenizer, model):
    tokenizer = tokenizer()
    model = model(len(tokenizer))
    kept = ids(tokenizer, "the great film")
    once, fewer = prune_vocabulary(model, tokenizer, kept | ids(tokenizer, *CORPUS))
    twice, fewest = prune_vocabulary(once, fewer, ids(fewer, "the great film"))
    direct, expected = prune_vocabulary(model, tokenizer, kept)
    assert twice.vocabulary == direct.vocabulary
    assert fewest.get_vocab() == expected.get_vocab()
    assert original_parameters(twice) == sum(p.numel() for p in model.parameters())
    states = zip(twice.state_dict().values(), direct.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)


@EVERY
def test_the_tokenizer_is_saved_and_read_again(tokenizer, model, tmp_path):
    tokenizer = tokenizer()
    small, fewer = prune_vocabulary(model(len(tokenizer)), tokenizer, ids(tokenizer, "the film"))
    fewer.save_pretrained(tmp_path)
    small.config.save_pretrained(tmp_path)
    again = t.AutoTokenizer.from_pretrained(tmp_path)
    texts = [*CORPUS, "the film", "THE FILM", "#1 & $2"]
    assert again(texts)["input_ids"] == fewer(texts)["input_ids"]
    assert again.get_vocab() == fewer.get_vocab()
    assert again.all_special_ids == fewer.all_special_ids


@EVERY
def test_both_arguments_are_left_alone(tokenizer, model):
    tokenizer = tokenizer()
    model = model(len(tokenizer))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    words, config = tokenizer.get_vocab(), model.config.to_dict()
    prune_vocabulary(model, tokenizer, [])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert (tokenizer.get_vocab(), model.config.to_dict()) == (words, config)
    assert not hasattr(model, "vocabulary")


@EVERY
def test_heads_layers_and_words_in_any_order(tokenizer, model):
    tokenizer = tokenizer()
    model = model(len(tokenizer))
    kept, keep = ids(tokenizer, "the film"), {"layer.1.heads": [2], "layer.0.ffn": [0, 3, 5]}
    a: Any = prune_vocabulary(remove_layers(remove(model, keep), [0, 1]), tokenizer, kept)[0]
    words, fewer = prune_vocabulary(model, tokenizer, kept)
    b: Any = remove_layers(remove(words, keep), [0, 1])  # type: ignore[arg-type]
    assert a.vocabulary == b.vocabulary
    x = batch(fewer, ["the film"])
    assert apart(answer(a, x), answer(b, x)) == 0


# --- language models --------------------------------------------------------------------------


def masked_lms() -> dict[str, Any]:
    distilbert = {"dim": 24, "n_layers": 1, "n_heads": 4, "hidden_dim": 20}
    return {
        "bert": lambda **s: of(t.BertForMaskedLM, t.BertConfig, **s),
        "electra": lambda **s: of(t.ElectraForMaskedLM, t.ElectraConfig, embedding_size=12, **s),
        "distilbert": lambda **s: shaken(
            t.DistilBertForMaskedLM(t.DistilBertConfig(**distilbert | s))
        ),
    }


@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("name", masked_lms())
def test_the_columns_of_a_masked_language_model(name, tie, tmp_path):
    tokenizer = word_pieces()
    model = masked_lms()[name](vocab_size=len(tokenizer), tie_word_embeddings=tie)
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tie
    small: Any
    small, fewer = prune_vocabulary(model, tokenizer, ids(tokenizer, "the film"))
    old, new = batch(tokenizer, ["the [MASK] film"]), batch(fewer, ["the [MASK] film"])
    with torch.inference_mode():
        before = model(**old).logits[..., small.vocabulary]
        assert apart(small(**new).logits, before) < 1e-5
    assert (small.get_output_embeddings().weight is small.get_input_embeddings().weight) == tie
    assert small.get_output_embeddings().out_features == len(fewer)
    # its own loss knows the new number of words
    assert small(**new, labels=new["input_ids"]).loss.isfinite()
    # an untied head has a second bias, which must not stay long
    again = load(save(small, tmp_path / "smaller"))
    with torch.inference_mode():
        assert apart(again(**new).logits, before) < 1e-5


def test_roberta_as_a_masked_language_model():
    tokenizer = roberta_tokenizer()
    settings = {"vocab_size": len(tokenizer), "max_position_embeddings": 64}
    model = of(t.RobertaForMaskedLM, t.RobertaConfig, **settings)
    small, fewer = prune_vocabulary(model, tokenizer, ids(tokenizer, "the film"))
    texts = ["the<mask> film", "the"]  # padding counts: positions begin behind it
    old, new = batch(tokenizer, texts), batch(fewer, texts)
    with torch.inference_mode():
        before = model(**old).logits[..., small.vocabulary]  # type: ignore[union-attr]
        assert apart(small(**new).logits, before) < 1e-5


@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
def test_gpt2_goes_on_with_kept_words(tie):
    tokenizer = gpt2_tokenizer()
    model = gpt2(tie, len(tokenizer))
    small: Any
    small, fewer = prune_vocabulary(model, tokenizer, ids(tokenizer, *CORPUS))
    x = batch(fewer, ["the film"])
    said = small.generate(**x, max_new_tokens=6, do_sample=False)
    assert said.max() < len(fewer)
    by_hand = torch.tensor(small.vocabulary)[x["input_ids"]]
    for _ in range(said.shape[1] - by_hand.shape[1]):
        with torch.inference_mode():
            logits = model(by_hand).logits[:, -1:, small.vocabulary]
        by_hand = torch.cat([by_hand, torch.tensor(small.vocabulary)[logits.argmax(-1)]], 1)
    assert torch.tensor(small.vocabulary)[said].tolist() == by_hand.tolist()


# --- the real WordPiece -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm() -> tuple[Any, Any]:
    return load_encoder(), load_tokenizer()


def test_minilm_with_the_words_of_two_reviews(minilm):
    model, tokenizer = minilm
    texts = ["A truly great movie, unwatchable it was NOT!", "I've seen (far) worse; 7/10."]
    small, fewer = prune_vocabulary(model, tokenizer, ids(tokenizer, *texts))
    assert len(fewer) == small.config.vocab_size < 200
    assert [fewer.tokenize(text) for text in texts] == [tokenizer.tokenize(text) for text in texts]
    assert apart(answer(small, batch(fewer, texts)), answer(model, batch(tokenizer, texts))) < 1e-5
    strange = "Zzyzx! qwertyuiop #hashtag <b>100%</b> e-mail@x.org ~^`|\\"
    assert fewer.unk_token not in fewer.tokenize(strange)
    assert "".join(p.removeprefix("##") for p in fewer.tokenize(strange)) == "".join(
        p.removeprefix("##") for p in tokenizer.tokenize(strange)
    )
    # what no single letter is kept for is unknown, and no crash
    assert fewer.tokenize("☃ 漢字 naïve")[:3] == ["[UNK]"] * 3
    assert (fewer.model_max_length, fewer.padding_side) == (512, "right")
    assert fewer.tokenize("GREAT") == ["great"]  # still in lower case


@settings(max_examples=25)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_no_ascii_text_is_unknown_and_none_is_lost(text):
    tokenizer, fewer = least_of_minilm()
    pieces = fewer.tokenize(text)
    assert fewer.unk_token not in pieces or "[unk]" in text.lower()
    assert joined(pieces) == joined(tokenizer.tokenize(text))


def joined(pieces: list[str]) -> str:
    return "".join(piece.removeprefix("##") for piece in pieces).lower()


def least_of_minilm(cache: list[Any] = []) -> tuple[Any, Any]:  # noqa: B006
    if not cache:
        tokenizer = load_tokenizer()
        model = t.BertModel(
            t.BertConfig(
                vocab_size=30_522, hidden_size=4, num_hidden_layers=1, num_attention_heads=1
            )
        )
        cache += [tokenizer, prune_vocabulary(model, tokenizer, [])[1]]
    return cache[0], cache[1]


# --- byte-level BPE ---------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.text(max_size=20), st.sampled_from(CORPUS))
def test_bytes_are_never_lost(text, seen):
    tokenizer = BYTES
    fewer = prune_vocabulary(BYTES_MODEL, tokenizer, ids(tokenizer, seen))[1]
    assert fewer.tokenize(seen) == tokenizer.tokenize(seen)
    assert fewer.decode(fewer(text + seen)["input_ids"]) == text + seen


BYTES, BYTES_MODEL = gpt2_tokenizer(), gpt2(size=len(gpt2_tokenizer()))


def test_only_the_merges_that_lead_to_kept_tokens_are_left():
    film = BYTES.convert_tokens_to_ids("Ġfilm")
    fewer = prune_vocabulary(BYTES_MODEL, BYTES, [film])[1]
    spec = json.loads(fewer.backend_tokenizer.to_str())["model"]
    assert {left + right for left, right in spec["merges"]} <= {
        "Ġf",
        "il",
        "Ġfi",
        "ilm",
        "Ġfil",
        "Ġfilm",
    }
    assert fewer.tokenize(" film") == ["Ġfilm"]
    assert fewer.tokenize(" films") != ["Ġfilms"]


# --- ids outside, and errors ------------------------------------------------------------------


def test_special_ids_that_lie_outside_the_model_are_left_as_they_are():
    """GPT-2's config names 50256, whatever the size of its table."""
    tokenizer = gpt2_tokenizer()
    config = t.GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=2)
    small = prune_vocabulary(t.GPT2LMHeadModel(config), tokenizer, [5])[0]
    assert small.config.eos_token_id == 50256
    config.pad_token_id = -1
    assert prune_vocabulary(t.GPT2Model(config), tokenizer, [5])[0].config.pad_token_id == -1


def test_several_ends_of_a_text_are_kept_and_renumbered():
    tokenizer = gpt2_tokenizer()
    model = gpt2(size=len(tokenizer))
    ends = [0, tokenizer.convert_tokens_to_ids("Ġfilm")]
    model.config.eos_token_id = model.generation_config.eos_token_id = ends
    small: Any = prune_vocabulary(model, tokenizer, [])[0]
    for config in (small.config, small.generation_config):
        assert [small.vocabulary[i] for i in config.eos_token_id] == ends
    assert model.generation_config.eos_token_id == ends


def test_a_token_for_padding_alone_is_kept():
    tokenizer = gpt2_tokenizer()
    tokenizer.backend_tokenizer.enable_padding(pad_id=301, pad_token="Ġfilm")
    small, _ = prune_vocabulary(gpt2(size=len(tokenizer)), tokenizer, [])
    assert 301 in small.vocabulary


def test_a_model_without_words_is_refused():
    with pytest.raises(ValueError, match=r"ViTForImageClassification reads no text.*no vocabulary"):
        prune_vocabulary(tiny("vit"), word_pieces(), [1])
    with pytest.raises(TypeError, match=r"Got a LeNet300; only transformers models have a vocab"):
        prune_vocabulary(LeNet300(), word_pieces(), [1])  # type: ignore[arg-type]


@pytest.mark.parametrize("tokens", [[-1], [5, 40], torch.tensor([99])])
def test_ids_that_the_model_does_not_have_are_refused(tokens):
    with pytest.raises(
        ValueError, match=r"Got ids from .* to .*; the model has 0 to 39\. Take them"
    ):
        prune_vocabulary(tiny("bert"), word_pieces(), tokens)


def test_an_added_token_without_a_row_is_refused():
    tokenizer = word_pieces()
    model: Any = CASES["bert"][1](len(tokenizer))
    tokenizer.add_tokens(["[NEW]"])
    with pytest.raises(ValueError, match=r"'\[NEW\]' beyond the model's 61 rows.*resize_token_emb"):
        prune_vocabulary(model, tokenizer, [1])
    model.resize_token_embeddings(len(tokenizer))
    small, fewer = prune_vocabulary(model, tokenizer, [1])
    assert fewer.tokenize("[NEW]a") == tokenizer.tokenize("[NEW]a")
    assert len(fewer.tokenize("[NEW]a")) == 2
    assert small.config.vocab_size == len(fewer)


def test_other_kinds_of_tokenizers_are_refused():
    model = tiny("bert")
    with pytest.raises(TypeError, match="Got str; expected a fast tokenizer"):
        prune_vocabulary(model, "bert-base-uncased", [1])
    levels = tk.Tokenizer(tk.models.WordLevel({"<unk>": 0, "a": 1}, "<unk>"))
    ended = tk.Tokenizer(tk.models.BPE({"a</w>": 0}, [], end_of_word_suffix="</w>"))
    for inner, kind in ((levels, "WordLevel"), (ended, "BPE")):
        tokenizer = t.PreTrainedTokenizerFast(tokenizer_object=inner)
        with pytest.raises(TypeError, match=f"is a {kind}; expected WordPiece, Unigram or byte"):
            prune_vocabulary(model, tokenizer, [0])


def test_roberta_keeps_what_lies_below_its_padding():
    tokenizer = roberta_tokenizer()
    settings = {"vocab_size": len(tokenizer), "pad_token_id": 300, "max_position_embeddings": 400}
    model = of(t.RobertaModel, t.RobertaConfig, **settings)
    with pytest.raises(ValueError, match="RobertaModel counts positions from its padding"):
        prune_vocabulary(model, tokenizer, [5])


def test_a_frozen_table_stays_frozen_and_types_are_kept():
    tokenizer = word_pieces()
    model: Any = CASES["bert"][1](len(tokenizer)).to(torch.bfloat16).train()
    model.get_input_embeddings().weight.requires_grad_(False)
    small: Any = prune_vocabulary(model, tokenizer, [1])[0]
    assert not small.get_input_embeddings().weight.requires_grad
    assert small.dtype == torch.bfloat16
    assert small.training
    assert isinstance(small.get_input_embeddings(), nn.Embedding)


def unigram() -> Any:
    tokenizer = tk.Tokenizer(tk.models.Unigram())
    tokenizer.pre_tokenizer = tk.pre_tokenizers.Metaspace()
    tokenizer.decoder = tk.decoders.Metaspace()
    trainer = tk.trainers.UnigramTrainer(
        vocab_size=90, special_tokens=ROBERTA, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    tokenizer.post_processor = tk.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = dict(zip(("bos", "pad", "eos", "unk", "mask"), ROBERTA, strict=True))
    return t.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{name}_token": token for name, token in names.items()}
    )


def test_a_unigram_tokenizer_splits_what_it_kept_as_before():
    tokenizer = unigram()
    torch.manual_seed(0)
    config = t.XLMRobertaConfig(
        **(SIZES | {"vocab_size": len(tokenizer), "max_position_embeddings": 99})
    )
    model: Any = t.XLMRobertaForSequenceClassification(config).eval()
    text = CORPUS[1]
    small, fewer = prune_vocabulary(model, tokenizer, tokenizer(text)["input_ids"])
    assert len(fewer) == small.config.vocab_size < len(tokenizer)
    assert fewer.tokenize(text) == tokenizer.tokenize(text)
    assert small.config.pad_token_id == fewer.pad_token_id == 1
    with torch.inference_mode():
        before, after = (
            m(**words(text, return_tensors="pt")).logits
            for m, words in ((model, tokenizer), (small, fewer))
        )
    assert torch.equal(before, after)
    assert fewer.decode(fewer(CORPUS[0])["input_ids"], skip_special_tokens=True) == CORPUS[0]
