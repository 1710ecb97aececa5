"""Guests of other VMMs: their processes are traced, and debugged through their own KVM descriptors."""
