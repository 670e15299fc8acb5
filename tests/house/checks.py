"""What the house demands of a tree of sources; every check returns its offences as lines.

A check takes the folder of a package, so that it can be shown an offence on a small made-up tree
(``test_checks.py``) and be held against ``fastgen`` itself (``test_tree.py``).
"""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

# DESIGN: no import goes to a higher floor. Files `_*.py` of the root are the ground.
FLOORS = (
    ("kernels",),
    ("_dispatch",),
    ("neighbors", "images", "gains"),
    ("plotting",),
    ("linear", "mixture", "metrics", "modes"),
    ("networks", "goof", "gan", "diffusion"),
    ("report",),
    ("cli",),
    ("__init__", "__main__"),
)
GROUND = 1
LINES = 500


@dataclasses.dataclass(frozen=True)
class Edge:
    """An import: ``line`` of module ``source`` imports ``name`` from module ``target``."""

    source: str
    target: str
    name: str | None
    line: int


class Tree:
    """The modules of one package, named by their paths: ``linear.sweep``, ``linear.__init__``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: dict[str, Path] = {}
        self.parsed: dict[str, ast.Module] = {}
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if parts[0] != "kernels":
                self.paths[".".join(parts)] = path
                self.parsed[".".join(parts)] = _parsed(path)

    def homes(self, package: str) -> dict[str, str]:
        """Modules of the names that a package loads lazily, from its ``_HOMES``."""
        module = f"{package}.__init__".lstrip(".")
        found = {}
        for node in self.parsed[module].body if module in self.parsed else ():
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id == "_HOMES"
            ):
                for name, home in ast.literal_eval(node.value).items():
                    up = len(home) - len(home.lstrip("."))
                    base = package.split(".")[: len(package.split(".")) - max(up - 1, 0)]
                    dotted = ".".join([*filter(None, base), home.lstrip(".")])
                    found[name] = self.module(dotted) or dotted
        return found

    def module(self, dotted: str) -> str | None:
        """Return the module of a dotted name, a package's being its ``__init__``."""
        if dotted in self.paths:
            return dotted
        inside = f"{dotted}.__init__".lstrip(".")
        return inside if inside in self.paths else None

    @functools.cached_property
    def edges(self) -> list[Edge]:
        """All imports inside the package: top level, in functions and for type checkers alike."""
        return [edge for module in self.paths for edge in self._edges(module)]

    def _edges(self, module: str) -> Iterator[Edge]:
        here = module.split(".")[:-1]
        for name, home in self.homes(".".join(here)).items():
            if module.endswith("__init__") and home in self.paths:
                yield Edge(module, home, name, 1)
        for node in ast.walk(self.parsed[module]):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top, _, rest = alias.name.partition(".")
                    target = self.module(rest) if top == self.root.name else None
                    if target:
                        yield Edge(module, target, None, node.lineno)
            elif isinstance(node, ast.ImportFrom):
                yield from self._from(module, node, here)

    def _from(self, module: str, node: ast.ImportFrom, here: list[str]) -> Iterator[Edge]:
        if node.level:
            base = here[: len(here) - node.level + 1] + (node.module or "").split(".")
        else:
            top, *base = (node.module or "").split(".")
            if top != self.root.name:
                return
        package = ".".join(filter(None, base))
        homes = self.homes(package)
        for alias in node.names:
            below = self.module(f"{package}.{alias.name}".lstrip("."))
            target = below or homes.get(alias.name) or self.module(package)
            if target and target != module:
                yield Edge(module, target, None if below else alias.name, node.lineno)


@functools.cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def package_of(module: str) -> str:
    """Return the first part of a module's name, the room that it is in."""
    return module.partition(".")[0]


def _is_ground(room: str) -> bool:
    return room.startswith("_") and room not in ("__init__", "__main__")


