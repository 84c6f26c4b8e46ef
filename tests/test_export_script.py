"""`training/export.py` and `saved_models/predict.py`, from a run directory."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

import export
import keras
import numpy as np
import pytest
from data import load_dataset
from helpers import needs_export
from helpers import write_run
from PIL import Image

pytestmark = needs_export

PREDICT = pathlib.Path(__file__).parents[1] / "saved_models" / "predict.py"


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory, medmnist_root):
    """A run on RetinaMNIST, of a network that was not trained."""
    folder = tmp_path_factory.mktemp("run")
    return write_run(folder, "retinamnist", medmnist_root)


@pytest.fixture(scope="module")
def exported(run_directory):
    export.main([str(run_directory), "--quantization", "int8"])
    return run_directory / "model_int8.tflite"


def predict(*arguments):
    return subprocess.run(
        [sys.executable, str(PREDICT), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd="/",
    )


def test_the_json_beside_a_file_says_what_it_is(exported):
    found = json.loads(exported.with_suffix(".json").read_text())
    assert found["dataset"] == "retinamnist"
    assert found["licence_of_data"].startswith("CC BY")
    assert len(found["labels"]) == 5
    assert found["input_shape"] == [32, 32, 3]
    assert found["bytes"] == exported.stat().st_size
    assert found["difference"] < 0.3
    assert found["constant_under_grid_symmetries"] == 1
    assert 0 <= found["upright"]["accuracy"] <= 1


def test_pixels_may_be_taken_as_they_are(run_directory, tmp_path):
    path = tmp_path / "pixels.tflite"
    found = export.run(run_directory, "litert", uint8_input=True, output=path)
    assert found["input_dtype"] == "uint8"
    assert found["difference"] < 1e-5
    model = keras.models.load_model(run_directory / "model.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), "uint8")
    Image.fromarray(pixels).save(tmp_path / "image.png")
    process = predict(path, tmp_path / "image.png", "--json")
    (result,) = json.loads(process.stdout)
    (expected,) = model.predict(pixels[None] / 127.5 - 1, verbose=0)
    probabilities = list(result["probabilities"].values())
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert result["label"] == found["labels"][expected.argmax()]


def test_predict_agrees_with_the_evaluation(exported, medmnist_root):
    path = medmnist_root / "retinamnist.npz"
    process = predict(exported, path, "--limit", 4, "--json")
    results = json.loads(process.stdout)
    dataset = load_dataset("retinamnist", medmnist_root)
    images = dataset.splits["test"][0][:4].astype("float32") / 127.5 - 1
    model = export.ExportedModel(exported, "litert", uint8_input=False)
    expected = model.predict_on_batch(images)
    found = [list(r["probabilities"].values()) for r in results]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_predict_takes_any_image_and_says_what_it_cannot(exported, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (45, 70, 4), "uint8")
    good = {
        "rgba.png": Image.fromarray(pixels),
        "grey.jpg": Image.fromarray(pixels[..., 0]),
        "palette.gif": Image.fromarray(pixels[..., 0]).convert("P"),
        "deep.png": Image.fromarray(pixels[..., 0].astype("uint16") * 200),
        "float.tiff": Image.fromarray(pixels[..., 0].astype("float32")),
        "one.png": Image.fromarray(pixels[:1, :1, :3]),
    }
    for name, image in good.items():
        image.save(tmp_path / name)
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").touch()
    np.savez(tmp_path / "other.npz", pixels=pixels)
    np.savez(tmp_path / "objects.npz", images=np.array([{}], dtype=object))
    np.savez(tmp_path / "floats.npz", images=np.zeros((1, 8, 8)))
    gaps = np.full((8, 8), np.nan, "float32")
    Image.fromarray(gaps).save(tmp_path / "gaps.tiff")
    bad = ("text.png", "empty.png", "other.npz", "objects.npz", "floats.npz")
    bad += ("absent.png", "gaps.tiff")
    process = predict(exported, *(tmp_path / name for name in (*good, *bad)))
    assert process.returncode == 1
    assert f"{len(good)} images" in process.stdout
    complaints = [
        line
        for line in process.stderr.splitlines()
        if line.startswith("predict.py: ")
    ]
    assert len(complaints) == len(bad)
    for name, line in zip(bad, complaints, strict=True):
        assert name in line
    assert "Traceback" not in process.stderr


def test_predict_stops_with_its_reader(exported, tmp_path):
    for i in range(40):  # more than a pipe holds back
        image = Image.fromarray(np.zeros((4, 4), "uint8"))
        image.save(tmp_path / f"{i:0200}.png")
    command = f"{sys.executable} {PREDICT} {exported} {tmp_path}/*.png"
    process = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -n 1"],
        capture_output=True,
        text=True,
    )
    assert process.stdout.count("\n") == 1
    assert process.stderr == "" or "rror" not in process.stderr


def test_predict_shows_names_of_any_bytes(exported, tmp_path):
    process = subprocess.run(
        [sys.executable, str(PREDICT), str(exported), b"/none/bad\xff.png"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
    )
    assert process.returncode == 1
    assert b"Traceback" not in process.stderr
    assert b"predict.py: /none/bad" in process.stderr


@pytest.mark.parametrize("flag", ["--threads", "--limit"])
def test_predict_counts_from_one(exported, flag):
    process = predict(exported, "image.png", flag, 0)
    assert process.stderr.endswith(f"{flag} 0; use 1 or more.\n")


def test_predict_takes_no_model_without_a_normalisation(exported, tmp_path):
    described = json.loads(exported.with_suffix(".json").read_text())
    (tmp_path / "model.tflite").write_bytes(exported.read_bytes())
    (tmp_path / "model.json").write_text(
        json.dumps(described | {"normalisation": None})
    )
    process = predict(tmp_path / "model.tflite", "image.png")
    assert process.returncode == 1
    assert "standardised one by one" in process.stderr
    textures = load_dataset("textures", size=32)
    assert export._normalisation(textures, uint8_input=False) is None


def test_predict_takes_no_other_model(exported, tmp_path):
    process = predict(tmp_path / "model.tflite", "image.png")
    assert process.returncode == 1
    assert "does not describe a model" in process.stderr
    (tmp_path / "model.json").write_bytes(
        exported.with_suffix(".json").read_bytes()
    )
    described = json.loads((tmp_path / "model.json").read_text())
    described["sha256"] = hashlib.sha256(b"no model").hexdigest()
    (tmp_path / "none.json").write_text(json.dumps(described))
    (tmp_path / "none.tflite").write_text("no model")
    process = predict(tmp_path / "none.tflite", "image.png")
    assert process.returncode == 1
    assert "is no LiteRT model" in process.stderr
    model = bytearray(exported.read_bytes())
    model[len(model) // 2] ^= 1
    for content in (b"no model", model[: len(model) // 2], model):
        (tmp_path / "model.tflite").write_bytes(content)
        process = predict(tmp_path / "model.tflite", "image.png")
        assert process.returncode == 1
        assert "is not the file that" in process.stderr
        assert "Traceback" not in process.stderr


def test_bad_runs_are_one_line(run_directory, tmp_path):
    with pytest.raises(SystemExit, match="is no run directory"):
        export.main([str(tmp_path)])
    with pytest.raises(SystemExit, match="Only LiteRT"):
        export.main(
            [
                *(str(run_directory), "--format", "onnx"),
                *("--quantization", "int8"),
            ]
        )
    with pytest.raises(SystemExit, match="no folder"):
        output = tmp_path / "none" / "model.tflite"
        export.main([str(run_directory), "--output", str(output)])
