"""The search: its space, its oracles, its report, and one that is run."""

import itertools
import json
import multiprocessing
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import threading
import time

import fit_flags
import keras_tuner
import numpy as np
import pandas as pd
import pareto
import plots
import pytest
import run_directory
import small_network
import tune
import tune_report
import tune_runner
import tune_trial
from config import RunConfig
from data import load_dataset
from helpers import needs_export
from keras_tuner.engine.trial import Trial
from keras_tuner.engine.trial import TrialStatus
from models import build_model
from tune_oracle import OBJECTIVE
from tune_oracle import make_oracle
from tune_space import SEARCHED
from tune_space import RingHyperModel
from tune_space import config_of

from keras_sre import geometry

ONE_EPOCH = {"epochs": 1, "limit": 16, "width": 2, "kernel_sizes": (3,) * 4}
BREAST = {"dataset": "breastmnist", "epochs": 9}


@pytest.fixture(autouse=True)
def no_chief(monkeypatch):
    for name in ("ORACLE_IP", "ORACLE_PORT", "TUNER_ID"):
        monkeypatch.delenv(f"KERASTUNER_{name}", raising=False)


def space_of(**settings):
    space = keras_tuner.HyperParameters()
    model = RingHyperModel(RunConfig(**settings), (32, 32, 1), 2)
    model.declare_hyperparameters(space)
    return space


def samples(space, count, tuner="random"):
    """Returns the configs of the first trials of a search."""
    oracle = make_oracle(tuner, space, count, 9, 1, lambda *trial: None)
    oracle._set_project_dir("", "")
    oracle.save = oracle._save_trial = lambda *trial: None
    configs = []
    for _ in range(count):
        trial = oracle.create_trial("a")
        configs.append(config_of(trial.hyperparameters.values))
        end(oracle, trial, score=len(configs) % 7)
    return configs


def end(oracle, trial, score=None, over_bound=0.0, parameters=9):
    """Ends a trial with a score, or as one that failed."""
    if score is not None or over_bound:
        oracle.update_trial(
            trial.trial_id,
            {
                OBJECTIVE: score or 0,
                "val_rotated_auc": 0.5,
                "parameters": parameters,
                "over_bound": over_bound,
            },
        )
    trial.status = TrialStatus.FAILED
    if score is not None:
        trial.status = TrialStatus.COMPLETED
    oracle.end_trial(trial)


def test_the_default_point_is_the_recipe():
    config = config_of(space_of(**BREAST).values)
    recipe = RunConfig(**BREAST).resolve()
    assert config.num_rings == (3, 3, 2, 2)
    for name, value in recipe.settings().items():
        assert name == "num_rings" or getattr(config, name) == value, name


def test_rings_never_exceed_what_the_kernel_has_room_for():
    configs = samples(space_of(**BREAST), 25)
    configs += samples(space_of(**BREAST), 5, "bayesian")
    seen = set()
    for config in configs:
        for size, rings in zip(
            config.kernel_sizes, config.num_rings, strict=True
        ):
            assert 2 <= rings <= size // 2 + 1
            seen.add((size, rings))
            index = geometry.ring_index((size, size), rings)
            assert set(np.unique(index)) - {-1} == set(range(rings))
    assert len(seen) >= 8  # of the ten there are
    assert {config.ring_profile for config in configs} == set(
        geometry.RING_PROFILES
    )
    assert {config.width for config in configs} == {8, 16, 32}
    rates = {config.learning_rate for config in configs}
    assert max(rates) / min(rates) >= 16


def test_what_is_given_is_fixed():
    given = {
        "kernel_sizes": (9, 5, 3, 3),
        "num_rings": (4, 2, 2, 2),
        "ring_profile": "area",
        "width": 12,
        "learning_rate": 0.007,
        "weight_decay": 0.0,
        "harmonics": (),
    }
    for config in samples(space_of(**BREAST, **given), 1):
        assert all(getattr(config, k) == v for k, v in given.items())
    space = space_of(**BREAST, kernel_sizes=(9, 5, 3, 3), num_rings=None)
    drawn = samples(space, 8)
    assert {config.kernel_sizes for config in drawn} == {(9, 5, 3, 3)}
    assert len({config.num_rings for config in drawn}) > 2


