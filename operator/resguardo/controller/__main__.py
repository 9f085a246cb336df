"""`python -m resguardo.controller --image IMAGE [--namespace NAME]...`: the operator by hand, with one's own kubeconfig."""

from __future__ import annotations

import argparse

from resguardo.controller.operator import LIVENESS_PORT, METRICS_PORT, run_operator


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m resguardo.controller", description=__doc__)
    parser.add_argument("--image", required=True)
    parser.add_argument("--namespace", action="append")
    parser.add_argument("--liveness-port", type=int, default=LIVENESS_PORT)
    parser.add_argument("--metrics-port", type=int, default=METRICS_PORT)
    arguments = parser.parse_args()
    run_operator(
        arguments.namespace,
        image=arguments.image,
        liveness_port=arguments.liveness_port,
        metrics_port=arguments.metrics_port,
    )


if __name__ == "__main__":
    main()
