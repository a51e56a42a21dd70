"""The server as its users and its enemies meet it: documents, streams, hostile requests, keys, and the end."""

import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.app.serving.server_process import serving
from tests.app.toy_training import weitblick

SEGMENTS = ["the red dog sees a house", "a cat finds the old tree", "the big dog never sees a cat"]
RIGHT = "der rote hund sieht ein haus"
JSON = {"content-type": "application/json"}


def test_documents_are_sessions(server, alone):
    session = alone.session()
    url = server.url + requests.post(server.url + "/api/documents", json={}).json()["id"].join(("/api/documents/", ""))
    assert requests.post(url + "/segments", json={"segments": SEGMENTS[:2]}).json() == {
        "first": 1,
        "translations": session.push(SEGMENTS[:2]),
    }
    assert requests.post(url + "/segments", json={"segments": SEGMENTS[2:]}).json()["first"] == 3
    session.push(SEGMENTS[2:])
    changed = requests.put(url + "/segments/1", json={"text": RIGHT}).json()["changed"]
    assert {one["number"]: one["translation"] for one in changed} == session.correct(1, RIGHT)
    shown = requests.get(url).json()["segments"]
    assert [one["translation"] for one in shown] == session.translations
    assert [one["corrected"] for one in shown] == [True, False, False] and shown[1]["source"] == SEGMENTS[1]
    undone = requests.post(url + "/undo").json()
    assert {one["number"]: one["translation"] for one in undone["changed"]} == session.undo()
    assert undone["segments"] == 3
    # An answer that got lost is asked for again; the text stays.
    again = requests.post(url + "/undo")
    assert again.status_code == 400 and "no correction to undo" in again.json()["error"]
    assert [one["translation"] for one in requests.get(url).json()["segments"]] == session.translations
    assert "no segment 4" in requests.put(url + "/segments/4", json={"text": "x"}).json()["error"]
    assert requests.post(url + "/segments", json={"segments": []}).status_code == 400
    assert requests.delete(url).status_code == 204 and requests.get(url).status_code == 404


def test_a_stream_sends_each_segment_as_an_event(server, alone):
    text = ".\n".join(SEGMENTS)
    with requests.post(server.url + "/api/translate/stream", json={"text": text}, stream=True) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [block.split("\n") for block in answer.text.strip().split("\n\n")]
    assert [name for name, _ in events] == ["event: text"] + ["event: segment"] * 3 + ["event: end"]
    whole, *found = [json.loads(data.removeprefix("data: ")) for _, data in events]
    sources = [f"{SEGMENTS[0]}.", f"{SEGMENTS[1]}.", SEGMENTS[2]]
    assert whole == {"first": 1, "segments": sources, "gaps": ["", "\n", "\n", ""]}
    assert [one["translation"] for one in found[:3]] == next(alone.translate_documents([text.split("\n")]))
    assert [one["number"] for one in found[:3]] == [1, 2, 3] and found[3] == {"segments": 3}
    assert requests.post(server.url + "/api/translate/stream", json={"text": "a" * 60_000}).status_code == 413


def translated(server, text):
    answer = requests.post(server.url + "/api/translate", json={"text": text})
    return answer.json()["translations"][0]["text"]


def test_fifty_users_get_the_texts_that_each_would_get_alone(server, alone):
    texts = [" ".join(SEGMENTS[n % 3].split()[: 2 + n % 5]) for n in range(50)]
    long = "\n".join(SEGMENTS * 7)
    expected = [lines[0] for lines in alone.translate_documents([[text] for text in texts])]
    with ThreadPoolExecutor(51) as pool:
        document = pool.submit(translated, server, long)
        assert list(pool.map(lambda text: translated(server, text), texts * 2)) == expected * 2
        assert document.result().split("\n") == next(alone.translate_documents([SEGMENTS * 7]))
    metrics = dict(line.rsplit(" ", 1) for line in requests.get(server.url + "/metrics").text.split("\n") if line)
    rows, batches = (
        float(metrics[f'weitblick_batch_rows_{what}{{kind="decode_segments"}}']) for what in ("sum", "count")
    )
    assert rows > 1.2 * batches
    assert float(metrics['weitblick_requests_total{route="/api/translate",status="200"}']) >= 101
    assert metrics["weitblick_waiting_rows"] == "0.0"


