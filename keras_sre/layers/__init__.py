"""Keras layers, each equivariant to rotation and reflection."""

from keras_sre.layers.fused_batch_normalization import FusedBatchNormalization
from keras_sre.layers.sre_conv import SREConv1D
from keras_sre.layers.sre_conv import SREConv2D
from keras_sre.layers.sre_conv import SREConv3D
from keras_sre.layers.sre_conv_transpose import SREConv1DTranspose
from keras_sre.layers.sre_conv_transpose import SREConv2DTranspose
from keras_sre.layers.sre_conv_transpose import SREConv3DTranspose
from keras_sre.layers.sre_depthwise_conv import SREDepthwiseConv2D
from keras_sre.layers.symmetric_pooling import SymmetricPooling1D
from keras_sre.layers.symmetric_pooling import SymmetricPooling2D
from keras_sre.layers.symmetric_pooling import SymmetricPooling3D
from keras_sre.layers.symmetric_upsampling import SymmetricUpsampling

__all__ = [
    "FusedBatchNormalization",
    "SREConv1D",
    "SREConv1DTranspose",
    "SREConv2D",
    "SREConv2DTranspose",
    "SREConv3D",
    "SREConv3DTranspose",
    "SREDepthwiseConv2D",
    "SymmetricPooling1D",
    "SymmetricPooling2D",
    "SymmetricPooling3D",
    "SymmetricUpsampling",
]
