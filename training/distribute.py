"""The devices of a run: one, all of a machine, or those of many hosts.

Every batch is shared equally among them, and `--batch-size` is the size of the
whole batch. It holds the same images, augmented alike, on any number of
devices, and batch normalisation takes the statistics of all of them, so that
the losses are those of one device, to rounding. All that a device takes part
in is a method of the classes here.

Tested on virtual CPU devices and on processes that talk by gloo; between GPUs
the same code uses NCCL, which has not been tried.
"""

import base64
import contextlib
import functools
import json
import pathlib
import tempfile

import keras
import numpy as np
from hosts import named_loss


class OneDevice:
    """Keras' default device, and the interface of the other classes.

    Attributes:
        num_devices: int, in all processes.
        is_chief: bool, whether this process writes the results.
    """

    num_devices = 1
    is_chief = True

    def scope(self):
        """Returns the context in which to make, train and save a model."""
        return contextlib.nullcontext()

    def share(self, batch_size):
        """Returns the slice of each batch that this process reads.

        Raises:
            ValueError: if the batch cannot be shared equally.
        """
        if extra := batch_size % self.num_devices:
            nearest = max(batch_size - extra, self.num_devices)
            raise ValueError(
                f"Cannot share a batch of {batch_size} images among "
                f"{self.num_devices} devices. Give --batch-size {nearest}."
            )
        return slice(0, batch_size)

    def fill_up(self, batch_size):
        """Returns the next batch size that can be shared."""
        return batch_size + -batch_size % self.num_devices

    def compile(self, model, *args, **kwargs):
        """Does what `model.compile` does."""
        model.compile(*args, **kwargs)

    def predict(self, model, batch):
        """Returns the outputs for a batch as one array, on all processes."""
        return keras.ops.convert_to_numpy(model.predict_on_batch(batch))

    def inference_model(self, model):
        """Returns the trained model as it is to be saved.

        Without the optimizer's variables, which are two thirds of the file.
        """
        return type(model)(model.input, model.output, name=model.name)

    def from_chief(self, function, *args):
        """Returns what `function(*args)` returns, or raises, on the chief.

        That is something JSON can hold.
        """
        return function(*args)

    def directory(self, chief_directory):
        """Returns the context manager of a folder to work in."""
        return chief_directory


ONE_DEVICE = OneDevice()


class MirroredDevices(OneDevice):
    """All devices of this machine, by TensorFlow."""

    def __init__(self):
        import tensorflow as tf

        devices = _tensorflow_devices()
        self.num_devices = len(devices)
        self.strategy = tf.distribute.MirroredStrategy(devices)

    def scope(self):
        return self.strategy.scope()

    def compile(self, model, *args, **kwargs):
        # XLA would make one program of the step of all devices and run it on
        # the first, which cannot reach the variables of the others. The ring
        # convolutions, programs of their own, are compiled in any case.
        model.compile(*args, jit_compile=False, **kwargs)
        _synchronize_batch_norm(model, True)

    def predict(self, model, batch):
        parts = np.split(batch, self.num_devices)
        distribute = self.strategy.experimental_distribute_values_from_function
        return super().predict(
            model,
            distribute(
                lambda context: keras.ops.convert_to_tensor(
                    parts[context.replica_id_in_sync_group]
                )
            ),
        )

    def inference_model(self, model):
        _synchronize_batch_norm(model, False)  # other backends refuse it
        return super().inference_model(model)


class ShardedDevices(OneDevice):
    """All devices of this machine, or of all hosts, by JAX."""

    def __init__(self):
        import jax

        # A process holds a contiguous part of each batch.
        devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
        self.num_devices = len(devices)
        self.num_processes = jax.process_count()
        self.process_id = jax.process_index()
        self.is_chief = self.process_id == 0
        self.distribution = keras.distribution.DataParallel(
            devices=devices, auto_shard_dataset=False
        )
        self._forward = {}

    @contextlib.contextmanager
    def scope(self):
        with self.distribution.scope(), named_loss():
            yield

    def share(self, batch_size):
        super().share(batch_size)
        size = batch_size // self.num_processes
        return slice(self.process_id * size, (self.process_id + 1) * size)

    def predict(self, model, batch):
        import jax

        layout = self.distribution.get_data_layout(batch.shape).backend_layout
        images = jax.make_array_from_process_local_data(
            layout, batch[self.share(len(batch))]
        )
        if model not in self._forward:
            # Whole on every process: Keras' own leaves each a part.
            whole = jax.sharding.NamedSharding(
                layout.mesh, jax.sharding.PartitionSpec()
            )
            self._forward[model] = jax.jit(
                lambda *args: model.stateless_call(*args, training=False)[0],
                out_shardings=whole,
            )
        values = [
            [variable.value for variable in variables]
            for variables in (
                model.trainable_variables,
                model.non_trainable_variables,
            )
        ]
        return np.asarray(self._forward[model](*values, images))

    def from_chief(self, function, *args):
        if self.num_processes == 1:
            return function(*args)
        from jax.experimental.multihost_utils import broadcast_one_to_all

        answer = None, None
        if self.is_chief:
            try:
                answer = function(*args), None
            except (ValueError, OSError) as error:
                answer = None, str(error)
        content = np.frombuffer(json.dumps(answer).encode(), "uint8")
        with named_loss():
            size = int(broadcast_one_to_all(np.int32(len(content))))
            if not self.is_chief:
                content = np.zeros(size, "uint8")
            content = broadcast_one_to_all(content)
        answer, error = json.loads(content.tobytes())
        if error is not None:
            raise ValueError(error)
        return answer

    @contextlib.contextmanager
    def directory(self, chief_directory):
        # The others work in copies: hosts need not share a file system.
        with contextlib.ExitStack() as stack:
            folder = self.from_chief(
                lambda: str(stack.enter_context(chief_directory))
            )
            folder = pathlib.Path(folder)
            if self.num_processes > 1:
                files = self.from_chief(_read_files, folder)
            if not self.is_chief:
                temporary = tempfile.TemporaryDirectory()
                folder = pathlib.Path(stack.enter_context(temporary))
                _write_files(folder, files)
            yield folder


def devices_for(distribute):
    """Returns the devices that `--distribute` stands for.

    Those of many hosts are known once `hosts.connect` has been called.
    """
    check_backend(distribute)
    if distribute == "none":
        return ONE_DEVICE
    mirrored = keras.backend.backend() == "tensorflow"
    devices = _mirrored() if mirrored else ShardedDevices()
    return devices if devices.num_devices > 1 else ONE_DEVICE


@functools.cache
def _mirrored():
    # A second strategy would number its reductions as the first did, and
    # TensorFlow take them for the same.
    return MirroredDevices()


def check_backend(distribute):
    """Raises `ValueError` if the backend cannot do it."""
    able = {"data": ("tensorflow", "jax"), "multi-host": ("jax",)}
    backend = keras.backend.backend()
    if backend not in able.get(distribute, (backend,)):
        raise ValueError(
            f"Received --distribute {distribute} on the {backend} backend. "
            f"Set KERAS_BACKEND={' or '.join(able[distribute])}."
        )


def _tensorflow_devices():
    import tensorflow as tf

    for kind in ("GPU", "CPU"):
        if found := tf.config.list_logical_devices(kind):
            return [device.name for device in found]


def _synchronize_batch_norm(model, synchronized):
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = synchronized


def _read_files(folder):
    """Returns a dict of all files: relative path to content, in base 64."""
    return {
        str(path.relative_to(folder)): base64.b64encode(
            path.read_bytes()
        ).decode()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _write_files(folder, files):
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(base64.b64decode(content))
