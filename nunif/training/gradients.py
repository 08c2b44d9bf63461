"""The gradients of a window that makes several updates: a set for each of them."""

from collections.abc import Sequence

from torch import Tensor

Gradients = list[Tensor | None]  # of each parameter; None where it has none


class GradientSets:
    """Sets of gradients by the number of their update. One of them lies where torch adds to and
    optimizers look, in the `.grad` of the parameters; the others are kept aside."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = list(parameters)
        self._aside: dict[int, Gradients] = {}
        self._number = 0  # of the set in place

    def put_in_place(self, number: int) -> None:
        """Let the set of an update lie in `.grad`; one that is not there yet is empty."""
        if number == self._number:
            return
        self._aside[self._number] = [parameter.grad for parameter in self._parameters]
        self._number = number
        self._place(self._aside.pop(number, self._nothing))

    @property
    def numbers(self) -> list[int]:
        """Of all sets, in the order of their updates."""
        return sorted({*self._aside, self._number})

    def copy(self) -> dict[int, Gradients]:
        """All sets as they are now; `put_back` makes them so again."""
        sets = {number: _copies(gradients) for number, gradients in self._aside.items()}
        sets[self._number] = _copies([parameter.grad for parameter in self._parameters])
        return sets

    def put_back(self, sets: dict[int, Gradients]) -> None:
        """Make all sets those of a copy, which can't be used again."""
        self._aside, self._number = sets, 0
        self._place(sets.pop(0, self._nothing))

    def clear(self) -> None:
        """Forget all sets."""
        self._aside, self._number = {}, 0
        self._place(self._nothing)

    @property
    def _nothing(self) -> Gradients:
        return [None] * len(self._parameters)

    def _place(self, gradients: Gradients) -> None:
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient


def _copies(gradients: Gradients) -> Gradients:
    return [None if gradient is None else gradient.clone() for gradient in gradients]
