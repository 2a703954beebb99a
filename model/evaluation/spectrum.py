"""Measures spectral peaks: how visible the grid is that a generator's upsampling leaves.

Sub-pixel and transposed convolutions leave a pattern that repeats every two, four or eight pixels (Odena et al. 2016,
"Deconvolution and Checkerboard Artifacts"), and so power at multiples of 1/8 of the sampling rate (Zhang et al. 2019,
"Detecting and Simulating Artifacts in GAN Fake Images"). Photographs have about as much power there as at neighbouring
frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.generators import LUMA

PERIOD = 8  # pixels; the longest pattern that three enlargements by two leave
CELL = 3
NEIGHBOURHOOD = 19
SMALLEST = PERIOD * (NEIGHBOURHOOD // 2 + CELL // 2 + 1)  # pixels: here no neighbourhood reaches the next cell
FAINT = 1e-3  # grey levels squared: nothing beside what rounding to whole ones leaves, and yet no logarithm of zero
BATCH = 32


@dataclass(frozen=True)
class Peaks:
    """Power at multiples of 1/8 of the sampling rate, relative to its surroundings."""

    ratios: NDArray[np.float64]
    """(8, 8): at row i and column j that of i/8 cycles a pixel downwards and j/8 to the right. Both are periodic:
    7/8 is -1/8. The picture's mean brightness, [0, 0], is NaN."""

    @property
    def highest(self) -> float:
        """About 1 in photographs, whose power changes slowly with frequency."""
        return float(np.nanmax(self.ratios))

    @property
    def where(self) -> tuple[int, int]:
        """Row and column of the highest peak."""
        row, column = np.unravel_index(np.nanargmax(self.ratios), self.ratios.shape)
        return int(row), int(column)


def spectral_peaks(pictures: NDArray[np.uint8]) -> Peaks:
    """Finds the peaks in the mean power spectrum of N pictures' luma, under a Hann window.

    A ratio is the mean of 3 × 3 frequencies divided by the median of the surrounding 19 × 19. For 400 photographs at
    256 px it is 0.85 to 1.12.

    The mean over pictures is taken in decibels, so it is geometric. The artifacts of a network's upsampling are in all
    of its pictures, but the bars of a grill or a chequered cloth only in one. With an arithmetic mean, a single such
    photograph among 400 made a peak of 1.5.

    Args:
        pictures: (N, S, S, 3) uint8 RGB, S a multiple of 8 and at least 88. Flat pictures have ratios of 1.

    Raises:
        ValueError: for no pictures, or another size.
    """
    count, height, width, _ = pictures.shape
    if not count:
        raise ValueError("a spectrum needs at least one picture")
    if height != width or height % PERIOD or height < SMALLEST:
        raise ValueError(
            f"pictures of {height} × {width} px: they have to be square, with a side that is a multiple of {PERIOD} "
            f"and at least {SMALLEST}"
        )
    side = height
    # Hann's periodic form: it spreads a pattern's power over the three nearest frequencies and no farther.
    window = np.hanning(side + 1)[:side]
    window = np.outer(window, window)
    logarithms = np.zeros((side, side))
    for start in range(0, count, BATCH):
        luma = pictures[start : start + BATCH] @ np.array(LUMA)
        luma -= luma.mean((1, 2), keepdims=True)
        logarithms += np.log(np.square(np.abs(np.fft.fft2(luma * window))) + FAINT).sum(0)
    power = np.exp(logarithms / count)
    ratios = np.full((PERIOD, PERIOD), np.nan)
    for row in range(PERIOD):
        for column in range(PERIOD):
            if row or column:
                centre = row * side // PERIOD, column * side // PERIOD
                around = np.median(_square(power, centre, NEIGHBOURHOOD))
                ratios[row, column] = _square(power, centre, CELL).mean() / around
    return Peaks(ratios)


def _square(power: NDArray[np.float64], centre: tuple[int, int], size: int) -> NDArray[np.float64]:
    """`size` × `size` frequencies around `centre`, wrapping around at the sampling rate."""
    offsets = np.arange(size) - size // 2
    rows, columns = ((at + offsets) % len(power) for at in centre)
    return power[np.ix_(rows, columns)]
