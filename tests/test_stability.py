"""Long training: memory, precision, exactness, repeatability.

There are 1,000 steps, or as many as `KERAS_SRE_STEPS` says:

    KERAS_SRE_STEPS=10000 python -m pytest tests/test_stability.py
"""

import os
import pathlib
import re

import keras
import numpy as np
import pytest
from helpers import assert_equivariant
from helpers import equivariance_error
from small_network import assert_same
from small_network import classifier
from small_network import images
from small_network import train

NUM_STEPS = int(os.environ.get("KERAS_SRE_STEPS", 1000))
NOISE_MIB = 2  # by which a process may grow and shrink


def test_runs_of_one_seed_are_the_same_bit_for_bit(rng):
    x, labels = images(rng)

    def run(seed):
        keras.utils.set_random_seed(seed)
        model = classifier()
        return train(model, x, labels, epochs=3), model.get_weights()

    losses, weights = run(1)
    same_losses, same_weights = run(1)
    assert same_losses == losses
    for one, other in zip(weights, same_weights, strict=True):
        assert_same(one, other)
    other_losses, _ = run(2)
    assert other_losses != losses


@pytest.fixture(scope="module")
def trained():
    """A network in full precision: its data, start, end and losses."""
    data = images(np.random.default_rng(1), 32)
    keras.utils.set_random_seed(2)
    model = classifier()
    start = model.get_weights()
    keras.utils.set_random_seed(1)
    losses = train(model, *data, epochs=20)
    assert losses[-1] < 0.9 * losses[0]
    return data, start, model, losses


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_training_in_half_precision_does_not_drift(policy, trained):
    data, start, model, losses = trained
    half = classifier(policy)
    half.set_weights(start)
    keras.utils.set_random_seed(1)
    half_losses = train(half, *data, epochs=20)
    np.testing.assert_allclose(half_losses, losses, atol=0.01 * losses[0])
    for begin, exact, other in zip(
        start, model.get_weights(), half.get_weights(), strict=True
    ):
        moved = np.linalg.norm(exact - begin)
        assert np.linalg.norm(other - exact) < 0.05 * moved


def test_networks_are_as_exact_after_training(trained):
    (x, _), start, model, _ = trained
    assert_equivariant(model, x, 2, invariant=True)
    fresh = classifier()
    fresh.set_weights(start)
    assert_equivariant(fresh, x, 2, invariant=True)


def test_plain_networks_are_not(rng):
    x, _ = images(rng)
    plain = classifier(convolution=keras.layers.Conv2D)
    assert equivariance_error(plain, x, 2, invariant=True)[0] > 1e-2


def memory():
    """Returns this process' resident memory in MiB."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) / 1024


@pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="memory as Linux counts it"
)
def test_memory_stays_flat_over_many_steps():
    """And the network as exact."""
    x, labels = images(np.random.default_rng(1), 32)
    model = classifier()
    train(model, x, labels, epochs=2)
    found = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            found.append(memory())

    epochs = 10
    repeated = np.arange(8 * NUM_STEPS // epochs) % len(x)
    model.fit(
        x[repeated],
        labels[repeated],
        batch_size=8,
        epochs=epochs,
        verbose=0,
        callbacks=[Watch()],
    )
    first, last = np.median(found[2:5]), np.median(found[-3:])
    assert last - first < NOISE_MIB, found
    assert_equivariant(model, x, 2, invariant=True)
