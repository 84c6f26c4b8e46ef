"""Downloads that resume, are checked, and never leave a bad file."""

import contextlib
import hashlib
import os
import pathlib
import shutil
import time
import urllib.parse
import urllib.request

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
        url: where to get it: `http`, `https` or `file`.
        path: str or `pathlib.Path` of the file.
        md5: str, the published MD5 in hexadecimal.
        progress: bool, whether to show a progress bar.

    Returns:
        `path` as a `pathlib.Path`.

    Raises:
        ValueError: one line, if the file is damaged or cannot be had.
    """
    path, md5, found = pathlib.Path(path).expanduser(), md5.lower(), None
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(f"{path}.lock"):
                if not path.exists():
                    found = _download(url, path, md5, progress)
            # Only after success: those who waited need not download either.
            with contextlib.suppress(OSError):
                os.unlink(f"{path}.lock")
        found = found or _md5(path)
    except OSError as error:
        raise ValueError(f"Cannot write or read {path}: {error}.") from error
    if found != md5:
        raise ValueError(
            f"{path} is damaged or not the published file: its MD5 is {found},"
            f" expected {md5}. Delete it to have it downloaded from {url}."
        )
    return path


def _download(url, path, md5, progress):
    part = path.with_name(f"{path.name}.part")
    for _ in range(2):
        resumed = _complete(url, part, path, progress)
        found = _md5(part)
        if found == md5:
            part.replace(path)
            return found
        part.unlink()
        if not resumed:  # else its start was of another version, perhaps
            break
    raise ValueError(
        f"{url} is not the published file: its MD5 is {found}, expected "
        f"{md5}. Nothing was kept. Put the right file at {path} by hand."
    )


def _complete(url, part, path, progress):
    """Gets what is missing of a part; returns whether it had a start."""
    if url.startswith("file:"):
        source = urllib.parse.urlsplit(url).path
        shutil.copyfile(urllib.request.url2pathname(source), part)
        return False
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            return _continue(url, part, progress)
        except requests.RequestException as error:
            problem = type(error).__name__
            if isinstance(error, requests.HTTPError):
                problem = f"status {error.response.status_code}"
            if _is_final(error, attempt):
                break
    size = part.stat().st_size if part.exists() else 0
    raise ValueError(
        f"Cannot download {url} ({problem} after {size} bytes). Give the same "
        f"command to resume, or put the file at {path} by hand."
    )


def _is_final(error, attempt):
    """Returns whether another try is of no use."""
    if isinstance(error, requests.HTTPError):
        return error.response.status_code < 500
    if isinstance(error, requests.ConnectionError) and attempt == 0:
        # No server at all; after an answer, the network may come back.
        text = str(error)
        return "NewConnectionError" in text or "NameResolutionError" in text
    return isinstance(error, ValueError)  # not an address


def _continue(url, part, progress):
    done = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with requests.get(
        url, headers=headers, stream=True, timeout=TIMEOUT
    ) as response:
        if done and response.status_code == 416:  # nothing is missing
            return True
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
    return done > 0


def _md5(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
