"""Glossaries from .tsv, .csv and .tbx files."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.cleaning import normalise
from data.errors import UserError
from data.glossary import MOST_WORDS, Term, read_glossary

FILES = Path(__file__).parent / "bitexts" / "files"


def read(folder, content, name="terms.tsv", **languages):
    """The terms of a glossary."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_glossary(path, **languages)


def test_lines_of_a_tsv_file(tmp_path):
    content = (
        "\ufeff# Terms of the shop\n\npower  supply\tNetzteil\nrun\tausführen\tVerb\r\n"
        "Go\tGo\tcase\nIT\tIT\tnoun\tcase\nmail\tMail\t\t\n  \t\n"
    )
    assert read(tmp_path, content) == [
        Term("power supply", "Netzteil"),
        Term("run", "ausführen", "verb"),
        Term("Go", "Go", "", True),
        Term("IT", "IT", "noun", True),
        Term("mail", "Mail"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "source\ttarget\tpart of speech\tcase\nrun\tLauf\tnoun\tyes\nrun\tlaufen\tverb\nIT\tIT\t\t1\nno\tnein\t\tno\n",
        "# note\n\nEN\tde-DE\tPOS\tCase\tcomment\nrun\tLauf\tnoun\tcase\tx\nrun\tlaufen\tverb\nIT\tIT\t\tx\nno\tnein\n",
        "comment\tcase\ttarget\tsource\tpart\n\tx\tLauf\trun\tnoun\n-\t\tlaufen\trun\tverb\n\tTRUE\tIT\tIT\n\t\tnein\tno\n",
    ],
)
def test_a_first_line_may_name_the_columns(tmp_path, content):
    assert read(tmp_path, content) == [
        Term("run", "Lauf", "noun", True),
        Term("run", "laufen", "verb"),
        Term("IT", "IT", "", True),
        Term("no", "nein"),
    ]


def test_columns_of_languages_in_either_direction(tmp_path):
    assert read(tmp_path, "en\tde\ndog\tHund\n", source="de", target="en") == [Term("Hund", "dog")]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_csv(tmp_path, delimiter):
    content = (
        'source,target,part\n"mouse, optical; red","optische Maus",noun\n# note\n\n"6"" disk",6-Zoll-Platte\n'
        '"two\nlines",zwei,verb\n'
    )
    content = content.replace(",", "\0").replace("\0 optical", ", optical").replace("\0", delimiter)
    terms = [
        Term("mouse, optical; red", "optische Maus", "noun"),
        Term('6" disk', "6-Zoll-Platte"),
        Term("two lines", "zwei", "verb"),
    ]
    assert read(tmp_path, content, "terms.csv") == terms
    assert read(tmp_path, content.partition("\n")[2], "terms.csv") == terms, "names of columns are optional"


def test_alternatives_stay_and_repetitions_go(tmp_path):
    content = "file\tDatei\nfile\tAkte\nfile\t Datei\nfile\tDatei\tnoun\n"
    assert read(tmp_path, content) == [Term("file", "Datei"), Term("file", "Akte"), Term("file", "Datei", "noun")]


OLD = """<?xml version="1.0"?><!DOCTYPE martif SYSTEM "TBXcoreStructV02.dtd">
<martif type="TBX" xml:lang="en"><martifHeader><fileDesc><sourceDesc><p>x</p></sourceDesc></fileDesc></martifHeader>
<text><body>%s</body></text></martif>"""
NEW = """<?xml version="1.0"?>
<tbx style="dct" type="TBX-Basic" xml:lang="en" xmlns="urn:iso:std:iso:30042:ed-2"
xmlns:min="http://www.tbxinfo.net/ns/min" xmlns:basic="http://www.tbxinfo.net/ns/basic"><tbxHeader/>
<text><body>%s</body></text></tbx>"""


_GROUPS = {"tig": "<tig>%s</tig>", "ntig": "<ntig><termGrp>%s</termGrp></ntig>"}


def entry(form, *languages):
    """An entry of `(language, (term, part, status) ...)`: as of 2008 (tig, ntig) or of 2019 (dca, dct)."""
    name, section = ("termEntry", "langSet") if form in _GROUPS else ("conceptEntry", "langSec")
    note = "<{0}:{1}>{2}</{0}:{1}>" if form == "dct" else '<termNote type="{1}">{2}</termNote>'
    content = '<descrip type="subjectField">shop</descrip>'
    for language, *terms in languages:
        content += f'<{section} xml:lang="{language}"><descrip type="definition">x</descrip>'
        for term, part, status in terms:
            notes = [("min", "partOfSpeech", part), ("basic", "administrativeStatus", status)]
            text = f"<term>{term}</term>" + "".join(note.format(*one) for one in notes if one[2])
            content += _GROUPS.get(form, "<termSec>%s</termSec>") % text
        content += f"</{section}>"
    return f'<{name} id="c1">{content}</{name}>\n'


