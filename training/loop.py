"""The training loop: batches, and an epoch's end that survives."""

import dataclasses
import functools
import importlib.util
import time

import keras
import numpy as np
from augment import augment
from augment import lose_corners
from augment import turn_and_mirror
from data import scale
from distribute import ONE_DEVICE
from evaluate import predict
from recipes import recipe_for
from run_directory import checksum
from run_directory import read_figures
from run_directory import write_json
from tqdm.keras import TqdmCallback

PROGRESS = "progress.json"


class Batches(keras.utils.PyDataset):
    """Shuffled, scaled and augmented batches, all of one size.

    A remainder is left to the next epoch's order: its shape would cost a
    compilation. All chance comes from `(seed, epoch, batch)`, so a resumed run
    sees what an uninterrupted one would.

    Args:
        images: as in `Dataset`.
        labels: likewise.
        batch_size: int.
        seed: int.
        augmentations: functions of scaled images and a NumPy generator.
        devices: as of `distribute.devices_for`. A process reads its own share
            of each batch; the chance of a batch is that of the whole.
    """

    def __init__(
        self,
        images,
        labels,
        batch_size,
        seed,
        augmentations=(),
        devices=ONE_DEVICE,
    ):
        super().__init__()
        self.images, self.labels = images, labels
        self.batch_size = min(batch_size, len(images))
        self.share = devices.share(self.batch_size)
        self.seed, self.augmentations = seed, augmentations
        self.start_epoch(0)

    def __len__(self):
        return len(self.images) // self.batch_size

    def __getitem__(self, index):
        start = time.perf_counter()
        first = index * self.batch_size
        chosen = np.sort(self.order[first : first + self.batch_size])
        mine = chosen[self.share]
        images = scale(self.images[mine])
        if self.augmentations:
            images = self._augment(images, index)
        self.seconds += time.perf_counter() - start
        return images, self.labels[mine]

    def _augment(self, images, index):
        rng = np.random.default_rng((self.seed, self.epoch, index))
        # Chance is drawn for a whole batch: zeros stand for what others read.
        before = self.share.start
        after = self.batch_size - self.share.stop
        if before or after:
            widths = [(before, after), *[(0, 0)] * (images.ndim - 1)]
            images = np.pad(images, widths)
        for augmentation in self.augmentations:
            images = augmentation(images, rng)
        return images[self.share]

    def start_epoch(self, epoch):
        self.epoch, self.seconds = epoch, 0.0
        rng = np.random.default_rng((self.seed, epoch))
        self.order = rng.permutation(len(self.images))


class EpochEnd(keras.callbacks.Callback):
    """Validates, keeps the history, and saves all that a resumed run needs.

    `progress.json` names the models (with optimizers) of the latest
    and the best epoch, with their checksums. It is replaced after they are
    written, so that it is right whenever the process is killed.

    Args:
        folder: where to save.
        batches: the training `Batches`.
        validation: pair of images and labels; the epoch of the lowest
            validation loss is the best.
        task: `Task`.
        devices: as of `distribute.devices_for`.
    """

    def __init__(self, folder, batches, validation, task, devices=ONE_DEVICE):
        super().__init__()
        self.folder, self.batches, self.task = folder, batches, task
        self.devices = devices
        self.images, self.labels = validation
        self.epochs = []  # one dict of figures for each
        self.latest = self.best = None
        self.checksums = {}  # of both files

    def resume(self, model):
        """Restores a model to its latest epoch; returns the epochs done.

        Raises:
            ValueError: if what was saved is damaged.
        """
        path = self.folder / PROGRESS
        if not path.exists():
            return 0
        progress = read_figures(path)
        self.epochs = progress["epochs"]
        self.latest, self.best = progress["latest"], progress["best"]
        self.checksums = progress["checksums"]
        for name, expected in self.checksums.items():
            if checksum(self.folder / name) != expected:
                raise ValueError(
                    f"Cannot --resume: {self.folder / name} is damaged. Delete "
                    f"{self.folder} to start anew."
                )
        model.optimizer.build(model.trainable_variables)
        model.load_weights(self.folder / self.latest)
        return len(self.epochs)

    def restore_best(self, model):
        """Loads the best epoch's weights."""
        model.load_weights(self.folder / self.best)

    def on_epoch_begin(self, epoch, logs=None):
        # Not left to Keras, which ends a first epoch when it looks at the data.
        self.batches.start_epoch(epoch)
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise ValueError(
                f"The loss is {logs['loss']} in epoch {len(self.epochs) + 1}: "
                "training diverged. Try a lower --learning-rate or float32."
            )

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
        scores = predict(self.model, self.images, devices=self.devices)
        loss = keras.losses.get(self.task.loss)(
            self.labels, scores.astype("float32")
        )
        logs["val_loss"] = float(keras.ops.mean(loss))
        logs["val_accuracy"] = self.task.accuracy(self.labels, scores)
        figures = {name: float(value) for name, value in logs.items()}
        figures |= {"seconds": seconds, "input_seconds": self.batches.seconds}
        self.epochs.append(figures)
        self._save()

    def _save(self):
        count = len(self.epochs)
        # Not `save_weights`: HDF5 crashes when it finds a disk full.
        self.latest = f"epoch-{count}.keras"
        self.model.save(self.folder / self.latest)
        if best_epoch(self.epochs) == count:
            self.best = self.latest
        self.checksums = {
            name: self.checksums.get(name) or checksum(self.folder / name)
            for name in {self.latest, self.best}
        }
        write_json(
            self.folder / PROGRESS,
            {
                "latest": self.latest,
                "best": self.best,
                "checksums": self.checksums,
                "epochs": self.epochs,
            },
        )
        for path in self.folder.glob("epoch-*.keras"):
            if path.name not in (self.latest, self.best):
                path.unlink()


