"""Searches ring counts, kernels and training settings for a data set.

    python training/tune.py --dataset breastmnist --max-trials 20

Each trial is a run of `fit.py` on upright images alone. Its score is the
accuracy on the validation images turned by every angle (their mean); the test
images are not looked at. The first trial is the recipe itself. Searched are,
for each of the four stages, the kernel size and the number of rings (2 to
`k // 2 + 1`), and the ring profile, width, learning rate and weight decay. What
you give, such as `--width 16`, is fixed instead.

It writes into `--output`: `search.md` (the table of trials, and the command
that trains the best), `pareto.png` (accuracy against parameters), `trials.csv`,
the run directories `trials/N` (with the model of the best alone) and `search/`,
KerasTuner's own files. A search that was stopped, by whatever, goes on when the
same command is given again.

Several processes or hosts share a search like this:

    python training/tune.py --dataset breastmnist --chief 10.0.0.1:8470
    python training/tune.py --chief 10.0.0.1:8470 --worker a

The second, as often as you like and each with a name of its own, learns
everything but the place of its data from the first. A worker that dies loses
its trial; a chief that was stopped goes on like any search.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import pathlib
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras_tuner
import tune_report
from config import RunConfig
from data import load_dataset
from data import short_name
from flags import add_settings
from run_directory import locked
from run_directory import read_json
from run_directory import resolved
from run_directory import write_json
from tune_oracle import TUNERS
from tune_oracle import make_oracle
from tune_runner import BOUNDS
from tune_runner import RunTuner
from tune_space import RingHyperModel
from tune_workers import Lost
from tune_workers import serve
from tune_workers import set_address

SETTINGS = "search.json"


def search(config, output, options, chief=None, progress=True):
    """Searches from where it was left; writes the report; returns the trials.

    Args:
        config: `RunConfig`; what is `None` in it is searched or the recipe's.
        output: path of the folder of the search.
        options: `Options`.
        chief: `HOST:PORT` to listen at for workers, or `None` to run the
            trials here.
        progress: bool, whether to show progress bars and tables.

    Raises:
        ValueError: one line, if settings or `output` cannot be used.
        Lost: if a chief is without workers for `options.timeout` seconds.
    """
    output = resolved(pathlib.Path(output))
    dataset = load_dataset(
        config.dataset, config.root, config.resolve().size, config.limit
    )
    hypermodel = RingHyperModel(
        config, dataset.image_shape, len(dataset.classes)
    )
    space = keras_tuner.HyperParameters()
    hypermodel.declare_hyperparameters(space)
    for name in BOUNDS:
        if (bound := getattr(options, name)) is not None:
            space.Fixed(name, bound)

    def on_trial_end(oracle, trial):
        tune_report.write_report(oracle.trials.values(), config.root, output)
        if progress:
            tune_report.print_best(oracle.trials.values(), trial)

    oracle = make_oracle(
        options.tuner,
        space,
        options.max_trials,
        config.resolve().epochs,
        config.seed,
        on_trial_end,
    )
    with locked(output):
        check_settings(output, config, options)
        try:
            tuner = RunTuner(oracle, hypermodel, output, config.root, progress)
        except (KeyError, RuntimeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"Cannot read the search in {output}: {error}. Delete that "
                "folder to start anew."
            ) from error
        if chief:
            serve(tuner, options.timeout)
        else:
            tuner.search()
        tune_report.write_report(oracle.trials.values(), config.root, output)
    return list(oracle.trials.values())


@dataclasses.dataclass
class Options:
    """How to search."""

    tuner: str = "bayesian"
    max_trials: int | None = None
    max_params: int | None = None
    max_latency_ms: float | None = None
    timeout: float = 120.0

    def __post_init__(self):
        if self.max_trials is None and self.tuner != "hyperband":
            self.max_trials = 20
        for name in ("max_trials", "max_params", "max_latency_ms", "timeout"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                flag = name.replace("_", "-")
                raise ValueError(
                    f"Received --{flag} {value}. Expected a positive number."
                )
        packages = ("tensorflow", "ai_edge_litert")
        if self.max_latency_ms is not None and not all(
            importlib.util.find_spec(package) for package in packages
        ):
            raise ValueError(
                "--max-latency-ms times LiteRT files, which needs more "
                'packages: pip install ".[export]"'
            )


def check_settings(output, config, options):
    """Writes what the search is of, or compares it with what was there.

    Raises:
        ValueError: if `output` holds something else than this search. More
            trials than before, or another timeout, are the same search.
    """
    settings = {**config.settings(), **dataclasses.asdict(options)}
    for name in ("max_trials", "timeout"):
        del settings[name]
    path = output / SETTINGS
    try:
        output.mkdir(exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"Cannot write to --output {output}: {error.strerror}."
        ) from error
    if path.exists():
        earlier = read_json(path)
        wanted = json.loads(json.dumps(settings))
        changed = [n for n in wanted if wanted[n] != earlier.get(n)]
        if changed:
            name = changed[0]
            raise ValueError(
                f"The search in {output} has {name} {earlier.get(name)}, not "
                f"{wanted[name]}. Give the same settings to go on with it, or "
                "another --output."
            )
    elif any(output.glob("[!.]*")):
        raise ValueError(
            f"Received --output {output}, which exists and is not a search. "
            "Choose a new name."
        )
    else:
        write_json(path, settings)


def work(chief, name, output, root, timeout, progress=True):
    """Runs trials for a chief until there are no more.

    Raises:
        Lost: if the chief does not answer for `timeout` seconds.
        ValueError: if the name is not one for a worker.
    """
    if "chief" in name:
        raise ValueError(
            f"Received --worker {name}. KerasTuner takes names that hold "
            '"chief" for the chief: choose another.'
        )
    set_address(chief, name)
    oracle = make_oracle("random", None, 1, 1, 1, None)  # what it stands for
    output = resolved(pathlib.Path(output))
    RunTuner(oracle, None, output, root, progress, timeout).search()


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--dataset", default="textures", metavar="NAME", help="(textures)")
    add("--tuner", choices=TUNERS, default="bayesian", help="(bayesian)")
    add(
        "--max-trials",
        type=int,
        metavar="N",
        help="(20; hyperband, which decides by the epochs: no bound)",
    )
    add(
        "--max-params",
        type=int,
        metavar="N",
        help="networks with more trainable weights are refused, untrained",
    )
    add(
        "--max-latency-ms",
        type=float,
        metavar="F",
        help="so are those that take longer for an image, as LiteRT files",
    )
    add(
        "--chief",
        metavar="HOST:PORT",
        help="propose trials to workers there instead of running them",
    )
    add("--worker", metavar="NAME", help="run trials for that chief")
    add(
        "--timeout",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="how long chief and workers wait for one another (120)",
    )
    add("--output", help="folder of the search (saved_models/tune_DATASET)")
    add_settings(parser)
    return parser.parse_args(argv)


def main(argv=None):
    args = vars(parse_args(argv))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    output, chief, worker = (
        args.pop(name) for name in ("output", "chief", "worker")
    )
    names = [field.name for field in dataclasses.fields(Options)]
    options = {name: args.pop(name) for name in names}
    name = f"worker_{worker}" if worker else short_name(args["dataset"])
    output = output or f"saved_models/tune_{name}"
    try:
        options = Options(**options)
        if worker:
            if not chief:
                raise ValueError("--worker needs --chief HOST:PORT.")
            work(chief, worker, output, args["root"], options.timeout)
            return
        if chief:
            set_address(chief, "chief")
        trials = search(RunConfig(**args), output, options, chief)
    except (ValueError, OSError, Lost) as error:
        sys.exit(f"tune.py: {error}")
    except KeyboardInterrupt:
        sys.exit(
            "tune.py: interrupted. Finished trials are kept: give the same "
            "command again to go on."
        )
    tune_report.print_end(trials, args["root"], output)


if __name__ == "__main__":
    main()
