"""A model of the cluster in which test_controller_machine lets a controller live: what it writes to, what runs in it, and
what must hold.
"""
