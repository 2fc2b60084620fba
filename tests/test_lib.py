"""Every public function of lib, and every error it promises."""

import random
import subprocess
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib import checks, datasets, plots, run


class TestRun:
    def test_setup_returns_the_device_and_says_why(self, capsys):
        assert run.setup("cpu", "small", 3) == torch.device("cpu")
        assert capsys.readouterr().out == "device: cpu (as asked)\n"

    def test_same_seed_same_numbers_everywhere(self):
        def draw():
            return random.random(), np.random.rand(), torch.rand(1).item()

        run.seed_everything(7)
        first = draw()
        assert draw() != first
        run.seed_everything(7)
        assert draw() == first

    @pytest.mark.parametrize("scale", ["tiny", "Small", "", None, 1])
    def test_wrong_scale(self, scale):
        with pytest.raises(ValueError, match="must be one of small, full"):
            run.setup("cpu", scale, 0)

    @pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "0", None, True])
    def test_wrong_seed(self, seed):
        with pytest.raises(ValueError, match="whole number"):
            run.setup("cpu", "small", seed)

    @given(st.integers(0, 2**32 - 1))
    def test_any_whole_number_in_range_is_a_seed(self, seed):
        run.seed_everything(seed)

    @pytest.mark.parametrize(
        "name", ["gpu", "CPU", "cuda:", "cuda:x", "cpu0", "", None, "tpu"]
    )
    def test_wrong_device(self, name):
        with pytest.raises(ValueError, match="device is"):
            run.choose_device(name)

    def test_a_device_that_is_not_there(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(RuntimeError, match="Use device='cpu'"):
            run.choose_device("cuda")

    def test_auto_without_a_gpu(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        device, why = run.choose_device("auto")
        assert device.type == "cpu" and "no GPU" in why

    def test_auto_with_a_gpu_that_fails(self, monkeypatch):
        """A GPU that is there but cannot compute is named, and not used."""
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(run, "_fault", lambda device: "no kernel image")
        device, why = run.choose_device("auto")
        assert device.type == "cpu" and "no kernel image" in why

    def test_a_device_that_computes_wrongly_is_refused(self, monkeypatch):
        honest = torch.softmax
        calls = []

        def wrong_at_first(x, dim):
            calls.append(1)
            return honest(x, dim) * (0.5 if len(calls) == 1 else 1)

        monkeypatch.setattr(torch, "softmax", wrong_at_first)
        with pytest.raises(RuntimeError, match="something else than the CPU"):
            run.choose_device("cpu")

    def test_synchronize_on_the_cpu(self):
        assert run.synchronize("cpu") is None

    def test_timing_ranks_and_calls_in_turns(self):
        order = []

        def slow():
            order.append("slow")
            time.sleep(0.02)

        def fast():
            order.append("fast")

        best = run.time_side_by_side({"slow": slow, "fast": fast}, rounds=3)
        assert best["slow"] > best["fast"]
        assert order == ["slow", "fast"] * 4

    def test_timing_refuses_no_rounds(self):
        with pytest.raises(ValueError, match="at least 1"):
            run.time_side_by_side({}, rounds=0)


class TestChecks:
    def test_close_passes_and_says_so(self, capsys):
        checks.close(torch.tensor([1.0, 2.0]), [1.0, 2.0], "they agree")
        checks.close(np.float64(0.1) + 0.2, 0.3, "with rounding")
        checks.close([[1, 2], [3, 4]], torch.tensor([[1, 2], [3, 4]]), "nest")
        checks.close(float("nan"), float("nan"), "nan equals nan")
        checks.close([np.float64(0.5), 1], [0.5, 1.0], "NumPy's numbers")
        frozen = np.ones(2)
        frozen.flags.writeable = False
        checks.close(frozen, [1, 1], "a read-only array")
        checks.close((torch.ones(2), 1), ([1, 1], 1.0), "a mixed nest")
        assert capsys.readouterr().out.count("ok: ") == 7

    @pytest.mark.parametrize(
        ("actual", "expected"),
        [
            (1.0, 1.001),
            (torch.ones(2), torch.ones(2, 1)),
            (torch.ones(1), torch.ones(())),
            (float("nan"), 0.0),
            ([1.0, 2.0], [1.0]),
            (torch.ones(3), torch.ones(3) + 1e-4),
        ],
    )
    def test_close_fails_with_both_values(self, actual, expected):
        with pytest.raises(AssertionError) as failure:
            checks.close(actual, expected, "the claim")
        message = str(failure.value)
        assert "the claim" in message
        assert repr(actual) in message and repr(expected) in message

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_close_accepts_any_number_itself(self, value):
        checks.close(value, value, "itself")

    def test_same_function_passes(self, capsys):
        x = torch.randn(3, 5, dtype=torch.float64)
        checks.same_function(
            lambda x: x.exp() / (1 + x.exp()), torch.sigmoid, x, what="sigmoid"
        )
        assert capsys.readouterr().out == (
            "ok: sigmoid: values and gradients agree\n"
        )

    def test_same_function_sees_a_wrong_value(self):
        with pytest.raises(AssertionError, match="values"):
            checks.same_function(
                torch.sin, torch.cos, torch.ones(2), what="sine"
            )

    def test_same_function_sees_a_wrong_gradient(self):
        """Equal values, but one of them cuts the graph for half of it."""
        with pytest.raises(AssertionError, match="gradient of input 0"):
            checks.same_function(
                lambda x: x * x.detach(),
                lambda x: x * x,
                torch.ones(2),
                what="square",
            )

    def test_same_function_sees_a_missing_gradient(self):
        a, b = torch.ones(2), torch.ones(2)
        with pytest.raises(AssertionError, match="gradient of input 1"):
            checks.same_function(
                lambda x, y: x + y.detach(),
                lambda x, y: x + y,
                a,
                b,
                what="sum",
            )

    def test_same_function_needs_some_gradient(self):
        with pytest.raises(AssertionError, match="no input gets a gradient"):
            checks.same_function(
                torch.detach, torch.detach, torch.ones(2), what="nothing"
            )

    def test_same_function_leaves_the_page_alone(self):
        x = torch.ones(2, requires_grad=True)
        torch.manual_seed(0)
        checks.same_function(torch.exp, torch.exp, x, what="exp")
        drawn = torch.rand(1)
        torch.manual_seed(0)
        assert x.grad is None and torch.rand(1) == drawn

    def test_same_function_takes_tuples_and_whole_numbers(self):
        x, index = torch.randn(4, 3), torch.tensor([2, 0])
        checks.same_function(
            lambda x, i: (x[i], x.sum(0)),
            lambda x, i: (x.index_select(0, i), x.sum(dim=0)),
            x,
            index,
            what="rows",
        )

    def test_bounds(self, capsys):
        checks.at_least(0.9, 0.9, "accuracy")
        checks.at_most(torch.tensor(0.1), 0.2, "loss")
        assert capsys.readouterr().out == (
            "ok: accuracy is at least 0.9\nok: loss is at most 0.2\n"
        )
        with pytest.raises(AssertionError, match="0.89 is less than 0.9"):
            checks.at_least(0.89, 0.9, "accuracy")
        with pytest.raises(AssertionError, match="is more than 0.2"):
            checks.at_most(0.3, 0.2, "loss")

    @pytest.mark.parametrize("bound", [checks.at_least, checks.at_most])
    def test_nan_keeps_no_bound(self, bound):
        with pytest.raises(AssertionError):
            bound(float("nan"), 0.0, "a loss")

    def test_raises_shows_the_error(self, capsys):
        with checks.raises(ZeroDivisionError, "Division"):
            1 / 0  # noqa: B018
        assert capsys.readouterr().out.startswith("ZeroDivisionError: ")

    def test_raises_fails_when_nothing_or_other_words_come(self):
        with (
            pytest.raises(AssertionError, match="no ValueError was raised"),
            checks.raises(ValueError),
        ):
            pass
        with (
            pytest.raises(AssertionError, match="should say 'color'"),
            checks.raises(ValueError, "color"),
        ):
            raise ValueError("a shape")

    def test_raises_lets_another_error_through(self):
        with pytest.raises(KeyError), checks.raises(ValueError):
            raise KeyError("x")


class TestDatasets:
    def test_photo(self):
        photo = datasets.photo("china")
        assert photo.shape == (427, 640, 3) and photo.dtype == torch.uint8
        photo.zero_()
        assert datasets.photo("china").any(), "each call gives a fresh copy"

    def test_unknown_photo_names_the_near_one(self):
        with pytest.raises(ValueError, match="did you mean 'flower'"):
            datasets.photo("flowers")

    def test_file(self):
        path = datasets.file("cafe_orders.csv")
        assert path.is_file() and path.read_text(encoding="utf-8")

    @pytest.mark.parametrize("name", ["cafe_order.csv", "../README.md", ""])
    def test_unknown_file_names_those_there_are(self, name):
        with pytest.raises(FileNotFoundError, match="cafe_orders.csv"):
            datasets.file(name)

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_cafe_days_reach_their_noise_floor(self, seed):
        """By the process itself; least squares comes as near on new days."""
        days = 20_000
        data = datasets.cafe_days(days, seed=seed)
        assert data.inputs.shape == (days, 3)
        assert data.cups.shape == (days,) and data.weights.shape == (3,)
        kinds = {x.dtype for x in data[:3]}
        assert kinds == {torch.float32} and data.noise == 6.0
        floor = data.noise**2
        spread = 4 * (2 / days) ** 0.5  # of a mean of squares, 4 deviations

        def error(inputs, weights, bias, cups):
            return (inputs @ weights + bias - cups).square().mean().item()

        best = error(data.inputs, data.weights, data.bias, data.cups)
        assert best / floor == pytest.approx(1, abs=spread)
        ones = torch.ones(days, 1)
        wide = torch.cat([data.inputs, ones], dim=1)
        found = torch.linalg.lstsq(wide, data.cups.unsqueeze(1)).solution
        torch.testing.assert_close(
            found[:3, 0], data.weights, atol=0.6, rtol=0
        )
        new = datasets.cafe_days(days, seed=seed + 100)
        learned = error(new.inputs, found[:3, 0], found[3, 0], new.cups)
        assert learned / floor == pytest.approx(1, abs=spread)

    def test_cafe_days_lie_where_their_docstring_says(self):
        data = datasets.cafe_days(7000)
        temperature, passers, weekend = data.inputs.T
        assert 10 <= temperature.min() < 10.1 < 29.9 < temperature.max() <= 30
        assert 2 <= passers.min() < 2.1 < 7.9 < passers.max() <= 8
        assert set(weekend.tolist()) == {0.0, 1.0}
        assert weekend.mean() == pytest.approx(2 / 7, abs=0.025)
        assert data.weights.tolist() == [3, 8, 15]
        still = datasets.cafe_days(50, noise=0)
        cups = still.inputs @ still.weights + still.bias
        torch.testing.assert_close(still.cups, cups)

    def test_cafe_days_are_those_of_their_seed(self):
        torch.manual_seed(0)
        np.random.seed(0)
        one, again, other = (datasets.cafe_days(9, seed=s) for s in (3, 3, 4))
        for a, b, c in zip(one[:2], again, other, strict=False):
            assert torch.equal(a, b) and not torch.equal(a, c)
        wanted = [11.71298, 3.42086, 0.0, 40.88813]
        first = [*one.inputs[0].tolist(), one.cups[0].item()]
        assert first == pytest.approx(wanted, abs=1e-4), "on any machine"
        drawn = torch.rand(1), np.random.rand()
        torch.manual_seed(0)
        np.random.seed(0)
        assert drawn == (torch.rand(1), np.random.rand()), "a generator alone"

    @pytest.mark.parametrize(
        ("columns", "bias"),
        [
            (["temperature"], -20 + 8 * 5),
            (("weekend",), -20 + 3 * 20 + 8 * 5),
            (["passers", "temperature"], -20),
        ],
    )
    def test_cafe_days_with_some_columns(self, columns, bias):
        """The same days, and what is left out stays at its usual value."""
        names = ["temperature", "passers", "weekend"]
        whole = datasets.cafe_days(30)
        part = datasets.cafe_days(30, columns)
        at = [names.index(column) for column in columns]
        assert torch.equal(part.inputs, whole.inputs[:, at])
        assert torch.equal(part.weights, whole.weights[at])
        assert part.bias == bias
        noise = whole.cups - whole.inputs @ whole.weights - whole.bias
        cups = part.inputs @ part.weights + part.bias + noise
        torch.testing.assert_close(part.cups, cups, atol=1e-3, rtol=0)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"columns": ["temprature"]}, "did you mean 'temperature'"),
            ({"columns": "weekend"}, "no column 'w'"),
            ({"columns": []}, "there must be a column"),
            ({"columns": ["passers"] * 2}, "none twice"),
            ({"days": 0}, "1 day or more"),
            ({"noise": -1.0}, "no negative noise"),
            ({"noise": float("nan")}, "no negative noise"),
        ],
    )
    def test_cafe_days_refuse(self, change, words):
        with pytest.raises(ValueError, match=words):
            datasets.cafe_days(**{"days": 5} | change)


