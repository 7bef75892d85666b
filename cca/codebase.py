"""A digest of the code that a stage runs, so that changing code re-runs what depends on it."""

import ast
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path


def digest(*modules: str) -> str:
    """SHA-256 over the named modules and everything of ``cca`` that they import, transitively.

    Comments, docstrings and layout do not count. Plug-ins are loaded by name at run time, which no
    static reading finds: name those that the stage uses.
    """
    found: set[str] = set()
    queue = list(modules)
    while queue:
        module = queue.pop()
        if module not in found:
            found.add(module)
            queue += _read(module)[1]
    code = "".join(f"{module}\n{_read(module)[0]}\n" for module in sorted(found))
    return hashlib.sha256(code.encode()).hexdigest()


@cache
def _read(module: str) -> tuple[str, list[str]]:
    """The code of a module without docstrings, and the modules of ``cca`` that it imports."""
    tree = ast.parse(Path(find_spec(module).origin).read_text())
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports.append(node.module)
            imports += [f"{node.module}.{name.name}" for name in node.names]
        elif (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree), [name for name in imports if _is_ours(name)]


def _is_ours(name: str) -> bool:
    if not name.startswith("cca."):
        return False
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a name inside a module, not a module
        return False
