import unicodedata
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.cleaning import JUNK, REASONS, CleaningOptions, CleaningReport, clean, normalise, normalise_pairs
from data.language import LanguageJudge, prose_words
from data.pairs import Pair
from data.parallel import Workers

LONG = "This sentence has enough words to be judged with certainty by anyone."
LANG = "Dieser Satz hat genug Wörter, damit man ihn sicher beurteilen kann."
FRENCH = "Cette phrase contient assez de mots pour être jugée avec certitude."


def run(pairs, **options):
    """The (source, target) that pass, and the counts of the reasons that occurred."""
    report = CleaningReport()
    passed = [pair[:2] for pair in clean([Pair(*pair) for pair in pairs], CleaningOptions(**options), report=report)]
    return passed, {reason: count for reason, count in report.removed.items() if count}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("  Ein\tHaus \r\n", "Ein Haus"),
        ("10\u00a0%\u2003und\u202fmehr\u3000so\u2028hier", "10 % und mehr so hier"),
        ("Mu\u0308nchen, Cafe\u0301", "München, Café"),
        ("\u212b ist \u00c5", "Å ist Å"),
        ("\ufeffDer Titel", "Der Titel"),
        ("Auf\u00adgabe, Zeile\u200bn, \u200eText\u202c", "Aufgabe, Zeilen, Text"),
        ("a\0b\x07c\x1b[0m\x7f", "abc[0m"),
        ("\x84Zitat\x93 \x96 5 \x80\x85", "„Zitat“ – 5 €…"),
        ("Auf\u200clage, 1\u200d2", "Auflage, 12"),
        ("Familie 👨\u200d👩\u200d👧, Herz ❤\ufe0f\u200d🔥!", "Familie 👨\u200d👩\u200d👧, Herz ❤\ufe0f\u200d🔥!"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\u200d👍\u200d", "👍"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("\ufdd0\ufffe\U0010ffffx", "x"),
        ("„Ja“ – »nein« … ‚so‘ it’s ﬁ ½ ²", "„Ja“ – »nein« … ‚so‘ it’s ﬁ ½ ²"),
        (" \t\n\u200b ", ""),
    ],
)
def test_normalise(raw, expected):
    assert normalise(raw) == expected


def test_no_junk_is_left_in_letters_beyond_ascii():
    for code, meant in JUNK.items():
        assert normalise(f"ä{chr(code)}b") == " ".join(f"ä{meant or ''}b".split()), hex(code)


def test_lower_case_is_an_option():
    assert normalise("Die STRASSE in ÖSTERREICH, Mu\u0308nchen") == "Die STRASSE in ÖSTERREICH, München"
    assert normalise("Die STRASSE in ÖSTERREICH, Mu\u0308nchen", lowercase=True) == "die strasse in österreich, münchen"


tricky = st.text(
    st.sampled_from(
        "aKÅ\u212a\u212b \t\u0308\u0301\u0327\u200b\u200c\u200d\ufeff\xad\x85\x93\x9dß❤\ufe0f😀İſﬁΣ漢ن\0\x1c\u2028"
    )
)


@settings(max_examples=300)
@given(tricky | st.text(), st.booleans())
def test_normalising_again_changes_nothing(text, lowercase):
    once = normalise(text, lowercase)
    assert normalise(once, lowercase) == once
    assert once == " ".join(once.split()) == unicodedata.normalize("NFC", once)
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in once)


def test_good_pairs_pass_in_order_with_their_documents():
    pairs = [Pair(" A  house", "Ein Haus\n", "d1"), Pair("OK", "OK", "d1"), Pair(LONG, LANG, "d2")]
    assert list(clean(iter(pairs))) == [
        Pair("A house", "Ein Haus", "d1"),
        Pair("OK", "OK", "d1"),
        Pair(LONG, LANG, "d2"),
    ]


def test_each_reason_and_its_limit():
    assert run([("", "leer"), ("empty", " \u200b ")]) == ([], {"empty": 2})
    assert run([("a b c", "d e f"), ("a b c d", "e f g"), ("a b c", "d e f g")], max_words=3) == (
        [("a b c", "d e f")],
        {"long": 2},
    )
    passed, removed = run([("aa", "bbbbbbbb"), ("aa", "bbbbbbbbb"), ("ccccccccc", "dd")], max_ratio=4)
    assert (passed, removed) == ([("aa", "bbbbbbbb")], {"ratio": 2})
    assert run([("Home Assistant Core", "Home Assistant Core"), ("Pick the next file", "Pick the next file")]) == (
        [("Home Assistant Core", "Home Assistant Core")],
        {"untranslated": 1},
    )
    assert run([("a", "b"), ("a", "c"), ("a ", "b"), ("A", "b")]) == (
        [("a", "b"), ("a", "c"), ("A", "b")],
        {"duplicate": 1},
    )
    assert run([("A", "B"), ("a", "b")], lowercase=True) == ([("a", "b")], {"duplicate": 1})
    assert run([(LONG, FRENCH), (FRENCH, LANG), (LONG, LANG)]) == ([(LONG, LANG)], {"language": 2})


