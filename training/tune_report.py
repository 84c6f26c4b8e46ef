"""What a search found: tables, the Pareto front, and the command to go on."""

import dataclasses
import shlex

import numpy as np
import pandas as pd
import pareto
import report
from config import RunConfig
from keras_tuner.engine.trial import TrialStatus
from run_directory import write_text
from tune_oracle import OBJECTIVE
from tune_oracle import is_over_bound
from tune_oracle import metrics_of
from tune_space import SEARCHED
from tune_space import config_of
from tune_space import encode

SHOWN = 5  # trials of the table that is printed after each of them
FIGURES = (
    OBJECTIVE,
    "val_rotated_auc",
    "val_accuracy",
    "parameters",
    "latency_ms",
    "seconds",
)
# Columns of the tables: those of the frame, in short.
HEADERS = {
    "trial": "trial",
    "kernel_sizes": "kernels",
    "num_rings": "rings",
    "ring_profile": "profile",
    "width": "width",
    "learning_rate": "rate",
    "weight_decay": "decay",
    "epochs": "epochs",
    "parameters": "parameters",
    "latency_ms": "ms",
    OBJECTIVE: "rotated",
    "val_rotated_auc": "AUC",
    "val_accuracy": "upright",
    "seconds": "seconds",
    "state": "state",
}


def ranked(trials):
    """Returns the trials that have a score, the best first.

    Validation sets are small, so that scores are often equal. Then the AUC
    decides, then the number of parameters.
    """

    def merit(trial):
        metrics = metrics_of(trial)
        auc = np.nan_to_num(metrics["val_rotated_auc"])
        return trial.score, auc, -metrics["parameters"]

    done = [t for t in trials if t.status == TrialStatus.COMPLETED]
    return sorted(done, key=merit, reverse=True)


def pareto_front(trials):
    """Returns those of which none is better with as few parameters."""
    done = ranked(trials)
    points = [(metrics_of(trial)["parameters"], trial.score) for trial in done]
    return [done[index] for index in pareto.pareto_front(points)]


def to_frame(trials):
    """Returns a row of settings and figures for every trial, the best first."""
    best_first = ranked(trials)
    ids = {trial.trial_id for trial in best_first}
    others = [trial for trial in trials if trial.trial_id not in ids]
    front = {trial.trial_id for trial in pareto_front(trials)}
    rows = []
    for trial in [*best_first, *others]:
        config = config_of(trial.hyperparameters.values)
        settings = {name: encode(getattr(config, name)) for name in SEARCHED}
        metrics = metrics_of(trial)
        figures = {name: metrics.get(name) for name in FIGURES}
        if trial.trial_id not in ids:
            figures[OBJECTIVE] = None
        rows.append(
            {"trial": trial.trial_id, "state": _state(trial)}
            | settings
            | {"epochs": config.epochs}
            | figures
            | {"pareto": trial.trial_id in front}
        )
    return pd.DataFrame(rows)


def _state(trial):
    if trial.status == TrialStatus.COMPLETED:
        return "done"
    if trial.status == TrialStatus.RUNNING:
        return "unfinished"
    if is_over_bound(trial):
        return "over the bound"
    reason = (trial.message or "its worker printed why").strip().splitlines()
    return f"failed: {reason[-1].rpartition('FailedTrialError: ')[2]}"


def _table(frame):
    """Returns rows of text, the header first; empty columns are left out."""
    columns = [name for name in HEADERS if frame[name].notna().any()]
    rows = [[HEADERS[name] for name in columns]]
    for record in frame.to_dict("records"):
        rows.append([_cell(record, name) for name in columns])
    return rows


def _cell(record, name):
    value = record[name]
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if name == "trial" and record["pareto"]:
        return f"{value} *"
    if name in (OBJECTIVE, "val_accuracy"):
        return f"{100 * value:.1f} %"
    if name == "parameters":
        return f"{value:,.0f}"
    if name == "val_rotated_auc":
        return f"{value:.3f}"
    if name == "seconds":
        return f"{value:.0f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def fit_command(trial, root=None):
    """Returns the command that trains a trial's network and tests it."""
    config = config_of(trial.hyperparameters.values, root)
    plain = RunConfig(dataset=config.dataset, recipe=config.recipe)
    defaults = dataclasses.asdict(plain.resolve())
    defaults["recipe"] = RunConfig().recipe
    words = ["python", "training/fit.py", "--dataset", config.dataset]
    for name, value in dataclasses.asdict(config).items():
        flag = f"--{name.replace('_', '-')}"
        shown = name in ("model", "epochs", *SEARCHED)
        if name == "dataset" or not shown and value == defaults[name]:
            continue
        if isinstance(value, tuple):
            words += [flag, *map(str, value)]
        elif value is True:
            words.append(flag)
        elif value is not None:
            words += [flag, str(value)]
    return shlex.join(words)


def write_report(trials, root, output):
    """Writes `search.md`, `trials.csv` and, of scores, `pareto.png`.

    Args:
        trials: all trials so far.
        root: folder of the data sets or `None`, for the command.
        output: `pathlib.Path` of the folder of the search.
    """
    frame = to_frame(trials)
    write_text(output / "trials.csv", frame.to_csv(index=False))
    lines = ["# Search", "", *_summary(trials, root), ""]
    header, *rows = _table(frame)
    for line in (header, ["---"] * len(header), *rows):
        lines.append(f"| {' | '.join(line)} |")
    lines += [
        "",
        "Accuracies are of validation images: `rotated`, which ranks the "
        "trials, is the mean over all angles, with its AUC beside it. `*` "
        "marks the Pareto front: nothing is better with as few parameters.",
    ]
    if ranked(trials):
        pareto.plot_trials(frame, output / "pareto.png")
        lines += ["", "![Accuracy against parameters](pareto.png)"]
    write_text(output / "search.md", "\n".join(lines) + "\n")


def _summary(trials, root):
    done = ranked(trials)
    lines = [f"{len(trials)} trials, {len(done)} of them with a score."]
    if not done:
        return lines
    best, first = done[0], min(trials, key=lambda trial: trial.trial_id)
    lines[0] += f" The best is {best.trial_id}, {100 * best.score:.1f} %"
    if first.score is not None:
        lines[0] += f"; the recipe itself reaches {100 * first.score:.1f} %"
    lines[0] += ". To train it, and test it once:"
    return [*lines, "", "```", fit_command(best, root), "```"]


def print_best(trials, latest):
    """Prints the best trials so far, and the latest one below them."""
    frame = to_frame(trials)
    shown = frame.head(SHOWN)
    if latest.trial_id not in set(shown["trial"]):
        shown = frame[frame["trial"].isin([*shown["trial"], latest.trial_id])]
    done = int((frame["state"] != "unfinished").sum())
    title = f"best so far, after {done} trials (latest: {latest.trial_id})"
    header, *rows = _table(shown)
    report.print_rows(header, rows, title, width=140)


def print_end(trials, root, output):
    """Prints what was found, and where it is."""
    for line in _summary(trials, root):
        if not line.startswith("```"):
            print(line)
    print(f"Report, plot and trials: {output}")
