"""A run folder: everything about one training, enough to resume, evaluate and export it."""

import contextlib
import functools
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from app.presets.preset import Preset, load_preset
from app.presets.schema import GENERATOR, TRANSLATOR, SearchPreset
from app.runs.checkpoints import CHECKSUM, WEIGHTS, Checkpoints
from app.runs.journal import Journal
from app.runs.weights import build_with, load_arrays, save_arrays
from data.errors import UserError
from data.files import atomic_write, checksum, checksum_of, read_json, write_json
from data.tokenizer import BOS, EOS, Tokenizer, target_file
from data.windows import DROPOUTS

FORMAT = 3
PRESET, SUMMARY, TOKENIZER, AVERAGED = "preset.toml", "run.json", "tokenizer.model", "averaged.npz"
REPORT = "report.json"
# The SentencePiece model of the target, if it differs from that of the source.
TARGET_TOKENIZER = target_file(TOKENIZER).name
WHICH = ("auto", "averaged", "best", "last")
PACKAGES = ("keras", "tensorflow", "tensorflow-text", "sentencepiece", "sacrebleu", "numpy")


class Run:
    """One run folder; use `Run.open` or `Run.create`.

    It holds `preset.toml` (resolved), `run.json` (format, versions, what the machines determined, progress, and the
    checksums of the other files), `tokenizer.model` (with `tokenizer.target.model` if the target has a
    SentencePiece model of its own), `report.json` (what was left out of the text), `checkpoints/`, `averaged.npz`,
    `log.jsonl`, `tensorboard/` and `results/`.
    """

    def __init__(self, path: Path | str, preset: Preset):
        self.path, self.preset = Path(path), preset

    @classmethod
    def create(cls, path: Path | str, preset: Preset) -> "Run":
        """Makes the folder and writes the preset and `run.json`."""
        run = cls(path, preset)
        _write_text(run.path / PRESET, preset.to_toml())
        run.write_summary(
            format=FORMAT,
            checksums={PRESET: [checksum(run.path / PRESET)]},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            python=platform.python_version(),
            versions=_versions(),
        )
        return run

    @classmethod
    def exists(cls, path: Path | str) -> bool:
        """Whether a run was started in this folder."""
        return (Path(path) / SUMMARY).exists()

    @classmethod
    def open(cls, path: Path | str, kind: str | None = TRANSLATOR) -> "Run":
        """Opens a run.

        Args:
            path: its folder.
            kind: which `model.kind` the caller can use; None for any.

        Raises:
            UserError: there is no such folder, it is not a run or is incomplete, it has another format, its preset was
                changed, or its model is of another kind.
        """
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"{path}: there is no such run folder; `make train` or `weitblick train` makes one")
        if not (path / SUMMARY).exists():
            raise UserError(f"{path}: this is not a run folder ({SUMMARY} is missing)")
        found = _read_summary(path / SUMMARY).get("format")
        # Checked before the preset is read, which may have other keys in another version.
        if found != FORMAT:
            raise UserError(f"{path}: the run has format {found}, this version reads {FORMAT}: train it again")
        if not (path / PRESET).exists():
            raise UserError(f"{path}: the run is incomplete ({PRESET} is missing): train again in another folder")
        _check(
            path,
            PRESET,
            "restore the original, or repeat the command that started the training, which writes it again; to change "
            f"keys use `weitblick train PRESET --run {path} --set KEY=VALUE`, or --set of the translation command",
        )
        run = cls(path, load_preset(path / PRESET, former=True))
        found = run.preset.model.kind
        if kind not in (None, found):
            use = "`weitblick generate` and `weitblick evaluate` use it" if found == GENERATOR else "choose another run"
            raise UserError(f"{path}: a {kind} is needed here, and this run is a {found}; {use}")
        return run

    @classmethod
    def restore_preset(cls, path: Path | str, preset: Preset) -> None:
        """Rewrites a run's `preset.toml` if it is damaged and `preset` is what the run was started with."""
        file, text = Path(path) / PRESET, preset.to_toml()
        noted = _checksums(Path(path)).get(PRESET, [])
        if checksum_of(text) in noted and not (file.exists() and checksum(file) in noted):
            _write_text(file, text)

    def with_precision(self, precision: str) -> "Run":
        """The same run, whose models compute in another precision; nothing is written."""
        return Run(self.path, self.preset.with_overrides([f"training.precision={precision}"]))

    def discard(self) -> None:
        """Removes what `create` and the preparation wrote, for a run that never reached its first checkpoint."""
        for name in (SUMMARY, PRESET, TOKENIZER, TARGET_TOKENIZER, REPORT):
            (self.path / name).unlink(missing_ok=True)

    def update_preset(self, preset: Preset) -> None:
        """Makes `preset` the run's preset."""
        text, before = preset.to_toml(), _checksums(self.path).get(PRESET, [])
        after = checksum_of(text)
        self.preset = preset
        # If the process is killed in between, both presets are accepted.
        self._note(PRESET, [*before, after])
        _write_text(self.path / PRESET, text)
        self._note(PRESET, [after])

    def summary(self) -> dict:
        """The content of `run.json`."""
        return _read_summary(self.path / SUMMARY)

    @property
    def has_results(self) -> bool:
        """Whether it has weights, or had: checkpoints of a finished run may have been removed."""
        return bool(self.checkpoints.all() or self.summary().get("finished") or (self.path / AVERAGED).exists())

    @property
    def ended(self) -> Journal | None:
        """The progress at the end of training; None before that, also if more updates or minutes now extend it."""
        finished = self.summary().get("finished")
        journal = Journal.from_summary(finished) if finished else None
        return journal if journal and journal.why_finished(self.preset.training) else None

    def write_summary(self, **values) -> None:
        """Adds values to `run.json`; only for the process that holds the run's lock."""
        path = self.path / SUMMARY
        summary = {**(self.summary() if path.exists() else {}), **values}
        write_json(path, {**summary, CHECKSUM: checksum_of(summary)})

    def _note(self, name: str, sums: list[str]) -> None:
        self.write_summary(checksums={**_checksums(self.path), name: sums})

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints."""
        return Checkpoints(self.path / "checkpoints", self.preset.training.keep)

    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer.

        Raises:
            UserError: it is missing or damaged.
        """
        noted = _checksums(self.path)
        for name in (TOKENIZER, *([TARGET_TOKENIZER] if TARGET_TOKENIZER in noted else [])):
            if not (self.path / name).exists():
                raise UserError(f"{self.path / name}: the run is incomplete: start the same training again")
            _check(self.path, name, "restore it from a copy of the run, or train again in another folder")
        return Tokenizer.load(self.path / TOKENIZER)

    def save_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Makes `tokenizer` the run's tokenizer."""
        for file in tokenizer.save(self.path / TOKENIZER):
            self._note(file.name, [checksum(file)])

    def new_model(
        self,
        vocabulary_size: int,
        source_vectors: int | None = None,
        target_vectors: int | None = None,
        decoding: bool = False,
        search: SearchPreset | None = None,
    ) -> Any:
        """A model of the preset's shape with fresh weights.

        It is a `TextGenerator` if the preset is of that kind, else a `Transformer`, or a `DocumentTransformer` if it
        reads documents.

        Args:
            vocabulary_size: number of tokens.
            source_vectors, target_vectors: widths of pre-trained vectors.
            decoding, search: see `load_model`.
        """
        from app.runs.precision import decoding_policy, keras_policy

        policy = decoding_policy if decoding else keras_policy
        options = {
            "vectors_trainable": self.preset.embeddings.trainable,
            "dtype": policy(self.preset.training.precision),
            "name": "transformer",
        }
        if self.preset.model.kind == GENERATOR:
            model = self._generator(vocabulary_size, target_vectors, options)
        else:
            vectors = {"source_vectors": source_vectors, "target_vectors": target_vectors}
            model = self._translator(vocabulary_size, search, {**vectors, **options})
        model.build()
        return model

    def _translator(self, vocabulary_size, search, options):
        from models.document import DocumentTransformer
        from models.transformer import Transformer

        shape = asdict(self.preset.model)
        del shape["kind"]
        if not self.preset.reads_documents(search):
            return Transformer(vocabulary_size, **shape, **options)
        own = {"segment_shift": self.preset.documents.segment_shift, "begin_id": BOS, "end_id": EOS}
        memory = self.preset.memory_settings(search)
        return DocumentTransformer(vocabulary_size, **shape, memory=memory, **own, **options)

    def _generator(self, vocabulary_size, vectors, options):
        from models.text_generator import TextGenerator

        model = self.preset.model
        same = ("width", "hidden", "heads", "dropout", "attention_dropout", "activation_dropout", "activation", "norm")
        shape = {name: getattr(model, name) for name in (*same, "positions", "max_positions")}
        tied = model.tie != "none"
        return TextGenerator(vocabulary_size, model.decoder_layers, **shape, tied=tied, vectors=vectors, **options)

    def weights(self, which: str = "auto") -> tuple[str, dict]:
        """The weights of one checkpoint: a name for reports, and name to array; see `weights_file`."""
        name, path, _ = self.weights_file(which)
        return name, load_arrays(path)

    def weights_file(self, which: str = "auto") -> tuple[str, Path, str]:
        """Locates the weights of one checkpoint.

        Args:
            which: "averaged", "best" (by validation), "last", or "auto": the average, if it is newer than all other
                checkpoints, else the last.

        Returns:
            A name for reports, the file, and its checksum.

        Raises:
            UserError: the run has no such weights, or they are damaged.
        """
        if which not in WHICH:
            raise UserError(f"no weights are called {which!r}; choose {', '.join(WHICH)}")
        if which == "averaged" or (which == "auto" and self._average_is_newest()):
            return "averaged", *self._average_file()
        found = self.checkpoints.latest()
        if found is None:
            raise UserError(f"{self.path}: the run has no checkpoint yet: start the same training again")
        checkpoint, summary = found
        if which == "best":
            best = summary.get("best")
            if best is None:
                raise UserError(f"{self.path}: no validation has been done yet, so there is no best checkpoint")
            checkpoint = self.checkpoints.at(best["update"])
            summary = checkpoint.summary()
        return f"update {checkpoint.update}", checkpoint.folder / WEIGHTS, summary["checksums"][WEIGHTS]

    def save_average(self, weights: dict, updates: list[int]) -> None:
        """Makes `weights` the run's average: the mean of the checkpoints after these updates."""
        newest = max([*updates, *(checkpoint.update for checkpoint in self.checkpoints.all())])
        noted = {"updates": updates, "newest": newest, "checksum": save_arrays(self.path / AVERAGED, weights)}
        self.write_summary(averaged=noted)

    def _average_is_newest(self) -> bool:
        """Whether there is, or should be, an average, and no checkpoint is newer."""
        summary = self.summary()
        noted = summary.get("averaged")
        if noted is None and not (self.path / AVERAGED).exists():
            return False
        noted = noted or {}
        # Version 0.1 did not note the newest checkpoint; it averaged at the end of a training.
        ended = summary.get("finished", {}).get("update", 0)
        newest = noted.get("newest", max([ended, *noted.get("updates", [])]))
        if all(checkpoint.update <= newest for checkpoint in self.checkpoints.all()):
            return True
        found = self.checkpoints.latest()
        return found is None or found[0].update <= newest

    def _average_file(self) -> tuple[Path, str]:
        """The file of the average, and its checksum."""
        path, noted = self.path / AVERAGED, self.summary().get("averaged", {}).get("checksum")
        again = f"`weitblick average {self.path}` makes it again"
        if not path.exists() and noted:
            raise UserError(f"{path}: the file is missing, but {SUMMARY} lists it; {again}")
        if not path.exists():
            raise UserError(f"{path}: there is no average yet; `weitblick average {self.path}` makes it")
        found = checksum(path)
        if noted and noted != found:
            raise UserError(f"{path}: the file is damaged; {again}")
        return path, found

    def load_model(self, which: str = "auto", decoding: bool = False, search: SearchPreset | None = None) -> Any:
        """The trained model.

        Args:
            which: see `weights`.
            decoding: stores the weights in the format of fast matrix products, which is faster than converting them
                at each step. With the preset's `training.precision = "float32"` they stay as they are.
            search: sets the sizes of the memory, on which no weights depend, and names the ensemble and the language
                model to join; None for the model alone with the sizes of training.
        """
        model = self._load_alone(which, decoding, search)
        if search and search.ensemble:
            from models.ensemble import ensemble

            others = [self.open_member(path)._load_alone("auto", decoding, search) for path in search.ensemble]
            model = ensemble([model, *others], self.preset.reads_documents(search))
        return self._fused(model, search, decoding) if search and search.language_model else model

    def _load_alone(self, which, decoding, search):
        name, weights = self.weights(which)
        widths = [weights.get(f"{side}_embedding/table", np.zeros((0, 0))).shape[1] for side in ("source", "target")]
        given = self.preset.embeddings.vectors
        size = self.tokenizer().vocabulary_size
        build = functools.partial(self.new_model, size, *(widths if given else ()), decoding=decoding, search=search)
        return build_with(build, weights, f"{self.path} ({name})")

    def open_member(self, path: Path | str) -> "Run":
        """The run of a translator that can join an ensemble with this one.

        Raises:
            UserError: it is not such a run, its tokenizer differs, only one of the two reads documents, or they cut
                documents into different windows.
        """
        other = self._joining(Run.open(path), "search.ensemble")
        mine, theirs = (run.preset.documents.windows == "off" for run in (self, other))
        if mine != theirs:
            alone, documents = (self.path, other.path) if mine else (other.path, self.path)
            raise UserError(
                f"search.ensemble: {alone} was trained on sentences, {documents} on documents; join runs of one kind"
            )
        mine, theirs = (asdict(run.preset.window_options()) for run in (self, other))
        for name in mine:
            if name not in DROPOUTS and mine[name] != theirs[name]:
                raise UserError(
                    f"search.ensemble: {self.path} and {other.path} cut documents into different windows, {name} = "
                    f"{mine[name]} and {theirs[name]}; join runs with the same [documents]"
                )
        return other

    def _joining(self, other, key):
        """The other run in this one's precision; refuses one with another tokenizer."""
        if other.tokenizer().fingerprint != self.tokenizer().fingerprint:
            raise UserError(
                f"{key}: {other.path} has another tokenizer than {self.path}; train it with tokenizer.run={self.path}"
            )
        return other.with_precision(self.preset.training.precision)

    def open_language_model(self, path: Path | str) -> "Run":
        """The run of a generator that can join the search of this run's model.

        Raises:
            UserError: it is not such a run, or its tokenizer differs.
        """
        return self._joining(Run.open(path, GENERATOR), "search.language_model")

    def _fused(self, model, search, decoding):
        """The model together with the language model of the search."""
        from models.fusion import FusedModel

        other = self.open_language_model(search.language_model)
        return FusedModel(model, other.load_model(decoding=decoding), search.language_model_weight)


def _versions() -> dict:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path, "w") as file:
        file.write(text)


def _read_summary(path: Path) -> dict:
    try:
        summary = read_json(path)
    except UserError as error:
        raise UserError(f"{error}: train again in another folder") from error
    # A run of version 0.1 has no checksums.
    if summary.pop(CHECKSUM, None) not in (None, checksum_of(summary)):
        raise UserError(f"{path}: the file was edited or damaged (wrong checksum): restore it from a copy of the run")
    return summary


def _checksums(path: Path) -> dict[str, list[str]]:
    """The checksums recorded in a run folder: file name to the checksums that the file may have."""
    return _read_summary(path / SUMMARY).get("checksums", {})


def _check(path: Path, name: str, remedy: str) -> None:
    """Compares a file of a run with its checksum."""
    noted = _checksums(path).get(name)
    if noted and checksum(path / name) not in noted:
        raise UserError(f"{path / name}: the file was edited or damaged (wrong checksum): {remedy}")
