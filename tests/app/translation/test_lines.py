import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.translation.lines import LineReader, one_line, open_lines, read_text
from data.errors import UserError


def reader_of(content: bytes) -> LineReader:
    """A reader of a pipe that holds the content."""
    ends = os.pipe()

    def write():
        with os.fdopen(ends[1], "wb") as pipe:
            pipe.write(content)

    threading.Thread(target=write).start()
    return LineReader(ends[0], "pipe")


def test_only_newlines_end_lines():
    content = "one\r\ntwo\rstill two\n\nfour\u2028still four\x85\x0cand on\nlast".encode()
    assert list(reader_of(content)) == ["one", "two\rstill two", "", "four\u2028still four\x85\x0cand on", "last"]


def test_a_byte_order_mark_is_dropped_at_the_start_only():
    assert list(reader_of("\ufeffa\n\ufeffb\n".encode())) == ["a", "\ufeffb"]


def test_nothing_at_all_is_no_line_and_a_newline_is_one():
    assert list(reader_of(b"")) == []
    assert list(reader_of(b"\n")) == [""]


@given(st.lists(st.text(st.characters(exclude_characters="\n\r\ufeff", exclude_categories=["Cs"]))))
def test_any_lines_come_back(lines):
    assert list(reader_of("".join(f"{line}\n" for line in lines).encode())) == lines


def test_lines_longer_than_a_read_come_whole():
    long = "ä" * 300_000
    assert list(reader_of(f"{long}\nb\n{long}".encode())) == [long, "b", long]


def test_waiting_says_whether_a_line_is_there():
    read, write = os.pipe()
    reader = LineReader(read, "pipe")
    assert reader.waiting()
    os.write(write, b"half a li")
    assert reader.waiting()
    os.write(write, b"ne\nnext\n")
    assert not reader.waiting()
    assert [next(reader), next(reader)] == ["half a line", "next"]
    assert reader.waiting()
    os.close(write)
    assert not reader.waiting()
    assert list(reader) == []
    os.close(read)


def test_bytes_that_are_not_utf8_are_named_by_file_and_line(tmp_path):
    file = tmp_path / "in.txt"
    file.write_bytes(b"good\nbad \xe4 line\nnever read\n")
    reader = open_lines(file)
    assert next(reader) == "good"
    with pytest.raises(UserError, match=r"in\.txt, line 2: not valid UTF-8 \(byte 0xe4 at byte 5"):
        next(reader)


@pytest.mark.parametrize("read", [open_lines, read_text])
def test_files_that_cannot_be_read_are_named(read, tmp_path):
    with pytest.raises(UserError, match="missing.txt: cannot be read: no such file"):
        read(tmp_path / "missing.txt")
    with pytest.raises(UserError, match="is a folder|is a directory"):
        read(tmp_path)


def test_one_line_has_nothing_that_ends_a_line():
    assert one_line("a\r\nb\u2028c\x85d\x0be ") == "a b c d e"
    assert one_line("5\u00a0%") == "5\u00a0%"
    assert len(one_line("".join(map(chr, range(0x3000)))).splitlines()) == 1


def test_a_line_that_would_fill_the_memory_is_refused(tmp_path):
    (tmp_path / "long.txt").write_bytes(b"one\n" + b"x" * (200 << 20))
    lines = open_lines(tmp_path / "long.txt")
    assert next(lines) == "one" and not lines.waiting()
    with pytest.raises(UserError, match="long.txt, line 2: longer than 1,048,576 bytes"):
        next(lines)