def raw(server, data: bytes, half_close: bool = False) -> bytes:
    """What the server answers to some bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=40) as connection:
        with contextlib.suppress(OSError):  # refused before all was sent
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def head(path="/api/translate", length=None, **headers) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: localhost", "connection: close", "content-type: application/json"]
    lines += [] if length is None else [f"content-length: {length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def whole(body: bytes, path="/api/translate", **headers) -> bytes:
    return head(path, len(body), **headers) + body


def form(body: bytes, path="/translate") -> bytes:
    return whole(body, path).replace(b"application/json", b"application/x-www-form-urlencoded")


def bare(request: str) -> bytes:
    return f"{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode()


CHUNK = b"ffff\r\n" + b"a" * 0xFFFF + b"\r\n"
DEEP = b'{"text":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
HOSTILE = {
    "deep JSON": (whole(DEEP), 400),
    "deep JSON for others": (whole(DEEP.replace(b"text", b"q"), "/translate"), 400),
    "deep objects": (whole(b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "/v2/translate"), 400),
    "no JSON": (whole(b'{"text": "a'), 400),
    "no UTF-8": (whole(b'{"text": "\xff\xfe"}'), 400),
    "UTF-16": (whole('{"q": 1}'.encode("utf-16"), "/translate"), 400),
    "half a character": (whole(b'{"text": "\\ud800"}'), 400),
    "half a character for others": (whole(b'{"text": "\\ud800", "target_lang": "DE"}', "/v2/translate"), 400),
    "half a character as context": (whole(b'{"text": "a", "context": "\\udfff"}'), 400),
    "a long number": (whole(b'{"text": ' + b"9" * 10_000 + b"}"), 400),
    "not a number": (whole(b'{"text": NaN}'), 400),
    "a list": (whole(b"[1, 2]", "/translate"), 400),
    "another key": (whole(b'{"text": "a", "file": "/etc/passwd"}'), 400),
    "too many texts": (whole(json.dumps({"text": ["a"] * 1001}).encode()), 413),
    "too long a text": (whole(json.dumps({"text": "a" * 50_001}).encode()), 413),
    "too long a context": (whole(json.dumps({"text": "a", "context": "a" * 50_001}).encode()), 413),
    "too large": (whole(b" " * 1_100_000), 413),
    "says it is too large": (head(length=10**12), 413),
    "says it is larger than any": (head(length=10**18), 413),
    "large in chunks": (head(transfer_encoding="chunked") + 20 * CHUNK + b"0\r\n\r\n", 413),
    "both lengths": (head(length=3, transfer_encoding="chunked") + b"0\r\n\r\n", 400),
    "a length that is none": (head(length="-1"), 400),
    "many fields": (form(b"&".join(b"q=%d" % n for n in range(5000))), 400),
    "a file": (
        whole(
            b'--x\r\ncontent-disposition: form-data; name="q"; filename="../../etc/passwd"\r\n\r\nx\r\n--x--\r\n',
            "/translate",
        ).replace(b"application/json", b"multipart/form-data; boundary=x"),
        400,
    ),
    "a form without boundary": (whole(b"abc", "/translate").replace(b"application/json", b"multipart/form-data"), 400),
    "XML": (whole(b"<!DOCTYPE a [<!ENTITY b 'c'>]>", "/translate").replace(b"application/json", b"text/xml"), 415),
    "a long head": (b"GET /health HTTP/1.1\r\n" + b"x: y\r\n" * 12_000 + b"\r\n", 400),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
    "another site": (whole(b"{}", origin="https://example.com"), 403),
    "a sandbox": (whole(b"{}", origin="null"), 403),
    "another name": (whole(b"{}").replace(b"localhost", b"example.com"), 403),
    "a path": (bare("GET /../../etc/passwd"), 404),
    "an unknown document": (bare("GET /api/documents/..%2f..%2fetc"), 404),
    "another method": (bare("PATCH /translate"), 405),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_requests_are_refused(server, name):
    request, status = HOSTILE[name]
    answer = raw(server, request)
    assert answer.startswith(b"HTTP/1.1 %d" % status), answer[:300]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Traceback" not in answer and b"passwd" not in body and b"/app/" not in body and len(body) < 300
    assert b"access-control" not in head.lower()
    assert requests.get(server.url + "/health").status_code == 200


def test_a_hundred_hostile_requests_at_once_do_no_harm(server, alone):
    expected = alone.translate_all(["a dog sees the cat"])
    requests_of = list(HOSTILE.values()) * 3
    with ThreadPoolExecutor(21) as pool:
        answers = pool.map(lambda one: raw(server, one[0]), requests_of)
        texts = [pool.submit(translated, server, "a dog sees the cat") for _ in range(20)]
        for answer, (_, status) in zip(answers, requests_of, strict=True):
            assert answer.startswith(b"HTTP/1.1 %d" % status), answer[:300]
        assert {one.result() for one in texts} == set(expected)
    assert len(requests_of) > 100 and server.process.poll() is None


def test_clients_that_stop_half_way_get_a_400_and_those_that_only_listen_their_answer(server):
    body = json.dumps({"text": "the dog"}).encode()
    assert raw(server, whole(body), half_close=True).startswith(b"HTTP/1.1 200")
    assert raw(server, whole(body)[:-3], half_close=True).startswith(b"HTTP/1.1 400")
    assert raw(server, head()[:20], half_close=True).startswith(b"HTTP/1.1 400")
    assert raw(server, b"", half_close=True) == b""
    for _ in range(20):  # gone without a word
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(whole(body)[:-3])
    assert requests.get(server.url + "/health").status_code == 200


def test_answers_say_that_nothing_may_be_loaded_and_the_api_describes_itself(server):
    answer = requests.post(server.url + "/api/translate", json={"text": "the dog"})
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff" and "server" not in answer.headers
    described = requests.get(server.url + "/api/openapi.json").json()
    assert {"/api/documents/{name}/segments", "/translate", "/v2/translate"} <= set(described["paths"])
    post = described["paths"]["/api/translate"]["post"]
    assert set(post["responses"]) >= {"200", "400", "413", "429"} and "requestBody" in post


def test_the_log_has_every_request_and_no_text(server):
    secret = "supercalifragilistic"
    requests.post(server.url + "/api/translate", json={"text": secret})
    requests.post(server.url + f"/{secret}?q={secret}", json={"text": secret})
    requests.post(server.url + "/translate", json={"q": [secret], "source": "en", "target": "de", secret: 1})
    requests.get(server.url + "/health")
    deadline = time.monotonic() + 10
    while not any("/health" in line for line in server.log[-3:]) and time.monotonic() < deadline:
        time.sleep(0.01)
    lines = [json.loads(line) for line in server.log]
    assert secret not in "".join(server.log)
    assert [line["route"] for line in lines[-4:]] == ["/api/translate", "other", "/translate", "/health"]
    assert [line["status"] for line in lines[-4:]] == [200, 404, 200, 200]
    assert not [line for line in lines if line["level"] == "error"], lines


@pytest.mark.slow
def test_keys_rates_slow_clients_and_a_graceful_stop(run, tmp_path, alone):
    (tmp_path / "keys").write_text("0123456789abcdef\nfedcba9876543210\n")
    with serving(run.path, "--keys", tmp_path / "keys", "--rate", 600, "--beam", 1) as server:
        key = {"authorization": "Bearer 0123456789abcdef"}
        other = {"authorization": "DeepL-Auth-Key fedcba9876543210"}

        def ask(path, headers, method="post", **body):
            return requests.request(method, server.url + path, json=body or None, headers=headers)

        # Without a key only its health is told.
        assert ask("/health", {}, "get").status_code == 200
        for path, method in (
            ("/api/documents", "post"),
            ("/v2/usage", "get"),
            ("/metrics", "get"),
            ("/languages", "get"),
        ):
            assert ask(path, {"authorization": "Bearer 0123456789abcdee"}, method, x=1).status_code in (400, 403)
            assert ask(path, key, method).status_code != 403
        fields = {"q": "the dog", "source": "en", "target": "de"}
        assert ask("/translate", {}, **fields).status_code == 403
        assert ask("/translate", {}, **fields, api_key="0123456789abcdef").status_code == 200
        # BigQuery's own header is for the service in front of this one.
        rows, google = {"calls": [["the dog"]]}, {"authorization": "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln"}
        assert set(ask("/bigquery/translate", google, **rows).json()) == {"errorMessage"}
        rows["userDefinedContext"] = {"key": "0123456789abcdef"}
        assert ask("/bigquery/translate", google, **rows).status_code == 200
        # Documents are those of their key.
        document = "/api/documents/" + ask("/api/documents", key, context="a cat").json()["id"]
        assert ask(document, other, "get").status_code == 404 and ask(document, key, "get").status_code == 200
        # A client that sends too much is slowed down; others are not.
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: ask("/v2/usage", key, "get"), range(150)))
        assert {answer.status_code for answer in answers} == {200, 429}
        assert all(int(one.headers["retry-after"]) >= 1 for one in answers if one.status_code == 429)
        assert ask("/v2/usage", other, "get").status_code == 200

        # Slow clients are cut off, all at the same time.
        def slowly(request):
            with socket.create_connection(("127.0.0.1", server.port), timeout=40) as connection:
                connection.sendall(request)
                began = time.monotonic()
                return connection.recv(1000), time.monotonic() - began

        slow = [whole(b'{"text": "a"}')[:-2], head()[:30], b""]
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(slowly, slow))
        assert [answer[:12] for answer, _ in found] == [b"HTTP/1.1 408", b"HTTP/1.1 408", b""]
        assert all(seconds < 25 for _, seconds in found)

        # What has begun is finished; nothing new is taken.
        lines = [f"{SEGMENTS[n % 3]} {n}" for n in range(1000)]
        with ThreadPoolExecutor(2) as pool:
            long = pool.submit(ask, "/api/translate", other, text=lines)
            while "waiting_rows 0.0" in ask("/metrics", other, "get").text and not long.done():
                time.sleep(0.02)
            begun = not long.done()
            assert server.terminate() == 0
            answer = long.result()
        assert begun and answer.status_code == 200 and len(answer.json()["translations"]) == 1000
        assert json.loads(server.log[-1])["event"] == "stopped"
        with pytest.raises(requests.ConnectionError):
            ask("/health", {}, "get")


def test_wrong_options_are_refused_before_the_model_is_loaded(run, tmp_path):
    def refused(*options):
        done = weitblick("serve", run.path, *options, code=2)
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        return done.stderr

    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot listen there" in refused("--port", taken.getsockname()[1])
    assert "--port 70000" in refused("--port", 70000)
    assert "cannot be read" in refused("--keys", tmp_path / "none")
    assert "--name https://a.example: expected the name of a host" in refused("--name", "https://a.example")
    assert "--file-size 0: expected a number above 0" in refused("--file-size", 0)
    for value in ("0.0", "inf", "nan"):
        assert f"--seconds {value}: expected a number above 0" in refused("--seconds", value)
