"""What must be copied is found, set aside, and comes back: once, nested, in order."""

import re
import time
import xml.sax
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.spans import (
    KINDS,
    PIECES,
    Source,
    SpanFinder,
    as_sentence,
    german_number,
    in_capitals,
    kept,
    mend,
    piece,
    read,
    renumbered,
    restore,
)

FINDER = SpanFinder()


def spans(text):
    return [span.text for span in FINDER.find(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # numbers
        ("150 000 new cases", ["150 000"]),
        ("1,234.56 and 1.234,56", ["1,234.56", "1.234,56"]),
        ("€30, 30€ or $5", ["€30", "30€", "$5"]),
        ("a 20%-increase, 50% off, 100%d", ["20", "50", "100"]),
        ("version 1.2.3 of 2024-01-02, 12:30", ["1.2.3", "2024-01-02", "12:30"]),
        ("192.168.0.1 and 0xFF", ["192.168.0.1", "0xFF"]),
        ("pages 5-10, freedb.org-Server", ["5", "10", "freedb.org"]),
        ("v1.2 needs 10MB, 64-bit", ["v1.2", "10MB", "64"]),
        ("the 1st of 2nd B2B", []),
        ("call +49 30 1234567-89 or 030 1234567", ["+49 30 1234567-89", "030 1234567"]),
        ("550e8400-e29b-41d4-a716-446655440000", ["550e8400-e29b-41d4-a716-446655440000"]),
        # addresses and paths
        ("See https://test.com/, please.", ["https://test.com/"]),
        ("(http://a.org/x?y=1&z=2#top).", ["http://a.org/x?y=1&z=2#top"]),
        ("mail a.b+c@example.co.uk!", ["a.b+c@example.co.uk"]),
        ("on example.com or www.x.de.", ["example.com", "www.x.de"]),
        ("edit /etc/fstab, ~/.bashrc and/or ./run.sh", ["/etc/fstab", "~/.bashrc", "./run.sh"]),
        ("in C:\\Users\\me or setup.cfg.", ["C:\\Users\\me", "setup.cfg"]),
        ("`ls -l` takes --all", ["`ls -l`", "--all"]),
        # placeholders
        ("%d of %s, %5.2f%%", ["%d", "%s", "%5.2f", "%%"]),
        ("%1$s and %2$d", ["%1$s", "%2$d"]),
        ("%(name)s is %(n)d", ["%(name)s", "%(n)d"]),
        ("{user} {} {0} {0:.2f} {a.b[0]}", ["{user}", "{}", "{0}", "{0:.2f}", "{a.b[0]}"]),
        ("%1 of %n in %L2", ["%1", "%n", "%L2"]),
        ("${project} $HOME $(var)", ["${project}", "$HOME", "$(var)"]),
        ("{{ name }} {% if x %} <%= y %>", ["{{ name }}", "{% if x %}", "<%= y %>"]),
        ("#{name} %{count} @PACKAGE@", ["#{name}", "%{count}", "@PACKAGE@"]),
        (r"one\ntwo\t", [r"\n", r"\t"]),
        ("100 % sure, 5% discount, 3 %-ige", ["100", "5", "3"]),
        # markup
        (
            '<a href="x" title="y">b</a><br/>&nbsp;&#8217;',
            ['<a href="x" title="y">', "</a>", "<br/>", "&nbsp;", "&#8217;"],
        ),
        ("a < b and c > d, AT&T", []),
        # symbols and scripts
        ("Done ✓ 🎉 → 👨‍👩‍👧", ["✓", "🎉", "→", "👨‍👩‍👧"]),
        ("漢字 мир ＤＩＤ Ελλάδα naïve größer", ["漢字", "мир", "ＤＩＤ", "Ελλάδα"]),
        # what a person wrote himself
        ("user ⟦1⟧ wrote ⟦x⟧", ["⟦1⟧"]),
        ("plain text, e.g. this: it's fine.", []),
    ],
)
def test_spans_are_found(text, expected):
    assert spans(text) == expected


def test_a_message_with_branches_keeps_its_frame_and_leaves_its_text():
    text = "{count, plural, =0 {No files} one {# file in {dir}} other {# files}}"
    marked = FINDER.mark(text)
    assert re.sub("⟦\\d+⟧", "|", marked.text) == "|No files|| file in ||| files|"
    found = restore("⟦7⟧Keine⟦2⟧⟦3⟧ Datei in ⟦4⟧⟦6⟧⟦5⟧ Dateien⟦1⟧", marked.spans)
    assert found == "{count, plural, =0 {Keine} one {# Datei in {dir}} other {# Dateien}}"


