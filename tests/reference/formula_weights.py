"""Weights that both Python and C++ (tests/language/formula_weights.h) compute, so that no random checkpoint is committed."""

import numpy as np


def _fnv1a(name: str) -> int:
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def uniform(name: str, count: int) -> np.ndarray:
    """`count` numbers in [-1, 1): the upper 24 bits of SplitMix64 (Steele et al. 2014), started at the hash of the name."""
    with np.errstate(over="ignore"):
        z = np.uint64(_fnv1a(name)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) / float(1 << 23) - 1.0).astype(np.float32)


def weight(name: str, shape) -> np.ndarray:
    """A matrix scaled to keep variance, or a vector around 1."""
    values = uniform(name, int(np.prod(shape))).reshape(shape)
    if len(shape) == 1:
        return (1.0 + 0.25 * values).astype(np.float32)
    return (values * np.float32(1.7 / np.sqrt(shape[1]))).astype(np.float32)
