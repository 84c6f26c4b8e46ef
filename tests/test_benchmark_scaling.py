"""Growth of costs: measured end to end, and summed up by hand."""

import json
import threading

import benchmark
import benchmark_scaling
import evaluate
import numpy as np
import pytest
import timing
from data import medmnist_names
from tasks import Task


def test_all_is_measured_and_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip("medmnist.info")
    calls = []

    def measure(module, function, name, *arguments):
        calls.append((name, *arguments))
        return {"train_s": 2.0, "predict_s": 0.5, "memory_mib": 100.0}

    monkeypatch.setattr(timing, "measure_alone", measure)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    output = tmp_path / "figures.json"
    benchmark.main(
        ["--suite", "scaling", "--repeats", "2", "--output", str(output)]
    )
    printed = capsys.readouterr().out
    assert "2 processes" in printed and "12 tasks, 224 pixels" in printed
    sizes = [call[2] for call in calls if call[0] == "resnet18"]
    assert sizes[:4] == [32, 64, 128, 224]
    meeting = [call[-2:] for call in calls if len(call) == 9 and call[-1]]
    assert len({core for core, _ in meeting}) == 2
    assert len({folder for _, folder in meeting}) == 1
    rows = json.loads(output.read_text())["scaling"]
    (both,) = [row for row in rows if row["what"] == "2 processes"]
    assert (both["train_s"], both["speedup"]) == (1.0, 2.0)


def test_a_process_measures_itself():
    figures = benchmark_scaling.measure(
        *("resnet18", "breastmnist", 16, 2, 4, 8), repeats=2
    )
    assert figures["train_s"] > figures["predict_s"] > 0
    assert figures["memory_mib"] > 100


def test_two_processes_wait_for_one_another(tmp_path):
    thread = threading.Thread(
        target=benchmark_scaling._wait_for_the_other, args=(tmp_path,)
    )
    thread.start()
    while not list(tmp_path.iterdir()):
        pass
    assert thread.is_alive()
    (tmp_path / "the other").touch()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_rates_of_processes_add_up(monkeypatch):
    seconds = {(0, False): 6.0, (0, True): 6.0, (1, True): 12.0}

    def measure(*arguments):
        *_, core, meet = arguments
        found = seconds[core, bool(meet)]
        return {"train_s": found, "predict_s": 1.0, "memory_mib": 50.0}

    monkeypatch.setattr(timing, "measure_alone", measure)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    _, two = benchmark_scaling._compare_cores(1)
    # 1000 images in 6 s and 1000 in 12 s are 250 a second, not 167.
    assert (two["train_s"], two["speedup"]) == (4.0, 1.5)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0})
    assert benchmark_scaling._compare_cores(1) == []


def test_does_not_wait_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_scaling, "MEETING_S", 0)
    with pytest.raises(TimeoutError):
        benchmark_scaling._wait_for_the_other(tmp_path)


def test_longest_first_packing():
    assert benchmark_scaling.makespan([1, 2, 3, 4], 1) == 10
    assert benchmark_scaling.makespan([2, 3, 3, 4], 2) == 6
    assert benchmark_scaling.makespan([5, 1, 1], 8) == 5


def test_cost_of_a_run():
    pytest.importorskip("medmnist.info")
    # 95 epochs of 546 images, each with a look at 78; 156 are tested in 11
    # poses and checked at a quarter turn, both twice, and once for MedMNIST.
    row = {"train_s": 10.0, "predict_s": 1.0}
    expected = (95 * 546 * 10 + (95 * 78 + 25 * 156)) / 1000
    assert benchmark_scaling.cost_of("breastmnist", row) == expected


@pytest.mark.parametrize("rank", [2, 3], ids="images volumes".split())
def test_predictions_are_those_of_evaluate(rank, monkeypatch):
    """Counts what `evaluate` asks of a network that sees no turn."""
    monkeypatch.setattr(evaluate, "BATCH_PIXELS", 4 * 4**rank)  # no padding
    asked = []

    class Network:
        name = "constant"

        def predict_on_batch(self, batch):
            asked.append(len(batch))
            return np.full((len(batch), 2), 0.5)

    count = 260  # four more than are checked at a quarter turn
    images = np.zeros((count, *(4,) * rank, 1), "uint8")
    labels = np.arange(count) % 2
    for masked in (False, True):
        evaluate.evaluate(
            Network(), images, labels, Task(), masked=masked, progress=False
        )
    evaluate.predict(Network(), images)
    assert sum(asked) == benchmark_scaling.num_predictions(rank, count)


def test_all_tasks_are_counted(monkeypatch):
    pytest.importorskip("medmnist.info")
    monkeypatch.setattr(benchmark_scaling, "cost_of", lambda name, row: 3600)
    rows = benchmark_scaling.cost_of_all({32: None, 224: None}, None, 10.0)
    hours = {(row["case"], row["what"]): row["hours"] for row in rows}
    machine, gpu = "this machine", "a GPU, 10 times as fast"
    assert hours == {
        ("18 tasks, 32 pixels", machine): 18,
        ("18 tasks, 32 pixels", f"8 hosts: {machine}"): 3,
        ("18 tasks, 32 pixels", gpu): 1.8,
        ("18 tasks, 32 pixels", f"8 hosts: {gpu}"): 0.3,
        ("12 tasks, 224 pixels", machine): 12,
        ("12 tasks, 224 pixels", f"8 hosts: {machine}"): 2,
        ("12 tasks, 224 pixels", gpu): 1.2,
        ("12 tasks, 224 pixels", f"8 hosts: {gpu}"): 0.2,
    }
    without = benchmark_scaling.cost_of_all({32: None, 224: None}, None, None)
    assert {row["what"] for row in without} == {machine, f"8 hosts: {machine}"}
    assert len(medmnist_names(2)) == 12
