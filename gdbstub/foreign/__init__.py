"""Guests of other VMMs: their processes are traced, their own KVM descriptors used."""