def test_kinds_can_be_switched_off():
    finder = SpanFinder(["numbers"])
    assert finder.mark("%d in 5 <b>").text == "%d in ⟦1⟧ <b>"
    assert SpanFinder([]).mark("5 ⟦1⟧").text == "5 ⟦1⟧"
    with pytest.raises(ValueError, match="no kind of span is called links"):
        SpanFinder(["links"])


def test_pairs_share_numbers_and_leave_what_one_side_lacks():
    source, target = FINDER.mark_pair("Copy %s from 5 to 7 in %s", "Kopiere aus %s die 7 von sieben nach %s 8")
    assert (source, target) == ("Copy ⟦1⟧ from 5 to ⟦2⟧ in ⟦3⟧", "Kopiere aus ⟦1⟧ die ⟦2⟧ von sieben nach ⟦3⟧ 8")


def test_a_pair_has_no_more_pieces_than_there_are():
    text = " ".join(str(n) for n in range(1000, 1000 + PIECES + 5))
    source, target = FINDER.mark_pair(text.replace(" ", "; "), text.replace(" ", "; "))
    assert source == target and source.count("⟦") == PIECES


def test_numbers_in_german():
    finder = SpanFinder(numbers="german")
    marked = finder.mark("1,234.56 of 3.5, version 1.2.3 on 12:30")
    assert restore("⟦1⟧ von ⟦2⟧, Version ⟦3⟧ um ⟦4⟧", marked.spans) == "1.234,56 von 3,5, Version 1.2.3 um 12:30"
    assert finder.mark_pair("3.5 km", "3,5 km") == ("⟦1⟧ km", "⟦1⟧ km")
    assert german_number("$1,000") == "$1.000"


@given(st.lists(st.sampled_from(["%s", "<b>", "</b>", "5", "a", " ", "⟦2⟧", "✓", "{x}", "€", ".", "мир"]), max_size=40))
def test_every_text_comes_back(parts):
    text = "".join(parts)
    marked = FINDER.mark(text)
    if len({t for t in marked.spans}) == len(marked.spans) and "<" not in text:
        assert restore(marked.text, marked.spans) == text


@given(st.text(alphabet="⟦⟧12 ab", max_size=40), st.integers(0, 5))
def test_whatever_the_model_wrote_each_piece_stands_once(text, count):
    found = mend(text, count)
    assert sorted(re.findall("⟦(\\d+)⟧", found)) == sorted(map(str, range(1, count + 1)))
    letters = [c for c in re.sub("⟦\\d+⟧", "", text) if c in "ab"]
    assert [c for c in re.sub("⟦\\d+⟧", "", found) if c in "ab"] == letters


def test_a_missing_piece_stands_beside_its_neighbour():
    assert mend("a ⟦1⟧ b", 2) == "a ⟦1⟧ ⟦2⟧ b"
    assert mend("a ⟦2⟧ b", 2) == "a ⟦1⟧ ⟦2⟧ b"
    assert mend("a ⟦1⟧ b ⟦1⟧ ⟦9⟧", 1).split() == ["a", "⟦1⟧", "b"]
    assert mend("", 1) == "⟦1⟧"


class Balance(HTMLParser):
    """Fails where an end does not belong to the last start."""

    def __init__(self):
        super().__init__()
        self.opened = []

    def handle_starttag(self, tag, attrs):
        self.opened.append(tag)

    def handle_endtag(self, tag):
        assert self.opened and self.opened.pop() == tag


TREES = st.recursive(st.just("x"), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=6)


def markup(tree, names):
    if tree == "x":
        return "word "
    name = next(names)
    return f"<{name}>{''.join(markup(part, names) for part in tree)}</{name}>"


@given(TREES, st.randoms(use_true_random=False))
def test_tags_parse_wherever_the_model_puts_them(tree, random):
    source = "one " + markup(tree, (f"t{n}" for n in range(1000)))
    marked = FINDER.mark(source)
    pieces = [piece(n) for n in range(1, len(marked.spans) + 1)]
    random.shuffle(pieces)
    target = "".join(f"{one} wort " for one in pieces)
    found = restore(target, marked.spans)
    assert sorted(spans(found)) == sorted(spans(source))
    assert re.sub("<[^>]*>", "", found).split() == target.replace("⟦", " ⟦").replace("⟧", "⟧ ").split()[1::2]
    xml.sax.parseString(f"<root>{found}</root>".encode(), xml.sax.ContentHandler())
    parser = Balance()
    parser.feed(found)
    assert not parser.opened


def test_tags_that_nest_stay_where_the_model_put_them():
    marked = FINDER.mark("<b>Save</b> the <i>file</i>.")
    assert restore("Die ⟦3⟧Datei⟦4⟧ ⟦1⟧sichern⟦2⟧.", marked.spans) == "Die <i>Datei</i> <b>sichern</b>."
    assert restore("⟦4⟧Datei⟦3⟧ ⟦2⟧sichern⟦1⟧.", marked.spans) == "<i>Datei</i> <b>sichern</b>."


