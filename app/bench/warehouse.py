"""Tests a warehouse on a large corpus: 4.5 million pairs are loaded, cleaned, deduplicated, and streamed again.

    python -m app.bench.warehouse --folder bench/warehouse
    python -m app.bench.warehouse --pairs 50000 --near 0.8

The pairs are made up: words follow Zipf's law, lengths are as in news and speeches, and there are exact duplicates,
nearly equal pairs, and pairs that the filters leave out. They are first written as a corpus folder, which is not
measured. Then a DuckDB file is filled from it, cleaned, deduplicated and read in the order of its documents; each step
runs in this process and its helpers. Languages are not checked unless --languages is given: that takes a multiple of
the time of everything else, with or without a warehouse.
"""

import argparse
import json
import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from app.bench import machine
from data.cleaning import CleaningOptions
from data.corpora.corpora import Corpora
from data.files import atomic_write
from data.warehouse.loading import load
from data.warehouse.opening import open_warehouse
from data.warehouse.quality import Inspector
from data.warehouse.refining import Recipe, refine

SEED, WORDS, CHUNK, PAIRS_OF_DOCUMENT = 1, 60_000, 50_000, 25
# Shares of all pairs: those that repeat an earlier one, those that repeat one with a word added, and those left out.
EXACT, NEAR, LOPSIDED = 0.03, 0.02, 0.01


def main() -> None:
    """Makes the corpus if it is not there, measures, prints, and writes FOLDER/warehouse.json."""
    args = _arguments()
    folder = Path(args.folder) / f"pairs-{args.pairs}"
    if not (folder / "doc.train.txt").exists():
        print(f"making {args.pairs:,} pairs in {folder}", flush=True)
        write_corpus(folder, args.pairs)
    found = measure(folder, args)
    with atomic_write(Path(args.folder) / "warehouse.json", "w") as file:
        json.dump(found, file, indent=1)


def measure(folder: Path, args: argparse.Namespace) -> dict:
    """Runs the steps.

    Returns:
        For JSON: the counts and, for each step, seconds, processor seconds, pairs a second and the peak memory of all
        processes.
    """
    address = Path(args.folder) / f"bench-{args.pairs}.duckdb"
    address.unlink(missing_ok=True)
    steps = {}

    def step(name: str, do: Callable):
        with Memory() as memory:
            start, used = time.perf_counter(), _processor_seconds()
            result = do()
            seconds, used = time.perf_counter() - start, _processor_seconds() - used
        speed = args.pairs / seconds
        steps[name] = {
            "seconds": seconds,
            "processor_seconds": used,
            "pairs_per_second": speed,
            "peak_bytes": memory.peak,
        }
        times = f"{seconds:8.1f} s ({used:.1f} s of processors)"
        print(f"{name:<8} {times}  {speed:12,.0f} pairs/s  {memory.peak / 1e9:6.2f} GB", flush=True)
        return result

    inspector = Inspector(languages=args.languages)
    options = CleaningOptions(language_filter=args.languages)
    with open_warehouse(str(address), create=True) as warehouse:
        step("load", lambda: load(warehouse, Corpora().open(f"{folder}/"), "bench", inspector))
        report = step("clean", lambda: refine(warehouse, Recipe({}, options, near=args.near), "cleaned")).total
    corpus = Corpora(warehouse=str(address)).open("warehouse:cleaned")
    rows = step("stream", lambda: sum(1 for _ in corpus.pairs("train")))
    both = steps["load"]["seconds"] + steps["clean"]["seconds"]
    peak = max(found["peak_bytes"] for found in steps.values())
    print(f"\n{report.table()}\n\nloaded and cleaned in {both:.1f} s, with at most {peak / 1e9:.2f} GB")
    address.unlink()
    return {
        "pairs": args.pairs,
        "languages": args.languages,
        "near": args.near,
        "seconds": both,
        "peak_bytes": peak,
        "steps": steps,
        "counts": report.as_dict(),
        "rows": rows,
        "machine": machine.describe(),
    }


def write_corpus(folder: Path, pairs: int) -> None:
    """Writes a corpus folder of made-up pairs in documents."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(SEED)
    vocabularies = [_words(random) for _ in "ab"]
    weights = 1 / np.arange(1, WORDS + 1)
    bounds = np.cumsum(weights / weights.sum())
    with (
        open(folder / "en.train.txt", "w", encoding="utf-8") as en,
        open(folder / "de.train.txt", "w", encoding="utf-8") as de,
        open(folder / ".doc.train.txt", "w", encoding="utf-8") as docs,
    ):
        for start in range(0, pairs, CHUNK):
            size = min(CHUNK, pairs - start)
            for file, lines in zip((en, de), _sides(random, size, vocabularies, bounds), strict=True):
                file.write("\n".join(lines) + "\n")
            docs.writelines(f"document-{(start + n) // PAIRS_OF_DOCUMENT}\n" for n in range(size))
    (folder / ".doc.train.txt").rename(folder / "doc.train.txt")


def _sides(random, size: int, vocabularies, bounds) -> list[list[str]]:
    """Lines of both languages."""
    lengths = np.clip(random.lognormal(2.95, 0.6, size), 1, 120).astype(int)
    other = np.maximum((lengths * random.normal(0.95, 0.08, size)).astype(int), 1)
    other[random.random(size) < LOPSIDED] *= 9
    sides = []
    for vocabulary, counts in zip(vocabularies, (lengths, other), strict=True):
        drawn = vocabulary[np.minimum(np.searchsorted(bounds, random.random(counts.sum())), WORDS - 1)]
        ends = np.cumsum(counts)
        sides.append([" ".join(words) + "." for words in np.split(drawn, ends[:-1])])
    kind = random.random(size)
    for n in np.nonzero(kind < EXACT + NEAR)[0]:
        if n:
            copied = random.integers(n)
            for side in sides:
                side[n] = side[copied]
            if kind[n] >= EXACT:
                sides[0][n] = f"{sides[0][copied].removesuffix('.')} {vocabularies[0][n % WORDS]}!"
    return sides


def _words(random) -> np.ndarray:
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzäöü"))
    return np.array(["".join(random.choice(letters, length)) for length in random.integers(2, 12, WORDS)], dtype=object)


def _processor_seconds() -> float:
    """The processor time of this process and of its children that have ended, on all processors."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(times.ru_utime + times.ru_stime for times in used)


class Memory:
    """The peak memory of this process and its children, looked at ten times a second; `peak` in bytes."""

    def __init__(self):
        self.peak, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _watch(self):
        while True:
            self.peak = max(self.peak, sum(_resident(pid) for pid in _family()))
            if self._done.wait(0.1):
                return


def _family() -> list[int]:
    """This process and all its descendants."""
    found = [os.getpid()]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, _text(task).split())
    return found


def _resident(pid: int) -> int:
    """A process's share of the memory that it holds, in bytes: what several processes share counts once."""
    lines = _text(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has just ended
        return ""


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=4_500_000, help="how many (4500000)")
    parser.add_argument("--near", type=float, default=0.8, help="similarity of nearly equal pairs (0.8)")
    parser.add_argument("--languages", action="store_true", help="look for wrong languages as well")
    parser.add_argument("--folder", default="bench/warehouse", metavar="DIR", help="for text, database and figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
