"""What measurements mean: rules over signals, and how their findings are judged and ranked.

Nothing here knows torch, a network or a configuration: a rule sees numbers.
"""

from pipeline.checks.finding import CheckSuite, Finding, Rule, Severity, Signals

__all__ = ["CheckSuite", "Finding", "Rule", "Severity", "Signals"]
