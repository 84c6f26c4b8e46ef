"""What differs between backends: all that names one, apart from export."""

import contextlib
import contextvars
import functools

import keras

_compiling = contextvars.ContextVar("compiling", default=True)


def untraced(function):
    """Returns `function`, which `torch.compile` calls and does not look into.

    It cannot trace the NumPy that filters are made with.
    """
    if keras.backend.backend() != "torch":
        return function
    import torch

    return torch.compiler.disable(function)


def never_empty(function):
    """Returns `function` of maps, which runs on a blank image if there is none.

    On some CPUs TensorFlow's convolutions (oneDNN) give an empty batch the
    shape of the input.
    """

    @functools.wraps(function)
    def run(inputs, *args, **options):
        if inputs.shape[0] != 0:
            return function(inputs, *args, **options)
        widths = [(0, 1)] + [(0, 0)] * (len(inputs.shape) - 1)
        one = keras.ops.pad(inputs, widths)
        return function(one, *args, **options)[:0]

    return run


@untraced
def compiled(function, config, *tensors):
    """Returns `function(config, *tensors)`, compiled by XLA if there is one.

    Keras leaves XLA off on machines without an accelerator when it uses
    TensorFlow, yet the shifted slices of a ring convolution are fast only when
    they are fused. So they are compiled by themselves: within `fit`, `predict`
    and eager calls alike, and as a part of the whole where all is compiled.
    Layers of equal shapes share one program. The torch backend runs
    `function` as it is.

    Args:
        function: pure function of a config and tensors, returning tensors.
        config: hashable, the static part of the arguments.
        *tensors: the arguments that may change from call to call.

    Returns:
        What `function` returns.
    """
    if not _compiling.get():
        return function(config, *tensors)
    signature = tuple((tuple(t.shape), str(t.dtype)) for t in tensors)
    program = _program(function, config, (is_distributed(), *signature))
    return program(*tensors)


def for_converters():
    """Returns whether functions run as they are, for converters of graphs."""
    return not _compiling.get()


@contextlib.contextmanager
def uncompiled():
    """Lets `compiled` run functions as they are, for converters of graphs."""
    token = _compiling.set(False)
    try:
        yield
    finally:
        _compiling.reset(token)


def compiled_with_gradient(forward, backward, config, *tensors):
    """Returns `forward(config, *tensors)`, whose gradient is `backward`.

    Args:
        forward: as `function` in `compiled`, returning one tensor.
        backward: function of config, `tensors` and the upstream gradient that
            returns the gradient with respect to each tensor, compiled too.
        config: hashable.
        *tensors: the arguments.
    """

    @keras.ops.custom_gradient
    def run(*tensors):
        # The gradient is ours: nothing in here is to be recorded for another.
        inputs = unrecorded(tensors)

        def gradient(*args, upstream=None):
            upstream = args[-1] if upstream is None else upstream
            return compiled(backward, config, *tensors, upstream)

        return compiled(forward, config, *inputs), gradient

    return run(*tensors)


def is_distributed():
    """Returns whether Keras shares tensors out to several devices."""
    return keras.distribution.distribution() is not None


def unrecorded(tensors):
    """Returns tensors whose operations are recorded for no gradient.

    For the forward part of a custom gradient. JAX records nothing there, but
    differentiates it when it is asked for the gradient of a gradient.
    """
    if keras.backend.backend() == "jax":
        return list(tensors)
    return [keras.ops.stop_gradient(tensor) for tensor in tensors]


def attached(made, function, config, *tensors):
    """Returns what `function` has made unrecorded, as if it were recorded.

    It costs nothing until the gradient of a gradient is asked for, which makes
    it again.

    Args:
        made: tensor, `function(config, *tensors)`.
        function: function of a config and tensors that returns one tensor.
        config: hashable.
        *tensors: the arguments.
    """
    if keras.backend.backend() == "jax":  # which has recorded it
        return made

    @keras.ops.custom_gradient
    def attach(*tensors):
        def gradient(*args, upstream=None):
            upstream = args[-1] if upstream is None else upstream
            return _pull_back(function, config, tensors, upstream)

        # Another name for it: the outputs of a function become its own.
        return keras.ops.reshape(made, keras.ops.shape(made)), gradient

    return attach(*tensors)


