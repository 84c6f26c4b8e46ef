"""The figures of a run, as PNG."""

import keras
import matplotlib
import numpy as np
import pandas as pd
from data import scale
from evaluate import predict
from report import trained
from sklearn import metrics

from keras_sre import transforms

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

# Distinct in print and to colour-blind readers.
STYLES = (
    {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    {"color": "#D55E00", "linestyle": "--", "marker": "s"},
)
SHEET_ANGLES = (0, 30, 45, 60, 90, 135)
SHEET_IMAGES = 6
MOST_VALUES = 40  # classes whose confusion is written in numbers


def plot_run(results, dataset, folder):
    """Draws all figures of a run into `folder / "plots"`.

    Args:
        results: list of the contents of `metrics.json`, the plain twin's last.
        dataset: the `Dataset`.
        folder: the run directory, with models and histories.
    """
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    folders = [folder, folder / "plain"][: len(results)]
    models = [keras.models.load_model(f / "model.keras") for f in folders]
    plot_angles(
        results,
        plots / "accuracy_by_angle.png",
        f"{short(dataset.name, 60)}: {trained(results)}, tested at every angle",
    )
    histories = [pd.read_csv(f / "history.csv") for f in folders]
    plot_curves(results, histories, plots / "curves.png")
    images, _ = _tested(results, dataset)
    if not dataset.task.multi_label:
        plot_confusion(results, models, dataset, plots / "confusion.png")
    if images.ndim == 4:
        plot_sheet(results, models, dataset, plots / "samples.png")
    plot_ring_kernels(models[0], plots / "ring_kernels.png")


def _tested(results, dataset):
    """Returns the images and labels that the scores are of."""
    return dataset.splits[results[0].get("split", "test")]


def plot_angles(results, path, title):
    """Draws accuracy against angle, as a line and as a polar plot.

    Volumes, which turn about three axes, have one panel for each axis.
    """
    axes = sorted({_axis(key) for key in results[0]["rotated"]["per_angle"]})
    figure = plt.figure(
        figsize=(5.5 * len(axes) + 5.5, 4.6), layout="constrained"
    )
    polar = figure.add_subplot(1, len(axes) + 1, len(axes) + 1, polar=True)
    for number, axis in enumerate(axes, start=1):
        line = figure.add_subplot(1, len(axes) + 1, number)
        for result, style in zip(results, STYLES, strict=False):
            per_angle = result["rotated"]["per_angle"].items()
            degrees, percent = np.transpose(
                [
                    (float(key.removeprefix(axis)), 100 * accuracy)
                    for key, accuracy in per_angle
                    if _axis(key) == axis
                ]
            )
            style = {**style, "markersize": 3.5, "linewidth": 1.6}
            line.plot(degrees, percent, label=result["model"], **style)
            if number == 1:
                polar.plot(np.deg2rad(degrees), percent, **style)
        about = f" about {axis}" if axis else ""
        line.set_xlabel(f"rotation of the test images{about} (degrees)")
        line.set_ylabel("accuracy (%)")
        line.set_xticks(range(0, 361, 45))
        line.set_ylim(0, 102)
        line.grid(alpha=0.3)
        line.legend(loc="lower left")
    polar.set_ylim(0, 100)
    polar.set_yticks([25, 50, 75, 100], ["", "50 %", "", "100 %"])
    about = f" about {axes[0]}" if axes[0] else ""
    polar.set_title(f"accuracy by rotation{about}", fontsize=10)
    figure.suptitle(title)
    save(figure, path)


def plot_curves(results, histories, path):
    """Draws loss and accuracy of both splits against the epoch."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for panel, name in zip(panels, ("loss", "accuracy"), strict=True):
        for result, history, style in zip(
            results, histories, STYLES, strict=False
        ):
            epochs, color = range(1, len(history[name]) + 1), style["color"]
            label = result["model"]
            panel.plot(epochs, history[name], ":", color=color)
            panel.plot(epochs, history[f"val_{name}"], color=color, label=label)
            panel.axvline(result["best_epoch"], color=color, alpha=0.3)
        panel.set_xlabel("epoch")
        panel.set_ylabel(f"{name} (dotted: training, solid: validation)")
        panel.grid(alpha=0.3)
        panel.legend()
    save(figure, path)


def plot_confusion(results, models, dataset, path):
    """Draws the confusion matrices on the upright images of the split."""
    images, labels = _tested(results, dataset)
    count = len(dataset.classes)
    side = min(3 + 0.45 * count, 30)  # inches
    figure, panels = plt.subplots(
        1,
        len(models),
        figsize=(side * len(models), side + 0.6),
        layout="constrained",
        squeeze=False,
    )
    for panel, model, result in zip(panels[0], models, results, strict=True):
        predicted = dataset.task.predict(predict(model, images))
        metrics.ConfusionMatrixDisplay.from_predictions(
            labels,
            predicted,
            labels=range(count),
            display_labels=[short(name) for name in dataset.classes],
            include_values=count <= MOST_VALUES,
            xticks_rotation="vertical",
            colorbar=False,
            cmap="Blues",
            ax=panel,
        )
        panel.set_title(result["model"], fontsize=10)
    save(figure, path)


def plot_sheet(results, models, dataset, path):
    """Draws images at several angles with the models' predictions."""
    images, labels = _tested(results, dataset)
    count = min(SHEET_IMAGES, len(images))
    chosen = np.linspace(0, len(images) - 1, count).round().astype(int)
    images, labels = scale(images[chosen]), labels[chosen]
    figure, panels = plt.subplots(
        len(images),
        len(SHEET_ANGLES),
        figsize=(1.9 * len(SHEET_ANGLES), 2.2 * len(images)),
        layout="constrained",
        squeeze=False,
    )
    low, span = images.min(), np.ptp(images) or 1
    for column, angle in enumerate(SHEET_ANGLES):
        turned = transforms.rotate(images, angle)
        guesses = [
            dataset.task.predict(predict(model, turned)) for model in models
        ]
        for row, image in enumerate(turned):
            panel = panels[row, column]
            shown = np.clip((image - low) / span, 0, 1)
            panel.imshow(shown, cmap="gray" if shown.shape[-1] == 1 else None)
            panel.set(xticks=[], yticks=[])
            for number, guess in enumerate(guesses):
                right = np.array_equal(guess[row], labels[row])
                panel.text(
                    0.02 + 0.5 * number,
                    -0.14,
                    _named(guess[row], dataset),
                    color="#117733" if right else "#CC3311",
                    fontsize=7,
                    transform=panel.transAxes,
                )
            if row == 0:
                panel.set_title(f"{angle} degrees", fontsize=9)
            if column == 0:
                panel.set_ylabel(_named(labels[row], dataset), fontsize=8)
    names = " (left) and ".join(result["model"] for result in results)
    figure.suptitle(f"predictions of {names}; green is true", fontsize=10)
    save(figure, path)


def plot_ring_kernels(model, path, rows=4, columns=8):
    """Draws ring kernels of some spatial convolutions, first to last.

    Those of one input channel: filters of all angular orders, if there are.
    """
    kernels = [
        keras.ops.convert_to_numpy(layer.kernel)
        for layer in model.layers
        if hasattr(layer, "ring_kernel") and max(layer.kernel_size) > 1
    ]
    if not kernels:
        return
    chosen = np.linspace(0, len(kernels) - 1, rows).round().astype(int)
    figure, panels = plt.subplots(
        rows,
        columns,
        figsize=(1.1 * columns, 1.2 * rows),
        layout="constrained",
    )
    for line, number in zip(panels, chosen, strict=True):
        kernel = kernels[number]
        if kernel.ndim == 5:  # the middle slice of a volume
            kernel = kernel[len(kernel) // 2]
        images = np.moveaxis(kernel[:, :, 0], -1, 0)
        some = np.linspace(0, len(images) - 1, columns).round().astype(int)
        for panel, image in zip(line, images[some], strict=True):
            limit = np.abs(image).max()
            panel.imshow(image, cmap="RdBu", vmin=-limit, vmax=limit)
        for panel in line:
            panel.set(xticks=[], yticks=[])
        line[0].set_ylabel(f"layer {number + 1}", fontsize=8)
    figure.suptitle("learned ring kernels (red: negative)", fontsize=10)
    save(figure, path)


def _axis(key):
    return key[0] if key[0] in transforms.PLANES else ""


def _named(label, dataset):
    if dataset.task.multi_label:
        return ", ".join(str(i) for i in np.flatnonzero(label)) or "none"
    return short(dataset.classes[int(label)])


def short(name, most=14):
    name = name if len(name) <= most else f"{name[: most - 1]}…"
    return name.replace("$", r"\$")  # else mathematics


def save(figure, path):
    """Writes a figure and closes it."""
    figure.savefig(path, dpi=130)
    plt.close(figure)
