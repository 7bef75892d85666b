"""What the site needs beyond Markdown and without a network: formulas as MathML, the diagram as a table."""

import html
import re

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
DIAGRAM = re.compile(r"```mermaid\nflowchart TB\n(.*?)```", re.DOTALL)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Turn a flow chart, which GitHub draws by a script, into a table of what needs what."""
    return DIAGRAM.sub(lambda found: _table(found[1]), markdown)


def on_page_content(content: str, **_: object) -> str:
    """Turn formulas into MathML, which browsers lay out by themselves."""
    return FORMULA.sub(lambda found: _mathml(found[3], found[2]), content)


def _mathml(tex: str, bracket: str) -> str:
    return convert(html.unescape(tex), display="block" if bracket == "[" else "inline")


def _table(arrows: str) -> str:
    needs: dict[str, list[str]] = {}
    for source, target in re.findall(r"(\w+) --> (\w+)", arrows):
        needs.setdefault(source, [])
        needs.setdefault(target, []).append(source)
    listed = {rule: ", ".join(f"`{name}`" for name in found) or "-" for rule, found in needs.items()}
    rows = (f"| `{rule}` | {names} |" for rule, names in listed.items())
    return "\n".join(["| rule | needs |", "|---|---|", *rows])
