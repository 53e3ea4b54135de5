"""The one registry mechanism: architectures, passes, sources, sessions, quantizers and targets.

A registry knows its members by three ways that all end in the same table: the decorator on a
class or function, the modules of one of edgepack's own packages (imported on first use, each of
them light), and an entry-point group for third parties.
"""

from __future__ import annotations

import importlib
import pkgutil
import threading
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from typing import Any, Generic, TypeVar

from edgepack.toolchain.errors import EdgepackError, TargetError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Named members of one kind.

    Args:
        kind: The field's word for a member, used in messages ("target", "pass").
        package: Dotted name of the edgepack package whose modules register members on import, or of one module.
        group: Entry-point group through which other distributions add members, or None.
        check: Says what is wrong with a plugin's member, by its name; None: nothing.

    Attributes:
        problems: Plugins that could not be loaded, by the name of their entry point: they bring nothing, and are no
            reason to refuse what others bring.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        group: str | None = None,
        check: Callable[[str, T], str | None] | None = None,
    ) -> None:
        self.kind = kind
        self._problems: dict[str, EdgepackError] = {}
        self._check = check
        self._package = package
        self._group = group
        self._members: dict[str, T] = {}
        self._found: dict[str, T] = {}
        self._loaded = self._loading = False
        # Again by the same thread: a module that is being imported may ask for members.
        self._lock = threading.RLock()

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files its argument under `name`; a name can be taken only once."""

        def file(member: T) -> T:
            if name in self._members and self._members[name] is not member:
                first, second = _called(self._members[name]), _called(member)
                msg = f"the {self.kind} '{name}' is registered twice, as {first} and as {second}"
                raise ValueError(msg)
            self._members[name] = member
            return member

        return file

    def get(self, name: str, *, where: str | None = None) -> T:
        """The member of that name.

        Raises:
            UnknownNameError: No such member; the message offers the nearest name.
            TargetError: No such member, and there is a plugin that could not be loaded and may have it.
        """
        self._load()
        try:
            return self._members[name]
        except KeyError:
            raise self.unknown(name, where=where) from None

    def unknown(self, name: str, also: Iterable[str] = (), *, where: str | None = None) -> EdgepackError:
        """The error for a name that no member has; `also` are names that would have done as well."""
        if self.problems:
            found = list(self.problems.values())
            return TargetError(
                f"There is no {self.kind} '{name}', and a plugin that may bring it is not there. "
                + ". ".join(problem.what for problem in found),
                where=", ".join(str(problem.where) for problem in found),
                todo="Upgrade or uninstall what brings it",
            )
        return UnknownNameError(self.kind, name, [*self._members, *also], where=where)

    @property
    def problems(self) -> dict[str, EdgepackError]:
        """See the class."""
        self._load()
        return self._problems

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._members)

    def items(self) -> Iterator[tuple[str, T]]:
        """Pairs of name and member, sorted by name."""
        self._load()
        return iter(sorted(self._members.items(), key=lambda pair: pair[0]))

    def found_anywhere(self, name: str) -> bool:
        """Whether another process of this installation finds the same member: it was not registered by hand."""
        self._load()
        return name in self._found and self._found[name] is self._members.get(name)

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
            by_hand = dict(self._members)
            try:
                _import_all(self._package)
                if self._group:
                    self._load_entry_points(self._group)
                own = f"{self._package}."
                self._found = {
                    name: one
                    for name, one in self._members.items()
                    if name not in by_hand or str(getattr(one, "__module__", "")).startswith(own)
                }
                self._loaded = True
            finally:
                self._loading = False

    def _load_entry_points(self, group: str) -> None:
        for point in sorted(metadata.entry_points(group=group), key=lambda point: point.name):
            before = dict(self._members)
            try:
                self._load_entry_point(point)
            # A plugin may do anything when it is imported, leave the interpreter included.
            except (Exception, SystemExit) as error:  # noqa: BLE001
                self._members = before
                problem = TargetError(
                    f"The plugin '{point.name}' cannot be loaded: {type(error).__name__}: {error}",
                    where=f"entry point {group} of {point.dist.name if point.dist else 'an unknown distribution'}",
                    todo="Upgrade or uninstall that distribution",
                )
                problem.__cause__ = error
                self._problems[point.name] = problem

    def _load_entry_point(self, point: metadata.EntryPoint) -> None:
        before = dict(self._members)
        loaded: Any = point.load()
        # A module registers by its decorators on import; a class or function is filed here.
        if not hasattr(loaded, "__path__") and not hasattr(loaded, "__file__"):
            self.register(point.name)(loaded)
        for name in self._members.keys() - before.keys():
            wrong = self._check(name, self._members[name]) if self._check else None
            if wrong:
                msg = f"its {self.kind} '{name}' {wrong}"
                raise ValueError(msg)


def class_problem(member: object, base: type) -> str | None:
    """What is wrong with what should be a class that can be made: no class of its kind, or methods are missing."""
    if not isinstance(member, type) or not issubclass(member, base):
        return f"is {_called(member)}, and not a subclass of {base.__module__}.{base.__name__}"
    missing = sorted(getattr(member, "__abstractmethods__", ()))
    return f"does not define {', '.join(missing)}" if missing else None


def _called(member: object) -> str:
    name = getattr(member, "__qualname__", None)
    return f"{getattr(member, '__module__', '?')}.{name}" if name else repr(member)[:80]


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
