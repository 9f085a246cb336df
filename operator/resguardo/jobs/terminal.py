"""Documents on a terminal: what comes from a bucket is untrusted, and must speak to a person only."""

from __future__ import annotations

import json
from typing import Any

import yaml

from resguardo.api.text import printable_json


def to_json(document: Any) -> str:
    """The document as JSON, one field a line.

    >>> print(to_json({"name": "São João\\x1b\\x9b"}))
    {
      "name": "São João\\u001b\\u009b"
    }
    """
    return printable_json(json.dumps(document, indent=2, ensure_ascii=False))


def to_yaml(document: Any) -> str:
    """The document as YAML.

    >>> print(to_yaml({"name": "São João", "at": "2026-11-23T05:00:00Z"}))
    name: São João
    at: '2026-11-23T05:00:00Z'
    >>> print(to_yaml({"name": "São João\\u202e"}))
    name: "S\\xE3o Jo\\xE3o\\u202E"
    """
    text = _dump(document, allow_unicode=True)
    if not text.replace("\n", "").isprintable():
        # YAML takes for printable what turns a line's direction or ends it.
        text = _dump(document, allow_unicode=False)
    return text.rstrip("\n")


#: libyaml's, where PyYAML was built with it, is ten times as fast.
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _dump(document: Any, *, allow_unicode: bool) -> str:
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=allow_unicode))
