"""Run directories: complete or not there at all."""

import contextlib
import json
import pathlib
import shutil
import tempfile


@contextlib.contextmanager
def complete_directory(path):
    """Yields a temporary folder that takes the name `path` if all went well.

    Raises:
        ValueError: if `path` cannot be written, or holds something else than
            a run.
    """
    path = path.absolute()
    if path.exists() and not (
        path.is_dir()
        and ((path / "config.json").exists() or not any(path.iterdir()))
    ):
        raise ValueError(
            f"Received --output {path}, which exists and is not a run "
            "directory. Choose a new name."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = pathlib.Path(
            tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent)
        )
    except OSError as error:
        raise ValueError(
            f"Cannot write to --output {path}: {error.strerror}."
        ) from error
    try:
        folder.chmod(0o755)
        yield folder
        if path.exists():
            shutil.rmtree(path)
        folder.rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_json(path, content):
    path.write_text(json.dumps(content, indent=1) + "\n")
