"""Glossaries on the command line, with a run that is trained for a few updates."""

import json
import re

import pytest

from tests.app.cli import test_commands as commands

command, decodings, place = commands.command, commands.decodings, commands.place


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_a_glossary_is_met_in_translations_and_counted_in_scores(place, capsys, tmp_path, decodings):
    glossary, source = tmp_path / "terms.tsv", tmp_path / "in.txt"
    glossary.write_text("horse\tPferd\ncar\tAuto\n")
    source.write_text("the old horse\na red house\nthe car and the horse\n")
    # The model has hardly learnt anything, and repeats itself.
    translate = ["translate", place / "run", source, "--set", "refuse_loops=false"]
    plain = command(capsys, *translate).splitlines()
    assert not all("Pferd" in plain[line] for line in (0, 2))
    for options in ([], ["--beam", "1"], ["--sample", "--seed", "3"], ["--document"]):
        found = command(capsys, *translate, "--glossary", glossary, *options).splitlines()
        assert re.search(r"\bPferd(e|es|en|s)?\b", found[0]) and re.search(r"\bPferd(e|es|en|s)?\b", found[2])
        assert re.search(r"\bAutos?\b", found[2])
        if options == []:
            assert found[1] == plain[1]
    evaluate = ["evaluate", place / "run", "--corpora", place, "--glossary", glossary]
    shown = command(capsys, *evaluate)
    assert re.search(r"all terms +\S +\d+ \S 100.0%", shown)
    assert len(decodings) == 1 and command(capsys, *evaluate) == shown and len(decodings) == 1
    record = json.loads((place / "run" / "results" / "toys-test-terms.json").read_text())
    assert (
        record["glossary"]["name"] == "terms.tsv"
        and record["terms_met"][0]["met"] == record["terms_met"][0]["segments"]
    )
    glossary.write_text("horse\tGaul\n")
    command(capsys, *evaluate)
    assert len(decodings) == 2
    output = place / "run" / "results" / "toys-test-terms.de"
    assert "horse = Gaul" in command(
        capsys, "evaluate", "--hypotheses", output, "--corpus", "toys", "--corpora", place, "--glossary", glossary
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--glossary", "none.tsv"], "none.tsv: there is no such file"),
        (["--glossary", "{terms}", "--engine", "ctranslate2"], "--engine ctranslate2 takes no glossary"),
        (["--glossary", "{terms}", "--score-references", "x"], "leave out --glossary"),
        (["--glossary", "{bad}"], "bad.tsv, line 1"),
    ],
)
def test_a_glossary_that_cannot_be_used_is_refused(place, capsys, tmp_path, options, message):
    files = {"terms": tmp_path / "terms.tsv", "bad": tmp_path / "bad.tsv"}
    files["terms"].write_text("horse\tPferd\n")
    files["bad"].write_text("horse\n")
    (tmp_path / "in.txt").write_text("the horse\n")
    options = [str(option).format(**files) for option in options]
    assert message in command(capsys, "translate", place / "run", tmp_path / "in.txt", *options, code=2)
