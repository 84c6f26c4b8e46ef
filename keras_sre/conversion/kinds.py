"""Which of Keras' layers have an equivariant counterpart, and which."""

from keras import layers

from keras_sre.layers import SREConv1D
from keras_sre.layers import SREConv1DTranspose
from keras_sre.layers import SREConv2D
from keras_sre.layers import SREConv2DTranspose
from keras_sre.layers import SREConv3D
from keras_sre.layers import SREConv3DTranspose
from keras_sre.layers import SymmetricPooling1D
from keras_sre.layers import SymmetricPooling2D
from keras_sre.layers import SymmetricPooling3D

CONVOLUTIONS = {
    layers.Conv1D: SREConv1D,
    layers.Conv2D: SREConv2D,
    layers.Conv3D: SREConv3D,
}
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = {
    layers.SeparableConv1D: layers.DepthwiseConv1D,
    layers.SeparableConv2D: layers.DepthwiseConv2D,
}
TRANSPOSED = {
    layers.Conv1DTranspose: SREConv1DTranspose,
    layers.Conv2DTranspose: SREConv2DTranspose,
    layers.Conv3DTranspose: SREConv3DTranspose,
}
POOLINGS = {
    layers.AveragePooling1D: "average",
    layers.AveragePooling2D: "average",
    layers.AveragePooling3D: "average",
    layers.MaxPooling1D: "max",
    layers.MaxPooling2D: "max",
    layers.MaxPooling3D: "max",
}
REPLACED = {*CONVOLUTIONS, *DEPTHWISE, *SEPARABLE, *TRANSPOSED, *POOLINGS}
SYMMETRIC_POOLING = {
    1: SymmetricPooling1D,
    2: SymmetricPooling2D,
    3: SymmetricPooling3D,
}
ZERO_PADDING = {
    1: layers.ZeroPadding1D,
    2: layers.ZeroPadding2D,
    3: layers.ZeroPadding3D,
}
CROPPING = {1: layers.Cropping1D, 2: layers.Cropping2D, 3: layers.Cropping3D}
