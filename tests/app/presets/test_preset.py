import dataclasses
import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.presets.preset import FOLDER, NAME, Preset, list_presets, load_preset
from app.presets.schema import SECTIONS, keys, sections
from app.presets.text import reference
from app.scoring.testsets import OFFICIAL
from data.errors import UserError
from data.spans import KINDS
from models.memories import in_layers, kinds, settings_of
from models.options import choices_of
from models.stack import ATTENTIONS, STACKS

REPOSITORY = Path(__file__).resolve().parents[3]

PACKAGED = [
    "documents-small",
    "generator",
    "multi30k-base",
    "multi30k-tiny",
    "news-small",
    "reformer-wmt14-base",
    "starter",
    "starter-documents",
    "wmt14-base",
    "wmt14-big",
]
# The kinds of memory that have a section of their own.
WITH_SETTINGS = [kind for kind in kinds() if dataclasses.fields(settings_of(kind))]
DOCUMENTS = ["documents-small", "starter-documents"]


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(*args):
    with pytest.raises(UserError) as caught:
        load_preset(*args)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_presets_are_listed_by_name():
    assert list_presets() == PACKAGED


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_presets_hold_what_differs_from_the_defaults_with_a_reason(name):
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    content, preset = tomllib.loads(text), load_preset(name)
    assert content.pop("name") == name and content.pop("description")
    for section, values in content.items():
        for key in values:
            assert getattr(preset.section(section), key) != keys(section)[key].default, f"{section}.{key} of {name}"
    for block in re.split(r"\n(?=\[)", text)[1:]:
        for before, line in itertools.pairwise(block.splitlines()):
            explained = "  # " in line or before.startswith("# ") or "that follow" in block.partition(line)[0]
            assert explained or not re.match(r"\w+ = ", line), f"{name}: {line} has no reason"
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", PACKAGED)
def test_lines_of_official_test_sets_are_what_comments_say(name):
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    for corpus, number in re.findall(r"(wmt14(?:/full)?)(?:, | has all )([\d,]+)", text):
        assert int(number.replace(",", "")) == OFFICIAL[corpus][0], f"{name}: {corpus} has other lines"
    if load_preset(name).data.test == ("wmt14",):
        assert f"wmt14, {OFFICIAL['wmt14'][0]:,} lines" in text


def test_wmt14_presets_have_the_papers_values():
    base, big = load_preset("wmt14-base"), load_preset("wmt14-big")
    assert (base.model.width, base.model.hidden, base.model.heads, base.model.dropout) == (512, 2048, 8, 0.1)
    assert (big.model.width, big.model.hidden, big.model.heads, big.model.dropout) == (1024, 4096, 16, 0.3)
    assert (base.training.updates, big.training.updates) == (100_000, 300_000)
    assert (base.training.average, big.training.average) == (5, 20)
    for preset in (base, big):
        formula = preset.model.width**-0.5 * preset.training.warmup**-0.5
        assert preset.training.learning_rate == pytest.approx(formula, rel=0.005)
        assert (preset.tokenizer.vocabulary, preset.training.batch_tokens) == (37_000, 25_000)
        assert (preset.model.norm, preset.training.label_smoothing) == ("post", 0.1)
        assert (preset.training.beta_1, preset.training.beta_2, preset.training.epsilon) == (0.9, 0.98, 1e-9)
        assert (preset.search.beam, preset.search.length_penalty, preset.search.max_extra) == (4, 0.6, 50)


def test_the_reformer_preset_has_the_published_values():
    preset, base = load_preset("reformer-wmt14-base"), load_preset("wmt14-base")
    assert (preset.model.stack, preset.model.attention, preset.model.norm) == ("reversible", "full", "pre")
    assert dataclasses.replace(preset.model, stack="plain", norm="post") == base.model
    assert (preset.tokenizer.vocabulary, preset.training.warmup) == (33_300, 8000)
    assert preset.training.learning_rate == pytest.approx(0.088 * 8000**-0.5, rel=0.001)


def test_choices_of_stacks_and_attentions_are_those_of_the_models():
    assert choices_of(keys("model")["stack"]) == STACKS
    assert choices_of(keys("model")["attention"]) == tuple(ATTENTIONS)


def test_multi30k_tiny_has_the_published_shape():
    model = load_preset("multi30k-tiny").model
    assert (model.encoder_layers, model.decoder_layers, model.width, model.hidden, model.heads) == (4, 4, 128, 256, 4)
    assert model.dropout == 0.3


