"""Kills a training at random moments, starts it again each time, and compares it with one that ran undisturbed.

    python -m tests.app.kill_training
    python -m tests.app.kill_training --kills 5 --set updates=500 accumulate=2 tokenizer.kind=unigram sampling=0.2
    python -m tests.app.kill_training --document 6 --set updates=400 windows=segments memory.kind=gru lanes=4

Every second kill waits for a checkpoint that is just being written. The exit code is 0 if the two trainings are equal
bit for bit: weights, optimiser, random states, average, loss curve, and which checkpoints are left.
"""

import argparse
import contextlib
import itertools
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from app.runs.checkpoints import STATE, SUMMARY, WEIGHTS
from app.runs.run import Run
from tests.app.toy_training import command, environment, write_corpus, write_preset

# What tells of time, and the checksum over it.
TIMINGS = {"tokens_per_second", "seconds", "warmup_seconds", "checksum"}


class Training:
    """One training as a process, which can be watched through its folder.

    Args:
        preset: path of the preset.
        run: the run folder.
        changes: texts such as "updates=500".
        cache: folder for tokenised text.
    """

    def __init__(self, preset, run, changes, cache):
        self.run = Path(run)
        self.former_log = self._log_number()
        arguments = ["train", preset, "--run", run, "--set", "deterministic=true", *changes]
        self.process = subprocess.Popen(
            command(*arguments),
            env=environment(WEITBLICK_CACHE=str(cache)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def update(self) -> int:
        """The last update in the log; 0 until this session has begun its own."""
        entries = read_log(self.run) if self._log_number() != self.former_log else []
        return entries[-1]["update"] if entries else 0

    def _log_number(self) -> int:
        # Each session replaces the file.
        log = self.run / "log.jsonl"
        return log.stat().st_ino if log.exists() else 0

    def wait_for(self, reached) -> None:
        """Waits until `reached()` is true."""
        while not reached():
            if self.process.poll() is not None:
                raise RuntimeError(f"the training ended before its kill: {self.process.communicate()[1]}")
            time.sleep(0.0005)

    def is_writing(self) -> bool:
        """Whether a checkpoint is half-written."""
        folders = self.run.glob("checkpoints/update-*")
        return any(not (folder / "checkpoint.json").exists() for folder in folders)

    def stop(self, number=signal.SIGKILL) -> tuple[int, str]:
        """Sends a signal; returns the exit code and what was printed."""
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> tuple[int, str]:
        """Waits for the end; returns the exit code and what was printed. `output` is then its standard output."""
        self.output, errors = self.process.communicate()
        return self.process.returncode, errors


def read_log(run) -> list[dict]:
    """The whole lines of a run's log, without timings."""
    path = Path(run) / "log.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [{key: value for key, value in json.loads(line).items() if key not in TIMINGS} for line in lines]


def differences(run, other) -> list[str]:
    """What differs between two runs, timings aside; empty if they are equal bit for bit.

    Which checkpoints have a state, and which older ones are kept for it, depends on the clock. So the last one's state
    is compared, and the weights of all that are in both runs; the newest ones and the best one must be.
    """
    run, other = Path(run), Path(other)
    logs = itertools.zip_longest(read_log(run), read_log(other))
    found = [f"log.jsonl: {entry} and {theirs}" for entry, theirs in logs if entry != theirs][:1]
    kept, others = ({each.folder.name for each in Run.open(one).checkpoints.all()} for one in (run, other))
    missing = (kept ^ others) & _lasting(run)
    if missing or not kept & others:
        return [*found, f"checkpoints: {sorted(kept)} and {sorted(others)}"]
    folders = [f"checkpoints/{name}" for name in sorted(kept & others)]
    names = [f"{folder}/{name}" for folder in folders for name in (WEIGHTS, SUMMARY)]
    for name in [*names, f"{folders[-1]}/{STATE}", "averaged.npz"]:
        read = _summary if name.endswith(".json") else Path.read_bytes
        if read(run / name) != read(other / name):
            found.append(name)
    return found


def _lasting(run: Path) -> set[str]:
    """The names of the checkpoints that do not depend on the clock."""
    checkpoints = Run.open(run).checkpoints
    newest, best = checkpoints.all()[-checkpoints.keep :], checkpoints.latest()[1]["best"]
    return {each.folder.name for each in (*newest, *([checkpoints.at(best["update"])] if best else []))}


def _summary(path: Path) -> dict:
    found = {key: value for key, value in json.loads(path.read_text()).items() if key not in TIMINGS}
    found["checksums"].pop(STATE, None)
    return found


def kill_at_random(preset, run, changes, cache, updates, kills, draw) -> list[str]:
    """Trains with kills at random moments; returns where they fell."""
    moments = []
    for number, update in enumerate(sorted(draw.sample(range(updates // 10, updates - 20), kills))):
        training = Training(preset, run, changes, cache)
        training.wait_for(lambda training=training, update=update: training.update() >= update - 10)
        if number % 2:
            training.wait_for(training.is_writing)
        else:
            time.sleep(draw.uniform(0, 0.5))
        code, _ = training.stop()
        writing = ", a checkpoint half-written" if training.is_writing() else ""
        moments.append(f"signal {-code} after update {training.update()} in the log{writing}")
    code, errors = Training(preset, run, changes, cache).finish()
    if code:
        raise RuntimeError(errors)
    return moments


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--document", type=int, default=0, help="sentences of a document; 0 = none are documents")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--set", nargs="+", default=["updates=400"], metavar="KEY=VALUE")
    parser.add_argument("--folder", help="where the trainings stay afterwards; by default they are removed")
    args = parser.parse_args()
    updates = int(dict(change.split("=") for change in args.set)["updates"])
    with contextlib.nullcontext(args.folder) if args.folder else tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        preset = write_preset(folder, write_corpus(folder / "toy", document=args.document))
        code, errors = Training(preset, folder / "undisturbed", args.set, folder / "cache").finish()
        if code:
            raise RuntimeError(errors)
        draw = random.Random(args.seed)
        for moment in kill_at_random(preset, folder / "killed", args.set, folder / "cache", updates, args.kills, draw):
            print(moment)
        found = differences(folder / "undisturbed", folder / "killed")
        files, entries = len(list((folder / "killed").glob("**/*.npz"))), len(read_log(folder / "killed"))
    print("\n".join(found) if found else f"equal bit for bit: {files} files of arrays, {entries} entries of the log")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
