"""All ring sums of a map by one GPU kernel, which goes through the map once.

XLA makes a loop for each ring that reads every tap anew; on a GPU that takes
several times as long. This kernel, in Pallas (JAX), slides along the first
spatial axis. What a plane across that axis adds to the sums of the planes
around it is computed once, from sums of its taps `+p` and `-p`, and the sums
that are not complete yet stay in registers.
"""

import itertools
import math
import operator

import keras
import numpy as np

from keras_sre.ops.backend import is_distributed
from keras_sre.ops.backend import on_cpu

# Cells times channels that a program has in hand, and how many of them are
# channels. Twice as many do not fit in registers, and where the sums begun take
# more than so many registers of a thread, half as many have to do.
VALUES = 512
CHANNELS = 64
WARPS = 4
REGISTERS = 160
# A program goes through all planes, but where there are fewer programs than
# this, through part of them; not too few, since it needs those around as well.
PROGRAMS = 1024
PLANES = 8
# Indices within the kernel are 32-bit integers.
MAX_ELEMENTS = 2**31 - 1
COMPUTE_CAPABILITY = 8.0  # of an NVIDIA GPU, from which on Triton works


def has_kernel(x, config):
    """Returns whether `ring_sums_by_kernel` is for such a map.

    It takes JAX, a GPU of NVIDIA's Ampere generation or later, a known shape
    and one device: XLA cannot share a kernel out.

    Args:
        x: tensor of shape `(batch, *spatial, ..., channels)`.
        config: `RingConvConfig`.
    """
    if not (
        keras.backend.backend() == "jax"
        and len(config.kernel_size) > 1
        and config.groups == 1
        and max(*config.strides, *config.dilation_rate) == 1
        and x.dtype in ("float32", "bfloat16", "float16")
        and all(isinstance(size, int) for size in x.shape)
    ):
        return False
    batch, *spatial = x.shape[: 1 + len(config.kernel_size)]
    # At most, as the adjoint of a "valid" convolution pads.
    spatial = map(operator.add, spatial, config.spans)
    written = batch * math.prod(spatial) * x.shape[-1] * len(config.rings)
    if written > MAX_ELEMENTS or is_distributed():
        return False
    return _on_gpu()


def _on_gpu():
    if on_cpu():
        return False
    try:  # other versions of JAX lack it, or name it otherwise
        from jax.experimental.pallas.triton import CompilerParams  # noqa: F401
        from jax.experimental.pallas.triton import load  # noqa: F401
    except ImportError:
        return False
    import jax

    capability = str(getattr(jax.devices()[0], "compute_capability", ""))
    major = capability.partition(".")[0]  # other makers' are no numbers
    return major.isdecimal() and float(capability) >= COMPUTE_CAPABILITY


def ring_sums_by_kernel(x, filters, paddings, otherwise, interpret=False):
    """Returns all ring sums side by side, at stride 1 and without dilation.

    Args:
        x: JAX array of shape `(batch, *spatial, channels)`, of two or three
            spatial axes, not padded.
        filters: array of shape `(num_rings, *kernel_size)`, all even or all
            odd along each axis.
        paddings: `(before, after)` zeros for each spatial axis.
        otherwise: function of `x` that returns the same, for other devices
            (with a GPU at hand JAX may still be told to use the CPU).
        interpret: bool, whether JAX runs the kernel step by step, on any
            device.

    Returns:
        Array of shape `(batch, *new_spatial, num_rings * channels)`: the
        channels of ring 0, then those of ring 1, and so on. Sums are made in
        float32 and returned in the dtype of `x`.
    """
    import jax
    from jax.experimental import pallas
    from jax.experimental.pallas import triton

    def run(x):
        plan = _Plan(x.shape, filters, paddings)
        num_cells = math.prod((plan.batch, *plan.new_spatial))
        kernel = pallas.pallas_call(
            plan.run,
            grid=plan.grid,
            out_shape=jax.ShapeDtypeStruct(
                (num_cells, len(filters) * plan.channels), x.dtype
            ),
            interpret=interpret,
            compiler_params=triton.CompilerParams(
                num_warps=WARPS, num_stages=1
            ),
        )
        sums = kernel(x.reshape(-1, plan.channels))
        return sums.reshape(plan.batch, *plan.new_spatial, sums.shape[-1])

    if interpret:
        return run(x)
    return jax.lax.platform_dependent(x, cuda=run, default=otherwise)