def _pull_back(function, config, tensors, upstream):
    """Returns the gradients of `function` with respect to its tensors."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            outputs = function(config, *tensors)
        return tape.gradient(outputs, tensors, upstream)
    import torch

    with torch.enable_grad():
        tensors = [tensor.detach().requires_grad_() for tensor in tensors]
        outputs = function(config, *tensors)
        return torch.autograd.grad(
            outputs, tensors, upstream, allow_unused=True
        )


def has_compiler():
    """Returns whether `compiled` compiles."""
    return keras.backend.backend() in ("tensorflow", "jax")


def as_tensor(x):
    """Returns an array or variable as a plain tensor of the backend."""
    x = keras.ops.convert_to_tensor(x)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Keras returns a variable as it is. A custom gradient refuses those.
        x = tf.convert_to_tensor(x)
    return x


def as_float(x, dtype):
    """Returns floats as a plain tensor, and all other numbers as `dtype`.

    Sums of integers would wrap around.
    """
    x = as_tensor(x)
    return x if is_float(x) else keras.ops.cast(x, dtype)


def is_float(x):
    """Returns whether a tensor holds floats."""
    return "float" in keras.backend.standardize_dtype(x.dtype)


def is_half(x):
    """Returns whether a tensor is of half precision."""
    return keras.backend.standardize_dtype(x.dtype) in ("float16", "bfloat16")


def at_least_float32(x):
    """Returns half precision as float32 and all else as it is."""
    return keras.ops.cast(x, "float32") if is_half(x) else x


def slice_axis(x, axis, start, stop, step=1):
    """Returns `x[start:stop:step]` along one axis, counted from the first.

    The bounds are ints. TensorFlow makes three constants for each slice, a
    fifth of what a training step has to trace. Here those of a graph share
    them.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.executing_eagerly():
            others = 2**axis - 1
            return tf.raw_ops.StridedSlice(
                input=x,
                begin=_constant((0,) * axis + (start,)),
                end=_constant((0,) * axis + (stop or 0,)),
                strides=_constant((1,) * axis + (step,)),
                begin_mask=others,
                end_mask=others | (stop is None) << axis,
            )
    return x[(slice(None),) * axis + (slice(start, stop, step),)]


def _constant(values):
    """Returns a tensor of ints, the same for all uses in one graph."""
    import tensorflow as tf

    graph = tf.compat.v1.get_default_graph()
    if not hasattr(graph, "keras_sre_constants"):
        graph.keras_sre_constants = {}
    made = graph.keras_sre_constants
    if values not in made:
        made[values] = tf.constant(values)
    return made[values]


@functools.lru_cache(maxsize=1024)
def _program(function, config, signature):
    run = functools.partial(function, config)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # One program for a signature: no retracing, no growing shapes.
        return tf.function(run, jit_compile=True, autograph=False)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(run)
    return run


def map_tensors(function, tensors, num_outputs):
    """As `keras.ops.map` over a tuple, but traces `function` only once.

    Args:
        function: takes a tuple of tensors and returns a tuple of
            `num_outputs` tensors in any shapes, of the dtype of the first.
        tensors: tuple of tensors with equal first axes.
        num_outputs: int.

    Returns:
        Tuple of the outputs of `function`, stacked along a new first axis.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        shapes = []

        def traced(index):  # read in place: `map_fn` would copy its inputs
            outputs = function(tuple(t[index] for t in tensors))
            shapes[:] = [output.shape for output in outputs]
            return outputs

        stacked = tf.map_fn(
            traced,
            tf.range(tf.shape(tensors[0])[0]),
            fn_output_signature=(tensors[0].dtype,) * num_outputs,
        )
        return tuple(
            tf.ensure_shape(output, [None, *shape])
            for output, shape in zip(stacked, shapes, strict=True)
        )
    return keras.ops.map(function, tensors)


def fused_batch_norm(x, scale, offset, *, epsilon, axis):
    """Normalises a map by its own statistics, by one fused kernel.

    Args:
        x: tensor of rank 4 or 5 with channels last.
        scale: tensor of shape `(channels,)`.
        offset: tensor of shape `(channels,)`.
        epsilon: float, added to the variance.
        axis: int, the channels axis.

    Returns:
        The normalised map and its mean and (biased) variance, or `None` where
        there is no such kernel: then the caller has to do without.
    """
    if (
        keras.backend.backend() != "tensorflow"
        or len(x.shape) not in (4, 5)
        or axis not in (-1, len(x.shape) - 1)
        or x.dtype == "float64"
    ):
        return None
    import tensorflow as tf

    shape = keras.ops.shape(x)
    if len(shape) == 5:  # the kernel knows images, and treats cells alike
        x = tf.reshape(x, (-1, *shape[2:]))
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=scale,
        offset=offset,
        mean=[],
        variance=[],
        epsilon=epsilon,
        is_training=True,
    )
    # The kernel divides by n - 1.
    count = tf.cast(tf.size(x) // tf.shape(x)[-1], variance.dtype)
    variance *= (count - 1) / count
    if len(shape) == 5:
        outputs = tf.reshape(outputs, shape)
    return outputs, mean, variance


def on_cpu():
    """Returns whether the backend sees no accelerator."""
    if keras.backend.backend() == "torch":
        import torch

        return not torch.accelerator.is_available()
    devices = keras.distribution.list_devices()
    return all(device.startswith("cpu") for device in devices)
