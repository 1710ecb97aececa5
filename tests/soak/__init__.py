"""Random guest programs, run undebugged and debugged, whose end must be the same."""
