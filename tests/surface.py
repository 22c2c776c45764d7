"""The public surface as text: every public name with its parameters, fields and types, as they stand in the source.

    python tests/surface.py

writes it to `tests/public_surface.txt`; a test fails while the two differ, so that every change of the surface is deliberate.
It is read from the source, because what Python shows of a type differs between its versions.
"""

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

PACKAGE: Final = Path(__file__).parent.parent / "capgo_async"
STORED: Final = Path(__file__).with_name("public_surface.txt")
MADE_BY_OTHERS: Final = frozenset(
    {
        *("ApiKeys", "Apps", "Bundles", "Channels", "Devices", "Members", "Organizations", "Statistics"),
        *("Job", "Listing", "VirtualClock"),
    }
)
"""Classes whose constructors are no part of the surface: methods of others make them."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Found(NamedTuple):
    """Where a name is defined, and how; several nodes are the overloads of one function."""

    module: str
    nodes: tuple[ast.stmt, ...]


@functools.cache
def tree_of(module: str) -> ast.Module:
    place = PACKAGE.joinpath(*module.split("."))
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(path.read_text())


def statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that a type checker reads."""
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from statements(node.body)
        else:
            yield node


def names_of(module: str) -> list[str]:
    """Return `__all__` of a module."""
    for node in tree_of(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    message = f"{module or 'capgo_async'} has no __all__"
    raise LookupError(message)


MODULES: Final = (
    "",
    *(name for name in names_of("") if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()),
    "telemetry",  # needs an extra, so the package does not hand it on
)
"""The public modules; what another module has is nobody's business but ours."""


def absolute(module: str, node: ast.ImportFrom) -> str:
    """Return the module, relative to the package, that a relative import names."""
    inside = module.split(".") if module else []
    if not (PACKAGE.joinpath(*inside).is_dir()):
        inside.pop()
    inside = inside[: len(inside) - node.level + 1]
    return ".".join([*inside, *([node.module] if node.module else [])])


@functools.cache
def contents(module: str) -> tuple[dict[str, tuple[ast.stmt, ...]], dict[str, tuple[str, str]]]:
    """Return what a module defines by name, and what it imports of this package: each the module and its name there."""
    defined: dict[str, tuple[ast.stmt, ...]] = {}
    imported: dict[str, tuple[str, str]] = {}
    for node in statements(tree_of(module).body):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                defined[name] = (*defined.get(name, ()), node)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                defined[name] = (node,)
            case ast.ImportFrom(names=[ast.alias(name="*")], level=1):
                imported |= contents(absolute(module, node))[1]
            case ast.ImportFrom() if node.level:
                imported |= {each.asname or each.name: (absolute(module, node), each.name) for each in node.names}
            case _:
                pass
    return defined, imported


def find(module: str, name: str) -> Found | None:
    """Return where `name` of `module` is defined in this package; `None` for a module or something of others."""
    defined, imported = contents(module)
    if name in defined:
        return Found(module, defined[name])
    home, there = imported.get(name, ("", ""))
    return find(home, there) if home else None


def shown(name: str, found: Found) -> Iterator[str]:
    """Yield the lines of one public name."""
    *others, last = found.nodes
    match last:
        case ast.ClassDef():
            yield from class_lines(found.module, last)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from (signature(node) for node in (others or [last]) if isinstance(node, Function))
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            yield f"{name} = {ast.unparse(value)}"


def signature(node: Function) -> str:
    """Return a function's signature; parameters that begin with an underscore are nobody's."""
    arguments = node.args
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    public = [(argument, default) for argument, default in pairs if not argument.arg.startswith("_")]
    arguments.kwonlyargs, arguments.kw_defaults = [pair[0] for pair in public], [pair[1] for pair in public]
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{word} {node.name}({ast.unparse(arguments)}){returned}"


def class_lines(module: str, node: ast.ClassDef) -> Iterator[str]:
    bases = ", ".join(ast.unparse(each) for each in (*node.bases, *node.keywords))
    yield f"class {node.name}({bases})" if bases else f"class {node.name}"
    yield from (f"    {line}" for line in dict.fromkeys(members(module, node, node.name)))


def members(module: str, node: ast.ClassDef, name: str) -> Iterator[str]:
    """Yield the public members of a class, after those of its private bases."""
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id.startswith("_") and (found := find(module, base.id)):
            (inherited,) = found.nodes
            assert isinstance(inherited, ast.ClassDef)
            yield from members(found.module, inherited, name)
    for each in node.body:
        match each:
            case ast.AnnAssign(target=ast.Name(id=field)) | ast.Assign(targets=[ast.Name(id=field)]):
                if not field.startswith("_"):
                    yield ast.unparse(each)
            case ast.FunctionDef(name="__init__"):
                if name not in MADE_BY_OTHERS:
                    yield signature(each)
                yield from attributes(each)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from method(each, node)
            case _:
                pass


def method(node: Function, owner: ast.ClassDef) -> Iterator[str]:
    decorators = {ast.unparse(each) for each in node.decorator_list}
    same = [each for each in owner.body if isinstance(each, Function) and each.name == node.name]
    if node.name.startswith("_") or (len(same) > 1 and "overload" not in decorators):
        return
    if "property" in decorators:
        yield f"{node.name}: {ast.unparse(node.returns) if node.returns else '?'}"
    else:
        yield f"{'@classmethod ' if 'classmethod' in decorators else ''}{signature(node)}"


def attributes(constructor: ast.FunctionDef) -> Iterator[str]:
    """Yield the public attributes that a constructor sets, with their types where these are stated."""
    for node in ast.walk(constructor):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self" and not target.attr.startswith("_"):
            made = node.value if isinstance(node, ast.Assign) else None
            if isinstance(node, ast.AnnAssign):
                yield f"self.{target.attr}: {ast.unparse(node.annotation)}"
            elif isinstance(made, ast.Call) and isinstance(made.func, ast.Name) and made.func.id[0].isupper():
                yield f"self.{target.attr}: {made.func.id}"
            else:
                yield f"self.{target.attr}"


def surface() -> str:
    """Return the whole surface; a name that several modules have is shown once."""
    lines: list[str] = []
    before: dict[Found, str] = {}
    for module in MODULES:
        path = f"capgo_async.{module}" if module else "capgo_async"
        lines += [f"# {path}", ""]
        for name in names_of(module):
            found = find(module, name)
            if found is None or name == "__version__":
                lines.append(name)
            elif found in before:
                lines.append(f"{name} is {before[found]}")
            else:
                before[found] = f"{path}.{name}"
                lines += shown(name, found)
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    STORED.write_text(surface())
