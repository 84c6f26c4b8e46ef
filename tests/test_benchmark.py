"""The benchmark runs from end to end; how fast things are is not tested."""

import dataclasses
import json
import math
import os
import pathlib
import subprocess
import sys

import benchmark
import benchmark_equivariance
import benchmark_gpu
import benchmark_layers
import benchmark_models
import keras
import numpy as np
import pytest
import small_network
import timing
from config import RunConfig
from helpers import needs_export
from models import build_model

from keras_sre import SREConv2D
from keras_sre import SREConv3D


def run(suite, tmp_path, *options):
    folder = tmp_path / "figures"
    folder.mkdir()
    output = folder / "figures.json"
    arguments = ["--suite", suite, "--repeats", "2", "--output", str(output)]
    benchmark.main([*arguments, *options])
    assert [path.name for path in folder.iterdir()] == ["figures.json"]
    return json.loads(output.read_text())[suite]


def test_layers(tmp_path, monkeypatch, capsys):
    layers = ((3, 4, (6, 6), 2), (3, 4, (4, 4, 4), 1))
    others = (("DepthwiseConv2D", (3,), 2, (4, 4), 1),)
    monkeypatch.setattr(benchmark_layers, "LAYERS", layers)
    monkeypatch.setattr(benchmark_layers, "OTHERS", others)
    images, volumes = "3 x 3, 4 ch, 6 x 6", "3 x 3 x 3, 4 ch, 4 x 4 x 4"
    rows = run("layers", tmp_path)
    names = ["plain", *benchmark_layers.RINGS]
    assert [(row["case"], row["what"]) for row in rows] == [
        *((images, name) for name in names),
        *((volumes, name) for name in names if name != "depthwise"),
        ("DepthwiseConv2D(3,), 2 ch, 4 x 4", "plain"),
        ("DepthwiseConv2D(3,), 2 ch, 4 x 4", "auto"),
    ]
    for row in rows:
        assert row["forward_ms"] > 0 and row["step_ms"] > 0
    assert all(row["floor_ratio"] > 0 for row in rows[:-2])
    assert rows[0]["forward_ratio"] == rows[0]["step_ratio"] == 1
    printed = capsys.readouterr().out
    assert "harmonics" in printed and "floor" in printed


@pytest.mark.parametrize("harmonics", [(), (1, 2)])
def test_copies(harmonics, rng):
    """Ring sums are copies: what a layer multiplies is the map itself."""
    layer = SREConv2D(4, 5, padding="same", harmonics=harmonics, use_bias=False)
    x = rng.normal(size=(2, 6, 6, 3)).astype("float32")
    expected = []
    layer.build(x.shape)
    benchmark_layers.make_copies(layer)
    kernels = {0: layer.ring_kernel, **layer.harmonic_kernels}
    for order, kernel in kernels.items():
        kernel = keras.ops.convert_to_numpy(kernel)
        functions, rings = 2 if order else 1, len(kernel)
        factors = 1 + np.arange(functions * rings).reshape(functions, rings)
        weights = np.einsum("ir,rcf->icf", factors, kernel)
        products = np.einsum("nhwc,icf->inhwf", x, weights)
        norm = np.sqrt(np.square(products).sum(axis=0))
        expected.append(norm if order else products[0])
    expected = np.concatenate(expected, axis=-1)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-4)


def test_models(tmp_path, monkeypatch):
    """Ratios are to the faster of the plain ones."""
    networks = dict(list(benchmark_models.SETTINGS["2D"].networks.items())[::3])
    tiny = benchmark_models.Setting((8, 8, 1), 2, width=2, networks=networks)
    monkeypatch.setattr(benchmark_models, "SETTINGS", {"tiny": tiny})
    build_model = small_network.build_model
    monkeypatch.setattr(benchmark_models, "build_model", build_model)
    monkeypatch.setattr(
        timing,
        "measure_alone",
        lambda module, function, *arguments: {"first_s": 1.0, "memory_mib": 2},
    )
    rows = run("models", tmp_path, "--torch-python", fake_torch(tmp_path))
    plain, *rings = networks
    modes = ["on"] if keras.backend.backend() == "jax" else ["auto", "on"]
    assert [(row["what"], row["mode"]) for row in rows] == [
        *((network, mode) for mode in modes for network in networks),
        *((network, "copies") for network in rings),
        *((network, "products") for network in rings),
        ("official", "torch"),
    ]
    times = [row["step_ms"] for row in rows if row["what"] == plain]
    for row in rows:
        assert row["step_ratio"] == row["step_ms"] / min(times)
        if row["mode"] not in ("products", "torch"):
            assert row["first_ratio"] == row["memory_ratio"] == 1
    asked = (tmp_path / "asked").read_text().split("\n")
    # Three rounds to warm up and two that count.
    assert asked == 5 * ['["official", "inference"]', '["official", "step"]']


