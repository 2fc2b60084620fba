"""Every data set of the book by one call.

Each chapter adds what its pages need: embedded, generated, or at full scale.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lib import download

_DATA = Path(__file__).resolve().parent.parent / "data"
_PHOTOS = ("china", "flower")
# Of each column: lowest, highest and usual value, and cups sold a unit.
_CAFE = {
    "temperature": (10.0, 30.0, 20.0, 3.0),
    "passers": (2.0, 8.0, 5.0, 8.0),
    "weekend": (0.0, 1.0, 0.0, 15.0),
}


def file(name: str) -> Path:
    """The path of a file embedded in the book's `data` folder.

    The file is the book's own: read it, never write to it.

    Raises:
        FileNotFoundError: no such file; the message lists those there are.
    """
    names = sorted(p.name for p in _DATA.iterdir() if p.suffix == ".csv")
    if name not in names:
        message = download.unknown_name("embedded file", name, names)
        raise FileNotFoundError(message)
    return _DATA / name


def photo(name: str) -> torch.Tensor:
    """One of scikit-learn's two photos, `china` or `flower`.

    Returns:
        (H, W, C) = (427, 640, 3) tensor of dtype uint8: red, green and blue,
        0 to 255. It is a fresh copy that may be changed.

    Source: scikit-learn, `sklearn.datasets.load_sample_image`. CC BY 2.0;
    china by danielbuechele, flower by vultilion (both on Flickr).

    Raises:
        ValueError: no such photo.
    """
    from sklearn.datasets import load_sample_image

    if name not in _PHOTOS:
        raise ValueError(download.unknown_name("photo", name, _PHOTOS))
    return torch.tensor(load_sample_image(f"{name}.jpg"))


class CafeDays(NamedTuple):
    """Days at the café, and the process that made them; see `cafe_days`."""

    inputs: torch.Tensor
    cups: torch.Tensor
    weights: torch.Tensor
    bias: float
    noise: float


def cafe_days(
    days: int,
    columns: Sequence[str] = tuple(_CAFE),
    *,
    noise: float = 6.0,
    seed: int = 0,
) -> CafeDays:
    """Generated: cups of iced tea sold on each of many summer days.

    cups = inputs @ weights + bias + noise * (standard normal number). The
    columns are `temperature` (uniform from 10 to 30 °C, 3 cups a degree),
    `passers` (uniform from 2 to 8 hundred people, 8 cups a hundred) and
    `weekend` (1 on two days in seven, at random, else 0; 15 cups). A column
    that is left out stays at 20 °C, 5 hundred people, no weekend.

    Args:
        days: how many, N.
        columns: which of the columns vary, in this order.
        noise: standard deviation of the noise, in cups.
        seed: of a generator of its own; the same days come on any machine.

    Returns:
        inputs (N, D), cups (N,), weights (D,), all float32 on the CPU; bias
        and noise. No model can expect a smaller mean squared error on days
        it has not seen than noise**2 (the noise floor), and the one that
        knows weights and bias reaches it.

    Raises:
        ValueError: no such column, none at all or one twice; days or noise
            too small.
    """
    for column in columns:
        if column not in _CAFE:
            raise ValueError(download.unknown_name("column", column, _CAFE))
    twice = len(set(columns)) < len(columns)
    if not columns or twice or not days >= 1 or not noise >= 0:
        raise ValueError(
            f"columns {columns!r}, days {days}, noise {noise}: there must be "
            f"a column, none twice, 1 day or more, and no negative noise"
        )
    generator = np.random.default_rng(seed)
    uniform = generator.random((days, len(_CAFE)))
    normal = generator.standard_normal(days)
    bias, drawn = -20.0, {}
    for j, (name, (low, high, usual, weight)) in enumerate(_CAFE.items()):
        drawn[name] = low + (high - low) * uniform[:, j]
        bias += 0 if name in columns else weight * usual
    drawn["weekend"] = (uniform[:, 2] < 2 / 7).astype(float)
    inputs = np.stack([drawn[name] for name in columns], axis=1)
    weights = np.array([_CAFE[name][-1] for name in columns])
    cups = inputs @ weights + bias + noise * normal
    tensors = (torch.tensor(x).float() for x in (inputs, cups, weights))
    return CafeDays(*tensors, bias, noise)


def california_housing() -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """California housing, full scale: 20,640 block groups of the 1990 census.

    Fetched once by `lib.download` (0.4 MB). The values are those of
    `sklearn.datasets.fetch_california_housing`, rounded to float32.

    Returns:
        Inputs (20640, 8): median income (10,000 dollars), median house age
        (years), rooms and bedrooms per household, people in the group,
        people per household, latitude and longitude (degrees); targets
        (20640,): median house value (100,000 dollars), cut off at 5.00001;
        and scikit-learn's names of the 8 columns.

    Source: Pace and Barry (1997), Sparse Spatial Autoregressions; StatLib.

    Raises:
        DownloadError: see `lib.download.fetch`.
    """
    path = next(download.fetch("california-housing").rglob("*.data"))
    # One of the two copies has a header; it begins with this word.
    with open(path, encoding="utf-8") as file:
        raw = np.loadtxt(file, comments="longitude", delimiter=",")
    longitude, latitude, age, rooms, bedrooms, people, homes, income, y = raw.T
    columns = {
        "MedInc": income,
        "HouseAge": age,
        "AveRooms": rooms / homes,
        "AveBedrms": bedrooms / homes,
        "Population": people,
        "AveOccup": people / homes,
        "Latitude": latitude,
        "Longitude": longitude,
    }
    inputs = torch.tensor(np.stack(list(columns.values()), axis=1))
    return inputs.float(), torch.tensor(y / 100_000).float(), list(columns)
