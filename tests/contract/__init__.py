"""The rules for every ``Machine``, run against each implementation.

Inside the lab this runs with pytest alone: nothing here may import the fake or an assembler
before a test outside the lab asks for it.
"""
