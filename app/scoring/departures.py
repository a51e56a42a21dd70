"""How a score was made differently from its run's preset: another search, a glossary, shuffled segments ..."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from app.presets.text import to_toml
from app.runs.precision import decoding_policy
from app.runs.run import Run
from app.scoring.system import System
from app.translation.decoder import KERAS

# Sections of a record, and what presets call the settings in them.
_SECTIONS = {"search": "search", "documents": "documents", "retrieval": "memory.retrieval"}


def departures(
    run: Run, record: Mapping[str, Any], scores: Sequence[Mapping[str, Any]] = (), shuffled: bool = False
) -> list[str]:
    """How a recorded evaluation of a run differs from one without any options.

    Weights and text are not compared, nor are keys that a record of an earlier version lacks.

    Args:
        run: the run.
        record: the record of a test set in its results.
        scores: the scores of the record that are asked for, the main one first.
        shuffled: whether the segments should be in shuffled order.

    Returns:
        Each departure in words; [] for a score that was made as the preset says.

    Raises:
        UserError: something that the preset's search needs is missing or damaged: a language model, a run of the
            ensemble, or a learnt gate.
    """
    plain = System(run).choices
    return [
        *_settings(run, plain, record),
        *_reading(plain, record, shuffled),
        *_computing(run, record),
        *_scoring(run, scores),
    ]


def _settings(run: Run, plain: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[str]:
    """Keys whose values differ from the preset's; `plain` are the run's own choices."""
    sections = {**plain, "retrieval": asdict(run.preset.retrieval)}
    for section, name in _SECTIONS.items():
        own, found = sections[section], record.get(section, {})
        for key in own:
            if key in found and found[key] != own[key]:
                yield f"{name}.{key}={to_toml(found[key])} instead of {to_toml(own[key])}"
    if "retrieval" in plain and "retrieval" not in record:
        yield f"memory.retrieval.own=0.0 instead of {run.preset.retrieval.own}"


def _reading(plain: Mapping[str, Any], record: Mapping[str, Any], shuffled: bool) -> Iterator[str]:
    """What was read in addition to the model, and in which order; `plain` are the run's own choices."""
    for key, what in (("memory", "translation memory"), ("glossary", "glossary")):
        if record.get(key):
            yield f"the {what} {record[key]['name']}"
    if record.get("corrected"):
        yield "corrections"
    if record.get("gate") != plain.get("gate"):
        yield "another retrieval gate"
    if record.get("language_model") != plain.get("language_model"):
        yield "other weights of the language model"
    if record.get("ensemble", []) != plain["ensemble"]:
        members = [member["run"] for member in record.get("ensemble", [])]
        yield f"an ensemble with {', '.join(members)}" if members else "no ensemble"
    if record["test_set"].get("shuffled", False) != shuffled:
        yield "segments in order" if shuffled else "segments in shuffled order"


def _computing(run: Run, record: Mapping[str, Any]) -> Iterator[str]:
    """The engine and, where the preset names one, the precision."""
    engine, precision = record.get("engine", KERAS.as_dict()), run.preset.training.precision
    if engine != KERAS.as_dict():
        yield f"the engine {engine['name']} with {engine['quantization']}"
    elif precision != "auto" and "decided" in record:
        wanted, found = decoding_policy(precision), record["decided"]["precision"]
        if found != wanted:
            yield f"precision {found} instead of {wanted}"


def _scoring(run: Run, scores: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Options of the main score, which are in its signature."""
    wanted = {"case": "lc" if run.preset.data.lowercase else "mixed", "tok": "13a"}
    signature = scores[0]["signature"] if scores else ""
    found = dict(part.split(":", 1) for part in signature.split("|") if ":" in part)
    for key, value in wanted.items():
        if found.get(key, value) != value:
            yield f"{key}:{found[key]} instead of {key}:{value} in the signature"
