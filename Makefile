# `make` alone lists what there is. Every target gets ready what it needs: see tests/rig/.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# rig: a one-node Kubernetes that the project starts on this machine (Debian 12, as root).
# current: the cluster of the current kubectl context, if it is marked as one that may be used up.
CLUSTER ?= rig
export CLUSTER

RIG := tests/rig
PYTHON := .venv/bin/python
# Arguments for pytest:  make test-unit ARGS='-k retention -x'
ARGS ?=
DATA_TESTS ?= tests/data

ifeq ($(CLUSTER),rig)
ENV := .rig/env
else ifeq ($(CLUSTER),current)
ENV := .rig/current/env
else
$(error CLUSTER is rig or current, not '$(CLUSTER)')
endif

export RIG_POSTGRES_MAJOR

.PHONY: help demo test cluster down check test-unit test-data test-data-newer test-cluster test-faults bench bench-encryption bench-operator bench-retention image crds lock venv

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\n  CLUSTER=current   with demo and test-cluster: the current kubectl context, in place of a cluster made here\n  ARGS=...          with test-unit, test-data, test-cluster: arguments for pytest\n'

##@ See it work
demo: venv cluster ## Back up, lose and restore a portal's database on a real cluster
	@source $(ENV) && $(PYTHON) -m tests.demo

##@ Test
test: ## Everything: check, test-unit, test-data, test-data-newer, test-cluster, test-faults
	@$(RIG)/test.sh check test-unit test-data test-data-newer test-cluster test-faults-cluster

check: venv ## Lint, format, types, layers, generated files
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/resguardo crd --check

test-unit: venv ## Decisions and models: no servers, half a minute
	$(PYTHON) -m pytest tests/unit $(ARGS)

test-data: venv ## On a real PostgreSQL, real S3 servers and azurite, which they start themselves
	@$(RIG)/machine.sh packages data
	@RIG_VERSITYGW=$$($(RIG)/build.sh --path versitygw) && RIG_MINIO=$$($(RIG)/build.sh --path minio) \
	&& RIG_AZURITE=$$($(RIG)/build.sh --path azurite) && RIG_POSTGRES_17=$$($(RIG)/build.sh --path postgres-17) \
	&& export RIG_VERSITYGW RIG_MINIO RIG_AZURITE RIG_POSTGRES_17 && set -x && $(PYTHON) -m pytest $(DATA_TESTS) $(ARGS)

ON_17 := test_census test_documented_roles test_fingerprint test_rights test_snapshot
test-data-newer: venv ## What of it asks the catalogs, on PostgreSQL 17
	@$(MAKE) --no-print-directory test-data ARGS="$(ARGS)" DATA_TESTS="$(ON_17:%=tests/data/%.py)" RIG_POSTGRES_MAJOR=17

test-cluster: venv helm kube-router cluster ## On a real Kubernetes, with the operator installed
	@source $(ENV) && set -x && $(PYTHON) -m pytest tests/cluster $(ARGS)

test-faults: ## All that breaks on purpose (docs/faults.md): data, then cluster
	@$(RIG)/test.sh test-faults-data test-faults-cluster

.PHONY: test-faults-data test-faults-cluster
test-faults-data: # they are part of test-data too
	@$(MAKE) --no-print-directory test-data ARGS='-m fault $(ARGS)'

test-faults-cluster: venv helm cluster
	@source $(ENV) && set -x && $(PYTHON) -m pytest tests/faults $(ARGS)

bench: venv ## Measure backups and restores
	@$(RIG)/machine.sh packages bench
	@RIG_VERSITYGW=$$($(RIG)/build.sh --path versitygw) && export RIG_VERSITYGW && $(PYTHON) -m bench $(ARGS)

bench-encryption: venv ## Measure what encryption costs a backup: age, and the store's own on MinIO
	@$(RIG)/machine.sh packages bench
	@RIG_VERSITYGW=$$($(RIG)/build.sh --path versitygw) && RIG_MINIO=$$($(RIG)/build.sh --path minio) \
	&& export RIG_VERSITYGW RIG_MINIO && $(PYTHON) -m bench.encryption $(ARGS)

bench-retention: venv ## Measure retention in a bucket of a million objects
	@RIG_VERSITYGW=$$($(RIG)/build.sh --path versitygw) && export RIG_VERSITYGW && $(PYTHON) -m bench.retention $(ARGS)

bench-operator: venv ## Measure the operator with 1, 1,000 and 5,000 policies
	@RIG_KUBE=$$($(RIG)/build.sh --path kube) && export RIG_KUBE && $(PYTHON) -m bench.scale $(ARGS)

##@ The cluster
ifeq ($(CLUSTER),rig)
cluster: ## Start it, or bring it up to date: Kubernetes, S3, two PostgreSQL servers, the image
	@$(RIG)/up.sh
else
cluster: venv
	@$(RIG)/current.sh up
endif

ifeq ($(CLUSTER),rig)
down: ## Stop it and leave nothing behind but caches
	@$(RIG)/down.sh
else
down:
	@$(RIG)/current.sh down
endif

##@ Build
image: venv ## Build the image (localhost/resguardo:dev), and its bill of materials (build/resguardo.cdx.json)
	@$(RIG)/machine.sh packages cluster
	@$(RIG)/sbom.sh "$$($(RIG)/image.sh)"

crds: venv ## Render the CRDs from the models, and what kustomize is told of them
	.venv/bin/resguardo crd

# `make lock UPGRADE=` only adds what is new in pyproject.toml, and leaves the rest as it is.
UPGRADE ?= --upgrade
COMPILE = .venv/bin/uv pip compile pyproject.toml -q --generate-hashes --no-header --python-version 3.11 $(UPGRADE)
lock: venv ## Renew both lock files within pyproject.toml's bounds
	$(COMPILE) -o requirements.lock
	$(COMPILE) --group dev -o requirements-dev.lock

venv: ## Make .venv as requirements-dev.lock says
	@$(RIG)/machine.sh venv

.PHONY: helm kube-router
helm: # a test installs the charts with it; the demo need not wait for it
ifeq ($(CLUSTER),rig)
	@$(RIG)/build.sh helm
endif

kube-router: # a test has NetworkPolicies enforced with it
ifeq ($(CLUSTER),rig)
	@$(RIG)/build.sh kube-router
endif
