"""Escaped text for XML documents, which the modules of their packets make."""


def escape(text: str) -> str:
    """Escape *text* for use between tags and in quotes."""
    # It imports a twentieth of what xml.sax.saxutils does. Imported here, as a start would pay for
    # its table of entities.
    import html

    return html.escape(text)
