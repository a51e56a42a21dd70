"""Search: target tokens a second and latency of Weitblick beside CTranslate2, with the same weights."""

import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

from app.bench.contestant import Contestant, ContestantFailed
from app.scoring.testsets import TestSet

MODULES = {"ours": ("ours_search", False), "ctranslate2": ("ctranslate2_search", True)}
BEAM = 4
COMPUTE = ("int8", "int8_float32", "int8_bfloat16", "bfloat16", "float32")
BATCHES = (512, 1024, 2048)
TRIAL_LINES, LATENCY_LINES, WARMUP_LINES = 300, 50, 8
GROWN = {"layers": 6, "vocabulary": 32_000}
# The base shape takes so long that each turn translates another share of the lines, not all.
SHAPES = {"own": {"grow": None, "whole": True}, "base": {"grow": GROWN, "whole": False}}


def units(repeat: int) -> int:
    """How many steps of the progress bar `measure` takes."""
    return 1 + len(COMPUTE) + len(BATCHES) + len(MODULES) * (repeat + 2)


def measure(name: str, run: Path, test: TestSet, repeat: int, folder: Path, step: Callable) -> dict:
    """Measures both engines on one shape.

    Args:
        name: one of `SHAPES`.
        run: a trained run.
        test: an `app.scoring.testsets.TestSet`.
        repeat: turns.
        folder: for exports and logs; what is in it is replaced.
        step: called with a line for the progress bar whenever a unit of work begins.

    Returns:
        For JSON: the shape, the sweep, and for each engine its rates, latency, scores and memory, or an error.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    step(f"search, {name}: export")
    spec = {"run": str(run), "folder": str(folder), "grow": SHAPES[name]["grow"], "beam": BEAM}
    with Contestant("export", spec, log=folder / "export.log") as one:
        made = one.answer()
    sources = list(test.sources)
    places = {"ours": made["run"], "ctranslate2": str(folder / "ctranslate2")}
    specs = {engine: {"run": place, "beam": BEAM} for engine, place in places.items()}
    step(f"search, {name}: ctranslate2, loading")
    trials = _sweep(specs["ctranslate2"], _every(sources, TRIAL_LINES), folder, lambda line: step(f"{name}: {line}"))
    best = max(trials, key=lambda trial: trial.get("rate", 0.0))["setting"]
    settings = {"ours": {}, "ctranslate2": best}
    shares = [sources] * repeat if SHAPES[name]["whole"] else [sources[turn::repeat] for turn in range(repeat)]
    found = _in_turns(name, specs, settings, shares, _every(sources, LATENCY_LINES), folder, step)
    for one in found.values():
        outputs = one.pop("texts", [])
        if len(outputs) == len(shares):
            one["scores"] = _scores(outputs, test.references, repeat, SHAPES[name]["whole"])
    about = {"lines": len(sources), "whole": SHAPES[name]["whole"], "set": test.origin, "repeat": repeat}
    return {"about": about, "shape": made["shape"], "vocabulary": made["vocabulary"], "sweep": trials, "engines": found}


def _sweep(spec: dict, lines: list[str], folder: Path, step) -> list[dict]:
    """Tries kinds of numbers first, then batch sizes and threads with the best kind."""
    trials: list[dict] = []
    with Contestant("ctranslate2_search", spec, True, folder / "ctranslate2-sweep.log") as one:
        one.answer()

        def attempt(setting):
            if any(trial["setting"] == setting for trial in trials):
                return
            step(f"ctranslate2, trying {told(setting)}")
            one.ask(lines=lines[:WARMUP_LINES], setting=setting)
            answer = one.ask(lines=lines, setting=setting)
            rate = answer["tokens"] / sum(answer["seconds"]) if "tokens" in answer else 0.0
            trials.append({"setting": setting, "rate": rate, "error": answer.get("error")})

        workers = len(os.sched_getaffinity(0))
        for compute in COMPUTE:
            attempt({"compute": compute, "workers": workers, "batch_tokens": BATCHES[1]})
        best = max(trials, key=lambda trial: trial["rate"])["setting"]
        for batch in BATCHES:
            attempt({**best, "batch_tokens": batch})
        best = max(trials, key=lambda trial: trial["rate"])["setting"]
        attempt({**best, "workers": 1})
    return trials


def _in_turns(name, specs, settings, shares, alone, folder, step) -> dict:
    """One engine after the other translates each share of the lines, then single lines."""
    found = {engine: {"setting": settings[engine], "rates": [], "texts": []} for engine in MODULES}
    running = {}
    try:
        for engine, (module, peers) in MODULES.items():
            step(f"search, {name}: {engine}, loading")
            running[engine] = Contestant(module, specs[engine], peers, folder / f"{engine}.log")
            _guarded(found[engine], lambda engine=engine: _warm_up(running[engine], shares[0], settings[engine]))
        for number, lines in enumerate(shares, start=1):
            for engine, one in running.items():
                step(f"search, {name}: {engine}, turn {number} of {len(shares)}")
                _guarded(found[engine], lambda e=engine, o=one, ls=lines: _turn(found[e], o, ls, settings[e]))
        for engine, one in running.items():
            step(f"search, {name}: {engine}, {len(alone)} single lines")
            _guarded(found[engine], lambda e=engine, o=one: _alone(found[e], o, alone, settings[e]))
    finally:
        for one in running.values():
            one.close()
    return found


def _guarded(found: dict, act) -> None:
    """Does something for an engine, unless it has failed before."""
    if "error" in found:
        return
    try:
        act()
    except ContestantFailed as error:
        found["error"] = str(error)


def _warm_up(one: Contestant, lines, setting) -> None:
    one.answer()
    _checked(one.ask(lines=lines[:WARMUP_LINES], setting=setting))


def _turn(found: dict, one: Contestant, lines, setting) -> None:
    answer = _checked(one.ask(lines=lines, setting=setting))
    found["rates"].append(answer["tokens"] / answer["seconds"][0])
    found["texts"].append(answer["texts"])
    found["peak_bytes"] = answer["peak_bytes"]
    middle = statistics.median(found["rates"])
    found |= {"median": middle, "spread": (max(found["rates"]) - min(found["rates"])) / middle}


def _alone(found: dict, one: Contestant, lines, setting) -> None:
    setting = {**setting, "workers": 1} if setting else setting
    one.ask(lines=lines[:2], setting=setting, one_by_one=True)
    seconds = sorted(_checked(one.ask(lines=lines, setting=setting, one_by_one=True))["seconds"])
    found["latency"] = {"median": statistics.median(seconds), "slow": seconds[int(0.9 * len(seconds))]}


def _checked(answer: dict) -> dict:
    if answer.get("error"):
        raise ContestantFailed(answer["error"])
    return answer


def _scores(outputs: list[list[str]], references, repeat: int, whole: bool) -> dict:
    """BLEU and chrF of the first turn's translations, or of all turns' where each did a share."""
    from sacrebleu.metrics import BLEU, CHRF

    lines = list(outputs[0])
    if not whole:
        lines = [""] * len(references)
        for turn, texts in enumerate(outputs):
            lines[turn::repeat] = texts
    scores = {}
    for label, metric in (("BLEU", BLEU()), ("chrF", CHRF())):
        scores[label] = metric.corpus_score(lines, [list(references)]).score
        scores[f"{label} signature"] = str(metric.get_signature())
    return scores


def _every(lines: list[str], count: int) -> list[str]:
    """About so many lines, evenly from all."""
    return lines[:: max(1, len(lines) // count)][:count]


def told(setting: dict) -> str:
    """A setting in a few words."""
    if not setting:
        return "its own choice"
    return f"{setting['compute']}, {setting['workers']} workers, batch {setting['batch_tokens']:,}"
