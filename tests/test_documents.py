"""Every command in README.md, CONTRIBUTING.md and the pages of docs/ is one that works.

A block of commands is fenced as `sh`; commands in tables count, too. A shell runs them in a folder that looks like a
checkout, with stand-ins for `weitblick`, `python`, `pip` ... that only note how they were called; `make` is real.
What was noted is then done in this process: commands on runs and corpora are executed on toys, trainings are checked up
to their preset. What can only be parsed is listed below with the reason.
"""

import configparser
import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.main import build_parser
from app.cli.main import main as weitblick
from app.presets.preset import load_preset
from tests.app.formats.samples import docx
from tests.app.toy_training import PRESET, write_corpus
from tests.slow import slow_but

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted(REPOSITORY.glob("docs/*.md")), REPOSITORY / "notebooks/README.md"]
# Languages of blocks that hold no commands; a block without a language is one, too, unless it looks like commands.
NO_COMMANDS = {"", "text", "mermaid", "sql", "toml", "json", "yaml", "dockerfile"}
LOOKS_LIKE_COMMANDS = re.compile(r"^(\$ )?(make|weitblick|python3?|pip|export|git|\S*\.venv\S*/bin/\S+) ", re.MULTILINE)
TABLE_CELL = re.compile(r"^\|[^|]*\| `((?:make|weitblick) [^`]+)`")
# Programs with a stand-in that notes the call and does nothing.
STAND_INS = ("weitblick", "python", "python3", "pip", "tensorboard", "jupyter-lab", "pre-commit", "git", "sbatch")
STAND_INS += ("gcloud", "hf", "kubectl")
SENTENCES, DOCUMENTS, GENERATOR = "runs/starter", "runs/starter-documents", "runs/generator"
# Other runs that pages name, by the toy run that takes their place.
SENTENCE_RUNS = ("runs/news-small", "runs/none", "runs/mine", "runs/multi30k-tiny", "runs/bdia-1", "runs/opus")
SENTENCE_RUNS += ("runs/a", "runs/b", "runs/wide", "runs/wmt14-base", "runs/plain-1", "runs/plain-2", "runs/plain-3")
RUNS = {**dict.fromkeys(SENTENCE_RUNS, SENTENCES), "runs/gru": DOCUMENTS, "runs/documents": DOCUMENTS}
RUNS["runs/opus-gru"] = DOCUMENTS
RUNS["runs/fused"] = GENERATOR
# Corpora that are fetched, by the toy that takes their place; others that pages name are toys of the same name.
CORPORA = {"software": "toys", "wmt14": "toys", "multi30k": "toys"}
FOLDERS = (
    "toys",
    "europarl",
    "newstest",
    "libreoffice-help",
    "gnome-help",
    "debian-manuals",
    "manpages",
    "talks",
    "web-pages",
)
ONLY_PARSED = {
    "import": "needs a checkpoint; tests/app/imports runs it",
    "compare": "trains for minutes; tests/app/cli/test_compare.py runs it",
    "plot runs/memories": "needs a comparison; tests/app/plots runs it",
    "repeat docs/results.json": "trains for minutes; tests/app/comparison/test_scoreboard.py runs it",
    "scoreboard": "writes into this page; tests/app/comparison/test_scoreboard.py runs it",
    "serve": "runs until it is stopped; tests/app/serving runs it",
    "probe": "trains for minutes; tests/app/probe runs it",
    "corpora prepare": "needs Apache Beam; tests/app/cli/test_beam_cli.py runs it",
    "corpora passages": "needs a run that gains from context; tests/app/cli/test_passages.py runs it",
    "--corpora chosen": "trains on what corpora passages chose",
    "corpora export --run": "tests/app/cli/test_warehouse_cli.py runs it",
    "bigquery": "needs an account; tests/data/warehouse runs the same commands on an emulator",
    "--contrapro": "needs ContraPro's 12,000 items; tests/app/scoring runs it on made-up ones",
    "tune --language-model": "changes a run of other pages; tests/app/cli/test_generate.py runs it",
    "--segments": "needs documents of that length; tests/app/cli/test_corrections.py runs it",
    "--hypotheses": "needs a file of published translations; tests/app/cli/test_commands.py runs it",
}

