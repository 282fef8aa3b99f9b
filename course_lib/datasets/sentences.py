"""Real sentences with human ratings: movie reviews in three fixed parts, and a transfer set."""

from __future__ import annotations

import html
import re
import tarfile
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from sklearn.model_selection import train_test_split

from course_lib.datasets import sources

LABELS = ["negative", "positive"]
NEUTRAL = 0.5  # on a scale from −4 to 4; a mean rating up to here has no clear side

MOVIES, AMAZON, NYT, TWEETS = (
    "movieReviewSnippets",
    "amazonReviewSnippets",
    "nytEditorialSnippets",
    "tweets",
)


@dataclass(frozen=True)
class Rated:
    """A sentence and its mean rating by some twenty people, −4 (negative) … 4 (positive)."""

    text: str
    rating: float


@dataclass(frozen=True)
class Selection:
    """Which of a source's sentences were kept, and how many were dropped for which reason."""

    kept: list[Rated]
    read: int
    near_neutral: int
    duplicates: int

    def __repr__(self) -> str:
        positive = sum(sentence.rating > 0 for sentence in self.kept)
        return (
            f"{self.read:,} sentences read, {self.near_neutral:,} near-neutral and "
            f"{self.duplicates:,} duplicate ones dropped, {len(self.kept):,} kept "
            f"({positive:,} positive)"
        )


def reviews() -> DatasetDict:
    """10,041 sentences from movie reviews: 7,241 to train, 800 to validate, 2,000 to test.

    The sentences are from Rotten Tomatoes (Pang & Lee 2005), rated anew by some twenty people each
    (Hutto & Gilbert 2014, *VADER*, section 3.3). The label is the side of the mean rating; sentences
    within 0.5 of neutral and repeated ones are left out (`reviews_selection` counts them). The parts
    are stratified and fixed by a seed, and no sentence is in two of them. Explained in lesson 3.

    Returns:
        ``train``, ``validation`` and ``test``, each with the columns ``text`` (str) and ``label``
        (0 negative, 1 positive).

    Raises:
        FileNotFoundError: the archive is not there, and could not be fetched; says what to do.

    Example:
        >>> {part: len(sentences) for part, sentences in reviews().items()}
        {'train': 7241, 'validation': 800, 'test': 2000}
    """
    kept = reviews_selection().kept
    rest, test = train_test_split(
        kept, test_size=2000, stratify=[_label(s) for s in kept], random_state=0
    )
    train, validation = train_test_split(
        rest, test_size=800, stratify=[_label(s) for s in rest], random_state=0
    )
    parts = {"train": train, "validation": validation, "test": test}
    return DatasetDict({name: labeled(part) for name, part in parts.items()})


def reviews_selection() -> Selection:
    """The movie sentences that `reviews` is made of, and how many were dropped for which reason.

    Example:
        >>> reviews_selection()  # doctest: +NORMALIZE_WHITESPACE
        10,605 sentences read, 562 near-neutral and 2 duplicate ones dropped, 10,041 kept
        (4,981 positive)
    """
    return select(read_sentences(MOVIES))


def amazon_test() -> Dataset:
    """Sentences from reviews of five electronic products: a test outside of the movies' domain.

    Columns and errors as in `reviews`. Hu & Liu 2004, rated by Hutto & Gilbert 2014. None of
    them is in `transfer_set`. Explained in lesson 3.
    """
    # '' is a sentence of signs alone, such as "!"
    others = {""} | normalized_texts(*reviews().values())
    kept = select(read_sentences(AMAZON)).kept
    return labeled([s for s in kept if normalized(s.text) not in others])


def transfer_set() -> Dataset:
    """Sentences without labels, which a teacher can label softly: the one column is ``text``.

    The near-neutral movie sentences, 5,190 from newspaper editorials, and the two halves of each
    longer training sentence: half a sentence often has another mood than the whole, and only a
    teacher can tell. No sentence of the validation or test part or of `amazon_test` is among them,
    and none comes twice. Explained in lesson 3.

    Raises:
        FileNotFoundError: the archive is not there, and could not be fetched; says what to do.

    Example:
        >>> transfer_set().column_names
        ['text']
    """
    parts = reviews()
    near_neutral = [s.text for s in read_sentences(MOVIES) if abs(s.rating) <= NEUTRAL]
    editorials = [s.text for s in read_sentences(NYT)]
    halves = [half for sentence in parts["train"]["text"][:] for half in _halves(sentence)]
    seen = normalized_texts(*parts.values(), amazon_test())
    kept = []
    for line in near_neutral + editorials + halves:
        key = normalized(line)
        if key and key not in seen:
            kept.append(line)
            seen.add(key)
    return Dataset.from_dict({"text": kept})


