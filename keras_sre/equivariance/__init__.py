"""What a network keeps when its input turns: exactly, nearly, or not at all.

`symmetries.py` has the grid's own symmetries, `errors.py` measures how far
outputs are from turning along, `offenders.py` finds the layers that are the
cause and `reasons.py` says why; `report.py` shows it all.
"""

import numbers

import keras
import numpy as np

from keras_sre.data_format import data_format_of
from keras_sre.equivariance import errors
from keras_sre.equivariance.offenders import Offender
from keras_sre.equivariance.offenders import find_offenders
from keras_sre.equivariance.offenders import model_tolerance
from keras_sre.equivariance.report import EquivarianceReport

__all__ = ["EquivarianceReport", "Offender", "equivariance_report"]


def equivariance_report(model, x, *, angles=range(0, 360, 10), flips=True):
    """Measures what turning the input does to the outputs of a model.

    An output with as many axes as the input is a map and should turn along
    (equivariance: `f(turned x)` against turned `f(x)`, also where the map is
    of another size); any other output should stay as it is (invariance).
    Of several outputs the largest error counts. Of several inputs those with
    the most axes turn.

    - The grid's own symmetries (in 2D 8 quarter turns and reflections, in 3D
      48, in 1D reversal) move cells and lose nothing: an equivariant model is
      exact under them, bar rounding. On unequal sides those that exchange them
      are tested only if the model takes the exchanged shape.
    - Other angles resample the input (bilinear, zeros outside), so that no
      model is exact. The error is the norm of the difference relative to that
      of the reference, the root of the sum of squares over the batch. Maps are
      compared in the inscribed disc (in 3D: ball) through the centres of the
      border cells, which no turn takes out of the frame. All of the input is
      seen, though, and its corners leave the frame: that is part of the error,
      of vectors above all. Mask `x` to the disc to be without.
    - Offenders are found by running `x` through the graph layer by layer
      (nested models too), and each layer by itself on its own input, turned.
      A layer that comes after an offender is thus not blamed for it. Flatten
      and its like are not blamed where the outputs as a whole are exact.

    A saturated softmax, or a network whose units are all dead, hides every
    error: measure logits.

    Layers run in inference mode, as in `predict`. Which axes are spatial is
    read from the model's layers (`data_format`), else from Keras' setting. On
    accelerators, products in reduced precision (TF32) count as errors: switch
    them off.

    Args:
        model: Keras model or layer, of 1, 2 or 3 spatial axes. One without a
            graph (subclassed) is measured, but its layers are not told apart.
        x: array of shape `(batch, *spatial, channels)`, or channels first,
            finite; or a list or dict of arrays as `model` takes them. Real
            inputs are best, a few are enough.
        angles: numbers, degrees, the rotations for `per_angle`; volumes turn
            about each axis, and the mean counts. In 1D there are none.
        flips: bool, whether reflections are among the grid's symmetries.

    Returns:
        `EquivarianceReport` with `grid_error`, `per_angle` and `offenders`;
        `str()` of it is a table, `plot(path)` draws it.

    Raises:
        ValueError: if `model` is no Keras model or layer, `x` has another
            number of axes, is empty or not finite or does not fit the model,
            `angles` are no numbers, or outputs are not finite or not of a
            batch.

    Example:

    >>> from keras import layers
    >>> model = keras.Sequential(
    ...     [
    ...         layers.Conv2D(4, 1, strides=2, name="conv"),
    ...         layers.GlobalAveragePooling2D(),
    ...     ],
    ...     name="small",
    ... )
    >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
    >>> report = equivariance_report(model, x, angles=())
    >>> report.offenders[0].reason
    'Conv2D 1x1 at stride 2 samples 8x8 maps off-centre'
    >>> report.offenders[0].cure
    'SymmetricPooling2D before it, and strides=1'
    >>> report.exact
    False
    """
    if not isinstance(model, keras.layers.Layer):
        raise ValueError(
            f"Received a model of type {type(model).__name__}. Expected a "
            "Keras model or layer."
        )
    angles = _check_angles(angles)
    arrays = _check_inputs(model, x)
    run = errors.runner(model, x)
    outputs = _first_outputs(run, arrays)
    layout = errors.Layout(
        rank=max(array.ndim for array in arrays) - 2,
        data_format=data_format_of(model),
    )
    grid_error, num_symmetries = errors.grid_error(
        run, arrays, outputs, layout, flips
    )
    tolerance = model_tolerance(model)
    is_exact = grid_error <= tolerance
    found = find_offenders(model, x, arrays, layout, flips)
    offenders = [
        offender
        for offender, is_map in found.values()
        if is_map or not is_exact
    ]
    if not is_exact and not offenders:
        offenders.append(
            Offender(
                model.name,
                "no layer alone breaks the symmetry, but the model does",
                "a report on parts of the model",
                grid_error,
            )
        )
    return EquivarianceReport(
        name=model.name,
        grid_error=grid_error,
        num_symmetries=num_symmetries,
        tolerance=tolerance,
        per_angle={
            angle: errors.angle_error(run, arrays, outputs, layout, angle)
            for angle in (angles if layout.rank > 1 else ())
        },
        offenders=tuple(offenders),
    )


