"""In-memory batches: every example, in an order that is truly random."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from lib.batches import Batches


def numbers(batches):
    """One epoch of batches whose first tensor numbers the examples."""
    return [batch[0].tolist() for batch in batches]


@given(
    size=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    shuffle=st.booleans(),
    last=st.sampled_from(["keep", "drop", "pad"]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_every_example_once_an_epoch(size, batch_size, shuffle, last, seed):
    x = torch.arange(size)
    y = x.double().unsqueeze(1) * 10
    make = {"shuffle": shuffle, "last": last, "seed": seed}
    if last == "drop" and batch_size > size:
        with pytest.raises(ValueError, match="drop"):
            Batches((x, y), batch_size, **make)
        return
    batches = Batches((x, y), batch_size, **make)
    for epoch in (1, 2):
        got = list(batches)
        assert batches.epoch == epoch and len(got) == len(batches)
        for a, b in got:
            assert a.dtype == x.dtype and b.dtype == y.dtype
            assert torch.equal(a * 10.0, b[:, 0]), "pairs stay together"
        order = torch.cat([a for a, _ in got]).tolist()
        full, rest = divmod(size, batch_size)
        sizes = [len(a) for a, _ in got]
        if last == "keep":
            assert sizes == [batch_size] * full + [rest] * (rest > 0)
            assert sorted(order) == list(range(size))
        elif last == "drop":
            assert sizes == [batch_size] * full
            assert len(set(order)) == len(order)
        else:
            assert sizes == [batch_size] * (full + (rest > 0))
            assert sorted(order[:size]) == list(range(size))
            again = itertools.cycle(order[:size])
            assert order == list(itertools.islice(again, len(order)))
        if not shuffle:
            assert order[:size] == list(range(size))[: len(order)]


def test_order_is_that_of_a_random_sampler():
    """Exactly: with the generator that (seed, epoch) stands for."""
    batches = Batches(torch.arange(50), 50, seed=3)
    for epoch in (1, 2, 3):
        mixed = np.random.SeedSequence([3, epoch]).generate_state(1, "u8")
        generator = torch.Generator().manual_seed(int(mixed[0]))
        sampler = RandomSampler(range(50), generator=generator)
        assert numbers(batches) == [list(sampler)]


def test_shuffling_is_uniform_like_a_data_loader():
    """All 24 orders of four examples, over epochs and over seeds."""
    x, epochs = torch.arange(4), 4800
    one = Batches(x, 4, seed=1)
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(x), batch_size=4, shuffle=True)
    counts = {
        "epochs": Counter(tuple(numbers(one)[0]) for _ in range(epochs)),
        "seeds": Counter(
            tuple(numbers(Batches(x, 4, seed=seed))[0])
            for seed in range(epochs)
        ),
        "loader": Counter(tuple(numbers(loader)[0]) for _ in range(epochs)),
    }
    orders = list(itertools.permutations(range(4)))
    table = {k: [c[order] for order in orders] for k, c in counts.items()}
    for ours in ("epochs", "seeds"):
        assert sum(table[ours]) == epochs
        assert stats.chisquare(table[ours]).pvalue > 1e-3
        both = stats.chi2_contingency([table[ours], table["loader"]])
        assert both.pvalue > 1e-3


def test_epochs_are_independent():
    """Where an example lands says nothing of where it lands next."""
    batches = Batches(torch.arange(6), 6, seed=2)
    places = [numbers(batches)[0].index(0) for _ in range(3001)]
    table = torch.zeros(6, 6)
    for now, then in itertools.pairwise(places):
        table[now, then] += 1
    assert stats.chi2_contingency(table.numpy()).pvalue > 1e-3


def test_same_seed_same_epochs():
    x = torch.arange(30)
    one, two, other = (Batches(x, 8, seed=s) for s in (5, 5, 6))
    first, second = numbers(one), numbers(one)
    assert first != second
    assert [numbers(two), numbers(two)] == [first, second]
    assert numbers(other) != first


def test_drop_leaves_out_others_each_epoch():
    batches = Batches(torch.arange(10), 4, last="drop")
    left_out = {
        frozenset(range(10)) - {i for batch in numbers(batches) for i in batch}
        for _ in range(20)
    }
    assert len(left_out) > 5


def test_the_pages_random_numbers_are_left_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    wanted = torch.rand(1), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    first = numbers(Batches(torch.arange(9), 2))
    assert (torch.rand(1), np.random.rand()) == wanted
    torch.manual_seed(99)
    assert numbers(Batches(torch.arange(9), 2)) == first


def test_data_is_held_once():
    x = torch.arange(10)
    batches = Batches((x, x), 4)
    assert all(held is x for held in batches.tensors)
    shared = x.untyped_storage().data_ptr()
    for (batch,) in Batches(x, 4, shuffle=False):
        assert batch.untyped_storage().data_ptr() == shared, "a view"
    for (batch,) in Batches(x, 4):
        assert batch.untyped_storage().data_ptr() != shared


def test_device():
    """`meta` stands for a device that is not the data's."""
    x, y = torch.ones(5, 2), torch.ones(5)
    for shuffle in (True, False):
        for last in ("keep", "pad"):
            make = {"shuffle": shuffle, "last": last, "device": "meta"}
            for batch in Batches((x, y), 2, **make):
                assert all(part.device.type == "meta" for part in batch)
    assert x.device.type == "cpu"


def test_iterators_do_not_disturb_each_other():
    alone = Batches(torch.arange(12), 5)
    epochs = [numbers(alone), numbers(alone)]
    batches = Batches(torch.arange(12), 5)
    one, two = iter(batches), iter(batches)
    mixed = [(next(one)[0].tolist(), next(two)[0].tolist()) for _ in range(3)]
    assert [list(epoch) for epoch in zip(*mixed, strict=True)] == epochs


def test_an_iteration_broken_off_counts():
    alone = Batches(torch.arange(12), 5)
    epochs = [numbers(alone), numbers(alone)]
    batches = Batches(torch.arange(12), 5)
    assert next(iter(batches))[0].tolist() == epochs[0][0]
    assert numbers(batches) == epochs[1]


@given(epochs=st.integers(0, 4), given=st.integers(0, 3))
def test_state_goes_on_where_it_was(epochs, given):
    x = torch.arange(11)
    stopped = Batches(x, 3, seed=8)
    for _ in range(epochs):
        list(stopped)
    state = stopped.state_dict()
    begun = [batch[0].tolist() for batch in itertools.islice(stopped, given)]
    fresh = Batches(x, 3, seed=8)
    fresh.load_state_dict(state)
    rest = itertools.islice(fresh, given, None)
    whole = Batches(x, 3, seed=8)
    for _ in range(epochs):
        list(whole)
    assert begun + [b[0].tolist() for b in rest] == numbers(whole)
    assert numbers(fresh) == numbers(whole)


@pytest.mark.parametrize(
    ("size", "batch_size", "change"),
    [
        (10, 3, {"seed": 1}),
        (10, 3, {"shuffle": False}),
        (10, 3, {"last": "drop"}),
        (10, 4, {}),
        (11, 3, {}),
    ],
)
def test_state_of_other_batches_is_refused(size, batch_size, change):
    state = Batches(torch.arange(10), 3).state_dict() | {"epoch": 7}
    batches = Batches(torch.arange(size), batch_size, **change)
    with pytest.raises(ValueError, match=r"other batches: \w+ was .*, is "):
        batches.load_state_dict(state)
    assert batches.epoch == 0


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ((torch.ones(3), torch.ones(4)), "first sizes must be equal, not 0"),
        (
            (torch.ones(3), torch.tensor(1.0)),
            "first sizes must be equal, not 0",
        ),
        (torch.tensor(1.0), "first sizes must be equal, not 0"),
        (torch.ones(0, 2), "first sizes must be equal, not 0"),
        ((), "first sizes must be equal, not 0"),
        ((torch.ones(3), torch.ones(3, device="meta")), "different devices"),
    ],
)
def test_wrong_tensors(tensors, words):
    with pytest.raises(ValueError, match=words):
        Batches(tensors, 2)


@pytest.mark.parametrize("data", [np.ones(3), [1, 2, 3]])
def test_not_tensors(data):
    for tensors in (data, (torch.ones(3), data)):
        with pytest.raises(TypeError, match="torch.as_tensor"):
            Batches(tensors, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 0}, "batch_size is 0, not an int >= 1"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"batch_size": 2.0}, "batch_size is 2.0"),
        ({"last": "Keep"}, "last is 'Keep', not keep, drop or pad"),
        ({"last": None}, "last is None"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is"),
        ({"seed": "0"}, "seed is '0'"),
        (
            {"last": "drop", "batch_size": 6},
            "drop leaves no batch of 6",
        ),
    ],
)
def test_wrong_arguments(change, words):
    with pytest.raises(ValueError, match=words):
        Batches(torch.arange(5), **{"batch_size": 2} | change)