@needs_export
def test_litert(tmp_path, monkeypatch):
    networks = dict(list(benchmark_models.SETTINGS["2D"].networks.items())[::3])
    tiny = benchmark_models.Setting((8, 8, 1), 4, width=2, networks=networks)
    monkeypatch.setattr(benchmark_models, "SETTINGS", {"2D": tiny})
    build_model = small_network.build_model
    monkeypatch.setattr(benchmark_models, "build_model", build_model)
    monkeypatch.setattr(timing, "measure_alone", lambda *arguments: 1.5)
    rows = run("litert", tmp_path)
    cases = ("float32", "float16", "dynamic", "int8")
    assert [(row["case"], row["what"]) for row in rows] == [
        (case, network) for case in cases for network in networks
    ]
    for row in rows:
        assert 0 < row["latency_ms"] <= row["latency_p90"]
        assert row["latency_2_threads_ms"] > 0 and row["mb"] > 0
    assert rows[0]["latency_ratio"] == rows[0]["mb_ratio"] == 1


def fake_torch(folder):
    """Returns an interpreter whose official network does nothing."""
    path = folder / "torch_python"
    path.write_text(
        f"""#!/usr/bin/env python3
import sys
print('["official"]', flush=True)
asked = []
for line in sys.stdin:
    asked.append(line.strip())
    print("done", flush=True)
open({str(folder / "asked")!r}, "w").write("\\n".join(asked))
"""
    )
    path.chmod(0o755)
    return str(path)


def test_first_step_is_measured_in_a_process_of_its_own():
    found = timing.measure_alone("timing", "_summary", [4.0, 1.0, 2.0, 3.0])
    assert found == [2.5, 0.3]


def test_equivariance(tmp_path, monkeypatch):
    """Hard rings are far from a plain kernel, and linear ones farther."""
    monkeypatch.setattr(benchmark_equivariance, "KERNEL_SIZES", (7,))
    monkeypatch.setattr(benchmark_equivariance, "SCALES", {"half": 0.5})
    rows = run("equivariance", tmp_path)
    errors = {row["what"]: row["error"] for row in rows}
    assert 0.4 < errors["plain"] < 1
    assert errors["hard"] < 0.1 * errors["plain"]
    assert errors["linear"] < 0.5 * errors["hard"]
    assert errors["linear"] < 0.6 * errors["gaussian"]
    assert errors["cosine"] < 0.6 * errors["linear"]
    assert errors["harmonics, linear"] < 0.3 * errors["plain"]
    for row in rows:
        assert (row["grid_error"] < 1e-5) == (row["what"] != "plain")


def test_equivariance_of_trained_networks(tmp_path, monkeypatch):
    """The plain twin's logits change more; the network's hardly at 90."""
    monkeypatch.setattr(benchmark_equivariance, "NUM_IMAGES", 8)
    output = tmp_path / "run"
    (output / "plain").mkdir(parents=True)
    options = {"kernel_sizes": (3, 3, 3, 3), "ring_profile": "linear"}
    for name, place in (("sre_resnet18", "."), ("resnet18", "plain")):
        config = dataclasses.asdict(RunConfig(model=name, **options).resolve())
        config["dataset_md5"] = None
        (output / place / "config.json").write_text(json.dumps(config))
        model = build_model(name, (32, 32, 1), 6, 4, **options)
        model.save(output / place / "model.keras")
    report = tmp_path / "report.json"
    benchmark.main(
        [
            *("--suite", "equivariance", "--output", str(report)),
            *("--runs", str(output), str(output / "plain")),
        ]
    )
    rows = json.loads(report.read_text())["equivariance"]
    assert [row["case"] for row in rows] == ["textures, trained"] * 2
    rings, plain = rows
    assert (rings["what"], plain["what"]) == ("linear", "plain")
    assert rings["grid_error"] < 1e-4 < plain["grid_error"]
    assert rings["error"] > 1e-3


