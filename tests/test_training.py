"""The one loop: equal to a loop by hand, and stoppable at any moment."""

import hashlib
import io
import multiprocessing
import os
import pickle
import random
import signal
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import convolutions
from benchmarks import training as benchmark
from lib import run, training
from lib.batches import Batches

EPOCHS = 5
STEPS = 4  # an epoch: 22 examples in batches of 6


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads wait long for each other where two cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def table(size=22, seed=0):
    """Inputs (N, 3) and targets (N, 1) with noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 3, generator=generator)
    noise = torch.randn(size, 1, generator=generator)
    return x, x.sum(1, keepdim=True).tanh() + 0.1 * noise


def run_parts(optimizer="sgd", schedule=None, data="batches", width=8):
    """Everything of a run, made anew from seed 1."""
    run.seed_everything(1)
    model = nn.Sequential(
        nn.Linear(3, width),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(width, 1),
    )
    made = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, lr=0.01),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    }[optimizer](model.parameters())
    every = EPOCHS * STEPS
    chosen = {
        None: lambda: None,
        "step": lambda: lr_scheduler.StepLR(made, 3, 0.9),
        "steps": lambda: lr_scheduler.MultiStepLR(made, [3, 9], 0.5),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(made, every),
        "cycle": lambda: lr_scheduler.OneCycleLR(made, 0.1, total_steps=every),
        "plateau": lambda: lr_scheduler.ReduceLROnPlateau(
            made, factor=0.5, patience=0, threshold=0.5
        ),
        "warmup": lambda: lr_scheduler.SequentialLR(
            made,
            [
                lr_scheduler.LinearLR(made, 0.1, total_iters=4),
                lr_scheduler.CosineAnnealingLR(made, every - 4),
            ],
            [4],
        ),
    }[schedule]()
    if data == "batches":
        batches = Batches(table(), 6, seed=4)
    else:
        own = torch.Generator().manual_seed(4) if data == "own" else None
        examples = TensorDataset(*table())
        batches = DataLoader(examples, 6, shuffle=True, generator=own)
    return {
        "model": model,
        "batches": batches,
        "loss": nn.functional.mse_loss,
        "optimizer": made,
        "schedule": chosen,
        "validation": Batches(table(9, seed=7), 4),
    }


def outcome(parts, history):
    """All that a run leaves behind."""
    return {
        "history": history.to_dict("list"),
        "model": parts["model"].state_dict(),
        "optimizer": parts["optimizer"].state_dict(),
        "schedule": parts["schedule"] and parts["schedule"].state_dict(),
        "next epoch": [x.tolist() for x, _ in parts["batches"]],
        "random": [random.random(), np.random.rand(), torch.rand(2)],
    }


def assert_same(one, two, where="run"):
    """Bit for bit, through nestings."""
    assert type(one) is type(two), where
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            assert_same(one[key], two[key], f"{where}, {key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two), where
        for i, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f"{where}, {i}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    else:
        assert one == two, where


class TestLoop:
    @pytest.mark.parametrize("clip", [None, 0.05])
    @pytest.mark.parametrize("schedule", [None, "cycle"])
    def test_equals_a_loop_by_hand(self, clip, schedule):
        parts = run_parts("sgd", schedule)
        history = training.fit(**parts, epochs=EPOCHS, clip=clip)
        ours = outcome(parts, history)
        parts = run_parts("sgd", schedule)
        model, optimizer = parts["model"], parts["optimizer"]
        rows = {"epoch": [], "lr": [], "loss": [], "val_loss": []}
        for epoch in range(1, EPOCHS + 1):
            rows["epoch"].append(epoch)
            rows["lr"].append(optimizer.param_groups[0]["lr"])
            model.train()
            total = 0.0
            for x, y in parts["batches"]:
                optimizer.zero_grad()
                loss = ((model(x) - y) ** 2).mean()
                loss.backward()
                if clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                if schedule:
                    parts["schedule"].step()
                total += loss.item() * len(y)
            rows["loss"].append(total / 22)
            model.eval()
            total = 0.0
            with torch.no_grad():
                for x, y in parts["validation"]:
                    total += ((model(x) - y) ** 2).mean().item() * len(y)
            rows["val_loss"].append(total / 9)
        assert_same(ours, outcome(parts, pd.DataFrame(rows)))

    def test_clipping_matters_here(self):
        """Else the test above would not see that clip does nothing."""
        ends = []
        for clip in (None, 0.05):
            parts = run_parts()
            training.fit(**parts, epochs=1, clip=clip)
            ends.append(parts["model"][0].weight)
        assert not torch.equal(*ends)

    def test_finds_least_squares_and_the_noise_floor(self):
        size, noise = 2000, 0.1
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(size, 3, generator=generator, dtype=torch.float64)
        ones = torch.ones(size, 1, dtype=torch.float64)
        true = torch.tensor([[2.0], [-3.4], [0.5]], dtype=torch.float64)
        y = x @ true + 4.2
        y += noise * torch.randn(y.shape, generator=generator).double()
        best = torch.linalg.lstsq(torch.cat([x, ones], 1), y).solution
        model = nn.Linear(3, 1, dtype=torch.float64)
        history = training.fit(
            model,
            Batches((x, y), size),
            nn.functional.mse_loss,
            torch.optim.SGD(model.parameters(), lr=0.3),
            epochs=60,
        )
        found = torch.cat([model.weight[0], model.bias])
        torch.testing.assert_close(found, best[:, 0], rtol=0, atol=1e-10)
        # The residuals have variance noise**2 (1 - 4 / size), and their mean
        # square strays from it by a share of sqrt(2 / size), 3.2 %.
        floor = noise**2 * (1 - 4 / size)
        assert abs(history.loss.iloc[-1] / floor - 1) < 4 * (2 / size) ** 0.5
        assert (history.loss.diff()[1:10] < 0).all()

    def test_loss_is_the_mean_over_examples(self):
        """The last batch is smaller: 22 examples in batches of 6."""
        x, y = (part.double() for part in table())
        model = nn.Linear(3, 1, dtype=torch.float64)
        history = training.fit(
            model,
            Batches((x, y), 6),
            nn.functional.mse_loss,
            torch.optim.SGD(model.parameters(), lr=0),
            epochs=2,
        )
        whole = nn.functional.mse_loss(model(x), y).item()
        assert history.loss.tolist() == pytest.approx([whole] * 2, rel=1e-14)

    def test_history(self):
        parts = run_parts("sgd", "step")
        history = training.fit(
            **parts, epochs=2, metrics={"size": lambda out, y: out.abs()}
        )
        assert history.columns.tolist() == [
            "epoch",
            "lr",
            "loss",
            "val_loss",
            "val_size",
        ]
        assert history.epoch.tolist() == [1, 2]
        assert history.lr.tolist() == pytest.approx([0.05, 0.05 * 0.9])
        scores = training.evaluate(
            parts["model"],
            parts["validation"],
            {"loss": parts["loss"], "size": lambda out, y: out.abs()},
        )
        last = history.iloc[-1, -2:].tolist()
        assert list(scores.values()) == pytest.approx(last, rel=1e-6)

    def test_several_inputs_and_no_validation(self):
        class Sum(nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = nn.Parameter(torch.ones(1))

            def forward(self, a, b):
                return self.scale * (a + b)

        x, _ = table()
        model = Sum()
        history = training.fit(
            model,
            [(x, x, 2 * x)],
            nn.functional.l1_loss,
            torch.optim.SGD(model.parameters(), lr=0.1),
            epochs=1,
        )
        assert history.columns.tolist() == ["epoch", "lr", "loss"]
        assert history.loss.tolist() == [0]

    def test_schedule_is_stepped_after_every_batch(self):
        parts = run_parts("sgd", "cosine")
        training.fit(**parts, epochs=EPOCHS)
        assert parts["optimizer"].param_groups[0]["lr"] < 1e-12
        assert parts["schedule"].last_epoch == EPOCHS * STEPS

    @pytest.mark.parametrize("validated", [True, False])
    def test_plateau_is_stepped_after_every_epoch(self, validated):
        parts = run_parts("sgd", "plateau")
        if not validated:
            del parts["validation"]
        seen = []
        step = parts["schedule"].step
        parts["schedule"].step = lambda value: (
            seen.append(value),
            step(value),
        )
        history = training.fit(**parts, epochs=3)
        assert seen == history["val_loss" if validated else "loss"].tolist()

    def test_modes_are_restored(self):
        """Also where a part was frozen, and after an error."""
        modes = []

        class Spy(nn.Module):
            def forward(self, x):
                modes.append(self.training)
                return x

        for wanted in (True, False):
            parts = run_parts()
            parts["model"].append(Spy())
            model = parts["model"].train(wanted)
            model[1].training = not wanted
            before = [part.training for part in model.modules()]
            training.evaluate(model, parts["batches"], {})
            assert modes == [False] * STEPS
            modes.clear()
            training.fit(**parts, epochs=1)
            assert modes == [True] * STEPS + [False] * 3
            modes.clear()
            parts["loss"] = lambda out, y: 1 / 0
            with pytest.raises(ZeroDivisionError):
                training.fit(**parts, epochs=1)
            with pytest.raises(ZeroDivisionError):
                training.evaluate(model, [table()], {"a": parts["loss"]})
            assert [part.training for part in model.modules()] == before
            modes.clear()

    def test_nothing_is_fetched_at_every_step(self, monkeypatch):
        """Fetching waits for a GPU. 200 steps may look four times."""
        fetched = []
        for name in ("item", "tolist", "__float__", "__bool__", "cpu"):
            honest = getattr(torch.Tensor, name)

            def counted(self, *args, _honest=honest, **kwargs):
                fetched.append(1)
                return _honest(self, *args, **kwargs)

            monkeypatch.setattr(torch.Tensor, name, counted)
        x, y = table(200)
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        batches = Batches((x, y), 1)
        mse = nn.functional.mse_loss
        training.fit(model, batches, mse, optimizer, epochs=1, clip=1.0)
        assert len(fetched) == 4
        training.evaluate(model, batches, {"loss": mse})
        assert len(fetched) == 8

    def test_it_is_quiet_but_on_a_terminal(self, capsys):
        parts = run_parts()
        training.fit(**parts, epochs=2)
        training.fit(**parts, epochs=2, quiet=True)
        assert capsys.readouterr() == ("", "")
        training.fit(**parts, epochs=2, quiet=False)
        out, err = capsys.readouterr()
        assert out == "" and "epoch 2, loss" in err and "/8" in err

    def test_a_terminal_sees_the_bar(self, monkeypatch):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", terminal)
        training.fit(**run_parts(), epochs=2)
        assert "epoch 1, loss" in terminal.getvalue()
        assert terminal.getvalue().endswith("\r"), "and nothing stays"

    def test_fit_costs_little(self):
        """At most 1.05 times a bare loop whose step takes a millisecond.

        Looser here: only this process's own time counts, in the best of
        many short rounds, and what fit adds to a step that is almost nothing
        is seen beside that step, so that it holds on a busy machine and a
        slow one too. `python -m benchmarks.training` measures the claim.
        """
        own = {"clock": time.process_time}
        got = benchmark.measure("almost nothing", rounds=40, **own)
        assert got["added"] <= 0.75 * got["bare"], got
        got = benchmark.measure(
            "MLP 784-256-10", steps=8, epochs=1, rounds=25, **own
        )
        assert got["ratio"] <= 1.25, got

    def test_batches_cost_no_more_than_an_index(self):
        """About: a busy machine disturbs what takes a tenth of a ms."""
        own = {"clock": time.process_time}
        got = benchmark.measure("almost nothing", rounds=40, **own)
        assert got["bare"] <= 1.5 * got["by hand"] + 0.02, got


class TestEvaluate:
    def test_means_are_weighted_by_size(self):
        x, y = table()
        model = nn.Linear(3, 1)
        batches = Batches((x, y), 6)

        def right(out, y):
            return (out > 0) == (y > 0)

        scores = training.evaluate(
            model,
            batches,
            {
                "mse": nn.functional.mse_loss,
                "each": lambda out, y: (out - y).square().squeeze(1),
                "right": right,
                "share": lambda out, y: right(out, y).float().mean(),
                "count": lambda out, y: float(len(y)),
                "whole": lambda out, y: (y > 0).long().sum(),
            },
        )
        mse = nn.functional.mse_loss(model(x), y).item()
        assert scores["mse"] == pytest.approx(mse, rel=1e-6)
        assert scores["each"] == pytest.approx(mse, rel=1e-6)
        share = right(model(x), y).double().mean().item()
        assert scores["right"] == pytest.approx(share, rel=1e-6)
        assert scores["share"] == pytest.approx(share, rel=1e-6)
        assert scores["count"] == (3 * 6 * 6 + 4 * 4) / 22
        assert all(type(score) is float for score in scores.values())

    def test_batching_makes_no_difference(self):
        x, y = (part.double() for part in table(200))
        model = nn.Linear(3, 1, dtype=torch.float64)
        whole = nn.functional.mse_loss(model(x), y).item()
        for size in (1, 3, 64, 200, 300):
            batches = Batches((x, y), size)
            got = training.evaluate(
                model, batches, {"a": nn.functional.mse_loss}
            )
            assert got["a"] == pytest.approx(whole, rel=1e-12)

    def test_no_gradients_no_dropout(self):
        model = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.5))
        seen = []
        training.evaluate(
            model, [table()], {"a": lambda out, y: seen.append(out) or 0.0}
        )
        assert not seen[0].requires_grad
        assert torch.equal(seen[0], model[0](table()[0]))

    def test_no_batch(self):
        with pytest.raises(ValueError, match="no batch"):
            training.evaluate(nn.Linear(3, 1), [], {"a": lambda out, y: out})


class TestFaults:
    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    @pytest.mark.parametrize("step", [1, 5, 64, 70, 100])
    def test_a_loss_that_is_no_number(self, bad, step):
        """It is named, and stops training within 64 steps."""
        x, y = table(1000)
        y[step - 1] = bad
        model = nn.Linear(3, 1)
        calls = []

        def loss(out, y):
            calls.append(1)
            return nn.functional.mse_loss(out, y)

        words = rf"loss is (nan|inf) in epoch 1, step {step}: try"
        with pytest.raises(FloatingPointError, match=words):
            training.fit(
                model,
                Batches((x, y), 1, shuffle=False),
                loss,
                torch.optim.SGD(model.parameters(), lr=0.01),
                epochs=1,
            )
        assert len(calls) <= step + 64

    def test_divergence_names_the_epoch(self, tmp_path):
        """The checkpoint keeps the last epoch that was well."""
        model = nn.Linear(3, 1)
        parts = {
            "model": model,
            "batches": [table()],
            "loss": nn.functional.mse_loss,
            "optimizer": torch.optim.SGD(model.parameters(), lr=1e4),
        }
        file = tmp_path / "run"
        with pytest.raises(FloatingPointError, match=r"in epoch \d+, step 1"):
            training.fit(**parts, epochs=99, checkpoint=file)
        done = len(torch.load(file, weights_only=True)["rows"])
        history = training.fit(**parts, epochs=done, checkpoint=file)
        assert np.isfinite(history.loss).all()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"epochs": 0}, "epochs is 0, not an int >= 1"),
            ({"epochs": 1.5}, "epochs is 1.5"),
            ({"clip": 0}, "clip is 0, not more than 0"),
            ({"clip": float("nan")}, "clip is nan"),
            ({"mixed_precision": "float16"}, "mixed_precision 'float16'"),
            ({"mixed_precision": torch.float64}, "mixed_precision"),
            ({"metrics": {"loss": max}}, "loss is measured anyway"),
            (
                {"metrics": {"a": max}, "validation": None},
                "need validation",
            ),
            (
                {"model": nn.Linear(3, 1)},
                "optimizer is of another model: make it anew",
            ),
            ({"batches": []}, "no batch"),
            ({"validation": []}, "no batch"),
        ],
    )
    def test_wrong_arguments(self, change, words):
        parts = run_parts() | {"epochs": 2} | change
        with pytest.raises(ValueError, match=words):
            training.fit(**parts)

    def test_a_schedule_of_another_optimizer(self):
        parts = run_parts("sgd", "step")
        parts["schedule"] = run_parts("sgd", "step")["schedule"]
        with pytest.raises(ValueError, match="of another optimizer"):
            training.fit(**parts, epochs=1)

    def test_batches_that_come_only_once(self):
        parts = run_parts()
        parts["batches"] = (batch for batch in [table()])
        with pytest.raises(ValueError, match="give no generator, but a list"):
            training.fit(**parts, epochs=2)


class TestMixedPrecision:
    @pytest.mark.parametrize(
        ("asked", "dtype"),
        [
            (False, torch.float32),
            (True, torch.bfloat16),
            (torch.bfloat16, torch.bfloat16),
            (torch.float16, torch.float16),
        ],
    )
    def test_the_model_computes_in_it(self, asked, dtype):
        seen = []

        class Spy(nn.Module):
            def forward(self, x):
                seen.append(x.dtype)
                return x

        run.seed_everything(0)
        model = nn.Sequential(nn.Linear(3, 1), Spy())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        history = training.fit(
            model,
            Batches(table(400), 10),
            nn.functional.mse_loss,
            optimizer,
            epochs=3,
            validation=[table()],
            mixed_precision=asked,
            schedule=lr_scheduler.StepLR(optimizer, 40),
        )
        assert set(seen) == {dtype}, "in training and in validation"
        assert model[0].weight.dtype == torch.float32
        assert history.loss.iloc[-1] < 0.2

    def test_a_skipped_step_is_none_of_the_schedule(self):
        """Gradients that overflow in float16: nothing moves but the scale."""
        model = nn.Linear(1, 1, bias=False)
        start = model.weight.item()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        schedule = lr_scheduler.StepLR(optimizer, 1, 0.5)
        steps = iter([1e30, 1.0, 1e30, 1.0])
        training.fit(
            model,
            [(torch.ones(1, 1), torch.zeros(1, 1))] * 4,
            lambda out, y: next(steps) * out.float().sum(),
            optimizer,
            epochs=1,
            schedule=schedule,
            mixed_precision=torch.float16,
        )
        assert schedule.last_epoch == 2
        moved = start - model.weight.item()
        assert moved == pytest.approx(1.0 + 0.5, rel=0.01)

    def test_float16_scales_the_gradients(self):
        """1e-8 would vanish in float16; clipping sees it unscaled."""
        model = nn.Linear(1, 1, bias=False)
        start = model.weight.item()
        training.fit(
            model,
            [(torch.ones(1, 1), torch.zeros(1, 1))],
            lambda out, y: 1e-8 * out.float().sum(),
            torch.optim.SGD(model.parameters(), lr=1e6),
            epochs=1,
            clip=1e-4,
            mixed_precision=torch.float16,
        )
        assert start - model.weight.item() == pytest.approx(0.01, rel=0.01)


RUNS = [
    ("sgd", None, "batches"),
    ("sgd", "cycle", "batches"),
    ("sgd", "step", "loader"),
    ("adam", "cosine", "batches"),
    ("adam", "warmup", "loader"),
    ("sgd", None, "own"),  # a loader with a generator of its own
    ("adamw", "plateau", "batches"),
    ("adamw", "steps", "batches"),
]


class TestResume:
    @pytest.mark.parametrize("kind", RUNS)
    def test_stopped_after_any_epoch(self, kind, tmp_path):
        """Same numbers to the last bit; and a checkpoint changes none."""
        parts = run_parts(*kind)
        wanted = outcome(parts, training.fit(**parts, epochs=EPOCHS))
        for stop in range(1, EPOCHS + 1):
            file = tmp_path / f"run{stop}"
            training.fit(**run_parts(*kind), epochs=stop, checkpoint=file)
            parts = run_parts(*kind)
            torch.rand(3), random.random(), np.random.rand()
            history = training.fit(**parts, epochs=EPOCHS, checkpoint=file)
            assert_same(outcome(parts, history), wanted, f"stop {stop}")

    @pytest.mark.parametrize("precision", [True, torch.float16])
    def test_stopped_in_mixed_precision(self, precision, tmp_path):
        def go(epochs, checkpoint=None):
            parts = run_parts("adam", "cycle")
            history = training.fit(
                **parts,
                epochs=epochs,
                clip=0.1,
                mixed_precision=precision,
                checkpoint=checkpoint,
            )
            return outcome(parts, history)

        go(2, tmp_path / "run")
        assert_same(go(EPOCHS, tmp_path / "run"), go(EPOCHS))

    @pytest.mark.parametrize("anew", [True, False])
    def test_interrupted_at_any_step(self, anew, tmp_path):
        """By Ctrl-C, also in validation; then run again with new objects,
        or with those of the kernel, which are in the middle of an epoch."""
        kind = ("sgd", "cycle")
        honest = nn.functional.mse_loss
        parts = run_parts(*kind)
        wanted = outcome(parts, training.fit(**parts, epochs=EPOCHS))
        for stop in range(1, EPOCHS * (STEPS + 3) + 1, 3):
            calls = []

            def loss(out, y, calls=calls, stop=stop):
                calls.append(1)
                if len(calls) == stop:
                    raise KeyboardInterrupt
                return honest(out, y)

            parts = run_parts(*kind) | {"loss": loss}
            file = tmp_path / f"run{stop}"
            with pytest.raises(KeyboardInterrupt):
                training.fit(**parts, epochs=EPOCHS, checkpoint=file)
            assert not list(tmp_path.glob("*.part"))
            parts = run_parts(*kind) if anew else parts | {"loss": honest}
            history = training.fit(**parts, epochs=EPOCHS, checkpoint=file)
            assert_same(outcome(parts, history), wanted, f"stop {stop}")

    def test_batches_peeked_at_before(self, tmp_path):
        """A first batch that was looked at changes nothing on resuming."""
        ends = []
        for stop in (None, 0, 2):
            parts = run_parts()
            next(iter(parts["batches"]))
            file = tmp_path / f"run{stop}"
            if stop is not None:
                begun = parts if stop else parts | {"loss": _interrupted}
                try:
                    training.fit(**begun, epochs=2, checkpoint=file)
                except KeyboardInterrupt:
                    parts["batches"] = Batches(table(), 6, seed=4)
            history = training.fit(**parts, epochs=EPOCHS, checkpoint=file)
            ends.append(outcome(parts, history))
        assert_same(ends[1], ends[0])
        assert_same(ends[2], ends[0])

    @pytest.mark.parametrize("moment", ["write", "replace", "after"])
    def test_interrupted_while_saving(self, moment, tmp_path, monkeypatch):
        parts = run_parts("adam", "cosine")
        wanted = outcome(parts, training.fit(**parts, epochs=EPOCHS))
        file = tmp_path / "run"
        training.fit(**run_parts("adam", "cosine"), epochs=2, checkpoint=file)
        old = file.read_bytes()
        replace = os.replace

        def interrupt(*args):
            if moment == "after":
                replace(*args)
            raise KeyboardInterrupt

        name = "fsync" if moment == "write" else "replace"
        monkeypatch.setattr(os, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            training.fit(
                **run_parts("adam", "cosine"), epochs=EPOCHS, checkpoint=file
            )
        monkeypatch.undo()
        assert (file.read_bytes() == old) == (moment != "after")
        assert os.listdir(tmp_path) == ["run"]
        parts = run_parts("adam", "cosine")
        history = training.fit(**parts, epochs=EPOCHS, checkpoint=file)
        assert_same(outcome(parts, history), wanted)

    def test_killed_at_random_moments(self, tmp_path):
        """SIGKILL, which no program can answer; also while it is writing."""
        methods = multiprocessing.get_all_start_methods()
        quick = "forkserver" if "forkserver" in methods else "spawn"
        processes = multiprocessing.get_context(quick)
        if quick == "forkserver":
            processes.set_forkserver_preload([__name__, "torch._dynamo"])
        chance = random.Random(5)
        file, result = tmp_path / "run", tmp_path / "result"
        kills = 0
        for _ in range(8):
            old = file.stat() if file.exists() else None
            child = processes.Process(target=_train_long, args=(file, result))
            child.start()
            while child.is_alive() and (
                not file.exists() or (old and file.stat() == old)
            ):
                child.join(0.002)
            end = time.perf_counter() + chance.uniform(0, 0.06)
            while time.perf_counter() < end:
                whole = os.name == "nt" or is_whole(file)  # reading locks
                assert whole, "what a kill now would leave"
            child.kill()
            child.join()
            kills += child.exitcode == -getattr(signal, "SIGKILL", 15)
            assert is_whole(file)
        assert kills >= 6, "the run was too short to be killed"
        _train_long(file, result)
        _train_long(None, tmp_path / "whole")
        one, two = (
            torch.load(path, weights_only=True)
            for path in (result, tmp_path / "whole")
        )
        assert_same(one, two)
        assert sorted(os.listdir(tmp_path)) == ["result", "run", "whole"]

    def test_a_finished_run_is_not_trained_again(self, tmp_path):
        file = tmp_path / "run"
        parts = run_parts()
        history = training.fit(**parts, epochs=2, checkpoint=file)
        wanted = outcome(parts, history)
        old = file.read_bytes()
        parts = run_parts() | {"loss": _never}
        again = training.fit(**parts, epochs=2, checkpoint=str(file))
        assert history.equals(again)
        assert_same(outcome(parts, again), wanted)
        assert file.read_bytes() == old

    def test_a_loss_that_learns(self, tmp_path):
        """The state of the loss is kept too, if it has one."""

        class Weighted(nn.Module):
            def __init__(self):
                super().__init__()
                self.log_scale = nn.Parameter(torch.zeros(()))

            def forward(self, out, y):
                scale = self.log_scale.exp()
                return ((out - y) / scale).square().mean() + self.log_scale

        def go(epochs, checkpoint=None):
            parts = run_parts() | {"loss": Weighted()}
            learned = parts["loss"].parameters()
            parts["optimizer"].add_param_group({"params": learned})
            training.fit(**parts, epochs=epochs, checkpoint=checkpoint)
            return parts["loss"].log_scale.item()

        go(2, tmp_path / "run")
        assert go(EPOCHS, tmp_path / "run") == go(EPOCHS) != 0

    def test_a_checkpoint_is_read_by_torch_too(self, tmp_path):
        parts = run_parts()
        training.fit(**parts, epochs=1, checkpoint=tmp_path / "run")
        saved = torch.load(tmp_path / "run", weights_only=True)
        assert_same(saved["parts"]["model"], parts["model"].state_dict())


def is_whole(file):
    content = file.read_bytes()
    return hashlib.sha256(content[:-32]).digest() == content[-32:]


def _interrupted(out, y):
    raise KeyboardInterrupt


def _never(out, y):
    pytest.fail("it was trained")


def _train_long(file, result):
    """A run of about a second, in a process of its own."""
    torch.set_num_threads(1)
    parts = run_parts("adam", "step")
    history = training.fit(**parts, epochs=80, checkpoint=file)
    torch.save(outcome(parts, history) | {"random": []}, result)


@pytest.fixture(scope="class")
def checkpoint_bytes(tmp_path_factory):
    file = tmp_path_factory.mktemp("checkpoint") / "run"
    training.fit(**run_parts("sgd", "step"), epochs=2, checkpoint=file)
    return file.read_bytes()


class TestBadCheckpoint:
    """One clear error; the file and the model are left as they are."""

    def refuse(self, file, words, kind=("sgd", "step"), **change):
        parts = run_parts(*kind) | {"epochs": EPOCHS} | change
        before = outcome(parts, pd.DataFrame())["model"]
        before = {name: value.clone() for name, value in before.items()}
        old = file.read_bytes()
        with pytest.raises(ValueError, match=words) as failure:
            training.fit(**parts, checkpoint=file)
        assert str(file) in str(failure.value)
        assert file.read_bytes() == old
        assert os.listdir(file.parent) == [file.name]
        assert_same(dict(parts["model"].state_dict()), before)

    def test_truncated_anywhere(self, checkpoint_bytes, tmp_path):
        size = len(checkpoint_bytes)
        chance = random.Random(0)
        file = tmp_path / "run"
        for length in [0, 1, 31, 32, 33, size - 32, size - 1] + [
            chance.randrange(size) for _ in range(20)
        ]:
            file.write_bytes(checkpoint_bytes[:length])
            self.refuse(file, "no whole checkpoint: cut off")

    def test_altered_anywhere(self, checkpoint_bytes, tmp_path):
        chance = random.Random(1)
        file = tmp_path / "run"
        for _ in range(30):
            altered = bytearray(checkpoint_bytes)
            altered[chance.randrange(len(altered))] ^= chance.randrange(1, 256)
            file.write_bytes(altered)
            self.refuse(file, "altered or not by fit")

    def test_an_alteration_that_torch_does_not_see(self, tmp_path):
        """Why there is a sha256: torch.load checks no sum."""
        file = tmp_path / "run"
        parts = run_parts()
        training.fit(**parts, epochs=1, checkpoint=file)
        content = bytearray(file.read_bytes())
        weight = parts["model"][0].weight.detach().numpy().tobytes()
        at = content.index(weight)
        content[at] ^= 1
        file.write_bytes(content)
        loaded = torch.load(file, weights_only=True)["parts"]["model"]
        assert not torch.equal(loaded["0.weight"], parts["model"][0].weight)
        self.refuse(file, "altered", kind=("sgd", None))

    def test_not_a_checkpoint(self, tmp_path):
        file = tmp_path / "run"
        torch.save({"a": torch.ones(100)}, file)
        self.refuse(file, "not by fit. Name another, or delete")

    @pytest.mark.parametrize(
        ("kind", "change", "words"),
        [
            (("sgd", "step", "batches", 9), {}, r"model's 0.weight was .*8"),
            (("adam", "step"), {}, "optimizer was SGD, is Adam"),
            (("sgd", "cosine"), {}, "schedule was StepLR, is CosineAnn"),
            (("sgd", None), {}, "schedule was StepLR, is None"),
            (("sgd", "step", "loader"), {}, "batches was Batches, is None"),
            (("sgd", "step", "own"), {}, "of generators was 0, is 1"),
            (
                ("sgd", "step"),
                {"loss": nn.L1Loss()},
                "loss was None, is L1Loss",
            ),
            (("sgd", "step"), {"clip": 1.0}, "clip was None, is 1.0"),
            (("sgd", "step"), {"mixed_precision": True}, "is torch.bfloat16"),
            (("sgd", "step"), {"epochs": 1}, "epochs was 2, is 1"),
            (
                ("sgd", "step"),
                {"batches": Batches(table(), 6, seed=5)},
                "other batches: seed was 4, is 5",
            ),
            (
                ("sgd", "step"),
                {"batches": Batches(table(21), 6, seed=4)},
                "examples was 22, is 21",
            ),
        ],
    )
    def test_of_another_run(
        self, kind, change, words, checkpoint_bytes, tmp_path
    ):
        file = tmp_path / "run"
        file.write_bytes(checkpoint_bytes)
        self.refuse(file, words, kind, **change)

    @pytest.mark.parametrize(
        ("name", "value"), [("lr", 0.2), ("weight_decay", 0.1)]
    )
    @pytest.mark.parametrize("momentum", [0.0, 0.5])
    def test_of_another_setting(self, name, value, momentum, tmp_path):
        """Else a changed learning rate would silently be the old one."""
        file = tmp_path / "run"

        def parts(**settings):
            made = run_parts()
            weights = made["model"].parameters()
            settings = {"lr": 0.1, "momentum": momentum} | settings
            made["optimizer"] = torch.optim.SGD(weights, **settings)
            return made

        training.fit(**parts(), epochs=1, checkpoint=file)
        with pytest.raises(ValueError, match=f"{name} of group 0 was"):
            training.fit(**parts(**{name: value}), epochs=2, checkpoint=file)
        training.fit(**parts(), epochs=2, checkpoint=file)

    def test_longer_schedule(self, tmp_path):
        file = tmp_path / "run"
        parts = run_parts("sgd", "cosine")
        training.fit(**parts, epochs=1, checkpoint=file)
        parts = run_parts("sgd", None)
        parts["schedule"] = lr_scheduler.CosineAnnealingLR(
            parts["optimizer"], 99
        )
        with pytest.raises(ValueError, match="T_max was 20, is 99"):
            training.fit(**parts, epochs=9, checkpoint=file)

    def test_disk_full(self, tmp_path, monkeypatch):
        file = tmp_path / "run"
        training.fit(**run_parts(), epochs=1, checkpoint=file)
        old = file.read_bytes()

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            training.fit(**run_parts(), epochs=2, checkpoint=file)
        assert file.read_bytes() == old and os.listdir(tmp_path) == ["run"]

    def test_no_folder(self, tmp_path):
        """Known before the first epoch, not after it."""
        parts = run_parts() | {"loss": _never}
        with pytest.raises(FileNotFoundError, match="nowhere"):
            training.fit(
                **parts, epochs=1, checkpoint=tmp_path / "nowhere" / "run"
            )

    def test_a_state_that_cannot_be_read_again(self, tmp_path):
        """Refused before the first epoch, not when it is resumed."""

        class Odd(nn.Linear):
            def get_extra_state(self):
                return pd.DataFrame()

            def set_extra_state(self, state):
                pass

        model = Odd(3, 1)
        with pytest.raises(pickle.UnpicklingError, match="[Ww]eights"):
            training.fit(
                model,
                [table()],
                _never,
                torch.optim.SGD(model.parameters(), lr=0.1),
                epochs=1,
                checkpoint=tmp_path / "run",
            )
        assert os.listdir(tmp_path) == []


def test_the_convolution_benchmark_compares_with_the_network_as_written():
    """Compiling is left out: it takes half a minute."""
    parts = convolutions.measure(
        "LeNet", torch.device("cpu"), rounds=1, compile=False
    )
    assert set(parts) == {"channels last", "bfloat16", "one thread"}
    assert all(0.01 < part < 100 for part in parts.values())
