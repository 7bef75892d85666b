"""What a page of HTML asks of a network."""

import re

LOADED = re.compile(r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*>")
LINKED = re.compile(r"<link\b[^>]*\bhref=[\"']?(?:https?:)?//[^>]*>")


def elsewhere(html: str) -> list[str]:
    """Tags that load something from elsewhere; a page's own canonical address is not loaded."""
    return LOADED.findall(html) + [link for link in LINKED.findall(html) if 'rel="canonical"' not in link]
