"""What users write and read: the resources, their conditions, and the Report, Manifest and Census that the halves exchange.

Knows no I/O and no clock, and imports nothing else of Resguardo; every other package may import it.
"""
