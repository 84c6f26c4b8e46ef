"""All pictures of finished runs: each network and its plain twin.

    python training/pictures.py RUN_DIR [RUN_DIR ...]

draws into `RUN_DIR/plots/` what `fit.py` drew (accuracy by angle, curves, ring
kernels, ...), and of images with one label each `turning.png`, one image at
several angles with what each network makes of it, the same as an animation,
`turning.gif`, and `feature_maps.png`, a map of each network for the upright and
the turned image. That image is the first of the test split that both classify
rightly upright; `--image N` takes another. Of several runs on one data set it
draws `pareto.png` beside the first as well: accuracy when turned against
parameters.
"""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import evaluate
import keras
import numpy as np
import pareto
import plots
from data import scale
from feature_map import feature_map
from finished_run import folders_of_both
from finished_run import read_data
from finished_run import read_network
from finished_run import read_run
from matplotlib import animation
from matplotlib import pyplot as plt
from report import trained
from run_directory import CONFIG
from run_directory import MODEL
from run_directory import read_metrics

from keras_sre import transforms

STRIP_ANGLES = range(0, 360, 45)
MOVIE_ANGLES = range(0, 360, 10)
MAP_ANGLES = (90, 45)
RIGHT, WRONG = "#117733", "#CC3311"


def draw(run, image=None):
    """Draws all pictures of a run directory.

    Raises:
        ValueError: if it holds no two networks, or the split no such image.
    """
    folders = folders_of_both(run)
    config, network = read_run(run, [CONFIG])
    dataset = read_data(run, config)
    results = [read_metrics(folder) for folder in folders]
    plots.plot_run(results, dataset, run)
    if len(dataset.image_shape) == 3 and not dataset.task.multi_label:
        models = [network, read_network(folders[1] / MODEL)]
        how = trained(results)
        _draw_turning(models, dataset, how, image, run / "plots")


def _draw_turning(models, dataset, how, image, folder):
    images, labels = dataset.splits["test"]
    number = _choose(models, images, labels) if image is None else image
    if not 0 <= number < len(images):
        raise ValueError(
            f"Received --image {number}. The test split has {len(images)}."
        )
    picture, label = scale(images[number : number + 1]), int(labels[number])
    shown = models, picture, label, dataset.classes
    draw_strip(*shown, how, folder / "turning.png")
    draw_movie(*shown, folder / "turning.gif")
    draw_maps(models, picture, folder / "feature_maps.png")


def _choose(models, images, labels):
    """Returns the number of the first image that all get right upright."""
    right = evaluate.all_right(models, images, labels)
    if not right.any():
        raise ValueError("No test image is classified rightly by both.")
    return int(np.flatnonzero(right)[0])


def _turned(picture, angles):
    """Returns one picture at all angles, shape `(angles, h, w, channels)`."""
    return np.concatenate([transforms.rotate(picture, a) for a in angles])


def _shown(pictures):
    """Returns pictures as `imshow` takes them: in 0..1, grey or RGB."""
    low, high = pictures.min(), pictures.max()
    pictures = (pictures - low) / (high - low)
    return pictures[..., 0] if pictures.shape[-1] == 1 else pictures


def draw_strip(models, picture, label, classes, how, path):
    """Draws a picture at several angles, the networks' answers beneath."""
    pictures = _turned(picture, STRIP_ANGLES)
    shown = _shown(pictures)
    figure, panels = plt.subplots(
        1 + len(models),
        len(pictures),
        figsize=(1.5 * len(pictures), 2.8),
        height_ratios=(4, *(1 for _ in models)),
        layout="constrained",
    )
    for panel, image, angle in zip(panels[0], shown, STRIP_ANGLES, strict=True):
        panel.imshow(image, cmap="gray", vmin=0, vmax=1)
        panel.set_title(f"{angle}°", fontsize=9)
    for row, model in zip(panels[1:], models, strict=True):
        scores = evaluate.predict(model, pictures)
        for panel, score in zip(row, scores, strict=True):
            guess = int(score.argmax())
            panel.text(
                0.5,
                0.5,
                f"{classes[guess]}\n{100 * score[guess]:.0f} %",
                color=RIGHT if guess == label else WRONG,
                weight="normal" if guess == label else "bold",
                fontsize=8,
                ha="center",
                va="center",
            )
        row[0].set_ylabel(
            model.name, fontsize=8, rotation=0, ha="right", va="center"
        )
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    figure.suptitle(
        f"{how}; a test image of {classes[label]}, turned", fontsize=9
    )
    plots.save(figure, path)


