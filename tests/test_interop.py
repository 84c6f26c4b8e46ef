"""Official PyTorch weights: the same outputs, and nothing half-loaded."""

import contextlib

import keras
import models
import numpy as np
import pytest
from helpers import assert_close
from helpers import assert_equivariant
from helpers import equivariance_error
from helpers import golden_cases
from helpers import gradients
from helpers import to_numpy
from test_checkpoints import write_safetensors
from test_resnet import random_statistics

from keras_sre.applications import SREResNet3D18
from keras_sre.applications import SREResNet3D50
from keras_sre.applications import SREResNet18
from keras_sre.applications import SREResNet34
from keras_sre.applications import SREResNet50
from keras_sre.interop import load_torch_weights

# In sre_resnet18_maxpool sre_k is 3 for kernels of 3, of which one is empty.
OFFICIAL = {
    "sre_resnet18": (SREResNet18, {}),
    "sre_resnet18_maxpool": (
        SREResNet18,
        {"stem": "official", "num_rings": (3, 4, 2, 2)},
    ),
    "sre_resnet50": (SREResNet50, {}),
    "sre_r3d_18": (SREResNet3D18, {}),
    "gmr_resnet18": (SREResNet18, {"ring_profile": "gaussian"}),
}


def official_case(golden, name):
    """Returns our network, what was recorded, the state and the inputs."""
    build, options = OFFICIAL[name]
    ((config, arrays),) = golden_cases(golden(name))
    kwargs = config["kwargs"]
    x = np.moveaxis(arrays["x"].astype("float32"), 1, -1)
    model = build(
        input_shape=x.shape[1:],
        classes=kwargs["num_classes"],
        classifier_activation=None,
        width=kwargs.get("inplanes", 64),
        kernel_sizes=kwargs.get("sre_conv_size", kwargs.get("gmr_conv_size")),
        **{"stem": "small", **options},
    )
    state = {
        key.removeprefix("state/"): value
        for key, value in arrays.items()
        if key.startswith("state/")
    }
    assert list(state) == config["state_names"]
    return model, arrays, state, x


def assert_logits(found, expected):
    __tracebackhide__ = True
    error = np.abs(to_numpy(found) - expected).max()
    assert error <= 1e-4 * min(1, np.abs(expected).max()), error


@pytest.mark.parametrize("name", OFFICIAL)
def test_outputs_equal_the_official_networks(golden, name):
    model, arrays, state, x = official_case(golden, name)
    with pytest.raises(AssertionError):
        assert_logits(model(x), arrays["logits_eval"])
    assert load_torch_weights(model, state) is model
    assert_logits(model(x), arrays["logits_eval"])
    flipped = np.flip(x, -2).copy()
    expected = arrays["logits_eval_flip_last"]
    assert_logits(model(flipped), expected)
    # Statistics of two images magnify rounding: relative to the largest logit.
    expected = arrays["logits_train"]
    assert_close(model(x, training=True), expected, 1e-4)


@pytest.mark.parametrize("name", ["sre_resnet18_maxpool", "gmr_resnet18"])
def test_gradients_equal_the_official_networks(golden, name):
    model, arrays, state, x = official_case(golden, name)
    load_torch_weights(model, state)
    statistics = [to_numpy(v) for v in model.non_trainable_variables]
    weights = [to_numpy(v) for v in model.trainable_variables]

    def forward(*weights):
        return model.stateless_call(weights, statistics, x, training=True)[0]

    found = gradients(forward, *weights, upstream=arrays["g"])
    found = {
        tuple(variable.path.split("/")[-2:]): gradient
        for variable, gradient in zip(
            model.trainable_variables, found, strict=True
        )
    }
    ours = {
        "conv1.weight": ("stem_conv", "ring_kernel"),
        "conv1.log_sigmas": ("stem_conv", "log_sigma"),
        "bn1.weight": ("stem_bn", "gamma"),
        "bn1.bias": ("stem_bn", "beta"),
        "fc.weight": ("predictions", "kernel"),
    }
    recorded = [key for key in ours if f"grad/{key}" in arrays]
    assert len(recorded) == (5 if name.startswith("gmr") else 4)
    for key in recorded:  # in float32 rounding flips a few ReLUs
        assert_close(found[ours[key]].T, arrays[f"grad/{key}"], 1e-3)
    norm = np.linalg.norm(found["stage4_block1_conv1", "ring_kernel"])
    assert_close(norm, arrays["grad_norm/layer4.0.conv1.1.weight"], 1e-3)


