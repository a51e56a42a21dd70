"""Catalogues in, pairs out: what counts as a message, as a segment and as a document."""

import struct

import pytest

from data.corpora.catalogues import (
    Message,
    documents,
    locate,
    python_strings,
    quoted_strings,
    read_json,
    read_mo,
    read_po,
    segments,
)

HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n\n'


def cut(english, german, **options):
    return list(segments(Message(english, german), **options))


def mo_file(messages):
    """A .mo file as the GNU gettext manual describes it: header, two tables of (length, offset), strings with NULs."""
    ids = [english.encode() for english, _ in messages]
    texts = [german.encode() for _, german in messages]
    start = 28 + 16 * len(messages)
    tables, strings = b"", b""
    for column in (ids, texts):
        for text in column:
            tables += struct.pack("<II", len(text), start + len(strings))
            strings += text + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(messages), 28, 28 + 8 * len(messages), 0, 0)
    return head + tables + strings


def test_po_messages_with_places():
    text = HEADER + (
        '#: src/form.py:12 src/other.py:3\nmsgid "Save file"\nmsgstr "Datei sichern"\n\n'
        'msgctxt "menu"\nmsgid "Open %(name)s"\nmsgstr "%(name)s öffnen"\n\n'
        '#: templates/no_line.html\nmsgid ""\n"Two "\n"parts"\nmsgstr "Zwei Teile"\n'
    )
    assert read_po(text) == [
        Message("Save file", "Datei sichern", "src/form.py", 12),
        Message("Open %(name)s", "%(name)s öffnen"),
        Message("Two parts", "Zwei Teile", "templates/no_line.html", 0),
    ]


def test_po_leaves_out_what_nobody_has_approved():
    text = HEADER + (
        '#, fuzzy\nmsgid "A guess"\nmsgstr "Eine Vermutung"\n\n'
        '#, fuzzy, python-format\nmsgid "Another %s"\nmsgstr "Noch %s"\n\n'
        'msgid "Not done"\nmsgstr ""\n\n'
        '#, python-format\nmsgid "Used %d"\nmsgstr "%d benutzt"\n\n'
        '#~ msgid "Old one"\n#~ msgstr "Alt"\n'
    )
    assert read_po(text) == [Message("Used %d", "%d benutzt")]


def test_singular_and_plural_are_a_pair_each():
    ids = 'msgid "One file"\nmsgid_plural "%d files"\n'
    text = f'{HEADER}#: a.py:1\n{ids}msgstr[0] "Eine Datei"\nmsgstr[1] "%d Dateien"\n'
    assert read_po(text) == [Message("One file", "Eine Datei", "a.py", 1), Message("%d files", "%d Dateien", "a.py", 1)]
    only = f'{HEADER}{ids}msgstr[0] "%d Dateien"\n'
    assert read_po(only) == [Message("%d files", "%d Dateien")]
    half = f'{HEADER}{ids}msgstr[0] "Eine Datei"\nmsgstr[1] ""\n'
    assert read_po(half) == [Message("One file", "Eine Datei")]


def test_default_comment_is_the_english():
    text = HEADER + (
        '#. Default: "The page was saved."\nmsgid "label_saved"\nmsgstr "Die Seite wurde gesichert."\n\n'
        '#. Help for editors.\n#. Default: "Say \\"yes\\"\n#. to all."\nmsgid "label_yes"\nmsgstr "Ja zu allem."\n\n'
        '#. Shown at the default: never\nmsgid "Good day"\nmsgstr "Guten Tag"\n'
    )
    english = [" ".join(message.english.split()) for message in read_po(text)]
    assert english == ["The page was saved.", 'Say "yes" to all.', "Good day"]


def test_mo_messages_with_plural_and_context():
    content = mo_file(
        [
            ("", "Content-Type: text/plain; charset=UTF-8\n"),
            ("One tree\0%d trees", "Ein Baum\0%d Bäume"),
            ("menu\4Quit now", "Jetzt beenden"),
        ]
    )
    assert read_mo(content) == [
        Message("One tree", "Ein Baum"),
        Message("%d trees", "%d Bäume"),
        Message("Quit now", "Jetzt beenden"),
    ]


def test_json_messages_stand_under_the_same_keys():
    english = b'{"title": "A", "step": {"user": {"b": "Two words", "a": "First"}}, "n": 3, "more": {"x": "Only here"}}'
    german = '{"step": {"user": {"a": "Zuerst", "b": "Zwei Wörter", "c": "?"}}, "title": {"x": "A"}, "n": 3}'.encode()
    assert read_json(english, german) == [Message("Two words", "Zwei Wörter"), Message("First", "Zuerst")]


