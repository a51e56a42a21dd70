"""Tab-separated pairs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.bitexts.opening import open_bitext
from data.errors import UserError
from data.pairs import Pair


def read(folder, content, **languages):
    """The pairs of a TSV file."""
    path = folder / "memory.tsv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(open_bitext(path, **languages).pairs())


def test_lines_are_pairs(tmp_path):
    content = 'dog\tHund\textra\n\n \t\n"A"\t»A«\r\nopen\t\n\tleer\na\x85b\u2028c\td\x0be\n# no\t# nein'
    assert read(tmp_path, content) == [
        Pair("dog", "Hund"),
        Pair('"A"', "»A«"),
        Pair("a\x85b c", "d e"),
        Pair("# no", "# nein"),
    ]


@pytest.mark.parametrize(
    ("header", "pair"),
    [
        ("source\ttarget", Pair("1", "2")),
        ("\ufeffSource \tTARGET\tnote", Pair("1", "2")),
        ("id\ttarget\tsource", Pair("3", "2")),
        ("en-US\tde_DE", Pair("1", "2")),
        ("DE\tfr\tEN", Pair("3", "1")),
    ],
)
def test_a_first_line_may_name_the_columns(tmp_path, header, pair):
    assert read(tmp_path, f"{header}\n1\t2\t3\n") == [pair]
    assert read(tmp_path, f"x\ty\n{header}\n")[0] == Pair("x", "y"), "only the first line"


def test_a_first_line_of_text_is_a_pair(tmp_path):
    assert read(tmp_path, "source\tQuelle\n") == [Pair("source", "Quelle")]
    assert read(tmp_path, "en\tde\n", source="en", target="fr") == [Pair("en", "de")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("dog\tHund\ncat Katze\n", "line 2: 1 column, expected at least 2: put source TAB target on each line"),
        ("id\tsource\ttarget\n1\tdog\n", "line 2: 2 columns, expected at least 3"),
        (b"dog\tH\xfcnd\n", r"line 1: not valid UTF-8 \(byte 0xfc"),
        ("dog\tHund".encode("utf-16"), "line 1: not valid UTF-8"),
        ("a\tb\n" + "x" * (2 << 20), "line 2: longer than 1,048,576 bytes"),
        ("", "no line has both English .* it has no line at all"),
        ("source\ttarget\n", "it has no line at all"),
        ("dog\t\n\tHund\n", "no line has finished text in both"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=f"memory.tsv.*{message}"):
        read(tmp_path, content)


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\v\f\x1c\x1d\x1e\u2028\u2029"), max_size=20)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(_TEXT, _TEXT, _TEXT), min_size=1))
def test_text_comes_back_as_it_was_written(tmp_path_factory, rows):
    content = "source\ttarget\tnote\n" + "".join("\t".join(row) + "\n" for row in [*rows, ("a", "b", "c")])
    expected = [Pair(*row[:2]) for row in [*rows, ("a", "b", "c")] if row[0].strip() and row[1].strip()]
    assert read(tmp_path_factory.mktemp("tsv"), content) == expected
