"""What the house demands of docstrings: numpydoc sections that agree with the code."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator

from house.checks import Tree, exported

_ROLE = re.compile(r":(func|class|meth|mod|attr|data|exc|obj|ref):`")
_SECTION = re.compile(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", re.MULTILINE)
_DEFAULT = re.compile(r"\bdefault:?\s+(.+)$")
# Descriptions that only a reader of the name beside them can finish.
_GENITIVE = re.compile(r"^Of\b")
_TYPED = ("Parameters", "Attributes", "Returns", "Yields", "Other Parameters")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclasses.dataclass
class Entry:
    """One entry of a section: its names, its type and its description."""

    names: list[str]
    kind: str
    text: str


@dataclasses.dataclass
class Docstring:
    """A docstring, taken apart."""

    text: str
    sections: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Docstring:
        parts = _SECTION.split(text)
        return cls(text, dict(zip(parts[1::2], parts[2::2], strict=True)))

    def entries(self, section: str) -> list[Entry]:
        found: list[Entry] = []
        for line in self.sections.get(section, "").splitlines():
            if line.strip() and not line.startswith(" "):
                names, _, kind = line.partition(" : ")
                found.append(Entry([n.strip(" *`\\") for n in names.split(",")], kind, ""))
            elif found and line.strip():
                found[-1].text += (" " if found[-1].text else "") + line.strip()
        return found


def _functions(
    tree: Tree,
) -> Iterator[tuple[str, str, Function | ast.ClassDef, ast.ClassDef | None]]:
    """Module, dotted name, node and the class around it, of everything at two levels."""
    for module, parsed in tree.parsed.items():
        for node in parsed.body:
            if isinstance(node, Function):
                yield module, node.name, node, None
            elif isinstance(node, ast.ClassDef):
                yield module, node.name, node, None
                for inner in node.body:
                    if isinstance(inner, Function):
                        yield module, f"{node.name}.{inner.name}", inner, node


def _arguments(node: Function, method: bool) -> dict[str, ast.expr | None]:
    """Parameters with their defaults."""
    spec = node.args
    plain = [*spec.posonlyargs, *spec.args]
    found: dict[str, ast.expr | None] = {argument.arg: None for argument in plain}
    for argument, default in zip(reversed(plain), reversed(spec.defaults), strict=False):
        found[argument.arg] = default
    for argument in filter(None, (spec.vararg,)):
        found[argument.arg] = None
    for argument, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
        found[argument.arg] = value
    if spec.kwarg:
        found[spec.kwarg.arg] = None
    static = any(getattr(d, "id", "") == "staticmethod" for d in node.decorator_list)
    if method and not static and plain:
        del found[plain[0].arg]
    return found


def _is_dataclass(node: ast.ClassDef) -> bool:
    parts = [*node.decorator_list, *node.bases]
    return any(re.search("dataclass|NamedTuple", ast.unparse(part)) for part in parts)


def _signature(node: Function | ast.ClassDef, around: ast.ClassDef | None) -> dict | None:
    """Parameters of a function, or of a class: its ``__init__``'s, or the fields of a dataclass."""
    if isinstance(node, Function):
        return _arguments(node, around is not None)
    for inner in node.body:
        if isinstance(inner, Function) and inner.name == "__init__":
            return _arguments(inner, True)
    if _is_dataclass(node):
        return {
            field.target.id: field.value
            for field in node.body
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and "ClassVar" not in ast.unparse(field.annotation)
            and not (field.value and "init=False" in ast.unparse(field.value))
        }
    return None


def _inherited(node: ast.AST, module: ast.Module) -> set[str]:
    """Return the fields that a dataclass has from its bases in the same file."""
    bases = {getattr(base, "id", "") for base in getattr(node, "bases", ())}
    return {
        name
        for base in module.body
        if isinstance(base, ast.ClassDef) and base.name in bases and _is_dataclass(base)
        for name in {*(_signature(base, None) or {}), *_inherited(base, module)}
    }


