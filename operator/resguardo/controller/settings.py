"""What the controller must know of its surroundings, read once at its start."""

from __future__ import annotations

from dataclasses import dataclass

import resguardo


@dataclass(frozen=True)
class Settings:
    """The same for every reconcile of one process."""

    #: Image of the pods that do the work, where a resource names no other.
    image: str
    #: uid of the namespace kube-system: which cluster owns a prefix.
    cluster_id: str
    #: What is stamped on objects; an older version leaves alone what a newer one stamped.
    version: str = resguardo.__version__
