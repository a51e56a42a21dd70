import io
import json

import pytest

from app.presets.preset import Preset
from app.presets.schema import SearchPreset
from app.scoring.evaluation import decode_bleu, evaluate, evaluate_lines, read_baseline, write_results
from app.scoring.metrics import ScoreOptions, bleu
from app.scoring.report import show_evaluation
from app.scoring.testsets import TestSet
from app.translation.translator import Translator
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


def test_a_run_is_decoded_scored_and_written_down(run):
    found = evaluate(run, TEST, options=QUICK)
    assert found.hypotheses == list(TEST.sources)
    expected = bleu(TEST.sources, REFERENCES, QUICK).value
    assert [score.name for score in found.scores] == ["BLEU", "chrF2++", "TER"]
    assert found.scores[0].value == expected
    results = run.path / "results"
    assert (results / "little-test.de").read_text().split("\n") == [*TEST.sources, ""]
    record = json.loads((results / "little-test.json").read_text())
    assert record == json.loads((run.path / "results.json").read_text())["little-test"]
    assert record["scores"][0]["value"] == pytest.approx(expected)
    assert record["scores"][0]["signature"].startswith("nrefs:1|bs:20|seed:12345|case:mixed")
    assert record["weights"]["used"] == "update 7"
    assert record["search"]["beam"] == 1
    assert record["test_set"]["segments"] == 4
    assert record["decoding"]["output_tokens_per_second"] > 0
    assert record["hardware"]["processor"]
    assert sum(bucket["lines"] for bucket in record["bleu_by_source_words"]) == 4


def test_all_sets_of_a_run_stand_in_its_results(run):
    evaluate(run, TEST, options=QUICK)
    evaluate(run, TEST.head(2), options=QUICK, search=SearchPreset(beam=2))
    found = json.loads((run.path / "results.json").read_text())
    assert {name: record["search"]["beam"] for name, record in found.items()} == {
        "little-test": 1,
        "little-test-first2": 2,
    }


def test_other_weights_are_told_apart(run):
    before = evaluate(run, TEST, options=QUICK).how["weights"]
    table = run.weights("auto")[1]["table"]
    run.weights = lambda which: ("update 8", {"table": 2 * table})
    after = evaluate(run, TEST, options=QUICK, checkpoint="best").how["weights"]
    assert after["sha256"] != before["sha256"]
    assert (after["asked_for"], after["used"]) == ("best", "update 8")


def test_a_model_that_knows_no_case_is_scored_without_it(tokenizer, tmp_path):
    preset = Preset("copy").with_overrides(["data.lowercase=true"])
    run = run_of(tokenizer, tmp_path, preset, CopyModel(tokenizer.vocabulary_size))
    found = evaluate(run, TestSet("t", tuple(TEXT), tuple(TEXT), "t"), moses=False)
    assert found.hypotheses == [line.lower() for line in TEXT]
    assert found.scores[0].value == pytest.approx(100)
    assert "|case:lc|" in found.scores[0].signature


def test_older_papers_way_of_scoring_comes_beside(run):
    pytest.importorskip("sacremoses")
    found = evaluate(run, TEST, options=QUICK, moses=True)
    assert "tok:none" in found.tokenised.signature
    assert found.as_dict()["bleu_on_moses_tokens"]["value"] == found.tokenised.value
    assert evaluate(run, TEST, options=QUICK).tokenised is None


def test_a_baseline_is_a_run(run, tokenizer, tmp_path):
    other = run_of(tokenizer, tmp_path / "other", run.preset, run.load_model("auto"))
    other.path.mkdir()
    with pytest.raises(UserError, match="has no translations of little-test; first run: weitblick evaluate .*other"):
        evaluate(run, TEST, options=QUICK, baseline=other.path)
    evaluate(other, TEST, options=QUICK)
    found = evaluate(run, TEST, options=QUICK, baseline=other.path)
    assert {c.p_value for c in found.comparisons} == {1.0}


def test_a_baseline_is_a_file(tmp_path):
    file = tmp_path / "bad.de"
    file.write_text("\n".join(["The file", "Please", "Ein Mann", ""]) + "\n")
    baseline = read_baseline(file, TEST, "de")
    found = evaluate_lines(list(TEST.sources), TEST, QUICK, baseline=baseline)
    assert all(c.better for c in found.comparisons)
    assert found.as_dict()["baseline"]["name"] == str(file)
    assert read_baseline(file, TEST.head(2), "de")[1] == ["The file", "Please"]
    file.write_text("one line\n")
    with pytest.raises(UserError, match="bad.de has 1 lines and the reference has 4"):
        read_baseline(file, TEST, "de")


def test_a_baseline_of_another_text_is_refused(tmp_path):
    write_results(evaluate_lines(TEXT[:3], TestSet("t", None, tuple(TEXT[:3]), "t"), QUICK), tmp_path, "de")
    with pytest.raises(UserError, match="scored on another text"):
        read_baseline(tmp_path, TestSet("t", None, tuple(TEXT[1:]), "t"), "de")


def test_a_file_needs_no_sources(tmp_path):
    found = evaluate_lines(TEXT, TestSet("t", None, tuple(TEXT), "t"), QUICK)
    assert found.scores[0].value == pytest.approx(100)
    assert found.lengths == []
    with pytest.raises(UserError, match="the translation has 3 lines"):
        evaluate_lines(TEXT[:3], TestSet("t", None, tuple(TEXT), "t"))


def test_references_alone_cannot_be_translated(run):
    with pytest.raises(UserError, match="no source text"):
        evaluate(run, TestSet("t", None, tuple(TEXT), "refs.de"))


def test_damaged_results_are_made_again(run):
    results = run.path / "results"
    results.mkdir(parents=True)
    (results / "old-test.json").write_text("{half")
    evaluate(run, TEST, options=QUICK)
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


def test_validation_decodes_and_scores(tokenizer):
    translator = Translator(CopyModel(tokenizer.vocabulary_size), tokenizer, SearchPreset(beam=1))
    figure, examples = decode_bleu(translator, TEXT, [line.lower() for line in TEXT], shown=2)
    assert figure == pytest.approx(bleu(TEXT, [line.lower() for line in TEXT]).value)
    assert [example.source for example in examples] == [TEXT[1], TEXT[3]]
    assert examples[0].hypothesis == TEXT[1]
    assert examples[0].reference == TEXT[1].lower()
    lower, _ = decode_bleu(translator, TEXT, [line.lower() for line in TEXT], lowercase=True)
    assert lower == pytest.approx(100)
