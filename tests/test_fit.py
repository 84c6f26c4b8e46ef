"""The training scripts, from settings to the run directory."""

import csv
import json
import pathlib

import benchmark
import evaluate
import fit
import keras
import numpy as np
import pytest
from config import RunConfig
from data import load_dataset
from models import build_model

TINY = {"width": 2, "epochs": 2, "limit": 16, "batch_size": 8}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "textures"
    config = RunConfig(**TINY, kernel_sizes=(3, 3, 3, 3))
    return output, fit.run(config, output, progress=False)


def test_run_directory_is_complete(finished_run):
    output, results = finished_run
    for folder in (output, output / "plain"):
        names = {"model.keras", "config.json", "history.csv", "metrics.json"}
        assert names <= {path.name for path in folder.iterdir()}
    assert (output / "plots" / "accuracy_by_angle.png").stat().st_size > 10000
    assert [r["model"] for r in results] == ["sre_resnet18", "resnet18"]
    assert not list(output.glob("checkpoint*"))
    assert not list(output.parent.glob(".*"))


def test_metrics_hold_what_the_interface_promises(finished_run):
    output, results = finished_run
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics == results[0]
    assert set(metrics["upright"]) == {
        "accuracy",
        "auc",
        "f1",
        "balanced_accuracy",
    }
    angles = metrics["rotated"]["per_angle"]
    assert list(angles) == [str(angle) for angle in range(0, 361, 10)]
    assert set(metrics["flipped"]["per_flip"]) == {"vertical", "horizontal"}
    # Exactly invariant where the grid is.
    upright = metrics["upright"]["accuracy"]
    assert all(angles[a] == upright for a in ("0", "90", "180", "270"))
    assert metrics["flipped"]["mean_accuracy"] == upright


def test_saved_model_gives_the_reported_accuracy(finished_run):
    output, results = finished_run
    model = keras.models.load_model(output / "model.keras")
    images, labels = load_dataset("textures", size=32, limit=16).splits["test"]
    predicted = evaluate.predict(model, images).argmax(axis=-1)
    assert np.mean(predicted == labels) == results[0]["upright"]["accuracy"]


def test_history_has_a_row_per_epoch(finished_run):
    output, _ = finished_run
    with open(output / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"loss", "accuracy", "val_loss", "seconds"} <= set(rows[0])


def test_config_is_complete(finished_run):
    output, _ = finished_run
    config = json.loads((output / "config.json").read_text())
    assert config["kernel_sizes"] == [3, 3, 3, 3]
    assert config["size"] == 32
    assert config["versions"]["keras"] == keras.__version__
    assert len(config["classes"]) == 6


def test_an_earlier_run_is_replaced_only_by_a_complete_one(
    tmp_path, monkeypatch
):
    output = tmp_path / "run"
    output.mkdir()
    (output / "config.json").write_text("{}")

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "train_and_test", fail)
    with pytest.raises(KeyboardInterrupt):
        fit.run(RunConfig(**TINY), output, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert (output / "config.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "mnist"], "--dataset mnist. Choose from: textures"),
        (["--model", "vgg"], "--model vgg. Choose from: sre_resnet18"),
        (["--width", "0"], "--width 0. Expected 1 or more"),
        (["--epochs", "-1"], "--epochs -1. Expected 1 or more"),
        (["--size", "30"], "--size 30. Choose from: 28"),
        (["--size", "128"], "--size 128. The textures are too small"),
        (["--kernel-sizes", "3", "3"], "--kernel-sizes with 2 numbers"),
        (["--kernel-sizes", "4", "3", "3", "3"], "kernel_size=(4, 4)"),
        (["--num-rings", "9", "1", "1", "1"], "num_rings=9"),
        (["--learning-rate", "nan"], "--learning-rate nan"),
        (
            ["--dataset", "breastmnist", "--root", "no/where"],
            "no file no/where",
        ),
        (["--dataset", "chestmnist"], "several labels"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_settings_get_one_line(arguments, message, tmp_path):
    output = tmp_path / "run"
    with pytest.raises(SystemExit) as stopped:
        fit.main([*arguments, "--limit", "8", "--output", str(output)])
    text = str(stopped.value)
    assert message in text
    assert text.startswith("fit.py: ") and "\n" not in text
    assert not list(tmp_path.iterdir())


def test_output_must_not_be_something_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    for output in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(SystemExit, match="not a run directory"):
            fit.main(["--output", str(output)])
    with pytest.raises(SystemExit, match="Cannot write to --output"):
        fit.main(["--output", str(tmp_path / "thesis.txt" / "run")])
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_unknown_setting_raises():
    with pytest.raises(TypeError, match="unexpected keyword"):
        RunConfig(epoch=3)


def test_plain_twin_has_the_same_depth_and_maps():
    sre = build_model("sre_resnet18", (32, 32, 3), 10, 8)
    plain = build_model("resnet18", (32, 32, 3), 10, 8)
    for stage in range(1, 5):
        name = f"stage{stage}_block2_relu"
        assert sre.get_layer(name).output.shape == (
            plain.get_layer(name).output.shape
        )
    assert sre.count_params() < plain.count_params() / 2


def test_benchmark_times_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "LAYERS", ((3, 2, 6),))
    monkeypatch.setattr(benchmark, "BATCH", 2)
    output = tmp_path / "layers.json"
    benchmark.main(
        ["--suite", "layers", "--repeats", "1", "--output", str(output)]
    )
    report = json.loads(output.read_text())
    assert {row["what"] for row in report["layers"]} == {
        "plain 3x3",
        "auto",
        "dense",
        "depthwise",
    }
    assert all(row["step_ms"] > 0 for row in report["layers"])
    assert "plain 3x3" in capsys.readouterr().out
    assert [p.name for p in pathlib.Path(tmp_path).iterdir()] == ["layers.json"]