def test_given_rings_leave_kernels_that_have_room():
    for config in samples(space_of(**BREAST, num_rings=(4, 3, 2, 2)), 8):
        assert config.kernel_sizes[0] >= 7 and config.kernel_sizes[1] >= 5
        assert config.num_rings == (4, 3, 2, 2)


def test_volumes_have_kernels_of_their_own():
    for config in samples(space_of(dataset="adrenalmnist3d", epochs=1), 8):
        assert set(config.kernel_sizes) <= {3, 5}
        assert config.model == "sre_resnet3d18"


def test_a_trial_means_the_same_after_a_journey():
    space = space_of(**BREAST, harmonics=(1, 2, 3), limit=40)
    sent = space.to_proto().SerializeToString()
    received = type(space.to_proto()).FromString(sent)
    values = keras_tuner.HyperParameters.from_proto(received).values
    assert config_of(values) == config_of(space.values)


def test_build_returns_the_network_of_the_values():
    config = RunConfig(**BREAST, width=4, num_rings=(2, 3, 2, 2))
    model = RingHyperModel(config, (32, 32, 1), 2)
    space = keras_tuner.HyperParameters()
    model.declare_hyperparameters(space)
    expected = build_model(
        "sre_resnet18",
        (32, 32, 1),
        2,
        4,
        kernel_sizes=(5, 5, 3, 3),
        num_rings=(2, 3, 2, 2),
        ring_profile="linear",
        harmonics=(1, 2),
    )
    assert model.build(space).count_params() == expected.count_params()


@pytest.mark.parametrize("tuner", ["random", "bayesian", "hyperband"])
def test_refused_and_failed_trials(tuner, tmp_path):
    oracle = make_oracle(tuner, space_of(**BREAST), 6, 9, 1, lambda *t: None)
    oracle._set_project_dir(tmp_path, "search")
    done = []
    while len(done) < 50:
        trial = oracle.create_trial("a")
        if trial.status == TrialStatus.STOPPED:
            break
        done.append(trial.trial_id)
        if len(done) in (2, 3, 5):
            end(oracle, trial, over_bound=1.0)
        elif len(done) in (4, 6, 7, 8):
            end(oracle, trial)  # four failures, three in a row
        else:
            end(oracle, trial, score=0.5)
    assert len(done) == len(set(done)) == 6 + 3
    first = config_of(oracle.trials[done[0]].hyperparameters.values)
    epochs = 1 if tuner == "hyperband" else 9
    assert (first.width, first.epochs) == (32, epochs)
    assert first.kernel_sizes == (5, 5, 3, 3)


def test_refusals_end_somewhere(tmp_path):
    oracle = make_oracle("random", space_of(**BREAST), 2, 9, 1, lambda *t: 0)
    oracle._set_project_dir(tmp_path, "search")
    count = 0
    while (trial := oracle.create_trial("a")).status == TrialStatus.RUNNING:
        end(oracle, trial, over_bound=1.0)
        count += 1
    assert count == 20


def test_hyperband_trains_the_best_longer(tmp_path):
    oracle = make_oracle(
        "hyperband", space_of(**BREAST), None, 9, 1, lambda *t: None
    )
    oracle._set_project_dir(tmp_path, "search")
    epochs = {}
    while (trial := oracle.create_trial("a")).status == TrialStatus.RUNNING:
        config = config_of(trial.hyperparameters.values)
        key = config.kernel_sizes, config.num_rings, config.width
        epochs.setdefault(key, []).append(config.epochs)
        end(oracle, trial, score=config.width)
    assert {e for values in epochs.values() for e in values} == {1, 3, 9}
    for (*_, width), values in epochs.items():
        assert values == sorted(values)
        if len(values) == 3:
            assert width == 32


