"""Tables as pages of their own, for the workflow's report."""

from html import escape

import pandas as pd

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>{title}</title>
<style>
  body {{ font: 14px/1.4 system-ui, sans-serif; margin: 1em; color: #222 }}
  h2 {{ margin: 2em 0 .7em; font-size: 17px }}
  table {{ border-collapse: collapse }}
  th, td {{ padding: .3em .7em; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd }}
  th {{ border-bottom: 2px solid #222; position: sticky; top: 0; background: white }}
  tr:hover td {{ background: #f4f4f4 }}
  summary {{ cursor: pointer; margin: .7em 0; color: #0072B2 }}
  img {{ max-width: 100%; width: 60em }}
</style>
<main>
{content}
</main>
"""


def page(title: str, frame: pd.DataFrame, details: pd.DataFrame | None = None) -> str:
    """A page with one table and, to be unfolded, one of details; text is escaped."""
    tables = [_table(frame)] + ([] if details is None else [folded("details", _table(details))])
    return PAGE.format(title=escape(title), content="\n".join(tables))


def folded(name: str, content: str) -> str:
    """What is shown when its name is clicked."""
    return f"<details><summary>{escape(name)}</summary>\n{content}\n</details>"


def _table(frame: pd.DataFrame) -> str:
    return frame.to_html(index=False, border=0, na_rep="-")


def content(page: str) -> str:
    """What is on a page of this module's."""
    return page.partition("<main>")[2].partition("</main>")[0]