def draw_movie(models, picture, label, classes, path):
    """Draws the picture turning, and each network's trust in the truth."""
    pictures = _turned(picture, MOVIE_ANGLES)
    shown = _shown(pictures)
    trust = [evaluate.predict(m, pictures)[:, label] for m in models]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(7, 2.8), width_ratios=(1, 2), layout="constrained"
    )
    image = left.imshow(shown[0], cmap="gray", vmin=0, vmax=1)
    left.set(xticks=[], yticks=[], title=classes[label])
    lines = [
        right.plot([], [], label=model.name, **{**style, "markersize": 3})[0]
        for model, style in zip(models, plots.STYLES, strict=False)
    ]
    right.set_xlim(0, MOVIE_ANGLES[-1])
    right.set_xticks(range(0, 361, 90))
    right.set_ylim(-2, 102)
    right.set_xlabel("angle (degrees)")
    right.set_ylabel(f"probability of {classes[label]} (%)")
    right.grid(alpha=0.3)
    right.legend(loc="lower left", fontsize=8)

    def step(frame):
        image.set_data(shown[frame])
        for line, values in zip(lines, trust, strict=True):
            line.set_data(MOVIE_ANGLES[: frame + 1], 100 * values[: frame + 1])

    movie = animation.FuncAnimation(figure, step, len(pictures))
    partial = path.with_name(f".{path.name}")
    movie.save(partial, animation.PillowWriter(fps=8), dpi=80)
    partial.replace(path)
    plt.close(figure)


def draw_maps(models, picture, path):
    """Draws a feature map of each network, upright and after turning.

    The channel that varies most of the last map of stage 1. The map of a
    turned picture is turned back: an equivariant network gives the first map
    again.
    """
    figure, panels = plt.subplots(
        len(models),
        2 + 2 * len(MAP_ANGLES),
        figsize=(10, 3.4),
        layout="constrained",
    )
    for row, model in zip(panels, models, strict=True):
        features = keras.Model(model.input, feature_map(model, picture))

        def map_of(picture, features=features):
            return np.asarray(
                keras.ops.convert_to_numpy(features.predict_on_batch(picture))
            )

        upright = map_of(picture)
        limit = np.abs(upright).max()
        drawn = [("picture", _shown(picture)[0], "gray", 0, 1)]
        drawn.append(("its map", upright[0], "RdBu", -limit, limit))
        for angle in MAP_ANGLES:
            turned = map_of(transforms.rotate(picture, angle))
            back = transforms.rotate(turned, -angle)
            change = back - upright
            drawn.append(
                (f"after {angle}°, turned back", back[0], "RdBu", -limit, limit)
            )
            drawn.append(("change", change[0], "RdBu", -limit, limit))
        for panel, (title, image, colors, low, high) in zip(
            row, drawn, strict=True
        ):
            panel.imshow(image, cmap=colors, vmin=low, vmax=high)
            panel.set_title(title, fontsize=8)
            panel.set(xticks=[], yticks=[])
        row[0].set_ylabel(model.name, fontsize=8)
    plots.save(figure, path)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("runs", type=pathlib.Path, metavar="RUN_DIR", nargs="+")
    add("--image", type=int, help="number in the test split")
    args = parser.parse_args(argv)
    try:
        written = []
        if len(args.runs) > 1:
            written = [args.runs[0].absolute().with_name("pareto.png")]
            folders = [f for run in args.runs for f in (run, run / "plain")]
            pareto.plot_networks(list(map(read_metrics, folders)), *written)
        for run in args.runs:
            draw(run, args.image)
            written += sorted((run / "plots").iterdir())
    except (ValueError, OSError) as error:
        sys.exit(f"pictures.py: {error}")
    except KeyboardInterrupt:
        sys.exit("pictures.py: interrupted.")
    print(*written, sep="\n")


if __name__ == "__main__":
    main()
