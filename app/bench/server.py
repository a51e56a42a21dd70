"""The server under load: many users during a long document, memory over many requests, rate next to `translate`'s."""

import contextlib
import http.client
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from app.bench.contestant import REPOSITORY, Contestant, ContestantFailed

BEAM = 4
# Users who each send a line, wait for its translation and send the next; for how long; lines of a document meanwhile.
USERS, SECONDS, DOCUMENT = 50, 60.0, 400
# Requests while the memory is watched, and after how many it is read.
REQUESTS, EVERY = 10_000, 2_000
# The server and `translate` get the same lines: at most this many. The server gets them in requests of 50, the most
# that DeepL takes, and this many requests at the same time.
LINES, TOGETHER, CONNECTIONS = 3000, 50, 20
# Seconds until the server must have started, or have answered.
PATIENCE = 300


def units(repeat: int) -> int:
    """How many steps of the progress bar `measure` takes."""
    return 4 + 2 * repeat


def measure(run: Path, lines: Sequence[str], repeat: int, quick: bool, folder: Path, step: Callable) -> dict[str, Any]:
    """Measures one server process over loopback; the users are threads of this process.

    Args:
        run: a trained run.
        lines: what users send.
        repeat: turns of the server and of `translate`.
        quick: a hundredth of everything.
        folder: for logs.
        step: called with a line for the progress bar whenever a unit of work begins.

    Returns:
        For JSON: "rates" of the server and of `translate` in lines a second, "users" (requests a second, latency and
        errors), "document" (seconds, and whether its text is the same as alone), "memory" in bytes by requests.
    """
    share = 100 if quick else 1
    folder.mkdir(parents=True, exist_ok=True)
    short = [line for line in lines if 0 < len(line) <= 120] or list(lines)
    document = list(itertools.islice(itertools.cycle(lines), max(DOCUMENT // share, 4)))
    step("server: start")
    with _serving(run, folder / "server.log") as server:
        rates = _rates(server, run, lines[: LINES // share], repeat, folder, step)
        step(f"server: a document of {len(document)} lines, alone")
        alone, seconds = server.timed(document)
        step(f"server: {USERS} users beside the document")
        users, beside = _load(server, short, document, SECONDS / share)
        step(f"server: memory over {REQUESTS // share:,} requests")
        memory = _memory(server, short, REQUESTS // share, max(EVERY // share, 1))
    same = None if beside is None else beside[0] == alone
    found = {"lines": len(document), "alone_seconds": seconds, "seconds": beside and beside[1], "same": same}
    settings = {"sent": len(lines[: LINES // share]), "together": TOGETHER, "connections": CONNECTIONS, "beam": BEAM}
    settings |= {"users_at_once": USERS, "seconds": SECONDS / share}
    return {"rates": rates, "users": users, "document": found, "memory": memory, **settings}


class _Server:
    """A running `weitblick serve`; each request has its own connection."""

    def __init__(self, port: int, process: int):
        self._port, self.process = port, process

    def translate(self, texts: Sequence[str]) -> list[str]:
        """Translates texts, each on its own.

        Raises:
            ContestantFailed: the answer is an error.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        body = json.dumps({"text": list(texts), "sentences": False})
        try:
            connection.request("POST", "/api/translate", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            content = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ContestantFailed(f"the server did not answer: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise ContestantFailed(f"the server answered with {answer.status}: {content.get('error')}")
        return [one["text"] for one in content["translations"]]

    def timed(self, document: Sequence[str]) -> tuple[str, float]:
        """The translation of a document, and the seconds that it took."""
        begin = time.perf_counter()
        (text,) = self.translate(["\n".join(document)])
        return text, time.perf_counter() - begin

    def memory(self) -> int | None:
        """Bytes of memory that the process holds; None if the system does not tell."""
        with contextlib.suppress(OSError), open(f"/proc/{self.process}/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))
        return None


@contextlib.contextmanager
def _serving(run: Path, log: Path) -> Iterator[_Server]:
    """A server without limits, on a free port.

    Raises:
        ContestantFailed: it does not start.
    """
    limits = ["--rate", "0", "--characters", "10000000", "--seconds", "600"]
    command = [sys.executable, "-m", "app", "serve", run, "--port", "0", "--beam", BEAM, *limits]
    with open(log, "wb") as errors:
        process = subprocess.Popen([str(part) for part in command], cwd=REPOSITORY, stderr=errors)
    try:
        yield _Server(_port(process, log), process.pid)
    finally:
        process.terminate()
        process.wait()


def _port(process: subprocess.Popen, log: Path) -> int:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        lines = log.read_text(errors="replace").splitlines()
        for line in lines:
            if '"event": "ready"' in line:
                return int(json.loads(line)["url"].rpartition(":")[2])
        if process.poll() is not None:
            raise ContestantFailed(f"the server ended: {(lines or ['no message'])[-1][:200]}")
        time.sleep(0.1)
    raise ContestantFailed(f"the server was not ready after {PATIENCE} seconds; see {log}")


def _rates(
    server: _Server, run: Path, lines: Sequence[str], repeat: int, folder: Path, step: Callable
) -> dict[str, list]:
    """Lines a second of both, in turns, after a first turn that does not count."""
    requests = [lines[start : start + TOGETHER] for start in range(0, len(lines), TOGETHER)]
    rates: dict[str, list[float]] = {"server": [], "translate": []}
    spec = {"run": str(run), "beam": BEAM}
    with (
        Contestant("ours_search", spec, log=folder / "translate.log") as one,
        ThreadPoolExecutor(CONNECTIONS) as pool,
    ):
        one.answer()

        def by_server() -> float:
            begin = time.perf_counter()
            list(pool.map(server.translate, requests))
            return time.perf_counter() - begin

        def by_translate() -> float:
            return sum(one.ask(lines=list(lines), setting={})["seconds"])

        by_server(), by_translate()
        for turn in range(repeat):
            for name, work in (("server", by_server), ("translate", by_translate)):
                step(f"server: rate of {name}, turn {turn + 1} of {repeat}")
                rates[name].append(len(lines) / work())
    return rates


def _load(
    server: _Server, lines: Sequence[str], document: Sequence[str], seconds: float
) -> tuple[dict[str, Any], tuple[str, float] | None]:
    """What users see, and the document's translation with its seconds; None if it failed."""
    end, spent, errors = time.perf_counter() + seconds, list[float](), list[str]()

    def user(number: int) -> None:
        for line in itertools.islice(itertools.cycle(lines), number * 37, None):
            begin = time.perf_counter()
            if begin > end:
                return
            try:
                server.translate([line])
            except ContestantFailed as error:
                errors.append(str(error))
            spent.append(time.perf_counter() - begin)

    with ThreadPoolExecutor(USERS + 1) as pool:
        written = pool.submit(server.timed, document)
        began = time.perf_counter()
        list(pool.map(user, range(USERS)))
        took = time.perf_counter() - began
        try:
            beside = written.result()
        except ContestantFailed as error:
            errors.append(str(error))
            beside = None
    percentiles = statistics.quantiles(spent, n=100, method="inclusive")
    found = {"requests": len(spent), "rate": len(spent) / took, "errors": len(errors), "error": (errors or [None])[0]}
    return found | {"median": percentiles[49], "slow": percentiles[98]}, beside


def _memory(server: _Server, lines: Sequence[str], requests: int, every: int) -> dict[str, int | None]:
    """The server's memory by the number of requests so far."""
    sent = itertools.cycle(lines)
    found = {"0": server.memory()}
    with ThreadPoolExecutor(USERS) as pool:
        for number in range(every, requests + 1, every):
            list(pool.map(lambda line: server.translate([line]), itertools.islice(sent, every)))
            found[str(number)] = server.memory()
    return found
