"""Evaluation: every pose is tested, exactness saves some of the work."""

import json

import evaluate
import keras
import numpy as np
import pytest
import report
from helpers import write_run
from tasks import Task

from keras_sre import SREConv2D
from keras_sre import transforms


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (30, 9, 9, 1), "uint8")
    volumes = rng.integers(0, 256, (6, 6, 6, 6, 1), "uint8")
    return images, volumes


def _sensitive_model(shape):
    """A network that notices every turn."""
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )


def _invariant_model(shape):
    return keras.Sequential(
        [
            keras.Input(shape),
            SREConv2D(8, 3, padding="same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )


def _prediction(model, images):
    return keras.ops.convert_to_numpy(model(images / 127.5 - 1))


def test_predictions_do_not_depend_on_the_batches(sets, monkeypatch):
    images, _ = sets
    model = _sensitive_model((9, 9, 1))
    monkeypatch.setattr(evaluate, "BATCH_PIXELS", 7 * 81)
    found = evaluate.predict(model, images)
    expected = _prediction(model, images.astype("float32"))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("make", [_sensitive_model, _invariant_model])
@pytest.mark.parametrize("masked", [False, True])
def test_every_angle_is_what_its_images_give(sets, make, masked, rng):
    images, _ = sets
    labels = rng.integers(0, 3, len(images))
    model = make((9, 9, 1))
    results = evaluate.evaluate(
        model, images, labels, Task(), masked=masked, progress=False
    )
    per_angle = results["rotated"]["per_angle"]
    assert list(per_angle) == [str(angle) for angle in range(0, 361, 10)]
    scaled = images.astype("float32") / 127.5 - 1
    for angle in (0, 20, 110, 290, 360):
        turned = transforms.rotate(scaled, angle)
        if masked:
            turned = transforms.mask_ball(turned)
        scores = keras.ops.convert_to_numpy(model(turned, training=False))
        assert per_angle[str(angle)] == Task().accuracy(labels, scores)
    values = list(per_angle.values())
    assert results["rotated"]["min_accuracy"] == min(values)
    assert results["rotated"]["mean_accuracy"] == pytest.approx(np.mean(values))
    assert set(results["flipped"]["per_flip"]) == {"vertical", "horizontal"}


def test_exactness_saves_three_quarters_of_the_angles(sets, monkeypatch, rng):
    images, _ = sets
    labels = rng.integers(0, 3, len(images))
    calls = []
    predict = evaluate.predict

    def counted(*arguments):
        calls.append(1)
        return predict(*arguments)

    monkeypatch.setattr(evaluate, "predict", counted)
    counts = []
    for make in (_sensitive_model, _invariant_model):
        calls.clear()
        evaluate.evaluate(
            make((9, 9, 1)), images, labels, Task(), progress=False
        )
        counts.append(len(calls))
    # Upright, 1 to look for exactness, 35 or 8 more angles, 2 flips.
    assert counts == [39, 12]


def test_volumes_turn_about_three_axes(sets, rng):
    _, volumes = sets
    labels = rng.integers(0, 3, len(volumes))
    model = _sensitive_model((6, 6, 6, 1))
    results = evaluate.evaluate(model, volumes, labels, Task(), progress=False)
    keys = [f"{axis}{angle}" for axis in "xyz" for angle in range(0, 361, 30)]
    assert list(results["rotated"]["per_angle"]) == keys
    scaled = volumes.astype("float32") / 127.5 - 1
    scores = model(transforms.rotate(scaled, 60, axis="y"))
    expected = Task().accuracy(labels, keras.ops.convert_to_numpy(scores))
    assert results["rotated"]["per_angle"]["y60"] == expected
    assert set(results["flipped"]["per_flip"]) == {
        "depth",
        "vertical",
        "horizontal",
    }


def test_labels_of_several_are_scored_one_by_one(sets, rng):
    images, _ = sets
    labels = rng.integers(0, 2, (len(images), 3))
    model = _sensitive_model((9, 9, 1))
    task = Task("multi-label, binary-class")
    results = evaluate.evaluate(model, images, labels, task, progress=False)
    scores = evaluate.predict(model, images)
    expected = np.mean((scores > 0.5) == labels)
    assert results["upright"]["accuracy"] == pytest.approx(expected)


def test_a_twin_without_its_network_is_left_out(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    scores = {"flipped": {"mean_accuracy": 0.5}, "model": "x", "params": 1}
    metrics = json.loads((run / "metrics.json").read_text())
    metrics |= scores | {"seconds_per_epoch": 1.0}
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "plain").mkdir()
    (run / "plain" / "metrics.json").write_text("{}")
    evaluate.main([str(run), "--angles", "0"])
    assert "upright" in capsys.readouterr().out


def test_titles_are_not_markup(capsys):
    report.print_rows(["parameters"], [["[b] x"]], "cells [v2]")
    printed = capsys.readouterr().out
    assert "cells [v2]" in printed and "[b] x" in printed


@pytest.mark.parametrize("missing", ["config.json", "metrics.json"])
def test_a_folder_that_is_no_run_is_one_line(tmp_path, missing):
    for name in {"config.json", "metrics.json"} - {missing}:
        (tmp_path / name).write_text("{}")
    with pytest.raises(SystemExit, match=f"no run directory.*{missing}"):
        evaluate.main([str(tmp_path)])
