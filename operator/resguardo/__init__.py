"""Resguardo makes an organisation's PostgreSQL backup policy true and provable on Kubernetes."""

__version__ = "0.1.0"
