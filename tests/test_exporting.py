"""Exported files, each run by its own runtime."""

import collections

import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import grid_transforms
from helpers import needs_export
from helpers import to_numpy
from scipy import ndimage

import keras_sre
from keras_sre import ExportError
from keras_sre.exporting import formats
from keras_sre.exporting import ranges
from keras_sre.exporting import runtimes
from keras_sre.exporting.samples import samples_of

pytestmark = needs_export

litert = pytest.importorskip("ai_edge_litert.interpreter")


def small_network(size=16, kernel_size=9, rank=2, **options):
    """A network with all that an SRE-ResNet has, its statistics not trivial."""
    ring = getattr(keras_sre, f"SREConv{rank}D")
    pooling = getattr(keras_sre, f"SymmetricPooling{rank}D")
    mean = getattr(keras.layers, f"GlobalAveragePooling{rank}D")
    x = inputs = keras.Input((size,) * rank + (2,), name="image")
    x = ring(8, kernel_size, padding="same", use_bias=False, **options)(x)
    x = keras_sre.layers.FusedBatchNormalization()(x)
    x = shortcut = keras.layers.ReLU()(x)
    x = ring(8, 3, padding="same", use_bias=False, **options)(x)
    x = keras_sre.layers.FusedBatchNormalization()(x)
    x = keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))
    x = mean()(pooling()(x))
    outputs = keras.layers.Dense(3, name="scores")(x)
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(rng.normal(size=shape, scale=0.1))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, shape))
            layer.gamma.assign(rng.uniform(0.5, 1.5, shape))
            layer.beta.assign(rng.normal(size=shape))
    return model


def samples(model, count=4):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(2).normal(size=shape).astype("float32")


def operations(path):
    """Returns how many operations of a name there are."""
    details = undelegated(path)._get_ops_details()
    return collections.Counter(detail["op_name"] for detail in details)


def integers_of_windows(path):
    """Returns the taps of each depthwise convolution."""
    interpreter = undelegated(path)
    return [
        interpreter.get_tensor(operation["inputs"][1])
        for operation in interpreter._get_ops_details()
        if operation["op_name"] == "DEPTHWISE_CONV_2D"
    ]


def undelegated(path):
    """Returns an interpreter that still knows every single operation."""
    interpreter = litert.Interpreter(
        str(path),
        experimental_op_resolver_type=(
            litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    )
    interpreter.allocate_tensors()
    return interpreter


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ""])
def test_files_do_what_keras_does_at_two_batch_sizes(suffix, tmp_path):
    model = small_network(harmonics=(1, 2))
    x = samples(model)
    path = tmp_path / f"exported{suffix}"
    report = keras_sre.export(model, path, representative_data=x)
    format = {".tflite": "litert", ".onnx": "onnx", "": "saved_model"}[suffix]
    assert report.format == format
    assert report.difference < 1e-5
    assert report.agreement == 1
    assert report.batch_sizes == (1, 3)
    assert report.latency_ms > 0
    # Not by the report alone.
    (y,) = runtimes.RUNTIMES[format](path).run([x], 1)
    expected = to_numpy(model(x, training=False))
    np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_litert_keeps_the_parameter_count_and_folds_normalisation(tmp_path):
    model = small_network()
    path = tmp_path / "model.tflite"
    keras_sre.export(model, path, verify=False)
    found = operations(path)
    # Rings of 9x9: a window for the first, one more for the second, three for
    # the third and two for the fourth; and one of 3x3. Then a product for each
    # layer. No normalisation is left.
    assert found["DEPTHWISE_CONV_2D"] == 1 + 1 + 3 + 2 + 1
    assert found["CONV_2D"] == 2
    allowed = {"DEPTHWISE_CONV_2D", "CONV_2D", "CONCATENATION", "ADD"}
    allowed |= {"AVERAGE_POOL_2D", "MEAN", "FULLY_CONNECTED"}
    allowed |= {"PAD", "STRIDED_SLICE"}  # a border, and its end
    assert set(found) <= allowed


@pytest.mark.parametrize("quantization", ["float16", "dynamic", "int8"])
def test_quantized_files_are_near(quantization, tmp_path):
    model = small_network(kernel_size=5, harmonics=(1,))
    x = samples(model, 8)
    report = keras_sre.export(
        model,
        tmp_path / "model.tflite",
        quantization=quantization,
        representative_data=x,
    )
    limit = {"float16": 5e-3, "dynamic": 0.05, "int8": 0.1}[quantization]
    assert 0 < report.difference < limit
    assert quantization in str(report)


