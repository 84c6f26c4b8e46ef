"""A search by one chief and several workers, some of which die."""

import os
import pathlib
import signal
import socket
import time

import pandas as pd
import pytest
import tune
import tune_oracle
from forked_process import ForkedProcess

TRAINING = pathlib.Path(tune.__file__).parent
# Stands for training: notes the trial and, if told so, waits.
SCRIPT = """
import sys
import threading
import time
from pathlib import Path

import tune
import tune_runner

notes, waits_for, *arguments = sys.argv[1:]


def run_alone(config, folder, bounds, progress):
    with open(notes, "a") as file:
        file.write(f"{folder.name}\\n")
    while waits_for and not Path(waits_for).exists():
        time.sleep(0.05)
    score = config.num_rings[0] / 10 + config.width / 1000
    return {
        "val_rotated_accuracy": score,
        "val_rotated_auc": score,
        "val_accuracy": score,
        "parameters": 9.0,
        "seconds": 1.0,
        "over_bound": 0.0,
    }


tune_runner.run_alone = run_alone
tune.main(arguments)
"""
SEARCH = ("--tuner", "random", "--limit", "16", "--epochs", "1")


class Party:
    """Processes of one search, and the file in which its trials are noted."""

    def __init__(self, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.folder, self.processes = folder, []
        self.output = folder / "found"

    def start(self, name, *arguments, waits_for="", output=None):
        command = [
            "-c",
            SCRIPT,
            str(self.folder / f"{name}.notes"),
            str(waits_for),
            *arguments,
            "--output",
            str(output or self.output),
        ]
        process = ForkedProcess(command, TRAINING)
        self.processes.append(process)
        return process

    def start_chief(self, count, timeout=60):
        return self.start(
            *("chief", *SEARCH, "--max-trials", str(count)),
            *("--chief", self.address, "--timeout", str(timeout)),
        )

    def start_worker(self, name, waits_for=""):
        return self.start(
            *(name, "--chief", self.address, "--worker", name),
            *("--timeout", "60"),
            waits_for=waits_for,
            output=self.folder / name,
        )

    def notes(self, *names):
        paths = [self.folder / f"{name}.notes" for name in names]
        texts = [path.read_text() for path in paths if path.exists()]
        return sorted("".join(texts).split())

    def wait_for_notes(self, name):
        while not self.notes(name):
            assert self.processes[-1].poll() is None
            time.sleep(0.05)

    def frame(self):
        return pd.read_csv(self.output / "trials.csv")


@pytest.fixture
def party(tmp_path):
    party = Party(tmp_path)
    yield party
    for process in party.processes:
        process.kill()
        process.wait()


def ended(process, code=0):
    process.wait(timeout=100)
    errors = process.errors()
    assert process.returncode == code, errors
    return errors


def settings_of(frame):
    columns = ["num_rings", "kernel_sizes", "width", tune_oracle.OBJECTIVE]
    return sorted(map(tuple, frame[columns].to_numpy()))


def test_two_workers_find_what_a_serial_search_finds(party):
    """Each has to see the other at work before its first trial ends."""
    chief = party.start_chief(5)
    first = party.start_worker("a", waits_for=party.folder / "b.notes")
    second = party.start_worker("b", waits_for=party.folder / "a.notes")
    for process in (chief, first, second):
        ended(process)
    assert party.notes("a", "b") == list("01234")
    assert party.notes("a") and party.notes("b")
    serial = party.start(
        *("serial", *SEARCH, "--max-trials", "5"),
        output=party.folder / "serial",
    )
    ended(serial)
    expected = pd.read_csv(party.folder / "serial" / "trials.csv")
    assert settings_of(party.frame()) == settings_of(expected)


def test_a_killed_worker_loses_its_own_trial_alone(party):
    chief = party.start_chief(4, timeout=8)
    lost = party.start_worker("a", waits_for=party.folder / "never")
    party.wait_for_notes("a")
    other = party.start_worker("b")
    party.wait_for_notes("b")
    os.kill(lost.pid, signal.SIGKILL)
    ended(other)
    ended(chief)
    assert party.notes("a") == ["0"] and party.notes("b") == list("123")
    states = dict(party.frame()[["trial", "state"]].to_numpy())
    assert states.pop(0) == "failed: its worker, a, was lost"
    assert set(states.values()) == {"done"} and len(states) == 3


def test_a_restarted_chief_goes_on(party):
    chief = party.start_chief(3)
    worker = party.start_worker("a", waits_for=party.folder / "go")
    party.wait_for_notes("a")
    os.kill(chief.pid, signal.SIGKILL)
    chief.wait()
    again = party.start_chief(3)
    (party.folder / "go").touch()
    ended(worker)
    ended(again)
    assert party.notes("a") == list("012")
    assert set(party.frame()["state"]) == {"done"}


def test_nobody_waits_for_ever(party):
    errors = ended(party.start_chief(3, timeout=1), code=1)
    assert errors.endswith("tune.py: no worker was there for 1 seconds\n")
    worker = party.start(
        *("a", "--chief", party.address, "--worker", "a", "--timeout", "1"),
    )
    errors = ended(worker, code=1)
    assert errors.endswith("tune.py: the chief did not answer for 1 seconds\n")


def test_a_taken_port_is_one_line(party, monkeypatch):
    for name in ("ORACLE_IP", "ORACLE_PORT", "TUNER_ID"):
        monkeypatch.setenv(f"KERASTUNER_{name}", "")  # and back again
    host, port = party.address.split(":")
    with (
        socket.create_server((host, int(port))),
        pytest.raises(SystemExit, match=f"--chief {party.address}: Address"),
    ):
        tune.main(
            [*SEARCH, "--chief", party.address, "--output", str(party.output)]
        )
