"""The page's files and headers, and the requests that explain a translation; without a browser."""

import json
import re
import shutil
import subprocess

import pytest
import requests

from app.serving.page import FOLDER
from tests.app.serving.phrase_model import SENTENCES, SLOTS, TEXT, phrase_server
from tests.app.serving.test_server import SEGMENTS

SOURCES = list(SENTENCES)
KNOWN = [ways[0] for ways in SENTENCES.values()]


def opened(server, segments):
    url = f"{server.url}/api/documents/" + requests.post(f"{server.url}/api/documents", json={}).json()["id"]
    requests.post(f"{url}/segments", json={"segments": segments})
    return url


def test_segments_are_added_with_the_translations_that_are_known(phrases):
    url = opened(phrases, SOURCES[:1])
    known = ["Öffnen Sie die\nKassette.", None]
    added = requests.post(f"{url}/segments", json={"segments": SOURCES[:2], "corrections": known})
    after = SENTENCES[SOURCES[1]][1]
    assert added.json() == {"first": 2, "translations": ["Öffnen Sie die Kassette.", after]}
    shown = requests.get(url).json()
    assert [one["corrected"] for one in shown["segments"]] == [False, True, False] and shown["undoable"] is False
    requests.put(f"{url}/segments/3", json={"text": "Gut."})
    assert requests.get(url).json()["undoable"] is True
    requests.post(f"{url}/undo")
    assert requests.get(url).json()["undoable"] is False
    wrong = requests.post(f"{url}/segments", json={"segments": SOURCES[:2], "corrections": ["Eins."]})
    assert wrong.status_code == 400 and len(requests.get(url).json()["segments"]) == 3
    long = requests.post(f"{url}/segments", json={"segments": ["a"], "corrections": ["a" * 50_000]})
    assert long.status_code == 413


def test_the_page_may_load_its_own_files_and_nothing_else(phrases):
    page = requests.get(phrases.url)
    assert page.headers["content-type"].startswith("text/html") and page.headers["x-content-type-options"] == "nosniff"
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    assert (
        page.headers["content-security-policy"] != requests.get(f"{phrases.url}/api").headers["content-security-policy"]
    )
    assert page.headers["x-request-id"] != requests.get(phrases.url).headers["x-request-id"]
    # No script or style stands in the page, and no address leads elsewhere.
    assert not re.search(r"<style|style=|<script(?![^>]* src=\"/page/)|\son\w+=|https?:", page.text)
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    for path in re.findall(r"(?:src|href)=\"(/[^\"]+)\"", page.text):
        answer = requests.get(phrases.url + path)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kinds[path.rpartition(".")[2]])
    for path in ("/page/none.js", "/page/page.py", "/page/..%2fpage.py", "/page/%2e%2e/page.py"):
        assert requests.get(phrases.url + path).status_code == 404


def test_the_scripts_write_no_markup_and_fit_on_a_few_screens():
    for path in FOLDER.glob("*.js"):
        script = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script), (
            path
        )
        assert script.count("\n") < 300, path


def test_both_languages_have_all_texts():
    texts = {code: (FOLDER / f"{code}.js").read_text(encoding="utf-8") for code in ("en", "de")}
    names = {code: re.findall(r"^  (\w+):", text, re.MULTILINE) for code, text in texts.items()}
    assert names["en"] == names["de"] and len(set(names["en"])) == len(names["en"])
    places = {code: sorted(re.findall(r"\{(\w+)\}", text)) for code, text in texts.items()}
    assert set(places["en"]) == set(places["de"])
    used = "".join(path.read_text() for path in FOLDER.iterdir() if path.stem not in ("en", "de"))
    assert not [name for name in names["en"] if f'"{name}"' not in used and f"{name}:" not in used]


SPEAK = """
import { speak, text } from "./language.js";
globalThis.document = { documentElement: {}, querySelectorAll: () => [] };
globalThis.localStorage = { setItem() {} };
const [code, calls] = JSON.parse(process.argv[2]);
speak(code);
console.log(JSON.stringify(calls.map(([name, values]) => text(name, values))));
"""


def spoken(folder, code, *calls):
    """What the page says in a language: a text's name and its values for each."""
    if not shutil.which("node"):
        pytest.skip("THE TEXTS OF THE PAGE ARE NOT TESTED: needs node")
    for path in FOLDER.glob("*.js"):
        shutil.copy(path, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "speak.js").write_text(SPEAK)
    done = subprocess.run(["node", folder / "speak.js", json.dumps([code, calls])], capture_output=True, check=True)
    return json.loads(done.stdout)


def test_one_and_many_are_told_apart(tmp_path):
    calls = [
        ("progress", {"done": 0, "all": 1}),
        ("progress", {"done": 1, "all": 8}),
        ("cancelled", {"done": 0, "all": 1}),
        ("differs", {"count": 1, "all": 8}),
        ("differs", {"count": 2, "all": 8}),
    ]
    assert spoken(tmp_path, "de", *calls) == [
        "0 von 1 Segment",
        "1 von 8 Segmenten",
        "Nach 0 von 1 Segment abgebrochen",
        "Ohne Gedächtnis lautet ein Segment von 8 anders",
        "Ohne Gedächtnis lauten 2 Segmente von 8 anders",
    ]
    assert spoken(tmp_path, "en", *calls) == [
        "0 of 1 segment",
        "1 of 8 segments",
        "Cancelled after 0 of 1 segment",
        "Without memory, one of 8 segments comes out differently",
        "Without memory, 2 of 8 segments come out differently",
    ]


