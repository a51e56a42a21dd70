"""Search: target tokens a second and latency of Weitblick, CTranslate2 and EOLE, with the same weights."""

import contextlib
import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

from app.bench.contestant import Contestant, ContestantFailed
from app.scoring.testsets import TestSet

MODULES = {
    "ours": ("ours_search", False),
    "ctranslate2": ("ctranslate2_search", True),
    "eole": ("eole_search", True),
}
BEAM = 4
# Each peer's kinds of numbers; EOLE 0.6.4 ends with an error in int8.
COMPUTE = {
    "ctranslate2": ("int8", "int8_float32", "int8_bfloat16", "bfloat16", "float32"),
    "eole": ("bfloat16", "float32"),
}
# CTranslate2 has Intel's library for matrix products, but uses it on other makers' processors only if told to.
MKL = {"CT2_USE_MKL": "1"}
BATCHES = (512, 1024, 2048)
TRIAL_LINES, LATENCY_LINES, WARMUP_LINES = 300, 50, 8
GROWN = {"layers": 6, "vocabulary": 32_000}
# The base shape takes so long that each turn translates a different share of the lines, not all of them.
SHAPES = {"own": {"grow": None, "whole": True}, "base": {"grow": GROWN, "whole": False}}


def units(repeat: int) -> int:
    """How many steps of the progress bar `measure` takes."""
    sweeps = sum(1 + len(_kinds(engine)) + len(BATCHES) for engine in COMPUTE)
    return 1 + sweeps + len(MODULES) * (repeat + 2)


def measure(name: str, run: Path, test: TestSet, repeat: int, folder: Path, step: Callable) -> dict:
    """Measures all engines on one shape.

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
    arrays = str(folder / "arrays.npz")
    spec = {"run": str(run), "folder": str(folder), "grow": SHAPES[name]["grow"], "arrays": arrays}
    with Contestant("export", spec, log=folder / "export.log") as one:
        made = one.answer()
    sources = list(test.sources)
    exported = str(folder / "ctranslate2")
    specs = {engine: {"run": exported, "arrays": arrays, "beam": BEAM} for engine in COMPUTE}
    specs["ours"] = {"run": made["run"], "beam": BEAM}
    trials: list[dict] = []
    settings: dict[str, dict] = {"ours": {}}
    for engine in COMPUTE:
        step(f"search, {name}: {engine}, loading")
        tried = _sweep(
            engine, specs[engine], _every(sources, TRIAL_LINES), folder, lambda line: step(f"{name}: {line}")
        )
        settings[engine] = fastest(tried)
        trials += tried
    shares = [sources] * repeat if SHAPES[name]["whole"] else [sources[turn::repeat] for turn in range(repeat)]
    found = _in_turns(name, specs, settings, shares, _every(sources, LATENCY_LINES), folder, step)
    for one in found.values():
        outputs = one.pop("texts", [])
        if len(outputs) == len(shares):
            one["scores"] = _scores(outputs, test.references, repeat, SHAPES[name]["whole"])
    about = {"lines": len(sources), "whole": SHAPES[name]["whole"], "set": test.origin, "repeat": repeat}
    return {"about": about, "shape": made["shape"], "vocabulary": made["vocabulary"], "sweep": trials, "engines": found}


def fastest(trials: list[dict]) -> dict:
    """The setting of the fastest trial."""
    return max(trials, key=lambda trial: trial["rate"])["setting"]


def _kinds(engine: str) -> list[dict]:
    """The settings to begin with: all kinds of numbers, and for CTranslate2 with both libraries."""
    if engine != "ctranslate2":
        return [{"compute": kind, "batch_tokens": BATCHES[1]} for kind in COMPUTE[engine]]
    cores = len(os.sched_getaffinity(0))
    return [
        {"compute": kind, "workers": cores, "batch_tokens": BATCHES[1], "mkl": mkl}
        for mkl in (False, True)
        for kind in COMPUTE[engine]
    ]


def _sweep(engine: str, spec: dict, lines: list[str], folder: Path, step) -> list[dict]:
    """Tries kinds of numbers first, then batch sizes and threads with the best kind."""
    trials: list[dict] = []
    with contextlib.ExitStack() as stack:
        running: dict[bool, Contestant] = {}

        def attempt(setting):
            if any(trial["setting"] == setting for trial in trials):
                return
            step(f"{engine}, trying {told(setting)}")
            trials.append({"engine": engine, "setting": setting, "rate": 0.0, "error": None})
            mkl = setting.get("mkl", False)
            try:
                if mkl not in running:
                    log = folder / f"{engine}{'-mkl' * mkl}-sweep.log"
                    running[mkl] = stack.enter_context(_start(engine, spec, setting, log))
                    running[mkl].answer()
                _checked(running[mkl].ask(lines=lines[:WARMUP_LINES], setting=setting))
                answer = _checked(running[mkl].ask(lines=lines, setting=setting))
                trials[-1]["rate"] = answer["tokens"] / sum(answer["seconds"])
            except ContestantFailed as error:
                trials[-1]["error"] = str(error)

        for setting in _kinds(engine):
            attempt(setting)
        best = fastest(trials)
        for batch in BATCHES:
            attempt({**best, "batch_tokens": batch})
        best = fastest(trials)
        if "workers" in best:
            attempt({**best, "workers": 1})
    return trials


def _start(engine: str, spec: dict, setting: dict, log: Path) -> Contestant:
    module, peers = MODULES[engine]
    return Contestant(module, spec, peers, log, MKL if setting.get("mkl") else None)


def _in_turns(name, specs, settings, shares, alone, folder, step) -> dict:
    """One engine after the other translates each share of the lines, then single lines."""
    found = {engine: {"setting": settings[engine], "rates": [], "texts": []} for engine in MODULES}
    running = {}
    try:
        for engine in MODULES:
            step(f"search, {name}: {engine}, loading")
            running[engine] = _start(engine, specs[engine], settings[engine], folder / f"{engine}.log")
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
    setting = {**setting, "workers": 1} if "workers" in setting else setting
    one.ask(lines=lines[:2], setting=setting, one_by_one=True)
    seconds = sorted(_checked(one.ask(lines=lines, setting=setting, one_by_one=True))["seconds"])
    found["latency"] = {"median": statistics.median(seconds), "slow": seconds[int(0.9 * len(seconds))]}


def _checked(answer: dict) -> dict:
    if answer.get("error"):
        raise ContestantFailed(answer["error"])
    return answer


def _scores(outputs: list[list[str]], references, repeat: int, whole: bool) -> dict:
    """BLEU and chrF of the first turn's translations, or of all turns' together if each did a share."""
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
    """About so many lines, evenly spread over all."""
    return lines[:: max(1, len(lines) // count)][:count]


def told(setting: dict) -> str:
    """A setting in a few words."""
    if not setting:
        return "its own choice"
    words = [setting["compute"]]
    if "workers" in setting:
        words.append(f"{setting['workers']} workers")
    words.append(f"batch {setting['batch_tokens']:,}")
    return ", ".join(words + ["MKL"] * setting.get("mkl", False))
