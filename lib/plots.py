"""The book's repeated figures, in one style.

The style is safe for color-blind readers (Okabe and Ito's palette, and a
dash pattern of its own for each curve) and gives the same bytes on each run.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.pyplot as plt
import torch
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib_inline.backend_inline import set_matplotlib_formats

COLORS = ("#0072B2", "#D55E00", "#007A5A", "#AA4499", "#000000", "#B07A00")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))


def use_style() -> None:
    """Draw this notebook's figures in the book's style, as stable SVG."""
    set_matplotlib_formats("svg", metadata={"Date": None})
    style = {
        "axes.grid": True,
        "axes.prop_cycle": cycler(color=COLORS, linestyle=_DASHES),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 11,
        "figure.constrained_layout.use": True,
        "figure.facecolor": "white",
        "figure.figsize": (5.0, 3.2),
        "font.size": 11,
        "grid.alpha": 0.3,
        "image.cmap": "cividis",
        "image.interpolation": "none",
        "legend.frameon": False,
        "svg.hashsalt": "book",
    }
    matplotlib.rcParams.update(style)


def curves(
    x: torch.Tensor | Sequence[float],
    ys: Mapping[str, torch.Tensor | Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    xscale: str = "linear",
    yscale: str = "linear",
    ax: Axes | None = None,
) -> Axes:
    """Draw curves over one x axis, with a legend when there are several.

    Args:
        x: (N,) positions.
        ys: for each label an (N,) curve.
        xscale, yscale: "linear" or "log".
        ax: where to draw; a new figure by default.
    """
    ax = plt.subplots()[1] if ax is None else ax
    for label, y in ys.items():
        ax.plot(_array(x), _array(y), label=label)
    ax.set(xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale)
    if xscale == "linear":
        ax.locator_params(axis="x", nbins=6)  # labels that fit on a phone
    if len(ys) > 1:
        ax.legend()
    return ax


def bars(
    labels: Sequence[str],
    heights: Mapping[str, torch.Tensor | Sequence[float]],
    *,
    ylabel: str,
    xlabel: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw groups of bars: one group a label, one bar in it a series.

    Args:
        labels: N names of groups.
        heights: for each series its (N,) heights.
        ax: where to draw; a new figure by default.

    Raises:
        ValueError: no series, or more than there are colors.
    """
    ax = plt.subplots()[1] if ax is None else ax
    if not 1 <= len(heights) <= len(COLORS):
        raise ValueError(f"{len(heights)} series; 1 to {len(COLORS)} fit")
    width = 0.8 / len(heights)
    for i, (name, values) in enumerate(heights.items()):
        shift = (i - (len(heights) - 1) / 2) * width
        positions = [position + shift for position in range(len(labels))]
        ax.bar(positions, _array(values), width, label=name, color=COLORS[i])
    ax.set_xticks(range(len(labels)), labels)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(visible=False, axis="x")
    if len(heights) > 1:
        ax.legend()
    return ax


def heatmap(
    matrix: torch.Tensor,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    number: str = "{:.2g}",
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a matrix as colored cells, each with its number written in it.

    Args:
        matrix: (R, C) values.
        rows, columns: names of its rows and columns; indices by default.
        number: format of a cell's number; "" writes none.
        limits: the values of the darkest and the lightest color, for
            matrices to be compared; the matrix's own by default.
        ax: where to draw; a new figure by default.
    """
    ax = plt.subplots()[1] if ax is None else ax
    values = _array(matrix)
    lowest, highest = limits or (None, None)
    picture = ax.imshow(values, vmin=lowest, vmax=highest)
    ax.grid(visible=False)
    height, width = values.shape
    ax.set_xticks(range(width), columns or range(width))
    ax.set_yticks(range(height), rows or range(height))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if number:
        for r in range(height):
            for c in range(width):
                light = picture.norm(values[r, c]) > 0.5
                text = ax.text(c, r, number.format(values[r, c]))
                text.set(ha="center", va="center")
                text.set_color("black" if light else "white")
    return ax


def images(
    pictures: Sequence[torch.Tensor],
    titles: Sequence[str] = (),
    columns: int = 4,
) -> list[Axes]:
    """Draw pictures in a grid without axes.

    Args:
        pictures: each (H, W) gray or (H, W, 3) color; uint8 from 0 to 255 or
            float from 0 to 1 (gray floats are scaled to their own range).
        titles: one for each picture, or none.
        columns: pictures in a row.

    Returns:
        The axes of the pictures, in order.

    Raises:
        ValueError: no pictures, or another number of titles.
    """
    if not len(pictures) or (titles and len(titles) != len(pictures)):
        raise ValueError(
            f"{len(pictures)} pictures and {len(titles)} titles; there must "
            "be a picture at least, and a title for each or none"
        )
    columns = min(columns, len(pictures))
    lines = -(-len(pictures) // columns)
    tallest = max(len(picture) / len(picture[0]) for picture in pictures)
    height = lines * (6.0 / columns * tallest + 0.3 * bool(titles))
    size = (6.0, height)
    _, grid = plt.subplots(lines, columns, figsize=size, squeeze=False)
    for ax in grid.flat:
        ax.axis("off")
    axes = list(grid.flat)[: len(pictures)]
    for i, (ax, picture) in enumerate(zip(axes, pictures, strict=True)):
        values = _array(picture)
        limits = (0, 255) if values.dtype == "uint8" else (None, None)
        ax.imshow(values, cmap="gray", vmin=limits[0], vmax=limits[1])
        if titles:
            ax.set_title(titles[i])
    return axes


def _array(values):
    """NumPy array of a tensor on any device, or of a sequence."""
    return torch.as_tensor(values).detach().cpu().numpy()