class _Plan:
    """Which program makes which sums, and how."""

    def __init__(self, shape, filters, paddings):
        self.batch, *self.spatial, self.channels = shape
        self.filters = filters
        kernel_size = filters.shape[1:]
        self.before = [before for before, _ in paddings]
        self.new_spatial = [
            size + sum(padding) - taps + 1
            for size, padding, taps in zip(
                self.spatial, paddings, kernel_size, strict=True
            )
        ]
        self.odd = [
            not np.array_equal(filters, np.flip(filters, axis + 1))
            for axis in range(len(kernel_size))
        ]
        self.span = kernel_size[0] - 1
        # Along the first axis, from the first tap of each ring to its last.
        self.taps = [
            range(taps.min(), taps.max() + 1)
            for taps in (np.nonzero(ring)[0] for ring in filters)
        ]
        # A program has a tile of (images, cells of a plane) in hand.
        self.num_channels = min(CHANNELS, _power_of_2(self.channels))
        sizes = self.batch, *self.new_spatial[1:]
        threads, num_sums = 32 * WARPS, sum(map(len, self.taps))
        values = VALUES
        while num_sums * values > REGISTERS * threads and values > threads:
            values //= 2
        self.tile = _tile_shape(sizes, values // self.num_channels)
        self.tiles = list(map(_ceil_div, sizes, self.tile))
        num_tiles = math.prod(self.tiles)
        num_blocks = _ceil_div(self.channels, self.num_channels)
        num_planes, parts = self.new_spatial[0], 1
        while num_planes > PLANES and num_tiles * num_blocks * parts < PROGRAMS:
            num_planes = _ceil_div(num_planes, 2)
            parts = _ceil_div(self.new_spatial[0], num_planes)
        self.num_planes = num_planes
        self.grid = num_tiles, parts, num_blocks

    def run(self, x_ref, sums_ref):
        """The kernel: one tile of cells, some planes, some channels."""
        import jax
        import jax.numpy as jnp
        from jax.experimental import pallas
        from jax.experimental.pallas import triton

        image, *cells = self._coordinates(pallas.program_id(0))
        first_plane = pallas.program_id(1) * self.num_planes
        channel = pallas.program_id(2) * self.num_channels
        channel += jnp.arange(self.num_channels)
        exists = image < self.batch
        inside = exists
        for cell, size in zip(cells, self.new_spatial[1:], strict=True):
            inside &= cell < size

        def of_channels(mask):
            mask = jnp.broadcast_to(
                mask[:, None], (len(image), self.num_channels)
            )
            if self.channels % self.num_channels == 0:
                return mask
            return mask & (channel < self.channels)[None, :]

        def read(plane, taps):
            index = image * self.spatial[0] + plane
            mask = exists & (plane >= 0) & (plane < self.spatial[0])
            for cell, tap, before, size in zip(
                cells, taps, self.before[1:], self.spatial[1:], strict=True
            ):
                position = cell + (tap - before)
                index = index * size + position
                mask &= (position >= 0) & (position < size)
            values = triton.load(
                x_ref.at[index[:, None], channel[None, :]],
                mask=of_channels(mask),
                other=0.0,
            )
            return values.astype(jnp.float32)

        def write(number, ring, sums):
            plane = first_plane + number
            index = image * self.new_spatial[0] + plane
            for cell, size in zip(cells, self.new_spatial[1:], strict=True):
                index = index * size + cell
            ours = (number >= 0) & (number < self.num_planes)
            mask = inside & ours & (plane < self.new_spatial[0])
            columns = ring * self.channels + channel
            triton.store(
                sums_ref.at[index[:, None], columns[None, :]],
                sums.astype(sums_ref.dtype),
                mask=of_channels(mask),
            )

        def add_plane(number, partial_sums):
            """Adds one plane of the input, and writes what it completes."""
            plane = first_plane + number - self.before[0]
            paired = _pair(
                lambda taps: read(plane, taps),
                self.filters.shape[2:],
                self.odd[1:],
            )
            made, kept = {}, []
            for ring, (taps, sums) in enumerate(
                zip(self.taps, partial_sums, strict=True)
            ):
                # The first sum begins at this plane, where its first tap is;
                # each other one is at the tap after that of the one before it.
                added = [self._added(ring, tap, paired, made) for tap in taps]
                *sums, complete = map(operator.add, (0.0, *sums), added)
                write(number - taps[-1], ring, complete)
                kept.append(tuple(sums))
            return tuple(kept)

        zeros = jnp.zeros((len(image), self.num_channels), jnp.float32)
        jax.lax.fori_loop(
            0,
            self.num_planes + self.span,
            add_plane,
            tuple((zeros,) * (len(taps) - 1) for taps in self.taps),
        )

    def _coordinates(self, tile):
        """Returns the image and the cell of each position of a tile."""
        import jax.numpy as jnp

        position = jnp.arange(math.prod(self.tile))
        coordinates = []
        for count, length in zip(
            reversed(self.tiles), reversed(self.tile), strict=True
        ):
            coordinates.append(tile % count * length + position % length)
            tile, position = tile // count, position // length
        return coordinates[::-1]

    def _added(self, ring, tap, paired, made):
        """Returns what a plane adds to a ring sum that has it at `tap`.

        `made` keeps it for the tap on the other side.
        """
        half = min(tap, self.span - tap)
        if (ring, half) not in made:
            weights = self.filters[ring, half]
            made[ring, half] = _weighted_sum(paired, weights)
        added = made[ring, half]
        return -added if self.odd[0] and tap > half else added


def _pair(read, kernel_size, odd):
    """Returns sums of a plane's mirrored taps, by the taps of one quadrant."""
    tiles = {
        taps: read(taps) for taps in itertools.product(*map(range, kernel_size))
    }
    for axis, size in enumerate(kernel_size):
        pairs = {}
        for taps, tile in tiles.items():
            mirrored = list(taps)
            mirrored[axis] = size - 1 - taps[axis]
            if taps[axis] < mirrored[axis]:
                other = tiles[tuple(mirrored)]
                pairs[taps] = tile - other if odd[axis] else tile + other
            elif taps[axis] == mirrored[axis]:
                pairs[taps] = tile
        tiles = pairs
    return tiles


def _weighted_sum(tiles, weights):
    """Returns `sum(weights[taps] * tiles[taps])`, 0.0 if all weights are 0."""
    by_weight = {}
    for taps, tile in tiles.items():
        weight = float(weights[taps])
        if weight:
            found = by_weight.get(weight)
            by_weight[weight] = tile if found is None else found + tile
    terms = [
        tile if weight == 1 else tile * weight
        for weight, tile in by_weight.items()
    ]
    return sum(terms[1:], start=terms[0]) if terms else 0.0


def _tile_shape(sizes, count):
    """Returns a shape of `count` positions, a power of 2 along each axis.

    All axes but the first grow evenly, and no longer than need be.
    """
    shape = [1] * len(sizes)
    while math.prod(shape) < count:
        short = [
            axis for axis in range(1, len(sizes)) if shape[axis] < sizes[axis]
        ]
        axis = min(short, key=lambda axis: (shape[axis], -axis), default=0)
        shape[axis] *= 2
    return shape


def _ceil_div(total, size):
    return -(-total // size)


def _power_of_2(size):
    return 1 << (size - 1).bit_length()
