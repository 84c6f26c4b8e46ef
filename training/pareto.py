"""Accuracy against parameters: of several runs, of a search's trials."""

import numpy as np
from plots import STYLES
from plots import plt
from plots import save
from plots import short
from report import tested_on
from report import trained

BESIDE = {"xytext": (5, -11), "textcoords": "offset points", "fontsize": 7}


def plot_networks(results, path):
    """Draws the accuracy of networks when turned against their parameters.

    Args:
        results: list of the contents of `metrics.json`, of one data set.
        path: of the PNG.

    Raises:
        ValueError: if they are of several data sets, or splits.
    """
    names = sorted({result["dataset"] for result in results})
    if len(names) > 1:
        raise ValueError(
            f"Received runs on {', '.join(names)}. Networks are compared on "
            "one data set."
        )
    if len({tested_on([result]) for result in results}) > 1:
        raise ValueError(
            "Received runs with scores of the test split and of the validation "
            "split. Networks are compared on one of them."
        )
    points = [
        (result["params"], 100 * result["rotated"]["mean_accuracy"])
        for result in results
    ]
    front = [points[i] for i in pareto_front(points)]
    figure, panel = plt.subplots(figsize=(7, 4.5), layout="constrained")
    panel.step(*zip(*front, strict=True), "--", where="post", color="0.6")
    for (params, accuracy), result in zip(points, results, strict=True):
        style = STYLES[not result["model"].startswith("sre")]
        panel.plot(params, accuracy, **style | {"linestyle": "none"})
        panel.annotate(
            f"{result['model']}, {trained([result])}",
            (params, accuracy),
            **BESIDE,
        )
    _set_axes(panel, f"{tested_on(results)} accuracy, mean over angles (%)")
    panel.set_title(short(names[0], 60), fontsize=10)
    save(figure, path)


def pareto_front(points):
    """Returns which of these none betters with as few parameters.

    Args:
        points: list of pairs of a number of parameters and a score. Of equal
            ones the first is taken.

    Returns:
        List of indices, in the order of parameters.
    """
    front, best = [], -np.inf
    order = sorted(
        range(len(points)), key=lambda i: (points[i][0], -points[i][1])
    )
    for index in order:
        if points[index][1] > best:
            front.append(index)
            best = points[index][1]
    return front


def plot_trials(frame, path):
    """Draws the score of a search's trials against their parameters.

    Args:
        frame: as `tune_report.to_frame` returns.
        path: of the PNG.
    """
    first = frame[frame["trial"] == frame["trial"].min()]
    frame = frame[frame["state"] == "done"].sort_values("parameters")
    front = frame[frame["pareto"]]
    figure, panel = plt.subplots(figsize=(7, 4.5), layout="constrained")
    style, other = STYLES
    score = 100 * frame["val_rotated_accuracy"]
    panel.scatter(
        frame["parameters"], score, color="0.6", label="other trials", s=20
    )
    panel.step(
        front["parameters"],
        100 * front["val_rotated_accuracy"],
        where="post",
        label="Pareto front",
        **style,
    )
    first = first[first["state"] == "done"]  # it may be over a bound
    panel.scatter(
        first["parameters"],
        100 * first["val_rotated_accuracy"],
        color=other["color"],
        marker="*",
        s=140,
        label="first trial: the recipe",
        zorder=3,
    )
    for row in front.to_dict("records"):
        panel.annotate(
            row["kernel_sizes"],
            (row["parameters"], 100 * row["val_rotated_accuracy"]),
            **BESIDE,
        )
    _set_axes(panel, "validation accuracy, mean over angles (%)")
    panel.legend()
    save(figure, path)


def _set_axes(panel, label):
    """Has a panel show accuracy, with this label, against parameters."""
    panel.set_xscale("log")
    panel.set_xlabel("parameters")
    panel.set_ylabel(label)
    panel.grid(alpha=0.3)
