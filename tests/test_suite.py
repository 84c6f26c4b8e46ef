"""Suites: which runs they hold, what they skip, and the table."""

import csv
import dataclasses
import json
import os

import child_process
import evaluate
import fit
import pytest
import suite
from config import RunConfig
from own_images import npz
from run_directory import finished_results

TINY = {
    "recipe": "quick",
    "width": 2,
    "epochs": 1,
    "limit": 8,
    "kernel_sizes": (3, 3, 3, 3),
}


def _result(model, seed, accuracy, dataset="breastmnist"):
    return {
        "dataset": dataset,
        "model": model,
        "params": 1234,
        "seed": seed,
        "seconds_per_epoch": 1.0,
        "upright": {"accuracy": accuracy, "auc": 0.9},
        "rotated": {
            "mean_accuracy": accuracy,
            "min_accuracy": accuracy - 0.1,
            "mean_auc": 0.8,
        },
        "flipped": {"mean_accuracy": accuracy},
    }


def test_suites_hold_all_of_medmnist():
    pytest.importorskip("medmnist.info")
    counts = {
        which: len(suite.make_configs({}, which, None, None))
        for which in suite.SUITES
    }
    assert counts == {"2d": 12, "3d": 6, "all": 18}
    configs = suite.make_configs({}, "3d", ["adrenalmnist3d"], [1, 2])
    assert [(c.dataset, c.seed) for c in configs] == [
        ("adrenalmnist3d", 1),
        ("adrenalmnist3d", 2),
    ]
    assert configs[0].model == "sre_resnet3d18"


def test_strangers_are_refused():
    pytest.importorskip("medmnist.info")
    with pytest.raises(ValueError, match="breastmnist with --suite 3d"):
        suite.make_configs({}, "3d", ["breastmnist"], None)


def test_summary_is_mean_and_deviation_over_seeds():
    results = [
        _result("sre_resnet18", 1, 0.8),
        _result("resnet18", 1, 0.7),
        _result("sre_resnet18", 2, 0.9),
    ]
    frame = suite.summarise(results)
    row = frame[frame["model"] == "sre_resnet18"].iloc[0]
    assert row["seeds"] == 2
    assert row["upright"] == pytest.approx(0.85)
    assert row["upright std"] == pytest.approx(0.05)
    assert row["rotated worst"] == pytest.approx(0.75)


def test_several_sets_are_averaged_once_all_are_there():
    results = [
        _result(model, seed, accuracy, dataset)
        for model in ("best", "plain")
        for seed in (1, 2)
        for dataset, accuracy in (("a", 0.5), ("b", 0.7 + 0.1 * seed))
    ]
    frame = suite.summarise(results)
    assert frame["data set"].tolist() == ["a", "b", "a", "b", "mean", "mean"]
    row = frame[frame["data set"] == "mean"].iloc[0]
    assert row["seeds"] == 2
    assert row["upright"] == pytest.approx((0.65 + 0.7) / 2)
    assert row["upright std"] == pytest.approx(0.025)
    assert "mean" not in set(suite.summarise(results[:-1])["data set"])


def test_comparison_differs_in_the_network_alone(tmp_path):
    config = RunConfig(**{**TINY, "recipe": "best"}, seed=3).resolve()
    ran = {}

    def run_one(config, output, twin, **kwargs):
        ran[output.name] = config
        assert not twin
        return [_result(config.model, config.seed, 0.5)]

    suite.run([config], tmp_path, run_one, compare=True)
    names = ("plain", "plain_turned", "rings", "best")
    assert list(ran) == [f"textures_{name}_seed3" for name in names]
    plain, turned, rings, best = ran.values()
    assert plain.model == turned.model == "resnet18" == best.model[4:]
    assert turned.augment_rotation and not plain.augment_rotation
    assert best.harmonics == (1, 2) and rings.harmonics == ()
    assert {c.epochs for c in ran.values()} == {1}
    with open(tmp_path / "results.csv", newline="") as file:
        assert [row["model"] for row in csv.DictReader(file)] == list(names)


