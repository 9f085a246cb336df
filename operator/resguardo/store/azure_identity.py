"""An identity of Microsoft Entra's, proven by the token that Kubernetes gives a service account (Workload ID).

https://learn.microsoft.com/azure/aks/workload-identity-overview: its webhook puts the variables and the token into the pod.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from azure.core.credentials import TokenCredential
from azure.identity import WorkloadIdentityCredential


def federated(
    *, client_id: str, tenant_id: str, token_file: Path, authority: str | None, **options: Any
) -> TokenCredential:
    """Gives out tokens, for which the service account's is read anew each time one expires. Sends nothing yet."""
    return WorkloadIdentityCredential(
        client_id=client_id,
        tenant_id=tenant_id,
        token_file_path=str(token_file),
        # The pod's own cloud says so (AZURE_AUTHORITY_HOST): nobody else is to be asked whether it is one.
        **({"authority": authority, "disable_instance_discovery": True} if authority else {}),
        **options,
    )