IN_DOCUMENTS = '[documents]\nwindows = "segments"\nlanes = 2\n[memory]\nkind = "gru"\n[memory.gru]\nslots = 4\n'


def blocks(page: Path) -> list[tuple[int, str, str]]:
    """The code blocks of a page: line number, language, text."""
    found, language, start, inside = [], None, 0, []
    lines = page.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if line.strip().startswith("```"):
            if language is None:
                language, start, inside = line.strip()[3:].strip(), number + 1, []
            else:
                found.append((start, language, "\n".join(inside)))
                language = None
        elif language is not None:
            inside.append(line)
        elif cell := TABLE_CELL.match(line):
            found.append((number, "sh", cell[1]))
        elif line.startswith("    ") and (number == 1 or not lines[number - 2].strip()):
            found.append((number, "", line.strip()))
    assert language is None, f"{page}:{start}: a block that does not end"
    return found


def having(language: str) -> list[Path]:
    """The pages with blocks in a language."""
    return [page for page in PAGES if any(block[1] == language for block in blocks(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_commands_say_so(page):
    for number, language, text in blocks(page):
        place = f"{page}:{number}"
        assert language in NO_COMMANDS | {"sh", "python"}, f"{place}: a block in an unknown language {language!r}"
        if language in NO_COMMANDS:
            assert not LOOKS_LIKE_COMMANDS.search(text), f"{place}: looks like commands; fence it as sh"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder like this repository, with stand-ins for programs, small corpora, and two toy runs."""
    place = tmp_path_factory.mktemp("documents") / "weitblick"
    place.mkdir()
    for path in REPOSITORY.iterdir():
        if path.name not in ("runs", "build") and not path.name.startswith((".venv", ".git")):
            (place / path.name).symlink_to(path)
    _write_stand_ins(place)
    _write_texts(place)
    with contextlib.chdir(place), pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEITBLICK_CACHE", str(place.parent / "cache"))
        (place / "toy-starter.toml").write_text(
            PRESET.format(corpus="toys").replace("updates = 40", "updates = 4").replace("test = []", 'test = ["toys"]')
        )
        (place / "toy-starter-documents.toml").write_text(
            (place / "toy-starter.toml").read_text() + f'start = "{SENTENCES}"\n' + IN_DOCUMENTS
        )
        generator = (place / "toy-starter.toml").read_text().replace("[tokenizer]", f'[tokenizer]\nrun = "{SENTENCES}"')
        generator = generator.replace("encoder_layers = 1", 'kind = "generator"\nencoder_layers = 0')
        (place / "toy-generator.toml").write_text(
            generator + 'monitor = "loss"\n[documents]\nwindows = "segments"\nlanes = 2\n'
        )
        for run in (SENTENCES, DOCUMENTS, GENERATOR):
            assert weitblick(["train", f"toy-{Path(run).name}.toml", "--run", run, "--corpora", "../corpora"]) == 0
        assert weitblick(["corpora", "load", *FOLDERS, "--corpora", "../corpora", "--warehouse", "corpora.duckdb"]) == 0
        for run, stands_for in RUNS.items():
            Path(run).symlink_to(Path(stands_for).name)
    return place


def _write_stand_ins(place: Path) -> None:
    note = (
        f"#!{sys.executable} -IS\nimport json, os, sys\n"
        "text = '' if os.isatty(0) else sys.stdin.read()\n"
        "note = [os.path.basename(sys.argv[0]), sys.argv[1:], text, os.environ.get('WEITBLICK_WAREHOUSE', '')]\n"
        "open(os.environ['NOTES'], 'a').write(json.dumps([os.environ['BLOCK'], *note]) + '\\n')\n"
    )
    make = "-o .venv/installed" + "".join(
        f" -o {folder}/installed{extra}"
        for folder in (".venv", ".venv-bigquery", ".venv-beam", ".venv-peers")
        for extra in (
            "",
            "-test",
            "-serve",
            "-files",
            "-ctranslate2",
            "-plots",
            "-notebooks",
            "-glove",
            "-lab",
            "-backends",
            "-lint",
        )
    )
    for folder in ("bin", ".venv/bin", ".venv-beam/bin", ".venv-bigquery/bin"):
        (place.parent / "bin" if folder == "bin" else place / folder).mkdir(parents=True)
        for name in STAND_INS:
            path = (place.parent if folder == "bin" else place) / folder / name
            path.write_text(note)
            path.chmod(0o755)
    (place.parent / "bin" / "make").write_text(f'#!/bin/sh\nexec {shutil.which("make")} -s {make} "$@"\n')
    (place.parent / "bin" / "make").chmod(0o755)
    for folder in (".venv", ".venv-bigquery", ".venv-beam", ".venv-peers"):
        (place / folder).mkdir(exist_ok=True)
        for extra in ("", "-test", "-serve", "-ctranslate2", "-plots", "-notebooks", "-glove", "-lab", "-backends"):
            (place / folder / f"installed{extra}").touch()


def _write_texts(place: Path) -> None:
    toys = write_corpus(place.parent / "corpora" / "toys", train=60, validation=8, document=4)
    for path in list(toys.glob("*.validation.txt")):
        shutil.copy(path, path.with_name(path.name.replace("validation", "test")))
    for name in FOLDERS[1:]:
        shutil.copytree(toys, toys.with_name(name))
    shutil.copy(REPOSITORY / "app/presets/starter.toml", place / "mine.toml")
    for name in ("in.txt", "manual.txt", "text.txt", "capitals.en", "test.de"):
        (place / name).write_text("the dog sees the cat\n\nthe old house\n", encoding="utf-8")
    for name in ("in.docx", "manual.docx"):
        (place / name).write_bytes(docx())
    (place / "table.csv").write_text("id,title,text\n1,the dog,a cat\n", encoding="utf-8")
    (place / "messages.po").write_text('msgid "the dog"\nmsgstr ""\n', encoding="utf-8")
    (place / "half.de.txt").write_text("der hund sieht den kater\n\n\n", encoding="utf-8")
    (place / "terms.tsv").write_text("house\thaus\n", encoding="utf-8")
    unit = "<tu><tuv xml:lang='en'><seg>the dog</seg></tuv><tuv xml:lang='de'><seg>der hund</seg></tuv></tu>"
    (place / "memory.tmx").write_text(f"<tmx version='1.4'><body>{unit}</body></tmx>", encoding="utf-8")
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"en": ["a tree"], "de": ["ein baum"]}), place / "crawl.parquet")


def noted(page: Path, checkout: Path) -> list:
    """The calls that the shell made: place, program, arguments, standard input, $WEITBLICK_WAREHOUSE."""
    notes = checkout.parent / f"{page.parent.name}-{page.name}.jsonl"
    script = "set -e\n" + "".join(
        f"export BLOCK='{page}:{number}'\n{text}\n" for number, language, text in blocks(page) if language == "sh"
    )
    # Without those of a make that runs the tests: its ARGS are not those of the page's commands.
    of_make = {name for name in os.environ if "MAKE" in name or name in ("MFLAGS", "ARGS")}
    environment = {name: value for name, value in os.environ.items() if name not in of_make}
    environment |= {"PATH": f"{checkout.parent}/bin:/usr/bin:/bin", "NOTES": str(notes)}
    done = subprocess.run(
        ["sh", "-c", script], cwd=checkout, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    calls = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
    last = calls[-1][0] if calls else page
    assert done.returncode == 0, f"{last}, or the block after it: {done.stderr}"
    return calls


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize("page", slow_but(having("sh"), REPOSITORY / "README.md"), ids=lambda page: page.name)
def test_every_command_works(page, checkout, monkeypatch):
    pytest.importorskip("duckdb")
    monkeypatch.chdir(checkout)
    for place, program, arguments, text, warehouse in noted(page, checkout):
        with monkeypatch.context() as patch:
            if warehouse:
                patch.setenv("WEITBLICK_WAREHOUSE", warehouse)
            _check(place, program, arguments, text, patch)


def _check(place, program, arguments, text, patch):
    if program.startswith("python"):
        if arguments[:2] == ["-m", "app"]:
            _check(place, "weitblick", arguments[2:], text, patch)
        elif arguments[:1] == ["-m"]:
            assert importlib.util.find_spec(arguments[1]), f"{place}: there is no module {arguments[1]}"
        else:
            assert Path(arguments[0]).exists(), f"{place}: there is no {arguments[0]}"
    elif program == "pip":
        options = configparser.ConfigParser()
        options.read(REPOSITORY / "setup.cfg", encoding="utf-8")
        for extra in re.findall(r"\[(\w+)\]", " ".join(arguments)):
            assert extra in options["options.extras_require"], f"{place}: there is no extra {extra}"
    elif program == "jupyter-lab":
        assert Path(arguments[0]).is_dir(), f"{place}: there is no folder {arguments[0]}"
    elif program == "sbatch":
        assert Path(arguments[0]).exists(), f"{place}: there is no {arguments[0]}"
        _check(place, "weitblick", ["train", arguments[1], "--run", *arguments[2:]], text, patch)
    elif program == "weitblick":
        _check_weitblick(place, arguments, text, patch)


def _check_weitblick(place, arguments, text, patch):
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            args = build_parser().parse_args(arguments)
    except SystemExit as end:
        pytest.fail(f"{place}: weitblick {' '.join(arguments)}: {said.getvalue()}" if end.code else f"{place}")
    if args.command == "train":
        load_preset(args.preset, args.set)
        arguments = ["train", f"toy-{args.preset}.toml", "--corpora", "../corpora", "--run", f"runs/{args.preset}"]
        if args.preset not in ("starter", "starter-documents") or args.set or args.corpora:
            return
    whole = f"{os.environ.get('WEITBLICK_WAREHOUSE', '')} {' '.join(arguments)}"
    if any(all(word in whole for word in what.split()) for what in ONLY_PARSED):
        return
    arguments = [_toy(argument) for argument in arguments]
    if args.command in ("evaluate", "evaluate-documents", "tune"):
        arguments += ["--corpora", "../corpora"]
    _make_room(args)
    patch.setattr(sys, "stdin", _stdin(text))
    out, errors = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = weitblick(arguments)
    errors.flush()
    assert code == 0, f"{place}: weitblick {' '.join(arguments)}: {errors.buffer.getvalue().decode()}"


def _toy(argument: str) -> str:
    """An argument with toy corpora in the place of others."""
    name, colon, weight = argument.partition(":")
    return CORPORA.get(name, name) + colon + weight


def _make_room(args) -> None:
    """Takes away what an earlier command has made under the same name."""
    for name in (getattr(args, "directory", None), getattr(args, "path", None) if args.command == "corpora" else None):
        if name and Path(name).is_dir():
            shutil.rmtree(name)
        elif name and Path(name).exists():
            Path(name).unlink()


def _stdin(text: str):
    file = open(os.open("stdin.txt", os.O_RDWR | os.O_CREAT | os.O_TRUNC), "w+", encoding="utf-8")  # noqa: SIM115
    file.write(text)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block[1] == "python" for block in blocks(page))], ids=str
)
def test_every_python_block_runs(page, checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    if not Path("model", "saved_model.pb").exists():
        # A page's command may have left an export of another kind there.
        shutil.rmtree("model", ignore_errors=True)
        assert weitblick(["export", SENTENCES, "--to", "savedmodel", "model"]) == 0
    for number, language, text in blocks(page):
        if language == "python":
            environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
            done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=environment)
            assert done.returncode == 0, f"{page}:{number}: {done.stderr}"


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page}: {target}"
