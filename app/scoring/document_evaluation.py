"""Scores a run, or a file of translations, on documents."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from app.scoring.bootstrap import SAMPLES, Measure
from app.scoring.consistency import TermScorer
from app.scoring.contrapro import Item, choose_pronouns, fingerprint, pronoun_measures
from app.scoring.cxmi import context_use
from app.scoring.documents import DocumentSet, in_order, shuffled
from app.scoring.quality import score_documents
from app.scoring.report import decoding_progress
from app.scoring.results import (
    PRONOUNS,
    made_by,
    read_baseline,
    read_decisions,
    read_finished,
    read_lines,
    record,
    results_name,
    write_decisions,
    write_json,
    write_lines,
)
from data.errors import UserError

Translations = Sequence[Sequence[str]]


@dataclass(frozen=True)
class DocumentOptions:
    """What to score, and how.

    Args:
        lowercase: whether case counts nothing in BLEU and chrF2++.
        samples: bootstrap samples; 0 leaves intervals and significance out.
        context: whether to measure the use of context (CXMI).
        shuffle: whether the segments are translated in shuffled order, each in a context that is not its own.
        again: whether to translate even what these weights have translated before.
    """

    lowercase: bool = False
    samples: int = SAMPLES
    context: bool = True
    shuffle: bool = False
    again: bool = False


@dataclass(frozen=True)
class DocumentEvaluation:
    """What was scored, and how it came out.

    Args:
        documents: the text.
        options: what was scored.
        quality: s-BLEU, d-BLEU and chrF2++.
        terms: consistency of terms; empty where it was not asked for.
        aligner: what aligned the words for `terms`, see `TermScorer.trained_on`.
        context: CXMI; empty where it was not asked for, or without a model.
        baseline: what the system was compared with, or "".
        how: all that made the translations, for the record.
    """

    documents: DocumentSet
    options: DocumentOptions
    quality: list[Measure]
    terms: list[Measure] = field(default_factory=list)
    aligner: dict = field(default_factory=dict)
    context: list[Measure] = field(default_factory=list)
    baseline: str = ""
    how: dict = field(default_factory=dict)

    def as_dict(self) -> dict:
        """All but the text, for JSON."""
        return {
            "test_set": _test_set(self.documents),
            "shuffled": self.options.shuffle,
            "samples": self.options.samples,
            "baseline": self.baseline,
            "scores": [found.as_dict() for found in self.quality],
            "consistency": [found.as_dict() for found in self.terms],
            "aligner": self.aligner,
            "cxmi": [found.as_dict() for found in self.context],
            **self.how,
        }


@dataclass(frozen=True)
class PronounEvaluation:
    """Accuracies on ContraPro; arguments as for `DocumentEvaluation`."""

    measures: list[Measure]
    items: int
    baseline: str = ""


def evaluate_translations(
    hypotheses: Translations,
    documents: DocumentSet,
    options: DocumentOptions,
    terms: TermScorer | None = None,
    baseline: tuple[str, Translations] | None = None,
) -> DocumentEvaluation:
    """Scores translations, wherever they come from.

    Args:
        hypotheses: for each document its translated segments.
        documents: the text.
        options: how to score.
        terms: measures the consistency of terms; None leaves that out.
        baseline: name and translations of what to compare with.

    Returns:
        A `DocumentEvaluation`.
    """
    name, other = baseline or ("", None)
    quality = score_documents(documents, hypotheses, other, options.lowercase, options.samples)
    found = terms.score(hypotheses, other, options.samples) if terms else []
    aligner = terms.trained_on if terms else {}
    return DocumentEvaluation(documents, options, quality, found, aligner, baseline=name)


def evaluate_documents(
    run,
    documents: DocumentSet,
    translator: Callable[[], object],
    *,
    checkpoint: str = "auto",
    search=None,
    options: DocumentOptions | None = None,
    terms: TermScorer | None = None,
    baseline=None,
) -> DocumentEvaluation:
    """Translates documents with a run's model, scores them, and writes both into the run's folder.

    `results/NAME-documents.LANGUAGE` gets the translations and `results/NAME-documents.json` the scores, NAME being
    such as `europarl-test`; with shuffled segments it is `NAME-documents-shuffled`. What the same weights and the same
    search have translated or scored before is taken from there.

    Args:
        run: an `app.runs.run.Run`.
        documents: what to translate and score.
        translator: makes the run's `DocumentTranslator`; called only if it is needed.
        checkpoint: see `Run.weights`.
        search: instead of that of the run's preset.
        options: what to score, and how.
        terms: measures the consistency of terms; None leaves that out.
        baseline: a run that has been evaluated on the same documents, or a file of translations, to compare with.

    Returns:
        A `DocumentEvaluation`.

    Raises:
        UserError: for anything that is missing or does not fit.
    """
    options = options or DocumentOptions(run.preset.data.lowercase)
    language, name = run.preset.data.target, results_name(documents, options.shuffle)
    made = made_by(run, checkpoint, search or run.preset.search)
    other = baseline and read_baseline(baseline, documents, language)
    file, results = run.results_folder / f"{name}.{language}", run.results_folder / f"{name}.json"
    before = None if options.again else read_finished(run, name, documents.fingerprint, made)
    hypotheses = before and _read_again(file, documents)
    if not hypotheses:
        hypotheses, speed = translate_documents(translator(), documents, options.shuffle)
        before = {"test_set": _test_set(documents), **made, **record(), "decoding": speed}
        write_lines(file, hypotheses)
        write_json(results, before)
    evaluation = evaluate_translations(hypotheses, documents, options, terms, other)
    context = _context(before, documents, translator, options)
    how = {key: before[key] for key in (*made, *record(), "decoding")}
    evaluation = replace(evaluation, context=context, how=how)
    kept = {"cxmi": before["cxmi"]} if _has_context(before, options) and not context else {}
    write_json(results, {**evaluation.as_dict(), **kept})
    return evaluation


def translate_documents(
    translator, documents: DocumentSet, shuffle: bool = False
) -> tuple[list[list[str]], dict[str, float]]:
    """Translates documents, with a progress bar.

    Args:
        translator: an `app.translation.document_translator.DocumentTranslator`.
        documents: the text.
        shuffle: whether each segment is translated in a context that is not its own.

    Returns:
        For each document its translated segments, in the right order in any case; and the speed.
    """
    order = shuffled(documents.segments) if shuffle else list(range(documents.segments))
    lines = list(chain.from_iterable(documents.sources))
    found: list[str] = []
    start = time.perf_counter()
    with decoding_progress(documents.segments) as progress:
        for translated in translator.translate(documents.cut([lines[number] for number in order])):
            found += translated
            if progress:
                progress(len(found) / documents.segments)
    seconds = time.perf_counter() - start
    speed = {"seconds": round(seconds, 2), "segments_per_second": round(len(found) / seconds, 2)}
    return documents.cut(in_order(found, order)), speed


def evaluate_pronouns(
    run,
    items: Sequence[Item],
    translator: Callable[[], object],
    *,
    checkpoint: str = "auto",
    search=None,
    samples: int = SAMPLES,
    baseline=None,
    again: bool = False,
) -> PronounEvaluation:
    """Scores ContraPro with a run's model, and writes `results/contrapro.json` and, item by item, `.tsv`.

    Args:
        run, translator, checkpoint, search, baseline: see `evaluate_documents`; a baseline that is a file says
            nothing of pronouns and is passed over.
        items: see `app.scoring.contrapro.read_items`.
        samples: bootstrap samples of items.
        again: whether to score even what these weights have scored before.

    Returns:
        A `PronounEvaluation`.

    Raises:
        UserError: the baseline has not scored the same items.
    """
    made = made_by(run, checkpoint, search or run.preset.search)
    test = {"name": PRONOUNS, "items": len(items), "fingerprint": fingerprint(items)}
    other = _baseline_decisions(baseline, test) if baseline and Path(baseline).is_dir() else None
    before = None if again else read_finished(run, PRONOUNS, test["fingerprint"], made)
    decisions = before and read_decisions(run.results_folder, test["fingerprint"])
    if not decisions:
        translations = sum(1 + len(item.contrastive) for item in items)
        with decoding_progress(3 * translations, "scoring") as progress:
            decisions = choose_pronouns(translator(), items, progress)
        before = record()
        write_decisions(run.results_folder / f"{PRONOUNS}.tsv", [item.pronoun for item in items], decisions)
    measures = pronoun_measures(items, decisions, other, samples)
    how = {"test_set": test, **made, **{key: before[key] for key in record()}}
    name = str(baseline) if other else ""
    scores = {"samples": samples, "baseline": name, "scores": [found.as_dict() for found in measures]}
    write_json(run.results_folder / f"{PRONOUNS}.json", {**how, **scores})
    return PronounEvaluation(measures, len(items), name)


def _test_set(documents: DocumentSet) -> dict:
    sizes = {"documents": len(documents.names), "segments": documents.segments}
    return {"name": documents.name, "origin": documents.origin, **sizes, "fingerprint": documents.fingerprint}


def _read_again(file: Path, documents: DocumentSet) -> list[list[str]] | None:
    """The translations of an earlier evaluation, if they are whole."""
    try:
        return read_lines(file, documents)
    except UserError:
        return None


def _context(before: dict, documents: DocumentSet, translator, options: DocumentOptions) -> list[Measure]:
    """CXMI, as it was found before if it was."""
    if not options.context or options.shuffle:
        return []
    if _has_context(before, options):
        return [Measure(**found) for found in before["cxmi"]]
    with decoding_progress(3 * documents.segments, "scoring") as progress:
        return context_use(translator(), documents, options.samples, progress)


def _has_context(before: dict, options: DocumentOptions) -> bool:
    return bool(before.get("cxmi")) and before.get("samples") == options.samples


def _baseline_decisions(baseline, test: dict) -> dict:
    found = read_decisions(Path(baseline) / "results", test["fingerprint"])
    if found is None:
        raise UserError(
            f"{baseline} has not scored these {test['items']:,} items of ContraPro; first run: "
            f"weitblick evaluate-documents {baseline} --contrapro, with the same --items"
        )
    return found
