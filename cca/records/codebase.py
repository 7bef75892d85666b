"""A digest of the code that a stage runs, so that changing code re-runs what depends on it."""

import ast
import hashlib
import sys
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import resolve_name
from pathlib import Path

import cca


def digest(*modules: str) -> str:
    """SHA-256 over the code of the named modules and of all that they reach.

    Comments, docstrings (strings below constants, too) and layout do not count.
    """
    code = "".join(f"{module}\n{_read(module)[0]}\n" for module in reached(*modules))
    return hashlib.sha256(code.encode()).hexdigest()


def reached(*modules: str) -> list[str]:
    """The named modules and everything of ``cca`` that they import, transitively, in order.

    Plug-ins are loaded by name at run time, which no static reading finds: name those that are used.
    """
    found: set[str] = set()
    queue = list(modules)
    while queue:
        module = queue.pop()
        if module not in found:
            found.add(module)
            queue += _read(module)[1]
    return sorted(found)


@cache
def _read(module: str) -> tuple[str, list[str]]:
    """The code of a module without docstrings, and the modules of ``cca`` that it imports."""
    spec = _found(module)
    assert spec is not None and spec.origin is not None, f"{module} is no module with a file"
    tree = ast.parse(Path(spec.origin).read_text())
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [ast.Pass()]  # it never runs
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), spec.parent)
            imports += [source, *(f"{source}.{name.name}" for name in node.names)]
        for name, part in ast.iter_fields(node):
            if isinstance(part, list):
                setattr(node, name, [each for each in part if not _is_docstring(each)])
    return ast.dump(tree), [name for name in imports if _is_ours(name)]


def _is_docstring(node: object) -> bool:
    """Whether a statement is a string and nothing else, wherever it stands: it does nothing."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_ours(name: str) -> bool:
    return name.startswith("cca.") and _found(name) is not None


@cache
def _found(module: str) -> ModuleSpec | None:
    """Where a module of ``cca`` is; unlike by `importlib.util.find_spec` no package is imported for it."""
    if module in sys.modules:
        return sys.modules[module].__spec__
    package = module.rpartition(".")[0]
    if package == "cca":
        return PathFinder.find_spec(module, cca.__path__)
    above = _found(package)
    path = above and getattr(sys.modules.get(package), "__path__", above.submodule_search_locations)
    return PathFinder.find_spec(module, path) if path else None
