"""Text in an XML document. It makes no document: each stands with the packet that reads it."""


def escape(text: str) -> str:
    """*text* as it may stand between tags and in quotes."""
    # A twentieth of what xml.sax.saxutils imports. Not at the top: a start would wait for its
    # table of entities.
    import html

    return html.escape(text)
