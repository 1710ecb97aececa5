"""Long runs in which nothing may be lost and nothing may grow: ``make load``.

``tests/contract/test_load.py`` and ``tests/kvm/test_load.py`` are short forms of the same runs.
"""
