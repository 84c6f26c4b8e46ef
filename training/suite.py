"""Many runs, one after the other, and one table of them all."""

import pathlib

import pandas as pd
import report
from config import RunConfig
from data import medmnist_names
from run_directory import finished_results
from run_directory import write_text

SUITES = ("2d", "3d", "all")
# Column of the table: where its figure is in `metrics.json`.
FIGURES = {
    "upright": ("upright", "accuracy"),
    "rotated mean": ("rotated", "mean_accuracy"),
    "rotated worst": ("rotated", "min_accuracy"),
    "flipped": ("flipped", "mean_accuracy"),
    "AUC": ("upright", "auc"),
    "rotated AUC": ("rotated", "mean_auc"),
}


def make_configs(settings, which, datasets, seeds):
    """Returns a `RunConfig` for every data set and seed.

    Args:
        settings: dict of the settings that they have in common.
        which: `None` or one of `SUITES`.
        datasets: names, or `None` for all of the suite (else textures).
        seeds: ints, or `None` for the one in `settings`.
    """
    if which:
        ranks = {"2d": (2,), "3d": (3,), "all": (2, 3)}[which]
        suite = [name for rank in ranks for name in medmnist_names(rank)]
        if strangers := sorted(set(datasets or ()) - set(suite)):
            raise ValueError(
                f"Received --dataset {' '.join(strangers)} with --suite "
                f"{which}. It holds: {', '.join(suite)}."
            )
        datasets = datasets or suite
    settings = {k: v for k, v in settings.items() if k != "seed" or not seeds}
    return [
        RunConfig(dataset=name, **settings, **seed).resolve()
        for name in datasets or ["textures"]
        for seed in ([{"seed": s} for s in seeds] if seeds else [{}])
    ]


def run(configs, output, run_one, twin=True, logs=()):
    """Runs what is not finished; rewrites the table after every run.

    Args:
        configs: list of `RunConfig`, resolved.
        output: folder of the runs and of `results.csv` and `results.md`;
            `None` is `saved_models/suite`.
        run_one: the function that runs one, `fit.run`.
        twin: bool, whether to train plain networks too.
        logs: as in `fit.run`.
    """
    output = pathlib.Path(output or "saved_models/suite")
    results = []
    for number, config in enumerate(configs, start=1):
        folder = output / f"{config.dataset}_{config.model}_seed{config.seed}"
        name = f"[{number}/{len(configs)}] {config.dataset}, seed {config.seed}"
        finished = finished_results(folder, config.settings())
        print(f"{name}: {'finished before' if finished else 'training'}")
        results += finished or run_one(
            config, folder, twin, resume=True, logs=logs
        )
        write_table(results, output)
    report.print_frame(summarise(results), "trained upright only; test split")
    print(f"Tables: {output / 'results.csv'}, {output / 'results.md'}")


def summarise(results):
    """Returns a data frame: mean and deviation of each task and model."""
    frame = pd.DataFrame(
        {
            "data set": result["dataset"],
            "model": result["model"],
            "parameters": result["params"],
            **{column: result[a][b] for column, (a, b) in FIGURES.items()},
        }
        for result in results
    )
    groups = frame.groupby(["data set", "model"], sort=False)
    summary = groups[["parameters"]].first()
    summary["seeds"] = groups.size()
    for column in FIGURES:
        summary[column] = groups[column].mean()
        summary[f"{column} std"] = groups[column].std(ddof=0)
    return summary.reset_index()


def write_table(results, output):
    """Writes `results.csv` (fractions) and `results.md` (percent)."""
    frame = summarise(results)
    for name, text in (
        ("results.csv", frame.to_csv(index=False, float_format="%.4f")),
        ("results.md", report.to_markdown(frame)),
    ):
        write_text(output / name, text)