@pytest.mark.parametrize("name", DOCUMENTS)
def test_presets_of_documents_begin_from_the_shape_of_their_first_stage(name):
    preset = load_preset(name)
    assert (preset.documents.windows, preset.memory.kind) == ("segments", "gru")
    first = load_preset(preset.training.start.removeprefix("runs/"))
    assert (preset.model, preset.tokenizer) == (first.model, first.tokenizer)


@pytest.mark.parametrize("name", sorted(set(PACKAGED) - {*DOCUMENTS, "generator"}))
def test_other_presets_see_each_segment_alone(name):
    preset = load_preset(name)
    assert (preset.documents, preset.memory_settings()) == (Preset("x").documents, Preset("x").memory_settings())
    assert (preset.documents.windows, preset.memory.kind, preset.training.start) == ("off", "none", "")


def test_left_out_keys_have_defaults_and_the_file_gives_the_name(tmp_path):
    preset = load_preset(written(tmp_path, "[model]\nwidth = 64\nheads = 2\n"))
    assert preset == Preset("mine", model=dataclasses.replace(Preset("x").model, width=64, heads=2))


def test_a_path_as_text_needs_no_path_object(tmp_path):
    assert load_preset(str(written(tmp_path, 'name = "other"'))).name == "other"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[modle]\nwidth = 64", ['"modle"', 'did you mean "model"', "search"]),
        ("[model]\nwitdh = 64", ['"model.witdh"', 'did you mean "width"', "encoder_layers"]),
        ("[model]\nqqq = 64", ['"model.qqq"', "choose from kind, encoder_layers"]),
        ("[model]\nwidth = 64.0", ["model.width", "a whole number", "64.0"]),
        ("[model]\nwidth = true", ["model.width", "a whole number", "true"]),
        ("[model]\nwidth = 0", ["model.width", "at least 1", "got 0"]),
        ("[model]\ndropout = 1.0", ["model.dropout", "below 1", "got 1.0"]),
        ("[model]\ndropout = nan", ["model.dropout", "a number", "nan"]),
        ('[model]\nnorm = "per"', ["model.norm", '"per"', 'did you mean "pre"', "pre, post"]),
        ("[model]\nnorm = 3", ["model.norm", "a string in quotes", "3"]),
        ("[training]\nlearning_rate = 0", ["training.learning_rate", "above 0"]),
        ("[documents]\nwindow = 2", ['"documents.window"', 'did you mean "windows"', "back_propagation"]),
        ('[documents]\nwindows = "segment"', ["documents.windows", 'did you mean "segments"', "tokens, dynamic"]),
        ("[documents]\nback_propagation = 0", ["documents.back_propagation", "at least 1", "got 0"]),
        ("[documents]\ncontext_word_dropout = 1.0", ["documents.context_word_dropout", "below 1"]),
        ("[documents]\nword_dropout = 0.1", ['"documents.word_dropout"', "called documents.context_word_dropout now"]),
        ('[memory]\nkind = "lstm"', ["memory.kind", '"lstm"', ", ".join(kinds())]),
        ("[memory]\nslots = 9", ['"memory.slots"', "; use memory.", "memory.gru.slots"]),
        ("[memory]\nsegments = 9", ["memory.fixed.segments or ", "memory.variable.segments"]),
        ("[memory]\nside = 9", ['"memory.side"', 'did you mean "sides"', f"read_bias, {', '.join(WITH_SETTINGS)}"]),
        ("[memory.gru]\nslots = 0", ["memory.gru.slots", "at least 1"]),
        ("[memory.gru]\nslot = 1", ['"memory.gru.slot"', 'did you mean "slots"', "cell, keep_bias"]),
        ("[memory.gru]\ncell = 'lstm'", ["memory.gru.cell", '"lstm"', "gru, minimal"]),
        ("[memory.gur]\nslots = 1", ['"memory.gur"', 'did you mean "gru"']),
        ("[memory.concat]\nslots = 1", ['"memory.concat"']),
        ("[model]\nwidth = 2000000000", ["model.width", "at most 100000"]),
        ("[model]\nwidth = 100000\nheads = 10", ["model.width", "billion weights", "smaller"]),
        ('[data]\ncorpora = ["toy:1e9"]', ["data.corpora", "at most 1000", "1e+09", "'toy'"]),
        ('name = "../../x"', ["name", "digits, . _ and -", '"../../x"']),
        ('name = ".."', ["name", '".."']),
        ('name = ""', ["name", '""']),
        ('name = "a/b"', ["name", '"a/b"']),
        ('name = "a\\nb"', ["name", '"a\\nb"']),
        ("[memory]\nread_bias = inf", ["memory.read_bias", "a number", "inf"]),
        ("[memry]\nslots = 1", ['"memry"', 'did you mean "memory"']),
        ("[training]\nstart = true", ["training.start", "a string in quotes"]),
        ("[training]\nseed = -1", ["training.seed", "at least 0"]),
        ("[data]\ndeduplicate = 1", ["data.deduplicate", "true or false", "1"]),
        ("[data]\ncorpora = true", ["data.corpora", "a list of strings", "true"]),
        ("[data]\ncorpora = [1.5]", ["data.corpora", "a list of strings"]),
        ("model = 3", ["model", "[model]"]),
        ("name = 3", ["name", "a string"]),
        ("[model\nwidth = 64", ["not TOML", "line 1"]),
    ],
)
def test_a_bad_file_is_refused_naming_file_key_and_choices(tmp_path, text, expected):
    message = refusal(written(tmp_path, text))
    for part in [str(tmp_path / "mine.toml"), *expected]:
        assert part in message


