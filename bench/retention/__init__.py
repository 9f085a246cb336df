"""What it costs to look at a bucket of a million objects, and to carry retention out there."""
