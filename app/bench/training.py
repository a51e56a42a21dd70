"""Training: target tokens a second of Weitblick and of its peers, on the same text, shape and token batch."""

import contextlib
import shutil
import statistics
from collections.abc import Callable, Collection
from pathlib import Path

from app.bench.contestant import Contestant, ContestantFailed
from app.bench.shapes import Shape, matrix_flops

PRESET = "starter"
PRECISIONS = ("float32", "bfloat16")
# Each peer's settings; a trial on one batch chooses one. It shows compiled settings at their best, as nothing is
# compiled twice. Ours chooses for itself.
SETTINGS: dict[str, list[dict]] = {
    "ours": [],
    "keras-hub": [{"precision": p, "jit": jit} for jit in (False, True) for p in PRECISIONS],
    "marian": [{"precision": p, "compile": c} for c in (False, True) for p in PRECISIONS],
    "joeynmt": [{"precision": p} for p in PRECISIONS],
    "eole": [{"precision": p} for p in PRECISIONS],
}
COMPILING = 24  # more updates before the first turn for a setting that compiles
TRIAL_SECONDS = 120  # for starting, compiling and a few updates; a setting that needs more is given up
MODULES = {
    "ours": ("ours_training", False),
    "keras-hub": ("keras_hub_training", False),
    "marian": ("marian_training", True),
    "joeynmt": ("joeynmt_training", True),
    "eole": ("eole_training", True),
}


def units(shape: Shape, contestants: Collection[str], repeat: int) -> int:
    """How many steps of the progress bar `measure` takes."""
    return 1 + sum(len(SETTINGS[name]) + 1 + repeat for name in contestants)


def measure(
    shape: Shape,
    corpus: str,
    contestants: Collection[str],
    repeat: int,
    folder: Path,
    step: Callable,
    sweeps: dict,
    save: Callable,
) -> dict:
    """Measures all contestants on one shape.

    Args:
        shape: the model and its batch.
        corpus: what they train on.
        contestants: names in `MODULES`.
        repeat: turns; in each turn every contestant does the same updates.
        folder: for text, runs and logs; what is in it is replaced.
        step: called with a line for the progress bar whenever a unit of work begins.
        sweeps: contestant to trials of an earlier run, which are not done again; new trials are added.
        save: called after each new trial.

    Returns:
        For JSON: the text, and for each contestant its rates or an error.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    step(f"{shape.name}: text")
    spec = specification(shape, shape.changes(corpus), folder)
    with Contestant("text", {**spec, "batches": shape.warmup + repeat * shape.updates}, log=folder / "text.log") as one:
        text = one.answer()
    for name in contestants:
        if SETTINGS[name]:
            _sweep(name, spec, folder, step, sweeps.setdefault(name, []), save)
    chosen = {name: _best(sweeps[name]) if SETTINGS[name] else {} for name in contestants}
    found = in_turns(shape, chosen, lambda name, setting: _start(name, setting, spec, folder), repeat, step)
    flops = matrix_flops(shape.as_dict(), text["sums"]) / text["sums"]["target"]
    return {"shape": shape.as_dict(), "text": text, "flops_a_token": flops, "contestants": found}


def specification(shape: Shape, changes: list[str], folder: Path) -> dict:
    """What contestants are told; `changes` are changes of the preset."""
    return {
        "folder": str(folder),
        "preset": PRESET,
        "changes": changes,
        "shape": shape.as_dict(),
        "batch_tokens": shape.batch_tokens,
        "max_length": shape.max_length,
        "warmup": shape.warmup,
        "trial_warmup": shape.trial_warmup,
        "trial_updates": shape.trial_updates,
    }


def _sweep(name: str, spec: dict, folder: Path, step, trials: list[dict], save) -> None:
    """Adds the rate of each setting that has none yet, or why it has none."""
    module, peers = MODULES[name]
    tried = [trial["setting"] for trial in trials]
    missing = [setting for setting in SETTINGS[name] if setting not in tried]
    if not missing:
        return
    spec = {**spec, "mode": "sweep", "settings": missing}
    with Contestant(module, spec, peers, folder / f"{name}-sweep.log") as one:
        for setting in missing:
            step(f"{spec['shape']['name']}: {name}, trying {told(setting)}")
            try:
                trials.append(one.answer(TRIAL_SECONDS))
            except ContestantFailed as error:
                trials.append({"setting": setting, "rate": 0.0, "error": str(error)})
                break
            finally:
                save()


def _best(trials) -> dict | None:
    """The fastest setting, or None if all failed.

    A compiled one must be a tenth faster in the trial, which has one batch shape and compiles once.
    """

    def worth(trial):
        return trial["rate"] / (1.1 if _is_compiled(trial["setting"]) else 1.0)

    best = max(trials, key=worth)
    return best["setting"] if best["rate"] else None


def _is_compiled(setting: dict) -> bool:
    return bool(setting.get("jit") or setting.get("compile"))


def in_turns(
    shape: Shape, chosen: dict[str, dict | None], start: Callable[[str, dict], Contestant], repeat: int, step: Callable
) -> dict[str, dict]:
    """Starts and warms up all contestants, then lets one after another do its turn.

    Args:
        shape: has the number of updates.
        chosen: contestant to its setting; None if no setting worked.
        start: starts a contestant with a setting.
        repeat: turns.
        step: called with a line whenever a unit of work begins.

    Returns:
        For each contestant its setting, rates and their median, or an error.
    """
    found: dict[str, dict] = {name: {"setting": setting, "rates": []} for name, setting in chosen.items()}
    with contextlib.ExitStack() as stack:
        running = {}
        for name, setting in chosen.items():
            step(f"{shape.name}: {name}, warming up")
            if setting is None:
                found[name]["error"] = "no setting of the sweep worked"
                continue
            with _noting_failure(found[name]):
                one = stack.enter_context(start(name, setting))
                ready = one.answer()
                found[name] |= {key: ready[key] for key in ("setting", "threads", "warmup_seconds") if key in ready}
                running[name] = one
        for turn in range(repeat):
            for name, one in list(running.items()):
                step(f"{shape.name}: {name}, turn {turn + 1} of {repeat}")
                with _noting_failure(found[name], lambda name=name: running.pop(name)):
                    _note_turn(found[name], one.ask(updates=shape.updates))
    return {name: _summary(one) for name, one in found.items()}


def _start(name: str, setting: dict, spec: dict, folder: Path) -> Contestant:
    module, peers = MODULES[name]
    run = folder / f"{name}-run"
    if name == "ours":
        shutil.copytree(folder / "run", run)
    extra = COMPILING if _is_compiled(setting) else 0
    spec = {**spec, "mode": "turns", "setting": setting, "run": str(run), "extra": extra}
    return Contestant(module, spec, peers, folder / f"{name}.log")


@contextlib.contextmanager
def _noting_failure(found: dict, drop=lambda: None):
    try:
        yield
    except ContestantFailed as error:
        found["error"] = str(error)
        drop()


def _note_turn(found: dict, turn: dict) -> None:
    found["rates"].append(turn["tokens"] / turn["seconds"])
    found["peak_bytes"] = turn["peak_bytes"]


def _summary(found: dict) -> dict:
    rates = found["rates"]
    if rates:
        middle = statistics.median(rates)
        found |= {"median": middle, "spread": (max(rates) - min(rates)) / middle}
    return found


def told(setting: dict) -> str:
    """A setting in a few words."""
    words = [setting["precision"]] if "precision" in setting else ["its own choice"]
    return ", ".join(words + [name for name in ("jit", "compile") if setting.get(name)])
