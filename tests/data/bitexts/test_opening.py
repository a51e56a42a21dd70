"""Which reader a file gets, and what other tools write."""

from pathlib import Path

import pytest

from data.bitexts.opening import ENDINGS, open_bitext
from data.errors import UserError
from data.pairs import Pair

FILES = Path(__file__).parent / "files"
PAIRS = [
    Pair("Save the file", "Datei sichern"),
    Pair("%d file was copied.", "%d Datei wurde kopiert."),
    Pair("%d files were copied.", "%d Dateien wurden kopiert."),
    Pair(
        "This text is long enough to be wrapped by the tool, and has a line break in it as well.",
        "Dieser Text ist so lang, dass ihn das Werkzeug umbricht, und hat auch einen Zeilenumbruch.",
    ),
    Pair("Fish & <b>chips</b>", "Fisch & <b>Pommes</b>"),
]
# po2xliff has a unit for the header as well, and makes an obsolete message an approved one.
OBSOLETE = Pair("An old message", "Eine alte Meldung")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example.po", PAIRS),
        ("toolkit.tmx", PAIRS),
        ("toolkit.xlf", [*PAIRS, OBSOLETE]),
        ("toolkit-2.xlf", [PAIRS[0], PAIRS[-1]]),
    ],
)
def test_files_of_translate_toolkit(name, expected):
    """`example.po`, and what po2tmx, po2xliff and xliff2.Xliff2File of translate-toolkit 3.20.4 made of it."""
    assert [pair._replace(doc="") for pair in open_bitext(FILES / name).pairs()] == expected


def test_endings_count_in_any_case(tmp_path):
    path = tmp_path / "MEMORY.TMX"
    path.write_bytes((FILES / "toolkit.tmx").read_bytes())
    assert list(open_bitext(path, "en-GB", "de-AT").pairs()) == PAIRS


@pytest.mark.parametrize("name", ["memory.txt", "memory.tmx.zip", "memory", "tmx"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(UserError, match=rf"{name}: a file of pairs ends in .tmx, .*or .tsv; rename or convert it"):
        open_bitext(tmp_path / name)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_missing_file_is_named(tmp_path, ending):
    (tmp_path / f"folder{ending}").mkdir()
    for name in (f"no{ending}", f"folder{ending}"):
        with pytest.raises(UserError, match=f"{name}: there is no such file"):
            open_bitext(tmp_path / name)
