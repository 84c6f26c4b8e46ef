"""Finds the layers that break the symmetry, each tested by itself."""

import dataclasses

import keras
import numpy as np

from keras_sre.equivariance import errors
from keras_sre.equivariance import reasons
from keras_sre.equivariance.symmetries import generators

MOST_SAMPLES = 8  # of the batch: layers are alike for all
TOLERANCE = 1e-5  # of one layer, relative to its largest output
HALF_PRECISION = {"float16": 0.01, "bfloat16": 0.03}
MANY_LAYERS = 10  # times the tolerance of one


@dataclasses.dataclass(frozen=True)
class Offender:
    """A layer that breaks the exact symmetry on this input size.

    Attributes:
        name: str, the layer's name; in nested models `"outer/inner"`.
        reason: str, why.
        cure: str, what to use instead.
        error: float, the largest error of this layer alone, relative to its
            largest output.
    """

    name: str
    reason: str
    cure: str
    error: float


def model_tolerance(model):
    """Returns the error up to which a whole model counts as exact."""
    layers = model._flatten_layers()
    tolerances = [tolerance_of(layer.compute_dtype) for layer in layers]
    return MANY_LAYERS * max(tolerances)


def tolerance_of(dtype):
    return HALF_PRECISION.get(dtype, TOLERANCE)


def find_offenders(model, structure, arrays, layout, flips):
    """Returns the layers that do not turn their outputs with their inputs.

    Args:
        model: Keras model or layer.
        structure: what packs the input arrays, as `model` takes them.
        arrays: list of input arrays.
        layout: `errors.Layout`.
        flips: bool, whether reflections are tested.

    Returns:
        Dict from name to `(Offender, bool)`, in order of execution; the bool is
        whether all outputs are maps.
    """
    # At least two samples, so that constants are told from maps.
    num_samples = min(max(len(arrays[0]), 2), MOST_SAMPLES)
    num_samples = errors.fixed_batch(model) or num_samples
    chosen = np.arange(num_samples) % len(arrays[0])
    inputs = [keras.ops.convert_to_tensor(array[chosen]) for array in arrays]
    search = _Search(layout, generators(layout.rank, flips), num_samples)
    packed = keras.tree.pack_sequence_as(structure, inputs)
    _walk(model, model.name, "", (packed,), {}, search.visit)
    return search.found


class _Search:
    """Runs the parts of a model, and tests each when it has run."""

    def __init__(self, layout, symmetries, num_samples):
        self.layout = layout
        self.symmetries = symmetries
        self.num_samples = num_samples
        self.found = {}

    def visit(self, operation, name, args, kwargs):
        """Returns what the operation returns, and records it if it offends."""
        outputs = errors.run_inference(operation, *args, **kwargs)
        upright = errors.to_numpy(outputs)
        leaves = keras.tree.flatten((args, kwargs))
        maps = [leaf for leaf in leaves if self._turns(leaf)]
        if not maps or not all(np.isfinite(y).all() for y in upright):
            return outputs

        def run(turned):
            inputs = keras.tree.pack_sequence_as((args, kwargs), turned)
            args_, kwargs_ = inputs
            return errors.to_numpy(
                errors.run_inference(operation, *args_, **kwargs_)
            )

        error, tested = self._error(run, leaves, maps, upright)
        if error > _tolerance(operation, upright):
            reason, cure = reasons.explain(
                operation,
                self.layout.sizes(maps[0]),
                tested,
                self.layout.data_format == "channels_first",
            )
            is_map = all(map(self.layout.is_map, upright))
            self._record(Offender(name, reason, cure, error), is_map)
        return outputs

    def _error(self, run, leaves, maps, upright):
        """Returns the largest error, and the symmetries that were tested."""
        error, tested = 0.0, []
        for symmetry in self.symmetries:
            turned = [
                self._turn(leaf, symmetry) if self._turns(leaf) else leaf
                for leaf in leaves
            ]
            keeps_shape = self.layout.keeps(symmetry, maps)
            found = errors.run_turned(run, turned, keeps_shape)
            if found is not None:
                expected = [self.layout.turn(y, symmetry) for y in upright]
                error = max(error, errors.largest_error(found, expected))
                tested.append(symmetry)
        return error, tested

    def _turns(self, leaf):
        return (
            keras.ops.is_tensor(leaf)
            and self.layout.is_map(leaf)
            and leaf.shape[0] == self.num_samples
        )

    def _turn(self, tensor, symmetry):
        array = keras.ops.convert_to_numpy(tensor)
        turned = self.layout.turn(array, symmetry)
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        return keras.ops.convert_to_tensor(turned, dtype=dtype)

    def _record(self, offender, is_map):
        # A shared layer runs several times: the largest error counts.
        before, _ = self.found.get(offender.name, (offender, is_map))
        worst = max(before, offender, key=lambda record: record.error)
        self.found[offender.name] = (worst, is_map)


def _walk(operation, name, prefix, args, kwargs, visit):
    """Runs an operation through `visit`, and models layer by layer.

    Args:
        operation: Keras layer, or an operation of a functional graph.
        name: str, its name.
        prefix: str, what comes before the names of its parts.
        args: tuple of its inputs.
        kwargs: dict of its inputs.
        visit: function of operation, name, args and kwargs that runs it.

    Returns:
        The outputs.
    """

    def step(part):
        part_name = f"{prefix}{part.name}"
        return lambda *args, **kwargs: _walk(
            part, part_name, f"{part_name}/", args, kwargs, visit
        )

    is_graph = isinstance(operation, keras.Model) and isinstance(
        operation, (keras.Function, keras.Sequential)
    )
    if not is_graph:
        return visit(operation, name, args, kwargs)
    inputs = args[0] if args else kwargs["inputs"]
    if isinstance(operation, keras.Sequential):
        for layer in operation.layers:
            inputs = step(layer)(inputs)
        return inputs
    outputs = operation._run_through_graph(
        operation._standardize_inputs(inputs), operation_fn=step
    )
    is_single = isinstance(outputs, (list, tuple)) and len(outputs) == 1
    return outputs[0] if is_single else outputs


def _tolerance(operation, outputs):
    if isinstance(operation, keras.Model):
        return model_tolerance(operation)
    dtypes = {str(y.dtype) for y in outputs}
    dtypes.add(getattr(operation, "compute_dtype", "float32"))
    return max(map(tolerance_of, dtypes))
