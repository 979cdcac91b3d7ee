"""Reads the modules of a source tree without importing them: who imports whom, and who names what."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOTS = ("core", "manifests", "extractors", "pipeline")
"""Source roots, each with the package `mmpipe.NAME`; a root imports from itself and from those before it."""

ROOMS = (
    "hardware",
    "outputs",
    "media",
    "store",
    "extraction",
    "training",
    "balancing",
    "face_training",
    "report",
    "browse",
    "doctor",
    "cli",
)
"""Packages and modules of `mmpipe.pipeline`, in the order in which they may import from each other."""

READERS = ("tests", "benchmarks", "studies", "tools", "docs", "examples", "docker")
"""Folders whose files use names of the four packages."""

PUBLIC_API = "mmpipe.pipeline"
"""The module whose names are for notebooks: nothing in the repository has to use them."""

_DOTTED = re.compile(r"(mmpipe(?:\.\w+)+)(?::(\w+))?")
_FROM = re.compile(r"from (mmpipe(?:\.\w+)*) import \(?((?:\w+(?: as \w+)?[,\s]*)+)")


@dataclass(frozen=True)
class Module:
    """A parsed file of one of the four packages.

    Attributes:
        name: its dotted name.
        path: where it lies.
        tree: its syntax tree.
    """

    name: str
    path: Path
    tree: ast.Module = field(repr=False)

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @property
    def is_empty(self) -> bool:
        """Whether nothing but a docstring stands in it."""
        return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in self.tree.body)

    @cached_property
    def exported(self) -> list[str] | None:
        """The literal value of `__all__`; None where there is none."""
        for node in self.tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                assert isinstance(node, ast.Assign)
                return list(ast.literal_eval(node.value))
        return None

    @cached_property
    def defined(self) -> set[str]:
        """Functions, classes and variables of the top level that the module makes itself."""
        return {name for node in _statements(self.tree.body) for name in _made_by(node)}

    @cached_property
    def signed(self) -> set[str]:
        """Names in the signatures of what it exports: annotations of parameters, answers and attributes."""
        return {
            name.id
            for node in _statements(self.tree.body)
            if getattr(node, "name", None) in (self.exported or ())
            for annotation in _annotations(node)
            for name in ast.walk(annotation)
            if isinstance(name, ast.Name)
        }

    @cached_property
    def known(self) -> set[str]:
        """Everything that can be imported from it: what it defines, imports, or resolves in `__getattr__`."""
        imported = {
            alias.asname or alias.name.split(".")[0]
            for node in _statements(self.tree.body)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        lazy = set(_lazy_names(self.tree)) if "__getattr__" in self.defined else set()
        return self.defined | imported | lazy


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, and those inside its conditions and error handlers."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            for part in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, part, []))
            for handler in getattr(node, "handlers", []):
                yield from _statements(handler.body)


def _made_by(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [] if any(map(_is_command, node.decorator_list)) else [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def _annotations(node: ast.AST) -> Iterator[ast.expr]:
    """Annotations of a function, or of the attributes and methods of a class; none inside their bodies."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        yield from (annotation for a in arguments if (annotation := a.annotation) is not None)
        yield from [node.returns] if node.returns is not None else []
    elif isinstance(node, ast.AnnAssign):
        yield node.annotation
    elif isinstance(node, ast.ClassDef):
        for part in node.body:
            yield from _annotations(part)


