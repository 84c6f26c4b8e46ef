"""Run directories that were damaged or tampered with: one clear line."""

import json
import shutil
import zipfile

import evaluate
import export
import finished_run
import keras
import loop
import numpy as np
import pictures
import pytest
import run_directory
from helpers import to_numpy
from helpers import write_run
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

FILES = ("model.keras", "config.json", "metrics.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def line_of(module, folder):
    """Returns what a script says of a run directory before it gives up."""
    with pytest.raises(SystemExit) as stopped:
        module.main([str(folder)])
    line = str(stopped.value)
    assert "\n" not in line and len(line) < 500
    return line


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_truncated_files_are_named(run, name, keep):
    content = (run / name).read_bytes()
    length = int(keep * len(content)) if keep < 1 else keep
    (run / name).write_bytes(content[:length])
    modules = [evaluate]
    if keras.backend.backend() == "tensorflow":
        modules.append(export)
    for module in modules:
        assert f"Cannot read {run / name}: " in line_of(module, run)


@pytest.mark.parametrize(
    "content",
    ["[]", "7", "null", "[" * 100_000, '{"a": 1}', "\ud800", "\x00"],
    ids=["list", "number", "null", "deep", "other", "no text", "zero"],
)
@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
def test_other_json_is_named(run, name, content):
    (run / name).write_text(content, errors="surrogatepass")
    assert f"Cannot read {run / name}: " in line_of(evaluate, run)


def test_pictures_need_whole_networks_too(run):
    (run / "plain").mkdir()
    shutil.copy(run / "config.json", run / "plain" / "model.keras")
    (run / "model.keras").write_bytes(b"PK")
    assert f"Cannot read {run / 'model.keras'}: " in line_of(pictures, run)


@settings(max_examples=100)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_changes_nothing_or_is_noticed(whole, place, bit):
    """Some bytes of an archive, such as those of times, say nothing."""
    content = bytearray((whole / "model.keras").read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path = whole.parent / "flipped.keras"
    path.write_bytes(content)
    try:
        model = finished_run.read_network(path)
    except ValueError as error:
        assert str(error).startswith(f"Cannot read {path}: ")
        assert "\n" not in str(error)
    else:
        expected = finished_run.read_network(whole / "model.keras")
        x = np.ones((1, *expected.input_shape[1:]), "float32")
        np.testing.assert_array_equal(to_numpy(model(x)), to_numpy(expected(x)))


def test_networks_run_no_code_of_a_file(run, tmp_path):
    """Neither a function written into it, nor a pickle."""
    inputs = keras.Input((4,))
    outputs = keras.layers.Lambda(lambda x: x + 1)(inputs)
    keras.Model(inputs, outputs).save(run / "model.keras")
    assert "Lambda" in line_of(evaluate, run)
    with zipfile.ZipFile(run / "model.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = {
        "module": "os",
        "class_name": "system",
        "config": f"touch {tmp_path / 'ran'}",
        "registered_name": "system",
    }
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(run / "model.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert "Cannot read" in line_of(evaluate, run)
    assert not (tmp_path / "ran").exists()


def test_names_in_an_archive_stay_inside_it(run, tmp_path):
    with zipfile.ZipFile(run / "model.keras", "a") as archive:
        archive.writestr("../../escaped", "")
        archive.writestr("assets/../../../escaped", "")
    try:
        finished_run.read_network(run / "model.keras")
    except ValueError:
        pass
    assert not list(tmp_path.glob("**/escaped"))
    assert not (tmp_path.parent / "escaped").exists()


def test_archives_that_grow_too_large_are_not_unpacked(run):
    with zipfile.ZipFile(
        run / "model.keras", "a", zipfile.ZIP_DEFLATED
    ) as archive:
        archive.writestr("assets/zeros", bytes(10**8))
    assert "claims to hold 1000" in line_of(evaluate, run)


@pytest.mark.parametrize("part", ["weights", "progress"])
def test_damaged_progress_is_not_resumed(part, tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    epoch_end = loop.EpochEnd(tmp_path, None, (None, None), None)
    epoch_end.set_model(model)
    epoch_end.epochs = [{"val_loss": 1.0}]
    epoch_end._save()
    path = tmp_path / loop.PROGRESS
    if part == "weights":
        path = tmp_path / epoch_end.latest
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1 << 7
    path.write_bytes(content)
    again = loop.EpochEnd(tmp_path, None, (None, None), None)
    with pytest.raises(ValueError, match=path.name) as refused:
        again.resume(model)
    assert "\n" not in str(refused.value)


def test_damaged_settings_of_an_unfinished_run_are_named(tmp_path):
    partial = tmp_path / ".run.partial"
    partial.mkdir()
    (partial / "progress.json").write_text("{}")
    (partial / run_directory.SETTINGS).write_text('{"half')
    with pytest.raises(ValueError, match=f"Cannot read {partial}"):
        with run_directory.complete_directory(
            tmp_path / "run", {"a": 1}, resume=True
        ):
            pass
