"""The highest rate of single-precision arithmetic that can be reached on this core."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

__all__ = ["measure_peak"]

_MATRIX = 1024
# Channels and side of a 3x3 convolution, the kind of layer that most of a network's time goes to.
_CHANNELS, _SIDE = 256, 80
_REPEATS = 5

Candidate = tuple[str, float, Callable[[], object]]  # name, FLOPs, call


def measure_peak() -> dict[str, float]:
    """Time a large matrix product and a 3x3 convolution in every library at hand.

    To be called in a process with one thread. Multiplications and additions both count. No
    candidate uses Winograd's algorithm, which needs fewer of them.

    Returns:
        GFLOP/s per candidate, of the best call; the highest one is the measured peak.
    """
    rates = {}
    with torch.inference_mode():
        for name, flops, call in _candidates():
            call()
            rates[name] = flops / min(_cpu_seconds(call) for _ in range(_REPEATS)) / 1e9
    return rates


def _cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _candidates() -> Iterator[Candidate]:
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, _MATRIX, _MATRIX), dtype=np.float32)
    image = generator.standard_normal((1, _CHANNELS, _SIDE, _SIDE), dtype=np.float32)
    weight = generator.standard_normal((_CHANNELS, _CHANNELS, 3, 3), dtype=np.float32)
    product_flops = 2.0 * _MATRIX**3
    convolution_flops = 2.0 * 9 * _CHANNELS**2 * _SIDE**2

    yield "matrix product, NumPy", product_flops, lambda: a @ b
    tensors = [torch.from_numpy(x) for x in (a, b, image, weight)]
    yield "matrix product, PyTorch", product_flops, lambda: tensors[0] @ tensors[1]
    yield (
        "3x3 convolution, PyTorch",
        convolution_flops,
        lambda: F.conv2d(tensors[2], tensors[3], padding=1),
    )
    try:
        product = _onnx_call("MatMul", a, b)
        convolution = _onnx_call("Conv", image, weight, pads=[1, 1, 1, 1])
    except ImportError:
        return
    yield "matrix product, ONNX Runtime", product_flops, product
    yield "3x3 convolution, ONNX Runtime", convolution_flops, convolution


def _onnx_call(
    operator: str, x: np.ndarray, constant: np.ndarray, **attributes: object
) -> Callable[[], object]:
    """One operator with a constant second input, as a call of ONNX Runtime."""
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    def info(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    # Both operators leave the shape as it is.
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "constant"], ["y"], **attributes)],
        "peak",
        [info("x", x.shape)],
        [info("y", x.shape)],
        [numpy_helper.from_array(constant, "constant")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"x": x})