def _is_command(decorator: ast.expr) -> bool:
    """Whether a decorator hands its function to the command line, which is then its user."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Attribute) and called.attr in ("command", "callback")


def _lazy_names(tree: ast.Module) -> Iterator[str]:
    for pair in _string_pairs(tree):
        yield pair[0]


def _string_pairs(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Keys and values of the dictionaries of a tree, where both are strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                    yield str(key.value), str(value.value)


class House:
    """The modules of a repository, and what they say of each other.

    Args:
        root: the folder that holds the source roots.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules: dict[str, Module] = {}
        for source in ROOTS:
            for path in sorted((root / source).rglob("*.py")):
                parts = path.relative_to(root / source).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                self.modules[name] = Module(name, path, ast.parse(path.read_text("utf-8")))

    def imports(self, module: Module) -> dict[str, int]:
        """The modules of the house that a module imports anywhere in its file, with the line."""
        found: dict[str, int] = {}
        for node, name, members in _imports(module.tree, module.package):
            below = {f"{name}.{member}" for member in members} & self.modules.keys()
            wanted = below | ({name} if not members or len(below) < len(members) else set())
            for target in wanted & self.modules.keys() - {module.name}:
                found.setdefault(target, node.lineno)
        return found

    def upward_imports(self) -> list[str]:
        """Imports from a root or room that comes later in the order."""
        broken = []
        for module in self.modules.values():
            for target, line in self.imports(module).items():
                if module.name != "mmpipe.__main__" and _height(target) > _height(module.name):
                    broken.append(f"{self._where(module, line)} imports {target}")
        return broken

    def unplaced(self) -> list[str]:
        """Modules that belong to no room of the pipeline."""
        names = (name for name in self.modules if name != "mmpipe.__main__")
        return [name for name in names if _height(name)[0] < 0 or _height(name)[1] < 0]

    def circles(self) -> list[list[str]]:
        """Groups of modules of which each imports, by way of others, each."""
        reach: dict[str, set[str]] = {}
        edges = {name: set(self.imports(module)) for name, module in self.modules.items()}
        for name in edges:
            seen: set[str] = set()
            front = set(edges[name])
            while front:
                seen |= front
                front = {far for near in front for far in edges[near]} - seen
            reach[name] = seen
        circles = {tuple(sorted(b for b in reach[a] if a in reach[b])) for a in reach if a in reach[a]}
        return [list(circle) for circle in sorted(circles)]

    def inexact_exports(self) -> list[str]:
        """Where `__all__` is missing, names what is not there or not used elsewhere, or leaves out a public name.

        The types in the signature of an exported function or class are used by whoever uses that.
        """
        used, broken = self._uses(), []
        for module in self.modules.values():
            if module.is_empty:
                continue
            where = self._where(module)
            if module.exported is None:
                broken.append(f"{where} has no __all__")
                continue
            public = {name for name in module.defined if not name.startswith("_")}
            broken += [f"{where}: {name} is public and not in __all__" for name in sorted(public - {*module.exported})]
            for name in module.exported:
                if name not in module.known:
                    broken.append(f"{where}: __all__ names {name}, which is not defined")
                elif module.name != PUBLIC_API and name not in module.signed and (module.name, name) not in used:
                    broken.append(f"{where}: {name} is in __all__ and used in no other file")
        return broken

    def _uses(self) -> set[tuple[str, str]]:
        """Module and name of everything that a file other than the module's own imports or mentions by its path."""
        files: dict[Path, Module | None] = {module.path: module for module in self.modules.values()}
        for folder in READERS:
            for ending in ("*.py", "*.md", "*.toml", "*.ipynb"):
                files |= dict.fromkeys((self.root / folder).rglob(ending))
        files |= dict.fromkeys(path for name in ("pyproject.toml", "README.md") if (path := self.root / name).is_file())
        used: set[tuple[str, str]] = set()
        for path, module in files.items():
            text = path.read_text("utf-8")
            found = set(_mentions(text))
            if path.suffix == ".py":
                tree = module.tree if module else ast.parse(text)
                found |= set(_python_uses(tree, module.package if module else ""))
            used |= {(name, member) for name, member in found if module is None or name != module.name}
        return used

    def _where(self, module: Module, line: int | None = None) -> str:
        return module.path.relative_to(self.root).as_posix() + (f":{line}" if line else "")


def _imports(tree: ast.AST, package: str) -> Iterator[tuple[ast.stmt, str, list[str]]]:
    """Statement, module and imported members of every import of `mmpipe`, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name, []) for alias in node.names if alias.name.startswith("mmpipe."))
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            if name.split(".")[0] == "mmpipe":
                yield node, name, [alias.name for alias in node.names]


def _python_uses(tree: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """Names that Python code takes from modules: imported, read as attributes, or listed for lazy loading."""
    modules: dict[str, str] = {}
    for node, name, members in _imports(tree, package):
        yield from ((name, member) for member in members)
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else []:
            if members:
                modules[alias.asname or alias.name] = f"{name}.{alias.name}"
            elif alias.asname:
                modules[alias.asname] = alias.name
    for part in ast.walk(tree):
        if isinstance(part, ast.Attribute) and (owner := _dotted(part.value)):
            yield modules.get(owner, owner), part.attr
    yield from ((value, key) for key, value in _string_pairs(tree))


def _dotted(node: ast.expr) -> str | None:
    """The text of a name or of attributes of a name (`a.b.c`); None for any other expression."""
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value)
        return owner and f"{owner}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else None


def _mentions(text: str) -> Iterator[tuple[str, str]]:
    """Names that a text gives with their path (`mmpipe.a.b:Name`, `mmpipe.a.b.Name`) or in an import statement."""
    for name, member in _DOTTED.findall(text):
        yield (name, member) if member else tuple(name.rsplit(".", 1))
    for name, members in _FROM.findall(text):
        yield from ((name, member.split()[0]) for member in members.split(",") if member.strip())


def _height(name: str) -> tuple[int, int]:
    """Place of a module's root among the roots and of its room among the rooms; -1 where it has none."""
    _, root, *rest = [*name.split("."), ""]
    place = ROOTS.index(root) if root in ROOTS else -1
    if root != "pipeline":
        return place, 0
    if rest == [""]:  # the package itself gathers names of every room
        return place, len(ROOMS)
    return place, ROOMS.index(rest[0]) if rest[0] in ROOMS else -1


def by_file(broken: list[str]) -> Mapping[str, list[str]]:
    """Broken rules by the file that breaks them."""
    files: dict[str, list[str]] = defaultdict(list)
    for line in broken:
        files[re.split(r"[: ]", line)[0]].append(line)
    return files