def test_a_text_is_streamed_into_a_document(phrases):
    url = opened(phrases, SOURCES[:1])
    with requests.post(f"{url}/segments/stream", json={"text": "\n".join(SOURCES[1:3])}, stream=True) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        blocks = [block.split("\n") for block in answer.content.decode().strip().split("\n\n")]
    assert [name for name, _ in blocks] == ["event: text", "event: segment", "event: segment", "event: end"]
    assert f'"segments": ["{SOURCES[1]}"' in blocks[0][1] and '"first": 2' in blocks[0][1]
    assert '"number": 2' in blocks[1][1] and KNOWN[1] in blocks[1][1] and '"segments": 3' in blocks[3][1]
    assert [one["translation"] for one in requests.get(url).json()["segments"]] == KNOWN[:3]
    # What is refused has its own status.
    assert requests.post(f"{url}x/segments/stream", json={"text": "a"}).status_code == 404
    assert requests.post(f"{url}/segments/stream", json={"text": "a" * 60_000}).status_code == 413
    assert requests.post(f"{url}/segments/stream", json={"text": "a\n" * 2001}).status_code == 413


def test_a_segment_has_its_score_and_what_its_words_attended_to(phrases):
    url = opened(phrases, [*SOURCES[:4], " "])
    requests.put(f"{url}/segments/2", json={"text": "Legen Sie Blätter ein."})
    found = requests.get(f"{url}/segments/4").json()
    attention = found.pop("attention")
    assert found == requests.get(url).json()["segments"][3] and found["score"] < 0 and found["tokens"] == 9
    assert attention["source"] == [*SOURCES[3].split(), "(end)"] and attention["target"] == KNOWN[3].split()
    place = attention["target"].index("Fach")
    assert max(zip(attention["weights"][place], attention["source"], strict=True))[1] == "tray"
    assert all(sum(row) == pytest.approx(1, abs=0.01) for row in attention["weights"])
    corrected = requests.get(f"{url}/segments/2").json()
    assert corrected["corrected"] and corrected["score"] is None and corrected["attention"]
    empty = requests.get(f"{url}/segments/5").json()
    assert empty["attention"] is None and empty["score"] is None
    assert requests.get(f"{url}/segments/6").status_code == 400 and requests.get(f"{url}/segments/0").status_code == 400


def test_an_engine_that_cannot_tell_its_attention_says_so(phrases, monkeypatch):
    monkeypatch.setattr(phrases.decoder, "attends", False)
    found = requests.get(f"{opened(phrases, SOURCES[:1])}/segments/1").json()
    assert found["attention"] is None and found["translation"] == KNOWN[0] and found["score"] < 0


def test_alternatives_are_those_after_what_was_corrected_before(phrases):
    url = opened(phrases, SOURCES[:2])
    found = requests.get(f"{url}/segments/2/alternatives").json()["alternatives"]
    assert [one["text"] for one in found] == [KNOWN[1], SENTENCES[SOURCES[1]][2]]
    assert found[0]["score"] > found[1]["score"]
    requests.put(f"{url}/segments/1", json={"text": "Öffnen Sie die Kassette."})
    found = requests.get(f"{url}/segments/2/alternatives").json()["alternatives"]
    assert found[0]["text"] == SENTENCES[SOURCES[1]][1]


def test_a_document_shows_how_its_memory_was_used(phrases):
    found = requests.get(f"{opened(phrases, SOURCES)}/memory").json()["segments"]
    assert [one["number"] for one in found] == list(range(1, 9)) and len(found[0]["writes"]) == SLOTS
    assert 0 < found[0]["source_gate"] < 1 and sum(found[0]["target_slots"]) == pytest.approx(1, abs=0.01)


def test_the_server_says_where_the_page_is(server):
    assert server.said == f"The page is at {server.url}/ until Ctrl-C\n"
    assert "<h1>Weitblick</h1>" in requests.get(f"{server.url}/").text


def test_a_model_explains_what_it_does(server, alone):
    """The same with a model in Keras: its figures are those of the session alone."""
    session, url = alone.session(), opened(server, SEGMENTS)
    session.push(SEGMENTS)
    found = requests.get(f"{url}/segments/2").json()
    assert found["score"] == pytest.approx(session.score(2).log_probability / session.score(2).tokens, abs=1e-3)
    assert found["attention"]["source"][:2] == ["a", "cat"] and len(found["attention"]["weights"][0]) == 7
    texts = [one["text"] for one in requests.get(f"{url}/segments/2/alternatives").json()["alternatives"]]
    assert texts == list(dict.fromkeys(text for text, _ in session.alternatives(2)))
    assert [one["window"] for one in requests.get(f"{url}/memory").json()["segments"]] == [1, 2, 3]


def test_with_keys_the_page_is_there_and_the_api_asks_for_one():
    with phrase_server(keys=["0123456789abcdef"]) as server:
        assert requests.get(server.url).status_code == 200 and requests.get(f"{server.url}/api").status_code == 403
        about = requests.get(f"{server.url}/api", headers={"authorization": "Bearer 0123456789abcdef"}).json()
        assert about == {"source": "en", "target": "de", "documents": True, "glossaries": True, "characters": 50_000}


def test_a_client_that_leaves_keeps_what_was_translated(phrases):
    url = opened(phrases, [])
    phrases.decoder.hold(3)
    answer = requests.post(f"{url}/segments/stream", json={"text": TEXT}, stream=True)
    lines = answer.iter_lines()
    while b'"number": 3' not in next(lines):
        pass
    with phrases.left():
        answer.close()
    assert [one["translation"] for one in requests.get(url).json()["segments"]] == KNOWN[:4]
    requests.put(f"{url}/segments/4", json={"text": "Das Fach ist leer."})
    assert requests.post(f"{url}/undo").json() == {"segments": 4, "changed": [{"number": 4, "translation": KNOWN[3]}]}
