"""What residual networks differ in: one table for ranks, one for depths."""

import dataclasses

from keras import layers

from keras_sre.applications import blocks
from keras_sre.layers import SREConv2D
from keras_sre.layers import SREConv3D
from keras_sre.layers import SymmetricPooling2D
from keras_sre.layers import SymmetricPooling3D

DEPTHS = {
    18: (blocks.apply_basic_block, (2, 2, 2, 2)),
    34: (blocks.apply_basic_block, (3, 4, 6, 3)),
    50: (blocks.apply_bottleneck_block, (3, 4, 6, 3)),
}


@dataclasses.dataclass(frozen=True)
class Family:
    """What the networks of one rank differ in from those of another."""

    convolution: type
    pooling: type
    global_pooling: dict
    kernel_sizes: tuple  # the default, one per stage
    stem_size: int  # the kernel of the stem
    large_from: int  # the shorter side from which "auto" is "large"
    input_shape: tuple  # the default, channels last
    words: dict  # what only the docstring says


FAMILIES = {
    2: Family(
        SREConv2D,
        SymmetricPooling2D,
        {
            "avg": layers.GlobalAveragePooling2D,
            "max": layers.GlobalMaxPooling2D,
        },
        kernel_sizes=(9, 9, 5, 5),
        stem_size=5,
        large_from=96,
        input_shape=(224, 224, 3),
        words={"symmetries": 8, "axes": "height, width", "cells": "pixels"},
    ),
    3: Family(
        SREConv3D,
        SymmetricPooling3D,
        {
            "avg": layers.GlobalAveragePooling3D,
            "max": layers.GlobalMaxPooling3D,
        },
        kernel_sizes=(5, 5, 5, 5),
        # The official (3, 7, 7) is zero outside its central 3x3x3.
        stem_size=3,
        # Lower than in 2D: at 64 voxels and full size the maps of the first
        # stage take about a gigabyte for every volume of a training batch.
        large_from=64,
        input_shape=(64, 64, 64, 1),
        words={
            "symmetries": 48,
            "axes": "depth, height, width",
            "cells": "voxels",
        },
    ),
}


def family_of(x):
    """Returns the `Family` for a map, batch and channels included."""
    return FAMILIES[len(x.shape) - 2]
