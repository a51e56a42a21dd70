"""Chains of steps and their way back, for any backend."""

from collections.abc import Callable

import numpy as np
from keras import ops

from models.reversible import BDIA, Coupling, Euler, Rule, on_grid


def chained(rule_of: Callable[[int, np.random.Generator], Rule], steps: int = 12) -> tuple[list, list]:
    """The states of a chain, and those that are found again from its end."""
    random, kernels = np.random.default_rng(4), []
    previous = current = on_grid(ops.convert_to_tensor(random.normal(size=(4, 5, 9)).astype("float32")))
    states, kept, rules = [previous, current], [], []
    for number in range(steps):
        kernels.append(ops.cast(random.normal(size=(9, 9)) / 3, "bfloat16"))
        rules.append(rule_of(number, random))
        change = ops.tanh(ops.matmul(ops.cast(states[-1], "bfloat16"), kernels[-1]))
        following, aside = rules[-1].ahead(*states[-2:], change)
        states.append(following)
        kept.append(aside)
    found = states[-2:]
    for rule, kernel, aside in reversed(list(zip(rules, kernels, kept, strict=True))):
        change = ops.tanh(ops.matmul(ops.cast(found[0], "bfloat16"), kernel))
        found = [rule.back(found[1], found[0], change, aside), *found]
    return states, found


def bdia_rule(number: int, random: np.random.Generator) -> Rule:
    """Euler's step first, then BDIA's with a random gamma for each row."""
    gamma = random.choice([-0.5, 0.5], (4, 1, 1)).astype("float32")
    return BDIA(ops.convert_to_tensor(gamma)) if number else Euler()


def coupling_rule(number: int, random: np.random.Generator) -> Rule:
    """That of reversible layers."""
    return Coupling()
