"""Times things side by side, and single processes by themselves."""

import json
import pathlib
import re
import resource
import subprocess
import sys
import time

import numpy as np
from tqdm import tqdm


def time_in_turn(cases, repeats, title, warm_up=3, percentile=None):
    """Times functions in turn, A B C A B C: a drift is a drift for all.

    Args:
        cases: dict of functions without arguments.
        repeats: int, how many rounds are counted.
        title: str, of the progress bar.
        warm_up: int, how many rounds before them are not.
        percentile: a further percentile to return, in 0..100, or `None`.

    Returns:
        Dict of the same keys to `(median, spread)`: milliseconds, and the half
        distance of the quartiles as a share of the median; then, if asked for,
        milliseconds at the percentile.
    """
    times = {name: [] for name in cases}
    for round_number in tqdm(range(warm_up + repeats), title, leave=False):
        for name, call in cases.items():
            start = time.perf_counter()
            call()
            if round_number >= warm_up:
                times[name].append(1e3 * (time.perf_counter() - start))
    summaries = {name: _summary(values) for name, values in times.items()}
    if percentile is None:
        return summaries
    return {
        name: (*summary, float(np.percentile(times[name], percentile)))
        for name, summary in summaries.items()
    }


def _summary(values):
    low, median, high = np.percentile(values, [25, 50, 75])
    return float(median), float((high - low) / 2 / median)


def measure_alone(module, function, *arguments):
    """Returns what a function measures in a Python process of its own.

    Args:
        module: str, the script in this folder that holds it.
        function: str; it takes plain values and returns what JSON can hold.
        *arguments: its arguments.
    """
    code = (
        f"import json, {module} as module; "
        f"print(json.dumps(module.{function}(*{arguments!r})))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=pathlib.Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(process.stdout.splitlines()[-1])


def peak_memory():
    """Returns this process' peak resident memory in MiB.

    The operating system's own count on Linux: `getrusage` would count the
    parent, from which a process is forked, as well.
    """
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        return int(peak.group(1)) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
