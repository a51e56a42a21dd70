"""Adam as TensorFlow's one operation a variable."""

import keras


@keras.saving.register_keras_serializable(package="weitblick")
class FusedAdam(keras.optimizers.Adam):
    """`keras.optimizers.Adam`, with the same arguments, state and results up to rounding.

    On TensorFlow, Keras writes an update as about ten operations, each of which passes over a whole variable and its
    moments; `ResourceApplyAdam` does all in one pass. Other backends compile the operations into one themselves.

    References:
        Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", the formula at the end of section 2.
    """

    def update_step(self, gradient, variable, learning_rate):
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        # Keras gives TensorFlow's variable here and keeps its own for the moments.
        variable = variable.value if isinstance(variable, keras.Variable) else variable
        moments = self._momentums[index].value, self._velocities[index].value
        updates = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=moments[0].handle,
            v=moments[1].handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), updates),
            beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), updates),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )
