"""lib.images: what is drawn, and how hard it is to tell apart."""

import time
from itertools import pairwise, product

import pytest
import torch
from scipy import ndimage
from torch import nn

from benchmarks import networks
from lib import images, training
from lib.batches import Batches

NAMES = images.load("shapes", "test").names


@pytest.mark.parametrize(
    ("color", "shape"), [(False, (1, 28, 28)), (True, (3, 32, 32))]
)
def test_shapes_have_the_sizes_and_types_that_are_promised(color, shape):
    drawn = images.shapes(7, color=color)
    assert drawn.images.shape == (7, *shape)
    assert drawn.images.dtype == torch.uint8
    assert drawn.labels.shape == (7,) and drawn.labels.dtype == torch.int64
    assert drawn.boxes.shape == (7, 4) and drawn.boxes.dtype == torch.float32
    assert drawn.masks.shape == (7, *shape[1:])
    assert drawn.masks.dtype == torch.bool


def test_the_same_seed_draws_the_same_and_another_draws_others():
    one = images.shapes(700, seed=3)
    again = images.shapes(1200, seed=3)
    for a, b in zip(one, again, strict=True):
        assert torch.equal(a, b[:700])  # the first are the same for any N
    for changes in ({"seed": 4}, {"seed": 3, "split": "test"}):
        other = images.shapes(700, **changes)
        same = (one.images == other.images).flatten(1).all(1)
        assert not same.any(), changes


def test_no_two_images_are_alike_within_and_between_the_splits():
    train = images.load("shapes", "train").images.flatten(1)
    test = images.load("shapes", "test").images.flatten(1)
    both = torch.cat([train, test])
    assert len(torch.unique(both, dim=0)) == len(both) == 12_000


def test_there_are_ten_classes_about_equally_often():
    counts = torch.bincount(images.load("shapes", "train").labels)
    assert len(counts) == len(NAMES) == 10
    # A count of 10,000 draws of one in ten has the spread 30.
    assert (counts - 1000).abs().max() < 5 * 30


@pytest.mark.parametrize("color", [False, True])
def test_boxes_are_the_tight_bounds_of_the_masks(color):
    drawn = images.shapes(300, color=color, difficulty=1)
    for box, mask in zip(drawn.boxes, drawn.masks, strict=True):
        (rows, columns) = ndimage.find_objects(mask.numpy().astype(int))[0]
        assert box.tolist() == [
            columns.start, rows.start, columns.stop, rows.stop
        ]  # fmt: skip


def test_masks_are_where_the_shapes_are_bright():
    """Without stripes, strokes and noise the mask is the brighter part."""
    drawn = images.shapes(300, difficulty=0)
    pictures = drawn.images[:, 0].float()
    for picture, mask in zip(pictures, drawn.masks, strict=True):
        # Pixels on the edge are mixed; those around them are not.
        inside = ndimage.binary_erosion(mask, torch.ones(3, 3))
        outside = ~ndimage.binary_dilation(mask, torch.ones(3, 3))
        assert picture[inside].min() > picture[outside].max() + 100


def test_shapes_have_their_holes_and_their_areas():
    drawn = images.shapes(4000, difficulty=0.4)
    sizes = drawn.masks.sum((1, 2)).float()
    mean = {
        name: sizes[drawn.labels == k].mean().item()
        for k, name in enumerate(NAMES)
    }
    for name, area in {
        "ring": torch.pi * (0.85**2 - 0.45**2),
        "square": 1.4**2,
        "bar": 1.9 * 0.6,
        "cross": 2 * 1.8 * 0.6 - 0.6**2,
        "triangle": 3 * 3**0.5 / 4,
    }.items():
        expected = area / (torch.pi * 0.8**2)
        assert abs(mean[name] / mean["disk"] / expected - 1) < 0.05, name
    for k, name in enumerate(NAMES):
        masks = drawn.masks[drawn.labels == k]
        holes = [ndimage.label(~mask.numpy())[1] - 1 for mask in masks]
        assert set(holes) == {int(name == "ring")}, name