def test_settings_of_memories_stand_in_the_section_of_their_kind(tmp_path):
    text = '[documents]\nwindows = "segments"\n[memory]\nkind = "gru"\n[memory.gru]\nslots = 8\n'
    preset = load_preset(written(tmp_path, f"{text}[memory.variable]\nsummaries = 2\n"))
    general = {"sides": "both", "layers": ("auto",), "read": "auto", "read_bias": -2.0, "mixed": False}
    assert preset.memory_settings() == {"kind": "gru", **general, "slots": 8, "cell": "gru", "keep_bias": -1.0}
    other = preset.with_overrides(["memory.kind=variable", "memory.variable.segments=3"])
    assert other.memory_settings() == {"kind": "variable", **general, "summaries": 2, "segments": 3}
    assert load_preset(written(tmp_path, other.to_toml())) == other
    assert preset.with_overrides(["memory.gru.slots=64"]).to_toml().count("\n[memory.") == 2
    assert preset.differences(preset.with_overrides(["memory.fixed.segments=2"])) == []
    assert preset.differences(other)[1:] == [("memory.variable.segments", 8, 3)]


IN_LAYERS = ["windows=segments", "memory.kind=gru", "memory.layers=all", "memory_tokens=reference", "positions=rotary"]


@pytest.mark.parametrize(
    ("written_as", "layers"),
    [('"all"', ("all",)), ("[1, 3]", ("1", "3")), ('["1", "3"]', ("1", "3")), ("2", ("2",))],
)
def test_layers_may_be_written_as_a_word_or_as_numbers(tmp_path, written_as, layers):
    text = f'[documents]\nwindows = "segments"\n[memory]\nkind = "gru"\nlayers = {written_as}\n'
    text += '[training]\nmemory_tokens = "reference"\n'
    assert load_preset(written(tmp_path, text)).memory.layers == layers
    assert load_preset("starter", [*IN_LAYERS, f"memory.layers={written_as}"]).memory.layers == layers


def test_two_kinds_are_joined_with_the_settings_of_both():
    preset = load_preset("starter", [*IN_LAYERS, "memory.kind=gru+recurrence", "slots=5", "cache=7"])
    settings = preset.memory_settings()
    assert (settings["slots"], settings["cache"], settings["kind"]) == (5, 7, "gru+recurrence")
    assert preset.to_toml().count("\n[memory.") == 2
    other = preset.with_overrides(["cache=8"])
    assert preset.differences(other) == [("memory.recurrence.cache", 7, 8)]
    assert 'did you mean "recurrence"' in refusal("starter", [*IN_LAYERS, "memory.kind=gru+recurence"])


def test_a_setting_that_both_kinds_have_is_told_apart():
    own = ["memory.kind=prism+compressive", "memory.prism.rebuild=0.25"]
    settings = load_preset("starter", [*IN_LAYERS, *own]).memory_settings()
    assert (settings["prism.rebuild"], settings["compressive.rebuild"]) == (0.25, 1.0)


def test_a_bare_key_is_looked_for_in_the_chosen_memory():
    windows = ["windows=segments", "memory.kind=fixed"]
    preset = load_preset("starter", [*windows, "segments=3"])
    assert (preset.section("memory.fixed").segments, preset.section("memory.variable").segments) == (3, 8)
    assert load_preset("starter", ["slots=3"]).section("memory.gru").slots == 3
    assert 'memory.kind = "fixed" has no "slots", only memory.gru.slots has' in refusal(
        "starter", [*windows, "slots=3"]
    )


def test_every_kind_of_memory_can_be_chosen():
    for kind in kinds():
        windows = ["windows=segments", "size=2", "memory_tokens=reference", "positions=rotary"]
        preset = load_preset("starter", [*windows, f"memory.kind={kind}"])
        assert preset.memory_settings()["kind"] == kind
        assert f'kind = "{kind}"' in preset.to_toml()


def test_the_reference_of_presets_is_up_to_date():
    written = (REPOSITORY / "docs" / "presets.md").read_text(encoding="utf-8")
    assert written == reference(), "run: weitblick presets --markdown > docs/presets.md"
    for section in sections():
        assert f"## `[{section}]`" in written


def test_the_command_prints_every_key_and_imports_no_keras():
    program = (
        "import sys; from app.cli.main import main; main(['presets', 'starter-documents']); "
        "print(bool({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    printed, _, loaded = done.stdout.rstrip().rpartition("\n")
    assert loaded == "False"
    assert printed + "\n" == load_preset("starter-documents").to_toml()
    content = tomllib.loads(printed)
    for section in SECTIONS:
        assert set(keys(section)) <= set(content[section])
    assert list(content["memory"]["gru"]) == list(keys("memory.gru"))


def test_overrides_by_full_and_by_bare_key():
    preset = load_preset("starter", ["training.updates=500", "dropout = 0.25", "norm=post", "lowercase=true"])
    assert preset.training.updates == 500
    assert preset.model.dropout == 0.25
    assert preset.model.norm == "post"
    assert preset.data.lowercase is True
    assert preset.with_overrides([]) == preset


def test_the_last_of_equal_overrides_wins_and_whole_numbers_are_numbers_too():
    training = load_preset("starter", ["updates=5", "updates=700", "minutes=3"]).training
    assert (training.updates, training.minutes) == (700, 3.0)


@pytest.mark.parametrize(
    "text", ["corpora=newstest,europarl:0.5", 'corpora=["newstest", "europarl:0.5"]', 'corpora="newstest,europarl:0.5"']
)
def test_lists_can_be_written_with_commas(text):
    assert load_preset("starter", [text]).data.corpora == ("newstest", "europarl:0.5")


@pytest.mark.parametrize(("written_as", "read"), [("0.5", "0.5"), ("true", "true"), ('"a b"', "a b"), ("a=b", "a=b")])
def test_bare_words_are_strings(written_as, read):
    assert load_preset("starter", ["side=both", f"vectors={written_as}"]).embeddings.vectors == read


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("updates", ["KEY=VALUE"]),
        ("kind=bpe", ["several sections", "tokenizer.kind or model.kind or memory.kind"]),
        ("max_ratio=2", ["several sections", "data.max_ratio", "search.max_ratio"]),
        ("updtes=2", ['did you mean "updates"']),
        ("memory.slots=2", ["memory.gru.slots"]),
        ("memory.gru.slot=2", ['did you mean "slots"']),
        ("memory.gur.slots=2", ['"memory.gur"', 'did you mean "memory.gru"']),
        ("segments=2", ["several sections", "memory.fixed.segments or memory.variable.segments"]),
        ("trainin.updates=2", ['"trainin"', 'did you mean "training"']),
        ("training.updtes=2", ['"training.updtes"', 'did you mean "updates"']),
        ("updates=many", ["--set training.updates", "a whole number", '"many"']),
        ("updates=", ["--set training.updates", "a whole number"]),
        ("updates=1\nseed=2", ["--set training.updates"]),
        ("norm=middle", ["--set model.norm", '"middle"', "pre, post"]),
    ],
)
def test_bad_overrides_are_refused(override, expected):
    with pytest.raises(UserError) as caught:
        load_preset("starter", [override])
    for part in expected:
        assert part in str(caught.value)


def test_an_unknown_preset_names_the_known_ones():
    message = refusal("startr")
    assert 'did you mean "starter"' in message
    assert "wmt14-big" in message


def test_unreadable_files_are_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.toml")
    assert "directory" in refusal(str(tmp_path))
    (tmp_path / "latin.toml").write_bytes('description = "Bär"'.encode("latin-1"))
    assert "UTF-8" in refusal(tmp_path / "latin.toml")


def test_differences_name_keys_and_both_values():
    one = load_preset("starter")
    other = one.with_overrides(["training.updates=500", "norm=post"])
    assert one.differences(one) == []
    assert one.differences(other)[0] == ("model.norm", "pre", "post")
    assert list(map(str, one.differences(other))) == ['model.norm: "pre" -> "post"', "training.updates: 4400 -> 500"]


