"""Many runs, one after the other, and one table of them all."""

import pathlib

import pandas as pd
import report
from config import RunConfig
from data import medmnist_names
from run_directory import finished_results

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
    rows = []
    for (dataset, model), runs in _grouped(results).items():
        row = {
            "data set": dataset,
            "model": model,
            "parameters": runs[0]["params"],
            "seeds": len(runs),
        }
        for column, keys in FIGURES.items():
            values = pd.Series([run[keys[0]][keys[1]] for run in runs])
            row[column] = values.mean()
            row[f"{column} std"] = values.std(ddof=0)
        rows.append(row)
    return pd.DataFrame(rows)


def _grouped(results):
    groups = {}
    for result in results:
        key = result["dataset"], result["model"]
        groups.setdefault(key, []).append(result)
    return groups


def write_table(results, output):
    """Writes `results.csv` (fractions) and `results.md` (percent)."""
    frame = summarise(results)
    for name, text in (
        ("results.csv", frame.to_csv(index=False, float_format="%.4f")),
        ("results.md", report.to_markdown(frame)),
    ):
        partial = output / f".{name}"
        partial.write_text(text)
        partial.replace(output / name)
