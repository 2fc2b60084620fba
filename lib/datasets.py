"""Every data set of the book by one call.

Chapter 01 needs only embedded files and photos; later chapters add theirs.
"""

import difflib
from pathlib import Path

import torch

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
        raise FileNotFoundError(_unknown("embedded file", name, names))
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
        raise ValueError(_unknown("photo", name, _PHOTOS))
    return torch.tensor(load_sample_image(f"{name}.jpg"))


def _unknown(kind: str, name: str, names: list[str] | tuple[str, ...]) -> str:
    """A message that names the near ones first."""
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"no {kind} {name!r}{hint}; there are: {', '.join(names)}"
