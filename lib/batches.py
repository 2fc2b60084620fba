"""Mini-batches of tensors in memory, on their device, without workers."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

# What must be the same where another run goes on.
_SETTINGS = ("examples", "batch_size", "shuffle", "last", "seed")


class Batches:
    """Iterate over mini-batches; each iteration is one epoch.

    The tensors are held once. A shuffled batch is gathered from them when
    its turn comes; an unshuffled one is a view: change it, and you change
    the data. Epoch e = 1, 2, ... takes the examples in the order that
    `torch.randperm` gives for (seed, e), on every device the same: equal in
    distribution to a shuffling `DataLoader`, but the page's random numbers
    are neither used nor moved. The attribute `epoch` counts the iterations
    begun; one that is broken off counts.

    Args:
        tensors: tensors of the same length N in the first dimension, such as
            inputs (N, ...) and targets (N, ...); or one such tensor.
        batch_size: examples in a batch, B.
        shuffle: whether each epoch has a random order of its own.
        last: where N is no multiple of B, the last batch is smaller ("keep"),
            left out ("drop": each epoch leaves out others, if shuffled), or
            filled up to B ("pad") with the examples from the start of the
            same epoch's order, which then count twice (more often if N < B).
        seed: a whole number from 0 to 2**32 - 1.
        device: where to hold the data; by default where it is.

    Raises:
        TypeError: one of the tensors is none.
        ValueError: sizes or devices differ, there is no example or no batch,
            or an argument is none of the values above.
    """

    def __init__(
        self,
        tensors: torch.Tensor | Sequence[torch.Tensor],
        batch_size: int,
        *,
        shuffle: bool = True,
        last: str = "keep",
        seed: int = 0,
        device: torch.device | str | None = None,
    ) -> None:
        if isinstance(tensors, torch.Tensor):
            tensors = (tensors,)
        for x in tensors:
            if not isinstance(x, torch.Tensor):
                raise TypeError(f"no tensor: {type(x)}; use torch.as_tensor")
        lengths = [len(x) if x.dim() > 0 else 0 for x in tensors]
        if len(set(lengths)) != 1 or 0 in lengths:
            shapes = [tuple(x.shape) for x in tensors]
            raise ValueError(f"{shapes}: first sizes must be equal, not 0")
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size is {batch_size!r}, not an int >= 1")
        if not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ValueError(f"seed is {seed!r}, not from 0 to 2**32 - 1")
        if last not in ("keep", "drop", "pad"):
            raise ValueError(f"last is {last!r}, not keep, drop or pad")
        self.tensors = tuple(x.to(device or x.device) for x in tensors)
        if len({x.device for x in self.tensors}) > 1:
            raise ValueError("tensors on different devices: give device=")
        self.examples, self.batch_size = lengths[0], batch_size
        self.shuffle, self.last, self.seed = shuffle, last, seed
        self.epoch = 0
        if len(self) == 0:
            raise ValueError(f"drop leaves no batch of {batch_size}")

    def __len__(self) -> int:
        """Batches in an epoch."""
        full, rest = divmod(self.examples, self.batch_size)
        return full + (rest > 0 and self.last != "drop")

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """One epoch of batches, each a tuple of tensors (B, ...)."""
        self.epoch += 1
        order = self._order()
        for i in range(len(self)):
            rows = slice(i * self.batch_size, (i + 1) * self.batch_size)
            if order is None:
                yield tuple(x[rows] for x in self.tensors)
            else:
                at = order[rows]
                yield tuple(x.index_select(0, at) for x in self.tensors)

    def _order(self) -> torch.Tensor | None:
        """This epoch's order of the examples; None where it is their own."""
        order = torch.arange(self.examples)
        total = len(self) * self.batch_size
        pad = self.last == "pad" and total > self.examples
        if not (self.shuffle or pad):
            return None
        if self.shuffle:
            mixed = np.random.SeedSequence([self.seed, self.epoch])
            number = int(mixed.generate_state(1, np.uint64)[0])
            generator = torch.Generator().manual_seed(number)
            order = torch.randperm(self.examples, generator=generator)
        if pad:
            order = order[torch.arange(total) % self.examples]
        return order.to(self.tensors[0].device)

    def state_dict(self) -> dict[str, int | str]:
        """What `load_state_dict` needs to go on with the next epoch."""
        return {name: getattr(self, name) for name in ("epoch", *_SETTINGS)}

    def load_state_dict(self, state: Mapping[str, int | str]) -> None:
        """Begin the next iteration with the epoch after this state's.

        Within an epoch, `itertools.islice(batches, given, None)` goes on
        after the batches already given.

        Raises:
            ValueError: the state is of batches that were made otherwise.
        """
        for name in _SETTINGS:
            was, now = state.get(name), getattr(self, name)
            if was != now:
                raise ValueError(f"other batches: {name} was {was}, is {now}")
        self.epoch = state["epoch"]
