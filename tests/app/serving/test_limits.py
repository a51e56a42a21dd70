"""Keys, rates, stored glossaries and open documents."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from app.serving.documents import Documents, correct, push, shown, undo
from app.serving.glossaries import Glossaries, read_entries
from app.serving.limits import Keys, Limits, Rates, RefusedError
from data.errors import UserError
from tests.app.serving.phrase_model import phrase_server

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"


def test_keys_are_read_from_a_file(tmp_path):
    (tmp_path / "keys.txt").write_text(f"# of the office\n{KEY}\n\n {OTHER} \n")
    keys = Keys.read(tmp_path / "keys.txt")
    assert keys and keys.owner(KEY) and keys.owner(OTHER) and keys.owner(KEY) != keys.owner(OTHER)
    assert KEY not in keys.owner(KEY)
    for wrong in (None, "", KEY[:-1], KEY + " ", KEY.upper(), "# of the office", "\ud800"):
        assert keys.owner(wrong) is None
    assert not Keys()


@pytest.mark.parametrize("text, message", [("short\n", "line 1: a key"), ("# none\n", "no key"), ("a b" * 9, "spaces")])
def test_keys_that_protect_nothing_are_refused(tmp_path, text, message):
    (tmp_path / "keys.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        Keys.read(tmp_path / "keys.txt")
    with pytest.raises(UserError, match="cannot be read"):
        Keys.read(tmp_path / "none.txt")


def test_a_client_may_send_so_many_requests_and_others_still_may(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rates = Rates(600)
    assert [rates.take("a") > 0 for _ in range(62)] == [False] * 60 + [True] * 2
    assert rates.take("a") == pytest.approx(0.1) and rates.take("b") == 0
    now[0] += 0.1001
    assert rates.take("a") == 0 and rates.take("a") > 0
    now[0] += 3600
    assert [rates.take("a") > 0 for _ in range(61)] == [False] * 60 + [True]
    assert not any(Rates(0).take("a") for _ in range(1000))


def test_glossaries_belong_to_their_owner():
    stored = Glossaries(Limits(glossaries=2, terms=2), "de")
    one = stored.add("mine", "a", read_entries("file\tDatei\n\nfolder\tOrdner\n", "tsv"))
    assert one.glossary.entries[0].forms[0] == "Datei" and one.entries[1] == ("folder", "Ordner")
    assert stored.get(one.key, "a") is one and stored.all("b") == []
    for action in (stored.get, stored.delete):
        with pytest.raises(RefusedError, match="no such glossary"):
            action(one.key, "b")
    stored.add("another", "b", read_entries('"a, b","c ""d"""\n', "csv"))
    with pytest.raises(RefusedError, match="too many glossaries"):
        stored.add("third", "b", [("a", "b")])
    stored.delete(one.key, "a")
    with pytest.raises(RefusedError):
        stored.get(one.key, "a")


@pytest.mark.parametrize(
    "text, message",
    [("file", "line 1"), ("a\tb\tc", "line 1"), ("", "at least one"), ("a\t ", "target term"), ("a\tb\na\tc", "twice"),
     ("a\tb\nc\td\ne\tf", "at most 2"), ("a " * 30 + "\tb", "source term")],
)  # fmt: skip
def test_what_is_no_glossary_is_refused(text, message):
    with pytest.raises(RefusedError, match=message):
        Glossaries(Limits(terms=2), "de").add("name", "", read_entries(text, "tsv"))


class EchoSession:
    """A session that translates into capitals, and fails or waits when it is told to."""

    def __init__(self):
        self.sources, self.corrections, self.wait = [], [], threading.Event()
        self.wait.set()

    translations = property(lambda self: [source.upper() for source in self.sources])
    undoes_correction = False

    def push(self, segments, corrections=None):
        self.wait.wait(10)
        if "break" in segments:
            raise RuntimeError("broken")
        self.sources += segments
        self.corrections += [None] * len(segments)
        return [segment.upper() for segment in segments]

    def score(self, number):
        return None

    def correct(self, number, text):
        raise UserError(f"there is no segment {number}")

    def undo(self):
        return {2: "B", 1: "A"}


