"""A user's own images, from the command line to predictions."""

import contextlib
import io
import json
import pathlib
import shutil
import subprocess
import sys

import data
import evaluate
import export
import fit
import keras
import numpy as np
import pytest
import run_directory
import small_network
from config import RunConfig
from data import load_dataset
from helpers import HAS_EXPORT
from helpers import needs_export
from own_images import class_folder
from own_images import npz
from own_images import save

PREDICT = pathlib.Path(__file__).parents[1] / "saved_models" / "predict.py"


@pytest.fixture
def folder(tmp_path):
    return class_folder(tmp_path / "cells")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/cells"], "cells, which does not exist. Expected a folder"),
        (["cells.npz"], "cells.npz, which does not exist"),
        (["./a.txt"], "a.txt, which is neither"),
        (["cels"], "--dataset cels. Choose from: textures"),
        (["cels"], "or give the path of a folder"),
        (["a.npz", "--size", "64"], "--size 64. Choose from: 8."),
        (["a.npz", "--model", "resnet3d18"], "which has 2 spatial axes"),
        (["photos", "--size", "50"], "--size 50. Choose from: 28, 32"),
        (["photos"], "photos, which holds no readable image"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_settings_are_one_line(arguments, message, tmp_path, monkeypatch):
    pytest.importorskip("medmnist.info")
    monkeypatch.chdir(tmp_path)
    npz(tmp_path / "a.npz")
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "photos").mkdir()
    with pytest.raises(SystemExit) as error:
        fit.main(["--dataset", *arguments])
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "saved_models").exists()


def test_known_names_come_before_folders(tmp_path, monkeypatch):
    pytest.importorskip("medmnist.info")
    monkeypatch.chdir(tmp_path)
    for name in ("breastmnist", "textures", "mine"):
        (tmp_path / name).mkdir()
    assert not data.is_path("breastmnist") and not data.is_path("textures")
    assert data.is_path("mine") and data.is_path("./breastmnist")
    assert RunConfig(dataset="mine").dataset == str(tmp_path / "mine")
    assert data.short_name("mine/") == data.short_name("a/mine.npz") == "mine"


