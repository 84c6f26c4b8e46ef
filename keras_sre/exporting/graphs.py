"""What a LiteRT file holds, as its quantizer sees it."""

import typing


class Operation(typing.NamedTuple):
    """One operation; tensors go by their names.

    `name` is that of its kind, as the quantizer knows it, or `None`; `scope` is
    what the quantizer's rules are matched with.
    """

    name: str | None
    inputs: list
    outputs: list
    scope: str


def graphs_of(path):
    """Reads the graphs of a `.tflite` file.

    Yields:
        `(operations, read)`: a list of `Operation`s, and a function from the
        name of a tensor to what it holds, an array, or `None` if it is no
        constant.
    """
    from litert_quantizer.utils import tfl_flatbuffer_utils as flatbuffer

    file = flatbuffer.read_model(path)
    for graph in file.subgraphs:
        names = [flatbuffer.get_tensor_name(tensor) for tensor in graph.tensors]
        tensors = dict(zip(names, graph.tensors, strict=True))
        operations = [
            Operation(
                flatbuffer.TFL_OP_CODE_TO_NAME.get(
                    file.operatorCodes[operation.opcodeIndex].builtinCode
                ),
                [names[i] for i in operation.inputs if i >= 0],
                [names[i] for i in operation.outputs],
                flatbuffer.get_op_scope(operation, graph.tensors),
            )
            for operation in graph.operators
        ]

        def read(name, tensors=tensors):
            return flatbuffer.get_tensor_data(tensors[name], file.buffers)

        yield operations, read
