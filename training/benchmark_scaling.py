"""How the cost of a run grows, and what all tasks of MedMNIST cost.

Each figure is measured in a process of its own: training steps of the recipe
`best` with its input pipeline, on random images, beside the plain twin.
"""

import concurrent.futures
import heapq
import os
import pathlib
import tempfile
import time

import keras
import numpy as np
import timing
from data import medmnist_names
from data import num_images
from data import rank_of
from evaluate import NUM_CHECKED
from loop import Batches
from loop import augmentations_of
from models import build_model
from models import twin_of
from recipes import default_epochs
from recipes import recipe_for

WIDTH = 32
# Height and width of images, and the batch of a step: half at twice the side.
SIZES = {32: 32, 64: 32, 128: 16, 224: 8}
WIDTHS = (8, 16, 64)  # and 32: the smallest size
SET_SIZES = (1_000, 10_000, 50_000)
# Predictions of each test image, for one table, by a network that sees no
# quarter turns: upright; two angles (of images: eight) about each axis; and
# mirrored along each axis.
POSES = {2: 1 + 8 + 2, 3: 1 + 3 * 2 + 3}
TABLES = 2  # the whole square, and the inscribed disc
VOLUME = {"size": 32, "width": 16, "batch": 4}
HOSTS = 8
MEETING_S = 600  # until a process is taken to have died
RANDOM_IMAGES = 64


def run(repeats, gpu_speed=None):
    """Returns rows: growth with size, width and set, cores, and all tasks.

    Args:
        repeats: int, how many steps are counted.
        gpu_speed: float, how many times as fast as this machine a GPU is; an
            assumption, not a measurement. `None` leaves GPUs out.
    """
    rows = []
    per_image = {}
    for size, batch in SIZES.items():
        found = _compare(
            f"{size} x {size}, by {batch}", repeats, size, WIDTH, batch
        )
        per_image[size] = found[-1]
        rows += found
    for width in WIDTHS:
        rows += _compare(f"width {width}", repeats, 32, width, 32)
    for count in SET_SIZES:
        case = f"{count:,} images"
        rows += _compare(case, repeats, 32, WIDTH, 32, count)
    rows += _compare_cores(repeats)
    volumes = _compare("32 x 32 x 32", repeats, *VOLUME.values(), rank=3)
    rows += volumes
    return rows + cost_of_all(per_image, volumes[-1], gpu_speed)


def _compare(case, repeats, size, width, batch, count=RANDOM_IMAGES, rank=2):
    """Returns the rows of the plain and of the ring network."""
    dataset = {2: "breastmnist", 3: "adrenalmnist3d"}[rank]
    ring = {2: "sre_resnet18", 3: "sre_resnet3d18"}[rank]
    rows = []
    for what, name in (("plain", twin_of(ring)), ("best", ring)):
        figures = timing.measure_alone(
            "benchmark_scaling",
            "measure",
            *(name, dataset, size, width, batch, count, repeats),
        )
        rows.append({"case": case, "what": what, **figures})
        rows[-1]["train_ratio"] = figures["train_s"] / rows[0]["train_s"]
    return rows


def measure(
    name, dataset, size, width, batch, count, repeats, core=None, meet=None
):
    """Measures training and inference in this process.

    Args:
        name: model, as in `build_model`.
        dataset: name of the MedMNIST set whose recipe and rank are taken.
        size, width, batch: ints.
        count: int, how many random RGB images (grey volumes) there are.
        repeats: int, how many steps are counted.
        core: int, the only core to use, or `None`.
        meet: folder in which two processes wait for one another, or `None`.

    Returns:
        Dict of seconds per 1000 images, `train_s` with the input pipeline and
        `predict_s`, and of the peak memory, `memory_mib`.
    """
    if core is not None:
        os.sched_setaffinity(0, {core})
    recipe = recipe_for(dataset, "best")
    rank = 3 if "3d" in name else 2
    shape = (*(size,) * rank, 3 if rank == 2 else 1)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape), "uint8")
    batches = Batches(
        images, np.arange(count) % 2, batch, 0, augmentations_of(recipe)
    )
    model = build_model(
        name,
        shape,
        2,
        width,
        kernel_sizes=recipe.kernel_sizes,
        ring_profile=recipe.ring_profile,
        harmonics=recipe.harmonics,
    )
    optimizer = recipe.make_optimizer(1e-3, recipe.weight_decay, 1000)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    x, _ = batches[0]

    def train(step):
        model.train_on_batch(*batches[step % len(batches)])

    def predict(step):
        keras.ops.convert_to_numpy(model.predict_on_batch(x))

    figures = {}
    for figure, work in (("train_s", train), ("predict_s", predict)):
        for step in range(2):
            work(step)
        if meet and figure == "train_s":
            _wait_for_the_other(pathlib.Path(meet))
        seconds = []
        for step in range(repeats):
            start = time.perf_counter()
            work(step)
            seconds.append(time.perf_counter() - start)
        figures[figure] = 1000 * float(np.median(seconds)) / len(x)
    return figures | {"memory_mib": timing.peak_memory()}


