"""Files on the server: sent, translated in the background, fetched by their owner, and forgotten."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import deepl
import pytest
import requests

from app.formats.base import Options
from app.formats.opening import open_document
from app.formats.translation import translate_document
from app.serving.batches import StoppedError
from app.serving.files import Files, TranslatedFile, input_name, output_name
from app.serving.limits import Limits, RefusedError
from data.errors import UserError
from tests.app.formats.samples import docx, unpacked
from tests.app.serving.phrase_model import phrase_server
from tests.app.serving.server_process import serving

PAGE = b"<p>the red dog sees a house.</p>\n<script>left alone</script>\n<p>a cat finds the old tree.</p>"
TEXTS = ["the red dog sees a house.", "a cat finds the old tree."]


def send(server, name, content, headers=None, **fields):
    return requests.post(server.url + "/api/files", files={"file": (name, content)}, data=fields, headers=headers)


def finished(server, key, headers=None):
    """The status of a file when it is no longer translated."""
    deadline = time.monotonic() + 60
    while (found := requests.get(f"{server.url}/api/files/{key}", headers=headers).json())["status"] == "translating":
        assert time.monotonic() < deadline and 0 <= found["done"] <= found["segments"]
        time.sleep(0.05)
    return found


def test_a_file_is_translated_as_a_document_fetched_and_forgotten(server, alone, tmp_path):
    expected = translate_document(open_document(PAGE, Options("page.html")), "page.html", alone)
    sent = send(server, "C:\\folder\\page.html", PAGE)
    assert sent.status_code == 200 and sent.json()["name"] == "page.de.html"
    key = sent.json()["id"]
    assert finished(server, key) == {"id": key, "name": "page.de.html", "status": "done", "done": 2, "segments": 2}
    answer = requests.get(f"{server.url}/api/files/{key}/result")
    assert answer.content == expected and b"<script>left alone</script>" in expected
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''page.de.html"
    assert requests.delete(f"{server.url}/api/files/{key}").status_code == 204
    for path in ("", "/result"):
        assert requests.get(f"{server.url}/api/files/{key}{path}").status_code == 404


def test_files_of_other_formats(server):
    found = finished(server, send(server, "a.docx", docx()).json()["id"])
    content = requests.get(f"{server.url}/api/files/{found['id']}/result").content
    assert found["status"] == "done" and list(unpacked(content)) == list(unpacked(docx()))
    table = b"id,text,note\n1,the dog,a cat\n"
    found = finished(server, send(server, "a.csv", table, columns="text, note").json()["id"])
    assert requests.get(f"{server.url}/api/files/{found['id']}/result").content.startswith(b"id,text,note\n1,")
    assert found["segments"] == 2


@pytest.mark.parametrize(
    "name, content, status, message",
    [
        ("a.pdf", b"%PDF", 400, "these can: .txt"),
        ("a.docx", b"x", 400, "not a zip archive"),
        ("a.csv", b"a,b\n1,c\n", 400, "--columns"),
        ("a.txt", b"x" * 2_000_001, 413, "characters of text"),
        ("a.txt", b"x" * ((32 << 20) + 1), 413, "the file is larger than 32 MiB"),
        ("a.txt", b"x" * (34 << 20), 413, "the file is larger than 32 MiB"),
        ("../../etc/passwd", b"x", 400, "without an ending"),
    ],
)
def test_what_cannot_be_translated_is_refused(server, name, content, status, message):
    answer = send(server, name, content)
    assert answer.status_code == status and message in answer.json()["error"] and "/" not in answer.json()["error"][:9]
    assert requests.post(server.url + "/api/files", data={"a": "b"}).status_code == 415
    assert requests.post(server.url + "/api/files", files={"other": b"x"}).status_code == 400


def test_a_long_file_can_be_cancelled_and_short_requests_do_not_wait_for_it(server):
    text = "\n".join(f"the dog sees the cat {number}" for number in range(20_000)).encode()
    key = send(server, "a.txt", text).json()["id"]
    began = time.monotonic()
    answer = requests.post(server.url + "/api/translate", json={"text": "the dog"})
    assert answer.status_code == 200 and time.monotonic() - began < 10
    status = requests.get(f"{server.url}/api/files/{key}").json()
    assert status["status"] == "translating" and "error" not in status
    assert requests.get(f"{server.url}/api/files/{key}/result").status_code == 409
    assert requests.delete(f"{server.url}/api/files/{key}").status_code == 204
    # The next file is translated at once.
    assert finished(server, send(server, "a.txt", b"the dog").json()["id"])["status"] == "done"


def test_files_belong_to_their_key_and_are_gone_at_the_end(run, tmp_path):
    (tmp_path / "keys").write_text("0123456789abcdef\nfedcba9876543210\n")
    own, other = ({"authorization": f"Bearer {key}"} for key in ("0123456789abcdef", "fedcba9876543210"))
    with serving(run.path, "--keys", tmp_path / "keys") as server:
        assert send(server, "a.txt", b"the dog").status_code == 403
        key = send(server, "a.txt", b"the dog", own).json()["id"]
        assert finished(server, key, own)["status"] == "done"
        for path in ("", "/result"):
            assert requests.get(f"{server.url}/api/files/{key}{path}", headers=other).status_code == 404
        long = "\n".join(f"the dog sees the cat {number}" for number in range(20_000)).encode()
        assert send(server, "a.txt", long, own).status_code == 200
        began = time.monotonic()
        assert server.terminate() == 0 and time.monotonic() - began < 30


def test_deepl_documents(server, alone, tmp_path):
    client = deepl.Translator("any key", server_url=server.url, send_platform_info=False)
    output = io.BytesIO()
    status = client.translate_document(PAGE, output, target_lang="DE", source_lang="EN", filename="page.html")
    assert status.done and status.billed_characters == sum(map(len, TEXTS))
    assert output.getvalue().startswith(b"<p>") and b"</p>\n<script>left alone</script>\n<p>" in output.getvalue()
    handle = client.translate_document_upload(PAGE, target_lang="DE", filename="page.html")
    assert client.translate_document_wait_until_done(handle).ok
    client.translate_document_download(handle, io.BytesIO())
    with pytest.raises(deepl.DeepLException):  # it is there once
        client.translate_document_download(handle, io.BytesIO())
    handle = client.translate_document_upload(PAGE, target_lang="DE", filename="page.html")
    with pytest.raises(deepl.DeepLException):
        client.translate_document_get_status(deepl.DocumentHandle(handle.document_id, "0" * 64))
    for wrong in ({"filename": "a.pdf"}, {"target_lang": "FR"}, {"output_format": "docx"}, {"formality": "more"}):
        with pytest.raises(deepl.DeepLException):
            client.translate_document_upload(PAGE, **({"target_lang": "DE", "filename": "page.html"} | wrong))


def test_a_client_of_deepl_learns_that_a_document_is_not_ready(monkeypatch):
    monkeypatch.setattr("deepl.http_client.max_network_retries", 0)
    with phrase_server() as server:
        client = deepl.Translator("any key", server_url=server.url, send_platform_info=False)
        server.decoder.hold(0)
        handle = client.translate_document_upload(b"One.", source_lang="EN", target_lang="DE", filename="a.txt")
        with pytest.raises(deepl.DocumentNotReadyException):
            client.translate_document_download(handle, io.BytesIO())
        server.decoder.go.set()
        assert client.translate_document_wait_until_done(handle).ok
        client.translate_document_download(handle, output := io.BytesIO())
        assert output.getvalue() == b"One."


def test_files_of_libretranslate(server):
    fields = {"source": "auto", "target": "de", "api_key": ""}
    answer = requests.post(server.url + "/translate_file", files={"file": ("my page.html", PAGE)}, data=fields)
    url = answer.json()["translatedFileUrl"]
    assert url.startswith(server.url + "/download_file/") and url.endswith(".my%20page.de.html")
    assert b"</p>\n<script>left alone</script>\n<p>" in requests.get(url).content
    settings = requests.get(server.url + "/frontend/settings").json()
    assert settings["filesTranslation"] and ".docx" in settings["supportedFilesFormat"]
    fields["target"] = "fr"
    answer = requests.post(server.url + "/translate_file", files={"file": ("a.html", PAGE)}, data=fields)
    assert answer.status_code == 400 and "to de only" in answer.json()["error"]
    assert requests.get(server.url + "/download_file/x.html").status_code == 404


@pytest.mark.parametrize(
    ("error", "status"), [(UserError("broken"), 400), (StoppedError(), 503), (RuntimeError("secret"), 500)]
)
def test_a_client_of_libretranslate_learns_whose_fault_it_was(error, status):
    def fail(requests, count=1):
        raise error

    with phrase_server() as server:
        server.decoder.decode_segments = fail
        fields = {"source": "en", "target": "de"}
        answer = requests.post(server.url + "/translate_file", files={"file": ("a.txt", b"One.")}, data=fields)
        assert answer.status_code == status and "secret" not in answer.text


def test_finished_translations_count_too():
    unit = '#: a\nmsgid "{}"\nmsgstr "{}"\n\n'
    known = "".join(unit.format(f"word {number}", f"Wort {number}") for number in range(40))
    with phrase_server(file_characters=500) as server:
        assert send(server, "a.po", (unit.format("word", "") + known[:200]).encode()).status_code == 200
        refused = send(server, "a.po", (unit.format("word", "") + known).encode())
        assert refused.status_code == 413 and "more than 500 characters" in refused.text


def test_a_file_that_a_client_waits_for_is_not_forgotten():
    with phrase_server(idle_seconds=0.3, files_at_once=1) as server, ThreadPoolExecutor(1) as pool:
        server.decoder.hold(0)
        fields = {"source": "en", "target": "de"}
        files = {"file": ("a.txt", b"One.")}
        waiting = pool.submit(requests.post, server.url + "/translate_file", files=files, data=fields)
        time.sleep(0.6)
        assert send(server, "b.txt", b"Two.").status_code == 200
        server.decoder.go.set()
        answer = waiting.result(10)
        assert answer.status_code == 200 and requests.get(answer.json()["translatedFileUrl"]).content == b"One."


def test_names_are_those_of_files_alone():
    assert input_name("../../a/b: c.DOCX") == "b_ c.docx" and output_name("b.DOCX", "de") == "b.de.docx"
    assert len(input_name("a" * 1000 + ".docx")) < 200 and input_name("a\r\nb\x00.txt") == "a_b_.txt"


def test_files_are_limited_and_forgotten_when_nobody_asks(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    files, go = Files(Limits(files=2, files_at_once=1, idle_seconds=60)), threading.Event()

    def work(progress):
        go.wait(10)
        progress(1, 2)
        return b"done"

    def broken(_):
        raise UserError("a.txt: is broken")

    one, two = TranslatedFile("a", "a.txt", 1), TranslatedFile("b", "b.txt", 1)
    files.start(one, work)
    files.start(two, broken)
    with pytest.raises(RefusedError, match="too many files"):
        files.start(TranslatedFile("b", "c.txt", 1), work)
    with pytest.raises(RefusedError, match="no such file"):
        files.get(one.key, "b")
    now[0] += 50
    assert files.get(two.key, "b") is two
    now[0] += 50
    assert len(files) == 1  # nobody has asked for the first one
    go.set()
    one.future.result(10)
    two.future.result(10)
    assert one.error == "cancelled" and one.content is None
    assert two.status == "failed" and two.error == "a.txt: is broken"
    files.stop()
    assert len(files) == 0
