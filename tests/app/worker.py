"""One worker of a training, as a process that can be told to be hit by a signal after some update.

python -m tests.app.worker toy.toml run --signal SIGKILL --after 11 --set updates=20
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from tests.app.toy_training import REPOSITORY, environment


def start_workers(count: int, arguments, hit=(), restart: bool = False, **variables) -> list[list[tuple[int, str]]]:
    """Trains with so many processes on this machine.

    Args:
        count: how many workers.
        arguments: those of this script.
        hit: more arguments for the last worker.
        restart: whether each worker that ends with an error is started once more, as soon as it has ended.
        variables: more of the environment.

    Returns:
        For each worker and each of its starts the exit code, and what it printed on standard error.
    """
    addresses = free_addresses(count)

    def ends(index: int) -> list[tuple[int, str]]:
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        own = {**variables, **({"TF_CONFIG": json.dumps(task)} if count > 1 else {})}
        found = [_run([*arguments, *(hit if index == count - 1 else ())], own)]
        if restart and found[0][0]:
            found.append(_run(arguments, own))
        return found

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(ends, range(count)))


def _run(arguments, variables) -> tuple[int, str]:
    command = [sys.executable, "-m", "tests.app.worker", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment(**variables), capture_output=True, text=True, timeout=900
    )
    return done.returncode, done.stderr


def free_addresses(count: int) -> list[str]:
    """Addresses of this machine at which nothing listens."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("run")
    parser.add_argument("--set", nargs="+", default=[])
    parser.add_argument("--devices", type=int, default=1, help="processor devices to make for TensorFlow")
    parser.add_argument("--signal", help="that hits this process")
    parser.add_argument("--after", type=int, help="after this update")
    args = parser.parse_args()
    from app.cli.main import main
    from app.cli.startup import load_keras

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    load_keras()
    if args.devices > 1:
        import tensorflow as tf

        parts = [tf.config.LogicalDeviceConfiguration()] * args.devices
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    if args.signal:
        _hit_after(args.after, getattr(signal, args.signal))
    return main(["train", args.preset, "--run", args.run, "--set", *args.set])


def _hit_after(update: int, number: int) -> None:
    from app.training.supervisor import Supervisor

    log = Supervisor._log

    def hit(supervisor):
        log(supervisor)
        if supervisor.journal.update == update:
            os.kill(os.getpid(), number)

    Supervisor._log = hit


if __name__ == "__main__":
    sys.exit(main())
