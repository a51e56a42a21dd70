"""Adam as a single TensorFlow operation for each variable."""

from collections.abc import Iterable
from typing import Any

import keras

from app.runs.keras_private import accumulated_gradients, count_batch, moments, variable_index


@keras.saving.register_keras_serializable(package="weitblick")
class FusedAdam(keras.optimizers.Adam):
    """`keras.optimizers.Adam`, with the same arguments, state and results up to rounding.

    On TensorFlow, Keras makes an update of about ten operations, each of which passes over a whole variable and its
    moments; `ResourceApplyAdam` needs only one pass. Other backends fuse the operations themselves.

    With `weight_decay` it is AdamW, as in Keras.

    After `build`, `set_rate_factor(variables, factor)` scales the learning rate of some of the variables.

    References:
        Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", the formula at the end of section 2.
        Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2.
    """

    def set_rate_factor(self, variables: Iterable[Any], factor: float) -> None:
        """Multiplies the learning rate of these variables (Howard and Ruder 2018, "ULMFiT", section 3.2)."""
        self.factors = {variable_index(self, variable): factor for variable in variables}

    def gathered(self, gradients: Iterable[Any], complete: bool) -> list:
        """Accumulates the gradients of one batch on one device, for batches that several devices share.

        Keras would do this after clipping on each device, and before summing over devices.

        Args:
            gradients: a tensor for each variable, in the order of `build`.
            complete: whether the batch is the last of an update; the sums are then reset to zero.

        Returns:
            The sums on this device. For a complete update, sum them over the devices and pass them to `apply`.
        """
        if not self.gradient_accumulation_steps:
            return gradients
        sums = []
        for gradient, variable in zip(gradients, accumulated_gradients(self), strict=True):
            sums.append(gradient + variable.value)
            variable.assign(keras.ops.zeros_like(gradient) if complete else sums[-1])
        return sums

    def count(self) -> None:
        """Counts a batch that is not the last of its update."""
        count_batch(self)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = variable_index(self, variable)
        learning_rate = learning_rate * getattr(self, "factors", {}).get(index, 1.0)
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        # Keras passes TensorFlow's variable here, but keeps the moments in Keras variables.
        variable = variable.value if isinstance(variable, keras.Variable) else variable
        mean, square = moments(self, index)
        updates = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=mean.value.handle,
            v=square.value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), updates),
            beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), updates),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )
