"""What is made on first use: a property once per object, a package's names when they are asked for.

Objects do not wait for each other.

Python 3.11's `functools.cached_property` holds one lock for all objects of a class: while one surface's tree
was built, no other surface could build its own. Here each object has a lock, so that two threads neither
wait without need nor compute a value twice.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

T = TypeVar("T")
_LOCK = "_lazy_lock"


class _LazyProperty(Generic[T]):
    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute, self.name, self.__doc__ = compute, compute.__name__, compute.__doc__

    @overload
    def __get__(self, owner: None, kind: type) -> _LazyProperty[T]: ...
    @overload
    def __get__(self, owner: object, kind: type) -> T: ...
    def __get__(self, owner: Any, kind: type) -> Any:
        if owner is None:
            return self
        values = owner.__dict__
        if self.name not in values:
            with values.setdefault(_LOCK, threading.RLock()):  # setdefault is one step for all threads
                if self.name not in values:
                    values[self.name] = self.compute(owner)
        return values[self.name]


if TYPE_CHECKING:  # checkers and editors know the standard one
    from functools import cached_property

    lazy = cached_property
else:
    lazy = _LazyProperty


def names_on_use(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return a package's `__getattr__`, which imports the module a name lives in when the name is first used.

    homes : names by module.  Reading a saved joint then does not import what builds one.
    """
    home = {name: module for module, names in homes.items() for name in names}

    def find(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return find