def _wait_for_the_other(folder):
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + MEETING_S
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() > end:
            raise TimeoutError("The other process did not come.")
        time.sleep(0.01)


def _compare_cores(repeats):
    """Returns rows of one process on one core, and of two on two.

    None if there is only one core.
    """
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        return []
    arguments = "sre_resnet18", "breastmnist", 32, WIDTH, 32, RANDOM_IMAGES

    def one(core, meet=None):
        return timing.measure_alone(
            *("benchmark_scaling", "measure", *arguments, repeats, core, meet)
        )

    alone = one(cores[0])
    with (
        tempfile.TemporaryDirectory() as meet,
        concurrent.futures.ThreadPoolExecutor(2) as both,
    ):
        together = list(both.map(one, cores, (meet, meet)))
    seconds = 1 / sum(1 / figures["train_s"] for figures in together)
    memory = sum(figures["memory_mib"] for figures in together)
    speedup = alone["train_s"] / seconds
    return [
        {"case": "cores", "what": "1 process", **alone, "speedup": 1.0},
        {
            **{"case": "cores", "what": "2 processes", "train_s": seconds},
            **{"memory_mib": memory, "speedup": speedup},
        },
    ]


def cost_of_all(per_image, per_volume, gpu_speed):
    """Returns rows: hours of all tasks on one machine and on eight.

    Args:
        per_image: dict of size to a row of `_compare`, seconds per 1000.
        per_volume: such a row.
        gpu_speed: as in `run`.
    """
    rows = []
    for size in (32, 224):
        hours = [
            cost_of(name, per_image[size]) / 3600 for name in medmnist_names(2)
        ]
        if size == 32:
            volumes = medmnist_names(3)
            hours += [cost_of(name, per_volume) / 3600 for name in volumes]
        case = f"{len(hours)} tasks, {size} pixels"
        speeds = {"this machine": 1.0}
        if gpu_speed:
            speeds[f"a GPU, {gpu_speed:g} times as fast"] = gpu_speed
        for what, speed in speeds.items():
            for hosts in (1, HOSTS):
                name = what if hosts == 1 else f"{hosts} hosts: {what}"
                longest = makespan(hours, hosts) / speed
                rows.append({"case": case, "what": name, "hours": longest})
    return rows


def cost_of(name, row):
    """Returns the seconds of a run of the recipe `best` on a MedMNIST set.

    Args:
        name: of the set.
        row: dict of `train_s` and `predict_s`, seconds per 1000 images.
    """
    recipe = recipe_for(name, "best")
    counts = {split: num_images(name, split) for split in ("val", "test")}
    epochs = default_epochs(recipe, name, recipe.batch_size)
    trained = epochs * num_images(name, "train")
    tested = num_predictions(rank_of(name), counts["test"])
    looked_at = epochs * counts["val"] + tested
    return (trained * row["train_s"] + looked_at * row["predict_s"]) / 1000


def num_predictions(rank, count):
    """Returns how many predictions the test of a run makes.

    Both tables, each after a look at the first images turned by 90 degrees
    about every axis; and the upright images once more, for MedMNIST's scores.
    """
    axes = 1 if rank == 2 else 3
    table = POSES[rank] * count + axes * min(count, NUM_CHECKED)
    return TABLES * table + count


def makespan(hours, hosts):
    """Returns when the last of `hosts` ends: the longest task goes first."""
    loads = [0.0] * hosts
    for hour in sorted(hours, reverse=True):
        heapq.heapreplace(loads, loads[0] + hour)
    return max(loads)