def pooling_network(size, pool_size):
    return keras.Sequential(
        [
            keras.Input((size, size, 1)),
            keras_sre.SREConv2D(4, 3, padding="same", activation="relu"),
            keras_sre.SymmetricPooling2D(pool_size),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )


@pytest.mark.parametrize(
    ("build", "most"),
    [
        (small_network, 127),
        # Harmonics change sign when they turn, and 8 bits clip at -128 and
        # 127: exact as long as maps stay in the range that calibration saw.
        (lambda: small_network(harmonics=(1, 2)), 30),
        *((lambda n=n: pooling_network(n, 2), 127) for n in (9, 11)),
        *((lambda n=n: pooling_network(n, 3), 127) for n in (10, 11)),
        (lambda: pooling_network(11, 4), 127),
    ],
    ids=["rings", "harmonics", "9/2", "11/2", "10/3", "11/3", "11/4"],
)
def test_integers_are_exactly_symmetric(build, most, tmp_path):
    model = build()
    path = tmp_path / "model.tflite"
    keras_sre.export(
        model, path, quantization="int8", representative_data=samples(model, 8)
    )
    interpreter = litert.Interpreter(str(path))
    interpreter.allocate_tensors()
    (taken,) = interpreter.get_input_details()
    (given,) = interpreter.get_output_details()
    assert taken["dtype"] == given["dtype"] == np.int8
    x = np.random.default_rng(5).integers(-most, most, taken["shape"], "int8")

    def run(image):
        interpreter.set_tensor(taken["index"], np.ascontiguousarray(image))
        interpreter.invoke()
        return interpreter.get_tensor(given["index"])

    expected = run(x)
    assert len(set(expected.ravel())) > 1
    for name, transform in grid_transforms(2):
        np.testing.assert_array_equal(run(transform(x)), expected, name)


@pytest.mark.parametrize("smooth", [True, False])
def test_rings_of_9x9_are_composed_in_integers(smooth, tmp_path):
    """Their taps stay exact, and maps of smooth images are rounded once."""
    path, model = tmp_path / "model.tflite", small_network()
    x = samples(model)
    if smooth:
        x = ndimage.gaussian_filter(x, (0, 3, 3, 0))
    keras_sre.export(model, path, quantization="int8", representative_data=x)
    counted = operations(path)
    assert counted["STRIDED_SLICE"] == 3 and counted["DEPTHWISE_CONV_2D"] == 8
    assert (counted["QUANTIZE"] == 0) == smooth
    ratios = set()
    for taps in integers_of_windows(path):
        taps = np.abs(taps[taps != 0].astype(int))
        ratios.update(taps / taps.min())
    assert ratios == {1, 2, 5}


@pytest.mark.parametrize("taps", [np.zeros((3, 3)), np.diag([1, 3, -3])])
def test_windows_of_other_layers(taps, tmp_path):
    layer = keras.layers.DepthwiseConv2D(3, padding="same")
    model = keras.Sequential([keras.Input((8, 8, 2)), layer])
    kernel = np.repeat(taps[..., None, None], 2, axis=-2)
    layer.set_weights([kernel, np.float32([0.5, 1])])
    path = tmp_path / "model.tflite"
    data = {"quantization": "int8", "representative_data": samples(model)}
    assert keras_sre.export(model, path, **data).difference < 0.02
    (found,) = integers_of_windows(path)
    assert set(found.ravel()) == ({0, 42, 126, -126} if taps.any() else {0})


@pytest.mark.parametrize("kernel_size", [3, 5, 9])
def test_what_is_cropped_keeps_its_range(kernel_size, tmp_path):
    """A "valid" layer, and another that reads the whole map, too."""
    inputs = keras.Input((14, 14, 2))
    ring = keras_sre.SREConv2D(4, kernel_size)(inputs)
    other = keras.layers.Conv2D(4, 1)(inputs)
    model = keras.Model(inputs, [ring, other])
    x = samples(model)
    x[:, 3:-3, 3:-3] /= 10
    data = {"quantization": "int8", "representative_data": x}
    report = keras_sre.export(model, tmp_path / "model.tflite", **data)
    assert report.difference < 0.1


def test_an_operation_without_outputs(tmp_path):
    class Counter(keras.layers.Layer):
        def build(self, input_shape):
            self.count = self.add_weight(shape=(), trainable=False)

        def call(self, x):
            self.count.assign_add(1.0)
            return x

    layers = [keras.Input((9, 9, 2)), Counter(), keras_sre.SREConv2D(2, 3)]
    model = keras.Sequential(layers)
    data = {"quantization": "int8", "representative_data": samples(model)}
    report = keras_sre.export(model, tmp_path / "model.tflite", **data)
    assert report.difference < 0.06


def test_integers_of_a_plain_network_are_not(tmp_path):
    inputs = keras.Input((16, 16, 2))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    path, x = tmp_path / "model.tflite", samples(model, 8)
    keras_sre.export(model, path, quantization="int8", representative_data=x)
    runtime = runtimes.LiteRT(path)
    upright, turned = (
        runtime.run([x], 1),
        runtime.run([np.rot90(x, 1, (1, 2))], 1),
    )
    assert np.abs(upright[0] - turned[0]).max() > 0


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_volumes_convert_to_built_in_operations(quantization, tmp_path):
    model = small_network(size=6, kernel_size=5, rank=3)
    path = tmp_path / "model.tflite"
    report = keras_sre.export(
        model,
        path,
        quantization=quantization,
        representative_data=samples(model, 4),
    )
    assert report.difference < (0.1 if quantization else 1e-5)
    assert not any("3D" in name for name in operations(path))


def test_transposed_volumes_have_built_in_operations(tmp_path):
    model = keras.Sequential(
        [keras.Input((4, 4, 4, 2)), keras_sre.SREConv3DTranspose(3, 2, 2)]
    )
    report = keras_sre.export(model, tmp_path / "model.tflite")
    assert report.difference < 1e-5


@pytest.mark.parametrize("rank", [2, 3])
def test_onnx_files_of_unknown_sizes_take_odd_ones(rank, tmp_path, rng):
    convolution = getattr(keras_sre, f"SREConv{rank}D")
    pooling = getattr(keras_sre, f"SymmetricPooling{rank}D")
    model = keras.Sequential([keras.Input((*[None] * rank, 1))])
    model.add(convolution(2, 3, strides=2, padding="same"))
    model.add(pooling())
    model.add(pooling(3, mode="max"))
    keras_sre.export(model, tmp_path / "model.onnx")
    file = runtimes.ONNX(tmp_path / "model.onnx")
    for size in (12, 13, 15, 22):
        x = rng.normal(size=(2, size, *[size + 1] * (rank - 1), 1))
        x = x.astype("float32")
        assert_close(file.run([x], 2)[0], model(x))


def model_of_two_inputs(names):
    image = keras.Input((8, 8, 1), name=names[0])
    numbers = keras.Input((4,), name=names[1])
    x = keras_sre.SREConv2D(4, 3, padding="same")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    both = keras.layers.Concatenate()([x, numbers])
    outputs = [keras.layers.Dense(n)(both) for n in (2, 5)]
    return keras.Model([image, numbers], outputs)


@pytest.mark.parametrize("names", ["ab", "ba", ("x_10", "x_9")])
def test_several_inputs_and_outputs(names, tmp_path, rng):
    """Files list their inputs by name, whatever their order in Keras."""
    model = model_of_two_inputs(names)
    for suffix in (".tflite", ".onnx", ""):
        report = keras_sre.export(model, tmp_path / f"model{suffix}")
        assert report.difference < 1e-5, suffix
    data = [rng.normal(size=(20, *x.shape[1:])) for x in model.inputs]
    options = {"quantization": "int8", "representative_data": data}
    report = keras_sre.export(model, tmp_path / "int8.tflite", **options)
    assert report.difference < 0.1


def test_a_number_beside_an_image(tmp_path, rng):
    image, age = keras.Input((8, 8, 1)), keras.Input(())
    x = keras_sre.SREConv2D(4, 3)(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Concatenate()([x, keras.layers.Reshape((1,))(age)])
    model = keras.Model([image, age], keras.layers.Dense(2)(x))
    data = [rng.normal(size=(12, *x.shape[1:])) for x in model.inputs]
    options = {"quantization": "int8", "representative_data": data}
    report = keras_sre.export(model, tmp_path / "int8.tflite", **options)
    assert report.difference < 0.1


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ""])
@pytest.mark.parametrize("kind", [dict, collections.OrderedDict])
def test_outputs_of_a_dict_are_told_by_their_names(kind, suffix, tmp_path):
    """Files list them by length or as they were made, Keras by the alphabet.

    Those of an `OrderedDict` Keras leaves in their order.
    """
    image = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(keras_sre.SREConv2D(2, 3)(image))
    outputs = {name: keras.layers.Dense(2)(x) for name in ("b", "aa", "c")}
    model = keras.Model(image, kind(outputs))
    report = keras_sre.export(model, tmp_path / f"model{suffix}")
    assert report.difference < 1e-5


