"""The notebooks run, say what their text source says, and the outputs beside them are those of a whole run."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "notebooks"
FIRST, SECOND = FOLDER / "01_transformer_from_masks_to_bleu.py", FOLDER / "02_memory.py"
VECTORS, CORPORA = FOLDER / "04_word_vectors.py", FOLDER / "05_corpora.py"
GENERATOR = FOLDER / "06_text_generator.py"
LONG, CORRECTIONS = FOLDER / "03_long_context.py", FOLDER / "07_corrections.py"
SOURCES = sorted(FOLDER.glob("[0-9]*.py"))
EXECUTE = FOLDER / "execute.py"


def cells(path):
    """Type and text of each cell of a text source or a notebook."""
    import jupytext

    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


def code_cells(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(path):
    return [output for cell in code_cells(path) for output in cell["outputs"]]


def printed(path):
    """All that the cells of a notebook print."""
    return "".join("".join(output["text"]) for output in outputs(path) if output["output_type"] == "stream")


def figures(path):
    return [output for output in outputs(path) if "image/png" in output.get("data", {})]


def assert_clean(path):
    """All cells ran, once and in order; none failed, warned, or printed where things are on this machine."""
    ran = [cell["execution_count"] for cell in code_cells(path)]
    assert ran == list(range(1, len(ran) + 1))
    assert [output for output in outputs(path) if output["output_type"] == "error"] == []
    assert [output["text"] for output in outputs(path) if output.get("name") == "stderr"] == []
    for place in (REPOSITORY, Path.home(), Path(tempfile.gettempdir())):
        assert len(place.parts) == 1 or f"{place}/" not in printed(path), f"{path.name} names {place}"


def run(*arguments, **environment):
    command = [sys.executable, str(EXECUTE), *map(str, arguments)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=900)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebook_has_the_cells_of_its_text_source(source):
    assert cells(source.with_suffix(".ipynb")) == cells(source), f"python notebooks/execute.py {source.name} mends it"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_committed_outputs_are_those_of_one_whole_run_in_full_mode(source):
    notebook = source.with_suffix(".ipynb")
    assert_clean(notebook)
    assert printed(notebook).startswith("full mode")
    assert notebook.stat().st_size < 1_500_000


def test_committed_outputs_hold_what_the_first_notebook_claims():
    text = printed(FIRST.with_suffix(".ipynb"))
    assert float(re.search(r"tokens right at lengths 3 to 10: ([\d.]+)%", text)[1]) > 95
    assert float(re.search(r"beam of 4 +BLEU ([\d.]+)", text)[1]) > 10
    assert re.search(r"BLEU\S* .* nrefs:1\|.*case:mixed\|eff:no\|tok:13a\|smooth:exp\|version:", text)


def test_committed_outputs_hold_what_the_second_notebook_claims():
    text = printed(SECOND.with_suffix(".ipynb"))
    recall = {kind: re.search(rf"^{kind} +(1: .*)", text, re.MULTILINE)[1] for kind in ("gru", "none")}
    shares = {kind: [int(share) for share in re.findall(r"(\d+)%", found)] for kind, found in recall.items()}
    assert len(shares["gru"]) == len(shares["none"]) == 6
    assert min(shares["gru"][:5]) > 95
    assert shares["gru"][5] > 2 * max(shares["none"])
    assert max(shares["none"]) < 20
    differences = re.findall(r"^(?:s|d)-BLEU .* p = ([\d.]+)", text, re.MULTILINE)
    assert len(differences) == 2
    assert float(re.search(r"^gru +right less wrong +\S+ \[([+-][\d.]+)", text, re.MULTILINE)[1]) > 0


def test_committed_outputs_hold_what_the_notebook_of_word_vectors_claims():
    text = printed(VECTORS.with_suffix(".ipynb"))
    inside, between = map(float, re.search(r"within groups ([\d.]+), between groups ([\d.]+)", text).groups())
    assert inside > between + 0.4
    shares = [float(share) for share in re.findall(r"they make up ([\d.]+)% of the tokens", text)]
    assert len(shares) == 5
    assert shares == sorted(shares)
    assert shares[-1] > 65
    covered = dict(re.findall(r"(English|German): (\d+)% of the tokens", text))
    assert int(covered["English"]) > int(covered["German"]) + 15
    ends = [float(loss) for loss in re.findall(r"^(?:random|glove) +[\d.]+ -> ([\d.]+) nats", text, re.MULTILINE)]
    assert abs(ends[0] - ends[1]) < 0.1
    assert max(ends) < 5.5


def test_committed_outputs_hold_what_the_notebook_of_corpora_claims():
    text = printed(CORPORA.with_suffix(".ipynb"))
    kinds = ("good", "long", "ratio", "untranslated", "duplicate", "language", "near")
    found = {kind: re.search(rf"^{kind} +((?: *\d+%){{6}})", text, re.MULTILINE)[1] for kind in kinds}
    shares = {kind: [int(share) for share in re.findall(r"\d+", row)] for kind, row in found.items()}
    assert max(shares.pop("good")) <= 2
    assert all(row[place] > 95 for place, row in enumerate(shares.values()))
    near = [int(count.replace(",", "")) for count in re.findall(r"^near = [\d.]+: +([\d,]+)", text, re.MULTILINE)]
    assert len(near) == 6
    assert near == sorted(near)
    sides = re.search(r"(\d+) pairs passed in Python, (\d+) in SQL", text)
    assert sides[1] == sides[2]


def test_committed_outputs_hold_what_the_notebook_of_the_generator_claims():
    text = printed(GENERATOR.with_suffix(".ipynb"))
    assert float(re.search(r"largest change before position \d+: (\S+)", text)[1]) < 1e-4
    shares = [int(share) for share in re.findall(r"^(?:likeliest|drawn).* (\d+)%  ", text, re.MULTILINE)]
    assert len(shares) == 5 and shares[0] > 50 and max(shares[2:]) < 10
    state, without = map(float, re.search(r"([\d.]+) nats a token with the state, ([\d.]+) without", text).groups())
    assert state < without
    counted = [float(found) for found in re.findall(r"-grams: perplexity +([\d.]+)", text)]
    network, both = map(float, re.search(r"network: perplexity +([\d.]+); both.*: ([\d.]+)", text).groups())
    assert len(counted) == 5 and both < 0.9 * min(*counted, network) and network > min(counted)


def test_committed_outputs_hold_what_the_notebook_of_long_contexts_claims():
    text = printed(LONG.with_suffix(".ipynb"))
    reach = re.findall(r"(\d) layers, cache of 8: the farthest token felt is (\d+) positions", text)
    assert [layers for layers, _ in reach] == ["1", "2", "3"]
    assert all(int(positions) >= 8 * int(layers) for layers, positions in reach)
    alike, apart = (
        [float(error) for error in re.findall(r": (\d\.\d+)", line)] for line in _lines_with("rate 2", text)
    )
    assert all(one < other for one, other in zip(alike, apart, strict=True))
    assert float(re.search(r"and rest; largest error (\S+)", text)[1]) < 1e-4
    right, wrong = map(float, re.search(r"right document ([\d.]+) BLEU, of a wrong one ([\d.]+)", text).groups())
    assert right > 10 * wrong


def test_committed_outputs_hold_what_the_notebook_of_corrections_claims():
    text = printed(CORRECTIONS.with_suffix(".ipynb"))
    assert "corrected: segment 1; changed with it: [3, 4, 6, 7]" in text
    followed = dict(re.findall(r"^(none|gru) +([\d.]+)% follow the correction", text, re.MULTILINE))
    assert float(followed["gru"]) > 95
    assert float(followed["none"]) < 5
    without, met = (re.search(rf"^{name} +(\d+) of (\d+) terms", text, re.MULTILINE).groups() for name in _GLOSSARY)
    assert met[0] == met[1] == without[1]
    assert int(without[0]) < 0.05 * int(without[1])
    memories = dict(re.findall(r"^(of .* customer) +([\d.]+)% have the rarer name", text, re.MULTILINE))
    assert float(memories["of this customer"]) > 90
    assert float(memories["of another customer"]) < 10
    needed = re.findall(r"^(nothing|retrieval|gru) +([\d.]+) corrections a manual", text, re.MULTILINE)
    assert [name for name, _ in sorted(needed, key=lambda row: float(row[1]))] == ["gru", "retrieval", "nothing"]


_GLOSSARY = ("without", "with the glossary")


def _lines_with(start, text):
    return [line for line in text.splitlines() if start in line]


def test_made_up_manuals_keep_to_the_name_of_the_first_use(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import made_up

    manuals = made_up.manuals(400, seed=5)
    first, changed = [], 0
    for manual in manuals:
        known = {}
        for source, target in manual:
            for thing, (_, rarer) in made_up.TERMS.items():
                if f"the {thing}" in source:
                    name = any(form in target for form in rarer)
                    changed += known.setdefault(thing, name) != name
        assert len(manual) == 8
        first += known.values()
    assert changed == 0
    assert 0.15 < sum(first) / len(first) < 0.25
    usual = [target for manual in made_up.manuals(20, seed=5, rarer=0.0) for _, target in manual]
    assert not any(form in target for target in usual for _, rarer in made_up.TERMS.values() for form in rarer)


@pytest.mark.parametrize("source", [LONG, VECTORS, CORPORA, GENERATOR, CORRECTIONS], ids=lambda path: path.stem)
def test_each_section_needs_no_other_one(source):
    """Ruff finds no name in a section that neither it nor the cells above the first section define."""
    sections = [""]
    for kind, text in cells(source):
        if kind == "markdown" and re.search(r"^# \S", text, re.MULTILINE) and sections[0]:
            sections.append("")
        elif kind == "code":
            sections[-1] += text + "\n"
    assert len(sections) > 4
    for section in sections[1:]:
        command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", "-"]
        done = subprocess.run(command, input=sections[0] + section, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "pictures"),
    [(FIRST, 25), (SECOND, 20), (LONG, 15), (VECTORS, 10), (CORPORA, 14), (GENERATOR, 9), (CORRECTIONS, 16)],
    ids=["first", "second", "long", "vectors", "corpora", "generator", "corrections"],
)
def test_notebook_runs_in_quick_mode_without_network(source, pictures, tmp_path):
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    quick = {"WEITBLICK_QUICK": "1", "WEITBLICK_CACHE": str(tmp_path / "cache"), **nowhere}
    done = run(source, "--output", tmp_path, **quick)
    assert done.returncode == 0, done.stderr
    notebook = tmp_path / f"{source.stem}.ipynb"
    assert_clean(notebook)
    assert printed(notebook).startswith("quick mode")
    assert len(figures(notebook)) == len(figures(source.with_suffix(".ipynb"))) >= pictures
    assert not (tmp_path / "cache" / "wheels").exists()


def test_cell_that_fails_is_an_error_and_leaves_nothing(tmp_path):
    source = tmp_path / "1.py"
    source.write_text("# %%\nprint('before')\n\n# %%\nassert 1 == 2, 'the claim'\n", encoding="utf-8")
    done = run(source)
    assert done.returncode == 1
    assert "AssertionError: the claim" in done.stderr
    assert not source.with_suffix(".ipynb").exists()


def test_slider_draws_anew_where_it_is_moved(monkeypatch):
    import ipywidgets

    monkeypatch.syspath_prepend(str(FOLDER))
    import figures

    drawn, position = [], ipywidgets.IntSlider(3, min=0, max=9)

    def draw(number):
        drawn.append(number)

    monkeypatch.setenv("WEITBLICK_STILL", "1")
    assert figures.slider(draw, number=position) is None
    assert drawn == [3]
    monkeypatch.delenv("WEITBLICK_STILL")
    assert position in figures.slider(draw, number=position).children
    position.value = 7
    assert drawn == [3, 3, 7]


@pytest.fixture
def curves(tmp_path, monkeypatch):
    """Learning curves of the made-up corpus, whose processes are noted in `ran` and do nothing but succeed."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import learning_curves
    import made_up

    made_up.write_corpus(tmp_path / "orders")
    places = ["--corpora", str(tmp_path), "--runs", str(tmp_path / "runs")]
    arguments = ["--corpus", "orders", *places, "--percent", "30", "10", "--seeds", "1", "2"]
    made = learning_curves.Curves(learning_curves._parser().parse_args(arguments))
    made.ran, made.fails_at = [], None

    def process(command, log, seconds=None):
        step = (command[3], Path(command[6] if command[3] == "train" else command[4]).name)
        if step == made.fails_at:
            return 1
        made.ran.append(step)
        return 0

    monkeypatch.setattr(learning_curves, "run_process", process)
    monkeypatch.setattr(made, "_is_trained", lambda job: ("train", job.name) in made.ran)
    monkeypatch.setattr(made, "_record", lambda job: {"scores": []} if ("evaluate", job.name) in made.ran else {})
    return made


