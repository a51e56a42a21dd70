import io
import json

import pytest

from app.presets.preset import Preset
from app.presets.schema import SearchPreset
from app.scoring.evaluation import (
    DocumentOptions,
    evaluate,
    evaluate_lines,
    evaluate_translations,
    read_baseline,
)
from app.scoring.metrics import ScoreOptions, bleu
from app.scoring.report import show_evaluation
from app.scoring.system import System
from app.scoring.testsets import TestSet
from data.errors import UserError
from tests.app.copy_model import TEXT, CopyModel, run_of, small_tokenizer

REFERENCES = [TEXT[0], TEXT[1].replace("folder", "place"), TEXT[2], ""]
TEST = TestSet("little-test", (*TEXT[:3], ""), tuple(REFERENCES), "little, test")
QUICK = ScoreOptions(samples=20)


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer()


@pytest.fixture
def run(tokenizer, tmp_path):
    preset = Preset("copy", search=SearchPreset(beam=1))
    return run_of(tokenizer, tmp_path / "run", preset, CopyModel(tokenizer.vocabulary_size))


@pytest.fixture
def said():
    return []


@pytest.fixture
def system(run, said):
    return System(run, report=said.append)


def record_of(run, name="little-test"):
    return json.loads((run.path / "results" / f"{name}.json").read_text())


def test_a_run_is_decoded_scored_and_written_down(run, system):
    found = evaluate(system, TEST, options=QUICK)
    assert found.hypotheses == list(TEST.sources)
    expected = bleu(TEST.sources, REFERENCES, QUICK).value
    assert [score.name for score in found.scores] == ["BLEU", "chrF2++", "TER"]
    assert found.scores[0].value == expected
    assert (run.path / "results" / "little-test.de").read_text().split("\n") == [*TEST.sources, ""]
    record = record_of(run)
    every = json.loads((run.path / "results.json").read_text())
    assert every["little-test"] == {key: value for key, value in record.items() if key != "checksum"}
    assert record["scores"][0]["value"] == pytest.approx(expected)
    assert record["scores"][0]["signature"].startswith("nrefs:1|bs:20|seed:12345|case:mixed")
    assert record["search"]["beam"] == 1
    assert record["test_set"]["segments"] == 4
    assert record["decoding"]["output_tokens_per_second"] > 0
    assert sum(bucket["lines"] for bucket in record["bleu_by_source_words"]) == 4


def test_results_record_what_the_machine_decided(run, system):
    evaluate(system, TEST, options=QUICK)
    record = record_of(run)
    assert record["weights"] == {"asked_for": "auto", "used": "update 7", "checksum": "checksum 7"}
    assert record["engine"] == {"name": "keras", "quantization": ""}
    decided = record["decided"]
    assert decided["precision"] in ("float32", "bfloat16") and decided["backend"] and decided["processor"]
    assert decided["cores"] >= 1 and decided["threads"]
    assert record["files"].keys() == {"little-test.de"}


def test_all_sets_of_a_run_stand_in_its_results(run):
    evaluate(System(run), TEST, options=QUICK)
    evaluate(System(run, search=SearchPreset(beam=2)), TEST.head(2), options=QUICK)
    found = json.loads((run.path / "results.json").read_text())
    assert {name: record["search"]["beam"] for name, record in found.items()} == {
        "little-test": 1,
        "little-test-first2": 2,
    }


def test_a_model_that_knows_no_case_is_scored_without_it(tokenizer, tmp_path):
    preset = Preset("copy").with_overrides(["data.lowercase=true"])
    run = run_of(tokenizer, tmp_path, preset, CopyModel(tokenizer.vocabulary_size))
    found = evaluate(System(run), TestSet("t", tuple(TEXT), tuple(TEXT), "t"), moses=False)
    assert found.hypotheses == [line.lower() for line in TEXT]
    assert found.scores[0].value == pytest.approx(100)
    assert "|case:lc|" in found.scores[0].signature


def test_older_papers_way_of_scoring_comes_beside(run, system):
    pytest.importorskip("sacremoses")
    found = evaluate(system, TEST, options=QUICK, moses=True)
    assert "tok:none" in found.tokenised.signature
    assert record_of(run)["bleu_on_moses_tokens"]["value"] == found.tokenised.value
    assert evaluate(system, TEST, options=QUICK).tokenised is None
    assert "bleu_on_moses_tokens" not in record_of(run)


def test_a_baseline_that_was_not_evaluated_is_evaluated_then(run, system, tokenizer, tmp_path, said):
    other = run_of(tokenizer, tmp_path / "other", run.preset, run.load_model("auto"))
    baseline = System(other, report=said.append)
    found = evaluate(system, TEST, options=QUICK, baseline=baseline)
    assert {score.comparison.p_value for score in found.scores} == {1.0}
    assert record_of(other)["files"]
    assert "other has not been evaluated on little-test" in said[0] and len(said) == 1
    evaluate(system, TEST, options=QUICK, baseline=baseline)
    assert len(said) == 1
    # New weights, or another text of the same name: what was translated is no baseline any more.
    other.weights_file = lambda which: ("update 8", tmp_path, "checksum 8")
    evaluate(system, TEST, options=QUICK, baseline=System(other, report=said.append))
    assert len(said) == 2
    text = TestSet("little-test", TEST.sources[:2], TEST.references[:2], "little, test")
    evaluate(system, text, options=QUICK, baseline=System(other, report=said.append))
    assert len(said) == 3


