"""Downloads that resume, are checked, and never leave a bad file."""

import contextlib
import hashlib
import os
import time

import filelock
import requests
import tqdm

TRIES = 5
PAUSE = 1.0  # seconds before the first new try; doubles
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces
PIECE = 2**16  # bytes; a dropped connection loses less than that


def fetch(url, path, md5, progress=True):
    """Makes sure that a file is there and is the published one.

    A missing file is downloaded to `NAME.part` beside it, which an
    interrupted download leaves and the next one completes; it takes its name
    when its MD5 is right. Of two processes, the second waits for the first.

    Args:
        url: where to get it.
        path: `pathlib.Path` of the file.
        md5: str, the published MD5 in hexadecimal.
        progress: bool, whether to show a progress bar.

    Returns:
        `path`.

    Raises:
        ValueError: one line, if the file is damaged or cannot be had.
    """
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(f"{path}.lock"):
                if not path.is_file():
                    _download(url, path, md5, progress)
            # Only after success: those who waited need not download either.
            with contextlib.suppress(OSError):
                os.unlink(f"{path}.lock")
        found = _md5(path)
    except OSError as error:
        raise ValueError(
            f"Cannot write or read {path}: {error.strerror or error}."
        ) from error
    if found != md5:
        raise ValueError(
            f"{path} is damaged or not the published file: its MD5 is {found},"
            f" expected {md5}. Delete it to have it downloaded from {url}."
        )
    return path


def _download(url, path, md5, progress):
    part = path.with_name(f"{path.name}.part")
    resumed = part.exists()
    _complete(url, part, path, progress)
    if _md5(part) != md5 and resumed:  # of another version, perhaps
        part.unlink()
        _complete(url, part, path, progress)
    found = _md5(part)
    if found != md5:
        part.unlink()
        raise ValueError(
            f"{url} is not the published file: its MD5 is {found}, expected "
            f"{md5}. Nothing was kept. Put the right file at {path} by hand."
        )
    part.replace(path)


def _complete(url, part, path, progress):
    """Downloads what is missing of a part, with several tries."""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            return _continue(url, part, progress)
        except requests.HTTPError as error:
            problem = f"status {error.response.status_code}"
            if error.response.status_code < 500:
                break
        except requests.RequestException as error:
            problem = type(error).__name__
            if not _answered(error):
                break
    size = part.stat().st_size if part.exists() else 0
    raise ValueError(
        f"Cannot download {url} ({problem} after {size} bytes). Give the same "
        f"command to resume, or put the file at {path} by hand."
    )


def _answered(error):
    """Returns whether there is a server at all."""
    return not isinstance(error, requests.ConnectionError) or (
        "NewConnectionError" not in str(error)
        and "NameResolutionError" not in str(error)
    )


def _continue(url, part, progress):
    done = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with requests.get(
        url, headers=headers, stream=True, timeout=TIMEOUT
    ) as response:
        if response.status_code == 416:  # nothing is missing
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
            if total != str(done):
                part.unlink()
                raise requests.ConnectionError("part was of another file")
            return
        response.raise_for_status()
        if response.status_code != 206:
            done = 0
        length = response.headers.get("Content-Length")
        with (
            open(part, "ab" if done else "wb") as file,
            tqdm.tqdm(
                total=length and done + int(length),
                initial=done,
                desc=part.stem,
                unit="B",
                unit_scale=True,
                disable=not progress,
            ) as bar,
        ):
            for piece in response.iter_content(PIECE):
                file.write(piece)
                bar.update(len(piece))
            if length and file.tell() != done + int(length):
                raise requests.ConnectionError("body was cut short")


def _md5(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
