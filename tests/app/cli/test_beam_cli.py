"""`corpora prepare` beside the other actions: its output is a corpus as any other."""

import data.beam
from app.cli import main as cli
from data.installing import extra_command
from data.warehouse.opening import open_warehouse
from tests import beam_environment


def test_without_beam_it_says_how_to_get_it(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(data.beam, "find_spec", lambda name: None if name == "apache_beam" else name)
    assert cli.main(["corpora", "prepare", "software", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        f"error: corpora prepare needs apache_beam: {extra_command('beam', pinned=False)}, preferably in a "
        "separate virtual environment (docs/beam.md)\n"
    )
    assert not (tmp_path / "out").exists()


def test_what_was_prepared_is_shown_and_loaded(capsys, tmp_path):
    beam_environment.need()
    folder, out = tmp_path / "corpora" / "talks", tmp_path / "out"
    folder.mkdir(parents=True)
    for column, lines in {"en": ["one", "two", "two", ""], "de": ["eins", "zwei", "zwei", "x"]}.items():
        (folder / f"{column}.train.txt").write_text("".join(f"{line}\n" for line in lines))
    (folder / "doc.train.txt").write_text("a\na\nb\nb\n")
    command = ("corpora", "prepare", "talks", out, "--corpora", folder.parent, "--preset", "starter")
    [(code, shown, error)] = beam_environment.weitblick((*command, "--pipeline-option", "direct_num_workers=1"))
    assert (code, error) == (0, "")
    assert shown.splitlines() == [
        "talks",
        "pairs read        4  100.00%",
        "a side is empty  -1   25.00%",
        "duplicate        -1   25.00%",
        "pairs kept        2   50.00%",
        f"{out}: to train on it, add --corpora {out}",
    ]
    assert cli.main(["corpora", "list", "--corpora", str(out)]) == 0
    assert "talks" in capsys.readouterr().out
    assert cli.main(["corpora", "show", "talks", "--corpora", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "documents    yes" in shown and "train        2 pairs" in shown and "en: two\nde: zwei" in shown
    address = str(tmp_path / "w.duckdb")
    assert cli.main(["corpora", "load", "talks", "--corpora", str(out), "--warehouse", address]) == 0
    with open_warehouse(address) as warehouse:
        query = "SELECT corpus, split, doc, position, en, de FROM pairs ORDER BY position"
        rows = [tuple(row.values()) for batch in warehouse.rows(query) for row in batch.to_pylist()]
    assert rows == [("talks", "train", "a", 0, "one", "eins"), ("talks", "train", "a", 1, "two", "zwei")]
