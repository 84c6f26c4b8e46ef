"""Reads finished run directories, which may have been damaged since."""

import zipfile

import keras
from data import load_dataset
from run_directory import CONFIG
from run_directory import METRICS
from run_directory import MODEL
from run_directory import read_json

import keras_sre  # noqa: F401 (registers the layers of models)

MOST_TIMES = 100  # the size of a file that its unpacked parts may have


def read_run(folder, files=(CONFIG, METRICS)):
    """Returns the contents of the JSON files named, then the network.

    Args:
        folder: `pathlib.Path`.
        files: names of JSON files.

    Raises:
        ValueError: one line, if a file is missing or damaged.
    """
    for name in (*files, MODEL):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} is no run directory: no {name}.")
    contents = [read_json(folder / name) for name in files]
    return *contents, read_network(folder / MODEL)


def read_data(folder, config, root=None):
    """Returns the `Dataset` that a run was trained on.

    Args:
        folder: `pathlib.Path` of the run.
        config: what its `config.json` holds.
        root: folder of the MedMNIST files; `None` is the run's.

    Raises:
        ValueError: one line, if it cannot be had, or has changed since.
    """
    dataset = load_dataset(
        config["dataset"],
        root or config["root"],
        config["size"],
        config["limit"],
    )
    if dataset.md5 != config["dataset_md5"]:
        raise ValueError(
            f"The data of {folder} have changed: {config['dataset']} has MD5 "
            f"{dataset.md5}, not {config['dataset_md5']}. Labels and splits "
            "may be others than in training. Restore the data, or train anew."
        )
    return dataset


def folders_of_both(run):
    """Returns the folders of a run's network and of its plain twin.

    Raises:
        ValueError: one line, if either has no network.
    """
    folders = run, run / "plain"
    for folder in folders:
        if not (folder / MODEL).is_file():
            raise ValueError(
                f"A network is to be compared with its plain twin: no "
                f"{folder / MODEL}. Train both: python training/fit.py without "
                "--model."
            )
    return folders


def read_network(path):
    """Returns the network of a `.keras` file.

    Raises:
        ValueError: one line, if it is none, is damaged, or would run code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(part.file_size for part in archive.infolist())
        if claimed > MOST_TIMES * path.stat().st_size:
            raise ValueError(f"it claims to hold {claimed} bytes")
        return keras.models.load_model(path)
    except Exception as error:  # whatever a damaged file leads to
        reason = " ".join(str(error).split()) or type(error).__name__
        if len(reason) > 200:
            reason = f"{reason[:200]} ..."
        raise ValueError(f"Cannot read {path}: {reason}") from error
