"""Reads finished run directories, which may have been damaged since."""

import zipfile

import keras
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
