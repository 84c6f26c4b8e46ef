"""Times ring convolutions and networks beside the plain ones they replace.

    python training/benchmark.py --suite layers
    python training/benchmark.py --suite models
    KERAS_BACKEND=jax python training/benchmark.py --output FILE.json

`layers`: forward and training step of one convolution, in every
implementation. `models`: SRE-ResNet-18 (kernels 9, 9, 5, 5; 5, 5, 3, 3; the
latter with harmonics 1, 2) and the plain ResNet-18 (3x3) at 32x32x3, batch 32,
with XLA off and on: inference, training step, first step (compilation) and peak
memory. Three and six minutes on two cores.

Everything compared runs in one process, in turn, so that a drifting machine
drifts for both; figures are medians, the first calls are not counted. The first
step and the memory are measured in a process of their own for each model, since
they can be measured only once. Ratios are to the faster of the plain ones.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import resource
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import ops
from models import build_model
from rich import console
from rich import table

import keras_sre

SHAPE, CLASSES, BATCH = (32, 32, 3), 10, 32
# Kernel size, channels and filters, height and width.
LAYERS = ((9, 64, 32), (9, 128, 16), (5, 256, 8), (5, 512, 4), (3, 64, 32))
SMALL_KERNELS = {"kernel_sizes": (5, 5, 3, 3)}
# Name in the table: arguments of `build_model`. The first is compared with.
MODELS = {
    "plain 3 3 3 3": {"name": "resnet18"},
    "SRE 9 9 5 5": {"name": "sre_resnet18"},
    "SRE 5 5 3 3": {"name": "sre_resnet18", **SMALL_KERNELS},
    "SRE 5 5 3 3, harmonics": {
        "name": "sre_resnet18",
        **SMALL_KERNELS,
        "harmonics": (1, 2),
    },
}
SUITES = ("layers", "models")


def run(suite, repeats=15):
    """Returns the rows of a suite, a list of dicts.

    Args:
        suite: `"layers"` or `"models"`.
        repeats: int, how often each thing is timed.
    """
    return {"layers": time_layers, "models": time_models}[suite](repeats)


def time_layers(repeats):
    rng = np.random.default_rng(0)
    rows = []
    for size, channels, side in LAYERS:
        x = rng.normal(size=(BATCH, side, side, channels)).astype("float32")
        named = {"plain 3x3": keras.layers.Conv2D(channels, 3, padding="same")}
        for implementation in ("auto", "dense", "depthwise"):
            named[implementation] = keras_sre.SREConv2D(
                channels, size, padding="same", implementation=implementation
            )
        cases = {}
        for name, layer in named.items():
            # Trainable, so that the gradient by the input is needed too.
            scale = keras.layers.PReLU(shared_axes=[1, 2])
            model = keras.Sequential([keras.Input(x.shape[1:]), scale, layer])
            model.compile("sgd", "mse", jit_compile="auto")
            cases[name, "forward"] = _predict_call(model, x)
            cases[name, "step"] = _train_call(model, x, np.zeros_like(x))
        medians = time_in_turn(cases, repeats)
        for name in named:
            rows.append(
                {
                    "case": f"{size}x{size}, {channels} ch, {side}x{side}",
                    "what": name,
                    "forward_ms": medians[name, "forward"],
                    "forward_ratio": medians[name, "forward"]
                    / medians["plain 3x3", "forward"],
                    "step_ms": medians[name, "step"],
                    "step_ratio": medians[name, "step"]
                    / medians["plain 3x3", "step"],
                }
            )
    return rows


def time_models(repeats):
    modes = [True] if keras.backend.backend() == "jax" else [False, True]
    names = [(name, jit) for jit in modes for name in MODELS]
    first = {key: _measure_alone(*key) for key in names}
    cases = {}
    for name, jit in names:
        model, x, y = _compiled_model(name, jit)
        cases[name, jit, "step"] = _train_call(model, x, y)
        cases[name, jit, "inference"] = _predict_call(model, x)
    medians = time_in_turn(cases, repeats)
    figures = {
        (name, jit): {
            "inference_ms": medians[name, jit, "inference"],
            "step_ms": medians[name, jit, "step"],
            **first[name, jit],
        }
        for name, jit in names
    }
    rows = []
    for name, jit in names:
        row = {"model": name, "XLA": "on" if jit else "auto"}
        for figure, value in figures[name, jit].items():
            plain = min(
                figures[next(iter(MODELS)), mode][figure] for mode in modes
            )
            row[figure] = value
            row[f"{figure.rsplit('_', 1)[0]}_ratio"] = value / plain
        rows.append(row)
    return rows


def time_in_turn(cases, repeats, warm_up=3):
    """Returns the median milliseconds of each of a dict of functions.

    They are called in turn, A B C A B C, after `warm_up` rounds.
    """
    times = {name: [] for name in cases}
    for round_number in range(warm_up + repeats):
        for name, call in cases.items():
            start = time.perf_counter()
            call()
            if round_number >= warm_up:
                times[name].append(time.perf_counter() - start)
    return {name: 1e3 * float(np.median(t)) for name, t in times.items()}


def _compiled_model(name, jit):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, *SHAPE)).astype("float32")
    y = rng.integers(0, CLASSES, BATCH)
    keras.utils.set_random_seed(0)
    options = {"input_shape": SHAPE, "classes": CLASSES, "width": 64}
    model = build_model(**MODELS[name], **options)
    model.compile(
        keras.optimizers.SGD(1e-3, momentum=0.9),
        "sparse_categorical_crossentropy",
        # "auto" is what users get who do not think of it.
        jit_compile=True if jit else "auto",
    )
    return model, x, y


def _train_call(model, x, y):
    return lambda: model.train_on_batch(x, y)


def _predict_call(model, x):
    return lambda: ops.convert_to_numpy(model.predict_on_batch(x))


def _measure_alone(name, jit):
    """Returns first-step seconds and peak memory, from a fresh process."""
    code = "import benchmark; benchmark.print_first_step"
    process = subprocess.run(
        [sys.executable, "-c", f"{code}({name!r}, {jit})"],
        cwd=pathlib.Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(process.stdout.splitlines()[-1])


def print_first_step(name, jit):
    model, x, y = _compiled_model(name, jit)
    start = time.perf_counter()
    model.train_on_batch(x, y)
    first_step = time.perf_counter() - start
    for _ in range(3):
        model.train_on_batch(x, y)
    print(json.dumps({"first_s": first_step, "memory_mib": _peak_memory()}))


def _peak_memory():
    """Returns this process' peak resident memory in MiB.

    The operating system's own count on Linux: `getrusage` would count the
    parent, from which a process is forked, as well.
    """
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        return int(peak.group(1)) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def print_rows(rows, title):
    grid = table.Table(title=title)
    for column in rows[0]:
        grid.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        grid.add_row(*map(_cell, row.values()))
    console.Console(width=max(110, console.Console().width)).print(grid)


def _cell(value):
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--suite", choices=SUITES, help="(default: all)")
    parser.add_argument("--repeats", type=int, default=15, help="(15)")
    parser.add_argument("--output", help="write the figures here as JSON")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        sys.exit(f"benchmark.py: --repeats {args.repeats}; use 1 or more.")
    report = {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
    }
    for suite in [args.suite] if args.suite else SUITES:
        report[suite] = run(suite, args.repeats)
        title = f"{suite}: {report['backend']}, {report['cores']} cores"
        print_rows(report[suite], title)
    if args.output:
        path = pathlib.Path(args.output)
        partial = path.with_name(f".{path.name}.partial")
        try:
            partial.write_text(json.dumps(report, indent=1) + "\n")
            partial.replace(path)
        except OSError as error:
            sys.exit(f"benchmark.py: cannot write {path}: {error.strerror}.")


if __name__ == "__main__":
    main()
