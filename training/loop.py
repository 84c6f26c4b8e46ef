"""Parts of the training loop: batches of one shape, and a clock."""

import time

import keras
import numpy as np


class Batches(keras.utils.PyDataset):
    """Shuffled batches of one size: a remainder would be compiled anew."""

    def __init__(self, images, labels, batch_size, seed):
        super().__init__()
        self.images, self.labels = images, labels
        self.batch_size = batch_size
        self.rng = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return len(self.images) // self.batch_size

    def __getitem__(self, index):
        first = index * self.batch_size
        chosen = self.order[first : first + self.batch_size]
        return self.images[chosen], self.labels[chosen]

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.images))


class EpochClock(keras.callbacks.Callback):
    """Measures the training part of every epoch, without validation."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_test_begin(self, logs=None):
        self.trained = time.perf_counter() - self.start

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(self.trained)


def even_batch(count, most=128):
    """Returns a batch size that divides `count`, if there is a useful one."""
    return next(n for n in range(min(count, most), 0, -1) if count % n == 0)