def test_of_two_that_overlap_the_smaller_stays():
    marked = FINDER.mark("<b>one</b> <i>two</i>")
    assert restore("⟦1⟧a long text ⟦3⟧x⟦2⟧ y⟦4⟧", marked.spans) == "<b>a long text <i>x y</i></b>"


def test_a_number_does_not_run_into_a_word():
    assert restore("⟦1⟧Wire und x⟦2⟧", FINDER.mark("1-Wire and 2").spans) == "1 Wire und x 2"
    assert restore("⟦1⟧Datei", FINDER.mark("%s file").spans) == "%sDatei"
    assert restore("⟦1⟧,⟦2⟧. ⟦3⟧", FINDER.mark("1, 2 and 3").spans) == "1, 2. 3"


def test_an_end_without_a_start_is_no_element():
    assert restore("⟦1⟧ x ⟦2⟧", FINDER.mark("foo</s>bar <s> <unk>").spans[:2]) == "</s> x <s>"


def test_a_line_without_words_stays_as_it_is():
    for line in ("1. ", "✓", "{", "%d / %s", "漢字！", "<br/>", "..."):
        assert read(line.strip(), FINDER) == Source("", unchanged=line.strip())
    assert read("a 1", FINDER) == Source("a ⟦1⟧", FINDER.mark("a 1").spans)
    assert read("...", SpanFinder([])) == Source("...")


def test_a_line_in_capitals_is_read_as_a_sentence():
    assert read("DID YOU KNOW, %S?", FINDER, capitals=True).text == "Did you know, ⟦1⟧?"
    # A word that takes fewer tokens in capitals stays so.
    known = {"DNS": 1, "dns": 2, "USE": 3, "use": 1}
    source = read("USE DNS", FINDER, True, lambda words: [known[word] for word in words])
    assert source.text == "Use DNS" and source.translation("DNS nutzen") == "DNS NUTZEN"
    source = read("SEE %d IN /etc NOW!", FINDER, capitals=True)
    assert source.text == "See ⟦1⟧ in ⟦2⟧ now!" and source.capitals
    assert source.translation("Siehe ⟦1⟧ in ⟦2⟧, Straße!") == "SIEHE %d IN /etc, STRASSE!"
    assert [in_capitals(text) for text in ("OK", "NATO", "CD ROM", "Ab CD", "A", "1 2", "漢字", "USB x")] == [
        *(False, True, True, False),
        *(False, False, False, False),
    ]
    assert as_sentence("⟦1⟧ ÄRGER") == "⟦1⟧ Ärger"


def test_a_part_counts_its_pieces_anew():
    marked = FINDER.mark("a %s b %d c")
    part = renumbered("b ⟦2⟧ c", marked.spans)
    assert part.text == "b ⟦1⟧ c" and [span.text for span in part.spans] == ["%d"]


def test_kept_counts_lines_by_kind():
    found = kept(FINDER, ["%s has 5", "%s", "7"], ["%s hat 5", "%s %s", "sieben"])
    assert found["placeholders"] == (2, 1, (1,))
    assert found["numbers"] == (2, 1, (2,))
    assert set(found) == {"placeholders", "numbers"} < set(KINDS)


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("See .gitlab-ci.yml.", [".gitlab-ci.yml"]),
        (
            "Edit my-long-name.txt, read-me.first.md and x_y.tar.gz.",
            ["my-long-name.txt", "read-me.first.md", "x_y.tar.gz"],
        ),
        ("-a.txt or (b-c.json): see d.e-f.html!", ["-a.txt", "b-c.json", "d.e-f.html"]),
        ("a-b-txt, a.b-c and x.text", []),
    ],
)
def test_names_of_files_may_have_hyphens(text, files):
    assert [span.text for span in SpanFinder(["paths"]).find(text)] == files


def test_zeros_before_a_width_belong_to_the_placeholder():
    found = ["%08.2f", "%010d", "%05$s", "%(size)010d", "%-08d", "%+0*d", "%100s"]
    assert [span.text for span in SpanFinder(["placeholders"]).find(" ".join(found))] == found


@pytest.mark.parametrize("text", ["-", "a-", "a.-", "%0", "%(a)0", "0", "000 ", "<a ", "~/", "1,", "{a,plural,"])
def test_a_long_line_takes_no_longer_than_its_length_suggests(text):
    """`re` lets no other thread work while it searches."""
    head, tail = text[:-1], text[-1]
    for line in (text * (50_000 // len(text)), head + tail * 50_000):
        begun = time.perf_counter()
        SpanFinder().mark(line)
        assert time.perf_counter() - begun < 3
