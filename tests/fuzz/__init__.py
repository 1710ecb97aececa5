"""Fuzzing of all code that reads bytes of others: ``make fuzz``, by atheris.

A target is a function of bytes with an oracle. ``corpus`` has inputs that together reach what
campaigns have reached; ``make test`` replays it, without atheris.
"""
