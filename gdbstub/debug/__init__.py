"""The debug core: a Target over any Machine. What it runs, why it stopped, what it inserted."""
