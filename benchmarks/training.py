"""How much `fit` and `Batches` add to the work that training is.

    python -m benchmarks.training [auto | cpu | cuda]

trains the same models three ways, in turns, in one process: by `fit`; by a
bare loop over the same `Batches` (forward, backward, step, nothing else);
and by that loop over a shuffled index written by hand, without `Batches`.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from lib import run, training
from lib.batches import Batches

CLASSES = 10
MODELS = {  # inputs, examples in a batch, and how the model is made
    "almost nothing": (4, 8, lambda: nn.Linear(4, CLASSES)),
    "softmax regression": (784, 256, lambda: nn.Linear(784, CLASSES)),
    "MLP 784-256-10": (
        784,
        256,
        lambda: nn.Sequential(
            nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, CLASSES)
        ),
    ),
}
GOAL = 1.05  # for a model whose step takes a millisecond or more


def bare(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    epochs: int,
) -> None:
    """The loop that `fit` is held against."""
    for _ in range(epochs):
        for x, y in batches:
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()


class _ByHand:
    def __init__(self, x: Tensor, y: Tensor, batch_size: int) -> None:
        self.x, self.y, self.batch_size = x, y, batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.x), device=self.x.device)
        for index in order.split(self.batch_size):
            yield self.x[index], self.y[index]


def measure(
    name: str,
    device: torch.device | str = "cpu",
    steps: int = 12,
    epochs: int = 2,
    rounds: int = 60,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Train one of MODELS in all ways, in turns, on random data.

    Args:
        steps: batches in an epoch.
        rounds: of each way the best counts, which is the one that other
            work on the machine disturbed least.
        clock: gives seconds. `time.process_time` on the CPU counts only this
            process's own, which is fairer where other work is heavy.

    Returns:
        Milliseconds a step of "fit", "bare" and "by hand"; what fit has
        "added" to bare, in milliseconds a step, and their "ratio".
    """
    generator = torch.Generator().manual_seed(0)
    inputs, batch_size, make = MODELS[name]
    size = steps * batch_size
    x = torch.randn(size, inputs, generator=generator).to(device)
    y = torch.randint(CLASSES, (size,), generator=generator).to(device)
    data = {
        "fit": Batches((x, y), batch_size),
        "bare": Batches((x, y), batch_size),
        "by hand": _ByHand(x, y, batch_size),
    }
    loss = nn.CrossEntropyLoss()
    made = {}
    for way in data:
        model = make().to(device)
        made[way] = model, torch.optim.SGD(model.parameters(), lr=0.01)
    best = dict.fromkeys(data, float("inf"))
    for turn in range(rounds + 1):
        for way, (model, optimizer) in made.items():
            loop = training.fit if way == "fit" else bare
            run.synchronize(device)
            start = clock()
            loop(model, data[way], loss, optimizer, epochs)
            run.synchronize(device)
            if turn > 0:  # the first is to warm up
                best[way] = min(best[way], clock() - start)
    result = {way: 1000 * best[way] / (epochs * steps) for way in best}
    added = result["fit"] - result["bare"]
    return result | {"added": added, "ratio": best["fit"] / best["bare"]}


def main() -> int:
    """Print a line a model; 1 if the goal is missed where it holds."""
    device = run.setup((sys.argv[1:] or ["auto"])[0])
    torch.set_num_threads(1)  # two wait for each other on a busy machine
    missed = False
    for name in MODELS:
        got = measure(name, device)
        print(
            f"{name}: fit / bare = {got['ratio']:.3f}; a step takes "
            f"{got['fit']:.3f} ms in fit, {got['bare']:.3f} in the bare "
            f"loop, {got['by hand']:.3f} with batches made by hand",
            flush=True,
        )
        missed |= got["bare"] >= 1 and got["ratio"] > GOAL
    print(f"the goal is at most {GOAL} where a step takes 1 ms or more")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
