"""PostgreSQL: connections, its command line tools, locks and snapshots, the census, and what a restore must read and set.

May import rules and api.
"""
