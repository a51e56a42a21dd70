"""The pipeline keeps exactly what `data.cleaning.clean` keeps, and counts the same."""

import gzip
import itertools
import json
import random

import pyarrow
import pyarrow.parquet
import pytest

from data.beam.prepared import REPORT, PreparedCorpus
from data.cleaning import CleaningOptions, CleaningReport, clean, normalise_pairs
from data.corpora.corpora import Corpora
from data.corpora.folder import FolderCorpus
from data.errors import UserError
from data.pairs import Pair
from tests import beam_environment

FRENCH = "Nous avons décidé que la politique de la France et du monde est une chose très importante."
GERMAN = "Wir haben das nicht so gemeint und auch nicht gesagt, und darüber sind wir sehr froh."
ENGLISH = "We have not meant it like that and have not said it, and that is what we are glad about."
SIDES = [
    "",
    " ",
    "a",
    "a\u200b",
    "A",
    "one two",
    "one  two",
    "eins zwei",
    "cafe\u0301",
    "café",
    "x" * 40,
    "w " * 7,
    "the same on both sides here",
    FRENCH,
    FRENCH.upper(),
    GERMAN,
    ENGLISH,
    "10 %",
    "\u0085",
    "<b>",
]
ONE_PROCESS = ("--pipeline-option", "direct_running_mode=in_memory")


@pytest.fixture(scope="module", autouse=True)
def _beam():
    beam_environment.need()


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """A folder with small corpora that have much of what is left out, and the same pairs again and again."""
    folder, draw = tmp_path_factory.mktemp("corpora"), random.Random(1)
    for number in range(12):
        few = draw.sample(SIDES, draw.randint(3, len(SIDES)))
        train = [Pair(draw.choice(few), draw.choice(few), f"d{i // 9}") for i in range(draw.randint(1, 120))]
        if number % 2:
            train = [pair._replace(doc="") for pair in train]
        write(folder / f"c{number}", "train", train)
        write(folder / f"c{number}", "test", [Pair(ENGLISH, GERMAN), Pair(ENGLISH, GERMAN), Pair("", " b  c")])
    return folder


def write(folder, split, pairs):
    folder.mkdir(exist_ok=True)
    columns = {"en": [p.source for p in pairs], "de": [p.target for p in pairs], "doc": [p.doc for p in pairs]}
    for column, lines in columns.items():
        (folder / f"{column}.{split}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def prepared(*arguments):
    [(code, out, err)] = beam_environment.weitblick(("corpora", "prepare", *arguments))
    assert (code, err) == (0, "")
    return out


def check_equal(raw, corpus, options):
    """All that the local path says of a corpus, the pipeline says, too."""
    report = CleaningReport()
    expected = list(clean(raw.pairs("train"), options, report=report))
    assert corpus.report["splits"]["train"] == report.as_dict()
    assert (list(corpus.pairs("train")) if expected else []) == expected
    assert list(corpus.pairs("test")) == list(normalise_pairs(raw.pairs("test"), options))


@pytest.mark.parametrize(
    ("changes", "mode", "others"),
    [
        ({}, ONE_PROCESS, {"duplicate"}),
        ({"lowercase": True, "max_words": 17, "max_ratio": 6.0}, (), {"duplicate", "long"}),  # a process for each core
        ({"deduplicate": False}, ONE_PROCESS, set()),
    ],
)
def test_the_result_is_that_of_the_local_path(corpora, tmp_path, changes, mode, others):
    output = tmp_path / "out"
    given = [part for key, value in changes.items() for part in ("--set", f"data.{key}={str(value).lower()}")]
    names = [f"c{number}" for number in range(12)]
    shown = prepared(*names, output, "--corpora", corpora, "--shard-pairs", 17, *mode, *given)
    options, removed = CleaningOptions(**changes), set()
    for name in names:
        corpus = Corpora([output]).open(name)
        check_equal(FolderCorpus(corpora / name), corpus, options)
        removed |= {key for key, count in corpus.report["splits"]["train"].items() if count}
        rows = [
            row
            for shard in corpus.report["shards"]
            if shard["split"] == "train"
            for row in pyarrow.parquet.read_table(output / name / shard["file"]).to_pylist()
        ]
        raw = list(FolderCorpus(corpora / name).pairs("train"))
        positions = [row["position"] for row in rows]
        assert positions == sorted(set(positions))
        for row in rows:
            same_place = next(normalise_pairs([raw[row["position"]]], options))
            assert (row["en"], row["de"], row["doc"] or "") == same_place
            assert (row["corpus"], row["split"]) == (name, "train")
    assert removed == {"seen", "kept", "empty", "ratio", "untranslated", "language"} | others
    assert "pairs kept" in shown and "test: 3 pairs, none left out" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_by_pattern_are_one_corpus(tmp_path):
    pairs = [Pair(f"{word} {number}", f"{word} {number} de", f"d{number}") for number in range(4) for word in "ab"]
    (tmp_path / "text").mkdir()
    for number, part in enumerate((pairs[:3], pairs[2:])):
        for column, lines in zip(("en", "de", "doc"), zip(*part, strict=True), strict=True):
            path = tmp_path / "text" / f"{column}.{number}.txt.gz"
            path.write_bytes(gzip.compress("".join(f"{line}\r\n" for line in lines).encode("utf-8-sig")))
    (tmp_path / "crawl").mkdir()
    for number, part in enumerate((pairs[:3], pairs[2:])):
        columns = dict(zip(("en", "de", "doc"), map(list, zip(*part, strict=True)), strict=True))
        columns["split"] = ["train"] * (len(part) - 1) + ["test"]
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "crawl" / f"{number}.parquet")
    prepared(tmp_path / "text" / "en.*.txt.gz", tmp_path / "crawl" / "*.parquet", tmp_path / "out", *ONE_PROCESS)
    text, crawl = PreparedCorpus(tmp_path / "out" / "text"), PreparedCorpus(tmp_path / "out" / "crawl")
    assert list(text.pairs("train")) == pairs and text.report["splits"]["train"]["duplicate"] == 1
    assert list(crawl.pairs("train")) == pairs[:2] + pairs[2:-1] and crawl.report["splits"]["train"]["duplicate"] == 0
    assert list(crawl.pairs("test")) == [pairs[2], pairs[-1]]
    [shard] = [shard["file"] for shard in text.report["shards"] if shard["file"].startswith("train-000001")]
    positions = pyarrow.parquet.read_table(tmp_path / "out" / "text" / shard)["position"].to_pylist()
    assert positions == [4, 5, 6, 7, 8]  # the line at 3 stood in the first file


