"""Whatever happens to the bytes of a file: pairs, or an error of one line that names it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.bitexts.opening import ENDINGS, open_bitext
from data.errors import UserError
from data.glossary import read_glossary

FILES = Path(__file__).parent / "files"
TABLE = "# note\nsource\ttarget\tpart\tcase\ndog\tHund\tnoun\tyes\n\nHünd\tdog\n".encode()
CONTENTS = {name: (FILES / name).read_bytes() for name in ("example.po", "toolkit.tmx", "toolkit.xlf", "toolkit.tbx")}
CONTENTS |= {"table.tsv": TABLE, "table.csv": TABLE.replace(b"\t", b",").replace(b"dog", b'"d,""og"')}
_BYTES = st.one_of(
    st.binary(max_size=4), st.sampled_from([b"<", b"</", b'"', b"\n", b"\t", b"&", b"\xff\xfe", b"\0", b"]]>", b"<!--"])
)
_CHANGES = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 40), _BYTES), max_size=4)


@pytest.mark.parametrize("name", CONTENTS)
@settings(max_examples=50, deadline=None)
@given(changes=_CHANGES)
def test_damaged_files_are_read_or_refused(tmp_path_factory, name, changes):
    content = CONTENTS[name]
    for place, length, replacement in changes:
        place %= len(content) + 1
        content = content[:place] + replacement + content[place + length :]
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    if name.endswith(ENDINGS):
        _check(path, lambda: list(open_bitext(path).pairs()))
    if name.endswith((".tsv", ".csv", ".tbx")):
        _check(path, lambda: read_glossary(path))


def _check(path, read):
    try:
        found = read()
    except UserError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
        return
    assert found
    for source, target, *_ in found:
        assert source.strip() and target.strip()
        assert not {"\n", "\r", "\u2028"} & set(source + target)
