"""Pictures of a run: they are drawn, whole, and say what is missing."""

import json

import numpy as np
import pictures
import pytest
from models import build_model
from PIL import Image


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory of two networks that have learnt nothing."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "plain").mkdir()
    config = {"dataset": "textures", "root": None, "size": 32}
    (folder / "config.json").write_text(json.dumps(config))
    for name, place in (("sre_resnet18", "."), ("resnet18", "plain")):
        model = build_model(name, (32, 32, 1), 6, 2)
        model.save(folder / place / "model.keras")
    return folder


def test_pictures_are_drawn(run, capsys):
    pictures.main([str(run), "--image", "7"])
    plots = run / "plots"
    assert {path.name for path in plots.iterdir()} == {
        "turning.png",
        "turning.gif",
        "feature_maps.png",
    }
    printed = capsys.readouterr().out.split()
    assert sorted(printed) == sorted(map(str, plots.iterdir()))
    with Image.open(plots / "turning.gif") as movie:
        assert movie.n_frames == len(pictures.MOVIE_ANGLES) == 36
    for name in ("turning.png", "feature_maps.png"):
        with Image.open(plots / name) as image:
            pixels = np.asarray(image.convert("L"))
        assert pixels.std() > 10  # something is on it


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
    with pytest.raises(SystemExit, match="--image 480. The test split has 480"):
        pictures.main([str(run), "--image", "480"])
