"""Series that do not drift, however they look: what a verdict on drift has to leave alone."""

import numpy as np

DAY = 2880  # samples of 30 s


def autoregressive(rho, samples, series, seed):
    """AR(1) of variance 1: (samples, series)."""
    rng = np.random.default_rng(seed)
    out = rng.normal(size=(samples, series))
    out[1:] *= np.sqrt(1 - rho**2)
    for row in range(1, samples):
        out[row] += rho * out[row - 1]
    return out.astype(np.float32)


def with_rhythm(values, height, seed):
    """The same with a wave of a day on top, every series at a time of its own."""
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, values.shape[1])
    return (values + height * np.sin(2 * np.pi * np.arange(len(values))[:, None] / DAY + phase)).astype(np.float32)


def hours(samples):
    """The hour of the day (samples,) of each sample."""
    return np.arange(samples) * 24 // DAY % 24
