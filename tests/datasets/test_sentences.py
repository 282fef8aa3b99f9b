"""The review sentences: which are kept, that the parts are fixed and apart, and a safe archive."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib import datasets
from course_lib.datasets import sentences, sources
from course_lib.datasets.sentences import Rated, normalized, select

# Of the test part's sentences and labels, in their order: numbers of years to come are comparable.
TEST_PART = "6dda0381f026e372"


def words(dataset) -> set[str]:
    return {normalized(sentence) for sentence in dataset["text"]}


@pytest.fixture(scope="module")
def parts():
    return datasets.reviews()


def test_the_parts_have_their_sizes_and_are_stratified(parts):
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 7241,
        "validation": 800,
        "test": 2000,
    }
    for part in parts.values():
        assert part.column_names == ["text", "label"]
        assert part.features["label"].names == ["negative", "positive"]
        assert sum(part["label"]) / len(part) == pytest.approx(4981 / 10041, abs=1e-3)


def test_the_parts_are_always_the_same(parts):
    rows = repr(list(zip(parts["test"]["text"], parts["test"]["label"], strict=True)))
    assert hashlib.sha256(rows.encode()).hexdigest()[:16] == TEST_PART


def test_no_sentence_is_in_two_parts(parts):
    seen = [words(part) for part in parts.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 10041


def test_the_dropped_ones_are_counted():
    selection = sentences.reviews_selection()
    assert selection.read == 10605
    assert selection.near_neutral + selection.duplicates + len(selection.kept) == selection.read
    assert all(abs(sentence.rating) > 0.5 for sentence in selection.kept)


def test_sentences_are_read_as_they_are_written(parts):
    everything = " ".join(part_text for part in parts.values() for part_text in part["text"])
    assert "clichés" in everything
    assert "Lovely & Amazing" in everything
    assert "�" not in everything
    assert "&amp;" not in everything


def test_the_transfer_set_has_no_labels_and_no_sentence_of_a_test(parts):
    transfer = datasets.transfer_set()
    assert transfer.column_names == ["text"]
    assert len(transfer) == len(words(transfer)) > 5000
    for held_out in (parts["test"], parts["validation"], datasets.amazon_test()):
        assert not words(transfer) & words(held_out)


def test_the_amazon_test_is_labeled_and_of_another_domain(parts):
    amazon = datasets.amazon_test()
    assert amazon.features == parts["test"].features
    assert len(amazon) > 1000
    assert set(amazon["label"]) == {0, 1}
    assert not words(amazon) & words(parts["train"])


@given(
    st.lists(
        st.builds(Rated, st.text("aB.! é", max_size=4), st.sampled_from([-3.0, -0.5, 0.5, 0.6]))
    )
)
def test_selecting_keeps_the_first_of_the_clear_ones(sentences):
    chosen = select(sentences)
    keys = [normalized(s.text) for s in chosen.kept]
    assert len(keys) == len(set(keys))
    clear = [s for s in sentences if abs(s.rating) > 0.5]
    assert set(keys) == {normalized(s.text) for s in clear}
    for key, sentence in zip(keys, chosen.kept, strict=True):
        assert sentence is next(s for s in clear if normalized(s.text) == key)
    assert chosen.read == chosen.near_neutral + chosen.duplicates + len(chosen.kept)
    assert [s for s in sentences if any(s is k for k in chosen.kept)] == chosen.kept  # in order


def test_what_normalizing_overlooks():
    assert normalized("  “It’s GREAT”,  it's great… ") == "it s great it s great"
    assert normalized("Straße ﬁne") == "strasse fine"
    assert normalized("...") == ""


@pytest.mark.parametrize("ask", [sentences.reviews, sentences.transfer_set, sentences.amazon_test])
def test_without_the_archive_the_error_says_how_to_fetch_it(cache_folder, empty_index, ask):
    with pytest.raises(FileNotFoundError, match=r"vaderSentiment[\s\S]*python -m course_lib fetch"):
        ask()


def test_a_damaged_archive_is_not_read(cache_folder, empty_index):
    archive = cache_folder / "sources" / "reviews" / sources.REVIEWS_ARCHIVE
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"not the archive")
    with pytest.raises(FileNotFoundError, match="damaged"):
        datasets.reviews()


def archive_with(path: Path, member: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info in (tarfile.TarInfo("folder/good.txt"), member):
            content = b"caf\xc3\xa9"
            info.size = len(content) if info.isfile() else 0
            tar.addfile(info, io.BytesIO(content) if info.isfile() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "hostile",
    [
        member("/etc/passwd"),
        member("../outside.txt"),
        member("folder/../../outside.txt"),
        member("..\\outside.txt"),
        member("C:\\outside.txt"),
        member("\\\\server\\outside.txt"),
        member("folder/link", tarfile.SYMTYPE, "/etc"),
        member("folder/link", tarfile.LNKTYPE, "../outside.txt"),
        member("folder/device", tarfile.CHRTYPE),
    ],
    ids=lambda info: f"{info.name}-{info.type.decode()}",
)
def test_a_hostile_archive_is_refused(tmp_path, hostile):
    archive = archive_with(tmp_path / "archive.tar.gz", hostile)
    with pytest.raises(ValueError, match="could leave the folder"):
        sentences.read_member(archive, "good.txt")
    assert list(tmp_path.iterdir()) == [archive]


def test_a_good_archive_is_read_in_place(tmp_path):
    archive = archive_with(tmp_path / "archive.tar.gz", member("folder/a..b.txt"))
    assert sentences.read_member(archive, "good.txt") == "café"
    assert sentences.read_member(archive, "a..b.txt") == "café"
    assert list(tmp_path.iterdir()) == [archive]
    with pytest.raises(ValueError, match=r"no file other\.txt"):
        sentences.read_member(archive, "other.txt")


def test_another_package_of_that_name_is_refused_before_its_code_runs(
    cache_folder, empty_index, tmp_path
):
    ran = tmp_path / "ran"
    setup = f"open({str(ran)!r}, 'w')\n".encode()
    with tarfile.open(empty_index / "vaderSentiment-3.3.2.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("vaderSentiment-3.3.2/setup.py")
        info.size = len(setup)
        tar.addfile(info, io.BytesIO(setup))
    with pytest.raises(FileNotFoundError, match="HASHES"):
        sentences.reviews()
    assert not ran.exists()
