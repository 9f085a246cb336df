"""The bucket, which alone is the truth: the Store protocol, the catalogue in it, and the streams that go in and out.

May import rules and api.
"""
