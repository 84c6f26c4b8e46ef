"""Pictures of a run: they are drawn, whole, and say what is missing."""

import json
import shutil

import evaluate
import numpy as np
import pictures
import pytest
from data import load_dataset
from PIL import Image
from small_network import build_model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory of two networks that have learnt nothing."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "plain").mkdir()
    config = {"dataset": "textures", "root": None, "size": 32, "limit": 12}
    config["dataset_md5"] = None
    (folder / "config.json").write_text(json.dumps(config))
    dataset = load_dataset("textures", size=32, limit=12)
    for name, place in (("sre_resnet18", "."), ("resnet18", "plain")):
        model = build_model(name, (32, 32, 1), 6)
        model.save(folder / place / "model.keras")
        scores = evaluate.evaluate(
            model, *dataset.splits["test"], dataset.task, angles=(0, 45)
        )
        metrics = {"dataset": "textures", "model": name, "seed": 1}
        metrics |= {"params": model.count_params(), "best_epoch": 1, **scores}
        (folder / place / "metrics.json").write_text(json.dumps(metrics))
        history = "epoch,loss,accuracy,val_loss,val_accuracy\n1,2,0.1,2,0.1\n"
        (folder / place / "history.csv").write_text(history)
    return folder


def test_pictures_are_drawn(run, capsys):
    pictures.main([str(run), "--image", "7"])
    plots = run / "plots"
    assert {path.name for path in plots.iterdir()} == {
        "accuracy_by_angle.png",
        "confusion.png",
        "curves.png",
        "feature_maps.png",
        "ring_kernels.png",
        "samples.png",
        "turning.gif",
        "turning.png",
    }
    printed = capsys.readouterr().out.split()
    assert printed == sorted(map(str, plots.iterdir()))
    with Image.open(plots / "turning.gif") as movie:
        assert movie.n_frames == len(pictures.MOVIE_ANGLES) == 36
    for name in ("turning.png", "feature_maps.png"):
        with Image.open(plots / name) as image:
            pixels = np.asarray(image.convert("L"))
        assert pixels.std() > 10  # something is on it


def test_several_runs_are_compared(run, tmp_path, monkeypatch, capsys):
    runs = [tmp_path / "a", tmp_path / "b"]
    for folder in runs:
        shutil.copytree(run, folder)
        (folder / "plots").mkdir(exist_ok=True)

    monkeypatch.setattr(pictures, "draw", lambda run, image: None)
    pictures.main(list(map(str, runs)))
    assert str(tmp_path / "pareto.png") in capsys.readouterr().out
    with Image.open(tmp_path / "pareto.png") as image:
        assert np.asarray(image.convert("L")).std() > 10
    metrics = runs[1] / "metrics.json"
    content = json.loads(metrics.read_text())
    metrics.write_text(json.dumps(content | {"split": "val"}))
    with pytest.raises(SystemExit, match="test split and of the validation"):
        pictures.main(list(map(str, runs)))
    metrics.write_text(json.dumps(content))
    metrics.write_text(metrics.read_text().replace("textures", "breastmnist"))
    with pytest.raises(SystemExit, match="runs on breastmnist, textures"):
        pictures.main(list(map(str, runs)))


def test_the_first_image_that_both_get_right(monkeypatch):
    scores = {"a": [[1, 0], [1, 0], [0, 1], [0, 1]]}
    scores["b"] = [[1, 0], [0, 1], [1, 0], [0, 1]]
    monkeypatch.setattr(
        pictures.evaluate, "predict", lambda m, x: np.array(scores[m])
    )
    labels = np.array([1, 1, 0, 1])
    assert pictures._choose(["a", "b"], np.zeros(4), labels) == 3
    with pytest.raises(ValueError, match="No test image"):
        pictures._choose(["a", "b"], np.zeros(4), np.full(4, 2))


def test_what_is_missing_is_one_line(run, tmp_path):
    with pytest.raises(SystemExit, match="no .*model.keras. Train both"):
        pictures.main([str(tmp_path)])
    with pytest.raises(SystemExit, match="--image 12. The test split has 12"):
        pictures.main([str(run), "--image", "12"])
