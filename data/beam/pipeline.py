"""Puts the steps together and runs them where the command line says."""

import argparse
import contextlib
import difflib
import functools
import io
import json
import logging
import os
import re
import sys
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from data.beam import RUNNERS, SHARD_PAIRS
from data.beam.prepared import REPORT
from data.beam.sources import Part, is_local
from data.beam.steps import (
    COUNTS,
    DOCUMENTS,
    WHOLE,
    Inspect,
    Languages,
    first,
    in_several,
    shard_key,
    write_report,
    write_shard,
)
from data.cleaning import CleaningOptions
from data.errors import UserError
from data.files import new_folder
from data.parallel import cores

_IN_USER_CODE = re.compile(r"data\.errors\.UserError: (.*?)(?: \[while running|\n|$)")


def prepare(
    parts: list[Part],
    output: str,
    options: CleaningOptions,
    source: str = "en",
    target: str = "de",
    runner: str = "DirectRunner",
    pipeline_options: Sequence[str] = (),
    shard_pairs: int = SHARD_PAIRS,
) -> dict[str, dict]:
    """Cleans corpora with a pipeline and waits for its end.

    Of each corpus the same pairs stay as with `data.cleaning.clean`, in the same order and with the same counts.
    Validation and test splits are normalised and stay whole.

    Args:
        parts: what to read, from `data.beam.sources.find_parts`.
        output: the folder to make, in any file system that Beam supports. Each corpus has a folder there, with Parquet
            files (corpus, split, doc, position, and a column for each language) and a report in JSON. A local folder
            appears when it is complete; elsewhere the report is the last file of a corpus.
        options: what is left out of training splits.
        source: language of the source side.
        target: language of the target side.
        runner: one of `data.beam.RUNNERS`.
        pipeline_options: options of Beam, as "KEY=VALUE", or "KEY" for a switch.
        shard_pairs: the most pairs in a file; one worker sorts them in memory.

    Returns:
        The report of each corpus: `splits` has the counts of `CleaningReport.as_dict`, `shards` the files.

    Raises:
        UserError: `output` exists already, the runner or an option is unknown, a source cannot be read to its end, or
            files give one id to several documents.
    """
    chosen = _beam_options(runner, pipeline_options)
    if runner == "DataflowRunner":
        _check_remote(parts, output)
    _check_free(output)
    with _place(output) as folder:
        _run(chosen, functools.partial(_build, parts, folder, options, source, target, shard_pairs), runner)
    names = dict.fromkeys(part.corpus for part in parts)
    return {name: _read_json(FileSystems.join(output, name, REPORT)) for name in names}


def _build(parts, output, options, source, target, shard_pairs, pipeline) -> None:
    """Adds the steps to a pipeline."""
    inspected = (
        pipeline
        | "Parts" >> beam.Create(list(enumerate(parts)))
        | "Spread" >> beam.Reshuffle()
        | "Inspect" >> beam.ParDo(Inspect(options)).with_outputs(COUNTS, WHOLE, main="pairs")
    )
    pairs, counts = inspected["pairs"], [inspected[COUNTS]]
    if options.deduplicate:
        pairs |= "First of equal ones" >> beam.CombinePerKey(first)
    judged = pairs | "Languages" >> beam.ParDo(Languages(options, source, target)).with_outputs(COUNTS, main="pairs")
    counts.append(judged[COUNTS])
    totals = counts | "Counts" >> beam.Flatten() | "Totals" >> beam.CombinePerKey(sum)
    sizes = totals | "Sizes" >> beam.Filter(lambda item: isinstance(item[0][2], int))
    written = (
        [judged["pairs"], inspected[WHOLE]]
        | "Rows" >> beam.Flatten()
        | "Shard of each" >> beam.Map(shard_key, shard_pairs)
        | "Shards" >> beam.GroupByKey()
        | "Write"
        >> beam.FlatMap(write_shard, beam.pvalue.AsDict(sizes), output, source, target).with_outputs(
            DOCUMENTS, main="shards"
        )
    )
    documents = written[DOCUMENTS] | "Stretches" >> beam.GroupByKey() | "In several" >> beam.FlatMap(in_several)
    by_corpus = totals | "Corpus of each" >> beam.Map(lambda item: (item[0][0], item))
    (
        {"counts": by_corpus, "shards": written["shards"], "documents": documents}
        | "Corpora" >> beam.CoGroupByKey()
        | "Report" >> beam.FlatMap(write_report, output, options, source, target, [part.reader.name for part in parts])
    )


