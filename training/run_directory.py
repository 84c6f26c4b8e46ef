"""Run directories: complete or not there at all, and resumable meanwhile."""

import contextlib
import hashlib
import json
import math
import os
import shutil

import filelock

CONFIG = "config.json"
METRICS = "metrics.json"
MODEL = "model.keras"
SETTINGS = "settings.json"  # of an unfinished run


@contextlib.contextmanager
def complete_directory(path, settings, resume=False):
    """Yields a folder that takes the name `path` if all went well.

    Until then it is `.NAME.partial` beside it. It stays there if a run ends
    early after its first epoch, so that it can be resumed.

    Args:
        path: the run directory.
        settings: dict of all that decides the result.
        resume: bool, whether to go on with an unfinished run.

    Raises:
        ValueError: if `path` cannot be written, holds something else than a
            run, is being written by another process, or what is there was
            made with other settings or would be lost.
    """
    path = resolved(path)
    if path.exists() and not (
        path.is_dir() and (_is_run(path) or not any(path.iterdir()))
    ):
        raise ValueError(
            f"Received --output {path}, which exists and is not a run "
            "directory. Choose a new name."
        )
    folder = path.with_name(f".{path.name}.partial")
    with locked(path):
        try:
            _prepare(folder, settings, resume)
            yield folder
            _replace(path, folder)
        finally:
            if not has_progress(folder):
                shutil.rmtree(folder, ignore_errors=True)


def resolved(path):
    """Returns the absolute path of what a link leads to, not of the link.

    Raises:
        ValueError: if it leads in a circle.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"Received --output {path}, which leads nowhere: {error}. Choose "
            "another name."
        ) from error


def _is_run(path):
    """Returns whether a folder is a finished run; others have a config, too."""
    try:
        return "dataset_md5" in read_json(path / CONFIG)
    except ValueError:
        return False


@contextlib.contextmanager
def locked(path):
    """Keeps other processes from writing a folder meanwhile.

    Raises:
        ValueError: if one does, or what holds the folder cannot be written.
    """
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise ValueError(
            f"Another process is writing --output {path} at the moment."
        ) from error
    except OSError as error:
        raise ValueError(
            f"Cannot write to --output {path}: {error.strerror}."
        ) from error
    try:
        yield
    finally:
        os.unlink(lock.lock_file)
        lock.release()


def _replace(path, folder):
    """Gives a folder the name of an earlier one, which is never half there."""
    earlier = path.with_name(f".{path.name}.old")
    shutil.rmtree(earlier, ignore_errors=True)
    if path.exists():
        path.rename(earlier)
    folder.rename(path)
    (path / SETTINGS).unlink()
    shutil.rmtree(earlier, ignore_errors=True)


def has_progress(folder):
    """Returns whether an unfinished run has finished an epoch."""
    return any(folder.glob("**/progress.json")) or any(
        folder.glob(f"**/{METRICS}")
    )


def _prepare(folder, settings, resume):
    settings = json.loads(json.dumps(settings))
    if has_progress(folder):
        if not resume:
            raise ValueError(
                f"There is an unfinished run in {folder}. Continue it with "
                "--resume, or delete that folder to start anew."
            )
        earlier = read_json(folder / SETTINGS)
        changed = [
            name for name in settings if settings[name] != earlier.get(name)
        ]
        if changed:
            name = changed[0]
            raise ValueError(
                f"Cannot --resume the run in {folder}: its {name} is "
                f"{earlier.get(name)}, not {settings[name]}. Give the same "
                "settings, or delete that folder to start anew."
            )
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_json(folder / SETTINGS, settings)


def finished_results(path, settings, with_twin=False):
    """Returns the `metrics.json` of a finished run, its twin's second.

    `None` if there is no run, it was made with other settings, or it has no
    twin and one is wanted.
    """
    settings = json.loads(json.dumps(settings))
    try:
        config = json.loads((path / CONFIG).read_text())
        if any(config.get(name) != settings[name] for name in settings):
            return None
        if not (path / "plain").is_dir():
            return None if with_twin else [read_metrics(path)]
        return [read_metrics(path), read_metrics(path / "plain")]
    except (OSError, ValueError):
        return None


def read_metrics(folder):
    return read_figures(folder / METRICS)


def read_figures(path):
    """As `read_json`, with NaN for `null`: what `write_json` made of it."""
    content = read_json(path)
    figures = _map_values(content, lambda x: math.nan if x is None else x)
    return Content(figures, path)


class Content(dict):
    """What a JSON file holds. A missing name is one clear line."""

    def __init__(self, content, path):
        super().__init__(content)
        self.path = path

    def __missing__(self, name):
        raise ValueError(f"Cannot read {self.path}: it has no {name!r}.")


def read_json(path):
    """Returns the `Content` of a JSON file.

    Raises:
        ValueError: one line, if it is missing or damaged, or holds no names.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"Cannot read {path}: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"Cannot read {path}: it holds no names and values.")
    return Content(content, path)


def checksum(path):
    """Returns the SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path, content):
    """Writes JSON, which has no numbers that are none: those become `null`."""

    def known(x):
        return None if isinstance(x, float) and not math.isfinite(x) else x

    content = _map_values(content, known)
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _map_values(content, function):
    """Returns the content of a JSON file with each of its values replaced."""
    if isinstance(content, dict):
        return {k: _map_values(v, function) for k, v in content.items()}
    if isinstance(content, (list, tuple)):
        return [_map_values(value, function) for value in content]
    return function(content)


def write_text(path, text):
    """Writes a file that is complete at every moment."""
    partial = path.with_name(f".{path.name}")
    try:
        partial.write_text(text)
        partial.replace(path)
    except OSError:  # a full disk
        partial.unlink(missing_ok=True)
        raise
