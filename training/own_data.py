"""What a user's own folders and files have in common: splits and a report."""

import hashlib
import os

from dataset import SPLITS
from rich import console
from rich import table
from rich import text

GIB = 2**30
# More than this is refused, whatever a file says of itself.
MOST_BYTES = 4 * GIB
SHOWN_CLASSES = 40
SHOWN_NAMES = 10


def hold_out(names, share):
    """Returns which names are held out, at least one and never all.

    They are those whose MD5 comes first: the choice is the same on every
    machine and in every run, and a name that is added moves few others.

    Args:
        names: list of distinct str.
        share: float, the part to hold out, rounded to whole names.

    Returns:
        Set of names, empty if there is one name only.

    Example:

    >>> sorted(hold_out(["a", "b", "c", "d"], 0.5))
    ['a', 'c']
    """
    count = min(max(1, round(share * len(names))), len(names) - 1)
    ordered = sorted(names, key=lambda n: hashlib.md5(os.fsencode(n)).digest())
    return set(ordered[:count])


def printable(name):
    """Returns a name of a file or class that any terminal can show.

    Example:

    >>> printable("two\\nlines")
    'two?lines'
    """
    return "".join(c if c.isprintable() else "?" for c in str(name))


def reason_of(error):
    """Returns what a library says of a bad file, in one line."""
    reason = " ".join(printable(error).split())
    return reason or type(error).__name__


def check_size(path, count, num_bytes, fix):
    """Raises `ValueError` if so many bytes of images do not fit in memory."""
    if num_bytes > MOST_BYTES:
        raise ValueError(
            f"Cannot read {printable(path)}: its {count} images need "
            f"{num_bytes / GIB:.1f} GiB of memory. Expected at most "
            f"{MOST_BYTES / GIB:.0f} GiB. {fix}"
        )


def print_found(dataset):
    """Prints how many images each class has in each split, and the rest."""
    counts = dataset.found.counts
    grid = table.Table(title=text.Text(f"{printable(dataset.name)}: found"))
    grid.add_column("class")
    for split in SPLITS:
        grid.add_column(split, justify="right")
    rows = zip(
        dataset.classes, *(counts[split] for split in SPLITS), strict=True
    )
    for name, *numbers in list(rows)[:SHOWN_CLASSES]:
        grid.add_row(text.Text(name), *map(str, numbers))
    if (hidden := len(dataset.classes) - SHOWN_CLASSES) > 0:
        grid.add_row(f"and {hidden} more")
    grid.add_section()
    total = dataset.found.num_images
    grid.add_row("all images", *(str(total[split]) for split in SPLITS))
    console.Console(width=max(96, console.Console().width)).print(grid)
    for line in dataset.found.lines:
        print(line)


def listed(names):
    """Returns names as a text that does not grow beyond a few lines.

    Example:

    >>> listed(["a", "b"])
    'a, b'
    """
    shown = ", ".join(names[:SHOWN_NAMES])
    hidden = len(names) - SHOWN_NAMES
    return f"{shown} and {hidden} more" if hidden > 0 else shown