class TestHouseSales:
    @pytest.mark.parametrize("seed", range(5))
    def test_the_median_reaches_the_noise_floor(self, seed):
        sold = datasets.house_sales(4000, seed=seed)
        off = np.log(sold.table.price) - np.log(sold.median)
        # The mean of 4,000 squares has a relative standard error of 2.2 %.
        assert abs((off**2).mean() / sold.noise**2 - 1) < 0.1
        assert abs(off.mean()) < 4 * sold.noise / 4000**0.5

    def test_without_noise_the_price_is_the_median(self):
        sold = datasets.house_sales(500, noise=0)
        assert (sold.table.price - sold.median).abs().max() <= 50

    def test_the_mess_is_what_the_docstring_says(self):
        table = datasets.house_sales(20_000).table
        assert 0.2 < table.energy.isna().mean() < 0.3
        old = table.built < 1970  # they need more energy
        assert table.energy.isna()[old].mean() > 1.3 * (
            table.energy.isna()[~old].mean()
        )
        assert (table.lot.isna() == (table.kind == "flat")).all()
        assert 0.35 < table.garage.isna().mean() < 0.55
        assert 0.005 < (table.area > 600).mean() < 0.015
        clean = table.heating.str.strip().str.lower()
        assert 0.08 < (clean != table.heating).mean() < 0.12
        assert sorted(clean.unique()) == ["gas", "heat pump", "oil", "remote"]
        assert table.district.nunique() == 20
        assert table.district.value_counts(normalize=True).min() < 0.01
        assert table.sold.between("2019-01", "2022-12").all()
        assert table.id.is_unique

    def test_they_are_those_of_their_seed(self):
        one, again, other = (
            datasets.house_sales(30, seed=s).table for s in (3, 3, 4)
        )
        pd.testing.assert_frame_equal(one, again)
        assert (one.price != other.price).any()

    @pytest.mark.parametrize(
        "change", [{"houses": 0}, {"noise": -1}, {"noise": float("nan")}]
    )
    def test_refuse(self, change):
        with pytest.raises(ValueError, match="1 house or more"):
            datasets.house_sales(**{"houses": 5} | change)