def _check_angles(angles):
    """Returns angles as a list of Python numbers."""
    try:
        angles = list(angles)
    except TypeError:
        angles = [None]
    if not all(
        isinstance(angle, numbers.Real) and np.isfinite(angle)
        for angle in angles
    ):
        raise ValueError(
            f"Received angles={angles!r}. Expected finite numbers, degrees, "
            "such as range(0, 360, 10)."
        )
    return [float(a) if a % 1 else int(a) for a in angles]


def _check_inputs(model, x):
    """Returns the arrays that `x` consists of, in a list."""
    arrays = [np.asarray(array) for array in keras.tree.flatten(x)]
    shapes = [array.shape for array in arrays]
    if not arrays or any(
        not np.issubdtype(array.dtype, np.number) and array.dtype != bool
        for array in arrays
    ):
        raise ValueError(
            f"Received x of type {type(x).__name__}. Expected an array of "
            "numbers, or a list or dict of arrays."
        )
    ranks = sorted(map(len, shapes))
    declared = sorted(len(t.shape) for t in getattr(model, "inputs", ()))
    axes = "axes: batch, 1 to 3 spatial ones and channels"
    if declared and not 3 <= declared[-1] <= 5:
        raise ValueError(
            f"Received a model whose inputs have {_listed(declared)} axes. "
            f"Expected one with an input of 3, 4 or 5 {axes}."
        )
    if not 3 <= ranks[-1] <= 5 or (declared and ranks != declared):
        expected = f"{len(declared)} array(s) of {_listed(declared)}"
        raise ValueError(
            f"Received x of shape {_listed(shapes)}. Expected "
            f"{expected if declared else '3, 4 or 5'} {axes}."
        )
    batches = {shape[0] for shape in shapes if shape}
    if len(batches) > 1:
        raise ValueError(
            f"Received x of shape {_listed(shapes)}, batches of different "
            "sizes. Expected as many samples of each input."
        )
    if 0 in batches:
        raise ValueError(
            f"Received x of shape {_listed(shapes)}, an empty batch. Give a "
            "few samples."
        )
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("Received x with NaN or infinite values. Remove them.")
    return [_as_float(array) for array in arrays]


def _listed(shapes):
    return ", ".join(map(str, shapes))


def _as_float(array):
    """Resampling and symmetric rounding need floats; indices stay integers."""
    is_float = np.issubdtype(array.dtype, np.floating)
    return array if is_float or array.ndim < 3 else array.astype("float32")


def _first_outputs(run, arrays):
    """Returns the outputs for upright inputs, and builds a new model."""
    try:
        outputs = run(arrays)
    except errors.OutputError:
        raise
    except Exception as error:  # each backend has errors of its own
        shapes = _listed(array.shape for array in arrays)
        raise ValueError(
            f"Received x of shape {shapes}, on which the model fails: {error}"
        ) from error
    if not all(np.isfinite(y).all() for y in outputs):
        raise ValueError(
            "The model returns NaN or infinite values on x, which nothing can "
            "be compared with. Scale x as in training, or check the weights."
        )
    return outputs
