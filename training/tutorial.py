"""From `Conv2D` to an exact network on a device, in ten minutes.

    pip install ".[train,export]" && python training/tutorial.py

runs it as it is. An editor that knows cells (VS Code, PyCharm, Spyder) opens it
as a notebook: each `# %%` begins one. The images ship with scikit-image; to use
your own, replace the second cell.
"""

# %% What is needed: Keras, and the layers that take the place of its own.
import argparse
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import textures

import keras_sre
from keras_sre import transforms

# There is nothing to set, but --help. (A notebook has arguments of its own.)
argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
).parse_known_args()

EPOCHS = 15
ANGLES = range(0, 360, 30)
keras.utils.set_random_seed(1)

# %% Grey crops of 32x32 pixels from six pictures, all of them upright.
splits = textures.load_textures(32)
images, labels = splits["train"]
tests, answers = splits["test"]
print(f"{len(images)} images to learn from, shape {images.shape[1:]}")


# %% A network as one writes it every day. Only the layers are arguments.
def make_network(name, convolution, pooling, **options):
    """Returns a small CNN."""
    network = keras.Sequential([keras.Input((32, 32, 1))], name=name)
    for filters in (16, 32, 64):
        network.add(
            convolution(filters, 5, padding="same", use_bias=False, **options)
        )
        network.add(keras.layers.BatchNormalization(momentum=0.9))
        network.add(keras.layers.ReLU())
        network.add(pooling())
    network.add(keras.layers.GlobalAveragePooling2D())
    network.add(keras.layers.Dense(len(textures.CLASSES), "softmax"))
    return network


def train(network):
    """Trains on upright images, and on nothing else."""
    network.compile(
        keras.optimizers.AdamW(3e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    network.fit(images, labels, 64, EPOCHS, verbose=0)


def accuracies(network):
    """Returns the accuracy on upright images, and the mean over angles."""
    turned = [
        network.evaluate(transforms.rotate(tests, angle), answers, verbose=0)
        for angle in ANGLES
    ]
    return turned[0][1], float(np.mean(turned, axis=0)[1])


plain = make_network("plain", keras.layers.Conv2D, keras.layers.MaxPooling2D)
train(plain)
print("Conv2D: upright {:.3f}, turned {:.3f}".format(*accuracies(plain)))

# %% Why does it fall so low? The report says how much each turn changes the
# answer, and which layers are to blame.
some = tests[:8]
report = keras_sre.equivariance_report(plain, some, angles=ANGLES)
print(report)

# %% The same network of rings. `harmonics` lets a part of the filters see the
# direction of an edge; `SymmetricPooling2D` samples about the centre of a map.
rings = make_network(
    "rings", keras_sre.SREConv2D, keras_sre.SymmetricPooling2D, harmonics=(1, 2)
)
train(rings)
print("SREConv2D: upright {:.3f}, turned {:.3f}".format(*accuracies(rings)))
for network in (plain, rings):
    print(f"{network.name}: {network.count_params():,} parameters")

# %% Quarter turns and reflections are exact: nothing changes but rounding.
exact = keras_sre.equivariance_report(rings, some, angles=ANGLES)
print(exact)
assert exact.grid_error < 1e-4 and not exact.offenders

# %% A network that is trained already need not be written anew. Its kernels are
# projected onto rings, its poolings moved to the centre. That loses a part of
# each kernel, so train on.
converted = keras_sre.convert(plain)
print(converted.conversion_report)
train(converted)
print("converted: upright {:.3f}, turned {:.3f}".format(*accuracies(converted)))

# %% For a device: 8-bit integers, of which the file is tried against Keras
# before it gets its name.
with tempfile.TemporaryDirectory() as folder:
    exported = keras_sre.export(
        rings,
        pathlib.Path(folder) / "rings.tflite",
        quantization="int8",
        representative_data=images[:64],
    )
    print(exported)
