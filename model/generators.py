"""The two generators of StackGAN (Zhang et al. 2017), updated with later findings.

Stage 1 makes a 64x64 sketch from a name's embedding and a latent; stage 2 takes the sketch and the name again, corrects
the sketch and adds detail at 256x256. Differences from the paper:

- conditioning augmentation has no ReLU before the split into mean and log-variance (it forced sigma >= 1);
- name and latent condition every block through an affine after normalization (DF-GAN, Tao et al. 2022), not only the
  first;
- the blocks of stage 1 are given forms to draw with, since convolutions do not know where they are;
- blocks convolve before they upsample, and stage 2 works at 32, 64 and 128 px, so that two CPU cores can train and
  serve them; only its last step, up to 256, is a sub-pixel convolution (Shi et al. 2016), whose output is low-pass
  filtered: a chain of three left a grid over every picture;
- GroupNorm instead of BatchNorm: a picture never depends on what it was batched with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SKETCH_SIZE = 64
PICTURE_SIZE = 256
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
GROUP = 16  # channels that `Affine` normalises together
# What the 1st and the 99th percentile of a sketch's luma are brought to, in [-1, 1], and how far they may be moved, as
# a fraction of what is between them.
DARKEST, BRIGHTEST, STRETCH = -0.9, 0.9, 0.2

ParameterGroup = Literal["adaptor", "forms", "last_blocks"]


class SketchGenerator(nn.Module):
    """The interface of a `Pipeline`'s first stage: embeddings (B, E) and latents (B, latent_dim), standard normal ->
    (B, 3, 64, 64) float32 in [-1, 1]."""

    latent_dim: int


class ConditioningAugmentation(nn.Module):
    """Embedding -> mean and log-variance of the conditioning variable (StackGAN section 3.2).

    Similar names share pictures, because each name becomes a small cloud instead of a point.
    """

    def __init__(self, embedding_dim: int, condition_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(embedding_dim, 2 * condition_dim)
        # Begins with sigma at 0.2. At 1, where PyTorch's own start would put it, the noise drowns the name.
        nn.init.constant_(self.project.bias[condition_dim:], -3.0)

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """(B, E) -> mean and log-variance, each (B, condition_dim); the log-variance lies in [-8, 2]."""
        mean, log_variance = self.project(embedding).float().chunk(2, 1)
        return mean, log_variance.clamp(-8.0, 2.0)


class Affine(nn.Module):
    """GroupNorm, then a scale and a shift for every channel, predicted from the style vector.

    Args:
        inputs: feature maps of equal width that the channels are concatenated from.
    """

    def __init__(self, channels: int, style_dim: int, inputs: int = 1) -> None:
        super().__init__()
        self.inputs = inputs
        self.norm = nn.GroupNorm(max(1, channels // GROUP), channels, affine=False)
        self.style = nn.Linear(style_dim, 2 * channels)

    def axis_parts(self) -> dict[str, tuple[int, int]]:
        """The number of equal parts that the rows and the columns of each parameter consist of; 1 and 1 for parameters
        not listed."""
        rows = 2 * self.inputs  # of the scales, then of the shifts
        return {"style.weight": (rows, 1), "style.bias": (rows, 1)}

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.style(style)[:, :, None, None].to(x.dtype).chunk(2, 1)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class ResidualBlock(nn.Module):
    """Residual block of two styled 3x3 convolutions at one resolution, (B, C, h, w) -> (B, D, h, w).

    Args:
        inputs: feature maps of equal width that the C channels are concatenated from.
    """

    def __init__(self, channels: int, out_channels: int, style_dim: int, inputs: int = 1) -> None:
        super().__init__()
        self.inputs = inputs
        self.affine1 = Affine(channels, style_dim, inputs)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.affine2 = Affine(out_channels, style_dim)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        y = self.conv1(F.leaky_relu(self.affine1(x, style), 0.2))
        y = self.conv2(F.leaky_relu(self.affine2(y, style), 0.2))
        return self.skip(x) + y

    def axis_parts(self) -> dict[str, tuple[int, int]]:
        """See `Affine.axis_parts`."""
        return {"conv1.weight": (1, self.inputs), "skip.weight": (1, self.inputs)}


class SpatialForms(nn.Module):
    """Gives a block maps to draw with: soft ellipses, bands and half-planes that the style places, and noise.

    Convolutions only know where they are from the borders and from the 4x4 start, so that rims of plates wobbled and
    contents were one crumb repeated. A form is the tanh of a quadratic function of the coordinates (which CoordConv,
    Liu et al. 2018, gives as they are), with coefficients predicted from the style vector. Noise maps are fixed, as in
    StyleGAN (Karras et al. 2019), with predicted amplitudes, so that a latent still has one picture. A 1x1 convolution,
    zero at first, turns all of them into something to add to the feature maps.

    Args:
        channels: of the maps that the forms are added to.
        size: their side.
        forms: number of forms.
    """

    terms: Tensor
    noise: Tensor
    NOISE = 8  # maps of it
    TERMS = 6  # 1, x, y, x^2, y^2, xy

    def __init__(self, channels: int, size: int, style_dim: int, forms: int) -> None:
        super().__init__()
        self.forms = forms
        self.place = nn.Linear(style_dim, forms * self.TERMS + self.NOISE)
        self.add = nn.Conv2d(forms + self.NOISE, channels, 1, bias=False)
        side = (torch.arange(size) + 0.5) * 2 / size - 1
        y, x = torch.meshgrid(side, side, indexing="ij")
        self.register_buffer("terms", torch.stack([torch.ones_like(x), x, y, x**2, y**2, x * y]), persistent=False)
        self.register_buffer("noise", torch.randn(self.NOISE, size, size))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Places half of the forms as concentric discs, up to a vessel that touches the frame, and half as half-planes
        at even angles, whatever the style; and adds nothing yet."""
        nn.init.zeros_(self.add.weight)
        nn.init.normal_(self.place.weight, std=0.5 / self.place.in_features**0.5)
        placed, amplitudes = self.place.bias.split([self.forms * self.TERMS, self.NOISE])
        discs, planes = placed.zero_().view(self.forms, self.TERMS).split([self.forms // 2, -(-self.forms // 2)])
        discs[:, 0] = 6 * torch.linspace(0.4, 1.05, len(discs)) ** 2
        discs[:, 3:5] = -6.0
        angle = torch.arange(len(planes)) * torch.pi / len(planes)
        planes[:, 1], planes[:, 2] = 2 * angle.cos(), 2 * angle.sin()
        amplitudes.fill_(1.0)

    def forward(self, style: Tensor) -> Tensor:
        """Style vectors (B, S) -> (B, C, size, size)."""
        placed = self.place(style).float()
        coefficients, amplitudes = placed.split([self.forms * self.TERMS, self.NOISE], 1)
        quadratics = coefficients.unflatten(1, (self.forms, self.TERMS)) @ self.terms.flatten(1)
        forms = quadratics.tanh().unflatten(2, self.terms.shape[1:])
        maps = torch.cat([forms, amplitudes[:, :, None, None] * self.noise], 1)
        added: Tensor = self.add(maps.contiguous(memory_format=torch.channels_last))
        return added


class LatentRefiner(nn.Module):
    """Moves a condition a little, to where pictures look better: (B, L) -> (B, L).

    `model.training.refining` trains it on ratings by eye. Each number moves by `reach` at most and z keeps its length,
    so that neighbours remain neighbours and a latent keeps its dish. At first nothing moves.

    Args:
        latent_dim, z_dim: L, and the length of z at the beginning of it.
        width: of the hidden layer.
    """

    def __init__(self, latent_dim: int, z_dim: int, width: int, reach: float) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.reach = reach
        self.layers = nn.Sequential(nn.Linear(latent_dim, width), nn.LeakyReLU(0.2), nn.Linear(width, latent_dim))
        for parameter in self.layers[2].parameters():
            nn.init.zeros_(parameter)

    def forward(self, condition: Tensor) -> Tensor:
        moved = condition + self.reach * self.layers(condition).float().tanh()
        length, z = condition[:, : self.z_dim].norm(dim=1, keepdim=True), moved[:, : self.z_dim]
        z = z * (length / z.norm(dim=1, keepdim=True).clamp(min=1e-6))
        return torch.cat([z, moved[:, self.z_dim :]], 1)


class _ConditionalGenerator(nn.Module):
    """Base class of both generators: the latent's layout, the style vector, and their part of the config.

    normals: (mirrors, z_dim), orthonormal, see `mirror`.
    """

    normals: Tensor

    def __init__(self, embedding_dim: int, z_dim: int, condition_dim: int, style_dim: int, mirrors: int) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "embedding_dim": embedding_dim,
            "z_dim": z_dim,
            "condition_dim": condition_dim,
            "style_dim": style_dim,
        }
        if mirrors:  # without any, config and weights are those of earlier versions
            self.config["mirrors"] = mirrors
        self.register_buffer("normals", torch.eye(mirrors, z_dim), persistent=mirrors > 0)
        self.z_dim = z_dim
        self.latent_dim = z_dim + condition_dim
        self.augmentation = ConditioningAugmentation(embedding_dim, condition_dim)
        self.style = nn.Sequential(
            nn.Linear(self.latent_dim, style_dim), nn.LeakyReLU(0.2), nn.Linear(style_dim, style_dim), nn.LeakyReLU(0.2)
        )

    def condition(self, embedding: Tensor, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draws the conditioning variable with the latent's own noise.

        Args:
            embedding: (B, E).
            latent: (B, L), standard normal: z, then the noise of the conditioning augmentation.

        Returns:
            The condition (B, L), z concatenated with mean + sigma * noise; and the mean and log-variance for the KL
            term.
        """
        z, noise = latent[:, : self.z_dim], latent[:, self.z_dim :]
        mean, log_variance = self.augmentation(embedding)
        return torch.cat([self.mirror(z), mean + (0.5 * log_variance).exp() * noise], 1), mean, log_variance

    def mirror(self, z: Tensor) -> Tensor:
        """(B, z_dim) -> the same shape, reflecting what lies behind a mirror to its front: z . normal is never
        negative.

        Mirrors are found by `model.training.mirrors`: pictures of latents behind one are worse, whatever the name. The
        distribution is otherwise still standard normal, and neighbours remain neighbours.
        """
        for normal in self.normals:
            z = z - 2 * (z @ normal).clamp(max=0)[:, None] * normal
        return z

    def last_blocks(self) -> list[nn.Module]:
        """The layers at the highest resolutions."""
        raise NotImplementedError

    def parameter_group(self, group: ParameterGroup) -> list[nn.Parameter]:
        """Parameters that fine-tuning may train separately.

        "adaptor": conditioning augmentation, style, and the style layer of every affine; "forms": all `SpatialForms`;
        "last_blocks": see there.
        """
        groups: dict[ParameterGroup, list[nn.Module]] = {
            "adaptor": [self.augmentation, self.style, *(m.style for m in self.modules() if isinstance(m, Affine))],
            "forms": [m for m in self.modules() if isinstance(m, SpatialForms)],
            "last_blocks": self.last_blocks(),
        }
        return [p for module in groups[group] for p in module.parameters()]

    def axis_parts(self) -> dict[str, tuple[int, int]]:
        """`Affine.axis_parts` of all parameters, by their full names. Says where each grows when channels are added."""
        parts: dict[str, tuple[int, int]] = {}
        for name, module in self.named_modules():
            if isinstance(module, Affine | ResidualBlock):
                parts |= {f"{name}.{parameter}": axes for parameter, axes in module.axis_parts().items()}
        return parts


class Stage1Generator(_ConditionalGenerator, SketchGenerator):
    """Name and latent -> a 64x64 sketch.

    Args:
        embedding_dim: E, width of the text encoder's embedding.
        z_dim: width of the free part of the latent.
        condition_dim: width of the conditioning variable, and of its noise in the latent.
        style_dim: width of the vector behind every affine.
        channels: width of the blocks at 4, 8, 16, 32 and 64 px.
        forms: number of `SpatialForms` before every block; 0 for a generator of an earlier version.
        smooth_colour: low-pass the differences of the colours from the luma, which in photographs hardly have the
            highest frequency: without, edges have coloured fringes. False for a generator of an earlier version.
        levels: stretch the contrast of finished sketches, see `_levels`; training sees them as they are. False for a
            generator of an earlier version.
        mirrors: number of halves that z is kept out of, see `mirror`.
        refiner: width of the `LatentRefiner`; 0 for none.
        reach: of the refiner.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 256,
        z_dim: int = 64,
        condition_dim: int = 128,
        style_dim: int = 256,
        channels: Sequence[int] = (256, 256, 128, 64, 32),
        forms: int = 0,
        smooth_colour: bool = False,
        levels: bool = False,
        mirrors: int = 0,
        refiner: int = 0,
        reach: float = 0.0,
    ) -> None:
        if len(channels) != 5:
            raise ValueError(f"channels are five widths, not {len(channels)}: 4, 8, 16, 32 and 64 px")
        super().__init__(embedding_dim, z_dim, condition_dim, style_dim, mirrors)
        self.config |= {"channels": list(channels)}
        self.start = nn.Linear(self.latent_dim, channels[0] * 16)
        widths = [channels[0], *channels]
        self.blocks = nn.ModuleList(
            ResidualBlock(a, b, style_dim) for a, b in zip(widths, channels, strict=False)
        )
        sides = [SKETCH_SIZE // 2**i for i in reversed(range(len(channels)))]
        self.forms = nn.ModuleList(
            SpatialForms(a, side, style_dim, forms) for a, side in zip(widths, sides, strict=False) if forms
        )
        if forms:  # without any, config and weights are those of earlier versions
            self.config["forms"] = forms
        if smooth_colour:
            self.config["smooth_colour"] = True
        self.smooth_colour = smooth_colour
        if levels:
            self.config["levels"] = True
        self.levels = levels
        if refiner:
            self.config |= {"refiner": refiner, "reach": reach}
        self.refiner = LatentRefiner(self.latent_dim, z_dim, refiner, reach) if refiner else None
        self.last = Affine(channels[-1], style_dim)
        self.to_rgb = nn.Conv2d(channels[-1], 3, 3, padding=1)

    def condition(self, embedding: Tensor, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        condition, mean, log_variance = super().condition(embedding, latent)
        return condition if self.refiner is None else self.refiner(condition), mean, log_variance

    def forward(self, embedding: Tensor, latent: Tensor) -> Tensor:
        """(B, E) and (B, L) -> (B, 3, 64, 64) float32 in [-1, 1]."""
        sketch = self.render(self.condition(embedding, latent)[0])
        return _levels(sketch) if self.levels else sketch

    def render(self, condition: Tensor) -> Tensor:
        """Renders a condition (B, L) drawn by `condition`."""
        style = self.style(condition)
        x = self.start(condition).unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        for i, block in enumerate(self.blocks):
            x = F.interpolate(x, scale_factor=2.0) if i else x
            x = block(x + self.forms[i](style) if self.forms else x, style)
        sketch = torch.tanh(self.to_rgb(F.leaky_relu(self.last(x, style), 0.2)).float())
        return _smooth_colour(sketch) if self.smooth_colour else sketch

    def last_blocks(self) -> list[nn.Module]:
        """The blocks at 32 and 64 px, and the layers after them."""
        return [*self.blocks[-2:], self.last, self.to_rgb]


class Stage2Generator(_ConditionalGenerator):
    """Sketch, name and latent -> a 256x256 picture.

    The sketch is encoded down to 32 px, processed there with the name and the latent in every block, and decoded with
    skip connections from the encoder. The output is a correction to the upsampled sketch.

    Args:
        embedding_dim, z_dim, condition_dim, style_dim: as in stage 1; both read the same latent.
        channels: width at 32, 64 and 128 px.
        depth: number of blocks at 32 px.
        mirrors: as in stage 1, and the same.
        crisp: low-pass detail by a filter that keeps more of it, see `_crisp`. False for a generator of an earlier
            version.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 256,
        z_dim: int = 64,
        condition_dim: int = 128,
        style_dim: int = 192,
        channels: Sequence[int] = (128, 64, 32),
        depth: int = 3,
        mirrors: int = 0,
        crisp: bool = False,
    ) -> None:
        if len(channels) != 3:
            raise ValueError(f"channels are three widths, not {len(channels)}: 32, 64 and 128 px")
        super().__init__(embedding_dim, z_dim, condition_dim, style_dim, mirrors)
        self.config |= {"channels": list(channels), "depth": depth}
        if crisp:  # without it, config and weights are those of earlier versions
            self.config["crisp"] = True
        self.crisp = crisp
        wide, middle, narrow = channels
        self.read64 = nn.Conv2d(3, middle, 3, padding=1)
        self.read32 = nn.Conv2d(middle, wide, 4, stride=2, padding=1)
        self.think = nn.ModuleList(ResidualBlock(wide, wide, style_dim) for _ in range(depth))
        self.up64 = nn.Conv2d(wide, middle, 1)
        self.block64 = ResidualBlock(2 * middle, middle, style_dim, inputs=2)
        self.up128 = nn.Conv2d(middle, narrow, 1)
        self.block128 = ResidualBlock(narrow, narrow, style_dim)
        self.last = Affine(narrow, style_dim)
        self.to_rgb = nn.Conv2d(narrow, 12, 3, padding=1)
        nn.init.normal_(self.to_rgb.weight, std=1e-3)  # begins as the upsampled sketch

    def forward(self, sketch: Tensor, embedding: Tensor, latent: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [-1, 1], (B, E) and (B, L) -> (B, 3, 256, 256) float32 in [-1, 1]."""
        return self.render(sketch, self.condition(embedding, latent)[0])

    def render(self, sketch: Tensor, condition: Tensor) -> Tensor:
        """Renders a sketch under a condition (B, L) drawn by `condition`."""
        style = self.style(condition)
        read = F.leaky_relu(self.read64(sketch.contiguous(memory_format=torch.channels_last)), 0.2)
        x = self.read32(read)
        for block in self.think:
            x = block(x, style)
        x = self.block64(torch.cat([_double(self.up64(x)), read], 1), style)
        x = self.block128(_double(self.up128(x)), style)
        x = self.to_rgb(F.leaky_relu(self.last(x, style), 0.2))
        lowpass = _crisp if self.crisp else _smooth
        detail = lowpass(F.pixel_shuffle(x.contiguous(), 2).float())
        return (upsample(sketch) + detail).clamp(-1.0, 1.0)

    def last_blocks(self) -> list[nn.Module]:
        """The block at 128 px, and the layers before and after it."""
        return [self.up128, self.block128, self.last, self.to_rgb]


def _double(x: Tensor) -> Tensor:
    """Bilinear upsampling, (B, C, h, w) -> (B, C, 2h, 2w), which unlike sub-pixel convolution leaves no grid (Odena et
    al. 2016)."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear")


def _smooth(x: Tensor) -> Tensor:
    """Convolves with [1 2 1] / 4 in both directions, repeating edges. This removes the highest frequency, at which the
    four outputs of a sub-pixel convolution differ, and leaves the mean as it is."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    x = x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]
    return (x[:, :, :, :-2] + 2 * x[:, :, :, 1:-1] + x[:, :, :, 2:]) / 16


def _crisp(x: Tensor) -> Tensor:
    """Like `_smooth` with [-1 4 10 4 -1] / 16, which removes the highest frequency as well, but keeps three quarters of
    the amplitude at half of it, where `_smooth` keeps half: photographs have that much more."""
    x = F.pad(x, (2, 2, 2, 2), mode="replicate")
    x = 10 * x[:, :, 2:-2] + 4 * (x[:, :, 1:-3] + x[:, :, 3:-1]) - (x[:, :, :-4] + x[:, :, 4:])
    x = 10 * x[:, :, :, 2:-2] + 4 * (x[:, :, :, 1:-3] + x[:, :, :, 3:-1]) - (x[:, :, :, :-4] + x[:, :, :, 4:])
    return x / 256


def _smooth_colour(x: Tensor) -> Tensor:
    """`_smooth` of (B, 3, h, w) without the luma, which stays as it is; within [-1, 1]."""
    brightness = luma(x)[:, None]
    return (brightness + _smooth(x - brightness)).clamp(-1.0, 1.0)


def _levels(x: Tensor) -> Tensor:
    """Stretches the contrast of (B, 3, h, w) that have neither black nor white, like a camera's automatic levels."""
    brightness = luma(x).flatten(1).sort(1).values
    skipped = brightness.shape[1] // 100
    low, high = (brightness[:, i].view(-1, 1, 1, 1) for i in (skipped, -1 - skipped))
    reach = STRETCH * (high - low)
    darkest = torch.maximum(low.clamp(max=DARKEST), low - reach)
    brightest = torch.minimum(high.clamp(min=BRIGHTEST), high + reach)
    gain = (brightest - darkest) / (high - low).clamp(min=1e-6)
    return (darkest + (x - low) * gain).clamp(-1.0, 1.0)


def luma(images: Tensor) -> Tensor:
    """(B, 3, h, w) -> (B, h, w). Without a constant tensor, which no CUDA graph could copy to the device."""
    red, green, blue = images.unbind(1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def upsample(sketch: Tensor) -> Tensor:
    """Bicubic 64 -> 256 px, (B, 3, 64, 64) -> (B, 3, 256, 256): the starting point of stage 2, and its baseline."""
    return F.interpolate(sketch.float(), scale_factor=PICTURE_SIZE / SKETCH_SIZE, mode="bicubic").clamp(-1.0, 1.0)
