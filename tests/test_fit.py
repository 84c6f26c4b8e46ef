"""The training scripts, from settings to the run directory."""

import csv
import dataclasses
import hashlib
import json
import os
import pathlib
import sys

import data
import evaluate
import filelock
import fit
import keras
import loop
import numpy as np
import pytest
import report
import run_directory
from config import RunConfig
from data import load_dataset
from models import build_model
from recipes import Recipe

A_RUN = '{"dataset_md5": null}'
TINY = {
    "recipe": "quick",
    "width": 2,
    "epochs": 2,
    "limit": 16,
    "batch_size": 8,
}


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    """Networks are asked about as many images as there are, not about 128."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "BATCH_PIXELS", TINY["limit"] * 32**2)
        yield


# The default recipe: each order of harmonics needs a filter.
BEST = {**TINY, "recipe": "best", "width": 4, "kernel_sizes": (3, 3, 3, 3)}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """Made once, whichever processes the tests of this file are run by."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    output, results = folder / "runs" / "textures", folder / "results.json"
    with filelock.FileLock(folder / "finished_run.lock"):
        if not results.exists():
            found = fit.run(RunConfig(**BEST), output, progress=False)
            results.write_text(json.dumps(found))
    return output, json.loads(results.read_text())


def test_run_directory_is_complete(finished_run):
    output, results = finished_run
    for folder in (output, output / "plain"):
        names = {"model.keras", "config.json", "history.csv", "metrics.json"}
        assert names <= {path.name for path in folder.iterdir()}
    plots = {path.name for path in (output / "plots").iterdir()}
    assert plots == {
        "accuracy_by_angle.png",
        "curves.png",
        "confusion.png",
        "samples.png",
        "ring_kernels.png",
    }
    assert (output / "plots" / "accuracy_by_angle.png").stat().st_size > 10000
    assert [r["model"] for r in results] == ["sre_resnet18", "resnet18"]
    assert not list(output.glob("**/epoch-*"))
    assert not list(output.glob("**/progress.json"))
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
    (output / "config.json").write_text(A_RUN)

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "train_and_test", fail)
    with pytest.raises(KeyboardInterrupt):
        fit.run(RunConfig(**TINY), output, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert (output / "config.json").read_text() == A_RUN


@pytest.mark.parametrize("content", ["{}", '{"name": "my app"}', "no JSON", ""])
def test_other_folders_with_a_config_are_left_alone(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="exists and is not a run directory"):
        fit.run(RunConfig(**TINY), tmp_path, progress=False)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    for words in ("first", "second"):
        with run_directory.complete_directory(
            tmp_path / "link", _settings()
        ) as folder:
            run_directory.write_json(folder / "config.json", {"dataset_md5": 0})
            (folder / "words.txt").write_text(words)
        assert (tmp_path / "disk" / "words.txt").read_text() == words
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", "link"]
    assert (tmp_path / "link").is_symlink()


def test_numbers_that_are_none_are_null_in_json(tmp_path):
    metrics = {"auc": float("nan"), "per_angle": [np.inf, 0.5], "seed": 1}
    run_directory.write_json(tmp_path / "metrics.json", metrics)
    text = (tmp_path / "metrics.json").read_text()
    expected = {"auc": None, "per_angle": [None, 0.5], "seed": 1}
    assert json.loads(text) == expected
    found = run_directory.read_metrics(tmp_path)
    assert np.isnan([found["auc"], found["per_angle"][0]]).all()
    assert found["per_angle"][1] == 0.5 and found["seed"] == 1


def test_the_best_epoch_of_a_resumed_run_has_a_loss(tmp_path):
    epochs = [{"val_loss": np.nan}, {"val_loss": 0.5}, {"val_loss": np.inf}]
    run_directory.write_json(tmp_path / "progress.json", {"epochs": epochs})
    found = run_directory.read_figures(tmp_path / "progress.json")["epochs"]
    assert loop.best_epoch(found) == loop.best_epoch(epochs) == 2


def test_a_link_to_itself_is_one_line(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "link")
    with pytest.raises(ValueError, match="link, which leads nowhere"):
        fit.run(RunConfig(**TINY), tmp_path / "link", progress=False)


@pytest.mark.usefixtures("small_networks")
def test_nothing_is_left_of_a_twin_that_is_given_up(tmp_path, monkeypatch):
    config, output = RunConfig(**TINY), tmp_path / "run"
    train_and_test = fit.train_and_test

    def stop_at_the_twin(config, dataset, folder, *arguments):
        if folder.name == "plain":
            folder.mkdir()
            (folder / "progress.json").write_text("{}")
            raise KeyboardInterrupt
        return train_and_test(config, dataset, folder, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(fit, "train_and_test", stop_at_the_twin)
        with pytest.raises(KeyboardInterrupt):
            fit.run(config, output, progress=False)
    results = fit.run(config, output, twin=False, progress=False, resume=True)
    assert len(results) == 1 and not (output / "plain").exists()
    settings = config.resolve().settings()
    assert run_directory.finished_results(output, settings) == results


def test_a_relative_root_is_kept_as_an_absolute_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RunConfig(root="data").root == str(tmp_path / "data")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "mnist"], "--dataset mnist. Choose from: textures"),
        (["--model", "vgg"], "--model vgg. Choose from: sre_resnet18"),
        (["--width", "0"], "--width 0. Expected 1 or more"),
        (["--epochs", "-1"], "--epochs -1. Expected 1 or more"),
        (["--size", "30"], "--size 30. Choose from: 28"),
        (["--split", "train"], "--split train. Choose from: test, val"),
        (["--size", "128"], "--size 128. The textures are too small"),
        (["--kernel-sizes", "3", "3"], "--kernel-sizes with 2 numbers"),
        (["--kernel-sizes", "4", "3", "3", "3"], "kernel_size=(4, 4)"),
        (["--num-rings", "9", "1", "1", "1"], "num_rings=9"),
        (["--learning-rate", "nan"], "--learning-rate nan"),
        (["--weight-decay", "-1"], "--weight-decay -1.0"),
        (["--recipe", "b"], "--recipe b. Choose from: best, paper, quick"),
        (["--harmonics", "0"], "harmonics=(0,). Expected a tuple of distinct"),
        (["--harmonics", "4"], "order 4 for kernel_size=(3, 3)"),
        (["--harmonic-fraction", "2"], "2.0, 2.0, 2.0). Expected 0 to 1"),
        (["--harmonic-fraction", "1", "0"], "fraction with 2 numbers"),
        (
            ["--model", "resnet18", "--num-rings", "9", "1", "1", "1"],
            "--num-rings with --model resnet18, which has no rings",
        ),
        (
            ["--model", "resnet18", "--ring-profile", "hard"],
            "--ring-profile with --model resnet18, which has no rings",
        ),
        (["--seeds", "1", "2", "1"], "--seeds 1 2 1, one of them twice"),
        (["--seeds", "1", "2", "--seed", "7"], "--seed 7 and --seeds 1 2"),
        (
            ["--dataset", "adrenalmnist3d", "--model", "resnet18"],
            "adrenalmnist3d, which has 3 spatial axes",
        ),
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


