"""Clients that others wrote, with the server's address: they get what the translator gives alone."""

import json
import shutil
import subprocess
from pathlib import Path
from urllib.error import HTTPError

import deepl
import pytest
import requests
from libretranslatepy import LibreTranslateAPI

REPOSITORY = Path(__file__).resolve().parents[3]
TEXTS = ["the red dog sees a house", "a cat finds the old tree. The big dog never sees a cat."]


@pytest.fixture
def client(server):
    return deepl.Translator("any key", server_url=server.url, send_platform_info=False)


def document(alone, text, first=None):
    """The translation of a text whose sentences are lines of a document."""
    lines = next(alone.translate_documents([text.replace(". ", ".\n").split("\n")]))
    return " ".join(lines)


def test_libretranslatepy(server, alone):
    client = LibreTranslateAPI(server.url)
    assert client.translate(TEXTS[0], "en", "de") == document(alone, TEXTS[0]) != ""
    assert client.translate("Line one.\n\n  Line two.", "auto", "de").count("\n") == 2
    assert client.detect("Wer reitet so spät durch Nacht und Wind?")[0]["language"] == "de"
    assert [own["code"] for own in client.languages()] == ["en", "de"]
    with pytest.raises(HTTPError) as caught:
        client.translate("x", "en", "fr")
    assert caught.value.code == 400 and "to de only" in json.load(caught.value)["error"]


def test_all_of_libretranslate(server, alone):
    def ask(path="/translate", **fields):
        return requests.post(server.url + path, json={"source": "en", "target": "de"} | fields)

    assert ask(q=TEXTS).json() == {"translatedText": [document(alone, text) for text in TEXTS]}
    found = ask(q=TEXTS[0], source="auto", alternatives=1).json()
    assert set(found) == {"translatedText", "detectedLanguage", "alternatives"}
    assert found["detectedLanguage"]["language"] == "en" and len(found["alternatives"]) <= 1
    assert found["translatedText"] not in found["alternatives"]
    html = ask(q="<p>the <b>dog</b> &lt;</p><script>x</script>", format="html").json()["translatedText"]
    assert html.startswith("<p>") and html.endswith("</p><script>x</script>") and html.count("<b>") == 1
    german = (
        "Wer reitet so spät durch Nacht und Wind? Es ist der Vater mit seinem Kind, er hält den Knaben wohl im Arm."
    )
    for wrong in ({}, {"q": ""}, {"q": 1}, {"q": [1]}, {"q": "a", "format": "pdf"}, {"q": german, "source": "auto"},
                  {"q": "a", "alternatives": 99}, {"q": "a", "source": "fr"}):  # fmt: skip
        answer = ask(**wrong)
        assert answer.status_code == 400 and set(answer.json()) == {"error"}, wrong
    assert requests.get(server.url + "/health").json() == {"status": "ok"}
    settings = requests.get(server.url + "/frontend/settings").json()
    assert settings["language"]["target"] == {"code": "de", "name": "German"} and not settings["keyRequired"]


def test_deepl(client, alone):
    found = client.translate_text(TEXTS, target_lang="DE")
    assert [one.text for one in found] == [document(alone, text) for text in TEXTS]
    assert [one.detected_source_lang for one in found] == ["EN", "EN"]
    assert found[0].billed_characters == len(TEXTS[0])
    before = client.get_usage().character.count
    client.translate_text("the cat", source_lang="EN", target_lang="DE")
    assert client.get_usage().character.count == before + 7
    assert [own.code for own in client.get_source_languages()] == ["EN"]
    assert [own.code for own in client.get_target_languages()] == ["DE"]
    assert str(client.get_glossary_languages()[0].target_lang) == "de"


def test_deepl_reads_context_and_does_not_translate_it(client, alone):
    text = "the red dog sees a house. A cat finds it."
    plain = client.translate_text(text, target_lang="DE").text
    contexts = ["a tall tree near the old house. " * 8, "never never never. always always.", "dog dog dog. cat cat."]
    found = [client.translate_text(text, target_lang="DE", context=context).text for context in contexts]
    assert plain == document(alone, text)
    # test_batches.py says what exactly the memory holds.
    assert len({plain, *found}) == 4
    assert client.translate_text(text, target_lang="DE", context=" ").text == plain


