"""Sweeps: one scripted run over many parameters and seeds, on this machine or on many."""