def test_codes_and_paths_may_stand_on_both_sides():
    same = "apt-get --fix-broken /etc/apt/sources.list %s {name} http://example.org/a_b v1.2 <b>"
    assert run([(same, same)]) == ([(same, same)], {})


def test_filters_can_be_switched_off():
    pairs = [("a", "b"), ("a", "b"), (LONG, FRENCH), (LONG, LONG), ("a", "b" * 99)]
    passed, removed = run(pairs, deduplicate=False, language_filter=False, max_ratio=100, max_copied_words=99)
    assert (passed, removed) == (pairs, {})


def test_a_pair_counts_for_one_reason_only():
    report = CleaningReport()
    pairs = [Pair(LONG, FRENCH), Pair(LONG, FRENCH), Pair("", ""), Pair("x", "y" * 50), Pair(LONG, LANG)]
    kept = list(clean(pairs, report=report))
    assert len(kept) == report.kept == 1
    assert report.as_dict() == {
        "seen": 5,
        "empty": 1,
        "long": 0,
        "ratio": 1,
        "untranslated": 0,
        "duplicate": 1,
        "language": 1,
        "kept": 1,
    }
    assert report.seen == report.kept + sum(report.removed.values())


def test_pairs_are_streamed():
    def endless():
        number = 0
        while True:
            number += 1
            yield Pair(f"number {number}", f"Nummer {number}")

    report = CleaningReport()
    stream = clean(endless(), report=report)
    assert [next(stream).target for _ in range(3)] == ["Nummer 1", "Nummer 2", "Nummer 3"]
    assert report.seen == 3


def some_of_each(count):
    """Raw pairs with every fault, duplicates of bad and of good pairs, near and far."""
    kinds = [
        ("A  house {}", "Ein Haus {}"),
        (LONG + " {}", LANG),
        (LONG, FRENCH),
        (LONG, LONG),
        ("", "leer {}"),
        ("a {}", "b " * 9),
        ("OK", "OK"),
        ("x " * 300, "y"),
        (FRENCH, LANG),
        (LONG.upper(), LANG.upper()),
    ]
    return [Pair(*(text.format(i % 170) for text in kinds[i % len(kinds)]), f"d{i // 50}") for i in range(count)]


@pytest.mark.parametrize(
    "options",
    [
        CleaningOptions(),
        CleaningOptions(lowercase=True),
        CleaningOptions(max_ratio=99, deduplicate=False),
        CleaningOptions(language_filter=False),
    ],
)
def test_the_number_of_processes_does_not_change_what_is_left(options, monkeypatch, workers):
    monkeypatch.setattr("data.cleaning.CHUNK", 30)
    alone, together = CleaningReport(), CleaningReport()
    left = list(clean(some_of_each(500), options, report=alone))
    assert list(clean(some_of_each(500), options, report=together, workers=workers)) == left
    assert together == alone and alone.kept == len(left) > 30
    assert alone.removed["duplicate"] > 50 or not options.deduplicate


@pytest.fixture(scope="module")
def workers():
    with Workers(2) as workers:
        yield workers


def test_chunks_are_not_drawn_far_ahead(monkeypatch, workers):
    monkeypatch.setattr("data.cleaning.CHUNK", 10)
    drawn = iter(some_of_each(400))
    stream = clean(drawn, CleaningOptions(deduplicate=False), workers=workers)
    assert next(stream).source == "A house 0"
    assert len(list(drawn)) >= 400 - 10 * (2 + 4)


def test_validation_pairs_are_normalised_and_all_kept():
    pairs = [Pair(" A  b", "", "x"), Pair(" A  b", "", "x"), Pair(LONG, FRENCH)]
    assert list(normalise_pairs(pairs)) == [Pair("A b", "", "x"), Pair("A b", "", "x"), Pair(LONG, FRENCH)]
    assert list(normalise_pairs(pairs[:1], CleaningOptions(lowercase=True))) == [Pair("a b", "", "x")]


