"""From a Keras model to a file that runs without Keras, checked by running it.

`exporter.py` goes all the way: `arguments.py` refuses what cannot be exported,
`samples.py` makes the inputs to calibrate and compare with, `formats.py` writes
SavedModel, LiteRT and ONNX, with each ring layer in the form that is fastest
there, `quantization.py` shrinks a LiteRT file, and `verification.py` compares
what `runtimes.py` runs with Keras.
"""

from keras_sre.exporting.exporter import export
from keras_sre.exporting.verification import ExportError
from keras_sre.exporting.verification import ExportReport

__all__ = ["ExportError", "ExportReport", "export"]
