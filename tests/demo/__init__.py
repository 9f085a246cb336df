"""The main job shown on a real cluster: a portal's database is backed up, lost, and brought back, and proven equal.

`python -m tests.demo` tells the story; `portal` makes the data, `comparison` proves them equal, for tests and the bench too.
"""
