"""Spectral peaks: what a woven grid leaves in a spectrum, and what photographs do not."""

import numpy as np
import pytest

from model.evaluation.spectrum import SMALLEST, spectral_peaks


def noise(count: int = 60, side: int = 88) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (128 + 20 * rng.standard_normal((count, side, side, 3))).clip(0, 255).round().astype(np.uint8)


def add(pictures: np.ndarray, pattern: np.ndarray, height: float = 4.0) -> np.ndarray:
    """A pattern (S, S, 1) or (S, S, 3) on every picture, faint beside its noise."""
    return (pictures + height * pattern).clip(0, 255).round().astype(np.uint8)


def repeated(side: int, tile: list[list[float]]) -> np.ndarray:
    period = np.array(tile)
    return np.tile(period, (side // period.shape[0] + 1, side // period.shape[1] + 1))[:side, :side, None]


def test_noise_has_no_peaks() -> None:
    peaks = spectral_peaks(noise())
    assert np.isnan(peaks.ratios[0, 0])
    rest = peaks.ratios[~np.isnan(peaks.ratios)]
    assert rest.shape == (63,)
    assert rest.min() > 0.8 and rest.max() < 1.25 and peaks.highest == rest.max()


def test_power_that_falls_with_frequency_as_in_photographs_makes_no_peaks() -> None:
    side, rng = 128, np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    spectra = np.fft.fft2(rng.standard_normal((60, side, side))) / np.maximum(frequency, 1 / side)
    grey = np.fft.ifft2(spectra).real
    pictures = (128 + 40 * grey / grey.std((1, 2), keepdims=True)).clip(0, 255).round().astype(np.uint8)
    assert 0.9 < spectral_peaks(np.repeat(pictures[..., None], 3, -1)).highest < 1.3


@pytest.mark.parametrize(
    ("tile", "where"),
    [
        ([[1, -1], [-1, 1]], (4, 4)),  # a chequerboard
        ([[1, 1, -1, -1]], (0, 2)),  # upright stripes, four pixels each
        ([[1], [-1]], (4, 0)),
    ],
)
def test_a_grid_makes_a_peak_where_its_period_is(tile: list[list[float]], where: tuple[int, int]) -> None:
    side = 88
    peaks = spectral_peaks(add(noise(side=side), repeated(side, tile)))
    assert peaks.highest > 50
    row, column = peaks.where
    assert (row, column) in (where, tuple((8 - k) % 8 for k in where))
    assert peaks.ratios[row, column] == peaks.highest


def test_a_faint_grid_shows_in_many_pictures_and_one_chequered_cloth_does_not() -> None:
    pictures, board = noise(), repeated(88, [[1, -1], [-1, 1]])
    assert spectral_peaks(add(pictures, board, 1.0)).highest > 2
    pictures[0] = add(pictures[:1], board, 100.0)[0]
    assert spectral_peaks(pictures).highest < 1.35


def test_a_grid_of_one_colour_counts_by_its_luma() -> None:
    board = repeated(88, [[1, -1], [-1, 1]])
    green, blue = (add(noise(), board * np.eye(3)[channel]) for channel in (1, 2))
    assert spectral_peaks(green).highest > 2 * spectral_peaks(blue).highest


def test_pictures_without_detail_have_none() -> None:
    assert spectral_peaks(np.full((3, 128, 128, 3), 77, np.uint8)).highest == pytest.approx(1)


def test_how_often_the_pictures_come_is_of_no_account() -> None:
    pictures = add(noise(10), repeated(88, [[1, -1], [-1, 1]]))
    once = spectral_peaks(pictures).ratios
    twice = spectral_peaks(np.concatenate([pictures, pictures])).ratios
    assert np.allclose(once, twice, equal_nan=True)


@pytest.mark.parametrize("shape", [(0, 128, 128, 3), (1, 128, 120, 3), (1, 100, 100, 3), (1, 64, 64, 3)])
def test_other_sizes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="picture"):
        spectral_peaks(np.zeros(shape, np.uint8))


def test_the_smallest_side_is_accepted() -> None:
    assert spectral_peaks(noise(20, SMALLEST)).highest < 1.6
