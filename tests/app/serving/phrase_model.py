"""A translator that knows a short text by heart, with a memory of one word, and its server: for tests of the page.

It says "Fach" for a tray until it reads "Kassette" in a translation; of a cover it remembers the gender.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import uvicorn

from app.presets.schema import SearchPreset
from app.serving.application import application
from app.serving.limits import Keys, Limits
from app.serving.metrics import Metrics
from app.serving.names import Names
from app.serving.service import Service
from app.translation.decoder import Decoded, Request
from app.translation.translator import Translator
from data.subwords import SPACE
from data.windows import FORWARD, WindowOptions

# Each source with its translations: before "Kassette" was read, after it, and others that are less likely.
SENTENCES = {
    "Open the paper tray before you switch on the printer.": (
        "Öffnen Sie das Papierfach, bevor Sie den Drucker einschalten.",
        "Öffnen Sie die Papierkassette, bevor Sie den Drucker einschalten.",
        "Öffnen Sie den Papierschacht, bevor Sie den Drucker anschalten.",
    ),
    "Put up to 250 sheets into the tray and push it in until it clicks.": (
        "Legen Sie bis zu 250 Blatt in das Fach und schieben Sie es hinein, bis es einrastet.",
        "Legen Sie bis zu 250 Blatt in die Kassette und schieben Sie sie hinein, bis sie einrastet.",
        "Legen Sie höchstens 250 Blatt ein und schieben Sie das Fach bis zum Anschlag hinein.",
    ),
    "The printer is ready when the green light stays on.": (
        "Der Drucker ist bereit, wenn das grüne Licht dauerhaft leuchtet.",
        "Der Drucker ist bereit, wenn das grüne Licht dauerhaft leuchtet.",
        "Der Drucker ist betriebsbereit, sobald die grüne Lampe leuchtet.",
        "Der Drucker ist fertig, wenn das grüne Licht an bleibt.",
    ),
    "If the tray is empty, the light flashes orange.": (
        "Ist das Fach leer, blinkt das Licht orange.",
        "Ist die Kassette leer, blinkt das Licht orange.",
        "Wenn das Fach leer ist, blinkt es orange.",
    ),
    "Never pull the tray out while the printer is working.": (
        "Ziehen Sie das Fach nie heraus, während der Drucker arbeitet.",
        "Ziehen Sie die Kassette nie heraus, während der Drucker arbeitet.",
        "Ziehen Sie nie das Fach aus dem Drucker, wenn er arbeitet.",
    ),
    "To remove jammed paper, open the cover at the back.": (
        "Um gestautes Papier zu entfernen, öffnen Sie die Abdeckung an der Rückseite.",
        "Um gestautes Papier zu entfernen, öffnen Sie die Abdeckung an der Rückseite.",
        "Öffnen Sie die hintere Abdeckung, um gestautes Papier zu entfernen.",
    ),
    "Close it again and press OK to go on.": (
        "Schließen Sie sie wieder und drücken Sie OK, um fortzufahren.",
        "Schließen Sie sie wieder und drücken Sie OK, um fortzufahren.",
        "Schließen Sie es wieder und drücken Sie OK, um fortzufahren.",
    ),
    "You can order a second tray from your dealer.": (
        "Ein zweites Fach können Sie bei Ihrem Händler bestellen.",
        "Eine zweite Kassette können Sie bei Ihrem Händler bestellen.",
        "Bei Ihrem Händler können Sie ein zweites Fach bestellen.",
    ),
}
TEXT = " ".join(list(SENTENCES)[:5]) + "\n\n" + " ".join(list(SENTENCES)[5:])
# Words that belong together, by the letters they begin with.
_PAIRS = """
open:öffnen the:das,die,der,den paper:papier tray:fach,papierfach,kassette,papierkassette before:bevor you:sie
switch:einschalten printer:drucker put:legen up:bis to:zu 250:250 sheets:blatt into:in and:und push:schieben it:es,sie
until:bis clicks:einrastet is:ist ready:bereit when:wenn green:grüne light:licht stays:leuchtet on:dauerhaft if:ist
empty:leer flashes:blinkt orange:orange never:nie pull:ziehen out:heraus while:während working:arbeitet remove:entfernen
jammed:gestautes cover:abdeckung at:an back:rückseite close:schließen again:wieder press:drücken ok:ok go:fortzufahren
can:können order:bestellen second:zweite from:bei your:ihrem dealer:händler
"""
PAIRS = {english: german.split(",") for english, _, german in (pair.partition(":") for pair in _PAIRS.split())}
SLOTS = 24


class PhraseTokenizer:
    """Its pieces are words; it takes each that it meets."""

    vocabulary_size = 1 << 20

    def __init__(self):
        self.words: list[str] = ["<pad>", "<unk>", "<s>", "</s>"]
        self.ids: dict[str, int] = {}

    @property
    def source(self):
        return self

    target = source

    def encode(self, texts):
        return [[self._id(word) for word in text.split()] for text in texts]

    def decode(self, sequences):
        return [" ".join(self.words[i] for i in ids) for ids in sequences]

    def piece(self, number):
        return SPACE + self.words[number]

    def _id(self, word):
        if word not in self.ids:
            self.ids[word] = len(self.words)
            self.words.append(word)
        return self.ids[word]


class PhraseDecoder:
    """Implements `app.translation.decoder.Decoder`.

    Attributes:
        left: how many batches it decodes before it waits for `go`; None for any number.
    """

    search = SearchPreset(beam=3, length_penalty=0.0)
    max_positions = retrieval = None
    remembers = attends = True
    first_memory = {"segments": np.zeros(1, "int32"), "term": np.zeros(1, "int32")}
    words, most, output_tokens = (), 3, 0

    def __init__(self, tokenizer):
        self.tokenizer, self.go = tokenizer, threading.Event()
        self.held = threading.Event()
        self.left: int | None = None

    def hold(self, left: int) -> None:
        """Decodes some more batches, and then waits for `go`; `held` says that it waits."""
        self.go.clear()
        self.held.clear()
        self.left = left

    def decode_segments(self, requests, count=1, progress=None):
        if self.left == 0:
            self.held.set()
            self.go.wait(20)
        elif self.left is not None:
            self.left -= 1
        return [self._ways(request)[:count] for request in requests]

    def remember(self, windows, memories):
        found = []
        for window, memory in zip(windows, memories, strict=True):
            (text,) = self.tokenizer.target.decode([[i for ids in window.targets for i in ids]])
            found.append({"segments": memory["segments"] + 1, "term": memory["term"] | int("assette" in text)})
        return found

    def attend(self, source, target):
        sides = [[word.strip(".,").lower() for word in self._text(ids).split()] for ids in (source, target)]
        weights = np.full((len(target) + 1, len(source) + 1), 0.01)
        for row, word in enumerate(sides[1]):
            places = [n for n, english in enumerate(sides[0]) if word in PAIRS.get(english, ())]
            near = min(places, key=lambda n: abs(n / len(source) - row / len(target)), default=len(source))
            weights[row, near] = 1.0
            weights[row, min(round(row * len(source) / len(target)), len(source))] += 0.15
        return (weights / weights.sum(axis=1, keepdims=True))[None, None]

    def inspect(self, window, memory):
        draw = np.random.default_rng(int(memory["segments"][0]))
        lengths = {side: sum(len(ids) + 1 for ids in getattr(window, f"{side}s")) for side in ("source", "target")}
        age = int(memory["segments"][0])
        found = {"writes": draw.uniform(0.0, 0.9 / (1 + 0.5 * age), (1, SLOTS)),
                 "forgotten": np.zeros((1, SLOTS)),
                 "attended": np.full((1, SLOTS, lengths["source"]), 1 / lengths["source"])}  # fmt: skip
        for side, length in lengths.items():
            found[f"{side}_gates"] = draw.uniform(0.05, 0.25 + 0.09 * age, length)
            found[f"{side}_slots"] = draw.dirichlet(0.02 + 4 * draw.dirichlet(np.full(SLOTS, 0.2)), length)
        return found

    def _text(self, ids):
        return self.tokenizer.target.decode([ids])[0]

    def _ways(self, request: Request) -> list[Decoded]:
        source = self._text(request.sources[request.current])
        known, other, *rest = SENTENCES.get(source, (source, source))
        ways = [other if request.memory["term"][0] or request.terms else known, *rest]
        if source.startswith("Close it") and not request.memory["segments"][0]:
            ways = ways[::-1]  # what "it" is stands in the sentence before
        ids = self.tokenizer.target.encode(ways)
        sure = 0.08 + (sum(map(ord, source)) % 7) ** 2 / 30
        return [Decoded(own, -(sure + 0.35 * rank) * (len(own) + 1)) for rank, own in enumerate(ids)]


class PhraseServer:
    """A server in this process; `decoder.hold` makes it wait."""

    def __init__(self, keys: Sequence[str] = (), order: str = FORWARD, public: Sequence[str] = (), **limits):
        tokenizer = PhraseTokenizer()
        self.decoder = PhraseDecoder(tokenizer)
        translator = Translator(self.decoder, tokenizer, WindowOptions("segments", size=1, order=order))
        service = Service(translator, limits=Limits(rate=0, **limits))
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.metrics = Metrics()
        app = application(service, self.metrics, Keys(keys), Names(("127.0.0.1",), public))
        config = uvicorn.Config(app, log_config=None, proxy_headers=False, timeout_graceful_shutdown=5)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self.socket]})
        self._thread.start()

    def streams(self) -> int:
        """How many streams have ended, of whose clients some went away."""
        lines = (line for line in self.metrics.text().decode().split("\n") if "requests_total" in line)
        return sum(int(float(line.rpartition(" ")[2])) for line in lines if "/stream" in line)

    @contextlib.contextmanager
    def left(self) -> Iterator[None]:
        """What is done in here makes the client of a held stream go away; waits until the server has noticed."""
        assert self.decoder.held.wait(10)  # otherwise the server may notice before it goes on to the next segment
        before = self.streams()
        yield
        deadline = time.monotonic() + 10
        while self.streams() == before and time.monotonic() < deadline:
            time.sleep(0.01)
        self.decoder.go.set()

    def stop(self) -> None:
        """Finishes what it has."""
        self.decoder.go.set()
        self._server.should_exit = True
        self._thread.join()


@contextlib.contextmanager
def phrase_server(**options) -> Iterator[PhraseServer]:
    """A server that is stopped at the end."""
    server = PhraseServer(**options)
    try:
        yield server
    finally:
        server.stop()