def test_a_baseline_is_a_file(tmp_path):
    file = tmp_path / "bad.de"
    file.write_text("\n".join(["The file", "Please", "Ein Mann", ""]) + "\n")
    found = evaluate_lines(list(TEST.sources), TEST, QUICK, baseline=read_baseline(file, TEST))
    signs = [score.comparison.difference > 0 for score in found.scores]
    assert signs == [True, True, False]  # of TER less is better
    assert found.as_dict()["baseline"] == str(file)
    assert read_baseline(file, TEST.head(2))[1] == ["The file", "Please"]
    file.write_text("one line\n")
    with pytest.raises(UserError, match="bad.de has 1 lines and the reference has 4"):
        read_baseline(file, TEST)


def test_edited_translations_are_made_again_and_no_baseline(run, system, said):
    evaluate(system, TEST, options=QUICK)
    file = run.path / "results" / "little-test.de"
    file.write_text("overwritten\n" * 4)
    with pytest.raises(UserError, match="little-test.de: the file was edited or damaged .*; delete it"):
        read_baseline(system, TEST)
    assert evaluate(system, TEST, options=QUICK).hypotheses == list(TEST.sources)
    assert "little-test.de: the file was edited or damaged" in said[-1]
    assert file.read_text().splitlines() == list(TEST.sources)


def test_other_weights_precision_or_threads_translate_again(run):
    def translations(**decided):
        system, made = System(run), []
        system.__dict__["decided"] = {**System(run).decided, **decided}
        translate = system._translate
        system._translate = lambda *args: made.append(args) or translate(*args)
        evaluate(system, TEST, options=QUICK)
        return len(made)

    assert translations(precision="bfloat16") == 1
    assert translations(precision="bfloat16") == 0
    assert translations(precision="float32") == 1
    assert translations(precision="float32", cores=77) == 1
    assert translations(precision="float32", cores=77, processor="of another name") == 0
    run.weights_file = lambda which: ("update 8", run.path, "checksum 8")
    assert translations(precision="float32", cores=77) == 1


def test_edited_scores_are_made_again(run, system, said):
    evaluate(system, TEST, options=QUICK)
    file = run.path / "results" / "little-test.json"
    file.write_text(file.read_text().replace('"beam": 1', '"beam": 2'))
    evaluate(System(run, search=SearchPreset(beam=2), report=said.append), TEST, options=QUICK)
    assert "little-test.json: the file was edited or damaged" in said[0]


def test_what_cannot_be_kept_is_scored_all_the_same(run, system, said):
    run.path.mkdir()
    (run.path / "results").write_text("a file, where no folder can be made, not even by root")
    found = evaluate(system, TEST, options=QUICK)
    assert found.hypotheses == list(TEST.sources)
    assert len(said) == 1 and "results: results cannot be kept here" in said[0]


def test_a_file_needs_no_sources(tmp_path):
    found = evaluate_lines(TEXT, TestSet("t", None, tuple(TEXT), "t"), QUICK)
    assert found.scores[0].value == pytest.approx(100)
    assert found.lengths == []
    with pytest.raises(UserError, match="the translation has 3 lines"):
        evaluate_lines(TEXT[:3], TestSet("t", None, tuple(TEXT), "t"))


def test_references_alone_cannot_be_translated(system):
    with pytest.raises(UserError, match="no source text"):
        evaluate(system, TestSet("t", None, tuple(TEXT), "refs.de"))


@pytest.mark.parametrize("content", ["{half", "[1]", "[" * 100_000, "{}"])
def test_damaged_results_are_made_again(run, system, content):
    results = run.path / "results"
    results.mkdir(parents=True)
    for name in ("old-test.json", "little-test.json"):
        (results / name).write_text(content)
    evaluate(system, TEST, options=QUICK)
    assert list(json.loads((run.path / "results.json").read_text())) == ["little-test"]


def test_the_table_has_every_figure():
    baseline = ("other.de", ["x y z"] * 4)
    evaluation = evaluate_lines(list(TEST.sources), TEST, QUICK, baseline=baseline)
    page = io.StringIO()
    show_evaluation(evaluation, page)
    text = page.getvalue()
    for score in evaluation.scores:
        assert f"{score.value:.1f}" in text
        assert f"{score.name}|{score.signature}" in text.splitlines()
    for word in ("little, test", "95% interval", "other.de", "BLEU by source length", "0-10"):
        assert word in text


def test_bleu_by_position_counts_the_segments_before_in_each_document():
    right = "one two three four five six"
    test = TestSet.of_documents("little", [[right] * 5, [right] * 2], [[right] * 5, [right] * 2], "here")
    # The first segments of both documents are wrong.
    found = ["nothing of this is right at", *[right] * 4, "nothing of this is right at", right]
    for positions in (
        evaluate_lines(found, test, QUICK).positions,
        evaluate_translations(found, test, DocumentOptions(samples=0)).positions,
    ):
        assert [(str(score), score.lines) for score in positions] == [("0", 2), ("1-3", 4), ("4-7", 1)]
        assert positions[0].bleu < 10 and [score.bleu for score in positions[1:]] == pytest.approx([100, 100])
    assert evaluate_lines(found, test, QUICK).as_dict()["bleu_by_position"][1]["low"] == 1
    assert not evaluate_translations(found, test, DocumentOptions(samples=0, shuffle=True)).positions
    alone = TestSet("little", test.sources, test.references, "here")
    assert "bleu_by_position" not in evaluate_lines(found, alone, QUICK).as_dict()
