"""`weitblick translate FILE`: the file comes out in its format, its text translated as one document."""

import html
import re

import pytest

from app.cli.main import main
from app.translation.translator import Translator
from tests.app.export.test_export_ctranslate2 import new_run
from tests.app.formats.samples import docx, unpacked

PAGE = "<p>the red dog sees a house.</p>\n<p>a cat finds it.</p>"
DOCUMENTS = ('documents.windows="segments"', 'memory.kind="gru"', "memory.gru.slots=4")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return new_run(tmp_path_factory.mktemp("files") / "run", *DOCUMENTS, "search.beam=1")


def translate(run, *arguments) -> int:
    return main(["translate", str(run.path), *map(str, arguments)])


def test_a_page_is_one_document_with_memory(run, tmp_path):
    (tmp_path / "a.html").write_text(PAGE)
    assert translate(run, tmp_path / "a.html", "--output", tmp_path / "a.de.html") == 0
    texts = ["the red dog sees a house.", "a cat finds it."]
    alone = Translator.of_run(run)
    lines = next(alone.translate_documents([texts]))
    # The model's weights were drawn: it puts out anything.
    first, second = (html.escape(re.sub("[^\\n\\x20-\\x7e\\x80-\\uffff]", "", text), False) for text in lines)
    assert (tmp_path / "a.de.html").read_text() == f"<p>{first}</p>\n<p>{second}</p>"
    assert lines != [next(alone.translate_documents([[text]]))[0] for text in texts]


@pytest.mark.slow
def test_a_catalogue_remembers_what_is_translated(run, tmp_path):
    found = []
    for right in ("der hund", "ein kater und ein baum"):
        text = f'msgid "a dog"\nmsgstr "{right}"\n\nmsgid "a cat sees a dog and a tree"\nmsgstr ""\n'
        text = 'msgid ""\nmsgstr "Language: de\\n"\n\n' + text
        (tmp_path / "a.po").write_text(text)
        assert translate(run, tmp_path / "a.po", "--output", tmp_path / "b.po") == 0
        found.append((tmp_path / "b.po").read_text())
        assert f'msgstr "{right}"' in found[-1] and not found[-1].endswith('msgstr ""\n')
    assert found[0].rpartition("msgstr")[2] != found[1].rpartition("msgstr")[2]


def test_a_word_document_comes_out_whole(run, tmp_path):
    (tmp_path / "a.docx").write_bytes(docx())
    assert translate(run, tmp_path / "a.docx", "--output", tmp_path / "out" / "a.docx") == 0
    found = unpacked((tmp_path / "out" / "a.docx").read_bytes())
    assert list(found) == list(unpacked(docx())) and b"In a cell" not in found["word/document.xml"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["a.pdf", "--output", "b.pdf"], "end in .pdf cannot be translated; these can: .txt"),
        (["a.html"], "add --output a.de.html"),
        (["a.html", "--output", "a.html"], "is the input itself"),
        (["a.html", "--output", "b.docx"], "the translation is a .html file"),
        (["a.html", "a.txt", "--output", "b.html"], "2 files"),
        (["a.html", "--output", "b.html", "--nbest", "2"], "--nbest is for lines"),
        (["a.html", "--output", "b.html", "--scores"], "--scores is for lines"),
        (["a.html", "--output", "b.html", "--columns", "x"], "--columns is for tables"),
        (["a.txt", "--columns", "x"], "--columns is for a file"),
        (["none.html", "--output", "b.html"], "no such file"),
    ],
)
def test_what_makes_no_sense_is_refused(run, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    for name in ("a.pdf", "a.html", "a.txt"):
        (tmp_path / name).write_text(PAGE)
    assert translate(run, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert (tmp_path / "a.html").read_text() == PAGE and not (tmp_path / "b.html").exists()


def test_a_place_that_cannot_be_written_is_known_before_the_translation(run, tmp_path, monkeypatch, capsys):
    from app.formats import translation

    monkeypatch.setattr(translation, "translate_document", lambda *_: pytest.fail("it was translated"))
    (tmp_path / "a.html").write_text(PAGE)
    (tmp_path / "there.html").mkdir()
    assert translate(run, tmp_path / "a.html", "--output", tmp_path / "a.html" / "b.html") == 2
    assert translate(run, tmp_path / "a.html", "--output", tmp_path / "there.html") == 2
    assert "Is a directory" in capsys.readouterr().err


@pytest.mark.slow
def test_lines_stay_lines_whatever_they_are_called(run, tmp_path, capsys):
    for name in ("a.txt", "lines", "newstest.en"):
        (tmp_path / name).write_text("the dog. a cat.\n\n<b>a tree</b>\n")
        assert translate(run, tmp_path / name) == 0
        assert capsys.readouterr().out.count("\n") == 3
    (tmp_path / "a.html").write_text("the dog\na cat\n")
    assert translate(run, tmp_path / "a.html", "--document") == 0
    assert capsys.readouterr().out.count("\n") == 2