@pytest.mark.parametrize("moment", ["oracle.json", "trial.json"])
def test_a_killed_search_loses_no_trial(moment, tmp_path, monkeypatch):
    """Killed after a trial's file is written, before or after the oracle's."""
    made = []

    def fresh():
        oracle = make_oracle(
            "random", space_of(**BREAST), 5, 9, 1, lambda *t: None
        )
        oracle._set_project_dir(tmp_path, "search")
        return oracle

    oracle = fresh()
    end(oracle, oracle.create_trial("a"), score=0.5)
    if moment == "trial.json":
        monkeypatch.setattr(oracle, "save", lambda: None)
    interrupted = oracle.create_trial("a").trial_id
    oracle = fresh()
    oracle.reload()
    while (trial := oracle.create_trial("a")).status == TrialStatus.RUNNING:
        made.append(trial.trial_id)
        end(oracle, trial, score=0.5)
    assert made == [interrupted, "2", "3", "4"]
    assert all(t.status == "COMPLETED" for t in oracle.trials.values())


def test_a_search_that_is_killed_leaves_whole_files(tmp_path, monkeypatch):
    oracle = make_oracle("random", space_of(**BREAST), 5, 9, 1, lambda *t: 0)
    oracle._set_project_dir(tmp_path, "search")
    oracle.create_trial("a")
    path = tmp_path / "search" / "oracle.json"
    before = path.read_text()

    def killed(self, text):
        with open(self, "w") as file:
            file.write(text[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        oracle.save()
    assert path.read_text() == before


def trial_of(name, score, parameters, auc=0.5, **settings):
    space = space_of(**BREAST, **settings)
    trial = Trial(space, name, TrialStatus.COMPLETED)
    figures = {OBJECTIVE: score, "parameters": parameters}
    for metric, value in (figures | {"val_rotated_auc": auc}).items():
        trial.metrics.register(metric, "max")
        trial.metrics.update(metric, value)
    trial.score = score
    return trial


def test_ranking_and_pareto_front():
    trials = [
        trial_of("0", 0.7, 500),
        trial_of("1", 0.8, 900, auc=0.6),
        trial_of("2", 0.8, 800, auc=0.7),
        trial_of("3", 0.6, 400),
        trial_of("4", 0.6, 450),
        trial_of("5", 0.8, 700, auc=0.7),
        trial_of("8", 0.5, 400),
        Trial(space_of(**BREAST), "6", TrialStatus.FAILED, "a\nError: no"),
        Trial(space_of(**BREAST), "7", TrialStatus.RUNNING),
    ]
    ranked = [trial.trial_id for trial in tune_report.ranked(trials)]
    assert ranked == ["5", "2", "1", "0", "3", "4", "8"]
    front = [trial.trial_id for trial in tune_report.pareto_front(trials)]
    assert front == ["3", "0", "5"]
    frame = tune_report.to_frame(trials).set_index("trial")
    assert frame.loc["6", "state"] == "failed: Error: no"
    assert frame.loc["7", "state"] == "unfinished"
    assert list(frame.index[frame["pareto"]]) == ["5", "0", "3"]


@pytest.mark.parametrize("first", ["done", "over the bound"])
def test_the_recipe_is_the_first_trial_and_no_other(
    first, tmp_path, monkeypatch
):
    frame = tune_report.to_frame(
        [trial_of("0", 0.7, 500), trial_of("1", 0.8, 9)]
    )
    frame.loc[frame["trial"] == "0", "state"] = first
    drawn = []
    monkeypatch.setattr(
        pareto, "save", lambda figure, path: drawn.append(figure)
    )
    pareto.plot_trials(frame, tmp_path / "pareto.png")
    (panel,) = drawn[0].axes
    (star,) = (c for c in panel.collections if "recipe" in c.get_label())
    expected = [[500, 70]] if first == "done" else []
    np.testing.assert_allclose(star.get_offsets().tolist(), expected)
    plots.plt.close(drawn[0])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"width": 7, "kernel_sizes": (7, 3, 3, 3), "num_rings": (2, 2, 2, 2)},
        {
            "harmonics": (),
            "augment_rotation": True,
            "limit": 40,
            "recipe": "quick",
            "seed": 3,
            "harmonic_fraction": (0.25, 0.5, 0.0, 1.0),
            "ring_profile": "gaussian",
        },
    ],
    ids=["default", "rings", "all"],
)
def test_the_command_trains_the_same_network(settings):
    trial = trial_of("0", 0.5, 9, **settings)
    command = tune_report.fit_command(trial, root="some where")
    words = shlex.split(command)
    assert words[:2] == ["python", "training/fit.py"]
    args = vars(fit_flags.parse_args("", words[2:]))
    names = RunConfig().__dict__
    given = {name: value for name, value in args.items() if name in names}
    (given["dataset"],) = given["dataset"]
    expected = config_of(trial.hyperparameters.values, "some where")
    assert RunConfig(**given).resolve() == expected


