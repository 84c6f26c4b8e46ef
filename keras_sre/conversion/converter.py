"""Rebuilds a model layer by layer, with counterparts in their places."""

import itertools

import keras
from keras import layers
from keras import tree

from keras_sre.conversion import kinds
from keras_sre.conversion import replacements
from keras_sre.conversion.compiling import compile_alike
from keras_sre.conversion.configuration import configuration
from keras_sre.conversion.projection import project
from keras_sre.conversion.report import ConvertedLayer
from keras_sre.conversion.report import described
from keras_sre.conversion.separable import parts_of_separable
from keras_sre.conversion.unequal_padding import paddings_to_equalise

# Their functions, and words they have learnt, are not in their configuration.
AS_THEY_ARE = (
    layers.Lambda,
    layers.IntegerLookup,
    layers.StringLookup,
    layers.TextVectorization,
)


class Converter:
    """Converts the layers of one model and of those nested in it.

    Layers are made anew, once for each old one (poolings for each form that
    their calls take), and get its weights. After a run `rows` tells what was
    done, in the order of the calls.
    """

    def __init__(self, settings):
        self.settings = settings
        self.rows = []
        # From id and form: (the old layer, to keep its id; the new one).
        self._made = {}
        self._replaced = set()  # ids
        self._equal = set()  # ids of zero paddings to make equal at both ends
        # Of the model at hand: what was called, its path, names in use.
        self._recorded, self._prefix, self._names = [], "", set()

    def convert(self, model, prefix=""):
        """Returns a new functional or Sequential model."""
        outer = self._recorded, self._prefix, self._names
        names = {layer.name for layer in model.layers}
        self._recorded, self._prefix, self._names = [], prefix, names
        if self.settings.symmetric_pooling:
            self._equal |= paddings_to_equalise(model)
        if isinstance(model, keras.Sequential):
            converted = self._convert_sequential(model)
        else:
            converted = self._convert_functional(model)
        if not model.trainable:
            converted.trainable = False
        if model.compiled:
            compile_alike(converted, model)
        self._recorded, self._prefix, self._names = outer
        return converted

    def _convert_functional(self, model):
        compiled, model.compiled = model.compiled, False  # that comes after
        try:
            return keras.models.clone_model(
                model,
                input_tensors=_new_inputs(model),
                clone_function=lambda layer: layer,
                call_function=self._call,
            )
        finally:
            model.compiled = compiled

    def _convert_sequential(self, model):
        inputs = keras.Input(
            batch_shape=model.input_shape,
            dtype=model.inputs[0].dtype,
            name=model.inputs[0].name,
        )
        x = inputs
        for layer in model.layers:
            x = self._call(layer, x)
        return keras.Sequential([inputs, *self._recorded], name=model.name)

    def _call(self, layer, *args, **kwargs):
        """Calls what takes the place of a layer or operation."""
        if not isinstance(layer, keras.Layer):
            return layer(*args, **kwargs)
        if not args and "inputs" in kwargs:
            args = (kwargs.pop("inputs"),)
        if has_graph(layer):
            return self._call_model(layer, *args, **kwargs)
        if isinstance(layer, keras.Model):
            self._leave(layer, "its layers are not known: it is subclassed")
        if type(layer) in kinds.SEPARABLE:
            x = args[0]
            for part in self._parts(layer, x.shape):
                x = self._call(part, x)
            return x
        if len(args) == 1 and keras.backend.is_keras_tensor(args[0]):
            found = self._replacement(layer, _shape_of_calls(layer, args[0]))
            if found is not None:
                return self._call_replacement(layer, found, args[0])
        if _wraps_what_is_replaced(layer):
            self._leave(layer, "what it wraps stays as it is")
        new = self._make(layer, lambda: _same(layer))
        outputs = new(*args, **kwargs)
        if new.weights:
            new.set_weights(layer.get_weights())
        for part in new._flatten_layers():  # of a wrapper, too
            if isinstance(part, layers.Normalization):
                part.finalize_state()  # it computes with what it makes of them
        self._recorded.append(new)
        return outputs

    def _call_model(self, model, *args, **kwargs):
        prefix = f"{self._prefix}{model.name}/"
        new = self._make(model, lambda: self.convert(model, prefix))
        self._recorded.append(new)
        return new(*args, **kwargs)

    def _call_replacement(self, layer, found, x):
        first_call = id(layer) not in self._replaced
        self._replaced.add(id(layer))
        form = None
        if type(layer) in kinds.POOLINGS:  # each call has its own
            form = repr(found.main.get_config())
        main = self._make(layer, lambda: found.main, form)
        for step in (*found.before, *found.after):
            self._name_apart(step)
        steps = [*found.before, main, *found.after]
        for step in steps:
            x = step(x)
        self._recorded += steps
        if not first_call:
            return x
        error = None
        if hasattr(main, "ring_kernel"):
            error = self._set_ring_weights(layer, main, found.offset)
        elif main.weights:
            main.set_weights(layer.get_weights())
        self.rows.append(
            ConvertedLayer(
                name=f"{self._prefix}{layer.name}",
                before=described(layer),
                after=" + ".join(map(described, steps)),
                projection_error=error,
            )
        )
        return x

    def _name_apart(self, step):
        """Numbers what is made beside the model's own layers."""
        names = (f"{step.name}_{i}" for i in itertools.count(1))
        names = itertools.chain([step.name], names)
        step.name = next(name for name in names if name not in self._names)
        self._names.add(step.name)

    def _set_ring_weights(self, layer, main, offset):
        if self.settings.weights == "reinitialize":
            return None
        weights = layer.get_weights()
        kernel = weights[0]
        if type(layer) is layers.DepthwiseConv1D:
            kernel = kernel.reshape(kernel.shape[0], 1, -1)
        if main.use_bias:
            main.bias.assign(weights[1])
        return project(kernel, main, offset)

    def _replacement(self, layer, shape):
        if id(layer) in self._equal:
            return replacements.Replacement(replacements.equal_padding(layer))
        try:
            return replacements.replacement(layer, shape, self.settings)
        except ValueError as error:
            if self.settings.ring_arguments["num_rings"] is not None:
                raise
            self._leave(layer, str(error))
            return None

    def _leave(self, layer, reason):
        name = f"{self._prefix}{layer.name}"
        if all(row.name != name for row in self.rows):
            self.rows.append(
                ConvertedLayer(name, described(layer), "", None, reason)
            )

    def _make(self, layer, make, form=None):
        key = id(layer), form
        if key not in self._made:
            is_another = any(made == id(layer) for made, _ in self._made)
            self._made[key] = layer, make()
            if is_another:
                self._name_apart(self._made[key][1])
        return self._made[key][1]

    def _parts(self, layer, shape):
        def make():
            parts = parts_of_separable(layer)
            depthwise, pointwise = parts
            depthwise.build(shape)
            pointwise.build(depthwise.compute_output_shape(shape))
            kernels = layer.get_weights()
            depthwise.set_weights(kernels[:1])
            pointwise.set_weights(kernels[1:])
            self._name_apart(pointwise)  # the other has the layer's name
            return parts

        return self._make(layer, make)