@pytest.mark.parametrize("form", ["tig", "ntig", "dca", "dct"])
def test_tbx(tmp_path, form):
    body = (
        entry(
            form,
            (
                "en-US",
                ("power supply", "noun", ""),
                ("PSU", "", "admittedTerm-admn-sts"),
                ("brick", "noun", "obsolete"),
            ),
            (
                "de",
                ("Stromversorgung", "", "admittedTerm-admn-sts"),
                ("Speiser", "", "deprecatedTerm-admn-sts"),
                ("Netz<hi>teil</hi>", "noun", "preferredTerm-admn-sts"),
                ("Trafo", "", "supersededTerm-admn-sts"),
                ("Netzgerät", "", "not recommended"),
            ),
            ("fr", ("alimentation", "noun", "")),
        )
        + entry(form, ("en", ("alone", "", "")), ("fr", ("seul", "", "")))
        + entry(form, ("DE", ("Hund", "Noun", "")), ("EN", (" dog\n ", "", "")))
        + entry(form, ("en", ("empty", "", "")), ("de", ("", "", "")))
    )
    assert read(tmp_path, (OLD if form in _GROUPS else NEW) % body, "terms.tbx") == [
        Term("power supply", "Netzteil", "noun"),
        Term("power supply", "Stromversorgung", "noun"),
        Term("PSU", "Netzteil", "noun"),
        Term("PSU", "Stromversorgung"),
        Term("dog", "Hund", "noun"),
    ]


def test_tbx_of_translate_toolkit():
    """What csv2tbx of translate-toolkit 3.20.4 wrote, with "de" for its "xx"."""
    terms = [Term("power supply", "Netzteil"), Term("mouse, optical", "optische Maus")]
    assert read_glossary(FILES / "toolkit.tbx") == terms


LONG = " ".join(["word"] * (MOST_WORDS + 1))
DOG = entry("tig", ("en", ("dog", "", "")), ("de", ("Hund", "", "")))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "dog\tHund\ncat\t \n", "line 2: the target term is empty; fill it in, or delete the line"),
        ("a.tsv", "dog\tHund\n\tKatze\n", "line 2: the source term is empty"),
        ("a.tsv", "source\ttarget\n\u200b\tKatze\n", "line 2: the source term is empty"),
        ("a.tsv", "# x\ndog Hund\n", "line 2: 1 column; expected source and target, then at most a part of speech"),
        ("a.tsv", "dog\tHund\tnoun\tmasculine\n", "line 1: 4 columns; expected source .* or name the columns"),
        ("a.tsv", "id\tsource\ttarget\n1\tdog\n", "line 2: 2 columns; expected at least 3, as the first line names"),
        ("a.tsv", "source\ttarget\tcase\ndog\tHund\tnoun\n", "line 2: 'noun' in the column 'case'; expected 'case'"),
        ("a.tsv", f"dog\tHund\n{LONG}\tx\n", "line 2: the source term has 21 words, but a term has at most 20"),
        ("a.tsv", f"x\t{LONG}\n", "line 1: the target term has 21 words"),
        ("a.tsv", "# nothing\n\n", "no term; expected lines such as 'power supply', a tab, 'Netzteil'"),
        ("a.tsv", "source\ttarget\n", "no term; expected lines"),
        ("a.tsv", b"dog\tH\xfcnd\n", "line 1: not valid UTF-8"),
        ("a.csv", "", "no term; expected lines such as 'power supply', a comma, 'Netzteil'"),
        ("a.csv", 'dog,Hund\n"cat,Katze\n', "line 2: unexpected end of data; close the quotes"),
        ("a.csv", 'dog,Hund\n"cat,Katze\n' + "bird,Vogel\n" * 20_000, "line 2: field larger than field limit"),
        ("a.csv", 'dog,Hund\n"cat"s,Katze\n', "line 2: ',' expected after '\"'; close the quotes, and double those"),
        (
            "a.tbx",
            OLD % DOG.replace('"de"', '"nl"'),
            r"no entry has both English \(en\) and German \(de\); it has en, nl",
        ),
        ("a.tbx", OLD % DOG.replace("Hund", ""), "no entry has finished text in both English"),
        ("a.tbx", OLD % "", "it has no entry at all"),
        ("a.tbx", OLD % (DOG * 2 + DOG.replace("dog", LONG)), "line 5: the source term has 21 words"),
        (
            "a.tbx",
            OLD % DOG.replace("<tig>", "<tig>" + "<term>x</term></tig><tig>" * 200),
            "line 3: more than 100 terms",
        ),
        ("a.tbx", "<tmx/>", "not in TBX format: its outermost element is <tmx>, expected <martif> or <tbx>"),
        ("a.tbx", NEW % "<conceptEntry>", "line 4, column .*: not well-formed XML .*as TBX in UTF-8"),
        ("a.tbx", f'<!DOCTYPE martif [<!ENTITY d "x">]>{OLD[88:] % DOG}', "declares entities"),
        ("a.txt", "dog\tHund\n", "a glossary ends in .tsv, .csv or .tbx; rename or convert it"),
    ],
)
def test_what_is_refused(tmp_path, name, content, message):
    with pytest.raises(UserError, match=f"{name}.*{message}") as raised:
        read(tmp_path, content, name)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no.tbx: there is no such file"):
        read_glossary(tmp_path / "no.tbx")


_WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r#"), min_size=1, max_size=20)
_TERMS = st.builds(Term, _WORDS, _WORDS, st.sampled_from(["", "noun", "verb"]), st.booleans())


@settings(max_examples=50, deadline=None)
@given(st.lists(_TERMS, min_size=1))
def test_terms_come_back_normalised(tmp_path_factory, terms):
    terms = [t._replace(source=normalise(f"x{t.source}"), target=normalise(f"y{t.target}")) for t in terms]
    lines = ["\t".join([*term[:3], *["case"] * term.match_case]) for term in terms]
    assert read(tmp_path_factory.mktemp("terms"), "\n".join(lines)) == list(dict.fromkeys(terms))