def test_deepl_with_markup(client):
    html = '<p>the <b>red</b> dog &amp; a cat</p><pre>x = 1\n  y</pre><p translate="no">the dog</p>'
    found = client.translate_text(html, target_lang="DE", tag_handling="html").text
    assert found.endswith('</p><pre>x = 1\n  y</pre><p translate="no">the dog</p>') and found.count("<b>") == 1
    xml = "<doc><t>the dog</t><keep>the dog</keep></doc>"
    found = client.translate_text(xml, target_lang="DE", tag_handling="xml", ignore_tags=["keep"]).text
    assert found.startswith("<doc><t>") and found.endswith("</t><keep>the dog</keep></doc>") and found != xml


def test_deepl_glossaries(client):
    made = client.create_glossary("animals", "EN", "DE", {"dog": "hund", "old tree": "alte baum"})
    assert made.ready and made.entry_count == 2 and client.get_glossary(made.glossary_id).name == "animals"
    assert client.get_glossary_entries(made) == {"dog": "hund", "old tree": "alte baum"}
    assert made.glossary_id in [own.glossary_id for own in client.list_glossaries()]
    found = client.translate_text(["a dog", "the old tree"], source_lang="EN", target_lang="DE", glossary=made)
    assert "hund" in found[0].text.lower() and "alte baum" in found[1].text.lower()
    client.delete_glossary(made)
    with pytest.raises(deepl.DeepLException, match="no such glossary"):
        client.get_glossary(made.glossary_id)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"target_lang": "FR"}, "target_lang"),
        ({"source_lang": "DE"}, "source_lang"),
        ({"formality": "more"}, "formality"),
        ({"custom_instructions": ["be nice"]}, "custom_instructions"),
        ({"extra_body_parameters": {"text": ["a"] * 51}, "split_sentences": "9"}, "split_sentences"),
    ],
)
def test_deepl_refuses_what_it_cannot_do(client, options, message):
    with pytest.raises(deepl.DeepLException, match=message):
        client.translate_text("a dog", **({"target_lang": "DE"} | options))


def test_deepl_takes_forms_and_says_its_own_errors(server):
    def post(fields):
        return requests.post(server.url + "/v2/translate", data=fields)

    found = post([("text", "a dog"), ("text", "a cat"), ("target_lang", "de"), ("preserve_formatting", "1")])
    assert len(found.json()["translations"]) == 2
    assert set(post([("target_lang", "DE")]).json()) == {"message"} == set(post([("text", "a")]).json())
    assert post([("text", "a")] * 51 + [("target_lang", "DE")]).status_code == 413


SCRIPT = """
const deepl = require("deepl-node");
const translator = new deepl.Translator("any key", {serverUrl: process.argv[2]});
(async () => {
  const found = await translator.translateText(JSON.parse(process.argv[3]), "en", "de", {context: "a cat"});
  const made = await translator.createGlossary("g", "en", "de", new deepl.GlossaryEntries({entries: {dog: "hund"}}));
  const term = await translator.translateText("a dog", "en", "de", {glossary: made});
  const html = await translator.translateText("<p>a <b>dog</b></p>", "en", "de", {tagHandling: "html"});
  const usage = await translator.getUsage();
  let error = "";
  try { await translator.translateText("a", "en", "fr"); } catch (caught) { error = caught.message; }
  const texts = found.map(one => one.text);
  console.log(JSON.stringify({texts, term: term.text, html: html.text, count: usage.character.count, error}));
})();
"""


def test_deepl_node(server, tmp_path):
    modules = REPOSITORY / ".node/node_modules"
    if not shutil.which("node") or not (modules / "deepl-node").is_dir():
        pytest.skip("DEEPL'S CLIENT FOR NODE IS NOT TESTED: needs node and npm; make .node/installed installs it")
    (tmp_path / "client.js").write_text(SCRIPT)
    done = subprocess.run(
        ["node", tmp_path / "client.js", server.url, json.dumps(TEXTS)],
        env={"NODE_PATH": str(modules), "PATH": "/usr/bin:/usr/local/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["texts"]) == 2 and all(found["texts"]) and "hund" in found["term"].lower()
    assert found["html"].startswith("<p>") and found["html"].count("<b>") == 1
    assert found["count"] > 0 and "target_lang" in found["error"]
