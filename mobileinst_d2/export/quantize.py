"""Convolutions in int8: static quantisation of an ONNX graph after training.

Weights are int8 per output channel, activations uint8 per tensor, in the QDQ form, which ONNX
Runtime and OpenVINO turn into integer convolutions and additions. Attention, linear layers and
normalisations stay in fp32.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mobileinst_core.runtime.runners import ExportError, OnnxRunner

from .agreement import foreground
from .guard import run_graph_guarded
from .int8_graph import (
    INTEGER_OPERATORS,
    centre_pixels,
    convolution_weights,
    integer_nodes,
    take_integer_pixels,
)

__all__ = ["INT8_RUNTIMES", "Quantizer", "mask_agreement"]

logger = logging.getLogger(__name__)

# Runtimes that read what is written here.
INT8_RUNTIMES = ("onnx", "openvino")

# How many of the first convolutions may stay in fp32, and how far from the least error the result
# may be, to have fewer of them.
_FIRST_IN_FLOAT = (0, 1, 2, 3, 4, 6)
_ERROR_MARGIN = 1.25
# An error that costs no accuracy worth the time of convolutions in fp32.
_SMALL_ERROR = 0.05
# Images that this is decided on.
_TRIALS = 8
# Score from which masks are compared; most others are of nothing.
_SHOWN = 0.1
# Below this share of masks that int8 leaves nearly as they are, it is told as a warning.
_WARNED_SHARE = 0.5
_IS_OTHER = (
    " That is another model: measure its accuracy, or export it in fp32. The weights may be "
    "trained too little, or the calibration images unlike those that it was trained on."
)


class Quantizer:
    """Quantises the graphs of one network, all alike.

    Attributes:
        images: what the ranges of the activations are measured on, (1, 3, H, W).
        float_weights: names of the weights of convolutions that stay in fp32: the first few, where
            that makes a difference. The first ones of a mobile backbone have few channels or are
            depthwise: they cost little, and an error there goes through everything. None before the
            first graph.
        held_out: others of the kind, (1, 3, H, W), which no range was measured on.
        compared: what the result is compared with PyTorch on: these, or else the first of
            ``images``, for which its ranges were made.
        image_dtype: what the graphs read of images: "uint8" where the first convolution is in int8.
    """

    def __init__(self, images: Sequence[np.ndarray], held_out: Sequence[np.ndarray] = ()) -> None:
        """Keep the images.

        Args:
            images: typical inputs, (1, 3, H, W).
            held_out: others of the kind, to compare the result with PyTorch on.
        """
        self.images = list(images)
        self.held_out = list(held_out)
        self.compared = self.held_out or self.images[:1]
        self.float_weights: list[str] | None = None
        self.image_dtype = "float32"

    def __call__(self, folder: Path, graph: Mapping[str, Any]) -> None:
        """Replace a graph, as ``export_module`` returned it for ONNX, by one in int8.

        Raises:
            ExportError: the quantiser fails.
        """
        (name,) = graph["files"]
        with tempfile.TemporaryDirectory(prefix="mobileinst_int8_") as scratch:
            prepared = _prepare(folder / name, Path(scratch))
            if self.float_weights is None:
                self.float_weights = self._choose(folder, graph, prepared)
            self.image_dtype = _quantize(prepared, folder / name, self.images, self.float_weights)

    def compare_masks(
        self, runtime: str, folder: Path, graph: Mapping[str, Any], module: nn.Module
    ) -> dict[str, float] | None:
        """See `mask_agreement`, on the images to compare on; logs what it finds."""
        found = mask_agreement(runtime, folder, graph, module, self.compared, _SHOWN)
        if found:
            is_other = found["share_iou_90"] < _WARNED_SHARE
            logger.log(
                logging.WARNING if is_other else logging.INFO,
                "int8 and fp32 on %d images: %d masks with a score of %.1f and more; mean IoU "
                "%.3f, %.0f %% of them 0.9 and more." + (_IS_OTHER if is_other else ""),
                len(self.compared),
                found["masks"],
                _SHOWN,
                found["mean_iou"],
                100 * found["share_iou_90"],
            )
        return found

    def _choose(self, folder: Path, graph: Mapping[str, Any], prepared: Path) -> list[str]:
        """Find out how many of the first convolutions should stay in fp32."""
        import onnx

        indices = np.unique(np.linspace(0, len(self.images) - 1, _TRIALS).round().astype(int))
        images = [self.images[i] for i in indices]
        reference = _outputs(folder, graph, images)
        weights = convolution_weights(onnx.load(prepared))
        trial = prepared.with_name(graph["files"][0])
        errors = {}
        for count in (count for count in _FIRST_IN_FLOAT if count < len(weights)):
            _quantize(prepared, trial, images, weights[:count])
            errors[count] = _error(_outputs(trial.parent, graph, images), reference)
            logger.info("int8 but for the first %d convolutions: error %.3g.", count, errors[count])
            if errors[count] <= _SMALL_ERROR:
                break
        accepted = max(_ERROR_MARGIN * min(errors.values()), _SMALL_ERROR)
        count = next(count for count, error in errors.items() if error <= accepted)
        logger.info("The first %d convolutions stay in fp32.", count)
        return weights[:count]


def mask_agreement(
    runtime: str,
    folder: Path,
    graph: Mapping[str, Any],
    module: nn.Module,
    images: Sequence[np.ndarray],
    min_score: float,
) -> dict[str, float] | None:
    """How well the masks of a graph agree with those of its module.

    Args:
        runtime: what the graph was written for.
        folder: where its files are.
        graph: its entry in the manifest.
        module: what it was made from.
        images: inputs, (1, 3, H, W).
        min_score: masks with less by the module are left out.

    Returns:
        ``masks``, their number; ``mean_iou``, and ``share_iou_90``, the part of them with IoU 0.9
        or more. None if the graph gives no masks, or the module finds nothing.
    """
    overlaps: list[float] = []
    for image in images:
        with torch.no_grad():
            outputs = zip(module.output_names, module(torch.from_numpy(image)), strict=True)
        expected = {name: tensor.numpy() for name, tensor in outputs}
        if "scores" not in expected or foreground(expected, slice(0, 1)) is None:
            return None
        found = run_graph_guarded(runtime, folder, graph, dict.fromkeys(graph["inputs"], image))
        kept = np.flatnonzero(expected["scores"][0].max(-1) >= min_score)
        reference = foreground(expected, kept)
        # Masks of nothing agree with everything.
        is_something = reference.any((1, 2))
        pairs = reference[is_something], foreground(found, kept)[is_something]
        union = (pairs[0] | pairs[1]).sum((1, 2))
        overlaps += ((pairs[0] & pairs[1]).sum((1, 2)) / union).tolist()
    if not overlaps:
        return None
    return {
        "masks": len(overlaps),
        "mean_iou": float(np.mean(overlaps)),
        "share_iou_90": float(np.mean(np.array(overlaps) >= 0.9)),
    }


def _prepare(source: Path, folder: Path) -> Path:
    """The graph with shapes and fused operators, as the quantiser wants it."""
    from onnxruntime.quantization import quant_pre_process

    prepared = folder / f"prepared_{source.name}"
    try:
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
    except Exception as error:
        raise ExportError(f"{source.name} cannot be prepared for int8: {error}") from error
    return prepared


def _quantize(
    prepared: Path, target: Path, images: Sequence[np.ndarray], float_weights: Sequence[str]
) -> str:
    """Write the graph in int8; returns the type of its image."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    model = onnx.load(prepared)
    chosen = integer_nodes(model, float_weights)
    try:
        overrides = centre_pixels(model, chosen)
        quantize_static(
            model,
            target,
            _reader(prepared, images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(INTEGER_OPERATORS),
            nodes_to_exclude=[node.name for node in model.graph.node if node.name not in chosen],
            extra_options={"TensorQuantOverrides": overrides},
        )
        model = onnx.load(target)
        takes_integers = take_integer_pixels(model)
        onnx.save(model, target)
    except Exception as error:
        raise ExportError(f"{target.name} cannot be quantised: {error}") from error
    return "uint8" if takes_integers else "float32"


def _reader(prepared: Path, images: Sequence[np.ndarray]) -> object:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader

    (tensor,) = onnx.load(prepared, load_external_data=False).graph.input
    remaining = iter(images)

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict | None:
            image = next(remaining, None)
            return None if image is None else {tensor.name: image}

    return Reader()


def _outputs(folder: Path, graph: Mapping[str, Any], images: Sequence[np.ndarray]) -> list[dict]:
    runner = OnnxRunner(folder, graph)
    return [runner(image) for image in images]


def _error(found: list[dict], reference: list[dict]) -> float:
    """Root mean square of the difference, relative to the output's; mean over the outputs."""
    errors = []
    for name in reference[0]:
        expected = np.stack([outputs[name] for outputs in reference])
        difference = np.stack([outputs[name] for outputs in found]) - expected
        errors.append(np.linalg.norm(difference) / max(np.linalg.norm(expected), 1e-30))
    return float(np.mean(errors))
