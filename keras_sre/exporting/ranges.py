"""The range of each tensor of a file that is to be quantized.

Two maps that turning an image exchanges (the ring sums of a kernel's rows and
of its columns, say) must have one scale: calibration sees every image in all
poses of the grid, and ranges are rounded, which removes what floats differ by.
"""

import numpy as np

from keras_sre.equivariance.symmetries import grid_poses
from keras_sre.exporting.graphs import graphs_of
from keras_sre.exporting.runtimes import by_name
from keras_sre.ops.ring_maps import CROP_SCOPE

SIGNIFICANT = 2**10  # ranges are rounded outwards to ten binary digits
# Poses of the grid in which a sample calibrates: all 8 of an image, and as many
# of a volume's 48.
POSES = 8
LARGEST_TAP = 127  # in 8 bits
SHARED = 0.4  # of a range: what a map must fill of it to share it


def ranges_of(path, samples, input_names, channels_last=True):
    """Returns the ranges to quantize a file with.

    Args:
        path: of a float32 `.tflite` file, with inputs of batch size 1.
        samples: list of arrays, one for each input, with equal first axes.
        input_names: list of str, the names of those inputs.
        channels_last: bool, whether their last axis is that of the channels.

    Returns:
        Dict from names of tensors to dicts of `"min"` and `"max"`.
    """
    ranges = _calibrated(path, samples, input_names, channels_last)
    for operations, read in graphs_of(path):
        _share_among_ring_maps(ranges, operations)
        _make_taps_whole(ranges, operations, read)
    return ranges


def _calibrated(path, samples, input_names, channels_last):
    """Returns the range of each map over samples in poses of the grid."""
    from litert_quantizer import calibrator
    from litert_quantizer.utils import qsv_utils

    interpreter = calibrator.CalibrationInterpreter(
        str(path),
        calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_utils.min_max_update,
    )
    signature, *_ = interpreter.get_signature_list()
    names = interpreter.get_signature_list()[signature]["inputs"]
    run = interpreter.get_signature_runner(signature)
    for index, sample in enumerate(zip(*samples, strict=True)):
        poses = [_some_poses(x, index, channels_last) for x in sample]
        # Inputs of fewer poses, such as numbers beside an image, come again.
        for number in range(max(map(len, poses))):
            batch = [some[number % len(some)][None] for some in poses]
            run(**by_name(names, batch, input_names))
    ranges = interpreter.get_calibration_results()
    return {name: _rounded(found) for name, found in ranges.items()}


def _share_among_ring_maps(ranges, operations):
    """Gives ring maps with a border one range with those that they join.

    As others read them as well, they would be rounded anew to be joined. In
    trained networks they fill half of it or more; what does not, is.
    """
    whole = {  # what a map was before its border was cut off
        cropped: inputs[0]
        for name, inputs, outputs, _ in operations
        if name == "STRIDED_SLICE"
        for cropped in outputs
        if CROP_SCOPE in cropped
    }
    for name, maps, outputs, _ in operations:
        if name != "CONCATENATION" or whole.keys().isdisjoint(maps):
            continue
        together = [ranges[whole.get(ring_map, ring_map)] for ring_map in maps]
        low = np.min([found["min"] for found in together], axis=0)
        high = np.max([found["max"] for found in together], axis=0)
        for ring_map, found in zip(maps, together, strict=True):
            if np.all(found["max"] - found["min"] >= SHARED * (high - low)):
                shared = found | {"min": low, "max": high}
                ranges[ring_map] = shared
                ranges[whole.get(ring_map, ring_map)] = shared
        ranges[outputs[0]] = ranges[outputs[0]] | {"min": low, "max": high}


def _make_taps_whole(ranges, operations, read):
    """Gives windows ranges in which their taps are whole numbers, if any.

    In their own, taps of 1 and -2 would be 64 and -127 instead of 63 and -126.
    """
    steps = np.arange(LARGEST_TAP, LARGEST_TAP // 2, -1)  # in the largest tap
    for name, inputs, _, _ in operations:
        taps = read(inputs[1]) if name == "DEPTHWISE_CONV_2D" else None
        if taps is None:
            continue
        taps = np.unique(np.abs(taps))
        largest = taps[-1] or 1  # without a range there is no scale
        multiples = steps[:, None] * taps / largest
        whole = (np.abs(multiples - np.round(multiples)) < 1e-3).all(axis=1)
        if whole.any():
            limit = largest * np.float32(LARGEST_TAP / steps[whole.argmax()])
            ranges[inputs[1]] = {"min": -limit, "max": limit}


def _some_poses(x, index, channels_last=True):
    """Returns sample number `index` in `POSES` poses of the grid.

    Of volumes the next samples take other poses. All 48 of each would take six
    times as long, and volumes are not symmetric to the bit in any case.
    """
    first_axis = 0 if channels_last else 1
    poses = list(grid_poses(x, max(0, x.ndim - 1), first_axis))
    step = max(1, len(poses) // POSES)
    return poses[index % step :: step]


def _rounded(found):
    """Returns a range rounded outwards, symmetric if it nearly is."""
    low, high = (_round_outwards(found[end]) for end in ("min", "max"))
    if not (low.any() or high.any()):  # as ring sums outside a small map are
        low, high = low - 1, high + 1
    if low.size == 1 and abs(low + high) <= 0.01 * high:
        # With a zero point of 0, and so that -x is the negative of x.
        high = np.maximum(high, -low)
        low = -high * 128 / 127
    return found | {"min": low, "max": high}


def _round_outwards(values):
    mantissa, exponent = np.frexp(np.asarray(values, "float32"))
    mantissa = np.sign(mantissa) * np.ceil(np.abs(mantissa) * SIGNIFICANT)
    return np.ldexp(mantissa / SIGNIFICANT, exponent).astype("float32")
