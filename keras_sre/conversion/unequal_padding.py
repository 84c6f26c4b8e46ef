"""Zero paddings that prepare a stride: which are to be equal at both ends."""

import itertools

from keras import tree

from keras_sre.conversion import kinds


def paddings_to_equalise(model):
    """Returns the ids of unequal zero paddings that only strided windows see.

    A stride on an even map is often prepared by one more zero at the end.
    Windows that become centred need as many at both ends, which then gives
    maps of the same size.
    """
    found = set()
    for layer in model.layers:
        if type(layer) not in kinds.ZERO_PADDING.values():
            continue
        pairs = layer.padding
        pairs = [pairs] if isinstance(pairs[0], int) else pairs
        if all(before == after for before, after in pairs):
            continue
        users = [user for user in model.layers if _reads(user, layer)]
        is_output = any(x is layer.output for x in model.outputs)
        prepared = users and all(_is_prepared(user, pairs) for user in users)
        if prepared and not is_output:
            found.add(id(layer))
    return found


def _reads(layer, earlier):
    try:
        inputs = tree.flatten(layer.input)
    except AttributeError:  # never called
        return False
    return any(x is earlier.output for x in inputs)


def _is_prepared(layer, pairs):
    windows = getattr(layer, "kernel_size", getattr(layer, "pool_size", None))
    strides = getattr(layer, "strides", None)
    if windows is None or getattr(layer, "padding", None) != "valid":
        return False
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    if any(n == 1 and a != b for n, (a, b) in zip(strides, pairs, strict=True)):
        return False
    # Of all calls, each along all axes.
    for node in layer._inbound_nodes:
        shape = node.input_tensors[0].shape
        sizes = shape[2:] if first else shape[1:-1]
        axes = zip(sizes, windows, strides, pairs, strict=True)
        if not all(itertools.starmap(_makes_no_difference, axes)):
            return False
    return True


def _makes_no_difference(size, window, stride, pair):
    """Returns whether equal zeros at both ends give as many windows."""
    if size is None:
        return True
    equal = size + 2 * max(pair) - sum(pair)
    return (equal - window) // stride == (size - window) // stride
