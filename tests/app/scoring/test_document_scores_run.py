"""Document scores of a run and of a file: what is written, what is reused, what is refused, what is printed."""

import io
import json
import shutil
from types import SimpleNamespace

import pytest

from app.cli import main as cli
from app.presets.preset import Preset
from app.presets.schema import SearchPreset
from app.runs.gate import GateWeights, write_gate
from app.scoring.consistency import TermScorer
from app.scoring.contrapro import Item
from app.scoring.evaluation import DocumentOptions, evaluate, evaluate_documents, evaluate_pronouns
from app.scoring.metrics import ScoreOptions
from app.scoring.report import show_evaluation
from app.scoring.system import System
from app.scoring.testsets import TestSet
from app.translation.decoder import TokenScore
from data.errors import UserError
from tests.app.cli import test_main as test_cli
from tests.app.cli import test_makefile
from tests.app.cli.test_main import refusal, weitblick

SOURCES = tuple(tuple(f"the window {d} of house {s} is old" for s in range(3)) for d in range(6))
REFERENCES = tuple(tuple(f"das Fenster {d} von Haus {s} ist sehr alt" for s in range(3)) for d in range(6))
TEXT = TestSet.of_documents("toys-test", SOURCES, REFERENCES, "toys, test")
ITEMS = [
    Item(f"It is old, {n}.", f"Er ist alt, {n}.", (f"Sie ist alt, {n}.", f"Es ist alt, {n}."), "A dog.", "Ein Hund.")
    for n in range(8)
]
QUICK = DocumentOptions(samples=100)


class Translator:
    """Translates right where the segment stands after the one that belongs before it, else with a word missing."""

    output_tokens = 0

    def __init__(self):
        self.translations = self.scorings = 0

    def translate_documents(self, documents):
        self.translations += 1
        for document in documents:
            found, before = [], None
            for line in document:
                _, _, d, _, _, s, *_ = line.split()
                right = before == (d, str(int(s) - 1)) if int(s) else True
                found.append(f"das Fenster {d} von Haus {s} ist {'sehr ' if right else ''}alt")
                before = d, s
            yield found

    def translate_lines(self, lines):
        """Translates right after a correction of the same document."""
        right = {}
        for line in lines:
            _, _, d, _, _, s, *_ = line.text.split()
            # The line itself: to warm up.
            assert line.correction in (line.text, f"das Fenster {d} von Haus {s} ist sehr alt")
            word = "sehr " if right.get(line.document) == d else ""
            right[line.document] = d
            self.translations += line.correction != line.text and s == "0" and d == "0"
            yield SimpleNamespace(text=f"das Fenster {d} von Haus {s} ist {word}alt")

    def score(self, documents, scored="all"):
        self.scorings += 1
        return [
            [TokenScore(float(bool(n) and "Sie" not in pair[1]), 4) for n, pair in enumerate(pairs)][
                -1 if scored == "last" else 0 :
            ]
            for pairs in documents
        ]


class Fake(System):
    """The system of a run that was trained on documents, with a translator that needs no model."""

    translator = scorer = None

    def __init__(self, path, checksum="1", search=None):
        preset = Preset("copy", search=SearchPreset(beam=1)).with_overrides(["documents.windows=segments"])
        run = SimpleNamespace(
            preset=preset,
            path=path,
            weights_file=lambda which: ("update 7", path / "w.npz", checksum),
        )
        self.said = []
        super().__init__(run, search=search, report=self.said.append)
        self.translator = self.scorer = Translator()
        self.decided = {"precision": "float32", "backend": "none", "cores": 1, "threads": {}, "processor": "none"}

    def documents(self, options=QUICK, **chosen):
        return evaluate_documents(self, TEXT, options=options, **chosen)

    def pronouns(self, **chosen):
        return evaluate_pronouns(self, ITEMS, samples=100, **chosen)

    @property
    def folder(self):
        return self.run.path / "results"

    def record(self, name="toys-test"):
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def fake(tmp_path):
    return Fake(tmp_path / "run")


