"""What document scores leave in a run's folder, and what of it need not be made again."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from app.scoring.contrapro import CONDITIONS
from app.scoring.documents import DocumentSet
from app.scoring.metrics import check_lengths
from app.translation.lines import read_text
from data.errors import UserError
from data.files import atomic_write

PRONOUNS = "contrapro"
PACKAGES = ("keras", "sacrebleu", "sentencepiece", "snowballstemmer")


def results_name(documents: DocumentSet, shuffled: bool = False) -> str:
    """What the files of results are called, less their endings."""
    return f"{documents.name}-documents{'-shuffled' if shuffled else ''}"


def made_by(run, checkpoint: str, search) -> dict:
    """All that decides what a run's model puts out."""
    name, _, checksum = run.weights_file(checkpoint)
    weights = {"asked_for": checkpoint, "used": name, "checksum": checksum}
    how = {"search": asdict(search), "documents": asdict(run.preset.documents)}
    return {"preset": run.preset.name, "weights": weights, **how}


def record() -> dict:
    """When, where and with what."""
    return {
        "machine": platform.platform(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def read_finished(run, name: str, fingerprint: str, made: dict) -> dict | None:
    """What the results of this name say, if the same weights made them from the same text; else None."""
    try:
        found = json.loads((run.results_folder / f"{name}.json").read_text(encoding="utf-8"))
        same = found["test_set"]["fingerprint"] == fingerprint and all(found[key] == made[key] for key in made)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if same else None


def write_json(path: Path, content: dict) -> None:
    """Writes results, whole or not at all."""
    with atomic_write(path, "w") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")


def write_lines(path: Path, documents: Sequence[Sequence[str]]) -> None:
    """Writes translations, one segment a line, as in the corpus."""
    with atomic_write(path, "w") as file:
        file.writelines(f"{line}\n" for document in documents for line in document)


def read_lines(path, documents: DocumentSet, what: str = "") -> list[list[str]]:
    """Translations of all segments, cut into documents.

    Raises:
        UserError: the file cannot be read, or its lines are not as many as the segments.
    """
    lines = read_text(path)
    flat = [line for document in documents.references for line in document]
    check_lengths(lines, flat, what or str(path))
    return documents.cut(lines)


def read_baseline(baseline, documents: DocumentSet, language: str) -> tuple[str, list[list[str]]]:
    """The name of a baseline and its translations.

    Args:
        baseline: the folder of a run, or a file of translations.
        documents: what it must have translated.
        language: target language.

    Raises:
        UserError: there is no such file, the run has not been evaluated on this text, or the lines are not as many.
    """
    path = file = Path(baseline)
    if path.is_dir():
        file = path / "results" / f"{results_name(documents)}.{language}"
        if not file.exists():
            command = f"weitblick evaluate-documents {path} --corpus {documents.name.rpartition('-')[0]}"
            raise UserError(f"{path} has no translations of the documents of {documents.name}; first run: {command}")
        if _read_json(file.with_suffix(".json")).get("test_set", {}).get("fingerprint") != documents.fingerprint:
            raise UserError(f"{file}: the baseline was scored on another text of this name; evaluate it again")
    return str(path), read_lines(file, documents, f"the baseline {file}")


def write_decisions(path: Path, pronouns: Sequence[str], decisions: dict[str, np.ndarray]) -> None:
    """Writes for each item its pronoun and, for each condition, 1 where the model was right and 0 where it was not."""
    with atomic_write(path, "w") as file:
        file.write("\t".join(["pronoun", *CONDITIONS]) + "\n")
        for pronoun, *right in zip(pronouns, *(decisions[name] for name in CONDITIONS), strict=True):
            file.write("\t".join([pronoun, *(str(int(value)) for value in right)]) + "\n")


def read_decisions(folder: Path, fingerprint: str) -> dict[str, np.ndarray] | None:
    """What `write_decisions` wrote into a folder of results; None where it is of other items, missing or damaged."""
    if _read_json(folder / f"{PRONOUNS}.json").get("test_set", {}).get("fingerprint") != fingerprint:
        return None
    try:
        rows = [line.split("\t")[1:] for line in read_text(folder / f"{PRONOUNS}.tsv")[1:]]
        table = np.array(rows, int).astype(bool)
        return {name: table[:, column] for column, name in enumerate(CONDITIONS)}
    except (UserError, ValueError, IndexError):
        return None


def _read_json(path: Path) -> dict:
    """What a file of results says; nothing where it is missing or damaged, as it can be made again."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