def score_by_rings(config, folder, bounds, progress):
    """Stands for training: three rings in the first stage are best."""
    if sum(config.num_rings) == 9:
        raise tune_trial.TrialError("nine rings, alas")
    folder.mkdir(parents=True)
    (folder / "model.keras").write_text("model")
    score = 1 - abs(config.num_rings[0] - 3) / 10 - config.width / 1000
    return {
        OBJECTIVE: score,
        "val_rotated_auc": score,
        "val_accuracy": score,
        "parameters": float(config.width),
        "seconds": 1.0,
        "over_bound": 0.0,
    }


def run_tune(*arguments):
    tune.main(
        ["--limit", "16", "--epochs", "1", "--tuner", "random", *arguments]
    )


def test_a_search_is_run_reported_and_resumed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tune_runner, "run_alone", score_by_rings)
    output = tmp_path / "found"
    run_tune("--max-trials", "5", "--output", str(output))
    run_tune("--max-trials", "9", "--output", str(output))
    printed = capsys.readouterr().out
    assert "best so far, after 9 trials" in printed
    assert "python training/fit.py --dataset textures" in printed
    frame = pd.read_csv(output / "trials.csv")
    assert sorted(frame["trial"]) == list(range(9))
    failed = frame[
        frame["num_rings"].map(lambda t: sum(map(int, t.split())) == 9)
    ]
    assert set(failed["state"]) <= {"failed: nine rings, alas"}
    done = frame[frame["state"] == "done"]
    assert len(done) + len(failed) == 9
    assert done[OBJECTIVE].is_monotonic_decreasing
    best = done.iloc[0]
    assert best["num_rings"].startswith("3")
    kept = sorted((output / "trials").glob("*/model.keras"))
    assert [path.parent.name for path in kept] == [str(best["trial"])]
    text = (output / "search.md").read_text()
    assert f"The best is {best['trial']}" in text and "pareto.png" in text
    assert (output / "pareto.png").stat().st_size > 5000


def test_a_clock_that_is_set_back_harms_no_search(tmp_path, monkeypatch):
    hours = itertools.count()
    monkeypatch.setattr(tune_runner, "run_alone", score_by_rings)
    monkeypatch.setattr(time, "time", lambda: 1e9 - 3600 * next(hours))
    output = tmp_path / "found"
    for trials in ("2", "3"):
        run_tune("--max-trials", trials, "--output", str(output))
    frame = pd.read_csv(output / "trials.csv")
    assert sorted(frame["trial"]) == [0, 1, 2] and next(hours) > 1