def page(evaluation):
    file = io.StringIO()
    show_evaluation(evaluation, file)
    return file.getvalue()


def test_a_run_is_translated_scored_and_written_down(fake):
    found = fake.documents(terms=TermScorer(TEXT))
    assert [round(m.value, 6) for m in found.scores] == [100, 100, 100, 0, 0]
    lines = (fake.folder / "toys-test.de").read_text(encoding="utf-8").splitlines()
    assert lines == [line for part in REFERENCES for line in part]
    record = fake.record()
    assert record["test_set"]["documents"] == 6 and record["test_set"]["segments"] == 18
    assert record["weights"] == {"asked_for": "auto", "used": "update 7", "checksum": "1"}
    assert record["search"]["beam"] == 1 and record["decoding"]["segments_per_second"] > 0
    scores = record["document_scores"]
    assert [score["name"] for score in scores["scores"]] == ["s-BLEU", "d-BLEU", "chrF2++", "TER", "misplaced"]
    assert scores["consistency"][0]["reference"] == 100
    assert scores["aligner"]["training_pairs"] == 0
    # A nat for two of three segments, of four tokens each.
    assert scores["cxmi"][0]["value"] == pytest.approx(2 / 12)


def test_evaluate_translates_documents_with_their_memory(fake):
    found = evaluate(fake, TEXT, options=ScoreOptions(samples=20))
    assert found.scores[0].value == pytest.approx(100)
    assert fake.said == []
    # The same translations serve for the scores of documents, and both scores stay in the record.
    fake.documents()
    evaluate(fake, TEXT, options=ScoreOptions(samples=20))
    assert fake.translator.translations == 1
    assert fake.record()["scores"] and fake.record()["document_scores"]["cxmi"]


def test_without_boundaries_each_segment_stands_alone_and_a_line_says_so(fake):
    flat = TestSet("flat", TEXT.sources, TEXT.references, "flat.de")
    found = evaluate(fake, flat, options=ScoreOptions(samples=20))
    assert found.scores[0].value < 90
    assert len(fake.said) == 1 and "flat.de does not say where documents begin" in fake.said[0]


def test_nothing_is_made_twice_by_the_same_weights(fake):
    first = fake.documents()
    made = fake.translator.translations, fake.translator.scorings
    again = fake.documents()
    assert (fake.translator.translations, fake.translator.scorings) == made
    assert again.scores == first.scores and again.context == first.context
    fake.documents(DocumentOptions(samples=100, context=False))
    assert fake.record()["document_scores"]["cxmi"]
    assert (fake.translator.translations, fake.translator.scorings) == made
    fake.documents(DocumentOptions(samples=100, again=True))
    assert fake.translator.translations == 2 * made[0] and fake.translator.scorings == 2 * made[1]


@pytest.mark.parametrize("change", ["weights", "search", "text", "lines", "precision", "own", "own no more", "gate"])
def test_other_weights_search_or_text_are_translated_again(fake, change):
    if change == "gate":
        fake.run.preset = learnt = fake.run.preset.with_overrides(["memory.retrieval.gate=learnt"])
        fake.corrected = True
        write_gate(fake.run, GateWeights([[0.0, 0.0]], [0.0, 0.0]), {})
    elif change == "own no more":
        fake.run.preset = fake.run.preset.with_overrides(["memory.retrieval.own=0.5"])
    fake.documents()
    search = SearchPreset(beam=2) if change == "search" else None
    other = Fake(fake.run.path, "2" if change == "weights" else "1", search)
    if change == "lines":
        (fake.folder / "toys-test.de").write_text("half\n", encoding="utf-8")
    elif change == "precision":
        other.decided = {**other.decided, "precision": "bfloat16"}
    elif change == "own":
        other.run.preset = other.run.preset.with_overrides(["memory.retrieval.own=0.5"])
    elif change == "gate":
        other.run.preset, other.corrected = learnt, True
        write_gate(fake.run, GateWeights([[0.0, 0.0]], [1.0, 0.0]), {})
    text = TestSet.of_documents("toys-test", SOURCES, SOURCES, "toys, test") if change == "text" else TEXT
    evaluate_documents(other, text, options=QUICK)
    assert other.translator.translations == 1