def _is_private(name: str | None) -> bool:
    return name is not None and name.startswith("_") and not name.endswith("__")


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one node (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append(sorted(part))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def circular_imports(tree: Tree) -> list[str]:
    """Circles of modules, and circles of packages."""
    modules: dict[str, set[str]] = {}
    rooms: dict[str, set[str]] = {}
    for edge in tree.edges:
        modules.setdefault(edge.source, set()).add(edge.target)
        source, target = package_of(edge.source), package_of(edge.target)
        if source != target:
            rooms.setdefault(source, set()).add(target)
    return [f"circle of imports: {', '.join(part)}" for part in circles(modules) + circles(rooms)]


def _floor(room: str) -> int | None:
    for number, rooms in enumerate(FLOORS):
        if room in rooms:
            return number
    return GROUND if _is_ground(room) else None


def upward_imports(tree: Tree) -> list[str]:
    """Imports to a higher floor, and rooms that are on none."""
    found = []
    for room in sorted({package_of(module) for module in tree.paths}):
        if _floor(room) is None:
            found.append(f"{room} has no floor: add it to FLOORS and to docs/architecture.md")
    for edge in tree.edges:
        source, target = _floor(package_of(edge.source)), _floor(package_of(edge.target))
        if source is not None and target is not None and target > source:
            found.append(f"{edge.source}:{edge.line} imports {edge.target}, which stands above it")
    return found


def private_imports(tree: Tree) -> list[str]:
    """Underscore modules or names of one package imported by another; the ground is free."""
    found = []
    for edge in tree.edges:
        source, target = package_of(edge.source), package_of(edge.target)
        if source == target or (_is_ground(target) and not _is_private(edge.name)):
            continue
        parts = [*edge.target.split("."), edge.name or ""]
        private = [part for part in parts if _is_private(part)]
        if private:
            found.append(f"{edge.source}:{edge.line} imports {private[-1]} of {edge.target}")
    return found


def exported(tree: Tree, module: str) -> list[str]:
    """Return the ``__all__`` of a module."""
    for node in tree.parsed[module].body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == "__all__"
        ):
            return list(ast.literal_eval(node.value))
    return []


def private_homes(tree: Tree, exceptions: dict[str, str] | None = None) -> list[str]:
    """Exported names that are defined in a file with an underscore, or nowhere that is seen."""
    found = []
    for module in tree.paths:
        if not module.endswith("__init__") or any(
            part.startswith("_") for part in module.split(".")[:-1]
        ):
            continue
        package = module.removesuffix("__init__").rstrip(".")
        homes = {
            edge.name or edge.target.removesuffix(".__init__").split(".")[-1]: edge.target
            for edge in tree.edges
            if edge.source == module
        }
        own = {
            getattr(node, "name", None) or getattr(getattr(node, "targets", [None])[0], "id", None)
            for node in tree.parsed[module].body
        }
        for name in exported(tree, module):
            dotted = f"{package}.{name}".lstrip(".")
            if name in own or tree.module(dotted) or name in (exceptions or {}):
                continue
            home = homes.get(name)
            if home is None:
                found.append(f"{dotted} is exported but has no home")
            elif any(map(_is_private, home.split("."))):
                found.append(f"{dotted} is public but is defined in {home}")
    return found


def public_functions(path: Path) -> list[str]:
    """Names of the functions of a file that have no underscore."""
    return [
        node.name
        for node in _parsed(path).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]


def kernels_without_oracle(
    kernels: Path, oracles: Path, renamed: dict[str, str], without: dict[str, str]
) -> list[str]:
    """Public CPU kernels without a namesake among the oracles, and exceptions that are none.

    ``renamed`` gives the name of the oracle where it is another, ``without`` the reason why there
    is no oracle; both for ``module.function`` or for a whole ``module``.
    """
    known = {name for path in oracles.glob("*.py") for name in public_functions(path)}
    found, used = [], set()
    for path in sorted(kernels.glob("*.py")):
        for name in public_functions(path):
            dotted = f"{path.stem}.{name}"
            if dotted in without or path.stem in without:
                used |= {dotted, path.stem}
            elif renamed.get(dotted, name) not in known:
                found.append(f"kernels/cpu/{dotted} has no oracle")
            if dotted in renamed:
                used.add(dotted)
    for name in [*renamed, *without]:
        if name not in used:
            found.append(f"{name} is excepted, but there is no such kernel")
    return found


