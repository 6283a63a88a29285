"""A verdict as JUnit XML, which every CI shows: one test case for each check."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from pipeline.checks import Finding
from pipeline.cli.diagnosis import Diagnosis
from pipeline.errors import NOT_JUDGED

CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Letters that XML cannot hold."""


def junit_xml(diagnosis: Diagnosis) -> str:
    """Return a test suite with a failed case for each check that fails the run.

    A check that could not judge is skipped, and a finding that fails nothing is the output of its case. The case
    `verdict` is an error where too little was logged for one.
    """
    by_check: dict[str, list[Finding]] = {}
    for finding in diagnosis.findings:
        by_check.setdefault(finding.check, []).append(finding)
    suite = ET.Element("testsuite", name=f"diagnose {diagnosis.path}")
    failures = 0
    for name in dict.fromkeys([*by_check, *diagnosis.judged]):
        stages = [finding.stage for finding in by_check.get(name, ())]
        case = ET.SubElement(suite, "testcase", name=name, classname=f"diagnose.{stages[0] if stages else 'checks'}")
        for finding in by_check.get(name, ()):
            is_failure = diagnosis.fails(finding)
            failures += is_failure
            element = ET.SubElement(case, "failure" if is_failure else "system-out")
            if is_failure:
                element.attrib.update(type=finding.severity, message=_clean(finding.message))
            element.text = _clean(_text(finding))
    for entry in diagnosis.not_checked:
        case = ET.SubElement(suite, "testcase", name=entry.check, classname="diagnose.checks")
        ET.SubElement(case, "skipped", message=_clean(entry.reason))
    if diagnosis.exit_code == NOT_JUDGED:
        case = ET.SubElement(suite, "testcase", name="verdict", classname="diagnose.checks")
        ET.SubElement(case, "error", message="too little was logged for a verdict")
    errors = len(suite.findall("testcase/error"))
    counts = {"tests": len(suite), "failures": failures, "errors": errors, "skipped": len(diagnosis.not_checked)}
    suite.attrib.update({key: str(value) for key, value in counts.items()})
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _text(finding: Finding) -> str:
    lines = [f"{finding.severity}: {finding.message}", f"expected {finding.expected}", finding.why]
    lines += [f"try {' '.join(finding.remedy)}"] if finding.remedy else []
    lines += [f"change: {finding.advice}"] if finding.advice else []
    return "\n".join([*lines, *([finding.code] if finding.code else [])])


def _clean(text: str) -> str:
    return CONTROL.sub("?", text)
