"""Disks that are full, or cannot be written: one clear line, nothing lost."""

import json
import os
import subprocess

import export
import fit
import pandas as pd
import pytest
import run_directory
import tune
import tune_runner
from helpers import needs_export
from helpers import write_run

STEP = 64 * 1024  # bytes that become free from one attempt to the next


class Disk:
    """A small disk, the rest of which is taken by a file."""

    def __init__(self, folder, size=16 * 1024**2):
        self.folder, self.size = folder, size
        self.ballast = folder / "ballast"

    def leave_free(self, count):
        """Leaves so many bytes free."""
        self.ballast.unlink(missing_ok=True)
        state = os.statvfs(self.folder)
        free = state.f_bavail * state.f_frsize
        with open(self.ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, free - count))


@pytest.fixture
def disk(tmp_path):
    """A disk in memory, if one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a file system needs privileges")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def attempts(disk, function, sizes):
    """Calls a function while the disk has ever more room, until it ends.

    Returns how often there was too little; each time it has to exit with one
    line that says so.
    """
    for failures, free in enumerate(sizes):
        disk.leave_free(free)
        try:
            function()
        except SystemExit as error:
            line = str(error.code)
            assert "No space left on device" in line and "\n" not in line
        else:
            return failures
    raise AssertionError(f"{sizes[-1]} bytes are not enough")


@pytest.mark.usefixtures("small_networks")
def test_training(disk):
    """What was finished is kept: each attempt gets further."""
    run = disk.folder / "run"
    settings = ["--recipe", "quick", "--width", "2", "--limit", "16"]
    settings += ["--epochs", "2", "--model", "resnet18", "--resume"]
    settings += ["--batch-size", "8", "--output", str(run)]
    sizes = [0, STEP // 2, STEP, 99 * STEP]
    done = []

    def train():
        try:
            fit.main(settings)
        finally:
            progress = disk.folder / ".run.partial" / "progress.json"
            epochs = []
            if progress.exists():
                epochs = json.loads(progress.read_text())["epochs"]
            done.append(len(epochs))
            assert run.exists() == (run / "config.json").exists()

    assert attempts(disk, train, sizes) == 3
    assert done[:-1] == sorted(done[:-1])
    assert len(pd.read_csv(run / "history.csv")) == 2
    assert {path.name for path in disk.folder.iterdir()} == {"run", "ballast"}


def test_searching(disk, monkeypatch):
    def run_alone(config, folder, bounds, progress):
        return {
            "val_rotated_accuracy": config.width / 100,
            "val_rotated_auc": 0.5,
            "val_accuracy": 0.5,
            "parameters": 9.0,
            "seconds": 1.0,
            "over_bound": 0.0,
        }

    monkeypatch.setattr(tune_runner, "run_alone", run_alone)
    output = disk.folder / "found"
    settings = ["--tuner", "random", "--limit", "16", "--epochs", "1"]
    settings += ["--max-trials", "4", "--output", str(output)]
    sizes = [0, 4096, 8192, 16384, 32768, STEP, 2 * STEP, 99 * STEP]
    assert attempts(disk, lambda: tune.main(settings), sizes) >= 3
    frame = pd.read_csv(output / "trials.csv")
    assert sorted(frame["trial"]) == list(range(4))
    assert set(frame["state"]) == {"done"}


@needs_export
def test_exporting(disk, tmp_path):
    run = write_run(tmp_path / "run")
    path = disk.folder / "model.tflite"
    path.write_text("the one before")
    arguments = [str(run), "--output", str(path)]

    def once():
        try:
            export.main(arguments)
        except SystemExit:
            assert path.read_text() == "the one before"
            names = {p.name for p in disk.folder.iterdir()}
            assert names == {"model.tflite", "ballast"}
            raise

    assert attempts(disk, once, [0, 99 * STEP]) == 1
    described = json.loads(path.with_suffix(".json").read_text())
    assert described["sha256"] == run_directory.checksum(path)


@pytest.mark.parametrize("module", [fit, tune])
def test_places_that_cannot_be_written(module):
    """Not even by an administrator."""
    with pytest.raises(SystemExit, match="Cannot write to --output /sys/run"):
        module.main(["--output", "/sys/run"])


@pytest.mark.parametrize(
    "module", [fit, tune, pytest.param(export, marks=needs_export)]
)
def test_a_read_only_disk(module, disk, tmp_path):
    command = ["mount", "-o", "remount,ro", str(disk.folder)]
    subprocess.run(command, check=True)
    arguments = ["--output", str(disk.folder / "run.tflite")]
    if module is export:
        arguments.append(str(write_run(tmp_path / "run")))
    with pytest.raises(SystemExit, match="Read-only file system"):
        module.main(arguments)
