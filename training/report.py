"""The table and the plots of a run."""

import matplotlib
from rich import console
from rich import table

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

# Distinct in print and to colour-blind readers.
STYLES = (
    {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    {"color": "#D55E00", "linestyle": "--", "marker": "s"},
)
COLUMNS = (
    "model",
    "parameters",
    "s / epoch",
    "upright",
    "rotated mean",
    "rotated worst",
    "flipped",
)


def print_table(results, title):
    """Prints one row of accuracies for each of a list of `metrics.json`."""
    rows = table.Table(title=title)
    for column in COLUMNS:
        rows.add_column(
            column, justify="left" if column == "model" else "right"
        )
    for result in results:
        rows.add_row(*_cells(result))
    console.Console(width=max(96, console.Console().width)).print(rows)


def _cells(result):
    scores = (
        result["upright"]["accuracy"],
        result["rotated"]["mean_accuracy"],
        result["rotated"]["min_accuracy"],
        result["flipped"]["mean_accuracy"],
    )
    return (
        result["model"],
        f"{result['params']:,}",
        f"{result['seconds_per_epoch']:.1f}",
        *(f"{100 * score:.1f} %" for score in scores),
    )


def plot_angles(results, path, title):
    """Draws accuracy against angle, as a line and as a polar plot, to a PNG."""
    figure = plt.figure(figsize=(11, 4.6), layout="constrained")
    line = figure.add_subplot(1, 2, 1)
    polar = figure.add_subplot(1, 2, 2, projection="polar")
    for result, style in zip(results, STYLES, strict=False):
        per_angle = result["rotated"]["per_angle"]
        degrees = [int(angle) for angle in per_angle]
        percent = [100 * accuracy for accuracy in per_angle.values()]
        style = {**style, "markersize": 3.5, "linewidth": 1.6}
        line.plot(degrees, percent, label=result["model"], **style)
        radians = [angle * 3.141592653589793 / 180 for angle in degrees]
        polar.plot(radians, percent, **style)
    line.set_xlabel("rotation of the test images (degrees)")
    line.set_ylabel("accuracy (%)")
    line.set_xticks(range(0, 361, 45))
    line.set_ylim(0, 102)
    line.grid(alpha=0.3)
    line.legend(loc="lower left")
    polar.set_ylim(0, 100)
    polar.set_yticks([25, 50, 75, 100], ["", "50 %", "", "100 %"])
    polar.set_title("accuracy by rotation", fontsize=10)
    figure.suptitle(title)
    figure.savefig(path, dpi=130)
    plt.close(figure)
