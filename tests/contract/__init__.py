"""What every ``Machine`` must do, run against each implementation there is.

Inside the lab this runs with pytest alone: nothing here may import the fake or an assembler
before a test outside the lab asks for it.
"""
