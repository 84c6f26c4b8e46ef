"""Times ring convolutions and networks beside the plain ones they replace.

    python training/benchmark.py --suite layers
    python training/benchmark.py --suite models
    KERAS_BACKEND=jax python training/benchmark.py --output FILE.json
    KERAS_BACKEND=jax python training/benchmark.py --suite gpu

`layers`: forward and training step of one convolution, images and volumes, in
every implementation; its ratio to the plain 3-tap one and to one product of its
size. `models`: SRE-ResNet-18 and the plain ResNet-18, 32x32x3 at batch 32 and
32x32x32 at batch 2, with XLA off and on: inference, training step, first step
(compilation) and peak memory. In both, "copies" has rings of one tap each: what
is left without the additions of ring sums. `litert`: the same networks
exported, float32 to int8: size, latency of one image, memory. `equivariance`:
the error of one layer on pictures turned by any angle, by ring profile; with
`--runs`, how much the logits of trained networks change. `scaling`: seconds for
1000 images and memory against the size of images, the width and the size of the
set, one process against two, and what all 18 tasks of MedMNIST cost at that
rate. `gpu`: the networks on a GPU (JAX), float32 and bfloat16, beside what the
GPU allows.

What is compared runs in one process, in turn, so that a drifting machine drifts
for all. Figures are medians with half the distance of the quartiles; the first
calls are not counted.
"""

import argparse
import os
import pathlib
import platform
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import benchmark_equivariance
import benchmark_gpu
import benchmark_layers
import benchmark_litert
import benchmark_models
import benchmark_scaling
import keras
from rich import console
from rich import table
from run_directory import write_json

SUITES = {
    "layers": benchmark_layers.run,
    "models": benchmark_models.run,
    "litert": benchmark_litert.run,
    "equivariance": benchmark_equivariance.run,
    "scaling": benchmark_scaling.run,
    "gpu": benchmark_gpu.run,
}


def print_rows(rows, title):
    """Prints dicts of one suite as a table, spreads beside their medians."""
    columns = [
        name
        for name in dict.fromkeys(name for row in rows for name in row)
        if not name.endswith("_spread")
        and any(row.get(name) is not None for row in rows)
    ]
    grid = table.Table(title=title)
    for column in columns:
        left = column in ("case", "what")
        grid.add_column(
            column.replace("_", " "), justify="left" if left else "right"
        )
    for row in rows:
        grid.add_row(*(_cell(row, column) for column in columns))
    console.Console(width=max(120, console.Console().width)).print(grid)


def _cell(row, column):
    value = row.get(column)
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    if column.endswith("error"):
        return f"{value:.2g}"
    spread = row.get(f"{column.removesuffix('_ms')}_spread")
    if spread is None or not column.endswith("_ms"):
        return f"{value:.2f}"
    return f"{value:.1f} ± {100 * spread:.0f} %"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--suite", choices=SUITES, help="(default: all but gpu)"
    )
    parser.add_argument(
        "--repeats", type=int, default=15, help="calls (or angles) counted (15)"
    )
    parser.add_argument(
        "--torch-python",
        metavar="PATH",
        help="an interpreter with torch and SRE_Conv or GMR_Conv: time their "
        "networks as well (models)",
    )
    parser.add_argument(
        "--runs",
        nargs="+",
        default=(),
        metavar="RUN_DIR",
        help="run directories of trained networks (equivariance)",
    )
    parser.add_argument(
        "--gpu-speed",
        type=float,
        metavar="X",
        help="how many times as fast as this machine a GPU is taken to be "
        "(an assumption; default: leave GPUs out; scaling)",
    )
    parser.add_argument("--output", help="write the figures here as JSON")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        sys.exit(f"benchmark.py: --repeats {args.repeats}; use 1 or more.")
    if args.gpu_speed is not None and not 0 < args.gpu_speed < float("inf"):
        sys.exit(
            f"benchmark.py: --gpu-speed {args.gpu_speed}; use a positive "
            "number."
        )
    output = args.output and pathlib.Path(args.output)
    if output and not output.parent.is_dir():
        sys.exit(f"benchmark.py: --output {output}: no folder {output.parent}.")
    report = {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
    }
    try:
        all_suites = [suite for suite in SUITES if suite != "gpu"]
        for suite in [args.suite] if args.suite else all_suites:
            options = {
                "models": {"torch_python": args.torch_python},
                "equivariance": {"runs": args.runs},
                "scaling": {"gpu_speed": args.gpu_speed},
            }
            report[suite] = SUITES[suite](
                args.repeats, **options.get(suite, {})
            )
            title = f"{suite}: {report['backend']}, {report['cores']} cores"
            print_rows(report[suite], title)
            if output:  # after each suite: the next takes minutes
                write_json(output, report)
    except (ValueError, OSError) as error:
        sys.exit(f"benchmark.py: {error}")
    except KeyboardInterrupt:
        sys.exit("benchmark.py: interrupted.")


if __name__ == "__main__":
    main()
