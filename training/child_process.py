"""Processes that this one starts: they end when it does, quietly."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading

import tqdm


class ChildError(RuntimeError):
    """A function failed in a process of its own, or the process died."""


def begin():
    """Has this process end as soon as the one that started it is gone."""
    # Progress bars would leave a lock for processes, and a warning, behind.
    tqdm.tqdm.set_lock(threading.RLock())
    threading.Thread(target=_wait_for_its_end, daemon=True).start()


def run_alone(function, *args, **kwargs):
    """Returns what a function returns in a process of its own.

    Its memory goes with the process: programs that XLA has compiled stay in
    memory for as long as one lives. It is stopped if this process is.

    Args:
        function: of a module that can be imported.
        *args: its arguments, picklable as its result is.
        **kwargs: its arguments by name.

    Raises:
        ValueError: what the function raises as a `ValueError` or `OSError`.
        ChildError: in one line, if it fails in another way or the process dies.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_answer, args=(sender, function, args, kwargs)
    )
    process.start()
    sender.close()
    try:
        result, refusal, failure = receiver.recv()
    except EOFError:
        process.join()
        raise ChildError(
            f"its process ended with code {process.exitcode}"
            + (" (out of memory?)" if process.exitcode == -9 else "")
        ) from None
    finally:
        process.terminate()
        process.join()
    if refusal:
        raise ValueError(refusal)
    if failure:
        raise ChildError(failure)
    return result


def _answer(sender, function, args, kwargs):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # that one stops this one
    begin()
    result = refusal = failure = None
    try:
        result = function(*args, **kwargs)
    except (ValueError, OSError) as error:
        refusal = str(error) or type(error).__name__
    except Exception as error:  # whatever it is, the other goes on
        failure = f"{type(error).__name__}: {error}".splitlines()[0]
    sys.stdout.flush()
    sender.send((result, refusal, failure))


def _wait_for_its_end():
    parent = multiprocessing.parent_process()
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
