"""wmt14: the real builder of TensorFlow Datasets on small archives in the real layout and under the real names."""

import io
import logging
import subprocess
import sys
import tarfile

import pytest

from data.corpora.corpora import Corpora
from data.errors import UserError
from data.pairs import Pair

EUROPARL = [
    ("Resumption of the session", "Wiederaufnahme der Sitzungsperiode"),
    ("", "ohne Gegenstück"),
    ("A line\u2028with a separator", "Eine Zeile mit Trenner"),
]
NEWS = [("The price of gold rose.", "Der Goldpreis stieg."), ("Why?", "Warum?")]
CRAWL = [("Our hotel is quiet.", "Unser Hotel ist ruhig.")]
DEV = [("It rained in May.", "Im Mai regnete es."), ('"No", he said.', "„Nein“, sagte er.")]
TEST = [("Second language first.", "Zweite Sprache zuerst."), ("Prices & wages", "Preise & Löhne"), ("End.", "Ende.")]


def text(pairs, side):
    return "".join(f"{pair[side]}\n" for pair in pairs).encode()


def sgm(pairs, side):
    segments = "".join(f'<seg id="{i}">{pair[side]}</seg>\n' for i, pair in enumerate(pairs, start=1))
    return f'<srcset setid="newstest2014">\n<doc docid="1">\n<p>\n{segments}</p>\n</doc>\n</srcset>\n'.encode()


def write_archive(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_archives(folder):
    both = (("de", 1), ("en", 0))
    write_archive(
        folder / "training-parallel-europarl-v7.tgz",
        {f"training/europarl-v7.de-en.{lang}": text(EUROPARL, side) for lang, side in both},
    )
    write_archive(
        folder / "training-parallel-nc-v9.tgz",
        {f"training/news-commentary-v9.de-en.{lang}": text(NEWS, side) for lang, side in both},
    )
    write_archive(
        folder / "training-parallel-commoncrawl.tgz",
        {f"commoncrawl.de-en.{lang}": text(CRAWL, side) for lang, side in both},
    )
    write_archive(
        folder / "dev.tgz",
        {
            **{f"dev/newstest2013.{lang}": text(DEV, side) for lang, side in both},
            "dev/newstest2014-deen-src.de.sgm": sgm(TEST, 1),
            "dev/newstest2014-deen-ref.en.sgm": sgm(TEST, 0),
        },
    )


def expect_these_archives(folder, monkeypatch):
    """Puts the small archives' hashes into the place of the real ones', which TensorFlow Datasets goes on checking."""
    from tensorflow_datasets.core.download import checksums
    from tensorflow_datasets.translate.wmt14 import Wmt14Translate

    real = Wmt14Translate.url_infos
    infos = {
        url: checksums.compute_url_info(folder / info.filename)
        for url, info in real.items()
        if (folder / info.filename).is_file()
    }
    assert len(infos) == 4
    monkeypatch.setattr(Wmt14Translate, "url_infos", {**real, **infos})


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WEITBLICK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)  # importing absl changes it


def test_all_splits_come_from_hand_placed_archives(monkeypatch, capsys):
    corpus = Corpora().open("wmt14")
    assert corpus.size("train") is None
    write_archives(corpus.archives)
    expect_these_archives(corpus.archives, monkeypatch)
    assert corpus.splits() == ("train", "validation", "test")
    train = list(corpus.pairs("train"))
    expected = [pair for pair in EUROPARL + NEWS + CRAWL if all(pair)]
    assert sorted(train) == sorted(Pair(*pair) for pair in expected)
    assert sorted(corpus.pairs("validation")) == sorted(Pair(*pair) for pair in DEV)
    assert sorted(corpus.pairs("test")) == sorted(Pair(*pair) for pair in TEST)
    assert [corpus.size(split) for split in corpus.splits()] == [5, 2, 3]
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in corpus.data_folder.iterdir()) == ["archives", "wmt14_translate"]

    # What is prepared is read again without archives, in the same order, and in the other direction.
    for path in corpus.archives.iterdir():
        path.unlink()
    assert list(Corpora().open("wmt14").pairs("train")) == train
    back = Corpora(source="de", target="en").open("wmt14")
    assert list(back.pairs("train")) == [Pair(pair.target, pair.source) for pair in train]
    assert back.fingerprint("train") != corpus.fingerprint("train") == Corpora().open("wmt14").fingerprint("train")
    assert corpus.fingerprint("train") != corpus.fingerprint("test")

    (record,) = corpus.data_folder.rglob("*-test.tfrecord-*")
    content = record.read_bytes()
    record.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    with pytest.raises(UserError, match="the text is damaged .*delete the folder and run again"):
        list(corpus.pairs("test"))