class TestPlots:
    @pytest.fixture(autouse=True)
    def close_figures(self):
        yield
        plt.close("all")

    def test_curves(self):
        x = torch.linspace(0, 1, 5, requires_grad=True)
        ax = plots.curves(x, {"a": x, "b": x**2}, xlabel="x", ylabel="y")
        assert len(ax.lines) == 2 and ax.get_legend() is not None
        alone = plots.curves([1, 10], {"a": [1, 2]}, xlabel="x", ylabel="y",
                             xscale="log", yscale="log")  # fmt: skip
        assert alone.get_legend() is None and alone.get_xscale() == "log"

    def test_bars(self):
        ax = plots.bars("abc", {"x": [1, 2, 3], "y": [3, 2, 1]}, ylabel="n")
        assert len(ax.patches) == 6
        assert [t.get_text() for t in ax.get_xticklabels()] == list("abc")

    def test_heatmap_writes_every_number(self):
        matrix = torch.tensor([[1.0, -2.0, 3.0], [0.0, 5.0, 6.0]])
        ax = plots.heatmap(matrix, rows=["a", "b"])
        assert [t.get_text() for t in ax.texts] == "1 -2 3 0 5 6".split()
        assert not plots.heatmap(matrix, number="").texts

    def test_heatmap_of_equal_values(self):
        assert len(plots.heatmap(torch.zeros(2, 2)).texts) == 4

    def test_images(self):
        pictures = torch.zeros(5, 4, 6, 3)
        axes = plots.images(pictures, titles=list("abcde"), columns=3)
        assert len(axes) == 5 and axes[4].get_title() == "e"

    def test_same_figure_same_bytes(self, tmp_path):
        program = (
            "import sys, matplotlib; matplotlib.use('svg')\n"
            "from lib import plots; plots.use_style()\n"
            "x = [0, 1]\n"
            "ax = plots.curves(x, {'a': x}, xlabel='x', ylabel='y')\n"
            "ax.figure.savefig(sys.argv[1], metadata={'Date': None})\n"
        )
        files = [tmp_path / "a.svg", tmp_path / "b.svg"]
        for file in files:
            subprocess.run([sys.executable, "-c", program, file], check=True)
        assert files[0].read_bytes() == files[1].read_bytes()
