"""Claims that fail loudly: each prints one `ok` line or raises.

Every message of a failed check holds both values.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.testing import assert_close


def close(
    actual: object,
    expected: object,
    what: str,
    *,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Claim that two tensors, arrays, numbers or nestings of them agree.

    Shapes must be equal (nothing is broadcast); dtypes and devices may
    differ. The default tolerances are those of `torch.testing.assert_close`
    for the coarser of the two dtypes; give rtol and atol together. In
    float64 the default atol is 1e-7: for values that small, give your own.

    Args:
        what: the claim, in the words of the page.

    Raises:
        AssertionError: they differ.
    """
    _must_agree(actual, expected, what, rtol, atol)
    print(f"ok: {what}")


def same_function(
    ours: Callable[..., object],
    theirs: Callable[..., object],
    *inputs: torch.Tensor,
    what: str,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Claim that two functions have the same values and the same gradients.

    Each is called on its own copy of the inputs. The outputs (a tensor, or a
    tuple of tensors) must agree; then the same random weights are sent
    backward through both, and the gradient of every floating-point input
    must agree too. The random weights have a generator of their own, so the
    page's random numbers are not disturbed.

    Raises:
        AssertionError: a value or a gradient differs, or an input that gets
            a gradient from one function gets none from the other, or no
            input gets one at all.
    """
    results = []
    for function in (ours, theirs):
        copies = [x.detach().clone() for x in inputs]
        for copy in copies:
            copy.requires_grad_(copy.is_floating_point())
        outputs = function(*copies)
        if isinstance(outputs, torch.Tensor):
            outputs = (outputs,)
        generator = torch.Generator().manual_seed(0)
        weighted = sum(
            (y * torch.randn(y.shape, generator=generator).to(y)).sum()
            for y in outputs
        )
        if not weighted.requires_grad:
            raise AssertionError(f"{what}: no input gets a gradient")
        weighted.backward()
        results.append((outputs, [copy.grad for copy in copies]))
    (our_values, our_grads), (their_values, their_grads) = results
    _must_agree(our_values, their_values, f"{what}: values", rtol, atol)
    for i, (g, h) in enumerate(zip(our_grads, their_grads, strict=True)):
        name = f"{what}: gradient of input {i}"
        if (g is None) != (h is None):
            raise AssertionError(f"{name}: ours is {g}, theirs is {h}")
        if g is not None:
            _must_agree(g, h, name, rtol, atol)
    print(f"ok: {what}: values and gradients agree")


def at_least(value: float, floor: float, what: str) -> None:
    """Claim value >= floor (a NaN never is).

    The printed line names the floor, not the value, because the value of a
    training run differs between machines.

    Raises:
        AssertionError: value is smaller.
    """
    value = float(value)
    if not value >= floor:
        raise AssertionError(f"{what}: {value} is less than {floor}")
    print(f"ok: {what} is at least {floor}")


def at_most(value: float, ceiling: float, what: str) -> None:
    """Claim value <= ceiling (a NaN never is); see `at_least`.

    Raises:
        AssertionError: value is larger.
    """
    value = float(value)
    if not value <= ceiling:
        raise AssertionError(f"{what}: {value} is more than {ceiling}")
    print(f"ok: {what} is at most {ceiling}")


@contextmanager
def raises(kind: type[Exception], words: str = "") -> Iterator[None]:
    """Claim that the block raises this kind of error, and show it.

    Prints the error's type and the beginning of its message.

    Args:
        words: must occur in the message, in upper or lower case.

    Raises:
        AssertionError: nothing was raised, or other words.
    """
    try:
        yield
    except kind as error:
        message = str(error).strip()
        if words.lower() not in message.lower():
            raise AssertionError(
                f"{kind.__name__} should say {words!r}, but says {message!r}"
            ) from error
        line = (message.splitlines() or [""])[0]
        line = line if len(line) <= 100 else line[:100] + " ..."
        print(f"{type(error).__name__}: {line}")
    else:
        raise AssertionError(f"no {kind.__name__} was raised")


def _tensors(value: object) -> object:
    """Detached CPU tensors in place of everything numeric, nesting kept."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, (list, tuple)):
        parts = [_tensors(part) for part in value]
        tensors = all(isinstance(part, torch.Tensor) for part in parts)
        if not tensors or len({part.shape for part in parts}) > 1:
            return parts
        if len({part.dtype for part in parts}) > 1:
            # Whole and decimal numbers side by side are decimal numbers.
            if any(map(_holds_array, value)):
                return parts
            parts = [part.double() for part in parts]
        return torch.stack(parts) if parts else torch.zeros(0)
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float64)
    return torch.tensor(value)  # a copy: pandas hands out read-only arrays


def _holds_array(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_array, value))
    return getattr(value, "ndim", 0) > 0


def _must_agree(
    actual: object,
    expected: object,
    what: str,
    rtol: float | None,
    atol: float | None,
) -> None:
    try:
        assert_close(
            _tensors(actual),
            _tensors(expected),
            rtol=rtol,
            atol=atol,
            check_dtype=False,
            equal_nan=True,
        )
    except AssertionError as error:
        raise AssertionError(
            f"{what}: {error}\nactual:   {actual!r}\nexpected: {expected!r}"
        ) from None
