"""Shared fixtures: randomness, recorded outputs, real data."""

import os
import pathlib
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Most of the tests' time is XLA's: programs that run once need no polish.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true",
)

import keras
import numpy as np
import pytest
import small_network
from hypothesis import settings

# The same examples in every run: a failure is a change, not luck.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

SHARED = pathlib.Path(__file__).parents[2] / "shared"


def pytest_collection_modifyitems(config, items):
    """With KERAS_SRE_PART=2/12 keeps the tests of part 2 of 0 to 11."""
    part, parts = map(int, os.environ.get("KERAS_SRE_PART", "0/1").split("/"))
    sorted_out = [[] for _ in range(parts)]
    for item in items:
        sorted_out[zlib.crc32(item.nodeid.encode()) % parts].append(item)
    items[:] = sorted_out.pop(part)
    config.hook.pytest_deselected(items=sum(sorted_out, []))


@pytest.fixture
def rng():
    return np.random.default_rng(20250412)


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(7)


@pytest.fixture(autouse=True)
def _default_settings():
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")


@pytest.fixture
def small_networks(monkeypatch):
    """Has `fit.py` train small networks, whatever is asked for."""
    monkeypatch.setattr("fit.model_of", small_network.model_of)


@pytest.fixture(scope="session")
def golden():
    """Loads outputs recorded from the official packages, if they are here."""
    folder = pathlib.Path(os.environ.get("KERAS_SRE_GOLDEN", SHARED / "golden"))

    def load(name):
        path = folder / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"{name}.npz of the recorded outputs is not here")
        return np.load(path, allow_pickle=False)

    return load


@pytest.fixture(scope="session")
def medmnist_root():
    folder = pathlib.Path(os.environ.get("MEDMNIST_ROOT", SHARED / "medmnist"))
    if not (folder / "breastmnist.npz").is_file():
        pytest.skip("the MedMNIST files are not here")
    pytest.importorskip("medmnist.info")
    return folder