def test_learning_curves_go_on_where_they_stopped(curves):
    from data.errors import UserError

    curves.fails_at = ("evaluate", "glove-10-1")
    with pytest.raises(UserError, match="score glove-10-1 ended with code 1"):
        curves.run()
    assert curves.ran == [("train", "random-10-1"), ("evaluate", "random-10-1"), ("train", "glove-10-1")]
    curves.fails_at = None
    assert curves.run()
    jobs = [f"{start}-{percent}-{seed}" for seed in (1, 2) for percent in (10, 30) for start in ("random", "glove")]
    assert curves.ran == [(step, job) for job in jobs for step in ("train", "evaluate")]


def test_parts_of_the_learning_curves_lie_in_each_other_and_differ_by_seed(curves):
    import numpy as np

    from data.corpora.corpora import Corpora
    from data.vectors import load_vectors

    assert curves.run()
    parts = Corpora([curves.folder / "corpora"])
    pairs = {(p, s): list(parts.open(f"orders-{p}-{s}").pairs("train")) for p in (10, 30) for s in (1, 2)}
    assert [len(part) for part in pairs.values()] == [24, 24, 72, 72]
    whole = list(curves.corpus.pairs("train"))
    for seed in (1, 2):
        assert set(pairs[10, seed]) < set(pairs[30, seed]) < set(whole)
    assert set(pairs[10, 1]) != set(pairs[10, 2])
    first, second = (curves.folder / f"random-50d-{seed}.txt" for seed in (1, 2))
    matrix, coverage = load_vectors(first, ["\u2581lamp", "\u2581kitchen", "."])
    assert coverage.found == 3
    assert matrix.shape == (3, 50)
    assert not np.isin(matrix, load_vectors(second, ["\u2581lamp", "\u2581kitchen", "."])[0]).any()


