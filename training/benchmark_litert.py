"""Exported networks on LiteRT: size, latency of one image, memory.

Networks and image size are those of the suite `models`; weights are random, as
time does not depend on them. Ratios are to the plain network quantized alike.
"""

import pathlib
import tempfile

import benchmark_models
import numpy as np
import timing

import keras_sre

QUANTIZATIONS = (None, "float16", "dynamic", "int8")
THREADS = (1, 2)


def run(repeats):
    """Returns one row, a dict, for each network and quantization."""
    with tempfile.TemporaryDirectory() as folder:
        return _run(repeats, pathlib.Path(folder))


def _run(repeats, folder):
    # Of volumes the plain twin has no LiteRT form: its strides are pooling.
    networks = list(benchmark_models.SETTINGS["2D"].networks)
    rows, cases = [], {}
    for network in networks:
        model, x, _ = benchmark_models.compiled_model("2D", network, "auto")
        for quantization in QUANTIZATIONS:
            path = folder / f"{network} {quantization}.tflite"
            report = keras_sre.export(
                model,
                path,
                quantization=quantization,
                representative_data=x[:4],
                verify=False,
            )
            rows.append(
                {
                    "case": quantization or "float32",
                    "what": network,
                    "mb": report.bytes / 1e6,
                    "memory_mib": timing.measure_alone(
                        "benchmark_litert", "memory_of", str(path)
                    ),
                }
            )
            for threads in THREADS:
                cases[len(rows) - 1, threads] = invocation(path, threads)
    times = timing.time_in_turn(cases, repeats, "LiteRT", percentile=90)
    for index, row in enumerate(rows):
        for threads in THREADS:
            median, spread, high = times[index, threads]
            name = f"latency_{threads}_threads" if threads > 1 else "latency"
            row[f"{name}_ms"], row[f"{name}_spread"] = median, spread
            if threads == 1:
                row["latency_p90"] = high
    plain = {row["case"]: row for row in rows if row["what"] == networks[0]}
    for row in rows:
        row["latency_ratio"] = (
            row["latency_ms"] / plain[row["case"]]["latency_ms"]
        )
        row["mb_ratio"] = row["mb"] / plain[row["case"]]["mb"]
    return sorted(rows, key=lambda row: list(plain).index(row["case"]))


def invocation(path, threads):
    """Returns a call that runs a LiteRT file on one image."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (found,) = interpreter.get_input_details()
    x = np.random.default_rng(0).normal(size=found["shape"])
    if np.issubdtype(found["dtype"], np.integer):
        x = np.clip(40 * x, -128, 127)
    interpreter.set_tensor(found["index"], x.astype(found["dtype"]))
    return interpreter.invoke


def memory_of(path):
    """Returns what running a file adds to this process' peak, in MiB."""
    import ai_edge_litert.interpreter  # noqa: F401  (before it is measured)

    before = timing.peak_memory()
    invocation(path, threads=1)()
    return timing.peak_memory() - before
