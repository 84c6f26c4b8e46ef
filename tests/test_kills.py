"""`kill -9` at random moments of training, searching and exporting.

    KERAS_SRE_KILLS=20 python -m pytest tests/test_kills.py

kills each of them twenty times. The same command is given again: nothing was
lost, and nothing is there that is not whole.
"""

import json
import os
import time

import export
import fit
import keras
import numpy as np
import pandas as pd
from forked_process import ForkedProcess
from helpers import needs_export
from helpers import write_run

KILLS = int(os.environ.get("KERAS_SRE_KILLS", 2))
TRAIN = """
import fit
import small_network

fit.model_of = small_network.model_of
fit.main()
"""
# Stands for training, so that most moments are the search's own.
SEARCH = """
import tune
import tune_runner


def run_alone(config, folder, bounds, progress):
    score = config.num_rings[0] / 10 + config.width / 1000
    return {
        "val_rotated_accuracy": score,
        "val_rotated_auc": score,
        "val_accuracy": score,
        "parameters": float(config.width),
        "seconds": 1.0,
        "over_bound": 0.0,
    }


tune_runner.run_alone = run_alone
tune.main()
"""


def kill_often(folder, command, begun, check, check_killed):
    """Runs a command, then kills it at random moments, and runs it again.

    Args:
        folder: for outputs: `whole`, of a process that is let alone, then `0`,
            `1`, ..., one after the other as they are finished.
        command: function of an output; the arguments of a Python process.
        begun: function of an output; whether there is anything to lose yet.
        check: function of an output and `whole`; after a process has ended.
        check_killed: function of an output; after one was killed.
    """
    rng = np.random.default_rng(KILLS)
    whole, number, killed = folder / "whole", 0, 0
    seconds = _run(command(whole), lambda: begun(whole))
    check(whole, whole)
    while killed < KILLS:
        output = folder / str(number)
        moment = rng.uniform(0, seconds)
        if _run(command(output), lambda o=output: begun(o), moment) is None:
            killed += 1
            check_killed(output)
        else:
            check(output, whole)
            number += 1
    output = folder / str(number)
    _run(command(output), lambda: True)
    check(output, whole)


def _run(command, begun, moment=None):
    """Returns the seconds a process took once it had begun; `None` if killed.

    Args:
        command: arguments of Python.
        begun: function without arguments.
        moment: seconds from then on after which it is killed, or `None`.
    """
    process = ForkedProcess(
        command,
        cwd=os.path.dirname(fit.__file__),
        python_path=os.path.dirname(__file__),
    )
    while not begun() and process.poll() is None:
        time.sleep(0.01)
    start = time.monotonic()
    if not process.wait(moment):
        process.kill()
        process.wait()
        return None
    assert process.returncode == 0, process.errors()
    return time.monotonic() - start


def test_training(tmp_path):
    """Runs end with the weights of the one that was let alone."""
    settings = ["--recipe", "quick", "--width", "2", "--limit", "32"]
    settings += ["--batch-size", "8", "--epochs", "3"]
    settings += ["--kernel-sizes", "3", "3", "3", "3"]
    settings += ["--model", "sre_resnet18", "--resume", "--output"]

    def weights(run):
        return keras.models.load_model(run / "model.keras").get_weights()

    def check(run, whole):
        assert len(pd.read_csv(run / "history.csv")) == 3
        metrics = json.loads((run / "metrics.json").read_text())
        assert 0 <= metrics["upright"]["accuracy"] <= 1
        assert not list(run.glob("**/*epoch-*"))
        for ours, theirs in zip(weights(run), weights(whole), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    kill_often(
        tmp_path,
        lambda run: ["-c", TRAIN, *settings, run],
        lambda run: run.with_name(f".{run.name}.partial").exists(),
        check,
        lambda run: run.exists() and check(run, run),
    )


def test_searching(tmp_path):
    """Searches try what the one that was let alone tried, each once."""
    settings = ["--tuner", "random", "--limit", "16", "--epochs", "1"]
    settings += ["--max-trials", "12", "--output"]
    columns = ["trial", "num_rings", "kernel_sizes", "width", "state"]

    def check(output, whole):
        ours, theirs = (
            pd.read_csv(folder / "trials.csv")[columns].sort_values("trial")
            for folder in (output, whole)
        )
        assert list(ours["trial"]) == list(range(12))
        assert ours.values.tolist() == theirs.values.tolist()

    def check_killed(output):
        for path in output.glob("**/[!.]*.json"):
            json.loads(path.read_text())

    kill_often(
        tmp_path,
        lambda output: ["-c", SEARCH, *settings, output],
        lambda output: (output / "search").exists(),
        check,
        check_killed,
    )


@needs_export
def test_exporting(tmp_path):
    """A file is there, and whole, or it is not there."""
    from ai_edge_litert.interpreter import Interpreter

    run = write_run(tmp_path / "run")
    options = ["--quantization", "int8", "--output"]

    def file(output):
        return output.with_suffix(".tflite")

    def check(output, whole):
        described = json.loads(output.with_suffix(".json").read_text())
        assert described["sha256"] == export.checksum(file(output))
        check_killed(output)

    def check_killed(output):
        if file(output).exists():
            Interpreter(str(file(output))).allocate_tensors()

    kill_often(
        tmp_path,
        lambda output: [export.__file__, run, *options, file(output)],
        lambda output: any(tmp_path.glob(f".{output.name}.tflite.*")),
        check,
        check_killed,
    )