def test_difficulty_is_a_knob():
    """Nearest neighbors of the same class become rare as it is turned up."""
    right = []
    for difficulty in (0, 0.25, 0.5, 1):
        drawn = images.shapes(2000, difficulty=difficulty)
        x = drawn.images.flatten(1).float()
        nearest = torch.cdist(x[:500], x[500:]).argmin(1)
        same = drawn.labels[500:][nearest] == drawn.labels[:500]
        right.append(same.float().mean().item())
    assert right[0] > 0.95
    assert all(a > b + 0.05 for a, b in zip(right, right[1:], strict=False))


def test_ten_thousand_images_are_drawn_in_two_seconds():
    for color in (False, True):
        start = time.process_time()  # busy seconds: other work is not ours
        images.shapes(10_000, color=color)
        assert time.process_time() - start < 2, f"color={color}"


@pytest.mark.parametrize(
    "arguments",
    [
        {"examples": 0},
        {"examples": 5, "difficulty": -0.1},
        {"examples": 5, "difficulty": 1.1},
        {"examples": 5, "difficulty": float("nan")},
        {"examples": 5, "split": "validation"},
    ],
)
def test_bad_arguments_are_named(arguments):
    with pytest.raises(ValueError, match="must be"):
        images.shapes(**arguments)


def test_digits_are_split_without_a_shared_image():
    train, test = (images.load("digits", s) for s in ("train", "test"))
    assert train.images.shape == (1437, 1, 8, 8)
    assert test.images.shape == (360, 1, 8, 8)
    for part in (train, test):
        assert part.images.dtype == torch.float32
        assert part.images.min() == 0 and part.images.max() == 1
        share = torch.bincount(part.labels) / len(part.labels)
        assert share.min() > 0.06 and share.max() < 0.14
    both = torch.cat([train.images, test.images]).flatten(1)
    assert len(torch.unique(both, dim=0)) == 1797


def test_load_names_the_near_ones():
    with pytest.raises(ValueError, match="did you mean 'fashion-mnist'"):
        images.load("fashion_mnist", "train")
    for name, split in product(("digits", "shapes"), ("dev", "")):
        with pytest.raises(ValueError, match="train or test"):
            images.load(name, split)


# What builds it, epochs, and the accuracies between which it must end.
MODELS = {
    "linear": (networks.linear, 8, 0.15, 0.30),
    "MLP": (networks.mlp, 8, 0.60, 0.80),
    "LeNet": (networks.lenet, 8, 0.86, 0.945),
    "small ResNet": (networks.small_resnet, 6, 0.965, 1.00),
}


def accuracy(name, seed):
    make, epochs, *_ = MODELS[name]
    torch.manual_seed(seed)
    model = make()
    parts = {s: images.load("shapes", s) for s in ("train", "test")}
    batches = {
        s: Batches((x - 0.3, y), 128, seed=seed, shuffle=s == "train")
        for s, (x, y, _) in parts.items()
    }
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 4e-3, total_steps=epochs * len(batches["train"])
    )
    training.fit(
        model,
        batches["train"],
        nn.CrossEntropyLoss(),
        optimizer,
        epochs,
        schedule=schedule,
        quiet=True,
    )
    right = {"right": lambda output, y: output.argmax(1) == y}
    return training.evaluate(model, batches["test"], right)["right"]


@pytest.mark.parametrize("name", MODELS)
def test_shapes_rank_models(name):
    """A linear model is lost, and each better idea leaves a gap behind it.

    Five seeds gave 0.704 to 0.757, 0.900 to 0.929 and 0.975 to 0.984 (and
    linear models 0.205 to 0.214); the bounds leave a margin on both sides.
    """
    *_, low, high = MODELS[name]
    assert low <= accuracy(name, seed=0) <= high


def test_the_ranks_leave_gaps():
    bounds = [(low, high) for *_, low, high in MODELS.values()]
    gaps = [b[0] - a[1] for a, b in pairwise(bounds)]
    assert gaps == pytest.approx([0.30, 0.06, 0.02])


def test_the_benchmarks_networks_are_as_large_as_they_say():
    for make in (
        networks.linear,
        networks.mlp,
        networks.lenet,
        networks.small_resnet,
    ):
        model = make()
        assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
        count = sum(p.numel() for p in model.parameters())
        assert f"{count:,} parameters" in make.__doc__