def _value(expression: ast.expr, constants: dict[str, ast.expr]) -> str:
    """Write an expression as one writes it in prose: constants filled in, powers multiplied out."""
    if isinstance(expression, ast.Name) and expression.id in constants:
        expression = constants[expression.id]
    if isinstance(expression, ast.Call) and expression.keywords:  # field(default=...)
        expression = next((k.value for k in expression.keywords if k.arg == "default"), expression)
    try:
        found = eval(compile(ast.Expression(expression), "", "eval"), {"__builtins__": {}})
    except NameError:
        return ast.unparse(expression).removeprefix("np.")
    return repr(float(found)) if type(found) in (int, float) else repr(found)


def _same(documented: str, default: ast.expr, constants: dict[str, ast.expr]) -> bool:
    shown = documented.strip().strip("`").replace("``", "")
    wanted = _value(default, constants)
    if re.fullmatch(r"[\d _]+", shown):  # 20 000
        shown = shown.replace(" ", "")
    try:
        return _value(ast.parse(shown, mode="eval").body, constants).strip("'") == wanted.strip("'")
    except SyntaxError:
        return shown == wanted.strip("'")


def _quiet(entry: Entry, default: ast.expr, constants: dict[str, ast.expr]) -> bool:
    """Whether an entry hides that there is a default; in ``{"a", "b"}`` the first one is it."""
    kind = entry.kind
    if re.search(r"\b(optional|ignored)\b", kind) or re.match("(As|See) ", entry.text):
        return False
    if isinstance(default, ast.Constant) and default.value is None:
        return "None" not in kind
    first = re.match(r"\{([^,}]+)[,}]", kind)
    return not (first and _same(first[1], default, constants))


def defaults(tree: Tree) -> list[str]:
    """Documented defaults that are not the signature's, and public ones that are kept quiet."""
    public = set(public_names(tree))
    found = []
    for module, name, node, around in _functions(tree):
        doc, signature = ast.get_docstring(node), _signature(node, around)
        if not doc or not signature:
            continue
        constants = {
            item.targets[0].id: item.value
            for item in tree.parsed[module].body
            if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name)
        }
        for entry in Docstring.parse(doc).entries("Parameters"):
            for parameter in entry.names:
                default = signature.get(parameter)
                said = _DEFAULT.search(entry.kind)
                where = f"{module}:{node.lineno} {name}: {parameter}"
                if said and default is None and parameter in signature:
                    found.append(f"{where} has no default, documented {said[1]!r}")
                elif said and default is not None and not _same(said[1], default, constants):
                    real = ast.unparse(default)
                    found.append(f"{where} has the default {real}, documented {said[1]!r}")
                elif default is None or said or (module, name.partition(".")[0]) not in public:
                    continue
                elif _quiet(entry, default, constants):
                    found.append(f"{where} does not say that its default is {ast.unparse(default)}")
    return found


def parameters(tree: Tree) -> list[str]:
    """Parameters that are documented and do not exist, or exist and are not documented."""
    found = []
    for module, name, node, around in _functions(tree):
        doc, signature = ast.get_docstring(node), _signature(node, around)
        if not doc or signature is None:
            continue
        parsed = Docstring.parse(doc)
        if "Parameters" not in parsed.sections:
            continue
        told = [n for e in parsed.entries("Parameters") for n in e.names]
        told += [n for e in parsed.entries("Other Parameters") for n in e.names]
        public = [argument for argument in signature if not argument.startswith("_")]
        where = f"{module}:{node.lineno} {name}"
        known = {*signature, *_inherited(node, tree.parsed[module])}
        found += [f"{where} documents {n!r}, which is no parameter" for n in told if n not in known]
        found += [f"{where} does not document {n!r}" for n in public if n not in told]
    return found


