"""How fast this machine multiplies large square matrices, in the precisions that training uses."""

import os
import time

from app.bench.contestants.protocol import Channel

REPEATS = 7


def main() -> None:
    """Reports the best rate, in GFLOP/s, of TensorFlow's product of two square matrices for each precision."""
    channel = Channel()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    size, rates = channel.spec["size"], {}
    for precision in ("float32", "bfloat16"):
        left, right = (tf.cast(tf.random.normal((size, size)), precision) for _ in range(2))
        product = tf.function(lambda a, b: tf.reduce_max(tf.matmul(a, b)))
        seconds = []
        for _ in range(REPEATS):
            begin = time.perf_counter()
            product(left, right).numpy()
            seconds.append(time.perf_counter() - begin)
        rates[precision] = 2 * size**3 / min(seconds) / 1e9
    channel.send(gflops=rates, size=size)


if __name__ == "__main__":
    main()