def test_the_default_recipe_has_harmonics(finished_run):
    output, _ = finished_run
    written = json.loads((output / "config.json").read_text())
    assert RunConfig().recipe == "best" and written["harmonics"] == [1, 2]
    model = keras.models.load_model(output / "model.keras")
    names = [w.path for w in model.trainable_weights]
    assert sum(name.endswith("harmonic_kernel_2") for name in names) == 17


def test_recipes_train_as_long_on_small_sets():
    pytest.importorskip("medmnist.info")
    epochs = {
        name: RunConfig(dataset=name).resolve().epochs
        for name in ("breastmnist", "pneumoniamnist", "adrenalmnist3d")
    }
    # 1600 steps of 546 // 32, 4708 // 32 and 1188 // 4 batches, rounded up.
    assert epochs == {
        "breastmnist": 95,
        "pneumoniamnist": 11,
        "adrenalmnist3d": 6,
    }
    few = RunConfig(dataset="breastmnist", limit=320, batch_size=16).resolve()
    assert few.epochs == 80
    assert RunConfig(dataset="breastmnist", epochs=3).resolve().epochs == 3


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_learning_rate_falls_along_half_a_cosine(name):
    recipe = Recipe(1, 0.1, (3,) * 4, optimizer=name)
    optimizer = recipe.make_optimizer(0.1, 0.25, 100)
    assert type(optimizer).__name__.lower() == name
    assert optimizer.weight_decay == 0.25
    rates = []
    for step in (0, 50, 100):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    assert rates == pytest.approx([0.1, 0.05, 1e-6], rel=1e-3)


