"""Whole networks beside the plain ResNet of the same depth and map sizes.

The first step, most of which is compilation, and the peak memory can be
measured only once in a process: each network has one of its own for them.
Ratios are to the faster of the plain network with XLA off and on.
"""

import dataclasses
import time

import keras
import numpy as np
import timing
from benchmark_layers import predict_call
from benchmark_layers import train_call
from models import build_model


@dataclasses.dataclass(frozen=True)
class Setting:
    """Networks that are compared with one another, the plain one first.

    `networks` holds arguments of `build_model` by the name in the table.
    """

    input_shape: tuple
    batch: int
    width: int
    networks: dict
    classes: int = 10


def _rings(name, *kernel_sizes, **options):
    return {"name": name, "kernel_sizes": kernel_sizes, **options}


SETTINGS = {
    "2D": Setting(
        (32, 32, 3),
        batch=32,
        width=64,
        networks={
            "plain 3 3 3 3": {"name": "resnet18"},
            "SRE 9 9 5 5": _rings("sre_resnet18", 9, 9, 5, 5),
            "SRE 5 5 3 3": _rings("sre_resnet18", 5, 5, 3, 3),
            "SRE 3 3 3 3": _rings("sre_resnet18", 3, 3, 3, 3),
            "SRE 5 5 3 3, harmonics": _rings(
                "sre_resnet18", 5, 5, 3, 3, harmonics=(1, 2)
            ),
        },
    ),
    "3D": Setting(
        (32, 32, 32, 1),
        batch=2,
        width=32,
        networks={
            "plain 3 3 3 3": {"name": "resnet3d18"},
            "SRE 5 5 5 5": _rings("sre_resnet3d18", 5, 5, 5, 5),
            "SRE 3 3 3 3": _rings("sre_resnet3d18", 3, 3, 3, 3),
            "SRE 3 3 3 3, harmonics": _rings(
                "sre_resnet3d18", 3, 3, 3, 3, harmonics=(1, 2)
            ),
        },
    ),
}


def run(repeats):
    """Returns one row, a dict, for each network, with XLA off and on."""
    rows = []
    for name in SETTINGS:
        rows += _time_setting(name, repeats)
    return rows


def _time_setting(setting, repeats):
    modes = [True] if keras.backend.backend() == "jax" else [False, True]
    networks = list(SETTINGS[setting].networks)
    names = [(network, jit) for jit in modes for network in networks]
    alone = {
        name: timing.measure_alone(
            "benchmark_models", "first_step", setting, *name
        )
        for name in names
    }
    cases = {}
    for name in names:
        model, x, y = _compiled_model(setting, *name)
        cases[*name, "step"] = train_call(model, x, y)
        cases[*name, "inference"] = predict_call(model, x)
    times = timing.time_in_turn(cases, repeats, f"{setting} networks")
    figures = {}
    for name in names:
        figures[name] = {}
        for work in ("inference", "step"):
            median, spread = times[*name, work]
            figures[name] |= {f"{work}_ms": median, f"{work}_spread": spread}
        figures[name] |= alone[name]
    rows = []
    for network, jit in names:
        row = {"case": setting, "what": network, "xla": "on" if jit else "auto"}
        for figure, value in figures[network, jit].items():
            row[figure] = value
            work, unit = figure.rsplit("_", 1)
            if unit != "spread":
                plain = min(
                    figures[networks[0], mode][figure] for mode in modes
                )
                row[f"{work}_ratio"] = value / plain
        rows.append(row)
    return rows


def first_step(setting, network, jit):
    """Returns first-step seconds and peak memory of this process."""
    model, x, y = _compiled_model(setting, network, jit)
    start = time.perf_counter()
    model.train_on_batch(x, y)
    seconds = time.perf_counter() - start
    for _ in range(3):
        model.train_on_batch(x, y)
    return {"first_s": seconds, "memory_mib": timing.peak_memory()}


def _compiled_model(setting, network, jit):
    setting = SETTINGS[setting]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(setting.batch, *setting.input_shape)).astype("float32")
    y = rng.integers(0, setting.classes, setting.batch)
    keras.utils.set_random_seed(0)
    model = build_model(
        **setting.networks[network],
        input_shape=setting.input_shape,
        classes=setting.classes,
        width=setting.width,
    )
    model.compile(
        keras.optimizers.SGD(1e-3, momentum=0.9),
        "sparse_categorical_crossentropy",
        # "auto" is what users get who do not think of it.
        jit_compile=True if jit else "auto",
    )
    return model, x, y