GPU = """
import dataclasses, sys
import benchmark, benchmark_gpu, benchmark_models
sys.path.append(sys.argv.pop())
import small_network
benchmark_gpu.build_model = small_network.build_model
benchmark_gpu.check_gpu = lambda: None  # the CPU will do
benchmark_gpu.MATRIX_SIZE, benchmark_gpu.COPY_BYTES = 16, 256
benchmark_gpu.SETTINGS = {"8 x 8": ("2D", (8, 8, 1), 2)}
setting = benchmark_models.SETTINGS["2D"]
networks = ("plain 3 3 3 3", "SRE 3 3 3 3")
benchmark_models.SETTINGS["2D"] = dataclasses.replace(
    setting, width=2, networks={n: setting.networks[n] for n in networks}
)
benchmark.main(sys.argv[1:])
"""


def test_gpu(tmp_path):
    pytest.importorskip("jax")
    output = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-c", GPU, "--suite", "gpu", "--repeats", "2"]
        + ["--output", str(output), os.path.dirname(__file__)],
        cwd=pathlib.Path(benchmark.__file__).parent,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "TFLOP/s" in done.stdout and "GB/s" in done.stdout
    rows = json.loads(output.read_text())["gpu"][3:]
    assert [(row["case"], row["what"]) for row in rows] == [
        (f"8 x 8, {dtype}", what)
        for dtype in ("float32", "bfloat16")
        for what in ("plain 3 3 3 3", "SRE 3 3 3 3")
    ]
    for row in rows:
        assert row["inference_ms"] > 0 and row["step_floor"] > 0
    assert rows[2]["step_ratio"] == 1


@pytest.mark.parametrize(
    ("operations", "bytes_", "microseconds"),
    [(400e12, 4e12, 67.1), (100e12, 4e12, 128.8)],
)
def test_floor_of_a_network_on_a_gpu(operations, bytes_, microseconds):
    model = keras.Sequential(
        [keras.Input((32, 32, 64)), SREConv2D(64, 5, padding="same")]
    )
    rates = {"products": {"float32": operations}, "bytes": bytes_}
    seconds = benchmark_gpu.floor_seconds(model, 512, "float32", rates)
    assert 1e6 * seconds == pytest.approx(microseconds, rel=1e-3)


def test_harmonics_multiply_once_for_each_function():
    layer = SREConv3D(8, 3, harmonics=(1, 2), harmonic_fraction=0.75)
    keras.Sequential([keras.Input((8, 8, 8, 4)), layer])
    (rings, channels, filters), *others = (w.shape for w in layer.weights[:3])
    expected = rings * channels * filters
    for shape, functions in zip(others, (3, 5), strict=True):
        expected += functions * math.prod(shape)
    assert benchmark_gpu._products(layer) == expected
    plain = keras.layers.Conv2D(8, 3)
    keras.Sequential([keras.Input((8, 8, 4)), plain])
    assert benchmark_gpu._products(plain) == 9 * 4 * 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "equivariance", "--runs", "no/run"], "no run directory"),
        (["--repeats", "0"], "--repeats 0"),
        (["--output", "no/such/folder.json"], "no folder no/such"),
        (["--suite", "models", "--torch-python", "no/python"], "no/python"),
        (["--suite", "models", "--torch-python", "false"], "cannot import"),
        (["--suite", "gpu"], "needs a GPU and the JAX backend"),
    ],
)
def test_bad_input_is_one_line(arguments, message):
    with pytest.raises(SystemExit, match=message):
        benchmark.main(arguments)


def test_cases_take_turns():
    calls = []
    cases = {name: lambda name=name: calls.append(name) for name in "ab"}
    timed = timing.time_in_turn(cases, repeats=2, title="", warm_up=1)
    assert calls == list("ababab")
    assert all(median > 0 and spread >= 0 for median, spread in timed.values())