def test_wrong_archive_is_named_and_nothing_is_left(monkeypatch):
    corpus = Corpora().open("wmt14")
    write_archives(corpus.archives)
    expect_these_archives(corpus.archives, monkeypatch)
    write_archive(corpus.archives / "dev.tgz", {"dev/newstest2013.de": b"anderes\n"})
    with pytest.raises(UserError, match=r"wmt14: an archive in .*archives is not the expected.*dev\.tgz.*delete it"):
        corpus.pairs("validation")
    assert corpus.size("validation") is None
    assert not list(corpus.data_folder.glob("*.partial"))


def test_archives_are_fetched_checked_and_kept_whole(tmp_path, monkeypatch):
    """Against a web server of our own that stands in for statmt.org by way of the proxy setting."""
    served = tmp_path / "served"
    write_archives(served)
    expect_these_archives(served, monkeypatch)
    with serve(served) as (port, requests):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        corpus = Corpora().open("wmt14")
        lines = []
        corpus.prepare(lines.append)
        assert len(list(corpus.pairs("train"))) == 5
        assert requests == [
            "http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz",
            "http://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz",
            "http://www.statmt.org/wmt14/training-parallel-nc-v9.tgz",
            "http://data.statmt.org/wmt19/translation-task/dev.tgz",
        ]
        assert any("fetching dev.tgz" in line for line in lines)

        monkeypatch.setenv("WEITBLICK_CACHE", str(tmp_path / "second"))
        (served / "training-parallel-commoncrawl.tgz").write_bytes(b"cut")
        corpus = Corpora().open("wmt14")
        with pytest.raises(UserError, match="commoncrawl.tgz was cut short.*run again"):
            corpus.pairs("train")
        assert [path.name for path in corpus.archives.iterdir()] == ["training-parallel-europarl-v7.tgz"]


def test_unreachable_network_says_what_to_do(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody listens there
    corpus = Corpora().open("wmt14")
    with pytest.raises(UserError) as error:
        corpus.pairs("test")
    message = str(error.value)
    assert message.startswith("wmt14: cannot fetch http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz (")
    assert "\n" not in message
    assert (
        f"put training-parallel-europarl-v7.tgz, training-parallel-commoncrawl.tgz, training-parallel-nc-v9.tgz, "
        f"dev.tgz into {corpus.archives}" in message
    )
    assert list(corpus.archives.iterdir()) == []


def test_unknown_split():
    with pytest.raises(UserError, match="'wmt14' has no split 'dev'; it has: train, validation, test"):
        Corpora().open("wmt14").pairs("dev")


def test_opening_imports_no_tensorflow():
    code = (
        "import sys; from data.corpora.corpora import Corpora; c = Corpora().all();"
        " [x.size('train') for x in c]; "
        "assert not {'tensorflow', 'tensorflow_datasets', 'keras', 'polib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class serve:
    """A web server on a free port that answers any URL with the file of that name; notes what was asked for."""

    def __init__(self, folder):
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        self.requests = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler):
                self.requests.append(handler.path)
                content = (folder / handler.path.rpartition("/")[2]).read_bytes()
                handler.send_response(200)
                handler.send_header("Content-Length", str(len(content)))
                handler.end_headers()
                handler.wfile.write(content)

            def log_message(handler, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        from threading import Thread

        Thread(target=self.server.serve_forever, daemon=True).start()
        return self.server.server_port, self.requests

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()