def text_files(folder, *files):
    """A text file for each string of documents, one letter for each pair; the pairs of all."""
    folder.mkdir()
    count = itertools.count()
    made = [[Pair(f"side {(n := next(count))}", f"Seite {n}", doc.strip("-")) for doc in docs] for docs in files]
    for number, pairs in enumerate(made):
        for column, lines in zip(("en", "de", "doc"), zip(*pairs, strict=True), strict=True):
            (folder / f"{column}.{number}.txt").write_text("".join(f"{line}\n" for line in lines))
    return [pair for pairs in made for pair in pairs]


def test_documents_stand_together_over_all_files_of_a_corpus(tmp_path):
    good = {"whole": ("aab", "bbb", "bbc"), "long": ("aaaaaa", "bcd"), "none": ("--", "--a", "--")}
    bad = {"numbered": ("0011", "0011"), "turned": ("ab", "ba"), "apart": ("ab", "c", "b"), "between": ("ab-", "b")}
    pairs = {name: text_files(tmp_path / name, *files) for name, files in (good | bad).items()}
    columns = {"en": ["one", "two"], "de": ["eins", "zwei"], "doc": [1, 2]}
    (tmp_path / "crawl").mkdir()
    for number in range(2):
        columns["en"] = [f"{text} {number}" for text in columns["en"]]
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "crawl" / f"{number}.parquet")
    sources = {name: tmp_path / name / "en.*.txt" for name in pairs} | {"crawl": tmp_path / "crawl" / "*.parquet"}
    results = beam_environment.weitblick(
        *(
            ("corpora", "prepare", source, tmp_path / "out" / name, "--shard-pairs", 2, *ONE_PROCESS)
            for name, source in sources.items()
        )
    )
    for name, (code, shown, error) in zip(sources, results, strict=True):
        if name in good:
            assert code == 0, error
            assert list(PreparedCorpus(tmp_path / "out" / name / name).pairs("train")) == pairs[name]
        else:
            assert code == 2 and shown == "" and error.count("\n") == 1, (name, error)
            assert "is in" in error and "give each its own id" in error, (name, error)
    errors = {name: error for name, (_, _, error) in zip(sources, results, strict=True)}
    folder = tmp_path / "numbered"
    assert f"{folder}/doc.1.txt: document " in errors["numbered"]
    assert f" of train is in {folder}/doc.0.txt, too" in errors["numbered"]
    assert f"{tmp_path}/crawl/1.parquet: document " in errors["crawl"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(good)


def test_a_job_that_a_server_runs(corpora, tmp_path):
    write(tmp_path / "bad", "train", [Pair("a", "b")])
    (tmp_path / "bad" / "de.train.txt").write_bytes(b"\xff\n")
    with beam_environment.job_server(tmp_path) as address:
        remote = ("--runner=FlinkRunner", "--pipeline-option", f"job_endpoint={address}", "environment_type=LOOPBACK")
        (code, _, error), (bad, _, refusal) = beam_environment.weitblick(
            ("corpora", "prepare", "c1", "c2", tmp_path / "out", "--corpora", corpora, *remote),
            ("corpora", "prepare", tmp_path / "bad", tmp_path / "out2", *remote),
        )
    assert code == 0, error
    for name in ("c1", "c2"):
        check_equal(FolderCorpus(corpora / name), PreparedCorpus(tmp_path / "out" / name), CleaningOptions())
    assert bad == 2 and "de.train.txt, line 1: not valid UTF-8" in refusal.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out"]


def test_mistakes_are_explained_in_one_line_and_leave_nothing(tmp_path):
    good, text = tmp_path / "good", tmp_path / "good" / "en.train.txt"
    write(good, "train", [Pair("a", "b")])
    write(tmp_path / "bad", "train", [Pair("a", "b")])
    (tmp_path / "bad" / "de.train.txt").write_bytes(b"\xff\n")
    write(tmp_path / "short", "train", [Pair("a", "b"), Pair("c", "d")])
    (tmp_path / "short" / "de.train.txt").write_bytes(b"one\n")
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "en.x.txt").write_text("a\n")
    (tmp_path / "there").mkdir()
    (tmp_path / "x.parquet").write_text("no Parquet")
    out = tmp_path / "out"
    cases = {
        ("nothing", out): "no corpus 'nothing'",
        (tmp_path / "no*.parquet", out): "there is no such file",
        (tmp_path / "x.parquet", out): "not a Parquet file, or cut short",
        (good / "de.train.txt", out): "expected en.REST, with de.REST next to it",
        (tmp_path / "alone" / "en.x.txt", out): "de.x.txt is missing",
        (tmp_path / "short" / "en.train.txt", out): "de.train.txt ends before line 2",
        (tmp_path / "bad", out): "de.train.txt, line 1: not valid UTF-8 (byte 0xff at byte 1 of the line)",
        (good, tmp_path / "there"): "exists already",
        (good, text, out): "are both called 'good'",
        (good, tmp_path / "bad", out, "--name", "x"): "--name names one corpus",
        (good, out, "--name", "a/b"): "cannot be the name of a folder",
        (good, out, "--shard-pairs", 0): "--shard-pairs 0: expected at least 1",
        (good, out, "--runner", "SpokRunner"): "expected one of DirectRunner, DataflowRunner, FlinkRunner",
        (good, out, "--pipeline-option", "direct_num_worker=2"): "did you mean 'direct_num_workers'?",
        (good, out, "--pipeline-option", "direct_num_workers=x"): "invalid int value: 'x'",
        (good, out, "--pipeline-option", "runner=FlinkRunner"): "use --runner instead",
        (good, out, "--runner", "DataflowRunner"): "Dataflow's workers cannot see it",
        (good, "gs://b/out", "--runner", "DataflowRunner"): f"{good}: Dataflow's workers cannot see it",
        (text, "gs://b/out", "--runner", "DataflowRunner"): f"{text}: Dataflow's workers cannot see it",
        (good, "nowhere://b/out"): "nowhere://b/out: cannot be accessed",
    }
    before = sorted(tmp_path.iterdir())
    short = {case: case if "--pipeline-option" in case else (*case, *ONE_PROCESS) for case in cases}
    results = beam_environment.weitblick(*(("corpora", "prepare", *short[case]) for case in cases))
    for (case, message), (code, shown, error) in zip(cases.items(), results, strict=True):
        assert code == 2 and shown == "", (case, error)
        assert error.startswith("error: ") and error.count("\n") == 1 and message in error, (case, error)
    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_corpus_is_explained(tmp_path):
    write(tmp_path / "good", "train", [Pair("a", "b"), Pair("c", "d")])
    prepared(tmp_path / "good", tmp_path / "out", *ONE_PROCESS)
    folder = tmp_path / "out" / "good"
    [shard] = folder.glob("*.parquet")
    assert Corpora([tmp_path / "out"], source="de", target="en").open("good").size("train") == 2
    assert next(Corpora(source="de", target="en").open(str(folder)).pairs("train")) == Pair("b", "a")
    with pytest.raises(UserError, match="holds de and en, not en and fr"):
        Corpora(target="fr").open(str(folder))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-20])
    with pytest.raises(UserError, match="damaged or cut short"):
        list(PreparedCorpus(folder).pairs("train"))
    shard.unlink()
    with pytest.raises(UserError, match="is missing"):
        list(PreparedCorpus(folder).pairs("train"))
    with pytest.raises(UserError, match="has no test split; it has train"):
        PreparedCorpus(folder).pairs("test")
    (folder / REPORT).write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="not the report of a prepared corpus of format 1"):
        PreparedCorpus(folder)
    (folder / REPORT).unlink()
    shard.write_bytes(whole)
    with pytest.raises(UserError, match="was not prepared completely"):
        Corpora().open(str(folder))
    assert "good" not in [corpus.name for corpus in Corpora([tmp_path / "out"]).all()]
