"""Named classes: mmpipe's own as "module:Class" strings, those of other packages by an entry point group."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from mmpipe.core.errors import UsageError
from mmpipe.core.text import nearest

__all__ = ["Registry"]

_T = TypeVar("_T")


class Registry(Generic[_T]):
    """Classes of one kind by name. The strings keep imports cheap: a class is imported when it is loaded.

    Args:
        kind: what messages call one of them, such as "face detector".
        group: the entry point group in which other packages name theirs, each as "module:Class".
        own: name -> "module:Class" of those that come with mmpipe.
        takes_paths: whether "module:Class" on the Python path is also a valid name.
        check: says what a class lacks to be one of the kind, or nothing.

    Example:
        >>> Registry("shape", "mmpipe.shapes", {"path": "pathlib:PurePath"}).load("path").__name__
        'PurePath'
    """

    def __init__(
        self,
        kind: str,
        group: str,
        own: Mapping[str, str],
        *,
        takes_paths: bool = False,
        check: Callable[[Any], str] | None = None,
    ) -> None:
        self.kind, self.group, self.own, self.takes_paths, self.check = kind, group, dict(own), takes_paths, check

    @cached_property
    def _points(self) -> tuple[EntryPoint, ...]:
        """The entry points of other packages; read once a process, as it takes tens of milliseconds."""
        return tuple(entry_points(group=self.group))

    def names(self) -> dict[str, str]:
        """Name -> "module:Class" of mmpipe's own, then of installed packages.

        Raises:
            UsageError: an installed package uses a name that mmpipe or another package has already.
        """
        known = dict(self.own)
        for point in self._points:
            if known.setdefault(point.name, point.value) != point.value:
                package = point.dist.name if point.dist else point.value
                raise UsageError(
                    f"the package {package} names its {self.kind} {point.name!r} ({point.value}), which is already the "
                    f"name of {known[point.name]}: uninstall it, or ask its authors for another name"
                )
        return known

    def load(self, name: str, *, named: bool = False) -> type[_T]:
        """The class that has this name.

        Args:
            name: of the class.
            named: refuse "module:Class" here, for a name that stands in a file: it would import what the file says.

        Raises:
            UsageError: no class has it (the message lists the valid names), it cannot be imported, or it is not one of
                the kind.
        """
        known, takes_paths = self.names(), self.takes_paths and not named
        path = known.get(name, name if takes_paths else "")
        module, colon, attribute = path.partition(":")
        if not colon:
            paths = ", or MODULE:CLASS of your own" if takes_paths else ""
            raise UsageError(
                f"{self.kind} {name!r} does not exist{nearest(name, known)}; "
                f"valid names: {', '.join(sorted(known))}{paths}"
            )
        try:
            found = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # the code of others may fail in any way
            if name in self.own:
                raise
            remedy = "is its package complete?" if name in known else "is its folder in PYTHONPATH?"
            raise UsageError(f"{self.kind} {name!r} cannot be imported ({error}); {remedy}") from error
        if self.check is not None and (lack := self.check(found)):
            raise UsageError(f"{self.kind} {name!r} ({path}) {lack}: ask its authors to mend it, or take another")
        return cast(type[_T], found)