def select(sentences: Iterable[Rated], neutral: float = NEUTRAL) -> Selection:
    """Drop near-neutral sentences (\\|rating\\| ≤ `neutral`) and those that came before.

    Two sentences are the same when they are so once `normalized`; the first one stays.

    Example:
        >>> select([Rated("Good!", 2.0), Rated("good", 1.0), Rated("So so.", 0.1)])
        3 sentences read, 1 near-neutral and 1 duplicate ones dropped, 1 kept (1 positive)
    """
    sentences = list(sentences)
    clear = [s for s in sentences if abs(s.rating) > neutral]
    first: dict[str, Rated] = {}
    for sentence in clear:
        first.setdefault(normalized(sentence.text), sentence)
    kept = list(first.values())
    return Selection(
        kept=kept,
        read=len(sentences),
        near_neutral=len(sentences) - len(clear),
        duplicates=len(clear) - len(kept),
    )


def normalized(text: str) -> str:
    """The words of a text alone: no case, punctuation or spacing. What counts as "the same".

    Example:
        >>> normalized("...a  pretentious Mess...")
        'a pretentious mess'
    """
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def normalized_texts(*parts: Dataset) -> set[str]:
    """Every text of these datasets, `normalized`: a new text among them is none. Explained in lesson 3.

    Example:
        >>> normalized_texts(Dataset.from_dict({"text": ["Good!", "good"]}))
        {'good'}
    """
    return {normalized(line) for part in parts for line in part["text"][:]}


def read_sentences(source: str) -> list[Rated]:
    """All sentences of one of the archive's sources, in its order.

    Raises:
        FileNotFoundError: the archive is not there, and could not be fetched; says what to do.
    """
    archive = sources.source_folder("reviews") / sources.REVIEWS_ARCHIVE
    lines = read_member(archive, f"{source}_GroundTruth.txt").split("\r\n")
    rows = [line.split("\t") for line in lines if line.strip()]  # id, rating, text
    return [Rated(html.unescape(text).strip(), float(rating)) for _, rating, text in rows]


def read_member(archive: Path, name: str) -> str:
    """The text of the file called `name`, in whichever folder of a tar archive it lies.

    It is read in place: nothing is written to disk. An archive that holds something which would
    leave its folder when unpacked is refused all the same.

    Raises:
        ValueError: such a member (an absolute path, ``..``, a link or a device), or no `name`.
    """
    found = None
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            # Both kinds of slashes and "C:" count: someone may unpack it on Windows.
            path = PurePosixPath(member.name.replace("\\", "/"))
            leaves = path.is_absolute() or ".." in path.parts or ":" in member.name
            if leaves or not (member.isfile() or member.isdir()):
                raise ValueError(
                    f"{archive.name} holds {member.name!r}, which could leave the folder it is "
                    "unpacked to. This is not the archive that the course uses; delete it."
                )
            if member.isfile() and path.name == name:
                found = tar.extractfile(member).read()  # type: ignore[union-attr]
    if found is None:
        raise ValueError(f"{archive.name} holds no file {name}.")
    return found.decode("utf-8")


def _label(sentence: Rated) -> int:
    return int(sentence.rating > 0)


def _halves(sentence: str) -> list[str]:
    words = sentence.split()
    middle = len(words) // 2
    return [" ".join(words[:middle]), " ".join(words[middle:])] if len(words) >= 6 else []


def labeled(sentences: Iterable[Rated]) -> Dataset:
    """A dataset as `reviews` has them: the label is the side of the rating.

    Example:
        >>> labeled([Rated("Good!", 2.0)])[0]
        {'text': 'Good!', 'label': 1}
    """
    rows = [{"text": sentence.text, "label": _label(sentence)} for sentence in sentences]
    features = Features({"text": Value("string"), "label": ClassLabel(names=LABELS)})
    return Dataset.from_list(rows, features=features)
