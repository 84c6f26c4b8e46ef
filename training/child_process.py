"""What processes do that this one starts: they end when it does, quietly."""

import multiprocessing
import multiprocessing.connection
import os
import threading

import tqdm


def begin():
    """Has this process end as soon as the one that started it is gone."""
    # Progress bars would leave a lock for processes, and a warning, behind.
    tqdm.tqdm.set_lock(threading.RLock())
    threading.Thread(target=_wait_for_its_end, daemon=True).start()


def _wait_for_its_end():
    parent = multiprocessing.parent_process()
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
