"""Findings as SARIF 2.1.0, which code hosts and editors show beside the code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from pipeline.checks import Finding
from pipeline.checks.baseline import DOCS
from pipeline.cli.check_docs import CheckDoc, check_docs
from pipeline.cli.diagnosis import Diagnosis
from pipeline.runs.json_files import to_json

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {"failure": "error", "warning": "warning", "info": "note"}


def sarif_json(diagnosis: Diagnosis) -> str:
    """Return a log with one run: a rule for each check that judged, and a result for each finding."""
    docs = check_docs()
    names = list(dict.fromkeys([*(finding.check for finding in diagnosis.findings), *diagnosis.judged]))
    driver = {"name": "pipeline diagnose", "rules": [_rule(name, docs) for name in names]}
    run = {
        "tool": {"driver": driver},
        "results": [_result(finding, names.index(finding.check), diagnosis) for finding in diagnosis.findings],
        "properties": {
            "status": diagnosis.status,
            "notChecked": {entry.check: entry.reason for entry in diagnosis.not_checked},
        },
    }
    return json.dumps(json.loads(to_json({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})), indent=1) + "\n"


def _rule(name: str, docs: Mapping[str, CheckDoc]) -> dict[str, Any]:
    if name in DOCS:
        doc = DOCS[name]
        return {
            "id": name,
            "shortDescription": {"text": doc.rule},
            "fullDescription": {"text": doc.why},
            "help": {"text": doc.advice},
        }
    if name not in docs:
        return {"id": name, "shortDescription": {"text": name}}
    page = docs[name]
    return {
        "id": name,
        "shortDescription": {"text": page.anti_pattern},
        "fullDescription": {"text": page.rule},
        "help": {"text": page.rule_class.why, "markdown": page.markdown()},
    }


def _result(finding: Finding, index: int, diagnosis: Diagnosis) -> dict[str, Any]:
    cure = f" Try {' '.join(finding.remedy)}." if finding.remedy else f" {finding.advice}" if finding.advice else ""
    uri = os.path.relpath(diagnosis.path).replace(os.sep, "/")
    return {
        "ruleId": finding.check,
        "ruleIndex": index,
        "level": LEVELS[finding.severity],
        "message": {"text": f"{finding.message} Expected {finding.expected}.{cure}"},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}}}],
        "properties": finding.to_dict(),
    }
