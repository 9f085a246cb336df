"""A model of the cluster in which test_controller_machine lets a controller live.

audited_cluster: what operators write to. workload: what runs in it. life: what the three that act share: people,
control_plane, operators. invariants: what must hold.
"""
