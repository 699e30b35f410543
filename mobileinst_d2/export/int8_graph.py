"""What of an ONNX graph becomes integers, and the form in which a runtime is fast with them."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

__all__ = [
    "INTEGER_OPERATORS",
    "centre_pixels",
    "convolution_weights",
    "integer_nodes",
    "take_integer_pixels",
]

# An activation function belongs to its convolution or addition: quantised apart, the result would
# be rounded before the function cuts most of its range off. A resize is rounded before and after,
# so that an addition behind it takes integers; a bilinear one is computed in fp32 between the two.
_FOLLOWING = ("Relu", "Clip", "Resize")
# Kinds of nodes that may compute with integers.
INTEGER_OPERATORS = ("Conv", *_FOLLOWING, "Add")
# What makes maps of maps.
_POINTWISE = ("Mul", "Sigmoid", "HardSigmoid", "HardSwish", *_FOLLOWING)
# Name of what the first convolution reads: pixels relative to the zero point.
_CENTRED = "image_centred"


def convolution_weights(model: Any) -> list[str]:
    """Names of the weights of a model's convolutions, in the order of the graph."""
    return [node.input[1] for node in model.graph.node if node.op_type == "Conv"]


def integer_nodes(model: Any, float_weights: Collection[str]) -> list[str]:
    """Names of the nodes that compute with integers.

    These are the convolutions, what follows them as an activation function or a resize, and the
    additions of maps: one in fp32 between convolutions in int8 would cost its time three times.

    Args:
        model: an ONNX model, whose nodes are in the order of computation.
        float_weights: names of the weights of convolutions that stay in fp32.

    Returns:
        The names.
    """
    names = []
    maps: set[str] = set()
    rounded: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "Conv":
            is_map = chosen = node.input[1] not in float_weights
        elif node.op_type == "Add":
            is_map = chosen = maps.issuperset(node.input)
        else:
            is_map = node.op_type in _POINTWISE and node.input[0] in maps
            chosen = node.op_type in _FOLLOWING and node.input[0] in rounded
        if is_map:
            maps.add(node.output[0])
        if chosen:
            names.append(node.name)
            rounded.add(node.output[0])
    return names


def centre_pixels(model: Any, names: Collection[str]) -> dict[str, list[dict]]:
    """Fold the normalisation of the image into the first convolution.

    That then reads ``pixel - zero``, one zero for all channels, which integers hold exactly. How
    the means differ from it is in the weights of a fourth channel, constant in the image and zero
    around it, where the convolution pads. Integer kernels take channels in fours: with three, ONNX
    Runtime copies each window of pixels first, and needs ten times as long. A convolution of stride
    2 becomes one of stride 1 on squares of 2x2 pixels, with 16 channels: fewer and longer products,
    in 0.7 of the time.

    Args:
        model: an ONNX model, changed in place. One that does not begin with the normalisation and a
            convolution that computes with integers stays as it is.
        names: of the nodes that compute with integers.

    Returns:
        Scale and zero point of what the convolution reads, as ONNX Runtime's quantiser takes them;
        nothing if the model stays as it is.
    """
    import onnx
    from onnx import helper, numpy_helper

    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    chain = _normalisation(graph)
    if chain is None or chain[-1].name not in names or chain[-1].input[1] not in tensors:
        return {}
    *steps, conv = chain
    mean, std = (numpy_helper.to_array(tensors[step.input[1]]).reshape(-1, 1, 1) for step in steps)
    weights = numpy_helper.to_array(tensors[conv.input[1]]) / std
    if weights.shape[1] != 3 or len(mean) != 3:
        return {}
    zero = int(np.clip(np.round(mean.mean()), 0, 254))
    # Small, as the rounding of its weights counts as often, but so large that none of them is above
    # the largest of the others, which are rounded on the same scale.
    constant = int(np.clip(np.ceil(3 * np.abs(mean - zero).max()), 1, 255 - zero))
    shift = (weights * (mean - zero)).sum(axis=1, keepdims=True) / constant
    weights = np.concatenate([weights, -shift], axis=1).astype(np.float32)
    amounts = np.array([0, 0, 0, 0, 0, 1, 0, 0])
    for name, value in (
        (f"{_CENTRED}_zero", np.float32(zero)),
        (f"{_CENTRED}_constant", np.float32(constant)),
        (f"{_CENTRED}_amounts", amounts),
    ):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    subtracted = f"{_CENTRED}_pixels"
    inputs = [subtracted, f"{_CENTRED}_amounts", f"{_CENTRED}_constant"]
    nodes = [
        helper.make_node("Sub", [steps[0].input[0], f"{_CENTRED}_zero"], [subtracted], subtracted),
        helper.make_node("Pad", inputs, [_CENTRED], f"{_CENTRED}_padded"),
    ]
    squares = _on_squares(weights, conv, graph.input[0].type.tensor_type.shape.dim[2:])
    if squares is not None:
        weights, attributes = squares
        del conv.attribute[:]
        conv.attribute.extend(helper.make_attribute(*x) for x in attributes.items())
        nodes[-1].output[0] = f"{_CENTRED}_four_channels"
        inputs = [nodes[-1].output[0]]
        nodes.append(
            helper.make_node("SpaceToDepth", inputs, [_CENTRED], f"{_CENTRED}_squares", blocksize=2)
        )
    tensors[conv.input[1]].CopyFrom(numpy_helper.from_array(weights, conv.input[1]))
    conv.input[0] = _CENTRED
    nodes += [node for node in graph.node if node not in steps]
    _set_nodes(graph, nodes)
    model.CopyFrom(onnx.shape_inference.infer_shapes(model))
    return {_CENTRED: [{"scale": np.array(1, np.float32), "zero_point": np.array(zero, np.uint8)}]}


