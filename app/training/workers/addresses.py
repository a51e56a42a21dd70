"""The workers of a training, from TF_CONFIG or from the variables that Slurm sets for each task."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from data.errors import UserError

EXAMPLE = '{"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, "task": {"type": "worker", "index": 0}}'
# Chosen by job id, so that two jobs on one node use different ports.
SLURM_PORTS = range(20_000, 30_000)


@dataclass(frozen=True)
class Addresses:
    """The workers of a training, in the same order on each of them.

    `workers` are "host:port"; the first is the chief, which writes. `index` is the position of this process.
    """

    workers: tuple[str, ...] = ("",)
    index: int = 0


def find_addresses(environment: Mapping[str, str] = os.environ) -> Addresses:
    """The workers named in the environment; a single one without an address if none are named.

    Args:
        environment: read for TF_CONFIG, or else for the variables of a Slurm step with several tasks.

    Raises:
        UserError: the variables are invalid.
    """
    if environment.get("TF_CONFIG", "").strip():
        return _of_tf_config(environment["TF_CONFIG"])
    if int(environment.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
        return _of_slurm(environment)
    return Addresses()


def _of_tf_config(text: str) -> Addresses:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _wrong(f"it is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise _wrong("it is not a JSON object")
    cluster = config.get("cluster") or {}
    if not cluster:
        return Addresses()
    jobs = _jobs(cluster)
    kind, index = _task(config.get("task"), jobs)
    # The chief is worker 0, whether or not it is listed separately.
    before = len(jobs.get("chief", ())) if kind == "worker" else 0
    return Addresses((*jobs.get("chief", ()), *jobs.get("worker", ())), before + index)


def _jobs(cluster) -> dict[str, list[str]]:
    if not isinstance(cluster, dict):
        raise _wrong('"cluster" is not a JSON object')
    others = set(cluster) - {"chief", "worker"}
    if others:
        raise _wrong(f'"cluster" has {", ".join(sorted(others))}; it may have only chief and worker')
    for kind, addresses in cluster.items():
        if not isinstance(addresses, list) or not all(_is_address(address) for address in addresses):
            raise _wrong(f'"{kind}" is not a list of addresses such as "host-a:2222": {json.dumps(addresses)}')
    found = [address for addresses in cluster.values() for address in addresses]
    twice = sorted({address for address in found if found.count(address) > 1})
    if twice:
        raise _wrong(f"{twice[0]} is listed twice")
    if len(cluster.get("chief", ())) > 1:
        raise _wrong("it has more than one chief")
    return cluster


def _is_address(address) -> bool:
    return isinstance(address, str) and bool(re.fullmatch(r"\S+:\d+", address))


def _task(task, jobs: dict[str, list[str]]) -> tuple[str, int]:
    """Kind and index of this process among those of its kind."""
    if not isinstance(task, dict) or "type" not in task or "index" not in task:
        raise _wrong('"task" is missing, or has no "type" and "index", which name this worker')
    kind = task["type"]
    if not isinstance(kind, str) or kind not in jobs:
        raise _wrong(f'the task\'s type is {json.dumps(kind)}, but "cluster" has {", ".join(jobs)}')
    try:
        index = int(task["index"])
    except (TypeError, ValueError):
        index = -1
    if not 0 <= index < len(jobs[kind]):
        raise _wrong(
            f"the task's index is {json.dumps(task['index'])}, but there are {len(jobs[kind])} of {kind}, from 0"
        )
    return kind, index


def _wrong(what: str) -> UserError:
    return UserError(f"TF_CONFIG: {what}; it must look like {EXAMPLE}, or be unset for training on one machine")


def _of_slurm(environment: Mapping[str, str]) -> Addresses:
    """Tasks in Slurm's usual order, node after node.

    TensorFlow's own resolver sorts the nodes by name, so that node10 comes before node2, and asks for GPUs.
    """
    try:
        hosts = _expanded(environment["SLURM_STEP_NODELIST"])
        counts = re.findall(r"(\d+)(?:\(x(\d+)\))?(?:,|$)", environment["SLURM_STEP_TASKS_PER_NODE"])
        index, job = int(environment["SLURM_PROCID"]), int(environment["SLURM_JOB_ID"])
    except KeyError as error:
        raise UserError(f"{error.args[0]}: is not set; start each worker with srun") from error
    except ValueError as error:
        raise UserError(f"SLURM_PROCID, SLURM_JOB_ID: {error}; start each worker with srun") from error
    tasks = [int(count) for count, times in counts for _ in range(int(times or 1))]
    port = SLURM_PORTS[job % len(SLURM_PORTS)]
    workers = tuple(f"{host}:{port + n}" for host, count in zip(hosts, tasks, strict=False) for n in range(count))
    if len(workers) != int(environment["SLURM_STEP_NUM_TASKS"]) or not 0 <= index < len(workers):
        named = {name: environment[name] for name in environment if name.startswith(("SLURM_STEP_", "SLURM_PROCID"))}
        raise UserError(f"the Slurm variables do not agree: {named}; set TF_CONFIG, for example to {EXAMPLE}")
    return Addresses(workers, index)


def _expanded(nodes: str) -> list[str]:
    """The names in a list such as "node[1-3,07],login"."""
    hosts = []
    for prefix, ranges, suffix in re.findall(r"([^,\[\]]+)(?:\[([^\]]*)\])?([^,\[\]]*)(?:,|$)", nodes):
        for part in ranges.split(",") if ranges else [""]:
            first, dash, last = part.partition("-")
            numbers = range(int(first), int(last) + 1) if dash else [part]
            hosts += [f"{prefix}{str(number).zfill(len(first))}{suffix}" for number in numbers]
    return hosts
