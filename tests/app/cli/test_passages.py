"""`corpora passages`, with runs whose weights were drawn and not trained."""

import json

import pytest

from app.cli import main as cli
from data.corpora.folder import FolderCorpus
from tests.app.cli.test_document_translate_command import DOCUMENTS, make_run
from tests.app.toy_training import write_corpus


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs with context in windows, `run`, in a memory, `gru/run`, and without, `alone/run`; and a corpus, `toy`."""
    folder = tmp_path_factory.mktemp("passages")
    corpus = write_corpus(folder / "toy", train=40, validation=4, document=10)
    concat = ("memory.kind=concat", "size=2", "context_target=false")
    make_run(folder, *DOCUMENTS, *concat, f"validation={corpus}")
    for name, changes in {"gru": DOCUMENTS, "alone": ()}.items():
        (folder / name).mkdir()
        make_run(folder / name, *changes, f"validation={corpus}")
    return folder


def passages(capsys, *arguments, code=0):
    capsys.readouterr()
    assert cli.main(["corpora", "passages", *map(str, arguments)]) == code
    printed = capsys.readouterr()
    return printed.out if not code else printed.err.splitlines()[-1]


def test_the_chosen_passages_become_a_corpus(folder, capsys):
    out = folder / "context"
    printed = passages(capsys, folder / "run", folder / "toy", out, "--share", "0.3", "--segments", "5")
    every = {pair[:2] for pair in FolderCorpus(folder / "toy").pairs("train")}
    found = list(FolderCorpus(out).pairs("train"))
    assert {pair[:2] for pair in found} <= every
    assert len(found) in (5, 10, 15)
    made = json.loads((out / "made.json").read_text())
    assert made["cxmi"] > made["cxmi of all"] and made["cxmi"] > 0
    assert f"{len(found)} of 40 segments, in {len(found) // 5} of 8 passages; CXMI {made['cxmi']:.4f}" in printed
    assert f"""--corpora {folder} --set 'corpora=["context:2", "{folder / "toy"}"]'""" in printed
    again = passages(capsys, folder / "run", folder / "toy", out, code=2)
    assert f"{out}: exists already" in again


def test_a_run_that_only_loses_by_context_chooses_nothing(folder, capsys, tmp_path):
    message = passages(capsys, folder / "gru" / "run", folder / "toy", tmp_path / "out", code=2)
    assert f"no passage of {folder / 'toy'} gains from its context" in message
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_done_is_refused_before_any_work(folder, capsys, tmp_path):
    run, corpus, out = folder / "run", folder / "toy", tmp_path / "out"
    assert "--share 1" in passages(capsys, run, corpus, out, "--share", "1", code=2)
    assert "--segments 1" in passages(capsys, run, corpus, out, "--segments", "1", code=2)
    alone = passages(capsys, folder / "alone" / "run", corpus, out, code=2)
    assert "the run reads each segment alone" in alone
    write_corpus(tmp_path / "lines", train=10, validation=4)
    assert "no document has several segments" in passages(capsys, run, tmp_path / "lines", out, code=2)
    assert not out.exists()