def test_output_must_not_be_something_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    for output in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(SystemExit, match="not a run directory"):
            fit.main(["--output", str(output)])
    with pytest.raises(SystemExit, match="Cannot write to --output"):
        fit.main(["--output", str(tmp_path / "thesis.txt" / "run")])
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.usefixtures("small_networks")
def test_a_run_stopped_while_testing_is_not_trained_again(
    tmp_path, monkeypatch
):
    config = RunConfig(**TINY, model="resnet18")
    arguments = {"twin": False, "progress": False}

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            fit.run(config, tmp_path / "run", **arguments)
    with monkeypatch.context() as patch:
        patch.setattr(loop.Batches, "start_epoch", _only_the_first)
        (result,) = fit.run(config, tmp_path / "run", resume=True, **arguments)
    assert 0 <= result["upright"]["accuracy"] <= 1
    assert not list((tmp_path / "run").glob("epoch-*"))


def _only_the_first(batches, epoch):
    assert epoch == 0, "trains again"
    batches.epoch, batches.seconds = 0, 0.0
    batches.order = np.arange(len(batches.images))


class _Stop(Exception):
    pass


@pytest.mark.parametrize("moment", [1, 2, 3, 4])
def test_progress_is_right_at_every_moment(tmp_path, monkeypatch, moment):
    """Stops between any two writes of the second epoch's end."""
    epoch_end = loop.EpochEnd(tmp_path, None, (None, None), None)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    epoch_end.set_model(model)
    epoch_end.epochs = [{"val_loss": 1.0}]
    epoch_end._save()
    steps = iter(range(1, 10))

    def step(function):
        def stopping(*args, **kwargs):
            if next(steps) == moment:
                raise _Stop
            return function(*args, **kwargs)

        return stopping

    monkeypatch.setattr(model, "save", step(model.save))
    monkeypatch.setattr(loop, "write_json", step(loop.write_json))
    unlink = step(pathlib.Path.unlink)
    monkeypatch.setattr(
        pathlib.Path, "unlink", lambda self, **options: unlink(self, **options)
    )
    epoch_end.epochs.append({"val_loss": 0.5})
    try:
        epoch_end._save()
    except _Stop:
        pass
    monkeypatch.undo()
    again = loop.EpochEnd(tmp_path, None, (None, None), None)
    done = again.resume(model)
    assert done == (1 if moment <= 2 else 2)
    assert (tmp_path / again.best).exists()


@pytest.mark.usefixtures("small_networks")
def test_diverging_loss_stops_with_a_clear_line(tmp_path):
    config = RunConfig(
        **TINY | {"limit": 64}, kernel_sizes=(3, 3, 3, 3), learning_rate=1e38
    ).resolve()
    with pytest.raises(ValueError, match="training diverged. Try a lower"):
        fit.run(config, tmp_path / "run", twin=False, progress=False)
    assert not list(tmp_path.iterdir())