@pytest.mark.parametrize(
    "read, content",
    [
        (read_po, 'msgid "A word"\nmsgstr "Ein Wort"\nand no quotes\n'),
        (read_mo, b"this is no catalogue at all"),
        (lambda content: read_json(content, b"{}"), b"[1, 2]"),
        (lambda content: read_json(content, b"{}"), b"{broken"),
    ],
)
def test_broken_catalogue_is_a_value_error(read, content):
    with pytest.raises(ValueError):
        read(content)


def test_segments_leave_out_what_is_no_translation():
    assert cut("Save", "Sichern") == []
    assert cut("OK Go", "OK Go") == []
    assert cut("   \n", "x") == []
    assert cut("Access token", "Zugriffstoken") == [("Access token", "Zugriffstoken")]
    assert cut("a b c", "d e f", max_words=2) == []
    assert cut("a b", "c d e", max_words=2) == []


def test_placeholders_and_markup_stay_as_they_are():
    english = 'Hi {name}, <a href="%(url)s">read &amp; sign</a> $x ${y}'
    german = 'Hallo {name}, bitte <a href="%(url)s">lesen &amp; zeichnen</a> $x ${y}'
    assert cut(english, german) == [(english, german)]


def test_wrapped_lines_become_one_segment():
    english = "\n      A message that is wrapped\n      in the template\n"
    assert cut(english, "\n Eine Meldung, umbrochen\n im Text") == [
        ("A message that is wrapped in the template", "Eine Meldung, umbrochen im Text")
    ]


def test_paragraphs_and_sentences_on_lines_of_their_own_are_cut():
    english = "Dear {name},\n\nyour order is ready.\nPlease come by.\n\nYour team"
    german = "Guten Tag {name},\n \nIhre Bestellung ist fertig.\nBitte kommen Sie.\n\nIhr Team"
    assert cut(english, german) == [
        ("Dear {name},", "Guten Tag {name},"),
        ("your order is ready.", "Ihre Bestellung ist fertig."),
        ("Please come by.", "Bitte kommen Sie."),
        ("Your team", "Ihr Team"),
    ]
    items = cut("Needed are:\n- a fast network\n- two cores", "Nötig sind:\n- ein schnelles Netz\n- zwei Kerne")
    assert items[1:] == [("- a fast network", "- ein schnelles Netz"), ("- two cores", "- zwei Kerne")]


def test_different_numbers_of_paragraphs_are_joined():
    assert cut("One thing.\n\nTwo things.", "Eins. Zwei.") == [("One thing. Two things.", "Eins. Zwei.")]


def test_segments_hold_no_line_break_of_any_kind():
    for english, german in cut("a\u2028b\x85c d\r\ne", "f\x0bg\u2029h i"):
        assert len(english.splitlines()) == len(german.splitlines()) == 1


def test_strings_of_program_files():
    source = 'title = _("A long "\n          "title")\nx = f"not {this}"\n\ndef f():\n    return "Second one"\n'
    assert ("A long title", 1) in list(python_strings(source))
    assert ("Second one", 6) in list(python_strings(source))
    assert list(python_strings("def broken(:")) == []
    assert list(python_strings("x = '\\d'")) == [("\\d", 1)]
    html = "<p>\n{% trans \"Delete the file\" %} {% trans 'Don\\'t ask' %}\n</p>"
    assert list(quoted_strings(html)) == [("Delete the file", 2), ("Don't ask", 2)]


def test_places_are_given_to_messages_that_have_none():
    messages = [Message("Here it is", "x"), Message("There it is", "y", "own.py", 3), Message("Not known", "z")]
    places = {"Here it is": ("a.py", 7), "There it is": ("a.py", 9)}
    assert locate(messages, places) == [
        Message("Here it is", "x", "a.py", 7),
        Message("There it is", "y", "own.py", 3),
        Message("Not known", "z"),
    ]


def test_small_catalogue_is_one_document_in_the_order_of_lines():
    messages = [Message("late", "x", "b.py", 90), Message("other", "x", "a.py", 5), Message("early", "x", "b.py", 10)]
    found = documents(messages, "app.po", whole=3)
    assert {key: [m.english for m in value] for key, value in found.items()} == {"app.po": ["early", "late", "other"]}


def test_large_catalogue_is_split_by_source_file_and_then_in_chunks():
    messages = [
        Message("1", "x"),
        Message("2", "x", "b.py", 9),
        Message("3", "x"),
        Message("4", "x", "a.py", 1),
        Message("5", "x", "b.py", 2),
        Message("6", "x"),
    ]
    found = documents(messages, "app.po", whole=3, chunk=2)
    assert {key: [m.english for m in value] for key, value in found.items()} == {
        "b.py": ["5", "2"],
        "a.py": ["4"],
        "app.po[000]": ["1", "3"],
        "app.po[001]": ["6"],
    }
