import math

import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from app.scoring.metrics import ScoreOptions, bleu, bleu_by_length, score
from app.translation.lines import read_text
from data.errors import UserError

QUICK = ScoreOptions(samples=0)
REFERENCES = [
    "Der Hund läuft schnell über die grüne Wiese.",
    "Eine Frau liest ein Buch im Park.",
    "Zwei Kinder spielen mit einem roten Ball.",
    "Das Wetter ist heute leider sehr schlecht.",
]
HYPOTHESES = [
    "Der Hund läuft schnell über die Wiese.",
    "Eine Frau liest ein Buch in dem Park.",
    "Zwei Kinder spielen mit dem roten Ball.",
    "das Wetter ist heute sehr schlecht.",
]


def test_bleu_as_it_is_defined():
    # One word of eight is wrong: 7/8, 5/7, 4/6 and 3/5 of the n-grams are right, and the lengths are equal.
    found = bleu(["a b c d X f g h"], ["a b c d e f g h"], QUICK)
    assert found.value == pytest.approx(100 * (7 / 8 * 5 / 7 * 3 / 6 * 1 / 5) ** 0.25)
    assert found.details == "87.5/71.4/50.0/20.0 (BP 1.000, 8 words, reference 8)"


def test_too_short_output_is_penalised():
    found = bleu(["a b c d e f"], ["a b c d e f g h"], QUICK)
    assert found.value == pytest.approx(100 * math.exp(1 - 8 / 6))


def test_scores_are_those_of_sacrebleu():
    found = {s.name: s.value for s in score(HYPOTHESES, REFERENCES, QUICK)}
    assert found == {
        "BLEU": pytest.approx(BLEU().corpus_score(HYPOTHESES, [REFERENCES]).score),
        "chrF2++": pytest.approx(CHRF(word_order=2).corpus_score(HYPOTHESES, [REFERENCES]).score),
        "TER": pytest.approx(TER().corpus_score(HYPOTHESES, [REFERENCES]).score),
    }


def test_signatures_say_all_that_is_needed():
    plain, chrf, ter = (s.signature for s in score(HYPOTHESES, REFERENCES, ScoreOptions(samples=50)))
    assert plain.startswith("nrefs:1|bs:50|seed:12345|case:mixed|eff:no|tok:13a|smooth:exp|version:2.")
    assert "|nc:6|nw:2|" in chrf
    assert "|tok:tercom|norm:no|" in ter
    options = ScoreOptions(lowercase=True, tokenize="intl", samples=0, test="wmt14", pair="en-de")
    assert "|test:wmt14|lang:en-de|case:lc|eff:no|tok:intl|" in bleu(HYPOTHESES, REFERENCES, options).signature


def test_intervals_hold_the_mean_of_the_samples_and_shrink_with_the_text():
    few = bleu(HYPOTHESES, REFERENCES, ScoreOptions(samples=300))
    many = bleu(HYPOTHESES * 25, REFERENCES * 25, ScoreOptions(samples=300))
    assert few.value == pytest.approx(many.value)
    assert 0 < many.half_width < few.half_width / 2
    assert many.low < many.value < many.high
    assert str(many) == f"BLEU {many.value:.1f} ± {many.half_width:.1f}"
    assert bleu(HYPOTHESES, REFERENCES, QUICK).low is None


@pytest.mark.parametrize("hypotheses", [["", ""], ["x y", ""], ["ein Haus", "ein Baum"]])
def test_bad_output_is_scored_and_not_refused(hypotheses):
    for found in score(hypotheses, ["ein Haus", "ein Baum"], ScoreOptions(samples=20)):
        assert math.isfinite(found.value)
        assert math.isfinite(found.low)


def test_case_counts_unless_it_shall_not():
    lower = [line.lower() for line in REFERENCES]
    assert bleu(lower, REFERENCES, QUICK).value < 80
    assert bleu(lower, REFERENCES, ScoreOptions(lowercase=True, samples=0)).value == pytest.approx(100)


def test_moses_prepares_text_as_multi30k_was():
    pytest.importorskip("sacremoses")
    options = ScoreOptions(lowercase=True, tokenize="moses", samples=0)
    # What Moses' Perl scripts lowercase, normalize-punctuation and tokenizer make of these.
    raw = ["Ein Schild mit der Nummer „93“, dahinter z.B. Ski.", "Uli's saftig-grünes Gras (oben)!"]
    tokens = [
        "ein schild mit der nummer &quot; 93 &quot; , dahinter z.b. ski .",
        "uli &apos; s saftig-grünes gras ( oben ) !",
    ]
    from app.scoring.metrics import _tokenised

    assert _tokenised(raw, options) == tokens
    found = bleu(raw, [line.upper() for line in raw], options)
    assert found.value == pytest.approx(100)
    assert "|case:lc|eff:no|tok:none|" in found.signature
    assert "|text:sacremoses-norm-tok-de-" in found.signature


def test_bleu_by_length_puts_each_segment_into_one_bucket():
    sources = ["w " * length for length in (1, 10, 11, 20, 21, 200)]
    references = ["ein Satz mit fünf Worten"] * 6
    hypotheses = [*references[:5], "etwas ganz anderes als erwartet"]
    found = bleu_by_length(sources, hypotheses, references)
    assert [(str(bucket), bucket.lines) for bucket in found] == [("0-10", 2), ("11-20", 2), ("21-30", 1), ("61+", 1)]
    assert [bucket.bleu for bucket in found] == [*[pytest.approx(100)] * 3, 0.0]


def test_a_real_difference_is_told_from_chance():
    worse = [" ".join(line.split()[:-2]) for line in REFERENCES] * 10
    options = ScoreOptions(samples=200)
    same = score(HYPOTHESES * 10, REFERENCES * 10, options, HYPOTHESES * 10)
    other = score(REFERENCES * 10, REFERENCES * 10, options, worse)
    for found in same:
        assert (found.comparison.p_value, found.comparison.difference) == (1.0, 0.0)
    assert [found.comparison.p_value < 0.01 for found in other] == [True] * 3
    assert [found.comparison.difference > 0 for found in other] == [True, True, False]
    assert "|bs:200|" in other[0].signature
    # A baseline changes neither the score nor its interval.
    alone = score(REFERENCES * 10, REFERENCES * 10, options)
    assert [(m.value, m.low, m.high) for m in other] == [(m.value, m.low, m.high) for m in alone]


def test_lines_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="the translation has 3 lines and the reference has 4"):
        score(HYPOTHESES[:3], REFERENCES)
    with pytest.raises(UserError, match="the baseline has 1 lines"):
        score(HYPOTHESES, REFERENCES, baseline=HYPOTHESES[:1])
    with pytest.raises(UserError, match="empty"):
        score([], [])
    with pytest.raises(UserError, match="choose one of 13a"):
        ScoreOptions(tokenize="13b")


def test_published_outputs_get_their_published_scores(shared_corpora):
    folder = shared_corpora.parent / "published" / "newstest2014"
    if not folder.exists():
        pytest.skip("needs the published translations of newstest2014 beside the corpora")
    references = read_text(shared_corpora / "newstest" / "de.test.txt")
    found = {path.stem: round(bleu(read_text(path), references, QUICK).value, 1) for path in folder.glob("*.de")}
    assert len(references) == 2737
    assert found == {"google": 35.9, "microsoft": 34.8, "bergamot-tiny": 29.9}
