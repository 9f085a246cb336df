"""Servers that tests share; each module starts its own, once a run and only when a test asks for it."""

pytest_plugins = [
    "tests.fixtures.s3",
    "tests.fixtures.minio",
    "tests.fixtures.azurite",
    "tests.fixtures.stores",
    "tests.fixtures.postgres",
    "tests.fixtures.place",
    "tests.fixtures.history",
    "tests.fixtures.cluster",
    "tests.fixtures.portal",
    "tests.fixtures.node",
    "tests.fixtures.s3_roles",
]