def test_in_shuffled_order_a_model_that_uses_context_falls(fake):
    found = fake.documents(DocumentOptions(samples=100, shuffle=True), baseline=Fake(fake.run.path))
    assert found.scores[1].comparison.difference < -5
    assert found.scores[1].comparison.p_value < 0.05
    assert found.context == []
    # Lines stand where they belong all the same.
    lines = (fake.folder / "toys-test-shuffled.de").read_text(encoding="utf-8").splitlines()
    assert [line.split()[2] for line in lines] == [str(d) for d in range(6) for _ in range(3)]
    assert "in shuffled order" in " ".join(page(found).split())


def test_corrections_of_other_documents_in_shuffled_order(fake):
    fake.corrected = True
    right, wrong = (fake.documents(DocumentOptions(samples=100, shuffle=shuffle)) for shuffle in (False, True))
    assert wrong.scores[0].value < right.scores[0].value - 5
    assert right.corrected and not wrong.corrected
    assert fake.record("toys-test-shuffled-corrected")["corrected"] is True


def test_a_baseline_is_a_run_or_a_file(fake, tmp_path):
    other = Fake(tmp_path / "other")
    assert {m.comparison.p_value for m in fake.documents(baseline=other).scores} == {1.0}
    assert other.translator.translations == 1 and "has not been evaluated on toys-test" in other.said[0]
    fake.documents(baseline=other)
    assert other.translator.translations == 1
    file = tmp_path / "bad.de"
    file.write_text("das Fenster\n" * 18, encoding="utf-8")
    found = fake.documents(baseline=file, terms=TermScorer(TEXT))
    assert found.scores[0].comparison.p_value < 0.05
    printed = page(found)
    assert "difference" in printed and "paired bootstrap of documents" in printed
    file.write_text("das Fenster\n", encoding="utf-8")
    with pytest.raises(UserError, match="bad.de has 1 lines and the reference has 18"):
        fake.documents(baseline=file)