def best_epoch(epochs):
    """Returns the number, from 1, of the epoch of least validation loss."""
    losses = [figures["val_loss"] for figures in epochs]
    return 1 + int(np.argmin(np.nan_to_num(losses, nan=np.inf)))


def remove_progress(folder):
    """Removes what a finished run does not need."""
    (folder / PROGRESS).unlink(missing_ok=True)
    for path in folder.glob("epoch-*.keras"):
        path.unlink()


def augmentations_of(recipe, turned=False):
    """Returns the augmentations of a `Recipe`, and turning if it is asked."""
    augmentations = []
    if recipe.augment:
        augmentations.append(
            functools.partial(augment, as_if_turned=recipe.as_if_turned)
        )
    if recipe.as_if_turned:
        augmentations.append(lose_corners)
    if turned:
        augmentations.append(turn_and_mirror)
    return augmentations


def train(model, config, dataset, folder, progress, logs, devices=ONE_DEVICE):
    """Fits the model from where it was left; returns figures of all epochs."""
    recipe = recipe_for(config.dataset, config.recipe)
    augmentations = augmentations_of(recipe, config.augment_rotation)
    batches = Batches(
        *dataset.splits["train"],
        config.batch_size,
        config.seed,
        augmentations,
        devices,
    )
    devices.compile(
        model,
        recipe.make_optimizer(
            config.learning_rate,
            config.weight_decay,
            config.epochs * len(batches),
        ),
        dataset.task.loss,
        metrics=["accuracy"],
    )
    epoch_end = EpochEnd(
        folder, batches, dataset.splits["val"], dataset.task, devices
    )
    done = epoch_end.resume(model)
    callbacks = [epoch_end, *_loggers(logs, folder, config)]
    if progress:
        bar = f"{model.name}: training"
        bar = TqdmCallback(verbose=0, desc=bar, dynamic_ncols=True)
        callbacks.append(bar)
    model.fit(
        batches,
        shuffle=False,  # they are, repeatably
        initial_epoch=done,
        epochs=config.epochs,
        callbacks=callbacks,
        verbose=0,
    )
    epoch_end.restore_best(model)
    return epoch_end.epochs


def _loggers(logs, folder, config):
    for package in logs:
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"--log {package} needs a package: pip install {package}"
            )
    loggers = []
    if "tensorboard" in logs:
        loggers.append(keras.callbacks.TensorBoard(folder / "tensorboard"))
    if "wandb" in logs:
        import wandb

        run = wandb.init(config=dataclasses.asdict(config), reinit=True)
        loggers.append(
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: run.log(logs),
                on_train_end=lambda logs: run.finish(),
            )
        )
    return loggers
