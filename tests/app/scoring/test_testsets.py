import hashlib
import io
import socket
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import sacrebleu.utils
from sacrebleu.dataset import DATASETS

import app.scoring.testsets
from app.scoring.testsets import load_test_set, read_test_files
from data.corpora.corpora import Corpora
from data.errors import UserError

ENGLISH = ["One.", "Two  words", "A & B"]
GERMAN = ["Eins.", "Zwei Worte", "A & B"]


def write_corpus(folder, split="test", english=ENGLISH, german=GERMAN):
    folder.mkdir(parents=True, exist_ok=True)
    for language, lines in (("en", english), ("de", german)):
        (folder / f"{language}.{split}.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")


@pytest.fixture
def official(tmp_path, monkeypatch):
    """The set wmt14 in a world of its own: an empty cache, and an address that no test answers by itself."""
    dataset = DATASETS["wmt14"]
    cache = tmp_path / "sacrebleu"
    monkeypatch.setattr(sacrebleu.utils, "SACREBLEU_DIR", str(cache))
    monkeypatch.setattr(dataset, "_outdir", str(cache / "wmt14"))
    monkeypatch.setattr(dataset, "_rawdir", str(cache / "wmt14" / "raw"))
    monkeypatch.setattr(dataset, "data", ["http://127.0.0.1:9/test-filtered.tgz"])
    monkeypatch.setitem(app.scoring.testsets.OFFICIAL, "wmt14", (3, "newstest"))
    monkeypatch.setattr(app.scoring.testsets, "CONNECT_SECONDS", 1)
    return dataset


@pytest.fixture
def serve():
    """Answers web requests with some bytes, of which it can hold back the end."""
    servers = []

    def start(content: bytes, sent: int | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[:sent])

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/test-filtered.tgz"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def archive() -> bytes:
    """An archive in the layout of statmt.org's."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, lines in (("src.en", ENGLISH), ("ref.de", GERMAN)):
            segments = [f'<seg id="{i}">{line}</seg>\n' for i, line in enumerate(lines)]
            text = "".join(['<srcset setid="newstest2014">\n<doc docid="d">\n', *segments, "</doc>\n"]).encode()
            info = tarfile.TarInfo(f"test/newstest2014-deen-{name}.sgm")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    return content.getvalue()


def test_a_split_of_a_folder(tmp_path):
    write_corpus(tmp_path / "little", "validation")
    test = load_test_set("little", "validation", Corpora([tmp_path]))
    assert (test.name, test.sources, test.references) == ("little-validation", tuple(ENGLISH), tuple(GERMAN))
    turned = load_test_set("little", "validation", Corpora([tmp_path], source="de", target="en"))
    assert turned.sources == test.references
    assert turned.fingerprint != test.fingerprint
    with pytest.raises(UserError, match="no split 'test'"):
        load_test_set("little", corpora=Corpora([tmp_path]))


def test_the_first_lines_are_another_set(tmp_path):
    write_corpus(tmp_path / "little")
    test = load_test_set(str(tmp_path / "little"))
    assert test.head(2).references == tuple(GERMAN[:2])
    assert test.head(2).name == "little-test-first2"
    assert test.head(2).fingerprint != test.fingerprint
    assert test.head(0) is test.head(3) is test


def test_the_official_set_comes_from_the_network_once(official, serve, monkeypatch):
    content = archive()
    monkeypatch.setattr(official, "data", [serve(content)])
    monkeypatch.setattr(official, "md5", [hashlib.md5(content).hexdigest()])
    test = load_test_set("wmt14")
    assert (test.test, test.pair, test.name) == ("wmt14", "en-de", "wmt14-test")
    assert test.sources == ("One.", "Two words", "A & B")
    assert test.references == tuple(GERMAN)
    monkeypatch.setattr(official, "data", ["http://127.0.0.1:9/gone"])
    assert load_test_set("wmt14") == test


def test_the_official_set_comes_from_the_folder_where_there_is_no_network(official, tmp_path):
    write_corpus(tmp_path / "corpora" / "newstest")
    test = load_test_set("wmt14", corpora=Corpora([tmp_path / "corpora"]))
    assert (test.references, test.test, test.origin) == (tuple(GERMAN), "", "newstest, test")


def test_neither_network_nor_folder(official):
    with pytest.raises(UserError, match="127.0.0.1:9/test-filtered.tgz cannot be reached .*--corpora"):
        load_test_set("wmt14")
    with pytest.raises(UserError, match='"wmt14/full" has no split "validation"'):
        load_test_set("wmt14/full", "validation")


def test_another_text_of_the_same_name_is_refused(official, tmp_path):
    write_corpus(tmp_path / "newstest", english=["a"], german=["b"])
    with pytest.raises(UserError, match="has 1 segments instead of 3"):
        load_test_set("wmt14", corpora=Corpora([tmp_path]))


def test_a_server_that_never_answers_does_not_hang_the_program(official, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(official, "data", [f"http://127.0.0.1:{silent.getsockname()[1]}/x.tgz"])
        start = time.perf_counter()
        with pytest.raises(UserError, match="cannot be reached"):
            load_test_set("wmt14")
        assert time.perf_counter() - start < 4


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_broken_download_leaves_nothing_behind(official, serve, monkeypatch, damage, tmp_path):
    content = archive()
    good, bad = serve(content), serve(content, len(content) // 2) if damage == "cut" else serve(b"not the archive")
    monkeypatch.setattr(official, "md5", [hashlib.md5(content).hexdigest()])
    monkeypatch.setattr(official, "data", [bad])
    with pytest.raises(UserError, match="wmt14 could not be fetched from"):
        load_test_set("wmt14")
    monkeypatch.setattr(official, "data", [good])
    assert load_test_set("wmt14").references == tuple(GERMAN)


def test_files_of_different_lengths_are_refused(tmp_path):
    (tmp_path / "a.de").write_text("eins\nzwei\n")
    (tmp_path / "a.en").write_text("one\n")
    (tmp_path / "empty").write_text("")
    assert read_test_files(tmp_path / "a.de").sources is None
    with pytest.raises(UserError, match=r"a\.en has 1 lines and .*a\.de has 2"):
        read_test_files(tmp_path / "a.de", tmp_path / "a.en")
    with pytest.raises(UserError, match="empty is empty"):
        read_test_files(tmp_path / "empty")