NUM_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
TINY = {"width": 4, "kernel_sizes": (5, 3, 3, 3), "classes": 3}


def official_shapes(
    depth, rank=2, gaussian=False, *, width, kernel_sizes, classes, channels=2
):
    """Returns the shapes of a state dict, from the official definition."""
    shapes = {}

    def convolve(name, outputs, inputs, rings):
        ends = (rings,) if rings else (1,) * rank
        shapes[f"{name}.weight"] = (outputs, inputs, *ends)
        if rings and gaussian:
            shapes[f"{name}.log_sigmas"] = (rings,)

    def normalise(name, size):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (size,)
        shapes[f"{name}.num_batches_tracked"] = ()

    convolve("conv1" if rank == 2 else "stem.0", width, channels, 5 - rank)
    normalise("bn1" if rank == 2 else "stem.1", width)
    expansion = 4 if depth == 50 else 1
    inputs = width
    for stage, num_blocks in enumerate(NUM_BLOCKS[depth]):
        size = width * 2**stage
        rings = kernel_sizes[stage] // 2 + 1
        for block in range(num_blocks):
            outputs = expansion * size
            strided = stage > 0 and block == 0
            steps = [(inputs, size, rings), (size, size, rings)]
            if depth == 50:
                steps[0] = (inputs, size, None)
                steps.append((size, outputs, None))
            for i, (before, after, count) in enumerate(steps):
                prefix = f"layer{stage + 1}.{block}"
                pooled = i == (1 if depth == 50 else 0)
                if rank == 3:
                    step = f"{prefix}.conv{i + 1}"
                    names = (f"{step}.{0 + pooled}", f"{step}.{1 + pooled}")
                else:
                    end = ".1" if pooled and strided else ""
                    names = (
                        f"{prefix}.conv{i + 1}{end}",
                        f"{prefix}.bn{i + 1}",
                    )
                convolve(names[0], after, before, count)
                normalise(names[1], after)
            if strided or inputs != outputs:
                convolve(f"{prefix}.downsample.1", outputs, inputs, None)
                normalise(f"{prefix}.downsample.2", outputs)
            inputs = outputs
    shapes["fc.weight"] = (classes, inputs)
    shapes["fc.bias"] = (classes,)
    return shapes


