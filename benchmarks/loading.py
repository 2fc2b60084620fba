"""How long an epoch takes on real images, by three ways to bring them.

    python -m benchmarks.loading [auto | cpu | cuda]

trains on Fashion-MNIST's images (fetched once; all 60,000, or 6,000 for the
network that is slow), in batches of 256, in turns, in one process:

- "bare limit": tensors in memory, shuffled by a permutation, and nothing but
  forward, backward and step;
- "ours": `training.fit` over `Batches`;
- "usual": the same bare loop over torchvision's `Dataset` with `ToTensor`
  and a shuffling `DataLoader`, which turns one image after the other into a
  tensor, in the process itself.
"""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from benchmarks import networks
from benchmarks.training import bare
from lib import download, images, run, training
from lib.batches import Batches

BATCH = 256
# Of each model: what makes it; how many images an epoch has; how much longer
# than the bare limit an epoch of ours may take; by what factor the usual way
# must be slower than ours, where a goal is set.
MODELS = {
    "softmax regression": (networks.linear, 60_000, 1.15, 15),
    "MLP 784-256-10": (networks.mlp, 60_000, 1.1, 10),
    "LeNet": (networks.lenet, 60_000, 1.05, 2.5),
    "small ResNet": (networks.small_resnet, 6_000, 1.05, 1),
}


class InMemory:
    """Batches of tensors in a new random order each epoch; no checks."""

    def __init__(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        self.inputs, self.labels = inputs, labels

    def __iter__(self):
        order = torch.randperm(len(self.labels), device=self.labels.device)
        for rows in order.split(BATCH):
            yield self.inputs[rows], self.labels[rows]


class OnDevice:
    """A loader's batches, moved to a device."""

    def __init__(self, loader: DataLoader, device: torch.device) -> None:
        self.loader, self.device = loader, device

    def __iter__(self):
        for inputs, labels in self.loader:
            yield inputs.to(self.device), labels.to(self.device)


def measure(
    name: str,
    data: images.Images,
    usual: torch.utils.data.Dataset,
    device: torch.device,
    rounds: int = 5,
) -> dict[str, float]:
    """Seconds an epoch of each way, the best of several rounds."""
    make, examples, *_ = MODELS[name]
    inputs = data.images[:examples].to(device)
    labels = data.labels[:examples].to(device)
    usual = Subset(usual, range(examples))
    sources = {
        "bare limit": InMemory(inputs, labels),
        "ours": Batches((inputs, labels), BATCH),
        "usual": OnDevice(DataLoader(usual, BATCH, shuffle=True), device),
    }
    loss = nn.CrossEntropyLoss()

    def epoch(way):
        model = make().to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loop = training.fit if way == "ours" else bare
        return lambda: loop(model, sources[way], loss, optimizer, 1)

    fast = {way: epoch(way) for way in ("bare limit", "ours")}
    best = run.time_side_by_side(fast, device, rounds)
    slow = {way: epoch(way) for way in ("ours", "usual")}
    return best | {
        "usual": run.time_side_by_side(slow, device, max(1, rounds // 5))[
            "usual"
        ]
    }


def main() -> int:
    """Print a line a model; 1 if a goal is missed."""
    device = run.setup((sys.argv[1:] or ["auto"])[0])
    root = download.fetch("fashion-mnist")
    data = images.load("fashion-mnist", "train")
    usual = datasets.FashionMNIST(root, transform=transforms.ToTensor())
    missed = False
    for name, (_, examples, most, least) in MODELS.items():
        took = measure(name, data, usual, device)
        slower = took["ours"] / took["bare limit"]
        faster = took["usual"] / took["ours"]
        print(
            f"{name}, {examples} images: {took['ours']:.3f} s an epoch, "
            f"{slower:.3f} times the bare limit (goal: {most} at most); the "
            f"usual way takes {faster:.1f} times as long (goal: {least})"
        )
        missed |= slower > most or faster < least
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
