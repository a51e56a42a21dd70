"""Corrections, translation memories and dialogues on the command line."""

import json
import select
import subprocess

import pytest

from app.cli import main as cli
from app.runs.run import Run
from tests.app.cli.test_document_translate_command import DOCUMENTS, make_run, translate
from tests.app.toy_training import REPOSITORY, WORDS, command, environment, write_corpus

SOURCES = ["the red dog sees", "a cat", "the old house", "the red dog finds a cat"]
RIGHT = ["der rote Hund sieht", "eine Katze", "das alte Haus", "der rote Hund findet eine Katze"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("plain"), "memory.retrieval.threshold=3.0")


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("documents"), *DOCUMENTS)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("\n".join(SOURCES) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def memory(tmp_path):
    path = tmp_path / "memory.tsv"
    pairs = [f"{one}\t{other}\n" for one, other in zip(SOURCES[:2], RIGHT, strict=False)]
    path.write_text("".join([*pairs, "the house has 7 trees\tdas Haus hat 7 Bäume\n"]), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "documents"])
def test_a_partly_translated_document_is_completed(kind, source, tmp_path, capsys, request):
    path, half = request.getfixturevalue(kind), tmp_path / "half.txt"
    half.write_text(f"\n{RIGHT[1]}\n\n\n", encoding="utf-8")
    found, _ = translate(capsys, path, source, "--corrected", half)
    open_, _ = translate(capsys, path, source, "--document")
    assert found[1] == RIGHT[1] and all(found)
    assert [found[0], *found[2:]] != [open_[0], *open_[2:]]
    half.write_text("\n".join(RIGHT) + "\n", encoding="utf-8")
    assert translate(capsys, path, source, "--corrected", half)[0] == RIGHT


@pytest.mark.slow
def test_a_memory_is_read_kept_and_noticed_when_it_changes(run, source, memory, capsys):
    plain, _ = translate(capsys, run, source)
    found, _ = translate(capsys, run, source, "--memory", memory)
    assert found != plain
    folder = run / "memories" / "memory.tsv"
    built = (folder / "keys").stat().st_mtime_ns
    assert translate(capsys, run, source, "--memory", memory)[0] == found
    assert (folder / "keys").stat().st_mtime_ns == built
    assert translate(capsys, run, source, "--memory", memory, "--set", "memory.retrieval.weight=0")[0] == plain
    with memory.open("a", encoding="utf-8") as file:
        file.write("a big tree\tein großer Baum\n")
    translate(capsys, run, source, "--memory", memory)
    assert (folder / "keys").stat().st_mtime_ns != built


def test_an_exact_index_reads_what_the_small_form_reads_where_that_reads_all(run, source, memory, capsys):
    small, _ = translate(capsys, run, source, "--memory", memory)
    large, _ = translate(capsys, run, source, "--memory", memory, "--set", "memory.retrieval.index=exact")
    assert large == small


def test_matches_are_taken_or_offered_with_their_numbers_adapted(run, memory, tmp_path, capsys):
    source = tmp_path / "in.txt"
    source.write_text("a cat\nthe house has 12 trees\nthe red cat sees\n", encoding="utf-8")
    plain, _ = translate(capsys, run, source)
    found, _ = translate(capsys, run, source, "--memory", memory, "--fuzzy", "0.7")
    assert found == [RIGHT[1], "das Haus hat 12 Bäume", RIGHT[0]]
    found, _ = translate(capsys, run, source, "--memory", memory, "--fuzzy", "1", "--document")
    assert found[:2] == [RIGHT[1], "das Haus hat 12 Bäume"]
    offers = tmp_path / "offers.tsv"
    found, _ = translate(capsys, run, source, "--memory", memory, "--offers", offers)
    rows = [line.split("\t") for line in offers.read_text(encoding="utf-8").splitlines()]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("1", "1.000", RIGHT[1]),
        ("2", "1.000", "das Haus hat 12 Bäume"),
        ("3", "0.750", RIGHT[0]),
    ]
    assert len(found) == len(plain)


