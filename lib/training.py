"""The one training loop: `fit`, which can stop and go on, and `evaluate`."""

import hashlib
import io
import math
import operator
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, cuda, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

_Data = Iterable[Sequence[Tensor]]
_Metric = Callable[[Tensor, Tensor], Tensor]


def fit(
    model: nn.Module,
    batches: _Data,
    loss: _Metric,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    *,
    validation: _Data | None = None,
    metrics: Mapping[str, _Metric] | None = None,
    clip: float | None = None,
    schedule: LRScheduler | None = None,
    mixed_precision: bool | torch.dtype = False,
    checkpoint: str | Path | None = None,
    quiet: bool | None = None,
) -> pd.DataFrame:
    """Train: for each batch forward, backward, step.

    Args:
        batches: `Batches`, a `DataLoader`, a list: of tuples of tensors
            (B, ...), the model's inputs, then the target, on any device.
        loss: (output, target) -> scalar, the mean over the batch.
        epochs: how many in all, those before a resume included.
        validation: batches to evaluate after each epoch.
        metrics: measured there, beside the loss; see `evaluate`.
        clip: the largest norm of all gradients together.
        schedule: stepped after every batch, so count its periods in batches;
            only ReduceLROnPlateau after every epoch, with the last loss.
        mixed_precision: True for autocast to bfloat16; torch.float16 also
            scales the gradients, and skips the steps where they overflow.
        checkpoint: a file, written before the first and after each epoch. If
            it exists, training goes on from it and ends, on the CPU, with
            the numbers of a run never stopped: it holds the state of every
            argument that has one, of a DataLoader's own generator, and of
            the global random generators.
        quiet: hide the progress bar; by default except on a terminal.

    Returns:
        One row an epoch: epoch (1, 2, ...), lr (the first group's, at the
        first step), loss (mean over the examples while they trained),
        val_loss, val_<metric>.

    Raises:
        ValueError: wrong arguments, no batch, or a checkpoint that is
            damaged or of another run (which is left as it is).
        FloatingPointError: the loss of a step is NaN or infinite.
    """
    dtype = torch.bfloat16 if mixed_precision is True else mixed_precision
    trained = [p for g in optimizer.param_groups for p in g["params"]]
    if not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs is {epochs!r}, not an int >= 1")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip is {clip!r}, not more than 0")
    if dtype not in (False, torch.bfloat16, torch.float16):
        raise ValueError(f"mixed_precision {dtype!r}: True or torch.float16?")
    if metrics and (validation is None or "loss" in metrics):
        raise ValueError("metrics need validation; loss is measured anyway")
    if not set(trained) & set(model.parameters()):
        raise ValueError("the optimizer is of another model: make it anew")
    if schedule is not None and schedule.optimizer is not optimizer:
        raise ValueError("the schedule is of another optimizer: make it anew")
    device = trained[0].device
    cast = torch.autocast(device.type, dtype) if dtype else nullcontext()
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    by_epoch = isinstance(schedule, ReduceLROnPlateau)
    metrics = {"loss": loss, **(metrics or {})}
    rows = []
    if checkpoint is not None:
        parts = {"batches": batches, "validation": validation, "model": model}
        parts |= {"loss": loss, "optimizer": optimizer, "schedule": schedule}
        settings = {"clip": clip, "mixed_precision": dtype}
        saved = _Checkpoint(checkpoint, parts | {"scaler": scaler}, settings)
        rows = saved.begin(epochs)
    size = operator.length_hint(batches)
    bar = tqdm(total=epochs * size or None, disable=quiet, leave=False)
    with bar, _mode(model, training=True):
        bar.update(len(rows) * size)
        for epoch in range(len(rows) + 1, epochs + 1):
            lr = float(optimizer.param_groups[0]["lr"])
            row, mean = {"epoch": epoch, "lr": lr}, _Mean(epoch)
            for batch in batches:
                *inputs, target = (x.to(device) for x in batch)
                optimizer.zero_grad()
                with cast:
                    value = loss(model(*inputs), target)
                scaler.scale(value).backward()
                if clip is not None:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(trained, clip)
                scale = scaler.get_scale()
                scaler.step(optimizer)
                scaler.update()
                skipped = scaler.get_scale() < scale
                if schedule is not None and not (by_epoch or skipped):
                    schedule.step()
                mean.add(value.detach(), len(target))
                bar.update()
            row["loss"] = mean.result()
            if validation is not None:
                with cast:
                    scores = evaluate(model, validation, metrics)
                row |= {f"val_{name}": score for name, score in scores.items()}
            if by_epoch:
                schedule.step(row.get("val_loss", row["loss"]))
            rows.append(row)
            bar.set_description(f"epoch {epoch}, loss {row['loss']:.4g}")
            if checkpoint is not None:
                saved.save(rows)
    return pd.DataFrame(rows)


def evaluate(
    model: nn.Module, batches: _Data, metrics: Mapping[str, _Metric]
) -> dict[str, float]:
    """Measure a model in eval mode, without gradients.

    Args:
        metrics: for each name (output, target) -> a scalar, the mean over
            the batch, or (B,) values or truths, of which the mean is taken.

    Returns:
        For each name the mean over all examples: a smaller batch counts
        less. What is no mean (F1, a root) must be made of all outputs.
        No batch at all is a ValueError.
    """
    device = next((p.device for p in model.parameters()), None)
    means = {name: _Mean() for name in metrics}
    with _mode(model, training=False), torch.no_grad():
        for batch in batches:
            *inputs, target = (x.to(device or x.device) for x in batch)
            output = model(*inputs)
            for name, metric in metrics.items():
                value = torch.as_tensor(metric(output, target))
                kind = torch.promote_types(value.dtype, torch.float32)
                means[name].add(value.mean(dtype=kind), len(target))
    return {name: mean.result() for name, mean in means.items()}


