"""Every data set of the book by one call.

Each chapter adds what its pages need: embedded, generated, or at full scale.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
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


class HouseSales(NamedTuple):
    """Houses as they were sold; see `house_sales`."""

    table: pd.DataFrame
    median: np.ndarray
    noise: float


_TREES = (
    "alder ash aspen beech birch cedar cherry chestnut elm fir hazel juniper "
    "larch linden maple oak pine poplar rowan willow"
).split()
# Of each: how often it occurs, and what it adds to the logarithm of a price.
_KINDS = {
    "flat": (0.4, -0.08),
    "terraced": (0.35, 0.0),
    "detached": (0.25, 0.12),
}
_CONDITIONS = {
    "poor": (0.1, -0.22),
    "fair": (0.3, -0.08),
    "good": (0.45, 0.0),
    "excellent": (0.15, 0.13),
}
_HEATINGS = {
    "gas": (0.5, 0.0),
    "oil": (0.2, -0.03),
    "remote": (0.2, 0.01),
    "heat pump": (0.1, 0.04),
}
_GARAGES = {
    "none": (0.45, 0.0),
    "detached": (0.2, 0.03),
    "attached": (0.35, 0.06),
}


def house_sales(
    houses: int, *, noise: float = 0.1, seed: int = 0
) -> HouseSales:
    """Generated: a table of houses sold from 2019 to 2022, as one finds it.

    The logarithm of the price is a function of the true features plus
    noise * (standard normal number). It bends with the year of building,
    and some features act through each other. The table is messier than the
    truth:

    - `energy` is missing at one house in four, more often where it is high;
      `lot` is missing where there is none (flats), `garage` likewise;
    - 1 area in 100 was entered in square feet, not square meters;
    - 1 `heating` in 10 is spelled in capitals or with a space behind it;
    - some of the twenty districts have very few houses.

    Args:
        houses: how many, N. They are in random order, for any N and seed
            from the same town.
        noise: standard deviation of the noise, in natural logarithms.
        seed: of a generator of its own.

    Returns:
        table, with one row a house: id, kind, area (m²), lot (m²), rooms,
        built (year), condition, district, distance (km to the center),
        heating, energy (kWh per m² and year), garage, sold (year-month),
        price; median (N,), what such a house is sold for at least half the
        time, given its true features; and noise. No model can expect a
        smaller root mean squared error of the logarithm than noise (the
        noise floor); `median` reaches it.

    Raises:
        ValueError: houses or noise too small.
    """
    if houses < 1 or not noise >= 0:
        raise ValueError(
            f"houses {houses}, noise {noise}: there must be 1 house or more, "
            f"and no negative noise"
        )
    town = np.random.default_rng(2019)  # the same for every seed
    d_effect = 0.2 * town.standard_normal(len(_TREES))
    d_center = town.uniform(1, 15, len(_TREES))
    d_share = np.arange(1.0, len(_TREES) + 1) ** -1.5
    rng = np.random.default_rng(seed)

    def draw(effects):
        shares, values = np.array(list(effects.values())).T
        chosen = rng.choice(len(shares), houses, p=shares)
        return np.array(list(effects))[chosen], values[chosen]

    kind, price = draw(_KINDS)
    condition, state = draw(_CONDITIONS)
    heating, heat = draw(_HEATINGS)
    garage, parking = draw(_GARAGES)
    place = rng.choice(len(_TREES), houses, p=d_share / d_share.sum())
    distance = d_center[place] * rng.uniform(0.8, 1.25, houses)
    size = np.where(kind == "flat", 75, np.where(kind == "detached", 150, 115))
    area = np.round(size * np.exp(0.3 * rng.standard_normal(houses)))
    rooms = np.maximum(1, np.round(area / 25 + rng.normal(0, 0.7, houses)))
    lot = np.round(3 * area * np.exp(0.5 * rng.standard_normal(houses)))
    built = 2019 - np.round(100 * rng.beta(1.2, 1.8, houses))
    age = (2019 - built) / 100
    month = rng.integers(0, 48, houses)
    energy = 60 + 170 * age + 30 * (heating == "oil")
    energy = np.round(energy * np.exp(0.25 * rng.standard_normal(houses)))

    price = price + 12.3 + 0.75 * np.log(area / 100) + heat + parking
    price += d_effect[place] - 0.15 * np.log(distance)
    price += np.where(kind == "flat", 0, 0.1 * np.log(lot / 300))
    price += 1.2 * (age - 0.55) ** 2 + state * (1 + age)
    price -= 0.15 * (energy / 100 - 1.2) * (1 + (month >= 36))
    price += 0.004 * month + 0.03 * np.sin(2 * np.pi * (month - 2) / 12)
    paid = price + noise * rng.standard_normal(houses)

    feet = rng.random(houses) < 0.01
    hidden = rng.random(houses) < 1 / (1 + np.exp(2.3 - energy / 110))
    spelling = rng.random(houses)
    spelled = np.where(spelling < 0.05, np.char.upper(heating), heating)
    spelled = np.where(spelling > 0.95, np.char.add(heating, " "), spelled)
    columns = {
        "id": 1001 + np.arange(houses),
        "kind": kind,
        "area": np.where(feet, np.round(area * 10.764), area),
        "lot": np.where(kind == "flat", np.nan, lot),
        "rooms": rooms.astype(int),
        "built": built.astype(int),
        "condition": condition,
        "district": np.array(_TREES)[place],
        "distance": distance.round(1),
        "heating": spelled,
        "energy": np.where(hidden, np.nan, energy),
        "garage": np.where(garage == "none", None, garage),
        "sold": [f"{2019 + m // 12}-{m % 12 + 1:02}" for m in month],
        "price": 100 * np.round(np.exp(paid) / 100),
    }
    return HouseSales(pd.DataFrame(columns), np.exp(price), noise)