def test_report_table():
    report = CleaningReport(12_345, 12_000, {**dict.fromkeys(REASONS, 0), "duplicate": 300, "language": 45})
    assert report.table().splitlines() == [
        "pairs read               12,345  100.00%",
        "a side is empty               0    0.00%",
        "too long                      0    0.00%",
        "lengths differ too much       0    0.00%",
        "not translated                0    0.00%",
        "duplicate                  -300    2.43%",
        "wrong language              -45    0.36%",
        "pairs kept               12,000   97.21%",
    ]
    assert "0.00%" in CleaningReport().table()


def test_reports_of_parts_add_up():
    pairs = [Pair("", "x"), Pair("a", "b"), Pair("a", "c"), Pair("a", "d" * 99), Pair("", "")]
    whole, first, second = CleaningReport(), CleaningReport(), CleaningReport()
    list(clean(pairs, report=whole))
    list(clean(pairs[:2], report=first))
    list(clean(pairs[2:], report=second))
    assert first + second == whole
    assert sum([second], first) == whole and first.seen == 2


@pytest.mark.parametrize(
    "text",
    [
        FRENCH,
        LANG,
        "Naar aanleiding hiervan werd een schrijfopdracht verleend door het fonds voor de kunst.",
        "El equipo está formado por profesionales del turismo con muchos años de experiencia.",
        "Мы рекомендуем вам открыть этот файл с помощью другой программы.",
        "我们推荐您使用这个程序来打开文件和文件夹",
    ],
)
def test_clearly_foreign_text(text):
    assert LanguageJudge("en", "de").is_foreign(text)


@pytest.mark.parametrize(
    "text",
    [
        LANG,
        "Datei öffnen",
        "Download Manager Update",
        "Update",
        "CSV, Garmin, Magellan, Mapopolis, EasyGPS, Fugawi, Geocaching, Holux, Mapconverter",
        "Radisson Resort Hotel Trysil, Best Western Premier, Holiday Inn Express",
        "Erkannte Werte: manage-gids, descriptors, port, threads, reverse-lookup, cache-use-upaddr",
        "Das Institute of Electrical and Electronics Engineers (IEEE)",
        "© 1997, Bernd Johannes Wübben © 2001, Chris Howells © 2002, Adriaan de Groot",
        "Aufruf: nmcli connection { BEFEHL | help } show | up | down | add | modify | clone | edit | delete",
        "Zwei junge Männer mit Gitarre singen laut im Park",
        "zwei junge männer mit gitarre singen laut im park",
        "",
        "12345 67890 %s %d {0} {1} 100 200 300 400",
        "Oui, mon ami!",
    ],
)
def test_text_that_must_stay(text):
    """Interface strings, lists of names, commands and whatever is too short to judge: no German line is thrown away."""
    assert not LanguageJudge("de", "en").is_foreign(text)


def test_english_on_the_german_side_is_foreign():
    assert LanguageJudge("de", "en").is_foreign(LONG)
    assert not LanguageJudge("en", "de").is_foreign(LONG)


def test_other_pairs_of_languages():
    pairs = [Pair(FRENCH, LONG), Pair(LANG, LONG), Pair(FRENCH, FRENCH.upper())]
    report = CleaningReport()
    assert list(clean(pairs, source="fr", target="en", report=report)) == [Pair(FRENCH, LONG)]
    assert report.removed["language"] == 2
    assert not LanguageJudge("tlh", "en").is_foreign(FRENCH)  # a language that the classifier does not know


def test_prose_words():
    text = "Der Pfad /usr/bin und <b class=1>Wert</b> %d --opt www.a.de a@b.de v1.2 don’t &quot;ja&quot; 日本"
    assert prose_words(text) == ["der", "pfad", "und", "wert", "don’t", "ja", "日", "本"]


def test_long_lines_without_spaces_do_not_take_long():
    for line in ("x" * 500_000, "<" * 500_000, "&" * 500_000, "-" * 500_000):
        assert len(prose_words(line)) <= 1


def test_rejects_of_the_language_filter_on_real_text(shared_corpora):
    """About one pair of web text in a hundred is in a wrong language, and hardly any of interface strings."""
    shares = {}
    for name in ("wmt-sample", "ui-strings"):
        sides = [
            (shared_corpora / name / f"{side}.train.txt").open(encoding="utf-8", newline="\n") for side in ("en", "de")
        ]
        with sides[0], sides[1]:
            report = CleaningReport()
            pairs = (Pair(*pair) for pair in islice(zip(*sides, strict=True), 5_000))
            assert sum(1 for _ in clean(pairs, report=report)) == report.kept
        shares[name] = report.removed["language"] / report.seen
    assert 0.005 < shares["wmt-sample"] < 0.015
    assert shares["ui-strings"] < 0.001