def oracle_offences(oracles: Path) -> list[str]:
    """Oracles that import more than NumPy and the standard library, or share a public name."""
    import sys

    found, homes = [], {}
    for path in sorted(oracles.glob("*.py")):
        for node in ast.walk(_parsed(path)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                if top not in ("numpy", "oracles") and top not in sys.stdlib_module_names:
                    found.append(f"oracles/{path.name}:{node.lineno} imports {name}")
        for name in public_functions(path):
            if name in homes:
                found.append(f"{name} is an oracle of {homes[name]} and of {path.name}")
            homes[name] = path.name
        if not (ast.get_docstring(_parsed(path)) or "").partition("\n")[0]:
            found.append(f"oracles/{path.name} does not say what it holds")
    return found


def _places(tree: Tree, allowed: str) -> Iterator[tuple[str, ast.AST]]:
    for module, parsed in tree.parsed.items():
        if module != allowed:
            for node in ast.walk(parsed):
                yield module, node


_MARKS = ("detach", "requires_grad", "__cuda_array_interface__", "__dlpack__")


def array_questions(tree: Tree) -> list[str]:
    """Places outside ``_arrays`` that ask which library or device an array is of.

    A ``type(..).__module__`` in an f-string names a class, and asks nothing.
    """
    found = []
    spoken = {
        id(part)
        for _, node in _places(tree, "_arrays")
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
    }
    for module, node in _places(tree, "_arrays"):
        asked = None
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("hasattr", "getattr"):
            named = node.args[1] if len(node.args) > 1 else None
            if isinstance(named, ast.Constant) and named.value in _MARKS:
                asked = f"{node.func.id}(.., {named.value!r})"
        elif isinstance(node, ast.Attribute) and node.attr == "is_cuda":
            asked = ".is_cuda"
        elif (
            isinstance(node, ast.Attribute)
            and node.attr == "__module__"
            and isinstance(node.value, ast.Call)
            and getattr(node.value.func, "id", "") == "type"
            and id(node) not in spoken
        ):
            asked = "type(..).__module__"
        if asked:
            found.append(f"{module}:{node.lineno} asks {asked}: use fastgen._arrays")
    return found


def counted_frames(tree: Tree) -> list[str]:
    """Places outside ``_warnings`` that count stack frames by hand."""
    return [
        f"{module}:{node.value.lineno} counts frames: use fastgen._warnings.warn"
        for module, node in _places(tree, "_warnings")
        if isinstance(node, ast.keyword) and node.arg == "stacklevel"
    ]


def progress_bars(tree: Tree) -> list[str]:
    """Places outside ``_progress`` that import tqdm."""
    found = []
    for module, node in _places(tree, "_progress"):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.partition(".")[0] == "tqdm" for name in names):
            found.append(f"{module}:{node.lineno} imports tqdm: use fastgen._progress.reporter")
    return found


def loaded_files(tree: Tree) -> list[str]:
    """Places outside ``_files`` that call ``np.load``."""
    return [
        f"{module}:{node.lineno} calls np.load: use fastgen._files"
        for module, node in _places(tree, "_files")
        if isinstance(node, ast.Attribute)
        and node.attr == "load"
        and getattr(node.value, "id", "") in ("np", "numpy")
    ]


def code_lines(path: Path) -> int:
    """Count the lines of a file without its docstrings."""
    parsed = _parsed(path)
    total = len(path.read_text(encoding="utf-8").splitlines())
    for node in ast.walk(parsed):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            total -= node.body[0].end_lineno - node.body[0].lineno + 1
    return total


def long_files(folder: Path) -> list[str]:
    """Python files of 500 lines and more, docstrings not counted."""
    return [
        f"{path.relative_to(folder)} has {code_lines(path)} lines: split it where a concept ends"
        for path in sorted(folder.rglob("*.py"))
        if code_lines(path) >= LINES
    ]


# The field's spelling of identifiers is American. Stems that begin a word of a name.
BRITISH = (
    "analys(e|ed|es|ing)$", "bidiagonalis", "cancell(ed|ing)", "catalogu", "centr(e|es|ed|ing)$",
    "colour", "diagonalis", "favour", "generalis", "grey", "initialis", "labell", "linearis",
    "maximis", "minimis", "modell", "neighbour", "normalis", "optimis", "orthogonalis",
    "orthonormalis", "parallelis", "penalis", "randomis", "regularis", "summaris", "symmetris",
    "synchronis", "vectoris", "visualis", "whitenis", "licenc",
)  # fmt: skip


def british_names(folder: Path) -> list[str]:
    """Identifiers (names, arguments, attributes defined here) in British spelling."""
    import re

    wanted = re.compile("|".join(f"^({stem})" for stem in BRITISH))
    found = set()
    for path in sorted(folder.rglob("*.py")):
        names: dict[str, int] = {path.stem: 1}
        for node in ast.walk(_parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names[node.name] = node.lineno
            elif isinstance(node, ast.arg):
                names[node.arg] = node.lineno
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names[node.id] = node.lineno
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names[node.attr] = node.lineno
        for name, line in names.items():
            words = re.findall(r"[A-Z]?[a-z]+", name)
            if any(wanted.match(word.lower()) for word in words):
                found.add(f"{path.relative_to(folder)}:{line} {name}")
    return sorted(found)
