"""One device, two devices and two processes: the same curve.

Devices have to exist before the backend starts, so the runs are subprocesses.
"""

import json
import os
import socket
import subprocess
import sys
import time

import distribute
import fit
import hosts
import keras
import loop
import numpy as np
import pandas as pd
import pytest
from augment import augment
from augment import lose_corners
from augment import turn_and_mirror
from helpers import names_its_backends
from helpers import needs_multi_host

SETTINGS = (
    *("--recipe", "quick", "--limit", "16", "--batch-size", "8"),
    *("--epochs", "12", "--learning-rate", "0.01", "--augment-rotation"),
)
SCRIPT = """
import json
import sys

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
import fit
import small_network

fit.model_of = small_network.model_of
fit.plots.plot_run = lambda *args: None
if __name__ == "__main__":
    for arguments in json.loads(sys.argv[1]):
        fit.main(arguments)
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Returns a function that starts `fit.py` for each list of arguments."""
    script = tmp_path_factory.mktemp("script") / "small_fit.py"
    script.write_text(SCRIPT)

    def start(backend, *arguments, flags=""):
        lists = json.dumps([[*SETTINGS, *given] for given in arguments])
        return subprocess.Popen(
            [sys.executable, str(script), lists],
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "PYTHONPATH": os.pathsep.join(
                    os.path.dirname(file) for file in (fit.__file__, __file__)
                ),
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {flags}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="module")
def runs(tmp_path_factory, start):
    """Returns a function: the runs of a backend on one and two devices."""
    found = {}

    def run(backend):
        if backend not in found:
            folder = tmp_path_factory.mktemp(backend)
            found[backend] = folder / "none", folder / "data"
            process = start(
                backend,
                *(
                    ("--output", str(path), "--distribute", path.name)
                    for path in found[backend]
                ),
                flags="--xla_force_host_platform_device_count=2",
            )
            _, errors = process.communicate(timeout=600)
            assert process.returncode == 0, errors
        return found[backend]

    return run


def _curve(folder):
    history = pd.read_csv(folder / "history.csv")
    return history[["loss", "val_loss"]].to_numpy()


def _read(path):
    return json.loads(path.read_text())


@names_its_backends
@pytest.mark.parametrize("model", ["sre_resnet18", "resnet18"])
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_have_the_curve_of_one(backend, model, runs):
    one, two = (
        folder / ("plain" if model == "resnet18" else "")
        for folder in runs(backend)
    )
    curve = _curve(one)
    np.testing.assert_allclose(_curve(two), curve, atol=1e-4)
    assert np.ptp(curve, axis=0).min() > 1e-2  # and something happens
    assert _read(one / "config.json")["num_devices"] == 1
    assert _read(two / "config.json")["num_devices"] == 2
    metrics = [_read(folder / "metrics.json") for folder in (one, two)]
    assert metrics[0]["best_epoch"] == metrics[1]["best_epoch"]
    for name in ("upright", "rotated", "flipped"):  # sharded, too
        assert metrics[0][name] == metrics[1][name], name


@names_its_backends
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_what_two_devices_trained_loads_on_one(backend, runs, rng):
    x = rng.normal(size=(3, 32, 32, 1)).astype("float32")
    one, two = (
        keras.models.load_model(folder / "model.keras")
        for folder in runs(backend)
    )
    assert not any(getattr(layer, "synchronized", 0) for layer in two.layers)
    np.testing.assert_allclose(
        two.predict_on_batch(x), one.predict_on_batch(x), atol=1e-4
    )


@names_its_backends
@needs_multi_host
def test_two_processes_one_is_lost_and_one_goes_on(tmp_path, start, runs):
    output = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone = ("--model", "sre_resnet18", "--output", str(output))
    group = ("--distribute", "multi-host", "--num-processes", "2")
    group = (*group, "--coordinator", f"127.0.0.1:{port}", "--process-id")
    chief, other = (start("jax", (*alone, *group, index)) for index in "01")
    progress = tmp_path / ".run.partial" / "progress.json"
    try:
        deadline = time.monotonic() + 300
        while not progress.exists() and chief.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        other.kill()
        _, errors = chief.communicate(timeout=100)
        other.communicate(timeout=100)  # what it started has ended, too
    finally:
        chief.kill()
        other.kill()
    assert chief.returncode == 1
    assert errors.splitlines()[-1] == hosts.LOST_MESSAGE
    assert not output.exists()
    done = _read(progress)["epochs"]
    assert 1 <= len(done) < 12
    resumed = start("jax", (*alone, "--resume"))
    _, errors = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, errors
    expected, _ = runs("jax")
    curve = _curve(output)
    kept = [[epoch["loss"], epoch["val_loss"]] for epoch in done]
    np.testing.assert_allclose(curve[: len(done)], kept, rtol=1e-12)
    np.testing.assert_allclose(curve, _curve(expected), atol=1e-4)
    best = [_read(f / "metrics.json")["best_epoch"] for f in (output, expected)]
    assert best[0] == best[1]


class TwoProcesses(distribute.OneDevice):
    """What one of two processes with two devices each sees."""

    num_devices = 4

    def __init__(self, index):
        self.index = index

    def share(self, batch_size):
        super().share(batch_size)
        half = batch_size // 2
        return slice(self.index * half, (self.index + 1) * half)


@pytest.mark.parametrize(
    "shape", [(32, 8, 8, 3), (9, 4, 4, 4, 1)], ids=["images", "volumes"]
)
def test_shares_make_up_the_batch(shape, rng):
    images = rng.integers(0, 255, shape, "uint8")
    labels = np.arange(len(images))
    chance = (augment, lose_corners, turn_and_mirror)
    whole = loop.Batches(images, labels, 8, 1, chance)
    shares = [
        loop.Batches(images, labels, 8, 1, chance, TwoProcesses(i))
        for i in range(2)
    ]
    for index in range(len(whole)):
        parts = [batches[index] for batches in shares]
        assert [len(x) for x, _ in parts] == [4, 4]
        for part, expected in zip(
            zip(*parts, strict=True), whole[index], strict=True
        ):
            np.testing.assert_array_equal(np.concatenate(part), expected)


@pytest.mark.parametrize(
    ("batch_size", "advice"), [(30, 28), (3, 4)], ids=["less", "more"]
)
def test_a_batch_that_cannot_be_shared(batch_size, advice, rng):
    images = rng.integers(0, 255, (64, 8, 8, 3), "uint8")
    with pytest.raises(
        ValueError,
        match=f"batch of {batch_size} images among 4 devices. Give "
        f"--batch-size {advice}.",
    ):
        loop.Batches(images, images, batch_size, 1, (), TwoProcesses(0))


def test_test_batches_are_filled_up():
    sizes = [TwoProcesses(0).fill_up(size) for size in (1, 4, 127, 128)]
    assert sizes == [4, 4, 128, 128]
    assert distribute.ONE_DEVICE.fill_up(127) == 127


def test_one_device_is_left_to_keras():
    assert distribute.devices_for("none") is distribute.ONE_DEVICE


@pytest.mark.parametrize(
    ("how", "backend", "advice"),
    [
        ("data", "torch", "tensorflow or jax"),
        ("multi-host", "torch", "jax"),
        ("multi-host", "tensorflow", "jax"),
    ],
)
def test_backends_that_cannot(how, backend, advice, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    message = f"--distribute {how} on the {backend} backend. Set KERAS_BACKEND="
    with pytest.raises(ValueError, match=message + advice):
        distribute.devices_for(how)
