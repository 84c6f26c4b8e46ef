"""How far outputs of turned inputs are from turned outputs."""

import dataclasses

import keras
import numpy as np

from keras_sre import transforms
from keras_sre.equivariance.symmetries import grid_symmetries

BATCH_SIZE = 8


class OutputError(ValueError):
    """What a model returns cannot be compared."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which arrays are maps, and where their spatial axes are.

    Arrays of another number of axes do not turn: they are compared as they are.
    """

    rank: int
    data_format: str

    @property
    def first_axis(self):
        return 1 if self.data_format == "channels_last" else 2

    def is_map(self, x):
        return len(x.shape) == self.rank + 2

    def sizes(self, x):
        """Returns the spatial sizes of a map."""
        return tuple(x.shape[self.first_axis :][: self.rank])

    def keeps(self, symmetry, arrays):
        """Returns whether all maps keep their shapes when they turn."""
        maps = filter(self.is_map, arrays)
        return all(symmetry.keeps(self.sizes(x)) for x in maps)

    def turn(self, x, symmetry):
        return symmetry(x, self.first_axis) if self.is_map(x) else x

    def rotate(self, x, angle, axis):
        """Turns a map by `angle` degrees, as `keras_sre.transforms.rotate`."""
        if not self.is_map(x):
            return x
        x = np.asarray(self.channels_last(x), "float32")
        x = transforms.rotate(x, angle, "bilinear", axis)
        if self.data_format == "channels_first":
            x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
        return x

    def channels_last(self, x):
        return np.moveaxis(x, 1, -1) if self.first_axis == 2 else x


def runner(model, structure):
    """Returns a function from input arrays to output arrays, both in lists.

    It raises an error for shapes that the model does not take.

    Args:
        model: Keras model or layer.
        structure: what packs the input arrays, as `model` takes them.
    """
    declared = [t.shape[1:] for t in getattr(model, "inputs", ())]
    fixed = fixed_batch(model)

    def run(arrays):
        _check_shapes([array.shape[1:] for array in arrays], declared)
        count, batches = len(arrays[0]), []
        size = fixed or BATCH_SIZE
        for start in range(0, count, size):
            # A fixed batch is filled up with the first samples.
            stop = start + size if fixed else min(start + size, count)
            chosen = np.arange(start, stop) % count
            batch = [
                keras.ops.convert_to_tensor(array[chosen]) for array in arrays
            ]
            inputs = keras.tree.pack_sequence_as(structure, batch)
            # Not by `predict`: it would compile all layers a second time.
            outputs = run_inference(model, inputs)
            _check_outputs(outputs)
            batches.append(to_numpy(outputs))
        return [
            np.concatenate(parts)[:count]
            for parts in zip(*batches, strict=True)
        ]

    return run


def fixed_batch(model):
    """Returns the one batch size that a model takes; of any, `None`."""
    sizes = [tensor.shape[0] for tensor in getattr(model, "inputs", ())]
    return next((size for size in sizes if size is not None), None)


def _check_outputs(outputs):
    for y in keras.tree.flatten(outputs):
        if not keras.ops.is_tensor(y) or not len(y.shape):
            found = "one number" if keras.ops.is_tensor(y) else repr(y)
            raise OutputError(
                f"The model returns {found} for a batch. Expected outputs with "
                "an entry for each sample."
            )


def _check_shapes(shapes, declared):
    """Raises an error unless each shape is one of those that are declared."""
    for shape in shapes if declared else ():
        if not any(
            len(shape) == len(sizes)
            and all(n in (None, m) for n, m in zip(sizes, shape, strict=True))
            for sizes in declared
        ):
            raise ValueError(f"expected {declared} after the batch")


def to_numpy(outputs):
    """Returns a structure of tensors as a list of arrays."""
    return [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(outputs)]


def run_inference(operation, *args, **kwargs):
    """Runs a layer, or an operation of a graph, as `predict` would."""
    if getattr(operation, "_call_has_training_arg", False):
        kwargs["training"] = False
    return operation(*args, **kwargs)


def grid_error(run, arrays, outputs, layout, flips):
    """Returns the largest error over the grid's symmetries.

    Args:
        run: function from `runner`.
        arrays: list of input arrays.
        outputs: list of what `run` returns for them.
        layout: `Layout`.
        flips: bool, whether reflections are included.

    Returns:
        Tuple of the error, relative to the largest absolute output, and the
        number of symmetries that could be tested.
    """
    _, *symmetries = grid_symmetries(layout.rank, flips)  # without identity
    errors = [0.0]
    for symmetry in symmetries:
        turned = [layout.turn(array, symmetry) for array in arrays]
        found = run_turned(run, turned, layout.keeps(symmetry, arrays))
        if found is not None:
            expected = [layout.turn(y, symmetry) for y in outputs]
            errors.append(largest_error(found, expected))
    return max(errors), len(errors)


def run_turned(run, turned, keeps_shape):
    """Returns `run(turned)`, or `None` where it cannot take this shape.

    A function that ran on upright inputs can fail only where a turn exchanged
    unequal sides that it has fixed: then there is nothing to compare.
    """
    if keeps_shape:
        return run(turned)
    try:
        return run(turned)
    except Exception:  # each backend has errors of its own for shapes
        return None


def largest_error(found, expected):
    """Returns the largest difference of any output, relative to its largest.

    An output of another shape than expected is wrong altogether: 1.
    """
    return max(
        _relative(x, y, lambda values: np.abs(values).max(initial=0.0))
        for x, y in zip(found, expected, strict=True)
    )


def angle_error(run, arrays, outputs, layout, angle):
    """Returns the error of one angle, the mean over the axes of rotation.

    Args:
        run: function from `runner`.
        arrays: list of input arrays.
        outputs: list of what `run` returns for them.
        layout: `Layout` of rank 2 or 3.
        angle: float, degrees.
    """
    errors = []
    for axis in (None,) if layout.rank == 2 else tuple(transforms.PLANES):
        turned = [layout.rotate(array, angle, axis) for array in arrays]
        expected = [layout.rotate(y, angle, axis) for y in outputs]
        errors.append(
            max(
                _relative(_inside(x, layout), _inside(y, layout), _norm)
                for x, y in zip(run(turned), expected, strict=True)
            )
        )
    return float(np.mean(errors))


def _relative(found, expected, size):
    found, expected = (np.asarray(y, "float64") for y in (found, expected))
    if found.shape != expected.shape or not np.isfinite(found).all():
        return 1.0
    difference, scale = size(found - expected), size(expected)
    return float(difference / scale) if scale else float(difference > 0)


def _norm(values):
    return np.sqrt(np.square(values).sum())


def _inside(y, layout):
    """Returns the cells of a map that stay in the frame at every angle."""
    if not layout.is_map(y):
        return y
    offsets = [np.arange(size) - (size - 1) / 2 for size in layout.sizes(y)]
    squares = np.square(np.meshgrid(*offsets, indexing="ij")).sum(axis=0)
    # To the centres of the border cells: further out, bilinear interpolation
    # mixes in zeros from outside. A map of 2 cells has only its innermost.
    radius = (min(layout.sizes(y)) - 1) / 2
    return layout.channels_last(y)[:, squares <= max(radius**2, squares.min())]
