"""What measurements mean: rules over signals, and how their findings are evaluated and ranked.

Nothing in this room knows torch, a network or a configuration: a rule sees numbers.
"""

from pipeline.checks.finding import SEVERITIES, Finding, Severity
from pipeline.checks.judge import CheckSuite, rank_findings
from pipeline.checks.not_checked import NotChecked
from pipeline.checks.rule import Rule, check_declarations
from pipeline.signals.schema import Signals

__all__ = [
    "SEVERITIES",
    "CheckSuite",
    "Finding",
    "NotChecked",
    "Rule",
    "Severity",
    "Signals",
    "check_declarations",
    "rank_findings",
]