def test_made_up_crawl_has_the_faults_that_its_documents_name(tmp_path, monkeypatch):
    from data.corpora.corpora import Corpora

    monkeypatch.syspath_prepend(str(FOLDER))
    import made_up

    pairs = made_up.sentences()
    corpus = Corpora().open(made_up.write_crawl(tmp_path / "crawl", pairs, each=10))
    documents = {}
    for source, target, doc in corpus.pairs("train"):
        documents.setdefault(doc, []).append((source, target))
    sizes = {doc: len(found) for doc, found in documents.items()}
    good = set(documents["good"])
    assert sizes.pop("good") == len(good) == 80
    assert set(sizes.values()) == {10}
    assert good <= set(pairs)
    assert good >= set(documents["duplicate"])
    assert all(not target for _, target in documents["empty"])
    assert all(source == target for source, target in documents["untranslated"])
    assert set(documents["language"]) <= {(target, source) for source, target in pairs}
    assert all(len(target) > 4 * len(source) for source, target in documents["ratio"])
    assert all(len(source.split()) > 200 for source, _ in documents["long"])
    assert {tuple(side.rsplit(" ", 1)[0] for side in pair) for pair in documents["near"]} <= good


def test_made_up_vectors_know_which_words_are_used_alike(tmp_path, monkeypatch):
    import numpy as np

    from data.vector_files import read_vectors

    monkeypatch.syspath_prepend(str(FOLDER))
    import made_up

    path = made_up.write_vectors(tmp_path / "vectors.txt", [source for source, _ in made_up.sentences()])
    vectors = dict(read_vectors(path, {"lamp", "radio", "kitchen"}))
    lamp, radio, kitchen = (vectors[word] / np.linalg.norm(vectors[word]) for word in ("lamp", "radio", "kitchen"))
    assert lamp @ radio > lamp @ kitchen + 0.2