def _on_squares(
    weights: np.ndarray, conv: Any, sides: Sequence[Any]
) -> tuple[np.ndarray, dict[str, Any]] | None:
    """A convolution of stride 2 as one of stride 1 on what ``SpaceToDepth`` makes of its input.

    Args:
        weights: (O, C, k, k).
        conv: the node.
        sides: dimensions of its input.

    Returns:
        The weights (O, 4C, K, K) and the attributes; None for another convolution, or sides that
        are not even.
    """
    from onnx import helper

    attributes = {x.name: helper.get_attribute_value(x) for x in conv.attribute}
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    size = weights.shape[2]
    if (
        attributes.get("strides") != [2, 2]
        or attributes.get("dilations", [1, 1]) != [1, 1]
        or attributes.get("group", 1) != 1
        or weights.shape[3] != size
        or (top, bottom) != (left, right)
        or any(side.dim_value == 0 or side.dim_value % 2 for side in sides)
    ):
        return None
    first, last = -top // 2, (size - 1 - top) // 2  # squares above and below that of a result
    after = last + 1 + (top + bottom - size) // 2
    if after < 0:
        return None
    count = last - first + 1
    squares = np.zeros((len(weights), 2, 2, weights.shape[1], count, count), np.float32)
    for y, x in np.ndindex(size, size):
        (row, inner_row), (column, inner_column) = (divmod(i - top, 2) for i in (y, x))
        squares[:, inner_row, inner_column, :, row - first, column - first] = weights[:, :, y, x]
    pads = [-first, -first, after, after]
    attributes = {"kernel_shape": [count, count], "strides": [1, 1], "pads": pads}
    return squares.reshape(len(weights), -1, count, count), attributes


def _normalisation(graph: Any) -> list[Any] | None:
    """The subtraction, the division and the convolution that an image goes through, alone."""
    name = graph.input[0].name
    chain = []
    for kind in ("Sub", "Div", "Conv"):
        readers = [node for node in graph.node if name in node.input]
        if len(readers) != 1 or readers[0].op_type != kind or readers[0].input[0] != name:
            return None
        chain += readers
        name = readers[0].output[0]
    return chain


def take_integer_pixels(model: Any) -> bool:
    """Let the graph read the image in integers: then nothing is subtracted or rounded.

    Args:
        model: what ONNX Runtime's quantiser made of one that `centre_pixels` changed, itself
            changed in place; another one stays as it is.

    Returns:
        Whether the image is uint8 now.
    """
    from onnx import TensorProto, numpy_helper

    graph = model.graph
    named = {node.name: node for node in graph.node}
    pad = named.get(f"{_CENTRED}_padded")
    if pad is None:
        return False
    (rounding,) = (node for node in graph.node if _CENTRED in node.input)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    zero = numpy_helper.to_array(tensors[rounding.input[2]])
    constant = numpy_helper.to_array(tensors[pad.input[2]])
    # The zero of pixels is 0. The convolution reads them with its own, which is the subtraction.
    value = np.asarray(zero + constant, np.uint8)
    tensors[pad.input[2]].CopyFrom(numpy_helper.from_array(value, pad.input[2]))
    pad.input[0] = graph.input[0].name
    last = named.get(f"{_CENTRED}_squares", pad)
    last.output[0] = rounding.output[0]
    graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    replaced = (named[f"{_CENTRED}_pixels"], rounding)
    _set_nodes(graph, [node for node in graph.node if node not in replaced])
    return True


def _set_nodes(graph: Any, nodes: Collection[Any]) -> None:
    """Replace the nodes, and drop what described others and the constants that none reads."""
    read = {name for node in nodes for name in node.input} | {x.name for x in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