@pytest.mark.parametrize("rank", [2, 3])
def test_from_norms_to_the_next_product_nothing_is_rounded(rank, tmp_path):
    """In 8 bits squares, and channels of small norms, would be lost."""
    model = small_network(8, kernel_size=3, rank=rank, harmonics=(1, 2))
    path = tmp_path / "int8.tflite"
    options = {"quantization": "int8", "representative_data": samples(model)}
    keras_sre.export(model, path, **options)
    interpreter = undelegated(path)
    tensors = {t["index"]: t for t in interpreter.get_tensor_details()}
    found = interpreter._get_ops_details()
    rounded = {
        operation["outputs"][0]
        for operation in found
        if operation["op_name"] == "QUANTIZE"
        and tensors[operation["inputs"][0]]["dtype"] == np.float32
    }
    readers = {
        operation["op_name"]
        for operation in found
        if rounded.intersection(operation["inputs"])
    }
    assert readers
    allowed = {"CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D"}
    if rank == 3:  # ring sums begin with slices of depth
        allowed |= {"PAD", "STRIDED_SLICE"}
    assert readers <= allowed
    if rank == 2:  # of volumes, planes of a ring are added in integers
        assert not any(
            operation["op_name"] == "ADD"
            and tensors[operation["outputs"][0]]["dtype"] == np.int8
            for operation in found
        )


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ""])
def test_nested_outputs_are_an_error(suffix, tmp_path):
    x = image = keras.Input((4,))
    first, second, third = (keras.layers.Dense(2)(x) for _ in range(3))
    for outputs in (
        {"a": {"b": first, "c": second}},
        {"a": [first]},
        [[first, second], third],
    ):
        model = keras.Model(image, outputs)
        with pytest.raises(ValueError, match="Expected one tensor, or a list"):
            keras_sre.export(model, tmp_path / f"model{suffix}")
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_no_number_is_an_error(tmp_path, monkeypatch):
    class Wrong(runtimes.LiteRT):
        def run(self, arrays, batch_size):
            first, second = super().run(arrays, batch_size)
            return [first, np.nan * second]

    monkeypatch.setitem(runtimes.RUNTIMES, "litert", Wrong)
    with pytest.raises(ExportError, match="differs from Keras by nan"):
        keras_sre.export(model_of_two_inputs("ab"), tmp_path / "model.tflite")