def test_comparison_trains_nothing_twice():
    settings = {**TINY, "recipe": "paper", "kernel_sizes": None}
    config = RunConfig(**settings, ring_profile="hard").resolve()
    paper = suite.recipe_for("textures", "paper")
    config = dataclasses.replace(config, kernel_sizes=paper.kernel_sizes)
    assert list(suite.compared(config)) == ["plain", "plain_turned", "paper"]
    turned = dataclasses.replace(config, augment_rotation=True)
    assert list(suite.compared(turned)) == ["plain_turned", "paper"]
    plain = dataclasses.replace(config, model="resnet18")
    with pytest.raises(ValueError, match="--compare with --model resnet18"):
        suite.compared(plain)


@pytest.mark.usefixtures("small_networks")
def test_finished_runs_are_skipped_and_all_are_in_the_table(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(evaluate, "BATCH_PIXELS", TINY["limit"] * 32**2)
    configs = [
        RunConfig(**TINY, model="resnet18", seed=seed).resolve()
        for seed in (1, 2)
    ]
    done = []

    def run_one(config, output, *args, **kwargs):
        done.append(config.seed)
        return fit.run(config, output, twin=False, progress=False)

    suite.run(configs[:1], tmp_path, run_one, twin=False)
    suite.run(configs, tmp_path, run_one, twin=False)
    assert done == [1, 2]
    folder, settings = tmp_path / "textures_resnet18_seed1", configs[0]
    for with_twin in (False, True):  # a twin that is wanted is missing
        found = finished_results(folder, settings.settings(), with_twin)
        assert bool(found) != with_twin
    assert "finished before" in capsys.readouterr().out
    with open(tmp_path / "results.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["seeds"] == "2" and 0 <= float(row["upright"]) <= 1
    markdown = (tmp_path / "results.md").read_text().splitlines()
    assert markdown[0].startswith("| data set | model | parameters")
    assert "±" in markdown[2]


def test_runs_of_a_path_are_named_by_its_end(tmp_path):
    """They stay in the output, wherever the data are."""
    (tmp_path / "data").mkdir()
    path = npz(tmp_path / "data" / "cells.npz")
    settings = RunConfig(dataset=str(path), **TINY)
    folders = []

    def run_one(config, folder, *arguments, **options):
        folders.append(folder)
        folder.mkdir(parents=True)
        return [_result(config.model, config.seed, 0.5, "cells")]

    settings.model = "sre_resnet18"
    suite.run([settings], tmp_path / "runs", run_one)
    assert folders == [tmp_path / "runs" / "cells_sre_resnet18_seed1"]


def test_each_run_of_a_suite_has_a_process_of_its_own(tmp_path, capfd):
    """So that memory does not grow from run to run."""
    arguments = "--seeds 3 --model resnet18 --recipe quick --epochs 1 --limit 8"
    fit.main([*arguments.split(), "--width", "2", "--output", str(tmp_path)])
    metrics = json.loads(
        (tmp_path / "textures_resnet18_seed3" / "metrics.json").read_text()
    )
    with open(tmp_path / "results.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["upright"]) == pytest.approx(
        metrics["upright"]["accuracy"], abs=1e-4
    )
    assert (
        "[1/1] textures, resnet18, seed 3: training" in capfd.readouterr().out
    )


@pytest.mark.parametrize(
    ("function", "arguments", "kind", "message"),
    [
        (int, ("x",), ValueError, "invalid literal"),
        (open, ("/none/such",), ValueError, "No such file"),
        (len, (5,), child_process.ChildError, "^TypeError: object of type"),
        (os._exit, (3,), child_process.ChildError, "ended with code 3"),
    ],
    ids=["refusal", "file", "failure", "end"],
)
def test_what_a_process_of_its_own_says(function, arguments, kind, message):
    with pytest.raises(kind, match=message):
        child_process.run_alone(function, *arguments)


def test_a_process_of_its_own_is_another_one():
    assert child_process.run_alone(os.getpid) != os.getpid()


def test_two_paths_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two of the name cells, of which"):
        suite.make_configs({}, None, ["/a/cells", "/b/cells.npz"], None)
    with pytest.raises(ValueError, match="of the name mean, which is what"):
        suite.make_configs({}, None, ["/a/cells", "/b/mean"], None)
