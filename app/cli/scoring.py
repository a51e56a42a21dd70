"""Scores a run, without translating again what these weights and this search have translated before."""

import json
from dataclasses import asdict, replace

from app.cli.options import load_engine
from app.translation.decoded import KERAS, Engine

_NOT_HOW = ("test_set", "scores", "bleu_on_moses_tokens", "bleu_by_source_words", "baseline")


def score_run(
    run, test, search, checkpoint="auto", options=None, moses=None, baseline=None, again=False, engine: Engine = KERAS
):
    """Like `app.scoring.evaluation.evaluate`, but reuses translations in the run's results that are still right.

    Args:
        run, test, search, checkpoint, options, moses, baseline: see `app.scoring.evaluation.evaluate`.
        again: translate in any case.
        engine: see `app.scoring.evaluation.evaluate`.

    Returns:
        An `app.scoring.evaluation.Evaluation`, which is also written into the run's results.
    """
    from app.scoring.evaluation import evaluate, evaluate_lines, read_baseline, write_results
    from app.scoring.metrics import ScoreOptions, has_moses
    from app.translation.lines import read_text

    data = run.preset.data
    how = None if again else _made_before(run, test, search, checkpoint, engine)
    if how is None:
        load_engine(engine, run, checkpoint)
        chosen = {"checkpoint": checkpoint, "search": search, "engine": engine}
        return evaluate(run, test, options=options, moses=moses, baseline=baseline, **chosen)
    options = options or ScoreOptions(lowercase=data.lowercase)
    options = replace(options, language=data.target, test=test.test, pair=test.pair)
    moses = data.lowercase and has_moses() if moses is None else moses
    hypotheses = read_text(run.results_folder / f"{test.name}.{data.target}")
    other = read_baseline(baseline, test, data.target) if baseline else None
    evaluation = replace(evaluate_lines(hypotheses, test, options, moses, other), how=how)
    write_results(evaluation, run.path, data.target)
    return evaluation


def _made_before(run, test, search, checkpoint: str, engine: Engine) -> dict | None:
    """What the results say of how they were made, if it is how they would be made now; else None."""
    scores = run.results_folder / f"{test.name}.json"
    translations = run.results_folder / f"{test.name}.{run.preset.data.target}"
    try:
        found = json.loads(scores.read_text(encoding="utf-8"))
        lines = translations.read_bytes().count(b"\n")
        newer = any(path.stat().st_mtime > scores.stat().st_mtime for path in _weights(run))
        same = (
            found["test_set"]["fingerprint"] == test.fingerprint
            and found["search"] == asdict(search)
            and found["weights"]["asked_for"] == checkpoint
            and found.get("engine", KERAS._asdict()) == engine._asdict()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if newer or not same or lines != len(test.references):
        return None
    return {key: value for key, value in found.items() if key not in _NOT_HOW}


def _weights(run):
    """The files whose change makes other translations."""
    return [path for pattern in ("averaged.npz", "checkpoints/*/*.npz") for path in run.path.glob(pattern)]