@pytest.mark.parametrize(
    ("format", "name"),
    [("litert", "m.bin"), ("onnx", "m.tflite"), ("saved_model", "m.onnx")],
)
def test_a_format_that_is_given_goes_before_the_suffix(format, name, tmp_path):
    model = small_network(kernel_size=3)
    report = keras_sre.export(model, tmp_path / name, format=format)
    assert report.format == format and report.difference < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_sequential_model_that_was_never_called(tmp_path):
    layer = keras_sre.SREConv2D(4, 3)
    model = keras.Sequential([keras.Input((8, 8, 1)), layer])
    report = keras_sre.export(model, tmp_path / "model.tflite")
    assert report.difference < 1e-5
    assert report.agreement is None  # a map, no scores


def test_unknown_sizes_need_no_litert(tmp_path):
    inputs = keras.Input((None, None, 1))
    x = keras_sre.SREConv2D(4, 5, padding="same")(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    report = keras_sre.export(model, tmp_path / "model.onnx")
    assert report.difference < 1e-5
    with pytest.raises(ValueError, match="full input_shape"):
        keras_sre.export(model, tmp_path / "model.tflite")


def test_layers_compute_as_before_afterwards(tmp_path):
    model = small_network(implementation="dense")
    keras_sre.export(model, tmp_path / "model.tflite", verify=False)
    rings = [layer for layer in model.layers if hasattr(layer, "ring_kernel")]
    assert [layer.implementation for layer in rings] == ["dense", "dense"]
    with pytest.raises(ZeroDivisionError), formats.lowered(model, "slices"):
        assert rings[0].implementation == "slices"
        raise ZeroDivisionError
    assert rings[0].implementation == "dense"


def test_a_wrong_file_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    class Wrong(runtimes.LiteRT):
        def run(self, arrays, batch_size):
            return [1.5 * y for y in super().run(arrays, batch_size)]

    monkeypatch.setitem(runtimes.RUNTIMES, "litert", Wrong)
    path = tmp_path / "model.tflite"
    with pytest.raises(ExportError, match="differs from Keras by 0.5"):
        keras_sre.export(small_network(kernel_size=3), path)
    assert not list(tmp_path.iterdir())
    path.write_text("an earlier one")
    with pytest.raises(ExportError):
        keras_sre.export(small_network(kernel_size=3), path)
    assert path.read_text() == "an earlier one"


def test_a_file_that_does_not_run_is_an_error(tmp_path, monkeypatch):
    class Failing(runtimes.LiteRT):
        def run(self, arrays, batch_size):
            raise RuntimeError("no\nkernel")

    class Smaller(runtimes.LiteRT):
        def run(self, arrays, batch_size):
            return [y[:, :1] for y in super().run(arrays, batch_size)]

    for kind, message in ((Failing, "does not run: no kernel"), (Smaller, "1")):
        monkeypatch.setitem(runtimes.RUNTIMES, "litert", kind)
        with pytest.raises(ExportError, match=message) as error:
            keras_sre.export(small_network(size=8), tmp_path / "model.tflite")
        assert "\n" not in str(error.value)
        assert not list(tmp_path.iterdir())


def test_unknown_sizes_are_checked_at_an_odd_one_too(tmp_path, monkeypatch):
    class Truncating(runtimes.ONNX):
        def run(self, arrays, batch_size):
            even = [a[:, : a.shape[1] // 2 * 2] for a in arrays]
            return super().run(even, batch_size)

    model = keras.Sequential(
        [keras.Input((None, 8, 1)), keras_sre.SREConv2D(2, 3, padding="same")]
    )
    keras_sre.export(model, tmp_path / "model.onnx")
    monkeypatch.setitem(runtimes.RUNTIMES, "onnx", Truncating)
    with pytest.raises(ExportError, match=r"\(1, 28, 8, 2\) where Keras ret"):
        keras_sre.export(model, tmp_path / "model.onnx")
    # A model that takes 32 rows and not 29 is checked at those alone.
    model = keras.Sequential(
        [keras.Input((None, 8, 1)), keras.layers.Reshape((-1, 64))]
    )
    assert keras_sre.export(model, tmp_path / "rows.onnx").difference < 1e-5


def test_of_many_samples_about_a_hundred_are_chosen_evenly():
    model = small_network(kernel_size=3)
    x = samples(model, 250)
    (chosen,) = samples_of(model, x)
    np.testing.assert_array_equal(chosen, x[::3])


def batches_of(x, size, labels):
    """Without an end, as those of `fit` may be."""
    while True:
        for i in range(0, len(x), size):
            batch = x[i : i + size]
            yield (batch, np.zeros(len(batch))) if labels else batch


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("kind", ["generator", "dataset"])
def test_samples_may_come_in_batches(kind, labels, rng):
    model = small_network(kernel_size=3)
    x = samples(model, 70)
    data = batches_of(x, 16, labels)
    if kind == "dataset":
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices((x, x[:, 0]) if labels else x)
        data = data.batch(16).repeat()
    (chosen,) = samples_of(model, data)
    np.testing.assert_array_equal(chosen, np.concatenate([x, x[:30]]))


def test_batches_of_several_inputs(tmp_path, rng):
    model = model_of_two_inputs("ba")
    x = [rng.normal(size=(12, *x.shape[1:])) for x in model.inputs]
    batches = (((x[0][i : i + 4], x[1][i : i + 4]),) for i in range(0, 12, 4))
    report = keras_sre.export(
        model,
        tmp_path / "model.tflite",
        quantization="int8",
        representative_data=batches,
    )
    assert report.difference < 0.1


def test_an_earlier_saved_model_is_replaced_and_other_folders_not(tmp_path):
    model = small_network(kernel_size=3)
    path = tmp_path / "exported"
    keras_sre.export(model, path, verify=False)
    (path / "mark").touch()
    keras_sre.export(model, path, verify=False)
    assert not (path / "mark").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["exported"]
    with pytest.raises(ValueError, match="no SavedModel"):
        keras_sre.export(model, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="which is a directory"):
        keras_sre.export(model, tmp_path / "file")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"format": "coreml"}, "format"),
        ({"quantization": "int4"}, "quantization"),
        ({"quantization": "int8"}, "without representative_data"),
        ({"quantization": "int8", "format": "onnx"}, "Only LiteRT"),
        ({"representative_data": np.zeros((2, 8, 8, 2))}, "Expected"),
        ({"representative_data": np.zeros((0, 16, 16, 2))}, "Expected"),
        ({"representative_data": [np.zeros((1, 16, 16, 2))] * 2}, "Expected"),
        ({"representative_data": 5}, r"shapes \[\(\)\]. Expected"),
        ({"representative_data": "data"}, r"shapes \[\(4,\)\]. Expected"),
        (
            {
                "representative_data": iter(
                    [np.ones((1, n, n, 2)) for n in (8, 9)]
                )
            },
            "batches hold inputs of shapes.*8, 8, 2.*9, 9, 2",
        ),
        (
            {"representative_data": np.full((2, 16, 16, 2), np.nan)},
            "with NaN or infinite values",
        ),
        (
            {"representative_data": np.full((2, 16, 16, 2), np.inf)},
            "with NaN or infinite values",
        ),
        ({"representative_data": iter(())}, r"shapes \[\]. Expected"),
        ({"representative_data": iter(np.ones((9, 16, 16, 2)))}, "Expected"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_bad_arguments(arguments, message, tmp_path):
    model = small_network(kernel_size=3)
    with pytest.raises(ValueError, match=message):
        keras_sre.export(model, tmp_path / "model.tflite", **arguments)
    assert not list(tmp_path.iterdir())


def test_bad_surroundings(tmp_path, monkeypatch):
    model = small_network(kernel_size=3)
    with pytest.raises(ValueError, match="no folder"):
        keras_sre.export(model, tmp_path / "none" / "model.tflite")
    with pytest.raises(ValueError, match="without known inputs"):
        keras_sre.export(keras.Sequential(), tmp_path / "model.tflite")
    keras.config.set_dtype_policy("mixed_float16")
    half = small_network(kernel_size=3)
    with pytest.raises(ValueError, match="mixed_float16"):
        keras_sre.export(half, tmp_path / "model.tflite")
    keras.config.set_dtype_policy("float32")
    nested = keras.Sequential([keras.Input((16, 16, 2)), half])
    with pytest.raises(ValueError, match="layer .* policy 'mixed_float16'"):
        keras_sre.export(nested, tmp_path / "model.tflite")
    with pytest.raises(ValueError, match='"keras-sre\\[export\\]"'):
        formats.require("no_such_package")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow"):
        keras_sre.export(model, tmp_path / "model.tflite")


@pytest.mark.parametrize("name", ["my image", "bild ä", "_x", "0x", "class"])
@pytest.mark.parametrize("suffix", [".tflite", ""])
def test_names_that_files_cannot_hold_are_named(name, suffix, tmp_path):
    inputs = keras.Input((8, 8, 1), name=name)
    model = keras.Model(inputs, keras.layers.Flatten()(inputs))
    with pytest.raises(ValueError, match=f"an input named '{name}'. In these"):
        keras_sre.export(model, tmp_path / f"model{suffix}")
    assert not list(tmp_path.iterdir())
    keras_sre.export(model, tmp_path / "model.onnx")


def test_a_part_without_a_built_in_operation_is_named(tmp_path):
    inputs = keras.Input((8, 8, 8, 1))
    model = keras.Model(inputs, keras.layers.MaxPooling3D()(inputs))
    with pytest.raises(ValueError, match="MaxPool3D"):
        keras_sre.export(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_integers_and_back():
    detail = {"dtype": np.int8, "quantization": (0.5, -3)}
    x = np.float32([-100, -1, 0, 0.5, 1, 100])
    integers = runtimes.to_integers(x, detail)
    np.testing.assert_array_equal(integers, [-128, -5, -3, -2, -1, 127])
    again = runtimes.to_floats(integers, detail)
    np.testing.assert_array_equal(again, [-62.5, -1, 0, 0.5, 1, 65])
    floats = {"dtype": np.float32, "quantization": (0.0, 0)}
    assert runtimes.to_integers(x, floats) is not None
    np.testing.assert_array_equal(runtimes.to_floats(x, floats), x)


def _transposed_and_depthwise():
    inputs = keras.Input((6, 6, 2))
    x = keras_sre.SREDepthwiseConv2D(3, padding="same")(inputs)
    x = keras_sre.SREConv2DTranspose(3, 4, 2, "same")(x)
    return keras.Model(inputs, x)


def _converted():
    inputs = keras.Input((9, 9, 2))
    x = keras.layers.Conv2D(4, 5, 2, "same", activation="relu")(inputs)
    x = keras.layers.SeparableConv2D(3, 3)(x)
    return keras_sre.convert(keras.Model(inputs, x))


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
@pytest.mark.parametrize(
    "build",
    [
        _transposed_and_depthwise,
        _converted,
        lambda: small_network(kernel_size=5, ring_profile="gaussian"),
        lambda: keras_sre.applications.SREUNet(
            input_shape=(9, 8, 1), kernel_sizes=(3, 3), width=2
        ),
    ],
    ids=["transposed-depthwise", "converted", "gaussian", "unet"],
)
def test_all_kinds_of_layers_export(build, suffix, tmp_path):
    """`export` itself compares the file with Keras, in its own runtime."""
    report = keras_sre.export(build(), tmp_path / f"model{suffix}")
    assert report.bytes > 0


def test_a_saved_model_that_does_not_run_says_why(tmp_path):
    runtime = runtimes.RUNTIMES["saved_model"](tmp_path / "none")
    with pytest.raises(RuntimeError, match="does not run: .*none"):
        runtime.run([np.ones((1, 2))], 1)


@pytest.mark.parametrize(("rank", "samples_for_all"), [(2, 1), (3, 6)])
def test_calibration_sees_all_poses(rank, samples_for_all, rng):
    x = rng.normal(size=(4,) * rank + (1,))
    expected = {f(x[None])[0].tobytes() for _, f in grid_transforms(rank)}
    seen = set()
    for index in range(samples_for_all):
        poses = ranges._some_poses(x, index)
        found = {np.ascontiguousarray(pose).tobytes() for pose in poses}
        assert len(poses) == len(found) == 8
        seen |= found
    assert seen == expected


def test_calibration_of_other_inputs(rng):
    x = rng.normal(size=(4, 6, 1))  # a quarter turn has another shape
    assert len(ranges._some_poses(x, 3)) == 4
    (vector,) = ranges._some_poses(np.arange(3), 1)
    np.testing.assert_array_equal(vector, np.arange(3))
    x = rng.normal(size=(4, 4, 4))  # of which the first are the channels
    for pose in ranges._some_poses(x, 0, channels_last=False):
        for found, channel in zip(pose, x, strict=True):
            assert sorted(found.ravel()) == sorted(channel.ravel())


def test_images_with_channels_first_turn_too(tmp_path, rng, monkeypatch):
    seen, some_poses = [], ranges._some_poses

    def spy(*arguments):
        poses = some_poses(*arguments)
        seen.extend(poses)
        return poses

    monkeypatch.setattr(ranges, "_some_poses", spy)
    layer = keras_sre.SREConv2D(3, 3, data_format="channels_first")
    model = keras.Sequential([keras.Input((2, 9, 9)), layer])
    x = rng.normal(size=(2, 2, 9, 9)).astype("float32")
    options = {"quantization": "int8", "representative_data": x}
    report = keras_sre.export(model, tmp_path / "model.tflite", **options)
    assert report.difference < 0.05
    assert len(seen) == 16
    first = [sorted(image.ravel()) for image in x[:, 0]]
    assert all(sorted(pose[0].ravel()) in first for pose in seen)
