"""Every data set of the book by one call.

Chapter 01 needs only embedded files and photos, chapter 02 also California
housing at full scale; later chapters add theirs.
"""

from pathlib import Path

import numpy as np
import torch

from lib import download

_DATA = Path(__file__).resolve().parent.parent / "data"
_PHOTOS = ("china", "flower")


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
    raw = np.loadtxt(
        path, comments="longitude", delimiter=",", encoding="utf-8"
    )
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
