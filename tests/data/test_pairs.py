"""Documents of pairs in reading order."""

import pytest

from data.corpora.folder import FolderCorpus, write_folder
from data.errors import UserError
from data.pairs import Pair, consecutive


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_end_in_the_id_of_a_document_is_a_space(tmp_path, end):
    pairs = [Pair("a", "b", f"Title{end}subtitle"), Pair("c", "d", f"Title{end}subtitle")]
    found = list(consecutive(pairs, str))
    assert [pair.doc for pair in found] == ["Title subtitle"] * 2
    write_folder(tmp_path / "corpus", found, "en", "de", {})
    assert list(FolderCorpus(tmp_path / "corpus").pairs("train")) == found


def test_a_document_that_goes_on_after_another_is_refused():
    pairs = [Pair("a", "b", "1"), Pair("c", "d", "2"), Pair("e", "f", "1")]
    with pytest.raises(UserError, match="row 3: document '1' continues here after document '2'"):
        list(consecutive(pairs, lambda number: f"row {number}"))