def has_graph(layer):
    """Returns whether it is known how the layers of a model are connected."""
    return isinstance(layer, keras.Model) and isinstance(
        layer, (keras.Function, keras.Sequential)
    )


def _wraps_what_is_replaced(layer):
    wrapped = getattr(layer, "layer", None)
    return isinstance(wrapped, keras.Layer) and any(
        type(part) in kinds.REPLACED for part in wrapped._flatten_layers()
    )


def _new_inputs(model):
    """Returns inputs of the same names, in the structure of the old ones."""
    names = {
        id(layer.output): layer.name
        for layer in model.layers
        if isinstance(layer, layers.InputLayer)
    }
    return tree.map_structure(
        lambda x: keras.Input(
            batch_shape=x.shape, dtype=x.dtype, name=names.get(id(x))
        ),
        model.input,
    )


def _shape_of_calls(layer, x):
    """Returns the shape of `x`; sizes that another call does not have: `None`.

    The form of a convolution has to suit all of its calls.
    """
    shapes = [x.shape]
    if type(layer) not in kinds.POOLINGS:
        shapes += [node.input_tensors[0].shape for node in layer._inbound_nodes]
    return tuple(
        sizes[0] if len(set(sizes)) == 1 else None
        for sizes in zip(*shapes, strict=True)
    )


def _same(layer):
    if isinstance(layer, AS_THEY_ARE):
        return layer
    return layer.__class__.from_config(configuration(layer))
