"""Policies and requests to Kubernetes objects, Reports to status. Speaks only to Kubernetes and holds no credentials.

May import rules and api.
"""