def official_state(depth=18, rank=2, gaussian=False, **options):
    """Returns random float32 weights that half types hold exactly."""
    rng = np.random.default_rng(0)
    shapes = official_shapes(depth, rank, gaussian, **{**TINY, **options})
    return {
        name: (rng.integers(-127, 128, shape) / 64).astype("float32")
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_state_dicts_of_these_tests_are_official(golden, name):
    ((config, arrays),) = golden_cases(golden(name))
    kwargs = config["kwargs"]
    rank = arrays["x"].ndim - 2
    shapes = official_shapes(
        50 if name.endswith("50") else 18,
        rank,
        name.startswith("gmr"),
        width=kwargs.get("inplanes", 64),
        kernel_sizes=kwargs.get("sre_conv_size", kwargs.get("gmr_conv_size")),
        classes=kwargs["num_classes"],
        channels=arrays["x"].shape[1],
    )
    recorded = {
        key.removeprefix("state/"): value.shape
        for key, value in arrays.items()
        if key.startswith("state/") and not key.endswith(("index_mat", "mus"))
    }
    assert set(shapes) == set(recorded)
    if "sre_k" not in kwargs:
        assert shapes == recorded


def tiny(build=SREResNet18, rank=2, **options):
    options = {"stem": "small", **TINY, **options}
    return build(input_shape=(16,) * rank + (2,), **options)


@pytest.fixture(scope="module")
def model():
    return tiny()


def values(model):
    return [to_numpy(variable).copy() for variable in model.variables]


def assert_loaded(model, state):
    """All numbers of the state are in the model, and the ends in place."""
    __tracebackhide__ = True
    ours = np.concatenate([w.ravel() for w in model.get_weights()])
    theirs = np.concatenate(
        [a.ravel() for n, a in state.items() if not n.endswith("_tracked")]
    )
    np.testing.assert_array_equal(np.sort(ours), np.sort(theirs))
    stem = model.get_layer("stem_conv").ring_kernel
    expected = next(iter(state.values()))
    np.testing.assert_array_equal(to_numpy(stem), expected.transpose(2, 1, 0))
    kernel, bias = model.get_layer("predictions").get_weights()
    np.testing.assert_array_equal(kernel, state["fc.weight"].T)
    np.testing.assert_array_equal(bias, state["fc.bias"])


LANDINGS = {
    "resnet18": (
        SREResNet18,
        {"depth": 18},
        {
            "layer1.1.conv2": "stage1_block2_conv2",
            "layer2.0.conv1.1": "stage2_block1_conv1",
            "layer2.0.downsample.1": "stage2_block1_shortcut",
            "layer2.0.downsample.2": "stage2_block1_shortcut_bn",
        },
    ),
    "resnet34": (
        SREResNet34,
        {"depth": 34},
        {
            "layer1.2.conv2": "stage1_block3_conv2",
            "layer3.0.conv1.1": "stage3_block1_conv1",
            "layer3.0.conv2": "stage3_block1_conv2",
            "layer3.5.conv1": "stage3_block6_conv1",
            "layer3.5.bn1": "stage3_block6_conv1_bn",
            "layer4.0.downsample.2": "stage4_block1_shortcut_bn",
        },
    ),
    "resnet50": (
        SREResNet50,
        {"depth": 50},
        {
            "layer1.0.downsample.1": "stage1_block1_shortcut",
            "layer2.0.conv1": "stage2_block1_conv1",
            "layer2.0.conv2.1": "stage2_block1_conv2",
            "layer2.0.bn3": "stage2_block1_conv3_bn",
        },
    ),
    "gmr-resnet18": (
        SREResNet18,
        {"depth": 18, "gaussian": True},
        {"layer4.1.conv1": "stage4_block2_conv1"},
    ),
    "resnet3d18": (
        SREResNet3D18,
        {"depth": 18, "rank": 3},
        {
            "layer1.0.conv1.1": "stage1_block1_conv1",
            "layer1.0.conv1.2": "stage1_block1_conv1_bn",
            "layer2.0.conv2.0": "stage2_block1_conv2",
            "layer2.0.conv2.1": "stage2_block1_conv2_bn",
        },
    ),
    "resnet3d50": (
        SREResNet3D50,
        {"depth": 50, "rank": 3},
        {
            "layer1.2.conv1.0": "stage1_block3_conv1",
            "layer2.1.conv2.1": "stage2_block2_conv2",
            "layer2.1.conv2.2": "stage2_block2_conv2_bn",
            "layer4.0.conv3.1": "stage4_block1_conv3_bn",
        },
    ),
}


@pytest.mark.parametrize("case", LANDINGS)
def test_weights_land_where_they_should(case):
    build, options, places = LANDINGS[case]
    rank = options.get("rank", 2)
    profile = "gaussian" if options.get("gaussian") else "hard"
    model = tiny(build, rank, ring_profile=profile)
    state = official_state(**options)
    load_torch_weights(model, state)
    assert_loaded(model, state)
    for theirs, ours in places.items():
        layer = model.get_layer(ours)
        weight = state[f"{theirs}.weight"]
        if isinstance(layer, keras.layers.BatchNormalization):
            expected = [
                weight,
                state[f"{theirs}.bias"],
                state[f"{theirs}.running_mean"],
                state[f"{theirs}.running_var"],
            ]
        else:
            outputs, inputs, *rings = weight.shape
            count = rings[0]  # 1 for a pointwise kernel
            weight = weight.reshape(outputs, inputs, count)
            expected = [np.moveaxis(weight, (0, 1), (2, 1))]
            if profile == "gaussian":
                expected.append(state[f"{theirs}.log_sigmas"])
        for found, array in zip(layer.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors"])
def test_recorded_outputs_through_a_file(golden, suffix, tmp_path):
    model, arrays, state, x = official_case(golden, "sre_resnet18")
    path = tmp_path / f"model{suffix}"
    if suffix == ".npz":
        np.savez(path, **state)
    elif suffix == ".pt":
        torch = pytest.importorskip("torch")
        tensors = {name: torch.tensor(array) for name, array in state.items()}
        torch.save({"state_dict": tensors, "cur_ep": 3}, path)
    else:
        write_safetensors(path, state, "F16")
    load_torch_weights(model, path)
    assert_logits(model(x), arrays["logits_eval"])


def test_without_a_classifier():
    """What is around the network keeps its weights."""
    network = tiny(include_top=False, pooling="avg")
    head = keras.layers.Dense(7, name="head")
    model = keras.Model(network.inputs, head(network.output))
    before = head.get_weights()
    state = official_state()
    load_torch_weights(model, state)
    norm = model.get_layer("stage4_block2_conv2_bn")
    expected = state["layer4.1.bn2.running_var"]
    np.testing.assert_array_equal(to_numpy(norm.moving_variance), expected)
    for old, new in zip(before, head.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def index_matrix(kernel_size, rings):
    """Returns the official matrix of a kernel's hard rings."""
    radius = kernel_size // 2
    offsets = np.arange(kernel_size) - radius
    distances = np.hypot(offsets[:, None], offsets).ravel()
    edges = np.linspace(0, radius + 0.5, rings + 1)
    inside = [
        (low <= distances) & (distances < high)
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    return np.array(inside, "float32")[None, None]


def test_matching_rings():
    """A kernel of 3 in three rings, of which the second is empty."""
    model, state = tiny(), official_state()
    expected = state["layer2.1.conv1.weight"]
    first, last = np.split(expected, 2, axis=-1)
    unused = np.full_like(first, 9.0)
    state["layer2.1.conv1.weight"] = np.concatenate([first, unused, last], -1)
    matrix = index_matrix(3, 3)
    assert matrix.sum(axis=-1).ravel().tolist() == [1, 0, 8]
    state["layer2.1.conv1.weight_index_mat"] = matrix
    state["layer1.1.conv1.weight_index_mat"] = index_matrix(5, 3)
    load_torch_weights(model, state)
    (found,) = model.get_layer("stage2_block2_conv1").get_weights()
    np.testing.assert_array_equal(found, expected.T)


@contextlib.contextmanager
def refused(model, message):
    """The error says so, and every weight is what it was, bit for bit."""
    __tracebackhide__ = True
    before = values(model)
    with pytest.raises(ValueError, match=message):
        yield
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(new, old)


def changed(changes):
    """Returns a state with some arrays replaced, or without (`None`)."""
    state = official_state()
    for name, value in changes.items():
        state[name] = value
        if value is None:
            del state[name]
    return state


MISFITS = {
    "missing": (
        changed({"fc.bias": None}),
        r"\nMissing in the checkpoint \(1\): fc.bias\n",
    ),
    "unknown": (
        changed({"layer5.0.bn1.weight": np.ones(3)}),
        r"\nNot in the model \(1\): layer5.0.bn1.weight\n",
    ),
    "classes": (
        official_state(classes=4),
        r"\(2\): fc.weight \(4, 32\) instead of \(3, 32\), fc.bias \(4,\) ",
    ),
    "channels": (
        official_state(channels=3),
        r"Of another shape \(1\): conv1.weight \(4, 3, 3\) instead of \(4, 2",
    ),
    "kernel-sizes": (
        official_state(kernel_sizes=(9, 3, 3, 3)),
        r"Of another shape \(4\): layer1.0.conv1.weight \(4, 4, 5\) instead of "
        r"\(4, 4, 3\), .*, \.\.\.\n(.|\n)*its kernel_sizes, num_rings",
    ),
    "plain-kernel": (
        changed({"conv1.weight": np.ones((4, 2, 5, 5))}),
        r"conv1.weight \(4, 2, 5, 5\) instead of \(4, 2, 3\)",
    ),
    "deeper": (
        official_state(34),
        r"Not in the model \(80\): layer1.2.conv1.weight, .*, \.\.\.\n",
    ),
    "bottlenecks": (
        official_state(50),
        r"Missing in the checkpoint \(6\)(.|\n)*Not in the model \((.|\n)*"
        r"Of another shape \(",
    ),
    "volumes": (official_state(18, 3), r"Missing (.|\n)*Not in the model"),
    "gmr": (
        official_state(gaussian=True),
        r"Not in the model \(17\): conv1.log_sigmas(.|\n)*'gaussian' where",
    ),
    "empty": ({}, r"Missing in the checkpoint \(102\): "),
    "nan": (
        changed({"fc.bias": np.array([0.0, np.nan, 0.0])}),
        r"NaN or infinite \(1\): fc.bias",
    ),
    "infinite-in-float32": (
        changed({"bn1.weight": np.full(4, 1e39)}),
        r"NaN or infinite \(1\): bn1.weight",
    ),
    "infinite": (
        changed({"bn1.weight": np.full(4, np.inf)}),
        r"NaN or infinite \(1\): bn1.weight",
    ),
    "other-kernel": (
        changed(
            {"layer1.0.conv1.weight_index_mat": index_matrix(7, 3)},
        ),
        r"For other rings \(1\): layer1.0.conv1.weight\n",
    ),
    "other-rings": (
        changed(
            {"layer1.0.conv1.weight_index_mat": index_matrix(5, 3)[:, :, ::-1]},
        ),
        r"For other rings \(1\): layer1.0.conv1.weight\n",
    ),
    "odd-matrix": (
        changed({"layer1.0.conv1.weight_index_mat": np.ones(3)}),
        r"For other rings \(1\): layer1.0.conv1.weight\n",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_refused(case, model):
    checkpoint, message = MISFITS[case]
    with refused(model, message):
        load_torch_weights(model, checkpoint)


def test_gmr_needs_log_sigmas():
    model = tiny(ring_profile="gaussian")
    with refused(model, r"Missing .*\(17\): conv1.log_sigmas, .*\n.*Build"):
        load_torch_weights(model, official_state())


def test_all_problems_come_in_one_error(model):
    state = changed(
        {
            "fc.bias": None,
            "extra.weight": np.ones(3),
            "bn1.bias": np.ones(7),
            "bn1.weight": np.full(4, np.nan),
        }
    )
    message = r"\(1\): fc.bias\n.*extra.weight\n.*bn1.bias \(7,\).*\n.*bn1.weig"
    with refused(model, message):
        load_torch_weights(model, state)


OTHER_MODELS = {
    "no-model": (lambda: 3, "of type int .*SREResNet"),
    "sequential": (
        lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]),
        "of type Sequential .*SREResNet",
    ),
    "plain-twin": (
        lambda: models.build_plain_resnet("resnet18", (16, 16, 2), 3, 4),
        "of type Functional .*SREResNet",
    ),
    "nested": (
        lambda: keras.Sequential([keras.Input((16, 16, 2)), tiny()]),
        "where that is a layer of another model, the layer",
    ),
    "large": (
        lambda: tiny(stem="large"),
        r"=\(\) and stem='large'.*'official'",
    ),
    "area": (lambda: tiny(ring_profile="area"), "ring_profile='area'"),
    "harmonics": (lambda: tiny(harmonics=(1,)), r"harmonics=\(1,\) and not"),
}


@pytest.mark.parametrize("case", OTHER_MODELS)
def test_other_models_are_refused(case):
    build, message = OTHER_MODELS[case]
    with pytest.raises(ValueError, match=message):
        load_torch_weights(build(), official_state())


def test_a_damaged_file_changes_nothing(model, tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, official_state())
    path.write_bytes(path.read_bytes()[:-1])
    with refused(model, "the data of 'fc.bias' is cut off"):
        load_torch_weights(model, path)


def halve(x, size, stride, before, reduce):
    """Pools the first two axes after the batch, window by window."""
    rows, columns = (
        (n + 2 * before - size) // stride + 1 for n in x.shape[1:3]
    )
    y = np.empty((len(x), rows, columns, x.shape[-1]), x.dtype)
    for i in range(rows):
        for j in range(columns):
            window = x[
                :,
                max(i * stride - before, 0) : i * stride - before + size,
                max(j * stride - before, 0) : j * stride - before + size,
            ]
            y[:, i, j] = reduce(window, axis=(1, 2))
    return y


def outputs_of(model, names, x):
    layers = [model.get_layer(name).output for name in names]
    return map(to_numpy, keras.Model(model.input, layers)(x))


@pytest.mark.parametrize(
    ("shape", "profile"),
    [((20, 17), "hard"), ((18, 23), "gaussian")],
    ids=str,
)
def test_official_pooling_of_images(shape, profile, rng):
    model = SREResNet50(
        input_shape=(*shape, 1), stem="official", ring_profile=profile, **TINY
    )
    x = rng.normal(size=(2, *shape, 1)).astype("float32")
    window = (3, 2, 1, np.max) if profile == "hard" else (2, 2, 0, np.mean)
    average = (2, 2, 0, np.mean)
    for before, after, pooling in (
        ("stem_relu", "stem_pool", window),
        ("stage2_block1_conv1_relu", "stage2_block1_pool", average),
        ("stage1_block3_relu", "stage2_block1_shortcut_pool", average),
    ):
        unpooled, pooled = outputs_of(model, [before, after], x)
        assert_close(pooled, halve(unpooled, *pooling))


def test_official_pooling_of_volumes(rng):
    """None after the stem; a stage drops the last of nine slices."""
    x = rng.normal(size=(1, 9, 8, 10, 1)).astype("float32")
    model = SREResNet3D18(input_shape=x.shape[1:], stem="official", **TINY)
    names = ["stem_relu", "stage1_block2_relu", "stage2_block1_pool"]
    stem, stage, pooled = outputs_of(model, names, x)
    assert stem.shape[1:4] == stage.shape[1:4] == (9, 8, 10)
    blocks = stage[:, :8].reshape(1, 4, 2, 4, 2, 5, 2, 4)
    assert_close(pooled, blocks.mean(axis=(2, 4, 6)))


@pytest.mark.parametrize(
    ("size", "profile", "exact"),
    [
        (31, "hard", True),
        (32, "hard", False),
        (32, "gaussian", True),
    ],
)
def test_official_pooling_is_exact_where_it_divides(size, profile, exact, rng):
    model = SREResNet18(
        input_shape=(size, size, 1),
        classifier_activation=None,
        stem="official",
        ring_profile=profile,
        **TINY,
    )
    random_statistics(model, rng)
    x = rng.normal(size=(1, size, size, 1)).astype("float32")
    if exact:
        assert_equivariant(model, x, 2, invariant=True)
    else:
        error, _ = equivariance_error(model, x, 2, invariant=True)
        assert error > 1e-3  # a hundred times the tolerance


@pytest.mark.parametrize(
    ("build", "size", "profile"),
    [
        (SREResNet18, 15, "hard"),
        (SREResNet18, 16, "gaussian"),
        (SREResNet3D18, 8, "hard"),
    ],
    ids=["sre", "gmr", "3d"],
)
def test_smallest_official_inputs(build, size, profile):
    rank = 3 if build is SREResNet3D18 else 2
    options = {"stem": "official", "ring_profile": profile, **TINY}
    model = build(input_shape=(size,) * rank + (1,), **options)
    last = model.get_layer("stage4_block2_relu").output
    assert last.shape[1:-1] == (1,) * rank
    with pytest.raises(ValueError, match="would be zero or negative"):
        build(input_shape=(size,) * (rank - 1) + (size - 1, 1), **options)


@pytest.mark.parametrize(
    ("build", "shape"), [(SREResNet18, (17, 20)), (SREResNet3D18, (9, 8, 10))]
)
def test_official_pooling_with_channels_first(build, shape, rng):
    x = rng.normal(size=(2, *shape, 2)).astype("float32")
    last = build(input_shape=(*shape, 2), stem="official", **TINY)
    keras.config.set_image_data_format("channels_first")
    first = build(input_shape=(2, *shape), stem="official", **TINY)
    first.set_weights(last.get_weights())
    assert_close(first(np.moveaxis(x, -1, 1)), last(x))