def test_a_line_of_a_pipe_is_translated_before_the_next_one_is_written(run, memory, tmp_path):
    translating = subprocess.Popen(
        command("translate", run, "--memory", memory, "--offers", tmp_path / "offers.tsv"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        cwd=REPOSITORY,
    )
    try:
        for line in (b"a cat\n", b"the red cat\n"):
            translating.stdin.write(line)
            translating.stdin.flush()
            assert select.select([translating.stdout], [], [], 60)[0]
            assert translating.stdout.readline().endswith(b"\n")
    finally:
        translating.communicate(timeout=60)
    assert (tmp_path / "offers.tsv").read_text(encoding="utf-8").startswith("1\t1.000\t")


def test_a_dialogue_as_a_process(run, memory, tmp_path):
    kept = tmp_path / "kept.json"
    typed = [
        *SOURCES[:2],
        f":correct 1 {RIGHT[0]}",
        ":show",
        ":undo",
        f":save {kept}",
        f":load {kept}",
        ":show",
        ":nothing",
    ]
    typed += [":correct 7 x", ":new", ":show", ":quit", "never read"]
    done = subprocess.run(
        command("translate", run, "--interactive", "--memory", memory),
        input="\n".join(typed) + "\n",
        capture_output=True,
        text=True,
        env=environment(),
        cwd=REPOSITORY,
        timeout=300,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == f"   100% match: {RIGHT[0]}" and lines[1].startswith("1  ")
    assert f"1* {SOURCES[0]}" in lines and f"   {RIGHT[0]}" in lines
    assert lines[lines.index("2 segments") + 1] == f"1  {SOURCES[0]}" and lines[-1] == "a new document"
    assert json.loads(kept.read_text())["lines"][0]["correction"] is None
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert [error.split(";")[0] for error in errors] == [
        "error: :nothing: there is no such command",
        "error: there is no segment 7",
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--memory", "nowhere.tmx"], "nowhere.tmx: there is no such file"),
        (["--memory", "IN"], "in.txt"),
        (["--memory", "MEMORY", "--engine", "ctranslate2"], "--engine ctranslate2 reads no memory"),
        (["--memory", "MEMORY", "--fuzzy", "7"], "--fuzzy 7.0: expected a similarity"),
        (["--fuzzy", "0.8"], "--fuzzy is for --memory"),
        (["--offers", "x.tsv"], "--offers is for --memory"),
        (["--memory", "MEMORY", "--score-references", "IN"], "leave out --memory"),
        (["--memory", "MEMORY", "--set", "memory.retrieval.index=ivfpq"], "10,000"),
        (["--memory", "MEMORY", "--set", "memory.retrieval.gate=learnt"], "weitblick tune"),
        (["--memory", "MEMORY", "--set", "memory.retrieval.neighbours=0"], "memory.retrieval.neighbours"),
        (["--corrected", "SHORT"], "the source has 4 lines and"),
        (["--corrected", "IN", "--sample"], "--sample"),
        (["--corrected", "MEMORY", "--score-references", "IN"], "leave out --score-references"),
        (["--interactive", "--nbest", "2", "--beam", "2"], "--nbest"),
        (["--interactive", "--document"], "--document"),
    ],
)
def test_what_makes_no_sense_is_refused(options, expected, run, source, memory, tmp_path, capsys):
    (tmp_path / "short.txt").write_text("\n")
    files = {"IN": source, "MEMORY": memory, "SHORT": tmp_path / "short.txt"}
    given = [] if "--interactive" in options else [source]
    options = [str(files.get(option, option)) for option in options]
    assert expected in translate(capsys, run, *given, *options, code=2)


def test_post_editing_is_scored_beside_the_same_run_without(run, tmp_path, capsys):
    corpus = write_corpus(tmp_path / "toy", document=8)
    options = ["--corpus", str(corpus), "--split", "validation", "--no-cxmi", "--samples", "20"]
    figure = tmp_path / "corrected.svg"
    assert cli.main(["evaluate-documents", str(run), "--corrected", *options, "--plot", str(figure)]) == 0
    assert "segments of the document corrected before" in figure.read_text() and ">4-7<" in figure.read_text()
    printed = capsys.readouterr().out
    assert "BLEU by segments corrected before" in printed and "misplaced" in printed
    names = {path.stem for path in (run / "results").glob("*.json")}
    assert {"toy-validation", "toy-validation-corrected"} <= names
    record = json.loads((run / "results" / "toy-validation-corrected.json").read_text())
    assert record["corrected"] is True and record["retrieval"]["threshold"] == 3.0
    scores = {score["name"]: score for score in record["document_scores"]["scores"]}
    assert scores["s-BLEU"]["comparison"]["difference"] > 0
    buckets = record["document_scores"]["bleu_by_corrected"]
    assert [(part["low"], part["lines"]) for part in buckets] == [(0, 5), (1, 15), (4, 20)]
    assert buckets[0]["bleu"] == buckets[0]["baseline"]
    assert cli.main(["evaluate-documents", str(run), *options, "--segments", "9-20"]) == 2
    assert "has no document of this size" in capsys.readouterr().err
    assert cli.main(["evaluate-documents", str(run), *options, "--segments", "many"]) == 2


@pytest.mark.slow
def test_tuning_keeps_the_best_settings_and_learns_a_gate(run, tmp_path, capsys):
    corpus = write_corpus(tmp_path / "toy", document=8)
    assert cli.main(["tune", str(run), "--corpus", str(corpus), "--learn", "--tries", "1"]) == 0
    printed = capsys.readouterr().out
    assert "learnt" in printed and "distance" in printed and "nats" in printed
    settings = Run.open(run).preset.retrieval
    assert settings.gate in ("learnt", "distance") and settings.temperature in (0.06, 0.12, 0.25)
    (tmp_path / "in.txt").write_text(" ".join(WORDS) + "\n", encoding="utf-8")
    assert len(translate(capsys, run, tmp_path / "in.txt", "--document")[0]) == 1
    assert cli.main(["tune", str(run), "--corpus", str(corpus), "--tries", "0"]) == 2


def test_of_settings_that_are_equally_good_those_are_taken_that_misplace_less():
    from app.cli.tune import _best, _Row

    rows = [_Row("a", None, 1.0, 37.4, 40.7), _Row("b", None, 1.1, 37.3, 32.6), _Row("c", None, 1.2, 36.5, 20.0)]
    off = _Row("off", None, 1.5, 36.6, 10.0)
    assert _best(rows, off).settings == "b"
    assert _best([row._replace(misplaced=None) for row in rows], off).settings == "a"
    assert _best(rows, off._replace(bleu=37.5)).settings == "off"
