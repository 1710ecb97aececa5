"""The one exception of the lab: what went wrong and what to do about it, in one line.

It knows nothing of the stub's own errors: the lab stands beside the stub, not in it.
"""


class LabError(Exception):
    """The lab cannot do what was asked; ``str()`` is one line for the person who asked."""
