import json

import numpy as np
import pytest

from app.presets.schema import DataPreset
from app.runs.run import Run
from app.training.preparation import prepare, split_pairs, text_lines
from data.corpora.folder import FolderCorpus
from data.errors import UserError
from data.files import cache_folder, read_json
from tests.app.toy_training import toy_preset, write_corpus

MIXTURE = {"long": "a b c d e f", "short": "x y"}


def run_of(folder, *changes):
    return Run.create(folder / "run", toy_preset(folder, *changes, corpus=folder / "toy"))


@pytest.fixture
def toy(tmp_path):
    return write_corpus(tmp_path / "toy", train=60, validation=10)


def write_split(folder, split, english, german):
    folder.mkdir(exist_ok=True)
    for language, lines in (("en", english), ("de", german)):
        (folder / f"{language}.{split}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def silent(_):
    pass


def test_text_goes_through_cleaning_tokenizer_and_batches(tmp_path, toy):
    lines = []
    prepared = prepare(run_of(tmp_path), report=lines.append)
    decoded = []
    for inputs, _ in prepared.batches.epoch(0):
        decoded += prepared.tokenizer.source.decode(inputs["source"].tolist())
    assert sorted(decoded) == sorted((toy / "en.train.txt").read_text().splitlines())
    assert len(prepared.validation) == len(prepared.validation_pairs) == 10
    assert "pairs kept" in lines[0]
    assert "Training a bpe tokenizer with 400 pieces" in lines[2]


def test_the_user_is_told_which_text_is_validated_and_tested_on():
    own = DataPreset(corpora=("handbook", "news:0.5"), validation=("handbook",), test=())
    assert list(text_lines(own)) == ["training text: handbook, news; validation: handbook; test: none"]
    line, note = text_lines(DataPreset(corpora=("handbook",)))
    assert line == "training text: handbook; validation: software; test: software"
    assert note.startswith("note: data.validation and data.test: software by default, which is other text")
    assert len(list(text_lines(DataPreset(corpora=("handbook", "software:0.1"))))) == 1


def test_nothing_is_done_twice(tmp_path, toy, monkeypatch):
    run = run_of(tmp_path)
    first = prepare(run, report=silent)
    monkeypatch.setattr("data.cleaning.clean", None)
    monkeypatch.setattr("app.training.preparation.Tokenizer.train", None)
    monkeypatch.setattr("data.shards.encode_chunks", None)
    lines = []
    second = prepare(run, report=lines.append)
    assert second.fingerprint == first.fingerprint
    assert len(lines) == 2  # what was left out is shown every time
    for one, other in zip(first.batches.epoch(3), second.batches.epoch(3), strict=True):
        np.testing.assert_array_equal(one[0]["target"], other[0]["target"])


def test_changed_text_has_another_fingerprint(tmp_path, toy):
    run = run_of(tmp_path)
    before = prepare(run, report=silent).fingerprint
    with (toy / "en.train.txt").open("a") as english, (toy / "de.train.txt").open("a") as german:
        english.write("the dog\n")
        german.write("der hund\n")
    assert prepare(run, report=silent).fingerprint != before


def test_cleaning_follows_the_preset(tmp_path):
    english = ["a dog", "a dog", "a b c d e", "", "A CAT"]
    german = ["ein hund", "ein hund", "f g h i j", "nichts", "EIN KATER"]
    write_split(tmp_path / "toy", "train", english, german)
    write_corpus(tmp_path / "more", train=80)
    run = run_of(
        tmp_path,
        f"corpora={tmp_path}/toy,{tmp_path}/more",
        "validation=[]",
        "max_words=4",
        "deduplicate=true",
        "lowercase=true",
    )
    lines = []
    prepared = prepare(run, report=lines.append)
    assert [line.split() for line in lines[0].splitlines() if line.startswith(("too", "dup", "a side", "pairs k"))] == [
        ["a", "side", "is", "empty", "-1", "20.00%"],
        ["too", "long", "-1", "20.00%"],
        ["duplicate", "-1", "20.00%"],
        ["pairs", "kept", "2", "40.00%"],
    ]
    sources = [
        text for inputs, _ in prepared.batches.epoch(0) for text in prepared.tokenizer.source.decode(inputs["source"])
    ]
    assert "a cat" in sources


def test_weights_say_how_often_a_corpus_is_drawn(tmp_path):
    for name, text in MIXTURE.items():
        write_split(tmp_path / name, "train", [text] * 40, [text.upper()] * 40)
    write_corpus(tmp_path / "toy", train=80)
    run = run_of(tmp_path, f"corpora={tmp_path}/toy,{tmp_path}/long:0.5,{tmp_path}/short:2", "validation=[]")
    prepared = prepare(run, report=silent)
    for epoch in (0, 1):
        drawn = [
            text
            for inputs, _ in prepared.batches.epoch(epoch)
            for text in prepared.tokenizer.source.decode(inputs["source"])
        ]
        assert {name: drawn.count(text) for name, text in MIXTURE.items()} == {"long": 20, "short": 80}


def sources(prepared, epoch=0):
    """The source texts of an epoch, sorted."""
    batches = (inputs["source"].tolist() for inputs, _ in prepared.batches.epoch(epoch))
    return sorted(text for batch in batches for text in prepared.tokenizer.source.decode(batch))


def mixture(folder, *changes):
    """A run on three corpora that share pairs: two with five equal ones, the third with pairs of both."""
    words = [f"{a}{b}" for a in "abcdef" for b in "uvwxyz"]
    texts = {"one": words[:20], "two": words[15:30], "three": [words[0], *words[28:]]}
    for name, lines in texts.items():
        write_split(folder / name, "train", lines, [line.upper() for line in lines])
    names = ",".join(f"{folder}/{name}" for name in texts)
    return words, run_of(folder, f"corpora={names}", "validation=[]", "vocabulary=340", *changes)


@pytest.mark.parametrize("sampling", [0.0, 0.1])
def test_a_pair_of_several_corpora_stays_in_the_first(tmp_path, sampling):
    words, run = mixture(tmp_path, "deduplicate=true", f"sampling={sampling}")
    lines = []
    assert sources(prepare(run, report=lines.append)) == sorted(words)
    said = [line.replace(f"{tmp_path}/", "") for line in lines if "left out" in line]
    assert said == [
        "two: 5 of 15 pairs are already in corpora named earlier and are left out",
        "three: 3 of 9 pairs are already in corpora named earlier and are left out",
    ]
    assert sources(prepare(run, report=silent)) == sorted(words)  # out of the caches


def test_repetitions_stay_where_the_preset_says_so(tmp_path):
    words, run = mixture(tmp_path)
    assert len(sources(prepare(run, report=silent))) == 20 + 15 + 9


def test_the_order_of_the_corpora_says_which_pairs_stay(tmp_path):
    _, run = mixture(tmp_path, "deduplicate=true")
    first = prepare(run, report=silent)
    _, run = mixture(tmp_path, "deduplicate=true", f"corpora={tmp_path}/two,{tmp_path}/one:0.5")
    lines = []
    second = prepare(run, report=lines.append)
    assert f"{tmp_path}/one: 5 of 20 pairs are already in corpora named earlier and are left out" in lines
    assert len(sources(second)) == 15 + round(15 * 0.5)
    assert first.fingerprint != second.fingerprint


def test_corpora_without_common_pairs_share_their_caches_with_other_mixtures(tmp_path, monkeypatch):
    monkeypatch.setenv("WEITBLICK_CACHE", str(tmp_path / "cache"))
    _, run = mixture(tmp_path, "deduplicate=true", f"corpora={tmp_path}/one")
    alone = prepare(run, report=silent)
    write_split(tmp_path / "other", "train", ["something else"], ["etwas anderes"])
    _, run = mixture(tmp_path, "deduplicate=true", f"corpora={tmp_path}/other,{tmp_path}/one")
    (run.path / "tokenizer.model").write_bytes(alone.tokenizer.source.proto)
    prepare(run, report=silent)
    assert len(list((tmp_path / "cache" / "shards").iterdir())) == 2


def test_a_corpus_that_adds_nothing(tmp_path):
    _, run = mixture(tmp_path, "deduplicate=true", f"corpora={tmp_path}/one,{tmp_path}/copy")
    write_split(tmp_path / "copy", "train", ["au", "av"], ["AU", "AV"])
    with pytest.raises(
        UserError, match="copy: all its pairs are already in corpora named earlier; remove it from the list"
    ):
        prepare(run, report=silent)


def test_sampling_splits_words_anew_in_each_epoch_and_the_same_for_each_start(tmp_path, toy):
    run = run_of(tmp_path, "sampling=0.2", "validation=[]")

    def epochs():
        prepared = prepare(run, report=silent)
        found = []
        for epoch in (0, 1):
            batches = [inputs["source"] for inputs, _ in prepared.batches.epoch(epoch)]
            rows = {tuple(row[row > 0].tolist()) for batch in batches for row in batch}
            found.append(rows)
            texts = [text for batch in batches for text in prepared.tokenizer.source.decode(batch.tolist())]
            assert sorted(texts) == sorted((toy / "en.train.txt").read_text().splitlines())
        return found

    first, second = epochs()
    assert first != second
    assert epochs() == [first, second]


def test_validation_splits_are_joined_and_keep_every_segment(tmp_path, toy):
    write_split(tmp_path / "other", "validation", ["x", "", "y " * 999], ["x", "leer", "z"])
    preset = toy_preset(tmp_path, f"validation={toy},{tmp_path}/other", corpus=toy)
    pairs = split_pairs(preset, preset.data.validation, "validation")
    assert len(pairs) == 13
    assert [pair.target for pair in pairs[10:]] == ["x", "leer", "z"]


def test_documents_of_two_validation_splits_are_told_apart(tmp_path, toy):
    for name in ("one", "two"):
        write_split(tmp_path / name, "validation", ["x", "y"], ["x", "y"])
        (tmp_path / name / "doc.validation.txt").write_text("0\n0\n")
    preset = toy_preset(tmp_path, f"validation={tmp_path}/one,{tmp_path}/two", corpus=toy)
    docs = [pair.doc for pair in split_pairs(preset, preset.data.validation, "validation")]
    assert docs[0] == docs[1] != docs[2] == docs[3]


def test_the_same_text_in_the_other_direction(tmp_path, toy):
    prepared = prepare(run_of(tmp_path, "source=de", "target=en"), report=silent)
    assert prepared.validation_pairs[0].source == (toy / "de.validation.txt").read_text().splitlines()[0]


@pytest.mark.parametrize(
    "name, split, message",
    [
        ("train", "validation", "other: has no train split; it has validation"),
        ("validation", "train", "other: has no validation split; it has train"),
    ],
)
def test_a_missing_split_is_named_with_those_there_are(tmp_path, toy, name, split, message):
    write_split(tmp_path / "other", split, ["x"], ["y"])
    key = "corpora" if name == "train" else "validation"
    with pytest.raises(UserError, match=message):
        prepare(run_of(tmp_path, f"{key}={tmp_path}/other"), report=silent)


def test_a_corpus_of_which_cleaning_leaves_nothing(tmp_path):
    write_split(tmp_path / "toy", "train", ["", "a b c", "a b d"], ["x", "1 2 3", "4 5 6"])
    run = run_of(tmp_path, "validation=[]", "max_words=2")
    with pytest.raises(UserError, match="toy: cleaning leaves none of 3 pairs: a side is empty: 1, too long: 2"):
        prepare(run, report=silent)
    # What failed is not taken for done.
    with pytest.raises(UserError, match="cleaning leaves none of"):
        prepare(run, report=silent)


def test_pairs_that_are_all_too_long_in_tokens(tmp_path, toy):
    for language in ("en", "de"):
        path = toy / f"{language}.train.txt"
        long = [line for line in path.read_text().splitlines() if line.count(" ") > 2]
        path.write_text("".join(f"{line}\n" for line in long))
    with pytest.raises(UserError, match=f"all {len(long)} have more than max_length = 2 tokens"):
        prepare(run_of(tmp_path, "max_length=2"), report=silent)


def test_a_vocabulary_larger_than_the_text_allows(tmp_path, toy):
    run = run_of(tmp_path, "tokenizer.kind=unigram", "vocabulary=5000")
    with pytest.raises(UserError, match="tokenizer.vocabulary = 5000 is more than the training text allows"):
        prepare(run, report=silent)
    assert not (run.path / "tokenizer.model").exists()


def test_the_report_of_the_cleaning_stands_in_the_cache(tmp_path, toy, monkeypatch):
    monkeypatch.setenv("WEITBLICK_CACHE", str(tmp_path / "cache"))
    prepare(run_of(tmp_path), report=silent)
    (report,) = (tmp_path / "cache").glob("cleaned/*/report.json")
    assert json.loads(report.read_text())["kept"] == 60
    assert [path.name for path in (tmp_path / "cache" / "cleaned").iterdir()] == [report.parent.name]


@pytest.mark.parametrize("name", ["de.train.txt", "doc.train.txt", "hashes.npy", "report.json"])
@pytest.mark.parametrize("harm", [lambda content: bytes([content[0] ^ 1]) + content[1:], lambda content: content[:-9]])
def test_cleaned_text_that_was_damaged_in_the_cache_is_made_anew(tmp_path, toy, monkeypatch, name, harm):
    monkeypatch.setenv("WEITBLICK_CACHE", str(tmp_path / "cache"))
    run, lines = run_of(tmp_path), []
    first = prepare(run, report=silent)
    (file,) = (cache_folder() / "cleaned").glob(f"*/{name}")
    content = file.read_bytes()
    file.write_bytes(harm(content))
    second = prepare(run, report=lines.append)
    assert f"{name}: the file is damaged" in lines[0] and lines[0].endswith("cleaning the text again")
    assert file.read_bytes() == content
    assert second.fingerprint == first.fingerprint


def held_out_run(folder, *changes):
    """A run on two corpora that hold validation and test text, in another case, on either side."""
    write_corpus(folder / "toy", train=60)
    english = ["one two three", "so it is now", "go on", "kept"]
    write_split(folder / "talk", "train", english, ["uvw xyz", "so ist es", "f g h", "kk"])
    write_split(folder / "held", "validation", ["One  TWO three", "go on"], ["a b c", "nein"])
    write_split(folder / "held", "test", ["p q r", "kept"], ["F G h", "l"])
    names = f"corpora={folder}/toy,{folder}/talk"
    return run_of(folder, names, f"validation={folder}/held", f"test={folder}/held", *changes)


def test_training_text_that_repeats_held_out_text_is_left_out(tmp_path):
    run, lines = held_out_run(tmp_path, "holdout=remove"), []
    prepared = prepare(run, report=lines.append)
    assert lines[2] == f"{tmp_path}/toy: no pair repeats {tmp_path}/held validation, {tmp_path}/held test"
    assert lines[3] == (
        f"{tmp_path}/talk: 2 of 4 pairs repeat held-out text ({tmp_path}/held validation: 1, {tmp_path}/held test: 1) "
        "and are left out"
    )
    text = sources(prepared)
    assert "so it is now" in text and "kept" in text and "one two three" not in text and "go on" not in text
    found = read_json(run.path / "report.json")["corpora"][f"{tmp_path}/talk"]
    assert found["pairs"] == 2 and found["cleaning"]["kept"] == 4
    assert found["held_out"] == {f"{tmp_path}/held validation": 1, f"{tmp_path}/held test": 1}


def test_repeated_held_out_text_may_be_kept_with_a_warning(tmp_path):
    run, lines = held_out_run(tmp_path, "holdout=warn"), []
    prepared = prepare(run, report=lines.append)
    assert lines[3].startswith("warning: ") and 'data.holdout = "remove" leaves them out' in lines[3]
    assert "one two three" in sources(prepared)


def test_text_without_a_match_keeps_its_key(tmp_path, toy):
    warned = prepare(run_of(tmp_path, "validation=[]"), report=silent).fingerprint
    other = write_corpus(tmp_path / "other", train=3, validation=3)
    write_split(other, "validation", ["q w e r"], ["t z u i"])
    run = Run.create(tmp_path / "run-2", toy_preset(tmp_path, "holdout=remove", f"validation={other}", corpus=toy))
    assert prepare(run, report=silent).fingerprint == warned


def test_a_corpus_that_is_all_held_out_is_refused(tmp_path):
    write_split(tmp_path / "toy", "train", ["a b c"] * 9, ["d e"] * 9)
    write_split(tmp_path / "toy", "test", ["a b c"], ["d e"])
    run = run_of(tmp_path, "holdout=remove", "validation=[]", f"test={tmp_path}/toy")
    with pytest.raises(UserError, match="9 of 9 pairs repeat held-out text .* which leaves none"):
        prepare(run, report=silent)


def test_a_test_set_that_is_not_here_is_named_and_not_fetched(tmp_path, toy, monkeypatch):
    monkeypatch.setattr("sacrebleu.utils.SACREBLEU_DIR", str(tmp_path / "sacrebleu"))
    lines = []
    prepare(run_of(tmp_path, "test=wmt14"), report=lines.append)
    assert lines[1].startswith("warning: wmt14 test cannot be compared with the training text: it is not on this ")


def test_validation_text_is_fetched_before_the_training_text_is_compared_with_it(tmp_path, toy, monkeypatch):
    read, size, fetched, lines = FolderCorpus.pairs, FolderCorpus.size, {"train"}, []

    def pairs(corpus, split):
        fetched.add(split)
        return read(corpus, split)

    monkeypatch.setattr(FolderCorpus, "pairs", pairs)
    monkeypatch.setattr(FolderCorpus, "size", lambda corpus, split: size(corpus, split) if split in fetched else None)
    prepare(run_of(tmp_path), report=lines.append)
    assert f"{toy} validation" in lines[1] and "cannot be compared" not in lines[1]


def test_a_missing_validation_corpus_is_noticed_before_any_work(tmp_path, toy):
    lines = []
    with pytest.raises(UserError, match="nowhere"):
        prepare(run_of(tmp_path, "validation=nowhere"), report=lines.append)
    assert not lines


def test_an_official_test_set_is_compared(tmp_path, monkeypatch):
    monkeypatch.setattr("sacrebleu.utils.SACREBLEU_DIR", str(tmp_path / "sacrebleu"))
    write_corpus(tmp_path / "toy", train=60)
    line = (tmp_path / "toy" / "en.train.txt").read_text().splitlines()[0]
    (tmp_path / "sacrebleu" / "wmt14").mkdir(parents=True)
    (tmp_path / "sacrebleu" / "wmt14" / "wmt14.en-de.src").write_text(f"{line.upper()}\n")
    (tmp_path / "sacrebleu" / "wmt14" / "wmt14.en-de.ref").write_text("etwas\n")
    lines = []
    prepare(run_of(tmp_path, "validation=[]", "test=wmt14", "holdout=remove"), report=lines.append)
    assert "of 60 pairs repeat held-out text (wmt14 test: " in lines[1]


def test_hidden_words_of_the_source_are_never_the_pieces_of_what_is_copied(tmp_path, toy):
    sides = ((toy / f"{language}.train.txt").read_text().splitlines() for language in ("en", "de"))
    write_split(toy, "train", *([f"{line} {n}" for n, line in enumerate(lines, 100)] for lines in sides))
    run = run_of(tmp_path, "windows=segments", "source_dropout=0.7", "lanes=2", "validation=")
    prepared = prepare(run, report=silent)
    source = np.concatenate([inputs["source"].ravel() for inputs, _ in prepared.batches.epoch(0)])
    first, unknown = prepared.tokenizer.span_ids[0], 1
    assert (source == first).sum() == 60
    assert 0.6 < (source == unknown).sum() / np.isin(source, (0, 3, first), invert=True).sum() < 0.8
