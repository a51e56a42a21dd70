"""The corpus `software` on small wheels made here: fetched by the real pip, parsed, split, written and read again."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from data.corpora import software
from data.corpora.software import Document, SoftwareCorpus, split
from data.errors import UserError
from data.pairs import Pair

PO = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n'


def make_wheel(folder, name, members):
    """A wheel that pip takes, with these members; gives its file name and sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path.name, hashlib.sha256(path.read_bytes()).hexdigest()


def po(number, prefix):
    entries = (f'msgid "{prefix} number {i}"\nmsgstr "{prefix} Nummer {i}"\n' for i in range(number))
    return PO + "\n".join(entries)


def write_list(path, wheels):
    """A list of wheels as in software.toml: name -> (file, sha256, catalogues)."""
    entries = (
        f'[[wheel]]\nname = "{name}"\nversion = "1.0"\nfile = "{file}"\nsha256 = "{digest}"\nlicence = "MIT"\n'
        f'homepage = "https://example.org"\ncatalogues = {json.dumps(patterns)}\n'
        for name, (file, digest, patterns) in wheels.items()
    )
    path.write_text("\n".join(entries), encoding="utf-8")
    return path


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Two wheels in a folder that pip is pointed to, and a list of them. pip may not ask any index."""
    monkeypatch.setenv("WEITBLICK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shop"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    first = {
        f"alpha/part{i}/de.json": json.dumps({"a": {"b": f"Teil {i} ist an", "c": f"Teil {i} ist aus"}})
        for i in range(60)
    }
    first |= {
        f"alpha/part{i}/en.json": json.dumps({"a": {"b": f"Part {i} is on", "c": f"Part {i} is off"}})
        for i in range(60)
    }
    second = {"beta/locale/de/LC_MESSAGES/django.po": po(30, "Window"), "beta/locale/fr/django.po": "broken"}
    wheels = {
        "alpha": (*make_wheel(tmp_path / "shop", "alpha", first), ["alpha/*/de.json"]),
        "beta": (*make_wheel(tmp_path / "shop", "beta", second), ["beta/locale/de/*.po"]),
    }
    return write_list(tmp_path / "list.toml", wheels)


def test_from_wheels_to_pairs(shop, tmp_path):
    lines = []
    corpus = SoftwareCorpus(sources=shop)
    assert corpus.size("train") is None
    corpus.prepare(lines.append)
    assert any("alpha 1.0: 120 pairs" in line for line in lines)
    assert any("beta 1.0: 30 pairs" in line for line in lines)
    pairs = {name: list(corpus.pairs(name)) for name in corpus.splits()}
    assert {name: corpus.size(name) for name in pairs} == {name: len(pairs[name]) for name in pairs}
    assert Pair("Window number 3", "Window Nummer 3", "beta:beta/locale/de/LC_MESSAGES/django.po") in pairs["train"]
    together = [pair for part in pairs.values() for pair in part]
    assert len(together) == 150
    assert {pair.doc for pair in pairs["validation"]}.isdisjoint(pair.doc for pair in pairs["test"])
    assert 2 <= len(pairs["validation"]) <= 10
    assert 2 <= len(pairs["test"]) <= 10

    back = SoftwareCorpus("de", "en", sources=shop)
    assert [(p.target, p.source, p.doc) for p in back.pairs("test")] == [tuple(p) for p in pairs["test"]]
    assert back.fingerprint("test") != corpus.fingerprint("test")


def test_second_use_needs_neither_pip_nor_wheels(shop, tmp_path, monkeypatch):
    first = SoftwareCorpus(sources=shop)
    expected = list(first.pairs("train"))
    for wheel in (tmp_path / "cache" / "wheels").iterdir():
        wheel.unlink()
    monkeypatch.setattr(software.subprocess, "Popen", None)
    again = SoftwareCorpus(sources=shop)
    again.prepare(pytest.fail)
    assert list(again.pairs("train")) == expected
    assert again.fingerprint("train") == first.fingerprint("train")


def test_wheels_placed_by_hand_are_used(shop, tmp_path, monkeypatch):
    wheels = tmp_path / "cache" / "wheels"
    wheels.parent.mkdir()
    (tmp_path / "shop").rename(wheels)
    monkeypatch.setattr(software.subprocess, "Popen", None)
    assert SoftwareCorpus(sources=shop).fingerprint("train")


def test_damaged_wheel_is_fetched_again(shop, tmp_path):
    damaged = tmp_path / "cache" / "wheels" / "beta-1.0-py3-none-any.whl"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"half of it")
    assert "Window number 1" in {pair.source for pair in SoftwareCorpus(sources=shop).pairs("train")}
    assert damaged.read_bytes() == (tmp_path / "shop" / damaged.name).read_bytes()


def test_other_wheel_than_the_pinned_one_is_refused(shop, tmp_path):
    make_wheel(tmp_path / "shop", "beta", {"beta/locale/de/x.po": po(3, "Evil")})
    with pytest.raises(UserError, match="a file other than the one whose hash is in software.toml"):
        SoftwareCorpus(sources=shop).pairs("train")
    assert_nothing_half_written(tmp_path / "cache")


def test_unreachable_index_says_what_to_do(shop, tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens there
    monkeypatch.setenv("PIP_RETRIES", "0")
    corpus = SoftwareCorpus(sources=shop)
    with pytest.raises(UserError) as error:
        corpus.prepare(lambda line: None)
    message = str(error.value)
    assert "\n" not in message
    assert "pip could not fetch the corpus 'software' (No matching distribution found for alpha==1.0" in message
    assert f"into {tmp_path / 'cache' / 'wheels'}" in message
    assert corpus.size("train") is None
    assert_nothing_half_written(tmp_path / "cache")


def test_catalogue_that_cannot_be_read_is_named(shop, tmp_path):
    file, digest = make_wheel(tmp_path / "shop", "gamma", {"gamma/de.json": "{", "gamma/en.json": "{}"})
    bad = write_list(tmp_path / "bad.toml", {"gamma": (file, digest, ["gamma/de.json"])})
    with pytest.raises(UserError, match=r"gamma-1.0-py3-none-any.whl: cannot read gamma/de.json: "):
        SoftwareCorpus(sources=bad).prepare(lambda line: None)
    none = write_list(tmp_path / "none.toml", {"gamma": (file, digest, ["gamma/*.po"])})
    with pytest.raises(UserError, match="no catalogue that matches"):
        SoftwareCorpus(sources=none).prepare(lambda line: None)
    assert_nothing_half_written(tmp_path / "cache")


def test_interrupted_parsing_leaves_no_text(shop, tmp_path, monkeypatch):
    def interrupt(path, wheel):
        raise KeyboardInterrupt

    corpus = SoftwareCorpus(sources=shop)
    with monkeypatch.context() as patch:
        patch.setattr(software, "read_wheel", interrupt)
        with pytest.raises(KeyboardInterrupt):
            corpus.prepare(lambda line: None)
    with monkeypatch.context() as patch:
        patch.setattr(software, "_count_by_project", lambda documents: 1 / 0)  # fails after the text is written
        with pytest.raises(ZeroDivisionError):
            corpus.prepare(lambda line: None)
    assert corpus.size("train") is None
    assert_nothing_half_written(tmp_path / "cache")
    assert corpus.fingerprint("train")


def test_no_held_out_line_stands_in_train_and_order_is_kept():
    def document(project, i):
        own = [(f"{project} {i} {j}", f"{i} {j}") for j in range(4)]
        return Document(project, f"{project}:{i}", [*own, ("Shared  line", "Gemeinsam"), (f"Zz {i}", "z")])

    documents = [document("big", i) for i in range(100)] + [document("small", i) for i in range(40)]
    originals = {document.id: document.pairs for document in documents}
    parts = split(documents, held_out=0.1)
    sources = {name: {" ".join(e.lower().split()) for d in part for e, _ in d.pairs} for name, part in parts.items()}
    assert not sources["train"] & (sources["validation"] | sources["test"])
    assert not sources["validation"] & sources["test"]
    assert "shared line" in sources["train"]
    for name in ("validation", "test"):
        count = {"big": 0, "small": 0}
        for kept in parts[name]:
            count[kept.project] += len(kept.pairs)
            assert kept.pairs == [pair for pair in originals[kept.id] if pair in kept.pairs]
        assert 35 <= count["big"] <= 60
        assert 12 <= count["small"] <= 30
    train = [kept.id for kept in parts["train"]]
    assert train == [id for id in originals if id in train]
    assert split(documents, held_out=0.1) == parts


def test_one_large_document_does_not_become_the_test_set():
    large = Document("p", "p:large", [(f"large {i}", str(i)) for i in range(50)])
    small = [Document("p", f"p:{i}", [(f"small {i} {j}", str(j)) for j in range(5)]) for i in range(100)]
    parts = split([large, *small], held_out=0.1)
    assert large in parts["train"]
    assert parts["test"] and parts["validation"]


def test_list_of_wheels_is_pinned_and_licensed():
    corpus = SoftwareCorpus()
    assert len({wheel.name for wheel in corpus.wheels}) == 9
    docs = (Path(__file__).parents[3] / "docs" / "corpora.md").read_text(encoding="utf-8")
    for wheel in corpus.wheels:
        assert len(bytes.fromhex(wheel.sha256)) == 32
        assert wheel.version in wheel.file
        assert f"{wheel.name} {wheel.version}" in docs and wheel.licence in docs and wheel.homepage in docs


def assert_nothing_half_written(cache):
    assert not [path for path in cache.rglob("*") if path.name.endswith(".partial")]
    assert not list(cache.glob("software-*"))


def test_text_that_was_damaged_in_the_cache_is_made_anew(shop):
    corpus, lines = SoftwareCorpus(sources=shop), []
    corpus.prepare(lambda line: None)
    file = corpus.path / "de.train.txt"
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    SoftwareCorpus(sources=shop).prepare(lines.append)
    assert "de.train.txt: the file is damaged; making the text again" in lines[0]
    assert file.read_bytes() == content
