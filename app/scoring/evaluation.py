"""Scores a system, or a file of translations, on a test set: by lines, by documents, by pronouns."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from app.scoring.bootstrap import SAMPLES, Measure
from app.scoring.consistency import TermScorer
from app.scoring.contrapro import Item, choose_pronouns, decision_lines, fingerprint, pronoun_measures, read_decisions
from app.scoring.copies import Copied, Lost, count_copies
from app.scoring.cxmi import context_use
from app.scoring.metrics import (
    LengthScore,
    ScoreOptions,
    bleu,
    bleu_by_length,
    bleu_by_position,
    check_lengths,
    has_moses,
    score,
    score_documents,
)
from app.scoring.misplaced import misplaced
from app.scoring.system import System
from app.scoring.terms import MissedTerms, TermCount, count_terms
from app.scoring.testsets import TestSet
from app.terminal import decoding_progress
from app.translation.lines import read_text
from data.terms import Glossary

PRONOUNS = "contrapro"
DOCUMENTS = "document_scores"
MOSES = "bleu_on_moses_tokens"
_BY_POSITION = "bleu_by_position"
_OPTIONAL = (
    MOSES,
    "bleu_by_source_words",
    _BY_POSITION,
    "copied",
    "lost",
    "terms_met",
    "terms_missed",
)
Baseline = System | Path | str


@dataclass(frozen=True)
class DocumentOptions:
    """What to score in documents, and how.

    Args:
        lowercase: whether BLEU and chrF2++ ignore case.
        samples: bootstrap samples; 0 leaves intervals and significance out.
        context: whether to measure the use of context (CXMI).
        shuffle: whether to translate the segments in shuffled order, each with a context that is not its own.
        again: whether to translate and score again what these weights have already translated.
    """

    lowercase: bool = False
    samples: int = SAMPLES
    context: bool = True
    shuffle: bool = False
    again: bool = False


@dataclass(frozen=True)
class Evaluation:
    """The scores of one system on one text. Scores that were not asked for are empty.

    Args:
        title: the text and its size.
        scores: the main scores, each compared with the baseline's if there is one.
        hypotheses: the translations.
        tokenised: BLEU on Moses tokens, as in older papers.
        lengths: BLEU by the length of the source.
        positions: BLEU by the number of preceding segments in the document, for documents read in order.
        terms: term consistency.
        aligner: what the aligner for `terms` was trained on, see `TermScorer.trained_on`.
        corrected: BLEU by the number of segments corrected before, for post-edited documents.
        context: CXMI.
        copied, lost: how much of what must be copied was, and the first lines that lost something.
        met, missed: how often the terms of a glossary are met, and the first segments that miss one.
        samples: bootstrap samples that were asked for.
        baseline: what the system was compared with, or "".
        how: the record of the translations: weights, search, precision, speed and so on.
    """

    title: str
    scores: list[Measure]
    hypotheses: list[str] = field(default_factory=list)
    tokenised: Measure | None = None
    lengths: list[LengthScore] = field(default_factory=list)
    positions: list[LengthScore] = field(default_factory=list)
    terms: list[Measure] = field(default_factory=list)
    aligner: dict = field(default_factory=dict)
    corrected: list[LengthScore] = field(default_factory=list)
    context: list[Measure] = field(default_factory=list)
    copied: list[Copied] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    met: list[TermCount] = field(default_factory=list)
    missed: list[MissedTerms] = field(default_factory=list)
    samples: int = SAMPLES
    baseline: str = ""
    how: dict = field(default_factory=dict)

    def as_dict(self) -> dict:
        """The scores, for JSON."""
        found = {"samples": self.samples, "baseline": self.baseline, "scores": _dicts(self.scores)}
        optional = {
            MOSES: self.tokenised and self.tokenised.as_dict(),
            "bleu_by_source_words": _dicts(self.lengths),
            _BY_POSITION: _dicts(self.positions),
            "consistency": _dicts(self.terms),
            "aligner": self.aligner,
            "bleu_by_corrected": _dicts(self.corrected),
            "cxmi": _dicts(self.context),
            "copied": _dicts(self.copied),
            "lost": _dicts(self.lost),
            "terms_met": _dicts(self.met),
            "terms_missed": _dicts(self.missed),
        }
        return {**found, **{name: value for name, value in optional.items() if value}}


def evaluate(
    system: System,
    test: TestSet,
    *,
    options: ScoreOptions | None = None,
    moses: bool | None = None,
    baseline: Baseline | None = None,
    again: bool = False,
) -> Evaluation:
    """Translates a test set, scores the translations by lines, and writes both into the run's folder.

    A model that was trained on documents translates documents. The translations go to `results/NAME.LANGUAGE`, the
    scores and all that is needed to reproduce them to `results/NAME.json`, and the scores of all sets so far to
    `results.json`; NAME is the test set's name, such as `multi30k-test`. Existing translations that are still valid are
    reused.

    Args:
        system: the system to evaluate.
        test: what to translate and score on; see `app.scoring.testsets.load_test_set`.
        options: how to score; by default lower-cased if the preset is.
        moses: whether to add BLEU on Moses tokens; by default if the preset is lower-cased, since such benchmarks are
            mostly scored this way, and sacremoses is installed.
        baseline: a system, or a file of translations, to compare with. A system that has not translated the set yet
            does so now.
        again: whether to translate even if valid translations exist.

    Returns:
        An `Evaluation`.

    Raises:
        UserError: for anything that is missing or does not fit.
    """
    data = system.run.preset.data
    options = options or ScoreOptions(lowercase=data.lowercase)
    options = replace(options, language=data.target, test=test.test, pair=test.pair)
    moses = data.lowercase and has_moses() if moses is None else moses
    other = read_baseline(baseline, test)
    kept = system.translations(test, again=again)
    evaluation = evaluate_lines(kept.lines, test, options, moses, other, data.numbers, system.glossary)
    evaluation = replace(evaluation, how=kept.record)
    record = {key: value for key, value in kept.record.items() if key not in _OPTIONAL}
    system.results.write(system.name_of(test), {**record, **evaluation.as_dict()})
    return evaluation


def evaluate_lines(
    hypotheses: list[str],
    test: TestSet,
    options: ScoreOptions | None = None,
    moses: bool = False,
    baseline: tuple[str, list[str]] | None = None,
    numbers: str = "source",
    glossary: Glossary | None = None,
) -> Evaluation:
    """Scores translations by lines, wherever they come from.

    Args:
        hypotheses: one for each segment of the test set.
        test: the test set.
        options: how to score.
        moses: whether to add lower-cased BLEU on Moses tokens.
        baseline: name and translations to compare with.
        numbers: how copied numbers should be written, see `data.spans.SpanFinder`.
        glossary: terms to count; None for none.

    Returns:
        An `Evaluation`.

    Raises:
        UserError: the number of lines differs from that of the test set.
    """
    options = options or ScoreOptions(test=test.test, pair=test.pair)
    references = test.references
    check_lengths(hypotheses, references)
    name, other = baseline or ("", None)
    tokens = replace(options, tokenize="moses", lowercase=True)
    copied, lost = count_copies(test.sources, hypotheses, references, numbers)
    met, missed = count_terms(glossary, test.sources, hypotheses, references)
    return Evaluation(
        f"{test.origin}: {test.segments:,} segments",
        score(hypotheses, references, options, other),
        hypotheses,
        bleu(hypotheses, references, tokens) if moses else None,
        bleu_by_length(test.sources, hypotheses, references, options) if test.sources else [],
        bleu_by_position(test.cut(hypotheses), test.cut(references), options=options) if test.documents else [],
        copied=copied,
        lost=lost,
        met=met,
        missed=missed,
        samples=options.samples,
        baseline=name,
    )


def evaluate_documents(
    system: System,
    test: TestSet,
    *,
    options: DocumentOptions | None = None,
    terms: TermScorer | None = None,
    baseline: Baseline | None = None,
) -> Evaluation:
    """Translates documents, scores them as documents, and writes both into the run's folder.

    Translations are shared with `evaluate` and are in the same files; the scores are in the record's section
    `document_scores`. With shuffled segments, the files are called `NAME-shuffled`. Earlier translations that are still
    valid are reused, and so is their CXMI if it has as many samples.

    Args:
        system, baseline: as for `evaluate`.
        test: the documents.
        options: what to score, and how.
        terms: measures term consistency; None leaves that out.

    Returns:
        An `Evaluation`.

    Raises:
        UserError: for anything that is missing or does not fit.
    """
    options = options or DocumentOptions(system.run.preset.data.lowercase)
    other = read_baseline(baseline, test)
    kept = system.translations(test, options.shuffle, options.again)
    evaluation = evaluate_translations(
        kept.lines, test, options, terms, other, system.run.preset.data.numbers, system.glossary
    )
    before = kept.record.get(DOCUMENTS, {})
    context = _context(before, system, test, options)
    evaluation = replace(evaluation, context=context, how=kept.record)
    if system.corrected and not options.shuffle:
        sides = (test.cut(kept.lines), test.cut(test.references), other and test.cut(other[1]))
        evaluation = replace(evaluation, corrected=bleu_by_position(*sides, ScoreOptions(options.lowercase)))
    found = evaluation.as_dict()
    if not context and _has_context(before, options):
        found["cxmi"] = before["cxmi"]
    system.results.write(system.name_of(test, options.shuffle), {**kept.record, DOCUMENTS: found})
    return evaluation


def evaluate_translations(
    hypotheses: list[str],
    test: TestSet,
    options: DocumentOptions,
    terms: TermScorer | None = None,
    baseline: tuple[str, list[str]] | None = None,
    numbers: str = "source",
    glossary: Glossary | None = None,
) -> Evaluation:
    """Scores translations of documents, wherever they come from.

    Args:
        hypotheses: one for each segment of the documents.
        test: the documents.
        options: how to score.
        terms: measures term consistency; None leaves that out.
        baseline: name and translations to compare with.
        numbers: how copied numbers should be written, see `data.spans.SpanFinder`.
        glossary: terms to count; None for none.

    Returns:
        An `Evaluation`.
    """
    check_lengths(hypotheses, test.references)
    copied, lost = count_copies(test.sources, hypotheses, test.references, numbers)
    met, missed = count_terms(glossary, test.sources, hypotheses, test.references)
    name, other = baseline or ("", None)
    sides = test.cut(hypotheses), None if other is None else test.cut(other)
    texts, lowered = (sides[0], test.cut(test.references)), ScoreOptions(options.lowercase)
    wrong = misplaced(*texts, sides[1], options.samples)
    title = f"{test.origin}: {len(test.documents):,} documents, {test.segments:,} segments"
    return Evaluation(
        f"{title}, in shuffled order" if options.shuffle else title,
        [*score_documents(test, *sides, options.lowercase, options.samples), wrong],
        hypotheses,
        positions=[] if options.shuffle else bleu_by_position(*texts, options=lowered),
        terms=terms.score(*sides, options.samples) if terms else [],
        aligner=terms.trained_on if terms else {},
        copied=copied,
        lost=lost,
        met=met,
        missed=missed,
        samples=options.samples,
        baseline=name,
    )


def evaluate_pronouns(
    system: System,
    items: Sequence[Item],
    *,
    samples: int = SAMPLES,
    baseline: Baseline | None = None,
    again: bool = False,
) -> Evaluation:
    """Scores ContraPro; writes `results/contrapro.json` and the decision for each item to `results/contrapro.tsv`.

    Args:
        system: the system to evaluate.
        items: see `app.scoring.contrapro.read_items`.
        samples: bootstrap samples of items.
        baseline: a system to compare with; a file of translations is ignored, as it cannot score items.
        again: whether to score again what these weights have already scored.

    Returns:
        An `Evaluation`.
    """
    compared = isinstance(baseline, System)
    other = _decisions(baseline, items, as_baseline=True)[0] if compared else None
    decisions, record = _decisions(system, items, again=again)
    name = str(baseline.run.path) if compared else ""
    measures = pronoun_measures(items, decisions, other, samples)
    title = f"ContraPro: {len(items):,} items"
    evaluation = Evaluation(title, measures, samples=samples, baseline=name, how=record)
    system.results.write(PRONOUNS, {**record, **evaluation.as_dict()})
    return evaluation


def read_baseline(baseline: Baseline | None, test: TestSet) -> tuple[str, list[str]] | None:
    """The name of a baseline and its translations.

    Args:
        baseline: a system, or a file of translations.
        test: the text; a system that has not translated it yet does so now.

    Raises:
        UserError: the file cannot be read or has a different number of lines, or the system's file was edited.
    """
    if baseline is None:
        return None
    if isinstance(baseline, System):
        return baseline.title, baseline.translations(test, as_baseline=True).lines
    lines = read_text(baseline)
    if test.first:
        lines = lines[: test.first]
    check_lengths(lines, test.references, f"the baseline {baseline}")
    return str(baseline), lines


def _decisions(
    system: System, items: Sequence[Item], again: bool = False, as_baseline: bool = False
) -> tuple[dict[str, np.ndarray], dict]:
    """Which items a system gets right, by condition; and the record."""
    test = {"name": PRONOUNS, "items": len(items), "fingerprint": fingerprint(items)}

    def make() -> tuple[list[str], dict]:
        translations = sum(1 + len(item.contrastive) for item in items)
        with decoding_progress(3 * translations, "scoring") as progress:
            return decision_lines(items, choose_pronouns(system.scorer, items, progress)), {}

    kept = system.kept(PRONOUNS, f"{PRONOUNS}.tsv", test, make, again, as_baseline)
    return read_decisions(kept.lines), kept.record


def _context(before: dict, system: System, test: TestSet, options: DocumentOptions) -> list[Measure]:
    """CXMI; reuses earlier measures where there are any."""
    if not options.context or options.shuffle:
        return []
    if _has_context(before, options):
        return [Measure.from_dict(found) for found in before["cxmi"]]
    with decoding_progress(3 * test.segments, "scoring") as progress:
        return context_use(system.scorer, test, options.samples, progress)


def _has_context(before: dict, options: DocumentOptions) -> bool:
    return bool(before.get("cxmi")) and before.get("samples") == options.samples


def _dicts(found: Sequence[Measure | LengthScore]) -> list[dict]:
    return [each.as_dict() for each in found]