def values_of(key):
    """A hypothesis strategy for the values that a key allows."""
    limits, kind = key.metadata["limits"], key.type
    if choices_of(key):
        return st.sampled_from(choices_of(key))
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(limits["low"], limits["high"])
    if kind is float:
        low = limits["low"] if limits["low"] is not None else limits["above"]
        high = limits["high"] if limits["high"] is not None else limits["below"]
        exclude = {"exclude_min": limits["above"] is not None, "exclude_max": limits["below"] is not None}
        return st.floats(low, high, allow_nan=False, allow_infinity=False, **exclude)
    return st.lists(st.text()).map(tuple) if kind == tuple[str, ...] else st.text()


def test_joined_memories_both_have_the_size_for_translation():
    changes = ["memory.kind=cache+recurrence", "windows=segments", "positions=rotary", "memory_tokens=reference"]
    preset = load_preset("starter", [*changes, "memory_cache=9"])
    sizes = {key: value for key, value in preset.memory_settings(preset.search).items() if key.endswith("cache")}
    assert sizes == {"cache.cache": 9, "recurrence.cache": 9}
    assert preset.memory_settings()["cache.cache"] == 256


@st.composite
def presets(draw):
    """Presets with any value in every key; keys that must fit together are made to fit."""
    values = {
        section: kind(**{name: draw(values_of(key)) for name, key in keys(section).items()})
        for section, kind in sections().items()
    }
    memories = {name.removeprefix("memory."): values.pop(name) for name in list(values) if name not in SECTIONS}
    heads = draw(st.integers(1, 16))
    training, data = values["training"], values["data"]
    values["documents"] = dataclasses.replace(values["documents"], windows="segments", size=2, back_propagation=2)
    shape = {"heads": heads, "width": heads * 64, "hidden": 99, "encoder_layers": 2, "decoder_layers": 3}
    shape["kind"] = "translator"
    values["model"] = model = dataclasses.replace(values["model"], **shape, max_positions=2 * 10**6 + 8)
    fitting: dict[str, Any] = {"lsh_buckets": 2 * (model.lsh_buckets // 2)}
    if model.norm == "post" or in_layers(values["memory"].kind):
        fitting["stack"] = "plain"
    if in_layers(values["memory"].kind):
        fitting["attention"] = "full"
    elif model.attention == "lsh":
        fitting["attention_dropout"] = 0.0
    values["model"] = dataclasses.replace(model, **fitting)
    updates = {"warmup": 1, "updates": max(training.updates, 2), "start": training.start or "runs/first"}
    values["documents"] = dataclasses.replace(values["documents"], context_discount=0.0)
    memory = values["memory"]
    if memory.kind != "concat" or values["model"].positions == "learned":
        values["documents"] = dataclasses.replace(values["documents"], segment_shift=0)
    if values["documents"].windows != "off" or not values["model"].dropout:
        updates["r_drop"] = 0.0
    if not memory.has_state:
        updates["ranking"] = 0.0
        updates["freeze"] = False
        values["documents"] = dataclasses.replace(values["documents"], order="forward")
    sizes = {key.name for key in dataclasses.fields(settings_of(memory.kind))}
    without = {f"memory_{size}": 0 for size in ("cache", "compressed") if size not in sizes}
    values["search"] = dataclasses.replace(values["search"], **without)
    inside = in_layers(memory.kind)
    if training.memory_tokens == "mixed" and not (memory.has_state and memory.sides == "both"):
        updates["memory_tokens"] = "own"
    if inside:
        updates["memory_tokens"] = "reference"
        updates["freeze"] = False
        values["model"] = dataclasses.replace(values["model"], positions="rotary")
    values["memory"] = dataclasses.replace(memory, layers=("1", "2") if inside else ("top",), read="auto")
    values["training"] = dataclasses.replace(training, keep=training.average, **updates)
    own = {"target": data.source + "x", "corpora": ("a",), "validation": ("b", "c")}
    values["data"] = dataclasses.replace(data, **own, copy=tuple(draw(st.sets(st.sampled_from(KINDS)))))
    values["embeddings"] = dataclasses.replace(values["embeddings"], side="both")
    memories = {kind: own for kind, own in memories.items() if own != type(own)()}
    return Preset(draw(st.from_regex(NAME, fullmatch=True)), draw(st.text()), **values, memories=memories)


@given(preset=presets())
def test_written_presets_read_back_equal(tmp_path_factory, preset):
    path = tmp_path_factory.getbasetemp() / "round-trip.toml"
    path.write_bytes(preset.to_toml().encode("utf-8"))
    assert load_preset(path) == preset


def test_a_byte_order_mark_of_an_editor_is_no_error(tmp_path):
    (tmp_path / "mine.toml").write_text('description = "mine"\n[training]\nupdates = 7\n', encoding="utf-8-sig")
    assert load_preset(str(tmp_path / "mine.toml")).training.updates == 7
