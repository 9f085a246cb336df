"""How long a backup and a restore take, and how much memory, against the standard tools on the same data in the same run.

`python -m bench` (or `make bench`) starts a PostgreSQL 15 and an S3 server of its own on this machine, fills a database as
the demo does, and runs both sides in turns. Not part of CI: a busy machine measures itself.
"""