def test_figures_are_sent_to_wandb(tmp_path, monkeypatch):
    """With a stand-in for the package, which has the same two calls."""
    (tmp_path / "wandb.py").write_text(
        "class Run:\n"
        "    sent, finished = [], False\n"
        "    def log(self, logs): self.sent.append(dict(logs))\n"
        "    def finish(self): self.finished = True\n"
        "run = Run()\n"
        "def init(config, **options): run.config = config; return run\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    (logger,) = loop._loggers(["wandb"], tmp_path, RunConfig())
    logger.on_epoch_end(0, {"loss": 0.5})
    logger.on_train_end({})
    run = sys.modules.pop("wandb").run
    assert run.sent == [{"loss": 0.5}] and run.finished
    assert run.config["dataset"] == "textures"


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_missing_logger_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(ValueError, match=f"pip install {name}"):
        loop._loggers([name], tmp_path, RunConfig())


def _settings(**changes):
    return RunConfig(**TINY, **changes).resolve().settings()


def _unfinished(tmp_path):
    """Leaves a run that was stopped after an epoch."""
    with pytest.raises(KeyboardInterrupt):
        with run_directory.complete_directory(
            tmp_path / "run", _settings()
        ) as folder:
            (folder / "progress.json").write_text("{}")
            raise KeyboardInterrupt
    return tmp_path / "run"


def test_unfinished_runs_are_neither_lost_nor_mixed_up(tmp_path):
    output = _unfinished(tmp_path)
    with pytest.raises(ValueError, match="Continue it with --resume"):
        with run_directory.complete_directory(output, _settings()):
            pass
    with pytest.raises(ValueError, match="its seed is 1, not 2"):
        with run_directory.complete_directory(
            output, _settings(seed=2), resume=True
        ):
            pass
    with run_directory.complete_directory(
        output, _settings(), resume=True
    ) as folder:
        assert (folder / "progress.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_stopped_at_its_very_end_can_be_resumed(tmp_path, monkeypatch):
    output = tmp_path / "run"
    output.mkdir()
    (output / "config.json").write_text(A_RUN)
    rename = pathlib.Path.rename

    def stopping(path, target):
        if path.name == ".run.partial":
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "rename", stopping)
        with pytest.raises(KeyboardInterrupt):
            with run_directory.complete_directory(
                output, _settings()
            ) as folder:
                (folder / "metrics.json").write_text("{}")
    with run_directory.complete_directory(output, _settings(), resume=True):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert [path.name for path in output.iterdir()] == ["metrics.json"]


def test_two_processes_do_not_write_one_run(tmp_path):
    with filelock.FileLock(tmp_path / ".run.lock"):
        with pytest.raises(ValueError, match="Another process is writing"):
            with run_directory.complete_directory(
                tmp_path / "run", _settings()
            ):
                pass


def test_finished_run_is_not_trained_again(finished_run, monkeypatch):
    output, results = finished_run
    monkeypatch.setattr(fit, "train_and_test", None)
    config = RunConfig(**BEST)
    assert fit.run(config, output, progress=False, resume=True) == results


@pytest.mark.usefixtures("small_networks")
def test_what_is_chosen_by_the_validation_split_sees_no_other(
    tmp_path, monkeypatch, capsys
):
    def without_test_split(*arguments):
        found = load_dataset(*arguments)
        splits = {name: found.splits[name] for name in ("train", "val")}
        return dataclasses.replace(found, splits=splits)

    monkeypatch.setattr(fit, "load_dataset", without_test_split)
    config = RunConfig(**TINY, model="resnet18", split="val")
    results = fit.run(config, tmp_path / "run", progress=False)
    report.print_results(results, "textures")
    assert "upright only; validation accuracy" in capsys.readouterr().out
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    images, labels = load_dataset("textures", size=32, limit=16).splits["val"]
    predicted = evaluate.predict(model, images).argmax(axis=-1)
    assert np.mean(predicted == labels) == results[0]["upright"]["accuracy"]
    # It is no run with scores of the test split, and those are none of it.
    finished = run_directory.finished_results
    for split, there in (("val", True), ("test", False), (None, False)):
        config = RunConfig(**TINY, model="resnet18", split=split).resolve()
        found = finished(tmp_path / "run", config.settings())
        assert (found is not None) == there


@pytest.mark.parametrize(
    ("turned", "words"), [(False, "upright only"), (True, "turned and flipped")]
)
def test_titles_say_how_images_stood(finished_run, turned, words, capsys):
    _, results = finished_run
    assert not any(result["augment_rotation"] for result in results)
    results = [result | {"augment_rotation": turned} for result in results]
    report.print_results(results, "textures")
    assert f"textures: trained {words}; test" in capsys.readouterr().out


def test_run_can_be_evaluated_again(finished_run, capsys):
    output, results = finished_run
    evaluate.main([str(output), "--angles", "0", "45"])
    table = capsys.readouterr().out
    assert "sre_resnet18" in table and "split test" in table
    assert f"{100 * results[0]['upright']['accuracy']:.1f} %" in table


def test_batches_are_repeatable_and_all_of_one_size():
    images = np.arange(21 * 4, dtype="float32").reshape(21, 2, 2, 1)
    first, second = (
        loop.Batches(images, np.arange(21), 8, seed) for seed in (1, 1)
    )
    first.start_epoch(3)
    first.start_epoch(4)
    second.start_epoch(4)
    assert len(first) == 2
    for index in range(2):
        for one, other in zip(first[index], second[index], strict=True):
            np.testing.assert_array_equal(one, other)
            assert len(one) == 8
    second.start_epoch(5)
    assert not np.array_equal(first[0][1], second[0][1])


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


@pytest.mark.usefixtures("small_networks")
def test_images_with_several_labels_are_trained_on(tmp_path, monkeypatch, rng):
    arrays = {}
    for split in data.SPLITS:
        arrays[f"{split}_images"] = rng.integers(0, 256, (24, 28, 28), "uint8")
        arrays[f"{split}_labels"] = rng.integers(0, 2, (24, 3), "uint8")
    path = tmp_path / "chestmnist.npz"
    np.savez_compressed(path, **arrays)
    info = {
        "task": "multi-label, binary-class",
        "label": {"0": "atelectasis", "1": "effusion", "2": "mass"},
        "MD5": hashlib.md5(path.read_bytes()).hexdigest(),
        "url": "http://127.0.0.1:9/chestmnist.npz",
        "license": "CC BY 4.0",
        "n_channels": 1,
    }
    monkeypatch.setattr(data, "_medmnist_info", lambda: {"chestmnist": info})
    config = RunConfig(
        dataset="chestmnist",
        root=str(tmp_path),
        model="resnet18",
        **TINY,
    )
    (result,) = fit.run(config, tmp_path / "run", twin=False, progress=False)
    assert result["upright"]["accuracy"] == pytest.approx(
        result["medmnist_evaluator"]["accuracy"]
    )
    assert result["upright"]["auc"] == pytest.approx(
        result["medmnist_evaluator"]["auc"]
    )
    assert set(result["masked"]) == {"upright", "rotated", "flipped"}
    description = json.loads((tmp_path / "run" / "config.json").read_text())
    assert description["task"] == "multi-label, binary-class"


def test_an_epoch_without_a_loss_is_not_the_best():
    losses = [float("nan"), 0.5, float("inf"), 0.4, 0.4]
    assert loop.best_epoch([{"val_loss": loss} for loss in losses]) == 4


@pytest.mark.parametrize("name", ["sre_resnet18", "resnet18"])
def test_several_labels_get_a_probability_each(name):
    model = build_model(name, (8, 8, 1), 3, 2, classifier_activation="sigmoid")
    assert model.layers[-1].activation is keras.activations.sigmoid