def test_a_search_goes_on_with_the_same_settings_only(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(tune_runner, "run_alone", score_by_rings)
    output = tmp_path / "found"
    run_tune("--max-trials", "2", "--output", str(output))
    with pytest.raises(SystemExit, match="has width None, not 8. Give the sam"):
        run_tune("--max-trials", "3", "--output", str(output), "--width", "8")
    (output / "search" / "oracle.json").write_text('{"half')
    with pytest.raises(SystemExit, match="Cannot read the search in"):
        run_tune("--max-trials", "3", "--output", str(output))
    with (
        run_directory.locked(output),
        pytest.raises(SystemExit, match="Another process"),
    ):
        run_tune("--max-trials", "3", "--output", str(output))
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    with pytest.raises(SystemExit, match="exists and is not a search"):
        run_tune("--output", str(other))
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "resnet18"], "--model resnet18, which has no rings"),
        (["--num-rings", "9", "2", "2", "2"], "--num-rings 9 2 2 2. The kern"),
        (["--max-trials", "0"], "--max-trials 0. Expected a positive"),
        (["--max-params", "-1"], "--max-params -1. Expected a positive"),
        (["--timeout", "nan"], "--timeout nan. Expected a positive number"),
        (["--width", "0"], "--width 0. Expected 1 or more"),
        (["--dataset", "mnist"], "--dataset mnist. Choose from: textures"),
        (["--chief", "here"], "--chief here. Expected HOST:PORT"),
        (["--worker", "a"], "--worker needs --chief HOST:PORT"),
        (
            ["--worker", "chief2", "--chief", "h:80"],
            "--worker chief2. KerasTuner takes names",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_settings_get_one_line(arguments, message, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        run_tune(*arguments, "--output", str(tmp_path / "found"))
    text = str(stopped.value)
    assert message in text and text.startswith("tune.py: ")
    assert "\n" not in text and not list(tmp_path.iterdir())


def test_a_trial_is_a_run_of_fit_on_the_validation_split(tmp_path):
    config = RunConfig(**ONE_EPOCH, harmonics=()).resolve()
    folder = tmp_path / "0"
    scores = tune_trial.run_alone(
        config, folder, tune_trial.Bounds(), progress=False
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["split"] == "val"
    assert scores[OBJECTIVE] == metrics["rotated"]["mean_accuracy"]
    assert scores["parameters"] == metrics["params"]
    dataset = load_dataset("textures", None, 32, 16)
    known = {0.0, *(n / len(dataset.splits["val"][1]) for n in range(1, 17))}
    assert scores["val_accuracy"] in known
    written = (folder / "history.csv").stat().st_mtime_ns
    again = tune_trial.run_trial(
        config, folder, tune_trial.Bounds(), progress=False
    )
    assert again == scores
    assert (folder / "history.csv").stat().st_mtime_ns == written


@needs_export
def test_bounds_refuse_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(tune_trial, "model_of", small_network.model_of)
    config = RunConfig(**ONE_EPOCH, harmonics=()).resolve()
    for bounds in (
        tune_trial.Bounds(max_params=100),
        tune_trial.Bounds(max_latency_ms=1e-6),
    ):
        scores = tune_trial.run_trial(config, tmp_path / "0", bounds, False)
        assert scores["over_bound"] == 1.0 and OBJECTIVE not in scores
        assert scores["parameters"] > 100
    assert scores["latency_ms"] > 1e-6
    assert not (tmp_path / "0").exists()


def test_a_trial_whose_process_is_killed_fails_alone(tmp_path):
    config = RunConfig(**ONE_EPOCH).resolve()
    known = set(multiprocessing.active_children())

    def kill():
        while not (new := set(multiprocessing.active_children()) - known):
            pass
        os.kill(new.pop().pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(tune_trial.TrialError, match=r"code -9 \(out of mem"):
        tune_trial.run_alone(config, tmp_path / "0", tune_trial.Bounds())


def test_a_trial_ends_with_the_search_that_started_it(tmp_path):
    script = """
import multiprocessing, sys, threading
import tune_trial
from config import RunConfig

def tell():
    while not (children := multiprocessing.active_children()):
        pass
    print(children[0].pid, flush=True)

if __name__ == "__main__":
    threading.Thread(target=tell, daemon=True).start()
    config = RunConfig(epochs=10**6).resolve()
    tune_trial.run_alone(config, sys.argv[1], tune_trial.Bounds(), False)
"""
    (tmp_path / "search.py").write_text(script)
    command = [sys.executable, tmp_path / "search.py", tmp_path / "0"]
    environment = os.environ | {
        "PYTHONPATH": str(pathlib.Path(tune.__file__).parent)
    }
    search = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    trial = int(search.stdout.readline())
    search.kill()
    search.communicate()
    deadline = time.monotonic() + 100
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(trial, 0)
            time.sleep(0.1)


def test_an_impossible_network_is_one_line(tmp_path):
    config = RunConfig(**ONE_EPOCH, harmonics=(4,)).resolve()
    with pytest.raises(tune_trial.TrialError, match="order 4 for") as failed:
        tune_trial.run_alone(config, tmp_path / "0", tune_trial.Bounds())
    assert "\n" not in str(failed.value)


def test_all_that_is_searched_is_shown():
    frame = tune_report.to_frame([trial_of("0", 0.5, 9)])
    assert set(SEARCHED) <= set(frame.columns)
