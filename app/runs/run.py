"""A run folder: all of one training, enough to resume, evaluate and export it."""

import contextlib
import functools
import json
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from app.presets.preset import Preset, load_preset
from app.runs.checkpoints import WEIGHTS, Checkpoints
from app.runs.weights import build_with, checksum, load_arrays
from data.errors import UserError
from data.files import atomic_write
from data.tokenizer import Tokenizer

FORMAT = 1
PRESET, SUMMARY, TOKENIZER, AVERAGED = "preset.toml", "run.json", "tokenizer.model", "averaged.npz"
WHICH = ("auto", "averaged", "best", "last")
PACKAGES = ("keras", "tensorflow", "tensorflow-text", "sentencepiece", "sacrebleu", "numpy")


class Run:
    """One run folder; use `Run.open` or `Run.create`.

    It holds `preset.toml` (resolved), `run.json` (format, versions, how far it came), `tokenizer.model`,
    `checkpoints/`, `averaged.npz`, `log.jsonl`, `tensorboard/` and `results/`.
    """

    def __init__(self, path, preset: Preset):
        self.path, self.preset = Path(path), preset

    @classmethod
    def create(cls, path, preset: Preset) -> "Run":
        """Makes the folder and writes the preset and `run.json`."""
        run = cls(path, preset)
        run.path.mkdir(parents=True, exist_ok=True)
        run.update_preset(preset)
        run.write_summary(
            format=FORMAT,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            python=platform.python_version(),
            versions=_versions(),
        )
        return run

    @classmethod
    def exists(cls, path) -> bool:
        """Whether a run was begun in this folder."""
        return (Path(path) / SUMMARY).exists()

    @classmethod
    def open(cls, path) -> "Run":
        """Opens a run.

        Raises:
            UserError: there is no such folder, it is no run or an incomplete one, or it is of another format.
        """
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"{path}: there is no such run folder; `make train` or `weitblick train` makes one")
        if not (path / SUMMARY).exists():
            raise UserError(f"{path}: this is not a run folder ({SUMMARY} is missing)")
        found = _read_summary(path / SUMMARY).get("format")
        # Before the preset, which may have other keys in another version.
        if found != FORMAT:
            raise UserError(f"{path}: the run has format {found}, this version reads {FORMAT}: train it again")
        if not (path / PRESET).exists():
            raise UserError(f"{path}: the run is incomplete ({PRESET} is missing): train again in another folder")
        return cls(path, load_preset(path / PRESET))

    def discard(self) -> None:
        """Removes what `create` and the preparation wrote, for a run that never came to its first checkpoint."""
        for name in (SUMMARY, PRESET, TOKENIZER):
            (self.path / name).unlink(missing_ok=True)

    def update_preset(self, preset: Preset) -> None:
        """Makes `preset` the run's preset."""
        self.preset = preset
        with atomic_write(self.path / PRESET, "w") as file:
            file.write(preset.to_toml())

    def summary(self) -> dict:
        """What `run.json` says."""
        return _read_summary(self.path / SUMMARY)

    def write_summary(self, **values) -> None:
        """Adds values to `run.json`."""
        path = self.path / SUMMARY
        summary = self.summary() if path.exists() else {}
        with atomic_write(path, "w") as file:
            json.dump({**summary, **values}, file, indent=1)
            file.write("\n")

    @property
    def results_folder(self) -> Path:
        """Where scores and translations go."""
        return self.path / "results"

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints."""
        return Checkpoints(self.path / "checkpoints", self.preset.training.keep)

    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer."""
        path = self.path / TOKENIZER
        if not path.exists():
            raise UserError(f"{path}: the run is incomplete: start the same training again")
        return Tokenizer.load(path)

    def new_model(
        self,
        vocabulary_size: int,
        source_vectors: int | None = None,
        target_vectors: int | None = None,
        decoding: bool = False,
    ):
        """A Transformer with the preset's shape and fresh weights; a `DocumentTransformer` where it has windows.

        Args:
            vocabulary_size: number of tokens.
            source_vectors, target_vectors: widths of pre-trained vectors.
            decoding: see `load_model`.
        """
        from app.runs.precision import decoding_policy, keras_policy
        from models.document import DocumentTransformer
        from models.transformer import Transformer

        policy = decoding_policy if decoding else keras_policy
        if self.preset.documents.windows == "off":
            kind = Transformer
        else:
            kind = functools.partial(DocumentTransformer, memory=asdict(self.preset.memory))
        model = kind(
            vocabulary_size,
            **asdict(self.preset.model),
            source_vectors=source_vectors,
            target_vectors=target_vectors,
            vectors_trainable=self.preset.embeddings.trainable,
            dtype=policy(self.preset.training.precision),
            name="transformer",
        )
        model.build()
        return model

    def weights(self, which: str = "auto") -> tuple[str, dict]:
        """The weights of one checkpoint: a name for reports, and name to array; see `weights_file`."""
        name, path, _ = self.weights_file(which)
        return name, load_arrays(path)

    def weights_file(self, which: str = "auto") -> tuple[str, Path, str]:
        """Where the weights of one checkpoint are.

        Args:
            which: "averaged", "best" (by validation), "last", or "auto": averaged if there is an average, else the
                last.

        Returns:
            A name for reports, the file, and its checksum.

        Raises:
            UserError: the run has no such weights, or they are damaged.
        """
        if which not in WHICH:
            raise UserError(f"no weights are called {which!r}; choose {', '.join(WHICH)}")
        averaged = self.path / AVERAGED
        if which == "averaged" or (which == "auto" and averaged.exists()):
            if not averaged.exists():
                raise UserError(f"{averaged}: there is no average yet; `weitblick average {self.path}` makes it")
            found, noted = checksum(averaged), self.summary().get("averaged", {}).get("checksum")
            if noted and noted != found:
                raise UserError(f"{averaged}: the file is damaged; `weitblick average {self.path}` makes it anew")
            return "averaged", averaged, found
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

    def load_model(self, which: str = "auto", decoding: bool = False):
        """The trained Transformer.

        Args:
            which: see `weights`.
            decoding: stores the weights in the format that matrix products are fast in, which is faster than to
                convert them at each step. With the preset's `training.precision = "float32"` they stay as they are.
        """
        name, weights = self.weights(which)
        widths = [weights.get(f"{side}_embedding/table", np.zeros((0, 0))).shape[1] for side in ("source", "target")]
        given = self.preset.embeddings.vectors
        size = self.tokenizer().vocabulary_size
        build = functools.partial(self.new_model, size, *(widths if given else ()), decoding=decoding)
        return build_with(build, weights, f"{self.path} ({name})")


def _versions() -> dict:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _read_summary(path: Path) -> dict:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: the file is damaged ({error}): train again in another folder") from error
    if not isinstance(summary, dict):
        raise UserError(f"{path}: the file is damaged (no JSON object): train again in another folder")
    return summary