def test_made_up_corpus_is_right_and_its_splits_share_nothing(tmp_path, monkeypatch):
    from data.corpora.corpora import Corpora

    monkeypatch.syspath_prepend(str(FOLDER))
    import made_up

    corpus = Corpora().open(made_up.write_corpus(tmp_path / "corpus"))
    splits = {split: [pair[:2] for pair in corpus.pairs(split)] for split in corpus.splits()}
    everything = [pair for pairs in splits.values() for pair in pairs]
    assert len(set(everything)) == len(everything) == 288
    assert list(map(len, splits.values())) == [240, 24, 24]
    assert ("I can see the table in the garden.", "Ich kann den Tisch im Garten sehen.") in everything
    assert ("Where is the oven?", "Wo ist der Ofen?") in everything


def test_made_up_documents_need_their_context(tmp_path, monkeypatch):
    from data.corpora.corpora import Corpora

    monkeypatch.syspath_prepend(str(FOLDER))
    import made_up

    corpus = Corpora().open(made_up.write_documents(tmp_path / "corpus"))
    assert corpus.has_documents
    documents = {}
    for split in corpus.splits():
        for pair in corpus.pairs(split):
            documents.setdefault((split, pair.doc), []).append(pair)
    assert len(documents) == 48
    assert {len(document) for document in documents.values()} == {4}
    # The same English line after a feminine, a neuter and a masculine noun.
    german = {}
    for document in documents.values():
        noun = re.search(r"(Lampe|Radio|Tisch)", document[0].target)
        for pair in document if noun else ():
            german.setdefault(pair.source, {})[noun[1]] = pair.target
    assert german["Please repair it."]["Lampe"] == "Bitte reparieren Sie sie."
    assert german["Please repair it."]["Radio"] == "Bitte reparieren Sie es."
    assert german["Please repair it."]["Tisch"] == "Bitte reparieren Sie ihn."
    assert german["It is too old."]["Tisch"] == "Er ist zu alt."
