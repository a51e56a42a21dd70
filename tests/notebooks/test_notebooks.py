"""The notebooks run, say what their text source says, and the outputs beside them are those of a whole run."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "notebooks"
FIRST, SECOND = FOLDER / "01_transformer_from_masks_to_bleu.py", FOLDER / "02_memory.py"
SOURCES = sorted(FOLDER.glob("[0-9]*.py"))
EXECUTE = FOLDER / "execute.py"


def cells(path):
    """Type and text of each cell of a text source or a notebook."""
    import jupytext

    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


def code_cells(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(path):
    return [output for cell in code_cells(path) for output in cell["outputs"]]


def printed(path):
    """All that the cells of a notebook print."""
    return "".join("".join(output["text"]) for output in outputs(path) if output["output_type"] == "stream")


def figures(path):
    return [output for output in outputs(path) if "image/png" in output.get("data", {})]


def assert_clean(path):
    """All cells ran, once and in order; none failed, warned, or printed where things are on this machine."""
    ran = [cell["execution_count"] for cell in code_cells(path)]
    assert ran == list(range(1, len(ran) + 1))
    assert [output for output in outputs(path) if output["output_type"] == "error"] == []
    assert [output["text"] for output in outputs(path) if output.get("name") == "stderr"] == []
    for place in (REPOSITORY, Path.home(), Path(tempfile.gettempdir())):
        assert len(place.parts) == 1 or f"{place}/" not in printed(path), f"{path.name} names {place}"


def run(*arguments, **environment):
    command = [sys.executable, str(EXECUTE), *map(str, arguments)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=900)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebook_has_the_cells_of_its_text_source(source):
    assert cells(source.with_suffix(".ipynb")) == cells(source), f"python notebooks/execute.py {source.name} mends it"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_committed_outputs_are_those_of_one_whole_run_in_full_mode(source):
    notebook = source.with_suffix(".ipynb")
    assert_clean(notebook)
    assert printed(notebook).startswith("full mode")
    assert notebook.stat().st_size < 1_500_000


def test_committed_outputs_hold_what_the_first_notebook_claims():
    text = printed(FIRST.with_suffix(".ipynb"))
    assert float(re.search(r"tokens right at lengths 3 to 10: ([\d.]+)%", text)[1]) > 95
    assert float(re.search(r"beam of 4 +BLEU ([\d.]+)", text)[1]) > 10
    assert re.search(r"BLEU\S* .* nrefs:1\|.*case:mixed\|eff:no\|tok:13a\|smooth:exp\|version:", text)


def test_committed_outputs_hold_what_the_second_notebook_claims():
    text = printed(SECOND.with_suffix(".ipynb"))
    recall = {kind: re.search(rf"^{kind} +(1: .*)", text, re.MULTILINE)[1] for kind in ("gru", "none")}
    shares = {kind: [int(share) for share in re.findall(r"(\d+)%", found)] for kind, found in recall.items()}
    assert len(shares["gru"]) == len(shares["none"]) == 6
    assert min(shares["gru"][:5]) > 95
    assert shares["gru"][5] > 2 * max(shares["none"])
    assert max(shares["none"]) < 20
    differences = re.findall(r"^(?:s|d)-BLEU .* p = ([\d.]+)", text, re.MULTILINE)
    assert len(differences) == 2
    assert float(re.search(r"^gru +right less wrong +\S+ \[([+-][\d.]+)", text, re.MULTILINE)[1]) > 0


@pytest.mark.parametrize(("source", "pictures"), [(FIRST, 25), (SECOND, 20)], ids=["first", "second"])
def test_notebook_runs_in_quick_mode_without_network(source, pictures, tmp_path):
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    quick = {"WEITBLICK_QUICK": "1", "WEITBLICK_CACHE": str(tmp_path / "cache"), **nowhere}
    done = run(source, "--output", tmp_path, **quick)
    assert done.returncode == 0, done.stderr
    notebook = tmp_path / f"{source.stem}.ipynb"
    assert_clean(notebook)
    assert printed(notebook).startswith("quick mode")
    assert len(figures(notebook)) == len(figures(source.with_suffix(".ipynb"))) >= pictures
    assert not (tmp_path / "cache" / "wheels").exists()


def test_cell_that_fails_is_an_error_and_leaves_nothing(tmp_path):
    source = tmp_path / "1.py"
    source.write_text("# %%\nprint('before')\n\n# %%\nassert 1 == 2, 'the claim'\n", encoding="utf-8")
    done = run(source)
    assert done.returncode == 1
    assert "AssertionError: the claim" in done.stderr
    assert not source.with_suffix(".ipynb").exists()


def test_made_up_corpus_is_right_and_its_splits_share_nothing(tmp_path, monkeypatch):
    from data.corpora.corpora import Corpora

    monkeypatch.syspath_prepend(str(FOLDER))
    import made_up

    corpus = Corpora().open(made_up.write_corpus(tmp_path / "corpus"))
    splits = {split: [pair[:2] for pair in corpus.pairs(split)] for split in corpus.splits()}
    everything = [pair for pairs in splits.values() for pair in pairs]
    assert len(set(everything)) == len(everything) == 288
    assert list(map(len, splits.values())) == [240, 24, 24]
    assert ("I can see the table in the garden.", "Ich kann den Tisch im Garten sehen.") in everything
    assert ("Where is the oven?", "Wo ist der Ofen?") in everything


def test_made_up_documents_need_their_context(tmp_path, monkeypatch):
    from data.corpora.corpora import Corpora

    monkeypatch.syspath_prepend(str(FOLDER))
    import made_up

    corpus = Corpora().open(made_up.write_documents(tmp_path / "corpus"))
    assert corpus.has_documents
    documents = {}
    for split in corpus.splits():
        for pair in corpus.pairs(split):
            documents.setdefault((split, pair.doc), []).append(pair)
    assert len(documents) == 48
    assert {len(document) for document in documents.values()} == {4}
    # The same English line after a feminine, a neuter and a masculine noun.
    german = {}
    for document in documents.values():
        noun = re.search(r"(Lampe|Radio|Tisch)", document[0].target)
        for pair in document if noun else ():
            german.setdefault(pair.source, {})[noun[1]] = pair.target
    assert german["Please repair it."]["Lampe"] == "Bitte reparieren Sie sie."
    assert german["Please repair it."]["Radio"] == "Bitte reparieren Sie es."
    assert german["Please repair it."]["Tisch"] == "Bitte reparieren Sie ihn."
    assert german["It is too old."]["Tisch"] == "Er ist zu alt."