class _Mean:
    """The mean over all examples of what comes batch by batch.

    Values wait on their device, and 64 are fetched together: fetching each
    would make a GPU wait. In an epoch of training they must be finite.
    """

    def __init__(self, epoch: int | None = None) -> None:
        self.epoch, self.step, self.total, self.examples = epoch, 0, 0.0, 0
        self.waiting, self.sizes = [], []

    def add(self, value: Tensor, size: int) -> None:
        self.waiting.append(value)
        self.sizes.append(size)
        if len(self.waiting) == 64:
            self.fetch()

    def fetch(self) -> None:
        values = torch.stack(self.waiting).tolist() if self.waiting else []
        for value, size in zip(values, self.sizes, strict=True):
            self.step += 1
            if self.epoch is not None and not math.isfinite(value):
                at = f"epoch {self.epoch}, step {self.step}"
                raise FloatingPointError(
                    f"the loss is {value} in {at}: try a smaller lr, or clip"
                )
            self.total += value * size
            self.examples += size
        self.waiting, self.sizes = [], []

    def result(self) -> float:
        self.fetch()
        if not self.examples:
            raise ValueError("no batch (give no generator, but a list)")
        return self.total / self.examples


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Train or eval mode; afterwards each part has its own mode again."""
    before = [(part, part.training) for part in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for part, was in before:
            part.training = was


class _Checkpoint:
    """All that decides how a run goes on, in one file, always whole."""

    def __init__(
        self, path: str | Path, parts: dict[str, Any], settings: dict[str, Any]
    ) -> None:
        """Note the settings: what must be the same when the run goes on."""
        names = [k for k in parts if hasattr(parts[k], "state_dict")]
        self.path, self.parts = Path(path), {k: parts[k] for k in names}
        loaders = (parts["batches"], parts["validation"])
        found = [getattr(loader, "generator", None) for loader in loaders]
        self.generators = [g for g in found if g is not None]
        settings["number of generators"] = len(self.generators)
        settings |= {k: type(parts[k]).__name__ for k in names}
        for name, value in parts["model"].state_dict().items():
            settings[f"model's {name}"] = getattr(value, "shape", None)
        schedule = parts["schedule"]
        for i, group in enumerate(parts["optimizer"].param_groups):
            kept = {**group, "params": len(group["params"])}
            if schedule is not None:  # which moves these
                kept.update(lr=group.get("initial_lr"), momentum=0, betas=0)
            settings |= {f"{k} of group {i}": v for k, v in kept.items()}
        for name in ("T_max", "total_steps", "step_size", "milestones"):
            settings[f"schedule's {name}"] = getattr(schedule, name, None)
        self.settings = {k: str(v) for k, v in settings.items()}

    def begin(self, epochs: int) -> list[dict[str, float]]:
        """Load the file, or write the first; return its rows of history."""
        if not self.path.exists():
            self.save([])
            return []
        saved = self.load(self.path)
        rows, old, new = saved["rows"], saved["settings"], self.settings
        try:
            if len(rows) > epochs:
                raise ValueError(f"epochs was {len(rows)}, is {epochs}")
            for k in old | new:
                if old.get(k) != new.get(k):
                    raise ValueError(f"{k} was {old.get(k)}, is {new.get(k)}")
            for k, part in self.parts.items():  # Batches first: they check
                part.load_state_dict(saved["parts"][k])
        except ValueError as error:
            raise ValueError(
                f"{self.path} is of another run: {error}. Name another "
                f"checkpoint, or delete this one."
            ) from None
        for g, state in zip(self.generators, saved["generators"], strict=True):
            g.set_state(state)
        random.setstate(saved["python"])
        np.random.set_state(saved["numpy"])
        torch.set_rng_state(saved["torch"])
        cuda.set_rng_state_all(saved["cuda"] or [])
        return rows

    def save(self, rows: list[dict[str, float]]) -> None:
        """Write the file so that there is always the old or the new."""
        kind, keys, *rest = np.random.get_state()
        state = {
            "settings": self.settings,
            "parts": {k: v.state_dict() for k, v in self.parts.items()},
            "generators": [g.get_state() for g in self.generators],
            "rows": rows,
            "python": random.getstate(),
            "numpy": (kind, keys.tolist(), *rest),
            "torch": torch.get_rng_state(),
            "cuda": cuda.is_initialized() and cuda.get_rng_state_all(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        part = self.path.with_name(self.path.name + ".part")
        try:
            with open(part, "wb") as file:
                file.write(content + hashlib.sha256(content).digest())
                file.flush()
                os.fsync(file.fileno())
            if not rows:
                self.load(part)  # what cannot be read again shall fail now
            os.replace(part, self.path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def load(self, path: Path) -> dict[str, Any]:
        """Read a file; torch.load itself would not see altered numbers."""
        data = path.read_bytes()
        if hashlib.sha256(data[:-32]).digest() != data[-32:]:
            why = "cut off, altered or not by fit. Name another, or delete it."
            raise ValueError(f"{path} is no whole checkpoint: {why}")
        return torch.load(io.BytesIO(data), "cpu", weights_only=True)
