"""The command line, and the one place where errors become messages."""

import argparse
import errno
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

from app import __version__
from app.cli import (
    average,
    compare,
    corpora,
    evaluate,
    evaluate_documents,
    export,
    generate,
    import_model,
    plot,
    presets,
    probe,
    repeat,
    scoreboard,
    serve,
    train,
    translate,
    tune,
)
from app.cli.options import add_actions
from app.training.signals import Terminated, sigterm_raises
from data.errors import UserError

COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "evaluate-documents": evaluate_documents,
    "translate": translate,
    "generate": generate,
    "serve": serve,
    "export": export,
    "import": import_model,
    "tune": tune,
    "average": average,
    "compare": compare,
    "scoreboard": scoreboard,
    "repeat": repeat,
    "probe": probe,
    "plot": plot,
    "presets": presets,
    "corpora": corpora,
}
ERROR, INTERRUPTED, PIPE_CLOSED, TERMINATED = 2, 130, 141, 143

DESCRIPTION = "Trains translation models from English to German, scores them, and translates with them."
EXAMPLES = """
  weitblick train starter                      a small model within 20 minutes on 2 cores
  weitblick evaluate runs/starter              BLEU, chrF2++ and TER of its test split
  echo "Save the file." | weitblick translate runs/starter
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the examples as they are written, and the option column narrow."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=24, width=_columns())


def _columns() -> int:
    return min(100, shutil.get_terminal_size().columns)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `run` to its function."""
    parser = _parser(argparse.ArgumentParser, EXAMPLES, prog="weitblick", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"weitblick {__version__}")
    helps = {name: module.HELP for name, module in COMMANDS.items()}
    commands = add_actions(parser, "command", helps)
    for name, module in COMMANDS.items():
        text = "\n\n".join(textwrap.fill(part, _columns()) for part in module.__doc__.split("\n\n"))
        command = _parser(commands.add_parser, module.EXAMPLES, name, description=text)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: what follows the program's name; `sys.argv[1:]` by default.

    Returns:
        The exit code: 0; 1 for a result that was not repeated; 2 for an error that was printed; 130 after Ctrl-C, or
        after a training run stopped on Ctrl-C or SIGTERM and wrote a checkpoint; 143 after SIGTERM; 141 if the reader
        of the output closed the pipe.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _prepare_streams()
    args = build_parser().parse_args(arguments)
    try:
        with sigterm_raises():
            code = args.run(args)
            sys.stdout.flush()
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # Python would flush again at exit and fail, because nobody reads the output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:
        return _fail(_explain(error))
    except KeyboardInterrupt as error:
        print(f"\ninterrupted; {str(error) or COMMANDS[args.command].AFTER_INTERRUPT}", file=sys.stderr)
        return TERMINATED if isinstance(error, Terminated) else INTERRUPTED
    except Exception as error:
        if not (message := _explain_exhausted(error)):
            raise
        return _fail(message)
    return code or 0


def _prepare_streams() -> None:
    """Makes both output streams UTF-8 whatever the locale; output to a closed stream is discarded.

    The descriptor of a closed stream is reserved at once. Otherwise the next file to be opened would get it, and what
    libraries print to standard error would end up in that file.
    """
    for descriptor, flags in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (stays open to the end)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    sys.stdout.reconfigure(encoding="utf-8")
    sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")


def _parser(make, examples: str, *args, **kwargs) -> argparse.ArgumentParser:
    return make(*args, epilog=f"examples:\n{examples.strip(chr(10))}", formatter_class=_Formatter, **kwargs)


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return ERROR


def _explain(error: OSError) -> str:
    """What went wrong with a file or with the system, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}the disk is full; free some space and run the same command again, nothing is left half-written"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where}{error.strerror}; choose another place, or change its permissions"
    return f"{where}{error.strerror or error}"


def _explain_exhausted(error: Exception) -> str | None:
    """What to do when Python or TensorFlow ran out of memory or could not write a file; None for any other error."""
    if isinstance(error, MemoryError):
        return _out_of_memory(str(error))
    # OpError exists only once TensorFlow is loaded, and only TensorFlow raises it.
    tensorflow = sys.modules.get("tensorflow")
    if not tensorflow or not isinstance(error, tensorflow.errors.OpError):
        return None
    # TensorFlow gives the system's error only as text: "PATH; File too large".
    where, _, reason = error.message.rpartition("; ")
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EROFS):
        if reason == os.strerror(number):
            return _explain(OSError(number, reason, where))
    if isinstance(error, tensorflow.errors.ResourceExhaustedError):
        return _out_of_memory(error.message.partition("\n")[0])
    return None


def _out_of_memory(found: str) -> str:
    what = f" ({found})" if found else ""
    return f"not enough memory{what}; use a smaller model, fewer tokens in a batch, or a larger machine"
