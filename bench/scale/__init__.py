"""What the operator costs with one, a thousand and five thousand policies: memory, processor, requests, and how soon it tells.

`python -m bench.scale` (or `make bench-operator`) starts etcd and an API server of its own on loopback, with nothing that
runs pods: the bench plays Job controller and kubelet by writing the status of Jobs and pods. Not part of CI.
"""
