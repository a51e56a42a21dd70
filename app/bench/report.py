"""Tables of the results: for the terminal, and as Markdown between two markers of docs/benchmarks.md."""

import json
import statistics
from collections.abc import Iterable
from pathlib import Path

from rich.table import Table

from app.bench import stacks
from app.bench.search import fastest
from app.bench.search import told as told_search
from app.bench.training import told
from data.errors import UserError
from data.files import atomic_write, write_between

COLUMNS = 140  # width of tables that go to a file
BEGIN, END = "<!-- begin: written by make bench -->", "<!-- end: written by make bench -->"


class Rows:
    """A table for the terminal or for Markdown.

    Args:
        title: what it shows; Markdown puts it above the table.
        columns: headings; the first column is text, the others are numbers.
        note: a sentence below.
    """

    def __init__(self, title: str, columns: Iterable[str], note: str = ""):
        self.title, self.columns, self.note, self.rows = title, columns, note, []

    def add(self, *cells) -> None:
        """Adds a row; `None` is an empty cell."""
        self.rows.append(["" if cell is None else str(cell) for cell in cells])

    def rich(self) -> Table:
        """For the terminal."""
        table = Table(title=self.title, caption=self.note or None, title_justify="left", caption_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """For a page."""
        lines = [f"| {' | '.join(row)} |" for row in (self.columns, *self.rows)]
        lines.insert(1, "|" + "|".join([" --- "] + [" ---: "] * (len(self.columns) - 1)) + "|")
        return "\n".join([f"**{self.title}**", "", *lines, *(["", self.note] if self.note else [])])


def tables(results: dict) -> list[Rows]:
    """The tables of everything that has been measured."""
    found = []
    for name, shape in results.get("training", {}).items():
        found.append(_training(shape))
        found.append(_sweeps(name, results["sweeps"][name]["trials"]))
    for result in results.get("search", {}).values():
        found += [_search(result), _search_sweep(result)]
    if "startup" in results:
        found += [_startup(results["startup"]), _steps(results["startup"])]
    if "input" in results:
        found.append(_input(results["input"], results.get("training", {})))
    if "stacks" in results:
        found += _stacks(results["stacks"])
    if "server" in results:
        found += [_server(results["server"]), _users(results["server"])]
    found += map(_backends, results.get("backends", {}).values())
    if "race" in results:
        found.append(_race(results["race"]))
    return [table for table in found if table.rows]


def _training(result: dict) -> Rows:
    shape, text, ceiling = result["shape"], result["text"], result.get("ceiling")
    table = Rows(
        f"Training, {shape['description']}, V {shape['vocabulary']:,}, {shape['batch_tokens']:,} tokens a batch",
        ("", "setting", "tokens/s", "spread", "ours / theirs", "share of ceiling", "peak memory"),
        _training_note(result, shape, text, ceiling),
    )
    ours = result["contestants"].get("ours", {}).get("median")
    for name, found in result["contestants"].items():
        setting = told(found["setting"]) if found.get("setting") is not None else ""
        if "median" not in found:
            table.add(name, setting, found.get("error", "not measured"), *[None] * 4)
            continue
        ratio = f"{ours / found['median']:.2f} x" if ours and name != "ours" else None
        share = None
        if ceiling:
            share = f"{found['median'] * result['flops_a_token'] / 1e9 / max(ceiling['gflops'].values()):.0%}"
        memory = f"{found['peak_bytes'] / 1e9:.1f} GB"
        table.add(name, setting, f"{found['median']:,.0f}", f"{found['spread']:.0%}", ratio, share, memory)
    return table


def _training_note(result, shape, text, ceiling) -> str:
    about = result["about"]
    note = (
        f"Real target tokens a second (no padding), median of {about['repeat']} turn(s) of {shape['updates']} updates "
        f"after {shape['warmup']} warm-up updates; {about['corpus']}, {text['pairs']:,} pairs."
    )
    if ceiling:
        rates = ", ".join(f"{rate:,.0f} in {name}" for name, rate in ceiling["gflops"].items())
        note += (
            f" Ceiling: the fastest product of two {ceiling['size']:,} x {ceiling['size']:,} matrices, in GFLOP/s: "
            f"{rates}; the model's matrix products take {result['flops_a_token'] / 1e6:,.0f} MFLOP a target token, "
            "forward and backward."
        )
    return note + (f" Vocabulary: {text['note']}. " if text["note"] else " ") + _when(about)


def _sweeps(name: str, sweeps: dict) -> Rows:
    table = Rows(
        f"Settings tried for shape {name}, on one batch",
        ("", "setting", "tokens/s", "first updates and compilation"),
    )
    for name, trials in sweeps.items():
        for trial in trials:
            rate = trial["error"] or f"{trial['rate']:,.0f}"
            table.add(name, told(trial["setting"]), rate, f"{trial.get('all_seconds', 0):.0f} s in all")
    return table


def _backends(result: dict) -> Rows:
    shape, about = result["shape"], result["about"]
    table = Rows(
        f"Training on one batch, {shape['description']}, V {shape['vocabulary']:,}, {shape['batch_tokens']:,} tokens",
        ("", "", "tokens/s", "spread", "ours / theirs", "start-up and warm-up", "peak memory"),
        f"Target tokens a second, median of {about['repeat']} turn(s) of {shape['updates']} updates. {_when(about)}",
    )
    for precision, contestants in result["precisions"].items():
        for name, found in contestants.items():
            if "median" not in found:
                table.add(name, precision, found.get("error", "not measured"), *[None] * 4)
                continue
            ours = contestants[f"ours, {name.split(', ')[1]}"].get("median")
            ratio = f"{ours / found['median']:.2f} x" if ours and not name.startswith("ours") else None
            begun, memory = f"{found['warmup_seconds']:.0f} s", f"{found['peak_bytes'] / 1e9:.1f} GB"
            table.add(name, precision, f"{found['median']:,.0f}", f"{found['spread']:.0%}", ratio, begun, memory)
    return table


def _race(result: dict) -> Rows:
    goal = result["goal"]
    table = Rows(
        f"Time to {goal:g} BLEU on the validation text of {result['preset']}",
        ("", "reached", "updates", "minutes", "best BLEU"),
        "Lower-cased BLEU with greedy search; for ours, after its last update, also with beam search and averaged "
        "weights. Minutes include validation. JoeyNMT is stopped at the goal, or after twice our time. "
        f"{_when(result['about'])}",
    )
    for name, found in result["contestants"].items():
        if not found.get("validations"):
            table.add(name, found.get("error", "not measured"), *[None] * 3)
            continue
        update, seconds, _ = found["validations"][-1]
        best = max(bleu for *_, bleu in found["validations"])
        table.add(name, "yes" if best >= goal else "no", f"{update:,}", f"{seconds / 60:.1f}", f"{best:.1f}")
    return table


def _search(result: dict) -> Rows:
    about, engines = result["about"], result["engines"]
    lines = "all of them in each turn" if about["whole"] else "a different share of them in each turn"
    scored = [one["scores"] for one in engines.values() if "scores" in one][:1]
    signatures = [f"{name} {scores[f'{name} signature']}" for scores in scored for name in ("BLEU", "chrF")]
    table = Rows(
        f"Search, {result['shape']}, V {result['vocabulary']:,}, beam 4",
        ("", "setting", "tokens/s", "spread", "ours / theirs", "one sentence", "p90", "BLEU", "chrF", "peak memory"),
        f"Target tokens a second, median of {about['repeat']} turn(s); {about['lines']:,} lines of {about['set']}, "
        f"{lines}. {'; '.join(signatures)}. {_when(about)}",
    )
    ours = engines["ours"].get("median")
    for name, found in engines.items():
        setting = told_search(found["setting"])
        if "median" not in found or "latency" not in found:
            table.add(name, setting, found.get("error", "not measured"), *[None] * 7)
            continue
        ratio = f"{ours / found['median']:.2f} x" if ours and name != "ours" else None
        latency = [f"{1000 * found['latency'][key]:,.0f} ms" for key in ("median", "slow")]
        if name == "ours" and "latency" in engines["ctranslate2"]:
            latency[0] += f" ({found['latency']['median'] / engines['ctranslate2']['latency']['median']:.1f} x)"
        scores = [f"{found['scores'][key]:.2f}" if "scores" in found else None for key in ("BLEU", "chrF")]
        memory = f"{found['peak_bytes'] / 1e9:.1f} GB"
        speed = (f"{found['median']:,.0f}", f"{found['spread']:.0%}", ratio)
        table.add(name, setting, *speed, *latency, *scores, memory)
    return table


def _search_sweep(result: dict) -> Rows:
    trials: dict[str, list[dict]] = {}
    for trial in result["sweep"]:
        # In results from before EOLE was measured, all trials are CTranslate2's.
        trials.setdefault(trial.get("engine", "ctranslate2"), []).append(trial)
    best = "; ".join(f"{engine} with {told_search(fastest(tried))}" for engine, tried in trials.items())
    note = f"Fastest: {best}."
    if any(trial["setting"].get("mkl") for trial in result["sweep"]):
        note += " MKL: with CT2_USE_MKL=1; without it, CTranslate2 does not use MKL on AMD's processors."
    table = Rows(f"Settings tried for search, {result['shape']}", ("", "setting", "tokens/s"), note)
    for engine, tried in trials.items():
        for trial in tried:
            table.add(engine, told_search(trial["setting"]), trial["error"] or f"{trial['rate']:,.0f}")
    return table


def _startup(result: dict) -> Rows:
    note = f"Whole processes with one sentence to translate, median of {result['repeat']} turn(s). {_when(result)}"
    table = Rows("Cold start", ("", "seconds", "spread"), note)
    for name, found in result["whole"].items():
        table.add(name, f"{found['median']:.2f}", f"{found['spread']:.0%}")
    return table


def _steps(result: dict) -> Rows:
    columns = ("", "imports", "model", "first sentence", "total", "second sentence")
    note = "Seconds; the first sentence includes tracing. Marian has random weights of this shape; it writes 20 pieces."
    table = Rows("Cold start, step by step", columns, note)
    for name, found in result["steps"].items():
        first = [found[step] for step in ("imports", "model", "first")]
        table.add(name, *(f"{seconds:.2f}" for seconds in (*first, sum(first), found["second"])))
    return table


def _input(result: dict, training: dict) -> Rows:
    encoding, feeding = result["encoding"], result["feeding"]
    rates = [one["contestants"].get("ours", {}).get("median", 0.0) for one in training.values()]
    note = (
        f"{result['corpus']}, repeated up to {encoding['pairs']:,} pairs of {encoding['words']:.1f} English words on "
        f"average. {_when(result)}"
    )
    table = Rows("Input", ("", "per second", "peak memory"), note)
    pairs = f"{encoding['pairs'] / encoding['seconds']:,.0f} pairs"
    table.add("encoding, all cores", pairs, f"{encoding['all_bytes'] / 1e9:.2f} GB, all processes")
    table.add("batches for training", f"{feeding['tokens_a_second']:,.0f} target tokens", None)
    if max(rates, default=0.0):
        table.add("the same, relative to training", f"{feeding['tokens_a_second'] / max(rates):.0f} x", None)
    return table


def _stacks(result: dict) -> list[Rows]:
    rows, about = result["depth"], result["about"]
    shape = f"an encoder of width {result['width']}"
    note = f"median of {result['repeat']} calls; memory is the peak above what was in use before. {_when(about)}"
    depths = list(dict.fromkeys(row["layers"] for row in rows))
    tokens = f"{rows[0]['rows']} x {rows[0]['length']} tokens"
    by_depth = Rows(
        f"A training step by depth, {shape}, {tokens}",
        ("", "", *(f"{layers} layers" for layers in depths)),
        f"Seconds and MB; {note}",
    )
    _fill(by_depth, rows, ("stack", "precision"), "layers", depths)
    rows = result["length"]
    lengths = list(dict.fromkeys(row["length"] for row in rows))
    by_length = Rows(
        f"A call by input length, {shape}, {rows[0]['layers']} layers",
        ("", "", "", *(f"{length:,}" for length in lengths)),
        f"Seconds and MB; {note}",
    )
    _fill(by_length, rows, ("stack", "what", "precision"), "length", lengths)
    return [by_depth, by_length, _undone(result["undone"], about), _approached(result, about)]


def _undone(rows: list[dict], about: dict) -> Rows:
    depths = list(dict.fromkeys(row["layers"] for row in rows))
    table = Rows(
        "A stack's input, computed back from its output",
        ("", "sublayers in", *(f"{layers} layers" for layers in depths)),
        f"Relative error, random weights. {_when(about)}",
    )
    for pair in dict.fromkeys((row["stack"], row["precision"]) for row in rows):
        table.add(
            *pair,
            *(
                f"{row['error']:.1e}" if row["error"] else "0"
                for row in rows
                if (row["stack"], row["precision"]) == pair
            ),
        )
    return table


def _approached(result: dict, about: dict) -> Rows:
    rows = result["approached"]
    table = Rows(
        f"LSH attention compared with full attention, {result['tokens']:,} tokens",
        ("rounds of hashing", *(str(row["rounds"]) for row in rows)),
        f"Relative distance of the outputs; inputs around 64 centres, random weights. {_when(about)}",
    )
    table.add("distance", *(f"{row['error']:.4f}" for row in rows))
    return table


def _server(result: dict) -> Rows:
    about, rates = result["about"], {name: statistics.median(rates) for name, rates in result["rates"].items()}
    table = Rows(
        f"The server compared with `translate`, beam {result['beam']}",
        ("", "lines/s", "spread", "relative to `translate`"),
        f"{result['sent']:,} lines of {about['set']}, the same for both, median of {about['repeat']} turn(s). The "
        f"server gets requests of {result['together']} lines, {result['connections']} at a time. {_when(about)}",
    )
    for name, values in result["rates"].items():
        spread = f"{(max(values) - min(values)) / rates[name]:.0%}"
        table.add(name, f"{rates[name]:,.1f}", spread, f"{rates[name] / rates['translate']:.0%}")
    return table


def _users(result: dict) -> Rows:
    users, document, memory = result["users"], result["document"], result["memory"]
    same = {True: "same as alone", False: "different from alone", None: "failed"}[document["same"]]
    table = Rows(
        f"{result['users_at_once']} users for {result['seconds']:g} s, and a document of {document['lines']} lines",
        ("requests", "per second", "p50", "p99", "errors", "the document", "its seconds: with users, alone"),
        "Each user sends one line and waits for its translation. The server's memory by the number of further "
        "requests: "
        + ", ".join(f"{int(number):,}: {held / 1e6:,.0f} MB" for number, held in memory.items() if held)
        + f". {_when(result['about'])}",
    )
    seconds = "failed" if document["seconds"] is None else f"{document['seconds']:.0f}, {document['alone_seconds']:.0f}"
    latency = [f"{1000 * users[key]:,.0f} ms" for key in ("median", "slow")]
    table.add(f"{users['requests']:,}", f"{users['rate']:.1f}", *latency, users["errors"], same, seconds)
    return table


def _fill(table: Rows, rows: list[dict], names: tuple[str, ...], along: str, sizes: list[int]) -> None:
    """A row for each combination of names, with the seconds and megabytes of each size."""
    for line in dict.fromkeys(tuple(row[name] for name in names) for row in rows):
        own = {row[along]: row for row in rows if tuple(row[name] for name in names) == line}
        cells = [own.get(size, {}) for size in sizes]
        table.add(
            *line, *(f"{row['seconds']:.2f} s, {row['megabytes']:,.0f}" if "seconds" in row else "-" for row in cells)
        )


def _when(about: dict) -> str:
    machine = about["machine"]
    when = machine["date"].replace("+00:00", " UTC")
    return f"Measured {when}, commit {machine['commit']}, {machine['processor']}."


def machine_line(machine: dict) -> str:
    """One paragraph about where the figures come from."""
    versions = {**machine["versions"], **machine["peer_versions"]}
    return (
        f"{machine['processor']} ({', '.join(machine['flags'])}), "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['threads']} threads, {machine['system']}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        + "."
    )


def write_page(path: Path | str, results: dict) -> None:
    """Replaces the text between the two markers of a page, and writes the figures next to it, as JSON.

    Raises:
        UserError: nothing was measured, or the page is not there or has no markers.
    """
    if "machine" not in results:
        raise UserError(f"{path}: not changed, as nothing has been measured yet; leave out --only '' to measure")
    parts = [machine_line(results["machine"]), *(table.markdown() for table in tables(results))]
    write_between(path, BEGIN, END, "\n\n".join(parts))
    write_json(Path(path).with_suffix(".json"), results)
    if "stacks" in results:
        stacks.draw(results["stacks"], Path(path).parent / "figures")


def write_json(path: Path, results: dict) -> None:
    """Writes the figures, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "w") as file:
        json.dump(results, file, indent=1)
        file.write("\n")
