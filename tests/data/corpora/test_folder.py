"""A corpus in a folder: what is read, and what is said when the files are not right."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.corpora.folder import FolderCorpus, count_lines, read_lines
from data.errors import UserError
from data.files import LONGEST
from data.pairs import Pair


def write(folder, **files):
    """Writes `en_train="..."` as en.train.txt; bytes or text."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, text in files.items():
        content = text if isinstance(text, bytes) else text.encode("utf-8")
        (folder / (key.replace("_", ".") + ".txt")).write_bytes(content)
    return folder


def test_pairs_come_in_order_with_documents(tmp_path):
    write(tmp_path, en_train="One.\nTwo.\n", de_train="Eins.\nZwei.\n", doc_train="a\nb\n")
    corpus = FolderCorpus(tmp_path)
    assert list(corpus.pairs("train")) == [Pair("One.", "Eins.", "a"), Pair("Two.", "Zwei.", "b")]
    assert corpus.splits() == ("train",)
    assert corpus.size("train") == 2
    assert corpus.size("test") is None
    assert corpus.has_documents


def test_direction_is_only_which_column_comes_first(tmp_path):
    write(tmp_path, en_train="One.\n", de_train="Eins.\n", fr_train="Un.\n")
    assert list(FolderCorpus(tmp_path, "de", "en").pairs("train")) == [Pair("Eins.", "One.")]
    assert list(FolderCorpus(tmp_path, "fr", "de").pairs("train")) == [Pair("Un.", "Eins.")]
    assert not FolderCorpus(tmp_path).has_documents


def test_only_newline_ends_a_line(tmp_path):
    odd = "a\u2028b\x85c\x0cd\x0be\x1cf\rg"
    write(tmp_path, en_train=f"{odd}\nlast", de_train="eins\nzwei\n")
    assert list(FolderCorpus(tmp_path).pairs("train")) == [Pair(odd, "eins"), Pair("last", "zwei")]


def test_windows_files_read_as_others(tmp_path):
    write(tmp_path, en_train=b"\xef\xbb\xbfOne\r\nTwo\r\n", de_train=b"Eins\nZwei\n")
    assert list(FolderCorpus(tmp_path).pairs("train")) == [Pair("One", "Eins"), Pair("Two", "Zwei")]


def test_empty_lines_are_kept(tmp_path):
    write(tmp_path, en_train="One\n\n\n", de_train="Eins\n\nDrei\n")
    assert list(FolderCorpus(tmp_path).pairs("train")) == [Pair("One", "Eins"), Pair("", ""), Pair("", "Drei")]


def test_bytes_that_are_not_utf8_name_file_and_line(tmp_path):
    write(tmp_path, en_train="One\nTwo\n", de_train=b"Eins\nZw\xf6lf\n")
    with pytest.raises(UserError, match=r"de\.train\.txt, line 2: not valid UTF-8 \(byte 0xf6 at byte 3"):
        list(FolderCorpus(tmp_path).pairs("train"))


@pytest.mark.parametrize(
    "files, counts",
    [
        ({"en_train": "a\nb\nc\n", "de_train": "a\n"}, ("3 lines", r"de\.train\.txt has 1")),
        ({"en_train": "a\n", "de_train": "a\nb\n"}, ("1 lines", r"de\.train\.txt has 2")),
        ({"en_train": "a\nb\n", "de_train": "a\nb\n", "doc_train": "1\n"}, ("2 lines", r"doc\.train\.txt has 1")),
    ],
)
def test_different_lengths_name_both_files_and_counts(tmp_path, files, counts):
    write(tmp_path, **files)
    with pytest.raises(UserError, match=rf"en\.train\.txt has {counts[0]} and {counts[1]}"):
        list(FolderCorpus(tmp_path).pairs("train"))


