"""Many runs, one after the other, and one table of them all."""

import dataclasses
import pathlib

import pandas as pd
import report
from config import RunConfig
from data import medmnist_names
from data import short_name
from models import has_twin
from models import twin_of
from recipes import recipe_for
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
        seeds: ints, or `None` for the one in `settings` (1).
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
    names = [short_name(name) for name in datasets or ()]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(
            f"Received --dataset with two of the name {twice[0]}, of which one "
            "would take the other's place. Rename a folder or file."
        )
    if "mean" in names and len(names) > 1:
        raise ValueError(
            "Received --dataset with one of the name mean, which is what the "
            "table calls the mean of all. Rename the folder or file."
        )
    return [
        RunConfig(dataset=name, **settings, **seed).resolve()
        for name in datasets or ["textures"]
        for seed in ([{"seed": s} for s in seeds] if seeds else [{}])
    ]


def compared(config):
    """Returns a dict of `RunConfig`s that differ in the network alone.

    The plain twin, the same trained on turned and mirrored images, the paper's
    rings, and the network itself; none of them twice.

    Raises:
        ValueError: if the network itself is a plain one.
    """
    paper = recipe_for(config.dataset, "paper")
    plain = dataclasses.replace(config, model=twin_of(config.model))
    if plain == config:
        raise ValueError(
            f"Received --compare with --model {config.model}, which is what "
            "the others are compared with. Choose an sre_ model, or none."
        )
    found = {
        "plain": plain,
        "plain_turned": dataclasses.replace(plain, augment_rotation=True),
        "rings": dataclasses.replace(
            config,
            kernel_sizes=paper.kernel_sizes,
            num_rings=None,
            ring_profile=paper.ring_profile,
            harmonics=paper.harmonics,
        ),
        config.recipe: config,
    }
    later = list(found.values())
    return {
        name: one
        for i, (name, one) in enumerate(found.items(), start=1)
        if one not in later[i:]
    }


def run(configs, output, run_one, twin=True, logs=(), compare=False):
    """Runs what is not finished; rewrites the table after every run.

    Args:
        configs: list of `RunConfig`, resolved.
        output: folder of the runs and of `results.csv` and `results.md`;
            `None` is `saved_models/suite`.
        run_one: the function that runs one, as `fit.run`.
        twin: bool, whether to train plain networks too.
        logs: as in `fit.run`.
        compare: bool, whether to run what `compared` returns for each, and no
            twins. The table names networks as it does.
    """
    output = pathlib.Path(output or "saved_models/suite")
    runs = [(config.model, config) for config in configs]
    if compare:
        twin = False
        runs = [item for c in configs for item in compared(c).items()]
    results = []
    for number, (model, config) in enumerate(runs, start=1):
        dataset = short_name(config.dataset)
        folder = output / f"{dataset}_{model}_seed{config.seed}"
        name = f"[{number}/{len(runs)}] {dataset}, {model}, seed"
        finished = finished_results(
            folder, config.settings(), twin and has_twin(config.model)
        )
        state = "finished before" if finished else "training"
        print(f"{name} {config.seed}: {state}")
        found = finished or run_one(
            config, folder, twin, resume=True, logs=logs
        )
        if compare:
            found = [{**result, "model": model} for result in found]
        results += found
        write_table(results, output)
    title = f"{report.tested_on(results)} split"
    report.print_frame(summarise(results), title)
    print(f"Tables: {output / 'results.csv'}, {output / 'results.md'}")


def summarise(results):
    """Returns a data frame: mean and deviation of each task and model.

    The last rows are the mean of all sets, if each model was trained on each.
    """
    frame = pd.DataFrame(
        {
            "data set": result["dataset"],
            "model": result["model"],
            "seed": result["seed"],
            "parameters": result["params"],
            "s / epoch": result["seconds_per_epoch"],
            **{column: result[a][b] for column, (a, b) in FIGURES.items()},
        }
        for result in results
    )
    sets = frame["data set"].nunique()
    each = frame.groupby(["model", "seed"], sort=False)
    if sets > 1 and (each.size() == sets).all():
        means = each.mean(numeric_only=True).reset_index()
        frame = pd.concat([frame, means.assign(**{"data set": "mean"})])
    groups = frame.groupby(["data set", "model"], sort=False)
    summary = groups[["parameters"]].mean().round().astype(int)
    summary["s / epoch"] = groups["s / epoch"].median().round(1)
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
