"""Works on large maps a few images at a time, so that they stay in cache."""

import math

from keras import ops

from keras_sre.ops.backend import map_tensors
from keras_sre.ops.backend import on_cpu

# A tile's ring sums fit in the cache of a core or two. A whole batch below the
# second size does, near enough: a loop would cost more than it saves. Above the
# third, laying the ring sums of an image side by side costs a copy that shows.
TILE_BYTES = 5.5 * 2**20
WHOLE_BYTES = 16 * 2**20
IMAGE_BYTES = 2**19


def map_tiles(function, *maps, width, num_outputs, summed=()):
    """Returns `function(*maps)`, run on a few images at a time where it pays.

    Args:
        function: takes tensors of shape `(tile, ...)`, returns a tuple of
            tensors of one dtype, each `(tile, ...)` or a sum over the tile.
        *maps: tensors of shape `(batch, *spatial, channels)`.
        width: int, channels of the widest tensor that `function` makes.
        num_outputs: int, how many tensors `function` returns.
        summed: indices of the outputs that are sums over the batch.

    Returns:
        The tuple that `function` returns for the whole batch.
    """
    num_tiles, tile_size = _plan(maps[0], width)
    if _is_one(num_tiles):
        return function(*maps)
    batch = ops.shape(maps[0])[0]
    missing = num_tiles * tile_size - batch
    tiles = []
    for x in maps:
        x = ops.pad(x, [(0, missing)] + [(0, 0)] * (len(x.shape) - 1))
        shape = (num_tiles, tile_size, *ops.shape(x)[1:])
        tiles.append(ops.reshape(x, shape))
    outputs = map_tensors(
        lambda tile: function(*tile), tuple(tiles), num_outputs
    )

    def join(x):
        shape = (num_tiles * tile_size, *ops.shape(x)[2:])
        return ops.reshape(x, shape)[:batch]

    return tuple(
        ops.sum(x, axis=0) if i in summed else join(x)
        for i, x in enumerate(outputs)
    )


def exceeds_cache(x, width):
    """Returns whether one image's map of `width` channels strains the cache."""
    image_bytes = _image_bytes(x, width)
    return image_bytes is not None and image_bytes > IMAGE_BYTES and on_cpu()


def _plan(x, width):
    """Returns how many tiles, and how many images in each."""
    batch = ops.shape(x)[0]
    image_bytes = _image_bytes(x, width)
    if not image_bytes or not on_cpu() or _is_one(batch):
        return 1, batch
    if not isinstance(batch, int) and not ops.is_tensor(batch):
        return 1, batch  # a symbol of `jax.export`, which knows no order
    most = max(1, int(TILE_BYTES // image_bytes))
    if isinstance(batch, int):
        if batch * image_bytes <= WHOLE_BYTES:
            return 1, batch
        num_tiles = -(-batch // most)
    else:
        too_large = batch > int(WHOLE_BYTES // image_bytes)
        num_tiles = ops.where(too_large, -(-batch // most), 1)
    return num_tiles, -(-batch // num_tiles)


def _image_bytes(x, width):
    """Returns the size of one image's map, or `None` where it is unknown."""
    spatial = ops.shape(x)[1:-1]
    if not all(isinstance(size, int) for size in spatial):
        return None
    return math.prod(spatial) * width * 4


def _is_one(size):
    return isinstance(size, int) and size == 1