def test_a_folder_has_the_size_asked_for(folder):
    settings = RunConfig(dataset=str(folder))
    assert settings.resolve().size == 64
    assert RunConfig(dataset=str(folder), size=28).resolve().size == 28
    assert load_dataset(str(folder), size=28).image_shape == (28, 28, 1)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A network trained on twelve images, and what `fit.py` printed."""
    root = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    for name in ("dark", "light"):
        for i in range(6):
            shape = (32, 21 if i == 0 else 32)  # one of them is padded
            values = rng.integers(0, 128, shape) + 127 * (name == "light")
            save(root / "photos" / name / f"{i}.png", values.astype("uint8"))
    settings = "--epochs 1 --size 28 --batch-size 4 --recipe quick"
    settings += " --model resnet18"  # no twin
    printed = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(root),
        contextlib.redirect_stdout(printed),
    ):
        patch.setattr("fit.model_of", small_network.model_of)
        fit.main(["--dataset", "photos", *settings.split()])
    return root / "saved_models" / "photos_resnet18", printed.getvalue()


def test_a_run_is_named_by_the_end_of_its_path(finished_run):
    run, printed = finished_run
    assert "all images" in printed and "Files: 12 L" in printed
    config, metrics = (
        json.loads((run / name).read_text())
        for name in ("config.json", "metrics.json")
    )
    assert config["dataset"] == str(run.parents[1] / "photos")
    assert config["num_images"] == {"train": 8, "val": 2, "test": 2}
    assert config["classes"] == ["dark", "light"]
    assert config["dataset_licence"] is None
    assert metrics["dataset"] == "photos"
    assert "masked" in metrics and "medmnist_evaluator" not in metrics


def test_a_run_leaves_a_file_for_devices(finished_run):
    run, printed = finished_run
    if not HAS_EXPORT:
        assert "no model.tflite. export needs " in printed
        return
    described = json.loads((run / "model.json").read_text())
    assert described["labels"] == ["dark", "light"]
    assert described["difference"] < 1e-5
    assert described["bytes"] == (run / "model.tflite").stat().st_size
    assert f"For devices: saved_models/{run.name}/model.tflite" in printed


def test_a_run_is_evaluated_from_anywhere(finished_run, capsys):
    run, _ = finished_run
    evaluate.main([str(run), "--angles", "0", "45"])
    metrics = json.loads((run / "metrics.json").read_text())
    shown = f"{100 * metrics['upright']['accuracy']:.1f} %"
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize("script", [evaluate, export])
def test_data_that_have_changed_are_not_those_of_the_run(
    finished_run, script, tmp_path
):
    run, _ = finished_run
    moved = shutil.copytree(run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    photos = shutil.copytree(config["dataset"], tmp_path / "photos")
    config["dataset"] = str(photos)
    (moved / "config.json").write_text(json.dumps(config))
    evaluate.main([str(moved), "--angles", "0"])  # as they were, elsewhere
    shutil.copytree(photos / "dark", photos / "bright")
    with pytest.raises(SystemExit, match="photos has MD5 .* or train anew"):
        script.main([str(moved)])


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_a_run_on_changed_data_is_another_run(kind, tmp_path):
    path = tmp_path / "cells"
    if kind == "npz":
        path = npz(tmp_path / "cells.npz")
    else:
        class_folder(path)
    before = RunConfig(str(path)).settings()
    assert RunConfig(str(path)).settings() == before
    assert before["dataset_md5"] == load_dataset(str(path)).md5
    if kind == "npz":
        npz(path, counts=(12, 4, 4))
    else:
        save(path / "round" / "new.png", np.zeros((8, 8), "uint8"))
    with run_directory.complete_directory(tmp_path / "run", before) as folder:
        run_directory.write_json(folder / "config.json", before)
        run_directory.write_json(folder / "metrics.json", {})
    now = RunConfig(str(path)).settings()
    assert run_directory.finished_results(tmp_path / "run", before) == [{}]
    assert run_directory.finished_results(tmp_path / "run", now) is None


@needs_export
def test_files_beside_one_another_keep_their_descriptions(
    finished_run, tmp_path
):
    run, _ = finished_run
    folder = shutil.copytree(run, tmp_path / "run")
    described = (folder / "model.json").read_text()
    found = export.run(folder, "onnx", score=False)
    assert (folder / "model.json").read_text() == described
    beside = json.loads((folder / "model.onnx.json").read_text())
    assert beside["sha256"] == found["sha256"] and beside["format"] == "onnx"
    with pytest.raises(ValueError, match="place of .*model.json, which is of"):
        export.run(folder, "saved_model", output=folder / "model")
    assert (folder / "model.json").read_text() == described
    config = (folder / "config.json").read_text()
    with pytest.raises(ValueError, match="place of .*config.json, which is of"):
        export.run(folder, "litert", output=folder / "config.tflite")
    assert (folder / "config.json").read_text() == config
    assert not (folder / "config.tflite").exists()


@needs_export
def test_predictions_are_those_of_the_network(finished_run):
    run, _ = finished_run
    photos = run.parents[1] / "photos"
    model = export.run(run, "litert")
    assert model["dataset"] == "photos"
    assert model["labels"] == ["dark", "light"]
    assert model["normalisation"] == {"scale": 1 / 127.5, "offset": -1}
    files = sorted(photos.glob("*/*.png"))
    arguments = [sys.executable, PREDICT, run / "model.tflite", *files]
    found = subprocess.run(
        [*arguments, "--json"], capture_output=True, text=True, check=True
    )
    network = keras.models.load_model(run / "model.keras")
    splits = load_dataset(str(photos), size=28).splits.values()
    ours = [evaluate.predict(network, images) for images, _ in splits]
    theirs = [
        result["probabilities"]["dark"] for result in json.loads(found.stdout)
    ]
    np.testing.assert_allclose(
        sorted(theirs), sorted(np.concatenate(ours)[:, 0]), atol=1e-4
    )