def test_pronouns_are_written_down_and_reused(fake, tmp_path):
    found = fake.pronouns()
    assert found.scores[0].value == 0  # as likely as one of the wrong ones
    made = fake.translator.scorings
    assert fake.pronouns().scores == found.scores
    assert fake.translator.scorings == made
    rows = (fake.folder / "contrapro.tsv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "pronoun\tright context\tno context\twrong context" and rows[1:] == ["er\t0\t0\t0"] * 8
    assert fake.record("contrapro")["test_set"]["items"] == 8
    other = Fake(tmp_path / "other")
    compared = fake.pronouns(baseline=other)
    assert compared.scores[0].comparison.p_value == 1
    assert "ContraPro: 8 items" in page(compared)
    assert other.translator.scorings == made


def test_edited_decisions_are_made_again_and_no_baseline(fake):
    fake.pronouns()
    made, file = fake.translator.scorings, fake.folder / "contrapro.tsv"
    file.write_text(file.read_text(encoding="utf-8").replace("0\t0\t0", "1\t1\t1"), encoding="utf-8")
    with pytest.raises(UserError, match="contrapro.tsv: the file was edited or damaged"):
        Fake(fake.run.path).pronouns(baseline=fake)
    assert fake.pronouns().scores[0].value == 0
    assert fake.translator.scorings == 2 * made and "contrapro.tsv" in fake.said[-1]


def test_what_cannot_be_kept_is_scored_all_the_same(fake):
    fake.run.path.mkdir()
    fake.folder.write_text("a file, where no folder can be made, not even by root")
    assert fake.documents().scores[0].value == pytest.approx(100)
    assert len(fake.said) == 1 and "results cannot be kept here" in fake.said[0]


def test_the_tables_have_every_figure(fake):
    found = fake.documents(terms=TermScorer(TEXT))
    printed = page(found)
    for measure in [*found.scores, *found.terms, *found.context]:
        assert measure.name in printed and f"{measure.value:.{measure.digits}f}" in printed
    for word in ("toys, test: 6 documents, 18 segments", "95% interval", "reference", "d-BLEU|nrefs:1|bs:100|"):
        assert word in printed
    assert "Compared with" not in printed


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the corpus toys, a corpus without documents, and translations of toys."""
    place = tmp_path_factory.mktemp("documents")
    for name, columns in {"toys": ("en", "de", "doc"), "lines": ("en", "de")}.items():
        (place / name).mkdir()
        sides = {"en": SOURCES, "de": REFERENCES, "doc": [[name] * 3 for name in "abcdef"]}
        for column in columns:
            text = "".join(f"{line}\n" for part in sides[column] for line in part)
            (place / name / f"{column}.test.txt").write_text(text, encoding="utf-8")
    hypotheses = [line.replace("sehr", "so") for part in REFERENCES for line in part]
    (place / "out.de").write_text("\n".join(hypotheses) + "\n", encoding="utf-8")
    return place


def test_a_file_is_scored_by_the_command(place):
    where = ("--hypotheses", place / "out.de", "--corpus", "toys", "--corpora", place)
    printed = weitblick("evaluate-documents", *where, "--baseline", place / "out.de", "--samples", 100).stdout
    assert "toys, test: 6 documents, 18 segments" in printed
    assert "consistency, repeated words" in printed and "1.000" in printed
    assert "CXMI" not in printed
    assert "consistency" not in weitblick("evaluate-documents", *where, "--no-consistency", "--samples", 0).stdout


def test_what_cannot_be_scored_is_refused_in_one_line(place, capsys):
    def refused(*arguments):
        assert cli.main(["evaluate-documents", *map(str, arguments)]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1
        return printed.err

    file = ("--hypotheses", place / "out.de", "--corpora", place)
    assert "no documents" in refused(*file, "--corpus", "lines")
    assert "name it with --corpus" in refused(*file)
    assert "no corpus 'none'" in refused(*file, "--corpus", "none")
    assert "--hypotheses uses no model" in refused(*file, "--corpus", "toys", "--contrapro")
    assert "--items is for --contrapro" in refused("run", "--items", 5)
    assert "name either a RUN" in refused()
    assert "no such run folder" in refused(place / "none")
    assert "--samples -1" in refused("run", "--samples", -1)
    (place / "short.de").write_text("x\n", encoding="utf-8")
    assert "short.de has 1 lines" in refused("--hypotheses", place / "short.de", *file[2:], "--corpus", "toys")


def test_an_error_comes_out_of_the_process_as_one_line(place):
    assert "has no documents" in refusal(
        "evaluate-documents", "--hypotheses", place / "out.de", "--corpus", "lines", "--corpora", place
    )


def test_help_is_light_and_make_knows_the_command():
    test_cli.test_help_has_examples_and_loads_nothing_heavy(["evaluate-documents"])
    if not shutil.which("make"):
        return
    chosen = ("RUN=a run", "BASELINE=b", "CORPUS=c d", "CORPORA=e", "ITEMS=50")
    line = " ".join(test_makefile.commands("eval-doc", *chosen)[0].replace("\\", " ").split())
    assert line == '.venv/bin/python -m app evaluate-documents "a run" --corpus c d --corpora "e"'
    script = " ".join(test_makefile.make("-n", "eval-doc", *chosen).stdout.replace("\\", " ").split())
    assert '--corpora "e" --baseline "b" --contrapro --items 50' in script
    assert script.endswith("--items 50")
    everything = test_makefile.make("-n", "eval-doc", "ITEMS=all").stdout.strip()
    assert everything.endswith("--contrapro")
