"""What processes do that this one starts: they end when it does."""

import multiprocessing
import multiprocessing.connection
import os
import threading


def end_with_parent():
    """Has this process end as soon as the one that started it is gone."""
    threading.Thread(target=_wait_for_its_end, daemon=True).start()


def _wait_for_its_end():
    parent = multiprocessing.parent_process()
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
