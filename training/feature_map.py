"""The feature map by which networks are shown."""

import keras


def feature_map(network, images):
    """Returns a tensor of a network, to make a model with: one map of stage 1.

    Of the stage's last map the channel that varies most over the images.

    Args:
        network: functional Keras model.
        images: array of shape `(n, height, width, channels)`.

    Returns:
        Keras tensor of shape `(batch, height, width, 1)`.
    """
    layer = [x for x in network.layers if x.name.startswith("stage1")][-1]
    features = keras.Model(network.input, layer.output)
    maps = keras.ops.convert_to_numpy(features.predict_on_batch(images))
    channel = int(maps.std(axis=(0, 1, 2)).argmax())
    return layer.output[..., channel : channel + 1]
