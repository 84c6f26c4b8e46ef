"""Rotation-equivariant convolutions, made of rings, for Keras 3."""

from keras_sre import applications
from keras_sre._version import __version__
from keras_sre.conversion import ConversionReport
from keras_sre.conversion import convert
from keras_sre.equivariance import EquivarianceReport
from keras_sre.equivariance import equivariance_report
from keras_sre.exporting import ExportError
from keras_sre.exporting import ExportReport
from keras_sre.exporting import export
from keras_sre.interop import load_torch_weights
from keras_sre.layers import SREConv1D
from keras_sre.layers import SREConv1DTranspose
from keras_sre.layers import SREConv2D
from keras_sre.layers import SREConv2DTranspose
from keras_sre.layers import SREConv3D
from keras_sre.layers import SREConv3DTranspose
from keras_sre.layers import SREDepthwiseConv2D
from keras_sre.layers import SymmetricPooling1D
from keras_sre.layers import SymmetricPooling2D
from keras_sre.layers import SymmetricPooling3D
from keras_sre.layers import SymmetricUpsampling

__all__ = [
    "ConversionReport",
    "EquivarianceReport",
    "ExportError",
    "ExportReport",
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
    "__version__",
    "applications",
    "convert",
    "equivariance_report",
    "export",
    "load_torch_weights",
]