def _run(options: PipelineOptions, build, runner: str) -> None:
    try:
        with _quiet(options) if runner == "DirectRunner" else contextlib.nullcontext():
            pipeline = beam.Pipeline(options=options)
            build(pipeline)
            pipeline.run().wait_until_finish()
    except UserError as error:
        raise UserError(re.sub(r" \[while running .*", "", str(error), flags=re.DOTALL)) from error
    except ImportError as error:
        raise UserError(f"{runner} cannot be used: {_message(error)}") from error
    except Exception as error:
        if found := _IN_USER_CODE.search(str(error)):
            raise UserError(found[1]) from error
        if runner == "DirectRunner" and not isinstance(error, BeamIOError | ValueError):
            raise
        raise UserError(f"the pipeline on {runner} failed: {_message(error)}") from error


@contextlib.contextmanager
def _quiet(options: PipelineOptions):
    """Discards what workers on this machine log; their errors are raised here anyway."""
    if options.get_all_options(drop_default=True).get("default_sdk_harness_log_level"):
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    logging.disable(logging.CRITICAL)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        logging.disable(logging.NOTSET)


def _beam_options(runner: str, given) -> PipelineOptions:
    """Beam's options; unknown ones, which Beam would ignore, are an error."""
    if runner not in RUNNERS:
        raise UserError(f"--runner {runner}: expected one of {', '.join(RUNNERS)}")
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for kind in PipelineOptions.__subclasses__():
        with contextlib.suppress(argparse.ArgumentError):  # declared twice
            kind._add_argparse_args(parser)
    known = {flag.removeprefix("--") for flag in parser._option_string_actions}
    flags = []
    for entry in given:
        key, equals, value = entry.removeprefix("--").partition("=")
        if key == "runner":
            raise UserError("--pipeline-option runner: use --runner instead")
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UserError(f"--pipeline-option {entry}: Apache Beam has no option {key!r}{hint}")
        flags.append(f"--{key}{equals}{value}")
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            options = PipelineOptions([*_defaults(runner, flags), *flags, f"--runner={RUNNERS[runner]}"])
            options.get_all_options()
    except SystemExit:
        message = complaint.getvalue().strip().rpartition("error: ")[2]
        raise UserError(f"--pipeline-option: {message}") from None
    return options


def _defaults(runner: str, flags: list[str]) -> list[str]:
    """Options for work on this machine: a process for each core, if there are several."""
    if runner != "DirectRunner" or any(flag.startswith("--direct_") for flag in flags) or cores() == 1:
        return []
    return ["--direct_running_mode=multi_processing", f"--direct_num_workers={cores()}"]


def _check_remote(parts: list[Part], output: str) -> None:
    """Workers of Dataflow do not see the files of this machine."""
    for path in [output, *(path for part in parts for path in part.reader.local_paths())]:
        if is_local(path):
            raise UserError(f"{path}: Dataflow's workers cannot see it; copy it to, or write to, a gs:// address")


def _check_free(output: str) -> None:
    try:
        taken = (
            os.path.lexists(output)
            if is_local(output)
            else any(found.metadata_list for found in FileSystems.match([FileSystems.join(output, "**")], [1]))
        )
    except (BeamIOError, ValueError, ImportError) as error:
        raise UserError(f"{output}: cannot be accessed ({_message(error)})") from error
    if taken:
        raise UserError(f"{output}: exists already; choose another folder, or remove it first")


@contextlib.contextmanager
def _place(output: str):
    """The folder to write into; a local one gets its name at the end of the block, or is removed after an error."""
    if not is_local(output):
        yield output
        return
    with new_folder(output) as partial:
        yield str(partial)


def _read_json(path: str) -> dict:
    with FileSystems.open(path, compression_type="uncompressed") as file:
        return json.loads(file.read())


def _message(error: BaseException) -> str:
    """The message of an error on one line, cut short if it is long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]} ..."
