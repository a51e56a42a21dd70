"""The results of scoring in a run's folder; every file has a checksum, which is verified on reading."""

from collections.abc import Callable, Sequence
from pathlib import Path

from app.runs.checkpoints import CHECKSUM, to_stderr
from app.translation.lines import read_text
from data.errors import UserError
from data.files import atomic_write, checksum, checksum_of, read_json, write_json

FOLDER, SUMMARY = "results", "results.json"


class Results:
    """The folder `results` of a run, and its `results.json` with the scores of all test sets.

    For each test set, `NAME.json` records the scores and how they were made. It lists related files, such as the
    translations, with their checksums; the record itself also has one.

    Args:
        path: the run folder.
        report: called with each note and warning; by default they go to standard error.
    """

    def __init__(self, path: Path | str, report: Callable[[str], None] = to_stderr):
        self.path, self.folder, self._report = Path(path), Path(path) / FOLDER, report
        self._said: set[str] = set()

    def read(self, name: str) -> dict:
        """The record of this name; {} if there is none.

        Raises:
            UserError: it was edited or is damaged.
        """
        path = self.folder / f"{name}.json"
        if not path.is_file():
            return {}
        record = read_json(path)
        if record.pop(CHECKSUM, None) != checksum_of(record):
            raise UserError(f"{path}: the file was edited or damaged (wrong checksum)")
        return record

    def record(self, name: str) -> dict:
        """Like `read`, for results that can be recreated: a note instead of an error."""
        try:
            return self.read(name)
        except UserError as error:
            self._say(f"note: {error}; recreating it")
            return {}

    def names(self) -> list[str]:
        """The names of all records."""
        return [path.stem for path in sorted(self.folder.glob("*.json"))]

    def lines(self, record: dict, file: str) -> list[str] | None:
        """The lines of a file that a record lists; None if there is no such file.

        Raises:
            UserError: the file was edited or is damaged.
        """
        path, noted = self.folder / file, record.get("files", {}).get(file)
        if noted is None or not path.is_file():
            return None
        if checksum(path) != noted:
            raise UserError(f"{path}: the file was edited or damaged (wrong checksum)")
        return read_text(path)

    def write(self, name: str, record: dict, files: dict[str, Sequence[str]] | None = None) -> dict:
        """Writes a record and the lines of its files; each file is written atomically.

        A folder that is not writable is not an error: a warning says that the results are not kept.

        Args:
            name: name of the record.
            record: plain JSON values.
            files: the lines of each file; earlier files stay in the record.

        Returns:
            The record with the checksums of all its files.
        """
        try:
            for file, lines in (files or {}).items():
                with atomic_write(self.folder / file, "w") as opened:
                    opened.writelines(f"{line}\n" for line in lines)
                record = {**record, "files": {**record.get("files", {}), file: checksum(self.folder / file)}}
            write_json(self.folder / f"{name}.json", {**record, CHECKSUM: checksum_of(record)})
            every = {each: self.record(each) for each in self.names()}
            write_json(self.path / SUMMARY, {each: found for each, found in every.items() if found})
        except OSError as error:
            self._say(f"warning: {self.folder}: results cannot be kept here ({error.strerror})")
        return record

    def _say(self, line: str) -> None:
        """Reports something once."""
        if line not in self._said:
            self._said.add(line)
            self._report(line)
