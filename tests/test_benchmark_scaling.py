"""Growth of costs: measured end to end, and summed up by hand."""

import json
import threading

import benchmark
import benchmark_scaling
import pytest
import timing
from data import medmnist_names


def test_all_is_measured_and_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip("medmnist.info")
    calls = []

    def measure(module, function, name, *arguments):
        calls.append((name, *arguments))
        return {"train_s": 2.0, "predict_s": 0.5, "memory_mib": 100.0}

    monkeypatch.setattr(timing, "measure_alone", measure)
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
    assert (both["train_s"], both["train_ratio"]) == (1.0, 0.5)


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


def test_longest_first_packing():
    assert benchmark_scaling.makespan([1, 2, 3, 4], 1) == 10
    assert benchmark_scaling.makespan([4, 3, 3, 2], 2) == 6
    assert benchmark_scaling.makespan([5, 1, 1], 8) == 5


def test_cost_of_a_run():
    pytest.importorskip("medmnist.info")
    # 95 epochs of 546 images; each looks at 78, and 156 are tested at 9 angles
    # twice.
    row = {"train_s": 10.0, "predict_s": 1.0}
    expected = (95 * 546 * 10 + (95 * 78 + 2 * 9 * 156)) / 1000
    assert benchmark_scaling.cost_of("breastmnist", row) == expected


def test_all_tasks_are_counted(monkeypatch):
    pytest.importorskip("medmnist.info")
    monkeypatch.setattr(benchmark_scaling, "cost_of", lambda name, row: 3600)
    rows = benchmark_scaling.cost_of_all({32: None, 224: None}, None, 10.0)
    hours = {(row["case"], row["what"]): row["hours"] for row in rows}
    assert hours == {
        ("18 tasks, 32 pixels", "this machine"): 18,
        ("18 tasks, 32 pixels", "a GPU, 10 times as fast"): 1.8,
        ("18 tasks, 32 pixels", "8 such hosts"): 0.3,
        ("12 tasks, 224 pixels", "this machine"): 12,
        ("12 tasks, 224 pixels", "a GPU, 10 times as fast"): 1.2,
        ("12 tasks, 224 pixels", "8 such hosts"): 0.2,
    }
    assert len(medmnist_names(2)) == 12
