"""Tests on real KVM, in the lab or natively."""
