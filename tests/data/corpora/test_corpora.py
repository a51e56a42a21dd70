"""The registry: names, paths, mixtures."""

import os
from pathlib import Path

import pytest

from data.corpora.corpora import Corpora, Corpus, corpus_folders, parse_mixture
from data.errors import UserError
from data.pairs import Pair


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with two corpora, an empty folder and a stray file; an empty cache and environment."""
    monkeypatch.delenv("WEITBLICK_CORPORA", raising=False)
    monkeypatch.setenv("WEITBLICK_CACHE", str(tmp_path / "cache"))
    for name in ("talks", "news"):
        folder = tmp_path / "corpora" / name
        folder.mkdir(parents=True)
        (folder / "en.train.txt").write_text(f"{name}\n")
        (folder / "de.train.txt").write_text(f"{name} de\n")
    (tmp_path / "corpora" / "nothing").mkdir()
    (tmp_path / "corpora" / "README.md").write_text("read me")
    return tmp_path / "corpora"


def names(corpora):
    return [corpus.name for corpus in corpora]


def test_the_page_names_all_that_a_corpus_needs(home):
    members = {name for name in vars(Corpus) if not name.startswith("_")} | set(Corpus.__annotations__)
    page = (Path(__file__).parents[3] / "docs" / "corpora.md").read_text(encoding="utf-8")
    chapter = page.partition("## To add a corpus to the project")[2]
    assert len(members) == 12 and [name for name in members if f"`{name}`" not in chapter] == []
    for name in ("software", "wmt14", str(home / "talks")):
        assert [member for member in members if not hasattr(Corpora().open(name), member)] == []


def test_folder_is_found_by_name_and_by_path(home):
    assert list(Corpora([home]).open("talks").pairs("train")) == [Pair("talks", "talks de")]
    assert list(Corpora([str(home)], source="de", target="en").open("talks").pairs("train")) == [
        Pair("talks de", "talks")
    ]
    assert list(Corpora().open(str(home / "news")).pairs("train")) == [Pair("news", "news de")]


def test_relative_path_and_home_folder(home, monkeypatch):
    monkeypatch.chdir(home)
    assert Corpora().open("./talks").name == "talks"
    monkeypatch.setenv("HOME", str(home))
    assert Corpora().open("~/news").name == "news"
    monkeypatch.chdir(home / "news")
    assert Corpora().open(".").name == "news"


def test_environment_is_searched_after_the_given_folders(home, tmp_path, monkeypatch):
    other = tmp_path / "other" / "talks"
    other.mkdir(parents=True)
    (other / "en.train.txt").write_text("mine\n")
    (other / "de.train.txt").write_text("meins\n")
    monkeypatch.setenv("WEITBLICK_CORPORA", f"{tmp_path / 'absent'}{os.pathsep}{home}")
    assert next(Corpora().open("talks").pairs("train")).source == "talks"
    assert next(Corpora([other.parent]).open("talks").pairs("train")).source == "mine"
    assert corpus_folders([other.parent, home]) == [other.parent, home, tmp_path / "absent"]


def test_list_has_built_in_ones_and_every_folder_once(home, monkeypatch):
    monkeypatch.setenv("WEITBLICK_CORPORA", str(home))
    corpora = Corpora([home]).all()
    assert names(corpora) == ["software", "wmt14", "news", "talks"]
    assert all(c.description and c.licence and c.obtain for c in corpora)
    assert names(Corpora([], source="fr").all()) == []


def test_unknown_name_suggests_and_says_where_it_looked(home):
    with pytest.raises(UserError, match=rf"'talks'\? there is: software, wmt14, news, talks; looked in {home}"):
        Corpora([home]).open("tlaks")
    with pytest.raises(UserError, match="did you mean 'software'.*looked in no folder"):
        Corpora().open("sofware")
    with pytest.raises(UserError, match="no corpus ''"):
        Corpora([home]).open("")


def test_folder_without_text_says_so(home):
    with pytest.raises(UserError, match="nothing: no parallel text"):
        Corpora([home]).open("nothing")


def test_path_that_is_not_there(home):
    with pytest.raises(UserError, match="corpora/none: no such folder"):
        Corpora().open(f"{home}/none")


def test_built_in_corpora_have_two_languages():
    for name in ("software", "wmt14"):
        with pytest.raises(UserError, match=f"{name} .*English and German"):
            Corpora(source="fr").open(name)


def test_mixture_with_and_without_weights():
    assert parse_mixture(["newstest", "europarl:0.5"]) == [("newstest", 1.0), ("europarl", 0.5)]
    assert parse_mixture([" ted : 2 "]) == [("ted", 2.0)]
    assert parse_mixture(["/data/a:b/ted", "./ted:3"]) == [("/data/a:b/ted", 1.0), ("./ted", 3.0)]
    assert parse_mixture("ted") == [("ted", 1.0)]


@pytest.mark.parametrize("entry", ["ted:", "ted:much", "ted:-1", "ted:nan", "ted:inf", ":2", "", "ted:0"])
def test_bad_mixture_entry_is_named(entry):
    with pytest.raises(UserError, match=f"corpora: {entry!r} is not 'name' or 'name:weight'"):
        parse_mixture([entry])


def test_mixture_names_each_corpus_once_and_at_least_one():
    with pytest.raises(UserError, match="'ted' is named twice"):
        parse_mixture(["ted", "news", "ted:2"])
    with pytest.raises(UserError, match="the list is empty"):
        parse_mixture([])
