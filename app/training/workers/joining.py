"""Finds the other workers and devices at the start of a training."""

import sys

from app.training.signals import stop_at_once
from app.training.workers.addresses import Addresses
from app.training.workers.cluster import Cluster
from app.training.workers.rendezvous import rendezvous
from data.errors import UserError


def join_cluster(addresses: Addresses) -> Cluster:
    """Waits for the other workers, if there are any, and takes all devices of this machine.

    Must be called before anything is computed.

    Args:
        addresses: from `find_addresses`.

    Raises:
        UserError: the backend does not support several machines, or the workers cannot be reached.
    """
    import keras

    backend, workers = keras.backend.backend(), len(addresses.workers)
    if workers > 1 and backend != "tensorflow":
        raise UserError(
            f"{workers} workers are named, but KERAS_BACKEND={backend} trains on one machine only; unset KERAS_BACKEND"
        )
    if backend == "tensorflow":
        return _on_tensorflow(addresses)
    return _on_jax() if backend == "jax" else Cluster()


def _on_jax() -> Cluster:
    import jax

    if jax.local_device_count() == 1:
        return Cluster()
    from app.training.workers.sharded import ShardedCluster

    return ShardedCluster()


def _on_tensorflow(addresses: Addresses) -> Cluster:
    import tensorflow as tf

    if len(addresses.workers) > 1:
        return _connected(addresses)
    # Listing logical devices would initialise TensorFlow and fix its settings.
    found = [
        f"{kind}:{number}"
        for kind in ("GPU", "CPU")
        for number in range(sum(_logical_devices(tf, device) for device in tf.config.list_physical_devices(kind)))
    ]
    devices = [name for name in found if name.startswith(found[0][:3])]
    if len(devices) == 1:
        return Cluster()
    from app.training.workers.mirrored import MirroredCluster

    return MirroredCluster(tf.distribute.MirroredStrategy(devices))


def _logical_devices(tf, device) -> int:
    """The number of logical devices of one physical device."""
    return len(tf.config.get_logical_device_configuration(device) or [device])


def report(line: str) -> None:
    """Shows a line to the user."""
    print(line, file=sys.stderr, flush=True)


def _connected(addresses: Addresses) -> Cluster:
    import tensorflow as tf

    from app.training.workers.mirrored import MirroredCluster

    number, count = addresses.index, len(addresses.workers)
    report(f"Worker {number} of {count} at {addresses.workers[number]}: waiting for the others ...")
    rendezvous(addresses, report)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(addresses.workers)}),
        task_type="worker",
        task_id=number,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )
    try:
        with stop_at_once():
            strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except tf.errors.OpError as error:
        raise UserError(
            f"worker {number} of {count} at {addresses.workers[number]}: cannot join the others "
            f"({error.message.splitlines()[0]}); check the addresses and that the ports are free, then start all "
            "workers again"
        ) from error
    return MirroredCluster(strategy, number, count)
