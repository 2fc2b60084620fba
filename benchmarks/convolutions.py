"""What is said to make convolutional networks faster, tried.

    python -m benchmarks.convolutions [auto | cpu | cuda]

times one training step on 128 random images, for LeNet and for a small
ResNet, in turns, in one process: as written; with the channels last in memory;
with autocast to bfloat16; and compiled by `torch.compile`, which needs a C++
compiler on a CPU. Then, on a CPU, with one thread. Each line gives the time as
a part of the time of the network as written, and of compiling also how long
the first step took, which is when it compiles.
"""

import copy
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks import networks
from lib import run

BATCH = 128
MODELS = {"LeNet": networks.lenet, "small ResNet": networks.small_resnet}


def _step(
    model: nn.Module, x: Tensor, y: Tensor, mixed: bool = False
) -> Callable[[], None]:
    """A function that does one training step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=mixed):
            loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()

    return step


def measure(
    name: str, device: torch.device, rounds: int = 30, compile: bool = True
) -> dict[str, float]:
    """Each way's time as a part of that of the network as written.

    Where it compiles, "seconds to compile" are among the results.
    """
    model = MODELS[name]().to(device)
    x = torch.rand(BATCH, 1, 28, 28, device=device)
    y = torch.randint(10, (BATCH,), device=device)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    x_last = x.contiguous(memory_format=torch.channels_last)
    ways = {
        "as written": _step(model, x, y),
        "channels last": _step(last, x_last, y),
        "bfloat16": _step(copy.deepcopy(model), x, y, mixed=True),
    }
    facts = {}
    if compile:
        ways["compiled"] = _step(torch.compile(copy.deepcopy(model)), x, y)
        start = time.perf_counter()
        ways["compiled"]()
        facts = {"seconds to compile": time.perf_counter() - start}
    took = run.time_side_by_side(ways, device, rounds)
    if device.type == "cpu":
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        took |= run.time_side_by_side(
            {"one thread": ways["as written"]}, device, rounds
        )
        torch.set_num_threads(threads)
    whole = took.pop("as written")
    return {way: seconds / whole for way, seconds in took.items()} | facts


def main() -> int:
    """Print a line a network and way."""
    device = run.setup((sys.argv[1:] or ["auto"])[0])
    for name in MODELS:
        for what, value in measure(name, device).items():
            print(f"{name}, {what}: {value:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