def public_names(tree: Tree) -> Iterator[tuple[str, str]]:
    """Module and name of everything that a public package or module exports."""
    for module in tree.paths:
        package = module.removesuffix("__init__").rstrip(".")
        if not module.endswith("__init__") or "." in package or package.startswith("_"):
            continue
        homes = {
            edge.name: edge.target
            for edge in tree.edges
            if edge.source == module and edge.name is not None
        }
        for name in exported(tree, module):
            below = tree.module(f"{package}.{name}".lstrip("."))
            if name in homes:
                yield homes[name], name
            elif below is not None and not below.endswith("__init__"):
                listed = exported(tree, below)
                for node in tree.parsed[below].body:
                    own = getattr(node, "name", "_")
                    if own in listed or (not listed and not own.startswith("_")):
                        yield below, own


def _returns(node: Function) -> bool:
    return any(
        isinstance(part, ast.Return)
        and part.value is not None
        and not (isinstance(part.value, ast.Constant) and part.value.value is None)
        for part in _own(node)
    )


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a function without the functions in it."""
    for part in ast.iter_child_nodes(node):
        if not isinstance(part, Function | ast.Lambda | ast.ClassDef):
            yield part
            yield from _own(part)


def sections(tree: Tree, without_doctest: dict[str, str] | None = None) -> list[str]:
    """Public functions, classes and their methods without the sections that apply to them.

    Dataclasses are results: the doctest of what returns them shows them. ``without_doctest`` gives
    the reason why others have none.
    """
    public = set(public_names(tree))
    found = []
    for module, name, node, around in _functions(tree):
        top = name.partition(".")[0]
        last = name.rpartition(".")[2]
        if (module, top) not in public or (last.startswith("_") and last != "__call__"):
            continue
        where = f"{module}:{node.lineno} {name}"
        text = ast.get_docstring(node)
        if not text:
            marks = [ast.unparse(decorator) for decorator in node.decorator_list]
            if not any("overload" in mark or mark.endswith(".setter") for mark in marks):
                found.append(f"{where} has no docstring")
            continue
        doc = Docstring.parse(text)
        plain = isinstance(node, Function) or not _is_dataclass(node)
        plain = plain and name not in (without_doctest or {})
        if around is None and ">>>" not in text and plain:
            found.append(f"{where} has no doctest")
        lacking = []
        if isinstance(node, ast.ClassDef):
            held = {"Parameters", "Attributes"} & set(doc.sections)
            if _signature(node, None) and not held:
                lacking.append("Parameters")
        elif around is None or len(text.splitlines()) > 1:
            if _arguments(node, around is not None) and "Parameters" not in doc.sections:
                lacking.append("Parameters")
            property_ = any("property" in ast.unparse(d) for d in node.decorator_list)
            if _returns(node) and not property_ and not {"Returns", "Yields"} & set(doc.sections):
                lacking.append("Returns")
        if isinstance(node, Function) and any(
            isinstance(p, ast.Raise) and p.exc for p in _own(node)
        ):
            if "Raises" not in doc.sections and "aise" not in text:
                lacking.append("Raises")
        found += [f"{where} has no section {section}" for section in lacking]
    return found


def genitives(tree: Tree) -> list[str]:
    """Descriptions such as "Of the pool.", which nobody can read without the name beside them."""
    found = []
    for module, name, node, _ in _functions(tree):
        doc = Docstring.parse(ast.get_docstring(node) or "")
        for section in _TYPED:
            for entry in doc.entries(section):
                if _GENITIVE.match(entry.text):
                    found.append(
                        f"{module}:{node.lineno} {name}: {', '.join(entry.names)}: {entry.text!r}"
                    )
    return found


def roles(tree: Tree) -> list[str]:
    """Roles of Sphinx in docstrings."""
    found = []
    for module, path in tree.paths.items():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if _ROLE.search(line):
                found.append(f"{module}:{number} {line.strip()}")
    return found
