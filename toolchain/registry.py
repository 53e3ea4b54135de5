"""The one registry mechanism: architectures, passes, sources, sessions, quantizers and targets.

A registry knows its members by three ways that all end in the same table: the decorator on a
class or function, the modules of one of edgepack's own packages (imported on first use, each of
them light), and an entry-point group for third parties.
"""

from __future__ import annotations

import importlib
import pkgutil
import threading
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, Generic, TypeVar

from edgepack.toolchain.errors import TargetError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Named members of one kind.

    Args:
        kind: The field's word for a member, used in messages ("target", "pass").
        package: Dotted name of the edgepack package whose modules register members on import, or of one module.
        group: Entry-point group through which other distributions add members, or None.
    """

    def __init__(self, kind: str, package: str, group: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._group = group
        self._members: dict[str, T] = {}
        self._loaded = self._loading = False
        # Again by the same thread: a module that is being imported may ask for members.
        self._lock = threading.RLock()

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files its argument under `name`; a name can be taken only once."""

        def file(member: T) -> T:
            if name in self._members and self._members[name] is not member:
                msg = f"{self.kind} '{name}' is registered twice: {self._members[name]!r} and {member!r}"
                raise ValueError(msg)
            self._members[name] = member
            return member

        return file

    def get(self, name: str, *, where: str | None = None) -> T:
        """The member of that name.

        Raises:
            UnknownNameError: No such member; the message offers the nearest name.
        """
        self._load()
        try:
            return self._members[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self._members, where=where) from None

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._members)

    def items(self) -> Iterator[tuple[str, T]]:
        """Pairs of name and member, sorted by name."""
        self._load()
        return iter(sorted(self._members.items(), key=lambda pair: pair[0]))

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._members

    def _load(self) -> None:
        if self._loaded:
            return
        with self._lock:
            # Another thread waits until all members are there; this one, importing, sees those so far.
            if self._loaded or self._loading:
                return
            self._loading = True
            try:
                _import_all(self._package)
                if self._group:
                    self._load_entry_points(self._group)
                self._loaded = True
            finally:
                self._loading = False

    def _load_entry_points(self, group: str) -> None:
        for point in metadata.entry_points(group=group):
            try:
                loaded: Any = point.load()
            except Exception as error:
                raise TargetError(
                    f"The plugin '{point.name}' cannot be loaded: {type(error).__name__}: {error}",
                    where=f"entry point {group} of {point.dist.name if point.dist else 'an unknown distribution'}",
                    todo="Upgrade or uninstall that distribution",
                ) from error
            # A module registers by its decorators on import; a class or function is filed here.
            if not hasattr(loaded, "__path__") and not hasattr(loaded, "__file__"):
                self.register(point.name)(loaded)


def _import_all(package: str) -> None:
    """Import a module, or a package and every module in it; names with an underscore in front are nobody's members."""
    home = importlib.import_module(package)
    for module in pkgutil.iter_modules(getattr(home, "__path__", ()), prefix=f"{package}."):
        if module.name.rpartition(".")[2].startswith("_"):
            continue
        if module.ispkg:
            _import_all(module.name)
        else:
            importlib.import_module(module.name)