def test_missing_split_names_those_that_are_there(tmp_path):
    write(tmp_path, en_train="a\n", de_train="a\n", en_validation="a\n", de_validation="a\n", en_test="a\n")
    corpus = FolderCorpus(tmp_path, name="mine")
    with pytest.raises(UserError, match=r"en\.test\.txt exists, but de\.test\.txt is missing.*train, validation"):
        corpus.pairs("test")
    with pytest.raises(UserError, match="'mine' has no split 'dev'; it has: train, validation"):
        corpus.pairs("dev")
    with pytest.raises(UserError, match="'mine' has no split"):
        corpus.fingerprint("dev")


def test_empty_split_is_an_error(tmp_path):
    write(tmp_path, en_train="", de_train="")
    with pytest.raises(UserError, match="empty; put one segment on each line"):
        list(FolderCorpus(tmp_path).pairs("train"))


def test_folder_without_parallel_text_says_what_it_has(tmp_path):
    with pytest.raises(UserError, match=r"no parallel text; it has no such files, expected en\.SPLIT\.txt"):
        FolderCorpus(tmp_path)
    write(tmp_path, en_train="a\n", de_train="a\n")
    with pytest.raises(UserError, match=r"it has de\.train\.txt, en\.train\.txt, expected fr\.SPLIT"):
        FolderCorpus(tmp_path, "fr", "de")
    with pytest.raises(UserError, match="no such folder"):
        FolderCorpus(tmp_path / "none")


def test_fingerprint_depends_on_content_alone(tmp_path):
    first = write(tmp_path / "first", en_train="a\nb\n", de_train="c\nd\n")
    second = tmp_path / "second"
    shutil.copytree(first, second)
    same = FolderCorpus(first).fingerprint("train")
    assert FolderCorpus(second).fingerprint("train") == same
    assert FolderCorpus(first, "de", "en").fingerprint("train") != same
    write(second, doc_train="1\n2\n")
    assert FolderCorpus(second).fingerprint("train") != same
    write(first, de_train="c\nx\n")
    assert FolderCorpus(first).fingerprint("train") != same


def test_fingerprint_sees_text_that_moves_between_the_sides(tmp_path):
    first = write(tmp_path / "1", en_train="a\nb\n", de_train="c\n")
    second = write(tmp_path / "2", en_train="a\n", de_train="b\nc\n")
    assert FolderCorpus(first).fingerprint("train") != FolderCorpus(second).fingerprint("train")


@given(st.lists(st.text(st.characters(exclude_characters="\n\r\ufeff", exclude_categories=["Cs"])), min_size=1))
def test_any_lines_come_back_and_are_counted(lines):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.txt"
        path.write_bytes("\n".join([*lines, ""]).encode())
        assert list(read_lines(path)) == lines
        assert count_lines(path) == len(lines)
        path.write_bytes("\n".join(lines).encode())
        read = list(read_lines(path))
        assert read == (lines if lines[-1] else lines[:-1])
        assert count_lines(path) == len(read)


def test_documents_whose_lines_do_not_stand_together_are_refused(tmp_path):
    write(tmp_path, en_train="a\nb\nc\nd\n", de_train="a\nb\nc\nd\n", doc_train="one\ntwo\n\none\n")
    message = "doc.train.txt, line 4: document 'one' continues here after a segment without a document; .* sort them"
    with pytest.raises(UserError, match=message):
        list(FolderCorpus(tmp_path).pairs("train"))
    write(tmp_path, en_train="a\nb\nc\nd\n", de_train="a\nb\nc\nd\n", doc_train="one\ntwo\none\ntwo\n")
    with pytest.raises(UserError, match="doc.train.txt, line 3: document 'one' continues here after document 'two'"):
        list(FolderCorpus(tmp_path).pairs("train"))


def test_a_line_that_would_fill_the_memory_is_refused(tmp_path):
    (tmp_path / "text").write_bytes(b"a\n" + b"x" * LONGEST + b"\n" + b"y" * (200 << 20))
    lines = read_lines(tmp_path / "text")
    assert next(lines) == "a" and len(next(lines)) == LONGEST
    with pytest.raises(UserError, match="text, line 3: longer than 1,048,576 bytes; expected one segment on each line"):
        next(lines)
