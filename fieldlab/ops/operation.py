"""Operations as PyTorch knows them: a schema, what computes it, shapes without data, and a derivative.

:func:`torch.library.custom_op` registers the same, but at its first call it loads PyTorch's compiler, whether anything
is compiled or not: more than two seconds of every command. The functions it is made of do not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

NAMESPACE = "fieldlab"


class Operation:
    """One of them; called like the function that computes it, by position.

    Args:
        name: in the namespace of fieldlab.
        compute: works on any device; its annotations are the schema.
        mutates: names of the arguments that it changes in place.
    """

    def __init__(self, name: str, compute: Callable[..., Any], mutates: tuple[str, ...] = ()) -> None:
        self.name = f"{NAMESPACE}::{name}"
        self.__doc__ = compute.__doc__
        torch.library.define(self.name, torch.library.infer_schema(compute, mutates_args=mutates))
        torch.library.impl(self.name, "default", compute)
        names = list(inspect.signature(compute).parameters)
        self._mutated = [names.index(argument) for argument in mutates]
        self.overload = getattr(getattr(torch.ops, NAMESPACE), name).default

    def __call__(self, *args: Any) -> Any:
        made = self.overload(*args)
        for i in self._mutated:  # whoever kept it for a derivative has to notice
            torch.autograd.graph.increment_version(args[i])
        return made

    def register_fake(self, shapes: Callable[..., Any]) -> Callable[..., Any]:
        """Decorates what gives results without data, as compilers want them."""
        torch.library.register_fake(self.name, shapes)
        return shapes

    def register_autograd(self, backward: Callable[..., Any], *, setup_context: Callable[..., Any]) -> None:
        """Its derivative, as :func:`torch.library.register_autograd` takes it."""
        torch.library.register_autograd(self.name, backward, setup_context=setup_context)


def operation(name: str, mutates: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Operation]:
    """Decorates a function that computes an operation."""
    return lambda compute: Operation(name, compute, mutates)