def test_documents_are_limited_and_belong_to_their_owner():
    documents = Documents(Limits(documents=2, segments=3))
    one, two = documents.open(EchoSession(), "a"), documents.open(EchoSession(), "b")
    with pytest.raises(RefusedError, match="too many documents"):
        documents.open(EchoSession(), "a")
    assert documents.use(one.name, "a", lambda own: push(own, ["x", "y"], 3)) == {
        "first": 1,
        "translations": ["X", "Y"],
    }
    with pytest.raises(RefusedError, match="more than 3"):
        documents.use(one.name, "a", lambda own: push(own, ["x", "y"], 3))
    with pytest.raises(RefusedError, match="no segment 9"):
        documents.use(one.name, "a", lambda own: correct(own, 9, "z"))
    assert documents.use(one.name, "a", undo)["changed"][0] == {"number": 1, "translation": "A"}
    assert [segment["source"] for segment in documents.use(one.name, "a", shown)["segments"]] == ["x", "y"]
    with pytest.raises(RefusedError, match="no such document"):
        documents.use(two.name, "a", shown)
    documents.close(one.name, "a")
    assert len(documents) == 1 and documents.open(EchoSession(), "a").name != one.name


def test_a_document_that_nobody_uses_is_forgotten_but_not_while_it_is_translated(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    documents = Documents(Limits(idle_seconds=60))
    busy, idle = EchoSession(), EchoSession()
    names = [documents.open(session, "").name for session in (busy, idle)]
    busy.wait.clear()
    thread = threading.Thread(target=documents.use, args=(names[0], "", lambda own: push(own, ["x"], 9)))
    thread.start()
    while not documents._documents[names[0]].lock.locked():
        pass
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(documents.use, names[0], "", shown) for _ in range(6)]
        while sum(future.done() for future in waiting) < 3:
            pass
        now[0] += 61
        assert len(documents) == 1
        busy.wait.set()
        found = [future.exception() or future.result() for future in waiting]
    assert sorted(isinstance(one, RefusedError) for one in found) == [False] * 3 + [True] * 3
    thread.join()
    assert documents.use(names[0], "", shown)["segments"] and len(documents) == 1


def test_a_document_that_failed_half_way_is_gone_and_one_that_is_busy_says_so():
    documents = Documents(Limits(seconds=0.05))
    name = documents.open(EchoSession(), "").name
    with documents._documents[name].lock, pytest.raises(RefusedError, match="still being translated"):
        documents.use(name, "", shown)
    with pytest.raises(RuntimeError):
        documents.use(name, "", lambda own: push(own, ["break"], 9))
    with pytest.raises(RefusedError, match="no such document"):
        documents.use(name, "", shown)


def test_as_many_files_are_read_at_once_as_may_be_kept():
    with phrase_server(files=1) as server, ThreadPoolExecutor(1) as pool:
        head = "POST /api/files HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 10\r\n\r\n"
        with socket.create_connection(server.socket.getsockname()) as slow:
            slow.sendall(head.encode())
            time.sleep(0.2)
            other = pool.submit(requests.post, f"{server.url}/api/files", files={"file": ("a.txt", b"One.")})
            time.sleep(0.3)
            assert not other.done() and requests.get(f"{server.url}/health").status_code == 200
            slow.sendall(b"not a form")
            assert other.result(10).status_code == 200


def test_what_was_answered_with_503_before_it_began_is_not_translated():
    with phrase_server(at_once=2, seconds=0.3) as server, ThreadPoolExecutor(4) as pool:
        seen, decode = [], server.decoder.decode_segments
        server.decoder.decode_segments = lambda requests, count=1: seen.extend(requests) or decode(requests, count)

        def send(path, **body):
            return requests.post(f"{server.url}/api/{path}", json=body)

        names = [send("documents").json()["id"] for _ in range(2)]
        server.decoder.hold(0)
        documents = [pool.submit(send, f"documents/{name}/segments", segments=["One."]) for name in names]
        while len(seen) < 2:
            time.sleep(0.01)
        others = [pool.submit(send, path, text="Two.") for path in ("translate", "translate/stream")]
        assert [future.result(10).status_code for future in (*documents, others[0])] == 3 * [503]
        server.decoder.left = None
        server.decoder.go.set()
        assert others[1].result(10).status_code == 503
        # Documents go on, as they had begun.
        assert [
            requests.get(f"{server.url}/api/documents/{name}").json()["segments"][0]["translation"] for name in names
        ]
        assert len(seen) == 2


def test_an_error_in_a_stream_is_logged_without_text(caplog):
    def fail(requests, count=1):
        raise RuntimeError("the text")

    with phrase_server() as server:
        server.decoder.decode_segments = fail
        answer = requests.post(server.url + "/api/translate/stream", json={"text": "One."})
        assert answer.text.endswith('event: error\ndata: {"error": "internal error"}\n\n')
    (record,) = [record for record in caplog.records if record.getMessage() == "stream"]
    assert record.levelname == "ERROR" and record.fields["error"] == "RuntimeError" and "fail:" in record.fields["at"]
