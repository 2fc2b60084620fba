"""Repeatable runs: a device that works, seeded generators, honest timing."""

import random
import time
from collections.abc import Callable

import numpy as np
import torch

SCALES = ("small", "full")


def setup(
    device: str = "auto", scale: str = "small", seed: int = 0
) -> torch.device:
    """Check a page's three parameters, seed every generator, pick a device.

    Prints one line that says which device was chosen, and why.

    Args:
        device: "auto" (a GPU if one works, else the CPU), "cpu", "cuda",
            "cuda:1" and so on, or "mps".
        scale: "small" (embedded data) or "full" (the real data set).
        seed: a whole number from 0 to 2**32 - 1.

    Returns:
        The device for this page's tensors and modules.

    Raises:
        ValueError: a parameter is none of the values above.
        RuntimeError: the device asked for does not work here.
    """
    if scale not in SCALES:
        raise ValueError(
            f"scale is {scale!r}; it must be one of {', '.join(SCALES)}"
        )
    seed_everything(seed)
    chosen, why = choose_device(device)
    print(f"device: {chosen} ({why})")
    return chosen


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators, on every device.

    Raises:
        ValueError: seed is not a whole number from 0 to 2**32 - 1.
    """
    whole = isinstance(seed, int) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**32:
        raise ValueError(
            f"seed is {seed!r}; it must be a whole number from 0 to 2**32 - 1"
        )
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def choose_device(name: str = "auto") -> tuple[torch.device, str]:
    """Pick a device, and try it before trusting it.

    "auto" takes a CUDA GPU if one computes correctly, else the CPU. Apple's
    "mps" is used only when asked for by name, because it has been silently
    wrong in the past; like every device it must first agree with the CPU.

    Returns:
        The device, and the reason for choosing it in a few words.

    Raises:
        ValueError: no such device name.
        RuntimeError: the named device does not work here.
    """
    kind, colon, index = str(name).partition(":")
    known = kind in ("cpu", "cuda", "mps") and (not colon or index.isdigit())
    if name == "auto":
        fault = _fault(torch.device("cuda"))
        if fault is None:
            return torch.device("cuda"), "auto: a GPU that works"
        if torch.cuda.is_available():
            return torch.device("cpu"), f"auto: the GPU failed, {fault}"
        return torch.device("cpu"), "auto: no GPU that PyTorch can use"
    if not known:
        raise ValueError(
            f"device is {name!r}; it must be auto, cpu, cuda, cuda:N or mps"
        )
    fault = _fault(torch.device(name))
    if fault is not None:
        raise RuntimeError(
            f"device {name!r} does not work here: {fault}. Use "
            f"device='cpu', or see what `python -m tools.doctor` says, in "
            f"the book's folder."
        )
    return torch.device(name), "as asked"


def _fault(device: torch.device) -> str | None:
    """What goes wrong when this device computes, or None."""
    if device.type == "cuda" and not torch.cuda.is_available():
        return "PyTorch finds no CUDA GPU"
    if device.type == "mps" and not torch.backends.mps.is_available():
        return "PyTorch finds no Apple GPU"
    a = torch.linspace(-1, 1, 64).reshape(8, 8)
    try:
        there = a.to(device)
        got = torch.softmax(there @ there.T, dim=1).cumsum(0).cpu()
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0]
    wanted = torch.softmax(a @ a.T, dim=1).cumsum(0)
    if not torch.allclose(got, wanted, atol=1e-3):
        return "it computes something else than the CPU"
    return None


def synchronize(device: torch.device | str) -> None:
    """Wait until all work queued on a device is done (no-op on the CPU)."""
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def time_side_by_side(
    functions: dict[str, Callable[[], object]],
    device: torch.device | str = "cpu",
    rounds: int = 5,
) -> dict[str, float]:
    """Time functions in turns, so that a busy machine slows all alike.

    Each is called once to warm up, then once a round, waiting for the device
    before and after. Compare the results as ratios; a bare time says little.

    Returns:
        For each name the seconds of its fastest round, which is the one that
        other work on the machine disturbed least.

    Raises:
        ValueError: rounds is less than 1.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; it must be at least 1")
    best = dict.fromkeys(functions, float("inf"))
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            synchronize(device)
            start = time.perf_counter()
            function()
            synchronize(device)
            best[name] = min(best[name], time.perf_counter() - start)
    return best
