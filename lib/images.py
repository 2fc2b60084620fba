"""Images with labels: scikit-learn's digits, generated shapes, real sets.

`load` has them all by name, as tensors in memory. `shapes` draws the
generated ones, with boxes, masks and a knob for their difficulty.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from lib import download

_CLOTHES = "T-shirt trouser pullover dress coat sandal shirt sneaker bag boot"
_DIGITS = tuple("0123456789")


class Images(NamedTuple):
    """A labeled set: images (N, C, H, W) in 0 to 1, labels (N,), names."""

    images: torch.Tensor
    labels: torch.Tensor
    names: tuple[str, ...]


class Shapes(NamedTuple):
    """What `shapes` drew."""

    images: torch.Tensor
    labels: torch.Tensor
    boxes: torch.Tensor
    masks: torch.Tensor


def load(name: str, split: str) -> Images:
    """A set of labeled images, held in memory once, on the CPU.

    Args:
        name: embedded: "digits" (scikit-learn's 1,797 scanned digits, 8x8,
            shuffled once and for all: 1,437 and 360) or "shapes" (generated,
            28x28: 10,000 and 2,000, see `shapes`); fetched by
            `lib.download` at the first call: "mnist" (12 MB) or
            "fashion-mnist" (31 MB), 28x28: 60,000 and 10,000.
        split: "train" or "test".

    Returns:
        images (N, 1, H, W), float32 from 0 to 1; labels (N,), int64; and a
        name for each label.

    Source: Alpaydin and Kaynak (1998), digits; LeCun et al. (1998), MNIST;
    Xiao et al. (2017), Fashion-MNIST.

    Raises:
        ValueError: no such set or split.
        DownloadError: see `lib.download.fetch`.
    """
    names = {
        "digits": _DIGITS,
        "shapes": tuple(_OUTLINES),
        "mnist": _DIGITS,
        "fashion-mnist": tuple(_CLOTHES.split()),
    }
    if name not in names:
        raise ValueError(download.unknown_name("image set", name, names))
    _check_split(split)
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.target))
        chosen = order[:360] if split == "test" else order[360:]
        pixels = torch.from_numpy(digits.images[chosen] / 16).float()
        labels = torch.from_numpy(digits.target[chosen]).long()
    elif name == "shapes":
        drawn = shapes(10_000 if split == "train" else 2_000, split=split)
        pixels, labels = drawn.images[:, 0] / 255, drawn.labels
    else:
        from torchvision import datasets

        kind = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[name]
        root = download.fetch(name)
        raw = getattr(datasets, kind)(root, train=split == "train")
        pixels, labels = raw.data / 255, raw.targets
    return Images(pixels.unsqueeze(1), labels, names[name])


def shapes(
    examples: int,
    *,
    split: str = "train",
    color: bool = False,
    difficulty: float = 0.5,
    seed: int = 0,
) -> Shapes:
    """Generated: one of ten shapes on each image, never two images alike.

    The shape's place, size, angle, brightness and stripes vary, as do the
    background's brightness and stripes; strokes lie behind it, and noise
    over it. `difficulty` scales all of these: at 0 only the brightness
    varies; at 1 the shape is as often darker as brighter than what is behind
    it, in any place and at any angle, and people err too.

    Args:
        examples: how many, N. The first of them are the same for any N.
        split: "train" or "test": images that share no random number.
        color: (3, 32, 32) images in place of (1, 28, 28).
        difficulty: from 0 to 1.
        seed: of a generator of its own.

    Returns:
        images (N, C, H, W), uint8; labels (N,), int64, in the order of the
        names that `load("shapes", ...)` gives; boxes (N, 4), float32: left,
        top, right and bottom edge of the shape in pixels; masks (N, H, W),
        bool: the pixels whose center the shape covers.

    Raises:
        ValueError: an argument is none of the above.
    """
    _check_split(split)
    if examples < 1 or not 0 <= difficulty <= 1:
        raise ValueError(
            f"examples {examples} and difficulty {difficulty}: there must be "
            f"1 or more, and it must be from 0 to 1"
        )
    size, channels = (32, 3) if color else (28, 1)
    sequence = np.random.SeedSequence([seed, split == "test", channels])
    choices, grain = map(np.random.default_rng, sequence.spawn(2))
    images = torch.empty(examples, channels, size, size, dtype=torch.uint8)
    masks = torch.empty(examples, size, size, dtype=torch.bool)
    labels = torch.empty(examples, dtype=torch.int64)
    for start in range(0, examples, 500):  # few enough to fit in the cache
        rows = slice(start, min(start + 500, examples))
        chosen = choices.random((rows.stop - start, _CHOICES), np.float32)
        noise = grain.standard_normal(images[rows].shape, np.float32)
        kinds = (chosen[:, 0] * len(_OUTLINES)).astype(np.int64)
        pixels, covered = _draw(kinds, chosen, noise, difficulty)
        labels[rows] = torch.from_numpy(kinds)
        images[rows] = torch.from_numpy(pixels)
        masks[rows] = torch.from_numpy(covered)
    return Shapes(images, labels, _boxes(masks), masks)


def _check_split(split: str) -> None:
    if split not in ("train", "test"):
        raise ValueError(f"split is {split!r}; it must be train or test")


# Each outline is negative inside, and near its edge about the distance from
# it, in units of the shape's radius.
def _box(x, y, left, right, top, bottom):
    across = np.maximum(left - x, x - right)
    return np.maximum(across, np.maximum(top - y, y - bottom))


def _polygon(x, y, corners, inner):
    """A regular polygon, or with a small inner radius, a star."""
    sector = np.pi / corners
    angle = np.abs((np.arctan2(x, -y) + sector) % (2 * sector) - sector)
    radius = np.hypot(x, y)
    across, along = radius * np.sin(angle), radius * np.cos(angle)
    # From a tip at (0, 1) to the corner between it and the next.
    step = inner * np.sin(sector), inner * np.cos(sector) - 1
    return (across * -step[1] + (along - 1) * step[0]) / np.hypot(*step)


_OUTLINES: dict[str, Callable] = {
    "disk": lambda x, y: np.hypot(x, y) - 0.8,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.65) - 0.2,
    "half disk": lambda x, y: np.maximum(np.hypot(x, y + 0.4) - 1, -0.4 - y),
    "crescent": lambda x, y: np.maximum(
        np.hypot(x, y) - 0.9, 0.7 - np.hypot(x - 0.45, y)
    ),
    "triangle": lambda x, y: _polygon(x, y, 3, 0.5),
    "square": lambda x, y: _box(x, y, -0.7, 0.7, -0.7, 0.7),
    "bar": lambda x, y: _box(x, y, -0.95, 0.95, -0.3, 0.3),
    "cross": lambda x, y: np.minimum(
        _box(x, y, -0.9, 0.9, -0.3, 0.3), _box(x, y, -0.3, 0.3, -0.9, 0.9)
    ),
    "star": lambda x, y: _polygon(x, y, 5, 0.42),
    "corner": lambda x, y: np.minimum(
        _box(x, y, -0.65, -0.1, -0.7, 0.7), _box(x, y, -0.65, 0.7, 0.15, 0.7)
    ),
}
_STROKES = 3
_CHOICES = 22 + 5 * _STROKES  # random numbers that decide on one image


def _draw(kinds, chosen, noise, difficulty):
    """Pixels (N, C, H, W) as uint8 and masks (N, H, W) of some images."""
    N, C, size, _ = noise.shape
    u = chosen.T[:, :, None, None]  # (_CHOICES, N, 1, 1)
    y, x = np.mgrid[:size, :size].astype(np.float32) + 0.5  # (H, W) each

    # Where the shape is; it never leaves the image.
    radius = size * (0.3 + difficulty * (0.2 * u[1] - 0.12))
    free = 2 * difficulty * (size / 2 - radius)
    x0, y0 = (size / 2 + free * (u[i] - 0.5) for i in (2, 3))
    angle = 2 * np.pi * min(1, 2 * difficulty) * (u[4] - 0.5)
    across, along = _turned(x - x0, y - y0, angle)  # (N, H, W) each
    distance = np.empty_like(across)
    for k, outline in enumerate(_OUTLINES.values()):
        mine = kinds == k
        scale = radius[mine]
        distance[mine] = scale * outline(
            across[mine] / scale, along[mine] / scale
        )
    cover = np.clip(0.5 - distance, 0, 1)[:, None]  # (N, 1, H, W)

    # How bright: the shape and what is behind it differ, and have stripes.
    contrast = 0.75 - difficulty * (0.2 + 0.35 * u[5])
    behind = 0.05 + (0.9 - contrast) * u[6]
    front = behind + contrast
    swap = u[7] < difficulty / 2
    behind, front = (
        np.where(swap, front, behind),
        np.where(swap, behind, front),
    )
    picture, front = (
        _striped(level, x, y, u[i : i + 7], C, difficulty)
        for level, i in ((behind, 8), (front, 15))
    )
    for i in range(22, _CHOICES, 5):
        across, along = _turned(
            x - size * u[i], y - size * u[i + 1], np.pi * u[i + 2]
        )
        length = size * (0.05 + 0.15 * u[i + 3])
        away = np.maximum(np.abs(across) - length, np.abs(along) - 0.7)
        ink = difficulty * np.clip(0.5 - away, 0, 1)[:, None]
        picture += ink * (u[i + 4][:, None] - picture)
    picture += cover * (front - picture)
    picture += 0.2 * difficulty * noise
    pixels = (255 * np.clip(picture, 0, 1)).astype(np.uint8)
    return pixels, cover[:, 0] > 0.5


def _turned(x, y, angle):
    """Coordinates along axes that are turned by an angle."""
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def _striped(level, x, y, u, channels, difficulty):
    """A surface (N, C, H, W) of one brightness (N, 1, 1), with stripes."""
    along = _turned(x, y, np.pi * u[0])[0]
    wave = np.sin((0.3 + 1.5 * u[1]) * along + 2 * np.pi * u[2])
    surface = (level + 0.3 * difficulty * u[3] * wave)[:, None]
    if channels == 1:
        return surface
    return surface + 0.4 * (np.stack(list(u[4:]), 1) - 0.5)  # (N, 3, 1, 1)


def _boxes(masks: torch.Tensor) -> torch.Tensor:
    """(N, 4) left, top, right, bottom edges of masks (N, H, W)."""
    edges = []
    for side in (masks.any(1), masks.any(2)):  # (N, W) columns, (N, H) rows
        first = side.byte().argmax(1)
        last = side.shape[1] - side.flip(1).byte().argmax(1)
        edges.append((first, last))
    (left, right), (top, bottom) = edges
    return torch.stack([left, top, right, bottom], 1).float()
