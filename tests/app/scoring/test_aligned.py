"""Pairs that are no translations of each other, and how they are found."""

import math
import random

import numpy as np
import pytest

from app.cli import main as cli
from app.scoring.aligned import alignment_scores, divided
from app.scoring.alignment import Aligner
from data.corpora.folder import FolderCorpus
from data.pairs import Pair
from tests.app.scoring.wrong_pairs import exchange

EMPTY, TENSION = 0.08, 4.0


def word(draw):
    """One of 60 words of letters alone."""
    return draw.choice("xyz") + draw.choice("abcdefghij") * draw.randint(1, 2)


def text(count):
    """Lines of four to eight words, each word translated by one other."""
    draw = random.Random(7)
    lines = [" ".join(word(draw) for _ in range(draw.randint(4, 8))) for _ in range(count)]
    return [Pair(line, line.replace("x", "q")) for line in lines]


def test_a_score_is_the_mean_gain_of_the_words_of_both_sides():
    trained = [(["the", "house"], ["das", "haus"]), (["the", "book"], ["das", "buch"])] * 3
    aligner = Aligner(trained)
    source, target = ["the", "house"], ["das", "haus", "oben"]

    def gain(own, others, table, frequency, forward):
        """Of the words of one side, by the translation table in one direction."""
        total = 0.0
        for j, word in enumerate(own):
            near = [
                math.exp(-TENSION * abs((i + 0.5) / len(others) - (j + 0.5) / len(own))) for i in range(len(others))
            ]
            found = sum(
                (1 - EMPTY) * near[i] / sum(near) * table(other, word, forward) for i, other in enumerate(others)
            )
            total += math.log(found / frequency(word) + EMPTY)
        return total

    keys = aligner._keys.tolist()

    def table(given, word, forward):
        one, two = (given, word) if forward else (word, given)
        if one not in aligner._source or two not in aligner._target:
            return 1e-9
        key = aligner._source[one] * len(aligner._target) + aligner._target[two]
        return aligner._tables[0 if forward else 1][keys.index(key)] if key in keys else 1e-9

    def frequency(words):
        """A word's share of the text; an unknown one has that of one entry of the vocabulary."""
        return lambda word: words.count(word) / len(words) if word in words else 1 / len(set(words))

    sources, targets = ([word for pair in trained for word in pair[side]] for side in (0, 1))
    expected = gain(target, source, table, frequency(targets), True)
    expected += gain(source, target, table, frequency(sources), False)
    assert aligner.scores([(source, target)])[0] == pytest.approx(expected / 5)


def test_words_that_nothing_explains_and_lines_without_words():
    scores = Aligner([(["the", "house"], ["das", "haus"])] * 3).scores([(["house"], []), ([], []), ([], ["haus"])])
    assert scores[[0, 2]] == pytest.approx(math.log(EMPTY))
    assert math.isnan(scores[1])
    assert Aligner([]).scores([(["a"], ["b"])])[0] == pytest.approx(math.log(EMPTY))


def test_wrong_pairs_are_found_and_lines_without_words_stay():
    pairs, wrong = exchange(text(1500), 0.07)
    pairs += [Pair("12:30", "12.30")] * 5
    scores = alignment_scores(pairs, "en", "de")
    assert np.isinf(scores[-5:]).all()
    kept, left_out = divided(scores, 1 - len(wrong) / len(pairs))
    assert sorted([*kept, *left_out]) == list(range(len(pairs)))
    assert (np.diff(scores[left_out]) >= 0).all()
    assert len(wrong & set(left_out.tolist())) >= 0.95 * len(wrong)


def test_a_pair_does_not_speak_for_itself():
    """Words that stand in one pair alone explain each other only for an aligner that has read them."""
    pairs = [*text(400), Pair("only here", "nirgendwo sonst")]
    assert alignment_scores(pairs, "en", "de")[-1] == pytest.approx(math.log(EMPTY), abs=0.1)


@pytest.fixture
def corpus(tmp_path):
    pairs, wrong = exchange(text(300), 0.1)
    folder = tmp_path / "web"
    folder.mkdir()
    for name, lines in {"en": [p.source for p in pairs], "de": [p.target for p in pairs]}.items():
        (folder / f"{name}.train.txt").write_text("".join(f"{line}\n" for line in lines))
    (folder / "doc.train.txt").write_text("".join(f"d{place // 30}\n" for place in range(300)))
    return folder, pairs, wrong


def test_the_others_become_a_corpus(corpus, tmp_path, capsys):
    folder, pairs, wrong = corpus
    out = tmp_path / "aligned"
    assert cli.main(["corpora", "aligned", str(folder), str(out), "--share", "0.9", "--show", "2"]) == 0
    printed = capsys.readouterr().out
    found = list(FolderCorpus(out).pairs("train"))
    named = [pair._replace(doc=f"d{place // 30}") for place, pair in enumerate(pairs)]
    assert len(found) == 270
    assert [pair for pair in named if pair in set(found)] == found
    assert len({named[place] for place in wrong} & set(found)) <= 2
    assert printed.startswith(f"{folder}: 270 of 300 pairs, with ")
    assert printed.count("left out, -") == 2
    assert cli.main(["corpora", "aligned", str(folder), str(out)]) == 2
    assert f"{out}: exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--share", "1"], "--share 1: expected a number between 0 and 1"),
        (["--source", "fr"], "fr"),
    ],
)
def test_what_cannot_be_done_is_refused(corpus, tmp_path, capsys, arguments, message):
    assert cli.main(["corpora", "aligned", str(corpus[0]), str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_numbers_alone_cannot_be_aligned(tmp_path, capsys):
    (tmp_path / "numbers").mkdir()
    for name in ("en", "de"):
        (tmp_path / "numbers" / f"{name}.train.txt").write_text("1\n2\n3\n")
    assert cli.main(["corpora", "aligned", str(tmp_path / "numbers"), str(tmp_path / "out")]) == 2
    assert "hardly any pair has words" in capsys.readouterr().err
