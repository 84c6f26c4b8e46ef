"""Backbones in the manner of `keras.applications`."""

from keras_sre.applications.resnet import SREResNet3D18
from keras_sre.applications.resnet import SREResNet3D34
from keras_sre.applications.resnet import SREResNet3D50
from keras_sre.applications.resnet import SREResNet18
from keras_sre.applications.resnet import SREResNet34
from keras_sre.applications.resnet import SREResNet50
from keras_sre.applications.unet import SREUNet

__all__ = [
    "SREResNet18",
    "SREResNet34",
    "SREResNet3D18",
    "SREResNet3D34",
    "SREResNet3D50",
    "SREResNet50",
    "SREUNet",
]
