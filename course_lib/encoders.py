"""A pretrained encoder, its tokeniser, and small students for text that read the same batches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import torch.nn.functional as F
import transformers
from datasets import Dataset
from huggingface_hub import constants as hub
from torch import Tensor, nn

from course_lib import data

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
PAD, UNKNOWN = 0, 1  # rows of a student's embedding table
HUB_SECONDS = 3.0  # how long the Hub may take to say anything at all


def load_encoder(name: str = MINILM, num_labels: int = 2, seed: int = 0) -> nn.Module:
    """A pretrained encoder under a new classifier: a plain `transformers` model, in eval mode.

    The default, MiniLM-L6 (Wang et al. 2020; BERT's architecture, 22.7 M parameters), comes inside a
    pip package: no network is used and its checksum is verified. No pickle is read and no code from
    outside is run. Explained in lesson 3.

    Args:
        name: `MINILM` (default), a folder that `save_pretrained` wrote, or a model on the Hub.
        num_labels: classes (default 2).
        seed: the classifier's initial weights (default 0); the global seed is left as it was.

    Raises:
        ConnectionError: `name` is on the Hub, which is not reached, and is not in its cache either.
            Comes within 10 s and says how to go on offline.
        ValueError: the packaged weights are damaged.

    Example:
        >>> sum(p.numel() for p in load_encoder().parameters())
        22713986
    """
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(seed)
        auto = transformers.AutoModelForSequenceClassification
        return load_pretrained(auto, name, num_labels=num_labels, use_safetensors=True).eval()


def load_tokenizer(name: str = MINILM) -> Any:
    """The tokeniser that belongs to `load_encoder(name)`; the same names, the same errors.

    Example:
        >>> load_tokenizer().tokenize("unwatchable")
        ['un', '##watch', '##able']
    """
    with quiet():
        return load_pretrained(transformers.AutoTokenizer, name)


def load_pretrained(auto: Any, name: str, **settings: Any) -> Any:
    """``auto.from_pretrained(name, **settings)``, which without a Hub does not wait for half a minute.

    Code that comes with a model is never run.

    Args:
        auto: a class of `transformers`, such as ``AutoConfig``.
        name: as in `load_encoder`, with the same errors.
        settings: of `from_pretrained`.

    Example:
        >>> load_pretrained(transformers.AutoConfig, MINILM).hidden_size
        384
    """
    settings["trust_remote_code"] = False  # else transformers asks, and waits for an answer
    if name == MINILM:
        return auto.from_pretrained(data.minilm(), **settings)
    if Path(name).is_dir() or _hub_answers(name):
        return auto.from_pretrained(name, **settings)
    try:  # what was once loaded is still in the Hub's own cache
        return auto.from_pretrained(name, local_files_only=True, **settings)
    except OSError as error:
        raise ConnectionError(
            f"The Hugging Face Hub ({hub.ENDPOINT}) is not reached, and {name!r} is neither a folder "
            f"here nor in the Hub's cache. To go on offline, name a folder that save_pretrained "
            f"wrote. Or leave the name out of load_encoder and load_tokenizer: the default, {MINILM}, "
            "came with the course."
        ) from error


def tokenize(dataset: Dataset, tokenizer: Any, max_length: int = 64, text: str = "text") -> Dataset:
    """The dataset as token ids, ready for `training.fit`. Padding is left to the batches.

    Explained in lesson 3. For ``load_dataset("stanfordnlp/sst2")["train"]``: ``text="sentence"``.

    Args:
        dataset: has the column named by `text` and, unless it is unlabelled, ``label``.
        tokenizer: of the teacher; the students read the same ids.
        max_length: longer texts are cut to so many tokens (default 64).
        text: the column that holds the text (default "text").

    Returns:
        Columns ``input_ids`` and ``attention_mask`` (lists of int, as long as the text) and, where
        there are labels, ``labels``. Segment numbers (``token_type_ids``) are left out where all are
        0, which is what models take for granted.

    Raises:
        ValueError: there is no such column.

    Example:
        >>> rows = Dataset.from_dict({"text": ["Great!"], "label": [1]})
        >>> tokenize(rows, load_tokenizer())[0]
        {'input_ids': [101, 2307, 999, 102], 'attention_mask': [1, 1, 1, 1], 'labels': 1}
    """
    if text not in dataset.column_names:
        raise ValueError(
            f"There is no column {text!r} among {dataset.column_names}; name the one that holds the "
            'text, as in tokenize(…, text="sentence").'
        )
    columns = dict(tokenizer(list(dataset[text][:]), truncation=True, max_length=max_length))
    if not any(any(row) for row in columns.get("token_type_ids", ())):
        columns.pop("token_type_ids", None)
    if "label" in dataset.column_names:
        columns["labels"] = list(dataset["label"][:])
    return Dataset.from_dict(columns)


def tokens_seen(*datasets: Dataset, at_least: int = 2) -> Tensor:
    """The token ids that occur `at_least` times in tokenised datasets, sorted: ``[tokens]``, int64.

    A student needs no embeddings for tokens it cannot learn. Explained in lesson 3.

    Example:
        >>> tokens_seen(Dataset.from_dict({"input_ids": [[101, 7, 7, 102], [101, 9, 102]]}))
        tensor([  7, 101, 102])
    """
    ids = [torch.tensor(row) for dataset in datasets for row in dataset["input_ids"][:]]
    tokens, counts = torch.cat(ids).unique(return_counts=True)
    return tokens[counts >= at_least]


class SmallVocabulary(nn.Module):
    """Embeddings of a few of the teacher's tokens; all others share one row.

    The teacher's ids come in and are translated here, so that the very same batches feed teacher
    and student. Explained in lesson 3.

    Args:
        tokens: the teacher's ids to keep, as `tokens_seen` gives them.
        width: numbers in an embedding (default 64).

    Shapes: ids ``[n, length]`` → embeddings ``[n, length, width]``. Padding (id 0) is a zero vector.

    Example:
        >>> SmallVocabulary(torch.tensor([7, 102]), width=3)(torch.tensor([[7, 9, 0]])).shape
        torch.Size([1, 3, 3])
    """

    rows: Tensor

    def __init__(self, tokens: Tensor, width: int = 64) -> None:
        super().__init__()
        tokens = tokens[tokens != PAD]
        # A table from the teacher's id to our row, one longer than its largest id: beyond is unknown.
        rows = torch.full((int(tokens.max()) + 2,), UNKNOWN, dtype=torch.int32)
        rows[PAD] = PAD
        rows[tokens] = torch.arange(2, len(tokens) + 2, dtype=torch.int32)
        self.register_buffer("rows", rows)
        self.embedding = nn.Embedding(len(tokens) + 2, width, padding_idx=PAD)
        # PyTorch's own start has a deviation of 1: with so little text it stays noise, and costs
        # some five points of accuracy.
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.zeros_(self.embedding.weight.data[PAD])

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.embedding(self.rows[input_ids.clamp(max=len(self.rows) - 1)])


class TextCNN(nn.Module):
    """Convolutions over 3, 4 and 5 words, the largest answer of each, and one linear layer.

    After Kim 2014, *Convolutional neural networks for sentence classification*, section 2. About
    0.6 M parameters over 8,500 tokens, nearly all of them embeddings. Explained in lesson 3.

    Args:
        tokens: the teacher's ids to keep, as `tokens_seen` gives them.
        width: of the embeddings (default 64).
        filters: for each of the three lengths (default 64).
        num_labels: classes (default 2).
        dropout: before the last layer (default 0.5, as in the paper).

    Shapes: ids and mask ``[n, length]`` → logits ``[n, num_labels]``. How much padding there is makes
    no difference.

    Example:
        >>> sum(p.numel() for p in TextCNN(torch.arange(1, 8501)).parameters())
        593858
    """

    SIZES = (3, 4, 5)

    def __init__(
        self,
        tokens: Tensor,
        width: int = 64,
        filters: int = 64,
        num_labels: int = 2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.words = SmallVocabulary(tokens, width)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, filters, size) for size in self.SIZES)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(3 * filters, num_labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_unused: Any
    ) -> Tensor:
        real = _real(input_ids, attention_mask)  # [n, length]
        # Zeros where there is padding: what a window sees beyond the end is then always the same.
        x = (self.words(input_ids) * real.unsqueeze(-1)).transpose(1, 2)  # [n, width, length]
        answers = []
        for size, convolution in zip(self.SIZES, self.convolutions, strict=True):
            # One window begins at each token; those that begin in the padding do not count.
            y = convolution(F.pad(x, (0, size - 1)))  # [n, filters, length]
            answers.append(F.relu(y.masked_fill(~real.unsqueeze(1), -torch.inf).amax(-1)))
        return self.classifier(self.dropout(torch.cat(answers, -1)))  # [n, num_labels]


class BagOfEmbeddings(nn.Module):
    """The mean of the words' embeddings, and one linear layer: word order is not looked at.

    After Joulin et al. 2017 (*fastText*), section 2. Arguments and shapes as in `TextCNN`; 0.54 M
    parameters over 8,500 tokens. Explained in lesson 3.

    Example:
        >>> sum(p.numel() for p in BagOfEmbeddings(torch.arange(1, 8501)).parameters())
        544258
    """

    def __init__(
        self, tokens: Tensor, width: int = 64, num_labels: int = 2, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.words = SmallVocabulary(tokens, width)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_unused: Any
    ) -> Tensor:
        real = _real(input_ids, attention_mask).unsqueeze(-1)  # [n, length, 1]
        mean = (self.words(input_ids) * real).sum(1) / real.sum(1).clamp(min=1)  # [n, width]
        return self.classifier(self.dropout(mean))


def _real(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Bool ``[n, length]``: where there is a token and no padding."""
    return input_ids != PAD if attention_mask is None else attention_mask.bool()


def _hub_answers(name: str) -> bool:
    """Whether the Hub says anything sound of a model within `HUB_SECONDS`; without asking,
    transformers waits 24 s."""
    if hub.HF_HUB_OFFLINE:
        return False
    answers: list[Any] = []

    def ask() -> None:
        try:
            config = f"{hub.ENDPOINT}/{name}/resolve/main/config.json"
            answer = huggingface_hub.get_session().head(config, timeout=HUB_SECONDS)
            if answer.status_code < 500:  # 404 and 401 are for the Hub's client to explain
                answers.append(answer)
        except Exception:  # whatever the reason is: not reached
            return

    # In a thread, for looking up the name has no time limit of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * HUB_SECONDS)
    return bool(answers)


@contextmanager
def quiet() -> Iterator[None]:
    """`transformers` without its progress bar and its list of new weights."""
    log = transformers.logging
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()
