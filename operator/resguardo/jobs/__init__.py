"""What a pod runs, and a person by hand: check, backup, catalog, restore. Source, stream, store, Report; nothing more.

May import postgres, store, rules and api.
"""
